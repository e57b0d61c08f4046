package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The reference plays stratum 1 servers whose clock is the truth, or off by a lie.
// It has an encoder of its own, of forty lines: were it to share ours with the
// daemon under test, an error in that one would cancel out.

const (
	ntpPort         = 123
	ntpLen          = 48
	unixToNTP       = (70*365 + 17) * 86400 // seconds from 1900 to 1970
	referencePeriod = 16e9                  // nanoseconds between the updates that it claims
)

// reference serves the plan's servers until the machine is turned off.
func reference(planFile string) error {
	p, err := readPlan(planFile)
	if err != nil {
		return err
	}
	failed := make(chan error)
	for _, s := range p.Servers {
		fd, err := listen(s.Address)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", s.Address, err)
		}
		go func() { failed <- answer(fd, p.Law, s.Lie.Nanoseconds()) }()
	}
	_, err = fmt.Fprintln(os.Stdout, "ready")
	if err != nil {
		return err
	}
	return <-failed
}

// listen opens a socket that says when the kernel received each datagram.
func listen(address string) (int, error) {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	if err != nil {
		return 0, err
	}
	return fd, unix.Bind(fd, &unix.SockaddrInet4{Port: ntpPort, Addr: addr.As4()})
}

// answer serves one socket. It blocks in the kernel: a loop that looked and slept
// would never end where the guest's processor is infinitely fast.
func answer(fd int, l law, lieNs int64) error {
	request, control := make([]byte, 1024), make([]byte, 256)
	for {
		n, controlLen, _, from, err := unix.Recvmsg(fd, request, control, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		const client = 3
		if n < ntpLen || request[0]&7 != client {
			continue
		}
		stamp, err := kernelStamp(control[:controlLen])
		if err != nil {
			return err
		}
		real, raw, err := readClocks(unix.CLOCK_REALTIME)
		if err != nil {
			return err
		}
		received := l.at(raw-(real-stamp)) + lieNs
		raw, err = clockNs(unix.CLOCK_MONOTONIC_RAW)
		if err != nil {
			return err
		}
		reply := encodeReply(request[:ntpLen], received, l.at(raw)+lieNs)
		err = unix.Sendto(fd, reply[:], 0, from)
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
}

// kernelStamp is when the kernel received the datagram, in Unix nanoseconds.
func kernelStamp(control []byte) (int64, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0, err
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS {
			if len(m.Data) < int(unsafe.Sizeof(unix.Timespec{})) {
				break
			}
			stamp := (*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
			return stamp.Nano(), nil
		}
	}
	return 0, errors.New("receive: the kernel gave no timestamp")
}

// encodeReply is the reply of a stratum 1 server without any error of its own.
// Source: RFC 5905, section 7.3.
func encodeReply(request []byte, receiveNs, transmitNs int64) [ntpLen]byte {
	var reply [ntpLen]byte
	const (
		server         = 4
		precisionLog2  = -22
		rootDispersion = 1 // in 2^-16 s: 15 µs
	)
	precision := int8(precisionLog2)
	reply[0] = request[0]&0b00111000 | server // leap 0, the client's version
	reply[1] = 1                              // stratum
	reply[2] = request[2]                     // poll
	reply[3] = byte(precision)
	binary.BigEndian.PutUint32(reply[8:], rootDispersion)
	copy(reply[12:], "SIM\x00")
	putNTP(reply[16:], transmitNs-transmitNs%referencePeriod)
	copy(reply[24:], request[40:48])
	putNTP(reply[32:], receiveNs)
	putNTP(reply[40:], transmitNs)
	return reply
}

// putNTP encodes Unix nanoseconds from 1970 on. Source: RFC 5905, section 6.
func putNTP(dst []byte, unixNs int64) {
	seconds, rest := unixNs/1e9, unixNs%1e9
	binary.BigEndian.PutUint32(dst, uint32(seconds+unixToNTP))
	binary.BigEndian.PutUint32(dst[4:], uint32(uint64(rest)<<32/1e9))
}
