package discipline

// The selection: whom to believe, and what they say together.
//
// Each source that can be used brings an interval, its estimate ± its root distance. The
// intersection finds the majority; clustering then sets aside, while more than three are
// left, the survivor that differs most from the others as long as it differs by more than
// they are noisy; the rest is combined, each weighed by the inverse square of its root
// distance. Every source that is not combined has one named reason, the first that applies.
//
// The bound. If every combined source is right to within its distance λi, their weighted mean
// is right to within the weighted mean of the λi: that is proven, and so root delay and root
// dispersion of the estimate are those means. It is never less than what the intersection
// says, whose ends are how far the truth can be from the mean if the majority is right.
//
// Source: RFC 5905, section 11.2; the weights are RFC 5905's 1/λ made steeper, which is what
// independent errors in proportion to λ call for.

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

const (
	// clusterMin is how many survivors clustering leaves. Source: RFC 5905, NMIN.
	clusterMin = 3
	// settleTime is how long the first estimate waits for sources that answer: as long as a
	// server of NIST takes to be asked four times, and some seconds.
	settleTime = 20 * time.Second
	// peerSlack is how much worse than the best a system peer may become and stay it: a
	// clock that hops between equals changes its refid for nothing.
	peerSlack = 2
)

// Discipline holds the sources and judges them. Not for concurrent use.
type Discipline struct {
	options Options
	sources []*source
	opened  SourceID

	peer     SourceID // the last one; 0: none
	rate     float64  // of the last estimate
	skew     float64  // 0: there was none
	updated  time.Duration
	updates  uint64
	settled  bool // there was an estimate since the start, or since Restart
	verdicts []Verdict
	list     []candidate  // of the selection that runs
	voters   []*candidate // of the same
	said     following
}

// New returns a Discipline without sources.
func New(o Options) *Discipline {
	o.MinSources = max(1, o.MinSources)
	return &Discipline{options: o, rate: o.Frequency, skew: o.Skew}
}

// Set changes the rules from the next Select on; the rate that was known at the start stays.
func (d *Discipline) Set(o Options) {
	d.options.MinSources, d.options.DistanceMax = max(1, o.MinSources), o.DistanceMax
}

// Open adds a source. IDs are never zero and never used again.
func (d *Discipline) Open(o SourceOptions) SourceID {
	d.opened++
	d.sources = append(d.sources, &source{id: d.opened, options: o, reach: reachUnknown})
	return d.opened
}

// reachUnknown is the reach of a source that was not polled yet.
const reachUnknown = 1

// Close removes a source; one that is not there is none of its business.
func (d *Discipline) Close(id SourceID) {
	d.sources = slices.DeleteFunc(d.sources, func(s *source) bool { return s.id == id })
	if len(d.sources) == 0 {
		d.settled = false // others take their place, and begin as at a start
	}
}

func (d *Discipline) find(id SourceID) *source {
	i := slices.IndexFunc(d.sources, func(s *source) bool { return s.id == id })
	if i < 0 {
		return nil
	}
	return d.sources[i]
}

// Add takes a good sample of a source, and returns the poll interval that would serve its
// filter best. A sample that is not newer than the one before is passed over.
func (d *Discipline) Add(id SourceID, sample Sample) (poll time.Duration) {
	s := d.find(id)
	if s == nil {
		return 0
	}
	rate, deviation := d.rate, max(rateDoubt, confident*d.skew)
	if d.skew == 0 {
		deviation = rateUnknown
	}
	return s.add(sample, rate, deviation)
}

// Reach tells which of the last eight polls of a source were answered, the latest in the
// lowest bit.
func (d *Discipline) Reach(id SourceID, reach uint8) {
	if s := d.find(id); s != nil {
		s.reach = reach
		s.lost = s.lost || reach&1 == 0
	}
}

// Restart forgets all offsets and keeps the rates: after the machine slept. The next estimate
// waits for the sources as the first one did.
func (d *Discipline) Restart() {
	for _, s := range d.sources {
		s.reset()
		s.seen = false
	}
	d.updated, d.settled = math.MinInt64, false
}

// candidate is a source on its way through the selection.
type candidate struct {
	*source
	belief
	verdict *Verdict
	offset  float64 // to the reference of this selection
	weight  float64
	elder   bool // trusted, and in agreement with the others that are
}

