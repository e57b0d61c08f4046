package store

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/truechimer/truechimer/hlc"
)

var errDisk = errors.New("disk on fire")

// faults fails or blocks what match selects once it is armed.
type faults struct {
	armed atomic.Bool
	match func(errorfs.Op) bool
	block chan struct{} // when set, wait for it instead of failing
}

func (f *faults) String() string { return "faults" }

func (f *faults) MaybeError(op errorfs.Op) error {
	if !f.armed.Load() || !f.match(op) {
		return nil
	}
	if f.block != nil {
		<-f.block
		return nil
	}
	return errDisk
}

func isLogSync(op errorfs.Op) bool {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		return strings.HasSuffix(op.Path, ".log")
	}
	return false
}

func isLogWrite(op errorfs.Op) bool {
	return op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".log")
}

// within fails the test when do takes longer than it may on the slowest machine.
func within(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s hangs", what)
	}
}

// TestFence fails a sync or a write of the log under callers: all of them get ErrFenced
// at once, nothing is acknowledged any more, Close does not hang, the reason is logged
// once, and what is on disk afterwards is above everything acknowledged.
func TestFence(t *testing.T) {
	for name, match := range map[string]func(errorfs.Op) bool{"sync": isLogSync, "write": isLogWrite} {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewCrashableMem()
			f := &faults{match: match}
			var lines lockedBuffer
			s, err := Open("data", Options{Node: 7, Logger: slog.New(slog.NewTextHandler(&lines, nil)), fs: errorfs.Wrap(disk, f)})
			if err != nil {
				t.Fatal(err)
			}
			h := newHand(epoch0)
			i := issuerOn(t, s, h)
			last := now(t, i)
			f.armed.Store(true)
			h.move(time.Minute) // past the ceiling: every caller needs a save
			within(t, "issuing", func() {
				var all sync.WaitGroup
				for range 8 {
					all.Go(func() {
						if ts, err := i.Now(context.Background()); !errors.Is(err, ErrFenced) || !errors.Is(err, errDisk) || errors.Is(err, ErrExhausted) {
							t.Errorf("issued %d, %v", ts, err)
						}
					})
				}
				all.Wait()
			})
			fenced(t, s, i)
			within(t, "Issuer.Close", func() {
				if err := i.Close(); !errors.Is(err, ErrFenced) {
					t.Errorf("close issuer: %v", err)
				}
			})
			within(t, "Store.Close", func() {
				if err := s.Close(); !errors.Is(err, ErrFenced) {
					t.Errorf("close store: %v", err)
				}
			})
			if n := strings.Count(lines.String(), "level=ERROR"); n != 1 || !strings.Contains(lines.String(), errDisk.Error()) {
				t.Errorf("%d errors logged:\n%s", n, lines.String())
			}
			for _, cfg := range []vfs.CrashCloneCfg{{}, {UnsyncedDataPercent: 100, RNG: newRNG()}} {
				above(t, disk.CrashClone(cfg), last)
			}
		})
	}
}

