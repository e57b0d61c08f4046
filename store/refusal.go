package store

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// ErrRefused is what every refusal of Open wraps; the directory is then as it was.
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

// refusal is an error of Open: dir, what is wrong with it, and what to do.
type refusal struct {
	dir    string
	kind   error // one of the reasons above
	what   string
	remedy string
	cause  error // may be nil
}

// Error puts what to do last.
func (r *refusal) Error() string {
	s := fmt.Sprintf("open store %q: %s", r.dir, r.what)
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
	remedyDamaged = "nothing was changed; move the directory aside and start an empty one under a new node number " +
		"(its ceiling is lost, so under the old number timestamps could repeat), or restore it from a backup " +
		"(which may hold an old ceiling, so timestamps may repeat: have it observe the greatest one that was ever " +
		"issued, with truechimer observe, before anything else asks it)"
	remedyFull       = "free some space on that file system, 16 MiB at least, and start again"
	remedyUnwritable = "choose a directory that this user may write, or create it and give it to this user"
	remedyLocked     = "stop the other truechimer that has it open, or give this one a directory of its own"
)

func foreign(dir, what string, cause error) error {
	return &refusal{dir, ErrForeign, what, remedyForeign, cause}
}

func newer(dir, what string) error {
	return &refusal{dir, ErrNewer, what, remedyNewer, nil}
}

func damaged(dir, what string, cause error) error {
	return &refusal{dir, ErrDamaged, what, remedyDamaged, cause}
}

func unwritable(dir, what string, cause error) error {
	remedy := remedyUnwritable
	if errors.Is(cause, syscall.ENOSPC) {
		remedy = remedyFull
	}
	return &refusal{dir, ErrUnwritable, what, remedy, cause}
}
