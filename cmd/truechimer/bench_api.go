package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/spf13/cobra"

	api "github.com/truechimer/truechimer/hlc/client"
	"github.com/truechimer/truechimer/internal/load"
)

func newBenchAPI(c *client) *cobra.Command {
	o := load.APIDefaults()
	seconds := o.Duration.Seconds()
	cmd := &cobra.Command{
		Use:   "api",
		Short: "Load the API of an appliance, and measure its answers",
		Long: `Has --callers ask an appliance for timestamps, each --batch at a time and one call after
the other, through one client as a program would have it: what they ask at about the
same time goes in one message. With --stream they append events of --payload bytes
to that stream instead, --batch at a time; the events stay there.

Prints the rate, how many calls failed, and how long they took. Exit code 3 when the
appliance does not answer.`,
		Example: "  truechimer bench api\n  truechimer bench api --callers 1\n  truechimer bench api --stream bench --callers 64 --seconds 10",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Duration = time.Duration(math.MaxInt64) // out of range, whatever does not fit
			if math.Abs(seconds) < 1e9 {
				o.Duration = time.Duration(seconds * 1e9)
			}
			if cmd.Flags().Changed("payload") && o.Stream == "" {
				return usage(errors.New("--payload is for events: name a --stream to append them to"))
			}
			if err := o.Check(); err != nil {
				return usage(fmt.Errorf("--%w", err))
			}
			return c.benchAPI(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Callers, "callers", o.Callers, "that ask at the same time")
	f.IntVar(&o.Batch, "batch", o.Batch, "timestamps, or events, of one call")
	f.StringVar(&o.Stream, "stream", "", "append to this stream")
	f.IntVar(&o.Payload, "payload", o.Payload, "bytes of each event")
	f.Float64Var(&seconds, "seconds", seconds, "how long to measure")
	f.DurationVar(&o.Warmup, "warmup", o.Warmup, "time before that, which does not count")
	return cmd
}

func (c *client) benchAPI(ctx context.Context, run load.APIOptions) error {
	o, err := c.options()
	if err != nil {
		return usage(err)
	}
	appliance, err := api.New(o)
	if err != nil {
		return usage(err)
	}
	defer appliance.Close()
	progress := c.progress()
	r, err := load.RunAPI(ctx, appliance, run, func(p load.APIProgress) {
		progress.show(func() string {
			return fmt.Sprintf("%.1f of %.1f s, %.0f %s/s", p.Elapsed.Seconds(), p.Lasts.Seconds(), p.Items, itemsOf(&run))
		})
	})
	progress.erase()
	switch {
	case r.Interrupted && r.Calls == 0:
		return errInterrupted
	case errors.Is(err, api.ErrUnreachable):
		return exitError{exitUnreachable, err}
	case err != nil:
		return err
	case c.json:
		return c.printValue(benchAPIForPrograms(c.address, &run, &r))
	}
	return writeBenchAPI(c.out, c.address, &run, &r, c.width())
}

// itemsOf says what is counted.
func itemsOf(o *load.APIOptions) string {
	if o.Stream != "" {
		return "events"
	}
	return "timestamps"
}

// writeBenchAPI prints what a run has measured.
func writeBenchAPI(out io.Writer, address string, o *load.APIOptions, r *load.APIResult, width int) error {
	p := &benchPrinter{out: out, width: width}
	p.printf("%s, %d callers, %d %s a call\n", address, o.Callers, o.Batch, itemsOf(o))
	if r.Interrupted {
		p.printf("interrupted: these are the figures until then\n")
	}
	p.printf("\n")
	p.row("rate", "%.0f %s/s: %d calls in %.2f s", r.PerSecond(r.Items), itemsOf(o), r.Calls, r.Measured.Seconds())
	if r.Failed > 0 {
		p.row("failed", "%d calls, one of them with: %v", r.Failed, r.Failure)
	}
	if r.CPU > 0 && r.Measured > 0 {
		p.row("client", "on %.2f cores", r.CPU.Seconds()/r.Measured.Seconds())
	}
	if r.Calls > 0 {
		p.spreadHead()
		p.spread("a call", r.Took)
	}
	return p.err
}

// benchAPIJSON is a run for programs.
type benchAPIJSON struct {
	Server          string     `json:"server"`
	Callers         int        `json:"callers"`
	Batch           int        `json:"batch"`
	Stream          string     `json:"stream,omitempty"`
	PayloadBytes    int        `json:"payloadBytes,omitempty"`
	MeasuredSeconds float64    `json:"measuredSeconds"`
	Interrupted     bool       `json:"interrupted"`
	Calls           uint64     `json:"calls"`
	CallsPerSecond  float64    `json:"callsPerSecond"`
	Items           uint64     `json:"items"` // timestamps or events
	ItemsPerSecond  float64    `json:"itemsPerSecond"`
	Failed          uint64     `json:"failed"`
	Failure         string     `json:"failure,omitempty"`
	CPUSeconds      float64    `json:"cpuSeconds"`
	CallNs          spreadJSON `json:"callNs"`
}

func benchAPIForPrograms(address string, o *load.APIOptions, r *load.APIResult) benchAPIJSON {
	b := benchAPIJSON{
		Server: address, Callers: o.Callers, Batch: o.Batch, Stream: o.Stream,
		MeasuredSeconds: r.Measured.Seconds(), Interrupted: r.Interrupted,
		Calls: r.Calls, CallsPerSecond: r.PerSecond(r.Calls), Items: r.Items, ItemsPerSecond: r.PerSecond(r.Items),
		Failed: r.Failed, CPUSeconds: r.CPU.Seconds(), CallNs: spreadJSON(r.Took),
	}
	if o.Stream != "" {
		b.PayloadBytes = o.Payload
	}
	if r.Failure != nil {
		b.Failure = r.Failure.Error()
	}
	return b
}
