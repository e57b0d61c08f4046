package compliance

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/alert"
	"github.com/truechimer/truechimer/internal/rpc"
)

const (
	// breachesMax is how many breaches of one clock under one profile are kept in memory, and so
	// the most that are counted in 24 hours.
	breachesMax = 1000
	// worseLooks is how many seconds there are at the least between two records that a breach got worse.
	worseLooks = 60

	breachSourcesMax = 64
	breachToldMax    = 16
	noteMax          = 4096
)

// ErrNoBreach reports that there is no breach with a number, among those that are remembered.
var ErrNoBreach = errors.New("compliance: no such breach: truechimer breach list shows those that there are")

// ErrNote reports a note that is too long.
var ErrNote = fmt.Errorf("compliance: a note has %d bytes at the most: say it shorter", noteMax)

// tracker follows one clock under one profile.
type tracker struct {
	key     judged
	profile *Profile // nil: it is in force no more

	verdict rpc.Verdict // of the last second; unspecified: not judged
	why     why
	since   int64 // since when verdict is so, Unix nanoseconds

	recent  []*rpc.Breach // the latest last
	open    *rpc.Breach   // the latest, as long as it goes on
	calm    int           // compliant seconds in a row
	calmed  int64         // the first of them
	carried bool          // open goes on from before the start: its alarm goes on too
	dirty   bool          // open says more than its last record
	written uint64        // look at which that was

	breach, unknown alarm
}

// observe takes in the verdict of a second.
func (t *tracker) observe(e *Engine, s *Second, q *quorum, gap bool, out *Output) {
	r := &s.System
	if t.key.clock == rpc.JudgedClock_JUDGED_CLOCK_SERVED {
		r = &s.Served
	}
	v, w := t.profile.judge(r, q, s.Smeared)
	if v != t.verdict {
		t.verdict, t.since = v, s.Unix
	}
	t.why = w
	if gap {
		t.calm, t.breach.run, t.unknown.run = 0, 0, 0
	}
	switch {
	case !compliant(v):
		t.calm = 0
		if t.open == nil {
			t.begin(e, s, r, q)
		}
		t.worsen(r)
	case t.open != nil:
		if t.calm == 0 {
			t.calmed = s.Unix
		}
		if t.calm++; t.calm == calmLooks {
			out.Entries = append(out.Entries, t.end(t.calmed))
		}
	}
	if t.open != nil && t.dirty && (t.written == 0 || e.looks-t.written >= worseLooks) {
		out.Entries = append(out.Entries, t.record(e.looks))
	}
	if t.breach.begins(v == rpc.Verdict_VERDICT_BREACH, 1) {
		t.breach.condition = t.condition(ConditionBreach, r, q,
			"look at the sources and at what steers the clock (truechimer status)")
	}
	if t.unknown.begins(v == rpc.Verdict_VERDICT_UNKNOWN && (!e.inGrace() || t.carried), 1) {
		t.unknown.condition = t.condition(ConditionUnknown, r, q,
			"see that sources can be reached and agree (truechimer status)")
	}
	out.Conditions = t.unknown.add(t.breach.add(out.Conditions))
}

func (t *tracker) condition(name string, r *Reading, q *quorum, do string) alert.Condition {
	clock := clockName(t.key.clock)
	return alert.Condition{
		Name: name, Critical: true,
		Labels:   map[string]string{"profile": t.key.profile, "clock": clock},
		Sentence: fmt.Sprintf("%s, %s clock: %s; %s", t.key.profile, clock, t.profile.sentence(t.why, r, q), do),
	}
}

// begin opens a breach.
func (t *tracker) begin(e *Engine, s *Second, r *Reading, q *quorum) {
	e.lastBreach++
	b := &rpc.Breach{
		Id: e.lastBreach, Profile: t.key.profile, Clock: t.key.clock,
		StartUnixNs: s.Unix, PeakNs: -1, ToleranceNs: uint64(t.profile.Tolerance),
		Cause:   t.profile.sentence(t.why, r, q),
		Sources: sourceLines(s.Sources),
	}
	t.recent = append(t.recent, b)
	if over := len(t.recent) - breachesMax; over > 0 {
		t.recent = slices.Delete(t.recent, 0, over)
	}
	b.In_24H = t.within24h(s.Unix)
	t.open, t.carried, t.dirty, t.written = b, false, true, 0
}

