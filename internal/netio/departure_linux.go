package netio

// A transmit timestamp is asked for datagram by datagram, by a control message, and
// its report needs no option of the socket but the one that stamps what it receives: so
// replies without one cost nothing, and receiving stays as it is. Needs Linux 4.6, and
// net.core.tstamp_allow_data left at 1. Drivers that do not stamp report nothing.

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// looped is where the kernel puts the replies that it loops back.
type looped struct {
	in      [departuresMax]mmsghdr
	vector  [departuresMax]unix.Iovec
	control [departuresMax]controlRoom
	data    [departuresMax][headersMax + DatagramMax]byte
}

// newLooped returns the structures, pointing at each other.
func newLooped() *looped {
	l := new(looped)
	for i := range departuresMax {
		l.vector[i].Base = &l.data[i][0]
		l.vector[i].SetLen(len(l.data[i]))
		h := &l.in[i].hdr
		h.Iov = &l.vector[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&l.control[i]))
	}
	return l
}

// askStamp appends to the first lenBytes of c that the kernel shall tell when the
// datagram leaves, and returns the new length. The first call makes room for
// the answers.
func (r *rawBatch) askStamp(c *controlRoom, lenBytes int) int {
	if r.looped == nil {
		r.looped = newLooped()
	}
	return put(c, lenBytes, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, r.stamps)
}

// readDepartures reads the error queue, where the kernel also puts other things than
// departures: it goes on until it has found one or nothing is left.
func (b *Batch) readDepartures(fd int, port uint16) int {
	l := b.raw.looped
	if l == nil {
		return 0
	}
	for {
		for i := range l.in {
			h := &l.in[i].hdr
			h.Flags = 0
			h.SetControllen(int(unsafe.Sizeof(l.control[i])))
		}
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd),
			uintptr(unsafe.Pointer(&l.in[0])), departuresMax, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0 // EAGAIN; and of anything else Receive or Flush will tell
		}
		if found := b.departed(int(n), port); found > 0 {
			return found
		}
	}
}

// departed makes departures of those of the n datagrams looped back that are
// replies which left from port, and returns how many they are.
func (b *Batch) departed(n int, port uint16) (found int) {
	l := b.raw.looped
	var unused localAddr
	for i := range n {
		h := &l.in[i].hdr
		c := parseControl(l.control[i].written(h), &unused)
		if !c.left || !c.stamped || h.Flags&unix.MSG_TRUNC != 0 {
			continue
		}
		if data, ok := findPayload(l.data[i][:min(int(l.in[i].lenBytes), len(l.data[i]))], port); ok {
			b.departures[found] = Departure{Data: data, At: c.at}
			found++
		}
	}
	return found
}
