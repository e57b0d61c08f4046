package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/truechimer/truechimer/hlc"
)

// edit changes the records of the database in dir.
func edit(t testing.TB, disk vfs.FS, dir string, change func(*pebble.DB) error) {
	t.Helper()
	db, err := pebble.Open(disk.PathJoin(dir, engineName), &pebble.Options{FS: disk, FormatMajorVersion: engineFormat, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(change(db), db.Flush(), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// sampleEvents is how many events each stream of a sample has.
const sampleEvents = 20

// sample returns a disk with a store of three streams, "a" to "c", numbers 1 to 3, whose
// first five events were removed, and "d", which was deleted. It is in epoch 2, and every event
// has a payload of 10 bytes.
func sample(t testing.TB) *vfs.MemFS {
	t.Helper()
	disk := vfs.NewMem()
	s, err := Open("/var/data", Options{Node: 7, fs: disk})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Begin(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Save(2, sampleAt(1000)), s.Close()); err != nil {
		t.Fatal(err)
	}
	edit(t, disk, "/var/data", func(db *pebble.DB) error {
		b := db.NewBatch()
		for n := uint64(1); n <= 4; n++ {
			name := string(rune('a' + n - 1))
			r := streamRecord{name: name, created: sampleAt(0), epoch: 1, node: 7, base: position{5, sampleAt(5), 50}}
			if n == 4 {
				r.deleted, r.base = sampleAt(900), position{sampleEvents, sampleAt(sampleEvents), 10 * sampleEvents}
			}
			_ = b.Set(nameKey(name), encodeNumber(name, n), nil)
			_ = b.Set(streamKey(n), r.encode(n), nil)
			for seq := r.base.sequence + 1; seq <= sampleEvents; seq++ {
				setEvent(b, n, position{seq, sampleAt(seq), 10 * seq}, 1+min(seq/15, 1))
			}
		}
		r := retryRecord{first: sampleAt(3), runs: []uint64{1, 2}}
		key := retryKey(periodOf(r.first), retryScope{1})
		_ = b.Set(key, r.encode(key), nil)
		return b.Commit(pebble.Sync)
	})
	return disk
}

// sampleAt is some moment.
func sampleAt(n uint64) hlc.Timestamp { return hlc.FromUnix(epoch0) + hlc.Timestamp(n<<20) }

// setEvent writes an event with a payload of 10 bytes.
func setEvent(w pebble.Writer, number uint64, at position, epoch uint64) {
	key, value := make([]byte, eventKeyLen), make([]byte, eventOverhead+10)
	putEvent(key, value, number, at, epoch, 7, []byte("0123456789"))
	_ = w.Set(key, value, nil)
}

// TestVerify changes one thing in a store that is whole, with all checksums as they should be:
// Verify says what it is, and nothing else.
func TestVerify(t *testing.T) {
	leakFree(t)
	record := func(db *pebble.DB, n uint64, change func(*streamRecord)) error {
		b, err := get(db, streamKey(n))
		if err != nil {
			return err
		}
		r, err := decodeStream(n, b)
		change(&r)
		return errors.Join(err, db.Set(streamKey(n), r.encode(n), pebble.Sync))
	}
	ceiling := func(db *pebble.DB, change func(*Ceiling)) error {
		owner, c, err := readCeiling(db)
		change(&c)
		return errors.Join(err, db.Set(ceilingKey(), encodeCeiling(owner, c), pebble.Sync))
	}
	event := func(n, seq uint64, ts hlc.Timestamp, total, epoch uint64) func(*pebble.DB) error {
		return func(db *pebble.DB) error { setEvent(db, n, position{seq, ts, total}, epoch); return nil }
	}
	remove := func(key []byte) func(*pebble.DB) error {
		return func(db *pebble.DB) error { return db.Delete(key, pebble.Sync) }
	}
	set := func(key []byte, value string) func(*pebble.DB) error {
		return func(db *pebble.DB) error { return db.Set(key, []byte(value), pebble.Sync) }
	}
	swap := func(db *pebble.DB) error {
		setEvent(db, 2, position{12, sampleAt(13), 120}, 1)
		setEvent(db, 2, position{13, sampleAt(12), 130}, 1)
		return nil
	}
	exchange := func(db *pebble.DB) error { // their values, as they are
		x, xErr := get(db, eventKey(2, 12))
		y, yErr := get(db, eventKey(2, 13))
		return errors.Join(xErr, yErr, db.Set(eventKey(2, 12), y, nil), db.Set(eventKey(2, 13), x, nil))
	}
	payload := func(db *pebble.DB) error { // of another length
		key, value := make([]byte, eventKeyLen), make([]byte, eventOverhead+9)
		putEvent(key, value, 2, position{15, sampleAt(15), 150}, 2, 7, []byte("987654321"))
		return db.Set(key, value, nil)
	}
	flipped := func(db *pebble.DB) error {
		b, err := get(db, eventKey(2, 15))
		b[eventHeaderLen] ^= 1
		return errors.Join(err, db.Set(eventKey(2, 15), b, nil))
	}
	cases := []struct {
		name   string
		change func(*pebble.DB) error
		want   []string // in each of the problems
	}{
		{"whole", func(*pebble.DB) error { return nil }, nil},
		{"an event gone", remove(eventKey(2, 12)), []string{`"b": events 12 to 12 are missing`}},
		{"the first events gone", func(db *pebble.DB) error { return db.DeleteRange(eventKey(2, 0), eventKey(2, 8), nil) }, []string{`"b": events 6 to 7 are missing`}},
		{"all events gone but one", func(db *pebble.DB) error { return db.DeleteRange(eventKey(2, 0), eventKey(2, 20), nil) }, []string{`"b": events 6 to 19 are missing`}},
		{"timestamps swapped", swap, []string{`"b": event 13 at`}},
		{"values exchanged", exchange, []string{"event 12 of stream number 2: the checksum", "event 13 of stream number 2: the checksum"}},
		{"payload of another length", payload, []string{`"b": event 15 of 9 bytes makes a total of 150 out of 140`}},
		{"payload changed", flipped, []string{"event 15 of stream number 2: the checksum"}},
		{"wrong total", event(2, 15, sampleAt(15), 151, 2), []string{"makes a total of 151 out of 140", "makes a total of 160 out of 151"}},
		{"timestamp of the one before", event(2, 15, sampleAt(14), 150, 2), []string{`"b": event 15 at`}},
		{"timestamp of the base", event(2, 6, sampleAt(5), 60, 1), []string{`"b": event 6 at`}},
		{"above the ceiling", event(2, 20, sampleAt(1001), 200, 1), []string{"is of epoch 1, after 2", "is not below the ceiling"}},
		{"at the ceiling", event(2, 21, sampleAt(1000), 210, 2), []string{"event 21 at"}},
		{"epoch to come", event(2, 21, sampleAt(21), 210, 3), []string{"event 21 is of epoch 3, after 2 and with 2"}},
		{"epoch 0", event(2, 6, sampleAt(6), 60, 0), []string{"event 6 is of epoch 0"}},
		{"a removed event", event(2, 5, sampleAt(5), 50, 1), []string{`"b": 1 events up to sequence 5 are there`}},
		{"event of a deleted stream", event(4, 21, sampleAt(21), 210, 2), []string{`"d" was deleted, and has 1 events`}},
		{"removed event of a deleted stream", event(4, 3, sampleAt(3), 30, 1), []string{`"d": 1 events up to sequence 20`}},
		{"events of no stream", func(db *pebble.DB) error {
			for seq := range uint64(3) {
				setEvent(db, 0, position{seq, sampleAt(seq), 10 * seq}, 1)
				setEvent(db, 9, position{seq, sampleAt(seq), 10 * seq}, 1)
			}
			return nil
		}, []string{"3 events are of stream number 0,", "3 events are of stream number 9,"}},
		{"no record", remove(streamKey(2)), []string{`name "b" is that of stream number 2, which has no record`, "15 events are of stream number 2"}},
		{"no name", remove(nameKey("b")), []string{`"b", number 2, is not among the names`}},
		{"one name more", func(db *pebble.DB) error { return db.Set(nameKey("z"), encodeNumber("z", 9), nil) }, []string{`name "z" is that of stream number 9`}},
		{"another name more", func(db *pebble.DB) error { return db.Set(nameKey("z"), encodeNumber("z", 2), nil) }, []string{`name "z" is that of stream number 2, whose name is "b"`}},
		{"two of a name", func(db *pebble.DB) error { return record(db, 2, func(r *streamRecord) { r.name = "a" }) }, []string{`name "b" is that of stream number 2, whose name is "a"`, `"a", number 2, is number 1 among the names`}},
		{"name does not check", set(nameKey("b"), "xxxxxxxxxxxx"), []string{`name "b": `}},
		{"not a name", func(db *pebble.DB) error { return db.Set(nameKey("a b"), encodeNumber("a b", 2), nil) }, []string{`name "a b": store: not a name`}},
		{"record does not check", set(streamKey(2), strings.Repeat("x", 100)), []string{"record of stream number 2: the checksum"}},
		{"record of a later epoch", func(db *pebble.DB) error { return record(db, 2, func(r *streamRecord) { r.epoch = 3 }) }, []string{`"b" was changed in epoch 3`}},
		{"record above the ceiling", func(db *pebble.DB) error {
			return record(db, 2, func(r *streamRecord) { r.created = sampleAt(1000) })
		}, []string{`"b" has the timestamp`}},
		{"base of nothing", func(db *pebble.DB) error {
			return record(db, 4, func(r *streamRecord) { r.base = position{0, 0, 7} })
		}, []string{`"d" begins at sequence 1, but behind 7 bytes`}},
		{"base further on", func(db *pebble.DB) error {
			return record(db, 2, func(r *streamRecord) { r.base = position{8, sampleAt(8), 80} })
		}, []string{`"b": 3 events up to sequence 8 are there`}},
		{"wrong total of the base", func(db *pebble.DB) error { return record(db, 2, func(r *streamRecord) { r.base.total = 51 }) }, []string{"event 6 of 10 bytes makes a total of 60 out of 51"}},
		{"retry record", set(retryKey(5, retryScope{2}), strings.Repeat("x", 44)), []string{"retry record: the checksum"}},
		{"retry key", set([]byte{tableRetry, 1}, "x"), []string{"retry record with a key of 2"}},
		{"event key", set([]byte{tableEvent, 0, 0, 0, 0, 0, 0, 0, 2, 1}, "x"), []string{`"b": key 12000000000000000201 is not one of an event`}},
		{"short event key", set([]byte{tableEvent, 7}, "x"), []string{"1 events are of stream number 0"}},
		{"stream key", set([]byte{tableStream, 7}, "x"), []string{"key 1107 is not one of a stream"}},
		{"table 00", set([]byte{0, 0}, "x"), []string{"key 0000 belongs to no table"}},
		{"table 01", set([]byte{1, 9}, "x"), []string{"key 0109 belongs to no table"}},
		{"table 0f", set([]byte{0x0f}, "x"), []string{"key 0f belongs to no table"}},
		{"table 13", set([]byte{0x13, 1}, "x"), []string{"key 1301 belongs to no table"}},
		{"table ff", set([]byte{0xff, 1}, "x"), []string{"key ff01 belongs to no table"}},
		{"rebased", func(db *pebble.DB) error {
			return ceiling(db, func(c *Ceiling) { c.Epoch, c.Rebases, c.Ceiling = 3, 1, sampleAt(1) })
		}, nil},
		{"rebased, and above the ceiling", func(db *pebble.DB) error {
			setEvent(db, 2, position{20, sampleAt(20), 200}, 3)
			return ceiling(db, func(c *Ceiling) { c.Epoch, c.Rebases, c.Ceiling = 3, 1, sampleAt(1) })
		}, []string{"event 20 at"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			disk := sample(t)
			edit(t, disk, "/var/data", c.change)
			before := disk.String()
			report, err := verifyDir(context.Background(), disk, "/var/data", nil)
			if err != nil {
				t.Fatal(err)
			}
			if disk.String() != before {
				t.Error("the directory has changed")
			}
			if len(report.Problems) != len(c.want) || report.MoreProblems != 0 || (report.Err() == nil) != (len(c.want) == 0) {
				t.Fatalf("%d problems: %v\nwant %q", len(report.Problems), report.Err(), c.want)
			}
			for i, want := range c.want {
				if !strings.Contains(report.Problems[i], want) {
					t.Errorf("problem %q, want %q", report.Problems[i], want)
				}
			}
			if c.want == nil && (report.Streams != 3 || report.Deleted != 1 || report.Events != 45 || report.Bytes != 450 || report.Retries != 1 || report.Node != 7) {
				t.Errorf("%+v", report)
			}
		})
	}
}

// TestVerifyMany counts the problems that it does not name.
func TestVerifyMany(t *testing.T) {
	leakFree(t)
	disk := sample(t)
	edit(t, disk, "/var/data", func(db *pebble.DB) error {
		b := db.NewBatch()
		for n := range 2 * problemsMax {
			_ = b.Set([]byte{0x23, byte(n >> 8), byte(n)}, nil, nil)
		}
		return b.Commit(nil)
	})
	report, err := verifyDir(context.Background(), disk, "/var/data", nil)
	if err != nil || len(report.Problems) != problemsMax || report.MoreProblems != problemsMax || !errors.Is(report.Err(), ErrDamaged) || !strings.Contains(report.Err().Error(), "and 199 more") {
		t.Errorf("%d and %d problems, %v: %v", len(report.Problems), report.MoreProblems, report.Err(), err)
	}
}

// TestVerifyRefuses names directories that cannot be verified; they stay as they are.
func TestVerifyRefuses(t *testing.T) {
	leakFree(t)
	dir, _ := used(t)
	root := filepath.Dir(dir)
	s, err := Open(dir, Options{Node: 7})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(context.Background(), dir, nil); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "truechimer backup, and verify that") {
		t.Errorf("open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if report, err := Verify(context.Background(), dir, nil); err != nil || report.Err() != nil {
		t.Errorf("closed: %+v, %v", report, err)
	}
	if err := os.Remove(filepath.Join(dir, lockName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(context.Background(), dir, nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, lockName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a lock was left: %v", err)
	}
	write(t, filepath.Join(root, "foreign", "letter"), "x")
	for name, state := range map[string]string{"new": stateNew, "backing up": stateBackingUp, "restoring": stateRestoring} {
		write(t, filepath.Join(root, name, markerName), string(marker{state: state}.encode()))
	}
	before := contents(t, root)
	for name, want := range map[string]struct {
		kind error
		text string
	}{
		"missing": {ErrForeign, "there is no store in it"}, "foreign": {ErrForeign, `"letter"`}, "data/TRUECHIMER": {ErrForeign, "it is a file"},
		"new": {ErrUnfinished, "start the server on it"}, "backing up": {ErrUnfinished, "take another backup"}, "restoring": {ErrUnfinished, "restore the backup again"},
	} {
		_, err := Verify(context.Background(), filepath.Join(root, name), nil)
		if !errors.Is(err, ErrRefused) || !errors.Is(err, want.kind) || !strings.Contains(err.Error(), want.text) || !strings.HasPrefix(err.Error(), "verify ") {
			t.Errorf("%s: %v", name, err)
		}
		if name != "missing" && name != "new" { // Open makes stores of these
			if _, err := Open(filepath.Join(root, name), Options{}); !errors.Is(err, want.kind) {
				t.Errorf("open %s: %v", name, err)
			}
		}
	}
	if after := contents(t, root); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("changed from %v to %v", before, after)
	}
}

// TestVerifyEnds ends a verification.
func TestVerifyEnds(t *testing.T) {
	leakFree(t)
	disk, _ := backedUp(t)
	for _, dir := range []string{"/var/data", "/var/backup"} {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		edit(t, disk, "/var/data", func(db *pebble.DB) error {
			for n := range uint64(2 * tellEvery) {
				_ = db.Set(eventKey(77, n), nil, pebble.NoSync)
			}
			return nil
		})
		if report, err := verifyDir(ctx, disk, dir, nil); !errors.Is(err, context.Canceled) || errors.Is(err, ErrRefused) {
			t.Errorf("%s: %+v, %v", dir, report, err)
		}
	}
}

// TestBackupFlips damages one byte of any file of a backup, cuts a file off, removes or adds
// one: Verify says so, Restore refuses it and leaves nothing, and both change nothing.
func TestBackupFlips(t *testing.T) {
	leakFree(t)
	rng := rand.New(rand.NewPCG(*seedFlag, 3))
	pristine, _ := backedUp(t)
	try := func(name, what string, change func(disk *vfs.MemFS, path string) error) {
		disk := copyOf(t, pristine, "/var/backup")
		if err := change(disk, "/var/backup/"+name); err != nil {
			t.Fatal(err)
		}
		before := disk.String()
		report, err := verifyDir(context.Background(), sealedFS{disk}, "/var/backup", nil)
		if err == nil && report.Err() == nil {
			t.Errorf("seed %d: %s %s: verified", *seedFlag, name, what)
		}
		if err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("seed %d: %s %s: verify: %v", *seedFlag, name, what, err)
		}
		if r, err := restoreOn(disk); !errors.Is(err, ErrRefused) {
			t.Errorf("seed %d: %s %s: restored %+v, %v", *seedFlag, name, what, r, err)
		}
		gone(t, disk, "/var/new")
		if disk.String() != before {
			t.Errorf("seed %d: %s %s: changed", *seedFlag, name, what)
		}
	}
	files := []string{markerName, inventoryName}
	names, err := pristine.List("/var/backup/pebble")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		files = append(files, engineName+"/"+name)
	}
	for _, name := range files {
		info, err := pristine.Stat("/var/backup/" + name)
		if err != nil {
			t.Fatal(err)
		}
		try(name, "removed", func(disk *vfs.MemFS, path string) error { return disk.Remove(path) })
		try(name+".old", "added", func(disk *vfs.MemFS, path string) error {
			f, err := disk.Create(path, vfs.WriteCategoryUnspecified)
			return errors.Join(err, f.Close())
		})
		for range min(20, int(info.Size())) {
			at, bit := rng.Int64N(info.Size()), byte(1)<<rng.IntN(8)
			try(name, fmt.Sprintf("byte %d of %d ^ %x", at, info.Size(), bit), func(disk *vfs.MemFS, path string) error {
				b, err := disk.UnsafeGetFileDataBuffer(path)
				b[at] ^= bit
				return err
			})
			try(name, fmt.Sprintf("cut at %d", at), func(disk *vfs.MemFS, path string) error {
				b, err := readAll(disk, path)
				f, createErr := disk.Create(path, vfs.WriteCategoryUnspecified)
				_, writeErr := f.Write(b[:at])
				return errors.Join(err, createErr, writeErr, f.Close())
			})
		}
	}
	t.Logf("%d files", len(files))
}

// BenchmarkVerify verifies a store of a million events of 100 bytes in a hundred streams.
func BenchmarkVerify(b *testing.B) {
	const events, streams = 1_000_000, 100
	dir := filepath.Join(b.TempDir(), "data")
	h := newHand(epoch0)
	st := streamsAt(b, vfs.Default, dir, h)
	for n := 0; n < events; {
		h.move(time.Millisecond)
		batch := Batch{}
		for range 10_000 {
			batch.Entries = append(batch.Entries, Entry{Stream: fmt.Sprint(n % streams), Payload: make([]byte, 100)})
			n++
		}
		if _, err := st.Append(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	closeStreams(b, st)
	b.ReportAllocs()
	for b.Loop() {
		report, err := Verify(context.Background(), dir, nil)
		if err != nil || report.Err() != nil || report.Events != events {
			b.Fatalf("%+v, %v", report, err)
		}
	}
	b.ReportMetric(events*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
