package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http/httptest"
	"slices"
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
	sources  func(asked int) *rpc.SourcesResponse
	accepted []int64
	stepped  []int64
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

func (n *fakeNode) Sources(context.Context, *connect.Request[rpc.SourcesRequest]) (*connect.Response[rpc.SourcesResponse], error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	return connect.NewResponse(n.sources(n.asked)), nil
}

func (n *fakeNode) MakeStep(_ context.Context, r *connect.Request[rpc.MakeStepRequest]) (*connect.Response[rpc.MakeStepResponse], error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stepped = append(n.stepped, r.Msg.OffsetNs)
	return connect.NewResponse(&rpc.MakeStepResponse{OffsetNs: r.Msg.OffsetNs - 1e6}), nil
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
		stepped  []int64
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
			name: "a step forward", change: func(s *rpc.StatusResponse) { s.Clock.Mode, s.Clock.ResidualOffsetNs = "steer", 90*minute }, args: "clock makestep",
			code: exitUsage, log: "truechimer: this would step the clock by +1h30m0s, from 2026-11-22T12:00:00Z to 2026-11-22T13:30:00Z; say --yes if that is what you want\n",
		},
		{
			name: "a step back", change: func(s *rpc.StatusResponse) { s.Clock.Mode, s.Clock.ResidualOffsetNs = "virtual", -7e6 }, args: "clock makestep --json",
			code: exitUsage, log: "truechimer: this would step the clock by -7ms, from 2026-11-22T12:00:00Z to 2026-11-22T11:59:59.993Z; say --yes if that is what you want\n",
		},
		{
			name: "a step, yes", change: func(s *rpc.StatusResponse) { s.Clock.Mode, s.Clock.ResidualOffsetNs = "steer", 8e6 }, args: "clock makestep --yes",
			out: "stepped the clock by +7ms\n", stepped: []int64{8e6},
		},
		{
			name: "nothing to step", change: func(s *rpc.StatusResponse) { s.Clock.Mode = "steer" }, args: "clock makestep",
			code: exitFailed, log: "truechimer: no offset is left to correct: there is nothing to step\n",
		},
		{
			name: "somebody else's clock", change: func(s *rpc.StatusResponse) { s.Clock.ResidualOffsetNs = 8e6 }, args: "clock makestep",
			code: exitFailed, log: "truechimer: this node steers no clock: clock.mode is follow; step it with what steers it, or set clock.mode to steer\n",
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
			if !slices.Equal(n.stepped, c.stepped) {
				t.Errorf("stepped %v, want %v", n.stepped, c.stepped)
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
		"the bound's parts": {func(s *rpc.StatusResponse) {
			c := s.Clock
			c.Intervals, c.ResidualOffsetNs, c.RootDelayNs, c.RootDispersionNs, c.ProviderErrorNs, c.ErrorBoundNs, c.GrowthPpm = true, -5e3, 3e6+1, 2e6, 1e6, 4505001, 1.5
		}, "       within 4.505001ms of UTC = 5µs residual offset + 1.500001ms half the root delay + 2ms root dispersion + 1ms provider error, growing by 1.5 ppm\n"},
		"frequency": {func(s *rpc.StatusResponse) {
			s.Clock.FrequencyPpm, s.Clock.SkewPpm, s.Clock.SlewPpm = -487.5, 0.25, -500
		}, ", frequency +12.500 ppm ± 0.250, slewing by -500 ppm, 0 steps seen\n"},
		"frequency not told": {func(s *rpc.StatusResponse) {
			s.Clock.Mode, s.Clock.State, s.Clock.SkewPpm, s.Clock.SlewPpm, s.Clock.Steps = "steer", rpc.ClockState_CLOCK_STATE_UNSYNCHRONISED, 0.25, 500, 1
		}, " s, slewing by +500 ppm, 1 step seen\n"},
		"skew not measured": {func(s *rpc.StatusResponse) { s.Clock.SkewPpm = -1 }, ", frequency +0.000 ppm, 0 steps seen\n"},
		"drift file": {func(s *rpc.StatusResponse) {
			s.Clock.DriftPpm, s.Clock.DriftSkewPpm, s.Clock.DriftSavedUnixNs = -37, 0.1, s.Clock.UtcUnixNs
		}, "       drift file: -37.000 ± 0.100 ppm, written 2026-11-22T12:00:00Z\n"},
		"holdover": {func(s *rpc.StatusResponse) {
			c := s.Clock
			c.State, c.Reason, c.Intervals = rpc.ClockState_CLOCK_STATE_HOLDOVER, "no source can be reached", true
			c.HoldoverSinceUnixNs, c.HoldoverLeftNs, c.ErrorLimitNs = c.UtcUnixNs-12*int64(time.Minute), 2666_666_666_666, 50e6
		}, "clock  holdover: no source can be reached\n"},
		"holdover left": {func(s *rpc.StatusResponse) {
			c := s.Clock
			c.State, c.HoldoverSinceUnixNs, c.HoldoverLeftNs, c.ErrorLimitNs = rpc.ClockState_CLOCK_STATE_HOLDOVER, c.UtcUnixNs-12*int64(time.Minute), 2666_666_666_666, 50e6
		}, "       on its own for 12m0s; the error bound reaches its limit of 50ms in 44m26s\n"},
		"holdover for ever": {func(s *rpc.StatusResponse) {
			s.Clock.State, s.Clock.HoldoverLeftNs = rpc.ClockState_CLOCK_STATE_HOLDOVER, math.MaxInt64
		}, "\n       the error bound does not reach its limit\n"},
		"holdover over": {func(s *rpc.StatusResponse) { s.Clock.State = rpc.ClockState_CLOCK_STATE_HOLDOVER }, "\n       the error bound is above its limit\n"},
		"rival":         {func(s *rpc.StatusResponse) { s.Clock.Rival = "another program steers it" }, "       another program steers it\n"},
		"virtual": {func(s *rpc.StatusResponse) {
			s.Clock.Mode, s.Clock.SystemState, s.Clock.SystemOffsetNs, s.Clock.SystemErrorBoundNs = "virtual", rpc.ClockState_CLOCK_STATE_SYNCHRONISED, 27e6, 31e6
		}, "       the system clock is left alone: synchronised, +27ms to correct, within 31ms of UTC\n"},
		"virtual, unknown": {func(s *rpc.StatusResponse) {
			s.Clock.Mode, s.Clock.SystemState, s.Clock.SystemErrorBoundNs, s.Clock.SystemReason = "virtual", rpc.ClockState_CLOCK_STATE_UNSYNCHRONISED, math.MaxInt64, s.Clock.Reason
		}, "       the system clock is left alone, and no error bound can be claimed of it\n"},
		"virtual, far off": {func(s *rpc.StatusResponse) {
			s.Clock.Mode, s.Clock.SystemErrorBoundNs, s.Clock.SystemReason = "virtual", math.MaxInt64, "the system clock is off by 3s"
		}, "       the system clock is left alone, and no error bound can be claimed of it: the system clock is off by 3s\n"},
		"sources": {func(s *rpc.StatusResponse) {
			s.Clock.Mode, s.Sources = "steer", &rpc.SourceSummary{Known: 5, Reachable: 5, Agree: 3, Following: "ntp1", FollowingAddress: "192.0.2.1:123", FollowingStratum: 2}
		}, "sources  3 of 5 agree, following ntp1 (192.0.2.1), stratum 2\n"},
		"sources away": {func(s *rpc.StatusResponse) { s.Sources = &rpc.SourceSummary{Known: 5, Reachable: 2} },
			"sources  0 of 5 agree (3 unreachable), none is followed; see truechimer sources\n"},
		"witnesses": {func(s *rpc.StatusResponse) {
			s.Sources = &rpc.SourceSummary{Known: 1, Reachable: 1, Agree: 1, Following: "192.0.2.1", FollowingAddress: "192.0.2.1:123", FollowingStratum: 2}
		}, "sources  1 of 1 agree; they are witnesses, the best is 192.0.2.1, stratum 2\n"},
		"leap": {func(s *rpc.StatusResponse) {
			c, tai := s.Clock, int32(37)
			c.TaiOffset, c.NextLeap, c.NextLeapUnixNs, c.LeapExpiresUnixNs, c.LeapOrigin = &tai, 1, c.UtcUnixNs+12*int64(time.Hour), c.UtcUnixNs, "/leap-seconds.list"
			c.LeapWarning = "it expires in 12 days: renew it"
		}, "leap   TAI − UTC 37 s, next: second to be inserted at 2026-11-23T00:00:00Z, known until 2026-11-22 (/leap-seconds.list)\n       it expires in 12 days: renew it\n"},
		"no leap":      {func(s *rpc.StatusResponse) { tai := int32(37); s.Clock.TaiOffset = &tai }, "leap   TAI − UTC 37 s, next: none announced\n"},
		"leap unknown": {func(s *rpc.StatusResponse) { s.Clock.LeapWarning = "there is no list of leap seconds" }, "leap   there is no list of leap seconds\n"},
		"timescale":    {func(s *rpc.StatusResponse) { s.Clock.Timescale = "UTC, leap seconds absorbed at 500 ppm" }, "       timescale UTC, leap seconds absorbed at 500 ppm\n"},
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
