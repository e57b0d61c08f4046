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
	if past := max(Past(ctx), c.seen.last()); past > 0 {
		if _, err := c.Observe(ctx, past); err != nil {
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
	var again *patience // made when it is needed
	for {
		b, at, err := c.session.do(ctx, a)
		if err == nil {
			err = read(b, at)
			var lead *hlc.LeadError
			if errors.As(err, &lead) && lead.Remote && c.seen.forget(b.seen) {
				continue
			}
			if err == nil || !mayPass(err) {
				return err
			}
			c.session.leave(b.at)
			if again == nil {
				again = c.patience(ctx)
			}
			if !again.wait(ctx) {
				return err
			}
			continue
		}
		// A batch is given up after the client's Timeout, a call after its own.
		if _, own := ctx.Deadline(); !own || !errors.Is(err, ErrUnreachable) || ctx.Err() != nil {
			return err
		}
	}
}

// patience is how long a call is tried again.
type patience struct {
	backoff
	until time.Time // zero: as long as its context lasts
}

func (c *Client) patience(ctx context.Context) *patience {
	p := &patience{backoff: *newBackoff()}
	if _, own := ctx.Deadline(); !own {
		p.until = time.Now().Add(c.timeout)
	}
	return p
}

// wait waits before another attempt, and reports whether there is to be one.
func (p *patience) wait(ctx context.Context) bool {
	return (p.until.IsZero() || time.Now().Before(p.until)) && p.sleep(ctx) == nil
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
	ctx, done := c.within(ctx, limit)
	defer done()
	wait := newBackoff()
	var said error // by the appliance, when it last said something
	for {
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
		c.elsewhereFrom(a)
		if ctx.Err() == nil && wait.sleep(ctx) == nil {
			continue
		}
		if said != nil {
			return nil, typed(said)
		}
		return nil, c.unreachable(err)
	}
}
