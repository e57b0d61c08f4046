package api

import (
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/store"
)

// scrape returns the metrics, parsed.
func scrape(t *testing.T, c *http.Client, base string) map[string]*dto.MetricFamily {
	t.Helper()
	a := send(t, c, http.MethodGet, base+"/metrics", "", nil)
	if a.status != http.StatusOK {
		t.Fatalf("status %d, %q", a.status, a.body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.New(strings.NewReader(a.body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	return families
}

// value returns the one value of a family.
func value(f *dto.MetricFamily) float64 {
	m := f.GetMetric()[0]
	if f.GetType() == dto.MetricType_COUNTER {
		return m.GetCounter().GetValue()
	}
	return m.GetGauge().GetValue()
}

// TestMetrics: what is scraped is one State in base units, and lints clean.
func TestMetrics(t *testing.T) {
	node := newFakeNode()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: node})
	client := newClient(t)
	families := scrape(t, client, base)
	want := map[string]float64{
		"truechimer_ready": 1, "truechimer_alarms": 0,
		"truechimer_clock_synchronised": 1, "truechimer_clock_claims": 1, "truechimer_clock_stratum": 3,
		"truechimer_clock_error_bound_seconds": 0.004035, "truechimer_clock_root_delay_seconds": 0.002,
		"truechimer_clock_root_dispersion_seconds": 0.003004, "truechimer_clock_residual_offset_seconds": -0.000005,
		"truechimer_clock_frequency_ratio": -12.5e-6, "truechimer_clock_steps_total": 6,
		"truechimer_clock_provider_error_seconds": 26e-6, "truechimer_clock_holdover": 0, "truechimer_clock_holdover_left_seconds": 11491.25,
		"truechimer_clock_slew_ratio": -30e-6, "truechimer_clock_tai_offset_seconds": 37, "truechimer_clock_leap_expiry_timestamp_seconds": 1795000035,
		"truechimer_clock_rival": 1,
		"truechimer_hlc_issuing": 1, "truechimer_hlc_epoch": 8, "truechimer_hlc_lead_seconds": 0.010,
		"truechimer_hlc_physical_ahead_seconds": 16e-9, "truechimer_hlc_behind_total": 15,
		"truechimer_hlc_ceiling_saves_total": 13, "truechimer_hlc_ceiling_waits_total": 14, "truechimer_hlc_rebases_total": 12,
		"truechimer_hlc_ceiling_save_failures_total": 18,
		"truechimer_ntp_unstamped_total":             19, "truechimer_ntp_send_errors_total": 20, "truechimer_ntp_receive_errors_total": 21,
		"truechimer_ntp_kernel_drops_total": 23, "truechimer_ntp_transmit_stamps_total": 24, "truechimer_ntp_transmit_stamps_missed_total": 25,
		"truechimer_store_fenced": 0, "truechimer_info": 1,
		"truechimer_streams_closed_timestamp_seconds": 1795000000.00000004, "truechimer_streams_created_total": 41,
		"truechimer_streams_watchers": 42, "truechimer_streams_queued": 43, "truechimer_streams_appends_total": 44, "truechimer_streams_events_total": 45,
		"truechimer_streams_payload_bytes_total": 46, "truechimer_streams_groups_total": 47, "truechimer_streams_repeated_total": 48,
		"truechimer_streams_conflicts_total": 49, "truechimer_streams_busy_total": 50, "truechimer_streams_full_total": 51,
		"truechimer_streams_delivered_total": 52, "truechimer_streams_trimmed_total": 53, "truechimer_streams_stalls_total": 54,
		"truechimer_store_free_bytes": 55, "truechimer_store_reserve_bytes": 56, "truechimer_store_nearly_full": 1,
	}
	for name, f := range families {
		if !strings.HasPrefix(name, "truechimer_") || name == "truechimer_ntp_datagrams_total" || name == "truechimer_api_refusals_total" || strings.HasPrefix(name, "truechimer_source_") || ofEvidence(name) {
			continue
		}
		w, ok := want[name]
		if got := value(f); !ok || math.Abs(got-w) > 1e-15 {
			t.Errorf("%s is %v, want %v (listed: %v)", name, got, w, ok)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("not there: %v", slices.Collect(maps.Keys(want)))
	}
	verdicts := map[string]float64{}
	for _, m := range families["truechimer_ntp_datagrams_total"].GetMetric() {
		verdicts[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
	}
	if !maps.Equal(verdicts, map[string]float64{"answered": 17, "short": 0}) {
		t.Errorf("datagrams %v", verdicts)
	}

	node.change(func(s *State) {
		s.Clock = &clock.Snapshot{Judgement: clock.Judgement{Stratum: clock.StratumUnsynchronised}}
		s.NoClaim, s.NotReady = "because", []string{"because"}
		s.Alarms = []Alarm{{}, {}}
		s.Fenced = errUnlisted
		s.Streams = store.StreamsStatus{}
	})
	families = scrape(t, client, base)
	for name, w := range map[string]float64{
		"truechimer_ready": 0, "truechimer_alarms": 2, "truechimer_clock_synchronised": 0, "truechimer_clock_claims": 0,
		"truechimer_clock_stratum": 16, "truechimer_clock_error_bound_seconds": math.Inf(1), "truechimer_hlc_issuing": 0, "truechimer_store_fenced": 1, "truechimer_store_nearly_full": 0,
	} {
		if got := value(families[name]); got != w {
			t.Errorf("in trouble %s is %v, want %v", name, got, w)
		}
	}
	if families["truechimer_store_free_bytes"] != nil {
		t.Error("free space is told that is unknown")
	}
	node.change(func(s *State) { s.Fenced, s.Issuer = nil, store.Status{Started: true, Err: store.ErrEpoch} })
	if got := value(scrape(t, client, base)["truechimer_hlc_issuing"]); got != 0 {
		t.Errorf("issuing is %v although it has ended", got)
	}
	node.change(func(s *State) {
		s.Clock, s.NoClaim = &clock.Snapshot{Judgement: clock.Judgement{State: clock.Holdover, Stratum: 3}}, ""
	})
	families = scrape(t, client, base)
	if s, c := value(families["truechimer_clock_synchronised"]), value(families["truechimer_clock_claims"]); s != 0 || c != 1 {
		t.Errorf("in holdover: synchronised %v, claims %v", s, c)
	}
}

// TestMetricLabels: no label has a value for each client, or for anything else that
// outsiders bring along.
func TestMetricLabels(t *testing.T) {
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Evidence: busyEvidence()})
	client := newClient(t)
	count := func() (n int) {
		for _, f := range scrape(t, client, base) {
			n += len(f.GetMetric())
		}
		return n
	}
	count() // the first scrape counts itself
	before := count()
	for _, host := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		send(t, client, http.MethodPost, base+"/truechimer.v1.ClockService/Now?from="+host, "{}", map[string]string{"Host": host, "Content-Type": "application/json", "User-Agent": host})
	}
	if after := count(); after != before {
		t.Errorf("%d series, then %d", before, after)
	}
	labels := map[string]bool{}
	for name, f := range scrape(t, client, base) {
		if !strings.HasPrefix(name, "truechimer_") {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = true
			}
		}
	}
	if got, want := slices.Sorted(maps.Keys(labels)), []string{"address", "channel", "clock", "code", "group", "mode", "name", "node", "outcome", "profile", "track", "verdict", "version"}; !slices.Equal(got, want) {
		t.Errorf("labels %v, want %v", got, want)
	}
}

