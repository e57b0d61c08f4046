package main

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
	"github.com/truechimer/truechimer/ntpserver"
)

// fakeNode answers with the status that a test gives it, and notes what it is told.
type fakeNode struct {
	rpcconnect.UnimplementedNodeServiceHandler
	mu       sync.Mutex
	status   func(asked int) *rpc.StatusResponse // asked counts from 1
	clients  func(asked int) (*rpc.ClientsResponse, error)
	asked    int
	wanted   string // the limit and the order of the last Clients
	accepted []int64
	rebased  []uint64
}

func (n *fakeNode) Status(context.Context, *connect.Request[rpc.StatusRequest]) (*connect.Response[rpc.StatusResponse], error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	return connect.NewResponse(n.status(n.asked)), nil
}

func (n *fakeNode) Clients(_ context.Context, r *connect.Request[rpc.ClientsRequest]) (*connect.Response[rpc.ClientsResponse], error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	n.wanted = fmt.Sprint(r.Msg.GetLimit(), " ", r.Msg.Order)
	m, err := n.clients(n.asked)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(m), nil
}

func (n *fakeNode) AcceptClock(_ context.Context, r *connect.Request[rpc.AcceptClockRequest]) (*connect.Response[rpc.AcceptClockResponse], error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.accepted = append(n.accepted, r.Msg.JumpNs)
	return connect.NewResponse(&rpc.AcceptClockResponse{JumpNs: r.Msg.JumpNs + 1e6}), nil
}

func (n *fakeNode) Rebase(_ context.Context, r *connect.Request[rpc.RebaseRequest]) (*connect.Response[rpc.RebaseResponse], error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rebased = append(n.rebased, r.Msg.Epoch)
	return connect.NewResponse(&rpc.RebaseResponse{Epoch: r.Msg.Epoch + 1, BackNs: int64(time.Hour)}), nil
}

// atNoon is the status of a node that is well, and nothing was issued yet.
func atNoon(change func(*rpc.StatusResponse)) *rpc.StatusResponse {
	s := &rpc.StatusResponse{
		Node: &rpc.Node{Name: "one"},
		Clock: &rpc.Clock{
			State: rpc.ClockState_CLOCK_STATE_UNSYNCHRONISED, Mode: "follow", Source: "chronyd",
			UtcUnixNs: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).UnixNano(),
		},
		Hlc: &rpc.Hlc{Epoch: 3, Issuing: true, MaxLeadNs: int64(time.Second)},
		Ntp: &rpc.Ntp{},
	}
	change(s)
	return s
}

// ask runs a command against the node.
func (n *fakeNode) ask(t *testing.T, args ...string) (code int, out, log string) {
	t.Helper()
	return n.askUntil(t, t.Context(), args...)
}

// askUntil runs a command against the node until it or ctx ends.
func (n *fakeNode) askUntil(t *testing.T, ctx context.Context, args ...string) (code int, out, log string) {
	t.Helper()
	_, handler := rpcconnect.NewNodeServiceHandler(n)
	web := httptest.NewServer(handler)
	defer web.Close()
	var o, l strings.Builder
	code = run(ctx, append([]string{"--api", web.URL}, args...), streams{strings.NewReader(""), &o, &l})
	return code, o.String(), l.String()
}

