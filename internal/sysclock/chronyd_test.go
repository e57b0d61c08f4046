package sysclock

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/facebook/time/ntp/chrony"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/truechimer/truechimer/internal/clock"
)

// A reply as it is on the wire: a head of 28 bytes, then this.
type wireTracking struct {
	RefID                   uint32
	IP                      [16]byte
	Family, _               uint16
	Stratum, Leap           uint16
	SecHigh, SecLow, Nsec   uint32
	Correction              uint32
	LastOffset, RMSOffset   uint32
	Frequency, ResidualFreq uint32
	Skew                    uint32
	RootDelay               uint32
	RootDispersion          uint32
	UpdateInterval          uint32
	_                       [4]byte // chronyd pads a reply to the length of its request
}

// wireFloat encodes f, which has to be a small number of powers of two, as chronyd does:
// seven bits of exponent, 25 of coefficient.
func wireFloat(f float64) uint32 {
	if f == 0 {
		return 0
	}
	fraction, exponent := math.Frexp(f)
	return uint32(exponent+1)<<25 | uint32(int32(math.Ldexp(fraction, 24)))&(1<<25-1)
}

func goodWire() wireTracking {
	return wireTracking{
		RefID: 0xc0000201, IP: [16]byte{192, 0, 2, 1}, Family: 1, Stratum: 2, Leap: 1,
		SecHigh: 0x7fffffff, SecLow: 1_795_000_000, Nsec: 123_456_789,
		Correction: wireFloat(-0.25), Frequency: wireFloat(-12.5), Skew: wireFloat(0.5),
		RootDelay: wireFloat(0.125), RootDispersion: wireFloat(1.0 / (1 << 20)), UpdateInterval: wireFloat(64),
	}
}

func goodTracking() Tracking {
	return Tracking{
		RefID: [4]byte{192, 0, 2, 1}, Addr: netip.MustParseAddr("192.0.2.1"), Stratum: 2, Leap: clock.LeapInsert,
		Reference: 1_795_000_000_123_456_789, Correction: -250 * time.Millisecond, FrequencyPPM: 12.5, SkewPPM: 0.5,
		RootDelay: 125 * time.Millisecond, RootDispersion: 954, UpdateInterval: 64 * time.Second, // 953.67 ns, rounded up
	}
}

