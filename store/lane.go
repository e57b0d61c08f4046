package store

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/truechimer/truechimer/hlc"
)

// lane is a stream of which a watcher has something left to deliver.
type lane struct {
	name   string
	cursor pageCursor    // what is left
	at     hlc.Timestamp // of the next event
	ahead  []Event       // the next events, as far as they have been read
}

// lanes is a heap, the lane whose next event comes first on top.
type lanes []*lane

// Len implements heap.Interface.
func (l lanes) Len() int { return len(l) }

// Less implements heap.Interface.
func (l lanes) Less(i, j int) bool { return l[i].at < l[j].at }

// Swap implements heap.Interface.
func (l lanes) Swap(i, j int) { l[i], l[j] = l[j], l[i] }

// Push implements heap.Interface.
func (l *lanes) Push(x any) { *l = append(*l, x.(*lane)) }

// Pop implements heap.Interface.
func (l *lanes) Pop() any {
	last := len(*l) - 1
	x := (*l)[last]
	(*l)[last] = nil
	*l = (*l)[:last]
	return x
}

// lookAtAll opens a lane for each of the watcher's streams that has something behind at.
func (w *Watcher) lookAtAll(ctx context.Context) error {
	if w.sub.names != nil {
		for _, name := range w.sub.names {
			st, err := w.t.catalog.find(name)
			if err != nil {
				return err
			}
			if st == nil || st.head.Load() == nil {
				continue // it may come to be
			}
			if err := w.lookAt(name, st.head.Load()); err != nil {
				return err
			}
		}
		return nil
	}
	var err error
	eachErr := w.t.each(w.sub.prefix, "", func(name string, _ *stream, h *head) bool {
		err = errors.Join(w.lookAt(name, h), w.alive(), ctx.Err())
		return err == nil
	})
	return errors.Join(err, eachErr)
}

// lookAt opens a lane for a stream that has something behind at.
func (w *Watcher) lookAt(name string, h *head) error {
	if h.last.timestamp <= w.at {
		return nil
	}
	// What was removed of a time to come is from before a rebase, and was not due.
	missed := w.strict && h.record.base.timestamp > w.at && h.record.base.timestamp <= w.t.Closed()
	switch {
	case h.record.deleted != 0 && missed && w.sub.names != nil:
		return fmt.Errorf("%w: %q was deleted before all of it was delivered", ErrNoStream, name)
	case h.record.deleted != 0:
		return nil
	case missed:
		return &TrimmedError{Stream: name, First: h.record.base.sequence + 1}
	}
	first, err := w.t.seek(h, w.at+1)
	if err != nil {
		return err
	}
	return w.openAt(name, h, first)
}

// open opens a lane for a stream that has something new from a sequence on, or extends the
// one that there is.
func (w *Watcher) open(name string, first uint64) error {
	_, h, err := w.t.existing(name)
	if err != nil {
		return w.gone(err)
	}
	return w.openAt(name, h, first)
}

// openAt is open for a stream that is known.
func (w *Watcher) openAt(name string, h *head, first uint64) error {
	l := w.byName[name]
	if l != nil && h.record.base.timestamp < l.at && h.record.base.sequence >= l.cursor.from {
		// What the lane waits for is from before a rebase, its stream was deleted, and created
		// again at a lower time.
		w.forget(l)
		l = nil
	}
	if l != nil {
		l.cursor.to = max(l.cursor.to, h.last.sequence)
		return nil
	}
	if first > h.last.sequence {
		return nil // what has changed is not its events
	}
	l = &lane{name: name, cursor: pageCursor{number: h.number, from: first, to: h.last.sequence, loose: !w.strict}}
	if err := w.load(l); err != nil {
		return w.gone(err)
	}
	if len(l.ahead) == 0 {
		return nil
	}
	heap.Push(&w.lanes, l)
	w.byName[name] = l
	w.spare(l)
	return nil
}

// gone returns the error for a stream that cannot be read on: nil where it was deleted and
// nobody named it.
func (w *Watcher) gone(err error) error {
	if errors.Is(err, ErrNoStream) && w.sub.names == nil {
		return nil
	}
	return err
}

// load reads the next events of a lane ahead.
func (w *Watcher) load(l *lane) error {
	share := len(w.lanes) + 1
	b, c := block{}, l.cursor
	if err := w.t.fill(&b, l.name, &c, max(deliveryEvents/share, 1), max(aheadLen/share, 1)); err != nil {
		return err
	}
	if len(b.events) == 0 {
		return nil // all was removed before it had to be there
	}
	l.ahead, l.at = b.events, b.events[0].Timestamp
	w.held += b.bytes + len(b.events)*eventWeight
	return nil
}

// spare lets go of what was read ahead of a lane where all lanes together hold too much.
func (w *Watcher) spare(l *lane) {
	if w.held > aheadLen {
		w.release(l)
	}
}

// release lets go of what was read ahead of a lane.
func (w *Watcher) release(l *lane) {
	for i := range l.ahead {
		w.held -= len(l.ahead[i].Payload) + eventWeight
	}
	l.ahead = nil
}

// pop returns the next event and moves its lane on; nil where that was removed, and need not
// be delivered.
func (w *Watcher) pop() (*Event, error) {
	l := w.lanes[0]
	if at := l.at; len(l.ahead) == 0 {
		if err := w.load(l); err != nil {
			w.drop(l)
			return nil, w.gone(err)
		}
		switch {
		case len(l.ahead) == 0: // all was removed before it had to be there
			w.drop(l)
			return nil, nil
		case l.at != at: // some of it was
			heap.Fix(&w.lanes, 0)
			return nil, nil
		}
	}
	e := l.ahead[0]
	l.cursor.loose = false // from here on nothing may be missing
	if e.Timestamp < w.at {
		return nil, fmt.Errorf("%w: event %d of %q is not in the order of its timestamp", ErrDamaged, e.Sequence, l.name)
	}
	w.at = e.Timestamp
	l.ahead = l.ahead[1:]
	l.cursor.from = e.Sequence + 1
	w.held -= len(e.Payload) + eventWeight
	if len(l.ahead) == 0 && l.cursor.from > l.cursor.to {
		w.drop(l)
		return &e, nil
	}
	if len(l.ahead) == 0 {
		if err := w.load(l); err != nil {
			w.drop(l)
			return &e, w.gone(err)
		}
	}
	l.at = l.ahead[0].Timestamp
	w.spare(l)
	heap.Fix(&w.lanes, 0)
	return &e, nil
}

// forget removes a lane and what was read ahead of it.
func (w *Watcher) forget(l *lane) {
	w.release(l)
	heap.Remove(&w.lanes, slices.Index(w.lanes, l))
	delete(w.byName, l.name)
}

// drop removes the lane on top.
func (w *Watcher) drop(l *lane) {
	heap.Pop(&w.lanes)
	delete(w.byName, l.name)
}
