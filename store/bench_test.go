package store

import (
	"context"
	"testing"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

// benchIssuer returns an issuer on a real disk with a real clock.
func benchIssuer(b *testing.B) (*Store, *Issuer) {
	b.Helper()
	s, err := Open(b.TempDir()+"/data", Options{})
	if err != nil {
		b.Fatal(err)
	}
	anchor := time.Now()
	unix := anchor.UnixNano()
	physical := func() int64 { return unix + int64(time.Since(anchor)) }
	i, err := NewIssuer(s, IssuerOptions{
		Physical: physical,
		Bound:    func() (int64, time.Duration, error) { return physical(), time.Millisecond, nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := i.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := i.Close(); err != nil {
			b.Error(err)
		}
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s, i
}

func BenchmarkNow(b *testing.B) {
	_, i := benchIssuer(b)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.Now(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNowContended(b *testing.B) {
	_, i := benchIssuer(b)
	ctx := context.Background()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := i.Now(ctx); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkNowN100 has a clock that keeps ahead: at two timestamps a nanosecond, the real
// one would not.
func BenchmarkNowN100(b *testing.B) {
	h := newHand(epoch0)
	i, err := NewIssuer(&memory{}, IssuerOptions{
		Physical: func() int64 { return h.unix.Add(128) }, Bound: h.bound, Window: WindowMax,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer i.Close()
	if err := i.Start(); err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.NowN(ctx, 100); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	_, i := benchIssuer(b)
	ctx := context.Background()
	b.ReportAllocs()
	var ts hlc.Timestamp
	for b.Loop() {
		var err error
		if ts, err = i.Observe(ctx, ts); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkInterval(b *testing.B) {
	_, i := benchIssuer(b)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.Interval(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCeilingSave is one synced write of the ceiling.
func BenchmarkCeilingSave(b *testing.B) {
	s, err := Open(b.TempDir()+"/data", Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c, err := s.Begin()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		c.Ceiling++
		if err := s.Save(c.Epoch, c.Ceiling); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen opens and closes a store that exists.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir() + "/data"
	b.ReportAllocs()
	for b.Loop() {
		s, err := Open(dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
