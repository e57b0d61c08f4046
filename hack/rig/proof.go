package main

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// check is a line of the table: what must hold and what was found, or a fact that helps to read it.
type check struct {
	what, found string
	holds, fact bool
}

// proof collects checks.
type proof struct{ checks []check }

func (p *proof) must(holds bool, what, format string, args ...any) {
	p.checks = append(p.checks, check{what: what, found: fmt.Sprintf(format, args...), holds: holds})
}

func (p *proof) fact(what, format string, args ...any) {
	p.checks = append(p.checks, check{what: what, found: fmt.Sprintf(format, args...), fact: true})
}

// The alarms that are raised when the clock is not proven to be within the tolerance.
const (
	alarmBreach  = "compliance_breach"
	alarmUnknown = "compliance_unknown"
)

// What is promised of alerts. In the grace after a start nothing is alarming that is only not yet known.
const (
	alertMax     = 60 * time.Second
	heartbeatMax = 65 * time.Second // one a minute, and a little for the way
	// afterRefusal is how long after the last refusal a message is tried again. Each wait is up to
	// twice that before it, and the receiver refuses for up to a minute.
	afterRefusal = 128 * time.Second
	grace        = 60 // seconds
)

// proof checks all that was said.
func (t *testimony) proof() []check {
	p := &proof{}
	looks := t.judged()
	found := troubles(looks)
	t.proveCourse(p, looks, found)
	t.proveTruth(p, looks)
	t.proveMinutes(p, looks)
	t.proveAlerts(p, looks, found)
	t.proveReport(p, looks, found)
	t.proveJournal(p)
	return p.checks
}

// proveJournal checks what came of verifying the journal, with the first head that was handed out. A
// note may say which key signed; another would be that the head could not be compared.
func (t *testimony) proveJournal(p *proof) {
	v := &t.verified
	silent := true
	for _, n := range v.Notes {
		silent = silent && strings.HasPrefix(n, "signed with the key ")
	}
	p.must(v.Done && len(v.Problems) == 0 && v.Checked > 0 && v.Checked == v.Total && v.Signatures > 0 && silent,
		"journal: verifies, with the first head that was handed out", "%d of %d records, %d signatures, problems %q, notes %q",
		v.Checked, v.Total, v.Signatures, v.Problems, v.Notes)
}

// inGrace reports whether a trouble was over before the grace after the start was.
func inGrace(looks []judgedLook, b trouble) bool { return b.to != 0 && b.to-looks[0].at <= grace }

// proveCourse checks that the run went through what it is for.
func (t *testimony) proveCourse(p *proof, looks []judgedLook, found []trouble) {
	start := looks[0].at
	for _, b := range found {
		end := "goes on"
		if b.to != 0 {
			end = fmt.Sprintf("%d s", b.to-start)
		}
		peak := "no bound"
		if b.peak >= 0 {
			peak = milliseconds(b.peak) + " ms"
		}
		p.fact("breach", "%s from %d s to %s, peak %s", b.worst, b.from-start, end, peak)
	}
	c, lost := count(looks), 0
	for _, l := range looks {
		if l.verdict == verdictUnknown && l.bound >= 0 {
			lost++
		}
	}
	open := len(found) > 0 && found[len(found)-1].to == 0
	p.must(c.OK > 0 && c.Warn > 0 && c.Breach > 0 && lost > 0 && !open, "course: OK, WARN, BREACH, UNKNOWN in holdover, and over at the end",
		"%d, %d, %d, %d s", c.OK, c.Warn, c.Breach, lost)
}

func milliseconds(ns int64) string { return fmt.Sprintf("%.3f", float64(ns)/1e6) }

