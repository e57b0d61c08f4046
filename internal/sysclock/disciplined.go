package sysclock

// Disciplined serves a clock that our own sources keep right: the kernel's (steer), or one of
// our own (virtual). Once a second it asks the discipline what the sources say together,
// looks how far the clock is from that, corrects it, and says what can be claimed:
//
//   - synchronised: a majority of the sources agrees, and the error bound is within the limit;
//   - holdover: they are gone, or agree no longer. The clock runs on at the rate that they
//     taught it, and the bound grows by what is not known of that rate, until the limit;
//   - unsynchronised: before the first majority, after the limit, and after the machine slept.
//
// What is left to correct is known, and part of the bound: a clock that is being slewed from
// afar is unsynchronised as long as it is off by more than the limit.
//
// The estimate lives on the leap-free scale. The kernel's clock shows UTC, and makes its leap
// seconds by itself where it is told in time; in the seconds around one nothing is corrected
// that looks like it. A clock of our own runs on the leap-free scale, and UTC is made of it.

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/leap"
)

// DisciplinedSettings are what an operator may change while it runs.
type DisciplinedSettings struct {
	LocalStratum uint8         // of an unsynchronised clock that is served all the same; 0: it is not
	ErrorLimit   time.Duration // a larger error bound is no claim any more
	MinSources   int           // how many sources must agree

	StepThreshold time.Duration // the least correction that is a step; 0: there is none
	StepUpdates   int           // the first updates, in which there may be one
	SlewMaxPPM    float64
}

// Disciplined is the Driver for a clock that our own sources steer. Not for concurrent use,
// and neither is its Discipline.
type Disciplined struct {
	system     System
	actuator   Actuator
	discipline *discipline.Discipline
	scale      *leap.Scale
	mode       clock.Mode
	precision  int8
	settings   DisciplinedSettings
	servo      *discipline.Servo

	last      Reading
	selection discipline.Selection
	estimate  discipline.Estimate // the last valid one
	valid     bool                // there is one
	woken     bool                // there was none since the machine slept
	synced    bool                // it has been synchronised before
	steps     uint64
	applied   discipline.Correction
	rival     string // what another program does to the clock, or ""
	behind    time.Duration
	monoRate  float64 // of the monotonic clock to the local timeline, less 1
	rated     Reading // since when that is being measured
}

// NewDisciplined returns a driver that steers actuator by what the sources of d say. mode is
// clock.Steer for the kernel's clock and clock.Virtual for one that shows the leap-free scale;
// precision is log2 of seconds. The clock runs at basePPM until the sources say more.
func NewDisciplined(system System, actuator Actuator, d *discipline.Discipline, scale *leap.Scale, mode clock.Mode, precision int8, basePPM float64, s DisciplinedSettings) *Disciplined {
	driver := &Disciplined{
		system: system, actuator: actuator, discipline: d, scale: scale, mode: mode, precision: precision,
		applied: discipline.Correction{BasePPM: basePPM},
	}
	driver.servo = discipline.NewServo(driver.servoOptions(s))
	driver.Set(s)
	return driver
}

// Set changes the settings from the next Poll on.
func (d *Disciplined) Set(s DisciplinedSettings) {
	d.settings = s
	d.servo.Set(d.servoOptions(s))
	d.discipline.Set(discipline.Options{MinSources: s.MinSources, DistanceMax: s.ErrorLimit})
}

func (d *Disciplined) servoOptions(s DisciplinedSettings) discipline.ServoOptions {
	return discipline.ServoOptions{
		StepThreshold: s.StepThreshold,
		StepUpdates:   uint64(max(0, s.StepUpdates)),
		SlewMaxPPM:    s.SlewMaxPPM,
		RateMaxPPM:    d.actuator.FrequencyMaxPPM(),
	}
}

// Selection returns what became of the sources at the last Poll. It is valid until the next.
func (d *Disciplined) Selection() *discipline.Selection { return &d.selection }

