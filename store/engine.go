package store

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// engineFormat is pinned. Pebble's default would drop acknowledged writes silently
	// when a byte in the middle of the log is damaged; from FormatWALSyncChunks on, such
	// damage is reported, and from FormatTableFormatV6 on a table's footer has a checksum.
	engineFormat = pebble.FormatTableFormatV6

	engineName = "pebble"

	// What is appended is sorted again and again on its way down the levels, which costs more
	// than all else together. The larger what goes down at a time, the fewer times; the log is
	// as long, and an open after a crash replays it.
	memTableLenBytes = 16 << 20
	levelBaseLen     = 256 << 20
	// sublevelsSorted is how many sublevels of the first level are sorted into the next one
	// together. Where there are many streams, each time rewrites most of that one. At 4, a store of
	// 10 million events took appends at 0.66 of the rate of an empty one, at 12 as fast.
	sublevelsSorted = 12
	// filesSorted is how many tables the first level may have, however few sublevels they make: what
	// is appended in the order of its keys, as journal and history are, makes one or two. Pebble's
	// 500 let the tables of months wait there, uncompressed, with what was trimmed meanwhile.
	filesSorted   = 64
	tableLenBytes = 8 << 20
	blockLenBytes = 16 << 10

	cacheLenBytes = 16 << 20
	filesMax      = 256
	filterBits    = 10 // of a Bloom filter, for each key: one in a hundred looks is for nothing

	// memTablesMax is how many tables may be in memory, those on their way to disk included,
	// and sublevelsMax how many sublevels of the first level there may be. Where the database
	// meets such a limit it makes every writer wait, ceilings too: so its own limits are higher,
	// and only the committer keeps to these; see pressed.
	memTablesMax = 4
	sublevelsMax = 20
)

// engineOptions are the same for every open but for the file system and the rights.
func engineOptions(fs *engineFS, log *slog.Logger) *pebble.Options {
	fence := fs.fence
	o := &pebble.Options{
		FS:                 fs,
		FormatMajorVersion: engineFormat,
		Logger:             &engineLogger{fence: fence, log: log},
		EventListener: &pebble.EventListener{
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				fence.raise(fmt.Errorf("damaged file %s: %w", info.Path, info.Details))
				park() // Pebble would run into it again at once, and for ever
			},
			// A flush or a compaction that fails is tried again at once and for ever, on a
			// full disk with all of a core, and Open waits for it.
			BackgroundError: func(err error) {
				fence.raise(fmt.Errorf("background work of the database: %w", err))
				park()
			},
		},
		CacheSize:                   cacheLenBytes,
		MemTableSize:                memTableLenBytes,
		MemTableStopWritesThreshold: 2 * memTablesMax,
		L0CompactionThreshold:       sublevelsSorted,
		L0CompactionFileThreshold:   filesSorted,
		L0StopWritesThreshold:       4 * sublevelsMax,
		LBaseMaxBytes:               levelBaseLen,
		MaxOpenFiles:                filesMax,
		DisableWAL:                  false,
		NoSyncOnClose:               false,
		ErrorIfNotExists:            true,
	}
	for i := range o.Levels {
		l := &o.Levels[i]
		l.BlockSize = blockLenBytes
		l.FilterPolicy = bloom.FilterPolicy(filterBits)
		l.Compression = func() *sstable.CompressionProfile { return sstable.FastestCompression }
		o.TargetFileSizes[i] = tableLenBytes
	}
	// Tables of the first level are soon written again.
	o.Levels[0].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	o.Experimental.CompactionScheduler = new(compactions)
	return o
}

// pressed reports whether the database has so much to write out and to sort that who
// appends has to wait.
func pressed(db *pebble.DB) bool {
	m := db.Metrics()
	return m.MemTable.Size >= memTablesMax*memTableLenBytes || m.Levels[0].Sublevels >= sublevelsMax
}

