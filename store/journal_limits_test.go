package store

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// memJournal returns the journal of a new store in memory, closed when the test ends.
func memJournal(t *testing.T) *Journal {
	t.Helper()
	j := journalOn(t, vfs.NewMem(), "/var/data", JournalOptions{})
	t.Cleanup(func() { closeJournal(t, j) })
	return j
}

// TestJournalLimits asks for what is never done: nothing changes.
func TestJournalLimits(t *testing.T) {
	leakFree(t)
	j := memJournal(t)
	ctx := context.Background()
	visit := func(JournalRecord) error { return errors.New("there is one") }
	fine := JournalEntry{Raw, 1, 0, nil}
	entry := func(e JournalEntry) func() error { return func() error { return j.Append(fine, e) } }
	large := make([]byte, JournalPayloadLenMax+1)
	full := JournalEntry{Raw, 1, 0, large[:JournalPayloadLenMax]}
	cases := []struct {
		name string
		do   func() error
		want error
	}{
		{"track 0", entry(JournalEntry{0, 1, 0, nil}), ErrRange},
		{"track 3", entry(JournalEntry{3, 1, 0, nil}), ErrRange},
		{"kind 0", entry(JournalEntry{Evidence, 0, 0, nil}), ErrRange},
		{"before 1970", entry(JournalEntry{Evidence, 1, -1, nil}), ErrRange},
		{"payload", entry(JournalEntry{Evidence, 1, 0, large}), ErrTooLarge},
		{"payloads", func() error {
			return j.Append(append(slices.Repeat([]JournalEntry{full}, 8), JournalEntry{Raw, 1, 0, large[:1]})...)
		}, ErrTooLarge},
		{"entries", func() error { return j.Append(slices.Repeat([]JournalEntry{fine}, JournalEntriesMax+1)...) }, ErrTooLarge},
		{"scan track 0", func() error { return j.Scan(ctx, 0, 0, 0, visit) }, ErrRange},
		{"scan backwards", func() error { return j.Scan(ctx, Raw, 2, 1, visit) }, ErrRange},
		{"find backwards", func() error { return j.Find(ctx, 2, 1, nil, visit) }, ErrRange},
		{"trim track 0", func() error { _, err := j.Trim(0, 0); return err }, ErrRange},
		{"sign before 1970", func() error { _, err := j.Sign(-1); return err }, ErrRange},
		{"root before 1970", func() error { return j.Root(0, -1) }, ErrRange},
		{"root of a day before 1970", func() error { return j.Root(-1, 0) }, ErrRange},
		{"nothing", func() error { return j.Append() }, nil},
		{"find nothing", func() error { return j.Find(ctx, 0, 0, nil, visit) }, nil},
		{"find in nothing", func() error { return j.Find(ctx, 0, 9, nil, visit) }, nil},
		{"trim nothing", func() error { _, err := j.Trim(Evidence, 1<<62); return err }, nil},
	}
	before := *j.state.Load()
	for _, c := range cases {
		if err := c.do(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if *j.state.Load() != before || j.Tip(0) != (JournalTip{}) || j.Tip(3) != (JournalTip{}) {
		t.Errorf("%+v", j.state.Load())
	}
	// The largest that there can be.
	if err := j.Append(slices.Repeat([]JournalEntry{full}, 8)...); err != nil {
		t.Error(err)
	}
	if err := j.Append(slices.Repeat([]JournalEntry{{Evidence, 255, 1<<63 - 1, nil}}, JournalEntriesMax)...); err != nil {
		t.Error(err)
	}
	if err := j.Root(0, 0); err != nil {
		t.Error(err)
	}
	tip := j.state.Load().tips[trackRoots]
	if err := j.Root(0, 5); err != nil || j.state.Load().tips[trackRoots] != tip {
		t.Errorf("a second root of the day: %v", err)
	}
	r, err := j.Verify(ctx, VerifyJournalOptions{})
	if whole(t, r, err, 0); r.Raw.Bytes != JournalAppendLenMax || r.Evidence.Records != JournalEntriesMax || r.Roots != 1 {
		t.Errorf("%+v", r)
	}
	n := 0
	if err := j.Scan(ctx, Raw, 0, 0, func(r JournalRecord) error { n += len(r.Payload); return nil }); err != nil || n != JournalAppendLenMax {
		t.Errorf("%d bytes, %v", n, err)
	}
	if s := Evidence.String() + Raw.String() + trackRoots.String() + Track(9).String(); s != "evidencerawrootstrack 9" {
		t.Error(s)
	}
}

// TestJournalEnds opens twice, closes the store, and asks afterwards.
func TestJournalEnds(t *testing.T) {
	leakFree(t)
	d := newDiary(journalOn(t, vfs.NewMem(), "/var/data", JournalOptions{}), 1)
	j := d.Journal
	d.write(t, 10*tellEvery)
	if _, err := OpenJournal(j.store, JournalOptions{}); !errors.Is(err, ErrJournalOpen) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := j.Verify(ctx, VerifyJournalOptions{Progress: func(JournalProgress) { cancel() }}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	var said []JournalProgress
	if _, err := j.Verify(context.Background(), VerifyJournalOptions{Progress: func(p JournalProgress) { said = append(said, p) }}); err != nil {
		t.Error(err)
	}
	if last := said[len(said)-1]; last != (JournalProgress{10 * tellEvery, 10 * tellEvery}) {
		t.Errorf("%+v", said)
	}
	var closing sync.WaitGroup
	_, err := j.Verify(context.Background(), VerifyJournalOptions{Progress: func(p JournalProgress) {
		if p.Checked == 0 {
			closing.Go(func() { closeJournal(t, j) })
			<-j.store.backups.life.Done()
		}
	}})
	if !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	closing.Wait()
	visit := func(JournalRecord) error { return nil }
	_, _, last := j.Last(7)
	_, sign := j.Sign(1)
	_, trim := j.Trim(Raw, 1<<62)
	_, verify := j.Verify(context.Background(), VerifyJournalOptions{})
	_, again := OpenJournal(j.store, JournalOptions{})
	j.store.journal.Store(false)
	_, open := OpenJournal(j.store, JournalOptions{})
	for i, err := range []error{
		j.Append(JournalEntry{Raw, 1, 0, nil}), j.Root(1, 1), j.Scan(context.Background(), Raw, 0, 0, visit),
		j.Find(context.Background(), 0, 9, nil, visit), last, sign, trim, verify, open,
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if !errors.Is(again, ErrJournalOpen) || j.Status().Bytes != 0 {
		t.Errorf("%v", again)
	}
}

// TestJournalReserve appends below and above the reserve.
func TestJournalReserve(t *testing.T) {
	leakFree(t)
	free := &atomic.Uint64{}
	var lines lockedBuffer
	j := journalOn(t, tightFS{vfs.NewMem(), free}, "/var/data", JournalOptions{Reserve: 1600, Logger: slog.New(slog.NewTextHandler(&lines, nil))})
	defer closeJournal(t, j)
	entry := JournalEntry{Raw, 1, 0, []byte("kept by the caller")}
	for _, c := range []struct {
		free uint64
		want error
	}{{1600, nil}, {1599, ErrFull}, {1699, ErrFull}, {1700, nil}} {
		free.Store(c.free)
		before := j.Tip(Raw)
		if err := j.Append(entry); !errors.Is(err, c.want) || (j.Tip(Raw) == before) != (c.want != nil) {
			t.Errorf("%d free: %v", c.free, err)
		}
		if err := j.Root(int64(c.free), 1); !errors.Is(err, c.want) {
			t.Errorf("%d free: root: %v", c.free, err)
		}
		if s := j.Status(); s.NearlyFull != (c.want != nil) || s.FreeBytes != c.free {
			t.Errorf("%+v", s)
		}
	}
	free.Store(1)
	if err := j.Append(entry); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	if n, err := j.Trim(Raw, 1); n != 2 || err != nil {
		t.Errorf("trim of a full disk: %d, %v", n, err)
	}
	if _, err := j.Sign(1); err != nil {
		t.Error(err)
	}
	if err := j.store.Err(); err != nil || string(entry.Payload) != "kept by the caller" || strings.Count(lines.String(), "nearly full") != 2 {
		t.Errorf("%v, %s", err, lines.String())
	}
}

// TestJournalFence fails a sync of the log under an append: the store is fenced, the tip stands where
// it stood, and after a restart all that was acknowledged is there.
func TestJournalFence(t *testing.T) {
	for _, op := range []string{"append", "root", "trim"} {
		t.Run(op, func(t *testing.T) {
			disk := vfs.NewCrashableMem()
			f := &faults{match: isLogSync}
			d := newDiary(journalOn(t, errorfs.Wrap(disk, f), "/var/data", JournalOptions{}), 1)
			d.days(t, 2, 40)
			before := *d.state.Load()
			f.armed.Store(true)
			var err error
			within(t, op, func() {
				switch op {
				case "append":
					err = d.Append(JournalEntry{Raw, 1, 0, nil})
				case "root":
					err = d.Root(1<<40, 1)
				default:
					_, err = d.Trim(Evidence, d.unix)
				}
			})
			if !errors.Is(err, ErrFenced) || *d.state.Load() != before {
				t.Errorf("%v", err)
			}
			visit := func(JournalRecord) error { return nil }
			_, sign := d.Sign(1)
			_, verify := d.Verify(context.Background(), VerifyJournalOptions{})
			for i, err := range []error{d.Append(JournalEntry{Raw, 1, 0, nil}), d.Scan(context.Background(), Raw, 0, 0, visit), sign, verify} {
				if !errors.Is(err, ErrFenced) {
					t.Errorf("%d: %v", i, err)
				}
			}
			d.Journal = journalOn(t, disk.CrashClone(vfs.CrashCloneCfg{}), "/var/data", JournalOptions{})
			defer closeJournal(t, d.Journal)
			if *d.state.Load() != before {
				t.Errorf("%+v, want %+v", d.state.Load(), before)
			}
			r, err := d.Verify(context.Background(), VerifyJournalOptions{Heads: d.heads})
			whole(t, r, err, len(d.heads))
		})
	}
}

// TestJournalOpens opens journals that are damaged, without their key, or of a store that never had
// one.
func TestJournalOpens(t *testing.T) {
	leakFree(t)
	pristine := vfs.NewMem()
	d := newDiary(journalOn(t, pristine, "/var/data", JournalOptions{}), 1)
	d.days(t, 2, 40)
	d.trim(t, Raw, d.unix-day)
	closeJournal(t, d.Journal)
	open := func(disk *vfs.MemFS) (JournalStatus, error) {
		t.Helper()
		s, err := Open("/var/data", Options{Node: 7, fs: disk})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		j, err := OpenJournal(s, JournalOptions{})
		if err != nil {
			if j, again := OpenJournal(s, JournalOptions{}); j != nil || errors.Is(again, ErrJournalOpen) {
				t.Errorf("again: %v", again)
			}
			return JournalStatus{}, err
		}
		return j.Status(), nil
	}
	write := func(disk *vfs.MemFS, name, text string) {
		t.Helper()
		create := func(name string) (syncedFile, error) { return disk.Create(name, vfs.WriteCategoryUnspecified) }
		if err := replaceFile(disk, "/var/data", name, []byte(text), create); err != nil {
			t.Fatal(err)
		}
	}
	key, err := readAll(pristine, "/var/data/journal.key")
	if err != nil {
		t.Fatal(err)
	}
	edited := func(change func(*pebble.DB) error) func(*vfs.MemFS) {
		return func(disk *vfs.MemFS) { edit(t, disk, "/var/data", change) }
	}
	marked := func(kind byte, track Track, origin id, at JournalTip) func(*vfs.MemFS) {
		return edited(func(db *pebble.DB) error {
			b := db.NewBatch()
			return errors.Join(putMark(b, kind, track, origin, at), b.Commit(nil))
		})
	}
	cases := []struct {
		name   string
		change func(*vfs.MemFS)
		want   string // in the error
		verify string // in a problem
	}{
		{"key is garbage", func(disk *vfs.MemFS) { write(disk, keyFileName, "x") }, "too short; bring the file back, or remove it", ""},
		{"key is long", func(disk *vfs.MemFS) { write(disk, keyFileName, strings.Repeat("x", 1000)) }, "not a regular file of up to 512", ""},
		{"key is flipped", func(disk *vfs.MemFS) {
			write(disk, keyFileName, strings.Replace(string(key), "\ned25519 ", "\ned25519 0", 1))
		}, "the checksum does not match", ""},
		{"key is not hexadecimal", func(disk *vfs.MemFS) { write(disk, keyFileName, keyTitle+"\ned25519 "+strings.Repeat("x", 64)) }, "not hexadecimal", ""},
		{"head is garbage", func(disk *vfs.MemFS) { write(disk, headFileName, "x") }, "", "the file journal.head cannot be used"},
		{"a mark gone", edited(func(db *pebble.DB) error { return db.Delete(markKey(markTip, Raw), nil) }), "1 marks of the journal are missing", "the mark of the end of the journal, raw, is missing"},
		{"another gone", edited(func(db *pebble.DB) error { return db.Delete(markKey(markBase, Raw), nil) }), "1 marks of the journal are missing", "the mark of the beginning of the journal, raw, is missing"},
		{"a mark damaged", edited(func(db *pebble.DB) error { return db.Set(markKey(markBase, Raw), []byte("x"), nil) }), "the mark of the beginning of the journal, raw, does not check", "raw, does not check"},
		{"all marks gone", edited(func(db *pebble.DB) error {
			return db.DeleteRange([]byte{tableJournal}, []byte{tableJournal, 1}, nil)
		}), "", "its marks are missing"},
		{"everything gone", edited(func(db *pebble.DB) error {
			return db.DeleteRange([]byte{tableJournal}, []byte{tableRoot + 1}, nil)
		}), "", "is of a journal, and there is none"},
		{"mark of another", marked(markTip, Raw, id{1}, JournalTip{}), "the marks of the journal are of two stores", "the marks of the journal are of two stores"},
		{"ends before it begins", marked(markTip, Raw, id{}, JournalTip{}), "", ""},
		{"the last record gone", edited(func(db *pebble.DB) error { return db.Delete(recordKey(Raw, d.Tip(Raw).Sequence), nil) }), "is missing", "and by its mark at record"},
		{"the first record gone", edited(func(db *pebble.DB) error {
			return db.Delete(recordKey(Raw, d.Status().Raw.First), nil)
		}), "is missing", "are missing"},
		{"the last record damaged", edited(func(db *pebble.DB) error {
			return db.Set(recordKey(Raw, d.Tip(Raw).Sequence), make([]byte, 30), nil)
		}), "is not the one that was written", "is not the one that was written there"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			disk := copyOf(t, pristine, "/var/data")
			if c.name == "ends before it begins" {
				c.change = marked(markTip, Raw, d.origin, JournalTip{})
				c.want, c.verify = "and ends at 0", "and ends at 0"
			}
			c.change(disk)
			report, err := verifyDir(context.Background(), disk, "/var/data", nil)
			if err != nil || (report.Err() == nil) != (c.verify == "") || !strings.Contains(strings.Join(report.Problems, "\n"), c.verify) {
				t.Errorf("verify: %q, %v", report.Problems, err)
			}
			_, err = open(disk)
			if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "open journal: ")) {
				t.Errorf("open: %v", err)
			}
		})
	}
	disk := copyOf(t, pristine, "/var/data")
	if err := disk.Remove("/var/data/" + keyFileName); err != nil {
		t.Fatal(err)
	}
	was := d.Status().Key
	if s, err := open(disk); err != nil || !s.KeyCreated || s.Key.Equal(was) {
		t.Errorf("%+v, %v", s, err)
	}
	old := sample(t)
	if r, err := verifyDir(context.Background(), old, "/var/data", nil); err != nil || r.Err() != nil || r.Journal.Journal != "" {
		t.Errorf("%+v, %v", r, err)
	}
	if s, err := open(old); err != nil || !s.KeyCreated {
		t.Errorf("%+v, %v", s, err)
	}
	if r, err := verifyJournalDir(context.Background(), old, "/var/data", VerifyJournalOptions{}); err != nil || r.Err() != nil || r.Journal == "" || r.Journal != r.Store {
		t.Errorf("%+v, %v", r, err)
	}
}

// failing is a file system on which files of a name can be neither made nor renamed.
type failing struct {
	vfs.FS
	name atomic.Pointer[string]
}

func (f *failing) fail(name string) error {
	if n := f.name.Load(); n != nil && strings.Contains(name, *n) {
		return errDisk
	}
	return nil
}

func (f *failing) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.fail(name); err != nil {
		return nil, err
	}
	return f.FS.Create(name, c)
}

