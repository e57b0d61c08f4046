package store

// A watch delivers the events of some streams as they are committed, in the order of their
// timestamps, each exactly once.
//
// The problem. A watcher may name one stream or all, may be a second behind or a week, may
// read fast or not at all, and must neither lose an event nor get one twice when its
// connection breaks. It must cost the committer nothing but a note, and hold no events
// in memory that it has not asked for.
//
// The idea. Watchers pull. The committer tells a watcher only *that* streams of its have
// something new; what it is the watcher reads from the database, as much as it can take. And as
// commit order is timestamp order, all that a watcher has to remember is one timestamp: everything
// up to it has been delivered. That is its cursor, whichever streams it watches.
//
// It goes in rounds. A round takes the closed timestamp, and which streams have something
// new since the last round (at the start, and when it has lost count: looks at all of its
// streams). Their events up to that timestamp are merged by a heap, with a few events of each
// in memory, and handed out in deliveries. What was committed after the closed timestamp
// was taken is left for the next round: so the order holds over all of its streams.
//
// The committer publishes heads, then notes, then the closed timestamp. A round reads them
// in the opposite order, so it has a note of every stream that has an event up to
// its timestamp.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

const (
	// deliveryEvents and deliveryLen are where a delivery ends.
	deliveryEvents = 1024
	deliveryLen    = 1 << 20
	// aheadLen is how many bytes of payloads are read ahead, of all streams together.
	aheadLen = 256 << 10
)

// Watcher delivers the events of some streams. One goroutine at a time uses it, but Close
// may be called by any.
type Watcher struct {
	t        *Streams
	sub      *subscriber
	timeline uint64
	closing  chan struct{}
	close    sync.Once

	// Everything up to at was delivered. The lanes are the streams that have more, the one
	// whose next event has the least timestamp on top; what is above upto is for the next round.
	at, upto hlc.Timestamp
	lanes    lanes
	byName   map[string]*lane
	held     int  // bytes of the events that were read ahead
	strict   bool // what was removed before it was delivered is missed
	look     bool // nobody knows which streams have something
}

