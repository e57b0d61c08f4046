package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/truechimer/truechimer/hlc"
)

// streamsMachine drives the streams of one store after the other over one disk, beside the
// twin. Its methods are the steps that rapid chooses from.
type streamsMachine struct {
	disk    *vfs.MemFS
	h       *hand
	lead    time.Duration
	t       *Streams
	m       *twin
	sent    []Batch // with idempotency keys, to be repeated
	watches []*watching

	appends, events, bytes, repeated, conflicts, trimmed uint64 // since it was opened
}

// machineNames are few, so that the steps meet.
var machineNames = []string{"a", "a/1", "a/2", "b", "b.x"}

// TestStreamsMachine checks after every step of random lives that the store is what the
// twin is, and what the invariants say of it: H1 to H5 of the timestamps of events, H7 and
// H15 across crashes that lose all that was not synced, some, or none.
func TestStreamsMachine(t *testing.T) {
	leakFree(t)
	rapid.Check(t, func(t *rapid.T) {
		s := &streamsMachine{disk: vfs.NewCrashableMem(), h: newHand(epoch0), m: newTwin()}
		s.lead = rapid.SampledFrom([]time.Duration{time.Second, time.Hour}).Draw(t, "max lead")
		s.open(t)
		defer func() { _ = s.t.shut() }()
		t.Repeat(map[string]func(*rapid.T){
			"":          s.check,
			"append":    s.append,
			"append2":   s.append, // more often than anything else
			"append3":   s.append,
			"repeat":    s.repeat,
			"create":    s.create,
			"delete":    s.delete,
			"trim":      s.trim,
			"retention": s.retention,
			"sweep":     s.sweep,
			"read":      s.read,
			"read2":     s.read,
			"cut":       s.cut,
			"list":      s.list,
			"watch":     s.watch,
			"pull":      s.pull,
			"pull2":     s.pull,
			"resume":    s.resume,
			"forward":   func(t *rapid.T) { s.h.move(duration(t, 3*time.Second)) },
			"back":      func(t *rapid.T) { s.h.move(-duration(t, 3*time.Second)) },
			"crash":     s.crash,
			"stop":      s.stop,
			"rebase":    s.rebase,
		})
	})
}

func (s *streamsMachine) open(t *rapid.T) {
	var err error
	s.t, err = streamsOn(s.disk, "var/data", s.h, IssuerOptions{MaxLead: s.lead}, StreamsOptions{Heartbeat: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	s.appends, s.events, s.bytes, s.repeated, s.conflicts, s.trimmed = 0, 0, 0, 0, 0, 0
}

// crash leaves what was synced, and some of what was not.
func (s *streamsMachine) crash(t *rapid.T) {
	percent := rapid.SampledFrom([]int{0, 50, 100}).Draw(t, "percent")
	left := s.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))})
	s.end(t)
	s.disk = left
	s.open(t)
}

func (s *streamsMachine) stop(t *rapid.T) {
	s.end(t)
	s.open(t)
}

// end closes the store, which ends what watches it.
func (s *streamsMachine) end(t *rapid.T) {
	if err := s.t.shut(); err != nil {
		t.Fatal(err)
	}
	for _, w := range s.watches {
		if w.w == nil {
			continue
		}
		if _, err := w.w.Next(context.Background()); !errors.Is(err, ErrClosed) && !errors.Is(err, ErrTimeline) {
			t.Fatalf("a watch of closed streams: %v", err)
		}
		w.end()
	}
}

func (s *streamsMachine) rebase(t *rapid.T) {
	s.h.move(-duration(t, 3*time.Second))
	if _, err := s.t.issuer.Rebase(); err != nil {
		t.Fatal(err)
	}
	s.m.timeline++
	s.m.last = 0
}

// roomy reports whether the max lead is in nobody's way.
func (s *streamsMachine) roomy(floor hlc.Timestamp) bool {
	floor = max(floor, s.t.issuer.clock.Last())
	return floor.Sub(hlc.FromUnix(s.h.now())) < s.lead-10*time.Millisecond
}

// may ends the test unless err may come from giving out a timestamp above floor.
func (s *streamsMachine) may(t *rapid.T, err error, floor hlc.Timestamp) {
	if !errors.Is(err, hlc.ErrLead) || s.roomy(floor) {
		t.Fatalf("refused: %v", err)
	}
}

// entries draws what to append.
func (s *streamsMachine) entries(t *rapid.T) []Entry {
	next := map[string]uint64{}
	var entries []Entry
	for range rapid.IntRange(1, 6).Draw(t, "entries") {
		e := Entry{Stream: rapid.SampledFrom(machineNames).Draw(t, "stream")}
		e.Payload = rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "payload")
		if rapid.IntRange(0, 20).Draw(t, "long") == 0 {
			e.Payload = append(e.Payload, make([]byte, 200_000)...)
		}
		last, ok := next[e.Stream]
		if known := s.m.streams[e.Stream]; !ok && known != nil {
			last = known.lastSequence()
		}
		switch rapid.IntRange(0, 9).Draw(t, "expected") {
		case 0, 1, 2:
			e.Expected = &last
		case 3:
			wrong := last + rapid.SampledFrom([]uint64{1, ^uint64(0), 5}).Draw(t, "off")
			e.Expected = &wrong
		}
		next[e.Stream] = last + 1
		entries = append(entries, e)
	}
	return entries
}

