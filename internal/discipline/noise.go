package discipline

import (
	"math"
	"slices"
)

const (
	// noiseSamples is how many samples the noise is guessed for, before it is learnt.
	noiseSamples = 8
	// noiseMemory is how fast the regression forgets, per sample: over a few hundred.
	noiseMemory = 0.995
	// noiseFloor is the least standard deviation of a sample: no network and no kernel
	// stamps better than this, seconds.
	noiseFloor = 1e-6
	// excessShareMin keeps a sample that has waited from ever counting as much as one that
	// has not: the least b.
	excessShareMin = 1e-4
	// spreadShareMin is the least variance of a typical sample, as a share of what the spread
	// of the delays calls for.
	spreadShareMin = 0.5
	// spreadShareFew is how much more it is with one sample: innovations teach little of the
	// noise as long as the rate is uncertain.
	spreadShareFew = 8
)

// noise learns the variance of a sample from its delay: a + b·excess², where excess is how
// much the delay is above the least of the last samples.
type noise struct {
	samples int
	a, b    float64
	spread  float64 // standard deviation of the delays, halved, seconds
	// Sums of the weighted regression of the squared innovation y over u = excess².
	w, wu, wuu, wy, wuy float64
}

// of returns the variance of a sample with that delay and excess over the least, in a network
// where half of the samples have less than the median excess. All in seconds.
func (n *noise) of(delay, excess, median float64) float64 {
	// A guess: jitter in proportion to the way, and uniform both ways. It fades as samples
	// come: a few that agree by chance must not be trusted to the microsecond.
	guess := 5*noiseFloor + math.Max(delay, delay-excess+median)/50
	guess = guess*guess + (median*median+excess*excess)/12
	if n.samples < noiseSamples {
		return guess
	}
	variance := math.Max(n.a, noiseFloor*noiseFloor) + math.Max(n.b, excessShareMin)*excess*excess
	share := spreadShareMin + spreadShareFew/float64(n.samples)
	variance += math.Max(0, share*n.spread*n.spread-n.a-n.b*median*median)
	return math.Max(variance, guess*noiseSamples/float64(n.samples))
}

// learn takes the innovation of a sample, which the filter expected with the variance
// expected, and to which the noise adds the variance of.
func (n *noise) learn(innovation, expected, variance, excess float64) {
	n.samples++
	u, y := excess*excess, innovation*innovation-expected
	weight := 1 / ((variance + expected) * (variance + expected))
	n.w = noiseMemory*n.w + weight
	n.wu = noiseMemory*n.wu + weight*u
	n.wuu = noiseMemory*n.wuu + weight*u*u
	n.wy = noiseMemory*n.wy + weight*y
	n.wuy = noiseMemory*n.wuy + weight*u*y
	a, b := n.wy/n.w, 0.0
	// Where all samples wait equally long nothing can be learnt of b: det is rounding.
	if det := n.w*n.wuu - n.wu*n.wu; det > 1e-9*n.w*n.wuu {
		a, b = (n.wy*n.wuu-n.wuy*n.wu)/det, (n.w*n.wuy-n.wu*n.wy)/det
	}
	// Neither part can be negative: where one would be, the other explains all.
	switch {
	case a < 0 && n.wuu > 0:
		a, b = 0, n.wuy/n.wuu
	case b < 0:
		a, b = n.wy/n.w, 0
	}
	n.a, n.b = math.Max(a, 0), math.Max(b, 0)
}

// deviation is the standard deviation of a typical sample.
func (n *noise) deviation(delay, median float64) float64 {
	return math.Sqrt(n.of(delay, median, median))
}

// median returns the middle of the values, which it sorts.
func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
