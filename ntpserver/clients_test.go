package ntpserver

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
)

// newClients returns Clients for n addresses under a policy.
func newClients(t testing.TB, n int, p Policy) *Clients {
	t.Helper()
	c, err := NewClients(n, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetPolicy(p); err != nil {
		t.Fatal(err)
	}
	return c
}

// responderOver returns a Responder that serves honest claims.
func responderOver(c *Clients) *Responder {
	r := &Responder{Clients: c}
	r.Use(honest())
	return r
}

// respondAt answers a request from an address, seconds after noon, and returns the
// sealed reply.
func respondAt(r *Responder, from string, req []byte, after time.Duration, random uint64) ([]byte, Verdict) {
	dst := make([]byte, 48)
	a := Arrival{From: netip.AddrPortFrom(netip.MustParseAddr(from), 41000), At: noon + int64(after), Mono: int64(after), Random: random}
	n, v := r.Respond(dst, req, a)
	r.Seal(dst[:n], noon+int64(after)+1000, random)
	return dst[:n], v
}

// interleavedRequest returns a request that asks for the departure of the reply with
// this receive timestamp.
func interleavedRequest(receive uint64) []byte {
	req := plain(4, ntp.ModeClient)
	binary.BigEndian.PutUint64(req[originOffset:], receive)
	binary.BigEndian.PutUint64(req[receiveOffset:], 0x99)
	return req
}

// receiveOf returns the receive timestamp of a reply.
func receiveOf(reply []byte) uint64 { return binary.BigEndian.Uint64(reply[receiveOffset:]) }

func TestClientsList(t *testing.T) {
	c := newClients(t, 0, Policy{Deny: prefixes("203.0.113.0/24")})
	r := responderOver(c)
	if got := c.List(10); len(got) != 0 || cap(got) != 0 {
		t.Errorf("at first: %v", got)
	}
	respondAt(r, "192.0.2.1", plain(3, ntp.ModeClient), 1*time.Second, 1)
	respondAt(r, "2001:db8::1", plain(4, ntp.ModeClient), 2*time.Second, 2)
	respondAt(r, "::ffff:192.0.2.1", plain(2, ntp.ModeClient), 3*time.Second, 3)
	respondAt(r, "192.0.2.3", plain(1, 0), 4*time.Second, 4)
	respondAt(r, "203.0.113.9", plain(4, ntp.ModeClient), 5*time.Second, 5)
	respondAt(r, "203.0.113.9", plain(4, ntp.ModeClient), 5*time.Second+20*time.Millisecond, 5)
	respondAt(r, "fe80::1%eth0", plain(4, ntp.ModeClient), 5*time.Second, 5)
	// What is not well-formed leaves no trace.
	respondAt(r, "198.51.100.1", plain(4, ntp.ModeServer), 6*time.Second, 6)
	respondAt(r, "192.0.2.1", plain(7, ntp.ModeClient), 6*time.Second, 6)
	respondAt(r, "198.51.100.1", plain(4, ntp.ModeClient)[:47], 6*time.Second, 6)

	when := func(d time.Duration) time.Time { return time.Unix(0, noon).Add(d).UTC() }
	want := []Client{
		{Addr: netip.MustParseAddr("203.0.113.9"), Version: 4, Mode: 3, Last: when(5*time.Second + 20*time.Millisecond), Requests: 2, Drops: 2, Interval: 20 * time.Millisecond},
		{Addr: netip.MustParseAddr("fe80::1"), Version: 4, Mode: 3, Last: when(5 * time.Second), Requests: 1},
		{Addr: netip.MustParseAddr("192.0.2.3"), Version: 1, Mode: 0, Last: when(4 * time.Second), Requests: 1},
		{Addr: netip.MustParseAddr("192.0.2.1"), Version: 2, Mode: 3, Last: when(3 * time.Second), Requests: 2, Interval: 2 * time.Second},
		{Addr: netip.MustParseAddr("2001:db8::1"), Version: 4, Mode: 3, Last: when(2 * time.Second), Requests: 1},
	}
	for n := -1; n < 8; n++ {
		if got := c.List(n); !slices.Equal(got, want[:min(max(n, 0), len(want))]) {
			t.Errorf("%d of them:\ngot  %+v\nwant %+v", n, got, want[:min(max(n, 0), len(want))])
		}
	}
	if got := c.List(math.MinInt); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	if got := c.List(math.MaxInt); len(got) != len(want) {
		t.Errorf("got %v", got)
	}
}

// TestClientsListOrder: those that asked at the same instant by address.
func TestClientsListOrder(t *testing.T) {
	c := newClients(t, 0, Policy{})
	r := responderOver(c)
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(random.Uint32())})
		respondAt(r, addr.String(), plain(4, ntp.ModeClient), time.Duration(random.IntN(5))*time.Second, 0)
	}
	list := c.List(1000)
	if !slices.IsSortedFunc(list, func(a, b Client) int {
		if a.Last.Equal(b.Last) {
			return a.Addr.Compare(b.Addr)
		}
		return b.Last.Compare(a.Last)
	}) || len(list) < 50 {
		t.Errorf("%d clients: %+v", len(list), list)
	}
}

