package hlc

import (
	"math"
	"time"
)

// Interval is a stretch of time that contains UTC at the moment it was made, as long as
// the error bound it was made from held. Its ends have logical part 0.
type Interval struct {
	Earliest, Latest Timestamp
}

// NewInterval returns the interval for utc (Unix nanoseconds) known to within bound,
// widened to whole ticks and so that its latest end is not below ts, a timestamp issued
// at that moment. That last rule makes intervals and timestamps agree while a clock
// works off a lead. An end that Unix nanoseconds cannot hold is as far as they reach, and
// a negative bound, which proves nothing, gives both of these.
func NewInterval(utc int64, bound time.Duration, ts Timestamp) Interval {
	low, high := utc-int64(bound), utc+int64(bound)
	if low > utc {
		low = math.MinInt64
	}
	if high < utc {
		high = math.MaxInt64
	}
	latest := CeilUnix(high)
	if ts > latest {
		latest = (ts + logicalMask) &^ logicalMask
	}
	return Interval{Earliest: FromUnix(low), Latest: latest}
}

// Width returns the length of the interval.
func (i Interval) Width() time.Duration { return i.Latest.Sub(i.Earliest) }
