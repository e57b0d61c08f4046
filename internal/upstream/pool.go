package upstream

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// PoolMax is how many members a source can have.
	PoolMax = 16

	// addressesMax is how many addresses of one name are considered.
	addressesMax = 64

	lookupMin   = 2 * time.Second    // after the first lookup that brought nothing; doubles up to
	lookupMax   = 1024 * time.Second // this
	lookupEvery = time.Hour          // what a name means is kept no longer, if it can be asked

	// How long an address is not taken again that was given up: because it was silent, or
	// because of what it said.
	silentHold = 10 * time.Minute
	badHold    = 24 * time.Hour
)

// Pool is which addresses of one name are asked for the time. A plain source is a pool of one.
//
// A member that answers keeps its place, whatever the name means by now. One that is given up
// keeps it until there is an address to put in its place: one that the name has, that is
// no member of any source, and that has not been given up of late. Where such an address is
// missing, the name is looked up, less and less often until that helps.
//
// It reads no clock and asks no resolver, and belongs to one goroutine.
type Pool struct {
	want    int
	literal bool // the name is an address: there is nothing to look up

	addrs   []netip.AddrPort // what the name means, the resolver's order
	members []place
	shunned map[netip.AddrPort]time.Duration // until when

	short   bool // a member is missing, or bad, and nothing is there to take its place
	looking bool
	looked  time.Duration // when the last lookup ended
	backoff time.Duration // until the next one while short; 0: none has been in vain
}

// place is a member's.
type place struct {
	addr netip.AddrPort
	bad  bool
	hold time.Duration // how long it is shunned once it is replaced
}

// NewPool returns a pool that wants up to PoolMax members, at least one, and its first
// lookup now. Where addr is valid it is all that there will ever be.
func NewPool(want int, addr netip.AddrPort, now time.Duration) *Pool {
	p := &Pool{want: min(max(want, 1), PoolMax), short: true, looked: now - lookupMin, shunned: map[netip.AddrPort]time.Duration{}}
	if addr.IsValid() {
		p.literal, p.addrs, p.want = true, []netip.AddrPort{addr}, 1
	}
	return p
}

// LookupDue returns when the name is to be looked up; Never while that is being done.
func (p *Pool) LookupDue() time.Duration {
	switch {
	case p.looking || p.literal:
		return Never
	case p.short:
		return p.looked + max(p.backoff, lookupMin)
	}
	return p.looked + lookupEvery
}

// Looking tells that the lookup has begun.
func (p *Pool) Looking() { p.looking = true }

// Looked tells what the name means; nothing, where the lookup failed. Addresses beyond
// addressesMax, and those that cannot be asked, are left out.
func (p *Pool) Looked(addrs []netip.AddrPort, now time.Duration) {
	p.looking, p.looked = false, now
	p.backoff = min(max(2*p.backoff, lookupMin), lookupMax) // until a Plan is content
	var usable []netip.AddrPort
	for _, a := range addrs {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if !a.IsValid() || a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().IsMulticast() || slices.Contains(usable, a) {
			continue
		}
		if usable = append(usable, a); len(usable) == addressesMax {
			break
		}
	}
	if len(usable) > 0 { // old ones are better than none
		p.addrs = usable
	}
}

// Plan returns which members to open and which to close for them, where taken reports
// whether an address is a member of another source. They are members, or none, from then on.
// To be called after every other change, and now and then.
func (p *Pool) Plan(now time.Duration, taken func(netip.AddrPort) bool) (open, closed []netip.AddrPort) {
	for a, until := range p.shunned {
		if now >= until {
			delete(p.shunned, a)
		}
	}
	var free []netip.AddrPort
	for _, a := range p.addrs {
		if _, shunned := p.shunned[a]; !shunned && !p.has(a) && !taken(a) {
			free = append(free, a)
		}
	}
	for len(p.members) < p.want && len(free) > 0 {
		p.members, open, free = append(p.members, place{addr: free[0]}), append(open, free[0]), free[1:]
	}
	p.short = len(p.members) < p.want
	for i := range p.members {
		m := &p.members[i]
		switch {
		case m.bad && len(free) > 0:
			p.shunned[m.addr] = now + m.hold
			open, closed = append(open, free[0]), append(closed, m.addr)
			*m, free = place{addr: free[0]}, free[1:]
		case m.bad:
			p.short = true
		}
	}
	if !p.short {
		p.backoff = 0
	}
	return open, closed
}

// has reports whether an address is a member.
func (p *Pool) has(a netip.AddrPort) bool {
	return slices.ContainsFunc(p.members, func(m place) bool { return m.addr == a })
}

// Silent tells that a member does not answer.
func (p *Pool) Silent(a netip.AddrPort) { p.mark(a, true, silentHold) }

// Bad tells that a member forbids us to ask, or that its time is wrong.
func (p *Pool) Bad(a netip.AddrPort) { p.mark(a, true, badHold) }

// Good tells that a member has answered; what was bad is forgiven.
func (p *Pool) Good(a netip.AddrPort) { p.mark(a, false, 0) }

func (p *Pool) mark(a netip.AddrPort, bad bool, hold time.Duration) {
	for i := range p.members {
		m := &p.members[i]
		switch {
		case m.addr != a:
		case bad:
			m.bad, m.hold = true, max(hold, m.hold)
		default:
			m.bad, m.hold = false, 0
		}
	}
}
