package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/truechimer/truechimer/hlc"
)

// appendTask appends a batch.
type appendTask struct {
	batch   Batch
	scope   retryScope  // of the key, where there is one
	digest  retryDigest // likewise
	streams []*stream   // of each entry
	receipt Receipt
}

// entryLen is what an entry takes in memory and on disk besides its payload, roughly.
const entryLen = 100

// check fails on a batch that can never be appended, prepares what needs no committer, and
// returns the bytes that it takes.
func (a *appendTask) check() (size int, err error) {
	b := &a.batch
	if len(b.Entries) == 0 {
		return 0, fmt.Errorf("%w: a batch without an event", ErrRange)
	}
	if len(b.Entries) > BatchEventsMax {
		return 0, fmt.Errorf("%w: a batch of %d events (at most %d)", ErrTooLarge, len(b.Entries), BatchEventsMax)
	}
	if len(b.Key) > KeyLenMax || len(b.Principal) > PrincipalLenMax {
		return 0, fmt.Errorf("%w: an idempotency key of %d bytes for a principal of %d (at most %d and %d)", ErrTooLarge, len(b.Key), len(b.Principal), KeyLenMax, PrincipalLenMax)
	}
	before, payloads := "", 0
	for i := range b.Entries {
		e := &b.Entries[i]
		if e.Stream != before || i == 0 {
			if err := CheckName(e.Stream); err != nil {
				return 0, fmt.Errorf("entry %d: %w", i, err)
			}
			before = e.Stream
		}
		if len(e.Payload) > PayloadLenMax {
			return 0, fmt.Errorf("%w: entry %d has a payload of %d bytes (at most %d)", ErrTooLarge, i, len(e.Payload), PayloadLenMax)
		}
		payloads += len(e.Payload)
	}
	if payloads > BatchLenMax {
		return 0, fmt.Errorf("%w: a batch of %d bytes (at most %d)", ErrTooLarge, payloads, BatchLenMax)
	}
	if b.Key != "" {
		a.scope, a.digest = b.retry()
	}
	return payloads + len(b.Entries)*entryLen, nil
}

// stage implements task.
func (a *appendTask) stage(c *committer) error {
	if a.batch.Key != "" {
		receipt, err := c.repeat(a)
		if err != nil {
			return err
		}
		if receipt != nil {
			a.receipt = *receipt
			c.repeated++
			return nil
		}
	}
	if c.full != nil {
		c.t.counts.full.Add(1)
		return c.full
	}
	after, err := a.admit(c)
	if err != nil {
		return err
	}
	first, epoch, err := c.reserve(max(after, a.batch.Observe), len(a.batch.Entries))
	if errors.Is(err, hlc.ErrLead) && after > a.batch.Observe && after > c.t.issuer.clock.Last() {
		return fmt.Errorf("%w; the last event of the stream is from before a rebase, and time in a stream never goes back: append to another stream until then", err)
	}
	if err != nil {
		return err
	}
	a.receipt = Receipt{Timestamp: first, Sequences: make([]uint64, len(a.batch.Entries))}
	for i, st := range a.streams {
		at := first + hlc.Timestamp(i)
		if h := c.current(st); h == nil || h.record.deleted != 0 {
			c.create(st, at, epoch, Retention{})
		}
		a.receipt.Sequences[i] = c.add(st, a.batch.Entries[i].Payload, at, epoch)
	}
	if a.batch.Key != "" {
		c.remember(a)
	}
	c.appends++
	return nil
}

// admit looks up the streams, and fails where one is not as expected. It returns a
// timestamp that those of the events have to be above.
func (a *appendTask) admit(c *committer) (after hlc.Timestamp, err error) {
	entries := a.batch.Entries
	a.streams = make([]*stream, len(entries))
	defer func() {
		for _, st := range a.streams {
			if st != nil {
				st.extra = 0
			}
		}
	}()
	fresh := uint64(0)
	for i := range entries {
		e := &entries[i]
		if i > 0 && e.Stream == entries[i-1].Stream {
			a.streams[i] = a.streams[i-1]
		} else if a.streams[i], err = c.t.catalog.take(e.Stream); err != nil {
			return 0, err
		}
		st := a.streams[i]
		last := uint64(0)
		switch h := c.current(st); {
		case h == nil:
			if st.extra == 0 {
				fresh++
			}
		default:
			last = h.last.sequence
			if h.record.deleted == 0 {
				after = max(after, h.last.timestamp)
			}
		}
		if last += st.extra; e.Expected != nil && *e.Expected != last {
			c.t.counts.conflicts.Add(1)
			return 0, &ConflictError{Stream: e.Stream, Expected: *e.Expected, Last: last}
		}
		st.extra++
	}
	return after, c.room(fresh)
}

