package sysclock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/facebook/time/ntp/chrony"

	"github.com/truechimer/truechimer/internal/clock"
)

const (
	chronydSocket  = "/run/chrony/chronyd.sock"
	chronydPort    = "127.0.0.1:323"
	chronydTimeout = 250 * time.Millisecond
)

// ErrNoChronyd reports that there is no chronyd to ask.
var ErrNoChronyd = errors.New("sysclock: no chronyd")

// Tracking is what chronyd says of the system clock. The bound that it states is
// |Correction| + RootDelay/2 + RootDispersion at the time of the answer.
type Tracking struct {
	RefID          [4]byte
	Addr           netip.Addr // of the selected source; invalid for a reference clock
	Stratum        uint8
	Leap           clock.Leap
	Reference      int64         // last update, Unix nanoseconds
	Correction     time.Duration // still to be slewed; positive: the system clock is behind
	FrequencyPPM   float64       // of the correction in force; positive: the clock would lose without it
	SkewPPM        float64
	RootDelay      time.Duration
	RootDispersion time.Duration
	UpdateInterval time.Duration // between the last two updates
}

// Tracker asks the daemon that steers the clock. ErrNoChronyd means that there is none.
type Tracker interface {
	Tracking(ctx context.Context) (Tracking, error)
}

// Chronyd asks a chronyd on this host. It is used by one goroutine at a time.
type Chronyd struct {
	// Address is the path of chronyd's socket, or the host:port of its command port;
	// empty means to try the usual socket, then the usual port on loopback.
	Address string
}

// Tracking asks for chronyd's tracking report, and waits a quarter of a second for it at
// the most.
func (c *Chronyd) Tracking(ctx context.Context) (Tracking, error) {
	ctx, cancel := context.WithTimeout(ctx, chronydTimeout)
	defer cancel()
	if c.Address != "" {
		return askChronyd(ctx, c.Address)
	}
	// The socket needs rights on its directory; the port is open to any local user.
	return askFirst(ctx, chronydSocket, chronydPort)
}

// askFirst returns the first answer. When there is none, it returns the first error that
// says more than that there is no chronyd.
func askFirst(ctx context.Context, addresses ...string) (Tracking, error) {
	failed := ErrNoChronyd
	for _, address := range addresses {
		t, err := askChronyd(ctx, address)
		if err == nil {
			return t, nil
		}
		if errors.Is(failed, ErrNoChronyd) {
			failed = err
		}
	}
	return Tracking{}, failed
}

func askChronyd(ctx context.Context, address string) (Tracking, error) {
	conn, err := dialChronyd(ctx, address)
	if err != nil {
		return Tracking{}, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return Tracking{}, fmt.Errorf("ask chronyd at %s: %w", address, err)
	}
	client := chrony.Client{Connection: conn}
	reply, err := client.Communicate(chrony.NewTrackingPacket())
	if errors.Is(err, syscall.ECONNREFUSED) {
		return Tracking{}, fmt.Errorf("%w at %s", ErrNoChronyd, address)
	}
	if err != nil {
		return Tracking{}, fmt.Errorf("ask chronyd at %s: %w", address, err)
	}
	tracking, ok := reply.(*chrony.ReplyTracking)
	if !ok {
		return Tracking{}, fmt.Errorf("ask chronyd at %s: it answered with %T", address, reply)
	}
	t, err := translateTracking(&tracking.Tracking)
	if err != nil {
		return Tracking{}, fmt.Errorf("ask chronyd at %s: %w", address, err)
	}
	return t, nil
}

// dialChronyd connects to a socket path or a host:port. Over a socket chronyd answers to
// the name that we bind, in the directory that it can reach.
func dialChronyd(ctx context.Context, address string) (net.Conn, error) {
	if !strings.HasPrefix(address, "/") {
		conn, err := new(net.Dialer).DialContext(ctx, "udp", address)
		if err != nil {
			return nil, fmt.Errorf("connect to chronyd: %w", err)
		}
		return conn, nil
	}
	if _, err := os.Stat(address); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w at %s", ErrNoChronyd, address)
	}
	own := filepath.Join(filepath.Dir(address), fmt.Sprintf("truechimer.%d.sock", os.Getpid()))
	_ = os.Remove(own) // a leftover of a process that had this number before
	conn, err := net.DialUnix("unixgram", &net.UnixAddr{Name: own, Net: "unixgram"}, &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		_ = os.Remove(own)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("%w at %s", ErrNoChronyd, address)
		}
		return nil, fmt.Errorf("connect to chronyd: %w", err)
	}
	if err := os.Chmod(own, 0o666); err != nil { // chronyd has dropped its rights
		conn.Close()
		_ = os.Remove(own)
		return nil, fmt.Errorf("connect to chronyd: %w", err)
	}
	return unixConn{conn, own}, nil
}

// unixConn removes the name that it was bound to.
type unixConn struct {
	*net.UnixConn
	own string
}

func (c unixConn) Close() error {
	err := c.UnixConn.Close()
	return errors.Join(err, os.Remove(c.own))
}

// translateTracking checks what chronyd said: a figure that is not finite, or not of this
// world, must not become a claim of ours.
func translateTracking(r *chrony.Tracking) (Tracking, error) {
	const longest = 1 << 20 // seconds; twelve days
	for _, figure := range [...]float64{r.CurrentCorrection, r.RootDelay, r.RootDispersion, r.LastUpdateInterval, r.SkewPPM, r.FreqPPM} {
		if math.IsNaN(figure) || math.Abs(figure) > longest {
			return Tracking{}, fmt.Errorf("tracking report holds the impossible figure %v", figure)
		}
	}
	if r.RootDispersion < 0 || r.SkewPPM < 0 || r.LeapStatus > uint16(clock.LeapUnknown) || r.Stratum > 255 {
		return Tracking{}, fmt.Errorf("tracking report is out of range: dispersion %v, skew %v, leap %d, stratum %d", r.RootDispersion, r.SkewPPM, r.LeapStatus, r.Stratum)
	}
	if s := r.RefTime.Unix(); s < 0 || s >= math.MaxInt64/int64(time.Second) {
		return Tracking{}, fmt.Errorf("tracking report holds the impossible time %v", r.RefTime)
	}
	addr, _ := netip.AddrFromSlice(r.IPAddr)
	return Tracking{
		RefID:          [4]byte{byte(r.RefID >> 24), byte(r.RefID >> 16), byte(r.RefID >> 8), byte(r.RefID)},
		Addr:           addr.Unmap(),
		Stratum:        uint8(r.Stratum),
		Leap:           clock.Leap(r.LeapStatus),
		Reference:      r.RefTime.UnixNano(),
		Correction:     seconds(r.CurrentCorrection),
		FrequencyPPM:   -r.FreqPPM, // chronyd's is of the uncorrected clock; positive: it gains
		SkewPPM:        r.SkewPPM,
		RootDelay:      seconds(r.RootDelay),
		RootDispersion: seconds(r.RootDispersion),
		UpdateInterval: seconds(r.LastUpdateInterval),
	}, nil
}

// seconds rounds away from zero: what it converts goes into bounds.
func seconds(s float64) time.Duration {
	if s < 0 {
		return -time.Duration(math.Ceil(-s * 1e9))
	}
	return time.Duration(math.Ceil(s * 1e9))
}
