package sysclock

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

// openModel opens a clock over a model, and lets a second pass, in which what the opening
// left running would show.
func openModel(t *testing.T) (*KernelClock, *kernelModel) {
	t.Helper()
	m := newKernelModel()
	k, err := openKernel(m.system(), m.adjust)
	if err != nil {
		t.Fatal(err)
	}
	return k, m
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// drifted lets d pass and returns how far the clock moved against the local timeline.
func (m *kernelModel) drifted(d time.Duration) time.Duration {
	local, wall := m.local, m.wall
	m.pass(d)
	return time.Duration(m.wall-wall) - (m.local - local)
}

func undisturbed(t *testing.T, k *KernelClock) {
	t.Helper()
	if d, err := k.Look(); err != nil || d != (Disturbance{}) {
		t.Errorf("Look = %+v, %v; want nothing", d, err)
	}
}

func TestOpenKernelStopsWhatRuns(t *testing.T) {
	k, m := openModel(t)
	if k.Found() != 987.5 {
		t.Errorf("found %v ppm, want 987.5", k.Found())
	}
	if m.status&^staNano != staUnsync || m.state != timeOK || m.adjtime != 0 || m.phase != 0 {
		t.Errorf("left over: status %#x, state %d, adjtime %d, phase %v", m.status, m.state, m.adjtime, m.phase)
	}
	if m.maxerror != phaseLimit || m.esterror != phaseLimit {
		t.Errorf("it claims %d µs, %d µs", m.maxerror, m.esterror)
	}
	if m.freq != -12.5*freqPerPPM || m.tick != 10_010 {
		t.Errorf("the rate went to %d, %d", m.freq, m.tick)
	}
	if off := m.drifted(5*time.Second) - 4937500; off.Abs() > 3 {
		t.Errorf("the clock moved by %v more than its rate", off)
	}
	undisturbed(t, k)
}

func TestOpenKernelRefuses(t *testing.T) {
	odd := errors.New("odd")
	for _, test := range []struct {
		name   string
		change func(*kernelModel)
		odd    func(*timex)
		want   string
	}{
		{"no state", func(m *kernelModel) { m.failing = func(*timex) error { return odd } }, nil, "read the system clock's state: odd"},
		{"not permitted", func(m *kernelModel) { m.mayNot = true }, nil, "take over the system clock: operation not permitted"},
		{"another limit", nil, func(x *timex) { x.tolerance = 512 << 16 }, "frequency limit 33554432"},
		{"no limit", nil, func(x *timex) { x.tolerance = 0 }, "frequency limit 0"},
		{"tick of another length", nil, func(x *timex) { x.tick = 976 }, "tick 976 µs"},
		{"tick too long", nil, func(x *timex) { x.tick = 11_001 }, "tick 11001 µs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newKernelModel()
			if test.change != nil {
				test.change(m)
			}
			before := *m
			_, err := openKernel(m.system(), func(x *timex) (int, error) {
				state, err := m.adjust(x)
				if test.odd != nil {
					test.odd(x)
				}
				return state, err
			})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			before.calls, before.failing = m.calls, nil
			m.failing = nil
			if fmt.Sprint(before) != fmt.Sprint(*m) {
				t.Errorf("a refusal changed the kernel from %+v to %+v", before, *m)
			}
		})
	}
}

func TestKernelSetFrequency(t *testing.T) {
	for _, test := range []struct {
		ppm        float64
		freq, tick int64
	}{
		{0, 0, 10_000},
		{12.5, 819200, 10_000},
		{-12.5, -819200, 10_000},
		{1.0 / 131072 * 0.99, 0, 10_000},
		{1.0 / 131072 * 1.01, 1, 10_000},
		{500, 500 << 16, 10_000},
		{-500, -500 << 16, 10_000},
		{500.25, 1 << 14, 10_005},
		{-500.25, -1 << 14, 9_995},
		{549, 49 << 16, 10_005},
		{551, -49 << 16, 10_006},
		{-83_333, -33 << 16, 9_167},
		{100_000, 0, 11_000},
		{-100_000, 0, 9_000},
		{99_999, -1 << 16, 11_000},
	} {
		k, m := openModel(t)
		must(t, k.SetFrequency(test.ppm))
		if m.freq != test.freq || m.tick != test.tick {
			t.Errorf("%v ppm: the kernel has frequency %d, tick %d; want %d, %d", test.ppm, m.freq, m.tick, test.freq, test.tick)
		}
		const seconds = 100
		if off := float64(m.drifted(seconds*time.Second)) - test.ppm*1000*seconds; math.Abs(off) > 1000*seconds/131072.0+3 {
			t.Errorf("%v ppm: the clock is off by %v ns after %d s", test.ppm, off, seconds)
		}
		undisturbed(t, k)
	}
}

