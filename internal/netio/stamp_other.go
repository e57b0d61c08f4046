//go:build !linux && !darwin && !freebsd

package netio

import "net"

// enableStamps does nothing: there are none.
func enableStamps(*net.UDPConn) error { return nil }

// readStamp finds nothing.
func readStamp([]byte, int) (at int64, ok bool) { return 0, false }
