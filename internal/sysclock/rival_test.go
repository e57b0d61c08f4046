package sysclock

import (
	"strings"
	"testing"
	"time"
)

// Another hand does something between two calls of ours; each of our calls finds it.
func TestRival(t *testing.T) {
	for _, test := range []struct {
		name  string
		other func(*kernelModel)
		says  string
		jump  time.Duration
		holds bool // as long as we only look
	}{
		{"nobody", func(*kernelModel) {}, "", 0, false},
		{"frequency", func(m *kernelModel) { m.freq = -7 << 16 }, "it set the frequency to -7.000 ppm;", 0, true},
		{"a grain of frequency", func(m *kernelModel) { m.freq++ }, "it set the frequency to 20.000 ppm;", 0, true},
		{"tick", func(m *kernelModel) { m.tick-- }, "it set the frequency to -80.000 ppm;", 0, true},
		{"loop", func(m *kernelModel) { m.status |= staPLL }, "it switched on the kernel's own steering;", 0, true},
		{"another loop", func(m *kernelModel) { m.status |= staFLL }, "it switched on the kernel's own steering;", 0, true},
		{"pulse", func(m *kernelModel) { m.status |= staPPSTime }, "it switched on the kernel's own steering;", 0, true},
		{"pulse for frequency", func(m *kernelModel) { m.status |= staPPSFreq }, "it switched on the kernel's own steering;", 0, true},
		{"adjtime", func(m *kernelModel) { m.adjtime = -900_000 }, "it slews it by adjtime, with -900000 µs to go;", 0, true},
		{"leap announced", func(m *kernelModel) { m.status |= staDel }, "it changed the announcement of a leap second;", 0, true},
		{"leap withdrawn", func(m *kernelModel) { m.status &^= staIns }, "it changed the announcement of a leap second;", 0, true},
		{"bound", func(m *kernelModel) { m.maxerror = 1999 }, "it stated an error bound of 1999 µs;", 0, true},
		{"the same bound", func(m *kernelModel) { m.maxerror = 2000 }, "", 0, false},
		{"unsynchronised", func(m *kernelModel) { m.status |= staUnsync; m.maxerror = phaseLimit }, "", 0, false},
		{"set forward", func(m *kernelModel) { m.set(int64(time.Hour)) }, "", time.Hour, false},
		{"set back", func(m *kernelModel) { m.set(-int64(time.Millisecond)) }, "", -time.Millisecond, false},
		{"disturbed reading", func(m *kernelModel) { m.wall += int64(jumpMin) - 1 }, "", 0, false},
		{"disturbed reading, back", func(m *kernelModel) { m.wall -= int64(jumpMin) - 1 }, "", 0, false},
		{"set by little", func(m *kernelModel) { m.wall += int64(jumpMin) }, "", jumpMin, false},
		{"set by a second", func(m *kernelModel) { m.set(-int64(time.Second)) }, "", -time.Second, false},
		{"leap second", func(m *kernelModel) { m.wall -= int64(time.Second); m.tai++ }, "", 0, false},
		{"leap second deleted", func(m *kernelModel) { m.wall += int64(time.Second); m.tai-- }, "", 0, false},
		{"leap second, and set", func(m *kernelModel) { m.wall += int64(time.Second); m.tai++ }, "", time.Second, false},
		{"TAI told", func(m *kernelModel) { m.tai = 0 }, "", 0, false},
		{"TAI told, disturbed reading", func(m *kernelModel) { m.tai = 0; m.wall += int64(jumpMin) / 2 }, "", 0, false},
		{"suspended", func(m *kernelModel) { m.sleep(time.Hour) }, "", 0, false},
		{"suspended, coarsely", func(m *kernelModel) { m.sleep(time.Hour); m.local += time.Millisecond }, "", 0, false},
		{"set, and frequency", func(m *kernelModel) { m.set(int64(time.Hour)); m.freq = 1 << 16 }, "it set the frequency to 1.000 ppm;", 0, true},
	} {
		for _, by := range []struct {
			name string
			do   func(*KernelClock) error
		}{
			{"look", func(*KernelClock) error { return nil }},
			{"frequency", func(k *KernelClock) error { return k.SetFrequency(20) }},
			{"tell", func(k *KernelClock) error {
				return k.Tell(Telling{Synchronised: true, MaxError: 2 * time.Millisecond})
			}},
			{"step", func(k *KernelClock) error { return k.Step(time.Minute) }},
		} {
			t.Run(test.name+"/"+by.name, func(t *testing.T) {
				k, m := openModel(t)
				must(t, k.SetFrequency(20))
				m.status |= staIns // noted as ours by what follows
				must(t, k.setRate(20<<16, 10_000))
				k.watch.maxerror, m.maxerror = 2000, 2000
				m.status &^= staUnsync
				undisturbedBy(t, k, m)
				m.pass(300 * time.Millisecond)
				undisturbed(t, k)
				m.pass(300 * time.Millisecond)
				test.other(m)
				m.pass(10 * time.Millisecond)
				must(t, by.do(k))
				got, err := k.Look()
				must(t, err)
				if (test.says == "") != (got.Rival == "") || !strings.Contains(got.Rival, test.says) {
					t.Errorf("rival %q, want %q", got.Rival, test.says)
				}
				if off := got.Jump - test.jump; off.Abs() > time.Microsecond {
					t.Errorf("jump %v, want %v", got.Jump, test.jump)
				}
				if by.name == "look" {
					m.pass(10 * time.Millisecond)
					again, err := k.Look()
					must(t, err)
					if (again.Rival != "") != test.holds || again.Jump != 0 {
						t.Errorf("the next look finds %+v", again)
					}
				}
			})
		}
	}
}

