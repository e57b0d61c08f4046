package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestProblems(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want []string // each is a part of one line, in order
	}{
		"unknown key": {"[ntp]\n\nlisen = [\"127.0.0.1:123\"]",
			[]string{"t.toml:3: ntp.lisen: unknown key; did you mean ntp.listen?"}},
		"swapped letters":   {"[hlc]\nwidnow = 1", []string{"t.toml:2: hlc.widnow: unknown key; did you mean hlc.window?"}},
		"dash":              {"[hlc]\nmax-lead = 1", []string{"t.toml:2: hlc.max-lead: unknown key; did you mean hlc.max_lead?"}},
		"wrong section":     {"[clock]\nworkers = 1", []string{"t.toml:2: clock.workers: unknown key; did you mean ntp.workers?"}},
		"same name nearby":  {"[api]\nliten = 1", []string{"t.toml:2: api.liten: unknown key; did you mean api.listen?"}},
		"no section":        {"data_dir = 'x'", []string{"t.toml:1: data_dir: unknown key; did you mean node.data_dir?"}},
		"nothing near":      {"[ntp]\nbroadcast = 1", []string{"t.toml:2: ntp.broadcast: unknown key; the keys of [ntp] are listen, workers, interface, dscp, allow, deny, rate_interval, rate_burst, rate_kiss, rate_private, interleaved"}},
		"nothing near, top": {"broadcast = 1", []string{"t.toml:1: broadcast: unknown key; the sections are node, clock, source, ntp, hlc, store, api"}},
		"deep":              {"[ntp]\nlisten.x = 1", []string{"t.toml:2: ntp.listen.x: unknown key"}},
		"terminal escapes":  {"\"\\u001b[2J\" = 1", []string{`t.toml:1: "\x1b[2J": unknown key`}},
		"unknown section": {"[nod]\nname = 1\nnumber = 2",
			[]string{"t.toml:1: [nod]: unknown section; did you mean [node]?"}},
		"unknown, nothing near": {"[[broadcast]]\naddress = 'x'",
			[]string{"t.toml:1: [broadcast]: unknown section; the sections are node, clock, source, ntp, hlc, store, api"}},
		"unknown braces":    {"nodes = {}", []string{"t.toml:1: nodes: unknown section; did you mean [node]?"}},
		"section below":     {"[node.x]\ny = 1", []string{"t.toml:1: [node.x]: unknown section"}},
		"section as key":    {"node = 5", []string{"t.toml:1: node: this is a section: write [node], and its keys below"}},
		"list of sections":  {"[[ntp]]", []string{"t.toml:1: [ntp]: there is one such section: write [ntp], not [[ntp]]"}},
		"section twice":     {"[ntp]\n[hlc]\n[ntp]", []string{"t.toml:3: [ntp]: the section is already opened on line 1"}},
		"key twice":         {"[ntp]\nworkers = 1\nworkers = 2", []string{"t.toml:3: ntp.workers: the key is already set on line 2"}},
		"key twice, dotted": {"ntp.workers = 1\n[ntp]\nworkers = 2", []string{"t.toml:3: ntp.workers: the key is already set on line 1"}},
		"reopened braces":   {"ntp = {}\n[ntp]\nworkers = 1", []string{"t.toml:2: "}},

		"two mistakes": {"[ntp]\nlisen = 1\n[hlc]\nwindow = 250\n", []string{
			"t.toml:2: ntp.lisen: unknown key; did you mean ntp.listen?",
			`t.toml:4: hlc.window: want a duration in quotes, such as "250ms" or "1.5s", not an integer (250)`}},
		"two on one line":  {"ntp = {lisen = 1, workers = -1}", []string{"t.toml:1: ntp.lisen:", "t.toml:1: ntp.workers: want 0 to 1024, not -1"}},
		"syntax and other": {"[ntp]\nworkers =\nlisen = 1\n", []string{"t.toml:2: this is not TOML: ", "t.toml:3: ntp.lisen: unknown key"}},
		"quotes forgotten": {"[ntp]\nlisten = [\n  127.0.0.1:123,\n]\n[api]\nport = 1",
			[]string{"t.toml:3: this is not TOML: ", "t.toml:6: api.port: unknown key"}},
		"header broken": {"[ntp]\n[hlc\nwindow = '1s'\n[api]\nx = 1",
			[]string{"t.toml:2: this is not TOML: ", "t.toml:5: api.x: unknown key"}},
		"unfinished":     {"[ntp]\nlisten = [", []string{"this is not TOML: "}},
		"leading zero":   {"[ntp]\nworkers = 010", []string{"t.toml:2: "}},
		"byte mark":      {"\xef\xbb\xbf[ntp]", []string{"t.toml:1: this is not TOML: "}},
		"not UTF-8":      {"[node]\nname = \"\xff\"", []string{"t.toml:2: the file is not UTF-8 text here"}},
		"binary":         {"\x7fELF\x00\x01", []string{"t.toml:1: this is not TOML: "}},
		"the file's end": {"x", []string{"t.toml:1: this is not TOML: "}},

		"string for number":                    {"ntp.workers = '4'", []string{`t.toml:1: ntp.workers: want an integer, 0 to 1024, not the string "4"`}},
		"fraction for number":                  {"ntp.workers = 4.0", []string{"want an integer, 0 to 1024, not a number with a fraction (4.0)"}},
		"truth for number":                     {"ntp.workers = true", []string{"not a truth value (true)"}},
		"time for number":                      {"ntp.workers = 2026-11-22", []string{"not a date or time (2026-11-22)"}},
		"list for number":                      {"ntp.workers = [1]", []string{"not a list"}},
		"table for number":                     {"ntp.workers = {}", []string{"ntp.workers: want an integer, 0 to 1024, not a table"}},
		"number for string":                    {"node.name = 5", []string{"node.name: want a string: 1 to 63 of the letters"}},
		"string for list":                      {"api.listen = '127.0.0.1:8123'", []string{"api.listen: want a list of 1 to 16 addresses with ports, such as "}},
		"number in list":                       {"ntp.listen = [\n 123,\n]", []string{"t.toml:2: ntp.listen: want addresses in quotes"}},
		"far too large":                        {"ntp.workers = 99999999999999999999", []string{"want 0 to 1024, not 99999999999999999999"}},
		"over the most":                        {"ntp.workers = 1025", []string{"want 0 to 1024, not 1025"}},
		"node number":                          {"node.number = 65536", []string{"want 0 to 65535, not 65536"}},
		"local stratum":                        {"clock.local_stratum = 16", []string{"want 0 to 15, not 16"}},
		"follow stratum":                       {"clock.follow_stratum = 0", []string{"want 1 to 15, not 0"}},
		"name":                                 {"node.name = ''", []string{"node.name: want 1 to 63 of the letters"}},
		"name with a blank":                    {"node.name = 'a b'", []string{`not "a b"`}},
		"name too long":                        {"node.name = '" + strings.Repeat("x", 64) + "'", []string{"node.name: want 1 to 63"}},
		"no data":                              {"node.data_dir = ''", []string{`node.data_dir: want a path, not an empty string`}},
		"control in path":                      {`node.data_dir = "a\u0007"`, []string{`want a path without control characters, not "a\a"`}},
		"long path":                            {"node.data_dir = '" + strings.Repeat("x", 4097) + "'", []string{"at most 4096 bytes, not of 4097"}},
		"not a duration":                       {"hlc.window = '250'", []string{`hlc.window: want a duration such as "250ms" or "1.5s", not "250"`}},
		"window small":                         {"hlc.window = '19ms'", []string{`want 20ms to 10s, not "19ms"`}},
		"window large":                         {"hlc.window = '11s'", []string{`want 20ms to 10s, not "11s"`}},
		"reserve small":                        {"store.reserve = '15MiB'", []string{`t.toml:1: store.reserve: want 16MiB to 1024GiB, not 15MiB`}},
		"reserve small, in bytes":              {"store.reserve = 16777215", []string{`want 16MiB to 1024GiB, not 16777215`}},
		"reserve large":                        {"store.reserve = '1025GiB'", []string{`want 16MiB to 1024GiB, not 1025GiB`}},
		"reserve that wraps":                   {"store.reserve = '17179869184GiB'", []string{`store.reserve: want a size, such as "256MiB"`}},
		"reserve in thousands":                 {"store.reserve = '256MB'", []string{`units are KiB, MiB and GiB), not the string "256MB"`}},
		"reserve with a fraction":              {"store.reserve = '1.5GiB'", []string{`want a size, such as "256MiB"`}},
		"reserve that is negative":             {"store.reserve = -1", []string{`want a size, such as "256MiB"`}},
		"reserve of nothing":                   {"store.reserve = 'MiB'", []string{`want a size, such as "256MiB"`}},
		"reserve that is a list":               {"store.reserve = []", []string{`want a size, such as "256MiB", "2GiB" or a number of bytes, not a list`}},
		"lead negative":                        {"hlc.max_lead = '-1s'", []string{`want 10ms to 1h, not "-1s"`}},
		"lead large":                           {"hlc.max_lead = '1h1ms'", []string{`want 10ms to 1h, not "1h1ms"`}},
		"error limit small":                    {"clock.error_limit = '1us'", []string{`want 10µs to 16s, not "1us"`}},
		"error limit large":                    {"clock.error_limit = '17s'", []string{`want 10µs to 16s, not "17s"`}},
		"window beyond lead, and another key":  {"[hlc]\nmax_lead = '100ms'\n[ntp]\nworkers = -1", []string{"t.toml:2: hlc.max_lead: window (250ms) must be less than max_lead (100ms)", "t.toml:4: ntp.workers"}},
		"window beyond lead, but out of range": {"[hlc]\nmax_lead = '1ms'", []string{"t.toml:2: hlc.max_lead"}},
		"window beyond lead":                   {"[hlc]\nmax_lead = '100ms'", []string{"t.toml:2: hlc.max_lead: window (250ms) must be less than max_lead (100ms)"}},
		"window equals lead":                   {"[hlc]\nmax_lead = '2s'\nwindow = '2s'", []string{"t.toml:3: hlc.window: window (2s) must be less"}},
		"chronyd relative":                     {"clock.chronyd = 'chronyd.sock'", []string{`want "auto", "off", the absolute path`}},
		"chronyd name":                         {"clock.chronyd = 'localhost:323'", []string{`not "localhost:323"`}},
		"chronyd elsewhere":                    {"clock.chronyd = '192.0.2.1:323'", []string{`"192.0.2.1:323" is not a loopback address: only a chronyd`}},
		"chronyd no port":                      {"clock.chronyd = '127.0.0.1:0'", []string{`names no port`}},
		"chronyd path long":                    {"clock.chronyd = '/" + strings.Repeat("x", 107) + "'", []string{"at most 107 bytes, not of 108"}},
		"no addresses":                         {"ntp.listen = []", []string{"want a list of 1 to 16 addresses with ports, not a list of 0"}},
		"no port":                              {"ntp.listen = ['127.0.0.1']", []string{`"127.0.0.1" is not an IP address with a port`}},
		"host name":                            {"ntp.listen = ['localhost:123']", []string{`"localhost:123" is not an IP address with a port`}},
		"port too high":                        {"ntp.listen = ['127.0.0.1:65536']", []string{`is not an IP address with a port`}},
		"every address":                        {"ntp.listen = [':123']", []string{`":123" names no address: write "0.0.0.0:123" for every IPv4 address`}},
		"address twice":                        {"ntp.listen = ['127.0.0.1:1', '127.0.0.1:1']", []string{`"127.0.0.1:1" is in the list twice`}},
		"address twice, map":                   {"ntp.listen = ['127.0.0.1:1',\n'[::ffff:127.0.0.1]:1']", []string{`t.toml:2: ntp.listen: "[::ffff:127.0.0.1]:1" is in the list twice`}},
		"multicast":                            {"ntp.listen = ['224.0.1.1:123']", []string{`"224.0.1.1:123" is an address of many machines`}},
		"broadcast":                            {"ntp.listen = ['255.255.255.255:123']", []string{`is an address of many machines`}},
		"open API":                             {"api.listen = ['0.0.0.0:8123']", []string{`t.toml:1: api.listen: "0.0.0.0:8123" is not a loopback address, and there is no TLS`, `anybody who reaches it could do everything`}},
		"API of many machines":                 {"api.listen = ['224.0.0.1:8123']", []string{"is an address of many machines"}},
		"two addresses":                        {"ntp.listen = ['x',\n 'y']", []string{`t.toml:1: ntp.listen: "x"`, `t.toml:2: ntp.listen: "y"`}},
		"interface too long":                   {"ntp.interface = 'enp3s0f1np1.4094'", []string{`t.toml:1: ntp.interface: want the name of a network interface, such as "eth0", or "" for any, at most 15 bytes`}},
		"interface with a path":                {"ntp.interface = 'a/b'", []string{`ntp.interface: want the name`}},
		"interface with a colon":               {"ntp.interface = 'eth0:1'", []string{`not "eth0:1"`}},
		"interface with a blank":               {"ntp.interface = 'eth 0'", []string{`not "eth 0"`}},
		"interface with a control":             {`ntp.interface = "eth\u0001"`, []string{`not "eth\x01"`}},
		"interface that is a directory":        {"ntp.interface = '..'", []string{`not ".."`}},
		"interface number":                     {"ntp.interface = 2", []string{"ntp.interface: want a string: the name of a network interface"}},
		"dscp large":                           {"ntp.dscp = 64", []string{"t.toml:1: ntp.dscp: want 0 to 63, not 64"}},
		"dscp by name":                         {"ntp.dscp = 'EF'", []string{`ntp.dscp: want an integer, 0 to 63, not the string "EF"`}},
		"prefix alone":                         {"ntp.allow = '10.0.0.0/8'", []string{`ntp.allow: want a list of up to 4096 prefixes or addresses, such as ["10.0.0.0/8", "2001:db8::/32"], not the string "10.0.0.0/8"`}},
		"number for a prefix":                  {"ntp.allow = [10]", []string{`ntp.allow: want prefixes in quotes, such as "10.0.0.0/8", not an integer (10)`}},
		"host bits":                            {"[ntp]\nallow = ['10.0.0.0/8',\n'10.1.2.3/8']", []string{`t.toml:3: ntp.allow: "10.1.2.3/8" has bits set beyond its length: write "10.0.0.0/8", or the address alone`}},
		"host bits, IPv6":                      {"ntp.deny = ['2001:db8::1/32']", []string{`write "2001:db8::/32", or`}},
		"mapped":                               {"ntp.deny = ['::ffff:10.0.0.0/104']", []string{`ntp.deny: "::ffff:10.0.0.0/104" is an IPv4 prefix in IPv6 clothes: write "10.0.0.0/8"`}},
		"mapped, host bits":                    {"ntp.deny = ['::ffff:10.0.0.1/104']", []string{`write "10.0.0.0/8"`}},
		"mapped address":                       {"ntp.deny = ['::ffff:10.0.0.1']", []string{`write "10.0.0.1/32"`}},
		"mapped, all":                          {"ntp.deny = ['::ffff:0:0/96']", []string{`write "0.0.0.0/0"`}},
		"mapped, more than all":                {"ntp.deny = ['::ffff:0:0/95']", []string{`write "::fffe:0:0/95"`}},
		"zone":                                 {"ntp.deny = ['fe80::1%eth0']", []string{`ntp.deny: "fe80::1%eth0" names a zone: write it without; ntp.interface says where`}},
		"zone, prefix":                         {"ntp.deny = ['fe80::%eth0/64']", []string{`names a zone`}},
		"prefix too long":                      {"ntp.deny = ['10.0.0.0/33']", []string{`ntp.deny: "10.0.0.0/33" is neither a prefix nor an address: write it as "10.0.0.0/8", "2001:db8::/32" or "192.0.2.1"`}},
		"netmask":                              {"ntp.deny = ['10.0.0.0/255.0.0.0']", []string{`is neither a prefix nor an address`}},
		"prefix of three":                      {"ntp.deny = ['10.0.0/24']", []string{`is neither a prefix nor an address`}},
		"prefix name":                          {"ntp.deny = ['localhost']", []string{`"localhost" is neither a prefix nor an address`}},
		"empty prefix":                         {"ntp.deny = ['']", []string{`"" is neither a prefix nor an address`}},
		"prefix with a port":                   {"ntp.deny = ['10.0.0.1:123']", []string{`is neither a prefix nor an address`}},
		"prefix twice":                         {"ntp.deny = ['10.0.0.1',\n'10.0.0.1/32']", []string{`t.toml:2: ntp.deny: "10.0.0.1/32" is in the list twice`}},
		"many kinds":                           {"[ntp]\nallow = ['x', '10.0.0.1/8', '10.0.0.0/8',\n'10.0.0.0/8', 5]", []string{`t.toml:2: ntp.allow: "x"`, `"10.0.0.1/8"`, `t.toml:3: ntp.allow: "10.0.0.0/8" is in the list twice`, `an integer (5)`}},
		"in both":                              {"[ntp]\ndeny = ['::1', '10.0.0.0/8']\nallow = ['10.0.0.0/8', '::1/128', '10.0.0.0/9']", []string{`t.toml:3: ntp.allow: allow and deny both list "10.0.0.0/8": take it out of one of them`, `t.toml:3: ntp.allow: allow and deny both list "::1/128"`}},
		"in both, and a fault":                 {"[ntp]\ndeny = ['10.0.0.0/8', 'x']\nallow = ['10.0.0.0/8']", []string{`t.toml:2: ntp.deny: "x"`}},
		"rate interval small":                  {"ntp.rate_interval = '999us'", []string{`ntp.rate_interval: want 0s for no limit, or 1ms to 1h, not "999us"`}},
		"rate interval large":                  {"ntp.rate_interval = '1h1s'", []string{`want 0s for no limit, or 1ms to 1h, not "1h1s"`}},
		"rate interval negative":               {"ntp.rate_interval = '-8s'", []string{`not "-8s"`}},
		"rate interval number":                 {"ntp.rate_interval = 8", []string{`want a duration in quotes`}},
		"rate burst small":                     {"ntp.rate_burst = 0", []string{`want 1 to 1000000, not 0`}},
		"rate burst large":                     {"ntp.rate_burst = 1_000_001", []string{`want 1 to 1000000, not 1_000_001`}},
		"rate kiss negative":                   {"ntp.rate_kiss = -1", []string{`want 0 to 65536, not -1`}},
		"rate kiss large":                      {"ntp.rate_kiss = 65537", []string{`want 0 to 65536, not 65537`}},
		"truth in quotes":                      {"ntp.rate_private = 'true'", []string{`t.toml:1: ntp.rate_private: want true or false, without quotes, not the string "true"`}},
		"number for truth":                     {"ntp.interleaved = 1", []string{`ntp.interleaved: want true or false, without quotes, not an integer (1)`}},
		"near rate":                            {"ntp.rate_intervall = '8s'", []string{`did you mean ntp.rate_interval?`}},
		"near deny":                            {"ntp.denied = []", []string{`did you mean ntp.deny?`}},
		"near allow":                           {"ntp.allowed = []", []string{`did you mean ntp.allow?`}},
		"near interleaved":                     {"ntp.interleave = true", []string{`did you mean ntp.interleaved?`}},
		"all kinds at once": {"[ntp]\nalow = []\ndeny = ['x']\ndscp = 64\nrate_kiss = -1\nrate_private = 0\nrate_interval = '2h'\ninterface = '.'",
			[]string{"t.toml:2: ntp.alow:", "t.toml:3: ntp.deny:", "t.toml:4: ntp.dscp:", "t.toml:5: ntp.rate_kiss:", "t.toml:6: ntp.rate_private:", "t.toml:7: ntp.rate_interval:", "t.toml:8: ntp.interface:"}},
		"a fault hides cross":  {"[hlc]\nmax_lead = '2h'\nwindow = '5s'", []string{`t.toml:2: hlc.max_lead: want 10ms to 1h, not "2h"`}},
		"two of syntax":        {"[ntp\n[hlc]\nwindow = '1ms\n", []string{"t.toml:1: this is not TOML", "t.toml:3: this is not TOML"}},
		"faults hide no cross": {"hlc.max_lead = '100ms'\nx = 1", []string{"t.toml:1: hlc.max_lead: window", "t.toml:2: x: unknown key"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse("t.toml", []byte(c.in))
			var p *Problems
			if !errors.As(err, &p) {
				t.Fatalf("accepted: %v, %v", got, err)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(c.want) || len(p.List) != len(c.want) {
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

func TestTooManyAddresses(t *testing.T) {
	var list []string
	for port := range listenMax + 1 {
		list = append(list, fmt.Sprintf(`"127.0.0.1:%d"`, port))
	}
	in := func(n int) []byte { return []byte("ntp.listen = [" + strings.Join(list[:n], ", ") + "]") }
	if _, err := Parse("t.toml", in(listenMax)); err != nil {
		t.Error(err)
	}
	if _, err := Parse("t.toml", in(listenMax+1)); err == nil {
		t.Error("17 addresses were accepted")
	}
}

func TestTooManyPrefixes(t *testing.T) {
	var list []string
	for i := range prefixesMax + 1 {
		list = append(list, fmt.Sprintf(`"2001:db8:%x::/48"`, i))
	}
	in := func(n int) []byte { return []byte("ntp.allow = [" + strings.Join(list[:n], ", ") + "]") }
	c, err := Parse("t.toml", in(prefixesMax))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Parse("again", []byte(c.TOML())); err != nil || len(again.NTP.Allow) != prefixesMax {
		t.Errorf("%d read back, %v", len(again.NTP.Allow), err)
	}
	if _, err := Parse("t.toml", in(prefixesMax+1)); err == nil || !strings.Contains(err.Error(), "want a list of up to 4096 prefixes or addresses, not a list of 4097") {
		t.Errorf("4097 prefixes: %v", err)
	}
}

func TestProblemsAreLimited(t *testing.T) {
	_, err := Parse("t.toml", []byte(strings.Repeat("x = 1\n", 1000)))
	var p *Problems
	if !errors.As(err, &p) {
		t.Fatal(err)
	}
	if len(p.List) != problemsMax || p.More != 1000-problemsMax || !strings.HasSuffix(err.Error(), "\nand 950 more") {
		t.Errorf("%d listed, %d more", len(p.List), p.More)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"listen", "listen", 0}, {"lisen", "listen", 1}, {"listten", "listen", 1},
		{"lisren", "listen", 1}, {"lsiten", "listen", 1}, {"ca", "abc", 3}, {"name", "number", 3},
		{strings.Repeat("x", 1<<20), "listen", 1 << 20},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%.10q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("distance(%q, %.10q) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
}

// FuzzParse: it never panics; what it refuses it explains; what it accepts reads
// back the same from TOML.
func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(Template()))
	f.Add([]byte("[ntp]\nlisten = [\n127\n]\na.b.c = {d = [{e = 1}]}\n[[x]]\n"))
	f.Add([]byte("x = '''\n"))
	f.Add([]byte("[ntp"))
	f.Add([]byte("node.name = \"\\uD800\"\nnode.data_dir = \"\\t\\\"\""))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if err != nil {
			var p *Problems
			if !errors.As(err, &p) || len(p.List) == 0 {
				t.Fatalf("refused without a problem: %v", err)
			}
			for _, one := range p.List {
				if one.Line < 0 || one.Line > strings.Count(string(data), "\n")+1 || one.Text == "" {
					t.Fatalf("%+v", one)
				}
			}
			if strings.ContainsAny(err.Error(), "\x00\x1b\x7f") {
				t.Fatalf("a control character in %q", err)
			}
			return
		}
		again, err := Parse("again", []byte(c.TOML()))
		if err != nil {
			t.Fatalf("%v\n%s", err, c.TOML())
		}
		diff(t, "after TOML", c, again)
	})
}
