package alert

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// server is a receiver on a real socket that fails for its first connections.
type server struct {
	t         *testing.T
	net       net.Listener
	misbehave func(net.Conn, *http.Request)
	failures  atomic.Int32 // still to come

	mu    sync.Mutex
	seen  []string // ids of all that was read
	took  []string // ids that were taken, again where they came again
	stops []func()
	done  sync.WaitGroup
}

func newServer(t *testing.T, failures int32, misbehave func(net.Conn, *http.Request)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, net: l, misbehave: misbehave}
	s.failures.Store(failures)
	s.done.Go(s.serve)
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for _, stop := range s.stops {
			stop()
		}
		s.mu.Unlock()
		s.done.Wait()
	})
	return s
}

func (s *server) serve() {
	for {
		conn, err := s.net.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.stops = append(s.stops, func() { conn.Close() })
		s.mu.Unlock()
		s.done.Go(func() { s.handle(conn) })
	}
}

func (s *server) handle(conn net.Conn) {
	defer conn.Close()
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	var m webhookMessage
	err = json.NewDecoder(req.Body).Decode(&m)
	if err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	s.seen = append(s.seen, m.ID)
	s.mu.Unlock()
	if s.failures.Add(-1) >= 0 {
		s.misbehave(conn, req)
		return
	}
	s.mu.Lock()
	s.took = append(s.took, m.ID)
	s.mu.Unlock()
	// A body of any length is not waited for.
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
}

// misdeeds are the ways in which a receiver fails.
func misdeeds() map[string]func(net.Conn, *http.Request) {
	return map[string]func(net.Conn, *http.Request){
		"500":    func(c net.Conn, _ *http.Request) { fmt.Fprint(c, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n") },
		"reset":  func(c net.Conn, _ *http.Request) { c.(*net.TCPConn).SetLinger(0) },
		"closed": func(net.Conn, *http.Request) {}, // the answer is lost
		"junk":   func(c net.Conn, _ *http.Request) { fmt.Fprint(c, "SSH-2.0-OpenSSH\r\n") },
		"hangs":  func(c net.Conn, _ *http.Request) { io.Copy(io.Discard, c) },
		"drips": func(c net.Conn, _ *http.Request) {
			answer := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
			for i := range len(answer) {
				if _, err := io.WriteString(c, answer[i:i+1]); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond) // longer than the patience in all
			}
		},
		"endless header": func(c net.Conn, _ *http.Request) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := fmt.Fprintf(c, "X: %s\r\n", strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		},
		"redirect": func(c net.Conn, r *http.Request) {
			if r.URL.Path != "/in" {
				panic("a redirect was followed") // in a test: nothing may come here
			}
			fmt.Fprintf(c, "HTTP/1.1 307 There\r\nLocation: http://%s/elsewhere\r\nContent-Length: 0\r\n\r\n", r.Host)
		},
	}
}

// faults is what is said of them.
func faults() map[string]string {
	return map[string]string{
		"500": "it answered 500", "reset": "reset", "closed": "EOF", "junk": "malformed", "hangs": "no answer within 300ms",
		"drips": "no answer within 300ms", "endless header": "headers exceeded", "redirect": "it answered 307",
	}
}

// Receivers fail in every way and recover. Each takes every message, by its id once and in
// order, and Update never waits for any of them.
func TestRealReceivers(t *testing.T) {
	servers := map[string]*server{}
	var channels []Channel
	for name, misbehave := range misdeeds() {
		servers[name] = newServer(t, 2, misbehave)
		channels = append(channels, Channel{Name: name, Type: Webhook, URL: "http://" + servers[name].net.Addr().String() + "/in", Heartbeat: time.Hour})
	}
	kept := &log{}
	m, err := New(Options{Node: "n", Channels: channels, Journal: kept.add, patience: 300 * time.Millisecond}, Restored{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { m.Run(ctx); close(ended) }()
	waited := time.Duration(0)
	for i := range 50 { // while all of them fail
		began := time.Now()
		m.Update(int64(1e18)+int64(i), []Condition{warn(fmt.Sprint(i))})
		waited = max(waited, time.Since(began))
	}
	t.Logf("an update took at the most %v", waited)
	if waited >= 300*time.Millisecond {
		t.Error("an update waited for a receiver")
	}
	for m.queued() > 0 {
		if t.Context().Err() != nil {
			t.Fatal("never taken")
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	<-ended
	want := kept.alarms()
	for name, s := range servers {
		s.mu.Lock()
		got := slices.DeleteFunc(slices.Clone(s.took), func(id string) bool { return !slices.Contains(want, id) })
		if len(want) != 50 || !slices.Equal(got, want) {
			t.Errorf("%s took %d: %v", name, len(got), got)
		}
		if len(s.seen) < len(want)+2 {
			t.Errorf("%s saw %d messages: it did not fail", name, len(s.seen))
		}
		s.mu.Unlock()
	}
	for _, d := range kept.deliveries() {
		if want := faults()[d.Channel]; !d.Taken && !strings.Contains(d.Fault, want) {
			t.Errorf("%s: %q, want %q", d.Channel, d.Fault, want)
		}
	}
}

// queued is how much still waits.
func (m *Manager) queued() (n uint32) {
	for _, c := range m.Channels() {
		n += c.Queued
	}
	return n
}

// A receiver that hangs does not keep the node from stopping, nor Update from returning.
func TestRealReceiverHangsAtTheStop(t *testing.T) {
	s := newServer(t, 1000, misdeeds()["hangs"])
	m, err := New(Options{Channels: []Channel{{Name: "a", Type: Webhook, URL: "http://" + s.net.Addr().String() + "/in"}}}, Restored{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { m.Run(ctx); close(ended) }()
	m.Update(1e18, []Condition{warn("x")})
	for seen := 0; seen == 0; {
		s.mu.Lock()
		seen = len(s.seen)
		s.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-ended
}

// Only whom the CA vouches for is told.
func TestRealTLS(t *testing.T) {
	var took atomic.Int32
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { took.Add(1) }))
	s.Config.ErrorLog = stdlog.New(io.Discard, "", 0)
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}
	err := os.WriteFile(ca, pem.EncodeToMemory(block), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{ca: "", "": "certificate"} {
		l, err := newLine(Channel{Name: "a", Type: Webhook, URL: s.URL, CAFile: file}, &Options{patience: attemptMax})
		if err != nil {
			t.Fatal(err)
		}
		tr := l.client.Transport.(*http.Transport)
		if tr.TLSClientConfig.MinVersion != tls.VersionTLS12 || !tr.DisableKeepAlives {
			t.Errorf("TLS %x, keep-alives off: %v", tr.TLSClientConfig.MinVersion, tr.DisableKeepAlives)
		}
		fault := l.attempt(t.Context(), envelope{}, raise("1"))
		if (fault == "") != (want == "") || !strings.Contains(fault, want) {
			t.Errorf("ca %q: %q", file, fault)
		}
	}
	if took.Load() != 1 {
		t.Errorf("took %d", took.Load())
	}
}
