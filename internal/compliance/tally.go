package compliance

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/truechimer/truechimer/internal/rpc"
)

// judged is a clock under a profile.
type judged struct {
	profile string
	clock   rpc.JudgedClock
}

func compareJudged(a, b judged) int {
	return cmp.Or(cmp.Compare(a.profile, b.profile), cmp.Compare(a.clock, b.clock))
}

// counts is how many seconds had each verdict; its index is the verdict less one.
type counts [4]uint32

func (c *counts) add(o *counts) {
	for i, n := range o {
		c[i] += n
	}
}

func (c *counts) total() uint64 {
	return uint64(c[0]) + uint64(c[1]) + uint64(c[2]) + uint64(c[3])
}

// tally is what the seconds of a minute or an hour come to. Both clocks are counted even where
// they are one, so that seconds from before and after a change of that can be added; what is
// written then leaves the second one out.
type tally struct {
	start    int64 // Unix seconds
	observed uint32
	system   clockTally
	served   clockTally
	differs  bool // the served clock was not the system clock in all seconds
	verdicts map[judged]*counts

	agreeingMin, nistMin uint32
	smeared              uint32
	state, source        string // of the last second
	tai                  *int32 // likewise; nil: not known
	sources              map[uint32]*sourceTally
}

// clockTally is what one clock came to.
type clockTally struct {
	bound, offset Distribution
	unclaimed     uint32
}

// sourceTally is what one source came to.
type sourceTally struct {
	offset, delay    Distribution
	agreed, measured uint32
	stratum, refID   uint32 // as it claimed last
}

func newTally(start int64) *tally {
	return &tally{start: start, verdicts: map[judged]*counts{}, sources: map[uint32]*sourceTally{}}
}

// look adds one second, but for its verdicts and sources.
func (t *tally) look(s *Second, q *quorum) {
	t.least(uint32(q.agreeing), uint32(q.nist))
	t.observed++
	t.system.look(&s.System)
	t.served.look(&s.Served)
	t.differs = t.differs || !s.Same
	if s.Smeared || s.System.Smeared || s.Served.Smeared {
		t.smeared++
	}
	t.state, t.source = s.Served.State, s.Served.Source
	t.tai = nil
	if s.TAIKnown {
		tai := int32(s.TAIOffset)
		t.tai = &tai
	}
}

func (c *clockTally) look(r *Reading) {
	if !r.Claims {
		c.unclaimed++
		return
	}
	c.bound.Add(int64(r.Bound), 1)
	c.offset.Add(int64(r.Offset), 1)
}

// least takes in how many sources agreed; before observed is raised.
func (t *tally) least(agreeing, nist uint32) {
	if t.observed == 0 {
		t.agreeingMin, t.nistMin = agreeing, nist
		return
	}
	t.agreeingMin, t.nistMin = min(t.agreeingMin, agreeing), min(t.nistMin, nist)
}

// of returns the counts of a clock under a profile.
func (t *tally) of(k judged) *counts {
	c := t.verdicts[k]
	if c == nil {
		c = &counts{}
		t.verdicts[k] = c
	}
	return c
}

// verdict adds a second's verdict.
func (t *tally) verdict(k judged, v rpc.Verdict) { t.of(k)[v-1]++ }

// ofSource returns what a source came to.
func (t *tally) ofSource(number uint32) *sourceTally {
	s := t.sources[number]
	if s == nil {
		s = &sourceTally{}
		t.sources[number] = s
	}
	return s
}

// measure adds a measurement.
func (t *tally) measure(m measurement) {
	s := t.ofSource(m.source)
	s.measured++
	s.offset.Add(m.offset, 1)
	s.delay.Add(m.delay, 1)
	s.stratum, s.refID = m.stratum, m.refID
}

// merge adds the seconds of another tally, which are later ones.
func (t *tally) merge(o *tally) {
	if o.observed > 0 {
		t.least(o.agreeingMin, o.nistMin)
		t.state, t.source, t.tai = o.state, o.source, o.tai
	}
	t.observed += o.observed
	t.system.merge(&o.system)
	t.served.merge(&o.served)
	t.differs = t.differs || o.differs
	t.smeared += o.smeared
	for k, c := range o.verdicts {
		t.of(k).add(c)
	}
	for n, s := range o.sources {
		into := t.ofSource(n)
		into.offset.Merge(&s.offset)
		into.delay.Merge(&s.delay)
		into.agreed += s.agreed
		into.measured += s.measured
		if s.measured > 0 {
			into.stratum, into.refID = s.stratum, s.refID
		}
	}
}

func (c *clockTally) merge(o *clockTally) {
	c.bound.Merge(&o.bound)
	c.offset.Merge(&o.offset)
	c.unclaimed += o.unclaimed
}

