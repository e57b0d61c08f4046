package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/rpc"
)

// pageMax is what one call to read returns at the most.
const pageMax = 10_000

func newRead(c *client) *cobra.Command {
	var r reading
	cmd := &cobra.Command{
		Use:   "read STREAM",
		Short: "Read the events of a stream",
		Long: `Prints the events of a stream in their order: sequence, timestamp and payload. A payload
that is no printable text is quoted; --raw prints payloads alone and as they are, each
with a line end behind it. With --json each event is a line, as the API has it: the
payload is base64.

--from and --to are sequences, --since and --until instants: ` + instantWords + `
All of them are included, and go together. --last are the last N of what they leave.`,
		Example: `  truechimer read chat --last 10
  truechimer read orders --since 2026-11-22T06:00:00Z --until 2026-11-22T06:05:00Z --json
  truechimer read orders --until 1795330930123457041 --last 1`,
		Args: exactArgs("STREAM"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.request.Stream = args[0]
			if r.raw && c.json {
				return usage(errors.New("--raw and --json exclude each other"))
			}
			if err := r.check(cmd.Flags().Changed("last"), cmd.Flags().Changed("limit")); err != nil {
				return usage(err)
			}
			r.request.Since, r.request.Until = uint64(r.since.first), uint64(r.until.last)
			return c.read(cmd.Context(), &r)
		},
	}
	cmd.Flags().Uint64Var(&r.request.From, "from", 0, "first sequence")
	cmd.Flags().Uint64Var(&r.request.To, "to", 0, "last sequence")
	cmd.Flags().Var(&r.since, "since", "first instant")
	cmd.Flags().Var(&r.until, "until", "last instant")
	cmd.Flags().Uint64Var(&r.last, "last", 0, "only the last N")
	cmd.Flags().BoolVar(&r.request.Reverse, "reverse", false, "the last one first")
	cmd.Flags().Uint64Var(&r.limit, "limit", 0, "at the most N; all without it")
	cmd.Flags().BoolVar(&r.raw, "raw", false, "payloads alone")
	return cmd
}

// reading is what a read goes by.
type reading struct {
	request      rpc.ReadRequest
	since, until instantFlag
	last, limit  uint64 // 0: not given
	raw          bool
}

// check fails on flags that make no sense.
func (r *reading) check(last, limit bool) error {
	switch {
	case last && r.last == 0:
		return errors.New("--last is 0; want 1 or more")
	case limit && r.limit == 0:
		return errors.New("--limit is 0; want 1 or more, or leave it out for all")
	case last && limit:
		return errors.New("--last and --limit exclude each other: --last 10 are the last ten, --limit 10 the first ten")
	case last && r.request.Reverse:
		return errors.New("--last and --reverse exclude each other; for the last ten, the last one first, say --reverse --limit 10")
	case r.request.To > 0 && r.request.From > r.request.To:
		return fmt.Errorf("--from %d is behind --to %d", r.request.From, r.request.To)
	case r.until.text != "" && r.since.first > r.until.last:
		return fmt.Errorf("--since %s is behind --until %s", r.since.text, r.until.text)
	}
	return nil
}

// read prints what is asked for, a page after the other.
func (c *client) read(ctx context.Context, r *reading) error {
	if r.last > 0 {
		found, err := c.narrow(ctx, r)
		if err != nil || !found {
			return err
		}
	}
	p := c.eventPrinter(r.raw)
	for left := r.limit; ; {
		request := &r.request
		size := int64(pageMax)
		if r.limit > 0 && left < pageMax {
			size = int64(left)
		}
		request.Limit = &size
		page, err := call(ctx, c, c.stream().Read, request)
		if err != nil {
			return err
		}
		if err := p.print(page.Events); err != nil {
			return err
		}
		left -= uint64(len(page.Events))
		if page.Cursor == "" || r.limit > 0 && left == 0 {
			return nil
		}
		request.Cursor = page.Cursor
	}
}

// narrow makes of the last N events a range of sequences: a stream is gapless. It reports
// whether there are any.
func (c *client) narrow(ctx context.Context, r *reading) (found bool, err error) {
	one := int64(1)
	page, err := call(ctx, c, c.stream().Read, &rpc.ReadRequest{
		Stream: r.request.Stream, From: r.request.From, To: r.request.To, Since: r.request.Since, Until: r.request.Until, Reverse: true, Limit: &one,
	})
	if err != nil || len(page.Events) == 0 {
		return false, err
	}
	r.request.To = page.Events[0].Sequence
	if first := max(r.request.From, page.Stream.GetFirst(), 1); r.request.To-first >= r.last {
		r.request.From = r.request.To - r.last + 1
	} else {
		r.request.From = first
	}
	return true, nil
}

// eventPrinter prints events, as many as there are together.
type eventPrinter struct {
	c     *client
	out   *bufio.Writer
	raw   bool
	named bool // with the name of the stream
}

func (c *client) eventPrinter(raw bool) *eventPrinter {
	return &eventPrinter{c: c, out: bufio.NewWriterSize(c.out, 64<<10), raw: raw}
}

// print prints events and leaves nothing unwritten.
func (p *eventPrinter) print(events []*rpc.Event) error {
	for _, e := range events {
		if err := p.one(e); err != nil {
			return err
		}
	}
	return p.out.Flush()
}

func (p *eventPrinter) one(e *rpc.Event) error {
	switch {
	case p.c.json:
		return writeJSON(p.out, e)
	case p.raw:
		_, _ = p.out.Write(e.Payload) // a Writer keeps its error
		return p.out.WriteByte('\n')
	default:
		return writeEvent(p.out, e, p.named)
	}
}

// writeEvent prints an event on a line.
func writeEvent(out io.Writer, e *rpc.Event, named bool) error {
	name := ""
	if named {
		name = e.Stream + "  "
	}
	_, err := fmt.Fprintf(out, "%s%d  %s  %s\n", name, e.Sequence, timestampWords(e.Timestamp), payloadWords(e.Payload))
	return err
}
