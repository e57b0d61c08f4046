package main

import (
	"math"
	"slices"
	"time"
)

// result is what one run showed. Errors are the truth minus the clock, by amount.
type result struct {
	Scenario, Contender string
	Repeat              int
	Hours               float64
	Samples             int     // that count: after the scenario's settling time
	RMSUs, WorstUs      float64 // of the true error
	// Of the maximum error that the kernel was told, where it counts as synchronised.
	MaxErrorMedianUs, MaxErrorWorstUs float64
	Violations                        int     // samples with a true error beyond that maximum
	ViolationsAll                     int     // the same from the very start
	Unsynchronised                    float64 // share of the samples
	MaxErrorRewritten                 float64 // longest time in which it only grew, seconds
	// Until the error was below a millisecond for good, from the start, from the
	// network's return or from the step by another hand; -1 never.
	WithinSeconds    float64
	Steps, StepsBack int // of the contender's own, and those that went backward
	LastStepSeconds  float64
	EndRateErrorPPM  float64 // of the rate that the clock was left with
	RealSeconds      float64 // what the run took
}

// within is the error that WithinSeconds waits for.
const within = time.Millisecond

// growthUs is what the kernel adds to its maximum error each second by itself.
const growthUs = 500

// The kernel's tick in microseconds, at 100 a second, and what one more is worth.
const (
	tickNominal = 10_000
	ppmPerTick  = 100
)

// kernelUnsynchronised is STA_UNSYNC.
const kernelUnsynchronised = 0x40

// measurement is a result in the making.
type measurement struct {
	result
	scenario       scenario
	squares        float64
	told           []float64 // maximum errors
	unsynchronised int
	grows          growth
	disturbed      float64 // when the time to converge began
	otherHand      bool    // its step has not been seen yet
}

// measure makes the figures of one run from its records.
func measure(s scenario, records []record) result {
	m := measurement{scenario: s}
	for _, r := range records {
		switch {
		case r.Kind == step:
			m.stepped(r)
		case r.Kind == happened && r.Text == string(stepped):
			m.otherHand, m.disturbed, m.WithinSeconds = true, r.Seconds, 0
		case r.Kind == happened && r.Text == string(networkBack):
			m.disturbed, m.WithinSeconds = r.Seconds, 0
		case r.Kind == observed && r.Text == afterEnd:
			want := s.Oscillator.rateAt(seconds(r.Seconds))
			m.EndRateErrorPPM = math.Abs(r.FreqPPM + float64(r.Tick-tickNominal)*ppmPerTick - want)
		case r.Kind == observed:
			m.observed(r)
		}
	}
	m.MaxErrorRewritten = m.grows.longest
	if m.Samples > 0 {
		m.RMSUs = math.Sqrt(m.squares / float64(m.Samples))
		m.Unsynchronised = float64(m.unsynchronised) / float64(m.Samples)
	}
	if len(m.told) > 0 {
		m.MaxErrorMedianUs, m.MaxErrorWorstUs = median(m.told), slices.Max(m.told)
	}
	return m.result
}

func (m *measurement) stepped(r record) {
	if m.otherHand {
		m.otherHand = false
		return
	}
	m.Steps++
	m.LastStepSeconds = r.Seconds
	if r.StepNs < 0 {
		m.StepsBack++
	}
}

func (m *measurement) observed(r record) {
	errorUs := math.Abs(float64(r.OffsetNs)) / 1e3
	if errorUs >= float64(within.Microseconds()) {
		m.WithinSeconds = -1
	} else if m.WithinSeconds < 0 {
		m.WithinSeconds = r.Seconds - m.disturbed
	}
	claims := r.Status&kernelUnsynchronised == 0
	violated := claims && errorUs > float64(r.MaxErrorUs)
	if violated {
		m.ViolationsAll++
	}
	if claims {
		m.grows.add(r)
	} else {
		m.grows.last = record{}
	}
	if r.Seconds < m.scenario.Settle.Seconds() {
		return
	}
	m.Samples++
	m.squares += errorUs * errorUs
	m.WorstUs = max(m.WorstUs, errorUs)
	if violated {
		m.Violations++
	}
	if !claims {
		m.unsynchronised++
		return
	}
	m.told = append(m.told, float64(r.MaxErrorUs))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// growth finds the longest time in which the maximum error only grew as the
// kernel lets it grow, and nobody told it anew.
type growth struct {
	last, since record
	longest     float64
}

func (g *growth) add(r record) {
	seconds := r.Seconds - g.last.Seconds
	grew := r.MaxErrorUs - g.last.MaxErrorUs
	// It adds it at whole seconds, so there may be one more or less between two looks.
	byItself := g.last.Kind != "" && grew > 0 && grew%growthUs == 0 && math.Abs(float64(grew)-growthUs*seconds) <= growthUs
	if !byItself {
		g.since = r
	}
	g.last = r
	g.longest = max(g.longest, r.Seconds-g.since.Seconds)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return math.NaN()
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
