package sim

import (
	"testing"
	"time"
)

const sec = int64(time.Second)

// TestTruth walks over a leap second in either direction.
func TestTruth(t *testing.T) {
	midnight := time.Date(2027, 7, 1, 0, 0, 0, 0, time.UTC)
	m := midnight.UnixNano()
	for _, test := range []struct {
		by   int
		utc  []int64 // from four seconds before midnight on, in half seconds
		left int64   // from the first of them
	}{
		{1, []int64{-4 * sec, -7 * sec / 2, -3 * sec, -5 * sec / 2, -2 * sec, -3 * sec / 2, -sec, -sec / 2, -sec, -sec / 2, 0, sec / 2, sec}, 5 * sec},
		{-1, []int64{-4 * sec, -7 * sec / 2, -3 * sec, -5 * sec / 2, -2 * sec, -3 * sec / 2, 0, sec / 2, sec}, 3 * sec},
	} {
		truth := newTruth(&Site{Leap: &LeapSecond{At: midnight, By: test.by}})
		first := truth.tai(m - 4*sec)
		if first != m-4*sec+int64(taiOffset) {
			t.Errorf("%d: TAI−UTC is %v before", test.by, time.Duration(first-m+4*sec))
		}
		if left := truth.untilLeap(first); left != test.left {
			t.Errorf("%d: %v until the leap second is over, want %v", test.by, time.Duration(left), time.Duration(test.left))
		}
		for i, want := range test.utc {
			tai := first + int64(i)*sec/2
			if got := truth.utc(tai) - m; got != want {
				t.Errorf("%d: %v after the first it is midnight %v, want %v", test.by, time.Duration(tai-first), time.Duration(got), time.Duration(want))
			}
			if inserted := test.by > 0 && want < 0 && want >= -sec; !inserted && truth.tai(m+want) != tai {
				t.Errorf("%d: midnight %v is not where it was", test.by, time.Duration(want))
			}
		}
	}
}

func TestTruthWithoutLeap(t *testing.T) {
	truth := newTruth(&Site{})
	const at = int64(1_234_567_890_123_456_789)
	if truth.utc(truth.tai(at)) != at || truth.tai(at)-at != int64(taiOffset) || truth.announced(at) != 0 || truth.smeared(truth.tai(at)) != at {
		t.Error("there is a leap second where there is none")
	}
}

func TestAnnounced(t *testing.T) {
	midnight := time.Date(2027, 7, 1, 0, 0, 0, 0, time.UTC)
	truth := newTruth(&Site{Leap: &LeapSecond{At: midnight, By: -1}})
	for after, want := range map[time.Duration]int{
		-25 * time.Hour: 0, -24*time.Hour - 2*time.Second: 0, -23 * time.Hour: -1, -2 * time.Second: -1, 0: 0, time.Hour: 0,
	} {
		if got := truth.announced(truth.tai(midnight.Add(after).UnixNano())); got != want {
			t.Errorf("%v from midnight: %d, want %d", after, got, want)
		}
	}
}

// TestSmear demands of a smear that it begins and ends at UTC, is half done at the leap
// second, and neither jumps nor stops.
func TestSmear(t *testing.T) {
	midnight := time.Date(2027, 7, 1, 0, 0, 0, 0, time.UTC)
	for _, by := range []int{1, -1} {
		truth := newTruth(&Site{Leap: &LeapSecond{At: midnight, By: by}})
		begin := truth.tai(midnight.Add(-13 * time.Hour).UnixNano())
		last := truth.smeared(begin)
		if last != truth.utc(begin) {
			t.Errorf("%d: it begins too early", by)
		}
		for tai := begin; tai < begin+26*3600*sec; tai += 10 * sec {
			now := truth.smeared(tai)
			if rate := float64(now-last) / float64(10*sec); tai > begin && (rate < 0.99998 || rate > 1.00002) {
				t.Fatalf("%d: rate %v", by, rate)
			}
			last = now
		}
		end := truth.tai(midnight.Add(13 * time.Hour).UnixNano())
		over := midnight.UnixNano() + int64(by)*sec + int64(taiOffset)
		if truth.smeared(end) != truth.utc(end) {
			t.Errorf("%d: it ends too late", by)
		}
		if off := truth.smeared(over) - truth.utc(over); off != int64(by)*sec/2 {
			t.Errorf("%d: off by %v at the leap second", by, time.Duration(off))
		}
	}
}
