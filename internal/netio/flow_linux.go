package netio

// Nothing here waits in a call except ppoll, so the calls that are made for every batch are
// raw: the scheduler need not be told of a call that returns at once. Everything that the
// kernel is pointed at lies in one structure on the heap, laid out once.

import (
	"errors"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// flowRoom is the buffer of one datagram. The longest is received with a byte to spare,
// so that one cut short shows.
type flowRoom [FlowDatagramMax + 1]byte

// kernelFlows are sockets of the kernel.
type kernelFlows struct {
	fds      []int32
	lenBytes int
	watched  []unix.PollFd
	dirty    int // how many of in the kernel has written
	messages [FlowBatchMax]Message

	out       [FlowBatchMax]mmsghdr
	outVector [FlowBatchMax]unix.Iovec
	outRoom   [FlowBatchMax]flowRoom
	in        [FlowBatchMax]mmsghdr
	inVector  [FlowBatchMax]unix.Iovec
	inRoom    [FlowBatchMax]flowRoom
	inControl [FlowBatchMax]controlRoom
}

// dialFlows opens n sockets of the kernel to a server.
func dialFlows(server netip.AddrPort, n, lenBytes int) (Flows, error) {
	f := &kernelFlows{lenBytes: lenBytes, watched: make([]unix.PollFd, 0, n), dirty: FlowBatchMax}
	for i := range FlowBatchMax {
		f.outVector[i].Base = &f.outRoom[i][0]
		f.outVector[i].SetLen(lenBytes)
		f.out[i].hdr.Iov = &f.outVector[i]
		f.out[i].hdr.SetIovlen(1)

		f.inVector[i].Base = &f.inRoom[i][0]
		f.inVector[i].SetLen(len(f.inRoom[i]))
		f.in[i].hdr.Iov = &f.inVector[i]
		f.in[i].hdr.SetIovlen(1)
		f.in[i].hdr.Control = (*byte)(unsafe.Pointer(&f.inControl[i]))
	}
	target, err := sockaddr(server)
	if err != nil {
		return nil, err
	}
	for range n {
		if err := f.open(server, target); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
	return f, nil
}

// open adds one socket.
func (f *kernelFlows) open(server netip.AddrPort, target unix.Sockaddr) error {
	family := unix.AF_INET
	if server.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		return errors.New("too many open files: take fewer sockets, or raise the limit with ulimit -n")
	}
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	f.fds = append(f.fds, int32(fd)) // Close closes it from here on
	if err := stampArrivals(fd); err != nil {
		return err
	}
	// With less room a burst is lost here and taken for a loss of the server's.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, flowReceiveBuffer)
	return os.NewSyscallError("connect", unix.Connect(fd, target))
}

// flowReceiveBuffer is what we ask of the kernel for datagrams that wait, in bytes.
const flowReceiveBuffer = 1 << 20

// Len implements Flows.
func (f *kernelFlows) Len() int { return len(f.fds) }

// Out implements Flows.
func (f *kernelFlows) Out(i int) []byte { return f.outRoom[i][:f.lenBytes] }

// Send implements Flows.
func (f *kernelFlows) Send(flow, n int) (sent int, err error) {
	for {
		var done uintptr
		var errno unix.Errno
		if n == 1 { // the cheaper call
			_, _, errno = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(f.fds[flow]),
				uintptr(unsafe.Pointer(&f.outRoom[0])), uintptr(f.lenBytes), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
			done = 1
		} else {
			done, _, errno = unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(f.fds[flow]),
				uintptr(unsafe.Pointer(&f.out[0])), uintptr(n), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		}
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return 0, errno
		case int(done) < n: // it does not say why before it is asked again
			return int(done), unix.EAGAIN
		default:
			return n, nil
		}
	}
}

// Receive implements Flows.
func (f *kernelFlows) Receive(flow int) (n int, err error) {
	for i := range f.dirty {
		f.in[i].hdr.SetControllen(int(unsafe.Sizeof(f.inControl[i])))
	}
	f.dirty = 0
	done, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(f.fds[flow]),
		uintptr(unsafe.Pointer(&f.in[0])), FlowBatchMax, unix.MSG_DONTWAIT, 0, 0)
	switch {
	case errno == unix.EAGAIN, errno == unix.EINTR:
		return 0, nil
	case errno != 0:
		return 0, errno
	}
	f.dirty = int(done)
	var now int64        // read at most once, and only where a stamp is missing
	var unused localAddr // there is only one
	for i := range f.dirty {
		m := &f.messages[i]
		m.Data = f.inRoom[i][:min(f.in[i].lenBytes, FlowDatagramMax)]
		m.Truncated = f.in[i].lenBytes > FlowDatagramMax
		c := parseControl(f.inControl[i].written(&f.in[i].hdr), &unused)
		m.At, m.Stamped = c.at, c.stamped
		if !m.Stamped {
			if now == 0 {
				now = time.Now().UnixNano()
			}
			m.At = now
		}
	}
	return f.dirty, nil
}

// In implements Flows.
func (f *kernelFlows) In(i int) *Message { return &f.messages[i] }

// Watch implements Flows.
func (f *kernelFlows) Watch(flow int) {
	if len(f.watched) < cap(f.watched) {
		f.watched = append(f.watched, unix.PollFd{Fd: f.fds[flow], Events: unix.POLLIN})
	}
}

// Wait implements Flows.
func (f *kernelFlows) Wait(d time.Duration) {
	timeout := unix.NsecToTimespec(max(int64(d), 0))
	_, _ = unix.Ppoll(f.watched, &timeout, nil) // a signal is a reason to return as well
	f.watched = f.watched[:0]
}

// memoryInfo is what SO_MEMINFO returns: nine figures, of which the last is the count of
// drops. Source: linux/sock_diag.h.
type memoryInfo [9]uint32

// Dropped implements Flows.
func (f *kernelFlows) Dropped() uint64 {
	var sum uint64
	for _, fd := range f.fds {
		var info memoryInfo
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno == 0 && int(size) == len(info)*4 {
			sum += uint64(info[8])
		}
	}
	return sum
}

// Close implements Flows.
func (f *kernelFlows) Close() error {
	var errs []error
	for _, fd := range f.fds {
		errs = append(errs, os.NewSyscallError("close", unix.Close(int(fd))))
	}
	f.fds = nil
	return errors.Join(errs...)
}
