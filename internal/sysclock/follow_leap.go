package sysclock

// A leap second makes the system clock jump by exactly a second, at an instant that was
// announced. That jump is right, and no reason to doubt anything; without it the clock would be
// wrong. So Follow waits for the next leap second that its witnesses know of: the list, the
// kernel that was told to make it, chronyd. At its instant
//
//   - a jump by just that second is the leap, and nothing is taken back;
//   - any other jump is a step, as ever;
//   - no jump for a second leaves the clock a second wrong, unless it is being slewed: nothing
//     is claimed until somebody has corrected the clock.
//
// Until the kernel gets round to it, which is at its next tick, the clock is a second off. The
// snapshot's UTC is right nevertheless: it is made on the leap-free scale.

import (
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/leap"
)

// leapLate is how late a clock may be with a leap second.
const leapLate = time.Second

// leapSecond is one leap second of the system clock. The zero leapSecond is none.
type leapSecond struct {
	at   int64         // the midnight at which it is over, Unix nanoseconds
	kind clock.Leap    // inserted or deleted
	seen time.Duration // monotonic clock when it was seen to be made
}

// by returns what the clock jumps by.
func (l leapSecond) by() time.Duration {
	switch l.kind {
	case clock.LeapInsert:
		return -time.Second
	case clock.LeapDelete:
		return time.Second
	default:
		return 0
	}
}

// edge returns what the clock shows in the instant before the jump, Unix nanoseconds.
func (l leapSecond) edge() int64 { return l.at - max(0, int64(l.by())) }

// leaping follows the leap seconds of the system clock.
type leaping struct {
	said   clock.Leap // what the kernel said last
	due    leapSecond // the next, once the clock has been seen before it
	made   leapSecond // the last that was made
	missed bool       // one was not made, and that is what makes the clock doubtful
	// shift is what a leap has done to the time of an update that chronyd made before the
	// last step: chronyd dates it anew.
	shift time.Duration
}

// table returns what is known of leap seconds at a reading: the list, the last leap that
// was made, and what the witnesses announce.
func (f *Follow) table(r Reading) *leap.Table {
	t := f.settings.Leaps
	if t == nil {
		t = new(leap.Table)
	}
	if f.leaping.made.kind != clock.LeapNone {
		t = t.With(f.leaping.made.at, f.leaping.made.kind)
	}
	if due := f.leaping.due; due.kind != clock.LeapNone && r.Unix >= due.edge() {
		t = t.With(due.at, due.kind)
	}
	t = t.Announced(r.Unix, f.leaping.said)
	if r.Mono-f.heard.mono <= answerHeld {
		t = t.Announced(r.Unix, f.heard.tracking.Leap)
	}
	return t
}

// leap judges the time between the last reading and r, in which the clock jumped by jump and
// nobody slept: whether a leap second was made, or one that was due was missed.
func (f *Follow) leap(last, r Reading, jump time.Duration) (made, missed bool) {
	due := f.leaping.due
	late := last.Unix + int64(r.Mono-last.Mono) - due.edge() // by the clock as it was
	switch {
	case due.kind == clock.LeapNone || late < -int64(StepMin):
		return false, false
	case (jump - due.by()).Abs() < StepMin:
		due.seen = r.Mono
		f.leaping.made, f.leaping.due, f.leaping.shift = due, leapSecond{}, due.by()
		if f.lastSet != 0 {
			f.lastSet += int64(due.by())
		}
		return true, false
	case jump.Abs() < StepMin && late >= int64(leapLate):
		f.leaping.due = leapSecond{}
		return false, true
	default:
		return false, false
	}
}

// await notes the leap second that is due next. One whose instant has come stays due until
// it is made or missed, whatever is announced by then. jumped tells that the clock is another
// than before.
func (f *Follow) await(r Reading, jumped bool) {
	due := f.leaping.due
	if due.kind != clock.LeapNone && r.Unix >= due.edge() && !jumped {
		return
	}
	at, kind, ok := f.table(r).Next(r.Unix)
	next := leapSecond{at: at, kind: kind}
	if !ok || at == f.leaping.made.at {
		next = leapSecond{}
	}
	f.leaping.due = next
}

// tai returns the instant of a reading on the leap-free scale of t. Where the clock shows a
// second twice, what was seen of the leap tells which of them it is.
func (f *Follow) tai(t *leap.Table, r Reading) int64 {
	l, done := f.leaping.made, r.Mono >= f.leaping.made.seen
	if f.leaping.due.kind != clock.LeapNone {
		l, done = f.leaping.due, false
	}
	past := r.Unix - l.at // since midnight
	switch {
	case l.kind != clock.LeapInsert:
		return t.TAI(r.Unix)
	case done && past < 0 && past >= -int64(time.Second):
		return t.TAI(l.at) + past
	case !done && past >= 0: // it is late
		return t.TAI(l.at-1) + 1 + past
	default:
		return t.TAI(r.Unix)
	}
}

// doubt returns why the clock is in doubt: for what it did, or for the leap that it did not make.
func (f *Follow) doubt(did string) string {
	if f.leaping.missed {
		return "a leap second was due and the system clock did not make it"
	}
	return did
}
