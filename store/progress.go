package store

import (
	"sync"
	"time"
)

// Progress tells how far a backup, a restore or a verification is.
type Progress struct {
	Phase string // what is being done now: "copying", "reading" or "checking"
	// Files and Bytes are done in this phase, of FilesTotal and BytesTotal; a total of 0 is
	// unknown, others are estimates where the database is at work. What is not done by
	// files has none.
	Files, FilesTotal uint64
	Bytes, BytesTotal uint64
}

// progressEvery bounds how often a caller is told.
const progressEvery = 100 * time.Millisecond

// reporter tells a caller how far its call is, and nothing any more once it has returned:
// where the store is fenced, a copy may still be at work then.
type reporter struct {
	mu   sync.Mutex
	tell func(Progress) // nil: nobody is told
	said time.Time
	now  Progress
}

// phase ends the phase before and begins another.
func (r *reporter) phase(name string, files, bytes uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finish()
	r.now = Progress{Phase: name, FilesTotal: files, BytesTotal: bytes}
	r.say()
}

// finish says that all of the phase is done. r.mu is held.
func (r *reporter) finish() {
	if r.now.Phase == "" {
		return
	}
	r.now.Files = max(r.now.Files, r.now.FilesTotal)
	r.now.Bytes = max(r.now.Bytes, r.now.BytesTotal)
	r.say()
}

// moved counts what was done.
func (r *reporter) moved(files, bytes uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.Files += files
	r.now.Bytes += bytes
	if time.Since(r.said) >= progressEvery {
		r.say()
	}
}

// say tells the caller. What is done never exceeds a total. r.mu is held.
func (r *reporter) say() {
	if r.tell == nil {
		return
	}
	r.said = time.Now()
	r.now.BytesTotal = totalOf(r.now.Bytes, r.now.BytesTotal)
	r.now.FilesTotal = totalOf(r.now.Files, r.now.FilesTotal)
	r.tell(r.now)
}

// totalOf corrects an estimate that was too low.
func totalOf(done, total uint64) uint64 {
	if total == 0 {
		return 0
	}
	return max(done, total)
}

// end tells the caller the last, where all was done, and nothing any more.
func (r *reporter) end(whole bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if whole {
		r.finish()
	}
	r.tell = nil
}
