package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
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

// streamsAt returns the streams of a store of node 7 in dir.
func streamsAt(t testing.TB, fs vfs.FS, dir string, h *hand) *Streams {
	t.Helper()
	s, err := Open(dir, Options{Node: 7, fs: fs})
	if err != nil {
		t.Fatal(err)
	}
	st, err := NewStreams(s, issuerOn(t, s, h), StreamsOptions{RetentionEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// stock fills streams with everything that a store can hold.
func stock(t testing.TB, st *Streams, h *hand) {
	t.Helper()
	ctx := context.Background()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := range 60 {
		h.move(time.Millisecond)
		b := Batch{}
		for k := range 1 + n%5 {
			b.Entries = append(b.Entries, Entry{Stream: fmt.Sprintf("room/%d", (n+k)%7), Payload: bytes.Repeat([]byte{byte(n)}, n*k)})
		}
		if n%10 == 0 {
			b.Key, b.Principal = fmt.Sprint(n), "me"
		}
		must(st.Append(ctx, b))
		if n == 30 {
			must(st.Trim(ctx, "room/1", 5))
			must(st.Delete(ctx, "room/2"))
			must(st.Delete(ctx, "room/3"))
			must(nil, st.store.db.Compact(ctx, []byte{0}, []byte{0xff}, false)) // a table to last
		}
	}
	must(st.Create(ctx, "empty", Retention{Age: time.Hour, Count: 7}))
	must(st.Create(ctx, "never", Retention{}))
	must(st.Delete(ctx, "never"))
	h.move(-time.Minute)
	must(st.issuer.Rebase())
	must(st.Append(ctx, Batch{Entries: []Entry{{Stream: "after", Payload: []byte("rebase")}}}))
	must(st.Delete(ctx, "room/5"))
}

// backedUp returns a disk with a store in /var/data, and a backup of it in /var/backup.
func backedUp(t testing.TB) (*vfs.MemFS, BackupResult) {
	t.Helper()
	disk, h := vfs.NewCrashableMem(), newHand(epoch0)
	st := streamsAt(t, disk, "/var/data", h)
	stock(t, st, h)
	r, err := st.store.Backup(context.Background(), "/var/backup", nil)
	if err != nil {
		t.Fatal(err)
	}
	closeStreams(t, st)
	return disk, r
}

// copyOf returns a disk of its own with what is in dir.
func copyOf(t testing.TB, disk vfs.FS, dir string) *vfs.MemFS {
	t.Helper()
	c := vfs.NewCrashableMem()
	if ok, err := vfs.Clone(disk, c, dir, dir, vfs.CloneSync); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := syncDir(c, "/"); err != nil {
		t.Fatal(err)
	}
	return c
}

// restoreOn restores /var/backup to /var/new.
func restoreOn(disk vfs.FS) (RestoreResult, error) {
	return Restore(context.Background(), "/var/backup", "/var/new", RestoreOptions{Floor: hlc.FromUnix(epoch0) + 1e9, fs: disk})
}

// gone fails the test when there is anything in dir.
func gone(t testing.TB, disk vfs.FS, dir string) {
	t.Helper()
	if names, err := disk.List(dir); err == nil {
		t.Errorf("left in %s: %q", dir, names)
	}
}

// noLink is a file system on two disks, or one that mounts the same disk twice, with some
// space left.
type noLink struct {
	vfs.FS
	free uint64
}

func (noLink) Link(oldName, newName string) error {
	return &os.LinkError{Op: "link", Old: oldName, New: newName, Err: syscall.EXDEV}
}

func (n noLink) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: n.free, TotalBytes: 1 << 41}, nil
}

// TestBackupReserve copies to a disk that has little space: it may be that of the store.
func TestBackupReserve(t *testing.T) {
	leakFree(t)
	disk, h := noLink{vfs.NewMem(), 1 << 40}, newHand(epoch0)
	st := streamsAt(t, disk, "/var/data", h)
	noise := make([]byte, 1<<20)
	rng := newRNG()
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	for range 24 {
		if _, err := st.Append(context.Background(), Batch{Entries: []Entry{{Stream: "a", Payload: noise}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.store.db.Flush(); err != nil {
		t.Fatal(err)
	}
	st.store.fs = noLink{disk.FS, backupReserve - 1}
	_, err := st.store.Backup(context.Background(), "/var/backup", nil)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "255 MiB are free") || !strings.Contains(err.Error(), "another disk") {
		t.Errorf("backup: %v", err)
	}
	gone(t, disk, "/var/backup")
	st.store.fs = noLink{disk.FS, backupReserve}
	if _, err := st.store.Backup(context.Background(), "/var/backup", nil); err != nil {
		t.Error(err)
	}
	closeStreams(t, st)
}

// toBackup fails or counts what happens to the backup.
func toBackup(op errorfs.Op) bool {
	return strings.Contains(op.Path, "backups") || op.Kind == errorfs.OpLink
}

// TestBackupFails fails every step of a backup in turn: Backup returns an error and leaves
// nothing, or what it leaves is refused; the store goes on, and the next backup succeeds.
func TestBackupFails(t *testing.T) {
	for _, plain := range []bool{false, true} {
		disk, h := vfs.NewMem(), newHand(epoch0)
		var n, step atomic.Int64
		var hit errorfs.OpKind
		f := &faults{match: func(op errorfs.Op) bool {
			if !toBackup(op) || n.Add(1) != step.Load() {
				return false
			}
			hit = op.Kind
			return true
		}}
		var fs vfs.FS = errorfs.Wrap(disk, f)
		if plain {
			fs = noLink{fs, 1 << 40}
		}
		st := streamsAt(t, fs, "/var/data", h)
		stock(t, st, h)
		if err := disk.MkdirAll("/var/backups", 0o750); err != nil {
			t.Fatal(err)
		}
		failed := 0
		for {
			n.Store(0)
			step.Add(1)
			f.armed.Store(true)
			_, err := st.store.Backup(context.Background(), "/var/backups/one", nil)
			f.armed.Store(false)
			if st.store.Err() != nil {
				t.Fatalf("step %d: %v", step.Load(), st.store.Err())
			}
			if _, err := st.Append(context.Background(), Batch{Entries: []Entry{{Stream: "on"}}}); err != nil {
				t.Fatalf("step %d: %v", step.Load(), err)
			}
			if err != nil {
				failed++
				if !errors.Is(err, errDisk) {
					t.Errorf("step %d: %v", step.Load(), err)
				}
				if names, listErr := disk.List("/var/backups/one"); listErr == nil {
					if _, openErr := Open("/var/backups/one", Options{Node: 7, fs: disk}); openErr == nil || len(names) > 0 && !errors.Is(openErr, ErrUnfinished) {
						t.Errorf("step %d: %v left %q, and open: %v", step.Load(), err, names, openErr)
					}
				}
			} else if n.Load() >= step.Load() && hit.ReadOrWrite() == errorfs.OpIsWrite && hit != errorfs.OpFileClose && hit != errorfs.OpRemove && hit != errorfs.OpLink && hit != errorfs.OpFilePreallocate {
				t.Errorf("step %d: op %d failed, and nobody was told", step.Load(), hit)
			} else if report, err := verifyDir(context.Background(), disk, "/var/backups/one", nil); err != nil || report.Err() != nil {
				t.Errorf("step %d: %+v, %v", step.Load(), report, err)
			}
			if err := disk.RemoveAll("/var/backups/one"); err != nil {
				t.Fatal(err)
			}
			if n.Load() < step.Load() {
				break
			}
		}
		t.Logf("%d steps, %d failures", step.Load(), failed)
		if failed < 100 {
			t.Errorf("%d failures", failed)
		}
		closeStreams(t, st)
	}
}

// shortDisk is full below the directory of backups after some bytes.
type shortDisk struct {
	vfs.FS
	left *atomic.Int64
}

func (d shortDisk) Link(string, string) error { return syscall.EXDEV }

func (d shortDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	if err != nil || !strings.Contains(name, "backups") {
		return f, err
	}
	return shortFile{f, d.left}, nil
}

type shortFile struct {
	vfs.File
	left *atomic.Int64
}

func (f shortFile) Write(p []byte) (int, error) {
	if f.left.Add(-int64(len(p))) < 0 {
		return 0, syscall.ENOSPC
	}
	return f.File.Write(p)
}

// TestBackupDiskFull backs up to disks that are too small for it.
func TestBackupDiskFull(t *testing.T) {
	leakFree(t)
	disk := shortDisk{vfs.NewMem(), new(atomic.Int64)}
	h := newHand(epoch0)
	st := streamsAt(t, disk, "/var/data", h)
	stock(t, st, h)
	if err := disk.MkdirAll("/var/backups", 0o750); err != nil {
		t.Fatal(err)
	}
	for size := int64(10); ; size = size * 5 / 4 {
		disk.left.Store(size)
		_, err := st.store.Backup(context.Background(), "/var/backups/one", nil)
		if err == nil {
			t.Logf("fits into %d bytes", size)
			break
		}
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some space there") || st.store.Err() != nil {
			t.Errorf("%d bytes: %v, %v", size, err, st.store.Err())
		}
		gone(t, disk, "/var/backups/one")
	}
	closeStreams(t, st)
}

// TestBackupCut cuts the power before every step of a backup: what there is afterwards is
// nothing, unfinished, or complete.
func TestBackupCut(t *testing.T) {
	leakFree(t)
	for round, percent := range []int{0, 100, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50} {
		w := &witness{disk: vfs.NewCrashableMem(), percent: percent, rng: rand.New(rand.NewPCG(*seedFlag, uint64(round)))}
		h := newHand(epoch0)
		st := streamsAt(t, errorfs.Wrap(w.disk, w), "/var/data", h)
		stock(t, st, h)
		w.mu.Lock()
		w.cuts = nil
		w.mu.Unlock()
		if _, err := st.store.Backup(context.Background(), "/var/backup", nil); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		cuts := w.cuts
		w.mu.Unlock()
		closeStreams(t, st)
		empty, unfinished, whole := 0, 0, 0
		for _, c := range append(cuts, cut{op: "end", disk: w.disk.CrashClone(vfs.CrashCloneCfg{})}) {
			report, err := verifyDir(context.Background(), c.disk, "/var/backup", nil)
			switch {
			case err == nil && report.Err() == nil:
				whole++
			case errors.Is(err, ErrUnfinished):
				unfinished++
				if _, err := restoreOn(c.disk); !errors.Is(err, ErrUnfinished) || !strings.Contains(err.Error(), "take another backup") {
					t.Errorf("step %d (%s): restore %v", c.step, c.op, err)
				}
			case errors.Is(err, ErrForeign) && strings.Contains(err.Error(), "there is no store"):
				empty++
			default:
				t.Errorf("step %d (%s): %+v, %v", c.step, c.op, report, err)
			}
		}
		if empty == 0 || unfinished == 0 || whole == 0 {
			t.Errorf("%d empty, %d unfinished, %d whole", empty, unfinished, whole)
		}
		t.Logf("keeps %d%%: %d empty, %d unfinished, %d whole", percent, empty, unfinished, whole)
	}
}

// TestBackupArguments names directories that cannot take a backup.
func TestBackupArguments(t *testing.T) {
	leakFree(t)
	root := canonical(t.TempDir())
	st := streamsAt(t, vfs.Default, filepath.Join(root, "data"), newHand(epoch0))
	write(t, filepath.Join(root, "file"), "x")
	write(t, filepath.Join(root, "mine", "letter"), "x")
	link := filepath.Join(root, "link")
	if err := errors.Join(os.Symlink(filepath.Join(root, "data"), link), os.MkdirAll(filepath.Join(root, "empty"), 0o755)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "disk", "lost+found", "x"), "")
	for dir, want := range map[string]struct {
		kind error
		text string
	}{
		"backup":                     {ErrUnwritable, "not an absolute path"},
		"":                           {ErrUnwritable, "not an absolute path"},
		root + "/data":               {ErrUnwritable, "in the data directory itself"},
		root + "/data/backup":        {ErrUnwritable, "in the data directory itself"},
		root + "/data/pebble/backup": {ErrUnwritable, "in the data directory itself"},
		root + "/x/../data/backup":   {ErrUnwritable, "in the data directory itself"},
		link + "/backup":             {ErrUnwritable, "in the data directory itself"},
		root + "/none/backup":        {ErrUnwritable, "the directory that it is in"},
		root + "/file":               {ErrForeign, "it is a file"},
		root + "/file/backup":        {ErrUnwritable, "what it is in is not a directory"},
		root + "/mine":               {ErrForeign, `"letter"`},
		root + "/empty":              {nil, ""},
		root + "/disk":               {nil, ""},
		root + "/data2":              {nil, ""},
	} {
		_, err := st.store.Backup(context.Background(), dir, nil)
		if want.kind == nil {
			if err != nil {
				t.Errorf("%s: %v", dir, err)
			}
			if _, err := st.store.Backup(context.Background(), dir, nil); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "it holds a backup") {
				t.Errorf("%s again: %v", dir, err)
			}
			if report, err := Verify(context.Background(), dir, nil); err != nil || report.Err() != nil {
				t.Errorf("%s: %+v, %v", dir, report, err)
			}
			continue
		}
		if !errors.Is(err, ErrRefused) || !errors.Is(err, want.kind) || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: %v", dir, err)
		}
		t.Log(err)
	}
	closeStreams(t, st)
}

