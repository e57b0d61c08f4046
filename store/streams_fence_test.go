package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/truechimer/truechimer/hlc"
)

// faultyStreams returns streams over faults that are not armed yet, on a disk of their own.
func faultyStreams(t *testing.T, f *faults) (*Streams, *vfs.MemFS, *hand) {
	t.Helper()
	disk, h := vfs.NewCrashableMem(), newHand(epoch0)
	return openStreams(t, errorfs.Wrap(disk, f), h, StreamsOptions{}), disk, h
}

// TestStreamsFence fails a sync or a write of the log under callers who append. Those in
// flight are told that they cannot know, all others that nothing goes any more; watchers
// end; closing does not hang; and whatever was acknowledged is on the disk.
func TestStreamsFence(t *testing.T) {
	for name, match := range map[string]func(errorfs.Op) bool{"sync": isLogSync, "write": isLogWrite} {
		t.Run(name, func(t *testing.T) {
			f := &faults{match: match}
			st, disk, _ := faultyStreams(t, f)
			ctx := context.Background()
			w, err := st.Watch(ctx, Selection{}, Start{})
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			acknowledged := map[string]Receipt{}
			uncertain := 0
			within(t, "appending", func() {
				var all sync.WaitGroup
				for g := range 8 {
					all.Go(func() {
						for n := 0; ; n++ {
							if n == 20_000 {
								t.Error("nothing fails")
								return
							}
							key := fmt.Sprintf("%d/%d", g, n)
							r, err := st.Append(ctx, single("s", key))
							mu.Lock()
							if err != nil {
								if !errors.Is(err, ErrFenced) || !errors.Is(err, errDisk) {
									t.Error(err)
								}
								if errors.Is(err, ErrUncertain) {
									uncertain++
								}
								mu.Unlock()
								return
							}
							acknowledged[key] = r
							if len(acknowledged) == 200 {
								f.armed.Store(true)
							}
							mu.Unlock()
						}
					})
				}
				all.Wait()
			})
			if uncertain == 0 {
				t.Error("nobody was in flight")
			}
			fencedStreams(t, st, w)
			for _, cfg := range []vfs.CrashCloneCfg{{}, {UnsyncedDataPercent: 100, RNG: newRNG()}} {
				after := openStreams(t, disk.CrashClone(cfg), newHand(epoch0), StreamsOptions{})
				events := everything(t, after, "s")
				gapless(t, events, 1)
				for key, r := range acknowledged {
					e := events[r.Sequences[0]-1]
					if string(e.Payload) != key || e.Timestamp != r.Timestamp {
						t.Fatalf("%s was acknowledged: %+v is %+v", key, r, e)
					}
				}
				closeStreams(t, after)
			}
		})
	}
}

