package daemon

import (
	"context"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	beevik "github.com/beevik/ntp"
	"go.uber.org/goleak"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/ntp"
	"github.com/truechimer/truechimer/internal/rpc"
)

// TestServe runs an appliance over a clock that the kernel vouches for: it answers, is
// ready, stops in order and leaves nothing behind; the next one goes on above.
func TestServe(t *testing.T) {
	before := goleak.IgnoreCurrent()
	system := newFakeSystem(today(), synced)
	c := testConfig(dataDir(t), false)
	n := start(t, system, c, false)

	first := n.now()
	near(t, "now", first, system.wall())
	second := n.now()
	if second <= first {
		t.Errorf("issued %v after %v", second, first)
	}
	i, err := n.interval()
	if width := i.Width(); err != nil || width < 2*synced.MaxError || width > 2*synced.MaxError+time.Second {
		t.Errorf("interval %v, %v", i, err)
	}
	committed, err := n.commit()
	if err != nil || committed <= second {
		t.Errorf("committed %v, %v", committed, err)
	}
	m := n.ask()
	if m.Fault != nil || m.Header.Leap != 0 || m.Header.Stratum != 10 || m.Header.RefID.String() != "127.127.1.0" {
		t.Errorf("%+v", m)
	}
	r, err := beevik.QueryWithOptions(n.d.ntp.Addrs()[0].String(), beevik.QueryOptions{Timeout: patience})
	if err != nil || r.Validate() != nil || r.Stratum != 10 {
		t.Errorf("%+v, %v, %v", r, err, r.Validate())
	}
	n.wantHealth("/livez", 200, "ok")
	n.wantHealth("/healthz", 200, "ok")
	n.wantHealth("/readyz", 200, "ok")
	n.wantAlarms()
	status := n.status()
	if !status.Ready || len(status.NotReady) > 0 || !status.Hlc.Issuing || status.Hlc.Epoch != 1 || status.Hlc.StartLeadNs != 0 {
		t.Errorf("%v", status)
	}
	if got := status.Ntp.Verdicts["answered"]; got != 2 {
		t.Errorf("%d answered, want 2", got)
	}
	last := n.now()
	n.stop()
	if _, err := n.tryNow(); err == nil {
		t.Error("a timestamp from a node that has stopped")
	}
	goleak.VerifyNone(t, before)
	if r := record(t, n.dir); r.Clean != 1 || r.Epoch != 1 || r.Last < last {
		t.Errorf("on disk %+v, the last was %d", r, last)
	}

	// The clock was set back a little while nobody looked.
	system.step(-300*time.Millisecond, synced)
	again := start(t, system, c, false)
	if next := again.now(); next <= last {
		t.Errorf("issued %v after %v", next, last)
	}
	later := again.status()
	if later.Hlc.Epoch != 2 || later.Node.StoreId != status.Node.StoreId || time.Duration(later.Hlc.StartLeadNs) > 300*time.Millisecond {
		t.Errorf("%v", later)
	}
	again.stop()
	goleak.VerifyNone(t, before)
}

// TestOrderlyStop: what an orderly stop writes saves the next start the lead of a crash.
func TestOrderlyStop(t *testing.T) {
	system := newFakeSystem(today(), synced)
	c := testConfig(dataDir(t), false)
	for epoch := range uint64(3) {
		n := start(t, system, c, false)
		if s := n.status(); s.Hlc.Epoch != epoch+1 || s.Hlc.StartLeadNs != 0 {
			t.Errorf("epoch %d starts %v ahead", s.Hlc.Epoch, time.Duration(s.Hlc.StartLeadNs))
		}
		n.now()
		n.stop()
	}
}