// TestClientsListIsByServedTime, not by the kernel's clock.
func TestClientsListIsByServedTime(t *testing.T) {
	c := newClients(t, 1, Policy{})
	r := &Responder{Clients: c}
	claims := honest()
	claims.KernelAt, claims.UTCAt = noon, noon+3600*second
	r.Use(claims)
	respondAt(r, "192.0.2.1", plain(4, ntp.ModeClient), 0, 0)
	if got := c.List(1); len(got) != 1 || !got[0].Last.Equal(time.Unix(0, noon+3600*second)) || got[0].Last.Location() != time.UTC {
		t.Errorf("got %+v", got)
	}
}

// TestClientsInterval: the mean equals that of a twin in floating point, to within
// the nanoseconds that integers lose.
func TestClientsInterval(t *testing.T) {
	for name, step := range map[string]func(*rand.Rand) time.Duration{
		"constant": func(*rand.Rand) time.Duration { return 64 * time.Second },
		"random":   func(r *rand.Rand) time.Duration { return time.Duration(r.Int64N(int64(time.Hour))) },
		"flood":    func(r *rand.Rand) time.Duration { return time.Duration(r.Int64N(100)) },
		"at once":  func(*rand.Rand) time.Duration { return 0 },
	} {
		c := newClients(t, 1, Policy{})
		r := responderOver(c)
		random := rand.New(rand.NewPCG(7, 8))
		var now time.Duration
		var mean float64
		for i := range 500 {
			respondAt(r, "192.0.2.1", plain(4, ntp.ModeClient), now, 0)
			got := c.List(1)[0]
			if math.Abs(float64(got.Interval)-mean) > 8 || got.Requests != uint64(i+1) || i > 0 && got.Interval <= 0 {
				t.Fatalf("%s, request %d: got %d, want %.1f", name, i, got.Interval, mean)
			}
			d := step(random)
			now += d
			if i == 0 {
				mean = float64(d)
			} else {
				mean += (float64(d) - mean) / 8
			}
		}
	}
	// Another worker's reading of the clock may be a little behind.
	c := newClients(t, 1, Policy{})
	r := responderOver(c)
	respondAt(r, "192.0.2.1", plain(4, ntp.ModeClient), time.Second, 0)
	for i := range 3 {
		respondAt(r, "192.0.2.1", plain(4, ntp.ModeClient), time.Second-time.Duration(i), 0)
		if got := c.List(1)[0].Interval; got != 1 {
			t.Errorf("back in time: %d", got)
		}
	}
}

// TestClientsInterleaved: the flag tells the mode of the last answer, which a request that
// was not answered does not change.
func TestClientsInterleaved(t *testing.T) {
	c := newClients(t, 0, Policy{})
	r := responderOver(c)
	const from = "192.0.2.1"
	flag := func(want bool, what string) {
		t.Helper()
		if got := c.List(1)[0].Interleaved; got != want {
			t.Errorf("%s: interleaved %v", what, got)
		}
	}
	reply, v := respondAt(r, from, interleavedRequest(1), time.Second, 1)
	if v != AnsweredMissed {
		t.Fatal(v)
	}
	flag(false, "missed")
	r.Departed(reply, noon+second+5000, 0)
	reply, v = respondAt(r, from, interleavedRequest(receiveOf(reply)), 2*time.Second, 2)
	if v != AnsweredInterleaved {
		t.Fatal(v)
	}
	flag(true, "answered")
	r.Departed(reply, noon+2*second+5000, 0)
	if err := c.SetPolicy(Policy{Deny: prefixes("0.0.0.0/0")}); err != nil {
		t.Fatal(err)
	}
	if _, v := respondAt(r, from, interleavedRequest(receiveOf(reply)), 3*time.Second, 3); v != DropDenied {
		t.Fatal(v)
	}
	flag(true, "denied since")
	if err := c.SetPolicy(Policy{}); err != nil {
		t.Fatal(err)
	}
	// What was kept has stayed over two changes of the policy.
	if _, v := respondAt(r, from, interleavedRequest(receiveOf(reply)), 4*time.Second, 4); v != AnsweredInterleaved {
		t.Error(v)
	}
	respondAt(r, from, plain(4, ntp.ModeClient), 5*time.Second, 5)
	flag(false, "a basic request")
	if got := c.List(1)[0]; got.Requests != 5 || got.Drops != 1 {
		t.Errorf("%+v", got)
	}
}

