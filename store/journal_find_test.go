package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// findTwin is Find by looking at everything.
func findTwin(all []JournalRecord, since, until int64, kinds []uint8) (found []JournalRecord) {
	for _, r := range all {
		if since <= r.Unix && r.Unix < until && (len(kinds) == 0 || slices.Contains(kinds, r.Kind)) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b JournalRecord) int {
		return cmp.Or(cmp.Compare(a.Unix, b.Unix), cmp.Compare(a.Sequence, b.Sequence))
	})
	return found
}

// TestJournalFind compares Find and Last with their dumb twins, on a journal with a clock that
// goes back, of more records than are read at a time, before and after a trim.
func TestJournalFind(t *testing.T) {
	leakFree(t)
	d := newDiary(journalOn(t, vfs.NewMem(), "/var/data", JournalOptions{}), *seedFlag)
	defer closeJournal(t, d.Journal)
	d.days(t, 2, 3*recordsPerPage)
	compare := func(kept []JournalRecord) {
		t.Helper()
		for n := range 60 {
			some := func() int64 { return d.unix - 3*day + d.rng.Int64N(4*day) }
			since, until := some(), some()
			if n%3 > 0 { // where something is
				since, until = kept[d.rng.IntN(len(kept))].Unix, kept[d.rng.IntN(len(kept))].Unix
			}
			since, until = min(since, until), max(since, until)
			if n == 0 {
				since, until = -5, 1<<62
			}
			var kinds []uint8
			for range d.rng.IntN(6) {
				kinds = append(kinds, uint8(5+d.rng.IntN(9))) // some twice, some of which there are none
			}
			want := findTwin(kept, since, until, kinds)
			var got []JournalRecord
			err := d.Find(context.Background(), since, until, kinds, func(r JournalRecord) error {
				got = append(got, r)
				return nil
			})
			if err != nil || !slices.EqualFunc(got, want, sameRecord) {
				t.Fatalf("seed %d: find %v from %d to %d: %d records, %v; want %d", *seedFlag, kinds, since, until, len(got), err, len(want))
			}
		}
		for kind := range uint8(20) {
			all := findTwin(kept, 0, 1<<62, []uint8{kind})
			slices.SortFunc(all, func(a, b JournalRecord) int { return cmp.Compare(a.Sequence, b.Sequence) })
			r, ok, err := d.Last(kind)
			if err != nil || ok != (len(all) > 0) || ok && !sameRecord(r, all[len(all)-1]) {
				t.Errorf("last of kind %d: %+v, %v, %v", kind, r, ok, err)
			}
		}
	}
	compare(d.written[Evidence])
	d.trim(t, Evidence, d.unix-day)
	first := d.Status().Evidence.First
	if first == 1 {
		t.Fatal("nothing was trimmed")
	}
	compare(d.written[Evidence][first-1:])

	stop := errors.New("stop")
	visit := func(JournalRecord) error { return stop }
	if err := errors.Join(d.Find(context.Background(), 0, 1<<62, nil, visit)); !errors.Is(err, stop) {
		t.Error(err)
	}
	if err := d.Scan(context.Background(), Raw, 0, 0, visit); !errors.Is(err, stop) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	count := func(JournalRecord) error {
		n++
		cancel()
		return nil
	}
	if err := d.Scan(ctx, Raw, 0, 0, count); !errors.Is(err, context.Canceled) || n != recordsPerPage {
		t.Errorf("%d records, %v", n, err)
	}
	if n = 0; true {
		if err := d.Find(ctx, 0, 1<<62, nil, count); !errors.Is(err, context.Canceled) || n != 0 {
			t.Errorf("%d records, %v", n, err)
		}
	}
}

