package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
	"github.com/truechimer/truechimer/store"
)

// TestProtocols: every protocol gets the same answers and the same errors, over HTTP/1.1
// and over HTTP/2 in the clear, on one port.
func TestProtocols(t *testing.T) {
	base := serve(t, Services{Issuer: newIssuer(t), Node: newFakeNode()})
	for _, c := range []struct {
		name      string
		options   []connect.ClientOption
		protocols []func(*http.Protocols)
	}{
		{name: "Connect", options: nil},
		{name: "Connect over h2c", options: nil, protocols: []func(*http.Protocols){h2c}},
		{name: "Connect in JSON over h2c", options: []connect.ClientOption{connect.WithProtoJSON()}, protocols: []func(*http.Protocols){h2c}},
		{name: "gRPC over h2c", options: []connect.ClientOption{connect.WithGRPC()}, protocols: []func(*http.Protocols){h2c}},
		{name: "gRPC in JSON over h2c", options: []connect.ClientOption{connect.WithGRPC(), connect.WithProtoJSON()}, protocols: []func(*http.Protocols){h2c}},
		{name: "gRPC-Web", options: []connect.ClientOption{connect.WithGRPCWeb()}},
		{name: "compressed", options: []connect.ClientOption{connect.WithSendGzip()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := newClient(t, c.protocols...)
			clocks := rpcconnect.NewClockServiceClient(client, base, c.options...)
			nodes := rpcconnect.NewNodeServiceClient(client, base, c.options...)
			ctx := t.Context()
			count := int64(3)
			first, err := clocks.Now(ctx, connect.NewRequest(&rpc.NowRequest{Count: &count}))
			if err != nil || first.Msg.Count != 3 {
				t.Fatalf("%v, %v", first, err)
			}
			second, err := clocks.Now(ctx, connect.NewRequest(&rpc.NowRequest{}))
			if err != nil || second.Msg.Timestamp < first.Msg.Timestamp+3 || second.Msg.Count != 1 {
				t.Errorf("%v, %v", second, err)
			}
			observed, err := clocks.Observe(ctx, connect.NewRequest(&rpc.ObserveRequest{Timestamp: second.Msg.Timestamp + 1<<20}))
			if err != nil || observed.Msg.Timestamp <= second.Msg.Timestamp+1<<20 {
				t.Errorf("%v, %v", observed, err)
			}
			interval, err := clocks.Interval(ctx, connect.NewRequest(&rpc.IntervalRequest{}))
			if err != nil || interval.Msg.Earliest >= interval.Msg.Latest || interval.Msg.Timescale != "UTC" {
				t.Errorf("%v, %v", interval, err)
			}
			committed, err := clocks.Commit(ctx, connect.NewRequest(&rpc.CommitRequest{}))
			if err != nil {
				t.Fatal(err)
			}
			waited, err := clocks.Wait(ctx, connect.NewRequest(&rpc.WaitRequest{Timestamp: committed.Msg.Timestamp}))
			if err != nil || waited.Msg.Earliest <= committed.Msg.Timestamp {
				t.Errorf("%v, %v", waited, err)
			}
			status, err := nodes.Status(ctx, connect.NewRequest(&rpc.StatusRequest{}))
			if err != nil || status.Msg.Node.Name != "alpha" || !status.Msg.Ready {
				t.Errorf("%v, %v", status, err)
			}
			count = 0
			_, err = clocks.Now(ctx, connect.NewRequest(&rpc.NowRequest{Count: &count}))
			if connect.CodeOf(err) != connect.CodeInvalidArgument || !connect.IsWireError(err) || !strings.Contains(err.Error(), "ask for 1 to 65536") {
				t.Errorf("count 0: %v", err)
			}
			listed, err := nodes.Clients(ctx, connect.NewRequest(&rpc.ClientsRequest{}))
			if err != nil || len(listed.Msg.Clients) != 0 || listed.Msg.UtcUnixNs != noon+1e9 {
				t.Errorf("%v, %v", listed, err)
			}
			unknown := connect.NewClient[rpc.NowRequest, rpc.NowResponse](client, base+"/truechimer.v1.ClockService/Then", c.options...)
			_, err = unknown.CallUnary(ctx, connect.NewRequest(&rpc.NowRequest{}))
			if connect.CodeOf(err) != connect.CodeUnimplemented || !connect.IsWireError(err) || !strings.Contains(err.Error(), "its calls are Now, ") {
				t.Errorf("an unknown call: %v", err)
			}
			_, err = nodes.AcceptClock(ctx, connect.NewRequest(&rpc.AcceptClockRequest{}))
			if connect.CodeOf(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), "nothing to accept") {
				t.Errorf("accept: %v", err)
			}
		})
	}
}