// TestDecisions: an operator is told what a decision would do, and it is that decision,
// and no other, that is then made.
func TestDecisions(t *testing.T) {
	const minute = int64(time.Minute)
	noon := atNoon(func(*rpc.StatusResponse) {}).Clock.UtcUnixNs
	for _, c := range []struct {
		name     string
		change   func(*rpc.StatusResponse)
		args     string
		code     int
		out, log string
		accepted []int64
		rebased  []uint64
	}{
		{
			name: "a jump forward", change: func(s *rpc.StatusResponse) { s.Hlc.HeldJumpNs = 90 * minute }, args: "clock accept",
			code: exitUsage, log: "truechimer: this would take a jump of 1h30m0s as the truth, and 2026-11-22T12:00:00Z as the time; say --yes if that is what you want\n",
		},
		{
			name: "a jump back", change: func(s *rpc.StatusResponse) { s.Hlc.HeldJumpNs = -minute }, args: "clock accept --json",
			code: exitUsage, log: "truechimer: this would take a jump of -1m0s as the truth, and 2026-11-22T12:00:00Z as the time; say --yes if that is what you want\n",
		},
		{
			name: "a jump, yes", change: func(s *rpc.StatusResponse) { s.Hlc.HeldJumpNs = 90*minute + 7 }, args: "clock accept --yes",
			out: "accepted a jump of 1h30m0.001000007s\n", accepted: []int64{90*minute + 7},
		},
		{
			name: "no jump", change: func(*rpc.StatusResponse) {}, args: "clock accept --yes",
			code: exitFailed, log: "truechimer: no clock jump is being held: there is nothing to accept\n",
		},
		{
			name: "not ahead", change: func(s *rpc.StatusResponse) { s.Hlc.Last, s.Hlc.PhysicalAheadNs = uint64(noon), 1e9 }, args: "hlc rebase",
			code: exitFailed, log: "truechimer: the hybrid clock is not ahead of its time by more than the max lead: there is nothing to bring back\n",
		},
		{
			name: "physical time is ahead and nothing was issued", change: func(s *rpc.StatusResponse) { s.Hlc.PhysicalAheadNs = 60 * minute }, args: "hlc rebase",
			code: exitUsage, log: "truechimer: this would end epoch 3 and move timestamps by -1h0m0s: they may repeat; say --yes if that is what you want\n",
		},
		{
			name: "physical time is behind what was issued",
			change: func(s *rpc.StatusResponse) {
				s.Hlc.Last, s.Hlc.PhysicalAheadNs = uint64(noon+128*minute)&^1023, minute
			},
			args: "hlc rebase", code: exitUsage, log: "truechimer: this would end epoch 3 and move timestamps by -2h8m0s: they may repeat; say --yes if that is what you want\n",
		},
		{
			name: "ahead, yes", change: func(s *rpc.StatusResponse) { s.Hlc.PhysicalAheadNs = 60 * minute }, args: "hlc rebase --yes",
			out: "epoch 4 begins 1h0m0s back; the last timestamp before it was 1970-01-01T00:00:00.000000000Z+0000\n", rebased: []uint64{3},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := fakeNode{status: func(int) *rpc.StatusResponse { return atNoon(c.change) }}
			code, out, log := n.ask(t, strings.Fields(c.args)...)
			if code != c.code || out != c.out || log != c.log {
				t.Errorf("exit code %d, want %d\n%s%s\nwant\n%s%s", code, c.code, out, log, c.out, c.log)
			}
			if len(n.accepted) != len(c.accepted) || len(n.accepted) > 0 && n.accepted[0] != c.accepted[0] {
				t.Errorf("accepted %v, want %v", n.accepted, c.accepted)
			}
			if len(n.rebased) != len(c.rebased) || len(n.rebased) > 0 && n.rebased[0] != c.rebased[0] {
				t.Errorf("rebased %v, want %v", n.rebased, c.rebased)
			}
		})
	}
}

// TestStatusSays: what the lines of status say of states that are rare.
func TestStatusSays(t *testing.T) {
	const ended = "no timestamp is issued any more until the next start: store: not the current epoch"
	for name, c := range map[string]struct {
		change func(*rpc.StatusResponse)
		want   string
	}{
		"chronyd": {func(*rpc.StatusResponse) {}, "(mode follow, vouched for by chronyd)\n"},
		"kernel":  {func(s *rpc.StatusResponse) { s.Clock.Source = "kernel" }, "(mode follow, vouched for by kernel)\n"},
		"local":   {func(s *rpc.StatusResponse) { s.Clock.Source = "local" }, "(mode follow, nobody vouches for it)\n"},
		"none":    {func(s *rpc.StatusResponse) { s.Clock.Source = "none" }, "(mode follow, nobody vouches for it)\n"},
		"ended": {func(s *rpc.StatusResponse) {
			s.Hlc.Issuing, s.NotReady = false, []string{ended, "the clock is not synchronised: why"}
		}, "hlc    " + ended + ", epoch 3\n"},
		"not begun": {func(s *rpc.StatusResponse) {
			s.Hlc.Issuing, s.NotReady = false, []string{"the clock is not synchronised: why", "no timestamp is issued before the clock is synchronised for the first time"}
		}, "hlc    no timestamp is issued before the clock is synchronised for the first time, epoch 3\n"},
		"nobody knows": {func(s *rpc.StatusResponse) { s.Hlc.Issuing = false }, "hlc    nothing is issued; see below, epoch 3\n"},
		"fenced":       {func(s *rpc.StatusResponse) { s.Hlc.Issuing, s.Hlc.Fenced = false, "the disk" }, "hlc    stopped: the disk\n"},
	} {
		t.Run(name, func(t *testing.T) {
			n := fakeNode{status: func(int) *rpc.StatusResponse { return atNoon(c.change) }}
			if code, out, log := n.ask(t, "status"); code != 0 || log != "" || !strings.Contains(out, c.want) {
				t.Errorf("exit code %d, %s\n%s\nwant %q", code, log, out, c.want)
			}
		})
	}
}

