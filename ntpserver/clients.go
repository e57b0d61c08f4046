package ntpserver

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
)

// Client is what is remembered of one address that asked.
type Client struct {
	Addr        netip.Addr
	Version     uint8         // of its last request
	Mode        uint8         // of its last request: 3, or 0 from a client of version 1
	Interleaved bool          // its last answer was in interleaved mode
	Last        time.Time     // when it last asked, by the clock that is served
	Requests    uint64        // well-formed ones, the refused among them
	Drops       uint64        // those that were refused: denied, or too many
	Interval    time.Duration // between its requests, a running mean; 0 before the second
}

const (
	clientsDefault = 65_536
	clientsMax     = 1 << 24

	// intervalWeight is the weight of the mean's past against one new interval.
	intervalWeight = 8
)

// Clients decides who may ask, and remembers who did: what clients have left of
// their rate, when they were heard, and, for those in interleaved mode, when
// replies left. Several Responders share it; it may be used concurrently. Its
// memory is laid out once, and what was used least recently makes room.
type Clients struct {
	policy     atomic.Pointer[compiled]
	records    *table[record]
	buckets    *table[bucket]
	departures *departures // nil: basic mode only
}

// compiled is a Policy, ready for use.
type compiled struct {
	access *access
	rate   Rate
}

// record is a Client in the table.
type record struct {
	last     int64 // Unix nanoseconds, of the time that is served
	mono     int64 // the same instant, monotonic
	interval int64 // ns; 0 before the second request
	requests uint64
	drops    uint64
	v4       bool
	version  uint8
	mode     ntp.Mode

	interleaved bool // the last answer
}

// NewClients returns a Clients that remembers at least n addresses and answers
// everybody; 0 is 65,536, which takes some 11 MB once they have all asked. With
// basicOnly no client is answered in interleaved mode.
func NewClients(n int, basicOnly bool) (*Clients, error) {
	if n < 0 || n > clientsMax {
		return nil, fmt.Errorf("ntpserver: %d clients to remember: give 1 to %d, or 0 for %d", n, clientsMax, clientsDefault)
	}
	if n == 0 {
		n = clientsDefault
	}
	c := &Clients{records: newTable[record](n), buckets: newTable[bucket](n)}
	if !basicOnly {
		c.departures = newDepartures(n)
	}
	return c, c.SetPolicy(Policy{})
}

// SetPolicy changes who may ask and how often, from the next request on; what
// is remembered stays. It fails, and changes nothing, where the policy is out of
// range or contradicts itself.
func (c *Clients) SetPolicy(p Policy) error {
	access, err := newAccess(p.Allow, p.Deny)
	if err != nil {
		return err
	}
	if err := p.Rate.validate(); err != nil {
		return err
	}
	c.policy.Store(&compiled{access, p.Rate})
	return nil
}

// admit decides on a well-formed request, without a word on how it is answered:
// Answered, AnsweredLeak, KissRate, DropRate or DropDenied.
func (c *Clients) admit(addr netip.Addr, k key, a *Arrival) Verdict {
	p := c.policy.Load()
	if !p.access.allows(addr, k) {
		return DropDenied
	}
	if !p.rate.limits(addr) {
		return Answered
	}
	k = bucketKey(addr, k)
	set, tag := c.buckets.lock(k)
	b, _ := set.take(k, tag, a.Mono)
	ok := b.take(a.Mono, p.rate)
	set.mu.Unlock()
	if ok {
		return Answered
	}
	return p.rate.refuse(a.Random)
}

// note remembers a well-formed request that arrived at utc, and what became of it.
func (c *Clients) note(addr netip.Addr, k key, a *Arrival, utc int64, first byte, v Verdict) {
	set, tag := c.records.lock(k)
	r, fresh := set.take(k, tag, a.Mono)
	if !fresh {
		if d := a.Mono - r.mono; r.interval == 0 {
			r.interval = max(d, 1)
		} else {
			r.interval = max(r.interval+(d-r.interval)/intervalWeight, 1)
		}
	}
	r.v4 = addr.Is4()
	r.last, r.mono = utc, a.Mono
	r.version, r.mode = first>>3&7, ntp.Mode(first&7)
	r.requests++
	if v.answered() {
		r.interleaved = v == AnsweredInterleaved
	} else {
		r.drops++
	}
	set.mu.Unlock()
}

// List returns the clients that were heard last, the latest first, at most n.
func (c *Clients) List(n int) []Client {
	// No allocation while a set is locked, and none for a table that is all but empty: the list may
	// be asked for every few seconds. Who comes meanwhile is left out.
	list := make([]Client, 0, c.records.len())
	c.records.each(func(k key, r *record) {
		if len(list) == cap(list) {
			return
		}
		list = append(list, Client{
			Addr:        k.addr(r.v4),
			Version:     r.version,
			Mode:        uint8(r.mode),
			Interleaved: r.interleaved,
			Last:        time.Unix(0, r.last).UTC(),
			Requests:    r.requests,
			Drops:       r.drops,
			Interval:    time.Duration(r.interval),
		})
	})
	slices.SortFunc(list, func(a, b Client) int {
		if order := b.Last.Compare(a.Last); order != 0 {
			return order
		}
		return a.Addr.Compare(b.Addr)
	})
	return list[:min(max(n, 0), len(list))]
}
