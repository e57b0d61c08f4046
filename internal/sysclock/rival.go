package sysclock

import (
	"fmt"
	"math"
	"time"
)

// Disturbance is what another hand did to a clock that we steer.
type Disturbance struct {
	// Rival is a sentence for an operator when another program steers the clock: what it
	// did, and what to do about it. Empty: none does.
	Rival string
	// Jump is how far the clock has moved beyond what its rate explains; positive: forward.
	// Somebody has set it. A leap second that the kernel inserted is none.
	Jump time.Duration
}

// Watched is an Actuator for a clock that others can reach, too.
type Watched interface {
	Actuator
	// Look tells what another hand did since the last Look. It is called once a second.
	Look() (Disturbance, error)
}

const (
	// jumpMin is the smallest jump that is told from a disturbed reading.
	jumpMin = 200 * time.Microsecond
	// settleTime is how long the kernel may take to make a new rate true: one timer tick.
	settleTime = 10 * time.Millisecond
)

// rival finds the hand of another on the kernel's clock: its state is not what we made it,
// or the clock has moved against the local timeline in a way that its rate does not
// explain. The zero value has set nothing and finds nothing. The kernel's own doings, a
// bound that grows, a clock that becomes unsynchronised by that or by a step, are nobody's.
type rival struct {
	ours bool // we have set the state
	// The state as we made it.
	freq, tick, maxerror int64
	status               int32

	// What the clock has to move by from the last reading on.
	last  Reading
	rate  float64       // ppm
	slack time.Duration // the rate has just changed
	tai   int64

	seen Disturbance
}

// set notes the state t, which we have just made, and the reading after it.
func (r *rival) set(t *timex, now Reading) {
	r.ours = true
	r.freq, r.tick, r.maxerror, r.status = t.freq, t.tick, t.maxerror, t.status
	r.track(t, now)
}

// track begins a new stretch of the clock's line. Where nothing was done in between, the
// slack of an earlier change is over only when its time is.
func (r *rival) track(t *timex, now Reading) {
	rate := ratePPM(t.freq, t.tick)
	if r.last != (Reading{}) && now.Local-r.last.Local >= settleTime {
		r.slack = 0
	}
	r.slack += time.Duration(math.Abs(rate-r.rate) * 1e-6 * float64(settleTime))
	r.last, r.rate, r.tai = now, rate, t.tai
}

// look compares the state t, and the rest of an adjtime(3) in µs, with what we made, and
// remembers what does not fit.
func (r *rival) look(t *timex, slewUs int64, now Reading) {
	if !r.ours {
		return
	}
	if did := r.strange(t, slewUs); did != "" {
		r.seen.Rival = fmt.Sprintf("another program steers the system clock: it %s; stop it, or use clock.mode = \"follow\"", did)
	}
	r.seen.Jump += r.jump(t, now)
	r.track(t, now)
}

// strange says what is not as we made it, or nothing.
func (r *rival) strange(t *timex, slewUs int64) string {
	switch {
	case t.freq != r.freq || t.tick != r.tick:
		return fmt.Sprintf("set the frequency to %.3f ppm", ratePPM(t.freq, t.tick))
	case t.status&staLoops != 0:
		return "switched on the kernel's own steering"
	case slewUs != 0:
		return fmt.Sprintf("slews it by adjtime, with %d µs to go", slewUs)
	case (t.status^r.status)&staLeap != 0:
		return "changed the announcement of a leap second"
	case r.status&staUnsync != 0 && t.status&staUnsync == 0:
		return "declared the clock synchronised"
	case t.maxerror < r.maxerror:
		return fmt.Sprintf("stated an error bound of %d µs", t.maxerror)
	}
	return ""
}

// jump is how far the clock has moved since the last reading beyond what explains it.
func (r *rival) jump(t *timex, now Reading) time.Duration {
	if now.Asleep != r.last.Asleep || ratePPM(t.freq, t.tick) != r.rate {
		return 0 // how long it slept is known coarsely; nobody knows when the rate was changed
	}
	local := now.Local - r.last.Local
	expected := local + time.Duration(math.Round(float64(local)*r.rate*1e-6))
	jump := time.Duration(now.Unix-r.last.Unix) - expected
	leap := -time.Duration(t.tai-r.tai) * time.Second
	if allowed := jumpMin + r.slack; jump.Abs() < allowed || (jump-leap).Abs() < allowed {
		return 0
	}
	return jump
}

// take returns what was found, and forgets it.
func (r *rival) take() Disturbance {
	seen := r.seen
	r.seen = Disturbance{}
	return seen
}
