package upstream

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/truechimer/truechimer/internal/netio"
	"github.com/truechimer/truechimer/internal/ntp"
)

var seedFlag = flag.Uint64("seed", uint64(os.Getpid()), "seed of what is random")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen; impatience is how long an
// exchange lasts that is meant to fail.
const (
	patience   = 5 * time.Second
	impatience = 100 * time.Millisecond
)

// fake answers the first request that it gets with the datagrams that it is given.
func fake(t *testing.T, addr string, answers func(request ntp.Header, now ntp.Timestamp) [][]byte) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 0)))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	t.Cleanup(func() {
		_ = conn.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	go func() {
		done <- func() error {
			var b [netio.DatagramMax]byte
			n, from, err := conn.ReadFromUDPAddrPort(b[:])
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			request, decodeErr := ntp.Decode(b[:n])
			if err := errors.Join(err, decodeErr); err != nil {
				return err
			}
			if n != ntp.HeaderLen || request.Mode != ntp.ModeClient || request.Version != 4 || request.Transmit == 0 {
				return fmt.Errorf("asked with %d bytes: %+v", n, request)
			}
			for _, a := range answers(request, ntp.FromUnix(time.Now().UnixNano())) {
				if _, err := conn.WriteToUDPAddrPort(a, from); err != nil {
					return err
				}
			}
			return nil
		}()
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// right is the reply of a server that is synchronised.
func right(request ntp.Header, now ntp.Timestamp) ntp.Header {
	return ntp.Header{
		Version: 4, Mode: ntp.ModeServer, Stratum: 2, Precision: -23,
		RootDelay: ntp.ShortOf(2 * time.Millisecond), RootDispersion: ntp.ShortOf(3 * time.Millisecond),
		RefID: ntp.RefIDOf(netip.MustParseAddr("192.0.2.1")), Reference: now,
		Origin: request.Transmit, Receive: now, Transmit: now,
	}
}

func exchange(t *testing.T, server netip.AddrPort, d time.Duration) (Measurement, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return Exchange(ctx, server)
}

func TestExchange(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "::1"} {
		t.Run(addr, func(t *testing.T) {
			said := make(chan ntp.Header, 1)
			server := fake(t, addr, func(request ntp.Header, now ntp.Timestamp) [][]byte {
				reply := right(request, now)
				reply.Transmit = ntp.FromUnix(time.Now().UnixNano())
				if reply.Transmit == reply.Receive {
					reply.Transmit++
				}
				said <- reply
				return [][]byte{reply.Append(nil)}
			})
			before := ntp.FromUnix(time.Now().UnixNano())
			m, err := exchange(t, server, patience)
			after := ntp.FromUnix(time.Now().UnixNano())
			if err != nil || m.Fault != nil {
				t.Fatal(err, m.Fault)
			}
			want := <-said
			if m.Server != server || m.Header != want {
				t.Errorf("got %v: %+v\nwant %v: %+v", m.Server, m.Header, server, want)
			}
			s := m.Sample
			if s.Receive != want.Receive || s.Transmit != want.Transmit {
				t.Errorf("T2 and T3 are %x and %x, not those of the reply: %x and %x", s.Receive, s.Transmit, want.Receive, want.Transmit)
			}
			for _, pair := range [][2]ntp.Timestamp{{before, s.Origin}, {s.Origin, s.Receive}, {s.Transmit, s.Destination}, {s.Destination, after}} {
				if pair[1].Before(pair[0]) {
					t.Errorf("out of order: %x before %x, of %x %+v %x", pair[1], pair[0], before, s, after)
				}
			}
			// One clock on both sides.
			if m.Offset().Abs() > m.Delay()/2+time.Nanosecond {
				t.Errorf("the offset is %v with a delay of %v", m.Offset(), m.Delay())
			}
		})
	}
}

// On Linux T4 is the kernel's.
func TestExchangeStamped(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no kernel timestamps here")
	}
	other, err := netio.Dial(netip.MustParseAddrPort("127.0.0.1:123")) // keeps the kernel's stamping on
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for begun := time.Now(); ; {
		server := fake(t, "127.0.0.1", func(request ntp.Header, now ntp.Timestamp) [][]byte {
			return [][]byte{right(request, now).Append(nil)}
		})
		m, err := exchange(t, server, patience)
		if err != nil {
			t.Fatal(err)
		}
		if m.Stamped {
			return
		}
		if time.Since(begun) > patience {
			t.Fatalf("no stamp in %v", patience)
		}
	}
}

// The time of sending is nobody's business: what stands in its place differs from one
// request to the next, and is not the time.
func TestExchangeTellsNoTime(t *testing.T) {
	seen := map[ntp.Timestamp]bool{}
	for range 8 {
		cookies := make(chan ntp.Timestamp, 1)
		server := fake(t, "127.0.0.1", func(request ntp.Header, now ntp.Timestamp) [][]byte {
			cookies <- request.Transmit
			bare := ntp.Header{Version: 4, Mode: ntp.ModeClient, Transmit: request.Transmit}
			if request.Transmit.Sub(now).Abs() < time.Minute || request != bare {
				t.Errorf("asked with %+v", request)
			}
			return [][]byte{right(request, now).Append(nil)}
		})
		if _, err := exchange(t, server, patience); err != nil {
			t.Fatal(err)
		}
		seen[<-cookies] = true
	}
	if len(seen) != 8 {
		t.Errorf("%d different cookies in 8 requests", len(seen))
	}
}

// A server that is ahead gives a positive offset.
func TestExchangeOffset(t *testing.T) {
	for _, offset := range []time.Duration{-time.Hour, -time.Second, time.Second, 24 * time.Hour, 40 * 365 * 24 * time.Hour} {
		server := fake(t, "127.0.0.1", func(request ntp.Header, _ ntp.Timestamp) [][]byte {
			now := ntp.FromUnix(time.Now().Add(offset).UnixNano())
			return [][]byte{right(request, now).Append(nil)}
		})
		m, err := exchange(t, server, patience)
		if err != nil || m.Fault != nil {
			t.Fatal(err, m.Fault)
		}
		if off := m.Offset() - offset; off.Abs() > m.Delay()/2+time.Nanosecond {
			t.Errorf("a server that is %v ahead measures %v, with a delay of %v", offset, m.Offset(), m.Delay())
		}
	}
}

// What is no reply to the request is passed over, and the reply behind it is taken.
func TestExchangePassesOver(t *testing.T) {
	for name, change := range map[string]func(h *ntp.Header) []byte{
		"bogus origin":        func(h *ntp.Header) []byte { h.Origin ^= 1; return h.Append(nil) },
		"zero origin":         func(h *ntp.Header) []byte { h.Origin = 0; return h.Append(nil) },
		"kiss of a stranger":  func(h *ntp.Header) []byte { h.Origin, h.Stratum, h.RefID = 0, 0, ntp.KissDENY; return h.Append(nil) },
		"empty":               func(*ntp.Header) []byte { return nil },
		"short":               func(h *ntp.Header) []byte { return h.Append(nil)[:ntp.HeaderLen-1] },
		"client mode":         func(h *ntp.Header) []byte { h.Mode = ntp.ModeClient; return h.Append(nil) },
		"broadcast":           func(h *ntp.Header) []byte { h.Mode = ntp.ModeBroadcast; return h.Append(nil) },
		"version 3":           func(h *ntp.Header) []byte { h.Version = 3; return h.Append(nil) },
		"garbage":             func(*ntp.Header) []byte { return []byte(strings.Repeat("\xff", 100)) },
		"longer than we take": func(h *ntp.Header) []byte { h.Origin++; return append(h.Append(nil), make([]byte, 3000)...) },
	} {
		t.Run(name, func(t *testing.T) {
			said := make(chan ntp.Header, 1)
			server := fake(t, "127.0.0.1", func(request ntp.Header, now ntp.Timestamp) [][]byte {
				good := right(request, now)
				bad := good
				said <- good
				return [][]byte{change(&bad), change(&bad), good.Append(nil)}
			})
			m, err := exchange(t, server, patience)
			if want := <-said; err != nil || m.Fault != nil || m.Header != want {
				t.Errorf("got %+v, %v; want %+v", m, err, want)
			}
		})
		t.Run(name+" alone", func(t *testing.T) {
			server := fake(t, "127.0.0.1", func(request ntp.Header, now ntp.Timestamp) [][]byte {
				bad := right(request, now)
				return [][]byte{change(&bad)}
			})
			m, err := exchange(t, server, impatience)
			if !errors.Is(err, ErrNoReply) {
				t.Errorf("got %+v, %v; want %v", m, err, ErrNoReply)
			}
		})
	}
}

// A reply that must not be used comes with its fault and with what the server says.
func TestExchangeFaults(t *testing.T) {
	for name, c := range map[string]struct {
		change func(h *ntp.Header)
		want   error
	}{
		"kiss of death":   {func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.KissRATE }, ntp.KissError{Code: ntp.KissRATE}},
		"starting":        {func(h *ntp.Header) { h.Stratum, h.Leap, h.RefID = 0, 3, ntp.KissINIT }, ntp.ErrUnsynchronised},
		"unsynchronised":  {func(h *ntp.Header) { h.Leap = 3 }, ntp.ErrUnsynchronised},
		"stratum 16":      {func(h *ntp.Header) { h.Stratum = 16 }, ntp.ErrUnsynchronised},
		"too far":         {func(h *ntp.Header) { h.RootDispersion = ntp.ShortOf(16 * time.Second) }, ntp.ErrDistance},
		"no receive time": {func(h *ntp.Header) { h.Receive = 0 }, ntp.ErrInvalid},
		"set after reply": {func(h *ntp.Header) { h.Reference += 1 << 32 }, ntp.ErrReference},
	} {
		t.Run(name, func(t *testing.T) {
			said := make(chan ntp.Header, 1)
			server := fake(t, "127.0.0.1", func(request ntp.Header, now ntp.Timestamp) [][]byte {
				reply := right(request, now)
				c.change(&reply)
				said <- reply
				return [][]byte{reply.Append(nil)}
			})
			m, err := exchange(t, server, patience)
			if err != nil || !errors.Is(m.Fault, c.want) {
				t.Errorf("got %v, fault %v; want the fault %v", err, m.Fault, c.want)
			}
			if want := <-said; m.Header != want || m.Server != server {
				t.Errorf("got %v: %+v\nwant %v: %+v", m.Server, m.Header, server, want)
			}
		})
	}
}

