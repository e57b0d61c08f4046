package hlc

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// twin is the clock of the paper, figure 5, slow and plain: the parts l and c apart,
// under a mutex, one timestamp at a time. A full c carries into l. The bounds are looked
// at with the parts put together, and what fails them is not kept.
type twin struct {
	mu               sync.Mutex
	l, c             uint64 // of the last timestamp; l in ticks
	maxLead, ceiling uint64
}

type twinError string

func (e twinError) Error() string { return string(e) }

const (
	errTwinLead    twinError = "lead"
	errTwinCeiling twinError = "ceiling"
	errTwinCount   twinError = "count"
)

func (w *twin) issue(physical int64, remote Timestamp, n int) (Timestamp, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n < 1 || n > 65_536 {
		return 0, errTwinCount
	}
	pt := uint64(max(physical, 0)) / 1024
	if uint64(remote) > pt*1024+w.maxLead {
		return 0, errTwinLead
	}
	l, c := w.step(pt, uint64(remote)/1024, uint64(remote)%1024)
	first := l*1024 + c
	keepL, keepC := w.l, w.c
	w.l, w.c = l, c
	for range n - 1 {
		w.l, w.c = w.step(pt, 0, 0)
	}
	final := w.l*1024 + w.c
	if final > pt*1024+w.maxLead {
		w.l, w.c = keepL, keepC
		return 0, errTwinLead
	}
	if final >= w.ceiling {
		w.l, w.c = keepL, keepC
		return 0, errTwinCeiling
	}
	return Timestamp(first), nil
}

// step is "receive event of message (lm, cm)" of the paper; with (0, 0) it is "send or
// local event".
func (w *twin) step(pt, lm, cm uint64) (l, c uint64) {
	l = max(w.l, lm, pt)
	switch {
	case l == w.l && l == lm:
		c = max(w.c, cm) + 1
	case l == w.l:
		c = w.c + 1
	case l == lm:
		c = cm + 1
	}
	if c == 1024 {
		l, c = l+1, 0
	}
	return l, c
}

