// Package ntp is the wire of NTP versions 1 to 4: timestamps, the header, what
// may follow it, and the arithmetic of one exchange.
//
// It promises that every decoder accepts any bytes without panicking, that
// decoding and encoding give the same bytes back, and that figures which bound
// an error (root delay, root dispersion, the delay of a sample) are rounded so
// that they are never under-reported. Everything here is pure: values in,
// values out; every function may be called concurrently.
//
// It assumes that two timestamps that are subtracted, and a timestamp and the
// pivot it is decoded around, lie within 68 years of each other.
//
// Hazard: a timestamp carries no era. Decoded around a pivot that is wrong by
// more than 68 years it names an instant 136 years away, silently; take the
// pivot from max(build time, last good time), never from a clock that nobody
// has set.
//
// Source: RFC 5905, sections 6 to 8; RFC 7822.
package ntp

// HeaderLen is the length of the header, and of a plain packet, in bytes.
const HeaderLen = 48

// Port is the UDP port of NTP.
const Port = 123

// The versions that share the header of this package.
const (
	VersionMin = 1
	VersionMax = 4
)

// StratumMax is the stratum that means unsynchronised inside a server. On the
// wire it is sent as 0. Source: RFC 5905, figure 11.
const StratumMax = 16

// Leap is the leap indicator.
type Leap uint8

// The leap indicators. Source: RFC 5905, figure 9.
const (
	LeapNone           Leap = 0 // no warning
	LeapInsert         Leap = 1 // the last minute of the day has 61 seconds
	LeapDelete         Leap = 2 // the last minute of the day has 59 seconds
	LeapUnsynchronised Leap = 3 // the clock was never set, or is no longer believed
)

// Mode is the association mode of a packet.
type Mode uint8

// The modes. Source: RFC 5905, figure 10.
const (
	ModeReserved         Mode = 0 // in version 1: a client that knew no modes
	ModeSymmetricActive  Mode = 1
	ModeSymmetricPassive Mode = 2
	ModeClient           Mode = 3
	ModeServer           Mode = 4
	ModeBroadcast        Mode = 5
	ModeControl          Mode = 6
	ModePrivate          Mode = 7
)
