package ntp

import (
	"math"
	"math/big"
	"testing"
	"time"
)

func TestShortOf(t *testing.T) {
	const aged = 14511108 * time.Nanosecond // 0x3b7 on the wire
	cases := []struct {
		d    time.Duration
		want Short
	}{
		{math.MinInt64, 0},
		{-time.Second, 0},
		{-1, 0},
		{0, 0},
		{1, 1},
		{time.Microsecond, 1},
		{15258, 1},
		{15259, 2}, // 2^-16 s is 15258.789 ns
		{50 * time.Millisecond, 0xccd},
		{750 * time.Millisecond, 0xc000},
		{time.Second, 0x10000},
		{time.Second + 1, 0x10001},
		{MaxDispersion, 0x100000},
		{aged, 0x3b7},
		{aged + 64*15*time.Microsecond, 0x3f6},
		{aged + 1024*15*time.Microsecond, 0x7a6},
		{aged + 3600*15*time.Microsecond, 0x118a},
		{65535 * time.Second, 0xffff0000},
		{65536*time.Second - 15259, 0xffffffff},
		{65536*time.Second - 1, 0xffffffff},
		{65536 * time.Second, 0xffffffff},
		{math.MaxInt64, 0xffffffff},
	}
	for _, c := range cases {
		if got := ShortOf(c.d); got != c.want {
			t.Errorf("%v: got %08x, want %08x", c.d, uint32(got), uint32(c.want))
		}
	}
}

func TestShortDuration(t *testing.T) {
	cases := []struct {
		s    Short
		want time.Duration
	}{
		{0, 0},
		{1, 15259},
		{0x3b7, 14511109},
		{0xc000, 750 * time.Millisecond},
		{0xffff0000, 65535 * time.Second},
		{0xffffffff, 65536*time.Second - 15258},
	}
	for _, c := range cases {
		if got := c.s.Duration(); got != c.want {
			t.Errorf("%08x: got %d, want %d", uint32(c.s), got, c.want)
		}
	}
}

// FuzzShort: both ways round up, by less than a unit of what they give.
func FuzzShort(f *testing.F) {
	f.Add(uint32(1), int64(15259))
	f.Add(uint32(math.MaxUint32), int64(65536*time.Second-1))
	f.Fuzz(func(t *testing.T, wire uint32, ns int64) {
		back := ShortOf(Short(wire).Duration())
		if uint64(back) < uint64(wire) || uint64(back) > uint64(wire)+1 {
			t.Errorf("%08x came back as %08x", wire, uint32(back))
		}
		if ns < 0 || ns >= int64(65535*time.Second) {
			return
		}
		units := new(big.Int).Lsh(big.NewInt(ns), 16)
		up := new(big.Int).Mul(big.NewInt(int64(ShortOf(time.Duration(ns)))), big.NewInt(nsPerSecond))
		if d := up.Sub(up, units); d.Sign() < 0 || d.Cmp(big.NewInt(nsPerSecond)) >= 0 {
			t.Errorf("%d ns: %08x", ns, uint32(ShortOf(time.Duration(ns))))
		}
	})
}

func TestPrecisionOf(t *testing.T) {
	cases := []struct {
		d    time.Duration
		want Precision
	}{
		{-1, -29}, {0, -29}, {1, -29}, {2, -28}, {25, -25}, {29, -25}, {30, -24},
		{time.Microsecond, -19}, {954, -19}, {953, -20},
		{10 * time.Millisecond, -6}, {500 * time.Millisecond, -1}, {time.Second, 0}, {time.Second + 1, 1}, {math.MaxInt64, 34},
	}
	for _, c := range cases {
		if got := PrecisionOf(c.d); got != c.want {
			t.Errorf("%v: got %d, want %d", c.d, got, c.want)
		}
	}
}

func TestPrecisionDuration(t *testing.T) {
	cases := []struct {
		p    Precision
		want time.Duration
	}{
		{-128, 1}, {-30, 1}, {-29, 2}, {-20, 954}, {-1, time.Second / 2}, {0, time.Second}, {1, 2 * time.Second},
		{33, time.Second << 33}, {34, time.Second << 33}, {127, time.Second << 33},
	}
	for _, c := range cases {
		if got := c.p.Duration(); got != c.want {
			t.Errorf("%d: got %d, want %d", c.p, got, c.want)
		}
	}
}

func TestMeasurePrecision(t *testing.T) {
	var at int64
	steps := []int64{400, 30, 700, 41, 90}
	reads := 0
	jittery := func() int64 { reads++; at += steps[reads%len(steps)]; return at }
	if got := MeasurePrecision(jittery); got != -24 { // 30 ns
		t.Errorf("a clock read in 30 ns at best: got %d, want −24", got)
	}
	coarse := func() int64 { at += 100; return at - at%1000 }
	if got := MeasurePrecision(coarse); got != -19 { // 1 µs
		t.Errorf("a clock of 1 µs, read ten times in each: got %d, want −19", got)
	}
	if got := MeasurePrecision(func() int64 { return 7 }); got != 0 {
		t.Errorf("a clock that stands: got %d, want 0", got)
	}
	if got := MeasurePrecision(func() int64 { at -= 5; return at }); got != 0 {
		t.Errorf("a clock that runs backwards: got %d, want 0", got)
	}
}
