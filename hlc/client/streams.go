package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
)

// Event is one record of a stream.
type Event struct {
	Stream    string
	Sequence  uint64 // 1, 2, 3, … without a gap
	Timestamp hlc.Timestamp
	Payload   []byte
	Epoch     uint64 // the issuing term that appended it
	Node      uint16 // that appended it
}

// Entry is one event to append.
type Entry struct {
	Stream  string // is created where it does not exist
	Payload []byte // at most 1 MiB
	// Expected makes the append conditional: the sequence that the stream's last event must
	// have, 0 for a stream that never had one. Nil: any.
	Expected *uint64
}

// Batch is a list of events to append: all of them or none.
type Batch struct {
	Entries []Entry // 1 to 10,000, with 8 MiB of payloads at the most
	// Key makes the batch safe to repeat, for a day at least: see UncertainError. Empty: Append
	// chooses one for its own attempts.
	Key string
}

// Receipt says where the events of a batch are.
type Receipt struct {
	Timestamp hlc.Timestamp // of the first entry; that of the i-th is Timestamp + i
	Sequences []uint64
	Repeated  bool // an earlier append with the same key did it
}

// Append makes the events durable, in order, and greater than all that this client and ctx have
// seen. It is tried again while that may help, and never appends twice: ErrUncertain says that
// it is not known whether it appended once. It fails with ErrConflict, and with a *connect.Error:
// AlreadyExists where the key was used for another batch.
func (c *Client) Append(ctx context.Context, b Batch) (Receipt, error) {
	r := &rpc.AppendRequest{Observe: uint64(max(c.seen.last(), Past(ctx))), IdempotencyKey: b.Key}
	if r.IdempotencyKey == "" {
		r.IdempotencyKey = rand.Text()
	}
	for _, e := range b.Entries {
		r.Entries = append(r.Entries, &rpc.AppendEntry{Stream: e.Stream, Payload: e.Payload, Expected: e.Expected})
	}
	a, err := c.append(ctx, r)
	if err != nil {
		return Receipt{}, err
	}
	receipt := Receipt{Timestamp: hlc.Timestamp(a.Timestamp), Sequences: a.Sequences, Repeated: a.Repeated}
	if seen := hlc.Timestamp(r.Observe); receipt.Timestamp <= seen && !receipt.Repeated {
		return Receipt{}, &BackwardsError{Seen: seen, Got: receipt.Timestamp}
	}
	last := receipt.Timestamp + hlc.Timestamp(len(a.Sequences)) - 1
	if receipt.Repeated {
		raise(&c.seen.read, last) // it was issued for somebody else, perhaps before a rebase
	} else {
		raise(&c.seen.issued, last)
	}
	Saw(ctx, last)
	return receipt, nil
}

// append repeats an append until its outcome is known.
func (c *Client) append(ctx context.Context, r *rpc.AppendRequest) (*rpc.AppendResponse, error) {
	ctx, done := c.within(ctx, c.timeout)
	defer done()
	wait := newBackoff()
	uncertain := false // an earlier attempt may have appended
	var said error     // by the appliance, when it last said something
	for {
		switch {
		case c.stopped.Err() != nil && !uncertain:
			return nil, ErrClosed
		case ctx.Err() != nil && !uncertain:
			return nil, c.unreachable(context.Cause(ctx))
		}
		at := c.at()
		answer, err := at.Append(ctx, connect.NewRequest(r))
		if err == nil {
			return answer.Msg, nil
		}
		var lead *hlc.LeadError
		if at := hlc.Timestamp(r.Observe); errors.As(typed(err), &lead) && lead.Remote && at > Past(ctx) && c.seen.forget(at) {
			r.Observe = uint64(max(c.seen.last(), Past(ctx)))
			continue
		}
		lost := outcomeLost(err)
		if !lost && !mayPass(err) && !uncertain {
			return nil, typed(err)
		}
		uncertain = uncertain || lost
		if connect.IsWireError(err) {
			said = err
		}
		if ctx.Err() == nil && c.stopped.Err() == nil && (lost || mayPass(err)) {
			// Another address of the same appliance knows the key; that of another one would not.
			if !connect.IsWireError(err) || connect.CodeOf(err) == connect.CodeUnavailable && !uncertain {
				c.elsewhereFrom(at)
			}
			if wait.sleep(ctx) == nil {
				continue
			}
		}
		switch {
		case uncertain:
			return nil, &UncertainError{Key: r.IdempotencyKey, Cause: err}
		case c.stopped.Err() != nil:
			return nil, ErrClosed
		case said != nil:
			return nil, typed(said)
		}
		return nil, c.unreachable(err)
	}
}

