package sysclock

import (
	"math"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/ntp"
)

// unclaimedJudgement is of a clock of which nothing can be claimed, for the reason given, and
// which shows unix. synced tells that it was synchronised before. Where localStratum is not 0
// it is served all the same, as a local clock that a site agrees upon.
func unclaimedJudgement(reason string, synced bool, localStratum uint8, unix int64, precision int8) clock.Judgement {
	j := clock.Judgement{
		State:     clock.Unsynchronised,
		Reason:    reason,
		Source:    "none",
		Leap:      clock.LeapUnknown,
		Stratum:   clock.StratumUnsynchronised,
		RefID:     clock.RefIDInit(),
		GrowthPPM: clock.GrowthDefaultPPM,
		// The largest there is on the wire, for those who look at nothing else.
		RootDispersion: ntp.MaxDispersion,
	}
	if synced {
		j.RefID = clock.RefIDStep()
	}
	if localStratum > 0 {
		// The reference is the clock itself: it is no further from that than its grain.
		j.Source = "local"
		j.Leap = clock.LeapNone
		j.Stratum = localStratum
		j.RefID = clock.RefIDLocal()
		j.Reference = unix
		j.RootDispersion = time.Duration(math.Ceil(math.Ldexp(1e9, int(precision))))
	}
	return j
}
