package client_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/hlc/client"
)

// simulated is an appliance that is shifted against this machine, runs at another rate, and
// whose bound grows and falls back; its answers take their time.
type simulated struct {
	start    time.Time
	shift    time.Duration
	drift    float64 // of its clock, as a fraction
	growth   float64 // of its bound
	sawtooth time.Duration
	there    func() time.Duration // the way to it
	back     func() time.Duration
	mu       sync.Mutex
	jump     time.Duration // of its clock, by now
	err      error
	asked    int
}

// own is the interval that it would give now.
func (s *simulated) own() hlc.Interval {
	s.mu.Lock()
	defer s.mu.Unlock()
	elapsed := time.Since(s.start)
	utc := s.start.UnixNano() + int64(s.shift) + int64(s.jump) + int64(elapsed) + int64(float64(elapsed)*s.drift)
	bound := 200*time.Microsecond + time.Duration(float64(elapsed%s.sawtooth)*s.growth)
	return hlc.NewInterval(utc, bound, 0)
}

func (s *simulated) Interval(ctx context.Context) (hlc.Interval, error) {
	time.Sleep(s.there())
	s.mu.Lock()
	s.asked++
	err := s.err
	s.mu.Unlock()
	if err != nil {
		return hlc.Interval{}, err
	}
	i := s.own()
	time.Sleep(s.back())
	if ctx.Err() != nil {
		return hlc.Interval{}, ctx.Err()
	}
	return i, nil
}

func (s *simulated) set(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

// way takes 20 to 120 µs, and now and then fifty milliseconds.
func way(r *rand.Rand) func() time.Duration {
	var mu sync.Mutex
	return func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		if r.IntN(20) == 0 {
			return time.Duration(r.Int64N(int64(50 * time.Millisecond)))
		}
		return 20*time.Microsecond + time.Duration(r.Int64N(100_000))
	}
}

// TestLocalHolds: over ten minutes the interval holds that of an appliance which is shifted
// by hours and drifts as fast as it may, whatever its answers take; it stays narrow, and is
// contradicted by nothing.
func TestLocalHolds(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			const most = 200e-6
			drift := (r.Float64()*2 - 1) * most
			if seed%3 == 0 { // the worst there is
				drift = most * float64(1-2*int(seed%2))
			}
			s := &simulated{
				start: time.Now(), shift: time.Duration(r.Int64N(int64(6*time.Hour))) - 3*time.Hour,
				drift: drift, growth: most - max(drift, -drift), sawtooth: 10 * time.Minute,
				there: way(rand.New(rand.NewPCG(seed, 2))), back: way(rand.New(rand.NewPCG(seed, 3))),
			}
			l, err := client.NewLocal(t.Context(), s, client.LocalOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var last hlc.Timestamp
			var width time.Duration
			checks := 0
			for time.Since(s.start) < 10*time.Minute {
				time.Sleep(time.Duration(r.ExpFloat64() * float64(3*time.Millisecond)))
				ts, i, err := l.Now()
				own := s.own() // the clock of the bubble stands still meanwhile
				if err != nil || i.Earliest > own.Earliest || i.Latest < own.Latest {
					t.Fatalf("seed %d after %v: %v does not hold %v, %v; %+v", seed, time.Since(s.start), i, own, err, l.Status())
				}
				if ts <= last || ts < i.Earliest || ts > i.Latest {
					t.Fatalf("seed %d: %d after %d in %v", seed, ts, last, i)
				}
				last = ts
				width += i.Width() - own.Width()
				checks++
			}
			status := l.Status()
			if mean := width / time.Duration(checks); mean > 500*time.Microsecond {
				t.Errorf("seed %d: %v wider than the appliance's", seed, mean)
			}
			if status.Contradictions != 0 || status.Sleeps != 0 || status.Answers < 1000 || status.Answers > 1400 || status.Err != nil {
				t.Errorf("seed %d: %+v", seed, status)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// calm is an appliance on a good day.
func calm() *simulated {
	short := func() time.Duration { return 50 * time.Microsecond }
	return &simulated{start: time.Now(), shift: time.Hour, sawtooth: time.Hour, there: short, back: short}
}

// TestLocalAge: without answers the interval grows by twice the drift, then is refused, and is
// there again with the next answer.
func TestLocalAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := calm()
		l, err := client.NewLocal(t.Context(), s, client.LocalOptions{Every: time.Second, DriftPPM: 1000, AgeMax: 30 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		gone := errors.New("it is gone")
		s.set(func() { s.err = gone })
		time.Sleep(20 * time.Second)
		_, i, err := l.Now()
		if status := l.Status(); err != nil || !errors.Is(status.Err, gone) || status.Failures < 10 || status.Age < 18*time.Second || status.Age > 20*time.Second {
			t.Errorf("%+v, %v", status, err)
		}
		if grown := i.Width() - s.own().Width(); grown < 38*time.Millisecond || grown > 42*time.Millisecond {
			t.Errorf("it has grown by %v", grown)
		}
		time.Sleep(12 * time.Second)
		for what, call := range map[string]func() error{
			"now":     func() error { _, _, err := l.Now(); return err },
			"observe": func() error { _, err := l.Observe(1); return err },
			"wait":    func() error { _, err := l.Wait(t.Context(), 1); return err },
			"commit":  func() error { _, err := l.Commit(t.Context()); return err },
		} {
			if err := call(); !errors.Is(err, client.ErrStale) || !errors.Is(err, gone) {
				t.Errorf("%s when it is too old: %v", what, err)
			}
		}
		s.set(func() { s.err = nil })
		time.Sleep(2 * time.Second)
		if _, i, err := l.Now(); err != nil || i.Width() > s.own().Width()+5*time.Millisecond {
			t.Errorf("with a new answer: %v, %v", i, err)
		}
	})
}

// TestLocalContradicted: an appliance that was set, either way, is believed at its next answer,
// and that is counted; timestamps go on rising.
func TestLocalContradicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := calm()
		l, err := client.NewLocal(t.Context(), s, client.LocalOptions{MaxLead: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var last hlc.Timestamp
		for n, jump := range []time.Duration{5 * time.Millisecond, -5 * time.Millisecond, time.Second, -2 * time.Second} {
			s.set(func() { s.jump += jump })
			time.Sleep(2 * time.Second)
			ts, i, err := l.Now()
			own := s.own()
			if err != nil || i.Earliest > own.Earliest || i.Latest < own.Latest || ts <= last {
				t.Errorf("after %v: %v, %v, own %v, %v", jump, ts, i, own, err)
			}
			if got := l.Status().Contradictions; got != uint64(n+1) {
				t.Errorf("after %v: %d contradictions", jump, got)
			}
			last = ts
		}
	})
}

// TestLocalSlow: an answer that took long does not replace a good one at once, and does in the
// end.
func TestLocalSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := calm()
		l, err := client.NewLocal(t.Context(), s, client.LocalOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s.set(func() { s.back = func() time.Duration { return 2 * time.Millisecond } })
		time.Sleep(3 * time.Second)
		if status := l.Status(); status.RoundTrip != 100*time.Microsecond || status.Age < 2*time.Second {
			t.Errorf("soon: %+v", status)
		}
		time.Sleep(6 * time.Second)
		if status := l.Status(); status.RoundTrip < 2*time.Millisecond || status.Width > 6*time.Millisecond {
			t.Errorf("later: %+v", status)
		}
	})
}

