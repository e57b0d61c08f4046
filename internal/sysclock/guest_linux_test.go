package sysclock

import (
	"os"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

// The tests in this file set the clock of the machine that they run on. They are for the
// first process of a guest alone, and want TRUECHIMER_GUEST to be set there: the binary that
// go test -c makes is the guest's init, and -test.run=TestGuest its argument. They sleep, in
// the guest's time.

// tee sends everything to the real kernel of a guest and to the model, and compares what
// they make of it: the model is what all other tests stand on.
type tee struct {
	t    *testing.T
	host *Host
	m    *kernelModel
}

// newTee sets the guest's clock to ten seconds before midnight, and both kernels to what
// somebody else left in the middle of his work.
func newTee(t *testing.T) *tee {
	t.Helper()
	if os.Getenv("TRUECHIMER_GUEST") == "" || os.Getpid() != 1 {
		t.Skip("this is not the first process of a guest")
	}
	tee := &tee{t, NewHost(), newKernelModel()}
	_, now := tee.host.Local()
	sec, nsec := stepParts(time.Duration(modelStart*int64(time.Second) + int64(500*time.Millisecond) - now))
	for _, before := range []timex{
		{modes: adjStatus},
		{modes: adjSetOffset | adjNano, sec: sec, nsec: nsec},
		{modes: adjStatus | adjOffset | adjNano, status: staPLL | staFLL | staPPSFreq | staIns | staFreqHold, offset: 4e6},
		{modes: adjFrequency | adjTick | adjTAI | adjMaxError | adjEstError, freq: -12.5 * freqPerPPM, tick: 10_010, constant: 37, maxerror: 1234, esterror: 567},
		{modes: adjOffsetSingleshot, offset: 100_000},
	} {
		if _, err := adjustKernel(&before); err != nil {
			t.Fatal(err)
		}
	}
	tee.m.status |= staFreqHold
	tee.m.noPulse = true
	tee.m.local, tee.m.wall = tee.host.Local()
	return tee
}

// adjust is an adjuster that asks both.
func (tee *tee) adjust(t *timex) (int, error) {
	local, _ := tee.host.Local()
	tee.m.pass(local - tee.m.local)
	model := *t
	state, err := adjustKernel(t)
	modelState, modelErr := tee.m.adjust(&model)
	if (err == nil) != (modelErr == nil) {
		tee.t.Errorf("modes %#x: the kernel says %v, the model %v", t.modes, err, modelErr)
	}
	// The model does not know how the loop removes its offset.
	if t.modes != adjOffsetSSRead && t.modes != adjOffsetSingleshot {
		t.offset, model.offset = 0, 0
	}
	t.constant, model.constant = 0, 0
	if err == nil && (*t != model || state != modelState) {
		tee.t.Errorf("after %v:\nthe kernel says %+v, %d\nthe model      %+v, %d", local, *t, state, model, modelState)
	}
	return state, err
}

// pass lets time go by, and compares the clocks after it. Calls stay in the middle of the
// clock's seconds, for a kernel turns them with its next tick.
func (tee *tee) pass(d, within time.Duration) {
	tee.t.Helper()
	time.Sleep(d)
	local, wall := tee.host.Local()
	tee.m.pass(local - tee.m.local)
	if off := time.Duration(wall - tee.m.wall); off.Abs() > within {
		tee.t.Errorf("after %v the kernel's clock is %v ahead of the model's", local, off)
	}
	tee.m.wall = wall
}

func TestGuestOpen(t *testing.T) {
	tee := newTee(t)
	k, err := openKernel(tee.host, tee.adjust)
	must(t, err)
	if k.Found() != 987.5 {
		t.Errorf("found %v ppm", k.Found())
	}
	tee.pass(5*time.Second, 30*time.Microsecond)
	undisturbed(t, k)
}

func TestGuestRates(t *testing.T) {
	tee := newTee(t)
	k, err := openKernel(tee.host, tee.adjust)
	must(t, err)
	for _, ppm := range []float64{0, 12.5, -12.5, 499.99, 500.25, -83_333, 100_000, -100_000, 0} {
		must(t, k.SetFrequency(ppm))
		must(t, k.Tell(Telling{Synchronised: true, MaxError: 3 * time.Millisecond, EstError: time.Millisecond, TAI: 37, BasePPM: 5}))
		tee.pass(3*time.Second, 30*time.Microsecond)
		undisturbed(t, k)
	}
	must(t, k.Close())
	var left timex
	if _, err := adjustKernel(&left); err != nil || left.freq != 5<<16 || left.tick != 10_000 || left.status&^staNano != 0 {
		t.Errorf("it left %+v, %v", left, err)
	}
}

func TestGuestSteps(t *testing.T) {
	tee := newTee(t)
	k, err := openKernel(tee.host, tee.adjust)
	must(t, err)
	for _, by := range []time.Duration{1, -1, -time.Nanosecond * 999_999_999, -3 * time.Second, time.Hour, -time.Hour, 400 * 24 * time.Hour, -400 * 24 * time.Hour} {
		must(t, k.Tell(Telling{Synchronised: true, MaxError: time.Millisecond}))
		must(t, k.Step(by))
		tee.pass(0, 30*time.Microsecond)
		undisturbed(t, k)
	}
	if err := k.Step(-100 * 365 * 24 * time.Hour); err == nil {
		t.Error("the clock was set to before the start of the machine")
	}
}

// The leap second of a real kernel, and one that a step shortly before would lose.
func TestGuestLeap(t *testing.T) {
	for _, test := range []struct {
		name string
		leap clock.Leap
		sign int
		step time.Duration
	}{
		{"insertion", clock.LeapInsert, 1, 0},
		{"deletion", clock.LeapDelete, -1, 0},
		{"insertion after a step", clock.LeapInsert, 1, -30 * time.Millisecond},
		{"deletion after a step", clock.LeapDelete, -1, 30 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			tee := newTee(t)
			k, err := openKernel(tee.host, tee.adjust)
			must(t, err)
			must(t, k.SetFrequency(100))
			_, start := tee.host.Local()
			for i := range 20 {
				if i == 5 {
					must(t, k.Step(test.step))
				}
				g := Telling{Synchronised: true, MaxError: time.Millisecond, Leap: test.leap, TAI: 37}
				if tee.m.wall >= (modelStart+10)*int64(time.Second) {
					g.Leap, g.TAI = clock.LeapNone, 37+test.sign
				}
				must(t, k.Tell(g))
				tee.pass(time.Second, 30*time.Microsecond)
				undisturbed(t, k)
			}
			_, end := tee.host.Local()
			if off := time.Duration(end-start) - 20*time.Second - test.step + time.Duration(test.sign)*time.Second; off.Abs() > 100*time.Millisecond {
				t.Errorf("the clock is %v off after the leap second", off)
			}
		})
	}
}

