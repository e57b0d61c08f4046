package ntpserver

// Interleaved mode from end to end: simulated clients that follow RFC 9769, over a network that
// delays, loses and repeats, against the Responder and a slow, obvious second server.

import (
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
)

var seedFlag = flag.Uint64("seed", uint64(os.Getpid()), "seed of what is random")

// network is a simulated server with its clients. The server's clock is the truth.
type network struct {
	t       *testing.T
	random  *rand.Rand
	truth   int64 // Unix nanoseconds
	mono    int64
	workers []*Responder
	kept    map[ntp.Timestamp]pair // the second server's memory

	symmetric bool // the ways there and back take equally long
	samples   map[Verdict]int
}

// pair is what the second server keeps of a reply.
type pair struct {
	to       netip.Addr
	departed ntp.Timestamp // 0 until it is told
}

// polled is a client. Its clock is behind the server's by offset.
type polled struct {
	from   netip.AddrPort
	offset int64
	last   measured // by the last reply that it accepted
}

// measured is one exchange: the client's times, the server's receive timestamp, and
// how long the ways took.
type measured struct {
	t1, t2, t4  ntp.Timestamp
	there, back int64
}

// chance is true one time in n.
func (n *network) chance(of int) bool { return n.random.IntN(of) == 0 }

// poll lets a client ask once and checks what it makes of the reply.
func (n *network) poll(c *polled) {
	n.truth += int64(time.Millisecond) + n.random.Int64N(64*second)
	n.mono = n.truth
	c.from = netip.AddrPortFrom(c.from.Addr(), uint16(1024+n.random.IntN(60_000)))
	req := ntp.Header{Version: 4, Mode: ntp.ModeClient, Poll: 6, Transmit: ntp.Timestamp(n.random.Uint64())}
	if c.last.t2 != 0 {
		req.Origin, req.Receive = c.last.t2, c.last.t4
	}
	now := measured{t1: at(n.truth - c.offset), there: 1 + n.random.Int64N(20e6), back: 1 + n.random.Int64N(20e6)}
	if n.symmetric {
		now.back = now.there
	}
	if n.chance(10) {
		return // the request is lost
	}
	n.truth += now.there
	reply, verdict, waited := n.serve(c.from, req)
	if left := n.truth; n.chance(20) { // the network repeats the request
		n.truth += n.random.Int64N(1e6)
		n.serve(c.from, req)
		n.truth = left
	}
	n.truth += now.back
	if n.chance(10) {
		return // the reply is lost
	}
	now.t2, now.t4 = reply.Receive, at(n.truth-c.offset)
	n.measure(c, req, reply, now, waited, verdict)
	c.last = now
}

// serve answers one request, tells or does not tell when the reply left, and returns the
// reply, the verdict, and how much later than its transmit timestamp the reply left.
func (n *network) serve(from netip.AddrPort, req ntp.Header) (ntp.Header, Verdict, int64) {
	n.t.Helper()
	arrival := n.truth
	worker := n.workers[n.random.IntN(len(n.workers))]
	raw := req.Append(nil)
	size, v := worker.Respond(raw, raw, Arrival{From: from, At: arrival, Mono: n.mono, Random: n.random.Uint64()})
	if size != ntp.HeaderLen {
		n.t.Fatalf("%v", v)
	}
	n.truth += 5_000 + n.random.Int64N(50_000)
	sealed := n.truth
	worker.Seal(raw, sealed, n.random.Uint64())
	n.truth += n.random.Int64N(500_000)
	reply, _ := ntp.Decode(raw)
	n.compare(from.Addr(), req, reply, v, at(arrival)|1, at(sealed)&^1)
	if v.Followed() && !n.chance(10) {
		worker.Departed(raw, n.truth, n.random.Uint64())
		p := n.kept[reply.Receive]
		p.departed = at(n.truth) &^ 1
		n.kept[reply.Receive] = p
	}
	n.samples[v]++
	return reply, v, n.truth - sealed
}

// compare is the second server: a map of all that was ever followed.
func (n *network) compare(from netip.Addr, req, reply ntp.Header, got Verdict, t2, t3 ntp.Timestamp) {
	n.t.Helper()
	want, origin, transmit := Answered, req.Transmit, t3
	if req.Origin&1 == 1 && req.Receive != req.Transmit {
		want = AnsweredMissed
		if p, ok := n.kept[req.Origin]; ok && p.to == from {
			delete(n.kept, req.Origin)
			if p.departed != 0 {
				want, origin, transmit = AnsweredInterleaved, req.Receive, p.departed
			}
		}
		n.kept[t2] = pair{to: from}
	}
	if got != want || reply.Origin != origin || reply.Receive != t2 || reply.Transmit != transmit {
		n.t.Fatalf("%v: %+v\nwant %v, origin %x, T2 %x, T3 %x", got, reply, want, uint64(origin), uint64(t2), uint64(transmit))
	}
}

// measure is the client's part: by the origin it tells in which mode the reply is, and by that whose
// times the reply's are. The error of what it computes is what the ways differ
// by, and in basic mode what the reply waited after its transmit timestamp besides.
func (n *network) measure(c *polled, req, reply ntp.Header, now measured, waited int64, v Verdict) {
	n.t.Helper()
	var s ntp.Sample
	want := c.offset
	switch reply.Origin {
	case req.Transmit:
		if v == AnsweredInterleaved {
			n.t.Fatal("an interleaved reply looks like a basic one")
		}
		s = ntp.Sample{Origin: now.t1, Receive: reply.Receive, Transmit: reply.Transmit, Destination: now.t4}
		want += (now.there - now.back - waited) / 2
	case req.Receive:
		if v != AnsweredInterleaved {
			n.t.Fatal("a basic reply looks like an interleaved one")
		}
		s = ntp.Sample{Origin: c.last.t1, Receive: c.last.t2, Transmit: reply.Transmit, Destination: c.last.t4}
		want += (c.last.there - c.last.back) / 2
		waited = 0
	default:
		n.t.Fatalf("bogus: %+v to %+v", reply, req)
	}
	if d := int64(s.Offset()) - want; d < -2 || d > 2 {
		n.t.Fatalf("%v: the offset is %d ns from what it should be", v, d)
	}
	if n.symmetric && v == AnsweredInterleaved {
		if d := int64(s.Offset()) - c.offset; d < -2 || d > 2 {
			n.t.Fatalf("interleaved, and yet %d ns from the truth", d)
		}
	}
}