// interval is where the truth has to be if the source is right: within its distance, and
// within what its operator states of it besides.
func (c *candidate) interval() Interval {
	distance := c.distance.Seconds() + c.options.ProviderError.Seconds()
	return Interval{c.offset - distance, c.offset + distance}
}

// Select judges all sources at the local instant now, which must not be before the samples.
// The Verdicts are valid until the next call.
func (d *Discipline) Select(now time.Duration) Selection {
	candidates := d.candidates(now)
	s := Selection{Local: now, Verdicts: d.verdicts}
	if len(candidates) == 0 {
		s.Reason = d.nobody()
		return s
	}
	if !d.settled && d.settling(now, len(candidates)) {
		s.Reason = "the sources are still being heard for the first time"
		return s
	}
	reference := candidates[0].remote
	for i := range candidates {
		candidates[i].offset = seconds(candidates[i].remote - reference)
	}
	survivors, found, reason := d.agree(candidates)
	if reason != "" {
		s.Reason = reason
		return s
	}
	agreeing := len(survivors)
	survivors = cluster(prefer(survivors))
	peer := d.combine(&s, now, survivors, found, reference)
	s.Valid, s.Peer = true, peer.id
	s.Reason = d.follows(peer, agreeing)
	for i := range candidates {
		c := &candidates[i]
		c.verdict.Offset = c.offset - seconds(s.Estimate.Remote-reference)
	}
	return s
}

// candidates begins a verdict for each source, and returns those that may take part.
func (d *Discipline) candidates(now time.Duration) []candidate {
	d.verdicts = d.verdicts[:0]
	for _, s := range d.sources {
		d.verdicts = append(d.verdicts, Verdict{ID: s.id, Status: Waiting, Sample: s.last})
	}
	list := d.list[:0]
	honest := false // a candidate that does not smear
	for i, s := range d.sources {
		if !s.seen {
			s.seen, s.since = true, now
		}
		v := &d.verdicts[i]
		if s.samples == 0 {
			if s.reach == 0 {
				v.Status = Unreachable
			}
			continue
		}
		c := candidate{source: s, belief: s.believe(now), verdict: v}
		c.tell()
		switch {
		case s.reach == 0:
			v.Status = Unreachable
		case s.options.NoSelect:
			v.Status = NotSelected
		case s.samples < samplesMin:
			v.Status = Waiting
		case s.alone() && !s.options.Trust:
			v.Status = Alone
		case c.distance > d.options.DistanceMax:
			v.Status = Distant
		default:
			list = append(list, c)
			honest = honest || !s.smears()
		}
	}
	d.list = slices.DeleteFunc(list, func(c candidate) bool {
		out := honest && c.smears()
		if out {
			c.verdict.Status = Smearing
		}
		return out
	})
	return d.list
}

func (s *source) smears() bool { return s.options.Smears || s.last.Smeared }

// alone reports whether the source says of itself that it follows nothing but its own clock:
// chronyd and this program name themselves 127.127.1.1, ntpd at stratum 1 its driver. What it
// claims is about that clock, and says nothing of UTC.
func (s *source) alone() bool {
	return s.last.RefID == clock.RefIDLocal() || s.last.Stratum == 1 && s.last.RefID == [4]byte{'L', 'O', 'C', 'L'}
}

// tell says in the verdict what is known of the source.
func (c *candidate) tell() {
	v := c.verdict
	v.Samples, v.Last, v.Remote = c.samples, c.last.Local, c.remote
	v.Deviation, v.Skew = math.Sqrt(c.vx), math.Sqrt(c.vf)
	v.Jitter = c.noise.deviation(c.least+c.median, c.median)
	v.Frequency = c.f
	v.Distance, v.Delay = c.distance, c.witness.Delay
}

// settling reports whether sources that answer have yet to be heard often enough to have a
// say: soon after they were opened, or, where they are as many as the candidates, because
// they began anew. Before the first estimate they are waited for: whoever is heard first would
// be followed else, and may be the one that lies.
func (d *Discipline) settling(now time.Duration, candidates int) bool {
	again := 0
	for _, s := range d.sources {
		if s.reach == 0 || s.options.NoSelect || s.samples >= samplesMin {
			continue
		}
		if now-s.since < settleTime {
			return true
		}
		if s.wild > 0 {
			again++
		}
	}
	return again >= candidates
}

