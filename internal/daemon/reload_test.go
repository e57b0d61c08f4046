package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/ntp"
	"github.com/truechimer/truechimer/internal/upstream"
)

// changed lists the keys of changes, and which of them are live.
func changed(changes []config.Change) (all []string) {
	for _, c := range changes {
		if c.Live {
			all = append(all, c.Key+" live")
		} else {
			all = append(all, c.Key)
		}
	}
	return all
}

// TestReload: what can change while it runs does at once, and what cannot is named.
func TestReload(t *testing.T) {
	c := testConfig(dataDir(t), false)
	n := start(t, newFakeSystem(today(), synced), c, false)
	reload := func(do func(*config.Config), want ...string) {
		t.Helper()
		do(&c)
		changes, err := n.d.Reload(c)
		if got := changed(changes); err != nil || !slices.Equal(got, want) {
			t.Errorf("changes %v, %v, want %v", got, err, want)
		}
	}
	reload(func(*config.Config) {})

	reload(func(c *config.Config) { c.HLC.MaxLead = 2 * time.Second }, "hlc.max_lead live")
	if got := time.Duration(n.status().Hlc.MaxLeadNs); got != 2*time.Second {
		t.Errorf("max lead %v", got)
	}
	reload(func(c *config.Config) { c.Clock.FollowStratum = 7 }, "clock.follow_stratum live")
	if h, s := n.ask().Header, n.status().Clock; h.Stratum != 7 || s.Stratum != 7 {
		t.Errorf("stratum %d on the wire, %d in the status", h.Stratum, s.Stratum)
	}
	reload(func(c *config.Config) { c.Clock.ErrorLimit = time.Millisecond }, "clock.error_limit live")
	if m, s := n.ask(), n.status(); m.Fault == nil || s.Ready || !strings.Contains(s.Clock.Reason, "exceeds the limit of 1ms") {
		t.Errorf("%v, %v", m.Fault, s)
	}
	if _, err := n.interval(); err == nil {
		t.Error("an interval beyond the limit")
	}
	reload(func(c *config.Config) { c.Clock.LocalStratum = 9 }, "clock.local_stratum live")
	if m := n.ask(); m.Fault != nil || m.Header.Stratum != 9 || m.Header.RefID.String() != "127.127.1.1" {
		t.Errorf("%+v", m)
	}
	reload(func(c *config.Config) { c.Clock.ErrorLimit = time.Second }, "clock.error_limit live")
	n.wantHealth("/readyz", 200)

	// Nobody is there to be asked at that address; the kernel vouches all the same.
	reload(func(c *config.Config) { c.Clock.Chronyd = freePort(t).String() }, "clock.chronyd live")
	n.wantHealth("/readyz", 200)
	reload(func(c *config.Config) { c.Clock.Chronyd = config.ChronydOff }, "clock.chronyd live")

	running := c
	reload(func(c *config.Config) {
		c.Node.Name, c.Node.DataDir = "beta", "elsewhere"
		c.NTP.Workers++
		c.NTP.Interface, c.NTP.DSCP, c.NTP.Interleaved = "lo", 46, false
		c.NTP.Listen = []netip.AddrPort{freePort(t)}
		c.API.Listen = []netip.AddrPort{freePort(t)}
		c.HLC.MaxLead = 3 * time.Second
		c.HLC.Window = 500 * time.Millisecond
	}, "node.name", "node.data_dir", "ntp.listen", "ntp.workers", "ntp.interface", "ntp.dscp", "ntp.interleaved", "hlc.max_lead live", "hlc.window", "api.listen")
	if s := n.status(); s.Node.Name != "alpha" || time.Duration(s.Hlc.MaxLeadNs) != 3*time.Second {
		t.Errorf("%v", s)
	}
	// They go on waiting, and being named, until the restart or until they are taken back.
	reload(func(*config.Config) {}, "node.name", "node.data_dir", "ntp.listen", "ntp.workers", "ntp.interface", "ntp.dscp", "ntp.interleaved", "hlc.window", "api.listen")
	running.HLC.MaxLead = 3 * time.Second
	reload(func(c *config.Config) { *c = running })
	n.now()
}

