package store

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/truechimer/truechimer/hlc"
)

// recordsPerLook is how many stream records retention reads at a time.
const recordsPerLook = 1000

// retain removes what may be removed, over and over until the streams are closed.
// Removing is one record and one removal of a range, however many events it is, in a group
// with what others append.
func (t *Streams) retain() {
	ticker := time.NewTicker(t.o.RetentionEvery)
	defer ticker.Stop()
	var expired uint32 // idempotency keys of the periods below it are gone
	failing := false
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-ticker.C:
		}
		if _, full := t.space.last(); full {
			_ = t.advance(t.ctx) // has the committer look whether there is space again
		}
		err := t.expire(&expired)
		if err == nil {
			err = t.sweep(t.ctx)
		}
		if err != nil && t.ctx.Err() == nil && !failing {
			t.log.Warn("retention is late", "err", err)
		}
		failing = err != nil
	}
}

// expire forgets the idempotency keys of the periods that do not count any more.
func (t *Streams) expire(expired *uint32) error {
	period := t.issuer.period()
	if period < retryPeriods || period-retryPeriods < *expired {
		return nil
	}
	first := period - retryPeriods + 1
	if err := t.do(t.ctx, expireTask{first: first}, 0); err != nil {
		return err
	}
	*expired = first
	return nil
}

// sweep looks at each stream once and removes what its retention allows. It returns the
// first error and goes on with the next stream, unless nothing can be written.
func (t *Streams) sweep(ctx context.Context) error {
	var first error
	for number := uint64(1); ; {
		d, err := t.due(number)
		if err != nil {
			return err
		}
		for _, name := range d.names {
			first = cmp.Or(first, t.sweepOne(ctx, name))
			if err := errors.Join(ctx.Err(), t.store.fence.err()); err != nil {
				return err
			}
		}
		if number = d.next; number == 0 {
			return first
		}
	}
}

// due are streams that have a retention.
type due struct {
	names []string
	next  uint64 // the number to go on with; 0: there is nothing more
}

// due returns the streams from a number on that have a retention, some of them.
func (t *Streams) due(from uint64) (due, error) {
	return fetch(t.store, func(db *pebble.DB) (d due, err error) {
		iter, err := db.NewIter(&pebble.IterOptions{LowerBound: streamKey(from), UpperBound: []byte{tableStream + 1}})
		if err != nil {
			return due{}, err
		}
		defer func() { err = errors.Join(err, iter.Close()) }()
		n := 0
		for ok := iter.First(); ok; ok = iter.Next() {
			number, err := numberOf(iter.Key())
			if err != nil {
				return due{}, err
			}
			if n++; n > recordsPerLook {
				d.next = number
				return d, nil
			}
			r, err := decodeStream(number, iter.Value())
			if err != nil {
				return due{}, err
			}
			if r.deleted == 0 && r.retention != (Retention{}) {
				d.names = append(d.names, r.name)
			}
		}
		return d, iter.Error()
	})
}

// sweepOne removes what the retention of one stream allows.
func (t *Streams) sweepOne(ctx context.Context, name string) error {
	_, h, err := t.existing(name)
	if err == nil {
		var first uint64
		if first, err = t.keeps(h); err == nil && first > h.record.base.sequence+1 {
			_, err = t.Trim(ctx, name, first)
		}
	}
	if errors.Is(err, ErrNoStream) {
		return nil // deleted meanwhile
	}
	return err
}

// keeps returns the sequence of the first event that the retention of a stream keeps.
func (t *Streams) keeps(h *head) (first uint64, err error) {
	r := h.record.retention
	first = h.record.base.sequence + 1
	if r.Count != 0 && h.last.sequence > r.Count {
		first = max(first, h.last.sequence-r.Count+1)
	}
	if now := t.issuer.physical(); r.Age != 0 && int64(r.Age) < now {
		sequence, err := t.seek(h, hlc.FromUnix(now-int64(r.Age)))
		if err != nil {
			return 0, err
		}
		first = max(first, sequence)
	}
	if r.Bytes != 0 && h.last.total-h.record.base.total > r.Bytes {
		// The last event that has more than so many bytes behind it goes, and all before.
		largest, err := fetch(t.store, func(db *pebble.DB) (uint64, error) {
			sequence, before, err := search(db, h, func(at position) bool { return h.last.total-at.total <= r.Bytes })
			if before.sequence+1 != sequence {
				return 0, err // events are being removed: the next sweep sees what is left
			}
			return sequence + 1, err
		})
		if err != nil {
			return 0, err
		}
		first = max(first, largest)
	}
	return min(first, h.last.sequence+1), nil
}