// TestTwin: the clock equals its twin on any operations.
func TestTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Far from zero, at zero, and where the signed half of the word ends.
		start := rapid.SampledFrom([]int64{noon, 0, 5000, math.MaxInt64 - int64(time.Second)}).Draw(t, "start")
		maxLead := rapid.SampledFrom([]time.Duration{Tick, 3*Tick + 7, 100 * time.Microsecond, time.Second}).Draw(t, "maxLead")
		physical := start
		last := Timestamp(start) + Timestamp(rapid.Int64Range(0, 5000).Draw(t, "last"))
		ceiling := last + Timestamp(rapid.Int64Range(0, 1_000_000).Draw(t, "ceiling"))
		fast, err := New(Options{Physical: func() int64 { return physical }, MaxLead: maxLead, Last: last, Ceiling: ceiling})
		if err != nil {
			t.Fatal(err)
		}
		slow := &twin{l: uint64(last) / 1024, c: uint64(last) % 1024, maxLead: uint64(maxLead), ceiling: uint64(ceiling)}
		same := func(got Timestamp, gotErr error, want Timestamp, wantErr error) {
			t.Helper()
			names := map[error]error{nil: nil, errTwinLead: ErrLead, errTwinCeiling: ErrCeiling, errTwinCount: ErrCount}
			if got != want || !errors.Is(gotErr, names[wantErr]) {
				t.Fatalf("clock %d, %v; twin %d, %v", uint64(got), gotErr, uint64(want), wantErr)
			}
			if twinLast := Timestamp(slow.l*1024 + slow.c); fast.Last() != twinLast {
				t.Fatalf("last: clock %d, twin %d", uint64(fast.Last()), uint64(twinLast))
			}
		}
		near := rapid.OneOf(
			rapid.Int64Range(-3000, 3000),
			rapid.Int64Range(-int64(time.Second)-2048, int64(time.Second)+2048),
			rapid.SampledFrom([]int64{-int64(maxLead) - 1, -int64(maxLead), int64(maxLead) - 1, int64(maxLead), int64(maxLead) + 1}),
		)
		t.Repeat(map[string]func(*rapid.T){
			"physical": func(t *rapid.T) {
				d := near.Draw(t, "by")
				if d > 0 && physical > math.MaxInt64-d {
					d = -d
				}
				physical += d
			},
			"now": func(t *rapid.T) {
				got, gotErr := fast.Now()
				want, wantErr := slow.issue(physical, 0, 1)
				same(got, gotErr, want, wantErr)
			},
			"nown": func(t *rapid.T) {
				n := rapid.OneOf(rapid.IntRange(-1, 10), rapid.IntRange(1000, 3000), rapid.IntRange(65_530, 65_540)).Draw(t, "n")
				got, gotErr := fast.NowN(n)
				want, wantErr := slow.issue(physical, 0, n)
				same(got, gotErr, want, wantErr)
			},
			"observe": func(t *rapid.T) {
				to := rapid.SampledFrom([]Timestamp{FromUnix(physical), fast.Last(), fast.Ceiling()}).Draw(t, "near")
				remote := Timestamp(max(0, int64(min(to, math.MaxInt64))+near.Draw(t, "by")))
				got, gotErr := fast.Observe(remote)
				want, wantErr := slow.issue(physical, remote, 1)
				same(got, gotErr, want, wantErr)
			},
			"observe any": func(t *rapid.T) {
				remote := Timestamp(rapid.Uint64().Draw(t, "remote"))
				got, gotErr := fast.Observe(remote)
				want, wantErr := slow.issue(physical, remote, 1)
				same(got, gotErr, want, wantErr)
			},
			"raise": func(t *rapid.T) {
				to := fast.Last() + Timestamp(rapid.Int64Range(-2000, 100_000).Draw(t, "by"))
				fast.Raise(to)
				slow.ceiling = max(slow.ceiling, uint64(to))
			},
			"reset": func(t *rapid.T) {
				last := FromUnix(physical) + Timestamp(rapid.Int64Range(0, 5000).Draw(t, "last"))
				ceiling := last + Timestamp(rapid.Int64Range(0, 100_000).Draw(t, "above"))
				fast.Reset(last, ceiling)
				slow.l, slow.c, slow.ceiling = uint64(last)/1024, uint64(last)%1024, uint64(ceiling)
			},
			"max lead": func(t *rapid.T) {
				d := rapid.SampledFrom([]time.Duration{Tick, 3*Tick + 7, time.Millisecond}).Draw(t, "d")
				if err := fast.SetMaxLead(d); err != nil {
					t.Fatal(err)
				}
				slow.maxLead = uint64(d)
			},
		})
	})
}

// node is one clock of the state machine below, with all that must hold of it.
type node struct {
	clock    *Clock
	physical int64
	seen     vector    // of its last event
	end      Timestamp // the greatest timestamp that it issued
	observed Timestamp // the greatest remote timestamp that it took
	behind   uint64
}

// vector is a vector clock: how many events of each node happened before.
type vector [4]int

func (v vector) before(w vector) bool {
	for i := range v {
		if v[i] > w[i] {
			return false
		}
	}
	return v != w
}

// event is a range of timestamps with the event that it stamps; a message carries it.
type event struct {
	first, last Timestamp
	at          vector
}

