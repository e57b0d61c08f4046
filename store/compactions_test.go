package store

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// fakeEngine is what a database is to its scheduler: it remembers whoever was refused until
// it is let in, and counts those at work.
type fakeEngine struct {
	mu      sync.Mutex // as the database's own: held around TrySchedule, taken by what it calls
	s       *compactions
	waiting int
	running int
	most    int
	done    int
}

func (f *fakeEngine) GetAllowedWithoutPermission() int { return 1 }

func (f *fakeEngine) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting > 0, pebble.WaitingCompaction{}
}

func (f *fakeEngine) Schedule(h pebble.CompactionGrantHandle) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting == 0 {
		return false
	}
	f.waiting--
	f.work(h)
	return true
}

// want asks for a compaction.
func (f *fakeEngine) want() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ok, h := f.s.TrySchedule(); ok {
		f.work(h)
	} else {
		time.Sleep(time.Nanosecond) // between the refusal and its note, where it may be missed
		f.waiting++
	}
}

func (f *fakeEngine) work(h pebble.CompactionGrantHandle) {
	f.running++
	f.most = max(f.most, f.running)
	go func() {
		f.mu.Lock()
		f.running--
		f.done++
		f.mu.Unlock()
		h.Done()
	}()
}

// TestCompactionsAreNotForgotten: one runs at a time, and whoever was refused gets its turn
// though nobody looks every now and then.
func TestCompactionsAreNotForgotten(t *testing.T) {
	for range 200 {
		f := &fakeEngine{s: new(compactions)}
		f.s.Register(1, f)
		var all sync.WaitGroup
		const each, callers = 50, 4
		for range callers {
			all.Go(func() {
				for range each {
					f.want()
				}
			})
		}
		all.Wait()
		for deadline := time.Now().Add(10 * time.Second); ; {
			f.mu.Lock()
			done, waiting, most := f.done, f.waiting, f.most
			f.mu.Unlock()
			if most > 1 {
				t.Fatalf("%d at a time", most)
			}
			if done == each*callers {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d done, %d wait for ever", done, each*callers, waiting)
			}
			time.Sleep(10 * time.Microsecond)
		}
		f.s.Unregister()
		if ok, _ := f.s.TrySchedule(); ok {
			t.Fatal("one was let in after the end")
		}
	}
}

// lateEngine has somebody come just after it has answered that nobody waits.
type lateEngine struct {
	fakeEngine
	late int // how often that still happens
}

func (f *lateEngine) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	waiting, w := f.fakeEngine.GetWaitingCompaction()
	if f.late > 0 {
		f.late--
		if ok, _ := f.s.TrySchedule(); ok {
			f.running++
		} else {
			f.waiting++
		}
	}
	return waiting, w
}

func (f *lateEngine) Schedule(pebble.CompactionGrantHandle) bool {
	f.waiting--
	f.running++
	return true
}

// TestCompactionComesLate: whoever is refused while the place is being given away gets it.
func TestCompactionComesLate(t *testing.T) {
	f := &lateEngine{fakeEngine: fakeEngine{s: new(compactions)}, late: 2}
	f.s.Register(1, f)
	ok, h := f.s.TrySchedule()
	if !ok {
		t.Fatal("refused")
	}
	h.Done()
	if f.running != 1 || f.waiting != 1 {
		t.Fatalf("%d run and %d wait, where one came late and a second after it", f.running, f.waiting)
	}
	h.Done()
	h.Done()
	if ok, _ := f.s.TrySchedule(); !ok || f.waiting != 0 {
		t.Errorf("let in: %v, %d wait", ok, f.waiting)
	}
}

// TestUnregisterWaits: after Unregister the database is called no more.
func TestUnregisterWaits(t *testing.T) {
	f := &slowEngine{entered: make(chan struct{}), leave: make(chan struct{})}
	c := new(compactions)
	c.Register(1, f)
	ok, h := c.TrySchedule()
	if !ok {
		t.Fatal("refused")
	}
	go h.Done()
	<-f.entered
	ended := make(chan struct{})
	go func() { c.Unregister(); close(ended) }()
	select {
	case <-ended:
		t.Fatal("it did not wait for the call")
	case <-time.After(20 * time.Millisecond):
	}
	close(f.leave)
	<-ended
}

type slowEngine struct {
	fakeEngine
	entered, leave chan struct{}
}

func (f *slowEngine) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	close(f.entered)
	<-f.leave
	return false, pebble.WaitingCompaction{}
}

// TestCompactionsRun: with our scheduler a real database keeps its files few.
func TestCompactionsRun(t *testing.T) {
	o := engineOptions(newEngineFS(vfs.NewMem(), "db", newFence(nil)), slog.New(slog.DiscardHandler))
	o.ErrorIfNotExists = false
	o.MemTableSize, o.LBaseMaxBytes = 64<<10, 256<<10
	db, err := pebble.Open("db", o)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	value := make([]byte, 1000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 5000 {
		for j := range value {
			value[j] = byte(r.Uint32())
		}
		if err := db.Set(fmt.Appendf(nil, "%d", r.IntN(1000)), value, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		if i%50 == 49 {
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		m := db.Metrics()
		if m.Compact.Count >= 10 && m.Compact.NumInProgress == 0 && m.Levels[0].TablesCount < 10 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d compactions, %d run, %d files in level 0", m.Compact.Count, m.Compact.NumInProgress, m.Levels[0].TablesCount)
		}
	}
}
