//go:build unix

package daemon

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// TestFenced runs TestFencedChild in a process of its own: what it does to the disk holds
// for all of a process, and parts of a fenced store stay until the end of theirs.
func TestFenced(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^TestFencedChild$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), childEnv+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestFencedChild") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestFencedChild lets every write to the disk fail from some moment on, as a full one
// does. NTP goes on, no timestamp is acknowledged any more, everybody is told why, and the
// stop is an orderly one.
func TestFencedChild(t *testing.T) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		t.Skip("runs below TestFenced")
	}
	n := start(t, newFakeSystem(today(), synced), testConfig(dir+"/data", false), false)
	last := n.now()
	n.mustAppend("chat", "one")
	watch := n.watch(&rpc.WatchRequest{Start: &rpc.WatchRequest_Oldest{Oldest: true}})
	defer watch.Close()
	if got, _ := next(t, watch, 1); got != "one" {
		t.Errorf("watched %q", got)
	}
	n.wantHealth("/readyz", 200)

	// No file may grow beyond a byte: writes fail with EFBIG.
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = 1
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	<-n.d.store.Fenced()
	eventually(t, "issuing to end", func() bool { return n.d.issuer.Status().Err != nil })
	n.tick()

	const advice = "free or replace the disk and restart"
	_, err := n.tryNow()
	wantCode(t, "now", err, connect.CodeUnavailable, "fenced after a failed write", advice, "file too large")
	_, err = n.interval()
	wantCode(t, "interval", err, connect.CodeUnavailable, advice)
	_, err = n.commit()
	wantCode(t, "commit", err, connect.CodeUnavailable, advice)
	_, err = n.append("chat", "two")
	wantCode(t, "append", err, connect.CodeUnavailable, advice)
	_, err = n.streams().Read(context.Background(), connect.NewRequest(&rpc.ReadRequest{Stream: "chat"}))
	wantCode(t, "read", err, connect.CodeUnavailable, advice)
	for watch.Receive() { // a heartbeat may have been on its way
	}
	wantCode(t, "watch", watch.Err(), connect.CodeUnavailable, advice)
	if m := n.ask(); m.Fault != nil {
		t.Errorf("NTP: %v", m.Fault)
	}
	n.wantHealth("/livez", 200)
	n.wantHealth("/healthz", 503, "fenced after a failed write", advice, "file too large")
	n.wantHealth("/readyz", 503, advice)
	n.wantAlarms("store_fenced")
	if got := n.alarm("store_fenced"); !strings.Contains(got, advice) {
		t.Errorf("the alarm says %q", got)
	}
	s := n.status()
	if s.Ready || s.Hlc.Issuing || !strings.Contains(s.Hlc.Fenced, advice) {
		t.Errorf("%v", s)
	}
	m := n.metrics()
	if m["truechimer_store_fenced"] != 1 || m["truechimer_hlc_issuing"] != 0 || m["truechimer_ready"] != 0 {
		t.Errorf("metrics %v", m)
	}

	err = n.end()
	if !errors.Is(err, store.ErrFenced) || errors.Is(err, ErrStop) {
		t.Errorf("stopped with %v", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	// The next process: what was acknowledged is behind it. This one keeps the lock, so the
	// directory moves.
	moved := dir + "/moved"
	if err := os.CopyFS(moved, os.DirFS(dir+"/data")); err != nil {
		t.Fatal(err)
	}
	after := start(t, n.system, testConfig(moved, false), false)
	if ts := after.now(); ts <= last {
		t.Errorf("issued %v after %v", ts, last)
	}
	if got := after.payloads("chat"); got != "one" {
		t.Errorf("read %q", got)
	}
	near(t, "the ceiling", hlc.Timestamp(after.status().Hlc.Ceiling), n.system.wall())
}
