package sim

import (
	"math"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/sysclock"
)

// testMachine returns a machine whose oscillator is right, and its clock too, and the run
// that it lives in.
func testMachine(o Oscillator) (*run, *machine) {
	site := &Site{Start: begin()}
	r := &run{site: site, truth: newTruth(site)}
	r.start = r.truth.tai(begin().UnixNano())
	r.now = r.start
	return r, newMachine(r, newOscillator(o, testRandom(1), r.start), 0)
}

// off is what the machine's clock shows less UTC.
func off(r *run, m *machine) time.Duration {
	_, unix := m.Local()
	return time.Duration(unix - r.truth.utc(r.now))
}

func TestMachineSteers(t *testing.T) {
	r, m := testMachine(Oscillator{})
	if m.Mono() != 0 || off(r, m) != 0 || m.Read() != (sysclock.Reading{Unix: begin().UnixNano()}) {
		t.Fatalf("it starts with %+v", m.Read())
	}
	want := 0.0
	for _, ppm := range []float64{100, -500, 0, 50_000, -99_999.5, 0.001} {
		if err := m.kernel.SetFrequency(ppm); err != nil {
			t.Fatal(err)
		}
		if got := off(r, m); math.Abs(float64(got)-want) > 2 {
			t.Errorf("%v ppm: the clock jumped to %v", ppm, got)
		}
		r.now += 10_000_000_123
		want += 10_000_000_123 * ppm * 1e-6
		if got := off(r, m); math.Abs(float64(got)-want) > 3 {
			t.Errorf("%v ppm: off by %v, want %v", ppm, got, time.Duration(want))
		}
		mono, unix := m.Glance()
		local, _ := m.Local()
		if int64(mono) != unix-begin().UnixNano() || local != time.Duration(r.now-r.start) {
			t.Errorf("%v ppm: monotonic clock %v, local timeline %v", ppm, mono, local)
		}
	}
	before, began := off(r, m), r.now
	for range 10_000 { // nothing is lost where the lines meet
		m.kernel.SetFrequency(0.0625)
		r.now += 10_000_007
	}
	if got, want := off(r, m)-before, 0.0625e-6*float64(r.now-began); math.Abs(float64(got)-want) > 2 {
		t.Errorf("in many lines: off by %v, want %v", got, time.Duration(want))
	}
	for _, ppm := range []float64{100_001, -100_001, math.NaN(), math.Inf(1)} {
		if m.kernel.SetFrequency(ppm) == nil {
			t.Errorf("%v ppm was taken", ppm)
		}
	}
}

func TestMachineSteps(t *testing.T) {
	r, m := testMachine(Oscillator{})
	noticed := 0
	m.stepped = func() { noticed++ }
	r.now += int64(time.Second)
	before := m.Read()
	if err := m.kernel.Step(-3 * time.Second); err != nil {
		t.Fatal(err)
	}
	after := m.Read()
	if after.Unix-before.Unix != -3*sec || after.Mono != before.Mono || after.Local != before.Local || noticed != 1 {
		t.Errorf("from %+v to %+v, noticed %d times", before, after, noticed)
	}
	if d, _ := m.kernel.Look(); d != (sysclock.Disturbance{}) {
		t.Errorf("our own step is another's: %+v", d)
	}
}

// TestMachineSleeps wakes a machine up that mistakes how long it slept.
func TestMachineSleeps(t *testing.T) {
	r, m := testMachine(Oscillator{Frequency: 100e-6})
	m.kernel.SetFrequency(-100)
	r.now += int64(10 * time.Second)
	before, at := m.Read(), r.now
	m.sleep(true, at, 0)
	r.now += int64(time.Hour)
	m.sleep(false, at, 7*time.Millisecond)
	after := m.Read()
	const slept = time.Hour + 7*time.Millisecond
	if after.Asleep != slept || after.Local-before.Local != slept || after.Mono != before.Mono || time.Duration(after.Unix-before.Unix) != slept {
		t.Errorf("from %+v to %+v", before, after)
	}
	r.now += int64(10 * time.Second)
	if got := m.Read(); got.Local-after.Local != 10_001_000_000 || got.Asleep != slept || off(r, m) < 6999*us || off(r, m) > 7001*us {
		t.Errorf("then it goes on to %+v, off by %v", got, off(r, m))
	}
}

