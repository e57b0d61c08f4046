package client

// Where the appliance's time is, as seen from a clock that nobody steers.
//
// The problem. A process that asks the appliance for each interval waits for the network each
// time. It has a clock of its own that costs nothing, but that one is wrong, by an offset that
// nobody knows and a rate that is only known to be nearly one.
//
// The idea. One answer proves a lot. It was asked for at `from` and was there at `to`, both read
// from the local clock, so the interval [e, l] in it was made at some moment in between. From
// then on the appliance's clock, and the ends of its interval with it, advance as the local clock
// does, but for a drift of at most ρ. So at the local time t ≥ to the earliest end that the appliance
// would give is not before the case that the interval was made last and the clocks drifted apart
// in one direction, and the latest end is not after the opposite case:
//
//	earliest(t) = e + (t − to)·(1 − ρ)
//	latest(t)   = l + (t − from)·(1 + ρ)
//
// That is wider than the appliance's own interval by the round trip, and by 2ρ for each second of
// age: 0.4 ms at 200 ppm. ρ has to cover the drift of this machine's clock, the slewing of
// either clock, and the growth of the appliance's own error bound.
//
// Which answer to use. The narrowest by now: a slow answer does not replace a good one, which
// gives way as it ages, and after some questions in any case: where the appliance's own bound grows as
// fast as ours, no later answer would be narrower. But an answer also tells where the appliance's interval is *not*: were ours not to
// hold the least that it can be, then ρ was exceeded, a clock was set, or the appliance has learnt
// that it was wrong; and ours is given up for the new one, and that is counted.
//
// Further reading: K. Marzullo and S. Owicki, "Maintaining the Time in a Distributed System",
// 1983; F. Cristian, "Probabilistic Clock Synchronization", 1989.

import (
	"fmt"
	"math"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

// answer is an interval of the appliance, and when it was asked for and there, on the local
// clock.
type answer struct {
	from, to time.Duration
	interval hlc.Interval
}

const (
	// widthMax is how wide an interval may be to be taken for one: an appliance that knows less than
	// that knows nothing.
	widthMax = time.Hour
	// latestMax leaves room below the end of int64 for all the time that a process runs.
	latestMax hlc.Timestamp = math.MaxInt64 - 365*24*3600*1e9
)

// check returns why an answer proves nothing; nil: it proves something. One that was taken
// although it is nonsense would drive the clock, which cannot go back.
func (a answer) check() error {
	i := a.interval
	switch {
	case i.Earliest == 0 || i.Earliest > i.Latest || i.Latest > latestMax:
		return fmt.Errorf("client: the appliance gave %v to %v, which is no interval; see its truechimer status", i.Earliest, i.Latest)
	case i.Width() > widthMax:
		return fmt.Errorf("client: the appliance knows the time to within %v only, want %v or better; see its truechimer status", i.Width(), widthMax)
	}
	return nil
}

// bracket holds the appliance's interval from the moment at on the local clock.
type bracket struct {
	at               time.Duration
	earliest, latest int64 // then, Unix nanoseconds
	driftPPM         int64
	trip             time.Duration // of the answer that it was made from
}

// newBracket returns what an answer proves.
func newBracket(a answer, driftPPM int64) *bracket {
	b := &bracket{at: a.to, driftPPM: driftPPM, trip: a.to - a.from}
	b.earliest = int64(a.interval.Earliest)
	b.latest = int64(a.interval.Latest) + int64(b.trip) + b.drift(b.trip)
	return b
}

// drift is how far the clocks can drift apart in d, rounded up.
func (b *bracket) drift(d time.Duration) int64 {
	return int64(d)*b.driftPPM/1e6 + 1 // of hours at the most: it cannot wrap
}

// on returns the ends at t, which is not before at.
func (b *bracket) on(t time.Duration) (earliest, latest int64) {
	d := t - b.at
	drift := b.drift(d)
	return b.earliest + int64(d) - drift, b.latest + int64(d) + drift
}

// next returns what is known once another answer is there, and whether that contradicts what
// was known, which is kept no longer than keep.
func (b *bracket) next(a answer, keep time.Duration) (known *bracket, contradicted bool) {
	n := newBracket(a, b.driftPPM)
	earliest, latest := b.on(a.to)
	// At a.to the appliance's earliest end is not after the case that the interval was made first,
	// and its latest not before the case that it was made last.
	most := n.earliest + int64(n.trip) + n.drift(n.trip)
	least := int64(a.interval.Latest)
	switch {
	case earliest > most || latest < least:
		return n, true
	case latest-earliest < n.latest-n.earliest && a.to-b.at <= keep:
		return b, false
	}
	return n, false
}
