package daemon

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/sysclock"
)

// load is callers that take timestamps all the time. Each checks that its own rise, and
// that none is further ahead than the max lead of where the clock should be.
type load struct {
	n       *node
	truth   atomic.Int64 // what the wall clock would show, had nobody set it, less the monotonic clock
	stop    chan struct{}
	callers sync.WaitGroup
	count   atomic.Int64

	mu  sync.Mutex
	all []hlc.Timestamp
}

func startLoad(n *node) *load {
	l := &load{n: n, stop: make(chan struct{})}
	l.aim()
	for range 6 {
		l.callers.Go(l.call)
	}
	l.more()
	return l
}

// aim takes the wall clock as it is for the truth.
func (l *load) aim() { l.truth.Store(l.n.system.wall().UnixNano() - int64(l.n.system.Mono())) }

func (l *load) call() {
	var last hlc.Timestamp
	var mine []hlc.Timestamp
	for {
		select {
		case <-l.stop:
			l.mu.Lock()
			l.all = append(l.all, mine...)
			l.mu.Unlock()
			return
		default:
		}
		ts, err := l.n.tryNow()
		if err != nil {
			l.n.t.Error(err)
			continue
		}
		if ts <= last {
			l.n.t.Errorf("issued %v after %v", ts, last)
		}
		truth := l.truth.Load() + int64(l.n.system.Mono())
		if ahead := ts.Sub(hlc.FromUnix(truth)); ahead > time.Second {
			l.n.t.Errorf("issued %v, %v ahead", ts, ahead)
		}
		last = ts
		mine = append(mine, ts)
		l.count.Add(1)
	}
}

// more waits until there are a few more timestamps from everybody.
func (l *load) more() {
	l.n.t.Helper()
	until := l.count.Load() + 200
	eventually(l.n.t, "timestamps", func() bool { return l.count.Load() >= until })
}

// end stops the callers and checks that no timestamp was issued twice.
func (l *load) end() {
	l.n.t.Helper()
	close(l.stop)
	l.callers.Wait()
	slices.Sort(l.all)
	for i := 1; i < len(l.all); i++ {
		if l.all[i] == l.all[i-1] {
			l.n.t.Errorf("issued %v twice", l.all[i])
		}
	}
}

// TestJumpAndBack steps the wall clock forward by an hour and back under load, with nobody
// to vouch for it: an alarm, and timestamps that go on as if nothing had happened.
func TestJumpAndBack(t *testing.T) {
	for _, c := range []struct {
		name   string
		tour   bool
		before sysclock.Kernel
	}{
		{"local", true, unsynced},
		{"synchronised before", false, synced},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := start(t, newFakeSystem(today(), c.before), testConfig(dataDir(t), c.tour), c.tour)
			l := startLoad(n)
			for round := range 3 {
				n.system.step(time.Hour, unsynced)
				n.tick()
				l.more()
				n.wantAlarms("clock_jump")
				if got := n.alarm("clock_jump"); !strings.Contains(got, "jumped by 1h0m0") || !strings.Contains(got, "set the clock right, or run truechimer clock accept") {
					t.Errorf("the alarm says %q", got)
				}
				s := n.status()
				if s.Ready || s.Clock.Steps != uint64(2*round+1) || time.Duration(s.Hlc.PhysicalAheadNs).Round(time.Second) != -time.Hour {
					t.Errorf("%v", s)
				}
				since := s.Alarms[0].SinceUnixNs
				n.tick()
				if again := n.status().Alarms; len(again) != 1 || again[0].SinceUnixNs != since {
					t.Errorf("alarms %v, since %v at first", again, since)
				}
				n.system.step(-time.Hour, unsynced)
				n.tick()
				l.more()
				n.wantAlarms()
				if s := n.status(); time.Duration(s.Hlc.PhysicalAheadNs).Abs() > time.Second || time.Duration(s.Hlc.LeadNs) > time.Second {
					t.Errorf("%v", s.Hlc)
				}
			}
			l.end()
			near(t, "now", n.now(), n.system.wall())
			n.wantHealth("/healthz", 200)
			if got := strings.Count(n.log.String(), "clock jump held"); got != 3 {
				t.Errorf("%d jumps logged, want 3", got)
			}
			n.stop()
			near(t, "the ceiling on disk", record(t, n.dir).Ceiling, n.system.wall())
		})
	}
}

