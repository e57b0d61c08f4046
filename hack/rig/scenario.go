package main

import (
	"fmt"
	"strings"
	"time"
)

// scenario is a world for a contender to keep time in, and what is asked of it.
type scenario struct {
	Name, About string
	Route       route
	Oscillator  oscillator
	Lies        []time.Duration // one for each server: what it is off by; 0 is the truth
	Offset      time.Duration   // truth minus clock at the start
	Duration    time.Duration   // where the command line says nothing
	Settle      time.Duration   // what comes before this does not count
	Sample      time.Duration
	// Middle are events, their instants counted from the middle of the run.
	Middle []event
}

// route is the way between the contender and the servers.
type route struct {
	Up, Down leg
	LossPct  float64 // of packets, in each direction
}

// leg is one direction: a delay within Base ± Jitter, evenly spread.
type leg struct{ Base, Jitter time.Duration }

func symmetric(base, jitter time.Duration, lossPct float64) route {
	l := leg{base, jitter}
	return route{Up: l, Down: l, LossPct: lossPct}
}

// oscillator is how the truth runs against the guest's untouched oscillator: at a
// constant rate, and at one that swings once a day by the amplitude to both sides.
type oscillator struct {
	RatePPM            float64 // positive: the guest's clock is slow
	WanderAmplitudePPM float64
}

// event is something that happens in the guest during a run.
type event struct {
	At   time.Duration // since the contender's start
	Kind eventKind
	By   time.Duration // of a step, positive: forward; of a slow network, the delay up to the servers
}

type eventKind string

const (
	networkGone eventKind = "network gone"
	networkSlow eventKind = "network slow"
	networkBack eventKind = "network back"
	stepped     eventKind = "stepped" // by another hand than the contender's
)

const (
	settle      = 30 * time.Minute
	sampleUsual = 16 * time.Second
)

func scenarios() []scenario {
	usual := oscillator{RatePPM: 37, WanderAmplitudePPM: 2}
	wan := symmetric(10*time.Millisecond, 500*time.Microsecond, 1)
	lan := symmetric(100*time.Microsecond, 50*time.Microsecond, 0.1)
	day := func(s scenario) scenario {
		s.Duration, s.Settle, s.Sample = 24*time.Hour, settle, sampleUsual
		return s
	}
	begin := func(name string, p route) scenario {
		return scenario{
			Name: name, Route: p, Oscillator: oscillator{RatePPM: 100, WanderAmplitudePPM: 2},
			Offset: 100 * time.Millisecond, Duration: 30 * time.Minute, Sample: time.Second,
		}
	}
	asymmetric := wan
	asymmetric.Up.Base, asymmetric.Down.Base = 5*time.Millisecond, 15*time.Millisecond
	all := []scenario{
		day(scenario{Name: "wan", Route: wan, Oscillator: usual}),
		day(scenario{Name: "wander", Route: wan, Oscillator: oscillator{RatePPM: 37, WanderAmplitudePPM: 10}}),
		day(scenario{Name: "asymmetry", Route: asymmetric, Oscillator: usual}),
		day(scenario{Name: "loss", Route: symmetric(wan.Up.Base, wan.Up.Jitter, 33), Oscillator: usual}),
		day(scenario{Name: "lan", Route: lan, Oscillator: usual}),
		day(scenario{Name: "liars", Route: wan, Oscillator: usual,
			Lies: []time.Duration{0, 300 * time.Millisecond, 0, -80 * time.Millisecond, 0}}),
		day(scenario{Name: "outage", Route: wan, Oscillator: usual,
			Middle: []event{{At: -time.Hour, Kind: networkGone}, {At: time.Hour, Kind: networkBack}}}),
		begin("start-lan", lan),
		begin("start-wan", wan),
		{Name: "step", Route: lan, Oscillator: usual, Duration: 4 * time.Hour, Settle: settle, Sample: time.Second,
			Middle: []event{{Kind: stepped, By: 30 * time.Millisecond}}},
	}
	for i := range all {
		all[i].About = all[i].about()
	}
	return all
}

func scenarioNamed(name string) (scenario, error) {
	var names []string
	for _, s := range scenarios() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return scenario{}, fmt.Errorf("no scenario %q: there are %s", name, strings.Join(names, ", "))
}

// about tells the scenario in words, from its figures.
func (s scenario) about() string {
	var parts []string
	if s.Route.Up == s.Route.Down {
		parts = append(parts, fmt.Sprintf("%s each way", s.Route.Up))
	} else {
		parts = append(parts, fmt.Sprintf("%s up, %s down", s.Route.Up, s.Route.Down))
	}
	parts = append(parts, fmt.Sprintf("%g %% loss", s.Route.LossPct),
		fmt.Sprintf("%g ± %g ppm a day", s.Oscillator.RatePPM, s.Oscillator.WanderAmplitudePPM))
	if s.Offset != 0 {
		parts = append(parts, fmt.Sprintf("%s off at the start", s.Offset))
	}
	if len(s.Lies) > 0 {
		var lies []string
		for _, l := range s.Lies {
			if l != 0 {
				lies = append(lies, fmt.Sprintf("%+g ms", l.Seconds()*1e3))
			}
		}
		parts = append(parts, fmt.Sprintf("%d of %d servers lie (%s)", len(lies), len(s.Lies), strings.Join(lies, ", ")))
	}
	for i, e := range s.Middle {
		switch e.Kind {
		case networkBack:
			parts = append(parts, fmt.Sprintf("no network for %s in the middle", brief(e.At-s.Middle[i-1].At)))
		case stepped:
			parts = append(parts, fmt.Sprintf("stepped by %s by another hand in the middle", e.By))
		}
	}
	return strings.Join(parts, "; ")
}

func (l leg) String() string {
	unit, name := time.Millisecond, "ms"
	if l.Base < unit {
		unit, name = time.Microsecond, "µs"
	}
	return fmt.Sprintf("%g ± %g %s", float64(l.Base)/float64(unit), float64(l.Jitter)/float64(unit), name)
}

// brief is a duration without its zero parts.
func brief(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"0s", "0m"} {
		if cut, ok := strings.CutSuffix(s, zero); ok && cut != "" && strings.ContainsRune("hm", rune(cut[len(cut)-1])) {
			s = cut
		}
	}
	return s
}
