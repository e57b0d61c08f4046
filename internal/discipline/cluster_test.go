package discipline

import (
	"math"
	"testing"
	"time"
)

// judged returns a candidate as the selection sees it: offset, jitter and distance in
// milliseconds.
func judged(id SourceID, offset, jitter, distance float64) *candidate {
	return &candidate{
		source:  &source{id: id},
		belief:  belief{distance: time.Duration(distance * 1e6), rootDispersion: time.Duration(distance * 1e6)},
		verdict: &Verdict{ID: id, Jitter: jitter * 1e-3},
		offset:  offset * 1e-3,
	}
}

func ids(list []*candidate) (of []SourceID) {
	for _, c := range list {
		of = append(of, c.id)
	}
	return of
}

// TestCluster: CLU-1 of STANDARDS, section 1.6, and its borders.
func TestCluster(t *testing.T) {
	clu1 := func() []*candidate {
		return []*candidate{judged(1, 1, .4, 10), judged(2, 2, .5, 12), judged(3, -1, .6, 15), judged(4, 3, .3, 20)}
	}
	for _, c := range []struct {
		name string
		list []*candidate
		lost []SourceID
	}{
		{"CLU-1", clu1(), []SourceID{3}},
		{"three are left alone", clu1()[:3], nil},
		// The spread of the third is 3.109 ms: as long as the quietest is noisier, it stays.
		{"noise", []*candidate{judged(1, 1, 3.2, 10), judged(2, 2, 3.2, 12), judged(3, -1, 3.2, 15), judged(4, 3, 3.11, 20)}, nil},
		{"less noise", []*candidate{judged(1, 1, 3.2, 10), judged(2, 2, 3.2, 12), judged(3, -1, 3.2, 15), judged(4, 3, 3.10, 20)}, []SourceID{3}},
		{"two outliers", []*candidate{judged(1, 0, .1, 10), judged(2, 9, .1, 10), judged(3, 0, .1, 10), judged(4, -5, .1, 10), judged(5, 0, .1, 10)}, []SourceID{2, 4}},
		{"all the same", []*candidate{judged(1, 1, .1, 10), judged(2, 1, .1, 10), judged(3, 1, .1, 10), judged(4, 1, .1, 10)}, nil},
		{"none", nil, nil},
	} {
		all := append([]*candidate(nil), c.list...)
		left := cluster(c.list)
		lost := map[SourceID]bool{}
		for _, id := range c.lost {
			lost[id] = true
		}
		if len(left) != len(all)-len(lost) {
			t.Errorf("%s: %v are left, want all but %v", c.name, ids(left), c.lost)
		}
		for _, candidate := range all {
			if out := candidate.verdict.Status == Outlier; out != lost[candidate.id] {
				t.Errorf("%s: source %d is an outlier: %v", c.name, candidate.id, out)
			}
		}
	}
}

// TestCombine: the weights are 1/λ², and the bound is never below the weighted mean of the
// distances nor the ends of the intersection. Where RFC 5905 weighs by 1/λ, CLU-1 gives
// 1.785714 ms, and we 1.614286 ms.
func TestCombine(t *testing.T) {
	d := New(Options{})
	list := []*candidate{judged(1, 1, .4, 10), judged(2, 2, .5, 12), judged(4, 3, .3, 20)}
	for i, c := range list {
		c.f, c.vf, c.growthPPM, c.spread = float64(i)*1e-6, 1e-14, float64(1+i), float64(3-i)*1e-9
		c.options.ProviderError = time.Duration(i) * ms
		c.last.Local = time.Duration(i)
	}
	var s Selection
	found := Intersection{Interval: Interval{-9e-3, 11e-3}}
	peer := d.combine(&s, time.Hour, list, found, era)
	if peer != list[0] || list[0].verdict.Status != Selected || list[1].verdict.Status != Combined {
		t.Errorf("peer %d", peer.id)
	}
	// The weights are 1/100, 1/144 and 1/400.
	weights := []float64{144. / 280, 100. / 280, 36. / 280}
	var offset, bound float64
	for i, c := range list {
		if math.Abs(c.verdict.Weight-weights[i]) > 1e-12 {
			t.Errorf("weight %d: %v, want %v", i, c.verdict.Weight, weights[i])
		}
		offset += weights[i] * c.offset
		bound += weights[i] * c.distance.Seconds()
	}
	e := s.Estimate
	if got := float64(e.Remote-era) * 1e-9; math.Abs(got-offset) > 1e-9 || math.Abs(got-1.614286e-3) > 1e-8 {
		t.Errorf("offset %v, want %v", got, offset)
	}
	if got := e.RootDispersion.Seconds(); got < bound || got > bound+3e-9 {
		t.Errorf("bound %v, want %v", got, bound)
	}
	if e.Frequency < 0.999e-6 || e.Frequency > 1.001e-6 || e.GrowthPPM != 3 || math.Abs(e.Wander-3e-9) > 1e-15 || e.Updated != 2 {
		t.Errorf("estimate %+v", e)
	}
	if got, want := e.ProviderError.Seconds(), weights[1]*1e-3+weights[2]*2e-3; math.Abs(got-want) > 2e-9 {
		t.Errorf("provider error %v, want %v", got, want)
	}
	// The ends of the intersection are farther away than the mean of the distances.
	for _, ends := range []Interval{{-30e-3, 1e-3}, {1e-3, 33e-3}} {
		d.combine(&s, time.Hour, list, Intersection{Interval: ends}, era)
		want := max(ends.High-offset, offset-ends.Low)
		if got := s.Estimate.RootDispersion.Seconds(); got < want || got > want+3e-9 {
			t.Errorf("bound %v, want %v", got, want)
		}
	}
}

// TestRD1: RD-1 of STANDARDS, section 1.6. The parts that a sample brings are the same; what
// the RFC adds to them, 15 ppm since the sample and one jitter, is measured here: how far the
// estimate is from the sample, and how fast its rate lets it drift. There is no floor.
func TestRD1(t *testing.T) {
	sample := Sample{
		Delay:          30 * ms,
		Dispersion:     1538,
		RootDelay:      0x236 * time.Second / 65536,
		RootDispersion: 0x3b7 * time.Second / 65536,
	}
	const jitter, aged = 500 * time.Microsecond, 64 * 15 * time.Microsecond
	if got, want := within(&sample)+jitter+aged, time.Duration(35290883); (got - want).Abs() > 3 {
		t.Errorf("root distance %v, want %v", got, want)
	}
	if got := within(&Sample{Delay: 1, RootDelay: -3}); got != 3 {
		t.Errorf("halves are rounded up to %d, want 3", got)
	}
	if got := within(&Sample{Delay: math.MaxInt64, Dispersion: math.MaxInt64, RootDelay: math.MinInt64}); got != math.MaxInt64 {
		t.Errorf("the largest distance is %v", got)
	}
}
