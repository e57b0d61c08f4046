package alert

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
)

const (
	tokenMaxLen  = 4 << 10
	headerMaxLen = 16 << 10
	userAgent    = "truechimer"
)

// sender carries what is in an outbox to a channel. All fields are the manager's lock's, but for
// what line holds, which is never changed.
type sender struct {
	line    *line
	box     *outbox
	wake    chan struct{}         // one: look again
	waiting []chan *rpc.Delivered // for the next test
	stop    context.CancelFunc
}

// rouse makes the sender look again.
func (s *sender) rouse() {
	select {
	case s.wake <- struct{}{}:
	default: // it will anyway
	}
}

// send is the goroutine of a sender.
func (m *Manager) send(ctx context.Context, s *sender) {
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		s.stop()
		s.end()
	}()
	for ctx.Err() == nil {
		msg, l, e, wait := m.take(s)
		if msg != nil {
			e.head = m.options.Head()
			fault := l.attempt(ctx, e, msg)
			m.done(ctx, s, fault)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// end answers those who wait for a test that will not be made.
func (s *sender) end() {
	for _, wait := range s.waiting {
		close(wait)
	}
	s.waiting = nil
}

// take returns what is to be sent now, or how long there is nothing.
func (m *Manager) take(s *sender) (msg *message, l *line, e envelope, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	unix := m.unixAt(now)
	msg, at := s.box.next(unix, now)
	if msg != nil && msg.kind == heartbeat {
		for _, a := range m.book.standing() {
			if s.box.told[a.ID] {
				msg.standing = append(msg.standing, a)
			}
		}
	}
	o := &m.options
	return msg, s.line, envelope{node: o.Node, link: o.Link, sent: unix}, at - now
}

// done notes what became of an attempt; one that the end cut off says nothing.
func (m *Manager) done(ctx context.Context, s *sender, fault string) {
	m.mu.Lock()
	if fault != "" && ctx.Err() != nil {
		m.mu.Unlock()
		return
	}
	worked := s.box.fault == ""
	now := m.now()
	wasTest := s.box.sending.kind == test
	d, journal := s.box.done(fault, m.unixAt(now), now, chance())
	if journal {
		m.journal(d)
	}
	if wasTest {
		for _, wait := range s.waiting {
			wait <- d
		}
		s.waiting = nil
	}
	m.mu.Unlock()
	switch log := m.options.Logger; {
	case worked && fault != "":
		log.Warn("alert channel fails", "channel", d.Channel, "error", fault)
	case !worked && fault == "":
		log.Info("alert channel works again", "channel", d.Channel)
	}
}

// line is the way to a channel.
type line struct {
	channel  Channel
	client   *http.Client
	patience time.Duration
}

// connect makes the ways to channels, without a packet being sent.
func connect(channels []Channel, o *Options) ([]*line, error) {
	var problems []error
	var lines []*line
	names := map[string]bool{}
	for _, c := range channels {
		l, err := newLine(c, o)
		if names[c.Name] {
			err = errors.Join(err, errors.New("there is another one of this name"))
		}
		names[c.Name] = true
		if err != nil {
			problems = append(problems, fmt.Errorf("alert channel %q: %w", c.Name, err))
		}
		lines = append(lines, l)
	}
	return lines, errors.Join(problems...)
}

func newLine(c Channel, o *Options) (*line, error) {
	err := c.Check()
	if err != nil {
		return nil, err
	}
	transport := o.Transport
	if transport == nil {
		t := &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DisableKeepAlives:      true, // net/http sends again by itself what an idle connection lost
			MaxResponseHeaderBytes: headerMaxLen,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		}
		if c.CAFile != "" {
			pem, err := os.ReadFile(c.CAFile)
			if err != nil {
				return nil, fmt.Errorf("read ca file: %w", err)
			}
			t.TLSClientConfig.RootCAs = x509.NewCertPool()
			if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("ca file %s holds no certificate in PEM", c.CAFile)
			}
		}
		transport = t
	}
	// A token must not travel to wherever a redirect leads.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &line{c, &http.Client{Transport: transport, CheckRedirect: stay}, o.patience}, nil
}

// attempt sends a message once and returns why it was not taken; empty: it was.
func (l *line) attempt(ctx context.Context, e envelope, m *message) (fault string) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.patience, errSlow)
	defer cancel()
	req, err := l.request(ctx, e, m)
	if err != nil {
		return err.Error()
	}
	resp, err := l.client.Do(req)
	if err != nil {
		if errors.Is(context.Cause(ctx), errSlow) {
			return fmt.Sprintf("%v within %v", errSlow, l.patience)
		}
		// Its text holds the URL, which may hold a secret.
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return short(err.Error())
	}
	resp.Body.Close() // what it says besides does not matter
	switch {
	case resp.StatusCode/100 == 2:
		return ""
	case resp.StatusCode/100 == 3:
		return fmt.Sprintf("it answered %d, a redirect, which is not followed: set the channel's url to where it leads", resp.StatusCode)
	default:
		return strings.TrimSpace(fmt.Sprintf("it answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	}
}

// faultMaxLen bounds a fault, which may repeat what a receiver said, in bytes.
const faultMaxLen = 500

// short is the beginning of a text.
func short(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), faultMaxLen)], "")
}

// errSlow reports an attempt that took too long.
var errSlow = errors.New("no answer")

func (l *line) request(ctx context.Context, e envelope, m *message) (*http.Request, error) {
	to, err := url.Parse(l.channel.URL)
	if err != nil {
		return nil, errors.New("the url is not one")
	}
	var body []byte
	if l.channel.Type == Alertmanager {
		to = to.JoinPath(alertmanagerPath)
		body, err = alertmanagerBody(e, m, l.channel.Heartbeat > 0)
	} else {
		body, err = webhookBody(e, m)
	}
	if err != nil {
		return nil, fmt.Errorf("encode the message: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the url is not one")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Idempotency-Key", m.id)
	if l.channel.TokenFile != "" {
		token, err := readToken(l.channel.TokenFile)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, nil
}

// readToken reads a token, which may have been changed since the last time.
func readToken(file string) (string, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return "", fmt.Errorf("read the token: %w", err)
	case !info.Mode().IsRegular(): // opening a fifo would wait for ever
		return "", fmt.Errorf("the token file %s is not a regular file: put the token alone into one", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, tokenMaxLen+1))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	strange := strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' })
	if token == "" || strange || len(text) > tokenMaxLen {
		return "", fmt.Errorf("the token file %s is empty, longer than %d bytes, or holds more than one word: put the token alone into it", file, tokenMaxLen)
	}
	return token, nil
}
