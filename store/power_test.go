package store

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/truechimer/truechimer/hlc"
)

// cut is a power cut: the disk as it was found afterwards, and what had been promised.
type cut struct {
	step int
	op   string
	disk *vfs.MemFS
	seen promises
}

// promises are what callers have been told before a cut.
type promises struct {
	epoch   uint64
	issued  map[uint64]hlc.Timestamp // greatest issued, by number of rebases
	ceiling map[uint64]hlc.Timestamp // greatest saved
}

// witness cuts the power before every step that changes the disk. It is an
// errorfs.Injector that injects nothing.
type witness struct {
	mu      sync.Mutex
	disk    *vfs.MemFS
	percent int
	rng     *rand.Rand // of the cuts, which come from any goroutine
	counts  *rand.Rand // of the calls
	seen    promises
	cuts    []cut
}

func (w *witness) String() string { return "witness" }

func (w *witness) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileClose, errorfs.OpFilePreallocate, errorfs.OpFileFlush:
		return nil
	}
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
		w.cut(fmt.Sprintf("op %d on %s", op.Kind, op.Path))
	}
	return nil
}

func (w *witness) cut(op string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts = append(w.cuts, cut{
		step: len(w.cuts), op: op,
		disk: w.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: w.percent, RNG: w.rng}),
		seen: promises{w.seen.epoch, maps.Clone(w.seen.issued), maps.Clone(w.seen.ceiling)},
	})
}

// issue calls the issuer and writes down what it was told.
func (w *witness) issue(t *testing.T, i *Issuer) {
	t.Helper()
	ts, err := i.NowN(context.Background(), 1+w.counts.IntN(2000))
	if err != nil {
		t.Fatal(err)
	}
	w.note(i.Status(), i.clock.Last())
	if ts > i.clock.Last() {
		t.Fatal("issued above last")
	}
}

func (w *witness) note(s Status, issued hlc.Timestamp) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.epoch = max(w.seen.epoch, s.Epoch)
	w.seen.issued[s.Rebases] = max(w.seen.issued[s.Rebases], issued)
	w.seen.ceiling[s.Rebases] = max(w.seen.ceiling[s.Rebases], s.Ceiling)
}

// run is one life of the store: open, issue past some ceilings, and stop in order or
// leave everything as it is.
func (w *witness) run(t *testing.T, h *hand, rebase, stop bool) {
	t.Helper()
	s, err := Open("var/data", Options{Node: 7, fs: errorfs.Wrap(w.disk, w)})
	if err != nil {
		t.Fatal(err)
	}
	i := issuerOn(t, s, h)
	w.note(i.Status(), 0)
	lap := func() {
		for range 3 {
			w.issue(t, i)
			h.move(400 * time.Millisecond) // past the ceiling: the next call waits for a save
			w.issue(t, i)
			h.move(-300 * time.Millisecond)
		}
	}
	lap()
	if rebase {
		h.move(-time.Minute)
		if _, err := i.Rebase(); err != nil {
			t.Fatal(err)
		}
		w.note(i.Status(), 0)
		lap()
	}
	if !stop {
		w.cut("pulled")
		abandon(i)
		s.Close()
		return
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestPowerCut cuts the power before every step of a store's life: creation, clean stop,
// a crash in the epoch after the clean stop, recovery, rebase, clean stop, and one more
// epoch. Whatever the disk has kept of what was not synced, the store opens again and
// every promise holds (H6, H7).
func TestPowerCut(t *testing.T) {
	leakFree(t)
	rounds := uint64(2)
	if testing.Short() {
		rounds = 1
	}
	for seed := *seedFlag; seed < *seedFlag+rounds; seed++ {
		for _, percent := range []int{0, 50, 100} {
			t.Run(fmt.Sprintf("seed %d keeps %d%%", seed, percent), func(t *testing.T) {
				w := &witness{
					disk: vfs.NewCrashableMem(), percent: percent, rng: rand.New(rand.NewPCG(seed, uint64(percent))), counts: rand.New(rand.NewPCG(seed, 4)),
					seen: promises{issued: map[uint64]hlc.Timestamp{}, ceiling: map[uint64]hlc.Timestamp{}},
				}
				h := newHand(epoch0)
				w.run(t, h, false, true)
				w.run(t, h, false, false)
				w.mu.Lock() // the next life finds what the cut has left
				w.disk = w.cuts[len(w.cuts)-1].disk
				w.mu.Unlock()
				w.run(t, h, true, true)
				w.run(t, h, false, false)
				for _, c := range w.cuts {
					c.verify(t)
				}
				t.Logf("%d power cuts", len(w.cuts))
			})
		}
	}
}

// verify opens what a cut has left. The physical clock has gone far back meanwhile, so
// nothing but the disk keeps the timestamps up.
func (c cut) verify(t *testing.T) {
	t.Helper()
	s, err := Open("var/data", Options{Node: 7, fs: c.disk})
	if err != nil {
		t.Errorf("step %d (%s): %v", c.step, c.op, err)
		return
	}
	defer s.Close()
	old, err := s.Load()
	if err != nil {
		t.Errorf("step %d (%s): %v", c.step, c.op, err)
		return
	}
	if floor := c.seen.ceiling[old.Rebases]; old.Ceiling < floor || old.Epoch < c.seen.epoch {
		t.Errorf("step %d (%s): record %+v, promised epoch %d and ceiling %d", c.step, c.op, old, c.seen.epoch, floor)
	}
	i := issuerOn(t, s, newHand(epoch0-int64(2*time.Minute)))
	defer i.Close()
	if e := i.Status().Epoch; e <= c.seen.epoch {
		t.Errorf("step %d (%s): epoch %d again, %d was begun", c.step, c.op, e, c.seen.epoch)
	}
	if ts, issued := now(t, i), c.seen.issued[old.Rebases]; ts <= issued {
		t.Errorf("step %d (%s): issued %d, and %d before the cut (record %+v)", c.step, c.op, ts, issued, old)
	}
}
