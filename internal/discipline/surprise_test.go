package discipline

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// TestSurprises: what changes at once is followed within so many polls of 16 s; the rate
// survives what only the phase does.
func TestSurprises(t *testing.T) {
	const at = 3 * 3600
	after := func(value float64) func(float64) float64 {
		return func(now float64) float64 {
			if now < at {
				return 0
			}
			return value
		}
	}
	lan := wan().with(func(w *world) { w.way, w.jitter, w.poll = 200e-6, uniform(50e-6), 16*time.Second })
	for _, c := range []struct {
		name    string
		w       world
		end     float64 // where the source then is, seconds from the truth
		within  float64 // limit, seconds
		polls   int     // after so many it is there, and stays
		rateMax float64 // most that the rate is off at any time from the sixth poll on
	}{
		{"a step of the server", lan.with(func(w *world) { w.jump = after(-10e-3) }), -10e-3, 100e-6, 6, 4e-6},
		{"years", lan.with(func(w *world) { w.jump = after(3e8) }), 3e8, 100e-6, 6, 4e-6},
		{"another way", lan.with(func(w *world) {
			w.change = func(now float64) (float64, float64) { return after(20e-3)(now), 0 }
		}), 10e-3, 200e-6, keptMax + 10, 4e-6},
		{"longer both ways", lan.with(func(w *world) {
			w.change = func(now float64) (float64, float64) { return after(20e-3)(now), after(20e-3)(now) }
		}), 0, 200e-6, 0, 1e-6},
		{"shorter both ways", lan.with(func(w *world) {
			w.change = func(now float64) (float64, float64) { return -after(1e-4)(now), -after(1e-4)(now) }
		}), 0, 100e-6, 0, 1e-6},
		{"rate by 10 ppm", lan.with(func(w *world) { w.drift = after(10e-6) }), 0, 100e-6, 15, 25e-6},
		{"rate by 1000 ppm", lan.with(func(w *world) { w.drift = after(1000e-6) }), 0, 100e-6, 15, 1100e-6},
		{"rate by 5 %", lan.with(func(w *world) { w.drift = after(0.05) }), 0, 100e-6, 15, 0.1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachSeed(func(seed uint64) {
				w := c.w
				r := rand.New(rand.NewPCG(seed, 1))
				d := New(Options{DistanceMax: time.Hour})
				id := d.Open(SourceOptions{})
				truth, late, worstRate, spent := 0.0, 0, 0.0, 0
				for second := range at + 200*16 {
					now := float64(second)
					if second%16 == 0 {
						if sample, ok := w.exchange(r, now, truth); ok {
							d.Add(id, sample)
						}
						if second >= at {
							spent++
							b := d.sources[0].filter.at(time.Duration(now * 1e9))
							x := seconds(d.sources[0].filter.base) + b.x
							if math.Abs(x-truth-c.end) > c.within {
								late = spent
							}
							if spent > 6 {
								worstRate = math.Max(worstRate, math.Abs(b.f-w.rateAt(now)))
							}
						}
					}
					truth += w.rateAt(now)
				}
				if late > c.polls || worstRate > c.rateMax {
					t.Errorf("seed %d: there after %d polls (limit %d), rate off by %.2f ppm (limit %.2f)", seed, late, c.polls, worstRate*1e6, c.rateMax*1e6)
				}
				t.Logf("seed %d: %d polls, rate %.2f ppm", seed, late, worstRate*1e6)
			})
		})
	}
}

