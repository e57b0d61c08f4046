package ntpserver

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestPaceBounds: whatever the groups took, nothing is predicted below zero or above
// the bound, and no prediction moves away from what it has just seen.
func TestPaceBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p pace
		took := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-100, 100), rapid.Int64Range(0, 100_000), rapid.SampledFrom([]int64{math.MaxInt64, math.MinInt64, 0}))
		for range 200 {
			before := p.gap
			last, n := took.Draw(t, "took"), rapid.IntRange(1, sendGroup).Draw(t, "n")
			p.learn(last, n)
			if p.gap < 0 || p.gap > gapMax || p.wait(0) != 0 {
				t.Fatalf("gap %d, first %d", p.gap, p.wait(0))
			}
			each := min(last/int64(n), gapMax)
			switch {
			case last <= 0 && p.gap != before,
				last > 0 && p.gap > max(before, each),
				last > 0 && p.gap < min(before, each):
				t.Fatalf("%d replies in %d ns: from %d to %d", n, last, before, p.gap)
			}
			for i := 1; i < sendGroup; i++ {
				if p.wait(i) != p.wait(i-1)+p.gap {
					t.Fatalf("reply %d waits %d", i, p.wait(i))
				}
			}
		}
	})
}

// TestPaceConverges on a constant, from below to within what the shift loses and from
// above exactly; and much faster from above.
func TestPaceConverges(t *testing.T) {
	const gap = 1000
	for _, n := range []int64{1, 3, sendGroup} {
		var p pace
		rise := 0
		for ; p.gap < gap-1<<riseShift; rise++ {
			if rise > 10_000 {
				t.Fatalf("groups of %d: stays at %d", n, p.gap)
			}
			p.learn(gap*n, int(n))
		}
		for range 1000 {
			p.learn(gap*n, int(n))
		}
		if p.gap > gap || p.gap <= gap-1<<riseShift {
			t.Errorf("groups of %d: rose to %d", n, p.gap)
		}
		p.gap = 2 * gap
		fall := 0
		for ; p.gap > gap; fall++ {
			if fall > 10_000 {
				t.Fatalf("groups of %d: stays at %d", n, p.gap)
			}
			p.learn(gap*n, int(n))
		}
		if p.gap != gap || fall > 11 || rise < 10*fall {
			t.Errorf("groups of %d: rose in %d groups, fell in %d to %d", n, rise, fall, p.gap)
		}
	}
}

// TestPaceForgivesAnInterruption: one group that took long counts for one part in
// 64 of the bound; one that was quick for half of the difference.
func TestPaceForgivesAnInterruption(t *testing.T) {
	p := pace{gap: 1000}
	p.learn(1e9, sendGroup)
	if want := int64(1000 + (gapMax-1000)>>riseShift); p.gap != want {
		t.Errorf("after a second: %d, want %d", p.gap, want)
	}
	p = pace{gap: 1000}
	p.learn(500*sendGroup, sendGroup)
	if p.gap != 750 {
		t.Errorf("after a quick group: %d", p.gap)
	}
	p.learn(1, sendGroup)
	if p.gap != 375 {
		t.Errorf("after one that took no time: %d", p.gap)
	}
}

// TestPaceIgnoresAClockThatWasSet back.
func TestPaceIgnoresAClockThatWasSet(t *testing.T) {
	for _, took := range []int64{0, -1, -second, math.MinInt64} {
		p := pace{gap: 1000}
		p.learn(took, 3)
		if p.gap != 1000 {
			t.Errorf("%d ns: %d", took, p.gap)
		}
	}
}
