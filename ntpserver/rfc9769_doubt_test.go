package ntpserver

// Interleaved mode where something is in doubt: departures that never came or cannot be,
// timestamps that are not unique, clocks that are set, clients that are refused.

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
)

// follow gives a request in interleaved mode to the desk, tells nothing of the departure, and
// returns the reply. No time passes.
func (d *desk) follow(req ntp.Header) []byte {
	d.Helper()
	raw, v := d.hand(client(), req.Append(nil), 0)
	if !v.Followed() {
		d.Fatalf("got %v", v)
	}
	return raw
}

// heard decodes a reply.
func (d *desk) heard(raw []byte) ntp.Header {
	d.Helper()
	h, err := ntp.Decode(raw)
	if err != nil {
		d.Fatal(err)
	}
	return h
}

// RFC 9769, section 2: an interleaved reply MUST contain the departure. Where that is not
// known, or comes too late, the reply is basic.
func TestInterleavedDepartureUnknown(t *testing.T) {
	d := newDesk(t, Policy{})
	lost := d.follow(next(ntp.Header{Receive: 1}))
	d.pass(time.Second)
	req := next(d.heard(lost))
	late := d.follow(req)
	d.checkBasic(d.heard(late), req, d.clock)

	// The news of the first comes now, when its place is gone, and then that of the second.
	d.r.Departed(lost, noon+int64(deskLeft), 0)
	d.pass(time.Second)
	d.checkBasic(d.ask(client(), req, AnsweredMissed), req, d.clock-second)
	d.r.Departed(late, noon+second+int64(deskLeft), 0)
	req = next(d.heard(late))
	d.checkInterleaved(d.ask(client(), req, AnsweredInterleaved), req, d.clock-second, noon+second+int64(deskLeft))
}

// RFC 9769, section 2: a departure before the arrival, or more than a second after it, says
// that the clock was set: it is not believed. One that lies before it by less than
// the precision is as good as at once.
func TestInterleavedDepartureNotBelieved(t *testing.T) {
	noise := int64(ntp.Precision(-20).Duration())
	for _, v := range []struct {
		precision int8
		took      int64
		believed  bool
	}{
		{-32, int64(deskLeft), true},
		{-32, 1, true},
		{-32, second - 1, true},
		{-32, second + 2, false},
		{-32, 3600 * second, false},
		{-32, 86400 * second, false},
		{-32, -1000, false},
		{-32, -second, false},
		{-32, -86400 * second, false},
		{-32, -noon, false},
		{-20, 0, true},
		{-20, -noise + 1, true},
		{-20, -noise - 2, false},
		{-25, -noise, false},
		{-1, -second / 4, true},
		{-1, -second, false},
	} {
		t.Run(fmt.Sprintf("precision %d, %d ns", v.precision, v.took), func(t *testing.T) {
			d := newDesk(t, Policy{})
			d.precision = v.precision
			d.use(func(*Claims) {})
			raw := d.follow(next(ntp.Header{Receive: 1}))
			d.r.Departed(raw, d.clock+v.took, 0)
			heard := d.heard(raw)
			d.pass(time.Second)
			if !v.believed {
				d.ask(client(), next(heard), AnsweredMissed)
				return
			}
			h := d.ask(client(), next(heard), AnsweredInterleaved)
			want := max(v.took, 0)
			if got := h.Transmit.Sub(heard.Receive); got < 0 || got < time.Duration(want-noise) || got > time.Duration(want+1) {
				t.Errorf("T3 is %v after T2", got)
			}
		})
	}
}

// Nonsense in place of a reply that departed changes nothing.
func TestInterleavedDepartedNonsense(t *testing.T) {
	d := newDesk(t, Policy{})
	raw := d.follow(next(ntp.Header{Receive: 1}))
	for n := range ntp.HeaderLen {
		d.r.Departed(raw[:n], d.clock+int64(deskLeft), 0)
	}
	other := ntp.Header{Receive: d.heard(raw).Receive + 2}.Append(nil)
	d.r.Departed(other, d.clock+int64(deskLeft), 0)
	new(Responder).Departed(raw, d.clock, 0)
	if n := d.kept(); n != 1 {
		t.Errorf("%d departures are kept", n)
	}
	d.pass(time.Second)
	d.ask(client(), next(d.heard(raw)), AnsweredMissed)
}

