package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

// Client asks an appliance. Its methods may be called concurrently, by thousands of
// goroutines: make one for a process and share it.
//
// A call whose context has a deadline is tried until then, over new connections and at all
// addresses; one without is given up after Options.Timeout. It fails with ErrUnreachable where
// nobody answered, with ErrClosed, and with a *connect.Error whose code is that of the
// appliance's refusal, or with one of the types of this package where that has figures.
type Client struct {
	addresses []*address
	current   atomic.Int64 // index of the address that is used
	timeout   time.Duration
	seen      seen
	session   *session

	stop    context.CancelFunc
	stopped context.Context
	running sync.WaitGroup
}

// New returns a client, which connects when it is first asked. It fails on options that make no
// sense. The caller closes it.
func New(o Options) (*Client, error) {
	addresses, err := o.addresses()
	if err != nil {
		return nil, err
	}
	c := &Client{addresses: addresses, timeout: o.Timeout}
	if c.timeout == 0 {
		c.timeout = timeoutDefault
	}
	c.stopped, c.stop = context.WithCancel(context.Background())
	c.session = newSession(c)
	c.running.Go(func() { c.session.run(c.stopped) })
	return c, nil
}

// Close ends the client: calls in progress fail with ErrClosed, or with the error of their
// connection.
func (c *Client) Close() error {
	c.stop()
	c.running.Wait()
	for _, a := range c.addresses {
		a.close()
	}
	return nil
}

// Now returns a fresh timestamp: greater than all that was issued before by the appliance, than all
// that this client has seen, and than the past of ctx. It is unique, and will not be issued
// again after a crash.
func (c *Client) Now(ctx context.Context) (hlc.Timestamp, error) { return c.NowN(ctx, 1) }

// NowN reserves n timestamps, 1 to hlc.CountMax, and returns the first; the others are its n−1
// successors. It fails with hlc.ErrCount.
func (c *Client) NowN(ctx context.Context, n int) (hlc.Timestamp, error) {
	if n < 1 || n > hlc.CountMax {
		return 0, fmt.Errorf("%w: %d (want 1 to %d)", hlc.ErrCount, n, hlc.CountMax)
	}
	// A past that is not the client's own is observed by itself: others must not pay for it when
	// it is refused.
	if past := Past(ctx); past > c.seen.last() {
		ts, err := c.Observe(ctx, past)
		if err != nil || n == 1 {
			return ts, err
		}
	}
	var first hlc.Timestamp
	err := c.ask(ctx, ask{count: n}, func(b *batch, at int) error {
		first = b.first + hlc.Timestamp(at)
		return b.nowErr
	})
	if err != nil {
		return 0, err
	}
	Saw(ctx, first+hlc.Timestamp(n)-1)
	return first, nil
}

// Observe returns a fresh timestamp greater than remote, which came from elsewhere: with a
// message, a request, a row. One that is further ahead than the appliance's max lead is
// refused with a *hlc.LeadError, and changes nothing for anybody.
func (c *Client) Observe(ctx context.Context, remote hlc.Timestamp) (hlc.Timestamp, error) {
	var ts hlc.Timestamp
	err := c.ask(ctx, ask{observe: max(remote, Past(ctx), 1)}, func(b *batch, at int) error {
		ts = b.observed[at].ts
		return b.observed[at].err
	})
	if err != nil {
		return 0, err
	}
	Saw(ctx, ts)
	return ts, nil
}

// Interval returns an interval that contains UTC, as long as the appliance's error bound holds. It
// fails while the appliance can claim none.
func (c *Client) Interval(ctx context.Context) (hlc.Interval, error) {
	if past := Past(ctx); past > c.seen.last() {
		if _, err := c.Observe(ctx, past); err != nil {
			return hlc.Interval{}, err
		}
	}
	var i hlc.Interval
	err := c.ask(ctx, ask{interval: true}, func(b *batch, _ int) error {
		i = b.now
		return b.timeErr
	})
	if err != nil {
		return hlc.Interval{}, err
	}
	return i, nil
}

// waitMax is how far ahead a timestamp may be that the appliance is asked to wait for.
const waitMax = 5 * time.Second

// WaitUntil returns once ts is in the past for certain, with the interval that shows it. It
// waits as long as that takes, Options.Timeout does not count, and fails like Interval.
func (c *Client) WaitUntil(ctx context.Context, ts hlc.Timestamp) (hlc.Interval, error) {
	for {
		i, err := c.Interval(ctx)
		if err != nil || i.Earliest > ts {
			return i, err
		}
		if ahead := ts.Sub(i.Latest); ahead > waitMax {
			if err := sleep(ctx, ahead-waitMax/2); err != nil {
				return hlc.Interval{}, err
			}
			continue
		}
		r, err := unary(ctx, c, 2*waitMax+c.timeout, clockService.Wait, &rpc.WaitRequest{Timestamp: uint64(ts)})
		if err != nil {
			return hlc.Interval{}, err
		}
		return hlc.Interval{Earliest: hlc.Timestamp(r.Earliest), Latest: hlc.Timestamp(r.Latest)}, nil
	}
}

