package clock

import (
	"math"
	"testing"
	"time"
)

func TestErrorBound(t *testing.T) {
	base := Judgement{State: Synchronised, RootDelay: 10 * time.Millisecond, RootDispersion: time.Millisecond, GrowthPPM: 15}
	for _, test := range []struct {
		name   string
		change func(*Judgement)
		age    time.Duration
		want   time.Duration
	}{
		{"at the instant", func(*Judgement) {}, 0, 6 * time.Millisecond},
		{"grows by 15 ppm", func(*Judgement) {}, 1000 * time.Second, 21 * time.Millisecond},
		{"does not shrink backwards", func(*Judgement) {}, -1000 * time.Second, 6 * time.Millisecond},
		{"an odd delay rounds up", func(j *Judgement) { j.RootDelay++ }, 0, 6*time.Millisecond + 1},
		{"growth rounds up", func(*Judgement) {}, 1, 6*time.Millisecond + 1},
		{"residual offset behind", func(j *Judgement) { j.ResidualOffset = 2 * time.Millisecond }, 0, 8 * time.Millisecond},
		{"residual offset ahead", func(j *Judgement) { j.ResidualOffset = -2 * time.Millisecond }, 0, 8 * time.Millisecond},
		{"provider error", func(j *Judgement) { j.ProviderError = 3 * time.Millisecond }, 0, 9 * time.Millisecond},
		// A chronyd that reports a negative root delay is believed to be that uncertain.
		{"negative delay", func(j *Judgement) { j.RootDelay = -j.RootDelay }, 0, 6 * time.Millisecond},
		{"saturates", func(j *Judgement) { j.RootDispersion = math.MaxInt64 }, time.Hour, math.MaxInt64},
	} {
		t.Run(test.name, func(t *testing.T) {
			const mono = 42 * time.Second
			s := &Snapshot{Time: Map{From: int64(mono), To: 1e18}, Judgement: base}
			test.change(&s.Judgement)
			if got := s.ErrorBound(mono + test.age); got != test.want {
				t.Errorf("ErrorBound = %v, want %v", got, test.want)
			}
		})
	}
}

// STANDARDS 1.8: holdover at 15 ppm until 50 ms.
func TestHoldoverUntil50ms(t *testing.T) {
	for start, seconds := range map[time.Duration]int{time.Millisecond: 3266, 10 * time.Millisecond: 2666, 25 * time.Millisecond: 1666} {
		s := &Snapshot{Judgement: Judgement{State: Synchronised, RootDispersion: start, GrowthPPM: GrowthDefaultPPM}}
		before := s.ErrorBound(time.Duration(seconds) * time.Second)
		after := s.ErrorBound(time.Duration(seconds+1) * time.Second)
		if before > 50*time.Millisecond || after <= 50*time.Millisecond {
			t.Errorf("from %v: E is %v after %d s and %v a second later; it should cross 50 ms between", start, before, seconds, after)
		}
	}
}

func TestGrowth(t *testing.T) {
	for skew, want := range map[float64]float64{-1: 15, 0: 1, 0.1: 1, 1: 3, 7: 21} {
		if got := GrowthPPM(skew); got != want {
			t.Errorf("GrowthPPM(%v) = %v, want %v", skew, got, want)
		}
	}
	if got := GrowthPPM(math.NaN()); got != GrowthDefaultPPM {
		t.Errorf("GrowthPPM(NaN) = %v, want the default", got)
	}
}

func TestMaps(t *testing.T) {
	s := &Snapshot{
		Time:   Map{From: 5e9, To: 1_000_000_000_000_000_000, Rate: 100e-6},
		Kernel: Map{From: 900_000_000_000_000_000, To: 1_000_000_000_000_000_000, Rate: -50e-6},
	}
	if got, want := s.UTC(15*time.Second), int64(1_000_000_010_001_000_000); got != want {
		t.Errorf("UTC = %d, want %d", got, want)
	}
	if got, want := s.FromKernel(900_000_010_000_000_000), int64(1_000_000_009_999_500_000); got != want {
		t.Errorf("FromKernel = %d, want %d", got, want)
	}
	if got := (&Snapshot{}).FromKernel(1_795_000_000_123_456_789); got != 1_795_000_000_123_456_789 {
		t.Errorf("the zero map is not the identity: %d", got)
	}
}

func TestClaimsAndServes(t *testing.T) {
	local := &Snapshot{Judgement: Judgement{State: Unsynchronised, Stratum: 10}}
	if local.Claims() || !local.Serves() {
		t.Error("a local clock is served and claims nothing")
	}
	if got := local.ErrorBound(0); got != math.MaxInt64 {
		t.Errorf("ErrorBound of a clock that claims nothing = %v", got)
	}
	lost := &Snapshot{Judgement: Judgement{State: Unsynchronised, Stratum: StratumUnsynchronised}}
	if lost.Claims() || lost.Serves() {
		t.Error("an unsynchronised clock is neither served nor claimed")
	}
	held := &Snapshot{Judgement: Judgement{State: Holdover, Stratum: 3}}
	if !held.Claims() || !held.Serves() {
		t.Error("a clock in holdover is served and claimed")
	}
}

func TestUTCAcrossLeap(t *testing.T) {
	for _, by := range []time.Duration{-time.Second, time.Second} {
		s := Snapshot{Time: Map{From: 100, To: 5000}, LeapAt: 200, LeapBy: by}
		for mono, want := range map[time.Duration]int64{100: 5000, 199: 5099, 200: 5100 + int64(by), 300: 5200 + int64(by)} {
			if got := s.UTC(mono); got != want {
				t.Errorf("leap by %v: UTC(%d) is %d, want %d", by, mono, got, want)
			}
		}
	}
	s := Snapshot{Time: Map{From: 100, To: 5000}}
	if got := s.UTC(300); got != 5200 {
		t.Errorf("without a leap UTC(300) is %d, want 5200", got)
	}
}

func TestSystemErrorBound(t *testing.T) {
	s := &Snapshot{
		Judgement: Judgement{State: Unsynchronised},
		System:    Judgement{State: Holdover, RootDispersion: time.Millisecond, GrowthPPM: 15, ResidualOffset: -time.Second},
	}
	if got, want := s.SystemErrorBound(1000*time.Second), time.Second+16*time.Millisecond; got != want {
		t.Errorf("SystemErrorBound = %v, want %v", got, want)
	}
	s.System.State = Unsynchronised
	if got := s.SystemErrorBound(0); got != math.MaxInt64 {
		t.Errorf("SystemErrorBound of a system clock that nobody vouches for = %v", got)
	}
}
