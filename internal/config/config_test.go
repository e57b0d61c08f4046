package config

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func diff(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{}, netip.Prefix{})); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// full sets every key to something else than its default.
const full = `
[node]
name = "t1.example"
number = 65_535
data_dir = '/var/lib/true "chimer"'

[clock]
mode = "virtual"
min_sources = 3
step_threshold = "0s"
step_updates = 1_000
slew_max_ppm = 100000
leap_file = '/usr/share/zoneinfo/leap-seconds.list'
local_stratum = 15
follow_stratum = 0x1
chronyd = "[::1]:323"
error_limit = "50ms"
source_deviation = "1ms"

[[source]]
address = "[2001:db8::1]:1123"
name = "one/'two'"
site = "north"
nist = true
provider_error = "1.5ms"
iburst = false
interleaved = false
min_poll = 3
max_poll = 17
prefer = true
trust = true
require = true

[[source]] # all else at its default
address = "Pool.example.org."
pool = 16

[[ source ]]
address = "time-a-g.NIST.gov:123"
noselect = true

[ntp]
listen = ["0.0.0.0:123", "[::]:123", # both
  "[fe80::1%eth0]:123", "127.0.0.1:0"]
workers = 1024
interface = "eth0.4094-x"
dscp = 0x2e
allow = ["10.0.0.0/8", "2001:db8::/32", # the site
  "192.0.2.1", "2001:DB8:1::1", "0.0.0.0/0", "::/0"]
deny = ["10.1.2.3/32", "fe80::/10"]
rate_interval = "1ms"
rate_burst = 1_000_000
rate_kiss = 65536
rate_private = true
interleaved = false

[hlc]
max_lead = "1h"
window = "20ms"

[store]
reserve = "2GiB"

[api]
listen = ["[::1]:8123"]
tls_cert = "/etc/api.pem"
tls_key = "/etc/api.key"
client_ca = "ca.pem"
plaintext_on_network = true
anonymous = []
access_log = "refused.log"
open_health = false
open_metrics = true

[[principal]]
name = "orders"
token = "sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
certificate = "spiffe://example.net/orders"
rights = ["read", "append"]
streams = ["orders/", "a"]
calls = 1
timestamps_per_second = 1_000_000_000
append_bytes_per_second = "2MiB"

[[principal]]
name = "nobody"
certificate = "Nobody at all"
rights = []

[journal]
raw_days = 3660
evidence_days = 36_525
head_file = "/mnt/audit/heads"

[[profile]]
name = "desk"
rule = "mifid-100us"
tolerance = "50ms"
warn = "40ms"
min_sources = 4
min_nist = 2
min_sites = 0
pre_open = "23:59"
zone = "Asia/Tokyo"
calendar = "daily"
holidays = ["2026-11-27",
  "2026-12-24"]
retention_days = 36_525
self_report_percent = 1_000_000
self_report_count = 1000

[[profile]] # all else as the rule says
name = "finra-50ms"

[[alert]]
name = "on-call"
type = "webhook"
url = "https://hooks.example.net/services/s3cret?key=s3cret"
token_file = "/etc/token"
ca_file = "/etc/ca.pem"
critical_only = true
heartbeat = "0s"

[[alert]]
name = "am"
type = "alertmanager"
url = "http://127.0.0.1:9093"

[[monitor]]
name = "trading"
hosts = ["matching1.example.net", "10.1.2.0/28", "10.1.3.10-10.1.3.29"]
exclude = ["10.1.2.3"]
interval = "8s"
profile = "desk"

[[monitor]]
name = "rest"
hosts = ["10.2.0.1"]
profile = "pci-10.6"
`

