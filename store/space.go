package store

import (
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// space watches the free space of the disk, so that appends stop while ceilings and the
// database's own work still have room.
type space struct {
	fs      vfs.FS
	dir     string
	reserve uint64

	free atomic.Uint64 // when last looked at; 0: unknown
	full atomic.Bool
}

// check looks at the disk, and returns why nothing may be appended, or nil. What has
// stopped goes on when a sixteenth more than the reserve is free. A disk that does not tell
// is taken for one that has space. The committer alone calls it.
func (s *space) check(log *slog.Logger) error {
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		s.free.Store(0)
		s.full.Store(false)
		return nil
	}
	s.free.Store(usage.AvailBytes)
	full, want := s.full.Load(), s.reserve
	if full {
		want += s.reserve / 16
	}
	if now := usage.AvailBytes < want; now != full {
		s.full.Store(now)
		if now {
			log.Warn("appends stopped: the disk is nearly full", "free", usage.AvailBytes, "reserve", s.reserve)
		} else {
			log.Info("appends go on: the disk has space again", "free", usage.AvailBytes, "reserve", s.reserve)
		}
	}
	if s.full.Load() {
		return fmt.Errorf("%w: %d MiB are free, of which %d MiB are kept in reserve", ErrFull, usage.AvailBytes>>20, s.reserve>>20)
	}
	return nil
}

// last returns what check has found last.
func (s *space) last() (free uint64, full bool) { return s.free.Load(), s.full.Load() }
