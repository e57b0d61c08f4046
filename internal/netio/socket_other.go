//go:build !linux

package netio

import "net/netip"

// balanced tells Listen that one socket holds an address alone.
const balanced = false

// rawBatch is empty: there are no structures of the kernel to keep.
type rawBatch struct{}

// init does nothing.
func (*rawBatch) init(*Batch) {}

// open binds a socket to addr.
func open(addr netip.AddrPort, _ bool) (Socket, error) { return openPlain(addr) }
