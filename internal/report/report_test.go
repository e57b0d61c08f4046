package report

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/rpc"
)

// eventful is a day with everything in it, and what touches it.
func eventful() (*memory, int64, int64) {
	const start = 1_764_547_200
	r := rand.New(rand.NewPCG(3, 3))
	m, _ := invent(r, start, day)
	at := func(s int64) int64 { return (start + s) * 1e9 }
	for _, e := range []struct {
		at    int64
		entry *rpc.JournalEntry
	}{
		{at(-9000), &rpc.JournalEntry{What: &rpc.JournalEntry_Source{Source: &rpc.SourceNamed{Number: 1, Name: "=nist-a", Address: "192.0.2.1:123", Site: "Boulder", Nist: true, ProviderErrorNs: 1000}}}},
		{at(-9000), &rpc.JournalEntry{What: &rpc.JournalEntry_Source{Source: &rpc.SourceNamed{Number: 2, Name: "gps", Address: "192.0.2.2:123", Site: "cellar"}}}},
		{at(-8000), &rpc.JournalEntry{What: &rpc.JournalEntry_Started{Started: &rpc.Started{Version: "1.0", Node: "tick"}}}},
		{at(-7000), &rpc.JournalEntry{What: &rpc.JournalEntry_Started{Started: &rpc.Started{Version: "1.1", Node: "tick", Mode: "steer", Clean: true}}}},
		{at(100), &rpc.JournalEntry{What: &rpc.JournalEntry_Stopped{Stopped: &rpc.Stopped{Cause: "SIGTERM"}}}},
		{at(200), &rpc.JournalEntry{What: &rpc.JournalEntry_Started{Started: &rpc.Started{Version: "1.2", Node: "tick"}}}},
		{at(300), &rpc.JournalEntry{What: &rpc.JournalEntry_Configured{Configured: &rpc.Configured{Who: "reload", Changes: []*rpc.ConfigChange{{Key: "ntp.listen", Old: "-1", New: "@x", Waits: true}}}}}},
		{at(301), &rpc.JournalEntry{What: &rpc.JournalEntry_Configured{Configured: &rpc.Configured{Who: "start", ConfigHash: "ab12"}}}},
		{at(400), &rpc.JournalEntry{What: &rpc.JournalEntry_Clock{Clock: &rpc.ClockChanged{State: "synchronised", From: "holdover", Reason: "it is <b>back</b>", StepNs: -5e6, Stratum: 2, Source: "gps"}}}},
		{at(500), &rpc.JournalEntry{What: &rpc.JournalEntry_Delivery{Delivery: &rpc.Delivered{Channel: "pager", Taken: true}}}},
		{at(501), &rpc.JournalEntry{What: &rpc.JournalEntry_Delivery{Delivery: &rpc.Delivered{Channel: "pager", Fault: "503"}}}},
		{at(502), &rpc.JournalEntry{What: &rpc.JournalEntry_Delivery{Delivery: &rpc.Delivered{Channel: "pager", Alarm: "a1", Taken: true}}}},
		{at(503), &rpc.JournalEntry{What: &rpc.JournalEntry_Delivery{Delivery: &rpc.Delivered{Channel: "am", Alarm: "a1", Fault: "refused"}}}},
		{at(600), &rpc.JournalEntry{What: &rpc.JournalEntry_PreOpen{PreOpen: &rpc.PreOpen{Profile: testProfile, Day: "2025-12-01", Passed: true, BoundNs: 1e6, Agreeing: 4, AgreeingNist: 2}}}},
		{at(601), &rpc.JournalEntry{What: &rpc.JournalEntry_PreOpen{PreOpen: &rpc.PreOpen{Profile: "another", Day: "2025-12-01"}}}},
		{at(602), &rpc.JournalEntry{What: &rpc.JournalEntry_PreOpen{PreOpen: &rpc.PreOpen{Profile: testProfile, Day: "2025-12-02", BoundNs: -1}}}},
		{at(700), &rpc.JournalEntry{What: &rpc.JournalEntry_Operation{Operation: &rpc.Operated{Who: "ops", What: "makestep", Result: "+1 ms"}}}},
		{at(800), &rpc.JournalEntry{What: &rpc.JournalEntry_Key{Key: &rpc.SigningKey{PublicKey: []byte{1, 2}, Reason: "renewed"}}}},
		{at(day + 5), &rpc.JournalEntry{What: &rpc.JournalEntry_Started{Started: &rpc.Started{Version: "1.3", Node: "tick"}}}},
		// Alarms: over before; from before into it; all through; raised after; another profile's.
		{at(-5000), &rpc.JournalEntry{What: &rpc.JournalEntry_Alarm{Alarm: &rpc.Alarmed{Id: "a0", Name: "past", SinceUnixNs: at(-5000)}}}},
		{at(-4000), &rpc.JournalEntry{What: &rpc.JournalEntry_Alarm{Alarm: &rpc.Alarmed{Id: "a0", Name: "past", SinceUnixNs: at(-5000), Resolved: true}}}},
		{at(-3000), &rpc.JournalEntry{What: &rpc.JournalEntry_Alarm{Alarm: &rpc.Alarmed{Id: "a1", Name: "into", Severity: "critical", Labels: map[string]string{"profile": testProfile, "clock": "system"}, SinceUnixNs: at(-3000)}}}},
		{at(1000), &rpc.JournalEntry{What: &rpc.JournalEntry_Alarm{Alarm: &rpc.Alarmed{Id: "a1", Name: "into", Severity: "critical", Labels: map[string]string{"profile": testProfile, "clock": "system"}, SinceUnixNs: at(-3000), Resolved: true}}}},
		{at(-2000), &rpc.JournalEntry{What: &rpc.JournalEntry_Alarm{Alarm: &rpc.Alarmed{Id: "a2", Name: "through", SinceUnixNs: at(-2000)}}}},
		{at(day + 10), &rpc.JournalEntry{What: &rpc.JournalEntry_Alarm{Alarm: &rpc.Alarmed{Id: "a3", Name: "later", SinceUnixNs: at(day + 10)}}}},
		{at(900), &rpc.JournalEntry{What: &rpc.JournalEntry_Alarm{Alarm: &rpc.Alarmed{Id: "a4", Name: "other", Labels: map[string]string{"profile": "another"}, SinceUnixNs: at(900)}}}},
		// Breaches: over before; going on from before, acknowledged after; another profile's; later.
		{at(-5000), &rpc.JournalEntry{What: &rpc.JournalEntry_Breach{Breach: &rpc.Breach{Id: 1, Profile: testProfile, StartUnixNs: at(-5000)}}}},
		{at(-4000), &rpc.JournalEntry{What: &rpc.JournalEntry_Breach{Breach: &rpc.Breach{Id: 1, Profile: testProfile, StartUnixNs: at(-5000), EndUnixNs: at(-4000)}}}},
		{at(-100), &rpc.JournalEntry{What: &rpc.JournalEntry_Breach{Breach: &rpc.Breach{Id: 2, Profile: testProfile, StartUnixNs: at(-100), PeakNs: 51e6}}}},
		{at(50), &rpc.JournalEntry{What: &rpc.JournalEntry_Breach{Breach: &rpc.Breach{Id: 3, Profile: "another", StartUnixNs: at(50)}}}},
		{at(60), &rpc.JournalEntry{What: &rpc.JournalEntry_Breach{Breach: &rpc.Breach{Id: 4, Profile: testProfile, Clock: rpc.JudgedClock_JUDGED_CLOCK_SYSTEM, Worst: rpc.Verdict_VERDICT_UNKNOWN, PeakNs: -1, SelfReport: true, StartUnixNs: at(60)}}}},
		{at(day + 50), &rpc.JournalEntry{What: &rpc.JournalEntry_Breach{Breach: &rpc.Breach{Id: 2, Profile: testProfile, StartUnixNs: at(-100), EndUnixNs: at(500), PeakNs: 120e6, AcknowledgedBy: "ops", AcknowledgedUnixNs: at(day + 50), Note: "+the uplink, \"cut\"\nduring works", Told: []string{"pager"}, Sources: []string{"gps ok"}}}}},
		{at(day + 60), &rpc.JournalEntry{What: &rpc.JournalEntry_Breach{Breach: &rpc.Breach{Id: 5, Profile: testProfile, StartUnixNs: at(day + 60)}}}},
	} {
		m.add(e.at, e.entry)
	}
	d := compliance.Distribution{}
	d.Add(5000, 10)
	d.Add(-7000, 10)
	for _, h := range m.byKind[compliance.KindHour] {
		h.Entry.GetHour().Sources = []*rpc.SourceSummaryHour{
			{Source: 1, Offset: d.Proto(), Delay: d.Proto(), Agreed: h.Entry.GetHour().Observed, Measured: 3, Stratum: 2, Refid: 0xc0000201},
			{Source: 9, Agreed: 1},
		}
	}
	return m, start, start + day
}

