package discipline

import (
	"math"
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
		{"wan at 64 s", wan().with(slow), 80, 10.3, 1200},
		{"normal", wan().with(func(w *world) { w.jitter = normal(0.5e-3) }), 97, 10.2, 600},
		{"normal at 64 s", wan().with(func(w *world) { slow(w); w.jitter = normal(0.5e-3) }), 136, 10.3, 7200},
		{"exponential", wan().with(func(w *world) { w.jitter = exponential(0.5e-3) }), 58, 10.6, 600},
		{"exponential at 64 s", wan().with(func(w *world) { slow(w); w.jitter = exponential(0.5e-3) }), 63, 10.6, 1200},
		{"loss of 55 %", wan().with(func(w *world) { w.loss = 0.55 }), 61, 10.2, 1200},
		{"lan", wan().with(func(w *world) { w.way, w.jitter = 100e-6, uniform(50e-6) }), 6.3, 0.13, 60},
		{"lan at 64 s", wan().with(func(w *world) { slow(w); w.way, w.jitter = 100e-6, uniform(50e-6) }), 11.3, 0.16, 60},
		{"wander 1e-8", wan().with(func(w *world) { w.swing, w.walk = 0, 1e-8 }), 69, 10.3, 600},
		{"wander 1e-7", wan().with(func(w *world) { w.swing, w.walk = 0, 1e-7 }), 118, 10.3, 600},
		{"begins to swing", wan().with(func(w *world) {
			w.swing, w.way, w.jitter = 0, 100e-6, uniform(50e-6)
			w.drift = func(at float64) float64 { // by 0.5 ppm an hour, after half a day in which it was still
				if at < 12*3600 {
					return 0
				}
				return 0.5e-6 * math.Sin(2*math.Pi*at/3600)
			}
		}), 9.5, 0.14, 60},
		{"jitter 0.1 s", wan().with(func(w *world) { w.way, w.jitter = 0.1, uniform(0.1) }), 7600, 90, 86400},
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

// TestOutage holds the estimate to limits while nobody is heard for two hours of a day, on an
// oscillator whose rate goes on changing; the essay in filter.go quotes them. Each limit is what
// the worst of the seeds 1 to 20 had and a tenth.
func TestOutage(t *testing.T) {
	day := wan().with(func(w *world) { w.swing, w.loss, w.stop, w.back = 2e-6, 0.01, 11*3600, 13*3600 })
	for _, c := range []struct {
		name  string
		w     world
		worst float64 // ms
		bound float64 // ms, at the worst
	}{
		{"swings by 2 ppm", day, 3.4, 62},
		{"after an hour", day.with(func(w *world) { w.stop, w.back = 1*3600, 3*3600 }), 4.8, 67},
		{"at the top", day.with(func(w *world) { w.stop, w.back = 5*3600, 7*3600 }), 2, 45},
		{"swings by 10 ppm", day.with(func(w *world) { w.swing = 10e-6 }), 9.4, 139},
		{"lan", day.with(func(w *world) { w.way, w.jitter = 100e-6, uniform(50e-6) }), 2.4, 29},
		{"still", day.with(func(w *world) { w.swing = 0 }), 0.21, 20},
		{"walks 1e-9", day.with(func(w *world) { w.swing, w.walk = 0, 1e-9 }), 1.2, 25},
		{"walks 1e-8", day.with(func(w *world) { w.swing, w.walk = 0, 1e-8 }), 5, 60},
		{"the trend ends with the network", day.with(func(w *world) {
			w.swing, w.drift = 0, func(at float64) float64 { return 1.5e-10 * min(at, w.stop) }
		}), 4.7, 54},
		{"the trend begins with it", day.with(func(w *world) {
			w.swing, w.drift = 0, func(at float64) float64 { return 1.5e-10 * max(at-w.stop, 0) }
		}), 4.5, 38},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var worst, bounds []float64
			eachSeed(func(seed uint64) {
				w := c.w
				w.seed, w.hours, w.every = seed, 14, 5
				f := w.run(t, New(Options{DistanceMax: time.Second}))
				worst, bounds = append(worst, f.worst*1e3), append(bounds, f.boundWorst*1e3)
				if f.worst*1e3 > c.worst || f.boundWorst*1e3 > c.bound || f.violations > 0 {
					t.Errorf("seed %d: worst %.2f ms (limit %v), bound up to %.1f ms (%v), %d violations, first at %s",
						seed, f.worst*1e3, c.worst, f.boundWorst*1e3, c.bound, f.violations, f.first)
				}
			})
			t.Logf("%s: worst median %.2f, most %.2f ms; bound up to %.1f ms", c.name, median(worst), worst[len(worst)-1], maxOf(bounds))
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
