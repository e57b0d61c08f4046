package ntpserver

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	beevik "github.com/beevik/ntp"
	"go.uber.org/goleak"

	"github.com/truechimer/truechimer/internal/netio"
	"github.com/truechimer/truechimer/internal/ntp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = 5 * time.Second

// serving returns the claims of a server that serves the host's own clock.
func serving() *Claims {
	now := time.Now().UnixNano()
	return &Claims{
		Stratum: 3, RefID: [4]byte{192, 0, 2, 1}, Precision: -25,
		RootDelay: time.Millisecond, RootDispersion: time.Millisecond, At: now, Reference: now - second,
	}
}

// loopbacks returns the loopback address of every family that the machine has, at
// port 0.
func loopbacks() []netip.AddrPort {
	all := addrs("127.0.0.1:0")
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err == nil {
		_ = c.Close()
		all = append(all, addrs("[::1]:0")...)
	}
	return all
}

// serve runs a server until the test ends, and checks that it ends well.
func serve(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Claims == nil {
		c := serving()
		o.Claims = func() *Claims { return c }
	}
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(patience):
			t.Error("Serve did not return")
		}
	})
	return s
}

// addrs parses addresses.
func addrs(texts ...string) []netip.AddrPort {
	var all []netip.AddrPort
	for _, text := range texts {
		all = append(all, netip.MustParseAddrPort(text))
	}
	return all
}

// dial returns a client connected to the port of s at an address: it hears
// nothing that comes from elsewhere.
func dial(t testing.TB, addr string, s *Server) *net.UDPConn {
	t.Helper()
	to := netip.AddrPortFrom(netip.MustParseAddr(addr), s.Addrs()[0].Port())
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// exchange sends a request and returns the reply's header.
func exchange(c *net.UDPConn, req []byte) (ntp.Header, error) {
	if _, err := c.Write(req); err != nil {
		return ntp.Header{}, err
	}
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		return ntp.Header{}, err
	}
	if n > len(req) {
		return ntp.Header{}, errors.New("the reply is longer than its request")
	}
	return ntp.Decode(buf[:n])
}

