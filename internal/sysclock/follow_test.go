package sysclock

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/truechimer/truechimer/internal/clock"
)

// believed and refused check the whole of a judgement but for its figures.
func believed(t *testing.T, s *clock.Snapshot, source string) {
	t.Helper()
	if s.State != clock.Synchronised || s.Source != source || !s.Claims() || !s.Serves() {
		t.Errorf("state %v from %q (%s), want synchronised from %q", s.State, s.Source, s.Reason, source)
	}
	if s.System != s.Judgement {
		t.Errorf("the system clock is judged otherwise than the served one, which it is: %+v", s.System)
	}
}

func refused(t *testing.T, s *clock.Snapshot, refID [4]byte, reason string) {
	t.Helper()
	want := clock.Judgement{
		State: clock.Unsynchronised, Reason: s.Reason, Source: "none", Leap: clock.LeapUnknown,
		Stratum: clock.StratumUnsynchronised, RefID: refID, RootDispersion: 16 * time.Second, GrowthPPM: clock.GrowthDefaultPPM,
	}
	if diff := cmp.Diff(want, s.Judgement); diff != "" {
		t.Errorf("judgement differs from an unsynchronised one (-want +got):\n%s", diff)
	}
	if !strings.Contains(s.Reason, reason) {
		t.Errorf("the reason is %q, want one with %q", s.Reason, reason)
	}
	if s.Claims() || s.Serves() || s.System != s.Judgement {
		t.Error("an unsynchronised clock is claimed, served, or judged in two ways")
	}
}

const anotherHand = "set by another hand"

func TestFollowBelievesChronyd(t *testing.T) {
	b := newBench()
	want := &clock.Snapshot{
		Time:      clock.Map{From: int64(1000 * time.Second), To: 1_795_000_000_000_000_000},
		Mode:      clock.Follow,
		Precision: benchPrecision,
		Judgement: clock.Judgement{
			State:          clock.Synchronised,
			Reason:         "chronyd follows 192.0.2.1",
			Source:         "chronyd",
			Stratum:        2,
			RefID:          [4]byte{192, 0, 2, 1},
			Reference:      1_794_999_990_000_000_000,
			RootDelay:      2 * time.Millisecond,
			RootDispersion: 500 * time.Microsecond,
			GrowthPPM:      21,
			ResidualOffset: 100 * time.Microsecond,
			FrequencyPPM:   -12.5,
		},
	}
	want.System = want.Judgement
	got := b.poll()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("snapshot differs (-want +got):\n%s", diff)
	}
	// |correction| + root delay/2 + root dispersion, growing by three times the skew.
	if bound := got.ErrorBound(got.Mono()); bound != 1600*time.Microsecond {
		t.Errorf("error bound %v, want 1.6ms", bound)
	}
	if bound := got.ErrorBound(got.Mono() + 100*time.Second); bound != 3700*time.Microsecond {
		t.Errorf("error bound after 100 s %v, want 3.7ms", bound)
	}
}

