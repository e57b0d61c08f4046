package netio

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace of a test's own. What is opened in it may be
// used from anywhere.
type namespace struct {
	tid   int // of its thread
	jobs  chan func()
	ended chan struct{}
}

// leaveOut skips a test for want of something, and fails it where all must be tested.
func leaveOut(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// newNamespace returns a namespace that lasts as long as the test and what was
// opened in it, or leaves the test out.
func newNamespace(t *testing.T) *namespace {
	if _, err := exec.LookPath("ip"); os.Getuid() != 0 || err != nil {
		leaveOut(t, "needs root and the command ip")
	}
	n := &namespace{jobs: make(chan func()), ended: make(chan struct{})}
	began := make(chan error)
	go func() { // its thread is in the namespace for good, and ends with it
		defer close(n.ended)
		runtime.LockOSThread()
		n.tid = unix.Gettid()
		err := unix.Unshare(unix.CLONE_NEWNET)
		began <- err
		if err != nil {
			return
		}
		for f := range n.jobs {
			f()
		}
	}()
	if err := <-began; err != nil {
		leaveOut(t, fmt.Sprintf("needs a network namespace: %v", err))
	}
	t.Cleanup(func() {
		close(n.jobs)
		<-n.ended
	})
	return n
}

// do runs f in the namespace and waits for it. Where f ends the test, it is the last.
func (n *namespace) do(f func()) {
	done := make(chan struct{})
	select {
	case n.jobs <- func() { defer close(done); f() }:
		<-done
	case <-n.ended:
	}
}

// ip runs the command ip with each of several lines of arguments.
func (n *namespace) ip(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		var out []byte
		var err error
		n.do(func() { out, err = exec.Command("ip", strings.Fields(line)...).CombinedOutput() })
		if err != nil {
			t.Fatalf("ip %s: %v: %s", line, err, out)
		}
	}
}

// cable joins two namespaces by an Ethernet cable, name0 with the addresses that end
// with 1 in a, and name1 with those that end with 2 in b, and waits until it carries.
func cable(t *testing.T, a, b *namespace, name, net4, net6 string) {
	t.Helper()
	a.ip(t,
		fmt.Sprintf("link add %s0 type veth peer name %s1", name, name),
		fmt.Sprintf("link set %s1 netns %d", name, b.tid))
	for i, n := range []*namespace{a, b} {
		n.ip(t,
			"link set lo up",
			fmt.Sprintf("link set %s%d up", name, i),
			fmt.Sprintf("addr add %s%d/24 dev %s%d", net4, i+1, name, i),
			fmt.Sprintf("-6 addr add %s%d/64 dev %s%d nodad", net6, i+1, name, i))
	}
	for _, addr := range []string{net4 + "1", net6 + "1"} {
		var s Socket
		var client *net.UDPConn
		a.do(func() { s = listen(t, netip.AddrPortFrom(netip.MustParseAddr(addr), 0).String()) })
		if s == nil {
			t.FailNow()
		}
		b.do(func() { client = dial(t, addr, s.LocalAddr().Port()) })
		if client == nil {
			t.FailNow()
		}
		done := make(chan error, 1)
		go func() { done <- echo(s, 1<<30) }()
		answered := false
		for start := time.Now(); !answered && time.Since(start) < patience; {
			_ = client.SetDeadline(time.Now().Add(50 * time.Millisecond))
			_, _ = client.Write([]byte("x"))
			n, err := client.Read(make([]byte, 2))
			answered = n == 1 && err == nil
		}
		_ = s.Close()
		<-done
		if !answered {
			t.Fatalf("%s: no answer over the cable", addr)
		}
	}
}
