package sysclock

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/leap"
)

// leapMidnight is the midnight of a leap second in these tests.
var leapMidnight = time.Date(2028, 7, 1, 0, 0, 0, 0, time.UTC).UnixNano()

const didNotMakeIt = "a leap second was due and the system clock did not make it"

// leapBench is a bench before midnight, with chronyd's update ten seconds ago.
func leapBench(before time.Duration, change ...func(*FollowSettings)) *bench {
	b := newBench(change...)
	b.system.reading.Unix = leapMidnight - int64(before)
	b.chronyd.tracking.Reference = b.system.reading.Unix - int64(10*time.Second)
	return b
}

// witnesses are those who may know of a leap second.
func witnesses(kind clock.Leap) map[string]func(*bench) {
	return map[string]func(*bench){
		"kernel":  func(b *bench) { b.system.kernel.Leap = kind },
		"chronyd": func(b *bench) { b.chronyd.tracking.Leap = kind },
		"list": func(b *bench) {
			b.settings.Leaps = new(leap.Table).With(leapMidnight, kind)
			b.follow.Set(b.settings)
		},
	}
}

// trueTime is what a clock shows that leaps on the stroke, some time after it shows the
// midnight that it would reach without a leap.
func trueTime(kind clock.Leap, after time.Duration) int64 {
	edge := leapSecond{at: leapMidnight, kind: kind}
	utc := leapMidnight + int64(after)
	if utc >= edge.edge() {
		utc += int64(edge.by())
	}
	return utc
}

func TestFollowLeapIsNoStep(t *testing.T) {
	for _, kind := range []clock.Leap{clock.LeapInsert, clock.LeapDelete} {
		for witness, announce := range witnesses(kind) {
			for _, late := range []time.Duration{0, 4 * time.Millisecond, 900 * time.Millisecond} {
				t.Run(fmt.Sprint(witness, kind, late), func(t *testing.T) {
					b := leapBench(10*time.Second+300*time.Millisecond, map[bool][]func(*FollowSettings){true: {withoutChronyd}}[witness == "kernel"]...)
					announce(b)
					event := leapSecond{at: leapMidnight, kind: kind}
					leapt := false
					smooth := int64(0)
					for after := -10*time.Second - 300*time.Millisecond; after < 10*time.Second; after += 100 * time.Millisecond {
						if !leapt && after >= late-max(0, event.by()) { // the kernel makes it
							b.system.step(event.by())
							leapt = true
						}
						if after > 5*time.Second {
							b.system.kernel.Leap, b.chronyd.tracking.Leap = clock.LeapNone, clock.LeapNone
						}
						s := b.poll()
						believed(t, s, map[bool]string{true: "kernel", false: "chronyd"}[witness == "kernel"])
						want := trueTime(kind, after)
						if s.Steps != 0 || s.Time.To != want || s.UTC(s.Mono()) != want {
							t.Fatalf("%v from midnight: %d steps, UTC %v off", after, s.Steps, time.Duration(s.Time.To-want))
						}
						if off := s.FromKernel(b.system.reading.Unix) - want; leapt != (after >= -max(0, event.by())) && off != int64(-event.by()) || leapt && off != 0 {
							t.Fatalf("%v from midnight: the kernel is %v off", after, time.Duration(off))
						}
						if wantLeap := kind; after < -time.Second && s.Leap != wantLeap {
							t.Fatalf("%v from midnight: leap %d announced", after, s.Leap)
						}
						now := leap.SmoothOf(s, s.Mono())
						if forward := now.Unix - smooth; smooth != 0 && (forward < int64(99*time.Millisecond) || forward > int64(101*time.Millisecond)) {
							t.Fatalf("%v from midnight: smooth time goes on by %v", after, time.Duration(forward))
						}
						smooth = now.Unix
						b.system.pass(100 * time.Millisecond)
					}
				})
			}
		}
	}
}

