package compliance

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// The distribution equals what is computed from all values, quantiles up to a 64th.
func TestDistributionTwin(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var values []int64
		var d, other Distribution
		for range 1 + r.IntN(500) {
			v := int64(math.Exp(r.Float64() * 25)) // to 72 s
			if r.IntN(2) == 0 {
				v = -v
			}
			values = append(values, v)
			if r.IntN(2) == 0 {
				d.Add(v, 1)
			} else {
				other.Add(v, 1)
			}
		}
		other = DistributionOf(other.Proto())
		d.Merge(&other)
		var sum int64
		var squares float64
		abs := make([]int64, len(values))
		for i, v := range values {
			sum += v
			squares += float64(v) * float64(v)
			abs[i] = max(v, -v)
		}
		slices.Sort(abs)
		n := float64(len(values))
		mean := float64(sum) / n
		if d.Count != uint64(len(values)) || d.Min != slices.Min(values) || d.Max != slices.Max(values) || d.Sum != sum {
			t.Fatalf("seed %d: %+v of %v", seed, d, values)
		}
		if sd := math.Sqrt(squares/n - mean*mean); math.Abs(d.SD()-sd) > 1e-6*(sd+1) || d.Mean() != mean {
			t.Fatalf("seed %d: mean %v, sd %v, want %v, %v", seed, d.Mean(), d.SD(), mean, sd)
		}
		for _, q := range []float64{0, 0.5, 0.99, 0.999, 1} {
			exact := abs[max(int(math.Ceil(q*n)), 1)-1]
			if got := d.Quantile(q); got < exact || float64(got) > float64(exact)*(1+1./64)+1 {
				t.Fatalf("seed %d: quantile %v is %d, of the values %d", seed, q, got, exact)
			}
		}
	}
}

// Every value is in the bucket whose edges hold it, and buckets are as narrow as promised.
func TestBuckets(t *testing.T) {
	for _, v := range []int64{0, 1, 63, 64, 65, 127, 128, 129, 130, 1e3, 1e6, 1e9, math.MaxInt64 - 1, math.MaxInt64, math.MinInt64, -5} {
		b := bucketOf(v)
		abs := uint64(v)
		if v < 0 {
			abs = -abs
		}
		upper := uint64(upperEdge(b))
		if v != math.MinInt64 && upper < abs {
			t.Errorf("%d is above the edge %d of bucket %d", v, upper, b)
		}
		if b > 0 && uint64(upperEdge(b-1)) >= abs {
			t.Errorf("%d is not above the edge %d of the bucket before", v, upperEdge(b-1))
		}
	}
}

func TestDistributionEmpty(t *testing.T) {
	var d Distribution
	if d.Mean() != 0 || d.SD() != 0 || d.Quantile(0.5) != 0 || d.Proto() != nil {
		t.Error("an empty distribution has figures")
	}
	empty := DistributionOf(nil)
	d.Merge(&empty)
	if !cmp.Equal(d, Distribution{}, cmpopts.EquateComparable(), cmp.AllowUnexported(Distribution{})) {
		t.Errorf("merged with nothing: %+v", d)
	}
}
