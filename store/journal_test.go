package store

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	second = int64(1e9)
	day    = 86400 * second
)

// journalOn opens a store in dir and its journal.
func journalOn(t testing.TB, fs vfs.FS, dir string, o JournalOptions) *Journal {
	t.Helper()
	s, err := Open(dir, Options{Node: 7, fs: fs})
	if err != nil {
		t.Fatal(err)
	}
	j, err := OpenJournal(s, o)
	if err != nil {
		t.Fatal(errors.Join(err, s.Close()))
	}
	return j
}

// closeJournal closes the store of a journal.
func closeJournal(t testing.TB, j *Journal) {
	t.Helper()
	if err := j.store.Close(); err != nil {
		t.Error(err)
	}
}

// diary is a journal, and all that was written into it.
type diary struct {
	*Journal
	rng     *rand.Rand
	unix    int64
	rooted  int64 // when the last root was signed; the clock may have gone back since
	written [tracksEnd][]JournalRecord
	heads   []JournalHead
}

func newDiary(j *Journal, seed uint64) *diary {
	return &diary{Journal: j, rng: rand.New(rand.NewPCG(seed, 20)), unix: epoch0}
}

// write appends n records of either track, some of them with a clock that goes back.
func (d *diary) write(t testing.TB, n int) {
	t.Helper()
	for n > 0 {
		var entries []JournalEntry
		for range min(n, 1+d.rng.IntN(20)) {
			switch d.rng.IntN(50) {
			case 0:
				d.unix -= d.rng.Int64N(600 * second)
			case 1, 2, 3, 4, 5, 6, 7, 8, 9: // the same time again
			default:
				d.unix += d.rng.Int64N(25 * second)
			}
			e := JournalEntry{Track: Raw, Kind: uint8(5 + d.rng.IntN(2)), Unix: d.unix, Payload: make([]byte, d.rng.IntN(60))}
			if d.rng.IntN(3) == 0 {
				e.Track, e.Kind = Evidence, uint8(7+d.rng.IntN(5))
			}
			for i := range e.Payload {
				e.Payload[i] = byte(d.rng.Uint32())
			}
			entries = append(entries, e)
			d.written[e.Track] = append(d.written[e.Track], JournalRecord{
				Track: e.Track, Sequence: uint64(len(d.written[e.Track]) + 1), Kind: e.Kind, Unix: e.Unix, Payload: e.Payload,
			})
		}
		if err := d.Append(entries...); err != nil {
			t.Fatal(err)
		}
		n -= len(entries)
	}
}

// days writes records for some days, each with heads and a root, and trims.
func (d *diary) days(t testing.TB, days, records int) {
	t.Helper()
	for range days {
		for range 4 {
			d.write(t, records/4)
			d.sign(t)
		}
		d.unix = (max(d.unix, d.rooted)/day + 1) * day
		d.root(t)
	}
}

func (d *diary) sign(t testing.TB) {
	t.Helper()
	h, err := d.Sign(d.unix)
	if err != nil {
		t.Fatal(err)
	}
	d.heads = append(d.heads, h)
}

func (d *diary) root(t testing.TB) {
	t.Helper()
	if err := d.Root(d.unix/day*86400-86400, d.unix); err != nil {
		t.Fatal(err)
	}
	d.rooted = d.unix
}

