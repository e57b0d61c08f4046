package compliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// fakeChain is a Chain in memory that does as a test says.
type fakeChain struct {
	mu      sync.Mutex
	entries []store.JournalEntry
	appends int
	err     error // of all writes
	signed  []int64
	roots   []int64
	trims   []string
}

func (c *fakeChain) set(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func (c *fakeChain) Append(entries ...store.JournalEntry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.appends++
	c.entries = append(c.entries, entries...)
	return nil
}

func (c *fakeChain) Find(_ context.Context, since, until int64, kinds []uint8, visit func(store.JournalRecord) error) error {
	for i, e := range c.entries {
		if e.Unix >= since && e.Unix < until && slices.Contains(kinds, e.Kind) {
			if err := visit(store.JournalRecord{Track: e.Track, Sequence: uint64(i + 1), Kind: e.Kind, Unix: e.Unix, Payload: e.Payload}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *fakeChain) Tip(store.Track) store.JournalTip { return store.JournalTip{} }

func (c *fakeChain) Sign(unix int64) (store.JournalHead, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.signed = append(c.signed, unix)
	return store.JournalHead{Unix: unix, EvidenceSequence: uint64(len(c.entries))}, c.err
}

func (c *fakeChain) Root(day, unix int64) error {
	c.roots = append(c.roots, day)
	return c.err
}

func (c *fakeChain) Trim(t store.Track, before int64) (uint64, error) {
	c.trims = append(c.trims, fmt.Sprintf("%v %d", t, before))
	return 1, c.err
}

// clockAt is a served clock that a test sets.
type clockAt struct {
	unix int64
	sure bool
}

func (c *clockAt) now() (int64, bool) { return c.unix, c.sure }

func newFakeRecorder(c *fakeChain, clock *clockAt, heads *[]string) *Recorder {
	return NewRecorder(RecorderOptions{
		Chain: c, Now: clock.now, Logger: slog.New(slog.DiscardHandler),
		HandOut: func(h store.JournalHead) {
			if heads != nil {
				*heads = append(*heads, h.String())
			}
		},
	})
}

func stopped(cause string) *rpc.JournalEntry {
	return &rpc.JournalEntry{What: &rpc.JournalEntry_Stopped{Stopped: &rpc.Stopped{Cause: cause}}}
}

func measuredBy(source uint32) *rpc.JournalEntry {
	return &rpc.JournalEntry{What: &rpc.JournalEntry_Measured{Measured: &rpc.Measured{Source: source}}}
}

const aDay = int64(24 * time.Hour)

// Entries are written in their order, once, each on its track, and read back as they were.
func TestRecorder(t *testing.T) {
	c, clock := &fakeChain{}, &clockAt{unix: 100 * aDay}
	r := newFakeRecorder(c, clock, nil)
	r.Add(7, stopped("one"), measuredBy(3))
	r.Add(8, stopped("two"))
	if len(c.entries) != 0 {
		t.Fatal("written before Write")
	}
	if err := r.Write(); err != nil {
		t.Fatal(err)
	}
	r.Add(9)
	if err := r.Write(); err != nil || c.appends != 1 {
		t.Fatalf("%d writes, %v", c.appends, err)
	}
	var tracks []store.Track
	for _, e := range c.entries {
		tracks = append(tracks, e.Track)
	}
	if !slices.Equal(tracks, []store.Track{store.Evidence, store.Raw, store.Evidence}) {
		t.Errorf("tracks %v", tracks)
	}
	var causes []string
	err := r.Find(t.Context(), 0, 100, []Kind{KindStopped}, func(rec Record) error {
		causes = append(causes, fmt.Sprintf("%d %d %s", rec.Sequence, rec.Unix, rec.Entry.GetStopped().Cause))
		return nil
	})
	if want := []string{"1 7 one", "3 8 two"}; err != nil || !slices.Equal(causes, want) {
		t.Errorf("found %v, %v", causes, err)
	}
	c.entries[0].Payload = []byte{0xff}
	if err := r.Find(t.Context(), 0, 100, []Kind{KindStopped}, func(Record) error { return nil }); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("a record that is no message: %v", err)
	}
}

// What the disk does not take waits, in its order; above the limit entries are given up, which
// is an alarm for an hour.
func TestRecorderDisk(t *testing.T) {
	full := errors.New("no space")
	c, clock := &fakeChain{err: full}, &clockAt{unix: 100 * aDay}
	r := newFakeRecorder(c, clock, nil)
	r.Add(1, stopped("first"))
	if err := r.Write(); !errors.Is(err, full) {
		t.Fatalf("Write: %v", err)
	}
	if got := r.Conditions(clock.unix); len(got) != 1 || got[0].Name != "journal_stalled" || !strings.Contains(got[0].Sentence, "1 records wait") {
		t.Fatalf("conditions %+v", got)
	}
	for i := range queueMax + 4 {
		r.Add(int64(2+i), stopped("more"))
	}
	if r.Dropped() != 5 {
		t.Errorf("%d dropped", r.Dropped())
	}
	c.set(nil)
	if err := r.Write(); err != nil {
		t.Fatal(err)
	}
	if len(c.entries) != queueMax || c.entries[0].Unix != 1 || c.appends != queueMax/batchMax {
		t.Errorf("%d entries in %d writes, the first of %d", len(c.entries), c.appends, c.entries[0].Unix)
	}
	if !slices.IsSortedFunc(c.entries, func(a, b store.JournalEntry) int { return int(a.Unix - b.Unix) }) {
		t.Error("the order is another")
	}
	lost := int64(queueMax + 5)
	if got := r.Conditions(lost + int64(time.Minute)); len(got) != 1 || got[0].Name != "journal_loss" || !got[0].Critical {
		t.Errorf("after the loss: %+v", got)
	}
	if got := r.Conditions(lost + int64(lossStands)); got != nil {
		t.Errorf("an hour after the loss: %+v", got)
	}
	// Bytes have a limit too.
	big := strings.Repeat("x", 1<<19)
	c.set(full)
	for range 200 {
		r.Add(1, stopped(big))
	}
	if r.bytes > queueBytesMax || r.bytes < queueBytesMax-2<<20 {
		t.Errorf("%d bytes wait", r.bytes)
	}
}

// An entry that cannot be encoded, or says nothing, is counted and does no harm.
func TestRecorderRefuses(t *testing.T) {
	c := &fakeChain{}
	r := newFakeRecorder(c, &clockAt{}, nil)
	r.Add(1, stopped("\xff"), &rpc.JournalEntry{}, stopped("good"))
	if err := r.Write(); err != nil || len(c.entries) != 1 || r.Dropped() != 2 {
		t.Errorf("%d entries, %d dropped, %v", len(c.entries), r.Dropped(), err)
	}
}

// A head each minute, a root and a clearing each day, as long as the clock is sure of itself.
func TestRecorderTurns(t *testing.T) {
	var heads []string
	c, clock := &fakeChain{}, &clockAt{unix: 100*aDay + int64(time.Hour)}
	r := newFakeRecorder(c, clock, &heads)
	r.Keep(30*24*time.Hour, 0)
	write := func() {
		t.Helper()
		if err := r.Write(); err != nil {
			t.Fatal(err)
		}
	}
	write()
	clock.unix += int64(time.Second)
	write()
	if len(c.signed) != 1 || len(heads) != 1 || r.Head() != heads[0] {
		t.Fatalf("%d heads signed, %d handed out", len(c.signed), len(heads))
	}
	clock.unix += int64(time.Minute)
	write()
	if len(c.signed) != 2 {
		t.Errorf("%d heads", len(c.signed))
	}
	if c.roots != nil || c.trims != nil {
		t.Errorf("a clock that nobody vouches for has made roots %v and removed %v", c.roots, c.trims)
	}
	clock.sure = true
	write()
	write()
	if !slices.Equal(c.roots, []int64{100 * 24 * 3600}) || !slices.Equal(c.trims, []string{fmt.Sprintf("raw %d", clock.unix-30*aDay)}) {
		t.Errorf("roots %v, removed %v", c.roots, c.trims)
	}
	r.Keep(24*time.Hour, 48*time.Hour)
	clock.unix += aDay
	write()
	if len(c.roots) != 2 || len(c.trims) != 3 || !slices.Contains(c.trims, fmt.Sprintf("evidence %d", clock.unix-2*aDay)) {
		t.Errorf("roots %v, removed %v", c.roots, c.trims)
	}
}

// What else waits for the disk is no fault of the journal.
func TestRecorderFlush(t *testing.T) {
	c, flushed := &fakeChain{}, 0
	r := NewRecorder(RecorderOptions{
		Chain: c, Now: (&clockAt{unix: aDay}).now, Logger: slog.New(slog.DiscardHandler),
		Flush: func() error { flushed++; return errors.New("damaged") },
	})
	r.Add(1, stopped("a"))
	if err := r.Write(); err != nil || flushed != 1 || r.Conditions(aDay) != nil {
		t.Errorf("%v, flushed %d times, %+v", err, flushed, r.Conditions(aDay))
	}
}

// Run writes each second, and what came last when it ends. A fenced store ends it at once.
func TestRecorderRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeChain{}
		r := newFakeRecorder(c, &clockAt{unix: aDay}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		for n := range 3 {
			r.Add(1, stopped("a"))
			time.Sleep(writeInterval + time.Millisecond)
			synctest.Wait()
			c.mu.Lock()
			if len(c.entries) != n+1 {
				t.Errorf("%d entries after %d seconds", len(c.entries), n+1)
			}
			c.mu.Unlock()
		}
		r.Add(2, stopped("b"))
		cancel()
		if err := <-done; err != nil || len(c.entries) != 4 {
			t.Errorf("at the end %d entries, %v", len(c.entries), err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c := &fakeChain{err: store.ErrFenced}
		r := newFakeRecorder(c, &clockAt{unix: aDay}, nil)
		done := make(chan error)
		r.Add(1, stopped("a"))
		go func() { done <- r.Run(t.Context()) }()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		r.Add(2, stopped("b"))
		if r.Dropped() != 2 {
			t.Errorf("%d dropped", r.Dropped())
		}
		if got := r.Conditions(2); len(got) != 1 || got[0].Name != "journal_loss" {
			t.Errorf("conditions %+v", got) // the fence has an alarm of its own
		}
	})
}

// Heads are appended to the file; where it cannot be written, or hangs, nobody waits.
func TestHeadFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "heads")
	f := NewHeadFile(filepath.Join(t.TempDir(), "not", "there"), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	f.Add("lost")
	go func() { defer close(done); f.Run(ctx) }()
	for len(f.heads) > 0 {
		time.Sleep(time.Millisecond)
	}
	f.Set(name)
	f.Add("one")
	f.Add("two")
	for text := ""; text != "one\ntwo\n"; {
		b, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if text = string(b); len(text) > len("one\ntwo\n") || strings.HasPrefix(text, "lost") {
			t.Fatalf("the file holds %q", text)
		}
	}
	cancel()
	<-done
	for i := range 100 { // nobody reads any more
		f.Add(fmt.Sprint(i))
	}
	if first := <-f.heads; first != "36" {
		t.Errorf("the oldest that is kept is %s", first)
	}
}
