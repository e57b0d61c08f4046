package netio

// The kernel's structures of a batch, and the two system calls that use them.
//
// All of it is laid out once, by init, and only what the kernel has written is
// put back before the next receive. The structures point into each other and
// into the batch by typed pointers, on the heap, which does not move; so the
// garbage collector sees them and nothing has to be pinned.

import (
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr      unix.Msghdr
	lenBytes uint32
}

// rawBatch is the kernel's side of a Batch. The i-th element of in and its
// parts belong to the i-th message, the k-th of out to the k-th reply of one send.
type rawBatch struct {
	in         [BatchMax]mmsghdr
	inVector   [BatchMax]unix.Iovec
	inName     [BatchMax]unix.RawSockaddrInet6 // the larger of both families
	inControl  [BatchMax]controlRoom
	dirty      int // how many of in the kernel has written
	out        [BatchMax]mmsghdr
	outVector  [BatchMax]unix.Iovec
	outControl [BatchMax]controlRoom

	// looped takes what the kernel loops back of the replies that it has stamped;
	// nil until one was asked for.
	looped *looped

	// stamps are the flags by which the kernel is asked to stamp a reply; 0 where it
	// turned out to refuse, because it is only something that looks like Linux.
	stamps uint32

	// local is where the kernel said that each message was sent to.
	local [BatchMax]localAddr
}

// init points the structures at the batch that they are part of.
func (r *rawBatch) init(b *Batch) {
	for i := range BatchMax {
		r.inVector[i].Base = &b.buffers[i][0]
		r.inVector[i].SetLen(DatagramMax)
		h := &r.in[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&r.inName[i]))
		h.Iov = &r.inVector[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&r.inControl[i]))

		r.out[i].hdr.Iov = &r.outVector[i]
		r.out[i].hdr.SetIovlen(1)
		r.out[i].hdr.Control = (*byte)(unsafe.Pointer(&r.outControl[i]))
	}
	r.dirty = BatchMax
	r.stamps = unix.SOF_TIMESTAMPING_TX_SOFTWARE
}

// receive is one recvmmsg: it waits for the first datagram and takes what
// else has arrived. It returns errors bare.
//
// The first try does not wait, and so need not tell the scheduler that this
// thread may be gone for long: under load there is always something, and a raw
// call then saves handing the processor over and taking it back, both here and in
// send (4.1 instead of 4.8 µs of CPU per answer). In exchange the processor is kept
// for as long as a batch takes to copy, some ten microseconds, which a garbage
// collection that wants to start has to wait for. Only where nothing is there does a
// call block, and that one tells the scheduler.
func (b *Batch) receive(fd int) (int, error) {
	r := &b.raw
	for i := range r.dirty {
		h := &r.in[i].hdr
		h.Namelen = uint32(unsafe.Sizeof(r.inName[i]))
		h.SetControllen(int(unsafe.Sizeof(r.inControl[i])))
	}
	b.queued = 0
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&r.in[0])), BatchMax, unix.MSG_DONTWAIT, 0, 0)
	if errno == unix.EAGAIN {
		n, _, errno = unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd),
			uintptr(unsafe.Pointer(&r.in[0])), BatchMax, unix.MSG_WAITFORONE, 0, 0)
	}
	if errno != 0 {
		return 0, errno
	}
	r.dirty = int(n)
	var now int64 // read at most once, and only where a stamp is missing
	for i := range r.dirty {
		h := &r.in[i].hdr
		m := &b.messages[i]
		m.Data = b.buffers[i][:min(r.in[i].lenBytes, DatagramMax)]
		m.Truncated = h.Flags&unix.MSG_TRUNC != 0
		m.From = r.sender(i)
		c := parseControl(r.inControl[i].written(h), &r.local[i])
		b.tellDrops(c.drops)
		m.At, m.Stamped = c.at, c.stamped
		if !m.Stamped {
			if now == 0 {
				now = time.Now().UnixNano()
			}
			m.At = now
		}
	}
	return r.dirty, nil
}

// sender returns who sent the i-th message. It leaves out the zone of a
// link-local address: the reply goes to the kernel's own form of the address,
// which has it, and a zone cannot be had without an allocation.
func (r *rawBatch) sender(i int) netip.AddrPort {
	name := &r.inName[i]
	switch n := r.in[i].hdr.Namelen; {
	case n >= unix.SizeofSockaddrInet6 && name.Family == unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(name.Addr), bigEndian(name.Port))
	case n >= unix.SizeofSockaddrInet4 && name.Family == unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), bigEndian(v4.Port))
	}
	return netip.AddrPort{}
}

// bigEndian returns the value of a number that lies in memory as on the wire.
func bigEndian(n uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&n))
	return uint16(b[0])<<8 | uint16(b[1])
}

// send sends the queue by sendmmsg. A reply that the kernel refuses is skipped.
// With source, replies leave from the address that was asked. It adds those that leave with
// a stamp to b.departing, which is 0 before. It returns errors bare.
//
// The calls are raw because none of them waits: see receive.
func (b *Batch) send(fd int, source bool) (failed int, last error) {
	r := &b.raw
	for k := range b.queued {
		q := &b.queue[k]
		r.outVector[k].Base = &b.buffers[q.message][0]
		r.outVector[k].SetLen(q.lenBytes)
		h := &r.out[k].hdr
		h.Name = (*byte)(unsafe.Pointer(&r.inName[q.message]))
		h.Namelen = r.in[q.message].hdr.Namelen
		if q.stamp {
			if q.stamp = r.stamps != 0; q.stamp {
				b.departing++
			}
		}
		r.instruct(k, *q, source)
	}
	unstamped := -1 // the reply that is tried again without a stamp
	for done := 0; done < b.queued; {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd),
			uintptr(unsafe.Pointer(&r.out[done])), uintptr(b.queued-done), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno == unix.EINVAL && b.queue[done].stamp:
			b.queue[done].stamp, unstamped = false, done
			b.departing--
			r.instruct(done, b.queue[done], source)
		case errno != 0: // it is about the first; the rest is still to be tried
			failed, last = failed+1, errno
			if b.queue[done].stamp {
				b.departing--
			}
			done++
		default:
			if unstamped == done { // it was the stamp that was refused
				r.stamps = 0
			}
			done += int(n)
		}
	}
	b.queued = 0
	return failed, last
}

// instruct writes what the kernel is told about the k-th reply: where it leaves from,
// and that it shall be stamped.
func (r *rawBatch) instruct(k int, q reply, source bool) {
	lenBytes := 0
	if source {
		lenBytes = r.local[q.message].put(&r.outControl[k])
	}
	if q.stamp {
		lenBytes = r.askStamp(&r.outControl[k], lenBytes)
	}
	h := &r.out[k].hdr
	h.Control = nil
	if lenBytes > 0 {
		h.Control = (*byte)(unsafe.Pointer(&r.outControl[k]))
	}
	h.SetControllen(lenBytes)
}