// TestDeadline: a deadline that the client names ends its call on this side too.
func TestDeadline(t *testing.T) {
	base := serve(t, Services{Issuer: newIssuer(t), Node: newFakeNode()})
	client := newClient(t)
	ahead := uint64(hlc.FromUnix(time.Now().Add(5 * time.Second).UnixNano()))
	a := send(t, client, http.MethodPost, base+"/truechimer.v1.ClockService/Wait", fmt.Sprintf(`{"timestamp":"%d"}`, ahead),
		map[string]string{"Content-Type": "application/json", "Connect-Timeout-Ms": "20"})
	if r := a.refusal(t); a.status != http.StatusGatewayTimeout || r.Code != "deadline_exceeded" {
		t.Errorf("status %d, %+v", a.status, r)
	}
}

// TestCodes gives every error of the parts below its code, and keeps its sentence.
func TestCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		code connect.Code
		says string
	}{
		{context.Canceled, connect.CodeCanceled, "canceled"},
		{fmt.Errorf("wait: %w", context.DeadlineExceeded), connect.CodeDeadlineExceeded, "deadline"},
		{hlc.ErrCount, connect.CodeInvalidArgument, "count"},
		{&hlc.LeadError{Lead: time.Hour, MaxLead: time.Second}, connect.CodeFailedPrecondition, "hlc rebase"},
		{&hlc.LeadError{Lead: time.Hour, MaxLead: time.Second, Remote: true}, connect.CodeFailedPrecondition, "check the clock of its sender"},
		{store.ErrNotStarted, connect.CodeUnavailable, "waitsync"},
		{fmt.Errorf("interval: %w: why", ErrNoInterval), connect.CodeFailedPrecondition, "why"},
		{fmt.Errorf("wait: %w: by how much", store.ErrTooFar), connect.CodeFailedPrecondition, "by how much; wait for an earlier timestamp, or ask again later"},
		{store.ErrEpoch, connect.CodeFailedPrecondition, "epoch"},
		{ErrNothingHeld, connect.CodeFailedPrecondition, "nothing to accept"},
		{ErrOtherJump, connect.CodeFailedPrecondition, "look at status again"},
		{ErrNotAhead, connect.CodeFailedPrecondition, "nothing to bring back"},
		{ErrNotSteering, connect.CodeFailedPrecondition, "set clock.mode to steer"},
		{ErrNoEstimate, connect.CodeFailedPrecondition, "see truechimer sources"},
		{ErrOtherOffset, connect.CodeFailedPrecondition, "look at status again"},
		{fmt.Errorf("%w: %w", store.ErrExhausted, hlc.ErrCeiling), connect.CodeUnavailable, "slow or full"},
		{fmt.Errorf("issuing has ended: %w", store.ErrFenced), connect.CodeUnavailable, "replace the disk and restart"},
		{store.ErrClosed, connect.CodeUnavailable, "this node is stopping"},
		{errUnlisted, connect.CodeInternal, "nobody thought of"},
	} {
		err := callError(c.err)
		if connect.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) || !errors.Is(err, c.err) {
			t.Errorf("%v: got %v", c.err, err)
		}
	}
}

// TestErrorOfEveryCall: no call swallows the error of what it asks.
func TestErrorOfEveryCall(t *testing.T) {
	node := newFakeNode()
	node.accept = func(time.Duration) (time.Duration, error) { return 0, errUnlisted }
	node.rebase = func(uint64) (Rebased, error) { return Rebased{}, errUnlisted }
	base := serve(t, Services{Issuer: fakeIssuer{errUnlisted}, Node: node})
	client := newClient(t)
	for _, method := range []string{"ClockService/Now", "ClockService/Observe", "ClockService/Interval", "ClockService/Wait", "ClockService/Commit", "NodeService/AcceptClock", "NodeService/Rebase"} {
		a := call(t, client, base, method, "{}")
		if r := a.refusal(t); a.status != http.StatusInternalServerError || r != (refused{"internal", errUnlisted.Error()}) {
			t.Errorf("%s: status %d, %+v", method, a.status, r)
		}
	}
}

// TestPanic: a call that panics is answered, and the server lives.
func TestPanic(t *testing.T) {
	node := newFakeNode()
	node.accept = func(time.Duration) (time.Duration, error) { panic("a secret of the inside") }
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: node})
	client := newClient(t)
	a := call(t, client, base, "NodeService/AcceptClock", "{}")
	if r := a.refusal(t); r.Code != "internal" || !strings.Contains(r.Message, "log") || strings.Contains(r.Message, "secret") {
		t.Errorf("status %d, %+v", a.status, r)
	}
	if a := call(t, client, base, "ClockService/Now", "{}"); a.status != http.StatusOK {
		t.Errorf("afterwards: %+v", a)
	}
}
