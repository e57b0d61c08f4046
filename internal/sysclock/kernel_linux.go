package sysclock

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// noClockEnv is set where this machine's clock is none of our business, as in tests.
const noClockEnv = "TRUECHIMER_NOCLOCK"

// OpenKernel takes over the clock of this machine, from now until Close. It returns
// ErrNotPermitted, and has changed nothing, unless this process has CAP_SYS_TIME and
// TRUECHIMER_NOCLOCK is not set in its environment.
func OpenKernel(system System) (*KernelClock, error) {
	capable, err := capableOfTime()
	if err != nil {
		return nil, err
	}
	if err := mayOpen(os.Getenv(noClockEnv), capable); err != nil {
		return nil, err
	}
	return openKernel(system, adjustKernel)
}

// mayOpen refuses where the clock must not be touched, or cannot be.
func mayOpen(noClock string, capable bool) error {
	if noClock != "" {
		return fmt.Errorf("%w: %s is set in the environment: unset it, or use clock.mode = \"virtual\" or \"follow\"", ErrNotPermitted, noClockEnv)
	}
	if !capable {
		return notPermitted("this process does not have the capability CAP_SYS_TIME")
	}
	return nil
}

// notPermitted says what to do.
func notPermitted(cause string) error {
	return fmt.Errorf("%w: %s: grant it CAP_SYS_TIME (systemd: AmbientCapabilities=CAP_SYS_TIME; a container: --cap-add=SYS_TIME and no user namespace), or use clock.mode = \"virtual\" or \"follow\"", ErrNotPermitted, cause)
}

// capableOfTime reports whether CAP_SYS_TIME is effective.
func capableOfTime() (bool, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return false, fmt.Errorf("read the capabilities of this process: %w", err)
	}
	return sets[unix.CAP_SYS_TIME/32].Effective&(1<<(unix.CAP_SYS_TIME%32)) != 0, nil
}

// adjustKernel is the adjuster of this machine.
func adjustKernel(t *timex) (state int, err error) {
	raw := t.raw()
	state, err = unix.ClockAdjtime(unix.CLOCK_REALTIME, &raw)
	switch {
	case errors.Is(err, unix.EPERM):
		return state, notPermitted("the kernel refused")
	case errors.Is(err, unix.EINVAL) && t.modes&adjSetOffset != 0:
		return state, fmt.Errorf("%w: the clock cannot be set to before the start of the machine, or beyond 2232", err)
	case err != nil:
		return state, err
	}
	t.take(&raw)
	return state, nil
}

// put assigns a number to a field whose width depends on the machine. No figure of ours
// needs more than 32 bits, except a step of more than 68 years.
func put[T int32 | int64](field *T, v int64) { *field = T(v) }

// raw is t as the kernel reads it.
func (t *timex) raw() unix.Timex {
	raw := unix.Timex{Modes: t.modes, Status: t.status}
	put(&raw.Offset, t.offset)
	put(&raw.Freq, t.freq)
	put(&raw.Tick, t.tick)
	put(&raw.Maxerror, t.maxerror)
	put(&raw.Esterror, t.esterror)
	put(&raw.Constant, t.constant)
	put(&raw.Time.Sec, t.sec)
	put(&raw.Time.Usec, t.nsec) // nanoseconds with ADJ_NANO
	return raw
}

// take fills in t with what the kernel returned.
func (t *timex) take(raw *unix.Timex) {
	t.status, t.tai = raw.Status, int64(raw.Tai)
	t.offset, t.freq, t.tick, t.tolerance = int64(raw.Offset), int64(raw.Freq), int64(raw.Tick), int64(raw.Tolerance)
	t.maxerror, t.esterror, t.constant = int64(raw.Maxerror), int64(raw.Esterror), int64(raw.Constant)
}