// Polls come once a second, or a minute late, and at once when the kernel reports the jump.
func TestFollowLeapBetweenPolls(t *testing.T) {
	for _, kind := range []clock.Leap{clock.LeapInsert, clock.LeapDelete} {
		by := leapSecond{kind: kind}.by()
		for _, reported := range []bool{false, true} {
			for _, later := range []time.Duration{time.Millisecond, 999 * time.Millisecond, 2 * time.Second, time.Minute} {
				b := leapBench(time.Second+time.Millisecond, withoutChronyd)
				b.system.kernel.Leap = kind
				believed(t, b.poll(), "kernel")
				b.system.pass(time.Millisecond + later)
				if kind == clock.LeapInsert {
					b.system.pass(time.Second)
				}
				b.system.step(by)
				for range 3 {
					s := b.follow.Poll(context.Background(), reported)
					believed(t, s, "kernel")
					if s.Steps != 0 {
						t.Errorf("leap %d, %v later, reported %v: %d steps", kind, later, reported, s.Steps)
					}
					reported = false
					b.system.pass(time.Second)
				}
			}
		}
	}
	// The report comes by itself, after the jump was seen.
	b := leapBench(500*time.Millisecond, withoutChronyd)
	b.system.kernel.Leap = clock.LeapInsert
	b.poll()
	b.system.pass(600 * time.Millisecond)
	b.system.step(-time.Second)
	b.poll()
	b.system.pass(time.Millisecond)
	if s := b.follow.Poll(context.Background(), true); s.Steps != 0 || !s.Claims() {
		t.Errorf("the report of a leap that was seen counts as a step: %d, %s", s.Steps, s.Reason)
	}
}

func TestFollowNoLeap(t *testing.T) {
	sleep := func(b *bench) { b.system.suspend(2 * time.Second) }
	for name, c := range map[string]struct {
		kind   clock.Leap
		before time.Duration // midnight, when the clock jumps
		jump   time.Duration
		and    func(*bench)
	}{
		"not announced":               {clock.LeapNone, -time.Millisecond, -time.Second, nil},
		"the other way":               {clock.LeapInsert, -time.Millisecond, time.Second, nil},
		"the other way, deleted":      {clock.LeapDelete, time.Second - time.Millisecond, -time.Second, nil},
		"too far":                     {clock.LeapInsert, -time.Millisecond, -time.Second - StepMin, nil},
		"not far enough":              {clock.LeapInsert, -time.Millisecond, -time.Second + StepMin, nil},
		"twice":                       {clock.LeapInsert, -time.Millisecond, -2 * time.Second, nil},
		"too early":                   {clock.LeapInsert, 2 * time.Millisecond, -time.Second, nil},
		"too early, deleted":          {clock.LeapDelete, time.Second + 2*time.Millisecond, time.Second, nil},
		"a minute early":              {clock.LeapInsert, time.Minute, -time.Second, nil},
		"the machine slept meanwhile": {clock.LeapInsert, -time.Millisecond, -time.Second, sleep},
	} {
		t.Run(name, func(t *testing.T) {
			b := leapBench(time.Hour)
			b.chronyd.tracking.Leap, b.system.kernel.Leap = c.kind, c.kind
			b.update()
			believed(t, b.poll(), "chronyd")
			b.system.pass(time.Hour - c.before - 100*time.Millisecond)
			b.update()
			believed(t, b.poll(), "chronyd")
			b.system.pass(100 * time.Millisecond)
			b.system.step(c.jump)
			if c.and != nil {
				c.and(b)
			}
			if s := b.poll(); s.Claims() || s.Steps != 1 {
				t.Errorf("%v, %d steps, want a step and no claim: %s", s.State, s.Steps, s.Reason)
			}
		})
	}
}

// A second jump of the same size is a step, even while the announcement stands.
func TestFollowLeapsOnce(t *testing.T) {
	for _, kind := range []clock.Leap{clock.LeapInsert, clock.LeapDelete} {
		by := leapSecond{kind: kind}.by()
		b := leapBench(1100*time.Millisecond, withoutChronyd)
		b.system.kernel.Leap = kind
		believed(t, b.poll(), "kernel")
		b.system.pass(200*time.Millisecond + max(0, -by))
		b.system.step(by)
		believed(t, b.poll(), "kernel")
		b.system.pass(100 * time.Millisecond)
		b.system.step(by)
		b.system.kernel.Synchronised = false // as the kernel does when its clock is set
		if s := b.poll(); s.Claims() || s.Steps != 1 {
			t.Errorf("leap %d: %v, %d steps", kind, s.State, s.Steps)
		}
	}
}