// TestJournalScan asks for parts of a track, and trims and appends while a scan is at work.
func TestJournalScan(t *testing.T) {
	leakFree(t)
	d := newDiary(journalOn(t, vfs.NewMem(), "/var/data", JournalOptions{}), *seedFlag)
	defer closeJournal(t, d.Journal)
	d.days(t, 1, 4*recordsPerPage)
	d.days(t, 1, 400)
	tip := d.Tip(Raw).Sequence
	for _, c := range []struct{ from, to, first, last uint64 }{
		{0, 0, 1, tip}, {1, 1, 1, 1}, {5, 9, 5, 9}, {tip, 0, tip, tip}, {tip, tip + 9, tip, tip}, {tip + 1, tip + 9, 1, 0}, {tip + 1, 0, 1, 0},
	} {
		next := c.first
		err := d.Scan(context.Background(), Raw, c.from, c.to, func(r JournalRecord) error {
			if r.Sequence != next || !sameRecord(r, d.written[Raw][next-1]) {
				return fmt.Errorf("%+v", r)
			}
			next++
			return nil
		})
		if err != nil || next != c.last+1 {
			t.Errorf("%+v: up to %d, %v", c, next, err)
		}
	}
	var got []uint64
	err := d.Scan(context.Background(), Raw, 0, 0, func(r JournalRecord) error {
		if r.Sequence == 10 {
			d.trim(t, Raw, d.unix-day/2)
			d.write(t, 100)
		}
		got = append(got, r.Sequence)
		return nil
	})
	first := d.Status().Raw.First
	if err != nil || got[recordsPerPage-1] != recordsPerPage || first <= recordsPerPage+1 || got[recordsPerPage] != first || got[len(got)-1] != tip {
		t.Errorf("up to %d, from %d on, up to %d of %d, %v", got[recordsPerPage-1], got[recordsPerPage], got[len(got)-1], tip, err)
	}
	got = nil
	err = d.Scan(context.Background(), Raw, 0, 0, func(r JournalRecord) error {
		if got = append(got, r.Sequence); r.Sequence == tip {
			d.unix = (d.unix/day + 2) * day // the clock may have gone back to the day of the last root
			d.root(t)
			d.trim(t, Raw, d.unix)
		}
		return nil
	})
	if s := d.Status().Raw; err != nil || len(got) == 0 || s.OldestUnix != 0 || s.First != s.Last+1 {
		t.Errorf("all trimmed: %+v, %v", s, err)
	}
	if err := d.Scan(context.Background(), Raw, 0, 0, func(JournalRecord) error { return errors.New("there is one") }); err != nil {
		t.Error(err)
	}
}

// TestJournalReadsDamage reads a journal whose database was changed: what is missing or is not what the
// index says is damage, and not left out.
func TestJournalReadsDamage(t *testing.T) {
	leakFree(t)
	v := newVictim(t)
	first := v.state.Load().bases[Evidence].Sequence + 1
	r := v.written[Evidence][first+4]
	read := func(what, want string) {
		t.Helper()
		ignore := func(JournalRecord) error { return nil }
		scan := v.Scan(context.Background(), Evidence, first, r.Sequence+3, ignore)
		find := v.Find(context.Background(), 0, 1<<62, nil, ignore)
		_, _, last := v.Last(r.Kind)
		if err := errors.Join(scan, find, last); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
		v.check(VerifyJournalOptions{}) // puts it back
	}
	key := recordKey(Evidence, r.Sequence)
	v.set(key, nil)
	read("record gone", "is missing")
	v.set(key, []byte("short"))
	read("short record", "a value of 5 bytes")
	value := v.value(key)
	value[0]++
	v.set(key, value)
	read("another kind", "by the index of kind")
	v.set([]byte{tableIndex, r.Kind, 0xff}, []byte{})
	read("index key", "journal index with the key")
	v.set([]byte{tableIndex}, []byte{})
	read("index key without a kind", "a key of 1 bytes")
	latest, _, err := v.Last(r.Kind)
	if err != nil {
		t.Fatal(err)
	}
	v.set(indexKey(r.Kind, latest.Unix+1, latest.Sequence), []byte{})
	if _, _, err := v.Last(r.Kind); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "is not what the index says") {
		t.Error(err)
	}
	v.check(VerifyJournalOptions{})
	v.set(markKey(markBase, Raw), nil)
	if err := v.Scan(context.Background(), Evidence, 0, 0, func(JournalRecord) error { return nil }); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	v.check(VerifyJournalOptions{})
	v.sound()
}

// TestJournalUnsynced reads while there is a record that is not durable yet: nobody sees it.
func TestJournalUnsynced(t *testing.T) {
	leakFree(t)
	j := journalOn(t, vfs.NewMem(), "/var/data", JournalOptions{})
	defer closeJournal(t, j)
	if err := j.Append(JournalEntry{Evidence, 1, 100, []byte("durable")}); err != nil {
		t.Fatal(err)
	}
	state := *j.state.Load()
	b := j.store.db.NewBatch()
	if err := errors.Join(j.fill(b, &state, []JournalEntry{{Evidence, 1, 200, []byte("not yet")}}), j.store.db.Apply(b, pebble.NoSync), b.Close()); err != nil {
		t.Fatal(err)
	}
	var got []string
	visit := func(r JournalRecord) error { got = append(got, string(r.Payload)); return nil }
	r, ok, err := j.Last(1)
	if err := errors.Join(err, j.Scan(context.Background(), Evidence, 0, 9, visit), j.Find(context.Background(), 0, 1<<62, nil, visit)); err != nil || !ok || string(r.Payload) != "durable" || !slices.Equal(got, []string{"durable", "durable"}) {
		t.Errorf("%q, %+v, %v", got, r, err)
	}
	// The same again, as after a write that failed.
	if err := j.Append(JournalEntry{Evidence, 1, 200, []byte("not yet")}); err != nil {
		t.Fatal(err)
	}
	report, err := j.Verify(context.Background(), VerifyJournalOptions{})
	whole(t, report, err, 0)
}
