package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// key declares one key of the file.
type key struct {
	section, name string
	doc           string // for the template, without the range
	usual         string // what a production file says, where the default differs
	live          bool   // can change without a restart
	field         field[Config]
	// refused says why a restart refuses this change too, or "". Nil: it never does.
	refused func(old, next *Config) string
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
	dscpMax                      = 63 // six bits of the IP header

	stepMin, stepMax = 100 * time.Microsecond, 24 * time.Hour
	stepUpdatesMax   = 1000
	slewMaxPPM       = 100_000 // the kernel's tick can change by a tenth

	// Below the least reserve the database has no room to compact what it holds.
	reserveMin, reserveMax = 16 << 20, 1 << 40

	rateIntervalMin, rateIntervalMax = time.Millisecond, time.Hour
	rateBurstMax                     = 1_000_000

	deviationMin, deviationMax = time.Microsecond, time.Minute
	rawDaysMax                 = 3660
	rateKissMax                = 1 << 16
)

// pathRange is what a path may be that can be left out.
const pathRange = "a path, or nothing"

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
			refused: func(old, next *Config) string {
				if old.Node.DataDir != next.Node.DataDir {
					return ""
				}
				return fmt.Sprintf("a data directory keeps the number that it was created with: set it back to %d, or name another node.data_dir as well",
					old.Node.Number)
			},
		}, {
			section: "node", name: "data_dir",
			doc:   "Where timestamps are made durable, relative to the working directory. No other process may use it.",
			usual: `"/var/lib/truechimer"`,
			field: text(func(c *Config) *string { return &c.Node.DataDir }, "a path", pathFault),
		}, {
			section: "clock", name: "mode",
			doc: "Who steers the clock. \"follow\": the system clock as it is, which somebody else steers, or nobody; the sources are " +
				"witnesses. \"steer\": this node steers the system clock by its sources; needs CAP_SYS_TIME, and that no other time daemon " +
				"runs. \"virtual\": this node serves a clock of its own, steered by its sources, and leaves the system clock alone.",
			field: text(func(c *Config) *string { return &c.Clock.Mode }, modeRange, modeFault),
		}, {
			section: "clock", name: "min_sources", live: true,
			doc:   "How many sources must agree before they are followed. Where one wrong source must not matter, say 3, of 4 or more.",
			field: number(func(c *Config) *int { return &c.Clock.MinSources }, 1, sourcesMax),
		}, {
			section: "clock", name: "step_threshold",
			doc: "In modes steer and virtual: an offset above it is corrected by a step in the first updates after the start; any other " +
				"is slewed. truechimer clock makestep steps at any time.",
			field: durationOrNone(func(c *Config) *time.Duration { return &c.Clock.StepThreshold }, "no step", stepMin, stepMax),
		}, {
			section: "clock", name: "step_updates",
			doc:   "How many updates after the start may step.",
			field: number(func(c *Config) *int { return &c.Clock.StepUpdates }, 1, stepUpdatesMax),
		}, {
			section: "clock", name: "slew_max_ppm",
			doc: "How fast an offset is slewed at the most, in millionths: at 500, 50 ms take 100 s. The system clock of Linux can do " +
				"100000; programs that measure time notice what is above a few hundred.",
			field: number(func(c *Config) *int { return &c.Clock.SlewMaxPPM }, 1, slewMaxPPM),
		}, {
			section: "clock", name: "leap_file",
			doc: "The list of leap seconds (leap-seconds.list). \"auto\" takes the system's, or its time zone data; \"off\" believes " +
				"only what a majority of the sources announces.",
			field: text(func(c *Config) *string { return &c.Clock.LeapFile }, leapRange, leapFault),
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
			section: "clock", name: "source_deviation", live: true,
			doc: "An alarm is raised for a source that is farther from the median of the others than that, whether or not it is outvoted: a step " +
				"of a whole time scale can hide within what servers far away may be wrong by.",
			field: duration(func(c *Config) *time.Duration { return &c.Clock.SourceDeviation }, deviationMin, deviationMax),
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
			section: "ntp", name: "interface",
			doc:   "The network interface that requests must come in by and replies leave by.",
			field: text(func(c *Config) *string { return &c.NTP.Interface }, interfaceRange, interfaceFault),
		}, {
			section: "ntp", name: "dscp",
			doc:   "The code point that replies carry (DSCP), for networks that put time first; 46 is expedited forwarding.",
			field: number(func(c *Config) *uint8 { return &c.NTP.DSCP }, 0, dscpMax),
		}, {
			section: "ntp", name: "allow", live: true,
			doc: "Who is answered. Of the prefixes of allow and deny that hold a client's address the longest decides. " +
				"Where none does, the client is denied if allow lists anything, and else allowed.",
			usual: `["10.0.0.0/8", "2001:db8::/32"]`,
			field: prefixes(func(c *Config) *[]netip.Prefix { return &c.NTP.Allow }),
		}, {
			section: "ntp", name: "deny", live: true,
			doc:   "Who is not answered: a denied client hears nothing. See allow.",
			field: prefixes(func(c *Config) *[]netip.Prefix { return &c.NTP.Deny }),
		}, {
			section: "ntp", name: "rate_interval", live: true,
			doc: "The time in which a client earns one request. A client is an IPv4 address, or an IPv6 prefix of 64 " +
				"bits. What is beyond its rate is refused; one in four is answered all the same, at random, so that a " +
				"flood in a client's name does not take the time from that client.",
			field: durationOrNone(func(c *Config) *time.Duration { return &c.NTP.RateInterval }, "no limit", rateIntervalMin, rateIntervalMax),
		}, {
			section: "ntp", name: "rate_burst", live: true,
			doc:   "How many requests a client can save up while it is silent.",
			field: number(func(c *Config) *int { return &c.NTP.RateBurst }, 1, rateBurstMax),
		}, {
			section: "ntp", name: "rate_kiss", live: true,
			doc:   "One in so many refusals, at random, is a reply with the kiss code RATE in place of silence. 0 is never.",
			field: number(func(c *Config) *int { return &c.NTP.RateKiss }, 0, rateKissMax),
		}, {
			section: "ntp", name: "rate_private", live: true,
			doc: "Limit private, link-local and loopback addresses too. Many clients of a site can hide behind one of " +
				"those. Where strangers can send under such addresses, because nothing on the way drops them, say true.",
			field: boolean(func(c *Config) *bool { return &c.NTP.RatePrivate }),
		}, {
			section: "ntp", name: "interleaved",
			doc: "Answer in interleaved mode (RFC 9769) the clients that ask for it: with the kernel's transmit " +
				"timestamp of the reply before, which is more exact.",
			field: boolean(func(c *Config) *bool { return &c.NTP.Interleaved }),
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
			section: "store", name: "reserve",
			doc: "Nothing is appended to streams while less of the disk is free, so that timestamps, and the store's own work, go " +
				"on. Appends resume by themselves once there is space.",
			field: size(func(c *Config) *uint64 { return &c.Store.Reserve }, reserveMin, reserveMax),
		}, {
			section: "api", name: "listen",
			doc: "Where the API, the health endpoints and the metrics are served, over TCP. Port 0 is a free one that the kernel chooses. " +
				"Beyond loopback it needs TLS, and a [[principal]] or a word in anonymous.",
			field: addresses(func(c *Config) *[]netip.AddrPort { return &c.API.Listen }, servable),
		}, {
			section: "api", name: "tls_cert",
			doc: "The certificate that the API is served with, and those that lead to its root, in PEM. With it, TLS 1.3 and nothing else is spoken. " +
				"The files are read again when they change.",
			field: text(func(c *Config) *string { return &c.API.TLSCert }, pathRange, noPathFault),
		}, {
			section: "api", name: "tls_key",
			doc:   "The private key of tls_cert, in PEM.",
			field: text(func(c *Config) *string { return &c.API.TLSKey }, pathRange, noPathFault),
		}, {
			section: "api", name: "client_ca",
			doc:   "The certificates of those who sign client certificates, in PEM. Clients are then asked for one, and may do without.",
			field: text(func(c *Config) *string { return &c.API.ClientCA }, pathRange, noPathFault),
		}, {
			section: "api", name: "plaintext_on_network",
			doc: "Serve beyond loopback without TLS: tokens and data go unencrypted, and whoever is on the way can read and change them. For " +
				"networks that encrypt by themselves.",
			field: boolean(func(c *Config) *bool { return &c.API.PlaintextOnNetwork }),
		}, {
			section: "api", name: "anonymous", live: true,
			doc: "The rights of those who show neither a token nor a certificate, for all streams. Left out: everything while there is no " +
				"[[principal]], nothing once there is one.",
			field: words(func(c *Config) *[]string { return &c.API.Anonymous }, len(Rights()), rightsRange, wordsText(Rights()), rightFault),
		}, {
			section: "api", name: "access_log",
			doc: "The file that calls which are refused are appended to, a line of JSON each, some tens a second at the most. It is opened again at " +
				"SIGHUP. Left empty: they go to the log.",
			usual: `"/var/log/truechimer/refused.log"`,
			field: text(func(c *Config) *string { return &c.API.AccessLog }, pathRange, noPathFault),
		}, {
			section: "api", name: "open_health", live: true,
			doc:   "Health endpoints (/livez, /healthz, /readyz) answer everybody; else only who has the right to read.",
			field: boolean(func(c *Config) *bool { return &c.API.OpenHealth }),
		}, {
			section: "api", name: "open_metrics", live: true,
			doc:   "Metrics (/metrics) are told to everybody; else only to who has the right to read.",
			field: boolean(func(c *Config) *bool { return &c.API.OpenMetrics }),
		}, {
			section: "journal", name: "raw_days", live: true,
			doc: "How long every measurement, with its four timestamps, and the clock second by second are kept. What they come to " +
				"is kept for as long as the evidence.",
			field: number(func(c *Config) *int { return &c.Journal.RawDays }, 1, rawDaysMax),
		}, {
			section: "journal", name: "evidence_days", live: true,
			doc: "How long all else is kept: results of synchronisation, hourly summaries, breaches, alarms, changes of state and " +
				"configuration. 0: as long as the longest of the profiles wants, seven years at the least.",
			field: number(func(c *Config) *int { return &c.Journal.EvidenceDays }, 0, retentionDaysMax),
		}, {
			section: "journal", name: "head_file", live: true,
			doc: "A file that each signed head of the journal is appended to, one a minute: best on another machine. Whoever has a head can prove " +
				"later that nothing before it was changed.",
			usual: `"/mnt/audit/truechimer.heads"`,
			field: text(func(c *Config) *string { return &c.Journal.HeadFile }, pathRange, noPathFault),
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
	denied := make(map[netip.Prefix]bool, len(c.NTP.Deny))
	for _, p := range c.NTP.Deny {
		denied[p] = true
	}
	for _, p := range c.NTP.Allow {
		if denied[p] {
			faults = append(faults, crossFault{
				keys: []string{"ntp.allow", "ntp.deny"},
				text: fmt.Sprintf("allow and deny both list %q: take it out of one of them", p),
			})
		}
	}
	return faults
}

type crossFault struct {
	keys []string
	text string
}

// sectionNames returns the sections in the order of the template.
func sectionNames() []string {
	var names []string
	for _, k := range keys() {
		if len(names) > 0 && names[len(names)-1] == k.section {
			continue
		}
		names = append(names, k.section)
	}
	for _, l := range lists() {
		names = slices.Insert(names, slices.Index(names, l.after)+1, l.name)
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
	if l, ok := listAt(section); ok {
		names = append(names, l.keys...)
	}
	return names
}
