package upstream

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/ntp"
)

const (
	benchUnix    = int64(1_795_000_000_000_000_000) // the wall clock when the local timeline was at 0
	benchTAI     = 37 * int64(time.Second)
	benchThere   = 3 * time.Millisecond // on the way to the server
	benchServing = 100 * time.Microsecond
	benchBack    = 2 * time.Millisecond
)

// plainScale is a leap-free scale with at most one leap second.
type plainScale struct{ leapAt int64 }

func (s plainScale) TAI(utc int64) int64 { return utc + benchTAI }
func (s plainScale) Next(utc int64) (int64, clock.Leap, bool) {
	return s.leapAt, clock.LeapInsert, s.leapAt > utc
}

// bench is an association and its server, in virtual time.
type bench struct {
	t      *testing.T
	a      *Association
	rng    *rand.Rand
	now    time.Duration
	wall   int64         // the wall clock less benchUnix and the local timeline
	offset time.Duration // the server's clock less the wall clock's first setting
	serves bool          // interleaved mode
	kept   map[ntp.Timestamp]ntp.Timestamp

	request ntp.Header // the last
	asked   []time.Duration
}

func newBench(t *testing.T, change func(*AssociationOptions)) *bench {
	opts := AssociationOptions{MinPoll: 6, MaxPoll: 10, Interleaved: true, Precision: -25, Pivot: benchUnix, Scale: plainScale{}}
	if change != nil {
		change(&opts)
	}
	rng := rand.New(rand.NewPCG(*seedFlag, 0))
	return &bench{t: t, rng: rng, a: NewAssociation(opts, 0, rng.Uint64()), kept: map[ntp.Timestamp]ntp.Timestamp{}}
}

func (b *bench) random() Random { return Random{b.rng.Uint64(), b.rng.Uint64(), b.rng.Uint64()} }

func (b *bench) stamp(at time.Duration) Stamp {
	return Stamp{Local: at, Unix: benchUnix + int64(at) + b.wall, Kernel: true}
}

// remote is the server's clock.
func (b *bench) remote(at time.Duration) int64 { return benchUnix + int64(at+b.offset) }

// ask waits until the association is due and has it ask.
func (b *bench) ask() ntp.Header {
	b.t.Helper()
	for {
		b.now = max(b.now, b.a.Due())
		request, ok := b.a.Request(b.now, b.random())
		if !ok {
			continue // gave up the last
		}
		b.a.Sent(b.stamp(b.now))
		b.request, b.asked = request, append(b.asked, b.now)
		return request
	}
}

// reply is what the server makes of a request.
func (b *bench) reply(request ntp.Header) ntp.Header {
	t2, t3 := b.remote(b.now+benchThere), b.remote(b.now+benchThere+benchServing)
	h := ntp.Header{
		Version: 4, Mode: ntp.ModeServer, Stratum: 2, Precision: -23,
		RootDelay: ntp.ShortOf(2 * time.Millisecond), RootDispersion: ntp.ShortOf(3 * time.Millisecond),
		RefID: 0xc0000201, Reference: ntp.FromUnix(t2 - int64(time.Minute)),
		Origin: request.Transmit, Receive: ntp.FromUnix(t2) | 1, Transmit: ntp.FromUnix(t3 - int64(benchServing)/2),
	}
	if left, ok := b.kept[request.Origin]; ok && b.serves && request.Origin != 0 {
		h.Origin, h.Transmit = request.Receive, left
		delete(b.kept, request.Origin)
	}
	b.kept[h.Receive] = ntp.FromUnix(t3)
	return h
}

// hear gives the association a datagram when a reply would arrive.
func (b *bench) hear(h ntp.Header) Outcome {
	at := b.now + benchThere + benchServing + benchBack
	return b.a.Reply(h.Append(nil), b.stamp(at))
}

// exchange is a whole one, with a change to the reply.
func (b *bench) exchange(change func(*ntp.Header)) Outcome {
	b.t.Helper()
	h := b.reply(b.ask())
	if change != nil {
		change(&h)
	}
	return b.hear(h)
}

func (b *bench) want(o Outcome, v Verdict) Outcome {
	b.t.Helper()
	if o.Verdict != v {
		b.t.Fatalf("at %v: %v, want %v", b.now, o.Verdict, v)
	}
	return o
}

// lose asks and hears nothing.
func (b *bench) lose() {
	b.t.Helper()
	b.ask()
	b.now = b.a.Due()
	if _, ok := b.a.Request(b.now, b.random()); ok || b.a.Waiting() {
		b.t.Fatal("it still waits")
	}
}

