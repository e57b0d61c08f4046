package ntpserver

// Interleaved client/server mode, one test per clause of RFC 9769, section 2, on the server's side.
// What a client makes of it is in rfc9769_client_test.go, and what may go wrong in
// rfc9769_doubt_test.go.

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
)

// desk is a Responder that remembers its clients, and the clock that it serves. A test
// moves the clock.
type desk struct {
	testing.TB
	r         Responder
	clock     int64 // the kernel's, Unix nanoseconds
	mono      int64
	precision int8
}

const (
	// deskTook is how long after its arrival the replies of a desk are sealed, and deskLeft
	// when they leave.
	deskTook = 20 * time.Microsecond
	deskLeft = 90 * time.Microsecond
)

// newDesk returns a desk that serves honest claims without noise: timestamps are exact
// but for their mark.
func newDesk(t testing.TB, p Policy) *desk {
	t.Helper()
	d := &desk{TB: t, clock: noon, precision: -32}
	clients, err := NewClients(8000, false)
	if err == nil {
		err = clients.SetPolicy(p)
	}
	if err != nil {
		t.Fatal(err)
	}
	d.r.Clients = clients
	d.use(func(*Claims) {})
	return d
}

// use changes the claims, which are made now.
func (d *desk) use(change func(*Claims)) {
	c := honest()
	c.Precision, c.At, c.Reference = d.precision, d.clock, d.clock-10*second
	change(c)
	d.r.Use(c)
}

// pass lets time go by.
func (d *desk) pass(span time.Duration) {
	d.clock += int64(span)
	d.mono += int64(span)
}

// hand gives a request to the Responder and returns the sealed reply, nil for silence.
func (d *desk) hand(from netip.AddrPort, req []byte, random uint64) ([]byte, Verdict) {
	d.Helper()
	dst := make([]byte, len(req))
	n, v := d.r.Respond(dst, req, Arrival{From: from, At: d.clock, Mono: d.mono, Random: random})
	if n != 0 && n != ntp.HeaderLen || (n == 0) != v.silent() {
		d.Fatalf("%v with %d bytes", v, n)
	}
	if n == 0 {
		return nil, v
	}
	d.r.Seal(dst[:n], d.clock+int64(deskTook), ^random)
	return dst[:n], v
}

// ask gives a request to the Responder, wants that verdict, and returns the reply; when the
// reply is followed it tells when it left. A second passes.
func (d *desk) ask(from netip.AddrPort, req ntp.Header, want Verdict) ntp.Header {
	d.Helper()
	reply, v := d.hand(from, req.Append(nil), 0)
	if v != want {
		d.Fatalf("got %v, want %v", v, want)
	}
	if v.Followed() {
		d.r.Departed(reply, d.clock+int64(deskLeft), 0)
	}
	d.pass(time.Second)
	if reply == nil {
		return ntp.Header{}
	}
	h, err := ntp.Decode(reply)
	if err != nil {
		d.Fatal(err)
	}
	return h
}

// kept returns how many departures have a place.
func (d *desk) kept() (n int) {
	for _, t := range []*table[departure]{d.r.Clients.departures.first, d.r.Clients.departures.proven} {
		t.each(func(_ key, v *departure) {
			if v.to != (key{}) {
				n++
			}
		})
	}
	return n
}

// cookie is what requests of these tests have in their transmit field, and theirs in the
// receive field: neither is a time.
const (
	cookie = ntp.Timestamp(0x1122334455667788)
	theirs = ntp.Timestamp(0x99aabbccddeeff00)
)

// first is the first request of an association, in basic mode.
func first() ntp.Header {
	return ntp.Header{Version: 4, Mode: ntp.ModeClient, Poll: 6, Transmit: cookie}
}

// next is the request in interleaved mode of a client that has heard reply.
func next(reply ntp.Header) ntp.Header {
	h := first()
	h.Origin, h.Receive = reply.Receive, theirs
	return h
}

