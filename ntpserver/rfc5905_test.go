package ntpserver

// One test per criterion of serving time by RFC 5905, AC-S1 to AC-S15. AC-S13, leap seconds, and
// AC-S15, rates, have files of their own; AC-S12, loops, belongs to who believes sources, see
// internal/sysclock.

import (
	"bytes"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
)

const (
	second = int64(time.Second)

	// noon is the instant at which most tests take place: 2026-06-01 12:00 UTC.
	noon = 1780315200 * second
)

// client is where the requests of most tests come from.
func client() netip.AddrPort { return netip.MustParseAddrPort("192.0.2.7:41000") }

// plain returns a request of 48 bytes.
func plain(version uint8, mode ntp.Mode) []byte {
	return ntp.Header{Version: version, Mode: mode, Poll: 6, Transmit: 0x1122334455667788}.Append(nil)
}

// honest returns the claims of a synchronised server, made at noon.
func honest() *Claims {
	return &Claims{
		Stratum: 2, RefID: [4]byte{192, 0, 2, 1}, Precision: -25,
		RootDelay: 3 * time.Millisecond, RootDispersion: 2 * time.Millisecond,
		At: noon, Reference: noon - 10*second,
	}
}

// ask returns the sealed reply to req, which arrived and left at the given
// instants, and checks that there is one.
func ask(t *testing.T, c *Claims, req []byte, arrival, departure int64) ntp.Header {
	t.Helper()
	var r Responder
	r.Use(c)
	dst := make([]byte, len(req))
	n, v := r.Respond(dst, req, Arrival{From: client(), At: arrival, Random: 0x5555555555555555})
	if v != Answered || n != ntp.HeaderLen {
		t.Fatalf("got %v, %d bytes", v, n)
	}
	r.Seal(dst[:n], departure, 0xaaaaaaaaaaaaaaaa)
	h, err := ntp.Decode(dst[:n])
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// AC-S1. Figure 31: mode 4 in the request's version, poll echoed, transmit
// copied to origin bit for bit; other versions get silence.
func TestACS1ModeAndVersion(t *testing.T) {
	for version := uint8(0); version < 8; version++ {
		for _, transmit := range []ntp.Timestamp{0, 1, 0xffffffffffffffff, 0xe2270f77a204b0d4} {
			req := ntp.Header{Version: version, Mode: ntp.ModeClient, Poll: -3, Transmit: transmit}.Append(nil)
			if version == 0 || version > 4 {
				var r Responder
				if n, v := r.Respond(make([]byte, 48), req, Arrival{From: client(), At: noon}); n != 0 || v != DropVersion {
					t.Errorf("version %d: %d bytes, %v", version, n, v)
				}
				continue
			}
			h := ask(t, honest(), req, noon, noon)
			if h.Mode != ntp.ModeServer || h.Version != version || h.Poll != -3 || h.Origin != transmit {
				t.Errorf("version %d, transmit %x: %+v", version, uint64(transmit), h)
			}
		}
	}
}

// AC-S2. Section 3 and appendix A: only clients are answered; mode 0 is one in
// version 1 alone, and not from port 123.
func TestACS2OnlyClientsAreAnswered(t *testing.T) {
	for version := uint8(1); version <= 4; version++ {
		for mode := ntp.Mode(0); mode < 8; mode++ {
			for _, port := range []uint16{0, 1, 123, 41000} {
				want := DropMode
				switch {
				case port == 0:
					want = DropPort
				case mode == ntp.ModeClient, mode == 0 && version == 1 && port != 123:
					want = Answered
				}
				var r Responder
				a := Arrival{From: netip.AddrPortFrom(client().Addr(), port), At: noon}
				n, v := r.Respond(make([]byte, 48), plain(version, mode), a)
				if v != want || (n != 0) != (want == Answered) {
					t.Errorf("version %d, mode %d, port %d: %d bytes, %v, want %v", version, mode, port, n, v, want)
				}
			}
		}
	}
}

// AC-S3. Section 7.3 and RFC 7822: what is shorter than a header, has no whole
// words, or ends in what is neither fields nor a MAC, gets silence; so does
// what is authenticated by a key that we do not have.
func TestACS3Lengths(t *testing.T) {
	field := func(n int) []byte { return append([]byte{1, 4, byte(n >> 8), byte(n)}, make([]byte, n-4)...) }
	cases := []struct {
		rest []byte
		want Verdict
	}{
		{nil, Answered},
		{make([]byte, 1), DropLength},
		{make([]byte, 2), DropLength},
		{make([]byte, 3), DropLength},
		{make([]byte, 4), DropAuth}, // a crypto-NAK
		{[]byte{0, 0, 0, 1}, DropMalformed},
		{make([]byte, 12), DropMalformed},
		{make([]byte, 16), DropMalformed},
		{make([]byte, 20), DropAuth},
		{make([]byte, 24), DropAuth},
		{make([]byte, 28), DropMalformed},
		{field(28), Answered},
		{append(field(16), field(1000)...), Answered},
		{append(field(16), make([]byte, 20)...), DropAuth},
		{append(field(28), make([]byte, 8)...), DropMalformed},
	}
	for _, c := range cases {
		req := append(plain(4, ntp.ModeClient), c.rest...)
		var r Responder
		if _, v := r.Respond(make([]byte, len(req)), req, Arrival{From: client(), At: noon}); v != c.want {
			t.Errorf("%d bytes: got %v, want %v", len(req), v, c.want)
		}
	}
	for n := range 48 {
		var r Responder
		if _, v := r.Respond(make([]byte, 48), plain(4, ntp.ModeClient)[:n], Arrival{From: client()}); v != DropShort {
			t.Errorf("%d bytes: got %v", n, v)
		}
	}
}

// AC-S4. A reply is never longer than its request, and nothing is written
// beyond it, also where there is room.
func TestACS4NoAmplification(t *testing.T) {
	for extra := 0; extra <= 1200; extra += 4 {
		req := plain(4, ntp.ModeClient)
		if extra >= 28 {
			req = append(req, 1, 4, byte(extra>>8), byte(extra))
		}
		req = append(req, make([]byte, 48+extra-len(req))...)
		dst := bytes.Repeat([]byte{0xee}, 2*len(req))
		var r Responder
		n, _ := r.Respond(dst, req, Arrival{From: client(), At: noon})
		r.Seal(dst, noon, 0)
		if n > len(req) || !bytes.Equal(dst[48:], bytes.Repeat([]byte{0xee}, len(dst)-48)) {
			t.Errorf("%d bytes asked, %d answered", len(req), n)
		}
	}
}

// AC-S5. The reply leaves from the address and port that were asked. (Package
// netio repeats this on a host with several interfaces.)
func TestACS5AddressAsked(t *testing.T) { testWildcard(t, "0.0.0.0:0", "127.0.0.2", "127.0.0.1") }

// AC-S6. Section 7.3 and figure 12: a clock that is not synchronised is
// answered for, visibly: leap 3, stratum 0, INIT or STEP; clients see test 6 fail.
func TestACS6Unsynchronised(t *testing.T) {
	change := func(f func(*Claims)) *Claims { c := honest(); f(c); return c }
	cases := []struct {
		name   string
		claims *Claims
		refid  ntp.RefID
	}{
		{"no claims", nil, ntp.KissINIT},
		{"zero claims", &Claims{}, ntp.KissINIT},
		{"leap 3", change(func(c *Claims) { c.Leap = 3 }), ntp.KissINIT},
		{"leap 3 after a step", change(func(c *Claims) { c.Leap, c.RefID = 3, [4]byte{'S', 'T', 'E', 'P'} }), ntp.KissSTEP},
		{"leap 200", change(func(c *Claims) { c.Leap = 200 }), ntp.KissINIT},
		{"stratum 0", change(func(c *Claims) { c.Stratum = 0 }), ntp.KissINIT},
		{"a delay below zero", change(func(c *Claims) { c.RootDelay = -1 }), ntp.KissINIT},
		{"a dispersion below zero", change(func(c *Claims) { c.RootDispersion = -1 }), ntp.KissINIT},
		{"a rate that is no number", change(func(c *Claims) { c.RatePPM = math.NaN() }), ntp.KissINIT},
		{"a rate without end", change(func(c *Claims) { c.RatePPM = math.Inf(-1) }), ntp.KissINIT},
	}
	for _, c := range cases {
		req := plain(4, ntp.ModeClient)
		h := ask(t, c.claims, req, noon, noon+1000)
		if h.Leap != ntp.LeapUnsynchronised || h.Stratum != 0 || h.RefID != c.refid {
			t.Errorf("%s: leap %d, stratum %d, refid %s", c.name, h.Leap, h.Stratum, h.RefID.Text(0))
		}
		if h.RootDispersion < ntp.ShortOf(ntp.MaxDispersion) {
			t.Errorf("%s: claims a root dispersion of %v", c.name, h.RootDispersion.Duration())
		}
		if h.Receive.Unix(noon) < noon-2000 || h.Receive.Unix(noon) > noon+2000 {
			t.Errorf("%s: receive %d ns off", c.name, h.Receive.Unix(noon)-noon)
		}
		request, _ := ntp.Decode(req)
		if err := ntp.CheckReply(request, h); err == nil {
			t.Errorf("%s: a client would believe this", c.name)
		}
	}
}

// AC-S7. Section 11.2 and figure 31: the root dispersion grows from reply to
// reply, by 15 millionths where nothing else was measured.
func TestACS7DispersionAges(t *testing.T) {
	aged := func(c *Claims, after time.Duration) ntp.Short {
		return ask(t, c, plain(4, ntp.ModeClient), noon+int64(after), noon+int64(after)).RootDispersion
	}
	c := honest()
	early, late := aged(c, 5*time.Second), aged(c, 1005*time.Second)
	if d := int64(late) - int64(early) - 983; d < -1 || d > 1 { // 0.015 s
		t.Errorf("1000 s made it %d units larger, want 983", late-early)
	}
	for _, v := range []struct {
		after time.Duration
		want  ntp.Short
	}{{0, 0x3b7}, {64 * time.Second, 0x3f6}, {1024 * time.Second, 0x7a6}, {time.Hour, 0x118a}} {
		c := &Claims{Stratum: 2, RootDispersion: 14511108, At: noon, Precision: -25}
		if got := aged(c, v.after); got != v.want {
			t.Errorf("after %v: got %x, want %x", v.after, got, v.want)
		}
	}

	c.RootDispersion = 0
	for _, v := range []struct {
		growthPPM float64
		after     time.Duration
		want      ntp.Short
	}{
		{0, 1000 * time.Second, 984}, // 15
		{math.NaN(), 1000 * time.Second, 984},
		{-4, 1000 * time.Second, 984},
		{1, 1000 * time.Second, 66},
		{1e-9, 1e6 * time.Second, 66}, // a billionth is the least
		{15, -time.Hour, 0},           // claims from the future do not shrink
		{15, -1, 0},
		{15, 1, 1}, // any age costs
		{math.Inf(1), time.Second, ntp.ShortMax},
		{1e15, time.Second, ntp.ShortMax},
		{15, 2400 * time.Hour, 8493466},
		{15, math.MaxInt64 - time.Duration(noon), ntp.ShortMax}, // 235 years
	} {
		c := *c
		c.GrowthPPM = v.growthPPM
		if got := aged(&c, v.after); got != v.want {
			t.Errorf("%v ppm after %v: got %d, want %d", v.growthPPM, v.after, got, v.want)
		}
	}

	// The sum of a large dispersion and its growth does not wrap.
	c.RootDispersion, c.GrowthPPM = 5*time.Second, math.Inf(1)
	if got := aged(c, 4*time.Second-1); got != ntp.ShortMax {
		t.Errorf("a growth of almost 2^64 ns: got %d", got)
	}

	// Served UTC ages it, not the kernel's clock.
	c = honest()
	c.RootDispersion, c.KernelAt, c.UTCAt = 0, noon-5000*second, noon
	if got := ask(t, c, plain(4, ntp.ModeClient), noon-4000*second, noon).RootDispersion; got != 984 {
		t.Errorf("behind a map: got %d, want 984", got)
	}
}

// AC-S8. Section 6: what bounds an error is rounded up and saturates.
func TestACS8ShortFormatRoundsUp(t *testing.T) {
	for _, v := range []struct {
		d    time.Duration
		want ntp.Short
	}{
		{0, 0}, {time.Microsecond, 1}, {50 * time.Millisecond, 0xccd}, {time.Second, 0x10000}, {16 * time.Second, 0x100000},
		{math.MaxInt64, ntp.ShortMax},
	} {
		c := honest()
		c.RootDelay, c.RootDispersion = v.d, v.d
		if h := ask(t, c, plain(4, ntp.ModeClient), noon, noon); h.RootDelay != v.want || h.RootDispersion != v.want {
			t.Errorf("%v: delay %x, dispersion %x, want %x", v.d, h.RootDelay, h.RootDispersion, v.want)
		}
	}
}

// AC-S9. Section 7.3 and figure 31: T2 < T3 whatever the clock does in between, their lowest
// bits tell which is which (RFC 9769), and no timestamp is 0, which would mean unknown, also at
// the instant at which an era begins.
func TestACS9Order(t *testing.T) {
	for _, departure := range []int64{noon, noon + 1, noon + 20, noon + 100, noon + 1000, noon - 1, noon - second, noon - 86400*second} {
		for _, precision := range []int8{-32, -25, -20, -6, 0, 10} {
			c := honest()
			c.Precision = precision
			h := ask(t, c, plain(4, ntp.ModeClient), noon, departure)
			if h.Transmit.Before(h.Receive) {
				t.Errorf("precision %d, %d ns later: T3 is %v before T2", precision, departure-noon, h.Receive.Sub(h.Transmit))
			}
			if departure < noon-second && h.Transmit != h.Receive+1 {
				t.Errorf("precision %d, stepped back: T3 is not the first after T2", precision)
			}
			if h.Receive&1 != 1 || h.Transmit&1 != 0 {
				t.Errorf("precision %d: T2 %x and T3 %x are not marked", precision, uint64(h.Receive), uint64(h.Transmit))
			}
		}
	}
	const wrap = 2085978496 * second // 2036-02-07 06:28:16 UTC
	for _, precision := range []int8{-32, -25, 0} {
		c := honest()
		c.Precision, c.Reference, c.At = precision, wrap, wrap
		var r Responder
		r.Use(c)
		dst := make([]byte, 48)
		r.Respond(dst, plain(4, ntp.ModeClient), Arrival{From: client(), At: wrap})
		r.Seal(dst, wrap, 0)
		h, _ := ntp.Decode(dst)
		if h.Receive == 0 || h.Transmit == 0 || h.Reference == 0 {
			t.Errorf("precision %d: %+v", precision, h)
		}
	}
	c := honest()
	c.Reference = 0
	if h := ask(t, c, plain(4, ntp.ModeClient), noon, noon); h.Reference != 0 {
		t.Errorf("unknown reference: got %x", uint64(h.Reference))
	}
}

// AC-S9, AC-S10. Both sides of the era's end, and across it.
func TestEraChange(t *testing.T) {
	const wrap = 2085978496 * second
	for _, v := range []struct{ arrival, departure int64 }{
		{wrap - 10*second, wrap - 10*second + 500},
		{wrap - 1, wrap},
		{wrap - 500, wrap + 500},
		{wrap, wrap + 1},
		{wrap + 10*second, wrap + 10*second + 500},
	} {
		c := honest()
		c.At, c.Reference, c.Precision = wrap-100*second, wrap-100*second, -32
		h := ask(t, c, plain(4, ntp.ModeClient), v.arrival, v.departure)
		pivot := noon
		if got := h.Receive.Unix(pivot); got != v.arrival {
			t.Errorf("T2: %d ns off", got-v.arrival)
		}
		if got := h.Transmit.Unix(pivot); got != v.departure {
			t.Errorf("T3: %d ns off", got-v.departure)
		}
		request, _ := ntp.Decode(plain(4, ntp.ModeClient))
		if err := ntp.CheckReply(request, h); err != nil {
			t.Errorf("%d: %v", v.arrival-wrap, err)
		}
	}
}

// AC-S10. Section 6: the bits below the precision are random, the others not.
func TestACS10BitsBelowThePrecision(t *testing.T) {
	c := honest()
	c.Precision = -20
	const noise = 1<<12 - 1
	var r Responder
	r.Use(c)
	seen := map[uint64]bool{}
	exact := uint64(ntp.FromUnix(noon))
	for i := range uint64(100) {
		random := i * 0x9e3779b97f4a7c15
		dst := make([]byte, 48)
		r.Respond(dst, plain(4, ntp.ModeClient), Arrival{From: client(), At: noon, Random: random})
		r.Seal(dst, noon+int64(time.Millisecond), ^random)
		h, _ := ntp.Decode(dst)
		t2, t3 := uint64(h.Receive), uint64(h.Transmit)
		if t2&noise != random&noise|1 || t3&noise != ^random&noise&^1 {
			t.Errorf("random bits: %x and %x of %x", t2&noise, t3&noise, random)
		}
		if t2&^noise != exact&^noise {
			t.Errorf("T2 is %x, want %x", t2&^noise, exact&^noise)
		}
		seen[t2] = true
	}
	if len(seen) < 90 {
		t.Errorf("%d different timestamps of 100", len(seen))
	}
}

// AC-S11. Section 7.3 and figure 11: stratum 1 to 15 as claimed, with the
// source's identifier; 16 and above is not synchronised and sent as 0.
func TestACS11Stratum(t *testing.T) {
	for stratum := range 256 {
		c := honest()
		c.Stratum = uint8(stratum)
		h := ask(t, c, plain(4, ntp.ModeClient), noon, noon)
		if stratum >= 1 && stratum <= 15 {
			if int(h.Stratum) != stratum || h.Leap != 0 || h.RefID.String() != "192.0.2.1" {
				t.Errorf("stratum %d: %+v", stratum, h)
			}
		} else if h.Stratum != 0 || h.Leap != 3 || h.RefID != ntp.KissINIT {
			t.Errorf("stratum %d: %+v", stratum, h)
		}
	}
	h := ask(t, honest(), plain(4, ntp.ModeClient), noon, noon)
	if h.Precision != -25 || h.Reference != ntp.FromUnix(noon-10*second) {
		t.Errorf("precision %d, reference %x", h.Precision, uint64(h.Reference))
	}
}

// Section 8: T2 and T3 go through one map.
func TestTimesGoThroughTheMap(t *testing.T) {
	c := honest()
	c.Precision = -32
	c.KernelAt, c.UTCAt, c.RatePPM = noon+7*second, noon, 100
	arrival := noon + 17*second
	h := ask(t, c, plain(4, ntp.ModeClient), arrival, arrival+10*second)
	for _, v := range []struct {
		got  ntp.Timestamp
		want int64
	}{{h.Receive, noon + 10*second + 1e6}, {h.Transmit, noon + 20*second + 2e6}} {
		if got := v.got.Unix(noon); got < v.want-1 || got > v.want {
			t.Errorf("got %d, want %d", got, v.want)
		}
	}
}

// AC-S14. Section 7.3 lets a server answer what does not verify with a crypto-NAK; this one is
// silent, whatever the length and the version, and whatever its clock and its policy: an answer
// would tell a forger that he was heard.
func TestACS14NeverACryptoNAK(t *testing.T) {
	header := unhex(t, "230003fa00010000000100000000000000000000000000000000000000000000"+"0000000000000000e2270f77a204b0d4")
	for name, digest := range map[string]string{ // over that header, by well-known keys
		"MD5":          "afd1888305b5816addcec18e46eae846",
		"SHA-1":        "52ffb671ad7595fac43e720a080b558c122e65c6",
		"SHA-256, cut": "38ca60305a59dfb76c5dabb0df33019e863d31b0",
		"AES-CMAC":     "c3743300543d972bff02d01675088050",
	} {
		for _, keyID := range []string{"00000001", "00000000", "ffffffff"} {
			req := append(bytes.Clone(header), unhex(t, keyID+digest)...)
			checkSilent(t, name+", key "+keyID, req, DropAuth)
			req = append(append(bytes.Clone(header), field(0x0104, 28)...), unhex(t, keyID+digest)...)
			checkSilent(t, name+" after a field, key "+keyID, req, DropAuth)
		}
	}
	for version := uint8(1); version <= 4; version++ {
		checkSilent(t, "a crypto-NAK", append(plain(version, ntp.ModeClient), nak()...), DropAuth)
		for n := 4; n <= 88; n += 4 {
			want := DropMalformed
			if n == 20 || n == 24 || version < 4 && (n == 12 || n > 24 && n <= 68) {
				want = DropAuth
			}
			checkSilent(t, "a MAC", append(plain(version, ntp.ModeClient), mac(n)...), want)
		}
	}
}

// checkSilent fails unless a request is met with silence for that reason, by every server.
func checkSilent(t *testing.T, name string, req []byte, want Verdict) {
	t.Helper()
	for _, p := range []Policy{{}, {Rate: Rate{Interval: time.Hour, Burst: 1, Kiss: 1, Private: true}}} {
		for _, claims := range []*Claims{honest(), nil} {
			clients, err := NewClients(100, false)
			if err == nil {
				err = clients.SetPolicy(p)
			}
			if err != nil {
				t.Fatal(err)
			}
			r := Responder{Clients: clients}
			r.Use(claims)
			for random := range uint64(3) {
				dst := bytes.Repeat([]byte{0xee}, len(req))
				n, v := r.Respond(dst, req, Arrival{From: client(), At: noon, Random: random << 32})
				if n != 0 || v != want || !v.silent() || v.Followed() || !bytes.Equal(dst, bytes.Repeat([]byte{0xee}, len(req))) {
					t.Errorf("%s, %d bytes: %v with %d bytes, want %v", name, len(req), v, n, want)
				}
			}
		}
	}
}
