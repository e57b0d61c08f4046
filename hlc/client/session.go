package client

// One bidirectional stream carries the calls of all goroutines.
//
// The problem. A timestamp costs the appliance some thirty nanoseconds, and its way there
// and back a few microseconds of both processors, most of it in system calls and in waking
// somebody up. A call of its own for each would cap a process at some ten thousand a second.
//
// The idea. What many callers ask at about the same time goes in one message: a count of
// timestamps, of which each takes its part. Callers join the batch that is waiting to be
// sent; there are at most two on their way, so that one is being answered while the next is
// being sent, and whatever is asked meanwhile gathers in the third. So nobody waits for
// others to come, a lone caller is sent at once, and the busier it is the larger the batches.
//
// Recovery. A timestamp that was issued and never heard of is no loss. So the batches
// that were on their way when a connection breaks are sent again over the next one, until they
// are too old; the callers notice nothing but the delay.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
)

const (
	// flyingMax is how many batches are on their way at a time.
	flyingMax = 2
	// queuedMax bounds the batches that wait; beyond it calls fail at once.
	queuedMax = 4096
)

var (
	errShort  = connect.NewError(connect.CodeInternal, errors.New("the appliance answered less than it was asked; see its log"))
	errQueued = connect.NewError(connect.CodeResourceExhausted, errors.New("too many calls wait for the appliance; make fewer at a time"))
	errLeft   = errors.New("the appliance cannot serve now")
	errSilent = errors.New("the appliance took the call and does not answer")
)

// session sends batches, over one connection after the other. Its methods may be called
// concurrently.
type session struct {
	c *Client

	mu      sync.Mutex // guards what follows
	queue   []*batch   // to be sent; the last one can be joined
	flying  []*batch   // sent, the oldest first
	waiting bool       // the sender has nothing to do
	closed  bool
	cause   error       // why the last connection ended
	expiry  *time.Timer // nil, or runs while there are batches
	abort   func(error) // ends the connection; nil: there is none
	at      *address    // that it goes to

	work chan struct{} // wakes the sender; room for one
}

func newSession(c *Client) *session {
	return &session{c: c, work: make(chan struct{}, 1)}
}

// do has a call answered, in some batch.
func (s *session) do(ctx context.Context, a ask) (b *batch, at int, err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, 0, ErrClosed
	}
	if n := len(s.queue); n > 0 && s.queue[n-1].fits(a) {
		b = s.queue[n-1]
	} else {
		if n >= queuedMax {
			s.mu.Unlock()
			return nil, 0, errQueued
		}
		b = &batch{born: time.Now(), done: make(chan struct{})}
		s.queue = append(s.queue, b)
		if s.expiry == nil {
			s.expiry = time.AfterFunc(s.c.timeout, s.expire)
		}
	}
	at = b.join(a)
	s.poke()
	s.mu.Unlock()
	select {
	case <-b.done:
		return b, at, b.err
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("%w: %w", ErrUnreachable, context.Cause(ctx))
	}
}

// poke wakes the sender where it can send something. s.mu is held.
func (s *session) poke() {
	if s.waiting && len(s.queue) > 0 && len(s.flying) < flyingMax {
		s.waiting = false
		s.work <- struct{}{} // has room: nobody else pokes until the sender waits again
	}
}

// next returns the next batch to send, once there is one and it may go. It is for the sender
// alone.
func (s *session) next(ctx context.Context) (*batch, error) {
	for {
		s.mu.Lock()
		if len(s.queue) > 0 && len(s.flying) < flyingMax {
			b := s.queue[0]
			s.queue = slices.Delete(s.queue, 0, 1)
			s.flying = append(s.flying, b)
			s.mu.Unlock()
			return b, nil
		}
		s.waiting = true
		s.mu.Unlock()
		select {
		case <-s.work:
		case <-ctx.Done():
			s.mu.Lock()
			if !s.waiting {
				<-s.work // it was poked meanwhile
			}
			s.waiting = false
			s.mu.Unlock()
			return nil, context.Cause(ctx)
		}
	}
}

// run sends what is asked until ctx ends.
func (s *session) run(ctx context.Context) {
	wait := newBackoff()
	for {
		if !s.idle(ctx) {
			s.close()
			return
		}
		err := s.connect(ctx, wait.reset)
		if ctx.Err() != nil {
			continue
		}
		s.mu.Lock()
		s.cause = err
		s.mu.Unlock()
		if !mayPass(err) {
			s.fail(err, func(*batch) bool { return true })
		} else {
			s.c.elsewhereFrom(s.at)
		}
		wait.sleep(ctx)
	}
}