// agree returns the candidates that a majority is made of, or why there is none.
func (d *Discipline) agree(candidates []candidate) (survivors []*candidate, found Intersection, reason string) {
	voters := d.voters[:0]
	for i := range candidates {
		voters = append(voters, &candidates[i])
	}
	d.voters = voters
	elders, reason := trusted(voters)
	if reason != "" {
		return nil, found, reason
	}
	voters = slices.DeleteFunc(voters, func(c *candidate) bool { return c.verdict.Status == Distrusted })
	found, ok := intersect(voters)
	if len(elders) > 0 && (!ok || outvoted(voters, found)) {
		// Whoever does not contradict a trusted source may still outvote it, together with
		// others: then the trusted ones are alone.
		for _, c := range voters {
			if !c.elder {
				c.verdict.Status = Distrusted
			}
		}
		voters = elders
		found, ok = intersect(voters)
	}
	if !ok {
		mark(voters, NoMajority)
		return nil, found, fmt.Sprintf("no majority of %d sources agrees on a time", len(voters))
	}
	required := false
	survivors = voters[:0]
	for i, c := range voters {
		if found.Truechimers[i] {
			survivors = append(survivors, c)
			required = required || c.options.Require
		} else {
			c.verdict.Status = Falseticker
		}
	}
	missing := slices.ContainsFunc(d.sources, func(s *source) bool { return s.options.Require }) && !required
	switch n := len(survivors); {
	case n < d.options.MinSources:
		mark(survivors, TooFew)
		return nil, found, fmt.Sprintf("only %d of the sources agree, and clock.min_sources wants %d", n, d.options.MinSources)
	case missing:
		mark(survivors, Missing)
		return nil, found, "none of the sources that the configuration requires is among those that agree"
	}
	return survivors, found, ""
}

// trusted marks those that contradict the trusted ones, and returns these as far as they
// agree with each other; none where there are none.
func trusted(voters []*candidate) (elders []*candidate, reason string) {
	for _, c := range voters {
		if c.options.Trust {
			elders = append(elders, c)
		}
	}
	if len(elders) == 0 {
		return nil, ""
	}
	found, ok := intersect(elders)
	if !ok {
		mark(voters, NoMajority)
		return nil, "the sources that the configuration trusts do not agree with each other"
	}
	for i, c := range elders {
		c.elder = found.Truechimers[i]
	}
	for _, c := range voters {
		if i := c.interval(); i.Low > found.High || i.High < found.Low {
			c.verdict.Status = Distrusted
		}
	}
	return slices.DeleteFunc(elders, func(c *candidate) bool { return !c.elder }), ""
}

// outvoted reports whether one of the trusted sources is outvoted.
func outvoted(voters []*candidate, found Intersection) bool {
	for i, c := range voters {
		if c.elder && !found.Truechimers[i] {
			return true
		}
	}
	return false
}

func intersect(voters []*candidate) (Intersection, bool) {
	var room [sourcesUsual]Interval
	intervals := room[:0]
	for _, c := range voters {
		intervals = append(intervals, c.interval())
	}
	return Intersect(intervals)
}

func mark(list []*candidate, status Status) {
	for _, c := range list {
		c.verdict.Status = status
	}
}

// prefer leaves the preferred survivors alone where there are any.
func prefer(survivors []*candidate) []*candidate {
	if !slices.ContainsFunc(survivors, func(c *candidate) bool { return c.options.Prefer }) {
		return survivors
	}
	return slices.DeleteFunc(survivors, func(c *candidate) bool {
		if !c.options.Prefer {
			c.verdict.Status = NotPreferred
		}
		return !c.options.Prefer
	})
}

// cluster sets aside the survivor that differs most from the others, as long as it differs by
// more than the quietest of them is noisy and more than clusterMin are left.
func cluster(survivors []*candidate) []*candidate {
	for len(survivors) > clusterMin {
		worst, most, quietest := 0, -1.0, math.Inf(1)
		for i, c := range survivors {
			var sum float64
			for _, other := range survivors {
				sum += (c.offset - other.offset) * (c.offset - other.offset)
			}
			if spread := math.Sqrt(sum / float64(len(survivors)-1)); spread > most {
				worst, most = i, spread
			}
			quietest = math.Min(quietest, c.verdict.Jitter)
		}
		if most < quietest {
			break
		}
		survivors[worst].verdict.Status = Outlier
		survivors = slices.Delete(survivors, worst, worst+1)
	}
	return survivors
}

