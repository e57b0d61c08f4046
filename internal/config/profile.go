package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
)

// Profile is a limit that the clocks are held to: a rule that is built in, with what the file
// says otherwise. What is nil is as the rule says.
type Profile struct {
	Name string
	Rule string // the name of a built-in profile; empty: Name is one, or all is said here

	Tolerance, Warn               *time.Duration
	MinSources, MinNIST, MinSites *int
	PreOpen                       *string // "09:00", or PreOpenOff
	Zone, Calendar                *string
	Holidays                      []string
	RetentionDays                 *int
	SelfReportPercent             *int // of the tolerance
	SelfReportCount               *int
}

// PreOpenOff is the value of a profile's PreOpen where no check is made before the market opens.
const PreOpenOff = "off"

const (
	profileSection   = "profile"
	profilesMax      = 16
	toleranceMin     = time.Microsecond
	toleranceMax     = time.Minute
	retentionDaysMax = 36_525 // a hundred years
	holidaysMax      = 1000
	// Less than the tolerance is no breach.
	reportPercentMin, reportPercentMax = 100, 1_000_000
	reportCountMax                     = 1000 // breaches that are counted

	profileSectionWords = "A limit that this node's clocks are held to, and what its rule asks for besides: one such section for each, 16 at the most. " +
		"A built-in rule needs its name alone. The verdict, each second, goes by the error bound. Profiles are numbered from 1 in messages. (live)"
)

// DefaultProfile returns a profile of which nothing but the name is said.
func DefaultProfile(name string) Profile { return Profile{Name: name} }

// rule returns the built-in profile that it goes by; false: it goes by none.
func (p *Profile) rule() (compliance.Profile, bool) {
	if p.Rule != "" {
		return compliance.Builtin(p.Rule)
	}
	return compliance.Builtin(p.Name)
}

// Effective returns the profile with all that its rule says.
func (p *Profile) Effective() compliance.Profile {
	e, ok := p.rule()
	if !ok {
		e = compliance.Profile{PreOpen: -1, Zone: "UTC", Calendar: "weekdays", Retention: retentionDefault}
	}
	e.Name = p.Name
	if e.Title == "" {
		e.Title = p.Name
	}
	if p.Tolerance != nil {
		if ok && *p.Tolerance != e.Tolerance {
			e.Title += "; held to " + durationText(*p.Tolerance) // the rule's name says another
		}
		e.Tolerance, e.Warn = *p.Tolerance, *p.Tolerance/2
	}
	take(&e.Warn, p.Warn)
	take(&e.MinSources, p.MinSources)
	take(&e.MinNIST, p.MinNIST)
	take(&e.MinSites, p.MinSites)
	take(&e.Zone, p.Zone)
	take(&e.Calendar, p.Calendar)
	take(&e.SelfReportCount, p.SelfReportCount)
	if p.PreOpen != nil {
		e.PreOpen, _ = preOpenOf(*p.PreOpen)
	}
	if p.Holidays != nil {
		e.Holidays = slices.Clone(p.Holidays)
	}
	if p.RetentionDays != nil {
		e.Retention = time.Duration(*p.RetentionDays) * 24 * time.Hour
	}
	if p.SelfReportPercent != nil {
		e.SelfReportFactor = float64(*p.SelfReportPercent) / 100
	}
	return e
}

func take[V any](to, from *V) {
	if from != nil {
		*to = *from
	}
}

// preOpenOf reads a time of day, or that there is none.
func preOpenOf(s string) (time.Duration, bool) {
	if s == PreOpenOff {
		return -1, true
	}
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return 0, false
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, true
}

func profileWords() listWords[Profile] {
	return listWords[Profile]{
		intro: profileSectionWords,
		samples: []string{
			"name = \"finra-50ms\"\n",
			"name = \"trading-floor\"\nrule = \"mifid-100us\"\nmin_sites = 2\n",
			"name = \"house\"\ntolerance = \"5ms\"\n",
		},
		example: func() Profile {
			p := DefaultProfile("desk")
			p.Rule = "finra-50ms"
			return p
		},
		fresh: func() Profile { return DefaultProfile("") },
		id:    func(p *Profile) string { return p.Name },
		short: func(p *Profile) string {
			e := p.Effective()
			return durationText(e.Tolerance)
		},
	}
}

