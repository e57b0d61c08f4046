package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
	"github.com/truechimer/truechimer/store"
)

// pipes is a listener in memory. Unlike sockets, pipes block in a way that the bubble of
// synctest sees, so that minutes pass at once.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
		return net.ErrClosed
	default:
		close(p.closed)
		return nil
	}
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial waits until the connection has been accepted.
func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// client returns an HTTP client over the pipes.
func (p *pipes) client(t *testing.T, protocols ...func(*http.Protocols)) *http.Client {
	c := newClient(t, protocols...)
	c.Transport.(*http.Transport).DialContext = p.dial
	c.Timeout = 0
	return c
}

func on(p *pipes, connections int) *Server {
	all := newConnections(connections)
	return &Server{listeners: []net.Listener{newLimited(p, all)}, all: all, gate: openGate(), log: quiet}
}

// blockedIssuer answers Wait when its context ends, or never.
type blockedIssuer struct {
	fakeIssuer
	began  chan struct{}
	deaf   bool
	forget chan struct{}
}

func newBlockedIssuer(deaf bool) *blockedIssuer {
	return &blockedIssuer{began: make(chan struct{}, 10), deaf: deaf, forget: make(chan struct{})}
}

func (b *blockedIssuer) Wait(ctx context.Context, _ hlc.Timestamp) (hlc.Interval, error) {
	b.began <- struct{}{}
	done := ctx.Done()
	if b.deaf {
		done = nil
	}
	select {
	case <-done:
		return hlc.Interval{}, ctx.Err()
	case <-b.forget:
		return hlc.Interval{Earliest: 2, Latest: 3}, nil
	}
}

// TestStuckClients: a client that does not finish its request, its headers or its body, or
// does not read its answers, is dropped in time, and the others are served meanwhile.
func TestStuckClients(t *testing.T) {
	const post = "POST /truechimer.v1.ClockService/Now HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	for _, c := range []struct {
		name, sent string
		least      time.Duration // the connection is still there
		most       time.Duration // and is gone
	}{
		{"says nothing", "", headerTimeout - time.Second, headerTimeout + time.Second},
		{"does not finish its headers", "POST / HTTP/1.1\r\nHost: loc", headerTimeout - time.Second, headerTimeout + time.Second},
		{"sends no body", post + "Content-Length: 10\r\n\r\n", headerTimeout, callMax + time.Second},
		{"does not finish its body", post + "Content-Length: 10\r\n\r\n{\"cou", headerTimeout, callMax + time.Second},
		{"does not finish a body in chunks", post + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", headerTimeout, callMax + time.Second},
		{"idles after a call", post + "Content-Length: 2\r\n\r\n{}", idleTimeout - time.Second, idleTimeout + time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPipes()
				run(t, on(p, 10), Services{Issuer: fakeIssuer{}, Node: newFakeNode()})
				conn, err := p.dial(t.Context(), "", "")
				if err != nil {
					t.Fatal(err)
				}
				gone := make(chan struct{})
				start := time.Now()
				go func() {
					_, _ = io.Copy(io.Discard, conn) // an answer may come first
					close(gone)
				}()
				if _, err := io.WriteString(conn, c.sent); err != nil {
					t.Fatal(err)
				}
				time.Sleep(c.least)
				synctest.Wait()
				select {
				case <-gone:
					t.Errorf("dropped after %v", time.Since(start))
				default:
				}
				client := p.client(t)
				if a := call(t, client, "http://localhost", "ClockService/Now", "{}"); a.status != http.StatusOK {
					t.Errorf("another client meanwhile: %+v", a)
				}
				<-gone // the bubble would deadlock here if that were never
				if after := time.Since(start); after > c.most {
					t.Errorf("dropped after %v, want %v", after, c.most)
				}
				conn.Close()
			})
		})
	}
}

// TestUnreadAnswers: a client that asks and asks and never reads is dropped.
func TestUnreadAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		run(t, on(p, 10), Services{Issuer: fakeIssuer{}, Node: newFakeNode()})
		conn, err := p.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for err == nil { // a pipe holds nothing: the first answer is already in the way
			_, err = io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}
		if after := time.Since(start); after > callMax+time.Second {
			t.Errorf("dropped after %v", after)
		}
		conn.Close()
	})
}

