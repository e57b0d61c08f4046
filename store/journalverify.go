package store

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// VerifyJournalOptions say what a journal is compared with. The zero VerifyJournalOptions compare it
// with itself and with the last head that was signed.
type VerifyJournalOptions struct {
	// Heads were handed out, and kept where nobody could change them.
	Heads []JournalHead
	// Keys are those that may have signed; another one is a problem. None at all: any may.
	Keys []ed25519.PublicKey
	// Progress is told how far it is; nil: nobody is. It is called from any goroutine, by one at
	// a time.
	Progress func(JournalProgress)
}

// JournalProgress tells how far a verification is: records that were checked, of Total.
type JournalProgress struct{ Checked, Total uint64 }

// reporter tells progress in the records of the journal.
func (o *VerifyJournalOptions) reporter() *reporter {
	if o.Progress == nil {
		return &reporter{}
	}
	tell := o.Progress
	return &reporter{tell: func(p Progress) { tell(JournalProgress{p.Files, p.FilesTotal}) }}
}

// JournalReport is what a verification of a journal has found.
type JournalReport struct {
	Store string // ID of the store
	// Journal is the ID of the store that the journal began in; empty: there is no journal.
	Journal       string
	Evidence, Raw JournalTrackReport
	Roots         uint64
	// Signatures are those of heads and roots that were checked, and match.
	Signatures uint64
	// Heads are those that the journal goes on from, the file's and those that were given.
	Heads uint64
	// Keys have signed heads and roots, in the order in which they were met.
	Keys []ed25519.PublicKey
	// Trimmed are what cannot be proven any more because it was trimmed, each in a sentence. It
	// is no sign of damage.
	Trimmed []string
	// Problems are the first that were found, each in a sentence, and MoreProblems counts
	// those beyond. None at all says that the journal is whole.
	Problems     []string
	MoreProblems int
}

// JournalTrackReport is what was found in a track.
type JournalTrackReport struct {
	First, Last  uint64 // sequences; where Last is First-1 there are no records
	Records      uint64
	Bytes        uint64 // of the payloads
	OldestUnix   int64  // of the first record, nanoseconds
	NewestUnix   int64  // of the last one
	TrimmedAfter int64  // when the record before the first was written; 0: nothing was trimmed
}

// Err returns nil where no problem was found, or an error that wraps ErrDamaged.
func (r *JournalReport) Err() error {
	return (&VerifyReport{Problems: r.Problems, MoreProblems: r.MoreProblems}).Err()
}

func (r *JournalReport) problem(text string, args ...any) {
	if len(r.Problems) == problemsMax {
		r.MoreProblems++
		return
	}
	r.Problems = append(r.Problems, fmt.Sprintf(text, args...))
}

// Verify proves the journal from end to end: that each record, root and entry of the index is as
// it was written, in its place, and that none is missing; and that it goes on from every head
// that is given, and from the one in the file journal.head. The journal goes on meanwhile;
// what is appended after the call has begun is not looked at.
//
// What is wrong is in the report. An error says that Verify could not look at all: that of ctx,
// ErrFenced, ErrClosed, or of the disk.
func (j *Journal) Verify(ctx context.Context, o VerifyJournalOptions) (JournalReport, error) {
	r := o.reporter()
	report, err := fetch(j.store, func(db *pebble.DB) (report JournalReport, err error) {
		c := newJournalCheck(ctx, &report, o, r)
		c.ended = func() error {
			if err := j.store.usable(); err != nil { // who closes the store waits for this
				return err
			}
			return context.Cause(ctx)
		}
		if err := c.file(j.store.fs, j.store.dir); err != nil { // before what it is of is looked at
			return report, err
		}
		snapshot := db.NewSnapshot()
		c.reader, c.store = snapshot, j.store.id
		return report, errors.Join(c.all(), snapshot.Close())
	})
	r.end(err == nil)
	if err != nil {
		return JournalReport{}, fmt.Errorf("verify journal: %w", err)
	}
	return report, nil
}

// VerifyJournal is Journal.Verify of a data directory that nobody has open, or of a backup. It
// changes nothing. It fails like Verify.
func VerifyJournal(ctx context.Context, dir string, o VerifyJournalOptions) (JournalReport, error) {
	return verifyJournalDir(ctx, vfs.Default, canonical(dir), o)
}

// verifyJournalDir is VerifyJournal on any file system.
func verifyJournalDir(ctx context.Context, fs vfs.FS, dir string, o VerifyJournalOptions) (report JournalReport, err error) {
	d := directory{fs: fs, path: dir, log: slog.New(slog.DiscardHandler), op: opVerify}
	r := o.reporter()
	defer func() { r.end(err == nil) }()
	err = d.examine(func(d directory, m marker) error {
		_, err := d.verify(m.id)
		if err == nil {
			err = peek(fs, d.join(engineName), func(db *pebble.DB) error {
				c := newJournalCheck(ctx, &report, o, r)
				if err := c.file(d.fs, d.path); err != nil {
					return err
				}
				c.reader, c.store = db, m.id
				return c.all()
			})
		}
		return d.failed(ctx, err, report.Err())
	})
	return report, err
}

// newJournalCheck prepares a check against the heads that were given.
func newJournalCheck(ctx context.Context, report *JournalReport, o VerifyJournalOptions, r *reporter) *journalCheck {
	c := &journalCheck{
		ended: func() error { return context.Cause(ctx) }, report: report, keys: o.Keys, moved: r.moved,
		begin: func(records uint64) { r.phase("checking", records, 0) },
	}
	for i := range o.Heads {
		c.heads = append(c.heads, namedHead{JournalHead: o.Heads[i], from: "a head that was given"})
	}
	return c
}

// file takes the head in the file of a data directory or a backup, where there is one. It fails where
// the file cannot be read.
func (c *journalCheck) file(fs vfs.FS, dir string) error {
	h, err := readHeadFile(fs, dir)
	switch {
	case err == nil:
		c.heads = append(c.heads, namedHead{JournalHead: h, from: "the head in the file " + headFileName})
	case errors.Is(err, ErrDamaged):
		c.report.problem("the file %s cannot be used: %v", headFileName, err)
	case !errors.Is(err, iofs.ErrNotExist):
		return fmt.Errorf("read head of the journal: %w", err)
	}
	return nil
}
