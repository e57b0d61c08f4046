package discipline

import (
	"math"
	"testing"
	"time"
)

// cruel are worlds in which a bound is easily wrong: one way that takes no time at all, so
// that a sample is wrong by all that it can be, queues without end, and a rate that walks as
// no crystal does.
func cruel() map[string]world {
	base := world{rate: -100e-6, swing: 1e-6, way: 1e-5, jitter: exponential(100e-6), loss: 0.02}
	return map[string]world{
		"1 ms":         base.with(func(w *world) { w.way, w.jitter = 1e-3, uniform(0.5e-3) }),
		"lan":          base.with(func(w *world) { w.way, w.jitter = 1e-4, uniform(50e-6) }),
		"lan, queues":  base.with(func(w *world) { w.way = 1e-4 }),
		"no way":       base,
		"wan, walks":   base.with(func(w *world) { w.walk, w.way, w.jitter, w.loss = 1e-8, 1e-2, exponential(2e-3), 0.3 }),
		"walks far":    base.with(func(w *world) { w.walk = 1e-7 }),
		"walks":        base.with(func(w *world) { w.walk, w.swing = 1e-8, 0 }),
		"other way":    base.with(func(w *world) { w.walk, w.change = 1e-8, func(float64) (float64, float64) { return 1e-2, 0 } }),
		"5 %":          base.with(func(w *world) { w.rate = 0.05 }),
		"jitter 0.1 s": base.with(func(w *world) { w.way, w.jitter = 0.1, uniform(0.1) }),
		"burst of ice": base.with(func(w *world) {
			w.drift = func(at float64) float64 { // 2 ppm in ten minutes: somebody opened the door
				return 2e-6 * min(max(at-1800, 0)/600, 1)
			}
		}),
	}
}

// TestBound: the error is never beyond the bound, from the first estimate on.
func TestBound(t *testing.T) {
	for name, c := range cruel() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= 10**seedsFlag; seed++ {
				w := c
				w.seed, w.hours = seed, 1
				if f := w.run(t, New(Options{DistanceMax: time.Second})); f.violations > 0 {
					t.Errorf("seed %d: the error is beyond the bound %d times, by %.1f %% at the most, first at %s", seed, f.violations, f.excess*100, f.first)
				}
			}
		})
	}
}

// TestHoldover: after the last sample the bound goes on to contain the truth, for hours, and
// does not run away.
func TestHoldover(t *testing.T) {
	for _, c := range []struct {
		name  string
		w     world
		limit float64 // of the bound in the end, seconds
	}{
		{"swings", wan(), 0.6},
		{"walks 1e-10", wan().with(func(w *world) { w.swing, w.walk = 0, 1e-10 }), 0.6},
		{"walks 1e-9", wan().with(func(w *world) { w.swing, w.walk = 0, 1e-9 }), 0.6},
		{"walks 1e-8", wan().with(func(w *world) { w.swing, w.walk = 0, 1e-8 }), 0.6},
		{"walks on a lan", wan().with(func(w *world) { w.swing, w.walk, w.way, w.jitter = 0, 1e-9, 1e-4, uniform(50e-6) }), 0.6},
		{"soon", wan().with(func(w *world) { w.stop = 300 }), 20},
		{"queues", wan().with(func(w *world) { w.jitter = exponential(2e-3) }), 0.6},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			worst := 0.0
			for seed := uint64(1); seed <= 10**seedsFlag; seed++ {
				w := c.w
				w.seed, w.hours, w.every = seed, 7, 10
				if w.stop == 0 {
					w.stop = 3 * 3600
				}
				f := w.run(t, New(Options{DistanceMax: time.Hour}))
				e := f.end
				bound := (half(e.RootDelay) + e.RootDispersion).Seconds()
				if f.violations > 0 || bound > c.limit {
					t.Errorf("seed %d: %d violations, first at %s, by %.1f %% at the most; bound in the end %.1f ms", seed, f.violations, f.first, f.excess*100, bound*1e3)
				}
				worst = max(worst, bound)
				if seed == 1 {
					t.Logf("4 h after the last sample: error %.3f ms, bound %.1f ms", (seconds(e.Remote-int64(e.Local))-f.truth)*1e3, bound*1e3)
				}
			}
			t.Logf("largest bound in the end: %.1f ms", worst*1e3)
		})
	}
}

