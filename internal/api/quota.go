package api

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
)

// Quota is what a principal may use. Zero fields have the usual value.
type Quota struct {
	// Calls is how many calls may be in progress at once; and a fourth as many watches, and a
	// sixteenth as many sessions.
	Calls int
	// Timestamps is how many may be issued per second, on average.
	Timestamps int64
	// AppendBytes is how many bytes of payloads may be appended per second, on average; 0: no
	// limit.
	AppendBytes int64
}

// The quota of who has none of its own: a node has 4096 calls for all, and can issue a thousand
// million timestamps a second.
const (
	quotaCalls      = 1024
	quotaTimestamps = 200_000_000
)

// kind is a kind of calls that are counted together.
type kind int

const (
	aCall kind = iota
	aSession
	aWatch
	kinds
)

// most returns how many calls of a kind may be in progress at once.
func (q *Quota) most(k kind) int64 {
	calls := int64(q.Calls)
	if calls == 0 {
		calls = quotaCalls
	}
	switch k {
	case aSession:
		return max(1, calls/16)
	case aWatch:
		return max(1, calls/4)
	default:
		return calls
	}
}

func (q *Quota) timestamps() int64 {
	if q.Timestamps == 0 {
		return quotaTimestamps
	}
	return q.Timestamps
}

// usage is what a principal, or an address, uses. Its methods may be called concurrently.
type usage struct {
	inProgress  [kinds]atomic.Int64
	timestamps  bucket
	appendBytes bucket
}

// enter counts a call, unless there are as many as may be.
func (u *usage) enter(k kind, most int64) bool {
	if u.inProgress[k].Add(1) > most {
		u.inProgress[k].Add(-1)
		return false
	}
	return true
}

func (u *usage) leave(k kind) { u.inProgress[k].Add(-1) }

// idle reports whether nothing is in progress.
func (u *usage) idle() bool {
	for k := range u.inProgress {
		if u.inProgress[k].Load() != 0 {
			return false
		}
	}
	return true
}

// bucket is a token bucket that holds a second's worth. It is the instant, in nanoseconds, at
// which it will be full again (a generic cell rate algorithm), so that taking from it is one
// comparison and one exchange. What is in it can be overdrawn by one request, however large:
// the debt is paid before the next. So the average holds, and no request is too large for ever.
// Source: ITU-T I.371, annex A.
type bucket struct{ full atomic.Int64 }

const bucketDepth = int64(time.Second)

// take takes n at the instant now, where perSecond come in. It returns 0, or how long it takes
// until something may be taken, and then takes nothing.
func (b *bucket) take(now, n, perSecond int64) time.Duration {
	cost := int64(math.Ceil(float64(n) * float64(time.Second) / float64(perSecond)))
	for {
		full := b.full.Load()
		if wait := full - now - bucketDepth; wait >= 0 {
			return time.Duration(wait) + 1
		}
		if b.full.CompareAndSwap(full, max(full, now)+cost) {
			return 0
		}
	}
}

// The answers to who asks for more than its quota.
func errQuotaCalls(k kind, most int64) *connect.Error {
	what, advice := "calls", "ask again in a moment, with fewer at a time"
	switch k {
	case aSession:
		what, advice = "sessions", "share one among more callers"
	case aWatch:
		what, advice = "watches", "end some, or watch more streams with one"
	}
	return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("you have %d %s in progress, which is your quota; %s", most, what, advice))
}

func errQuotaTimestamps(q *Quota, wait time.Duration) *connect.Error {
	return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("your quota is %d timestamps a second; ask again in %v", q.timestamps(), waitText(wait)))
}

func errQuotaAppend(q *Quota, wait time.Duration) *connect.Error {
	return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("your quota is %d bytes appended a second; ask again in %v", q.AppendBytes, waitText(wait)))
}

// waitText is a duration rounded up to milliseconds.
func waitText(d time.Duration) time.Duration {
	return (d + time.Millisecond - 1).Truncate(time.Millisecond)
}

var errAddresses = connect.NewError(connect.CodeResourceExhausted, errors.New("callers from too many addresses are in progress; ask again in a moment, or show a credential"))

// addressesMax is how many addresses of anonymous callers are remembered: more than can have
// a call in progress.
const addressesMax = 2 * connectionsMax

// addresses are what the anonymous callers of each address use. One with nothing in progress
// can be forgotten to make room: an attacker with thousands of addresses has thousands of
// quotas anyway.
type addresses struct {
	mu  sync.Mutex
	of  map[netip.Addr]*usage
	max int
}

func newAddresses(most int) *addresses {
	return &addresses{of: make(map[netip.Addr]*usage), max: most}
}

// enter counts a call from an address. It returns what the address uses, for leave, and nil
// where there is no room; ok is false where the quota is used up.
func (a *addresses) enter(addr netip.Addr, k kind, most int64) (u *usage, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	u = a.of[addr]
	if u == nil {
		if len(a.of) >= a.max && !a.forget() {
			return nil, false
		}
		u = new(usage)
		a.of[addr] = u
	}
	return u, u.enter(k, most)
}

// forget makes room. At most half of what is remembered has anything in progress, so it looks
// at few.
func (a *addresses) forget() bool {
	for addr, u := range a.of {
		if u.idle() {
			delete(a.of, addr)
			return true
		}
	}
	return false
}

// holder is the part of an address that stands for one caller: an IPv6 host has a whole /64.
func holder(a netip.Addr) netip.Addr {
	if a = a.Unmap().WithZone(""); a.Is6() {
		p, _ := a.Prefix(64) // fails for no address
		return p.Addr()
	}
	return a
}
