package sim

import (
	"net/netip"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
	"github.com/truechimer/truechimer/internal/upstream"
)

// Pool is one source whose name means several servers.
type Pool struct {
	Want    int   // members
	Servers []int // all that the name ever means, by their index in the Node's Servers
	// Means is what the name means at a time, by index; none: the lookup fails. Nil: all of
	// Servers.
	Means func(since time.Duration) []int
}

// pool is a Pool that lives. What it decides is upstream.Pool's; the rest is what the
// poller does around it.
type pool struct {
	*Pool
	node *node
	core *upstream.Pool
}

const (
	silentPolls = 8                // without a good reply, after which a member is given up
	wrongFor    = 30 * time.Minute // as long as it is outvoted
)

// lookupTime is how long a lookup takes.
const lookupTime = 20 * time.Millisecond

func addressOf(server int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(named(server).RefID), ntp.Port)
}

// turn looks the name up where that is due, and opens and closes members. It is called once
// a second.
func (p *pool) turn() {
	r, now := p.node.run, time.Duration(p.node.machine.local())
	if p.core.LookupDue() <= now {
		p.core.Looking()
		r.happen(r.now+int64(lookupTime), p.looked)
	}
	open, closed := p.core.Plan(now, func(netip.AddrPort) bool { return false })
	for _, i := range p.Servers {
		for _, a := range closed {
			if a == addressOf(i) {
				p.node.end(i)
			}
		}
	}
	for _, i := range p.Servers {
		for _, a := range open {
			if a == addressOf(i) {
				p.node.begin(i)
				p.node.peers[i].pool = p
			}
		}
	}
}

// looked takes what the name means.
func (p *pool) looked() {
	meant := p.Servers
	if p.Means != nil {
		meant = p.Means(p.node.run.since())
	}
	var addrs []netip.AddrPort
	for _, i := range meant {
		addrs = append(addrs, addressOf(i))
	}
	p.core.Looked(addrs, time.Duration(p.node.machine.local()))
}

// finished draws the conclusions from a poll of a member.
func (p *pool) finished(i int, good bool) {
	peer := p.node.peers[i]
	switch {
	case good:
		peer.bad = 0
		p.core.Good(addressOf(i))
	case peer.association.Stopped():
		p.core.Bad(addressOf(i))
	default:
		if peer.bad++; peer.bad >= silentPolls {
			p.core.Silent(addressOf(i))
		}
	}
}

// outvoted tells the pool of a member that has been a falseticker for long.
func (p *pool) outvoted(i int, since time.Duration) {
	if p.node.run.since()-since >= wrongFor {
		p.core.Bad(addressOf(i))
	}
}
