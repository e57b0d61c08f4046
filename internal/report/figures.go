package report

import (
	"context"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/rpc"
)

// The figures of a time are sums of summaries. An hour that lies whole in the time has its own
// summaries: one, or several where the node was stopped within it. They are taken, unless those
// of its minutes hold more seconds: so it is where the node crashed before it wrote that of the
// hour. One or the other: together they would count seconds twice. Never more than the one or
// the other holds is claimed, so that whatever is missing shows as a gap. The hours at the edges
// are summed from their minutes.
//
// Reading goes by chunks of a week: its hours first, then the minutes of those hours that need
// them. A summary is written when its minute or hour is over, or when the node is stopped; it
// is looked for by when it was written, with some slack, and told by where it starts.

const (
	minute = 60
	hour   = 3600
	day    = 24 * hour
	chunk  = 7 * day
	// slack is how far from its minute or hour a summary may be written, seconds: late by a
	// busy disk, early by a clock that was stepped back meanwhile.
	slack = 2 * hour
)

// floor returns the greatest multiple of step that is not above t.
func floor(t, step int64) int64 {
	r := t % step
	if r < 0 {
		r += step
	}
	return t - r
}

// The clocks, as they are counted.
const (
	system = iota
	served
	clocks
)

// tally is what some time came to.
type tally struct {
	observed int64
	smeared  int64
	clocks   [clocks]clockTally
}

// clockTally is what a clock came to in it.
type clockTally struct {
	verdicts      Verdicts
	bound, offset compliance.Distribution
	unclaimed     int64
}

// merge adds another time.
func (t *tally) merge(o *tally) {
	t.observed += o.observed
	t.smeared += o.smeared
	for i := range t.clocks {
		c, other := &t.clocks[i], &o.clocks[i]
		c.verdicts.add(other.verdicts)
		c.bound.Merge(&other.bound)
		c.offset.Merge(&other.offset)
		c.unclaimed += other.unclaimed
	}
}

func (v *Verdicts) add(o Verdicts) {
	v.OK += o.OK
	v.Warn += o.Warn
	v.Breach += o.Breach
	v.Unknown += o.Unknown
	v.NotJudged += o.NotJudged
	v.Gap += o.Gap
}

// tallyOf returns what a summary says for a profile.
func tallyOf(s *rpc.Summary, profile string) *tally {
	t := &tally{observed: int64(s.Observed), smeared: int64(s.Smeared)}
	summaries := [clocks]*rpc.ClockSummary{s.System, s.Served}
	if s.Served == nil {
		summaries[served] = s.System
	}
	var counts [clocks]*rpc.VerdictCount
	for _, v := range s.Verdicts {
		switch {
		case v.Profile != profile:
		case v.Clock == rpc.JudgedClock_JUDGED_CLOCK_SYSTEM:
			counts[system] = v
		case v.Clock == rpc.JudgedClock_JUDGED_CLOCK_SERVED:
			counts[served] = v
		}
	}
	if counts[served] == nil && s.Served == nil {
		counts[served] = counts[system]
	}
	for i := range t.clocks {
		c := &t.clocks[i]
		c.bound = compliance.DistributionOf(summaries[i].GetBound())
		c.offset = compliance.DistributionOf(summaries[i].GetOffset())
		c.unclaimed = int64(summaries[i].GetUnclaimed())
		c.verdicts = Verdicts{
			OK: int64(counts[i].GetOk()), Warn: int64(counts[i].GetWarn()),
			Breach: int64(counts[i].GetBreach()), Unknown: int64(counts[i].GetUnknown()),
		}
		c.verdicts.NotJudged = max(0, t.observed-c.verdicts.Total())
	}
	return t
}

// figures sums the summaries of a time.
type figures struct {
	profile  string
	from, to int64 // Unix seconds

	total     tally
	apart     bool // the served clock is another than the system clock
	seen      bool // any summary
	agreeing  int  // the least
	nist      int
	last      int64 // where the last summary starts
	taiOffset *int32
	sequences span

	charts  charts
	gaps    gapper
	sources map[uint32]*sourceTally
	asked   int64 // seconds of the hours that sources' figures are of
	crowded int   // sources that have no figures because there are too many
}