// TestClientsLimit: the burst, then by chance; in every refusal nothing is written, and the
// kiss says what to do.
func TestClientsLimit(t *testing.T) {
	c := newClients(t, 0, Policy{Rate: Rate{Interval: 100 * time.Second, Burst: 3, Kiss: 2}})
	r := responderOver(c)
	words := map[Verdict]uint64{AnsweredLeak: 4, KissRate: 1, DropRate: 5} // of the upper half
	for want, word := range words {
		if got := (Rate{Kiss: 2}).refuse(word << 32); got != want {
			t.Fatalf("%d is %v", word, got)
		}
	}
	for i := range 3 {
		if _, v := respondAt(r, "192.0.2.1", plain(4, ntp.ModeClient), 0, words[DropRate]<<32); v != Answered {
			t.Errorf("request %d: %v", i, v)
		}
	}
	for want, word := range words {
		reply, v := respondAt(r, "192.0.2.1", plain(3, ntp.ModeClient), time.Second, word<<32)
		if v != want || (len(reply) == 0) != (want == DropRate) {
			t.Errorf("%v: got %v, %d bytes", want, v, len(reply))
		}
		if want == DropRate {
			continue
		}
		h, err := ntp.Decode(reply)
		if err != nil || h.Origin != 0x1122334455667788 || h.Version != 3 || h.Mode != ntp.ModeServer || h.Transmit.Before(h.Receive) {
			t.Errorf("%v: %+v", want, h)
		}
		if kiss := h.RefID == ntp.KissRATE && h.Stratum == 0 && h.Poll == 7; kiss != (want == KissRate) {
			t.Errorf("%v: %+v", want, h)
		}
	}
	if got := c.List(1)[0]; got.Requests != 6 || got.Drops != 2 {
		t.Errorf("%+v", got)
	}
	// Others are not affected, mapped addresses are the same client, a network of
	// IPv6 is one, and private addresses are not limited.
	for _, from := range []string{"192.0.2.2", "2001:db8::1"} {
		if _, v := respondAt(r, from, plain(4, ntp.ModeClient), time.Second, words[DropRate]<<32); v != Answered {
			t.Errorf("%s: %v", from, v)
		}
	}
	if _, v := respondAt(r, "::ffff:192.0.2.1", plain(4, ntp.ModeClient), time.Second, words[DropRate]<<32); v != DropRate {
		t.Error("a mapped address is another client")
	}
	for i := range 3 {
		_, v := respondAt(r, "2001:db8::"+string(rune('2'+i)), plain(4, ntp.ModeClient), time.Second, words[DropRate]<<32)
		if (v == DropRate) != (i == 2) {
			t.Errorf("address %d of a network: %v", i, v)
		}
	}
	for range 10 {
		if _, v := respondAt(r, "192.168.0.1", plain(4, ntp.ModeClient), time.Second, words[DropRate]<<32); v != Answered {
			t.Errorf("private: %v", v)
		}
	}
	// A request that is denied costs nothing of the rate.
	if err := c.SetPolicy(Policy{Deny: prefixes("192.0.2.9/32"), Rate: Rate{Interval: 100 * time.Second, Burst: 1}}); err != nil {
		t.Fatal(err)
	}
	respondAt(r, "192.0.2.9", plain(4, ntp.ModeClient), time.Second, 0)
	if err := c.SetPolicy(Policy{Rate: Rate{Interval: 100 * time.Second, Burst: 1}}); err != nil {
		t.Fatal(err)
	}
	if _, v := respondAt(r, "192.0.2.9", plain(4, ntp.ModeClient), time.Second, words[DropRate]<<32); v != Answered {
		t.Errorf("after it was denied: %v", v)
	}
}

// TestSilenceWritesNothing, whichever verdict it is.
func TestSilenceWritesNothing(t *testing.T) {
	c := newClients(t, 0, Policy{Deny: prefixes("203.0.113.0/24"), Rate: Rate{Interval: time.Hour, Burst: 1}})
	r := responderOver(c)
	for _, from := range []string{"203.0.113.1", "192.0.2.1", "192.0.2.1"} {
		dst := bytes.Repeat([]byte{0xee}, 48)
		a := Arrival{From: netip.AddrPortFrom(netip.MustParseAddr(from), 9), At: noon, Random: 5 << 32}
		n, v := r.Respond(dst, plain(4, ntp.ModeClient), a)
		if v.silent() != (n == 0) || n == 0 && !bytes.Equal(dst, bytes.Repeat([]byte{0xee}, 48)) {
			t.Errorf("%s: %v, %d bytes, %x", from, v, n, dst)
		}
	}
}

