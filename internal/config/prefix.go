package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// prefixesMax limits a list of prefixes.
const prefixesMax = 4096

// prefixes is a key whose value is a list of prefixes, which may be empty.
func prefixes[C any](at func(*C) *[]netip.Prefix) field[C] {
	want := fmt.Sprintf("a list of up to %d prefixes or addresses", prefixesMax)
	return field[C]{
		want: want,
		set: func(c *C, v value) []fault {
			if v.kind != aList {
				return []fault{{text: fmt.Sprintf(`want %s, such as ["10.0.0.0/8", "2001:db8::/32"], not %s`, want, v)}}
			}
			if n := len(v.items); n > prefixesMax {
				return []fault{{text: fmt.Sprintf("want %s, not a list of %d", want, n)}}
			}
			list, faults := readPrefixes(v.items)
			if faults == nil {
				*at(c) = list
			}
			return faults
		},
		text:  func(c *C) string { return listText(*at(c)) },
		plain: func(c *C) string { return listPlain(*at(c)) },
		copy:  func(to, from *C) { *at(to) = slices.Clone(*at(from)) },
	}
}

func readPrefixes(items []value) ([]netip.Prefix, []fault) {
	var list []netip.Prefix
	var faults []fault
	seen := make(map[netip.Prefix]bool, len(items))
	for _, item := range items {
		p, wrong := readPrefix(item)
		if wrong == "" && seen[p] {
			wrong = fmt.Sprintf("%s is in the list twice", quoted(item.text))
		}
		if wrong != "" {
			faults = append(faults, fault{line: item.line, text: wrong})
			continue
		}
		seen[p] = true
		list = append(list, p)
	}
	return list, faults
}

// mappedBits is how much of an IPv4 address in IPv6 clothes says that it is one.
const mappedBits = 96

// readPrefix reads a prefix, or an address as the prefix of it alone. An IPv4 address
// in IPv6 clothes is refused: clients are known by the address without them, which no
// such prefix holds.
func readPrefix(v value) (p netip.Prefix, wrong string) {
	if v.kind != aString {
		return p, fmt.Sprintf(`want prefixes in quotes, such as "10.0.0.0/8", not %s`, v)
	}
	p, err := netip.ParsePrefix(v.text)
	if a, bareErr := netip.ParseAddr(v.text); bareErr == nil && a.Zone() == "" {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	switch {
	case err != nil && strings.Contains(v.text, "%"):
		return p, fmt.Sprintf("%s names a zone: write it without; ntp.interface says where requests must come in", quoted(v.text))
	case err != nil:
		return p, fmt.Sprintf(`%s is neither a prefix nor an address: write it as "10.0.0.0/8", "2001:db8::/32" or "192.0.2.1"`, quoted(v.text))
	case p.Addr().Is4In6() && p.Bits() >= mappedBits:
		plain := netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mappedBits).Masked()
		return p, fmt.Sprintf("%s is an IPv4 prefix in IPv6 clothes: write %q", quoted(v.text), plain)
	case p != p.Masked():
		return p, fmt.Sprintf("%s has bits set beyond its length: write %q, or the address alone", quoted(v.text), p.Masked())
	}
	return p, ""
}
