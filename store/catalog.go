package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// catalogMax is how many streams are kept in memory at the least, once so many exist: some
// hundred bytes each; twice as many at the most. The others are read from the database when
// somebody asks for them.
const catalogMax = 1 << 16

// head is what is known of one stream, all of it from one instant. It is immutable.
type head struct {
	number uint64
	record streamRecord
	last   position
}

// describe says it in the words of the callers.
func (h *head) describe(name string) Stream {
	return Stream{
		Name: name, Created: h.record.created, Deleted: h.record.deleted,
		First: h.record.base.sequence + 1, Last: h.last.sequence, LastTimestamp: h.last.timestamp,
		Bytes: h.last.total - h.record.base.total, Retention: h.record.retention,
	}
}

// stream is a stream in memory.
type stream struct {
	name string
	head atomic.Pointer[head] // as it is durable; nil: there is none yet

	// What follows belongs to the committer.
	staged *head  // as it will be with the group that is being built; nil: no different
	before uint64 // last sequence before that group
	extra  uint64 // entries of the batch that is being looked at
}

// catalog knows the streams that somebody has asked for. A stream that the committer
// changes is in it before anything is written, and stays until that is durable: so whoever
// finds a stream here sees it as it is durable, and whoever has to look in the database finds
// only what is durable there.
type catalog struct {
	store *Store
	most  int           // catalogMax
	last  atomic.Uint64 // the greatest number that a stream has

	loading sync.Mutex // orders those who look in the database; taken before mu
	mu      sync.RWMutex
	streams map[string]*stream
}

func (c *catalog) init(s *Store) {
	c.store, c.most, c.streams = s, catalogMax, make(map[string]*stream)
}

// cached returns the stream of that name that is in memory, or nil.
func (c *catalog) cached(name string) *stream {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.streams[name]
}

// find returns the stream of that name, or nil where there is none.
func (c *catalog) find(name string) (*stream, error) {
	if st := c.cached(name); st != nil {
		return st, nil
	}
	return fetch(c.store, func(db *pebble.DB) (*stream, error) { return c.load(db, name, false) })
}

// take returns the stream of that name for the committer, which may create it.
func (c *catalog) take(name string) (*stream, error) {
	if st := c.cached(name); st != nil {
		return st, nil
	}
	return c.load(c.store.db, name, true)
}

// load reads a stream from the database. One that does not exist is nil, unless it is kept;
// one that is not kept is good for one look.
func (c *catalog) load(db *pebble.DB, name string, keep bool) (*stream, error) {
	c.loading.Lock()
	defer c.loading.Unlock()
	if st := c.cached(name); st != nil {
		return st, nil
	}
	h, err := readHead(db, name)
	if err != nil || h == nil && !keep {
		return nil, err
	}
	st := &stream{name: name}
	st.head.Store(h)
	c.mu.Lock()
	defer c.mu.Unlock()
	// Who only reads may go through all streams there are, and would fill the memory with them.
	if keep || len(c.streams) < c.most {
		c.streams[name] = st
	}
	return st, nil
}

// readHead reads what there is of a stream; nil where there is none.
func readHead(db *pebble.DB, name string) (*head, error) {
	b, err := get(db, nameKey(name))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up stream %q: %w", name, err)
	}
	h := &head{}
	if h.number, err = decodeNumber(name, b); err != nil {
		return nil, err
	}
	if b, err = get(db, streamKey(h.number)); err != nil {
		return nil, fmt.Errorf("%w: record of stream %q: %w", ErrDamaged, name, err)
	}
	if h.record, err = decodeStream(h.number, b); err != nil {
		return nil, err
	}
	if h.record.name != name {
		return nil, fmt.Errorf("%w: stream number %d is %q by its record, %q by its name", ErrDamaged, h.number, h.record.name, name)
	}
	h.last, err = lastPosition(db, h)
	return h, err
}

// lastPosition returns where a stream stands behind its last event.
func lastPosition(db *pebble.DB, h *head) (at position, err error) {
	iter, err := db.NewIter(&pebble.IterOptions{LowerBound: eventKey(h.number, 0), UpperBound: eventKey(h.number+1, 0)})
	if err != nil {
		return position{}, err
	}
	at = h.record.base
	if iter.Last() {
		var e storedEvent
		e, err = parseEvent(iter.Key(), iter.Value())
		at = e.position
	}
	return at, errors.Join(err, iter.Close())
}

// numberOf returns the number in the key of a stream record.
func numberOf(key []byte) (uint64, error) {
	if len(key) != 1+8 {
		return 0, fmt.Errorf("%w: a stream record with a key of %d bytes", ErrDamaged, len(key))
	}
	return binary.BigEndian.Uint64(key[1:]), nil
}

// evict forgets some streams where there are many. The committer calls it when all that
// it has written is durable.
func (c *catalog) evict() {
	if c.len() < 2*c.most {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.streams {
		if len(c.streams) <= c.most {
			return
		}
		delete(c.streams, name)
	}
}

func (c *catalog) len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.streams)
}
