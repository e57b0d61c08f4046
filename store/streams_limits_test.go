package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/truechimer/truechimer/hlc"
)

// TestStreamsErrors asks for what cannot be had, in every way there is. Nothing of it
// changes anything, and every error has a name.
func TestStreamsErrors(t *testing.T) {
	leakFree(t)
	st, h := memStreams(t, StreamsOptions{Heartbeat: time.Millisecond})
	other, _ := memStreams(t, StreamsOptions{})
	ctx := context.Background()
	over, cancel := context.WithCancel(ctx)
	cancel()
	appendMany(t, st, "s", 5)
	appendMany(t, st, "t", 3)
	appendMany(t, other, "s", 3)
	if _, err := st.Trim(ctx, "s", 3); err != nil {
		t.Fatal(err)
	}
	page, err := st.Read(ctx, "s", Query{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	watched, err := watchFrom(t, st, Selection{}, Start{}).Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := st.mustDescribe(t, "s")
	long, wrong := strings.Repeat("x", NameLenMax+1), uint64(7)
	named := func(n int) Selection { return Selection{Names: slices.Repeat([]string{"s"}, n)} }
	batch := func(b Batch) func() error { return func() error { _, err := st.Append(ctx, b); return err } }
	read := func(name string, q Query) func() error {
		return func() error { _, err := st.Read(ctx, name, q); return err }
	}
	watch := func(sel Selection, from Start) func() error {
		return func() error { _, err := st.Watch(ctx, sel, from); return err }
	}
	cut := func(ts hlc.Timestamp, sel Selection) func() error {
		return func() error { _, err := st.Cut(ctx, ts, sel, ""); return err }
	}
	for _, c := range []struct {
		name string
		do   func() error
		want error
	}{
		{"append nothing", batch(Batch{}), ErrRange},
		{"append too many", batch(Batch{Entries: slices.Repeat([]Entry{{Stream: "s"}}, BatchEventsMax+1)}), ErrTooLarge},
		{"append too long", batch(Batch{Entries: []Entry{{Stream: "s", Payload: make([]byte, PayloadLenMax+1)}}}), ErrTooLarge},
		{"append too much", batch(Batch{Entries: slices.Repeat([]Entry{{Stream: "s", Payload: make([]byte, PayloadLenMax)}}, 9)}), ErrTooLarge},
		{"append, long key", batch(Batch{Entries: single("s", "").Entries, Key: strings.Repeat("k", KeyLenMax+1)}), ErrTooLarge},
		{"append, long principal", batch(Batch{Entries: single("s", "").Entries, Key: "k", Principal: strings.Repeat("k", PrincipalLenMax+1)}), ErrTooLarge},
		{"append to no name", batch(single("", "")), ErrName},
		{"append to a long name", batch(single(long, "")), ErrName},
		{"append at a wrong sequence", batch(Batch{Entries: []Entry{{Stream: "s", Expected: &wrong}}}), ErrConflict},
		{"append, one of two wrong", batch(Batch{Entries: []Entry{{Stream: "t"}, {Stream: "s", Expected: &wrong}}}), ErrConflict},
		{"append, observing the future", batch(Batch{Entries: single("s", "").Entries, Observe: hlc.Timestamp(h.now() + int64(time.Hour))}), hlc.ErrLead},
		{"append too late", func() error { _, err := st.Append(over, single("s", "")); return err }, context.Canceled},
		{"create what is there", func() error { _, err := st.Create(ctx, "s", Retention{}); return err }, ErrExists},
		{"create no name", func() error { _, err := st.Create(ctx, "-", Retention{}); return err }, ErrName},
		{"create, bad retention", func() error { _, err := st.Create(ctx, "n", Retention{Age: -1}); return err }, ErrRange},
		{"retention of nothing", func() error { _, err := st.SetRetention(ctx, "n", Retention{}); return err }, ErrNoStream},
		{"bad retention", func() error { _, err := st.SetRetention(ctx, "s", Retention{Age: -1}); return err }, ErrRange},
		{"trim nothing", func() error { _, err := st.Trim(ctx, "n", 1); return err }, ErrNoStream},
		{"trim no name", func() error { _, err := st.Trim(ctx, "", 1); return err }, ErrName},
		{"trim beyond the end", func() error { _, err := st.Trim(ctx, "s", 7); return err }, ErrRange},
		{"delete nothing", func() error { _, err := st.Delete(ctx, "n"); return err }, ErrNoStream},
		{"delete no name", func() error { _, err := st.Delete(ctx, "a b"); return err }, ErrName},
		{"describe nothing", func() error { _, err := st.Describe("n"); return err }, ErrNoStream},
		{"describe no name", func() error { _, err := st.Describe(long); return err }, ErrName},
		{"list too many", func() error { _, err := st.List("", "", ListMax+1); return err }, ErrRange},
		{"list fewer than none", func() error { _, err := st.List("", "", -1); return err }, ErrRange},
		{"list no prefix", func() error { _, err := st.List("-", "", 1); return err }, ErrName},
		{"read nothing", read("n", Query{}), ErrNoStream},
		{"read no name", read("", Query{}), ErrName},
		{"read too many", read("s", Query{Limit: PageEventsMax + 1}), ErrRange},
		{"read fewer than none", read("s", Query{Limit: -1}), ErrRange},
		{"read backwards", read("s", Query{From: 5, To: 4}), ErrRange},
		{"read back in time", read("s", Query{Since: 5, Until: 4}), ErrRange},
		{"read what is gone", read("s", Query{From: 2}), ErrTrimmed},
		{"read by no cursor", read("s", Query{Cursor: "?"}), ErrCursor},
		{"read by a cursor of another stream", read("t", Query{Cursor: page.Cursor}), ErrCursor},
		{"read by a cursor of a watch", read("s", Query{Cursor: watched.Cursor}), ErrCursor},
		{"read by a cursor of another store", func() error { _, err := other.Read(ctx, "s", Query{Cursor: page.Cursor}); return err }, ErrCursor},
		{"read too late", func() error { _, err := st.Read(over, "s", Query{}); return err }, context.Canceled},
		{"scan too late", func() error { return st.Scan(over, "s", Query{}, func(Event) error { return nil }) }, context.Canceled},
		{"scan until told to stop", func() error { return st.Scan(ctx, "s", Query{}, func(Event) error { return errDisk }) }, errDisk},
		{"watch too many names", watch(named(NamesMax+1), Start{}), ErrRange},
		{"watch names and a prefix", watch(Selection{Names: []string{"s"}, Prefix: "s"}, Start{}), ErrRange},
		{"watch no name", watch(Selection{Names: []string{"s", ""}}, Start{}), ErrName},
		{"watch no prefix", watch(Selection{Prefix: " "}, Start{}), ErrName},
		{"watch from two places", watch(Selection{}, Start{Oldest: true, Time: 1}), ErrRange},
		{"watch a prefix from a sequence", watch(Selection{Prefix: "s"}, Start{Sequence: 1}), ErrRange},
		{"watch from what is gone", watch(named(1), Start{Sequence: 2}), ErrTrimmed},
		{"watch from beyond the end", watch(named(1), Start{Sequence: 7}), ErrRange},
		{"watch nothing from the middle", watch(Selection{Names: []string{"n"}}, Start{Sequence: 2}), ErrNoStream},
		{"watch by no cursor", watch(Selection{}, Start{Cursor: "x"}), ErrCursor},
		{"watch by a cursor of a read", watch(Selection{}, Start{Cursor: page.Cursor}), ErrCursor},
		{"watch by a cursor of another store", func() error {
			_, err := other.Watch(ctx, Selection{}, Start{Cursor: watched.Cursor})
			return err
		}, ErrCursor},
		{"cut the far future", cut(hlc.Timestamp(h.now()+int64(time.Minute)), Selection{}), ErrTooFar},
		{"cut no prefix", cut(1, Selection{Prefix: "?"}), ErrName},
		{"cut names and a prefix", cut(1, Selection{Names: []string{"s"}, Prefix: "s"}), ErrRange},
		{"cut what is gone", cut(want.Created, named(1)), ErrTrimmed},
		{"cut too late", func() error {
			_, err := st.Cut(over, hlc.Timestamp(h.now()+int64(5*time.Second)), Selection{}, "")
			return err
		}, context.Canceled},
	} {
		err := c.do()
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v (want %v)", c.name, err, c.want)
		}
		if err != nil && len(err.Error()) > 600 {
			t.Errorf("%s: an error of %d bytes", c.name, len(err.Error()))
		}
	}
	if got := st.mustDescribe(t, "s"); got != want {
		t.Errorf("%+v (want %+v)", got, want)
	}
	if list, err := st.List("", "", 0); err != nil || len(list) != 2 || list[1].Last != 3 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := NewStreams(st.store, st.issuer, StreamsOptions{Heartbeat: -1}); err == nil {
		t.Error("a negative heartbeat")
	}
}

// TestStreamsLimits appends what is just allowed, and reads it in pages that stay within
// theirs.
func TestStreamsLimits(t *testing.T) {
	leakFree(t)
	st, _ := memStreams(t, StreamsOptions{})
	ctx := context.Background()
	large := Batch{Key: strings.Repeat("k", KeyLenMax), Principal: strings.Repeat("p", PrincipalLenMax)}
	for range BatchLenMax / PayloadLenMax {
		large.Entries = append(large.Entries, Entry{Stream: strings.Repeat("n", NameLenMax), Payload: make([]byte, PayloadLenMax)})
	}
	many := Batch{Entries: slices.Repeat([]Entry{{Stream: "many"}}, BatchEventsMax)}
	for range 2 {
		for _, b := range []Batch{large, many} {
			if _, err := st.Append(ctx, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	p, err := st.Read(ctx, "many", Query{})
	if err != nil || len(p.Events) != PageEventsMax || p.Cursor == "" {
		t.Errorf("%d events, cursor %q, %v", len(p.Events), p.Cursor, err)
	}
	gapless(t, everything(t, st, "many"), 1)
	if p, err = st.Read(ctx, large.Entries[0].Stream, Query{}); err != nil || len(p.Events) != PageLenMax/PayloadLenMax {
		t.Errorf("%d events, %v", len(p.Events), err)
	}
	if n := len(everything(t, st, large.Entries[0].Stream)); n != len(large.Entries) {
		t.Errorf("%d events (want %d)", n, len(large.Entries))
	}
}

// TestClosedStreams calls what was closed.
func TestClosedStreams(t *testing.T) {
	leakFree(t)
	st := openStreams(t, vfs.NewMem(), newHand(epoch0), StreamsOptions{})
	ctx := context.Background()
	appendOne(t, st, "s", "x")
	closeStreams(t, st)
	closeStreams(t, st)
	for name, do := range map[string]func() error{
		"append":   func() error { _, err := st.Append(ctx, single("s", "x")); return err },
		"read":     func() error { _, err := st.Read(ctx, "s", Query{}); return err },
		"describe": func() error { _, err := st.Describe("s"); return err },
		"list":     func() error { _, err := st.List("", "", 0); return err },
		"cut":      func() error { _, err := st.Cut(ctx, st.Closed()+1, Selection{}, ""); return err },
		"watch":    func() error { _, err := st.Watch(ctx, Selection{}, Start{}); return err },
	} {
		if err := do(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSeekTwin compares every search by time and by size with a walk, on a stream that is
// trimmed in between.
func TestSeekTwin(t *testing.T) {
	leakFree(t)
	st, h := memStreams(t, StreamsOptions{})
	rng := newRNG()
	var events []Event
	for range 300 {
		h.move(time.Duration(rng.IntN(5000)))
		b := Batch{}
		for range 1 + rng.IntN(3) {
			b.Entries = append(b.Entries, Entry{Stream: "s", Payload: make([]byte, rng.IntN(20))})
		}
		if _, err := st.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
	for events = everything(t, st, "s"); len(events) > 0; {
		_, head, err := st.existing("s")
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			ts := events[rng.IntN(len(events))].Timestamp + hlc.Timestamp(rng.IntN(3)) - 1
			want := events[0].Sequence
			for _, e := range events {
				if e.Timestamp < ts {
					want = e.Sequence + 1
				}
			}
			if got, err := st.seek(head, ts); err != nil || got != want {
				t.Fatalf("the first at or above %d is %d, %v (want %d)", ts, got, err, want)
			}
			sizes := uint64(rng.IntN(3000))
			keep, size := head.last.sequence+1, uint64(0)
			for _, e := range slices.Backward(events) {
				if size += uint64(len(e.Payload)); size > sizes {
					break
				}
				keep = e.Sequence
			}
			kept := *head
			if kept.record.retention = (Retention{Bytes: sizes}); sizes > 0 {
				if got, err := st.keeps(&kept); err != nil || got != keep {
					t.Fatalf("%d bytes are from %d on, %v (want %d)", sizes, got, err, keep)
				}
			}
		}
		n := 1 + rng.IntN(40)
		if n > len(events) {
			n = len(events)
		}
		events = events[n:]
		if _, err := st.Trim(context.Background(), "s", head.record.base.sequence+uint64(n)+1); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEviction keeps four streams in memory while many are appended to, read and listed:
// the others are read from the database, as they are durable.
func TestEviction(t *testing.T) {
	leakFree(t)
	st := openStreams(t, vfs.NewMem(), newHand(epoch0), StreamsOptions{})
	defer closeStreams(t, st)
	st.catalog.most = 4
	const streams, callers, each = 40, 8, 150
	var sent [streams]uint64
	var mu sync.Mutex
	var all sync.WaitGroup
	for c := range callers {
		rng := rand.New(rand.NewPCG(*seedFlag, uint64(c)))
		all.Go(func() {
			for range each {
				n := rng.IntN(streams)
				name := fmt.Sprintf("s/%d", n)
				r, err := st.Append(context.Background(), single(name, "x"))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				sent[n]++
				mu.Unlock()
				s, err := st.Describe(name)
				if err != nil || s.Last < r.Sequences[0] {
					t.Errorf("%+v, %v after %+v", s, err, r)
					return
				}
			}
		})
	}
	all.Go(func() {
		for range 50 {
			if _, err := st.List("s/", "", 0); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	appendOne(t, st, "s/0", "x") // and evict
	if _, err := st.Cut(context.Background(), now(t, st.issuer), Selection{}, ""); err != nil {
		t.Error(err)
	}
	sent[0]++
	for n, want := range sent {
		if want == 0 {
			continue
		}
		name := fmt.Sprintf("s/%d", n)
		if events := everything(t, st, name); uint64(len(events)) != want {
			t.Errorf("%s has %d events (want %d)", name, len(events), want)
		} else {
			gapless(t, events, 1)
		}
	}
	appendOne(t, st, "s/0", "x")
	closing := st.catalog.len()
	if closing > 2*4+1 {
		t.Errorf("%d streams are in memory", closing)
	}
}

// TestRetryWindow repeats appends when a key has to be known, when it may be, and when it
// must not be any more; across a restart, a crash, and a rebase.
func TestRetryWindow(t *testing.T) {
	leakFree(t)
	for name, c := range map[string]struct {
		later time.Duration
		known bool
	}{
		"at once":        {0, true},
		"after an hour":  {time.Hour, true},
		"after a period": {retryPeriod, true},
		"at the end":     {RetryWindow - time.Second, true},
		"long after":     {retryPeriods*retryPeriod + time.Second, false},
		"days later":     {72 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			disk, h := vfs.NewCrashableMem(), newHand(epoch0)
			st := openStreams(t, disk, h, StreamsOptions{})
			b := single("s", "x")
			b.Key, b.Principal = "key", "alice"
			first, err := st.Append(context.Background(), b)
			if err != nil {
				t.Fatal(err)
			}
			crashed := disk.CrashClone(vfs.CrashCloneCfg{})
			closeStreams(t, st)
			h.move(c.later)
			for kind, disk := range map[string]*vfs.MemFS{"stopped": disk, "crashed": crashed} {
				st := openStreams(t, disk, h, StreamsOptions{})
				var expired uint32
				if err := st.expire(&expired); err != nil {
					t.Fatal(err)
				}
				r, err := st.Append(context.Background(), b)
				if err != nil || r.Repeated != c.known || c.known && r.Timestamp != first.Timestamp {
					t.Errorf("%s: repeated: %+v, %v", kind, r, err)
				}
				other := b
				other.Principal = "bob"
				if r, err := st.Append(context.Background(), other); !errors.Is(err, ErrKeyReused) {
					t.Errorf("%s: by another: %+v, %v", kind, r, err)
				}
				if last := st.mustDescribe(t, "s").Last; c.known && last != 1 || !c.known && last != 2 {
					t.Errorf("%s: %d events", kind, last)
				}
				closeStreams(t, st)
			}
		})
	}
	t.Run("after a rebase", func(t *testing.T) {
		st, h := memStreams(t, StreamsOptions{})
		b := single("s", "x")
		b.Key = "key"
		if _, err := st.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		h.move(-90 * 24 * time.Hour)
		if _, err := st.issuer.Rebase(); err != nil {
			t.Fatal(err)
		}
		if r, err := st.Append(context.Background(), b); err != nil || !r.Repeated {
			t.Errorf("repeated: %+v, %v", r, err)
		}
	})
	t.Run("shared out in another way", func(t *testing.T) {
		st, _ := memStreams(t, StreamsOptions{})
		b := Batch{Key: "key", Entries: []Entry{{Stream: "a"}, {Stream: "a"}, {Stream: "b"}}}
		if _, err := st.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		b.Entries = []Entry{{Stream: "a"}, {Stream: "b"}, {Stream: "b"}}
		if r, err := st.Append(context.Background(), b); !errors.Is(err, ErrKeyReused) {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestCutUnderTrims cuts while others append and trim: never an error but that it is gone.
func TestCutUnderTrims(t *testing.T) {
	leakFree(t)
	st := openStreams(t, vfs.NewMem(), newHand(epoch0), StreamsOptions{})
	defer closeStreams(t, st)
	appendMany(t, st, "s", 2000)
	events := everything(t, st, "s")
	var all sync.WaitGroup
	all.Go(func() {
		for n := range 500 {
			if _, err := st.Trim(context.Background(), "s", uint64(4*n)); err != nil {
				t.Error(err)
			}
		}
	})
	for c := range 3 {
		rng := rand.New(rand.NewPCG(*seedFlag, uint64(c)))
		all.Go(func() {
			for range 500 {
				e := events[rng.IntN(len(events))]
				cut, err := st.Cut(context.Background(), e.Timestamp, Selection{}, "")
				if errors.Is(err, ErrTrimmed) {
					continue
				}
				if err != nil || cut.Streams[0].Last != e.Sequence || cut.Streams[0].LastTimestamp != e.Timestamp {
					t.Errorf("cut at event %d: %+v, %v", e.Sequence, cut, err)
					return
				}
				if _, err := st.Read(context.Background(), "s", Query{Since: e.Timestamp, Limit: 3}); err != nil {
					t.Errorf("read from event %d on: %v", e.Sequence, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// TestCutAfterRebase cuts at once after a rebase, at an instant that the old timeline had
// closed. No event of the new one comes at or below it any more.
func TestCutAfterRebase(t *testing.T) {
	leakFree(t)
	st, h := memStreams(t, StreamsOptions{})
	appendOne(t, st, "s", "x")
	h.move(-time.Hour)
	if _, err := st.issuer.Rebase(); err != nil {
		t.Fatal(err)
	}
	ts := hlc.FromUnix(h.now()) + 5
	if _, err := st.Cut(context.Background(), ts, Selection{}, ""); err != nil {
		t.Fatal(err)
	}
	if r := appendOne(t, st, "new", "y"); r.Timestamp <= ts {
		t.Errorf("appended at %d after a cut at %d", r.Timestamp, ts)
	}
}
