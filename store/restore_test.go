package store

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/truechimer/truechimer/hlc"
)

// TestRestore restores a backup of everything that a store can hold, below and above its
// ceiling, and opens what came of it.
func TestRestore(t *testing.T) {
	leakFree(t)
	disk, b := backedUp(t)
	before, err := disk.List("/var/backup/pebble")
	if err != nil {
		t.Fatal(err)
	}
	report, err := verifyDir(context.Background(), disk, "/var/data", nil)
	if err != nil || report.Err() != nil || report.Streams != b.Streams || report.Events != b.Events || report.Bytes != b.EventBytes || report.Retries == 0 || report.Deleted == 0 {
		t.Errorf("the store: %+v, %v, its backup %+v", report, err, b)
	}
	for floor, want := range map[hlc.Timestamp]hlc.Timestamp{1: b.Ceiling + 1e9, b.Ceiling + 5e9: b.Ceiling + 6e9} {
		r, err := Restore(context.Background(), "/var/backup", "/var/a/b/new", RestoreOptions{Floor: floor, Window: time.Second, fs: disk})
		if err != nil {
			t.Fatal(err)
		}
		if r.Ceiling != want || r.Backup != b.ID || r.Node != 7 || r.Epoch != report.Epoch+1 || r.Streams != b.Streams || r.Events != b.Events {
			t.Errorf("floor %v: %+v, want a ceiling of %v", floor, r, want)
		}
		if _, err := Open("/var/a/b/new", Options{Node: 8, fs: disk}); !errors.Is(err, ErrNode) {
			t.Errorf("open as another node: %v", err)
		}
		s, err := Open("/var/a/b/new", Options{Node: 7, fs: disk})
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.Load()
		if err != nil || c.Epoch != r.Epoch || c.Ceiling != want || c.Resume() != want || c.Rebases != 1 || s.ID() != r.ID || r.ID == b.ID {
			t.Errorf("opened %s with %+v, %v", s.ID(), c, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := Restore(context.Background(), "/var/backup", "/var/a/b/new", RestoreOptions{Floor: 1, fs: disk}); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "it holds a store") {
			t.Errorf("restore again: %v", err)
		}
		if err := disk.RemoveAll("/var/a"); err != nil {
			t.Fatal(err)
		}
	}
	if after, err := disk.List("/var/backup/pebble"); err != nil || len(after) != len(before) {
		t.Errorf("the backup had %q, and has %q: %v", before, after, err)
	}
	readOnly := noLock{sealedFS{disk}}
	if report, err := verifyDir(context.Background(), readOnly, "/var/backup", nil); err != nil || report.Err() != nil {
		t.Errorf("the backup: %+v, %v", report, err)
	}
	if _, err := Open("/var/backup", Options{Node: 7, fs: readOnly}); !errors.Is(err, ErrBackup) {
		t.Errorf("open the backup: %v", err)
	}
}

// noLock is a file system that cannot be written.
type noLock struct{ sealedFS }

func (noLock) Lock(name string) (io.Closer, error) {
	return nil, &os.PathError{Op: "open", Path: name, Err: syscall.EROFS}
}

// TestRestoreCursor: a cursor of the old store is of no use in the new one.
func TestRestoreCursor(t *testing.T) {
	leakFree(t)
	disk, _ := backedUp(t)
	h := newHand(epoch0)
	st := streamsAt(t, disk, "/var/data", h)
	p, err := st.Read(context.Background(), "room/0", Query{Limit: 1})
	if err != nil || p.Cursor == "" {
		t.Fatal(p, err)
	}
	closeStreams(t, st)
	if _, err := restoreOn(disk); err != nil {
		t.Fatal(err)
	}
	st = streamsAt(t, disk, "/var/new", h)
	if _, err := st.Read(context.Background(), "room/0", Query{Cursor: p.Cursor}); !errors.Is(err, ErrCursor) {
		t.Errorf("old cursor: %v", err)
	}
	closeStreams(t, st)
}

// TestRestoreCut cuts the power before every step of a restore: afterwards there is
// nothing, something that Open refuses, or the whole store.
func TestRestoreCut(t *testing.T) {
	leakFree(t)
	pristine, b := backedUp(t)
	for _, percent := range []int{0, 50, 100} {
		w := &witness{disk: copyOf(t, pristine, "/var/backup"), percent: percent, rng: rand.New(rand.NewPCG(*seedFlag, uint64(percent)))}
		r, err := restoreOn(errorfs.Wrap(w.disk, w))
		if err != nil {
			t.Fatal(err)
		}
		w.cut("end")
		empty, unfinished, whole := 0, 0, 0
		for _, c := range w.cuts {
			_, pebbleErr := c.disk.Stat("/var/new/pebble")
			s, err := Open("/var/new", Options{Node: 7, fs: c.disk})
			switch {
			case errors.Is(err, ErrUnfinished) && strings.Contains(err.Error(), "remove it, and restore the backup again"):
				unfinished++
				if _, err := restoreOn(c.disk); !errors.Is(err, ErrUnfinished) {
					t.Errorf("step %d (%s): restore again: %v", c.step, c.op, err)
				}
				if err := c.disk.RemoveAll("/var/new"); err != nil {
					t.Fatal(err)
				}
				if _, err := restoreOn(c.disk); err != nil {
					t.Errorf("step %d (%s): restore again: %v", c.step, c.op, err)
				}
				continue
			case err != nil:
				t.Errorf("step %d (%s): %v", c.step, c.op, err)
				continue
			case s.ID() != r.ID:
				empty++ // Open has made a new store where nothing was
				if pebbleErr == nil {
					t.Errorf("step %d (%s): opened %s", c.step, c.op, s.ID())
				}
			default:
				whole++
				if got, err := s.Load(); err != nil || got.Ceiling != r.Ceiling || got.Epoch != r.Epoch {
					t.Errorf("step %d (%s): %+v, %v", c.step, c.op, got, err)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if report, err := verifyDir(context.Background(), c.disk, "/var/new", nil); err != nil || report.Err() != nil || s.ID() == r.ID && report.Events != b.Events {
				t.Errorf("step %d (%s): %+v, %v", c.step, c.op, report, err)
			}
		}
		t.Logf("keeps %d%%: %d empty, %d unfinished, %d whole", percent, empty, unfinished, whole)
		if empty == 0 || unfinished == 0 || whole == 0 {
			t.Errorf("keeps %d%%: %d empty, %d unfinished, %d whole", percent, empty, unfinished, whole)
		}
	}
}

// TestRestoreFails fails every step of a restore in turn: it leaves nothing, or what Open
// refuses, and never touches the backup.
func TestRestoreFails(t *testing.T) {
	pristine, _ := backedUp(t)
	whole := copyOf(t, pristine, "/var/backup").String()
	for step := int64(1); ; step++ {
		disk := copyOf(t, pristine, "/var/backup")
		var n atomic.Int64
		f := &faults{match: func(op errorfs.Op) bool { return op.Kind != errorfs.OpFileClose && n.Add(1) == step }}
		f.armed.Store(true)
		within(t, "restore", func() {
			r, err := restoreOn(errorfs.Wrap(disk, f))
			if err == nil && n.Load() >= step && r.ID == "" {
				t.Errorf("step %d: %+v", step, r)
			}
			if err != nil && !errors.Is(err, errDisk) && !errors.Is(err, ErrRefused) {
				t.Errorf("step %d: %v", step, err)
			}
			// What is parked may keep a lock until the process ends.
			left := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: newRNG()})
			s, openErr := Open("/var/new", Options{Node: 7, fs: left})
			switch {
			case openErr != nil && (err == nil || !errors.Is(openErr, ErrUnfinished)):
				t.Errorf("step %d: %v, open: %v", step, err, openErr)
			case openErr == nil && err != nil && s.ID() == r.ID:
				t.Errorf("step %d: %v, and opened", step, err)
			case openErr == nil:
				if c, loadErr := s.Load(); loadErr != nil || err != nil && c.Epoch != 0 {
					t.Errorf("step %d: %v, and opened with %+v, %v", step, err, c, loadErr)
				}
				_ = s.Close()
			}
		})
		if err := disk.RemoveAll("/var/new"); err != nil {
			t.Fatal(err)
		}
		if disk.String() != whole {
			t.Fatalf("step %d: changed from\n%s\nto\n%s", step, whole, disk)
		}
		if n.Load() < step {
			t.Logf("%d steps", step)
			return
		}
	}
}

// TestRestoreEnds ends a restore in each of its phases.
func TestRestoreEnds(t *testing.T) {
	leakFree(t)
	disk, _ := backedUp(t)
	for _, phase := range []string{"reading", "checking", "copying"} {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		o := RestoreOptions{Floor: 1, fs: disk, Progress: func(p Progress) {
			if p.Phase == phase {
				cancel()
			}
		}}
		if r, err := Restore(ctx, "/var/backup", "/var/new", o); !errors.Is(err, context.Canceled) || errors.Is(err, ErrRefused) {
			t.Errorf("%s: %+v, %v", phase, r, err)
		}
		gone(t, disk, "/var/new")
	}
}

// TestRestoreArguments names what cannot be restored, and where it cannot be.
func TestRestoreArguments(t *testing.T) {
	leakFree(t)
	dir, _ := used(t)
	root := canonical(filepath.Dir(dir))
	s, err := Open(dir, Options{Node: 7})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Backup(context.Background(), filepath.Join(root, "backup"), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "file"), "x")
	write(t, filepath.Join(root, "mine", "letter"), "x")
	write(t, filepath.Join(root, "cut", markerName), string(marker{state: stateBackingUp}.encode()))
	write(t, filepath.Join(root, "future", markerName), futureMarker())
	if err := errors.Join(os.MkdirAll(filepath.Join(root, "void"), 0o755), os.Symlink(filepath.Join(root, "backup"), filepath.Join(root, "link"))); err != nil {
		t.Fatal(err)
	}
	before := contents(t, root)
	for _, c := range []struct {
		from, to string
		kind     error
		text     string
	}{
		{"data", "new", ErrForeign, "it is a data directory, not a backup"},
		{"none", "new", ErrForeign, "there is no backup in it"},
		{"void", "new", ErrForeign, "there is no backup in it"},
		{"file", "new", ErrForeign, "it is a file"},
		{"mine", "new", ErrForeign, `"letter"`},
		{"cut", "new", ErrUnfinished, "take another backup"},
		{"future", "new", ErrNewer, "run the version that wrote it"},
		{"backup", "data", ErrForeign, "it holds a store"},
		{"backup", "mine", ErrForeign, `"letter"`},
		{"backup", "file", ErrForeign, "it is a file"},
		{"backup", "file/new", ErrUnwritable, "cannot"},
		{"backup", "backup", ErrUnwritable, "in the backup itself"},
		{"backup", "backup/new", ErrUnwritable, "in the backup itself"},
		{"backup", "link/new", ErrUnwritable, "in the backup itself"},
		{"link", "backup/new", ErrUnwritable, "in the backup itself"},
	} {
		_, err := Restore(context.Background(), filepath.Join(root, c.from), filepath.Join(root, c.to), RestoreOptions{Floor: 1})
		if !errors.Is(err, ErrRefused) || !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) || !strings.HasPrefix(err.Error(), "restore ") {
			t.Errorf("%s to %s: %v", c.from, c.to, err)
		}
		t.Log(err)
	}
	for text, o := range map[string]RestoreOptions{
		"needs a floor": {}, "out of range": {Floor: 1, Window: time.Hour}, "beyond the end of time": {Floor: hlc.Max},
	} {
		if _, err := Restore(context.Background(), filepath.Join(root, "backup"), filepath.Join(root, "new"), o); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
	after := contents(t, root)
	for name := range after {
		if after[name] != before[name] {
			t.Errorf("%s has changed", name)
		}
	}
	if len(after) != len(before) {
		t.Errorf("changed from %v to %v", before, after)
	}
	if _, err := Restore(context.Background(), filepath.Join(root, "link"), filepath.Join(root, "void"), RestoreOptions{Floor: 1}); err != nil {
		t.Errorf("to an empty directory: %v", err)
	}
}