// checkBasic fails unless the reply to a request that arrived at the given instant is in
// basic mode: its origin is the request's transmit field.
func (d *desk) checkBasic(h, req ntp.Header, arrival int64) {
	d.Helper()
	if h.Origin != req.Transmit || h.Receive != at(arrival)|1 || h.Transmit != at(arrival+int64(deskTook))&^1 {
		d.Errorf("not a basic reply: %+v", h)
	}
}

// checkInterleaved fails unless the reply is in interleaved mode: its origin is the
// request's receive field, its transmit field the departure of the reply before.
func (d *desk) checkInterleaved(h, req ntp.Header, arrival, departed int64) {
	d.Helper()
	if h.Origin != req.Receive || h.Receive != at(arrival)|1 || h.Transmit != at(departed)&^1 {
		d.Errorf("not the interleaved reply: %+v", h)
	}
}

// at is the timestamp of an instant.
func at(unix int64) ntp.Timestamp { return ntp.FromUnix(unix) }

// Section 2: the first request is basic and so is its reply; in interleaved mode origin is
// the request's receive field bit for bit, receive is this request's, transmit is the
// departure of the previous reply: what the kernel says, not what that reply said.
func TestInterleavedConversation(t *testing.T) {
	d := newDesk(t, Policy{})
	req := first()
	reply := d.ask(client(), req, Answered)
	d.checkBasic(reply, req, noon)

	req = next(reply) // of which nothing was kept: nobody pays for those who will not come again
	reply = d.ask(client(), req, AnsweredMissed)
	d.checkBasic(reply, req, noon+second)

	for i := int64(2); i < 20; i++ {
		req = next(reply)
		req.Receive += ntp.Timestamp(i) * 0x1000001 // odd and even, of any look
		req.Transmit = ntp.Timestamp(i)
		reply = d.ask(client(), req, AnsweredInterleaved)
		d.checkInterleaved(reply, req, noon+i*second, noon+(i-1)*second+int64(deskLeft))
	}
}

// Section 2: all else in an interleaved reply is of this reply: version, poll, mode, and
// what the clock's claims are now.
func TestInterleavedReplyIsOfNowOtherwise(t *testing.T) {
	d := newDesk(t, Policy{})
	reply := d.ask(client(), next(ntp.Header{Receive: 1}), AnsweredMissed)
	d.use(func(c *Claims) { c.Stratum, c.RefID, c.RootDelay = 7, [4]byte{192, 0, 2, 9}, time.Second })
	d.pass(1000 * time.Second)
	req := next(reply)
	req.Poll = -3
	h := d.ask(client(), req, AnsweredInterleaved)
	if h.Version != 4 || h.Mode != ntp.ModeServer || h.Poll != -3 || h.Stratum != 7 || h.RefID.String() != "192.0.2.9" ||
		h.RootDelay != 0x10000 || h.Precision != -32 || h.Leap != 0 || h.Reference != at(noon-9*second) {
		t.Errorf("got %+v", h)
	}
	if want := ntp.ShortOf(2*time.Millisecond + 15*time.Millisecond); h.RootDispersion != want {
		t.Errorf("root dispersion %v, want %v", h.RootDispersion, want)
	}

	d.r.Use(nil) // unsynchronised is said in either mode
	if h = d.ask(client(), next(h), AnsweredInterleaved); h.Leap != ntp.LeapUnsynchronised || h.Stratum != 0 || h.RefID != ntp.KissINIT {
		t.Errorf("got %+v", h)
	}
}

// Section 2: the receive timestamp MUST NOT be used again to detect an interleaved request.
func TestInterleavedOnceOnly(t *testing.T) {
	d := newDesk(t, Policy{})
	reply := d.ask(client(), next(ntp.Header{Receive: 1}), AnsweredMissed)
	req := next(reply)
	d.ask(client(), req, AnsweredInterleaved)
	for range 3 {
		again := d.ask(client(), req, AnsweredMissed)
		d.checkBasic(again, req, d.clock-second)
	}
}

