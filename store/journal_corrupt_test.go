package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestJournalTables damages one byte of a table of the database: both verifications find it, and
// change nothing.
func TestJournalTables(t *testing.T) {
	leakFree(t)
	pristine := vfs.NewMem()
	d := newDiary(journalOn(t, pristine, "/var/data", JournalOptions{}), *seedFlag)
	d.days(t, 3, 2000)
	if err := errors.Join(d.store.db.Flush(), d.store.db.Compact(context.Background(), []byte{0}, []byte{0xff}, false)); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, d.Journal)
	names, err := pristine.List("/var/data/pebble")
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(*seedFlag, 23))
	named := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		for range 15 {
			disk := copyOf(t, pristine, "/var/data")
			b, err := disk.UnsafeGetFileDataBuffer("/var/data/pebble/" + name)
			if err != nil {
				t.Fatal(err)
			}
			at := rng.IntN(len(b) * 9 / 10) // behind that are filters, which a pass over all keys does not ask
			b[at] ^= 1 << rng.IntN(8)
			before := disk.String()
			r, err := verifyJournalDir(context.Background(), disk, "/var/data", VerifyJournalOptions{})
			if err == nil && r.Err() == nil || err != nil && !errors.Is(err, ErrRefused) {
				t.Errorf("seed %d: byte %d of %s: %v, %v", *seedFlag, at, name, r.Err(), err)
			}
			if err == nil {
				if named++; r.Heads > 0 && strings.Contains(r.Problems[0], "table 20") {
					t.Errorf("seed %d: byte %d of %s: a head is proven, and %q", *seedFlag, at, name, r.Problems)
				}
			}
			if v, err := verifyDir(context.Background(), disk, "/var/data", nil); err == nil && v.Err() == nil || err != nil && !errors.Is(err, ErrRefused) {
				t.Errorf("seed %d: byte %d of %s: %v, %v", *seedFlag, at, name, v.Err(), err)
			}
			if disk.String() != before {
				t.Error("changed")
			}
		}
	}
	if named == 0 {
		t.Error("nothing was named")
	}
	t.Logf("%d named", named)
}

// failingReader is a database of which some reads fail.
type failingReader struct {
	pebble.Reader
	left int // reads to the failure
}

func (r *failingReader) fail() error {
	if r.left--; r.left < 0 {
		return errDisk
	}
	return nil
}

func (r *failingReader) Get(key []byte) ([]byte, io.Closer, error) {
	if err := r.fail(); err != nil {
		return nil, nil, err
	}
	return r.Reader.Get(key)
}

func (r *failingReader) NewIter(o *pebble.IterOptions) (*pebble.Iterator, error) {
	if err := r.fail(); err != nil {
		return nil, err
	}
	return r.Reader.NewIter(o)
}

// TestJournalUnreadable fails each read of a verification in turn: the error comes out, and says nothing
// of the journal.
func TestJournalUnreadable(t *testing.T) {
	leakFree(t)
	v := newVictim(t)
	latest := v.written[Evidence][len(v.written[Evidence])-1]
	v.set(indexKey(latest.Kind, latest.Unix, latest.Sequence), nil) // so that everything is looked up
	step := 1
	if testing.Short() {
		step = 13
	}
	for n := 0; ; n += step {
		report := JournalReport{}
		c := newJournalCheck(context.Background(), &report, VerifyJournalOptions{}, &reporter{})
		c.reader, c.store = &failingReader{v.store.db, n}, v.store.id
		err := c.all()
		if err == nil {
			if n < 20 || report.Err() == nil {
				t.Errorf("%d reads, %v", n, report.Err())
			}
			break
		}
		if !errors.Is(err, errDisk) {
			t.Fatalf("read %d: %v", n, err)
		}
	}
	v.check(VerifyJournalOptions{})
}

// unreadable is a file system on which the file of the head cannot be read.
type unreadable struct {
	vfs.FS
	armed atomic.Bool
}

