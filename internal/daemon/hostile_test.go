package daemon

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/sysclock"
)

// hangingSystem is a machine on which something hangs that the clock loop has begun.
type hangingSystem struct {
	*fakeSystem
	release chan struct{}
}

func (s *hangingSystem) WatchSteps(context.Context, func()) error {
	<-s.release
	return nil
}

// TestStopLeavesClock: a part that hangs at the stop does not leave the kernel's clock with
// a slew that nobody ends.
func TestStopLeavesClock(t *testing.T) {
	t.Parallel()
	c := testConfig(dataDir(t), false)
	c.Clock.Mode = config.ModeSteer
	system := &hangingSystem{newFakeSystem(today(), unsynced), make(chan struct{})}
	actuator := &fakeActuator{fakeSystem: system.fakeSystem}
	d, err := Open(Options{Config: c, Version: "test", Logger: slog.New(slog.DiscardHandler), System: system,
		Actuator: func(sysclock.System) (sysclock.Actuator, error) { return actuator, nil }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := d.Run(ctx); !errors.Is(err, ErrStop) {
		t.Errorf("ended with %v, although something hangs", err)
	}
	d.keeper.keeping.jury.with(func() {
		if !actuator.closed {
			t.Error("the clock was not left in order")
		}
	})
	close(system.release)
}

// openJury opens an appliance that does not run, and whose one source has said that the time
// is truth, often enough.
func openJury(t *testing.T, c config.Config, system *fakeSystem, truth time.Time) *Daemon {
	t.Helper()
	d, err := Open(Options{Config: c, Version: "test", Logger: slog.New(slog.DiscardHandler), System: system})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(d.release(), d.leave()); err != nil {
			t.Error(err)
		}
	})
	jury := d.keeper.keeping.jury
	id := jury.Open(discipline.SourceOptions{Name: "alpha"})
	now, _ := system.Local()
	for ago := 32 * time.Second; ago > 0; ago -= 2 * time.Second {
		jury.Reach(id, 0xff)
		jury.Add(id, discipline.Sample{Local: now - ago, Remote: truth.Add(-ago).UnixNano(), Delay: time.Millisecond, Stratum: 1, RefID: [4]byte{'G', 'P', 'S'}})
	}
	d.keeper.tick(context.Background(), false)
	return d
}

// TestDriftOfWrongClock: the time of a clock that is far off, and only being slewed, does not
// come into the drift file, which tells the next start in which era it is.
func TestDriftOfWrongClock(t *testing.T) {
	for _, k := range []struct {
		name      string
		threshold time.Duration
		state     clock.State
	}{
		{"set", 50 * time.Millisecond, clock.Synchronised},
		{"slewed", 0, clock.Unsynchronised},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := testConfig(dataDir(t), false)
			c.Clock.Mode, c.Clock.StepThreshold = config.ModeVirtual, k.threshold
			truth := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
			d := openJury(t, c, newFakeSystem(time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), unsynced), truth)
			if s := d.keeper.latest.Load().snapshot; s.State != k.state {
				t.Fatalf("%v: %s", s.State, s.Reason)
			}
			d.keeper.saveDrift()
			drift, err := sysclock.ReadDrift(d.keeper.keeping.driftPath)
			switch {
			case k.state == clock.Unsynchronised && !errors.Is(err, fs.ErrNotExist):
				t.Errorf("a drift file of %v, %v", drift.Written, err)
			case k.state == clock.Synchronised && (err != nil || drift.Written.Sub(truth).Abs() > time.Minute):
				t.Errorf("a drift file of %v, %v", drift.Written, err)
			}
		})
	}
}

// TestWitnessSlept: what the sources said before the machine slept is no witness after it, for
// a clock that somebody else steers either.
func TestWitnessSlept(t *testing.T) {
	system := newFakeSystem(today(), synced)
	d := openJury(t, testConfig(dataDir(t), false), system, today())
	if j := d.keeper.judged.Load(); !j.selection.Valid {
		t.Fatalf("no witness: %s", j.selection.Reason)
	}
	system.suspend(2 * time.Second)
	d.keeper.tick(context.Background(), false)
	if j := d.keeper.judged.Load(); j.selection.Valid {
		t.Errorf("a witness from before the suspend: %s", j.selection.Reason)
	}
}
