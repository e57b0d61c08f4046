// Package discipline turns what many sources say into one estimate of the time, and an
// estimate into corrections of a clock.
//
// Samples live on the local timeline, a clock that nobody steers, so that no correction
// ever touches a sample that is held. What the sources say is on a leap-free scale. The
// package is pure: time is an argument, nothing is read and nothing is started. A bare
// float64 is seconds, or a fraction where it is a rate.
package discipline

import (
	"math"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

// SourceID names a source of a Discipline.
type SourceID int

// Sample is one exchange with a source.
type Sample struct {
	// Local is the middle of the exchange on the local timeline.
	Local time.Duration
	// Remote is what the source's clock showed then: nanoseconds on the leap-free scale.
	Remote int64
	// Delay is the round trip without the source's own time: above 0, at least what the
	// clocks can tell apart.
	Delay time.Duration
	// Dispersion is what the clocks cannot resolve and may have drifted during the exchange.
	Dispersion time.Duration

	// What the source claims of itself in this reply.
	RootDelay, RootDispersion time.Duration
	Stratum                   uint8 // 1 to 15
	Leap                      clock.Leap
	RefID                     [4]byte
	Smeared                   bool // it says that it is smearing a leap second now
}

// SourceOptions is what an operator says of a source.
type SourceOptions struct {
	Name string // for reasons
	// RefID is how a clock that follows this source names it.
	RefID [4]byte
	// Smears tells that its operator spreads leap seconds over hours.
	Smears bool

	ProviderError time.Duration // of the source against UTC, as its operator states it
	Prefer        bool          // select among the preferred alone where any of them survives
	Trust         bool          // assumed to be right: what disagrees with it is wrong
	Require       bool          // nothing is selected unless such a source is among the survivors
	NoSelect      bool          // judged, never selected
}

// Status is why a source is selected, or the one reason why it is not.
type Status uint8

// The reasons, in the order in which they are looked for.
const (
	Selected     Status = iota // the system peer: the best of those that are combined
	Combined                   // a survivor that has its share in the estimate
	Waiting                    // not enough samples yet
	Unreachable                // none of its last eight polls brought an answer of use
	Alone                      // it follows nothing but its own clock, and nobody trusts it
	Distant                    // its root distance is above the limit
	Smearing                   // it smears leap seconds, and others do not
	Falseticker                // the majority disagrees with it
	NoMajority                 // no majority of the sources agrees
	Distrusted                 // a trusted source disagrees with it
	Outlier                    // farthest from the other survivors, and lost by it
	NotPreferred               // a preferred source survived
	NotSelected                // the configuration says noselect
	TooFew                     // fewer sources agree than min_sources
	Missing                    // no required source is among the survivors
)

// Agrees reports whether the majority is with a source, be it followed or not.
func (s Status) Agrees() bool {
	switch s {
	case Selected, Combined, Outlier, NotPreferred, TooFew, Missing:
		return true
	default:
		return false
	}
}

// Verdict is what became of one source.
type Verdict struct {
	ID     SourceID
	Status Status
	Weight float64 // share in the estimate, 0 to 1

	// The rest is valid when Samples is above zero.
	Samples   int           // of its filter
	Last      time.Duration // local time of its latest sample
	Remote    int64         // what its clock shows now, leap-free scale
	Offset    float64       // of the source to the combined estimate; 0 while there is none
	Deviation float64       // standard deviation of its estimated offset
	Jitter    float64       // standard deviation of one sample
	Frequency float64       // its clock's rate to the local timeline, less 1
	Skew      float64       // standard deviation of Frequency
	Distance  time.Duration // root distance now: the largest error that it can have
	Delay     time.Duration // of the sample that proves most
	Sample    Sample        // the latest
}

// Estimate is what the selected sources say together, at the local instant Local.
type Estimate struct {
	Local  time.Duration
	Remote int64 // leap-free scale
	// Frequency is the rate of the remote time to the local timeline, less 1.
	Frequency float64
	// Trend is how fast Frequency changes, per second; it fades within hours.
	Trend     float64
	Deviation float64 // standard deviation of Remote
	Skew      float64 // standard deviation of Frequency

	RootDelay      time.Duration
	RootDispersion time.Duration // all that is neither half the root delay nor ProviderError
	ProviderError  time.Duration
	GrowthPPM      float64 // of RootDispersion from Local on; itself it grows by Wander and Bend
	Wander         float64 // of the rate, per square root of a second, as a bound has it
	Bend           float64 // what Trend may be wrong by, per second, as a bound has it
	Stratum        uint8   // of a clock that follows it
	RefID          [4]byte
	Leap           clock.Leap // by majority of the survivors
	// Updated is the local time of the latest sample in it, and Updates the number of
	// estimates with a new sample so far.
	Updated time.Duration
	Updates uint64
}

// At returns what the estimate has become at a later local instant without any new sample:
// the time has gone on at the estimated rate and its trend, and the bound has grown by what is
// not known of these, and by how far the rate may have wandered meanwhile.
func (e Estimate) At(local time.Duration) Estimate {
	age := local - e.Local
	if age <= 0 {
		return e
	}
	t := age.Seconds()
	offset, rate, kept := faded(t)
	e.Local = local
	e.Remote += int64(age) + int64(nanoseconds(e.Frequency*t+e.Trend*offset))
	e.Frequency += e.Trend * rate
	e.Trend *= kept
	grows, wandered, bent := e.GrowthPPM*1e-6, confident*e.Wander, confident*e.Bend*t
	e.GrowthPPM = math.Sqrt(grows*grows+wandered*wandered*t+bent*bent) * 1e6
	e.RootDispersion = saturated(e.RootDispersion, ceil(e.GrowthPPM*1e-6*t))
	return e
}

// Selection is the judgement of all sources at one instant.
type Selection struct {
	Local time.Duration // the instant
	// Valid tells that a majority was found, and Estimate what it says.
	Valid    bool
	Estimate Estimate
	Peer     SourceID // the system peer
	Reason   string   // one sentence for an operator
	// Verdicts has one entry for each source, in the order of their IDs.
	Verdicts []Verdict
}

// Options are the rules of selection.
type Options struct {
	MinSources  int           // how many must agree; at least 1
	DistanceMax time.Duration // root distance above which a source is not selected
	// Frequency and Skew are what is known from before a restart: the rate of true time to
	// the local timeline, less 1, and its standard deviation; a Skew of 0 means nothing is.
	Frequency, Skew float64
}