// proveTruth compares what was claimed in each second with the truth.
func (t *testimony) proveTruth(p *proof, looks []judgedLook) {
	off := map[int64]int64{} // by second of the clock: the greatest true error, ns
	told := 0
	for _, o := range t.observations {
		second, size := o.UnixNs/1e9, max(o.OffsetNs, -o.OffsetNs)
		off[second] = max(off[second], size)
		if o.Status&kernelUnsynchronised == 0 && size > o.MaxErrorUs*1e3 {
			told++
		}
	}
	var seen, bad, wrong, beyond, worst int64
	margin := int64(math.MaxInt64)
	for _, l := range looks {
		size, ok := off[l.at]
		if !ok { // the observer counts by another clock, and may have passed over it
			before, early := off[l.at-1]
			after, late := off[l.at+1]
			size, ok = max(before, after), early && late
		}
		if !ok {
			continue
		}
		seen++
		worst = max(worst, size)
		if size > evidenceTolerance.Nanoseconds() {
			bad++
			if l.verdict.compliant() {
				wrong++
			}
		}
		if l.bound >= 0 {
			margin = min(margin, l.bound-size)
			if size > l.bound {
				beyond++
			}
		}
	}
	p.fact("truth", "worst true error %s ms, least room up to E %s ms", milliseconds(worst), milliseconds(margin))
	p.must(seen >= int64(len(looks))-2, "truth: every second of the journal was observed", "%d of %d", seen, len(looks))
	p.must(wrong == 0 && bad > 0, "truth: no second OK or WARN with a true error beyond the tolerance", "%d of %d with such an error", wrong, bad)
	p.must(beyond == 0, "truth: no second with a true error beyond E", "%d", beyond)
	p.must(told == 0, "truth: no look at the kernel with a true error beyond its maxerror", "%d of %d", told, len(t.observations))
}

// proveMinutes compares the minutes' counts with the seconds.
func (t *testimony) proveMinutes(p *proof, looks []judgedLook) {
	different := 0
	var sum counts
	for _, m := range t.minutes {
		c := count(during(looks, m.start, m.start+60))
		if c != m.verdicts || c.total() != m.observed {
			different++
		}
		sum.OK, sum.Warn, sum.Breach, sum.Unknown = sum.OK+m.verdicts.OK, sum.Warn+m.verdicts.Warn, sum.Breach+m.verdicts.Breach, sum.Unknown+m.verdicts.Unknown
	}
	p.must(different == 0 && len(t.minutes) == t.blocks && sum == count(looks), "minutes: the verdicts are those of the raw seconds",
		"%d of %d minutes differ; %d blocks of seconds", different, len(t.minutes), t.blocks)
}

// rawOf is CLOCK_MONOTONIC_RAW when the clock showed unix.
func (t *testimony) rawOf(unix int64) int64 {
	last := t.observations[0]
	for _, o := range t.observations {
		if o.UnixNs > unix {
			break
		}
		last = o
	}
	return last.RawNs + unix - last.UnixNs
}

// proveAlerts checks who was told, and when.
func (t *testimony) proveAlerts(p *proof, looks []judgedLook, found []trouble) {
	for _, b := range found {
		if inGrace(looks, b) {
			p.fact("alert", "the breach at %d s is in the grace of the start", b.from-looks[0].at)
			continue
		}
		what := fmt.Sprintf("alert: told of the breach at %d s", b.from-looks[0].at)
		raised, over := t.toldOf(b)
		if raised == nil {
			p.must(false, what, "never")
			continue
		}
		began := t.rawOf(b.from * 1e9)
		late := time.Duration(max(raised.raw-began, 0))
		if refused := t.refusedBetween(began, raised.raw); refused == nil {
			p.must(late <= alertMax, what, "%s after %.1f s", raised.Alarm.Name, late.Seconds())
		} else {
			again := time.Duration(raised.raw - refused.raw)
			p.must(again <= afterRefusal, what, "%s after %.1f s; the receiver refused all until %.1f s before", raised.Alarm.Name, late.Seconds(), again.Seconds())
		}
		if b.to == 0 {
			continue
		}
		what += ", that it is over"
		if over == nil {
			p.must(false, what, "never")
			continue
		}
		after := time.Duration(over.raw - t.rawOf(b.to*1e9))
		p.must(after > 0, what, "after %.1f s", after.Seconds())
	}
	t.proveOnce(p)
	t.proveHeartbeats(p)
}

// refusedBetween finds the last message about an alarm that was refused in a time; nil: none was.
func (t *testimony) refusedBetween(from, to int64) *delivery {
	var last *delivery
	for i := range t.messages {
		if d := &t.messages[i]; !d.taken() && d.Alarm.ID != "" && from <= d.raw && d.raw < to {
			last = d
		}
	}
	return last
}

