package hlc

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestInterval(t *testing.T) {
	const tick = int64(Tick)
	for _, c := range []struct {
		name     string
		utc      int64
		bound    time.Duration
		ts       Timestamp
		earliest Timestamp
		latest   Timestamp
	}{
		{"exact on a tick", 10 * tick, 0, 0, 10 * 1024, 10 * 1024},
		{"exact after a tick", 10*tick + 1, 0, 0, 10 * 1024, 11 * 1024},
		{"exact before a tick", 10*tick - 1, 0, 0, 9 * 1024, 10 * 1024},
		{"both ends on ticks", 10 * tick, 2 * Tick, 0, 8 * 1024, 12 * 1024},
		{"both ends widened", 10*tick + 100, 2 * Tick, 0, 8 * 1024, 13 * 1024},
		{"timestamp below", 10 * tick, Tick, 10*1024 + 7, 9 * 1024, 11 * 1024},
		{"timestamp at the end", 10 * tick, Tick, 11 * 1024, 9 * 1024, 11 * 1024},
		{"timestamp just beyond", 10 * tick, Tick, 11*1024 + 1, 9 * 1024, 12 * 1024},
		{"timestamp on a tick beyond", 10 * tick, Tick, 12 * 1024, 9 * 1024, 12 * 1024},
		{"timestamp with a full logical part", 10 * tick, Tick, 12*1024 + 1023, 9 * 1024, 13 * 1024},
		{"clock works off a lead of a second", noon, time.Millisecond, FromUnix(noon) + 1e9, FromUnix(noon - 1e6), CeilUnix(noon - 500 + 1e9)},
		{"reaches before 1970", 5 * tick, 6 * Tick, 0, 0, 11 * 1024},
		{"before 1970", -5 * tick, Tick, 0, 0, 0},
		{"end of signed time", math.MaxInt64, 0, 0, 1<<63 - 1024, 1 << 63},
		{"beyond signed time", math.MaxInt64 - 5, time.Hour, 0, FromUnix(math.MaxInt64 - 5 - int64(time.Hour)), 1 << 63},
		{"nothing is known", noon, math.MaxInt64, 0, 0, 1 << 63},
		{"nothing is known, before 1970", -noon, math.MaxInt64, 0, 0, CeilUnix(math.MaxInt64 - noon)},
		{"negative bound", noon, -1, 0, 0, 1 << 63},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := NewInterval(c.utc, c.bound, c.ts)
			if got != (Interval{c.earliest, c.latest}) {
				t.Errorf("NewInterval = %d to %d, want %d to %d", uint64(got.Earliest), uint64(got.Latest), uint64(c.earliest), uint64(c.latest))
			}
			if w, want := got.Width(), c.latest.Sub(c.earliest); w != want {
				t.Errorf("Width = %v, want %v", w, want)
			}
		})
	}
}

// TestIntervalContains: it contains every UTC that the bound allows and the timestamp,
// ends in ticks, and is not wider than a tick more than that at each end.
func TestIntervalContains(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		utc := rapid.Int64Range(int64(time.Hour), noon*2).Draw(t, "utc")
		bound := rapid.Int64Range(0, int64(time.Hour)).Draw(t, "bound")
		truth := utc + rapid.Int64Range(-bound, bound).Draw(t, "error")
		ts := FromUnix(utc) + Timestamp(rapid.Int64Range(0, 2*int64(time.Hour)).Draw(t, "lead"))
		i := NewInterval(utc, time.Duration(bound), ts)
		end := max(uint64(utc+bound), uint64(ts))
		switch {
		case uint64(i.Earliest) > uint64(truth) || uint64(i.Latest) < uint64(truth):
			t.Fatalf("%d to %d does not contain %d", i.Earliest, i.Latest, truth)
		case i.Latest < ts:
			t.Fatalf("%d is below the timestamp %d", i.Latest, ts)
		case i.Earliest%1024 != 0 || i.Latest%1024 != 0:
			t.Fatalf("%d to %d does not end in ticks", i.Earliest, i.Latest)
		case uint64(utc-bound)-uint64(i.Earliest) >= 1024 || uint64(i.Latest)-end >= 1024:
			t.Fatalf("%d to %d is wider than it need be", i.Earliest, i.Latest)
		}
	})
}

// TestCommitWait: two nodes at opposite ends of their error bounds. An interval that was
// returned before another was asked for never ends up wholly after it, and timestamps that
// are waited for are in the order of real time although the nodes do not talk.
func TestCommitWait(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const bound, nap = 2 * time.Millisecond, 50 * time.Microsecond
		truth := int64(noon)
		var nodes [2]struct {
			clock *Clock
			utc   func() int64
		}
		for i, e := range []int64{int64(bound), -int64(bound)} {
			utc := func() int64 { return truth + e }
			c, err := New(Options{Physical: utc, Ceiling: Max})
			if err != nil {
				t.Fatal(err)
			}
			nodes[i].clock, nodes[i].utc = c, utc
		}
		interval := func(i int) Interval {
			n := nodes[i]
			return NewInterval(n.utc(), bound, must(t, n.clock.Now))
		}
		var earliest, committed Timestamp
		for range 50 {
			truth += rapid.Int64Range(1, int64(time.Millisecond)).Draw(t, "passes")
			i := rapid.IntRange(0, 1).Draw(t, "node")
			got := interval(i)
			if got.Latest <= earliest {
				t.Fatalf("an interval up to %v was asked for after one from %v", got.Latest, earliest)
			}
			earliest = max(earliest, got.Earliest)
			if rapid.Bool().Draw(t, "commit") {
				ts := interval(i).Latest
				must(t, func() (Timestamp, error) { return nodes[i].clock.Observe(ts) })
				waited := time.Duration(0)
				for interval(i).Earliest <= ts {
					truth += int64(nap)
					waited += nap
				}
				if ts <= committed {
					t.Fatalf("%v was committed after %v", ts, committed)
				}
				if waited > 2*bound+4*Tick+nap {
					t.Fatalf("waited %v for a bound of %v", waited, bound)
				}
				committed = ts
			}
		}
	})
}
