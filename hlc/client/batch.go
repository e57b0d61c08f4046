package client

import (
	"time"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
)

// observeMax is how many timestamps the appliance observes in one batch.
const observeMax = 1024

// batch is what several callers ask of the appliance together. Callers join it until it is
// sent; whoever asked waits for done and then takes its part. What a caller leaves behind who
// gave up is lost, and no loss.
type batch struct {
	born     time.Time
	count    int // timestamps
	observe  []hlc.Timestamp
	interval bool

	// Since it was sent:
	seen hlc.Timestamp // what it carried along
	at   *address

	done     chan struct{} // closed when what follows is there
	err      error         // of all of it: no answer came
	first    hlc.Timestamp
	nowErr   error
	observed []observed
	now      hlc.Interval
	timeErr  error
}

// observed is what came of a timestamp to observe.
type observed struct {
	ts  hlc.Timestamp
	err error
}

// fits reports whether a call can join.
func (b *batch) fits(a ask) bool {
	return b.count+a.count <= hlc.CountMax && (a.observe == 0 || len(b.observe) < observeMax)
}

// ask is one call.
type ask struct {
	count    int
	observe  hlc.Timestamp // 0: none
	interval bool
}

// join adds a call and returns the index of its part.
func (b *batch) join(a ask) (at int) {
	switch {
	case a.interval:
		b.interval = true
	case a.observe != 0:
		at = len(b.observe)
		b.observe = append(b.observe, a.observe)
	default:
		at = b.count
		b.count += a.count
	}
	return at
}

// request is the batch as it is sent to an address, after seen.
func (b *batch) request(at *address, seen hlc.Timestamp) *rpc.SessionRequest {
	b.at, b.seen = at, seen
	r := &rpc.SessionRequest{Seen: uint64(seen), Count: int64(b.count), Interval: b.interval}
	for _, o := range b.observe {
		r.Observe = append(r.Observe, uint64(o))
	}
	return r
}

// take reads the answer. It returns the greatest timestamp in it that was issued for this
// batch. An answer that is not greater than what the batch carried along is an error.
func (b *batch) take(r *rpc.SessionResponse) (greatest hlc.Timestamp) {
	later := func(ts, than hlc.Timestamp) error {
		if ts <= than {
			return &BackwardsError{Seen: than, Got: ts}
		}
		return nil
	}
	if b.count > 0 {
		if b.nowErr = fault(r.Fault); b.nowErr == nil {
			b.first = hlc.Timestamp(r.First)
			b.nowErr = later(b.first, b.seen)
		}
		if b.nowErr == nil {
			greatest = b.first + hlc.Timestamp(b.count) - 1
		}
	}
	for i, o := range b.observe {
		if i >= len(r.Observed) {
			b.observed = append(b.observed, observed{err: errShort})
			continue
		}
		ts := hlc.Timestamp(r.Observed[i].Timestamp)
		err := fault(r.Observed[i].Fault)
		if err == nil {
			err = later(ts, max(o, b.seen))
		}
		if err == nil {
			greatest = max(greatest, ts)
		}
		b.observed = append(b.observed, observed{ts, err})
	}
	if b.interval {
		b.now = hlc.Interval{Earliest: hlc.Timestamp(r.Earliest), Latest: hlc.Timestamp(r.Latest)}
		if b.timeErr = fault(r.IntervalFault); b.timeErr == nil {
			b.timeErr = later(b.now.Latest, b.seen)
		}
	}
	return greatest
}
