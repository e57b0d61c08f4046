package api

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
)

// farewellMax is how long a peer has to read that the node is stopping.
const farewellMax = 500 * time.Millisecond

// errStopping ends an answer without an end when the server stops.
var errStopping = connect.NewError(connect.CodeUnavailable, errors.New("this node is stopping; go on from the last cursor once it is back"))

// peer is who gets an answer that takes as long as it takes. The limits of the server for a
// call do not hold for it; instead the peer has unresponsiveAfter to read each message.
type peer struct {
	control *http.ResponseController

	mu    sync.Mutex
	ended bool      // the call is over
	last  time.Time // by which everything must have been read; zero: the server is not stopping
}

// peerKey is the key of a call's peer in its context.
type peerKey struct{}

// openEnded makes the peer known to a call whose answer has no end.
func openEnded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &peer{control: http.NewResponseController(w)}
		defer p.end()
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), peerKey{}, p)))
	})
}

// begin is called once the request has been read, so no deadline for reading is left. The
// context that it returns ends with ctx, or by us: with errStopping when stopping ends, with what
// the gate says when the caller may no longer make the call. After done,
// what is still to be written, which is how the answer ended, has the usual time.
func begin(ctx, stopping context.Context) (c context.Context, p *peer, done func()) {
	p = ctx.Value(peerKey{}).(*peer)
	c, cancel := context.WithCancelCause(ctx)
	p.deadline(time.Time{})
	end := func(fault error) {
		p.hurry()
		cancel(endedByUs{fault})
	}
	unhook := context.AfterFunc(stopping, func() { end(errStopping) })
	release := callerOf(ctx).watchOver(end)
	return c, p, func() {
		unhook()
		release()
		cancel(nil)
		p.deadline(time.Now().Add(unresponsiveAfter))
	}
}

// endedByUs is why a context ended that the server has ended, and what the peer is told.
type endedByUs struct{ error }

func (e endedByUs) Unwrap() error { return e.error }

// byUs returns what the peer is told of a call that the server has ended, or nil.
func byUs(ctx context.Context) error {
	var why endedByUs
	if errors.As(context.Cause(ctx), &why) {
		return why.error
	}
	return nil
}

// beginSession is begin for a call whose request has no end either: reading it ends when the
// context does.
func beginSession(ctx, stopping context.Context) (c context.Context, p *peer, done func()) {
	c, p, end := begin(ctx, stopping)
	_ = p.control.SetReadDeadline(time.Time{}) // fails only where there is no connection any more
	unhook := context.AfterFunc(c, p.hush)
	return c, p, func() {
		unhook()
		end()
	}
}

// hush ends the reading from the peer.
func (p *peer) hush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		_ = p.control.SetReadDeadline(time.Now())
	}
}

// send has a message written, and read by the peer in time.
func (p *peer) send(write func() error) error {
	p.deadline(time.Now().Add(unresponsiveAfter))
	defer p.deadline(time.Time{})
	return write()
}

// deadline sets the time by which what is being written must have been read; zero: never.
func (p *peer) deadline(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.last.IsZero() {
		at = p.last
	}
	_ = p.control.SetWriteDeadline(at) // fails only where there is no connection any more
}

// hurry leaves the peer a moment for all that is still to come.
func (p *peer) hurry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.last = time.Now().Add(farewellMax)
	_ = p.control.SetWriteDeadline(p.last)
}

// end is called when the call is over: the connection may go on to others.
func (p *peer) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
}