// TestBackupEnds ends a backup in each of its phases, by its context and by the end of the
// store, and begins a second one meanwhile.
func TestBackupEnds(t *testing.T) {
	leakFree(t)
	for _, phase := range []string{"copying", "reading", "checking"} {
		disk, h := shortDisk{vfs.NewMem(), new(atomic.Int64)}, newHand(epoch0)
		disk.left.Store(1 << 30)
		st := streamsAt(t, disk, "/var/data", h)
		stock(t, st, h)
		if err := disk.MkdirAll("/var/backups", 0o750); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		_, err := st.store.Backup(ctx, "/var/backups/one", func(p Progress) {
			if p.Phase != phase {
				return
			}
			if _, err := st.store.Backup(ctx, "/var/backups/one", nil); !errors.Is(err, ErrBackupRunning) {
				t.Errorf("%s: a second backup: %v", phase, err)
			}
			cancel()
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", phase, err)
		}
		if written := 1<<30 - disk.left.Load(); phase == "copying" && written > 200 {
			t.Errorf("%d bytes written by a backup that had ended", written)
		}
		gone(t, disk, "/var/backups/one")
		closed := make(chan struct{})
		once := sync.Once{}
		_, err = st.store.Backup(context.Background(), "/var/backups/one", func(p Progress) {
			if p.Phase == phase {
				once.Do(func() {
					go func() { defer close(closed); closeStreams(t, st) }()
					<-st.store.backups.life.Done()
				})
			}
		})
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", phase, err)
		}
		<-closed
		gone(t, disk, "/var/backups/one")
		if _, err := st.store.Backup(context.Background(), "/var/backups/one", nil); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: after Close: %v", phase, err)
		}
	}
}

