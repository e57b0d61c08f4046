package store

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// TestAnswerIsClosed: who has been answered finds its event in a cut of the present, however
// many watchers the committer has to tell.
func TestAnswerIsClosed(t *testing.T) {
	leakFree(t)
	st, _ := memStreams(t, StreamsOptions{})
	ctx := context.Background()
	for range 200 {
		watchFrom(t, st, Selection{Names: []string{"s"}}, Start{Oldest: true})
	}
	for n := range 2000 {
		r := appendOne(t, st, "s", "x")
		if closed := st.Closed(); closed < r.Timestamp {
			t.Fatalf("append %d: closed at %d, answered %d", n, closed, r.Timestamp)
		}
		if n%100 != 0 {
			continue
		}
		cut, err := st.Cut(ctx, 0, Selection{}, "")
		if err != nil || len(cut.Streams) != 1 || cut.Streams[0].Last != r.Sequences[0] {
			t.Fatalf("append %d: %+v, %v", n, cut, err)
		}
	}
}

// TestCutOfThePresent: after a rebase of a store in which nothing happens, the present is
// that of the new timeline.
func TestCutOfThePresent(t *testing.T) {
	leakFree(t)
	st, h := memStreams(t, StreamsOptions{})
	h.move(time.Second)
	appendOne(t, st, "s", "x")
	h.move(-time.Hour)
	for range 2 { // both before the committer hears of one
		if _, err := st.issuer.Rebase(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	cut, err := st.Cut(ctx, 0, Selection{}, "")
	if err != nil || int64(cut.Timestamp) > h.now()+int64(time.Millisecond) {
		t.Fatalf("%+v, %v at %d", cut, err, h.now())
	}
	if timeline, want := st.timeline.Load(), st.issuer.Status().Rebases; timeline != want {
		t.Fatalf("timeline %d after %d rebases", timeline, want)
	}
}

// TestLargeBatchIsCounted: a batch that is too large for a memtable counts as pressure too.
func TestLargeBatchIsCounted(t *testing.T) {
	leakFree(t)
	st, _ := memStreams(t, StreamsOptions{})
	var b Batch
	for n := range BatchLenMax / PayloadLenMax {
		b.Entries = append(b.Entries, Entry{Stream: fmt.Sprint("s", n), Payload: make([]byte, PayloadLenMax)})
	}
	if _, err := st.Append(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if st.committer.unlooked < BatchLenMax {
		t.Fatalf("%d bytes counted of %d", st.committer.unlooked, BatchLenMax)
	}
}
