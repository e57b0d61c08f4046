package compliance

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/alert"
	"github.com/truechimer/truechimer/internal/rpc"
)

// bench is an engine whose seconds are said by a test.
type bench struct {
	t       *testing.T
	e       *Engine
	j       *ledger
	now     int64
	s       Second // the next one
	stands  []alert.Condition
	entries []*rpc.JournalEntry // of the last run
}

// at is where most tests begin: a Monday, 20 s past a full minute.
var at = time.Date(2026, 3, 2, 12, 0, 20, 0, time.UTC)

func newBench(t *testing.T, profiles ...Profile) *bench {
	b := &bench{t: t, j: &ledger{t: t}, now: at.UnixNano()}
	b.s = Second{Same: true, System: Reading{Claims: true, Bound: ms, State: "synchronised", Reason: "as it should be"}}
	b.e = NewEngine(Options{Profiles: profiles})
	return b
}

// restart starts another engine from the journal.
func (b *bench) restart(profiles ...Profile) {
	b.t.Helper()
	r, err := Restore(context.Background(), b.j, b.now)
	if err != nil {
		b.t.Fatal(err)
	}
	b.e = NewEngine(Options{Profiles: profiles, Restored: r})
}

// run lets seconds pass that are all alike.
func (b *bench) run(seconds int) *bench {
	b.entries = nil
	for range seconds {
		b.s.Unix = b.now
		out := b.e.Step(b.s)
		b.s.Step = 0
		b.j.write(b.now, out.Entries)
		b.entries = append(b.entries, out.Entries...)
		b.stands = out.Conditions
		b.now += second
	}
	return b
}

func (b *bench) bound(d time.Duration) *bench {
	b.s.System.Bound, b.s.System.Claims = d, d >= 0
	return b
}

// names returns the conditions that stand.
func (b *bench) names() string {
	var list []string
	for _, c := range b.stands {
		list = append(list, c.Name)
	}
	return strings.Join(list, " ")
}

