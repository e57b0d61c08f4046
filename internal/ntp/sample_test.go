package ntp

import (
	"errors"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"
)

// at returns the timestamp of a decimal fraction of seconds in 2026.
func at(sec float64) Timestamp {
	const start = 1767225600 // 2026-01-01
	return FromUnix(start*nsPerSecond + int64(sec*nsPerSecond+0.5))
}

func TestSampleVectors(t *testing.T) {
	day := func(y int) Timestamp { return FromUnix(time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()) }
	between := func(a, b int) time.Duration {
		return time.Date(b, 1, 1, 0, 0, 0, 0, time.UTC).Sub(time.Date(a, 1, 1, 0, 0, 0, 0, time.UTC))
	}
	cases := []struct {
		name          string
		s             Sample
		offset, delay time.Duration
	}{
		{"OFF-1", Sample{at(0), at(.060), at(.061), at(.101)}, 10 * time.Millisecond, 100 * time.Millisecond},
		{"OFF-2", Sample{at(100), at(100.020), at(100.021), at(100.041)}, 0, 40 * time.Millisecond},
		{"OFF-3: asymmetric", Sample{at(100), at(100.005), at(100.006), at(100.041)}, -15 * time.Millisecond, 40 * time.Millisecond},
		{"OFF-4: era wrap", Sample{0xffffffff80000000, 1, 0x0000000010000001, 0x0000000020000000}, 218750000, 562500000},
		{"OFF-5: server in the next era", Sample{day(2024), day(2047), day(2047), day(2024)}, between(2024, 2047), 0},
		{"OFF-5: and the other way", Sample{day(2047), day(2024), day(2024), day(2047)}, between(2047, 2024), 0},
		{"1970 and 2024", Sample{day(1970), day(2024), day(2024), day(1970)}, between(1970, 2024), 0},
		{"2024 and 1970", Sample{day(2024), day(1970), day(1970), day(2024)}, between(2024, 1970), 0},
	}
	for _, c := range cases {
		// The decimals are not binary fractions: a nanosecond of slack, and for
		// the delay only upwards.
		if got := c.s.Offset(); (got - c.offset).Abs() > 1 {
			t.Errorf("%s: offset %v, want %v", c.name, got, c.offset)
		}
		if got := c.s.Delay() - c.delay; got < 0 || got > 1 {
			t.Errorf("%s: delay %v, want %v", c.name, c.s.Delay(), c.delay)
		}
	}
}

// TestSampleEqualsTheSlowWay compares with exact arithmetic, also where the
// differences do not fit into 64 bits together.
func TestSampleEqualsTheSlowWay(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 50_000 {
		s := Sample{Timestamp(random.Uint64()), Timestamp(random.Uint64()), Timestamp(random.Uint64()), Timestamp(random.Uint64())}
		diff := func(a, b Timestamp) *big.Int { return big.NewInt(int64(a - b)) }

		offset := diff(s.Receive, s.Origin)
		offset.Add(offset, diff(s.Transmit, s.Destination))
		offset.Rsh(offset, 1) // in units of 2^-32 s, floor
		offset.Mul(offset, big.NewInt(nsPerSecond)).Add(offset, big.NewInt(1<<31)).Rsh(offset, 32)
		if got := s.Offset(); int64(got) != offset.Int64() {
			t.Fatalf("%x: offset %d, want %s", s, got, offset)
		}

		delay := diff(s.Destination, s.Origin)
		delay.Sub(delay, diff(s.Transmit, s.Receive))
		delay.Mul(delay, big.NewInt(-nsPerSecond)).Rsh(delay, 32).Neg(delay) // ceiling
		if got := s.Delay(); int64(got) != delay.Int64() {
			t.Fatalf("%x: delay %d, want %s", s, got, delay)
		}
	}
}

func TestCheckReply(t *testing.T) {
	request := Header{Version: 4, Mode: ModeClient, Transmit: 0x1122334455667788}
	good := Header{
		Version: 4, Mode: ModeServer, Stratum: 2, RootDelay: 0x100, RootDispersion: 0x100,
		Reference: at(0), Origin: request.Transmit, Receive: at(1), Transmit: at(1.001),
	}
	cases := []struct {
		name   string
		change func(*Header)
		want   error
	}{
		{"good", func(*Header) {}, nil},
		{"leap announced", func(h *Header) { h.Leap = LeapInsert }, nil},
		{"reference unknown", func(h *Header) { h.Reference = 0 }, nil},
		{"reference in the reply's own instant", func(h *Header) { h.Reference = h.Transmit }, nil},
		{"stratum 15", func(h *Header) { h.Stratum = 15 }, nil},
		{"mode 3", func(h *Header) { h.Mode = ModeClient }, ErrMode},
		{"mode 5", func(h *Header) { h.Mode = ModeBroadcast }, ErrMode},
		{"version 3", func(h *Header) { h.Version = 3 }, ErrVersion},
		{"test 2: another origin", func(h *Header) { h.Origin++ }, ErrBogus},
		{"test 2 before a kiss code", func(h *Header) { h.Origin++; h.Stratum = 0; h.RefID = KissDENY }, ErrBogus},
		{"kiss code", func(h *Header) { h.Stratum, h.RefID, h.Leap = 0, KissRATE, 3 }, KissError{KissRATE}},
		{"kiss code without times", func(h *Header) { h.Stratum, h.RefID, h.Receive, h.Transmit = 0, KissDENY, 0, 0 }, KissError{KissDENY}},
		{"not yet synchronised", func(h *Header) { h.Stratum, h.RefID, h.Leap = 0, KissINIT, 3 }, ErrUnsynchronised},
		{"test 3: receive", func(h *Header) { h.Receive = 0 }, ErrInvalid},
		{"test 3: transmit", func(h *Header) { h.Transmit = 0 }, ErrInvalid},
		{"test 6: leap", func(h *Header) { h.Leap = LeapUnsynchronised }, ErrUnsynchronised},
		{"test 6: stratum 16", func(h *Header) { h.Stratum = 16 }, ErrUnsynchronised},
		{"test 6: stratum 255", func(h *Header) { h.Stratum = 255 }, ErrUnsynchronised},
		{"test 7: just below", func(h *Header) { h.RootDelay, h.RootDispersion = 0x200000-2, 0 }, nil},
		{"test 7: delay alone", func(h *Header) { h.RootDelay, h.RootDispersion = 0x200000, 0 }, ErrDistance},
		{"test 7: dispersion alone", func(h *Header) { h.RootDelay, h.RootDispersion = 0, 0x100000 }, ErrDistance},
		{"test 7: half a unit below", func(h *Header) { h.RootDelay, h.RootDispersion = 1, 0x100000-1 }, nil},
		{"test 7: both at their largest", func(h *Header) { h.RootDelay, h.RootDispersion = ShortMax, ShortMax }, ErrDistance},
		{"test 7: set after it sent", func(h *Header) { h.Reference = at(2) }, ErrReference},
	}
	for _, c := range cases {
		reply := good
		c.change(&reply)
		if got := CheckReply(request, reply); !errors.Is(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}

	request.Transmit, good.Origin = 0, 0
	if got := CheckReply(request, good); !errors.Is(got, ErrInvalid) {
		t.Errorf("test 3, origin: got %v", got)
	}
	if err := (KissError{KissDENY}); !errors.Is(err, ErrUnsynchronised) || errors.Is(err, ErrBogus) {
		t.Error("a kiss code must count as unsynchronised and as nothing else")
	}
}
