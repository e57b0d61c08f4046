package upstream

import (
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
)

// settle has as many good replies as interleaved mode wants.
func (b *bench) settle() {
	b.t.Helper()
	for range interleavedAfter {
		if request := b.ask(); request.Origin != 0 || request.Receive != 0 {
			b.t.Fatalf("asks for interleaved mode before it is settled: %+v", request)
		}
		b.want(b.hear(b.reply(b.request)), Measured)
	}
}

// Section 2: the origin is the server's receive timestamp of the last reply; receive and
// transmit differ, and tell nothing.
func TestInterleavedRequest(t *testing.T) {
	b := newBench(t, nil)
	b.settle()
	for range 20 {
		last := b.a.last.header.Receive
		request := b.ask()
		bare := ntp.Header{Version: 4, Mode: ntp.ModeClient, Origin: last, Receive: request.Receive, Transmit: request.Transmit}
		if request != bare || request.Receive == 0 || request.Receive == request.Transmit || last == 0 {
			t.Errorf("asked with %+v after %x", request, last)
		}
		if arrived := ntp.FromUnix(b.a.last.arrived.Unix); request.Receive.Sub(arrived).Abs() < time.Minute {
			t.Errorf("seed %d: tells when the last reply arrived: %x", *seedFlag, request.Receive)
		}
		b.want(b.hear(b.reply(request)), Measured)
	}
	b.now = b.a.Due()
	if request, _ := b.a.Request(b.now, Random{7, 7, 7}); request.Receive == request.Transmit || request.Receive == 0 {
		t.Errorf("receive %x and transmit %x", request.Receive, request.Transmit)
	}
	off := newBench(t, func(o *AssociationOptions) { o.Interleaved = false })
	for range 2 * interleavedAfter {
		if request := off.ask(); request.Origin != 0 || request.Receive != 0 {
			t.Fatalf("asks for what is turned off: %+v", request)
		}
		off.want(off.hear(off.reply(off.request)), Measured)
	}
}

// A server that does not know the mode answers as before, and is measured as before.
func TestInterleavedUnknown(t *testing.T) {
	b := newBench(t, nil)
	b.settle()
	for range 5 {
		o := b.want(b.exchange(nil), Measured)
		if o.Interleaved || o.Sample.Local < b.now || b.a.Interleaved() {
			t.Errorf("interleaved %v, of %v at %v", o.Interleaved, o.Sample.Local, b.now)
		}
	}
}

// In interleaved mode the exchange before is measured, with the instant at which its reply
// really left; every exchange is measured once.
func TestInterleavedMeasures(t *testing.T) {
	b := newBench(t, nil)
	b.serves, b.offset = true, time.Second
	b.settle()
	last := b.now
	b.want(b.exchange(nil), Repeated) // the last was measured as a basic one
	if b.a.Reach() != 0xff || !b.a.Interleaved() {
		t.Errorf("reach %08b, interleaved %v", b.a.Reach(), b.a.Interleaved())
	}
	for range 10 {
		before := b.now
		claims := b.a.last.header
		o := b.want(b.exchange(func(h *ntp.Header) { h.RootDelay, h.Stratum, h.Leap = h.RootDelay+9, 3, ntp.LeapInsert }), Measured)
		want := before + (benchThere+benchServing+benchBack)/2
		if o.Sample.Local != want || !o.Interleaved || !o.Measurement.Interleaved {
			t.Errorf("local %v, want %v, after the exchange at %v", o.Sample.Local, want, last)
		}
		// The whole serving is known now: no half of it is left in the delay.
		if d := benchThere + benchBack; (o.Sample.Delay - d).Abs() > 2 {
			t.Errorf("delay %v, want %v", o.Sample.Delay, d)
		}
		if off := time.Duration(o.Sample.Remote - benchTAI - benchUnix - int64(o.Sample.Local)); (off - time.Second - (benchThere-benchBack)/2).Abs() > 2 {
			t.Errorf("offset %v", off)
		}
		// What bounds it is what was claimed then; what warns is what is said now.
		if o.Sample.RootDelay != claims.RootDelay.Duration() || o.Sample.Stratum != 3 || o.Sample.Leap != 1 || o.Measurement.Header != claims {
			t.Errorf("claims %+v", o.Sample)
		}
		last = before
	}
}

// T1 of the measurement is the kernel's stamp of that exchange, though the wall clock was set since.
func TestInterleavedAcrossStep(t *testing.T) {
	b := newBench(t, nil)
	b.serves = true
	b.settle()
	b.want(b.exchange(nil), Repeated)
	b.wall = int64(time.Hour)
	o := b.want(b.exchange(nil), Measured)
	if off := o.Measurement.Offset(); off.Abs() > 2*time.Millisecond || (o.Sample.Delay-benchThere-benchBack).Abs() > 2 {
		t.Errorf("offset %v and delay %v of an exchange before the step", off, o.Sample.Delay)
	}
}

// One lost reply is survived; after two the next request is a basic one.
func TestInterleavedMisses(t *testing.T) {
	b := newBench(t, nil)
	b.serves = true
	b.settle()
	b.want(b.exchange(nil), Repeated)
	b.want(b.exchange(nil), Measured)
	before := b.now
	b.lose()
	o := b.want(b.exchange(nil), Measured)
	if !o.Interleaved || o.Sample.Local > before+time.Second {
		t.Errorf("interleaved %v, of %v; want the one at %v", o.Interleaved, o.Sample.Local, before)
	}
	b.lose()
	b.want(b.exchange(nil), Measured)
	b.lose()
	if request := b.ask(); request.Origin == 0 {
		t.Error("two replies that were lost apart end the mode")
	}
	b.want(b.hear(b.reply(b.request)), Measured)
	b.lose()
	b.lose()
	if request := b.ask(); request.Origin != 0 || request.Receive != 0 {
		t.Errorf("asked with %+v", request)
	}
	if o = b.want(b.hear(b.reply(b.request)), Measured); o.Interleaved || o.Sample.Local < b.now {
		t.Errorf("of %v at %v", o.Sample.Local, b.now)
	}
	b.want(b.exchange(nil), Repeated)
	// The server's memory was lost with the reply: it answers in basic mode.
	b.kept = map[ntp.Timestamp]ntp.Timestamp{}
	if o = b.want(b.exchange(nil), Measured); o.Interleaved {
		t.Error("interleaved")
	}
}

