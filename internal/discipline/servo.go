package discipline

// The servo: from where a clock should be, to how it is to be corrected.
//
// What the clock shows and what it should show are both known to the nanosecond, for the
// estimate lives on a timeline that the correction does not touch: there is no noise in this
// loop, no dead time, nothing to be tuned against them. The filter has done that work. So the
// servo only has to be gentle: it takes away a share of what is left each second, never faster
// than the configured slew, and a correction that is late by seconds still does not overshoot.
//
// A clock is stepped only in the first updates after a start or a wake-up, when what it shows
// means nothing yet, and when an operator says so.

import (
	"math"
	"time"
)

const (
	// servoTime is in how long the servo takes away all but 1/e of what is left. A loop that
	// stalls for as long does not overshoot.
	servoTime = 8 * time.Second
)

// ServoOptions are the limits of a servo.
type ServoOptions struct {
	// StepThreshold is the least correction that is a step, and StepUpdates the number of
	// updates after a start in which there may be one. A threshold of 0 never steps.
	StepThreshold time.Duration
	StepUpdates   uint64
	SlewMaxPPM    float64 // fastest correction of the phase
	RateMaxPPM    float64 // fastest that the clock can be made to run, slew included
}

// Correction is what is to be done to a clock.
type Correction struct {
	Step    time.Duration // at once; 0: none
	BasePPM float64       // the rate that keeps the clock right, against the local timeline
	SlewPPM float64       // what removes the rest, on top of it
}

// Servo decides corrections. Not for concurrent use; the zero value never corrects anything.
type Servo struct {
	options ServoOptions
	began   uint64 // updates at the start
	started bool
	asked   bool // an operator wants a step
}

// NewServo returns a servo that may step in the first updates.
func NewServo(o ServoOptions) *Servo { return &Servo{options: o} }

// Set changes the limits from the next correction on.
func (s *Servo) Set(o ServoOptions) { s.options = o }

// Restart allows steps as after a start: the machine slept, and its clock means nothing.
func (s *Servo) Restart() { s.started = false }

// StepNow makes the next correction a step, however small: an operator said so.
func (s *Servo) StepNow() { s.asked = true }

// Correct returns what to do with a clock that is behind the estimate by that much, at a
// true rate of 1 + frequency to the local timeline, after so many updates of the estimate.
func (s *Servo) Correct(behind time.Duration, frequency float64, updates uint64) Correction {
	if !s.started {
		s.started, s.began = true, updates
	}
	c := Correction{BasePPM: clamp(frequency*1e6, s.options.RateMaxPPM)}
	early := updates-s.began < s.options.StepUpdates && s.options.StepThreshold > 0 && behind.Abs() >= s.options.StepThreshold
	if early || s.asked {
		c.Step, s.asked = behind, false
		return c
	}
	slew := clamp(float64(behind)/float64(servoTime)*1e6, s.options.SlewMaxPPM)
	c.SlewPPM = clamp(c.BasePPM+slew, s.options.RateMaxPPM) - c.BasePPM
	return c
}

func clamp(x, limit float64) float64 { return math.Max(-limit, math.Min(limit, x)) }
