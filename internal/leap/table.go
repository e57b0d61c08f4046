// Package leap knows the leap seconds: when UTC had one more second, or one fewer, and
// what follows for clocks that count seconds since 1970 and have no room for it.
//
// Three scales, each in nanoseconds:
//
//   - UTC as Unix time, which the system clock shows. Its days have 86400 seconds; it does
//     with a leap second what the kernel does. An inserted second repeats 23:59:59: the clock
//     shows the last second of the day twice, and nothing else tells the two apart. A deleted
//     second is skipped: the clock goes from 23:59:58 to 00:00:00.
//   - The leap-free scale, on which every second is one: Unix time plus TAI−UTC. It neither
//     repeats nor skips, so whatever computes with time computes on it. Without a list
//     TAI−UTC counts as 0 until a leap second is announced: the scale is then off by a
//     constant, which cancels.
//   - The smooth scale, for timestamps and intervals: Unix time that absorbs a leap slowly. See
//     Table.Smooth.
//
// The package is pure: it reads no clock and no file.
package leap

import (
	"math"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

const (
	second = int64(time.Second)
	day    = 24 * 3600 * second
)

// AnnouncedAhead is how long before it comes a leap second is announced.
// Source: RFC 5905, section 7.3, has it in the last minute of the month and leaves open
// since when; the last day is what servers keep to.
const AnnouncedAhead = 24 * time.Hour

// Event is one change of TAI−UTC.
type Event struct {
	At     int64 // the midnight at which the leap is over: Unix nanoseconds, the first of a month
	Offset int   // TAI−UTC from then on, seconds: one more than before, or one less
}

// Table is what is known of leap seconds. It is immutable and may be used concurrently.
// The zero Table knows nothing: TAI−UTC is 0.
//
// Times are good from 1678 to 2261; before the first entry TAI−UTC is taken to be what it
// was at that entry.
type Table struct {
	base    int     // TAI−UTC before the first event, seconds
	known   bool    // base is TAI−UTC; else it is 0
	since   int64   // from when on base was right, Unix nanoseconds
	events  []Event // ascending, each one second from the one before
	updated int64   // when its author changed it, Unix nanoseconds; 0 unknown
	expires int64   // until when it is complete, Unix nanoseconds; 0 unknown
}

// TAI returns the instant on the leap-free scale at which the clock shows utc, both
// nanoseconds. Of an inserted second and the one before it, which look the same, it is the one before
// (see Ambiguous); an instant that a deleted second skips is taken as if it had not been.
func (t *Table) TAI(utc int64) int64 {
	return utc + int64(t.before(t.passed(utc)))*second
}

// UTC returns what the clock shows at an instant of the leap-free scale, both nanoseconds.
func (t *Table) UTC(tai int64) int64 {
	return tai - int64(t.before(t.passedTAI(tai)))*second
}

// passed returns how many events a clock that shows utc has behind it. Most questions are
// about now, so it looks from the end.
func (t *Table) passed(utc int64) int {
	i := len(t.events)
	for i > 0 && utc < t.events[i-1].At {
		i--
	}
	return i
}

// passedTAI is passed for an instant of the leap-free scale.
func (t *Table) passedTAI(tai int64) int {
	i := len(t.events)
	for i > 0 && tai < t.edge(i-1) {
		i--
	}
	return i
}

// edge returns the instant of the leap-free scale from which on the clock shows the time of
// event i: the start of the inserted second, or of the one that the deleted second left out.
func (t *Table) edge(i int) int64 {
	return t.events[i].At + int64(min(t.before(i), t.events[i].Offset))*second
}

// before returns TAI−UTC in seconds before event i, which is that after event i−1.
func (t *Table) before(i int) int {
	if i == 0 {
		return t.base
	}
	return t.events[i-1].Offset
}

// step returns by how much event i moves the clock.
func (t *Table) step(i int) time.Duration {
	return time.Duration(t.before(i)-t.events[i].Offset) * time.Second
}

// Next returns the first leap second that is over after the clock shows utc: the midnight at
// which it is over, and whether it is inserted or deleted. ok is false when none is known.
func (t *Table) Next(utc int64) (at int64, kind clock.Leap, ok bool) {
	i := t.passed(utc)
	if i == len(t.events) {
		return 0, clock.LeapNone, false
	}
	if t.step(i) < 0 {
		return t.events[i].At, clock.LeapInsert, true
	}
	return t.events[i].At, clock.LeapDelete, true
}

// Offset returns TAI−UTC in seconds when the clock shows utc, and whether that is known:
// else it is 0 and the leap seconds that were announced. An expired table has the last
// offset that it knew.
func (t *Table) Offset(utc int64) (seconds int, known bool) {
	return t.before(t.passed(utc)), t.known && utc >= t.since
}

// Expires returns when the table ceases to be complete, Unix nanoseconds. ok is false when
// it does not say.
func (t *Table) Expires() (utc int64, ok bool) { return t.expires, t.expires != 0 }

// Updated returns when its author changed the table, Unix nanoseconds. ok is false when it
// does not say.
func (t *Table) Updated() (utc int64, ok bool) { return t.updated, t.updated != 0 }

// Covers reports whether the table can tell if there is a leap second at the midnight at.
func (t *Table) Covers(at int64) bool {
	return t.expires != 0 && at < t.expires || len(t.events) > 0 && at <= t.events[len(t.events)-1].At
}

// With returns the table with one more leap second, for what sources or the kernel announce.
// It returns t itself when the table covers that midnight and knows better, when at is no
// midnight at the end of a month, or kind is no leap.
func (t *Table) With(at int64, kind clock.Leap) *Table {
	if t.Covers(at) || !monthStarts(at) {
		return t
	}
	last := t.before(len(t.events))
	switch kind {
	case clock.LeapInsert:
		last++
	case clock.LeapDelete:
		last--
	default:
		return t
	}
	with := *t
	with.events = append(append(make([]Event, 0, len(t.events)+1), t.events...), Event{At: at, Offset: last})
	return &with
}

// Announced returns the table with the leap second that a leap indicator announces when the
// clock shows utc. It returns t itself where With does, and on all but the last day of a
// month: an indicator does not say when, and counts only where it can mean one midnight.
func (t *Table) Announced(utc int64, kind clock.Leap) *Table {
	at := MonthEnd(utc)
	if at-utc > int64(AnnouncedAhead) {
		return t
	}
	return t.With(at, kind)
}

// Indicator returns the leap indicator for a clock that shows utc when its sources say
// said: the table's own word where it covers the end of this month, else theirs. The table
// announces in the last day alone.
func (t *Table) Indicator(utc int64, said clock.Leap) clock.Leap {
	if said == clock.LeapUnknown || !t.Covers(MonthEnd(utc)) {
		return said
	}
	at, kind, ok := t.Next(utc)
	if !ok || at-utc > int64(AnnouncedAhead) {
		return clock.LeapNone
	}
	return kind
}

// MonthEnd returns the midnight at the end of the month of utc, Unix nanoseconds.
func MonthEnd(utc int64) int64 {
	now := time.Unix(0, utc).UTC()
	return time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
}

// monthStarts reports whether a month begins at utc.
func monthStarts(utc int64) bool { return utc > math.MinInt64 && MonthEnd(utc-1) == utc }
