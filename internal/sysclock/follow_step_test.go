package sysclock

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

func TestFollowExternalStep(t *testing.T) {
	for _, test := range []struct {
		name   string
		age    time.Duration // of chronyd's update, when the clock is set
		jump   time.Duration
		unseen bool // chronyd made that update after the last poll
	}{
		{"an hour forward", 10 * time.Second, time.Hour, false},
		{"an hour back", 10 * time.Second, -time.Hour, false},
		{"a little forward", 10 * time.Second, 300 * time.Millisecond, false},
		{"a little back", 10 * time.Second, -300 * time.Millisecond, false},
		// chronyd's old update looks as if it had made the step, or came after it.
		{"just after an update", time.Second, 300 * time.Millisecond, false},
		{"back, just after an update", time.Second, -4 * time.Second, false},
		{"back, past an update", 8 * time.Second, -8 * time.Second, false},
		{"after an update that nobody saw", 8 * time.Second, 300 * time.Millisecond, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench()
			if !test.unseen {
				b.chronyd.tracking.Reference = b.system.reading.Unix - int64(test.age)
			}
			believed(t, b.poll(), "chronyd")
			if test.unseen {
				b.system.pass(time.Minute)
				b.chronyd.tracking.Reference = b.system.reading.Unix - int64(test.age)
			}
			b.system.step(test.jump)
			for _, wait := range []time.Duration{0, time.Second, 5 * time.Second, time.Minute, time.Hour, 2 * time.Hour} {
				b.system.pass(wait)
				// What compensation for temperature does to the time of an update.
				b.chronyd.tracking.Reference += 100
				s := b.poll()
				refused(t, s, clock.RefIDStep(), anotherHand)
				if s.Steps != 1 {
					t.Errorf("%v after the step: %d steps counted, want 1", wait, s.Steps)
				}
			}
			b.update()
			believed(t, b.poll(), "chronyd")
			b.system.pass(10 * time.Second)
			believed(t, b.poll(), "chronyd")
		})
	}
}

func TestFollowStepsTwice(t *testing.T) {
	b := newBench()
	b.poll()
	for range 2 {
		b.system.pass(time.Second)
		b.system.step(time.Second)
		refused(t, b.poll(), clock.RefIDStep(), anotherHand)
	}
	b.system.step(-2 * time.Second) // and back: the old update fits the clock again, but who knows that
	s := b.poll()
	refused(t, s, clock.RefIDStep(), anotherHand)
	if s.Steps != 3 {
		t.Errorf("%d steps counted, want 3", s.Steps)
	}
	b.update()
	believed(t, b.poll(), "chronyd")
}

func TestFollowStepBeforeStart(t *testing.T) {
	b := newBench()
	b.system.step(-time.Hour)
	refused(t, b.poll(), clock.RefIDInit(), anotherHand)
	for _, forward := range []time.Duration{5 * time.Minute, time.Hour, 9 * 365 * 24 * time.Hour} {
		b := newBench()
		b.system.step(forward)
		refused(t, b.poll(), clock.RefIDInit(), "set forward before this process started")
		b.update()
		believed(t, b.poll(), "chronyd")
	}
}

func TestFollowStepDuringPoll(t *testing.T) {
	for _, jump := range []time.Duration{9 * 365 * 24 * time.Hour, 2 * time.Minute, 2 * time.Second, StepMin} {
		b := newBench()
		b.system.step(jump)
		b.chronyd.during = func() { b.system.step(-jump); b.chronyd.during = nil }
		b.chronyd.tracking.Reference = b.system.reading.Unix - int64(jump) - 1
		refused(t, b.poll(), clock.RefIDInit(), "set while it was being looked at")
		b.system.pass(time.Second)
		b.update()
		s := b.poll()
		believed(t, s, "chronyd")
		if s.Steps != 1 {
			t.Errorf("%d steps counted, want 1", s.Steps)
		}
	}
}

func TestFollowReportedStep(t *testing.T) {
	b := newBench()
	believed(t, b.poll(), "chronyd")
	b.system.pass(time.Second)
	b.system.step(900 * time.Microsecond)
	s := b.follow.Poll(context.Background(), true)
	refused(t, s, clock.RefIDStep(), anotherHand)
	if s.Steps != 1 {
		t.Errorf("%d steps counted, want 1", s.Steps)
	}
	b.system.pass(time.Second)
	refused(t, b.poll(), clock.RefIDStep(), anotherHand)
	b.update()
	believed(t, b.poll(), "chronyd")
	b.system.suspend(time.Hour) // which the system reports too
	if s := b.follow.Poll(context.Background(), true); s.Steps != 1 {
		t.Errorf("a suspend counts as a step")
	}
}

func TestFollowMakestep(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 300 * time.Millisecond, -300 * time.Millisecond} {
		t.Run(fmt.Sprint(jump), func(t *testing.T) {
			b := newBench()
			was := b.chronyd.tracking
			b.chronyd.tracking = Tracking{Leap: clock.LeapUnknown} // it has not heard its sources yet
			refused(t, b.poll(), clock.RefIDInit(), "not synchronised")
			b.system.pass(time.Second)
			b.system.step(jump)
			b.chronyd.tracking = was
			b.chronyd.tracking.Correction = 0                                            // all of it was in the step
			b.chronyd.tracking.Reference = b.system.reading.Unix - int64(referenceSlack) // the sample that made it
			s := b.poll()
			believed(t, s, "chronyd")
			if s.Steps != 1 {
				t.Errorf("%d steps counted, want 1", s.Steps)
			}
			b.system.pass(time.Minute)
			believed(t, b.poll(), "chronyd")
		})
	}
}