func TestKernelRefusesRates(t *testing.T) {
	k, m := openModel(t)
	must(t, k.SetFrequency(77))
	calls := m.calls
	for _, ppm := range []float64{k.FrequencyMaxPPM() + 0.001, -k.FrequencyMaxPPM() - 0.001, math.NaN(), math.Inf(1), math.Inf(-1)} {
		if err := k.SetFrequency(ppm); err == nil {
			t.Errorf("%v ppm was accepted", ppm)
		}
	}
	if m.freq != 77<<16 || m.tick != 10_000 || m.calls != calls {
		t.Errorf("a refused rate changed the kernel: %d, %d", m.freq, m.tick)
	}
}

// A kernel that takes something else than it is told must not go unnoticed.
func TestKernelTakesAnotherRate(t *testing.T) {
	for name, spoil := range map[string]func(*timex){
		"frequency": func(x *timex) { x.freq-- },
		"tick":      func(x *timex) { x.tick = 10_000 },
	} {
		m := newKernelModel()
		k, err := openKernel(m.system(), func(x *timex) (int, error) {
			if x.modes == adjFrequency|adjTick {
				spoil(x)
			}
			return m.adjust(x)
		})
		must(t, err)
		if err := k.SetFrequency(700); err == nil || !strings.Contains(err.Error(), "the kernel took") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestKernelStep(t *testing.T) {
	for _, by := range []time.Duration{
		0, 1, -1, 999_999_999, -999_999_999, time.Second, -time.Second, time.Second + 1, -time.Second - 1,
		-1500 * time.Millisecond, 3 * 365 * 24 * time.Hour, -3 * 365 * 24 * time.Hour,
	} {
		k, m := openModel(t)
		must(t, k.SetFrequency(600))
		must(t, k.Tell(Telling{Synchronised: true, MaxError: time.Millisecond, TAI: 37}))
		before, calls := *m, m.calls
		must(t, k.Step(by))
		if got := time.Duration(m.wall - before.wall); got != by {
			t.Errorf("a step of %v moved the clock by %v", by, got)
		}
		if m.freq != before.freq || m.tick != before.tick || m.tai != 37 {
			t.Errorf("a step of %v changed the rate or TAI", by)
		}
		if by == 0 {
			if m.calls != calls+2 || m.maxerror != 1000 {
				t.Errorf("a step by nothing did something")
			}
		} else if m.status&^staNano != staUnsync || m.maxerror != phaseLimit {
			t.Errorf("after a step of %v the kernel claims %d µs, status %#x", by, m.maxerror, m.status)
		}
		undisturbed(t, k)
	}
}

func TestKernelStepFails(t *testing.T) {
	k, m := openModel(t)
	wall := m.wall
	m.failing = func(x *timex) error {
		if x.modes&adjSetOffset != 0 {
			return errModelInvalid
		}
		return nil
	}
	if err := k.Step(-time.Hour); !errors.Is(err, errModelInvalid) || !strings.Contains(err.Error(), "step the system clock by -1h0m0s") {
		t.Errorf("error %v", err)
	}
	if m.wall != wall {
		t.Error("the clock moved")
	}
	m.failing = func(x *timex) error {
		if x.modes == adjStatus && x.status&staPLL != 0 {
			return errModelPermission
		}
		return nil
	}
	if err := k.Step(time.Hour); !errors.Is(err, errModelPermission) || !strings.Contains(err.Error(), "after a step of 1h0m0s") {
		t.Errorf("error %v does not say that the step was made", err)
	}
}

func TestMicros(t *testing.T) {
	for d, want := range map[time.Duration]int64{0: 0, 1: 1, 1000: 1, 1001: 2, 16*time.Second - 1: 16_000_000, math.MaxInt64: 16_000_000} {
		if got := micros(d); got != want {
			t.Errorf("%d ns are %d µs, want %d", d, got, want)
		}
	}
}

func TestKernelTell(t *testing.T) {
	const ms, us = time.Millisecond, time.Microsecond
	for _, test := range []struct {
		name               string
		tell               Telling
		status             int32
		maxerror, esterror int64
	}{
		{"synchronised", Telling{Synchronised: true, MaxError: 12 * ms, EstError: 3 * ms}, 0, 12_000, 3000},
		{"rounded up", Telling{Synchronised: true, MaxError: 12*us + 1, EstError: 3*us + 999}, 0, 13, 4},
		{"never zero", Telling{Synchronised: true}, 0, 1, 1},
		{"a nanosecond", Telling{Synchronised: true, MaxError: 1, EstError: 1}, 0, 1, 1},
		{"to the limit", Telling{Synchronised: true, MaxError: 16*time.Second - us, EstError: time.Hour}, 0, 15_999_999, 16_000_000},
		{"at the limit", Telling{Synchronised: true, MaxError: 16*time.Second - us + 1, EstError: ms}, staUnsync, 16_000_000, 16_000_000},
		{"no bound", Telling{Synchronised: true, MaxError: math.MaxInt64, EstError: ms}, staUnsync, 16_000_000, 16_000_000},
		{"unsynchronised", Telling{MaxError: ms, EstError: ms}, staUnsync, 16_000_000, 16_000_000},
		{"insertion", Telling{Synchronised: true, MaxError: ms, EstError: ms, Leap: clock.LeapInsert}, staIns, 1000, 1000},
		{"deletion", Telling{Synchronised: true, MaxError: ms, EstError: ms, Leap: clock.LeapDelete}, staDel, 1000, 1000},
		{"leap unknown", Telling{Leap: clock.LeapUnknown}, staUnsync, 16_000_000, 16_000_000},
		{"insertion by a clock in the dark", Telling{Leap: clock.LeapInsert}, staUnsync | staIns, 16_000_000, 16_000_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, m := openModel(t)
			must(t, k.SetFrequency(-3))
			must(t, k.Tell(Telling{Synchronised: true, MaxError: 777 * us, Leap: clock.LeapInsert, TAI: 37}))
			must(t, k.Tell(test.tell))
			if m.status&^staNano != test.status || m.maxerror != test.maxerror || m.esterror != test.esterror {
				t.Errorf("status %#x, maxerror %d, esterror %d; want %#x, %d, %d", m.status, m.maxerror, m.esterror, test.status, test.maxerror, test.esterror)
			}
			if m.freq != -3<<16 || m.tick != 10_000 || m.tai != 37 || m.phase != 0 || m.adjtime != 0 {
				t.Errorf("it changed more than it was told: %+v", m)
			}
			undisturbed(t, k)
		})
	}
	for _, g := range []Telling{
		{MaxError: -1}, {EstError: -1}, {BasePPM: math.NaN()}, {BasePPM: math.Inf(1)}, {BasePPM: 100_001},
	} {
		k, m := openModel(t)
		calls := m.calls
		if err := k.Tell(g); err == nil || m.calls != calls {
			t.Errorf("%+v: error %v, %d calls", g, err, m.calls-calls)
		}
	}
}

// What others read while it is told once a second: never less than was told, and
// unsynchronised soon after nobody tells any more.
func TestKernelBoundGrows(t *testing.T) {
	k, m := openModel(t)
	must(t, k.SetFrequency(5))
	for i := range 100 {
		must(t, k.Tell(Telling{Synchronised: true, MaxError: time.Duration(i) * time.Millisecond}))
		m.pass(time.Second)
		if m.maxerror < int64(i*1000) || m.maxerror > int64(i*1000)+501 || m.status&staUnsync != 0 {
			t.Fatalf("a second after %d ms were told the kernel says %d µs, status %#x", i, m.maxerror, m.status)
		}
		undisturbed(t, k)
	}
	m.pass(9 * time.Hour)
	if m.status&staUnsync == 0 || m.maxerror != phaseLimit {
		t.Errorf("after nine hours of silence the kernel says %d µs, status %#x", m.maxerror, m.status)
	}
	undisturbed(t, k) // the kernel did that
}

func TestKernelTAI(t *testing.T) {
	for _, test := range []struct {
		name   string
		kernel int64
		tell   Telling
		want   int64
		writes bool
	}{
		{"not known", 37, Telling{}, 37, false},
		{"impossible", 37, Telling{TAI: -1}, 37, false},
		{"known to the kernel", 37, Telling{TAI: 37}, 37, false},
		{"news", 0, Telling{TAI: 37}, 37, true},
		{"wrong in the kernel", 36, Telling{TAI: 37}, 37, true},
		{"news on the day of a leap", 0, Telling{TAI: 37, Leap: clock.LeapInsert}, 37, true},
		{"the kernel has inserted already", 38, Telling{TAI: 37, Leap: clock.LeapInsert}, 38, false},
		{"the kernel has deleted already", 36, Telling{TAI: 37, Leap: clock.LeapDelete}, 36, false},
		{"far off on the day of a leap", 39, Telling{TAI: 37, Leap: clock.LeapInsert}, 37, true},
		{"far off below", 35, Telling{TAI: 37, Leap: clock.LeapDelete}, 37, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, m := openModel(t)
			m.tai = test.kernel
			wrote := false
			m.failing = func(x *timex) error { wrote = wrote || x.modes&adjTAI != 0; return nil }
			must(t, k.Tell(test.tell))
			if m.tai != test.want || wrote != test.writes {
				t.Errorf("TAI − UTC is %d, written %v; want %d, %v", m.tai, wrote, test.want, test.writes)
			}
		})
	}
}

