package netio

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

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
			if b.Departing() != len(want) {
				t.Errorf("%d depart, want %d", b.Departing(), len(want))
			}
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
	b.Queue(0, 48, true)
	if _, _ = s.Flush(b); b.Departing() != 0 {
		t.Errorf("%d depart from a closed socket", b.Departing())
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
// Only of what left with the request is a departure to be expected.
func TestRefusedStamps(t *testing.T) {
	for _, c := range families {
		t.Run(c.listen, func(t *testing.T) {
			s := listen(t, c.listen).(*socket)
			client := dial(t, c.ask, s.LocalAddr().Port())
			b := NewBatch()
			flush := func(failures, departing int) {
				t.Helper()
				for i := range 3 {
					b.Queue(i, 48, i > 0)
				}
				if failed, err := s.Flush(b); failed != failures {
					t.Fatalf("%d replies failed, want %d: %v", failed, failures, err)
				}
				if b.Departing() != departing {
					t.Errorf("%d depart, want %d", b.Departing(), departing)
				}
				for range 3 - failures {
					if _, err := client.Read(make([]byte, DatagramMax)); err != nil {
						t.Fatal(err)
					}
				}
			}
			ask(t, s, client, b, 3)
			b.raw.inName[1].Port = 0 // nobody can be sent to there
			flush(1, 1)
			if departures(t, s, b, 1); b.raw.stamps == 0 {
				t.Error("an address that is none turned stamps off")
			}
			ask(t, s, client, b, 3)
			b.raw.stamps = 1 << 31 // no kernel knows it
			flush(0, 0)
			if b.raw.stamps != 0 {
				t.Error("the kernel is asked again")
			}
			ask(t, s, client, b, 3)
			flush(0, 0)

			ask(t, s, client, b, 3)
			b.raw.stamps = unix.SOF_TIMESTAMPING_TX_SOFTWARE
			_ = unix.Shutdown(s.fd, unix.SHUT_WR) // every reply fails, and not by EINVAL
			flush(3, 0)
		})
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
