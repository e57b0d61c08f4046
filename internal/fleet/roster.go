package fleet

import (
	"net/netip"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/rpc"
)

// What is asked when. The instants are spans of one monotonic clock.
//
// Each host has its turn once in an interval. The turns of a group's hosts are spread evenly over
// it, and a host that could not be asked in time keeps its place for the next. Whatever is due,
// one probe or lookup begins every spacing at the most, the one that has waited longest first,
// and flightsMax are under way at the most: a fleet that is too large for its interval is asked
// less often, never faster.

const (
	spacing    = time.Second / 50
	flightsMax = 64

	// A host is taken for silent after silentMax probes without an answer in a row. From then on
	// its interval doubles, up to backoffMax times it, but not beyond hourly.
	silentMax   = 3
	backoffMax  = 16
	intervalMax = time.Hour

	lookupEvery = time.Hour
	lookupRetry = time.Minute // after the first lookup that brought nothing; it doubles
)

// never is later than every instant.
const never = time.Duration(1<<63 - 1)

// host is a host that is observed.
type host struct {
	wanted
	interval time.Duration
	due      time.Duration // of the next probe
	begun    time.Duration // when a probe or a lookup was begun last
	flying   bool          // a probe or a lookup is under way
	gone     bool          // it is observed no more

	literal     bool
	lookupDue   time.Duration
	lookups     int    // in a row that brought nothing
	lookupFault string // of the last; empty: it brought an address
	barred      bool   // what the name means is this node's own address, or excluded

	silent       int // probes in a row without an answer
	last         judgement
	answered     int64 // when it answered last, Unix nanoseconds; 0: never
	probes, lost uint64
	hour         hour
}

// hour is what the hour of a host came to so far.
type hour struct {
	start         int64 // Unix seconds
	offset, bound compliance.Distribution
	probes, lost  uint32
	verdicts      [rpc.Verdict_VERDICT_UNKNOWN + 1]uint32
}

// roster is all hosts, and what is due. It reads no clock and belongs to who holds its lock.
type roster struct {
	hosts   []*host
	free    time.Duration // nothing is begun before
	flights int
}

// newHosts returns the hosts of a configuration, their turns spread over their intervals from now
// on.
func newHosts(all []wanted, now time.Duration) []*host {
	sizes := map[*Group]int{}
	for _, w := range all {
		sizes[w.group]++
	}
	turns := map[*Group]int{}
	hosts := make([]*host, len(all))
	for i, w := range all {
		interval := w.group.Interval
		if interval == 0 {
			interval = IntervalDefault
		}
		turn := now + interval/time.Duration(sizes[w.group])*time.Duration(turns[w.group])
		turns[w.group]++
		hosts[i] = &host{wanted: w, interval: interval, due: turn, lookupDue: turn, literal: w.addr.IsValid(), last: notAsked()}
	}
	return hosts
}

// replace puts other hosts in place of those that there are. A host that stays in its group
// keeps what is known of it. It returns those that are gone.
func (r *roster) replace(hosts []*host) (gone []*host) {
	type key struct {
		group, name string
		addr        netip.AddrPort
	}
	keyOf := func(h *host) key {
		k := key{h.group.Name, h.name, h.addr}
		if !h.literal {
			k.addr = netip.AddrPort{}
		}
		return k
	}
	old := map[key]*host{}
	for _, h := range r.hosts {
		old[keyOf(h)] = h
	}
	for i, h := range hosts {
		was := old[keyOf(h)]
		if was == nil {
			continue
		}
		delete(old, keyOf(h))
		if was.group.Profile.Tolerance != h.group.Profile.Tolerance || was.group.Profile.Warn != h.group.Profile.Warn {
			was.last = judge(was.last.measured, h.group.Profile)
		}
		if was.interval != h.interval {
			was.due = h.due
		}
		was.wanted.group, was.ranged, was.interval = h.group, h.ranged, h.interval
		hosts[i] = was
	}
	for _, h := range r.hosts {
		if old[keyOf(h)] == h {
			h.gone = true
			gone = append(gone, h)
		}
	}
	r.hosts = hosts
	return gone
}

// next returns what is to be begun now: a lookup, or else a probe; or nil and when to ask again.
func (r *roster) next(now time.Duration) (h *host, lookup bool, at time.Duration) {
	if r.flights >= flightsMax {
		return nil, false, never
	}
	due := never
	for _, c := range r.hosts {
		if c.flying {
			continue
		}
		if at, isLookup := c.turn(); at < due {
			h, lookup, due = c, isLookup, at
		}
	}
	if due = max(due, r.free); due > now {
		return nil, false, due
	}
	return h, lookup, now
}

// turn returns when the host is to be looked up or asked next.
func (h *host) turn() (at time.Duration, lookup bool) {
	if !h.literal && (!h.addr.IsValid() || h.lookupDue <= h.due || h.barred) {
		return h.lookupDue, true
	}
	return h.due, false
}

// begin tells that what next returned is begun.
func (r *roster) begin(h *host, now time.Duration) {
	h.flying, h.begun = true, now
	r.flights++
	r.free = now + spacing
}

// end tells that it is over, and how: a probe answered or not.
func (r *roster) end(h *host, answered bool) {
	h.flying = false
	r.flights--
	if answered {
		h.silent = 0
	} else {
		h.silent++
	}
	h.due = max(h.due+h.wait(), h.begun+h.interval*7/8)
}

// drop tells that it is over without a word on the host.
func (r *roster) drop(h *host) {
	h.flying = false
	r.flights--
}

// wait returns how long the host is left alone.
func (h *host) wait() time.Duration {
	times := time.Duration(1)
	for range h.silent - silentMax + 1 {
		times = min(2*times, backoffMax)
	}
	return max(h.interval, min(times*h.interval, intervalMax))
}

// looked tells what a lookup brought; nothing, where it failed. An address that the name still
// has is kept.
func (r *roster) looked(h *host, now time.Duration, addrs []netip.AddrPort, fault string) {
	h.flying = false
	r.flights--
	h.lookupFault = fault
	if len(addrs) == 0 {
		h.lookupDue = now + min(lookupRetry<<min(h.lookups, 10), lookupEvery)
		h.lookups++
		return
	}
	h.lookups, h.lookupDue = 0, now+lookupEvery
	for _, a := range addrs {
		if a == h.addr {
			return
		}
	}
	h.addr, h.silent, h.last = addrs[0], 0, notAsked()
}
