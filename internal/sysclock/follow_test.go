package sysclock

import (
	"errors"
	"fmt"
	"math"
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

// Two steps without an update between them need one update after both.

// A step that came before the first look cannot be seen, but a reference in the future is.

// The first correction of a hardware clock that stands in 2035 comes between the look at the

// clocks and the answer of chronyd, or of the kernel, who know of it already.

// A step that is too small to be measured counts when the system reports it.

// chronyd dies with a correction half done: the kernel, which knows only the root distance,

// must not claim more than chronyd did, until somebody tells it anew.

// A kernel whose machine has slept before this process started, or that was told of its

// error before it was looked at.

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

// A suspend is no step, whatever the wall clock does meanwhile.

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
