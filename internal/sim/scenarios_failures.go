package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/ntp"
)

// outages are scenarios in which no server is heard for hours.
func outages() []Scenario {
	const from, to, late = 6 * time.Hour, 8 * time.Hour, 14 * time.Hour
	outage := func(to time.Duration) Site {
		s := wan(0.01)
		s.Link.Up = down(from, to)
		return alone(guest(37*ppm), 0, s)
	}
	return []Scenario{
		{
			Name:  "outage",
			Lasts: 12 * time.Hour,
			Setup: func(*rand.Rand) Site { return outage(to) },
			Limits: Limits{
				Synced: 60 * time.Second, Error: 4 * ms, Settled: 300 * time.Second, From: 30 * time.Minute,
				RMSError: 800 * us, MedianBound: 13 * ms, Steps: 1,
				States: []clock.State{clock.Unsynchronised, clock.Synchronised, clock.Holdover, clock.Synchronised},
			},
			Trace: true,
			Check: holdsOver(from, to),
		},
		{
			// The bound crosses the limit while nobody is heard: nothing is claimed from then
			// on, until somebody is, and the clock comes back without a step.
			Name:  "outage beyond the limit",
			Lasts: 16 * time.Hour,
			Setup: func(*rand.Rand) Site {
				site := outage(late)
				site.Nodes[0].ErrorLimit = 100 * ms
				return site
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: 50 * ms, Settled: 300 * time.Second, From: 30 * time.Minute,
				RMSError: 8 * ms, MedianBound: 13 * ms, Steps: 1,
				States: []clock.State{clock.Unsynchronised, clock.Synchronised, clock.Holdover, clock.Unsynchronised, clock.Synchronised},
			},
			Trace: true,
			Check: func(r *Result) error { return errors.Join(holdsOver(from, late)(r), crosses(r, 100*ms, from, late)) },
		},
	}
}

// hands are scenarios in which something happens to the clock behind our back.
func hands() []Scenario {
	return []Scenario{
		{
			Name:  "stepped by another hand",
			Lasts: 8 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				site := alone(guest(37*ppm), 0, wan(0.01))
				site.Nodes[0].Steps = []ClockStep{
					{2 * time.Hour, 5 * time.Second},
					{4 * time.Hour, -5 * time.Second},
					{6 * time.Hour, either(r, 20*ms)},
				}
				return site
			},
			Limits: Limits{
				Synced: 60 * time.Second, From: 30 * time.Minute,
				RMSError: 2 * time.Second, MedianBound: 15 * ms, Steps: 4, LateSteps: 4,
			},
		},
		{
			// A clock of our own does not notice.
			Name:  "virtual, stepped",
			Lasts: 3 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				site := alone(guest(37*ppm), 0, wan(0.01))
				site.Nodes[0].Virtual = true
				site.Nodes[0].Steps = []ClockStep{{time.Hour, either(r, time.Hour)}, {2 * time.Hour, either(r, 20*ms)}}
				return site
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: ms, Settled: 300 * time.Second, From: 30 * time.Minute,
				RMSError: 120 * us, MedianBound: 12 * ms,
				States: []clock.State{clock.Unsynchronised, clock.Synchronised},
			},
		},
		{
			// Another program sets the frequency of the clock every second, as if it had no other.
			Name:  "steered by another hand",
			Lasts: 3 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				site := alone(guest(37*ppm), 0, wan(0.01))
				rate := either(r, 200.0)
				for i := range 600 {
					site.Nodes[0].Rivals = append(site.Nodes[0].Rivals, Rival{2*time.Hour + time.Duration(i)*time.Second, rate})
				}
				return site
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: ms, Settled: 150 * time.Minute, From: 30 * time.Minute,
				RMSError: 40 * ms, MedianBound: 12 * ms, Steps: 1,
			},
			Trace: true,
			Check: func(r *Result) error {
				o, err := seenAt(r, 2*time.Hour+5*time.Minute)
				if err == nil && !strings.Contains(o.Reason, "another program") {
					err = fmt.Errorf("the other program is not named: %q", o.Reason)
				}
				return err
			},
		},
		{
			Name:  "suspend",
			Lasts: 6 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				site := alone(guest(37*ppm), 0, wan(0.01))
				site.Nodes[0].Sleeps = []Sleep{
					{2 * time.Hour, time.Hour, either(r, 300*ms)},
					{4 * time.Hour, 20 * time.Second, either(r, 2*ms)},
				}
				site.Nodes[0].Virtual = r.IntN(2) == 0
				return site
			},
			Limits: Limits{
				Synced: 60 * time.Second, From: 30 * time.Minute,
				RMSError: 100 * ms, MedianBound: 15 * ms, Steps: 2, LateSteps: 2,
			},
		},
		{
			// The hypervisor does not say so: until the next samples nobody can know.
			Name:  "pause",
			Lasts: 4 * time.Hour,
			Setup: func(*rand.Rand) Site {
				site := alone(guest(37*ppm), 0, wan(0.01))
				site.Nodes[0].Pauses = []Pause{{2 * time.Hour, 30 * time.Second}}
				return site
			},
			Limits: Limits{
				Synced: 60 * time.Second, From: 30 * time.Minute,
				RMSError: 20 * time.Second, MedianBound: 15 * ms, Steps: 2, LateSteps: 2,
				Blind: []Window{{2 * time.Hour, 2*time.Hour + 5*time.Minute}},
			},
		},
	}
}