// Section 2: a lost reply. The client asks again by the last one that it heard, which was
// used up for the lost one: basic. From there on interleaved again.
func TestInterleavedLostReply(t *testing.T) {
	d := newDesk(t, Policy{})
	heard := d.ask(client(), next(ntp.Header{Receive: 1}), AnsweredMissed)
	d.ask(client(), next(heard), AnsweredInterleaved) // lost
	req := next(heard)
	req.Transmit++
	heard = d.ask(client(), req, AnsweredMissed)
	d.checkBasic(heard, req, d.clock-second)
	departed := d.clock - second + int64(deskLeft)
	req = next(heard)
	d.checkInterleaved(d.ask(client(), req, AnsweredInterleaved), req, d.clock-second, departed)
}

// Section 2: a lost request. It has used up nothing, however much later the next one comes.
func TestInterleavedLostRequest(t *testing.T) {
	d := newDesk(t, Policy{})
	heard := d.ask(client(), next(ntp.Header{Receive: 1}), AnsweredMissed)
	d.pass(36 * time.Hour)
	req := next(heard)
	d.checkInterleaved(d.ask(client(), req, AnsweredInterleaved), req, d.clock-second, noon+int64(deskLeft))
}

// Section 2: the server may leave clients in basic mode to themselves. They have an origin
// of zero or our transmit timestamp; no departure is kept for them and none wanted.
func TestInterleavedBasicClientsCostNothing(t *testing.T) {
	d := newDesk(t, Policy{})
	d.precision = -25
	d.use(func(*Claims) {})
	var reply ntp.Header
	for i := range 100 {
		req := first()
		req.Transmit += ntp.Timestamp(i)
		if i%2 == 1 {
			req.Origin, req.Receive = reply.Transmit, theirs
		}
		raw, v := d.hand(client(), req.Append(nil), uint64(i)*0x9e3779b97f4a7c15)
		if v != Answered || v.Followed() {
			t.Fatalf("request %d: %v", i, v)
		}
		d.r.Departed(raw, d.clock+int64(deskLeft), 0) // which nobody asked for
		reply, _ = ntp.Decode(raw)
		if reply.Origin != req.Transmit {
			t.Fatalf("request %d: %+v", i, reply)
		}
		d.pass(time.Second)
	}
	if n := d.kept(); n != 0 {
		t.Errorf("%d departures are kept", n)
	}
}

// Section 2: a client that fills in the origin by chance is answered in basic mode. Half
// of the time that looks like interleaved mode, and costs a place.
func TestInterleavedRandomOrigin(t *testing.T) {
	d := newDesk(t, Policy{})
	origin := uint64(12345)
	odd := 0
	for range 200 {
		origin = origin*6364136223846793005 + 1442695040888963407
		req := next(ntp.Header{Receive: ntp.Timestamp(origin>>7 | origin<<57)})
		want := Answered
		if req.Origin&1 == 1 {
			want = AnsweredMissed
			odd++
		}
		d.checkBasic(d.ask(client(), req, want), req, d.clock-second)
	}
	if n := d.kept(); n != odd || odd == 0 || odd == 200 {
		t.Errorf("%d places for %d odd origins", n, odd)
	}
}

// Section 2: a request whose receive and transmit fields are equal is not interleaved, as
// the origin of the reply could not tell its mode. It uses up nothing.
func TestInterleavedEqualFields(t *testing.T) {
	d := newDesk(t, Policy{})
	reply := d.ask(client(), next(ntp.Header{Receive: 1}), AnsweredMissed)
	req := next(reply)
	for _, same := range []ntp.Timestamp{0, 1, cookie} {
		req.Receive, req.Transmit = same, same
		h := d.ask(client(), req, Answered)
		d.checkBasic(h, req, d.clock-second)
	}
	req = next(reply)
	d.checkInterleaved(d.ask(client(), req, AnsweredInterleaved), req, d.clock-second, noon+int64(deskLeft))
}