func TestFollowCountsSteps(t *testing.T) {
	for _, test := range []struct {
		name string
		jump time.Duration
		want uint64
	}{
		{"none", 0, 0},
		{"just below", time.Millisecond - 1, 0},
		{"just below, back", -time.Millisecond + 1, 0},
		{"threshold", time.Millisecond, 1},
		{"threshold, back", -time.Millisecond, 1},
		{"a year", 365 * 24 * time.Hour, 1},
		{"a year back", -365 * 24 * time.Hour, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench()
			if s := b.poll(); s.Steps != 0 {
				t.Fatalf("%d steps before any", s.Steps)
			}
			b.system.pass(time.Second)
			b.system.step(test.jump)
			if s := b.poll(); s.Steps != test.want {
				t.Errorf("%d steps, want %d", s.Steps, test.want)
			}
			b.system.pass(time.Second)
			if s := b.poll(); s.Steps != test.want {
				t.Errorf("%d steps a second later, want %d", s.Steps, test.want)
			}
		})
	}
	t.Run("jitter of the reader", func(t *testing.T) {
		const seed = 42
		random := rand.New(rand.NewPCG(seed, 0))
		b := newBench()
		start := b.system.reading.Unix
		for i := range 10_000 {
			b.system.reading.Mono += time.Second
			b.system.reading.Unix = start + int64(i+1)*int64(time.Second) + random.Int64N(int64(StepMin)) - int64(StepMin)/2
			if s := b.poll(); s.Steps != 0 {
				t.Fatalf("seed %d: %d steps counted after %d readings", seed, s.Steps, i+1)
			}
		}
	})
}

func TestFollowSuspendIsNoStep(t *testing.T) {
	b := newBench()
	b.poll()
	b.system.suspend(8 * time.Hour)
	s := b.poll()
	if s.Steps != 0 || s.Asleep != 8*time.Hour {
		t.Errorf("%d steps and %v asleep, want 0 and 8h", s.Steps, s.Asleep)
	}
	b.system.suspend(time.Hour)
	b.system.step(time.Second) // by a hypervisor, say
	if s := b.poll(); s.Steps != 1 {
		t.Errorf("%d steps, want 1", s.Steps)
	}
}

func TestFollowSuspendChronyd(t *testing.T) {
	for _, slept := range []time.Duration{8 * time.Hour, time.Second} {
		t.Run(fmt.Sprint(slept), func(t *testing.T) {
			b := newBench()
			b.chronyd.tracking.Reference = b.system.reading.Unix - int64(time.Second)
			believed(t, b.poll(), "chronyd")
			b.system.suspend(slept)
			for range 3 {
				refused(t, b.poll(), clock.RefIDStep(), anotherHand)
				b.system.pass(time.Minute)
			}
			b.update()
			believed(t, b.poll(), "chronyd")
		})
	}
}

func TestFollowSuspendKernel(t *testing.T) {
	type look struct {
		synchronised bool
		maxError     time.Duration
		believed     bool
	}
	const us = time.Microsecond
	for name, looks := range map[string][]look{
		"rewritten":                     {{true, 3210 * us, false}, {true, 3710 * us, false}, {true, 3209 * us, true}, {true, 3709 * us, true}, {true, 9999 * us, true}},
		"rewritten to more than before": {{true, 3210 * us, false}, {true, 63210 * us, false}, {true, 5001 * us, true}},
		"the same":                      {{true, 3210 * us, false}, {true, 3210 * us, false}},
		"cleared and asserted again":    {{true, 3210 * us, false}, {false, 0, false}, {true, 9999 * us, true}},
		"cleared meanwhile":             {{false, 16 * time.Second, false}, {true, 3210 * us, true}},
		"nothing measured before":       {{true, 0, false}, {true, 3210 * us, true}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(withoutChronyd)
			believed(t, b.poll(), "kernel")
			b.system.suspend(8 * time.Hour)
			for i, look := range looks {
				b.system.kernel.Synchronised, b.system.kernel.MaxError = look.synchronised, look.maxError
				s := b.poll()
				switch {
				case look.believed:
					believed(t, s, "kernel")
				case look.synchronised && look.maxError > 0:
					refused(t, s, clock.RefIDStep(), "the machine slept")
				default:
					refused(t, s, clock.RefIDStep(), "")
				}
				if t.Failed() {
					t.Fatalf("at look %d", i)
				}
				b.system.pass(time.Second)
			}
		})
	}
}

func TestFollowAfterWatchSteps(t *testing.T) {
	b := newBench()
	believed(t, b.poll(), "chronyd")
	var after *clock.Snapshot
	done := make(chan error)
	go func() {
		done <- b.system.WatchSteps(t.Context(), func() { after = b.poll() })
	}()
	stepped := <-b.system.stepped
	b.system.step(time.Hour)
	stepped()
	refused(t, after, clock.RefIDStep(), anotherHand)
	if after.Time.To-int64(after.Mono()) != 1_795_003_600_000_000_000-int64(1000*time.Second) {
		t.Errorf("the snapshot does not follow the step: %+v", after.Time)
	}
	t.Cleanup(func() { <-done }) // after the test's context has ended
}
