package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/hlc/client"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

// fake is an appliance that does what a test says.
type fake struct {
	rpcconnect.UnimplementedClockServiceHandler
	rpcconnect.UnimplementedStreamServiceHandler
	batch  func(*rpc.SessionRequest) (*rpc.SessionResponse, error)
	read   func() (*rpc.ReadResponse, error)
	append func(context.Context, *rpc.AppendRequest) (*rpc.AppendResponse, error)
	cut    func(context.Context) (*rpc.CutResponse, error)
}

func (f *fake) Session(_ context.Context, s *connect.BidiStream[rpc.SessionRequest, rpc.SessionResponse]) error {
	for {
		r, err := s.Receive()
		if err != nil {
			return nil
		}
		a, err := f.batch(r)
		if err != nil {
			return err
		}
		if err := s.Send(a); err != nil {
			return err
		}
	}
}

func (f *fake) Read(context.Context, *connect.Request[rpc.ReadRequest]) (*connect.Response[rpc.ReadResponse], error) {
	a, err := f.read()
	return connect.NewResponse(a), err
}

func (f *fake) Append(ctx context.Context, r *connect.Request[rpc.AppendRequest]) (*connect.Response[rpc.AppendResponse], error) {
	a, err := f.append(ctx, r.Msg)
	return connect.NewResponse(a), err
}

func (f *fake) Cut(ctx context.Context, _ *connect.Request[rpc.CutRequest]) (*connect.Response[rpc.CutResponse], error) {
	a, err := f.cut(ctx)
	return connect.NewResponse(a), err
}

// web serves a handler over HTTP/2 in the clear until the test ends.
func web(t *testing.T, h http.Handler) *httptest.Server {
	w := httptest.NewUnstartedServer(h)
	w.Config.Protocols = new(http.Protocols)
	w.Config.Protocols.SetUnencryptedHTTP2(true)
	w.Config.Protocols.SetHTTP1(true)
	w.Start()
	t.Cleanup(func() { w.CloseClientConnections(); w.Close() })
	return w
}

func (f *fake) mux() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(rpcconnect.NewClockServiceHandler(f))
	mux.Handle(rpcconnect.NewStreamServiceHandler(f))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Truechimer-Api", "v1")
		mux.ServeHTTP(w, r)
	})
}

// serve returns its address.
func (f *fake) serve(t *testing.T) string { return web(t, f.mux()).Listener.Addr().String() }

// fromTheFuture returns an appliance with an event of an hour ahead in stream s, that was rebased,
// and its key "k".
func fromTheFuture(t *testing.T) (*appliance, client.Receipt) {
	a := newAppliance(t)
	real := a.physical
	a.stop()
	a.physical = func() int64 { return real() + int64(time.Hour) }
	a.start(t)
	r, err := clientOf(t, a).Append(t.Context(), client.Batch{Key: "k", Entries: []client.Entry{{Stream: "s"}}})
	if err != nil {
		t.Fatal(err)
	}
	a.stop()
	a.physical = real
	a.start(t)
	if err := a.rebase(); err != nil {
		t.Fatal(err)
	}
	return a, r
}

