package upstream

import (
	"net/netip"
	"time"
)

// Spacing remembers when each address was asked last, by whichever source and
// association, so that no two requests to a server that demands it come too close: not
// when two names lead to it, not when it is opened anew. It belongs to one goroutine.
// Source: STANDARDS, AC-N1.
type Spacing struct {
	asked map[netip.Addr]asked
}

// asked is the last request to an address, and the most that anybody keeps from it.
type asked struct {
	at      time.Duration
	spacing time.Duration
}

// spacingKept is how long an address is remembered, and so the largest spacing there is.
const spacingKept = time.Minute

// NewSpacing returns a memory of nothing.
func NewSpacing() *Spacing { return &Spacing{asked: map[netip.Addr]asked{}} }

// Earliest returns when an address may be asked by a source that keeps spacing. Another
// source's spacing counts too. For an address that was not asked of late it is long ago.
func (s *Spacing) Earliest(addr netip.Addr, spacing time.Duration) time.Duration {
	last, ok := s.asked[addr.Unmap()]
	if !ok {
		return -Never
	}
	return last.at + min(max(spacing, last.spacing), spacingKept)
}

// Asked tells that an address is asked now. It forgets those that it need not know any more.
func (s *Spacing) Asked(addr netip.Addr, now, spacing time.Duration) {
	for a, last := range s.asked {
		if now-last.at > spacingKept {
			delete(s.asked, a)
		}
	}
	addr = addr.Unmap()
	s.asked[addr] = asked{at: now, spacing: max(spacing, s.asked[addr].spacing)}
}
