package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/rpc"
)

const (
	// silenceMax is how long a server may send nothing, not even a heartbeat, before it is taken
	// for gone; a connection alone may never tell.
	silenceMax = 30 * time.Second
	// The wait before another attempt doubles from the first to the last of these.
	retryFirst = 100 * time.Millisecond
	retryLast  = 5 * time.Second
)

func newWatch(c *client) *cobra.Command {
	w := watching{c: c}
	cmd := &cobra.Command{
		Use:   "watch [STREAM...]",
		Short: "Print events as they are appended",
		Long: `Prints the events of one or more streams as they are appended, in one order: that of
their timestamps. Without a name it watches those that begin with --prefix, and without
that all. The streams need not exist yet. When the server goes away it waits for it and
goes on where it was: nothing is left out or printed twice.

It begins with what is appended next, or where it is told to: --from a sequence (of one
stream), the --oldest event that is left of each, --since an instant, or the --cursor
of an earlier watch of the same streams. --cursor-file keeps the position in a file, and
begins there when there is one: the other flags count the first time only. An instant is
one of: ` + instantWords + `

It ends when it is interrupted, or after --count events. --heartbeats also prints up to
where time is closed: everything up to that timestamp has been printed, and nothing
more will come.`,
		Example: `  truechimer watch chat
  truechimer watch --prefix orders/ --oldest --json
  truechimer watch payments --oldest --cursor-file payments.position --json | ./book`,
		RunE: func(cmd *cobra.Command, args []string) error {
			w.names = args
			if err := w.check(cmd.Flags().Changed); err != nil {
				return usage(err)
			}
			return w.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&w.prefix, "prefix", "", "all streams whose names begin so")
	f.Uint64Var(&w.from, "from", 0, "begin with this sequence; for one stream")
	f.BoolVar(&w.oldest, "oldest", false, "begin with the first event that is left of each")
	f.Var(&w.since, "since", "begin with this instant")
	f.StringVar(&w.cursor, "cursor", "", "go on where another watch was")
	f.StringVar(&w.file, "cursor-file", "", "keep the position in this file")
	f.Uint64Var(&w.count, "count", 0, "end after so many events")
	f.BoolVar(&w.heartbeats, "heartbeats", false, "print closed timestamps too")
	f.BoolVar(&w.raw, "raw", false, "payloads alone")
	return cmd
}

// watching is a watch of streams, and how far it has come.
type watching struct {
	c          *client
	names      []string
	prefix     string
	from       uint64
	oldest     bool
	since      instantFlag
	cursor     string
	file       string
	count      uint64
	heartbeats bool
	raw        bool

	keep    *positionFile // nil: nowhere
	at      position
	printed uint64
	out     *eventPrinter
}

// check fails on flags that exclude each other.
func (w *watching) check(changed func(string) bool) error {
	var starts []string
	for _, name := range []string{"from", "oldest", "since", "cursor"} {
		if changed(name) {
			starts = append(starts, "--"+name)
		}
	}
	switch {
	case len(starts) > 1:
		return fmt.Errorf("%s exclude each other", strings.Join(starts, " and "))
	case changed("cursor") && changed("cursor-file"):
		return errors.New("--cursor and --cursor-file exclude each other")
	case changed("prefix") && len(w.names) > 0:
		return errors.New("--prefix and names exclude each other")
	case changed("from") && (len(w.names) != 1 || w.from == 0):
		return errors.New("--from is a sequence, 1 or more, of one stream that is named; of several each has its own: use --since")
	case changed("count") && w.count == 0:
		return errors.New("--count is 0; want 1 or more")
	case changed("cursor") && w.cursor == "":
		return errors.New("--cursor is empty")
	case w.raw && (w.heartbeats || w.c.json):
		return errors.New("--raw excludes --json and --heartbeats")
	}
	return nil
}

// run prints events until ctx ends, which is no failure, or all are printed that were
// asked for. The server has to be there at first; later it is waited for.
func (w *watching) run(ctx context.Context) error {
	if err := w.start(ctx); err != nil {
		return err
	}
	w.out = w.c.eventPrinter(w.raw)
	w.out.named = len(w.names) != 1
	wait, away := retryFirst, false
	for {
		err := w.once(ctx, func() {
			if away {
				fmt.Fprintf(w.c.err, "truechimer: %s is back; nothing was missed\n", w.c.address)
			}
			wait, away = retryFirst, false
		})
		switch {
		case err == nil || ctx.Err() != nil:
			return nil
		case !worthRetrying(err):
			return w.failure(err)
		case !away:
			fmt.Fprintf(w.c.err, "truechimer: %v; trying again until it answers\n", w.failure(err))
			away = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
			wait = min(2*wait, retryLast)
		}
	}
}

// start finds out where to begin. What is appended next is what is above the closed
// timestamp: said so it holds too where the connection ends before the first answer.
func (w *watching) start(ctx context.Context) error {
	w.at = position{Cursor: w.cursor, Time: uint64(w.since.first)}
	if w.file != "" {
		w.keep = &positionFile{name: w.file, names: w.names, prefix: w.prefix}
		kept, err := w.keep.load()
		if err != nil {
			return err
		}
		if kept != (position{}) {
			w.at = kept
		}
	}
	status, err := w.c.node().Status(ctx, connect.NewRequest(&rpc.StatusRequest{}))
	if err != nil {
		return w.c.failure(err)
	}
	if s := status.Msg.Streams; s != nil && w.at == (position{}) && w.from == 0 && !w.oldest {
		w.at.Time = s.Closed + 1
	}
	return nil
}

// errSilence reports a connection on which nothing came any more.
var errSilence = errors.New("it sends nothing any more, not even a heartbeat")

// localError is a failure that has nothing to do with the server.
type localError struct{ error }

func (w *watching) failure(err error) error {
	var own localError
	switch {
	case errors.As(err, &own):
		return own.error
	case errors.Is(err, io.ErrUnexpectedEOF):
		return exitError{exitUnreachable, fmt.Errorf("the server at %s went away: the connection broke off", w.c.address)}
	case errors.Is(err, errSilence):
		return exitError{exitUnreachable, fmt.Errorf("the server at %s went away: %w", w.c.address, err)}
	}
	return w.c.failure(err)
}

// worthRetrying reports whether another attempt may succeed: not where the server has
// judged the request itself.
func worthRetrying(err error) bool {
	var own localError
	if errors.As(err, &own) {
		return false
	}
	var call *connect.Error
	if !errors.As(err, &call) || !connect.IsWireError(err) {
		return true
	}
	switch call.Code() {
	case connect.CodeInvalidArgument, connect.CodeNotFound, connect.CodeOutOfRange, connect.CodeAborted, connect.CodeDataLoss,
		connect.CodeUnimplemented, connect.CodePermissionDenied, connect.CodeUnauthenticated:
		return false
	}
	return true
}

// once watches over one connection, from where the watch is. It returns nil when all are
// printed that were asked for, and calls heard with the first answer.
func (w *watching) once(ctx context.Context, heard func()) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	silence := newSilence(stop)
	defer silence.Stop()
	answers, err := w.c.stream().Watch(ctx, connect.NewRequest(w.request()))
	if err != nil {
		return err
	}
	defer answers.Close()
	for first := true; answers.Receive(); first = false {
		silence.Reset(silenceMax)
		if first {
			heard()
		}
		done, err := w.take(answers.Msg())
		if err != nil {
			return localError{err}
		}
		if done {
			return nil
		}
	}
	if errors.Is(context.Cause(ctx), errSilence) {
		return errSilence
	}
	if err := answers.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF // a watch has no end
}

