package report

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
)

// ErrPeriod reports a time that cannot be reported on.
var ErrPeriod = errors.New("report")

// Build makes a report from the journal. It fails with ErrPeriod where the time is empty, too
// long or still to come, with what the journal returns, and with the cause of ctx. What it holds
// in memory does not grow with the time but for the limits of its lists.
func Build(ctx context.Context, j compliance.Journal, o Options) (*Report, error) {
	from, to, err := o.period()
	if err != nil {
		return nil, err
	}
	f := newFigures(o.Profile.Name, from, to)
	if err := f.read(ctx, j); err != nil {
		return nil, fmt.Errorf("read the summaries: %w", err)
	}
	e := newEvents(o.Profile.Name, from, to)
	if err := e.read(ctx, j, o.Now.UnixNano()+1); err != nil {
		return nil, fmt.Errorf("read the events: %w", err)
	}
	r := &Report{
		Made: o.Now.UTC(), From: time.Unix(from, 0).UTC(), To: time.Unix(to, 0).UTC(), Seconds: to - from,
		Node: o.Node, StoreID: o.StoreID, Version: o.Version, Profile: profileOf(o.Profile),
	}
	f.report(r)
	e.report(r)
	for i := range r.Gaps.Items {
		r.Gaps.Items[i].Cause = e.cause(r.Gaps.Items[i])
	}
	r.Sources = e.sourceList(f)
	r.Chain = chain(r)
	r.Method = method(r)
	r.ReviewDue, r.ReviewWhy = review(o.Profile.Name, r.To)
	r.Journal.Head, r.Journal.PublicKey = o.Head, o.PublicKey
	r.Journal.First, r.Journal.Last = firstLast(f.sequences, e.sequences)
	return r, nil
}

// period returns the time that is reported on, Unix seconds, whole minutes.
func (o *Options) period() (from, to int64, err error) {
	latest := floor(o.Now.Add(-settle).Unix(), minute)
	from, to = floor(o.From.Unix(), minute), min(floor(o.To.Unix(), minute), latest)
	switch {
	case !o.From.Before(o.To):
		return 0, 0, fmt.Errorf("%w: from %s to %s is no time; it must begin before it ends", ErrPeriod, clockTime(o.From), clockTime(o.To))
	case from >= to && from >= latest:
		return 0, 0, fmt.Errorf("%w: nothing is on record yet from %s on; ask for a time that is over", ErrPeriod, clockTime(o.From))
	case from >= to:
		return 0, 0, fmt.Errorf("%w: from %s to %s is less than a minute; ask for whole minutes", ErrPeriod, clockTime(o.From), clockTime(o.To))
	case to-from > int64(periodMax/time.Second):
		return 0, 0, fmt.Errorf("%w: from %s to %s is more than 10 years; ask for less at a time", ErrPeriod, clockTime(o.From), clockTime(o.To))
	}
	return from, to, nil
}

func profileOf(p compliance.Profile) Profile {
	out := Profile{
		Name: p.Name, Title: p.Title, Tolerance: Nanoseconds(p.Tolerance), Warn: Nanoseconds(p.Warn),
		MinSources: p.MinSources, MinNIST: p.MinNIST, MinSites: p.MinSites,
		Calendar: p.Calendar, Holidays: append([]string{}, p.Holidays...), RetentionSeconds: int64(p.Retention / time.Second),
		SelfReportFactor: p.SelfReportFactor, SelfReportCount: p.SelfReportCount,
	}
	if p.PreOpen >= 0 {
		out.PreOpen = fmt.Sprintf("%02d:%02d %s", p.PreOpen/time.Hour, p.PreOpen%time.Hour/time.Minute, p.Zone)
	}
	return out
}