// idle waits until there is something to send, without a connection. It reports whether ctx goes
// on.
func (s *session) idle(ctx context.Context) bool {
	for {
		s.mu.Lock()
		some := len(s.queue) > 0
		s.waiting = !some
		s.mu.Unlock()
		if some && ctx.Err() == nil {
			return true
		}
		select {
		case <-s.work:
		case <-ctx.Done():
			return false
		}
	}
}

// connect sends and receives over one connection until that ends, and calls heard at the
// first answer. What was on its way at the end is the first to be sent over the next one.
func (s *session) connect(ctx context.Context, heard func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	at := s.c.at()
	stream := at.batches.Session(ctx)
	s.mu.Lock()
	s.at, s.abort = at, cancel
	s.mu.Unlock()
	var receiving sync.WaitGroup
	receiving.Go(func() { cancel(s.receive(stream, heard)) })
	for {
		b, err := s.next(ctx)
		if err == nil {
			err = stream.Send(b.request(at, s.c.seen.last()))
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) { // which says that the receiver has the reason
			cancel(err)
		}
		break
	}
	_ = stream.CloseRequest()
	receiving.Wait()
	_ = stream.CloseResponse()
	s.mu.Lock()
	s.abort = nil
	s.queue = append(s.flying, s.queue...)
	s.flying = nil
	s.mu.Unlock()
	return context.Cause(ctx)
}

// receive takes answers until there are no more, and returns why.
func (s *session) receive(stream *connect.BidiStreamForClient[rpc.SessionRequest, rpc.SessionResponse], heard func()) error {
	for first := true; ; first = false {
		r, err := stream.Receive()
		switch {
		case errors.Is(err, io.EOF):
			return connect.NewError(connect.CodeUnavailable, errors.New("the appliance ended the session"))
		case err != nil:
			return err
		}
		s.mu.Lock()
		if first {
			heard()
			s.cause = nil
		}
		if len(s.flying) == 0 {
			s.mu.Unlock()
			return connect.NewError(connect.CodeInternal, errors.New("an answer that nothing was asked for"))
		}
		b := s.flying[0]
		s.flying = slices.Delete(s.flying, 0, 1)
		s.poke()
		s.mu.Unlock()
		raise(&s.c.seen.issued, b.take(r))
		close(b.done)
	}
}

// leave goes on at another address, where there is one, unless that has happened already.
func (s *session) leave(at *address) {
	if len(s.c.addresses) == 1 {
		return
	}
	s.c.elsewhereFrom(at)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.abort != nil && s.at == at && s.c.at() != at {
		s.abort(connect.NewError(connect.CodeUnavailable, errLeft))
	}
}

// fail ends the batches of which which is true.
func (s *session) fail(err error, which func(*batch) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = slices.DeleteFunc(s.queue, func(b *batch) bool {
		if !which(b) {
			return false
		}
		b.err = err
		close(b.done)
		return true
	})
}

// expire fails what has waited too long, and ends a connection on which nothing comes.
func (s *session) expire() {
	old := time.Now().Add(-s.c.timeout)
	expired := func(b *batch) bool { return !b.born.After(old) }
	s.mu.Lock()
	if len(s.flying) > 0 && expired(s.flying[0]) && s.abort != nil {
		s.abort(connect.NewError(connect.CodeUnavailable, errSilent))
	}
	err := s.unanswered()
	s.mu.Unlock()
	s.fail(err, expired)
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := slices.Concat(s.flying, s.queue)
	if s.closed || len(oldest) == 0 {
		s.expiry = nil
		return
	}
	s.expiry = time.AfterFunc(max(time.Until(oldest[0].born.Add(s.c.timeout)), s.c.timeout/16), s.expire)
}

// unanswered is the error of a batch that is too old. s.mu is held.
func (s *session) unanswered() error {
	cause := s.cause
	if cause == nil {
		cause = errSilent
	}
	return s.c.unreachable(cause)
}

// close fails what is left.
func (s *session) close() {
	s.mu.Lock()
	s.closed = true
	if s.expiry != nil {
		s.expiry.Stop()
	}
	s.mu.Unlock()
	s.fail(ErrClosed, func(*batch) bool { return true })
}
