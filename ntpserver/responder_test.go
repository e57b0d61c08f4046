package ntpserver

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/truechimer/truechimer/internal/ntp"
)

// twin is Respond and Seal, slow and obvious: the header is decoded and another
// is encoded, and every figure is computed from the claims by exact arithmetic.
func twin(c *Claims, req []byte, a Arrival, departure int64, random uint64) []byte {
	h, err := ntp.Decode(req)
	if err != nil || len(req)%4 != 0 || a.From.Port() == 0 || h.Version < 1 || h.Version > 4 {
		return nil
	}
	v1 := h.Version == 1 && h.Mode == 0 && a.From.Port() != 123
	if h.Mode != ntp.ModeClient && !v1 {
		return nil
	}
	if trailer, _ := ntp.Split(req[48:], h.Version); trailer != ntp.TrailerNone && trailer != ntp.TrailerFields {
		return nil
	}
	if c == nil {
		c = &Claims{}
	}
	precision := ntp.Precision(c.Precision)
	if precision == 0 {
		precision = -20
	}
	reply := ntp.Header{
		Leap: ntp.Leap(c.Leap), Version: h.Version, Mode: ntp.ModeServer, Stratum: c.Stratum, Poll: h.Poll,
		Precision: precision, RootDelay: ntp.ShortOf(c.RootDelay),
		RefID: ntp.RefIDFromASCII(string(c.RefID[:])), Origin: h.Transmit,
	}
	dispersion := c.RootDispersion
	if c.Leap > 2 || c.Stratum < 1 || c.Stratum > 15 || c.RootDelay < 0 || dispersion < 0 || !(math.Abs(c.RatePPM) <= 1e5) {
		reply.Leap, reply.Stratum = 3, 0
		if string(c.RefID[:]) != "STEP" {
			reply.RefID = ntp.KissINIT
		}
		dispersion = max(dispersion, 16*time.Second)
	}
	if c.Reference != 0 {
		reply.Reference = ntp.FromUnix(c.Reference)
	}
	arrived, departed := twinUTC(c, a.At), twinUTC(c, departure)
	if !twinLastDay(c, arrived) && reply.Leap != 3 {
		reply.Leap = 0
	}
	reply.RootDispersion = twinDispersion(c, dispersion, arrived)
	reply.Receive = ntp.FromUnix(arrived).Randomize(precision, a.Random) | 1
	reply.Transmit = ntp.FromUnix(departed).Randomize(precision, random) &^ 1
	if reply.Transmit.Sub(reply.Receive) < 0 {
		reply.Transmit = reply.Receive + 1
	}
	if reply.Transmit == 0 {
		reply.Transmit = 2
	}
	return reply.Append(nil)
}

// twinLastDay reports whether an instant lies in the last day of the month in which the
// claims were made.
func twinLastDay(c *Claims, utc int64) bool {
	made, now := time.Unix(0, c.At).UTC(), time.Unix(0, utc).UTC()
	return now.AddDate(0, 0, 1).Day() == 1 && now.Month() == made.Month() && now.Year() == made.Year()
}

// twinUTC is the map, in rational numbers, rounded as FromKernel says.
func twinUTC(c *Claims, stamp int64) int64 {
	d := stamp - c.KernelAt
	if !(math.Abs(c.RatePPM) <= 1e5) {
		return c.UTCAt + d
	}
	rate := new(big.Rat).SetFloat64(c.RatePPM / 1e6)
	gain := rate.Mul(rate, new(big.Rat).SetInt64(d))
	return c.UTCAt + d + new(big.Int).Quo(gain.Num(), gain.Denom()).Int64()
}

