package hlc

// The one file of this package that reads a clock.

import "time"

// Monotonic returns a function that tells the time since this call on the system's
// monotonic clock, which is slewed together with the wall clock and never stepped. It
// may be called concurrently.
func Monotonic() func() time.Duration {
	anchor := time.Now()
	return func() time.Duration { return time.Since(anchor) }
}
