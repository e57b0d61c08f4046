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
	// tickNominal is the length of the kernel's tick in microseconds, at 100 a second; one
	// more or less is a hundred millionths.
	tickNominal = 10_000
	ppmPerTick  = 100
)

// kernelState translates what adjtimex(2) returned.
func kernelState(t *unix.Timex, state int) Kernel {
	k := Kernel{
		Synchronised: state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0,
		MaxError:     time.Duration(t.Maxerror) * time.Microsecond,
		FrequencyPPM: float64(t.Freq)/(1<<16) + float64(t.Tick-tickNominal)*ppmPerTick, // Freq is scaled ppm
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
