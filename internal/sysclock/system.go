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
	// Kernel asks for the state of the clock; ErrUnsupported where there is none.
	Kernel() (Kernel, error)
	// WatchSteps calls stepped soon after each jump of the wall clock until ctx ends.
	// It returns ErrUnsupported at once where jumps have to be found by polling.
	WatchSteps(ctx context.Context, stepped func()) error
}

// Host is the System of this machine.
type Host struct {
	anchor time.Time
	sleep  sleepMeter
}

// NewHost returns the System of this machine. The monotonic clock counts from here.
func NewHost() *Host { return &Host{anchor: time.Now()} }

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

// Read looks at the monotonic clock before and after the wall clock, several times, and
// returns the tightest pair.
func (h *Host) Read() Reading {
	var best Reading
	narrowest := time.Duration(math.MaxInt64)
	for range readTries {
		before := h.Mono()
		unix := time.Now().UnixNano()
		width := h.Mono() - before
		if width < narrowest {
			narrowest = width
			best = Reading{Mono: before + width/2, Unix: unix}
		}
	}
	best.Asleep = h.asleep()
	return best
}

// Precision measures the precision of the wall clock, as log2 of seconds.
func Precision() int8 {
	return int8(ntp.MeasurePrecision(func() int64 { return time.Now().UnixNano() }))
}
