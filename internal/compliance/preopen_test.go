package compliance

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/rpc"
)

// newYork returns a time of day there.
func newYork(t *testing.T, s string) int64 {
	t.Helper()
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	d, err := time.ParseInLocation("2006-01-02 15:04:05", s, zone)
	if err != nil {
		t.Fatal(err)
	}
	return d.UnixNano()
}

// preOpenBench is an engine that judges by finra-50ms, at a time in New York, when all is well.
func preOpenBench(t *testing.T, when string) *bench {
	p, _ := Builtin("finra-50ms")
	b := newBench(t, p)
	b.now = newYork(t, when)
	b.s.Sources = agreeing(3, 1, 0)
	return b
}

// until lets seconds pass, until a time in New York is the next one.
func (b *bench) until(when string) *bench {
	b.t.Helper()
	return b.run(int((newYork(b.t, when) - b.now) / second))
}

// checks returns the checks on record: day and outcome.
func (b *bench) checks() string {
	s := ""
	for _, e := range b.j.all(KindPreOpen) {
		m := e.GetPreOpen()
		s += m.Day[5:]
		if m.Passed {
			s += "+ "
		} else {
			s += "- "
		}
	}
	return s
}

func TestPreOpenPassed(t *testing.T) {
	b := preOpenBench(t, "2026-03-06 07:59:50") // a Friday, before clocks go forward
	b.until("2026-03-06 08:00:00")
	wantEqual(t, "checks before the last hour", b.checks(), "")
	state := b.e.Status(b.now, 0).Verdicts[0].PreOpen
	if want := (&rpc.PreOpenState{Day: "2026-03-06", DueUnixNs: newYork(t, "2026-03-06 09:00:00"), Sentence: "it can be passed in the hour before it is due"}); !proto.Equal(state, want) {
		t.Errorf("%v", state)
	}
	b.run(1)
	wantEqual(t, "checks", b.checks(), "03-06+ ")
	want := &rpc.PreOpen{Profile: "finra-50ms", Day: "2026-03-06", Passed: true, Sentence: "the error bound is 1ms, and 3 sources agree, 1 of them of NIST", BoundNs: 1e6, Agreeing: 3, AgreeingNist: 1}
	if got := b.j.all(KindPreOpen)[0].GetPreOpen(); !proto.Equal(got, want) {
		t.Errorf("%v", got)
	}
	b.run(3590)
	wantEqual(t, "conditions", b.names(), "")
	state = b.e.Status(b.now, 0).Verdicts[0].PreOpen
	wantEqual(t, "passed", state.Passed, true)
	wantEqual(t, "due", state.DueUnixNs, newYork(t, "2026-03-06 09:00:00"))
	b.restart(*b.e.trackers[0].profile) // and it is known after a start
	b.until("2026-03-06 09:00:10")
	state = b.e.Status(newYork(t, "2026-03-07 12:00:00"), 0).Verdicts[0].PreOpen
	wantEqual(t, "the next day", state.Day, "2026-03-09")
	wantEqual(t, "due", state.DueUnixNs, time.Date(2026, 3, 9, 13, 0, 0, 0, time.UTC).UnixNano())

	// The next one is on Monday, an hour earlier by UTC.
	b.now = newYork(t, "2026-03-09 07:59:59")
	b.run(1)
	wantEqual(t, "checks", b.checks(), "03-06+ ")
	b.run(1)
	wantEqual(t, "checks", b.checks(), "03-06+ 03-09+ ")
}