func (s *streamsMachine) append(t *rapid.T) {
	b := Batch{Entries: s.entries(t)}
	if rapid.IntRange(0, 2).Draw(t, "keyed") == 0 {
		b.Key = fmt.Sprintf("key %d", rapid.IntRange(0, 30).Draw(t, "key"))
		b.Principal = rapid.SampledFrom([]string{"", "alice"}).Draw(t, "principal")
		s.sent = append(s.sent, b)
	}
	if rapid.Bool().Draw(t, "observes") {
		b.Observe = hlc.Timestamp(s.h.now() + rapid.Int64Range(-int64(2*time.Second), int64(s.lead+s.lead/2)).Draw(t, "ahead"))
	}
	s.send(t, b)
}

// repeat sends once more what was sent with a key, or something like it.
func (s *streamsMachine) repeat(t *rapid.T) {
	if len(s.sent) == 0 {
		t.Skip("nothing to repeat")
	}
	b := rapid.SampledFrom(s.sent).Draw(t, "sent")
	b.Entries = slices.Clone(b.Entries)
	e := &b.Entries[rapid.IntRange(0, len(b.Entries)-1).Draw(t, "entry")]
	switch rapid.IntRange(0, 5).Draw(t, "change") {
	case 0:
		e.Payload = append(slices.Clone(e.Payload), 'x')
	case 1:
		e.Stream = rapid.SampledFrom(machineNames).Draw(t, "stream")
	case 2:
		e.Expected = nil
	case 3:
		b.Entries = append(b.Entries, *e)
	}
	s.send(t, b)
}

// send appends, and compares the answer with what the twin says.
func (s *streamsMachine) send(t *rapid.T, b Batch) {
	want, wantErr := s.m.judge(&b)
	floor := s.m.floor(&b)
	got, err := s.t.Append(context.Background(), b)
	var conflict *ConflictError
	if errors.As(wantErr, &conflict) {
		s.conflicts++
	}
	switch {
	case wantErr != nil:
		if !sameError(err, wantErr) {
			t.Fatalf("append: %+v, %v (want %v)", got, err, wantErr)
		}
		return
	case err != nil:
		if want.Repeated {
			t.Fatalf("a repeated append was refused: %v", err)
		}
		s.may(t, err, floor)
		return
	case !slices.Equal(got.Sequences, want.Sequences) || got.Repeated != want.Repeated:
		t.Fatalf("H15: receipt %+v (want %+v)", got, want)
	case want.Repeated:
		if got.Timestamp != want.Timestamp {
			t.Fatalf("repeated at %d, appended at %d", got.Timestamp, want.Timestamp)
		}
		s.repeated++
		return
	}
	if got.Timestamp <= floor {
		t.Fatalf("H1, H2, H15: timestamp %d is not above %d", got.Timestamp, floor)
	}
	s.told(t, got.Timestamp, len(b.Entries))
	s.m.append(&b, got, s.t.issuer.Status().Epoch)
	s.appends++
	s.events += uint64(len(b.Entries))
	for _, e := range b.Entries {
		s.bytes += uint64(len(e.Payload))
	}
}

// told checks timestamps that were given out.
func (s *streamsMachine) told(t *rapid.T, first hlc.Timestamp, n int) {
	now, final := hlc.FromUnix(s.h.now()), first+hlc.Timestamp(n-1)
	c, err := s.t.store.Load()
	if err != nil {
		t.Fatal(err)
	}
	if first <= s.m.last || first < now || final.Sub(now) > s.lead || final >= c.Ceiling {
		t.Fatalf("H1, H3, H4, H5: %d to %d after %d, by a clock at %d, under the ceiling %d", first, final, s.m.last, now, c.Ceiling)
	}
}

// changed compares what a change of a stream returned with the twin.
func (s *streamsMachine) changed(t *rapid.T, got Stream, name string) {
	if want := s.m.streams[name].describe(name); got != want {
		t.Fatalf("changed to %+v (want %+v)", got, want)
	}
}

func (s *streamsMachine) drawRetention(t *rapid.T) Retention {
	return Retention{
		Age:   rapid.SampledFrom([]time.Duration{0, 0, time.Nanosecond, time.Second, time.Hour}).Draw(t, "age"),
		Count: rapid.SampledFrom([]uint64{0, 0, 1, 2, 5}).Draw(t, "count"),
		Bytes: rapid.SampledFrom([]uint64{0, 0, 1, 10, 200_010}).Draw(t, "bytes"),
	}
}

