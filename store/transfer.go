package store

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// transfer is what Pebble writes for a backup on its way to another directory, and maybe
// another disk.
type transfer struct {
	ctx    context.Context
	fs     vfs.FS
	dir    string
	report *reporter

	// Pebble copies on one goroutine, which all of these are of.
	since  uint64 // bytes copied since the free space was last looked at
	failed error  // of a directory that could not be synced
}

// spaceEvery is how many bytes are copied between two looks at the free space.
const spaceEvery = 16 << 20

// moved counts a file that was linked.
func (t *transfer) moved(bytes uint64) { t.report.moved(1, bytes) }

// transferFile is a file that is being copied.
type transferFile struct {
	vfs.File
	t *transfer
}

// Write fails when the backup is to end, and when space runs short.
func (f transferFile) Write(p []byte) (int, error) {
	t := f.t
	if err := t.ctx.Err(); err != nil {
		return 0, err
	}
	if t.since += uint64(len(p)); t.since >= spaceEvery {
		t.since = 0
		if usage, err := t.fs.GetDiskUsage(t.dir); err == nil && usage.AvailBytes < backupReserve {
			return 0, fmt.Errorf("%d MiB are free there, and the store may need them: %w", usage.AvailBytes>>20, syscall.ENOSPC)
		}
	}
	n, err := f.File.Write(p)
	t.report.moved(0, uint64(n))
	return n, err
}

// Close ends a file.
func (f transferFile) Close() error {
	f.t.report.moved(1, 0)
	return f.File.Close()
}

// transferDir is a directory of the backup. Its Sync does not fail, because Pebble would
// panic: that it did is in transfer.failed.
type transferDir struct {
	vfs.File
	t *transfer
}

// Sync succeeds.
func (d transferDir) Sync() error {
	d.t.failed = errors.Join(d.t.failed, d.File.Sync())
	return nil
}