// twinDispersion is the root dispersion at an instant, in rational numbers.
func twinDispersion(c *Claims, dispersion time.Duration, utc int64) ntp.Short {
	growth := c.GrowthPPM
	if !(growth > 0) {
		growth = 15
	}
	age := new(big.Int).Sub(big.NewInt(utc), big.NewInt(c.At))
	if age.Sign() < 0 {
		age.SetInt64(0)
	}
	ppb, _ := big.NewFloat(math.Ceil(growth * 1000)).Int(nil)
	billion := big.NewInt(1e9)
	ns := age.Mul(age, ppb).Add(age, big.NewInt(1e9-1)).Quo(age, billion)
	ns.Add(ns, big.NewInt(int64(dispersion)))
	units := ns.Lsh(ns, 16).Add(ns, big.NewInt(1e9-1)).Quo(ns, billion)
	if units.Cmp(big.NewInt(math.MaxUint32)) > 0 {
		return ntp.ShortMax
	}
	return ntp.Short(units.Uint64())
}

// randomRequest draws a request: most are nearly right.
func randomRequest(r *rand.Rand) []byte {
	req := make([]byte, 48)
	for i := range req {
		req[i] = byte(r.Uint32())
	}
	if r.IntN(4) > 0 {
		req[0] = byte(1+r.IntN(4))<<3 | 3
	}
	switch r.IntN(6) {
	case 0:
		req = append(req, make([]byte, r.IntN(80))...)
	case 1:
		req = append(req, append([]byte{1, 4, 0, 32}, make([]byte, 28)...)...)
	case 2:
		req = req[:r.IntN(len(req)+1)]
	}
	return req
}

// randomClaims draws claims: most are sound.
func randomClaims(r *rand.Rand) *Claims {
	if r.IntN(20) == 0 {
		return nil
	}
	c := &Claims{
		Leap: uint8(r.IntN(4)), Stratum: uint8(r.IntN(18)), Precision: int8(-32 + r.IntN(36)),
		RefID:     [4]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())},
		RootDelay: time.Duration(r.Int64N(second)), RootDispersion: time.Duration(r.Int64N(second)),
		At: noon - r.Int64N(1<<40), Reference: noon - r.Int64N(1<<45),
	}
	switch r.IntN(8) {
	case 0:
		c.RefID = [4]byte{'S', 'T', 'E', 'P'}
	case 1:
		c.RootDelay, c.RootDispersion = time.Duration(r.Int64()), time.Duration(r.Int64())
	case 2:
		c.RootDispersion = -1
	case 3:
		c.At, c.Reference = int64(r.Uint64()), 0
	}
	if r.IntN(2) == 0 {
		c.GrowthPPM = math.Exp(r.Float64()*60 - 20)
	}
	if r.IntN(2) == 0 {
		c.KernelAt, c.UTCAt = noon+r.Int64N(1<<40), noon+r.Int64N(1<<60)
	}
	if r.IntN(2) == 0 {
		c.RatePPM = (r.Float64() - 0.5) * 1000
	}
	return c
}

// TestRespondEqualsItsTwin compares byte for byte on random inputs. It runs over one
// Responder, so that what one set of claims leaves behind would show in the next.
func TestRespondEqualsItsTwin(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	var r Responder
	answered := 0
	for i := range 100_000 {
		c, req := randomClaims(random), randomRequest(random)
		a := Arrival{From: client(), At: noon + random.Int64N(1<<50), Random: random.Uint64()}
		if random.IntN(8) == 0 {
			a.From = netip.AddrPortFrom(client().Addr(), uint16(random.IntN(2)*123))
		}
		departure, low := a.At+random.Int64N(20000)-5000, random.Uint64()
		want := twin(c, req, a, departure, low)

		r.Use(c)
		dst := req // most replies are built over their requests
		if random.IntN(4) == 0 {
			dst = make([]byte, len(req))
		}
		before := bytes.Clone(req)
		n, v := r.Respond(dst, req, a)
		if (v == Answered) != (want != nil) || v != Answered && !bytes.Equal(req, before) {
			t.Fatalf("seed %d, case %d: %v to %x", seed, i, v, before)
		}
		if v != Answered {
			continue
		}
		answered++
		r.Seal(dst[:n], departure, low)
		if !equalUpToTheMap(dst[:n], want, c) {
			t.Fatalf("seed %d, case %d: %+v\n%x\ngot  %x\nwant %x", seed, i, c, before, dst[:n], want)
		}
	}
	if answered < 20_000 {
		t.Errorf("only %d requests were answered", answered)
	}
}