// TestNodes: a few nodes with clocks that are apart, run at different speeds and are set
// forward and back, and messages among them that are reordered and replayed. After each
// step every promise of the clocks holds, and what happened before has a smaller
// timestamp.
func TestNodes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const maxLead = time.Millisecond
		var nodes [len(vector{})]*node
		for i := range nodes {
			n := &node{physical: noon + rapid.Int64Range(-int64(maxLead), int64(maxLead)).Draw(t, fmt.Sprint("skew", i))}
			c, err := New(Options{Physical: func() int64 { return n.physical }, MaxLead: maxLead, Ceiling: FromUnix(n.physical) + Timestamp(maxLead)})
			if err != nil {
				t.Fatal(err)
			}
			n.clock = c
			nodes[i] = n
		}
		var events []event
		pick := func(t *rapid.T) (int, *node) {
			i := rapid.IntRange(0, len(nodes)-1).Draw(t, "node")
			return i, nodes[i]
		}
		// do performs one operation of n timestamps on node i and checks it.
		do := func(t *rapid.T, i, n int, message *event, op func() (Timestamp, error)) {
			w := nodes[i]
			before := stateOf(w.clock)
			first, err := op()
			last := first + Timestamp(n) - 1
			tick := FromUnix(w.physical)
			if err != nil {
				switch {
				case stateOf(w.clock) != before:
					t.Fatalf("H8: refused with %v, but went from %v to %v", err, before, stateOf(w.clock))
				case errors.Is(err, ErrLead):
					base := before.last
					if message != nil {
						base = max(base, message.last)
					}
					if max(tick, base+1)+Timestamp(n)-1 <= tick+Timestamp(maxLead) {
						t.Fatalf("H4: refused with %v without need", err)
					}
				case errors.Is(err, ErrCeiling):
					base := before.last
					if message != nil {
						base = max(base, message.last)
					}
					if max(tick, base+1)+Timestamp(n)-1 < before.ceiling {
						t.Fatalf("H5: refused with %v without need", err)
					}
				default:
					t.Fatal(err)
				}
				return
			}
			at := w.seen
			if message != nil {
				for k := range at {
					at[k] = max(at[k], message.at[k])
				}
				w.observed = max(w.observed, message.last)
			}
			at[i]++
			switch {
			case first <= w.end:
				t.Fatalf("H1: %v after %v", first, w.end)
			case first <= w.observed:
				t.Fatalf("H2: %v although %v was observed", first, w.observed)
			case first < tick:
				t.Fatalf("H3: %v at physical time %v", first, tick)
			case last.Sub(tick) > maxLead:
				t.Fatalf("H4: lead of %v", last.Sub(tick))
			case last >= w.clock.Ceiling():
				t.Fatalf("H5: %v under the ceiling %v", last, w.clock.Ceiling())
			case last < first:
				t.Fatalf("H9: %v to %v", first, last)
			case first > max(tick, w.end+1, w.observed+1):
				t.Fatalf("%v, further than needed", first)
			}
			if first.Sub(tick) >= Tick {
				w.behind++
			}
			if w.clock.Behind() != w.behind {
				t.Fatalf("H10: Behind = %d, want %d", w.clock.Behind(), w.behind)
			}
			w.end, w.seen = last, at
			e := event{first, last, at}
			for _, earlier := range events {
				if earlier.at.before(at) && earlier.last >= first {
					t.Fatalf("%v happened before %v, but not by its timestamp", earlier, e)
				}
			}
			events = append(events, e)
		}
		t.Repeat(map[string]func(*rapid.T){
			"now": func(t *rapid.T) {
				i, n := pick(t)
				do(t, i, 1, nil, n.clock.Now)
			},
			"nown": func(t *rapid.T) {
				i, n := pick(t)
				count := rapid.IntRange(1, 3000).Draw(t, "count")
				do(t, i, count, nil, func() (Timestamp, error) { return n.clock.NowN(count) })
			},
			"receive": func(t *rapid.T) { // any message, in any order, as often as it likes
				if len(events) == 0 {
					t.Skip("no message yet")
				}
				i, n := pick(t)
				m := rapid.SampledFrom(events).Draw(t, "message")
				do(t, i, 1, &m, func() (Timestamp, error) { return n.clock.Observe(m.last) })
			},
			"stray": func(t *rapid.T) { // a timestamp that no node issued
				i, n := pick(t)
				m := event{last: FromUnix(n.physical) + Timestamp(rapid.Int64Range(0, 2*int64(maxLead)).Draw(t, "ahead"))}
				do(t, i, 1, &m, func() (Timestamp, error) { return n.clock.Observe(m.last) })
			},
			"time": func(t *rapid.T) {
				d := rapid.Int64Range(0, 100_000).Draw(t, "passes")
				for i, n := range nodes {
					n.physical += d + d*int64(i-2)/1000
				}
			},
			"step": func(t *rapid.T) {
				_, n := pick(t)
				n.physical += rapid.Int64Range(-int64(maxLead), int64(maxLead)).Draw(t, "by")
			},
			"raise": func(t *rapid.T) {
				_, n := pick(t)
				before := n.clock.Ceiling()
				to := FromUnix(n.physical) + Timestamp(rapid.Int64Range(0, 2*int64(maxLead)).Draw(t, "above"))
				n.clock.Raise(to)
				if got := n.clock.Ceiling(); got != max(before, to) {
					t.Fatalf("Raise(%v) brought the ceiling from %v to %v", to, before, got)
				}
			},
		})
	})
}
