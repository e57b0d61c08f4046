package store

// The committer gives every event its sequence and its timestamp and makes it durable.
//
// The problem. A sync of the disk takes a tenth of a millisecond or ten, and an event must
// not be acknowledged before. One sync for each event would allow some thousand events a
// second. And what is written must not be seen before it is durable, though Pebble shows it
// at once: who has read an event acts on it, and after a crash it would never have been.
//
// The idea. One goroutine does it all, in groups. While one group is on its way to the
// disk, callers queue up; then all that have queued up become the next group, with one
// write and one sync. The slower the disk, the larger the groups: that is all the tuning
// there is. One goroutine needs no locks for sequences, sees every conflict, and makes
// the order of commits the order of timestamps: every event of the store has a timestamp
// greater than all that were committed before. So one number says what is durable (the
// closed timestamp), a position in any set of streams is one timestamp, and a cut needs no
// coordination.
//
// A group, step by step:
//
//  1. Stage: each request, in order, is checked against the heads of its streams as this group
//     will leave them, gets its timestamps from the issuer, and adds to the batch.
//     A refusal changes nothing.
//  2. Commit: the batch is applied and synced. Nothing of it can be seen yet, because
//     readers go by the heads.
//  3. Publish: the heads are replaced; watchers are told that there is something new; the closed
//     timestamp advances; callers are answered, and watchers woken.
//
// A failure in step 2 fences the store: what is on disk is then unknown, and nobody is
// answered. Before a group the committer waits until the database has caught up with its work of
// sorting, so that the database never has to make a ceiling wait. Whatever holds up the
// committer fills the queue, which is bounded: callers are refused at once and know that
// nothing was appended.
//
// Two groups on their way to the disk at once, the second being built while the first is
// synced, were considered. For callers that wait for their answer it halves the groups
// and syncs twice as often.

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/truechimer/truechimer/hlc"
)

// committer is the one goroutine that writes to streams, and the group that it is building.
type committer struct {
	t       *Streams
	batch   *pebble.Batch
	changed []*stream                  // whose staged head is set
	retries map[retryScope]retryRecord // that this group adds
	full    error                      // why nothing may be appended in this group; nil: it may
	stamp   hlc.Timestamp              // the last that was given out; 0: none in this group
	epoch   uint64                     // of the last stamp ever; at first, of the issuer
	rebases uint64                     // of the clock since the last group: it begins a new timeline
	begin   hlc.Timestamp              // the first stamp of that

	unlooked int // bytes written since the pressure was looked at

	appends, events, bytes, repeated, trimmed uint64 // of this group
}

// errLater asks for the group to be committed first: a task has to read what it holds.
var errLater = errors.New("store: after this group")

// run commits groups until the queue is closed and empty, or the store is fenced.
func (c *committer) run() {
	defer close(c.t.committed)
	defer func() {
		if r := recover(); r != nil {
			c.t.store.fence.raise(fmt.Errorf("committer panicked: %v", r))
		}
	}()
	var group []*request
	for {
		if group = c.t.queue.take(group[:0]); len(group) == 0 {
			return
		}
		for rest := group; len(rest) > 0; {
			c.relieve()
			n := c.build(rest)
			if !c.commit() {
				return // whoever waits sees the fence
			}
			woken := c.publish()
			for _, r := range rest[:n] {
				close(r.done)
			}
			for _, w := range woken {
				w.signal()
			}
			c.clear()
			rest = rest[n:]
		}
		clear(group) // what was answered is not kept alive
	}
}

// build stages requests up to one that has to wait for those before it to be durable, and
// returns how many.
func (c *committer) build(requests []*request) int {
	c.full = c.t.space.check(c.t.log)
	for i, r := range requests {
		r.err = r.task.stage(c)
		if errors.Is(r.err, errLater) {
			return i // invariant: not 0, for nothing is staged before the first
		}
	}
	return len(requests)
}

// commit makes the group durable. It returns false when the store is fenced: the group
// then has no answer.
func (c *committer) commit() bool {
	if c.t.store.fence.err() != nil {
		return false
	}
	if c.batch.Empty() {
		return true
	}
	length := c.batch.Len() // a large batch is not the same afterwards
	if err := c.t.store.apply(c.batch); err != nil {
		c.t.store.fence.raise(fmt.Errorf("append: %w", err)) // a store that was closed first is no better
		return false
	}
	c.t.counts.groups.Add(1)
	c.unlooked += length
	c.batch.Reset()
	return true
}

const (
	// lookEvery is how many bytes may be written before the pressure is looked at again.
	lookEvery = 1 << 20
	// pressedPause is how long the database gets before it is looked at again.
	pressedPause = 2 * time.Millisecond
)

