//go:build darwin || freebsd

package netio

import (
	"net"

	"github.com/facebook/time/timestamp"
)

// enableStamps has the kernel stamp what conn receives.
func enableStamps(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var stampErr error
	err = raw.Control(func(fd uintptr) { stampErr = timestamp.EnableSWTimestampsRx(int(fd)) })
	if err != nil {
		return err
	}
	return stampErr
}

// readStamp returns when a datagram arrived, Unix nanoseconds, from the first n
// bytes of its control messages.
func readStamp(oob []byte, n int) (at int64, ok bool) {
	stamp, err := timestamp.ReadRXTimestamp(oob, n)
	if err != nil {
		return 0, false
	}
	return stamp.UnixNano(), true
}
