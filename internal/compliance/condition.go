package compliance

import (
	"time"

	"github.com/truechimer/truechimer/internal/alert"
)

// The names of conditions.
const (
	ConditionBreach         = "compliance_breach"  // profile, clock: the bound is beyond the tolerance
	ConditionUnknown        = "compliance_unknown" // profile, clock: nothing can be proven
	ConditionQuorum         = "quorum_lost"        // profile: too few sources, sources of NIST, or sites agree
	ConditionNIST           = "nist_lost"          // no source of NIST agrees, and one is configured
	ConditionDeviation      = "source_deviation"   // source, address: it says something else than the others
	ConditionPreOpenMissing = "preopen_missing"    // profile: the check is soon due, and was not passed yet
	ConditionPreOpenFailed  = "preopen_failed"     // profile: it was due, and was not passed
)

const (
	// calmLooks is how many seconds in a row all must be well again before a breach, or a condition,
	// is over: what comes and goes is one event, not many.
	calmLooks = 10
	// doubtLooks is how many seconds in a row something must be wrong with sources before it counts.
	// Sources are heard every 16 s or less often; what is over by then was not heard by anybody.
	doubtLooks = 5
	// gapMin is how long nobody must have looked for the seconds to be no row.
	gapMin = 5 * time.Second
)

// standing is something that stands once it has been so for some seconds, until it has not been so
// for some.
type standing struct {
	on  bool
	run int // seconds in a row that spoke against on
}

// look takes in whether it is so now; begin is how many seconds in a row make it stand. It reports
// whether it stands.
func (s *standing) look(now bool, begin int) bool {
	if now == s.on {
		s.run = 0
		return s.on
	}
	s.run++
	if !s.on && s.run >= begin || s.on && s.run >= calmLooks {
		s.on, s.run = now, 0
	}
	return s.on
}

// alarm is a condition that comes and goes.
type alarm struct {
	standing
	condition alert.Condition
}

// begins takes in whether it is so now, and reports whether it begins to stand: then the caller
// describes the condition.
func (a *alarm) begins(now bool, begin int) bool {
	was := a.on
	return a.look(now, begin) && !was
}

// add adds the condition to the list if it stands.
func (a *alarm) add(list []alert.Condition) []alert.Condition {
	if !a.on {
		return list
	}
	return append(list, a.condition)
}
