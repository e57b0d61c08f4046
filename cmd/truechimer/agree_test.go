package main

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// shownAt is majority as one would do it by hand: count at every point and between, and see
// where it is most.
func shownAt(ranges []offsetRange) (shared offsetRange, count int, ok bool) {
	at := func(twice int) (n int) { // half steps
		for _, r := range ranges {
			if 2*int(r.low) <= twice && twice <= 2*int(r.high) {
				n++
			}
		}
		return n
	}
	const least, most = -50, 50
	parts, within := 0, false
	for twice := least; twice <= most; twice++ {
		count = max(count, at(twice))
	}
	for twice := least; twice <= most && count > 0; twice++ {
		switch {
		case at(twice) != count:
			within = false
			continue
		case !within:
			parts++
			within = true
			shared.low = time.Duration(twice / 2)
		}
		shared.high = time.Duration(twice / 2)
	}
	return shared, count, 2*count > len(ranges) && parts == 1
}

func TestMajorityTwin(t *testing.T) {
	t.Logf("-seed %d", *seedFlag)
	random := rand.New(rand.NewPCG(*seedFlag, 1))
	found := 0
	for range 50_000 {
		ranges := make([]offsetRange, random.IntN(6))
		for i := range ranges {
			low := time.Duration(random.IntN(20) - 10)
			ranges[i] = offsetRange{low, low + time.Duration(random.IntN(8))}
		}
		shared, count, ok := majority(ranges)
		s, n, k := shownAt(ranges)
		if count != n || ok != k || ok && shared != s {
			t.Fatalf("%v: %v of %d, %v; want %v of %d, %v", ranges, shared, count, ok, s, n, k)
		}
		if ok {
			found++
		}
	}
	if found < 10_000 {
		t.Errorf("only %d majorities: the test shows little", found)
	}
}

func TestMajority(t *testing.T) {
	r := func(low, high time.Duration) offsetRange { return offsetRange{low, high} }
	for name, c := range map[string]struct {
		ranges []offsetRange
		shared offsetRange
		count  int
		ok     bool
	}{
		"none":                {nil, r(0, 0), 0, false},
		"one":                 {[]offsetRange{r(-1, 5)}, r(-1, 5), 1, true},
		"two that meet":       {[]offsetRange{r(-1, 5), r(3, 9)}, r(3, 5), 2, true},
		"two that touch":      {[]offsetRange{r(-1, 3), r(3, 9)}, r(3, 3), 2, true},
		"two apart":           {[]offsetRange{r(-1, 2), r(3, 9)}, r(0, 0), 1, false},
		"a falseticker":       {[]offsetRange{r(-2, 6), r(1, 9), r(40, 44)}, r(1, 6), 2, true},
		"half is no majority": {[]offsetRange{r(0, 2), r(1, 3), r(10, 12), r(20, 22)}, r(0, 0), 2, false},
		"two parts":           {[]offsetRange{r(0, 10), r(0, 2), r(8, 10)}, r(0, 0), 2, false},
		"the same":            {[]offsetRange{r(1, 2), r(1, 2), r(1, 2)}, r(1, 2), 3, true},
	} {
		shared, count, ok := majority(c.ranges)
		if count != c.count || ok != c.ok || ok && shared != c.shared {
			t.Errorf("%s: %v of %d, %v; want %v of %d, %v", name, shared, count, ok, c.shared, c.count, c.ok)
		}
		slices.Reverse(c.ranges)
		if s, n, k := majority(c.ranges); n != count || k != ok || ok && s != shared {
			t.Errorf("%s: the order matters", name)
		}
	}
}

// TestReach: STANDARDS 1.8. 50 ms are a round trip of 100 ms to a perfect server, 10,000 km
// of fibre; where 20 ms go to something else, 60 ms.
func TestReach(t *testing.T) {
	for _, c := range []struct {
		limit, rest, trip time.Duration
		km                int64
	}{
		{50 * time.Millisecond, 0, 100 * time.Millisecond, 10_000},
		{50 * time.Millisecond, 20 * time.Millisecond, 60 * time.Millisecond, 6_000},
		{50 * time.Millisecond, 50 * time.Millisecond, 0, 0},
		{50 * time.Millisecond, time.Second, 0, 0},
		{100 * time.Microsecond, 0, 200 * time.Microsecond, 20},
		{time.Hour, 0, 2 * time.Hour, 720_000_000},
	} {
		if trip, km := reach(c.limit, c.rest); trip != c.trip || km != c.km {
			t.Errorf("%v less %v: %v, %d km; want %v, %d km", c.limit, c.rest, trip, km, c.trip, c.km)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 123456: "123,456", 720_000_000: "720,000,000"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