// RFC 8633: the request tells nothing. Section 8: the cookie is another each time.
func TestRequestTellsNothing(t *testing.T) {
	b := newBench(t, func(o *AssociationOptions) { o.Interleaved = false })
	seen := map[ntp.Timestamp]bool{}
	for range 20 {
		request := b.ask()
		if bare := (ntp.Header{Version: 4, Mode: ntp.ModeClient, Transmit: request.Transmit}); request != bare || request.Transmit == 0 {
			t.Errorf("asked with %+v", request)
		}
		seen[request.Transmit] = true
		b.want(b.hear(b.reply(request)), Measured)
	}
	if len(seen) != 20 {
		t.Errorf("%d different cookies in 20 requests", len(seen))
	}
	zero := NewAssociation(b.a.opts, 0, 0)
	if request, _ := zero.Request(zero.Due(), Random{}); request.Transmit == 0 {
		t.Error("the cookie is 0, which is no cookie")
	}
}

// A basic measurement, by hand.
func TestMeasured(t *testing.T) {
	for _, offset := range []time.Duration{0, time.Second, -time.Hour, 20 * 365 * 24 * time.Hour} {
		b := newBench(t, nil)
		b.offset = offset
		o := b.want(b.exchange(nil), Measured)
		s := o.Sample
		begun, ended := b.now, b.now+benchThere+benchServing+benchBack
		if s.Local != begun+(ended-begun)/2 {
			t.Errorf("local %v, want the middle of %v and %v", s.Local, begun, ended)
		}
		// The transmit timestamp is of half-way through the serving.
		if want := b.remote(begun+benchThere+benchServing/4) + benchTAI; s.Remote-want < -2 || s.Remote-want > 2 {
			t.Errorf("remote %d, want %d", s.Remote, want)
		}
		if want := benchThere + benchBack + benchServing/2; (s.Delay - want).Abs() > 2 {
			t.Errorf("delay %v, want %v", s.Delay, want)
		}
		if off := (s.Remote - benchTAI) - (benchUnix + int64(s.Local)); (time.Duration(off) - o.Measurement.Offset()).Abs() > 2 {
			t.Errorf("the sample is off by %v and the measurement by %v", time.Duration(off), o.Measurement.Offset())
		}
		precisions := ntp.Precision(-25).Duration() + ntp.Precision(-23).Duration()
		if want := precisions + 5100*15*time.Nanosecond/1000; s.Dispersion < want || s.Dispersion > want+20 {
			t.Errorf("dispersion %v, want %v", s.Dispersion, want)
		}
		if s.RootDelay != o.Header.RootDelay.Duration() || s.RootDispersion != o.Header.RootDispersion.Duration() ||
			s.Stratum != 2 || s.RefID != [4]byte{192, 0, 2, 1} || s.Leap != clock.LeapNone {
			t.Errorf("the server's claims came out as %+v", s)
		}
		if m := o.Measurement; !m.Stamped || !m.Departed || m.Interleaved {
			t.Errorf("stamped %v, departed %v, interleaved %v", m.Stamped, m.Departed, m.Interleaved)
		}
	}
}

// A step of the wall clock between T1 and T4 does not touch a sample, nor its offset's bound.
func TestMeasuredAcrossStep(t *testing.T) {
	b := newBench(t, nil)
	h := b.reply(b.ask())
	b.wall = int64(time.Hour)
	o := b.want(b.hear(h), Measured)
	if want := benchThere + benchBack + benchServing/2; (o.Sample.Delay - want).Abs() > 2 {
		t.Errorf("delay %v, want %v", o.Sample.Delay, want)
	}
	if off := o.Measurement.Offset(); (off + time.Hour).Abs() > o.Sample.Delay {
		t.Errorf("offset %v by the clock as it stood at T4, want about %v", off, -time.Hour)
	}
}

// STANDARDS OFF-4: across the end of the era, with a pivot before it.
func TestMeasuredAcrossEra(t *testing.T) {
	b := newBench(t, nil)
	eraEnd := time.Duration(2085978496*int64(time.Second) - benchUnix) // 2036-02-07 06:28:16 UTC
	b.a.Postpone(eraEnd - benchThere - benchServing/4)
	o := b.want(b.exchange(nil), Measured)
	if off := o.Sample.Remote - benchTAI - benchUnix - int64(o.Sample.Local); off > int64(benchThere) || off < -int64(benchThere) {
		t.Errorf("off by %v across the era", time.Duration(off))
	}
	if off := o.Measurement.Offset().Abs(); off > benchThere {
		t.Errorf("offset %v across the era", off)
	}
}

