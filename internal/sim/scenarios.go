package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/truechimer/truechimer/internal/discipline"
)

const (
	us = time.Microsecond
	ms = time.Millisecond
)

const ppm = 1e-6

// begin is when scenarios start unless they say otherwise: far from leap seconds and eras.
func begin() time.Time { return time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC) }

// either returns x or −x.
func either[T time.Duration | float64](random *rand.Rand, x T) T {
	if random.IntN(2) == 0 {
		return -x
	}
	return x
}

// crystal is the oscillator of an ordinary machine: some ppm off, with the walk of a quartz
// and the warmth of the day.
func crystal(random *rand.Rand) Oscillator {
	return Oscillator{
		Frequency:   (2*random.Float64() - 1) * 30 * ppm,
		Wander:      1e-9,
		Swing:       0.2 * ppm,
		SwingPeriod: 6 * time.Hour,
	}
}

// internet returns servers at some distance that are right, by what they say of themselves.
func internet(random *rand.Rand, count int) []Server {
	servers := make([]Server, count)
	for i := range servers {
		base := 5*ms + time.Duration(random.Float64()*float64(25*ms))
		skewed := time.Duration((2*random.Float64() - 1) * float64(base/5))
		servers[i] = Server{
			Link: Link{
				Out: base + skewed, Back: base - skewed,
				Jitter: Jitter{Exponential, 300 * us},
				Loss:   0.002,
			},
			Noise:          2 * us,
			Stratum:        uint8(1 + i%2),
			RootDispersion: 100 * us,
			Options:        named(i),
		}
		if servers[i].Stratum == 2 {
			servers[i].RootDelay, servers[i].RootDispersion = 3*ms, ms
			servers[i].Error = constant(time.Duration((2*random.Float64() - 1) * float64(500*us)))
		}
	}
	return servers
}

func named(i int) discipline.SourceOptions {
	return discipline.SourceOptions{Name: fmt.Sprintf("server %d", i+1), RefID: [4]byte{192, 0, 2, byte(i + 1)}}
}

// reference is the one server of the rig: right, and near or far.
func reference(out, back, jitter time.Duration, loss float64) Server {
	return Server{
		Link:           Link{Out: out, Back: back, Jitter: Jitter{Uniform, jitter}, Loss: loss},
		RootDispersion: 10 * us,
		MinPoll:        4,
		MaxPoll:        6,
		Options:        named(0),
	}
}

// wan is 10 ± 0.5 ms each way, lan 100 ± 50 µs.
func wan(loss float64) Server { return reference(9500*us, 9500*us, ms, loss) }
func lan() Server             { return reference(50*us, 50*us, 100*us, 0.001) }

// guest is the oscillator of the rig: 37 ppm, 2 ppm a day of wander.
func guest(rate float64) Oscillator {
	return Oscillator{Frequency: rate, Swing: ppm, SwingPeriod: 24 * time.Hour}
}

// alone is a site with one node.
func alone(o Oscillator, off time.Duration, servers ...Server) Site {
	return Site{Start: begin(), Nodes: []Node{{Oscillator: o, ClockError: off, Servers: servers}}}
}

// Scenarios returns all scenarios.
func Scenarios() []Scenario {
	var all []Scenario
	for _, group := range [][]Scenario{rigs(), starts(), networks(), oscillators(), liars(), quorums(), outages(), hands(), moves(), leaps()} {
		all = append(all, group...)
	}
	return all
}

