package sim

import "time"

// LeapSecond is a leap second that truly happens.
type LeapSecond struct {
	At time.Time // the UTC midnight that it comes before
	By int       // 1: inserted, −1: deleted
}

// truth is the relation of true time to UTC. It knows one leap second at the most, and is
// not made of the code that it judges.
type truth struct {
	offset int64 // TAI − UTC before the leap second, nanoseconds
	leapAt int64 // Unix time of the midnight after it; 0: there is none
	by     int64 // nanoseconds
}

// taiOffset is TAI − UTC since 2017-01-01.
const taiOffset = 37 * time.Second

func newTruth(site *Site) truth {
	t := truth{offset: int64(taiOffset)}
	if l := site.Leap; l != nil {
		t.leapAt, t.by = l.At.UnixNano(), int64(l.By)*int64(time.Second)
	}
	return t
}

// utc returns Unix time at true time t. An inserted second repeats the one before it.
func (t *truth) utc(tai int64) int64 {
	ns := tai - t.offset
	if t.leapAt != 0 && ns >= t.leapAt+min(t.by, 0) {
		// A deleted second is skipped where it would begin; an inserted one begins where
		// midnight would be without it.
		ns -= t.by
	}
	return ns
}

// tai returns true time at a Unix time, which is not one of a repeated second.
func (t *truth) tai(utc int64) int64 {
	if t.leapAt != 0 && utc >= t.leapAt {
		utc += t.by
	}
	return utc + t.offset
}

// announced tells which leap second ends the UTC day of true time t, if one does.
func (t *truth) announced(tai int64) int {
	left := t.untilLeap(tai)
	if t.leapAt == 0 || left <= 0 || left > int64(24*time.Hour) {
		return 0
	}
	return int(t.by / int64(time.Second))
}

// untilLeap is how long it takes from true time t until UTC is as it will be after the leap
// second; negative after it.
func (t *truth) untilLeap(tai int64) int64 { return t.leapAt + t.by + t.offset - tai }

// smeared returns the UTC of a server that spreads the leap second evenly over the 24 hours
// from noon to noon around it.
func (t *truth) smeared(tai int64) int64 {
	const half = 12 * time.Hour
	left := t.untilLeap(tai)
	switch {
	case t.leapAt == 0 || left >= int64(half):
		return tai - t.offset
	case left <= -int64(half):
		return t.utc(tai)
	}
	done := float64(int64(half)-left) / float64(2*half)
	return tai - t.offset - int64(done*float64(t.by))
}
