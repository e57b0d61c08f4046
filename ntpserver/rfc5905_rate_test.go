package ntpserver

// AC-S15: how often a client may ask, what becomes of what is above, and the kiss.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
)

const (
	// withheld is a random word by which what is above the rate is dropped or kissed, and
	// leaked one by which it leaks.
	withheld = uint64(1) << 32
	leaked   = uint64(0)
)

// asks returns what becomes of one plain request.
func (d *desk) asks(from string, random uint64) Verdict {
	d.Helper()
	_, v := d.hand(netip.MustParseAddrPort(from), first().Append(nil), random)
	return v
}

// granted returns how many of n requests at this instant are within the rate.
func (d *desk) granted(from string, n int) (granted int) {
	d.Helper()
	for range n {
		if d.asks(from, withheld) == Answered {
			granted++
		}
	}
	return granted
}

// AC-S15. The bucket: what is saved is asked at once, one more is not, and time earns one
// for each interval, to the nanosecond and never more than the burst.
func TestACS15Bucket(t *testing.T) {
	for _, rate := range []Rate{
		{Interval: time.Second, Burst: 1},
		{Interval: time.Second, Burst: 8},
		{Interval: 16 * time.Second, Burst: 3},
		{Interval: time.Hour, Burst: 20},
		{Interval: 3, Burst: 1000},
	} {
		t.Run(fmt.Sprintf("%d each %v", rate.Burst, rate.Interval), func(t *testing.T) {
			d := newDesk(t, Policy{Rate: rate})
			const from = "192.0.2.7:1000"
			check := func(what string, want int) {
				t.Helper()
				if got := d.granted(from, rate.Burst+3); got != want {
					t.Fatalf("%s: %d of %d, want %d", what, got, rate.Burst+3, want)
				}
			}
			check("a new client", rate.Burst)
			check("at once", 0)
			d.pass(rate.Interval - 1)
			check("a nanosecond early", 0)
			d.pass(1)
			check("an interval later", 1)
			if rate.Burst > 2 {
				d.pass(2 * rate.Interval)
				check("two intervals later", 2)
			}
			d.pass(time.Duration(rate.Burst) * rate.Interval)
			check("when full again", rate.Burst)
			d.pass(1000 * time.Duration(rate.Burst) * rate.Interval)
			check("long after", rate.Burst)
		})
	}
}

// AC-S15. The clock of the bucket is one that nobody sets.
func TestACS15BucketIgnoresSteps(t *testing.T) {
	d := newDesk(t, Policy{Rate: Rate{Interval: time.Minute, Burst: 2}})
	for _, step := range []int64{0, 365 * 86400 * second, -700 * 86400 * second} {
		d.clock += step
		if got, want := d.granted("192.0.2.7:1", 5), 2; step == 0 && got != want || step != 0 && got != 0 {
			t.Errorf("after a step of %v: %d granted", time.Duration(step), got)
		}
	}
}

// AC-S15. Sustained: who keeps to the rate is never refused; of twice the rate half is
// within it, and what is refused earns nothing and costs nothing.
func TestACS15Sustained(t *testing.T) {
	for _, v := range []struct {
		every time.Duration
		want  float64
	}{{time.Second, 1}, {2 * time.Second, 1}, {time.Second / 2, 0.5}, {time.Second / 10, 0.1}, {time.Second * 9 / 10, 0.9}} {
		d := newDesk(t, Policy{Rate: Rate{Interval: time.Second, Burst: 8}})
		const n = 10_000
		granted := 0
		for range n {
			granted += d.granted("192.0.2.7:1", 1)
			d.pass(v.every)
		}
		if got := float64(granted) / n; got < v.want || got > v.want+0.001 {
			t.Errorf("one each %v: %v are within the rate, want %v", v.every, got, v.want)
		}
	}
}

// AC-S15. What is above the rate: one in four leaks, whatever else is set, and of the rest one in
// Kiss is told. Over 200,000 requests each share is within a tenth of what it should be,
// which is more than five standard deviations.
func TestACS15Shares(t *testing.T) {
	const n = 200_000
	for _, kiss := range []int{0, 1, 2, 4, 8, 50} {
		for seed := range uint64(3) {
			random := rand.New(rand.NewPCG(seed, 15))
			d := newDesk(t, Policy{Rate: Rate{Interval: time.Hour, Burst: 1, Kiss: kiss}})
			if v := d.asks("192.0.2.7:1", random.Uint64()); v != Answered {
				t.Fatal(v)
			}
			count := map[Verdict]int{}
			for range n {
				count[d.asks("192.0.2.7:1", random.Uint64())]++
			}
			want := map[Verdict]float64{AnsweredLeak: 0.25}
			if kiss > 0 {
				want[KissRate] = 0.75 / float64(kiss)
			}
			if kiss != 1 {
				want[DropRate] = 0.75 - want[KissRate]
			}
			for v, got := range count {
				if share := float64(got) / n; share < 0.9*want[v] || share > 1.1*want[v] {
					t.Errorf("one kiss in %d, seed %d: %v for %.4f, want %.4f", kiss, seed, v, share, want[v])
				}
			}
			if len(count) != len(want) {
				t.Errorf("one kiss in %d: %v", kiss, count)
			}
		}
	}
}

