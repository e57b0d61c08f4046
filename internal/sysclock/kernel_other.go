//go:build !linux

package sysclock

import "fmt"

// OpenKernel returns ErrNotPermitted: only the clock of Linux can be steered.
func OpenKernel(System) (*KernelClock, error) {
	return nil, fmt.Errorf("%w: this is known for Linux alone: use clock.mode = \"virtual\" or \"follow\"", ErrNotPermitted)
}