// Ten seconds before the leap second until ten after: the clock goes as the kernel makes
// it, the offset to TAI goes with it and is not fought over, and nobody is accused. A step
// shortly before does not lose the leap second.
func TestKernelLeap(t *testing.T) {
	for _, test := range []struct {
		name string
		leap clock.Leap
		sign int64
		step time.Duration // 5 s before
		tai  int64         // of the kernel at the start
	}{
		{"insertion", clock.LeapInsert, 1, 0, 37},
		{"deletion", clock.LeapDelete, -1, 0, 37},
		{"none", clock.LeapNone, 0, 0, 37},
		{"insertion after a step", clock.LeapInsert, 1, -30 * time.Millisecond, 37},
		{"insertion after a step forward", clock.LeapInsert, 1, 2 * time.Second, 37},
		{"deletion after a step", clock.LeapDelete, -1, 30 * time.Millisecond, 37},
		{"insertion, nothing known", clock.LeapInsert, 1, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, m := openModel(t)
			m.tai = test.tai
			must(t, k.SetFrequency(100))
			const midnight = (modelStart + 10) * int64(time.Second)
			tai, start, local := int64(37), m.wall, m.local
			for i := range 100 {
				if i == 25 {
					must(t, k.Step(test.step))
				}
				g := Telling{Synchronised: true, MaxError: time.Millisecond, Leap: test.leap, TAI: int(tai)}
				if m.wall >= midnight {
					g.Leap, g.TAI = clock.LeapNone, int(tai+test.sign)
				}
				must(t, k.Tell(g))
				undisturbed(t, k)
				before := m.tai
				m.pass(200 * time.Millisecond)
				if back := before - m.tai; i > 0 && back*test.sign > 0 {
					t.Errorf("after %v TAI − UTC went back from %d to %d", m.local-local, before, m.tai)
				}
			}
			want := int64(20*time.Second) + 2_000_000 + int64(test.step) - test.sign*int64(time.Second)
			if got := m.wall - start; got < want-5 || got > want+5 {
				t.Errorf("the clock moved by %v, want %v", time.Duration(got), time.Duration(want))
			}
			if m.tai != tai+test.sign || m.state != timeOK || m.status&staLeap != 0 {
				t.Errorf("TAI − UTC is %d, state %d, status %#x at the end", m.tai, m.state, m.status)
			}
			undisturbed(t, k)
		})
	}
}

