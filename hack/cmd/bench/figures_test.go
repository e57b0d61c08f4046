package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestSpreadOf(t *testing.T) {
	for name, c := range map[string]struct {
		values []float64
		want   spread
	}{
		"none":        {nil, spread{}},
		"one":         {[]float64{-3}, spread{-3, -3, -3, 1}},
		"odd":         {[]float64{9, 1, 4}, spread{4, 1, 9, 3}},
		"even":        {[]float64{8, 2, 4, 1}, spread{3, 1, 8, 4}},
		"an outlier":  {[]float64{5, 5, 5, 1e9, 5}, spread{5, 5, 1e9, 5}},
		"input stays": {[]float64{3, 2, 1}, spread{2, 1, 3, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			before := append([]float64(nil), c.values...)
			if d := cmp.Diff(c.want, spreadOf(c.values)); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(before, c.values); d != "" {
				t.Error("sorted the caller's values", d)
			}
		})
	}
}

// rounds makes results in which each contender has these CPU-µs per answer, round by
// round, and every other figure is derived from that.
func rounds(cpu map[string][]float64) *results {
	r := &results{Settings: settings{Rounds: 3, Seconds: 0.8}}
	for _, name := range []string{ours, limit, chrony, responder, limitOne} {
		values, here := cpu[name]
		if !here {
			continue
		}
		c := &contender{Name: name}
		if name == limitOne {
			c.Only = roundTrip
		}
		r.Contenders = append(r.Contenders, c)
		for round, v := range values {
			for _, l := range loads() {
				if c.Only != "" && c.Only != l.name {
					continue
				}
				r.Samples = append(r.Samples, sample{Round: round, Contender: name, Measurement: l.name, Burst: &burst{
					CPUPerAnswer: v, Rate: 1e6 / v, Seconds: 0.8, RTT: quantiles{P50: 8 * v},
					RequestDelay: quantiles{P50: v / 2}, Offset: quantiles{P50: -3 * v},
				}})
			}
			if c.Only == "" {
				r.Samples = append(r.Samples, sample{Round: round, Contender: name, Measurement: highest, Sweep: &sweep{Rate: 1e6 / v}})
			}
		}
	}
	r.summarise()
	return r
}

// A ratio is that of the same round: here every round is slower than the one before,
// for both alike.
func TestRatiosAreOfTheSameRound(t *testing.T) {
	r := rounds(map[string][]float64{ours: {3, 6, 12}, chrony: {4, 8, 16}})
	got := r.ratios(figures()[1], ours, chrony)
	if want := (spread{0.75, 0.75, 0.75, 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	r = rounds(map[string][]float64{ours: {3, 6, 12}, chrony: {4}})
	if got := r.ratios(figures()[1], ours, chrony); got.N != 1 || got.Median != 0.75 {
		t.Errorf("with one round of the other: %+v", got)
	}
}

func TestFind(t *testing.T) {
	r := rounds(map[string][]float64{ours: {3, 6}, chrony: {4}})
	if got := r.find(1, ours, open20k); got == nil || got.Burst.CPUPerAnswer != 6 || got.Measurement != open20k {
		t.Errorf("found %+v", got)
	}
	if got := r.find(1, chrony, open20k); got != nil {
		t.Errorf("found what was not measured: %+v", got)
	}
}

func TestTargets(t *testing.T) {
	for name, c := range map[string]struct {
		cpu  map[string][]float64
		want string // a letter for each target: holds, short, not measured
	}{
		"all hold":      {map[string][]float64{ours: {3, 3.1, 3.2}, limit: {3, 3, 3}, chrony: {4, 4, 4}, limitOne: {3, 3, 3}}, "hhhhhhhhh"},
		"slow":          {map[string][]float64{ours: {5, 5, 5}, limit: {3, 3, 3}, chrony: {4, 4, 4}, limitOne: {3, 3, 3}}, "ssssssss" + "s"},
		"at the limits": {map[string][]float64{ours: {4, 4, 4}, limit: {4, 4, 4}, chrony: {4, 4, 4}, limitOne: {4, 4, 4}}, "hsss" + "hhhh" + "h"},
		"alone":         {map[string][]float64{ours: {3, 3, 3}}, "nnnhhhhhn"},
		"nothing":       {nil, "nnnnnnnnn"},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			for _, o := range rounds(c.cpu).Targets {
				got.WriteByte(o.Verdict[0])
				if o.Verdict == "falls short" {
					s := got.String()
					got.Reset()
					got.WriteString(s[:len(s)-1] + "s")
				}
			}
			if got.String() != c.want {
				t.Errorf("got %s, want %s", &got, c.want)
			}
		})
	}
}

// Every target names a figure that there is.
func TestTargetsNameFigures(t *testing.T) {
	for _, target := range targets() {
		found := 0
		for _, f := range figures() {
			if f.measurement == target.in && f.name == target.figure {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%q: %d figures %q of %q", target.text, found, target.figure, target.in)
		}
	}
}

func TestReport(t *testing.T) {
	r := rounds(map[string][]float64{ours: {3, 3.2, 3.1}, limit: {3, 3, 3}, chrony: {4, 4, 4}, responder: {5, 6, 5}, limitOne: {3, 3, 3}})
	r.Samples[len(loads())].Sweep.LoadLimited = true // ours, round 0
	var out bytes.Buffer
	writeReport(&out, r)
	for _, want := range []string{
		"truechimer       ≥ 322.6     322.6          3.100           -9.30       1.55       0.00     24.80\n",
		"responder          200.0     200.0          5.000          -15.00       2.50       0.00     40.00\n",
		"socket-limit -1        -         -              -               -          -          -     24.00\n",
		"  k answers/s                         322.6          333.3            250.0            200.0\n" +
			"                              312.5 … 333.3  333.3 … 333.3    250.0 … 250.0    166.7 … 200.0\n",
		"CPU per answer, by socket-limit's                ≤ 1.10  1.033  1.000 … 1.067  holds\n",
		"highest rate, by chrony's                        ≥ 1.10  1.290  1.250 … 1.333  holds\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no line\n%s", want)
		}
	}
	for line := range strings.Lines(out.String()) {
		if utf8.RuneCountInString(line) > 101 {
			t.Errorf("too long: %s", line)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestNumber(t *testing.T) {
	for _, c := range []struct {
		v        float64
		decimals int
		want     string
	}{{1.2345, 2, "1.23"}, {-0.001, 2, "0.00"}, {0, 1, "0.0"}, {-0.25, 2, "-0.25"}, {259, 0, "259"}} {
		if got := number(c.v, c.decimals); got != c.want {
			t.Errorf("number(%g, %d) is %q, want %q", c.v, c.decimals, got, c.want)
		}
	}
}

func TestSearch(t *testing.T) {
	for _, limit := range []float64{900, 1500, 74e3, 100e3, 259e3, 3e6} {
		at := search{rate: sweepFirst}
		steps := 0
		for !at.tell(at.rate <= limit) {
			if steps++; steps > 60 {
				t.Fatalf("limit %g: no end: %+v", limit, at)
			}
		}
		if limit < sweepLeast {
			if at.lo != 0 {
				t.Errorf("limit %g: found %g", limit, at.lo)
			}
			continue
		}
		if at.lo > limit || at.hi <= limit || at.hi/at.lo >= sweepResolution {
			t.Errorf("limit %g: between %g and %g", limit, at.lo, at.hi)
		}
	}
}
