package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

// Scenario is what happens to a node, and what is demanded of it, in numbers.
type Scenario struct {
	Name  string
	Lasts time.Duration
	// Setup draws what the seed decides: signs, phases, who lies.
	Setup  func(random *rand.Rand) Site
	Limits Limits
	// Check looks at what the limits cannot say; nil: nothing.
	Check func(*Result) error
	// Estimate has the error of the estimate behind the clock measured, too.
	Estimate bool
	// Trace has the Result keep what was seen each second.
	Trace bool
}

// Limits are the numbers that every seed has to keep. A limit of 0 is none, but for counts.
type Limits struct {
	Synced  time.Duration // the state is synchronised by then
	Error   time.Duration // the largest error, from Settled on until the end
	Settled time.Duration
	From    time.Duration // of the figures; 0: Settled

	RMSError    time.Duration
	MedianBound time.Duration
	RateRMS     float64

	Steps     int // that the node may make; LateSteps of them after its third update
	LateSteps int
	States    []clock.State // the states in order, if it matters
	// Blind are the times in which nobody can know that the clock is wrong.
	Blind []Window
}

// Window is a stretch of time since the start.
type Window struct{ From, To time.Duration }

func (l *Limits) from() time.Duration {
	if l.From != 0 {
		return l.From
	}
	return l.Settled
}

func (l *Limits) blind(at time.Duration) bool {
	return slices.ContainsFunc(l.Blind, func(w Window) bool { return at >= w.From && at < w.To })
}

// begin prepares the recorder of a node.
func (r *recorder) begin(s *Scenario) {
	r.limits, r.keep, r.estimate = &s.Limits, s.Trace, s.Estimate
	r.result.Synced, r.result.Settled = Never, Never
}

// Run lets a scenario happen with a seed, and returns the Result of its first node. It may
// be called concurrently.
func Run(s *Scenario, seed uint64) *Result { return &RunAll(s, seed)[0] }

// RunAll is Run for a scenario of several nodes.
func RunAll(s *Scenario, seed uint64) []Result {
	site := s.Setup(stream(seed, 0, streamSetup))
	r := open(s, &site, seed)
	r.runUntil(context.Background(), r.at(s.Lasts))
	results := make([]Result, len(r.nodes))
	for i, n := range r.nodes {
		results[i] = n.recorder.finish(n)
	}
	return results
}

// backMax is the largest jump back of a served clock that is none: clocks are read in
// nanoseconds.
const backMax = 2 * time.Nanosecond

// Judge returns what a result has against the limits of its scenario: one error for each,
// joined, or nil.
func (s *Scenario) Judge(r *Result) error {
	l := &s.Limits
	var faults []error
	demand := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	atMost := func(what string, limit, is time.Duration) {
		demand(limit == 0 || is <= limit, "%s: %v, above %v", what, is, limit)
	}
	v := &r.Violation
	demand(r.Violations == 0, "E was violated %d times, first at %v: error %v, bound %v, %v (%s)", r.Violations, v.At, v.Error, v.Bound, v.State, v.Reason)
	atMost("synchronised", l.Synced, r.Synced)
	if l.Error != 0 {
		atMost(fmt.Sprintf("error within %v for good", l.Error), l.Settled, r.Settled)
	}
	demand(r.Seconds > 0 || l.RMSError == 0, "nothing was claimed from %v on", l.from())
	atMost("rms", l.RMSError, r.RMSError)
	atMost("median of E", l.MedianBound, r.MedianBound)
	demand(l.RateRMS == 0 || r.RateRMS <= l.RateRMS, "rate: %.3g rms, above %.3g", r.RateRMS, l.RateRMS)
	demand(len(r.Steps) <= l.Steps, "%d steps, more than %d: %v", len(r.Steps), l.Steps, r.Steps)
	demand(r.LateSteps <= l.LateSteps, "%d steps after the third update, more than %d: %v", r.LateSteps, l.LateSteps, r.Steps)
	if l.LateSteps == 0 {
		atMost("jump back after the third update", backMax, r.Back)
	}
	if l.States != nil {
		var states []clock.State
		for _, c := range r.Changes {
			states = append(states, c.State)
		}
		demand(slices.Equal(states, l.States), "states %v instead of %v", r.Changes, l.States)
	}
	if s.Check != nil {
		if err := s.Check(r); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}
