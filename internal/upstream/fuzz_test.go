package upstream

import (
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
)

// FuzzReply: any bytes, at any moment of an association in either mode. What comes out is
// a verdict that fits, a good one only for what carries the cookie, and a sample that is
// sane; and the association goes on, no sooner than it may.
func FuzzReply(f *testing.F) {
	good := (&bench{kept: map[ntp.Timestamp]ntp.Timestamp{}}).reply(ntp.Header{Transmit: 1})
	f.Add(good.Append(nil), int64(0), false, true)
	f.Add(good.Append(nil), int64(time.Second), true, true)
	f.Add([]byte(nil), int64(-1), true, false)
	kiss := ntp.Header{Leap: 3, Version: 4, Mode: 4, RefID: ntp.KissRATE}
	f.Add(kiss.Append(nil), int64(0), false, true)
	f.Fuzz(func(t *testing.T, datagram []byte, late int64, interleaved, knows bool) {
		b := newBench(t, func(o *AssociationOptions) { o.SpacingMin, o.Burst = 4*time.Second, 4 })
		b.serves = true
		if interleaved {
			for range interleavedAfter + 1 {
				want := b.nextVerdict()
				b.want(b.exchange(nil), want)
			}
		}
		request := b.ask()
		if knows && len(datagram) >= ntp.HeaderLen { // who has seen the request
			h, _ := ntp.Decode(datagram)
			h.Version, h.Mode, h.Origin = 4, ntp.ModeServer, request.Transmit
			if interleaved {
				h.Origin = request.Receive
			}
			datagram = h.Append(nil)
		}
		at := b.stamp(b.now + time.Duration(late)%time.Hour)
		o := b.a.Reply(datagram, at)
		header, err := ntp.Decode(datagram)
		mine := err == nil && (header.Origin == request.Transmit || request.Receive != 0 && header.Origin == request.Receive)
		switch {
		case o.Verdict >= Lost:
			t.Fatalf("verdict %v of a datagram", o.Verdict)
		case o.Verdict.Final() && !mine:
			t.Fatalf("%v without the cookie", o.Verdict)
		case o.Verdict.Final() == b.a.Waiting():
			t.Fatalf("%v, waiting %v", o.Verdict, b.a.Waiting())
		case o.Verdict == Measured:
			s := o.Sample
			if s.Delay <= 0 || s.Dispersion <= 0 || s.Stratum == 0 || s.Stratum > 15 || s.RootDelay < 0 || s.RootDispersion < 0 ||
				s.RootDelay/2+s.RootDispersion >= 16*time.Second+time.Millisecond || s.Leap > 2 {
				t.Fatalf("sample %+v", s)
			}
		}
		if b.a.Stopped() {
			return
		}
		if due := b.a.Due(); !b.a.Waiting() && due < b.now+4*time.Second || due > b.now+time.Second<<18 {
			t.Fatalf("due at %v, asked at %v", due, b.now)
		}
	})
}

// nextVerdict is what the next good reply is.
func (b *bench) nextVerdict() Verdict {
	if b.a.asksInterleaved(b.a.Due()) && b.a.last.measured {
		return Repeated
	}
	return Measured
}
