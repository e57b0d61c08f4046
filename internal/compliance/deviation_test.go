package compliance

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/alert"
)

// offsets returns reachable sources with offsets in milliseconds.
func offsets(list ...float64) []SourceReading {
	var sources []SourceReading
	for i, o := range list {
		sources = append(sources, SourceReading{
			Name: string(rune('a' + i)), Address: "192.0.2.1:123", Number: uint32(i + 1),
			Reachable: true, Measured: true, Agrees: true, Offset: time.Duration(o * float64(ms)),
		})
	}
	return sources
}

// deviating returns the names of the sources that deviate after some seconds.
func deviating(sources []SourceReading, most time.Duration) string {
	v := deviators{alarms: map[sourceKey]*alarm{}, seen: map[sourceKey]bool{}}
	var names []string
	for i := range doubtLooks {
		list := v.look(nil, sources, most)
		if i < doubtLooks-1 && list != nil {
			return "too early"
		}
		for _, c := range list {
			names = append(names, c.Labels["source"])
		}
	}
	slices.Sort(names)
	s := ""
	for _, n := range names {
		s += n
	}
	return s
}

// STANDARDS, section 1.6: SEL-6 and SEL-7 are the same step of 10 ms; the intersection finds it only
// in the second, and this alarm in both.
func TestSEL6(t *testing.T) {
	for _, c := range []struct {
		name    string
		offsets []float64
		want    string
	}{
		{"SEL-1", []float64{1, 2, -1, 3}, ""},
		{"SEL-2", []float64{1, 2, -1, -20}, "d"},
		{"SEL-3", []float64{0, 20}, "ab"},
		{"SEL-4", []float64{0, 20, 2}, "b"}, // and of three, those that are right are not accused
		{"SEL-5", []float64{0, 1, 20, 21}, "abcd"},
		{"SEL-6", []float64{1, 2, 0, -9}, "d"},
		{"SEL-7", []float64{0.5, 0.6, 0.4, -9.5}, "d"},
		{"SEL-9", []float64{0, 0, 500, 500, 1}, "cd"},
		{"three, one slow way", []float64{39.9, 0.1, -0.1}, "a"},
		{"one", []float64{20}, ""},
		{"none", nil, ""},
		{"at the limit", []float64{0, 5}, ""},
		{"above it", []float64{0, 5.000001}, "ab"},
		{"below it", []float64{5.000001, 0}, "ab"},
	} {
		if got := deviating(offsets(c.offsets...), DeviationDefault); got != c.want {
			t.Errorf("%s: %q deviate, want %q", c.name, got, c.want)
		}
	}
}

// Whatever cannot be compared is not, and does not count among the others.
func TestDeviationOfWhom(t *testing.T) {
	sources := offsets(0, 0.1, 30, -0.1)
	sources[2].Reachable = false
	if got := deviating(sources, DeviationDefault); got != "" {
		t.Errorf("%q deviate, but what does not is out of reach", got)
	}
	sources[2].Reachable, sources[2].Measured = true, false
	if got := deviating(sources, DeviationDefault); got != "" {
		t.Errorf("%q deviate, but what does not was not measured", got)
	}
	sources[2].Measured, sources[2].Agrees = true, false
	if got := deviating(sources, DeviationDefault); got != "c" {
		t.Errorf("%q deviate, whatever the selection says of c", got)
	}
}

// A dumb twin: the median of the others, from the others.
func TestDeviationsTwin(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 2))
		sources := make([]SourceReading, r.IntN(9))
		for i := range sources {
			sources[i] = SourceReading{Reachable: r.IntN(5) > 0, Measured: r.IntN(5) > 0, Offset: time.Duration(r.IntN(12) - 6)}
		}
		for i, d := range deviations(sources, nil) {
			var others []time.Duration
			for j, o := range sources {
				if j != i && o.Reachable && o.Measured {
					others = append(others, o.Offset)
				}
			}
			if want := len(others) > 0 && sources[i].Reachable && sources[i].Measured; d.ok != want {
				t.Fatalf("seed %d: source %d of %+v: %v", seed, i, sources, d)
			} else if !want {
				continue
			}
			// At least half of the others are not above a median, and half not below: of all the numbers that
			// are medians, the one that is nearest.
			nearest, found := time.Duration(0), false
			for m := time.Duration(-6); m <= 6; m++ {
				below, above := 0, 0
				for _, o := range others {
					if o <= m {
						below++
					}
					if o >= m {
						above++
					}
				}
				isMedian := 2*below >= len(others) && 2*above >= len(others)
				if isMedian && (!found || (m-sources[i].Offset).Abs() < (nearest-sources[i].Offset).Abs()) {
					nearest, found = m, true
				}
			}
			if d.offset != sources[i].Offset || d.from != nearest {
				t.Fatalf("seed %d: source %d of %+v: %v, and the nearest median is %v", seed, i, sources, d, nearest)
			}
		}
	}
}

// The alarm begins after some seconds, stands while it comes and goes, ends after ten seconds, and with
// the source.
func TestDeviationStands(t *testing.T) {
	v := deviators{alarms: map[sourceKey]*alarm{}, seen: map[sourceKey]bool{}}
	good, bad := offsets(0, 0, 0), offsets(0, 0, 10)
	look := func(sources []SourceReading, n int) (last []alert.Condition) {
		for range n {
			last = v.look(nil, sources, DeviationDefault)
		}
		return last
	}
	look(bad, doubtLooks-1)
	look(good, 1)
	if look(bad, doubtLooks-1) != nil {
		t.Error("what was good for a second counts on")
	}
	list := look(bad, 1)
	if len(list) != 1 || list[0].Name != ConditionDeviation || !maps.Equal(list[0].Labels, map[string]string{"source": "c", "address": "192.0.2.1:123"}) {
		t.Fatalf("%+v", list)
	}
	t.Log(list[0].Sentence)
	if look(good, calmLooks-1) == nil {
		t.Error("ended too early")
	}
	look(bad, 1)
	if look(good, calmLooks-1) == nil || look(good, 1) != nil || len(v.alarms) != 0 {
		t.Error("it does not end after ten seconds in a row")
	}
	look(bad, doubtLooks)
	if look(bad[:2], 1) != nil || len(v.alarms) != 0 {
		t.Error("it outlives its source")
	}
}