func (f *failing) Rename(from, to string) error {
	return errors.Join(f.fail(to+" renamed"), f.FS.Rename(from, to))
}

// TestJournalFiles cannot write the files of the key and the head: the old ones stay, and the store is
// not fenced.
func TestJournalFiles(t *testing.T) {
	leakFree(t)
	disk := &failing{FS: vfs.NewMem()}
	name := func(s string) { disk.name.Store(&s) }
	s, err := Open("/var/data", Options{Node: 7, fs: disk})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	name(keyFileName)
	if _, err := OpenJournal(s, JournalOptions{}); !errors.Is(err, errDisk) || !strings.Contains(err.Error(), "write the key that signs") {
		t.Errorf("%v", err)
	}
	name("nothing")
	j, err := OpenJournal(s, JournalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := j.Sign(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{headFileName, headFileName + " renamed"} {
		name(n)
		if _, err := j.Sign(2); !errors.Is(err, errDisk) || *j.Status().Head != h {
			t.Errorf("%v", err)
		}
	}
	name(headFileName)
	if _, err := s.Backup(context.Background(), "/var/backup", nil); !errors.Is(err, errDisk) {
		t.Errorf("backup: %v", err)
	}
	name("nothing")
	if _, err := j.Sign(3); err != nil || s.Err() != nil {
		t.Errorf("%v, %v", err, s.Err())
	}
}

// TestJournalOnDisk makes a journal on a real disk: nobody else may read the key, a backup does not hold
// it, what is open or missing cannot be verified from outside, and what is trimmed comes back as
// space.
func TestJournalOnDisk(t *testing.T) {
	leakFree(t)
	root := t.TempDir()
	dir := filepath.Join(root, "data")
	d := newDiary(journalOn(t, nil, dir, JournalOptions{}), 1)
	for range 10 {
		entries := make([]JournalEntry, 1000)
		for i := range entries {
			entries[i] = JournalEntry{Raw, 5, d.unix, make([]byte, 500)}
			for k := range entries[i].Payload {
				entries[i].Payload[k] = byte(d.rng.Uint32())
			}
		}
		if err := d.Append(entries...); err != nil {
			t.Fatal(err)
		}
	}
	d.root(t)
	d.sign(t)
	compacted := func() uint64 {
		t.Helper()
		if err := errors.Join(d.store.db.Flush(), d.store.db.Compact(context.Background(), []byte{0}, []byte{0xff}, false)); err != nil {
			t.Fatal(err)
		}
		return d.Status().Bytes
	}
	before := compacted()
	if n := d.trim(t, Raw, d.unix); n != 10_000 {
		t.Errorf("%d removed", n)
	}
	if after := compacted(); before < 4_000_000 || after > before/100 {
		t.Errorf("%d bytes, and %d when trimmed", before, after)
	}
	info, err := os.Stat(filepath.Join(dir, keyFileName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	backup := filepath.Join(root, "backup")
	if _, err := d.store.Backup(context.Background(), backup, nil); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(backup, "journal*"))
	if err != nil || len(names) != 1 || filepath.Base(names[0]) != headFileName {
		t.Errorf("%q, %v", names, err)
	}
	if _, err := VerifyJournal(context.Background(), dir, VerifyJournalOptions{}); !errors.Is(err, ErrLocked) {
		t.Error(err)
	}
	closeJournal(t, d.Journal)
	for _, path := range []string{dir, backup} {
		r, err := VerifyJournal(context.Background(), path, VerifyJournalOptions{Heads: d.heads, Keys: []ed25519.PublicKey{d.heads[0].Key[:]}})
		whole(t, r, err, 2)
	}
	if _, err := VerifyJournal(context.Background(), root+"/missing", VerifyJournalOptions{}); !errors.Is(err, ErrForeign) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := VerifyJournal(ctx, dir, VerifyJournalOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// A key that was half written by a process that was killed is in nobody's way.
	write(t, filepath.Join(dir, keyFileName+tempSuffix), "x")
	if err := os.Remove(filepath.Join(dir, keyFileName)); err != nil {
		t.Fatal(err)
	}
	d.Journal = journalOn(t, nil, dir, JournalOptions{})
	defer closeJournal(t, d.Journal)
	if info, err := os.Stat(filepath.Join(dir, keyFileName)); err != nil || info.Mode().Perm() != 0o600 || !d.Status().KeyCreated {
		t.Errorf("%v, %v", info, err)
	}
}

// TestJournalConcurrent appends, signs, roots, trims, reads and verifies at once.
func TestJournalConcurrent(t *testing.T) {
	leakFree(t)
	j := memJournal(t)
	var all sync.WaitGroup
	var unix atomic.Int64
	for g := range 3 {
		all.Go(func() {
			for n := range 200 {
				at := unix.Add(second)
				e := JournalEntry{Track(1 + n%2), uint8(1 + g), at, fmt.Append(nil, g, n)}
				if err := j.Append(e, e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		for n := range int64(50) {
			if _, err := j.Sign(unix.Load()); err != nil {
				t.Error(err)
			}
			if err := j.Root(n*86400, unix.Load()); err != nil {
				t.Error(err)
			}
			if _, err := j.Trim(Raw, unix.Load()-100*second); err != nil {
				t.Error(err)
			}
		}
	})
	all.Go(func() {
		for range 50 {
			r, err := j.Verify(context.Background(), VerifyJournalOptions{})
			if whole(t, r, err, 0); j.Status().ID == "" {
				t.Error("no id")
			}
			next := uint64(0)
			if err := j.Scan(context.Background(), Evidence, 0, 0, func(r JournalRecord) error {
				if next++; r.Sequence != next {
					return fmt.Errorf("%+v after %d", r, next-1)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
			found := uint64(0)
			if err := j.Find(context.Background(), 0, 1<<62, nil, func(JournalRecord) error { found++; return nil }); err != nil || found < next {
				t.Errorf("%d found after %d, %v", found, next, err)
			}
		}
	})
	all.Wait()
	if j.Tip(Evidence).Sequence != 600 || j.Tip(Raw).Sequence != 600 {
		t.Errorf("%+v", j.Status())
	}
}

// FuzzParseJournalHead reads what may be a head: it never panics, and what it reads it writes the
// same.
func FuzzParseJournalHead(f *testing.F) {
	h := JournalHead{Journal: id{1, 2}.String(), Unix: epoch0, EvidenceSequence: 1 << 63, EvidenceHash: sha256Of("a"), RawSequence: 7, RawHash: sha256Of("b")}
	seed := sha256Of("key")
	key := ed25519.NewKeyFromSeed(seed[:])
	copy(h.Key[:], key.Public().(ed25519.PublicKey))
	copy(h.Signature[:], ed25519.Sign(key, []byte(h.signed())))
	text := h.String()
	f.Add(text)
	f.Add(" " + text + "\n")
	f.Add(strings.Replace(text, ".7.", ".07.", 1))
	f.Add(strings.ToUpper(text))
	f.Add(text + "=")
	f.Add("tcj1.........")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseJournalHead(s)
		if err != nil {
			if !errors.Is(err, ErrRange) {
				t.Error(err)
			}
			return
		}
		if got.String() != strings.TrimSpace(s) {
			t.Errorf("%q is read as %q", s, got)
		}
		if ok := got.Check(nil); ok != got.Check(got.Key[:]) || got == h && !ok || got.Check(make([]byte, ed25519.PublicKeySize)) && got.Key != [32]byte{} {
			t.Errorf("%q: %v", s, ok)
		}
		if back, err := ParseJournalHead(got.String()); err != nil || back != got {
			t.Errorf("%+v, %v", back, err)
		}
	})
}