func TestFollowListKnowsBetter(t *testing.T) {
	list, err := leap.Parse([]byte("Leap 2016 Dec 31 23:59:60 + S\n#expires 1900000000 (2030)\n"))
	if err != nil {
		t.Fatal(err)
	}
	b := leapBench(500*time.Millisecond, func(s *FollowSettings) { s.Leaps = list })
	b.system.kernel.Leap, b.chronyd.tracking.Leap = clock.LeapInsert, clock.LeapInsert
	if s := b.poll(); s.Leap != clock.LeapNone || s.LeapBy != 0 {
		t.Errorf("a leap is announced that the list does not know: %d", s.Leap)
	}
	b.system.pass(501 * time.Millisecond)
	b.system.step(-time.Second)
	refused(t, b.poll(), clock.RefIDStep(), anotherHand)
}

func TestFollowListAnnounces(t *testing.T) {
	b := leapBench(24*time.Hour+time.Second, func(s *FollowSettings) {
		s.Leaps = new(leap.Table).With(leapMidnight, clock.LeapInsert)
	})
	if s := b.poll(); s.Leap != clock.LeapNone || s.LeapBy != 0 {
		t.Errorf("leap %d announced more than a day before", s.Leap)
	}
	b.system.pass(time.Second)
	b.update()
	s := b.poll()
	if s.Leap != clock.LeapInsert || s.LeapBy != -time.Second || s.LeapAt != s.Mono()+24*time.Hour {
		t.Errorf("leap %d by %v at %v, the snapshot is at %v", s.Leap, s.LeapBy, s.LeapAt, s.Mono())
	}
}

func TestFollowMissesLeap(t *testing.T) {
	for _, kind := range []clock.Leap{clock.LeapInsert, clock.LeapDelete} {
		edge := -max(0, leapSecond{kind: kind}.by())
		for witness, announce := range witnesses(kind) {
			if witness == "kernel" {
				continue // which makes what it announces
			}
			b := leapBench(3 * time.Second)
			announce(b)
			believed(t, b.poll(), "chronyd")
			b.system.pass(3*time.Second + edge + leapLate - 2*time.Millisecond)
			believed(t, b.poll(), "chronyd")
			b.system.pass(2 * time.Millisecond)
			s := b.poll()
			refused(t, s, clock.RefIDStep(), didNotMakeIt)
			if s.Steps != 0 {
				t.Errorf("%s, leap %d: %d steps", witness, kind, s.Steps)
			}
			b.system.pass(time.Minute)
			refused(t, b.poll(), clock.RefIDStep(), didNotMakeIt)
			b.update()
			believed(t, b.poll(), "chronyd")
			b.system.step(time.Hour)
			refused(t, b.poll(), clock.RefIDStep(), anotherHand)
		}
		b := leapBench(3*time.Second, withoutChronyd, func(s *FollowSettings) {
			s.Leaps = new(leap.Table).With(leapMidnight, kind)
		})
		believed(t, b.poll(), "kernel")
		b.system.pass(3*time.Second + edge + leapLate)
		refused(t, b.poll(), clock.RefIDStep(), didNotMakeIt)
		b.system.pass(time.Second)
		refused(t, b.poll(), clock.RefIDStep(), didNotMakeIt)
		b.system.kernel.MaxError--
		believed(t, b.poll(), "kernel")
	}
}

// Whoever starts after midnight has not seen a leap missed.
func TestFollowStartsAfterLeap(t *testing.T) {
	for _, kind := range []clock.Leap{clock.LeapInsert, clock.LeapDelete} {
		b := leapBench(-time.Millisecond, func(s *FollowSettings) {
			s.Leaps = new(leap.Table).With(leapMidnight, kind)
		})
		for range 5 {
			s := b.poll()
			believed(t, s, "chronyd")
			if s.Time.To != b.system.reading.Unix || s.Unabsorbed.Abs() < 900*time.Millisecond {
				t.Errorf("UTC %v off, %v not absorbed", time.Duration(s.Time.To-b.system.reading.Unix), s.Unabsorbed)
			}
			b.system.pass(500 * time.Millisecond)
		}
	}
}