// overBoth runs a test over HTTP/1.1 and over HTTP/2 in the clear, with an issuer that
// blocks.
func overBoth(t *testing.T, test func(t *testing.T, issuer *blockedIssuer, client *http.Client, stop func())) {
	for name, protocols := range map[string][]func(*http.Protocols){"HTTP/1.1": nil, "h2c": {h2c}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPipes()
				issuer := newBlockedIssuer(false)
				stop := run(t, on(p, 10), Services{Issuer: issuer, Node: newFakeNode()})
				test(t, issuer, p.client(t, protocols...), stop)
			})
		})
	}
}

// TestLongWait: the limits for slow clients leave alone a client that waits for its answer,
// for as long as the longest Wait can take.
func TestLongWait(t *testing.T) {
	overBoth(t, func(t *testing.T, issuer *blockedIssuer, client *http.Client, stop func()) {
		time.AfterFunc(3*store.WaitMax+time.Second, func() { close(issuer.forget) })
		a := call(t, client, "http://localhost", "ClockService/Wait", "{}")
		if a.status != http.StatusOK {
			t.Errorf("%+v", a)
		}
		client.CloseIdleConnections()
		stop()
	})
}

// TestCallLimit: a call more than the limit is refused in the protocol that it came in,
// health and metrics are answered all the same, and so is the next call once there is room.
func TestCallLimit(t *testing.T) {
	const limit = 2
	issuer := newBlockedIssuer(false)
	web := httptest.NewUnstartedServer(newHandler(t.Context(), Services{Issuer: issuer, Node: newFakeNode(), Evidence: newFakeEvidence()}, limit, openGate(), quiet))
	web.Config.Protocols = new(http.Protocols)
	web.Config.Protocols.SetHTTP1(true)
	web.Config.Protocols.SetUnencryptedHTTP2(true)
	web.Start()
	defer web.Close()
	client := newClient(t, h2c)
	answered := make(chan error, limit)
	for range limit {
		go func() {
			_, err := rpcconnect.NewClockServiceClient(client, web.URL).Wait(context.Background(), connect.NewRequest(&rpc.WaitRequest{}))
			answered <- err
		}()
		<-issuer.began
	}
	for name, options := range map[string][]connect.ClientOption{
		"Connect": nil, "JSON": {connect.WithProtoJSON()}, "gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()},
	} {
		_, err := rpcconnect.NewClockServiceClient(client, web.URL, options...).Now(t.Context(), connect.NewRequest(&rpc.NowRequest{}))
		if connect.CodeOf(err) != connect.CodeResourceExhausted || !connect.IsWireError(err) || !strings.Contains(err.Error(), "ask again") {
			t.Errorf("%s: got %v", name, err)
		}
		_, err = rpcconnect.NewNodeServiceClient(client, web.URL, options...).Status(t.Context(), connect.NewRequest(&rpc.StatusRequest{}))
		if connect.CodeOf(err) != connect.CodeResourceExhausted {
			t.Errorf("%s: status: %v", name, err)
		}
	}
	if a := call(t, client, web.URL, "ClockService/Now", "{}"); a.status != http.StatusTooManyRequests || a.refusal(t).Code != "resource_exhausted" {
		t.Errorf("as curl: %+v", a)
	}
	for _, path := range []string{"/livez", "/healthz", "/readyz", "/metrics"} {
		if a := send(t, client, http.MethodGet, web.URL+path, "", nil); a.status != http.StatusOK {
			t.Errorf("%s: %+v", path, a)
		}
	}
	close(issuer.forget)
	for range limit {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
	if a := call(t, client, web.URL, "ClockService/Now", "{}"); a.status != http.StatusOK {
		t.Errorf("afterwards: %+v", a)
	}
}

// TestStopWhileFull: a listener without room stops all the same.
func TestStopWhileFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		stop := run(t, on(p, 1), Services{Issuer: fakeIssuer{}, Node: newFakeNode()})
		conn, err := p.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // Accept waits for room
		start := time.Now()
		stop()
		if took := time.Since(start); took > stopTimeout {
			t.Errorf("stopping took %v", took)
		}
		conn.Close()
	})
}

