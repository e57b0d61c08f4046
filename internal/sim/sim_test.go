package sim

import (
	"flag"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("seed", 0, "run the scenarios with this seed alone")

// seeds is how many seeds each scenario is run with; hack/sim runs 200.
const seeds = 5

// TestScenarios runs every scenario and holds it to its limits.
func TestScenarios(t *testing.T) {
	for _, s := range Scenarios() {
		first, last := uint64(1), uint64(seeds)
		if *seedFlag != 0 {
			first, last = *seedFlag, *seedFlag
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			for seed := first; seed <= last; seed++ {
				r := Run(&s, seed)
				if err := s.Judge(r); err != nil {
					t.Errorf("seed %d: %v\n(go test ./internal/sim -run '%s' -seed %d; hack/sim -run '^%s$' -seed %d tells more)",
						seed, err, t.Name(), seed, s.Name, seed)
				}
			}
		})
	}
}

// TestNames demands that scenarios can be told apart and found.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Scenarios() {
		if found, ok := Find(s.Name); !ok || found.Lasts != s.Lasts || seen[s.Name] || s.Name != strings.TrimSpace(s.Name) {
			t.Errorf("scenario %q cannot be found by its name", s.Name)
		}
		seen[s.Name] = true
	}
	if _, ok := Find("nothing"); ok {
		t.Error("found a scenario of no name")
	}
}

// TestSameSeed demands that a scenario and a seed always give the same result, and another
// seed another one.
func TestSameSeed(t *testing.T) {
	for _, name := range []string{"2 liars of 5", "heavy tail", "pool"} {
		s, _ := Find(name)
		s.Lasts, s.Check, s.Trace, s.Limits.From = time.Hour, nil, true, time.Minute
		a, b, other := Run(&s, 7), Run(&s, 7), Run(&s, 8)
		for i := range a.Trace { // pointers that are equal in what they point to
			a.Trace[i].Snapshot, b.Trace[i].Snapshot = nil, nil
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: two runs with one seed differ", name)
		}
		if a.Worst == other.Worst && a.RMSError == other.RMSError {
			t.Errorf("%s: two seeds give the same", name)
		}
	}
}

// day is eight nodes, each with four servers and all defaults, for a day.
func day() Scenario {
	return Scenario{
		Lasts: 24 * time.Hour,
		Setup: func(r *rand.Rand) Site {
			site := Site{Start: begin()}
			for range 8 {
				site.Nodes = append(site.Nodes, Node{Oscillator: crystal(r), ClockError: either(r, 100*ms), Servers: internet(r, 4)})
			}
			return site
		},
		Limits: Limits{
			Synced: 90 * time.Second, Error: 12 * ms, Settled: 300 * time.Second,
			RMSError: 6 * ms, MedianBound: 40 * ms, Steps: 1,
		},
	}
}

// TestDay runs eight nodes for a day, and says how long that took.
func TestDay(t *testing.T) {
	s := day()
	began := time.Now()
	results := RunAll(&s, 1)
	took := time.Since(began)
	t.Logf("24 h × 8 nodes in %v", took)
	for i := range results {
		if err := s.Judge(&results[i]); err != nil {
			t.Errorf("node %d: %v", i+1, err)
		}
		if results[i].Seconds < 86_000 {
			t.Errorf("node %d: %d seconds were looked at", i+1, results[i].Seconds)
		}
	}
}

// BenchmarkDay carries the time of eight nodes for a day.
func BenchmarkDay(b *testing.B) {
	b.ReportAllocs()
	s := day()
	seed := uint64(0)
	for b.Loop() {
		seed++
		RunAll(&s, seed)
	}
}

// Find returns a scenario by its name.
func Find(name string) (Scenario, bool) {
	for _, s := range Scenarios() {
		if s.Name == name {
			return s, true
		}
	}
	return Scenario{}, false
}
