package main

import (
	"math"
	"slices"
)

// The separate computation: the plainest that does it, from the seconds of the raw journal alone.

// verdict is what can be proven in a second.
type verdict int

const (
	verdictOK verdict = iota
	verdictWarn
	verdictBreach
	verdictUnknown
)

func (v verdict) String() string { return [...]string{"OK", "WARN", "BREACH", "UNKNOWN"}[v] }

func (v verdict) compliant() bool { return v == verdictOK || v == verdictWarn }

// holdover is the word for the state in which the sources are gone.
const holdover = "holdover"

// judge says what a bound proves, in a state. Source: STANDARDS AC-C3, AC-C4.
func judge(boundNs int64, state string) verdict {
	tolerance, warn := evidenceTolerance.Nanoseconds(), evidenceWarn.Nanoseconds()
	switch {
	case boundNs < 0:
		return verdictUnknown
	case boundNs > tolerance && state == holdover:
		return verdictUnknown
	case boundNs > tolerance:
		return verdictBreach
	case boundNs > warn:
		return verdictWarn
	default:
		return verdictOK
	}
}

// judgedLook is a look with its verdict.
type judgedLook struct {
	look
	verdict verdict
}

// judged are the looks with their verdicts.
func (t *testimony) judged() []judgedLook {
	var all []judgedLook
	for _, l := range t.looks {
		state := ""
		for _, s := range t.states {
			if s.unix < (l.at+1)*1e9 { // the change is of a look, and there is one a second
				state = s.state
			}
		}
		all = append(all, judgedLook{l, judge(l.bound, state)})
	}
	return all
}

// count counts the verdicts.
func count(looks []judgedLook) counts {
	var c counts
	for _, l := range looks {
		switch l.verdict {
		case verdictOK:
			c.OK++
		case verdictWarn:
			c.Warn++
		case verdictBreach:
			c.Breach++
		case verdictUnknown:
			c.Unknown++
		}
	}
	return c
}

// during are the looks from a second on and before another.
func during(looks []judgedLook, from, to int64) []judgedLook {
	var some []judgedLook
	for _, l := range looks {
		if from <= l.at && l.at < to {
			some = append(some, l)
		}
	}
	return some
}

// spreadOf is what values come to: those of looks in which a bound could be claimed. Percentiles are
// exact, and of the absolute values.
func spreadOf(looks []judgedLook, value func(look) int64) spread {
	var values, sizes []int64
	for _, l := range looks {
		if l.bound >= 0 {
			v := value(l.look)
			values, sizes = append(values, v), append(sizes, max(v, -v))
		}
	}
	if len(values) == 0 {
		return spread{}
	}
	slices.Sort(sizes)
	n := float64(len(values))
	s := spread{Samples: int64(len(values)), Min: slices.Min(values), Max: slices.Max(values)}
	for _, v := range values {
		s.Mean += float64(v) / n
	}
	for _, v := range values {
		s.SD += (float64(v) - s.Mean) * (float64(v) - s.Mean) / n
	}
	s.SD = math.Sqrt(s.SD)
	percentile := func(q float64) int64 { return sizes[max(int(math.Ceil(q*n))-1, 0)] }
	s.P50, s.P99, s.P999 = percentile(0.5), percentile(0.99), percentile(0.999)
	return s
}

// calm is how many seconds in a row must be compliant until a breach is over.
const calm = 10

// trouble is a time in which the clock could not be proven to be within the tolerance.
type trouble struct {
	from, to         int64 // Unix seconds; to is the first after it, 0: it goes on
	worst            verdict
	peak, peakOffset int64 // ns; −1: none could be claimed
}

// troubles finds them in the looks.
func troubles(looks []judgedLook) []trouble {
	var all []trouble
	open, quiet, quietFrom := false, 0, int64(0)
	for _, l := range looks {
		if l.verdict.compliant() {
			if quiet == 0 {
				quietFrom = l.at
			}
			quiet++
			if open && quiet == calm {
				open, all[len(all)-1].to = false, quietFrom
			}
			continue
		}
		quiet = 0
		if !open {
			open, all = true, append(all, trouble{from: l.at, peak: -1})
		}
		b := &all[len(all)-1]
		b.worst = max(b.worst, l.verdict)
		if l.bound >= 0 {
			b.peak = max(b.peak, l.bound)
			if max(l.offset, -l.offset) > max(b.peakOffset, -b.peakOffset) {
				b.peakOffset = l.offset
			}
		}
	}
	return all
}
