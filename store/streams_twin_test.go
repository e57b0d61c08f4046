package store

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/truechimer/truechimer/hlc"
)

// twin is what the streams of a store should be: slices, and linear searches in them.
type twin struct {
	streams  map[string]*twinStream
	log      []*twinEvent // all that was ever appended, in the order of commits
	keys     map[string]twinKey
	timeline int           // rebases
	last     hlc.Timestamp // greatest that was given to anything in this timeline
}

// twinStream is a stream that was created at some time.
type twinStream struct {
	exists        bool
	created       hlc.Timestamp
	events        []*twinEvent // every one there ever was
	base          uint64       // those up to it were removed
	baseTimestamp hlc.Timestamp
	lastTimestamp hlc.Timestamp
	retention     Retention
}

// twinEvent is an event and what became of it.
type twinEvent struct {
	Event
	timeline         int
	trimmed, deleted bool
}

// twinKey is an idempotency key that was used.
type twinKey struct {
	batch   Batch
	receipt Receipt
}

func newTwin() *twin {
	return &twin{streams: map[string]*twinStream{}, keys: map[string]twinKey{}}
}

// live returns a stream that exists, or nil.
func (m *twin) live(name string) *twinStream {
	if s := m.streams[name]; s != nil && s.exists {
		return s
	}
	return nil
}

func (s *twinStream) lastSequence() uint64 { return uint64(len(s.events)) }

// left returns the events that were not removed.
func (s *twinStream) left() []*twinEvent { return s.events[s.base:] }

// describe says what Describe should.
func (s *twinStream) describe(name string) Stream {
	d := Stream{
		Name: name, Created: s.created, First: s.base + 1, Last: s.lastSequence(),
		LastTimestamp: s.lastTimestamp, Retention: s.retention,
	}
	for _, e := range s.left() {
		d.Bytes += uint64(len(e.Payload))
	}
	return d
}

// scope is what an idempotency key is bound to.
func (b *Batch) scope() string {
	text := fmt.Sprintf("%q", b.Key)
	for i, e := range b.Entries {
		if i == 0 || e.Stream != b.Entries[i-1].Stream {
			text += fmt.Sprintf(" %q", e.Stream)
		}
	}
	return text
}

// same reports whether two batches append the same on the same condition, for the same one.
func (b *Batch) same(o *Batch) bool {
	return b.Principal == o.Principal && slices.EqualFunc(b.Entries, o.Entries, func(x, y Entry) bool {
		if (x.Expected == nil) != (y.Expected == nil) || x.Expected != nil && *x.Expected != *y.Expected {
			return false
		}
		return x.Stream == y.Stream && bytes.Equal(x.Payload, y.Payload)
	})
}

// judge returns what an append should be answered with: sequences, or an error.
func (m *twin) judge(b *Batch) (Receipt, error) {
	if b.Key != "" {
		if k, ok := m.keys[b.scope()]; ok {
			if !k.batch.same(b) {
				return Receipt{}, ErrKeyReused
			}
			r := k.receipt
			r.Repeated = true
			return r, nil
		}
	}
	next := map[string]uint64{}
	var r Receipt
	for _, e := range b.Entries {
		last, ok := next[e.Stream]
		if s := m.streams[e.Stream]; !ok && s != nil {
			last = s.lastSequence()
		}
		if e.Expected != nil && *e.Expected != last {
			return Receipt{}, &ConflictError{Stream: e.Stream, Expected: *e.Expected, Last: last}
		}
		next[e.Stream] = last + 1
		r.Sequences = append(r.Sequences, last+1)
	}
	return r, nil
}

// floor returns what the timestamps of an append have to be above.
func (m *twin) floor(b *Batch) hlc.Timestamp {
	floor := max(m.last, b.Observe)
	for _, e := range b.Entries {
		if s := m.live(e.Stream); s != nil {
			floor = max(floor, s.lastTimestamp)
		}
	}
	return floor
}

// create makes a stream at a timestamp.
func (m *twin) create(name string, at hlc.Timestamp, r Retention) {
	s := m.streams[name]
	if s == nil {
		s = &twinStream{}
		m.streams[name] = s
	}
	s.exists, s.created, s.retention = true, at, r
	s.baseTimestamp = min(s.lastTimestamp, at-1)
	s.lastTimestamp = s.baseTimestamp
}

// append appends what was acknowledged.
func (m *twin) append(b *Batch, r Receipt, epoch uint64) {
	for i, e := range b.Entries {
		at := r.Timestamp + hlc.Timestamp(i)
		if m.live(e.Stream) == nil {
			m.create(e.Stream, at, Retention{})
		}
		s := m.streams[e.Stream]
		event := &twinEvent{timeline: m.timeline, Event: Event{Stream: e.Stream, Sequence: s.lastSequence() + 1, Timestamp: at, Payload: slices.Clone(e.Payload), Epoch: epoch, Node: 7}}
		s.events, s.lastTimestamp = append(s.events, event), at
		m.log = append(m.log, event)
	}
	m.last = r.Timestamp + hlc.Timestamp(len(b.Entries)-1)
	if b.Key != "" {
		m.keys[b.scope()] = twinKey{batch: *b, receipt: r}
	}
}

