//go:build linux

package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	// What the guest runs is built from the tree. Without this the test's cached
	// result would stand when the daemon has changed.
	_ "github.com/truechimer/truechimer/internal/daemon"
)

// kernelTest is a short life of a clock: 100 ms and 100 ppm off at first, and set by
// another hand in the middle.
func kernelTest() scenario {
	s, err := scenarioNamed("start-lan")
	if err != nil {
		panic(err) // invariant: the list has it
	}
	s.Name, s.Duration = "test", 6*time.Minute
	s.Middle = []event{{Kind: stepped, By: -20 * time.Millisecond}}
	return s
}

// TestKernel lets our binary, and chronyd as a yardstick of the rig itself, steer
// the clock of Debian's kernel in an emulated machine. The host's clock is not in it.
func TestKernel(t *testing.T) {
	at, q := testMachine(t)
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		r, records := inGuest(t, q, at, "ours")
		if r.Violations > 0 || r.ViolationsAll > 0 {
			t.Errorf("%d samples with an error beyond the kernel's maxerror, want none", r.ViolationsAll)
		}
		if r.MaxErrorRewritten > 2 {
			t.Errorf("maxerror was not rewritten for %.0f s, want every second", r.MaxErrorRewritten)
		}
		if limit := 20.0; r.Unsynchronised*kernelTest().Duration.Seconds() > limit {
			t.Errorf("the kernel was not told that its clock is synchronised in %.1f %% of the samples, want %g s at the most",
				100*r.Unsynchronised, limit)
		}
		if r.MaxErrorMedianUs > 2000 { // the emulated processor is slow
			t.Errorf("median of maxerror %.0f µs, want 2000 at the most", r.MaxErrorMedianUs)
		}
		if !saidSomewhere(records, "clock stepped") {
			t.Error("nothing was said of the step by another hand")
		}
	})
	t.Run("chronyd", func(t *testing.T) {
		t.Parallel()
		switch {
		case at.chronyd != "":
		case os.Getenv("CI") == "true":
			t.Fatal("no TRUECHIMER_PEERS, which has chronyd: run hack/test")
		default:
			t.Skip("no TRUECHIMER_PEERS, which has chronyd: run hack/test")
		}
		inGuest(t, q, at, "chronyd")
	})
}

// inGuest runs the test's scenario and checks what holds for everybody.
func inGuest(t *testing.T, q qemu, at programs, contender string) (result, []record) {
	t.Helper()
	s := kernelTest()
	j := job{scenario: s, contender: contender, repeat: 1, duration: s.Duration}
	records, err := j.records(t.Context(), q, at, "")
	if err != nil {
		t.Fatal(err)
	}
	r := measure(s, records)
	t.Logf("%+v", r)
	if want := int(s.Duration / s.Sample); r.Samples < want {
		t.Errorf("%d samples, want %d", r.Samples, want)
	}
	before := measure(s, until(records, s.Duration/2))
	if before.WithinSeconds < 0 || before.WithinSeconds > 60 {
		t.Errorf("from the start it took %.0f s to stay below a millisecond, want 60 at the most", before.WithinSeconds)
	}
	if r.WithinSeconds < 0 || r.WithinSeconds > 150 {
		t.Errorf("after a step by another hand it took %.0f s to stay below a millisecond, want 150 at the most", r.WithinSeconds)
	}
	if r.Steps > 3 || r.StepsBack > 0 || r.LastStepSeconds > 60 {
		t.Errorf("%d steps, %d of them backward, the last after %.0f s; want three at the most, none of them backward, at the start",
			r.Steps, r.StepsBack, r.LastStepSeconds)
	}
	if r.EndRateErrorPPM > 5 {
		t.Errorf("at its end it left the clock with a rate that is off by %.1f ppm, want 5 at the most", r.EndRateErrorPPM)
	}
	if !saidHappened(records, stepped) {
		t.Error("the clock was not stepped by another hand")
	}
	return r, records
}

func until(records []record, d time.Duration) []record {
	var early []record
	for _, r := range records {
		if r.Seconds < d.Seconds() && r.Kind != happened {
			early = append(early, r)
		}
	}
	return early
}

func saidSomewhere(records []record, text string) bool {
	for _, r := range records {
		if r.Kind == said && strings.Contains(r.Text, text) {
			return true
		}
	}
	return false
}

func saidHappened(records []record, kind eventKind) bool {
	for _, r := range records {
		if r.Kind == happened && r.Text == string(kind) {
			return true
		}
	}
	return false
}

// testMachine brings the emulator, or skips; where CI=true it fails instead.
func testMachine(t *testing.T) (programs, qemu) {
	t.Helper()
	leaveOut := func(why string) {
		t.Helper()
		if os.Getenv("CI") == "true" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	if testing.Short() {
		t.Skip("takes a minute")
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("the guest is an amd64 machine")
	}
	at := programs{}
	if peers := os.Getenv("TRUECHIMER_PEERS"); peers != "" {
		found, err := hostPrograms(peers, "")
		if err != nil {
			t.Fatal(err)
		}
		at = found
	}
	bin := t.TempDir()
	self, err := buildProgram(t.Context(), bin, "./hack/rig")
	if err != nil {
		t.Fatal(err)
	}
	at.ours, err = buildProgram(t.Context(), bin, "./cmd/truechimer")
	if err != nil {
		t.Fatal(err)
	}
	q, err := bringQemu(t.Context(), at)
	if errors.Is(err, errNoPackages) {
		leaveOut(err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	q.self, q.timeout = self, 4*time.Minute
	if _, err := os.Stat(filepath.Clean(q.program)); err != nil {
		t.Fatal(err)
	}
	return at, q
}