// fencedStreams checks that every way in is closed, and that everything can be left.
func fencedStreams(t *testing.T, st *Streams, w *Watcher) {
	t.Helper()
	ctx := context.Background()
	for name, do := range map[string]func() error{
		"append":    func() error { _, err := st.Append(ctx, single("s", "x")); return err },
		"create":    func() error { _, err := st.Create(ctx, "new", Retention{}); return err },
		"trim":      func() error { _, err := st.Trim(ctx, "s", 2); return err },
		"delete":    func() error { _, err := st.Delete(ctx, "s"); return err },
		"retention": func() error { _, err := st.SetRetention(ctx, "s", Retention{}); return err },
		"read":      func() error { _, err := st.Read(ctx, "s", Query{}); return err },
		"scan":      func() error { return st.Scan(ctx, "s", Query{}, func(Event) error { return nil }) },
		"list":      func() error { _, err := st.List("", "", 0); return err },
		"describe":  func() error { _, err := st.Describe("s"); return err },
		"cut":       func() error { _, err := st.Cut(ctx, st.Closed()+1, Selection{}, ""); return err },
		"watch":     func() error { _, err := st.Watch(ctx, Selection{}, Start{}); return err },
		"next":      func() error { _, err := w.Next(ctx); return err },
		"sweep":     func() error { return st.sweep(ctx) },
	} {
		within(t, name, func() {
			if err := do(); !errors.Is(err, ErrFenced) || errors.Is(err, ErrUncertain) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	within(t, "closing", func() {
		for range 2 {
			if err := st.Close(); !errors.Is(err, ErrFenced) {
				t.Errorf("close: %v", err)
			}
		}
		if err := st.issuer.Close(); !errors.Is(err, ErrFenced) {
			t.Errorf("close issuer: %v", err)
		}
		if err := st.store.Close(); !errors.Is(err, ErrFenced) {
			t.Errorf("close store: %v", err)
		}
	})
}

// TestStreamsWatermark holds up the sync of an append whose event the database shows
// already. Nobody sees the event before it is durable: no read, no list, no cut, no watch, and
// its caller has no answer.
func TestStreamsWatermark(t *testing.T) {
	leakFree(t)
	f := &faults{match: isLogSync, block: make(chan struct{})}
	st, _, _ := faultyStreams(t, f)
	defer closeStreams(t, st)
	release := sync.OnceFunc(func() { f.armed.Store(false); close(f.block) })
	defer release()
	st.catalog.most = 1 // and forgetting streams must not show it either
	ctx := context.Background()
	first := appendOne(t, st, "s", "durable")
	w, err := st.Watch(ctx, Selection{}, Start{Oldest: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if d, err := w.Next(ctx); err != nil || len(d.Events) != 1 {
		t.Fatal(d, err)
	}
	f.armed.Store(true)
	type answer struct {
		r   Receipt
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		b := single("s", "on its way")
		b.Entries = append(b.Entries, single("new", "on its way").Entries...)
		r, err := st.Append(ctx, b)
		answered <- answer{r, err}
	}()
	within(t, "the write", func() {
		for {
			if _, err := get(st.store.db, eventKey(1, 2)); !errors.Is(err, pebble.ErrNotFound) {
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	old := Stream{Name: "s", Created: first.Timestamp, First: 1, Last: 1, LastTimestamp: first.Timestamp, Bytes: 7}
	if s, err := st.Describe("s"); err != nil || s != old {
		t.Errorf("described %+v, %v", s, err)
	}
	if _, err := st.Describe("new"); !errors.Is(err, ErrNoStream) {
		t.Errorf("described what is not durable: %v", err)
	}
	if list, err := st.List("", "", 0); err != nil || !slices.Equal(list, []Stream{old}) {
		t.Errorf("listed %+v, %v", list, err)
	}
	for _, q := range []Query{{}, {Reverse: true}, {From: 1, To: 5}, {Until: hlc.Max}} {
		if p, err := st.Read(ctx, "s", q); err != nil || len(p.Events) != 1 || p.Cursor != "" || p.Stream != old {
			t.Errorf("%+v read %+v, %v", q, p, err)
		}
	}
	n := 0
	if err := st.Scan(ctx, "s", Query{}, func(Event) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("scanned %d events, %v", n, err)
	}
	forged := st.pageCursor(pageCursor{number: 1, from: 1, to: 2})
	if p, err := st.Read(ctx, "s", Query{Cursor: forged}); err != nil || len(p.Events) != 1 {
		t.Errorf("a made-up cursor reads %+v, %v", p, err)
	}
	if d, err := w.deliver(t.Context()); err != nil || len(d.Events) != 0 {
		t.Errorf("a watch delivers %+v, %v", d, err)
	}
	late, err := st.Watch(ctx, Selection{}, Start{Oldest: true})
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if d, err := late.deliver(t.Context()); err != nil || len(d.Events) != 1 {
		t.Errorf("a new watch delivers %+v, %v", d, err)
	}
	if c, err := st.Cut(ctx, first.Timestamp, Selection{}, ""); err != nil || len(c.Streams) != 1 || c.Streams[0].Last != 1 {
		t.Errorf("cut %+v, %v", c, err)
	}
	select {
	case a := <-answered:
		t.Errorf("answered %+v", a)
		answered <- a
	default:
	}
	release()
	if a := <-answered; a.err != nil || !slices.Equal(a.r.Sequences, []uint64{2, 1}) {
		t.Fatalf("%+v", a)
	}
	if d, err := w.Next(ctx); err != nil || len(d.Events) != 2 {
		t.Errorf("a watch delivers %+v, %v", d, err)
	}
}

// TestStreamsBusy holds up the disk. Those who wait for the committer are bounded by their
// bytes; one more is refused at once, and counted; who gives up while waiting has done
// nothing; who gives up while it is written cannot know, and is told when it tries again.
func TestStreamsBusy(t *testing.T) {
	leakFree(t)
	f := &faults{match: isLogSync, block: make(chan struct{})}
	st, _, _ := faultyStreams(t, f)
	defer closeStreams(t, st)
	release := sync.OnceFunc(func() { f.armed.Store(false); close(f.block) })
	defer release()
	appendOne(t, st, "s", "first")
	f.armed.Store(true)
	written := single("s", "written")
	written.Key = "key"
	giveUp, cancel := context.WithCancel(context.Background())
	uncertain := make(chan error, 1)
	go func() {
		_, err := st.Append(giveUp, written)
		uncertain <- err
	}()
	within(t, "the write", func() {
		for {
			if _, err := get(st.store.db, eventKey(1, 2)); !errors.Is(err, pebble.ErrNotFound) {
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	cancel()
	if err := <-uncertain; !errors.Is(err, ErrUncertain) || !errors.Is(err, context.Canceled) {
		t.Errorf("gave up while it was written: %v", err)
	}

	giveUp, cancel = context.WithCancel(context.Background())
	withdrawn := make(chan error, 1)
	go func() {
		_, err := st.Append(giveUp, single("s", "withdrawn"))
		withdrawn <- err
	}()
	waitFor(t, func() bool { return st.Status().Queued == 1 })
	cancel()
	if err := <-withdrawn; !errors.Is(err, context.Canceled) || errors.Is(err, ErrUncertain) {
		t.Errorf("gave up while waiting: %v", err)
	}

	large := Batch{}
	for range BatchLenMax / PayloadLenMax {
		large.Entries = append(large.Entries, Entry{Stream: "large", Payload: make([]byte, PayloadLenMax)})
	}
	const fit = queueLenMax/BatchLenMax - 1
	var all sync.WaitGroup
	for range fit {
		all.Go(func() {
			if _, err := st.Append(context.Background(), large); err != nil {
				t.Error(err)
			}
		})
	}
	waitFor(t, func() bool { return st.Status().Queued == fit+1 })
	within(t, "a refusal", func() {
		if _, err := st.Append(context.Background(), large); !errors.Is(err, ErrBusy) {
			t.Errorf("more than the queue takes: %v", err)
		}
	})
	if n := st.Status().Busy; n != 1 {
		t.Errorf("%d refusals were counted", n)
	}
	all.Go(func() { // what is small still fits
		if _, err := st.Append(context.Background(), single("s", "small")); err != nil {
			t.Error(err)
		}
	})
	waitFor(t, func() bool { return st.Status().Queued == fit+2 })
	release()
	all.Wait()
	r, err := st.Append(context.Background(), written)
	if err != nil || !r.Repeated || r.Sequences[0] != 2 {
		t.Errorf("repeated: %+v, %v", r, err)
	}
	var said []string
	for _, e := range everything(t, st, "s") {
		said = append(said, string(e.Payload))
	}
	if !slices.Equal(said, []string{"first", "written", "small"}) {
		t.Errorf("the stream says %q", said)
	}
	if s, err := st.Describe("large"); err != nil || s.Last != fit*BatchLenMax/PayloadLenMax {
		t.Errorf("%+v, %v", s, err)
	}
}

// waitFor waits until something is so.
func waitFor(t *testing.T, so func() bool) {
	t.Helper()
	within(t, "waiting", func() {
		for !so() {
			time.Sleep(time.Millisecond)
		}
	})
}

// TestQueueCalls fills the queue with calls instead of bytes.
func TestQueueCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q queue
		q.init()
		put := func() error { return q.put(&request{done: make(chan struct{})}) }
		for n := range queueMax {
			if err := put(); err != nil {
				t.Fatalf("call %d: %v", n, err)
			}
		}
		if err := put(); !errors.Is(err, ErrBusy) {
			t.Fatalf("one more than %d: %v", queueMax, err)
		}
		if group := q.take(nil); len(group) != groupMax || q.len() != queueMax-groupMax {
			t.Fatalf("a group of %d leaves %d", len(group), q.len())
		}
		q.close()
		if err := put(); !errors.Is(err, ErrClosed) {
			t.Fatalf("after the close: %v", err)
		}
		n := 0
		for group := q.take(nil); len(group) > 0; group = q.take(group[:0]) {
			n += len(group)
		}
		if n != queueMax-groupMax {
			t.Fatalf("%d were taken after the close", n)
		}
	})
}