// nameable reports whether a clock that names this source as its peer can be followed itself.
// Otherwise one source could end the service by the stratum that it claims.
func (c *candidate) nameable() bool { return c.last.Stratum+1 < clock.StratumUnsynchronised }

// choosePeer returns the survivor that gives its name to the estimate: the last one as long
// as it is not much worse than the best.
func (d *Discipline) choosePeer(survivors []*candidate) *candidate {
	best := slices.MinFunc(survivors, func(a, b *candidate) int {
		if a.nameable() != b.nameable() {
			if a.nameable() {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.id, b.id))
	})
	for _, c := range survivors {
		if c.id == d.peer && c.nameable() && c.distance <= peerSlack*best.distance {
			best = c
		}
	}
	d.peer = best.id
	return best
}

// combine makes the estimate of the survivors, and returns the system peer.
func (d *Discipline) combine(s *Selection, now time.Duration, survivors []*candidate, found Intersection, reference int64) *candidate {
	var sum, rates float64
	for _, c := range survivors {
		c.weight = 1 / math.Max(c.distance.Seconds()*c.distance.Seconds(), 1e-18)
		sum += c.weight
		rates += 1 / (c.vf + 1e-24)
	}
	peer := d.choosePeer(survivors)
	e := &s.Estimate
	*e = Estimate{Local: now, Stratum: peer.last.Stratum + 1, RefID: peer.options.RefID}
	var offset, rootDelay, rootDispersion, providerError float64
	for _, c := range survivors {
		w, wf := c.weight/sum, 1/(c.vf+1e-24)/rates
		c.verdict.Status, c.verdict.Weight = Combined, w
		offset += w * c.offset
		rootDelay += w * c.rootDelay.Seconds()
		rootDispersion += w * c.rootDispersion.Seconds()
		providerError += w * c.options.ProviderError.Seconds()
		e.Frequency += wf * c.f
		e.Trend += wf * c.d
		e.Skew += wf * c.verdict.Skew
		e.Deviation += w * c.verdict.Deviation
		e.GrowthPPM, e.Wander = math.Max(e.GrowthPPM, c.growthPPM), math.Max(e.Wander, c.spread)
		e.Bend = math.Max(e.Bend, c.turn)
		e.Updated = max(e.Updated, c.last.Local)
	}
	// Who has a say in the rate may be wrong by more than he knows, within what his interval
	// allows: the bound has to grow as fast as any of them says that the clock runs away.
	for _, c := range survivors {
		e.GrowthPPM = math.Max(e.GrowthPPM, (math.Abs(c.f-e.Frequency)+c.verdict.Skew)*1e6)
	}
	peer.verdict.Status = Selected
	e.Remote = reference + int64(nanoseconds(offset))
	e.RootDelay = ceil(rootDelay)
	rootDispersion = math.Max(rootDispersion, math.Max(found.High-offset, offset-found.Low)-rootDelay/2)
	e.RootDispersion = ceil(rootDispersion)
	e.ProviderError = ceil(providerError)
	e.Leap = majority(survivors)
	if e.Updated > d.updated || d.updates == 0 {
		d.updated = e.Updated
		d.updates++
	}
	e.Updates, d.settled = d.updates, true
	d.rate, d.skew = e.Frequency, e.Skew
	return peer
}

// ceil returns seconds as a duration that is not less, saturating.
func ceil(s float64) time.Duration { return nanoseconds(math.Ceil(s*1e9) * 1e-9) }

// majority is the leap that more than half of the survivors announce.
func majority(survivors []*candidate) clock.Leap {
	var count [4]int
	for _, c := range survivors {
		count[c.last.Leap&3]++
	}
	for _, leap := range []clock.Leap{clock.LeapInsert, clock.LeapDelete} {
		if 2*count[leap] > len(survivors) {
			return leap
		}
	}
	return clock.LeapNone
}

// growth returns how fast a bound grows by a rate that is uncertain by skew, in millionths.
func growth(skew float64) float64 { return clock.GrowthPPM(skew * 1e6) }
