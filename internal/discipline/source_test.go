package discipline

import (
	"math"
	"testing"
	"time"
)

// TestSkew: a rate that few samples have measured is trusted less, and the longer ago the less.
func TestSkew(t *testing.T) {
	for samples, want := range map[int]float64{4: 31.6 / 3.29, 15: 4.22 / 3.29, 16: 1.1875, 300: 1.01} {
		s := source{samples: samples}
		if got := s.fewness(); math.Abs(got-want) > 1e-9 {
			t.Errorf("%d samples: %v, want %v", samples, got, want)
		}
		b := state{vf: 1, doubt: 4e-12, wander: 3e-8, bend: 6e-10}
		if got, want := s.skew(&b, 10_000*time.Second), want*math.Sqrt(4e-12+9e-12+36e-12); math.Abs(got-want) > 1e-12 {
			t.Errorf("%d samples: skew %v, want %v", samples, got, want)
		}
		if got, want := s.skew(&b, -time.Hour), want*2e-6; math.Abs(got-want) > 1e-12 {
			t.Errorf("%d samples: skew before %v, want %v", samples, got, want)
		}
	}
	d, _, now := hear(Options{}, named("a"))
	s := d.sources[0]
	e, b := d.Select(now).Estimate, s.filter.at(now)
	if want := s.fewness() * b.wander; e.Wander != want {
		t.Errorf("wander %v, want %v", e.Wander, want)
	}
}

// TestContradicted: where the noise explains a sample that the bounds do not, the bounds win.
func TestContradicted(t *testing.T) {
	d, ids, now := hear(Options{DistanceMax: time.Hour}, named("a"))
	s := d.sources[0]
	s.noise = noise{samples: 1000, a: 1e-4}
	now += testPoll
	d.Add(ids[0], Sample{Local: now, Remote: era + int64(now) + int64(30*ms), Delay: 10 * ms, Stratum: 1})
	if len(s.surprises) > 0 {
		t.Fatal("a surprise")
	}
	if got := d.Select(now).Verdicts[0].Distance; got < 34*ms || got > 36*ms {
		t.Errorf("distance %v", got)
	}
	d.Restart()
	if len(s.kept) > 0 || s.contradicted != 0 || s.samples != 0 {
		t.Errorf("after a restart %+v", s)
	}
}
