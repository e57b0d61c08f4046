package netio

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel tells when a request left, once, and of the last request alone.
func TestClientDeparted(t *testing.T) {
	keep, err := KeepStamping()
	if err != nil {
		t.Fatal(err)
	}
	defer keep.Close()
	for _, addr := range []string{"127.0.0.1", "::1"} {
		t.Run(addr, func(t *testing.T) {
			_, at := peer(t, addr)
			c := dialClient(t, at)
			if at, ok := c.Departed(); ok {
				t.Errorf("departed at %d before it was sent", at)
			}
			for _, request := range []string{"first", "second, which is longer"} {
				before, err := c.Send([]byte(request))
				if err != nil {
					t.Fatal(err)
				}
				after := time.Now().UnixNano()
				left, ok := c.Departed()
				for begun := time.Now(); !ok && time.Since(begun) < patience; {
					left, ok = c.Departed()
				}
				if !ok || left < before || left > after {
					t.Errorf("%q departed at %d, %v; want a time in [%d, %d]", request, left, ok, before, after)
				}
				if at, ok := c.Departed(); ok {
					t.Errorf("%q departed at %d once more", request, at)
				}
			}
			// What was sent before is not taken for the last.
			if _, err := c.Send([]byte("third")); err != nil {
				t.Fatal(err)
			}
			c.sent = []byte("fourth")
			if at, ok := c.Departed(); ok {
				t.Errorf("the third passes for the fourth: departed at %d", at)
			}
		})
	}
}

// An answer is received although a departure waits in the error queue.
func TestClientReceivesBesideDepartures(t *testing.T) {
	server, at := peer(t, "127.0.0.1")
	c := dialClient(t, at)
	go func() {
		var b [DatagramMax]byte
		_, from, err := server.ReadFromUDPAddrPort(b[:])
		if err == nil {
			time.Sleep(10 * time.Millisecond) // the receiver waits by then
			_, _ = server.WriteToUDPAddrPort([]byte("answer"), from)
		}
	}()
	if _, err := c.Send([]byte("request")); err != nil {
		t.Fatal(err)
	}
	var b [DatagramMax]byte
	if n, _, _, err := c.Receive(b[:]); err != nil || string(b[:n]) != "answer" {
		t.Fatalf("received %q, %v", b[:n], err)
	}
	if _, ok := c.Departed(); !ok {
		t.Error("no departure after the answer")
	}
}

// The stamping socket stamps, and is gone when it is closed.
func TestKeepStamping(t *testing.T) {
	keep, err := KeepStamping()
	if err != nil {
		t.Fatal(err)
	}
	fd := int(keep.(stamping))
	on, errNew := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW)
	old, errOld := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS)
	if (errNew != nil || on == 0) && (errOld != nil || old == 0) {
		t.Errorf("off: %d, %v; %d, %v", on, errNew, old, errOld)
	}
	if err := keep.Close(); err != nil {
		t.Error(err)
	}
	if err := keep.Close(); err == nil {
		t.Error("closed twice")
	}
}
