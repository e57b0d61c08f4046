package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// options are what the flags of run say.
type options struct {
	scenarios, contenders []string
	hours                 float64
	repeats               int
	json, keep            string
	timeout               time.Duration
	chronyd               string // directory of the unpacked peers
	ours                  string // a binary in place of the one that is built
	machine               string
	parallel              int
}

func parseOptions(args []string, errOut io.Writer) (options, error) {
	var o options
	var scenarioList, contenderList string
	f := flag.NewFlagSet("rig run", flag.ContinueOnError)
	f.SetOutput(errOut)
	f.StringVar(&scenarioList, "scenario", "wan,loss,asymmetry,lan", "comma-separated `NAMES`, or all; rig list shows them")
	f.StringVar(&contenderList, "contender", strings.Join(contenderNames(), ","), "comma-separated `NAMES`")
	f.Float64Var(&o.hours, "hours", 0, "length of a run; 0: the scenario's own")
	f.IntVar(&o.repeats, "repeats", 1, "runs of each scenario and contender; the contenders take turns")
	f.StringVar(&o.json, "json", "", "write the results to `FILE`, which table reads")
	f.StringVar(&o.keep, "keep", "", "keep the consoles in `DIR`")
	f.DurationVar(&o.timeout, "timeout", 20*time.Minute, "of the host's time, for one run")
	f.StringVar(&o.chronyd, "peers", "", "`DIR` of the unpacked peers (default .cache/peers)")
	f.StringVar(&o.ours, "ours", "", "`FILE` of our binary (default: built from the tree)")
	f.IntVar(&o.parallel, "parallel", 1, "guests at a time: how fast they run changes nothing of what they measure")
	f.StringVar(&o.machine, "machine", "uml", "uml, the fast one, or qemu")
	err := f.Parse(args)
	if err != nil {
		return o, errors.Join(errUsage, err)
	}
	if f.NArg() > 0 || o.repeats < 1 || o.parallel < 1 || o.hours < 0 {
		return o, errUsage
	}
	o.contenders = strings.Split(contenderList, ",")
	o.scenarios = strings.Split(scenarioList, ",")
	if scenarioList == "all" {
		o.scenarios = nil
		for _, s := range scenarios() {
			o.scenarios = append(o.scenarios, s.Name)
		}
	}
	return o, nil
}