// toldOf finds the messages of the first alarm that stood in a breach: that it was raised, and that it
// is over. It may have stood already: for half a minute after a breach it is kept, lest it come and go.
func (t *testimony) toldOf(b trouble) (raised, over *delivery) {
	for i := range t.messages {
		d := &t.messages[i]
		ours := d.taken() && (d.Alarm.Name == alarmBreach || d.Alarm.Name == alarmUnknown) && d.Alarm.Labels["profile"] == evidenceProfile
		switch {
		case !ours:
		case d.Type == typeFiring && raised == nil && (b.to == 0 || d.Alarm.SinceUnixNs < b.to*1e9) && t.overAt(d.Alarm.ID) > b.from*1e9:
			raised = d
		case d.Type == typeResolved && raised != nil && d.Alarm.ID == raised.Alarm.ID:
			return raised, d
		}
	}
	return raised, nil
}

// overAt is when an alarm was over by the journal, Unix nanoseconds.
func (t *testimony) overAt(id string) int64 {
	for _, a := range t.alarms {
		if a.id == id && a.resolved {
			return a.unix
		}
	}
	return math.MaxInt64
}

// proveOnce checks that each alarm of the journal was told, and once.
func (t *testimony) proveOnce(p *proof) {
	taken, refused, twice := map[string]int{}, 0, 0
	ids := map[string]bool{}
	for i := range t.messages {
		d := &t.messages[i]
		if !d.taken() {
			refused++
			continue
		}
		if ids[d.ID] {
			twice++
		}
		ids[d.ID] = true
		taken[d.Alarm.ID+" "+d.Type]++
	}
	lost := 0
	for _, a := range t.alarms {
		if a.labels["channel"] != "" {
			continue // of its own failure the channel is not told
		}
		kind := typeFiring
		if a.resolved {
			kind = typeResolved
		}
		if taken[a.id+" "+kind] != 1 {
			lost++
		}
	}
	p.must(lost == 0 && twice == 0 && refused > 0 && len(t.alarms) > 0, "alert: each was told once, though the receiver refused some",
		"%d of %d lost, %d messages twice, %d attempts refused", lost, len(t.alarms), twice, refused)
}

// proveHeartbeats checks the signs of life, where the receiver took what it was sent.
func (t *testimony) proveHeartbeats(p *proof) {
	beats, longest := 0, time.Duration(0)
	last, refused := t.observations[0].RawNs, false
	end := t.observations[len(t.observations)-1].RawNs
	rest := func(until int64) {
		if !refused {
			longest = max(longest, time.Duration(until-last))
		}
		last, refused = until, false
	}
	for i := range t.messages {
		switch d := &t.messages[i]; {
		case !d.taken():
			refused = true
		case d.Type == typeHeartbeat:
			beats++
			rest(d.raw)
		}
	}
	rest(end)
	p.must(beats > 0 && longest <= heartbeatMax, "alert: signs of life", "%d, at the most %.1f s apart while they were taken", beats, longest.Seconds())
}

// proveReport compares the report with what the raw seconds of its period come to.
func (t *testimony) proveReport(p *proof, looks []judgedLook, found []trouble) {
	r := &t.report
	from, to := r.From.Unix(), r.To.Unix()
	in := during(looks, from, to)
	c, got := count(in), &r.Clocks[0]
	gap := to - from - int64(len(in))
	p.fact("report", "from %s to %s", r.From.Format(time.DateTime), r.To.Format(time.DateTime))
	p.must(got.Clock == "system" && r.Seconds == to-from && got.Seconds.counts == c && got.Seconds.NotJudged == 0 && got.Seconds.Gap == gap,
		"report: seconds by verdict", "%+v, gap %d; from the seconds %+v, gap %d", got.Seconds.counts, got.Seconds.Gap, c, gap)
	share := float64(c.OK+c.Warn) / float64(to-from)
	p.must(near(got.Share, share), "report: compliant share", "%.9f; from the seconds %.9f", got.Share, share)
	unclaimed := int64(0)
	for _, l := range in {
		if l.bound < 0 {
			unclaimed++
		}
	}
	p.must(got.Unclaimed == unclaimed && r.Overall.Observed == int64(len(in)) && r.Overall.Gap == gap,
		"report: seconds without a bound, seconds looked at", "%d, %d; from the seconds %d, %d", got.Unclaimed, r.Overall.Observed, unclaimed, len(in))
	proveSpread(p, "report: error bound", got.Bound, spreadOf(in, func(l look) int64 { return l.bound }))
	proveSpread(p, "report: offset", got.Offset, spreadOf(in, func(l look) int64 { return l.offset }))
	proveGaps(p, r, in)
	proveBreaches(p, r, found)
}

