package compliance

import (
	"fmt"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
)

// The verdict of a second, on one clock by one profile. The first line that applies:
//
//	no error bound can be claimed                       UNKNOWN
//	the clock is off UTC on purpose (a smear), by more
//	than its bound says                                 UNKNOWN
//	the bound is beyond the tolerance, in holdover      UNKNOWN  it cannot be proven any more
//	the bound is beyond the tolerance                   BREACH
//	the bound is beyond the warn level                  WARN
//	too few sources agree                               WARN     where sources are configured
//	a smear, or a leap second, marks the second         WARN     and the bound contains it
//	else                                                OK
//
// It goes by the error bound and never by the offset: a small offset that nobody vouches for proves
// nothing, and a large one that is known is in the bound. Source: STANDARDS AC-C3, AC-C4, AC-L1.

// why is the line that applied.
type why uint8

const (
	whyNotLooked why = iota
	whyUnclaimed
	whySmearedOff
	whyLost
	whyBeyond
	whyNear
	whyQuorum
	whySmeared
	whyWithin
)

// judge returns the verdict on a clock in one second, and why. marked is Second.Smeared.
func (p *Profile) judge(r *Reading, q *quorum, marked bool) (rpc.Verdict, why) {
	switch {
	case !r.Claims || r.Bound < 0:
		return rpc.Verdict_VERDICT_UNKNOWN, whyUnclaimed
	case r.Smeared:
		return rpc.Verdict_VERDICT_UNKNOWN, whySmearedOff
	case r.Bound > p.Tolerance && r.Holdover:
		return rpc.Verdict_VERDICT_UNKNOWN, whyLost
	case r.Bound > p.Tolerance:
		return rpc.Verdict_VERDICT_BREACH, whyBeyond
	case r.Bound > p.Warn:
		return rpc.Verdict_VERDICT_WARN, whyNear
	case q.configured > 0 && !q.meets(p):
		return rpc.Verdict_VERDICT_WARN, whyQuorum
	case marked:
		return rpc.Verdict_VERDICT_WARN, whySmeared
	default:
		return rpc.Verdict_VERDICT_OK, whyWithin
	}
}

// compliant reports whether a verdict says that the clock is proven to be within the tolerance.
func compliant(v rpc.Verdict) bool {
	return v == rpc.Verdict_VERDICT_OK || v == rpc.Verdict_VERDICT_WARN
}

// sentence says why a verdict was given.
func (p *Profile) sentence(w why, r *Reading, q *quorum) string {
	switch w {
	case whyNotLooked:
		return "nobody looks at the clock"
	case whyUnclaimed:
		return "no error bound can be claimed: " + r.Reason
	case whySmearedOff:
		return "the clock is smeared: it is off UTC by more than its error bound says"
	case whyLost:
		return fmt.Sprintf("the sources are gone, and the error bound has grown to %v: %v cannot be proven any more", span(r.Bound), p.Tolerance)
	case whyBeyond:
		return fmt.Sprintf("the error bound %v is beyond the tolerance, %v", span(r.Bound), p.Tolerance)
	case whyNear:
		return fmt.Sprintf("the error bound %v is beyond the warn level, %v", span(r.Bound), p.Warn)
	case whyQuorum:
		return q.short(p)
	case whySmeared:
		return fmt.Sprintf("a leap second is being absorbed; the error bound %v contains it", span(r.Bound))
	default:
		return fmt.Sprintf("the error bound %v is within %v", span(r.Bound), p.Warn)
	}
}

// short says what is missing where the quorum does not meet what a profile asks for.
func (q *quorum) short(p *Profile) string {
	switch {
	case q.agreeing < p.MinSources:
		return fmt.Sprintf("%d sources agree, and %d must", q.agreeing, p.MinSources)
	case q.nist < p.MinNIST:
		return fmt.Sprintf("%d sources of NIST agree, and %d must", q.nist, p.MinNIST)
	default:
		return fmt.Sprintf("the sources that agree stand at %d sites, and must at %d", q.sites, p.MinSites)
	}
}

// span returns a duration with four digits or so, for people.
func span(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for abs := max(d, -d); abs/unit >= 10000; {
		unit *= 10
	}
	return d.Round(unit)
}

// clockName returns the word for a clock that labels and sentences use.
func clockName(c rpc.JudgedClock) string {
	if c == rpc.JudgedClock_JUDGED_CLOCK_SERVED {
		return "served"
	}
	return "system"
}
