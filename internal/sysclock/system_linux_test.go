package sysclock

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/truechimer/truechimer/internal/clock"
)

func TestKernelState(t *testing.T) {
	synchronised := func(leap clock.Leap) Kernel {
		return Kernel{Synchronised: true, MaxError: 12345 * time.Microsecond, Leap: leap, FrequencyPPM: -1.5}
	}
	timex := func(status int32) unix.Timex {
		return unix.Timex{Status: status, Maxerror: 12345, Freq: -3 << 15, Tick: 10_000}
	}
	maxError := func(us int64) unix.Timex {
		return unix.Timex{Status: unix.STA_PLL, Maxerror: us, Tick: 10_000}
	}
	offset := func(status int32, offset int64) unix.Timex {
		t := timex(status)
		t.Offset, t.Tick = offset, 10_833 // chronyd's fastest slew
		return t
	}
	slewed := Kernel{Synchronised: true, MaxError: 12345 * time.Microsecond, FrequencyPPM: 83_300 - 1.5, Residual: -7 * time.Microsecond}
	measured := maxError(4500)
	measured.Esterror = 700
	unsynchronised := synchronised(clock.LeapNone)
	unsynchronised.Synchronised = false
	for _, test := range []struct {
		name  string
		timex unix.Timex
		state int
		want  Kernel
	}{
		{"synchronised", timex(unix.STA_PLL), unix.TIME_OK, synchronised(clock.LeapNone)},
		{"no status at all", timex(0), unix.TIME_OK, synchronised(clock.LeapNone)},
		{"error", timex(unix.STA_PLL), unix.TIME_ERROR, unsynchronised},
		{"flag", timex(unix.STA_PLL | unix.STA_UNSYNC), unix.TIME_OK, unsynchronised},
		{"error and flag", timex(unix.STA_UNSYNC), unix.TIME_ERROR, unsynchronised},
		{"leap to be inserted", timex(unix.STA_INS), unix.TIME_INS, synchronised(clock.LeapInsert)},
		{"leap to be deleted", timex(unix.STA_DEL), unix.TIME_DEL, synchronised(clock.LeapDelete)},
		{"the inserted second", timex(unix.STA_INS), unix.TIME_OOP, synchronised(clock.LeapInsert)},
		{"after the leap", timex(unix.STA_INS), unix.TIME_WAIT, synchronised(clock.LeapNone)},
		{"slewed, microseconds", offset(unix.STA_PLL, -7), unix.TIME_OK, slewed},
		{"slewed, nanoseconds", offset(unix.STA_PLL|unix.STA_NANO, -7000), unix.TIME_OK, slewed},
		{"a round figure that was measured", measured, unix.TIME_OK, Kernel{Synchronised: true, MaxError: 4500 * time.Microsecond}},
		// systemd-timesyncd writes zero, and the kernel adds 500 µs a second.
		{"a zero that was written", maxError(0), unix.TIME_OK, Kernel{Synchronised: true}},
		{"a zero after a second", maxError(500), unix.TIME_OK, Kernel{Synchronised: true}},
		{"a zero after half an hour", maxError(1800 * 500), unix.TIME_OK, Kernel{Synchronised: true}},
		{"a microsecond more", maxError(1800*500 + 1), unix.TIME_OK, Kernel{Synchronised: true, MaxError: 900_001 * time.Microsecond}},
		{"a microsecond less", maxError(1800*500 - 1), unix.TIME_OK, Kernel{Synchronised: true, MaxError: 899_999 * time.Microsecond}},
		{"a microsecond", maxError(1), unix.TIME_OK, Kernel{Synchronised: true, MaxError: time.Microsecond}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, kernelState(&test.timex, test.state)); diff != "" {
				t.Errorf("kernelState differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHostKernel(t *testing.T) {
	k, err := NewHost().Kernel()
	if err != nil {
		t.Fatal(err)
	}
	if k.MaxError < 0 || k.MaxError > 16*time.Second || math.Abs(k.FrequencyPPM) > 500 {
		t.Errorf("not what a kernel says: %+v", k)
	}
}

// A jump cannot be made here, for the clock is never set by a test. What the kernel does
// at one is shown by hack/rig; this is all the rest.
func TestWatchSteps(t *testing.T) {
	before := openFiles(t)
	for range 20 {
		ctx, cancel := context.WithCancel(context.Background())
		returned := make(chan error, 1)
		var stepped sync.Once
		go func() {
			returned <- NewHost().WatchSteps(ctx, func() { stepped.Do(func() { t.Error("a step was noticed that nobody made") }) })
		}()
		select {
		case err := <-returned:
			t.Fatalf("it returned %v before its context ended", err)
		case <-time.After(5 * time.Millisecond):
		}
		cancel()
		select {
		case err := <-returned:
			if err != nil {
				t.Errorf("it returned %v", err)
			}
		case <-time.After(time.Second):
			t.Fatal("it does not return though its context has ended")
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files were open before and %d are now", before, after)
	}
}

func TestWatchStepsEndedBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := NewHost().WatchSteps(ctx, func() { t.Error("stepped") }); err != nil {
		t.Errorf("it returned %v", err)
	}
}

// openFiles returns how many timers and sockets the process holds.
func openFiles(t *testing.T) int {
	t.Helper()
	names, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range names {
		target, _ := os.Readlink(name)
		if target == "anon_inode:[timerfd]" || strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}

func TestHostRead(t *testing.T) {
	h := NewHost()
	last := h.Read()
	var width time.Duration
	for i := range 1000 {
		before := h.Mono()
		start := time.Now()
		r := h.Read()
		end := time.Now()
		after := h.Mono()
		if r.Mono <= last.Mono || r.Mono < before || r.Mono > after {
			t.Fatalf("reading %d: monotonic clock at %v, but %v before, %v after, and %v last", i, r.Mono, before, after, last.Mono)
		}
		if r.Unix < start.UnixNano() || r.Unix > end.UnixNano() {
			t.Errorf("reading %d: wall clock outside of the readings around it; was it set?", i)
		}
		if off := (r.Local - last.Local) - (r.Mono - last.Mono); off.Abs() > StepMin {
			t.Fatalf("reading %d: the local timeline moved by %v more than the monotonic clock", i, off)
		}
		if r.Asleep != last.Asleep {
			t.Fatalf("reading %d: asleep for %v, then %v, without sleep", i, last.Asleep, r.Asleep)
		}
		jump := time.Duration(r.Unix-last.Unix) - (r.Mono - last.Mono)
		width = max(width, jump.Abs())
		last = r
	}
	var boot, mono unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono), unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)); err != nil {
		t.Fatal(err)
	}
	if off := time.Duration(boot.Nano()-mono.Nano()) - last.Asleep; off.Abs() > time.Second {
		t.Errorf("asleep for %v, and the kernel's clocks say %v more", last.Asleep, off)
	}
	t.Logf("the two clocks of a reading moved by at most %v against each other", width)
	if width >= StepMin {
		t.Errorf("readings differ by %v, which looks like a step", width)
	}
}

// The local timeline is the kernel's clock that nobody steers, and it is read together with
// the wall clock, by any number at once.
func TestHostLocal(t *testing.T) {
	h := NewHost()
	if h.rawless {
		t.Fatal("there is no clock that nobody steers")
	}
	raw := func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &ts); err != nil {
			t.Fatal(err)
		}
		return time.Duration(ts.Nano())
	}
	first := raw()
	begin, _ := h.Local()
	if begin < 0 || begin > time.Second {
		t.Errorf("the local timeline begins at %v", begin)
	}
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			last := begin
			for i := range 500 {
				wall, before := time.Now().UnixNano(), raw()
				local, unix := h.Local()
				after, wallAfter := raw(), time.Now().UnixNano()
				// The two beginnings are not the same instant.
				if slack := time.Millisecond; local-begin < before-first-slack || local-begin > after-first+slack {
					t.Errorf("reading %d: %v after the first, and the clock says %v to %v", i, local-begin, before-first, after-first)
				}
				if local < last {
					t.Errorf("reading %d: back by %v", i, last-local)
				}
				if unix < wall || unix > wallAfter {
					t.Errorf("reading %d: wall clock outside of the readings around it; was it set?", i)
				}
				last = local
			}
		})
	}
	readers.Wait()
	// Both ways of reading it agree.
	apart := make([]time.Duration, 101)
	for i := range apart {
		before, unix := h.Local()
		r := h.Read()
		after, _ := h.Local()
		if r.Local < before || r.Local > after {
			t.Fatalf("reading %d: at %v by Read, between %v and %v by Local", i, r.Local, before, after)
		}
		apart[i] = (r.Local - before) - time.Duration(r.Unix-unix)
	}
	slices.Sort(apart)
	t.Logf("the two ways are %v apart", apart[50])
	if apart[50].Abs() > 400*time.Nanosecond {
		t.Errorf("the two ways are %v apart", apart[50])
	}
}