// TestStopUnderLoad stops an appliance under callers: every call that it has taken is
// answered, and none with a timestamp beyond the one that is on disk as the last.
func TestStopUnderLoad(t *testing.T) {
	n := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
	var greatest atomic.Uint64
	var callers sync.WaitGroup
	busy := make(chan struct{}, 1000)
	for range 8 {
		callers.Go(func() {
			for {
				ts, err := n.tryNow()
				if err != nil {
					if connect.IsWireError(err) { // it is the connection that ends
						t.Errorf("refused with %v", err)
					}
					return
				}
				for old := greatest.Load(); uint64(ts) > old && !greatest.CompareAndSwap(old, uint64(ts)); old = greatest.Load() {
				}
				select {
				case busy <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 100 {
		<-busy
	}
	n.stop()
	callers.Wait()
	if r := record(t, n.dir); r.Clean != r.Epoch || uint64(r.Last) < greatest.Load() {
		t.Errorf("on disk %+v, the last was %d", r, greatest.Load())
	}
}

// TestStopDuringWait: a call that waits for the future does not hold up a stop.
func TestStopDuringWait(t *testing.T) {
	// Not parallel: it looks at what every goroutine does.
	n := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
	ahead := n.now() + hlc.Timestamp(9*time.Second)
	var calls sync.WaitGroup
	for range 3 {
		calls.Go(func() {
			_, err := n.clock.Wait(context.Background(), connect.NewRequest(&rpc.WaitRequest{Timestamp: uint64(ahead)}))
			if code := connect.CodeOf(err); code != connect.CodeUnavailable && code != connect.CodeCanceled {
				t.Errorf("the call ended with %v", err)
			}
		})
	}
	eventually(t, "the calls to be in progress", func() bool { return n.waiting() == 3 })
	n.stop()
	calls.Wait()
	if r := record(t, n.dir); r.Clean != 1 {
		t.Errorf("on disk %+v", r)
	}
}

// waiting counts the goroutines that sleep in Wait.
func (n *node) waiting() int { return strings.Count(stacks(), "store.(*Issuer).Wait(") }

// TestStopWhileStalled: a clock that cannot be read any more does not hold up a stop beyond
// its limit, and the data are closed in order before.
func TestStopWhileStalled(t *testing.T) {
	// Not parallel: it looks at what every goroutine does.
	n := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
	last := n.now()
	release := n.system.stall()
	defer release()
	eventually(t, "the clock loop to stall", func() bool { return strings.Contains(stacks(), "daemon.(*fakeSystem).Read(") })
	if err := n.end(); err != ErrStop {
		t.Errorf("stopped with %v", err)
	}
	if r := record(t, n.dir); r.Clean != 1 || r.Last < last {
		t.Errorf("on disk %+v", r)
	}
	release()
	eventually(t, "the clock loop to end", func() bool { return !strings.Contains(stacks(), "(*timekeeper).run(") })
}

// TestPartFails: when one part ends by itself, the others are stopped in order, and the
// error says which it was.
func TestPartFails(t *testing.T) {
	n := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
	last := n.now()
	if err := n.d.api.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-n.done:
		if err == nil || !strings.Contains(err.Error(), "API: serve the API on "+n.d.api.Addrs()[0].String()) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it goes on without its API")
	}
	n.stopped = true
	udpFree(t, n.d.ntp.Addrs()[0])
	if r := record(t, n.dir); r.Clean != 1 || r.Last < last {
		t.Errorf("on disk %+v", r)
	}
}

// TestTour: without a file, a clock that nobody vouches for is served as local stratum 10
// and labelled as such; plain timestamps are issued, and nothing is claimed.
func TestTour(t *testing.T) {
	n := start(t, newFakeSystem(today(), unsynced), testConfig(dataDir(t), true), true)
	m := n.ask()
	if m.Fault != nil || m.Header.Leap != 0 || m.Header.Stratum != 10 || m.Header.RefID.String() != "127.127.1.1" || m.Header.RootDelay != 0 {
		t.Errorf("%+v", m)
	}
	near(t, "now", n.now(), n.system.wall())
	_, err := n.interval()
	wantCode(t, "interval", err, connect.CodeFailedPrecondition, "not synchronised", "nobody vouches for the system clock", "waitsync", "plain timestamps are not affected")
	_, err = n.commit()
	wantCode(t, "commit", err, connect.CodeFailedPrecondition, "not synchronised")
	_, err = n.clock.Wait(context.Background(), connect.NewRequest(&rpc.WaitRequest{Timestamp: 1}))
	wantCode(t, "wait", err, connect.CodeFailedPrecondition, "not synchronised")
	observed, err := n.clock.Observe(context.Background(), connect.NewRequest(&rpc.ObserveRequest{Timestamp: uint64(n.now())}))
	if err != nil {
		t.Errorf("%v, %v", observed, err)
	}
	n.wantHealth("/livez", 200)
	n.wantHealth("/healthz", 200)
	n.wantHealth("/readyz", 503, "the clock is not synchronised: nobody vouches for the system clock")
	s := n.status()
	if s.Ready || s.Clock.Intervals || s.Clock.State != rpc.ClockState_CLOCK_STATE_UNSYNCHRONISED || s.Clock.ErrorBoundNs != math.MaxInt64 || s.Clock.Source != "local" || s.Clock.Stratum != 10 || s.Clock.Leap != 0 || s.Clock.Refid != "127.127.1.1" {
		t.Errorf("%v", s)
	}
	if got := n.d.Summary(); !strings.Contains(got, "no configuration file") || !strings.Contains(got, "local stratum 10") || !strings.Contains(got, n.d.api.Addrs()[0].String()) || !strings.Contains(got, n.d.ntp.Addrs()[0].String()) || !strings.Contains(got, n.dir) {
		t.Errorf("the summary says %q", got)
	}
	// Somebody vouches for it now.
	n.system.step(0, synced)
	n.tick()
	n.wantHealth("/readyz", 200)
	if _, err := n.commit(); err != nil {
		t.Error(err)
	}
	if m := n.ask(); m.Header.RefID.String() != "127.127.1.0" || m.Fault != nil {
		t.Errorf("%+v", m)
	}
	if got := n.d.Summary(); !strings.Contains(got, "synchronised, within") {
		t.Errorf("the summary says %q", got)
	}
}

// TestUnsynchronised: with a file, a clock that nobody vouches for is nothing to serve, and
// nothing is issued before it is synchronised for the first time.
func TestUnsynchronised(t *testing.T) {
	n := start(t, newFakeSystem(today(), unsynced), testConfig(dataDir(t), false), false)
	refused := func() {
		t.Helper()
		m := n.ask()
		if h := m.Header; m.Fault == nil || h.Leap != ntp.LeapUnsynchronised || h.Stratum != 0 || h.RefID != ntp.KissINIT || h.RootDispersion.Duration() < ntp.MaxDispersion {
			t.Errorf("%+v", m)
		}
		for range 3 {
			_, err := n.tryNow()
			wantCode(t, "now", err, connect.CodeUnavailable, "before the first synchronisation", "waitsync")
		}
		_, err := n.interval()
		wantCode(t, "interval", err, connect.CodeUnavailable, "before the first synchronisation")
		_, err = n.clock.Observe(context.Background(), connect.NewRequest(&rpc.ObserveRequest{Timestamp: uint64(hlc.FromUnix(today().UnixNano()))}))
		wantCode(t, "observe", err, connect.CodeUnavailable, "before the first synchronisation")
		s := n.status()
		if s.Ready || s.Hlc.Issuing || s.Hlc.Last != 0 || s.Hlc.Ceiling != 0 || s.Clock.Stratum != 16 || s.Clock.Leap != 3 || s.Clock.Refid != "INIT" || s.Clock.Intervals || s.Hlc.PhysicalAheadNs != 0 {
			t.Errorf("%v", s)
		}
	}
	refused()
	n.wantHealth("/livez", 200)
	n.wantHealth("/healthz", 200)
	n.wantHealth("/readyz", 503, "not synchronised", "no timestamp is issued before")
	if got := n.d.Summary(); !strings.Contains(got, "Nothing is issued before the first\n         synchronisation") {
		t.Errorf("the summary says %q", got)
	}
	n.system.pass(time.Hour)
	n.tick()
	refused()

	// What was not asked for is not on disk either.
	n.stop()
	if r := record(t, n.dir); r.Ceiling != 0 || r.Last != 0 || r.Clean != 1 {
		t.Errorf("on disk %+v", r)
	}
	n = start(t, n.system, testConfig(n.dir, false), false)
	refused()
	n.system.step(-time.Hour, synced)
	n.tick()
	near(t, "now", n.now(), n.system.wall())
	if _, err := n.commit(); err != nil {
		t.Error(err)
	}
	n.wantHealth("/readyz", 200)
	if m := n.ask(); m.Fault != nil {
		t.Errorf("%+v", m)
	}
	// Once there was a first time, plain timestamps go on without.
	n.system.step(0, unsynced)
	n.tick()
	n.now()
	_, err := n.interval()
	wantCode(t, "interval", err, connect.CodeFailedPrecondition, "not synchronised")
	n.wantHealth("/readyz", 503, "not synchronised")
	if m := n.ask(); m.Fault == nil || m.Header.RefID != ntp.KissSTEP {
		t.Errorf("%+v", m)
	}
}

// TestHardwareClockIn2035: a wrong clock at the start poisons nothing. The ceiling on disk
// never saw it.
func TestHardwareClockIn2035(t *testing.T) {
	system := newFakeSystem(year(2035), unsynced)
	c := testConfig(dataDir(t), false)
	n := start(t, system, c, false)
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range 50 {
				if ts, err := n.tryNow(); err == nil {
					t.Errorf("issued %v", ts)
				}
			}
		})
	}
	for range 10 {
		system.pass(time.Second)
		n.tick()
	}
	callers.Wait()
	if s := n.status(); s.Hlc.Ceiling != 0 || s.Hlc.Last != 0 {
		t.Errorf("%v", s.Hlc)
	}
	n.wantAlarms()

	// The same once more after a restart, and then chronyd sets the clock right.
	n.stop()
	if r := record(t, n.dir); r.Ceiling != 0 || r.Last != 0 {
		t.Errorf("on disk %+v", r)
	}
	n = start(t, system, c, false)
	system.step(year(2026).Sub(system.wall()), synced)
	n.tick()
	near(t, "now", n.now(), year(2026))
	if i, err := n.interval(); err != nil || i.Latest.Time().Year() != 2026 {
		t.Errorf("%v, %v", i, err)
	}
	n.wantAlarms()
	n.wantHealth("/readyz", 200)
	if s := n.status(); s.Clock.Steps != 1 || hlc.Timestamp(s.Hlc.Ceiling).Time().Year() != 2026 || s.Hlc.StartLeadNs != 0 {
		t.Errorf("%v", s)
	}
	n.stop()
	r := record(t, n.dir)
	near(t, "the ceiling on disk", r.Ceiling, system.wall())
	near(t, "the last timestamp on disk", r.Last, system.wall())
}

// TestYearAhead: a remote timestamp a year ahead is refused and changes nothing, here or on
// disk.
func TestYearAhead(t *testing.T) {
	n := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
	n.now()
	for range 3 {
		ahead := hlc.FromUnix(n.system.wall().AddDate(1, 0, 0).UnixNano())
		_, err := n.clock.Observe(context.Background(), connect.NewRequest(&rpc.ObserveRequest{Timestamp: uint64(ahead)}))
		wantCode(t, "observe", err, connect.CodeFailedPrecondition, "max lead of 1s", "check the clock of its sender")
		near(t, "now", n.now(), n.system.wall())
	}
	n.wantAlarms()
	n.wantHealth("/readyz", 200)
	n.stop()
	near(t, "the ceiling on disk", record(t, n.dir).Ceiling, n.system.wall())
}

// TestLeadAfterRestart: a clock that was set back by an hour while the node was down makes
// it refuse, loudly, and not run ahead.
func TestLeadAfterRestart(t *testing.T) {
	system := newFakeSystem(today(), synced)
	c := testConfig(dataDir(t), false)
	n := start(t, system, c, false)
	last := n.now()
	n.stop()
	system.step(-time.Hour, synced)
	n = start(t, system, c, false)
	n.tick()
	_, err := n.tryNow()
	wantCode(t, "now", err, connect.CodeFailedPrecondition, "max lead of 1s", "hlc rebase")
	n.wantAlarms("hlc_ahead")
	n.wantHealth("/readyz", 503, "the hybrid clock leads by", "max lead of 1s")
	n.wantHealth("/healthz", 200)
	if s := n.status(); time.Duration(s.Hlc.StartLeadNs) < time.Hour-time.Minute {
		t.Errorf("%v", s.Hlc)
	}
	if got := n.d.Summary(); !strings.Contains(got, "ahead of the clock, above all that was issued before") {
		t.Errorf("the summary says %q", got)
	}
	system.pass(time.Hour)
	n.tick()
	if ts := n.now(); ts <= last {
		t.Errorf("issued %v after %v", ts, last)
	}
	n.wantAlarms()
	n.wantHealth("/readyz", 200)
}

// TestTourDirectory: the directory of the tour is made below where it is asked for.
func TestTourDirectory(t *testing.T) {
	dir := dataDir(t) + "/deep/down"
	n := start(t, newFakeSystem(today(), unsynced), testConfig(dir, true), true)
	n.now()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("%v, %v", info, err)
	}
}