// undisturbedBy takes the state of the model for ours.
func undisturbedBy(t *testing.T, k *KernelClock, m *kernelModel) {
	t.Helper()
	k.watch.status = m.status
	undisturbed(t, k)
}

// A clock of which we claim nothing, and another does.
func TestRivalClaims(t *testing.T) {
	k, m := openModel(t)
	m.pass(time.Second)
	undisturbed(t, k)
	m.status &^= staUnsync
	if got, err := k.Look(); err != nil || !strings.Contains(got.Rival, "it declared the clock synchronised;") {
		t.Errorf("Look = %+v, %v", got, err)
	}
}

// A rival that is overwritten each second is named each second, and for the last time when
// what it did last is overwritten.
func TestRivalEachSecond(t *testing.T) {
	k, m := openModel(t)
	for i := range 30 {
		must(t, k.SetFrequency(float64(i)))
		must(t, k.Tell(Telling{Synchronised: true, MaxError: time.Millisecond}))
		m.pass(500 * time.Millisecond)
		acts := i >= 10 && i < 20
		if acts {
			m.freq = 3 << 15
		}
		m.pass(500 * time.Millisecond)
		got, err := k.Look()
		must(t, err)
		if (got.Rival != "") != (acts || i == 20) || got.Jump != 0 {
			t.Errorf("second %d: %+v", i, got)
		}
	}
}

// While a fast rate comes into force the clock may be off by a tick of it, and later not.
func TestRivalSettles(t *testing.T) {
	for _, test := range []struct {
		off   time.Duration
		after time.Duration // the rate was set
		want  time.Duration
	}{
		{900 * time.Microsecond, 5 * time.Millisecond, 0},
		{-900 * time.Microsecond, time.Second, 0}, // first look since
		{1300 * time.Microsecond, time.Second, 1300 * time.Microsecond},
	} {
		k, m := openModel(t)
		must(t, k.SetFrequency(0))
		m.pass(time.Second)
		undisturbed(t, k)
		m.pass(time.Second)
		must(t, k.SetFrequency(100_000))
		must(t, k.Tell(Telling{})) // looks, at once
		m.pass(test.after)
		m.wall += int64(test.off)
		if got, _ := k.Look(); (got.Jump - test.want).Abs() > 10 {
			t.Errorf("%v off %v later: jump %v, want %v", test.off, test.after, got.Jump, test.want)
		}
		m.pass(time.Second)
		undisturbed(t, k)
		m.pass(time.Second)
		m.wall += int64(900 * time.Microsecond)
		if got, _ := k.Look(); (got.Jump - 900*time.Microsecond).Abs() > 10 {
			t.Errorf("long after: jump %v, want 900µs", got.Jump)
		}
	}
}

func TestRivalOfNothing(t *testing.T) {
	var r rival
	r.look(&timex{freq: 5, status: staPLL}, 7, Reading{Unix: 1})
	if got := r.take(); got != (Disturbance{}) {
		t.Errorf("found %+v before anything was set", got)
	}
}