// RFC 9769, section 2: receive timestamps need to be unique. Of two replies with the same
// one neither departure counts: it could be the other's, and both get basic replies.
func TestInterleavedEqualReceiveTimestamps(t *testing.T) {
	for _, other := range []netip.AddrPort{client(), netip.MustParseAddrPort("198.51.100.9:2000")} {
		d := newDesk(t, Policy{})
		one := d.follow(next(ntp.Header{Receive: 1}))
		two, v := d.hand(other, next(ntp.Header{Receive: 3}).Append(nil), 0)
		if v != Answered {
			t.Errorf("the second reply with a receive timestamp: %v", v)
		}
		if d.heard(one).Receive != d.heard(two).Receive {
			t.Fatal("not the case that is tested")
		}
		third := netip.MustParseAddrPort("198.51.100.10:2000")
		three, v := d.hand(third, next(ntp.Header{Receive: 5}).Append(nil), 0)
		if v != Answered {
			t.Errorf("the third reply with a receive timestamp: %v", v)
		}
		for i, reply := range [][]byte{one, two, three} {
			d.r.Departed(reply, d.clock+int64(i+1)*int64(deskLeft), 0)
		}
		if n := d.kept(); n != 0 {
			t.Errorf("%d departures are kept", n)
		}
		d.pass(time.Second)
		d.ask(client(), next(d.heard(one)), AnsweredMissed)
		d.ask(other, next(d.heard(two)), AnsweredMissed)
		d.ask(third, next(d.heard(three)), AnsweredMissed)
	}
}

// RFC 9769, section 2: also when the second of them is itself an interleaved reply, which
// keeps what it has of the one before.
func TestInterleavedEqualReceiveOfInterleaved(t *testing.T) {
	d := newDesk(t, Policy{})
	before := d.ask(client(), next(ntp.Header{Receive: 1}), AnsweredMissed)
	other, v := d.hand(netip.MustParseAddrPort("198.51.100.9:2000"), next(ntp.Header{Receive: 3}).Append(nil), 0)
	if v != AnsweredMissed {
		t.Fatal(v)
	}
	reply := d.follow(next(before))
	d.checkInterleaved(d.heard(reply), next(before), d.clock, noon+int64(deskLeft))
	d.r.Departed(other, d.clock+int64(deskLeft), 0)
	d.r.Departed(reply, d.clock+int64(deskLeft), 0)
	if n := d.kept(); n != 0 {
		t.Errorf("%d departures are kept", n)
	}
	d.pass(time.Second)
	d.ask(client(), next(d.heard(reply)), AnsweredMissed)
}

// A step between the reply and the next request: what was kept are two times of one
// clock, that before the step, and they still belong together.
func TestInterleavedStepBetween(t *testing.T) {
	for _, step := range []int64{-86400 * second, -second, -1000, 1000, second, 86400 * second, 50 * 365 * 86400 * second} {
		d := newDesk(t, Policy{})
		heard := d.ask(client(), next(ntp.Header{Receive: 1}), AnsweredMissed)
		d.clock += step
		d.use(func(*Claims) {})
		req := next(heard)
		d.checkInterleaved(d.ask(client(), req, AnsweredInterleaved), req, d.clock-second, noon+int64(deskLeft))
	}
}

// A clock that was stepped while the reply waited to leave: the departure is by another
// clock than the arrival, and is not told to anybody.
func TestInterleavedStepWhileLeaving(t *testing.T) {
	for _, step := range []int64{-86400 * second, -second, 2 * second, 86400 * second} {
		d := newDesk(t, Policy{})
		raw := d.follow(next(ntp.Header{Receive: 1}))
		d.clock += step
		d.r.Departed(raw, d.clock+int64(deskLeft), 0)
		d.pass(time.Second)
		d.ask(client(), next(d.heard(raw)), AnsweredMissed)
	}
}

// The kernel's transmit stamp goes through the map to the served clock like its
// receive stamp.
func TestInterleavedTimesGoThroughTheMap(t *testing.T) {
	d := newDesk(t, Policy{})
	d.use(func(c *Claims) { c.KernelAt, c.UTCAt, c.RatePPM = noon+7*second, noon, 100_000 })
	raw := d.follow(next(ntp.Header{Receive: 1}))
	d.r.Departed(raw, d.clock+int64(100*time.Millisecond), 0)
	d.pass(time.Second)
	h := d.ask(client(), next(d.heard(raw)), AnsweredInterleaved)
	// Seven seconds behind the kernel's clock, and ten per cent faster.
	if got, want := h.Transmit.Unix(noon), noon-7*second-7*second/10+int64(110*time.Millisecond); got < want-2 || got > want+2 {
		t.Errorf("T3 is %d ns off", got-want)
	}
}

