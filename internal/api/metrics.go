package api

import (
	"math"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/truechimer/truechimer/internal/clock"
)

// newRegistry returns a private registry: what is measured is read when it is scraped.
func newRegistry(node Node, e Evidence, j *journal) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.MustRegister(nodeCollectors(node, e, j)...)
	return r
}

// nodeCollectors are all that tell of a node; what they are made of is not used before something
// is collected.
func nodeCollectors(node Node, e Evidence, j *journal) []prometheus.Collector {
	return []prometheus.Collector{newNodeCollector(node), newEvidenceCollector(e), newRefusalCollector(j)}
}

// metric is one line of the table: a name, what it means, and how to read it.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(*State) float64 // NaN: it is not known, and not told
}

// nodeCollector reads one State per scrape, so that its figures are of one moment.
type nodeCollector struct {
	node     Node
	metrics  []metric
	info     *prometheus.Desc
	verdicts *prometheus.Desc
	sources  sourceCollector
}

func newNodeCollector(node Node) *nodeCollector {
	gauge := func(name, help string, read func(*State) float64) metric {
		return metric{prometheus.NewDesc("truechimer_"+name, help, nil, nil), prometheus.GaugeValue, read}
	}
	counter := func(name, help string, read func(*State) float64) metric {
		return metric{prometheus.NewDesc("truechimer_"+name, help, nil, nil), prometheus.CounterValue, read}
	}
	return &nodeCollector{
		node:     node,
		info:     prometheus.NewDesc("truechimer_info", "What runs here; always 1.", []string{"version", "node", "mode"}, nil),
		verdicts: prometheus.NewDesc("truechimer_ntp_datagrams_total", "NTP datagrams by what became of them.", []string{"verdict"}, nil),
		sources:  newSourceCollector(),
		metrics: append(streamMetrics(gauge, counter), []metric{
			gauge("ready", "1 when synchronised within the limit and the store can be written.", func(s *State) float64 { return flag(len(s.NotReady) == 0) }),
			gauge("alarms", "Alarms that stand now.", func(s *State) float64 { return float64(len(s.Alarms)) }),
			gauge("clock_synchronised", "1 when synchronised.", func(s *State) float64 { return flag(s.Clock.State == clock.Synchronised) }),
			gauge("clock_claims", "1 when an error bound can be claimed: synchronised or in holdover.", func(s *State) float64 { return flag(s.NoClaim == "") }),
			gauge("clock_stratum", "Stratum as it is served; 16 when no time is.", func(s *State) float64 { return float64(s.Clock.Stratum) }),
			gauge("clock_error_bound_seconds", "Largest distance to UTC that can be claimed; +Inf when none can.", errorBound),
			gauge("clock_root_delay_seconds", "Round trip to the reference clock.", func(s *State) float64 { return s.Clock.RootDelay.Seconds() }),
			gauge("clock_root_dispersion_seconds", "Root dispersion now.", func(s *State) float64 { return s.Clock.RootDispersion(s.Mono).Seconds() }),
			gauge("clock_residual_offset_seconds", "Known and not yet corrected; positive when behind.", func(s *State) float64 { return s.Clock.ResidualOffset.Seconds() }),
			gauge("clock_frequency_ratio", "Frequency correction in force, as a fraction.", func(s *State) float64 { return s.Clock.FrequencyPPM * 1e-6 }),
			gauge("clock_provider_error_seconds", "What the operators of the sources state of them against UTC; part of the error bound.", func(s *State) float64 { return s.Clock.ProviderError.Seconds() }),
			gauge("clock_holdover", "1 when in holdover.", func(s *State) float64 { return flag(s.Clock.State == clock.Holdover) }),
			gauge("clock_holdover_left_seconds", "How long the error bound stays within its limit if nothing more is heard; +Inf when it does not grow.", holdoverLeft),
			gauge("clock_slew_ratio", "Rate at which an offset is being removed, as a fraction; positive when the clock is driven forward.", func(s *State) float64 { return s.SlewPPM * 1e-6 }),
			gauge("clock_tai_offset_seconds", "TAI minus UTC; not there while it is unknown.", taiOffset),
			gauge("clock_leap_expiry_timestamp_seconds", "Until when the leap seconds are known; not there while they are not.", leapExpiry),
			gauge("clock_rival", "1 when somebody else seems to steer the same clock.", func(s *State) float64 { return flag(s.Rival != "") }),
			counter("clock_steps_total", "Jumps of the system clock.", func(s *State) float64 { return float64(s.Clock.Steps) }),
			counter("ntp_unstamped_total", "NTP requests without the kernel's receive timestamp.", func(s *State) float64 { return float64(s.NTPUnstamped) }),
			counter("ntp_send_errors_total", "NTP replies that could not be sent.", func(s *State) float64 { return float64(s.NTPSendErrors) }),
			counter("ntp_receive_errors_total", "Failures of receiving NTP datagrams.", func(s *State) float64 { return float64(s.NTPReceiveErrors) }),
			counter("ntp_kernel_drops_total", "NTP datagrams that the kernel dropped because they were not read in time.", func(s *State) float64 { return float64(s.NTPKernelDrops) }),
			counter("ntp_transmit_stamps_total", "Transmit timestamps of NTP replies that the kernel gave, for interleaved mode.", func(s *State) float64 { return float64(s.NTPStamps) }),
			counter("ntp_transmit_stamps_missed_total", "Transmit timestamps of NTP replies that the kernel did not give in time.", func(s *State) float64 { return float64(s.NTPStampsMissed) }),
			gauge("hlc_issuing", "1 when timestamps are issued.", func(s *State) float64 { return flag(s.issuing()) }),
			gauge("hlc_epoch", "Number of the issuing term.", func(s *State) float64 { return float64(s.Issuer.Epoch) }),
			gauge("hlc_lead_seconds", "Last timestamp ahead of physical time.", func(s *State) float64 { return s.Issuer.Lead.Seconds() }),
			gauge("hlc_physical_ahead_seconds", "Physical time of the hybrid clock ahead of the time served.", func(s *State) float64 { return s.PhysicalAhead.Seconds() }),
			counter("hlc_behind_total", "Operations that found physical time behind the last timestamp.", func(s *State) float64 { return float64(s.Issuer.Behind) }),
			counter("hlc_ceiling_saves_total", "Ceilings made durable.", func(s *State) float64 { return float64(s.Issuer.Saves) }),
			counter("hlc_ceiling_save_failures_total", "Ceilings that could not be made durable.", func(s *State) float64 { return float64(s.Issuer.SaveFailures) }),
			counter("hlc_ceiling_waits_total", "Calls that had to wait for a ceiling.", func(s *State) float64 { return float64(s.Issuer.Waits) }),
			counter("hlc_rebases_total", "How often an operator brought the hybrid clock back.", func(s *State) float64 { return float64(s.Issuer.Rebases) }),
			gauge("store_fenced", "1 when a write has failed and nothing more is acknowledged.", func(s *State) float64 { return flag(s.Fenced != nil) }),
		}...),
	}
}

