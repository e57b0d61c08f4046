package sim

import (
	"math"
	"math/rand/v2"
	"time"
)

// Oscillator is what drives the clocks of a machine. Rates are fractions: 1e-6 is 1 ppm;
// positive runs fast.
type Oscillator struct {
	Frequency float64 // rate to true time, less 1, at the start
	// Wander is a random walk of the frequency: its standard deviation after one second,
	// growing with the square root of time. 2 ppm a day is 6.8e-9.
	Wander float64
	// Swing is the amplitude of a sinusoid in the frequency, as temperature makes it, and
	// SwingPeriod its period; the phase is drawn.
	Swing       float64
	SwingPeriod time.Duration
	Shifts      []Shift
}

// Shift is a sudden change of frequency.
type Shift struct {
	At time.Duration // since the start
	By float64
}

// cellLen is how long the rate stays constant. The walk is taken on this grid of true
// time and not on that of the events, so that it does not depend on them.
const cellLen = int64(time.Second)

// oscillator integrates the rate of an Oscillator. The local timeline is exact to a
// nanosecond over any time: within a cell it is linear, and what is left of a nanosecond
// at the end of a cell is carried over. It only goes forward.
type oscillator struct {
	Oscillator
	random *rand.Rand
	start  int64
	phase  float64

	paused bool    // it stands still, and true time goes on
	walk   float64 // the random walk so far
	shift  int     // Shifts that have happened

	cellAt    int64   // true time of the start of the cell, or of its rest
	cellEnd   int64   // true time
	cellLocal int64   // what the oscillator showed at cellAt
	carry     float64 // and the fraction of a nanosecond: 0 to 1
	rate      float64 // to true time, less 1, in this cell
}

func newOscillator(o Oscillator, random *rand.Rand, start int64) *oscillator {
	s := &oscillator{Oscillator: o, random: random, start: start, cellAt: start, cellEnd: start + cellLen}
	s.phase = 2 * math.Pi * random.Float64()
	s.setRate()
	return s
}

// setRate works out the rate of the cell that begins at cellAt.
func (o *oscillator) setRate() {
	if o.paused {
		o.rate = -1
		return
	}
	since := o.cellAt - o.start
	for o.shift < len(o.Shifts) && int64(o.Shifts[o.shift].At) <= since {
		o.Frequency += o.Shifts[o.shift].By
		o.shift++
	}
	o.rate = o.Frequency + o.walk
	if o.Swing != 0 {
		o.rate += o.Swing * math.Sin(o.phase+2*math.Pi*float64(since)/float64(o.SwingPeriod))
	}
}

// within returns what the oscillator shows at true time t of the cell.
func (o *oscillator) within(t int64) (ns int64, rest float64) {
	d := t - o.cellAt
	gained := float64(d)*o.rate + o.carry
	whole := math.Floor(gained)
	return o.cellLocal + d + int64(whole), gained - whole
}

// cut begins a new cell at true time t.
func (o *oscillator) cut(t int64) {
	o.cellLocal, o.carry = o.within(t)
	o.cellAt = t
	o.setRate()
}

// read returns the nanoseconds that the oscillator has counted at true time t, which is
// not before the t of any earlier call.
func (o *oscillator) read(t int64) int64 {
	for t >= o.cellEnd {
		end := o.cellEnd
		o.cellEnd += cellLen
		if o.Wander != 0 {
			o.walk += o.Wander * o.random.NormFloat64()
		}
		o.cut(end)
	}
	ns, _ := o.within(t)
	return ns
}

// pause stops the oscillator at true time t, or lets it go on.
func (o *oscillator) pause(t int64, paused bool) {
	o.read(t)
	o.paused = paused
	o.cut(t)
}

// when returns about the true time at which the oscillator, which runs, will have counted
// ns, as if the rate of this cell lasted; not before true time now.
func (o *oscillator) when(ns, now int64) int64 {
	d := ns - o.cellLocal
	return max(now, o.cellAt+d-int64(float64(d)*o.rate/(1+o.rate)))
}
