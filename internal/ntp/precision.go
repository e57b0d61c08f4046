package ntp

import (
	"math"
	"time"
)

// Precision is the resolution of a clock as log2 seconds: −20 is about 1 µs,
// −29 about 2 ns.
type Precision int8

// precisionReads is how many pairs of readings MeasurePrecision takes. Most
// pairs are undisturbed; a hundred make it certain that one is.
const precisionReads = 100

// PrecisionOf returns the precision of a clock that resolves d: the least
// power of two that is not below d. Zero and below count as one nanosecond,
// the finest that our clocks are read in.
func PrecisionOf(d time.Duration) Precision {
	sec := math.Max(float64(d), 1) / nsPerSecond
	frac, exp := math.Frexp(sec) // sec = frac × 2^exp, frac in [0.5, 1)
	if frac == 0.5 {
		exp--
	}
	return Precision(exp)
}

// MeasurePrecision returns the precision of the clock that read returns in
// nanoseconds: the least step that two readings in a row show, and so the
// larger of its resolution and the time that it takes to be read. A clock that
// never moves while it is watched counts as one second.
// Source: RFC 5905, section 7.3, precision.
func MeasurePrecision(read func() int64) Precision {
	least := int64(nsPerSecond)
	last := read()
	for range precisionReads {
		now := read()
		for tries := 0; now == last && tries < precisionReads; tries++ {
			now = read()
		}
		if step := now - last; step > 0 {
			least = min(least, step)
		}
		last = now
	}
	return PrecisionOf(time.Duration(least))
}

// Duration returns the precision as a span, rounded up to a nanosecond. Beyond
// 2^33 s it saturates there, the last power of two that a Duration holds.
func (p Precision) Duration() time.Duration {
	switch {
	case p >= 0:
		return time.Second << min(p, 33)
	case p <= -30:
		return 1
	}
	return (time.Second + 1<<-p - 1) >> -p
}

// noise returns a mask of the fraction's bits that lie below the precision: none
// at 2^-32 s and finer, all of them at 1 s and coarser. The seconds are never
// among them: a clock that is not good to a second still counts them.
func (p Precision) noise() Timestamp {
	return 1<<min(max(int(p)+32, 0), 32) - 1
}
