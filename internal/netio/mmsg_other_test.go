//go:build !linux

package netio

import "net/netip"

// forget makes the sender of the i-th message unknown.
func forget(b *Batch, i int) { b.messages[i].From = netip.AddrPort{} }
