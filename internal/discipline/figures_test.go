package discipline

import (
	"testing"
	"time"
)

// wan is a good line: 10 ± 0.5 ms each way, and a machine whose rate swings by 1 ppm a day.
func wan() world {
	return world{rate: 37e-6, swing: 1e-6, way: 10e-3, jitter: uniform(0.5e-3), loss: 0.02}
}

func (w world) with(f func(*world)) world {
	f(&w)
	return w
}

// TestFigures holds the estimate of one source to limits on its rms error over a day; the
// essay in filter.go quotes them. Each limit is what the worst of the seeds 1 to 20 had and a
// tenth.
func TestFigures(t *testing.T) {
	slow := func(w *world) { w.poll = 64 * time.Second }
	for _, c := range []struct {
		name   string
		w      world
		rms    float64 // µs
		bound  float64 // ms, median
		synced float64 // s
	}{
		{"wan", wan(), 65, 10.1, 600},
		{"wan at 64 s", wan().with(slow), 105, 10.3, 1200},
		{"normal", wan().with(func(w *world) { w.jitter = normal(0.5e-3) }), 105, 10.2, 600},
		{"normal at 64 s", wan().with(func(w *world) { slow(w); w.jitter = normal(0.5e-3) }), 185, 10.3, 7200},
		{"exponential", wan().with(func(w *world) { w.jitter = exponential(0.5e-3) }), 75, 10.6, 600},
		{"exponential at 64 s", wan().with(func(w *world) { slow(w); w.jitter = exponential(0.5e-3) }), 85, 10.6, 1200},
		{"loss of 55 %", wan().with(func(w *world) { w.loss = 0.55 }), 80, 10.2, 1200},
		{"lan", wan().with(func(w *world) { w.way, w.jitter = 100e-6, uniform(50e-6) }), 8, 0.13, 60},
		{"lan at 64 s", wan().with(func(w *world) { slow(w); w.way, w.jitter = 100e-6, uniform(50e-6) }), 15, 0.16, 60},
		{"wander 1e-8", wan().with(func(w *world) { w.swing, w.walk = 0, 1e-8 }), 75, 10.3, 600},
		{"wander 1e-7", wan().with(func(w *world) { w.swing, w.walk = 0, 1e-7 }), 125, 10.3, 600},
		{"jitter 0.1 s", wan().with(func(w *world) { w.way, w.jitter = 0.1, uniform(0.1) }), 9500, 90, 86400},
		{"rate 5 %", wan().with(func(w *world) { w.rate = 0.05 }), 65, 10.2, 600},
		{"rate -100 ppm", wan().with(func(w *world) { w.rate = -100e-6 }), 65, 10.2, 600},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var rms, synced []float64
			eachSeed(func(seed uint64) {
				w := c.w
				w.seed, w.hours, w.every = seed, 24, 5
				f := w.run(t, New(Options{DistanceMax: time.Second}))
				rms, synced = append(rms, f.rms*1e6), append(synced, f.synced)
				if f.rms*1e6 > c.rms || f.bound*1e3 > c.bound || f.synced > c.synced || f.violations > 0 {
					t.Errorf("seed %d: rms %.1f µs (limit %v), bound %.3f ms (%v), above a millisecond until %v s (%v), %d violations, first at %s",
						seed, f.rms*1e6, c.rms, f.bound*1e3, c.bound, f.synced, c.synced, f.violations, f.first)
				}
			})
			t.Logf("rms median %.1f worst %.1f µs; above a millisecond until %v s at the latest", median(rms), rms[len(rms)-1], maxOf(synced))
		})
	}
}

func maxOf(values []float64) float64 {
	most := values[0]
	for _, v := range values {
		most = max(most, v)
	}
	return most
}
