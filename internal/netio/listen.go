package netio

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
)

// dscpMax is the largest code point: it has six bits.
const dscpMax = 63

// Options says how to listen. The zero value is any interface and ordinary
// forwarding. Elsewhere than on Linux there is no other value.
type Options struct {
	// DSCP is the differentiated services code point that all that is sent carries,
	// 0 to 63. 46 (expedited forwarding) or 48 (network control) are what networks
	// are commonly set up to prefer. Source: RFC 2474, section 3.
	DSCP uint8

	// Interface is the name of the network interface that datagrams must
	// arrive on, and leave by; empty is any.
	Interface string
}

// errDevice is wrapped by what binding to an interface returns.
var errDevice = errors.New("bind to interface")

// Listen opens up to n sockets on one address, among which the kernel spreads
// the clients, and at least one. No other process can hold or later join the
// port: where the kernel balances by SO_REUSEPORT, the first socket is bound
// without it. Port 0 takes a free port, the same for all. An unspecified address is
// every address of its family; IPv6 sockets never take IPv4 traffic.
//
// The error says what to do about it.
func Listen(addr netip.AddrPort, n int, o Options) ([]Socket, error) {
	if !addr.IsValid() {
		return nil, errors.New("listen: no address given: name one, such as 0.0.0.0:123")
	}
	if o.DSCP > dscpMax {
		return nil, fmt.Errorf("listen on udp %s: DSCP %d: give 0 to %d, such as 46 for expedited forwarding", addr, o.DSCP, dscpMax)
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	sockets := make([]Socket, 0, max(n, 1))
	for len(sockets) < max(n, 1) && (balanced || len(sockets) == 0) {
		s, err := open(addr, len(sockets) == 0, o)
		if err != nil {
			for _, s := range sockets {
				_ = s.Close()
			}
			return nil, fmt.Errorf("listen on udp %s: %w%s", addr, err, remedy(err, addr))
		}
		addr = s.LocalAddr() // the port that the kernel chose
		sockets = append(sockets, s)
	}
	return sockets, nil
}

// remedy returns what an operator can do about a failed bind, to be appended to
// the error.
func remedy(err error, addr netip.AddrPort) string {
	device := errors.Is(err, errDevice)
	switch {
	case device && errors.Is(err, syscall.ENODEV):
		return ": this machine has " + interfaces()
	case device && errors.Is(err, os.ErrPermission):
		return ": that needs CAP_NET_RAW; grant it or name no interface"
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf(": another NTP server holds the port; find it with \"ss -lunp sport = :%d\" and stop it, or listen on another port", addr.Port())
	case errors.Is(err, os.ErrPermission):
		return ": ports below 1024 need CAP_NET_BIND_SERVICE; grant it or listen on a higher port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return ": this machine does not have that address; see \"ip address\""
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return ": the kernel has no support for this address family; leave the address out"
	}
	return ""
}

// interfacesMax is how many interfaces an error names: a machine full of containers
// has hundreds.
const interfacesMax = 20

// interfaces returns the names of the interfaces of this machine, as a list to be read.
func interfaces() string {
	all, err := net.Interfaces()
	if err != nil || len(all) == 0 {
		return "no interfaces that can be listed"
	}
	var names []string
	for _, i := range all[:min(len(all), interfacesMax)] {
		names = append(names, i.Name)
	}
	if len(all) > interfacesMax {
		names = append(names, fmt.Sprintf("and %d more", len(all)-interfacesMax))
	}
	return strings.Join(names, ", ")
}
