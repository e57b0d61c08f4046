// Command sim runs the scenarios of internal/sim on many seeds and prints, for each, what
// came of it. It exits 1 where a limit was broken, and names the seeds.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/truechimer/truechimer/internal/sim"
)

func main() {
	var (
		seeds   = flag.Uint64("seeds", 200, "run each scenario with the seeds from 1 to this `number`")
		seed    = flag.Uint64("seed", 0, "run this seed alone, and tell what happened")
		only    = flag.String("run", "", "run the scenarios whose names match this `regexp` alone")
		workers = flag.Int("workers", runtime.GOMAXPROCS(0), "how many run at a time")
		trace   = flag.Duration("trace", 0, "with -seed: print a line for every `interval` of simulated time")
	)
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(2)
	}
	var chosen []sim.Scenario
	for _, s := range sim.Scenarios() {
		if pattern.MatchString(s.Name) {
			s.Estimate = true
			chosen = append(chosen, s)
		}
	}
	var broken bool
	if *seed != 0 {
		broken = tellAll(os.Stdout, chosen, *seed, *trace)
	} else {
		broken = table(os.Stdout, chosen, *seeds, *workers)
	}
	if broken {
		os.Exit(1)
	}
}

// tellAll runs one seed of each scenario and tells what happened.
func tellAll(w io.Writer, chosen []sim.Scenario, seed uint64, trace time.Duration) (broken bool) {
	for i := range chosen {
		s := &chosen[i]
		s.Trace = s.Trace || trace > 0
		r := sim.Run(s, seed)
		fmt.Fprintf(w, "%s, seed %d: synchronised at %v, settled at %v\n", s.Name, seed, r.Synced, r.Settled)
		fmt.Fprintf(w, "  error: worst %v, rms %v, of the estimate %v; E: median %v, worst %v; rate %.3f ppm rms\n",
			r.Worst, r.RMSError, r.EstimateError, r.MedianBound, r.WorstBound, r.RateRMS*1e6)
		fmt.Fprintf(w, "  requests %d, samples %d, steps %v, back %v\n", r.Requests, r.Samples, r.Steps, r.Back)
		for _, c := range r.Changes {
			fmt.Fprintf(w, "  %v\n", c)
		}
		next := time.Duration(0)
		for _, o := range r.Trace {
			if trace <= 0 || o.At < next {
				continue
			}
			next = o.At + trace
			fmt.Fprintf(w, "  %12v error %14v E %14v rate %+.4f ppm %v %s\n", o.At.Round(time.Millisecond), o.Error, o.Bound, o.Rate*1e6, o.State, o.Reason)
		}
		if err := s.Judge(r); err != nil {
			broken = true
			fmt.Fprintf(w, "  BROKEN: %v\n", err)
		}
	}
	return broken
}

// row is what came of one scenario.
type row struct {
	results []*sim.Result // by seed, from 1 on
	failed  []uint64
	first   error
}

// columns are those of the table.
const columns = "%-28s %16s %22s %22s %22s %22s %9s %6s %7s\n"

// table runs all seeds of each scenario and prints a line for each.
func table(w io.Writer, chosen []sim.Scenario, seeds uint64, workers int) (broken bool) {
	fmt.Fprintf(w, columns, "scenario", "settled, s", "worst, µs", "rms, µs", "estimate, µs", "median E, µs", "violated", "steps", "failed")
	var complaints []string
	for i := range chosen {
		s := &chosen[i]
		r := run(s, seeds, workers)
		violations, steps := 0, 0
		for _, result := range r.results {
			violations += result.Violations
			steps = max(steps, len(result.Steps))
		}
		fmt.Fprintf(w, columns, s.Name,
			spread(r.results, 1e9, func(r *sim.Result) time.Duration { return r.Settled }),
			spread(r.results, 1e3, func(r *sim.Result) time.Duration { return r.Worst }),
			spread(r.results, 1e3, func(r *sim.Result) time.Duration { return r.RMSError }),
			spread(r.results, 1e3, func(r *sim.Result) time.Duration { return r.EstimateError }),
			spread(r.results, 1e3, func(r *sim.Result) time.Duration { return r.MedianBound }),
			fmt.Sprint(violations), fmt.Sprint(steps), fmt.Sprint(len(r.failed)))
		if len(r.failed) > 0 {
			complaints = append(complaints, fmt.Sprintf("%s: failed with seeds %v; the first of them: %v", s.Name, r.failed, r.first))
		}
	}
	fmt.Fprintf(w, "\nEach figure: median of %d seeds (largest). Violated: looks at which the error was above E.\n", seeds)
	for _, c := range complaints {
		fmt.Fprintln(w, c)
	}
	return len(complaints) > 0
}

// run runs the seeds of one scenario, some at a time.
func run(s *sim.Scenario, seeds uint64, workers int) row {
	r := row{results: make([]*sim.Result, seeds)}
	faults := make([]error, seeds)
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for seed := uint64(worker) + 1; seed <= seeds; seed += uint64(workers) {
				result := sim.Run(s, seed)
				faults[seed-1] = s.Judge(result)
				result.Trace = nil
				r.results[seed-1] = result
			}
		})
	}
	group.Wait()
	for i, err := range faults {
		if err != nil {
			r.failed = append(r.failed, uint64(i)+1)
			r.first = cmp.Or(r.first, err)
		}
	}
	return r
}

// spread returns the median and the largest of a figure.
func spread(results []*sim.Result, unit float64, figure func(*sim.Result) time.Duration) string {
	var all []time.Duration
	for _, r := range results {
		all = append(all, figure(r))
	}
	slices.Sort(all)
	return amount(all[len(all)/2], unit) + " (" + amount(all[len(all)-1], unit) + ")"
}

func amount(d time.Duration, unit float64) string {
	if d == sim.Never {
		return "never"
	}
	x := float64(d) / unit
	digits := 0
	if x != 0 {
		digits = max(0, 2-int(math.Floor(math.Log10(math.Abs(x)))))
	}
	return fmt.Sprintf("%.*f", min(digits, 3), x)
}