// TestInterleavedClients: whatever is lost, repeated or not told, every reply is told for what it
// is, and interleaved ones measure without the error that a reply's departure adds.
func TestInterleavedClients(t *testing.T) {
	t.Logf("seed %d", *seedFlag)
	for _, v := range []struct {
		name      string
		start     int64
		symmetric bool
	}{
		{"one way longer", noon, false},
		{"both ways alike", noon, true},
		{"across the era", 2085978496*second - 40_000*second, false},
	} {
		t.Run(v.name, func(t *testing.T) {
			n := &network{
				t: t, random: rand.New(rand.NewPCG(*seedFlag, 0)), truth: v.start, symmetric: v.symmetric,
				kept: map[ntp.Timestamp]pair{}, samples: map[Verdict]int{},
			}
			clients, err := NewClients(20_000, false)
			if err != nil {
				t.Fatal(err)
			}
			claims := honest()
			claims.Precision = -32
			for range 3 {
				r := &Responder{Clients: clients}
				r.Use(claims)
				n.workers = append(n.workers, r)
			}
			var everybody []*polled
			for i := range 12 {
				addr := [4]byte{192, 0, 2, byte(i / 2)} // two behind each address
				everybody = append(everybody, &polled{
					from: netip.AddrPortFrom(netip.AddrFrom4(addr), 1), offset: n.random.Int64N(2000*second) - 1000*second,
				})
			}
			for range 5000 {
				n.poll(everybody[n.random.IntN(len(everybody))])
			}
			if n.samples[AnsweredInterleaved] < 2500 || n.samples[AnsweredMissed] < 500 || n.samples[Answered] < 12 {
				t.Errorf("%v is no simulation of much", n.samples)
			}
		})
	}
}

// TestInterleavedOverLoopback: by the kernel's own stamps a departure lies between the arrival of its
// request and the moment at which the client heard it.
func TestInterleavedOverLoopback(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs transmit timestamps")
	}
	for _, addr := range loopbacks() {
		s := serve(t, Options{Addrs: []netip.AddrPort{addr}, Workers: 1})
		c := dial(t, addr.Addr().String(), s)
		var last ntp.Header
		var heard ntp.Timestamp
		interleaved := 0
		for i := range 50 {
			req := first()
			if i > 0 {
				req.Origin, req.Receive = last.Receive, heard
			}
			h, err := exchange(c, req.Append(nil))
			now := at(time.Now().UnixNano())
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 && h.Origin == req.Receive {
				interleaved++
				noise := ntp.Precision(-25).Duration()
				if h.Transmit.Before(last.Receive) || heard.Sub(h.Transmit) < -noise {
					t.Errorf("%v, request %d: left %v after its arrival and %v before it was heard", addr, i, h.Transmit.Sub(last.Receive), heard.Sub(h.Transmit))
				}
			}
			last, heard = h, now
		}
		if counts := s.Counts(); interleaved < 25 || counts.Verdicts[AnsweredInterleaved] != uint64(interleaved) || counts.Departures < uint64(interleaved) {
			t.Errorf("%v: %d of 50 were interleaved: %+v", addr, interleaved, counts)
		}
	}
}

// TestCapturedRequest answers a request that another implementation's client sent, as its
// server did, byte for byte up to the marks, which that server did not have.
func TestCapturedRequest(t *testing.T) {
	req := unhex(t, "e30003fa000100000001000000000000000000000000000000000000000000000000000000000000e2270f77a204b0d4")
	want := unhex(t, "240103e0000000000000000a46422020e2270c0800000000e2270f77a204b0d4e2270f77a2071e30e2270f77a21c2506")
	then, err := ntp.Decode(want)
	if err != nil {
		t.Fatal(err)
	}
	arrival, departure := then.Receive.Unix(noon), then.Transmit.Unix(noon)
	d := newDesk(t, Policy{})
	d.r.Use(&Claims{
		Stratum: 1, RefID: [4]byte{'F', 'B', ' ', ' '}, Precision: -32,
		RootDispersion: 152587, // ten units, rounded up
		At:             arrival, Reference: then.Reference.Unix(noon),
	})
	got := make([]byte, len(req))
	n, v := d.r.Respond(got, req, Arrival{From: client(), At: arrival})
	d.r.Seal(got, departure, 0)
	if v != Answered || n != len(want) || string(got[:receiveOffset]) != string(want[:receiveOffset]) {
		t.Errorf("%v\ngot  %x\nwant %x", v, got, want)
	}
	h, _ := ntp.Decode(got)
	if near := h.Receive.Sub(then.Receive).Abs(); near > 1 {
		t.Errorf("T2 is %v off", near)
	}
	if near := h.Transmit.Sub(then.Transmit).Abs(); near > 1 {
		t.Errorf("T3 is %v off", near)
	}
	if origin := binary.BigEndian.Uint64(got[originOffset:]); origin != 0xe2270f77a204b0d4 {
		t.Errorf("the origin is %x", origin)
	}
}
