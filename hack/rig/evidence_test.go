package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/truechimer/truechimer/internal/alert"
	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/report"
	"github.com/truechimer/truechimer/internal/rpc"
)

// evidenceWorld is a run without a guest: our own code judges made-up seconds and reports on
// them, and the receiver is told at once.
type evidenceWorld struct {
	t                *testing.T
	records          []record
	journal          []compliance.Record
	seconds, evident bytes.Buffer // as journal show prints them
	standing         map[string]alert.Condition
	since            map[string]int64 // of each, and of those that are over the last
	away             map[string]int   // seconds
}

// Find implements compliance.Journal.
func (w *evidenceWorld) Find(_ context.Context, since, until int64, kinds []compliance.Kind, visit func(compliance.Record) error) error {
	for _, r := range w.journal {
		if since <= r.Unix && r.Unix < until && slices.Contains(kinds, compliance.KindOf(r.Entry)) {
			if err := visit(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *evidenceWorld) add(unix int64, entry *rpc.JournalEntry) {
	kind := compliance.KindOf(entry)
	w.journal = append(w.journal, compliance.Record{Sequence: uint64(len(w.journal) + 1), Unix: unix, Entry: entry})
	line, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(&rpc.JournalRecord{UnixNs: unix, Kind: kind.String(), Entry: entry})
	if err != nil {
		w.t.Fatal(err)
	}
	switch kind {
	case compliance.KindSeconds:
		w.seconds.Write(append(line, '\n'))
	case compliance.KindMinute, compliance.KindClock, compliance.KindAlarm:
		w.evident.Write(append(line, '\n'))
	}
}

// told has the receiver get a message. The raw clock is a thousand seconds behind Unix time here.
func (w *evidenceWorld) told(unix int64, code int, m message) {
	text, err := json.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	w.records = append(w.records, record{Kind: received, RawNs: unix - 1000e9, UnixNs: unix, Code: code, Text: string(text)})
}

// alarm puts an alarm on record and has the receiver told of it, which refuses some at first.
func (w *evidenceWorld) alarm(unix int64, c alert.Condition, resolved bool) {
	a := &rpc.Alarmed{Id: c.Name + time.Unix(0, w.since[c.Name]).String(), Name: c.Name, Labels: c.Labels, Resolved: resolved, SinceUnixNs: w.since[c.Name]}
	w.add(unix, &rpc.JournalEntry{What: &rpc.JournalEntry_Alarm{Alarm: a}})
	m := message{ID: a.Id + "-firing", Type: typeFiring}
	if resolved {
		m.ID, m.Type = a.Id+"-resolved", typeResolved
	}
	m.Alarm.ID, m.Alarm.Name, m.Alarm.Labels, m.Alarm.SinceUnixNs = a.Id, a.Name, a.Labels, a.SinceUnixNs
	if c.Name == alarmUnknown {
		w.told(unix+1e6, http.StatusInternalServerError, m)
	}
	w.told(unix+1500e6, http.StatusOK, m)
}

// conditions raises alarms for what stands, and ends them when that is away for 30 s.
func (w *evidenceWorld) conditions(unix int64, standing []alert.Condition) {
	names := map[string]bool{}
	for _, c := range standing {
		names[c.Name], w.away[c.Name] = true, 0
		if _, known := w.standing[c.Name]; !known {
			w.standing[c.Name], w.since[c.Name] = c, unix
			w.alarm(unix, c, false)
		}
	}
	for _, c := range w.standing {
		if names[c.Name] {
			continue
		}
		if w.away[c.Name]++; w.away[c.Name] == 30 {
			w.alarm(unix, c, true)
			delete(w.standing, c.Name)
		}
	}
}

// reading is what is claimed of the clock in a second of the made-up run.
func (w *evidenceWorld) reading(second int, random *rand.Rand) compliance.Reading {
	r := compliance.Reading{
		Bound: 11*time.Millisecond + time.Duration(random.IntN(1e6)), Offset: time.Duration(random.IntN(4e5) - 1e5), Claims: true, State: "synchronised",
	}
	switch {
	case second < 6:
		return compliance.Reading{State: "unsynchronised"}
	case second >= 800 && second < 800+calm, second >= 850 && second < 850+calm-1: // one ends the breach, the other does not
	case second >= 600 && second < 900: // 14 ms to 44 ms
		r.Bound += time.Duration(second-570) * 100 * time.Microsecond
	case second >= 1500 && second < 2000:
		r.Bound += time.Duration(second-1500) * 60 * time.Microsecond
		r.State, r.Holdover = "holdover", true
	}
	return r
}

// testTestimony makes the testimony of a run of 45 minutes, which begins within a minute.
func testTestimony(t *testing.T, seed uint64) *testimony {
	random := rand.New(rand.NewPCG(seed, 0))
	w := &evidenceWorld{t: t, standing: map[string]alert.Condition{}, since: map[string]int64{}, away: map[string]int{}}
	p := compliance.NewProfile(evidenceProfile, evidenceTolerance)
	engine := compliance.NewEngine(compliance.Options{Profiles: []compliance.Profile{p}, Grace: grace * time.Second})
	const start, length = int64(1_795_327_213), 45 * 60
	unix := int64(0)
	for i := range length {
		unix = (start+int64(i))*1e9 + 20e6
		reading := w.reading(i, random)
		out := engine.Step(compliance.Second{Unix: unix, System: reading, Served: reading, Same: true})
		for _, e := range out.Entries {
			w.add(unix, e)
		}
		w.conditions(unix, out.Conditions)
		if i%60 == 30 {
			w.told(unix, http.StatusOK, message{ID: time.Unix(0, unix).String(), Type: typeHeartbeat})
		}
		off := int64(random.IntN(2e6) - 1e6)
		if i >= 760 && i < 790 { // E is above 29 ms
			off += 27e6
		}
		w.records = append(w.records, record{
			Kind: observed, RawNs: unix - 1000e9 + 400e6, UnixNs: unix + 400e6, OffsetNs: off, MaxErrorUs: 29_000,
		})
	}
	for _, e := range engine.Stop() {
		w.add(unix, e)
	}
	from := time.Unix(start, 0).Truncate(time.Minute).Add(-time.Minute)
	r, err := report.Build(t.Context(), w, report.Options{Profile: p, From: from, To: from.Add(45 * time.Minute), Now: time.Unix(0, unix)})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := r.JSON(&text); err != nil {
		t.Fatal(err)
	}
	verified, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(&rpc.VerifyJournalResponse{
		Checked: 100, Total: 100, Done: true, Signatures: 3, Notes: []string{"signed with the key 1234"},
	})
	if err != nil {
		t.Fatal(err)
	}
	found, err := readTestimony(w.records, map[string][]byte{
		askSeconds: w.seconds.Bytes(), askEvents: w.evident.Bytes(), askReport: text.Bytes(), askVerify: verified,
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func failures(all []check) []string {
	var list []string
	for _, c := range all {
		if !c.fact && !c.holds {
			list = append(list, c.what+": "+c.found)
		}
	}
	return list
}

func TestProofHolds(t *testing.T) {
	for range 5 {
		seed := rand.Uint64()
		all := testTestimony(t, seed).proof()
		if list := failures(all); list != nil {
			t.Errorf("seed %d: of a sound run it says:\n%s", seed, strings.Join(list, "\n"))
		}
		if err := writeProof(io.Discard, all); err != nil {
			t.Error(err)
		}
	}
}

// TestProofFindsPlantedErrors: what is wrong with a run is found, whatever it is.
func TestProofFindsPlantedErrors(t *testing.T) {
	seed := rand.Uint64()
	sound := testTestimony(t, seed)
	first := func(t *testimony, kind, name string) *delivery {
		i := slices.IndexFunc(t.messages, func(d delivery) bool { return d.taken() && d.Type == kind && d.Alarm.Name == name })
		return &t.messages[i]
	}
	clock := func(t *testimony) *spread { return &t.report.Clocks[0].Bound }
	for name, c := range map[string]struct {
		plant func(*testimony)
		found string // where the line begins that must fail
	}{
		"a true error beyond the tolerance": {func(t *testimony) { t.observations[300].OffsetNs = -26e6 }, "truth: no second OK or WARN"},
		"a true error beyond E":             {func(t *testimony) { t.observations[300].OffsetNs = 13e6 }, "truth: no second with a true error beyond E"},
		"a true error beyond maxerror":      {func(t *testimony) { t.observations[300].MaxErrorUs = 0 }, "truth: no look at the kernel"},
		"a truth that was never bad": {func(t *testimony) {
			for i := range t.observations {
				t.observations[i].OffsetNs %= 1e6
			}
		}, "truth: no second OK or WARN"},
		"nobody observed":               {func(t *testimony) { t.observations = t.observations[:2000] }, "truth: every second"},
		"a second too good in a minute": {func(t *testimony) { t.minutes[11].verdicts.Warn--; t.minutes[11].verdicts.OK++ }, "minutes:"},
		"a second in another minute": {func(t *testimony) {
			t.minutes[11].verdicts.Warn--
			t.minutes[11].verdicts.OK++
			t.minutes[12].verdicts.Warn++
			t.minutes[12].verdicts.OK--
		}, "minutes:"},
		"a minute's seconds lost": {func(t *testimony) { t.blocks-- }, "minutes:"},
		"a heartbeat twice":       {func(t *testimony) { t.messages = append(t.messages, *first(t, typeHeartbeat, "")) }, "alert: each was told once"},
		"a gap in another place": {func(t *testimony) {
			g := &t.report.Gaps.Items[0]
			g.From, g.To = g.From.Add(time.Second), g.To.Add(time.Second)
		}, "report: gaps"},
		"a run in which nothing was lost":      {func(t *testimony) { t.states[len(t.states)-2].state = "synchronised" }, "course:"},
		"a minute lost":                        {func(t *testimony) { t.minutes = slices.Delete(t.minutes, 20, 21) }, "minutes:"},
		"a second lost":                        {func(t *testimony) { t.looks = slices.Delete(t.looks, 700, 701) }, "minutes:"},
		"a second lost, in the report":         {func(t *testimony) { t.looks = slices.Delete(t.looks, 700, 701) }, "report: seconds by verdict"},
		"a bound changed":                      {func(t *testimony) { t.looks[700].bound += 1e5 }, "report: error bound, mean, sd"},
		"a great bound, changed":               {func(t *testimony) { t.looks[899].bound = 99e6 }, "report: error bound, samples, min, max"},
		"an offset changed":                    {func(t *testimony) { t.looks[700].offset = -1e6 }, "report: offset, samples, min, max"},
		"a state that was another":             {func(t *testimony) { t.states[len(t.states)-2].state = "synchronised" }, "minutes:"},
		"a late alert":                         {func(t *testimony) { first(t, typeFiring, alarmBreach).raw += 60e9 }, "alert: told of the breach"},
		"a late alert, after a refusal":        {func(t *testimony) { first(t, typeFiring, alarmUnknown).raw += 128e9 }, "alert: told of the breach"},
		"an alert that was never sent":         {func(t *testimony) { first(t, typeFiring, alarmUnknown).code = 500 }, "alert: told of the breach"},
		"no word that it is over":              {func(t *testimony) { first(t, typeResolved, alarmUnknown).code = 500 }, "alert: told of the breach"},
		"a word too early that it is over":     {func(t *testimony) { first(t, typeResolved, alarmBreach).raw -= 60e9 }, "alert: told of the breach"},
		"an alarm of something else, not told": {func(t *testimony) { t.alarms = append(t.alarms, alarmRecord{id: "x", name: "quorum_lost"}) }, "alert: each was told once"},
		"a message twice":                      {func(t *testimony) { t.messages = append(t.messages, *first(t, typeResolved, alarmBreach)) }, "alert: each was told once"},
		"a heartbeat missing": {func(t *testimony) {
			t.messages = slices.DeleteFunc(t.messages, func(d delivery) bool { return d.raw == t.observations[1230].RawNs-400e6 })
		}, "alert: signs of life"},
		"no heartbeat at the end":           {func(t *testimony) { t.observations[len(t.observations)-1].RawNs += 120e9 }, "alert: signs of life"},
		"seconds by verdict":                {func(t *testimony) { t.report.Clocks[0].Seconds.Unknown--; t.report.Clocks[0].Seconds.OK++ }, "report: seconds by verdict"},
		"a share":                           {func(t *testimony) { t.report.Clocks[0].Share += 1e-6 }, "report: compliant share"},
		"seconds without a bound":           {func(t *testimony) { t.report.Clocks[0].Unclaimed = 0 }, "report: seconds without a bound"},
		"seconds that were looked at":       {func(t *testimony) { t.report.Overall.Observed++ }, "report: seconds without a bound"},
		"a gap's seconds":                   {func(t *testimony) { t.report.Gaps.Items[0].Seconds-- }, "report: gaps"},
		"a gap's place":                     {func(t *testimony) { t.report.Gaps.Items[0].From = t.report.Gaps.Items[0].From.Add(time.Second) }, "report: gaps"},
		"samples":                           {func(t *testimony) { clock(t).Samples++ }, "report: error bound, samples"},
		"min":                               {func(t *testimony) { clock(t).Min-- }, "report: error bound, samples"},
		"max":                               {func(t *testimony) { clock(t).Max++ }, "report: error bound, samples"},
		"mean":                              {func(t *testimony) { clock(t).Mean *= 1 + 2e-9 }, "report: error bound, mean"},
		"sd":                                {func(t *testimony) { clock(t).SD *= 1 - 2e-9 }, "report: error bound, mean"},
		"p50 too small":                     {func(t *testimony) { clock(t).P50 = clock(t).Min }, "report: error bound, p50"},
		"p99 too large":                     {func(t *testimony) { clock(t).P99 += clock(t).P99 / 32 }, "report: error bound, p50"},
		"p99.9 beyond the greatest":         {func(t *testimony) { clock(t).P999 = clock(t).Max + 1 }, "report: error bound, p50"},
		"offset's sd":                       {func(t *testimony) { t.report.Clocks[0].Offset.SD *= 1.1 }, "report: offset, mean"},
		"a breach left out":                 {func(t *testimony) { t.report.Breaches.Items = t.report.Breaches.Items[1:] }, "report: breaches"},
		"a breach more":                     {func(t *testimony) { t.report.Breaches.Total++ }, "report: breaches"},
		"a breach's start":                  {func(t *testimony) { b := &t.report.Breaches.Items[1]; b.From = b.From.Add(time.Second) }, "report: breaches"},
		"a breach's end":                    {func(t *testimony) { t.report.Breaches.Items[1].To = nil }, "report: breaches"},
		"a breach's peak":                   {func(t *testimony) { t.report.Breaches.Items[1].Peak++ }, "report: breaches"},
		"a breach's peak offset":            {func(t *testimony) { t.report.Breaches.Items[1].PeakOffset++ }, "report: breaches"},
		"a breach's verdict":                {func(t *testimony) { t.report.Breaches.Items[1].Worst = "UNKNOWN" }, "report: breaches"},
		"a problem in the journal":          {func(t *testimony) { t.verified.Problems = []string{"record 7 was changed"} }, "journal:"},
		"a head that could not be compared": {func(t *testimony) { t.verified.Notes = append(t.verified.Notes, "the head is older than all") }, "journal:"},
		"a journal that was not walked to its end": {func(t *testimony) { t.verified.Checked-- }, "journal:"},
		"a run without a breach": {func(t *testimony) {
			for i := range t.looks {
				t.looks[i].bound = 11e6
			}
		}, "course:"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := testTestimony(t, seed)
			c.plant(bad)
			list := failures(bad.proof())
			if !slices.ContainsFunc(list, func(s string) bool { return strings.HasPrefix(s, c.found) }) {
				t.Errorf("seed %d: not found; what fails is %q", seed, list)
			}
		})
	}
	if d := gocmp.Diff(sound.proof(), testTestimony(t, seed).proof(), gocmp.AllowUnexported(check{})); d != "" {
		t.Errorf("seed %d: two runs of one seed differ: %s", seed, d)
	}
}

func TestReadTestimonyRefuses(t *testing.T) {
	records := []record{{Kind: observed}}
	for name, said := range map[string]map[string][]byte{
		"nothing said":           {},
		"no JSON":                {askSeconds: []byte("x\n")},
		"lists of other lengths": {askSeconds: []byte(`{"kind":"seconds","entry":{"seconds":{"start":"5","at":[0],"systemBoundNs":[]}}}`)},
		"a kind of record that was not asked for": {askEvents: []byte(`{"kind":"stopped","entry":{"stopped":{"cause":"x"}}}`)},
		"too little said":                         {askReport: []byte(`{}`), askVerify: []byte(`{}`)},
	} {
		if _, err := readTestimony(records, said); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := readTestimony([]record{{Kind: received, Text: "x"}}, nil); err == nil {
		t.Error("a message that is no JSON: no error")
	}
}

func TestRefuser(t *testing.T) {
	r := refuser{left: []refusal{{After: 5 * time.Second, Type: typeFiring, Alarm: alarmUnknown, For: 20 * time.Second}, {Type: typeResolved, For: time.Minute}}}
	at := func(second int64, kind, alarm string) bool {
		m := message{Type: kind}
		m.Alarm.Name = alarm
		return r.refuses(&m, time.Duration(second)*time.Second)
	}
	for _, c := range []struct {
		second      int64
		kind, alarm string
		want        bool
	}{
		{0, typeFiring, alarmBreach, false},
		{4, typeFiring, alarmUnknown, false},
		{10, typeFiring, alarmUnknown, true},
		{15, typeHeartbeat, "", true},
		{29, typeFiring, alarmUnknown, true}, // and the refusal does not begin anew
		{30, typeFiring, alarmUnknown, false},
		{40, typeResolved, alarmBreach, true},
		{99, typeResolved, alarmBreach, true},
		{100, typeResolved, alarmBreach, false},
	} {
		if got := at(c.second, c.kind, c.alarm); got != c.want {
			t.Errorf("%s of %q after %d s: refused %t, want %t", c.kind, c.alarm, c.second, got, c.want)
		}
	}
}

func TestAnswers(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789 \x00 äöü\n"), 1<<14)
	random := make([]byte, 3*partLen)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	want := map[string][]byte{"long": long, "random": random, "nothing": {}}
	var mixed []record // as they would be if commands ran at a time
	for name, text := range want {
		parts, err := pack(name, text)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range parts {
			if len(p.line()) > 2*partLen {
				t.Errorf("%s: a line of %d bytes", name, len(p.line()))
			}
			p.Seconds = float64(i)
			mixed = append(mixed, p)
		}
	}
	slices.SortStableFunc(mixed, func(a, b record) int { return cmp.Compare(a.Seconds, b.Seconds) })
	got, err := answers(mixed)
	if err != nil {
		t.Fatal(err)
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := answers(mixed[:len(mixed)-1]); err == nil {
		t.Error("an answer without its end: no error")
	}
}

func TestQuestionArgv(t *testing.T) {
	q := question{Argv: []string{"report", "--from", "{from}", "--to={to}"}}
	began := time.Date(2026, 11, 22, 6, 0, 59, 0, time.UTC).UnixNano()
	now := time.Date(2026, 11, 22, 7, 30, 1, 0, time.UTC).UnixNano()
	want := []string{"report", "--from", "2026-11-22T05:59:00Z", "--to=2026-11-22T07:29:00Z"}
	if d := gocmp.Diff(want, q.argv(began, now)); d != "" {
		t.Error(d)
	}
}

func TestEvidencePlan(t *testing.T) {
	p := evidencePlan(time.Hour, "/bin/truechimer")
	want := []event{
		{At: 6 * time.Minute, Kind: networkSlow, By: slowWay}, {At: 21 * time.Minute, Kind: networkBack},
		{At: 27 * time.Minute, Kind: networkGone}, {At: 54 * time.Minute, Kind: networkBack},
	}
	for i := range p.Events {
		p.Events[i].At = p.Events[i].At.Round(time.Millisecond)
	}
	if d := gocmp.Diff(want, p.Events); d != "" {
		t.Error(d)
	}
	if p.Events[goneEvent].Kind != networkGone {
		t.Errorf("event %d is %q", goneEvent, p.Events[goneEvent].Kind)
	}
}
