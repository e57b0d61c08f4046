package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/beevik/ntp"

	"github.com/truechimer/truechimer/internal/rpc"
)

// The clients below read the same clock as the server that they ask. What they measure
// is therefore their own error: at most half the delay, on any sample, and we take the
// one with the least delay. To that comes what their printed figures leave out.

// TestInteropBeevik asks our server with a client that shares no code with it.
func TestInteropBeevik(t *testing.T) {
	dir := t.TempDir()
	name := writeConfig(t, dir, "")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	listen := []string{`"127.0.0.1:0"`}
	if hasIPv6() {
		listen = append(listen, `"[::1]:0"`)
	}
	text = bytes.Replace(text, []byte(listen[0]), []byte(strings.Join(listen, ", ")), 1)
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s := serveTest(t, dir, "--config", filepath.Base(name))
	addrs := regexp.MustCompile(`NTP    udp (\S+)`).FindAllStringSubmatch(s.out.String(), -1)
	if len(addrs) != len(listen) {
		t.Fatalf("serves on %v", addrs)
	}
	for _, addr := range addrs {
		for version := 3; version <= 4; version++ {
			best := &ntp.Response{RTT: time.Hour}
			for range 8 {
				r, err := ntp.QueryWithOptions(addr[1], ntp.QueryOptions{Version: version, Timeout: patience})
				if err != nil {
					t.Fatal(err)
				}
				if err := r.Validate(); err != nil {
					t.Errorf("not valid: %v: %+v", err, r)
				}
				if r.RTT < best.RTT {
					best = r
				}
			}
			// It cuts what is below a nanosecond off each of the four.
			if best.ClockOffset.Abs() > best.RTT/2+4*time.Nanosecond {
				t.Errorf("%s, version %d: the offset is %v with a delay of %v", addr[1], version, best.ClockOffset, best.RTT)
			}
			if best.Stratum != 10 || best.ReferenceString() != "127.127.1.1" || best.Leap != ntp.LeapNoWarning || best.Version != version {
				t.Errorf("%s, version %d: claims %+v", addr[1], version, best)
			}
			t.Logf("%s, version %d: offset %v, delay %v", addr[1], version, best.ClockOffset, best.RTT)
		}
	}
}

