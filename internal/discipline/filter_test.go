package discipline

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// matrix is two by two; the twin is the filter as textbooks have it, without a bank.
type matrix [2][2]float64

func (a matrix) times(b matrix) (c matrix) {
	for i := range 2 {
		for j := range 2 {
			c[i][j] = a[i][0]*b[0][j] + a[i][1]*b[1][j]
		}
	}
	return c
}

func (a matrix) plus(b matrix) (c matrix) {
	for i := range 2 {
		for j := range 2 {
			c[i][j] = a[i][j] + b[i][j]
		}
	}
	return c
}

func (a matrix) turned() matrix { return matrix{{a[0][0], a[1][0]}, {a[0][1], a[1][1]}} }

type twin struct {
	x [2]float64
	p matrix
}

func (k *twin) after(dt, wander float64) {
	f, q := matrix{{1, dt}, {0, 1}}, wander*wander
	k.x = [2]float64{k.x[0] + dt*k.x[1], k.x[1]}
	k.p = f.times(k.p).times(f.turned()).plus(matrix{{q*dt*dt*dt/3 + phaseWalk*phaseWalk*dt, q * dt * dt / 2}, {q * dt * dt / 2, q * dt}})
}

func (k *twin) update(z, variance float64) (likelihood float64) {
	s := k.p[0][0] + variance
	g := [2]float64{k.p[0][0] / s, k.p[1][0] / s}
	y := z - k.x[0]
	k.x = [2]float64{k.x[0] + g[0]*y, k.x[1] + g[1]*y}
	// The form of Joseph: (1−gh) P (1−gh)' + g R g'.
	left := matrix{{1 - g[0], 0}, {-g[1], 1}}
	k.p = left.times(k.p).times(left.turned()).plus(matrix{{g[0] * g[0] * variance, g[0] * g[1] * variance}, {g[0] * g[1] * variance, g[1] * g[1] * variance}})
	return -(y*y/s + math.Log(s)) / 2
}

// TestModelTwin compares one model with its twin over random samples.
func TestModelTwin(t *testing.T) {
	r := rand.New(rand.NewPCG(*seedFlag, 3))
	near := func(a, b, scale float64) bool { return math.Abs(a-b) <= 1e-4*scale+1e-30 }
	for c := range 2000 {
		wander := wanders[r.IntN(len(wanders))]
		start := math.Pow(10, -8*r.Float64())
		m := model{wander: wander, p00: start * start, p11: 1e-8}
		k := twin{p: matrix{{start * start, 0}, {0, 1e-8}}}
		for range 60 {
			dt, variance := math.Exp(8*r.Float64()), math.Pow(10, -12+10*r.Float64())
			m = m.after(dt)
			k.after(dt, wander)
			z := k.x[0] + 3*r.NormFloat64()*math.Sqrt(k.p[0][0]+variance)
			before := m.likelihood
			m.update(z, variance)
			likelihood := k.update(z, variance)
			if !near(m.likelihood, modelMemory*before+likelihood, 1+math.Abs(before)) {
				t.Fatalf("case %d: likelihood %v, its twin %v", c, m.likelihood, likelihood)
			}
			if !near(m.x, k.x[0], math.Abs(z)+1e-9) || !near(m.f, k.x[1], math.Abs(k.x[1])+1e-9) ||
				!near(m.p00, k.p[0][0], k.p[0][0]) || !near(m.p01, k.p[0][1], math.Sqrt(k.p[0][0]*k.p[1][1])) || !near(m.p11, k.p[1][1], k.p[1][1]*100) {
				t.Fatalf("case %d, wander %v: %+v, its twin %+v", c, wander, m, k)
			}
		}
	}
}

// TestBankMean: what the bank believes is the mean of its models, with the spread between
// them; the weights sum up to 1, and the bound reckons with the worst that is plausible.
func TestBankMean(t *testing.T) {
	var b filter
	b.start(&Sample{Local: 1e9, Remote: era}, 1e-8, 0, 1e-6)
	for i := range b.weights {
		b.weights[i] = 0
		b.models[i].p11 = 1e-20
	}
	b.weights[2], b.weights[4], b.weights[6] = 0.5, 0.498, 0.002
	b.models[2].x, b.models[4].x, b.models[4].f, b.models[2].f = 1, 2, 4, 3
	s := b.at(1e9)
	mean := 0.5*1 + 0.498*2
	if math.Abs(s.x-mean) > 1e-12 || math.Abs(s.f-(1.5+0.498*4)) > 1e-12 {
		t.Errorf("mean %v, %v", s.x, s.f)
	}
	if want := 0.5*(1-mean)*(1-mean) + 0.498*(2-mean)*(2-mean) + 0.002*mean*mean + 1e-8; math.Abs(s.vx-want) > 1e-9 {
		t.Errorf("variance %v, want %v", s.vx, want)
	}
	if s.wander != wanders[4] {
		t.Errorf("wander %v: the one with a weight of 0.002 is ruled out, that with 0.498 is not", s.wander)
	}
	if want := 1e-20 + (4-s.f)*(4-s.f); math.Abs(s.doubt-max(want, (3-s.f)*(3-s.f))) > 1e-12 {
		t.Errorf("doubt %v", s.doubt)
	}
}

