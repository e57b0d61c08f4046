package sysclock

// KernelClock steers the clock of the kernel, and nothing else may. The kernel has three
// ways of its own to move its clock: a phase-locked loop, a pulse per second, and the rest
// of an adjtime(3). All are switched off at the opening, so that the rate is what it was
// told and nothing else; a phase is removed by whoever calls, with a rate for a time.
//
// What the kernel does by itself, and what follows from it here:
//
//   - The rate is frequency plus tick, set by one call and without a jump. The kernel cuts a
//     frequency beyond its limit without a word, so what it kept is compared.
//   - maxerror grows by 500 µs a second. At 16 s the clock becomes unsynchronised, so a
//     daemon that died is found out. A bound that cannot be told is not told: the clock is
//     unsynchronised then.
//   - A step makes the clock unsynchronised until it is told anew, and makes the kernel
//     forget when an announced leap second is due, though not that one was announced: it
//     would never come. Switching the phase-locked loop on and off lets it begin afresh.
//   - A leap second is inserted at the end of the UTC day on which it was announced, and
//     TAI − UTC goes with it. While it is announced that offset is the kernel's business.
//
// Source: Linux, kernel/time/ntp.c and timekeeping.c.

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

// ErrNotPermitted reports that this process may not steer the system clock.
var ErrNotPermitted = errors.New("sysclock: not permitted to steer the system clock")

// errClosed reports a use after the end.
var errClosed = errors.New("sysclock: the clock was closed")

// KernelClock is the Actuator for the kernel's clock. Not for concurrent use.
type KernelClock struct {
	system System
	adjust adjuster
	found  float64 // ppm
	base   float64 // ppm, as it was told last
	tai    int64   // TAI − UTC in seconds, as examine found it
	watch  rival
	closed bool
}

// openKernel takes over the clock behind adjust. What steered it before is switched off;
// its rate stays until SetFrequency.
func openKernel(system System, adjust adjuster) (*KernelClock, error) {
	k := &KernelClock{system: system, adjust: adjust}
	var t timex
	if _, err := adjust(&t); err != nil {
		return nil, fmt.Errorf("read the system clock's state: %w", err)
	}
	if t.tolerance != freqMaxPPM*freqPerPPM || t.tick < tickMin || t.tick > tickMax {
		return nil, fmt.Errorf("steer the system clock: this kernel's clock is not as expected (frequency limit %d, tick %d µs): use clock.mode = \"virtual\"", t.tolerance, t.tick)
	}
	k.found = ratePPM(t.freq, t.tick)
	k.base = k.found
	for _, t := range []timex{
		{modes: adjOffsetSingleshot},
		// An offset can only be taken back while the loop is on.
		{modes: adjStatus | adjOffset, status: staPLL | staUnsync},
		unclaimed(),
	} {
		if err := k.write(&t); err != nil {
			return nil, fmt.Errorf("take over the system clock: %w", err)
		}
	}
	return k, nil
}

// unclaimed is the state in which nothing is said of the clock.
func unclaimed() timex {
	return timex{modes: adjStatus | adjMaxError | adjEstError, status: staUnsync, maxerror: phaseLimit, esterror: phaseLimit}
}

// write has the kernel apply t, and notes the state after it as ours.
func (k *KernelClock) write(t *timex) error {
	if _, err := k.adjust(t); err != nil {
		return err
	}
	k.watch.set(t, k.system.Read())
	return nil
}

// examine looks for the hand of another before the state is overwritten.
func (k *KernelClock) examine() error {
	if k.closed {
		return errClosed
	}
	slew := timex{modes: adjOffsetSSRead}
	if _, err := k.adjust(&slew); err != nil {
		return fmt.Errorf("read the system clock's state: %w", err)
	}
	var t timex
	if _, err := k.adjust(&t); err != nil {
		return fmt.Errorf("read the system clock's state: %w", err)
	}
	k.tai = t.tai
	k.watch.look(&t, slew.offset, k.system.Read())
	return nil
}

// Look tells what another hand did to the clock since the last Look. Each of the calls that
// write looks first, so that nothing is overwritten unseen. A state that is not ours is
// reported until it has been overwritten.
func (k *KernelClock) Look() (Disturbance, error) {
	err := k.examine()
	return k.watch.take(), err
}