// Section 2: the server MUST NOT send equal receive and transmit timestamps, nor one that
// is both. Ours differ in their lowest bit, in both modes and whatever the clock does.
func TestInterleavedMarks(t *testing.T) {
	for _, precision := range []int8{-32, -25, -20, -6, 3} {
		d := newDesk(t, Policy{})
		d.precision = precision
		d.use(func(*Claims) {})
		reply := ntp.Header{Receive: 1}
		for i := range 40 {
			req := next(reply)
			if i%5 == 4 {
				req = first()
			}
			random := uint64(i) * 0x9e3779b97f4a7c15
			raw, v := d.hand(client(), req.Append(nil), random)
			d.r.Departed(raw, d.clock+int64(i-5), random<<7)
			reply, _ = ntp.Decode(raw)
			if reply.Receive&1 != 1 || reply.Transmit&1 != 0 || reply.Transmit == 0 {
				t.Errorf("precision %d, %v: T2 %x, T3 %x", precision, v, uint64(reply.Receive), uint64(reply.Transmit))
			}
			d.pass(time.Second)
		}
	}
}

// Section 2, RFC 9109: timestamps are kept by address, not by port, for clients that
// change it; and both modes may come from one address, in any order.
func TestInterleavedBothModesOfOneAddress(t *testing.T) {
	d := newDesk(t, Policy{})
	addr := client().Addr()
	a := d.ask(netip.AddrPortFrom(addr, 1000), next(ntp.Header{Receive: 1}), AnsweredMissed)
	b := d.ask(netip.AddrPortFrom(addr, 2000), next(ntp.Header{Receive: 3}), AnsweredMissed)
	for port := uint16(3000); port < 3020; port++ {
		basic := first()
		d.checkBasic(d.ask(netip.AddrPortFrom(addr, port), basic, Answered), basic, d.clock-second)
		req := next(a)
		left := a.Receive
		a = d.ask(netip.AddrPortFrom(addr, port+1), req, AnsweredInterleaved)
		if took := a.Transmit.Sub(left); took.Round(time.Microsecond) != deskLeft {
			t.Errorf("the first left %v after its request", took)
		}
		left = b.Receive
		b = d.ask(netip.AddrPortFrom(addr, port+2), next(b), AnsweredInterleaved)
		if took := b.Transmit.Sub(left); took.Round(time.Microsecond) != deskLeft {
			t.Errorf("the second left %v after its request", took)
		}
	}
}

// Section 2: timestamps are kept for the address that they were given to. Another cannot
// claim them, and its attempt takes nothing away.
func TestInterleavedAnotherAddress(t *testing.T) {
	for _, v := range []struct{ owner, other string }{
		{"192.0.2.7:1000", "192.0.2.8:1000"},
		{"[2001:db8::7]:1000", "[2001:db8::8]:1000"},
		{"[2001:db8::7]:1000", "[2001:db9::7]:1000"},
		{"192.0.2.7:1000", "[::c000:207]:1000"},
	} {
		d := newDesk(t, Policy{})
		owner, other := netip.MustParseAddrPort(v.owner), netip.MustParseAddrPort(v.other)
		reply := d.ask(owner, next(ntp.Header{Receive: 1}), AnsweredMissed)
		req := next(reply)
		d.checkBasic(d.ask(other, req, AnsweredMissed), req, d.clock-second)
		d.checkInterleaved(d.ask(owner, req, AnsweredInterleaved), req, d.clock-second, noon+int64(deskLeft))
	}
	// A socket for both families sees IPv4 addresses in the form of the other.
	d := newDesk(t, Policy{})
	reply := d.ask(netip.MustParseAddrPort("192.0.2.7:1000"), next(ntp.Header{Receive: 1}), AnsweredMissed)
	d.ask(netip.MustParseAddrPort("[::ffff:192.0.2.7]:1000"), next(reply), AnsweredInterleaved)
}

// Section 2: the mode is of version 4. Older requests are basic, with nothing kept, and
// cannot claim what was kept.
func TestInterleavedVersion(t *testing.T) {
	d := newDesk(t, Policy{})
	reply := d.ask(client(), next(ntp.Header{Receive: 1}), AnsweredMissed)
	for version := uint8(1); version < 4; version++ {
		req := next(reply)
		req.Version = version
		h := d.ask(client(), req, Answered)
		d.checkBasic(h, req, d.clock-second)
		req.Origin = h.Receive
		d.ask(client(), req, Answered)
	}
	if n := d.kept(); n != 1 {
		t.Errorf("%d departures are kept", n)
	}
	d.ask(client(), next(reply), AnsweredInterleaved)
}

