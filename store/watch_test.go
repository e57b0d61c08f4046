package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/truechimer/truechimer/hlc"
)

// takeEvents pulls deliveries until n events have come, or the watch ends.
func takeEvents(w *Watcher, n int) (events []Event, cursor string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for len(events) < n {
		d, err := w.Next(ctx)
		if err != nil {
			return events, cursor, err
		}
		events, cursor = append(events, d.Events...), d.Cursor
	}
	return events, cursor, nil
}

// watchFrom begins a watch or ends the test.
func watchFrom(t testing.TB, st *Streams, sel Selection, from Start) *Watcher {
	t.Helper()
	w, err := st.Watch(context.Background(), sel, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// TestWatch1000 has a thousand watch a busy stream, beside one who never takes anything.
// All get every event, in order; the one who stands still costs no memory and no time.
func TestWatch1000(t *testing.T) {
	leakFree(t)
	events := 1000
	if testing.Short() {
		events = 100
	}
	st := openStreams(t, vfs.NewMem(), newHand(epoch0), StreamsOptions{})
	defer closeStreams(t, st)
	asleep := watchFrom(t, st, Selection{Prefix: "busy"}, Start{})
	var all sync.WaitGroup
	for n := range 1000 {
		sel := Selection{Names: []string{"busy"}}
		if n%2 == 0 {
			sel = Selection{Prefix: "bus"}
		}
		w := watchFrom(t, st, sel, Start{})
		all.Go(func() {
			got, _, err := takeEvents(w, events)
			if err != nil || len(got) != events {
				t.Errorf("watcher %d: %d events, %v", n, len(got), err)
				return
			}
			gapless(t, got, 1)
		})
	}
	for range 4 {
		all.Go(func() {
			for range events / 4 {
				if _, err := st.Append(context.Background(), single("busy", "x")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if n := len(asleep.sub.fresh); n != 1 || len(asleep.lanes) > 0 || asleep.held > 0 {
		t.Errorf("one who takes nothing keeps %d notes, %d lanes and %d bytes", n, len(asleep.lanes), asleep.held)
	}
	if got, _, err := takeEvents(asleep, events); err != nil || len(got) != events {
		t.Errorf("waking up late gives %d events, %v", len(got), err)
	}
	if s := st.Status(); s.Watchers != 1001 || s.Delivered != uint64(1001*events) {
		t.Errorf("%d watchers, %d delivered", s.Watchers, s.Delivered)
	}
}

// TestWatchOverflow changes more streams than a watcher keeps in mind. It looks at all of
// them then, and gets every event once, in the order of their timestamps.
func TestWatchOverflow(t *testing.T) {
	leakFree(t)
	st := openStreams(t, vfs.NewMem(), newHand(epoch0), StreamsOptions{})
	defer closeStreams(t, st)
	const streams = freshMax + freshMax/4
	w := watchFrom(t, st, Selection{Prefix: "p/"}, Start{})
	if _, err := w.deliver(t.Context()); err != nil { // its first look is behind it
		t.Fatal(err)
	}
	rounds := 2
	if testing.Short() {
		rounds = 1
	}
	for round := range rounds {
		for from := 0; from < streams; from += 5000 {
			var b Batch
			for n := from; n < min(from+5000, streams); n++ {
				b.Entries = append(b.Entries, Entry{Stream: fmt.Sprintf("p/%d", n)}, Entry{Stream: "other"})
			}
			if _, err := st.Append(context.Background(), b); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(w.sub.fresh); !w.sub.all || n > 0 {
			t.Fatalf("%d notes, all %v", n, w.sub.all)
		}
		got, _, err := takeEvents(w, streams)
		if err != nil || len(got) != streams {
			t.Fatalf("%d events, %v", len(got), err)
		}
		last := hlc.Timestamp(0)
		for n, e := range got {
			if e.Stream != fmt.Sprintf("p/%d", n) || e.Sequence != uint64(round+1) || e.Timestamp <= last {
				t.Fatalf("event %d is %+v after %d", n, e, last)
			}
			last = e.Timestamp
		}
	}
	if d, err := w.deliver(t.Context()); err != nil || len(d.Events) > 0 || w.held > 0 {
		t.Errorf("and %+v, %v", d, err)
	}
}

// TestWatchPlaces begins watches in all places, on streams that exist and that do not yet.
func TestWatchPlaces(t *testing.T) {
	leakFree(t)
	st, h := memStreams(t, StreamsOptions{Heartbeat: time.Millisecond})
	ctx := context.Background()
	appendMany(t, st, "s", 5)
	third := everything(t, st, "s")[2]
	later := hlc.FromUnix(h.now() + int64(time.Second))
	if _, err := st.Trim(ctx, "s", 2); err != nil {
		t.Fatal(err)
	}
	s := Selection{Names: []string{"s"}}
	watches := map[string]struct {
		w    *Watcher
		want []uint64 // of the first seven sequences
	}{
		"sequence":       {watchFrom(t, st, s, Start{Sequence: 4}), []uint64{4, 5, 6, 7}},
		"first left":     {watchFrom(t, st, s, Start{Sequence: 2}), []uint64{2, 3, 4, 5, 6, 7}},
		"next":           {watchFrom(t, st, s, Start{Sequence: 6}), []uint64{6, 7}},
		"oldest":         {watchFrom(t, st, s, Start{Oldest: true}), []uint64{2, 3, 4, 5, 6, 7}},
		"time":           {watchFrom(t, st, s, Start{Time: third.Timestamp}), []uint64{3, 4, 5, 6, 7}},
		"behind a time":  {watchFrom(t, st, s, Start{Time: third.Timestamp + 1}), []uint64{4, 5, 6, 7}},
		"now":            {watchFrom(t, st, s, Start{}), []uint64{6, 7}},
		"twice named":    {watchFrom(t, st, Selection{Names: []string{"s", "s"}}, Start{}), []uint64{6, 7}},
		"a time to come": {watchFrom(t, st, s, Start{Time: later}), []uint64{7}},
		"of all":         {watchFrom(t, st, Selection{Names: []string{}}, Start{}), []uint64{6, 7}},
	}
	unborn := watchFrom(t, st, Selection{Names: []string{"new"}}, Start{Sequence: 1})
	appendOne(t, st, "s", "before the time to come")
	h.move(time.Second)
	appendOne(t, st, "s", "the time has come")
	for name, w := range watches {
		events, _, err := takeEvents(w.w, len(w.want))
		var got []uint64
		for _, e := range events {
			got = append(got, e.Sequence)
		}
		if err != nil || !slices.Equal(got, w.want) {
			t.Errorf("%s: %v, %v (want %v)", name, got, err, w.want)
		}
	}
	appendOne(t, st, "new", "born")
	if events, _, err := takeEvents(unborn, 1); err != nil || events[0].Sequence != 1 {
		t.Errorf("%+v, %v", events, err)
	}
}

// TestWatchEnds ends watches in all ways there are.
func TestWatchEnds(t *testing.T) {
	leakFree(t)
	st, h := memStreams(t, StreamsOptions{Heartbeat: time.Millisecond})
	ctx := context.Background()
	appendMany(t, st, "a/1", 5)
	appendMany(t, st, "a/2", 5)
	named := watchFrom(t, st, Selection{Names: []string{"a/1"}}, Start{Oldest: true})
	prefix := watchFrom(t, st, Selection{Prefix: "a/"}, Start{Oldest: true})
	behind := watchFrom(t, st, Selection{Names: []string{"a/2"}}, Start{Sequence: 1})
	given := watchFrom(t, st, Selection{}, Start{})
	for _, w := range []*Watcher{named, prefix} {
		if _, err := w.Next(ctx); err != nil {
			t.Fatal(err)
		}
	}
	_, cursor, err := takeEvents(watchFrom(t, st, Selection{Names: []string{"a/1", "a/2"}}, Start{Oldest: true}), 10)
	if err != nil {
		t.Fatal(err)
	}
	appendOne(t, st, "a/1", "x")
	if _, err := st.Delete(ctx, "a/1"); err != nil {
		t.Fatal(err)
	}
	if d, err := named.Next(ctx); !errors.Is(err, ErrNoStream) {
		t.Errorf("a stream that was named is deleted: %+v, %v", d, err)
	}
	// What was deleted undelivered is not left out in silence where it was named.
	if d, err := watchFrom(t, st, Selection{Names: []string{"a/1", "a/2"}}, Start{Cursor: cursor}).Next(ctx); !errors.Is(err, ErrNoStream) {
		t.Errorf("resumed over a deleted stream: %+v, %v", d, err)
	}
	appendOne(t, st, "a/2", "y")
	if events, _, err := takeEvents(prefix, 1); err != nil || string(events[0].Payload) != "y" {
		t.Errorf("a stream of the prefix is deleted: %+v, %v", events, err)
	}
	if _, err := st.Trim(ctx, "a/2", 3); err != nil {
		t.Fatal(err)
	}
	var trimmed *TrimmedError
	if d, err := behind.Next(ctx); !errors.As(err, &trimmed) || trimmed.First != 3 || trimmed.Stream != "a/2" {
		t.Errorf("trimmed before it was delivered: %+v, %v", d, err)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if d, err := prefix.Next(over); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %+v, %v", d, err)
	}
	given.Close()
	given.Close()
	if d, err := given.Next(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %+v, %v", d, err)
	}
	h.move(-time.Second)
	if _, err := st.issuer.Rebase(); err != nil {
		t.Fatal(err)
	}
	if d, err := prefix.Next(ctx); !errors.Is(err, ErrTimeline) {
		t.Errorf("rebased: %+v, %v", d, err)
	}
	if _, err := st.Watch(ctx, Selection{}, Start{Cursor: cursor}); !errors.Is(err, ErrCursor) || !errors.Is(err, ErrTimeline) {
		t.Errorf("a cursor from before a rebase: %v", err)
	}
}

// TestWatchStress has watchers of all streams and of some take while many append, in
// deliveries that are cut off and resumed: every event comes once, in the order of the
// timestamps, and no other than those that are there.
func TestWatchStress(t *testing.T) {
	leakFree(t)
	st := openStreams(t, vfs.NewMem(), newHand(epoch0), StreamsOptions{Heartbeat: time.Millisecond})
	defer closeStreams(t, st)
	const streams, each = 8, 400
	var all sync.WaitGroup
	for n := range 12 {
		all.Go(func() {
			from, last, count, want := Start{Oldest: true}, hlc.Timestamp(0), map[string]uint64{}, streams*each
			sel := Selection{Prefix: "s/"}
			if n%3 == 0 {
				sel, want = Selection{Names: []string{"s/1", "s/2"}}, 2*each
			}
			for got := 0; got < want; {
				w, err := st.Watch(context.Background(), sel, from)
				if err != nil {
					t.Error(err)
					return
				}
				for range 1 + n*5 {
					d, err := w.Next(context.Background())
					if err != nil {
						t.Error(err)
						return
					}
					for _, e := range d.Events {
						if count[e.Stream]++; e.Sequence != count[e.Stream] || e.Timestamp <= last {
							t.Errorf("event %d of %s at %d follows %d events up to %d", e.Sequence, e.Stream, e.Timestamp, count[e.Stream], last)
							return
						}
						last = e.Timestamp
					}
					got += len(d.Events)
					from = Start{Cursor: d.Cursor}
				}
				w.Close()
			}
		})
	}
	for n := range streams {
		all.Go(func() {
			for range each {
				if _, err := st.Append(context.Background(), single(fmt.Sprintf("s/%d", n), "x")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// TestWatchersMax begins as many watches as there can be, and one more.
func TestWatchersMax(t *testing.T) {
	leakFree(t)
	st, _ := memStreams(t, StreamsOptions{})
	for range WatchersMax {
		watchFrom(t, st, Selection{}, Start{Oldest: true})
	}
	w, err := st.Watch(context.Background(), Selection{}, Start{})
	if !errors.Is(err, ErrWatchers) {
		t.Fatalf("%v, %v", w, err)
	}
}

// TestWatchTies has events of one timestamp in two streams, one from before a rebase and
// one from after, where a delivery is full. They come together, so that the cursor behind
// them loses none.
func TestWatchTies(t *testing.T) {
	leakFree(t)
	st, _ := memStreams(t, StreamsOptions{Heartbeat: time.Millisecond})
	ctx := context.Background()
	appendMany(t, st, "a", deliveryEvents+5)
	tied := everything(t, st, "a")[deliveryEvents-1].Timestamp
	if _, err := st.issuer.Rebase(); err != nil {
		t.Fatal(err)
	}
	b := single("b", "x")
	b.Observe = tied - 1
	if r, err := st.Append(ctx, b); err != nil || r.Timestamp != tied {
		t.Fatalf("%+v, %v (want %d)", r, err, tied)
	}
	b.Observe += 100
	if _, err := st.Append(ctx, b); err != nil {
		t.Fatal(err)
	}
	d, err := watchFrom(t, st, Selection{}, Start{Oldest: true}).Next(ctx)
	if err != nil || len(d.Events) != deliveryEvents+1 || d.Closed != tied {
		t.Fatalf("%d events up to %d, %v", len(d.Events), d.Closed, err)
	}
	rest, _, err := takeEvents(watchFrom(t, st, Selection{}, Start{Cursor: d.Cursor}), 6)
	if err != nil || len(rest) != 6 || rest[0].Timestamp != tied+1 {
		t.Fatalf("%+v, %v", rest, err)
	}
}

// TestWatchCursorAtBegin: before its first delivery a watch has a cursor unless its Start holds for
// ever, and what was appended since it began comes behind that cursor.
func TestWatchCursorAtBegin(t *testing.T) {
	leakFree(t)
	st, _ := memStreams(t, StreamsOptions{})
	appendMany(t, st, "s", 3)
	s := Selection{Names: []string{"s"}}
	for name, start := range map[string]Start{"oldest": {Oldest: true}, "time": {Time: 1}} {
		if c := watchFrom(t, st, s, start).Cursor(); c != "" {
			t.Errorf("%s: cursor %q", name, c)
		}
	}
	now, third := watchFrom(t, st, s, Start{}).Cursor(), watchFrom(t, st, s, Start{Sequence: 3}).Cursor()
	appendMany(t, st, "s", 1)
	for cursor, want := range map[string]uint64{now: 4, third: 3} {
		d, err := watchFrom(t, st, s, Start{Cursor: cursor}).Next(t.Context())
		if err != nil || len(d.Events) == 0 || d.Events[0].Sequence != want {
			t.Errorf("want %d, got %v, %v", want, d, err)
		}
	}
}
