package sysclock

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// timeSets reads the capability sets of all threads of this process, and returns those that
// hold CAP_SYS_TIME.
func timeSets(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(names) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	var found []string
	for _, name := range names {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		sets := 0
		for lines := bufio.NewScanner(f); lines.Scan(); {
			set, hex, _ := strings.Cut(lines.Text(), ":\t")
			if !strings.HasPrefix(set, "Cap") {
				continue
			}
			bits, err := strconv.ParseUint(hex, 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			sets++
			if bits&(1<<unix.CAP_SYS_TIME) != 0 {
				found = append(found, set)
			}
		}
		f.Close()
		if sets < 5 {
			t.Fatalf("%s has %d sets of capabilities", name, sets)
		}
	}
	return found
}

// hostState is what a change of this machine's clock would change.
func hostState(t *testing.T) string {
	t.Helper()
	var raw unix.Timex
	if _, err := unix.Adjtimex(&raw); err != nil {
		t.Fatal(err)
	}
	slew := unix.Timex{Modes: unix.ADJ_OFFSET_SS_READ}
	if _, err := unix.Adjtimex(&slew); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("frequency %d, tick %d, status %#x, offset %d, constant %d, TAI %d, adjtime %d", raw.Freq, raw.Tick, raw.Status, raw.Offset, raw.Constant, raw.Tai, slew.Offset)
}

// In the test command nothing can reach this machine's clock: the program refuses, and the
// kernel would refuse whatever a program did. Everything that changes a clock is tried, with
// the guard and behind its back, and the clock is as it was.
func TestHostClockIsOutOfReach(t *testing.T) {
	sets := timeSets(t)
	if os.Getenv(noClockEnv) == "" {
		if len(sets) > 0 {
			t.Skip("run it by hack/noclock: this process could set the clock, and nothing is tried with it")
		}
	} else if os.Geteuid() == 0 && len(sets) > 0 {
		t.Fatalf("%s is set, and CAP_SYS_TIME is in the sets %v", noClockEnv, sets)
	}
	if capable, err := capableOfTime(); err != nil || capable {
		for _, set := range sets {
			if set == "CapEff" {
				t.Skip("this process could set the clock")
			}
		}
		t.Fatalf("capable of setting the clock: %v, %v", capable, err)
	}
	h := NewHost()
	attempt := func(name string, try func() error) {
		if err := try(); !errors.Is(err, ErrNotPermitted) {
			t.Errorf("%s: error %v, want ErrNotPermitted", name, err)
		}
	}
	cycle := func() {
		t.Setenv(noClockEnv, "1")
		attempt("open", func() error { _, err := OpenKernel(h); return err })
		t.Setenv(noClockEnv, "")
		attempt("open, allowed", func() error { _, err := OpenKernel(h); return err })
		attempt("take over", func() error { _, err := openKernel(h, adjustKernel); return err })
		k := &KernelClock{system: h, adjust: adjustKernel}
		attempt("frequency", func() error { return k.SetFrequency(1) })
		attempt("step", func() error { return k.Step(1) })
		attempt("tell", func() error { return k.Tell(Telling{Synchronised: true, TAI: 1}) })
		attempt("close", k.Close)
		for _, modes := range []uint32{
			adjOffset, adjFrequency, adjMaxError, adjEstError, adjStatus, adjTAI, adjSetOffset | adjNano, adjTick, adjNano,
			unix.ADJ_MICRO, unix.ADJ_TIMECONST, adjOffsetSingleshot,
		} {
			attempt(fmt.Sprintf("modes %#x", modes), func() error {
				_, err := adjustKernel(&timex{modes: modes, tick: tickNominal})
				return err
			})
		}
	}
	// Whoever steers this machine's clock may change it at any time, but not each time.
	for range 10 {
		before := hostState(t)
		cycle()
		after := hostState(t)
		if before == after {
			t.Log(after)
			return
		}
		t.Logf("before: %s; after: %s", before, after)
	}
	t.Error("this machine's clock is not as it was")
}

func TestMayOpen(t *testing.T) {
	for _, test := range []struct {
		noClock string
		capable bool
		want    string
	}{
		{"", true, ""},
		{"", false, "CAP_SYS_TIME"},
		{"1", true, "TRUECHIMER_NOCLOCK is set"},
		{"0", true, "TRUECHIMER_NOCLOCK is set"},
		{"1", false, "TRUECHIMER_NOCLOCK is set"},
	} {
		err := mayOpen(test.noClock, test.capable)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%+v: error %v", test, err)
		case test.want != "" && (!errors.Is(err, ErrNotPermitted) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), `clock.mode = "virtual" or "follow"`)):
			t.Errorf("%+v: error %v does not say what to do", test, err)
		}
	}
}

