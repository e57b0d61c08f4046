// Package upstream asks NTP servers for the time. What is decided about a reply is pure;
// what sends and waits is thin.
package upstream

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/truechimer/truechimer/internal/netio"
	"github.com/truechimer/truechimer/internal/ntp"
)

// ErrNoReply reports that a server did not answer in time.
var ErrNoReply = errors.New("no reply")

// Measurement is one exchange with a server: what it said, and what follows from it.
type Measurement struct {
	Server netip.AddrPort
	Header ntp.Header // the server's own claims
	Sample ntp.Sample // T1 to T4
	// Precision is of the local clock, which T1 and T4 were read from.
	Precision ntp.Precision
	// Stamped tells that T4 was taken by the kernel, Departed that T1 was.
	Stamped, Departed bool
	// Interleaved tells that T3 is the server's word of when the reply really left.
	Interleaved bool
	// Fault is why the reply must not be used, or nil: see ntp.CheckReply.
	Fault error
}

// Offset returns server minus local: positive when the local clock is behind.
func (m *Measurement) Offset() time.Duration { return m.Sample.Offset() }

// Delay returns the round trip without the server's own time; at least the sum of both
// precisions, which is what it can be told apart from.
func (m *Measurement) Delay() time.Duration {
	return max(m.Sample.Delay(), m.precisions())
}

// ErrorBound returns the largest distance that the offset can have to the local clock's
// true offset from UTC, if what the server claims of itself is true: half the way to the
// reference clock, what may have been lost on it, what the clocks cannot resolve, and what
// the local clock may have drifted during the exchange.
// Source: RFC 5905, section 8 (its epsilon) and appendix A.5.5.2 (root distance).
func (m *Measurement) ErrorBound() time.Duration {
	return m.Delay()/2 + m.Header.RootDelay.Duration()/2 + m.Header.RootDispersion.Duration() + m.precisions() + m.drift()
}

// drift returns what the local clock may have drifted during the exchange, rounded up.
func (m *Measurement) drift() time.Duration {
	lasted := m.Sample.Destination.Sub(m.Sample.Origin).Abs()
	return lasted/1_000_000*driftPPM + driftPPM*time.Nanosecond
}

// precisions returns what the two clocks cannot resolve; each takes a nanosecond at least.
func (m *Measurement) precisions() time.Duration {
	return m.Header.Precision.Duration() + m.Precision.Duration()
}

// driftPPM is how fast a clock may drift that nobody has measured: PHI of RFC 5905.
const driftPPM = 15

// Local reports whether the server says that it follows nothing but its own clock: then
// its claims are about that clock, and say nothing of UTC.
func (m *Measurement) Local() bool {
	return m.Header.Stratum > 1 && m.Header.RefID == refIDLocal || m.Header.Stratum == 1 && m.Header.RefID == refIDLOCL
}

// What servers send that follow nothing: chronyd and we, 127.127.1.1; ntpd at stratum 1,
// its driver's name.
const (
	refIDLocal ntp.RefID = 127<<24 | 127<<16 | 1<<8 | 1
	refIDLOCL  ntp.RefID = 'L'<<24 | 'O'<<16 | 'C'<<8 | 'L'
)

// Exchange sends one request and returns the measurement of its reply. A reply that must
// not be used is returned too, with its Fault; datagrams that are no reply to this request
// are passed over. It fails with ErrNoReply when ctx ends first, and when the server
// cannot be reached.
func Exchange(ctx context.Context, server netip.AddrPort) (Measurement, error) {
	precision := ntp.MeasurePrecision(func() int64 { return time.Now().UnixNano() })
	client, err := netio.Dial(server)
	if err != nil {
		return Measurement{}, err
	}
	defer client.Close()
	defer context.AfterFunc(ctx, func() { client.SetDeadline(time.Unix(1, 0)) })()

	request := ntp.Header{Version: ntp.VersionMax, Mode: ntp.ModeClient, Transmit: cookie()}
	sent, err := client.Send(request.Append(nil))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Measurement{}, fmt.Errorf("%w from %v", ErrNoReply, server)
	case err != nil:
		return Measurement{}, fmt.Errorf("send to %v: %w", server, err)
	}
	var reply [netio.DatagramMax]byte
	for {
		n, received, stamped, err := client.Receive(reply[:])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return Measurement{}, fmt.Errorf("%w from %v", ErrNoReply, server)
		case errors.Is(err, syscall.ECONNREFUSED):
			return Measurement{}, fmt.Errorf("receive from %v: %w: nothing serves NTP there", server, syscall.ECONNREFUSED)
		case err != nil:
			return Measurement{}, fmt.Errorf("receive from %v: %w", server, err)
		}
		header, err := ntp.Decode(reply[:n])
		if err != nil {
			continue
		}
		fault := ntp.CheckReply(request, header)
		if errors.Is(fault, ntp.ErrMode) || errors.Is(fault, ntp.ErrVersion) || errors.Is(fault, ntp.ErrBogus) {
			continue // not our server's word
		}
		return Measurement{
			Server: server,
			Header: header,
			Sample: ntp.Sample{
				Origin:      ntp.FromUnix(sent),
				Receive:     header.Receive,
				Transmit:    header.Transmit,
				Destination: ntp.FromUnix(received),
			},
			Precision: precision,
			Stamped:   stamped,
			Fault:     fault,
		}, nil
	}
}

// cookie is what stands in the request where the time of sending could: a server needs
// only give it back, and it tells nobody our time.
func cookie() ntp.Timestamp {
	var b [8]byte
	rand.Read(b[:]) // never fails: it ends the program instead
	return ntp.Timestamp(binary.BigEndian.Uint64(b[:])).NonZero()
}

// Port is where NTP is served.
const Port = 123

// ParseHost splits host or host:port; an IPv6 address may stand in brackets. The port is a
// number from 1 on or "ntp", and defaults to Port.
func ParseHost(host string) (name string, port uint16, err error) {
	name, digits, err := net.SplitHostPort(host)
	if err != nil { // without a port
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		return name, Port, nil
	}
	if digits == "ntp" {
		return name, Port, nil
	}
	number, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || number == 0 {
		return "", 0, fmt.Errorf("%q names port %q; want 1 to 65535, or leave it out for %d", host, digits, Port)
	}
	return name, uint16(number), nil
}

// Resolve returns the addresses of an NTP server named as ParseHost reads it.
func Resolve(ctx context.Context, host string) ([]netip.AddrPort, error) {
	name, port, err := ParseHost(host)
	if err != nil {
		return nil, err
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(addr.Unmap(), port)}, nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, fmt.Errorf("look up %q: %w", name, err)
	}
	var servers []netip.AddrPort
	for _, a := range addrs {
		servers = append(servers, netip.AddrPortFrom(a.Unmap(), port))
	}
	return servers, nil
}
