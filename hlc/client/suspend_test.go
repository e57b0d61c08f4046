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
		l, err := NewLocal(t.Context(), hostClock{}, LocalOptions{Every: time.Minute, AgeMax: time.Hour})
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
			synctest.Wait()
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
	const ppb = 200_000
	interval := hlc.Interval{Earliest: hlc.FromUnix(1e18), Latest: hlc.FromUnix(1e18 + 1e6)}
	b := newBracket(answer{time.Second, time.Second + 100_000, interval}, ppb)
	earliest, latest := b.on(2*time.Second + 100_000)
	if want := int64(interval.Earliest) + 1e9 - 200_000; earliest > want || earliest < want-2 {
		t.Errorf("earliest %d, want %d", earliest, want)
	}
	if want := int64(interval.Latest) + 1e9 + 100_000 + 200_020; latest < want || latest > want+4 {
		t.Errorf("latest %d, want %d", latest, want)
	}
}
