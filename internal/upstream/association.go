package upstream

// One server.
//
// An Association decides when the next request to its server is due, what stands in it, and
// what a reply means. It reads no clock and holds no socket: time, bytes and random
// numbers are arguments, so that a simulation runs it as the Poller does:
//
//	a.Due()                     sleep until then
//	a.Request(now, random)      gives the request, to be sent by a fresh socket,
//	                            or gives up the one that nobody has answered
//	a.Sent(stamp)               when it left, told once or more often, the best word last
//	a.Reply(datagram, stamp)    for every datagram that comes back, while Waiting
//	a.SetPoll(interval)         after a sample, what the discipline wants
//
// The interval. Requests are 2^poll seconds apart, give or take a thirty-second by chance, so
// that a fleet that was started together does not ask together for ever. The discipline moves
// poll between MinPoll and MaxPoll: down at once, up by one at a time. The server has the
// last word: each kiss code RATE puts the floor one above the interval in use, beyond MaxPoll
// if need be, and there it stays for a day; then it comes down by one a day. At the start,
// when a server is heard again that was unreachable, and when an operator asks for it, a few
// requests follow each other by two seconds, or by the spacing where that is more.
//
// Interleaved mode. The transmit timestamp of a reply is written before the reply leaves.
// A server that knows the mode tells in the next reply when the last one really left. So what
// is measured then is always the exchange before: nothing is lost but a poll interval's
// time. That is why an association asks for it only once the discipline has had its
// first samples, and why the first interleaved reply gives no sample: its exchange has
// been measured already. After two replies missed in a row, or one that makes no sense, the next
// request is a basic one, and a server whose interleaved replies make no sense
// again and again is not asked for them any more.
//
// Source: RFC 5905, sections 7.4, 8 and 13, with erratum 3007; RFC 8633, sections 3 and
// 4; RFC 9109; RFC 9769, section 2.

import (
	"math"
	"math/bits"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/ntp"
)

const (
	// BurstDefault is how many requests a burst has, BurstMax how many it can have. Eight
	// are what RFC 5905 has, and enough for the discipline to know the rate of the clock.
	BurstDefault = 8
	BurstMax     = 8

	// The range of poll, log2 seconds. RFC 5905 ends at 17 too; below 4 it
	// knows nothing, and networks of one's own can take more.
	pollMin = -6
	pollMax = 17

	burstSpacing = 2 * time.Second              // between the requests of a burst: RFC 5905, section 13.3
	replyWait    = 3 * time.Second              // a reply that is later proves nothing worth having
	startSpread  = time.Second / 2              // the first requests of a process are spread over it
	floorHold    = 24 * time.Hour               // how long a RATE is heeded before one step down is tried
	spreadShare  = 32                           // an interval varies by one part in as many
	Never        = time.Duration(math.MaxInt64) // when a stopped association is due

	interleavedAfter     = 8 // replies before interleaved mode is asked for
	interleavedMissesMax = 2 // unanswered requests in a row that it survives
	interleavedFaultsMax = 4 // replies without sense after which it is not asked for again
)

// AssociationOptions are what is configured of a source and known of this host.
type AssociationOptions struct {
	MinPoll, MaxPoll int8          // log2 seconds
	Burst            int           // requests in a burst, up to BurstMax; 0: no bursts
	Interleaved      bool          // ask for interleaved mode
	SpacingMin       time.Duration // no two requests come closer; 4 s for NIST's servers

	Precision ntp.Precision // of the clock that stamps requests and replies
	Pivot     int64         // Unix nanoseconds within 68 years of the server's time
	Scale     Scale         // the leap-free scale
	// Loop reports whether a server with this reference identifier, at stratum 2 or more,
	// follows this host. Nil: none does.
	Loop func(ntp.RefID) bool
}

// Scale is the leap-free scale, as leap.Table knows it. Instants are Unix nanoseconds.
type Scale interface {
	// TAI returns utc plus TAI−UTC of that instant.
	TAI(utc int64) int64
	// Next returns the first leap second after utc that is known.
	Next(utc int64) (at int64, kind clock.Leap, ok bool)
}

