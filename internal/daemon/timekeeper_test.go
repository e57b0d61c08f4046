package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/sysclock"
	"github.com/truechimer/truechimer/store"
)

// bench is a timekeeper with an issuer over ceilings in memory, in a bubble where time
// passes at once.
type bench struct {
	*timekeeper
	t        *testing.T
	system   *fakeSystem
	ceilings *memoryCeilings
	log      *lines
	cancel   context.CancelFunc
	ran      chan struct{}
}

// newBench returns a timekeeper whose loop runs.
func newBench(t *testing.T, kernel sysclock.Kernel, watchErr error) *bench {
	t.Helper()
	b := newIdleBench(t, kernel)
	b.system.watchErr = watchErr
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	go func() { defer close(b.ran); b.run(ctx) }()
	synctest.Wait()
	return b
}

// newIdleBench returns a timekeeper that has looked at the clock once, and has no loop. It
// needs no bubble.
func newIdleBench(t *testing.T, kernel sysclock.Kernel) *bench {
	t.Helper()
	b := &bench{t: t, system: newFakeSystem(today(), kernel), ceilings: new(memoryCeilings), log: new(lines), ran: make(chan struct{})}
	log := slog.New(slog.NewTextHandler(b.log, nil))
	c := config.Default()
	c.Clock.Chronyd, c.Node.DataDir = config.ChronydOff, t.TempDir()
	var err error
	b.timekeeper, err = newTimekeeper(b.system, &c, openKernel, log)
	if err != nil {
		t.Fatal(err)
	}
	b.issuer, err = store.NewIssuer(b.ceilings, store.IssuerOptions{Physical: b.physical.Now, Bound: b.bound, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	b.tick(t.Context(), false)
	b.cancel = func() { close(b.ran) }
	return b
}

// fresh looks at the clock a few times and checks that nothing holds that up.
func (b *bench) fresh() {
	b.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 3 {
			b.system.pass(pollInterval)
			b.tick(context.Background(), false)
		}
	}()
	select {
	case <-done:
	case <-time.After(patience):
		b.t.Fatal("the clock is not looked at")
	}
}

// try takes a timestamp if one is to be had soon.
func (b *bench) try() (hlc.Timestamp, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	return b.issuer.Now(ctx)
}

// stop ends the parts in the order of Run.
func (b *bench) stop() {
	if err := b.issuer.Close(); err != nil {
		b.t.Error(err)
	}
	b.cancel()
	<-b.ran
}

// TestRunPolls: the clock is looked at every second, and at once after a step, until the
// end.
func TestRunPolls(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		says string
	}{
		"steps are noticed":      {nil, ""},
		"steps have to be found": {sysclock.ErrUnsupported, ""},
		"watching fails":         {errOdd, "steps of the clock are noticed late"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, synced, c.err)
				for second := range 5 {
					if age := b.system.Mono() - b.latest.Load().snapshot.Mono(); age != 0 {
						t.Errorf("after %d s the snapshot is %v old", second, age)
					}
					_, unix := b.system.Glance()
					time.Sleep(untilPoll(unix))
					synctest.Wait()
				}
				time.Sleep(pollInterval / 4)
				b.system.step(time.Hour, unsynced)
				for range 3 { // a storm of steps makes no queue
					b.system.notify()
				}
				synctest.Wait()
				s := b.latest.Load().snapshot
				if noticed := b.system.Mono() == s.Mono(); noticed != (c.err == nil) || noticed && s.State != clock.Unsynchronised {
					t.Errorf("noticed at once: %v, %v", noticed, s)
				}
				time.Sleep(pollInterval)
				synctest.Wait()
				if s := b.latest.Load().snapshot; s.State != clock.Unsynchronised || s.Steps != 1 {
					t.Errorf("after a second %+v", s)
				}
				time.Sleep(pollInterval / 4)
				b.system.step(sysclock.StepMin/2, unsynced) // which nobody could find by looking
				b.system.notify()
				synctest.Wait()
				if s := b.latest.Load().snapshot; (s.Steps == 2) != (c.err == nil) {
					t.Errorf("%d steps after a small one", s.Steps)
				}
				b.stop()
				if got := b.log.String(); strings.Contains(got, "noticed late") != (c.says != "") {
					t.Errorf("the log says %s", got)
				}
				if len(b.system.watchers) > 0 {
					t.Error("somebody watches for steps still")
				}
			})
		})
	}
}

