package sysclock

// The criterion of RFC 5905 that belongs to who believes sources, AC-S12; the others are those of
// who serves, in package ntpserver.

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/truechimer/truechimer/internal/clock"
)

// refIDs are reference identifiers of addresses, those of IPv6 from the first four octets of the
// MD5 of the address as computed by others.
var refIDs = []struct {
	addr  string
	refID [4]byte
}{
	{"192.0.2.33", [4]byte{192, 0, 2, 33}},
	{"10.1.2.3", [4]byte{10, 1, 2, 3}},
	{"::ffff:203.0.113.9", [4]byte{203, 0, 113, 9}},
	{"2001:db8:85a3:8d3:1319:8a2e:370:7334", [4]byte{0x52, 0xfd, 0xcf, 0x75}},
	{"2001:db8::1", [4]byte{0x39, 0xab, 0x9b, 0x37}},
	{"2610:20:6f96:96::4", [4]byte{0x54, 0xa8, 0x58, 0xf3}},
}

// hostWith returns a bench on a host that has the given addresses and no others.
func hostWith(addrs ...string) *bench {
	b := newBench()
	var own []netip.Addr
	for _, a := range addrs {
		own = append(own, netip.MustParseAddr(a))
	}
	b.follow = NewFollow(b.system, benchPrecision, func() []netip.Addr { return own }, b.settings)
	return b
}

// AC-S12. Section 11.2.1, the loop test, by section 7.3's form of a reference identifier: a
// chronyd whose source is an address of this host is refused, whether it says so by the
// address or by the identifier alone.
func TestACS12LoopByRefID(t *testing.T) {
	for _, own := range refIDs {
		for _, stratum := range []uint8{2, 3, 15} {
			for _, addr := range []netip.Addr{{}, netip.MustParseAddr("192.0.2.1")} {
				t.Run(fmt.Sprintf("%s, stratum %d, said to be %v", own.addr, stratum, addr), func(t *testing.T) {
					b := hostWith("198.51.100.7", own.addr, "2001:db8::7")
					b.chronyd.tracking.RefID, b.chronyd.tracking.Addr, b.chronyd.tracking.Stratum = own.refID, addr, stratum
					refused(t, b.poll(), clock.RefIDInit(), "an address of this host")

					// The same identifier is no loop where the address is another host's.
					b = hostWith("198.51.100.7", "2001:db8::7")
					b.chronyd.tracking.RefID, b.chronyd.tracking.Addr, b.chronyd.tracking.Stratum = own.refID, addr, stratum
					believed(t, b.poll(), "chronyd")
				})
			}
		}
	}
}

// AC-S12. Loopback is this host, whether or not its addresses are listed.
func TestACS12LoopOverLoopback(t *testing.T) {
	for _, refID := range [][4]byte{{127, 0, 0, 1}, {127, 8, 9, 10}, {0xcf, 0x40, 0x4d, 0xc8}} {
		b := hostWith()
		b.chronyd.tracking.RefID, b.chronyd.tracking.Addr = refID, netip.Addr{}
		refused(t, b.poll(), clock.RefIDInit(), "an address of this host")
	}
}

// AC-S12. At stratum 1 the reference identifier is the ASCII name of a clock, and no loop
// when an address happens to be spelt alike.
func TestACS12StratumOneIsASCII(t *testing.T) {
	for name, addr := range map[string]string{"PPS\x00": "80.80.83.0", "GPSD": "71.80.83.68", "\xcf\x40\x4d\xc8": "::1"} {
		b := hostWith(addr)
		copy(b.chronyd.tracking.RefID[:], name)
		b.chronyd.tracking.Addr, b.chronyd.tracking.Stratum = netip.Addr{}, 1
		believed(t, b.poll(), "chronyd")
		b.chronyd.tracking.Stratum = 2
		refused(t, b.poll(), clock.RefIDStep(), "an address of this host")
	}
}

// AC-S12. That exception is for the identifier: a source at an address of this host is a
// loop whatever it says of its stratum.
func TestACS12AddressAtStratumOne(t *testing.T) {
	b := hostWith("192.0.2.33")
	b.chronyd.tracking.Addr, b.chronyd.tracking.Stratum = netip.MustParseAddr("192.0.2.33"), 1
	refused(t, b.poll(), clock.RefIDInit(), "an address of this host")
}

// AC-S12. Section 11.2.1 and figure 11: a stratum of 16 or more, or none, is not believed; 1 to 15 are.
func TestACS12Stratum(t *testing.T) {
	for stratum := range 256 {
		b := newBench()
		b.chronyd.tracking.Stratum = uint8(stratum)
		if s := b.poll(); stratum >= 1 && stratum <= 15 {
			believed(t, s, "chronyd")
		} else {
			refused(t, s, clock.RefIDInit(), "chronyd is not synchronised")
		}
	}
}

// AC-S12. The addresses are those that the host has at the moment of judging.
func TestACS12AddressesChange(t *testing.T) {
	b := newBench()
	var own []netip.Addr
	b.follow = NewFollow(b.system, benchPrecision, func() []netip.Addr { return own }, b.settings)
	b.chronyd.tracking.Addr, b.chronyd.tracking.RefID = netip.Addr{}, [4]byte{0x39, 0xab, 0x9b, 0x37}
	believed(t, b.poll(), "chronyd")
	own = []netip.Addr{netip.MustParseAddr("2001:db8::1")}
	refused(t, b.poll(), clock.RefIDStep(), "an address of this host")
	own = nil
	believed(t, b.poll(), "chronyd")
}
