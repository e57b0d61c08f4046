package netio

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestStampArrivals: the option is on after it, and where it cannot be had an error tells.
func TestStampArrivals(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := stampArrivals(fd); err != nil {
		t.Fatal(err)
	}
	on, errNew := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW)
	old, errOld := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS)
	if (errNew != nil || on == 0) && (errOld != nil || old == 0) {
		t.Errorf("off: %d, %v; %d, %v", on, errNew, old, errOld)
	}
	if err := stampArrivals(-1); !errors.Is(err, unix.EBADF) || !strings.Contains(err.Error(), "SO_TIMESTAMPNS") {
		t.Errorf("no socket: %v", err)
	}
}