// method says how the figures were come by.
func method(r *Report) []string {
	m := []string{
		"Each second the clock is judged by its error bound E, the largest distance to UTC that could still be claimed: " +
			"E(t) = |residual offset| + root delay / 2 + root dispersion(t0) + provider error + growth × (t − t0). " +
			"The dispersion holds the jitter. The growth is three times the error of the frequency that was measured, at least 1 ppm; 15 ppm where whoever vouches for the clock does not say it. " +
			"The provider error is what a source's operator states against UTC.",
		"The verdict is made of E, never of the offset alone: OK where E is at most the warning level, WARN where it is at most the tolerance, BREACH where it is beyond, UNKNOWN where no E could be claimed.",
		"UNKNOWN and seconds in which nobody looked (gaps) are not compliant. The compliant share is (OK + WARN) / all seconds of the period.",
		"Minimum, maximum, mean and standard deviation are of all seconds in which E could be claimed. Percentiles come from a histogram whose buckets are a 64th of an octave wide, and are rounded up; those of the offset are of its absolute value.",
		"Figures come from the summaries of each minute and hour in the journal, which is append-only, chained by SHA-256 and signed by Ed25519. For a whole hour its own summaries count, unless those of its minutes hold more seconds.",
	}
	if lacks := quorum(&r.Profile); len(lacks) > 0 {
		m = append(m, fmt.Sprintf("Where %s, the verdict is WARN at best.", strings.Join(lacks, ", or ")))
	}
	if r.Overall.Smeared > 0 {
		m = append(m, fmt.Sprintf("In %s a smear, or a leap second that was not yet absorbed, was under way; what was not absorbed is in E.", count(int(r.Overall.Smeared), "second")))
	}
	return m
}

// quorum says when too few sources vouch for the clock.
func quorum(p *Profile) (lacks []string) {
	if p.MinSources > 0 {
		lacks = append(lacks, fmt.Sprintf("fewer than %s agree", count(p.MinSources, "source")))
	}
	if p.MinNIST > 0 {
		lacks = append(lacks, fmt.Sprintf("fewer than %s of NIST agree", count(p.MinNIST, "source")))
	}
	if p.MinSites > 0 {
		lacks = append(lacks, fmt.Sprintf("those that agree stand at fewer than %s", count(p.MinSites, "site")))
	}
	return lacks
}

// chain says how the time came from UTC(NIST).
func chain(r *Report) []string {
	var nist, others []string
	for _, s := range r.Sources.Items {
		if s.Agreed == 0 {
			continue
		}
		if s.NIST {
			nist = append(nist, s.Name)
		} else {
			others = append(others, s.Name)
		}
	}
	var c []string
	if len(nist) > 0 {
		c = append(c, fmt.Sprintf("UTC(NIST) is what %s hand out, as NIST states.", naming(nist)))
	} else {
		c = append(c, "No source of NIST's agreed in the period: what is below is not shown to lead to UTC(NIST).")
	}
	if len(others) > 0 {
		c = append(c, fmt.Sprintf("The other sources that agreed are %s: what their operators state against UTC is their provider error, and is in E.", naming(others)))
	}
	c = append(c, "The sources were asked over NTP, and outvoted where they disagreed with the majority. The served clock follows those that agreed; its distance to them is measured, and is in E.")
	if r.Same {
		return append(c, "The system clock is the served clock.")
	}
	return append(c, "The system clock was compared with the served clock each second; it has an error bound of its own.")
}

// namesMax is how many names a sentence bears.
const namesMax = 8

// naming lists names, without those that come twice, in a sentence.
func naming(names []string) string {
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > namesMax {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:namesMax], ", "), len(names)-namesMax)
	}
	return strings.Join(names, ", ")
}

// count is a number with its noun.
func count(n int, noun string) string { return plural(n, noun, noun+"s") }

// plural is a number with its noun, of one and of more.
func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// review returns the day by which the arrangements must have been reviewed, and why then.
func review(profile string, to time.Time) (day, why string) {
	if !strings.HasPrefix(profile, "cat-") {
		return to.AddDate(1, 0, 0).Format(time.DateOnly), "a year after the period ends"
	}
	due := time.Date(to.Year(), time.March, 15, 0, 0, 0, 0, time.UTC)
	if !due.After(to) {
		due = due.AddDate(1, 0, 0)
	}
	return due.Format(time.DateOnly), "the annual certification of CAT is due on 15 March"
}

// span is a range of sequences; empty where last is 0.
type span struct{ first, last uint64 }

func (s *span) add(sequence uint64) {
	if s.last == 0 || sequence < s.first {
		s.first = sequence
	}
	s.last = max(s.last, sequence)
}

func firstLast(a, b span) (first, last uint64) {
	for _, s := range []uint64{b.first, b.last} {
		if s != 0 {
			a.add(s)
		}
	}
	return a.first, a.last
}

// clockTime writes an instant for a reader.
func clockTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
