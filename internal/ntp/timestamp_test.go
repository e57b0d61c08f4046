package ntp

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"
)

// unix returns the Unix nanoseconds of a second in UTC.
func unix(t *testing.T, text string) int64 {
	t.Helper()
	at, err := time.Parse(time.DateTime, text)
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixNano()
}

func TestTimestampUnixTakesTheEraOfThePivot(t *testing.T) {
	cases := []struct {
		sec  uint32
		want string
	}{
		{0x00000000, "2036-02-07 06:28:16"},
		{0x00000001, "2036-02-07 06:28:17"},
		{0xffffffff, "2036-02-07 06:28:15"},
		{0x7fffffff, "1968-01-20 03:14:07"},
		{0x80000000, "1968-01-20 03:14:08"},
		{0xee812d80, "2026-10-20 00:00:00"},
		{0x6d00377f, "2094-01-19 03:14:07"}, // the last second of the window
		{0x6d003780, "1957-12-13 20:45:52"}, // the first
	}
	pivot := unix(t, "2026-01-01 00:00:00")
	for _, c := range cases {
		got := Timestamp(uint64(c.sec) << 32).Unix(pivot)
		if want := unix(t, c.want); got != want {
			t.Errorf("%08x: got %s, want %s", c.sec, time.Unix(0, got).UTC(), c.want)
		}
	}
}

// TestTimestampUnixBefore1970: a pivot rounds down to its second, as time does.
func TestTimestampUnixBefore1970(t *testing.T) {
	const pivotSec = -1
	last := Timestamp((pivotSec+1<<31-1+unixToNTP)&math.MaxUint32) << 32
	first := last + 1<<32
	if got := last.Unix(-1); got != (pivotSec+1<<31-1)*nsPerSecond {
		t.Errorf("the last second of the window: got %d", got)
	}
	if got := first.Unix(-1); got != (pivotSec-1<<31)*nsPerSecond {
		t.Errorf("the first second of the window: got %d", got)
	}
}

func TestTimestampUnixNearTheLimitsSaturates(t *testing.T) {
	for _, pivot := range []int64{math.MinInt64, math.MinInt64 + 1, math.MaxInt64 - 1, math.MaxInt64} {
		for _, ts := range []Timestamp{0, 1, 1 << 31, 1 << 32, 1 << 63, math.MaxUint64} {
			got := ts.Unix(pivot)
			if d := new(big.Int).Sub(big.NewInt(got), big.NewInt(pivot)); d.CmpAbs(big.NewInt(1<<31*nsPerSecond+nsPerSecond)) > 0 {
				t.Errorf("pivot %d, %x: %d is %s ns away", pivot, uint64(ts), got, d)
			}
		}
	}
}

func TestFromUnix(t *testing.T) {
	cases := []struct {
		at   string
		ns   int64
		want Timestamp
	}{
		{"1970-01-01 00:00:00", 0, 0x83aa7e80 << 32},
		{"1972-01-01 00:00:00", 0, 0x876ce580 << 32},
		{"1999-12-31 00:00:00", 0, 0xbc167080 << 32},
		{"2017-01-01 00:00:00", 0, 0xdc12c500 << 32},
		{"2036-02-08 00:00:00", 0, 0x0000f680 << 32},
		{"2036-02-07 06:28:15", 999999999, 0xfffffffffffffffc},
		{"2036-02-07 06:28:16", 0, 1}, // would be 0, which means unknown
		{"2036-02-07 06:28:16", 1, 4},
		{"1900-01-01 00:00:00", 0, 1},
		{"1900-01-01 00:00:00", -1, 0xfffffffffffffffc},
		{"1970-01-01 00:00:00", 1, 0x83aa7e8000000004},
		{"1970-01-01 00:00:00", 999999999, 0x83aa7e80fffffffc},
		{"1970-01-01 00:00:00", 631495778, 0x83aa7e80a1a9b512},
		{"1970-01-01 00:00:00", -1, 0x83aa7e7ffffffffc},
	}
	for _, c := range cases {
		ns := unix(t, c.at) + c.ns
		got := FromUnix(ns)
		if got != c.want {
			t.Errorf("%s + %d ns: got %016x, want %016x", c.at, c.ns, uint64(got), uint64(c.want))
		}
		if back := got.Unix(ns); back != ns {
			t.Errorf("%s + %d ns: came back as %d ns more", c.at, c.ns, back-ns)
		}
	}
}

// FuzzTimestampUnix: every nanosecond survives, with every pivot less than 68
// years away.
func FuzzTimestampUnix(f *testing.F) {
	f.Add(int64(0), int64(0))
	f.Add(int64(2085978496e9), int64(-1))
	f.Add(int64(2085978496e9-1), int64(math.MaxInt32)*nsPerSecond)
	f.Fuzz(func(t *testing.T, ns, away int64) {
		if span := int64(1 << 61); ns < -span || ns > span {
			ns /= 4
		}
		pivot := ns + away%(1<<31*nsPerSecond-nsPerSecond)
		if got := FromUnix(ns).Unix(pivot); got != ns {
			t.Errorf("%d around %d: got %d", ns, pivot, got)
		}
		if FromUnix(ns) == 0 {
			t.Errorf("%d: zero, which means unknown", ns)
		}
	})
}

// TestTimestampSubEqualsTheSlowWay compares Sub with exact arithmetic.
func TestTimestampSubEqualsTheSlowWay(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	check := func(a, b Timestamp) {
		t.Helper()
		d := big.NewInt(int64(a - b))
		d.Mul(d, big.NewInt(nsPerSecond))
		d.Rsh(d, 32) // floor
		if got := a.Sub(b); int64(got) != d.Int64() {
			t.Fatalf("%x − %x: got %d, want %s", uint64(a), uint64(b), got, d)
		}
	}
	check(0, math.MaxUint64)
	check(0, 1)
	check(0, 1<<63)
	check(1<<63-1, 0)
	for range 50_000 {
		a := Timestamp(random.Uint64())
		check(a, Timestamp(random.Uint64()))
		check(a, a+Timestamp(random.Int64N(1<<34))-1<<33)
	}
}

func TestRandomize(t *testing.T) {
	const ts, ones = Timestamp(0x0123456789abcdef), math.MaxUint64
	cases := []struct {
		precision Precision
		want      Timestamp // of random bits that are all one
	}{
		{-128, ts},
		{-33, ts},
		{-32, ts},
		{-31, 0x0123456789abcdef},
		{-25, 0x0123456789abcdff},
		{-20, 0x0123456789abcfff},
		{-1, 0x01234567ffffffff},
		{0, 0x01234567ffffffff},
		{127, 0x01234567ffffffff},
	}
	for _, c := range cases {
		if got := ts.Randomize(c.precision, ones); got != c.want {
			t.Errorf("%d: got %016x, want %016x", c.precision, uint64(got), uint64(c.want))
		}
		if got := ts.Randomize(c.precision, 0); got&c.precision.noise() != 0 {
			t.Errorf("%d: %016x has bits that are not from random", c.precision, uint64(got))
		}
	}
	if got := Timestamp(5).Randomize(-20, 0); got != 1 {
		t.Errorf("all bits below the precision, random 0: got %d, want 1", got)
	}
}
