package compliance

import (
	"fmt"
	"slices"
	"time"

	"github.com/truechimer/truechimer/internal/alert"
	"github.com/truechimer/truechimer/internal/rpc"
)

const (
	// preOpenWindow is how long before it is due the check may be passed: what the clock did in the
	// night proves nothing about the morning.
	preOpenWindow = time.Hour
	// preOpenWarning is how long before it is due it is missed. Source: AC-C5.
	preOpenWarning = 30 * time.Minute
	// preOpenCatchUp is how far back it is put on record that there was no check, because the node
	// did not run.
	preOpenCatchUp = 14 * 24 * time.Hour
)

// preOpen follows the check before the market opens of one profile. It is passed in the first second
// of the last hour before it is due in which the system clock is proven to be within the
// tolerance and as many sources agree as the profile asks for. Source: AC-C5.
type preOpen struct {
	profile *Profile
	zone    *time.Location

	day    time.Time // the trading day whose check is next, as dateOf
	due    int64     // Unix nanoseconds; 0: it is not known yet which day that is
	known  bool      // somebody has vouched for the time since the start
	looked bool      // somebody looked in the last hour before
	why    string    // what was missing at the last look in it
	at     int64     // the last look
	last   *rpc.PreOpen

	missing bool
	warning alert.Condition
	failed  alarm
}

// newPreOpen returns nil for a profile that has no such check. last is the last one on record; nil:
// there is none.
func newPreOpen(p *Profile, last *rpc.PreOpen) *preOpen {
	if p.PreOpen < 0 {
		return nil
	}
	zone, err := time.LoadLocation(p.Zone)
	if err != nil { // Problems has said so
		zone = time.UTC
	}
	return &preOpen{profile: p, zone: zone, last: last}
}

// like reports whether another profile's check is due at the same times.
func (c *preOpen) like(p *Profile) bool {
	return c.profile.PreOpen == p.PreOpen && c.profile.Zone == p.Zone &&
		c.profile.Calendar == p.Calendar && slices.Equal(c.profile.Holidays, p.Holidays)
}

// look takes in a second, in which the system clock was judged by t.
func (c *preOpen) look(s *Second, t *tracker, q *quorum, out *Output) {
	if !c.known && (s.System.Claims || s.Served.Claims) {
		c.known, c.due = true, 0
	}
	// A clock that was set back by days has its checks before it once more.
	if c.due == 0 || s.Unix < c.at-int64(24*time.Hour) || s.Unix > c.due+int64(preOpenCatchUp) {
		c.plan(s.Unix)
	}
	c.at = s.Unix
	for s.Unix >= c.due {
		out.Entries = append(out.Entries, c.fail(s, q))
		c.failed = alarm{standing: standing{on: true}, condition: c.condition(ConditionPreOpenFailed, true,
			fmt.Sprintf("the check before the market opens of %s was not passed: %s; compare the clock by hand and put it on record", c.last.Day, c.last.Sentence))}
	}
	met := compliant(t.verdict) && q.meets(c.profile)
	if s.Unix >= c.due-int64(preOpenWindow) {
		switch {
		case met:
			out.Entries = append(out.Entries, c.pass(s, q))
		case compliant(t.verdict):
			c.looked, c.why = true, q.short(c.profile)
		default:
			c.looked, c.why = true, c.profile.sentence(t.why, &s.System, q)
		}
	}
	c.failed.look(c.failed.on && !met, 1)
	out.Conditions = c.failed.add(out.Conditions)
	c.warn(s.Unix, out)
}

// warn adds the condition that the check is soon due, as long as it is.
func (c *preOpen) warn(unix int64, out *Output) {
	soon := unix >= c.due-int64(preOpenWarning)
	if soon && !c.missing {
		c.warning = c.condition(ConditionPreOpenMissing, false, fmt.Sprintf("the check before the market opens is due at %s and not passed: %s; see to the sources before (truechimer status)",
			time.Unix(0, c.due).In(c.zone).Format("15:04 MST"), c.why))
	}
	if c.missing = soon; soon {
		out.Conditions = append(out.Conditions, c.warning)
	}
}

