package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/sysclock"
)

// sourceAt is a source as an operator would write it who trusts a local clock.
func sourceAt(addr netip.AddrPort, trust bool) config.Source {
	s := config.DefaultSource(addr.String())
	s.Name, s.MinPoll, s.MaxPoll, s.Trust = "alpha", 3, 3, trust
	return s
}

// startServer starts an appliance that serves its local clock.
func startServer(t *testing.T) netip.AddrPort {
	t.Helper()
	n := start(t, newFakeSystem(today(), unsynced), testConfig(dataDir(t), true), true)
	return n.d.ntp.Addrs()[0]
}

// await waits until the status is as wanted.
func (n *node) await(what string, is func(*rpc.StatusResponse) bool) *rpc.StatusResponse {
	n.t.Helper()
	for deadline := time.Now().Add(2 * patience); ; time.Sleep(50 * time.Millisecond) {
		s := n.status()
		if is(s) {
			return s
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("not %s: %v", what, s)
		}
	}
}

func (n *node) sources() []*rpc.Source {
	n.t.Helper()
	r, err := n.admin.Sources(context.Background(), connect.NewRequest(&rpc.SourcesRequest{}))
	if err != nil {
		n.t.Fatal(err)
	}
	return r.Msg.Sources
}

func synchronised(s *rpc.StatusResponse) bool {
	return s.Clock.State == rpc.ClockState_CLOCK_STATE_SYNCHRONISED
}

// TestVirtual: a clock of our own follows a server over the network, serves its time, says so
// everywhere, and remembers what it learnt of the oscillator.
func TestVirtual(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	c := testConfig(dataDir(t), false)
	c.Clock.Mode = config.ModeVirtual
	c.Sources = []config.Source{sourceAt(server, true)}
	// Its own clock is wrong by an hour, and nobody sets it.
	n := start(t, newFakeSystem(time.Now().Add(-time.Hour), unsynced), c, false)
	if s := n.status(); s.Ready || s.Clock.State != rpc.ClockState_CLOCK_STATE_UNSYNCHRONISED || s.Clock.Mode != "virtual" {
		t.Errorf("before it has heard anybody: %v", s)
	}
	s := n.await("synchronised", synchronised)
	if off := time.Since(time.Unix(0, s.Clock.UtcUnixNs)); off.Abs() > patience {
		t.Errorf("serves a time %v from that of its source", off)
	}
	if s.Clock.Stratum != 11 || s.Clock.Refid != "127.0.0.1" || s.Clock.Source != "sources" || s.Clock.Steps != 1 || s.Sources.Agree != 1 || s.Sources.Following != "alpha" {
		t.Errorf("status %v", s)
	}
	if s.Clock.SystemState != rpc.ClockState_CLOCK_STATE_UNSYNCHRONISED || s.Clock.ErrorBoundNs > int64(100*time.Millisecond) || s.Clock.HoldoverLeftNs == 0 {
		t.Errorf("clock %v", s.Clock)
	}
	list := n.sources()
	if len(list) != 1 || list[0].Status != "selected" || list[0].Address != server.String() || list[0].Weight != 1 || list[0].Samples < 4 || list[0].Outcomes["measured"] < 4 {
		t.Errorf("sources %v", list)
	}
	if _, err := n.interval(); err != nil {
		t.Error(err)
	}
	if h := n.ask().Header; h.Stratum != 11 {
		t.Errorf("NTP says %+v", h)
	}
	_, err := n.admin.MakeStep(context.Background(), connect.NewRequest(&rpc.MakeStepRequest{OffsetNs: int64(time.Hour)}))
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("a step that nobody can have meant: %v", err)
	}
	if _, err = n.admin.MakeStep(context.Background(), connect.NewRequest(&rpc.MakeStepRequest{OffsetNs: n.status().Clock.ResidualOffsetNs})); err != nil {
		t.Error(err)
	}
	n.stop()
	drift, err := sysclock.ReadDrift(filepath.Join(c.Node.DataDir, sysclock.DriftName))
	if err != nil || time.Since(drift.Written).Abs() > 2*patience {
		t.Errorf("drift %+v, %v", drift, err)
	}
	again := start(t, newFakeSystem(time.Now(), unsynced), c, false)
	if got := again.status().Clock; got.DriftPpm != drift.FrequencyPPM || got.DriftSkewPpm != drift.SkewPPM {
		t.Errorf("after a restart drift is %v ± %v, on disk %+v", got.DriftPpm, got.DriftSkewPpm, drift)
	}
}