// An announcement that is taken back before its time is none.
func TestFollowLeapCalledOff(t *testing.T) {
	b := leapBench(time.Minute)
	b.system.kernel.Leap = clock.LeapInsert
	believed(t, b.poll(), "chronyd")
	b.system.pass(30 * time.Second)
	b.system.kernel.Leap = clock.LeapNone
	believed(t, b.poll(), "chronyd")
	b.system.pass(time.Minute)
	believed(t, b.poll(), "chronyd") // and it was not missed
	b.system.step(-time.Second)
	refused(t, b.poll(), clock.RefIDStep(), anotherHand)
}

// A step just before a leap leaves chronyd stale, though it dates its update anew at the leap.
func TestFollowStaleAcrossLeap(t *testing.T) {
	for _, kind := range []clock.Leap{clock.LeapInsert, clock.LeapDelete} {
		by := leapSecond{kind: kind}.by()
		for _, dated := range []time.Duration{0, by} {
			b := leapBench(3 * time.Second)
			b.chronyd.tracking.Leap = kind
			b.chronyd.tracking.Reference = b.system.reading.Unix - int64(time.Second)
			believed(t, b.poll(), "chronyd")
			b.system.step(300 * time.Millisecond)
			refused(t, b.poll(), clock.RefIDStep(), anotherHand)
			b.system.pass(3 * time.Second)
			b.system.step(by)
			b.chronyd.tracking.Reference += int64(dated)
			s := b.poll()
			refused(t, s, clock.RefIDStep(), anotherHand)
			if s.Steps != 1 {
				t.Errorf("%d steps, want the one before the leap", s.Steps)
			}
			b.system.pass(time.Second)
			b.update()
			believed(t, b.poll(), "chronyd")
		}
	}
}

// The leap comes while chronyd is being asked.
func TestFollowLeapDuringPoll(t *testing.T) {
	for _, late := range []time.Duration{-time.Millisecond, 2 * time.Millisecond} {
		b := leapBench(time.Second)
		b.system.kernel.Leap = clock.LeapInsert
		believed(t, b.poll(), "chronyd")
		b.system.pass(time.Second + late)
		want := trueTime(clock.LeapInsert, late)
		b.chronyd.during = func() {
			b.system.pass(3 * time.Millisecond)
			b.system.step(-time.Second)
			b.chronyd.during = nil
		}
		s := b.poll()
		believed(t, s, "chronyd")
		if s.Steps != 0 || s.Time.To != want || s.UTC(s.Mono()+3*time.Millisecond) != b.system.reading.Unix {
			t.Errorf("%v late: %d steps, UTC %v off, and %v after the leap", late, s.Steps, time.Duration(s.Time.To-want),
				time.Duration(s.UTC(s.Mono()+3*time.Millisecond)-b.system.reading.Unix))
		}
	}
}

// What the kernel told us before an inserted second is not from the future in it.
func TestFollowReferenceIsPast(t *testing.T) {
	b := leapBench(100*time.Millisecond, withoutChronyd)
	b.system.kernel.Leap = clock.LeapInsert
	b.poll()
	b.system.pass(101 * time.Millisecond)
	b.system.step(-time.Second)
	if s := b.poll(); s.Reference > s.Time.To || s.Reference == 0 {
		t.Errorf("the reference time is %v ahead", time.Duration(s.Reference-s.Time.To))
	}
}

// The reader may be off by less than StepMin, and see the leap before its time.
func TestFollowLeapSeenEarly(t *testing.T) {
	for _, kind := range []clock.Leap{clock.LeapInsert, clock.LeapDelete} {
		event := leapSecond{at: leapMidnight, kind: kind}
		b := leapBench(3*time.Second, withoutChronyd)
		b.system.kernel.Leap = kind
		believed(t, b.poll(), "kernel")
		b.system.pass(time.Duration(event.edge()-b.system.reading.Unix) - StepMin/2)
		b.system.step(event.by())
		s := b.poll()
		believed(t, s, "kernel")
		if s.Steps != 0 {
			t.Errorf("leap %d: %d steps", kind, s.Steps)
		}
	}
}

