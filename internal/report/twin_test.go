package report

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// begin is where the invented worlds begin: a whole minute, not a whole hour.
const begin = int64(1_764_547_200 + 17*60)

func build(t *testing.T, m *memory, from, to int64) *Report {
	t.Helper()
	r, err := Build(context.Background(), m, Options{
		Profile: profile(), From: time.Unix(from, 0), To: time.Unix(to, 0), Now: time.Unix(to+3600, 0), Node: "tick", Version: "1.2.3",
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Every figure equals what is computed from the seconds.
func TestTwin(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 7))
		m, world := invent(r, begin, 40_000+r.IntN(4)*60)
		from := begin - 600 + int64(r.IntN(200))*60
		to := from + 60*(1+int64(r.IntN(600)))
		got := build(t, m, from, to)
		checkTwin(t, seed, got, world, from, to)
	}
}

func checkTwin(t *testing.T, seed uint64, r *Report, world []second, from, to int64) {
	t.Helper()
	var want Verdicts
	agreeing := 0
	var bounds, offsets []int64
	for at := from; at < to; at++ {
		i := int(at - begin)
		if i < 0 || i >= len(world) || !world[i].seen {
			want.Gap++
			continue
		}
		s := world[i]
		if agreeing == 0 || int(s.agreeing) < agreeing {
			agreeing = int(s.agreeing)
		}
		switch {
		case s.bound < 0:
			want.Unknown++
			continue
		case s.bound <= testWarn:
			want.OK++
		case s.bound <= testTolerance:
			want.Warn++
		default:
			want.Breach++
		}
		bounds, offsets = append(bounds, s.bound), append(offsets, s.offset)
	}
	c := r.Clocks[0]
	if len(r.Clocks) != 1 || !r.Same || c.Name != "system" {
		t.Fatalf("seed %d: %d clocks, the first is %q", seed, len(r.Clocks), c.Name)
	}
	if c.Verdicts != want || c.Unclaimed != want.Unknown || c.Verdicts.Total() != to-from {
		t.Fatalf("seed %d: %+v, want %+v", seed, c.Verdicts, want)
	}
	if r.Overall.AgreeingMin != agreeing || r.Overall.AgreeingNISTMin != max(agreeing-2, 0) {
		t.Fatalf("seed %d: %+v, want %d agreeing", seed, r.Overall, agreeing)
	}
	if share := float64(want.OK+want.Warn) / float64(to-from); c.Compliant != share {
		t.Fatalf("seed %d: share %v, want %v", seed, c.Compliant, share)
	}
	if r.Overall.Gap != want.Gap || r.Overall.Observed != to-from-want.Gap {
		t.Fatalf("seed %d: gap %d, observed %d, want %d, %d", seed, r.Overall.Gap, r.Overall.Observed, want.Gap, to-from-want.Gap)
	}
	checkFigures(t, seed, "bound", c.Bound, bounds)
	checkFigures(t, seed, "offset", c.Offset, offsets)
	checkGaps(t, seed, r, world, from, to)
	checkCharts(t, seed, c, world, from, to)
	var inBars uint64
	for _, b := range c.Histogram {
		inBars += b.Seconds
	}
	if inBars != uint64(len(bounds)) {
		t.Fatalf("seed %d: the histogram holds %d seconds, want %d", seed, inBars, len(bounds))
	}
}

func checkFigures(t *testing.T, seed uint64, what string, f Figures, values []int64) {
	t.Helper()
	if f.Samples != uint64(len(values)) {
		t.Fatalf("seed %d: %s has %d samples, want %d", seed, what, f.Samples, len(values))
	}
	if len(values) == 0 {
		return
	}
	var sum, squares float64
	abs := make([]int64, len(values))
	for i, v := range values {
		sum += float64(v)
		squares += float64(v) * float64(v)
		abs[i] = max(v, -v)
	}
	n := float64(len(values))
	mean := sum / n
	sd := math.Sqrt(max(0, squares/n-mean*mean))
	if int64(f.Min) != slices.Min(values) || int64(f.Max) != slices.Max(values) || math.Abs(f.Mean-mean) > 1 || math.Abs(f.SD-sd) > 1e-6*sd+1 {
		t.Fatalf("seed %d: %s %+v, want mean %v, sd %v", seed, what, f, mean, sd)
	}
	slices.Sort(abs)
	for q, got := range map[float64]Nanoseconds{0.5: f.P50, 0.99: f.P99, 0.999: f.P999} {
		exact := abs[max(int(math.Ceil(q*n)), 1)-1]
		if int64(got) < exact || float64(got) > float64(exact)*(1+1./64)+1 {
			t.Fatalf("seed %d: %s quantile %v is %d, of the values %d", seed, what, q, got, exact)
		}
	}
}

// checkGaps demands that gaps hold all seconds that nobody looked at, to the minute, and no more.
func checkGaps(t *testing.T, seed uint64, r *Report, world []second, from, to int64) {
	t.Helper()
	missing := func(at int64) bool {
		i := int(at - begin)
		return i < 0 || i >= len(world) || !world[i].seen
	}
	var total int64
	at := from
	for _, g := range r.Gaps.Items {
		first, last := floor(g.From.Unix(), minute), floor(g.To.Unix()+minute-1, minute)
		for ; at < first; at++ {
			if missing(at) {
				t.Fatalf("seed %d: nobody looked at %d, and no gap says so", seed, at)
			}
		}
		var n int64
		for ; at < last; at++ {
			if missing(at) {
				n++
			}
		}
		if n != g.Seconds || g.To.Unix()-g.From.Unix() < g.Seconds {
			t.Fatalf("seed %d: gap %+v has %d seconds", seed, g, n)
		}
		total += g.Seconds
	}
	if total != r.Overall.Gap {
		t.Fatalf("seed %d: gaps come to %d, want %d", seed, total, r.Overall.Gap)
	}
}

