package compliance

import (
	"fmt"
	"math"
	"time"
)

// Profile is a limit that clocks are held to, and what its rule asks for besides.
type Profile struct {
	Name  string
	Title string // of the rule, for reports

	Tolerance time.Duration // the error bound is at the most this
	Warn      time.Duration // warning begins above this; at the most Tolerance

	// MinSources, MinNIST and MinSites are how many sources must agree, how many of them must be
	// NIST's, and at how many sites they must stand. 0: it does not matter.
	//
	// Where fewer do, the verdict of a second is a warning at best, and never worse than the bound
	// says: a clock that can be proven to be right is not in breach because few vouch for it. That
	// holds where sources are configured; a node that follows a witness, and has none, is judged by
	// its bound alone. The check before the market opens is not passed without them, ever: its
	// rule asks for a comparison with several sources.
	MinSources, MinNIST, MinSites int

	// PreOpen is the time of day, in Zone, by which the check before the market opens must be
	// passed on every trading day; negative: there is none.
	PreOpen  time.Duration
	Zone     string   // such as America/New_York
	Calendar string   // of trading days: nyse, target, weekdays, daily
	Holidays []string // further days without trading, as 2026-11-27

	Retention time.Duration // how long the evidence must be kept

	// A breach may have to be reported when its peak is at least SelfReportFactor times the
	// tolerance, or when SelfReportCount began within 24 hours; 0: never.
	SelfReportFactor float64
	SelfReportCount  int
}

const (
	// Year is how long a year is where evidence is kept for years.
	Year = 365*24*time.Hour + 6*time.Hour

	nameMax      = 64
	toleranceMax = time.Hour
	quorumMax    = 64
	holidaysMax  = 1000
	retentionMax = 100 * Year
)

// NewProfile returns a profile with a tolerance and the defaults of all else: a warning from half
// the tolerance on, no quorum, no check before the market opens, evidence for seven years, and
// the rule for reporting oneself that is told of the Consolidated Audit Trail (twice the
// tolerance, or ten times in 24 hours; STANDARDS, section 4.1).
func NewProfile(name string, tolerance time.Duration) Profile {
	return Profile{
		Name: name, Title: name,
		Tolerance: tolerance, Warn: tolerance / 2,
		PreOpen: -1, Zone: "UTC", Calendar: "daily",
		Retention:        7 * Year,
		SelfReportFactor: 2, SelfReportCount: 10,
	}
}

// Problems returns all that is wrong with the profile, a sentence each; none: it can be used.
func (p Profile) Problems() []string {
	var list []string
	problem := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if !nameFit(p.Name) {
		problem("the name %.80q of a profile must be 1 to %d letters, digits, and the signs . _ -", p.Name, nameMax)
	}
	if p.Tolerance <= 0 || p.Tolerance > toleranceMax {
		problem("the tolerance %v must be above 0 and at the most %v", p.Tolerance, toleranceMax)
	} else if p.Warn <= 0 || p.Warn > p.Tolerance {
		problem("the warn level %v must be above 0 and at the most the tolerance, %v", p.Warn, p.Tolerance)
	}
	for _, n := range []struct {
		what string
		n    int
	}{{"sources", p.MinSources}, {"sources of NIST", p.MinNIST}, {"sites", p.MinSites}} {
		if n.n < 0 || n.n > quorumMax {
			problem("at least %d %s must agree: that number must be 0 to %d", n.n, n.what, quorumMax)
		}
	}
	if p.PreOpen >= 24*time.Hour {
		problem("the check before the market opens is due at %v: it must be a time of day, below 24 h", p.PreOpen)
	}
	if _, err := time.LoadLocation(p.Zone); err != nil || p.Zone == "Local" {
		problem("there is no time zone %.80q: give a name such as America/New_York", p.Zone)
	}
	list = append(list, p.calendarProblems()...)
	if p.Retention < 0 || p.Retention > retentionMax {
		problem("evidence is kept for %v: it must be 0 to %v", p.Retention, retentionMax)
	}
	if f := p.SelfReportFactor; math.IsNaN(f) || f != 0 && f < 1 || f > 1e6 {
		problem("a breach is reported from %v times the tolerance on: it must be 1 to 1000000, or 0 for never", f)
	}
	if p.SelfReportCount < 0 || p.SelfReportCount > breachesMax {
		problem("breaches are reported from %d a day on: it must be 1 to %d, or 0 for never", p.SelfReportCount, breachesMax)
	}
	return list
}

func (p Profile) calendarProblems() []string {
	var list []string
	if !calendarKnown(p.Calendar) {
		list = append(list, fmt.Sprintf("there is no calendar %.80q: give nyse, target, weekdays or daily", p.Calendar))
	}
	if len(p.Holidays) > holidaysMax {
		list = append(list, fmt.Sprintf("there are %d holidays: %d at the most", len(p.Holidays), holidaysMax))
	}
	for i, h := range p.Holidays {
		if i == holidaysMax {
			break
		}
		if _, err := time.Parse(time.DateOnly, h); err != nil {
			list = append(list, fmt.Sprintf("the holiday %.80q is no day: give it as 2026-11-27", h))
		}
	}
	return list
}

func nameFit(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return len(s) >= 1 && len(s) <= nameMax
}

// reportable reports whether a breach may have to be reported, of which so much is known.
func (p *Profile) reportable(peakNs int64, in24h uint32) bool {
	byPeak := p.SelfReportFactor > 0 && float64(peakNs) >= p.SelfReportFactor*float64(p.Tolerance)
	byCount := p.SelfReportCount > 0 && in24h >= uint32(p.SelfReportCount)
	return byPeak || byCount
}
