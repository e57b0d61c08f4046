package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

// manyStreams appends one event to each of n streams.
func manyStreams(t testing.TB, st *Streams, n int, payload string) {
	t.Helper()
	for from := 0; from < n; from += BatchEventsMax {
		var b Batch
		for k := from; k < min(n, from+BatchEventsMax); k++ {
			b.Entries = append(b.Entries, Entry{Stream: fmt.Sprintf("s/%06d", k), Payload: []byte(payload)})
		}
		if _, err := st.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHeld: a watcher of many streams reads ahead of few, and knows of how many.
func TestHeld(t *testing.T) {
	leakFree(t)
	st, _ := memStreams(t, StreamsOptions{})
	manyStreams(t, st, 20_000, "x")
	w := watchFrom(t, st, Selection{}, Start{Oldest: true})
	for left := 20_000; left > 0; {
		d, err := w.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		left -= len(d.Events)
		held, events := 0, 0
		for _, l := range w.lanes {
			for i := range l.ahead {
				held, events = held+len(l.ahead[i].Payload)+eventWeight, events+1
			}
		}
		if held != w.held || events > aheadLen/eventWeight {
			t.Fatalf("%d events of %d bytes are held, %d are counted", events, held, w.held)
		}
	}
	if w.held != 0 {
		t.Fatalf("%d bytes are held of nothing", w.held)
	}
}

// TestOldestOfWhatIsLeft: a watch that begins with the oldest does not miss what was removed
// of a stream before it came to that, but what was removed after.
func TestOldestOfWhatIsLeft(t *testing.T) {
	leakFree(t)
	st, _ := memStreams(t, StreamsOptions{})
	ctx := context.Background()
	const n = 3000
	manyStreams(t, st, n, strings.Repeat("x", 600))
	manyStreams(t, st, n, "y")
	w := watchFrom(t, st, Selection{}, Start{Oldest: true})
	first, err := w.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("s/%06d", n-100)
	if _, err := st.Trim(ctx, name, 2); err != nil {
		t.Fatal(err)
	}
	rest, _, err := takeEvents(w, 2*n-1-len(first.Events))
	if err != nil {
		t.Fatal(err)
	}
	before := hlc.Timestamp(0)
	for _, e := range append(first.Events, rest...) {
		if e.Timestamp <= before || e.Stream == name && e.Sequence == 1 {
			t.Fatalf("%+v after %d", e, before)
		}
		before = e.Timestamp
	}
}

// TestOldestThenTrimmed: what is removed behind an event that was delivered is missed.
func TestOldestThenTrimmed(t *testing.T) {
	leakFree(t)
	st, _ := memStreams(t, StreamsOptions{})
	appendMany(t, st, "s", 3*deliveryEvents)
	w := watchFrom(t, st, Selection{}, Start{Oldest: true})
	first, err := w.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Trim(context.Background(), "s", 3*deliveryEvents); err != nil {
		t.Fatal(err)
	}
	rest, _, err := takeEvents(w, 3*deliveryEvents-len(first.Events))
	var trimmed *TrimmedError
	if !errors.As(err, &trimmed) || trimmed.First != 3*deliveryEvents {
		t.Fatalf("%d events and then %v", len(first.Events)+len(rest), err)
	}
}

// TestWatchLooksAgain: a look at all streams that was broken off is made again.
func TestWatchLooksAgain(t *testing.T) {
	leakFree(t)
	st, _ := memStreams(t, StreamsOptions{})
	manyStreams(t, st, 100, "x")
	w := watchFrom(t, st, Selection{Prefix: "s/"}, Start{Oldest: true})
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.Next(gone); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	events, _, err := takeEvents(w, 100)
	if err != nil || len(events) != 100 {
		t.Fatalf("%d events, %v", len(events), err)
	}
}

// TestWatchInTheFuture: what has not come yet is not closed.
func TestWatchInTheFuture(t *testing.T) {
	leakFree(t)
	st, _ := memStreams(t, StreamsOptions{Heartbeat: time.Millisecond})
	appendOne(t, st, "s", "x")
	d, err := watchFrom(t, st, Selection{}, Start{Time: hlc.Max}).Next(context.Background())
	if err != nil || len(d.Events) > 0 || d.Closed > st.Closed() {
		t.Fatalf("%+v, %v, closed at %d", d, err, st.Closed())
	}
}

// TestWatchFromTheStart of a stream that was deleted, whose first events are gone for good.
func TestWatchFromTheStart(t *testing.T) {
	leakFree(t)
	st, _ := memStreams(t, StreamsOptions{})
	ctx := context.Background()
	appendMany(t, st, "s", 10)
	if _, err := st.Delete(ctx, "s"); err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{"deleted", "created again"} {
		_, err := st.Watch(ctx, Selection{Names: []string{"s"}}, Start{Sequence: 1})
		var trimmed *TrimmedError
		if !errors.As(err, &trimmed) || trimmed.First != 11 {
			t.Fatalf("%s: %v", state, err)
		}
		if state == "deleted" {
			appendOne(t, st, "s", "x")
		}
	}
	events, _, err := takeEvents(watchFrom(t, st, Selection{Names: []string{"s"}}, Start{Sequence: 11}), 1)
	if err != nil || events[0].Sequence != 11 {
		t.Fatalf("%+v, %v", events, err)
	}
}