func TestPreOpenFailed(t *testing.T) {
	b := preOpenBench(t, "2026-11-25 08:00:00") // the day before Thanksgiving
	b.s.Sources = agreeing(2, 1, 0)
	b.until("2026-11-25 08:30:00")
	wantEqual(t, "conditions", b.names(), ConditionQuorum)
	wantEqual(t, "state", b.e.Status(b.now, 0).Verdicts[0].PreOpen.Sentence, "not passed yet: 2 sources agree, and 3 must")
	b.run(1)
	wantEqual(t, "conditions half an hour before", b.names(), ConditionQuorum+" "+ConditionPreOpenMissing)
	wantEqual(t, "sentence", b.stands[1].Sentence, "finra-50ms: the check before the market opens is due at 09:00 EST and not passed: 2 sources agree, and 3 must; see to the sources before (truechimer status)")
	b.s.Sources = agreeing(1, 1, 0)
	b.run(1)
	wantEqual(t, "sentence, as it was when it began", strings.Contains(b.stands[1].Sentence, "2 sources agree"), true)
	b.s.Sources = agreeing(2, 1, 0)
	b.until("2026-11-25 09:00:00")
	wantEqual(t, "conditions", b.names(), ConditionQuorum+" "+ConditionPreOpenMissing)
	wantEqual(t, "checks", b.checks(), "")
	b.run(1)
	wantEqual(t, "conditions", b.names(), ConditionQuorum+" "+ConditionPreOpenFailed)
	wantEqual(t, "critical", b.stands[1].Critical, true)
	wantEqual(t, "sentence", b.stands[1].Sentence, "finra-50ms: the check before the market opens of 2026-11-25 was not passed: 2 sources agree, and 3 must; compare the clock by hand and put it on record")
	wantEqual(t, "checks", b.checks(), "11-25- ")
	want := &rpc.PreOpen{Profile: "finra-50ms", Day: "2026-11-25", Sentence: "2 sources agree, and 3 must", BoundNs: 1e6, Agreeing: 2, AgreeingNist: 1}
	if got := b.j.all(KindPreOpen)[0].GetPreOpen(); !proto.Equal(got, want) {
		t.Errorf("%v", got)
	}
	b.run(600)
	wantEqual(t, "conditions", b.names(), ConditionQuorum+" "+ConditionPreOpenFailed)
	b.s.Sources = agreeing(3, 1, 0)
	b.run(calmLooks)
	wantEqual(t, "conditions once all is well", b.names(), "")
	wantEqual(t, "checks", b.checks(), "11-25- ")
	b.now = newYork(t, "2026-11-26 08:00:00") // nobody trades
	b.run(3700)
	wantEqual(t, "checks", b.checks(), "11-25- ")
	b.now = newYork(t, "2026-11-26 12:00:00")
	b.run(1)
	wantEqual(t, "state of the next one", b.e.Status(b.now, 0).Verdicts[0].PreOpen.Sentence, "it can be passed in the hour before it is due")
	b.now = newYork(t, "2026-11-27 08:59:59")
	b.run(2)
	wantEqual(t, "checks", b.checks(), "11-25- 11-27+ ")
}

// The reason is what the clock lacks, where it is the clock.
func TestPreOpenClock(t *testing.T) {
	b := preOpenBench(t, "2026-11-25 08:59:58")
	b.bound(60 * ms).run(3)
	wantEqual(t, "sentence", b.j.all(KindPreOpen)[0].GetPreOpen().Sentence, "the error bound 60ms is beyond the tolerance, 50ms")
	b = preOpenBench(t, "2026-11-25 08:59:58")
	b.bound(-1).run(3)
	wantEqual(t, "bound", b.j.all(KindPreOpen)[0].GetPreOpen().BoundNs, -1)
	b = preOpenBench(t, "2026-11-25 08:59:58")
	b.bound(40 * ms).run(3) // a warning is good enough
	wantEqual(t, "checks", b.checks(), "11-25+ ")
	b = preOpenBench(t, "2026-11-25 08:59:58")
	b.s.Sources = nil // even where none are configured
	b.run(3)
	wantEqual(t, "checks", b.checks(), "11-25- ")
	wantEqual(t, "sentence", b.j.all(KindPreOpen)[0].GetPreOpen().Sentence, "0 sources agree, and 3 must")
}

// While nobody vouches for the time no days are caught up on: the hardware clock may be years ahead.
func TestPreOpenUnknownTime(t *testing.T) {
	b := preOpenBench(t, "2026-03-03 08:30:00")
	b.run(10)
	profile := *b.e.trackers[0].profile
	b.restart(profile)
	b.now = newYork(t, "2029-03-06 10:00:00")
	b.bound(-1).run(10)
	wantEqual(t, "checks with a clock of another year", b.checks(), "03-03+ ")
	b.now = newYork(t, "2026-03-05 08:30:00")
	b.bound(ms).run(10)
	wantEqual(t, "checks once the time is known", b.checks(), "03-03+ 03-04- 03-05+ ")
}

// Days on which the node did not run are on record once it runs, but none from before it knew.
func TestPreOpenNotRunning(t *testing.T) {
	b := preOpenBench(t, "2026-03-02 10:00:00")
	b.run(10)
	wantEqual(t, "checks on the first day, after the hour", b.checks(), "")
	b.now = newYork(t, "2026-03-03 08:30:00")
	b.run(10)
	profile := *b.e.trackers[0].profile
	b.restart(profile)
	b.now = newYork(t, "2026-03-06 08:59:59")
	b.run(1)
	wantEqual(t, "checks", b.checks(), "03-03+ 03-04- 03-05- 03-06+ ")
	m := b.j.all(KindPreOpen)[1].GetPreOpen()
	if m.Sentence != "nobody looked at the clock in the hour before it was due" || m.BoundNs != -1 || m.Agreeing != 0 {
		t.Errorf("%v", m)
	}
	wantEqual(t, "conditions", b.names(), ConditionPreOpenFailed)
	b.run(calmLooks)
	wantEqual(t, "conditions", b.names(), "")

	b.now = newYork(t, "2026-03-10 12:00:00") // the machine slept
	b.run(1)
	wantEqual(t, "checks", b.checks(), "03-03+ 03-04- 03-05- 03-06+ 03-09- 03-10- ")

	b.now = newYork(t, "2026-05-01 12:00:00") // for long
	b.restart(profile)
	n := len(b.j.all(KindPreOpen))
	b.run(1)
	late := b.j.all(KindPreOpen)[n:]
	if len(late) != 10 || late[0].GetPreOpen().Day != "2026-04-20" {
		t.Errorf("%d days are made up for, the first is %v", len(late), late[0])
	}
}