func TestExchangeNoReply(t *testing.T) {
	silent := func(t *testing.T) netip.AddrPort {
		return fake(t, "127.0.0.1", func(ntp.Header, ntp.Timestamp) [][]byte { return nil })
	}
	t.Run("in time", func(t *testing.T) {
		server := silent(t)
		begun := time.Now()
		_, err := exchange(t, server, impatience)
		if took := time.Since(begun); took < impatience || took > patience {
			t.Errorf("gave up after %v", took)
		}
		if !errors.Is(err, ErrNoReply) || !strings.Contains(err.Error(), server.String()) {
			t.Errorf("got %v; want %v, and the server's address", err, ErrNoReply)
		}
	})
	t.Run("context ended before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for range 50 { // the end may be noticed in the send or in the receive
			if _, err := Exchange(ctx, silent(t)); !errors.Is(err, ErrNoReply) {
				t.Fatalf("got %v, want %v", err, ErrNoReply)
			}
		}
	})
	t.Run("context ended meanwhile", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		server := fake(t, "127.0.0.1", func(ntp.Header, ntp.Timestamp) [][]byte { cancel(); return nil })
		if _, err := Exchange(ctx, server); !errors.Is(err, ErrNoReply) {
			t.Errorf("got %v, want %v", err, ErrNoReply)
		}
	})
}