// Describe implements prometheus.Collector.
func (c *nodeCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- c.info
	descs <- c.verdicts
	c.sources.describe(descs)
	for _, m := range c.metrics {
		descs <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *nodeCollector) Collect(metrics chan<- prometheus.Metric) {
	state := c.node.State()
	metrics <- prometheus.MustNewConstMetric(c.info, prometheus.GaugeValue, 1, state.Version, state.Name, state.Clock.Mode.String())
	for verdict, count := range state.NTPVerdicts {
		metrics <- prometheus.MustNewConstMetric(c.verdicts, prometheus.CounterValue, float64(count), verdict)
	}
	for _, m := range c.metrics {
		if value := m.read(&state); !math.IsNaN(value) {
			metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, value)
		}
	}
	c.sources.collect(state.Sources, metrics)
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func errorBound(s *State) float64 {
	if s.NoClaim != "" {
		return math.Inf(1)
	}
	return s.Clock.ErrorBound(s.Mono).Seconds()
}

func holdoverLeft(s *State) float64 {
	left := s.holdoverLeft()
	if left == math.MaxInt64 {
		return math.Inf(1)
	}
	return left.Seconds()
}

func taiOffset(s *State) float64 {
	if !s.Leap.Known {
		return math.NaN()
	}
	return float64(s.Leap.TAIOffset)
}

func leapExpiry(s *State) float64 {
	if s.Leap.Expires == 0 {
		return math.NaN()
	}
	return float64(s.Leap.Expires) / 1e9
}

// refusalCollector tells the calls that were refused for who made them, by code.
type refusalCollector struct {
	journal *journal
	desc    *prometheus.Desc
}

func newRefusalCollector(j *journal) *refusalCollector {
	return &refusalCollector{j, prometheus.NewDesc("truechimer_api_refusals_total",
		"Calls refused for want of a credential or a right, or above a quota, and TLS handshakes that failed, by code.", []string{"code"}, nil)}
}

// Describe implements prometheus.Collector.
func (c *refusalCollector) Describe(descs chan<- *prometheus.Desc) { descs <- c.desc }

// Collect implements prometheus.Collector.
func (c *refusalCollector) Collect(metrics chan<- prometheus.Metric) {
	for _, code := range []connect.Code{connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeResourceExhausted} {
		metrics <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(c.journal.counts[code].Load()), code.String())
	}
}
