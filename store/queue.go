package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// queueMax and queueLenMax bound what waits for the committer: calls, and the bytes that
	// they take.
	queueMax    = 16 << 10
	queueLenMax = 64 << 20
	// groupMax and groupLenMax bound what is written together. What is beyond them waits for
	// the next sync.
	groupMax    = 4096
	groupLenMax = 4 << 20
)

// task is something for the committer to do.
type task interface {
	// stage decides, and puts what it changes into the group that c is building. An error is
	// the answer to the caller, and nothing may have been changed then.
	stage(c *committer) error
}

// A request is queued until the committer takes it or its caller withdraws it.
const (
	requestQueued int32 = iota
	requestTaken
	requestWithdrawn
)

// request is a task and who waits for it.
type request struct {
	task  task
	size  int // bytes that it takes
	state atomic.Int32
	err   error         // the answer; set before done is closed
	done  chan struct{} // closed when what the task did is durable, or refused
}

// withdraw reports whether the committer has not taken the request, and never will.
func (r *request) withdraw() bool {
	return r.state.CompareAndSwap(requestQueued, requestWithdrawn)
}

// queue is what waits for the committer, in order.
type queue struct {
	kick chan struct{} // room for one

	mu      sync.Mutex
	waiting []*request
	size    int // bytes of all of them
	closed  bool
}

func (q *queue) init() { q.kick = make(chan struct{}, 1) }

// put adds a request. It fails with ErrBusy or ErrClosed.
func (q *queue) put(r *request) error {
	q.mu.Lock()
	switch {
	case q.closed:
		q.mu.Unlock()
		return ErrClosed
	case len(q.waiting) >= queueMax || q.size+r.size > queueLenMax:
		q.mu.Unlock()
		return ErrBusy
	}
	q.waiting = append(q.waiting, r)
	q.size += r.size
	first := len(q.waiting) == 1
	q.mu.Unlock()
	if first {
		q.signal()
	}
	return nil
}

func (q *queue) signal() {
	select {
	case q.kick <- struct{}{}:
	default:
	}
}

// take waits for requests and moves those of one group into into, as taken. It returns
// nothing once the queue is closed and empty.
func (q *queue) take(into []*request) []*request {
	for {
		q.mu.Lock()
		into = q.move(into)
		closed, more := q.closed, len(q.waiting) > 0
		q.mu.Unlock()
		into = slices.DeleteFunc(into, func(r *request) bool { return !r.state.CompareAndSwap(requestQueued, requestTaken) })
		if len(into) > 0 {
			return into
		}
		switch {
		case more: // all of the group were withdrawn
		case closed:
			return nil
		default:
			<-q.kick
		}
	}
}

// move moves the requests of one group into into. q.mu is held.
func (q *queue) move(into []*request) []*request {
	n, size := 0, 0
	for ; n < len(q.waiting) && n < groupMax; n++ {
		if size += q.waiting[n].size; size > groupLenMax && n > 0 {
			size -= q.waiting[n].size
			break
		}
	}
	into = append(into, q.waiting[:n]...)
	rest := copy(q.waiting, q.waiting[n:])
	clear(q.waiting[rest:]) // what was answered is not kept alive
	q.waiting = q.waiting[:rest]
	q.size -= size
	return into
}

// close refuses further requests.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// do has the committer do a task and waits for its answer.
func (t *Streams) do(ctx context.Context, task task, size int) error {
	if err := t.store.fence.err(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("nothing was done: %w", err)
	}
	r := &request{task: task, size: size, done: make(chan struct{})}
	if err := t.queue.put(r); err != nil {
		if errors.Is(err, ErrBusy) {
			t.counts.busy.Add(1)
		}
		return err
	}
	var err error
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-t.store.fence.up:
		err = t.store.fence.err()
	}
	if r.withdraw() {
		return fmt.Errorf("nothing was done: %w", err)
	}
	select {
	case <-r.done: // both happened: the answer is better than none
		return r.err
	default:
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	}
}
