package sysclock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truechimer/truechimer/internal/clock"
)

// asleep is how much longer the machine is up than its processors ran: CLOCK_BOOTTIME
// counts suspend, CLOCK_MONOTONIC does not.
func (h *Host) asleep() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	var failed error
	read := func(clock int32) time.Duration {
		var t unix.Timespec
		if err := unix.ClockGettime(clock, &t); err != nil {
			failed = err
		}
		return time.Duration(t.Nano())
	}
	for range sleepTries {
		before, boot, after := read(unix.CLOCK_MONOTONIC), read(unix.CLOCK_BOOTTIME), read(unix.CLOCK_MONOTONIC)
		if failed != nil || h.sleep.look(before, boot, after) {
			break
		}
	}
	return h.sleep.asleep
}

// rawClock reads the clock that is neither slewed nor set, and stands while the machine
// sleeps.
func rawClock() (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &t)
	return time.Duration(t.Nano()), err
}

// wallClock reads the wall clock by the same way as rawClock, so that of three readings in
// a row the second is in the middle of the others.
func wallClock() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &t); err != nil {
		return time.Now().UnixNano()
	}
	return t.Nano()
}

// Kernel reads the kernel's clock state. It changes nothing: modes is 0.
func (h *Host) Kernel() (Kernel, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return Kernel{}, fmt.Errorf("read kernel clock state: %w", err)
	}
	return kernelState(&t, state), nil
}

const (
	// maxErrorGrowth is what the kernel adds to maxerror every second. A zero that somebody
	// wrote is a multiple of it ever after. Whoever does not measure writes an esterror of
	// zero too, and that does not grow. Source: Linux, kernel/time/ntp.c, second_overflow.
	maxErrorGrowth = 500 * time.Microsecond
)

// kernelState translates what adjtimex(2) returned.
func kernelState(t *unix.Timex, state int) Kernel {
	k := Kernel{
		Synchronised: state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0,
		MaxError:     time.Duration(t.Maxerror) * time.Microsecond,
		FrequencyPPM: ratePPM(int64(t.Freq), int64(t.Tick)),
		Residual:     time.Duration(t.Offset) * time.Microsecond,
	}
	if t.Status&unix.STA_NANO != 0 {
		k.Residual = time.Duration(t.Offset)
	}
	if k.MaxError%maxErrorGrowth == 0 && t.Esterror == 0 {
		k.MaxError = 0
	}
	// TIME_OOP is the inserted second itself; the announcement then still stands.
	switch {
	case state == unix.TIME_INS || state == unix.TIME_OOP:
		k.Leap = clock.LeapInsert
	case state == unix.TIME_DEL:
		k.Leap = clock.LeapDelete
	}
	return k
}

// WatchSteps waits on a timer that never fires but is cancelled by the kernel whenever
// the wall clock is set.
func (h *Host) WatchSteps(ctx context.Context, stepped func()) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch the wall clock: %w", err)
	}
	timer := os.NewFile(uintptr(fd), "timerfd")
	defer timer.Close()
	defer context.AfterFunc(ctx, func() { timer.Close() })()
	far := unix.ItimerSpec{Value: unix.Timespec{Sec: 1 << 40}}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &far, nil); err != nil {
		return fmt.Errorf("watch the wall clock: %w", err)
	}
	for {
		_, err := timer.Read(make([]byte, 8))
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ECANCELED):
			stepped()
		case err != nil && !errors.Is(err, io.EOF):
			return fmt.Errorf("watch the wall clock: %w", err)
		}
	}
}
