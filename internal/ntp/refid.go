package ntp

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"net/netip"
)

// RefID names what a server is synchronised to: at stratum 1 four ASCII
// letters, above it the IPv4 address of the source or a hash of its IPv6
// address, and at stratum 0 a kiss code. The first letter or octet is in the
// most significant byte.
// Source: RFC 5905, section 7.3.
type RefID uint32

// The kiss codes. The first group asks the client for something, the second
// says that the server itself is not synchronised.
// Source: RFC 5905, figure 13; RFC 8915, section 5.7 (NTSN).
const (
	KissDENY RefID = 'D'<<24 | 'E'<<16 | 'N'<<8 | 'Y' // access denied: stop
	KissRSTR RefID = 'R'<<24 | 'S'<<16 | 'T'<<8 | 'R' // access restricted: stop
	KissRATE RefID = 'R'<<24 | 'A'<<16 | 'T'<<8 | 'E' // too often: poll less
	KissNTSN RefID = 'N'<<24 | 'T'<<16 | 'S'<<8 | 'N' // cookie not accepted

	KissINIT RefID = 'I'<<24 | 'N'<<16 | 'I'<<8 | 'T' // not yet synchronised
	KissSTEP RefID = 'S'<<24 | 'T'<<16 | 'E'<<8 | 'P' // the clock was stepped, not yet synchronised again
)

// RefIDOf returns the reference identifier of a source by its address: the
// address itself for IPv4 (also when mapped into IPv6), the first four octets
// of the MD5 of its sixteen for IPv6, and 0 for the zero Addr. MD5 is what the
// RFC names; nothing here relies on it being hard to invert.
// Source: RFC 5905, section 7.3.
func RefIDOf(a netip.Addr) RefID {
	switch a = a.Unmap(); {
	case !a.IsValid():
		return 0
	case a.Is4():
		b := a.As4()
		return RefID(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	sum := md5.Sum(b[:])
	return RefID(binary.BigEndian.Uint32(sum[:]))
}

// RefIDFromASCII returns the identifier of a reference clock or a kiss code:
// the first four bytes of s, padded with zeros.
func RefIDFromASCII(s string) RefID {
	var b [4]byte
	copy(b[:], s)
	return RefID(binary.BigEndian.Uint32(b[:]))
}

// Bytes returns the identifier as on the wire.
func (r RefID) Bytes() [4]byte {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(r))
	return b
}

// String returns the identifier as a dotted quad, which is right for sources of
// stratum 2 and above that have an IPv4 address; see Text.
func (r RefID) String() string { return netip.AddrFrom4(r.Bytes()).String() }

// Text returns the identifier as a person should read it in a packet of the
// given stratum: letters for stratum 0 and 1, with anything that is not
// printable ASCII escaped (the packet is an outsider's, and so might be the
// terminal's escape codes), a dotted quad above.
func (r RefID) Text(stratum uint8) string {
	if stratum > 1 {
		return r.String()
	}
	b := r.Bytes()
	n := len(b)
	for n > 0 && b[n-1] == 0 {
		n--
	}
	text := make([]byte, 0, n)
	for _, c := range b[:n] {
		if c < ' ' || c > '~' {
			text = fmt.Appendf(text, "\\x%02x", c)
			continue
		}
		text = append(text, c)
	}
	return string(text)
}
