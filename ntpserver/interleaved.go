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
// given to. Two replies with the same receive timestamp, which random low bits
// make rare, are both forgotten: their departures could not be told apart.
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
	table *table[departure]
}

// departure is when a reply left, 0 until that is known, and to whom.
type departure struct {
	transmit ntp.Timestamp
	to       key
}

func newDepartures(entries int) *departures { return &departures{newTable[departure](entries)} }

// departureKey returns what the departure of a reply is found by.
func departureKey(receive ntp.Timestamp) key { return key{uint64(receive)} }

// expect keeps a place for the departure of the reply with this receive
// timestamp. It returns false where it cannot: another reply carries the same one.
func (d *departures) expect(receive ntp.Timestamp, to key, mono int64) bool {
	k := departureKey(receive)
	set, tag := d.table.lock(k)
	defer set.mu.Unlock()
	v, fresh := set.take(k, tag, mono)
	if !fresh {
		set.remove(k, tag)
		return false
	}
	v.to = to
	return true
}

// settle fills in when the reply left, unless its place was given away.
func (d *departures) settle(receive, transmit ntp.Timestamp) {
	k := departureKey(receive)
	set, tag := d.table.lock(k)
	defer set.mu.Unlock()
	if i := set.find(k, tag); i >= 0 {
		set.entries[i].value.transmit = transmit
	}
}

// claim returns when the reply to a client with this receive timestamp left, and
// forgets it; 0 where that is not known.
func (d *departures) claim(receive ntp.Timestamp, from key) ntp.Timestamp {
	k := departureKey(receive)
	set, tag := d.table.lock(k)
	defer set.mu.Unlock()
	i := set.find(k, tag)
	if i < 0 || set.entries[i].value.to != from {
		return 0
	}
	transmit := set.entries[i].value.transmit
	set.remove(k, tag)
	return transmit
}
