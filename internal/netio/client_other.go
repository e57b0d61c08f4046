//go:build !linux

package netio

import (
	"io"
	"net"
)

// stampClient has the kernel stamp what conn receives, where it can.
func stampClient(conn *net.UDPConn) error { return enableStamps(conn) }

// readClientStamp returns when a datagram arrived, Unix nanoseconds, from the first n bytes
// of its control messages.
func readClientStamp(oob []byte, n int) (at int64, ok bool) { return readStamp(oob, n) }

// sendStamped sends b; nobody can tell when it leaves.
func sendStamped(conn *net.UDPConn, b []byte) error {
	_, err := conn.Write(b)
	return err
}

// departed finds nothing.
func departed(*net.UDPConn, []byte) (at int64, ok bool) { return 0, false }

// stamping is nothing.
type stamping struct{}

// KeepStamping does nothing: there is nothing to keep.
func KeepStamping() (io.Closer, error) { return stamping{}, nil }

// Close does nothing.
func (stamping) Close() error { return nil }