// AC-S15. The word that decides is not the one that shows in the timestamps of replies: who
// reads their low bits learns nothing of what leaks.
func TestACS15LeakIsNotTold(t *testing.T) {
	d := newDesk(t, Policy{Rate: Rate{Interval: time.Hour, Burst: 1}})
	d.asks("192.0.2.7:1", 0)
	for shown := range uint64(64) {
		if d.asks("192.0.2.7:1", leaked|shown*0x4000001) != AnsweredLeak || d.asks("192.0.2.7:1", withheld|shown*0x4000001) != DropRate {
			t.Errorf("the lower word %x decides", shown*0x4000001)
		}
	}
}

// AC-S15. Section 7.4: the fields of a kiss. It is a header, unsynchronised, of the version of
// the request with its transmit field as origin, and asks for a poll that the rate allows.
func TestACS15KissFields(t *testing.T) {
	for _, v := range []struct {
		interval time.Duration
		poll     int8
	}{{1, 0}, {time.Second, 0}, {time.Second + 1, 1}, {2 * time.Second, 1}, {3 * time.Second, 2}, {16 * time.Second, 4}, {17 * time.Second, 5}, {time.Hour, 12}} {
		for version := uint8(1); version <= 4; version++ {
			for _, asked := range []int8{-128, -1, 0, 4, 6, 12, 17, 127} {
				d := newDesk(t, Policy{Rate: Rate{Interval: v.interval, Burst: 1, Kiss: 1}})
				d.precision = -25
				d.use(func(c *Claims) { c.Leap = 1 })
				d.asks("192.0.2.7:1", 0)
				req := ntp.Header{Version: version, Mode: ntp.ModeClient, Poll: asked, Origin: 5, Receive: 6, Transmit: 0xfedcba9876543210}
				if version == 1 && asked < 0 {
					req.Mode = 0
				}
				reply, verdict := d.hand(netip.MustParseAddrPort("192.0.2.7:1"), append(req.Append(nil), trailing(version)...), withheld)
				if verdict != KissRate || len(reply) != ntp.HeaderLen {
					t.Fatalf("%v with %d bytes", verdict, len(reply))
				}
				if reply[0] != 0xc4|version<<3 || string(reply[12:16]) != "\x52\x41\x54\x45" {
					t.Errorf("first octet %x, refid %x", reply[0], reply[12:16])
				}
				h := d.heard(reply)
				receive, transmit := h.Receive.Sub(at(noon)).Abs(), h.Transmit.Sub(at(noon)).Abs()
				if noise := h.Precision.Duration(); receive > noise || transmit > noise+deskTook || h.Transmit.Before(h.Receive) || h.Receive == 0 || h.Transmit == 0 {
					t.Errorf("T2 %x, T3 %x", uint64(h.Receive), uint64(h.Transmit))
				}
				want := ntp.Header{
					Leap: ntp.LeapUnsynchronised, Version: version, Mode: ntp.ModeServer, Poll: max(v.poll, asked), Precision: -25,
					RootDispersion: ntp.ShortOf(16 * time.Second), RefID: ntp.KissRATE, Origin: req.Transmit,
					Receive: h.Receive, Transmit: h.Transmit,
				}
				if h != want {
					t.Errorf("got %+v\nwant %+v", h, want)
				}
				var kiss ntp.KissError
				if err := ntp.CheckReply(req, h); !errors.As(err, &kiss) || kiss.Code != ntp.KissRATE || !errors.Is(err, ntp.ErrUnsynchronised) {
					t.Errorf("a client makes of it: %v", err)
				}
				req.Transmit++
				if err := ntp.CheckReply(req, h); !errors.Is(err, ntp.ErrBogus) {
					t.Errorf("another client makes of it: %v", err)
				}
			}
		}
	}
}

// trailing is what may follow a header without a key.
func trailing(version uint8) []byte {
	if version < 4 {
		return nil
	}
	return field(1, 400)
}

