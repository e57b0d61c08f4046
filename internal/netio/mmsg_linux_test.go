package netio

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forget makes the sender of the i-th message unknown.
func forget(b *Batch, i int) {
	b.messages[i].From = netip.AddrPort{}
	b.raw.inName[i] = unix.RawSockaddrInet6{}
	b.raw.in[i].hdr.Namelen = unix.SizeofSockaddrInet6
}

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

func TestParseControl(t *testing.T) {
	info := control(unix.IPPROTO_IP, unix.IP_PKTINFO, []byte{2, 0, 0, 0, 127, 0, 0, 1, 127, 0, 0, 2})
	at := control(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, stamp(1_800_000_000, 999_999_999))
	old := control(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, stamp(1_800_000_000, 999_999_999))
	const want = 1_800_000_000_999_999_999
	cases := []struct {
		name    string
		control []byte
		at      int64
		family  int
	}{
		{"nothing", nil, 0, 0},
		{"stamp", at, want, 0},
		{"stamp of an old kernel", old, want, 0},
		{"both", append(append([]byte{}, at...), info...), want, unix.AF_INET},
		{"both, the other way", append(append([]byte{}, info...), at...), want, unix.AF_INET},
		{"something else first", append(control(unix.SOL_SOCKET, unix.SCM_RIGHTS, []byte{1, 2, 3}), at...), want, 0},
		{"stamp of 32 bits", control(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, make([]byte, 8)), 0, 0},
		{"stamp without its padding", at[:unix.CmsgLen(16)], want, 0},
		{"stamp cut short", at[:unix.CmsgLen(16)-1], 0, 0},
		{"header cut short", at[:unix.SizeofCmsghdr-1], 0, 0},
		{"address, then a stamp cut short", append(append([]byte{}, info...), at[:20]...), 0, unix.AF_INET},
		{"length of zero", make([]byte, 64), 0, 0},
	}
	for _, c := range cases {
		local := localAddr{family: 99}
		got, stamped := parseControl(c.control, &local)
		if got != c.at || stamped != (c.at != 0) || local.family != c.family {
			t.Errorf("%s: got %d, %v, family %d", c.name, got, stamped, local.family)
		}
	}
}

// FuzzParseControl: the kernel is trusted, and yet nothing it could write reads
// beyond its end or loops.
func FuzzParseControl(f *testing.F) {
	f.Add(control(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, stamp(1, 2)))
	f.Add(control(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, make([]byte, 20)))
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		var local localAddr
		at, stamped := parseControl(b, &local)
		if !stamped && at != 0 {
			t.Errorf("%d without a stamp", at)
		}
		var out [controlWords]uint64
		if n := local.put(&out); (n > 0) != (local.family != 0) || n > len(out)*8 {
			t.Errorf("family %d: %d bytes", local.family, n)
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
		var out [controlWords]uint64
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

// TestMissingStampIsReplacedByTheClock leaves the kernel no room for its stamp.
func TestMissingStampIsReplacedByTheClock(t *testing.T) {
	s := listen(t, "127.0.0.1:0").(*socket)
	client := dial(t, "127.0.0.1", s.LocalAddr().Port())
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, 0); err != nil {
		t.Fatal(err)
	}
	b := NewBatch()
	for range 2 {
		before := time.Now().UnixNano()
		_, _ = client.Write([]byte("x"))
		if n, err := s.Receive(b); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		m := b.Message(0)
		if after := time.Now().UnixNano(); m.Stamped || m.At < before || m.At > after {
			t.Errorf("stamped %v, at %d in [0, %d]", m.Stamped, m.At-before, after-before)
		}
	}
}

// TestMultiHomed asks a wildcard socket in a network namespace of its own at
// each of several addresses, of both families, on two interfaces.
func TestMultiHomed(t *testing.T) {
	ip, err := exec.LookPath("ip")
	if os.Getuid() != 0 || err != nil {
		t.Skip("needs root and the command ip")
	}
	needFamily(t, "[::]:0")
	var unshared error
	done := make(chan struct{})
	go func() { // its thread is in the namespace for good, and ends with it
		defer close(done)
		runtime.LockOSThread()
		if unshared = unix.Unshare(unix.CLONE_NEWNET); unshared != nil {
			return
		}
		for _, args := range [][]string{
			{"link", "set", "lo", "up"},
			{"link", "add", "v0", "type", "veth", "peer", "name", "v1"},
			{"link", "set", "v0", "up"},
			{"link", "set", "v1", "up"},
			{"addr", "add", "10.9.0.1/24", "dev", "v0"},
			{"addr", "add", "10.9.1.1/24", "dev", "lo"},
			{"-6", "addr", "add", "fd09::1/64", "dev", "v0", "nodad"},
			{"-6", "addr", "add", "fd09:1::1/128", "dev", "lo", "nodad"},
		} {
			if out, err := exec.Command(ip, args...).CombinedOutput(); err != nil {
				t.Errorf("ip %v: %v: %s", args, err, out)
				return
			}
		}
		askEach(t, "0.0.0.0:0", "10.9.0.1", "10.9.1.1", "127.0.0.3")
		askEach(t, "[::]:0", "fd09::1", "fd09:1::1", "::1")
		askEach(t, "[fd09::1]:0", "fd09::1")
	}()
	<-done
	if unshared != nil {
		t.Skipf("needs a network namespace: %v", unshared)
	}
}

// askEach sends to each address at the port of one socket, from a client that
// is bound to the last of them, and wants the reply from where it sent to. It
// asks again what is lost while the interfaces come up.
func askEach(t *testing.T, listenAt string, addrs ...string) {
	sockets, err := Listen(netip.MustParseAddrPort(listenAt), 1)
	if err != nil {
		t.Error(err)
		return
	}
	s := sockets[0]
	done := make(chan error, 1)
	go func() { done <- echo(s, 1<<30) }()
	defer func() {
		_ = s.Close()
		<-done
	}()
	from := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addrs[len(addrs)-1]), 0))
	for _, addr := range addrs {
		client, err := net.ListenUDP("udp", from)
		if err != nil {
			t.Error(err)
			return
		}
		to := netip.AddrPortFrom(netip.MustParseAddr(addr), s.LocalAddr().Port())
		got := netip.AddrPort{}
		for start := time.Now(); !got.IsValid() && time.Since(start) < patience; {
			_ = client.SetDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = client.WriteToUDPAddrPort([]byte("x"), to)
			_, got, _ = client.ReadFromUDPAddrPort(make([]byte, 2))
		}
		if got.Addr().Unmap() != to.Addr() {
			t.Errorf("asked %s, answered from %s", to, got)
		}
		_ = client.Close()
	}
}

func TestReceiveAndFlushDoNotAllocate(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "[::]:0"} {
		s := listen(t, addr)
		loopback := map[string]string{"0.0.0.0:0": "127.0.0.1", "[::]:0": "::1"}[addr]
		client := dial(t, loopback, s.LocalAddr().Port())
		b, buf := NewBatch(), make([]byte, 100)
		if got := testing.AllocsPerRun(200, func() {
			_, _ = client.Write(buf)
			n, err := s.Receive(b)
			if n != 1 || err != nil {
				t.Fatal(n, err)
			}
			b.Queue(0, len(b.Message(0).Data))
			if failed, err := s.Flush(b); failed != 0 || err != nil {
				t.Fatal(failed, err)
			}
			_, _ = client.Read(buf)
		}); got != 0 {
			t.Errorf("%s: %v allocations", addr, got)
		}
	}
}
