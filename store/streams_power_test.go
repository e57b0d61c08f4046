package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/truechimer/truechimer/hlc"
)

// blackout cuts the power at random steps of a load on the streams. It is an
// errorfs.Injector that injects nothing.
type blackout struct {
	mu   sync.Mutex
	disk *vfs.MemFS
	rng  *rand.Rand
	step int
	next int // the step of the next cut
	most int // cuts to make
	seen ledger
	cuts []streamsCut
	done chan struct{} // closed after the last cut
}

// streamsCut is the disk as it was found after a power cut, and what had been promised.
type streamsCut struct {
	step, percent int
	op            string
	disk          *vfs.MemFS
	seen          ledger
}

// ledger is what callers have been told, and what they have asked for.
type ledger struct {
	promised []Event // acknowledged, or delivered by a watch, or read
	tried    []Batch // with a key
	answered map[string]Receipt
	trimmed  uint64 // first sequence of "trimmed" after an acknowledged Trim
	deleted  uint64 // last sequence of "deleted" at an acknowledged Delete
	last     hlc.Timestamp
}

func (l *ledger) clone() ledger {
	c := *l
	c.promised, c.tried = slices.Clone(l.promised), slices.Clone(l.tried)
	c.answered = map[string]Receipt{}
	for k, r := range l.answered {
		c.answered[k] = r
	}
	return c
}

func (w *blackout) String() string { return "blackout" }

func (w *blackout) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileClose, errorfs.OpFilePreallocate, errorfs.OpFileFlush:
		return nil
	}
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.step++; w.step < w.next || len(w.cuts) == w.most {
		return nil
	}
	percent := []int{0, 50, 100}[w.rng.IntN(3)]
	w.cuts = append(w.cuts, streamsCut{
		step: w.step, percent: percent, op: fmt.Sprintf("op %d on %s", op.Kind, op.Path), seen: w.seen.clone(),
		disk: w.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: w.rng}),
	})
	if w.next += 1 + w.rng.IntN(40); len(w.cuts) == w.most {
		close(w.done)
	}
	return nil
}

// note writes down what somebody was told.
func (w *blackout) note(do func(l *ledger)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do(&w.seen)
}

// load is a life of the streams that lasts until the last cut.
func (w *blackout) load(t *testing.T, h *hand, life int, seed uint64) {
	st := openStreams(t, errorfs.Wrap(w.disk, w), h, StreamsOptions{Heartbeat: 5 * time.Millisecond})
	var all sync.WaitGroup
	for g := range 4 {
		rng := rand.New(rand.NewPCG(seed, uint64(g)))
		all.Go(func() { w.append(t, st, rng, fmt.Sprintf("life %d caller %d", life, g)) })
	}
	all.Go(func() { w.change(t, st, h) })
	watching, err := st.Watch(context.Background(), Selection{Prefix: "s/"}, Start{Oldest: true})
	if err != nil {
		t.Fatal(err)
	}
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for {
			d, err := watching.Next(context.Background())
			if errors.Is(err, ErrClosed) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			w.note(func(l *ledger) { l.promised = append(l.promised, d.Events...) })
		}
	})
	all.Wait()
	closeStreams(t, st)
	watcher.Wait()
}

// over reports whether there will be no more cuts.
func (w *blackout) over() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// append appends with keys, to one stream or to two at once.
func (w *blackout) append(t *testing.T, st *Streams, rng *rand.Rand, who string) {
	for n := 0; !w.over(); n++ {
		b := Batch{Key: fmt.Sprintf("%s event %d", who, n)}
		for k := range 1 + rng.IntN(3) {
			b.Entries = append(b.Entries, Entry{Stream: fmt.Sprintf("s/%d", rng.IntN(4)), Payload: fmt.Append(nil, b.Key, " entry ", k)})
		}
		w.note(func(l *ledger) { l.tried = append(l.tried, b) })
		r, err := st.Append(context.Background(), b)
		if err != nil {
			t.Errorf("%s: %v", b.Key, err)
			return
		}
		w.note(func(l *ledger) {
			l.answered[b.Key] = r
			for i, e := range b.Entries {
				l.promised = append(l.promised, Event{Stream: e.Stream, Sequence: r.Sequences[i], Timestamp: r.Timestamp + hlc.Timestamp(i), Payload: e.Payload})
			}
			l.last = max(l.last, r.Timestamp)
		})
	}
}

// change trims, deletes and creates again, and has the database write its tables.
func (w *blackout) change(t *testing.T, st *Streams, h *hand) {
	ctx := context.Background()
	for n := 0; !w.over(); n++ {
		h.move(20 * time.Millisecond) // so that ceilings are written in between
		appendMany(t, st, "trimmed", 3)
		r := appendOne(t, st, "deleted", "x")
		s, err := st.Trim(ctx, "trimmed", appendOne(t, st, "trimmed", "y").Sequences[0])
		if err != nil {
			t.Error(err)
			return
		}
		w.note(func(l *ledger) { l.trimmed = s.First })
		if n%3 == 0 {
			if _, err := st.Delete(ctx, "deleted"); err != nil {
				t.Error(err)
				return
			}
			w.note(func(l *ledger) { l.deleted = r.Sequences[0] })
		}
		if n%5 == 1 {
			if _, err := st.store.db.AsyncFlush(); err != nil {
				t.Error(err)
				return
			}
		}
	}
}

