package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/truechimer/truechimer/hlc"
)

// instant draws a timestamp around those of events.
func (s *streamsMachine) instant(t *rapid.T) hlc.Timestamp {
	if len(s.m.log) == 0 {
		return hlc.Timestamp(s.h.now())
	}
	e := s.m.log[rapid.IntRange(0, len(s.m.log)-1).Draw(t, "event")]
	return e.Timestamp + hlc.Timestamp(rapid.IntRange(-1, 1).Draw(t, "beside"))
}

// read reads all pages of a query.
func (s *streamsMachine) read(t *rapid.T) {
	name := rapid.SampledFrom(machineNames).Draw(t, "stream")
	q := Query{Reverse: rapid.Bool().Draw(t, "reverse"), Limit: rapid.IntRange(0, 4).Draw(t, "limit")}
	if rapid.Bool().Draw(t, "by sequence") {
		q.From, q.To = rapid.Uint64Range(0, 20).Draw(t, "from"), rapid.Uint64Range(0, 20).Draw(t, "to")
	}
	if rapid.Bool().Draw(t, "since") {
		q.Since = s.instant(t)
	}
	if rapid.Bool().Draw(t, "until") {
		q.Until = s.instant(t)
	}
	want, wantErr := s.m.read(name, q)
	var got []Event
	for {
		p, err := s.t.Read(context.Background(), name, q)
		if wantErr != nil {
			if !sameError(err, wantErr) {
				t.Fatalf("read: %v (want %v)", err, wantErr)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if st := s.m.streams[name].describe(name); p.Stream != st {
			t.Fatalf("read of %+v (want %+v)", p.Stream, st)
		}
		if q.Limit > 0 && len(p.Events) > q.Limit || len(p.Events) == 0 && p.Cursor != "" {
			t.Fatalf("a page of %d events, limit %d, cursor %q", len(p.Events), q.Limit, p.Cursor)
		}
		got = append(got, p.Events...)
		if p.Cursor == "" {
			break
		}
		q = Query{Limit: q.Limit, Cursor: p.Cursor}
	}
	if !equalEvents(got, want) {
		t.Fatalf("read %d events (want %d)", len(got), len(want))
	}
}

func (s *streamsMachine) selection(t *rapid.T) Selection {
	if rapid.Bool().Draw(t, "by prefix") {
		return Selection{Prefix: rapid.SampledFrom([]string{"", "a", "a/", "b.", "z"}).Draw(t, "prefix")}
	}
	return Selection{Names: rapid.SliceOfN(rapid.SampledFrom(machineNames), 1, 3).Draw(t, "names")}
}

// cut asks for the state at an instant that has passed, by this clock.
func (s *streamsMachine) cut(t *rapid.T) {
	ts, sel := min(s.instant(t), s.t.issuer.clock.Last()), s.selection(t)
	got, err := s.t.Cut(context.Background(), ts, sel, "")
	want, trimmed := s.m.cut(ts, sel)
	switch {
	case trimmed && errors.Is(err, ErrTrimmed):
	case errors.Is(err, hlc.ErrLead):
		s.may(t, err, 0)
	case err != nil || trimmed || !slices.Equal(got.Streams, want) || got.After != "" || got.Timestamp != ts:
		t.Fatalf("cut at %d: %+v, %v (want %+v, trimmed %v)", ts, got, err, want, trimmed)
	case s.t.Closed() < ts:
		t.Fatalf("cut at %d, closed at %d", ts, s.t.Closed())
	}
}

func (s *streamsMachine) list(t *rapid.T) {
	prefix := rapid.SampledFrom([]string{"", "a", "a/", "b", "c"}).Draw(t, "prefix")
	limit := rapid.IntRange(1, 3).Draw(t, "limit")
	var got, want []Stream
	for after := ""; ; {
		some, err := s.t.List(prefix, after, limit)
		if err != nil || len(some) > limit {
			t.Fatal(some, err)
		}
		if got = append(got, some...); len(some) < limit {
			break
		}
		after = some[limit-1].Name
	}
	for _, name := range s.m.names() {
		if st := s.m.live(name); st != nil && strings.HasPrefix(name, prefix) {
			want = append(want, st.describe(name))
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("list %+v (want %+v)", got, want)
	}
}

// watching is a watcher, and what it must deliver: everything of its selection above at.
type watching struct {
	sel      Selection
	w        *Watcher // nil: ended, to be resumed by cursor
	at       hlc.Timestamp
	timeline int
	cursor   string          // that goes on behind at; empty: there was no delivery yet
	pulled   bool            // since it was begun or resumed
	begun    map[string]bool // streams of which it has delivered something
	strict   bool            // nothing is left out in silence
	deleted  bool            // a stream that it names was
}

func (w *watching) end() {
	if w.w != nil {
		w.w.Close()
	}
	w.w = nil
}

// noticed returns the timeline that the store is in. It notices a rebase when it gives out
// the next timestamp.
func (s *streamsMachine) noticed() int { return int(s.t.timeline.Load()) }

// watch begins to watch somewhere.
func (s *streamsMachine) watch(t *rapid.T) {
	if len(s.watches) == 6 {
		s.watches[0].end()
		s.watches = s.watches[1:]
	}
	w := &watching{sel: s.selection(t), timeline: s.noticed(), begun: map[string]bool{}}
	var from Start
	kind := rapid.IntRange(0, 3).Draw(t, "start")
	switch kind {
	case 0:
		from.Oldest = true
	case 1:
		from.Time = s.instant(t) + hlc.Timestamp(rapid.SampledFrom([]time.Duration{0, 0, time.Second}).Draw(t, "later"))
		w.at = from.Time - 1
	case 2:
		if s.beginAt(t, w) {
			s.watches = append(s.watches, w)
		}
		return
	}
	var err error
	if w.w, err = s.t.Watch(context.Background(), w.sel, from); err != nil {
		s.may(t, err, 0)
		return
	}
	if kind == 3 {
		w.timeline = s.noticed() // a fresh timestamp has told
		if w.at, w.strict = w.w.at, true; w.at < s.m.last || w.timeline != s.m.timeline {
			t.Fatalf("a watch from now on begins at %d, before %d", w.at, s.m.last)
		}
	}
	s.watches = append(s.watches, w)
}

// beginAt begins to watch at a sequence of one stream, and reports whether it could.
func (s *streamsMachine) beginAt(t *rapid.T, w *watching) bool {
	w.sel = Selection{Names: []string{rapid.SampledFrom(machineNames).Draw(t, "stream")}}
	w.strict = true
	st := s.m.live(w.sel.Names[0])
	from := rapid.Uint64Range(1, 20).Draw(t, "sequence")
	if st != nil && rapid.Bool().Draw(t, "near") {
		from = st.base + 1 + rapid.Uint64Range(0, 3).Draw(t, "behind")
	}
	var err error
	w.w, err = s.t.Watch(context.Background(), w.sel, Start{Sequence: from})
	var want error
	switch {
	case st == nil && from > 1:
		want = ErrNoStream
	case st == nil && s.m.streams[w.sel.Names[0]] != nil && s.m.streams[w.sel.Names[0]].lastSequence() > 0:
		want = ErrTrimmed // it had events, and was deleted
	case st == nil: // from whatever comes, when it is created
	case from <= st.base:
		want = ErrTrimmed
	case from > st.lastSequence()+1:
		want = ErrRange
	case from == st.base+1:
		w.at = st.baseTimestamp
	default:
		w.at = st.events[from-2].Timestamp
	}
	if !errors.Is(err, want) {
		t.Fatalf("watch from sequence %d: %v (want %v)", from, err, want)
	}
	if was := s.m.streams[w.sel.Names[0]]; st == nil && was != nil {
		w.at = was.lastTimestamp // what was deleted before is not missed
	}
	return want == nil
}

// resume goes on with a watch that has ended, where its cursor says.
func (s *streamsMachine) resume(t *rapid.T) {
	for _, w := range s.watches {
		if w.w != nil {
			if rapid.Bool().Draw(t, "drop") {
				w.end()
			}
			continue
		}
		if w.cursor == "" { // it never had one: begin again
			w.at, w.strict, w.timeline = 0, false, s.noticed()
			w.begin(t, s, Start{Oldest: true})
			continue
		}
		got, err := s.t.Watch(context.Background(), w.sel, Start{Cursor: w.cursor})
		if w.timeline != s.noticed() {
			if !errors.Is(err, ErrTimeline) || !errors.Is(err, ErrCursor) {
				t.Fatalf("resumed after a rebase: %v", err)
			}
			w.cursor = ""
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		w.w, w.strict, w.pulled = got, true, false
	}
}

func (w *watching) begin(t *rapid.T, s *streamsMachine, from Start) {
	var err error
	if w.w, err = s.t.Watch(context.Background(), w.sel, from); err != nil {
		t.Fatal(err)
	}
	w.pulled, w.deleted, w.begun = false, false, map[string]bool{}
}

// pull takes from the watchers what they have.
func (s *streamsMachine) pull(t *rapid.T) {
	for _, w := range s.watches {
		if w.w == nil || !rapid.Bool().Draw(t, "pull") {
			continue
		}
		for range rapid.SampledFrom([]int{1, 100}).Draw(t, "deliveries") {
			d, err := w.w.Next(context.Background())
			if err != nil {
				w.failed(t, s, err)
				break
			}
			w.took(t, s, d)
			if len(d.Events) > 0 {
				continue
			}
			if w.timeline != s.m.timeline && s.roomy(0) {
				t.Fatal("a watch did not end after a rebase")
			}
			if s.roomy(0) && d.Closed < s.m.last {
				t.Fatalf("heartbeat closes %d, before %d", d.Closed, s.m.last)
			}
			break
		}
	}
}

// failed checks that there was a reason to end a watch.
func (w *watching) failed(t *rapid.T, s *streamsMachine, err error) {
	behind := s.m.behind(w.sel, w.at)
	missed := slices.ContainsFunc(behind, func(e *twinEvent) bool { return e.trimmed })
	// What was to come when the clock was rebased, and is deleted, is missed when its time comes.
	before := slices.ContainsFunc(behind, func(e *twinEvent) bool { return e.deleted && e.timeline < w.timeline })
	switch {
	case errors.Is(err, ErrTimeline) && w.timeline != s.m.timeline:
	case errors.Is(err, ErrTrimmed) && missed && (w.strict || w.pulled):
	case errors.Is(err, ErrNoStream) && (w.deleted || before):
	default:
		t.Fatalf("a watch ended at %d: %v", w.at, err)
	}
	w.end()
	w.cursor = ""
}

// took compares a delivery with what has to come next.
func (w *watching) took(t *rapid.T, s *streamsMachine, d Delivery) {
	behind := s.m.behind(w.sel, w.at)
	// What may be left out: what was removed before the watch began with the stream, where it
	// begins with what is left; what was deleted where nobody named the stream; and what was
	// removed that is from before a rebase.
	silent := func(e *twinEvent) bool {
		return e.trimmed && (!w.strict && !w.begun[e.Stream] || e.deleted && len(w.sel.Names) == 0 || e.timeline < w.timeline)
	}
	// Two timelines can have events of one timestamp; those come in any order.
	for _, e := range d.Events {
		n := slices.IndexFunc(behind, func(x *twinEvent) bool { return equalEvent(x.Event, e) })
		if n < 0 {
			t.Fatalf("H15: event %d of %q at %d was delivered behind %d to %+v", e.Sequence, e.Stream, e.Timestamp, w.at, *w)
		}
		for _, x := range behind[:n] {
			if x.Timestamp < e.Timestamp && !silent(x) {
				t.Fatalf("H15: event %d of %q at %d was delivered before %+v to %+v", e.Sequence, e.Stream, e.Timestamp, *x, *w)
			}
		}
		w.begun[e.Stream] = true
		w.at, behind = e.Timestamp, slices.Delete(behind, n, n+1)
		behind = slices.DeleteFunc(behind, func(x *twinEvent) bool { return x.Timestamp < w.at })
	}
	if d.Closed < w.at && len(d.Events) > 0 { // without one it may begin in the future
		t.Fatalf("closed at %d, delivered up to %d", d.Closed, w.at)
	}
	for _, x := range behind {
		if x.Timestamp <= d.Closed && !silent(x) {
			t.Fatalf("%+v was not delivered to %+v before %d was closed", *x, *w, d.Closed)
		}
	}
	// A watch that begins in the future looks when it has come.
	w.at, w.cursor, w.pulled = max(w.at, d.Closed), d.Cursor, w.pulled || d.Closed <= s.t.Closed()
}
