package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	requestLen  = 48
	floodWithin = 100 * time.Millisecond // an answer that takes longer is lost
)

// flooder is one socket that sends from any address of loopback: each datagram
// names its own by IP_PKTINFO.
type flooder struct {
	fd          int
	to          unix.SockaddrInet4
	outstanding int
	counts      floodCounts
}

// flood sends requests and reads the answers, a few in flight, from a thread on the
// generator's CPU. It returns what came back until then where ctx ends first.
func flood(ctx context.Context, o floodOptions) (floodCounts, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	restore, err := pin(o.cpu)
	if err != nil {
		return floodCounts{}, err
	}
	defer restore()
	f := &flooder{to: unix.SockaddrInet4{Port: o.to, Addr: [4]byte{127, 0, 0, 1}}}
	if err := f.open(); err != nil {
		return floodCounts{}, err
	}
	defer unix.Close(f.fd)
	part := 1
	for n := range o.requests {
		if n%1024 == 0 && ctx.Err() != nil {
			return f.counts, ctx.Err()
		}
		if err := f.send(uint64(n)+1, sourceOf(n, o.sources)); err != nil {
			return f.counts, err
		}
		for f.outstanding >= floodWindow {
			if err := f.receive(floodWithin); err != nil {
				return f.counts, err
			}
		}
		if (n+1)*sampleEvery >= part*o.requests {
			if err := o.each(part); err != nil {
				return f.counts, err
			}
			part++
		}
	}
	for f.outstanding > 0 {
		if err := f.receive(floodWithin); err != nil {
			return f.counts, err
		}
	}
	return f.counts, nil
}

// pin puts the calling thread on a CPU, and returns what gives it the others back.
func pin(cpu int) (restore func(), err error) {
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, fmt.Errorf("read affinity: %w", err)
	}
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("run on CPU %d: %w", cpu, err)
	}
	return func() { _ = unix.SchedSetaffinity(0, &before) }, nil // it was permitted before
}

// open opens the socket. It is bound to the loopback interface, whatever it sends.
func (f *flooder) open() (err error) {
	f.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	err = unix.BindToDevice(f.fd, "lo")
	if err == nil {
		err = unix.Bind(f.fd, &unix.SockaddrInet4{})
	}
	if err != nil {
		unix.Close(f.fd)
		return fmt.Errorf("bind socket to loopback: %w", err)
	}
	return nil
}

// send sends one request of version 4 whose transmit timestamp is its number.
func (f *flooder) send(number uint64, from [4]byte) error {
	var request [requestLen]byte
	request[0] = 4<<3 | 3
	binary.BigEndian.PutUint64(request[40:], number)
	control := unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: from})
	for {
		err := unix.Sendmsg(f.fd, request[:], control, &f.to, 0)
		switch {
		case err == nil:
			f.counts.Sent++
			f.outstanding++
			return nil
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS):
			if err := f.receive(floodWithin); err != nil {
				return err
			}
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("send from %v: %w", from, err)
		}
	}
}

// receive takes the answers that are there. Where there is none it waits for one;
// when none comes in time, it counts what is outstanding as lost.
func (f *flooder) receive(within time.Duration) error {
	var answer [128]byte
	got := 0
	for f.outstanding > 0 {
		n, err := unix.Read(f.fd, answer[:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			if got > 0 {
				return nil
			}
			ready, err := unix.Poll([]unix.PollFd{{Fd: int32(f.fd), Events: unix.POLLIN}}, int(within.Milliseconds()))
			if err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("wait for answers: %w", err)
			}
			if err == nil && ready == 0 {
				f.counts.Lost += uint64(f.outstanding)
				f.outstanding = 0
			}
			continue
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		}
		got++
		f.outstanding--
		if n >= requestLen && answer[0]&7 == 4 && answer[1] > 0 {
			f.counts.Answered++
		} else {
			f.counts.Kissed++
		}
	}
	return nil
}
