package ntpserver

// Interleaved mode.
//
// A reply cannot carry the instant at which it leaves: the kernel knows it only
// afterwards. In interleaved mode the next reply carries it. The client asks for
// that by putting the receive timestamp of the last reply where a basic client
// puts its transmit timestamp, and the server has to have kept the pair.
//
// To keep it for every client would cost every client. So receive timestamps
// have their lowest bit set and transmit timestamps have it clear: an origin with
// the bit set is a receive timestamp, and only such a request has its reply's
// departure stamped and kept. The first one finds nothing kept and is
// answered in basic mode, the second one interleaved. Clients that fill the
// origin with something else cost an entry in a bounded table and hear basic replies.
//
// A pair is found by the receive timestamp alone, whatever port or worker the
// request comes to, and used once. It counts only for the address that it was
// given to. Replies with the same receive timestamp, which random low bits
// make rare, are all forgotten: their departures could not be told apart.
//
// A stranger can send any number of origins with the bit set, under any number of
// addresses. The pairs of clients that have proved that they hear us, by an origin
// that was kept for them, are therefore kept apart: what the first requests of all
// the world push out is only each other.
//
// Source: RFC 9769, section 2.

import (
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
)

const (
	// interleavedVersion is the first version that knows the mode.
	interleavedVersion = 4

	// departureMax is how long after its request's arrival a reply leaves at the
	// latest. What took longer says that the clock was set meanwhile.
	departureMax = time.Second
)

// receiveMark is the bit that tells receive from transmit timestamps. It lies
// below the precision of every clock, so it takes nothing from either.
const receiveMark ntp.Timestamp = 1

// markReceive returns a timestamp as a receive timestamp.
func markReceive(t ntp.Timestamp) ntp.Timestamp { return t | receiveMark }

// markTransmit returns a timestamp as a transmit timestamp, and never 0.
func markTransmit(t ntp.Timestamp) ntp.Timestamp {
	if t &^= receiveMark; t == 0 {
		return receiveMark << 1
	}
	return t
}

// departures are the departures of replies to clients in interleaved mode, by
// the replies' receive timestamps.
type departures struct {
	first  *table[departure] // of replies to clients that have yet to prove that they hear us
	proven *table[departure]
}

// departure is when a reply left, 0 until that is known, and to whom. The zero
// departure is nobody's: several replies share its receive timestamp.
type departure struct {
	transmit ntp.Timestamp
	to       key
}

func newDepartures(entries int) *departures {
	const firstShare = 4 // a first request is followed by another, or was none
	return &departures{first: newTable[departure](entries / firstShare), proven: newTable[departure](entries)}
}

// departureKey returns what the departure of a reply is found by.
func departureKey(receive ntp.Timestamp) key { return key{uint64(receive)} }

// with calls f with the entry of a receive timestamp, if there is one, in its table's set.
func (d *departures) with(receive ntp.Timestamp, f func(s *set[departure], i int)) {
	k := departureKey(receive)
	for _, t := range [...]*table[departure]{d.proven, d.first} {
		s, tag := t.lock(k)
		if i := s.find(k, tag); i >= 0 {
			f(s, i)
		}
		s.mu.Unlock()
	}
}

// expect keeps a place for the departure of the reply with this receive
// timestamp, to a client that has proved that it hears us, or not. It returns
// false where it cannot: another reply carries the same one.
func (d *departures) expect(receive ntp.Timestamp, to key, mono int64, proven bool) bool {
	shared := false
	d.with(receive, func(s *set[departure], i int) {
		s.entries[i].value, shared = departure{}, true
	})
	if shared {
		return false
	}
	t := d.first
	if proven {
		t = d.proven
	}
	k := departureKey(receive)
	s, tag := t.lock(k)
	defer s.mu.Unlock()
	v, fresh := s.take(k, tag, mono)
	if *v = (departure{}); fresh { // or another worker was here in between
		v.to = to
	}
	return fresh
}

// settle fills in when the reply left, unless its place was given away.
func (d *departures) settle(receive, transmit ntp.Timestamp) {
	d.with(receive, func(s *set[departure], i int) {
		s.entries[i].value.transmit = transmit
	})
}

// claim returns when the reply to a client with this receive timestamp left, 0
// where that is not known, and forgets it. The client is proven where the reply is one
// that was kept for it.
func (d *departures) claim(receive ntp.Timestamp, from key) (transmit ntp.Timestamp, proven bool) {
	d.with(receive, func(s *set[departure], i int) {
		if v := s.entries[i].value; v.to == from {
			transmit, proven = v.transmit, true
			s.clear(i)
		}
	})
	return transmit, proven
}
