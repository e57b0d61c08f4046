//go:build !linux

package netio

import "net/netip"

// dialFlows opens sockets of the standard library.
func dialFlows(server netip.AddrPort, n, lenBytes int) (Flows, error) {
	return dialPlainFlows(server, n, lenBytes)
}
