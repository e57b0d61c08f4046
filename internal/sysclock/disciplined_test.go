package sysclock

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/leap"
)

// lineClock is a steered clock on the timeline of a fakeSystem, whose wall clock it is.
type lineClock struct {
	system *fakeSystem
	ppm    float64
	steps  []time.Duration
	told   []Telling
	found  Disturbance
	err    error
	closed bool
}

func (c *lineClock) Read() (time.Duration, int64, error) {
	return c.system.reading.Local, c.system.reading.Unix, c.err
}
func (c *lineClock) SetFrequency(ppm float64) error { c.ppm = ppm; return c.err }
func (c *lineClock) FrequencyMaxPPM() float64       { return 100_000 }
func (c *lineClock) Close() error                   { c.closed = true; return nil }
func (c *lineClock) Tell(t Telling) error           { c.told = append(c.told, t); return c.err }
func (c *lineClock) Look() (Disturbance, error) {
	found := c.found
	c.found = Disturbance{}
	return found, c.err
}
func (c *lineClock) Step(by time.Duration) error {
	c.steps = append(c.steps, by)
	c.system.step(by)
	return c.err
}

// workshop is a Disciplined over a clock that starts off by some time and runs at a wrong
// rate, and one source that is right and 2 ms away.
type workshop struct {
	t       *testing.T
	system  *fakeSystem
	clock   *lineClock
	virtual *Virtual
	d       *discipline.Discipline
	id      discipline.SourceID
	driver  *Disciplined
	scale   *leap.Scale
	truth   int64 // leap-free, at the local instant of the system
	rate    float64
	heard   bool // samples arrive
	next    time.Duration
}

const (
	workshopDelay  = 4 * time.Millisecond
	workshopSample = 4 * time.Second
)

func settingsOfWorkshop() DisciplinedSettings {
	return DisciplinedSettings{ErrorLimit: time.Second, MinSources: 1, StepThreshold: 50 * time.Millisecond, StepUpdates: 3, SlewMaxPPM: 500}
}

// newWorkshop returns one whose clock is behind by some time, while true time runs faster
// than the local timeline by ppm millionths.
func newWorkshop(t *testing.T, mode clock.Mode, table *leap.Table, start time.Time, behind time.Duration, ppm float64) *workshop {
	t.Helper()
	w := &workshop{t: t, system: newFakeSystem(), scale: leap.NewScale(table), rate: ppm * 1e-6, heard: true}
	w.system.reading.Unix = start.UnixNano() - int64(behind)
	w.truth = w.scale.TAI(start.UnixNano())
	w.d = discipline.New(discipline.Options{MinSources: 1, DistanceMax: time.Second})
	w.id = w.d.Open(discipline.SourceOptions{Name: "ntp1", RefID: [4]byte{192, 0, 2, 1}, ProviderError: 10 * time.Microsecond})
	var actuator Actuator
	if mode == clock.Virtual {
		w.virtual = NewVirtual(w.system)
		actuator = w.virtual
	} else {
		w.clock = &lineClock{system: w.system}
		actuator = w.clock
	}
	w.driver = NewDisciplined(w.system, actuator, w.d, w.scale, mode, benchPrecision, 0, settingsOfWorkshop())
	return w
}

// second lets a second go by, in which the source may be heard, and polls.
func (w *workshop) second() *clock.Snapshot {
	w.t.Helper()
	w.pass(time.Second)
	if w.heard && w.system.reading.Local >= w.next {
		w.next = w.system.reading.Local + workshopSample
		w.d.Add(w.id, discipline.Sample{
			Local: w.system.reading.Local, Remote: w.truth, Delay: workshopDelay, Dispersion: time.Microsecond,
			RootDelay: time.Millisecond, RootDispersion: 100 * time.Microsecond, Stratum: 2, RefID: [4]byte{10, 0, 0, 1},
		})
	}
	return w.poll(false)
}

// poll polls, and checks that the bound contains the truth.
func (w *workshop) poll(set bool) *clock.Snapshot {
	w.t.Helper()
	s := w.driver.Poll(context.Background(), set)
	if off := w.off(s); s.Claims() && off.Abs() > s.ErrorBound(w.system.reading.Mono) {
		w.t.Fatalf("the clock is off by %v and claims to be within %v: %s", off, s.ErrorBound(w.system.reading.Mono), s.Reason)
	}
	return s
}

