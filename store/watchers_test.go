package store

import (
	"fmt"
	"testing"
)

// changedStreams are n streams that the committer has changed.
func changedStreams(n int) []*stream {
	list := make([]*stream, n)
	for i := range list {
		list[i] = &stream{name: fmt.Sprintf("s/%d", i), before: uint64(i)}
	}
	return list
}

// TestNote: each subscriber that is concerned is woken once, whoever subscribes meanwhile
// waits for the closed timestamp, and what a prefix costs has a limit.
func TestNote(t *testing.T) {
	var w watchers
	w.init()
	named := &subscriber{names: []string{"s/1", "s/2", "t"}, wake: make(chan struct{}, 1)}
	all := &subscriber{wake: make(chan struct{}, 1)}
	other := &subscriber{prefix: "t", wake: make(chan struct{}, 1)}
	for _, s := range []*subscriber{named, all, other} {
		if err := w.add(s); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 3 {
		advanced := false
		woken := w.note(changedStreams(10), func() {
			if advanced = true; w.mu.TryLock() {
				w.mu.Unlock()
				t.Error("who subscribes now would be told of nothing and see the old closed timestamp")
			}
		})
		if len(woken) != 2 || woken[0] == woken[1] || woken[0] == other || woken[1] == other || !advanced {
			t.Fatalf("round %d: %d woken", round, len(woken))
		}
	}
	if fresh, looks := named.take(); looks || len(fresh) != 2 || fresh["s/1"] != 2 || fresh["s/2"] != 3 {
		t.Fatalf("%v, %v", fresh, looks)
	}
	if fresh, looks := all.take(); looks || len(fresh) != 10 {
		t.Fatalf("%v, %v", fresh, looks)
	}
	if woken := w.note(nil, func() {}); len(woken) != 0 {
		t.Fatalf("%d woken for nothing", len(woken))
	}
	w.note(changedStreams(notesMax), func() {})
	for _, s := range []*subscriber{all, other} { // two who watch by a prefix: twice too many notes
		if fresh, looks := s.take(); !looks || len(fresh) != 0 {
			t.Fatalf("%d notes, %v", len(fresh), looks)
		}
	}
	if fresh, looks := named.take(); looks || len(fresh) != 2 {
		t.Fatalf("%v, %v", fresh, looks)
	}
}

// TestCatalogOfReaders: who goes through all streams does not fill the memory with them.
func TestCatalogOfReaders(t *testing.T) {
	leakFree(t)
	st, _ := memStreams(t, StreamsOptions{})
	st.catalog.most = 10
	for n := range 200 {
		appendOne(t, st, fmt.Sprintf("s/%03d", n), "x")
	}
	for range 2 {
		list, err := st.List("", "", 0)
		if err != nil || len(list) != 200 {
			t.Fatalf("%d streams, %v", len(list), err)
		}
		if _, _, err := takeEvents(watchFrom(t, st, Selection{}, Start{Oldest: true}), 200); err != nil {
			t.Fatal(err)
		}
	}
	if n := st.catalog.len(); n > 20 {
		t.Fatalf("%d streams in memory", n)
	}
}