// rigs are the scenarios of hack/rig: one server, which is right.
func rigs() []Scenario {
	return []Scenario{
		{
			Name:  "wan",
			Lasts: 24 * time.Hour,
			Setup: func(r *rand.Rand) Site { return alone(guest(37*ppm), 0, wan(0.01)) },
			Limits: Limits{
				Synced: 60 * time.Second, Error: ms, Settled: 300 * time.Second, From: 30 * time.Minute,
				RMSError: 100 * us, MedianBound: 12 * ms, Steps: 1,
			},
		},
		{
			Name:  "lan",
			Lasts: 24 * time.Hour,
			Setup: func(r *rand.Rand) Site { return alone(guest(37*ppm), 0, lan()) },
			Limits: Limits{
				Synced: 60 * time.Second, Error: 200 * us, Settled: 300 * time.Second, From: 30 * time.Minute,
				RMSError: 16 * us, MedianBound: 500 * us, RateRMS: 0.5 * ppm, Steps: 1,
			},
			Check: func(r *Result) error { return interleaves(r, 0.95, 1) },
		},
		{
			Name:  "wan start",
			Lasts: 2 * time.Hour,
			Setup: func(r *rand.Rand) Site { return alone(guest(either(r, 100*ppm)), either(r, 100*ms), wan(0.01)) },
			Limits: Limits{
				Synced: 60 * time.Second, Error: ms, Settled: 300 * time.Second, From: time.Hour,
				RMSError: 150 * us, MedianBound: 12 * ms, Steps: 3,
			},
		},
		{
			Name:  "lan start",
			Lasts: 2 * time.Hour,
			Setup: func(r *rand.Rand) Site { return alone(guest(either(r, 100*ppm)), either(r, 100*ms), lan()) },
			Limits: Limits{
				Synced: 60 * time.Second, Error: ms, Settled: 60 * time.Second, From: time.Hour,
				RMSError: 20 * us, MedianBound: 500 * us, Steps: 3,
			},
		},
		{
			Name:  "wander",
			Lasts: 8 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				return alone(Oscillator{Frequency: either(r, 10*ppm), Wander: 1e-7}, 0, lan())
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: 2 * ms, Settled: 300 * time.Second, From: 30 * time.Minute,
				RMSError: 200 * us, MedianBound: 2 * ms, Steps: 1,
			},
		},
		{
			Name:  "asymmetric",
			Lasts: 8 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				return alone(guest(37*ppm), 0, reference(4500*us, 14500*us, ms, 0.01))
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: 6 * ms, Settled: 300 * time.Second, From: 30 * time.Minute,
				RMSError: 5100 * us, MedianBound: 12 * ms, Steps: 1,
			},
		},
		{
			Name:  "loss 33 %",
			Lasts: 12 * time.Hour,
			Setup: func(r *rand.Rand) Site { return alone(guest(37*ppm), 0, wan(0.33)) },
			Limits: Limits{
				Synced: 600 * time.Second, Error: 6 * ms, Settled: 600 * time.Second, From: 30 * time.Minute,
				RMSError: 300 * us, MedianBound: 12 * ms, Steps: 1,
			},
		},
		{
			Name:  "basic mode",
			Lasts: 8 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				s := lan()
				s.Basic = true
				return alone(guest(37*ppm), 0, s)
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: 300 * us, Settled: 300 * time.Second, From: 30 * time.Minute,
				RMSError: 30 * us, MedianBound: 500 * us, Steps: 1,
			},
			Check: func(r *Result) error { return interleaves(r, 0, 0) },
		},
		{
			Name:  "virtual",
			Lasts: 8 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				site := alone(crystal(r), either(r, 5*time.Second), wan(0.01))
				site.Nodes[0].Virtual = true
				return site
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: ms, Settled: 300 * time.Second, From: 30 * time.Minute,
				RMSError: 120 * us, MedianBound: 12 * ms, Steps: 1,
			},
		},
	}
}

// starts are scenarios that begin in a bad way.
func starts() []Scenario {
	return []Scenario{
		{
			Name:  "defaults",
			Lasts: 8 * time.Hour,
			Setup: func(r *rand.Rand) Site { return alone(crystal(r), either(r, 100*ms), internet(r, 4)...) },
			Limits: Limits{
				Synced: 60 * time.Second, Error: 10 * ms, Settled: 300 * time.Second, From: time.Hour,
				RMSError: 6 * ms, MedianBound: 40 * ms, Steps: 1,
			},
		},
		{
			Name:  "offset 100 s",
			Lasts: 2 * time.Hour,
			Setup: func(r *rand.Rand) Site { return alone(crystal(r), either(r, 100*time.Second), internet(r, 4)...) },
			Limits: Limits{
				Synced: 60 * time.Second, Error: 10 * ms, Settled: 300 * time.Second,
				RMSError: 6 * ms, MedianBound: 40 * ms, Steps: 3,
			},
		},
		{
			Name:  "rate 100 ppm",
			Lasts: 4 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				o := crystal(r)
				o.Frequency = either(r, 100*ppm)
				return alone(o, 0, internet(r, 4)...)
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: 10 * ms, Settled: 300 * time.Second,
				RMSError: 6 * ms, MedianBound: 40 * ms, Steps: 1,
			},
		},
		{
			Name:  "rate 5 %",
			Lasts: 4 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				o := crystal(r)
				o.Frequency = either(r, 0.05)
				return alone(o, 0, internet(r, 4)...)
			},
			Limits: Limits{
				Synced: 10 * time.Minute, Error: 10 * ms, Settled: 20 * time.Minute,
				RMSError: 6 * ms, MedianBound: 40 * ms, Steps: 3,
			},
		},
		{
			Name:  "warm restart",
			Lasts: time.Hour,
			Setup: func(r *rand.Rand) Site {
				rate := either(r, 80*ppm)
				site := alone(guest(rate), either(r, 20*ms), wan(0.01))
				site.Nodes[0].KnownRate, site.Nodes[0].KnownSkew = 1/(1+rate)-1, ppm
				return site
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: ms, Settled: 120 * time.Second,
				RMSError: 300 * us, MedianBound: 12 * ms, Steps: 1,
			},
		},
		{
			Name:  "one source",
			Lasts: 8 * time.Hour,
			Setup: func(r *rand.Rand) Site { return alone(crystal(r), either(r, 30*ms), internet(r, 1)...) },
			Limits: Limits{
				Synced: 180 * time.Second, Error: 15 * ms, Settled: 300 * time.Second,
				RMSError: 10 * ms, MedianBound: 40 * ms, Steps: 1,
			},
		},
	}
}