// TestStatusCounts: what became of the requests is told in three lines at the most.
func TestStatusCounts(t *testing.T) {
	for name, c := range map[string]struct {
		verdicts map[string]uint64
		drops    uint64
		want     string
	}{
		"nothing":      {nil, 0, "nothing asked yet\n"},
		"zeros":        {map[string]uint64{"answered": 0, "rate": 0, "short": 0}, 0, "nothing asked yet\n"},
		"plain":        {map[string]uint64{"answered": 14, "rate": 0}, 0, "14 answered\n"},
		"only special": {map[string]uint64{"interleaved": 2}, 0, "2 answered (2 interleaved)\n"},
		"everything": {
			map[string]uint64{
				"answered": 1, "interleaved": 2, "interleaved_missed": 3, "leaked": 4, "kissed": 5, "rate": 6, "denied": 7,
				"short": 8, "version": 9, "unheard_of": 10,
			}, 11, `10 answered (2 interleaved, 3 interleaved missed, 4 leaked)
       18 refused (7 denied, 5 kissed, 6 rate)
       27 ignored (8 short, 10 unheard of, 9 version)
       11 dropped by the kernel: not read in time
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := fakeNode{status: func(int) *rpc.StatusResponse {
				return atNoon(func(s *rpc.StatusResponse) {
					s.Ntp = &rpc.Ntp{Listen: []string{"127.0.0.1:11123"}, Verdicts: c.verdicts, KernelDrops: c.drops}
				})
			}}
			code, out, log := n.ask(t, "status")
			_, got, _ := strings.Cut(out, "\nntp    127.0.0.1:11123\n       ")
			if code != 0 || log != "" || got != c.want {
				t.Errorf("exit code %d, %s\n%s\nwant\n%s", code, log, got, c.want)
			}
		})
	}
}

// TestStatusNamesVerdicts: every verdict that answers or refuses is told as such.
func TestStatusNamesVerdicts(t *testing.T) {
	for _, v := range ntpserver.Verdicts() {
		want := "1 ignored ("
		switch v {
		case ntpserver.Answered, ntpserver.AnsweredInterleaved, ntpserver.AnsweredMissed, ntpserver.AnsweredLeak:
			want = "1 answered"
		case ntpserver.KissRate, ntpserver.DropRate, ntpserver.DropDenied:
			want = "1 refused ("
		}
		if got := verdictWords(map[string]uint64{v.String(): 1}); len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}

// TestWatch: it prints again and again, outlives a server that is away for a while, and
// ends well when it is told to; but a server that never was is an error.
func TestWatch(t *testing.T) {
	away := connect.NewError(connect.CodeUnavailable, errors.New("away"))
	ctx, cancel := context.WithCancel(t.Context())
	n := fakeNode{clients: func(asked int) (*rpc.ClientsResponse, error) {
		switch asked {
		case 1:
			return &rpc.ClientsResponse{}, nil
		case 2:
			return nil, away
		}
		defer cancel()
		return &rpc.ClientsResponse{Clients: []*rpc.NtpClient{{Address: "192.0.2.1"}}}, nil
	}}
	code, out, log := n.askUntil(t, ctx, "clients", "--watch")
	if code != 0 || !strings.HasPrefix(out, "no client has asked yet\n") || log != "truechimer: away\n" || n.asked != 3 {
		t.Errorf("exit code %d after %d\n%s\n%s", code, n.asked, out, log)
	}
	n = fakeNode{clients: func(int) (*rpc.ClientsResponse, error) { return nil, away }}
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	if code, out, log := n.askUntil(t, ctx, "clients", "--watch"); code != exitFailed || out != "" || log != "truechimer: away\n" || n.asked != 1 {
		t.Errorf("exit code %d after %d\n%s\n%s", code, n.asked, out, log)
	}
}

// TestWatchInterrupted: interrupted in its first call, it ends as well as in any other.
func TestWatchInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, command := range []string{"clients", "status"} {
		var n fakeNode
		if code, out, log := n.askUntil(t, ctx, command, "--watch"); code != 0 || out != "" || log != "" {
			t.Errorf("%s: exit code %d, %s\n%s", command, code, log, out)
		}
	}
}

// TestWaitsyncSaysOnce: a cause that only its figures change is told once.
func TestWaitsyncSaysOnce(t *testing.T) {
	bound := func(d time.Duration) func(*rpc.StatusResponse) {
		return func(s *rpc.StatusResponse) {
			s.Clock.State, s.Clock.Intervals, s.Clock.ErrorBoundNs = rpc.ClockState_CLOCK_STATE_SYNCHRONISED, true, int64(d)
		}
	}
	causes := []func(*rpc.StatusResponse){
		func(s *rpc.StatusResponse) { s.Clock.Reason = "chronyd was last heard 59s ago" },
		func(s *rpc.StatusResponse) { s.Clock.Reason = "chronyd was last heard 1m0.25s ago" },
		bound(time.Hour),
		bound(1500 * time.Millisecond),
		bound(999 * time.Microsecond),
	}
	n := fakeNode{status: func(asked int) *rpc.StatusResponse { return atNoon(causes[min(asked, len(causes))-1]) }}
	code, out, log := n.ask(t, "waitsync", "--timeout", "20s", "--max-error", "1ms")
	const want = "waiting: chronyd was last heard 59s ago\nwaiting: the error bound is 1h0m0s\n"
	if code != 0 || out != "synchronised, within 999µs of UTC\n" || log != want {
		t.Errorf("exit code %d, %q\n%s\nwant\n%s", code, out, log, want)
	}
}
