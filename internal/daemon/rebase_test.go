package daemon

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
)

// ranAhead returns an appliance whose hybrid clock is an hour ahead: its sources confirmed
// a wrong time, and then the right one. With issue, timestamps were issued in between.
func ranAhead(t *testing.T, issue bool) *node {
	t.Helper()
	n := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
	n.now()
	n.system.step(time.Hour, synced)
	n.tick()
	if issue {
		near(t, "now", n.now(), n.system.wall())
	}
	n.system.step(-time.Hour, synced)
	n.tick()
	return n
}

// TestRebase brings back a clock that ran ahead, when asked for with the right epoch, once.
func TestRebase(t *testing.T) {
	n := ranAhead(t, true)
	n.wantAlarms("hlc_ahead")
	near(t, "now", n.now(), n.system.wall().Add(time.Hour))
	ahead := n.now()
	old := n.status().Hlc.Epoch

	_, err := n.rebase(old + 1)
	wantCode(t, "an epoch to come", err, connect.CodeFailedPrecondition, "the current epoch is 1, not 2", "look at truechimer status again")
	_, err = n.rebase(0)
	wantCode(t, "no epoch", err, connect.CodeFailedPrecondition, "the current epoch is 1, not 0")
	if s := n.status(); s.Hlc.Epoch != old || s.Hlc.Rebases != 0 || time.Duration(s.Hlc.PhysicalAheadNs) < 59*time.Minute {
		t.Errorf("a refused rebase changed %v", s.Hlc)
	}

	r, err := n.rebase(old)
	if err != nil || r.Epoch != old+1 || hlc.Timestamp(r.Last) < ahead || time.Duration(r.BackNs).Round(time.Minute) != time.Hour {
		t.Errorf("%v, %v", r, err)
	}
	near(t, "now", n.now(), n.system.wall())
	n.wantAlarms()
	n.wantHealth("/readyz", 200)
	s := n.status()
	if s.Hlc.Epoch != old+1 || s.Hlc.Rebases != 1 || time.Duration(s.Hlc.LeadNs) > time.Second || time.Duration(s.Hlc.PhysicalAheadNs).Abs() > time.Second || !s.Hlc.Issuing {
		t.Errorf("%v", s.Hlc)
	}
	near(t, "the ceiling", hlc.Timestamp(s.Hlc.Ceiling), n.system.wall())
	if got := n.metrics()["truechimer_hlc_rebases_total"]; got != 1 {
		t.Errorf("%v rebases in the metrics", got)
	}
	if !strings.Contains(n.log.String(), "rebased by an operator") {
		t.Error("nothing in the log")
	}
	_, err = n.rebase(old)
	wantCode(t, "the same again", err, connect.CodeFailedPrecondition, "the current epoch is 2, not 1")
	_, err = n.rebase(old + 1)
	wantCode(t, "when it is not ahead", err, connect.CodeFailedPrecondition, "there is nothing to bring back")

	last := n.now()
	n.stop()
	near(t, "the ceiling on disk", record(t, n.dir).Ceiling, n.system.wall())
	n = start(t, n.system, testConfig(n.dir, false), false)
	if ts := n.now(); ts <= last {
		t.Errorf("issued %v after %v", ts, last)
	}
	near(t, "now", n.now(), n.system.wall())
	if s := n.status(); s.Hlc.Rebases != 1 || s.Hlc.Epoch != old+2 {
		t.Errorf("%v", s.Hlc)
	}
}

// TestRebaseUnissued: a clock that runs ahead is brought back also when nobody has taken a
// timestamp from it yet.
func TestRebaseUnissued(t *testing.T) {
	n := ranAhead(t, false)
	n.wantAlarms("hlc_ahead")
	if r, err := n.rebase(1); err != nil || time.Duration(r.BackNs).Round(time.Minute) != time.Hour {
		t.Errorf("%v, %v", r, err)
	}
	n.wantAlarms()
	near(t, "now", n.now(), n.system.wall())
}

// TestRebaseUnsynchronised: without a clock to go back to there is no rebase.
func TestRebaseUnsynchronised(t *testing.T) {
	n := ranAhead(t, true)
	n.system.step(0, unsynced)
	n.tick()
	_, err := n.rebase(1)
	wantCode(t, "rebase", err, connect.CodeUnavailable, "needs a clock to go back to", "nobody vouches for the system clock", "waitsync")
	if s := n.status(); s.Hlc.Epoch != 1 {
		t.Errorf("%v", s.Hlc)
	}

	n = start(t, newFakeSystem(today(), unsynced), testConfig(dataDir(t), false), false)
	_, err = n.rebase(1)
	wantCode(t, "rebase before the start", err, connect.CodeUnavailable, "needs a clock to go back to")
}

// TestRebaseUnderLoad: of several operators one succeeds; callers go on, and within the new
// epoch no timestamp is issued twice.
func TestRebaseUnderLoad(t *testing.T) {
	n := ranAhead(t, true)
	var mu sync.Mutex
	var fresh []hlc.Timestamp
	var count, refused atomic.Int64
	border := hlc.FromUnix(n.system.wall().Add(30 * time.Minute).UnixNano())
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 6 {
		callers.Go(func() {
			var last hlc.Timestamp
			var mine []hlc.Timestamp
			for {
				select {
				case <-stop:
					mu.Lock()
					fresh = append(fresh, mine...)
					mu.Unlock()
					return
				default:
				}
				ts, err := n.tryNow()
				switch {
				case err != nil: // while the new epoch is on its way to the disk
					wantCode(t, "now", err, connect.CodeFailedPrecondition, "max lead")
					refused.Add(1)
					continue
				case ts < border && last < border && ts <= last, ts > border && ts <= last, ts > border && last != 0 && last < border:
					t.Errorf("issued %v after %v", ts, last)
				}
				if last = ts; ts < border {
					mine = append(mine, ts)
				}
				count.Add(1)
			}
		})
	}
	more := func() {
		until := count.Load() + 200
		eventually(t, "timestamps", func() bool { return count.Load() >= until })
	}
	more()
	var done atomic.Int64
	var operators sync.WaitGroup
	for range 5 {
		operators.Go(func() {
			_, err := n.rebase(1)
			if err == nil {
				done.Add(1)
				return
			}
			wantCode(t, "rebase", err, connect.CodeFailedPrecondition)
		})
	}
	operators.Wait()
	more()
	close(stop)
	callers.Wait()
	if s := n.status(); done.Load() != 1 || s.Hlc.Epoch != 2 || s.Hlc.Rebases != 1 {
		t.Errorf("%d rebases succeeded: %v", done.Load(), s.Hlc)
	}
	slices.Sort(fresh)
	if len(fresh) == 0 || len(slices.Compact(slices.Clone(fresh))) != len(fresh) {
		t.Errorf("%d timestamps of the new epoch, %d different ones", len(fresh), len(slices.Compact(fresh)))
	}
	t.Logf("%d timestamps of the new epoch, %d calls refused meanwhile", len(fresh), refused.Load())
}