// TestLoneOutlier: one sample that is wrong, or two in a row, change nothing but the bound, and
// that as long as they are the last word.
func TestLoneOutlier(t *testing.T) {
	for _, wrong := range []time.Duration{20 * ms, -20 * ms, time.Hour, -1e6 * time.Hour} {
		for outliers := 1; outliers < surprisesMax; outliers++ {
			d, ids, now := hear(Options{DistanceMax: time.Hour}, named("a"))
			s := d.sources[0]
			before := s.filter
			for range outliers {
				now += testPoll
				d.Add(ids[0], Sample{Local: now, Remote: era + int64(now) + int64(wrong), Delay: 10 * ms, Stratum: 1})
				if s.filter != before {
					t.Errorf("%v: the filter changed", wrong)
				}
				if v := d.Select(now).Verdicts[0]; v.Distance < wrong.Abs() {
					t.Errorf("%v: the distance is %v", wrong, v.Distance)
				}
			}
			now += testPoll
			d.Add(ids[0], Sample{Local: now, Remote: era + int64(now), Delay: 10 * ms, Stratum: 1})
			if v := d.Select(now).Verdicts[0]; v.Status != Selected || v.Distance > 6*ms || v.Samples != 21 {
				t.Errorf("%v: afterwards %+v", wrong, v)
			}
		}
	}
}

// TestGarbageBeforeStep: what no clock can have shown together with the samples after it is
// not where the filter starts again.
func TestGarbageBeforeStep(t *testing.T) {
	const step = 40 * ms
	for garbage := range surprisesMax {
		d, ids, now := hear(Options{DistanceMax: time.Hour}, named("a"))
		add := func(off time.Duration) {
			now += testPoll
			d.Add(ids[0], Sample{Local: now, Remote: era + int64(now) + int64(off), Delay: 10 * ms, Stratum: 1})
		}
		for k := range garbage {
			add(time.Duration(k+1) * 1e5 * time.Hour)
		}
		for range surprisesMax - garbage {
			add(step)
		}
		for range samplesMin {
			add(step)
			b := d.sources[0].filter.at(now)
			if off := d.sources[0].filter.base - era + int64(nanoseconds(b.x)) - int64(step); off < -1e6 || off > 1e6 {
				t.Errorf("%d times garbage: off by %v", garbage, time.Duration(off))
			}
		}
	}
}

// TestSurprisedRate: while samples contradict what is believed of the rate, the bound holds
// what they say, and grows as fast as they do.
func TestSurprisedRate(t *testing.T) {
	d, ids, now := hear(Options{DistanceMax: time.Hour}, named("a").at(0, 200*time.Microsecond))
	quiet := d.Select(now).Estimate
	start := now
	const rate = 100e-6
	for k := range 2 {
		now += testPoll
		off := int64(rate * float64(now-start))
		d.Add(ids[0], Sample{Local: now, Remote: era + int64(now) + off, Delay: 200 * time.Microsecond, Stratum: 1})
		for _, later := range []time.Duration{0, time.Second, testPoll} {
			e := d.Select(now + later).Estimate
			truth := era + int64(now+later) + int64(rate*float64(now+later-start))
			if bound := half(e.RootDelay) + e.RootDispersion; time.Duration(e.Remote-truth).Abs() > bound {
				t.Errorf("%d surprises, %v later: error %v, bound %v", k+1, later, time.Duration(e.Remote-truth), bound)
			}
			if e.GrowthPPM < rate*1e6 || e.GrowthPPM > 4*rate*1e6 || quiet.GrowthPPM > 20 {
				t.Errorf("%d surprises: the bound grows by %v ppm, before by %v", k+1, e.GrowthPPM, quiet.GrowthPPM)
			}
		}
	}
}

// TestPriorRate: a source that comes later starts with the rate that is known, and a warm start
// with the one of the drift file.
func TestPriorRate(t *testing.T) {
	first := Sample{Local: time.Second, Remote: era, Delay: 10 * ms, Stratum: 1}
	deviation := func(d *Discipline) (rate, deviation float64) {
		id := d.Open(SourceOptions{})
		d.Add(id, first)
		m := d.find(id).filter.models[0]
		return m.f, math.Sqrt(m.p11)
	}
	if f, s := deviation(New(Options{})); f != 0 || math.Abs(s-rateUnknown) > 1e-12 {
		t.Errorf("cold: %v ± %v", f, s)
	}
	if f, s := deviation(New(Options{Frequency: 30e-6, Skew: 1e-9})); f != 30e-6 || math.Abs(s-rateDoubt) > 1e-12 {
		t.Errorf("warm: %v ± %v", f, s)
	}
	if f, s := deviation(New(Options{Frequency: 30e-6, Skew: 1e-4})); f != 30e-6 || math.Abs(s-3e-4) > 1e-12 {
		t.Errorf("lukewarm: %v ± %v", f, s)
	}
	d, _, now := hear(Options{Frequency: 30e-6, Skew: 1e-6}, named("a"))
	d.Set(Options{MinSources: 0, DistanceMax: time.Second})
	e := d.Select(now).Estimate
	if f, s := deviation(d); f != e.Frequency || math.Abs(s-max(rateDoubt, 3*e.Skew)) > 1e-12 {
		t.Errorf("after an estimate: %v ± %v", f, s)
	}
	if d.options.MinSources != 1 {
		t.Errorf("min_sources %d", d.options.MinSources)
	}
}

