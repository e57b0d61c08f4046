package netio

// What the kernel puts into the error queue besides departures, and what comes of
// leaving it there.

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sendFlagged sends data to a client by the socket's descriptor, past its lock, with
// timestamping flags.
func sendFlagged(t *testing.T, s *socket, data string, to *net.UDPConn, flags uint32) {
	t.Helper()
	var c controlRoom
	n := put(&c, 0, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, flags)
	addr, err := sockaddr(to.LocalAddr().(*net.UDPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendmsg(s.fd, []byte(data), unsafe.Slice((*byte)(unsafe.Pointer(&c)), n), addr, 0); err != nil {
		t.Fatal(err)
	}
}

// TestDeparturesSkipWhatIsNone: reports of another kind, more than one call
// reads, hide no departure behind them.
func TestDeparturesSkipWhatIsNone(t *testing.T) {
	s := listen(t, "127.0.0.1:0").(*socket)
	client := dial(t, "127.0.0.1", s.LocalAddr().Port())
	b := NewBatch()
	ask(t, s, client, b, 1)
	for range departuresMax + 3 {
		sendFlagged(t, s, "not this", client, unix.SOF_TIMESTAMPING_TX_SCHED)
	}
	b.Queue(0, 48, true)
	if failed, err := s.Flush(b); failed != 0 || err != nil {
		t.Fatal(failed, err)
	}
	if n := s.Departures(b); n != 1 || string(b.Departure(0).Data) != fmt.Sprintf("%48d", 0) {
		t.Errorf("%d departures, %q", n, b.Departure(0).Data)
	}
}

// TestErrorsOfTheNetworkEndNothing: clients that are gone answer with errors
// that the kernel, if somebody asks it to, puts into the same queue.
func TestErrorsOfTheNetworkEndNothing(t *testing.T) {
	for _, report := range []int{0, 1} {
		s := listen(t, "127.0.0.1:0").(*socket)
		if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_RECVERR, report); err != nil {
			t.Fatal(err)
		}
		b := NewBatch()
		for range 3 {
			gone := dial(t, "127.0.0.1", s.LocalAddr().Port())
			ask(t, s, gone, b, 1)
			_ = gone.Close()
			b.Queue(0, 48, true) // left, and nobody there
			if failed, err := s.Flush(b); failed != 0 || err != nil {
				t.Fatal(failed, err)
			}
			if d := departures(t, s, b, 1); d[0].data != fmt.Sprintf("%48d", 0) {
				t.Errorf("got %q", d[0].data)
			}
		}
		client := dial(t, "127.0.0.1", s.LocalAddr().Port())
		stamps(t, s, client)
	}
}

// TestReceiveTellsAnErrorOnce: an error that waits at the socket is returned at once, and
// then the socket is as good as before.
func TestReceiveTellsAnErrorOnce(t *testing.T) {
	s := listen(t, "127.0.0.1:0").(*socket)
	if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1); err != nil {
		t.Fatal(err)
	}
	b := NewBatch()
	gone := dial(t, "127.0.0.1", s.LocalAddr().Port())
	ask(t, s, gone, b, 1)
	_ = gone.Close()
	b.Queue(0, 48, false)
	if failed, err := s.Flush(b); failed != 0 || err != nil {
		t.Fatal(failed, err)
	}
	if n, err := s.Receive(b); n != 0 || !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("received %d, %v", n, err)
	}
	stamps(t, s, dial(t, "127.0.0.1", s.LocalAddr().Port()))
}

// TestReceiveIgnoresTheErrorQueue: a blocked Receive neither returns nor
// spins while reports come in and stay.
func TestReceiveIgnoresTheErrorQueue(t *testing.T) {
	s := listen(t, "0.0.0.0:0").(*socket)
	client := dial(t, "127.0.0.1", s.LocalAddr().Port())
	sendFlagged(t, s, "before", client, unix.SOF_TIMESTAMPING_TX_SOFTWARE)
	type result struct {
		n    int
		err  error
		busy time.Duration
	}
	began, done := make(chan struct{}), make(chan result, 1)
	b := NewBatch()
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		used := func() time.Duration {
			var u unix.Rusage
			_ = unix.Getrusage(unix.RUSAGE_THREAD, &u)
			return time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
		start := used()
		close(began)
		n, err := s.Receive(b)
		done <- result{n, err, used() - start}
	}()
	<-began
	for range 10 {
		time.Sleep(10 * time.Millisecond) // it is to block in between
		sendFlagged(t, s, "while it waits", client, unix.SOF_TIMESTAMPING_TX_SOFTWARE)
	}
	select {
	case r := <-done:
		t.Fatalf("returned %+v", r)
	default:
	}
	_, _ = client.Write([]byte("a request"))
	r := <-done
	if r.n != 1 || r.err != nil || string(b.Message(0).Data) != "a request" || !b.Message(0).Stamped {
		t.Errorf("got %+v, %q", r, b.Message(0).Data)
	}
	if r.busy > 50*time.Millisecond {
		t.Errorf("used %v of CPU while it waited 100 ms", r.busy)
	}
	// It was not we who asked, so the batch has to be made ready.
	b.raw.looped = newLooped()
	departures(t, s, b, 11)
}

// TestDeparturesTakeReceiveBuffer is why they must be fetched: the kernel stops
// reporting, and then receiving.
func TestDeparturesTakeReceiveBuffer(t *testing.T) {
	s := listen(t, "127.0.0.1:0").(*socket)
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil { // the least there is
		t.Fatal(err)
	}
	client := dial(t, "127.0.0.1", s.LocalAddr().Port())
	b := NewBatch()
	b.raw.looped = newLooped()
	const sent = 100
	for range sent {
		sendFlagged(t, s, "a reply", client, unix.SOF_TIMESTAMPING_TX_SOFTWARE)
	}
	const asked = 5
	for range asked {
		_, _ = client.Write([]byte("lost, all but one"))
	}
	reported := 0
	for n := s.Departures(b); n > 0; n = s.Departures(b) {
		reported += n
	}
	if reported == 0 || reported == sent {
		t.Errorf("%d of %d departures reported", reported, sent)
	}
	_, _ = client.Write([]byte("after"))
	for received := 0; ; received++ {
		if n, err := s.Receive(b); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if string(b.Message(0).Data) == "after" {
			if received >= asked {
				t.Errorf("received %d of %d with a full buffer", received, asked)
			}
			if int(b.Drops()) != asked-received {
				t.Errorf("%d drops told, %d lost", b.Drops(), asked-received)
			}
			break
		}
	}
}