// trim removes events of a stream up to base, and returns how many.
func (s *twinStream) trim(base uint64, deleted bool) (n uint64) {
	for ; s.base < base; s.base++ {
		s.events[s.base].trimmed, n = true, n+1
		s.baseTimestamp = s.events[s.base].Timestamp
	}
	for _, e := range s.events {
		e.deleted = e.deleted || deleted
	}
	return n
}

// keeps returns the base that the retention of a stream asks for, now being physical time.
func (s *twinStream) keeps(now int64) uint64 {
	r, base := s.retention, s.base
	for ; base < s.lastSequence(); base++ {
		bytes := uint64(0)
		for _, e := range s.events[base:] {
			bytes += uint64(len(e.Payload))
		}
		old := r.Age != 0 && s.events[base].Timestamp < hlc.FromUnix(now-int64(r.Age))
		many := r.Count != 0 && s.lastSequence()-base > r.Count
		if !old && !many && (r.Bytes == 0 || bytes <= r.Bytes) {
			break
		}
	}
	return base
}

// read returns what a query should give, on all of its pages.
func (m *twin) read(name string, q Query) ([]Event, error) {
	s := m.live(name)
	switch {
	case s == nil:
		return nil, ErrNoStream
	case q.To != 0 && q.From > q.To || q.Until != 0 && q.Since > q.Until:
		return nil, ErrRange
	case q.From != 0 && q.From <= s.base:
		return nil, &TrimmedError{Stream: name, First: s.base + 1}
	}
	var events []Event
	for _, e := range s.left() {
		if e.Sequence >= q.From && (q.To == 0 || e.Sequence <= q.To) && e.Timestamp >= q.Since && (q.Until == 0 || e.Timestamp <= q.Until) {
			events = append(events, e.Event)
		}
	}
	if q.Reverse {
		slices.Reverse(events)
	}
	return events, nil
}

// cut returns what a Cut at ts should give.
func (m *twin) cut(ts hlc.Timestamp, sel Selection) (cuts []StreamCut, trimmed bool) {
	for _, name := range m.names() {
		s := m.live(name)
		if s == nil || s.created > ts || !selects(sel, name) {
			continue
		}
		one := StreamCut{Name: name, First: s.base + 1, Last: s.base, LastTimestamp: s.baseTimestamp}
		if s.baseTimestamp > ts { // more is gone than the state at ts needs
			trimmed = true
		}
		for _, e := range s.left() {
			if e.Timestamp <= ts {
				one.Last, one.LastTimestamp = e.Sequence, e.Timestamp
			}
		}
		cuts = append(cuts, one)
	}
	return cuts, trimmed
}

// names returns the names of all streams there ever were, in order.
func (m *twin) names() []string {
	var names []string
	for name := range m.streams {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// selects reports whether a selection has a stream in it.
func selects(sel Selection, name string) bool {
	if len(sel.Names) > 0 {
		return slices.Contains(sel.Names, name)
	}
	return strings.HasPrefix(name, sel.Prefix)
}

// behind returns the events of a selection above a timestamp, in the order of their
// timestamps, removed ones too.
func (m *twin) behind(sel Selection, at hlc.Timestamp) []*twinEvent {
	var events []*twinEvent
	for _, e := range m.log {
		if e.Timestamp > at && selects(sel, e.Stream) {
			events = append(events, e)
		}
	}
	slices.SortStableFunc(events, func(x, y *twinEvent) int { return cmp.Compare(x.Timestamp, y.Timestamp) })
	return events
}

// equalEvents reports whether two lists of events are the same.
func equalEvents(x, y []Event) bool { return slices.EqualFunc(x, y, equalEvent) }

func equalEvent(x, y Event) bool {
	return x.Stream == y.Stream && x.Sequence == y.Sequence && x.Timestamp == y.Timestamp &&
		x.Epoch == y.Epoch && x.Node == y.Node && bytes.Equal(x.Payload, y.Payload)
}

// sameError reports whether err is what was wanted, with the same figures.
func sameError(err, want error) bool {
	var conflict, wantConflict *ConflictError
	if errors.As(want, &wantConflict) {
		return errors.As(err, &conflict) && *conflict == *wantConflict
	}
	var trimmed, wantTrimmed *TrimmedError
	if errors.As(want, &wantTrimmed) {
		return errors.As(err, &trimmed) && *trimmed == *wantTrimmed
	}
	return errors.Is(err, want)
}
