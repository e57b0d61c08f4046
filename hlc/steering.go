package hlc

// Physical time for a hybrid clock must not be the wall clock itself: whoever sets that
// wrong by an hour would drive the clock, and through it every peer, an hour ahead for
// good. So physical time is a line over the monotonic clock, which nobody can step, and
// the wall clock reaches it only as a series of targets that a policy judges:
//
//   - a target within JumpMax of where the line that sources confirmed last leads is taken;
//   - what is further off is taken when it is confirmed, that is, when sources that were
//     selected say so too, or when the system slept for as long; else it is held: the
//     line goes on as it was, and the caller raises an alarm;
//   - forward, a target is taken at once; backward, a line that runs slower by
//     1/backDivisor is walked until it meets the target's, so that physical time never goes
//     back. (One thing is left: a reader that is interrupted between choosing a line and
//     reading the clock sees the old line for as long, 1/backDivisor of that too much. The
//     hybrid clock, which stands physical time going back, does not notice.)
//
// A jump is measured against the accepted line, not against the one being walked, so
// that a long way back is judged once and not at every target again.

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// JumpMax is how far unconfirmed jumps may lead, all together.
	JumpMax = 500 * time.Millisecond
	// backDivisor is 1 over how much slower than the clock a line runs that has to lose
	// time: a second is lost in twenty, and the order of events is all that is distorted
	// by it.
	backDivisor = 20
)

// Target says where physical time should be.
type Target struct {
	Mono      time.Duration // reading of the monotonic clock
	Unix      int64         // physical time at that reading, Unix nanoseconds
	Rate      float64       // how much faster it runs than the monotonic clock, as a fraction
	Asleep    time.Duration // how long the system has been suspended since it booted
	Confirmed bool          // selected sources stand behind it
}

// at returns Unix nanoseconds at the monotonic reading mono.
func (t *Target) at(mono time.Duration) int64 {
	d := mono - t.Mono
	unix := t.Unix + int64(d)
	if t.Rate != 0 {
		unix += int64(float64(d) * t.Rate)
	}
	return unix
}

// line maps the monotonic clock to Unix nanoseconds as its target does, and while it is
// slow as a line that left from at since and loses 1/backDivisor, until the target's has
// caught up with that. Both never go back, so neither does the greater of them; and where
// they have met, the line is the target's to the nanosecond.
type line struct {
	Target
	slow  bool
	since time.Duration
	from  int64
}

func (l *line) at(mono time.Duration) int64 {
	unix := l.Target.at(mono)
	if l.slow {
		d := mono - l.since
		unix = max(unix, l.from+int64(d-d/backDivisor))
	}
	return unix
}

// Steering is what became of a target.
type Steering struct {
	Held   bool          // the target was not taken
	Jump   time.Duration // of the target against the accepted line
	Behind time.Duration // how far physical time still has to fall back; 0 when it is on the line
}

// Physical is steered physical time. Now may be called from any goroutine; one
// goroutine at a time should steer.
type Physical struct {
	mono   func() time.Duration
	walked atomic.Pointer[line] // nil before the first target

	mu       sync.Mutex // guards what follows, and orders the writers of walked
	accepted Target
	drift    time.Duration // what unconfirmed jumps add up to: many small ones are a large one
	held     *Target
}

// NewPhysical returns physical time that reads 0 until the first target. mono is the
// monotonic clock that the targets refer to, such as Monotonic returns.
func NewPhysical(mono func() time.Duration) *Physical {
	return &Physical{mono: mono}
}

// Now returns physical time as Unix nanoseconds.
func (p *Physical) Now() int64 { return p.At(p.mono()) }

// At returns what Now would have returned at a reading of the monotonic clock just now.
func (p *Physical) At(mono time.Duration) int64 {
	l := p.walked.Load()
	if l == nil {
		return 0
	}
	return l.at(mono)
}

// Steer judges a target and takes or holds it. The first is always taken.
func (p *Physical) Steer(t Target) Steering {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.walked.Load() == nil {
		p.anchor(t)
		return Steering{}
	}
	jump := time.Duration(t.Unix-p.accepted.at(t.Mono)) - (t.Asleep - p.accepted.Asleep)
	drift := p.drift + jump
	if t.Confirmed {
		drift = 0
	}
	if drift.Abs() > JumpMax {
		p.held = &t
		return Steering{Held: true, Jump: jump, Behind: p.lag()}
	}
	p.take(t)
	p.drift = drift
	return Steering{Jump: jump, Behind: p.lag()}
}

// Accept takes the target that is held, as an operator's decision, and reports whether
// there was one. A backward one is still walked slowly; see Anchor.
func (p *Physical) Accept() (Target, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		return Target{}, false
	}
	t := *p.held
	p.take(t)
	return t, true
}

// Anchor moves physical time to the target at once, in either direction. It is for the
// start of a new epoch alone: within one, physical time must not go back.
func (p *Physical) Anchor(t Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.anchor(t)
}

func (p *Physical) anchor(t Target) {
	p.held, p.drift = nil, 0
	p.accepted = t
	p.walked.Store(&line{Target: t})
}

// take changes lines at the present reading of the clock, which is later than that of the
// target: by a little, or by hours where an operator decided.
func (p *Physical) take(t Target) {
	p.held, p.drift = nil, 0
	p.accepted = t
	now := p.mono()
	from := p.walked.Load().at(now)
	p.walked.Store(&line{Target: t, slow: from > t.at(now), since: now, from: from})
}

func (p *Physical) lag() time.Duration {
	now := p.mono()
	return time.Duration(p.walked.Load().at(now) - p.accepted.at(now))
}