// proto returns the tally as the journal keeps it.
func (t *tally) proto(rawSequence uint64) *rpc.Summary {
	m := &rpc.Summary{
		Start: t.start, Observed: t.observed,
		System:      t.system.proto(),
		AgreeingMin: t.agreeingMin, AgreeingNistMin: t.nistMin,
		RawSequence: rawSequence,
		State:       t.state, Source: t.source, Smeared: t.smeared, TaiOffset: t.tai,
	}
	if t.differs {
		m.Served = t.served.proto()
	}
	for _, k := range slices.SortedFunc(maps.Keys(t.verdicts), compareJudged) {
		if k.clock == rpc.JudgedClock_JUDGED_CLOCK_SERVED && !t.differs {
			continue
		}
		c := t.verdicts[k]
		m.Verdicts = append(m.Verdicts, &rpc.VerdictCount{Profile: k.profile, Clock: k.clock, Ok: c[0], Warn: c[1], Breach: c[2], Unknown: c[3]})
	}
	for _, n := range slices.Sorted(maps.Keys(t.sources)) {
		s := t.sources[n]
		m.Sources = append(m.Sources, &rpc.SourceSummaryHour{
			Source: n, Offset: s.offset.Proto(), Delay: s.delay.Proto(), Agreed: s.agreed, Measured: s.measured, Stratum: s.stratum, Refid: s.refID,
		})
	}
	return m
}

func (c *clockTally) proto() *rpc.ClockSummary {
	return &rpc.ClockSummary{Bound: c.bound.Proto(), Offset: c.offset.Proto(), Unclaimed: c.unclaimed}
}

// tallyOf returns what proto was called on.
func tallyOf(m *rpc.Summary) *tally {
	t := newTally(m.Start)
	t.observed, t.smeared = m.Observed, m.Smeared
	t.agreeingMin, t.nistMin = m.AgreeingMin, m.AgreeingNistMin
	t.state, t.source, t.tai = m.State, m.Source, m.TaiOffset
	t.system = clockTallyOf(m.System)
	t.differs = m.Served != nil
	t.served = clockTallyOf(cmp.Or(m.Served, m.System))
	verdictsOf(m, func(k judged, c counts) { t.of(k).add(&c) })
	for _, s := range m.Sources {
		t.sources[s.Source] = &sourceTally{
			offset: DistributionOf(s.Offset), delay: DistributionOf(s.Delay), agreed: s.Agreed, measured: s.Measured,
		}
	}
	return t
}

func clockTallyOf(m *rpc.ClockSummary) clockTally {
	return clockTally{bound: DistributionOf(m.GetBound()), offset: DistributionOf(m.GetOffset()), unclaimed: m.GetUnclaimed()}
}

// verdictsOf visits the verdicts of a summary, those of the served clock also where it is the
// system clock.
func verdictsOf(m *rpc.Summary, visit func(judged, counts)) {
	for _, v := range m.Verdicts {
		c := counts{v.Ok, v.Warn, v.Breach, v.Unknown}
		visit(judged{v.Profile, v.Clock}, c)
		if m.Served == nil && v.Clock == rpc.JudgedClock_JUDGED_CLOCK_SYSTEM {
			visit(judged{v.Profile, rpc.JudgedClock_JUDGED_CLOCK_SERVED}, c)
		}
	}
}

// measurement is what one exchange with a source said.
type measurement struct {
	unix   int64 // when it was put into the journal
	source uint32
	offset int64
	delay  int64

	stratum, refID uint32
}

// seconds is the clock second by second, of the minute that the engine is in.
type seconds struct {
	m    *rpc.Seconds
	same bool // the served clock was the system clock in all seconds
	slew bool // an offset was being removed in one of them
}

func newSeconds(start int64) seconds {
	return seconds{m: &rpc.Seconds{Start: start}, same: true}
}

func (b *seconds) look(s *Second) {
	m := b.m
	m.At = append(m.At, uint32(floorDiv(s.Unix, second)-m.Start))
	bound, offset := s.System.raw()
	m.SystemBoundNs, m.SystemOffsetNs = append(m.SystemBoundNs, bound), append(m.SystemOffsetNs, offset)
	bound, offset = s.Served.raw()
	m.ServedBoundNs, m.ServedOffsetNs = append(m.ServedBoundNs, bound), append(m.ServedOffsetNs, offset)
	m.FrequencyPpt = append(m.FrequencyPpt, ppt(s.FrequencyPPM))
	m.SlewPpt = append(m.SlewPpt, ppt(s.SlewPPM))
	b.same = b.same && s.Same
	b.slew = b.slew || s.SlewPPM != 0
}

// take returns what is to be written; the lists that say nothing are left out.
func (b *seconds) take() *rpc.Seconds {
	m := b.m
	if b.same {
		m.ServedBoundNs, m.ServedOffsetNs = nil, nil
	}
	if !b.slew {
		m.SlewPpt = nil
	}
	return m
}

// raw returns bound and offset as they stand in rpc.Seconds.
func (r *Reading) raw() (bound, offset int64) {
	if !r.Claims {
		return -1, int64(r.Offset)
	}
	return int64(r.Bound), int64(r.Offset)
}

// ppt returns parts per million as parts in 1e12.
func ppt(ppm float64) int64 { return int64(math.Round(ppm * 1e6)) }

const (
	second = int64(1e9)
	minute = 60 // seconds
	hour   = 3600
	day    = 86400
)

// floorDiv returns a/b, brought down; b is above 0.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