// TestMakeStepFar: a clock that is too far off to be slewed, and may not be stepped, claims
// nothing, says how far off it is, and is set at an operator's word.
func TestMakeStepFar(t *testing.T) {
	t.Parallel()
	c := testConfig(dataDir(t), false)
	c.Clock.Mode, c.Clock.StepThreshold = config.ModeVirtual, 0
	c.Sources = []config.Source{sourceAt(startServer(t), true)}
	n := start(t, newFakeSystem(time.Now().Add(-time.Hour), unsynced), c, false)
	far := func(s *rpc.StatusResponse) bool { return s.Clock.ResidualOffsetNs > int64(59*time.Minute) }
	s := n.await("far off", far)
	if synchronised(s) || !strings.Contains(s.Clock.Reason, "clock makestep") {
		t.Errorf("%v", s.Clock)
	}
	r, err := n.admin.MakeStep(context.Background(), connect.NewRequest(&rpc.MakeStepRequest{OffsetNs: s.Clock.ResidualOffsetNs}))
	if err != nil || r.Msg.OffsetNs < int64(59*time.Minute) {
		t.Fatalf("%v, %v", r, err)
	}
	if s = n.status(); !synchronised(s) || s.Clock.Steps != 1 || far(s) {
		t.Errorf("after the step: %v", s.Clock)
	}
}

// TestAlone: a server that follows nothing but its own clock proves nothing of UTC, unless
// the operator says otherwise.
func TestAlone(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	c := testConfig(dataDir(t), false)
	c.Clock.Mode = config.ModeVirtual
	c.Sources = []config.Source{sourceAt(server, false)}
	n := start(t, newFakeSystem(time.Now(), unsynced), c, false)
	n.await("heard", func(*rpc.StatusResponse) bool {
		list := n.sources()
		return len(list) == 1 && list[0].Samples >= 4
	})
	n.tick()
	if s := n.status(); synchronised(s) || !strings.Contains(s.Clock.Reason, "their own clocks") {
		t.Errorf("%v", s.Clock)
	}
	if list := n.sources(); list[0].Status != "alone" {
		t.Errorf("%v", list)
	}
	trusted := c
	trusted.Sources = []config.Source{sourceAt(server, true)}
	if _, err := n.d.Reload(trusted); err != nil {
		t.Fatal(err)
	}
	n.await("synchronised", synchronised)
}

// TestWitness: in mode follow the sources only watch, and contradict aloud.
func TestWitness(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	c := testConfig(dataDir(t), false)
	c.Sources = []config.Source{sourceAt(server, true)}
	n := start(t, newFakeSystem(time.Now().Add(5*time.Second), synced), c, false)
	s := n.await("contradicted", func(s *rpc.StatusResponse) bool {
		return slices.ContainsFunc(s.Alarms, func(a *rpc.Alarm) bool { return a.Name == "clock_disputed" })
	})
	if !synchronised(s) || s.Clock.Source != "kernel" || s.Clock.Mode != "follow" {
		t.Errorf("%v", s.Clock)
	}
	if list := n.sources(); (time.Duration(list[0].OffsetNs) + 5*time.Second).Abs() > time.Second {
		t.Errorf("%v", list)
	}
	_, err := n.admin.MakeStep(context.Background(), connect.NewRequest(&rpc.MakeStepRequest{}))
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("makestep in mode follow: %v", err)
	}
}

