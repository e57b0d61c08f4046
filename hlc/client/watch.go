package client

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
)

// silenceMax is how long an appliance may send nothing, not even a heartbeat, before it is
// taken for gone.
const silenceMax = 30 * time.Second

// Start says where a watch begins, by one of its fields; the zero Start is with what is
// appended next.
type Start struct {
	Sequence uint64        // of the first event; for one stream that is named
	Oldest   bool          // with the first event that is left of each stream
	Time     hlc.Timestamp // with the events that are not below it, as far as they are left
	Cursor   string        // where another watch of the same Selection was: see Delivery
}

// places counts the fields that say where to begin.
func (s Start) places() (n int) {
	for _, is := range []bool{s.Sequence != 0, s.Oldest, s.Time != 0, s.Cursor != ""} {
		if is {
			n++
		}
	}
	return n
}

// Delivery is what comes next of the streams that are watched.
type Delivery struct {
	// Events are in the order of their timestamps, those of one stream without a gap. There are
	// none in a heartbeat, which comes every few seconds where nothing is appended.
	Events []Event
	// Cursor goes on behind this delivery: store it with what was made of the events. Empty: the
	// Start still says where.
	Cursor string
	// Closed says that everything up to it has been delivered, and nothing more will be; 0: not known
	// yet.
	Closed hlc.Timestamp
}

// Watch delivers events as they are appended, each once, for as long as it is ranged over. When
// the appliance goes away it waits for it, for as long as ctx lasts, and goes on where it was:
// nothing is left out or comes twice. An error is the last that the sequence has: that of ctx,
// ErrClosed, ErrTrimmed where events were removed before they could be delivered, and
// *connect.Error: NotFound where a stream that was named is deleted, Aborted where the
// hybrid clock was rebased.
func (c *Client) Watch(ctx context.Context, s Selection, from Start) iter.Seq2[Delivery, error] {
	return func(yield func(Delivery, error) bool) {
		if from.places() > 1 {
			yield(Delivery{}, errPlaces)
			return
		}
		w := watch{c: c, selection: s, from: from, yield: yield}
		wait := newBackoff()
		for {
			if c.stopped.Err() != nil {
				yield(Delivery{}, ErrClosed)
				return
			}
			at := c.at()
			err := w.once(ctx, at, wait.reset)
			switch {
			case errors.Is(err, errEnough):
				return
			case ctx.Err() != nil:
				yield(Delivery{}, context.Cause(ctx))
				return
			case c.stopped.Err() != nil:
				yield(Delivery{}, ErrClosed)
				return
			case !mayPass(err):
				yield(Delivery{}, typed(err))
				return
			}
			c.elsewhereFrom(at)
			_ = wait.sleep(ctx) // its end is noticed above
		}
	}
}

var (
	errPlaces  = errors.New("client: a Start says where to begin by one of its fields, not by several")
	errEnough  = errors.New("nobody ranges any more")
	errSilence = connect.NewError(connect.CodeUnavailable, errors.New("nothing comes any more, not even a heartbeat"))
	errEnd     = connect.NewError(connect.CodeUnavailable, io.ErrUnexpectedEOF) // a watch has no end
)

// watch is a watch and how far it has come.
type watch struct {
	c         *Client
	selection Selection
	from      Start
	yield     func(Delivery, error) bool
}

// once watches over one connection, until that ends or nobody listens any more, and calls heard
// when it has begun.
func (w *watch) once(ctx context.Context, at *address, heard func()) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(w.c.stopped, func() { stop(ErrClosed) })()
	silence := time.AfterFunc(silenceMax, func() { stop(errSilence) })
	defer silence.Stop()
	answers, err := at.Watch(ctx, connect.NewRequest(w.request()))
	if err != nil {
		return err
	}
	defer answers.Close()
	for answers.Receive() {
		silence.Stop() // whoever takes the delivery may be slow
		heard()
		if !w.take(ctx, answers.Msg()) {
			return errEnough
		}
		silence.Reset(silenceMax)
	}
	if context.Cause(ctx) == errSilence {
		return errSilence
	}
	if err := answers.Err(); err != nil {
		return err
	}
	return errEnd
}

// request goes on where the watch is.
func (w *watch) request() *rpc.WatchRequest {
	r := &rpc.WatchRequest{Names: w.selection.Names, Prefix: w.selection.Prefix}
	if w.from.Cursor != "" {
		r.Start = &rpc.WatchRequest_Cursor{Cursor: w.from.Cursor}
		return r
	}
	switch {
	case w.from.Sequence != 0:
		r.Start = &rpc.WatchRequest_Sequence{Sequence: w.from.Sequence}
	case w.from.Oldest:
		r.Start = &rpc.WatchRequest_Oldest{Oldest: true}
	case w.from.Time != 0:
		r.Start = &rpc.WatchRequest_Time{Time: uint64(w.from.Time)}
	}
	return r
}

// take hands a delivery on, and reports whether more are wanted.
func (w *watch) take(ctx context.Context, m *rpc.WatchResponse) bool {
	d := Delivery{Cursor: m.Cursor, Closed: hlc.Timestamp(m.Closed)}
	for _, e := range m.Events {
		d.Events = append(d.Events, w.c.event(ctx, e))
	}
	if m.Cursor != "" {
		w.from = Start{Cursor: m.Cursor} // whoever takes the delivery has it, even where it ends there
	}
	return w.yield(d, nil)
}