func TestKernelClose(t *testing.T) {
	tell := func(base float64) func(*testing.T, *KernelClock) {
		return func(t *testing.T, k *KernelClock) {
			must(t, k.Tell(Telling{Synchronised: true, MaxError: time.Millisecond, BasePPM: 1}))
			must(t, k.Tell(Telling{Synchronised: true, MaxError: time.Millisecond, BasePPM: base}))
			must(t, k.SetFrequency(-83_000))
		}
	}
	for _, test := range []struct {
		name       string
		do         func(*testing.T, *KernelClock)
		freq, tick int64
		status     int32
	}{
		{"nothing done", func(*testing.T, *KernelClock) {}, -12.5 * freqPerPPM, 10_010, staUnsync},
		{"nothing told", func(t *testing.T, k *KernelClock) { must(t, k.SetFrequency(-83_000)) }, -12.5 * freqPerPPM, 10_010, staUnsync},
		{"in a slew", tell(-37), -37 << 16, 10_000, 0},
		{"base far off", tell(50_010), 10 << 16, 10_500, 0},
		{"unsynchronised", func(t *testing.T, k *KernelClock) {
			tell(-37)(t, k)
			must(t, k.Tell(Telling{BasePPM: 7}))
		}, 7 << 16, 10_000, staUnsync},
		{"after a step", func(t *testing.T, k *KernelClock) { tell(-37)(t, k); must(t, k.Step(-1)) }, -37 << 16, 10_000, staUnsync},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, m := openModel(t)
			test.do(t, k)
			must(t, k.Close())
			if m.freq != test.freq || m.tick != test.tick || m.status&^staNano != test.status || m.phase != 0 || m.adjtime != 0 {
				t.Errorf("it left frequency %d, tick %d, status %#x, phase %v, adjtime %d; want %d, %d, %#x", m.freq, m.tick, m.status, m.phase, m.adjtime, test.freq, test.tick, test.status)
			}
			calls := m.calls
			_, _, readErr := k.Read()
			_, lookErr := k.Look()
			for i, err := range []error{readErr, lookErr, k.SetFrequency(1), k.Step(1), k.Tell(Telling{})} {
				if !errors.Is(err, errClosed) {
					t.Errorf("use %d after the end: error %v", i, err)
				}
			}
			if must(t, k.Close()); m.calls != calls {
				t.Error("it reached the kernel after the end")
			}
		})
	}
	k, m := openModel(t)
	m.failing = func(*timex) error { return errModelPermission }
	if err := k.Close(); !errors.Is(err, errModelPermission) {
		t.Errorf("error %v", err)
	}
	m.failing = nil
	must(t, k.Close()) // again
	if !k.closed {
		t.Error("not closed")
	}
}

