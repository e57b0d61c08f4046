package ntpserver

import "fmt"

// Verdict is what became of a request, and why. Its String is a metric label.
type Verdict uint8

// The verdicts. Everything that is not Answered, nor KissRate, is silence.
const (
	Answered            Verdict = iota
	AnsweredInterleaved         // in interleaved mode
	AnsweredMissed              // asked in interleaved mode, answered in basic: its timestamps were not kept
	AnsweredLeak                // above its rate, and let through by chance
	KissRate                    // above its rate, and told so
	DropRate                    // above its rate
	DropDenied                  // by the allow and deny lists
	DropShort                   // shorter than a header
	DropLength                  // not a multiple of four bytes long
	DropTruncated               // longer than any request that we know
	DropVersion                 // not version 1 to 4
	DropMode                    // not a client's request
	DropPort                    // from port 0, where no reply can go
	DropMalformed               // what follows the header is neither extension fields nor a MAC
	DropAuth                    // authenticated, and we cannot verify it

	verdicts // how many there are
)

// answered reports whether the client got what it asked for.
func (v Verdict) answered() bool { return v <= AnsweredLeak }

// silent reports whether nothing is sent.
func (v Verdict) silent() bool { return v > KissRate }

// Followed reports whether the Responder wants to know when the reply left: the
// client is in interleaved mode and will ask for it.
func (v Verdict) Followed() bool { return v == AnsweredInterleaved || v == AnsweredMissed }

// Verdicts returns every verdict, in order.
func Verdicts() []Verdict {
	all := make([]Verdict, verdicts)
	for v := range all {
		all[v] = Verdict(v)
	}
	return all
}

// String returns the verdict as one lower-case word.
func (v Verdict) String() string {
	switch v {
	case Answered:
		return "answered"
	case AnsweredInterleaved:
		return "interleaved"
	case AnsweredMissed:
		return "interleaved_missed"
	case AnsweredLeak:
		return "leaked"
	case KissRate:
		return "kissed"
	case DropRate:
		return "rate"
	case DropDenied:
		return "denied"
	case DropShort:
		return "short"
	case DropLength:
		return "length"
	case DropTruncated:
		return "truncated"
	case DropVersion:
		return "version"
	case DropMode:
		return "mode"
	case DropPort:
		return "port"
	case DropMalformed:
		return "malformed"
	case DropAuth:
		return "auth"
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}
