package compliance

import (
	"cmp"
	"slices"
	"time"
)

// Builtins returns the profiles that there are without being configured, by name. What rules
// they come from is in STANDARDS, section 4.1; what stands there from memory is marked here too.
func Builtins() []Profile {
	list := []Profile{
		american("finra-50ms", "FINRA Rules 4590 and 6820: within 50 ms of NIST", 50*time.Millisecond, 6*Year),
		american("manual-1s", "FINRA Rules 4590 and 6820, manual events: within 1 s of NIST", time.Second, 6*Year),
		american("cat-participant-100us", "CAT NMS Plan, section 6.8, participants: within 100 µs of NIST", 100*time.Microsecond, 5*Year),
		european("mifid-1ms", "MiFID II RTS 25: within 1 ms of UTC", time.Millisecond),
		european("mifid-100us", "MiFID II RTS 25: within 100 µs of UTC", 100*time.Microsecond),
		pci(),
	}
	slices.SortFunc(list, func(a, b Profile) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Builtin returns the profile with a name that there is without being configured.
func Builtin(name string) (Profile, bool) {
	all := Builtins()
	i := slices.IndexFunc(all, func(p Profile) bool { return p.Name == name })
	if i < 0 {
		return Profile{}, false
	}
	return all[i], true
}

// american returns a profile for a rule that names NIST: clocks are synchronised on each business
// day before the market opens, at 09:30 in New York. Half an hour before, and by three sources of
// which one is NIST's: AC-C5.
//
// Evidence: Rule 4590 points to SEC Rule 17a-4, which asks for up to 6 years; the CAT NMS Plan
// for 5 (from memory both).
func american(name, title string, tolerance, retention time.Duration) Profile {
	p := NewProfile(name, tolerance)
	p.Title = title
	p.MinSources, p.MinNIST = 3, 1
	p.PreOpen, p.Zone, p.Calendar = 9*time.Hour, "America/New_York", "nyse"
	p.Retention = retention
	return p
}

// european returns a profile for RTS 25. It asks for traceability to UTC by any way that is
// documented, and so for no number of sources. Trading on the large venues begins at 09:00
// Central European Time. Records are kept for 5 years (MiFIR, article 25; from memory). Nothing is
// reported by a count.
func european(name, title string, tolerance time.Duration) Profile {
	p := NewProfile(name, tolerance)
	p.Title = title
	p.PreOpen, p.Zone, p.Calendar = 8*time.Hour+30*time.Minute, "Europe/Paris", "target"
	p.Retention = 5 * Year
	p.SelfReportFactor, p.SelfReportCount = 0, 0
	return p
}

// pci returns the profile for PCI DSS, which asks for "consistent time" and gives no number. A second is
// what the stamps of most logs resolve, and what it takes to put the logs of several systems in
// order. Logs are kept for a year (requirement 10.5.1; from memory). No market opens.
func pci() Profile {
	p := NewProfile("pci-10.6", time.Second)
	p.Title = "PCI DSS 4.0, requirement 10.6: consistent time, here within 1 s of UTC"
	p.Retention = 1 * Year
	p.SelfReportFactor, p.SelfReportCount = 0, 0
	return p
}
