package api

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/discipline"
)

// TestStatusWords: every status has its own word and its own sentence.
func TestStatusWords(t *testing.T) {
	all := statusWords()
	if len(all) != int(discipline.Missing)+1 {
		t.Fatalf("%d words for %d statuses", len(all), discipline.Missing+1)
	}
	words, sentences := map[string]bool{}, map[string]bool{}
	for i, w := range all {
		if w.word == "" || strings.ContainsAny(w.word, " -") || len(w.sentence) < 20 || strings.HasSuffix(w.sentence, ".") || words[w.word] || sentences[w.sentence] {
			t.Errorf("status %d is %q: %q", i, w.word, w.sentence)
		}
		words[w.word], sentences[w.sentence] = true, true
		if got := wordOf(discipline.Status(i)); got != w {
			t.Errorf("status %d is %v, want %v", i, got, w)
		}
	}
	if got := wordOf(200); got.word != "status_200" || got.sentence == "" {
		t.Errorf("an unknown status is %v", got)
	}
}

// TestSourceSummary: who counts, and who is followed.
func TestSourceSummary(t *testing.T) {
	for name, c := range map[string]struct {
		sources []Source
		want    string
	}{
		"none": {nil, "0 0 0  0"},
		"every status": {func() (list []Source) {
			for s := range discipline.Missing + 1 {
				list = append(list, Source{Name: fmt.Sprint(s), Status: s, Reach: uint8(s % 2), NoSelect: s == discipline.NotSelected})
			}
			return list
		}(), "14 7 6 0 0"},
		"followed": {[]Source{{Name: "a", Status: discipline.Combined, Stratum: 3}, {Name: "b", Status: discipline.Selected, Stratum: 2}}, "2 0 2 b 2"},
		"nobody":   {[]Source{{Name: "a", Status: discipline.TooFew, Reach: 128}}, "1 1 1  0"},
	} {
		m := summaryMessage(c.sources)
		if got := fmt.Sprintf("%d %d %d %s %d", m.Known, m.Reachable, m.Agree, m.Following, m.FollowingStratum); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestHoldoverLeft: (limit − bound) / growth, and the ends of that.
func TestHoldoverLeft(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*State)
		want   time.Duration
	}{
		// STANDARDS 1.8: from 10 ms, at 15 ppm, 50 ms are reached after 2666 s.
		"as in the standard": {func(s *State) { s.Clock.Judgement.RootDispersion = 10 * time.Millisecond }, 2_666_666_666_666},
		"at the limit":       {func(s *State) { s.Clock.Judgement.RootDispersion = 50 * time.Millisecond }, 0},
		"beyond the limit":   {func(s *State) { s.Clock.Judgement.RootDispersion = time.Second }, 0},
		"no growth":          {func(s *State) { s.Clock.GrowthPPM = 0 }, math.MaxInt64},
		"no growth, beyond":  {func(s *State) { s.Clock.GrowthPPM, s.Clock.Judgement.RootDispersion = 0, time.Second }, 0},
		"hardly any":         {func(s *State) { s.Clock.GrowthPPM = 1e-9 }, math.MaxInt64},
		"no claim":           {func(s *State) { s.NoClaim = "because" }, 0},
		"no limit":           {func(s *State) { s.ErrorLimit = 0 }, math.MaxInt64},
		"all parts": {func(s *State) {
			s.Clock.ResidualOffset, s.Clock.ProviderError = -15*time.Millisecond, 5*time.Millisecond
		}, 2 * 1e12},
		"later": {func(s *State) { s.Mono, s.Clock.Judgement.RootDispersion = 1000*time.Second, 5*time.Millisecond }, 2 * 1e12},
	} {
		s := State{ErrorLimit: 50 * time.Millisecond, Clock: &clock.Snapshot{Judgement: clock.Judgement{State: clock.Holdover, GrowthPPM: 15}}}
		c.change(&s)
		if got := s.holdoverLeft(); (got - c.want).Abs() > time.Microsecond {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestSourceMetrics: what is told of each source; what was not measured is not told, and
// those that cannot be told apart are told of once.
func TestSourceMetrics(t *testing.T) {
	node := newFakeNode()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: node})
	client := newClient(t)
	got := map[string]float64{}
	for name, f := range scrape(t, client, base) {
		name, ok := strings.CutPrefix(name, "truechimer_source_")
		if !ok {
			continue
		}
		for _, m := range f.GetMetric() {
			series := name
			for _, l := range m.GetLabel() {
				series += " " + l.GetName() + "=" + l.GetValue()
			}
			got[series] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	want := map[string]float64{}
	for labels, values := range map[string]map[string]float64{
		" address=192.0.2.1:123 name=ntp1": {
			"selected": 1, "agrees": 1, "weight_ratio": 0.75, "reach": 255, "poll_interval_seconds": 64, "stratum": 1, "samples": 4,
			"offset_seconds": -0.005, "delay_seconds": 0.006, "jitter_seconds": 0.007, "root_distance_seconds": 0.008,
		},
		" address= name=ntp2": {"selected": 0, "agrees": 0, "weight_ratio": 0, "reach": 0, "poll_interval_seconds": 0.25, "stratum": 0, "samples": 0},
		" address= name=pool": {"selected": 0, "agrees": 0, "weight_ratio": 0, "reach": 1, "poll_interval_seconds": 1024, "stratum": 2, "samples": 0},
	} {
		for name, value := range values {
			want[name+labels] = value
		}
	}
	want["outcomes_total address=192.0.2.1:123 name=ntp1 outcome=measured"] = 12
	want["outcomes_total address=192.0.2.1:123 name=ntp1 outcome=lost"] = 13
	if !maps.Equal(got, want) {
		for _, series := range slices.Sorted(maps.Keys(got)) {
			if w, ok := want[series]; !ok || w != got[series] {
				t.Errorf("%s is %v, want %v (listed: %v)", series, got[series], w, ok)
			}
			delete(want, series)
		}
		t.Errorf("not there: %v", want)
	}

	node.change(func(s *State) { s.ErrorLimit = 0 })
	if got := value(scrape(t, client, base)["truechimer_clock_holdover_left_seconds"]); !math.IsInf(got, 1) {
		t.Errorf("holdover left without a limit: %v", got)
	}

	// Without any, and without a word of leap seconds, nothing is told of them.
	node.change(func(s *State) { s.Sources, s.Leap, s.Rival = nil, LeapSeconds{}, "" })
	families := scrape(t, client, base)
	for name := range families {
		if strings.HasPrefix(name, "truechimer_source_") || strings.Contains(name, "tai_offset") || strings.Contains(name, "leap_expiry") {
			t.Errorf("%s is told", name)
		}
	}
	if got := value(families["truechimer_clock_rival"]); got != 0 {
		t.Errorf("rival %v", got)
	}
}

// TestTimescale: intervals and the status name the same one.
func TestTimescale(t *testing.T) {
	const smooth = "UTC, leap seconds absorbed at 500 ppm"
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Timescale: smooth})
	client := newClient(t)
	for _, method := range []string{"ClockService/Interval", "NodeService/Status"} {
		if a := call(t, client, base, method, "{}"); !strings.Contains(compact(t, a.body), `"timescale":"`+smooth+`"`) {
			t.Errorf("%s: %s", method, a.body)
		}
	}
}
