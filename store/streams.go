package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/truechimer/truechimer/hlc"
)

const (
	// ReserveDefault is the free disk space that appends leave alone. Ceilings and the
	// database's own work may still use it.
	ReserveDefault = 256 << 20
	// RetentionEvery is how often retention looks for what may be removed.
	RetentionEvery = 10 * time.Second
	// HeartbeatDefault is how long a Watcher waits for events before it delivers none.
	HeartbeatDefault = 5 * time.Second
)

// StreamsOptions of a Streams. The zero StreamsOptions are the defaults.
type StreamsOptions struct {
	// Reserve is the free disk space, in bytes, below which nothing is appended; 0 means
	// ReserveDefault.
	Reserve uint64
	// Heartbeat is how long a Watcher waits for events before it delivers none; 0 means
	// HeartbeatDefault.
	Heartbeat time.Duration
	// RetentionEvery is how often retention looks for what may be removed; 0 means
	// RetentionEvery, and less than 0 never.
	RetentionEvery time.Duration
	// Logger gets changes of state; nil drops them.
	Logger *slog.Logger
}

// Streams are the event streams of a store. What Append has answered is durable, and so is
// whatever a read or a watch returns. All methods may be called concurrently.
type Streams struct {
	store  *Store
	issuer *Issuer
	log    *slog.Logger
	o      StreamsOptions

	catalog  catalog
	queue    queue
	watchers watchers
	space    space
	counts   counts

	closed   atomic.Uint64 // the closed timestamp
	timeline atomic.Uint64 // the number of rebases that the closed timestamp is of

	committer committer
	committed chan struct{}   // closed when the committer has ended
	ctx       context.Context // ends when it has
	stop      context.CancelFunc
	retaining sync.WaitGroup
	closing   sync.Once
	closeErr  error
}

// counts are the counters of StreamsStatus.
type counts struct {
	appends, events, bytes, groups, repeated, conflicts, busy, full, delivered, trimmed, stalls atomic.Uint64
}

// NewStreams returns the streams of s, whose events are stamped by i. It fails on options
// out of range and on a store that cannot be read. The caller closes the streams before
// the issuer, and that before the store.
func NewStreams(s *Store, i *Issuer, o StreamsOptions) (*Streams, error) {
	if o.Reserve == 0 {
		o.Reserve = ReserveDefault
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = HeartbeatDefault
	}
	if o.RetentionEvery == 0 {
		o.RetentionEvery = RetentionEvery
	}
	if o.Heartbeat < 0 {
		return nil, fmt.Errorf("store: heartbeat %v is negative", o.Heartbeat)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Streams{store: s, issuer: i, log: o.Logger, o: o, committed: make(chan struct{})}
	t.ctx, t.stop = context.WithCancel(context.Background())
	t.queue.init()
	t.watchers.init()
	t.catalog.init(s)
	t.space = space{fs: s.fs, dir: s.dir, reserve: o.Reserve}
	_ = t.space.check(t.log) // for the status, before there is anything to append
	last, err := t.lastNumber()
	if err != nil {
		return nil, fmt.Errorf("open streams: %w", err)
	}
	t.catalog.last.Store(last)
	status := i.Status()
	t.committer = committer{t: t, batch: s.db.NewBatch(), retries: map[retryScope]retryRecord{}, epoch: status.Epoch}
	t.timeline.Store(status.Rebases)
	// Nothing below where this epoch starts is still to come.
	t.closed.Store(uint64(status.Last))
	go t.committer.run()
	if o.RetentionEvery > 0 {
		t.retaining.Go(t.retain)
	}
	return t, nil
}

// lastNumber returns the greatest number that a stream has.
func (t *Streams) lastNumber() (uint64, error) {
	return fetch(t.store, func(db *pebble.DB) (last uint64, err error) {
		iter, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{tableStream}, UpperBound: []byte{tableStream + 1}})
		if err != nil {
			return 0, err
		}
		if iter.Last() {
			last, err = numberOf(iter.Key())
		}
		return last, errors.Join(err, iter.Close())
	})
}