// Rival says what another program does to the clock, with what to do about it, or "".
func (d *Disciplined) Rival() string { return d.rival }

// SlewPPM returns the rate at which an offset is being removed; positive: the clock is driven
// forward.
func (d *Disciplined) SlewPPM() float64 { return d.applied.SlewPPM }

// Behind returns by how much the clock was behind the sources at the last Poll, and whether
// there is anything to say.
func (d *Disciplined) Behind() (behind time.Duration, ok bool) { return d.behind, d.valid }

// StepNow makes the next Poll set the clock at once, by however much it is off.
func (d *Disciplined) StepNow() { d.servo.StepNow() }

// Drift returns the rate that the sources taught the clock and its standard deviation, both
// in ppm. ok is false as long as they have not.
func (d *Disciplined) Drift() (ppm, skewPPM float64, ok bool) {
	e := d.estimate.At(d.last.Local)
	return e.Frequency * 1e6, e.Skew * 1e6, d.valid && e.Skew > 0
}

// Close leaves the clock at the rate that it was taught, with no slew.
func (d *Disciplined) Close() error { return d.actuator.Close() }

// leapNear is how close to a leap second the clock may be a second off because it, or we, have
// it a moment later than the other.
const leapNear = 2 * time.Second

// Poll asks the sources, corrects the clock, and judges it.
func (d *Disciplined) Poll(_ context.Context, _ bool) *clock.Snapshot {
	d.wake(d.system.Read())
	fault := d.watch()
	if err := d.correct(); err != nil && fault == nil {
		fault = err
	}
	reading := d.system.Read()
	served, rate, err := d.served(reading)
	if err != nil && fault == nil {
		fault = err
	}
	free := served
	if d.mode != clock.Virtual {
		free = d.free(reading)
	}
	served = d.scale.UTC(free) // right even where the kernel is late with a leap second
	j := d.judge(reading, served, fault)
	s := &clock.Snapshot{
		Time:      clock.Map{From: int64(reading.Mono), To: served, Rate: rate},
		Mode:      d.mode,
		Precision: d.precision,
		Asleep:    reading.Asleep,
		Steps:     d.steps,
		Judgement: j,
		System:    j,
	}
	if d.mode == clock.Virtual {
		s.Kernel = clock.Map{From: reading.Unix, To: served, Rate: rate}
		s.System = d.judgeSystem(j, reading, served)
	}
	d.scale.Mark(s, free)
	d.tell(s, served)
	return s
}

// rateSpan is over how long the rate of the monotonic clock is measured at the least: two looks
// may follow each other at once, and a reading is right to a microsecond.
const rateSpan = time.Second / 2

// wake notices that the machine slept. What the samples said of the time is void then: how
// long it slept is known no better than to the second. Rates are as they were.
func (d *Disciplined) wake(r Reading) {
	first := d.last == Reading{}
	if !first && r.Asleep > d.last.Asleep {
		d.discipline.Restart()
		d.servo.Restart()
		d.valid, d.woken = false, true
	}
	local := r.Local - d.rated.Local - (r.Asleep - d.rated.Asleep)
	if mono := r.Mono - d.rated.Mono; !first && local >= rateSpan {
		d.monoRate = float64(mono-local) / float64(local)
	}
	if first || local >= rateSpan {
		d.rated = r
	}
	d.last = r
}

// watch looks for the hand of another on the clock, where there can be one.
func (d *Disciplined) watch() error {
	watched, ok := d.actuator.(Watched)
	if !ok {
		return nil
	}
	found, err := watched.Look()
	if err != nil {
		return err
	}
	d.rival = found.Rival
	if found.Jump != 0 {
		d.steps++
	}
	return nil
}

