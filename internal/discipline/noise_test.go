package discipline

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestNoiseLearns: in each network a and b become what they are there. The filter is taken to
// be perfect, so that innovations are errors.
func TestNoiseLearns(t *testing.T) {
	const half = 0.5e-3
	for _, c := range []struct {
		name     string
		exchange func(*rand.Rand) (out, back, hidden float64)
		a, b     [2]float64 // limits
	}{
		// Who has waited as long as can be has waited on both ways, and is right: b is 0, and a
		// is half²/24.
		{"uniform both ways", func(r *rand.Rand) (float64, float64, float64) { return half * r.Float64(), half * r.Float64(), 0 }, [2]float64{0.85e-8, 1.35e-8}, [2]float64{0, 0.005}},
		// What has waited for e in all is wrong by anything within ± e/2: b is 1/12.
		{"queues on one way", func(r *rand.Rand) (float64, float64, float64) { return half * r.ExpFloat64(), 0, 0 }, [2]float64{0, 1e-12}, [2]float64{0.2499, 0.2501}},
		{"exponential both ways", func(r *rand.Rand) (float64, float64, float64) {
			return half * r.ExpFloat64(), half * r.ExpFloat64(), 0
		}, [2]float64{0, 2e-8}, [2]float64{0.06, 0.1}},
		{"hidden", func(r *rand.Rand) (float64, float64, float64) {
			return half * r.Float64(), half * r.Float64(), 3 * half * r.NormFloat64()
		}, [2]float64{1.2e-6, 3.4e-6}, [2]float64{0, 2}},
		{"hidden, and the delay is even", func(r *rand.Rand) (float64, float64, float64) { return 0, 0, half * r.NormFloat64() }, [2]float64{2e-7, 3e-7}, [2]float64{0, 0}},
		{"even in size, and some wait", func(r *rand.Rand) (float64, float64, float64) { return half, half, half * r.NormFloat64() }, [2]float64{2e-7, 3.1e-7}, [2]float64{0, 0.3}},
	} {
		eachSeed(func(seed uint64) {
			r := rand.New(rand.NewPCG(seed, 5))
			var n noise
			for range 4000 {
				out, back, hidden := c.exchange(r)
				excess := out + back
				n.learn((out-back)/2+hidden, 0, n.of(20e-3, excess, half), excess)
				if v := n.of(20e-3, excess, half); !(v >= noiseFloor*noiseFloor) || v > 1 {
					t.Fatalf("%s: seed %d: variance %v of %+v", c.name, seed, v, n)
				}
			}
			if n.a < c.a[0] || n.a > c.a[1] || n.b < c.b[0] || n.b > c.b[1] {
				t.Errorf("%s: seed %d: a %v, b %v, want %v and %v", c.name, seed, n.a, n.b, c.a, c.b)
			}
		})
	}
}

// TestNoiseExpected: what the filter did not know is not taken for noise.
func TestNoiseExpected(t *testing.T) {
	r := rand.New(rand.NewPCG(*seedFlag, 6))
	var n noise
	for range 4000 {
		n.learn(r.NormFloat64()*5e-4, 16e-8, n.of(20e-3, 0, 0), 0)
	}
	if n.a < 6e-8 || n.a > 12e-8 {
		t.Errorf("a %v, want 9e-8", n.a)
	}
	for range 4000 {
		n.learn(r.NormFloat64()*3e-4, 16e-8, n.of(20e-3, 0, 0), 0)
	}
	if n.a != 0 {
		t.Errorf("a %v, and the filter expected more than there was", n.a)
	}
}

// TestNoiseFloors: the variance of a sample is never below what stamps, waiting and the spread
// of the delays call for.
func TestNoiseFloors(t *testing.T) {
	const many = 1 << 60 // of the guess nothing is left
	n := noise{samples: many}
	if got := n.of(1, 0, 0); got != noiseFloor*noiseFloor {
		t.Errorf("without waiting %v", got)
	}
	if got, want := n.of(1, 0.1, 0), noiseFloor*noiseFloor+excessShareMin*0.01; math.Abs(got-want) > 1e-15 {
		t.Errorf("with waiting %v, want %v", got, want)
	}
	n.spread = 1e-3
	if got, want := n.of(1, 0, 0), 0.5e-6+noiseFloor*noiseFloor; math.Abs(got-want) > 1e-12 {
		t.Errorf("with a spread %v, want %v", got, want)
	}
	n.samples = 32
	if got, want := n.of(0, 0, 0), 0.75e-6+noiseFloor*noiseFloor; math.Abs(got-want) > 1e-12 {
		t.Errorf("with a spread and few samples %v, want %v", got, want)
	}
	n.samples, n.a = many, 1e-6
	if got := n.of(1, 0, 0); got != 1e-6 {
		t.Errorf("what is learnt is enough, and yet %v", got)
	}
	n.a, n.b = 0, 1
	if got := n.of(1, 0, 1e-3); got != noiseFloor*noiseFloor {
		t.Errorf("what is learnt of waiting is enough, and yet %v", got)
	}
	// The guess fades: it is an eighth of itself after as many times the samples.
	n = noise{samples: 8 * noiseSamples}
	if got, want := n.of(20e-3, 0, 0), 405e-6*405e-6/8; math.Abs(got-want) > 1e-12 {
		t.Errorf("a guess that has faded %v, want %v", got, want)
	}
	// As long as it is a guess, it is in proportion to the way, and never by the luck of one.
	n = noise{}
	if got, want := n.of(20e-3, 0, 0), 405e-6*405e-6; math.Abs(got-want) > 1e-12 {
		t.Errorf("a guess of %v, want %v", got, want)
	}
	if got, want := n.of(20e-3, 0, 100e-3), math.Pow(5e-6+0.120/50, 2)+0.01/12; math.Abs(got-want) > 1e-9 {
		t.Errorf("a lucky sample %v, want %v", got, want)
	}
	if got, want := n.of(20e-3, 12e-3, 0), 405e-6*405e-6+12e-6; math.Abs(got-want) > 1e-12 {
		t.Errorf("one that waited %v, want %v", got, want)
	}
	if got := median([]float64{3, 1, 2}); got != 2 {
		t.Errorf("median %v", got)
	}
}
