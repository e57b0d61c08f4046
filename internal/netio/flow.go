package netio

import (
	"fmt"
	"net/netip"
	"time"
)

const (
	// FlowBatchMax is the largest number of datagrams that one Send sends and one
	// Receive returns.
	FlowBatchMax = 128

	// FlowsMax is the largest number of sockets of one Flows.
	FlowsMax = 4096

	// FlowDatagramMax is the largest datagram of a flow, in bytes: a longer one is
	// cut to this length, and marked as such.
	FlowDatagramMax = 256
)

// Flows are connected UDP sockets to one server, each with a source port of its own
// that the kernel chose, and the buffers of the one thread that drives them all. Nothing
// but Wait ever blocks, and nothing allocates after DialFlows. They belong to one goroutine.
type Flows interface {
	// Len returns how many sockets there are; they are numbered from 0.
	Len() int

	// Out returns the i-th datagram of the next Send, to be filled in; its content
	// stays from one Send to the next.
	Out(i int) []byte

	// Send sends the first n datagrams from one socket and returns how many the
	// kernel took, in order; the error is why it did not take the next one.
	Send(flow, n int) (sent int, err error)

	// Receive takes what has arrived at one socket and returns how many datagrams
	// that is, 0 where none has. An error is what the network said about an earlier
	// Send, such as that the port is closed; the socket is still usable.
	Receive(flow int) (n int, err error)

	// In returns the i-th datagram of the last Receive, valid until the next. Its
	// From is not set: it can only be the server.
	In(i int) *Message

	// Watch adds a socket to those that the next Wait waits for.
	Watch(flow int)

	// Wait returns when a datagram has arrived at a watched socket, when d has
	// passed, or earlier for no reason; then no socket is watched any more.
	Wait(d time.Duration)

	// Dropped returns how many datagrams have been lost here since DialFlows, because
	// they were not received in time, or came damaged; 0 where the kernel does not say.
	Dropped() uint64

	// Close closes the sockets.
	Close() error
}

// DialFlows opens n sockets to a server, for datagrams to be sent of lenBytes. It fails where
// the server cannot be reached from here, and where the numbers are out of range.
func DialFlows(server netip.AddrPort, n, lenBytes int) (Flows, error) {
	server = netip.AddrPortFrom(server.Addr().Unmap(), server.Port())
	switch {
	case !server.IsValid() || server.Port() == 0:
		return nil, fmt.Errorf("connect to %v: no such server", server)
	case n < 1 || n > FlowsMax:
		return nil, fmt.Errorf("connect to %v with %d sockets; want 1 to %d", server, n, FlowsMax)
	case lenBytes < 1 || lenBytes > FlowDatagramMax:
		return nil, fmt.Errorf("connect to %v for datagrams of %d bytes; want 1 to %d", server, lenBytes, FlowDatagramMax)
	}
	f, err := dialFlows(server, n, lenBytes)
	if err != nil {
		return nil, fmt.Errorf("connect to %v with %d sockets: %w", server, n, err)
	}
	return f, nil
}
