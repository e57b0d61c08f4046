package leap

import (
	"net/netip"
	"slices"
	"strings"
)

// smearer is one who smears leap seconds on purpose.
type smearer struct {
	who      string
	names    []string // hosts
	domains  []string // and all below these
	prefixes []netip.Prefix
}

// smearers lists who is known for it, by what they publish of their service.
func smearers() []smearer {
	prefixes := func(texts ...string) []netip.Prefix {
		list := make([]netip.Prefix, len(texts))
		for i, text := range texts {
			list[i] = netip.MustParsePrefix(text)
		}
		return list
	}
	return []smearer{
		{
			who:      "Google",
			names:    []string{"time.google.com", "time1.google.com", "time2.google.com", "time3.google.com", "time4.google.com", "time.android.com"},
			prefixes: prefixes("216.239.35.0/28", "2001:4860:4806::/60"),
		},
		{
			who:      "Amazon",
			domains:  []string{"aws.com"},
			prefixes: prefixes("169.254.169.123/32", "fd00:ec2::123/128"),
		},
		{
			who:   "Meta",
			names: []string{"time.facebook.com", "time1.facebook.com", "time2.facebook.com", "time3.facebook.com", "time4.facebook.com", "time5.facebook.com"},
		},
	}
}

// Smears reports whether an NTP server, given as a name or an address without a port, is known
// to smear leap seconds, and whose it is. For a day around a leap its time is up to a second off UTC:
// among servers that do not smear it is wrong, and among such servers those are. That a server is
// not known here proves nothing.
func Smears(host string) (who string, ok bool) {
	name := strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	addr, err := netip.ParseAddr(name)
	isAddr := err == nil
	addr = addr.Unmap().WithZone("")
	for _, s := range smearers() {
		known := slices.Contains(s.names, name) ||
			slices.ContainsFunc(s.domains, func(d string) bool { return strings.HasSuffix(name, "."+d) }) ||
			isAddr && slices.ContainsFunc(s.prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
		if known {
			return s.who, true
		}
	}
	return "", false
}

// SmearRefID reports whether a reference identifier is of the kind that ntpd gives to a
// smeared reply: 254 and the smear. It is a sign, no proof: one in 256 servers that follow an
// IPv6 address has such an identifier always. So it counts only near a leap second.
func SmearRefID(id [4]byte) bool { return id[0] == 254 }