// Watch returns a watcher of the selected streams, which may not exist yet. The caller
// closes it. It fails with ErrName, ErrRange, ErrCursor, ErrWatchers, ErrFenced and ErrClosed, and where
// it is to begin with a sequence: with ErrNoStream, ErrTrimmed, and ErrRange when that is not even
// the next one.
func (t *Streams) Watch(ctx context.Context, sel Selection, from Start) (*Watcher, error) {
	if err := sel.check(); err != nil {
		return nil, err
	}
	w := &Watcher{
		t: t, closing: make(chan struct{}), byName: make(map[string]*lane), look: true,
		sub: &subscriber{names: sel.sorted(), prefix: sel.Prefix, wake: make(chan struct{}, 1)},
	}
	// First it is told of what is new, then it looks where things are: nothing falls between.
	if err := t.watchers.add(w.sub); err != nil {
		return nil, err
	}
	w.timeline = t.timeline.Load()
	if err := w.begin(ctx, from); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// check fails with ErrName and ErrRange.
func (s Selection) check() error {
	if len(s.Names) > NamesMax {
		return fmt.Errorf("%w: %d streams named (at most %d); select them by a prefix", ErrRange, len(s.Names), NamesMax)
	}
	if len(s.Names) > 0 && s.Prefix != "" {
		return fmt.Errorf("%w: both names and the prefix %q", ErrRange, s.Prefix)
	}
	for _, name := range s.Names {
		if err := CheckName(name); err != nil {
			return err
		}
	}
	return checkPrefix(s.Prefix)
}

// sorted returns the names in order, each once; nil where there are none.
func (s Selection) sorted() []string {
	if len(s.Names) == 0 {
		return nil
	}
	names := slices.Clone(s.Names)
	slices.Sort(names)
	return slices.Compact(names)
}

// begin finds the timestamp to begin behind.
func (w *Watcher) begin(ctx context.Context, from Start) error {
	set := 0
	for _, is := range []bool{from.Sequence != 0, from.Oldest, from.Time != 0, from.Cursor != ""} {
		if is {
			set++
		}
	}
	switch {
	case set > 1:
		return fmt.Errorf("%w: a watch begins at one place: a sequence, the oldest event, a time, or a cursor", ErrRange)
	case from.Sequence != 0:
		return w.beginAt(from.Sequence)
	case from.Oldest:
		return nil
	case from.Time != 0:
		w.at = from.Time - 1
		return nil
	case from.Cursor != "":
		c, err := w.t.parseWatchCursor(from.Cursor)
		if err != nil {
			return err
		}
		if c.timeline != w.timeline {
			return fmt.Errorf("%w: %w", ErrCursor, ErrTimeline)
		}
		w.at, w.strict = c.at, true
		return nil
	}
	// With what is appended from now on: all that was answered before this call is no part.
	// Before the issuer's Start nothing can have been.
	if err := w.t.advance(ctx); err != nil && !errors.Is(err, ErrNotStarted) {
		return err
	}
	w.timeline, w.strict = w.t.timeline.Load(), true
	w.at = w.t.Closed()
	return nil
}

// beginAt begins with a sequence of the one stream.
func (w *Watcher) beginAt(sequence uint64) error {
	if len(w.sub.names) != 1 {
		return fmt.Errorf("%w: a sequence is of one stream, and %d are named; begin at a time", ErrRange, len(w.sub.names))
	}
	w.strict = true
	name := w.sub.names[0]
	page, err := w.t.Read(w.t.ctx, name, Query{From: max(sequence-1, 1), Limit: 1})
	var trimmed *TrimmedError
	switch {
	case errors.Is(err, ErrNoStream) && sequence == 1:
		return w.beginBehind(name, sequence) // it begins when the stream does
	case errors.As(err, &trimmed) && trimmed.First == sequence:
		return w.beginBehind(name, sequence)
	case err != nil:
		return err
	case sequence > page.Stream.Last+1:
		return fmt.Errorf("%w: %q has no sequence %d yet, its next one is %d", ErrRange, name, sequence, page.Stream.Last+1)
	case sequence > 1 && len(page.Events) == 1:
		w.at = page.Events[0].Timestamp
	}
	return nil
}

// beginBehind begins behind what was removed of a stream, which may not exist yet.
func (w *Watcher) beginBehind(name string, sequence uint64) error {
	st, err := w.t.catalog.find(name)
	if err != nil || st == nil {
		return err
	}
	if h := st.head.Load(); h != nil {
		if h.record.base.sequence+1 != sequence {
			return &TrimmedError{Stream: name, First: h.record.base.sequence + 1}
		}
		w.at = h.record.base.timestamp
	}
	return nil
}

// Cursor returns where the watch is. Before the first delivery that is empty where the Start
// says as much: with the oldest event, or with a time.
func (w *Watcher) Cursor() string {
	if !w.strict {
		return ""
	}
	return w.t.watchCursor(watchCursor{timeline: w.timeline, at: w.at})
}

// Close ends the watch: Next returns ErrClosed from then on. A second Close does nothing.
func (w *Watcher) Close() {
	w.close.Do(func() {
		close(w.closing)
		w.t.watchers.remove(w.sub)
	})
}

// Next waits for events and returns the next ones, or none when there have been none for
// the heartbeat. It fails with ErrTrimmed when events were removed before they could be delivered,
// with ErrNoStream when a stream that was named is deleted, with ErrTimeline after a rebase, with ErrFenced, ErrClosed, and the
// error of ctx. After an error of ctx the watch can go on, after any other it cannot.
func (w *Watcher) Next(ctx context.Context) (Delivery, error) {
	timer := time.NewTimer(w.t.o.Heartbeat)
	defer timer.Stop()
	for {
		d, err := w.deliver(ctx)
		if err != nil || len(d.Events) > 0 {
			return d, err
		}
		select {
		case <-w.sub.wake:
		case <-ctx.Done():
			return Delivery{}, fmt.Errorf("watch: %w", ctx.Err())
		case <-w.closing:
			return Delivery{}, ErrClosed
		case <-w.t.watchers.over:
			return Delivery{}, ErrClosed
		case <-w.t.store.fence.up:
			return Delivery{}, w.t.store.fence.err()
		case <-timer.C:
			// Where nothing can be issued, or the queue is full, time does not advance, and the
			// heartbeat says just that.
			_ = w.t.advance(ctx)
			return w.deliver(ctx)
		}
	}
}

// deliver returns what there is without waiting for more.
func (w *Watcher) deliver(ctx context.Context) (Delivery, error) {
	if err := w.alive(); err != nil {
		return Delivery{}, err
	}
	d, err := w.take(ctx)
	if err != nil {
		if over := w.alive(); over != nil { // and what was read may make no sense
			return Delivery{}, over
		}
		return Delivery{}, err
	}
	w.t.counts.delivered.Add(uint64(len(d.Events)))
	return d, nil
}

// take is deliver while the timeline stays the same.
func (w *Watcher) take(ctx context.Context) (Delivery, error) {
	if w.done() {
		if err := w.round(ctx); err != nil {
			return Delivery{}, err
		}
	}
	var d Delivery
	for size := 0; !w.done() && (len(d.Events) < deliveryEvents && size < deliveryLen || w.tied()); {
		e, err := w.pop()
		if err != nil {
			return Delivery{}, err
		}
		if e == nil {
			continue // it was removed
		}
		d.Events = append(d.Events, *e)
		size += len(e.Payload)
	}
	if w.done() {
		w.at = max(w.at, w.upto)
	}
	d.Closed, d.Cursor = min(w.at, w.upto), w.t.watchCursor(watchCursor{timeline: w.timeline, at: w.at})
	return d, nil
}

// done reports whether the round is over.
func (w *Watcher) done() bool { return len(w.lanes) == 0 || w.lanes[0].at > w.upto }

// tied reports whether the next event has the timestamp of the one before. That can be
// where two streams have events from before a rebase and from after; no cursor tells them
// apart, so they are delivered together.
func (w *Watcher) tied() bool { return w.lanes[0].at == w.at }

// alive fails when there is nothing to go on with.
func (w *Watcher) alive() error {
	if w.t.timeline.Load() != w.timeline {
		return ErrTimeline
	}
	select {
	case <-w.closing:
		return ErrClosed
	case <-w.t.watchers.over:
		return ErrClosed
	default:
		return w.t.store.fence.err()
	}
}

// round finds out which streams have something up to now.
func (w *Watcher) round(ctx context.Context) error {
	w.upto = w.t.Closed() // before the notes
	if w.at > w.upto {    // it begins later: what is noted until then may be from before
		w.look = true
		return nil
	}
	fresh, all := w.sub.take()
	if !all && !w.look {
		for name, first := range fresh {
			if err := w.open(name, first); err != nil {
				return err
			}
		}
		return nil
	}
	w.look = true // until it has succeeded
	if err := w.lookAtAll(ctx); err != nil {
		// The lanes of some streams without those of the others would deliver out of order, and
		// the round would end without the others.
		w.lanes, w.byName, w.held = nil, make(map[string]*lane), 0
		return err
	}
	w.look, w.strict = false, true
	return nil
}