// moves are scenarios in which servers or the ways to them change.
func moves() []Scenario {
	return []Scenario{
		{
			// One way becomes longer by 30 ms: the time seems to jump by half of that.
			Name:  "route change",
			Lasts: 8 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				s := wan(0.01)
				longer := Route{At: 2 * time.Hour, Out: 40 * ms, Back: s.Link.Back}
				if r.IntN(2) == 0 {
					longer.Out, longer.Back = s.Link.Out, 40*ms
				}
				s.Link.Routes = []Route{longer, {At: 5 * time.Hour, Out: s.Link.Out, Back: s.Link.Back}}
				return alone(guest(37*ppm), 0, s)
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: 25 * ms, Settled: 300 * time.Second,
				RMSError: 15 * ms, MedianBound: 30 * ms, Steps: 1,
			},
		},
		{
			// Of a pool of three, one member falls silent and another one lies. The name means
			// other servers by then, and both are replaced.
			Name:  "pool",
			Lasts: 8 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				servers := near(6, 5*ms, 5*ms, ms)
				servers[0].Link.Up = down(2*time.Hour, 9*time.Hour)
				servers[1].Error = stepping(3*time.Hour, either(r, 50*ms))
				site := alone(crystal(r), 0, servers...)
				site.Nodes[0].Pools = []Pool{{Want: 3, Servers: []int{0, 1, 2, 3, 4, 5}, Means: renamed}}
				return site
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: 2 * ms, Settled: 300 * time.Second,
				RMSError: 500 * us, MedianBound: 8 * ms, Steps: 1,
			},
			Check: func(r *Result) error {
				if len(r.Verdicts) != 3 {
					return fmt.Errorf("%d members instead of 3", len(r.Verdicts))
				}
				return errors.Join(selected(r, 0), selected(r, 1), selected(r, 2))
			},
		},
		{
			// NTP's seconds wrap.
			Name:  "era",
			Lasts: 6 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				site := alone(crystal(r), either(r, 100*ms), internet(r, 4)...)
				site.Start = time.Date(2036, 2, 7, 4, 0, 0, 0, time.UTC)
				return site
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: 10 * ms, Settled: 300 * time.Second, From: time.Hour,
				RMSError: 6 * ms, MedianBound: 40 * ms, Steps: 1,
				States: []clock.State{clock.Unsynchronised, clock.Synchronised},
			},
		},
	}
}

// leaps are scenarios with leap seconds: announced, false, smeared.
func leaps() []Scenario {
	return []Scenario{
		smear("smeared, said", 254<<24, discipline.Smearing),
		smear("smeared, not said", 0, discipline.Falseticker),
		{
			// One of four announces a leap second at the end of the month that does not come.
			Name:  "false leap",
			Lasts: 6 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				servers := near(4, 5*ms, 5*ms, ms)
				servers[r.IntN(4)].Leaps = LeapFalse
				site := alone(crystal(r), either(r, 20*ms), servers...)
				site.Start = time.Date(2026, 11, 30, 20, 0, 0, 0, time.UTC)
				site.Nodes[0].NoLeapTable = true
				return site
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: 2 * ms, Settled: 300 * time.Second,
				RMSError: 300 * us, MedianBound: 8 * ms, Steps: 1,
				States: []clock.State{clock.Unsynchronised, clock.Synchronised},
			},
		},
		leapScenario("leap inserted", 1, false),
		leapScenario("leap deleted", -1, false),
		leapScenario("leap inserted, told by servers", 1, true),
		leapScenario("leap deleted, told by servers", -1, true),
	}
}

// renamed is a name that means other servers after an hour, and none for a while.
func renamed(since time.Duration) []int {
	switch {
	case since < time.Hour:
		return []int{0, 1, 2}
	case since < 4*time.Hour:
		return nil
	default:
		return []int{3, 4, 5}
	}
}

// selected demands that a server has its share in the estimate at the end.
func selected(r *Result, server int) error {
	switch is := r.Verdicts[server].Status; is {
	case discipline.Selected, discipline.Combined, discipline.Outlier:
		return nil
	default:
		return fmt.Errorf("status of server %d: %v", server+1, is)
	}
}