func TestMachinePauses(t *testing.T) {
	r, m := testMachine(Oscillator{})
	before := m.Read()
	m.pause(true)
	r.now += int64(30 * time.Second)
	m.pause(false)
	if after := m.Read(); after != before || off(r, m) != -30*time.Second {
		t.Errorf("from %+v to %+v, off by %v", before, after, off(r, m))
	}
}

// TestMachineLeaps has the clock's midnight come, which is not the true one.
func TestMachineLeaps(t *testing.T) {
	for _, test := range []struct {
		leap         clock.Leap
		last, jumped time.Duration // since the clock's midnight when it leaps, and by how much
	}{
		{clock.LeapInsert, 0, -time.Second},
		{clock.LeapDelete, -time.Second, time.Second},
		{clock.LeapNone, 0, 0},
	} {
		r, m := testMachine(Oscillator{})
		m.kernel.Step(300 * time.Millisecond)
		midnight := begin().Truncate(24 * time.Hour).Add(24 * time.Hour)
		tell := sysclock.Telling{Synchronised: true, MaxError: time.Millisecond, Leap: test.leap}
		r.now = r.truth.tai(midnight.UnixNano()) - 300_000_000 + int64(test.last) - 1
		m.kernel.Tell(tell)
		if got := off(r, m); got != 300*time.Millisecond {
			t.Errorf("%d: off by %v before", test.leap, got)
		}
		mono := m.Mono()
		r.now++
		if got := off(r, m) - 300*time.Millisecond; got != test.jumped {
			t.Errorf("%d: it jumped by %v, want %v", test.leap, got, test.jumped)
		}
		if m.Mono() != mono+1 {
			t.Errorf("%d: the monotonic clock jumped", test.leap)
		}
		for range 3 { // as long as it is told so, there is no second one
			m.kernel.Tell(tell)
			r.now += sec
			m.look()
		}
		if got := off(r, m) - 300*time.Millisecond; got != test.jumped {
			t.Errorf("%d: it has jumped by %v in the end, want %v", test.leap, got, test.jumped)
		}
	}
}

func TestMachineTells(t *testing.T) {
	r, m := testMachine(Oscillator{})
	if k, err := m.Kernel(); err != nil || k.Synchronised || k.Leap != clock.LeapUnknown {
		t.Errorf("before: %+v, %v", k, err)
	}
	m.kernel.Tell(sysclock.Telling{Synchronised: true, MaxError: time.Millisecond, BasePPM: 12})
	m.kernel.SetFrequency(400)
	r.now += 100 * sec
	want := sysclock.Kernel{Synchronised: true, MaxError: 51 * time.Millisecond, FrequencyPPM: 400}
	if k, _ := m.Kernel(); k.MaxError.Round(time.Microsecond) != want.MaxError || !k.Synchronised || math.Abs(k.FrequencyPPM-400) > 1e-6 || k.Leap != 0 {
		t.Errorf("%+v, want %+v", k, want)
	}
	m.kernel.Close()
	if k, _ := m.Kernel(); math.Abs(k.FrequencyPPM-12) > 1e-4 {
		t.Errorf("left at %v ppm", k.FrequencyPPM)
	}
}

func TestMachineIsUsurped(t *testing.T) {
	_, m := testMachine(Oscillator{})
	m.kernel.usurp(77)
	if d, _ := m.kernel.Look(); d.Rival == "" || m.rate != 77e-6 {
		t.Errorf("%+v at %v", d, m.rate)
	}
	m.kernel.foreign = time.Second
	m.kernel.SetFrequency(1)
	if d, _ := m.kernel.Look(); d.Rival != "" || d.Jump != time.Second {
		t.Errorf("%+v", d)
	}
	if d, _ := m.kernel.Look(); d.Jump != 0 {
		t.Error("one step was seen twice")
	}
}