// equalUpToTheMap compares replies. The rate of a map is held to 2^-64, so
// that a time may be one nanosecond from the exact one, and what follows from it: the
// times, and the dispersion by a unit.
func equalUpToTheMap(got, want []byte, c *Claims) bool {
	if c == nil || c.RatePPM == 0 {
		return bytes.Equal(got, want)
	}
	g, _ := ntp.Decode(got)
	w, _ := ntp.Decode(want)
	slack := g.Precision.Duration() + 1
	near := func(a, b ntp.Timestamp) bool { return a.Sub(b).Abs() <= slack }
	if !near(g.Receive, w.Receive) || !near(g.Transmit, w.Transmit) || int64(w.RootDispersion)-int64(g.RootDispersion) > 1 {
		return false
	}
	g.Receive, g.Transmit, g.RootDispersion = w.Receive, w.Transmit, w.RootDispersion
	return g == w
}

// FuzzRespond: no request panics or is answered by more than it sent, and what
// comes back is a server's reply to it.
func FuzzRespond(f *testing.F) {
	f.Add(plain(4, ntp.ModeClient), uint16(41000), noon, int64(5), uint8(2), int8(-25))
	f.Add(plain(1, 0), uint16(123), noon, int64(-5), uint8(0), int8(0))
	f.Add(append(plain(4, ntp.ModeClient), make([]byte, 20)...), uint16(0), int64(math.MinInt64), int64(math.MaxInt64), uint8(16), int8(-128))
	f.Add(append(append(plain(4, ntp.ModeClient), 1, 4, 0, 28), make([]byte, 24)...), uint16(9), int64(math.MaxInt64), int64(1), uint8(1), int8(127))
	f.Fuzz(func(t *testing.T, req []byte, port uint16, at, took int64, stratum uint8, precision int8) {
		c := honest()
		c.Stratum, c.Precision = stratum, precision
		var r Responder
		r.Use(c)
		dst := bytes.Repeat([]byte{0xee}, len(req))
		n, v := r.Respond(dst, bytes.Clone(req), Arrival{From: netip.AddrPortFrom(client().Addr(), port), At: at, Random: uint64(took)})
		if v == Answered != (n > 0) || n > len(req) {
			t.Fatalf("%v with %d bytes to %d", v, n, len(req))
		}
		if v != Answered {
			if !bytes.Equal(dst, bytes.Repeat([]byte{0xee}, len(req))) {
				t.Fatalf("%v, and yet something was written", v)
			}
			return
		}
		r.Seal(dst[:n], at+took, uint64(at))
		h, err := ntp.Decode(dst[:n])
		if err != nil || h.Mode != ntp.ModeServer || port == 0 {
			t.Fatalf("%+v, %v", h, err)
		}
		q, _ := ntp.Decode(req)
		if h.Origin != q.Transmit || h.Version != q.Version || h.Poll != q.Poll {
			t.Fatalf("%+v to %+v", h, q)
		}
		if h.Receive == 0 || h.Transmit == 0 || h.Transmit.Before(h.Receive) {
			t.Fatalf("T2 %x, T3 %x", uint64(h.Receive), uint64(h.Transmit))
		}
	})
}

// TestFromKernel: the identity, and never backwards, at every span and rate.
func TestFromKernel(t *testing.T) {
	if got := new(Claims).FromKernel(noon); got != noon {
		t.Errorf("identity: got %d", got)
	}
	c := Claims{KernelAt: noon, UTCAt: noon + 37, RatePPM: 1e6}
	if got := c.FromKernel(noon + 1000); got != noon+1037 {
		t.Errorf("a rate out of range: got %d", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.Int64Range(0, 1<<62)
		c := Claims{
			KernelAt: at.Draw(t, "kernel"), UTCAt: at.Draw(t, "utc"),
			RatePPM: rapid.Float64Range(-ratePPMMax, ratePPMMax).Draw(t, "rate"),
		}
		stamp := at.Draw(t, "stamp")
		step := rapid.OneOf(rapid.Int64Range(0, 3), rapid.Int64Range(0, 1<<50)).Draw(t, "step")
		if d := c.FromKernel(stamp+step) - c.FromKernel(stamp); d < 0 {
			t.Fatalf("%d ns later is %d ns earlier", step, -d)
		}
		want := c.UTCAt + (stamp - c.KernelAt)
		if d := float64(c.FromKernel(stamp) - want); math.Abs(d-float64(stamp-c.KernelAt)*c.RatePPM/1e6) > 1.5+math.Abs(d)*1e-15 {
			t.Fatalf("rate %v over %d: gained %v", c.RatePPM, stamp-c.KernelAt, d)
		}
	})
}

