package store

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
)

// freshMax is how many streams a watcher keeps in mind that have something new. Beyond
// them it forgets which, and looks at all of its streams.
const freshMax = 1 << 14

// subscriber is a watcher as the committer sees it: told which streams have something
// new, never what, and never waited for.
type subscriber struct {
	names  []string // nil: all that begin with prefix
	prefix string
	wake   chan struct{} // room for one
	woken  bool          // it is in the list of watchers.note; guarded by watchers.mu

	mu    sync.Mutex
	fresh map[string]uint64 // stream → the first sequence that is new
	all   bool              // too many to tell
}

// note keeps in mind that a stream has something new from a sequence on.
func (s *subscriber) note(name string, first uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteLocked(name, first)
}

// noteSome keeps in mind which of the streams with its prefix have something new, and
// reports whether any has.
func (s *subscriber) noteSome(changed []*stream) (any bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range changed {
		if strings.HasPrefix(st.name, s.prefix) {
			any = true
			s.noteLocked(st.name, st.before+1)
		}
	}
	return any
}

// noteAll keeps in mind that any stream may have something new.
func (s *subscriber) noteAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all, s.fresh = true, nil
}

// noteLocked is note under s.mu.
func (s *subscriber) noteLocked(name string, first uint64) {
	if s.all {
		return
	}
	if old, ok := s.fresh[name]; ok && old <= first {
		return
	}
	if len(s.fresh) >= freshMax {
		s.all, s.fresh = true, nil
		return
	}
	if s.fresh == nil {
		s.fresh = make(map[string]uint64)
	}
	s.fresh[name] = first
}

// take returns what is new, and forgets it; all says that any stream may have something.
func (s *subscriber) take() (fresh map[string]uint64, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh, all = s.fresh, s.all
	s.fresh, s.all = nil, false
	return fresh, all
}

// signal wakes the watcher if it waits.
func (s *subscriber) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// watchers are the subscribers there are.
type watchers struct {
	over  chan struct{} // closed when there will be nothing more
	count atomic.Int64

	mu       sync.Mutex
	closed   bool
	byName   map[string]map[*subscriber]bool
	byPrefix map[*subscriber]bool
	woken    []*subscriber // the committer's, so that it is made once
}

func (w *watchers) init() {
	w.over = make(chan struct{})
	w.byName, w.byPrefix = make(map[string]map[*subscriber]bool), make(map[*subscriber]bool)
}

func (w *watchers) len() int { return int(w.count.Load()) }

// add adds a subscriber. It fails with ErrWatchers and ErrClosed.
func (w *watchers) add(s *subscriber) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return ErrClosed
	case w.len() >= WatchersMax:
		return fmt.Errorf("%w: %d of them", ErrWatchers, WatchersMax)
	}
	w.count.Add(1)
	if s.names == nil {
		w.byPrefix[s] = true
		return nil
	}
	for _, name := range s.names {
		if w.byName[name] == nil {
			w.byName[name] = make(map[*subscriber]bool)
		}
		w.byName[name][s] = true
	}
	return nil
}

// remove removes a subscriber that was added.
func (w *watchers) remove(s *subscriber) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count.Add(-1)
	delete(w.byPrefix, s)
	for _, name := range s.names {
		if delete(w.byName[name], s); len(w.byName[name]) == 0 {
			delete(w.byName, name)
		}
	}
}

// close ends all watching.
func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	close(w.over)
}

// notesMax is how many notes one group may cost the committer on behalf of those who watch
// by a prefix: streams times watchers. Beyond it they are told to look for themselves.
const notesMax = 1 << 14

// note tells subscribers that streams have changed, calls advance, which lets them see that,
// and returns whom to wake, until the next call. Who subscribes meanwhile comes before all of
// that or after it. The committer alone calls it.
func (w *watchers) note(changed []*stream, advance func()) []*subscriber {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.woken {
		s.woken = false
	}
	clear(w.woken)
	w.woken = w.woken[:0]
	for s := range w.byPrefix {
		switch {
		case len(changed) == 0:
		case len(changed)*len(w.byPrefix) > notesMax:
			s.noteAll()
			w.wake(s)
		case s.noteSome(changed):
			w.wake(s)
		}
	}
	if len(w.byName) > 0 {
		for _, st := range changed {
			for s := range w.byName[st.name] {
				s.note(st.name, st.before+1)
				w.wake(s)
			}
		}
	}
	advance()
	return w.woken
}

// wake puts a subscriber on the list of those to wake, once. w.mu is held.
func (w *watchers) wake(s *subscriber) {
	if !s.woken {
		s.woken = true
		w.woken = append(w.woken, s)
	}
}
