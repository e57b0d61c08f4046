package leap

// Timestamps and intervals must neither repeat nor skip, and Unix time does both. The
// usual way out is to smear: to run slow for a day around the leap, and to be wrong by up to half a
// second without saying so. We keep UTC as it is and smooth what is made of it:
//
//   - up to the leap, smooth time is Unix time;
//   - at the leap, where Unix time jumps by a second, smooth time goes on, and from then on
//     is that second away from it;
//   - that distance shrinks at 500 ppm, and is gone after 2000 s.
//
// What has not been absorbed yet is known to the nanosecond. Whoever states an error bound
// for smooth time adds it, so that the interval contains UTC all the while.
//
// The rate is a compromise. It is within what clocks do anyway when they are slewed, so that
// durations measured in the meantime are no worse than usual; and half an hour is short enough for
// intervals that are a second wide. It begins at the leap and not before: then it needs no
// announcement, and works for a leap second that was learnt of in the moment that it came.

import (
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

const (
	// AbsorbPPM is how much slower or faster than UTC smooth time runs while it absorbs.
	AbsorbPPM = 500
	// absorbDivisor is 1 over the same.
	absorbDivisor = 1_000_000 / AbsorbPPM
	// AbsorbTime is how long it takes.
	AbsorbTime = absorbDivisor * time.Second
)

// Smoothed is smooth time at one instant.
type Smoothed struct {
	Unix       int64         // smooth time, Unix nanoseconds
	Unabsorbed time.Duration // how far it is ahead of UTC; a bound for UTC grows by as much
	Rate       float64       // how much faster than the leap-free scale it runs from here on, as a fraction
}

// Smooth returns smooth time at an instant of the leap-free scale. It never goes back, and of
// two instants that are 2 ns apart or more it is greater at the later.
func (t *Table) Smooth(tai int64) Smoothed {
	i := t.passedTAI(tai)
	s := Smoothed{Unix: tai - int64(t.before(i))*second}
	if i > 0 {
		s.Unabsorbed = unabsorbed(t.step(i-1), time.Duration(tai-t.edge(i-1)))
		s.Rate = rate(s.Unabsorbed)
		s.Unix += int64(s.Unabsorbed)
	}
	return s
}

// unabsorbed returns how far smooth time is ahead of a clock that jumped by step some time ago.
func unabsorbed(step, ago time.Duration) time.Duration {
	if ago >= AbsorbTime { // and so that nothing overflows
		return 0
	}
	return absorb(-step, ago)
}

// absorb returns what is left of some unabsorbed time later.
func absorb(ahead, later time.Duration) time.Duration {
	absorbed := max(0, later) / absorbDivisor
	if ahead < 0 {
		return min(0, ahead+absorbed)
	}
	return max(0, ahead-absorbed)
}

func rate(unabsorbed time.Duration) float64 {
	switch {
	case unabsorbed > 0:
		return -1. / absorbDivisor
	case unabsorbed < 0:
		return 1. / absorbDivisor
	default:
		return 0
	}
}

// Mark tells a snapshot which is otherwise complete of the leap seconds around it: tai is the
// leap-free time of its instant. What follows for later instants is UTC's and SmoothOf's.
func (t *Table) Mark(s *clock.Snapshot, tai int64) {
	s.Unabsorbed = t.Smooth(tai).Unabsorbed
	s.LeapAt, s.LeapBy = 0, 0
	i := t.passedTAI(tai)
	if i == len(t.events) || t.edge(i)-tai > day {
		return
	}
	ahead := t.edge(i) - tai
	s.LeapAt = s.Mono() + time.Duration(float64(ahead)/(1+s.Time.Rate))
	s.LeapBy = t.step(i)
}

// SmoothOf returns smooth time as a snapshot that was marked has it, at the monotonic reading
// mono. Its Rate is that to the monotonic clock.
func SmoothOf(s *clock.Snapshot, mono time.Duration) Smoothed {
	ahead := absorb(s.Unabsorbed, mono-s.Mono())
	if s.LeapBy != 0 && mono >= s.LeapAt {
		ahead += absorb(-s.LeapBy, mono-s.LeapAt)
	}
	return Smoothed{Unix: s.UTC(mono) + int64(ahead), Unabsorbed: ahead, Rate: s.Time.Rate + rate(ahead)}
}