// TestPastForgotten: a context that read an event from the future is refused, or answered
// above it: never below its past.
func TestPastForgotten(t *testing.T) {
	a, r := fromTheFuture(t)
	c := clientOf(t, a)
	ctx := client.WithPast(t.Context(), 0)
	for _, err := range c.Read(ctx, "s", client.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	past := client.Past(ctx)
	if past != r.Timestamp {
		t.Fatal("not read")
	}
	if ts, err := c.Now(ctx); err == nil && ts <= past {
		t.Errorf("Now: %v, and the past of its context is %v", ts, past)
	}
	for range c.Read(ctx, "s", client.Query{}) {
	}
	if i, err := c.Interval(ctx); err == nil && i.Latest <= past {
		t.Errorf("Interval: %v, and the past of its context is %v", i.Latest, past)
	}
}

// TestCommitFuture: an event from the future keeps nobody from Commit.
func TestCommitFuture(t *testing.T) {
	a, _ := fromTheFuture(t)
	c := clientOf(t, a)
	for range 2 {
		for range c.Read(t.Context(), "s", client.Query{}) {
		}
		if _, err := c.Commit(t.Context()); err != nil {
			t.Errorf("Commit: %v", err)
		}
	}
}

// TestRepeatedFuture: the receipt of an append that an earlier process made, before a rebase,
// keeps nobody from the present.
func TestRepeatedFuture(t *testing.T) {
	a, _ := fromTheFuture(t)
	c := clientOf(t, a)
	r, err := c.Append(t.Context(), client.Batch{Key: "k", Entries: []client.Entry{{Stream: "s"}}})
	if err != nil || !r.Repeated {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := c.Now(t.Context()); err != nil {
		t.Errorf("Now of somebody else: %v", err)
	}
}

// TestObserveForgets: a timestamp an hour ahead fails its caller and takes nothing from
// what the client has seen.
func TestObserveForgets(t *testing.T) {
	a := newAppliance(t)
	appendText(t, clientOf(t, a), "s", "x")
	c := clientOf(t, a)
	for range c.Read(t.Context(), "s", client.Query{}) {
	}
	before := c.Seen()
	if _, err := c.Observe(t.Context(), before+hlc.Timestamp(time.Hour)); !errors.Is(err, hlc.ErrLead) {
		t.Fatal(err)
	}
	if after := c.Seen(); after < before {
		t.Errorf("seen went back from %d to %d", before, after)
	}
}

// TestObserveLoops: the same while events are read: the call ends within Options.Timeout.
func TestObserveLoops(t *testing.T) {
	var c *client.Client
	var ts, rounds atomic.Uint64
	ts.Store(uint64(hlc.FromUnix(time.Now().UnixNano())))
	f := &fake{
		read: func() (*rpc.ReadResponse, error) {
			return &rpc.ReadResponse{Events: []*rpc.Event{{Stream: "s", Sequence: 1, Timestamp: ts.Add(1024)}}}, nil
		},
		batch: func(r *rpc.SessionRequest) (*rpc.SessionResponse, error) {
			rounds.Add(1)
			for range c.Read(context.Background(), "s", client.Query{}) { // somebody goes on reading
			}
			a := new(rpc.SessionResponse)
			for range r.Observe {
				a.Observed = append(a.Observed, &rpc.Observed{Fault: &rpc.Fault{Code: int32(connect.CodeFailedPrecondition), Lead: &rpc.LeadExceeded{Remote: true, LeadNs: int64(time.Hour), MaxLeadNs: 1e9}}})
			}
			return a, nil
		},
	}
	c = newClient(t, client.Options{Addresses: []string{f.serve(t)}, Timeout: 200 * time.Millisecond})
	for range c.Read(t.Context(), "s", client.Query{}) {
	}
	done := make(chan error, 1)
	go func() {
		_, err := c.Observe(context.Background(), hlc.Timestamp(ts.Load())+hlc.Timestamp(time.Hour))
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, hlc.ErrLead) {
			t.Error(err)
		}
	case <-time.After(2 * time.Second):
		t.Errorf("Observe goes on after 10 times Options.Timeout, %d rounds", rounds.Load())
		_ = c.Close()
		<-done
	}
}

// TestCloseWatch: Close leaves no connection and no goroutine, also where the delivery of a
// watch is being worked on.
func TestCloseWatch(t *testing.T) {
	a := newAppliance(t)
	writer := clientOf(t, a)
	appendText(t, writer, "s", "x")
	_ = writer.Close()
	for range 50 {
		c := clientOf(t, a)
		for range c.Watch(t.Context(), client.Selection{}, client.Start{Oldest: true}) {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			break
		}
	}
	lingers(t, "Watch", 0)
}

// TestCloseCalls: the same, with calls in progress.
func TestCloseCalls(t *testing.T) {
	f := &fake{cut: func(ctx context.Context) (*rpc.CutResponse, error) { <-ctx.Done(); return nil, ctx.Err() }}
	at := f.serve(t)
	for range 5 {
		c := newClient(t, client.Options{Addresses: []string{at}})
		var calls sync.WaitGroup
		for range 20 {
			calls.Go(func() { _, _ = c.Cut(context.Background(), 0, client.Selection{}) })
		}
		time.Sleep(20 * time.Millisecond)
		_ = c.Close()
		calls.Wait()
	}
	lingers(t, "Cut in progress", 0)
}

// TestCloseSession: the same, with a session that was used.
func TestCloseSession(t *testing.T) {
	a := newAppliance(t)
	for range 50 {
		c := clientOf(t, a)
		ts, err := c.Now(t.Context())
		must(t, ts, err)
		_ = c.Close()
	}
	lingers(t, "Session", 0)
}

// TestAfterClose: a call after Close opens no connection.
func TestAfterClose(t *testing.T) {
	f := &fake{cut: func(ctx context.Context) (*rpc.CutResponse, error) { return new(rpc.CutResponse), nil }}
	c := newClient(t, client.Options{Addresses: []string{f.serve(t)}})
	_ = c.Close()
	answered := 0
	for range 200 {
		if _, err := c.Cut(context.Background(), 0, client.Selection{}); !errors.Is(err, client.ErrClosed) {
			answered++
		}
	}
	if answered > 0 {
		t.Errorf("%d of 200 calls of a closed client were not ErrClosed", answered)
	}
	lingers(t, "Cut after Close", 0)
}

// lingers fails where connections of clients are left. The server is still up.
func lingers(t *testing.T, what string, most int) {
	t.Helper()
	var n int
	for range 40 {
		buf := make([]byte, 4<<20)
		buf = buf[:runtime.Stack(buf, true)]
		if n = strings.Count(strings.ToLower(string(buf)), "clientconn).readloop("); n <= most {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%s: %d connections are left after Close, want %d", what, n, most)
}

// TestAppendGateway: an append whose answer a gateway lost is uncertain, also where the
// gateway says so in JSON.
func TestAppendGateway(t *testing.T) {
	var appended atomic.Int64
	f := &fake{append: func(context.Context, *rpc.AppendRequest) (*rpc.AppendResponse, error) {
		appended.Add(1)
		return &rpc.AppendResponse{Timestamp: 1 << 20, Sequences: []uint64{1}}, nil
	}}
	behind := f.mux()
	gateway := web(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		behind.ServeHTTP(httptest.NewRecorder(), r) // it arrives, and the answer is late
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusGatewayTimeout)
		_, _ = io.WriteString(w, `{"message":"upstream request timeout"}`)
	}))
	c := newClient(t, client.Options{Addresses: []string{gateway.Listener.Addr().String()}, Timeout: 300 * time.Millisecond})
	_, err := c.Append(t.Context(), client.Batch{Entries: []client.Entry{{Stream: "s"}}})
	if !errors.Is(err, client.ErrUncertain) {
		t.Errorf("it was appended %d times, and Append says: %v", appended.Load(), err)
	}
}