// TestLocalCommit: commits are in real-time order over two processes, in the past for certain,
// and after the past of their context.
func TestLocalCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := calm()
		var locals []*client.Local
		for range 2 {
			l, err := client.NewLocal(t.Context(), s, client.LocalOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			locals = append(locals, l)
		}
		var last hlc.Timestamp
		for n := range 200 {
			past := last + 1<<20*hlc.Timestamp(n%2)
			ctx := client.WithPast(t.Context(), past)
			ts, err := locals[n%2].Commit(ctx)
			if err != nil || ts <= last || ts <= past || client.Past(ctx) != ts {
				t.Fatalf("%d after %d and %d, %v", ts, last, past, err)
			}
			if own := s.own(); own.Earliest+hlc.Timestamp(200*time.Microsecond) < ts {
				t.Errorf("%d is not yet past at %v", ts, own)
			}
			last = ts
		}
		ahead := s.own().Latest + hlc.Timestamp(50*time.Millisecond)
		start := time.Now()
		i, err := locals[0].Wait(t.Context(), ahead)
		if took := time.Since(start); err != nil || i.Earliest <= ahead || took < 50*time.Millisecond || took > 60*time.Millisecond {
			t.Errorf("waited %v for %v, %v", took, i, err)
		}
		if ts, err := locals[0].Observe(ahead + 1<<20); err != nil || ts <= ahead+1<<20 {
			t.Errorf("%d, %v", ts, err)
		}
		hour := ahead + hlc.Timestamp(time.Hour)
		if _, err := locals[0].Observe(hour); !errors.Is(err, hlc.ErrLead) {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := locals[0].Wait(ctx, hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// TestLocalBegin: without an answer there is no clock; options out of range are refused.
func TestLocalBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := calm()
		s.err = errors.New("not synchronised")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := client.NewLocal(ctx, s, client.LocalOptions{}); !errors.Is(err, client.ErrStale) || !errors.Is(err, s.err) || s.asked < 8 {
			t.Errorf("%v, asked %d times", err, s.asked)
		}
		for says, o := range map[string]client.LocalOptions{
			"Every is 1µs":    {Every: time.Microsecond},
			"DriftPPM is -1":  {DriftPPM: -1},
			"want 1 to 10":    {DriftPPM: 100_001},
			"AgeMax is 100ms": {AgeMax: 100 * time.Millisecond},
			"max lead":        {MaxLead: 1},
		} {
			if _, err := client.NewLocal(t.Context(), s, o); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%+v: %v", o, err)
			}
		}
	})
}

// TestLocalOfAppliance: it goes on from a real one.
func TestLocalOfAppliance(t *testing.T) {
	a := newAppliance(t)
	l, err := client.NewLocal(t.Context(), clientOf(t, a), client.LocalOptions{Every: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 100 {
		before := hlc.FromUnix(a.physical() - int64(a.bound))
		_, i, err := l.Now()
		after := hlc.CeilUnix(a.physical() + int64(a.bound))
		if err != nil || i.Earliest > after || i.Latest < before {
			t.Fatalf("%v, %v, between %d and %d", i, err, before, after)
		}
		time.Sleep(time.Millisecond)
	}
	if n := testing.AllocsPerRun(1000, func() { _, _, _ = l.Now() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkLocalNow is a timestamp with its interval.
func BenchmarkLocalNow(b *testing.B) {
	l, err := client.NewLocal(b.Context(), clientOf(b, newAppliance(b)), client.LocalOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := l.Now(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("contended", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, _, err := l.Now(); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