// Never two bad ones in a row; and a server that gets it wrong again and again is spared.
func TestInterleavedFaults(t *testing.T) {
	for name, change := range map[string]func(*ntp.Header){
		"left before it came":        func(h *ntp.Header) { h.Transmit -= 3600 << 32; h.Reference = 0 },
		"left after this one came":   func(h *ntp.Header) { h.Transmit = h.Receive + 1 },
		"left later than it arrived": func(h *ntp.Header) { h.Transmit += 1 << 32 / 100 },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.serves = true
			b.settle()
			for range interleavedFaultsMax {
				o := b.want(b.exchange(func(h *ntp.Header) {
					if ntp.InterleavedReply(b.request, *h) {
						change(h)
					}
				}), Implausible)
				if !o.Interleaved {
					t.Fatal("not interleaved")
				}
				if request := b.ask(); request.Origin != 0 || request.Receive != 0 {
					t.Fatalf("asked with %+v after a bad one", request)
				}
				b.want(b.hear(b.reply(b.request)), Measured)
			}
			for range 5 {
				if o := b.want(b.exchange(nil), Measured); o.Interleaved {
					t.Fatal("interleaved for ever")
				}
			}
		})
	}
}

// Test 2: a reply to the cookie of the receive field counts only where one was sent, and the
// reference timestamp may be later than the departure of the reply before.
func TestInterleavedOrigin(t *testing.T) {
	b := newBench(t, nil)
	b.serves = true
	b.want(b.exchange(func(h *ntp.Header) { h.Origin = 0 }), Bogus)
	b.want(b.hear(b.reply(b.request)), Measured)
	for range interleavedAfter - 1 {
		b.want(b.exchange(nil), Measured)
	}
	b.want(b.exchange(func(h *ntp.Header) { h.Origin++ }), Bogus)
	b.a.Fail(Lost)
	b.a.lastValid = true
	b.want(b.exchange(nil), Measured) // the server has forgotten
	b.want(b.exchange(func(h *ntp.Header) { h.Reference = h.Receive }), Repeated)
	b.want(b.exchange(func(h *ntp.Header) { h.Reference = h.Receive + 1 }), Reset)
}

// A kiss is believed in either mode.
func TestInterleavedKiss(t *testing.T) {
	b := newBench(t, nil)
	b.serves = true
	b.settle()
	b.want(b.exchange(func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.KissRATE }), Kissed)
	if b.a.Poll() != 7 {
		t.Errorf("poll %d", b.a.Poll())
	}
}

// What is measured after a burst that somebody asked for, a long silence, a long sleep or a much
// longer interval is of then, not of before.
func TestInterleavedStale(t *testing.T) {
	cases := map[string]func(b *bench){
		"burst": func(b *bench) { b.a.Burst() },
		"silence": func(b *bench) {
			for range 8 {
				b.lose()
			}
		},
		"sleep": func(b *bench) { b.now += time.Hour },
		"interval": func(b *bench) {
			for range 4 {
				b.a.SetPoll(Never)
			}
			b.now = b.a.Due()
			b.a.SetPoll(0)
		},
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(o *AssociationOptions) { o.Burst = 4 })
			b.serves = true
			b.settle()
			b.want(b.exchange(nil), Repeated)
			b.want(b.exchange(nil), Measured)
			change(b)
			requests := 1
			if name == "burst" || name == "silence" {
				requests = interleavedAfter
			}
			for k := range requests {
				if request := b.ask(); request.Origin != 0 {
					t.Fatalf("request %d asks for what is old", k)
				}
				if o := b.want(b.hear(b.reply(b.request)), Measured); o.Sample.Local < b.now {
					t.Errorf("measures %v at %v", o.Sample.Local, b.now)
				}
			}
			if request := b.ask(); request.Origin == 0 {
				t.Error("does not come back to interleaved mode")
			}
		})
	}
}

// A burst was asked for while an interleaved reply is under way: what it measures counts no more.
func TestInterleavedBurstMeanwhile(t *testing.T) {
	b := newBench(t, func(o *AssociationOptions) { o.Burst = 4 })
	b.serves = true
	b.settle()
	b.want(b.exchange(nil), Repeated)
	h := b.reply(b.ask())
	b.a.Burst()
	b.want(b.hear(h), Repeated)
	if o := b.want(b.exchange(nil), Measured); o.Interleaved {
		t.Error("measures what was before")
	}
}

// A server whose clock was set back since is not measured by what it was before.
func TestInterleavedServerSetBack(t *testing.T) {
	b := newBench(t, nil)
	b.serves = true
	b.settle()
	b.want(b.exchange(nil), Repeated)
	b.offset -= time.Hour
	b.want(b.exchange(nil), Implausible)
	if o := b.want(b.exchange(nil), Measured); o.Interleaved || o.Measurement.Offset() > -59*time.Minute {
		t.Errorf("interleaved %v, offset %v", o.Interleaved, o.Measurement.Offset())
	}
}