// sourceTally is what a source came to.
type sourceTally struct {
	stratum, refID   uint32 // as it claimed last
	offset, delay    compliance.Distribution
	agreed, measured int64
}

func newFigures(profile string, from, to int64) *figures {
	return &figures{
		profile: profile, from: from, to: to,
		charts: newCharts(from, to), sources: map[uint32]*sourceTally{},
	}
}

// hourTally is what is known of an hour.
type hourTally struct {
	hours, minutes tally
	marks          []mark    // of its minutes
	seen           [60]int64 // seconds of each minute that were looked at
}

// read reads all summaries of the time.
func (f *figures) read(ctx context.Context, j compliance.Journal) error {
	for start := floor(f.from, hour); start < f.to; start += chunk {
		hours := make([]hourTally, (min(start+chunk, f.to+hour-1)-start)/hour)
		if err := f.readHours(ctx, j, start, hours); err != nil {
			return err
		}
		for i := 0; i < len(hours); {
			if !f.wantsMinutes(start+int64(i)*hour, &hours[i]) {
				i++
				continue
			}
			end := i + 1
			for end < len(hours) && f.wantsMinutes(start+int64(end)*hour, &hours[end]) {
				end++
			}
			if err := f.readMinutes(ctx, j, start+int64(i)*hour, hours[i:end]); err != nil {
				return err
			}
			i = end
		}
		for i := range hours {
			f.take(start+int64(i)*hour, &hours[i])
		}
	}
	f.gaps.flush()
	return nil
}

// whole reports whether the hour that starts at h lies in the time.
func (f *figures) whole(h int64) bool { return f.from <= h && h+hour <= f.to }

// wantsMinutes reports whether an hour's own summaries are not enough.
func (f *figures) wantsMinutes(h int64, t *hourTally) bool {
	return !f.whole(h) || t.hours.observed < hour || f.charts.step < hour
}

// find visits the summaries of a kind that start from since on and before until.
func find(ctx context.Context, j compliance.Journal, kind compliance.Kind, since, until int64, visit func(compliance.Record, *rpc.Summary)) error {
	second := int64(time.Second)
	return j.Find(ctx, (since-slack)*second, (until+slack)*second, []compliance.Kind{kind}, func(r compliance.Record) error {
		s := r.Entry.GetMinute()
		if kind == compliance.KindHour {
			s = r.Entry.GetHour()
		}
		if s != nil && since <= s.Start && s.Start < until {
			visit(r, s)
		}
		return ctx.Err()
	})
}

// readHours reads the summaries of hours, the first of which starts at start.
func (f *figures) readHours(ctx context.Context, j compliance.Journal, start int64, hours []hourTally) error {
	return find(ctx, j, compliance.KindHour, start, start+int64(len(hours))*hour, func(r compliance.Record, s *rpc.Summary) {
		f.sequences.add(r.Sequence)
		f.addSources(s)
		h := floor(s.Start, hour)
		if !f.whole(h) {
			return
		}
		hours[(h-start)/hour].hours.merge(tallyOf(s, f.profile))
		f.note(s)
	})
}

// readMinutes reads the summaries of the minutes of hours, the first of which starts at start.
func (f *figures) readMinutes(ctx context.Context, j compliance.Journal, start int64, hours []hourTally) error {
	since, until := max(start, f.from), min(start+int64(len(hours))*hour, f.to)
	return find(ctx, j, compliance.KindMinute, since, until, func(r compliance.Record, s *rpc.Summary) {
		f.sequences.add(r.Sequence)
		h := &hours[(s.Start-start)/hour]
		t := tallyOf(s, f.profile)
		h.minutes.merge(t)
		h.seen[s.Start%hour/minute] += t.observed
		h.marks = append(h.marks, markOf(floor(s.Start, minute), t))
		f.note(s)
	})
}

