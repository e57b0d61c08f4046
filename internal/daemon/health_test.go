package daemon

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/store"
)

// TestStalledLoop: a clock loop that hangs shows in the health, which does not hang with
// it; NTP and timestamps go on, and the bound that is claimed grows.
func TestStalledLoop(t *testing.T) {
	n := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
	n.now()
	before := n.status().Clock
	release := n.system.stall()
	defer release()
	eventually(t, "the clock loop to stall", func() bool { return strings.Contains(stacks(), "daemon.(*fakeSystem).Read(") })
	n.system.pass(stalledAfter + time.Second)
	n.wantHealth("/livez", 200, "ok")
	n.wantHealth("/healthz", 503, "the clock was last looked at 1", "the clock loop is stalled")
	n.wantHealth("/readyz", 503, "the clock loop is stalled")
	if s := n.status(); s.Ready || s.Clock.Intervals || s.Clock.RootDispersionNs < before.RootDispersionNs {
		t.Errorf("%v", s)
	}
	if got := n.metrics()["truechimer_ready"]; got != 0 {
		t.Errorf("ready is %v in the metrics", got)
	}
	n.now()
	n.wantNoClaim()

	release()
	n.tick()
	n.wantHealth("/healthz", 200, "ok")
	n.wantHealth("/readyz", 200, "ok")
}

// TestMetricsLint lints the metrics of an appliance, and finds nothing in their labels that
// a client could have brought along.
func TestMetricsLint(t *testing.T) {
	n := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
	n.ask()
	n.now()
	eventually(t, "the journal's first head", func() bool {
		_, body := n.get("/metrics")
		return strings.Contains(body, "\ntruechimer_journal_head ")
	})
	_, body := n.get("/metrics")
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if !strings.Contains(body, `truechimer_ntp_datagrams_total{verdict="answered"} 1`) || !strings.Contains(body, `truechimer_info{mode="follow",node="alpha",version="v0.0.1"} 1`) {
		t.Errorf("metrics %s", body)
	}
	if strings.Contains(body, "127.0.0.1") {
		t.Error("an address in a label")
	}
	n.ask()
	n.now()
	_, again := n.get("/metrics")
	if a, b := strings.Count(body, "\n"), strings.Count(again, "\n"); a != b {
		t.Errorf("%d lines, then %d", a, b)
	}
}

// TestUnhealthy: what a restart might mend, and what it would not.
func TestUnhealthy(t *testing.T) {
	fenced := fmt.Errorf("%w: no space left", store.ErrFenced)
	for _, c := range []struct {
		name  string
		state api.State
		want  string
	}{
		{"well", api.State{}, "[]"},
		{"stopping", api.State{Issuer: store.Status{Err: store.ErrClosed}}, "[]"},
		{"fenced before it began to issue", api.State{Fenced: fenced}, "[store: fenced after a failed write; free or replace the disk and restart: no space left]"},
		{"fenced", api.State{Fenced: fenced, Issuer: store.Status{Err: fenced}}, "[store: fenced after a failed write; free or replace the disk and restart: no space left]"},
		{"another issuer", api.State{Issuer: store.Status{Err: store.ErrEpoch}}, "[no timestamp is issued any more until the next start: store: not the current epoch]"},
		{"looked at just now", api.State{Mono: stalledAfter}, "[]"},
		{"stalled", api.State{Mono: stalledAfter + 1}, "[the clock was last looked at 10s ago: the clock loop is stalled]"},
	} {
		c.state.Clock = new(clock.Snapshot)
		if got := fmt.Sprint(new(Daemon).unhealthy(&c.state)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}
