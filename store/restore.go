package store

// Restore makes a new store of a backup. The backup may be old: what the store that it is of
// has issued and appended since is not in it. So the new store is another one to whoever
// holds something of the old: its id is new, and with it cursors of the old one are refused. It
// starts above whatever the old one can have issued, as long as the clocks were
// within their error bounds: no issuer issues a timestamp that is more than the max lead
// ahead of its physical time. And it is a new epoch, which was never closed in order.
//
// The marker says that the restore is unfinished until all has been synced and read back.

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/truechimer/truechimer/hlc"
)

// RestoreOptions of a Restore. Floor is required.
type RestoreOptions struct {
	// Floor is a timestamp that nothing issued before the restore is above: UTC now, and the
	// error bound of that, and the greatest max lead that the store had.
	Floor hlc.Timestamp
	// Window is that of IssuerOptions, the greatest that the store had; 0 means
	// WindowDefault.
	Window time.Duration
	// Progress is told how far it is; nil: nobody is.
	Progress func(Progress)

	fs vfs.FS // nil: the operating system's
}

// RestoreResult is a store that was restored.
type RestoreResult struct {
	Dir    string // as it is named by the file system
	ID     string // of the new store
	Backup string // ID of the store that the backup is of
	Node   uint16 // the number that it belongs to, as before
	Epoch  uint64
	// Ceiling is where the new store starts: everything that it issues is above.
	Ceiling hlc.Timestamp
	// Streams exist, and hold Events with payloads of EventBytes.
	Streams, Events, EventBytes uint64
	Files, Bytes                uint64 // copied
}

// Restore makes a store in dir, which must be missing or empty, of the backup in from,
// which it verifies first and leaves as it is. On an error, and when ctx ends, what was made
// is removed again; where the process or the machine ends, Open refuses what there is.
//
// It fails with an error that wraps ErrRefused where from is no backup, one of a newer
// version, or damaged, and where dir cannot be used; and with errors of the disk.
func Restore(ctx context.Context, from, dir string, o RestoreOptions) (RestoreResult, error) {
	if o.Floor == 0 {
		return RestoreResult{}, errors.New("store: a restore needs a floor: the present time, its error bound and the max lead added up")
	}
	if o.Window == 0 {
		o.Window = WindowDefault
	}
	if o.Window < WindowMin || o.Window > WindowMax {
		return RestoreResult{}, fmt.Errorf("store: window %v is out of range (want %v to %v)", o.Window, WindowMin, WindowMax)
	}
	if o.fs == nil {
		o.fs = vfs.Default
		from, dir = canonical(from), canonical(dir)
	}
	quiet := slog.New(slog.DiscardHandler)
	backup := directory{fs: o.fs, path: from, log: quiet, op: "restore from", backup: true}
	target := directory{fs: o.fs, path: dir, log: quiet, op: "restore to"}
	if inside(dir, from) {
		return RestoreResult{}, target.refuse(ErrUnwritable, "it is in the backup itself", remedyVacant, nil)
	}
	if err := target.vacant(); err != nil {
		return RestoreResult{}, err
	}
	r := &reporter{tell: o.Progress}
	report, err := backup.proved(ctx, r)
	if err == nil {
		var result RestoreResult
		if result, err = restore(ctx, backup, target, report, o, r); err == nil {
			r.end(true)
			return result, nil
		}
	}
	r.end(false)
	if errors.Is(err, ErrRefused) {
		return RestoreResult{}, err
	}
	return RestoreResult{}, fmt.Errorf("restore %q to %q: %w", from, dir, err)
}

// proved verifies a backup.
func (d directory) proved(ctx context.Context, r *reporter) (VerifyReport, error) {
	m, err := d.look()
	if err != nil {
		return VerifyReport{}, err
	}
	switch {
	case m == nil:
		return VerifyReport{}, d.refuse(ErrForeign, "there is no backup in it", remedyNoBackup, nil)
	case m.state == stateBackingUp || m.state == stateRestoring:
		return VerifyReport{}, d.usable(*m)
	case m.state != stateBackup:
		return VerifyReport{}, d.refuse(ErrForeign, "it is a data directory, not a backup", remedyNoBackup, nil)
	}
	report := VerifyReport{}
	if err := d.failed(ctx, d.prove(ctx, *m, &report, r), report.Err()); err != nil {
		return VerifyReport{}, err
	}
	if err := report.Err(); err != nil {
		return VerifyReport{}, d.damaged("it does not verify", err)
	}
	return report, nil
}