// TestAtTrend: the rate goes on changing, ever more slowly, and the bound reckons with a trend
// that is wrong all the while.
func TestAtTrend(t *testing.T) {
	e := Estimate{Local: time.Hour, Remote: 1_800_000_000_000_000_000, Frequency: 1e-5, Trend: 1e-10, GrowthPPM: 2, Bend: 3e-10}
	const after = 5 * time.Hour
	rate, remote := e.Frequency, 0.0
	for second := range int(after.Seconds()) {
		remote += rate
		rate += e.Trend * math.Exp(-float64(second)/trendTime)
	}
	far := e.At(e.Local + after)
	if off := seconds(far.Remote-e.Remote-int64(after)) - remote; math.Abs(off) > 0.001*(remote-e.Frequency*after.Seconds()) {
		t.Errorf("off by %v s after a trend that made %v", off, remote-e.Frequency*after.Seconds())
	}
	if math.Abs(far.Frequency-rate) > 0.001*(rate-e.Frequency) {
		t.Errorf("rate %v, want %v", far.Frequency, rate)
	}
	// 2 ppm, and 3 × 3e-10 a second for five hours, 16.2 ppm.
	if math.Abs(far.GrowthPPM-math.Hypot(2, 16.2)) > 1e-6 {
		t.Errorf("grows by %v ppm", far.GrowthPPM)
	}
	step := e
	for step.Local < far.Local {
		step = step.At(step.Local + time.Minute)
	}
	if off := step.Remote - far.Remote; off < -500 || off > 500 {
		t.Errorf("minute by minute remote is %d ns away", off)
	}
	if math.Abs(step.Frequency-far.Frequency) > 1e-12 || math.Abs(step.Trend-far.Trend) > 1e-16 {
		t.Errorf("minute by minute the rate is %v with a trend of %v, in one go %v and %v", step.Frequency, step.Trend, far.Frequency, far.Trend)
	}
}

// TestAt: what has become of an estimate does not depend on how often one looks, and never
// shrinks; a look at the past changes nothing.
func TestAt(t *testing.T) {
	e := Estimate{Local: time.Hour, Remote: 1_800_000_000_000_000_000, Frequency: 1e-5, RootDispersion: time.Millisecond, GrowthPPM: 2, Wander: 1e-9}
	if got := e.At(time.Hour - 1); got != e {
		t.Errorf("before its time it is %+v", got)
	}
	far := e.At(3 * time.Hour)
	if want := e.Remote + 2*3600*1e9 + 2*3600*1e4; far.Remote != want {
		t.Errorf("remote %d, want %d", far.Remote, want)
	}
	// 2 ppm over 7200 s is 14.4 ms, and 3 × 1e-9 × 7200^1.5 is 1.8 ms: the root of the sum
	// of the squares, and the millisecond that was there.
	if want := 15_515_500 * time.Nanosecond; (far.RootDispersion - want).Abs() > time.Microsecond {
		t.Errorf("dispersion %v, want %v", far.RootDispersion, want)
	}
	step := e
	for local := e.Local; local < far.Local; local += time.Second {
		next := step.At(local + time.Second)
		if next.RootDispersion <= step.RootDispersion || next.GrowthPPM < step.GrowthPPM {
			t.Fatalf("at %v the bound shrinks", local)
		}
		step = next
	}
	if d := step.Remote - far.Remote; d < -10 || d > 10 {
		t.Errorf("second by second remote is %d ns away", d)
	}
	if step.RootDispersion > far.RootDispersion || step.RootDispersion < far.RootDispersion*9/10 || step.GrowthPPM < far.GrowthPPM*0.999999 {
		t.Errorf("second by second the dispersion is %v and grows by %v, in one go %v and %v", step.RootDispersion, step.GrowthPPM, far.RootDispersion, far.GrowthPPM)
	}
	e.GrowthPPM = 1e9
	if got := e.At(200 * 365 * 24 * time.Hour).RootDispersion; got <= 1<<62 {
		t.Errorf("after two hundred years the dispersion is %v", got)
	}
}
