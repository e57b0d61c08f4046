package upstream

import (
	"errors"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/ntp"
)

// Verdict is what a datagram was, or why there was none. The numbers of tests are
// those of RFC 5905, section 8. Tests 4 and 5, access and authentication, have nothing to
// judge here: the socket hears nobody but the server, and no keys are configured.
type Verdict uint8

// The verdicts. What comes before Measured leaves the association waiting for its reply.
const (
	Short     Verdict = iota // fewer bytes than a header
	Foreign                  // not a server's packet of our version
	Duplicate                // test 1: the reply that was taken last, once more
	Bogus                    // test 2: not the answer to the request that waits
	Late                     // no longer waited for

	Measured       // a sample
	Repeated       // good, and of an exchange that was measured already, or that counts no more: interleaved mode
	Invalid        // test 3: a timestamp is zero
	Kissed         // a kiss code
	Unsynchronised // test 6: the server says so
	Distant        // test 7: its root distance is 16 s or more
	Reset          // test 7: its clock was set after it sent the reply
	Looped         // it follows this host: AC-S12 of our standards
	NearLeap       // it speaks of an instant within two seconds of a leap second
	Implausible    // it left before it was sent, or was on its way for less than no time

	Lost    // no reply came in time
	Unsent  // the request could not be sent
	Refused // the network says that nothing serves NTP there

	verdictCount = iota
)

// String returns the verdict as it names a counter.
func (v Verdict) String() string {
	names := [verdictCount]string{
		"short", "foreign", "duplicate", "bogus", "late",
		"measured", "repeated", "invalid", "kissed", "unsynchronised", "distant", "reset", "looped", "near_leap", "implausible",
		"lost", "unsent", "refused",
	}
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}

// Verdicts returns all verdicts in their order.
func Verdicts() []Verdict {
	all := make([]Verdict, verdictCount)
	for i := range all {
		all[i] = Verdict(i)
	}
	return all
}

// Good reports whether the server has answered as it should: its reach grows.
func (v Verdict) Good() bool { return v == Measured || v == Repeated || v == NearLeap }

// Final reports whether the exchange is over.
func (v Verdict) Final() bool { return v >= Measured }

// Outcome is what became of a datagram.
type Outcome struct {
	Verdict Verdict
	// Header is what the datagram said; valid where Verdict is final, Kissed included.
	Header ntp.Header
	// Interleaved tells in which mode the reply was; valid where Verdict is final.
	Interleaved bool
	// Measurement is of the exchange that was measured, which in interleaved mode is the
	// one before: Sample holds its T1 to T4, by the wall clock as it stood at T4, and
	// Header what the server claimed in its reply. Valid where Verdict is Measured, and
	// without its Server, which the caller knows.
	Measurement Measurement
	// Sample is the same for the discipline. Valid where Verdict is Measured.
	Sample discipline.Sample
}

// leapShadow is how near to a leap second no server is measured: its clock, or what
// tells the time to it, may be a second off for a moment.
const leapShadow = 2 * time.Second

// Reply takes a datagram that came back, and when. Any bytes will do.
func (a *Association) Reply(datagram []byte, at Stamp) Outcome {
	o := a.judge(datagram, at)
	a.counts[o.Verdict]++
	if !o.Verdict.Final() {
		return o
	}
	a.waiting = false
	if !o.Verdict.Good() {
		if o.Interleaved && o.Verdict == Implausible {
			a.faults++
		}
		a.lastValid = false
		return o
	}
	if a.silent { // for the first time, or again
		a.replies = 0
	}
	if a.silent && a.opts.Burst > 0 && a.floor == a.opts.MinPoll {
		a.burst = a.opts.Burst - 1
	}
	a.reach |= 1
	a.replies = min(a.replies+1, interleavedAfter)
	a.misses = 0
	a.mode = o.Interleaved
	a.last = answer{sent: a.sent, arrived: at, header: o.Header, measured: o.Verdict == Measured && !o.Interleaved}
	a.lastValid = true
	return o
}