// TestReloadPolicy: who may ask, and how often, changes with the next request.
func TestReloadPolicy(t *testing.T) {
	c := testConfig(dataDir(t), false)
	n := start(t, newFakeSystem(today(), synced), c, false)
	reload := func(do func(*config.NTP), want ...string) {
		t.Helper()
		do(&c.NTP)
		changes, err := n.d.Reload(c)
		if got := changed(changes); err != nil || !slices.Equal(got, want) {
			t.Errorf("changes %v, %v, want %v", got, err, want)
		}
	}
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	n.ask()
	reload(func(c *config.NTP) { c.Deny = loopback }, "ntp.deny live")
	n.wantSilence()
	reload(func(c *config.NTP) { c.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }, "ntp.allow live")
	n.ask() // the longer prefix decides
	reload(func(c *config.NTP) { c.Allow, c.Deny = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, nil }, "ntp.allow live", "ntp.deny live")
	n.wantSilence()
	reload(func(c *config.NTP) { c.Allow = nil }, "ntp.allow live")
	n.ask()

	// Loopback has no limit unless that is asked for.
	reload(func(c *config.NTP) { c.RateInterval, c.RateBurst, c.RateKiss = time.Hour, 1, 1 }, "ntp.rate_interval live", "ntp.rate_burst live", "ntp.rate_kiss live")
	for range 10 {
		if m := n.ask(); m.Fault != nil {
			t.Error(m.Fault)
		}
	}
	reload(func(c *config.NTP) { c.RatePrivate = true }, "ntp.rate_private live")
	kissed := 0
	for range 40 { // one in four is let through by chance
		if m := n.ask(); m.Header.RefID == ntp.KissRATE {
			kissed++
		}
	}
	if kissed == 0 {
		t.Error("nobody was told of a rate")
	}
	reload(func(c *config.NTP) { c.RateInterval = 0 }, "ntp.rate_interval live")
	for range 10 {
		if m := n.ask(); m.Fault != nil {
			t.Error(m.Fault)
		}
	}
	verdicts := n.status().Ntp.Verdicts
	if verdicts["denied"] != 2 || verdicts["kissed"] != uint64(kissed) {
		t.Errorf("%d kissed, counted %v", kissed, verdicts)
	}
	if r := n.clients(); len(r.Clients) != 1 || r.Clients[0].Drops != uint64(2+kissed) {
		t.Errorf("%d refused, told of %v", 2+kissed, r)
	}
}

// wantSilence asks the NTP server, which must not answer.
func (n *node) wantSilence() {
	n.t.Helper()
	denied := n.status().Ntp.Verdicts["denied"]
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	answered := make(chan error, 1)
	go func() {
		_, err := upstream.Exchange(ctx, n.d.ntp.Addrs()[0])
		answered <- err
	}()
	eventually(n.t, "the request to be denied", func() bool { return n.status().Ntp.Verdicts["denied"] > denied })
	cancel()
	if err := <-answered; err == nil {
		n.t.Error("it was answered")
	}
}

// TestStartPolicy: the policy of the file is in force from the start.
func TestStartPolicy(t *testing.T) {
	c := testConfig(dataDir(t), false)
	c.NTP.Deny = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	n := start(t, newFakeSystem(today(), synced), c, false)
	n.wantSilence()
}

// TestReloadInvalid: a result that would not be valid changes nothing at all.
func TestReloadInvalid(t *testing.T) {
	c := testConfig(dataDir(t), false)
	n := start(t, newFakeSystem(today(), synced), c, false)
	next := c
	next.Clock.FollowStratum = 7
	next.HLC.Window, next.HLC.MaxLead = 20*time.Millisecond, 100*time.Millisecond // good together, but the window has to wait
	changes, err := n.d.Reload(next)
	if err == nil || !strings.Contains(err.Error(), "window") || !strings.Contains(err.Error(), "max_lead") || len(changes) > 0 {
		t.Errorf("%v, %v", changes, err)
	}
	next = c
	next.Clock.FollowStratum = 7
	next.Clock.ErrorLimit = -1
	if changes, err := n.d.Reload(next); err == nil || len(changes) > 0 {
		t.Errorf("%v, %v", changes, err)
	}
	next = c
	next.NTP.Deny = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	next.HLC.Window, next.HLC.MaxLead = 20*time.Millisecond, 100*time.Millisecond
	if changes, err := n.d.Reload(next); err == nil || len(changes) > 0 {
		t.Errorf("%v, %v", changes, err)
	}
	n.ask()
	next = c
	next.HLC.MaxLead = 2 * time.Second
	next.NTP.Deny = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	next.NTP.Allow = next.NTP.Deny
	if changes, err := n.d.Reload(next); err == nil || !strings.Contains(err.Error(), "allow and deny both list") || len(changes) > 0 {
		t.Errorf("%v, %v", changes, err)
	}
	n.ask()
	if s := n.status(); s.Clock.Stratum != 10 || time.Duration(s.Hlc.MaxLeadNs) != time.Second {
		t.Errorf("%v", s)
	}
	if got := fmt.Sprint(config.Diff(c, n.d.config)); got != "[]" {
		t.Errorf("the configuration became %s", got)
	}
}

// TestReloadStarts: an unsynchronised clock that the operator decides to serve is served,
// and timestamps are issued from then on.
func TestReloadStarts(t *testing.T) {
	c := testConfig(dataDir(t), false)
	n := start(t, newFakeSystem(today(), unsynced), c, false)
	if _, err := n.tryNow(); err == nil {
		t.Error("issued too early")
	}
	c.Clock.LocalStratum = 12
	if _, err := n.d.Reload(c); err != nil {
		t.Error(err)
	}
	n.d.keeper.starting.Wait()
	near(t, "now", n.now(), n.system.wall())
	if m := n.ask(); m.Fault != nil || m.Header.Stratum != 12 {
		t.Errorf("%+v", m)
	}
	if got := n.d.Summary(); !strings.Contains(got, "local stratum 12 (clock.local_stratum)") {
		t.Errorf("the summary says %q", got)
	}
}
