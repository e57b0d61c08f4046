package netio

import (
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestListenShares(t *testing.T) {
	sockets, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), 4, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if balanced && len(sockets) != 4 {
		t.Errorf("got %d sockets", len(sockets))
	}
	addr := sockets[0].LocalAddr()
	for _, s := range sockets {
		if s.LocalAddr() != addr || addr.Port() == 0 {
			t.Errorf("bound to %s and %s", addr, s.LocalAddr())
		}
	}
	// Every socket gets some of many clients.
	const clients = 200
	totals := make([]atomic.Int64, len(sockets))
	var all atomic.Int64
	var group sync.WaitGroup
	for i, s := range sockets {
		group.Go(func() {
			for b := NewBatch(); ; {
				n, err := s.Receive(b)
				if err != nil {
					return
				}
				totals[i].Add(int64(n))
				all.Add(int64(n))
			}
		})
	}
	for range clients {
		c := dial(t, "127.0.0.1", addr.Port())
		_, _ = c.Write([]byte("x"))
		_ = c.Close()
	}
	for deadline := time.Now().Add(patience); all.Load() < clients && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	for i, s := range sockets {
		_ = s.Close()
		if got := totals[i].Load(); got == 0 || balanced && got == clients {
			t.Errorf("socket %d got %d of %d requests", i, got, clients)
		}
	}
	group.Wait()
}

// TestListenHoldsThePort: nobody can join the port, not even a second Listen
// that would share it, and the error says what to do.
func TestListenHoldsThePort(t *testing.T) {
	cases := []struct{ name, held, wanted string }{
		{"the same address", "127.0.0.1:0", "127.0.0.1"},
		{"a wildcard over a named one", "127.0.0.1:0", "0.0.0.0"},
		{"a named one under a wildcard", "0.0.0.0:0", "127.0.0.1"},
		{"IPv6", "[::1]:0", "::1"},
	}
	for _, c := range cases {
		if c.name == "IPv6" {
			needFamily(t, c.held) // the last
		}
		held, err := Listen(netip.MustParseAddrPort(c.held), 2, Options{})
		if err != nil {
			t.Fatal(err)
		}
		wanted := netip.AddrPortFrom(netip.MustParseAddr(c.wanted), held[0].LocalAddr().Port())
		got, err := Listen(wanted, 2, Options{})
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "another NTP server holds the port") {
			t.Errorf("%s: got %v, %v", c.name, got, err)
		}
		for _, s := range append(held, got...) {
			_ = s.Close()
		}
		again, err := Listen(wanted, 1, Options{})
		if err != nil {
			t.Errorf("%s, after it was closed: %v", c.name, err)
			continue
		}
		_ = again[0].Close()
	}
}

func TestListenBothFamiliesOnOnePort(t *testing.T) {
	needFamily(t, "[::]:0")
	s4 := listen(t, "0.0.0.0:0")
	s6, err := Listen(netip.AddrPortFrom(netip.IPv6Unspecified(), s4.LocalAddr().Port()), 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_ = s6[0].Close()
}

func TestListenErrorsSayWhatToDo(t *testing.T) {
	if _, err := Listen(netip.AddrPort{}, 1, Options{}); err == nil {
		t.Error("no address: no error")
	}
	_, err := Listen(netip.MustParseAddrPort("192.0.2.1:0"), 1, Options{})
	if !errors.Is(err, syscall.EADDRNOTAVAIL) || !strings.Contains(err.Error(), "does not have that address") {
		t.Errorf("a foreign address: got %v", err)
	}
	_, err = Listen(netip.MustParseAddrPort("[fe80::1%nosuch0]:0"), 1, Options{})
	if err == nil {
		t.Error("a zone that does not exist: no error")
	}
	if text := remedy(syscall.EACCES, netip.MustParseAddrPort("0.0.0.0:123")); !strings.Contains(text, "CAP_NET_BIND_SERVICE") {
		t.Errorf("a low port: got %q", text)
	}
}
