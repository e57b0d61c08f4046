package store

// A backup is a checkpoint of the database, in the layout of a data directory, with a
// marker that says what it is: Open refuses it, Restore makes a store of it. It holds the database
// and, where there is a journal, its last head, and nothing else of the data directory, so no secrets.
//
// It is made while the store is at work. Pebble links or copies the tables, which never
// change, and copies the logs as they are; what was acknowledged before is in one or the
// other, and of a group that is being written all or nothing. A failure of the disk that it is
// written to is the backup's alone, and leaves the store as it was.
//
// The marker is written first, and says that the backup is unfinished; it says otherwise only when
// all of the backup has been synced, read back and verified. So a backup that was cut off
// is never taken for one.
//
// Hazard: on the file system of the store, a backup shares the tables with it. That is quick
// and costs no space at first, but damage to the disk harms both: such a backup is to be
// copied elsewhere.

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/truechimer/truechimer/hlc"
)

// ErrBackupRunning reports a backup while there is another: one at a time.
var ErrBackupRunning = errors.New("store: another backup is being made; wait until it is complete, or end it")

// backupReserve is the free space that a copy leaves: it may be the disk of the store.
const backupReserve = ReserveDefault

// BackupResult is a backup that is complete.
type BackupResult struct {
	Dir     string // as it is named by the file system
	ID      string // of the store
	Ceiling hlc.Timestamp
	// Streams exist, and hold Events with payloads of EventBytes.
	Streams, Events, EventBytes uint64
	// Files and Bytes are those of the backup's database.
	Files, Bytes uint64
}

// backups lets one backup at a time be made, until the store is closed.
type backups struct {
	one  chan struct{} // holds a token while there is one, and after close
	life context.Context
	stop context.CancelFunc
}

func (b *backups) init() {
	b.one = make(chan struct{}, 1)
	b.life, b.stop = context.WithCancel(context.Background())
}

// begin fails with ErrBackupRunning and ErrClosed. The context that it returns ends with ctx
// and with the store; end is to be called last.
func (b *backups) begin(ctx context.Context) (running context.Context, end func(), err error) {
	select {
	case b.one <- struct{}{}:
	default:
		if b.life.Err() != nil {
			return nil, nil, ErrClosed
		}
		return nil, nil, ErrBackupRunning
	}
	running, cancel := context.WithCancelCause(ctx)
	forget := context.AfterFunc(b.life, func() { cancel(ErrClosed) })
	return running, func() {
		forget()
		cancel(nil)
		<-b.one
	}, nil
}

// close ends a backup and lets none begin any more. It waits for the end, but in vain where the
// store is fenced.
func (b *backups) close(f *fence) {
	b.stop()
	select {
	case b.one <- struct{}{}:
	case <-f.up:
	}
}