// A suspend that nobody has looked at yet is in the very next reading of the local timeline.
func TestHostLocalSleeps(t *testing.T) {
	h := NewHost()
	before, _ := h.Local()
	const slept = time.Hour
	h.mu.Lock()
	h.before -= slept // as if it had begun to run that much later, and slept since
	h.sleep.asleep -= slept
	h.mu.Unlock()
	if after, _ := h.Local(); after-before < slept || after-before > slept+time.Second {
		t.Errorf("the local timeline moved by %v over a suspend of %v", after-before, slept)
	}
	if r := h.Read(); r.Local-before < slept || r.Local-before > slept+time.Second {
		t.Errorf("by Read the local timeline moved by %v over a suspend of %v", r.Local-before, slept)
	}
}

// A suspend that is found after the readings makes them void: they are taken again.
func TestHostAwake(t *testing.T) {
	h := NewHost()
	truth := h.asleep()
	for _, test := range []struct {
		slept time.Duration
		looks int
	}{{0, 1}, {time.Hour, 2}, {sleepGrain / 2, 1}} {
		h.sleep.asleep = truth - test.slept
		looks := 0
		asleep := h.awake(func() { looks++ })
		if looks != test.looks || (asleep-truth).Abs() > sleepGrain {
			t.Errorf("slept %v: read %d times, asleep %v; want %d, %v", test.slept, looks, asleep, test.looks, truth)
		}
	}
}

// Without a clock that nobody steers the monotonic one is the local timeline.
func TestHostRawless(t *testing.T) {
	h := NewHost()
	h.rawless, h.rawAnchor = true, -time.Hour
	before := h.Mono()
	local, _ := h.Local()
	if after := h.Mono(); local < before || local > after {
		t.Errorf("at %v, and the monotonic clock was at %v to %v", local, before, after)
	}
}

// The clocks that tell sleep, when other work disturbs every reading.
func TestHostAsleepUnderLoad(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var busy sync.WaitGroup
	for range 8 {
		busy.Go(func() {
			for ctx.Err() == nil {
			}
		})
	}
	h := NewHost()
	first := h.Read().Asleep
	for ctx.Err() == nil {
		if again := h.Read().Asleep; again != first {
			t.Errorf("asleep for %v, then %v, without sleep", first, again)
			break
		}
	}
	cancel()
	busy.Wait()
}

func TestPrecision(t *testing.T) {
	p := Precision()
	// From 1 ns, which is the resolution, to 1 ms, which would be a broken clock.
	if p < -30 || p > -10 {
		t.Errorf("precision 2^%d s is not of a system clock of today", p)
	}
	t.Logf("precision 2^%d s", p)
}