// fenced checks that every way in is closed.
func fenced(t *testing.T, s *Store, i *Issuer) {
	t.Helper()
	select {
	case <-s.Fenced():
	default:
		t.Error("Fenced is open")
	}
	ctx := context.Background()
	_, loadErr := s.Load()
	_, beginErr := s.Begin()
	_, rebaseErr := i.Rebase()
	_, nowErr := i.Now(ctx)
	_, manyErr := i.NowN(ctx, 5)
	_, observeErr := i.Observe(ctx, 1)
	_, intervalErr := i.Interval(ctx)
	_, waitErr := i.Wait(ctx, 1)
	_, commitErr := i.Commit(ctx)
	for name, err := range map[string]error{
		"Err": s.Err(), "Load": loadErr, "Begin": beginErr, "Save": s.Save(1, hlc.Max), "Finish": s.Finish(1, 0),
		"Rebase": rebaseErr, "Now": nowErr, "NowN": manyErr, "Observe": observeErr, "Interval": intervalErr,
		"Wait": waitErr, "Commit": commitErr, "Start": i.Start(), "Status": i.Status().Err,
	} {
		if !errors.Is(err, ErrFenced) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// above opens what a crash has left and checks that issuing goes on above last.
func above(t *testing.T, disk *vfs.MemFS, last hlc.Timestamp) {
	t.Helper()
	s, err := Open("data", Options{Node: 7, fs: disk})
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close()
	i := issuerOn(t, s, newHand(epoch0))
	defer i.Close()
	if ts := now(t, i); ts <= last {
		t.Errorf("issued %d after %d", ts, last)
	}
}

// TestFenceFlush fails a sync of a directory, where Pebble panics on a goroutine of its
// own: the process lives, and the store is fenced.
func TestFenceFlush(t *testing.T) {
	f := &faults{match: func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileSync && strings.HasSuffix(op.Path, "pebble") }}
	s, err := Open("data", Options{Node: 7, fs: errorfs.Wrap(vfs.NewMem(), f)})
	if err != nil {
		t.Fatal(err)
	}
	f.armed.Store(true)
	within(t, "flush", func() {
		if err := s.fence.guard(s.db.Flush); !errors.Is(err, ErrFenced) {
			t.Errorf("flush: %v", err)
		}
	})
	within(t, "Close", func() {
		if err := s.Close(); !errors.Is(err, ErrFenced) {
			t.Errorf("close: %v", err)
		}
	})
}

// full fails as a full disk does: no table can be written, while the log has room left.
type full struct{ vfs.FS }

func (f full) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasSuffix(name, ".sst") {
		return nil, &os.PathError{Op: "create", Path: name, Err: syscall.ENOSPC}
	}
	return f.FS.Create(name, c)
}

// TestFullDisk: a disk that is full when a table is to be written, at the start and later,
// fences the store with the reason instead of keeping Pebble busy for ever; what was
// acknowledged is there when space has been freed.
func TestFullDisk(t *testing.T) {
	disk := vfs.NewMem()
	within(t, "a new store", func() {
		_, err := Open("new", Options{fs: full{vfs.NewMem()}})
		if !errors.Is(err, ErrUnwritable) || !strings.Contains(err.Error(), "free some space") || errors.Is(err, ErrFenced) {
			t.Errorf("open a new store: %v", err)
		}
	})
	s, err := Open("data", Options{fs: disk})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Save(c.Epoch, 4096); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, "an old store", func() { // its log is replayed, and flushed
		if _, err := Open("data", Options{fs: full{disk}}); !errors.Is(err, ErrFenced) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("open on a full disk: %v", err)
		}
	})
	after := vfs.NewMem() // the fenced store keeps its lock until the process ends
	if ok, err := vfs.Clone(disk, after, "data", "data"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	s, err = Open("data", Options{fs: after})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := s.Load(); err != nil || c.Ceiling != 4096 {
		t.Errorf("after freeing space: %+v, %v", c, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestCreateFails fails every step of a creation in turn: Open returns an error and does
// not hang, and the next Open on what is there succeeds.
func TestCreateFails(t *testing.T) {
	for step := range 400 {
		disk := vfs.NewCrashableMem()
		var n atomic.Int64
		f := &faults{match: func(op errorfs.Op) bool {
			return op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose && n.Add(1) == int64(step)+1
		}}
		f.armed.Store(true)
		within(t, "Open", func() {
			s, err := Open("data", Options{Node: 7, fs: errorfs.Wrap(disk, f)})
			if err == nil {
				_ = s.Close()
			}
		})
		left := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: newRNG()})
		s, err := Open("data", Options{Node: 7, fs: left})
		if err != nil {
			t.Errorf("step %d: %v", step, err)
		} else if err := s.Close(); err != nil {
			t.Errorf("step %d: %v", step, err)
		}
		if n.Load() <= int64(step) {
			t.Logf("%d steps", step)
			return
		}
	}
	t.Error("creation does not end")
}

// TestPanic panics where Pebble would.
func TestPanic(t *testing.T) {
	f := newFence(nil)
	if err := f.guard(func() error { panic(errDisk) }); !errors.Is(err, ErrFenced) {
		t.Errorf("panic: %v", err)
	}
	if err := f.guard(func() error { return nil }); !errors.Is(err, ErrFenced) {
		t.Errorf("after a panic: %v", err)
	}
}

// lockedBuffer is a bytes.Buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