func (f *unreadable) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	if f.armed.Load() && strings.HasSuffix(name, headFileName) {
		return nil, errDisk
	}
	return f.FS.Open(name, o...)
}

// TestJournalHeadUnreadable cannot read the file of the head: that is an error of the disk, and no
// damage.
func TestJournalHeadUnreadable(t *testing.T) {
	leakFree(t)
	disk := &unreadable{FS: vfs.NewMem()}
	j := journalOn(t, disk, "/var/data", JournalOptions{})
	if _, err := j.Sign(1); err != nil {
		t.Fatal(err)
	}
	disk.armed.Store(true)
	if _, err := j.Verify(context.Background(), VerifyJournalOptions{}); !errors.Is(err, errDisk) || errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if _, err := j.store.Backup(context.Background(), "/var/backup", nil); !errors.Is(err, errDisk) || errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	closeJournal(t, j)
	if _, err := verifyJournalDir(context.Background(), disk, "/var/data", VerifyJournalOptions{}); !errors.Is(err, errDisk) || errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if _, err := verifyDir(context.Background(), disk, "/var/data", nil); !errors.Is(err, errDisk) || errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

// TestJournalTrimDamage trims where a root or a record is damaged: nothing is removed.
func TestJournalTrimDamage(t *testing.T) {
	leakFree(t)
	v := newVictim(t)
	fails := func(what, want string) {
		t.Helper()
		before := *v.state.Load()
		n, err := v.Trim(Evidence, v.unix)
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), want) || n != 0 || *v.state.Load() != before {
			t.Errorf("%s: %d removed, %v", what, n, err)
		}
		v.check(VerifyJournalOptions{})
	}
	first := v.Status().Evidence.First
	value := v.value(rootKey(6))
	value[20] ^= 1
	v.set(rootKey(6), value)
	fails("signature of a root", "root 6, of ")
	v.set(rootKey(6), value[:9])
	if err := v.Root(1<<40, 1); !errors.Is(err, ErrDamaged) {
		t.Errorf("a root behind one that is damaged: %v", err)
	}
	fails("short root", "a value of 9 bytes")
	v.set(rootKey(5), nil)
	fails("root gone", "root 5 of the journal is missing")
	v.set(recordKey(Evidence, first+2), nil)
	fails("record gone", fmt.Sprintf("record %d of the journal, evidence, is missing", first+2))
	for n := first + 2; n <= v.Tip(Evidence).Sequence; n++ {
		v.set(recordKey(Evidence, n), nil)
	}
	fails("records gone", "is missing")
	v.sound()

	// A root that goes back, signed with the key and well chained: only its figures tell.
	last := v.rootOf(6)
	r := journalRoot{number: 7, day: last.day + 86400, unix: last.unix + day, tips: v.rootOf(5).tips, before: last.hash}
	b := r.encode(v.origin, v.key)
	made, err := parseRoot(v.origin, rootKey(7), b)
	if err != nil {
		t.Fatal(err)
	}
	v.set(rootKey(7), b)
	v.mark(markTip, trackRoots, JournalTip{7, made.hash, r.unix})
	if got := v.check(VerifyJournalOptions{}); len(got.Problems) != 2 || !strings.Contains(got.Problems[0], "and the root before it at") {
		t.Errorf("%q", got.Problems)
	}
	// Damage behind the last head.
	v.write(t, 40)
	end := v.Tip(Raw).Sequence
	value = v.value(recordKey(Raw, end-1))
	value[0]++
	v.set(recordKey(Raw, end-1), value)
	if got := v.check(VerifyJournalOptions{}); len(got.Problems) != 2 || !strings.Contains(got.Problems[1], fmt.Sprintf("where the mark of the end, takes over at record %d", end)) {
		t.Errorf("%q", got.Problems)
	}
	v.set(markKey(markTip, Raw), []byte("x"))
	v.set(recordKey(Raw, end-1), value)
	if got := v.check(VerifyJournalOptions{}); len(got.Problems) != 4 || !strings.Contains(got.Problems[3], "nothing after") {
		t.Errorf("%q", got.Problems)
	}
}
