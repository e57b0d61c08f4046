package sim

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func testRandom(seed uint64) *rand.Rand { return stream(seed, 0, 99) }

// TestOscillatorIsExact compares a month of an oscillator, read at all kinds of instants,
// with the product that it should be.
func TestOscillatorIsExact(t *testing.T) {
	const start = int64(1_800_000_000_000_000_000)
	for _, rate := range []float64{0, 37.0123456e-6, -99.7654321e-6, 0.05, -0.0487654321} {
		o := newOscillator(Oscillator{Frequency: rate}, testRandom(1), start)
		r := testRandom(2)
		now, last := int64(0), int64(0)
		for now < int64(30*24*time.Hour) {
			now += r.Int64N(1 << (10 + r.IntN(33)))
			got := o.read(start + now)
			want := float64(now) * rate // the whole nanoseconds are exact
			if math.Abs(float64(got-now)-want) > 2 || got < last {
				t.Fatalf("rate %v: after %d ns it shows %d, after it showed %d; want %.0f more", rate, now, got, last, want)
			}
			last = got
		}
	}
}

// TestOscillatorDoesNotCare demands that what is read does not depend on what else was.
func TestOscillatorDoesNotCare(t *testing.T) {
	options := Oscillator{
		Frequency: 5e-6, Wander: 1e-6, Swing: 1e-6, SwingPeriod: time.Hour,
		Shifts: []Shift{{90 * time.Second, 1e-5}, {200 * time.Second, -1e-5}},
	}
	a := newOscillator(options, testRandom(3), 0)
	b := newOscillator(options, testRandom(3), 0)
	r := testRandom(4)
	for at := int64(0); at < int64(500*time.Second); {
		at += r.Int64N(int64(3 * time.Second))
		for early := at - int64(2*time.Second); early < at && early >= a.cellAt; early += 100_000_007 {
			a.read(early)
		}
		if x, y := a.read(at), b.read(at); x != y {
			t.Fatalf("at %d: %d and %d", at, x, y)
		}
	}
}

// gained returns what an oscillator gains in a stretch of time, as a fraction.
func gained(o *oscillator, from, to time.Duration) float64 {
	before := o.read(int64(from))
	return float64(o.read(int64(to))-before)/float64(to-from) - 1
}

func TestOscillatorWanders(t *testing.T) {
	const wander, seconds, runs = 1e-8, 400, 600
	var sum float64
	for seed := range uint64(runs) {
		o := newOscillator(Oscillator{Wander: wander}, testRandom(seed), 0)
		f := gained(o, (seconds-1)*time.Second, seconds*time.Second)
		sum += f * f
	}
	want := wander * math.Sqrt(seconds)
	if got := math.Sqrt(sum / runs); math.Abs(got/want-1) > 0.1 {
		t.Errorf("standard deviation after %d s: %.3g, want %.3g", seconds, got, want)
	}
}

func TestOscillatorSwings(t *testing.T) {
	o := newOscillator(Oscillator{Frequency: 3e-6, Swing: 1e-6, SwingPeriod: time.Hour}, testRandom(5), 0)
	least, most := math.Inf(1), math.Inf(-1)
	for i := range 120 {
		f := gained(o, time.Duration(i)*time.Minute, time.Duration(i+1)*time.Minute)
		least, most = min(least, f), max(most, f)
	}
	if math.Abs(least-2e-6) > 1e-8 || math.Abs(most-4e-6) > 1e-8 {
		t.Errorf("rate between %.3g and %.3g, want 2e-6 to 4e-6", least, most)
	}
	if a, b := gained(o, 130*time.Minute, 131*time.Minute), gained(o, 160*time.Minute, 161*time.Minute); math.Abs(a+b-6e-6) > 1e-8 {
		t.Errorf("half a period apart: %.3g and %.3g", a, b)
	}
	phases := map[float64]bool{}
	for seed := range uint64(5) {
		phases[newOscillator(Oscillator{}, testRandom(seed), 0).phase] = true
	}
	if len(phases) != 5 {
		t.Error("the phase is not drawn")
	}
}

func TestOscillatorShifts(t *testing.T) {
	o := newOscillator(Oscillator{Frequency: 1e-6, Shifts: []Shift{{10 * time.Second, 2e-6}, {20 * time.Second, -4e-6}}}, testRandom(6), 0)
	for _, stretch := range []struct {
		from, to time.Duration
		want     float64
	}{{0, 10 * time.Second, 1e-6}, {10 * time.Second, 20 * time.Second, 3e-6}, {20 * time.Second, 40 * time.Second, -1e-6}} {
		if got := gained(o, stretch.from, stretch.to); math.Abs(got-stretch.want) > 3e-10 {
			t.Errorf("%v to %v: %.4g, want %.4g", stretch.from, stretch.to, got, stretch.want)
		}
	}
}

func TestOscillatorPauses(t *testing.T) {
	o := newOscillator(Oscillator{Frequency: 0.05}, testRandom(7), 0)
	const from, to = int64(2_300_000_000), int64(9_100_000_000)
	before := o.read(from)
	o.pause(from, true)
	if got := o.read(to - 1); got != before {
		t.Errorf("it went on by %d ns", got-before)
	}
	o.pause(to, false)
	if got := o.read(to) - before; got != 0 {
		t.Errorf("it woke up %d ns later", got)
	}
	if got := o.read(to+1_000_000_000) - before; math.Abs(float64(got-1_050_000_000)) > 1 {
		t.Errorf("a second later it has gone on by %d ns", got)
	}
}

// TestWhen asks when the oscillator will have counted something, and looks then.
func TestWhen(t *testing.T) {
	for _, rate := range []float64{0, 0.05, -0.05, 20e-6} {
		o := newOscillator(Oscillator{Frequency: rate, Wander: 1e-9}, testRandom(8), 0)
		now := int64(0)
		for range 100 {
			now += 1_234_567_890
			want := o.read(now) + 64_000_000_000
			got := newOscillatorAt(o, o.when(want, now))
			if off := got - want; off < -10_000 || off > 10_000 {
				t.Fatalf("rate %v: off by %d ns", rate, off)
			}
		}
		if got := o.when(o.read(now)-5, now); got != now {
			t.Errorf("rate %v: what was is %d ns from now", rate, got-now)
		}
	}
}

// newOscillatorAt reads a copy of an oscillator at a later time.
func newOscillatorAt(o *oscillator, t int64) int64 {
	later := *o
	later.random = testRandom(9)
	return later.read(t)
}
