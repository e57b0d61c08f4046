package compliance

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/rpc"
)

const (
	// staleMin is for how long a look holds: as long as a snapshot is believed.
	staleMin          = 10 * time.Second
	statusBreachesMax = 100
)

// Status returns what can be proven at a time, Unix nanoseconds, with the strip of the last days, at
// the most DaysMax; of the channels nothing. Where nobody has looked at the clocks for
// staleMin, nothing can be proven. Where the served clock is the system clock, it is not listed.
func (e *Engine) Status(unix int64, days int) *rpc.ComplianceResponse {
	e.asking.Lock()
	defer e.asking.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	m := &rpc.ComplianceResponse{UtcUnixNs: unix}
	days = min(max(days, 0), DaysMax)
	stale := e.looks == 0 || unix-e.last.Unix > int64(staleMin)
	for _, t := range e.trackers {
		m.Breaches = append(m.Breaches, t.notable()...)
		if t.profile == nil || t.key.clock == rpc.JudgedClock_JUDGED_CLOCK_SERVED && (e.last.Same || e.looks == 0) {
			continue
		}
		v := e.verdictOf(t, unix, stale)
		v.Days = e.days.strip(t.key, unix, days, e.minute)
		m.Verdicts = append(m.Verdicts, v)
	}
	slices.SortFunc(m.Breaches, func(a, b *rpc.Breach) int {
		if open := a.EndUnixNs == 0; open != (b.EndUnixNs == 0) {
			if open {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.Id, a.Id)
	})
	m.Breaches = m.Breaches[:min(len(m.Breaches), statusBreachesMax)]
	for i, b := range m.Breaches {
		m.Breaches[i] = proto.CloneOf(b)
	}
	return m
}

// verdictOf returns what can be proven of one clock under one profile.
func (e *Engine) verdictOf(t *tracker, unix int64, stale bool) *rpc.ProfileVerdict {
	r := &e.last.System
	if t.key.clock == rpc.JudgedClock_JUDGED_CLOCK_SERVED {
		r = &e.last.Served
	}
	v := &rpc.ProfileVerdict{
		Profile: t.key.profile, Clock: t.key.clock,
		Verdict: t.verdict, SinceUnixNs: t.since, BoundNs: -1,
		ToleranceNs: uint64(t.profile.Tolerance), WarnNs: uint64(t.profile.Warn),
		Breaches_24H: t.within24h(unix),
	}
	switch {
	case stale || t.verdict == 0:
		v.Verdict, v.SinceUnixNs = rpc.Verdict_VERDICT_UNKNOWN, e.last.Unix
		v.Reason = "the clocks have not been looked at yet"
		if e.looks > 0 {
			v.Reason = fmt.Sprintf("nobody has looked at the clocks for %v: see the log of the node", span(time.Duration(unix-e.last.Unix)))
		}
	default:
		v.Reason = t.profile.sentence(t.why, r, &e.quorum)
		v.OffsetNs = int64(r.Offset)
		if r.Claims {
			v.BoundNs = int64(r.Bound)
		}
	}
	for _, c := range e.preOpens {
		if c.profile.Name == t.key.profile {
			v.PreOpen = c.state(unix)
		}
	}
	return v
}

// notable returns the breach that goes on and of those that nobody has acknowledged.
func (t *tracker) notable() []*rpc.Breach {
	var list []*rpc.Breach
	for _, b := range slices.Backward(t.recent) {
		if len(list) == statusBreachesMax {
			break
		}
		if b == t.open || b.AcknowledgedUnixNs == 0 {
			list = append(list, b)
		}
	}
	return list
}
