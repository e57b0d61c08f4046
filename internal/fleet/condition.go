package fleet

import (
	"fmt"

	"github.com/truechimer/truechimer/internal/alert"
	"github.com/truechimer/truechimer/internal/rpc"
)

// The names of conditions.
const (
	HostBeyondLimit = "host_beyond_limit"
	HostUnreachable = "host_unreachable"
)

// conditionsMax is how many hosts have a condition of their own. Those beyond share one.
const conditionsMax = 100

// Conditions returns what is wrong now, in the order of groups and addresses. Hosts of a prefix
// or range that never answered are not wrong: they may not be there. Where this node cannot
// claim the time itself nothing is said of those that answer.
func (p *Prober) Conditions() []alert.Condition {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []alert.Condition
	var beyond, silent int
	for _, h := range p.ordered() {
		c, wrong := h.condition()
		switch {
		case !wrong:
		case len(list) < conditionsMax:
			list = append(list, c)
		case c.Name == HostBeyondLimit:
			beyond++
		default:
			silent++
		}
	}
	if beyond+silent == 0 {
		return list
	}
	more := alert.Condition{
		Name: HostUnreachable, Critical: beyond > 0,
		Sentence: fmt.Sprintf("%d more hosts are not within their limits, and %d more do not answer: see truechimer hosts for all.", beyond, silent),
	}
	if beyond > 0 {
		more.Name = HostBeyondLimit
	}
	return append(list, more)
}

// condition returns what is wrong with the host.
func (h *host) condition() (c alert.Condition, wrong bool) {
	where := h.name
	if h.addr.IsValid() {
		where = h.addr.String()
	}
	c = alert.Condition{Labels: map[string]string{"group": h.group.Name, "host": h.name}}
	v, reason := h.verdict()
	switch {
	case h.unreachable():
		c.Name = HostUnreachable
		c.Sentence = fmt.Sprintf("Host %s of group %s cannot be judged: %s. See whether it runs, serves NTP and may be asked from here, or exclude it.", where, h.group.Name, reason)
	case v == rpc.Verdict_VERDICT_BREACH:
		c.Name, c.Critical = HostBeyondLimit, true
		c.Sentence = fmt.Sprintf("Host %s of group %s is not within its limit: %s. See what its clock follows.", where, h.group.Name, reason)
	case v == rpc.Verdict_VERDICT_UNKNOWN && h.last.asserted():
		c.Name = HostBeyondLimit
		c.Sentence = fmt.Sprintf("Host %s of group %s cannot be proven to be within its limit: %s. See what its clock follows.", where, h.group.Name, reason)
	default:
		return c, false
	}
	return c, true
}

// asserted reports whether the host itself is why nothing can be said.
func (j judgement) asserted() bool {
	return j.fault != "" && j.fault != faultOurs && j.fault != faultNone
}
