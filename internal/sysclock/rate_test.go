package sysclock

import (
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/leap"
)

// TestRateOfTwoLooks: two looks that follow each other at once, as after a step of the system
// clock, say nothing of the rate of the monotonic clock: a reading is right to a microsecond.
func TestRateOfTwoLooks(t *testing.T) {
	w := newWorkshop(t, clock.Virtual, new(leap.Table), time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), 0, 37)
	w.run(60)
	w.pass(20 * time.Microsecond)
	w.system.reading.Mono += 500 * time.Nanosecond // as well as a reading goes
	w.poll(true)
	w.system.reading.Mono -= 500 * time.Nanosecond
	s := w.poll(true)
	w.pass(900 * time.Millisecond)
	if off := w.off(s); off.Abs() > s.ErrorBound(w.system.reading.Mono) || off.Abs() > 10*time.Microsecond {
		t.Errorf("before the next look the clock is off by %v and claims to be within %v", off, s.ErrorBound(w.system.reading.Mono))
	}
	// A clock that is slewed all the time is known all the same.
	for range 5 {
		w.pass(time.Second)
		w.system.reading.Mono += 300 * time.Microsecond
		w.system.reading.Unix += int64(300 * time.Microsecond)
		s = w.poll(false)
	}
	if rate := s.Time.Rate; rate > (37-300)*1e-6+5e-6 || rate < (37-300)*1e-6-5e-6 {
		t.Errorf("the rate of the monotonic clock is taken for %v", rate)
	}
}
