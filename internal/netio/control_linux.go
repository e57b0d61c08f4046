package netio

// Control messages: what the kernel tells about a datagram besides its bytes,
// and what it is told about one.

import (
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlRoom is the room for the control messages of one datagram. Words of eight
// bytes keep them aligned. The most that a datagram received brings is a timestamp
// (32 bytes), a drop count (24) and a local address (40); the most that one looped
// back brings is a timestamp, a local address and an error's description (64).
type controlRoom [20]uint64

// written returns what the kernel has written, by the header that it filled.
func (c *controlRoom) written(h *unix.Msghdr) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(c)), int(h.Controllen))
}

// ancillary is what control messages say about a datagram, without its local address.
type ancillary struct {
	at      int64  // when it arrived or left, Unix nanoseconds; 0 unless stamped
	stamped bool   // at is known
	drops   uint32 // the socket's drop counter when it was queued; 0 also where the kernel did not say
	left    bool   // it is a datagram of our own, looped back when it was handed to the driver
}

// parseControl reads the kernel's control messages, and into local where the
// datagram was sent to. What it does not know or what is cut short it leaves out.
func parseControl(b []byte, local *localAddr) (c ancillary) {
	local.family = 0
	for len(b) >= unix.SizeofCmsghdr {
		var h unix.Cmsghdr
		copyInto(&h, b)
		if uint64(h.Len) < uint64(unix.CmsgLen(0)) || uint64(h.Len) > uint64(len(b)) {
			return c
		}
		data := b[unix.CmsgLen(0):h.Len]
		switch {
		case h.Level == unix.SOL_SOCKET && (h.Type == unix.SO_TIMESTAMPNS_NEW || h.Type == unix.SO_TIMESTAMPNS):
			var t [2]int64 // seconds, nanoseconds; the old layout of 32 bits is shorter and left out
			if copyInto(&t, data) {
				c.at, c.stamped = t[0]*int64(time.Second)+t[1], true
			}
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL:
			copyInto(&c.drops, data)
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO:
			if copyInto(&local.v4, data) {
				local.family = unix.AF_INET
			}
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO:
			if copyInto(&local.v6, data) {
				local.family = unix.AF_INET6
			}
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR,
			h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR:
			var e unix.SockExtendedErr
			c.left = copyInto(&e, data) && e.Origin == unix.SO_EE_ORIGIN_TIMESTAMPING && e.Info == unix.SCM_TSTAMP_SND
		}
		b = b[min(unix.CmsgSpace(len(data)), len(b)):]
	}
	return c
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

// put appends one control message to the first lenBytes of c and returns the new
// length, with padding. T holds no pointers. It is a bug, and a panic, to put more
// than there is room for.
func put[T any](c *controlRoom, lenBytes int, level, kind int32, v T) int {
	size := int(unsafe.Sizeof(v))
	end := lenBytes + unix.CmsgSpace(size)
	room := (*[unsafe.Sizeof(*c)]byte)(unsafe.Pointer(c))[lenBytes:end]
	h := (*unix.Cmsghdr)(unsafe.Pointer(&room[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(size))
	copy(room[unix.CmsgLen(0):], unsafe.Slice((*byte)(unsafe.Pointer(&v)), size))
	return end
}

// localAddr is the address and the interface that a datagram was sent to.
type localAddr struct {
	family int // AF_INET, AF_INET6, or 0 where the kernel did not say
	v4     unix.Inet4Pktinfo
	v6     unix.Inet6Pktinfo
}

// put writes the control message that makes a reply leave from the address it
// was asked at, and returns its length, 0 where the routing table has to decide.
//
// The interface is left to the routing table too, except for link-local
// addresses, which mean nothing without it: on a host with several ways to a
// client, the way back need not be the way the request came.
func (l *localAddr) put(c *controlRoom) (lenBytes int) {
	switch l.family {
	case unix.AF_INET:
		// Spec_dst is the local address also where the request was broadcast.
		info := unix.Inet4Pktinfo{Spec_dst: l.v4.Spec_dst}
		if netip.AddrFrom4(l.v4.Spec_dst).IsLinkLocalUnicast() {
			info.Ifindex = l.v4.Ifindex
		}
		return put(c, 0, unix.IPPROTO_IP, unix.IP_PKTINFO, info)
	case unix.AF_INET6:
		info := l.v6
		switch addr := netip.AddrFrom16(info.Addr); {
		case addr.IsMulticast():
			info.Addr = [16]byte{} // nobody's own: any address of that interface
		case !addr.IsLinkLocalUnicast():
			info.Ifindex = 0
		}
		return put(c, 0, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, info)
	}
	return 0
}
