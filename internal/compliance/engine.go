package compliance

import (
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/alert"
	"github.com/truechimer/truechimer/internal/rpc"
)

// Options are what an Engine needs.
type Options struct {
	Profiles  []Profile     // without problems, and each name once
	Deviation time.Duration // of a source from the median of the others that is reported; 0: DeviationDefault
	// Grace is for how long after the start it raises no alarm that nothing can be proven, or that
	// sources do not agree yet. It is counted, and on record as a breach, all the same.
	Grace    time.Duration
	Restored Restored // the zero value: there is no journal yet
}

// Engine judges the clocks second by second and says what is to be written and what alarms stand.
// It reads no clock, starts nothing and writes nothing. All methods may be called concurrently; none
// takes longer than a millisecond or so, Status for hundreds of days a few.
type Engine struct {
	asking sync.Mutex // taken before mu: of those who ask for the status one waits for it, whatever their number

	mu        sync.Mutex
	deviation time.Duration
	grace     uint64 // looks

	looks    uint64
	last     Second // the last look, without its sources
	quorum   quorum // at the last look
	trackers []*tracker
	preOpens []*preOpen

	minute  *tally // nil: none is in progress
	seconds seconds
	hours   []*tally // in progress: one, and after a crash those that were not written
	days    days
	waiting []measurement // that are to be counted

	nist       alarm
	quorums    map[string]*alarm // by profile
	deviators  deviators
	lastBreach uint64
	numbers    numbers
}

// Output is what one second comes to.
type Output struct {
	Entries    []*rpc.JournalEntry // to be written in this order
	Conditions []alert.Condition   // all that stand
}

// NewEngine returns an Engine that goes on where the journal ends.
func NewEngine(o Options) *Engine {
	e := &Engine{
		grace:      uint64(max(o.Grace, 0) / time.Second),
		days:       o.Restored.days,
		lastBreach: o.Restored.lastBreach,
		quorums:    map[string]*alarm{},
		deviators:  deviators{alarms: map[sourceKey]*alarm{}, seen: map[sourceKey]bool{}},
		numbers:    newNumbers(o.Restored.sources),
	}
	if e.days == nil {
		e.days = days{}
	}
	for _, m := range o.Restored.minutes {
		e.hourOf(floorDiv(m.Start, hour) * hour).merge(tallyOf(m))
	}
	for _, b := range o.Restored.breaches {
		t := e.tracker(judged{b.Profile, b.Clock})
		t.recent, t.open = append(t.recent, proto.CloneOf(b)), nil
		if b.EndUnixNs == 0 { // only the latest can go on
			t.open, t.carried = t.recent[len(t.recent)-1], true
		}
	}
	e.set(o.Profiles, o.Deviation, o.Restored.preOpens)
	return e
}

// Set puts other profiles into force from the next second on. What goes on under the same name goes
// on; breaches of a profile that is gone end.
func (e *Engine) Set(profiles []Profile, deviation time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	last := map[string]*rpc.PreOpen{}
	for _, c := range e.preOpens {
		last[c.profile.Name] = c.last
	}
	e.set(profiles, deviation, last)
}

func (e *Engine) set(profiles []Profile, deviation time.Duration, last map[string]*rpc.PreOpen) {
	if e.deviation = deviation; deviation <= 0 {
		e.deviation = DeviationDefault
	}
	for _, t := range e.trackers {
		t.profile = nil
	}
	before := e.preOpens
	e.preOpens = nil
	for _, p := range profiles {
		p.Holidays = slices.Clone(p.Holidays)
		for _, clock := range []rpc.JudgedClock{rpc.JudgedClock_JUDGED_CLOCK_SYSTEM, rpc.JudgedClock_JUDGED_CLOCK_SERVED} {
			e.tracker(judged{p.Name, clock}).profile = &p
		}
		i := slices.IndexFunc(before, func(c *preOpen) bool { return c.profile.Name == p.Name })
		if i >= 0 && before[i].like(&p) {
			before[i].profile = &p
			e.preOpens = append(e.preOpens, before[i])
		} else if c := newPreOpen(&p, last[p.Name]); c != nil {
			e.preOpens = append(e.preOpens, c)
		}
	}
	slices.SortStableFunc(e.trackers, func(a, b *tracker) int { return compareJudged(a.key, b.key) })
}

// tracker returns the tracker of a clock under a profile, a new one where there is none yet.
func (e *Engine) tracker(k judged) *tracker {
	if t := e.find(k); t != nil {
		return t
	}
	t := &tracker{key: k}
	e.trackers = append(e.trackers, t)
	return t
}

func (e *Engine) find(k judged) *tracker {
	for _, t := range e.trackers {
		if t.key == k {
			return t
		}
	}
	return nil
}

// inGrace reports whether it is too early to expect that anything can be proven.
func (e *Engine) inGrace() bool { return e.looks <= e.grace }

// Step takes in one look at the clocks. It is called once a second.
func (e *Engine) Step(s Second) Output {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.Same {
		s.Served = s.System
	}
	var out Output
	e.turn(&s, &out)
	gap := e.looks > 0 && s.Unix-e.last.Unix-int64(s.Step) > int64(gapMin)
	e.looks++
	q := quorumOf(s.Sources)
	e.changed(&s, &out)
	e.judge(&s, &q, gap, &out)
	e.count(&s, &q)
	e.suspect(&s, &q, &out)
	for _, c := range e.preOpens {
		c.look(&s, e.find(judged{c.profile.Name, rpc.JudgedClock_JUDGED_CLOCK_SYSTEM}), &q, &out)
	}
	e.last, e.quorum = s, q
	e.last.Sources = nil
	return out
}

