// Package netio moves UDP datagrams in batches, with the kernel's receive
// timestamps and, where they are asked for, its transmit timestamps, and sends every
// reply from the address that its request was sent to.
//
// It promises that a batch costs no allocation, that a blocked Receive returns
// when its socket is closed, that a descriptor is never closed under a call
// that uses it, that a datagram cut short is marked as such, and that what the
// kernel had no room for is counted. On Linux it is recvmmsg and sendmmsg over arrays
// laid out once; elsewhere it is a net.UDPConn, one datagram at a time.
//
// It assumes that the kernel stamps with CLOCK_REALTIME, the clock that
// time.Now reads.
//
// Hazard: transmit timestamps that are asked for and not fetched by Departures
// fill the receive buffer, until nothing is received any more.
//
// Hazard: elsewhere than on Linux there is no kernel timestamp (the arrival is
// read after the receive and so is late by the time that the process took to
// wake; departures and drops are never reported) and a wildcard address answers from
// the address that the routing table prefers. Listen on named addresses there.
package netio

import "net/netip"

const (
	// BatchMax is the largest number of datagrams that one Receive returns.
	BatchMax = 32

	// DatagramMax is the largest datagram that is received whole, in bytes.
	// The largest that NTP knows, with NTS and eight cookies asked for, fits
	// into an Ethernet frame.
	DatagramMax = 2048
)

// Socket is one bound UDP socket. Receive, Flush and Departures belong to one
// goroutine, and to one batch; Close and LocalAddr may be called from any.
type Socket interface {
	// Receive waits for at least one datagram, replaces the content of b by
	// what has arrived and returns how many that is, 1 to BatchMax. It returns
	// net.ErrClosed after Close; after any other error the socket is still
	// usable and b is empty. What was queued in b is forgotten.
	Receive(b *Batch) (int, error)

	// Flush sends what is queued in b, in the order of Queue, and empties the
	// queue. It never waits for room in the socket: a reply that waits carries
	// a departure time that is no longer true. It returns how many were not
	// sent, and the last reason.
	Flush(b *Batch) (failed int, err error)

	// Departures replaces the departures of b by what the kernel has reported
	// of replies that were queued with stamp, in the order in which they left, and
	// returns how many that is. It never waits; it returns 0 when nothing more
	// is there, and after Close. What has just been flushed is there at once
	// on most machines, and a little later where a queue or the network card takes its
	// time; a report may also never come.
	//
	// Call it until it returns 0, after every flush of such replies and before
	// the next Receive: what is not fetched takes room of what is to be received.
	Departures(b *Batch) int

	// LocalAddr returns the address that the socket is bound to, with the port
	// that the kernel chose where 0 was asked for.
	LocalAddr() netip.AddrPort

	// Close wakes Receive, waits until no call uses the socket, and frees it.
	// Closing twice is harmless.
	Close() error
}

// Message is one datagram received.
type Message struct {
	// Data is what arrived, DatagramMax bytes at the most. It lies in the
	// batch: a reply may be built over it, and it is valid until the next
	// Receive.
	Data []byte

	// From is the sender. It is the zero AddrPort where the kernel gave none.
	From netip.AddrPort

	// At is when it arrived, in nanoseconds since 1970-01-01 by CLOCK_REALTIME:
	// the kernel's receive timestamp where Stamped, else the clock as read after
	// the receive.
	At int64

	// Stamped tells that At is the kernel's.
	Stamped bool

	// Truncated tells that the datagram was longer than Data.
	Truncated bool
}

// Batch holds the datagrams of one Receive and the replies to them. It belongs
// to one goroutine and one socket, and must not be copied: the kernel's structures
// inside point into it.
type Batch struct {
	messages   [BatchMax]Message
	buffers    [BatchMax][DatagramMax]byte
	queue      [BatchMax]reply
	queued     int
	departing  int
	departures [departuresMax]Departure
	drops      uint64
	raw        rawBatch
}

// reply is a queued answer: the first lenBytes of the buffer of a message.
type reply struct {
	message  int
	lenBytes int
	stamp    bool // its departure is to be reported
}

// NewBatch returns an empty batch.
func NewBatch() *Batch {
	b := new(Batch)
	b.raw.init(b)
	return b
}

// Message returns the i-th datagram of the last Receive, valid until the next.
func (b *Batch) Message(i int) *Message { return &b.messages[i] }

// Queue makes the first n bytes of the i-th message's buffer, which begins where
// its Data begin, a reply to the message's sender. Flush sends it; with stamp, the
// kernel is asked when it leaves, and Departures returns that. A message is
// answered at most once: more than BatchMax replies are ignored, as is an n
// outside of 0 to DatagramMax.
func (b *Batch) Queue(i, n int, stamp bool) {
	if b.queued == BatchMax || n < 0 || n > DatagramMax {
		return
	}
	b.queue[b.queued] = reply{message: i, lenBytes: n, stamp: stamp}
	b.queued++
}

// Queued returns how many replies wait for Flush.
func (b *Batch) Queued() int { return b.queued }

// Departing returns how many of the replies that the last Flush sent left with the request
// to be stamped: as many departures of it are still to come, at the most. A reply that was
// not sent is none, nor one that left without the request because the kernel refuses it.
func (b *Batch) Departing() int { return b.departing }

// Drops returns how many datagrams the kernel has thrown away at the socket since it
// was opened: for want of room in the receive buffer, or, which is rare, because of
// a wrong checksum. The kernel tells with every datagram what it had dropped before it,
// and the last Receive is what we know: drops are seen once something gets
// through again. It never falls.
func (b *Batch) Drops() uint64 { return b.drops }

// tellDrops takes the kernel's counter, which has 32 bits and wraps, and 0 where the
// kernel did not tell. A counter behind the last one told changes nothing.
func (b *Batch) tellDrops(counter uint32) {
	if ahead := int32(counter - uint32(b.drops)); counter != 0 && ahead > 0 {
		b.drops += uint64(ahead)
	}
}
