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
			last, n := took.Draw(t, "took"), sendGroup
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
				if w := p.wait(i); w < p.wait(i-1) || w > p.gap*int64(i) || w < p.gap*int64(i)/2 {
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
	const group = gap * sendGroup
	var p pace
	rise := 0
	for ; p.gap < gap-1<<riseShift && rise < 10_000; rise++ {
		p.learn(group, sendGroup)
	}
	for range 1000 {
		p.learn(group, sendGroup)
	}
	if p.gap > gap || p.gap <= gap-1<<riseShift {
		t.Errorf("rose to %d", p.gap)
	}
	p.gap = 2 * gap
	fall := 0
	for ; p.gap > gap && fall < 10_000; fall++ {
		p.learn(group, sendGroup)
	}
	if p.gap != gap || fall > 11 || rise < 10*fall {
		t.Errorf("rose in %d groups, fell in %d to %d", rise, fall, p.gap)
	}
}

// TestPaceLearnsFromFullGroups only: what a single reply takes is the call, and a
// group that followed would claim to have left long after it did.
func TestPaceLearnsFromFullGroups(t *testing.T) {
	for _, before := range []int64{0, 1000} {
		for n := 1; n < sendGroup; n++ {
			p := pace{gap: before}
			for range 1000 {
				p.learn(6000, n)
				p.learn(1, n)
			}
			if p.gap != before {
				t.Errorf("groups of %d: from %d to %d", n, before, p.gap)
			}
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
		p.learn(took, sendGroup)
		if p.gap != 1000 {
			t.Errorf("%d ns: %d", took, p.gap)
		}
	}
}
