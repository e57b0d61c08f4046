package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/load"
	"github.com/truechimer/truechimer/internal/upstream"
)

func newBench(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "bench", Short: "Measure what a server and a network can do", Args: subcommandOnly, RunE: helpOnly}
	cmd.AddCommand(newBenchNTP(c), newBenchAPI(c))
	return cmd
}

// benchFlags are the options as they are written.
type benchFlags struct {
	load.Options
	seconds float64
	version int
	sweep   bool
	public  times
}

// times counts how often a flag without a value is given.
type times int

// Set implements pflag.Value.
func (n *times) Set(value string) error {
	if value != timesFlag {
		return errors.New("it takes no value")
	}
	*n++
	return nil
}

// String implements pflag.Value.
func (n *times) String() string { return strconv.Itoa(int(*n)) }

// Type implements pflag.Value: to a reader of the help it is like any other flag without a value.
func (n *times) Type() string { return "bool" }

// timesFlag is what Set gets where there is no value.
const timesFlag = "true"

func newBenchNTP(c *client) *cobra.Command {
	f := benchFlags{Options: load.Defaults()}
	cmd := &cobra.Command{
		Use:   "ntp HOST",
		Short: "Load an NTP server of your own, and measure its answers",
		Long: `Sends requests to one NTP server as fast as asked, checks every answer, and prints how
many came, how many did not, and how long they took.

The loop is closed by default: --window requests are in flight on each of --sockets
source ports, and an answer lets the next one go. With --rate it is open: so many in
a second leave, whatever comes back. With --sweep one open loop follows another to
find the highest rate with a loss below --max-loss.

An answer counts if it is a header and no more, of mode 4 and the version asked with,
carries the unpredictable transmit timestamp of a request that is outstanding on that
very socket, comes within --timeout and for the first time, and has T2 and T3 in
order. All else is counted under a name of its own; a request without an answer that
counts is a loss.

T1 is read just before a batch is sent, T4 is the kernel's receive timestamp where it
can be had. The offset, and T2-T1, are the server's error only where it reads the same
clock as this program, as on the same host.

Load on a server that is not yours is an attack. Addresses that are neither loopback,
nor private, nor IPv6 link-local are refused, unless --public is given twice.

Exit code 3 when nothing came back. A loss is a result, and no failure.`,
		Example: "  truechimer bench ntp 127.0.0.1:11123\n  truechimer bench ntp --rate 50000 10.0.0.5\n  truechimer bench ntp --sweep --seconds 2 10.0.0.5",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := exactArgs("HOST")(cmd, args); err != nil {
				return err
			}
			_, _, err := upstream.ParseHost(args[0])
			if err != nil {
				return usage(err)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.complete(cmd); err != nil {
				return usage(err)
			}
			return c.benchNTP(cmd.Context(), args[0], f)
		},
	}
	f.register(cmd)
	return cmd
}

// register declares the flags.
func (f *benchFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.IntVar(&f.Sockets, "sockets", f.Sockets, "sockets, each with a source port of its own")
	flags.IntVar(&f.Window, "window", f.Window, "closed loop: requests in flight on each socket")
	flags.Float64Var(&f.Rate, "rate", 0, "open loop: requests in a second")
	flags.IntVar(&f.Batch, "batch", f.Batch, "requests in one system call, at most")
	flags.IntVar(&f.Threads, "threads", f.Threads, "threads that share the sockets, up to the number of cores")
	flags.Float64Var(&f.seconds, "seconds", f.Duration.Seconds(), "how long to measure; with --sweep, each step")
	flags.DurationVar(&f.Warmup, "warmup", f.Warmup, "time before that, which does not count")
	flags.DurationVar(&f.Timeout, "timeout", f.Timeout, "how long an answer may take")
	flags.IntVar(&f.version, "ntp-version", int(f.Version), "version of NTP to ask with, 1 to 4")
	flags.BoolVar(&f.sweep, "sweep", false, "find the highest rate that the server holds")
	flags.Float64Var(&f.MinRate, "min-rate", f.MinRate, "sweep: requests in a second to begin with")
	flags.Float64Var(&f.MaxRate, "max-rate", f.MaxRate, "sweep: requests in a second to end at")
	flags.Float64Var(&f.Factor, "factor", f.Factor, "sweep: from one step to the next")
	flags.Float64Var(&f.MaxLossPercent, "max-loss", f.MaxLossPercent, "sweep: a rate is held with a loss below this, in percent")
	flags.Float64Var(&f.ResolutionPercent, "resolution", f.ResolutionPercent, "sweep: how near to the limit it ends, in percent")
	flags.Var(&f.public, "public", "given twice: allow a public address, of a server that is yours")
	flags.Lookup("public").NoOptDefVal = timesFlag
}

