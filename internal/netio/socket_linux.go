package netio

// How a socket is closed under a blocked reader.
//
// A goroutine that sits in recvmmsg cannot be woken by close(2): the call keeps
// the socket alive and goes on waiting, and the descriptor's number is free to
// be given to another file in the meantime, which the next call would then
// read from. So Close first says that it is closing, then wakes the reader by
// shutdown(2) (which on Linux marks an unconnected UDP socket as shut down and
// wakes its readers although it returns ENOTCONN; the mark stays, so a reader
// that is only about to wait returns too), and closes the descriptor under the
// same lock that every call holds while it uses it. Where shutdown wakes
// nobody, because the kernel is not Linux but something that looks like it,
// the receive timeout does.

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// balanced tells Listen that several sockets can share an address.
const balanced = true

const (
	// receiveTimeout bounds how long a blocked Receive can miss a Close that
	// did not wake it.
	receiveTimeout = time.Second

	// receiveBuffer is what we ask of the kernel for datagrams that wait, in
	// bytes; it grants what net.core.rmem_max allows. The default holds some 270
	// small ones, a millisecond of a flood.
	receiveBuffer = 1 << 20
)

// socket is a UDP socket of the kernel.
type socket struct {
	local   netip.AddrPort
	source  bool // the local address varies: ask for it and reply from it
	closing atomic.Bool

	mu sync.Mutex // held while fd is used
	fd int        // −1 after Close
}

// open binds a socket to addr. The first of a group fails where anybody else
// holds the port, whether or not they would share it; it permits sharing only
// once it is bound, to the rest of the group.
func open(addr netip.AddrPort, first bool, o Options) (Socket, error) {
	family := unix.AF_INET
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &socket{fd: fd, source: addr.Addr().IsUnspecified()}
	if err := s.setUp(addr, family, first, o); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return s, nil
}

// setUp sets the options of a new socket and binds it.
func (s *socket) setUp(addr netip.AddrPort, family int, first bool, o Options) error {
	if !first {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return os.NewSyscallError("setsockopt SO_REUSEPORT", err)
		}
	}
	if err := stampArrivals(s.fd); err != nil {
		return err
	}
	timeout := unix.NsecToTimeval(int64(receiveTimeout))
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return os.NewSyscallError("setsockopt SO_RCVTIMEO", err)
	}
	// A kernel that does not count what it drops, or will not say, costs a figure.
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)

	// A smaller buffer drops a flood earlier and changes nothing else.
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)

	if err := s.setUpFamily(family, o.DSCP); err != nil {
		return err
	}
	// Before the bind, which then asks whether the port is free on that interface.
	if err := s.bindDevice(o.Interface); err != nil {
		return err
	}
	target, err := sockaddr(addr)
	if err != nil {
		return err
	}
	if err := unix.Bind(s.fd, target); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if first {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return os.NewSyscallError("setsockopt SO_REUSEPORT", err)
		}
	}
	return s.readLocal(addr)
}

// stampArrivals has the kernel stamp what a socket receives, in the 64-bit layout on every
// architecture. The kernel before 5.1 has only the old one, which is the same on 64 bits.
func stampArrivals(fd int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, 1)
	if errors.Is(err, unix.ENOPROTOOPT) {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	}
	return os.NewSyscallError("setsockopt SO_TIMESTAMPNS", err)
}

// setUpFamily sets the options that the address family has its own names for.
func (s *socket) setUpFamily(family int, dscp uint8) error {
	if dscp != 0 {
		if err := s.setDSCP(family, dscp); err != nil {
			return err
		}
	}
	if family == unix.AF_INET6 {
		if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return os.NewSyscallError("setsockopt IPV6_V6ONLY", err)
		}
	}
	if !s.source {
		return nil
	}
	if family == unix.AF_INET6 {
		return os.NewSyscallError("setsockopt IPV6_RECVPKTINFO",
			unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1))
	}
	return os.NewSyscallError("setsockopt IP_PKTINFO",
		unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1))
}

// setDSCP marks what is sent. The lower two bits of the field are the network's.
func (s *socket) setDSCP(family int, dscp uint8) error {
	if family == unix.AF_INET6 {
		return os.NewSyscallError("setsockopt IPV6_TCLASS",
			unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, int(dscp)<<2))
	}
	return os.NewSyscallError("setsockopt IP_TOS",
		unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_TOS, int(dscp)<<2))
}

// bindDevice binds to an interface, unless name is empty. What is too long or holds a
// zero byte is refused here: the kernel would cut it and take what remains for the name.
func (s *socket) bindDevice(name string) error {
	if name == "" {
		return nil
	}
	var err error = unix.ENODEV
	if len(name) < unix.IFNAMSIZ && strings.IndexByte(name, 0) < 0 {
		err = unix.SetsockoptString(s.fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, name)
	}
	if err != nil {
		return fmt.Errorf("%w %q: %w", errDevice, name, err)
	}
	return nil
}

// readLocal asks the kernel which port it has bound.
func (s *socket) readLocal(addr netip.AddrPort) error {
	name, err := unix.Getsockname(s.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	port := addr.Port()
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		port = uint16(name.Port)
	case *unix.SockaddrInet6:
		port = uint16(name.Port)
	}
	s.local = netip.AddrPortFrom(addr.Addr(), port)
	return nil
}

// sockaddr returns addr in the form that bind wants. A zone is the name or the
// number of an interface.
func sockaddr(addr netip.AddrPort) (unix.Sockaddr, error) {
	if addr.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}, nil
	}
	sa := &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	if zone := addr.Addr().Zone(); zone != "" {
		index, err := strconv.ParseUint(zone, 10, 32)
		if err != nil {
			device, err := net.InterfaceByName(zone)
			if err != nil {
				return nil, err
			}
			index = uint64(device.Index)
		}
		sa.ZoneId = uint32(index)
	}
	return sa, nil
}

// LocalAddr implements Socket.
func (s *socket) LocalAddr() netip.AddrPort { return s.local }

// Receive implements Socket.
func (s *socket) Receive(b *Batch) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.closing.Load() {
			return 0, net.ErrClosed
		}
		n, err := b.receive(s.fd)
		switch {
		case s.closing.Load():
			return 0, net.ErrClosed // also what shutdown woke us with: a datagram from nobody
		case err == unix.EINTR, err == unix.EAGAIN: // a signal; the timeout
		case err != nil:
			return 0, os.NewSyscallError("recvmmsg", err)
		case n > 0:
			return n, nil
		}
	}
}

// Flush implements Socket.
func (s *socket) Flush(b *Batch) (failed int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.departing = 0
	if s.closing.Load() {
		failed, b.queued = b.queued, 0
		return failed, net.ErrClosed
	}
	failed, err = b.send(s.fd, s.source)
	return failed, os.NewSyscallError("sendmmsg", err)
}

// Departures implements Socket.
func (s *socket) Departures(b *Batch) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return 0
	}
	return b.readDepartures(s.fd, s.local.Port())
}

// Close implements Socket.
func (s *socket) Close() error {
	if s.closing.Swap(true) {
		s.mu.Lock() // the other Close has woken the reader; wait with it
		defer s.mu.Unlock()
		return nil
	}
	// Only this call ever changes fd, so it may read it without the lock. The
	// error is ENOTCONN, and the readers are awake.
	_ = unix.Shutdown(s.fd, unix.SHUT_RD)
	s.mu.Lock()
	defer s.mu.Unlock()
	fd := s.fd
	s.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}