// within24h returns how many breaches began in the 24 hours up to a time. Those that began up to a day
// later, before the clock was set back, count too.
func (t *tracker) within24h(unix int64) uint32 {
	n := uint32(0)
	for _, b := range t.recent {
		if d := time.Duration(unix - b.StartUnixNs); d < 24*time.Hour && d > -24*time.Hour {
			n++
		}
	}
	return n
}

// worsen takes in a second that is not compliant.
func (t *tracker) worsen(r *Reading) {
	b := t.open
	if t.verdict > b.Worst {
		b.Worst, t.dirty = t.verdict, true
	}
	if r.Claims && int64(r.Bound) > b.PeakNs {
		b.PeakNs, t.dirty = int64(r.Bound), true
	}
	if r.Claims && magnitude(int64(r.Offset)) > magnitude(b.PeakOffsetNs) {
		b.PeakOffsetNs, t.dirty = int64(r.Offset), true
	}
	if !b.SelfReport && t.profile.reportable(b.PeakNs, b.In_24H) {
		b.SelfReport, t.dirty = true, true
	}
}

// end closes the breach; at is the first second after it. Where the clock was set back meanwhile,
// it ends a second after it began: none is shorter.
func (t *tracker) end(at int64) *rpc.JournalEntry {
	t.open.EndUnixNs = max(at, t.open.StartUnixNs+second)
	entry := breachEntry(t.open)
	t.open = nil
	return entry
}

// retire stops judging, because of what is said.
func (t *tracker) retire(unix int64, because string, out *Output) {
	if t.open != nil {
		t.open.Cause += "; " + because
		out.Entries = append(out.Entries, t.end(unix))
	}
	t.verdict, t.why, t.breach, t.unknown = 0, whyNotLooked, alarm{}, alarm{}
}

// record returns the breach that goes on as it is to be written.
func (t *tracker) record(look uint64) *rpc.JournalEntry {
	t.dirty, t.written = false, look
	return breachEntry(t.open)
}

// told puts on record that a channel was told of the breach that was going on at a time.
func (t *tracker) told(since int64, channel string) *rpc.JournalEntry {
	for _, b := range slices.Backward(t.recent) {
		if b.StartUnixNs > since {
			continue
		}
		if slices.Contains(b.Told, channel) || len(b.Told) == breachToldMax {
			return nil
		}
		b.Told = append(b.Told, channel)
		return breachEntry(b)
	}
	return nil
}

// Acknowledged returns a copy of a breach that says who has looked into it, when, and what was found, and its
// record. It fails for a note that is too long.
func Acknowledged(b *rpc.Breach, who, note string, unix int64) (*rpc.Breach, *rpc.JournalEntry, error) {
	if len(note) > noteMax {
		return nil, nil, ErrNote
	}
	b = proto.CloneOf(b)
	b.AcknowledgedBy, b.AcknowledgedUnixNs, b.Note = who, unix, note
	return b, breachEntry(b), nil
}

func breachEntry(b *rpc.Breach) *rpc.JournalEntry {
	return &rpc.JournalEntry{What: &rpc.JournalEntry_Breach{Breach: proto.CloneOf(b)}}
}

// sourceLines returns the sources as a breach keeps them.
func sourceLines(sources []SourceReading) []string {
	var lines []string
	for i := range sources[:min(len(sources), breachSourcesMax)] {
		s := &sources[i]
		line := s.Name
		if s.Address != "" {
			line += " (" + s.Address + ")"
		}
		lines = append(lines, line+": "+s.Status)
	}
	return lines
}

func magnitude(v int64) int64 {
	if v == math.MinInt64 {
		return math.MaxInt64
	}
	return max(v, -v)
}