// leapScenario has a leap second happen six hours after the start. The list of leap seconds knows
// of it, or a majority of the servers has to tell.
func leapScenario(name string, by int, told bool) Scenario {
	return Scenario{
		Name:  name,
		Lasts: 9 * time.Hour,
		Setup: func(r *rand.Rand) Site {
			servers := near(5, 5*ms, 5*ms, ms)
			servers[3].Leaps, servers[4].Leaps = LeapSilent, LeapSilent
			if !told {
				servers[2].Leaps = LeapSilent
			}
			site := alone(crystal(r), either(r, 20*ms), servers...)
			midnight := time.Date(2027, 7, 1, 0, 0, 0, 0, time.UTC)
			site.Start = midnight.Add(-6 * time.Hour)
			site.Leap = &LeapSecond{At: midnight, By: by}
			site.Nodes[0].NoLeapTable = told
			site.Nodes[0].Virtual = r.IntN(2) == 0
			return site
		},
		Limits: Limits{
			Synced: 60 * time.Second, Error: 2 * ms, Settled: 300 * time.Second,
			RMSError: 300 * us, MedianBound: 8 * ms, Steps: 1,
			States: []clock.State{clock.Unsynchronised, clock.Synchronised},
		},
		Trace: true,
		Check: func(r *Result) error {
			before, err := seenAt(r, 5*time.Hour)
			after, errAfter := seenAt(r, 6*time.Hour+2*time.Minute)
			want := clock.LeapInsert
			if by < 0 {
				want = clock.LeapDelete
			}
			if before.Leap != want || after.Leap != clock.LeapNone {
				err = errors.Join(err, fmt.Errorf("leap %d an hour before and %d after it, instead of %d and 0", before.Leap, after.Leap, want))
			}
			return errors.Join(err, errAfter)
		},
	}
}

// smear has one of four servers smear the leap second that comes after six hours, and the
// run ends in the midst of that.
func smear(name string, refID ntp.RefID, want discipline.Status) Scenario {
	s := leapScenario(name, 1, false)
	setup := s.Setup
	s.Setup = func(r *rand.Rand) Site {
		site := setup(r)
		servers := site.Nodes[0].Servers
		servers[0].Smears, servers[0].Stratum, servers[0].RefID = true, 2, refID
		return site
	}
	s.Check = func(r *Result) error { return hasStatus(r, 0, want) }
	return s
}

// seenAt returns what was seen at a time since the start, or just after.
func seenAt(r *Result, at time.Duration) (Observation, error) {
	for _, o := range r.Trace {
		if o.At >= at {
			return o, nil
		}
	}
	return Observation{}, fmt.Errorf("nothing was seen at %v", at)
}

// holdsOver demands that E grows in an outage as the formula says: by the rate that each
// snapshot states, from when the servers have been silent for five minutes.
func holdsOver(from, to time.Duration) func(*Result) error {
	return func(r *Result) error {
		var first, last Observation
		var grown float64 // ns
		for _, o := range r.Trace {
			if o.At < from+5*time.Minute || o.At >= to || o.Bound == Never {
				continue
			}
			if first.At == 0 {
				first, last = o, o
			}
			grown += last.GrowthPPM * ppm * float64(o.At-last.At)
			last = o
			if least := first.Bound - first.ResidualOffset.Abs() + time.Duration(0.95*grown); o.Bound < least {
				return fmt.Errorf("error bound is %v at %v of an outage, and %v at %v: by the rates that are stated it is %v at the least",
					first.Bound, first.At, o.Bound, o.At, least)
			}
			if o.GrowthPPM < clock.GrowthMinPPM {
				return fmt.Errorf("error bound grows by %v ppm at %v, below %v", o.GrowthPPM, o.At, clock.GrowthMinPPM)
			}
		}
		if last.At-first.At < 5*time.Minute {
			return errors.New("nothing is claimed in the outage")
		}
		return nil
	}
}

// crosses demands that in an outage a bound is claimed until E, at the rate that is stated,
// crosses the limit, and not for longer.
func crosses(r *Result, limit time.Duration, from, to time.Duration) error {
	var last Observation
	for _, o := range r.Trace {
		switch {
		case o.At < from || o.At >= to:
			continue
		case o.Bound != Never:
			last = o
			continue
		case last.At == 0:
			return errors.New("nothing is claimed at the loss of all servers")
		}
		expected := last.At + time.Duration(float64(limit-last.Bound)/(last.GrowthPPM*ppm))
		if off := o.At - expected; off.Abs() > 5*time.Second || o.Leap != clock.LeapUnknown || o.Stratum < clock.StratumUnsynchronised {
			return fmt.Errorf("nothing is claimed from %v on, where E crosses the limit at %v; leap %d, stratum %d", o.At, expected, o.Leap, o.Stratum)
		}
		return nil
	}
	return fmt.Errorf("error bound never crossed the limit; it was %v in the end", last.Bound)
}
