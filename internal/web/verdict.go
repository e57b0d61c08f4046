package web

import (
	"strings"

	"github.com/truechimer/truechimer/internal/rpc"
)

// The levels that a thing's colour and sign are of.
const (
	levelGood    = "good"
	levelWarn    = "warn"
	levelBad     = "bad"
	levelUnknown = "unknown"
)

func stateWord(s rpc.ClockState) string {
	switch s {
	case rpc.ClockState_CLOCK_STATE_SYNCHRONISED:
		return "Synchronised"
	case rpc.ClockState_CLOCK_STATE_HOLDOVER:
		return "Holdover"
	default:
		return "Unsynchronised"
	}
}

func stateLevel(s rpc.ClockState) string {
	switch s {
	case rpc.ClockState_CLOCK_STATE_SYNCHRONISED:
		return levelGood
	case rpc.ClockState_CLOCK_STATE_HOLDOVER:
		return levelWarn
	default:
		return levelBad
	}
}

// verdictWord is the verdict as the profiles call it.
func verdictWord(v rpc.Verdict) string {
	switch v {
	case rpc.Verdict_VERDICT_OK:
		return "OK"
	case rpc.Verdict_VERDICT_WARN:
		return "WARN"
	case rpc.Verdict_VERDICT_BREACH:
		return "BREACH"
	default:
		return "UNKNOWN"
	}
}

func verdictLevel(v rpc.Verdict) string {
	switch v {
	case rpc.Verdict_VERDICT_OK:
		return levelGood
	case rpc.Verdict_VERDICT_WARN:
		return levelWarn
	case rpc.Verdict_VERDICT_BREACH:
		return levelBad
	default:
		return levelUnknown
	}
}

// sourceLevel is the level of what became of a source: good where it has a share, bad where it
// contradicts the others, and unknown where that is as it was configured or is still to be seen.
func sourceLevel(status string) string {
	switch status {
	case "selected", "combined":
		return levelGood
	case "falseticker", "no_majority":
		return levelBad
	case "waiting", "noselect", "not_preferred":
		return levelUnknown
	default:
		return levelWarn
	}
}

func clockName(c rpc.JudgedClock) string {
	if c == rpc.JudgedClock_JUDGED_CLOCK_SERVED {
		return "served clock"
	}
	return "system clock"
}

// dayLevel is the level of a day: that of the worst in it. A gap, and what cannot be proven, is not
// compliant, but no proof of the contrary either.
func dayLevel(d *rpc.DayVerdicts) string {
	switch {
	case d.Breach > 0:
		return levelBad
	case d.Unknown > 0 || d.Gap > 0:
		return levelUnknown
	case d.Warn > 0:
		return levelWarn
	case d.Ok > 0:
		return "" // as nearly all are: it goes without saying
	default:
		return "to-come"
	}
}

// dayText says what a day came to.
func dayText(d *rpc.DayVerdicts) string {
	var parts []string
	for _, part := range []struct {
		seconds uint32
		word    string
	}{{d.Breach, "BREACH"}, {d.Unknown, "UNKNOWN"}, {d.Gap, "not observed"}, {d.Warn, "WARN"}, {d.Ok, "OK"}} {
		if part.seconds > 0 {
			parts = append(parts, part.word+" "+lasting(int64(part.seconds)*1e9))
		}
	}
	if parts == nil {
		return "nothing yet"
	}
	return strings.Join(parts, ", ")
}
