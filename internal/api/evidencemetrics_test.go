package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// ofEvidence reports whether a metric tells of the evidence.
func ofEvidence(name string) bool {
	for _, part := range []string{"compliance_", "breaches_", "journal_", "alert_", "hosts"} {
		if strings.HasPrefix(name, "truechimer_"+part) {
			return true
		}
	}
	return false
}

// busyEvidence has something to tell of everything.
func busyEvidence() *fakeEvidence {
	e := newFakeEvidence()
	e.compliance = &rpc.ComplianceResponse{
		Verdicts: []*rpc.ProfileVerdict{
			{
				Profile: "finra-50ms", Clock: rpc.JudgedClock_JUDGED_CLOCK_SYSTEM, Verdict: rpc.Verdict_VERDICT_BREACH, BoundNs: 60e6, ToleranceNs: 50e6, Breaches_24H: 3,
				Days: []*rpc.DayVerdicts{{Ok: 99}, {Ok: 1, Warn: 2, Breach: 3, Unknown: 4, Gap: 5}},
			},
			{Profile: "finra-50ms", Clock: rpc.JudgedClock_JUDGED_CLOCK_SERVED, Verdict: rpc.Verdict_VERDICT_UNKNOWN, BoundNs: -1, ToleranceNs: 50e6},
		},
		Breaches: []*rpc.Breach{{Profile: "finra-50ms", Clock: rpc.JudgedClock_JUDGED_CLOCK_SYSTEM}, {Profile: "finra-50ms", Clock: rpc.JudgedClock_JUDGED_CLOCK_SERVED, EndUnixNs: 1}},
		Channels: []*rpc.AlertChannel{{Name: "on-call", Queued: 6, Taken: 7, Failures: 8}},
	}
	e.hosts = &rpc.HostsResponse{Hosts: []*rpc.Host{{Group: "trading", Verdict: rpc.Verdict_VERDICT_OK}, {Group: "trading", Verdict: rpc.Verdict_VERDICT_OK}, {Group: "trading", Verdict: rpc.Verdict_VERDICT_UNKNOWN}}}
	e.head = &rpc.JournalHeadResponse{
		Head:            store.JournalHead{Journal: strings.Repeat("0f", 16), EvidenceSequence: 9, RawSequence: 10, EvidenceHash: [32]byte{5: 2, 6: 3}}.String(),
		EvidenceRecords: 11, RawRecords: 12, Bytes: 13, PlannedBytes: 14, Dropped: 15,
	}
	return e
}

// TestEvidenceMetrics: what can be proven is told, and what cannot be claimed is not there.
func TestEvidenceMetrics(t *testing.T) {
	evidence := busyEvidence()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Evidence: evidence})
	client := newClient(t)
	read := func() map[string]float64 {
		got := map[string]float64{}
		for name, f := range scrape(t, client, base) {
			if !ofEvidence(name) {
				continue
			}
			for _, m := range f.GetMetric() {
				var labels []string
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetValue())
				}
				got[strings.TrimSpace(fmt.Sprint(strings.TrimPrefix(name, "truechimer_"), " ", strings.Join(labels, " ")))] = value(&dto.MetricFamily{Type: f.Type, Metric: []*dto.Metric{m}})
			}
		}
		return got
	}
	want := map[string]float64{
		"compliance_verdict system finra-50ms ok": 0, "compliance_verdict system finra-50ms warn": 0, "compliance_verdict system finra-50ms breach": 1, "compliance_verdict system finra-50ms unknown": 0,
		"compliance_verdict served finra-50ms ok": 0, "compliance_verdict served finra-50ms warn": 0, "compliance_verdict served finra-50ms breach": 0, "compliance_verdict served finra-50ms unknown": 1,
		"compliance_error_bound_seconds system finra-50ms": 0.06, "compliance_tolerance_seconds system finra-50ms": 0.05, "compliance_tolerance_seconds served finra-50ms": 0.05,
		"compliance_today_seconds system finra-50ms ok": 1, "compliance_today_seconds system finra-50ms warn": 2, "compliance_today_seconds system finra-50ms breach": 3,
		"compliance_today_seconds system finra-50ms unknown": 4, "compliance_today_seconds system finra-50ms gap": 5,
		"breaches_24h system finra-50ms": 3, "breaches_24h served finra-50ms": 0, "breaches_open system finra-50ms": 1, "breaches_open served finra-50ms": 0,
		"journal_records evidence": 11, "journal_records raw": 12, "journal_sequence evidence": 9, "journal_sequence raw": 10, "journal_head": 2,
		"journal_bytes": 13, "journal_planned_bytes": 14, "journal_dropped_total": 15,
		"alert_queue on-call": 6, "alert_taken_total on-call": 7, "alert_failures_total on-call": 8,
		"hosts trading ok": 2, "hosts trading warn": 0, "hosts trading breach": 0, "hosts trading unknown": 1,
	}
	got := read()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if v, ok := got[name]; !ok || v != want[name] {
			t.Errorf("%s is %v (there: %v), want %v", name, v, ok, want[name])
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("besides: %v", got)
	}
	evidence.err = store.ErrClosed
	if got := read(); len(got) > 0 {
		t.Errorf("while the store is closing: %v", got)
	}
}
