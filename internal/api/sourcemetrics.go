package api

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/truechimer/truechimer/internal/discipline"
)

// sourceMetric is one figure of each source.
type sourceMetric struct {
	desc     *prometheus.Desc
	measured bool // there is none before the first sample
	read     func(*Source) float64
}

// sourceCollector tells of the sources. Its labels are the names of the configuration, of
// which there are a few dozen at the most, and the addresses that are asked now.
type sourceCollector struct {
	metrics  []sourceMetric
	outcomes *prometheus.Desc
}

func newSourceCollector() sourceCollector {
	labels := []string{"name", "address"}
	gauge := func(name, help string, measured bool, read func(*Source) float64) sourceMetric {
		return sourceMetric{prometheus.NewDesc("truechimer_source_"+name, help, labels, nil), measured, read}
	}
	return sourceCollector{
		outcomes: prometheus.NewDesc("truechimer_source_outcomes_total", "Polls of a source, and datagrams that came for it, by what became of them.", append(labels, "outcome"), nil),
		metrics: []sourceMetric{
			gauge("selected", "1 for the source that is followed.", false, func(s *Source) float64 { return flag(s.Status == discipline.Selected) }),
			gauge("agrees", "1 when the majority agrees with the source.", false, func(s *Source) float64 { return flag(s.Status.Agrees()) }),
			gauge("weight_ratio", "Share of the source in the estimate, 0 to 1.", false, func(s *Source) float64 { return s.Weight }),
			gauge("reach", "Last eight polls as bits, 0 to 255; 0 is unreachable.", false, func(s *Source) float64 { return float64(s.Reach) }),
			gauge("poll_interval_seconds", "Poll interval now.", false, func(s *Source) float64 { return math.Ldexp(1, int(s.PollLog2)) }),
			gauge("stratum", "Stratum that the source claims; 0 before it was heard.", false, func(s *Source) float64 { return float64(s.Stratum) }),
			gauge("samples", "Samples that the filter of the source holds.", false, func(s *Source) float64 { return float64(s.Samples) }),
			gauge("offset_seconds", "Source minus served clock; positive when that is behind.", true, func(s *Source) float64 { return s.Offset.Seconds() }),
			gauge("delay_seconds", "Round trip to the source.", true, func(s *Source) float64 { return s.Delay.Seconds() }),
			gauge("jitter_seconds", "Standard deviation of one sample of the source.", true, func(s *Source) float64 { return s.Jitter.Seconds() }),
			gauge("root_distance_seconds", "Largest error that the source can have.", true, func(s *Source) float64 { return s.RootDistance.Seconds() }),
		},
	}
}

func (c *sourceCollector) describe(descs chan<- *prometheus.Desc) {
	descs <- c.outcomes
	for _, m := range c.metrics {
		descs <- m.desc
	}
}

// collect tells of each name and address once: members of a pool that have no address yet
// are alike, and one series that comes twice would cost the whole scrape.
func (c *sourceCollector) collect(sources []Source, metrics chan<- prometheus.Metric) {
	type labels struct{ name, address string }
	told := make(map[labels]bool, len(sources))
	for i := range sources {
		s := &sources[i]
		if told[labels{s.Name, s.Address}] {
			continue
		}
		told[labels{s.Name, s.Address}] = true
		for _, m := range c.metrics {
			if m.measured && s.Samples == 0 {
				continue
			}
			metrics <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, m.read(s), s.Name, s.Address)
		}
		for outcome, count := range s.Outcomes {
			metrics <- prometheus.MustNewConstMetric(c.outcomes, prometheus.CounterValue, float64(count), s.Name, s.Address, outcome)
		}
	}
}
