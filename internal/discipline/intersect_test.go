package discipline

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestIntersect runs the scripts in testdata/intersect. Each line is an interval in
// milliseconds, "low high"; "sources" takes an offset and a distance instead.
func TestIntersect(t *testing.T) {
	datadriven.Walk(t, "testdata/intersect", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var intervals []Interval
			for _, line := range strings.Split(d.Input, "\n") {
				var a, b float64
				if n, _ := fmt.Sscan(line, &a, &b); n != 2 {
					continue
				}
				switch d.Cmd {
				case "intersect":
					intervals = append(intervals, Interval{a, b})
				case "sources":
					intervals = append(intervals, Interval{a - b, a + b})
				default:
					d.Fatalf(t, "unknown command %q", d.Cmd)
				}
			}
			found, ok := Intersect(intervals)
			if !ok {
				return "no majority\n"
			}
			var which []string
			for i, yes := range found.Truechimers {
				if yes {
					which = append(which, fmt.Sprint(i+1))
				}
			}
			return fmt.Sprintf("[%gms %gms] %d of %d: %s\n", round(found.Low), round(found.High), found.Count, len(intervals), strings.Join(which, " "))
		})
	})
}

func round(x float64) float64 { return math.Round(x*1e6) / 1e6 }

// slowIntersect tries every point that is an end of an interval, for every number of liars.
func slowIntersect(intervals []Interval) (low, high float64, truechimers []bool, ok bool) {
	n := len(intervals)
	for liars := 0; 2*liars < n; liars++ {
		var points []float64
		for _, i := range intervals {
			for _, point := range []float64{i.Low, i.High} {
				held := 0
				for _, j := range intervals {
					if j.Low <= point && point <= j.High {
						held++
					}
				}
				if held >= n-liars {
					points = append(points, point)
				}
			}
		}
		if len(points) == 0 {
			continue
		}
		low, high, truechimers = slices.Min(points), slices.Max(points), make([]bool, n)
		outside := 0
		for i, interval := range intervals {
			middle := (interval.Low + interval.High) / 2
			if truechimers[i] = low <= middle && middle <= high; !truechimers[i] {
				outside++
			}
		}
		if outside <= liars {
			return low, high, truechimers, true
		}
	}
	return 0, 0, nil, false
}

// TestIntersectTwin compares Intersect with its slow twin. Small whole numbers make many ties.
func TestIntersectTwin(t *testing.T) {
	r := rand.New(rand.NewPCG(*seedFlag, 7))
	agreed := 0
	for range 50_000 {
		intervals := make([]Interval, r.IntN(8))
		if r.IntN(100) == 0 {
			intervals = make([]Interval, sourcesUsual+r.IntN(5))
		}
		for i := range intervals {
			low := float64(r.IntN(12))
			intervals[i] = Interval{low, low + float64(r.IntN(9))}
		}
		before := slices.Clone(intervals)
		found, ok := Intersect(intervals)
		low, high, truechimers, want := slowIntersect(intervals)
		if ok != want || ok && (found.Low != low || found.High != high || !slices.Equal(found.Truechimers, truechimers)) {
			t.Fatalf("%v: %+v %v, its twin [%v %v] %v %v", intervals, found, ok, low, high, truechimers, want)
		}
		if !slices.Equal(before, intervals) {
			t.Fatalf("%v was changed", before)
		}
		if ok {
			agreed++
			if found.Count != count(truechimers) || 2*found.Count <= len(intervals) {
				t.Fatalf("%v: count %d of %v", intervals, found.Count, truechimers)
			}
		}
	}
	if agreed < 5_000 || agreed > 45_000 {
		t.Errorf("%d cases had a majority: they prove little", agreed)
	}
}

func count(list []bool) (n int) {
	for _, b := range list {
		if b {
			n++
		}
	}
	return n
}

// TestIntersectNoNumber: what is no interval is one of those that are wrong, and does no harm
// to the others.
func TestIntersectNoNumber(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	good := []Interval{{0, 2}, {1, 3}, {0, 3}}
	for _, bad := range []Interval{{nan, nan}, {nan, 1}, {1, nan}, {3, 0}, {inf, -inf}, {-inf, inf}, {-inf, 1}, {1, inf}, {inf, inf}, {-inf, -inf}} {
		for at := range 4 {
			found, ok := Intersect(slices.Insert(slices.Clone(good), at, bad))
			if !ok || found.Count != 3 || found.Truechimers[at] || found.Low != 1 && found.Low != 0 || found.High > 3 {
				t.Errorf("%v at %d: %+v %v", bad, at, found, ok)
			}
		}
		if found, ok := Intersect([]Interval{bad}); ok {
			t.Errorf("%v alone is a majority: %+v", bad, found)
		}
		if found, ok := Intersect([]Interval{bad, bad, {0, 2}}); ok {
			t.Errorf("one of three is a majority, where two are %v: %+v", bad, found)
		}
	}
}
