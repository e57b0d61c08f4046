package store

import (
	"context"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/truechimer/truechimer/hlc"
)

// Cut returns the state of the selected streams at ts, exactly: every event up to ts
// counts, and none will come any more; 0 is the present. It waits until ts has passed on
// this node's clock, which may be at most WaitMax. Streams that did not exist at ts, or have
// been deleted since, are left out. after is the After of the Cut before, or empty. It fails with ErrTooFar, ErrName,
// ErrRange, ErrTimeline when the clock is rebased while it waits, and like Issuer.Now; with
// ErrTrimmed where a stream's state at ts cannot be told any more.
func (t *Streams) Cut(ctx context.Context, ts hlc.Timestamp, sel Selection, after string) (Cut, error) {
	if err := sel.check(); err != nil {
		return Cut{}, err
	}
	ts, err := t.await(ctx, ts)
	if err != nil {
		return Cut{}, err
	}
	cut := Cut{Timestamp: ts}
	add := func(name string, _ *stream, h *head) bool {
		if len(cut.Streams) == ListMax {
			cut.After = cut.Streams[ListMax-1].Name
			return false
		}
		var one StreamCut
		var exists bool
		if one, exists, err = t.at(name, h, ts); exists && err == nil {
			cut.Streams = append(cut.Streams, one)
		}
		return err == nil
	}
	names := sel.sorted()
	if names == nil {
		if eachErr := t.each(sel.Prefix, after, add); eachErr != nil {
			return Cut{}, eachErr
		}
		return cut, err
	}
	for _, name := range names {
		if name <= after {
			continue
		}
		st, findErr := t.catalog.find(name)
		if findErr != nil {
			return Cut{}, findErr
		}
		if st == nil || st.head.Load() == nil {
			continue
		}
		if !add(name, st, st.head.Load()) {
			break
		}
	}
	return cut, err
}

// await returns when the closed timestamp is not below ts, and ts; where that is 0, the
// closed timestamp.
func (t *Streams) await(ctx context.Context, ts hlc.Timestamp) (hlc.Timestamp, error) {
	if t.issuer.Status().Rebases != t.timeline.Load() { // the closed timestamp is from before
		if err := t.advance(ctx); err != nil {
			return 0, err
		}
	}
	timeline := t.timeline.Load()
	if ts == 0 {
		ts = t.Closed()
	}
	for slept := time.Duration(0); t.Closed() < ts; {
		left := ts.Sub(hlc.FromUnix(t.issuer.physical()))
		if left > WaitMax || slept > 2*WaitMax {
			return 0, fmt.Errorf("%w: %v is %v ahead of this clock (at most %v)", ErrTooFar, ts, left, WaitMax)
		}
		if left >= 0 && ts > t.issuer.clock.Last() {
			pause := max(left+hlc.Tick, sleepMin)
			if err := sleep(ctx, pause, t.ctx.Done()); err != nil {
				return 0, err
			}
			slept += pause
		}
		if err := t.advance(ctx); err != nil {
			return 0, err
		}
	}
	if t.timeline.Load() != timeline {
		return 0, ErrTimeline
	}
	return ts, nil
}

// at returns the state of a stream at ts, which is closed, and whether it existed.
func (t *Streams) at(name string, h *head, ts hlc.Timestamp) (one StreamCut, exists bool, err error) {
	for {
		one, exists, err = t.headAt(name, h, ts)
		if err == nil {
			return one, exists, nil
		}
		st, findErr := t.catalog.find(name)
		if findErr != nil || st == nil || st.head.Load() == nil || st.head.Load().record.base == h.record.base {
			return one, exists, err
		}
		h = st.head.Load() // events were removed meanwhile: they may be what was missing
	}
}

// headAt is at by a head that may have been replaced meanwhile.
func (t *Streams) headAt(name string, h *head, ts hlc.Timestamp) (one StreamCut, exists bool, err error) {
	r := &h.record
	if r.created > ts || r.deleted != 0 {
		return StreamCut{}, false, nil
	}
	one = StreamCut{Name: name, First: r.base.sequence + 1, Last: h.last.sequence, LastTimestamp: h.last.timestamp}
	if h.last.timestamp <= ts {
		return one, true, nil
	}
	if r.base.timestamp > ts {
		return StreamCut{}, true, &TrimmedError{Stream: name, First: one.First}
	}
	at, err := fetch(t.store, func(db *pebble.DB) (position, error) {
		next, before, err := search(db, h, func(at position) bool { return at.timestamp > ts })
		if err == nil && before.sequence+1 != next {
			err = &TrimmedError{Stream: name, First: next} // just now
		}
		return before, err
	})
	one.Last, one.LastTimestamp = at.sequence, at.timestamp
	return one, true, err
}
