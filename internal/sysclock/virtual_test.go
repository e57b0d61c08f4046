package sysclock

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"
)

func newVirtualBench() (*Virtual, *fakeSystem) {
	s := newFakeSystem()
	return NewVirtual(s), s
}

func shows(t *testing.T, v *Virtual) int64 {
	t.Helper()
	_, now, err := v.Read()
	must(t, err)
	return now
}

func TestVirtual(t *testing.T) {
	v, s := newVirtualBench()
	start := s.reading.Unix
	if local, now, err := v.Read(); local != s.reading.Local || now != start || err != nil {
		t.Errorf("it begins with %v, %d, %v", local, now, err)
	}
	s.step(time.Hour) // the wall clock is another clock
	s.pass(time.Second)
	if got := shows(t, v) - start; got != int64(time.Second) {
		t.Errorf("after a second it has moved by %d", got)
	}
	must(t, v.SetFrequency(100))
	s.pass(10 * time.Second)
	if got := shows(t, v) - start; got != 11_001_000_000 {
		t.Errorf("after ten seconds at 100 ppm it has moved by %d", got)
	}
	must(t, v.Step(-time.Minute))
	if got := shows(t, v) - start; got != 11_001_000_000-int64(time.Minute) {
		t.Errorf("after a step it has moved by %d", got)
	}
	s.suspend(time.Hour)
	if got := shows(t, v) - start; got != 11_001_000_000-int64(time.Minute)+int64(time.Hour)+360_000_000 {
		t.Errorf("after a suspend it has moved by %d", got)
	}
	must(t, v.Tell(Telling{}))
	must(t, v.Close())
}

func TestVirtualRefusesRates(t *testing.T) {
	v, s := newVirtualBench()
	must(t, v.SetFrequency(-v.FrequencyMaxPPM()))
	for _, ppm := range []float64{v.FrequencyMaxPPM() + 0.001, -v.FrequencyMaxPPM() - 0.001, math.NaN(), math.Inf(1)} {
		if v.SetFrequency(ppm) == nil {
			t.Errorf("%v ppm was accepted", ppm)
		}
	}
	before := shows(t, v)
	s.pass(time.Second)
	if got := shows(t, v) - before; got != 900_000_000 {
		t.Errorf("at its slowest, and after refusals, it moved by %d in a second", got)
	}
}

// Against arithmetic without rounding, over days and seasons, with a new rate each second or none for
// a month: right to a nanosecond, and never a jump where the rate changes.
func TestVirtualTwin(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for _, test := range []struct {
		name  string
		lines int
		each  time.Duration
		ppm   float64
	}{
		{"each second for two days", 2 * 86400, time.Second, 100},
		{"each second, fast", 86400, time.Second, 100_000},
		{"each day for a year", 365, 24 * time.Hour, 500},
		{"a season on one line", 2, 100 * 24 * time.Hour, 500},
		{"each microsecond", 100_000, time.Microsecond, 100_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, s := newVirtualBench()
			exact := new(big.Float).SetPrec(200).SetInt64(s.reading.Unix)
			term, million := new(big.Float).SetPrec(200), big.NewFloat(1e6)
			for range test.lines {
				ppm := (random.Float64()*2 - 1) * test.ppm
				before := shows(t, v)
				must(t, v.SetFrequency(ppm))
				if now := shows(t, v); now != before {
					t.Fatalf("seed %d: a new rate moved the clock from %d to %d", seed, before, now)
				}
				d := test.each + time.Duration(random.Int64N(int64(test.each)))
				s.pass(d)
				exact.Add(exact, term.SetInt64(int64(d)))
				exact.Add(exact, term.Quo(term.Mul(term, big.NewFloat(ppm)), million))
				if v.fraction < 0 || v.fraction >= 1 {
					t.Fatalf("seed %d: fraction %v", seed, v.fraction)
				}
			}
			want, _ := exact.Int64()
			if off := shows(t, v) - want; off < -1 || off > 1 {
				t.Errorf("seed %d: off by %d ns", seed, off)
			}
		})
	}
}

// It never goes back, whatever its rate, unless it is stepped.
func TestVirtualMonotonic(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	v, s := newVirtualBench()
	last := shows(t, v)
	for range 100_000 {
		s.pass(time.Duration(random.IntN(20)))
		if random.IntN(3) == 0 {
			must(t, v.SetFrequency((random.Float64()*2-1)*virtualMaxPPM))
		}
		now := shows(t, v)
		if now < last {
			t.Fatalf("seed %d: it went back by %d", seed, last-now)
		}
		last = now
	}
}

// Both clocks are actuators, and the kernel's one is watched.
var (
	_ Actuator = (*Virtual)(nil)
	_ Watched  = (*KernelClock)(nil)
)
