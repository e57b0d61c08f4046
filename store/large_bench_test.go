package store

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	largeStreams = 100_000
	largeEvents  = 10_000_000
)

// largeReport is what a child that was run with childLoads prints.
type largeReport struct {
	Open      time.Duration // until the first append could be made
	Rate      float64       // events a second, from 64 callers to 1000 of the streams
	PeakBytes uint64        // largest resident set
}

// fillLarge appends largeEvents events of 100 bytes to largeStreams streams, says so, and
// goes on appending until it is killed.
func fillLarge(dir string) error {
	t, err := openLarge(dir)
	if err != nil {
		return err
	}
	entries := make([]Entry, 1000)
	payload := make([]byte, benchPayload)
	for n := 0; ; n += len(entries) {
		for i := range entries {
			entries[i] = Entry{Stream: largeName(n + i), Payload: payload}
		}
		if _, err := t.Append(context.Background(), Batch{Entries: entries}); err != nil {
			return err
		}
		if n+len(entries) == largeEvents {
			fmt.Println("filled")
			settle(t)
			fmt.Println("settled")
		}
	}
}

// settle waits until the database has sorted what was written: at full speed it falls behind,
// and catching up would take a core from whoever appends next.
func settle(t *Streams) {
	for quiet := 0; quiet < 10; quiet++ {
		time.Sleep(100 * time.Millisecond)
		if m := t.store.db.Metrics(); m.Compact.NumInProgress > 0 || m.Flush.NumInProgress > 0 {
			quiet = 0
		}
	}
}

func largeName(n int) string { return "large/" + strconv.Itoa(n%largeStreams) }

func openLarge(dir string) (*Streams, error) {
	s, err := Open(dir, Options{Node: 7})
	if err != nil {
		return nil, err
	}
	physical := func() int64 { return time.Now().UnixNano() }
	i, err := NewIssuer(s, IssuerOptions{
		Physical: physical,
		Bound:    func() (int64, time.Duration, error) { return physical(), time.Millisecond, nil },
	})
	if err != nil {
		return nil, err
	}
	if err := i.Start(); err != nil {
		return nil, err
	}
	return NewStreams(s, i, StreamsOptions{Reserve: 1 << 20})
}

// loadLarge opens a store, appends to it for the given time, and prints a largeReport.
func loadLarge(dir string, during time.Duration) error {
	begin := time.Now()
	t, err := openLarge(dir)
	if err != nil {
		return err
	}
	payload := make([]byte, benchPayload)
	if _, err := t.Append(context.Background(), Batch{Entries: []Entry{{Stream: largeName(0), Payload: payload}}}); err != nil {
		return err
	}
	report := largeReport{Open: time.Since(begin)}
	var events atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	begin = time.Now()
	for c := range 64 {
		all.Go(func() {
			for n := c; time.Since(begin) < during; n += 64 {
				_, err := t.Append(context.Background(), Batch{Entries: []Entry{{Stream: largeName(n % 1000 * 97), Payload: payload}}})
				if err != nil {
					failed.Store(&err)
					return
				}
				events.Add(1)
			}
		})
	}
	all.Wait()
	report.Rate = float64(events.Load()) / time.Since(begin).Seconds()
	if err := failed.Load(); err != nil {
		return *err
	}
	if report.PeakBytes, err = peakBytes(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

// peakBytes returns the largest resident set that this process has had.
func peakBytes() (uint64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if kib, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(kib), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM in /proc/self/status")
}

// BenchmarkLarge fills a store with 10 million events in 100,000 streams, kills the process
// that has done so while it goes on appending, and compares the store that is left with an
// empty one.
func BenchmarkLarge(b *testing.B) {
	if testing.Short() {
		b.Skip("it takes a minute and 2 GB of disk")
	}
	dir := b.TempDir()
	cmd := rerun(childFills, dir+"/large", "0s")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	said := bufio.NewReader(out)
	if line, err := said.ReadString('\n'); line != "filled\n" {
		b.Fatal(line, err)
	}
	b.ReportMetric(largeEvents/time.Since(begin).Seconds(), "filling-events/s")
	if line, err := said.ReadString('\n'); line != "settled\n" {
		b.Fatal(line, err)
	}
	b.Logf("filled and sorted after %v", time.Since(begin))
	time.Sleep(200 * time.Millisecond)
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait() // killed

	// In turns, and medians: the machine is not the same twice.
	var large, empty largeReport
	var rates, ratios []float64
	for round := range 5 {
		for _, one := range []struct {
			dir string
			sum *largeReport
		}{{"/large", &large}, {fmt.Sprintf("/empty%d", round), &empty}} {
			cmd := rerun(childLoads, dir+one.dir, "3s")
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				b.Fatal(err)
			}
			var r largeReport
			if err := json.Unmarshal(out, &r); err != nil {
				b.Fatal(err)
			}
			b.Logf("%s: open %v, %.0f events/s, peak %d MiB", one.dir, r.Open, r.Rate, r.PeakBytes>>20)
			one.sum.Open = max(one.sum.Open, r.Open)
			one.sum.Rate = r.Rate
			one.sum.PeakBytes = max(one.sum.PeakBytes, r.PeakBytes)
		}
		rates = append(rates, large.Rate)
		ratios = append(ratios, large.Rate/empty.Rate)
	}
	slices.Sort(rates)
	slices.Sort(ratios)
	b.ReportMetric(large.Open.Seconds(), "open-s")
	b.ReportMetric(float64(large.PeakBytes>>20), "peak-MiB")
	b.ReportMetric(rates[len(rates)/2], "events/s")
	b.ReportMetric(ratios[len(ratios)/2], "×empty-rate")
	b.ReportMetric(0, "ns/op")
}
