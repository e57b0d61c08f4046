package ntp

import (
	"math"
	"time"
)

// Short is a span of time as in the root delay and root dispersion fields:
// unsigned, in units of 2^-16 s, about 15 µs, up to 65,536 s.
// Source: RFC 5905, section 6.
type Short uint32

// ShortMax is the longest span, which stands for everything longer too.
const ShortMax Short = math.MaxUint32

// MaxDispersion is the dispersion that stands for "unknown". A server whose
// root distance reaches it proves nothing. Source: RFC 5905, MAXDISP.
const MaxDispersion = 16 * time.Second

// ShortOf returns the shortest span of the wire that is at least d: a bound
// must not be under-reported. Negative spans give 0, and spans beyond the range
// saturate at ShortMax.
func ShortOf(d time.Duration) Short {
	switch {
	case d <= 0:
		return 0
	case d >= 1<<16*time.Second:
		return ShortMax
	}
	return Short(min((uint64(d)<<16+nsPerSecond-1)/nsPerSecond, uint64(ShortMax)))
}

// Duration returns the span, rounded up to a nanosecond.
func (s Short) Duration() time.Duration {
	return time.Duration((uint64(s)*nsPerSecond + 1<<16 - 1) >> 16)
}
