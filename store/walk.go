package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"
)

// walker goes over every key of a database that is only being looked at, and adds to a
// report what is not as it must be. Streams and events are in the order of stream numbers
// both, so one pass over each, side by side, needs no memory for either.
type walker struct {
	ctx      context.Context
	db       *pebble.DB
	ceiling  Ceiling
	report   *VerifyReport
	progress *reporter
	dir      directory // that the database is in
	id       id        // of the store

	events *pebble.Iterator
	key    []byte // of the event that is next, part of the iterator; nil: there is none
	number uint64 // of its stream

	keys, bytes uint64 // since the caller was told
}

// tellEvery is how many keys are visited before ctx and the caller are looked at.
const tellEvery = 4096

// walk goes over all tables.
func (w *walker) walk() error {
	tables, err := w.db.SSTables(pebble.WithProperties())
	if err != nil {
		return fmt.Errorf("read properties: %w", err)
	}
	total := w.db.Metrics().MemTable.Size
	for _, level := range tables {
		for _, t := range level {
			total += t.Properties.RawKeySize + t.Properties.RawValueSize
		}
	}
	w.progress.phase("checking", 0, total)
	return errors.Join(w.foreign(), w.names(), w.streams(), w.retries(), w.journal(), w.history())
}

// visited counts a key.
func (w *walker) visited(key, value []byte) error {
	w.keys++
	w.bytes += uint64(len(key) + len(value))
	if w.keys%tellEvery != 0 {
		return nil
	}
	w.progress.moved(0, w.bytes)
	w.bytes = 0
	return w.ctx.Err()
}

// unreadable adds damage to the report, and returns every other error: a disk that fails
// says nothing of what is on it.
func (w *walker) unreadable(err error, what string, args ...any) error {
	if err == nil || !pebble.IsCorruptionError(err) {
		return err
	}
	w.report.problem("%s cannot be read: %v", fmt.Sprintf(what, args...), err)
	return nil
}

// each visits the keys from lower on and below upper. It fails when visit does. Damage
// is a problem; then the rest of the table is not visited.
func (w *walker) each(lower, upper []byte, visit func(key, value []byte) error) error {
	iter, err := w.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	for ok := iter.First(); ok; ok = iter.Next() {
		value, err := iter.ValueAndErr()
		if err != nil {
			break // and it is what iter.Close returns
		}
		if err := errors.Join(visit(iter.Key(), value), w.visited(iter.Key(), value)); err != nil {
			return errors.Join(err, iter.Close())
		}
	}
	return w.unreadable(iter.Close(), "all of table %.2x", lower)
}

