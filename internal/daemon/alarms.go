package daemon

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/alert"
	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/store"
)

// raiseAlarms brings the list of alarms up to date.
func (k *timekeeper) raiseAlarms(s *clock.Snapshot) {
	standing := append(k.wrong(s), k.conditions...)
	alarms := standingSince(*k.alarms.Load(), standing, time.Unix(0, s.Time.To))
	k.alarms.Store(&alarms)
	k.alert(s.Time.To, standing)
}

// standingSince makes alarms of what is wrong now. Those that stood before keep their time and come
// first: their times do not tell, the clock may have jumped in between.
func standingSince(before []api.Alarm, standing []alert.Condition, now time.Time) []api.Alarm {
	alarms := make([]api.Alarm, len(before)) // those that stood, where they were; what is over stays empty
	for _, c := range standing {
		alarm := api.Alarm{Name: c.Name, Labels: c.Labels, Critical: c.Critical, Sentence: c.Sentence, Since: now}
		i := slices.IndexFunc(before, func(a api.Alarm) bool { return a.Name == c.Name && maps.Equal(a.Labels, c.Labels) })
		if i < 0 {
			alarms = append(alarms, alarm)
			continue
		}
		alarm.Since = before[i].Since
		alarms[i] = alarm
	}
	return slices.DeleteFunc(alarms, func(a api.Alarm) bool { return a.Name == "" })
}

// wrong is what is wrong with the clock, the hybrid clock and the store. All of it is critical:
// nothing of it goes away by itself, or it takes something from those who are served.
func (k *timekeeper) wrong(s *clock.Snapshot) (standing []alert.Condition) {
	raise := func(name, sentence string) {
		standing = append(standing, alert.Condition{Name: name, Critical: true, Sentence: sentence})
	}
	issuer := k.issuer.Status()
	if k.steering.Held {
		raise("clock_jump", fmt.Sprintf("the system clock jumped by %v and no source confirms it: timestamps go on as if it had not; set the clock right, or run truechimer clock accept", k.steering.Jump.Round(time.Millisecond)))
	}
	if lead := issuer.Lead; issuer.Started && lead > issuer.MaxLead {
		raise("hlc_ahead", fmt.Sprintf("the hybrid clock is %v ahead of its time, more than the max lead of %v, and issues nothing until that is worked off; wait, or run truechimer hlc rebase", lead.Round(time.Millisecond), issuer.MaxLead))
	} else if behind := k.steering.Behind; behind > hlc.JumpMax {
		advice := "wait, or run truechimer hlc rebase"
		if behind <= issuer.MaxLead {
			advice = "wait" // a rebase would be refused
		}
		raise("hlc_ahead", fmt.Sprintf("the hybrid clock is %v ahead of the clock and falls back slowly; %s", behind.Round(time.Millisecond), advice))
	}
	switch isLate := late(issuer, k.physical.Now()); {
	case !isLate:
		k.lateSince = 0
	case k.lateSince == 0:
		k.lateSince = s.Mono() // as it is for a moment after a start, or a step
	case s.Mono()-k.lateSince >= store.CeilingWaitMax:
		raise("ceiling_late", "the ceiling on disk has not been renewed in time, so that no timestamp can be issued: see whether the disk is slow or hangs")
	}
	if err := k.fault(); err != nil {
		raise("store_fenced", err.Error())
	}
	if full := k.space(); full != "" {
		raise("disk_full", full)
	}
	if j := k.judged.Load(); j.rival != "" {
		raise("clock_rival", j.rival)
	} else if offset, bound, ok := j.witness(k.keeping.scale, s, s.Mono()); ok && k.keeping.follow != nil && s.Claims() && offset.Abs() > bound+s.ErrorBound(s.Mono()) {
		raise("clock_disputed", fmt.Sprintf("the sources say that the system clock is off by %v, which is more than %s claims for it and more than they can be wrong by: see truechimer sources, and whoever steers the clock", offset.Round(time.Microsecond), s.Source))
	}
	return standing
}

// late reports whether an issuer that should issue cannot, because the ceiling that is on
// disk is behind physical time.
func late(issuer store.Status, physical int64) bool {
	return issuer.Started && issuer.Err == nil && issuer.Ceiling <= hlc.FromUnix(physical)
}
