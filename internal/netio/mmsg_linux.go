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

// controlWords is the room for control messages in words of eight bytes, which
// keeps them aligned: a timestamp takes 32 bytes and a local address 40.
const controlWords = 16

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
	inControl  [BatchMax][controlWords]uint64
	dirty      int // how many of in the kernel has written
	out        [BatchMax]mmsghdr
	outVector  [BatchMax]unix.Iovec
	outControl [BatchMax][controlWords]uint64

	// local is where the kernel said that each message was sent to.
	local [BatchMax]localAddr
}

// localAddr is the address and the interface that a datagram was sent to.
type localAddr struct {
	family int // AF_INET, AF_INET6, or 0 where the kernel did not say
	v4     unix.Inet4Pktinfo
	v6     unix.Inet6Pktinfo
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
	}
	r.dirty = BatchMax
}

// receive is one recvmmsg: it blocks for the first datagram and takes what
// else has arrived. It returns errors bare.
func (b *Batch) receive(fd int) (int, error) {
	r := &b.raw
	for i := range r.dirty {
		h := &r.in[i].hdr
		h.Namelen = uint32(unsafe.Sizeof(r.inName[i]))
		h.SetControllen(int(unsafe.Sizeof(r.inControl[i])))
	}
	b.queued = 0
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&r.in[0])), BatchMax, unix.MSG_WAITFORONE, 0, 0)
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
		m.At, m.Stamped = parseControl(unsafe.Slice((*byte)(unsafe.Pointer(&r.inControl[i])), int(h.Controllen)), &r.local[i])
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

// parseControl reads the kernel's control messages: the receive timestamp in
// Unix nanoseconds, if there is one, and into local where the datagram was sent
// to. What it does not know or what is cut short it leaves out.
func parseControl(control []byte, local *localAddr) (at int64, stamped bool) {
	local.family = 0
	for len(control) >= unix.SizeofCmsghdr {
		var h unix.Cmsghdr
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&h)), unix.SizeofCmsghdr), control)
		if uint64(h.Len) < uint64(unix.CmsgLen(0)) || uint64(h.Len) > uint64(len(control)) {
			return at, stamped
		}
		data := control[unix.CmsgLen(0):h.Len]
		switch {
		case h.Level == unix.SOL_SOCKET && (h.Type == unix.SO_TIMESTAMPNS_NEW || h.Type == unix.SO_TIMESTAMPNS):
			var t [2]int64 // seconds, nanoseconds; the old layout of 32 bits is shorter and left out
			if copyInto(&t, data) {
				at, stamped = t[0]*int64(time.Second)+t[1], true
			}
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO:
			if copyInto(&local.v4, data) {
				local.family = unix.AF_INET
			}
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO:
			if copyInto(&local.v6, data) {
				local.family = unix.AF_INET6
			}
		}
		control = control[min(unix.CmsgSpace(len(data)), len(control)):]
	}
	return at, stamped
}

// copyInto fills v from data, which may be unaligned, and reports whether there
// was enough of it. T holds no pointers.
func copyInto[T any](v *T, data []byte) bool {
	size := int(unsafe.Sizeof(*v))
	if len(data) < size {
		return false
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(v)), size), data)
	return true
}

// send sends the queue by sendmmsg. A reply that the kernel refuses is skipped.
// With source, replies leave from the address that was asked. It returns errors bare.
func (b *Batch) send(fd int, source bool) (failed int, last error) {
	r := &b.raw
	for k, q := range b.queue[:b.queued] {
		r.outVector[k].Base = &b.buffers[q.message][0]
		r.outVector[k].SetLen(q.lenBytes)
		h := &r.out[k].hdr
		h.Name = (*byte)(unsafe.Pointer(&r.inName[q.message]))
		h.Namelen = r.in[q.message].hdr.Namelen
		h.Control = nil
		h.SetControllen(0)
		if source {
			if n := r.local[q.message].put(&r.outControl[k]); n > 0 {
				h.Control = (*byte)(unsafe.Pointer(&r.outControl[k]))
				h.SetControllen(n)
			}
		}
	}
	for done := 0; done < b.queued; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd),
			uintptr(unsafe.Pointer(&r.out[done])), uintptr(b.queued-done), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0: // it is about the first; the rest is still to be tried
			failed, last = failed+1, errno
			done++
		default:
			done += int(n)
		}
	}
	b.queued = 0
	return failed, last
}

// put writes the control message that makes a reply leave from the address it
// was asked at, and returns its length, 0 where the routing table has to decide.
//
// The interface is left to the routing table too, except for link-local
// addresses, which mean nothing without it: on a host with several ways to a
// client, the way back need not be the way the request came.
func (l *localAddr) put(control *[controlWords]uint64) (lenBytes int) {
	switch l.family {
	case unix.AF_INET:
		// Spec_dst is the local address also where the request was broadcast.
		info := unix.Inet4Pktinfo{Spec_dst: l.v4.Spec_dst}
		if netip.AddrFrom4(l.v4.Spec_dst).IsLinkLocalUnicast() {
			info.Ifindex = l.v4.Ifindex
		}
		return putControl(control, unix.IPPROTO_IP, unix.IP_PKTINFO, info)
	case unix.AF_INET6:
		info := l.v6
		switch addr := netip.AddrFrom16(info.Addr); {
		case addr.IsMulticast():
			info.Addr = [16]byte{} // nobody's own: any address of that interface
		case !addr.IsLinkLocalUnicast():
			info.Ifindex = 0
		}
		return putControl(control, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, info)
	}
	return 0
}

// putControl writes one control message and returns its length with padding.
func putControl[T any](control *[controlWords]uint64, level, kind int32, v T) (lenBytes int) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(control))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(int(unsafe.Sizeof(v))))
	*(*T)(unsafe.Add(unsafe.Pointer(control), unix.CmsgLen(0))) = v
	return unix.CmsgSpace(int(unsafe.Sizeof(v)))
}
