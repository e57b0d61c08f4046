package main

import (
	"math"
	"slices"
)

// figure is one number of a measurement.
type figure struct {
	measurement string
	name        string
	decimals    int
	of          func(*sample) float64
}

// The figures that targets are about.
const (
	rateFigure     = "k answers/s"
	cpuFigure      = "CPU-µs per answer"
	offsetFigure   = "offset error p50, µs"
	receiveFigure  = "T2−T1 p50, µs"
	turnFigure     = "T3−T2 p50, µs"
	tripFigure     = "round trip p50, µs"
	highestFigure  = "k answers/s, loss < 1 %"
	lostFigure     = "lost, %"
	serverWaits    = "server waited for a CPU, %"
	generatorWaits = "generator waited, %"
)

// figures returns every figure, in the order of the table.
func figures() []figure {
	all := []figure{
		{saturation, rateFigure, 1, func(s *sample) float64 { return s.Burst.Rate / 1e3 }},
		{saturation, cpuFigure, 3, func(s *sample) float64 { return s.Burst.CPUPerAnswer }},
		{saturation, offsetFigure, 2, offsetOf},
		{saturation, receiveFigure, 2, receiveOf},
		{saturation, turnFigure, 2, func(s *sample) float64 { return s.Burst.Turnaround.P50 }},
		{saturation, serverWaits, 2, func(s *sample) float64 { return share(s.Burst.ServerWait, s.Burst.Seconds) }},
		{saturation, generatorWaits, 2, func(s *sample) float64 { return share(s.Burst.LoadWait, s.Burst.Seconds) }},
	}
	for _, m := range []string{open1k, open20k, open100k} {
		all = append(all, figure{m, receiveFigure, 2, receiveOf}, figure{m, offsetFigure, 2, offsetOf})
	}
	return append(all,
		figure{open100k, lostFigure, 2, func(s *sample) float64 { return s.Burst.LossPct }},
		figure{roundTrip, tripFigure, 2, func(s *sample) float64 { return s.Burst.RTT.P50 }},
		figure{highest, highestFigure, 1, func(s *sample) float64 { return s.Sweep.Rate / 1e3 }})
}

func offsetOf(s *sample) float64  { return s.Burst.Offset.P50 }
func receiveOf(s *sample) float64 { return s.Burst.RequestDelay.P50 }

func share(part, whole float64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * part / whole
}

// spread is a median and what it is the median of.
type spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
	N      int     `json:"n"`
}

// spreadOf returns the spread of values, in any order. Of an even number the median
// is the mean of the two in the middle.
func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + median) / 2
	}
	return spread{Median: median, Least: sorted[0], Most: sorted[len(sorted)-1], N: len(sorted)}
}

// summary is a figure of one contender over the rounds.
type summary struct {
	Contender   string `json:"contender"`
	Measurement string `json:"measurement"`
	Figure      string `json:"figure"`
	spread
}

// find returns the sample of a measurement in a round, or nil.
func (r *results) find(round int, contender, measurement string) *sample {
	i := slices.IndexFunc(r.Samples, func(s sample) bool {
		return s.Round == round && s.Contender == contender && s.Measurement == measurement
	})
	if i < 0 {
		return nil
	}
	return &r.Samples[i]
}

// values returns a figure of a contender by round.
func (r *results) values(contender string, f figure) map[int]float64 {
	values := map[int]float64{}
	for i := range r.Samples {
		s := &r.Samples[i]
		if s.Contender == contender && s.Measurement == f.measurement {
			values[s.Round] = f.of(s)
		}
	}
	return values
}

// spread returns a figure of a contender over the rounds; its N is 0 where there is none.
func (r *results) spread(contender string, f figure) spread {
	var values []float64
	for _, v := range r.values(contender, f) {
		values = append(values, v)
	}
	return spreadOf(values)
}

// ratios divides a figure of one contender by that of another, round by round: what
// disturbs a round disturbs both.
func (r *results) ratios(f figure, of, by string) spread {
	divisors := r.values(by, f)
	var values []float64
	for round, v := range r.values(of, f) {
		if d := divisors[round]; d != 0 {
			values = append(values, v/d)
		}
	}
	return spreadOf(values)
}

// summarise computes what is printed from the samples.
func (r *results) summarise() {
	r.Figures, r.Targets = nil, nil
	for _, f := range figures() {
		for _, c := range r.Contenders {
			if s := r.spread(c.Name, f); s.N > 0 {
				r.Figures = append(r.Figures, summary{Contender: c.Name, Measurement: f.measurement, Figure: f.name, spread: s})
			}
		}
	}
	for _, t := range targets() {
		r.Targets = append(r.Targets, t.judge(r))
	}
}

// target is a ratio or a figure that we hold ourselves to.
type target struct {
	text   string
	sign   string // ≤, ≥ or <
	limit  float64
	figure string // of a measurement
	in     string
	to     string // the contender that ours is divided by, or ""
}

// targets returns them in the order of the table.
func targets() []target {
	all := []target{
		{"CPU per answer, by socket-limit's", "≤", 1.10, cpuFigure, saturation, limit},
		{"CPU per answer, by chrony's", "<", 1, cpuFigure, saturation, chrony},
		{"highest rate, by chrony's", "≥", 1.10, highestFigure, highest, chrony},
		{"|offset error| p50 at saturation, µs", "≤", 10, offsetFigure, saturation, ""},
	}
	for _, m := range []string{open1k, open20k, open100k, saturation} {
		all = append(all, target{"T2−T1 p50 at " + m + ", µs", "≤", 2, receiveFigure, m, ""})
	}
	return append(all, target{"round trip of one socket, by socket-limit -1's", "≤", 1.15, tripFigure, roundTrip, limitOne})
}

// outcome is what became of a target.
type outcome struct {
	Target   string  `json:"target"`
	Sign     string  `json:"sign"`
	Limit    float64 `json:"limit"`
	Measured spread  `json:"measured"`
	Verdict  string  `json:"verdict"`
}

// judge compares the median with the limit.
func (t target) judge(r *results) outcome {
	i := slices.IndexFunc(figures(), func(f figure) bool { return f.measurement == t.in && f.name == t.figure })
	f := figures()[i]
	o := outcome{Target: t.text, Sign: t.sign, Limit: t.limit, Verdict: "not measured"}
	if t.to != "" {
		o.Measured = r.ratios(f, ours, t.to)
	} else {
		var values []float64
		for _, v := range r.values(ours, f) {
			values = append(values, math.Abs(v))
		}
		o.Measured = spreadOf(values)
	}
	if o.Measured.N == 0 {
		return o
	}
	o.Verdict = "falls short"
	if m := o.Measured.Median; t.sign == "≤" && m <= t.limit || t.sign == "<" && m < t.limit || t.sign == "≥" && m >= t.limit {
		o.Verdict = "holds"
	}
	return o
}
