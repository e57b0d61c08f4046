package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/truechimer/truechimer/hlc"
)

// openStreams returns the streams of a store on fs, by a clock that stands still unless it
// is moved. Retention runs when a test calls for it, unless o says else.
func openStreams(t testing.TB, fs vfs.FS, h *hand, o StreamsOptions) *Streams {
	t.Helper()
	st, err := streamsOn(fs, "var/data", h, IssuerOptions{}, o)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// streamsOn opens a store, an issuer and streams.
func streamsOn(fs vfs.FS, dir string, h *hand, io IssuerOptions, o StreamsOptions) (*Streams, error) {
	s, err := Open(dir, Options{Node: 7, fs: fs})
	if err != nil {
		return nil, err
	}
	io.Physical, io.Bound = h.now, h.bound
	i, err := NewIssuer(s, io)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if o.RetentionEvery == 0 {
		o.RetentionEvery = -1
	}
	if err := i.Start(); err != nil {
		return nil, errors.Join(err, i.Close(), s.Close())
	}
	st, err := NewStreams(s, i, o)
	if err != nil {
		return nil, errors.Join(err, i.Close(), s.Close())
	}
	return st, nil
}

// shut closes the streams, their issuer and their store.
func (t *Streams) shut() error {
	return errors.Join(t.Close(), t.issuer.Close(), t.store.Close())
}

// closeStreams closes everything that openStreams opened.
func closeStreams(t testing.TB, st *Streams) {
	t.Helper()
	if err := st.shut(); err != nil {
		t.Error(err)
	}
}

// memStreams returns the streams of a new store in memory, closed when the test ends.
func memStreams(t testing.TB, o StreamsOptions) (*Streams, *hand) {
	t.Helper()
	h := newHand(epoch0)
	st := openStreams(t, vfs.NewMem(), h, o)
	t.Cleanup(func() { closeStreams(t, st) })
	return st, h
}

// single is a batch of one event.
func single(stream, payload string) Batch {
	return Batch{Entries: []Entry{{Stream: stream, Payload: []byte(payload)}}}
}

// appendOne appends an event or ends the test.
func appendOne(t testing.TB, st *Streams, stream, payload string) Receipt {
	t.Helper()
	r, err := st.Append(context.Background(), single(stream, payload))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// appendMany appends n events, 0, 1, 2, ..., in batches.
func appendMany(t testing.TB, st *Streams, stream string, n int) {
	t.Helper()
	for from := 0; from < n; from += BatchEventsMax {
		var b Batch
		for k := from; k < min(n, from+BatchEventsMax); k++ {
			b.Entries = append(b.Entries, Entry{Stream: stream, Payload: fmt.Append(nil, k)})
		}
		if _, err := st.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
}

// everything reads all events of a stream that are left, or ends the test.
func everything(t testing.TB, st *Streams, stream string) []Event {
	t.Helper()
	var all []Event
	q := Query{}
	for {
		p, err := st.Read(context.Background(), stream, q)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p.Events...)
		if q.Cursor = p.Cursor; q.Cursor == "" {
			return all
		}
	}
}

// gapless fails the test unless the events are those of one stream from a sequence on, in
// the order of their timestamps. It returns the last timestamp.
func gapless(t testing.TB, events []Event, first uint64) (last hlc.Timestamp) {
	t.Helper()
	for i, e := range events {
		if e.Sequence != first+uint64(i) || e.Stream != events[0].Stream || e.Timestamp <= last {
			t.Fatalf("H15: event %d of %q at %d follows %d events from %d up to %d", e.Sequence, e.Stream, e.Timestamp, i, first, last)
		}
		last = e.Timestamp
	}
	return last
}
