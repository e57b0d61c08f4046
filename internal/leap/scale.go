package leap

import (
	"sync/atomic"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

// Scale is the leap-free scale of one process, and the table that it rests on. It goes on
// evenly through leap seconds. Its zero is that of Unix time when it was first used, so that
// the list of leap seconds may be found, replaced or lost later on without a jump: only a leap
// second that comes while the process runs makes a difference. It may be used concurrently;
// the zero value knows no leap seconds.
type Scale struct {
	table atomic.Pointer[Table]
	list  atomic.Pointer[Table] // the same without what the sources announced
	// first is where the scale was first used, Unix nanoseconds, and not before this program
	// was written, whatever a hardware clock said then; 0: it was not.
	first atomic.Int64
	// announced is the leap second that the sources announced last; nil: none.
	announced atomic.Pointer[announcement]
}

type announcement struct {
	at   int64 // the midnight at which it is over, Unix nanoseconds
	kind clock.Leap
}

// NewScale returns a scale that rests on a table.
func NewScale(t *Table) *Scale {
	s := new(Scale)
	s.Set(t)
	return s
}

// Table returns what is known of leap seconds. It is never nil.
func (s *Scale) Table() *Table {
	if t := s.table.Load(); t != nil {
		return t
	}
	return new(Table)
}

// Set replaces what is known of leap seconds. One that the sources announced stays, where t
// does not know better: it may have been made already, and the scale must not jump by it. Set
// and Announce are to be called by one goroutine at a time.
func (s *Scale) Set(t *Table) {
	s.list.Store(t)
	if a := s.announced.Load(); a != nil {
		t = t.With(a.at, a.kind)
	}
	s.table.Store(t)
}

// Announce takes up a leap second that the sources announce when the clock shows utc, where
// the table does not know better. One that has not come yet is taken back when they announce
// none any more.
func (s *Scale) Announce(utc int64, kind clock.Leap) {
	t := s.Table()
	if a := s.announced.Load(); kind == clock.LeapNone && a != nil && utc < a.at-second {
		list := s.list.Load()
		if list == nil {
			list = new(Table)
		}
		s.announced.Store(nil)
		s.table.Store(list)
		return
	}
	if with := t.Announced(utc, kind); with != t {
		s.announced.Store(&announcement{at: MonthEnd(utc), kind: kind})
		s.table.Store(with)
	}
}

// TAI returns the instant on the scale at which a clock shows utc, both nanoseconds.
func (s *Scale) TAI(utc int64) int64 {
	t := s.Table()
	return t.TAI(utc) - s.base(t, utc)
}

// UTC returns what a clock shows at an instant on the scale, both nanoseconds.
func (s *Scale) UTC(free int64) int64 {
	t := s.Table()
	return t.UTC(free + s.base(t, free))
}

// Next returns the first leap second that is over after a clock shows utc, as Table.Next does.
func (s *Scale) Next(utc int64) (at int64, kind clock.Leap, ok bool) { return s.Table().Next(utc) }

// Near returns whether a leap second lies within a time of the instant on the scale.
func (s *Scale) Near(free int64, within int64) bool {
	t := s.Table()
	tai := free + s.base(t, free)
	return t.passedTAI(tai-within) != t.passedTAI(tai+within)
}

// Mark tells a snapshot of the leap seconds around the instant on the scale.
func (s *Scale) Mark(snapshot *clock.Snapshot, free int64) {
	t := s.Table()
	t.Mark(snapshot, free+s.base(t, free))
}

// base is TAI−UTC where the scale was first used, in nanoseconds.
func (s *Scale) base(t *Table, utc int64) int64 {
	if s.first.Load() == 0 {
		written := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).UnixNano()
		s.first.CompareAndSwap(0, max(utc, written))
	}
	offset, _ := t.Offset(s.first.Load())
	return int64(offset) * second
}