// What was missing on one day is not said of another.
func TestPreOpenForgets(t *testing.T) {
	b := preOpenBench(t, "2026-03-02 08:59:59")
	b.s.Sources = nil
	b.run(2)
	b.now = newYork(t, "2026-03-03 12:00:00")
	b.run(1)
	var said []string
	for _, e := range b.j.all(KindPreOpen) {
		said = append(said, e.GetPreOpen().Sentence)
	}
	wantEqual(t, "sentences", strings.Join(said, "; "), "0 sources agree, and 3 must; nobody looked at the clock in the hour before it was due")
}

// A clock that is set back by days has its checks before it again; by less, none is made twice.
func TestPreOpenSetBack(t *testing.T) {
	b := preOpenBench(t, "2026-03-02 08:10:00")
	b.run(1)
	b.now = newYork(t, "2026-03-02 08:00:00")
	b.run(60)
	wantEqual(t, "checks", b.checks(), "03-02+ ")
	b.now = newYork(t, "2036-03-03 08:10:00")
	b.run(1)
	n := len(b.j.all(KindPreOpen))
	if n > 13 {
		t.Errorf("%d checks after a jump of years", n)
	}
	b.now = newYork(t, "2026-03-03 08:10:00")
	b.run(1)
	wantEqual(t, "checks", b.checks()[7*n:], "03-03+ ")

	// And after a start.
	b.now = newYork(t, "2036-03-04 08:10:00")
	b.run(1)
	n = len(b.j.all(KindPreOpen))
	b.now = newYork(t, "2026-03-04 08:10:00")
	b.restart(*b.e.trackers[0].profile)
	b.run(1)
	wantEqual(t, "checks", b.checks()[7*n:], "03-04+ ")
}

// A check that is due just after midnight may be passed the day before.
func TestPreOpenAtMidnight(t *testing.T) {
	p := NewProfile("p", 50*ms)
	p.PreOpen = 30 * time.Minute
	b := newBench(t, p)
	b.now = time.Date(2026, 3, 2, 23, 29, 59, 0, time.UTC).UnixNano()
	b.run(1)
	wantEqual(t, "checks", b.checks(), "")
	b.run(1)
	wantEqual(t, "checks", b.checks(), "03-03+ ")
}

// A profile that is changed keeps its check, unless that is due at another time.
func TestPreOpenSet(t *testing.T) {
	b := preOpenBench(t, "2026-03-02 08:10:00")
	b.run(1)
	p := *b.e.trackers[0].profile
	p.Tolerance = 60 * ms
	b.e.Set([]Profile{p}, 0)
	b.run(10)
	wantEqual(t, "checks", b.checks(), "03-02+ ")
	wantEqual(t, "profile", b.e.preOpens[0].profile.Tolerance, 60*ms)
	p.PreOpen = 10 * time.Hour
	b.e.Set([]Profile{p}, 0)
	b.until("2026-03-02 09:30:00")
	wantEqual(t, "checks of the same day", b.checks(), "03-02+ ")
	b.now = newYork(t, "2026-03-03 08:59:59")
	b.run(1)
	wantEqual(t, "checks", b.checks(), "03-02+ ")
	b.run(1)
	wantEqual(t, "checks", b.checks(), "03-02+ 03-03+ ")
	p.PreOpen = -1
	b.e.Set([]Profile{p}, 0)
	b.run(1)
	if len(b.e.preOpens) != 0 || b.e.Status(b.now, 0).Verdicts[0].PreOpen != nil {
		t.Error("there is a check where there is none")
	}
	changed := p
	for _, change := range []func(*Profile){
		func(p *Profile) { p.PreOpen++ }, func(p *Profile) { p.Zone = "UTC" },
		func(p *Profile) { p.Calendar = "daily" }, func(p *Profile) { p.Holidays = []string{"2026-01-02"} },
	} {
		changed = p
		change(&changed)
		if (&preOpen{profile: &p}).like(&changed) {
			t.Errorf("%+v is due at the same times as %+v", changed, p)
		}
	}
}
