package client

import (
	"context"
	"math"
	"math/big"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

// TestBracketTwin: at every age and drift that the options allow, the ends are where exact
// arithmetic has them, or outside of that by a few nanoseconds, and never inside.
func TestBracketTwin(t *testing.T) {
	const seed = 1
	r := rand.New(rand.NewPCG(seed, seed))
	for range 50_000 {
		ppm := 1 + r.Int64N(driftMax)
		from := time.Duration(r.Int64N(int64(time.Hour)))
		to := from + time.Duration(r.Int64N(int64(tripMax)))
		at := to + time.Duration(r.Int64N(int64(ageMax)))
		a := answer{from, to, hlc.Interval{Earliest: hlc.FromUnix(1e18), Latest: hlc.FromUnix(1e18 + 1e6)}}
		earliest, latest := newBracket(a, ppm).on(at)

		drifted := func(d time.Duration, per int64) int64 { // d·per/10⁶, toward minus infinity
			x := new(big.Int).Mul(big.NewInt(int64(d)), big.NewInt(per))
			return x.Div(x, big.NewInt(1e6)).Int64()
		}
		low := int64(a.interval.Earliest) + drifted(at-to, 1e6-ppm)
		high := int64(a.interval.Latest) + drifted(at-from, 1e6+ppm)
		if earliest > low || earliest < low-3 || latest < high || latest > high+5 {
			t.Fatalf("%d ppm, asked at %v, answered at %v: at %v it is %d to %d, want %d to %d", ppm, from, to, at, earliest, latest, low, high)
		}
	}
}

// said is an appliance that says what it is told to.
type said struct{ i atomic.Pointer[hlc.Interval] } // nil: the truth

func (s *said) Interval(context.Context) (hlc.Interval, error) {
	if i := s.i.Load(); i != nil {
		return *i, nil
	}
	return hlc.NewInterval(time.Now().UnixNano(), time.Millisecond, 0), nil
}

// TestLocalNonsenseLater: an answer that no appliance gives that knows the time is no answer; what was
// known stands.
func TestLocalNonsenseLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UnixNano()
		good := hlc.NewInterval(now, time.Millisecond, 0)
		s := &said{}
		l, err := NewLocal(t.Context(), s, LocalOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for what, i := range map[string]hlc.Interval{
			"nothing":                 {},
			"the wrong way round":     {Earliest: good.Latest, Latest: good.Earliest},
			"all there is":            hlc.NewInterval(now, -1, 0),
			"two hours":               hlc.NewInterval(now, time.Hour, 0),
			"beyond int64":            {Earliest: hlc.Max - 1<<20, Latest: hlc.Max},
			"at the end of int64":     {Earliest: math.MaxInt64 - 1<<20, Latest: math.MaxInt64},
			"an end that int64 wraps": {Earliest: good.Earliest, Latest: hlc.Max},
		} {
			s.i.Store(&i)
			failures := l.Status().Failures
			time.Sleep(2 * time.Second)
			status := l.Status()
			if status.Failures <= failures || status.Err == nil || status.Contradictions != 0 {
				t.Errorf("%s was taken for an answer: %+v", what, status)
			}
			_, i, err := l.Now()
			truth := hlc.FromUnix(time.Now().UnixNano())
			if err != nil || i.Earliest > truth || i.Latest < truth || i.Width() > 10*time.Millisecond {
				t.Errorf("%s: the interval is %v now, %v", what, i, err)
			}
			s.i.Store(nil)
			time.Sleep(time.Second)
		}
	})
}

// TestLocalWallDrifts: where the wall clock runs at another rate than the monotonic one, as on
// systems that slew only the former, it is not taken for a sleep.
func TestLocalWallDrifts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := NewLocal(t.Context(), hostClock{}, LocalOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for range 60_000 {
			l.wall.Add(int64(500 * time.Nanosecond)) // 500 ppm
			time.Sleep(time.Millisecond)
			if _, _, err := l.Now(); err != nil {
				t.Fatalf("%v, %+v", err, l.Status())
			}
		}
	})
}

// TestLocalAgeAtTheLeast: the least age that is allowed is enough when every question is
// answered.
func TestLocalAgeAtTheLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, o := range map[string]LocalOptions{
			"equal":  {Every: time.Second, AgeMax: time.Second},
			"little": {Every: time.Second, AgeMax: 2*time.Second - 1},
			"twice":  {Every: time.Second, AgeMax: 2 * time.Second},
		} {
			l, err := NewLocal(t.Context(), hostClock{}, o)
			if (err == nil) != (name == "twice") {
				t.Errorf("%s: %v", name, err)
			}
			if err != nil {
				continue
			}
			for range 10_000 {
				time.Sleep(10 * time.Millisecond)
				if _, _, err := l.Now(); err != nil {
					t.Errorf("%s: %v, %+v", name, err, l.Status())
					break
				}
			}
			_ = l.Close()
		}
		for every, want := range map[time.Duration]time.Duration{0: 10 * time.Second, 5 * time.Second: 20 * time.Second, time.Hour: 2 * time.Hour} {
			o := LocalOptions{Every: every}
			if err := o.complete(); err != nil || o.AgeMax != want {
				t.Errorf("every %v: AgeMax is %v, %v", every, o.AgeMax, err)
			}
		}
		if _, err := NewLocal(t.Context(), nil, LocalOptions{}); err == nil {
			t.Error("a clock of no appliance")
		}
	})
}

// TestLocalLookOvertaken: whoever read the clock after a sleep that somebody else has noticed
// does not go by what was known before it.
func TestLocalLookOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := NewLocal(t.Context(), hostClock{}, LocalOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		mono, sleeps := l.mono, true
		l.mono = func() time.Duration {
			if sleeps {
				sleeps = false
				l.wall.Add(-int64(time.Hour))
				time.Sleep(2 * time.Millisecond)
				for range 2 { // the question finds out, or the answer before it did
					l.poll(t.Context())
				}
			}
			return mono()
		}
		b, _, err := l.look()
		if err != nil || b != l.now.Load() || l.Status().Sleeps != 1 {
			t.Errorf("%+v, known are %+v, %v; %+v", b, l.now.Load(), err, l.Status())
		}
	})
}

// TestLocalSleepBeforeQuestion: what was known before a sleep that the next question finds out of
// does not stand against the answer, however much narrower it was.
func TestLocalSleepBeforeQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := false
		l, err := NewLocal(t.Context(), hostClock{func() {
			if slow {
				time.Sleep(5 * time.Millisecond)
			}
		}}, LocalOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		slow = true
		time.Sleep(10 * time.Millisecond)
		if !l.poll(t.Context()) || l.Status().RoundTrip != 0 {
			t.Errorf("a slow answer replaced a good one: %+v", l.Status())
		}
		l.wall.Add(-int64(2 * time.Millisecond))
		if !l.poll(t.Context()) || l.Status().RoundTrip != 5*time.Millisecond || l.Status().Contradictions != 0 {
			t.Errorf("after a sleep: %+v", l.Status())
		}
	})
}