func encode(t testing.TB, head chrony.ReplyHead, content any) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, part := range []any{head, content} {
		if err := binary.Write(&b, binary.BigEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func goodHead() chrony.ReplyHead {
	return chrony.ReplyHead{Version: 6, PKTType: 2, Command: 33, Reply: chrony.RpyTracking}
}

// fakeChronyd answers every request on a socket with what is set, or not at all.
type fakeChronyd struct {
	conn net.PacketConn
	mu   sync.Mutex
	dumb bool
	says []byte
}

func startFakeChronyd(t testing.TB, network, address string) *fakeChronyd {
	t.Helper()
	conn, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeChronyd{conn: conn, says: encode(t, goodHead(), goodWire())}
	var serving sync.WaitGroup
	serving.Go(func() {
		request := make([]byte, 1024)
		for {
			_, from, err := conn.ReadFrom(request)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			f.mu.Lock()
			if err == nil && !f.dumb {
				_, _ = conn.WriteTo(f.says, from)
			}
			f.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		conn.Close()
		serving.Wait()
	})
	return f
}

func (f *fakeChronyd) set(says []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dumb, f.says = says == nil, says
}

func (f *fakeChronyd) address() string { return f.conn.LocalAddr().String() }

// socketDir returns a directory whose name is short enough for a socket in it.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sysclock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// onlyFile fails the test when dir holds anything besides the file called name.
func onlyFile(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != name {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

var equalAddrs = cmpopts.EquateComparable(netip.Addr{})

func TestChronydAnswers(t *testing.T) {
	dir := socketDir(t)
	for _, test := range []struct{ name, network, address string }{
		{"port", "udp", "127.0.0.1:0"},
		{"socket", "unixgram", filepath.Join(dir, "chronyd.sock")},
	} {
		t.Run(test.name, func(t *testing.T) {
			fake := startFakeChronyd(t, test.network, test.address)
			for range 3 {
				got, err := (&Chronyd{Address: fake.address()}).Tracking(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(goodTracking(), got, equalAddrs); diff != "" {
					t.Errorf("tracking differs (-want +got):\n%s", diff)
				}
			}
			onlyFile(t, dir, "chronyd.sock")
		})
	}
}

// A process that had this number and was killed left its socket behind.
func TestChronydLeftover(t *testing.T) {
	dir := socketDir(t)
	fake := startFakeChronyd(t, "unixgram", filepath.Join(dir, "chronyd.sock"))
	address := fake.address()
	left, err := dialChronyd(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	left.(unixConn).UnixConn.Close() // and its name stays
	if _, err := (&Chronyd{Address: address}).Tracking(t.Context()); err != nil {
		t.Error(err)
	}
	onlyFile(t, dir, "chronyd.sock")
}

// Whoever serves the socket may have given up its rights, and must reach ours all the same.
func TestChronydSocketMode(t *testing.T) {
	dir := socketDir(t)
	fake := startFakeChronyd(t, "unixgram", filepath.Join(dir, "chronyd.sock"))
	conn, err := dialChronyd(t.Context(), fake.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	info, err := os.Stat(conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != fs.ModeSocket|0o666 {
		t.Errorf("our socket has the mode %v", info.Mode())
	}
}

func TestChronydAbsent(t *testing.T) {
	dir := socketDir(t)
	dead := filepath.Join(dir, "dead.sock")
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dead, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if _, err := os.Stat(dead); err != nil {
		t.Fatalf("the dead socket has no name: %v", err)
	}
	port, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port.Close()
	for _, test := range []struct{ name, address string }{
		{"no such path", filepath.Join(dir, "none.sock")},
		{"no such directory", filepath.Join(dir, "none", "none.sock")},
		{"nobody listens on the socket", dead},
		{"nobody listens on the port", port.LocalAddr().String()},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := (&Chronyd{Address: test.address}).Tracking(t.Context())
			if !errors.Is(err, ErrNoChronyd) {
				t.Errorf("error %v, want ErrNoChronyd", err)
			}
			if err != nil && !strings.Contains(err.Error(), test.address) {
				t.Errorf("error %q does not say where there is none", err)
			}
			onlyFile(t, dir, "dead.sock")
		})
	}
}

// A chronyd that is there and cannot be asked is not an absent one: the operator is told.
func TestChronydCannotBeAsked(t *testing.T) {
	dir := socketDir(t)
	stream := filepath.Join(dir, "chronyd.sock")
	listener, err := net.Listen("unix", stream)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, test := range []struct{ name, address string }{
		{"socket of another kind", stream},
		{"no address at all", "chronyd"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := (&Chronyd{Address: test.address}).Tracking(t.Context()); err == nil || errors.Is(err, ErrNoChronyd) {
				t.Errorf("error %v, want one that is not ErrNoChronyd", err)
			}
			onlyFile(t, dir, "chronyd.sock")
		})
	}
	t.Run("no right to its directory", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root has a right to every directory")
		}
		closed := socketDir(t)
		if err := os.Chmod(closed, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := (&Chronyd{Address: filepath.Join(closed, "chronyd.sock")}).Tracking(t.Context()); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("error %v, want one of permission", err)
		}
	})
}

func TestAskFirst(t *testing.T) {
	dir := socketDir(t)
	good := startFakeChronyd(t, "udp", "127.0.0.1:0")
	bad := startFakeChronyd(t, "udp", "127.0.0.1:0")
	bad.set([]byte("garbage"))
	none := filepath.Join(dir, "none.sock")
	for _, test := range []struct {
		name      string
		addresses []string
		answer    bool
		none      bool
		from      string
	}{
		{"nothing anywhere", []string{none, none + "2"}, false, true, none + "2"},
		{"only the second", []string{none, good.address()}, true, false, ""},
		{"both", []string{good.address(), bad.address()}, true, false, ""},
		{"the first is bad", []string{bad.address(), good.address()}, true, false, ""},
		{"the first is bad, the second absent", []string{bad.address(), none}, false, false, bad.address()},
		{"the first is absent, the second bad", []string{none, bad.address()}, false, false, bad.address()},
		{"no address", nil, false, true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			got, err := askFirst(ctx, test.addresses...)
			if test.answer {
				if diff := cmp.Diff(goodTracking(), got, equalAddrs); err != nil || diff != "" {
					t.Errorf("error %v, tracking differs (-want +got):\n%s", err, diff)
				}
				return
			}
			if err == nil || errors.Is(err, ErrNoChronyd) != test.none || !strings.Contains(err.Error(), test.from) {
				t.Errorf("error %v, want one of %q, ErrNoChronyd: %v", err, test.from, test.none)
			}
		})
	}
}

// Without an address the usual places are tried; what is there is this machine's affair.
func TestChronydUsualPlaces(t *testing.T) {
	start := time.Now()
	tracking, err := new(Chronyd).Tracking(t.Context())
	if err == nil && tracking.Stratum > clock.StratumUnsynchronised || time.Since(start) > time.Second {
		t.Errorf("answered %+v after %v", tracking, time.Since(start))
	}
}

func TestChronydHangs(t *testing.T) {
	for _, test := range []struct{ name, network, address string }{
		{"port", "udp", "127.0.0.1:0"},
		{"socket", "unixgram", filepath.Join(socketDir(t), "chronyd.sock")},
	} {
		t.Run(test.name, func(t *testing.T) {
			fake := startFakeChronyd(t, test.network, test.address)
			fake.set(nil)
			b := newBench(func(s *FollowSettings) { s.Tracker = &Chronyd{Address: fake.address()} })
			start := time.Now()
			s := b.poll()
			if took := time.Since(start); took < chronydTimeout || took > 3*chronydTimeout {
				t.Errorf("Poll took %v, want %v", took, chronydTimeout)
			}
			believed(t, s, "kernel")
			if !strings.Contains(s.Reason, "chronyd cannot be asked") || !strings.Contains(s.Reason, "timeout") {
				t.Errorf("the reason is %q", s.Reason)
			}
		})
	}
}

// Nobody reads the socket, and its queue is full: not even the request goes out.
func TestChronydStopped(t *testing.T) {
	path := filepath.Join(socketDir(t), "chronyd.sock")
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	filler, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for err == nil {
		if err = filler.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)); err == nil {
			_, err = filler.Write([]byte{0})
		}
	}
	start := time.Now()
	_, err = (&Chronyd{Address: path}).Tracking(t.Context())
	if took := time.Since(start); err == nil || errors.Is(err, ErrNoChronyd) || took > 3*chronydTimeout {
		t.Errorf("error %v after %v", err, took)
	}
}

func TestChronydGarbage(t *testing.T) {
	fake := startFakeChronyd(t, "udp", "127.0.0.1:0")
	tracker := &Chronyd{Address: fake.address()}
	good := encode(t, goodHead(), goodWire())
	reply := func(change func(*chrony.ReplyHead, *wireTracking)) []byte {
		head, content := goodHead(), goodWire()
		change(&head, &content)
		return encode(t, head, content)
	}
	const huge = 62<<25 | 1<<23 // 2^60
	for name, says := range map[string][]byte{
		"empty":               {},
		"a byte":              {6},
		"head cut short":      good[:27],
		"head only":           good[:28],
		"content cut short":   good[:len(good)-5],
		"noise":               bytes.Repeat([]byte{0xff}, 1000),
		"refused":             reply(func(h *chrony.ReplyHead, _ *wireTracking) { h.Status = 2 }),
		"refused as never":    reply(func(h *chrony.ReplyHead, _ *wireTracking) { h.Status = 0xffff }),
		"another report":      reply(func(h *chrony.ReplyHead, _ *wireTracking) { h.Reply = chrony.RpyActivity }),
		"unknown report":      reply(func(h *chrony.ReplyHead, _ *wireTracking) { h.Reply = 999 }),
		"huge correction":     reply(func(_ *chrony.ReplyHead, c *wireTracking) { c.Correction = huge }),
		"huge delay":          reply(func(_ *chrony.ReplyHead, c *wireTracking) { c.RootDelay = huge }),
		"huge dispersion":     reply(func(_ *chrony.ReplyHead, c *wireTracking) { c.RootDispersion = huge }),
		"huge interval":       reply(func(_ *chrony.ReplyHead, c *wireTracking) { c.UpdateInterval = huge }),
		"huge skew":           reply(func(_ *chrony.ReplyHead, c *wireTracking) { c.Skew = huge }),
		"huge frequency":      reply(func(_ *chrony.ReplyHead, c *wireTracking) { c.Frequency = huge }),
		"negative dispersion": reply(func(_ *chrony.ReplyHead, c *wireTracking) { c.RootDispersion = wireFloat(-0.5) }),
		"negative skew":       reply(func(_ *chrony.ReplyHead, c *wireTracking) { c.Skew = wireFloat(-0.5) }),
		"leap 4":              reply(func(_ *chrony.ReplyHead, c *wireTracking) { c.Leap = 4 }),
		"stratum 256":         reply(func(_ *chrony.ReplyHead, c *wireTracking) { c.Stratum = 256 }),
		"before 1970":         reply(func(_ *chrony.ReplyHead, c *wireTracking) { c.SecHigh = 0xffffffff }),
		"beyond nanoseconds":  reply(func(_ *chrony.ReplyHead, c *wireTracking) { c.SecHigh = 3 }),
	} {
		t.Run(name, func(t *testing.T) {
			fake.set(says)
			if got, err := tracker.Tracking(t.Context()); err == nil || errors.Is(err, ErrNoChronyd) || !strings.Contains(err.Error(), fake.address()) {
				t.Errorf("error %v, tracking %+v; want an error that says whom we asked", err, got)
			}
		})
	}
	fake.set(good)
	if _, err := tracker.Tracking(t.Context()); err != nil {
		t.Errorf("not even the good reply is believed: %v", err)
	}
}

func TestTranslateTracking(t *testing.T) {
	good := func() chrony.Tracking {
		return chrony.Tracking{
			RefID: 0xc0000201, IPAddr: net.IP{192, 0, 2, 1}, Stratum: 2, LeapStatus: 1,
			RefTime: time.Unix(1_795_000_000, 123_456_789), CurrentCorrection: -0.25, FreqPPM: -12.5, SkewPPM: 0.5,
			RootDelay: 0.125, RootDispersion: 1.0 / (1 << 20), LastUpdateInterval: 64,
		}
	}
	figures := map[string]func(*chrony.Tracking) *float64{
		"correction": func(c *chrony.Tracking) *float64 { return &c.CurrentCorrection },
		"delay":      func(c *chrony.Tracking) *float64 { return &c.RootDelay },
		"dispersion": func(c *chrony.Tracking) *float64 { return &c.RootDispersion },
		"interval":   func(c *chrony.Tracking) *float64 { return &c.LastUpdateInterval },
		"skew":       func(c *chrony.Tracking) *float64 { return &c.SkewPPM },
		"frequency":  func(c *chrony.Tracking) *float64 { return &c.FreqPPM },
	}
	for name, figure := range figures {
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1<<20 + 1, -1<<20 - 1, math.MaxFloat64} {
			r := good()
			*figure(&r) = bad
			if got, err := translateTracking(&r); err == nil {
				t.Errorf("a %s of %v is believed: %+v", name, bad, got)
			}
		}
		r := good()
		*figure(&r) = 1 << 20
		if _, err := translateTracking(&r); err != nil {
			t.Errorf("a %s of twelve days: %v", name, err)
		}
	}
	for _, test := range []struct {
		name   string
		change func(*chrony.Tracking)
		want   func(*Tracking)
	}{
		{"as it is", func(*chrony.Tracking) {}, func(*Tracking) {}},
		{"reference clock", func(r *chrony.Tracking) { r.IPAddr, r.RefID = nil, 0x50505300 }, func(t *Tracking) { t.Addr, t.RefID = netip.Addr{}, [4]byte{'P', 'P', 'S', 0} }},
		{"IPv6", func(r *chrony.Tracking) { r.IPAddr = net.ParseIP("2001:db8::1") }, func(t *Tracking) { t.Addr = netip.MustParseAddr("2001:db8::1") }},
		{"mapped", func(r *chrony.Tracking) { r.IPAddr = net.ParseIP("::ffff:192.0.2.1").To16() }, func(*Tracking) {}},
		{"behind", func(r *chrony.Tracking) { r.CurrentCorrection = 0.25 }, func(t *Tracking) { t.Correction = 250 * time.Millisecond }},
		{"behind by less than a nanosecond", func(r *chrony.Tracking) { r.CurrentCorrection = 1e-12 }, func(t *Tracking) { t.Correction = 1 }},
		{"ahead by less than a nanosecond", func(r *chrony.Tracking) { r.CurrentCorrection = -1e-12 }, func(t *Tracking) { t.Correction = -1 }},
		{"negative delay", func(r *chrony.Tracking) { r.RootDelay = -0.125 }, func(t *Tracking) { t.RootDelay = -125 * time.Millisecond }},
		{"stratum 255", func(r *chrony.Tracking) { r.Stratum = 255 }, func(t *Tracking) { t.Stratum = 255 }},
		{"leap unknown", func(r *chrony.Tracking) { r.LeapStatus = 3 }, func(t *Tracking) { t.Leap = clock.LeapUnknown }},
		{"never updated", func(r *chrony.Tracking) { r.RefTime = time.Unix(0, 0) }, func(t *Tracking) { t.Reference = 0 }},
		{"after NTP's first era", func(r *chrony.Tracking) { r.RefTime = time.Unix(2_085_978_497, 5) }, func(t *Tracking) { t.Reference = 2_085_978_497_000_000_005 }},
		{"the last second", func(r *chrony.Tracking) { r.RefTime = time.Unix(9_223_372_035, 999_999_999) }, func(t *Tracking) { t.Reference = 9_223_372_035_999_999_999 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, want := good(), goodTracking()
			test.change(&r)
			test.want(&want)
			got, err := translateTracking(&r)
			if diff := cmp.Diff(want, got, equalAddrs); err != nil || diff != "" {
				t.Errorf("error %v, tracking differs (-want +got):\n%s", err, diff)
			}
		})
	}
	for _, bad := range []time.Time{time.Unix(-1, 0), time.Unix(9_223_372_036, 0), time.Unix(math.MaxInt64, 0), time.Unix(math.MinInt64, 0)} {
		r := good()
		r.RefTime = bad
		if got, err := translateTracking(&r); err == nil {
			t.Errorf("the time %v is believed: %+v", bad, got)
		}
	}
}

