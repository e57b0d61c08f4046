package load

import (
	"math"
	"math/bits"
	"time"
)

// A histogram that is linear within each power of two: 64 buckets to each, so that a
// bucket is 1/64 of what it holds wide, in the same memory for all durations there
// are. Negative durations have buckets of their own.

const (
	stepBits   = 6
	steps      = 1 << stepBits
	bucketsMax = steps * (64 - stepBits + 1) // below steps one by one, then steps for each further power
)

// histogram counts durations in nanoseconds. The zero histogram is empty.
type histogram struct {
	positive, negative [bucketsMax]uint64 // the negative ones by −1−v, so that none overflows
	n                  uint64
	least, most        int64
	sum                float64
}

// bucketOf returns the bucket of a value that is not negative.
func bucketOf(v uint64) int {
	if v < steps {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - stepBits
	return (shift+1)<<stepBits + int(v>>shift) - steps
}

// bucketFrom returns the least value of a bucket, and how many values it has.
func bucketFrom(i int) (from, width uint64) {
	if i < steps {
		return uint64(i), 1
	}
	shift := i>>stepBits - 1
	return uint64(i&(steps-1)+steps) << shift, 1 << shift
}

// add counts one duration.
func (h *histogram) add(v int64) {
	if v >= 0 {
		h.positive[bucketOf(uint64(v))]++
	} else {
		h.negative[bucketOf(uint64(-1-v))]++
	}
	if h.n == 0 || v < h.least {
		h.least = v
	}
	if h.n == 0 || v > h.most {
		h.most = v
	}
	h.n++
	h.sum += float64(v)
}

// merge adds all that another histogram has counted.
func (h *histogram) merge(other *histogram) {
	if other.n == 0 {
		return
	}
	if h.n == 0 || other.least < h.least {
		h.least = other.least
	}
	if h.n == 0 || other.most > h.most {
		h.most = other.most
	}
	for i := range bucketsMax {
		h.positive[i] += other.positive[i]
		h.negative[i] += other.negative[i]
	}
	h.n += other.n
	h.sum += other.sum
}

// quantile returns the value that the fraction q of all does not exceed, by nearest rank,
// to within half a bucket. It is 0 of an empty histogram, and exact at 0 and 1.
func (h *histogram) quantile(q float64) int64 {
	rank := uint64(math.Ceil(q * float64(h.n)))
	switch {
	case h.n == 0:
		return 0
	case rank <= 1:
		return h.least
	case rank >= h.n:
		return h.most
	}
	var seen uint64
	within := func(v int64) int64 { return min(max(v, h.least), h.most) }
	for i := bucketsMax - 1; i >= 0; i-- {
		if seen += h.negative[i]; seen >= rank {
			from, width := bucketFrom(i)
			return within(-1 - int64(from+(width-1)/2))
		}
	}
	for i := range bucketsMax {
		if seen += h.positive[i]; seen >= rank {
			from, width := bucketFrom(i)
			return within(int64(from + (width-1)/2))
		}
	}
	return h.most
}

// Spread is what a histogram says: how many there were, and how they are spread. A
// percentile is within 1 % of the true one.
type Spread struct {
	Count                             uint64
	Min, P1, P50, P90, P99, P999, Max time.Duration
	Mean                              time.Duration
}

func (h *histogram) spread() Spread {
	at := func(q float64) time.Duration { return time.Duration(h.quantile(q)) }
	s := Spread{Count: h.n, Min: at(0), P1: at(0.01), P50: at(0.5), P90: at(0.9), P99: at(0.99), P999: at(0.999), Max: at(1)}
	if h.n > 0 {
		s.Mean = time.Duration(h.sum / float64(h.n))
	}
	return s
}
