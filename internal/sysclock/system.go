// Package sysclock reads the system clock, and what is known of it: from the kernel, and
// from the chronyd that steers it.
//
// A driver turns that into snapshots. Follow is the one for a clock that somebody else
// steers, or nobody; it needs no privilege and never writes a clock. Drivers that steer
// the kernel's clock, or a clock of their own, are to stand beside it: whoever loops over
// Poll publishes what it returns and does not know which driver that is.
package sysclock

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/ntp"
)

// ErrUnsupported reports something that this system cannot tell.
var ErrUnsupported = errors.New("sysclock: not available on this system")

// Driver makes snapshots. Poll is called by one goroutine at a time, about once a second
// and after every jump that System reported, which set tells; it returns within a second,
// always with a snapshot.
type Driver interface {
	Poll(ctx context.Context, set bool) *clock.Snapshot
}

// Reading is one look at the clocks, taken at one instant.
type Reading struct {
	Mono   time.Duration // monotonic clock, since an anchor of the process
	Unix   int64         // the system's wall clock, Unix nanoseconds
	Local  time.Duration // the local timeline, since the same anchor
	Asleep time.Duration // suspended since boot; 0 where the system does not tell
}

// Kernel is what the kernel says of its clock.
type Kernel struct {
	Synchronised bool          // somebody asserts that the clock is synchronised
	MaxError     time.Duration // the bound that was asserted, grown since; 0: none was measured
	Leap         clock.Leap
	FrequencyPPM float64       // at which the clock is being corrected, slews included
	Residual     time.Duration // still to be corrected; positive: the clock is behind
}

// System is what the drivers need of the operating system. Tests replace it.
type System interface {
	// Mono reads the monotonic clock; it may be called concurrently.
	Mono() time.Duration
	// Read looks at all clocks at once. It is called by one goroutine at a time.
	Read() Reading
	// Glance reads the monotonic clock, and the wall clock as Unix nanoseconds, right to
	// the time of a clock read unless the scheduler comes in between. It may be called
	// concurrently.
	Glance() (mono time.Duration, unix int64)
	// Local reads the local timeline, and the wall clock as Unix nanoseconds, at one
	// instant. The local timeline is what samples live on: nobody steers it, so no slew and
	// no step ever moves what is held on it. It counts the time asleep, too, and starts at
	// about 0 when the process does. It may be called concurrently.
	Local() (local time.Duration, unix int64)
	// Kernel asks for the state of the clock; ErrUnsupported where there is none.
	Kernel() (Kernel, error)
	// WatchSteps calls stepped soon after each jump of the wall clock until ctx ends.
	// It returns ErrUnsupported at once where jumps have to be found by polling.
	WatchSteps(ctx context.Context, stepped func()) error
}

// Host is the System of this machine.
type Host struct {
	anchor    time.Time
	rawAnchor time.Duration // what the clock that nobody steers showed at the anchor
	rawless   bool          // there is no such clock, and the monotonic one takes its place

	mu     sync.Mutex // guards the meter
	sleep  sleepMeter
	before time.Duration // asleep before the anchor
}

// NewHost returns the System of this machine. The monotonic clock and the local timeline
// count from here.
func NewHost() *Host {
	h := &Host{anchor: time.Now()}
	raw, err := rawClock()
	h.rawAnchor, h.rawless = raw, err != nil
	h.before = h.asleep()
	return h
}

// Mono reads the monotonic clock.
func (h *Host) Mono() time.Duration { return time.Since(h.anchor) }

// Glance reads both clocks once.
func (h *Host) Glance() (mono time.Duration, unix int64) {
	now := time.Now()
	return now.Sub(h.anchor), now.UnixNano()
}

// readTries is how many readings compete: the one that the scheduler disturbed least
// wins, which makes the pair right to the time of one clock read.
const readTries = 5

// readGood is how close together a pair has to be for no other to be tried: half of that is
// less than what any network can tell.
const readGood = 1500 * time.Nanosecond

// tightest reads a clock before and after another one, several times, and returns the
// pair that is closest together.
func tightest(outer func() time.Duration, inner func() int64) (at time.Duration, read int64) {
	narrowest := time.Duration(math.MaxInt64)
	for range readTries {
		before := outer()
		middle := inner()
		if width := outer() - before; width < narrowest {
			narrowest, at, read = width, before+width/2, middle
		}
		if narrowest <= readGood {
			break
		}
	}
	return at, read
}

// Read looks at all clocks at once: each is paired with the monotonic clock, which nobody
// sets, so that a step in between cannot tear them apart.
func (h *Host) Read() Reading {
	var r Reading
	r.Asleep = h.awake(func() {
		r.Mono, r.Unix = tightest(h.Mono, func() int64 { return time.Now().UnixNano() })
		mono, raw := tightest(h.Mono, func() int64 { return int64(h.raw()) })
		r.Local = time.Duration(raw) + r.Mono - mono
	})
	r.Local += r.Asleep - h.before
	return r
}

// Local reads the local timeline and the wall clock.
func (h *Host) Local() (local time.Duration, unix int64) {
	asleep := h.awake(func() { local, unix = tightest(h.raw, wallClock) })
	return local + asleep - h.before, unix
}

// raw reads the clock that nobody steers, since the anchor.
func (h *Host) raw() time.Duration {
	if h.rawless {
		return h.Mono()
	}
	raw, err := rawClock()
	if err != nil {
		return h.Mono() // it was there at the start; clocks do not go away
	}
	return raw - h.rawAnchor
}

// awakeTries is how many suspends in a row may come between two readings.
const awakeTries = 3

// awake lets look read clocks, again when the machine slept while it did, and returns how
// long it has been suspended since boot.
func (h *Host) awake(look func()) time.Duration {
	h.mu.Lock()
	asleep := h.sleep.asleep
	h.mu.Unlock()
	for range awakeTries {
		look()
		again := h.asleep()
		if again == asleep {
			break
		}
		asleep = again
	}
	return asleep
}

// Precision measures the precision of the wall clock, as log2 of seconds.
func Precision() int8 {
	return int8(ntp.MeasurePrecision(func() int64 { return time.Now().UnixNano() }))
}