// honest checks what must hold of every report that is let through.
func honest(t *testing.T, got Tracking) {
	t.Helper()
	if got.RootDispersion < 0 || !(got.SkewPPM >= 0) || math.IsInf(got.SkewPPM, 0) || math.IsNaN(got.FrequencyPPM) || got.Leap > clock.LeapUnknown || got.Reference < 0 {
		t.Fatalf("let through: %+v", got)
	}
	b := newBench(func(s *FollowSettings) { s.ErrorLimit = math.MaxInt64 })
	b.chronyd.tracking = got
	s := b.poll()
	if !s.Claims() {
		return
	}
	least := got.Correction.Abs() + got.RootDelay.Abs()/2 + got.RootDispersion
	if bound := s.ErrorBound(s.Mono()); bound < least {
		t.Fatalf("error bound %v, less than %v, of %+v", bound, least, got)
	}
	if s.ErrorBound(s.Mono()+time.Hour) < s.ErrorBound(s.Mono()) {
		t.Fatalf("the error bound shrinks, of %+v", got)
	}
}

func FuzzTranslateTracking(f *testing.F) {
	f.Add(uint32(0xc0000201), []byte{192, 0, 2, 1}, uint16(2), uint16(0), int64(1_795_000_000), int64(0), -0.25, -12.5, 0.5, 0.125, 0.5, 64.0)
	f.Add(uint32(0), []byte{}, uint16(0), uint16(3), int64(0), int64(0), 0.0, 0.0, 0.0, 1.0, 1.0, 0.0)
	f.Fuzz(func(t *testing.T, refID uint32, ip []byte, stratum, leap uint16, sec, nsec int64, correction, freq, skew, delay, dispersion, interval float64) {
		got, err := translateTracking(&chrony.Tracking{
			RefID: refID, IPAddr: ip, Stratum: stratum, LeapStatus: leap, RefTime: time.Unix(sec, nsec), CurrentCorrection: correction,
			FreqPPM: freq, SkewPPM: skew, RootDelay: delay, RootDispersion: dispersion, LastUpdateInterval: interval,
		})
		if err != nil {
			return
		}
		if float64(got.Correction.Abs()) < math.Abs(correction)*1e9 || (got.Correction > 0) != (correction > 0) {
			t.Errorf("correction %v became %v", correction, got.Correction)
		}
		honest(t, got)
	})
}

// FuzzAskChronyd sends whatever it likes as the answer.
func FuzzAskChronyd(f *testing.F) {
	fake := startFakeChronyd(f, "udp", "127.0.0.1:0")
	good := encode(f, goodHead(), goodWire())
	f.Add(good)
	f.Add(good[:28])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, says []byte) {
		if len(says) > 60_000 {
			return // no datagram
		}
		fake.set(append([]byte{}, says...))
		got, err := (&Chronyd{Address: fake.address()}).Tracking(t.Context())
		if errors.Is(err, ErrNoChronyd) {
			t.Errorf("it answered, and yet: %v", err)
		}
		if err == nil {
			honest(t, got)
		}
	})
}