// foreign finds keys that are in no table.
func (w *walker) foreign() error {
	between := [][2][]byte{
		{nil, formatKey()},
		{append(formatKey(), 0), ceilingKey()},
		{append(ceilingKey(), 0), {tableName}},
		{{tableEvent + 1}, {tableRetry}},
		{{tableRetry + 1}, {tableJournal}},
		{{tableRoot + 1}, {tableHistory}},
		{{tableHistory + 1}, nil},
	}
	for _, b := range between {
		err := w.each(b[0], b[1], func(key, _ []byte) error {
			w.report.problem("key %.32x belongs to no table that this version knows", key)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// names finds names without a stream.
func (w *walker) names() error {
	return w.each([]byte{tableName}, []byte{tableName + 1}, func(key, value []byte) error {
		name := string(key[1:])
		number, err := decodeNumber(name, value)
		if err = errors.Join(CheckName(name), err); err != nil {
			w.report.problem("name %.300q: %v", name, err)
			return nil
		}
		b, closer, err := w.db.Get(streamKey(number))
		if errors.Is(err, pebble.ErrNotFound) {
			w.report.problem("name %q is that of stream number %d, which has no record", name, number)
			return nil
		}
		if err != nil {
			return w.unreadable(err, "the record of stream number %d", number)
		}
		// One that does not check is reported where records are visited.
		if r, err := decodeStream(number, b); err == nil && r.name != name {
			w.report.problem("name %q is that of stream number %d, whose name is %q", name, number, r.name)
		}
		return closer.Close()
	})
}

// streams visits all records of streams, and the events of each.
func (w *walker) streams() error {
	var err error
	w.events, err = w.db.NewIter(&pebble.IterOptions{LowerBound: []byte{tableEvent}, UpperBound: []byte{tableEvent + 1}})
	if err != nil {
		return err
	}
	w.take(w.events.First())
	err = w.each([]byte{tableStream}, []byte{tableStream + 1}, func(key, value []byte) error {
		if len(key) != 1+8 {
			w.report.problem("key %.32x is not one of a stream", key)
			return nil
		}
		number := binary.BigEndian.Uint64(key[1:])
		if err := w.orphans(number); err != nil {
			return err
		}
		r, err := decodeStream(number, value)
		if err != nil {
			w.report.problem("%v", err)
			return w.skip(number) // there is nothing to compare them with
		}
		return errors.Join(w.stream(number, &r), w.follow(number, &r))
	})
	if err == nil {
		err = w.orphans(math.MaxUint64)
	}
	return errors.Join(err, w.unreadable(w.events.Close(), "all of table %.2x", tableEvent))
}

// stream finds what is wrong with the record of a stream.
func (w *walker) stream(number uint64, r *streamRecord) error {
	switch {
	case r.deleted != 0:
		w.report.Deleted++
	default:
		w.report.Streams++
	}
	b, closer, err := w.db.Get(nameKey(r.name))
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		w.report.problem("stream %q, number %d, is not among the names", r.name, number)
	case err != nil:
		if err := w.unreadable(err, "the name %q", r.name); err != nil {
			return err
		}
	default:
		if n, err := decodeNumber(r.name, b); err == nil && n != number {
			w.report.problem("stream %q, number %d, is number %d among the names", r.name, number, n)
		}
		_ = closer.Close()
	}
	if r.epoch == 0 || r.epoch > w.ceiling.Epoch {
		w.report.problem("stream %q was changed in epoch %d, and the last epoch is %d", r.name, r.epoch, w.ceiling.Epoch)
	}
	if at := max(r.created, r.deleted, r.base.timestamp); w.ceiling.Rebases == 0 && at >= w.ceiling.Ceiling {
		w.report.problem("stream %q has the timestamp %v in its record, which is not below the ceiling, %v", r.name, at, w.ceiling.Ceiling)
	}
	if r.base.sequence == 0 && r.base != (position{}) {
		w.report.problem("stream %q begins at sequence 1, but behind %d bytes at %v", r.name, r.base.total, r.base.timestamp)
	}
	return nil
}

// take looks at the next event, where there is one.
func (w *walker) take(ok bool) {
	if w.key = nil; !ok {
		return
	}
	w.key, w.number = w.events.Key(), 0
	if len(w.key) >= 1+8 {
		w.number = binary.BigEndian.Uint64(w.key[1:])
	}
}

// next counts the event and goes on to the one behind it.
func (w *walker) next() error {
	if err := w.visited(w.key, nil); err != nil {
		return err
	}
	w.take(w.events.Next())
	return nil
}

// orphans finds events of streams whose numbers are below number and have no record.
func (w *walker) orphans(number uint64) error {
	for w.key != nil && w.number < number {
		orphan, n := w.number, 0
		for ; w.key != nil && w.number == orphan; n++ {
			if err := w.next(); err != nil {
				return err
			}
		}
		w.report.problem("%d events are of stream number %d, which has no record", n, orphan)
	}
	return nil
}

// skip leaves out the events of a stream.
func (w *walker) skip(number uint64) error {
	for w.key != nil && w.number == number {
		if err := w.next(); err != nil {
			return err
		}
	}
	return nil
}

// follow goes over the events of a stream.
func (w *walker) follow(number uint64, r *streamRecord) error {
	t := tracker{w: w, r: r, last: r.base, epoch: 1, whole: true}
	for w.key != nil && w.number == number {
		value, err := w.events.ValueAndErr()
		if err != nil {
			break // and it is what Close returns
		}
		w.bytes += uint64(len(value))
		if e, err := parseEvent(w.key, value); err != nil {
			t.broken(err)
		} else {
			t.event(&e)
		}
		if err := w.next(); err != nil {
			return err
		}
	}
	t.end()
	return nil
}

// tracker follows one stream from event to event.
type tracker struct {
	w     *walker
	r     *streamRecord
	last  position // of the event before
	epoch uint64   // likewise
	whole bool     // last is all known: the event before was there, and checked

	removed, deleted uint64 // events that should not be there
}

// event compares an event with the one before it.
func (t *tracker) event(e *storedEvent) {
	w, name := t.w, t.r.name
	w.report.Events++
	w.report.Bytes += uint64(len(e.payload))
	if e.sequence <= t.r.base.sequence {
		t.removed++
		return
	}
	if t.r.deleted != 0 {
		t.deleted++
	}
	if e.sequence != t.last.sequence+1 {
		w.report.problem("stream %q: events %d to %d are missing", name, t.last.sequence+1, e.sequence-1)
		t.whole = false
	}
	if e.timestamp <= t.last.timestamp {
		w.report.problem("stream %q: event %d at %v is not after %v, that of the one before it", name, e.sequence, e.timestamp, t.last.timestamp)
	}
	if t.whole && e.total != t.last.total+uint64(len(e.payload)) {
		w.report.problem("stream %q: event %d of %d bytes makes a total of %d out of %d", name, e.sequence, len(e.payload), e.total, t.last.total)
	}
	if e.epoch < t.epoch || e.epoch > w.ceiling.Epoch {
		w.report.problem("stream %q: event %d is of epoch %d, after %d and with %d as the last", name, e.sequence, e.epoch, t.epoch, w.ceiling.Epoch)
	}
	// Before a rebase, the ceiling was another.
	if e.timestamp >= w.ceiling.Ceiling && (w.ceiling.Rebases == 0 || e.epoch == w.ceiling.Epoch) {
		w.report.problem("stream %q: event %d at %v is not below the ceiling, %v", name, e.sequence, e.timestamp, w.ceiling.Ceiling)
	}
	t.last, t.epoch, t.whole = e.position, e.epoch, true
}

// broken goes on behind an event that cannot be read.
func (t *tracker) broken(err error) {
	t.w.report.Events++
	key := t.w.key
	if len(key) != eventKeyLen {
		t.w.report.problem("stream %q: key %.32x is not one of an event", t.r.name, key)
		return
	}
	t.w.report.problem("stream %q: %v", t.r.name, err)
	sequence := binary.BigEndian.Uint64(key[1+8:])
	if sequence > t.last.sequence+1 {
		t.w.report.problem("stream %q: events %d to %d are missing", t.r.name, t.last.sequence+1, sequence-1)
	}
	t.last.sequence, t.whole = max(t.last.sequence, sequence), false
}

// end reports what there were many of.
func (t *tracker) end() {
	if t.removed > 0 {
		t.w.report.problem("stream %q: %d events up to sequence %d are there, which were removed", t.r.name, t.removed, t.r.base.sequence)
	}
	if t.deleted > 0 {
		t.w.report.problem("stream %q was deleted, and has %d events", t.r.name, t.deleted)
	}
}

// retries goes over the records of idempotency keys.
func (w *walker) retries() error {
	return w.each([]byte{tableRetry}, []byte{tableRetry + 1}, func(key, value []byte) error {
		w.report.Retries++
		if _, err := parseRetry(key, value); err != nil {
			w.report.problem("%v", err)
		}
		return nil
	})
}

// journal checks the journal.
func (w *walker) journal() error {
	c := &journalCheck{
		ended: w.ctx.Err, report: &w.report.Journal, reader: w.db, store: w.id,
		begin: func(uint64) {}, moved: func(_, bytes uint64) { w.progress.moved(0, bytes) }, // which began long ago
	}
	if err := c.file(w.dir.fs, w.dir.path); err != nil {
		return err
	}
	err := c.all()
	for _, problem := range w.report.Journal.Problems {
		w.report.problem("%s", problem)
	}
	w.report.MoreProblems += w.report.Journal.MoreProblems
	return err
}

// history goes over the rows for charts.
func (w *walker) history() error {
	return w.each([]byte{tableHistory}, []byte{tableHistory + 1}, func(key, value []byte) error {
		w.report.Rows++
		if _, _, err := parseRow(key, value); err != nil {
			w.report.problem("%v", err)
		}
		return nil
	})
}