// Era 1 begins between arrival, departure and the next request, at every place.
func TestInterleavedEraChange(t *testing.T) {
	const wrap = 2085978496 * second // 2036-02-07 06:28:16 UTC
	left := int64(deskLeft)
	for _, arrival := range []int64{
		wrap - 10*second, wrap - second, wrap - second/2, wrap - left - 1, wrap - left, wrap - left + 1,
		wrap - left/2, wrap - 1, wrap, wrap + 1, wrap + 10*second,
	} {
		d := newDesk(t, Policy{})
		d.clock = arrival
		d.use(func(c *Claims) { c.At, c.Reference = arrival-second, arrival-second })
		heard := d.ask(client(), next(ntp.Header{Receive: 1}), AnsweredMissed)
		if heard.Receive == 0 || heard.Transmit == 0 || heard.Transmit.Before(heard.Receive) {
			t.Errorf("%d: T2 %x, T3 %x", arrival-wrap, uint64(heard.Receive), uint64(heard.Transmit))
		}
		h := d.ask(client(), next(heard), AnsweredInterleaved)
		if got := h.Transmit.Unix(noon) - arrival - left; got < -1 || got > 1 || h.Transmit == 0 {
			t.Errorf("%d: the departure is %d ns off", arrival-wrap, got)
		}
		if got := h.Receive.Unix(noon) - arrival - second; got < -1 || got > 1 || h.Receive == 0 {
			t.Errorf("%d: T2 is %d ns off", arrival-wrap, got)
		}
		if h.Transmit.Sub(heard.Receive).Round(time.Microsecond) != deskLeft {
			t.Errorf("%d: left %v after the arrival", arrival-wrap, h.Transmit.Sub(heard.Receive))
		}
	}
}

// A client that is refused hears nothing, and nothing of it is followed or used up. What
// leaks through above its rate is basic.
func TestInterleavedRefused(t *testing.T) {
	d := newDesk(t, Policy{})
	heard := d.ask(client(), next(ntp.Header{Receive: 1}), AnsweredMissed)
	req := next(heard)
	change := func(p Policy) {
		if err := d.r.Clients.SetPolicy(p); err != nil {
			t.Fatal(err)
		}
	}

	change(Policy{Deny: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	d.ask(client(), req, DropDenied)

	change(Policy{Rate: Rate{Interval: time.Hour, Burst: 1, Kiss: 1}})
	d.ask(client(), first(), Answered)
	for _, v := range []struct {
		random uint64
		want   Verdict
	}{{0, AnsweredLeak}, {1 << 32, KissRate}} {
		raw, got := d.hand(client(), req.Append(nil), v.random)
		if got != v.want || got.Followed() {
			t.Fatalf("got %v, want %v", got, v.want)
		}
		d.r.Departed(raw, d.clock+int64(deskLeft), 0)
		if h := d.heard(raw); h.Origin != req.Transmit || h.Receive&1 != 1 || h.Transmit != at(d.clock+int64(deskTook))&^1 {
			t.Errorf("%v is not in basic mode: %+v", got, h)
		}
	}
	change(Policy{Rate: Rate{Interval: time.Hour, Burst: 1}})
	if raw, got := d.hand(client(), req.Append(nil), 1<<32); got != DropRate || raw != nil {
		t.Errorf("got %v", got)
	}
	if n := d.kept(); n != 1 {
		t.Errorf("%d departures are kept", n)
	}

	change(Policy{})
	d.checkInterleaved(d.ask(client(), req, AnsweredInterleaved), req, d.clock-second, noon+int64(deskLeft))
}

// RFC 9769, section 2: the memory is limited, and the oldest timestamps are discarded.
// Whose were is answered in basic mode. What strangers ask for the first time takes nothing
// from those who have proved that they hear us.
func TestInterleavedMemoryIsLimited(t *testing.T) {
	d := newDesk(t, Policy{})
	clients, err := NewClients(setLen, false)
	if err != nil {
		t.Fatal(err)
	}
	d.r.Clients = clients
	from := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 123)
	}
	first := func(i int) ntp.Header { return d.ask(from(i), next(ntp.Header{Receive: 1}), AnsweredMissed) }
	var heard []ntp.Header
	for i := range setLen {
		heard = append(heard, d.ask(from(i), next(first(i)), AnsweredInterleaved))
	}
	for i := range 1000 {
		first(100 + i)
	}
	if n := d.kept(); n != 2*setLen {
		t.Errorf("%d departures are kept in two tables of %d", n, setLen)
	}
	late := d.ask(from(2000), next(first(2000)), AnsweredInterleaved) // the oldest made room
	for i := setLen - 1; i > 0; i-- {
		d.ask(from(i), next(heard[i]), AnsweredInterleaved)
	}
	d.ask(from(2000), next(late), AnsweredInterleaved)
	d.ask(from(0), next(heard[0]), AnsweredMissed)
	forgotten := first(3000)
	for i := range 100 * setLen {
		first(3001 + i)
	}
	d.ask(from(3000), next(forgotten), AnsweredMissed)
}