// AC-S15. Section 7.4: a kiss over its request is the same kiss.
func TestACS15KissInPlace(t *testing.T) {
	d := newDesk(t, Policy{Rate: Rate{Interval: 16 * time.Second, Burst: 1, Kiss: 1}})
	d.asks("192.0.2.7:1", 0)
	want, _ := d.hand(client(), first().Append(nil), withheld)
	got := first().Append(nil)
	_, v := d.r.Respond(got, got, Arrival{From: client(), At: d.clock, Mono: d.mono, Random: withheld})
	d.r.Seal(got, d.clock+int64(deskTook), ^withheld)
	if v != KissRate || string(got) != string(want) {
		t.Errorf("%v\ngot  %x\nwant %x", v, got, want)
	}
}

// AC-S15. Section 7.4: RATE is the only code that anybody is told; clients obey DENY and RSTR for
// ever, and an address can be forged. Who is denied hears nothing.
func TestACS15NobodyIsToldToGoAway(t *testing.T) {
	d := newDesk(t, Policy{
		Deny: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/25")},
		Rate: Rate{Interval: time.Minute, Burst: 2, Kiss: 2, Private: true},
	})
	random := rand.New(rand.NewPCG(1, 2))
	count := map[Verdict]int{}
	for range 20_000 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(random.Uint32())}), uint16(1+random.IntN(65535)))
		req := first()
		if random.IntN(2) == 0 {
			req = next(ntp.Header{Receive: ntp.Timestamp(random.Uint64())})
		}
		raw, v := d.hand(from, req.Append(nil), random.Uint64())
		count[v]++
		if denied := from.Addr().As4()[3] < 128; denied != (v == DropDenied) || denied && raw != nil {
			t.Fatalf("%v: %v", from, v)
		}
		if raw != nil {
			if h := d.heard(raw); h.Stratum == 0 && (v != KissRate || h.RefID != ntp.KissRATE) || v == KissRate && h.Stratum != 0 {
				t.Fatalf("%v: %+v", v, h)
			}
		}
		d.pass(20 * time.Millisecond)
	}
	for _, v := range []Verdict{Answered, AnsweredMissed, AnsweredLeak, KissRate, DropRate, DropDenied} {
		if count[v] == 0 {
			t.Errorf("nothing was %v: %v", v, count)
		}
	}
}

// AC-S15. A site's own addresses are exempt unless the policy says otherwise: loopback,
// private and link-local ones, also of IPv4 in the form of IPv6.
func TestACS15PrivateAddresses(t *testing.T) {
	for from, private := range map[string]bool{
		"127.0.0.1:1": true, "127.255.255.254:1": true, "[::1]:1": true, "[::ffff:127.0.0.1]:1": true,
		"10.0.0.0:1": true, "10.255.255.255:1": true, "172.16.0.1:1": true, "172.31.255.255:1": true, "192.168.7.7:1": true,
		"[::ffff:10.1.2.3]:1": true, "[fc00::1]:1": true, "[fdff::1]:1": true,
		"169.254.0.1:1": true, "[fe80::1]:1": true, "[fe80::1%eth0]:1": true, "[febf::1]:1": true,
		"9.255.255.255:1": false, "11.0.0.0:1": false, "172.15.255.255:1": false, "172.32.0.0:1": false, "192.167.255.255:1": false,
		"192.169.0.0:1": false, "126.255.255.255:1": false, "128.0.0.0:1": false, "169.253.255.255:1": false, "100.64.0.1:1": false,
		"[::ffff:192.0.2.7]:1": false, "[2001:db8::1]:1": false, "[fe00::1]:1": false, "[fec0::1]:1": false, "[::2]:1": false, "[fbff::1]:1": false,
	} {
		d := newDesk(t, Policy{Rate: Rate{Interval: time.Hour, Burst: 3}})
		want := 3
		if private {
			want = 50
		}
		if got := d.granted(from, 50); got != want {
			t.Errorf("%s: %d granted, want %d", from, got, want)
		}
		d = newDesk(t, Policy{Rate: Rate{Interval: time.Hour, Burst: 3, Private: true}})
		if got := d.granted(from, 50); got != 3 {
			t.Errorf("%s, private addresses limited: %d granted", from, got)
		}
	}
}