// Tests 1 to 7 of RFC 5905, section 8, and ours: what each reply is, that the ones that are
// passed over leave the request waiting for the true one, and that of the others
// the cookie is forgotten.
func TestVerdicts(t *testing.T) {
	own := ntp.RefID(0x0a000001)
	cases := map[string]struct {
		change func(*ntp.Header)
		want   Verdict
	}{
		"version 3":              {func(h *ntp.Header) { h.Version = 3 }, Foreign},
		"version 5":              {func(h *ntp.Header) { h.Version = 5 }, Foreign},
		"mode 3":                 {func(h *ntp.Header) { h.Mode = ntp.ModeClient }, Foreign},
		"mode 5":                 {func(h *ntp.Header) { h.Mode = ntp.ModeBroadcast }, Foreign},
		"other origin":           {func(h *ntp.Header) { h.Origin++ }, Bogus},
		"no origin":              {func(h *ntp.Header) { h.Origin = 0 }, Bogus},
		"kiss, other origin":     {func(h *ntp.Header) { h.Origin++; h.Stratum, h.RefID = 0, ntp.KissDENY }, Bogus},
		"kiss, no origin":        {func(h *ntp.Header) { h.Origin = 0; h.Stratum, h.RefID = 0, ntp.KissRATE }, Bogus},
		"no receive":             {func(h *ntp.Header) { h.Receive = 0 }, Invalid},
		"no transmit":            {func(h *ntp.Header) { h.Transmit = 0 }, Invalid},
		"leap 3":                 {func(h *ntp.Header) { h.Leap = ntp.LeapUnsynchronised }, Unsynchronised},
		"stratum 16":             {func(h *ntp.Header) { h.Stratum = 16 }, Unsynchronised},
		"stratum 17":             {func(h *ntp.Header) { h.Stratum = 17 }, Unsynchronised},
		"INIT":                   {func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.KissINIT }, Unsynchronised},
		"STEP":                   {func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.KissSTEP }, Unsynchronised},
		"RATE":                   {func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.KissRATE }, Kissed},
		"DENY":                   {func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.KissDENY }, Kissed},
		"RSTR":                   {func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.KissRSTR }, Kissed},
		"XFOO":                   {func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.RefIDFromASCII("XFOO") }, Kissed},
		"dispersion of 16 s":     {func(h *ntp.Header) { h.RootDispersion = 16 << 16 }, Distant},
		"delay of 32 s":          {func(h *ntp.Header) { h.RootDelay, h.RootDispersion = 32<<16, 0 }, Distant},
		"set after it left":      {func(h *ntp.Header) { h.Reference = h.Transmit + 1 }, Reset},
		"follows us":             {func(h *ntp.Header) { h.RefID = own }, Looped},
		"left before it came":    {func(h *ntp.Header) { h.Transmit = h.Receive - 1; h.Reference = 0 }, Implausible},
		"there for too long":     {func(h *ntp.Header) { h.Transmit += 6 * (1 << 32) / 1000 }, Implausible},
		"a distance just below":  {func(h *ntp.Header) { h.RootDelay, h.RootDispersion = 32<<16-2, 0 }, Measured},
		"stratum 15":             {func(h *ntp.Header) { h.Stratum = 15 }, Measured},
		"stratum 1, our letters": {func(h *ntp.Header) { h.Stratum, h.RefID = 1, own }, Measured},
		"set when it left":       {func(h *ntp.Header) { h.Reference = h.Transmit }, Measured},
		"leap announced":         {func(h *ntp.Header) { h.Leap = ntp.LeapInsert }, Measured},
		"no time in the server":  {func(h *ntp.Header) { h.Transmit = h.Receive }, Measured},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(o *AssociationOptions) { o.Loop = func(id ntp.RefID) bool { return id == own } })
			good := b.reply(b.ask())
			h := good
			c.change(&h)
			o := b.want(b.hear(h), c.want)
			if b.a.Counts()[c.want] != 1 {
				t.Errorf("counted as %v", b.a.Counts())
			}
			if o.Verdict.Final() == b.a.Waiting() {
				t.Errorf("%v, waiting %v", o.Verdict, b.a.Waiting())
			}
			if reached := b.a.Reach() == 1; reached != (c.want == Measured) {
				t.Errorf("reach %08b after %v", b.a.Reach(), c.want)
			}
			if o.Verdict.Final() && o.Header != h {
				t.Errorf("the header came out as %+v", o.Header)
			}
			if c.want == Measured || !o.Verdict.Final() {
				return
			}
			// The cookie is forgotten: the true reply is too late.
			b.want(b.hear(good), Bogus)
		})
		if c.want.Final() {
			continue
		}
		t.Run(name+", and then the true one", func(t *testing.T) {
			b := newBench(t, nil)
			good := b.reply(b.ask())
			h := good
			c.change(&h)
			b.want(b.hear(h), c.want)
			b.want(b.hear(good), Measured)
		})
	}
}

func TestShort(t *testing.T) {
	b := newBench(t, nil)
	h := b.reply(b.ask()).Append(nil)
	for _, n := range []int{0, 1, ntp.HeaderLen - 1} {
		b.want(b.a.Reply(h[:n], b.stamp(b.now+benchThere)), Short)
	}
	b.want(b.a.Reply(append(h, 1, 2, 3), b.stamp(b.now+2*benchThere)), Measured)
}

