package fleet

import (
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
)

func limit() compliance.Profile {
	return compliance.Profile{Name: "finra-50ms", Tolerance: 50 * time.Millisecond, Warn: 25 * time.Millisecond}
}

func TestExpand(t *testing.T) {
	group := func(hosts string, exclude ...string) []Group {
		return []Group{{Name: "g", Hosts: strings.Fields(hosts), Exclude: exclude, Profile: limit()}}
	}
	tests := map[string]struct {
		groups []Group
		want   string // hosts; with * those of a range
		fault  string
	}{
		"address":               {group("192.0.2.1 192.0.2.2:1123"), "192.0.2.1:123 192.0.2.2:1123", ""},
		"address 6":             {group("2001:db8::1 [2001:db8::2]:1123"), "[2001:db8::1]:123 [2001:db8::2]:1123", ""},
		"name":                  {group("a.example b-c.example:1123"), "a.example b-c.example:1123", ""},
		"prefix":                {group("192.0.2.64/30"), "192.0.2.65:123* 192.0.2.66:123*", ""},
		"prefix, not its first": {group("192.0.2.66/30"), "192.0.2.65:123* 192.0.2.66:123*", ""},
		"two addresses":         {group("192.0.2.64/31"), "192.0.2.64:123* 192.0.2.65:123*", ""},
		"one address":           {group("192.0.2.64/32"), "192.0.2.64:123*", ""},
		"prefix 6":              {group("2001:db8::/127"), "[2001:db8::]:123* [2001:db8::1]:123*", ""},
		"range":                 {group("192.0.2.254-192.0.3.1"), "192.0.2.254:123* 192.0.2.255:123* 192.0.3.0:123* 192.0.3.1:123*", ""},
		"the last address":      {group("255.255.255.254-255.255.255.255"), "255.255.255.254:123* 255.255.255.255:123*", ""},
		"twice":                 {group("192.0.2.1 192.0.2.1/32 A.example a.example"), "192.0.2.1:123 A.example", ""},
		"excluded":              {group("192.0.2.0/29 a.example:1123 b.example", "192.0.2.2", "192.0.2.5/31", "192.0.2.1-192.0.2.1", "A.example"), "192.0.2.3:123* 192.0.2.6:123* b.example", ""},
		"excluded broadcast":    {group("192.0.2.0-192.0.2.3", "192.0.2.0/30"), "", ""},
		"down":                  {group("192.0.2.9-192.0.2.1"), "", "write the lower address first"},
		"two families":          {group("192.0.2.9-2001:db8::1"), "", "both of one family"},
		"too large":             {group("10.0.0.0/16"), "", `"10.0.0.0/16" holds more than 4096 addresses; name smaller prefixes`},
		"too large 6":           {group("2001:db8::/64"), "", "name smaller prefixes"},
		"just too large":        {group("10.0.0.0-10.0.16.0"), "", "name smaller prefixes"},
		"together too large":    {group("10.0.0.0/20 10.1.0.1 10.1.0.2 10.1.0.3"), "", "the groups have 4097 hosts; observe 4096 at the most"},
		"nist":                  {group("time-a-g.nist.gov"), "", "sources of time and not hosts"},
		"nist 2":                {group("NIST.gov.:123"), "", "sources of time and not hosts"},
		"not nist":              {group("nist.gov.example"), "nist.gov.example", ""},
		"not nist 2":            {group("notnist.gov"), "notnist.gov", ""},
		"multicast":             {group("224.0.1.1"), "", "is no host's address"},
		"no host":               {group("192.0.2.0/40"), "", "is no host; want a name"},
		"no port":               {group("a.example:0"), "", `names port "0"`},
		"no exclusion":          {group("a.example", "b/c"), "", `exclude "b/c" is no host`},
		"exclusion down":        {group("a.example", "192.0.2.9-192.0.2.1"), "", "write the lower address first"},
		"empty":                 {group(""), "", "it has no hosts"},
		"short":                 {[]Group{{Name: "g", Hosts: []string{"a"}, Interval: 7 * time.Second, Profile: limit()}}, "", "interval 7s is too short; at least 8s"},
		"no limit":              {[]Group{{Name: "g", Hosts: []string{"a"}}}, "", "has no tolerance"},
		"no name":               {[]Group{{Hosts: []string{"a"}, Profile: limit()}}, "", "a name of its own"},
		"same name":             {append(group("a"), group("b")...), "", "a name of its own"},
		"in two groups": {[]Group{{Name: "g", Hosts: []string{"192.0.2.0/30"}, Profile: limit()}, {Name: "h", Hosts: []string{"192.0.2.1"}, Profile: limit()}}, "",
			`groups "g" and "h": both have 192.0.2.1:123; exclude it from one of them`},
		"all faults": {group("10.0.0.0/16 time.nist.gov"), "", "time.nist.gov"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			all, _, err := expand(tt.groups)
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) {
					t.Errorf("%v, want %q", err, tt.fault)
				}
				return
			}
			var got []string
			for _, w := range all {
				s := w.name
				if w.addr.IsValid() {
					s = w.addr.String()
				}
				if w.ranged {
					s += "*"
				}
				got = append(got, s)
			}
			if err != nil || strings.Join(got, " ") != tt.want {
				t.Errorf("%v, %v, want %s", got, err, tt.want)
			}
		})
	}
	if all, _, err := expand(group("10.0.0.0/20 10.0.16.1 10.0.16.2")); len(all) != HostsMax || err != nil {
		t.Errorf("%d hosts, %v", len(all), err)
	}
}

// What is excluded may be larger than what can be observed.
func TestCheck(t *testing.T) {
	if err := CheckExcluded("10.0.0.0/8"); err != nil {
		t.Errorf("a large exclusion: %v", err)
	}
	if CheckExcluded("a b") == nil || CheckHost("a b") == nil || CheckHost("10.0.0.0/8") == nil || CheckHost("10.0.0.1") != nil {
		t.Error("items are not checked as they should be")
	}
	profile, _ := compliance.Builtin("finra-50ms")
	group := Group{Name: "a", Hosts: []string{"10.0.0.1"}, Profile: profile}
	if err := Check([]Group{group}); err != nil {
		t.Errorf("a group: %v", err)
	}
	if Check([]Group{group, group}) == nil {
		t.Error("two groups of one name pass")
	}
}
