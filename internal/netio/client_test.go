package netio

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"
)

// peer is a plain socket that plays the server of a Client.
func peer(t *testing.T, addr string) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func dialClient(t *testing.T, server netip.AddrPort) *Client {
	t.Helper()
	c, err := Dial(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClientExchange(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "::1"} {
		t.Run(addr, func(t *testing.T) {
			server, at := peer(t, addr)
			c := dialClient(t, at)
			before := time.Now().UnixNano()
			sent, err := c.Send([]byte("what time is it"))
			if err != nil {
				t.Fatal(err)
			}
			after := time.Now().UnixNano()
			if sent < before || sent > after {
				t.Errorf("sent at %d, which is not in [%d, %d]", sent, before, after)
			}
			var b [DatagramMax]byte
			n, from, err := server.ReadFromUDPAddrPort(b[:])
			if err != nil {
				t.Fatal(err)
			}
			if got := string(b[:n]); got != "what time is it" {
				t.Errorf("the server got %q", got)
			}
			before = time.Now().UnixNano()
			if _, err := server.WriteToUDPAddrPort([]byte("late"), from); err != nil {
				t.Fatal(err)
			}
			after = time.Now().UnixNano()
			n, received, stamped, err := c.Receive(b[:])
			if err != nil || string(b[:n]) != "late" {
				t.Fatalf("received %q, %v", b[:n], err)
			}
			// The kernel stamps inside the sender's call on loopback; the program reads the clock later.
			if received < before || stamped && received > after {
				t.Errorf("received at %d, which is not in [%d, %d]", received, before, after)
			}
		})
	}
}

// On Linux the kernel stamps what arrives, once it has turned that on.
func TestClientStamps(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no kernel timestamps here")
	}
	server, at := peer(t, "127.0.0.1")
	c := dialClient(t, at)
	var b [DatagramMax]byte
	for begun := time.Now(); ; {
		before := time.Now().UnixNano()
		if _, err := server.WriteToUDP([]byte("x"), c.conn.LocalAddr().(*net.UDPAddr)); err != nil {
			t.Fatal(err)
		}
		after := time.Now().UnixNano()
		_, at, stamped, err := c.Receive(b[:])
		switch {
		case err != nil:
			t.Fatal(err)
		case stamped && (at < before || at > after):
			t.Fatalf("stamped at %d, which is not in [%d, %d]", at, before, after)
		case stamped:
			return
		case time.Since(begun) > patience:
			t.Fatalf("no stamp in %v", patience)
		}
	}
}

// A datagram longer than the buffer is cut, and the next one is whole.
func TestClientCutsLongDatagrams(t *testing.T) {
	server, at := peer(t, "127.0.0.1")
	c := dialClient(t, at)
	to := c.conn.LocalAddr().(*net.UDPAddr)
	for _, b := range [][]byte{bytes.Repeat([]byte{'x'}, 100), []byte("next"), nil} {
		if _, err := server.WriteToUDP(b, to); err != nil {
			t.Fatal(err)
		}
	}
	var b [10]byte
	for _, want := range []string{"xxxxxxxxxx", "next", ""} {
		n, _, _, err := c.Receive(b[:])
		if err != nil || string(b[:n]) != want {
			t.Errorf("received %q, %v; want %q", b[:n], err, want)
		}
	}
}

// Only the server is heard: neither another port of its address nor another address.
func TestClientHearsOnlyItsServer(t *testing.T) {
	server, at := peer(t, "127.0.0.1")
	c := dialClient(t, at)
	to := c.conn.LocalAddr().(*net.UDPAddr)
	strangers := []string{"127.0.0.1"}
	if runtime.GOOS == "linux" { // elsewhere 127.0.0.2 has to be set up first
		strangers = append(strangers, "127.0.0.2")
	}
	for _, addr := range strangers {
		stranger, _ := peer(t, addr)
		if _, err := stranger.WriteToUDP([]byte("forged"), to); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := server.WriteToUDP([]byte("true"), to); err != nil {
		t.Fatal(err)
	}
	var b [DatagramMax]byte
	n, _, _, err := c.Receive(b[:])
	if err != nil || string(b[:n]) != "true" {
		t.Errorf("received %q, %v: not the server's word", b[:n], err)
	}
	if err := c.SetDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if n, _, _, err := c.Receive(b[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("received %q, %v after that; want nothing", b[:n], err)
	}
}

// A deadline that is set during a Receive ends it.
func TestClientDeadlineWakes(t *testing.T) {
	_, at := peer(t, "127.0.0.1")
	c := dialClient(t, at)
	done := make(chan error)
	go func() {
		var b [DatagramMax]byte
		_, _, _, err := c.Receive(b[:])
		done <- err
	}()
	if err := c.SetDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want a deadline that is exceeded", err)
		}
	case <-time.After(patience):
		t.Fatal("still receiving")
	}
}

func TestClientDialFails(t *testing.T) {
	for _, server := range []netip.AddrPort{{}, netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("[fe80::1%no-such-zone]:123")} {
		if c, err := Dial(server); err == nil {
			c.Close()
			t.Errorf("connected to %v", server)
		}
	}
}

// Every client has a port of its own.
func TestClientPortsDiffer(t *testing.T) {
	_, at := peer(t, "127.0.0.1")
	a, b := dialClient(t, at), dialClient(t, at)
	if a.conn.LocalAddr().String() == b.conn.LocalAddr().String() {
		t.Errorf("both are %v", a.conn.LocalAddr())
	}
}
