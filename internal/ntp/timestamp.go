package ntp

import (
	"math"
	"time"
)

const (
	// unixToNTP is the number of seconds from 1900-01-01 to 1970-01-01: seventy
	// years, of which seventeen were leap years.
	unixToNTP = (70*365 + 17) * 86400

	nsPerSecond = 1_000_000_000
)

// Timestamp is an instant as on the wire: seconds since the start of its era in
// the upper 32 bits, fraction in the lower. One unit is 2^-32 s, about 0.23 ns.
// Eras last 2^32 s and are not part of it: era 0 began on 1900-01-01, era 1
// begins at 2036-02-07 06:28:16 UTC. Zero means unknown.
//
// Integer order is not the order of time: compare by Sub.
//
// Source: RFC 5905, section 6.
type Timestamp uint64

// FromUnix returns the timestamp of an instant given in nanoseconds since
// 1970-01-01 UTC, rounded to nearest: Unix then restores every nanosecond,
// which it would not if either truncated. The result is never 0, because 0
// means unknown: the one instant of an era that would be 0 is given as 1.
// Source: RFC 5905, section 6.
func FromUnix(ns int64) Timestamp {
	sec := ns / nsPerSecond
	rest := ns % nsPerSecond
	if rest < 0 {
		rest += nsPerSecond
		sec--
	}
	frac := (uint64(rest)<<32 + nsPerSecond/2) / nsPerSecond // below 2^32 for every rest
	return (Timestamp(uint64(sec+unixToNTP)<<32 | frac)).NonZero()
}

// NonZero returns t, and the least timestamp after the era's start for 0.
func (t Timestamp) NonZero() Timestamp {
	if t == 0 {
		return 1
	}
	return t
}

// Unix returns the instant in nanoseconds since 1970-01-01 UTC, in the era that
// puts its second into [pivot − 2^31 s, pivot + 2^31 s). The pivot is Unix
// nanoseconds too; within 68 years of the ends of int64 (1677 and 2262) the
// result saturates. A zero timestamp is decoded like any other; the
// caller knows whether zero means unknown where it came from.
// Source: RFC 5905, section 6.
func (t Timestamp) Unix(pivot int64) int64 {
	pivotSec := pivot / nsPerSecond
	if pivot%nsPerSecond < 0 {
		pivotSec--
	}
	// The difference of the two seconds modulo 2^32, read as signed, is the
	// distance from the pivot.
	sec := pivotSec + int64(int32(uint32(t>>32)-uint32(pivotSec+unixToNTP)))
	ns := int64((uint64(uint32(t))*nsPerSecond + 1<<31) >> 32) // may be a whole second
	switch {
	case sec >= math.MaxInt64/nsPerSecond:
		return math.MaxInt64
	case sec <= math.MinInt64/nsPerSecond:
		return math.MinInt64
	}
	return sec*nsPerSecond + ns
}

// Sub returns t−u, correct across an era change as long as the two instants
// lie within 68 years of each other. It rounds toward minus infinity.
// Source: RFC 5905, section 6.
func (t Timestamp) Sub(u Timestamp) time.Duration {
	d := int64(t - u)
	return time.Duration(d>>32*nsPerSecond + int64(uint32(d))*nsPerSecond>>32)
}

// Before reports whether t lies before u, under the same assumption as Sub.
func (t Timestamp) Before(u Timestamp) bool { return int64(t-u) < 0 }

// Randomize replaces the bits of the fraction that are below the precision by
// bits of random: they carry no information, and RFC 5905 asks for unbiased
// noise there so that nobody mistakes them for any. The result is never 0.
// Source: RFC 5905, section 6.
func (t Timestamp) Randomize(p Precision, random uint64) Timestamp {
	mask := p.noise()
	return (t&^mask | Timestamp(random)&mask).NonZero()
}