// off is how far the served time is from the truth, on the leap-free scale.
func (w *workshop) off(s *clock.Snapshot) time.Duration {
	off := time.Duration(s.UTC(w.system.reading.Mono) - w.scale.UTC(w.truth))
	return off
}

func (w *workshop) pass(d time.Duration) {
	ppm := 0.0
	if w.clock != nil {
		ppm = w.clock.ppm
	}
	steered := d + time.Duration(math.Round(float64(d)*ppm*1e-6))
	w.system.reading.Local += d
	w.system.reading.Mono += steered
	w.system.reading.Unix += int64(steered)
	w.truth += int64(d) + int64(math.Round(float64(d)*w.rate))
}

// run polls for so many seconds and returns the last snapshot.
func (w *workshop) run(seconds int) (s *clock.Snapshot) {
	w.t.Helper()
	for range seconds {
		s = w.second()
	}
	return s
}

func noon() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func TestDisciplinedStart(t *testing.T) {
	w := newWorkshop(t, clock.Steer, nil, noon(), 100*time.Millisecond, 100)
	s := w.second()
	if s.State != clock.Unsynchronised || s.Stratum != clock.StratumUnsynchronised || s.RefID != clock.RefIDInit() || s.Reason == "" {
		t.Fatalf("before the sources were heard: %+v", s.Judgement)
	}
	if told := w.clock.told[len(w.clock.told)-1]; told.Synchronised {
		t.Errorf("the kernel was told %+v", told)
	}
	s = w.run(60)
	if s.State != clock.Synchronised || s.Stratum != 3 || s.RefID != [4]byte{192, 0, 2, 1} || s.Source != "sources" || s.Leap != clock.LeapNone {
		t.Errorf("after a minute: %+v", s.Judgement)
	}
	if len(w.clock.steps) != 1 || (w.clock.steps[0]-100*time.Millisecond).Abs() > 5*time.Millisecond {
		t.Errorf("steps %v", w.clock.steps)
	}
	if s.Steps != 1 {
		t.Errorf("%d steps counted", s.Steps)
	}
	if off := w.off(s); off.Abs() > 100*time.Microsecond {
		t.Errorf("off by %v after a minute", off)
	}
	if math.Abs(w.clock.ppm-100) > 5 {
		t.Errorf("the clock runs at %v ppm", w.clock.ppm)
	}
	// What is served says no more and no less than the formula.
	want := s.ResidualOffset.Abs() + (s.RootDelay+1)/2 + s.RootDispersion(s.Mono()) + s.ProviderError
	if got := s.ErrorBound(s.Mono()); got != want {
		t.Errorf("E is %v, its parts %v", got, want)
	}
	if s.RootDelay < workshopDelay+time.Millisecond || s.ProviderError < 10*time.Microsecond || s.ProviderError > 11*time.Microsecond {
		t.Errorf("root delay %v, provider error %v", s.RootDelay, s.ProviderError)
	}
	told := w.clock.told[len(w.clock.told)-1]
	if !told.Synchronised || told.MaxError < s.ErrorBound(s.Mono()) || told.EstError > told.MaxError || math.Abs(told.BasePPM-100) > 5 {
		t.Errorf("the kernel was told %+v, E is %v", told, s.ErrorBound(s.Mono()))
	}
	if ppm, skew, ok := w.driver.Drift(); !ok || math.Abs(ppm-100) > 1 || !(skew > 0) {
		t.Errorf("drift %v ± %v, %v", ppm, skew, ok)
	}
}

// TestDisciplinedTellsEverySecond: whoever asks the kernel gets a bound of this second.
func TestDisciplinedTellsEverySecond(t *testing.T) {
	w := newWorkshop(t, clock.Steer, nil, noon(), 0, 10)
	w.run(100)
	if len(w.clock.told) != 100 {
		t.Errorf("told %d times in 100 s", len(w.clock.told))
	}
}

