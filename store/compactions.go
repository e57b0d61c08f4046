package store

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// compactions lets one compaction of the database run at a time, as Pebble's own scheduler
// does with the default limit of one. That one looks ten times a second whether the limit has
// changed, which is most of what an idle appliance would do. Ours is constant, so whoever waits
// is let in by the one that ends, and nothing has to be looked for. One for each open database.
//
// Pebble's lock is taken before ours: the database is never called with mu held.
type compactions struct {
	db pebble.DBForCompaction

	mu      sync.Mutex
	busy    bool // a compaction runs, or one is being let in
	refused bool // since somebody last looked who waits
	closed  bool
	letting sync.WaitGroup // calls of the database
}

// Register implements pebble.CompactionScheduler. It is called before all else.
func (c *compactions) Register(_ int, db pebble.DBForCompaction) { c.db = db }

// Unregister lets nobody in any more, and waits until the database is not being called.
func (c *compactions) Unregister() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.letting.Wait()
}

// TrySchedule lets a compaction in unless another one runs. Whoever is refused is remembered
// by the database, and let in by Done.
func (c *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy || c.closed {
		c.refused = true
		return false, nil
	}
	c.busy = true
	return true, c
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler: the limit never changes.
func (c *compactions) UpdateGetAllowedWithoutPermission() {}

// Started, MeasureCPU and CumulativeStats implement pebble.CompactionGrantHandle.
func (c *compactions) Started()                                                {}
func (c *compactions) MeasureCPU(pebble.CompactionGoroutineKind)               {}
func (c *compactions) CumulativeStats(stats pebble.CompactionGrantHandleStats) {}

// Done ends a compaction and lets the next one in, if one waits. Its place stays taken while
// it asks who does; whoever is refused meanwhile may have come too late for the answer, and is
// asked for again.
func (c *compactions) Done() {
	for c.begin() {
		waiting, _ := c.db.GetWaitingCompaction()
		let := waiting && c.db.Schedule(c)
		if c.end(let) {
			return
		}
	}
}

// begin reports whether the database may still be asked who waits.
func (c *compactions) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = false
	if c.closed {
		return false
	}
	c.letting.Add(1)
	return true
}

// end reports whether the place has been given to somebody, or is free.
func (c *compactions) end(let bool) bool {
	c.letting.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = let || c.refused
	return let || !c.refused
}