// Nobody listens: on loopback the kernel says so at once.
func TestExchangeClosedPort(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	server := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	conn.Close()
	begun := time.Now()
	_, err = exchange(t, server, patience)
	if err == nil || !strings.Contains(err.Error(), server.String()) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v; want an error that names %v and says refused", err, server)
	}
	if took := time.Since(begun); took > patience/2 {
		t.Errorf("it took %v", took)
	}
}

func TestExchangeNoSuchServer(t *testing.T) {
	_, err := exchange(t, netip.AddrPort{}, patience)
	if err == nil {
		t.Error("asked nobody, and got an answer")
	}
}

// The offset and the delay by hand: T1 to T4 in milliseconds.
func TestMeasurementVectors(t *testing.T) {
	at := func(ms int64) ntp.Timestamp { return ntp.FromUnix(1_795_000_000_000_000_000 + ms*1_000_000) }
	for name, c := range map[string]struct {
		t1, t2, t3, t4 int64
		offset, delay  time.Duration
	}{
		"the same clock":       {0, 5, 6, 11, 0, 10 * time.Millisecond},
		"we are behind":        {0, 105, 106, 11, 100 * time.Millisecond, 10 * time.Millisecond},
		"we are ahead":         {0, -95, -94, 11, -100 * time.Millisecond, 10 * time.Millisecond},
		"slow there":           {0, 10, 10, 10, 5 * time.Millisecond, 10 * time.Millisecond},
		"slow back":            {0, 0, 0, 10, -5 * time.Millisecond, 10 * time.Millisecond},
		"the server takes 1 s": {0, 5, 1005, 1010, 0, 10 * time.Millisecond},
	} {
		m := Measurement{Header: ntp.Header{Precision: -23}, Precision: -23, Sample: ntp.Sample{Origin: at(c.t1), Receive: at(c.t2), Transmit: at(c.t3), Destination: at(c.t4)}}
		if o, d := m.Offset(), m.Delay(); (o-c.offset).Abs() > 1 || (d-c.delay).Abs() > 1 {
			t.Errorf("%s: offset %v, delay %v; want %v and %v", name, o, d, c.offset, c.delay)
		}
	}
}