// TestSteerRefused: who may not steer the clock is told what to do, and nothing is left
// behind.
func TestSteerRefused(t *testing.T) {
	t.Setenv("TRUECHIMER_NOCLOCK", "1") // whoever may steer the clock must not do it here
	c := testConfig(dataDir(t), false)
	c.Clock.Mode = config.ModeSteer
	c.Sources = []config.Source{sourceAt(netip.MustParseAddrPort("127.0.0.1:9"), false)}
	_, err := Open(Options{Config: c, Version: "test", Logger: slog.New(slog.DiscardHandler), System: newFakeSystem(today(), unsynced)})
	if !errors.Is(err, sysclock.ErrNotPermitted) || !strings.Contains(err.Error(), "clock.mode") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(c.Node.DataDir, sysclock.DriftName)); !os.IsNotExist(err) {
		t.Errorf("a drift file: %v", err)
	}
}

// fakeActuator is the clock of a fakeSystem, which a test lets be steered.
type fakeActuator struct {
	*fakeSystem
	closed bool
}

func (a *fakeActuator) Read() (time.Duration, int64, error) {
	local, unix := a.Local()
	return local, unix, nil
}
func (a *fakeActuator) SetFrequency(float64) error  { return nil }
func (a *fakeActuator) Tell(sysclock.Telling) error { return nil }
func (a *fakeActuator) FrequencyMaxPPM() float64    { return 500 }
func (a *fakeActuator) Close() error                { a.closed = true; return nil }
func (a *fakeActuator) Step(by time.Duration) error {
	a.change(func(s *fakeSystem) { s.unix += int64(by) })
	a.notify()
	return nil
}

// TestSteer: mode steer sets the clock, and leaves it in order at the end.
func TestSteer(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	c := testConfig(dataDir(t), false)
	c.Clock.Mode = config.ModeSteer
	c.Sources = []config.Source{sourceAt(server, true)}
	system := newFakeSystem(time.Now().Add(-time.Minute), unsynced)
	actuator := &fakeActuator{fakeSystem: system}
	log := new(lines)
	d, err := Open(Options{Config: c, Version: "test", Logger: slog.New(slog.NewTextHandler(log, nil)), System: system,
		Actuator: func(sysclock.System) (sysclock.Actuator, error) { return actuator, nil }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	deadline := time.Now().Add(2 * patience)
	for d.State().Clock.State != clock.Synchronised && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	state := d.State()
	if off := time.Since(system.wall()); off.Abs() > time.Second || state.Clock.Mode != clock.Steer || state.Clock.State != clock.Synchronised {
		t.Errorf("the clock is off by %v, %+v", off, state.Clock.Judgement)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !actuator.closed {
		t.Error("the clock was not left in order")
	}
	if !strings.Contains(log.String(), "clock stepped") {
		t.Error("nothing was said of the step")
	}
}

// TestOutvoted: a source is given up when it has been a falseticker for long, and forgiven
// when it was not all the time.
func TestOutvoted(t *testing.T) {
	o := make(outvoted)
	at := func(d time.Duration, status discipline.Status) []discipline.SourceID {
		return o.note(&judged{at: d, selection: &discipline.Selection{Verdicts: []discipline.Verdict{{ID: 3, Status: status}, {ID: 4}}}})
	}
	for _, c := range []struct {
		at     time.Duration
		status discipline.Status
		want   int
	}{
		{0, discipline.Falseticker, 0},
		{falsetickerPatience - 1, discipline.Falseticker, 0},
		{falsetickerPatience, discipline.Falseticker, 1},
		{falsetickerPatience + 1, discipline.Falseticker, 0},
		{2 * falsetickerPatience, discipline.Combined, 0},
		{3 * falsetickerPatience, discipline.Falseticker, 0},
		{4*falsetickerPatience - 1, discipline.Falseticker, 0},
	} {
		if got := at(c.at, c.status); len(got) != c.want {
			t.Errorf("at %v: %v", c.at, got)
		}
	}
}
