//go:build !linux

package netio

import (
	"errors"
	"fmt"
	"net/netip"
)

// balanced tells Listen that one socket holds an address alone.
const balanced = false

// rawBatch is empty: there are no structures of the kernel to keep.
type rawBatch struct{}

// init does nothing.
func (*rawBatch) init(*Batch) {}

// open binds a socket to addr. It can do nothing besides.
func open(addr netip.AddrPort, _ bool, o Options) (Socket, error) {
	if o.Interface != "" {
		return nil, fmt.Errorf("%w %q: %w on this system: name no interface and listen on its address instead",
			errDevice, o.Interface, errors.ErrUnsupported)
	}
	if o.DSCP != 0 {
		return nil, fmt.Errorf("set DSCP %d: %w on this system: leave it out and have a router mark what leaves the port",
			o.DSCP, errors.ErrUnsupported)
	}
	return openPlain(addr)
}