func fullConfig() Config {
	at := func(addrs ...string) (list []netip.AddrPort) {
		for _, a := range addrs {
			list = append(list, netip.MustParseAddrPort(a))
		}
		return list
	}
	return Config{
		Node: Node{Name: "t1.example", Number: 65535, DataDir: `/var/lib/true "chimer"`},
		Clock: Clock{
			Mode: ModeVirtual, MinSources: 3, StepUpdates: 1000, SlewMaxPPM: 100_000, LeapFile: "/usr/share/zoneinfo/leap-seconds.list",
			LocalStratum: 15, FollowStratum: 1, Chronyd: "[::1]:323", ErrorLimit: 50 * time.Millisecond,
			SourceDeviation: time.Millisecond,
		},
		Sources: []Source{
			{
				Address: "[2001:db8::1]:1123", Name: "one/'two'", Site: "north", NIST: true, ProviderError: 1500 * time.Microsecond,
				MinPoll: 3, MaxPoll: 17, Prefer: true, Trust: true, Require: true,
			},
			{Address: "Pool.example.org.", Name: "Pool.example.org.", Pool: 16, IBurst: true, Interleaved: true, MinPoll: 6, MaxPoll: 10},
			{
				Address: "time-a-g.NIST.gov:123", Name: "time-a-g.NIST.gov:123", NIST: true,
				IBurst: true, Interleaved: true, MinPoll: 6, MaxPoll: 10, NoSelect: true,
			},
		},
		NTP: NTP{
			Listen: at("0.0.0.0:123", "[::]:123", "[fe80::1%eth0]:123", "127.0.0.1:0"), Workers: 1024,
			Interface: "eth0.4094-x", DSCP: 46,
			Allow:        nets("10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32", "2001:db8:1::1/128", "0.0.0.0/0", "::/0"),
			Deny:         nets("10.1.2.3/32", "fe80::/10"),
			RateInterval: time.Millisecond, RateBurst: 1_000_000, RateKiss: 65536, RatePrivate: true,
		},
		HLC:   HLC{MaxLead: time.Hour, Window: 20 * time.Millisecond},
		Store: Store{Reserve: 2 << 30},
		API: API{
			Listen: at("[::1]:8123"), TLSCert: "/etc/api.pem", TLSKey: "/etc/api.key", ClientCA: "ca.pem", PlaintextOnNetwork: true,
			Anonymous: []string{}, AccessLog: "refused.log", OpenMetrics: true,
		},
		Principals: []Principal{
			{
				Name: "orders", Token: "sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", Certificate: "spiffe://example.net/orders",
				Rights: []string{"read", "append"}, Streams: []string{"orders/", "a"}, Calls: 1, TimestampsPerSecond: 1e9, AppendBytesPerSecond: 2 << 20,
			},
			{Name: "nobody", Certificate: "Nobody at all", Rights: []string{}, Calls: 1024, TimestampsPerSecond: 200_000_000},
		},
		Journal: Journal{RawDays: 3660, EvidenceDays: 36_525, HeadFile: "/mnt/audit/heads"},
		Profiles: []Profile{
			{
				Name: "desk", Rule: "mifid-100us", Tolerance: new(50 * time.Millisecond), Warn: new(40 * time.Millisecond),
				MinSources: new(4), MinNIST: new(2), MinSites: new(0), PreOpen: new("23:59"), Zone: new("Asia/Tokyo"), Calendar: new("daily"),
				Holidays: []string{"2026-11-27", "2026-12-24"}, RetentionDays: new(36_525), SelfReportPercent: new(1_000_000), SelfReportCount: new(1000),
			},
			{Name: "finra-50ms"},
		},
		Alerts: []Alert{
			{
				Name: "on-call", Type: AlertWebhook, URL: "https://hooks.example.net/services/s3cret?key=s3cret", TokenFile: "/etc/token", CAFile: "/etc/ca.pem",
				CriticalOnly: true,
			},
			{Name: "am", Type: AlertAlertmanager, URL: "http://127.0.0.1:9093", Heartbeat: time.Minute},
		},
		Monitors: []Monitor{
			{
				Name: "trading", Hosts: []string{"matching1.example.net", "10.1.2.0/28", "10.1.3.10-10.1.3.29"}, Exclude: []string{"10.1.2.3"},
				Interval: 8 * time.Second, Profile: "desk",
			},
			{Name: "rest", Hosts: []string{"10.2.0.1"}, Interval: 64 * time.Second, Profile: "pci-10.6"},
		},
	}
}