// Close ends the streams: what waits for the committer is still appended, later calls
// return ErrClosed, and watchers end. It returns an error that wraps ErrFenced where the
// store is fenced. A second Close returns the same.
func (t *Streams) Close() error {
	t.closing.Do(func() {
		t.queue.close()
		t.watchers.close()
		select {
		case <-t.committed:
		case <-t.store.fence.up: // the committer may be parked
		}
		if t.closeErr = t.store.fence.err(); t.closeErr == nil { // else the database may have the batch for good
			t.closeErr = t.committer.batch.Close()
		}
		t.stop()
		t.retaining.Wait()
	})
	return t.closeErr
}

// Closed returns the closed timestamp: every event that is not above it can be read, and
// no other will come. It advances with each append, and, where nothing is appended, with
// Cut and with the heartbeats of watchers.
func (t *Streams) Closed() hlc.Timestamp { return hlc.Timestamp(t.closed.Load()) }

// Status returns what the streams are doing. It does not wait for the disk.
func (t *Streams) Status() StreamsStatus {
	s := StreamsStatus{
		Closed: t.Closed(), Streams: t.catalog.last.Load(), Watchers: t.watchers.len(), Queued: t.queue.len(),
		Appends: t.counts.appends.Load(), Events: t.counts.events.Load(), Bytes: t.counts.bytes.Load(), Groups: t.counts.groups.Load(),
		Repeated: t.counts.repeated.Load(), Conflicts: t.counts.conflicts.Load(), Busy: t.counts.busy.Load(), Full: t.counts.full.Load(),
		Delivered: t.counts.delivered.Load(), Trimmed: t.counts.trimmed.Load(), Stalls: t.counts.stalls.Load(),
		ReserveBytes: t.o.Reserve,
	}
	s.FreeBytes, s.NearlyFull = t.space.last()
	return s
}

// Append makes the batch durable, creating streams that do not exist, and then returns its
// receipt. It fails with ErrName, ErrTooLarge or ErrRange on a batch that can never be
// appended; with ErrConflict, ErrKeyReused, ErrBusy or ErrFull; and like Issuer.Observe.
// Then nothing was appended, and nothing will be. When ctx ends while the batch is being written
// the error wraps ErrUncertain, and so it does with ErrFenced when a write has failed; the
// payloads may then still be read, and must not be changed.
func (t *Streams) Append(ctx context.Context, b Batch) (Receipt, error) {
	a := &appendTask{batch: b}
	size, err := a.check()
	if err != nil {
		return Receipt{}, err
	}
	if err := t.do(ctx, a, size); err != nil {
		return Receipt{}, err
	}
	return a.receipt, nil
}

// Create creates a stream, or creates one again that was deleted, and returns it. It fails
// with ErrName, ErrRange, ErrExists, ErrBusy, ErrFull, and like Issuer.Now.
func (t *Streams) Create(ctx context.Context, name string, r Retention) (Stream, error) {
	if err := errors.Join(CheckName(name), r.check()); err != nil {
		return Stream{}, err
	}
	return t.change(ctx, &createTask{name: name, retention: r})
}

// SetRetention replaces the retention of a stream, and returns the stream. It fails with
// ErrRange, ErrNoStream, and like Create.
func (t *Streams) SetRetention(ctx context.Context, name string, r Retention) (Stream, error) {
	if err := errors.Join(CheckName(name), r.check()); err != nil {
		return Stream{}, err
	}
	return t.change(ctx, &retentionTask{name: name, retention: r})
}

// Trim removes the events of a stream whose sequence is below first, and returns the
// stream; what is not there any more is no error. A first beyond the next sequence fails
// with ErrRange. It fails with ErrNoStream, ErrBusy and ErrFenced besides.
func (t *Streams) Trim(ctx context.Context, name string, first uint64) (Stream, error) {
	if err := CheckName(name); err != nil {
		return Stream{}, err
	}
	return t.change(ctx, &trimTask{name: name, first: first})
}

// Delete removes a stream and its events, and returns what it was. Its name and where it stood are kept, so
// that no sequence of it is ever used twice. It fails with ErrNoStream, and like Create.
func (t *Streams) Delete(ctx context.Context, name string) (Stream, error) {
	if err := CheckName(name); err != nil {
		return Stream{}, err
	}
	return t.change(ctx, &deleteTask{name: name})
}