func TestRespondDoesNotWriteBeyondDst(t *testing.T) {
	var r Responder
	for n := range 48 {
		dst := make([]byte, n)
		if got, v := r.Respond(dst, plain(4, ntp.ModeClient), Arrival{From: client(), At: noon}); got != 0 || v != DropShort {
			t.Errorf("room for %d: %d bytes, %v", n, got, v)
		}
		r.Seal(dst, noon, 0)
		if !bytes.Equal(dst, make([]byte, n)) {
			t.Errorf("room for %d: wrote %x", n, dst)
		}
	}
}

func TestVerdictsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range Verdicts() {
		if s := v.String(); seen[s] || bytes.ContainsAny([]byte(s), "( ") {
			t.Errorf("verdict %d is called %q", v, s)
		} else {
			seen[s] = true
		}
	}
	if len(seen) != len(Counts{}.Verdicts) || Verdict(200).String() != "verdict(200)" {
		t.Error("the list of verdicts is not whole")
	}
}

func TestRespondDoesNotAllocate(t *testing.T) {
	for name, c := range map[string]*Claims{"identity": honest(), "mapped": mapped()} {
		var r Responder
		r.Use(c)
		req, dst := plain(4, ntp.ModeClient), make([]byte, 48)
		if got := testing.AllocsPerRun(1000, func() {
			r.Use(c)
			n, _ := r.Respond(dst, req, Arrival{From: client(), At: noon + second, Random: 1})
			r.Seal(dst[:n], noon+2*second, 2)
		}); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

// mapped returns the claims of a server whose clock is not the kernel's.
func mapped() *Claims {
	c := honest()
	c.KernelAt, c.UTCAt, c.RatePPM = noon-second, noon, 12.5
	return c
}

// BenchmarkRespond answers and seals: alone, with all that Clients do for an address
// that is limited and not refused, for so many that nothing is in a cache, and in
// interleaved mode with what the kernel tells of every reply.
func BenchmarkRespond(b *testing.B) {
	limited := Policy{Rate: Rate{Interval: time.Nanosecond, Burst: burstMax}}
	for _, v := range []struct {
		name      string
		claims    *Claims
		clients   *Clients
		addresses uint32
		follow    bool
	}{
		{"bare", honest(), nil, 1, false},
		{"mapped", mapped(), nil, 1, false},
		{"clients", honest(), newClients(b, 0, limited), 1, false},
		{"1M addresses", honest(), newClients(b, 0, limited), 1_000_000, false},
		{"interleaved", honest(), newClients(b, 0, limited), 1, true},
	} {
		b.Run(v.name, func(b *testing.B) {
			b.ReportAllocs()
			r := Responder{Clients: v.clients}
			req, dst := plain(4, ntp.ModeClient), make([]byte, 48)
			word := uint64(0x123456789abcdef)
			var addr [4]byte
			for i := int64(0); b.Loop(); i++ {
				word = word*6364136223846793005 + 1442695040888963407
				binary.BigEndian.PutUint32(addr[:], 0xc0000200+uint32(word>>40)%v.addresses)
				a := Arrival{From: netip.AddrPortFrom(netip.AddrFrom4(addr), 41000), At: noon + 1000*i, Mono: 1000 * i, Random: word}
				r.Use(v.claims)
				n, _ := r.Respond(dst, req, a)
				r.Seal(dst[:n], a.At+1000, word>>7)
				if v.follow {
					r.Departed(dst[:n], a.At+2000, word>>9)
					binary.BigEndian.PutUint64(req[originOffset:], receiveOf(dst))
				}
			}
		})
	}
}
