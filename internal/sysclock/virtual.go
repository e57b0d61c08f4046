package sysclock

import (
	"fmt"
	"math"
	"time"
)

// virtualMaxPPM is the largest rate of a Virtual: far below the one at which it would stand
// still, and the same as the kernel's.
const virtualMaxPPM = 100_000

// Virtual is a clock of our own, a line over the local timeline. It needs no privilege and
// touches no other clock. It goes on while the machine sleeps, as the local timeline does.
// Not for concurrent use.
type Virtual struct {
	system System
	// The line: at the local instant, the clock shows unix and fraction nanoseconds, where
	// 0 ≤ fraction < 1. What is far from it is computed in integers, and only the part that
	// the rate makes of the distance in floating point: of a month at 100 ppm that is right
	// to a ten-thousandth of a nanosecond. The fraction keeps the error of the many lines
	// that follow each other from adding up.
	local    time.Duration
	unix     int64
	fraction float64
	ppm      float64 // rate to the local timeline, less 1
}

// NewVirtual returns a clock that shows what the system clock does now, and runs at the
// rate of the local timeline.
func NewVirtual(system System) *Virtual {
	v := &Virtual{system: system}
	v.local, v.unix = system.Local()
	return v
}

// at is what the clock shows at the local instant.
func (v *Virtual) at(local time.Duration) (unix int64, fraction float64) {
	d := local - v.local
	whole, rest := math.Modf(float64(d)*v.ppm/1e6 + v.fraction)
	if rest < 0 {
		whole, rest = whole-1, rest+1
	}
	return v.unix + int64(d) + int64(whole), rest
}

// Read reads the local timeline and the clock. It does not fail.
func (v *Virtual) Read() (local time.Duration, clock int64, err error) {
	local, _ = v.system.Local()
	clock, _ = v.at(local)
	return local, clock, nil
}

// SetFrequency begins a new line where the last one has come to.
func (v *Virtual) SetFrequency(ppm float64) error {
	if !(math.Abs(ppm) <= virtualMaxPPM) { // no number is refused, too
		return fmt.Errorf("set the virtual clock's frequency: %v ppm is beyond %d ppm", ppm, virtualMaxPPM)
	}
	local, _ := v.system.Local()
	v.unix, v.fraction = v.at(local)
	v.local, v.ppm = local, ppm
	return nil
}

// Step moves the clock. It does not fail.
func (v *Virtual) Step(by time.Duration) error {
	v.unix += int64(by)
	return nil
}

// Tell does nothing: nobody asks this clock but whoever steers it.
func (v *Virtual) Tell(Telling) error { return nil }

// Close does nothing: the clock ends with its owner.
func (v *Virtual) Close() error { return nil }

// FrequencyMaxPPM is a tenth of the rate of the local timeline.
func (v *Virtual) FrequencyMaxPPM() float64 { return virtualMaxPPM }
