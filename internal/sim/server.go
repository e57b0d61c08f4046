package sim

import (
	"math/rand/v2"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/ntp"
)

// Server is a source, and the link that leads to it. It is asked as Options, MinPoll and
// the rest say. The zero value of what it claims is a primary server that is right.
type Server struct {
	Link Link

	// Error is what its clock shows less UTC; nil: it is right. Noise is the standard
	// deviation of each of its timestamps on top of that.
	Error func(since time.Duration) time.Duration
	Noise time.Duration

	// What it claims of itself.
	Stratum                   uint8 // 0: 1
	RootDelay, RootDispersion time.Duration
	RefID                     ntp.RefID // 0: "SIM" at stratum 1, else an address
	Leaps                     LeapWord
	// Kiss is the code that it answers with instead, and 0 where it tells the time; nil: always.
	Kiss func(since time.Duration) ntp.RefID

	// Smears tells that it smears a leap second over the 24 hours around it.
	Smears bool
	// Basic tells that it does not know interleaved mode.
	Basic bool

	Options          discipline.SourceOptions
	MinPoll, MaxPoll int8 // log2 seconds; 0: 6 and 10
}

// LeapWord is what a server announces of the leap second that comes.
type LeapWord uint8

const (
	LeapTold   LeapWord = iota // on the day that it ends
	LeapSilent                 // never
	LeapFalse                  // an insertion at all times, whether there is one or not
)

// server is a Server for one node.
type server struct {
	*Server
	run    *run
	random *rand.Rand
	// The last exchange, for interleaved mode: when it came, on its clock, and when the
	// reply left.
	received, departed ntp.Timestamp
}

// The times that a server takes, most of it in the kernel.
const (
	answerTime = 20 * time.Microsecond // from receive to the transmit timestamp
	departTime = 5 * time.Microsecond  // from there until the reply leaves
)

// clockAt returns what its clock shows at a true time, Unix nanoseconds.
func (s *server) clockAt(tai int64) int64 {
	utc := s.run.truth.utc(tai)
	if s.Smears {
		utc = s.run.truth.smeared(tai)
	}
	if s.Error != nil {
		utc += int64(s.Error(time.Duration(tai - s.run.start)))
	}
	if s.Noise != 0 {
		utc += int64(float64(s.Noise) * s.random.NormFloat64())
	}
	return utc
}

// answer turns the request in packet, which arrives now, into its reply, and returns how
// long it takes until the reply leaves.
func (s *server) answer(packet *[ntp.HeaderLen]byte) (time.Duration, error) {
	request, err := ntp.Decode(packet[:])
	if err != nil {
		return 0, err
	}
	now := s.run.now
	took := time.Duration(float64(answerTime) * (0.5 + s.random.ExpFloat64()))
	left := took + time.Duration(float64(departTime)*(0.5+s.random.ExpFloat64()))
	reply := ntp.Header{
		Version:        request.Version,
		Mode:           ntp.ModeServer,
		Stratum:        max(s.Stratum, 1),
		Poll:           request.Poll,
		Precision:      -24,
		RootDelay:      ntp.ShortOf(s.RootDelay),
		RootDispersion: ntp.ShortOf(s.RootDispersion),
		RefID:          s.refID(),
		Leap:           ntp.Leap(s.leap(now)),
		Origin:         request.Transmit,
		Receive:        ntp.FromUnix(s.clockAt(now)),
		Transmit:       ntp.FromUnix(s.clockAt(now + int64(took))),
	}
	reply.Reference = ntp.FromUnix(s.clockAt(now - int64(4*time.Second)))
	if reply.Transmit.Before(reply.Receive) { // by the noise of its timestamps
		reply.Transmit = reply.Receive
	}
	departed := ntp.FromUnix(s.clockAt(now + int64(left)))
	if departed.Before(reply.Receive) {
		departed = reply.Receive
	}
	if !s.Basic && request.Origin != 0 && request.Origin == s.received {
		reply.Origin, reply.Transmit = request.Receive, s.departed
	}
	s.received, s.departed = reply.Receive, departed
	if s.Kiss != nil {
		if code := s.Kiss(s.run.since()); code != 0 {
			reply.Leap, reply.Stratum, reply.RefID = ntp.LeapUnsynchronised, 0, code
		}
	}
	reply.Encode(packet)
	return left, nil
}

func (s *server) refID() ntp.RefID {
	switch {
	case s.RefID != 0:
		return s.RefID
	case s.Stratum > 1:
		return 192<<24 | 2<<8 | 99 // 192.0.2.99
	default:
		return ntp.RefIDFromASCII("SIM")
	}
}

// leap returns what it announces at a true time.
func (s *server) leap(tai int64) clock.Leap {
	switch {
	case s.Leaps == LeapFalse:
		return clock.LeapInsert
	case s.Leaps == LeapSilent || s.Smears:
		return clock.LeapNone
	}
	switch s.run.truth.announced(tai) {
	case 1:
		return clock.LeapInsert
	case -1:
		return clock.LeapDelete
	default:
		return clock.LeapNone
	}
}

// constant is the error of a clock that is off.
func constant(by time.Duration) func(time.Duration) time.Duration {
	return func(time.Duration) time.Duration { return by }
}

// stepping is the error of a clock that is set wrong at a time.
func stepping(at, by time.Duration) func(time.Duration) time.Duration {
	return func(since time.Duration) time.Duration {
		if since < at {
			return 0
		}
		return by
	}
}

// drifting is the error of a clock that runs at a wrong rate from a time on.
func drifting(from time.Duration, rate float64) func(time.Duration) time.Duration {
	return func(since time.Duration) time.Duration {
		return time.Duration(rate * float64(max(0, since-from)))
	}
}
