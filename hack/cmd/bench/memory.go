package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	sourcesMax  = 1 << 23 // 127.128.0.0/9
	sampleEvery = 20      // samples of a whole run
	sampleFirst = 2       // those before it are of a table that still fills
	flatWithin  = 0.05    // of the median
	floodWindow = 128     // requests in flight
)

// floodOptions say what is sent, and who is told how far it is.
type floodOptions struct {
	to                int // port on 127.0.0.1
	cpu               int
	requests, sources int
	each              func(part int) error // after each part of sampleEvery
}

// floodCounts is what came back.
type floodCounts struct {
	Sent     uint64 `json:"sent"`
	Answered uint64 `json:"answered"`
	Kissed   uint64 `json:"kissed"`
	Lost     uint64 `json:"lost"` // not answered in time
}

// memoryResult is one measurement of memory.
type memoryResult struct {
	Machine  machine           `json:"machine"`
	Requests int               `json:"requests"`
	Sources  int               `json:"sources"`
	Seconds  float64           `json:"seconds"`
	Resident []int64           `json:"residentBytes"` // each 5 %, from 10 % on
	Flat     bool              `json:"flat"`
	Within   float64           `json:"within"` // largest distance from the median, as a fraction of it
	Client   floodCounts       `json:"client"`
	Verdicts map[string]uint64 `json:"verdicts"` // as the server counts them
}

// sourceOf returns the address of a request: every source once in each pass, in an
// order in which neighbours are far apart.
func sourceOf(request, sources int) [4]byte {
	n := uint64(request) * stride(sources) % uint64(sources)
	return [4]byte{127, byte(128 | n>>16), byte(n >> 8), byte(n)}
}

// stride is a number near the golden section of n, without a common divisor with it.
func stride(n int) uint64 {
	for s := uint64(float64(n)*0.618) + 1; ; s++ {
		a, b := s, uint64(n)
		for b != 0 {
			a, b = b, a%b
		}
		if a == 1 {
			return s
		}
	}
}

// flatness is the largest distance of a sample from the median, as a fraction of it.
func flatness(samples []int64) float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, float64(s))
	}
	s := spreadOf(values)
	if s.Median == 0 {
		return 0
	}
	return max(s.Most-s.Median, s.Median-s.Least) / s.Median
}

// measureMemory floods ours from many addresses and watches its memory.
func measureMemory(ctx context.Context, o *options) error {
	if err := buildOurs(ctx, o); err != nil {
		return err
	}
	c := oursOf(o)
	s, err := start(ctx, o, c)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := s.awaitStatus(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, s.log.String())
	}
	r := &memoryResult{Machine: thisMachine(), Requests: o.Requests, Sources: o.Sources}
	begun := time.Now()
	r.Client, err = flood(ctx, floodOptions{
		to: s.port, cpu: o.LoadCPU, requests: o.Requests, sources: o.Sources,
		each: func(part int) error {
			bytes, err := residentBytes(s.pid())
			if err != nil {
				return err
			}
			o.say("%3d %% after %v: %.1f MB", part*100/sampleEvery, time.Since(begun).Round(time.Second), float64(bytes)/1e6)
			if part >= sampleFirst {
				r.Resident = append(r.Resident, bytes)
			}
			return nil
		},
	})
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, s.log.String())
	}
	r.Seconds = time.Since(begun).Seconds()
	if r.Verdicts, err = s.verdicts(ctx); err != nil {
		return err
	}
	r.Within = flatness(r.Resident)
	r.Flat = r.Within <= flatWithin
	if o.JSON != "-" {
		writeMemory(o, r, c)
	}
	return writeJSON(o, r)
}

// awaitStatus waits until ours tells its status.
func (s *server) awaitStatus(ctx context.Context) error {
	for begun := time.Now(); ; {
		_, err := s.verdicts(ctx)
		if err == nil {
			return wait(ctx, settle)
		}
		if time.Since(begun) > answerWithin || ctx.Err() != nil {
			return err
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// writeMemory prints a measurement of memory for people.
func writeMemory(o *options, r *memoryResult, c *contender) {
	least, most := r.Resident[0], r.Resident[0]
	for _, bytes := range r.Resident {
		least, most = min(least, bytes), max(most, bytes)
	}
	verdict := "falls short"
	if r.Flat {
		verdict = "holds"
	}
	fmt.Fprintf(o.out, "%s (%s)\n", ours, c.What)
	writeTable(o.out, [][]cell{
		{"requests sent", fmt.Sprint(r.Client.Sent)},
		{"from addresses", fmt.Sprint(r.Sources)},
		{"answers received", fmt.Sprint(r.Client.Answered)},
		{"kisses of death received", fmt.Sprint(r.Client.Kissed)},
		{"not answered in time", fmt.Sprint(r.Client.Lost)},
		{"seconds", number(r.Seconds, 1)},
		{"resident memory, least, MB", number(float64(least)/1e6, 2)},
		{"resident memory, most, MB", number(float64(most)/1e6, 2)},
	})
	fmt.Fprintf(o.out, "the server counts: %v\n", r.Verdicts)
	fmt.Fprintf(o.out, "flat within 5 %% of the median, each 5 %% from 10 %% on: %.2f %%: %s\n", 100*r.Within, verdict)
}
