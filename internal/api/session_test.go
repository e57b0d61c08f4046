package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

type session = *connect.BidiStreamForClient[rpc.SessionRequest, rpc.SessionResponse]

// exchange sends a batch and returns its answer.
func exchange(t *testing.T, s session, r *rpc.SessionRequest) *rpc.SessionResponse {
	t.Helper()
	if err := s.Send(r); err != nil {
		t.Fatal(err)
	}
	a, err := s.Receive()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// end closes a session from this side and demands that the other side agrees.
func end(t *testing.T, s session) {
	t.Helper()
	if err := s.CloseRequest(); err != nil {
		t.Error(err)
	}
	if a, err := s.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v, %v", a, err)
	}
	if err := s.CloseResponse(); err != nil {
		t.Error(err)
	}
}

// TestSession: by each protocol that has bidirectional streams, a batch is answered in full,
// above what was seen, and each part fails for itself.
func TestSession(t *testing.T) {
	base := serve(t, Services{Issuer: newIssuer(t), Node: newFakeNode(), Timescale: "a scale"})
	for name, options := range map[string][]connect.ClientOption{
		"Connect": nil, "JSON": {connect.WithProtoJSON()}, "gRPC": {connect.WithGRPC()},
	} {
		t.Run(name, func(t *testing.T) {
			s := rpcconnect.NewClockServiceClient(newClient(t, h2c), base, options...).Session(t.Context())
			defer end(t, s)
			if a := exchange(t, s, &rpc.SessionRequest{}); a.First != 0 || a.Fault != nil || len(a.Observed) != 0 || a.Latest != 0 || a.IntervalFault != nil {
				t.Errorf("nothing asked: %v", a)
			}
			now := uint64(hlc.FromUnix(time.Now().UnixNano()))
			seen := now + 100e6
			a := exchange(t, s, &rpc.SessionRequest{Seen: seen, Count: 3, Observe: []uint64{1, seen + 1<<20}, Interval: true})
			if a.Fault != nil || a.First <= seen {
				t.Errorf("seen %d: %v", seen, a)
			}
			if len(a.Observed) != 2 || a.Observed[0].Fault != nil || a.Observed[0].Timestamp <= a.First+2 || a.Observed[1].Timestamp <= seen+1<<20 {
				t.Errorf("observed %v, first %d", a.Observed, a.First)
			}
			if a.IntervalFault != nil || a.Earliest > now+2e9 || a.Latest < a.Observed[1].Timestamp || a.Timescale != "a scale" {
				t.Errorf("interval %v", a)
			}
			// The interval alone is above what was seen too.
			seen = a.Latest + 50e6
			if a := exchange(t, s, &rpc.SessionRequest{Seen: seen, Interval: true}); a.Latest <= seen || a.IntervalFault != nil || a.First != 0 {
				t.Errorf("interval above %d: %v", seen, a)
			}
			// One bad timestamp spoils nothing but itself.
			hour := uint64(hlc.FromUnix(time.Now().Add(time.Hour).UnixNano()))
			a = exchange(t, s, &rpc.SessionRequest{Count: 1, Observe: []uint64{hour, 2}})
			if a.Fault != nil || a.First == 0 || a.Observed[0].Timestamp != 0 || a.Observed[0].Fault.GetCode() != int32(connect.CodeFailedPrecondition) ||
				!strings.Contains(a.Observed[0].Fault.Message, "ahead of this clock") || a.Observed[1].Fault != nil || a.Observed[1].Timestamp <= a.First {
				t.Errorf("with an hour ahead: %v", a)
			}
			a = exchange(t, s, &rpc.SessionRequest{Seen: hour, Count: 1, Observe: []uint64{1}, Interval: true})
			for _, f := range []*rpc.Fault{a.Fault, a.Observed[0].Fault, a.IntervalFault} {
				if f.GetCode() != int32(connect.CodeFailedPrecondition) {
					t.Errorf("seen an hour ahead: %v", a)
				}
			}
		})
	}
}

