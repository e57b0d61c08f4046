package api

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// evidenceCollector tells what can be proven, and how the journal and the channels are. Its labels
// are names of the configuration.
type evidenceCollector struct {
	evidence Evidence

	verdict, bound, tolerance, seconds, breaches, open *prometheus.Desc // of each profile and clock
	records, sequence                                  *prometheus.Desc // of each track
	head, bytes, planned, dropped                      *prometheus.Desc
	queue, taken, failures                             *prometheus.Desc // of each channel
	hosts                                              *prometheus.Desc
}

func newEvidenceCollector(e Evidence) *evidenceCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("truechimer_"+name, help, labels, nil)
	}
	return &evidenceCollector{
		evidence:  e,
		verdict:   desc("compliance_verdict", "1 for the verdict on a clock by a profile: ok, warn, breach or unknown; 0 for the others.", "profile", "clock", "verdict"),
		bound:     desc("compliance_error_bound_seconds", "Error bound of a clock that is judged; not there while none can be claimed.", "profile", "clock"),
		tolerance: desc("compliance_tolerance_seconds", "Tolerance of the profile.", "profile", "clock"),
		seconds:   desc("compliance_today_seconds", "Seconds of this day (UTC) by verdict; gap: nobody looked.", "profile", "clock", "verdict"),
		breaches:  desc("breaches_24h", "Breaches that began in the last 24 hours.", "profile", "clock"),
		open:      desc("breaches_open", "Breaches that go on: 0 or 1.", "profile", "clock"),
		records:   desc("journal_records", "Records that the journal keeps.", "track"),
		sequence:  desc("journal_sequence", "Number of the last record in the last head that was signed.", "track"),
		head:      desc("journal_head", "First 48 bits of the hash in the last head that was signed, as a number: what was scraped proves later what the journal held."),
		bytes:     desc("journal_bytes", "What the journal takes on disk."),
		planned:   desc("journal_planned_bytes", "What the journal is planned to take on disk once it is as old as it is kept."),
		dropped:   desc("journal_dropped_total", "Records that were given up because the disk did not take them."),
		queue:     desc("alert_queue", "Messages that a channel has still to be told.", "channel"),
		taken:     desc("alert_taken_total", "Messages that a channel took.", "channel"),
		failures:  desc("alert_failures_total", "Attempts to tell a channel that failed.", "channel"),
		hosts:     desc("hosts", "Hosts that are observed, by what can be proven of their clocks.", "group", "verdict"),
	}
}

// Describe implements prometheus.Collector.
func (c *evidenceCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.verdict, c.bound, c.tolerance, c.seconds, c.breaches, c.open, c.records, c.sequence, c.head, c.bytes, c.planned, c.dropped,
		c.queue, c.taken, c.failures, c.hosts,
	} {
		descs <- d
	}
}

// Collect implements prometheus.Collector. What cannot be had is left out: a store that is closing
// has no journal to tell of.
func (c *evidenceCollector) Collect(metrics chan<- prometheus.Metric) {
	ctx := context.Background()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value uint64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	if m, err := c.evidence.Compliance(ctx, 1); err == nil {
		for _, v := range m.Verdicts {
			c.collectVerdict(v, gauge)
			open := slices.ContainsFunc(m.Breaches, func(b *rpc.Breach) bool {
				return b.EndUnixNs == 0 && b.Profile == v.Profile && b.Clock == v.Clock
			})
			gauge(c.open, flag(open), v.Profile, clockWord(v.Clock))
		}
		for _, ch := range m.Channels {
			gauge(c.queue, float64(ch.Queued), ch.Name)
			counter(c.taken, ch.Taken, ch.Name)
			counter(c.failures, ch.Failures, ch.Name)
		}
	}
	if m, err := c.evidence.JournalHead(ctx); err == nil {
		gauge(c.records, float64(m.EvidenceRecords), "evidence")
		gauge(c.records, float64(m.RawRecords), "raw")
		gauge(c.bytes, float64(m.Bytes))
		gauge(c.planned, float64(m.PlannedBytes))
		counter(c.dropped, m.Dropped)
		if h, err := store.ParseJournalHead(m.Head); err == nil {
			gauge(c.sequence, float64(h.EvidenceSequence), "evidence")
			gauge(c.sequence, float64(h.RawSequence), "raw")
			gauge(c.head, float64(binary.BigEndian.Uint64(h.EvidenceHash[:])>>16))
		}
	}
	if m, err := c.evidence.Hosts(ctx, &rpc.HostsRequest{}); err == nil {
		type key struct {
			group   string
			verdict rpc.Verdict
		}
		count := make(map[key]int)
		for _, h := range m.Hosts {
			for _, v := range verdicts() {
				count[key{h.Group, v}] += 0 // a group has all of them
			}
			count[key{h.Group, h.Verdict}]++
		}
		for k, n := range count {
			gauge(c.hosts, float64(n), k.group, verdictWord(k.verdict))
		}
	}
}

func (c *evidenceCollector) collectVerdict(v *rpc.ProfileVerdict, gauge func(*prometheus.Desc, float64, ...string)) {
	clock := clockWord(v.Clock)
	for _, each := range verdicts() {
		gauge(c.verdict, flag(each == v.Verdict), v.Profile, clock, verdictWord(each))
	}
	if v.BoundNs >= 0 {
		gauge(c.bound, float64(v.BoundNs)/1e9, v.Profile, clock)
	}
	gauge(c.tolerance, float64(v.ToleranceNs)/1e9, v.Profile, clock)
	gauge(c.breaches, float64(v.Breaches_24H), v.Profile, clock)
	if n := len(v.Days); n > 0 {
		today := v.Days[n-1]
		for _, s := range []struct {
			word string
			n    uint32
		}{{"ok", today.Ok}, {"warn", today.Warn}, {"breach", today.Breach}, {"unknown", today.Unknown}, {"gap", today.Gap}} {
			gauge(c.seconds, float64(s.n), v.Profile, clock, s.word)
		}
	}
}

// verdicts returns all verdicts.
func verdicts() []rpc.Verdict {
	return []rpc.Verdict{rpc.Verdict_VERDICT_OK, rpc.Verdict_VERDICT_WARN, rpc.Verdict_VERDICT_BREACH, rpc.Verdict_VERDICT_UNKNOWN}
}

func clockWord(c rpc.JudgedClock) string {
	return strings.ToLower(strings.TrimPrefix(c.String(), "JUDGED_CLOCK_"))
}

func verdictWord(v rpc.Verdict) string {
	return strings.ToLower(strings.TrimPrefix(v.String(), "VERDICT_"))
}
