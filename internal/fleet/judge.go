package fleet

import (
	"errors"
	"fmt"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/ntp"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/upstream"
)

// What a probe proves. T1 and T4 are of the system clock; what is wanted is the host's distance
// from the served one, which is known to be within its own error bound of UTC. The host's clock
// is off by |offset| at the most, and by what the measurement cannot tell: half the way, what the
// clocks cannot resolve, what ours drifted meanwhile, what reading the two clocks took, and our
// own error bound. What the host says of its own error is about what it believes, and counts
// for nothing; that it says it is not synchronised is believed.

// reading is our clocks, as they were read when an answer came.
type reading struct {
	unix    int64         // served clock; where it cannot be claimed, the best there is
	ahead   time.Duration // served clock minus system clock
	unsure  time.Duration // of that
	bound   time.Duration // of the served clock
	claimed bool
}

// measured is what a probe brought.
type measured struct {
	offset  time.Duration // served clock minus the host's
	bound   time.Duration // the largest error of the host's clock; negative: none can be claimed
	way     time.Duration // the part of it that is the measurement's, and ours
	stratum uint8
	refid   ntp.RefID
	fault   string // why nothing can be said; empty: it can
	refused bool   // the host does not want to be asked
}

// judgement is a verdict with what it is made of.
type judgement struct {
	measured
	verdict rpc.Verdict
	reason  string
}

// Faults that are not the host's.
const (
	faultNone = "it was not asked yet"
	faultOurs = "this node cannot claim to know the time itself"
)

// measure returns what an answer says.
func measure(m upstream.Measurement, r reading) measured {
	out := measured{bound: -1, stratum: m.Header.Stratum, refid: m.Header.RefID}
	var kiss ntp.KissError
	switch {
	case errors.As(m.Fault, &kiss) && kiss.Code != ntp.KissINIT && kiss.Code != ntp.KissSTEP:
		out.fault, out.refused = "it does not want to be asked: kiss code "+kiss.Code.Text(0), true
		return out
	case errors.Is(m.Fault, ntp.ErrUnsynchronised):
		out.fault = "it says itself that it is not synchronised"
		return out
	case errors.Is(m.Fault, ntp.ErrInvalid):
		out.fault = "its answers bear no time"
		return out
	}
	out.offset = r.ahead - m.Offset()
	if !r.claimed {
		out.fault = faultOurs
		return out
	}
	m.Header.RootDelay, m.Header.RootDispersion = 0, 0 // its own claims
	out.way = m.ErrorBound() + r.unsure + r.bound
	out.bound = out.offset.Abs() + out.way
	return out
}

// notAsked is what is known of a host before its first answer.
func notAsked() judgement {
	return judge(measured{bound: -1, fault: faultNone}, compliance.Profile{})
}

// judge holds what a probe brought to a limit.
func judge(m measured, p compliance.Profile) judgement {
	j := judgement{measured: m, verdict: rpc.Verdict_VERDICT_UNKNOWN, reason: m.fault}
	warn := p.Warn
	if warn <= 0 {
		warn = p.Tolerance
	}
	side := "behind"
	if m.offset < 0 {
		side = "ahead"
	}
	switch {
	case m.fault != "":
	case m.bound <= warn:
		j.verdict, j.reason = rpc.Verdict_VERDICT_OK, fmt.Sprintf("within %v", m.bound)
	case m.bound <= p.Tolerance:
		j.verdict, j.reason = rpc.Verdict_VERDICT_WARN, fmt.Sprintf("within %v, which is above the warning level of %v", m.bound, warn)
	case m.offset.Abs()-m.way > p.Tolerance:
		j.verdict, j.reason = rpc.Verdict_VERDICT_BREACH, fmt.Sprintf("it is %v %s, give or take %v, and must be within %v", m.offset.Abs(), side, m.way, p.Tolerance)
	default:
		j.verdict, j.reason = rpc.Verdict_VERDICT_BREACH, fmt.Sprintf("it cannot be proven to be within %v: it is %v %s, give or take %v", p.Tolerance, m.offset.Abs(), side, m.way)
	}
	return j
}

// count adds a probe to the hour.
func (h *host) count(j judgement, answered bool) {
	h.hour.probes++
	if !answered {
		h.hour.lost++
	}
	h.hour.verdicts[j.verdict]++
	if j.bound >= 0 {
		h.hour.offset.Add(int64(j.offset), 1)
		h.hour.bound.Add(int64(j.bound), 1)
	}
}

// endHour returns the hour's entry and begins another; nil where there was no probe in it.
func (h *host) endHour(start int64) *rpc.JournalEntry {
	was := h.hour
	h.hour = hour{start: start}
	if was.probes == 0 {
		return nil
	}
	return &rpc.JournalEntry{What: &rpc.JournalEntry_Host{Host: &rpc.HostHour{
		Start: was.start, Group: h.group.Name, Host: h.addr.String(),
		Offset: was.offset.Proto(), Bound: was.bound.Proto(), Probes: was.probes, Lost: was.lost,
		Verdicts: &rpc.VerdictCount{
			Profile: h.group.Profile.Name,
			Ok:      was.verdicts[rpc.Verdict_VERDICT_OK], Warn: was.verdicts[rpc.Verdict_VERDICT_WARN],
			Breach: was.verdicts[rpc.Verdict_VERDICT_BREACH], Unknown: was.verdicts[rpc.Verdict_VERDICT_UNKNOWN],
		},
	}}}
}

// verdict returns what can be proven of the host now, and why.
func (h *host) verdict() (rpc.Verdict, string) {
	never := h.answered == 0
	switch {
	case h.lookupFault != "" && !h.addr.IsValid():
		return rpc.Verdict_VERDICT_UNKNOWN, "its name cannot be looked up: " + h.lookupFault
	case never && h.probes > 0 && !h.last.refused:
		return rpc.Verdict_VERDICT_UNKNOWN, "never seen: it has not answered yet"
	case h.silent >= silentMax && h.last.refused:
		return rpc.Verdict_VERDICT_UNKNOWN, h.last.reason
	case h.silent >= silentMax:
		return rpc.Verdict_VERDICT_UNKNOWN, fmt.Sprintf("it did not answer the last %d probes", h.silent)
	}
	return h.last.verdict, h.last.reason
}

// unreachable reports whether it is a fault that the host does not answer: it did before, or it
// is named itself.
func (h *host) unreachable() bool {
	seen := h.answered != 0 || !h.ranged
	return seen && (h.silent >= silentMax || h.lookupFault != "" && !h.addr.IsValid())
}