// TestSessionRefusals: what is no batch ends the session, with a sentence; over HTTP/1.1
// there is none.
func TestSessionRefusals(t *testing.T) {
	base := serve(t, Services{Issuer: newIssuer(t), Node: newFakeNode()})
	clocks := rpcconnect.NewClockServiceClient(newClient(t, h2c), base)
	for name, c := range map[string]struct {
		request *rpc.SessionRequest
		says    string
	}{
		"negative": {&rpc.SessionRequest{Count: -1}, "ask for 0 to 65536"},
		"too many": {&rpc.SessionRequest{Count: hlc.CountMax + 1}, "ask for 0 to 65536"},
		"observes": {&rpc.SessionRequest{Observe: make([]uint64, observeMax+1)}, "name 1024 at the most"},
	} {
		s := clocks.Session(t.Context())
		if err := s.Send(c.request); err != nil {
			t.Fatal(err)
		}
		_, err := s.Receive()
		if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		s.CloseRequest()
		s.CloseResponse()
	}
	s := clocks.Session(t.Context())
	if a := exchange(t, s, &rpc.SessionRequest{Count: hlc.CountMax, Observe: make([]uint64, observeMax)}); a.Fault != nil || len(a.Observed) != observeMax {
		t.Errorf("the largest batch: %v", a.Fault)
	}
	end(t, s)
	s = rpcconnect.NewClockServiceClient(newClient(t), base).Session(t.Context())
	if err := s.Send(&rpc.SessionRequest{}); err == nil {
		if _, err = s.Receive(); err == nil {
			t.Error("a session over HTTP/1.1")
		}
	}
	s.CloseRequest()
	s.CloseResponse()
}

// TestSessionFaults: an issuer that fails does not end a session.
func TestSessionFaults(t *testing.T) {
	base := serve(t, Services{Issuer: fakeIssuer{errUnlisted}, Node: newFakeNode()})
	s := rpcconnect.NewClockServiceClient(newClient(t, h2c), base).Session(t.Context())
	defer end(t, s)
	for range 2 {
		a := exchange(t, s, &rpc.SessionRequest{Count: 1, Observe: []uint64{1}, Interval: true})
		for _, f := range []*rpc.Fault{a.Fault, a.Observed[0].Fault, a.IntervalFault} {
			if f.GetCode() != int32(connect.CodeInternal) || !strings.Contains(f.GetMessage(), "nobody thought of") {
				t.Errorf("%v", a)
			}
		}
	}
}

// TestSessionLong: the limits for slow clients leave a session alone, for hours; it ends at
// once when the server stops or its client goes away.
func TestSessionLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		stop := run(t, on(p, 10), Services{Issuer: fakeIssuer{}, Node: newFakeNode()})
		client := p.client(t, h2c)
		clocks := rpcconnect.NewClockServiceClient(client, "http://localhost")
		s := clocks.Session(t.Context())
		for _, pause := range []time.Duration{0, headerTimeout, unresponsiveAfter + time.Second, callMax + time.Second, idleTimeout + time.Second, 5 * time.Hour} {
			time.Sleep(pause)
			if a := exchange(t, s, &rpc.SessionRequest{Seen: 5, Count: 1}); a.First != 6 {
				t.Errorf("after %v: %v", pause, a)
			}
		}
		ctx, leave := context.WithCancel(t.Context())
		left := clocks.Session(ctx)
		exchange(t, left, &rpc.SessionRequest{})
		leave()
		if _, err := left.Receive(); err == nil {
			t.Error("a session goes on that was left")
		}
		start := time.Now()
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		if _, err := s.Receive(); connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "is stopping") {
			t.Errorf("at the stop: %v", err)
		}
		if took := time.Since(start); took > farewellMax {
			t.Errorf("it took %v", took)
		}
		s.CloseRequest()
		s.CloseResponse()
		<-stopped
		client.CloseIdleConnections()
	})
}

// TestSessionSlots: sessions have slots of their own.
func TestSessionSlots(t *testing.T) {
	limits := newLimits(1, connect.NewErrorWriter())
	if got := cap(limits.sessions.slots); got != sessionsMax {
		t.Errorf("%d sessions", got)
	}
	limits.sessions.slots = make(chan struct{}, 1)
	mux := http.NewServeMux()
	path, service := rpcconnect.NewClockServiceHandler(&clockService{fakeIssuer{}, timescaleUTC, t.Context()})
	mux.Handle(path, openGate().guard(limits.apply(service), limits.refusals))
	base := serveHandler(t, mux)
	clocks := rpcconnect.NewClockServiceClient(newClient(t, h2c), base)
	first := clocks.Session(t.Context())
	exchange(t, first, &rpc.SessionRequest{})
	if _, err := clocks.Now(t.Context(), connect.NewRequest(&rpc.NowRequest{})); err != nil {
		t.Errorf("a call beside the one session: %v", err)
	}
	second := clocks.Session(t.Context())
	_ = second.Send(&rpc.SessionRequest{}) // it may be refused before that
	if _, err := second.Receive(); connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "sessions are in progress") {
		t.Errorf("a session too many: %v", err)
	}
	second.CloseRequest()
	second.CloseResponse()
	end(t, first)
	third := clocks.Session(t.Context())
	exchange(t, third, &rpc.SessionRequest{})
	end(t, third)
}
