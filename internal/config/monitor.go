package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/fleet"
)

// Monitor is a group of NTP hosts that are observed.
type Monitor struct {
	Name     string
	Hosts    []string // names, addresses, prefixes and ranges
	Exclude  []string
	Interval time.Duration // of each host
	Profile  string        // name of a [[profile]], or of a built-in one
}

const (
	monitorSection      = "monitor"
	monitorsMax         = 64
	monitorEntriesMax   = 4096
	probeMin, probeMax  = 8 * time.Second, 24 * time.Hour
	monitorSectionWords = "A group of other NTP hosts that this node observes: which of them are beyond a limit, out of reach, or were never seen. One such section for each, " +
		"64 groups and 4096 hosts at the most. Groups are numbered from 1 in messages. (live)"
)

// DefaultMonitor returns a group of which nothing but the name is said.
func DefaultMonitor(name string) Monitor { return Monitor{Name: name, Interval: 64 * time.Second} }

func monitorWords() listWords[Monitor] {
	return listWords[Monitor]{
		intro:   monitorSectionWords,
		samples: []string{"name = \"trading\"\nhosts = [\"matching1.example.net\", \"10.1.2.0/28\", \"10.1.3.10-10.1.3.29\"]\nprofile = \"finra-50ms\"\n"},
		example: func() Monitor {
			m := DefaultMonitor("servers")
			m.Hosts, m.Profile = []string{"10.0.0.0/28"}, "finra-50ms"
			return m
		},
		fresh: func() Monitor { return DefaultMonitor("") },
		id:    func(m *Monitor) string { return m.Name },
		short: func(m *Monitor) string { return m.Profile },
	}
}

// monitorKeys returns the keys of a [[monitor]], in the order of the template.
func monitorKeys() []itemKey[Monitor] {
	return []itemKey[Monitor]{
		{
			name:  "name",
			doc:   "What the group is called in tables, alarms and metrics. Required.",
			field: text(func(m *Monitor) *string { return &m.Name }, nameRange, nameFault),
		}, {
			name:  "hosts",
			doc:   "The hosts: names, IP addresses, prefixes and ranges; names and addresses may have a port. Required.",
			field: words(func(m *Monitor) *[]string { return &m.Hosts }, monitorEntriesMax, hostsRange, `["10.0.0.0/28"]`, hostsFault),
		}, {
			name:  "exclude",
			doc:   "Hosts among these that are left out.",
			field: words(func(m *Monitor) *[]string { return &m.Exclude }, monitorEntriesMax, hostsRange, `["10.0.0.7"]`, excludedFault),
		}, {
			name:  "interval",
			doc:   "How often each host is asked. One that does not answer is asked less often.",
			field: duration(func(m *Monitor) *time.Duration { return &m.Interval }, probeMin, probeMax),
		}, {
			name:  "profile",
			doc:   "The limit that their clocks are held to: the name of a [[profile]], or of a built-in rule. Required.",
			field: text(func(m *Monitor) *string { return &m.Profile }, nameRange, nameFault),
		},
	}
}

const hostsRange = `a list of host names, IP addresses, either with a port, prefixes such as "10.0.0.0/28", and ranges such as "10.0.0.1-10.0.0.9"`

// hostsFault is what is wrong with an entry of a group's list of hosts, or "".
func hostsFault(s string) string {
	if err := fleet.CheckHost(s); err != nil {
		return err.Error()
	}
	return ""
}

// excludedFault is what is wrong with an entry of a group's exclusions, or "".
func excludedFault(s string) string {
	if err := fleet.CheckExcluded(s); err != nil {
		return err.Error()
	}
	return ""
}

// loopbackHost reports whether the host of a URL is this machine.
func loopbackHost(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	return host == "localhost"
}

// monitorChecks reports what is wrong between the keys of groups, between groups, and between
// them and the profiles.
func monitorChecks(c *Config) []crossFault {
	var faults []crossFault
	names := map[string]int{}
	whole := true // what is told of a profile is not told again of the groups that it is for
	for i := range c.Monitors {
		m := &c.Monitors[i]
		find := func(key, format string, args ...any) {
			faults = append(faults, crossFault{keys: []string{itemAt(monitorSection, i, key), itemAt(monitorSection, i, "")}, text: fmt.Sprintf(format, args...)})
		}
		if m.Name == "" {
			find("name", "the name is missing: a group needs name, hosts and profile")
		} else if first, twice := names[m.Name]; twice {
			find("name", "%s has the same name: give each group its own", itemAt(monitorSection, first, ""))
		}
		names[m.Name] = i
		if len(m.Hosts) == 0 {
			find("hosts", "the hosts are missing: a group needs name, hosts and profile")
		}
		profile, known := c.ProfileNamed(m.Profile)
		whole = whole && profile.Tolerance > 0
		switch {
		case m.Profile == "":
			find("profile", "the profile is missing: it says how far the hosts may be from UTC")
		case !known:
			find("profile", "there is no profile %s: add a [[profile]] of that name, or name a built-in rule: %s", quoted(m.Profile), ruleRange())
		}
	}
	if faults == nil && whole {
		for _, wrong := range unjoin(fleet.Check(c.Groups())) {
			faults = append(faults, crossFault{keys: []string{itemAt(monitorSection, len(c.Monitors)-1, "")}, text: wrong.Error()})
		}
	}
	return faults
}

// unjoin returns the errors that errors.Join has joined, at any depth.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, unjoin(e)...)
	}
	return all
}

// Groups are the hosts that are observed.
func (c *Config) Groups() []fleet.Group {
	var list []fleet.Group
	for _, m := range c.Monitors {
		profile, _ := c.ProfileNamed(m.Profile)
		list = append(list, fleet.Group{Name: m.Name, Hosts: m.Hosts, Exclude: m.Exclude, Interval: m.Interval, Profile: profile})
	}
	return list
}

// ProfileNamed returns the profile of the file with a name, or the built-in one.
func (c *Config) ProfileNamed(name string) (compliance.Profile, bool) {
	if i := slices.IndexFunc(c.Profiles, func(p Profile) bool { return p.Name == name }); i >= 0 {
		return c.Profiles[i].Effective(), true
	}
	return compliance.Builtin(name)
}
