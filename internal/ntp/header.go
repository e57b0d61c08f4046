package ntp

import (
	"encoding/binary"
	"errors"
)

// ErrShort reports a datagram shorter than HeaderLen.
var ErrShort = errors.New("ntp: short header")

// Header is the first 48 bytes of every packet of versions 1 to 4. Every
// pattern of 48 bytes is a Header and gives itself back.
// Source: RFC 5905, section 7.3.
type Header struct {
	Leap           Leap      // 0 to 3; more bits are cut off when encoding
	Version        uint8     // 0 to 7; more bits are cut off when encoding
	Mode           Mode      // 0 to 7; more bits are cut off when encoding
	Stratum        uint8     // 0 unspecified, 1 primary, 2 to 15 secondary
	Poll           int8      // log2 seconds
	Precision      Precision // log2 seconds
	RootDelay      Short     // round trip to the reference clock
	RootDispersion Short     // error bound to the reference clock, without half the delay
	RefID          RefID
	Reference      Timestamp // when the clock was last set or corrected
	Origin         Timestamp // T1: the request's transmit field, bit for bit
	Receive        Timestamp // T2: when the request arrived
	Transmit       Timestamp // T3: when this packet left
}

// Decode reads the header at the start of b. It returns ErrShort for fewer
// than HeaderLen bytes and looks at no more; whether the fields make sense is
// for the caller to judge.
func Decode(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, ErrShort
	}
	return Header{
		Leap:           Leap(b[0] >> 6),
		Version:        b[0] >> 3 & 7,
		Mode:           Mode(b[0] & 7),
		Stratum:        b[1],
		Poll:           int8(b[2]),
		Precision:      Precision(b[3]),
		RootDelay:      Short(binary.BigEndian.Uint32(b[4:])),
		RootDispersion: Short(binary.BigEndian.Uint32(b[8:])),
		RefID:          RefID(binary.BigEndian.Uint32(b[12:])),
		Reference:      Timestamp(binary.BigEndian.Uint64(b[16:])),
		Origin:         Timestamp(binary.BigEndian.Uint64(b[24:])),
		Receive:        Timestamp(binary.BigEndian.Uint64(b[32:])),
		Transmit:       Timestamp(binary.BigEndian.Uint64(b[40:])),
	}, nil
}

// Encode writes the header to b.
func (h Header) Encode(b *[HeaderLen]byte) {
	b[0] = byte(h.Leap)<<6 | h.Version&7<<3 | byte(h.Mode)&7
	b[1] = h.Stratum
	b[2] = byte(h.Poll)
	b[3] = byte(h.Precision)
	binary.BigEndian.PutUint32(b[4:], uint32(h.RootDelay))
	binary.BigEndian.PutUint32(b[8:], uint32(h.RootDispersion))
	binary.BigEndian.PutUint32(b[12:], uint32(h.RefID))
	binary.BigEndian.PutUint64(b[16:], uint64(h.Reference))
	binary.BigEndian.PutUint64(b[24:], uint64(h.Origin))
	binary.BigEndian.PutUint64(b[32:], uint64(h.Receive))
	binary.BigEndian.PutUint64(b[40:], uint64(h.Transmit))
}

// Append appends the 48 bytes of the header to b.
func (h Header) Append(b []byte) []byte {
	var wire [HeaderLen]byte
	h.Encode(&wire)
	return append(b, wire[:]...)
}