// TestDisciplinedSlews: after the first updates there is no step, however far the clock is
// off, unless an operator says so; and no slew is faster than the limit.
func TestDisciplinedSlews(t *testing.T) {
	w := newWorkshop(t, clock.Steer, nil, noon(), 0, 20)
	w.run(120)
	w.system.step(-300 * time.Millisecond) // by another hand
	w.clock.found = Disturbance{Jump: -300 * time.Millisecond}
	s := w.poll(true)
	if s.Steps != 1 {
		t.Errorf("%d steps seen", s.Steps)
	}
	if !s.Claims() || s.ResidualOffset < 299*time.Millisecond {
		t.Errorf("after the step: %+v", s.Judgement)
	}
	for range 100 {
		was := w.system.reading
		w.second()
		gained := time.Duration(w.system.reading.Unix-was.Unix) - time.Second
		if gained > 521*time.Microsecond || gained < 519*time.Microsecond {
			t.Fatalf("gained %v in a second", gained)
		}
	}
	if len(w.clock.steps) != 0 {
		t.Errorf("stepped by %v", w.clock.steps)
	}
	behind, ok := w.driver.Behind()
	if !ok || behind > 251*time.Millisecond || behind < 249*time.Millisecond {
		t.Errorf("behind by %v, %v", behind, ok)
	}
	w.driver.StepNow()
	s = w.second()
	if len(w.clock.steps) != 1 || w.off(s).Abs() > 100*time.Microsecond || s.ResidualOffset.Abs() > 100*time.Microsecond {
		t.Errorf("steps %v, off by %v, residual %v", w.clock.steps, w.off(s), s.ResidualOffset)
	}
	if w.run(10); len(w.clock.steps) != 1 {
		t.Errorf("and again: %v", w.clock.steps)
	}
}

// TestDisciplinedFar: a clock that is off by more than the limit is not synchronised, and
// the reason says how to end that.
func TestDisciplinedFar(t *testing.T) {
	w := newWorkshop(t, clock.Steer, nil, noon(), 0, 20)
	w.run(120)
	w.system.step(40 * time.Second)
	s := w.poll(true)
	if s.Claims() || !strings.Contains(s.Reason, "clock makestep") || s.RefID != clock.RefIDStep() {
		t.Errorf("%+v", s.Judgement)
	}
	if told := w.clock.told[len(w.clock.told)-1]; told.Synchronised {
		t.Errorf("the kernel was told %+v", told)
	}
}

// TestDisciplinedTrend: a rate that was going one way goes on while nobody is heard, in what
// the clock is set to, in what the drift file gets, and without the servo running after it.
func TestDisciplinedTrend(t *testing.T) {
	w := newWorkshop(t, clock.Steer, new(leap.Table), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), 0, 10)
	const trend = 2e-10 // a second
	hours := func(n float64) {
		for range int(n * 3600) {
			w.rate += trend
			w.second()
		}
	}
	hours(2)
	before, _, ok := w.driver.Drift()
	w.heard = false
	w.d.Reach(w.id, 0)
	hours(0.5)
	after, _, _ := w.driver.Drift()
	want := trend * 1800 * 1e6
	if made := after - before; !ok || math.Abs(made-want) > want/4 {
		t.Errorf("the rate went on by %.3f ppm, and should by %.3f", made, want)
	}
	if behind, _ := w.driver.Behind(); behind.Abs() > 500 {
		t.Errorf("the servo runs after it by %v", behind)
	}
	if off := math.Abs(w.clock.ppm - after); off > 0.01 {
		t.Errorf("the clock is set to %.3f ppm, where the rate is %.3f", w.clock.ppm, after)
	}
}

