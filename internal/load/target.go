package load

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrPublic reports an address that may be a stranger's.
var ErrPublic = errors.New("load on a stranger's server is an attack on it and on all who depend on it")

// ErrNoHost reports an address that is not that of one host.
var ErrNoHost = errors.New("load goes to one host and nowhere else")

// Permit returns nil where load may be sent to an address: to loopback, to private
// networks and to IPv6's link-local ones, whose owner is the one who sends it, and elsewhere
// (else ErrPublic) only where public says that the owner allows it. Link-local of IPv4 is
// elsewhere: at 169.254.169.123 and the like a provider of machines serves time to all of
// its customers. What is not the address of one host, such as a multicast group, is never
// permitted (ErrNoHost).
// Source: RFC 1918; RFC 4193; RFC 4291.
func Permit(addr netip.Addr, public bool) error {
	addr = addr.Unmap()
	switch {
	case !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() || noHost(addr):
		return fmt.Errorf("%v is not the address of a host: %w", addr, ErrNoHost)
	case addr.IsLoopback() || addr.IsPrivate() || addr.Is6() && addr.IsLinkLocalUnicast() || public:
		return nil
	}
	return fmt.Errorf("%v is neither loopback nor of a private network: %w", addr, ErrPublic)
}

// noHost reports whether the address is of one of IPv4's ranges without hosts: "this
// network", and what is reserved, with the broadcast address in it. The broadcast
// addresses of networks cannot be told by their looks; the kernel refuses those.
// Source: RFC 6890.
func noHost(addr netip.Addr) bool {
	if !addr.Is4() {
		return false
	}
	first := addr.As4()[0]
	return first == 0 || first >= 240
}