// room fails where there can be no n more streams.
func (c *committer) room(n uint64) error {
	if n > 0 && c.t.catalog.last.Load()+n > StreamsMax {
		return fmt.Errorf("%w: this store has had %d streams, and can have no more; use fewer streams, and put what tells them apart into the payload", ErrTooLarge, StreamsMax)
	}
	return nil
}

// streamTask is a task that changes one stream.
type streamTask interface {
	task
	stream() Stream // as the task has left it
}

// changed is what the tasks that change a stream have in common.
type changed struct{ after Stream }

func (c *changed) stream() Stream { return c.after }

// existing returns a stream that exists, for a task to change.
func (c *committer) existing(name string) (*stream, *head, error) {
	st, err := c.t.catalog.take(name)
	if err != nil {
		return nil, nil, err
	}
	h := c.current(st)
	if h == nil || h.record.deleted != 0 {
		return nil, nil, fmt.Errorf("%w: %q", ErrNoStream, name)
	}
	return st, h, nil
}

// createTask creates a stream.
type createTask struct {
	changed
	name      string
	retention Retention
}

// stage implements task.
func (a *createTask) stage(c *committer) error {
	if c.full != nil {
		c.t.counts.full.Add(1)
		return c.full
	}
	st, err := c.t.catalog.take(a.name)
	if err != nil {
		return err
	}
	h := c.current(st)
	if h != nil && h.record.deleted == 0 {
		return fmt.Errorf("%w: %q", ErrExists, a.name)
	}
	if h == nil {
		if err := c.room(1); err != nil {
			return err
		}
	}
	at, epoch, err := c.reserve(0, 1)
	if err != nil {
		return err
	}
	c.create(st, at, epoch, a.retention)
	a.after = c.current(st).describe(a.name)
	return nil
}

// retentionTask replaces the retention of a stream.
type retentionTask struct {
	changed
	name      string
	retention Retention
}

// stage implements task.
func (a *retentionTask) stage(c *committer) error {
	st, _, err := c.existing(a.name)
	if err != nil {
		return err
	}
	_, epoch, err := c.reserve(0, 1)
	if err != nil {
		return err
	}
	h := c.change(st)
	h.record.retention = a.retention
	c.write(h, epoch)
	a.after = h.describe(a.name)
	return nil
}

// trimTask removes the events below first.
type trimTask struct {
	changed
	name  string
	first uint64
}

// stage implements task.
func (a *trimTask) stage(c *committer) error {
	st, h, err := c.existing(a.name)
	if err != nil {
		return err
	}
	if a.first > h.last.sequence+1 {
		return fmt.Errorf("%w: %q cannot begin at sequence %d, its next one is %d", ErrRange, a.name, a.first, h.last.sequence+1)
	}
	if a.first <= h.record.base.sequence+1 {
		a.after = h.describe(a.name)
		return nil
	}
	if st.staged != nil {
		return errLater
	}
	base := h.last
	if a.first <= h.last.sequence {
		if base, err = readPosition(c.t.store.db, h.number, a.first-1); err != nil {
			return err
		}
	}
	_, epoch, err := c.reserve(0, 1)
	if err != nil {
		return err
	}
	h = c.change(st)
	c.cut(h, base)
	c.write(h, epoch)
	a.after = h.describe(a.name)
	return nil
}

// cut removes the events of a stream up to base.
func (c *committer) cut(h *head, base position) {
	c.trimmed += base.sequence - h.record.base.sequence
	c.removeRange(eventKey(h.number, h.record.base.sequence), eventKey(h.number, base.sequence+1))
	h.record.base = base
}

// deleteTask removes a stream.
type deleteTask struct {
	changed
	name string
}

// stage implements task.
func (a *deleteTask) stage(c *committer) error {
	st, h, err := c.existing(a.name)
	if err != nil {
		return err
	}
	if st.staged != nil {
		return errLater
	}
	at, epoch, err := c.reserve(0, 1)
	if err != nil {
		return err
	}
	a.after = h.describe(a.name)
	a.after.Deleted = at
	h = c.change(st)
	h.record.deleted = at
	c.cut(h, h.last)
	c.write(h, epoch)
	return nil
}

// closeTask closes the time up to now.
type closeTask struct{}

// stage implements task.
func (closeTask) stage(c *committer) error {
	_, _, err := c.reserve(0, 1)
	return err
}

// expireTask forgets the idempotency keys of the periods below first.
type expireTask struct{ first uint32 }

// stage implements task.
func (a expireTask) stage(c *committer) error {
	c.removeRange(
		binary.BigEndian.AppendUint32([]byte{tableRetry}, 0),
		binary.BigEndian.AppendUint32([]byte{tableRetry}, a.first))
	return nil
}
