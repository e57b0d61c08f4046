package ntp

import (
	"errors"
	"testing"
)

// RFC 9769, section 2: a reply in interleaved mode carries the request's receive timestamp, if
// the request has one that is not its transmit timestamp too.
func TestCheckReplyInterleaved(t *testing.T) {
	request := Header{Version: 4, Mode: ModeClient, Origin: at(1), Receive: 0x1122334455667788, Transmit: 0x99}
	good := Header{
		Version: 4, Mode: ModeServer, Stratum: 2, Reference: at(50),
		Origin: request.Receive, Receive: at(65), Transmit: at(1.001), // when the reply before left
	}
	for name, c := range map[string]struct {
		change      func(request, reply *Header)
		want        error
		interleaved bool
	}{
		"good":                       {func(q, r *Header) {}, nil, true},
		"basic":                      {func(q, r *Header) { r.Origin, r.Transmit = q.Transmit, at(65.001) }, nil, false},
		"basic, set after it left":   {func(q, r *Header) { r.Origin = q.Transmit }, ErrReference, false},
		"set when this one arrived":  {func(q, r *Header) { r.Reference = r.Receive }, nil, true},
		"set after this one arrived": {func(q, r *Header) { r.Reference = r.Receive + 1 }, ErrReference, true},
		"the server's own timestamp": {func(q, r *Header) { r.Origin = q.Origin }, ErrBogus, false},
		"no receive":                 {func(q, r *Header) { q.Receive = 0 }, ErrBogus, false},
		"no receive, no origin":      {func(q, r *Header) { q.Receive, r.Origin = 0, 0 }, ErrBogus, false},
		"receive equals transmit":    {func(q, r *Header) { q.Receive = q.Transmit; r.Origin = q.Transmit }, ErrReference, false},
		"kiss code":                  {func(q, r *Header) { r.Stratum, r.RefID = 0, KissRATE }, KissError{KissRATE}, true},
		"departure unknown":          {func(q, r *Header) { r.Transmit = 0 }, ErrInvalid, true},
	} {
		q, r := request, good
		c.change(&q, &r)
		if err := CheckReply(q, r); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if got := InterleavedReply(q, r); got != c.interleaved {
			t.Errorf("%s: interleaved %v", name, got)
		}
	}
}
