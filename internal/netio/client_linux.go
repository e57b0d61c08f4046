package netio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stampClient has the kernel stamp what conn receives, and in the form in which it then
// stamps what leaves, too.
func stampClient(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var stampErr error
	err = raw.Control(func(fd uintptr) { stampErr = stampArrivals(int(fd)) })
	return errors.Join(err, stampErr)
}

// readClientStamp returns when a datagram arrived, Unix nanoseconds, from the first n bytes
// of its control messages.
func readClientStamp(oob []byte, n int) (at int64, ok bool) {
	var unused localAddr
	c := parseControl(oob[:n], &unused)
	return c.at, c.stamped
}

// departureRequest returns the control message that asks the kernel to tell when a
// datagram leaves.
func departureRequest() []byte {
	var room controlRoom
	n := put(&room, 0, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, uint32(unix.SOF_TIMESTAMPING_TX_SOFTWARE))
	return bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&room)), n))
}

// sendStamped sends b and asks for the stamp of its departure. Where the kernel does not
// know the question, because it is only something that looks like Linux, b leaves without.
func sendStamped(conn *net.UDPConn, b []byte) error {
	_, _, err := conn.WriteMsgUDPAddrPort(b, departureRequest(), netip.AddrPort{})
	if errors.Is(err, unix.EINVAL) {
		_, err = conn.Write(b)
	}
	return err
}

// departed reads the error queue of conn, without waiting, until it finds when sent left.
func departed(conn *net.UDPConn, sent []byte) (at int64, ok bool) {
	local, isUDP := conn.LocalAddr().(*net.UDPAddr)
	raw, err := conn.SyscallConn()
	if err != nil || !isUDP {
		return 0, false
	}
	frame := make([]byte, headersMax+DatagramMax)
	var room controlRoom
	control := unsafe.Slice((*byte)(unsafe.Pointer(&room)), unsafe.Sizeof(room))
	_ = raw.Control(func(fd uintptr) {
		for range departuresMax {
			n, controlLen, flags, _, err := unix.Recvmsg(int(fd), frame, control, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return // EAGAIN: nothing is there
			}
			var unused localAddr
			c := parseControl(control[:controlLen], &unused)
			if !c.left || !c.stamped || flags&unix.MSG_TRUNC != 0 {
				continue
			}
			if data, found := findPayload(frame[:n], uint16(local.Port)); found && bytes.Equal(data, sent) {
				at, ok = c.at, true
				return
			}
		}
	})
	return at, ok
}

// stamping is a socket that does nothing but keep the kernel stamping.
type stamping int

// KeepStamping has the kernel stamp datagrams until the closer is closed. It begins to stamp
// in the background when the first socket of the machine asks for it, and stops with the
// last: who opens a socket for each request would often be too early.
func KeepStamping() (io.Closer, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	}
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := stampArrivals(fd); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return stamping(fd), nil
}

// Close stops it.
func (s stamping) Close() error { return os.NewSyscallError("close", unix.Close(int(s))) }
