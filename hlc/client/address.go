package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

// Options of a Client. Addresses is required.
type Options struct {
	// Addresses are where the appliance is: HOST:PORT, or a URL that begins with https://.
	// With several the first is used until it does not answer, then the next one, and so on
	// in a circle. Streams are where they were appended: name the addresses of one appliance or of
	// one cluster.
	Addresses []string
	// Token is sent with each call; empty: none. Without TLS it is sent to this machine only,
	// unless TokenInClear.
	Token        string
	TokenInClear bool
	// TLS is for addresses that begin with https://: whom to trust, and the client's own
	// certificate. Nil trusts the system's authorities. TLS 1.3 is what an appliance speaks, and no
	// less is used.
	TLS *tls.Config
	// Timeout is for a call whose context has no deadline; 0 means 5 s.
	Timeout time.Duration
}

const (
	timeoutDefault = 5 * time.Second
	dialTimeout    = 3 * time.Second
	// A connection that is silent for pingAfter is asked, and given up pingTimeout later.
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
)

// address is one of the appliance's, with what calls go by.
type address struct {
	name string
	rpcconnect.ClockServiceClient
	rpcconnect.StreamServiceClient
	// batches has a connection of its own: large reads must not be in the way.
	batches    rpcconnect.ClockServiceClient
	transports []*http.Transport

	mu     sync.Mutex // guards what follows
	conns  map[*conn]struct{}
	closed bool
}

// conn is a connection that its address knows of.
type conn struct {
	net.Conn
	of *address
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// dial connects, unless the address was closed.
func (a *address) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	made, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		made.Close()
		return nil, ErrClosed
	}
	c := &conn{made, a}
	a.conns[c] = struct{}{}
	return c, nil
}

// addresses returns what the options name, or why it makes no sense.
func (o *Options) addresses() ([]*address, error) {
	if len(o.Addresses) == 0 {
		return nil, errors.New("client: Options.Addresses is empty; name the appliance, such as 127.0.0.1:8123")
	}
	if o.Timeout < 0 {
		return nil, fmt.Errorf("client: Options.Timeout is %v; want more than 0", o.Timeout)
	}
	var list []*address
	for _, name := range o.Addresses {
		base := name
		if !strings.Contains(name, "://") {
			base = "http://" + name
		}
		u, err := url.Parse(base)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" && u.Path != "/" {
			return nil, fmt.Errorf("client: address %q; want HOST:PORT, or https://HOST:PORT", name)
		}
		if o.Token != "" && u.Scheme == "http" && !o.TokenInClear && !thisMachine(u.Hostname()) {
			return nil, fmt.Errorf("client: a token for %q would be sent in the clear; use https://, or set TokenInClear", name)
		}
		list = append(list, newAddress(name, u.Scheme+"://"+u.Host, o))
	}
	return list, nil
}

// thisMachine reports whether a host is loopback.
func thisMachine(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func newAddress(name, base string, o *Options) *address {
	a := &address{name: name, conns: make(map[*conn]struct{})}
	client := func() *http.Client {
		protocols := new(http.Protocols)
		protocols.SetHTTP2(true)
		protocols.SetUnencryptedHTTP2(true)
		t := &http.Transport{
			DialContext:         a.dial,
			TLSClientConfig:     secrets(o.TLS),
			TLSHandshakeTimeout: dialTimeout,
			DisableCompression:  true,
			Protocols:           protocols,
			HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: pingAfter},
		}
		a.transports = append(a.transports, t)
		return &http.Client{
			Transport: bearer{t, o.Token},
			// A token is for the address that was named, and for nobody whom that names.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	calls := client()
	a.ClockServiceClient = rpcconnect.NewClockServiceClient(calls, base)
	a.StreamServiceClient = rpcconnect.NewStreamServiceClient(calls, base)
	a.batches = rpcconnect.NewClockServiceClient(client(), base)
	return a
}

// secrets is the caller's configuration for TLS, of the version that an appliance speaks.
func secrets(given *tls.Config) *tls.Config {
	c := given.Clone()
	if c == nil {
		c = new(tls.Config)
	}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS13)
	return c
}

// close ends the connections, and with them what is in progress. None is made any more.
func (a *address) close() {
	a.mu.Lock()
	a.closed = true
	conns := slices.Collect(maps.Keys(a.conns))
	a.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
	for _, t := range a.transports {
		t.CloseIdleConnections()
	}
}

// bearer shows the token with each request.
type bearer struct {
	next  http.RoundTripper
	token string
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}

// at returns the address that is used now.
func (c *Client) at() *address {
	return c.addresses[int(c.current.Load())%len(c.addresses)]
}

// elsewhereFrom goes on at the next address, unless somebody left a already.
func (c *Client) elsewhereFrom(a *address) {
	if now := c.current.Load(); c.addresses[int(now)%len(c.addresses)] == a {
		c.current.CompareAndSwap(now, now+1)
	}
}

// unreachable is ErrUnreachable with its cause.
func (c *Client) unreachable(cause error) error {
	var names []string
	for _, a := range c.addresses {
		names = append(names, a.name)
	}
	return fmt.Errorf("%w from %s: %w; is truechimer serve running there?", ErrUnreachable, strings.Join(names, ", "), cause)
}

// backoff is how long to wait before another attempt: twice as long each time, and never the
// same, so that clients which lost the same appliance do not come back all at once.
type backoff struct{ next time.Duration }

const (
	backoffFirst = 20 * time.Millisecond
	backoffLast  = 2 * time.Second
)

func newBackoff() *backoff { return &backoff{backoffFirst} }

func (b *backoff) reset() { b.next = backoffFirst }

// sleep waits, and fails when ctx ends before.
func (b *backoff) sleep(ctx context.Context) error {
	d := b.next/2 + rand.N(b.next/2)
	b.next = min(2*b.next, backoffLast)
	return sleep(ctx, d)
}

// sleep waits for d, and fails when ctx ends before.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnreachable, context.Cause(ctx))
	}
}