// TestUntilPoll: the clock is looked at soon after each turn of its second.
func TestUntilPoll(t *testing.T) {
	const second = int64(time.Second)
	for unix, want := range map[int64]time.Duration{
		5 * second:                      pollInterval + pollPhase,
		5*second + int64(pollPhase):     pollInterval,
		5*second + int64(pollPhase) + 7: pollInterval - 7,
		6*second - 1:                    pollPhase + 1,
		-5*second - 1:                   pollPhase + 1,
	} {
		if got := untilPoll(unix); got != want {
			t.Errorf("at %d: %v, want %v", unix, got, want)
		}
	}
}

// TestTickCutShort: a look at the clock that the end of the loop cuts short says nothing.
func TestTickCutShort(t *testing.T) {
	b := newIdleBench(t, synced)
	before := b.latest.Load()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.system.step(time.Hour, unsynced)
	b.tick(ctx, false)
	if b.latest.Load() != before {
		t.Error("it was published")
	}
	b.starting.Wait()
	b.stop()
}

// TestFirstSynchronisationAtStop: the first synchronisation comes when issuing has ended
// already. That is no error, and leaves nothing behind.
func TestFirstSynchronisationAtStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, unsynced, nil)
		if err := b.issuer.Close(); err != nil {
			t.Error(err)
		}
		b.system.step(0, synced)
		b.system.notify()
		synctest.Wait()
		b.cancel()
		<-b.ran
		if b.ceilings.c.Ceiling != 0 || strings.Contains(b.log.String(), "level=ERROR") {
			t.Errorf("on disk %+v, in the log %s", b.ceilings.c, b.log)
		}
	})
}

// TestSlowDiskAtStart: a disk that takes its time holds up timestamps and nothing else.
func TestSlowDiskAtStart(t *testing.T) {
	b := newIdleBench(t, unsynced)
	release := b.ceilings.hold()
	b.system.step(0, synced)
	b.fresh()
	<-b.ceilings.began
	b.fresh()
	b.system.pass(store.CeilingWaitMax + time.Millisecond)
	b.tick(t.Context(), false)
	if ts, err := b.try(); err == nil {
		t.Errorf("issued %v, above what is on disk", ts)
	}
	if a := *b.alarms.Load(); len(a) != 1 || a[0].Name != "ceiling_late" {
		t.Errorf("alarms %v", a)
	}
	if s := (&Daemon{keeper: b.timekeeper}).notReady(&api.State{Clock: b.current(), Mono: b.system.Mono(), Issuer: b.issuer.Status()}); len(s) != 1 || !strings.Contains(s[0], "the disk is slow or hangs") {
		t.Errorf("not ready: %q", s)
	}
	release()
	b.starting.Wait()
	if _, err := b.issuer.Now(t.Context()); err != nil {
		t.Error(err)
	}
	b.tick(t.Context(), false)
	if a := *b.alarms.Load(); len(a) > 0 {
		t.Errorf("alarms %v", a)
	}
	b.stop()
}

// TestSlowDiskAtRebase: while a rebase waits for the disk, the clock is looked at, and
// nothing is issued; an operator who asks for the same meanwhile gets nothing.
func TestSlowDiskAtRebase(t *testing.T) {
	b := newIdleBench(t, synced)
	b.starting.Wait()
	b.system.step(time.Hour, synced)
	b.tick(t.Context(), false)
	if _, err := b.issuer.Now(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.system.step(-time.Hour, synced)
	b.tick(t.Context(), false)
	release := b.ceilings.hold()
	results := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := b.rebase(1)
			results <- err
		}()
	}
	eventually(t, "a rebase to begin", func() bool { return strings.Contains(stacks(), "store.(*Issuer).Rebase(") })
	b.fresh()
	if ts, err := b.try(); err == nil {
		t.Errorf("issued %v in between", ts)
	}
	release()
	one, other := <-results, <-results
	if one != nil {
		one, other = other, one
	}
	if one != nil || !errors.Is(other, store.ErrEpoch) {
		t.Errorf("rebase: %v and %v", one, other)
	}
	if ts, err := b.issuer.Now(t.Context()); err != nil || ts.Sub(hlc.FromUnix(b.system.wall().UnixNano())).Abs() > time.Second {
		t.Errorf("issued %v, %v", ts, err)
	}
	if a := *b.alarms.Load(); len(a) > 0 {
		t.Errorf("alarms %v", a)
	}
	b.stop()
}