// near reports whether two figures that were summed up in different ways are the same.
func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b)) }

// proveSpread compares figures: percentiles may be rounded up by a 64th, and not beyond the greatest.
func proveSpread(p *proof, what string, got, want spread) {
	greatest := max(want.Max, -want.Min)
	rounded := func(got, exact int64) bool { return got >= exact && got-exact <= exact/64 && got <= greatest }
	p.must(got.Samples == want.Samples && got.Min == want.Min && got.Max == want.Max, what+", samples, min, max",
		"%d, %d, %d ns; from the seconds %d, %d, %d", got.Samples, got.Min, got.Max, want.Samples, want.Min, want.Max)
	p.must(near(got.Mean, want.Mean) && near(got.SD, want.SD), what+", mean, sd", "%.6f, %.6f ns; from the seconds %.6f, %.6f", got.Mean, got.SD, want.Mean, want.SD)
	p.must(rounded(got.P50, want.P50) && rounded(got.P99, want.P99) && rounded(got.P999, want.P999), what+", p50, p99, p99.9",
		"%d, %d, %d ns; exactly %d, %d, %d", got.P50, got.P99, got.P999, want.P50, want.P99, want.P999)
}

// proveGaps checks that what was not looked at is in the gaps, and nothing besides.
func proveGaps(p *proof, r *reportFigures, in []judgedLook) {
	seen := map[int64]bool{}
	for _, l := range in {
		seen[l.at] = true
	}
	missing, outside := int64(0), 0
	for s := r.From.Unix(); s < r.To.Unix(); s++ {
		if seen[s] {
			continue
		}
		missing++
		inGap := false
		for _, g := range r.Gaps.Items {
			inGap = inGap || g.From.Unix() <= s && s < g.To.Unix()
		}
		if !inGap {
			outside++
		}
	}
	said, strange := int64(0), 0
	for _, g := range r.Gaps.Items {
		said += g.Seconds
		if g.Seconds <= 0 || g.Seconds > int64(g.To.Sub(g.From)/time.Second) {
			strange++
		}
	}
	p.must(said == missing && outside == 0 && strange == 0 && r.Gaps.Total == len(r.Gaps.Items) && r.Gaps.Total > 0, "report: gaps",
		"%d with %d s; from the seconds %d s, of which %d are in none", r.Gaps.Total, said, missing, outside)
}

// proveBreaches compares the breaches one by one.
func proveBreaches(p *proof, r *reportFigures, found []trouble) {
	var got, want []string
	for _, b := range r.Breaches.Items {
		to := int64(0)
		if b.To != nil {
			to = b.To.Unix()
		}
		got = append(got, breachText(b.Clock, b.From.Unix(), to, b.Worst, b.Peak, b.PeakOffset))
	}
	for _, b := range found {
		if b.from < r.To.Unix() && (b.to == 0 || b.to > r.From.Unix()) {
			want = append(want, breachText("system", b.from, b.to, b.worst.String(), b.peak, b.peakOffset))
		}
	}
	same := r.Breaches.Total == len(want) && len(got) == len(want)
	for i := range min(len(got), len(want)) {
		same = same && got[i] == want[i]
	}
	p.must(same, "report: breaches, with start, end, worst verdict, peaks", "%d; from the seconds %d%s", r.Breaches.Total, len(want), unlike(got, want))
}

func breachText(clock string, from, to int64, worst string, peak, peakOffset int64) string {
	return fmt.Sprintf("%s clock, %d to %d, %s, %d ns, offset %d ns", clock, from, to, worst, peak, peakOffset)
}

// unlike shows the first two that differ.
func unlike(got, want []string) string {
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			return fmt.Sprintf("; number %d is %s, not %s", i+1, g, w)
		}
	}
	return ""
}
