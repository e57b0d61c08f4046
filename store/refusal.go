package store

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// ErrRefused is what every refusal of Open, Backup, Restore and Verify wraps; the directory
// is then as it was.
var ErrRefused = errors.New("store refused")

// The reasons of a refusal. Each comes together with ErrRefused.
var (
	// ErrForeign reports a directory that holds something else, or another store's data.
	ErrForeign = errors.New("store: not a Truechimer store")
	// ErrLocked reports a directory that another process, or this one, has open.
	ErrLocked = errors.New("store: in use")
	// ErrNewer reports a format that this version does not know.
	ErrNewer = errors.New("store: written by a newer version")
	// ErrDamaged reports data that is missing or contradicts itself.
	ErrDamaged = errors.New("store: damaged")
	// ErrNode reports a store that belongs to another node number.
	ErrNode = errors.New("store: belongs to another node")
	// ErrBackup reports a backup, which is to be restored and not to be opened.
	ErrBackup = errors.New("store: a backup")
	// ErrUnfinished reports a backup or a restore that was cut off.
	ErrUnfinished = errors.New("store: unfinished")
	// ErrUnwritable reports a directory that cannot be created, read or written.
	ErrUnwritable = errors.New("store: directory not usable")
)

var (
	// ErrFenced reports that a write failed and nothing more is acknowledged. It stays
	// until the process is restarted.
	ErrFenced = errors.New("store: fenced after a failed write; free or replace the disk and restart")
	// ErrClosed reports a call after Close.
	ErrClosed = errors.New("store: closed")
	// ErrEpoch reports an epoch that is not the current one: it was closed, or another
	// issuer has begun a newer one.
	ErrEpoch = errors.New("store: not the current epoch")
	// ErrOrder reports a write that would break the order of ceilings (H6). Nothing was
	// written.
	ErrOrder = errors.New("store: refused to break the order of ceilings")
)

// refusal says what was to be done with dir, what is wrong with it, and what to do.
type refusal struct {
	op     string
	dir    string
	kind   error // one of the reasons above
	what   string
	remedy string
	cause  error // may be nil
}

// Error puts what to do last.
func (r *refusal) Error() string {
	s := fmt.Sprintf("%s %q: %s", r.op, r.dir, r.what)
	if r.cause != nil {
		cause, _, _ := strings.Cut(r.cause.Error(), "\n") // one sentence; the rest is for errors.As
		s += ": " + cause
	}
	return s + "; " + r.remedy
}

// Unwrap lets errors.Is find ErrRefused, the reason and the cause.
func (r *refusal) Unwrap() []error {
	if r.cause == nil {
		return []error{ErrRefused, r.kind}
	}
	return []error{ErrRefused, r.kind, r.cause}
}

// What to do about each reason, where nothing better is known.
const (
	remedyForeign = "nothing was changed; choose an empty directory, or the one that this store was created in"
	remedyNewer   = "nothing was changed; run the version that wrote it, or a newer one"
	remedyDamaged = "nothing was changed; restore the last backup of it into an empty directory, with truechimer restore; " +
		"or move the directory aside and start an empty one under a new node number " +
		"(its ceiling is lost, so under the old number timestamps could repeat)"
	remedyDamagedBackup = "nothing was changed; use another backup"
	remedyBackup        = "nothing was changed; restore it into an empty directory, with truechimer restore, and open that one"
	remedyBackingUp     = "nothing was changed; remove it, and take another backup"
	remedyRestoring     = "nothing was changed; remove it, and restore the backup again"
	remedyNoBackup      = "nothing was changed; name the directory of a backup that truechimer backup has made"
	remedyNoStore       = "name the data directory of a store, or the directory of a backup"
	remedyVacant        = "nothing was changed; choose a directory that is empty, or does not exist yet"
	remedyVerifyLocked  = "stop the server first; or, while it runs, take a backup with truechimer backup, and verify that"
	remedyFull          = "free some space on that file system, 16 MiB at least, and start again"
	remedyUnwritable    = "choose a directory that this user may write, or create it and give it to this user"
	remedyLocked        = "stop the other truechimer that has it open, or give this one a directory of its own"
)

// refuse returns a refusal of the directory.
func (d directory) refuse(kind error, what, remedy string, cause error) error {
	op := d.op
	if op == "" {
		op = "open store"
	}
	return &refusal{op, d.path, kind, what, remedy, cause}
}

func (d directory) foreign(what string, cause error) error {
	return d.refuse(ErrForeign, what, remedyForeign, cause)
}

func (d directory) newer(what string) error {
	return d.refuse(ErrNewer, what, remedyNewer, nil)
}

func (d directory) damaged(what string, cause error) error {
	remedy := remedyDamaged
	if d.backup {
		remedy = remedyDamagedBackup
	}
	return d.refuse(ErrDamaged, what, remedy, cause)
}

func (d directory) unwritable(what string, cause error) error {
	remedy := remedyUnwritable
	if errors.Is(cause, syscall.ENOSPC) {
		remedy = remedyFull
	}
	return d.refuse(ErrUnwritable, what, remedy, cause)
}
