package store

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/truechimer/truechimer/hlc"
)

// opVerify is what a refusal of Verify says was to be done.
const opVerify = "verify"

// problemsMax is how many problems a report names.
const problemsMax = 100

// VerifyReport is what Verify has found.
type VerifyReport struct {
	ID      string // of the store
	Backup  bool   // it is a backup
	Node    uint16
	Epoch   uint64
	Ceiling hlc.Timestamp
	// Streams exist, and Deleted ones did.
	Streams, Deleted uint64
	// Events are left, with payloads of Bytes.
	Events, Bytes uint64
	Retries       uint64 // idempotency keys that are remembered
	Rows          uint64 // of the history for charts
	// Journal is what was found in the journal; its problems are among those below, too.
	Journal JournalReport
	// Problems are the first that were found, each in a sentence, and MoreProblems counts
	// those beyond. None at all says that the store is whole.
	Problems     []string
	MoreProblems int

	record Ceiling
}

// Err returns nil where no problem was found, or an error that wraps ErrDamaged.
func (r *VerifyReport) Err() error {
	switch n := len(r.Problems) + r.MoreProblems; n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%w: %s", ErrDamaged, r.Problems[0])
	default:
		return fmt.Errorf("%w: %s (and %d more)", ErrDamaged, r.Problems[0], n-1)
	}
}

func (r *VerifyReport) problem(text string, args ...any) {
	if len(r.Problems) == problemsMax {
		r.MoreProblems++
		return
	}
	r.Problems = append(r.Problems, fmt.Sprintf(text, args...))
}

// Verify proves a store, or a backup, from end to end: its records, its streams and names,
// and for each stream that events are gapless, in order, below the ceiling and intact; for a backup
// that no byte of it has changed. It changes nothing. What it cannot find are events that
// are missing at the very end of a stream of a store; in a backup it can.
//
// It needs the store for itself: one that a process has open is refused with ErrLocked. A
// backup may be on a file system that cannot be written. progress, which may be nil, is
// called from any goroutine, by one at a time.
//
// What is wrong is in the report. An error says that Verify could not look at all: it wraps
// ErrRefused where dir holds no store that this version can read, and then the report
// holds what was found up to there; or it is that of ctx.
func Verify(ctx context.Context, dir string, progress func(Progress)) (VerifyReport, error) {
	return verifyDir(ctx, vfs.Default, canonical(dir), progress)
}

// verifyDir is Verify on any file system.
func verifyDir(ctx context.Context, fs vfs.FS, dir string, progress func(Progress)) (report VerifyReport, err error) {
	d := directory{fs: fs, path: dir, log: slog.New(slog.DiscardHandler), op: opVerify}
	r := &reporter{tell: progress}
	defer func() { r.end(err == nil) }()
	err = d.examine(func(d directory, m marker) error {
		return d.failed(ctx, d.prove(ctx, m, &report, r), report.Err())
	})
	return report, err
}

// examine calls look with a store that nobody has open, or with a backup, and refuses all
// else. It changes nothing.
func (d directory) examine(look func(d directory, m marker) error) (err error) {
	m, err := d.look()
	if err != nil {
		return err
	}
	if m == nil {
		return d.refuse(ErrForeign, "there is no store in it", remedyNoStore, nil)
	}
	if m.state == stateBackup {
		d.backup = true
		return look(d, *m)
	}
	if err := d.provable(*m); err != nil {
		return err
	}
	_, statErr := d.fs.Stat(d.join(lockName))
	lock, err := d.fs.Lock(d.join(lockName))
	if err != nil {
		return d.lockRefusal(err)
	}
	defer func() {
		if errors.Is(statErr, iofs.ErrNotExist) {
			_ = d.fs.Remove(d.join(lockName)) // it was not there before
		}
		err = errors.Join(err, lock.Close())
	}()
	if m, err = d.look(); err != nil { // again: it may have changed before the lock was taken
		return err
	}
	if m == nil {
		return d.refuse(ErrForeign, "there is no store in it any more", remedyNoStore, nil)
	}
	if err := d.provable(*m); err != nil {
		return err
	}
	return look(d, *m)
}

// provable refuses what can be neither opened nor verified.
func (d directory) provable(m marker) error {
	if m.state == stateNew {
		return d.refuse(ErrUnfinished, "its creation was cut off, and nothing was ever in it", "start the server on it, which finishes the creation", nil)
	}
	return d.usable(m)
}

// failed tells an end of ctx, damage, of which some was found already, and a disk that cannot be read from
// each other.
func (d directory) failed(ctx context.Context, err, found error) error {
	switch {
	case err == nil || errors.Is(err, ErrRefused):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("verify %q: %w", d.path, context.Cause(ctx))
	case found != nil:
		return d.damaged("it does not verify", errors.Join(found, err))
	case pebble.IsCorruptionError(err):
		return d.damaged("its database is damaged", err)
	}
	return d.unwritable("cannot read all of it", err)
}

// prove adds to the report what is wrong with a store or a backup.
func (d directory) prove(ctx context.Context, m marker, report *VerifyReport, r *reporter) error {
	report.ID, report.Backup = m.id.String(), m.state == stateBackup
	if report.Backup {
		if err := d.proveInventory(ctx, m, report, r); err != nil {
			return err
		}
	}
	return d.walk(ctx, m, report, r)
}

// proveInventory compares a backup with its inventory.
func (d directory) proveInventory(ctx context.Context, m marker, report *VerifyReport, r *reporter) error {
	names, err := d.fs.List(d.path)
	if err != nil {
		return d.unwritable("cannot read it", err)
	}
	slices.Sort(names)
	for _, name := range names {
		switch name {
		case engineName, markerName, inventoryName, headFileName, "lost+found":
		default:
			report.problem("file %.80q is not of this backup", name)
		}
	}
	c, err := readInventory(d.fs, d.path)
	if err != nil {
		report.problem("the inventory cannot be used: %v", err)
		return nil
	}
	if c.id != m.id {
		report.problem("the inventory is of store %v", c.id)
	}
	return c.check(ctx, d.fs, d.join(engineName), r, report.problem)
}

// walk adds to the report what is wrong with the database.
func (d directory) walk(ctx context.Context, m marker, report *VerifyReport, r *reporter) error {
	records, err := d.verify(m.id)
	if err != nil {
		return err
	}
	report.ID = m.id.String()
	report.Node, report.record = records.format.node, records.ceiling
	report.Epoch, report.Ceiling = records.ceiling.Epoch, records.ceiling.Ceiling
	return peek(d.fs, d.join(engineName), func(db *pebble.DB) error {
		w := walker{ctx: ctx, db: db, ceiling: records.ceiling, report: report, progress: r, dir: d, id: m.id}
		return w.walk()
	})
}