// Another program's work, done to a real kernel.
func TestGuestRival(t *testing.T) {
	tee := newTee(t)
	k, err := openKernel(tee.host, adjustKernel)
	must(t, err)
	for name, other := range map[string]timex{
		"adjtime":   {modes: adjOffsetSingleshot, offset: 5000},
		"frequency": {modes: adjFrequency, freq: 7 << 16},
		"loop":      {modes: adjStatus | adjOffset, status: staPLL, offset: 1000},
		"step":      {modes: adjSetOffset | adjNano, nsec: 1e8},
	} {
		must(t, k.SetFrequency(20))
		must(t, k.Tell(Telling{Synchronised: true, MaxError: time.Millisecond}))
		undisturbed(t, k)
		time.Sleep(time.Second)
		undisturbed(t, k)
		_, err := adjustKernel(&other)
		must(t, err)
		d, err := k.Look()
		must(t, err)
		if (d.Rival == "") != (name == "step") || (d.Jump != 0) != (name == "step") || (d.Jump != 0 && (d.Jump-100*time.Millisecond).Abs() > time.Millisecond) {
			t.Errorf("%s: %+v", name, d)
		}
		quiet, err := openKernel(tee.host, adjustKernel)
		must(t, err)
		undisturbed(t, quiet)
		_, _ = k.Look()
		k = quiet
	}
}
