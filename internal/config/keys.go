package config

import (
	"fmt"
	"net/netip"
	"time"
)

// key declares one key of the file.
type key struct {
	section, name string
	doc           string // for the template, without the range
	usual         string // what a production file says, where the default differs
	live          bool   // can change without a restart
	field         field
}

func (k key) path() string { return k.section + "." + k.name }

// Limits of the keys that take a number or a duration.
const (
	workersMax = 1024
	// The kernel gives up at an error of 16 s (NTP_PHASE_LIMIT in timex.h): a
	// larger limit could never be missed.
	errorLimitMin, errorLimitMax = 10 * time.Microsecond, 16 * time.Second
	leadMin, leadMax             = 10 * time.Millisecond, time.Hour
	windowMin, windowMax         = 20 * time.Millisecond, 10 * time.Second
	stratumMax                   = 15 // RFC 5905: 16 is unsynchronised
	numberMax                    = 1<<16 - 1
)

// keys returns every key, in the order of the template.
func keys() []key {
	return []key{
		{
			section: "node", name: "name",
			doc:   "What this node is called in logs and in its status. Left out: the host's name.",
			field: text(func(c *Config) *string { return &c.Node.Name }, nameRange, nameFault),
		}, {
			section: "node", name: "number",
			doc: "Breaks ties between timestamps of different nodes: give each node its own. " +
				"A data directory keeps the number that it was created with.",
			field: number(func(c *Config) *uint16 { return &c.Node.Number }, 0, numberMax),
		}, {
			section: "node", name: "data_dir",
			doc:   "Where timestamps are made durable, relative to the working directory. No other process may use it.",
			usual: `"/var/lib/truechimer"`,
			field: text(func(c *Config) *string { return &c.Node.DataDir }, "a path", pathFault),
		}, {
			section: "clock", name: "local_stratum", live: true,
			doc: "Serve an unsynchronised clock as this stratum, labelled as local, so that an isolated site agrees " +
				"with itself; it is never ready and proves no error bound. No other time daemon on this host may follow " +
				"this server then. 0 is off.",
			field: number(func(c *Config) *uint8 { return &c.Clock.LocalStratum }, 0, stratumMax),
		}, {
			section: "clock", name: "follow_stratum", live: true,
			doc:   "The stratum that is served where only the kernel says that the clock is synchronised.",
			field: number(func(c *Config) *uint8 { return &c.Clock.FollowStratum }, 1, stratumMax),
		}, {
			section: "clock", name: "chronyd", live: true,
			doc:   "The chronyd that steers this clock. \"auto\" asks it at its usual socket, where there is one.",
			field: text(func(c *Config) *string { return &c.Clock.Chronyd }, chronydRange, chronydFault),
		}, {
			section: "clock", name: "error_limit", live: true,
			doc:   "The error bound above which the clock no longer counts as synchronised, and the node as ready.",
			field: duration(func(c *Config) *time.Duration { return &c.Clock.ErrorLimit }, errorLimitMin, errorLimitMax),
		}, {
			section: "ntp", name: "listen",
			doc: "Where time is served, over UDP. The default reaches this machine only. Ports below 1024 need " +
				"CAP_NET_BIND_SERVICE; port 0 is a free one that the kernel chooses.",
			usual: `["0.0.0.0:123", "[::]:123"]`,
			field: addresses(func(c *Config) *[]netip.AddrPort { return &c.NTP.Listen }, servable),
		}, {
			section: "ntp", name: "workers",
			doc:   "Threads that answer, for each address. 0 is one for each core.",
			field: number(func(c *Config) *int { return &c.NTP.Workers }, 0, workersMax),
		}, {
			section: "hlc", name: "max_lead", live: true,
			doc:   "How far timestamps may run ahead of this clock, by load or by what another node has sent.",
			field: duration(func(c *Config) *time.Duration { return &c.HLC.MaxLead }, leadMin, leadMax),
		}, {
			section: "hlc", name: "window",
			doc: "How far ahead the durable ceiling is kept. After a crash the clock starts as far ahead at the most. " +
				"Less than max_lead.",
			field: duration(func(c *Config) *time.Duration { return &c.HLC.Window }, windowMin, windowMax),
		}, {
			section: "api", name: "listen",
			doc: "Where the API, the health endpoints and the metrics are served, over TCP. Loopback only: this version " +
				"has neither TLS nor tokens. Port 0 is a free one that the kernel chooses.",
			field: addresses(func(c *Config) *[]netip.AddrPort { return &c.API.Listen }, loopbackOnly),
		},
	}
}

// crossChecks reports what is wrong between keys that are each right. Each fault
// names the keys that it is about; it belongs to the first of them in the file.
func crossChecks(c *Config) []crossFault {
	var faults []crossFault
	if c.HLC.Window >= c.HLC.MaxLead {
		faults = append(faults, crossFault{
			keys: []string{"hlc.window", "hlc.max_lead"},
			text: fmt.Sprintf("window (%s) must be less than max_lead (%s): after a crash the clock leads by up to the window",
				durationText(c.HLC.Window), durationText(c.HLC.MaxLead)),
		})
	}
	return faults
}

type crossFault struct {
	keys []string
	text string
}

// sectionNames returns the sections in the order of the table.
func sectionNames() []string {
	var names []string
	for _, k := range keys() {
		if len(names) == 0 || names[len(names)-1] != k.section {
			names = append(names, k.section)
		}
	}
	return names
}

// keysOf returns the names of a section's keys.
func keysOf(section string) []string {
	var names []string
	for _, k := range keys() {
		if k.section == section {
			names = append(names, k.name)
		}
	}
	return names
}
