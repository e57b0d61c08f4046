package client

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

// hostClock is an appliance on this machine.
type hostClock struct{ during func() }

func (h hostClock) Interval(context.Context) (hlc.Interval, error) {
	if h.during != nil {
		h.during()
	}
	return hlc.NewInterval(time.Now().UnixNano(), time.Millisecond, 0), nil
}

// TestLocalSleep: when the wall clock has moved against the monotonic one, as after a suspend,
// nothing is claimed until the appliance was asked anew, which happens at once.
func TestLocalSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Its answers take a moment of the bubble's time, which only goes on while this test sleeps.
		a := hostClock{func() { time.Sleep(time.Millisecond) }}
		l, err := NewLocal(t.Context(), a, LocalOptions{Every: time.Minute, AgeMax: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for n, by := range []time.Duration{time.Hour, -time.Hour, 2 * time.Millisecond, -2 * time.Millisecond} {
			l.wall.Add(-int64(by))
			time.Sleep(2 * time.Millisecond)
			if _, _, err := l.Now(); !errors.Is(err, ErrStale) {
				t.Fatalf("slept for %v: %v", by, err)
			}
			if _, _, err := l.Now(); !errors.Is(err, ErrStale) {
				t.Fatalf("slept for %v, asked again: %v", by, err)
			}
			time.Sleep(2 * time.Millisecond)
			if _, _, err := l.Now(); err != nil {
				t.Fatalf("after the answer: %v", err)
			}
			if s := l.Status(); s.Sleeps != uint64(n+1) || s.Answers != uint64(n+2) {
				t.Errorf("%+v", s)
			}
		}
		l.wall.Add(int64(500 * time.Microsecond))
		time.Sleep(2 * time.Millisecond)
		if _, _, err := l.Now(); err != nil {
			t.Errorf("within what clocks do: %v", err)
		}
	})
}

// TestLocalSleepDuringAnswer: an answer that came out of a sleep proves nothing.
func TestLocalSleepDuringAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l *Local
		sleeps := false
		l, err := NewLocal(t.Context(), hostClock{func() {
			if sleeps {
				sleeps = false
				l.wall.Add(int64(time.Hour))
			}
		}}, LocalOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		before := l.Status()
		sleeps = true
		l.soon()
		synctest.Wait()
		if s := l.Status(); s.Failures != 1 || s.Answers != before.Answers+1 || s.Err != nil {
			t.Errorf("%+v", s)
		}
	})
}

// TestBracket: an answer proves what its two worst cases leave.
func TestBracket(t *testing.T) {
	const ppm = 200
	interval := hlc.Interval{Earliest: hlc.FromUnix(1e18), Latest: hlc.FromUnix(1e18 + 1e6)}
	b := newBracket(answer{time.Second, time.Second + 100_000, interval}, ppm)
	earliest, latest := b.on(2*time.Second + 100_000)
	if want := int64(interval.Earliest) + 1e9 - 200_000; earliest > want || earliest < want-2 {
		t.Errorf("earliest %d, want %d", earliest, want)
	}
	if want := int64(interval.Latest) + 1e9 + 100_000 + 200_020; latest < want || latest > want+4 {
		t.Errorf("latest %d, want %d", latest, want)
	}
}

// TestBracketExtremes: nothing wraps at the limits of the options.
func TestBracketExtremes(t *testing.T) {
	b := newBracket(answer{0, time.Hour, hlc.Interval{Earliest: 1 << 62, Latest: 1<<62 + 1024}}, 100_000)
	earliest, latest := b.on(4 * time.Hour)
	if want := int64(1<<62) + int64(3*time.Hour) - int64(18*time.Minute); earliest > want || earliest < want-2 {
		t.Errorf("earliest %d, want %d", earliest, want)
	}
	if want := int64(1<<62) + 1024 + int64(4*time.Hour) + int64(24*time.Minute); latest < want || latest > want+4 {
		t.Errorf("latest %d, want %d", latest, want)
	}
}

// nonsense is what an appliance cannot mean.
type nonsense struct{ i hlc.Interval }

func (n nonsense) Interval(context.Context) (hlc.Interval, error) { return n.i, nil }

// TestLocalNonsense: an answer that is no interval proves nothing.
func TestLocalNonsense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, i := range []hlc.Interval{{Earliest: 2048, Latest: 1024}, {Earliest: 1024, Latest: hlc.Max}} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := NewLocal(ctx, nonsense{i}, LocalOptions{}); !errors.Is(err, ErrStale) {
				t.Errorf("%v: %v", i, err)
			}
			cancel()
		}
	})
}