// createEngine makes the database in dir with its first records and closes it again.
func createEngine(fs vfs.FS, dir string, r formatRecord, log *slog.Logger) error {
	fence := newFence(nil)
	err := fence.guard(func() error {
		o := engineOptions(newEngineFS(fs, dir, fence), log)
		o.ErrorIfNotExists, o.ErrorIfExists = false, true
		db, err := pebble.Open(dir, o)
		if err != nil {
			return fmt.Errorf("create database: %w", err)
		}
		// A new database writes its first log in an old format, whatever is pinned: the
		// flush ends that log before anything that matters is written.
		err = db.Set(formatKey(), r.encode(), pebble.Sync)
		if err == nil {
			err = db.Flush()
		}
		if err == nil {
			err = db.Set(ceilingKey(), encodeCeiling(r.id, Ceiling{}), pebble.Sync)
		}
		if err = errors.Join(err, db.Close()); err != nil {
			return fmt.Errorf("create records: %w", err)
		}
		return nil
	})
	if fence.err() != nil {
		return fence.cause // nothing was acknowledged: it is no fence to the caller
	}
	return err
}

// records are what Open reads from the database before it trusts it.
type records struct {
	format  formatRecord
	ceiling Ceiling
	owner   id // the store id in the ceiling record
}

// readRecords reads both records of db.
func readRecords(db *pebble.DB) (r records, err error) {
	b, err := get(db, formatKey())
	if err != nil {
		return records{}, fmt.Errorf("read format record: %w", err)
	}
	if r.format, err = decodeFormat(b); err != nil {
		return records{}, err
	}
	r.owner, r.ceiling, err = readCeiling(db)
	return r, err
}

// readCeiling reads the ceiling record of db.
func readCeiling(db *pebble.DB) (owner id, c Ceiling, err error) {
	b, err := get(db, ceilingKey())
	if err != nil {
		return id{}, Ceiling{}, fmt.Errorf("read ceiling record: %w", err)
	}
	return decodeCeiling(b)
}

// scanRecords reads every version of both records that is in any file: reading one stops
// at the newest, and damage below it would come up only when the database is at work.
func scanRecords(db *pebble.DB) error {
	after := []byte{ceilingKey()[0] + 1}
	iter, err := db.NewIter(&pebble.IterOptions{LowerBound: formatKey(), UpperBound: after})
	if err != nil {
		return fmt.Errorf("scan records: %w", err)
	}
	for ok := iter.First(); ok; ok = iter.Next() {
	}
	if err := iter.Close(); err != nil { // and what First or Next met
		return fmt.Errorf("scan records: %w", err)
	}
	return nil
}

// get returns a copy of the value of key.
func get(db *pebble.DB, key []byte) ([]byte, error) {
	v, closer, err := db.Get(key)
	if err != nil {
		return nil, err
	}
	b := append([]byte(nil), v...)
	return b, closer.Close()
}

// peekRecords reads the records of the database in dir without changing a byte of it.
func peekRecords(fs vfs.FS, dir string) (r records, err error) {
	err = peek(fs, dir, func(db *pebble.DB) (err error) {
		if err = scanRecords(db); err == nil {
			r, err = readRecords(db)
		}
		return err
	})
	if err != nil {
		return records{}, err
	}
	return r, nil
}

// peek opens the database in dir, calls look and closes it again, without changing a byte:
// Pebble replays the log in memory, and would refuse a damaged one here.
func peek(fs vfs.FS, dir string, look func(*pebble.DB) error) error {
	fence := newFence(nil)
	err := fence.guard(func() error {
		sealed := sealedFS{fs}
		lock, err := pebble.LockDirectory(dir, sealed)
		if err != nil {
			return err
		}
		o := engineOptions(newEngineFS(sealed, dir, fence), slog.New(slog.DiscardHandler))
		o.ReadOnly, o.Lock = true, lock
		// A goroutine of Pebble reads these, and panics where Open fails meanwhile.
		o.DisableTableStats = true
		o.EventListener.DataCorruption = func(pebble.DataCorruptionInfo) {} // it is the error of a read
		db, err := pebble.Open(dir, o)
		if err != nil {
			return errors.Join(err, lock.Close())
		}
		return errors.Join(look(db), db.Close(), lock.Close())
	})
	if fence.err() != nil {
		return fence.cause // nothing was written: it is no fence to the caller
	}
	return err
}