// A step while a leap is due leaves nothing that could be missed.
func TestFollowStepWhileLeapIsDue(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		b := leapBench(time.Second)
		b.chronyd.tracking.Leap = clock.LeapInsert
		believed(t, b.poll(), "chronyd")
		b.system.pass(time.Second + leapLate/2)
		believed(t, b.poll(), "chronyd")
		b.system.step(jump)
		refused(t, b.poll(), clock.RefIDStep(), anotherHand)
		b.update()
		b.chronyd.tracking.Leap = clock.LeapNone
		believed(t, b.poll(), "chronyd")
		for range 3 {
			b.system.pass(time.Second)
			believed(t, b.poll(), "chronyd")
		}
	}
}

// After a leap the clock may be set to before it.
func TestFollowSetBackPastLeap(t *testing.T) {
	b := leapBench(time.Second)
	b.chronyd.tracking.Leap = clock.LeapInsert
	believed(t, b.poll(), "chronyd")
	b.system.pass(2 * time.Second)
	b.system.step(-time.Second)
	believed(t, b.poll(), "chronyd")
	b.system.pass(time.Minute)
	b.system.step(-time.Hour)
	b.poll()
	b.update()
	s := b.poll()
	believed(t, s, "chronyd")
	if s.Time.To != b.system.reading.Unix {
		t.Errorf("UTC is %v off", time.Duration(s.Time.To-b.system.reading.Unix))
	}
}

// What chronyd said before it went away is no announcement.
func TestFollowOldAnnouncement(t *testing.T) {
	for _, gone := range []time.Duration{answerHeld, answerHeld + time.Second} {
		b := leapBench(time.Minute)
		b.chronyd.tracking.Leap = clock.LeapInsert
		b.system.pass(time.Minute - gone - time.Millisecond)
		believed(t, b.poll(), "chronyd")
		b.chronyd.err = context.DeadlineExceeded
		b.system.pass(gone)
		b.poll()
		b.system.pass(2 * time.Millisecond)
		b.system.step(-time.Second)
		if s := b.poll(); (s.Steps == 0) != (gone == answerHeld) {
			t.Errorf("%v after its last answer: %d steps (%s)", gone, s.Steps, s.Reason)
		}
	}
}

// An update from before a step, and after what was known of chronyd then, is told by its age,
// which a leap does not change.
func TestFollowStaleByAgeAcrossLeap(t *testing.T) {
	for _, kind := range []clock.Leap{clock.LeapInsert, clock.LeapDelete} {
		by := leapSecond{kind: kind}.by()
		for older, stale := range map[time.Duration]bool{500 * time.Millisecond: true, -500 * time.Millisecond: false} {
			b := leapBench(time.Minute)
			b.chronyd.tracking.Leap = kind
			believed(t, b.poll(), "chronyd")
			b.system.pass(57 * time.Second)
			b.chronyd.tracking.Reference = b.system.reading.Unix - int64(referenceSlack+older)
			b.system.step(time.Millisecond)
			b.chronyd.tracking.Reference += int64(time.Millisecond)
			b.poll()
			b.system.pass(3 * time.Second)
			b.system.step(by)
			b.chronyd.tracking.Reference += int64(by)
			s := b.poll()
			if s.Claims() == stale || s.Steps != 1 {
				t.Errorf("leap %d, an update %v older: %v, %d steps (%s)", kind, older, s.State, s.Steps, s.Reason)
			}
		}
	}
}

// A leap of long ago says nothing of the update after a step.
func TestFollowStepAfterLeap(t *testing.T) {
	b := leapBench(time.Second)
	b.chronyd.tracking.Leap = clock.LeapDelete
	believed(t, b.poll(), "chronyd")
	b.system.pass(time.Second)
	b.system.step(time.Second)
	b.chronyd.tracking.Leap = clock.LeapNone
	believed(t, b.poll(), "chronyd")
	b.system.pass(time.Hour)
	b.update()
	b.system.step(time.Millisecond)
	b.chronyd.tracking.Reference = b.system.reading.Unix - int64(2*time.Second)
	b.poll()
	b.system.step(100 * time.Millisecond)
	refused(t, b.poll(), clock.RefIDStep(), anotherHand)
	b.chronyd.tracking.Reference += int64(time.Second)
	believed(t, b.poll(), "chronyd")
}