// judge gives the verdicts of a second.
func (e *Engine) judge(s *Second, q *quorum, gap bool, out *Output) {
	for _, t := range e.trackers {
		switch {
		case t.profile == nil:
			t.retire(s.Unix, "the profile is in force no more", out)
		case s.Same && t.key.clock == rpc.JudgedClock_JUDGED_CLOCK_SERVED:
			t.retire(s.Unix, "the served clock is the system clock now, and judged as that", out)
		default:
			t.observe(e, s, q, gap, out)
		}
	}
}

// count adds a second to the minute that it is in.
func (e *Engine) count(s *Second, q *quorum) {
	m := e.minute
	m.look(s, q)
	e.seconds.look(s)
	for _, t := range e.trackers {
		if t.verdict == 0 {
			continue
		}
		m.verdict(t.key, t.verdict)
		if s.Same { // then only the system clock has one
			m.verdict(judged{t.key.profile, rpc.JudgedClock_JUDGED_CLOCK_SERVED}, t.verdict)
		}
	}
	for i := range s.Sources {
		if src := &s.Sources[i]; src.Agrees && src.Number != 0 {
			m.ofSource(src.Number).agreed++
		}
	}
}

// suspect looks for what is wrong with the sources.
func (e *Engine) suspect(s *Second, q *quorum, out *Output) {
	lost := q.nistConfigured && q.nist == 0 && !e.inGrace()
	if e.nist.begins(lost, doubtLooks) {
		e.nist.condition = alert.Condition{
			Name: ConditionNIST, Critical: true,
			Sentence: "no source of NIST agrees any more: the clock cannot be traced to UTC(NIST); see what became of them (truechimer sources)",
		}
	}
	out.Conditions = e.nist.add(out.Conditions)
	for _, t := range e.trackers {
		p := t.profile
		if t.key.clock != rpc.JudgedClock_JUDGED_CLOCK_SYSTEM {
			continue
		}
		if p == nil {
			delete(e.quorums, t.key.profile)
			continue
		}
		a := e.quorums[p.Name]
		if a == nil {
			a = &alarm{}
			e.quorums[p.Name] = a
		}
		if a.begins(q.configured > 0 && !q.meets(p) && !e.inGrace(), doubtLooks) {
			a.condition = alert.Condition{
				Name:     ConditionQuorum,
				Labels:   map[string]string{"profile": p.Name},
				Sentence: p.Name + ": " + q.short(p) + "; see what became of the sources (truechimer sources)",
			}
		}
		out.Conditions = a.add(out.Conditions)
	}
	out.Conditions = e.deviators.look(out.Conditions, s.Sources, e.deviation)
}

// changed puts a change of the served clock on record.
func (e *Engine) changed(s *Second, out *Output) {
	r, was := &s.Served, &e.last.Served
	if e.looks > 1 && r.State == was.State && r.Source == was.Source && r.Stratum == was.Stratum && s.Step == 0 {
		return
	}
	out.Entries = append(out.Entries, &rpc.JournalEntry{What: &rpc.JournalEntry_Clock{Clock: &rpc.ClockChanged{
		State: r.State, Reason: r.Reason, Source: r.Source, Stratum: uint32(r.Stratum), StepNs: int64(s.Step), From: was.State,
	}}})
}

// Acknowledge puts on record who has looked into a breach, when, and what was found, and returns the
// entry that says so and the breach. It fails with ErrNoBreach for one that is not remembered: the last
// thousand of each clock and profile are. Older ones are in the journal (Breaches), for Acknowledged.
func (e *Engine) Acknowledge(id uint64, who, note string, unix int64) (*rpc.JournalEntry, *rpc.Breach, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.trackers {
		for i, b := range t.recent {
			if b.Id != id {
				continue
			}
			b, entry, err := Acknowledged(b, who, note, unix)
			if err != nil {
				return nil, nil, err
			}
			if t.open == t.recent[i] {
				t.open = b
			}
			t.recent[i] = b
			return entry, proto.CloneOf(b), nil
		}
	}
	return nil, nil, ErrNoBreach
}

// Told puts on record that a channel was told of an alarm (ConditionBreach or ConditionUnknown),
// which was raised at since, Unix nanoseconds, with these labels. It returns the entry that
// says so; nil: the alarm is of no breach that is remembered, or it is on record already.
func (e *Engine) Told(labels map[string]string, since int64, channel string) *rpc.JournalEntry {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.trackers {
		if t.key.profile == labels["profile"] && clockName(t.key.clock) == labels["clock"] {
			return t.told(since, channel)
		}
	}
	return nil
}

// SourceNumber returns the number that measurements call a source by, and its entry where that
// is to be written: it is new, or what is known of it has changed. 0: there are too many.
func (e *Engine) SourceNumber(s SourceReading) (uint32, *rpc.JournalEntry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.numbers.of(s)
}

// Measured counts an exchange with a source that was put into the journal at a time, Unix
// nanoseconds, in the hour of that time.
func (e *Engine) Measured(unix int64, m *rpc.Measured) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) < waitingMax {
		e.waiting = append(e.waiting, measurement{
			unix: unix, source: m.Source, offset: m.OffsetNs, delay: int64(m.DelayNs), stratum: m.Stratum, refID: m.Refid,
		})
	}
}
