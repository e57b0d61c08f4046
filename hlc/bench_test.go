package hlc

import (
	"testing"
	"time"
)

// BenchmarkTimeNow is the yardstick: Now is to stay below 0.9 of it in the same run.
func BenchmarkTimeNow(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = time.Now()
	}
}

// steered is the physical time that the appliance gives its clock.
func steered() *Physical {
	p := NewPhysical(Monotonic())
	p.Steer(Target{Unix: time.Now().UnixNano()})
	return p
}

func benchClock(b *testing.B, physical func() int64) *Clock {
	c, err := New(Options{Physical: physical, Ceiling: Max})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	return c
}

func BenchmarkNow(b *testing.B) {
	c := benchClock(b, steered().Now)
	for b.Loop() {
		if _, err := c.Now(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNowContended(b *testing.B) {
	c := benchClock(b, steered().Now)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Now(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkNowN100 reports the time of one timestamp of a hundred. Its clock keeps
// ahead of the 10⁹ timestamps that one second holds.
func BenchmarkNowN100(b *testing.B) {
	var unix int64 = 1e18
	c := benchClock(b, func() int64 { unix += int64(Tick); return unix })
	for b.Loop() {
		if _, err := c.NowN(100); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/timestamp")
}

func BenchmarkObserve(b *testing.B) {
	c := benchClock(b, steered().Now)
	remote, err := c.Now()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if remote, err = c.Observe(remote); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkString(b *testing.B) {
	b.ReportAllocs()
	t := Timestamp(1_795_000_000_123_456_789)
	for b.Loop() {
		_ = t.String()
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	s := Timestamp(1_795_000_000_123_456_789).String()
	for b.Loop() {
		if _, err := Parse(s); err != nil {
			b.Fatal(err)
		}
	}
}