// TestAppendRefused: an append that the appliance goes on refusing fails with the refusal,
// and not with ErrUnreachable, as all other calls do.
func TestAppendRefused(t *testing.T) {
	f := &fake{append: func(context.Context, *rpc.AppendRequest) (*rpc.AppendResponse, error) {
		return nil, connect.NewError(connect.CodeResourceExhausted, errors.New("the disk is nearly full"))
	}}
	c := newClient(t, client.Options{Addresses: []string{f.serve(t)}, Timeout: 200 * time.Millisecond})
	_, err := c.Append(t.Context(), client.Batch{Entries: []client.Entry{{Stream: "s"}}})
	if errors.Is(err, client.ErrUnreachable) || connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Error(err)
	}
}

// TestAppendElsewhere: an append that one address cannot take now is tried at the other.
func TestAppendElsewhere(t *testing.T) {
	not := &fake{append: func(context.Context, *rpc.AppendRequest) (*rpc.AppendResponse, error) {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("this node is fenced"))
	}}
	can := &fake{append: func(context.Context, *rpc.AppendRequest) (*rpc.AppendResponse, error) {
		return &rpc.AppendResponse{Timestamp: 1 << 20, Sequences: []uint64{1}}, nil
	}}
	c := newClient(t, client.Options{Addresses: []string{not.serve(t), can.serve(t)}, Timeout: time.Second})
	if _, err := c.Append(t.Context(), client.Batch{Entries: []client.Entry{{Stream: "s"}}}); err != nil {
		t.Error(err)
	}
}