// testWildcard asks one socket at several addresses and wants each reply from
// the address that was asked.
func testWildcard(t *testing.T, listenAt string, asked ...string) {
	if runtime.GOOS != "linux" {
		t.Skip("needs packet information")
	}
	s := serve(t, Options{Addrs: addrs(listenAt)})
	for _, addr := range asked {
		if _, err := exchange(dial(t, addr, s), plain(4, ntp.ModeClient)); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestWildcardIPv6(t *testing.T) {
	if len(loopbacks()) == 1 {
		t.Skip("needs IPv6")
	}
	testWildcard(t, "[::]:0", "::1")
}

// TestServe asks over both families, with every worker count that differs.
func TestServe(t *testing.T) {
	for _, workers := range []int{0, 1, 3} {
		s := serve(t, Options{Addrs: loopbacks(), Workers: workers})
		if got := s.Addrs(); len(got) != len(loopbacks()) {
			t.Fatalf("addresses %v", got)
		}
		for _, addr := range s.Addrs() {
			c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			for version := uint8(1); version <= 4; version++ {
				req := plain(version, ntp.ModeClient)
				t1 := ntp.FromUnix(time.Now().UnixNano())
				h, err := exchange(c, req)
				t4 := ntp.FromUnix(time.Now().UnixNano())
				if err != nil {
					t.Fatal(err)
				}
				request, _ := ntp.Decode(req)
				if err := ntp.CheckReply(request, h); err != nil {
					t.Errorf("%s, version %d: %v", addr, version, err)
				}
				// Same host, same clock: T1 ≤ T2 ≤ T3 ≤ T4, but for the noise.
				noise := ntp.Precision(-25).Duration()
				if h.Receive.Sub(t1) < -noise || h.Transmit.Sub(h.Receive) < 0 || t4.Sub(h.Transmit) < -noise {
					t.Errorf("%s: T2−T1 %v, T3−T2 %v, T4−T3 %v", addr, h.Receive.Sub(t1), h.Transmit.Sub(h.Receive), t4.Sub(h.Transmit))
				}
			}
			_ = c.Close()
		}
		counts := s.Counts()
		if counts.Verdicts[Answered] != uint64(4*len(s.Addrs())) || counts.SendErrors != 0 || counts.ReceiveErrors != 0 {
			t.Errorf("counts %+v", counts)
		}
		if runtime.GOOS == "linux" && counts.Unstamped != 0 {
			t.Errorf("%d without a kernel timestamp", counts.Unstamped)
		}
	}
}

// TestBeevik asks by a client that is not ours.
func TestBeevik(t *testing.T) {
	s := serve(t, Options{Addrs: loopbacks()})
	for _, addr := range s.Addrs() {
		var best *beevik.Response
		for _, version := range []int{3, 4, 4, 4, 4, 4, 4, 4} {
			r, err := beevik.QueryWithOptions(addr.String(), beevik.QueryOptions{Version: version, Timeout: patience})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Validate(); err != nil {
				t.Errorf("%s, version %d: %v", addr, version, err)
			}
			if best == nil || r.RTT < best.RTT {
				best = r
			}
		}
		// That client rounds its timestamps down and ours up to the precision.
		if slack := 100 * time.Nanosecond; best.ClockOffset.Abs() > best.RTT/2+slack {
			t.Errorf("%s: offset %v with a round trip of %v", addr, best.ClockOffset, best.RTT)
		}
		if best.Stratum != 3 || best.Leap != beevik.LeapNoWarning || best.ReferenceID != 0xc0000201 || best.RootDelay < time.Millisecond || best.RootDispersion < time.Millisecond-time.Nanosecond {
			t.Errorf("%s: %+v", addr, best)
		}
	}
}

func TestBeevikSeesThatWeAreUnsynchronised(t *testing.T) {
	s := serve(t, Options{Addrs: addrs("127.0.0.1:0"), Claims: func() *Claims { return nil }})
	r, err := beevik.QueryWithOptions(s.Addrs()[0].String(), beevik.QueryOptions{Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	if r.Validate() == nil || r.Leap != beevik.LeapNotInSync || r.KissCode != "INIT" {
		t.Errorf("got %+v", r)
	}
}

// TestGarbage sends what no client would, and wants silence for it, a count, and
// an answer to the honest request after it.
func TestGarbage(t *testing.T) {
	for _, addr := range loopbacks() {
		s := serve(t, Options{Addrs: []netip.AddrPort{addr}, Workers: 1})
		c := dial(t, addr.Addr().String(), s)
		honest := plain(4, ntp.ModeClient)
		random := rand.New(rand.NewPCG(5, 6))
		noise := make([]byte, 400)
		for i := range noise {
			noise[i] = byte(random.Uint32())
		}
		noise[0] = 0 // version 0
		garbage := map[Verdict][][]byte{
			DropShort:     {{}, {0x23}, honest[:47]},
			DropLength:    {append(bytes.Clone(honest), 0), make([]byte, 49)},
			DropTruncated: {append(bytes.Clone(honest), make([]byte, netio.DatagramMax)...), make([]byte, 60_000)},
			DropVersion:   {noise, plain(5, ntp.ModeClient), make([]byte, 48)},
			DropMode:      {plain(4, ntp.ModeServer), plain(2, ntp.ModeControl), plain(4, ntp.ModePrivate), bytes.Repeat([]byte{0x17}, 192)},
			DropMalformed: {append(bytes.Clone(honest), make([]byte, 16)...)},
			DropAuth:      {append(bytes.Clone(honest), make([]byte, 20)...)},
		}
		for _, group := range garbage {
			for _, datagram := range group {
				if _, err := c.Write(datagram); err != nil {
					t.Fatal(err)
				}
			}
		}
		h, err := exchange(c, honest)
		if err != nil || h.Origin != 0x1122334455667788 {
			t.Fatalf("%s: %+v, %v", addr, h, err)
		}
		_ = c.SetReadDeadline(time.Now())
		if n, err := c.Read(make([]byte, 100)); err == nil {
			t.Errorf("%s: garbage was answered by %d bytes", addr, n)
		}
		counts := s.Counts()
		for v, group := range garbage {
			if got := counts.Verdicts[v]; got != uint64(len(group)) {
				t.Errorf("%s: %d of %v, want %d", addr, got, v, len(group))
			}
		}
		if counts.Verdicts[Answered] != 1 {
			t.Errorf("%s: answered %d", addr, counts.Verdicts[Answered])
		}
	}
}

// TestClaimsChangeWhileServing: replies follow, and each is of one piece.
func TestClaimsChangeWhileServing(t *testing.T) {
	var mu sync.Mutex
	stratum := uint8(1)
	s := serve(t, Options{Addrs: addrs("127.0.0.1:0"), Claims: func() *Claims {
		mu.Lock()
		defer mu.Unlock()
		c := serving()
		c.Stratum, c.RefID = stratum, [4]byte{10, 0, 0, stratum}
		return c
	}})
	c := dial(t, "127.0.0.1", s)
	for want := uint8(1); want <= 15; want++ {
		mu.Lock()
		stratum = want
		mu.Unlock()
		h, err := exchange(c, plain(4, ntp.ModeClient))
		if err != nil || h.Stratum != want || h.RefID.Bytes() != [4]byte{10, 0, 0, want} {
			t.Errorf("stratum %d: %+v, %v", want, h, err)
		}
	}
}

func TestServeEnds(t *testing.T) {
	for name, end := range map[string]func(*Server, context.CancelFunc){
		"cancel": func(_ *Server, cancel context.CancelFunc) { cancel() },
		"close":  func(s *Server, _ context.CancelFunc) { _ = s.Close() },
		"both":   func(s *Server, cancel context.CancelFunc) { cancel(); _ = s.Close() },
	} {
		s, err := Listen(Options{Addrs: loopbacks(), Workers: 2})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx) }()
		if _, err := exchange(dial(t, "127.0.0.1", s), plain(4, ntp.ModeClient)); err != nil {
			t.Fatal(err)
		}
		end(s, cancel)
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(patience):
			t.Fatalf("%s: Serve did not return", name)
		}
		if err := s.Serve(ctx); err == nil {
			t.Errorf("%s: a second Serve succeeded", name)
		}
		cancel()
	}
	// A server that never served lets go of its port, and then serves nothing.
	s, err := Listen(Options{Addrs: addrs("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Serve(context.Background()); err != nil {
		t.Error(err)
	}
	again, err := Listen(Options{Addrs: s.Addrs()})
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

func TestListenRefuses(t *testing.T) {
	held := serve(t, Options{Addrs: addrs("127.0.0.1:0")})
	free := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), held.Addrs()[0].Port())
	cases := []struct {
		name string
		o    Options
		want string
	}{
		{"nowhere", Options{}, "no address"},
		{"workers below zero", Options{Addrs: addrs("127.0.0.1:0"), Workers: -1}, "-1 workers"},
		{"too many workers", Options{Addrs: addrs("127.0.0.1:0"), Workers: 1e6}, "1 to 1024"},
		{"zero address", Options{Addrs: []netip.AddrPort{{}}}, "no address"},
		{"port in use", Options{Addrs: []netip.AddrPort{free, held.Addrs()[0]}}, "another NTP server holds the port"},
		{"foreign address", Options{Addrs: addrs("192.0.2.1:0")}, "does not have that address"},
	}
	for _, c := range cases {
		s, err := Listen(c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "ntpserver: ") {
			t.Errorf("%s: got %v", c.name, err)
		}
		if s != nil {
			_ = s.Close()
		}
	}
	if _, err := Listen(Options{Addrs: held.Addrs()}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("port in use: got %v", err)
	}
	// What was bound before the failure was let go.
	s, err := Listen(Options{Addrs: []netip.AddrPort{free}})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
}

func BenchmarkServe(b *testing.B) {
	for _, addr := range loopbacks() {
		b.Run(addr.Addr().String(), func(b *testing.B) {
			s := serve(b, Options{Addrs: []netip.AddrPort{addr}})
			c := dial(b, addr.Addr().String(), s)
			_ = c.SetDeadline(time.Time{})
			req, buf := plain(4, ntp.ModeClient), make([]byte, 100)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(req); err != nil {
					b.Fatal(err)
				}
				if _, err := c.Read(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
