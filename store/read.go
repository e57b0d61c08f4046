package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/truechimer/truechimer/hlc"
)

// Read returns a page of a stream. It fails with ErrName, ErrRange, ErrCursor, ErrNoStream,
// ErrFenced and ErrClosed, and with ErrTrimmed where the query names a sequence that was
// removed, or goes on where events have been removed since.
func (t *Streams) Read(ctx context.Context, name string, q Query) (Page, error) {
	if q.Limit < 0 || q.Limit > PageEventsMax {
		return Page{}, fmt.Errorf("%w: a limit of %d events (want 1 to %d)", ErrRange, q.Limit, PageEventsMax)
	}
	if q.Limit == 0 {
		q.Limit = PageEventsMax
	}
	c, h, err := t.plan(name, &q)
	if err != nil {
		return Page{}, err
	}
	page := Page{Stream: h.describe(name)}
	if err := ctx.Err(); err != nil {
		return Page{}, err
	}
	b := &block{}
	if err := t.fill(b, name, &c, q.Limit, PageLenMax); err != nil {
		return Page{}, err
	}
	page.Events = b.events
	if c.from <= c.to {
		page.Cursor = t.pageCursor(c)
	}
	return page, nil
}

// scanEvents is how many events Scan reads at a time.
const scanEvents = 4096

// Scan visits the events of a stream, up to q.Limit of them where that is not 0. What
// visit gets it may keep only until it returns, and an error of visit ends the scan and is
// returned. It fails like Read.
func (t *Streams) Scan(ctx context.Context, name string, q Query, visit func(Event) error) error {
	c, _, err := t.plan(name, &q)
	if err != nil {
		return err
	}
	left := q.Limit
	var b block
	for c.from <= c.to {
		if err := ctx.Err(); err != nil {
			return err
		}
		most := scanEvents
		if q.Limit > 0 {
			if left == 0 {
				return nil
			}
			most = min(most, left)
		}
		b.reset()
		if err := t.fill(&b, name, &c, most, PageLenMax); err != nil {
			return err
		}
		for i := range b.events {
			if err := visit(b.events[i]); err != nil {
				return err
			}
		}
		left -= len(b.events)
	}
	return nil
}

// plan turns a query into the sequences that it asks for; none where from is above to.
func (t *Streams) plan(name string, q *Query) (pageCursor, *head, error) {
	if err := CheckName(name); err != nil {
		return pageCursor{}, nil, err
	}
	_, h, err := t.existing(name)
	if err != nil {
		return pageCursor{}, nil, err
	}
	if q.Cursor != "" {
		c, err := t.parsePageCursor(q.Cursor)
		if err == nil && c.number != h.number {
			err = fmt.Errorf("%w: it is of another stream than %q", ErrCursor, name)
		}
		c.to = min(c.to, h.last.sequence) // nobody reads what is not durable, with whatever cursor
		return c, h, err
	}
	if q.To != 0 && q.From > q.To || q.Until != 0 && q.Since > q.Until {
		return pageCursor{}, nil, fmt.Errorf("%w: it ends before it begins", ErrRange)
	}
	first := h.record.base.sequence + 1
	if q.From != 0 && q.From < first {
		return pageCursor{}, nil, &TrimmedError{Stream: name, First: first}
	}
	c := pageCursor{number: h.number, from: max(q.From, first), to: h.last.sequence, reverse: q.Reverse, loose: q.From == 0}
	if q.To != 0 {
		c.to = min(c.to, q.To)
	}
	if q.Since != 0 {
		from, err := t.seek(h, q.Since)
		if err != nil {
			return pageCursor{}, nil, err
		}
		c.from = max(c.from, from)
	}
	if q.Until != 0 && q.Until < hlc.Max {
		behind, err := t.seek(h, q.Until+1)
		if err != nil {
			return pageCursor{}, nil, err
		}
		c.to = min(c.to, behind-1)
	}
	return c, h, nil
}

// seek returns the sequence of the first event whose timestamp is not below ts: one of
// those that are left, or the next one.
func (t *Streams) seek(h *head, ts hlc.Timestamp) (sequence uint64, err error) {
	switch {
	case ts > h.last.timestamp:
		return h.last.sequence + 1, nil
	case ts <= h.record.base.timestamp:
		return h.record.base.sequence + 1, nil
	}
	return fetch(t.store, func(db *pebble.DB) (uint64, error) {
		sequence, _, err := search(db, h, func(at position) bool { return at.timestamp >= ts })
		return sequence, err
	})
}