// Test 1: a reply that comes twice counts once, and so does one with the timestamps of the last.
func TestDuplicate(t *testing.T) {
	b := newBench(t, nil)
	h := b.reply(b.ask())
	b.want(b.hear(h), Measured)
	b.want(b.hear(h), Duplicate)
	b.want(b.exchange(func(n *ntp.Header) { n.Receive, n.Transmit = h.Receive, h.Transmit }), Duplicate)
	if !b.a.Waiting() {
		t.Error("a duplicate ended the exchange")
	}
	// A kiss code means what it says, whatever stands in its timestamps.
	k := newBench(t, nil)
	k.want(k.exchange(nil), Measured)
	last := k.a.last.header
	k.want(k.exchange(func(n *ntp.Header) {
		n.Stratum, n.RefID, n.Receive, n.Transmit = 0, ntp.KissRATE, last.Receive, last.Transmit
	}), Kissed)
	// Replayed to a later request: test 2.
	b.want(b.hear(b.reply(b.request)), Measured)
	b.ask()
	h.Receive++
	b.want(b.hear(h), Bogus)
}

// A reply is late after three seconds, whoever looks at the time first.
func TestLate(t *testing.T) {
	b := newBench(t, nil)
	h := b.reply(b.ask())
	b.want(b.a.Reply(h.Append(nil), b.stamp(b.now+replyWait+1)), Late)
	b.want(b.a.Reply(h.Append(nil), b.stamp(b.now+replyWait)), Measured)

	h = b.reply(b.ask())
	if due := b.a.Due(); due != b.now+replyWait {
		t.Errorf("gives up at %v, want %v", due, b.now+replyWait)
	}
	if _, ok := b.a.Request(b.now+replyWait-1, b.random()); ok || !b.a.Waiting() {
		t.Error("gave up too early")
	}
	if _, ok := b.a.Request(b.now+replyWait, b.random()); ok || b.a.Waiting() {
		t.Error("did not give up")
	}
	b.want(b.hear(h), Bogus)
	if b.a.Counts()[Lost] != 1 || b.a.Reach() != 0b10 {
		t.Errorf("%d lost, reach %08b", b.a.Counts()[Lost], b.a.Reach())
	}
}

// No sample within two seconds of a leap second; the server is reached all the same.
func TestNearLeap(t *testing.T) {
	for shift, want := range map[time.Duration]Verdict{
		-2*time.Second - 10*time.Millisecond: Measured,
		-2*time.Second + 10*time.Millisecond: NearLeap,
		0:                                    NearLeap,
		2*time.Second - 10*time.Millisecond:  NearLeap,
		2*time.Second + 10*time.Millisecond:  Measured,
	} {
		at := 1000 * time.Second
		b := newBench(t, func(o *AssociationOptions) { o.Scale = plainScale{leapAt: benchUnix + int64(at)} })
		b.a.Postpone(at + shift)
		b.want(b.exchange(nil), want)
		if b.a.Reach() != 1 {
			t.Errorf("%v from the leap: reach %08b", shift, b.a.Reach())
		}
	}
}

// Both of the server's timestamps count.
func TestNearLeapEither(t *testing.T) {
	for _, edge := range []time.Duration{-leapShadow, leapShadow} {
		at := 1000 * time.Second
		b := newBench(t, func(o *AssociationOptions) { o.Scale = plainScale{leapAt: benchUnix + int64(at)} })
		b.a.Postpone(at + edge - time.Millisecond - benchThere)
		b.want(b.exchange(func(h *ntp.Header) { h.Transmit = ntp.FromUnix(h.Receive.Unix(benchUnix) + int64(2*time.Millisecond)) }), NearLeap)
	}
}

// A delay below nothing is as exact as the clocks' precisions allow.
func TestImplausibleDelay(t *testing.T) {
	for less, want := range map[time.Duration]Verdict{
		100 * time.Nanosecond: Measured, // within the precisions
		time.Microsecond:      Implausible,
	} {
		b := newBench(t, nil)
		h := b.reply(b.ask())
		h.Transmit = ntp.FromUnix(h.Receive.Unix(benchUnix) + int64(benchThere+benchServing+benchBack+less))
		o := b.want(b.hear(h), want)
		if want == Measured && o.Sample.Delay != o.Measurement.precisions() {
			t.Errorf("a delay of %v", o.Sample.Delay)
		}
	}
}

func TestVerdictNames(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range Verdicts() {
		if name := v.String(); name == "" || name == "unknown" || seen[name] {
			t.Errorf("verdict %d is called %q", v, name)
		}
		seen[v.String()] = true
	}
	if Verdict(verdictCount).String() != "unknown" || len(seen) != verdictCount {
		t.Errorf("%d verdicts", len(seen))
	}
}
