package fleet

import (
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/upstream"
)

const (
	// IntervalMin is how often a host is asked at the most.
	IntervalMin = 8 * time.Second
	// IntervalDefault is how often a host is asked where nothing is said.
	IntervalDefault = 64 * time.Second
	// HostsMax is how many hosts there are at the most, of all groups.
	HostsMax = 4096
)

// Group is a list of hosts that are held to one limit.
type Group struct {
	Name     string             // not empty, and no other group's
	Hosts    []string           // names and addresses, with a port or without; prefixes such as 192.0.2.0/24; ranges such as 192.0.2.1-192.0.2.9
	Exclude  []string           // likewise, without ports: hosts that are not asked
	Interval time.Duration      // between two probes of a host; 0: IntervalDefault; at least IntervalMin
	Profile  compliance.Profile // the limit
}

// wanted is a host as it is configured.
type wanted struct {
	group  *Group
	name   string         // as configured; of a prefix or range the address
	addr   netip.AddrPort // invalid: the name is looked up
	ranged bool           // it was not named itself: that nothing is there is no fault
}

// addresses is a range of addresses, both ends included.
type addresses struct{ first, last netip.Addr }

func (r addresses) contains(a netip.Addr) bool {
	return r.first.Compare(a) <= 0 && a.Compare(r.last) <= 0
}

// exclusion is what a group does not ask.
type exclusion struct {
	ranges []addresses
	names  map[string]bool
}

func (e *exclusion) has(name string, addr netip.AddrPort) bool {
	if e.names[strings.ToLower(hostOf(name))] {
		return true
	}
	for _, r := range e.ranges {
		if addr.IsValid() && r.contains(addr.Addr()) {
			return true
		}
	}
	return false
}

// expand returns the hosts of all groups in their order and what is excluded of each group, or
// everything that is wrong with the groups.
func expand(groups []Group) ([]wanted, map[string]*exclusion, error) {
	var all []wanted
	var faults []error
	excluded := map[string]*exclusion{}
	owner := map[netip.AddrPort]string{}
	for i := range groups {
		g := &groups[i]
		if _, twice := excluded[g.Name]; twice || g.Name == "" {
			faults = append(faults, fmt.Errorf("group %q: give each group a name of its own", g.Name))
			continue
		}
		e, err := exclusionOf(g.Exclude)
		excluded[g.Name] = e
		hosts, more := expandGroup(g, e)
		faults = append(faults, err, more)
		for _, h := range hosts {
			if h.addr.IsValid() {
				if other := owner[h.addr]; other != "" {
					faults = append(faults, fmt.Errorf("groups %q and %q: both have %v; exclude it from one of them", other, g.Name, h.addr))
					continue
				}
				owner[h.addr] = g.Name
			}
			all = append(all, h)
		}
	}
	if len(all) > HostsMax {
		faults = append(faults, fmt.Errorf("the groups have %d hosts; observe %d at the most: name smaller prefixes, or observe the rest from another node", len(all), HostsMax))
	}
	return all, excluded, errors.Join(faults...)
}

// expandGroup returns the hosts of a group, each once.
func expandGroup(g *Group, e *exclusion) ([]wanted, error) {
	var list []wanted
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("group %q: "+format, append([]any{g.Name}, args...)...))
	}
	if g.Interval != 0 && g.Interval < IntervalMin {
		fault("interval %v is too short; at least %v between two probes of a host", g.Interval, IntervalMin)
	}
	if g.Profile.Tolerance <= 0 {
		fault("its profile %q has no tolerance; name one that has", g.Profile.Name)
	}
	if len(g.Hosts) == 0 {
		fault("it has no hosts; name some, or remove it")
	}
	seen := map[string]bool{}
	for _, host := range g.Hosts {
		more, err := expandHost(g, host)
		if err != nil {
			fault("%w", err)
		}
		for _, h := range more {
			key := strings.ToLower(h.name)
			if h.addr.IsValid() {
				key = h.addr.String()
			}
			if !seen[key] && !e.has(h.name, h.addr) {
				seen[key] = true
				list = append(list, h)
			}
		}
	}
	return list, errors.Join(faults...)
}

