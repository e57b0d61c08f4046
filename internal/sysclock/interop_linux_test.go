package sysclock

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

// peer returns the path of a stock program; ./hack/test brings them.
func peer(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("TRUECHIMER_PEERS")
	if dir == "" && os.Getenv("CI") == "true" {
		t.Fatalf("no %s: TRUECHIMER_PEERS is not set", name)
	}
	if dir == "" {
		t.Skipf("no %s: TRUECHIMER_PEERS is not set; ./hack/test sets it", name)
	}
	return filepath.Join(dir, "bin", name)
}

// realChronyd is a stock chronyd that leaves the clock alone: it is told to, and it may not.
type realChronyd struct {
	binary, client string
	dir            string
	port           string // of its commands, on loopback
	config         string
	process        *exec.Cmd
	log            bytes.Buffer
}

// newRealChronyd prepares a chronyd with the given lines of configuration.
func newRealChronyd(t *testing.T, lines ...string) *realChronyd {
	t.Helper()
	c := &realChronyd{binary: peer(t, "chronyd"), client: peer(t, "chronyc"), dir: socketDir(t)}
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, c.port, _ = net.SplitHostPort(free.LocalAddr().String())
	free.Close()
	c.config = filepath.Join(c.dir, "chrony.conf")
	lines = append(lines,
		"bindcmdaddress "+c.socket(),
		"bindcmdaddress 127.0.0.1",
		"cmdport "+c.port,
		"port 0",
		"pidfile "+filepath.Join(c.dir, "chronyd.pid"),
	)
	if err := os.WriteFile(c.config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.stop(syscall.SIGKILL) })
	return c
}

func (c *realChronyd) socket() string { return filepath.Join(c.dir, "chronyd.sock") }

func (c *realChronyd) start(t *testing.T) {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	rights := []string{"--bounding-set=-sys_time", "--inh-caps=-sys_time"}
	if os.Geteuid() != 0 {
		rights = []string{"--no-new-privs", "--inh-caps=-sys_time"}
	}
	c.process = exec.Command("setpriv", append(rights, "--", c.binary, "-x", "-d", "-U", "-u", me.Username, "-f", c.config)...)
	c.process.Stdout, c.process.Stderr = &c.log, &c.log
	if err := c.process.Start(); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		_, err := (&Chronyd{Address: c.socket()}).Tracking(t.Context())
		if err == nil {
			return
		}
		if time.Since(start) > 10*time.Second {
			c.stop(syscall.SIGKILL)
			t.Fatalf("chronyd does not answer: %v\n%s", err, c.log.String())
		}
	}
}

// stop sends a signal and waits for the end.
func (c *realChronyd) stop(s syscall.Signal) {
	if c.process != nil {
		_ = c.process.Process.Signal(s)
		_ = c.process.Wait()
		c.process = nil
	}
}

// report is what chronyc prints for programs.
func (c *realChronyd) report(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), c.client, "-c", "-n", "-h", c.socket(), "tracking").Output()
	if err != nil {
		t.Fatalf("chronyc: %v: %s", err, out)
	}
	fields := strings.Split(strings.TrimSpace(string(out)), ",")
	if len(fields) != 14 {
		t.Fatalf("chronyc printed %q, want 14 fields", out)
	}
	return fields
}

// lyingServer answers NTP requests on loopback with the host's time plus offset, which
// gains by ppm, and claims to be of stratum 2 with a root delay of 1/64 s.
type lyingServer struct {
	conn  *net.UDPConn
	quiet atomic.Bool
}

