package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// benchPayload is what the benchmarks append.
const benchPayload = 100

// benchStreams returns streams on a real disk with a real clock.
func benchStreams(b *testing.B) *Streams {
	b.Helper()
	s, i := benchIssuer(b)
	t, err := NewStreams(s, i, StreamsOptions{Reserve: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := t.Close(); err != nil {
			b.Error(err)
		}
	})
	return t
}

// serialSyncs measures writes of one payload and fdatasync, one after the other, on the disk
// of dir, and returns their median duration and how many there are in a second.
func serialSyncs(b *testing.B, dir string, n int) (p50 time.Duration, perSecond float64) {
	b.Helper()
	f, err := os.Create(dir + "/syncs")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	// As a log would be: preallocated, so that the sync does not have to write the inode.
	if err := unix.Fallocate(int(f.Fd()), 0, 0, 16<<20); err != nil && !errors.Is(err, unix.ENOTSUP) {
		b.Fatal(err)
	}
	payload := make([]byte, benchPayload+eventOverhead+eventKeyLen)
	took := make([]time.Duration, n)
	begin := time.Now()
	for i := range took {
		start := time.Now()
		if _, err := f.Write(payload); err != nil {
			b.Fatal(err)
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
		took[i] = time.Since(start)
	}
	perSecond = float64(n) / time.Since(begin).Seconds()
	slices.Sort(took)
	return took[n/2], perSecond
}

// BenchmarkAppend appends events of 100 bytes from so many callers, each of which waits for
// its answer. Beside the figures of the appends stand those of write and fdatasync of the
// same disk, measured before and after.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("%d callers", callers), func(b *testing.B) {
			t := benchStreams(b)
			const syncs = 500
			before, rateBefore := serialSyncs(b, t.store.dir, syncs)
			took := make([][]time.Duration, callers)
			var left atomic.Int64
			left.Store(int64(b.N))
			var all sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			start := time.Now()
			for c := range callers {
				all.Go(func() {
					name := fmt.Sprintf("bench/%d", c%16)
					payload := make([]byte, benchPayload)
					for left.Add(-1) >= 0 {
						begin := time.Now()
						if _, err := t.Append(context.Background(), Batch{Entries: []Entry{{Stream: name, Payload: payload}}}); err != nil {
							b.Error(err)
							return
						}
						took[c] = append(took[c], time.Since(begin))
					}
				})
			}
			all.Wait()
			elapsed := time.Since(start)
			b.StopTimer()
			after, rateAfter := serialSyncs(b, t.store.dir, syncs)
			each := slices.Concat(took...)
			slices.Sort(each)
			rate := float64(len(each)) / elapsed.Seconds()
			b.ReportMetric(rate, "events/s")
			b.ReportMetric(rate/((rateBefore+rateAfter)/2), "×fdatasync-rate")
			b.ReportMetric(float64(each[len(each)/2])/1e3, "p50-µs")
			b.ReportMetric(float64(each[len(each)*99/100])/1e3, "p99-µs")
			b.ReportMetric(float64(each[len(each)/2])/(float64(before+after)/2), "p50/fdatasync")
			b.ReportMetric(float64(before+after)/2e3, "fdatasync-µs")
		})
	}
}

// BenchmarkAppendBatch appends batches of 1000 events from one caller.
func BenchmarkAppendBatch(b *testing.B) {
	t := benchStreams(b)
	entries := make([]Entry, 1000)
	for i := range entries {
		entries[i] = Entry{Stream: "bench", Payload: make([]byte, benchPayload)}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := t.Append(context.Background(), Batch{Entries: entries}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(entries))/b.Elapsed().Seconds(), "events/s")
}

// filled returns streams with n events of 100 bytes in one of them.
func filled(b *testing.B, n int) *Streams {
	b.Helper()
	t := benchStreams(b)
	entries := make([]Entry, 1000)
	for i := range entries {
		entries[i] = Entry{Stream: "bench", Payload: make([]byte, benchPayload)}
	}
	for range n / len(entries) {
		if _, err := t.Append(context.Background(), Batch{Entries: entries}); err != nil {
			b.Fatal(err)
		}
	}
	return t
}

// BenchmarkDescribe asks for the last sequence of a stream.
func BenchmarkDescribe(b *testing.B) {
	t := filled(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if s, err := t.Describe("bench"); err != nil || s.Last != 1000 {
			b.Fatal(s, err)
		}
	}
}

// BenchmarkReadLast reads the last event of a stream.
func BenchmarkReadLast(b *testing.B) {
	t := filled(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		if p, err := t.Read(context.Background(), "bench", Query{Reverse: true, Limit: 1}); err != nil || len(p.Events) != 1 {
			b.Fatal(p, err)
		}
	}
}

// BenchmarkScan reads a million events.
func BenchmarkScan(b *testing.B) {
	const n = 1_000_000
	t := filled(b, n)
	b.ReportAllocs()
	for b.Loop() {
		got := 0
		if err := t.Scan(context.Background(), "bench", Query{}, func(Event) error { got++; return nil }); err != nil || got != n {
			b.Fatal(got, err)
		}
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkWatch appends from 64 callers to a stream that so many watchers follow, one more
// of which never asks for anything, until all have everything.
func BenchmarkWatch(b *testing.B) {
	for _, n := range []int{0, 1, 100, 1000} {
		b.Run(fmt.Sprintf("%d watchers", n), func(b *testing.B) {
			t := benchStreams(b)
			ctx := context.Background()
			watch := func() *Watcher {
				w, err := t.Watch(ctx, Selection{Names: []string{"bench"}}, Start{Oldest: true})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(w.Close)
				return w
			}
			watch() // which is all that it does
			var watching, appending sync.WaitGroup
			b.ResetTimer()
			start := time.Now()
			for range n {
				w := watch()
				watching.Go(func() {
					for got := 0; got < b.N; {
						d, err := w.Next(ctx)
						if err != nil {
							b.Error(err)
							return
						}
						for _, e := range d.Events {
							if got++; e.Sequence != uint64(got) {
								b.Errorf("sequence %d in place of %d", e.Sequence, got)
								return
							}
						}
					}
				})
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			for range 64 {
				appending.Go(func() {
					payload := make([]byte, benchPayload)
					for left.Add(-1) >= 0 {
						if _, err := t.Append(ctx, Batch{Entries: []Entry{{Stream: "bench", Payload: payload}}}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			appending.Wait()
			b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "events/s")
			watching.Wait()
			b.ReportMetric(float64(b.N)*float64(n)/time.Since(start).Seconds(), "delivered/s")
		})
	}
}
