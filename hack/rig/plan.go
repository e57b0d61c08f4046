package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"
)

// planVariable names the plan's file to the guest's first process.
const planVariable = "RIG_PLAN"

// The network of the guest. The client is in the root namespace, the servers in
// srv, and all delay and loss is in wan between them: the kernel stamps a
// departure after the egress queue, so a queue on the client's own interface
// would hide half of the delay from it.
//
//	client c0 ── w0 [wan] w1 ── s0 servers
const (
	clientAddress   = "10.9.0.1"
	wanClientSide   = "10.9.0.254"
	wanServerSide   = "10.9.1.254"
	serverPrefix    = "10.9.1."
	serverFirst     = 2
	serversMax      = 100
	wanderPeriod    = 24 * time.Hour
	guestScratchDir = "/run/rig"
)

// plan is all that the guest is told.
type plan struct {
	Route     route
	Servers   []server
	Law       law // its origin is set in the guest
	Offset    time.Duration
	Events    []event
	Duration  time.Duration
	Sample    time.Duration
	Seed      [32]byte // of the guest's random numbers
	Modules   []string `json:",omitempty"` // of the kernel, in the order in which to load them
	Contender guestProgram
	Receiver  *receiver  `json:",omitempty"` // of the contender's alerts; nil: there is none
	Questions []question `json:",omitempty"` // to the contender, before it ends
}

// server is one NTP server that the reference plays.
type server struct {
	Address string
	Lie     time.Duration // what it is off by
}

// guestProgram is a program as the guest starts it.
type guestProgram struct {
	Argv, Env []string
	Files     map[string]string // written first: name to content
}

// law says what the time truly is, at each reading of CLOCK_MONOTONIC_RAW, which
// no steering of the clock touches.
type law struct {
	Oscillator oscillator
	RawNs      int64 // the instant at which the truth is UnixNs
	UnixNs     int64
}

// at is the truth, in Unix nanoseconds, when CLOCK_MONOTONIC_RAW reads rawNs.
func (l law) at(rawNs int64) int64 {
	elapsed := float64(rawNs - l.RawNs)
	period := float64(wanderPeriod)
	gained := l.Oscillator.RatePPM * elapsed
	// The integral of a sine over the rate.
	gained += l.Oscillator.WanderAmplitudePPM * period / (2 * math.Pi) * (1 - math.Cos(2*math.Pi*elapsed/period))
	return l.UnixNs + rawNs - l.RawNs + int64(math.Round(gained*1e-6))
}

// rateAt is how much faster than the raw clock the truth runs, in ppm, so long
// after its origin.
func (o oscillator) rateAt(elapsed time.Duration) float64 {
	return o.RatePPM + o.WanderAmplitudePPM*math.Sin(2*math.Pi*float64(elapsed)/float64(wanderPeriod))
}

// planFor is what the guest is told of s, for d. All contenders get the same seed
// in the same repeat.
func planFor(s scenario, d time.Duration, repeat int) plan {
	p := plan{
		Route: s.Route, Law: law{Oscillator: s.Oscillator}, Offset: s.Offset, Duration: d, Sample: s.Sample,
		Seed: sha256.Sum256(fmt.Append(nil, s.Name, repeat)),
	}
	lies := s.Lies
	if len(lies) == 0 {
		lies = []time.Duration{0}
	}
	for i, lie := range lies {
		p.Servers = append(p.Servers, server{Address: fmt.Sprint(serverPrefix, serverFirst+i), Lie: lie})
	}
	for _, e := range s.Middle {
		e.At += d / 2
		p.Events = append(p.Events, e)
	}
	return p
}

func (p plan) text() ([]byte, error) { return json.Marshal(p) }

func (p plan) write(file string) error {
	text, err := p.text()
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

func readPlan(file string) (plan, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return plan{}, err
	}
	var p plan
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields() // another version of this program wrote it
	err = strict.Decode(&p)
	if err != nil {
		return plan{}, fmt.Errorf("read plan %s: %w", file, err)
	}
	return p, nil
}
