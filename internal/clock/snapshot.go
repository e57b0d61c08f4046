// Package clock holds the Snapshot: what is known of the time, and nothing else.
//
// One loop publishes snapshots; NTP replies, hybrid timestamps, intervals, metrics and
// status read the latest one and no other source, so that they cannot disagree. The
// package is pure: it reads no clock and does no input or output.
package clock

import (
	"math"
	"time"
)

// State is what can be claimed of a clock.
type State uint8

const (
	Unsynchronised State = iota // no error bound can be claimed
	Synchronised                // the error bound holds, from sources that are heard
	Holdover                    // the error bound holds and grows: the sources are gone
)

// String returns the word that operators see.
func (s State) String() string {
	switch s {
	case Synchronised:
		return "synchronised"
	case Holdover:
		return "holdover"
	default:
		return "unsynchronised"
	}
}

// Mode is how the served clock relates to the system clock.
type Mode uint8

const (
	Follow  Mode = iota // the system clock, which somebody else steers
	Steer               // the system clock, which we steer
	Virtual             // a clock of our own over the monotonic clock
)

// String returns the word that stands in the configuration.
func (m Mode) String() string {
	switch m {
	case Steer:
		return "steer"
	case Virtual:
		return "virtual"
	default:
		return "follow"
	}
}

// Leap is the leap indicator of RFC 5905.
type Leap uint8

const (
	LeapNone    Leap = iota
	LeapInsert       // the last minute of the month has 61 seconds
	LeapDelete       // it has 59
	LeapUnknown      // not synchronised
)

const (
	// StratumUnsynchronised is the stratum of a clock that follows nothing. It goes out
	// as 0 on the wire.
	StratumUnsynchronised = 16
	// GrowthDefaultPPM is how fast the dispersion of a clock grows whose skew has not been
	// measured: PHI of RFC 5905.
	GrowthDefaultPPM = 15
	// GrowthMinPPM bounds what a measured skew can promise.
	GrowthMinPPM = 1
)

// RefIDLocal identifies a clock that follows nothing but itself.
func RefIDLocal() [4]byte { return [4]byte{127, 127, 1, 1} }

// RefIDKernel identifies a clock that the kernel says somebody steers.
func RefIDKernel() [4]byte { return [4]byte{127, 127, 1, 0} }

// RefIDInit is the kiss code of a clock that was never synchronised.
func RefIDInit() [4]byte { return [4]byte{'I', 'N', 'I', 'T'} }

// RefIDStep is the kiss code of a clock that no longer is.
func RefIDStep() [4]byte { return [4]byte{'S', 'T', 'E', 'P'} }

// Judgement is what is claimed of one clock at one instant, the instant of its Snapshot.
type Judgement struct {
	State  State
	Reason string // why State is what it is, one sentence for an operator
	Source string // who vouches: "chronyd", "kernel", "local", "none"

	Leap      Leap
	Stratum   uint8   // 1 to 15, or StratumUnsynchronised
	RefID     [4]byte // as on the wire
	Reference int64   // when the clock was last set or corrected, Unix nanoseconds; 0 unknown

	RootDelay      time.Duration // round trip to the reference clock
	RootDispersion time.Duration // at the instant, jitter included
	GrowthPPM      float64       // of the root dispersion
	ProviderError  time.Duration // what the operator of the source states against UTC
	ResidualOffset time.Duration // known and not yet corrected; positive: we are behind
	FrequencyPPM   float64       // of the correction in force
}

// GrowthPPM returns how fast the dispersion of a clock with the given measured skew
// grows; a negative skew stands for one that was not measured.
func GrowthPPM(skewPPM float64) float64 {
	if !(skewPPM >= 0) {
		return GrowthDefaultPPM
	}
	return max(GrowthMinPPM, 3*skewPPM)
}

// dispersionAfter returns the root dispersion age after the instant, saturating. An age
// below zero counts as none: a bound never shrinks by a clock that went back.
func (j *Judgement) dispersionAfter(age time.Duration) time.Duration {
	d := float64(j.RootDispersion) + math.Ceil(float64(max(age, 0))*j.GrowthPPM*1e-6)
	if d >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(d)
}

