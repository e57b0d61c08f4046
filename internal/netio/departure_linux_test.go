package netio

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// families are the kinds of addresses to listen on, and where to ask.
var families = []struct{ listen, ask string }{
	{"127.0.0.1:0", "127.0.0.1"},
	{"0.0.0.0:0", "127.0.0.2"}, // not where the routing table would answer from
	{"[::1]:0", "::1"},
	{"[::]:0", "::1"},
}

// ask has one batch of n datagrams of 48 bytes, all different, in b.
func ask(t *testing.T, s Socket, client *net.UDPConn, b *Batch, n int) {
	t.Helper()
	for range 100 { // until they come together, which a busy machine may not manage at once
		for i := range n {
			if _, err := fmt.Fprintf(client, "%48d", i); err != nil {
				t.Fatal(err)
			}
		}
		most := 0
		for got := 0; got < n; {
			more, err := s.Receive(b)
			if err != nil {
				t.Fatal(err)
			}
			got, most = got+more, more
		}
		if most == n {
			return
		}
	}
	t.Fatal("received no whole batch")
}

// departure is a Departure with a life of its own.
type departure struct {
	data string
	at   int64
}

// departures fetches all departures, of which there must be n in the end.
func departures(t *testing.T, s Socket, b *Batch, n int) (all []departure) {
	t.Helper()
	for start := time.Now(); len(all) < n && time.Since(start) < patience; {
		found := s.Departures(b)
		for k := range found {
			d := b.Departure(k)
			all = append(all, departure{string(d.Data), d.At})
		}
		if found == 0 {
			time.Sleep(time.Millisecond) // a device that takes its time
		}
	}
	if more := s.Departures(b); len(all) != n || more != 0 {
		t.Fatalf("%d departures and %d more, want %d", len(all), more, n)
	}
	return all
}