// TestDisciplinedHoldover: without sources the bound grows as the formula says, until the
// limit; the clock recovers without a step.
func TestDisciplinedHoldover(t *testing.T) {
	w := newWorkshop(t, clock.Steer, nil, noon(), 0, 30)
	set := settingsOfWorkshop()
	set.ErrorLimit = 5 * time.Millisecond
	w.driver.Set(set)
	s := w.run(600)
	if s.State != clock.Synchronised {
		t.Fatalf("%+v", s.Judgement)
	}
	w.heard = false
	w.d.Reach(w.id, 0)
	lost := w.second()
	if lost.State != clock.Holdover || !strings.Contains(lost.Reason, "ago") {
		t.Fatalf("%+v", lost.Judgement)
	}
	left, began := w.driver.Left(w.system.reading.Local), w.system.reading.Local
	var crossed time.Duration
	for range 20000 {
		s = w.second()
		age := s.Mono() - lost.Mono()
		formula := lost.ErrorBound(lost.Mono()) + time.Duration(lost.GrowthPPM*1e-6*float64(age))
		if s.Claims() {
			if got := s.ErrorBound(s.Mono()); got < formula-50*time.Microsecond {
				t.Fatalf("after %v the bound is %v, below the formula's %v", age, got, formula)
			}
			continue
		}
		crossed = age
		if formula > set.ErrorLimit+set.ErrorLimit/10 {
			t.Errorf("given up after %v, where the formula has %v", age, formula)
		}
		break
	}
	if crossed == 0 {
		t.Fatal("claims for ever")
	}
	if lasted := w.system.reading.Local - began; (lasted - left).Abs() > lasted/50 {
		t.Errorf("it was to hold for %v and did for %v", left, lasted)
	}
	if got := w.driver.Left(w.system.reading.Local); got != 0 {
		t.Errorf("and now for another %v", got)
	}
	if s.Stratum != clock.StratumUnsynchronised || s.Leap != clock.LeapUnknown || s.RefID != clock.RefIDStep() {
		t.Errorf("%+v", s.Judgement)
	}
	steps := len(w.clock.steps)
	w.heard = true
	w.d.Reach(w.id, 1)
	if s = w.run(60); s.State != clock.Synchronised || len(w.clock.steps) != steps {
		t.Errorf("after the sources came back: %+v, steps %v", s.Judgement, w.clock.steps)
	}
}

// TestDisciplinedSleep: a machine that wakes up claims nothing until its sources have been
// heard anew, and may step then.
func TestDisciplinedSleep(t *testing.T) {
	w := newWorkshop(t, clock.Steer, nil, noon(), 0, 30)
	w.run(200)
	w.system.suspend(time.Hour)
	w.truth += int64(time.Hour + 700*time.Millisecond) // it does not know how long it slept
	s := w.poll(true)
	if s.Claims() || !strings.Contains(s.Reason, "slept") {
		t.Fatalf("%+v", s.Judgement)
	}
	s = w.run(40)
	if !s.Claims() || len(w.clock.steps) != 1 || w.off(s).Abs() > time.Millisecond {
		t.Errorf("%+v, steps %v, off %v", s.Judgement, w.clock.steps, w.off(s))
	}
}

func TestDisciplinedRival(t *testing.T) {
	w := newWorkshop(t, clock.Steer, nil, noon(), 0, 30)
	before := w.run(200)
	w.clock.found = Disturbance{Rival: "another program steers the system clock"}
	s := w.second()
	if w.driver.Rival() == "" || !strings.Contains(s.Reason, "another program") || s.GrowthPPM < before.GrowthPPM+400 {
		t.Errorf("%+v", s.Judgement)
	}
	if s = w.second(); w.driver.Rival() != "" || strings.Contains(s.Reason, "another program") {
		t.Errorf("it is gone: %+v", s.Judgement)
	}
}

// TestDisciplinedFault: a clock that cannot be steered proves nothing.
func TestDisciplinedFault(t *testing.T) {
	w := newWorkshop(t, clock.Steer, nil, noon(), 0, 30)
	w.run(200)
	w.clock.err = errors.New("the kernel has a cold")
	if s := w.second(); s.Claims() || !strings.Contains(s.Reason, "cold") {
		t.Errorf("%+v", s.Judgement)
	}
	w.clock.err = nil
	if s := w.run(2); !s.Claims() {
		t.Errorf("%+v", s.Judgement)
	}
	if err := w.driver.Close(); err != nil || !w.clock.closed {
		t.Errorf("closed %v, %v", w.clock.closed, err)
	}
}

// TestDisciplinedVirtual: a clock of our own is right while the system clock is wrong, and
// the kernel's stamps are mapped to it.
func TestDisciplinedVirtual(t *testing.T) {
	w := newWorkshop(t, clock.Virtual, nil, noon(), 7*time.Second, 80)
	unix := w.system.reading.Unix
	s := w.run(100)
	if s.Mode != clock.Virtual || s.State != clock.Synchronised || w.off(s).Abs() > 200*time.Microsecond {
		t.Fatalf("off by %v: %+v", w.off(s), s.Judgement)
	}
	if w.system.reading.Unix != unix+int64(100*time.Second) {
		t.Error("the system clock was touched")
	}
	if got := s.FromKernel(w.system.reading.Unix); got != s.UTC(w.system.reading.Mono) {
		t.Errorf("a stamp of now is %v from now", time.Duration(got-s.UTC(w.system.reading.Mono)))
	}
	if later := s.FromKernel(w.system.reading.Unix+1e9) - s.FromKernel(w.system.reading.Unix) - 1e9; later < 70_000 || later > 600_000 {
		t.Errorf("a second of the kernel is %d ns longer here", later)
	}
	if s.System.State != clock.Unsynchronised || !strings.Contains(s.System.Reason, "7.0") {
		t.Errorf("the system clock: %+v", s.System)
	}
	set := settingsOfWorkshop()
	set.ErrorLimit = 16 * time.Second
	w.driver.Set(set)
	s = w.second()
	if s.System.State != clock.Synchronised || (s.System.ResidualOffset-7*time.Second).Abs() > 50*time.Millisecond {
		t.Errorf("the system clock: %+v", s.System)
	}
}