// Query says which events of a stream to read; the zero Query is all of them.
type Query struct {
	From, To     uint64        // first and last sequence, both included; 0: the stream's own
	Since, Until hlc.Timestamp // first and last timestamp, both included; 0: no limit
	Reverse      bool          // begin at the end
	Limit        int           // how many at the most; 0: all
}

// pageMax is how many events one call returns at the most.
const pageMax = 10_000

// Read returns the events of a stream that the query selects, in the order of their sequences, a
// page at a time as they are asked for. What is returned is durable. An error is the last that
// the sequence has: ErrTrimmed where events that it would have to return have been removed.
func (c *Client) Read(ctx context.Context, stream string, q Query) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if q.Limit < 0 {
			yield(Event{}, fmt.Errorf("client: Query.Limit is %d; want 0 or more", q.Limit))
			return
		}
		r := &rpc.ReadRequest{
			Stream: stream, From: q.From, To: q.To,
			Since: uint64(q.Since), Until: uint64(q.Until), Reverse: q.Reverse,
		}
		for left := q.Limit; ; {
			if q.Limit > 0 {
				limit := int64(min(left, pageMax))
				r.Limit = &limit
			}
			page, err := unary(ctx, c, c.timeout, streamService.Read, r)
			if err != nil {
				yield(Event{}, err)
				return
			}
			for _, m := range page.Events {
				e := c.event(ctx, m)
				if !yield(e, nil) {
					return
				}
			}
			left -= len(page.Events)
			if page.Cursor == "" || q.Limit > 0 && left <= 0 {
				return
			}
			r = &rpc.ReadRequest{Stream: stream, Cursor: page.Cursor}
		}
	}
}

// event is an event of the appliance, which has been seen by now.
func (c *Client) event(ctx context.Context, m *rpc.Event) Event {
	ts := hlc.Timestamp(m.Timestamp)
	raise(&c.seen.read, ts)
	Saw(ctx, ts)
	return Event{Stream: m.Stream, Sequence: m.Sequence, Timestamp: ts, Payload: m.Payload, Epoch: m.Epoch, Node: uint16(m.Node)}
}

// Selection says which streams are meant; the zero Selection is all, those among them that do not
// exist yet.
type Selection struct {
	Names  []string // at most 1000
	Prefix string   // all whose names begin so; only without Names
}

// Cut is the state of streams at one instant.
type Cut struct {
	Timestamp hlc.Timestamp
	Streams   []StreamCut // in the order of their names
}

// StreamCut is one stream at that instant.
type StreamCut struct {
	Name          string
	First, Last   uint64        // sequences; where no event is left First is Last + 1
	LastTimestamp hlc.Timestamp // 0: there never was one
}

// Cut returns the exact state of streams at ts, which may be ahead by ten seconds at the most; it
// then waits until that has passed. 0 is all that is durable now. It fails with code Aborted when
// the hybrid clock was rebased meanwhile.
func (c *Client) Cut(ctx context.Context, ts hlc.Timestamp, s Selection) (Cut, error) {
	const cutWaitMax = 10 // seconds
	var cut Cut
	r := &rpc.CutRequest{Timestamp: uint64(ts), Names: s.Names, Prefix: s.Prefix}
	for {
		page, err := unary(ctx, c, c.timeout+cutWaitMax*1e9, streamService.Cut, r)
		if err != nil {
			return Cut{}, err
		}
		cut.Timestamp = hlc.Timestamp(page.Timestamp)
		for _, m := range page.Streams {
			cut.Streams = append(cut.Streams, StreamCut{Name: m.Name, First: m.First, Last: m.Last, LastTimestamp: hlc.Timestamp(m.LastTimestamp)})
		}
		if page.Cursor == "" {
			return cut, nil
		}
		r.Cursor = page.Cursor
	}
}
