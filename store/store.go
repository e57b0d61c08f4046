package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/truechimer/truechimer/hlc"
)

// Store is an open data directory. All its methods may be called concurrently.
type Store struct {
	fs      vfs.FS
	dir     string
	id      id
	node    uint16
	engine  *engineFS
	db      *pebble.DB
	lock    io.Closer
	fence   *fence
	backups backups
	journal atomic.Bool // there is one

	reading sync.RWMutex // held for reading across reads of the database; for writing across its end
	ended   bool         // guarded by reading

	mu      sync.Mutex // orders all writes to the database; held across their sync
	ceiling Ceiling    // as it was last written or read
	closed  bool
}

var _ CeilingStore = (*Store)(nil)

// Options of a Store.
type Options struct {
	// Node is the number of this node; a store belongs to the one that created it.
	Node uint16
	// Logger gets changes of state; nil drops them.
	Logger *slog.Logger

	fs vfs.FS // nil: the operating system's
}

// Open opens the store in dir, and creates it when dir is missing or empty. The
// directory is locked first; a creation that was cut off is finished. An error that
// wraps ErrRefused says why dir cannot be used and what to do; dir is then as it was, but
// for a creation that failed on the way, which the next Open takes up again.
func Open(dir string, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.fs == nil {
		o.fs = vfs.Default
		dir = canonical(dir)
	}
	d := directory{fs: o.fs, path: dir, node: o.Node, log: o.Logger}
	lock, r, err := d.prepare()
	if err != nil {
		return nil, err
	}
	s := &Store{fs: o.fs, dir: dir, id: r.format.id, node: o.Node, lock: lock, fence: newFence(o.Logger), ceiling: r.ceiling}
	s.engine = newEngineFS(o.fs, o.fs.PathJoin(dir, engineName), s.fence)
	s.backups.init()
	if err := s.openEngine(o); err != nil {
		if !errors.Is(err, ErrFenced) { // else Pebble may still be at work in there
			err = errors.Join(err, lock.Close())
		}
		return nil, err
	}
	return s, nil
}

// openEngine opens the database for writing and reads back what prepare has read.
func (s *Store) openEngine(o Options) error {
	return s.fence.guard(func() error {
		db, err := pebble.Open(s.engine.dir, engineOptions(s.engine, o.Logger))
		if err != nil {
			return fmt.Errorf("open store %q: open database: %w", s.dir, err)
		}
		r, err := readRecords(db)
		if err == nil && (r.ceiling != s.ceiling || r.owner != s.id || r.format.id != s.id) {
			err = fmt.Errorf("%w: records changed between two reads", ErrDamaged)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("open store %q: %w", s.dir, err), db.Close())
		}
		s.db = db
		return nil
	})
}

// canonical returns one name for one directory, which need not exist: the lock inside a
// process goes by name.
func canonical(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return dir
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real
	}
	parent := filepath.Dir(abs)
	if parent == abs {
		return abs
	}
	return filepath.Join(canonical(parent), filepath.Base(abs))
}

// usable fails with ErrFenced and ErrClosed.
func (s *Store) usable() error {
	if err := s.fence.err(); err != nil {
		return err
	}
	if s.backups.life.Err() != nil {
		return ErrClosed
	}
	return nil
}

// ID returns the random name that the store got when it was created, 32 hexadecimal
// digits.
func (s *Store) ID() string { return s.id.String() }

// Fenced returns a channel that is closed when a write has failed; see ErrFenced.
func (s *Store) Fenced() <-chan struct{} { return s.fence.up }

// Err returns nil, or why the store is fenced: an error that wraps ErrFenced.
func (s *Store) Err() error { return s.fence.err() }

// Close ends a backup, waits for the write in progress and closes the store; later calls return
// ErrClosed, a second Close nil. A fenced store returns an error that wraps ErrFenced
// and keeps its lock and memory until the process ends: parts of the database may still
// be at work in the directory, and nobody else may be.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.backups.close(s.fence)
	if err := s.fence.guard(s.end); err != nil {
		if s.fence.err() != nil {
			return err
		}
		return errors.Join(fmt.Errorf("close store %q: %w", s.dir, err), s.lock.Close())
	}
	return s.lock.Close()
}

