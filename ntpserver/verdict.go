package ntpserver

import "fmt"

// Verdict is what became of a request, and why. Its String is a metric label.
type Verdict uint8

// The verdicts. Everything but Answered is silence.
const (
	Answered      Verdict = iota
	DropShort             // shorter than a header
	DropLength            // not a multiple of four bytes long
	DropTruncated         // longer than any request that we know
	DropVersion           // not version 1 to 4
	DropMode              // not a client's request
	DropPort              // from port 0, where no reply can go
	DropMalformed         // what follows the header is neither extension fields nor a MAC
	DropAuth              // authenticated, and we cannot verify it

	verdicts // how many there are
)

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