// newSilence stops a call on which nothing came for too long; whatever comes resets it.
func newSilence(stop context.CancelCauseFunc) *time.Timer {
	return time.AfterFunc(silenceMax, func() { stop(errSilence) })
}

// request goes on where the watch is.
func (w *watching) request() *rpc.WatchRequest {
	r := &rpc.WatchRequest{Names: w.names, Prefix: w.prefix}
	switch {
	case w.at.Cursor != "":
		r.Start = &rpc.WatchRequest_Cursor{Cursor: w.at.Cursor}
	case w.at.Time != 0:
		r.Start = &rpc.WatchRequest_Time{Time: w.at.Time}
	case w.from != 0:
		r.Start = &rpc.WatchRequest_Sequence{Sequence: w.from}
	case w.oldest:
		r.Start = &rpc.WatchRequest_Oldest{Oldest: true}
	}
	return r
}

// take prints an answer and keeps the position behind it. It reports whether all are
// printed that were asked for.
func (w *watching) take(m *rpc.WatchResponse) (done bool, err error) {
	events, at := m.Events, position{Cursor: m.Cursor}
	for len(events) > 0 && events[0].Timestamp <= w.at.After {
		events = events[1:]
	}
	if len(events) == 0 {
		at.After = w.at.After // there may be more of them
	}
	if left := w.count - w.printed; w.count > 0 && uint64(len(events)) >= left {
		done = true
		if uint64(len(events)) > left {
			events = events[:left]
			at = position{Cursor: w.at.Cursor, After: events[left-1].Timestamp}
			if at.Cursor == "" { // it is the first answer
				at = position{Time: at.After + 1}
			}
		}
	}
	if err := w.out.print(events); err != nil {
		return false, err
	}
	w.printed += uint64(len(events))
	if w.heartbeats && !done && m.Closed != 0 {
		if err := w.printClosed(m.Closed); err != nil {
			return false, err
		}
	}
	w.at = at
	if w.keep != nil {
		return done, w.keep.save(at)
	}
	return done, nil
}

// closedJSON is a closed timestamp between events.
type closedJSON struct {
	Closed uint64 `json:"closed,string"`
}

func (w *watching) printClosed(ts uint64) error {
	if w.c.json {
		return w.c.printValue(closedJSON{ts})
	}
	_, err := fmt.Fprintf(w.c.out, "closed  %s\n", timestampWords(ts))
	return err
}