// A delay is never less than what it can be told apart from.
func TestMeasurementDelayFloor(t *testing.T) {
	for _, precision := range []ntp.Precision{-30, -20, -6, 0} {
		now := ntp.FromUnix(1_795_000_000_000_000_000)
		for _, destination := range []ntp.Timestamp{now, now - 1<<20} { // no time at all, and less
			for _, local := range []ntp.Precision{-30, -20, -6, 0} {
				m := Measurement{Header: ntp.Header{Precision: precision}, Precision: local, Sample: ntp.Sample{Origin: now, Receive: now, Transmit: now, Destination: destination}}
				if floor := precision.Duration() + local.Duration(); m.Delay() != floor {
					t.Errorf("precisions %v and %v: the delay is %v", precision.Duration(), local.Duration(), m.Delay())
				}
			}
		}
	}
}

// The error bound contains the truth: whatever part of the round trip was the way there,
// however far from UTC the server is within its claims, however the local clock drifts
// meanwhile and wherever within their precisions the clocks are read, UTC lies within the
// bound of where the measurement puts it, at any moment of the exchange.
func TestMeasurementErrorBound(t *testing.T) {
	const utc = int64(1_795_000_000_000_000_000) // at the server's receive
	spans := []time.Duration{0, 40 * time.Microsecond, 90 * time.Millisecond, 3 * time.Second}
	sides := []time.Duration{-1, 0, 1}
	pick := func(rng *rand.Rand, list []time.Duration) time.Duration { return list[rng.IntN(len(list))] }
	rng := rand.New(rand.NewPCG(*seedFlag, 0))
	for range 200_000 {
		there, serving, back := pick(rng, spans), pick(rng, spans), pick(rng, spans)
		dispersion := pick(rng, []time.Duration{0, 3, 20 * time.Microsecond, 5 * time.Millisecond})
		local := pick(rng, []time.Duration{-time.Hour, -time.Millisecond, 0, time.Second})
		wrong := pick(rng, sides) * (dispersion + 300*time.Microsecond) // server minus UTC
		ppm := pick(rng, sides) * 15
		ours, theirs := ntp.Precision(-30+rng.IntN(20)), ntp.Precision(-30+rng.IntN(20))
		// What a clock that resolves p shows at an instant: anything from p before it on.
		shown := func(unix int64, p ntp.Precision) ntp.Timestamp {
			return ntp.FromUnix(unix - int64(pick(rng, []time.Duration{0, 1})*(p.Duration()-1)))
		}
		drifted := func(after time.Duration) time.Duration { return after * ppm / 1_000_000 }
		lasts := there + serving + back
		m := Measurement{
			Header:    ntp.Header{Precision: theirs, RootDelay: ntp.ShortOf(600 * time.Microsecond), RootDispersion: ntp.ShortOf(dispersion)},
			Precision: ours,
			Sample: ntp.Sample{
				Origin:      shown(utc-int64(there)+int64(local), ours),
				Receive:     shown(utc+int64(wrong), theirs),
				Transmit:    shown(utc+int64(serving+wrong), theirs),
				Destination: shown(utc+int64(serving+back)+int64(local+drifted(lasts)), ours),
			},
		}
		for _, after := range []time.Duration{0, lasts} { // T1 and T4
			truth := -(local + drifted(after)) // UTC minus local
			if miss := (m.Offset() - truth).Abs(); miss > m.ErrorBound() {
				t.Fatalf("seed %d: there %v, serving %v, back %v, local %v at %v ppm, precisions %d and %d, server %v: offset %v misses the truth by %v, more than its bound of %v",
					*seedFlag, there, serving, back, local, int64(ppm), ours, theirs, wrong, m.Offset(), miss, m.ErrorBound())
			}
		}
		// And it is not padded: no more than its parts, and a unit of the wire each.
		parts := (there+back)/2 + 300*time.Microsecond + dispersion + 2*(ours.Duration()+theirs.Duration()) + lasts*30/1_000_000
		if most := parts + 100*time.Microsecond; m.ErrorBound() > most {
			t.Fatalf("seed %d: there %v, serving %v, back %v, precisions %d and %d: the bound is %v, more than %v", *seedFlag, there, serving, back, ours, theirs, m.ErrorBound(), most)
		}
	}
}

