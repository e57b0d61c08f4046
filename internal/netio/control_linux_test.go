package netio

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// control returns one control message as the kernel writes it.
func control(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// stamp returns the data of a timestamp.
func stamp(sec, nsec uint64) []byte {
	return binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, sec), nsec)
}

// extended returns the data of an extended error, with an address of a length.
func extended(origin uint8, info uint32, addressLen int) []byte {
	b := []byte{byte(unix.ENOMSG), 0, 0, 0, origin, 0, 0, 0}
	b = binary.NativeEndian.AppendUint32(b, info)
	return append(b, make([]byte, 4+addressLen)...)
}

func TestParseControl(t *testing.T) {
	info := control(unix.IPPROTO_IP, unix.IP_PKTINFO, []byte{2, 0, 0, 0, 127, 0, 0, 1, 127, 0, 0, 2})
	at := control(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, stamp(1_800_000_000, 999_999_999))
	old := control(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, stamp(1_800_000_000, 999_999_999))
	drops := control(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, []byte{7, 0, 0, 0})
	sent4 := control(unix.IPPROTO_IP, unix.IP_RECVERR, extended(unix.SO_EE_ORIGIN_TIMESTAMPING, unix.SCM_TSTAMP_SND, 16))
	sent6 := control(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, extended(unix.SO_EE_ORIGIN_TIMESTAMPING, unix.SCM_TSTAMP_SND, 28))
	queued := control(unix.IPPROTO_IP, unix.IP_RECVERR, extended(unix.SO_EE_ORIGIN_TIMESTAMPING, unix.SCM_TSTAMP_SCHED, 16))
	icmp := control(unix.IPPROTO_IP, unix.IP_RECVERR, extended(unix.SO_EE_ORIGIN_ICMP, 0, 16))
	const want = 1_800_000_000_999_999_999
	cases := []struct {
		name    string
		control []byte
		want    ancillary
		family  int
	}{
		{"nothing", nil, ancillary{}, 0},
		{"stamp", at, ancillary{at: want, stamped: true}, 0},
		{"stamp of an old kernel", old, ancillary{at: want, stamped: true}, 0},
		{"both", slices.Concat(at, info), ancillary{at: want, stamped: true}, unix.AF_INET},
		{"both, the other way", slices.Concat(info, at), ancillary{at: want, stamped: true}, unix.AF_INET},
		{"something else first", slices.Concat(control(unix.SOL_SOCKET, unix.SCM_RIGHTS, []byte{1, 2, 3}), at), ancillary{at: want, stamped: true}, 0},
		{"stamp of 32 bits", control(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, make([]byte, 8)), ancillary{}, 0},
		{"stamp without its padding", at[:unix.CmsgLen(16)], ancillary{at: want, stamped: true}, 0},
		{"stamp cut short", at[:unix.CmsgLen(16)-1], ancillary{}, 0},
		{"header cut short", at[:unix.SizeofCmsghdr-1], ancillary{}, 0},
		{"address, then a stamp cut short", slices.Concat(info, at[:20]), ancillary{}, unix.AF_INET},
		{"length of zero", make([]byte, 64), ancillary{}, 0},
		{"drops", slices.Concat(at, drops, info), ancillary{at: want, stamped: true, drops: 7}, unix.AF_INET},
		{"drops cut short", drops[:unix.CmsgLen(3)], ancillary{}, 0},
		{"drops too short", control(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, []byte{7, 0, 0}), ancillary{}, 0},
		{"departure, IPv4", slices.Concat(at, sent4), ancillary{at: want, stamped: true, left: true}, 0},
		{"departure, IPv6", slices.Concat(at, sent6), ancillary{at: want, stamped: true, left: true}, 0},
		{"into the queue, not yet out of it", slices.Concat(at, queued), ancillary{at: want, stamped: true}, 0},
		{"an error of the network", slices.Concat(at, icmp), ancillary{at: want, stamped: true}, 0},
		{"error cut short", control(unix.IPPROTO_IP, unix.IP_RECVERR, extended(unix.SO_EE_ORIGIN_TIMESTAMPING, 0, 0)[:15]), ancillary{}, 0},
	}
	for _, c := range cases {
		local := localAddr{family: 99}
		if got := parseControl(c.control, &local); got != c.want || local.family != c.family {
			t.Errorf("%s: got %+v, family %d", c.name, got, local.family)
		}
	}
}

// FuzzParseControl: the kernel is trusted, and yet nothing it could write reads
// beyond its end or loops.
func FuzzParseControl(f *testing.F) {
	f.Add(control(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, stamp(1, 2)))
	f.Add(control(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, make([]byte, 20)))
	f.Add(slices.Concat(control(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, stamp(1, 2)), control(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, []byte{1, 2, 3, 4})))
	f.Add(control(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, extended(unix.SO_EE_ORIGIN_TIMESTAMPING, 0, 28)))
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		var local localAddr
		if got := parseControl(b, &local); !got.stamped && got.at != 0 {
			t.Errorf("%d without a stamp", got.at)
		}
		var out controlRoom
		n := local.put(&out)
		if (n > 0) != (local.family != 0) || n > len(out)*8 {
			t.Errorf("family %d: %d bytes", local.family, n)
		}
		// A second message does not hide the first, nor the first the second.
		n = put(&out, n, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, uint32(7))
		family := local.family
		var h unix.Msghdr
		h.SetControllen(n)
		if got := parseControl(out.written(&h), &local); got.drops != 7 || local.family != family {
			t.Errorf("family %d: read back %+v, family %d", family, got, local.family)
		}
	})
}

func TestPutLeavesTheInterfaceToTheRoutingTable(t *testing.T) {
	cases := []struct {
		name, addr, want string
		index            uint32
	}{
		{"global IPv4", "192.0.2.1", "192.0.2.1", 0},
		{"link-local IPv4", "169.254.1.1", "169.254.1.1", 7},
		{"global IPv6", "2001:db8::1", "2001:db8::1", 0},
		{"link-local IPv6", "fe80::1", "fe80::1", 7},
		{"multicast IPv6", "ff02::101", "::", 7},
	}
	for _, c := range cases {
		l := localAddr{family: unix.AF_INET6, v6: unix.Inet6Pktinfo{Addr: netip.MustParseAddr(c.addr).As16(), Ifindex: 7}}
		if addr := netip.MustParseAddr(c.addr); addr.Is4() {
			// Addr is the header's destination, which may be a broadcast.
			l = localAddr{family: unix.AF_INET, v4: unix.Inet4Pktinfo{Spec_dst: addr.As4(), Addr: [4]byte{255, 255, 255, 255}, Ifindex: 7}}
		}
		var out controlRoom
		n := l.put(&out)
		var back localAddr
		parseControl(unsafe.Slice((*byte)(unsafe.Pointer(&out)), n), &back)
		var addr netip.Addr
		var index uint32
		switch back.family {
		case unix.AF_INET:
			addr, index = netip.AddrFrom4(back.v4.Spec_dst), uint32(back.v4.Ifindex)
		case unix.AF_INET6:
			addr, index = netip.AddrFrom16(back.v6.Addr), back.v6.Ifindex
		}
		if addr.String() != c.want || index != c.index {
			t.Errorf("%s: from %s by interface %d, want %s by %d", c.name, addr, index, c.want, c.index)
		}
	}
}

// TestPutNeverWritesBeyondTheRoom: that is a bug, and it must not corrupt memory.
func TestPutNeverWritesBeyondTheRoom(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	var c controlRoom
	for n := 0; n <= int(unsafe.Sizeof(c)); {
		n = put(&c, n, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, uint32(1))
	}
}