// change does a task that changes a stream, and returns the stream.
func (t *Streams) change(ctx context.Context, task streamTask) (Stream, error) {
	if err := t.do(ctx, task, 0); err != nil {
		return Stream{}, err
	}
	return task.stream(), nil
}

// Describe returns a stream. It fails with ErrName, ErrNoStream, ErrFenced and ErrClosed.
func (t *Streams) Describe(name string) (Stream, error) {
	if err := CheckName(name); err != nil {
		return Stream{}, err
	}
	if err := t.store.fence.err(); err != nil {
		return Stream{}, err
	}
	if t.ctx.Err() != nil {
		return Stream{}, ErrClosed
	}
	_, h, err := t.existing(name)
	if err != nil {
		return Stream{}, err
	}
	return h.describe(name), nil
}

// existing returns a stream as it is durable. It fails with ErrNoStream.
func (t *Streams) existing(name string) (*stream, *head, error) {
	st, err := t.catalog.find(name)
	if err != nil {
		return nil, nil, err
	}
	if st == nil {
		return nil, nil, fmt.Errorf("%w: %q", ErrNoStream, name)
	}
	h := st.head.Load()
	if h == nil {
		return nil, nil, fmt.Errorf("%w: %q", ErrNoStream, name)
	}
	if h.record.deleted != 0 {
		return nil, nil, fmt.Errorf("%w: %q was deleted at %v, after sequence %d", ErrNoStream, name, h.record.deleted, h.last.sequence)
	}
	return st, h, nil
}

// List returns the streams whose names begin with prefix and are greater than after, in
// the order of their names, limit at the most (0 means ListMax). Deleted ones are left
// out. It fails with ErrName, ErrRange, ErrFenced and ErrClosed.
func (t *Streams) List(prefix, after string, limit int) ([]Stream, error) {
	if limit < 0 || limit > ListMax {
		return nil, fmt.Errorf("%w: a limit of %d streams (want 1 to %d)", ErrRange, limit, ListMax)
	}
	if limit == 0 {
		limit = ListMax
	}
	var list []Stream
	err := t.each(prefix, after, func(name string, _ *stream, h *head) bool {
		if h.record.deleted == 0 {
			list = append(list, h.describe(name))
		}
		return len(list) < limit
	})
	return list, err
}

// namesPerLook is how many names each reads at a time.
const namesPerLook = 1000

// each visits the streams whose names begin with prefix and are greater than after, in the
// order of their names, deleted ones too, until visit returns false.
func (t *Streams) each(prefix, after string, visit func(string, *stream, *head) bool) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	for {
		names, err := t.names(prefix, after)
		if err != nil {
			return err
		}
		for _, name := range names {
			st, err := t.catalog.find(name)
			if err != nil {
				return err
			}
			if st == nil {
				continue // its creation is not durable yet, and may never be
			}
			if h := st.head.Load(); h != nil && !visit(name, st, h) {
				return nil
			}
			after = name
		}
		if len(names) < namesPerLook {
			return nil
		}
		after = names[len(names)-1]
	}
}

// names returns the next names behind after that begin with prefix.
func (t *Streams) names(prefix, after string) ([]string, error) {
	lower, upper := nameKey(prefix), prefixEnd(nameKey(prefix))
	if after >= prefix && after != "" {
		lower = append(nameKey(after), 0) // the next key there can be
	}
	return fetch(t.store, func(db *pebble.DB) (names []string, err error) {
		iter, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		if err != nil {
			return nil, err
		}
		for ok := iter.First(); ok && len(names) < namesPerLook; ok = iter.Next() {
			names = append(names, string(iter.Key()[1:]))
		}
		return names, iter.Close()
	})
}

// prefixEnd returns the first key that is greater than all that begin with prefix, whose
// first byte is the number of a table.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil // invariant: no table is 0xff
}

// advance closes the time up to now: the closed timestamp is greater than everything that
// was issued before the call.
func (t *Streams) advance(ctx context.Context) error { return t.do(ctx, closeTask{}, 0) }
