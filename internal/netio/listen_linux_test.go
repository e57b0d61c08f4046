package netio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// listenBy opens one socket with options and closes it at the end of the test.
func listenBy(t *testing.T, addr string, o Options) Socket {
	t.Helper()
	needFamily(t, addr)
	sockets, err := Listen(netip.MustParseAddrPort(addr), 1, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sockets[0].Close() })
	return sockets[0]
}

func TestDSCP(t *testing.T) {
	for _, c := range families {
		for _, dscp := range []uint8{0, 1, 46, dscpMax} {
			s := listenBy(t, c.listen, Options{DSCP: dscp})
			client := dial(t, c.ask, s.LocalAddr().Port())
			raw, err := client.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			_ = raw.Control(func(fd uintptr) {
				if netip.MustParseAddr(c.ask).Is6() {
					err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
				} else {
					err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			b, oob := NewBatch(), make([]byte, 100)
			ask(t, s, client, b, 1)
			b.Queue(0, 48, true) // with control messages of its own
			if failed, err := s.Flush(b); failed != 0 || err != nil {
				t.Fatal(failed, err)
			}
			_, n, _, _, err := client.ReadMsgUDPAddrPort(make([]byte, 100), oob)
			if err != nil {
				t.Fatal(err)
			}
			messages, err := unix.ParseSocketControlMessage(oob[:n])
			if err != nil || len(messages) != 1 {
				t.Fatalf("%d control messages, %v", len(messages), err)
			}
			got := uint32(messages[0].Data[0]) // the type of service has one byte, the traffic class four
			if len(messages[0].Data) == 4 {
				got = binary.NativeEndian.Uint32(messages[0].Data)
			}
			if got != uint32(dscp)<<2 {
				t.Errorf("%s, DSCP %d: received %#x", c.listen, dscp, got)
			}
		}
	}
}

func TestInterface(t *testing.T) {
	for _, c := range families {
		s := listenBy(t, c.listen, Options{Interface: "lo"})
		stamps(t, s, dial(t, c.ask, s.LocalAddr().Port()))
	}
}

// TestInterfaceHearsNoOther: of two cables to one machine, a socket hears its
// own, and leaves the port of the other to others.
func TestInterfaceHearsNoOther(t *testing.T) {
	needFamily(t, "[::]:0")
	server, clients := newNamespace(t), newNamespace(t)
	cable(t, server, clients, "v", "10.9.0.", "fd09::")
	cable(t, server, clients, "w", "10.9.1.", "fd09:0:0:1::")
	for _, c := range []struct{ listen, own, other string }{
		{"0.0.0.0:0", "10.9.0.1", "10.9.1.1"},
		{"[::]:0", "fd09::1", "fd09:0:0:1::1"},
	} {
		var s, other []Socket
		var err, otherErr, anyErr error
		server.do(func() {
			s, err = Listen(netip.MustParseAddrPort(c.listen), 2, Options{Interface: "v0"})
			if err != nil {
				return
			}
			_, anyErr = Listen(s[0].LocalAddr(), 1, Options{})
		})
		if err != nil {
			t.Fatal(err)
		}
		if !errors.Is(anyErr, unix.EADDRINUSE) {
			t.Errorf("%s: listened on every interface too: %v", c.listen, anyErr)
		}
		done := make(chan error, 3)
		for _, s := range s {
			go func() { done <- echo(s, 1<<30) }()
		}
		port := s[0].LocalAddr().Port()
		answered := func(addr string) error {
			var client *net.UDPConn
			clients.do(func() { client = dial(t, addr, port) })
			if client == nil {
				t.FailNow()
			}
			if _, err := client.Write([]byte("x")); err != nil {
				return err
			}
			_, err := client.Read(make([]byte, 2))
			return err
		}
		if err := answered(c.own); err != nil {
			t.Errorf("%s: %v", c.own, err)
		}
		if err := answered(c.other); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s, the other interface: got %v", c.other, err)
		}
		server.do(func() { other, otherErr = Listen(s[0].LocalAddr(), 1, Options{Interface: "w0"}) })
		if otherErr != nil {
			t.Fatal(otherErr)
		}
		go func() { done <- echo(other[0], 1<<30) }()
		if err := answered(c.other); err != nil {
			t.Errorf("%s, with a socket of its own: %v", c.other, err)
		}
		for _, s := range append(s, other...) {
			_ = s.Close()
			<-done
		}
	}
}

func TestOptionsErrorsSayWhatToDo(t *testing.T) {
	addr := netip.MustParseAddrPort("127.0.0.1:0")
	for _, c := range []struct {
		name string
		o    Options
		want []string
	}{
		{"DSCP too large", Options{DSCP: dscpMax + 1}, []string{"DSCP 64", "0 to 63"}},
		{"no such interface", Options{Interface: "nosuch0"}, []string{`"nosuch0"`, "no such device", "this machine has", "lo"}},
		{"too long a name, which the kernel would cut", Options{Interface: "lo" + strings.Repeat("o", unix.IFNAMSIZ)}, []string{"no such device"}},
		{"a name that ends in the middle", Options{Interface: "lo\x00x"}, []string{`"lo\x00x"`, "no such device"}},
	} {
		_, err := Listen(addr, 1, c.o)
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not in %q", c.name, want, err)
			}
		}
	}
	denied := fmt.Errorf("%w %q: %w", errDevice, "lo", unix.EPERM)
	if text := remedy(denied, addr); !strings.Contains(text, "CAP_NET_RAW") {
		t.Errorf("not permitted: got %q", text)
	}
}