// networks are scenarios with a network that is worse than most.
func networks() []Scenario {
	return []Scenario{
		{
			Name:  "jitter 0.1 s",
			Lasts: 12 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				s := reference(10*ms, 10*ms, 0, 0)
				s.Link.Jitter = Jitter{Exponential, 100 * ms}
				return alone(crystal(r), either(r, 100*ms), s)
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: 60 * ms, Settled: 30 * time.Minute, From: 2 * time.Hour,
				RMSError: 15 * ms, MedianBound: 80 * ms, Steps: 3,
			},
		},
		{
			Name:  "heavy tail",
			Lasts: 8 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				s := wan(0.01)
				s.Link.Jitter = Jitter{HeavyTailed, ms}
				s.Link.Duplicate = 0.1
				return alone(crystal(r), either(r, 100*ms), s)
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: 3 * ms, Settled: 10 * time.Minute, From: 30 * time.Minute,
				RMSError: 300 * us, MedianBound: 15 * ms, Steps: 1,
			},
		},
		{
			Name:  "up 12 %",
			Lasts: 24 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				s := wan(0.01)
				s.Link.Up = rarely(r, 10*time.Minute, 24*time.Hour, 0.12)
				return alone(crystal(r), 0, s)
			},
			Limits: Limits{Error: 100 * ms, Settled: 8 * time.Hour, RMSError: 10 * ms, MedianBound: 150 * ms, Steps: 1},
		},
	}
}

// oscillators are scenarios with an oscillator that is worse than most.
func oscillators() []Scenario {
	return []Scenario{
		{
			Name:  "temperature",
			Lasts: 8 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				return alone(Oscillator{Frequency: either(r, 20*ppm), Swing: 2 * ppm, SwingPeriod: 20 * time.Minute}, 0, lan())
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: 300 * us, Settled: 300 * time.Second,
				RMSError: 60 * us, MedianBound: 500 * us, Steps: 1,
			},
		},
		{
			Name:  "frequency shift",
			Lasts: 8 * time.Hour,
			Setup: func(r *rand.Rand) Site {
				o := guest(37 * ppm)
				o.Shifts = []Shift{{4 * time.Hour, either(r, 5*ppm)}}
				return alone(o, 0, wan(0.01))
			},
			Limits: Limits{
				Synced: 60 * time.Second, Error: 3 * ms, Settled: 300 * time.Second, From: 30 * time.Minute,
				RMSError: 300 * us, MedianBound: 12 * ms, Steps: 1,
			},
		},
	}
}

// interleaves demands that a share of the samples was measured in interleaved mode.
func interleaves(r *Result, least, most float64) error {
	if share := float64(r.Interleaved) / float64(r.Samples); !(share >= least && share <= most) {
		return fmt.Errorf("%d of %d samples are interleaved", r.Interleaved, r.Samples)
	}
	return nil
}

// rarely returns a schedule that is up in some of the slots, drawn with a probability.
func rarely(random *rand.Rand, slot, lasts time.Duration, probability float64) func(time.Duration) bool {
	up := make([]bool, lasts/slot+1)
	for i := range up {
		up[i] = random.Float64() < probability
	}
	return func(since time.Duration) bool { return up[min(int(since/slot), len(up)-1)] }
}