// TestStreamsPowerCut cuts the power 200 times, at random steps of a mixed load by several
// callers, with all, half or none of what was not synced kept. Each time the store opens
// again, and every event that was acknowledged, or that a watch delivered, is there with
// its sequence and its timestamp, no sequence is missing or was used twice (H15), no
// timestamp comes again (H7), and a repeated append leaves exactly one.
func TestStreamsPowerCut(t *testing.T) {
	leakFree(t)
	lives := 10
	if testing.Short() {
		lives = 2
	}
	rng := rand.New(rand.NewPCG(*seedFlag, 5))
	disk, h, seen, cuts := vfs.NewCrashableMem(), newHand(epoch0), ledger{}, 0
	closeStreams(t, openStreams(t, disk, h, StreamsOptions{}))
	for life := range lives {
		w := &blackout{disk: disk, rng: rand.New(rand.NewPCG(*seedFlag, rng.Uint64())), next: 1, most: 20, seen: seen, done: make(chan struct{})}
		w.seen.answered = map[string]Receipt{}
		w.load(t, h, life, rng.Uint64())
		if t.Failed() {
			t.Fatalf("seed %d, life %d", *seedFlag, life)
		}
		goOn := rng.IntN(len(w.cuts)) // the next life finds what this cut has left
		for i, c := range w.cuts {
			found := c.verify(t, h, rng)
			if t.Failed() {
				t.Fatalf("seed %d, life %d, cut at step %d (%s) that keeps %d%%", *seedFlag, life, c.step, c.op, c.percent)
			}
			if i == goOn {
				disk, seen = c.disk, found
			}
			cuts++
		}
	}
	t.Logf("%d power cuts, %d events at the end", cuts, len(seen.promised))
}

// verify opens what a cut has left, and returns what there is: a promise from now on.
func (c *streamsCut) verify(t *testing.T, h *hand, rng *rand.Rand) ledger {
	t.Helper()
	back := newHand(h.now() - int64(time.Minute)) // nothing but the disk keeps time up
	st, err := streamsOn(c.disk, "var/data", back, IssuerOptions{MaxLead: time.Hour}, StreamsOptions{})
	if err != nil {
		t.Error(err)
		return ledger{}
	}
	defer closeStreams(t, st)
	was := allOf(t, st)
	for _, e := range c.seen.promised {
		if got, ok := was.event(e.Stream, e.Sequence); !ok || got.Timestamp != e.Timestamp || string(got.Payload) != string(e.Payload) {
			t.Errorf("event %d of %q at %d was promised, and is %+v", e.Sequence, e.Stream, e.Timestamp, got)
			return ledger{}
		}
	}
	if s, err := st.Describe("trimmed"); c.seen.trimmed > 0 && (err != nil || s.First < c.seen.trimmed) {
		t.Errorf("trimmed to %d: %+v, %v", c.seen.trimmed, s, err)
	}
	if r := appendOne(t, st, "deleted", "again"); r.Sequences[0] <= c.seen.deleted || r.Timestamp <= was.last || r.Timestamp <= c.seen.last {
		t.Errorf("deleted at %d, goes on at %d; time goes on at %d after %d", c.seen.deleted, r.Sequences[0], r.Timestamp, c.seen.last)
	}
	c.repeat(t, st, rng)
	now := allOf(t, st)
	return ledger{promised: now.all, last: now.last}
}

// repeat repeats appends: all that had no answer, and some that had.
func (c *streamsCut) repeat(t *testing.T, st *Streams, rng *rand.Rand) {
	t.Helper()
	for _, b := range c.seen.tried {
		was, answered := c.seen.answered[b.Key]
		if answered && rng.IntN(10) > 0 {
			continue
		}
		r, err := st.Append(context.Background(), b)
		if err != nil || answered && (!r.Repeated || r.Timestamp != was.Timestamp || !slices.Equal(r.Sequences, was.Sequences)) {
			t.Errorf("%s repeated: %+v, %v; the first answer was %+v", b.Key, r, err, was)
			return
		}
	}
	count := map[string]int{}
	for _, e := range allOf(t, st).all {
		count[string(e.Payload)]++
	}
	for _, b := range c.seen.tried {
		for _, e := range b.Entries {
			if n := count[string(e.Payload)]; n != 1 {
				t.Errorf("%d events say %q", n, e.Payload)
			}
		}
	}
}

// found is what a store has in the streams under "s/".
type found struct {
	all   []Event
	index map[string][]Event
	last  hlc.Timestamp // of any stream
}

// allOf reads all streams under "s/", and fails the test when they are not gapless from
// their first event on, or when two events of the store have one timestamp.
func allOf(t *testing.T, st *Streams) found {
	t.Helper()
	f := found{index: map[string][]Event{}}
	list, err := st.List("", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	stamps := map[hlc.Timestamp]bool{}
	for _, s := range list {
		events := everything(t, st, s.Name)
		gapless(t, events, s.First)
		for _, e := range events {
			if stamps[e.Timestamp] {
				t.Fatalf("H1: two events at %d", e.Timestamp)
			}
			stamps[e.Timestamp] = true
		}
		f.last = max(f.last, s.LastTimestamp)
		if strings.HasPrefix(s.Name, "s/") {
			f.all, f.index[s.Name] = append(f.all, events...), events
		}
	}
	return f
}

// event returns an event of a stream that was never trimmed.
func (f *found) event(stream string, sequence uint64) (Event, bool) {
	if events := f.index[stream]; sequence >= 1 && sequence <= uint64(len(events)) {
		return events[sequence-1], true
	}
	return Event{}, false
}
