package sim

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/sysclock"
)

// machine is a computer: an oscillator, and a kernel that makes clocks of it. It is the
// sysclock.System of its node and, where the node steers the kernel's clock, its Actuator.
// Its clocks are read at the true time of the event that happens.
//
// The kernel's clock is a line over the local timeline, as adjtimex makes it: a rate, steps,
// and leap seconds that happen where the clock itself shows midnight. The monotonic clock is
// the same line without the steps.
type machine struct {
	run        *run
	oscillator *oscillator
	kernel     kernelClock
	stepped    func() // what WatchSteps would call

	stopped bool  // it sleeps, or its hypervisor does not let it run
	slept   int64 // how long it has slept, as it measured it

	anchorLocal, anchorClock int64
	carry                    float64 // fraction of a nanosecond at the anchor
	rate                     float64 // of the clock to the local timeline, less 1
	jumped                   int64   // clock less monotonic clock: steps, leap seconds, sleep

	telling sysclock.Telling
	told    int64 // local time of telling
	leapAt  int64 // Unix time on the clock at which it inserts or deletes a second; 0: never
	leapt   bool  // it has, and was not told since that there is none
}

// frequencyMaxPPM is what tick and frequency of Linux reach together.
const frequencyMaxPPM = 100_000

func newMachine(r *run, o *oscillator, clockError time.Duration) *machine {
	unix := r.truth.utc(r.start) + int64(clockError)
	m := &machine{run: r, oscillator: o, stepped: func() {}, anchorClock: unix, jumped: unix}
	m.kernel.machine = m
	return m
}

// local reads the local timeline.
func (m *machine) local() int64 { return m.oscillator.read(m.run.now) + m.slept }

// clockAt returns what the kernel's clock shows at a local time, leap seconds apart.
func (m *machine) clockAt(local int64) (ns int64, rest float64) {
	d := local - m.anchorLocal
	gained := float64(d)*m.rate + m.carry
	whole := math.Floor(gained)
	return m.anchorClock + d + int64(whole), gained - whole
}

// anchor lets the line begin anew at a local time.
func (m *machine) anchor(local int64) {
	m.anchorClock, m.carry = m.clockAt(local)
	m.anchorLocal = local
}

// look reads the local timeline and the kernel's clock, and makes the leap second happen
// that is due.
func (m *machine) look() (local, unix int64) {
	local = m.local()
	unix, _ = m.clockAt(local)
	if m.leapAt != 0 && unix >= m.leapAt {
		by := int64(-time.Second)
		if m.telling.Leap == clock.LeapDelete {
			by = int64(time.Second)
		}
		m.leapAt, m.leapt = 0, true
		m.jump(by)
		unix += by
	}
	return local, unix
}

// jump sets the clock.
func (m *machine) jump(by int64) {
	m.anchorClock += by
	m.jumped += by
	m.stepped()
}

// sleep suspends the machine or wakes it up; unknown is by how much it mistakes how long
// it has slept.
func (m *machine) sleep(asleep bool, since int64, unknown time.Duration) {
	m.look()
	m.oscillator.pause(m.run.now, asleep)
	m.stopped = asleep
	if asleep {
		return
	}
	was := m.local()
	d := m.run.now - since + int64(unknown)
	m.anchor(was)
	m.slept += d
	m.anchorLocal += d
	m.anchorClock += d
	m.jumped += d
	m.stepped()
}

// pause stops the machine or lets it go on, and it does not notice.
func (m *machine) pause(paused bool) {
	m.look()
	m.oscillator.pause(m.run.now, paused)
	m.stopped = paused
}

// Mono implements sysclock.System.
func (m *machine) Mono() time.Duration {
	_, unix := m.look()
	return time.Duration(unix - m.jumped)
}

// Read implements sysclock.System.
func (m *machine) Read() sysclock.Reading {
	local, unix := m.look()
	return sysclock.Reading{
		Mono:   time.Duration(unix - m.jumped),
		Unix:   unix,
		Local:  time.Duration(local),
		Asleep: time.Duration(m.slept),
	}
}

