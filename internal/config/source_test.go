package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// in is a file with the given lines in a [[source]], which begins on line 1.
func in(lines ...string) string { return "[[source]]\n" + strings.Join(lines, "\n") }

func TestSourceProblems(t *testing.T) {
	const a, b = "address = 'a.example.net'", "address = 'b.example.net'"
	for name, c := range map[string]struct {
		in   string
		want []string // each is a part of one line, in order
	}{
		"misspelt":              {in(a, "min_pol = 4"), []string{"t.toml:3: source[1].min_pol: unknown key; did you mean source.min_poll?"}},
		"misspelt, of another":  {in(a) + "\n" + in(b, "trsut = true"), []string{"t.toml:5: source[2].trsut: unknown key; did you mean source.trust?"}},
		"key of a section":      {in(a, "mode = 'steer'"), []string{"t.toml:3: source[1].mode: unknown key; did you mean clock.mode?"}},
		"source's key, outside": {"[clock]\niburst = true", []string{"t.toml:2: clock.iburst: unknown key; did you mean source.iburst?"}},
		"nothing near": {in(a, "broadcast = 1"), []string{"source[1].broadcast: unknown key; the keys of [source] are address, name, site, nist, pool, " +
			"provider_error, iburst, interleaved, min_poll, max_poll, prefer, trust, require, noselect"}},
		"misspelt section": {"[[sorce]]\n" + a, []string{"t.toml:1: [sorce]: unknown section; did you mean [source]?"}},
		"deep":             {in(a, "pool.size = 1"), []string{"t.toml:3: source[1].pool.size: unknown key"}},
		"below":            {"[[source.x]]\ny = 1", []string{"t.toml:1: [source.x]: unknown section"}},
		"below one":        {in(a, "[source.x]", "y = 1"), []string{"t.toml:3: [source.x]: unknown section"}},
		"one section":      {"[source]\n" + a, []string{"t.toml:1: [source]: there can be many such sections: write [[source]], not [source]"}},
		"braces":           {"source = {address = 'a.example.net'}", []string{"t.toml:1: source: write [[source]] for each source, and its keys below"}},
		"list of braces":   {"source = [{address = 'a.example.net'}]", []string{"t.toml:1: source: write [[source]] for each source"}},
		"dotted":           {"source.address = 'a.example.net'", []string{"t.toml:1: source.address: write [[source]] for each source"}},
		"key twice":        {in(a, "pool = 1", "pool = 1"), []string{"t.toml:4: source[1].pool: the key is already set on line 3"}},
		"no address":       {in("iburst = true"), []string{`t.toml:1: source[1]: the address is missing: a source needs at least address = "..."`}},
		"empty address":    {in("address = ''"), []string{`t.toml:2: source[1].address: "" names no server: want a host name`}},
		"every kind at once": {in("address = '10.0.0.300'", "name = 'a b'", "site = 'a/b'", "nist = 1", "pool = 17", "provider_error = '2s'", "iburst = 'x'",
			"min_poll = 2", "max_poll = 18", "prefer = 0"), []string{
			`t.toml:2: source[1].address: "10.0.0.300" is not an IPv4 address, although it ends like one: want a host name, an IPv4`,
			`t.toml:3: source[1].name: want 1 to 261 printable letters of ASCII without blanks and quotes, or nothing for its address, not "a b"`,
			`t.toml:4: source[1].site: want up to 63`, `t.toml:5: source[1].nist: want true or false`, `t.toml:6: source[1].pool: want 0 to 16, not 17`,
			`t.toml:7: source[1].provider_error: want 0s to 1s, not "2s"`, `t.toml:8: source[1].iburst: want true or false`,
			`t.toml:9: source[1].min_poll: want 3 to 17, not 2`, `t.toml:10: source[1].max_poll: want 3 to 17, not 18`, `t.toml:11: source[1].prefer: want true or false`,
		}},
		"negative provider error": {in(a, "provider_error = '-1ms'"), []string{`want 0s to 1s, not "-1ms"`}},
		"long name":               {in(a, "name = '"+strings.Repeat("x", 262)+"'"), []string{`source[1].name: want 1 to 261`}},
		"quote in a name":         {in(a, `name = "a\"b"`), []string{`source[1].name: want 1 to 261`}},
		"umlaut in a name":        {in(a, `name = "ä"`), []string{`source[1].name: want 1 to 261`}},
		"polls":                   {in(a, "max_poll = 4"), []string{"t.toml:3: source[1].max_poll: min_poll (6, which is 1m4s) must not be above max_poll (4, which is 16s)"}},
		"polls, the later line":   {in(a, "max_poll = 9", "min_poll = 10"), []string{"t.toml:4: source[1].min_poll: min_poll (10, which is 17m4s)"}},
		"a fault hides cross":     {in(a, "max_poll = 2"), []string{"t.toml:3: source[1].max_poll: want 3 to 17"}},

		"address twice":           {in(a) + "\n" + in(a), []string{`t.toml:4: source[2].address: "a.example.net" is also the address of source[1]: asked twice, one server would have two votes`}},
		"address twice, spelling": {in(a) + "\n" + in("address = 'A.Example.NET.:123'"), []string{`source[2].address: "A.Example.NET.:123" is also the address of source[1]`}},
		"address twice, IPv6":     {in("address = '2001:DB8:0::1'") + "\n" + in("address = '[2001:db8::1]:123'"), []string{`t.toml:4: source[2].address: "[2001:db8::1]:123" is also`}},
		"address twice, mapped":   {in("address = '::ffff:192.0.2.1'") + "\n" + in("address = '192.0.2.1'"), []string{`source[2].address: "192.0.2.1" is also`}},
		"address twice, port":     {in("address = '192.0.2.1:0123'") + "\n" + in("address = '192.0.2.1'"), []string{`source[2].address: "192.0.2.1" is also`}},
		"name twice":              {in(a, "name = 'x'") + "\n" + in(b, "name = 'x'"), []string{`t.toml:6: source[2].name: source[1] is also called "x": give each source its own name`}},
		"name is an address":      {in(a, "name = 'b.example.net'") + "\n" + in(b), []string{`t.toml:4: source[2]: source[1] is also called "b.example.net"`}},

		"require and noselect": {in(a, "require = true", "noselect = true"), []string{"t.toml:4: source[1].noselect: require and noselect contradict each other"}},
		"trust and noselect":   {in(a, "noselect = true", "trust = true"), []string{"t.toml:4: source[1].trust: trust and noselect contradict each other"}},
		"prefer and noselect":  {in(a, "noselect = true", "prefer = true"), []string{"t.toml:4: source[1].prefer: prefer and noselect contradict each other"}},
		"NIST, denied":         {in("address = 'Time.NIST.gov'", "nist = false"), []string{`t.toml:3: source[1].nist: "Time.NIST.gov" is a server of NIST`}},
		"pool of one address":  {in("pool = 2", "address = '192.0.2.1'"), []string{`t.toml:2: source[1].pool: "192.0.2.1" is one address, and a pool is a name`}},
		"pool of IPv6":         {in("pool = 1", "address = '[::1]:123'"), []string{`t.toml:2: source[1].pool: "[::1]:123" is one address`}},

		"steer alone":               {"clock.mode = 'steer'", []string{`t.toml:1: clock.mode: mode steer follows sources, and there is none: add a [[source]] with its address, or set mode to "follow"`}},
		"virtual alone":             {"clock.mode = 'virtual'", []string{`mode virtual follows sources, and there is none`}},
		"steer by nobody":           {"clock.mode = 'steer'\n" + in(a, "noselect = true"), []string{`t.toml:1: clock.mode: mode steer follows sources, and every one says noselect`}},
		"too many must agree":       {"clock.min_sources = 3\n" + in(a) + "\n" + in(b), []string{`t.toml:1: clock.min_sources: 3 sources must agree, and there are 2 that may be selected`}},
		"too many, one is no vote":  {"clock.min_sources = 2\n" + in(a) + "\n" + in(b, "noselect = true"), []string{`2 sources must agree, and there are 1 that may be selected`}},
		"too many for a pool":       {"clock.min_sources = 5\n" + in(a, "pool = 4"), []string{`5 sources must agree, and there are 4 that may be selected`}},
		"no number must agree":      {"clock.min_sources = 0", []string{"clock.min_sources: want 1 to 64, not 0"}},
		"mode":                      {"clock.mode = 'stear'", []string{`clock.mode: want "follow", "steer" or "virtual", not "stear"`}},
		"step small":                {"clock.step_threshold = '99us'", []string{`clock.step_threshold: want 0s for no step, or 100µs to 24h, not "99us"`}},
		"step updates":              {"clock.step_updates = 0", []string{"want 1 to 1000, not 0"}},
		"slew":                      {"clock.slew_max_ppm = 100001", []string{"want 1 to 100000, not 100001"}},
		"slew of nothing":           {"clock.slew_max_ppm = 0", []string{"want 1 to 100000, not 0"}},
		"leap file, relative":       {"clock.leap_file = 'leap-seconds.list'", []string{`clock.leap_file: want "auto", "off", or the absolute path of a file, not "leap-seconds.list"`}},
		"leap file, control letter": {`clock.leap_file = "/a\u0007"`, []string{`clock.leap_file: want a path without control characters`}},

		"smear and others": {in("address = 'time.google.com'") + "\n" + in(a), []string{
			`t.toml:4: source[2].address: "a.example.net" is not known to smear leap seconds and source[1] does as Google does: around a leap second they differ by up to a second; use servers of one kind, or set noselect for the others`}},
		"others and smear": {in(a) + "\n" + in("address = 'Time.AWS.com:123'"), []string{
			`t.toml:4: source[2].address: "Time.AWS.com:123" smears leap seconds as Amazon does and source[1] is not known to: around`}},
		"two smears": {in("address = 'time1.facebook.com'") + "\n" + in("address = '169.254.169.123'"), []string{
			`"169.254.169.123" smears leap seconds as Amazon does and source[1] does as Meta does`}},
		"smear, an IPv6 address": {in(a) + "\n" + in("address = '[fd00:ec2:0::123]:123'"), []string{"smears leap seconds as Amazon does"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse("t.toml", []byte(c.in))
			var p *Problems
			if !errors.As(err, &p) {
				t.Fatalf("accepted: %v, %v", got, err)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(c.want) {
				t.Fatalf("%d problems, want %d:\n%s", len(lines), len(c.want), err)
			}
			for i, part := range c.want {
				if !strings.Contains(lines[i], part) {
					t.Errorf("got  %s\nwant %s", lines[i], part)
				}
			}
		})
	}
}

// TestSourcesThatAreRight: what looks like one of the mistakes and is none.
func TestSourcesThatAreRight(t *testing.T) {
	const a, b = "address = 'a.example.net'", "address = 'b.example.net'"
	for name, text := range map[string]string{
		"same host, other port":       in(a) + "\n" + in("address = 'a.example.net:1123'"),
		"port or part of the address": in("address = '[2001:db8::1]:1123'") + "\n" + in("address = '2001:db8::1:1123'"),
		"same address, other zone":    in("address = 'fe80::1%eth0'") + "\n" + in("address = 'fe80::1%eth1'"),
		"as many as must agree":       "clock = {mode = 'steer', min_sources = 5}\n" + in(a, "pool = 4") + "\n" + in(b),
		"must agree, and none in use": "clock.min_sources = 9\n",
		"witnesses alone":             "clock.min_sources = 9\n" + in(a, "noselect = true"),
		"NIST, fast":                  in("address = 'time.nist.gov'", "min_poll = 3"),
		"NIST, said":                  in("address = 'time.nist.gov'", "nist = true"),
		"no NIST":                     in("address = 'time.notnist.gov'", "nist = false"),
		"two of one smear":            in("address = 'time1.google.com'") + "\n" + in("address = 'time2.google.com'"),
		"smear as a witness":          in("address = 'time1.google.com'", "noselect = true") + "\n" + in(a),
		"others as witnesses":         in("address = 'time1.google.com'") + "\n" + in(a, "noselect = true"),
		"no smear":                    in("address = 'notime.google.com'") + "\n" + in(a),
		"polls equal":                 in(a, "min_poll = 17", "max_poll = 17"),
		"single label":                in("address = 'ntp'"),
		"underscore":                  in("address = '_ntp.example.net'"),
		"numbers in a name":           in("address = '0.debian.pool.ntp.org'", "pool = 4"),
		"dotted keys":                 in("address = 'ntp'") + "\n\n[ntp]\nworkers = 1\n" + in(a) + "\n",
		"follow with sources":         "clock.mode = 'follow'\n" + in(a),
	} {
		if c, err := Parse("t.toml", []byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if err := c.Validate(); err != nil {
			t.Errorf("%s, as shown: %v", name, err)
		}
	}
}

func TestAddressFault(t *testing.T) {
	long := strings.Repeat("a23456789.", 25) + "abc"
	for _, good := range []string{
		"ntp1.example.net", "ntp1.example.net.", "ntp1.example.net:123", "NTP", "192.0.2.1", "192.0.2.1:65535", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:1",
		"::ffff:192.0.2.1", "fe80::1%eth0", "xn--bcher-kva.example", "127.0.0.1:11123", long, long + ".",
	} {
		if wrong := addressFault(good); wrong != "" {
			t.Errorf("%s: %s", good, wrong)
		}
	}
	for _, bad := range []string{
		"", ".", "a..b", "-a.b", "a-.b", "a b", "ntp://a.example", "a.example/", "a.example:", "a.example:ntp", "a.example:0", "a.example:65536", "a.example:+1", ":123",
		"[192.0.2.1]:123", "[2001:db8::1", "2001:db8::1]", "[2001:db8::1]123", "[2001:db8::1]:", "[2001:db8::1]:0", "2001:db8::1::2", "2001:db8:::123:1", "1.2.3", "1.2.3.4.5", "300.1.1.1",
		"0.0.0.0", "::", "[::]:123", "224.0.1.1", "ff02::101", "255.255.255.255", "bücher.example", strings.Repeat("a", 64) + ".example", long + "d", "[]", "[]:1", "123",
	} {
		if addressFault(bad) == "" {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// TestNIST: who is one of theirs whatever the file says.
func TestNIST(t *testing.T) {
	for address, want := range map[string]bool{
		"time.nist.gov": true, "TIME-A-G.NIST.GOV.:123": true, "nist.gov": true, "ntp-b.nist.gov:1": true,
		"nist.gov.example.net": false, "xnist.gov": false, "192.0.2.1": false, "[2001:db8::1]:123": false,
	} {
		if got := DefaultSource(address).NIST; got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

func TestTooManySources(t *testing.T) {
	file := func(n int, more string) []byte {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "[[source]]\naddress = 'ntp%d.example.net'\n", i)
		}
		return []byte(b.String() + more)
	}
	want := func(data []byte, text string) {
		t.Helper()
		_, err := Parse("t.toml", data)
		if text == "" && err != nil || text != "" && (err == nil || err.Error() != text) {
			t.Errorf("%v, want %q", err, text)
		}
	}
	want(file(64, ""), "")
	want(file(65, ""), "t.toml:129: [[source]]: want 64 sources at the most")
	want(file(66, ""), "t.toml:129: [[source]]: want 64 sources at the most")
	want(file(63, "pool = 1"), "")
	want(file(62, "pool = 3"), "")
	want(file(62, "pool = 4"), "t.toml:125: source[62].pool: with the members of pools there are 65 sources: want 64 at the most")
}

// TestDiffSources: sources are known by their names, in whatever order they stand.
func TestDiffSources(t *testing.T) {
	a, b, c := DefaultSource("a.example.net"), DefaultSource("192.0.2.1"), DefaultSource("c.example.net")
	b.Name = "b"
	old := with(func(cfg *Config) { cfg.Sources = []Source{a, b} })
	moved, changed := b, b
	moved.Address = "192.0.2.2:1123"
	changed.MinPoll, changed.ProviderError, changed.Trust = 4, time.Millisecond, true
	for name, x := range map[string]struct {
		next []Source
		want []Change
	}{
		"none":    {[]Source{a, b}, nil},
		"order":   {[]Source{b, a}, nil},
		"new":     {[]Source{a, c, b}, []Change{{Key: "source[c.example.net]", New: "c.example.net", Live: true}}},
		"gone":    {[]Source{b}, []Change{{Key: "source[a.example.net]", Old: "a.example.net", Live: true}}},
		"address": {[]Source{a, moved}, []Change{{Key: "source[b].address", Old: "192.0.2.1", New: "192.0.2.2:1123", Live: true}}},
		"keys": {[]Source{changed, a}, []Change{
			{Key: "source[b].provider_error", Old: "0s", New: "1ms", Live: true}, {Key: "source[b].min_poll", Old: "6", New: "4", Live: true},
			{Key: "source[b].trust", Old: "false", New: "true", Live: true},
		}},
		"all": {nil, []Change{
			{Key: "source[a.example.net]", Old: "a.example.net", Live: true}, {Key: "source[b]", Old: "192.0.2.1", Live: true},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			next := with(func(cfg *Config) { cfg.Sources = x.next })
			diff(t, "changes", x.want, Diff(old, next))
			got, err := old.Adopt(next)
			if err != nil {
				t.Fatal(err)
			}
			diff(t, "adopted", next, got)
			if len(next.Sources) > 0 { // the copy is independent
				next.Sources[0].Name = "other"
				if got.Sources[0].Name == "other" {
					t.Error("the adopted sources are the next ones")
				}
			}
		})
	}
	// The mode waits for a restart, and the sources go with the one in force.
	steer := with(func(cfg *Config) { cfg.Clock.Mode, cfg.Sources = ModeSteer, []Source{a} })
	got, err := old.Adopt(steer)
	if err != nil || got.Clock.Mode != ModeFollow || len(got.Sources) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := steer.Adopt(Default()); err == nil || len(got.Sources) != 1 {
		t.Errorf("mode steer was left without sources: %+v", got)
	}
}

// TestSourceTable: every key of a source is documented, and has its own place.
func TestSourceTable(t *testing.T) {
	full := Source{
		Address: "b.example.net", Name: "b", Site: "north", NIST: true, Pool: 2, ProviderError: 1, MinPoll: 7, MaxPoll: 8, Prefer: true, Trust: true, Require: true, NoSelect: true,
	}
	for _, k := range sourceKeys() {
		if !strings.HasSuffix(k.doc, ".") || k.field.want == "" {
			t.Errorf("%s has no documentation", k.name)
		}
		to := DefaultSource("a.example.net")
		k.field.copy(&to, &full)
		changes := 0
		a := DefaultSource("a.example.net")
		for _, other := range sourceKeys() {
			if other.field.text(&to) != other.field.text(&a) {
				changes++
			}
		}
		if changes != 1 || k.field.text(&to) != k.field.text(&full) {
			t.Errorf("copying %s changes %d keys", k.name, changes)
		}
	}
}