// breaches returns what is on record.
func (b *bench) breaches() []*rpc.Breach {
	all, err := Breaches(context.Background(), b.j)
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

func finra() Profile {
	p := NewProfile("finra", 50*ms)
	return p
}

func wantEqual[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// A breach begins with its first second and ends with the first of ten that are well again.
func TestBreach(t *testing.T) {
	b := newBench(t, finra())
	b.s.Sources = []SourceReading{{Name: "a", Address: "192.0.2.1:123", Status: "agrees"}, {Name: "b", Status: "no name"}}
	b.run(5)
	wantEqual(t, "conditions", b.names(), "")
	start := b.now
	b.bound(60 * ms)
	b.s.System.Offset = -3 * ms
	b.run(1)
	wantEqual(t, "conditions in its first second", b.names(), ConditionBreach)
	wantEqual(t, "sentence", b.stands[0].Sentence, "finra, system clock: the error bound 60ms is beyond the tolerance, 50ms; look at the sources and at what steers the clock (truechimer status)")
	wantEqual(t, "labels", b.stands[0].Labels["profile"]+b.stands[0].Labels["clock"], "finrasystem")
	wantEqual(t, "critical", b.stands[0].Critical, true)
	b.bound(80 * ms).run(1)
	b.s.System.Offset = 2 * ms
	b.bound(40 * ms).run(9) // nearly
	wantEqual(t, "conditions", b.names(), ConditionBreach)
	b.bound(55 * ms).run(1)
	end := b.now
	b.bound(40 * ms).run(9)
	wantEqual(t, "conditions after nine seconds", b.names(), ConditionBreach)
	wantEqual(t, "end on record", b.breaches()[0].EndUnixNs, 0)
	b.run(1)
	wantEqual(t, "conditions after ten", b.names(), "")
	want := &rpc.Breach{
		Id: 1, Profile: "finra", Clock: systemClock, StartUnixNs: start, EndUnixNs: end,
		Worst: breach, PeakNs: int64(80 * ms), PeakOffsetNs: int64(-3 * ms), ToleranceNs: uint64(50 * ms),
		Cause:   "the error bound 60ms is beyond the tolerance, 50ms",
		Sources: []string{"a (192.0.2.1:123): agrees", "b: no name"},
		In_24H:  1,
	}
	if got := b.breaches(); len(got) != 1 || !proto.Equal(got[0], want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	wantEqual(t, "records of it", len(b.j.all(KindBreach)), 2) // begin and end: it got worse within a minute
}

// It is on record how bad a breach has become, once a minute at the most.
func TestBreachWorse(t *testing.T) {
	b := newBench(t, finra())
	b.bound(60 * ms).run(1)
	first := b.entries[len(b.entries)-1].GetBreach()
	for i := range 299 {
		b.bound(61*ms + time.Duration(i)*ms).run(1)
	}
	wantEqual(t, "peak in an entry of before", first.PeakNs, int64(60*ms))
	wantEqual(t, "records in 5 minutes", len(b.j.all(KindBreach)), 5)
	wantEqual(t, "peak on record", b.breaches()[0].PeakNs, int64(300*ms))
	b.run(300)
	wantEqual(t, "records when it gets worse no more", len(b.j.all(KindBreach)), 6)
	b.bound(-1).run(1)
	got := b.breaches()[0]
	wantEqual(t, "worst", got.Worst, unknown)
	wantEqual(t, "peak", got.PeakNs, int64(359*ms))
	b.bound(400 * ms).run(1)
	b.j.write(b.now, b.e.Stop())
	wantEqual(t, "peak on record after a stop", b.breaches()[0].PeakNs, int64(400*ms))
}

func TestBreachUnknown(t *testing.T) {
	b := newBench(t, finra())
	b.run(2).bound(-1)
	b.s.System.Offset = time.Hour
	b.s.System.Reason = "no source answers"
	b.run(1)
	wantEqual(t, "conditions", b.names(), ConditionUnknown)
	got := b.breaches()[0]
	wantEqual(t, "worst", got.Worst, unknown)
	wantEqual(t, "peak", got.PeakNs, -1)
	wantEqual(t, "peak offset, which nobody vouches for", got.PeakOffsetNs, 0)
	wantEqual(t, "cause", got.Cause, "no error bound can be claimed: no source answers")
	b.s.System.Holdover = true
	b.bound(70 * ms).run(1)
	wantEqual(t, "conditions in a holdover that is too long", b.names(), ConditionUnknown)
	b.s.System.Holdover = false
	b.run(1)
	wantEqual(t, "conditions, both", b.names(), ConditionBreach+" "+ConditionUnknown)
	b.run(8)
	wantEqual(t, "conditions, still both", b.names(), ConditionBreach+" "+ConditionUnknown)
	b.run(1)
	wantEqual(t, "conditions after ten seconds of the one", b.names(), ConditionBreach)
}

// A gap counts in the breach that goes on in it, and is no second that is well.
func TestBreachGap(t *testing.T) {
	b := newBench(t, finra())
	b.bound(60 * ms).run(1)
	b.bound(ms).run(5)
	b.now += 5 * second // 6 s between looks
	end := b.now
	b.run(9)
	wantEqual(t, "end after nine seconds", b.breaches()[0].EndUnixNs, 0)
	wantEqual(t, "conditions", b.names(), ConditionBreach)
	b.run(1)
	wantEqual(t, "end", b.breaches()[0].EndUnixNs, end)

	b.bound(60 * ms).run(1)
	end = b.now
	b.bound(ms).run(5)
	b.now += 4 * second // 5 s between looks are none
	b.run(5)
	wantEqual(t, "end without a gap", b.breaches()[1].EndUnixNs, end)

	b.bound(60 * ms).run(1)
	end = b.now
	b.bound(ms).run(5)
	b.now += 3600 * second
	b.s.Step = time.Hour // a step is none either
	b.run(5)
	wantEqual(t, "end with a step", b.breaches()[2].EndUnixNs, end)
}

// Whatever the clock does, a breach does not end before it begins.
func TestBreachSetBack(t *testing.T) {
	b := newBench(t, finra())
	start := b.now
	b.bound(60 * ms).run(1)
	b.now -= 3600 * second
	b.bound(ms).run(10)
	wantEqual(t, "end", b.breaches()[0].EndUnixNs, start+second)
}

// Ten in 24 hours, or twice the tolerance, may have to be reported.
func TestSelfReport(t *testing.T) {
	b := newBench(t, finra())
	first := b.now
	for range 11 {
		b.bound(60 * ms).run(1)
		b.bound(ms).run(100)
	}
	for i, got := range b.breaches() {
		wantEqual(t, "in 24 h", got.In_24H, uint32(i+1))
		wantEqual(t, "self report", got.SelfReport, i+1 >= 10)
	}
	wantEqual(t, "in 24 h in the status", b.e.Status(b.now, 0).Verdicts[0].Breaches_24H, 11)

	b.now = first + int64(24*time.Hour) // the first one is 24 h old now, and not one of them
	b.bound(60 * ms).run(1)
	b.bound(ms).run(10)
	got := b.breaches()
	wantEqual(t, "in 24 h a day later", got[11].In_24H, 11)
	b.now = first + int64(48*time.Hour)
	b.bound(100*ms - 1).run(1)
	b.bound(ms).run(10)
	wantEqual(t, "reported below the factor", b.breaches()[12].SelfReport, false)
	b.bound(100 * ms).run(1)
	wantEqual(t, "reported at it", b.breaches()[13].SelfReport, true)

	never := finra()
	never.SelfReportFactor, never.SelfReportCount = 0, 0
	wantEqual(t, "reportable", never.reportable(1e18, 1000), false)
	wantEqual(t, "reportable without a bound", b.e.trackers[0].profile.reportable(-1, 9), false)
}

// Only so many are remembered; the numbers go on.
func TestBreachesMax(t *testing.T) {
	b := newBench(t, finra())
	for range breachesMax + 5 {
		b.bound(60 * ms).run(1)
		b.bound(ms).run(10)
	}
	wantEqual(t, "remembered", len(b.e.trackers[0].recent), breachesMax)
	wantEqual(t, "number of the last", b.breaches()[breachesMax+4].Id, breachesMax+5)
	wantEqual(t, "in 24 h", b.breaches()[breachesMax+4].In_24H, breachesMax)
	if _, _, err := b.e.Acknowledge(5, "w", "", b.now); !errors.Is(err, ErrNoBreach) {
		t.Errorf("one that is not remembered: %v", err)
	}
	b.restart(finra())
	wantEqual(t, "remembered after a start", len(b.e.trackers[0].recent), breachesMax)
	wantEqual(t, "last number after a start", b.e.lastBreach, breachesMax+5)
	wantEqual(t, "listed", len(b.e.Status(b.now, 0).Breaches), statusBreachesMax)
}

func TestAcknowledge(t *testing.T) {
	b := newBench(t, finra())
	b.bound(60 * ms).run(1)
	entry, got, err := b.e.Acknowledge(1, "wolfgang", "the uplink was cut", 42)
	if err != nil || got.AcknowledgedBy != "wolfgang" || got.AcknowledgedUnixNs != 42 || got.Note != "the uplink was cut" || !proto.Equal(entry.GetBreach(), got) {
		t.Fatalf("%v, %v, %v", entry, got, err)
	}
	got.Note = "changed"
	as := &rpc.Breach{Id: 7}
	if changed, _, err := Acknowledged(as, "w", "", 1); err != nil || as.AcknowledgedBy != "" || changed.AcknowledgedBy != "w" {
		t.Errorf("acknowledged in place: %v", as)
	}
	b.bound(ms).run(10) // it is kept when the breach changes
	last := b.breaches()[0]
	wantEqual(t, "note", last.Note, "the uplink was cut")
	if last.EndUnixNs == 0 {
		t.Error("an acknowledged breach does not end")
	}
	if _, _, err := b.e.Acknowledge(2, "w", "", 1); !errors.Is(err, ErrNoBreach) {
		t.Errorf("no such breach: %v", err)
	}
	if _, _, err := b.e.Acknowledge(1, "w", strings.Repeat("x", noteMax+1), 1); !errors.Is(err, ErrNote) {
		t.Errorf("a long note: %v", err)
	}
	if _, _, err := b.e.Acknowledge(1, "w", strings.Repeat("x", noteMax), 1); err != nil {
		t.Errorf("a note that is just short enough: %v", err)
	}
}

func TestTold(t *testing.T) {
	b := newBench(t, finra())
	labels := map[string]string{"profile": "finra", "clock": "system"}
	if b.e.Told(labels, b.now, "ops") != nil {
		t.Error("told of no breach")
	}
	first := b.now
	b.bound(60 * ms).run(1)
	b.bound(ms).run(20)
	second := b.now
	b.bound(60 * ms).run(1)
	if e := b.e.Told(labels, first+5e9, "ops"); e.GetBreach().GetId() != 1 || !slices.Equal(e.GetBreach().Told, []string{"ops"}) {
		t.Errorf("told of the first: %v", e)
	}
	if b.e.Told(labels, first, "ops") != nil {
		t.Error("told twice")
	}
	if e := b.e.Told(labels, second, "ops"); e.GetBreach().GetId() != 2 {
		t.Errorf("told of the second: %v", e)
	}
	for i := range breachToldMax - 1 {
		if b.e.Told(labels, second, string(rune('a'+i))) == nil {
			t.Errorf("channel %d is not on record", i)
		}
	}
	if b.e.Told(labels, second, "one more") != nil {
		t.Error("there is no limit")
	}
	if b.e.Told(labels, first-1, "x") != nil {
		t.Error("an alarm from before all breaches")
	}
	if b.e.Told(map[string]string{"profile": "finra", "clock": "served"}, second, "x") != nil ||
		b.e.Told(map[string]string{"source": "a"}, second, "x") != nil {
		t.Error("an alarm of something else")
	}
	b.bound(ms).run(10)
	wantEqual(t, "told, when it is over", len(b.breaches()[1].Told), breachToldMax)
}

// In virtual mode both clocks are judged; as soon as they are one, only the system clock.
func TestServed(t *testing.T) {
	b := newBench(t, finra())
	b.s.Same = false
	b.s.Served = Reading{Claims: true, Bound: 60 * ms, State: "synchronised"}
	b.run(20)
	wantEqual(t, "conditions", b.names(), ConditionBreach)
	wantEqual(t, "clock", b.stands[0].Labels["clock"], "served")
	wantEqual(t, "rows", len(b.e.Status(b.now, 1).Verdicts), 2)
	b.s.Same = true
	end := b.now
	b.run(1)
	wantEqual(t, "conditions", b.names(), "")
	got := b.breaches()[0]
	wantEqual(t, "end", got.EndUnixNs, end)
	wantEqual(t, "cause", got.Cause, "the error bound 60ms is beyond the tolerance, 50ms; the served clock is the system clock now, and judged as that")
	wantEqual(t, "rows", len(b.e.Status(b.now, 1).Verdicts), 1)
	b.s.Same, b.s.Served.Bound = false, ms
	b.run(1)
	wantEqual(t, "conditions of before", b.names(), "")
}

// A profile that stays goes on, one that goes ends what it began.
func TestSet(t *testing.T) {
	strict := finra()
	strict.Name = "strict"
	b := newBench(t, finra(), strict)
	b.bound(60 * ms).run(3)
	wider := finra()
	wider.Tolerance, wider.Warn = time.Second, time.Second
	b.e.Set([]Profile{wider}, 0)
	end := b.now
	b.run(1)
	got := b.breaches()
	wantEqual(t, "end of the one that is gone", got[1].EndUnixNs, end)
	wantEqual(t, "its cause", got[1].Cause, "the error bound 60ms is beyond the tolerance, 50ms; the profile is in force no more")
	wantEqual(t, "end of the one that stays", got[0].EndUnixNs, 0)
	b.run(9)
	wantEqual(t, "end of the one that stays", b.breaches()[0].EndUnixNs, end)
	wantEqual(t, "rows", len(b.e.Status(b.now, 1).Verdicts), 1)
	b.run(60)
	var names []string
	for _, v := range b.j.all(KindMinute)[0].GetMinute().Verdicts {
		names = append(names, v.Profile)
	}
	wantEqual(t, "counted in the minute", strings.Join(names, " "), "finra strict")
	wantEqual(t, "deviation", b.e.deviation, DeviationDefault)
	b.e.Set(nil, time.Second)
	wantEqual(t, "deviation", b.e.deviation, time.Second)
	b.run(1)
	wantEqual(t, "rows without profiles", len(b.e.Status(b.now, 1).Verdicts), 0)
	wantEqual(t, "profiles whose quorum is watched", len(b.e.quorums), 0)
}

// After a start nothing can be proven for a while: it is counted, but nobody is called.
func TestGrace(t *testing.T) {
	p := finra()
	p.MinSources = 2
	b := newBench(t, p)
	b.e = NewEngine(Options{Profiles: []Profile{p}, Grace: 30 * time.Second})
	b.s.Sources = agreeing(1, 1, 0)
	b.s.Sources[0].Agrees = false
	b.bound(-1).run(30)
	wantEqual(t, "conditions in the grace", b.names(), "")
	wantEqual(t, "breaches", len(b.breaches()), 1)
	b.run(1)
	wantEqual(t, "conditions after it", b.names(), ConditionUnknown)
	b.run(doubtLooks)
	wantEqual(t, "conditions after it", b.names(), ConditionUnknown+" "+ConditionNIST+" "+ConditionQuorum)

	b.e = NewEngine(Options{Profiles: []Profile{p}, Grace: 30 * time.Second})
	b.bound(60 * ms).run(1)
	wantEqual(t, "conditions in the grace, of a bound", b.names(), ConditionBreach)

	// What went on before the start goes on: nobody is told that it is over.
	b = newBench(t, p)
	b.bound(-1).run(70)
	r, err := Restore(context.Background(), b.j, b.now)
	if err != nil {
		t.Fatal(err)
	}
	b.e = NewEngine(Options{Profiles: []Profile{p}, Grace: 30 * time.Second, Restored: r})
	b.run(1)
	wantEqual(t, "conditions in the grace, of a breach that goes on", b.names(), ConditionUnknown)
	b.bound(ms).run(20)
	wantEqual(t, "conditions once it is over", b.names(), "")
	b.bound(-1).run(1)
	wantEqual(t, "conditions of a new one in the grace", b.names(), "")
}

func TestSourcesLost(t *testing.T) {
	p := finra()
	p.MinSources, p.MinNIST = 2, 1
	b := newBench(t, p)
	b.s.Sources = agreeing(3, 1, 0)
	b.run(20)
	wantEqual(t, "conditions", b.names(), "")
	b.s.Sources[0].Agrees = false
	b.run(doubtLooks - 1)
	wantEqual(t, "conditions, not yet sure", b.names(), "")
	b.run(1)
	wantEqual(t, "conditions", b.names(), ConditionNIST+" "+ConditionQuorum)
	wantEqual(t, "critical", b.stands[0].Critical && !b.stands[1].Critical, true)
	wantEqual(t, "sentence", b.stands[1].Sentence, "finra: 0 sources of NIST agree, and 1 must; see what became of the sources (truechimer sources)")
	b.s.Sources[0].Agrees = true
	b.run(calmLooks - 1)
	wantEqual(t, "conditions, not yet well", b.names(), ConditionNIST+" "+ConditionQuorum)
	b.run(1)
	wantEqual(t, "conditions", b.names(), "")
	b.s.Sources = nil // follow, without sources
	b.run(60)
	wantEqual(t, "conditions without sources", b.names(), "")
	wantEqual(t, "verdict without sources", b.e.Status(b.now, 0).Verdicts[0].Verdict, ok)
	b.s.Sources = offsets(0, 0, 9)
	b.run(60)
	wantEqual(t, "conditions", b.names(), ConditionQuorum+" "+ConditionDeviation)
}

func TestClockChanged(t *testing.T) {
	b := newBench(t)
	count := func() int { return len(b.j.all(KindClock)) }
	b.run(10)
	wantEqual(t, "records of the first look", count(), 1)
	wantEqual(t, "from", b.j.all(KindClock)[0].GetClock().From, "")
	b.s.System.Reason = "another"
	b.run(2)
	wantEqual(t, "records of another reason", count(), 1)
	b.s.System.State = "holdover"
	b.run(2)
	wantEqual(t, "records of another state", count(), 2)
	wantEqual(t, "from", b.j.all(KindClock)[1].GetClock().From, "synchronised")
	b.s.System.Source = "b"
	b.run(2)
	b.s.System.Stratum = 3
	b.run(2)
	b.s.Step = -ms
	b.run(2)
	wantEqual(t, "records", count(), 5)
	want := &rpc.ClockChanged{State: "holdover", Reason: "another", Source: "b", Stratum: 3, StepNs: int64(-ms), From: "holdover"}
	if got := b.j.all(KindClock)[4].GetClock(); !proto.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestSourceNumber(t *testing.T) {
	b := newBench(t)
	a := SourceReading{Name: "a", Address: "192.0.2.1:123", Site: "g", NIST: true, ProviderError: ms}
	number := func(s SourceReading, want uint32, wantEntry bool) {
		t.Helper()
		n, e := b.e.SourceNumber(s)
		if n != want || (e != nil) != wantEntry || e != nil && (e.GetSource().Number != n || e.GetSource().Name != s.Name) {
			t.Errorf("%d, %v; want %d, %v", n, e, want, wantEntry)
		}
		if e != nil {
			b.j.write(b.now, []*rpc.JournalEntry{e})
		}
	}
	number(a, 1, true)
	number(a, 1, false)
	other := a
	other.Address = "192.0.2.2:123"
	number(other, 2, true)
	a.Site = "h"
	number(a, 1, true)
	a.NIST = false
	number(a, 1, true)
	a.ProviderError = 2 * ms
	number(a, 1, true)
	b.restart()
	number(a, 1, false)
	number(other, 2, false)
	number(SourceReading{Name: "c"}, 3, true)
	for i := range numbersMax - 3 {
		b.e.SourceNumber(SourceReading{Name: "x", Address: time.Duration(i).String()})
	}
	number(SourceReading{Name: "one more"}, 0, false)
	number(other, 2, false)
}