// TestBackupFenced backs up a store that is fenced, and one that is fenced meanwhile.
func TestBackupFenced(t *testing.T) {
	f := &faults{match: isLogWrite}
	disk, h := errorfs.Wrap(vfs.NewMem(), f), newHand(epoch0)
	st := streamsAt(t, disk, "/var/data", h)
	stock(t, st, h)
	within(t, "backup", func() {
		_, err := st.store.Backup(context.Background(), "/var/backup", func(p Progress) {
			if p.Phase == "copying" {
				st.store.fence.raise(errDisk)
			}
		})
		if !errors.Is(err, ErrFenced) {
			t.Errorf("fenced meanwhile: %v", err)
		}
		if _, err := st.store.Backup(context.Background(), "/var/other", nil); !errors.Is(err, ErrFenced) {
			t.Errorf("fenced: %v", err)
		}
		if err := st.store.Close(); !errors.Is(err, ErrFenced) {
			t.Errorf("close: %v", err)
		}
	})
}

// TestBackupProgress reads what a caller is told.
func TestBackupProgress(t *testing.T) {
	leakFree(t)
	disk, h := vfs.NewMem(), newHand(epoch0)
	st := streamsAt(t, disk, "/var/data", h)
	stock(t, st, h)
	var phases []string
	var last Progress
	r, err := st.store.Backup(context.Background(), "/var/backup", func(p Progress) {
		if p.Phase != last.Phase {
			phases = append(phases, p.Phase)
			if last.Bytes < last.BytesTotal || last.Files < last.FilesTotal {
				t.Errorf("%+v was the last of its phase", last)
			}
		}
		if p.BytesTotal > 0 && p.Bytes > p.BytesTotal || p.Phase == "reading" && p.BytesTotal != last.BytesTotal && p.Phase == last.Phase {
			t.Errorf("%+v after %+v", p, last)
		}
		last = p
	})
	if err != nil || strings.Join(phases, " ") != "copying reading checking" || last.Bytes != last.BytesTotal || last.Bytes == 0 {
		t.Errorf("phases %q, last %+v: %+v, %v", phases, last, r, err)
	}
	closeStreams(t, st)
}