// correct brings the estimate up to date and the clock closer to it.
func (d *Disciplined) correct() error {
	local, shown, err := d.actuator.Read()
	if err != nil {
		return err
	}
	d.selection = d.discipline.Select(local)
	if d.selection.Valid {
		d.estimate, d.valid, d.woken = d.selection.Estimate, true, false
	}
	if !d.valid {
		return d.actuator.SetFrequency(d.applied.BasePPM)
	}
	now := d.estimate.At(local)
	target := now.Remote
	if d.selection.Valid {
		d.scale.Announce(d.scale.UTC(target), d.estimate.Leap)
	}
	if d.mode != clock.Virtual {
		shown = d.scale.TAI(shown)
	}
	d.behind = time.Duration(target - shown)
	if d.scale.Near(target, int64(leapNear)) {
		d.behind -= d.behind.Round(time.Second)
	}
	c := d.servo.Correct(d.behind, now.Frequency, now.Updates)
	if c.Step != 0 {
		if err := d.actuator.Step(c.Step); err != nil {
			return err
		}
		d.behind -= c.Step
		d.steps++
	}
	d.applied = c
	return d.actuator.SetFrequency(c.BasePPM + c.SlewPPM)
}

// served returns what the clock shows at a reading, and how much faster than the monotonic
// clock it runs, as a fraction. The kernel's clock and the monotonic one are slewed together.
func (d *Disciplined) served(r Reading) (shown int64, rate float64, err error) {
	if d.mode != clock.Virtual {
		return r.Unix, 0, nil
	}
	local, shown, err := d.actuator.Read()
	own := (d.applied.BasePPM + d.applied.SlewPPM) * 1e-6
	since := local - r.Local
	shown -= int64(since) + int64(math.Round(float64(since)*own))
	return shown, (1+own)/(1+d.monoRate) - 1, err
}

// free returns what the kernel's clock shows at a reading, on the leap-free scale. Around a
// leap second it shows the same second twice, and only the estimate tells which it is.
func (d *Disciplined) free(r Reading) int64 {
	if d.valid {
		if target := d.estimate.At(r.Local).Remote; d.scale.Near(target, int64(leapNear)) {
			return target - int64(d.behind)
		}
	}
	return d.scale.TAI(r.Unix)
}

// judge says what can be claimed of the served clock, which shows utc at the reading.
func (d *Disciplined) judge(r Reading, utc int64, fault error) clock.Judgement {
	switch {
	case !d.valid && d.woken:
		return d.unsynchronised("the machine slept, and the sources have not been heard often enough since", utc)
	case !d.valid:
		return d.unsynchronised(d.selection.Reason, utc)
	case fault != nil:
		return d.unsynchronised(fault.Error(), utc)
	}
	e := d.estimate.At(r.Local)
	j := clock.Judgement{
		State:          clock.Synchronised,
		Reason:         d.selection.Reason,
		Source:         "sources",
		Leap:           d.scale.Table().Indicator(utc, e.Leap),
		Stratum:        e.Stratum,
		RefID:          e.RefID,
		Reference:      utc - int64(r.Local-e.Updated),
		RootDelay:      e.RootDelay,
		RootDispersion: e.RootDispersion + d.grain(),
		GrowthPPM:      e.GrowthPPM,
		ProviderError:  e.ProviderError,
		ResidualOffset: d.behind,
		FrequencyPPM:   d.applied.BasePPM + d.applied.SlewPPM,
	}
	if d.rival != "" {
		j.Reason += "; " + d.rival
		j.GrowthPPM += kernelGrowthPPM
	}
	if !d.selection.Valid {
		j.State = clock.Holdover
		j.Reason = fmt.Sprintf("%s; the sources last agreed %v ago", d.selection.Reason, (r.Local - e.Updated).Round(time.Second))
	}
	s := clock.Snapshot{Judgement: j}
	switch bound := s.ErrorBound(0); {
	case j.Stratum >= clock.StratumUnsynchronised:
		return d.unsynchronised("the sources are too many strata away from a reference clock", utc)
	case bound > d.settings.ErrorLimit:
		return d.unsynchronised(d.beyond(&j, bound), utc)
	}
	d.synced = true
	return j
}

