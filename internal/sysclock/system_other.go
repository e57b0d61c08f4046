//go:build !linux

package sysclock

import (
	"context"
	"time"
)

func (h *Host) asleep() time.Duration { return h.sleep.asleep } // never sleeps, as far as it is known

// rawClock returns ErrUnsupported: the monotonic clock takes its place.
func rawClock() (time.Duration, error) { return 0, ErrUnsupported }

func wallClock() int64 { return time.Now().UnixNano() }

// Kernel returns ErrUnsupported: this system does not tell.
func (h *Host) Kernel() (Kernel, error) { return Kernel{}, ErrUnsupported }

// WatchSteps returns ErrUnsupported: jumps are found by polling.
func (h *Host) WatchSteps(context.Context, func()) error { return ErrUnsupported }