// TestErrorsNameSomeInterfaces: not hundreds.
func TestErrorsNameSomeInterfaces(t *testing.T) {
	space := newNamespace(t)
	for i := range interfacesMax/2 + 2 {
		space.ip(t, fmt.Sprintf("link add v%d type veth peer name w%d", i, i))
	}
	var text string
	space.do(func() { text = interfaces() })
	if !strings.Contains(text, "lo, ") || !strings.HasSuffix(text, " more") || strings.Count(text, ",") != interfacesMax {
		t.Errorf("got %q", text)
	}
}

// TestInterfaceNameIsNotCut: the kernel would take the first fifteen characters
// of a longer name.
func TestInterfaceNameIsNotCut(t *testing.T) {
	name := "fifteen_letters"
	space := newNamespace(t)
	space.ip(t, "link set lo up", "link add "+name+" type veth peer name other")
	space.do(func() {
		for _, c := range []struct {
			name string
			want error
		}{{name, nil}, {name + "s", unix.ENODEV}} {
			sockets, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), 1, Options{Interface: c.name})
			if !errors.Is(err, c.want) {
				t.Errorf("%s: got %v, want %v", c.name, err, c.want)
			}
			for _, s := range sockets {
				_ = s.Close()
			}
		}
	})
}

// descriptors returns how many files are open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestListenLeavesNothingHalfOpen has the kernel refuse some of a group.
func TestListenLeavesNothingHalfOpen(t *testing.T) {
	before := descriptors(t)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	few := limit
	few.Cur = uint64(before + 10)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	_, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), 100, Options{})
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if after := descriptors(t); !errors.Is(err, unix.EMFILE) || after != before {
		t.Errorf("%v; %d descriptors before, %d after", err, before, after)
	}
}

// TestNoDescriptorIsLeft counts what is open before and after.
func TestNoDescriptorIsLeft(t *testing.T) {
	before := 0
	for i := range 11 {
		if i == 1 { // the first may open what stays
			before = descriptors(t)
		}
		for _, c := range families {
			sockets, err := Listen(netip.MustParseAddrPort(c.listen), 3, Options{DSCP: 46, Interface: "lo"})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range []Options{{}, {Interface: "nosuch0"}} { // the port is held; no such interface
				if _, err := Listen(sockets[0].LocalAddr(), 1, o); err == nil {
					t.Error("no error")
				}
			}
			for _, s := range sockets {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