// checkCharts demands that each point bears the extremes of its step, and each cell its seconds.
func checkCharts(t *testing.T, seed uint64, c Clock, world []second, from, to int64) {
	t.Helper()
	points := map[int64]Point{}
	for _, p := range c.Points {
		points[p.At] = p
	}
	cells := map[int64]Verdicts{}
	for at := from; at < to; at++ {
		i := int(at - begin)
		cell := cells[floor(at, c.Unit)]
		if i < 0 || i >= len(world) || !world[i].seen {
			cell.Gap++
		} else if s := world[i]; s.bound < 0 {
			cell.Unknown++
		} else {
			switch {
			case s.bound <= testWarn:
				cell.OK++
			case s.bound <= testTolerance:
				cell.Warn++
			default:
				cell.Breach++
			}
			p, ok := points[floor(at, c.Step)]
			if !ok || int64(p.Bound) < s.bound || int64(p.OffsetMin) > s.offset || int64(p.OffsetMax) < s.offset {
				t.Fatalf("seed %d: point %+v, %v, does not hold %+v", seed, p, ok, s)
			}
		}
		cells[floor(at, c.Unit)] = cell
	}
	if len(c.Strip) != len(cells) {
		t.Fatalf("seed %d: %d cells, want %d", seed, len(c.Strip), len(cells))
	}
	for _, cell := range c.Strip {
		if cell.Verdicts != cells[cell.At] {
			t.Fatalf("seed %d: cell %d is %+v, want %+v", seed, cell.At, cell.Verdicts, cells[cell.At])
		}
	}
	for _, p := range c.Points {
		var most int64
		for at := max(p.At, from); at < min(p.At+c.Step, to); at++ {
			if i := int(at - begin); i >= 0 && i < len(world) && world[i].seen {
				most = max(most, world[i].bound)
			}
		}
		if int64(p.Bound) != most {
			t.Fatalf("seed %d: point %+v, want a bound of %d", seed, p, most)
		}
	}
}

// A whole hour is not counted twice, whatever is on record of it: after a crash its minutes are
// taken, after an orderly stop its parts, and where minutes were lost its own summary.
func TestHourRule(t *testing.T) {
	const start = 1_764_547_200 // a whole hour
	fine := func() []second {
		w := make([]second, hour)
		for i := range w {
			w[i] = second{seen: true, bound: 1e6}
		}
		return w
	}
	tests := map[string]struct {
		runs  []run
		lose  int // minutes to take away
		want  int64
		gaps  []Gap
		hours int
	}{
		"whole": {runs: []run{{0, 3600, false}}, want: 3600, hours: 1},
		"stop and start": {runs: []run{{0, 1000, false}, {1100, 3600, false}}, want: 3500, hours: 2,
			gaps: []Gap{{From: unix(start + 1000), To: unix(start + 1100), Seconds: 100}}},
		"crash": {runs: []run{{0, 1030, true}, {1100, 3600, false}}, want: 1020 + 2500, hours: 1,
			gaps: []Gap{{From: unix(start + 1020), To: unix(start + 1100), Seconds: 80}}},
		"stop, then crash": {runs: []run{{0, 1000, false}, {1000, 2030, true}, {2100, 3600, false}}, want: 1980 + 1500, hours: 2,
			gaps: []Gap{{From: unix(start + 1980), To: unix(start + 2100), Seconds: 120}}},
		"crash at the end": {runs: []run{{0, 3590, true}}, want: 3540,
			gaps: []Gap{{From: unix(start + 3540), To: unix(start + 3600), Seconds: 60}}},
		"minutes lost": {runs: []run{{0, 3600, false}}, lose: 10, want: 3600, hours: 1},
		"minutes lost of a part": {runs: []run{{0, 1800, false}}, lose: 10, want: 1800, hours: 1,
			gaps: []Gap{{From: unix(start), To: unix(start + 3600), Seconds: 1800}}},
		"within a minute": {runs: []run{{0, 610, false}, {620, 3600, false}}, want: 3590, hours: 2,
			gaps: []Gap{{From: unix(start + 600), To: unix(start + 660), Seconds: 10}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := &memory{}
			w := fine()
			for _, r := range tt.runs {
				write(m, start, w, r)
			}
			minutes := m.byKind[7]
			m.byKind[7] = minutes[:len(minutes)-tt.lose]
			if n := len(m.byKind[8]); n != tt.hours {
				t.Fatalf("%d hour entries, want %d", n, tt.hours)
			}
			r := build(t, m, start, start+hour)
			c := r.Clocks[0]
			if c.Verdicts.OK != tt.want || c.Verdicts.Gap != hour-tt.want || c.Bound.Samples != uint64(tt.want) || len(c.Points) == 0 {
				t.Errorf("%+v of %d samples, want %d", c.Verdicts, c.Bound.Samples, tt.want)
			}
			for i := range r.Gaps.Items {
				r.Gaps.Items[i].Cause = ""
			}
			if !slices.Equal(r.Gaps.Items, tt.gaps) {
				t.Errorf("gaps %v, want %v", r.Gaps.Items, tt.gaps)
			}
		})
	}
}

func unix(s int64) time.Time { return time.Unix(s, 0).UTC() }