func TestEvents(t *testing.T) {
	m, from, to := eventful()
	r := build(t, m, from, to)
	lastWithin := m.byKind[compliance.KindBreach][4].Sequence
	if len(r.Breaches.Items) != 2 || r.Breaches.Items[0].ID != 2 || r.Breaches.Items[0].Peak != 120e6 || r.Breaches.Items[0].Note == "" || r.Breaches.Items[1].ID != 4 || r.Breaches.Items[1].To != nil {
		t.Errorf("breaches %+v", r.Breaches)
	}
	if r.Overall.SelfReports != 1 || r.Overall.Unacknowledged != 1 || r.Overall.PreOpenPassed != 1 || r.Overall.PreOpenFailed != 1 || len(r.PreOpens.Items) != 2 {
		t.Errorf("overall %+v, %+v", r.Overall, r.PreOpens)
	}
	if len(r.Alarms.Items) != 2 || r.Alarms.Items[0].Name != "into" || r.Alarms.Items[0].To == nil || r.Alarms.Items[1].Name != "through" || r.Alarms.Items[1].To != nil {
		t.Errorf("alarms %+v", r.Alarms)
	}
	var versions []string
	for _, s := range r.Versions.Items {
		versions = append(versions, s.Version)
	}
	if !cmp.Equal(versions, []string{"1.1", "1.2"}) {
		t.Errorf("versions %v", versions)
	}
	if len(r.Configs.Items) != 2 || r.Configs.Items[0].Key != "ntp.listen" || r.Configs.Items[1].Hash != "ab12" || len(r.Changes.Items) != 1 || len(r.Stops.Items) != 1 || len(r.Operated.Items) != 1 || len(r.Journal.Keys.Items) != 1 {
		t.Errorf("configs %+v, changes %+v, stops %+v, operated %+v, keys %+v", r.Configs, r.Changes, r.Stops, r.Operated, r.Journal.Keys)
	}
	last := unix(from + 500)
	want := []Channel{{Name: "am", ToldFailed: 1, Fault: "refused"}, {Name: "pager", Tests: 1, TestsFailed: 1, LastTest: &last, Told: 1, Fault: "503"}}
	if d := cmp.Diff(want, r.Channels); d != "" {
		t.Error(d)
	}
	s := r.Sources.Items
	if len(s) != 2 || s[0].Name != "=nist-a" || s[0].AgreedShare != 1 || s[0].OffsetMin != -7000 || s[0].OffsetMean != -1000 || s[0].Measured == 0 || s[0].Stratum != 2 || s[0].RefID != "192.0.2.1" || s[1].RefID != "" || !strings.Contains(s[1].Name, "not on record") {
		t.Errorf("sources %+v", s)
	}
	if !strings.Contains(r.Chain[0], "UTC(NIST) is what =nist-a") {
		t.Errorf("chain %q", r.Chain)
	}
	if r.Journal.First != 1 || r.Journal.Last != lastWithin {
		t.Errorf("journal %+v", r.Journal)
	}
}