func TestFollowChronydVariants(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Tracking)
		check  func(j clock.Judgement) bool
	}{
		{"ahead", func(c *Tracking) { c.Correction = -c.Correction }, func(j clock.Judgement) bool { return j.ResidualOffset == -100*time.Microsecond }},
		{"leap insert", func(c *Tracking) { c.Leap = clock.LeapInsert }, func(j clock.Judgement) bool { return j.Leap == clock.LeapInsert }},
		{"leap delete", func(c *Tracking) { c.Leap = clock.LeapDelete }, func(j clock.Judgement) bool { return j.Leap == clock.LeapDelete }},
		{"stratum 1", func(c *Tracking) { c.Stratum = 1 }, func(j clock.Judgement) bool { return j.Stratum == 1 }},
		{"stratum 15", func(c *Tracking) { c.Stratum = 15 }, func(j clock.Judgement) bool { return j.Stratum == 15 }},
		{"little skew", func(c *Tracking) { c.SkewPPM = 0.01 }, func(j clock.Judgement) bool { return j.GrowthPPM == clock.GrowthMinPPM }},
		{"reference clock", func(c *Tracking) { c.Addr, c.RefID = netip.Addr{}, [4]byte{'P', 'P', 'S', 0} }, func(j clock.Judgement) bool { return j.Reason == "chronyd follows the reference clock PPS" }},
		{"a neighbour", func(c *Tracking) { c.Addr = netip.MustParseAddr("198.51.100.8") }, func(j clock.Judgement) bool { return strings.HasSuffix(j.Reason, "198.51.100.8") }},
		{"IPv6", func(c *Tracking) { c.Addr = netip.MustParseAddr("2001:db8::8") }, func(j clock.Judgement) bool { return strings.HasSuffix(j.Reason, "2001:db8::8") }},
		{"a little in the future", func(c *Tracking) { c.Reference += int64(15 * time.Second) }, func(j clock.Judgement) bool { return true }},
		// By the time that the clock will show, its last update was ten seconds ago.
		{"half an hour behind", func(c *Tracking) { c.Correction = 30 * time.Minute; c.Reference += int64(30 * time.Minute) }, func(j clock.Judgement) bool { return true }},
		{"half an hour ahead", func(c *Tracking) { c.Correction = -30 * time.Minute; c.Reference -= int64(30 * time.Minute) }, func(j clock.Judgement) bool { return true }},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(func(s *FollowSettings) { s.ErrorLimit = time.Hour })
			test.change(&b.chronyd.tracking)
			s := b.poll()
			believed(t, s, "chronyd")
			if !test.check(s.Judgement) {
				t.Errorf("judgement is %+v", s.Judgement)
			}
		})
	}
}

func TestFollowRefusesChronyd(t *testing.T) {
	following := func(addr string) func(*Tracking) {
		return func(c *Tracking) { c.Addr = netip.MustParseAddr(addr) }
	}
	const own, notSynchronised = "an address of this host", "not synchronised"
	for _, test := range []struct {
		name   string
		change func(*Tracking)
		reason string
	}{
		{"leap unknown", func(c *Tracking) { c.Leap = clock.LeapUnknown }, notSynchronised},
		{"stratum 0", func(c *Tracking) { c.Stratum = 0 }, notSynchronised},
		{"stratum 16", func(c *Tracking) { c.Stratum = 16 }, notSynchronised},
		{"stratum 255", func(c *Tracking) { c.Stratum = 255 }, notSynchronised},
		{"local refid", func(c *Tracking) { c.RefID, c.Addr = clock.RefIDLocal(), netip.Addr{} }, "its own local clock"},
		{"loopback", following("127.0.0.1"), own},
		{"anywhere on loopback", following("127.8.9.10"), own},
		{"loopback, IPv6", following("::1"), own},
		{"loopback, mapped", following("::ffff:127.0.0.1"), own},
		{"this host, unspecified", following("0.0.0.0"), own},
		{"this host, unspecified, IPv6", following("::"), own},
		{"interface", following("198.51.100.7"), own},
		{"interface, mapped", following("::ffff:198.51.100.7"), own},
		{"interface that is listed mapped", following("203.0.113.9"), own},
		{"interface, IPv6", following("2001:db8::7"), own},
		{"interface, link-local", following("fe80::7"), own},
		{"interface, zone", following("fe80::7%eth1"), own},
		{"reference in the future", func(c *Tracking) { c.Reference += int64(time.Hour) }, anotherHand},
		{"reference 5 s in the future", func(c *Tracking) { c.Reference += int64(15*time.Second + 100*time.Microsecond + 1) }, anotherHand},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench()
			test.change(&b.chronyd.tracking)
			refused(t, b.poll(), clock.RefIDInit(), test.reason)
		})
	}
}

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

// Two steps without an update between them need one update after both.
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

// A step that came before the first look cannot be seen, but a reference in the future is.
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

// The first correction of a hardware clock that stands in 2035 comes between the look at the
// clocks and the answer of chronyd, or of the kernel, who know of it already.
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

// A step that is too small to be measured counts when the system reports it.
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

