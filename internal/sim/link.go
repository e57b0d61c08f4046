package sim

import (
	"math"
	"math/rand/v2"
	"time"
)

// Link is the network between a node and a server.
type Link struct {
	Out, Back time.Duration // the least that a packet takes to the server, and back
	Jitter    Jitter        // on top of it, each way
	Loss      float64       // probability that a packet is lost, each way
	Duplicate float64       // probability that a reply comes twice, the second time late
	Routes    []Route       // in the order of time
	// Up tells when packets get through; nil: always.
	Up func(since time.Duration) bool
}

// Route is a change of the least delays.
type Route struct {
	At        time.Duration // since the start
	Out, Back time.Duration
}

// Jitter is the distribution of what a packet waits in queues.
type Jitter struct {
	Shape Shape
	Scale time.Duration
}

// Shape is a family of distributions.
type Shape uint8

const (
	Uniform     Shape = iota // 0 to Scale
	Exponential              // mean Scale
	HeavyTailed              // median 0.6 Scale, mean 2 Scale; one in a thousand is above 99 Scale
)

// tailMax ends the tail of HeavyTailed, in Scales: a queue is finite.
const tailMax = 1000

func (j Jitter) draw(random *rand.Rand) time.Duration {
	if j.Scale == 0 {
		return 0
	}
	scales := 0.0
	switch j.Shape {
	case Uniform:
		scales = random.Float64()
	case Exponential:
		scales = random.ExpFloat64()
	case HeavyTailed: // Pareto with exponent 1.5, from 0 on
		scales = min(math.Pow(1-random.Float64(), -1/1.5)-1, tailMax)
	}
	return time.Duration(scales * float64(j.Scale))
}

// delays returns the least delays at a time since the start.
func (l *Link) delays(since time.Duration) (out, back time.Duration) {
	out, back = l.Out, l.Back
	for _, r := range l.Routes {
		if r.At <= since {
			out, back = r.Out, r.Back
		}
	}
	return out, back
}

// passes tells whether a packet that is sent now gets through.
func (l *Link) passes(since time.Duration, random *rand.Rand) bool {
	return (l.Up == nil || l.Up(since)) && random.Float64() >= l.Loss
}

// down returns a schedule with an outage.
func down(from, to time.Duration) func(time.Duration) bool {
	return func(since time.Duration) bool { return since < from || since >= to }
}