// Where the clock was set back, the last word is not the latest.
func TestLastWord(t *testing.T) {
	const from = 1_764_547_200
	m := &memory{}
	at := func(s int64) int64 { return (from + s) * 1e9 }
	breach := func(b *rpc.Breach) *rpc.JournalEntry {
		b.Id, b.Profile, b.StartUnixNs = 1, testProfile, at(10)
		return &rpc.JournalEntry{What: &rpc.JournalEntry_Breach{Breach: b}}
	}
	alarm := func(over bool) *rpc.JournalEntry {
		return &rpc.JournalEntry{What: &rpc.JournalEntry_Alarm{Alarm: &rpc.Alarmed{Id: "a", SinceUnixNs: at(10), Resolved: over}}}
	}
	named := func(name string) *rpc.JournalEntry {
		return &rpc.JournalEntry{What: &rpc.JournalEntry_Source{Source: &rpc.SourceNamed{Number: 1, Name: name}}}
	}
	m.add(at(100), breach(&rpc.Breach{}))
	m.add(at(100), alarm(false))
	m.add(at(100), named("old"))
	m.add(at(50), breach(&rpc.Breach{EndUnixNs: at(40), Note: "last"}))
	m.add(at(50), alarm(true))
	m.add(at(50), named("new"))
	m.add(at(120), &rpc.JournalEntry{What: &rpc.JournalEntry_Hour{Hour: &rpc.Summary{Start: from, Sources: []*rpc.SourceSummaryHour{{Source: 1, Agreed: 1}}}}})
	for _, list := range m.byKind {
		slices.SortFunc(list, func(a, b compliance.Record) int { return int(a.Unix/1e9 - b.Unix/1e9) })
	}
	r := build(t, m, from, from+day)
	if b := r.Breaches.Items; len(b) != 1 || b[0].Note != "last" || b[0].To == nil {
		t.Errorf("%+v", b)
	}
	if a := r.Alarms.Items; len(a) != 1 || a[0].To == nil || a[0].To.Unix() != from+50 {
		t.Errorf("%+v", a)
	}
	if s := r.Sources.Items; len(s) != 1 || s[0].Name != "new" {
		t.Errorf("%+v", s)
	}
}