// complete makes options of the flags, and returns what is wrong with them.
func (f *benchFlags) complete(cmd *cobra.Command) error {
	given := cmd.Flags().Changed
	switch {
	case f.sweep && given("rate"):
		return errors.New("--sweep and --rate exclude each other: a sweep takes its rates from --min-rate to --max-rate")
	case f.sweep:
		f.Loop = load.Sweep
	case given("rate"):
		f.Loop = load.Open
	}
	if f.Loop != load.Closed && given("window") {
		return errors.New("--window is for the closed loop: with --rate and --sweep requests leave whatever comes back")
	}
	for _, name := range []string{"min-rate", "max-rate", "factor", "max-loss", "resolution"} {
		if given(name) && !f.sweep {
			return fmt.Errorf("--%s is for --sweep", name)
		}
	}
	if f.Loop != load.Open {
		f.Rate = load.Defaults().Rate
	}
	f.Duration = time.Duration(math.MaxInt64) // out of range, whatever does not fit
	if math.Abs(f.seconds) < 1e9 {
		f.Duration = time.Duration(f.seconds * 1e9)
	}
	f.Version = uint8(min(max(f.version, 0), math.MaxUint8))
	if err := f.Check(); err != nil {
		return fmt.Errorf("--%w", err)
	}
	return nil
}

// publicRefused says to who has not said it twice why a public address is refused.
func publicRefused(err error, given times) error {
	if given == 0 {
		return usage(fmt.Errorf("%w; if the server, and the network on the way to it, are yours to load, say --public twice", err))
	}
	return usage(fmt.Errorf("%w; say --public once more if it is yours", err))
}

var errInterrupted = errors.New("interrupted before anything was measured")

func (c *client) benchNTP(ctx context.Context, host string, f benchFlags) error {
	servers, err := upstream.Resolve(ctx, host)
	switch {
	case err != nil && ctx.Err() != nil:
		return errInterrupted
	case err != nil:
		return exitError{exitUnreachable, err}
	}
	f.Servers, f.Public = servers, f.public >= 2
	progress, erase := c.benchProgress(f.Options)
	result, err := load.Run(ctx, f.Options, progress)
	erase()
	switch {
	case errors.Is(err, load.ErrPublic):
		return publicRefused(err, f.public)
	case errors.Is(err, load.ErrNoHost):
		return usage(err)
	case result.Interrupted && len(result.Steps) == 0:
		return errInterrupted
	case errors.Is(err, load.ErrNoAnswer):
		return unanswered(host, err)
	case err != nil:
		return err
	}
	if c.json {
		err = json.NewEncoder(c.out).Encode(benchForPrograms(&f.Options, &result))
	} else {
		err = writeBench(c.out, &f.Options, &result, c.width())
	}
	if err == nil && !result.Heard() {
		return unanswered(host, load.ErrNoAnswer)
	}
	return err
}

// unanswered says what to look at where nothing came back.
func unanswered(host string, err error) error {
	return exitError{exitUnreachable, fmt.Errorf("no answer from %s: %w; does an NTP server listen there (see truechimer query %[1]s), and does every firewall on the way let it answer?", host, err)}
}

// benchProgress returns what shows how a run is doing on a terminal, in one line, and what erases it.
// For what takes no more than a second, and where nobody looks, both do nothing.
func (c *client) benchProgress(o load.Options) (show func(load.Progress), erase func()) {
	looking := streams{out: c.err}.terminal()
	if !looking || o.Loop != load.Sweep && o.Warmup+o.Duration <= time.Second {
		return nil, func() {}
	}
	return progressOnto(c.err)
}

// progressOnto draws on a terminal.
func progressOnto(out io.Writer) (show func(load.Progress), erase func()) {
	const eraseLine = "\r\x1b[K"
	show = func(p load.Progress) { fmt.Fprintf(out, "%s%s", eraseLine, progressText(p)) }
	return show, func() { fmt.Fprint(out, eraseLine) }
}

// progressText is how a run is doing, on one line.
func progressText(p load.Progress) string {
	what := "closed loop"
	if p.Wanted > 0 {
		what = fmt.Sprintf("step %d, %.0f/s", p.Step, p.Wanted)
	}
	return fmt.Sprintf("%s: %.1f of %.1f s, %.0f sent/s, %.0f answered/s", what, min(p.Elapsed, p.Lasts).Seconds(), p.Lasts.Seconds(), p.Sent, p.Answered)
}
