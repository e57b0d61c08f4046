package compliance

import (
	"math"
	"math/bits"
	"slices"

	"github.com/truechimer/truechimer/internal/rpc"
)

// Distribution is what many spans of time, in nanoseconds, come to: exact count, extremes, sum and
// (to the last digits of a float64) sum of squares, and a histogram of the absolute values, whose
// buckets are a 64th of an octave wide. The zero Distribution is empty. It is not for concurrent use.
type Distribution struct {
	Count    uint64
	Min, Max int64
	Sum      int64
	Squares  float64
	buckets  map[uint32]uint64
}

// subBuckets is how many buckets an octave has.
const subBuckets = 64

// Add adds a value, n times.
func (d *Distribution) Add(v int64, n uint64) {
	if n == 0 {
		return
	}
	if d.Count == 0 {
		d.Min, d.Max, d.buckets = v, v, make(map[uint32]uint64, 1)
	}
	d.Min, d.Max = min(d.Min, v), max(d.Max, v)
	d.Count += n
	d.Sum += v * int64(n)
	d.Squares += float64(v) * float64(v) * float64(n)
	d.buckets[bucketOf(v)] += n
}

// Merge adds all values of another distribution.
func (d *Distribution) Merge(o *Distribution) {
	if o.Count == 0 {
		return
	}
	if d.Count == 0 {
		d.Min, d.Max, d.buckets = o.Min, o.Max, make(map[uint32]uint64, len(o.buckets))
	}
	d.Min, d.Max = min(d.Min, o.Min), max(d.Max, o.Max)
	d.Count += o.Count
	d.Sum += o.Sum
	d.Squares += o.Squares
	for b, n := range o.buckets {
		d.buckets[b] += n
	}
}

// Mean returns the mean, 0 where there is no value.
func (d *Distribution) Mean() float64 {
	if d.Count == 0 {
		return 0
	}
	return float64(d.Sum) / float64(d.Count)
}

// SD returns the standard deviation of the values as a whole, 0 where there is none.
func (d *Distribution) SD() float64 {
	if d.Count == 0 {
		return 0
	}
	mean := d.Mean()
	return math.Sqrt(max(0, d.Squares/float64(d.Count)-mean*mean))
}

// Quantile returns a value that a share q, 0 to 1, of the absolute values is not above: the
// upper edge of its bucket, at the most the greatest. So it is never too small, and at the most
// a 64th too large.
func (d *Distribution) Quantile(q float64) int64 {
	if d.Count == 0 {
		return 0
	}
	rank := min(max(uint64(math.Ceil(q*float64(d.Count))), 1), d.Count)
	greatest := max(d.Max, -d.Min)
	for _, b := range d.order() {
		if n := d.buckets[b]; n < rank {
			rank -= n
			continue
		}
		return min(upperEdge(b), greatest)
	}
	return greatest
}

// order returns the numbers of the buckets that are not empty, the lowest first.
func (d *Distribution) order() []uint32 {
	list := make([]uint32, 0, len(d.buckets))
	for b := range d.buckets {
		list = append(list, b)
	}
	slices.Sort(list)
	return list
}

// bucketOf returns the number of the bucket that a value is in. Values below subBuckets have
// one each; above, an octave has subBuckets of them.
func bucketOf(v int64) uint32 {
	u := uint64(v)
	if v < 0 {
		u = -u
	}
	if u < subBuckets {
		return uint32(u)
	}
	octave := bits.Len64(u) - bits.Len64(subBuckets) // 0 for the first that has subBuckets whole numbers
	return uint32(octave+1)*subBuckets + uint32(u>>octave) - subBuckets
}

// upperEdge returns the greatest absolute value that a bucket holds.
func upperEdge(b uint32) int64 {
	if b < subBuckets {
		return int64(b)
	}
	octave := b/subBuckets - 1
	edge := (uint64(b%subBuckets+subBuckets)+1)<<octave - 1
	return int64(min(edge, math.MaxInt64))
}

// Proto returns the distribution as the journal keeps it; nil where there is no value.
func (d *Distribution) Proto() *rpc.Distribution {
	if d.Count == 0 {
		return nil
	}
	m := &rpc.Distribution{Count: d.Count, MinNs: d.Min, MaxNs: d.Max, SumNs: d.Sum, SumSquares: d.Squares}
	last := uint32(0)
	for _, b := range d.order() {
		m.Buckets = append(m.Buckets, b-last, uint32(min(d.buckets[b], math.MaxUint32)))
		last = b
	}
	return m
}

// DistributionOf returns what Proto was called on; of nil, the empty one.
func DistributionOf(m *rpc.Distribution) Distribution {
	if m == nil || m.Count == 0 {
		return Distribution{}
	}
	d := Distribution{
		Count: m.Count, Min: m.MinNs, Max: m.MaxNs, Sum: m.SumNs, Squares: m.SumSquares,
		buckets: make(map[uint32]uint64, len(m.Buckets)/2),
	}
	b := uint32(0)
	for i := 0; i+1 < len(m.Buckets); i += 2 {
		b += m.Buckets[i]
		d.buckets[b] += uint64(m.Buckets[i+1])
	}
	return d
}