// late lets the second before a leap go by, and some milliseconds more, in which the kernel
// has not made the leap yet. Nothing is corrected for that.
func (w *workshop) late() (smooth int64) {
	w.t.Helper()
	w.pass(time.Second)
	was := w.clock.ppm
	w.pass(5 * time.Millisecond)
	s := w.driver.Poll(context.Background(), true)
	if math.Abs(w.clock.ppm-was) > 50 {
		w.t.Fatalf("the clock is driven at %v ppm because the kernel is late with its leap second", w.clock.ppm)
	}
	return leap.SmoothOf(s, s.Mono()).Unix
}

func leapTable(t *testing.T, at time.Time, kind clock.Leap) *leap.Table {
	t.Helper()
	table := new(leap.Table).With(at.UnixNano(), kind)
	if _, _, ok := table.Next(at.Add(-time.Hour).UnixNano()); !ok {
		t.Fatal("the table does not know its leap second")
	}
	return table
}

// TestDisciplinedLeap: a leap second passes without a correction, and timestamps neither
// repeat nor skip.
func TestDisciplinedLeap(t *testing.T) {
	midnight := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		kind clock.Leap
		mode clock.Mode
	}{{clock.LeapInsert, clock.Steer}, {clock.LeapDelete, clock.Steer}, {clock.LeapInsert, clock.Virtual}, {clock.LeapDelete, clock.Virtual}} {
		w := newWorkshop(t, c.mode, leapTable(t, midnight, c.kind), midnight.Add(-5*time.Minute), 0, 20)
		var last int64
		done := false
		for range 600 {
			// The kernel makes the leap at its own midnight.
			if unix := w.system.reading.Unix; w.clock != nil && !done {
				if c.kind == clock.LeapInsert && unix+int64(time.Second) >= midnight.UnixNano() {
					last = w.late()
					w.system.step(-time.Second)
					w.pass(500 * time.Millisecond)
					if s := w.poll(true); leap.SmoothOf(s, s.Mono()).Unix < last {
						t.Fatalf("in the inserted second smooth time goes back by %v", time.Duration(last-leap.SmoothOf(s, s.Mono()).Unix))
					}
					done = true
				} else if c.kind == clock.LeapDelete && unix+int64(2*time.Second) >= midnight.UnixNano() {
					last = w.late()
					w.system.step(time.Second)
					done = true
				}
			}
			s := w.second()
			smooth := leap.SmoothOf(s, s.Mono()).Unix
			if last != 0 && (smooth-last < 990e6 || smooth-last > 2600e6) {
				t.Fatalf("%v, %v: smooth time went on by %v", c.kind, c.mode, time.Duration(smooth-last))
			}
			last = smooth
			if s.Claims() && s.ResidualOffset.Abs() > 100*time.Millisecond {
				t.Fatalf("%v, %v: residual %v at %v", c.kind, c.mode, s.ResidualOffset, time.Unix(0, s.Time.To).UTC())
			}
		}
		if w.clock != nil {
			if len(w.clock.steps) != 0 {
				t.Errorf("%v: stepped by %v", c.kind, w.clock.steps)
			}
			announced := false
			for _, told := range w.clock.told {
				announced = announced || told.Leap == c.kind
			}
			if !announced {
				t.Errorf("%v: the kernel was not told", c.kind)
			}
			if told := w.clock.told[len(w.clock.told)-1]; told.Leap != clock.LeapNone {
				t.Errorf("%v: still announced after it", c.kind)
			}
		}
	}
}