// TestPollSettles: the interval that is wanted settles, and does not go up and down.
func TestPollSettles(t *testing.T) {
	for _, c := range []struct {
		name    string
		w       world
		changes int           // in a day
		last    time.Duration // the longest that it ends with
	}{
		{"wan", wan(), 20, 32 * time.Second},
		{"loss of 55 %", wan().with(func(w *world) { w.loss = 0.55 }), 40, 32 * time.Second},
		{"lan", wan().with(func(w *world) { w.way, w.jitter = 100e-6, uniform(50e-6) }), 10, 16 * time.Second},
		{"walks 1e-7", wan().with(func(w *world) { w.walk = 1e-7 }), 10, 16 * time.Second},
		{"exponential", wan().with(func(w *world) { w.jitter = exponential(0.5e-3) }), 100, 512 * time.Second},
		{"a crystal in an oven", wan().with(func(w *world) { w.swing, w.walk = 0, 1e-12 }), 20, 1024 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachSeed(func(seed uint64) {
				w := c.w
				w.seed, w.hours, w.every, w.pollMax = seed, 24, 60, 1024*time.Second
				f := w.run(t, New(Options{DistanceMax: time.Second}))
				if f.changes > c.changes || f.last > c.last {
					t.Errorf("seed %d: %d changes (limit %d), in the end %v (limit %v)", seed, f.changes, c.changes, f.last, c.last)
				}
				t.Logf("seed %d: %d changes in %d polls, %v in the end", seed, f.changes, f.polls, f.last)
			})
		})
	}
}

// TestPollWanted: a surprise is followed soon by another poll, a lost one does not make the
// interval longer, and several
// samples in a row must want another one.
func TestPollWanted(t *testing.T) {
	d, ids, now := hear(Options{DistanceMax: time.Hour}, named("a"))
	d.sources[0].leaning = 0
	add := func(gap, wrong time.Duration) time.Duration {
		now += gap
		return d.Add(ids[0], Sample{Local: now, Remote: era + int64(now) + int64(wrong), Delay: 10 * ms, Stratum: 1})
	}
	if got := add(testPoll, 0); got != testPoll {
		t.Errorf("%v is wanted", got)
	}
	d.Reach(ids[0], 0b10)
	d.Reach(ids[0], 0b101)
	if got := add(2*testPoll, 0); got != testPoll {
		t.Errorf("after a loss %v is wanted", got)
	}
	d.Reach(ids[0], 0b1011)
	if got := add(2*testPoll, 0); got != 2*testPoll {
		t.Errorf("with a longer interval %v is wanted", got)
	}
	for range surprisesMax {
		if got := add(testPoll, time.Hour); got != testPoll/2 {
			t.Errorf("after a surprise %v is wanted", got)
		}
	}
	shorter := 0
	for range 2*leaningMax + 1 {
		switch got := add(testPoll, time.Hour); got {
		case testPoll / 2:
			shorter++
		case testPoll:
		default:
			t.Errorf("after a new start %v is wanted", got)
		}
	}
	if shorter < 1 || shorter > 3 {
		t.Errorf("a shorter interval is wanted %d times in %d samples", shorter, 2*leaningMax+1)
	}
}