// Stamp is an instant on both clocks of this host: the local timeline, which nobody steers,
// and the wall clock, which a stamp of the kernel comes from.
type Stamp struct {
	Local  time.Duration
	Unix   int64 // nanoseconds
	Kernel bool  // the kernel took it
}

// Random is what Request needs of chance. The first two words go out on the wire: they must
// be such that nobody can guess them.
type Random [3]uint64

// Association is one server that is asked for the time, again and again. It belongs to one
// goroutine.
type Association struct {
	opts AssociationOptions

	// When to ask.
	poll       int8 // as the discipline wants it
	floor      int8 // as the server wants it; MinPoll where it wants nothing
	floorUntil time.Duration
	burst      int           // requests of a burst still to come
	begun      time.Duration // when the last request was made
	spread     int64         // of the interval after it, in [−2^31, 2^31)
	earliest   time.Duration // the next request comes no sooner, whatever the interval
	spaced     time.Duration // nor sooner than this, whatever anybody wants
	stopped    bool          // the server has said DENY or RSTR

	// The request that waits for its reply.
	waiting bool
	silent  bool // nothing was heard in the eight polls before it
	request ntp.Header
	sent    Stamp

	// What came before.
	reach     uint8
	replies   int    // good ones since the start, up to interleavedAfter
	misses    int    // unanswered requests in a row
	last      answer // the last good reply
	lastValid bool   // last may be continued in interleaved mode
	faults    int    // interleaved replies without sense
	mode      bool   // the last good reply was interleaved
	counts    Counts
}

// answer is a good reply, with all that is needed to measure it once more.
type answer struct {
	sent, arrived Stamp
	header        ntp.Header
	measured      bool // a sample was made of it
}

// NewAssociation returns an association whose first request is due within half a second,
// or, where requests must be spaced, that much after the spacing: a process that was
// started again has forgotten when it asked last. Numbers out of their range are taken
// to the end of it.
func NewAssociation(opts AssociationOptions, now time.Duration, random uint64) *Association {
	opts.MinPoll = min(max(opts.MinPoll, pollMin), pollMax)
	opts.MaxPoll = min(max(opts.MaxPoll, opts.MinPoll), pollMax)
	opts.Burst = min(max(opts.Burst, 0), BurstMax)
	if opts.Loop == nil {
		opts.Loop = func(ntp.RefID) bool { return false }
	}
	delay, _ := bits.Mul64(random, uint64(startSpread))
	return &Association{
		opts:     opts,
		poll:     opts.MinPoll,
		floor:    opts.MinPoll,
		burst:    opts.Burst,
		begun:    -Never / 2,
		earliest: now + opts.SpacingMin + time.Duration(delay),
		spaced:   now + opts.SpacingMin,
	}
}

// Due returns when the association wants Request to be called next: to send one, or to
// give up the reply to the last. It moves after every other call. Never: not at all.
func (a *Association) Due() time.Duration {
	switch {
	case a.stopped:
		return Never
	case a.waiting:
		return a.begun + replyWait
	}
	return a.Next()
}

// Next returns when the next request is to be made if the discipline and the server
// want nothing else until then.
func (a *Association) Next() time.Duration {
	if a.stopped {
		return Never
	}
	return max(a.begun+a.interval(), a.earliest, a.spaced)
}

// interval returns how long after a request the next one follows.
func (a *Association) interval() time.Duration {
	if a.burst > 0 {
		return burstSpacing
	}
	d := pollSpan(a.Poll())
	return d + time.Duration(a.spread)*(d/spreadShare>>16)>>15
}

