package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/ntp"
)

// always is what a node is that never finds a time.
func always(s clock.State) []clock.State { return []clock.State{s} }

// near returns servers on the LAN, or not far from it, that are right.
func near(count int, out, back, jitter time.Duration) []Server {
	servers := make([]Server, count)
	for i := range servers {
		servers[i] = reference(out, back, jitter, 0.002)
		servers[i].Options = named(i)
		servers[i].MaxPoll = 8
	}
	return servers
}

// liars are scenarios with servers that are wrong, or will not say.
func liars() []Scenario {
	lying := func(count int) func(r *rand.Rand) Site {
		return func(r *rand.Rand) Site {
			servers := internet(r, 5)
			order := r.Perm(5)
			servers[order[0]].Error = constant(either(r, 300*ms))
			if count > 1 {
				servers[order[1]].Error = constant(either(r, 80*ms))
			}
			return alone(crystal(r), either(r, 50*ms), servers...)
		}
	}
	limits := Limits{
		Synced: 60 * time.Second, Error: 12 * ms, Settled: 300 * time.Second, From: time.Hour,
		RMSError: 6 * ms, MedianBound: 40 * ms, Steps: 1,
	}
	return []Scenario{
		{Name: "1 liar of 5", Lasts: 6 * time.Hour, Setup: lying(1), Limits: limits},
		{Name: "2 liars of 5", Lasts: 6 * time.Hour, Setup: lying(2), Limits: limits},
		{
			Name:  "drifting liar",
			Lasts: 6 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				servers := internet(r, 4)
				servers[r.IntN(4)].Error = drifting(time.Hour, either(r, 20*ppm))
				return alone(crystal(r), 0, servers...)
			},
			Limits: limits,
		},
		{
			// The step hides inside what each of them can be wrong by: it is believed in part,
			// and E holds all the same. STANDARDS SEL-6.
			Name:  "site steps, far",
			Lasts: 6 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				servers := near(4, 25*ms, 25*ms, 2*ms)
				servers[3].Error = stepping(2*time.Hour, -10*ms)
				return alone(crystal(r), 0, servers...)
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: 4 * ms, Settled: 300 * time.Second,
				RMSError: 3 * ms, MedianBound: 35 * ms, Steps: 1,
				States: []clock.State{clock.Unsynchronised, clock.Synchronised},
			},
		},
		{
			// The same step of one of four that are near: it is outvoted. STANDARDS SEL-7.
			Name:  "site steps, near",
			Lasts: 6 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				servers := near(4, 3*ms, 3*ms, 500*us)
				servers[3].Error = stepping(2*time.Hour, -10*ms)
				return alone(crystal(r), 0, servers...)
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: 2 * ms, Settled: 300 * time.Second,
				RMSError: 300 * us, MedianBound: 5 * ms, Steps: 1,
				States: []clock.State{clock.Unsynchronised, clock.Synchronised},
			},
			Check: func(r *Result) error { return hasStatus(r, 3, discipline.Falseticker) },
		},
		{
			Name:  "kissed",
			Lasts: 4 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				servers := near(4, 5*ms, 5*ms, ms)
				servers[0].Kiss = kissing(30*time.Minute, 2*time.Hour, ntp.KissRATE)
				servers[1].Kiss = kissing(time.Hour, 2*time.Hour, ntp.KissDENY)
				servers[2].Kiss = kissing(time.Hour, 2*time.Hour, ntp.KissINIT)
				return alone(crystal(r), 0, servers...)
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: 2 * ms, Settled: 300 * time.Second,
				RMSError: 300 * us, MedianBound: 8 * ms, Steps: 1,
				States: []clock.State{clock.Unsynchronised, clock.Synchronised},
			},
			// Who forbids us to ask is not asked, and what it said is not believed for ever.
			Check: func(r *Result) error { return hasStatus(r, 1, discipline.Unreachable) },
		},
	}
}

// quorums are scenarios with too few servers that agree, or just enough.
func quorums() []Scenario {
	return []Scenario{
		{
			Name:  "2 disagree",
			Lasts: time.Hour,
			Setup: func(r *rand.Rand) Site {
				servers := near(2, 5*ms, 5*ms, ms)
				servers[r.IntN(2)].Error = constant(either(r, 100*ms))
				return alone(crystal(r), either(r, 20*ms), servers...)
			},
			Limits: Limits{States: always(clock.Unsynchronised)},
			Check: func(r *Result) error {
				if err := hasStatus(r, 0, discipline.NoMajority); err != nil {
					return err
				}
				return hasStatus(r, 1, discipline.NoMajority)
			},
		},
		{
			Name:  "min_sources above all",
			Lasts: time.Hour,
			Setup: func(r *rand.Rand) Site {
				site := alone(crystal(r), either(r, 20*ms), near(2, 5*ms, 5*ms, ms)...)
				site.Nodes[0].MinSources = 3
				return site
			},
			Limits: Limits{States: always(clock.Unsynchronised)},
			Check:  func(r *Result) error { return hasStatus(r, 0, discipline.TooFew) },
		},
		{
			Name:  "min_sources above survivors",
			Lasts: 2 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				servers := near(4, 5*ms, 5*ms, ms)
				servers[3].Error = constant(either(r, 100*ms))
				site := alone(crystal(r), either(r, 20*ms), servers...)
				site.Nodes[0].MinSources = 4
				return site
			},
			Limits: Limits{States: always(clock.Unsynchronised)},
			Check:  func(r *Result) error { return hasStatus(r, 0, discipline.TooFew) },
		},
		{
			Name:  "min_sources just met",
			Lasts: 2 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				servers := near(4, 5*ms, 5*ms, ms)
				servers[3].Error = constant(either(r, 100*ms))
				site := alone(crystal(r), either(r, 20*ms), servers...)
				site.Nodes[0].MinSources = 3
				return site
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: 2 * ms, Settled: 300 * time.Second,
				RMSError: 300 * us, MedianBound: 8 * ms, Steps: 1,
			},
		},
	}
}

// kissing answers with a kiss code for a time.
func kissing(from, to time.Duration, code ntp.RefID) func(time.Duration) ntp.RefID {
	return func(since time.Duration) ntp.RefID {
		if since < from || since >= to {
			return 0
		}
		return code
	}
}

// hasStatus demands a verdict on a server at the end.
func hasStatus(r *Result, server int, want discipline.Status) error {
	if is := r.Verdicts[server].Status; is != want {
		return fmt.Errorf("status of server %d: %v instead of %v", server+1, is, want)
	}
	return nil
}
