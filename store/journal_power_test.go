package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// outage cuts the power at random steps of the life of a journal. It is an errorfs.Injector
// that injects nothing.
type outage struct {
	mu   sync.Mutex
	disk *vfs.MemFS
	rng  *rand.Rand
	next int // steps to the next cut
	seen journalPromises
	cuts []journalCut
}

// journalPromises are what the caller has been told before a cut.
type journalPromises struct {
	opened bool
	state  journalState
	heads  []JournalHead
}

// journalCut is the disk as it was found after a power cut.
type journalCut struct {
	op   string
	disk *vfs.MemFS
	seen journalPromises
}

func (o *outage) String() string { return "outage" }

func (o *outage) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileClose, errorfs.OpFilePreallocate, errorfs.OpFileFlush:
		return nil
	}
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.next--; o.next > 0 {
		return nil
	}
	percent := []int{0, 50, 100}[o.rng.IntN(3)]
	o.cuts = append(o.cuts, journalCut{
		op: fmt.Sprintf("op %d on %s, keeping %d%%", op.Kind, op.Path, percent), seen: o.seen,
		disk: o.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: o.rng}),
	})
	o.next = 1 + o.rng.IntN(4)
	return nil
}

// note writes down what the caller was told.
func (o *outage) note(d *diary) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = journalPromises{true, *d.state.Load(), slices.Clone(d.heads)}
}

// TestJournalPowerCut cuts the power some hundred times, in the creation of a journal and while
// it is written, signed, rooted, trimmed, flushed and opened again. Each time it opens, has all
// that was promised and no more than was written, verifies with every head that was handed
// out, and goes on.
func TestJournalPowerCut(t *testing.T) {
	leakFree(t)
	rng := rand.New(rand.NewPCG(*seedFlag, 21))
	disk := vfs.NewCrashableMem()
	s, err := Open("/var/data", Options{Node: 7, fs: disk}) // whose own creation others test
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o := &outage{disk: disk, rng: rng, next: 1}
	d := newDiary(nil, *seedFlag)
	for range 3 {
		d.Journal = journalOn(t, errorfs.Wrap(disk, o), "/var/data", JournalOptions{})
		o.note(d)
		for n := range 12 {
			d.write(t, 1+rng.IntN(60))
			o.note(d)
			switch {
			case n%2 == 0:
				d.sign(t)
			case n%4 == 1:
				d.unix = (d.unix/day + 1) * day
				d.root(t)
			case n == 7:
				if err := d.store.db.Flush(); err != nil {
					t.Fatal(err)
				}
			default:
				d.trim(t, Raw, d.unix-day)
				d.trim(t, Evidence, d.unix-2*day)
			}
			o.note(d)
		}
		closeJournal(t, d.Journal)
	}
	for i, c := range o.cuts {
		c.verify(t, d)
		if t.Failed() {
			t.Fatalf("seed %d, cut %d: %s", *seedFlag, i, c.op)
		}
	}
	if len(o.cuts) < 100 {
		t.Errorf("%d cuts", len(o.cuts))
	}
	t.Logf("%d power cuts", len(o.cuts))
}

// verify opens what a cut has left.
func (c *journalCut) verify(t *testing.T, d *diary) {
	t.Helper()
	s, err := Open("/var/data", Options{Node: 7, fs: c.disk})
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close()
	j, err := OpenJournal(s, JournalOptions{})
	if err != nil {
		t.Error(err)
		return
	}
	r, err := j.Verify(context.Background(), VerifyJournalOptions{Heads: c.seen.heads})
	if whole(t, r, err, len(c.seen.heads)); len(r.Problems) > 0 {
		t.Error(r.Problems)
	}
	now := j.state.Load()
	for track := range tracksEnd {
		if now.tips[track].Sequence < c.seen.state.tips[track].Sequence || now.bases[track].Sequence < c.seen.state.bases[track].Sequence {
			t.Errorf("%v is %+v, promised %+v", track, now, c.seen.state)
		}
	}
	for _, track := range []Track{Evidence, Raw} {
		next := now.bases[track].Sequence + 1
		err := j.Scan(context.Background(), track, 0, 0, func(r JournalRecord) error {
			if r.Sequence != next || !sameRecord(r, d.written[track][r.Sequence-1]) {
				return fmt.Errorf("record %d of %v is %+v", next, track, r)
			}
			next++
			return nil
		})
		if err != nil || next != now.tips[track].Sequence+1 {
			t.Errorf("%v up to %d: %v", track, next, err)
		}
	}
	after := newDiary(j, 5)
	after.unix = d.unix + day
	for _, track := range []Track{Evidence, Raw} {
		after.written[track] = make([]JournalRecord, now.tips[track].Sequence)
	}
	after.write(t, 10)
	after.sign(t)
	after.root(t)
	if r, err := j.Verify(context.Background(), VerifyJournalOptions{Heads: append(after.heads, c.seen.heads...)}); errors.Join(err, r.Err()) != nil {
		t.Errorf("goes on: %v, %v", err, r.Problems)
	}
}