// Backup writes a backup into dir, an absolute path outside of the data directory. The
// directory must be missing or empty, and the one that it is in must exist. What was acknowledged
// before the call is in the backup, and what is acknowledged meanwhile may be. It is
// complete, synced and verified when Backup returns nil. On an error, and when ctx ends,
// what was made is removed again. The store goes on meanwhile, and whatever
// becomes of the backup. progress, which may be nil, is called from any goroutine, by one
// at a time.
//
// It fails with an error that wraps ErrRefused where dir cannot be used, with
// ErrBackupRunning, ErrFenced and ErrClosed, with ErrDamaged where the store holds what
// Verify would find, and with errors of the disk.
func (s *Store) Backup(ctx context.Context, dir string, progress func(Progress)) (BackupResult, error) {
	ctx, end, err := s.backups.begin(ctx)
	if err != nil {
		return BackupResult{}, err
	}
	defer end()
	if err := s.fence.err(); err != nil {
		return BackupResult{}, err
	}
	d := directory{fs: s.fs, path: dir, node: s.node, log: slog.New(slog.DiscardHandler), op: "back up to", backup: true}
	made, err := d.prepareBackup(s.dir)
	if err != nil {
		return BackupResult{}, err
	}
	r := &reporter{tell: progress}
	result, err := s.backUp(ctx, d, r)
	r.end(err == nil)
	if err == nil {
		return result, nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err = d.undo(err); made {
		_ = d.fs.Remove(d.path) // which fails where anything is left
	}
	if errors.Is(err, syscall.ENOSPC) {
		err = fmt.Errorf("%w; free some space there, or choose another disk", err)
	}
	return BackupResult{}, fmt.Errorf("back up to %q: %w", d.path, err)
}

// prepareBackup checks the directory and creates it, and reports whether it has.
func (d *directory) prepareBackup(data string) (made bool, err error) {
	if !filepath.IsAbs(d.path) {
		return false, d.refuse(ErrUnwritable, "it is not an absolute path", "name the directory from the root on, such as /var/backups/truechimer", nil)
	}
	if d.fs == vfs.Default {
		d.path = canonical(d.path)
	}
	if inside(d.path, data) {
		return false, d.refuse(ErrUnwritable, "it is in the data directory itself", "choose a directory elsewhere, on another disk where there is one", nil)
	}
	switch info, err := d.fs.Stat(d.fs.PathDir(d.path)); {
	case err != nil:
		return false, d.unwritable("the directory that it is in cannot be used", err)
	case !info.IsDir():
		return false, d.unwritable("what it is in is not a directory", nil)
	}
	if err := d.vacant(); err != nil {
		return false, err
	}
	if _, err := d.fs.Stat(d.path); err != nil {
		if err := d.makeAll(); err != nil {
			_ = d.fs.Remove(d.path)
			return false, err
		}
		made = true
	}
	return made, nil
}

// vacant refuses a directory that holds something.
func (d *directory) vacant() error {
	m, err := d.look()
	switch {
	case err != nil:
		return err
	case m == nil:
		return nil
	case m.state == stateRestoring || m.state == stateBackingUp:
		return d.usable(*m)
	case m.state == stateBackup:
		return d.refuse(ErrForeign, "it holds a backup", remedyVacant, nil)
	}
	return d.refuse(ErrForeign, "it holds a store", remedyVacant, nil)
}

// inside reports whether dir is other, or below it.
func inside(dir, other string) bool {
	dir, other = filepath.Clean(dir), filepath.Clean(other)
	return dir == other || strings.HasPrefix(dir, strings.TrimSuffix(other, string(filepath.Separator))+string(filepath.Separator))
}

// backUp does the work of Backup.
func (s *Store) backUp(ctx context.Context, d directory, r *reporter) (BackupResult, error) {
	m := marker{id: s.id, state: stateBackingUp}
	if err := writeMarker(d.fs, d.path, m); err != nil {
		return BackupResult{}, err
	}
	head, err := readShort(s.fs, s.fs.PathJoin(s.dir, headFileName), headLenMax) // first: it is of what will be in the backup
	if err == nil {
		create := func(name string) (syncedFile, error) { return d.fs.Create(name, vfs.WriteCategoryUnspecified) }
		err = replaceFile(d.fs, d.path, headFileName, head, create)
	}
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return BackupResult{}, fmt.Errorf("head of the journal: %w", err)
	}
	if err := s.checkpoint(ctx, d.join(engineName), r); err != nil {
		return BackupResult{}, err
	}
	c, err := takeInventory(ctx, d.fs, d.join(engineName), s.id, r)
	if err != nil {
		return BackupResult{}, err
	}
	if err := writeInventory(d.fs, d.path, c); err != nil {
		return BackupResult{}, err
	}
	report := VerifyReport{}
	if err := d.walk(ctx, m, &report, r); err != nil {
		return BackupResult{}, err
	}
	if err := report.Err(); err != nil {
		return BackupResult{}, err
	}
	if m.state = stateBackup; ctx.Err() == nil {
		err = writeMarker(d.fs, d.path, m)
	}
	if err := errors.Join(err, ctx.Err()); err != nil {
		return BackupResult{}, err
	}
	return BackupResult{
		Dir: d.path, ID: m.id.String(), Ceiling: report.Ceiling,
		Streams: report.Streams, Events: report.Events, EventBytes: report.Bytes,
		Files: uint64(len(c.files)), Bytes: c.bytes(),
	}, nil
}

// checkpoint lets Pebble link or copy the database into dir.
func (s *Store) checkpoint(ctx context.Context, dir string, r *reporter) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // where the store is fenced, Pebble may still be at it
	t := &transfer{ctx: ctx, fs: s.fs, dir: s.fs.PathDir(dir), report: r}
	s.engine.transfer.Store(t)
	defer s.engine.transfer.Store(nil)
	return s.fence.guard(func() error {
		r.phase("copying", 0, s.db.Metrics().DiskSpaceUsage())
		if err := errors.Join(s.db.Checkpoint(dir), t.failed); err != nil {
			return fmt.Errorf("copy database: %w", err)
		}
		return nil
	})
}

// undo removes an unfinished backup or restore, the marker last, and returns err, which is
// why, with what became of it.
func (d directory) undo(err error) error {
	for _, name := range []string{engineName, inventoryName, headFileName, headFileName + tempSuffix, markerTemp, markerName} {
		if undoErr := d.fs.RemoveAll(d.join(name)); undoErr != nil {
			return fmt.Errorf("%w; what was made there is unfinished, and to be removed (%w)", err, undoErr)
		}
	}
	return fmt.Errorf("%w; what was made there is removed again", err)
}