// Section 2: interleaved mode may be restricted; without it all is basic.
func TestInterleavedOff(t *testing.T) {
	basicOnly, err := NewClients(100, true)
	if err != nil {
		t.Fatal(err)
	}
	for name, clients := range map[string]*Clients{"basic only": basicOnly, "nothing remembered": nil} {
		d := newDesk(t, Policy{})
		d.r.Clients = clients
		reply := ntp.Header{Receive: 1}
		for range 5 {
			req := next(reply)
			raw, v := d.hand(client(), req.Append(nil), 0)
			if v != Answered {
				t.Fatalf("%s: %v", name, v)
			}
			d.r.Departed(raw, d.clock+int64(deskLeft), 0)
			reply, _ = ntp.Decode(raw)
			d.checkBasic(reply, req, d.clock)
			d.pass(time.Second)
		}
	}
}

// Section 2, on a server of several workers: the pair is found by whichever of them the
// next request comes to, and only they may tell the departure.
func TestInterleavedAcrossWorkers(t *testing.T) {
	d := newDesk(t, Policy{})
	one, two := d, newDesk(t, Policy{})
	two.r.Clients = one.r.Clients
	reply := one.ask(client(), next(ntp.Header{Receive: 1}), AnsweredMissed)
	for i := range 10 {
		by := two
		if i%2 == 1 {
			by = one
		}
		two.clock, two.mono = one.clock, one.mono
		req := next(reply)
		before := reply.Receive
		reply = by.ask(client(), req, AnsweredInterleaved)
		if took := reply.Transmit.Sub(before); took.Round(time.Microsecond) != deskLeft || reply.Origin != theirs {
			t.Errorf("request %d: %+v, %v after its request", i, reply, took)
		}
		one.clock, one.mono = by.clock, by.mono
	}
}

// Section 2 and RFC 5905, section 8: a reply built over its request is the same reply.
func TestInterleavedInPlace(t *testing.T) {
	apart, over := newDesk(t, Policy{}), newDesk(t, Policy{})
	heard := apart.ask(client(), next(ntp.Header{Receive: 1}), AnsweredMissed)
	over.ask(client(), next(ntp.Header{Receive: 1}), AnsweredMissed)
	req := next(heard)
	want, _ := apart.hand(client(), req.Append(nil), 0)
	got := req.Append(nil)
	n, v := over.r.Respond(got, got, Arrival{From: client(), At: over.clock, Mono: over.mono})
	over.r.Seal(got, over.clock, 0)
	if v != AnsweredInterleaved || n != len(got) || string(got) != string(want) {
		t.Errorf("%v\ngot  %x\nwant %x", v, got, want)
	}
	if c := over.r.Clients.List(1); len(c) != 1 || c[0].Version != 4 || c[0].Mode != 3 || !c[0].Interleaved {
		t.Errorf("remembered as %+v", c)
	}
}

// Section 2: the transmit timestamp of an interleaved reply is not this reply's: Seal
// leaves it alone, whenever and by whatever clock it seals.
func TestInterleavedSeal(t *testing.T) {
	d := newDesk(t, Policy{})
	reply := d.ask(client(), next(ntp.Header{Receive: 1}), AnsweredMissed)
	dst := next(reply).Append(nil)
	if _, v := d.r.Respond(dst, dst, Arrival{From: client(), At: d.clock, Mono: d.mono}); v != AnsweredInterleaved {
		t.Fatal(v)
	}
	before := string(dst)
	for _, departure := range []int64{0, noon - 86400*second, noon, d.clock + 5, noon + 86400*second} {
		if d.r.Seal(dst, departure, ^uint64(0)); string(dst) != before {
			t.Fatalf("Seal changed the reply to %x", dst)
		}
	}
	if got := binary.BigEndian.Uint64(dst[transmitOffset:]); got != uint64(at(noon+int64(deskLeft))&^1) {
		t.Errorf("T3 is %x", got)
	}
}
