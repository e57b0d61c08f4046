package load

import "math/bits"

// flowBits is how many bits of a request's number say on which socket it went.
const flowBits = 12

// ringMax is the largest number of requests that are remembered at a time.
const ringMax = 1 << 22

// state is what has become of a request.
type state uint8

const (
	waiting state = iota // for its answer
	expired              // not answered in time; an answer may still come
	settled              // answered
)

// entry is a request that is remembered.
type entry struct {
	number uint64 // its sequence, from 1 on, and its socket
	sent   int64  // when, nanoseconds
	state  state
}

// ledger accounts for the requests of one thread: which are outstanding on which
// socket, and what becomes of them. Instants are nanoseconds of one clock that never
// goes back.
type ledger struct {
	cookies     cookies
	timeout     int64
	ring        []entry // by sequence, a power of two of them
	next        uint64  // the sequence of the next request
	oldest      uint64  // all before it are not waiting
	outstanding []int32 // by socket: how many are waiting
}

// newLedger returns a ledger for the sockets that remembers at least so many requests,
// as far as ringMax allows.
func newLedger(c cookies, flows, requests int, timeout int64) *ledger {
	size := min(1<<bits.Len(uint(max(requests, 1024)-1)), ringMax)
	l := &ledger{cookies: c, timeout: timeout, ring: make([]entry, size), next: 1, oldest: 1, outstanding: make([]int32, flows)}
	for i := range l.ring {
		l.ring[i].state = settled // which also has the kernel find the memory now
	}
	return l
}

// at returns the place of a request.
func (l *ledger) at(sequence uint64) *entry { return &l.ring[sequence&uint64(len(l.ring)-1)] }

// cookie returns the cookie of the i-th request from the next one on, if it is
// sent from that socket.
func (l *ledger) cookie(flow, i int) uint64 {
	return l.cookies.seal((l.next+uint64(i))<<flowBits | uint64(flow))
}

// sent notes that the next n requests have been sent from a socket. Where that is more
// than can be remembered, the oldest expire.
func (l *ledger) sent(flow, n int, now int64) {
	for range n {
		if l.next-l.oldest == uint64(len(l.ring)) {
			l.expireOldest()
		}
		*l.at(l.next) = entry{number: l.next<<flowBits | uint64(flow), sent: now}
		l.next++
	}
	l.outstanding[flow] += int32(n)
}

// expire gives up waiting for what was sent longer ago than the timeout.
func (l *ledger) expire(now int64) {
	for l.oldest < l.next {
		if e := l.at(l.oldest); e.state == waiting && now-e.sent <= l.timeout {
			return
		}
		l.expireOldest()
	}
}

// expireOldest lets go of the oldest request.
func (l *ledger) expireOldest() {
	if e := l.at(l.oldest); e.state == waiting {
		e.state = expired
		l.outstanding[e.number&(1<<flowBits-1)]--
	}
	l.oldest++
}

// waits reports whether any request waits for its answer.
func (l *ledger) waits() bool {
	for l.oldest < l.next && l.at(l.oldest).state != waiting {
		l.oldest++
	}
	return l.oldest < l.next
}

// settle says what an answer is that came to a socket with that cookie: Answered,
// Late, Duplicate, or Foreign where no such request was ever sent from there. For the
// first three it returns the request's sequence, and for Answered how long it took, for
// an answer that arrived age before now. An answer that lay here until its
// request had expired, because we were slow, is in time.
func (l *ledger) settle(flow int, cookie uint64, now, age int64) (v Verdict, sequence uint64, took int64) {
	number := l.cookies.open(cookie)
	sequence = number >> flowBits
	e := l.at(sequence)
	switch {
	case sequence == 0 || sequence >= l.next || number&(1<<flowBits-1) != uint64(flow):
		return Foreign, 0, 0
	case e.number != number && e.number>>flowBits == sequence:
		return Foreign, 0, 0 // it went from another socket
	case e.number != number:
		return Late, sequence, 0 // so late that it is forgotten
	case e.state == settled:
		return Duplicate, sequence, 0
	case e.state == waiting:
		l.outstanding[flow]--
	}
	e.state = settled
	since := now - e.sent
	took = since - min(max(age, 0), since) // a clock that was set gives any age
	if took > l.timeout {
		return Late, sequence, took
	}
	return Answered, sequence, took
}