// Request is called when the association is due. It returns the request to be sent by a
// fresh socket: Sent, and Reply or Fail, are to follow. Or it returns false, because a
// reply has not come in time, which Waiting then tells, or because it is not yet due.
func (a *Association) Request(now time.Duration, random Random) (request ntp.Header, ok bool) {
	if now < a.Due() {
		return ntp.Header{}, false
	}
	if a.waiting {
		a.Fail(Lost)
		return ntp.Header{}, false
	}
	a.burst = max(a.burst-1, 0)
	if a.floor > a.opts.MinPoll && now >= a.floorUntil {
		a.floor--
		a.floorUntil = now + floorHold
	}
	a.begun, a.spaced, a.spread = now, now+a.opts.SpacingMin, int64(int32(random[2]))
	a.silent = a.reach == 0
	a.reach <<= 1
	a.waiting = true
	// Nothing but a cookie: a server needs only give it back, and it tells nobody
	// what we are, or our time.
	a.request = ntp.Header{Version: ntp.VersionMax, Mode: ntp.ModeClient, Transmit: ntp.Timestamp(random[0]).NonZero()}
	if a.asksInterleaved(now) {
		a.request.Origin = a.last.header.Receive
		a.request.Receive = ntp.Timestamp(random[1]).NonZero()
		if a.request.Receive == a.request.Transmit {
			a.request.Receive ^= 2
		}
	}
	a.sent = Stamp{}
	return a.request, true
}

// asksInterleaved reports whether a request now asks for interleaved mode. What it would
// measure must not be older than misses alone can make it: else the machine slept, or
// the interval was much longer, and a basic request tells what is true now.
func (a *Association) asksInterleaved(now time.Duration) bool {
	return a.opts.Interleaved && a.lastValid && a.replies >= interleavedAfter && a.faults < interleavedFaultsMax &&
		now-a.last.arrived.Local <= (interleavedMissesMax+1)*pollSpan(a.Poll())+replyWait
}

// Sent tells when the request left. It is called before the request is sent with
// the clock as read then, and again, before Reply, with the kernel's stamp of the departure
// where there is one.
func (a *Association) Sent(at Stamp) {
	if a.waiting {
		a.sent = at
	}
}

// Fail ends the exchange without a reply and says why: Lost, Unsent or Refused.
func (a *Association) Fail(why Verdict) {
	if !a.waiting {
		return
	}
	a.waiting = false
	a.counts[why]++
	if a.misses++; a.misses >= interleavedMissesMax {
		a.lastValid = false
	}
}

// Postpone puts the next request off until then at the earliest. An exchange that is under way
// goes on.
func (a *Association) Postpone(until time.Duration) { a.earliest = max(a.earliest, until) }

// Burst has a burst begin: what was measured before counts for nothing, or somebody
// wants to know. So it is of basic requests, each of which is measured itself. A server that
// has asked for fewer requests gets none.
func (a *Association) Burst() {
	a.replies, a.lastValid = 0, false
	if a.floor > a.opts.MinPoll {
		return
	}
	a.burst = a.opts.Burst
}

// SetPoll takes the interval that would serve best. It holds from the last request on: the
// next can be due at once.
func (a *Association) SetPoll(want time.Duration) {
	p := min(max(pollOf(want), a.opts.MinPoll), a.opts.MaxPoll)
	if p > a.poll {
		p = a.poll + 1
	}
	a.poll = p
}

// Poll returns the interval in use, log2 seconds.
func (a *Association) Poll() int8 { return max(a.poll, a.floor) }

// Reach returns the shift register of the last eight requests: a bit is set where a
// good reply came, the latest in the lowest. A server that is not asked any more is out of
// reach.
func (a *Association) Reach() uint8 {
	if a.stopped {
		return 0
	}
	return a.reach
}

// Waiting reports whether a reply is awaited.
func (a *Association) Waiting() bool { return a.waiting }

// Stopped reports whether the server has forbidden us to ask. Only a new association
// asks again.
func (a *Association) Stopped() bool { return a.stopped }

// Interleaved reports whether the last good reply was in interleaved mode.
func (a *Association) Interleaved() bool { return a.mode }

// Counts returns how often each verdict was given.
func (a *Association) Counts() Counts { return a.counts }

// pollSpan returns 2^p seconds.
func pollSpan(p int8) time.Duration {
	if p < 0 {
		return time.Second >> -p
	}
	return time.Second << p
}

// pollOf returns the largest p with 2^p seconds not above d, within pollMin and pollMax.
func pollOf(d time.Duration) int8 {
	p := int8(pollMin)
	for p < pollMax && pollSpan(p+1) <= d {
		p++
	}
	return p
}
