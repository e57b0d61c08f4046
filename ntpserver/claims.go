package ntpserver

import (
	"math"
	"math/bits"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
)

// Claims is what a server says of its clock, and all it says. Instants are
// nanoseconds since 1970-01-01. A Claims that was published must not be changed;
// publish another one.
//
// The zero Claims is a clock that was never set.
type Claims struct {
	// Leap is the leap indicator: 0 none, 1 the last minute of the month of At
	// has 61 seconds, 2 it has 59, 3 unsynchronised. Clients hear 1 or 2 in the
	// last day of that month only.
	Leap uint8

	// Stratum is the distance from a reference clock, 1 to 15. Anything else is
	// unsynchronised.
	Stratum uint8

	// RefID is the source: at stratum 1 the ASCII name of the reference clock,
	// above it the source's IPv4 address or the first four octets of the MD5 of
	// its IPv6 address. While unsynchronised it may be STEP (the clock was stepped and
	// is being set again); anything else becomes INIT.
	RefID [4]byte

	// Precision is log2 of the seconds that the clock resolves, such as −25;
	// see MeasurePrecision. Bits below it are random in every reply. 0 means that it
	// was not measured and counts as −20, about a microsecond.
	Precision int8

	// RootDelay is the round trip to the reference clock.
	RootDelay time.Duration

	// RootDispersion is the error bound at At, without half the root delay.
	RootDispersion time.Duration

	// GrowthPPM is how fast the root dispersion grows from At on, in
	// millionths. 0, and what is not a rate, counts as 15, the figure of RFC
	// 5905. It is rounded up to a billionth.
	GrowthPPM float64

	// At is the instant of UTC to which RootDispersion belongs.
	At int64

	// Reference is the instant of UTC at which the clock was last set or
	// corrected; 0 means unknown.
	Reference int64

	// KernelAt, UTCAt and RatePPM map the kernel's clock to the UTC that is
	// served: at KernelAt it is UTCAt, and from there on (and before) UTC runs
	// faster than the kernel's clock by RatePPM millionths. All zero is the
	// identity: the kernel's clock is the one that is served. The rate lies
	// between −100,000 and 100,000.
	KernelAt, UTCAt int64
	RatePPM         float64
}

const (
	// precisionDefault is what a clock resolves of which nothing is said: the
	// coarsest kernel clock in use does. The alternative is to take the 0 of a
	// forgotten field for a second, and to serve random fractions.
	precisionDefault ntp.Precision = -20

	// growthDefaultPPM is PHI, the frequency tolerance of RFC 5905.
	growthDefaultPPM = 15

	// ratePPMMax bounds the map's rate: a tenth, far beyond every oscillator,
	// and small enough that the map never runs backwards.
	ratePPMMax = 100_000

	ppbPerPPM   = 1000
	nsPerSecond = uint64(time.Second)
)

// FromKernel returns the UTC that is served at the instant at which the
// kernel's clock showed stamp. It never decreases while stamp increases. A rate
// out of range counts as 0.
func (c *Claims) FromKernel(stamp int64) int64 {
	d := stamp - c.KernelAt
	return c.UTCAt + d + c.gain(d)
}

// gain returns d times the rate, toward zero. It multiplies integers: a float64
// holds a span of more than 104 days in steps, and at such a step the map
// would run backwards.
func (c *Claims) gain(d int64) int64 {
	if c.RatePPM == 0 || !c.rateValid() {
		return 0
	}
	const scale = 1 << 64 // so that the product's upper word is the gain
	rate := uint64(math.Abs(c.RatePPM) / 1e6 * scale)
	negative := c.RatePPM < 0
	span := uint64(d)
	if d < 0 {
		span, negative = -span, !negative
	}
	hi, _ := bits.Mul64(span, rate)
	if negative {
		return -int64(hi)
	}
	return int64(hi)
}

// rateValid reports whether the map's rate is a number within its range.
func (c *Claims) rateValid() bool { return math.Abs(c.RatePPM) <= ratePPMMax }

// MeasurePrecision returns the precision to claim for the clock that read
// returns in nanoseconds, by reading it some hundred times.
func MeasurePrecision(read func() int64) int8 { return int8(ntp.MeasurePrecision(read)) }

// synchronised reports whether the claims make sense and claim anything.
func (c *Claims) synchronised() bool {
	return c.Leap < uint8(ntp.LeapUnsynchronised) &&
		c.Stratum > 0 && c.Stratum < ntp.StratumMax &&
		c.RootDelay >= 0 && c.RootDispersion >= 0 &&
		c.rateValid()
}

// header returns the fields of a reply that do not depend on its request, with
// the root dispersion as it is at At.
func (c *Claims) header() ntp.Header {
	h := ntp.Header{
		Leap:           ntp.Leap(c.Leap),
		Mode:           ntp.ModeServer,
		Stratum:        c.Stratum,
		Precision:      ntp.Precision(c.Precision),
		RootDelay:      ntp.ShortOf(c.RootDelay),
		RootDispersion: ntp.ShortOf(c.RootDispersion),
		RefID:          ntp.RefIDFromASCII(string(c.RefID[:])),
	}
	if h.Precision == 0 {
		h.Precision = precisionDefault
	}
	if c.Reference != 0 {
		h.Reference = ntp.FromUnix(c.Reference)
	}
	if !c.synchronised() {
		h.Leap = ntp.LeapUnsynchronised
		h.Stratum = 0
		if h.RefID != ntp.KissSTEP {
			h.RefID = ntp.KissINIT
		}
	}
	return h
}

// dispersion returns the root dispersion at At, in nanoseconds. A clock that is
// not synchronised has no bound that is less than the largest.
func (c *Claims) dispersion() uint64 {
	if c.synchronised() {
		return uint64(c.RootDispersion)
	}
	return uint64(max(c.RootDispersion, ntp.MaxDispersion))
}

// growthPPB returns the growth of the dispersion in billionths, rounded up.
func (c *Claims) growthPPB() uint64 {
	growth := c.GrowthPPM
	if !(growth > 0) {
		growth = growthDefaultPPM
	}
	return uint64(min(math.Ceil(growth*ppbPerPPM), 1<<62))
}
