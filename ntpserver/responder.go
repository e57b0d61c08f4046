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
	Mono   int64          // the same moment, roughly, by a clock that is never set; nanoseconds, not negative
	Random uint64         // unpredictable: the bits below the precision, and what is left to chance
}

// Responder answers requests. It is pure: time, bytes and random numbers come
// as arguments. It belongs to one goroutine; its zero value is ready,
// unsynchronised, and answers everybody in basic mode.
//
// The order is: Use for a batch, Respond for each request, Seal for each reply
// as late as possible, send; and Departed for replies whose verdict is Followed,
// once the kernel tells when they left.
type Responder struct {
	// Clients, where set, decides who may ask, and remembers. Several
	// Responders may share it. It must not be changed after the first use.
	Clients *Clients

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

	leap                uint64 // the leap indicator in its place in word0, announced
	leapFrom, leapUntil int64  // from here on and before there, Unix nanoseconds
}

// The offsets of the header's fields, in bytes.
const (
	rootDispersionOffset = 8
	referenceOffset      = 16
	originOffset         = 24
	receiveOffset        = 32
	transmitOffset       = 40
)

// The places of fields in the first word of a header.
const (
	leapShift    = 62
	versionShift = 56
	pollShift    = 40
)

// leapNotice is how long before the end of the month a leap second is
// announced. A client that hears of it earlier may insert it on the wrong day.
const leapNotice = 24 * time.Hour

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
	h := c.header()
	h.RootDispersion = 0
	r.useLeap(&h, c.At)
	var wire [ntp.HeaderLen]byte
	h.Encode(&wire)
	r.word0 = binary.BigEndian.Uint64(wire[:])
	r.word1 = binary.BigEndian.Uint64(wire[rootDispersionOffset:])
	r.word2 = binary.BigEndian.Uint64(wire[referenceOffset:])
	r.noise = h.Precision
	r.mapped = c.KernelAt != 0 || c.UTCAt != 0 || c.RatePPM != 0
	r.at, r.dispersion, r.growthPPB = c.At, c.dispersion(), c.growthPPB()
}

// useLeap moves an announcement of a leap second out of the header that serves
// as template: it is made only for the end of the month of at, and only in its
// last day. Claims that nobody renews do not announce it a second time.
func (r *Responder) useLeap(h *ntp.Header, at int64) {
	r.leap, r.leapFrom, r.leapUntil = 0, 0, 0
	if h.Leap == ntp.LeapNone || h.Leap == ntp.LeapUnsynchronised {
		return
	}
	year, month, _ := time.Unix(0, at).UTC().Date()
	until := time.Date(year, month+1, 1, 0, 0, 0, 0, time.UTC)
	r.leapFrom, r.leapUntil = until.Add(-leapNotice).UnixNano(), until.UnixNano()
	r.leap = uint64(h.Leap) << leapShift
	h.Leap = ntp.LeapNone
}

// Respond builds the reply to req in dst and returns its length, or 0 and the
// reason for silence; dst is then untouched. It fails with DropShort where dst
// has no room for a header. A reply is never longer than its request; dst may be
// req itself, but must not overlap it otherwise. The reply is not
// complete until Seal.
// Source: RFC 5905, section 8 and figure 31; RFC 9769, section 2.
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
	receive := markReceive(ntp.FromUnix(utc).Randomize(r.noise, a.Random))
	if r.Clients == nil {
		r.reply(dst, req, utc, receive)
		return ntp.HeaderLen, Answered
	}
	addr := a.From.Addr().Unmap()
	k := addrKey(addr)
	v = r.Clients.admit(addr, k, &a)
	first := req[0] // dst may be req
	switch v {
	case Answered:
		v = r.answer(dst, req, utc, receive, k, a.Mono)
	case AnsweredLeak:
		r.reply(dst, req, utc, receive)
	case KissRate:
		r.kiss(dst, req, receive)
	}
	r.Clients.note(addr, k, &a, utc, first, v)
	if v.silent() {
		return 0, v
	}
	return ntp.HeaderLen, v
}

