package ntpserver

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
)

// Arrival is everything that is known about one datagram besides its bytes.
type Arrival struct {
	From   netip.AddrPort // the sender
	At     int64          // the kernel's receive timestamp, Unix nanoseconds
	Random uint64         // unpredictable; used for the bits below the precision
}

// Responder answers requests. It is pure: time, bytes and random numbers come
// as arguments, and nothing but its Claims is kept from one request to the
// next. It belongs to one goroutine; its zero value is ready and unsynchronised.
//
// The order is: Use for a batch, Respond for each request, Seal for each reply
// as late as possible, send.
type Responder struct {
	claims *Claims
	ready  bool

	// What the claims make of a reply, computed once per Claims. The words are
	// the header's bytes in order, with zeros where the request decides.
	word0, word1, word2 uint64
	noise               ntp.Precision
	mapped              bool   // the kernel's clock is not the one that is served
	at                  int64  // Claims.At
	dispersion          uint64 // at that instant, ns
	growthPPB           uint64
}

// The offsets of the header's fields, in bytes.
const (
	rootDispersionOffset = 8
	referenceOffset      = 16
	originOffset         = 24
	receiveOffset        = 32
	transmitOffset       = 40
)

// Use makes the following replies say what c says; nil says that the clock was
// never set. Calling it again with the same c costs nothing.
func (r *Responder) Use(c *Claims) {
	if r.ready && r.claims == c {
		return
	}
	r.claims, r.ready = c, true
	if c == nil {
		c = &Claims{}
	}
	var wire [ntp.HeaderLen]byte
	h := c.header()
	h.RootDispersion = 0
	h.Encode(&wire)
	r.word0 = binary.BigEndian.Uint64(wire[:])
	r.word1 = binary.BigEndian.Uint64(wire[rootDispersionOffset:])
	r.word2 = binary.BigEndian.Uint64(wire[referenceOffset:])
	r.noise = h.Precision
	r.mapped = c.KernelAt != 0 || c.UTCAt != 0 || c.RatePPM != 0
	r.at, r.dispersion, r.growthPPB = c.At, c.dispersion(), c.growthPPB()
}

// Respond builds the reply to req in dst and returns its length, or 0 and the
// reason for silence; dst is then untouched. It fails with DropShort where dst
// has no room for a header. A reply is never longer than its request; dst may be
// req itself, but must not overlap it otherwise. The reply is not
// complete until Seal.
// Source: RFC 5905, section 8 and figure 31.
func (r *Responder) Respond(dst, req []byte, a Arrival) (n int, v Verdict) {
	if v := judge(req, a.From.Port()); v != Answered {
		return 0, v
	}
	if len(dst) < ntp.HeaderLen {
		return 0, DropShort
	}
	if !r.ready {
		r.Use(nil)
	}
	utc := r.utc(a.At)
	receive := ntp.FromUnix(utc).Randomize(r.noise, a.Random)

	// The request's bytes are read before the reply's are written: they may be
	// the same. The transmit field becomes the origin bit for bit: it is the
	// client's cookie and need not be a time.
	version, poll := uint64(req[0]&0x38), uint64(req[2])
	origin := binary.BigEndian.Uint64(req[transmitOffset:])
	binary.BigEndian.PutUint64(dst, r.word0|version<<56|poll<<40)
	binary.BigEndian.PutUint64(dst[rootDispersionOffset:], r.word1|uint64(r.rootDispersion(utc))<<32)
	binary.BigEndian.PutUint64(dst[referenceOffset:], r.word2)
	binary.BigEndian.PutUint64(dst[originOffset:], origin)
	binary.BigEndian.PutUint64(dst[receiveOffset:], uint64(receive))
	binary.BigEndian.PutUint64(dst[transmitOffset:], 0)
	return ntp.HeaderLen, Answered
}

// Seal completes the reply that Respond built in dst: it writes the transmit
// timestamp from departure, the kernel's clock in Unix nanoseconds just before
// the send, and random. Where the clock went back since the
// arrival the reply departs when it arrived. It does nothing to a dst that is
// shorter than a header.
func (r *Responder) Seal(dst []byte, departure int64, random uint64) {
	if len(dst) < ntp.HeaderLen {
		return
	}
	receive := ntp.Timestamp(binary.BigEndian.Uint64(dst[receiveOffset:]))
	transmit := ntp.FromUnix(r.utc(departure)).Randomize(r.noise, random)
	if transmit.Before(receive) {
		transmit = receive
	}
	binary.BigEndian.PutUint64(dst[transmitOffset:], uint64(transmit))
}

// judge returns Answered for a request that a reply may be built to.
func judge(req []byte, port uint16) Verdict {
	if port == 0 {
		return DropPort
	}
	if len(req) < ntp.HeaderLen {
		return DropShort
	}
	if len(req)%4 != 0 {
		return DropLength
	}
	version := req[0] >> 3 & 7
	if version < ntp.VersionMin || version > ntp.VersionMax {
		return DropVersion
	}
	switch ntp.Mode(req[0] & 7) {
	case ntp.ModeClient:
	case ntp.ModeReserved:
		// Version 1 had no modes. From port 123 it would be a server, which
		// could be made to answer us for ever. Source: RFC 5905, appendix A.
		if version != 1 || port == ntp.Port {
			return DropMode
		}
	default:
		return DropMode
	}
	if len(req) == ntp.HeaderLen {
		return Answered
	}
	switch trailer, _ := ntp.Split(req[ntp.HeaderLen:], version); trailer {
	case ntp.TrailerNone, ntp.TrailerFields: // fields that we do not know are ignored
		return Answered
	case ntp.TrailerMalformed:
		return DropMalformed
	}
	return DropAuth
}

// utc returns the served UTC of an instant of the kernel's clock.
func (r *Responder) utc(stamp int64) int64 {
	if r.mapped {
		return r.claims.FromKernel(stamp)
	}
	return stamp
}

// rootDispersion returns the root dispersion at an instant of UTC. Before
// Claims.At it is what it was then; it is rounded up and saturates.
func (r *Responder) rootDispersion(utc int64) ntp.Short {
	var age uint64 // ns; the difference may exceed an int64
	if utc > r.at {
		age = uint64(utc) - uint64(r.at)
	}
	hi, lo := bits.Mul64(age, r.growthPPB)
	if hi != 0 {
		if hi >= nsPerSecond {
			return ntp.ShortMax
		}
		grown, rest := bits.Div64(hi, lo, nsPerSecond)
		return saturate(r.dispersion, grown, rest)
	}
	return saturate(r.dispersion, lo/nsPerSecond, lo%nsPerSecond)
}

// saturate returns the sum of a dispersion and its growth, in nanoseconds, with
// anything left over rounded up.
func saturate(dispersion, grown, rest uint64) ntp.Short {
	if rest != 0 {
		grown++
	}
	sum := dispersion + grown // the first is below 2^63
	if grown > math.MaxInt64 || sum > math.MaxInt64 {
		return ntp.ShortMax
	}
	return ntp.ShortOf(time.Duration(sum))
}
