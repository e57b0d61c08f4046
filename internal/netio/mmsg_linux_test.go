package netio

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// forget makes the sender of the i-th message unknown.
func forget(b *Batch, i int) {
	b.messages[i].From = netip.AddrPort{}
	b.raw.inName[i] = unix.RawSockaddrInet6{}
	b.raw.in[i].hdr.Namelen = unix.SizeofSockaddrInet6
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
	needFamily(t, "[::]:0")
	space := newNamespace(t)
	space.ip(t,
		"link set lo up",
		"link add v0 type veth peer name v1",
		"link set v0 up",
		"link set v1 up",
		"addr add 10.9.0.1/24 dev v0",
		"addr add 10.9.1.1/24 dev lo",
		"-6 addr add fd09::1/64 dev v0 nodad",
		"-6 addr add fd09:1::1/128 dev lo nodad",
	)
	space.do(func() {
		askEach(t, "0.0.0.0:0", "10.9.0.1", "10.9.1.1", "127.0.0.3")
		askEach(t, "[::]:0", "fd09::1", "fd09:1::1", "::1")
		askEach(t, "[fd09::1]:0", "fd09::1")
	})
}

// askEach sends to each address at the port of one socket, from a client that
// is bound to the last of them, and wants the reply from where it sent to. It
// asks again what is lost while the interfaces come up.
func askEach(t *testing.T, listenAt string, addrs ...string) {
	sockets, err := Listen(netip.MustParseAddrPort(listenAt), 1, Options{})
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
			b.Queue(0, len(b.Message(0).Data), false)
			if failed, err := s.Flush(b); failed != 0 || err != nil {
				t.Fatal(failed, err)
			}
			_, _ = client.Read(buf)
		}); got != 0 {
			t.Errorf("%s: %v allocations", addr, got)
		}
	}
}