// TestCancelMoves: a call whose own context ended moves nobody to another address.
func TestCancelMoves(t *testing.T) {
	answers := func(n uint64) *fake {
		return &fake{
			cut: func(ctx context.Context) (*rpc.CutResponse, error) { return &rpc.CutResponse{Timestamp: n}, nil },
		}
	}
	c := newClient(t, client.Options{Addresses: []string{answers(1).serve(t), answers(2).serve(t)}})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = c.Cut(ended, 0, client.Selection{})
	if cut, err := c.Cut(t.Context(), 0, client.Selection{}); err != nil || cut.Timestamp != 1 {
		t.Errorf("address %d answered, %v", cut.Timestamp, err)
	}
}

// TestLate: a call without a deadline has the whole of Options.Timeout, also where others
// have waited before it.
func TestLate(t *testing.T) {
	const timeout = time.Second
	c := newClient(t, client.Options{Addresses: []string{"127.0.0.1:1"}, Timeout: timeout})
	go func() { _, _ = c.Now(context.Background()) }()
	time.Sleep(timeout * 9 / 10)
	start := time.Now()
	_, err := c.Now(context.Background())
	if took := time.Since(start); took < timeout*8/10 {
		t.Errorf("given up after %v of %v: %v", took, timeout, err)
	}
}

// TestTooLong: a call without a deadline ends at Options.Timeout, also where it was refused
// in between.
func TestTooLong(t *testing.T) {
	const timeout = 500 * time.Millisecond
	began := time.Now()
	refused := 0
	f := &fake{batch: func(r *rpc.SessionRequest) (*rpc.SessionResponse, error) {
		if refused++; refused == 1 {
			time.Sleep(timeout * 8 / 10)
		} else if time.Since(began) > timeout*3/2 {
			time.Sleep(timeout * 8 / 10)
		}
		return &rpc.SessionResponse{Fault: &rpc.Fault{Code: int32(connect.CodeUnavailable), Message: "not now"}}, nil
	}}
	c := newClient(t, client.Options{Addresses: []string{f.serve(t)}, Timeout: timeout})
	began = time.Now()
	_, err := c.Now(context.Background())
	if took := time.Since(began); err == nil || took > timeout*3/2 {
		t.Errorf("Options.Timeout is %v, and it took %v: %v", timeout, took, err)
	}
}

