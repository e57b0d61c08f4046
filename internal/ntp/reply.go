package ntp

import "errors"

// Why a reply is not accepted. The numbers are the tests of RFC 5905, section 8.
var (
	ErrMode           = errors.New("ntp: reply is not of mode 4")
	ErrVersion        = errors.New("ntp: reply is of another version than the request")
	ErrBogus          = errors.New("ntp: reply does not carry the request's transmit timestamp") // test 2
	ErrInvalid        = errors.New("ntp: reply has a zero timestamp")                            // test 3
	ErrUnsynchronised = errors.New("ntp: server is not synchronised")                            // test 6
	ErrDistance       = errors.New("ntp: server's root distance is 16 s or more")                // test 7
	ErrReference      = errors.New("ntp: server was set after it sent the reply")                // test 7
)

// KissError is a reply of stratum 0: it carries a code in place of the time.
// It is an ErrUnsynchronised too, because such a reply must never be measured.
// Source: RFC 5905, section 7.4.
type KissError struct {
	Code RefID
}

// Error implements error.
func (e KissError) Error() string {
	switch e.Code {
	case KissINIT, KissSTEP:
		return ErrUnsynchronised.Error() + " (" + e.Code.Text(0) + ")"
	}
	return "ntp: server sent the kiss code " + e.Code.Text(0)
}

// Is makes errors.Is(err, ErrUnsynchronised) true.
func (e KissError) Is(target error) bool { return target == ErrUnsynchronised }

// CheckReply returns nil where reply may be measured as the answer to request,
// and else the reason why not: one of this file's errors. The caller, who holds
// the state, judges duplicates (test 1), access and authentication (4 and 5),
// and forgets the request once a reply has passed, so that a second one is bogus.
//
// A reply in interleaved mode carries the request's receive timestamp instead
// (see InterleavedReply), and when the reply before it left: its clock may have
// been set since, but not after this request arrived.
//
// A kiss code is reported only by a reply that carries one of the request's
// timestamps: nobody who did not see the request can forge one.
// Source: RFC 5905, section 8 and figure 22; RFC 9769, section 2.
func CheckReply(request, reply Header) error {
	interleaved := InterleavedReply(request, reply)
	left := reply.Transmit
	if interleaved {
		left = reply.Receive
	}
	switch {
	case reply.Mode != ModeServer:
		return ErrMode
	case reply.Version != request.Version:
		return ErrVersion
	case reply.Origin != request.Transmit && !interleaved:
		return ErrBogus
	case reply.Stratum == 0:
		return KissError{Code: reply.RefID}
	case reply.Origin == 0 || reply.Receive == 0 || reply.Transmit == 0:
		return ErrInvalid
	case reply.Leap == LeapUnsynchronised || reply.Stratum >= StratumMax:
		return ErrUnsynchronised
	// rootdelay/2 + rootdisp, doubled so that nothing is lost to the half.
	case uint64(reply.RootDelay)+2*uint64(reply.RootDispersion) >= 2*uint64(ShortOf(MaxDispersion)):
		return ErrDistance
	case reply.Reference != 0 && left.Before(reply.Reference):
		return ErrReference
	}
	return nil
}

// InterleavedReply reports whether reply answers request in interleaved mode:
// its transmit timestamp is then of the reply before it. A request asks for that
// by a receive timestamp, which must not be its transmit timestamp too, or nobody
// could tell the modes apart.
// Source: RFC 9769, section 2.
func InterleavedReply(request, reply Header) bool {
	return request.Receive != 0 && request.Receive != request.Transmit && reply.Origin == request.Receive
}
