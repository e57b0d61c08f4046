package ntpserver

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// accessTwin reports whether an address may ask, slowly: it looks at each prefix.
func accessTwin(allow, deny []netip.Prefix, addr netip.Addr) bool {
	longest, may := -1, len(allow) == 0
	for i, p := range append(append([]netip.Prefix(nil), allow...), deny...) {
		if p.Contains(addr) && p.Bits() > longest {
			longest, may = p.Bits(), i < len(allow)
		}
	}
	return may
}

// prefixes parses prefixes.
func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// may compiles lists and asks for an address.
func may(t testing.TB, allow, deny []netip.Prefix, addr netip.Addr) bool {
	t.Helper()
	a, err := newAccess(allow, deny)
	if err != nil {
		t.Fatal(err)
	}
	return a.allows(addr, addrKey(addr))
}

// edges returns the first and the last address of a prefix, those before and
// after it, and one inside.
func edges(p netip.Prefix) []netip.Addr {
	first := p.Masked().Addr()
	b := first.AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	all := []netip.Addr{first, last, p.Addr()}
	for _, outside := range []netip.Addr{first.Prev(), last.Next()} {
		if outside.IsValid() {
			all = append(all, outside)
		}
	}
	return all
}

// randomPrefix draws a prefix that often contains, equals or adjoins others: it
// leads to one of a few addresses, but for a bit.
func randomPrefix(r *rand.Rand, v4 bool) netip.Prefix {
	length := 16
	if v4 {
		length = 4
	}
	b := make([]byte, length)
	switch r.IntN(4) {
	case 0:
	case 1:
		for i := range b {
			b[i] = 0xff
		}
	default:
		binary.BigEndian.PutUint32(b, 0x20010db8+uint32(r.IntN(2)))
	}
	if r.IntN(2) == 0 {
		at := r.IntN(8 * length)
		b[at/8] ^= 0x80 >> (at % 8)
	}
	addr, _ := netip.AddrFromSlice(b)
	p, _ := addr.Prefix(r.IntN(8*length + 1)) // what Masked leaves
	return p
}

// TestAccessEqualsItsTwin asks for every address at which an answer can change.
func TestAccessEqualsItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{0, 1, 2, 5, 30, 200}).Draw(t, "prefixes")
		share := rapid.SampledFrom([]int{0, 1, 2, 4}).Draw(t, "allowed quarters")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var allow, deny []netip.Prefix
		listed := map[netip.Prefix]bool{}
		asked := append(edges(prefixes("0.0.0.0/0")[0]), edges(prefixes("::/0")[0])...)
		for range n {
			p := randomPrefix(random, random.IntN(2) == 0)
			allowed, before := listed[p]
			if !before {
				allowed = random.IntN(4) < share
			}
			listed[p] = allowed
			asked = append(asked, edges(p)...)
			if last := edges(p)[1]; random.IntN(4) == 0 && !last.Is4In6() { // bits beyond the length do not count
				p = netip.PrefixFrom(last, p.Bits())
			}
			if allowed {
				allow = append(allow, p)
			} else {
				deny = append(deny, p)
			}
		}
		a, err := newAccess(allow, deny)
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range [][]bound{a.v4, a.v6} {
			for i, b := range list {
				if i == 0 && b.from != (key{}) || i > 0 && (compareKeys(list[i-1].from, b.from) >= 0 || list[i-1].allow == b.allow) {
					t.Fatalf("bound %d of %+v", i, list)
				}
			}
		}
		for _, addr := range asked {
			if addr.Is4In6() {
				continue
			}
			if got, want := a.allows(addr, addrKey(addr)), accessTwin(allow, deny, addr); got != want {
				t.Fatalf("%v: got %v, want %v\nallow %v\ndeny %v", addr, got, want, allow, deny)
			}
		}
	})
}