// answer builds the reply in the mode that the client asks for, as far as what
// that takes has been kept.
func (r *Responder) answer(dst, req []byte, utc int64, receive ntp.Timestamp, from key, mono int64) Verdict {
	origin := ntp.Timestamp(binary.BigEndian.Uint64(req[originOffset:]))
	theirs := binary.BigEndian.Uint64(req[receiveOffset:])
	cookie := binary.BigEndian.Uint64(req[transmitOffset:])
	kept := r.Clients.departures
	// A receive field that equals the transmit field could not tell the modes
	// of the reply apart: it would come back as the origin either way.
	if kept == nil || origin&receiveMark == 0 || theirs == cookie || req[0]>>3&7 < interleavedVersion {
		r.reply(dst, req, utc, receive)
		return Answered
	}
	transmit, proven := kept.claim(origin, from)
	r.reply(dst, req, utc, receive)
	expected := kept.expect(receive, from, mono, proven)
	switch {
	case transmit != 0:
		binary.BigEndian.PutUint64(dst[originOffset:], theirs)
		binary.BigEndian.PutUint64(dst[transmitOffset:], uint64(transmit))
		return AnsweredInterleaved
	case expected:
		return AnsweredMissed
	}
	return Answered
}

// reply builds a reply in basic mode, its transmit field 0 until Seal.
func (r *Responder) reply(dst, req []byte, utc int64, receive ntp.Timestamp) {
	// The request's bytes are read before the reply's are written: they may be
	// the same. The transmit field becomes the origin bit for bit: it is the
	// client's cookie and need not be a time.
	version, poll := uint64(req[0]&0x38), uint64(req[2])
	cookie := binary.BigEndian.Uint64(req[transmitOffset:])
	word0 := r.word0 | version<<versionShift | poll<<pollShift
	if r.leapFrom <= utc && utc < r.leapUntil {
		word0 |= r.leap
	}
	binary.BigEndian.PutUint64(dst, word0)
	binary.BigEndian.PutUint64(dst[rootDispersionOffset:], r.word1|uint64(r.rootDispersion(utc))<<32)
	binary.BigEndian.PutUint64(dst[referenceOffset:], r.word2)
	binary.BigEndian.PutUint64(dst[originOffset:], cookie)
	binary.BigEndian.PutUint64(dst[receiveOffset:], uint64(receive))
	binary.BigEndian.PutUint64(dst[transmitOffset:], 0)
}

// kiss builds the reply that asks a client to poll less often. It claims
// nothing; its poll is at least what the rate allows.
// Source: RFC 5905, section 7.4.
func (r *Responder) kiss(dst, req []byte, receive ntp.Timestamp) {
	poll := max(int8(req[2]), r.Clients.policy.Load().rate.poll())
	h := ntp.Header{
		Leap:           ntp.LeapUnsynchronised,
		Version:        req[0] >> 3 & 7,
		Mode:           ntp.ModeServer,
		Poll:           poll,
		Precision:      r.noise,
		RootDispersion: ntp.ShortOf(ntp.MaxDispersion),
		RefID:          ntp.KissRATE,
		Origin:         ntp.Timestamp(binary.BigEndian.Uint64(req[transmitOffset:])),
		Receive:        receive,
	}
	h.Encode((*[ntp.HeaderLen]byte)(dst))
}

// Seal completes the reply that Respond built in dst: it writes the transmit
// timestamp from departure, the kernel's clock in Unix nanoseconds just before
// the send, and random. Where the clock went back since the
// arrival the reply departs when it arrived. A reply in interleaved mode has its
// transmit timestamp already, that of the reply before. It does nothing to a dst
// that is shorter than a header.
func (r *Responder) Seal(dst []byte, departure int64, random uint64) {
	if len(dst) < ntp.HeaderLen || binary.BigEndian.Uint64(dst[transmitOffset:]) != 0 {
		return
	}
	receive := ntp.Timestamp(binary.BigEndian.Uint64(dst[receiveOffset:]))
	binary.BigEndian.PutUint64(dst[transmitOffset:], uint64(r.transmit(receive, departure, random)))
}

// transmit returns the transmit timestamp of a reply, not before its receive
// timestamp.
func (r *Responder) transmit(receive ntp.Timestamp, departure int64, random uint64) ntp.Timestamp {
	transmit := markTransmit(ntp.FromUnix(r.utc(departure)).Randomize(r.noise, random))
	if transmit.Before(receive) {
		return markTransmit(receive + receiveMark) // the least that follows it
	}
	return transmit
}

// Departed says when the reply that was followed left: at is the kernel's
// transmit timestamp, Unix nanoseconds. The client hears it in the next reply. A departure
// before the arrival, or long after, is not believed: the clock was set in between.
func (r *Responder) Departed(reply []byte, at int64, random uint64) {
	if len(reply) < ntp.HeaderLen || r.Clients == nil || r.Clients.departures == nil {
		return
	}
	receive := ntp.Timestamp(binary.BigEndian.Uint64(reply[receiveOffset:]))
	took := ntp.FromUnix(r.utc(at)).Sub(receive)
	if took < -r.noise.Duration() || took > departureMax {
		return
	}
	r.Clients.departures.settle(receive, r.transmit(receive, at, random))
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