// restore makes the new store, or leaves nothing.
func restore(ctx context.Context, backup, target directory, report VerifyReport, o RestoreOptions, r *reporter) (RestoreResult, error) {
	c, err := readInventory(backup.fs, backup.path)
	if err != nil {
		return RestoreResult{}, backup.damaged("its inventory cannot be read", err)
	}
	next := Ceiling{Epoch: report.Epoch + 1, Ceiling: max(report.Ceiling, o.Floor) + hlc.Timestamp(o.Window), Clean: report.record.Clean, Last: report.record.Last, Rebases: report.record.Rebases}
	if next.Ceiling < o.Floor || next.Epoch == 0 {
		return RestoreResult{}, fmt.Errorf("the new ceiling, %v above %v, is beyond the end of time", o.Window, max(report.Ceiling, o.Floor))
	}
	m := marker{state: stateRestoring}
	if _, err := rand.Read(m.id[:]); err != nil {
		return RestoreResult{}, fmt.Errorf("store id: %w", err)
	}
	_, err = target.fs.Stat(target.path)
	made := errors.Is(err, iofs.ErrNotExist)
	if made {
		err = target.makeAll()
	}
	if err != nil {
		return RestoreResult{}, target.unwritable("cannot create it", err)
	}
	lock, err := target.fs.Lock(target.join(lockName))
	if err != nil {
		return RestoreResult{}, target.lockRefusal(err)
	}
	if err = target.vacant(); err == nil { // again: it may have changed before the lock was taken
		if err = target.fill(ctx, backup, c, m, formatRecord{format, m.id, report.Node}, next, r); err != nil {
			err = target.undo(err)
		}
	}
	if err != nil {
		_ = target.fs.Remove(target.join(lockName))
		if made {
			_ = target.fs.Remove(target.path) // which fails where anything is left
		}
		return RestoreResult{}, errors.Join(err, lock.Close())
	}
	if err := lock.Close(); err != nil {
		return RestoreResult{}, err
	}
	return RestoreResult{
		Dir: target.path, ID: m.id.String(), Backup: report.ID, Node: report.Node, Epoch: next.Epoch, Ceiling: next.Ceiling,
		Streams: report.Streams, Events: report.Events, EventBytes: report.Bytes,
		Files: uint64(len(c.files)), Bytes: c.bytes(),
	}, nil
}

// fill copies the backup into the directory and makes a store of its own of it.
func (d directory) fill(ctx context.Context, backup directory, c inventory, m marker, f formatRecord, next Ceiling, r *reporter) error {
	if err := writeMarker(d.fs, d.path, m); err != nil {
		return err
	}
	dir := d.join(engineName)
	if err := d.fs.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	r.phase("copying", uint64(len(c.files)), c.bytes())
	for _, file := range c.files {
		if err := d.copy(ctx, backup, file, r); err != nil {
			return err
		}
	}
	if err := syncDir(d.fs, dir); err != nil {
		return err
	}
	if err := renew(d.fs, dir, f, next, d.log); err != nil {
		return err
	}
	got, err := d.verify(m.id)
	if err != nil {
		return err
	}
	if got.ceiling != next || got.format != f {
		return d.damaged(fmt.Sprintf("its records read %+v and %+v", got.format, got.ceiling), nil)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.state = stateReady
	return writeMarker(d.fs, d.path, m)
}

// copy copies one file of a backup and syncs it.
func (d directory) copy(ctx context.Context, backup directory, want inventoryFile, r *reporter) error {
	src, err := d.fs.Open(d.fs.PathJoin(backup.path, engineName, want.name), vfs.SequentialReadsOption)
	if err != nil {
		return fmt.Errorf("copy file: %w", err)
	}
	dst, err := d.fs.Create(d.fs.PathJoin(d.path, engineName, want.name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("copy file: %w", errors.Join(err, src.Close()))
	}
	size, sum, err := copySum(ctx, dst, src, r)
	if err == nil {
		err = dst.Sync()
	}
	if err := errors.Join(err, dst.Close(), src.Close()); err != nil {
		return fmt.Errorf("copy file %s: %w", want.name, err)
	}
	if size != want.size || sum != want.sum {
		return backup.damaged(fmt.Sprintf("its file %s has changed since it was verified", want.name), nil)
	}
	return nil
}

// renew gives the database in dir the records of a new store.
func renew(fs vfs.FS, dir string, f formatRecord, c Ceiling, log *slog.Logger) error {
	fence := newFence(nil)
	err := fence.guard(func() error {
		o := engineOptions(newEngineFS(fs, dir, fence), log)
		o.DisableTableStats = true           // as in peek
		o.DisableAutomaticCompactions = true // the server can do that
		db, err := pebble.Open(dir, o)
		if err != nil {
			return fmt.Errorf("open database: %w", err)
		}
		batch := db.NewBatch()
		err = errors.Join(batch.Set(formatKey(), f.encode(), nil), batch.Set(ceilingKey(), encodeCeiling(f.id, c), nil))
		if err == nil {
			err = batch.Commit(pebble.Sync)
		}
		if err == nil {
			err = db.Flush() // out of the end of the log, whose damage cannot be told
		}
		if err = errors.Join(err, batch.Close(), db.Close()); err != nil {
			return fmt.Errorf("renew records: %w", err)
		}
		return nil
	})
	if fence.err() != nil {
		return fence.cause // nobody was told anything: it is no fence to the caller
	}
	return err
}
