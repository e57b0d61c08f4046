package ntpserver

// Who may ask.
//
// The longest prefix that contains an address decides. Prefixes either contain
// each other or do not touch, so they cut the addresses of a family into ranges
// with one answer each. The ranges are worked out once, when the policy is set,
// and a request then takes one binary search, however the prefixes are nested.

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// prefixesMax bounds the prefixes of one list: a policy is for networks, not a
// list of every address that ever misbehaved.
const prefixesMax = 65_536

// access is a compiled allow and deny list.
type access struct {
	v4, v6 []bound
}

// bound is the first address of a range and whether its addresses may ask. The
// range goes on to the next bound; the first begins at the zero address.
type bound struct {
	from  key
	allow bool
}

// rule is one prefix of a list, as its first and last address.
type rule struct {
	first, last key
	bits        int
	allow       bool
}

// newAccess compiles the lists of a policy. It fails on invalid prefixes and on
// a prefix that is in both.
func newAccess(allow, deny []netip.Prefix) (*access, error) {
	if len(allow) > prefixesMax || len(deny) > prefixesMax {
		return nil, fmt.Errorf("ntpserver: more than %d prefixes in one list: use shorter prefixes", prefixesMax)
	}
	var v4, v6 []rule
	listed := make(map[netip.Prefix]bool)
	for i, p := range slices.Concat(allow, deny) {
		allowed := i < len(allow)
		if !p.IsValid() || p.Addr().Is4In6() {
			return nil, fmt.Errorf("ntpserver: %v is no prefix: write 192.0.2.0/24 or 2001:db8::/32", p)
		}
		p = p.Masked()
		if before, ok := listed[p]; ok && before != allowed {
			return nil, fmt.Errorf("ntpserver: %v is both allowed and denied: take it from one of the lists", p)
		}
		listed[p] = allowed
		r := newRule(p, allowed)
		if p.Addr().Is4() {
			v4 = append(v4, r)
		} else {
			v6 = append(v6, r)
		}
	}
	open := len(allow) == 0
	return &access{v4: bounds(v4, open), v6: bounds(v6, open)}, nil
}

// newRule returns the rule of a masked prefix.
func newRule(p netip.Prefix, allow bool) rule {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96 // As16 maps the address into IPv6
	}
	first := addrKey(p.Addr())
	last := first
	switch {
	case bits <= 64:
		last[0] |= ^uint64(0) >> bits
		last[1] = ^uint64(0)
	default:
		last[1] |= ^uint64(0) >> (bits - 64)
	}
	return rule{first, last, bits, allow}
}

// bounds cuts the addresses of one family into ranges; open is the answer where
// no rule applies.
func bounds(rules []rule, open bool) []bound {
	// A prefix comes before those that it contains.
	slices.SortFunc(rules, func(a, b rule) int {
		return cmp.Or(compareKeys(a.first, b.first), cmp.Compare(a.bits, b.bits))
	})
	list := []bound{{key{}, open}}
	start := func(from key, allow bool) {
		if list[len(list)-1].from == from { // nothing lies between the two
			list = list[:len(list)-1]
		}
		if len(list) == 0 || list[len(list)-1].allow != allow {
			list = append(list, bound{from, allow})
		}
	}
	var nested []rule // the prefixes that contain the address that the sweep has reached
	end := func(r rule) {
		if next, ok := successor(r.last); ok {
			outer := open
			if len(nested) > 0 {
				outer = nested[len(nested)-1].allow
			}
			start(next, outer)
		}
	}
	leave := func(done func(rule) bool) {
		for len(nested) > 0 && done(nested[len(nested)-1]) {
			inner := nested[len(nested)-1]
			nested = nested[:len(nested)-1]
			end(inner)
		}
	}
	for _, r := range rules {
		leave(func(inner rule) bool { return compareKeys(inner.last, r.first) < 0 })
		nested = append(nested, r)
		start(r.first, r.allow)
	}
	leave(func(rule) bool { return true })
	return list
}

// allows reports whether an address may ask. The address is not a mapped one.
func (a *access) allows(addr netip.Addr, k key) bool {
	list := a.v6
	if addr.Is4() {
		list = a.v4
	}
	// The last bound that is not above k.
	low, high := 0, len(list)
	for high-low > 1 {
		if middle := int(uint(low+high) >> 1); compareKeys(list[middle].from, k) <= 0 {
			low = middle
		} else {
			high = middle
		}
	}
	return list[low].allow
}

// compareKeys orders keys as numbers of 128 bits.
func compareKeys(a, b key) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) }

// successor returns the key after k, and false for the last one.
func successor(k key) (key, bool) {
	k[1]++
	if k[1] == 0 {
		k[0]++
	}
	return k, k != key{}
}
