package sysclock

import (
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

// Actuator is a clock that can be steered: the kernel's, or one of our own. Whoever steers
// it decides; it does what it is told, or says why it cannot, and then nothing has changed
// unless it says so. It is used by one goroutine at a time.
//
// The rate of the clock is told against its nominal rate, at which it runs without any
// correction, and in millionths (ppm): at 100 ppm it gains 100 µs in every second of the
// local timeline, as far as the hardware keeps to its nominal rate. What is told is the
// total, a slew that is to be worn off included. The sign is that of every offset: positive
// makes the clock go forward, faster.
type Actuator interface {
	// Read reads the local timeline and the steered clock, as Unix nanoseconds, at one
	// instant. It has no effect.
	Read() (local time.Duration, clock int64, err error)
	// SetFrequency sets the rate of the clock from now on, without a jump. It is kept as
	// closely as the clock can, which is to 0.001 ppm or better. A rate beyond
	// FrequencyMaxPPM, or one that is no number, is an error and changes nothing.
	SetFrequency(ppm float64) error
	// Step adds by to the clock at once; the rate stays.
	Step(by time.Duration) error
	// Tell hands on what is known of the clock, to whoever asks the clock itself. It is
	// called once a second, and after every step.
	Tell(Telling) error
	// Close leaves the clock to itself in a sane state: at the base frequency that it was
	// last told, with no slew running. Nothing may be called after it but Close.
	Close() error
	// FrequencyMaxPPM is the largest rate, in either direction, that SetFrequency accepts.
	// It is a constant of the clock, above 0.
	FrequencyMaxPPM() float64
}

// Telling is what is known of a steered clock.
type Telling struct {
	Synchronised bool
	// MaxError is the error bound, and EstError what is expected; not below 0. They are
	// valid only where Synchronised is set.
	MaxError, EstError time.Duration
	// Leap is the leap second at the end of this UTC day, if there is one. It is announced
	// no earlier than on that day.
	Leap clock.Leap
	// TAI is TAI − UTC in seconds; 0: not known.
	TAI int
	// BasePPM is the part of the rate that corrects the hardware, without any slew: what the
	// clock is left at.
	BasePPM float64
}