// TestJumpConfirmed: a jump that comes with a word of who steers the clock is adopted at
// once, and one that gets it later is adopted then.
func TestJumpConfirmed(t *testing.T) {
	n := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
	before := n.now()
	n.system.step(time.Hour, synced)
	n.tick()
	n.wantAlarms()
	near(t, "now", n.now(), n.system.wall())

	n.system.step(time.Hour, unsynced)
	n.tick()
	n.wantAlarms("clock_jump")
	near(t, "now", n.now(), n.system.wall().Add(-time.Hour))
	n.system.step(0, synced)
	n.tick()
	n.wantAlarms()
	near(t, "now", n.now(), n.system.wall())
	if got := n.now().Sub(before); got < 2*time.Hour {
		t.Errorf("only %v have passed", got)
	}
	n.wantHealth("/readyz", 200)
	if _, err := n.interval(); err != nil {
		t.Error(err)
	}
}

// TestHoldoverConfirmsNothing: sources that are gone stand behind no jump.
func TestHoldoverConfirmsNothing(t *testing.T) {
	n := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
	tracking := goodTracking(n.system.wall())
	tracking.Reference = n.system.wall().Add(-time.Hour).UnixNano()
	n.d.keeper.followBy(sysclock.FollowSettings{ErrorLimit: time.Second, Tracker: &fakeTracker{tracking: tracking}})
	if got := n.d.keeper.latest.Load().snapshot.State.String(); got != "holdover" {
		t.Fatalf("the clock is in %s", got)
	}
	n.wantHealth("/readyz", 200)
	n.system.step(time.Hour, unsynced)
	n.tick()
	n.wantAlarms("clock_jump")
	near(t, "now", n.now(), n.system.wall().Add(-time.Hour))
}

// TestJumpAccepted: what the operator accepts is taken, once.
func TestJumpAccepted(t *testing.T) {
	n := start(t, newFakeSystem(today(), unsynced), testConfig(dataDir(t), true), true)
	_, err := n.accept()
	wantCode(t, "accept", err, connect.CodeFailedPrecondition, "no clock jump is being held")
	l := startLoad(n)
	n.system.step(time.Hour, unsynced)
	n.tick()
	n.wantAlarms("clock_jump")
	l.aim() // from here on either is right
	_, err = n.admin.AcceptClock(context.Background(), connect.NewRequest(&rpc.AcceptClockRequest{JumpNs: int64(2 * time.Hour)}))
	wantCode(t, "accept another jump", err, connect.CodeFailedPrecondition, "another clock jump", "1h0m0s is held, not 2h0m0s")
	jump, err := n.accept()
	if err != nil || jump.Round(time.Second) != time.Hour {
		t.Errorf("accepted %v, %v", jump, err)
	}
	n.wantAlarms()
	l.more()
	near(t, "now", n.now(), n.system.wall())
	n.tick()
	n.wantAlarms()
	l.end()
	near(t, "now", n.now(), n.system.wall())
	_, err = n.accept()
	wantCode(t, "accept again", err, connect.CodeFailedPrecondition, "nothing to accept")
	if !strings.Contains(n.log.String(), "accepted by an operator") {
		t.Error("nothing in the log")
	}
	n.stop()
	near(t, "the ceiling on disk", record(t, n.dir).Ceiling, n.system.wall())
}

