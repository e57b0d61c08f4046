package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// What is read at a time: records, and bytes of payloads, whichever is reached first.
const (
	recordsPerPage  = 4096
	recordsLenBytes = 2 << 20
)

// Scan visits the records of a track by their sequence, from the first to the last that is given, both
// included; to 0 means the last there is. What was trimmed is left out, also while Scan is at work. A
// record is the visitor's to keep, and an error of visit ends the scan and is returned. It fails with
// ErrRange, ErrDamaged, ErrFenced and ErrClosed.
func (j *Journal) Scan(ctx context.Context, t Track, from, to uint64, visit func(JournalRecord) error) error {
	if err := t.check(); err != nil {
		return err
	}
	if to != 0 && from > to {
		return fmt.Errorf("%w: records %d to %d: it ends before it begins", ErrRange, from, to)
	}
	state := j.state.Load()
	if to == 0 || to > state.tips[t].Sequence {
		to = state.tips[t].Sequence
	}
	for from = max(from, state.bases[t].Sequence+1); from <= to; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := j.page(t, from, to)
		if err != nil || len(p) == 0 { // all was trimmed meanwhile
			return err
		}
		for i := range p {
			if err := visit(p[i]); err != nil {
				return err
			}
			from = p[i].Sequence + 1
		}
	}
	return nil
}

// page reads records of a track from one sequence on and up to another, both included: as many
// as are read at a time, without those that were trimmed.
func (j *Journal) page(t Track, from, to uint64) ([]JournalRecord, error) {
	return fetch(j.store, func(db *pebble.DB) (p []JournalRecord, err error) {
		snapshot := db.NewSnapshot()
		defer func() { err = errors.Join(err, snapshot.Close()) }()
		m, err := readMarks(snapshot)
		if err != nil {
			return nil, err
		}
		from = max(from, m.bases[t].Sequence+1)
		iter, err := snapshot.NewIter(&pebble.IterOptions{LowerBound: recordKey(t, from), UpperBound: recordKey(t, to+1)})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, iter.Close()) }()
		length := 0
		for ok := iter.First(); ok && len(p) < recordsPerPage && length < recordsLenBytes; ok = iter.Next() {
			r, err := parseRecord(iter.Key(), iter.Value())
			if err != nil {
				return nil, err
			}
			if r.Sequence != from {
				return nil, fmt.Errorf("%w: record %d of the journal, %v, is missing", ErrDamaged, from, t)
			}
			r.Payload = bytes.Clone(r.Payload)
			p = append(p, r)
			from++
			length += len(r.Payload)
		}
		return p, nil
	})
}

// Find visits the records of the evidence of the given kinds that were written from since on and
// before until, Unix nanoseconds, by their time, and those of one time by their sequence. No
// kinds at all means every kind. A record is the visitor's to keep, and an error of visit ends it
// and is returned. It fails with ErrRange, ErrDamaged, ErrFenced and ErrClosed.
func (j *Journal) Find(ctx context.Context, since, until int64, kinds []uint8, visit func(JournalRecord) error) error {
	if since > until {
		return fmt.Errorf("%w: from %d to %d ns: it ends before it begins", ErrRange, since, until)
	}
	kinds = slices.Compact(slices.Sorted(slices.Values(kinds)))
	if len(kinds) == 0 {
		var err error
		if kinds, err = j.kinds(); err != nil {
			return err
		}
	}
	f := finding{kinds: kinds, at: indexed{unix: max(since, 0)}, until: until, last: j.state.Load().tips[Evidence].Sequence}
	for f.at.unix < until {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := fetch(j.store, f.page)
		if err != nil || len(p) == 0 {
			return err
		}
		for i := range p {
			if err := visit(p[i]); err != nil {
				return err
			}
		}
		end := p[len(p)-1]
		f.at = indexed{unix: end.Unix, sequence: end.Sequence + 1}
	}
	return nil
}

// kinds returns the kinds of which there are records.
func (j *Journal) kinds() ([]uint8, error) {
	return fetch(j.store, func(db *pebble.DB) (kinds []uint8, err error) {
		iter, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{tableIndex}, UpperBound: []byte{tableIndex + 1}})
		if err != nil {
			return nil, err
		}
		for ok := iter.First(); ok; {
			key := iter.Key()
			if len(key) < 2 {
				return nil, errors.Join(fmt.Errorf("%w: journal index with a key of %d bytes", ErrDamaged, len(key)), iter.Close())
			}
			kind := key[1]
			kinds = append(kinds, kind)
			ok = iter.SeekGE(prefixEnd([]byte{tableIndex, kind}))
		}
		return kinds, iter.Close()
	})
}

// indexed is a place in the order of times.
type indexed struct {
	unix     int64
	sequence uint64
	kind     uint8
}

func (i indexed) before(o indexed) bool {
	return i.unix < o.unix || i.unix == o.unix && i.sequence < o.sequence
}