// The causes of gaps come from what is on record around them.
func TestGapCause(t *testing.T) {
	stop := turn{at: 1000, kind: compliance.KindStopped, text: "SIGTERM"}
	tests := map[string]struct {
		turns []turn
		want  string
	}{
		"nothing":              {nil, "not on record"},
		"stopped":              {[]turn{stop, {at: 1090, kind: compliance.KindStarted, fine: true}}, "the node was stopped in order: SIGTERM"},
		"crashed":              {[]turn{{at: 1090, kind: compliance.KindStarted}}, "the node crashed, was killed, or lost its power"},
		"started after a rest": {[]turn{{at: 1090, kind: compliance.KindStarted, fine: true}}, "the node was stopped in order"},
		"stepped":              {[]turn{{at: 1000, kind: compliance.KindClock, text: "+5 s"}}, "the clock was stepped by +5 s"},
		"stopped and stepped":  {[]turn{stop, {at: 1091, kind: compliance.KindClock, text: "+5 s"}}, "the node was stopped in order: SIGTERM"},
		"far before":           {[]turn{{at: 1000 - near - 1, kind: compliance.KindStopped}}, "not on record"},
		"far after":            {[]turn{{at: 1100 + near + 1, kind: compliance.KindStarted}}, "not on record"},
		"near before":          {[]turn{{at: 1000 - near, kind: compliance.KindStarted}}, "the node crashed, was killed, or lost its power"},
	}
	for name, tt := range tests {
		e := newEvents(testProfile, 0, 10_000)
		for _, x := range tt.turns {
			e.turn(x)
		}
		if got := e.cause(Gap{From: unix(1000), To: unix(1100)}); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// The served clock is listed where it is another, and what was not judged is not compliant.
func TestServedApart(t *testing.T) {
	const start = 1_764_547_200
	m := &memory{}
	var near, far compliance.Distribution
	near.Add(1000, 60)
	far.Add(2e6, 50)
	m.add((start+60)*1e9, &rpc.JournalEntry{What: &rpc.JournalEntry_Minute{Minute: &rpc.Summary{
		Start: start, Observed: 60, Smeared: 7,
		System: &rpc.ClockSummary{Bound: far.Proto(), Offset: far.Proto(), Unclaimed: 10},
		Served: &rpc.ClockSummary{Bound: near.Proto(), Offset: near.Proto()},
		Verdicts: []*rpc.VerdictCount{
			{Profile: testProfile, Clock: rpc.JudgedClock_JUDGED_CLOCK_SERVED, Ok: 60},
			{Profile: testProfile, Clock: rpc.JudgedClock_JUDGED_CLOCK_SYSTEM, Ok: 20, Unknown: 10},
		},
	}}})
	// In the next minute the clocks are one again; it was written early, by a clock that was stepped back.
	const tai = int32(37)
	m.add((start-1)*1e9, &rpc.JournalEntry{What: &rpc.JournalEntry_Minute{Minute: &rpc.Summary{
		Start: start + 60, Observed: 1, System: &rpc.ClockSummary{Unclaimed: 1}, TaiOffset: proto.Int32(tai),
		Verdicts: []*rpc.VerdictCount{{Profile: testProfile, Clock: rpc.JudgedClock_JUDGED_CLOCK_SYSTEM, Unknown: 1}},
	}}})
	m.add((start+125)*1e9, &rpc.JournalEntry{What: &rpc.JournalEntry_Minute{Minute: &rpc.Summary{
		Start: start + 60, Observed: 1, TaiOffset: proto.Int32(tai), System: &rpc.ClockSummary{Unclaimed: 1},
	}}})
	slices.SortFunc(m.byKind[compliance.KindMinute], func(a, b compliance.Record) int { return int(a.Unix/1e9 - b.Unix/1e9) })
	r := build(t, m, start, start+120)
	if r.Overall.TAIOffset == nil || *r.Overall.TAIOffset != tai {
		t.Errorf("TAI offset %v", r.Overall.TAIOffset)
	}
	if len(r.Clocks) != 2 || r.Same {
		t.Fatalf("clocks %+v", r.Clocks)
	}
	sys, srv := r.Clocks[0], r.Clocks[1]
	if sys.Verdicts != (Verdicts{OK: 20, Unknown: 11, NotJudged: 31, Gap: 58}) || sys.Compliant != 20./120 || sys.Bound.Max != 2e6 || sys.Unclaimed != 12 {
		t.Errorf("system %+v", sys)
	}
	if srv.Verdicts != (Verdicts{OK: 60, Unknown: 1, NotJudged: 1, Gap: 58}) || srv.Bound.Max != 1000 || r.Overall.Smeared != 7 {
		t.Errorf("served %+v", srv)
	}
	if !strings.Contains(strings.Join(r.Method, " "), "7 seconds a smear") {
		t.Errorf("method %q", r.Method)
	}
	write3(t, r)
}

// A time of which nothing is on record is a gap, and a report all the same.
func TestEmpty(t *testing.T) {
	r := build(t, &memory{}, begin, begin+9*day)
	c := r.Clocks[0]
	if c.Verdicts != (Verdicts{Gap: 9 * day}) || c.Compliant != 0 || c.Bound.Samples != 0 || r.Journal.First != 0 || len(c.Points) != 0 {
		t.Errorf("%+v", c)
	}
	want := []Gap{{From: unix(begin), To: unix(begin + 9*day), Seconds: 9 * day, Cause: "not on record"}}
	if d := cmp.Diff(want, r.Gaps.Items); d != "" || r.Gaps.Total != 1 {
		t.Error(d)
	}
	write3(t, r)
}

func TestPeriod(t *testing.T) {
	now := unix(begin + 10*day)
	tests := map[string]struct {
		from, to time.Time
		wantFrom int64
		wantTo   int64
		fault    string
	}{
		"whole minutes": {unix(begin + 59), unix(begin + 179), begin, begin + 120, ""},
		"until now":     {unix(begin), now.Add(day * time.Second), begin, begin + 10*day - 60, ""},
		"turned round":  {unix(begin + 60), unix(begin), 0, 0, "must begin before it ends"},
		"empty":         {unix(begin), unix(begin), 0, 0, "must begin before it ends"},
		"too short":     {unix(begin), unix(begin + 59), 0, 0, "less than a minute"},
		"to come":       {now.Add(time.Hour), now.Add(2 * time.Hour), 0, 0, "a time that is over"},
		"too long":      {now.Add(-periodMax - time.Hour), now, 0, 0, "more than 10 years"},
		"longest":       {now.Add(-periodMax - time.Minute), now.Add(-time.Minute), begin + 10*day - 60 - int64(periodMax/time.Second), begin + 10*day - 60, ""},
	}
	for name, tt := range tests {
		o := Options{From: tt.from, To: tt.to, Now: now}
		from, to, err := o.period()
		if tt.fault != "" {
			if !errors.Is(err, ErrPeriod) || !strings.Contains(err.Error(), tt.fault) {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := Build(context.Background(), &memory{}, o); !errors.Is(err, ErrPeriod) {
				t.Errorf("%s: built: %v", name, err)
			}
			continue
		}
		if err != nil || from != tt.wantFrom || to != tt.wantTo {
			t.Errorf("%s: %d to %d, %v, want %d to %d", name, from, to, err, tt.wantFrom, tt.wantTo)
		}
	}
}

// failing fails the n-th time it is asked.
type failing struct {
	memory
	left int
}

var errDisk = errors.New("disk")

func (f *failing) Find(ctx context.Context, since, until int64, kinds []compliance.Kind, visit func(compliance.Record) error) error {
	if f.left--; f.left < 0 {
		return errDisk
	}
	return f.memory.Find(ctx, since, until, kinds, visit)
}

// What the journal cannot read is no report; nor is what was given up.
func TestBuildFails(t *testing.T) {
	m, from, to := eventful()
	o := Options{Profile: profile(), From: unix(from), To: unix(to), Now: unix(to + 100)}
	n := 0
	for ; n < 100; n++ {
		_, err := Build(context.Background(), &failing{memory: *m, left: n}, o)
		if err == nil {
			break
		}
		if !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
	}
	if n < 5 || n == 100 {
		t.Errorf("asked %d times", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Build(ctx, m, o); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestLimits(t *testing.T) {
	var g gapper
	for i := range int64(3000) {
		g.add(i*120, 60, 1)
	}
	g.flush()
	if len(g.list.Items) != gapsMax || g.list.Total != 3000 || g.list.Left() != 2000 || g.seconds != 3000 {
		t.Errorf("%d of %d gaps, %d s", len(g.list.Items), g.list.Total, g.seconds)
	}
	e := newEvents(testProfile, 0, 1000)
	for i := range uint64(standingMax + 5) {
		e.breach(&rpc.Breach{Id: i, Profile: testProfile})
		e.alarm(0, &rpc.Alarmed{Id: strconv.FormatUint(i, 10)})
		e.delivered(unix(5), &rpc.Delivered{Channel: strconv.FormatUint(i, 10)})
	}
	var r Report
	e.report(&r)
	if r.Breaches.Total != standingMax+5 || len(r.Breaches.Items) != eventsMax || r.Alarms.Total != standingMax+5 || len(r.Alarms.Items) != eventsMax || len(r.Channels) != channelsMax {
		t.Errorf("%d of %d breaches, %d of %d alarms, %d channels", len(r.Breaches.Items), r.Breaches.Total, len(r.Alarms.Items), r.Alarms.Total, len(r.Channels))
	}
	f := newFigures(testProfile, 0, hour)
	for i := range uint32(sourcesMax + 5) {
		f.addSources(&rpc.Summary{Sources: []*rpc.SourceSummaryHour{{Source: i}}})
	}
	if list := e.sourceList(f); list.Total != sourcesMax+5 || len(list.Items) != sourcesMax {
		t.Errorf("%d of %d sources", len(list.Items), list.Total)
	}
	for _, d := range []int64{minute, hour, 601 * minute, 30 * day, 400 * day, 401 * day, 3660 * day} {
		c := newCharts(begin, begin+d)
		if len(c.marks) > pointsMax || len(c.cells[0]) > cellsMax+1 {
			t.Errorf("%s: %d points, %d cells", lasting(d), len(c.marks), len(c.cells[0]))
		}
	}
}

func TestReview(t *testing.T) {
	at := func(s string) time.Time {
		d, _ := time.Parse(time.DateOnly, s)
		return d
	}
	for _, tt := range [][3]string{
		{"cat-participant-100us", "2026-03-14", "2026-03-15"}, {"cat-participant-100us", "2026-03-15", "2027-03-15"},
		{"cat-participant-100us", "2026-12-31", "2027-03-15"}, {"finra-50ms", "2026-01-01", "2027-01-01"},
	} {
		if got, _ := review(tt[0], at(tt[1])); got != tt[2] {
			t.Errorf("%v: %s", tt, got)
		}
	}
}

// The edges are those of the distributions.
func TestBucketEdge(t *testing.T) {
	for _, v := range []int64{0, 5, 63, 64, 127, 128, 1e3, 1e6 + 7, 1e12, math.MaxInt64} {
		var d compliance.Distribution
		d.Add(v, 1)
		d.Add(math.MaxInt64, 1)
		if got := bucketEdge(d.Proto().Buckets[0]); int64(got) != d.Quantile(0.5) {
			t.Errorf("%d: %d, want %d", v, got, d.Quantile(0.5))
		}
		if bars := histogram(&d); bars[0].Seconds == 0 || int64(bars[0].UpTo) < v || bars[len(bars)-1].UpTo != math.MaxInt64 {
			t.Errorf("%d: %+v", v, bars)
		}
	}
	var d compliance.Distribution
	for _, v := range []int64{100, 1000, 1001, 100_000} {
		d.Add(v, 2)
	}
	bars := histogram(&d)
	var sum uint64
	for i, b := range bars {
		sum += b.Seconds
		if i > 0 && (b.UpTo <= bars[i-1].UpTo || float64(b.UpTo) > 1.26*float64(bars[i-1].UpTo)) {
			t.Errorf("bar %d is up to %d after %d", i, b.UpTo, bars[i-1].UpTo)
		}
	}
	for _, b := range bars {
		if barEdge(b.UpTo) != b.UpTo || barEdge(b.UpTo+1) == b.UpTo {
			t.Errorf("%d is no edge", b.UpTo)
		}
	}
	if sum != 8 || bars[0].Seconds != 2 {
		t.Errorf("%+v", bars)
	}
}

// What a profile does not ask for is not said to be lacking.
func TestQuorumWords(t *testing.T) {
	for want, p := range map[string]Profile{
		"":                           {},
		"fewer than 3 sources agree": {MinSources: 3},
		"fewer than 1 source of NIST agree, or those that agree stand at fewer than 2 sites": {MinNIST: 1, MinSites: 2},
	} {
		if got := strings.Join(quorum(&p), ", or "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// In a table a few sources of one status are named, and many are counted.
func TestWitnesses(t *testing.T) {
	lines := []string{"a: selected", "b (192.0.2.1:123): unreachable", "c: combined", "d: combined", "e: combined", "f: combined", "g [x: y]: unreachable", "nonsense"}
	if got, want := witnesses(lines), "selected: a; unreachable: b (192.0.2.1:123), g [x: y]; 4 sources combined"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := witnesses(nil); got != "" {
		t.Errorf("of none: %q", got)
	}
}

// Who has no name has looked into it all the same.
func TestAcknowledgedByNobodyInParticular(t *testing.T) {
	m, from, to := eventful()
	for _, r := range m.byKind[compliance.KindBreach] {
		b := r.Entry.GetBreach()
		b.AcknowledgedBy, b.AcknowledgedUnixNs = "", (to+60)*1e9
	}
	r := build(t, m, from, to)
	var page strings.Builder
	if err := r.HTML(&page); err != nil {
		t.Fatal(err)
	}
	if r.Overall.Unacknowledged != 0 || strings.Contains(page.String(), "not acknowledged</span>") || !strings.Contains(page.String(), "without a name") {
		t.Errorf("%d are not acknowledged", r.Overall.Unacknowledged)
	}
}