// Found is the rate at which the clock ran when it was opened, in ppm. Where a daemon was
// killed in the middle of a slew, that slew is in it.
func (k *KernelClock) Found() float64 { return k.found }

// FrequencyMaxPPM is what the kernel's tick reaches.
func (k *KernelClock) FrequencyMaxPPM() float64 { return rateMaxPPM }

// Read reads the local timeline and the system clock.
func (k *KernelClock) Read() (local time.Duration, clock int64, err error) {
	if k.closed {
		return 0, 0, errClosed
	}
	local, clock = k.system.Local()
	return local, clock, nil
}

// SetFrequency sets the rate, to 2⁻¹⁷ ppm.
func (k *KernelClock) SetFrequency(ppm float64) error {
	freq, tick, err := splitRate(ppm)
	if err != nil {
		return fmt.Errorf("set the system clock's frequency: %w", err)
	}
	if err := k.examine(); err != nil {
		return err
	}
	if err := k.setRate(freq, tick); err != nil {
		return fmt.Errorf("set the system clock's frequency to %.3f ppm: %w", ppm, err)
	}
	return nil
}

func (k *KernelClock) setRate(freq, tick int64) error {
	t := timex{modes: adjFrequency | adjTick, freq: freq, tick: tick}
	if err := k.write(&t); err != nil {
		return err
	}
	if t.freq != freq || t.tick != tick {
		return fmt.Errorf("the kernel took %.3f ppm instead", ratePPM(t.freq, t.tick))
	}
	return nil
}

// Step sets the clock. The kernel then says that it is not synchronised, and announces no
// leap second, until Tell.
func (k *KernelClock) Step(by time.Duration) error {
	if err := k.examine(); err != nil || by == 0 {
		return err
	}
	sec, nsec := stepParts(by)
	if err := k.write(&timex{modes: adjSetOffset | adjNano, sec: sec, nsec: nsec}); err != nil {
		return fmt.Errorf("step the system clock by %v: %w", by, err)
	}
	on, off := timex{modes: adjStatus, status: staPLL | staUnsync}, unclaimed()
	for _, t := range []*timex{&on, &off} {
		if err := k.write(t); err != nil {
			return fmt.Errorf("announce no leap second after a step of %v: %w", by, err)
		}
	}
	return nil
}

// Tell writes what is known of the clock into the kernel, for those that ask it: bounds
// rounded up, never a bound of zero, which would look like one that nobody measured.
func (k *KernelClock) Tell(g Telling) error {
	if g.MaxError < 0 || g.EstError < 0 || !(math.Abs(g.BasePPM) <= rateMaxPPM) {
		return fmt.Errorf("tell the system clock: impossible figures %+v", g)
	}
	if err := k.examine(); err != nil {
		return err
	}
	t := unclaimed()
	if maxError := micros(g.MaxError); g.Synchronised && maxError < phaseLimit {
		t.status = 0
		t.maxerror, t.esterror = max(maxError, 1), max(micros(g.EstError), 1)
	}
	switch g.Leap {
	case clock.LeapInsert:
		t.status |= staIns
	case clock.LeapDelete:
		t.status |= staDel
	case clock.LeapNone, clock.LeapUnknown:
	}
	if k.tellTAI(g) {
		t.modes |= adjTAI
		t.constant = int64(g.TAI)
	}
	if err := k.write(&t); err != nil {
		return fmt.Errorf("tell the system clock: %w", err)
	}
	k.base = g.BasePPM
	return nil
}

// tellTAI reports whether the kernel has to be told TAI − UTC. Around a leap second it goes
// from the old to the new one in its own instant, and is left alone.
func (k *KernelClock) tellTAI(g Telling) bool {
	if g.TAI <= 0 || int64(g.TAI) == k.tai {
		return false
	}
	off := int64(g.TAI) - k.tai
	return g.Leap == clock.LeapNone || off < -1 || off > 1
}

// Close sets the base frequency that was told last, or the one that was found. What was
// told of the clock stands: the kernel lets the bound grow, and ends it in time.
func (k *KernelClock) Close() error {
	if k.closed {
		return nil
	}
	freq, tick, err := splitRate(k.base)
	if err == nil {
		err = k.setRate(freq, tick)
	}
	if err != nil {
		return fmt.Errorf("leave the system clock at %.3f ppm: %w", k.base, err)
	}
	k.closed = true
	return nil
}