// chronyd dies with a correction half done: the kernel, which knows only the root distance,
// must not claim more than chronyd did, until somebody tells it anew.
func TestFollowAfterChronyd(t *testing.T) {
	b := newBench()
	b.chronyd.tracking.Correction = 300 * time.Millisecond
	before := b.poll()
	believed(t, before, "chronyd")
	b.chronyd.err = ErrNoChronyd
	b.system.pass(10 * time.Second)
	b.system.kernel.MaxError += 5 * time.Millisecond
	s := b.poll()
	if want := before.ErrorBound(before.Mono()) + 5*time.Millisecond; s.State != clock.Holdover || s.ErrorBound(s.Mono()) != want {
		t.Errorf("%v within %v, want holdover within %v", s.State, s.ErrorBound(s.Mono()), want)
	}
	b.system.kernel.MaxError = 20 * time.Second // more than chronyd's word
	b.settings.ErrorLimit = time.Minute
	b.follow.Set(b.settings)
	if s := b.poll(); s.ErrorBound(s.Mono()) != 20*time.Second {
		t.Errorf("within %v, want the kernel's own bound", s.ErrorBound(s.Mono()))
	}
	b.system.kernel.MaxError = time.Millisecond // somebody else steers now
	s = b.poll()
	believed(t, s, "kernel")
	if s.ErrorBound(s.Mono()) != time.Millisecond {
		t.Errorf("within %v, want the kernel's own bound", s.ErrorBound(s.Mono()))
	}
	b.system.kernel.FrequencyPPM = 83_333 // a slew that was left running
	refused(t, b.poll(), clock.RefIDStep(), "slewed by 83333 ppm")
	b.system.kernel.FrequencyPPM, b.system.kernel.Residual = -500, -30*time.Millisecond
	if s := b.poll(); s.ErrorBound(s.Mono()) != 31*time.Millisecond {
		t.Errorf("within %v, want what is left to correct and maxerror", s.ErrorBound(s.Mono()))
	}
}

// A kernel whose machine has slept before this process started, or that was told of its
// error before it was looked at.
func TestFollowKernelBefore(t *testing.T) {
	b := newBench(withoutChronyd)
	b.system.reading.Asleep = time.Hour
	refused(t, b.poll(), clock.RefIDInit(), "slept")
	b.system.kernel.MaxError -= time.Microsecond
	b.system.pass(time.Second)
	told := b.system.reading.Unix
	s := b.poll()
	believed(t, s, "kernel")
	b.system.pass(time.Minute)
	b.system.kernel.MaxError += 30 * time.Millisecond
	if s = b.poll(); s.Reference != told {
		t.Errorf("told at %d, want %d", s.Reference, told)
	}
	b.system.kernel.Synchronised = false
	b.poll()
	b.system.kernel.Synchronised = true
	if s = b.poll(); s.Reference != b.system.reading.Unix {
		t.Errorf("told anew at %d, want %d", s.Reference, b.system.reading.Unix)
	}
}