// note takes from a summary what does not add up.
func (f *figures) note(s *rpc.Summary) {
	if s.Observed == 0 {
		return
	}
	if !f.seen {
		f.agreeing, f.nist = int(s.AgreeingMin), int(s.AgreeingNistMin)
	}
	f.seen = true
	f.agreeing = min(f.agreeing, int(s.AgreeingMin))
	f.nist = min(f.nist, int(s.AgreeingNistMin))
	f.apart = f.apart || s.Served != nil
	if s.Start >= f.last {
		f.last, f.taiOffset = s.Start, s.TaiOffset
	}
}

// addSources adds what an hour of each source came to. The histograms are left out: nobody
// asks for percentiles of a source.
func (f *figures) addSources(s *rpc.Summary) {
	f.asked += int64(s.Observed)
	for _, src := range s.Sources {
		t := f.sources[src.Source]
		if t == nil {
			if len(f.sources) >= sourcesMax {
				f.crowded++
				continue
			}
			t = &sourceTally{}
			f.sources[src.Source] = t
		}
		t.agreed += int64(src.Agreed)
		t.measured += int64(src.Measured)
		if src.Measured > 0 {
			t.stratum, t.refID = src.Stratum, src.Refid
		}
		mergePlain(&t.offset, src.Offset)
		mergePlain(&t.delay, src.Delay)
	}
}

func mergePlain(d *compliance.Distribution, m *rpc.Distribution) {
	d.Merge(&compliance.Distribution{
		Count: m.GetCount(), Min: m.GetMinNs(), Max: m.GetMaxNs(), Sum: m.GetSumNs(), Squares: m.GetSumSquares(),
	})
}

// take adds an hour, after which it is not looked at any more. Hours are taken in their order.
func (f *figures) take(h int64, t *hourTally) {
	from, to := max(h, f.from), min(h+hour, f.to)
	own := t.hours.observed >= t.minutes.observed // of an hour at an edge there is nothing in hours
	chosen := &t.minutes
	if own {
		chosen = &t.hours
	}
	f.total.merge(chosen)
	if own && t.hours.observed > t.minutes.observed {
		f.gaps.add(h, hour, hour-t.hours.observed)
		f.charts.addMark(markOf(h, &t.hours), hour)
	} else {
		for m := from; m < to; m += minute {
			f.gaps.add(m, minute, minute-t.seen[m%hour/minute])
		}
		for _, m := range t.marks {
			f.charts.addMark(m, minute)
		}
	}
	f.charts.addHour(h, to-from, chosen)
}

// report writes the figures into a report.
func (f *figures) report(r *Report) {
	r.Same = !f.apart
	for i, name := range [clocks]string{system: "system", served: "served"} {
		if i == served && r.Same {
			continue
		}
		c := &f.total.clocks[i]
		out := Clock{
			Name: name, Verdicts: c.verdicts, Unclaimed: c.unclaimed,
			Bound: figuresOf(&c.bound), Offset: figuresOf(&c.offset), Histogram: histogram(&c.bound),
			Points: f.charts.points(i), Step: f.charts.step, Strip: f.charts.strip(i), Unit: f.charts.unit,
		}
		out.Verdicts.Gap = f.gaps.seconds
		out.Compliant = out.Verdicts.Share()
		r.Clocks = append(r.Clocks, out)
	}
	r.Gaps = f.gaps.list
	r.Overall.Observed, r.Overall.Gap = f.total.observed, f.gaps.seconds
	r.Overall.AgreeingMin, r.Overall.AgreeingNISTMin = f.agreeing, f.nist
	r.Overall.Smeared, r.Overall.TAIOffset = f.total.smeared, f.taiOffset
}

func figuresOf(d *compliance.Distribution) Figures {
	return Figures{
		Samples: d.Count, Min: Nanoseconds(d.Min), Max: Nanoseconds(d.Max), Mean: d.Mean(), SD: d.SD(),
		P50: Nanoseconds(d.Quantile(0.5)), P99: Nanoseconds(d.Quantile(0.99)), P999: Nanoseconds(d.Quantile(0.999)),
	}
}