// Commit returns a fresh timestamp once it is in the past for certain on every node whose
// error bound holds: such timestamps are in real-time order, also across appliances that
// never talk to each other. It takes about twice the error bound.
func (c *Client) Commit(ctx context.Context) (hlc.Timestamp, error) {
	if max(Past(ctx), c.seen.last()) > 0 {
		if _, err := c.Observe(ctx, 1); err != nil { // and with it all that was seen
			return 0, err
		}
	}
	before := c.seen.last()
	r, err := unary(ctx, c, c.timeout, clockService.Commit, &rpc.CommitRequest{})
	if err != nil {
		return 0, err
	}
	ts := hlc.Timestamp(r.Timestamp)
	if ts <= before {
		return 0, &BackwardsError{Seen: before, Got: ts}
	}
	raise(&c.seen.issued, ts)
	Saw(ctx, ts)
	return ts, nil
}

// Seen returns the greatest timestamp that this client has seen, which every call carries along;
// 0 before the first.
func (c *Client) Seen() hlc.Timestamp { return c.seen.last() }

// ask has a call answered in some batch, of which read takes its part.
func (c *Client) ask(ctx context.Context, a ask, read func(b *batch, at int) error) error {
	begun := time.Now()
	b, at, err := c.session.do(ctx, a)
	if err == nil {
		if err = read(b, at); err == nil {
			return nil
		}
	}
	return c.askAgain(ctx, begun, a, read, b, err)
}

// forgetMax is how often a call may be repeated because something was read that is from the
// future, while others go on reading such things.
const forgetMax = 3

// askAgain goes on with a call that has failed, as long as it has time and that may help.
func (c *Client) askAgain(ctx context.Context, begun time.Time, a ask, read func(b *batch, at int) error, b *batch, err error) error {
	// A batch is given up some time after its first caller came, a call after its own.
	call := ctx
	if _, own := ctx.Deadline(); !own {
		var cancel context.CancelFunc
		call, cancel = context.WithDeadline(ctx, begun.Add(c.timeout))
		defer cancel()
	}
	wait := newBackoff()
	for forgot := 0; ; {
		var lead *hlc.LeadError
		switch {
		case errors.As(err, &lead):
			// What the call itself carries along is no fault of what was read.
			if forgot++; forgot > forgetMax || !lead.Remote || max(a.observe, Past(ctx)) >= b.seen || !c.seen.forget(b.seen) {
				return err
			}
		case errors.Is(err, ErrUnreachable):
			if call.Err() != nil {
				return err
			}
		case mayPass(err):
			if b != nil { // else it was not even sent
				c.session.leave(b.at)
			}
			if wait.sleep(call) != nil {
				return err
			}
		default:
			return err
		}
		next, at, again := c.session.do(call, a)
		if again == nil {
			if again = read(next, at); again == nil {
				return nil
			}
		} else if errors.Is(again, ErrUnreachable) && call.Err() != nil {
			return err // which says more
		}
		b, err = next, again
	}
}

// within returns the context of a call, which has limit to end where it has no deadline, and ends
// with the client.
func (c *Client) within(ctx context.Context, limit time.Duration) (call context.Context, done func()) {
	var cancel context.CancelFunc
	if _, own := ctx.Deadline(); own {
		ctx, cancel = context.WithCancel(ctx)
	} else {
		ctx, cancel = context.WithTimeout(ctx, limit)
	}
	unhook := context.AfterFunc(c.stopped, cancel)
	return ctx, func() { unhook(); cancel() }
}

// clockService and its like are the services of an address; their methods are what unary
// calls.
type (
	clockService  = rpcconnect.ClockServiceClient
	streamService = rpcconnect.StreamServiceClient
)

// unary makes a call of its own, again and again while that may help: calls that may be
// repeated only.
func unary[S any, Q, A any](ctx context.Context, c *Client, limit time.Duration, method func(S, context.Context, *connect.Request[Q]) (*connect.Response[A], error), request *Q) (*A, error) {
	caller := ctx
	ctx, done := c.within(ctx, limit)
	defer done()
	wait := newBackoff()
	var said error // by the appliance, when it last said something
	for {
		if c.stopped.Err() != nil {
			return nil, ErrClosed
		}
		a := c.at()
		answer, err := method(any(a).(S), ctx, connect.NewRequest(request))
		switch {
		case err == nil:
			return answer.Msg, nil
		case c.stopped.Err() != nil:
			return nil, ErrClosed
		case ctx.Err() == nil && !mayPass(err):
			return nil, typed(err)
		case connect.IsWireError(err) && mayPass(err):
			said = err
		}
		if caller.Err() == nil { // else it says nothing of the address
			c.elsewhereFrom(a)
		}
		if ctx.Err() == nil && wait.sleep(ctx) == nil {
			continue
		}
		if said != nil {
			return nil, typed(said)
		}
		return nil, c.unreachable(err)
	}
}
