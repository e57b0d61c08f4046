package compliance

import (
	"slices"

	"github.com/truechimer/truechimer/internal/rpc"
)

// waitingMax is how many measurements can be made between two looks. There are at most a few for
// each source; more are those of a caller that does not look.
const waitingMax = 4096

// turn writes down the minute and the hour that have passed when a second is in another one, and
// begins those that it is in.
//
// Each look is counted once, in the minute that the clock shows. A minute that is visited again,
// because the clock was set back or the node was started again, has another entry; entries of
// one minute, or hour, add up. An entry of an hour contains the minutes that stand before it in the
// journal, down to the entry of an hour before that one: so it can be told after a crash which
// minutes no hour contains yet.
func (e *Engine) turn(s *Second, out *Output) {
	now := floorDiv(s.Unix, second)
	minuteStart, hourStart := floorDiv(now, minute)*minute, floorDiv(now, hour)*hour
	if e.minute != nil && e.minute.start == minuteStart {
		return
	}
	e.endMinute(s.RawSequence, out)
	e.endHours(s.RawSequence, out, func(start int64) bool { return start != hourStart })
	e.minute, e.seconds = newTally(minuteStart), newSeconds(minuteStart)
}

// endMinute writes down the minute in progress.
func (e *Engine) endMinute(rawSequence uint64, out *Output) {
	if e.minute == nil || e.minute.observed == 0 {
		return
	}
	m := e.minute
	out.Entries = append(out.Entries,
		&rpc.JournalEntry{What: &rpc.JournalEntry_Seconds{Seconds: e.seconds.take()}})
	e.hourOf(floorDiv(m.start, hour) * hour).merge(m)
	e.days.add(m)
	m.sources = nil // an hour's summary only
	out.Entries = append(out.Entries, &rpc.JournalEntry{What: &rpc.JournalEntry_Minute{Minute: m.proto(rawSequence)}})
	e.minute = nil
}

// endHours writes down the hours in progress that are over.
func (e *Engine) endHours(rawSequence uint64, out *Output, over func(start int64) bool) {
	for _, m := range e.waiting {
		e.hourOf(floorDiv(floorDiv(m.unix, second), hour) * hour).measure(m)
	}
	e.waiting = e.waiting[:0]
	e.hours = slices.DeleteFunc(e.hours, func(h *tally) bool {
		if !over(h.start) {
			return false
		}
		out.Entries = append(out.Entries, &rpc.JournalEntry{What: &rpc.JournalEntry_Hour{Hour: h.proto(rawSequence)}})
		return true
	})
}

// hourOf returns the tally of the hour that starts at a time.
func (e *Engine) hourOf(start int64) *tally {
	for _, h := range e.hours {
		if h.start == start {
			return h
		}
	}
	h := newTally(start)
	e.hours = append(e.hours, h)
	return h
}

// Stop returns what is to be written when the clocks are not looked at any more: the minute and the
// hour in progress, and how bad the breaches have become that go on. They stay open, and go on when
// the node is started again.
func (e *Engine) Stop() []*rpc.JournalEntry {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out Output
	e.endMinute(e.last.RawSequence, &out)
	e.endHours(e.last.RawSequence, &out, func(int64) bool { return true })
	for _, t := range e.trackers {
		if t.open != nil && t.dirty {
			out.Entries = append(out.Entries, t.record(e.looks))
		}
	}
	return out.Entries
}
