package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
)

// TestEvidenceProblems: each mistake about the evidence is told once, where it is, with what to do.
func TestEvidenceProblems(t *testing.T) {
	profile := func(lines ...string) string {
		return "[[profile]]\nname = 'house'\n" + strings.Join(lines, "\n") + "\n"
	}
	alert := func(lines ...string) string {
		return "[[alert]]\nname = 'a'\ntype = 'webhook'\n" + strings.Join(lines, "\n") + "\n"
	}
	monitor := func(lines ...string) string {
		return "[[monitor]]\nname = 'm'\nprofile = 'finra-50ms'\n" + strings.Join(lines, "\n") + "\n"
	}
	const ms, hook, hosts = "tolerance = '5ms'", "url = 'https://a.example.net/x'", "hosts = ['a.example.net']"
	for name, c := range map[string]struct {
		in   string
		want []string // each is a part of one line, in order
	}{
		"deviation small":       {"clock.source_deviation = '999ns'", []string{"t.toml:1: clock.source_deviation: want 1µs to 1m, not \"999ns\""}},
		"deviation large":       {"clock.source_deviation = '61s'", []string{"t.toml:1: clock.source_deviation: want 1µs to 1m, not \"61s\""}},
		"health in quotes":      {"api.open_health = 'yes'", []string{"t.toml:1: api.open_health: want true or false"}},
		"metrics in quotes":     {"api.open_metrics = 'yes'", []string{"t.toml:1: api.open_metrics: want true or false"}},
		"no raw days":           {"[journal]\nraw_days = 0", []string{"t.toml:2: journal.raw_days: want 1 to 3660, not 0"}},
		"raw days":              {"[journal]\nraw_days = 3661", []string{"t.toml:2: journal.raw_days: want 1 to 3660, not 3661"}},
		"evidence days":         {"[journal]\nevidence_days = 36526", []string{"t.toml:2: journal.evidence_days: want 0 to 36525, not 36526"}},
		"evidence in words":     {"[journal]\nevidence_days = '7y'", []string{"t.toml:2: journal.evidence_days: want an integer, 0 to 36525"}},
		"head file":             {"[journal]\nhead_file = \"a\\nb\"", []string{"t.toml:2: journal.head_file: want a path without control characters"}},
		"near":                  {"[journal]\nheadfile = ''", []string{"t.toml:2: journal.headfile: unknown key; did you mean journal.head_file?"}},
		"near, of a profile":    {profile(ms, "tolerence = '5ms'"), []string{"t.toml:4: profile[1].tolerence: unknown key; did you mean profile.tolerance?"}},
		"one, and not many":     {"[profile]\nname = 'pci-10.6'", []string{"t.toml:1: [profile]: there can be many such sections: write [[profile]]"}},
		"many, and not one":     {"[[journal]]", []string{"t.toml:1: [journal]: there is one such section"}},
		"no name":               {"[[profile]]\n" + ms, []string{"t.toml:1: profile[1]: the name is missing: a profile needs a name, and a tolerance where that is not one of cat-participant-100us, finra-50ms, "}},
		"name":                  {"[[profile]]\nname = 'a b'\n" + ms, []string{"t.toml:2: profile[1].name: want 1 to 63 of the letters"}},
		"no tolerance":          {profile(), []string{"t.toml:2: profile[1].name: the tolerance is missing: \"house\" is no built-in rule (want one of cat-"}},
		"no tolerance, no rule": {profile("rule = ''"), []string{"t.toml:3: profile[1].rule: the tolerance is missing"}},
		"rule unknown":          {profile("rule = 'mifid'"), []string{"t.toml:3: profile[1].rule: \"mifid\" is no built-in rule: want one of cat-participant-100us, finra-50ms, manual-1s, mifid-100us, mifid-1ms, pci-10.6, or nothing"}},
		"two rules":             {"[[profile]]\nname = 'finra-50ms'\nrule = 'pci-10.6'", []string{"t.toml:3: profile[1].rule: \"finra-50ms\" is a built-in rule itself: take rule out"}},
		"names twice":           {profile(ms) + profile(ms) + profile(), []string{"t.toml:5: profile[2].name: profile[1] has the same name: give each profile its own", "t.toml:8: profile[3].name: profile[1] has the same name"}},
		"tolerance small":       {profile("tolerance = '999ns'"), []string{"t.toml:3: profile[1].tolerance: want 1µs to 1m, not \"999ns\""}},
		"tolerance large":       {profile("tolerance = '61s'"), []string{"t.toml:3: profile[1].tolerance: want 1µs to 1m"}},
		"tolerance number":      {profile("tolerance = 5"), []string{"t.toml:3: profile[1].tolerance: want a duration in quotes"}},
		"warn small":            {profile(ms, "warn = '0s'"), []string{"t.toml:4: profile[1].warn: want 1µs to 1m"}},
		"warn above":            {profile(ms, "warn = '6ms'"), []string{"t.toml:4: profile[1].warn: the warn level 6ms must be above 0 and at the most the tolerance, 5ms"}},
		"warn above, upside":    {profile("warn = '6ms'", ms), []string{"t.toml:4: profile[1].tolerance: the warn level 6ms must be"}},
		"warn above the rule's": {"[[profile]]\nname = 'finra-50ms'\nwarn = '51ms'", []string{"t.toml:3: profile[1].warn: the warn level 51ms must be above 0 and at the most the tolerance, 50ms"}},
		"sources":               {profile(ms, "min_sources = 65"), []string{"t.toml:4: profile[1].min_sources: want 0 to 64, not 65"}},
		"NIST":                  {profile(ms, "min_nist = -1"), []string{"t.toml:4: profile[1].min_nist: want 0 to 64, not -1"}},
		"sites":                 {profile(ms, "min_sites = 65"), []string{"t.toml:4: profile[1].min_sites: want 0 to 64, not 65"}},
		"time of day":           {profile(ms, "pre_open = '24:00'"), []string{"t.toml:4: profile[1].pre_open: want a time of day such as \"09:00\", or \"off\", not \"24:00\""}},
		"time of day, short":    {profile(ms, "pre_open = '9:00'"), []string{"profile[1].pre_open: want a time of day"}},
		"time of day, seconds":  {profile(ms, "pre_open = '09:00:00'"), []string{"profile[1].pre_open: want a time of day"}},
		"time of day, TOML's":   {profile(ms, "pre_open = 09:00:00"), []string{"t.toml:4: profile[1].pre_open: want a string: a time of day"}},
		"zone":                  {profile(ms, "zone = 'New York'"), []string{"t.toml:4: profile[1].zone: want a time zone such as \"America/New_York\" or \"UTC\", not \"New York\""}},
		"zone of the machine":   {profile(ms, "zone = 'Local'"), []string{"profile[1].zone: want a time zone"}},
		"no zone":               {profile(ms, "zone = ''"), []string{"profile[1].zone: want a time zone"}},
		"zone, a path":          {profile(ms, "zone = '../etc/passwd'"), []string{"profile[1].zone: want a time zone"}},
		"calendar":              {profile(ms, "calendar = 'lse'"), []string{"t.toml:4: profile[1].calendar: want \"nyse\", \"target\", \"weekdays\" or \"daily\", not \"lse\""}},
		"holidays":              {profile(ms, "holidays = ['2026-11-27',\n'2026-11-31',\n'2026-11-27', 5]"), []string{"t.toml:5: profile[1].holidays: \"2026-11-31\" is no day: want one such as \"2026-11-27\"", "t.toml:6: profile[1].holidays: \"2026-11-27\" is in the list twice", "t.toml:6: profile[1].holidays: want strings in the list"}},
		"one holiday":           {profile(ms, "holidays = '2026-11-27'"), []string{"t.toml:4: profile[1].holidays: want a list, a list of up to 1000 days"}},
		"retention none":        {profile(ms, "retention_days = 0"), []string{"t.toml:4: profile[1].retention_days: want 1 to 36525, not 0"}},
		"retention":             {profile(ms, "retention_days = 36526"), []string{"want 1 to 36525, not 36526"}},
		"report percent":        {profile(ms, "self_report_percent = 99"), []string{"t.toml:4: profile[1].self_report_percent: want 0 for never, or 100 to 1000000, not 99"}},
		"report percent, large": {profile(ms, "self_report_percent = 1_000_001"), []string{"profile[1].self_report_percent: want 0 for never"}},
		"report count":          {profile(ms, "self_report_count = 1001"), []string{"t.toml:4: profile[1].self_report_count: want 0 for never, or 1 to 1000, not 1001"}},
		"report count, none":    {profile(ms, "self_report_count = -1"), []string{"profile[1].self_report_count: want 0 for never"}},
		"kept too briefly":      {"[journal]\nevidence_days = 2191\n[[profile]]\nname = 'pci-10.6'\n[[profile]]\nname = 'finra-50ms'", []string{"t.toml:2: journal.evidence_days: profile \"finra-50ms\" wants its evidence kept for 2192 days: say as many at the least, or 0"}},
		"kept, for the hosts":   {"[journal]\nevidence_days = 2191\n" + monitor(hosts), []string{"t.toml:2: journal.evidence_days: profile \"finra-50ms\" wants its evidence kept for 2192 days"}},
		"kept, own":             {"[journal]\nevidence_days = 9\n" + profile(ms, "retention_days = 10"), []string{"profile \"house\" wants its evidence kept for 10 days"}},
		"all of a profile at once": {profile("tolerance = 1", "zone = 1", "holidays = [1]", "min_nist = ''"), []string{
			"t.toml:3: profile[1].tolerance:", "t.toml:4: profile[1].zone:", "t.toml:5: profile[1].holidays:", "t.toml:6: profile[1].min_nist:"}},

		"empty channel":              {"[[alert]]", []string{"t.toml:1: alert[1]: the name is missing: a channel needs name, type and url", "t.toml:1: alert[1]: the type is missing", "t.toml:1: alert[1]: the url is missing"}},
		"channel's name":             {"[[alert]]\nname = ''\ntype = 'webhook'\n" + hook, []string{"t.toml:2: alert[1].name: want 1 to 63 of the letters"}},
		"channel's type":             {"[[alert]]\nname = 'a'\ntype = 'mail'\n" + hook, []string{"t.toml:3: alert[1].type: want \"webhook\" or \"alertmanager\", not \"mail\""}},
		"channels twice":             {alert(hook) + alert(hook) + alert(hook), []string{"t.toml:6: alert[2].name: alert[1] has the same name: give each channel its own", "t.toml:10: alert[3].name: alert[1] has the same name"}},
		"URL number":                 {alert("url = 5"), []string{"t.toml:4: alert[1].url: want a string: an http or https URL"}},
		"URL empty":                  {alert("url = ''"), []string{"t.toml:4: alert[1].url: want an http or https URL of up to 2048 bytes, without a user name or password"}},
		"token over the network":     {alert("url = 'http://a.example.net'", "token_file = 't'"), []string{"t.toml:5: alert[1].token_file: the token would go unencrypted over the network: use an https URL"}},
		"token, loopback":            {alert("url = 'http://127.0.0.1:1/'", "token_file = 't'"), nil},
		"token, localhost":           {alert("url = 'http://localhost/'", "token_file = 't'"), nil},
		"token, loopback of IPv6":    {alert("url = 'http://[::1]:1/'", "token_file = 't'"), nil},
		"token, mapped":              {alert("url = 'http://[::ffff:127.0.0.1]/'", "token_file = 't'"), nil},
		"token, a name like it":      {alert("url = 'http://localhost.example.net/'", "token_file = 't'"), []string{"alert[1].token_file: the token would go"}},
		"token, HTTP in capitals":    {alert("url = 'HTTP://a.example.net'", "token_file = 't'"), []string{"alert[1].token_file: the token would go"}},
		"token path":                 {alert(hook, `token_file = "\u0001"`), []string{"alert[1].token_file: want a path without control characters"}},
		"CA path":                    {alert(hook, `ca_file = "\u0001"`), []string{"t.toml:5: alert[1].ca_file: want a path"}},
		"critical only":              {alert(hook, "critical_only = 1"), []string{"t.toml:5: alert[1].critical_only: want true or false"}},
		"heartbeat short":            {alert(hook, "heartbeat = '9.9s'"), []string{"t.toml:5: alert[1].heartbeat: want 0s for never, or 10s to 24h, not \"9.9s\""}},
		"heartbeat long":             {alert(hook, "heartbeat = '24h1s'"), []string{"t.toml:5: alert[1].heartbeat: want 0s"}},
		"Alertmanager's path":        {"[[alert]]\nname = 'a'\ntype = 'alertmanager'\nurl = 'http://am:9093/x/api/v2/alerts/'", []string{"t.toml:4: alert[1].url: an Alertmanager's URL goes without /api/v2/alerts, which is added"}},
		"a webhook's path like that": {alert("url = 'http://am:9093/api/v2/alerts'"), nil},

		"empty group":          {"[[monitor]]", []string{"t.toml:1: monitor[1]: the name is missing: a group needs name, hosts and profile", "t.toml:1: monitor[1]: the hosts are missing", "t.toml:1: monitor[1]: the profile is missing"}},
		"group's name":         {"[[monitor]]\nname = '/'\nprofile = 'pci-10.6'\n" + hosts, []string{"t.toml:2: monitor[1].name: want 1 to 63"}},
		"groups twice":         {monitor(hosts) + monitor(hosts), []string{"t.toml:6: monitor[2].name: monitor[1] has the same name: give each group its own"}},
		"no hosts":             {monitor("hosts = []"), []string{"t.toml:4: monitor[1].hosts: the hosts are missing"}},
		"no host":              {monitor("hosts = ['ok',\n'a b']"), []string{"t.toml:5: monitor[1].hosts: \"a b\""}},
		"one of NIST's":        {monitor("hosts = ['time.nist.gov']"), []string{"t.toml:4: monitor[1].hosts: \"time.nist.gov\" is one of NIST's"}},
		"too large a prefix":   {monitor("hosts = ['10.0.0.0/19']"), []string{"t.toml:4: monitor[1].hosts: \"10.0.0.0/19\" holds more than 4096 addresses"}},
		"no exclusion":         {monitor(hosts, "exclude = ['a b']"), []string{"t.toml:5: monitor[1].exclude: exclude \"a b\" is no host"}},
		"in two groups":        {monitor("hosts = ['10.0.0.1']") + strings.Replace(monitor("hosts = ['10.0.0.0/30']"), "'m'", "'n'", 1), []string{"t.toml:5: monitor[2]: groups \"m\" and \"n\": both have 10.0.0.1:123; exclude it"}},
		"too many hosts":       {monitor("hosts = ['10.0.0.0/20', '10.1.0.0/29']"), []string{"t.toml:1: monitor[1]: the groups have 4100 hosts; observe 4096 at the most"}},
		"interval short":       {monitor(hosts, "interval = '7.9s'"), []string{"t.toml:5: monitor[1].interval: want 8s to 24h, not \"7.9s\""}},
		"interval long":        {monitor(hosts, "interval = '24h1s'"), []string{"t.toml:5: monitor[1].interval: want 8s to 24h"}},
		"no such profile":      {"[[monitor]]\nname = 'm'\nprofile = 'finra'\n" + hosts, []string{"t.toml:3: monitor[1].profile: there is no profile \"finra\": add a [[profile]] of that name, or name a built-in rule: one of cat-"}},
		"a profile with none":  {profile() + "[[monitor]]\nname = 'm'\nprofile = 'house'\n" + hosts, []string{"t.toml:2: profile[1].name: the tolerance is missing"}},
		"a profile with fault": {profile("tolerance = 'x'") + "[[monitor]]\nname = 'm'\nprofile = 'house'\n" + hosts, []string{"t.toml:3: profile[1].tolerance: want a duration such as"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("t.toml", []byte(c.in))
			var lines []string
			if err != nil {
				lines = strings.Split(err.Error(), "\n")
			}
			if len(lines) != len(c.want) {
				t.Fatalf("%d problems, want %d:\n%v", len(lines), len(c.want), err)
			}
			for i, part := range c.want {
				if !strings.Contains(lines[i], part) {
					t.Errorf("got  %s\nwant %s", lines[i], part)
				}
			}
		})
	}
}