// A path that is slow one way only, from a server that claims nothing for itself, uses the
// half of the delay to the last nanosecond; the drift meanwhile comes on top.
func TestMeasurementAsymmetric(t *testing.T) {
	const utc = int64(1_795_000_000_000_000_000)
	for _, ppm := range []int64{-15, 0, 15} {
		for _, slow := range []time.Duration{time.Second, 10 * time.Second} {
			drift := slow * time.Duration(ppm) / 1_000_000
			at := func(d time.Duration) ntp.Timestamp { return ntp.FromUnix(utc + int64(d)) }
			m := Measurement{Header: ntp.Header{Precision: -30}, Precision: -30, Sample: ntp.Sample{Origin: at(0), Receive: at(slow), Transmit: at(slow), Destination: at(slow + drift)}}
			if miss := (m.Offset() + drift).Abs(); miss > m.ErrorBound() {
				t.Errorf("%v there at %d ppm: misses the truth at T4 by %v, more than its bound of %v", slow, ppm, miss, m.ErrorBound())
			}
			if miss := m.Offset().Abs(); miss > m.ErrorBound() {
				t.Errorf("%v there at %d ppm: misses the truth at T1 by %v, more than its bound of %v", slow, ppm, miss, m.ErrorBound())
			}
		}
	}
}

func TestResolve(t *testing.T) {
	for host, want := range map[string]string{
		"192.0.2.7":          "192.0.2.7:123",
		"192.0.2.7:1123":     "192.0.2.7:1123",
		"2001:db8::7":        "[2001:db8::7]:123",
		"[2001:db8::7]:1123": "[2001:db8::7]:1123",
		"[2001:db8::7]":      "[2001:db8::7]:123",
		"fe80::1%lo":         "[fe80::1%lo]:123",
		"192.0.2.7:ntp":      "192.0.2.7:123",
		"192.0.2.7:65535":    "192.0.2.7:65535",
	} {
		got, err := Resolve(context.Background(), host)
		if err != nil || len(got) != 1 || got[0].String() != want {
			t.Errorf("%s: got %v, %v; want %s", host, got, err, want)
		}
	}
	for host, words := range map[string]string{
		"":                 "look up",
		"192.0.2.7:":       `port ""`,
		"192.0.2.7:0":      `port "0"`,
		"192.0.2.7:-1":     `port "-1"`,
		"192.0.2.7:domain": `port "domain"`,
		"192.0.2.7:65536":  `port "65536"`,
		"-.invalid":        `"-.invalid"`,
	} {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		got, err := Resolve(ctx, host)
		cancel()
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: got %v, %v; want an error that says %s", host, got, err, words)
		}
		if _, _, err := ParseHost(host); (err != nil) != strings.HasPrefix(words, "port") {
			t.Errorf("%q: read with %v", host, err)
		}
	}
	got, err := Resolve(context.Background(), "localhost:1123")
	if err != nil || len(got) == 0 || !got[0].Addr().IsLoopback() || got[0].Port() != 1123 {
		t.Errorf("localhost is %v, %v", got, err)
	}
}

// A server that follows nothing but its own clock says so by its refid.
func TestMeasurementLocal(t *testing.T) {
	for _, c := range []struct {
		stratum uint8
		refid   ntp.RefID
		want    bool
	}{
		{10, ntp.RefIDOf(netip.MustParseAddr("127.127.1.1")), true},
		{2, ntp.RefIDOf(netip.MustParseAddr("127.127.1.1")), true},
		{1, ntp.RefIDFromASCII("LOCL"), true},
		{10, ntp.RefIDOf(netip.MustParseAddr("127.127.1.0")), false}, // the kernel was told by somebody
		{2, ntp.RefIDFromASCII("LOCL"), false},                       // the address 76.79.67.76
		{1, ntp.RefIDFromASCII("GPS"), false},
		{2, ntp.RefIDOf(netip.MustParseAddr("192.0.2.1")), false},
	} {
		m := Measurement{Header: ntp.Header{Stratum: c.stratum, RefID: c.refid}}
		if m.Local() != c.want {
			t.Errorf("stratum %d, refid %s: local %v", c.stratum, c.refid.Text(c.stratum), m.Local())
		}
	}
}
