package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/truechimer/truechimer/hlc"
)

// used returns a real directory with a store of node 7 that has been in use, and its
// record. It was left as a crash leaves it: what was saved last is in the log alone.
func used(t *testing.T) (dir string, c Ceiling) {
	t.Helper()
	disk := vfs.NewCrashableMem()
	s, err := Open("data", Options{Node: 7, fs: disk})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.Begin(); err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		if err := s.Save(1, hlc.Timestamp(epoch0+n)); err != nil {
			t.Fatal(err)
		}
	}
	if c, err = s.Load(); err != nil {
		t.Fatal(err)
	}
	crashed := disk.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "data")
	if ok, err := vfs.Clone(crashed, vfs.Default, "data", dir); !ok || err != nil {
		t.Fatal(ok, err)
	}
	return dir, c
}

// contents returns name → checksum of everything below dir. It must not open the lock of
// a store that is open in this process: closing it would give up the lock.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		m[name] = fmt.Sprint(info.Mode(), info.Size())
		if info.Mode().IsRegular() && info.Size() > 0 {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			h := sha256.New()
			if _, err := io.Copy(h, f); err != nil {
				return err
			}
			m[name] += fmt.Sprintf(" %x", h.Sum(nil))
		} else if info.IsDir() {
			m[name] = "directory"
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// one returns the one file that matches the pattern below dir.
func one(t *testing.T, dir, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no file %s in %v: %v", pattern, contents(t, dir), err)
	}
	return names[len(names)-1]
}

