package discipline

import (
	"math"
	"testing"
	"time"
)

func usualServo() ServoOptions {
	return ServoOptions{StepThreshold: 50 * ms, StepUpdates: 3, SlewMaxPPM: 500, RateMaxPPM: 100_000}
}

// TestServoStep is about when a clock is stepped.
func TestServoStep(t *testing.T) {
	never := usualServo()
	never.StepThreshold = 0
	for _, c := range []struct {
		name    string
		options ServoOptions
		behind  time.Duration
		updates uint64 // since the first correction
		steps   bool
	}{
		{"at the start", usualServo(), 50 * ms, 0, true},
		{"at the start, back", usualServo(), -50 * ms, 0, true},
		{"below the threshold", usualServo(), 50*ms - 1, 0, false},
		{"below the threshold, back", usualServo(), 1 - 50*ms, 0, false},
		{"the third update", usualServo(), time.Hour, 2, true},
		{"the fourth update", usualServo(), time.Hour, 3, false},
		{"long after", usualServo(), -time.Hour, 1 << 40, false},
		{"threshold 0", never, time.Hour, 0, false},
		{"threshold 0, and nothing to do", never, 0, 0, false},
		{"farthest back", usualServo(), math.MinInt64, 0, true},
	} {
		for _, began := range []uint64{0, 1, 1000} {
			s := NewServo(c.options)
			s.Correct(0, 0, began)
			got := s.Correct(c.behind, 1e-6, began+c.updates)
			want := time.Duration(0)
			if c.steps {
				want = c.behind
			}
			if got.Step != want || c.steps && got.SlewPPM != 0 || got.BasePPM != 1 {
				t.Errorf("%s, after %d: %+v", c.name, began, got)
			}
		}
	}
}

// TestServoAsked: an operator's step is one step, whatever the limits are; a wake-up allows
// those of a start.
func TestServoAsked(t *testing.T) {
	o := usualServo()
	o.StepThreshold = 0
	s := NewServo(o)
	s.Correct(time.Second, 0, 10)
	s.StepNow()
	if c := s.Correct(-time.Millisecond, 0, 500); c.Step != -time.Millisecond || c.SlewPPM != 0 {
		t.Errorf("asked for a step: %+v", c)
	}
	if c := s.Correct(-time.Millisecond, 0, 500); c.Step != 0 || c.SlewPPM >= 0 {
		t.Errorf("asked once: %+v", c)
	}
	s.Set(usualServo())
	if c := s.Correct(time.Hour, 0, 500); c.Step != 0 {
		t.Errorf("long after the start: %+v", c)
	}
	s.Restart()
	for updates := uint64(500); updates < 505; updates++ {
		if c := s.Correct(time.Hour, 0, updates); (c.Step != 0) != (updates < 503) {
			t.Errorf("update %d after a restart: %+v", updates, c)
		}
	}
	var zero Servo
	if c := zero.Correct(time.Hour, 1, 0); c != (Correction{}) {
		t.Errorf("the zero value corrects: %+v", c)
	}
}

// TestServoLimits: the phase is corrected in proportion, no faster than the slew, and the clock
// never runs faster than it can.
func TestServoLimits(t *testing.T) {
	o := usualServo()
	o.RateMaxPPM = 600
	for _, c := range []struct {
		behind     time.Duration
		frequency  float64
		base, slew float64
	}{
		{0, 0, 0, 0},
		{8 * time.Microsecond, 0, 0, 1},
		{-8 * time.Microsecond, 0, 0, -1},
		{4 * ms, 0, 0, 500},
		{time.Hour, 0, 0, 500},
		{-time.Hour, 0, 0, -500},
		{time.Hour, 200e-6, 200, 400},
		{-time.Hour, 200e-6, 200, -500},
		{-time.Hour, -200e-6, -200, -400},
		{time.Hour, 0.05, 600, 0},
		{-time.Hour, 0.05, 600, -500},
		{math.MaxInt64, -1, -600, 500},
		{math.MinInt64, math.Inf(-1), -600, 0},
	} {
		s := NewServo(o)
		s.Correct(0, 0, 0)
		got := s.Correct(c.behind, c.frequency, 99)
		if got.Step != 0 || math.Abs(got.BasePPM-c.base) > 1e-9 || math.Abs(got.SlewPPM-c.slew) > 1e-9 {
			t.Errorf("behind %v at %v: %+v, want base %v, slew %v", c.behind, c.frequency, got, c.base, c.slew)
		}
	}
}

// TestServoConverges: from any offset, at a true rate, once a second, with a stall of five
// seconds at any time: it gets there, never beyond, never by a step.
func TestServoConverges(t *testing.T) {
	for _, from := range []float64{0.1, -0.1, 2e-3, -40e-6} {
		for stall := 0; stall < 60; stall += 7 {
			o := usualServo()
			o.StepThreshold = 0
			s := NewServo(o)
			behind, closest := from, math.Abs(from)
			const rate = 37e-6
			for second := 0; second < 400; {
				c := s.Correct(time.Duration(math.Round(behind*1e9)), rate, uint64(second))
				last := 1.0
				if second == stall {
					last = 5
				}
				second += int(last)
				if math.Abs(c.SlewPPM) > 500 {
					t.Fatalf("slew %v", c.SlewPPM)
				}
				behind += (rate - (c.BasePPM+c.SlewPPM)*1e-6) * last
				if behind*from < 0 && math.Abs(behind) > 2e-9 {
					t.Fatalf("from %v, stall at %d: beyond by %v", from, stall, behind)
				}
				if math.Abs(behind) > closest+2e-9 {
					t.Fatalf("from %v, stall at %d: away again, %v", from, stall, behind)
				}
				closest = math.Abs(behind)
			}
			// At 500 ppm 0.1 s take 192 s, and the last 4 ms a few times eight.
			if closest > 1e-6 {
				t.Errorf("from %v, stall at %d: %v is left after 400 s", from, stall, behind)
			}
		}
	}
}