func TestAccess(t *testing.T) {
	for _, v := range []struct {
		name        string
		allow, deny []netip.Prefix
		yes, no     string
	}{
		{"empty lists", nil, nil, "0.0.0.0 192.0.2.1 255.255.255.255 :: 2001:db8::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
		{"allow only", prefixes("192.0.2.0/24"), nil, "192.0.2.0 192.0.2.255", "192.0.1.255 192.0.3.0 0.0.0.0 255.255.255.255 :: 2001:db8::1"},
		{"deny only", nil, prefixes("192.0.2.0/24"), "192.0.1.255 192.0.3.0 0.0.0.0 255.255.255.255 :: 2001:db8::1", "192.0.2.0 192.0.2.255"},
		{"an exception", prefixes("10.0.0.0/8"), prefixes("10.1.0.0/16"), "10.0.255.255 10.2.0.0", "10.1.0.0 10.1.255.255 9.255.255.255 11.0.0.0"},
		{"and one from that", prefixes("10.0.0.0/8", "10.1.2.3/32"), prefixes("10.1.0.0/16"), "10.1.2.3 10.2.0.0", "10.1.2.2 10.1.2.4"},
		{"an allowed part of what is denied", prefixes("10.1.0.0/16"), prefixes("10.0.0.0/8"), "10.1.0.0", "10.2.0.0 10.0.0.0 192.0.2.1"},
		{"everything denied", nil, prefixes("0.0.0.0/0", "::/0"), "", "0.0.0.0 255.255.255.255 :: ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"one of everything", prefixes("0.0.0.0/32", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"), prefixes("0.0.0.0/0", "::/0"), "0.0.0.0 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "0.0.0.1 255.255.255.255 :: ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"},
		{"the last addresses", nil, prefixes("255.255.255.255/32", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"), "255.255.255.254 0.0.0.0 :: ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", "255.255.255.255 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"IPv6 denied, IPv4 not", nil, prefixes("::/0"), "192.0.2.1", "2001:db8::1 ::"},
		{"IPv4 denied, IPv6 not", nil, prefixes("0.0.0.0/0"), "2001:db8::1 ::", "192.0.2.1"},
		{"IPv6 around the mapped addresses", nil, prefixes("::/64"), "192.0.2.1 0.0.0.0", "::1"},
		{"adjacent, one answer", prefixes("10.0.0.0/25", "10.0.0.128/25"), nil, "10.0.0.0 10.0.0.127 10.0.0.128 10.0.0.255", "9.255.255.255 10.0.1.0"},
		{"adjacent, two answers", prefixes("10.0.0.0/25"), prefixes("10.0.0.128/25"), "10.0.0.0 10.0.0.127", "10.0.0.128 10.0.0.255"},
		{"the same first address", prefixes("10.0.0.0/8", "10.0.0.0/32"), prefixes("10.0.0.0/16"), "10.0.0.0 10.1.0.0", "10.0.0.1 10.0.255.255"},
		{"the same last address", prefixes("10.0.0.0/8", "10.255.255.255/32"), prefixes("10.255.0.0/16"), "10.255.255.255 10.0.0.0", "10.255.0.0 10.255.255.254 11.0.0.0"},
		{"a 64", nil, prefixes("2001:db8:0:1::/64"), "2001:db8:0:0:ffff:ffff:ffff:ffff 2001:db8:0:2::", "2001:db8:0:1:: 2001:db8:0:1:ffff:ffff:ffff:ffff"},
		{"a 65", nil, prefixes("2001:db8:0:1:8000::/65"), "2001:db8:0:1:7fff:ffff:ffff:ffff 2001:db8:0:2::", "2001:db8:0:1:8000:: 2001:db8:0:1:ffff:ffff:ffff:ffff"},
		{"duplicates", prefixes("10.0.0.0/8", "10.0.0.0/8", "10.9.9.9/8"), prefixes("10.1.0.0/16", "10.1.0.0/16"), "10.0.0.0 10.2.0.0", "10.1.0.0 11.0.0.0"},
	} {
		for list, want := range map[string]bool{v.yes: true, v.no: false} {
			for _, text := range strings.Fields(list) {
				if got := may(t, v.allow, v.deny, netip.MustParseAddr(text)); got != want {
					t.Errorf("%s: %s: got %v", v.name, text, got)
				}
			}
		}
	}
	// A zone names an interface of ours and is no part of the address.
	if may(t, nil, prefixes("fe80::/10"), netip.MustParseAddr("fe80::1%eth0")) {
		t.Error("a zone evades the list")
	}
}

func TestAccessRefuses(t *testing.T) {
	many := make([]netip.Prefix, prefixesMax+1)
	for i := range many {
		many[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	for _, v := range []struct {
		name        string
		allow, deny []netip.Prefix
		want        string
	}{
		{"contradiction", prefixes("10.0.0.0/8"), prefixes("10.0.0.0/8"), "10.0.0.0/8 is both allowed and denied"},
		{"contradiction beyond the length", prefixes("10.1.2.3/8"), prefixes("10.9.9.9/8"), "10.0.0.0/8 is both allowed and denied"},
		{"contradiction, IPv6", prefixes("::/0"), prefixes("1::/0"), "::/0 is both"},
		{"the zero prefix", []netip.Prefix{{}}, nil, "is no prefix"},
		{"the zero prefix, denied", nil, []netip.Prefix{{}}, "is no prefix"},
		{"too long", nil, []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), 33)}, "is no prefix"},
		{"mapped", nil, prefixes("::ffff:10.0.0.0/104"), "is no prefix: write 192.0.2.0/24"},
		{"mapped, the whole of it", prefixes("::ffff:0:0/96"), nil, "is no prefix"},
		{"too many allowed", many, nil, "more than 65536 prefixes"},
		{"too many denied", nil, many, "more than 65536 prefixes"},
	} {
		a, err := newAccess(v.allow, v.deny)
		if a != nil || err == nil || !strings.Contains(err.Error(), v.want) || !strings.HasPrefix(err.Error(), "ntpserver: ") {
			t.Errorf("%s: got %v", v.name, err)
		}
	}
	// As many as there may be, in both lists.
	other := make([]netip.Prefix, prefixesMax)
	for i := range other {
		other[i] = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, byte(i >> 8), byte(i)}), 32)
	}
	if _, err := newAccess(many[:prefixesMax], other); err != nil {
		t.Error(err)
	}
}

func BenchmarkAccess(b *testing.B) {
	for _, n := range []int{0, 5, 1000} {
		random := rand.New(rand.NewPCG(uint64(n), 0))
		var deny []netip.Prefix
		for i := range n {
			a := netip.AddrFrom4([4]byte{byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32())})
			if i%2 == 1 {
				wide := [16]byte{0x20, 1}
				binary.BigEndian.PutUint32(wide[2:], random.Uint32())
				a = netip.AddrFrom16(wide)
			}
			deny = append(deny, netip.PrefixFrom(a, 24))
		}
		access, err := newAccess(nil, deny)
		if err != nil {
			b.Fatal(err)
		}
		for _, text := range []string{"192.0.2.7", "2001:db8::7"} {
			b.Run(fmt.Sprintf("%d prefixes/%s", n, text), func(b *testing.B) {
				b.ReportAllocs()
				addr := netip.MustParseAddr(text)
				for b.Loop() {
					access.allows(addr, addrKey(addr))
				}
			})
		}
	}
}