func hasIPv6() bool {
	conn, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// TestInterop has stock clients read our server, at the port that they insist on, and
// our client read a stock server. None of them can set the clock.
func TestInterop(t *testing.T) {
	if os.Getenv("TRUECHIMER_PEERS") == "" {
		leaveOut(t, "needs TRUECHIMER_PEERS, the directory of stock NTP programs: see hack/interop")
	}
	if !canIsolate() {
		leaveOut(t, "needs network namespaces: unshare and ip, and root or unprivileged user namespaces")
	}
	if !isolate(t) {
		return
	}
	if !hasIPv6() {
		leaveOut(t, "needs IPv6")
	}
	dir := t.TempDir()
	text := "ntp.listen = [\"127.0.0.1:123\", \"[::1]:123\"]\nclock.local_stratum = 10\nclock.chronyd = \"off\"\n"
	if err := os.WriteFile(filepath.Join(dir, "port123.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	serveTest(t, dir, "--config", "port123.toml")
	stock := stockServer(t)
	for _, ip := range []string{"127.0.0.1", "::1"} {
		t.Run("chronyd/"+ip, func(t *testing.T) { askWithChronyd(t, ip) })
		t.Run("ntpdig/"+ip, func(t *testing.T) { askWithNtpdig(t, ip) })
		t.Run("rdate/"+ip, func(t *testing.T) { askWithRdate(t, ip) })
		t.Run("query/"+ip, func(t *testing.T) { askWithQuery(t, ip, 10) })
		t.Run("query_chronyd/"+ip, func(t *testing.T) { askWithQuery(t, net.JoinHostPort(ip, stock), 3) })
	}
}

// TestInteropInterleaved has two stock clients read our server at once and from one
// address, one in interleaved mode and one in basic mode. Neither takes the server for
// its clock (noselect), so what each measures is its own error.
func TestInteropInterleaved(t *testing.T) {
	if os.Getenv("TRUECHIMER_PEERS") == "" {
		leaveOut(t, "needs TRUECHIMER_PEERS, the directory of stock NTP programs: see hack/interop")
	}
	if !canIsolate() {
		leaveOut(t, "needs network namespaces: unshare and ip, and root or unprivileged user namespaces")
	}
	if !isolate(t) {
		return
	}
	dir := t.TempDir()
	s := serveTest(t, dir, "--config", filepath.Base(writeConfig(t, dir, "ntp.interleaved = true\n")))
	interleaved, basic := stockClient(t, s.ntp, "xleave"), stockClient(t, s.ntp, "")
	said := awaitData(t, interleaved, func(d ntpdata) bool { return d.interleaved && d.valid >= 4 })
	inBounds(t, said.offset, said.delay, 1e-6)
	if said.stamps != "Kernel Kernel" {
		t.Errorf("the client has stamps by %s", said.stamps)
	}
	said = awaitData(t, basic, func(d ntpdata) bool { return d.valid >= 4 })
	inBounds(t, said.offset, said.delay, 1e-6)
	if said.interleaved {
		t.Error("a client in basic mode was answered in interleaved mode")
	}
	// Still so, now that both have been heard more often.
	again := awaitData(t, interleaved, func(d ntpdata) bool { return d.valid >= 16 })
	inBounds(t, again.offset, again.delay, 1e-6)
	if !again.interleaved {
		t.Error("no longer in interleaved mode, with another client at the same address")
	}
	status, err := (&client{address: s.api}).node().Status(t.Context(), connect.NewRequest(&rpc.StatusRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	verdicts := status.Msg.Ntp.Verdicts
	t.Logf("verdicts %v", verdicts)
	if verdicts["interleaved"] < 12 || verdicts["answered"] < 4 {
		t.Errorf("the server counts %v", verdicts)
	}
	if verdicts["interleaved_missed"] > verdicts["interleaved"]/2 {
		t.Errorf("the server forgets what it should keep: %v", verdicts)
	}
}

// stockClient runs a chronyd that asks a server four times a second and touches no
// clock, and returns the socket for its commands.
func stockClient(t *testing.T, server, options string) (socket string) {
	t.Helper()
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		t.Fatal(err)
	}
	// A socket's path is short, and chronyd wants a directory that is root's alone.
	dir, err := os.MkdirTemp("", "chronyd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "socket")
	stockDaemon(t, dir, fmt.Sprintf("server %s port %s noselect minpoll -2 maxpoll -2 %s", host, port, options),
		"port 0", "bindcmdaddress "+socket)
	return socket
}

// ntpdata is what chronyd last heard from its one server.
type ntpdata struct {
	offset, delay float64 // seconds
	valid         float64 // answers
	interleaved   bool
	stamps        string // who stamps departures and arrivals
}

// awaitData asks a chronyd for what it heard until that is what is awaited.
func awaitData(t *testing.T, socket string, awaited func(ntpdata) bool) ntpdata {
	t.Helper()
	for begun := time.Now(); ; {
		out, err := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("TRUECHIMER_PEERS"), "bin", "chronyc"),
			"-n", "-h", socket, "ntpdata").CombinedOutput()
		text := string(out)
		if err == nil && strings.Contains(text, "Interleaved ") {
			d := ntpdata{
				offset: number(t, text, `Offset +: (\S+) seconds`), delay: number(t, text, `Peer delay +: (\S+) seconds`),
				valid: number(t, text, `Total valid RX +: (\d+)`), interleaved: word(text, "Interleaved") == "Yes",
				stamps: word(text, "TX timestamping") + " " + word(text, "RX timestamping"),
			}
			if awaited(d) {
				t.Logf("%s", text)
				return d
			}
		}
		if time.Since(begun) > patience {
			t.Fatalf("chronyd does not get there: %v\n%s", err, text)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// word returns what stands behind a name in a report of chronyc.
func word(text, name string) string {
	found := regexp.MustCompile(regexp.QuoteMeta(name) + ` +: (\S+)`).FindStringSubmatch(text)
	if found == nil {
		return ""
	}
	return found[1]
}

// inBounds fails unless an offset is within half the delay, both in seconds, and what
// the client's printing may have taken from it.
func inBounds(t *testing.T, offset, delay, printed float64) {
	t.Helper()
	t.Logf("offset %.3f µs, delay %.3f µs (%.3f µs by printing)", offset*1e6, delay*1e6, printed*1e6)
	if !(math.Abs(offset) <= delay/2+printed) {
		t.Errorf("the offset is more than half the delay: %g s of %g s", offset, delay)
	}
}

// peer runs a stock program to its end, and returns what it printed and how long it ran.
func peer(t *testing.T, program string, args ...string) (out string, took time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var text bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(os.Getenv("TRUECHIMER_PEERS"), "bin", program), args...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &text, &text, dieWithUs()
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	proof := proveNoClock(cmd)
	err := cmd.Wait()
	took = time.Since(begun)
	if proof != nil {
		t.Fatal(proof)
	}
	t.Logf("%s %q:\n%s", program, args, &text)
	if err != nil {
		t.Fatal(err)
	}
	return text.String(), took
}

// number returns the number that the pattern's group finds in a text.
func number(t *testing.T, text, pattern string) float64 {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no %s in:\n%s", pattern, text)
	}
	n, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// askWithChronyd reads the samples in chronyd's log of measurements, four digits each.
func askWithChronyd(t *testing.T, ip string) {
	dir := t.TempDir()
	out, _ := peer(t, "chronyd", "-Q", "-t", "10", fmt.Sprintf("server %s port 123 iburst maxsamples 4", ip),
		"user root", "bindcmdaddress /", "pidfile "+filepath.Join(dir, "pid"), "log rawmeasurements", "logdir "+dir)
	text, err := os.ReadFile(filepath.Join(dir, "measurements.log"))
	if err != nil {
		t.Fatal(err)
	}
	offset, delay, worst := 0.0, math.Inf(1), 0.0
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 16 || f[2] != ip {
			continue
		}
		o, errO := strconv.ParseFloat(f[11], 64)
		d, errD := strconv.ParseFloat(f[12], 64)
		if errO != nil || errD != nil || f[4] != "10" || f[5]+f[6]+f[7] != "1111111111" {
			t.Errorf("not a good sample of stratum 10: %s", line)
		}
		worst = max(worst, d)
		if d < delay {
			offset, delay = o, d
		}
	}
	inBounds(t, offset, delay, 1e-3*delay)
	// It concludes by regression, which may lead out of the samples by as much again.
	if said := number(t, out, `System clock wrong by (\S+) seconds \(ignored\)`); math.Abs(said) > worst+1e-6 {
		t.Errorf("concludes an offset of %g s from delays up to %g s", said, worst)
	}
}

// askWithNtpdig reads what ntpdig calls the precision: half the delay, the resolution of
// the server and 15 millionths of the time that the exchange took. Six decimals each.
func askWithNtpdig(t *testing.T, ip string) {
	out, _ := peer(t, "ntpdig", "-j", "-p", "4", ip)
	var said struct {
		Offset    float64
		Precision float64
		Stratum   int
		Leap      string
		IP        string
	}
	if err := json.Unmarshal([]byte(out), &said); err != nil {
		t.Fatal(err)
	}
	inBounds(t, said.Offset, 2*said.Precision, 1e-6)
	if said.Stratum != 10 || said.Leap != "no-leap" || said.IP != ip {
		t.Errorf("understood %+v", said)
	}
}

// askWithRdate has no delay to go by but the time that rdate ran. Six decimals.
func askWithRdate(t *testing.T, ip string) {
	out, took := peer(t, "rdate", "-n", "-p", "-v", ip)
	inBounds(t, number(t, out, `adjust local clock by (\S+) seconds`), took.Seconds(), 1e-6)
}

// askWithQuery asks with our own client, which prints every nanosecond.
func askWithQuery(t *testing.T, server string, stratum int) {
	out, err := exec.CommandContext(t.Context(), "truechimer", "query", "--json", "--samples", "8", "--interval", "5ms", server).Output()
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		OffsetNs, DelayNs, ErrorBoundNs float64
		Samples, Stratum                int
		RefID                           string
		KernelStamped                   bool
	}
	if err := json.Unmarshal(out, &said); err != nil {
		t.Fatal(err)
	}
	inBounds(t, said.OffsetNs/1e9, said.DelayNs/1e9, 1e-9)
	if said.Stratum != stratum || said.RefID != "127.127.1.1" || said.Samples != 8 || !said.KernelStamped || said.ErrorBoundNs < said.DelayNs/2 {
		t.Errorf("understood %s", out)
	}
}

// stockServer runs a chronyd that serves its clock and touches none, and returns its port.
func stockServer(t *testing.T) (port string) {
	t.Helper()
	const free = "11323" // in this namespace
	log := stockDaemon(t, t.TempDir(), "local stratum 3", "allow", "port "+free, "bindcmdaddress /")
	for begun := time.Now(); ; {
		if exec.Command("truechimer", "query", "--timeout", "100ms", "127.0.0.1:"+free).Run() == nil {
			return free
		}
		if time.Since(begun) > patience {
			t.Fatalf("chronyd does not answer:\n%s", log.String())
		}
		<-time.After(20 * time.Millisecond)
	}
}

// stockDaemon runs a chronyd that touches no clock until the test ends.
func stockDaemon(t *testing.T, dir string, directives ...string) (log *output) {
	t.Helper()
	args := append([]string{"-x", "-d", "cmdport 0", "user root", "pidfile " + filepath.Join(dir, "pid")}, directives...)
	cmd := exec.Command(filepath.Join(os.Getenv("TRUECHIMER_PEERS"), "bin", "chronyd"), args...)
	log = &output{}
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, dieWithUs()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Logf("chronyd %q:\n%s", args, log.String())
	})
	if err := proveNoClock(cmd); err != nil {
		t.Fatal(err)
	}
	return log
}