// relieve waits while the database has too much to do.
func (c *committer) relieve() {
	if c.unlooked < lookEvery {
		return
	}
	c.unlooked = 0
	if !pressed(c.t.store.db) {
		return
	}
	c.t.counts.stalls.Add(1)
	ticker := time.NewTicker(pressedPause)
	defer ticker.Stop()
	for pressed(c.t.store.db) {
		select {
		case <-ticker.C:
		case <-c.t.store.fence.up:
			return
		}
	}
}

// publish lets readers see the group, and returns which watchers are to be woken.
func (c *committer) publish() (woken []*subscriber) {
	if c.rebases > 0 {
		// Who sees the new timeline must not see the closed timestamp of the old one, and who
		// sees an event of the new one must not take the old one for the present.
		c.t.closed.Store(uint64(c.begin - 1))
		c.t.timeline.Add(c.rebases)
		c.rebases = 0
	}
	for _, st := range c.changed {
		st.head.Store(st.staged)
	}
	n := &c.t.counts
	n.appends.Add(c.appends)
	n.events.Add(c.events)
	n.bytes.Add(c.bytes)
	n.repeated.Add(c.repeated)
	n.trimmed.Add(c.trimmed)
	c.appends, c.events, c.bytes, c.repeated, c.trimmed = 0, 0, 0, 0, 0
	return c.t.watchers.note(c.changed, func() {
		if c.stamp != 0 {
			c.t.closed.Store(uint64(c.stamp))
		}
	})
}

// clear makes room for the next group.
func (c *committer) clear() {
	c.stamp = 0
	for _, st := range c.changed {
		st.staged = nil
	}
	clear(c.changed)
	c.changed = c.changed[:0]
	clear(c.retries)
	c.t.catalog.evict()
}

// reserve returns the first of n fresh timestamps, all greater than after, and the epoch
// that they belong to.
func (c *committer) reserve(after hlc.Timestamp, n int) (hlc.Timestamp, uint64, error) {
	first, epoch, err := c.t.issuer.reserveAfter(c.t.ctx, after, n)
	for errors.Is(err, ErrExhausted) && c.t.store.fence.err() == nil {
		// The disk is slow for ceilings, so it is for events: what is queued can wait for both.
		first, epoch, err = c.t.issuer.reserveAfter(c.t.ctx, after, n)
	}
	if err != nil {
		return 0, 0, err
	}
	if epoch != c.epoch {
		c.rebases += epoch - c.epoch // epochs change by a rebase alone
		c.epoch, c.begin = epoch, first
	}
	c.stamp = first + hlc.Timestamp(n-1)
	return first, epoch, nil
}

// current returns the head of a stream as this group will leave it; nil: there is none.
func (*committer) current(st *stream) *head {
	if st.staged != nil {
		return st.staged
	}
	return st.head.Load()
}

// change returns the head of a stream for this group to change.
func (c *committer) change(st *stream) *head {
	if st.staged == nil {
		st.staged = &head{}
		if h := st.head.Load(); h != nil {
			*st.staged = *h
		}
		st.before = st.staged.last.sequence
		c.changed = append(c.changed, st)
	}
	return st.staged
}

// create makes a stream that does not exist, or was deleted, at the given timestamp.
func (c *committer) create(st *stream, at hlc.Timestamp, epoch uint64, r Retention) {
	h := c.change(st)
	if h.number == 0 {
		h.number = c.t.catalog.last.Add(1)
		h.record.name = st.name
		c.set(nameKey(st.name), encodeNumber(st.name, h.number))
	}
	h.record.created, h.record.deleted, h.record.retention = at, 0, r
	// After a rebase the events that were deleted may be from the future.
	h.record.base.timestamp = min(h.record.base.timestamp, at-1)
	h.last = h.record.base
	c.write(h, epoch)
}

// write writes the record of a stream.
func (c *committer) write(h *head, epoch uint64) {
	h.record.epoch, h.record.node = epoch, c.t.store.node
	c.set(streamKey(h.number), h.record.encode(h.number))
}

// set adds a record to the batch.
func (c *committer) set(key, value []byte) { c.must(c.batch.Set(key, value, nil)) }

// removeRange adds the removal of all keys from start on and below end to the batch.
func (c *committer) removeRange(start, end []byte) { c.must(c.batch.DeleteRange(start, end, nil)) }

// must fences the store where a batch in memory cannot be added to: part of a group could
// be written without the rest.
func (c *committer) must(err error) {
	if err != nil {
		c.t.store.fence.raise(fmt.Errorf("build a group: %w", err))
	}
}

// add appends an event to a stream that exists.
func (c *committer) add(st *stream, payload []byte, at hlc.Timestamp, epoch uint64) uint64 {
	h := c.change(st)
	h.last = position{h.last.sequence + 1, at, h.last.total + uint64(len(payload))}
	op := c.batch.SetDeferred(eventKeyLen, eventOverhead+len(payload))
	putEvent(op.Key, op.Value, h.number, h.last, epoch, c.t.store.node, payload)
	c.must(op.Finish())
	c.events++
	c.bytes += uint64(len(payload))
	return h.last.sequence
}
