package load

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc/client"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

// fakeAPI answers with timestamps and receipts that rise; every tenth call fails once broken is set.
type fakeAPI struct {
	rpcconnect.UnimplementedClockServiceHandler
	rpcconnect.UnimplementedStreamServiceHandler
	last    atomic.Uint64
	appends atomic.Uint64
	entries atomic.Uint64
	broken  atomic.Bool
}

func (f *fakeAPI) Session(_ context.Context, s *connect.BidiStream[rpc.SessionRequest, rpc.SessionResponse]) error {
	for {
		r, err := s.Receive()
		if err != nil {
			return nil
		}
		n := uint64(r.Count)
		if err := s.Send(&rpc.SessionResponse{First: f.last.Add(n) - n + 1}); err != nil {
			return err
		}
	}
}

func (f *fakeAPI) Append(_ context.Context, r *connect.Request[rpc.AppendRequest]) (*connect.Response[rpc.AppendResponse], error) {
	if n := f.appends.Add(1); f.broken.Load() && n%10 == 0 {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("the tenth"))
	}
	n := uint64(len(r.Msg.Entries))
	f.entries.Add(n)
	return connect.NewResponse(&rpc.AppendResponse{Timestamp: f.last.Add(n) - n + 1, Sequences: make([]uint64, n)}), nil
}

func newFakeAPI(t *testing.T) (*fakeAPI, *client.Client) {
	f := new(fakeAPI)
	mux := http.NewServeMux()
	mux.Handle(rpcconnect.NewClockServiceHandler(f))
	mux.Handle(rpcconnect.NewStreamServiceHandler(f))
	web := httptest.NewUnstartedServer(mux)
	web.Config.Protocols = new(http.Protocols)
	web.Config.Protocols.SetUnencryptedHTTP2(true)
	web.Start()
	t.Cleanup(web.Close)
	c, err := client.New(client.Options{Addresses: []string{web.Listener.Addr().String()}, Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return f, c
}

// short are options of a run of a moment.
func short(o APIOptions) APIOptions {
	o.Duration, o.Warmup = 100*time.Millisecond, 20*time.Millisecond
	return o
}

func TestAPITimestamps(t *testing.T) {
	f, c := newFakeAPI(t)
	o := short(APIDefaults())
	o.Callers, o.Batch = 8, 100
	o.Duration = 500 * time.Millisecond
	looks := 0
	r, err := RunAPI(t.Context(), c, o, func(p APIProgress) {
		looks++
		if p.Lasts != o.Warmup+o.Duration || p.Elapsed <= 0 || p.Elapsed > p.Lasts || p.Items <= 0 {
			t.Errorf("progress %+v", p)
		}
	})
	if err != nil || r.Calls == 0 || r.Items != 100*r.Calls || r.Failed != 0 || r.Failure != nil || r.Interrupted || r.Measured != o.Duration {
		t.Errorf("%+v, %v", r, err)
	}
	if r.Took.Count != r.Calls || r.Took.P50 <= 0 || r.Took.Max < r.Took.P50 || looks == 0 {
		t.Errorf("%+v, %d looks", r.Took, looks)
	}
	if issued := f.last.Load(); r.Items > issued {
		t.Errorf("%d counted, %d issued", r.Items, issued)
	}
	if want := float64(r.Items) / 0.5; r.PerSecond(r.Items) != want {
		t.Errorf("%v a second, want %v", r.PerSecond(r.Items), want)
	}
}

func TestAPIAppends(t *testing.T) {
	f, c := newFakeAPI(t)
	o := short(APIDefaults())
	o.Callers, o.Batch, o.Stream = 4, 5, "s"
	f.broken.Store(true)
	r, err := RunAPI(t.Context(), c, o, nil)
	if err != nil || r.Calls == 0 || r.Failed == 0 || r.Failure == nil || !strings.Contains(r.Failure.Error(), "the tenth") || r.Items != 5*r.Calls {
		t.Errorf("%+v, %v", r, err)
	}
	if f.entries.Load() < r.Items || f.entries.Load()%5 != 0 {
		t.Errorf("%d entries, %d counted", f.entries.Load(), r.Items)
	}
}

func TestAPIInterrupted(t *testing.T) {
	_, c := newFakeAPI(t)
	o := short(APIDefaults())
	o.Duration = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r, err := RunAPI(ctx, c, o, nil)
	if err != nil || !r.Interrupted || r.Measured <= 0 || r.Measured > 20*time.Second || r.Failed != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAPIUnreachable(t *testing.T) {
	c, err := client.New(client.Options{Addresses: []string{"127.0.0.1:1"}, Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := RunAPI(t.Context(), c, short(APIDefaults()), nil); !errors.Is(err, client.ErrUnreachable) {
		t.Error(err)
	}
}

func TestAPIOptions(t *testing.T) {
	for says, change := range map[string]func(*APIOptions){
		"callers is 0":     func(o *APIOptions) { o.Callers = 0 },
		"callers is 10001": func(o *APIOptions) { o.Callers = CallersMax + 1 },
		"want 1 to 65536":  func(o *APIOptions) { o.Batch = 65_537 },
		"want 1 to 10000":  func(o *APIOptions) { o.Batch, o.Stream = 10_001, "s" },
		"payload is 0":     func(o *APIOptions) { o.Payload = 0 },
		"one append holds": func(o *APIOptions) { o.Payload, o.Batch, o.Stream = 1<<20, 9, "s" },
		"seconds is 0":     func(o *APIOptions) { o.Duration = 0 },
		"warmup is -1":     func(o *APIOptions) { o.Warmup = -1 },
	} {
		o := APIDefaults()
		change(&o)
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
