package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// observe compares the clock with the truth, by no network, and tells the console
// what it sees, until the machine is turned off. Its start is the run's.
func observe(planFile string) error {
	p, err := readPlan(planFile)
	if err != nil {
		return err
	}
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	since, err := stopwatch()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	tell := func(r record) error {
		mu.Lock()
		defer mu.Unlock()
		r.Seconds = since().Seconds()
		_, err := console.Write(r.line())
		return err
	}
	w, err := newStepWatcher()
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- w.watch(tell) }()
	_, err = fmt.Fprintln(os.Stdout, "ready")
	if err != nil {
		return err
	}
	for at := time.Duration(0); ; at += p.Sample {
		for left := at - since(); left > 0; left = at - since() {
			select {
			case err = <-failed:
				return err
			case <-time.After(left):
			}
		}
		r, err := observation(p.Law)
		if err != nil {
			return err
		}
		err = tell(r)
		if err != nil {
			return err
		}
	}
}

// observation is what the clock is off by, and what the kernel was told of it.
func observation(l law) (record, error) {
	real, raw, err := readClocks(unix.CLOCK_REALTIME)
	if err != nil {
		return record{}, err
	}
	var kernel unix.Timex
	_, err = unix.Adjtimex(&kernel)
	if err != nil {
		return record{}, err
	}
	const ppm = 1 << 16 // of the kernel's scaled frequency
	return record{
		Kind: observed, RawNs: raw, UnixNs: real, OffsetNs: l.at(raw) - real,
		MaxErrorUs: kernel.Maxerror, EstErrorUs: kernel.Esterror, Status: kernel.Status,
		FreqPPM: float64(kernel.Freq) / ppm, Tick: kernel.Tick,
	}, nil
}

// readClocks reads a clock and CLOCK_MONOTONIC_RAW at one instant: the raw clock
// before and after, of which it returns the middle.
func readClocks(clock int32) (clockReading, raw int64, err error) {
	before, err := clockNs(unix.CLOCK_MONOTONIC_RAW)
	if err != nil {
		return 0, 0, err
	}
	clockReading, err = clockNs(clock)
	if err != nil {
		return 0, 0, err
	}
	after, err := clockNs(unix.CLOCK_MONOTONIC_RAW)
	return clockReading, before + (after-before)/2, err
}

func clockNs(clock int32) (int64, error) {
	var t unix.Timespec
	err := unix.ClockGettime(clock, &t)
	return t.Nano(), err
}

// stepWatcher notices when the clock is set. Frequency moves CLOCK_REALTIME and
// CLOCK_MONOTONIC alike, a step moves the first alone: so the step is the change of
// their difference.
type stepWatcher struct {
	timer      int
	difference int64
}

// noticeable is less than any step worth the name, and more than the grain of two readings.
const noticeable = 2 * time.Microsecond

func newStepWatcher() (*stepWatcher, error) {
	timer, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	w := &stepWatcher{timer: timer}
	err = w.arm()
	if err != nil {
		return nil, err
	}
	w.difference, err = realMinusMonotonic()
	return w, err
}

// arm sets a timer for a day far away, which the kernel cancels when the clock is set.
func (w *stepWatcher) arm() error {
	var far unix.ItimerSpec
	far.Value.Sec = 1 << 33 // in the year 2242
	return unix.TimerfdSettime(w.timer, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &far, nil)
}

func (w *stepWatcher) watch(tell func(record) error) error {
	for {
		_, err := unix.Read(w.timer, make([]byte, 8))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if !errors.Is(err, unix.ECANCELED) {
			return fmt.Errorf("wait for a step: %w", err)
		}
		now, err := realMinusMonotonic()
		if err != nil {
			return err
		}
		by := now - w.difference
		w.difference = now
		if time.Duration(by).Abs() < noticeable {
			continue
		}
		err = tell(record{Kind: step, StepNs: by})
		if err != nil {
			return err
		}
	}
}

func realMinusMonotonic() (int64, error) {
	before, err := clockNs(unix.CLOCK_MONOTONIC)
	if err != nil {
		return 0, err
	}
	real, err := clockNs(unix.CLOCK_REALTIME)
	if err != nil {
		return 0, err
	}
	after, err := clockNs(unix.CLOCK_MONOTONIC)
	return real - before - (after-before)/2, err
}