func startLyingServer(t *testing.T, offset time.Duration, ppm int64) *lyingServer {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &lyingServer{conn: conn}
	start := time.Now()
	now := func() uint64 {
		const unixToNTP = (70*365 + 17) * 86400
		at := time.Now().Add(offset + time.Since(start)*time.Duration(ppm)/1e6)
		return uint64(at.Unix()+unixToNTP)<<32 | uint64(at.Nanosecond())<<32/1e9
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		request := make([]byte, 1024)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(request)
			received := now()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil || n < 48 || s.quiet.Load() {
				continue
			}
			reply := make([]byte, 48)
			reply[0], reply[1], reply[2], reply[3] = 4<<3|4, 2, request[2], 0xec // 2^-20 s
			binary.BigEndian.PutUint32(reply[4:], 1<<16/64)
			copy(reply[12:], []byte{192, 0, 2, 55})
			binary.BigEndian.PutUint64(reply[16:], received)
			copy(reply[24:], request[40:48])
			binary.BigEndian.PutUint64(reply[32:], received)
			binary.BigEndian.PutUint64(reply[40:], now())
			_, _ = conn.WriteToUDPAddrPort(reply, from)
		}
	})
	t.Cleanup(func() {
		conn.Close()
		serving.Wait()
	})
	return s
}

func (s *lyingServer) directive() string {
	port := s.conn.LocalAddr().(*net.UDPAddr).Port
	return fmt.Sprintf("server 127.0.0.1 port %d iburst minpoll -2 maxpoll -2", port)
}

// until asks chronyd again and again until it says what is awaited.
func until(t *testing.T, c *realChronyd, awaited func(Tracking) bool) Tracking {
	t.Helper()
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		got, err := (&Chronyd{Address: c.socket()}).Tracking(t.Context())
		if err == nil && awaited(got) {
			return got
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("chronyd does not get there: %+v, %v", got, err)
		}
	}
}