// TestAlarmOrder: alarms come in the order in which they were raised, and keep their time,
// whatever the clock does in between.
func TestAlarmOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, synced, nil)
		names := func() string {
			var all []string
			for _, a := range *b.alarms.Load() {
				all = append(all, a.Name)
			}
			return fmt.Sprint(all)
		}
		b.system.step(-time.Hour, synced)
		b.tick(t.Context(), false)
		if got := names(); got != "[hlc_ahead]" {
			t.Errorf("alarms %s", got)
		}
		since := (*b.alarms.Load())[0].Since
		b.system.step(-3*time.Hour, unsynced)
		for range 3 {
			b.tick(t.Context(), false)
			if got := names(); got != "[hlc_ahead clock_jump]" {
				t.Errorf("alarms %s", got)
			}
		}
		if got := (*b.alarms.Load())[0].Since; got != since {
			t.Errorf("since %v, %v at first", got, since)
		}
		b.system.pass(30 * time.Hour)
		b.tick(t.Context(), false)
		if got := names(); got != "[clock_jump]" {
			t.Errorf("alarms %s", got)
		}
		b.system.step(0, synced)
		b.tick(t.Context(), false)
		if got := names(); got != "[hlc_ahead]" {
			t.Errorf("alarms %s", got)
		}
		b.stop()
	})
}

// TestClaimLimit: a bound at the limit is a claim, a nanosecond more is not.
func TestClaimLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, synced, nil)
		s := b.latest.Load().snapshot
		for _, c := range []struct {
			limit time.Duration
			ok    bool
		}{{synced.MaxError, true}, {synced.MaxError - 1, false}} {
			b.limit.Store(int64(c.limit))
			utc, bound, why := b.claim(s, s.Mono())
			if ok := why == ""; ok != c.ok || ok && (utc != s.Time.To || bound != synced.MaxError) {
				t.Errorf("limit %v: %v, %v, %q", c.limit, utc, bound, why)
			}
		}
		b.stop()
	})
}

// TestTarget: sources stand behind a clock that is synchronised, and only then.
func TestTarget(t *testing.T) {
	for state, confirmed := range map[clock.State]bool{clock.Unsynchronised: false, clock.Synchronised: true, clock.Holdover: false} {
		s := &clock.Snapshot{Time: clock.Map{From: 1, To: 2, Rate: 3}, Asleep: 4, Judgement: clock.Judgement{State: state}}
		if got, want := target(s), (hlc.Target{Mono: 1, Unix: 2, Rate: 3, Asleep: 4, Confirmed: confirmed}); got != want {
			t.Errorf("%v: got %+v, want %+v", state, got, want)
		}
	}
}

// TestStartOutlivesTheLoop: a start that waits for the disk is waited for when the loop
// ends: nobody else would know of it.
func TestStartOutlivesTheLoop(t *testing.T) {
	b := newIdleBench(t, unsynced)
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	release := b.ceilings.hold()
	closed := make(chan error, 1)
	go func() { closed <- b.issuer.Close() }()
	<-b.ceilings.began // Close holds the record
	b.system.step(0, synced)
	b.tick(t.Context(), false) // so the start has to wait
	go func() { defer close(b.ran); b.run(ctx) }()
	cancel()
	select {
	case <-b.ran:
		t.Error("the loop has ended before the start")
	case <-time.After(50 * time.Millisecond):
	}
	release()
	<-b.ran
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if strings.Contains(b.log.String(), "level=ERROR") {
		t.Errorf("the log says %s", b.log)
	}
}
