package discipline

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// matrix is three by three; the twin is the filter as textbooks have it, without a bank, and
// with the exact noise of a trend that fades.
type matrix [3][3]float64

func (a matrix) times(b matrix) (c matrix) {
	for i := range 3 {
		for j := range 3 {
			for k := range 3 {
				c[i][j] += a[i][k] * b[k][j]
			}
		}
	}
	return c
}

func (a matrix) plus(b matrix) (c matrix) {
	for i := range 3 {
		for j := range 3 {
			c[i][j] = a[i][j] + b[i][j]
		}
	}
	return c
}

func (a matrix) turned() (c matrix) {
	for i := range 3 {
		for j := range 3 {
			c[i][j] = a[j][i]
		}
	}
	return c
}

type twin struct {
	x [3]float64
	p matrix
}

// after goes by steps that are short to all that happens.
func (k *twin) after(dt float64, o oscillator) {
	steps := max(200, int(dt/30))
	h := dt / float64(steps)
	kept := math.Exp(-h / trendTime)
	f := matrix{{1, h, h * h / 2}, {0, 1, h}, {0, 0, kept}}
	q := matrix{{phaseWalk * phaseWalk * h, 0, 0}, {0, o.wander * o.wander * h, 0}, {0, 0, o.trend * o.trend * (1 - kept*kept)}}
	for range steps {
		k.x = [3]float64{k.x[0] + h*k.x[1] + h*h/2*k.x[2], k.x[1] + h*k.x[2], kept * k.x[2]}
		k.p = f.times(k.p).times(f.turned()).plus(q)
	}
}

func (k *twin) update(z, variance float64) (likelihood float64) {
	s := k.p[0][0] + variance
	g := [3]float64{k.p[0][0] / s, k.p[1][0] / s, k.p[2][0] / s}
	y := z - k.x[0]
	left, noise := matrix{{1 - g[0], 0, 0}, {-g[1], 1, 0}, {-g[2], 0, 1}}, matrix{}
	for i := range 3 {
		k.x[i] += g[i] * y
		for j := range 3 {
			noise[i][j] = g[i] * g[j] * variance
		}
	}
	// The form of Joseph: (1−gh) P (1−gh)' + g R g'.
	k.p = left.times(k.p).times(left.turned()).plus(noise)
	return -(y*y/s + math.Log(s)) / 2
}

func twinOf(m *model) twin {
	return twin{[3]float64{m.x, m.f, m.d}, matrix{{m.p00, m.p01, m.p02}, {m.p01, m.p11, m.p12}, {m.p02, m.p12, m.p22}}}
}

// differs tells what of the model is not as the twin has it, within a share of what is usual.
func (k *twin) differs(m *model, share float64) string {
	other := twinOf(m)
	for i := range 3 {
		if off := math.Abs(k.x[i] - other.x[i]); off > share*(math.Abs(k.x[i])+math.Sqrt(k.p[i][i]))+1e-30 {
			return fmt.Sprintf("state %d is %v, its twin %v", i, other.x[i], k.x[i])
		}
		for j := range 3 {
			if off := math.Abs(k.p[i][j] - other.p[i][j]); off > share*math.Sqrt(k.p[i][i]*k.p[j][j])+1e-40 {
				return fmt.Sprintf("covariance %d,%d is %v, its twin %v", i, j, other.p[i][j], k.p[i][j])
			}
		}
	}
	return ""
}

