package store

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// engineFormat is pinned. Pebble's default would drop acknowledged writes silently
	// when a byte in the middle of the log is damaged; from FormatWALSyncChunks on, such
	// damage is reported, and from FormatTableFormatV6 on a table's footer has a checksum.
	engineFormat = pebble.FormatTableFormatV6

	engineName = "pebble"

	cacheLenBytes    = 8 << 20
	memTableLenBytes = 4 << 20
	filesMax         = 256
)

// engineOptions are the same for every open but for the file system and the rights.
func engineOptions(fs vfs.FS, fence *fence, log *slog.Logger) *pebble.Options {
	o := &pebble.Options{
		FS:                 engineFS{fs, fence},
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
		CacheSize:        cacheLenBytes,
		MemTableSize:     memTableLenBytes,
		MaxOpenFiles:     filesMax,
		DisableWAL:       false,
		NoSyncOnClose:    false,
		ErrorIfNotExists: true,
	}
	o.Experimental.CompactionScheduler = new(compactions)
	return o
}

// createEngine makes the database in dir with its first records and closes it again.
func createEngine(fs vfs.FS, dir string, r formatRecord, log *slog.Logger) error {
	fence := newFence(nil)
	err := fence.guard(func() error {
		o := engineOptions(fs, fence, log)
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

// peekRecords reads the records of the database in dir without changing a byte of it:
// Pebble replays the log in memory, and would refuse a damaged one here.
func peekRecords(fs vfs.FS, dir string) (records, error) {
	fence := newFence(nil)
	var r records
	err := fence.guard(func() (err error) {
		sealed := sealedFS{fs}
		lock, err := pebble.LockDirectory(dir, sealed)
		if err != nil {
			return err
		}
		o := engineOptions(sealed, fence, slog.New(slog.DiscardHandler))
		o.ReadOnly, o.Lock = true, lock
		o.EventListener.DataCorruption = func(pebble.DataCorruptionInfo) {} // it is the error of a read
		db, err := pebble.Open(dir, o)
		if err != nil {
			return errors.Join(err, lock.Close())
		}
		if err = scanRecords(db); err == nil {
			r, err = readRecords(db)
		}
		return errors.Join(err, db.Close(), lock.Close())
	})
	if fence.err() != nil {
		return records{}, fence.cause // nothing was written: it is no fence to the caller
	}
	if err != nil {
		return records{}, err
	}
	return r, nil
}