// expandHost returns the hosts that one item of a list means.
func expandHost(g *Group, item string) ([]wanted, error) {
	r, many, err := parseRange(item)
	if err != nil {
		return nil, err
	}
	if many {
		if n := size(r); n > HostsMax {
			return nil, fmt.Errorf("%q holds more than %d addresses; name smaller prefixes: a /20 of IPv4 or a /116 of IPv6 is the largest", item, HostsMax)
		}
		var list []wanted
		for a := r.first; r.contains(a); a = a.Next() {
			list = append(list, wanted{group: g, name: a.String(), addr: netip.AddrPortFrom(a, upstream.Port), ranged: true})
		}
		return list, nil
	}
	name, port, err := upstream.ParseHost(item)
	if err != nil {
		return nil, err
	}
	h := wanted{group: g, name: item}
	if a, err := netip.ParseAddr(name); err == nil {
		a = a.Unmap()
		if a.IsUnspecified() || a.IsMulticast() {
			return nil, fmt.Errorf("%q is no host's address; name one that answers for itself", item)
		}
		h.addr = netip.AddrPortFrom(a, port)
		return []wanted{h}, nil
	}
	switch low := strings.TrimSuffix(strings.ToLower(name), "."); {
	case name == "" || strings.ContainsAny(name, "/ \t"):
		return nil, fmt.Errorf("%q is no host; want a name, an address, a prefix such as 192.0.2.0/24 or a range such as 192.0.2.1-192.0.2.9", item)
	case low == "nist.gov" || strings.HasSuffix(low, ".nist.gov"):
		return nil, fmt.Errorf("%q is one of NIST's, which are sources of time and not hosts to be observed; name it under [[source]]", item)
	}
	return []wanted{h}, nil
}

// parseRange reads a prefix or a range; many is false where the item is neither. Of a prefix of
// IPv4 the addresses of the network and of the broadcast are left out, where it has them.
func parseRange(item string) (r addresses, many bool, err error) {
	if prefix, err := netip.ParsePrefix(item); err == nil {
		prefix = prefix.Masked()
		r = addresses{prefix.Addr(), lastOf(prefix)}
		if prefix.Addr().Is4() && prefix.Bits() < 31 {
			r.first, r.last = r.first.Next(), r.last.Prev()
		}
		return r, true, nil
	}
	from, to, found := strings.Cut(item, "-")
	if !found {
		return r, false, nil
	}
	first, err1 := netip.ParseAddr(strings.TrimSpace(from))
	last, err2 := netip.ParseAddr(strings.TrimSpace(to))
	if err1 != nil || err2 != nil {
		return r, false, nil // a name
	}
	r = addresses{first.Unmap(), last.Unmap()}
	if r.first.Is4() != r.last.Is4() || r.last.Less(r.first) {
		return r, false, fmt.Errorf("range %q does not go up; write the lower address first, both of one family", item)
	}
	return r, true, nil
}

// lastOf returns the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// size returns how many addresses a range has, HostsMax+1 for more than HostsMax.
func size(r addresses) int64 {
	number := func(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }
	n := new(big.Int).Sub(number(r.last), number(r.first))
	if !n.IsInt64() || n.Int64() >= HostsMax {
		return HostsMax + 1
	}
	return n.Int64() + 1
}

// exclusionOf reads what is excluded.
func exclusionOf(items []string) (*exclusion, error) {
	e := &exclusion{names: map[string]bool{}}
	var faults []error
	for _, item := range items {
		if prefix, err := netip.ParsePrefix(item); err == nil {
			e.ranges = append(e.ranges, addresses{prefix.Masked().Addr(), lastOf(prefix.Masked())})
			continue
		}
		r, many, err := parseRange(item)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if a, err := netip.ParseAddr(item); err == nil {
			r, many = addresses{a.Unmap(), a.Unmap()}, true
		}
		switch {
		case many:
			e.ranges = append(e.ranges, r)
		case item == "" || strings.ContainsAny(item, "/ \t"):
			faults = append(faults, fmt.Errorf("exclude %q is no host; want a name, an address, a prefix or a range", item))
		default:
			e.names[strings.ToLower(item)] = true
		}
	}
	return e, errors.Join(faults...)
}

// hostOf returns a host without its port.
func hostOf(host string) string {
	name, _, err := upstream.ParseHost(host)
	if err != nil {
		return host
	}
	return name
}
