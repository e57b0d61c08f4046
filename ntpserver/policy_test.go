package ntpserver

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// bucketTwin is a token bucket as everybody draws it: tokens, up to Burst, and
// one more for each Interval. It counts nanoseconds in place of tokens, so that it
// is exact.
type bucketTwin struct {
	saved int64 // Interval is one token
	last  int64
}

func (b *bucketTwin) take(now int64, r Rate) bool {
	b.saved = min(b.saved+now-b.last, int64(r.Interval)*int64(r.Burst))
	b.last = now
	if b.saved < int64(r.Interval) {
		return false
	}
	b.saved -= int64(r.Interval)
	return true
}

// TestBucketEqualsItsTwin over random arrivals: at once, about as often as the
// rate allows, at exact multiples of it, and long after.
func TestBucketEqualsItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rate{
			Interval: time.Duration(rapid.OneOf(rapid.Int64Range(1, 10), rapid.Int64Range(1, int64(intervalMax))).Draw(t, "interval")),
			Burst:    rapid.OneOf(rapid.IntRange(1, 20), rapid.IntRange(1, burstMax)).Draw(t, "burst"),
		}
		now := rapid.SampledFrom([]int64{0, 1, 1 << 50}).Draw(t, "now")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var b bucket
		twin := bucketTwin{int64(r.Interval) * int64(r.Burst), now}
		taken, began := 0, now
		for i := range 500 {
			switch random.IntN(8) {
			case 0, 1:
				now += random.Int64N(2*int64(r.Interval) + 1)
			case 2:
				now += int64(r.Interval) * random.Int64N(3)
			case 3:
				now += int64(r.Interval) - 1
			case 4:
				// A bucket that is full reaches ahead of now: neither goes beyond what Unix
				// nanoseconds can hold.
				if room := math.MaxInt64 - 2*int64(r.Interval)*(int64(r.Burst)+2); i%100 == 0 && now < room {
					now += int64(r.Interval) * random.Int64N(int64(r.Burst)+2)
				}
			}
			got, want := b.take(now, r), twin.take(now, r)
			if got != want {
				t.Fatalf("request %d, at %d: got %v, want %v", i, now, got, want)
			}
			if got {
				taken++
			}
		}
		if most := (now-began)/int64(r.Interval) + int64(r.Burst); int64(taken) > most {
			t.Fatalf("%d requests in %v, at most %d are allowed", taken, time.Duration(now-began), most)
		}
	})
}

// TestBucket: a burst at once, then one per interval, to the nanosecond; and the extremes.
func TestBucket(t *testing.T) {
	for _, r := range []Rate{
		{Interval: 1, Burst: 1},
		{Interval: time.Second, Burst: 1},
		{Interval: time.Second, Burst: 8},
		{Interval: 16 * time.Second, Burst: 100},
		{Interval: intervalMax, Burst: 3},
	} {
		var b bucket
		now := 5 * second
		for i := range r.Burst {
			if !b.take(now, r) {
				t.Fatalf("%+v: request %d of the burst was refused", r, i)
			}
		}
		for range 3 {
			if b.take(now, r) || r.Interval > 1 && b.take(now+int64(r.Interval)-1, r) {
				t.Errorf("%+v: the bucket was not empty", r)
			}
			now += int64(r.Interval)
			if !b.take(now, r) {
				t.Errorf("%+v: nothing after an interval", r)
			}
		}
	}
	// The largest rate, 114 years to fill, after a year of uptime.
	r := Rate{Interval: intervalMax, Burst: burstMax}
	var b bucket
	now := 365 * 86400 * second
	for i := range burstMax {
		if !b.take(now, r) {
			t.Fatalf("request %d was refused", i)
		}
	}
	if b.take(now, r) || b.full < now {
		t.Errorf("empty, and full at %d", b.full)
	}
	if !b.take(now+int64(intervalMax), r) || b.take(now+int64(intervalMax), r) {
		t.Error("one more after an interval")
	}
}

// TestBucketUnderAnotherRate: what an earlier policy made a client wait is no more than
// what the new one could.
func TestBucketUnderAnotherRate(t *testing.T) {
	strict, lenient := Rate{Interval: time.Hour, Burst: 1000}, Rate{Interval: time.Second, Burst: 4}
	var b bucket
	for b.take(0, strict) {
	}
	if b.take(0, lenient) {
		t.Error("a new policy has filled the bucket")
	}
	for i := range int64(10) {
		if now := (i + 1) * second; !b.take(now, lenient) || b.take(now, lenient) {
			t.Errorf("after %d s: not one request per second", i+1)
		}
	}
	// And under a stricter one it keeps what it has used.
	b = bucket{}
	for b.take(0, lenient) {
	}
	if b.full != 4*second {
		t.Errorf("full at %d", b.full)
	}
	if n := 0; true {
		for b.take(0, strict) {
			n++
		}
		if n != 999 { // four seconds are a part of an hour
			t.Errorf("%d requests under the stricter rate", n)
		}
	}
}

