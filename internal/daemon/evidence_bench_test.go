package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/alert"
	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/discipline"
)

// BenchmarkSecond is a second of the clock loop with 16 sources and two profiles; observe is the
// part of it that keeps the evidence, and write what the recorder does meanwhile.
func BenchmarkSecond(b *testing.B) {
	c := testConfig(b.TempDir(), false)
	c.Profiles = []config.Profile{config.DefaultProfile("finra-50ms"), config.DefaultProfile("pci-10.6")}
	for i := range 16 {
		s := config.DefaultSource(fmt.Sprintf("127.9.0.%d:9", i+1))
		s.Name, s.Site, s.NIST = fmt.Sprintf("source-%d", i), fmt.Sprint("site-", i%4), i < 4
		c.Sources = append(c.Sources, s)
	}
	system := newFakeSystem(today(), synced)
	d, err := Open(Options{Config: c, Version: "v0.0.1", Logger: slog.New(slog.DiscardHandler), System: system})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	polled := make(chan struct{})
	go func() { d.poller.Run(ctx); close(polled) }()
	defer func() {
		cancel()
		<-polled
		if err := d.release(); err != nil {
			b.Error(err)
		}
	}()
	answering := func() (verdicts []discipline.Verdict) {
		for _, s := range d.poller.Status() {
			if s.Server.IsValid() {
				verdicts = append(verdicts, discipline.Verdict{ID: s.ID, Status: discipline.Selected, Samples: 8, Distance: 10 * time.Millisecond})
			}
		}
		return verdicts
	}
	for deadline := time.Now().Add(patience); len(answering()) < 16; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("the sources are not asked")
		}
	}
	verdicts := answering()
	observing, writing := time.Duration(0), time.Duration(0)
	d.keeper.observe = func(before, s *clock.Snapshot, j *judged) []alert.Condition {
		selection := *j.selection
		selection.Verdicts = verdicts
		heard := *j
		heard.selection = &selection
		began := time.Now()
		defer func() { observing += time.Since(began) }()
		return d.evidence.observe(before, s, &heard)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		system.pass(time.Second)
		d.keeper.tick(ctx, false)
		began := time.Now()
		if err := d.evidence.recorder.Write(); err != nil {
			b.Fatal(err)
		}
		writing += time.Since(began)
		n++
	}
	b.ReportMetric(float64(observing)/float64(n), "observe-ns/op")
	b.ReportMetric(float64(writing)/float64(n), "write-ns/op")
}