// TestHealth: 200 and ok, or 503 and the reasons; a process that answers is alive, and one
// that is not ready need not be restarted.
func TestHealth(t *testing.T) {
	node := newFakeNode()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: node})
	client := newClient(t)
	for _, c := range []struct {
		name                   string
		unhealthy, notReady    []string
		livez, healthz, readyz string
	}{
		{"well", nil, nil, "200 ok", "200 ok", "200 ok"},
		{"not ready", nil, []string{"not synchronised", "nor anything else"}, "200 ok", "200 ok", "503 not synchronised\nnor anything else"},
		{"unhealthy", []string{"fenced"}, []string{"fenced", "not synchronised"}, "200 ok", "503 fenced", "503 fenced\nnot synchronised"},
	} {
		node.change(func(s *State) { s.Unhealthy, s.NotReady = c.unhealthy, c.notReady })
		for path, want := range map[string]string{"/livez": c.livez, "/healthz": c.healthz, "/readyz": c.readyz} {
			a := send(t, client, http.MethodGet, base+path, "", nil)
			status, body, _ := strings.Cut(want, " ")
			if status != strconv.Itoa(a.status) || a.body != body+"\n" {
				t.Errorf("%s: %s: %d %q, want %q", c.name, path, a.status, a.body, want)
			}
			if got := a.header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("%s: Cache-Control %q", path, got)
			}
			if a := send(t, client, http.MethodHead, base+path, "", nil); strconv.Itoa(a.status) != status || a.body != "" {
				t.Errorf("%s: HEAD %s: %d %q", c.name, path, a.status, a.body)
			}
		}
	}
}