// A stock chronyd that may not touch the clock follows a server that is 300 ms ahead.
func TestInteropChronyd(t *testing.T) {
	const offset = 300 * time.Millisecond
	server := startLyingServer(t, offset, 0)
	server.quiet.Store(true)
	chronyd := newRealChronyd(t, server.directive())
	chronyd.start(t)

	socket, port := &Chronyd{Address: chronyd.socket()}, &Chronyd{Address: net.JoinHostPort("127.0.0.1", chronyd.port)}
	follow := func(tracker Tracker, own ...netip.Addr) *clock.Snapshot {
		t.Helper()
		f := NewFollow(NewHost(), benchPrecision, func() []netip.Addr { return own }, FollowSettings{FollowStratum: 10, ErrorLimit: time.Second, Tracker: tracker})
		return f.Poll(t.Context(), false)
	}
	refused(t, follow(socket), clock.RefIDInit(), "chronyd is not synchronised")
	refused(t, follow(port), clock.RefIDInit(), "chronyd is not synchronised")

	server.quiet.Store(false)
	until(t, chronyd, func(got Tracking) bool {
		return got.Leap == clock.LeapNone && got.Stratum == 3 && got.SkewPPM < 100 // so that its bound is of use
	})
	refused(t, follow(socket), clock.RefIDInit(), "chronyd follows 127.0.0.1, an address of this host")

	// Silence, so that everybody is told the same: the last update is made well within this.
	server.quiet.Store(true)
	time.Sleep(500 * time.Millisecond)
	report := chronyd.report(t)
	for name, tracker := range map[string]*Chronyd{"socket": socket, "port": port} {
		got, err := tracker.Tracking(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		figure := func(field int) float64 {
			f, err := strconv.ParseFloat(report[field], 64)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		second, nanosecond, _ := strings.Cut(report[3], ".")
		for what, pair := range map[string][2]string{
			"refid":      {report[0], strings.ToUpper(fmt.Sprintf("%x", got.RefID[:]))},
			"address":    {report[1], got.Addr.String()},
			"stratum":    {report[2], fmt.Sprint(got.Stratum)},
			"reference":  {second + nanosecond, fmt.Sprint(got.Reference)},
			"frequency":  {report[7], fmt.Sprintf("%.3f", -got.FrequencyPPM)},
			"skew":       {report[9], fmt.Sprintf("%.3f", got.SkewPPM)},
			"root delay": {fmt.Sprintf("%.6f", figure(10)), fmt.Sprintf("%.6f", got.RootDelay.Seconds())},
			"interval":   {report[12], fmt.Sprintf("%.1f", got.UpdateInterval.Seconds())},
			"leap":       {report[13], map[clock.Leap]string{clock.LeapNone: "Normal"}[got.Leap]},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s: %s is %s, and %s to chronyc", name, what, pair[1], pair[0])
			}
		}
		// These move on between two questions.
		if off := got.Correction.Seconds() - figure(4); off > 1e-3 || off < -1e-3 {
			t.Errorf("%s: correction %v, and %v s to chronyc", name, got.Correction, figure(4))
		}
		if off := got.RootDispersion.Seconds() - figure(11); off > 1e-3 || off < 0 {
			t.Errorf("%s: root dispersion %v, and %v s to chronyc", name, got.RootDispersion, figure(11))
		}
		if got.RootDelay < time.Second/64 || got.RootDelay > time.Second/64+50*time.Millisecond {
			t.Errorf("%s: root delay %v does not hold the server's own of 1/64 s", name, got.RootDelay)
		}
		// Positive: the clock is behind. What chronyd states as its bound contains the truth.
		if off := (got.Correction - offset).Abs(); off > got.RootDelay/2+got.RootDispersion {
			t.Errorf("%s: correction %v, in truth %v; chronyd claims %v", name, got.Correction, offset, got.RootDelay/2+got.RootDispersion)
		}
		if age := time.Duration(time.Now().UnixNano()-got.Reference) + got.Correction; age < 0 || age > 10*time.Second {
			t.Errorf("%s: the last update was %v ago", name, age)
		}
	}

	// Hanging, killed, started again, stopped in order.
	if err := chronyd.process.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := socket.Tracking(t.Context()); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) > 3*chronydTimeout {
		t.Errorf("asked while stopped: %v after %v", err, time.Since(start))
	}
	chronyd.stop(syscall.SIGKILL)
	if _, err := os.Stat(chronyd.socket()); err != nil {
		t.Errorf("it was to leave its socket behind: %v", err)
	}
	for _, tracker := range []*Chronyd{socket, port} {
		if _, err := tracker.Tracking(t.Context()); !errors.Is(err, ErrNoChronyd) {
			t.Errorf("asked when killed: %v, want ErrNoChronyd", err)
		}
	}
	chronyd.start(t)
	chronyd.stop(syscall.SIGTERM)
	if _, err := socket.Tracking(t.Context()); !errors.Is(err, ErrNoChronyd) {
		t.Errorf("asked when gone: %v, want ErrNoChronyd", err)
	}
	if left, _ := filepath.Glob(filepath.Join(chronyd.dir, "truechimer*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The sign of the frequency: this clock loses 300 ppm against the server.
func TestInteropChronydFrequency(t *testing.T) {
	server := startLyingServer(t, 0, 300)
	chronyd := newRealChronyd(t, server.directive())
	chronyd.start(t)
	got := until(t, chronyd, func(got Tracking) bool { return got.Leap == clock.LeapNone && got.SkewPPM > 0 && got.SkewPPM < 50 })
	if got.FrequencyPPM < 200 || got.FrequencyPPM > 400 {
		t.Errorf("the correction in force is of %v ppm, want about +300", got.FrequencyPPM)
	}
}

func TestInteropChronydLocal(t *testing.T) {
	chronyd := newRealChronyd(t, "local stratum 3")
	chronyd.start(t)
	got := until(t, chronyd, func(got Tracking) bool { return got.Stratum == 3 })
	if got.RefID != clock.RefIDLocal() || got.Addr.IsValid() || got.Leap != clock.LeapNone {
		t.Errorf("its local clock is reported as %+v", got)
	}
	f := NewFollow(NewHost(), benchPrecision, func() []netip.Addr { return nil }, FollowSettings{ErrorLimit: time.Second, Tracker: &Chronyd{Address: chronyd.socket()}})
	refused(t, f.Poll(context.Background(), false), clock.RefIDInit(), "its own local clock")
}
