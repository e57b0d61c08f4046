package client

import (
	"sync/atomic"

	"github.com/truechimer/truechimer/hlc"
)

// seen is the greatest timestamp that a client has seen. What was issued for it is kept apart
// from what it read: an event that was appended before a rebase can be from the future, and
// must not keep the client from the present for as long. All methods may be called
// concurrently.
type seen struct{ issued, read atomic.Uint64 }

// last is what a call carries along.
func (s *seen) last() hlc.Timestamp {
	return hlc.Timestamp(max(s.issued.Load(), s.read.Load()))
}

// forget drops what was only read, where that is why at was refused, and reports whether the
// call may be repeated without it.
func (s *seen) forget(at hlc.Timestamp) bool {
	if uint64(at) <= s.issued.Load() {
		return false
	}
	s.read.CompareAndSwap(uint64(at), 0) // else somebody has read on, and meets the same fate
	return true
}
