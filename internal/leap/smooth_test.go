package leap

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

func TestSmooth(t *testing.T) {
	made := both(t)
	const s = second
	for _, c := range []struct {
		name       string
		tai        int64
		unix       int64 // relative to UTC without the leap
		unabsorbed time.Duration
		rate       float64
	}{
		{"before", made.edge(0) - 1, 0, 0, 0},
		{"at the leap", made.edge(0), 0, time.Second, -500e-6},
		{"2 µs later", made.edge(0) + 2000, -1, time.Second - 1, -500e-6},
		{"a second later", made.edge(0) + s, -s / 2000, time.Second - 500*time.Microsecond, -500e-6},
		{"half-way", made.edge(0) + 1000*s, -s / 2, time.Second / 2, -500e-6},
		{"almost", made.edge(0) + 2000*s - 1, -s + 1, 1, -500e-6},
		{"done", made.edge(0) + 2000*s, -s, 0, 0},
		{"for years", made.edge(1) - 1, -s, 0, 0},
		{"a deleted second", made.edge(1), -s, -time.Second, 500e-6},
		{"a second later", made.edge(1) + s, -s + s/2000, -time.Second + 500*time.Microsecond, 500e-6},
		{"done", made.edge(1) + 2000*s, 0, 0, 0},
		{"for ever", made.edge(1) + 1<<50, 0, 0, 0},
	} {
		got := made.Smooth(c.tai)
		want := Smoothed{Unix: c.tai - 36*s + c.unix, Unabsorbed: c.unabsorbed, Rate: c.rate}
		if got != want {
			t.Errorf("%s: %+v, want %+v", c.name, got, want)
		}
	}
}

func TestSmoothNeitherRepeatsNorSkips(t *testing.T) {
	const seed = 3
	random := rand.New(rand.NewPCG(seed, 0))
	made := table(t, 10, Event{date(2030, 1, 1), 11}, Event{date(2030, 2, 1), 12}, Event{date(2030, 3, 1), 11}, Event{date(2030, 4, 1), 10})
	check := func(tai, ahead int64) {
		t.Helper()
		a, b := made.Smooth(tai), made.Smooth(tai+ahead)
		forward := b.Unix - a.Unix
		slow := ahead - ahead/absorbDivisor - 1
		if forward < slow || forward > ahead+ahead/absorbDivisor+1 || ahead >= 2 && forward < 1 || forward < 0 {
			t.Fatalf("seed %d: from %d on, smooth time goes %d ns in %d", seed, tai, forward, ahead)
		}
		if a.Unix-int64(a.Unabsorbed) != made.UTC(tai) || a.Unabsorbed.Abs() > time.Second {
			t.Fatalf("seed %d: at %d smooth time is %+v", seed, tai, a)
		}
		far := true
		for i := range made.events {
			far = far && (tai < made.edge(i) || tai >= made.edge(i)+int64(AbsorbTime))
		}
		if far != (a.Rate == 0) || far && a.Unix != made.UTC(tai) {
			t.Fatalf("seed %d: at %d, far from leaps: %v, smooth time is %+v", seed, tai, far, a)
		}
	}
	for i := range made.events {
		for _, edge := range []int64{made.edge(i), made.edge(i) + int64(AbsorbTime)} {
			for ns := int64(-5000); ns < 5000; ns++ {
				check(edge+ns, 1)
				check(edge+ns, 2)
			}
		}
		for range 20_000 {
			check(made.edge(i)+random.Int64N(6000*second)-2000*second, random.Int64N(1<<uint(1+random.IntN(40))))
		}
	}
}

// A snapshot that was marked says what the table says, from its instant on and across a leap.
func TestMark(t *testing.T) {
	made := both(t)
	for i := range made.events {
		for _, before := range []time.Duration{24 * time.Hour, 5 * time.Second, 1, 0, -1, -time.Second, -2 * time.Second, -1500 * time.Second, -1999 * time.Second, -2000 * time.Second} {
			tai := made.edge(i) - int64(before)
			s := &clock.Snapshot{Time: clock.Map{From: 1000, To: made.UTC(tai)}, LeapAt: 5, LeapBy: 5}
			made.Mark(s, tai)
			if earlier := SmoothOf(s, -time.Second).Unabsorbed; earlier != s.Unabsorbed {
				t.Errorf("%v before leap %d: %v is not absorbed before the instant, %v at it", before, i, earlier, s.Unabsorbed)
			}
			for _, later := range []time.Duration{0, 1, time.Second, 2*time.Second + 3, 10 * time.Second, before, before - 1, before + 1, before + 500*time.Second} {
				if later < 0 {
					continue
				}
				at := tai + int64(later)
				got, want := SmoothOf(s, 1000+later), made.Smooth(at)
				if got.Unabsorbed.Abs() > time.Second || (got.Unabsorbed-want.Unabsorbed).Abs() > 1 || got.Rate != want.Rate || got.Unix-int64(got.Unabsorbed) != made.UTC(at) {
					t.Errorf("%v before leap %d, %v later: %+v, want %+v", before, i, later, got, want)
				}
				if utc := s.UTC(1000 + later); utc != made.UTC(at) {
					t.Errorf("%v before leap %d, %v later: UTC is %v off", before, i, later, time.Duration(utc-made.UTC(at)))
				}
			}
		}
	}
	s := &clock.Snapshot{}
	made.Mark(s, made.edge(0)-day-1)
	if s.LeapBy != 0 || s.LeapAt != 0 || s.Unabsorbed != 0 {
		t.Errorf("a leap is marked more than a day ahead: %+v", s)
	}
	s = &clock.Snapshot{Time: clock.Map{Rate: 1e-4}}
	made.Mark(s, made.edge(0)-10*second)
	if want := 10*time.Second - time.Millisecond; (s.LeapAt - want).Abs() > time.Microsecond {
		t.Errorf("by a slow monotonic clock the leap is in %v, want %v", s.LeapAt, want)
	}
	if got := SmoothOf(s, 0).Rate; got != 1e-4 {
		t.Errorf("the rate is %v", got)
	}
}