// stamps asks in rounds and wants a departure for every other reply, and no other.
func stamps(t *testing.T, s Socket, client *net.UDPConn) {
	t.Helper()
	const requests = 7
	b, buf := NewBatch(), make([]byte, 100)
	for round := range 3 {
		for i := range requests {
			if _, err := fmt.Fprintf(client, "%48d", i); err != nil {
				t.Fatal(err)
			}
		}
		for answered := 0; answered < requests; {
			n, err := s.Receive(b)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for i := range n {
				if !b.Message(i).Stamped {
					t.Error("received without a stamp")
				}
				reply := b.Message(i).Data[:48-answered]
				copy(reply, fmt.Sprintf("reply %d.%d", round, answered))
				stamp := answered%2 == round%2
				if b.Queue(i, len(reply), stamp); stamp {
					want = append(want, string(reply))
				}
				answered++
			}
			before := time.Now().UnixNano()
			if failed, err := s.Flush(b); failed != 0 || err != nil {
				t.Fatal(failed, err)
			}
			after := time.Now().UnixNano()
			for k, d := range departures(t, s, b, len(want)) {
				if d.data != want[k] {
					t.Errorf("departure %d is of %q, want %q", k, d.data, want[k])
				}
				if d.at < before || d.at > after {
					t.Errorf("departed %d ns after the last or the flush, which took to %d", d.at-before, after-before)
				}
				before = d.at
			}
		}
		for range requests {
			if _, err := client.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestDepartures(t *testing.T) {
	for _, c := range families {
		t.Run(c.listen, func(t *testing.T) {
			s := listen(t, c.listen)
			stamps(t, s, dial(t, c.ask, s.LocalAddr().Port()))
		})
	}
}

// TestDeparturesOverEthernet is the same between two namespaces.
func TestDeparturesOverEthernet(t *testing.T) {
	needFamily(t, "[::]:0")
	server, clients := newNamespace(t), newNamespace(t)
	cable(t, server, clients, "v", "10.9.0.", "fd09::")
	server.ip(t, "addr add 10.9.0.9/24 dev v0", "-6 addr add fd09::9/64 dev v0 nodad")
	for _, c := range []struct{ listen, ask string }{
		{"0.0.0.0:0", "10.9.0.1"},
		{"10.9.0.1:0", "10.9.0.1"},
		{"0.0.0.0:0", "10.9.0.9"},
		{"[::]:0", "fd09::1"},
		{"[::]:0", "fd09::9"},
		{"[fd09::1]:0", "fd09::1"},
	} {
		t.Run(c.listen+" at "+c.ask, func(t *testing.T) {
			var s Socket
			var client *net.UDPConn
			server.do(func() { s = listen(t, c.listen) })
			if s == nil {
				return
			}
			clients.do(func() { client = dial(t, c.ask, s.LocalAddr().Port()) })
			if client == nil {
				return
			}
			stamps(t, s, client)
		})
	}
}

// TestDeparturesOfEverySize: a departure is known of whatever can be sent.
func TestDeparturesOfEverySize(t *testing.T) {
	for _, c := range families[:3] {
		s := listen(t, c.listen)
		client := dial(t, c.ask, s.LocalAddr().Port())
		b := NewBatch()
		for _, size := range []int{0, 1, 48, 1400, DatagramMax} {
			ask(t, s, client, b, 1)
			want := bytes.Repeat([]byte{byte(size)}, size)
			copy(b.buffers[0][:], want)
			b.Queue(0, size, true)
			if failed, err := s.Flush(b); failed != 0 || err != nil {
				t.Fatal(failed, err)
			}
			if d := departures(t, s, b, 1); d[0].data != string(want) {
				t.Errorf("%d bytes: got %d", size, len(d[0].data))
			}
		}
	}
}

// TestDeparturesComeInPortions: no more than fit into a batch at a time, and
// none is lost.
func TestDeparturesComeInPortions(t *testing.T) {
	s := listen(t, "127.0.0.1:0")
	client := dial(t, "127.0.0.1", s.LocalAddr().Port())
	b := NewBatch()
	if n := s.Departures(b); n != 0 || b.raw.looped != nil {
		t.Errorf("%d departures of nothing", n)
	}
	for range 2 {
		ask(t, s, client, b, 20)
		for i := range 20 {
			b.Queue(i, 48, true)
		}
		if failed, err := s.Flush(b); failed != 0 || err != nil {
			t.Fatal(failed, err)
		}
	}
	for _, want := range []int{departuresMax, 40 - departuresMax, 0} {
		if n := s.Departures(b); n != want {
			t.Errorf("%d departures, want %d", n, want)
		}
	}
	_ = s.Close()
	if n := s.Departures(b); n != 0 {
		t.Errorf("%d departures of a closed socket", n)
	}
}

// TestNoStampNoCost: without stamp nothing is asked for, reported, or made ready.
func TestNoStampNoCost(t *testing.T) {
	s := listen(t, "[::]:0").(*socket)
	client := dial(t, "::1", s.LocalAddr().Port())
	b := NewBatch()
	ask(t, s, client, b, 3)
	for i := range 3 {
		b.Queue(i, 48, false)
	}
	if failed, err := s.Flush(b); failed != 0 || err != nil {
		t.Fatal(failed, err)
	}
	if s.Departures(b) != 0 || b.raw.looped != nil {
		t.Error("made ready for departures")
	}
	_, _, _, _, err := unix.Recvmsg(s.fd, make([]byte, 100), nil, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != unix.EAGAIN {
		t.Errorf("the error queue: %v", err)
	}
}

// TestRefusedStamps: where the kernel refuses to stamp, replies leave all the same,
// and it is not asked again. A reply that it refuses for another reason is no sign of that.
func TestRefusedStamps(t *testing.T) {
	for _, c := range families {
		t.Run(c.listen, func(t *testing.T) {
			s := listen(t, c.listen).(*socket)
			client := dial(t, c.ask, s.LocalAddr().Port())
			b := NewBatch()
			flush := func(failures int) {
				t.Helper()
				for i := range 3 {
					b.Queue(i, 48, i > 0)
				}
				if failed, err := s.Flush(b); failed != failures {
					t.Fatalf("%d replies failed, want %d: %v", failed, failures, err)
				}
				for range 3 - failures {
					if _, err := client.Read(make([]byte, DatagramMax)); err != nil {
						t.Fatal(err)
					}
				}
			}
			ask(t, s, client, b, 3)
			b.raw.inName[1].Port = 0 // nobody can be sent to there
			flush(1)
			if departures(t, s, b, 1); b.raw.stamps == 0 {
				t.Error("an address that is none turned stamps off")
			}
			ask(t, s, client, b, 3)
			b.raw.stamps = 1 << 31 // no kernel knows it
			flush(0)
			if b.raw.stamps != 0 {
				t.Error("the kernel is asked again")
			}
			ask(t, s, client, b, 3)
			flush(0)
		})
	}
}

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

func TestDeparturesDoNotAllocate(t *testing.T) {
	for _, c := range families {
		s := listen(t, c.listen)
		client := dial(t, c.ask, s.LocalAddr().Port())
		b, buf := NewBatch(), make([]byte, 100)
		if got := testing.AllocsPerRun(200, func() {
			_, _ = client.Write(buf)
			if n, err := s.Receive(b); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			b.Queue(0, len(b.Message(0).Data), true)
			if failed, err := s.Flush(b); failed != 0 || err != nil {
				t.Fatal(failed, err)
			}
			if n := s.Departures(b) + s.Departures(b); n != 1 || len(b.Departure(0).Data) != len(buf) {
				t.Fatalf("%d departures", n)
			}
			_, _ = client.Read(buf)
		}); got != 0 {
			t.Errorf("%s: %v allocations", c.listen, got)
		}
	}
}

// BenchmarkEcho is one batch of replies, with and without transmit timestamps.
func BenchmarkEcho(b *testing.B) {
	for _, stamp := range []bool{false, true} {
		b.Run(fmt.Sprintf("stamp=%v", stamp), func(b *testing.B) {
			s := listen(b, "127.0.0.1:0")
			conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.LocalAddr().Port())))
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			batch, buf := NewBatch(), make([]byte, 48)
			b.ReportAllocs()
			for b.Loop() {
				for range BatchMax {
					_, _ = conn.Write(buf)
				}
				n, err := s.Receive(batch)
				if n != BatchMax || err != nil {
					b.Fatal(n, err)
				}
				for i := range n {
					batch.Queue(i, 48, stamp)
				}
				_, _ = s.Flush(batch)
				for s.Departures(batch) > 0 {
				}
				for range BatchMax {
					_, _ = conn.Read(buf)
				}
			}
		})
	}
}