func (c *preOpen) condition(name string, critical bool, sentence string) alert.Condition {
	return alert.Condition{
		Name: name, Critical: critical,
		Labels:   map[string]string{"profile": c.profile.Name},
		Sentence: c.profile.Name + ": " + sentence,
	}
}

// pass decides the check that is next.
func (c *preOpen) pass(s *Second, q *quorum) *rpc.JournalEntry {
	return c.decide(&rpc.PreOpen{
		Passed:   true,
		Sentence: fmt.Sprintf("the error bound is %v, and %d sources agree, %d of them of NIST", span(s.System.Bound), q.agreeing, q.nist),
		BoundNs:  int64(s.System.Bound), Agreeing: uint32(q.agreeing), AgreeingNist: uint32(q.nist),
	})
}

// fail decides the check that is next; where nobody looked in its hour, nothing is known of it.
func (c *preOpen) fail(s *Second, q *quorum) *rpc.JournalEntry {
	if !c.looked {
		return c.decide(&rpc.PreOpen{Sentence: "nobody looked at the clock in the hour before it was due", BoundNs: -1})
	}
	bound := int64(-1)
	if s.System.Claims {
		bound = int64(s.System.Bound)
	}
	return c.decide(&rpc.PreOpen{Sentence: c.why, BoundNs: bound, Agreeing: uint32(q.agreeing), AgreeingNist: uint32(q.nist)})
}

// decide puts the check that is next on record and goes on to the one after it.
func (c *preOpen) decide(m *rpc.PreOpen) *rpc.JournalEntry {
	m.Profile, m.Day = c.profile.Name, c.day.Format(time.DateOnly)
	c.last = m
	c.next(c.day.AddDate(0, 0, 1))
	return &rpc.JournalEntry{What: &rpc.JournalEntry_PreOpen{PreOpen: m}}
}

// next makes the check of the first trading day from a day on the next one. There is one: a
// profile has fewer holidays than would fill three years.
func (c *preOpen) next(day time.Time) {
	for !c.profile.Trades(day) {
		day = day.AddDate(0, 0, 1)
	}
	c.day, c.due = day, c.profile.due(day, c.zone).UnixNano()
	c.looked, c.why = false, ""
}

// plan finds out which check is next: the one after the last on record, but where there is none,
// the first that is still to come.
func (c *preOpen) plan(unix int64) {
	now := time.Unix(0, unix).In(c.zone)
	today := dateOf(now)
	// A hardware clock of another year would have days of that year caught up on.
	if last, ok := c.lastDay(); ok && c.known && !last.After(today) {
		oldest := today.Add(-preOpenCatchUp)
		if last.Before(oldest) {
			last = oldest
		}
		c.next(last.AddDate(0, 0, 1))
		return
	}
	c.next(today)
	if c.due <= unix {
		c.next(today.AddDate(0, 0, 1))
	}
}

// lastDay returns the day of the last check on record.
func (c *preOpen) lastDay() (time.Time, bool) {
	last, err := time.Parse(time.DateOnly, c.last.GetDay())
	return last, err == nil
}

// state tells how the check stands: that of today, once it is decided, else the next one.
func (c *preOpen) state(unix int64) *rpc.PreOpenState {
	today := dateOf(time.Unix(0, unix).In(c.zone))
	if last, ok := c.lastDay(); ok && last.Equal(today) {
		return &rpc.PreOpenState{Day: c.last.Day, DueUnixNs: c.profile.due(last, c.zone).UnixNano(), Passed: c.last.Passed, Sentence: c.last.Sentence}
	}
	if c.due == 0 {
		return nil
	}
	sentence := "it can be passed in the hour before it is due"
	if c.why != "" {
		sentence = "not passed yet: " + c.why
	}
	return &rpc.PreOpenState{Day: c.day.Format(time.DateOnly), DueUnixNs: c.due, Sentence: sentence}
}
