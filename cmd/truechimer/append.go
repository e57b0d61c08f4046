package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
)

// payloadLenMax is what the server takes in one event.
const payloadLenMax = 1 << 20

func newAppend(c *client) *cobra.Command {
	var a appending
	var expect uint64
	var lines bool
	cmd := &cobra.Command{
		Use:   "append STREAM [PAYLOAD...]",
		Short: "Append events to a stream",
		Long: `Appends one event for each payload, all of them or none, and prints the sequence and the
timestamp of each: they are durable then. Without a payload it is what standard input
holds, as a whole. A stream that does not exist is created.

--lines appends a line of standard input as an event each, without its end: those that
have come by then together, up to 1000 at a time. What has been appended when it
fails is said.

--expect makes it conditional: nothing is appended unless N is the sequence of the
stream's last event, 0 where it never had one. With --lines that binds the whole input:
no event of others comes in between.

--key makes it safe to repeat: for 24 hours, another append with the same key, the same
stream and the same payloads is answered with what the first one was, and appends
nothing. With --lines, each 1000 lines have a key of their own, the given one with the
number of their first line, and wait until they are complete: with the same input and
key, a run that failed goes on where it was when it is repeated.`,
		Example: `  truechimer append chat 'deploy now?'
  truechimer append chat --observe 2026-11-22T06:42:10.123456512Z+0017 yes
  journalctl -f -o json | truechimer append --lines journal
  truechimer append --key "$(uuidgen)" payments <order.json`,
		Args: atLeast("STREAM"),
		RunE: func(cmd *cobra.Command, args []string) error {
			a.stream = args[0]
			if cmd.Flags().Changed("expect") {
				a.expected = &expect
			}
			if err := a.checkKey(lines); err != nil {
				return usage(err)
			}
			if !lines {
				payloads, err := c.payloads(cmd.Context(), args[1:])
				if err != nil {
					return err
				}
				return c.append(cmd.Context(), &a, payloads)
			}
			if len(args) > 1 {
				return usage(errors.New("--lines takes its payloads from standard input, and no arguments besides the stream"))
			}
			return c.appendLines(cmd.Context(), &a)
		},
	}
	cmd.Flags().BoolVar(&lines, "lines", false, "one event for each line of standard input")
	cmd.Flags().Uint64Var(&expect, "expect", 0, "append only if that is the sequence of the last event")
	cmd.Flags().StringVar(&a.key, "key", "", "idempotency key, up to 128 bytes (107 with --lines)")
	cmd.Flags().Var(&a.observe, "observe", "a timestamp that the events come after")
	return cmd
}

// atLeast is exactArgs where more may follow.
func atLeast(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage(fmt.Errorf("%s takes %s; see %[1]s --help", cmd.CommandPath(), name))
		}
		return nil
	}
}

// appending is what an append goes by.
type appending struct {
	stream   string
	expected *uint64
	key      string
	observe  timestampFlag
}

// keyLenMax is the longest idempotency key, in bytes, and linesKeyLenMax the longest that has room
// for the number of a line behind it.
const keyLenMax, linesKeyLenMax = 128, 128 - len("-18446744073709551615")

// checkKey fails on a key that cannot be sent, in the middle of the input or at all.
func (a *appending) checkKey(lines bool) error {
	most := keyLenMax
	if lines {
		most = linesKeyLenMax
	}
	switch {
	case len(a.key) > most:
		return fmt.Errorf("--key is %d bytes long; want at most %d, or %d with --lines", len(a.key), keyLenMax, linesKeyLenMax)
	case !utf8.ValidString(a.key):
		return errors.New("--key is not text in UTF-8")
	}
	return nil
}

// payloads are the arguments, or standard input as a whole.
func (c *client) payloads(ctx context.Context, args []string) ([][]byte, error) {
	if len(args) > 0 {
		payloads := make([][]byte, len(args))
		for i, arg := range args {
			payloads[i] = []byte(arg)
		}
		return payloads, nil
	}
	type input struct {
		payload []byte
		err     error
	}
	read := make(chan input, 1)
	go func() { // nobody waits for it when ctx ends: a read of a terminal cannot be ended
		payload, err := io.ReadAll(io.LimitReader(c.in, payloadLenMax+1))
		read <- input{payload, err}
	}()
	select {
	case <-ctx.Done():
		return nil, errors.New("interrupted; nothing was appended")
	case in := <-read:
		switch {
		case in.err != nil:
			return nil, fmt.Errorf("read standard input: %w", in.err)
		case len(in.payload) > payloadLenMax:
			return nil, usage(errors.New("standard input holds more than 1 MiB, the most that an event can have; split it, or say --lines where it is one event for each line"))
		}
		return [][]byte{in.payload}, nil
	}
}

// request returns the request for some payloads.
func (a *appending) request(payloads [][]byte) *rpc.AppendRequest {
	r := &rpc.AppendRequest{Observe: uint64(a.observe), IdempotencyKey: a.key}
	for _, payload := range payloads {
		r.Entries = append(r.Entries, &rpc.AppendEntry{Stream: a.stream, Payload: payload})
	}
	if len(r.Entries) > 0 {
		r.Entries[0].Expected = a.expected // the others follow it in any case
	}
	return r
}