// TestOvertaken: between the moment when the clock is set, or the machine wakes up, and the
// next look at it nobody gets the error bound of the clock that was; the hybrid clock goes
// on.
func TestOvertaken(t *testing.T) {
	for name, change := range map[string]func(*fakeSystem){
		"forward":  func(s *fakeSystem) { s.step(time.Hour, synced) },
		"backward": func(s *fakeSystem) { s.step(-time.Hour, synced) },
		"little":   func(s *fakeSystem) { s.step(sysclock.StepMin, synced) },
		"suspend":  func(s *fakeSystem) { s.suspend(8 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
			if m := n.ask(); m.Fault != nil {
				t.Fatal(m.Fault)
			}
			before := n.now()
			release := n.system.stall() // the clock loop does not get to look
			change(n.system)
			n.wantNoClaim()
			if after := n.now(); after <= before || after.Sub(before) > time.Minute {
				t.Errorf("issued %v after %v", after, before)
			}
			release()
			n.stop()
		})
	}
}

// TestSuspend: a machine that slept is not a clock that jumped.
func TestSuspend(t *testing.T) {
	for name, kernel := range map[string]sysclock.Kernel{"local": unsynced, "synchronised": synced} {
		t.Run(name, func(t *testing.T) {
			n := start(t, newFakeSystem(today(), kernel), testConfig(dataDir(t), true), true)
			before := n.now()
			for range 3 {
				n.system.suspend(3 * time.Hour)
				n.tick()
				n.wantAlarms()
				near(t, "now", n.now(), n.system.wall())
			}
			if got := n.now().Sub(before); got < 9*time.Hour {
				t.Errorf("only %v have passed", got)
			}
			if s := n.status(); s.Clock.Steps != 0 {
				t.Errorf("%d steps seen", s.Clock.Steps)
			}
			// A jump on top of a sleep is one.
			n.system.suspend(time.Hour)
			n.system.step(time.Hour, unsynced)
			n.tick()
			n.wantAlarms("clock_jump")
		})
	}
}

// TestJumpBackward: backwards, an unconfirmed jump is held, and a confirmed one is made up
// for slowly; timestamps rise all the time.
func TestJumpBackward(t *testing.T) {
	n := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
	l := startLoad(n)
	n.system.step(-10*time.Second, unsynced)
	n.tick()
	n.wantAlarms("clock_jump")
	if got := n.alarm("clock_jump"); !strings.Contains(got, "jumped by -10") {
		t.Errorf("the alarm says %q", got)
	}
	l.more()
	n.system.step(0, synced)
	n.tick()
	n.wantAlarms("hlc_ahead")
	if got := n.alarm("hlc_ahead"); !strings.Contains(got, "falls back slowly; wait, or run truechimer hlc rebase") {
		t.Errorf("the alarm says %q", got)
	}
	l.more()
	if got := time.Duration(n.status().Hlc.PhysicalAheadNs); got > 10*time.Second || got < 9*time.Second {
		t.Errorf("%v ahead", got)
	}
	// Twenty seconds make up for one.
	n.system.pass(100 * time.Second)
	n.tick()
	l.more()
	if got := time.Duration(n.status().Hlc.PhysicalAheadNs); got > 5*time.Second || got < 4*time.Second {
		t.Errorf("%v ahead", got)
	}
	n.wantAlarms("hlc_ahead")
	n.system.pass(82 * time.Second)
	n.tick()
	if got := n.alarm("hlc_ahead"); !strings.HasSuffix(got, "falls back slowly; wait") {
		t.Errorf("with less than the max lead to go, the alarm says %q", got)
	}
	l.more() // and the ceiling has followed,
	n.tick() // which is seen
	n.system.pass(20 * time.Second)
	n.tick()
	n.wantAlarms()
	l.more()
	l.end()
	near(t, "now", n.now(), n.system.wall())
	n.wantHealth("/readyz", 200)
}

// TestSmallSteps: what is no more than the clock's daily business is taken without a word.
func TestSmallSteps(t *testing.T) {
	n := start(t, newFakeSystem(today(), unsynced), testConfig(dataDir(t), true), true)
	l := startLoad(n)
	for _, d := range []time.Duration{300 * time.Millisecond, -300 * time.Millisecond, 400 * time.Millisecond} {
		n.system.step(d, unsynced)
		l.aim()
		n.tick()
		n.wantAlarms()
		l.more()
	}
	l.end()
	if s := n.status(); s.Clock.Steps != 3 {
		t.Errorf("%d steps seen", s.Clock.Steps)
	}
}
