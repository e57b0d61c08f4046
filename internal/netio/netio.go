// Package netio moves UDP datagrams in batches, with the kernel's receive
// timestamps, and sends every reply from the address that its request was sent to.
//
// It promises that a batch costs no allocation, that a blocked Receive returns
// when its socket is closed, that a descriptor is never closed under a call
// that uses it, and that a datagram cut short is marked as such. On Linux it is
// recvmmsg and sendmmsg over arrays laid out once; elsewhere it is a
// net.UDPConn, one datagram at a time.
//
// It assumes that the kernel stamps with CLOCK_REALTIME, the clock that
// time.Now reads.
//
// Hazard: elsewhere than on Linux there is no kernel timestamp (the arrival is
// read after the receive and so is late by the time that the process took to
// wake) and a wildcard address answers from the address that the routing table
// prefers. Listen on named addresses there.
package netio

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
)

const (
	// BatchMax is the largest number of datagrams that one Receive returns.
	BatchMax = 32

	// DatagramMax is the largest datagram that is received whole, in bytes.
	// The largest that NTP knows, with NTS and eight cookies asked for, fits
	// into an Ethernet frame.
	DatagramMax = 2048
)

// Socket is one bound UDP socket. Receive and Flush belong to one goroutine;
// Close and LocalAddr may be called from any.
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
// to one goroutine and must not be copied: the kernel's structures inside point
// into it.
type Batch struct {
	messages [BatchMax]Message
	buffers  [BatchMax][DatagramMax]byte
	queue    [BatchMax]reply
	queued   int
	raw      rawBatch
}

// reply is a queued answer: the first lenBytes of the buffer of a message.
type reply struct {
	message  int
	lenBytes int
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
// its Data begin, a reply to the message's sender. Flush sends it. A message is
// answered at most once: more than BatchMax replies are ignored, as is an n
// outside of 0 to DatagramMax.
func (b *Batch) Queue(i, n int) {
	if b.queued == BatchMax || n < 0 || n > DatagramMax {
		return
	}
	b.queue[b.queued] = reply{message: i, lenBytes: n}
	b.queued++
}

// Queued returns how many replies wait for Flush.
func (b *Batch) Queued() int { return b.queued }

// Listen opens up to n sockets on one address, among which the kernel spreads
// the clients, and at least one. No other process can hold or later join the
// port: where the kernel balances by SO_REUSEPORT, the first socket is bound
// without it. Port 0 takes a free port, the same for all. An unspecified address is
// every address of its family; IPv6 sockets never take IPv4 traffic.
//
// The error says what to do about it.
func Listen(addr netip.AddrPort, n int) ([]Socket, error) {
	if !addr.IsValid() {
		return nil, errors.New("listen: no address given: name one, such as 0.0.0.0:123")
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	sockets := make([]Socket, 0, max(n, 1))
	for len(sockets) < max(n, 1) && (balanced || len(sockets) == 0) {
		s, err := open(addr, len(sockets) == 0)
		if err != nil {
			for _, s := range sockets {
				_ = s.Close()
			}
			return nil, fmt.Errorf("listen on udp %s: %w%s", addr, err, remedy(err, addr))
		}
		addr = s.LocalAddr() // the port that the kernel chose
		sockets = append(sockets, s)
	}
	return sockets, nil
}

// remedy returns what an operator can do about a failed bind, to be appended to
// the error.
func remedy(err error, addr netip.AddrPort) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf(": another NTP server holds the port; find it with \"ss -lunp sport = :%d\" and stop it, or listen on another port", addr.Port())
	case errors.Is(err, os.ErrPermission):
		return ": ports below 1024 need CAP_NET_BIND_SERVICE; grant it or listen on a higher port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return ": this machine does not have that address; see \"ip address\""
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return ": the kernel has no support for this address family; leave the address out"
	}
	return ""
}
