package store

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// fence stands between the store and its callers once a write has failed. Pebble
// reports such a failure by calling Logger.Fatalf, which must not return, while it may
// hold any of its locks: so the goroutine that calls is parked for good, and nobody
// waits for Pebble without watching the fence too.
type fence struct {
	log *slog.Logger // nil keeps quiet

	once  sync.Once
	up    chan struct{} // closed when raised
	cause error         // set before up is closed
}

func newFence(log *slog.Logger) *fence {
	return &fence{log: log, up: make(chan struct{})}
}

// raise puts the fence up, for good; the first cause stays.
func (f *fence) raise(cause error) {
	f.once.Do(func() {
		f.cause = cause
		close(f.up)
		if f.log != nil {
			f.log.Error("store fenced: nothing more is acknowledged; free or replace the disk and restart", "err", cause)
		}
	})
}

// err returns nil, or an error that wraps ErrFenced and the cause.
func (f *fence) err() error {
	select {
	case <-f.up:
		return fmt.Errorf("%w: %w", ErrFenced, f.cause)
	default:
		return nil
	}
}

// guard runs do, which calls Pebble, and returns its error. When the fence is up before
// do has returned, guard returns the fence's error at once and do is left to itself. A
// panic in do raises the fence: Pebble's state is then unknown.
func (f *fence) guard(do func() error) error {
	if err := f.err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				f.raise(fmt.Errorf("database panicked: %v", r))
			}
		}()
		done <- do()
	}()
	select {
	case err := <-done:
		if fenced := f.err(); fenced != nil { // both happened: believe the worse
			return fenced
		}
		return err
	case <-f.up:
		return f.err()
	}
}

// engineLogger is the logger given to Pebble.
type engineLogger struct {
	fence *fence
	log   *slog.Logger
	said  atomic.Int64 // when Errorf last wrote a line, Unix nanoseconds
}

// errorEvery bounds the lines that a failing background job of Pebble can write.
const errorEvery = 10 * time.Second

// Infof drops Pebble's chatter.
func (*engineLogger) Infof(string, ...any) {}

// Errorf logs errors that Pebble survives, such as a flush that it will try again.
func (l *engineLogger) Errorf(format string, args ...any) {
	now, said := time.Now().UnixNano(), l.said.Load()
	if now-said >= int64(errorEvery) && l.said.CompareAndSwap(said, now) {
		l.log.Warn("database reports a problem", "err", fmt.Sprintf(format, args...))
	}
}

// Fatalf raises the fence and never returns: Pebble's callers rely on that.
func (l *engineLogger) Fatalf(format string, args ...any) {
	e := fatalError{text: fmt.Sprintf(format, args...)}
	for _, a := range args {
		if err, ok := a.(error); ok {
			e.cause = err
		}
	}
	l.fence.raise(e)
	park()
}

// fatalError is what Pebble said, and the error in it, such as that of a full disk.
type fatalError struct {
	text  string
	cause error // nil when there is none
}

// Error returns what Pebble said.
func (e fatalError) Error() string { return e.text }

// Unwrap returns the cause.
func (e fatalError) Unwrap() error { return e.cause }

// park blocks for good. It has a name of its own so that it can be found in a dump.
func park() { select {} }