// flip damages the byte at the fraction at of a file.
func flip(t *testing.T, path string, at float64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[int(at*float64(len(b)))] ^= 0x10
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// rewrite changes the records of a database.
func rewrite(t *testing.T, dir string, change func(*pebble.DB) error) {
	t.Helper()
	db, err := pebble.Open(filepath.Join(dir, engineName), &pebble.Options{FormatMajorVersion: engineFormat, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(change(db), db.Close()); err != nil {
		t.Fatal(err)
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

// futureMarker is an intact marker of format 2.
func futureMarker() string {
	body := markerTitle + "\nformat 2\nsomething new\n"
	return fmt.Sprintf("%scrc32c %08x\n", body, checksum([]byte(body)))
}

// TestRefusals damages a store in every way that we know and opens it: each is refused
// for its reason, with a sentence that ends in what to do, and the directory is left
// byte for byte as it was.
func TestRefusals(t *testing.T) {
	leakFree(t)
	var other id
	other[0] = 1
	cases := []struct {
		name   string
		node   uint16
		change func(t *testing.T, dir string) string // returns the directory to open
		want   error
		text   string
	}{
		{"foreign file", 7, func(t *testing.T, dir string) string {
			write(t, dir+"2/notes.txt", "mine")
			return dir + "2"
		}, ErrForeign, `"notes.txt"`},
		{"foreign database", 7, func(t *testing.T, dir string) string {
			return filepath.Join(dir, engineName)
		}, ErrForeign, "choose an empty directory"},
		{"foreign lock with contents", 7, func(t *testing.T, dir string) string {
			write(t, dir+"2/LOCK", strings.Repeat("x", markerLenMax+1))
			return dir + "2"
		}, ErrForeign, `"LOCK"`},
		{"marker is a fifo", 7, fifo(markerName), ErrForeign, "its TRUECHIMER is not a regular file"},
		{"marker is a directory", 7, func(t *testing.T, dir string) string {
			name := filepath.Join(dir, markerName)
			if err := errors.Join(os.Remove(name), os.Mkdir(name, 0o755)); err != nil {
				t.Fatal(err)
			}
			return dir
		}, ErrForeign, "its TRUECHIMER is not a regular file"},
		{"lock is a fifo", 7, fifo(lockName), ErrForeign, "its LOCK is not a regular file"},
		{"lock alone is a fifo", 7, func(t *testing.T, dir string) string {
			return fifo(lockName)(t, dir+"2")
		}, ErrForeign, "its LOCK is not a regular file"},
		{"temporary marker is a fifo", 7, func(t *testing.T, dir string) string {
			return fifo(markerTemp)(t, dir+"2")
		}, ErrForeign, `"TRUECHIMER.tmp"`},
		{"the directory is a fifo", 7, func(t *testing.T, dir string) string {
			return filepath.Join(fifo("data")(t, dir+"2"), "data")
		}, ErrForeign, "it is a file, not a directory"},
		{"a file", 7, func(t *testing.T, dir string) string {
			return filepath.Join(dir, markerName)
		}, ErrForeign, "not a directory"},
		{"below a file", 7, func(t *testing.T, dir string) string {
			return filepath.Join(dir, markerName, "data")
		}, ErrUnwritable, "choose a directory that this user may write"},
		{"below /proc", 7, func(t *testing.T, dir string) string {
			if _, err := os.Stat("/proc/self"); err != nil {
				t.Skip("no /proc")
			}
			return "/proc/truechimer"
		}, ErrUnwritable, "choose a directory that this user may write"},
		{"newer marker", 7, func(t *testing.T, dir string) string {
			write(t, filepath.Join(dir, markerName), futureMarker())
			return dir
		}, ErrNewer, "run the version that wrote it"},
		{"newer database", 7, func(t *testing.T, dir string) string {
			name := one(t, dir, "pebble/marker.format-version.*")
			if err := os.Rename(name, name[:strings.LastIndex(name, ".")]+".999"); err != nil {
				t.Fatal(err)
			}
			return dir
		}, ErrNewer, "format 999"},
		{"older database", 7, func(t *testing.T, dir string) string {
			name := one(t, dir, "pebble/marker.format-version.*")
			if err := os.Rename(name, name[:strings.LastIndex(name, ".")]+".018"); err != nil {
				t.Fatal(err)
			}
			return dir
		}, ErrDamaged, "older than any"},
		{"newer records", 7, func(t *testing.T, dir string) string {
			rewrite(t, dir, func(db *pebble.DB) error {
				b, err := get(db, formatKey())
				if err != nil {
					return err
				}
				r, err := decodeFormat(b)
				r.format = 2
				return errors.Join(err, db.Set(formatKey(), r.encode(), pebble.Sync))
			})
			return dir
		}, ErrNewer, "format 2"},
		{"ceiling record missing", 7, func(t *testing.T, dir string) string {
			rewrite(t, dir, func(db *pebble.DB) error { return db.Delete(ceilingKey(), pebble.Sync) })
			return dir
		}, ErrDamaged, "ceiling record"},
		{"ceiling record of another store", 7, func(t *testing.T, dir string) string {
			rewrite(t, dir, func(db *pebble.DB) error {
				return db.Set(ceilingKey(), encodeCeiling(other, Ceiling{}), pebble.Sync)
			})
			return dir
		}, ErrForeign, "store"},
		{"database of another store", 7, func(t *testing.T, dir string) string {
			b, _ := used(t)
			if err := errors.Join(os.RemoveAll(filepath.Join(dir, engineName)), os.Rename(filepath.Join(b, engineName), filepath.Join(dir, engineName))); err != nil {
				t.Fatal(err)
			}
			return dir
		}, ErrForeign, "its marker is of store"},
		{"database gone", 7, func(t *testing.T, dir string) string {
			if err := os.RemoveAll(filepath.Join(dir, engineName)); err != nil {
				t.Fatal(err)
			}
			return dir
		}, ErrDamaged, "database is missing"},
		{"lock and database gone", 7, func(t *testing.T, dir string) string {
			if err := errors.Join(os.RemoveAll(filepath.Join(dir, engineName)), os.Remove(filepath.Join(dir, lockName))); err != nil {
				t.Fatal(err)
			}
			return dir
		}, ErrDamaged, "restore"},
		{"marker says creating", 7, func(t *testing.T, dir string) string {
			b, err := readMarker(vfs.Default, dir)
			if err != nil {
				t.Fatal(err)
			}
			m, err := decodeMarker(b)
			if err != nil {
				t.Fatal(err)
			}
			m.state = stateNew
			write(t, filepath.Join(dir, markerName), string(m.encode()))
			return dir
		}, ErrDamaged, "never used"},
		{"marker flipped", 7, damage(markerName, 0.5), ErrDamaged, "with truechimer restore; or move the directory aside"},
		{"manifest flipped", 7, damage("pebble/MANIFEST-*", 0.5), ErrDamaged, "restore"},
		{"log flipped", 7, damage("pebble/*.log", 0.4), ErrDamaged, "restore"},
		{"table flipped", 7, damage("pebble/*.sst", 0.02), ErrDamaged, "restore"},
		{"another node", 8, func(t *testing.T, dir string) string { return dir }, ErrNode, "set the node number back to 7"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir, _ := used(t)
			open := c.change(t, dir)
			parent := filepath.Dir(dir)
			before := contents(t, parent)
			s, err := Open(open, Options{Node: c.node})
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if !errors.Is(err, ErrRefused) || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("refused with %v\nwant %v and %q", err, c.want, c.text)
			}
			if diff := cmp.Diff(before, contents(t, parent)); diff != "" {
				t.Errorf("the directory has changed:\n%s", diff)
			}
			t.Log(err)
		})
	}
}

func damage(pattern string, at float64) func(*testing.T, string) string {
	return func(t *testing.T, dir string) string {
		flip(t, one(t, dir, pattern), at)
		return dir
	}
}

// fifo puts a fifo in the place of a file: who opens it waits until somebody writes.
func fifo(name string) func(*testing.T, string) string {
	return func(t *testing.T, dir string) string {
		name := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.RemoveAll(name), syscall.Mkfifo(name, 0o600)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
}

// TestFlips damages one byte anywhere: the store is refused and left alone, or opens
// with every record. The one exception is the last record of the log, whose damage looks
// like a write that a power cut tore.
func TestFlips(t *testing.T) {
	leakFree(t)
	rng := rand.New(rand.NewPCG(*seedFlag, 1))
	dir, want := used(t)
	last := want
	last.Ceiling--
	pristine := vfs.NewMem()
	if ok, err := vfs.Clone(vfs.Default, pristine, dir, "data"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	refused, opened := 0, 0
	for name := range contents(t, dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.IsDir() || info.Size() == 0 {
			continue
		}
		for range 40 {
			disk := vfs.NewMem()
			if ok, err := vfs.Clone(pristine, disk, "data", "data"); !ok || err != nil {
				t.Fatal(ok, err)
			}
			at := rng.Int64N(info.Size())
			b, err := disk.UnsafeGetFileDataBuffer("data/" + name)
			if err != nil {
				t.Fatal(err)
			}
			b[at] ^= 1 << rng.IntN(8)
			before := disk.String()
			s, err := Open("data", Options{Node: 7, fs: disk})
			if err != nil {
				refused++
				if !errors.Is(err, ErrRefused) {
					t.Errorf("seed %d: %s byte %d: %v", *seedFlag, name, at, err)
				}
				if after := disk.String(); after != before {
					t.Errorf("seed %d: %s byte %d: refused, but changed:\n%s\n%s", *seedFlag, name, at, before, after)
				}
				continue
			}
			opened++
			got, err := s.Load()
			if err != nil || got != want && (got != last || filepath.Ext(name) != ".log") {
				t.Errorf("seed %d: %s byte %d: opened with %+v, %v", *seedFlag, name, at, got, err)
			}
			s.Close()
		}
	}
	t.Logf("%d refused, %d opened whole", refused, opened)
}

// stable returns what does not change while a store is open: the names in its directory
// and the marker. Below pebble, the one that has it open is at work.
func stable(t *testing.T, dir string) string {
	t.Helper()
	names, err := vfs.Default.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	b, err := readMarker(vfs.Default, dir)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%q %s", names, b)
}

// TestLocked opens a store twice in one process and from another.
func TestLocked(t *testing.T) {
	leakFree(t)
	dir, want := used(t)
	s, err := Open(dir, Options{Node: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before := stable(t, dir)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, dir + "/../data", link} {
		if _, err := Open(name, Options{Node: 7}); !errors.Is(err, ErrLocked) || !errors.Is(err, ErrRefused) {
			t.Errorf("second open as %s: %v", name, err)
		}
	}
	out, err := rerun(childOpens, dir, "0s").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another process has it open") {
		t.Errorf("another process: %v: %s", err, out)
	}
	if after := stable(t, dir); after != before {
		t.Errorf("the directory has changed from %q to %q", before, after)
	}
	if got, err := s.Load(); err != nil || got != want {
		t.Errorf("the store that holds the lock: %+v, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := rerun(childOpens, dir, "0s").CombinedOutput(); err != nil {
		t.Errorf("after Close: %v: %s", err, out)
	}
}

// TestCreate opens directories that may become a store.
func TestCreate(t *testing.T) {
	leakFree(t)
	cases := map[string]func(t *testing.T, dir string){
		"missing with parents": func(*testing.T, string) {},
		"empty":                func(t *testing.T, dir string) { os.MkdirAll(dir, 0o755) },
		"root of a disk":       func(t *testing.T, dir string) { os.MkdirAll(filepath.Join(dir, "lost+found"), 0o755) },
		"lock alone":           func(t *testing.T, dir string) { write(t, filepath.Join(dir, lockName), "") },
		"temporary marker":     func(t *testing.T, dir string) { write(t, filepath.Join(dir, markerTemp), "truech") },
		"unfinished": func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, markerName), string(marker{state: stateNew}.encode()))
			write(t, filepath.Join(dir, engineName, "MANIFEST-000001"), "half")
		},
	}
	for name, prepare := range cases {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			prepare(t, dir)
			s, err := Open(dir, Options{Node: 7})
			if err != nil {
				t.Fatal(err)
			}
			id := s.ID()
			if c, err := s.Load(); err != nil || c != (Ceiling{}) {
				t.Errorf("new store has %+v, %v", c, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = Open(dir, Options{Node: 7}); err != nil {
				t.Fatal(err)
			}
			if s.ID() != id || len(id) != 32 {
				t.Errorf("id %s, then %s", id, s.ID())
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
