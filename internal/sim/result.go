package sim

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/sysclock"
)

// Result is what became of one node in one run. Errors are of the served clock: what it
// shows less UTC.
type Result struct {
	Synced  time.Duration // since the start, when it was first synchronised; Never: it was not
	Settled time.Duration // when its error came within Limits.Error for good; Never: it did not

	// Of the time from Limits.From on, looked at once a second while a bound is claimed.
	Seconds     int
	Worst       time.Duration // the largest error, without its sign
	RMSError    time.Duration
	MedianBound time.Duration // of the error bound E; right to 2 %
	WorstBound  time.Duration
	RateRMS     float64 // rate of the served clock to true time, less 1

	// Of the estimate behind the clock, from Limits.From on.
	EstimateError time.Duration

	// Violations is how often the error was larger than E, of two looks a second, with the
	// first such look.
	Violations int
	Violation  Observation

	Steps     []Step        // that the node made
	LateSteps int           // after the third update
	Back      time.Duration // the largest jump back of the served clock after the third update
	Changes   []Change      // of its state, the first one included

	// Verdicts are those on the servers at the end, in the order in which they were opened.
	Verdicts []discipline.Verdict

	Requests, Samples int
	Interleaved       int           // samples that were measured in interleaved mode
	Trace             []Observation // once a second, where the Scenario wants it
}

// Never is later than anything happens.
const Never = time.Duration(math.MaxInt64)

// Step is one correction of the clock by a jump.
type Step struct {
	At, By  time.Duration
	Updates uint64 // how many updates there had been
}

// Change is a change of state.
type Change struct {
	At     time.Duration
	State  clock.State
	Reason string
}

// String returns the change as a line.
func (c Change) String() string { return fmt.Sprintf("%v %v (%s)", c.At, c.State, c.Reason) }

// Observation is what a node claims at one instant, and the truth.
type Observation struct {
	At    time.Duration // since the start
	Error time.Duration // of the served clock
	Bound time.Duration // E; the largest duration where nothing is claimed
	Rate  float64       // of the served clock to true time, less 1
	clock.Judgement
	Snapshot *clock.Snapshot
}

// recorder watches one node. What it keeps does not grow with time but for what happens
// rarely, and the trace.
type recorder struct {
	limits   *Limits
	keep     bool // the trace
	estimate bool // look at the estimate, too
	updates  func() uint64
	result   Result

	requests, samples int
	interleaved       int
	squares, rates    float64
	estimates         float64
	estimated         int
	bounds            [64 << boundBits]uint32 // histogram of E
	lastTrue, lastUTC int64
	lastState         clock.State
	stated, settled   bool
	before            *clock.Snapshot
}

// boundBits is how finely the histogram of E divides an octave, as a power of two.
const boundBits = 6

func bucket(d time.Duration) int {
	return int(math.Float64bits(float64(max(1, d)))>>(52-boundBits)) - 1023<<boundBits
}

func bucketValue(i int) time.Duration {
	return time.Duration(math.Float64frombits(uint64(i+1023<<boundBits)<<(52-boundBits) | 1<<(51-boundBits)))
}

// step notes a step that the node is about to make.
func (r *recorder) step(n *node, by time.Duration) {
	updates := r.updates()
	r.result.Steps = append(r.result.Steps, Step{At: n.run.since(), By: by, Updates: updates})
	if updates > 3 {
		r.result.LateSteps++
	}
}

// leapHaze is how near to a leap second an error of that second is none: the clock leaps when
// it shows midnight itself, and so too early or too late by its error.
const leapHaze = 2 * time.Second

// trueError returns what a clock shows less UTC.
func (r *run) trueError(utc int64) time.Duration {
	off := time.Duration(utc - r.truth.utc(r.now))
	if r.leaping() {
		for _, other := range [...]time.Duration{off + time.Second, off - time.Second} {
			if other.Abs() < off.Abs() {
				off = other
			}
		}
	}
	return off
}

func (r *run) leaping() bool {
	return r.truth.leapAt != 0 && time.Duration(r.truth.untilLeap(r.now)).Abs() < leapHaze
}