// A reference that a pending correction puts after the clock would be refused by clients.
func TestFollowReferenceAhead(t *testing.T) {
	b := newBench()
	b.chronyd.tracking.Correction = 500 * time.Millisecond
	b.chronyd.tracking.Reference = b.system.reading.Unix + int64(400*time.Millisecond)
	s := b.poll()
	believed(t, s, "chronyd")
	if s.Reference != b.system.reading.Unix {
		t.Errorf("reference %d is after the clock's %d", s.Reference, b.system.reading.Unix)
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

// A suspend is no step, whatever the wall clock does meanwhile.
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

func TestFollowHoldover(t *testing.T) {
	for _, test := range []struct{ interval, silence time.Duration }{
		{0, 5 * time.Minute},
		{-time.Hour, 5 * time.Minute},
		{64 * time.Second, 5 * time.Minute},
		{1024 * time.Second, 4096 * time.Second},
	} {
		t.Run(fmt.Sprint(test.interval), func(t *testing.T) {
			b := newBench()
			b.chronyd.tracking.UpdateInterval = test.interval
			b.chronyd.tracking.Reference = b.system.reading.Unix + int64(b.chronyd.tracking.Correction)
			b.system.pass(test.silence)
			believed(t, b.poll(), "chronyd")
			b.system.pass(1)
			s := b.poll()
			if s.State != clock.Holdover || s.Source != "chronyd" || !s.Claims() || s.Stratum != 2 {
				t.Errorf("silent for longer: state %v, want holdover", s.State)
			}
			if want := "chronyd has not heard from its sources for " + test.silence.String(); s.Reason != want {
				t.Errorf("the reason is %q, want %q", s.Reason, want)
			}
			if got := s.ErrorBound(s.Mono()); got != 1600*time.Microsecond {
				t.Errorf("error bound %v, want chronyd's own", got)
			}
			b.update()
			believed(t, b.poll(), "chronyd")
		})
	}
}

// A chronyd that is synchronised and yet made no update proves nothing to who has just
// started.
func TestFollowNeverUpdated(t *testing.T) {
	b := newBench()
	b.chronyd.tracking.Reference = 0
	refused(t, b.poll(), clock.RefIDInit(), "set forward before this process started")
}

func TestFollowKernel(t *testing.T) {
	b := newBench(withoutChronyd)
	want := clock.Judgement{
		State:          clock.Synchronised,
		Reason:         "the kernel was told that the clock is synchronised to within 3.21ms",
		Source:         "kernel",
		Stratum:        10,
		RefID:          [4]byte{127, 127, 1, 0},
		Reference:      b.system.reading.Unix,
		RootDispersion: 3210 * time.Microsecond,
		GrowthPPM:      500,
		FrequencyPPM:   12.5,
	}
	s := b.poll()
	if diff := cmp.Diff(want, s.Judgement); diff != "" {
		t.Errorf("judgement differs (-want +got):\n%s", diff)
	}
	if bound := s.ErrorBound(s.Mono()); bound != 3210*time.Microsecond {
		t.Errorf("error bound %v, want maxerror", bound)
	}
	for _, leap := range []clock.Leap{clock.LeapInsert, clock.LeapDelete} {
		b.system.kernel.Leap = leap
		if s := b.poll(); s.Leap != leap {
			t.Errorf("leap %d, want %d", s.Leap, leap)
		}
	}
}

func TestFollowRefusesKernel(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*fakeSystem)
		reason string
	}{
		{"not synchronised", func(s *fakeSystem) { s.kernel.Synchronised = false }, "nobody vouches for the system clock; the kernel says that it is not synchronised"},
		{"an error of zero", func(s *fakeSystem) { s.kernel.MaxError = 0 }, "error of zero"},
		{"a negative error", func(s *fakeSystem) { s.kernel.MaxError = -1 }, "error of zero"},
		{"not told", func(s *fakeSystem) { s.kernelErr = ErrUnsupported }, ErrUnsupported.Error()},
		{"an error over the limit", func(s *fakeSystem) { s.kernel.MaxError = time.Second + 1 }, "exceeds the limit of 1s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(withoutChronyd)
			test.change(b.system)
			refused(t, b.poll(), clock.RefIDInit(), test.reason)
		})
	}
}

func TestFollowWithoutChronyd(t *testing.T) {
	for _, test := range []struct {
		name   string
		err    error
		reason string // what the judgement has to say of chronyd
	}{
		{"none", fmt.Errorf("%w at /run/x", ErrNoChronyd), ""},
		{"one that cannot be asked", errors.New("permission denied"), "chronyd cannot be asked (permission denied)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench()
			b.chronyd.err = test.err
			s := b.poll()
			believed(t, s, "kernel")
			if got := strings.Contains(s.Reason, "chronyd"); got != (test.reason != "") || !strings.Contains(s.Reason, test.reason) {
				t.Errorf("the reason is %q, want it to say %q", s.Reason, test.reason)
			}
			b.system.kernel.Synchronised = false
			refused(t, b.poll(), clock.RefIDStep(), test.reason)
		})
	}
}

func TestFollowErrorLimit(t *testing.T) {
	b := newBench()
	b.settings.ErrorLimit = 1600 * time.Microsecond // the bound itself
	b.follow.Set(b.settings)
	believed(t, b.poll(), "chronyd")
	b.settings.ErrorLimit--
	b.follow.Set(b.settings)
	refused(t, b.poll(), clock.RefIDStep(), "chronyd follows 192.0.2.1, but the error bound of 1.6ms exceeds the limit of 1.599999ms (clock.error_limit)")
}