// TestModelTwin compares one model with its twin over random samples.
func TestModelTwin(t *testing.T) {
	r := rand.New(rand.NewPCG(*seedFlag, 3))
	for range 100 {
		o := oscillators[r.IntN(len(oscillators))]
		start := math.Pow(10, -8*r.Float64())
		m := model{oscillator: o, p00: start * start, p11: 1e-8, p22: o.trend * o.trend}
		for range 60 {
			dt, variance := math.Exp(6*r.Float64()), math.Pow(10, -12+10*r.Float64())
			k := twinOf(&m)
			m = m.after(dt)
			k.after(dt, o)
			if off := k.differs(&m, 0.05); off != "" {
				t.Fatalf("%+v after %v s: %s", o, dt, off)
			}
			k = twinOf(&m)
			z := m.x + 3*r.NormFloat64()*math.Sqrt(m.p00+variance)
			before := m.likelihood
			m.update(z, variance)
			likelihood := modelMemory*before + k.update(z, variance)
			if off := k.differs(&m, 1e-6); off != "" {
				t.Fatalf("%+v, a sample with %v: %s", o, variance, off)
			}
			if math.Abs(m.likelihood-likelihood) > 1e-6*(1+math.Abs(likelihood)) {
				t.Fatalf("likelihood %v, its twin %v", m.likelihood, likelihood)
			}
		}
	}
}

// TestModelInSilence: in hours without a sample a model goes where its twin goes, and is never
// surer, nor much less sure; a trend fades, and what is not known of it has an end.
func TestModelInSilence(t *testing.T) {
	for _, o := range oscillators {
		for _, hours := range []float64{1, 2.9, 3.1, 12, 100} {
			m := model{oscillator: o, x: 1e-3, f: 1e-6, p00: 1e-10, p01: 1e-15, p11: 1e-18}
			if o.trend > 0 {
				m.d, m.p12, m.p22 = 1e-10, 1e-24, 1e-22
			}
			k := twinOf(&m)
			m = m.after(hours * 3600)
			k.after(hours*3600, o)
			for i, state := range []float64{m.x, m.f, m.d} {
				if math.Abs(state-k.x[i]) > 0.01*math.Abs(k.x[i])+1e-20 {
					t.Errorf("%+v after %v h: state %d is %v, its twin %v", o, hours, i, state, k.x[i])
				}
			}
			for i, p := range []float64{m.p00, m.p11, m.p22} {
				if p < 0.95*k.p[i][i] || p > 3*k.p[i][i] {
					t.Errorf("%+v after %v h: variance %d is %v, its twin %v", o, hours, i, p, k.p[i][i])
				}
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
		if m, o := b.models[i], oscillators[i]; m.oscillator != o || m.d != 0 || m.p22 != o.trend*o.trend {
			t.Errorf("model %d begins as %+v, for %+v", i, m, o)
		}
		b.weights[i] = 0
		b.models[i].p11 = 1e-20
	}
	b.weights[2], b.weights[4], b.weights[6] = 0.5, 0.498, 0.002
	b.models[2].x, b.models[4].x, b.models[4].f, b.models[2].f = 1, 2, 4, 3
	b.models[2].d, b.models[4].d, b.models[6].d = 1e-9, 2e-9, 1
	b.models[2].p22, b.models[4].p22 = 3e-18, 0
	s := b.at(1e9)
	mean := 0.5*1 + 0.498*2
	if math.Abs(s.x-mean) > 1e-12 || math.Abs(s.f-(1.5+0.498*4)) > 1e-12 {
		t.Errorf("mean %v, %v", s.x, s.f)
	}
	if want := 0.5*(1-mean)*(1-mean) + 0.498*(2-mean)*(2-mean) + 0.002*mean*mean + 1e-8; math.Abs(s.vx-want) > 1e-9 {
		t.Errorf("variance %v, want %v", s.vx, want)
	}
	if want := 0.5*1e-9 + 0.498*2e-9 + 0.002; math.Abs(s.d-want) > 1e-15 {
		t.Errorf("trend %v, want %v", s.d, want)
	}
	if math.Abs(s.bend-2e-9) > 1e-15 {
		t.Errorf("bend %v: a trend of 1e-9 that may be 1.7e-9 more or less, one of 2e-9 that may end, and one that is ruled out", s.bend)
	}
	if s.wander != oscillators[4].wander {
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