// TestLogReader opens a log that is being written in the place of an older one: what was
// written is seen, and nothing behind it.
func TestLogReader(t *testing.T) {
	disk := vfs.NewMem()
	fs := newEngineFS(disk, "db", newFence(nil))
	if err := disk.MkdirAll("db", 0o750); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		t.Helper()
		f, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	old, err := fs.Create("db/000001.log", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Write([]byte("old old old")); err != nil {
		t.Fatal(err)
	}
	if got := read("db/000001.log"); got != "old old old" {
		t.Errorf("read %q", got)
	}
	log, err := fs.ReuseForWrite("db/000001.log", "db/000002.log", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Write([]byte("new")); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Open("db/000002.log")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Write([]byte("er")); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(f); err != nil || string(b) != "new" {
		t.Errorf("opened before: %q, %v", b, err)
	}
	if got := read("db/000002.log"); got != "newer" {
		t.Errorf("read %q", got)
	}
	if len(fs.logs) != 1 {
		t.Errorf("%d logs", len(fs.logs))
	}
	if err := errors.Join(f.Close(), log.Close(), fs.Remove("db/000002.log")); err != nil || len(fs.logs) != 0 {
		t.Errorf("%d logs, %v", len(fs.logs), err)
	}
}

func FuzzInventory(f *testing.F) {
	f.Add(inventory{id: id{1, 2}, files: []inventoryFile{{"000005.sst", 4096, 0x0a1b2c3d}, {"MANIFEST-000001", 0, 0}}}.encode())
	f.Add(inventory{id: id{3}, files: []inventoryFile{{"a b", 1, 2}}}.encode())
	f.Add([]byte("crc32c 00000000\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, markerOf(b)} {
			c, err := decodeInventory(b)
			if err != nil {
				continue
			}
			if !bytes.Equal(c.encode(), b) {
				t.Errorf("%q decodes to %+v, which is spelt otherwise", b, c)
			}
			for _, file := range c.files {
				if filepath.Base(file.name) != file.name {
					t.Errorf("%q names the file %q", b, file.name)
				}
			}
		}
	})
}