func TestRateIsValidated(t *testing.T) {
	for _, v := range []struct {
		r    Rate
		want string // of the error; empty is none
	}{
		{Rate{}, ""},
		{Rate{Private: true}, ""},
		{Rate{Burst: -1}, ""}, // without a limit it says nothing
		{Rate{Interval: 1, Burst: 1}, ""},
		{Rate{Interval: time.Hour, Burst: 1_000_000, Kiss: math.MaxInt32}, ""},
		{Rate{Interval: -1, Burst: 1}, "rate interval -1ns: give 0 to 1h0m0s"},
		{Rate{Interval: time.Hour + 1, Burst: 1}, "rate interval"},
		{Rate{Interval: 1, Burst: 0}, "rate burst 0: give 1 to 1000000"},
		{Rate{Interval: 1, Burst: -1}, "rate burst"},
		{Rate{Interval: 1, Burst: 1_000_001}, "rate burst"},
		{Rate{Kiss: -1}, "one kiss in -1"},
		{Rate{Interval: 1, Burst: 1, Kiss: math.MaxInt32 + 1}, "one kiss in"},
	} {
		err := v.r.validate()
		if (err == nil) != (v.want == "") || err != nil && (!strings.Contains(err.Error(), v.want) || !strings.HasPrefix(err.Error(), "ntpserver: ")) {
			t.Errorf("%+v: got %v", v.r, err)
		}
	}
}

func TestRateLimits(t *testing.T) {
	public := "192.0.2.7 8.8.8.8 100.64.0.1 172.15.255.255 172.32.0.0 169.253.0.1 0.0.0.0 2001:db8::1 ::2 fbff::1 fe00::1 fec0::1"
	private := "10.0.0.0 10.255.255.255 172.16.0.1 172.31.255.255 192.168.7.7 127.0.0.1 127.255.0.1 169.254.1.1 ::1 fc00::1 fdff::1 fe80::1 febf::1"
	for _, text := range strings.Fields(public + " " + private) {
		addr := netip.MustParseAddr(text)
		inside := strings.Contains(" "+private+" ", " "+text+" ")
		if (Rate{Burst: 1, Private: true}).limits(addr) {
			t.Errorf("%s: limited without a rate", text)
		}
		if got := (Rate{Interval: 1, Burst: 1}).limits(addr); got == inside {
			t.Errorf("%s: limited %v", text, got)
		}
		if !(Rate{Interval: 1, Burst: 1, Private: true}).limits(addr) {
			t.Errorf("%s: not limited where private addresses are", text)
		}
	}
}

// TestRatePoll: the least power of two seconds that is no shorter than the interval.
func TestRatePoll(t *testing.T) {
	least := func(d time.Duration) int8 {
		poll := int8(0)
		for time.Second<<poll < d {
			poll++
		}
		return poll
	}
	intervals := []time.Duration{0, 1, time.Millisecond, intervalMax - 1, intervalMax}
	for s := time.Second; s < intervalMax; s += time.Second {
		intervals = append(intervals, s-1, s, s+1)
	}
	for _, d := range intervals {
		if got, want := (Rate{Interval: d}).poll(), least(d); got != want {
			t.Errorf("%v: got %d, want %d", d, got, want)
		}
	}
}

// TestRefuse counts over every word that matters: exactly one in four is let
// through, and of the others one in Kiss is told.
func TestRefuse(t *testing.T) {
	for _, kiss := range []int{0, 1, 2, 3, 4, 7, 100} {
		r := Rate{Interval: time.Second, Burst: 1, Kiss: kiss}
		n := leak * max(kiss, 1) * 50
		got := map[Verdict]int{}
		for word := range n {
			v := r.refuse(uint64(word)<<32 | 0x9e3779b9)
			if v != r.refuse(uint64(word)<<32) {
				t.Fatalf("kiss %d: the lower bits decide, which replies show", kiss)
			}
			got[v]++
		}
		kisses := 0
		if kiss > 0 {
			kisses = (n - n/leak) / kiss
		}
		if got[AnsweredLeak] != n/leak || got[KissRate] != kisses || got[DropRate] != n-n/leak-kisses {
			t.Errorf("kiss %d: %v of %d", kiss, got, n)
		}
	}
	// By chance, as in use.
	random := rand.New(rand.NewPCG(3, 4))
	got := map[Verdict]float64{}
	const n = 1_000_000
	for range n {
		got[Rate{Kiss: 32}.refuse(random.Uint64())]++
	}
	for v, want := range map[Verdict]float64{AnsweredLeak: n / 4., KissRate: n * 3. / 4 / 32, DropRate: n * 3. / 4 * 31 / 32} {
		if math.Abs(got[v]-want) > 6*math.Sqrt(want) {
			t.Errorf("%v: %v of %v", v, got[v], want)
		}
	}
	// The largest Kiss is next to never.
	for range 1_000_000 {
		if v := (Rate{Kiss: math.MaxInt32}).refuse(random.Uint64() | 1<<63); v == KissRate {
			t.Fatal("a kiss in a million")
		}
	}
}

// TestBucketKey: an IPv4 address has a bucket, and 64 bits of IPv6.
func TestBucketKey(t *testing.T) {
	for _, v := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"2001:db8::1", "2001:db9::1", false},
		{"::", "192.0.2.1", false},
	} {
		a, b := netip.MustParseAddr(v.a), netip.MustParseAddr(v.b)
		if same := bucketKey(a, addrKey(a)) == bucketKey(b, addrKey(b)); same != v.same {
			t.Errorf("%s and %s: same bucket %v", v.a, v.b, same)
		}
	}
}