// errorBoundAfter is the one formula behind every claim of this project.
func (j *Judgement) errorBoundAfter(age time.Duration) time.Duration {
	e := j.ResidualOffset.Abs()
	for _, part := range [...]time.Duration{(j.RootDelay.Abs() + 1) / 2, j.ProviderError.Abs(), j.dispersionAfter(age)} {
		if e > math.MaxInt64-part {
			return math.MaxInt64
		}
		e += part
	}
	return e
}

// Map is an affine map between two clocks, as Unix nanoseconds on the To side. The zero
// Map is the identity.
type Map struct {
	From, To int64   // the same instant on either clock, nanoseconds
	Rate     float64 // how much faster To runs than From, as a fraction
}

// At returns what the To clock shows when the From clock shows ns.
func (m Map) At(ns int64) int64 {
	d := ns - m.From
	to := m.To + d
	if m.Rate != 0 {
		to += int64(float64(d) * m.Rate)
	}
	return to
}

// Snapshot is what is known of the time at one instant. It is immutable once it has been
// published, and all its methods may be called concurrently.
type Snapshot struct {
	// Time maps the monotonic clock (nanoseconds since an anchor of the process) to the
	// served UTC; Time.From is the instant of the snapshot.
	Time Map
	// Kernel maps the kernel's REALTIME stamps to the served UTC.
	Kernel Map

	Mode      Mode
	Precision int8 // log2 of seconds, measured

	Asleep time.Duration // how long the system has been suspended since it booted
	Steps  uint64        // how often the system clock was seen to jump

	// The served UTC jumps by LeapBy when the monotonic clock reads LeapAt: a second back where
	// one is inserted, a second forward where one is deleted. 0: no leap is near.
	LeapAt time.Duration
	LeapBy time.Duration
	// Unabsorbed is how far smooth time, which absorbs leap seconds slowly, is ahead of the
	// served UTC at the instant.
	Unabsorbed time.Duration

	// Judgement is of the served clock; System is of the system clock, which stamps what
	// other programs write, and is the same clock except in virtual mode.
	Judgement
	System Judgement
}

// Mono returns the instant of the snapshot on the monotonic clock.
func (s *Snapshot) Mono() time.Duration { return time.Duration(s.Time.From) }

// UTC returns the served time at the monotonic reading mono, Unix nanoseconds.
func (s *Snapshot) UTC(mono time.Duration) int64 {
	utc := s.Time.At(int64(mono))
	if s.LeapBy != 0 && mono >= s.LeapAt {
		utc += int64(s.LeapBy)
	}
	return utc
}

// FromKernel returns the served time of a stamp that the kernel took of its REALTIME
// clock, both Unix nanoseconds.
func (s *Snapshot) FromKernel(stamp int64) int64 { return s.Kernel.At(stamp) }

// RootDispersion returns the root dispersion at the monotonic reading mono.
func (s *Snapshot) RootDispersion(mono time.Duration) time.Duration {
	return s.dispersionAfter(mono - s.Mono())
}

// ErrorBound returns E, the largest distance between the served time and UTC at the
// monotonic reading mono: |residual offset| + root delay/2 + root dispersion + provider
// error. Where nothing can be claimed it is the largest duration there is.
func (s *Snapshot) ErrorBound(mono time.Duration) time.Duration {
	if !s.Claims() {
		return math.MaxInt64
	}
	return s.errorBoundAfter(mono - s.Mono())
}

// SystemErrorBound is ErrorBound of the system clock.
func (s *Snapshot) SystemErrorBound(mono time.Duration) time.Duration {
	if s.System.State == Unsynchronised {
		return math.MaxInt64
	}
	return s.System.errorBoundAfter(mono - s.Mono())
}

// Claims reports whether an error bound can be claimed at all.
func (s *Snapshot) Claims() bool { return s.State != Unsynchronised }

// Serves reports whether the time can be handed out: with an error bound, or as the
// local clock that a site has agreed upon.
func (s *Snapshot) Serves() bool { return s.Stratum < StratumUnsynchronised }