// What is sent is what the kernel reads, and what it returns is what is read here.
func TestTimexRaw(t *testing.T) {
	sent := timex{modes: 1, status: 2, offset: -3, freq: -4, tolerance: 5, tick: 6, maxerror: 7, esterror: 8, constant: 9, sec: -10, nsec: 11, tai: 12}
	want := unix.Timex{Modes: 1, Status: 2, Offset: -3, Freq: -4, Tick: 6, Maxerror: 7, Esterror: 8, Constant: 9, Time: unix.Timeval{Sec: -10, Usec: 11}}
	if got := sent.raw(); got != want {
		t.Errorf("sent %+v, want %+v", got, want)
	}
	returned := unix.Timex{Modes: 99, Status: 2, Offset: -3, Freq: -4, Tolerance: 5, Tick: 6, Maxerror: 7, Esterror: 8, Constant: 9, Time: unix.Timeval{Sec: 77, Usec: 78}, Tai: 12}
	got := timex{modes: 1, sec: -10, nsec: 11}
	got.take(&returned)
	if got != sent {
		t.Errorf("read %+v, want %+v", got, sent)
	}
}

func TestTimexConstants(t *testing.T) {
	ours := []int{adjOffset, adjFrequency, adjMaxError, adjEstError, adjStatus, adjTAI, adjSetOffset, adjNano, adjTick, adjOffsetSingleshot, adjOffsetSSRead,
		staPLL, staPPSFreq, staPPSTime, staFLL, staIns, staDel, staUnsync, staFreqHold, staNano, timeOK, timeIns, timeDel, timeOop, timeWait, timeError}
	kernels := []int{unix.ADJ_OFFSET, unix.ADJ_FREQUENCY, unix.ADJ_MAXERROR, unix.ADJ_ESTERROR, unix.ADJ_STATUS, unix.ADJ_TAI, unix.ADJ_SETOFFSET, unix.ADJ_NANO, unix.ADJ_TICK, unix.ADJ_OFFSET_SINGLESHOT, unix.ADJ_OFFSET_SS_READ,
		unix.STA_PLL, unix.STA_PPSFREQ, unix.STA_PPSTIME, unix.STA_FLL, unix.STA_INS, unix.STA_DEL, unix.STA_UNSYNC, unix.STA_FREQHOLD, unix.STA_NANO, unix.TIME_OK, unix.TIME_INS, unix.TIME_DEL, unix.TIME_OOP, unix.TIME_WAIT, unix.TIME_ERROR}
	if !reflect.DeepEqual(ours, kernels) {
		t.Errorf("constants %v, the kernel's %v", ours, kernels)
	}
}

// The kernel of this machine is one that can be steered, as far as reading tells, and its
// clock runs at the rate that is computed from what it says.
func TestHostKernelIsAsExpected(t *testing.T) {
	var state timex
	if _, err := adjustKernel(&state); err != nil {
		t.Fatal(err)
	}
	if state.tolerance != freqMaxPPM*freqPerPPM || state.tick < tickMin || state.tick > tickMax {
		t.Errorf("not a kernel that is known: %+v", state)
	}
}
