// Command bench compares NTP servers side by side on this machine, each on one
// CPU, over loopback, and prints how ours stands. hack/bench builds and starts it,
// and hack/README.md says how to read what it prints.
//
//	hack/bench [flags]            the comparison
//	hack/bench --memory [flags]   ours alone, under a million clients
//
// The generator of the load and the barest server are C programs, ntpload.c and
// socket-limit.c, in the directory that --tools or TRUECHIMER_TOOLS names.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options are what the flags say.
type options struct {
	Tools, Peers string

	Rounds, SweepRounds  int
	Burst, Warmup        time.Duration
	SweepBurst           time.Duration
	ServerCPU, LoadCPU   int
	Nice, ServerFIFO     int
	LoadFIFO             int
	Plain                bool
	Memory               bool
	Requests, Sources    int
	JSON                 string
	out, progress        io.Writer
	build, work, program string // what is built, what is thrown away, ours
}

// realTimeMax is how long the kernel lets a process run on at real-time priority
// (sched_rt_runtime_us, by default).
const realTimeMax = 950 * time.Millisecond

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func parse(args []string) (*options, error) {
	o := &options{out: os.Stdout, progress: os.Stderr}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.Tools, "tools", cmp.Or(os.Getenv("TRUECHIMER_TOOLS"), "../shared/tools"), "directory of ntpload.c and socket-limit.c")
	f.StringVar(&o.Peers, "peers", cmp.Or(os.Getenv("TRUECHIMER_PEERS"), ".cache/peers"), "directory of the unpacked chronyd")
	f.IntVar(&o.Rounds, "rounds", 9, "rounds; the figures are medians over them")
	f.DurationVar(&o.Burst, "burst", 800*time.Millisecond, "measured time of a burst of load")
	f.DurationVar(&o.Warmup, "warmup", 100*time.Millisecond, "time before it")
	f.IntVar(&o.SweepRounds, "sweep-rounds", 3, "rounds that also look for the highest rate, which is slow; 0 leaves it out")
	f.DurationVar(&o.SweepBurst, "sweep-burst", 300*time.Millisecond, "measured time of one rate of the sweep")
	f.IntVar(&o.ServerCPU, "server-cpu", 0, "CPU that the server is pinned to")
	f.IntVar(&o.LoadCPU, "load-cpu", 1, "CPU that the generator is pinned to")
	f.IntVar(&o.Nice, "nice", -20, "niceness of the servers")
	f.IntVar(&o.ServerFIFO, "server-fifo", 0, "SCHED_FIFO priority of the servers in place of the niceness: a Go program may hang so")
	f.IntVar(&o.LoadFIFO, "load-fifo", 50, "SCHED_FIFO priority of the generator; 0 is none")
	f.BoolVar(&o.Plain, "plain", false, "ours without access control, limiter and interleaved mode")
	f.BoolVar(&o.Memory, "memory", false, "measure the memory of ours under many clients instead")
	f.IntVar(&o.Requests, "requests", 10_000_000, "with --memory: requests")
	f.IntVar(&o.Sources, "sources", 1_000_000, "with --memory: addresses that they come from")
	f.StringVar(&o.JSON, "json", "", "write everything to this file too; - is standard output in place of the tables")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case f.NArg() > 0:
		return nil, fmt.Errorf("unknown argument %q (the Go benchmarks are `hack/bench go`)", f.Arg(0))
	case o.Rounds < 1 || o.SweepRounds < 0 || o.Burst <= 0 || o.SweepBurst <= 0 || o.Warmup < 0:
		return nil, errors.New("rounds and times must be positive")
	case o.LoadFIFO > 0 && max(o.Burst, o.SweepBurst)+o.Warmup > realTimeMax:
		return nil, fmt.Errorf("a burst and its warm-up last %v at most: then the kernel stops a real-time generator", realTimeMax)
	case o.Requests < 20 || o.Sources < 1 || o.Sources > sourcesMax:
		return nil, fmt.Errorf("--requests is at least 20, --sources 1 to %d", sourcesMax)
	case o.ServerCPU == o.LoadCPU:
		return nil, errors.New("the server and the generator need a CPU each")
	}
	return o, nil
}

// run makes one comparison or one measurement of memory, and prints it.
func run(ctx context.Context, o *options) (err error) {
	if err := mayNotSetClock(); err != nil {
		return err
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	if _, err := os.Stat("hack/cmd/bench"); err != nil {
		return errors.New("run it in the top of the tree, as hack/bench does")
	}
	o.build = filepath.Join(root, ".cache", "bench")
	if err := os.MkdirAll(o.build, 0o755); err != nil {
		return err
	}
	if o.work, err = os.MkdirTemp("", "truechimer-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.work)) }()
	if o.Memory {
		return measureMemory(ctx, o)
	}
	b, err := prepare(ctx, o)
	if err != nil {
		return err
	}
	r, err := b.compare(ctx)
	if err != nil {
		return err
	}
	if o.JSON != "-" {
		writeReport(o.out, r)
	}
	return writeJSON(o, r)
}

// say prints a line of progress.
func (o *options) say(format string, args ...any) { fmt.Fprintf(o.progress, format+"\n", args...) }