// AC-S15. One bucket per IPv4 address, however written and from whatever port, and per
// prefix of 64 bits of IPv6, which is what one host has.
func TestACS15WhoSharesABucket(t *testing.T) {
	for _, v := range []struct {
		one, other string
		shared     bool
	}{
		{"192.0.2.7:1", "192.0.2.7:65535", true},
		{"192.0.2.7:1", "[::ffff:192.0.2.7]:1", true},
		{"192.0.2.7:1", "192.0.2.6:1", false},
		{"192.0.2.7:1", "193.0.2.7:1", false},
		{"[2001:db8:1:2::1]:1", "[2001:db8:1:2::2]:1", true},
		{"[2001:db8:1:2::]:1", "[2001:db8:1:2:ffff:ffff:ffff:ffff]:9", true},
		{"[2001:db8:1:2::1]:1", "[2001:db8:1:3::1]:1", false},
		{"[2001:db8:1:2::1]:1", "[2001:db8:0:2::1]:1", false},
		{"[::192.0.2.7]:1", "192.0.2.7:1", false},
	} {
		d := newDesk(t, Policy{Rate: Rate{Interval: time.Hour, Burst: 3}})
		d.granted(v.one, 3)
		want := 3
		if v.shared {
			want = 0
		}
		if got := d.granted(v.other, 5); got != want {
			t.Errorf("%s after %s: %d granted, want %d", v.other, v.one, got, want)
		}
	}
}

// AC-S15. A flood under a victim's address does not silence the victim: a quarter of what it
// asks is answered. All of the eight polls that make a source unreachable are then lost one
// time in ten, and of three times as many one time in a thousand. Another client notices nothing.
func TestACS15SpoofedFlood(t *testing.T) {
	for seed := range uint64(3) {
		random := rand.New(rand.NewPCG(seed, 16))
		d := newDesk(t, Policy{Rate: Rate{Interval: time.Second, Burst: 8, Kiss: 4}})
		const polls = 4000
		answered, silent, longest := 0, 0, 0
		for range polls {
			for range 32 { // eight per second of sixteen seconds would do
				d.pass(500 * time.Millisecond)
				d.asks("192.0.2.7:4000", random.Uint64())
			}
			for range 20 {
				d.asks("192.0.2.7:4000", random.Uint64())
			}
			silent++
			if v := d.asks("192.0.2.7:123", random.Uint64()); v.answered() {
				answered++
				silent = 0
			}
			longest = max(longest, silent)
			if v := d.asks("192.0.2.8:123", random.Uint64()); v != Answered {
				t.Fatalf("another client: %v", v)
			}
		}
		if share := float64(answered) / polls; share < 0.22 || share > 0.28 || longest > 60 {
			t.Errorf("seed %d: the victim is answered %v of the time, and hears nothing %d times in a row", seed, share, longest)
		}
	}
}

// AC-S15. What was refused is counted as that, the kisses too, and what leaked is not.
func TestACS15RefusalsAreCounted(t *testing.T) {
	d := newDesk(t, Policy{Rate: Rate{Interval: time.Hour, Burst: 2, Kiss: 2}})
	for _, v := range []struct {
		random uint64
		want   Verdict
		drops  uint64
	}{
		{leaked, Answered, 0},
		{withheld, Answered, 0},
		{withheld, KissRate, 1},
		{leaked, AnsweredLeak, 1},
		{withheld + leak<<32, DropRate, 2},
	} {
		got := d.asks("192.0.2.7:1", v.random)
		list := d.r.Clients.List(2)
		if got != v.want || len(list) != 1 || list[0].Drops != v.drops {
			t.Errorf("got %v, want %v; %+v", got, v.want, list)
		}
	}
}

// AC-S15. What the policy says holds from the next request on; what a client has used up
// stays used.
func TestACS15PolicyChanges(t *testing.T) {
	d := newDesk(t, Policy{})
	const from = "192.0.2.7:1"
	if got := d.granted(from, 100); got != 100 {
		t.Errorf("without a limit: %d granted", got)
	}
	set := func(rate Rate) {
		t.Helper()
		if err := d.r.Clients.SetPolicy(Policy{Rate: rate}); err != nil {
			t.Fatal(err)
		}
	}
	set(Rate{Interval: time.Minute, Burst: 4})
	if got := d.granted(from, 100); got != 4 {
		t.Errorf("limited: %d granted", got)
	}
	if err := d.r.Clients.SetPolicy(Policy{Rate: Rate{Interval: time.Minute}}); err == nil {
		t.Error("a burst of zero was taken")
	}
	set(Rate{Interval: time.Minute, Burst: 6})
	if got := d.granted(from, 100); got != 2 {
		t.Errorf("with a larger burst: %d granted", got)
	}
	set(Rate{})
	if got := d.granted(from, 100); got != 100 {
		t.Errorf("without a limit again: %d granted", got)
	}
}