func TestNewClientsRefuses(t *testing.T) {
	for _, n := range []int{-1, clientsMax + 1, math.MinInt, math.MaxInt} {
		if c, err := NewClients(n, false); c != nil || err == nil || !strings.HasPrefix(err.Error(), "ntpserver: ") || !strings.Contains(err.Error(), "give 1 to 16777216") {
			t.Errorf("%d: %v", n, err)
		}
	}
	for n, want := range map[int]int{0: clientsDefault, 1: setLen, 1000: 1024} {
		c, err := NewClients(n, true)
		if err != nil || len(c.records.sets)*setLen != want || len(c.buckets.sets)*setLen != want || c.departures != nil {
			t.Errorf("%d: %v", n, err)
		}
		c, err = NewClients(n, false)
		if err != nil || len(c.departures.proven.sets)*setLen != want || len(c.departures.first.sets)*setLen != max(want/4, setLen) {
			t.Errorf("%d: %v", n, err)
		}
	}
}

// TestBasicOnly: nobody is answered in interleaved mode, and nothing is followed.
func TestBasicOnly(t *testing.T) {
	c, err := NewClients(1, true)
	if err != nil {
		t.Fatal(err)
	}
	r := responderOver(c)
	receive := uint64(1)
	for i := range 3 {
		reply, v := respondAt(r, "192.0.2.1", interleavedRequest(receive), time.Duration(i)*time.Second, 0)
		if v != Answered {
			t.Error(v)
		}
		r.Departed(reply, noon+int64(i)*second, 0)
		receive = receiveOf(reply)
	}
}

// TestSetPolicyRefuses: a policy that is refused changes nothing.
func TestSetPolicyRefuses(t *testing.T) {
	c := newClients(t, 1, Policy{Deny: prefixes("192.0.2.0/24"), Rate: Rate{Interval: time.Second, Burst: 2}})
	before := c.policy.Load()
	for _, p := range []Policy{
		{Allow: prefixes("192.0.2.0/24"), Deny: prefixes("192.0.2.0/24")},
		{Rate: Rate{Interval: time.Second}},
		{Rate: Rate{Kiss: -1}},
		{Deny: []netip.Prefix{{}}},
	} {
		if err := c.SetPolicy(p); err == nil || c.policy.Load() != before {
			t.Errorf("%+v: %v", p, err)
		}
	}
	if _, v := respondAt(responderOver(c), "192.0.2.1", plain(4, ntp.ModeClient), 0, 0); v != DropDenied {
		t.Error(v)
	}
	if s, err := Listen(Options{Addrs: addrs("127.0.0.1:0"), Policy: Policy{Rate: Rate{Interval: -1}}}); s != nil || err == nil {
		t.Error("Listen accepts it")
	}
	if s, err := Listen(Options{Addrs: addrs("127.0.0.1:0"), ClientsMax: -1}); s != nil || err == nil {
		t.Error("Listen accepts -1 clients")
	}
}

// TestSetPolicyWhileServing: from SetPolicy's return on no request is judged by an older
// policy, while four Responders share the Clients; what is remembered stays.
func TestSetPolicyWhileServing(t *testing.T) {
	c := newClients(t, 0, Policy{})
	// The round is made odd after a policy that denies has been set, and even
	// before one that does not.
	var round atomic.Int64
	var stop atomic.Bool
	var asked, wrong atomic.Int64
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			r := responderOver(c)
			req, dst := plain(4, ntp.ModeClient), make([]byte, 48)
			for i := int64(0); !stop.Load(); i++ {
				before := round.Load()
				_, v := r.Respond(dst, req, Arrival{From: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(w)}), 9), At: noon + i, Mono: i})
				if before%2 == 1 && v != DropDenied && round.Load() == before {
					wrong.Add(1)
				}
				asked.Add(1)
			}
		})
	}
	some := func() {
		seen := asked.Load()
		until(t, "requests", func() bool { return asked.Load() > seen+4 })
	}
	for range 8 {
		if err := c.SetPolicy(Policy{Deny: prefixes("192.0.2.0/24")}); err != nil {
			t.Error(err)
		}
		round.Add(1)
		c.List(10)
		some()
		round.Add(1)
		if err := c.SetPolicy(Policy{Rate: Rate{Interval: time.Second, Burst: 1}}); err != nil {
			t.Error(err)
		}
		some()
	}
	stop.Store(true)
	group.Wait()
	if wrong.Load() != 0 {
		t.Errorf("%d requests of %d were judged by an older policy", wrong.Load(), asked.Load())
	}
	var sum, drops uint64
	for _, client := range c.List(10) {
		sum, drops = sum+client.Requests, drops+client.Drops
	}
	if sum != uint64(asked.Load()) || drops == 0 || drops == sum {
		t.Errorf("%d requests remembered of %d, %d dropped", sum, asked.Load(), drops)
	}
}
