package load

import (
	"net/netip"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
)

const (
	// busyLimit is the share of its time above which the generator of a closed loop was the limit,
	// where there are no timestamps to tell.
	busyLimit = 0.9
	// paceLimit is the share of the requests due that an open loop's generator must have sent.
	paceLimit = 0.97
	// kissesMax is how many kiss codes are told apart; they are an outsider's.
	kissesMax = 8
)

// Kisses is how often one kiss code came. The zero code stands for all that came
// after kissesMax others.
type Kisses struct {
	Code  ntp.RefID
	Count uint64
}

// Step is one loop of one rate, measured.
type Step struct {
	Wanted   float64       // requests in a second; 0 in a closed loop
	Measured time.Duration // how long requests were counted

	Sent    uint64              // requests that the kernel took
	Unsent  uint64              // requests that it did not take
	Refused uint64              // times that the network said that nobody listens there
	Dropped uint64              // datagrams lost here, since we did not read them in time
	Counts  [verdictsMax]uint64 // what came, by Verdict

	Unsynchronised uint64 // answers of a server that says it does not know the time
	Stamped        uint64 // answers whose T4 is the kernel's
	Kisses         []Kisses

	RoundTrip  Spread // T4−T1
	Processing Spread // T3−T2
	Offset     Spread // ((T2−T1)+(T3−T4))/2
	Request    Spread // T2−T1
	Lag        Spread // of the open loop: how late a batch of requests left

	Unread time.Duration // how long an answer lay here before it was read, on the average; 0 where not Stamped
	Busy   float64       // share of its time in which the generator had something to send or read
	CPU    time.Duration // of this process; 0 where it cannot be had
	Held   bool          // in a sweep: the server held this rate
}

// Answered returns the number of answers.
func (s *Step) Answered() uint64 { return s.Counts[Answered] }

// Lost returns the number of requests that nothing is known of.
func (s *Step) Lost() uint64 {
	came := s.Counts[Answered] + s.Counts[Late] + s.Counts[Kiss] + s.Counts[ZeroTime] + s.Counts[Backwards]
	return s.Sent - min(came, s.Sent)
}

// Bad returns how much came that is no answer of a server that works.
func (s *Step) Bad() uint64 {
	var n uint64
	for v, count := range s.Counts {
		if Verdict(v).Bad() {
			n += count
		}
	}
	return n
}

// LossPercent returns the share of the requests that have no answer that counts.
func (s *Step) LossPercent() float64 {
	if s.Sent == 0 {
		return 0
	}
	return 100 * float64(s.Sent-min(s.Answered(), s.Sent)) / float64(s.Sent)
}

// PerSecond returns a count as a rate.
func (s *Step) PerSecond(n uint64) float64 {
	if s.Measured <= 0 {
		return 0
	}
	return float64(n) / s.Measured.Seconds()
}

// Heard reports whether anything came back at all.
func (s *Step) Heard() bool {
	for _, count := range s.Counts {
		if count > 0 {
			return true
		}
	}
	return false
}

// GeneratorLimited reports whether the figures are the generator's limit, and not
// that of the server or the network: it lost answers, it did not send what was due, or, in a
// closed loop, answers lay here unread for longer than server and network took.
func (s *Step) GeneratorLimited() bool {
	switch {
	case s.Measured == 0:
		return false
	case s.Dropped > 0:
		return true
	case s.Wanted == 0 && s.Stamped > 0:
		return s.Unread > s.RoundTrip.Mean
	case s.Wanted == 0:
		return s.Busy >= busyLimit
	}
	return float64(s.Sent) < paceLimit*s.Wanted*s.Measured.Seconds()-1 // the first or the last may lie outside
}

// Result is what a run has measured.
type Result struct {
	Server      netip.AddrPort
	Loop        Loop   // that was asked for
	Interrupted bool   // before it was done
	Steps       []Step // in the order that they were made; one, unless it was a Sweep

	// Highest is the highest rate that was held in a Sweep, Failed the lowest that was not; each 0
	// where there was none.
	Highest, Failed float64
}

// Main returns the step that the figures of the run are of: the only one, or, of a Sweep,
// that of the highest rate held; nil where there is none.
func (r *Result) Main() *Step {
	var best *Step
	for i := range r.Steps {
		s := &r.Steps[i]
		if r.Loop != Sweep || s.Held && (best == nil || s.Wanted > best.Wanted) {
			best = s
		}
	}
	return best
}

// Most returns the most answers in a second that any step had.
func (r *Result) Most() float64 {
	var most float64
	for i := range r.Steps {
		most = max(most, r.Steps[i].PerSecond(r.Steps[i].Answered()))
	}
	return most
}

// Heard reports whether anything came back in any step.
func (r *Result) Heard() bool {
	for i := range r.Steps {
		if r.Steps[i].Heard() {
			return true
		}
	}
	return false
}

// GeneratorFailed reports whether the lowest rate that was not held says nothing of the
// server: the generator was the limit whenever it was tried.
func (r *Result) GeneratorFailed() bool {
	failed := false
	for i := range r.Steps {
		if s := &r.Steps[i]; s.Wanted == r.Failed && !s.Held {
			if !s.GeneratorLimited() {
				return false
			}
			failed = true
		}
	}
	return failed
}