// beyond says why a claim is too weak to be one.
func (d *Disciplined) beyond(j *clock.Judgement, bound time.Duration) string {
	reason := fmt.Sprintf("%s, but the error bound of %v exceeds the limit of %v (clock.error_limit)", j.Reason, bound.Round(time.Microsecond), d.settings.ErrorLimit)
	if left := d.behind.Abs(); left > d.settings.ErrorLimit/2 {
		takes := time.Duration(float64(left) / (d.settings.SlewMaxPPM * 1e-6))
		reason += fmt.Sprintf(": the clock is off by %v, which takes %v to correct gradually; truechimer clock makestep sets it at once", d.behind.Round(time.Millisecond), takes.Round(time.Second))
	}
	return reason
}

// Left returns how long the error bound stays within the limit if nothing more is heard after
// the local instant: 0 where it does not now or nothing is known.
func (d *Disciplined) Left(local time.Duration) time.Duration {
	within := func(later time.Duration) bool {
		e := d.estimate.At(local + later)
		j := clock.Judgement{State: clock.Holdover, ResidualOffset: d.behind, RootDelay: e.RootDelay, RootDispersion: e.RootDispersion + d.grain(), ProviderError: e.ProviderError}
		s := clock.Snapshot{Judgement: j}
		return s.ErrorBound(0) <= d.settings.ErrorLimit
	}
	if !d.valid || !within(0) {
		return 0
	}
	low, high := time.Duration(0), leftMax
	for high-low > time.Millisecond {
		if middle := low + (high-low)/2; within(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

// leftMax is longer than anybody waits for sources to come back.
const leftMax = 365 * 24 * time.Hour

// grain is what the clock itself cannot resolve.
func (d *Disciplined) grain() time.Duration {
	return time.Duration(math.Ceil(math.Ldexp(1e9, int(d.precision))))
}

func (d *Disciplined) unsynchronised(reason string, utc int64) clock.Judgement {
	return unclaimedJudgement(reason, d.synced, d.settings.LocalStratum, utc, d.precision)
}

// judgeSystem says what can be claimed of the system clock, which others steer, or nobody, by
// what the sources taught about the served one.
func (d *Disciplined) judgeSystem(served clock.Judgement, r Reading, utc int64) clock.Judgement {
	j := served
	if !d.valid || served.State == clock.Unsynchronised {
		return j
	}
	j.ResidualOffset += time.Duration(utc - r.Unix)
	j.FrequencyPPM = 0
	j.GrowthPPM += kernelGrowthPPM // as fast as somebody may slew it
	if s := (clock.Snapshot{Judgement: j}); s.ErrorBound(0) > d.settings.ErrorLimit {
		return unclaimedJudgement(fmt.Sprintf("the system clock is off by %v", j.ResidualOffset.Round(time.Microsecond)), d.synced, 0, r.Unix, d.precision)
	}
	return j
}

// tellSpan is how long what was told has to hold: a second, and the time that a loop is late.
const tellSpan = 1200 * time.Millisecond

// tell hands on to the clock what is known of it.
func (d *Disciplined) tell(s *clock.Snapshot, utc int64) {
	table := d.scale.Table()
	t := Telling{
		Synchronised: s.State != clock.Unsynchronised,
		BasePPM:      d.applied.BasePPM,
	}
	if t.Synchronised {
		// The kernel lets it grow by 500 ppm until the next Tell; where ours grows faster, it
		// is told by so much more.
		t.MaxError = max(s.ErrorBound(s.Mono()), s.ErrorBound(s.Mono()+tellSpan)-kernelGrowthPPM*time.Microsecond)
		t.EstError = min(t.MaxError, s.ResidualOffset.Abs()+time.Duration(d.estimate.Deviation*1e9))
		if at, kind, ok := table.Next(utc); ok && at-utc <= int64(leap.AnnouncedAhead) {
			t.Leap = kind
		}
	}
	if offset, known := table.Offset(utc); known {
		t.TAI = offset
	}
	if err := d.actuator.Tell(t); err != nil {
		s.Judgement = d.unsynchronised(err.Error(), utc)
		s.System = s.Judgement
	}
}
