package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/ntp"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
	"github.com/truechimer/truechimer/internal/upstream"
	"github.com/truechimer/truechimer/store"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(m.Run()) // what a fenced store leaves behind is no leak of ours
	}
	goleak.VerifyTestMain(m)
}

const (
	// childEnv tells a re-run of the test binary that it is the child of a test.
	childEnv = "TRUECHIMER_DAEMON_CHILD"
	// patience is how long a test waits for what must happen.
	patience = 10 * time.Second
	// stopLimit is what the operator was promised.
	stopLimit = 5 * time.Second
)

// lines is a log that a test reads.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// testConfig is what a file would say that leaves out most; with tour, that there is none.
func testConfig(dir string, tour bool) config.Config {
	c := config.Default()
	if tour {
		c = config.Tour()
	}
	c.Node = config.Node{Name: "alpha", Number: 7, DataDir: dir}
	c.Clock.Chronyd = config.ChronydOff
	c.NTP.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	c.NTP.Workers = 2
	c.API.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	return c
}

// node is an appliance under test.
type node struct {
	t      *testing.T
	d      *Daemon
	system *fakeSystem
	dir    string
	log    *lines

	http  *http.Client
	clock rpcconnect.ClockServiceClient
	admin rpcconnect.NodeServiceClient

	cancel  context.CancelFunc
	done    chan error
	stopped bool
}

// start runs an appliance until the test ends or stops it.
func start(t *testing.T, system *fakeSystem, c config.Config, tour bool) *node {
	t.Helper()
	n := &node{t: t, system: system, dir: c.Node.DataDir, log: new(lines), done: make(chan error, 1)}
	var err error
	n.d, err = Open(Options{Config: c, Tour: tour, Version: "v0.0.1", Logger: slog.New(slog.NewTextHandler(n.log, nil)), System: system})
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	n.http = &http.Client{Transport: transport, Timeout: patience}
	n.clock = rpcconnect.NewClockServiceClient(n.http, n.url())
	n.admin = rpcconnect.NewNodeServiceClient(n.http, n.url())
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	go func() { n.done <- n.d.Run(ctx) }()
	t.Cleanup(func() {
		if !n.stopped {
			n.stop()
		}
		if t.Failed() {
			t.Log(n.log)
		}
	})
	n.d.keeper.starting.Wait()
	return n
}

func (n *node) url() string { return "http://" + n.d.api.Addrs()[0].String() }

// stop ends the appliance as SIGTERM does.
func (n *node) stop() {
	n.t.Helper()
	if err := n.end(); err != nil {
		n.t.Errorf("stopped with %v", err)
	}
}

// end stops the appliance and returns what Run has.
func (n *node) end() error {
	n.t.Helper()
	n.stopped = true
	// A connection that was opened to be on the safe side and never used counts as busy.
	n.http.CloseIdleConnections()
	began := time.Now()
	n.cancel()
	select {
	case err := <-n.done:
		if took := time.Since(began); took > stopLimit {
			n.t.Errorf("stopping took %v", took)
		}
		n.http.CloseIdleConnections()
		return err
	case <-time.After(2 * stopLimit):
		n.t.Fatal("it does not stop")
		return nil
	}
}

// tick has the clock looked at now.
func (n *node) tick() {
	n.d.keeper.tick(context.Background(), false)
	n.d.keeper.starting.Wait()
}

// now takes a timestamp over the API.
func (n *node) now() hlc.Timestamp {
	n.t.Helper()
	ts, err := n.tryNow()
	if err != nil {
		n.t.Fatal(err)
	}
	return ts
}

func (n *node) tryNow() (hlc.Timestamp, error) {
	r, err := n.clock.Now(context.Background(), connect.NewRequest(&rpc.NowRequest{}))
	if err != nil {
		return 0, err
	}
	return hlc.Timestamp(r.Msg.Timestamp), nil
}

func (n *node) interval() (hlc.Interval, error) {
	r, err := n.clock.Interval(context.Background(), connect.NewRequest(&rpc.IntervalRequest{}))
	if err != nil {
		return hlc.Interval{}, err
	}
	return hlc.Interval{Earliest: hlc.Timestamp(r.Msg.Earliest), Latest: hlc.Timestamp(r.Msg.Latest)}, nil
}

func (n *node) commit() (hlc.Timestamp, error) {
	r, err := n.clock.Commit(context.Background(), connect.NewRequest(&rpc.CommitRequest{}))
	if err != nil {
		return 0, err
	}
	return hlc.Timestamp(r.Msg.Timestamp), nil
}

func (n *node) status() *rpc.StatusResponse {
	n.t.Helper()
	r, err := n.admin.Status(context.Background(), connect.NewRequest(&rpc.StatusRequest{}))
	if err != nil {
		n.t.Fatal(err)
	}
	return r.Msg
}