// TestStopWhileCalled: calls in progress may finish for a moment when the server stops, are
// cancelled then, and one that does not listen to that is left behind.
func TestStopWhileCalled(t *testing.T) {
	for _, c := range []struct {
		name      string
		deaf      bool
		answers   time.Duration // after the stop; 0: never
		code      connect.Code  // 0: none, it was answered
		protocols []func(*http.Protocols)
	}{
		{name: "it finishes", answers: stopTimeout / 2},
		{name: "it finishes over h2c", answers: stopTimeout / 2, protocols: []func(*http.Protocols){h2c}},
		{name: "it is cut off", code: connect.CodeUnavailable},
		{name: "it is cut off over h2c", code: connect.CodeUnavailable, protocols: []func(*http.Protocols){h2c}},
		{name: "it is deaf", deaf: true, code: connect.CodeUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPipes()
				issuer := newBlockedIssuer(c.deaf)
				stop := run(t, on(p, 10), Services{Issuer: issuer, Node: newFakeNode()})
				client := p.client(t, c.protocols...)
				answered := make(chan error, 1)
				go func() {
					_, err := rpcconnect.NewClockServiceClient(client, "http://localhost").Wait(context.Background(), connect.NewRequest(&rpc.WaitRequest{}))
					answered <- err
				}()
				<-issuer.began
				if c.answers > 0 {
					time.AfterFunc(c.answers, func() { close(issuer.forget) })
				}
				start := time.Now()
				stop()
				if took := time.Since(start); took > stopTimeout+time.Second {
					t.Errorf("stopping took %v", took)
				}
				err := <-answered
				if c.code == 0 && err != nil || c.code != 0 && connect.CodeOf(err) != c.code {
					t.Errorf("the call ended with %v", err)
				}
				if c.deaf {
					close(issuer.forget)
				}
				client.CloseIdleConnections()
			})
		})
	}
}

// TestClientLeaves: a call whose client went away ends.
func TestClientLeaves(t *testing.T) {
	overBoth(t, func(t *testing.T, issuer *blockedIssuer, client *http.Client, stop func()) {
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := rpcconnect.NewClockServiceClient(client, "http://localhost").Wait(ctx, connect.NewRequest(&rpc.WaitRequest{}))
			left <- err
		}()
		<-issuer.began
		leave()
		if err := <-left; connect.CodeOf(err) != connect.CodeCanceled {
			t.Errorf("the call ended with %v", err)
		}
		client.CloseIdleConnections()
		start := time.Now()
		stop()
		if took := time.Since(start); took >= stopTimeout { // nothing is left to wait for
			t.Errorf("stopping took %v", took)
		}
	})
}

// TestPortInUse: the error names the address and what to do, and nothing stays bound.
func TestPortInUse(t *testing.T) {
	first, err := Listen(Options{Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Access: everybody, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	taken := first.Addrs()[0]
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other := free.Addr().(*net.TCPAddr).AddrPort()
	free.Close()
	_, err = Listen(Options{Addrs: []netip.AddrPort{other, taken}, Access: everybody, Logger: quiet})
	if err == nil || !strings.Contains(err.Error(), taken.String()) || !strings.Contains(err.Error(), "is another truechimer running?") || !strings.Contains(err.Error(), "api.listen") {
		t.Errorf("got %v", err)
	}
	again, err := net.Listen("tcp", other.String())
	if err != nil {
		t.Errorf("the other address stayed bound: %v", err)
	} else {
		again.Close()
	}
}

// TestCloseUnserved: a server that was never started gives back what it has bound, twice if
// it has to.
func TestCloseUnserved(t *testing.T) {
	s, err := Listen(Options{Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("127.0.0.1:0")}, Access: everybody, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, addr := range s.Addrs() {
		l, err := net.Listen("tcp", addr.String())
		if err != nil {
			t.Error(err)
			continue
		}
		l.Close()
	}
}

// TestListenerFails: an error of one listener ends Serve, with its address.
func TestListenerFails(t *testing.T) {
	broken := brokenListener{newPipes()} // of its own: the other one must not end with it
	s := &Server{listeners: []net.Listener{newPipes(), broken}, all: newConnections(10), gate: openGate(), log: quiet}
	err := s.Serve(t.Context(), Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Evidence: newFakeEvidence()})
	if !errors.Is(err, errUnlisted) || !strings.Contains(fmt.Sprint(err), "serve the API on") {
		t.Errorf("got %v", err)
	}
}

type brokenListener struct{ *pipes }

func (brokenListener) Accept() (net.Conn, error) { return nil, errUnlisted }