// TestEvidenceListsAreLimited: as many as there can be are read, and one more is not.
func TestEvidenceListsAreLimited(t *testing.T) {
	for name, item := range map[string]struct {
		most int
		text string
	}{
		"profile": {16, "[[profile]]\nname = 'p%d'\nrule = 'pci-10.6'\n"},
		"alert":   {16, "[[alert]]\nname = 'p%d'\ntype = 'webhook'\nurl = 'http://a'\n"},
		"monitor": {64, "[[monitor]]\nname = 'p%[1]d'\nprofile = 'pci-10.6'\nhosts = ['h%[1]d']\n"},
	} {
		var text strings.Builder
		for i := range item.most {
			fmt.Fprintf(&text, item.text, i)
		}
		if _, err := Parse("t.toml", []byte(text.String())); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		fmt.Fprintf(&text, item.text, item.most)
		_, err := Parse("t.toml", []byte(text.String()))
		if want := fmt.Sprintf("[[%s]]: want %d %[1]ss at the most", name, item.most); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	var days []string
	for i := range holidaysMax + 1 {
		days = append(days, time.Date(2026, 1, 1+i, 0, 0, 0, 0, time.UTC).Format("'2006-01-02'"))
	}
	in := func(n int) []byte {
		return []byte("[[profile]]\nname = 'pci-10.6'\nholidays = [" + strings.Join(days[:n], ", ") + "]")
	}
	if _, err := Parse("t.toml", in(holidaysMax)); err != nil {
		t.Error(err)
	}
	if _, err := Parse("t.toml", in(holidaysMax+1)); err == nil || !strings.Contains(err.Error(), "profile[1].holidays: want a list of 1000 at the most, not of 1001") {
		t.Error(err)
	}
}

// TestEvidenceRangesFit: what the ranges of the keys allow, the rest of the program takes: at
// both ends of each.
func TestEvidenceRangesFit(t *testing.T) {
	for _, text := range []string{
		"tolerance = '1us'\nwarn = '1us'\nmin_sources = 0\nmin_nist = 0\nmin_sites = 0\npre_open = '00:00'\nretention_days = 1\nself_report_percent = 100\nself_report_count = 1",
		"tolerance = '1m'\nwarn = '1m'\nmin_sources = 64\nmin_nist = 64\nmin_sites = 64\npre_open = '23:59'\nretention_days = 36525\nself_report_percent = 1000000\nself_report_count = 1000",
		"tolerance = '1us'\npre_open = 'off'\nself_report_percent = 0\nself_report_count = 0\nholidays = []",
	} {
		c, err := Parse("t.toml", []byte("[[profile]]\nname = '"+strings.Repeat("x", nameLenMax)+"'\n"+text))
		if err != nil {
			t.Error(err)
			continue
		}
		if problems := c.Profiles[0].Effective().Problems(); problems != nil {
			t.Errorf("%s\n%q", text, problems)
		}
	}
}

// TestURLStaysSecret: what is wrong with a URL is told without it.
func TestURLStaysSecret(t *testing.T) {
	const secret = "s3cret"
	for _, text := range []string{
		secret, "https://" + secret + ":x@example.net/", "https://" + secret + "@example.net/", "ftp://example.net/" + secret, "https:///" + secret,
		"https://:443/" + secret, "https:" + secret, "//example.net/" + secret, "https://example.net/" + secret + "%zz", "https://example.net/#" + secret,
		"https://a b/" + secret, "https://example.net/" + secret + strings.Repeat("x", 2048), "http://example.net:" + secret, "unix:///" + secret,
	} {
		_, err := Parse("t.toml", []byte("[[alert]]\nname = 'a'\ntype = 'webhook'\nurl = '"+text+"'"))
		if err == nil || !strings.Contains(err.Error(), "t.toml:4: alert[1].url: want an http or https URL") || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"https://example.net", "http://[2001:db8::1]:80/a?b=c", "HTTPS://example.net/" + strings.Repeat("x", 2048-len("https://example.net/"))} {
		if _, err := Parse("t.toml", []byte("[[alert]]\nname = 'a'\ntype = 'webhook'\nurl = '"+text+"'")); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestEffective: a profile is what its rule says, and what the file says otherwise.
func TestEffective(t *testing.T) {
	rule := func(name string, change func(*compliance.Profile)) compliance.Profile {
		p, ok := compliance.Builtin(name)
		if !ok {
			t.Fatalf("there is no rule %s", name)
		}
		change(&p)
		return p
	}
	for name, c := range map[string]struct {
		in   string
		want compliance.Profile
	}{
		"a rule":       {"name = 'finra-50ms'", rule("finra-50ms", func(*compliance.Profile) {})},
		"another name": {"name = 'desk'\nrule = 'mifid-1ms'", rule("mifid-1ms", func(p *compliance.Profile) { p.Name = "desk" })},
		"its own name": {"name = 'mifid-1ms'\nrule = 'mifid-1ms'", rule("mifid-1ms", func(*compliance.Profile) {})},
		"tolerance": {"name = 'finra-50ms'\ntolerance = '10ms'", rule("finra-50ms", func(p *compliance.Profile) {
			p.Title += "; held to 10ms"
			p.Tolerance, p.Warn = 10*time.Millisecond, 5*time.Millisecond
		})},
		"the same tolerance": {"name = 'finra-50ms'\ntolerance = '50ms'", rule("finra-50ms", func(*compliance.Profile) {})},
		"both": {"name = 'finra-50ms'\ntolerance = '10ms'\nwarn = '9ms'", rule("finra-50ms", func(p *compliance.Profile) {
			p.Title += "; held to 10ms"
			p.Tolerance, p.Warn = 10*time.Millisecond, 9*time.Millisecond
		})},
		"warn": {"name = 'finra-50ms'\nwarn = '1ms'", rule("finra-50ms", func(p *compliance.Profile) { p.Warn = time.Millisecond })},
		"all that is off": {"name = 'finra-50ms'\nmin_sources = 0\nmin_nist = 0\nmin_sites = 0\npre_open = 'off'\nholidays = []\nself_report_percent = 0\nself_report_count = 0",
			rule("finra-50ms", func(p *compliance.Profile) {
				p.MinSources, p.MinNIST, p.PreOpen, p.Holidays, p.SelfReportFactor, p.SelfReportCount = 0, 0, -1, []string{}, 0, 0
			})},
		"none": {"name = 'house'\ntolerance = '5ms'", compliance.Profile{
			Name: "house", Title: "house", Tolerance: 5 * time.Millisecond, Warn: 2500 * time.Microsecond, PreOpen: -1, Zone: "UTC", Calendar: "weekdays", Retention: 2557 * 24 * time.Hour,
		}},
		"everything": {strings.Join([]string{
			"name = 'desk'", "rule = 'finra-50ms'", "tolerance = '3ms'", "warn = '2ms'", "min_sources = 4", "min_nist = 2", "min_sites = 3", "pre_open = '08:31'",
			"zone = 'Europe/Paris'", "calendar = 'target'", "holidays = ['2026-11-27']", "retention_days = 10", "self_report_percent = 150", "self_report_count = 7"}, "\n"),
			compliance.Profile{
				Name: "desk", Title: "FINRA Rules 4590 and 6820: within 50 ms of NIST; held to 3ms", Tolerance: 3 * time.Millisecond, Warn: 2 * time.Millisecond,
				MinSources: 4, MinNIST: 2, MinSites: 3, PreOpen: 8*time.Hour + 31*time.Minute, Zone: "Europe/Paris", Calendar: "target", Holidays: []string{"2026-11-27"},
				Retention: 240 * time.Hour, SelfReportFactor: 1.5, SelfReportCount: 7,
			}},
	} {
		t.Run(name, func(t *testing.T) {
			parsed, err := Parse("t.toml", []byte("[[profile]]\n"+c.in))
			if err != nil {
				t.Fatal(err)
			}
			got := parsed.Profiles[0].Effective()
			diff(t, "effective", c.want, got)
			named, ok := parsed.ProfileNamed(c.want.Name)
			diff(t, "by name", c.want, named)
			if !ok {
				t.Error("it is not found by its name")
			}
			if len(got.Holidays) > 0 {
				got.Holidays[0] = "changed"
				diff(t, "after a change of what was returned", c.want, parsed.Profiles[0].Effective())
			}
		})
	}
	c := Default()
	if p, ok := c.ProfileNamed("pci-10.6"); !ok || p.Name != "pci-10.6" {
		t.Errorf("a built-in profile that the file does not name: %v, %v", p, ok)
	}
	if _, ok := c.ProfileNamed("house"); ok {
		t.Error("a profile that there is not was found")
	}
}

// TestEvidenceKept: the longest that is asked for, or what the file says.
func TestEvidenceKept(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		in   string
		want time.Duration
	}{
		"nothing said":        {"", 2557 * day},
		"a rule":              {"[[profile]]\nname = 'pci-10.6'", 2557 * day},
		"a long one, first":   {"[[profile]]\nname = 'a'\nrule = 'pci-10.6'\nretention_days = 3000\n[[profile]]\nname = 'b'\nrule = 'pci-10.6'\nretention_days = 2999", 3000 * day},
		"a long one, last":    {"[[profile]]\nname = 'a'\nrule = 'pci-10.6'\nretention_days = 1\n[[profile]]\nname = 'b'\nrule = 'pci-10.6'\nretention_days = 3000", 3000 * day},
		"said":                {"journal.evidence_days = 5", 5 * day},
		"said, and a profile": {"journal.evidence_days = 4000\n[[profile]]\nname = 'a'\nrule = 'pci-10.6'\nretention_days = 3000", 4000 * day},
		"said, just enough":   {"journal.evidence_days = 3000\n[[profile]]\nname = 'a'\nrule = 'pci-10.6'\nretention_days = 3000", 3000 * day},
	} {
		parsed, err := Parse("t.toml", []byte(c.in))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := parsed.EvidenceKept(); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestDiffOfEvidence: what comes, goes and changes of a profile, a channel and a group.
func TestDiffOfEvidence(t *testing.T) {
	old, next := fullConfig(), fullConfig()
	next.Profiles = []Profile{{Name: "finra-50ms", Warn: new(time.Millisecond), Holidays: []string{"2026-11-27"}}, {Name: "house", Tolerance: new(5 * time.Millisecond)}}
	next.Alerts = slices.Clone(old.Alerts[1:])
	next.Alerts[0].Heartbeat, next.Alerts[0].URL = 0, "https://am.example.net"
	next.Monitors = slices.Clone(old.Monitors)
	next.Monitors[0].Profile, next.Monitors[0].Exclude = "house", nil
	changes := Diff(old, next)
	diff(t, "changes", []Change{
		{Key: "profile[desk]", Old: "50ms", Live: true},
		{Key: "profile[finra-50ms].warn", New: "1ms", Live: true},
		{Key: "profile[finra-50ms].holidays", New: "2026-11-27", Live: true},
		{Key: "profile[house]", New: "5ms", Live: true},
		{Key: "alert[on-call]", Old: "webhook", Live: true},
		{Key: "alert[am].url", Old: "http://127.0.0.1:9093", New: "https://am.example.net", Live: true},
		{Key: "alert[am].heartbeat", Old: "1m", New: "0s", Live: true},
		{Key: "monitor[trading].exclude", Old: "10.1.2.3", Live: true},
		{Key: "monitor[trading].profile", Old: "desk", New: "house", Live: true},
	}, changes)
	adopted, err := old.Adopt(next)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "adopted", next, adopted)
	adopted.Profiles[0].Name, adopted.Alerts[0].Name, adopted.Monitors[0].Name = "x", "x", "x"
	if next.Profiles[0].Name == "x" || next.Alerts[0].Name == "x" || next.Monitors[0].Name == "x" {
		t.Error("what was adopted is shared")
	}
}

// TestJournalled: what is on record for years has no secrets, and all else.
func TestJournalled(t *testing.T) {
	c := fullConfig()
	text := c.Journalled()
	for _, secret := range []string{"s3cret", "services", "000102030405"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is on record", secret)
		}
	}
	shown := fullConfig()
	shown.Principals[0].Token = "(not on record)"
	shown.Alerts[0].URL = "https://hooks.example.net/(not on record)"
	diff(t, "on record", strings.Split(shown.TOML(), "\n"), strings.Split(text, "\n"))
	diff(t, "the configuration after that", fullConfig(), c)
	if shown.Principals[1].Token != "" || !strings.Contains(text, "url = \"http://127.0.0.1:9093\"") {
		t.Error("what is no secret is left out")
	}
}

// TestJournalledChange: likewise of what changed.
func TestJournalledChange(t *testing.T) {
	hash := TokenHash("a")
	for _, c := range []struct{ key, value, want string }{
		{"principal[a].token", hash, "(not on record)"},
		{"principal[a].token", "", ""},
		{"principal[a].certificate", "a.example.net", "a.example.net"},
		{"principal[a]", "read", "read"},
		{"alert[a].url", "https://h.example.net/services/s3cret", "https://h.example.net/(not on record)"},
		{"alert[a].url", "https://h.example.net/?key=s3cret", "https://h.example.net/(not on record)"},
		{"alert[a].url", "https://h.example.net/", "https://h.example.net"},
		{"alert[a].url", "https://h.example.net:8443", "https://h.example.net:8443"},
		{"alert[a].url", "https:s3cret", "(not on record)"},
		{"alert[a].url", "https://h.example.net/%s3", "(not on record)"}, // cut where it was long
		{"alert[a].url", "", ""},
		{"alert[a].token_file", "/etc/token", "/etc/token"},
		{"node.name", "a", "a"},
	} {
		change := Change{Key: c.key, Old: c.value}
		if old, next := change.JournalledOld(), change.JournalledNew(); old != c.want || next != "" {
			t.Errorf("%s, was %s: %q and %q, want %q", c.key, c.value, old, next, c.want)
		}
		change = Change{Key: c.key, New: c.value}
		if old, next := change.JournalledOld(), change.JournalledNew(); next != c.want || old != "" {
			t.Errorf("%s, is %s: %q and %q, want %q", c.key, c.value, old, next, c.want)
		}
	}
	old, next := fullConfig(), fullConfig()
	next.Principals = slices.Clone(next.Principals)
	next.Principals[0].Token = hash
	next.Alerts = slices.Clone(next.Alerts)
	next.Alerts[0].URL = "https://hooks.example.net/services/s3cret-" + strings.Repeat("x", 400)
	for _, change := range Diff(old, next) {
		if shown := change.JournalledOld() + change.JournalledNew(); strings.Contains(shown, "s3cret") || strings.Contains(shown, "sha256") {
			t.Errorf("%s: %s", change.Key, shown)
		}
	}
}