func (n *node) accept() (time.Duration, error) {
	r, err := n.admin.AcceptClock(context.Background(), connect.NewRequest(&rpc.AcceptClockRequest{JumpNs: n.status().Hlc.HeldJumpNs}))
	if err != nil {
		return 0, err
	}
	return time.Duration(r.Msg.JumpNs), nil
}

func (n *node) rebase(epoch uint64) (*rpc.RebaseResponse, error) {
	r, err := n.admin.Rebase(context.Background(), connect.NewRequest(&rpc.RebaseRequest{Epoch: epoch}))
	if err != nil {
		return nil, err
	}
	return r.Msg, nil
}

// ask asks the NTP server as a client does.
func (n *node) ask() upstream.Measurement {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m, err := upstream.Exchange(ctx, n.d.ntp.Addrs()[0])
	if err != nil {
		n.t.Fatal(err)
	}
	return m
}

// wantNoClaim checks that nobody is told an error bound, by whatever way he asks.
func (n *node) wantNoClaim() {
	n.t.Helper()
	if m := n.ask(); !errors.Is(m.Fault, ntp.ErrUnsynchronised) || m.Header.Leap != ntp.LeapUnsynchronised {
		n.t.Errorf("NTP: %+v, %v", m.Header, m.Fault)
	}
	_, err := n.interval()
	wantCode(n.t, "interval", err, connect.CodeFailedPrecondition, "no interval can be given")
	if s := n.status(); s.Ready || s.Clock.Intervals || s.Clock.ErrorBoundNs != math.MaxInt64 {
		n.t.Errorf("status: %v", s)
	}
}

// get fetches a page.
func (n *node) get(path string) (status int, body string) {
	n.t.Helper()
	r, err := n.http.Get(n.url() + path)
	if err != nil {
		n.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// alarm returns the sentence of an alarm, empty when it does not stand.
func (n *node) alarm(name string) string {
	n.t.Helper()
	for _, a := range n.status().Alarms {
		if a.Name == name {
			return a.Sentence
		}
	}
	return ""
}

// wantAlarms checks which alarms stand.
func (n *node) wantAlarms(names ...string) {
	n.t.Helper()
	if got := n.alarms(); fmt.Sprint(got) != fmt.Sprint(names) {
		n.t.Errorf("alarms %v, want %v", got, names)
	}
}

// alarms returns the names of the alarms that stand.
func (n *node) alarms() []string {
	n.t.Helper()
	got := []string{}
	for _, a := range n.status().Alarms {
		got = append(got, a.Name)
	}
	return got
}

// wantHealth checks the status of a health endpoint, and that the body says each sentence.
func (n *node) wantHealth(path string, status int, says ...string) {
	n.t.Helper()
	got, body := n.get(path)
	if got != status {
		n.t.Errorf("%s is %d %q, want %d", path, got, body, status)
	}
	for _, s := range says {
		if !strings.Contains(body, s) {
			n.t.Errorf("%s says %q, but not %q", path, body, s)
		}
	}
}

// wantCode checks the code of a call's error, and that it says each sentence.
func wantCode(t *testing.T, what string, err error, code connect.Code, says ...string) {
	t.Helper()
	if err == nil || connect.CodeOf(err) != code || !connect.IsWireError(err) {
		t.Errorf("%s: %v, want %v from the server", what, err, code)
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%s: %q does not say %q", what, err, s)
		}
	}
}

// near checks that a timestamp is of about that time.
func near(t *testing.T, what string, ts hlc.Timestamp, want time.Time) {
	t.Helper()
	if d := ts.Time().Sub(want); d.Abs() > time.Second {
		t.Errorf("%s: %v is %v from %v", what, ts, d, want)
	}
}

// record reads what is on disk of the ceiling, once nobody has the store open.
func record(t *testing.T, dir string) store.Ceiling {
	t.Helper()
	s, err := store.Open(dir, store.Options{Node: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// dataDir returns the path of a directory that does not exist yet.
func dataDir(t *testing.T) string { return filepath.Join(t.TempDir(), "data") }

// today is a wall clock that is right, as far as the kernel's receive stamps are.
func today() time.Time { return time.Now() }

// year is a wall clock at noon of some day of a year.
func year(y int) time.Time { return time.Date(y, time.November, 22, 12, 0, 0, 0, time.UTC) }

// short is a duration as it is on the wire.
func short(d time.Duration) ntp.Short { return ntp.ShortOf(d) }

// eventually waits until what another goroutine does has happened.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !happened(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// stacks returns what every goroutine is doing.
func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}