// end waits for the reads in progress and closes the database.
func (s *Store) end() error {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.ended = true
	return s.db.Close()
}

// read calls do with the database, and returns its error. It fails with ErrClosed and
// ErrFenced; do may go on after the latter, and must not touch what its caller can reach.
func (s *Store) read(do func(db *pebble.DB) error) error {
	return s.fence.guard(func() error {
		s.reading.RLock()
		defer s.reading.RUnlock()
		if s.ended {
			return ErrClosed
		}
		return do(s.db)
	})
}

// fetch is read for what has a result.
func fetch[T any](s *Store, do func(db *pebble.DB) (T, error)) (T, error) {
	var result, none T
	if err := s.read(func(db *pebble.DB) (err error) {
		result, err = do(db)
		return err
	}); err != nil {
		return none, err // and result may still be written
	}
	return result, nil
}

// Load implements CeilingStore.
func (s *Store) Load() (Ceiling, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load()
}

// Begin implements CeilingStore.
func (s *Store) Begin() (Ceiling, error) {
	return s.update(func(c Ceiling) (Ceiling, error) { return c.begin(), nil })
}

// Save implements CeilingStore.
func (s *Store) Save(epoch uint64, ceiling hlc.Timestamp) error {
	_, err := s.update(func(c Ceiling) (Ceiling, error) { return c.save(epoch, ceiling) })
	return err
}

// Finish implements CeilingStore.
func (s *Store) Finish(epoch uint64, last hlc.Timestamp) error {
	_, err := s.update(func(c Ceiling) (Ceiling, error) { return c.finish(epoch, last) })
	return err
}

// Rebase implements CeilingStore.
func (s *Store) Rebase(epoch uint64, ceiling hlc.Timestamp) (Ceiling, error) {
	return s.update(func(c Ceiling) (Ceiling, error) { return c.rebase(epoch, ceiling) })
}

// load reads the record and compares it with what this process believes. s.mu is held.
func (s *Store) load() (Ceiling, error) {
	if err := s.fence.err(); err != nil {
		return Ceiling{}, err
	}
	if s.closed {
		return Ceiling{}, ErrClosed
	}
	var owner id
	var c Ceiling
	err := s.fence.guard(func() (err error) {
		owner, c, err = readCeiling(s.db)
		return err
	})
	if err == nil && (owner != s.id || c != s.ceiling) {
		err = fmt.Errorf("%w: ceiling record %+v is not the one that was written, %+v", ErrDamaged, c, s.ceiling)
	}
	if err != nil {
		s.fence.raise(err) // whatever it is, this record can no longer be relied on
		return Ceiling{}, s.fence.err()
	}
	return c, nil
}

// update replaces the record by what rule makes of it, and returns when that is synced.
// Reading, the rule and the write are one critical section. An error of rule changes
// nothing; any other fences the store, because what is on disk is then unknown.
func (s *Store) update(rule func(Ceiling) (Ceiling, error)) (Ceiling, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.load()
	if err != nil {
		return Ceiling{}, err
	}
	next, err := rule(old)
	if err != nil {
		return Ceiling{}, err
	}
	if err := next.valid(); err != nil {
		return Ceiling{}, fmt.Errorf("%w: %w", ErrOrder, err)
	}
	value := encodeCeiling(s.id, next)
	if err := s.write(func() error { return s.db.Set(ceilingKey(), value, pebble.Sync) }); err != nil {
		return Ceiling{}, err
	}
	s.ceiling = next
	return next, nil
}

// write does a synced write to the database. Any failure fences the store, because what is
// on disk is then unknown. s.mu is held: only one write at a time is on its way (see log.go).
func (s *Store) write(do func() error) error {
	if err := s.fence.guard(do); err != nil {
		s.fence.raise(err)
		return s.fence.err()
	}
	return nil
}

// apply makes a batch durable. It fails with ErrClosed, and like write; after ErrFenced the
// batch is not the caller's any more.
func (s *Store) apply(b *pebble.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return s.write(func() error { return s.db.Apply(b, pebble.Sync) })
}
