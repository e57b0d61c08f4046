package sim

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestJitter(t *testing.T) {
	const draws = 40_000
	for _, test := range []struct {
		jitter              Jitter
		median, mean, least time.Duration // 0: not looked at
		most                time.Duration
	}{
		{Jitter{}, 0, 0, 0, 0},
		{Jitter{Uniform, 10 * ms}, 5 * ms, 5 * ms, 0, 10 * ms},
		{Jitter{Exponential, 10 * ms}, 6931 * us, 10 * ms, 0, 300 * ms},
		{Jitter{HeavyTailed, ms}, 587 * us, 0, 0, 1000 * ms},
	} {
		r := testRandom(1)
		var all []time.Duration
		var sum float64
		for range draws {
			d := test.jitter.draw(r)
			all, sum = append(all, d), sum+float64(d)/draws
		}
		slices.Sort(all)
		near := func(got, want float64) bool { return want == 0 || math.Abs(got/want-1) < 0.04 }
		if !near(float64(all[draws/2]), float64(test.median)) || !near(sum, float64(test.mean)) || all[0] < 0 || all[draws-1] > test.most {
			t.Errorf("%+v: median %v, mean %v, from %v to %v", test.jitter, all[draws/2], time.Duration(sum), all[0], all[draws-1])
		}
		if test.jitter.Shape == HeavyTailed && all[draws*999/1000] < 80*ms {
			t.Errorf("%+v: the tail is thin: %v", test.jitter, all[draws*999/1000])
		}
	}
}

func TestLinkPasses(t *testing.T) {
	r := testRandom(2)
	l := Link{Loss: 0.33, Up: down(time.Hour, 2*time.Hour)}
	count := 0
	for range 10_000 {
		if l.passes(0, r) {
			count++
		}
		if l.passes(time.Hour, r) || l.passes(2*time.Hour-1, r) {
			t.Fatal("a packet got through where nothing does")
		}
	}
	if count < 6500 || count > 6900 {
		t.Errorf("%d of 10000 got through", count)
	}
	sure := Link{Up: l.Up}
	for range 100 {
		if !sure.passes(2*time.Hour, r) || !(&Link{}).passes(time.Hour, r) {
			t.Fatal("a packet was lost without a reason")
		}
	}
}

func TestRoutes(t *testing.T) {
	l := Link{Out: 1, Back: 2, Routes: []Route{{10, 3, 4}, {20, 5, 6}}}
	for at, want := range map[time.Duration][2]time.Duration{0: {1, 2}, 9: {1, 2}, 10: {3, 4}, 19: {3, 4}, 20: {5, 6}, 30: {5, 6}} {
		if out, back := l.delays(at); out != want[0] || back != want[1] {
			t.Errorf("at %d: %d and %d", at, out, back)
		}
	}
}

// TestQueue compares the heap with a sorted list.
func TestQueue(t *testing.T) {
	r := testRandom(3)
	var q queue
	var list []event
	for i := range int32(3000) {
		if r.IntN(3) > 0 {
			e := event{at: int64(r.IntN(50)), a: i}
			q.push(e)
			list = append(list, e)
			slices.SortStableFunc(list, func(a, b event) int { return int(a.at - b.at) })
		} else if len(list) > 0 {
			if got := q.pop(); got.at != list[0].at || got.a != list[0].a {
				t.Fatalf("popped %+v, want %+v", got, list[0])
			}
			list = list[1:]
		}
	}
	if len(q.heap) != len(list) || len(list) < 500 {
		t.Errorf("%d left instead of %d", len(q.heap), len(list))
	}
}

// TestStreams demands that the random numbers of neighbours have nothing in common.
func TestStreams(t *testing.T) {
	seen := map[uint64]bool{}
	ones := 0
	for seed := range uint64(30) {
		for component := range 30 {
			for node := range 2 {
				x := stream(seed, node, component).Uint64()
				if seen[x] {
					t.Fatalf("seed %d, node %d, component %d: seen before", seed, node, component)
				}
				seen[x] = true
				ones += int(x & 1)
			}
		}
	}
	if ones < 820 || ones > 980 {
		t.Errorf("the lowest bit is set in %d of 1800", ones)
	}
}
