package load

import (
	"github.com/truechimer/truechimer/internal/ntp"
)

// Verdict is what one received datagram counts as.
type Verdict uint8

// The verdicts. Only Answered is an answer; the last ones say what is wrong with
// something that cannot be one.
const (
	Answered  Verdict = iota
	Late              // it came, after the timeout
	Kiss              // the server asks to be left alone, and says no time
	Duplicate         // of an answer that had come before
	Short             // shorter than a header
	Long              // longer than the request: who answers so amplifies
	Mode              // not of mode 4
	Version           // of another version than the request
	Foreign           // its origin is no request outstanding on that socket
	ZeroTime          // the receive or the transmit timestamp is zero
	Backwards         // it left before it came: T3 is before T2
	verdictsMax
)

// verdictNames are stable: programs read them.
var verdictNames = [verdictsMax]string{
	"answered", "late", "kiss", "duplicate",
	"short", "long", "mode", "version", "foreignOrigin", "zeroTimestamp", "transmitBeforeReceive",
}

// String returns the stable name of the verdict, for programs.
func (v Verdict) String() string {
	if v < verdictsMax {
		return verdictNames[v]
	}
	return "unknown"
}

// Bad reports whether the verdict is that something is no answer of a server that works.
func (v Verdict) Bad() bool { return v >= Short && v < verdictsMax }

// Verdicts returns all of them, in order.
func Verdicts() []Verdict {
	all := make([]Verdict, verdictsMax)
	for i := range all {
		all[i] = Verdict(i)
	}
	return all
}

// answer is one datagram, judged. The sequence is that of its request, 0 where the verdict
// is from Short to Foreign. All else is set for Answered, and the header for Kiss.
type answer struct {
	verdict        Verdict
	sequence       uint64
	took           int64 // round trip, nanoseconds
	header         ntp.Header
	unsynchronised bool // an answer, and what it says is that it does not know the time
}

// judge says what a datagram counts as that arrived at a socket age before now. The form
// comes first, then whether it belongs to a request of ours (which is used up by it), and
// then what the server says.
func judge(l *ledger, version uint8, flow int, b []byte, now, age int64) answer {
	h, err := ntp.Decode(b)
	switch {
	case err != nil:
		return answer{verdict: Short}
	case len(b) > ntp.HeaderLen:
		return answer{verdict: Long}
	case h.Mode != ntp.ModeServer:
		return answer{verdict: Mode}
	case h.Version != version:
		return answer{verdict: Version}
	}
	v, sequence, took := l.settle(flow, uint64(h.Origin), now, age)
	a := answer{verdict: v, sequence: sequence, took: took, header: h}
	if v != Answered {
		return a
	}
	// A kiss code that says that the server has no time yet is what an
	// unsynchronised server answers: no less work than any other answer.
	starting := h.Stratum == 0 && (h.RefID == ntp.KissINIT || h.RefID == ntp.KissSTEP)
	a.unsynchronised = h.Leap == ntp.LeapUnsynchronised || starting || h.Stratum >= ntp.StratumMax
	switch {
	case h.Stratum == 0 && !starting:
		a.verdict = Kiss
	case h.Receive == 0 || h.Transmit == 0:
		a.verdict = ZeroTime
	case h.Transmit.Before(h.Receive):
		a.verdict = Backwards
	}
	return a
}