// append appends payloads together, and prints what each became.
func (c *client) append(ctx context.Context, a *appending, payloads [][]byte) error {
	r, err := c.callAppend(ctx, a.request(payloads))
	if err != nil {
		return err
	}
	return c.printAppended(a.stream, r)
}

// callAppend fails with a sentence that says whether anything may have been appended.
func (c *client) callAppend(ctx context.Context, r *rpc.AppendRequest) (*rpc.AppendResponse, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := c.stream().Append(call, connect.NewRequest(r))
	if err == nil {
		return answer.Msg, nil
	}
	failure := c.failure(err)
	if !unknownOutcome(err) {
		return nil, failure
	}
	after := "it may have been appended all the same: read the end of the stream before you repeat it, or use --key next time"
	if r.IdempotencyKey != "" {
		after = "it may have been appended all the same: repeat it with the same --key"
	}
	var exit exitError
	if errors.As(failure, &exit) {
		return nil, exitError{exit.code, fmt.Errorf("%w; %s", exit.err, after)}
	}
	return nil, fmt.Errorf("%w; %s", failure, after)
}

// unknownOutcome reports whether a call that failed may have had its effect: it reached the
// server, and the server did not answer.
func unknownOutcome(err error) bool {
	var call *connect.Error
	return !unreachable(err) && errors.As(err, &call) && !connect.IsWireError(err)
}

// appendedJSON is one event that was appended, for programs.
type appendedJSON struct {
	Stream    string `json:"stream"`
	Sequence  uint64 `json:"sequence,string"`
	Timestamp uint64 `json:"timestamp,string"`
	Repeated  bool   `json:"repeated"` // by an earlier append with the same key
}

// printAppended prints the sequence and the timestamp of each event.
func (c *client) printAppended(stream string, r *rpc.AppendResponse) error {
	for i, sequence := range r.Sequences {
		ts := r.Timestamp + uint64(i)
		if c.json {
			if err := c.printValue(appendedJSON{stream, sequence, ts, r.Repeated}); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintf(c.out, "%d  %s%s\n", sequence, hlc.Timestamp(ts), repeatedWords(r)); err != nil {
			return err
		}
	}
	return nil
}

// repeatedWords says of an answer that it is an old one.
func repeatedWords(r *rpc.AppendResponse) string {
	if r.Repeated {
		return "  appended earlier, with the same key"
	}
	return ""
}

// appendLines appends standard input, a line an event.
func (c *client) appendLines(ctx context.Context, a *appending) error {
	run := &linesRun{c: c, a: a, started: time.Now()}
	if !c.terminal() { // else what is printed is progress enough
		run.bar = c.progress()
	}
	defer run.bar.erase()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	batches := make(chan lineBatch)
	go func() { // see payloads
		lines := newLines(c.in, a.key != "")
		for {
			b := lines.next()
			select {
			case batches <- b:
			case <-ctx.Done():
				return
			}
			if b.err != nil {
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return run.told(errors.New("interrupted"))
		case b := <-batches:
			if err := run.append(ctx, b.lines); err != nil {
				return run.told(err)
			}
			switch {
			case errors.Is(b.err, io.EOF):
				return nil
			case b.err != nil:
				return run.told(b.err)
			}
		}
	}
}

// linesRun is an append of lines that is under way.
type linesRun struct {
	c       *client
	a       *appending
	started time.Time
	bar     *progress
	lines   uint64 // that were appended
	last    uint64 // sequence of the last of them
}

// append appends lines together, and prints where they are: one line for all of them.
func (r *linesRun) append(ctx context.Context, lines [][]byte) error {
	if len(lines) == 0 {
		return nil
	}
	request := r.a.request(lines)
	if r.a.key != "" {
		request.IdempotencyKey = fmt.Sprintf("%s-%d", r.a.key, r.lines+1)
	}
	answer, err := r.c.callAppend(ctx, request)
	if err != nil {
		return err
	}
	if n := len(answer.Sequences); n != len(lines) {
		return fmt.Errorf("the server answered for %d events of %d", n, len(lines))
	}
	r.lines += uint64(len(lines))
	first, last := answer.Sequences[0], answer.Sequences[len(lines)-1]
	r.last = last
	if r.a.expected != nil {
		r.a.expected = &r.last
	}
	r.bar.show(func() string {
		return fmt.Sprintf("%d lines appended, %.0f/s", r.lines, float64(r.lines)/max(time.Since(r.started).Seconds(), 1e-3))
	})
	switch {
	case r.c.json || first == last:
		return r.c.printAppended(r.a.stream, answer)
	default:
		_, err = fmt.Fprintf(r.c.out, "%d-%d  %s%s\n", first, last, hlc.Timestamp(answer.Timestamp+uint64(len(lines)-1)), repeatedWords(answer))
		return err
	}
}

// told adds to an error what was appended before it.
func (r *linesRun) told(err error) error {
	before := "no line was appended before"
	if r.lines == 1 {
		before = fmt.Sprintf("the first line was appended, with sequence %d", r.last)
	} else if r.lines > 1 {
		before = fmt.Sprintf("the first %d lines were appended, up to sequence %d", r.lines, r.last)
	}
	var exit exitError
	if errors.As(err, &exit) {
		return exitError{exit.code, fmt.Errorf("%w; %s", exit.err, before)}
	}
	return fmt.Errorf("%w; %s", err, before)
}