func TestKernelRead(t *testing.T) {
	k, m := openModel(t)
	m.pass(3 * time.Second)
	if local, now, err := k.Read(); local != 3*time.Second || now != m.wall || err != nil {
		t.Errorf("Read = %v, %d, %v", local, now, err)
	}
}

// Every failure of the kernel comes out of the call that it happens in.
func TestKernelErrors(t *testing.T) {
	calls := map[string]func(*KernelClock) error{
		"look":      func(k *KernelClock) error { _, err := k.Look(); return err },
		"frequency": func(k *KernelClock) error { return k.SetFrequency(1) },
		"step":      func(k *KernelClock) error { return k.Step(1) },
		"tell":      func(k *KernelClock) error { return k.Tell(Telling{}) },
	}
	needs := map[string]int{"look": 2, "frequency": 3, "step": 5, "tell": 3}
	for name, call := range calls {
		for nth := 1; ; nth++ {
			k, m := openModel(t)
			n := 0
			m.failing = func(*timex) error {
				if n++; n == nth {
					return errModelInvalid
				}
				return nil
			}
			err := call(k)
			if n < nth {
				if err != nil || n != needs[name] {
					t.Errorf("%s: %d calls of the kernel, error %v", name, n, err)
				}
				break
			}
			if !errors.Is(err, errModelInvalid) {
				t.Errorf("%s: call %d of the kernel failed, and the error is %v", name, nth, err)
			}
		}
	}
}

// Whatever is done in whatever order, the clock is where the sum of it says, nobody else
// is accused, and the kernel has never been told anything that it refuses.
func TestKernelTwin(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		k, m := openModel(t)
		m.wall += 3600 * int64(time.Second)
		k.watch.set(&timex{freq: m.freq, tick: m.tick, tai: m.tai, status: staUnsync, maxerror: phaseLimit}, k.system.Read())
		start, rate, expected := m.wall, k.Found(), 0.0
		for range 50 {
			switch random.IntN(4) {
			case 0:
				rate = (random.Float64()*2 - 1) * []float64{1, 100, 500, 501, 100_000}[random.IntN(5)]
				must(t, k.SetFrequency(rate))
				rate = ratePPM(m.freq, m.tick)
			case 1:
				by := time.Duration(random.Int64N(1<<36) - 1<<35)
				must(t, k.Step(by))
				expected += float64(by)
			case 2:
				must(t, k.Tell(Telling{Synchronised: random.IntN(2) == 0, MaxError: time.Duration(random.Int64N(1 << 35)), TAI: 37, BasePPM: rate}))
			case 3:
				if d, err := k.Look(); err != nil || d != (Disturbance{}) {
					t.Fatalf("seed %d: %+v, %v", seed, d, err)
				}
			}
			d := time.Duration(random.Int64N(int64(3 * time.Second)))
			m.pass(d)
			expected += float64(d) * (1 + rate*1e-6)
		}
		if off := float64(m.wall-start) - expected; math.Abs(off) > 2 {
			t.Fatalf("seed %d: the clock is off by %v ns", seed, off)
		}
	}
}