// TestStaleCause: an error says what happened now, and not on a connection of long ago.
func TestStaleCause(t *testing.T) {
	var silent atomic.Bool
	var n atomic.Uint64
	end := make(chan struct{})
	f := &fake{}
	f.batch = func(r *rpc.SessionRequest) (*rpc.SessionResponse, error) {
		if n.Add(1) == 1 {
			return nil, connect.NewError(connect.CodeUnauthenticated, errors.New("the token has expired"))
		}
		if silent.Load() {
			<-end
		}
		return &rpc.SessionResponse{First: uint64(time.Now().UnixNano())}, nil
	}
	at := f.serve(t)
	t.Cleanup(func() { close(end) })
	c := newClient(t, client.Options{Addresses: []string{at}, Timeout: 300 * time.Millisecond})
	if _, err := c.Now(t.Context()); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Fatal(err)
	}
	ts, err := c.Now(t.Context()) // a while later, it is accepted again
	must(t, ts, err)
	silent.Store(true)
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			if _, err := c.NowN(context.Background(), hlc.CountMax); connect.CodeOf(err) == connect.CodeUnauthenticated {
				t.Errorf("of an appliance that is silent: %v", err)
			}
		})
	}
	calls.Wait()
}

// TestRedirect: the token goes to the address that was named, and nowhere else.
func TestRedirect(t *testing.T) {
	for _, status := range []int{http.StatusFound, http.StatusTemporaryRedirect} {
		var leaked atomic.Value
		stranger := web(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { leaked.Store(r.Header.Get("Authorization")) }))
		named := web(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, stranger.URL+r.URL.Path, status)
		}))
		c := newClient(t, client.Options{Addresses: []string{named.Listener.Addr().String()}, Token: "secret", Timeout: 200 * time.Millisecond})
		start := time.Now()
		_, _ = c.Now(t.Context())
		if took := time.Since(start); took > time.Second {
			t.Errorf("%d: Now took %v", status, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond) // Cut has ten seconds more
		_, _ = c.Cut(ctx, 0, client.Selection{})
		cancel()
		if got := leaked.Load(); got != nil {
			t.Errorf("%d: a stranger was shown %q", status, got)
		}
	}
}

// TestTLS: h2 works with a *tls.Config of the caller's, and TLS 1.2 is not enough.
func TestTLS(t *testing.T) {
	f := &fake{
		cut: func(context.Context) (*rpc.CutResponse, error) { return &rpc.CutResponse{Timestamp: 7}, nil },
		batch: func(r *rpc.SessionRequest) (*rpc.SessionResponse, error) {
			return &rpc.SessionResponse{First: uint64(time.Now().UnixNano())}, nil
		},
	}
	for _, old := range []bool{false, true} {
		w := httptest.NewUnstartedServer(f.mux())
		w.EnableHTTP2 = true
		w.StartTLS()
		t.Cleanup(w.Close)
		if old {
			w.TLS.MaxVersion = 0x0303
		}
		trust := w.Client().Transport.(*http.Transport).TLSClientConfig
		c := newClient(t, client.Options{Addresses: []string{w.URL}, TLS: trust, Timeout: time.Second, Token: "t"})
		_, err := c.Cut(t.Context(), 0, client.Selection{})
		if _, nowErr := c.Now(t.Context()); old != (err != nil) || old != (nowErr != nil) {
			t.Errorf("TLS 1.2 alone: %v: %v, %v", old, err, nowErr)
		}
		w.Client().CloseIdleConnections()
	}
}

// TestAppendEnded: an append whose context had ended before, and one that could not connect,
// did not take place for certain.
func TestAppendEnded(t *testing.T) {
	a := newAppliance(t)
	c := clientOf(t, a)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Append(ctx, client.Batch{Entries: []client.Entry{{Stream: "s"}}}); errors.Is(err, client.ErrUncertain) {
		t.Errorf("with a context that had ended: %v", err)
	}
	w := httptest.NewUnstartedServer(http.NotFoundHandler())
	w.EnableHTTP2 = true
	w.Config.ErrorLog = nil
	w.StartTLS()
	t.Cleanup(w.Close)
	c = newClient(t, client.Options{Addresses: []string{w.URL}, Timeout: 300 * time.Millisecond})
	if _, err := c.Append(t.Context(), client.Batch{Entries: []client.Entry{{Stream: "s"}}}); errors.Is(err, client.ErrUncertain) {
		t.Errorf("with a certificate that is not trusted: %v", err)
	}
}