func runCommand(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parseOptions(args, progress)
	if err != nil {
		return err
	}
	// Of its own: the tree may be built again while a long comparison runs.
	bin, err := os.MkdirTemp("", "rig-bin-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	ours, err := filepath.Abs(o.ours)
	if o.ours == "" && slices.Contains(o.contenders, "ours") {
		ours, err = buildProgram(ctx, bin, "./cmd/truechimer")
	}
	if err != nil {
		return err
	}
	at, err := hostPrograms(o.chronyd, ours)
	if err != nil {
		return err
	}
	m, err := machineNamed(ctx, o, bin, at, progress)
	if err != nil {
		return err
	}
	results, err := compare(ctx, o, m, at, progress)
	if len(results) > 0 { // of an interrupted comparison too
		err = errors.Join(err, keepResults(o.json, results), writeTable(out, results))
	}
	return err
}

func machineNamed(ctx context.Context, o options, bin string, at programs, progress io.Writer) (machine, error) {
	self, err := buildProgram(ctx, bin, "./hack/rig")
	if err != nil {
		return nil, err
	}
	switch o.machine {
	case "uml":
		kernel, err := buildKernel(ctx, progress)
		return newUML(kernel, self, o.timeout, o.parallel), err
	case "qemu":
		q, err := bringQemu(ctx, at)
		q.self, q.timeout = self, o.timeout
		return q, err
	default:
		return nil, fmt.Errorf("no machine %q: there are uml and qemu", o.machine)
	}
}

// hostPrograms are the contenders as the host has them, which a guest with the
// host's root can start.
func hostPrograms(peers, ours string) (programs, error) {
	if peers == "" {
		root, err := repository()
		if err != nil {
			return programs{}, err
		}
		peers = filepath.Join(root, ".cache", "peers")
	}
	peers, err := filepath.Abs(peers)
	if err != nil {
		return programs{}, err
	}
	chronyd := filepath.Join(peers, "usr/sbin/chronyd")
	_, err = os.Stat(chronyd)
	if err != nil {
		return programs{}, fmt.Errorf("no chronyd to compare with: %w: run go run ./hack/cmd/peers .cache/peers", err)
	}
	libraries, err := filepath.Glob(filepath.Join(peers, "usr/lib/*-linux-*"))
	return programs{chronyd: chronyd, libraries: strings.Join(libraries, ":"), ours: ours}, err
}

// compare does everything once, then again: what changes on the host in the
// meantime changes for all contenders alike. After a failure it begins nothing
// more and returns what it has.
func compare(ctx context.Context, o options, m machine, at programs, progress io.Writer) ([]result, error) {
	jobs, err := o.jobs()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make([]*result, len(jobs))
	next := make(chan int)
	var workers sync.WaitGroup
	for range o.parallel {
		workers.Go(func() {
			for i := range next {
				r, err := jobs[i].run(ctx, m, at, o.keep)
				if err != nil {
					cancel(fmt.Errorf("%s: %w", jobs[i], err)) // the first is the cause
					return
				}
				done[i] = &r
				fmt.Fprintf(progress, "rig: %s: rms %.1f µs, worst %.0f; maxerror %.0f, violated %d; below 1 ms after %.0f s; steps %d; took %.0f s\n",
					jobs[i], r.RMSUs, r.WorstUs, r.MaxErrorMedianUs, r.Violations, r.WithinSeconds, r.Steps, r.RealSeconds)
			}
		})
	}
	for i := range jobs {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	workers.Wait()
	var results []result
	for _, r := range done {
		if r != nil {
			results = append(results, *r)
		}
	}
	return results, context.Cause(ctx)
}

// jobs are all that the flags ask for, in the order in which they are done.
func (o options) jobs() ([]job, error) {
	var jobs []job
	for repeat := range o.repeats {
		for _, name := range o.scenarios {
			s, err := scenarioNamed(name)
			if err != nil {
				return nil, err
			}
			d := s.Duration
			if o.hours > 0 {
				d = time.Duration(o.hours * float64(time.Hour))
			}
			for _, c := range o.contenders {
				jobs = append(jobs, job{scenario: s, contender: c, repeat: repeat + 1, duration: d})
			}
		}
	}
	return jobs, nil
}

// job is one contender in one scenario, once.
type job struct {
	scenario  scenario
	contender string
	repeat    int
	duration  time.Duration
}

func (j job) String() string { return fmt.Sprintf("%s-%s-%d", j.scenario.Name, j.contender, j.repeat) }

// run does the job in a fresh guest. Where keep names a directory its console stays there.
func (j job) run(ctx context.Context, m machine, at programs, keep string) (result, error) {
	start := time.Now()
	found, err := j.records(ctx, m, at, keep)
	if err != nil {
		return result{}, err
	}
	r := measure(j.scenario, found)
	r.Scenario, r.Contender, r.Repeat, r.Hours = j.scenario.Name, j.contender, j.repeat, j.duration.Hours()
	r.RealSeconds = time.Since(start).Seconds()
	return r, nil
}

func (j job) records(ctx context.Context, m machine, at programs, keep string) ([]record, error) {
	p := planFor(j.scenario, j.duration, j.repeat)
	var err error
	p.Contender, err = contenderFor(j.contender, p, at)
	if err != nil {
		return nil, err
	}
	console, err := m.run(ctx, p)
	if keep != "" {
		err = errors.Join(err, os.MkdirAll(keep, 0o755), os.WriteFile(filepath.Join(keep, j.String()+".log"), console, 0o644))
	}
	var found []record
	if err == nil {
		found, err = readRecords(bytes.NewReader(console))
	}
	if err != nil {
		return nil, fmt.Errorf("%w; its console ends:\n%s", err, tail(string(console)))
	}
	return found, nil
}

func keepResults(file string, results []result) error {
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(results, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