func (s *streamsMachine) create(t *rapid.T) {
	name, r := rapid.SampledFrom(machineNames).Draw(t, "stream"), s.drawRetention(t)
	got, err := s.t.Create(context.Background(), name, r)
	switch {
	case s.m.live(name) != nil:
		if !errors.Is(err, ErrExists) {
			t.Fatalf("created twice: %v", err)
		}
	case err != nil:
		s.may(t, err, 0)
	default:
		s.told(t, got.Created, 1)
		s.m.create(name, got.Created, r)
		s.m.last = got.Created
		s.changed(t, got, name)
	}
}

// existing draws a stream, and reports whether it exists; where not, err has to say so.
func (s *streamsMachine) existing(t *rapid.T, change func(name string) error) (name string, done bool) {
	name = rapid.SampledFrom(machineNames).Draw(t, "stream")
	err := change(name)
	switch {
	case s.m.live(name) == nil:
		if !errors.Is(err, ErrNoStream) {
			t.Fatalf("%q does not exist: %v", name, err)
		}
	case err != nil:
		s.may(t, err, 0)
	default:
		return name, true
	}
	return name, false
}

func (s *streamsMachine) delete(t *rapid.T) {
	var got Stream
	name, done := s.existing(t, func(name string) (err error) {
		got, err = s.t.Delete(context.Background(), name)
		return err
	})
	if !done {
		return
	}
	s.told(t, got.Deleted, 1)
	s.m.last = got.Deleted
	got.Deleted = 0
	s.changed(t, got, name) // as it was
	st := s.m.streams[name]
	s.trimmed += st.trim(st.lastSequence(), true)
	st.exists = false
	for _, w := range s.watches {
		w.deleted = w.deleted || slices.Contains(w.sel.Names, name)
	}
}

func (s *streamsMachine) trim(t *rapid.T) {
	ahead := rapid.Uint64Range(0, 4).Draw(t, "ahead")
	first := uint64(0)
	var got Stream
	name := rapid.SampledFrom(machineNames).Draw(t, "stream")
	st := s.m.live(name)
	if st != nil {
		first = st.base + ahead
	}
	got, err := s.t.Trim(context.Background(), name, first)
	switch {
	case st == nil:
		if !errors.Is(err, ErrNoStream) {
			t.Fatalf("trim of no stream: %v", err)
		}
	case first > st.lastSequence()+1:
		if !errors.Is(err, ErrRange) {
			t.Fatalf("trim to %d of %d: %v", first, st.lastSequence(), err)
		}
	case err != nil:
		s.may(t, err, 0)
	default:
		s.trimmed += st.trim(max(first, 1)-1, false)
		s.changed(t, got, name)
	}
}

func (s *streamsMachine) retention(t *rapid.T) {
	r := s.drawRetention(t)
	var got Stream
	if name, done := s.existing(t, func(name string) (err error) {
		got, err = s.t.SetRetention(context.Background(), name, r)
		return err
	}); done {
		s.m.streams[name].retention = r
		s.changed(t, got, name)
	}
}

func (s *streamsMachine) sweep(t *rapid.T) {
	if !s.roomy(0) {
		t.Skip("nothing can be written")
	}
	if err := s.t.sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, name := range s.m.names() {
		if st := s.m.live(name); st != nil {
			s.trimmed += st.trim(st.keeps(s.h.now()), false)
		}
	}
}

// check compares all of the store with the twin.
func (s *streamsMachine) check(t *rapid.T) {
	for _, name := range machineNames {
		got, err := s.t.Describe(name)
		st := s.m.live(name)
		if st == nil {
			if !errors.Is(err, ErrNoStream) {
				t.Fatalf("%q does not exist: %+v, %v", name, got, err)
			}
			continue
		}
		if want := st.describe(name); err != nil || got != want {
			t.Fatalf("%+v, %v (want %+v)", got, err, want)
		}
		next := st.base
		err = s.t.Scan(context.Background(), name, Query{}, func(e Event) error {
			if next >= st.lastSequence() || !equalEvent(e, st.events[next].Event) {
				return fmt.Errorf("H15: event %d at %d is not as it was appended", e.Sequence, e.Timestamp)
			}
			next++
			return nil
		})
		if err != nil || next != st.lastSequence() {
			t.Fatalf("%q ends at %d (want %d): %v", name, next, st.lastSequence(), err)
		}
	}
	n := s.t.Status()
	if n.Appends != s.appends || n.Events != s.events || n.Bytes != s.bytes || n.Repeated != s.repeated ||
		n.Conflicts != s.conflicts || n.Trimmed != s.trimmed || n.Streams != uint64(len(s.m.streams)) {
		t.Fatalf("counted %+v (want %+v)", n, *s)
	}
}