// finding is where a Find stands.
type finding struct {
	kinds []uint8
	at    indexed // the first that is wanted
	until int64
	last  uint64 // what is behind it may not be durable yet
}

// page reads what is found next: as many records as are read at a time.
func (f finding) page(db *pebble.DB) (p []JournalRecord, err error) {
	snapshot := db.NewSnapshot()
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	var cursors []*indexCursor
	defer func() {
		for _, c := range cursors {
			err = errors.Join(err, c.iter.Close())
		}
	}()
	for _, kind := range f.kinds {
		iter, err := snapshot.NewIter(&pebble.IterOptions{
			LowerBound: indexKey(kind, f.at.unix, f.at.sequence), UpperBound: indexKey(kind, f.until, 0),
		})
		if err != nil {
			return nil, err
		}
		c := &indexCursor{iter: iter}
		cursors = append(cursors, c)
		if err := c.take(iter.First(), f.last); err != nil {
			return nil, err
		}
	}
	records, err := snapshot.NewIter(&pebble.IterOptions{LowerBound: recordKey(Evidence, 0), UpperBound: recordKey(Evidence, math.MaxUint64)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, records.Close()) }()
	length := 0
	for len(p) < recordsPerPage && length < recordsLenBytes {
		var next *indexCursor
		for _, c := range cursors {
			if c.ok && (next == nil || c.at.before(next.at)) {
				next = c
			}
		}
		if next == nil {
			return p, nil
		}
		r, err := seekIndexed(records, next.at)
		if err != nil {
			return nil, err
		}
		p = append(p, r)
		length += len(r.Payload)
		if err := next.take(next.iter.Next(), f.last); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// indexCursor goes over the index of one kind.
type indexCursor struct {
	iter *pebble.Iterator
	at   indexed
	ok   bool // there is something at at
}

// take looks at the next one, where there is one, that is not behind the last sequence.
func (c *indexCursor) take(ok bool, last uint64) error {
	for c.ok = ok; c.ok; c.ok = c.iter.Next() {
		kind, unix, sequence, whole := parseIndexKey(c.iter.Key())
		if !whole {
			return fmt.Errorf("%w: journal index with the key %.32x", ErrDamaged, c.iter.Key())
		}
		if sequence <= last {
			c.at = indexed{unix, sequence, kind}
			return nil
		}
	}
	return nil
}

// seekIndexed reads the record that the index tells of.
func seekIndexed(records *pebble.Iterator, at indexed) (JournalRecord, error) {
	key := recordKey(Evidence, at.sequence)
	if !records.SeekGE(key) || !bytes.Equal(records.Key(), key) {
		return JournalRecord{}, errors.Join(records.Error(), fmt.Errorf("%w: record %d of the journal, %v, is missing", ErrDamaged, at.sequence, Evidence))
	}
	r, err := parseRecord(records.Key(), records.Value())
	if err == nil && (r.Kind != at.kind || r.Unix != at.unix) {
		err = fmt.Errorf("%w: record %d of the journal is of kind %d at %d ns, and by the index of kind %d at %d ns", ErrDamaged, at.sequence, r.Kind, r.Unix, at.kind, at.unix)
	}
	r.Payload = bytes.Clone(r.Payload)
	return r, err
}

// Last returns the record of the evidence of a kind that was written last, whatever the clock showed,
// and whether there is one. It goes over the index of all records of the kind, which should be a rare
// one. It fails with ErrDamaged, ErrFenced and ErrClosed.
func (j *Journal) Last(kind uint8) (r JournalRecord, ok bool, err error) {
	last := j.state.Load().tips[Evidence].Sequence
	r, err = fetch(j.store, func(db *pebble.DB) (r JournalRecord, err error) {
		snapshot := db.NewSnapshot()
		defer func() { err = errors.Join(err, snapshot.Close()) }()
		iter, err := snapshot.NewIter(&pebble.IterOptions{LowerBound: []byte{tableIndex, kind}, UpperBound: prefixEnd([]byte{tableIndex, kind})})
		if err != nil {
			return JournalRecord{}, err
		}
		defer func() { err = errors.Join(err, iter.Close()) }()
		var latest indexed
		for more := iter.First(); more; more = iter.Next() {
			_, unix, sequence, whole := parseIndexKey(iter.Key())
			if !whole {
				return JournalRecord{}, fmt.Errorf("%w: journal index with the key %.32x", ErrDamaged, iter.Key())
			}
			if sequence <= last && sequence >= latest.sequence { // what is behind the last may not be durable yet
				latest = indexed{unix, sequence, kind}
			}
		}
		if ok = latest.sequence > 0; !ok {
			return JournalRecord{}, nil
		}
		r, err = readRecord(snapshot, Evidence, latest.sequence)
		if err == nil && (r.Kind != kind || r.Unix != latest.unix) {
			err = fmt.Errorf("%w: record %d of the journal is not what the index says", ErrDamaged, latest.sequence)
		}
		return r, err
	})
	if err != nil {
		return JournalRecord{}, false, err
	}
	return r, ok, nil
}