// profileKeys returns the keys of a [[profile]], in the order of the template.
func profileKeys() []itemKey[Profile] {
	return []itemKey[Profile]{
		{
			name:  "name",
			doc:   "What it is called in verdicts, alarms, metrics and reports. The name of a built-in rule is that rule. Required.",
			field: text(func(p *Profile) *string { return &p.Name }, nameRange, nameFault),
		}, {
			name:  "rule",
			doc:   "The built-in rule that it goes by in all that is not said here, where the name is another.",
			field: text(func(p *Profile) *string { return &p.Rule }, ruleRange(), ruleFault),
		}, {
			name:  "tolerance",
			doc:   "How far the clocks may be from UTC. Required without a rule.",
			field: optional(func(p *Profile) **time.Duration { return &p.Tolerance }, `"50ms"`, duration(itself[time.Duration], toleranceMin, toleranceMax)),
		}, {
			name:  "warn",
			doc:   "The error bound above which the verdict is a warning. Left out: half the tolerance.",
			field: optional(func(p *Profile) **time.Duration { return &p.Warn }, `"25ms"`, duration(itself[time.Duration], toleranceMin, toleranceMax)),
		}, {
			name:  "min_sources",
			doc:   "How many sources must agree: where fewer do, the verdict is a warning at best, and the check before the market opens is not passed.",
			field: optional(func(p *Profile) **int { return &p.MinSources }, "3", number(itself[int], 0, sourcesMax)),
		}, {
			name:  "min_nist",
			doc:   "How many of these must be NIST's.",
			field: optional(func(p *Profile) **int { return &p.MinNIST }, "1", number(itself[int], 0, sourcesMax)),
		}, {
			name:  "min_sites",
			doc:   "At how many different sites these must stand.",
			field: optional(func(p *Profile) **int { return &p.MinSites }, "2", number(itself[int], 0, sourcesMax)),
		}, {
			name:  "pre_open",
			doc:   "The time of day, in zone, by which the check before the market opens must be passed on every trading day; an alarm is raised 30 minutes before.",
			field: optional(func(p *Profile) **string { return &p.PreOpen }, `"09:00"`, text(itself[string], preOpenRange, preOpenFault)),
		}, {
			name:  "zone",
			doc:   "The time zone of pre_open. Without a rule: UTC.",
			field: optional(func(p *Profile) **string { return &p.Zone }, `"America/New_York"`, text(itself[string], zoneRange, zoneFault)),
		}, {
			name: "calendar",
			doc: "The trading days: \"nyse\" (the exchange's holidays, by its rules), \"target\" (the TARGET calendar), " +
				"\"weekdays\", or \"daily\". Without a rule: weekdays.",
			field: optional(func(p *Profile) **string { return &p.Calendar }, `"nyse"`, text(itself[string], calendarRange, calendarFault)),
		}, {
			name:  "holidays",
			doc:   "Further days without trading.",
			field: words(func(p *Profile) *[]string { return &p.Holidays }, holidaysMax, holidaysRange, `["2026-11-27"]`, holidayFault),
		}, {
			name:  "retention_days",
			doc:   "How long its evidence must be kept. Without a rule: 2557. The journal keeps all for as long as the longest of the profiles, and journal.evidence_days at the least.",
			field: optional(func(p *Profile) **int { return &p.RetentionDays }, "2557", number(itself[int], 1, retentionDaysMax)),
		}, {
			name:  "self_report_percent",
			doc:   "A breach whose error bound reaches so much of the tolerance is marked as one that may have to be reported.",
			field: optional(func(p *Profile) **int { return &p.SelfReportPercent }, "200", numberOrNone(itself[int], "never", reportPercentMin, reportPercentMax)),
		}, {
			name:  "self_report_count",
			doc:   "So is one with which so many have begun within 24 hours.",
			field: optional(func(p *Profile) **int { return &p.SelfReportCount }, "10", numberOrNone(itself[int], "never", 1, reportCountMax)),
		},
	}
}

// ruleNames are the names of the built-in profiles.
func ruleNames() []string {
	var names []string
	for _, p := range compliance.Builtins() {
		names = append(names, p.Name)
	}
	return names
}

func ruleRange() string { return "one of " + strings.Join(ruleNames(), ", ") + ", or nothing" }

func ruleFault(s string) string {
	if s != "" && !slices.Contains(ruleNames(), s) {
		return fmt.Sprintf("%s is no built-in rule: want %s", quoted(s), ruleRange())
	}
	return ""
}

const preOpenRange = `a time of day such as "09:00", or "off"`

func preOpenFault(s string) string {
	if _, ok := preOpenOf(s); !ok {
		return fmt.Sprintf("want %s, not %s", preOpenRange, quoted(s))
	}
	return ""
}

const zoneRange = `a time zone such as "America/New_York" or "UTC"`

func zoneFault(s string) string {
	if _, err := time.LoadLocation(s); err != nil || s == "" || s == "Local" {
		return fmt.Sprintf("want %s, not %s", zoneRange, quoted(s))
	}
	return ""
}