// TestBankKeepsDigits: weeks of samples, on a scale where a float64 knows the time no better
// than a quarter of a microsecond, at rates of a crystal and of a broken simulator.
func TestBankKeepsDigits(t *testing.T) {
	for _, rate := range []float64{0, 100e-6, -0.05} {
		var b filter
		var remote int64
		for k := range 60_000 { // 6 weeks
			local := time.Duration(k) * 64 * time.Second
			remote = era + int64(local) + int64(math.Round(rate*float64(local)))
			s := Sample{Local: local, Remote: remote}
			if k == 0 {
				b.start(&s, 1e-16, rate, 1e-6)
				continue
			}
			b.update(&s, 1e-16)
			sum := 0.0
			for i, w := range b.weights {
				if sum += w; w < 0 || w > 1 || b.models[i].likelihood > 0 {
					t.Fatalf("weights %v", b.weights)
				}
			}
			if math.Abs(sum-1) > 1e-12 {
				t.Fatalf("weights sum to %v", sum)
			}
		}
		s := b.at(b.local)
		if off := int64(b.local) + b.base + int64(nanoseconds(s.x)) - remote; off < -2 || off > 2 {
			t.Errorf("rate %v: off by %d ns", rate, off)
		}
		if math.Abs(s.f-rate) > 1e-10 {
			t.Errorf("rate %v: %v", rate, s.f)
		}
		if math.Abs(s.x) > 2e-9 {
			t.Errorf("the state has grown to %v s", s.x)
		}
	}
}

// TestOldSamples: what is older than what is known, or as old, changes nothing.
func TestOldSamples(t *testing.T) {
	d, list, now := hear(Options{}, named("a"))
	before, polled := d.Select(now), d.sources[0].poll
	for _, local := range []time.Duration{now, now - 1, now - testPoll, 0, -time.Hour} {
		if poll := d.Add(list[0], Sample{Local: local, Remote: era, Delay: 1}); poll != polled {
			t.Errorf("a sample at %v is wanted in %v", local, poll)
		}
	}
	if after := d.Select(now); after.Estimate != before.Estimate {
		t.Errorf("%+v, before %+v", after.Estimate, before.Estimate)
	}
	// An instant before the last sample is not one to ask for; the answer has numbers still.
	s := d.Select(now - time.Hour)
	consistent(t, &s)
}

// TestGarbage: no samples whatever make a number that is none, a bound below zero, or an
// estimate out of what cannot be one clock.
func TestGarbage(t *testing.T) {
	r := rand.New(rand.NewPCG(*seedFlag, 11))
	delays := []time.Duration{0, 1, time.Microsecond, 10 * ms, time.Hour, math.MaxInt64, math.MaxInt64 - 1}
	any := func() time.Duration { return delays[r.IntN(len(delays))] }
	for c := range 3000 {
		d := New(Options{DistanceMax: []time.Duration{50 * ms, math.MaxInt64}[c%2]})
		list := []SourceID{d.Open(SourceOptions{}), d.Open(SourceOptions{})}
		local := time.Duration(0)
		for k := range 40 {
			local += time.Duration(1 + r.Int64N(int64(delays[2+r.IntN(3)])))
			sample := Sample{Local: local, Remote: era + r.Int64N(8e18) - 4e18, Delay: any(), Dispersion: any(), RootDelay: any(), RootDispersion: any(), Stratum: uint8(r.IntN(16))}
			if r.IntN(2) == 0 {
				sample = Sample{Local: local, Remote: era + int64(local), Delay: delays[r.IntN(4)], Stratum: 1}
			}
			d.Add(list[r.IntN(2)], sample)
			s := d.Select(local + time.Duration(r.IntN(3))*time.Hour)
			consistent(t, &s)
			for _, v := range s.Verdicts {
				if math.Abs(v.Frequency) > 1e3 {
					t.Errorf("case %d, sample %d: rate %v", c, k, v.Frequency)
				}
			}
			if t.Failed() {
				t.Fatalf("case %d, sample %d: %+v", c, k, s)
			}
		}
	}
}

// TestDirtyDozen: years forth and back, one after the other, are no clock.
func TestDirtyDozen(t *testing.T) {
	r := rand.New(rand.NewPCG(*seedFlag, 12))
	for range 3000 {
		d := New(Options{DistanceMax: time.Second})
		id := d.Open(SourceOptions{})
		local := time.Duration(0)
		for range 12 {
			local += time.Duration(1+r.IntN(64)) * time.Second
			d.Add(id, Sample{Local: local, Remote: r.Int64N(8e18) - 4e18, Delay: time.Duration(1 + r.IntN(2e7)), Stratum: 1})
			if s := d.Select(local); s.Valid || s.Verdicts[0].Distance < 0 {
				t.Fatalf("%+v", s)
			}
		}
	}
}
