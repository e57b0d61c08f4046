package config

import (
	"fmt"
	"time"

	"github.com/truechimer/truechimer/internal/leap"
)

// sourceChecks reports what is wrong between the keys of sources, between sources, and
// between them and the clock. A source whose address could not be read is passed over.
func sourceChecks(c *Config) []crossFault {
	var faults []crossFault
	find := func(text string, keys ...string) { faults = append(faults, crossFault{keys: keys, text: text}) }
	selectable, total := 0, 0
	names, servers := map[string]int{}, map[string]int{}
	for i := range c.Sources {
		s := &c.Sources[i]
		total += s.servers()
		if !s.NoSelect {
			selectable += s.servers()
		}
		faults = append(faults, s.check(i)...)
		if s.Address == "" {
			continue
		}
		server := canonical(s.Address)
		if first, twice := servers[server]; twice {
			find(fmt.Sprintf("%s is also the address of %s: asked twice, one server would have two votes", quoted(s.Address), sourceAt(first, "")),
				sourceAt(i, "address"))
		} else if first, twice := names[s.Name]; twice {
			find(fmt.Sprintf("%s is also called %s: give each source its own name", sourceAt(first, ""), quoted(s.Name)), sourceAt(i, "name"), sourceAt(i, ""))
		}
		servers[server], names[s.Name] = i, i
	}
	if total > sourcesMax && len(c.Sources) <= sourcesMax { // else the reader has said so
		find(fmt.Sprintf("with the members of pools there are %d sources: want %d at the most", total, sourcesMax), sourceAt(len(c.Sources)-1, ""), sourceAt(len(c.Sources)-1, "pool"))
	}
	steers := c.Clock.Mode != ModeFollow
	switch {
	case steers && len(c.Sources) == 0:
		find(fmt.Sprintf("mode %s follows sources, and there is none: add a [[source]] with its address, or set mode to %q", c.Clock.Mode, ModeFollow), "clock.mode")
	case steers && selectable == 0:
		find(fmt.Sprintf("mode %s follows sources, and every one says noselect: take that out of one at least, or set mode to %q", c.Clock.Mode, ModeFollow), "clock.mode")
	case selectable > 0 && c.Clock.MinSources > selectable:
		find(fmt.Sprintf("%d sources must agree, and there are %d that may be selected: the clock would never synchronise by them; add sources, or lower min_sources",
			c.Clock.MinSources, selectable), "clock.min_sources")
	}
	return append(faults, smearChecks(c.Sources)...)
}

// check reports what is wrong between the keys of one source.
func (s *Source) check(i int) []crossFault {
	var faults []crossFault
	find := func(text string, keys ...string) { faults = append(faults, crossFault{keys: keys, text: text}) }
	if s.Address == "" {
		find("the address is missing: a source needs at least address = \"...\"", sourceAt(i, "address"), sourceAt(i, ""))
	}
	if s.MinPoll > s.MaxPoll {
		find(fmt.Sprintf("min_poll (%d, which is %s) must not be above max_poll (%d, which is %s)",
			s.MinPoll, pollText(s.MinPoll), s.MaxPoll, pollText(s.MaxPoll)), sourceAt(i, "min_poll"), sourceAt(i, "max_poll"))
	}
	if host, _, _ := splitPort(s.Address); s.Pool > 0 && s.Address != "" && hostFault(host) != "" {
		find(fmt.Sprintf("%s is one address, and a pool is a name that stands for several: leave pool out", quoted(s.Address)), sourceAt(i, "pool"))
	}
	for _, wanted := range []struct {
		name string
		set  bool
	}{{"prefer", s.Prefer}, {"trust", s.Trust}, {"require", s.Require}} {
		if wanted.set && s.NoSelect {
			find(fmt.Sprintf("%s and noselect contradict each other: a source that is never followed cannot decide; take one of them out", wanted.name),
				sourceAt(i, wanted.name), sourceAt(i, "noselect"))
		}
	}
	return faults
}

// nistFault is for a server of NIST of which the file says that it is none.
func nistFault(i int, s *Source) crossFault {
	return crossFault{
		keys: []string{sourceAt(i, "nist")},
		text: quoted(s.Address) + " is a server of NIST, which refuses clients that ask more often than every 4 s: leave nist out, or say true",
	}
}

// smearChecks refuses to mix servers that are known to smear leap seconds with others: for
// hours around a leap second they differ by up to a second, and each side is right on its
// own scale. Those that are never selected may differ.
// Source: RFC 8633, section 2.7.1.
func smearChecks(sources []Source) []crossFault {
	first := -1
	var firstWho string
	for i := range sources {
		s := &sources[i]
		if s.NoSelect || s.Address == "" {
			continue
		}
		who, _ := leap.Smears(hostOf(s.Address))
		switch {
		case first < 0:
			first, firstWho = i, who
		case who != firstWho:
			return []crossFault{{
				keys: []string{sourceAt(i, "address")},
				text: fmt.Sprintf("%s and %s %s: around a leap second they differ by up to a second; "+
					"use servers of one kind, or set noselect for the others", smearWords(s, who), sourceAt(first, ""), smearVerb(firstWho)),
			}}
		}
	}
	return nil
}

func smearWords(s *Source, who string) string {
	if who == "" {
		return quoted(s.Address) + " is not known to smear leap seconds"
	}
	return quoted(s.Address) + " smears leap seconds as " + who + " does"
}

func smearVerb(who string) string {
	if who == "" {
		return "is not known to"
	}
	return "does as " + who + " does"
}

// sourceAt names a source, or a key of it, in messages: the first is source[1].
func sourceAt(i int, key string) string { return itemAt(sourceSection, i, key) }

// pollText says a poll interval.
func pollText(log2 int) string { return durationText(time.Second << log2) }