// observe looks at what a snapshot claims now. fresh tells that it is the regular look just
// after it was made; else it is about to be replaced.
func (r *recorder) observe(n *node, s *clock.Snapshot, fresh bool) {
	mono, unix := n.machine.Glance()
	now := n.run.since()
	utc := s.UTC(mono)
	o := Observation{At: now, Error: n.run.trueError(utc), Bound: s.ErrorBound(mono), Judgement: s.Judgement, Snapshot: s}
	stamped := s.FromKernel(unix) // what a packet would be stamped with
	if wrong := n.run.trueError(stamped); wrong.Abs() > o.Error.Abs() {
		o.Error = wrong
	}
	if time.Duration(stamped-utc).Abs() >= sysclock.StepMin {
		o.Bound = Never // the daemon notices that the clock was set since
	}
	if o.Error.Abs() > o.Bound && !r.limits.blind(now) {
		if r.result.Violations == 0 {
			r.result.Violation = o
		}
		r.result.Violations++
	}
	if before := r.before; before != nil && before != s && s.Claims() && before.Claims() && !n.run.leaping() {
		if back := time.Duration(before.UTC(s.Mono()) - s.Time.To); back > r.result.Back && r.updates() > 3 {
			r.result.Back = back
		}
	}
	r.before = s
	if !fresh {
		return
	}
	r.state(now, s)
	r.settle(&o)
	if r.lastTrue != 0 {
		o.Rate = float64((utc-r.lastUTC)-(n.run.now-r.lastTrue)) / float64(n.run.now-r.lastTrue)
	}
	r.lastTrue, r.lastUTC = n.run.now, utc
	if now >= r.limits.from() && o.Bound != Never {
		r.count(&o)
		r.judge(n)
	}
	if r.keep {
		r.result.Trace = append(r.result.Trace, o)
	}
}

// state notes a change of state.
func (r *recorder) state(now time.Duration, s *clock.Snapshot) {
	if r.stated && r.lastState == s.State {
		return
	}
	r.stated, r.lastState = true, s.State
	r.result.Changes = append(r.result.Changes, Change{now, s.State, s.Reason})
	if s.State == clock.Synchronised && r.result.Synced == Never {
		r.result.Synced = now
	}
}

// settle notes when the error is above the limit.
func (r *recorder) settle(o *Observation) {
	if o.Error.Abs() > r.limits.Error && !r.limits.blind(o.At) {
		r.result.Settled, r.settled = Never, false
		return
	}
	if !r.settled {
		r.result.Settled, r.settled = o.At, true
	}
}

// count takes an observation into the figures.
func (r *recorder) count(o *Observation) {
	if r.limits.blind(o.At) {
		return
	}
	res := &r.result
	res.Seconds++
	res.Worst = max(res.Worst, o.Error.Abs())
	res.WorstBound = max(res.WorstBound, o.Bound)
	r.squares += o.Error.Seconds() * o.Error.Seconds()
	r.rates += o.Rate * o.Rate
	r.bounds[bucket(o.Bound)]++
}

// judge takes the error of the estimate behind the clock into the figures.
func (r *recorder) judge(n *node) {
	if !r.estimate {
		return
	}
	s := n.discipline.Select(time.Duration(n.machine.local()))
	if !s.Valid {
		return
	}
	off := float64(n.trueTime(s.Estimate.Remote)-n.run.now) * 1e-9
	r.estimates += off * off
	r.estimated++
}

// finish works out the figures.
func (r *recorder) finish(n *node) Result {
	res := r.result
	res.Verdicts = slices.Clone(n.discipline.Select(time.Duration(n.machine.local())).Verdicts)
	res.Requests, res.Samples, res.Interleaved = r.requests, r.samples, r.interleaved
	if res.Seconds > 0 {
		res.RMSError = time.Duration(1e9 * math.Sqrt(r.squares/float64(res.Seconds)))
		res.RateRMS = math.Sqrt(r.rates / float64(res.Seconds))
	}
	if r.estimated > 0 {
		res.EstimateError = time.Duration(1e9 * math.Sqrt(r.estimates/float64(r.estimated)))
	}
	seen := 0
	for i, count := range r.bounds {
		if seen += int(count); 2*seen > res.Seconds {
			res.MedianBound = bucketValue(i)
			break
		}
	}
	return res
}