// Glance implements sysclock.System.
func (m *machine) Glance() (mono time.Duration, unix int64) {
	_, unix = m.look()
	return time.Duration(unix - m.jumped), unix
}

// Local implements sysclock.System.
func (m *machine) Local() (local time.Duration, unix int64) {
	l, unix := m.look()
	return time.Duration(l), unix
}

// kernelGrowth is how fast the kernel lets maxerror grow, as a fraction.
const kernelGrowth = 500e-6

// Kernel implements sysclock.System.
func (m *machine) Kernel() (sysclock.Kernel, error) {
	k := sysclock.Kernel{
		Synchronised: m.telling.Synchronised,
		MaxError:     m.telling.MaxError + time.Duration(kernelGrowth*float64(m.local()-m.told)),
		Leap:         m.telling.Leap,
		FrequencyPPM: 1e6 * m.rate,
	}
	if !k.Synchronised {
		k.Leap = clock.LeapUnknown
	}
	return k, nil
}

// WatchSteps implements sysclock.System: nodes are told by stepped.
func (m *machine) WatchSteps(context.Context, func()) error { return sysclock.ErrUnsupported }

// kernelClock is the kernel's clock of a machine as an Actuator.
type kernelClock struct {
	*machine
	foreign time.Duration // steps by another hand, until Look
	usurper float64       // the rate that another hand has set, in ppm, until SetFrequency
}

// usurp sets the rate by another hand.
func (k *kernelClock) usurp(ppm float64) {
	k.setRate(ppm)
	k.usurper = ppm
}

func (k *kernelClock) setRate(ppm float64) {
	local, _ := k.look()
	k.anchor(local)
	k.rate = math.Round(ppm*65536) / 65536 * 1e-6
}

// Look implements sysclock.Watched.
func (k *kernelClock) Look() (sysclock.Disturbance, error) {
	d := sysclock.Disturbance{Jump: k.foreign}
	if k.usurper != 0 {
		d.Rival = fmt.Sprintf("another program set the frequency to %v ppm", k.usurper)
	}
	k.foreign = 0
	return d, nil
}

// Read implements sysclock.Actuator.
func (k *kernelClock) Read() (local time.Duration, unix int64, err error) {
	local, unix = k.Local()
	return local, unix, nil
}

// SetFrequency implements sysclock.Actuator, with the kernel's grain of 2^-16 ppm.
func (k *kernelClock) SetFrequency(ppm float64) error {
	if !(math.Abs(ppm) <= frequencyMaxPPM) {
		return fmt.Errorf("set the frequency to %v ppm: out of range", ppm)
	}
	k.setRate(ppm)
	k.usurper = 0
	return nil
}

// Step implements sysclock.Actuator.
func (k *kernelClock) Step(by time.Duration) error {
	k.look()
	k.jump(int64(by))
	return nil
}

// Tell implements sysclock.Actuator. A leap second is at the end of the day that the clock
// shows, and there is none after it until the flag was cleared.
func (k *kernelClock) Tell(t sysclock.Telling) error {
	const day = int64(24 * time.Hour)
	local, unix := k.look()
	k.telling, k.told, k.leapAt = t, local, 0
	midnight := (unix/day + 1) * day
	switch {
	case t.Leap != clock.LeapInsert && t.Leap != clock.LeapDelete:
		k.leapt = false
	case k.leapt:
	case t.Leap == clock.LeapInsert:
		k.leapAt = midnight
	default:
		k.leapAt = midnight - int64(time.Second)
	}
	return nil
}

// Close implements sysclock.Actuator.
func (k *kernelClock) Close() error { return k.SetFrequency(k.telling.BasePPM) }

// FrequencyMaxPPM implements sysclock.Actuator.
func (k *kernelClock) FrequencyMaxPPM() float64 { return frequencyMaxPPM }