func nets(list ...string) (prefixes []netip.Prefix) {
	for _, text := range list {
		prefixes = append(prefixes, netip.MustParsePrefix(text))
	}
	return prefixes
}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want Config
	}{
		"empty":          {"", Default()},
		"comments":       {"# nothing\n\n[ntp] # here\n", Default()},
		"every key":      {full, fullConfig()},
		"carriage":       {strings.ReplaceAll(full, "\n", "\r\n"), fullConfig()},
		"dotted":         {"ntp.workers = 3", with(func(c *Config) { c.NTP.Workers = 3 })},
		"braces":         {"ntp = { workers = 3 }\nhlc = {}", with(func(c *Config) { c.NTP.Workers = 3 })},
		"quoted key":     {"[\"ntp\"]\n'workers' = 3", with(func(c *Config) { c.NTP.Workers = 3 })},
		"no end of line": {"[ntp]\nworkers = 3", with(func(c *Config) { c.NTP.Workers = 3 })},
		"mapped address": {`ntp.listen = ["[::ffff:192.0.2.1]:123"]`,
			with(func(c *Config) { c.NTP.Listen = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:123")} })},
		"chronyd socket": {`clock.chronyd = "/run/chrony/chronyd.sock"`,
			with(func(c *Config) { c.Clock.Chronyd = "/run/chrony/chronyd.sock" })},
		"chronyd off":       {`clock.chronyd = "off"`, with(func(c *Config) { c.Clock.Chronyd = ChronydOff })},
		"a size in bytes":   {"store.reserve = 16_777_217", with(func(c *Config) { c.Store.Reserve = 16<<20 + 1 })},
		"a size in a word":  {"store.reserve = '16777216'", with(func(c *Config) { c.Store.Reserve = 16 << 20 })},
		"a size in KiB":     {"store.reserve = '20000KiB'", with(func(c *Config) { c.Store.Reserve = 20000 << 10 })},
		"a size in MiB":     {"store.reserve = '16 MiB'", with(func(c *Config) { c.Store.Reserve = 16 << 20 })},
		"the greatest size": {"store.reserve = '1024GiB'", with(func(c *Config) { c.Store.Reserve = 1 << 40 })},
		"least limits":      {"hlc = {max_lead='21ms', window='20ms'}\nclock.error_limit='10us'", with(leastLimits)},
		"great window":      {"hlc = {max_lead='10.1s', window='10s'}", with(greatWindow)},
		"nobody listed":     {"ntp.allow = []\nntp.deny = []", Default()},
		"any interface":     {"ntp.interface = ''", Default()},
		"no limit":          {"ntp.rate_interval = '0s'", with(func(c *Config) { c.NTP.RateInterval = 0 })},
		"no limit, in other units": {"ntp.rate_interval = '0h'\nntp.rate_kiss = 0",
			with(func(c *Config) { c.NTP.RateInterval, c.NTP.RateKiss = 0, 0 })},
		"greatest rates": {"ntp.rate_interval = '1h'\nntp.rate_burst = 1\nntp.dscp = 63",
			with(func(c *Config) { c.NTP.RateInterval, c.NTP.RateBurst, c.NTP.DSCP = time.Hour, 1, 63 })},
		"a truth": {"ntp.interleaved = true\nntp.rate_private = false", Default()},
		"inside each other": {"[ntp]\nallow = ['10.0.0.0/8', '10.1.2.0/24']\ndeny = ['10.1.0.0/16', '0.0.0.0/0']", with(func(c *Config) {
			c.NTP.Allow, c.NTP.Deny = nets("10.0.0.0/8", "10.1.2.0/24"), nets("10.1.0.0/16", "0.0.0.0/0")
		})},
		"greatest file": {"#" + strings.Repeat(".", fileLenMax-1), Default()},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse("x.toml", []byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			diff(t, "configuration", c.want, got)
		})
	}
}

func with(change func(*Config)) Config {
	c := Default()
	change(&c)
	return c
}

func leastLimits(c *Config) {
	c.HLC = HLC{MaxLead: 21 * time.Millisecond, Window: 20 * time.Millisecond}
	c.Clock.ErrorLimit = 10 * time.Microsecond
}

func greatWindow(c *Config) {
	c.HLC = HLC{MaxLead: 10100 * time.Millisecond, Window: 10 * time.Second}
}

// TestTable ties the table to the types: every key is documented, has its own
// place in Config, and says in words what it takes.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	differ := map[string]bool{}
	for _, c := range Diff(Default(), fullConfig()) {
		differ[c.Key] = true
	}
	for _, k := range keys() {
		if seen[k.path()] {
			t.Errorf("%s is declared twice", k.path())
		}
		seen[k.path()] = true
		if !strings.HasSuffix(k.doc, ".") || k.field.want == "" {
			t.Errorf("%s has no documentation", k.path())
		}
		if !differ[k.path()] {
			t.Errorf("%s: the test's full configuration has its default", k.path())
		}
		// Setting only this key from the full file changes only this key.
		to, from := Default(), fullConfig()
		k.field.copy(&to, &from)
		changes := Diff(Default(), to)
		if len(changes) != 1 || changes[0].Key != k.path() || changes[0].Live != k.live {
			t.Errorf("copying %s changes %+v", k.path(), changes)
		}
		// The copy is independent.
		from.NTP.Listen[0], from.API.Listen[0] = netip.AddrPort{}, netip.AddrPort{}
		from.NTP.Allow[0], from.NTP.Deny[0] = netip.Prefix{}, netip.Prefix{}
		unchanged := fullConfig()
		if got, want := k.field.text(&to), k.field.text(&unchanged); got != want {
			t.Errorf("%s: the copy is %s, want %s", k.path(), got, want)
		}
		if k.usual != "" {
			if _, err := Parse("usual", []byte(k.path()+" = "+k.usual)); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestTour(t *testing.T) {
	c := Tour()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.Clock.LocalStratum != 10 {
		t.Errorf("local stratum %d", c.Clock.LocalStratum)
	}
	c.Clock.LocalStratum = 0
	diff(t, "the tour without its stratum", Default(), c)
	for _, a := range append(c.NTP.Listen, c.API.Listen...) {
		if !a.Addr().IsLoopback() || a.Port() < 1024 {
			t.Errorf("%s is not a high port of loopback", a)
		}
	}
}

// TestDefaults: what an [ntp] that says nothing comes to.
func TestDefaults(t *testing.T) {
	diff(t, "defaults", NTP{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:11123")}, RateInterval: 8 * time.Second, RateBurst: 8, RateKiss: 16, Interleaved: true,
	}, Default().NTP)
}

func TestTOMLRoundTrips(t *testing.T) {
	odd := with(func(c *Config) {
		c.Node.DataDir = `C:\data "x"`
		c.HLC = HLC{MaxLead: 10 * time.Minute, Window: 1500 * time.Millisecond}
		c.Sources = []Source{DefaultSource("fe80::1%eth0"), DefaultSource("[fe80::1%eth0]:1123"), DefaultSource("nist.gov"), DefaultSource("localhost")}
		c.Sources[0].ProviderError = 1
		c.Store.Reserve = 16<<20 + 1
		// What says nothing is another thing than what is left out.
		c.Profiles = []Profile{{Name: "house", Tolerance: new(time.Microsecond), Holidays: []string{}, MinSources: new(0), PreOpen: new(PreOpenOff), SelfReportPercent: new(0)}}
		c.Monitors = []Monitor{{Name: "m", Hosts: []string{"a.example.net"}, Exclude: []string{}, Interval: time.Minute, Profile: "house"}}
	})
	for _, c := range []Config{Default(), Tour(), fullConfig(), odd} {
		text := c.TOML()
		got, err := Parse("show", []byte(text))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		diff(t, "after TOML", c, got)
	}
}

func TestTemplate(t *testing.T) {
	text := Template()
	got, err := Parse("template", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "template", Default(), got)

	// Uncommented, it sets every key, to the default still, and has three sources.
	var all strings.Builder
	for line := range strings.Lines(text) {
		key, isComment := strings.CutPrefix(line, "# ")
		if isComment && (strings.Contains(key, " = ") && !strings.HasPrefix(key, "In ") || strings.HasPrefix(key, "[[")) {
			line = key
		}
		all.WriteString(line)
	}
	got, err = Parse("template", []byte(all.String()))
	if err != nil {
		t.Fatal(err)
	}
	north, pool := DefaultSource("ntp2.example.net"), DefaultSource("pool.example.org")
	north.Site, pool.Pool = "north", 4
	diff(t, "uncommented template", with(func(c *Config) {
		c.Sources = []Source{north, pool, DefaultSource("ntp1.example.net")}
		c.API.Anonymous = Rights()
		orders, monitoring := DefaultPrincipal("orders"), DefaultPrincipal("monitoring")
		orders.Token, orders.Rights, orders.Streams = TokenHash("an example"), []string{RightRead, RightIssue, RightAppend}, []string{"orders/"}
		monitoring.Token, monitoring.Rights, monitoring.Streams = TokenHash("another example"), []string{RightRead}, []string{"orders/", "audit/"}
		c.Principals = []Principal{orders, monitoring}
		floor, house, desk := DefaultProfile("trading-floor"), DefaultProfile("house"), DefaultProfile("desk")
		floor.Rule, floor.MinSites = "mifid-100us", new(2)
		house.Tolerance = new(5 * time.Millisecond)
		desk.Rule, desk.Tolerance, desk.Warn = "finra-50ms", new(50*time.Millisecond), new(25*time.Millisecond)
		desk.MinSources, desk.MinNIST, desk.MinSites = new(3), new(1), new(2)
		desk.PreOpen, desk.Zone, desk.Calendar, desk.Holidays = new("09:00"), new("America/New_York"), new("nyse"), []string{"2026-11-27"}
		desk.RetentionDays, desk.SelfReportPercent, desk.SelfReportCount = new(2557), new(200), new(10)
		c.Profiles = []Profile{DefaultProfile("finra-50ms"), floor, house, desk}
		onCall, hook := DefaultAlert("on-call"), DefaultAlert("hook")
		onCall.Type, onCall.URL = AlertAlertmanager, "http://alertmanager.example.net:9093"
		hook.Type, hook.URL = AlertWebhook, "https://hooks.example.net/truechimer"
		c.Alerts = []Alert{onCall, hook}
		trading, servers := DefaultMonitor("trading"), DefaultMonitor("servers")
		trading.Hosts, trading.Profile = []string{"matching1.example.net", "10.1.2.0/28", "10.1.3.10-10.1.3.29"}, "finra-50ms"
		servers.Hosts, servers.Exclude, servers.Profile = []string{"10.0.0.0/28"}, []string{"10.0.0.7"}, "finra-50ms"
		c.Monitors = []Monitor{trading, servers}
	}), got)
	for _, section := range sectionNames() {
		for _, name := range keysOf(section) {
			if !strings.Contains(all.String(), "\n"+name+" = ") {
				t.Errorf("%s.%s is not in the template", section, name)
			}
		}
	}
	for line := range strings.Lines(text) {
		if len(line) > 101 {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
}

func TestValidate(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"listen":   func(c *Config) { c.API.Listen = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:8123")} },
		"nothing":  func(c *Config) { c.NTP.Listen = nil },
		"zero":     func(c *Config) { c.NTP.Listen = []netip.AddrPort{{}} },
		"data dir": func(c *Config) { c.Node.DataDir = "a\nb" },
		"number":   func(c *Config) { c.NTP.Workers = -1 },
		"nowhere":  func(c *Config) { c.NTP.Deny = []netip.Prefix{{}} },
		"host":     func(c *Config) { c.NTP.Allow = nets("10.0.0.1/8") },
		"burst":    func(c *Config) { c.NTP.RateBurst = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			c := Default()
			change(&c)
			if err := c.Validate(); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestDiffAndAdopt(t *testing.T) {
	old, next := Default(), Default()
	next.Clock.ErrorLimit = 50 * time.Millisecond
	next.HLC.Window = 100 * time.Millisecond
	diff(t, "changes", []Change{
		{Key: "clock.error_limit", Old: "1s", New: "50ms", Live: true},
		{Key: "hlc.window", Old: "250ms", New: "100ms"},
	}, Diff(old, next))

	got, err := old.Adopt(next)
	if err != nil {
		t.Fatal(err)
	}
	want := old
	want.Clock.ErrorLimit = next.Clock.ErrorLimit
	diff(t, "adopted", want, got)

	var live []string
	for _, c := range Diff(Default(), fullConfig()) {
		if c.Live {
			live = append(live, c.Key)
		}
	}
	diff(t, "live keys", []string{"clock.min_sources", "clock.local_stratum", "clock.follow_stratum", "clock.chronyd", "clock.error_limit", "clock.source_deviation",
		"source[one/'two']", "source[Pool.example.org.]", "source[time-a-g.NIST.gov:123]",
		"ntp.allow", "ntp.deny", "ntp.rate_interval", "ntp.rate_burst", "ntp.rate_kiss", "ntp.rate_private",
		"hlc.max_lead", "api.anonymous", "api.open_health", "api.open_metrics", "principal[orders]", "principal[nobody]",
		"journal.raw_days", "journal.evidence_days", "journal.head_file", "profile[desk]", "profile[finra-50ms]",
		"alert[on-call]", "alert[am]", "monitor[trading]", "monitor[rest]"}, live)
}

// TestChangeForALog: a change of every kind of key, as a log shows it.
func TestChangeForALog(t *testing.T) {
	old, next := Default(), fullConfig()
	old.Node.Name, next.Node.Number = "alpha", 9
	next.NTP.Allow = nil
	for i := range 100 {
		next.NTP.Allow = append(next.NTP.Allow, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24))
	}
	got := map[string]string{}
	for _, c := range Diff(old, next) {
		got[c.Key] = c.Old + " > " + c.New
		if len(c.New) > changeLenMax+len("...") {
			t.Errorf("%s: %d bytes", c.Key, len(c.New))
		}
		if c.Refused != "" {
			t.Errorf("%s is refused: %s", c.Key, c.Refused)
		}
	}
	for key, want := range map[string]string{
		"node.name": "alpha > t1.example", "node.data_dir": `./data > /var/lib/true "chimer"`, "ntp.workers": "0 > 1024",
		"ntp.listen":        "127.0.0.1:11123 > 0.0.0.0:123, [::]:123, [fe80::1%eth0]:123, 127.0.0.1:0",
		"ntp.deny":          " > 10.1.2.3/32, fe80::/10",
		"ntp.rate_interval": "8s > 1ms", "ntp.interleaved": "true > false",
	} {
		if got[key] != want {
			t.Errorf("%s: %s, want %s", key, got[key], want)
		}
	}
	if allow := got["ntp.allow"]; !strings.HasPrefix(allow, " > 10.0.0.0/24, 10.0.1.0/24, ") || !strings.HasSuffix(allow, "...") {
		t.Errorf("the long list: %s", allow)
	}
	// The number stays with the directory.
	next = old
	next.Node.Number = 9
	diff(t, "a number alone", []Change{{
		Key: "node.number", Old: "0", New: "9",
		Refused: "a data directory keeps the number that it was created with: set it back to 0, or name another node.data_dir as well",
	}}, Diff(old, next))
}

// The window in force is the old one, which the new max lead is too small for.
func TestAdoptRefusesWhatDoesNotGoTogether(t *testing.T) {
	old := Default()
	next := with(func(c *Config) { c.HLC = HLC{MaxLead: 200 * time.Millisecond, Window: 100 * time.Millisecond} })
	got, err := old.Adopt(next)
	if err == nil {
		t.Error("accepted")
	}
	diff(t, "adopted", old, got)
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "t.toml")
	if err := os.WriteFile(path, []byte(full), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "loaded", fullConfig(), got)

	_, err = Load(filepath.Join(dir, "none.toml"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "config init") {
		t.Errorf("a missing file: %v", err)
	}
	if _, err = Load(dir); err == nil {
		t.Error("a directory was read")
	}
	if err := os.WriteFile(path, make([]byte, fileLenMax+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = Load(path); err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("a file too large: %v", err)
	}
}

// TestSampleFiles loads every TOML file in the tree.
func TestSampleFiles(t *testing.T) {
	const root = "../.."
	found := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir // not ours
		case d.IsDir() || filepath.Ext(path) != ".toml":
			return nil
		}
		found++
		_, err = Load(path)
		if err != nil {
			t.Error(err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found == 0 {
		t.Error("there is no sample file in the tree")
	}
}

// TestReadme: what the README shows of a file is right.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(readme), "\n```toml\n")[1:]
	for _, block := range blocks {
		text, _, _ := strings.Cut(block, "\n```")
		if _, err := Parse("README.md", []byte(text)); err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
	}
	if len(blocks) == 0 {
		t.Error("the README shows no file")
	}
}

func TestDurationText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Hour: "1h", 10 * time.Minute: "10m", time.Hour + 10*time.Minute: "1h10m", time.Hour + time.Second: "1h0m1s",
		20 * time.Second: "20s", 100 * time.Millisecond: "100ms", 0: "0s",
	} {
		if got := durationText(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