// judge is Reply without the memory, but for kisses, which it heeds, and the cookie,
// which is forgotten once it has come back.
func (a *Association) judge(datagram []byte, at Stamp) Outcome {
	header, err := ntp.Decode(datagram)
	if err != nil {
		return Outcome{Verdict: Short}
	}
	o := Outcome{Header: header, Interleaved: ntp.InterleavedReply(a.request, header)}
	fault := ntp.CheckReply(a.request, header)
	switch {
	case errors.Is(fault, ntp.ErrMode), errors.Is(fault, ntp.ErrVersion):
		o.Verdict = Foreign
		return o
	case a.repeats(header):
		o.Verdict = Duplicate
		return o
	// Once a reply was taken its request is forgotten: what carries its cookie is no
	// answer any more.
	case !a.waiting, errors.Is(fault, ntp.ErrBogus):
		o.Verdict = Bogus
		return o
	case at.Local-a.sent.Local > replyWait:
		o.Verdict = Late
		return o
	}
	var kiss ntp.KissError
	switch {
	case errors.As(fault, &kiss):
		o.Verdict = a.kissed(kiss.Code, at.Local)
	case errors.Is(fault, ntp.ErrInvalid):
		o.Verdict = Invalid
	case errors.Is(fault, ntp.ErrUnsynchronised):
		o.Verdict = Unsynchronised
	case errors.Is(fault, ntp.ErrDistance):
		o.Verdict = Distant
	case errors.Is(fault, ntp.ErrReference):
		o.Verdict = Reset
	case header.Stratum > 1 && a.opts.Loop(header.RefID):
		o.Verdict = Looped
	case !o.Interleaved:
		a.measure(&o, answer{sent: a.sent, arrived: at, header: header}, header.Transmit)
	default:
		a.measureLast(&o)
	}
	return o
}

// repeats reports whether a packet carries the timestamps of the last good reply. Those of a
// kiss code mean nothing.
func (a *Association) repeats(h ntp.Header) bool {
	last := &a.last.header
	return last.Receive != 0 && h.Stratum != 0 && h.Receive == last.Receive && h.Transmit == last.Transmit
}

// kissed does what a kiss code asks for. Only a reply with the cookie in it comes to here.
// DENY and RSTR end the association: RFC 5905 says stop sending, and there is no other way
// that a server has to get rid of its clients. RATE is heeded every time that it comes.
// INIT and STEP are a server's that has no time yet; of all others, nothing follows.
func (a *Association) kissed(code ntp.RefID, now time.Duration) Verdict {
	switch code {
	case ntp.KissDENY, ntp.KissRSTR:
		a.stopped = true
	case ntp.KissRATE:
		a.floor = min(a.Poll()+1, pollMax)
		a.floorUntil = now + floorHold
		a.burst = 0
	case ntp.KissINIT, ntp.KissSTEP:
		return Unsynchronised
	}
	return Kissed
}

// measureLast makes the measurement of an interleaved reply: of the exchange before,
// with the instant at which its reply really left.
func (a *Association) measureLast(o *Outcome) {
	left := o.Header.Transmit
	if o.Header.Receive.Before(left) { // after this request came: the clock was set back
		o.Verdict = Implausible
		return
	}
	if a.measure(o, a.last, left); o.Verdict == Measured && (a.last.measured || !a.lastValid) {
		o.Verdict = Repeated
	}
}

// measure makes the measurement of an exchange whose reply left at left by the server's clock.
func (a *Association) measure(o *Outcome, e answer, left ntp.Timestamp) {
	took := e.arrived.Local - e.sent.Local
	m := Measurement{
		Header: e.header,
		Sample: ntp.Sample{
			// Not its own wall clock stamp: the clock may have been set in between.
			Origin:      ntp.FromUnix(e.arrived.Unix - int64(took)),
			Receive:     e.header.Receive,
			Transmit:    left,
			Destination: ntp.FromUnix(e.arrived.Unix),
		},
		Precision:   a.opts.Precision,
		Stamped:     e.arrived.Kernel,
		Departed:    e.sent.Kernel,
		Interleaved: o.Interleaved,
	}
	dispersion := m.precisions() + m.drift()
	if left.Before(e.header.Receive) || m.Sample.Delay() < -dispersion {
		o.Verdict = Implausible
		return
	}
	t2, t3 := e.header.Receive.Unix(a.opts.Pivot), left.Unix(a.opts.Pivot)
	if a.nearLeap(t2) || a.nearLeap(t3) {
		o.Verdict = NearLeap
		return
	}
	o.Verdict = Measured
	o.Measurement = m
	o.Sample = discipline.Sample{
		Local:          e.sent.Local + took/2,
		Remote:         a.opts.Scale.TAI(t2 + (t3-t2)/2),
		Delay:          m.Delay(),
		Dispersion:     dispersion,
		RootDelay:      e.header.RootDelay.Duration(),
		RootDispersion: e.header.RootDispersion.Duration(),
		Stratum:        o.Header.Stratum,
		Leap:           clock.Leap(o.Header.Leap),
		RefID:          o.Header.RefID.Bytes(),
	}
}

// nearLeap reports whether a leap second lies within leapShadow of an instant.
func (a *Association) nearLeap(utc int64) bool {
	at, _, ok := a.opts.Scale.Next(utc - int64(leapShadow) - 1)
	return ok && at <= utc+int64(leapShadow)
}
