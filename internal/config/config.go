// Package config is the configuration file: its types, defaults, reading and
// checking. It is the one place that declares keys: the table in keys.go drives
// reading, checking, the commented template, the effective file and the
// comparison at a reload.
//
// It promises that a Config that Load, Parse, Default or Tour return is valid,
// and that Load and Parse report every problem that they can see at once, each
// with its file, line and key. It knows nothing of the parts that are configured:
// the daemon turns a Config into their Options.
package config

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"time"
)

// Config is the whole configuration, one field for each section of the file.
type Config struct {
	Node    Node
	Clock   Clock
	Sources []Source // at most 64 servers, members of pools among them
	NTP     NTP
	HLC     HLC
	Store   Store
	API     API
	// Principals are whom the API knows, at most 1024.
	Principals []Principal
	Journal    Journal
	Profiles   []Profile // at most 16
	Alerts     []Alert   // at most 16
	Monitors   []Monitor // at most 64
}

// Journal says how long the evidence is kept, and where its heads are handed out.
type Journal struct {
	RawDays      int    // measurements, and the clock second by second
	EvidenceDays int    // all else; 0: see EvidenceKept
	HeadFile     string // path; empty: none
}

// Node says which appliance this is and where its data are.
type Node struct {
	Name    string
	Number  uint16 // breaks ties between nodes
	DataDir string // relative to the working directory
}

// Clock says who steers the clock, what it believes and when it counts as synchronised.
type Clock struct {
	Mode string // ModeFollow, ModeSteer or ModeVirtual

	MinSources    int           // how many sources must agree
	StepThreshold time.Duration // an offset above it is stepped; 0: never
	StepUpdates   int           // and only in so many first updates
	SlewMaxPPM    int           // how fast an offset is slewed at the most
	LeapFile      string        // LeapAuto, LeapOff, or an absolute path

	LocalStratum  uint8 // 0: off
	FollowStratum uint8
	// Chronyd is ChronydAuto, ChronydOff, the absolute path of chronyd's command
	// socket, or the loopback address and port of its command port.
	Chronyd    string
	ErrorLimit time.Duration
	// SourceDeviation is how far one source may be from the median of the others.
	SourceDeviation time.Duration
}

// The values of Clock.Chronyd that name no address.
const (
	ChronydAuto = "auto"
	ChronydOff  = "off"
)

// The values of Clock.Mode.
const (
	ModeFollow  = "follow"
	ModeSteer   = "steer"
	ModeVirtual = "virtual"
)

// The values of Clock.LeapFile that name no file.
const (
	LeapAuto = "auto"
	LeapOff  = "off"
)

// NTP says where and how time is served, and to whom.
type NTP struct {
	Listen    []netip.AddrPort
	Workers   int    // 0: one for each core
	Interface string // empty: any
	DSCP      uint8

	// Of the prefixes that hold a client's address the longest decides. Where none
	// does, the client is denied if Allow lists anything. None has host bits.
	Allow, Deny []netip.Prefix

	RateInterval time.Duration // in which a client earns one request; 0: no limit
	RateBurst    int           // requests that a client can save up
	RateKiss     int           // one in so many refusals is told; 0: none
	RatePrivate  bool          // private addresses are limited too

	Interleaved bool
}

// HLC holds the limits of the hybrid logical clock.
type HLC struct {
	MaxLead time.Duration
	Window  time.Duration
}

// Store says what the store leaves alone.
type Store struct {
	Reserve uint64 // free disk space, in bytes, below which nothing is appended
}

// API says where and how the API is served, and to whom.
type API struct {
	Listen []netip.AddrPort

	TLSCert, TLSKey string // paths; empty: no TLS
	ClientCA        string // path; empty: clients are not asked for certificates
	// PlaintextOnNetwork says that it may be served beyond loopback without TLS.
	PlaintextOnNetwork bool

	// Anonymous are the rights of those who show no credential; nil: see AnonymousRights.
	Anonymous []string
	AccessLog string // path; empty: the log

	OpenHealth, OpenMetrics bool // whether those who may not read get health and metrics
}

const (
	fileLenMax   = 1 << 20 // bytes
	tourStratum  = 10
	fallbackName = "truechimer"
)

