package discipline

// The intersection: of n intervals, each of which should hold the truth, which points do most
// of them agree on? It is the algorithm of Marzullo as RFC 5905 has it: assume that none is
// wrong, look for the part that all share, and where there is none assume one more to be
// wrong, as long as those are a minority. An interval whose middle lies outside what is found
// is a falseticker. The loop and its end are those of the RFC's appendix, not of its step 5.
// Source: RFC 5905, section 11.2.1 and appendix A.5.5.1.

import (
	"math"
	"slices"
)

// sourcesUsual is how many sources there are mostly: more take an allocation each time.
const sourcesUsual = 16

// Interval is a stretch of offsets that should hold the truth: seconds, Low <= High.
type Interval struct {
	Low, High float64
}

func (i Interval) middle() float64 { return i.Low + (i.High-i.Low)/2 }

// proper reports whether both ends are numbers, and in order.
func (i Interval) proper() bool { return i.Low <= i.High && i.High-i.Low <= math.MaxFloat64 }

// Intersection is what a majority of intervals agrees on.
type Intersection struct {
	Interval
	// Truechimers tells of each interval whether its middle lies within.
	Truechimers []bool
	// Count is the number of truechimers.
	Count int
}

// Intersect returns what a majority of the intervals agrees on; ok is false where there is no
// such majority.
func Intersect(intervals []Interval) (found Intersection, ok bool) {
	n := len(intervals)
	var room [2 * sourcesUsual]float64 // spares allocations
	lows, highs := room[:0:sourcesUsual], room[sourcesUsual:sourcesUsual]
	for _, interval := range intervals {
		// What is no interval holds no point: it is one of those that are wrong.
		if interval.proper() {
			lows, highs = append(lows, interval.Low), append(highs, interval.High)
		}
	}
	slices.Sort(lows)
	slices.Sort(highs)
	for allow := 0; 2*allow < n; allow++ {
		low, high, shared := share(lows, highs, n-allow)
		if !shared {
			continue
		}
		truechimers := make([]bool, n)
		count := 0
		for i := range intervals {
			if m := intervals[i].middle(); low <= m && m <= high && intervals[i].proper() {
				truechimers[i] = true
				count++
			}
		}
		if n-count <= allow {
			return Intersection{Interval{low, high}, truechimers, count}, true
		}
	}
	return Intersection{}, false
}

// share returns the lowest and the highest point that at least need of the intervals hold,
// whose sorted ends are given.
func share(lows, highs []float64, need int) (low, high float64, ok bool) {
	// At the i-th lowest low, i+1 intervals have begun; those have ended whose high is below.
	found := false
	for i, ended := need-1, 0; i < len(lows); i++ {
		for ended < len(highs) && highs[ended] < lows[i] {
			ended++
		}
		if i+1-ended >= need {
			low, found = lows[i], true
			break
		}
	}
	if !found {
		return 0, 0, false
	}
	for i, begun := len(highs)-need, len(lows); i >= 0; i-- {
		for begun > 0 && lows[begun-1] > highs[i] {
			begun--
		}
		if begun-i >= need {
			return low, highs[i], true
		}
	}
	return 0, 0, false // cannot be: a point was found
}