const calendarRange = `"nyse", "target", "weekdays" or "daily"`

func calendarFault(s string) string {
	if !slices.Contains([]string{"nyse", "target", "weekdays", "daily"}, s) {
		return fmt.Sprintf("want %s, not %s", calendarRange, quoted(s))
	}
	return ""
}

const holidaysRange = `a list of up to 1000 days such as "2026-11-27"`

func holidayFault(s string) string {
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		return fmt.Sprintf("%s is no day: want one such as \"2026-11-27\"", quoted(s))
	}
	return ""
}

// profileChecks reports what is wrong between the keys of profiles, and between profiles.
func profileChecks(c *Config) []crossFault {
	var faults []crossFault
	names := map[string]int{}
	for i := range c.Profiles {
		p := &c.Profiles[i]
		find := func(key, format string, args ...any) {
			faults = append(faults, crossFault{keys: []string{itemAt(profileSection, i, key), itemAt(profileSection, i, "")}, text: fmt.Sprintf(format, args...)})
		}
		first, twice := names[p.Name]
		_, hasRule := p.rule()
		switch {
		case p.Name == "":
			find("name", "the name is missing: a profile needs a name, and a tolerance where that is not one of %s", strings.Join(ruleNames(), ", "))
			continue
		case twice:
			find("name", "%s has the same name: give each profile its own", itemAt(profileSection, first, ""))
			continue
		}
		names[p.Name] = i
		switch {
		case p.Rule != "" && p.Rule != p.Name && slices.Contains(ruleNames(), p.Name):
			find("rule", "%s is a built-in rule itself: take rule out, or give the profile another name", quoted(p.Name))
		case !hasRule && p.Tolerance == nil:
			faults = append(faults, crossFault{
				keys: []string{itemAt(profileSection, i, ""), itemAt(profileSection, i, "tolerance"), itemAt(profileSection, i, "rule"), itemAt(profileSection, i, "name")},
				text: fmt.Sprintf("the tolerance is missing: %s is no built-in rule (want %s), so that it has to say its own", quoted(p.Name), ruleRange()),
			})
		default:
			faults = append(faults, p.check(i)...)
		}
	}
	return slices.Concat(faults, keepingChecks(c))
}

// check reports what is wrong between the keys of a profile with a rule or a tolerance. The ranges
// of its keys leave nothing else to be wrong.
func (p *Profile) check(i int) []crossFault {
	var faults []crossFault
	e := p.Effective()
	for _, problem := range e.Problems() {
		faults = append(faults, crossFault{
			keys: []string{itemAt(profileSection, i, "warn"), itemAt(profileSection, i, "tolerance"), itemAt(profileSection, i, "")},
			text: problem,
		})
	}
	return faults
}

// retentionDefault is how long evidence is kept where no profile wants it for longer: seven years.
const retentionDefault = 2557 * 24 * time.Hour

const day = 24 * time.Hour

// keepingChecks reports the profile that wants its evidence kept for the longest, where that is
// longer than the file says.
func keepingChecks(c *Config) []crossFault {
	longest, ok := c.longestKept()
	if kept := time.Duration(c.Journal.EvidenceDays) * day; !ok || kept == 0 || kept >= longest.Retention {
		return nil
	}
	days := int((longest.Retention + day - 1) / day)
	return []crossFault{{
		keys: []string{"journal.evidence_days"},
		text: fmt.Sprintf("profile %s wants its evidence kept for %d days: say as many at the least, or 0 for as long as the profiles want", quoted(longest.Name), days),
	}}
}

// longestKept returns the profile that wants its evidence kept for the longest, among those that
// this node's clocks and the hosts that it observes are held to; false: there is none.
func (c *Config) longestKept() (longest compliance.Profile, ok bool) {
	take := func(p compliance.Profile) {
		if !ok || p.Retention > longest.Retention {
			longest, ok = p, true
		}
	}
	for i := range c.Profiles {
		take(c.Profiles[i].Effective())
	}
	for i := range c.Monitors {
		if p, known := c.ProfileNamed(c.Monitors[i].Profile); known {
			take(p)
		}
	}
	return longest, ok
}

// EvidenceKept returns how long evidence is kept: as long as the file says, or else the longest of
// the profiles wants, seven years at the least.
func (c *Config) EvidenceKept() time.Duration {
	if c.Journal.EvidenceDays != 0 {
		return time.Duration(c.Journal.EvidenceDays) * day
	}
	longest, _ := c.longestKept()
	return max(retentionDefault, longest.Retention)
}