// Default returns the value of every key that a file leaves out. Its Node.Name
// is the host's name, so it differs between machines.
func Default() Config {
	return Config{
		Node: Node{Name: hostName(), DataDir: "./data"},
		Clock: Clock{
			Mode:          ModeFollow,
			MinSources:    1,
			StepThreshold: 50 * time.Millisecond,
			StepUpdates:   3,
			SlewMaxPPM:    500,
			LeapFile:      LeapAuto,
			FollowStratum: 10,
			Chronyd:       ChronydAuto,
			ErrorLimit:    time.Second,

			SourceDeviation: 5 * time.Millisecond,
		},
		NTP: NTP{
			Listen:       []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:11123")},
			RateInterval: 8 * time.Second,
			RateBurst:    8,
			RateKiss:     16,
			Interleaved:  true,
		},
		HLC:   HLC{MaxLead: time.Second, Window: 250 * time.Millisecond},
		Store: Store{Reserve: 256 << 20},
		API:   API{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8123")}, OpenHealth: true},

		Journal: Journal{RawDays: 30},
	}
}

// Tour returns what is served where there is no file: the defaults, all of which
// are loopback and high ports, and an unsynchronised clock as local stratum 10,
// so that a first try works on any machine.
func Tour() Config {
	c := Default()
	c.Clock.LocalStratum = tourStratum
	return c
}

// Load reads the file at path. What the file leaves out has its default. The
// error is a *Problems where the file could be read but not accepted.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("open configuration: %w; `truechimer config init` writes a template", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, fileLenMax+1))
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data)
}

// Validate reports what a file with these values would be refused for, as a
// *Problems, or nil. It serves who changed a Config after loading it, by a flag
// say; the lines that it names are those of c.TOML().
func (c Config) Validate() error {
	_, err := Parse("configuration", []byte(c.TOML()))
	return err
}

// Adopt returns c with the keys of next that can change without a restart; the
// rest of what Diff lists stays as it is in c. It returns c and a *Problems where
// the two do not go together.
func (c Config) Adopt(next Config) (Config, error) {
	adopted := c
	for _, k := range keys() {
		if k.live {
			k.field.copy(&adopted, &next)
		}
	}
	adopted.Sources = slices.Clone(next.Sources)
	adopted.Principals = slices.Clone(next.Principals)
	adopted.Profiles = slices.Clone(next.Profiles)
	adopted.Alerts = slices.Clone(next.Alerts)
	adopted.Monitors = slices.Clone(next.Monitors)
	if err := adopted.Validate(); err != nil {
		return c, err
	}
	return adopted, nil
}

// Change is one key that differs between two configurations. Old and New are for
// a log: without the quotes of the file, and cut where they are long.
type Change struct {
	Key      string
	Old, New string
	Live     bool // takes effect without a restart
	// Refused says why a restart will not take it either, and what to do; empty
	// where it will.
	Refused string
}

// Diff lists the keys whose values differ, in the order of the file. Sources, principals and
// what else there can be many of are known by their names there: source[NAME] is one that came or went,
// source[NAME].min_poll a key of one that stayed.
func Diff(old, next Config) []Change {
	var changes []Change
	for _, section := range sectionNames() {
		if l, ok := listAt(section); ok {
			changes = append(changes, l.diff(&old, &next)...)
			continue
		}
		for _, k := range keys() {
			if k.section != section || k.field.text(&old) == k.field.text(&next) {
				continue
			}
			change := Change{Key: k.path(), Old: cut(k.field.plain(&old), changeLenMax), New: cut(k.field.plain(&next), changeLenMax), Live: k.live}
			if k.refused != nil {
				change.Refused = k.refused(&old, &next)
			}
			changes = append(changes, change)
		}
	}
	return changes
}

// changeLenMax bounds the values of a Change, in bytes: a list can have thousands
// of entries.
const changeLenMax = 300

// hostName is the host's name as far as it makes a node's name.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return fallbackName
	}
	if len(name) > nameLenMax {
		name = name[:nameLenMax]
	}
	if nameFault(name) != "" {
		return fallbackName
	}
	return name
}