func TestFollowLimitSaturates(t *testing.T) {
	b := newBench()
	b.chronyd.tracking.RootDispersion = math.MaxInt64
	b.chronyd.tracking.RootDelay = math.MaxInt64
	refused(t, b.poll(), clock.RefIDInit(), "exceeds the limit")
}

// INIT before the first synchronisation, STEP after it.
func TestFollowInitAndStep(t *testing.T) {
	b := newBench()
	b.chronyd.tracking.Leap = clock.LeapUnknown
	refused(t, b.poll(), clock.RefIDInit(), "")
	b.system.step(time.Hour)
	refused(t, b.poll(), clock.RefIDInit(), "")
	b.chronyd.tracking.Leap = clock.LeapNone
	b.update()
	believed(t, b.poll(), "chronyd")
	b.chronyd.tracking.Leap = clock.LeapUnknown
	refused(t, b.poll(), clock.RefIDStep(), "")
}

func TestFollowLocalStratum(t *testing.T) {
	b := newBench(func(s *FollowSettings) { s.LocalStratum = 12 })
	believed(t, b.poll(), "chronyd") // which is better than local
	b.chronyd.tracking.Leap = clock.LeapUnknown
	s := b.poll()
	want := clock.Judgement{
		State:          clock.Unsynchronised,
		Reason:         "chronyd is not synchronised",
		Source:         "local",
		Leap:           clock.LeapNone,
		Stratum:        12,
		RefID:          [4]byte{127, 127, 1, 1},
		Reference:      b.system.reading.Unix,
		RootDispersion: 60, // 2^-24 s
		GrowthPPM:      clock.GrowthDefaultPPM,
	}
	if diff := cmp.Diff(want, s.Judgement); diff != "" {
		t.Errorf("judgement differs (-want +got):\n%s", diff)
	}
	if s.Claims() || !s.Serves() {
		t.Error("a local clock is served and claims nothing")
	}
}

// WatchSteps is how a driver of Poll hears of a step; here its part is played by hand.
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

// A chronyd that is too busy to answer once or twice does not unsynchronise the clock; one
// that stays silent does, and so does a step during the silence.
func TestFollowHoldsTheLastAnswer(t *testing.T) {
	b := newBench()
	b.system.kernel.Synchronised = false
	believed(t, b.poll(), "chronyd")
	b.chronyd.err = errors.New("timeout")
	b.system.pass(5 * time.Second)
	s := b.poll()
	believed(t, s, "chronyd")
	if got, want := s.Judgement.RootDispersion, 500*time.Microsecond+21*5*time.Microsecond; got != want {
		t.Errorf("root dispersion %v five seconds later, want %v", got, want)
	}
	b.system.pass(1)
	refused(t, b.poll(), clock.RefIDStep(), "chronyd cannot be asked")

	b.chronyd.err = nil
	believed(t, b.poll(), "chronyd")
	b.chronyd.err = errors.New("timeout")
	b.system.step(time.Hour)
	refused(t, b.poll(), clock.RefIDStep(), "chronyd cannot be asked")
}

// Under chronyd -x nobody applies the correction, and it grows from poll to poll.
func TestFollowDrift(t *testing.T) {
	b := newBench()
	believed(t, b.poll(), "chronyd")
	grow := func(d time.Duration) float64 {
		t.Helper()
		b.system.pass(time.Second)
		b.chronyd.tracking.Correction -= d
		s := b.poll()
		believed(t, s, "chronyd")
		return s.GrowthPPM
	}
	b.chronyd.tracking.Correction = 0
	believed(t, b.poll(), "chronyd")
	if got := grow(300 * time.Microsecond); math.Abs(got-321) > 1e-6 {
		t.Errorf("growth %v ppm while the clock runs away by 300 ppm and the skew allows 21", got)
	}
	if got := grow(-100 * time.Microsecond); got != 21 {
		t.Errorf("growth %v ppm while the correction shrinks, want what the skew allows", got)
	}
	b.update() // a new measurement says something else: that is no drift
	if got := grow(time.Millisecond); got != 21 {
		t.Errorf("growth %v ppm at an update, want what the skew allows", got)
	}
}