// search returns the sequence of the first event that is left and fits, or the next
// sequence, and where the stream stands before it: the base where that is not known any
// more. What fits is followed by nothing that does not.
func search(db *pebble.DB, h *head, fits func(position) bool) (sequence uint64, before position, err error) {
	low, high, before := h.record.base.sequence+1, h.last.sequence+1, h.record.base
	iter, err := db.NewIter(&pebble.IterOptions{LowerBound: eventKey(h.number, low), UpperBound: eventKey(h.number, high)})
	if err != nil {
		return 0, position{}, err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	for low < high { // low-1 does not fit, high does
		middle := low + (high-low)/2
		if !iter.SeekGE(eventKey(h.number, middle)) {
			return h.last.sequence + 1, h.record.base, nil // all were removed meanwhile, or Close fails
		}
		e, err := parseEvent(iter.Key(), iter.Value())
		switch {
		case err != nil:
			return 0, position{}, err
		case !fits(e.position):
			low, before = e.sequence+1, e.position
		case e.sequence > middle: // those in between were removed meanwhile
			return e.sequence, h.record.base, nil
		default:
			high = middle
		}
	}
	return low, before, nil
}

// readPosition returns where a stream stands behind one of its events that is left.
func readPosition(db *pebble.DB, number, sequence uint64) (position, error) {
	key := eventKey(number, sequence)
	v, closer, err := db.Get(key)
	if err != nil {
		return position{}, fmt.Errorf("%w: event %d of stream number %d: %w", ErrDamaged, sequence, number, err)
	}
	e, err := parseEvent(key, v)
	return e.position, errors.Join(err, closer.Close())
}

// block is where events are read to: their payloads stand one behind the other in a few
// large pieces of memory.
type block struct {
	events []Event
	bytes  int // of the payloads
	piece  []byte
}

// Pieces grow from the least to the largest.
const pieceMin, pieceMax = 128, 64 << 10

// add copies an event into the block.
func (b *block) add(name string, e *storedEvent) {
	if len(b.piece)+len(e.payload) > cap(b.piece) {
		b.piece = make([]byte, 0, max(len(e.payload), pieceMin, min(2*cap(b.piece), pieceMax)))
	}
	start := len(b.piece)
	b.piece = append(b.piece, e.payload...)
	b.events = append(b.events, Event{
		Stream: name, Sequence: e.sequence, Timestamp: e.timestamp,
		Payload: b.piece[start:len(b.piece):len(b.piece)], Epoch: e.epoch, Node: e.node,
	})
	b.bytes += len(e.payload)
}

// reset empties the block for as many events again; those of before are overwritten.
func (b *block) reset() {
	if b.bytes > cap(b.piece) {
		b.piece = make([]byte, 0, b.bytes)
	}
	b.events, b.bytes, b.piece = b.events[:0], 0, b.piece[:0]
}

// eventWeight is what an event takes besides its payload and the name of its stream, on the
// wire or in memory, in bytes.
const eventWeight = 64

// fill reads events of a stream into a block, up to most of them and the one with which they
// reach length, and moves the cursor behind them.
func (t *Streams) fill(b *block, name string, c *pageCursor, most, length int) error {
	if c.from > c.to {
		return nil
	}
	// What is read is handed over: when the store is fenced meanwhile, the reader below may
	// still be at work.
	own, next := *b, *c
	err := t.store.read(func(db *pebble.DB) error { return own.read(db, name, &next, most, length) })
	if err != nil {
		*b = block{}
		if trimmed := (*TrimmedError)(nil); errors.As(err, &trimmed) {
			// Where it begins now, if it does. The database knows of what is being removed before the
			// head does, and the head of what was removed since.
			_, h, missing := t.existing(name)
			if missing != nil {
				return missing
			}
			trimmed.First = max(trimmed.First, h.record.base.sequence+1)
		}
		return err
	}
	*b, *c = own, next
	return nil
}

// read is fill without the fence.
func (b *block) read(db *pebble.DB, name string, c *pageCursor, most, length int) (err error) {
	iter, err := db.NewIter(&pebble.IterOptions{LowerBound: eventKey(c.number, c.from), UpperBound: eventKey(c.number, c.to+1)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	start, step, expected := iter.First, iter.Next, c.from
	if c.reverse {
		start, step, expected = iter.Last, iter.Prev, c.to
	}
	n, weight := 0, 0
	for ok := start(); ok && n < most; ok = step() {
		e, err := parseEvent(iter.Key(), iter.Value())
		if err != nil {
			return err
		}
		switch { // an iterator sees one state: only the front can be missing
		case e.sequence == expected:
		case n == 0 && !c.reverse && c.loose:
			expected = e.sequence
		case n == 0 && !c.reverse:
			return &TrimmedError{Stream: name, First: e.sequence}
		default:
			return fmt.Errorf("%w: event %d of %q is missing", ErrDamaged, expected, name)
		}
		b.add(name, &e)
		n++
		c.loose = false // behind an event nothing may be missing
		if c.reverse {
			expected--
			c.to = expected
		} else {
			expected++
			c.from = expected
		}
		if weight += len(e.payload) + len(name) + eventWeight; weight >= length {
			return nil
		}
	}
	if iter.Error() != nil {
		return nil // Close returns it
	}
	switch {
	case c.from > c.to || n == most:
		return nil
	case n == 0 && c.loose: // all that was left was removed meanwhile
		c.to = c.from - 1
		return nil
	case n == 0:
		return &TrimmedError{Stream: name, First: c.to + 1}
	case c.reverse: // the front was removed meanwhile
		c.to = c.from - 1
		return nil
	default:
		return fmt.Errorf("%w: event %d of %q is missing", ErrDamaged, expected, name)
	}
}
