package daemon

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/ntp"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/sysclock"
	"github.com/truechimer/truechimer/ntpserver"
)

// TestFiguresAgree: the NTP header, the status, the metrics and the intervals tell of one
// snapshot, for every kind of clock.
func TestFiguresAgree(t *testing.T) {
	system := newFakeSystem(today(), synced)
	n := start(t, system, testConfig(dataDir(t), false), false)
	chronyd := &fakeTracker{tracking: goodTracking(system.wall())}
	settings := sysclock.FollowSettings{FollowStratum: 11, ErrorLimit: time.Second}
	for _, c := range []struct {
		name    string
		change  func()
		leap    ntp.Leap
		stratum uint8
		refid   string
	}{
		{"the kernel's", func() {}, 0, 11, "127.127.1.0"},
		{"chronyd's", func() { settings.Tracker = chronyd }, 1, 2, "203.0.113.77"},
		{"chronyd's at stratum 1", func() {
			chronyd.change(func(t *sysclock.Tracking) { t.Stratum, t.RefID, t.Addr = 1, [4]byte{'P', 'P', 'S'}, netip.Addr{} })
		}, 1, 1, "PPS"},
		{"chronyd's in holdover", func() { chronyd.change(func(t *sysclock.Tracking) { t.Reference -= int64(2 * time.Hour) }) }, 1, 1, "PPS"},
		{"nobody's", func() { settings.Tracker = nil; system.step(0, unsynced) }, 3, 0, "STEP"},
		{"local", func() { settings.LocalStratum = 12 }, 0, 12, "127.127.1.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.change()
			n.d.keeper.followBy(settings)
			var before, after *rpc.StatusResponse
			var h ntp.Header
			var metrics map[string]float64
			var interval hlc.Interval
			var intervalErr error
			for snapshot := (*clock.Snapshot)(nil); snapshot == nil || snapshot != n.d.keeper.latest.Load().snapshot; {
				snapshot = n.d.keeper.latest.Load().snapshot
				before = n.status()
				h = n.ask().Header
				metrics = n.metrics()
				interval, intervalErr = n.interval()
				after = n.status()
			}
			s := before.Clock
			// A leap second is announced on the last day of its month, and known before.
			if wall := system.wall().UTC(); c.leap != ntp.LeapUnsynchronised && wall.Add(24*time.Hour).Month() == wall.Month() {
				if s.Leap != uint32(c.leap) {
					t.Errorf("leap %d in the status, want %d", s.Leap, c.leap)
				}
				s.Leap, c.leap = 0, 0
			}
			if h.Leap != c.leap || h.Stratum != c.stratum || h.RefID.Text(h.Stratum) != c.refid {
				t.Errorf("leap %d, stratum %d, refid %s, want %+v", h.Leap, h.Stratum, h.RefID.Text(h.Stratum), c)
			}
			unsynchronised := s.Stratum == uint32(clock.StratumUnsynchronised)
			if uint32(h.Leap) != s.Leap || !unsynchronised && uint32(h.Stratum) != s.Stratum || unsynchronised != (h.Stratum == 0) || h.RefID.Text(h.Stratum) != s.Refid || int32(h.Precision) != s.PrecisionLog2 {
				t.Errorf("on the wire %+v, in the status %v", h, s)
			}
			if h.RootDelay != short(time.Duration(s.RootDelayNs)) {
				t.Errorf("root delay %v on the wire, %v in the status", h.RootDelay, s.RootDelayNs)
			}
			if got := h.Reference.Unix(time.Now().UnixNano()); s.ReferenceUnixNs != 0 && got != s.ReferenceUnixNs || s.ReferenceUnixNs == 0 && h.Reference != 0 {
				t.Errorf("reference time %v on the wire, %v in the status", got, s.ReferenceUnixNs)
			}
			residual := time.Duration(s.ResidualOffsetNs).Abs()
			least := short(time.Duration(s.RootDispersionNs) + residual)
			most := short(time.Duration(after.Clock.RootDispersionNs) + residual)
			if c.name == "local" {
				most += short(15 * time.Microsecond) // the wire has no growth of zero
			}
			if !unsynchronised && (h.RootDispersion < least || h.RootDispersion > most) || unsynchronised && h.RootDispersion.Duration() < ntp.MaxDispersion {
				t.Errorf("root dispersion %v on the wire, %v to %v in the status", h.RootDispersion, least, most)
			}
			bound := func(c *rpc.Clock) float64 {
				if c.ErrorBoundNs == math.MaxInt64 {
					return math.Inf(1)
				}
				if want := c.RootDelayNs/2 + c.RootDispersionNs + int64(residual); c.ErrorBoundNs != want {
					t.Errorf("error bound %d, its parts make %d", c.ErrorBoundNs, want)
				}
				return float64(c.ErrorBoundNs) / 1e9
			}
			for name, w := range map[string][2]float64{
				"ready":                         {flag(before.Ready), flag(after.Ready)},
				"clock_claims":                  {flag(s.Intervals), flag(s.Intervals)},
				"clock_synchronised":            {flag(s.State == rpc.ClockState_CLOCK_STATE_SYNCHRONISED), flag(s.State == rpc.ClockState_CLOCK_STATE_SYNCHRONISED)},
				"clock_stratum":                 {float64(s.Stratum), float64(s.Stratum)},
				"clock_error_bound_seconds":     {bound(s), bound(after.Clock)},
				"clock_root_delay_seconds":      {float64(s.RootDelayNs) / 1e9, float64(s.RootDelayNs) / 1e9},
				"clock_root_dispersion_seconds": {float64(s.RootDispersionNs) / 1e9, float64(after.Clock.RootDispersionNs) / 1e9},
				"clock_residual_offset_seconds": {float64(s.ResidualOffsetNs) / 1e9, float64(s.ResidualOffsetNs) / 1e9},
				"clock_frequency_ratio":         {s.FrequencyPpm * 1e-6, s.FrequencyPpm * 1e-6},
				"clock_steps_total":             {float64(s.Steps), float64(s.Steps)},
				"hlc_epoch":                     {float64(before.Hlc.Epoch), float64(before.Hlc.Epoch)},
				"hlc_issuing":                   {flag(before.Hlc.Issuing), flag(before.Hlc.Issuing)},
				"alarms":                        {float64(len(before.Alarms)), float64(len(after.Alarms))},
			} {
				if got, ok := metrics["truechimer_"+name]; !ok || got < w[0]-1e-15 || got > w[1]+1e-15 {
					t.Errorf("%s is %v (there: %v), want %v to %v", name, got, ok, w[0], w[1])
				}
			}
			if s.Intervals != (intervalErr == nil) {
				t.Errorf("the status says %v to intervals, and there is %v, %v", s.Intervals, interval, intervalErr)
			}
			if s.Intervals {
				width := interval.Width()
				if least, most := time.Duration(2*s.ErrorBoundNs), time.Duration(2*after.Clock.ErrorBoundNs)+time.Duration(after.Clock.UtcUnixNs-s.UtcUnixNs)+2*hlc.Tick; width < least || width > most {
					t.Errorf("the interval is %v wide, want %v to %v", width, least, most)
				}
			}
			if want := s.Intervals; want != before.Ready || want != after.Ready {
				t.Errorf("intervals %v, ready %v", want, before.Ready)
			}
		})
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// metrics returns the metrics of ours that have one value.
func (n *node) metrics() map[string]float64 {
	n.t.Helper()
	status, body := n.get("/metrics")
	if status != 200 {
		n.t.Fatalf("status %d, %q", status, body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	values := map[string]float64{}
	for name, f := range families {
		if m := f.GetMetric(); len(m) == 1 {
			values[name] = m[0].GetGauge().GetValue() + m[0].GetCounter().GetValue()
		}
	}
	return values
}

// TestClaims: every figure of a snapshot finds its place in what NTP clients are told.
func TestClaims(t *testing.T) {
	s := &clock.Snapshot{
		Time: clock.Map{From: 1, To: 2, Rate: 3e-6}, Kernel: clock.Map{From: 4, To: 5, Rate: 6e-6}, Precision: -7,
		Judgement: clock.Judgement{
			State: clock.Synchronised, Leap: clock.LeapDelete, Stratum: 8, RefID: [4]byte{9, 10, 11, 12}, Reference: 13,
			RootDelay: -14, RootDispersion: 15, GrowthPPM: 16, ProviderError: -17, ResidualOffset: -18,
		},
	}
	got := fmt.Sprintf("%+v", claims(s))
	want := "{Leap:2 Stratum:8 RefID:[9 10 11 12] Precision:-7 RootDelay:14ns RootDispersion:50ns GrowthPPM:16 At:2 Reference:13 KernelAt:4 UTCAt:5 RatePPM:6}"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestTellCounts: every count of the server finds its place in the state.
func TestTellCounts(t *testing.T) {
	counts := ntpserver.Counts{Unstamped: 1, SendErrors: 2, ReceiveErrors: 3, KernelDrops: 4, Departures: 5, Unfollowed: 6}
	want := map[string]uint64{}
	for i, v := range ntpserver.Verdicts() {
		counts.Verdicts[v] = uint64(10 + i)
		want[v.String()] = uint64(10 + i)
	}
	var s api.State
	tellCounts(&s, counts)
	if got := []uint64{s.NTPUnstamped, s.NTPSendErrors, s.NTPReceiveErrors, s.NTPKernelDrops, s.NTPStamps, s.NTPStampsMissed}; !slices.Equal(got, []uint64{1, 2, 3, 4, 5, 6}) {
		t.Errorf("%d", got)
	}
	if !maps.Equal(s.NTPVerdicts, want) {
		t.Errorf("got  %v\nwant %v", s.NTPVerdicts, want)
	}
}

// TestServerOptions: every key of the section finds its place in what the NTP server gets.
func TestServerOptions(t *testing.T) {
	c := config.NTP{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}, Workers: 2, Interface: "three", DSCP: 4,
		Allow: []netip.Prefix{netip.MustParsePrefix("5.0.0.0/8")}, Deny: []netip.Prefix{netip.MustParsePrefix("6.0.0.0/8")},
		RateInterval: 7, RateBurst: 8, RateKiss: 9, RatePrivate: true, Interleaved: true,
	}
	got := fmt.Sprintf("%+v", serverOptions(&c))
	want := "{Addrs:[127.0.0.1:1] Workers:2 Claims:<nil> Policy:{Allow:[5.0.0.0/8] Deny:[6.0.0.0/8] Rate:{Interval:7ns Burst:8 Kiss:9 Private:true}} " +
		"BasicOnly:false ClientsMax:65536 DSCP:4 Interface:three Logger:<nil>}"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	c.Interleaved, c.RatePrivate = false, false
	if o := serverOptions(&c); !o.BasicOnly || o.Policy.Rate.Private {
		t.Errorf("%+v", o)
	}
}

// TestClients: who asked is told by the API, and what became of it.
func TestClients(t *testing.T) {
	n := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
	if r := n.clients(); len(r.Clients) != 0 || r.Remembered != 0 {
		t.Errorf("%v before anybody asked", r)
	}
	before := n.system.wall()
	for range 3 {
		n.ask()
	}
	after := n.system.wall()
	r := n.clients()
	if len(r.Clients) != 1 || r.Remembered != 1 {
		t.Fatalf("%v", r)
	}
	c := r.Clients[0]
	last := time.Unix(0, c.LastUnixNs)
	if c.Address != "127.0.0.1" || c.Version != 4 || c.Mode != 3 || c.Interleaved || c.Requests != 3 || c.Drops != 0 ||
		c.IntervalNs <= 0 || c.PollLog2 == nil || last.Before(before.Add(-time.Millisecond)) || last.After(after.Add(time.Millisecond)) {
		t.Errorf("%v, asked from %v to %v", c, before, after)
	}
	if now := time.Unix(0, r.UtcUnixNs); now.Before(last) || now.After(n.system.wall()) {
		t.Errorf("answered at %v", now)
	}
}

// clients returns the clients as the API tells of them.
func (n *node) clients() *rpc.ClientsResponse {
	n.t.Helper()
	r, err := n.admin.Clients(context.Background(), connect.NewRequest(&rpc.ClientsRequest{}))
	if err != nil {
		n.t.Fatal(err)
	}
	return r.Msg
}

// TestClaimsOf: claims are made once for each snapshot, and never of another one.
func TestClaimsOf(t *testing.T) {
	var c claimsOf
	snapshots := make([]*clock.Snapshot, 50)
	for i := range snapshots {
		snapshots[i] = &clock.Snapshot{Judgement: clock.Judgement{Stratum: uint8(i)}}
	}
	if first := c.of(snapshots[0]); c.of(snapshots[0]) != first || c.of(snapshots[1]) == first {
		t.Error("claims were made twice, or not anew")
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 10_000 {
				if s := snapshots[i*7%len(snapshots)]; c.of(s).Stratum != s.Stratum {
					t.Error("claims of another snapshot")
				}
			}
		})
	}
	all.Wait()
}