func (d *diary) trim(t testing.TB, track Track, before int64) uint64 {
	t.Helper()
	n, err := d.Trim(track, before)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// whole fails the test unless the journal verifies, with all heads.
func whole(t testing.TB, r JournalReport, err error, heads int) {
	t.Helper()
	if err != nil || r.Err() != nil {
		t.Fatalf("%v, %v", err, strings.Join(r.Problems, "\n"))
	}
	if int(r.Heads)+len(r.Trimmed) < heads {
		t.Errorf("%d heads, %d trimmed, of %d", r.Heads, len(r.Trimmed), heads)
	}
}

// TestJournal writes for some days, trims, opens again, backs up and restores: what was
// written is read, and all of it verifies.
func TestJournal(t *testing.T) {
	leakFree(t)
	disk := vfs.NewMem()
	d := newDiary(journalOn(t, disk, "/var/data", JournalOptions{}), *seedFlag)
	ctx := context.Background()
	if s := d.Status(); !s.KeyCreated || s.Evidence.First != 1 || s.Evidence.Last != 0 || s.Head != nil || len(s.Key) != ed25519.PublicKeySize || s.ID != d.store.ID() {
		t.Errorf("%+v", s)
	}
	verify := func(d *diary) JournalReport {
		t.Helper()
		r, err := d.Verify(ctx, VerifyJournalOptions{Heads: d.heads, Keys: []ed25519.PublicKey{d.Status().Key}})
		whole(t, r, err, len(d.heads))
		return r
	}
	verify(d)
	d.days(t, 5, 400)
	d.write(t, 30)
	r := verify(d)
	if r.Evidence.Records != uint64(len(d.written[Evidence])) || r.Raw.Records != uint64(len(d.written[Raw])) || r.Roots != 5 || r.Heads != 21 || len(r.Keys) != 1 || r.Signatures != 26 {
		t.Errorf("%+v", r)
	}
	scanned(t, d, Evidence, 1)
	scanned(t, d, Raw, 1)
	n := d.trim(t, Raw, d.unix-day) + d.trim(t, Evidence, d.unix-3*day)
	first := d.Status().Raw.First
	if n == 0 || first == 1 || d.trim(t, Raw, d.unix-day) != 0 {
		t.Errorf("removed %d, begins at %d", n, first)
	}
	scanned(t, d, Raw, first)
	r = verify(d)
	if r.Raw.First != first || len(r.Trimmed) == 0 || r.Raw.TrimmedAfter == 0 {
		t.Errorf("%+v", r)
	}
	key := d.Status().Key
	if _, err := d.store.Backup(ctx, "/var/backup", nil); err != nil {
		t.Fatal(err)
	}
	state := *d.state.Load()
	closeJournal(t, d.Journal)
	for _, dir := range []string{"/var/data", "/var/backup"} {
		before := disk.String()
		r, err := verifyJournalDir(ctx, disk, dir, VerifyJournalOptions{Heads: d.heads, Keys: []ed25519.PublicKey{key}})
		whole(t, r, err, len(d.heads)+1)
		v, err := verifyDir(ctx, disk, dir, nil)
		if err != nil || v.Err() != nil || v.Journal.Evidence != r.Evidence || v.Journal.Heads != 1 {
			t.Errorf("%+v, %v", v, err)
		}
		if disk.String() != before {
			t.Errorf("%s has changed", dir)
		}
	}
	d.Journal = journalOn(t, disk, "/var/data", JournalOptions{})
	if s := d.Status(); *d.state.Load() != state || s.KeyCreated || !s.Key.Equal(key) || s.Head == nil || *s.Head != d.heads[len(d.heads)-1] {
		t.Errorf("%+v", s)
	}
	d.write(t, 20)
	verify(d)
	closeJournal(t, d.Journal)

	if _, err := restoreOn(disk); err != nil {
		t.Fatal(err)
	}
	d.Journal = journalOn(t, disk, "/var/new", JournalOptions{})
	defer closeJournal(t, d.Journal)
	if s := d.Status(); !s.KeyCreated || s.Key.Equal(key) || s.ID == d.store.ID() || *d.state.Load() != state {
		t.Errorf("%+v", s)
	}
	d.sign(t)
	d.unix += day
	d.root(t)
	r, err := d.Verify(ctx, VerifyJournalOptions{Heads: d.heads})
	whole(t, r, err, len(d.heads))
	if len(r.Keys) != 2 || r.Journal == r.Store {
		t.Errorf("%+v", r)
	}
}

// scanned compares what Scan visits from a sequence on with what was written.
func scanned(t *testing.T, d *diary, track Track, first uint64) {
	t.Helper()
	want := d.written[track][first-1:]
	var got []JournalRecord
	err := d.Scan(context.Background(), track, 0, 0, func(r JournalRecord) error {
		got = append(got, r)
		return nil
	})
	if err != nil || !slices.EqualFunc(got, want, sameRecord) {
		t.Fatalf("seed %d: %d records from %d on, %v; want %d", *seedFlag, len(got), first, err, len(want))
	}
}

// sameRecord compares all but the hash.
func sameRecord(a, b JournalRecord) bool {
	a.Hash, b.Hash = [8]byte{}, [8]byte{}
	return fmt.Sprint(a) == fmt.Sprint(b)
}
