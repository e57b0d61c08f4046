package ntpserver

import (
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"time"
)

// Policy says who may ask and how often. The zero Policy answers everybody.
type Policy struct {
	// Allow and Deny are prefixes; of those that contain a client's address the
	// longest decides. Where none does, the client is denied if Allow lists
	// anything, and else allowed. A prefix cannot be in both, and neither list
	// can be longer than 65,536. A client that is denied hears nothing.
	Allow, Deny []netip.Prefix

	// Rate limits each client.
	Rate Rate
}

// Rate is a token bucket for each client: an IPv4 address, or an IPv6 prefix of
// 64 bits. Of the requests above it one in four, picked at random, is answered
// all the same: a flood under a client's address cannot take the time from
// that client.
type Rate struct {
	// Interval is the time in which a client earns one request, up to an hour; 0
	// is no limit.
	Interval time.Duration

	// Burst is how many requests a client can save up, 1 to 1,000,000.
	Burst int

	// Kiss makes one in so many refusals, at random, a reply with the kiss code
	// RATE in place of silence, which asks the client to poll less often; 0 is never.
	Kiss int

	// Private limits private (RFC 1918, RFC 4193), link-local and loopback
	// addresses too. A site's own clients may stand behind one of them.
	Private bool
}

const (
	intervalMax = time.Hour
	burstMax    = 1_000_000

	// leak is how many requests above the rate there are to one that is answered.
	leak = 4
)

// validate returns an error that says what to do.
func (r Rate) validate() error {
	switch {
	case r.Interval < 0 || r.Interval > intervalMax:
		return fmt.Errorf("ntpserver: rate interval %v: give 0 to %v", r.Interval, intervalMax)
	case r.Interval > 0 && (r.Burst < 1 || r.Burst > burstMax):
		return fmt.Errorf("ntpserver: rate burst %d: give 1 to %d", r.Burst, burstMax)
	case r.Kiss < 0 || r.Kiss > math.MaxInt32:
		return fmt.Errorf("ntpserver: one kiss in %d refusals: give 0 (never) to %d", r.Kiss, math.MaxInt32)
	}
	return nil
}

// limits reports whether the rate applies to an address, which is not a mapped one.
func (r Rate) limits(addr netip.Addr) bool {
	return r.Interval > 0 && (r.Private || !(addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast()))
}

// poll returns the least poll, log2 seconds, that keeps to the rate.
func (r Rate) poll() int8 {
	seconds := (r.Interval + time.Second - 1) / time.Second
	return int8(bits.Len64(uint64(max(seconds, 1) - 1)))
}

// refuse decides what becomes of a request above the rate. random is
// unpredictable in its upper 32 bits.
func (r Rate) refuse(random uint64) Verdict {
	word := random >> 32
	switch {
	case word%leak == 0:
		return AnsweredLeak
	case r.Kiss > 0 && word/leak%uint64(r.Kiss) == 0:
		return KissRate
	}
	return DropRate
}

// bucket is what one client has left of its rate, in one number: the monotonic
// instant at which it will be full again. An empty bucket is full at
// Burst intervals from now.
// Source: the virtual scheduling algorithm of ITU-T I.371 (GCRA).
type bucket struct {
	full int64
}

// take takes one token, and returns false where there is none. A bucket is never
// more than empty, however long the rate of an earlier policy would have had it wait.
func (b *bucket) take(now int64, r Rate) bool {
	interval := int64(r.Interval)
	empty := now + interval*int64(r.Burst)
	b.full = min(max(b.full, now), empty)
	if b.full > empty-interval {
		return false
	}
	b.full += interval
	return true
}

// bucketKey returns what the bucket of an address is found by, of which k is
// the key.
func bucketKey(addr netip.Addr, k key) key {
	if addr.Is6() {
		k[1] = 0
	}
	return k
}
