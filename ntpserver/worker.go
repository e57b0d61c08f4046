package ntpserver

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/truechimer/truechimer/internal/netio"
)

const (
	// sendGroup is how many replies leave by one system call. The clock is read
	// before it, and what each reply waits for those before it is predicted, see
	// pace; eight measured best between what is left of that error and the calls saved.
	sendGroup = 8

	// followedMax is how long the kernel may take to tell when a reply left.
	followedMax = time.Second

	// logEvery is how often a server may log about errors that packets or
	// the network cause.
	logEvery = 10 * time.Second

	// backoffMin and backoffMax bound the pause after a failed receive.
	backoffMin = time.Millisecond
	backoffMax = time.Second
)

// worker answers what arrives at one socket.
type worker struct {
	socket netio.Socket
	claims func() *Claims
	now    func() int64 // the kernel's clock, Unix nanoseconds
	mono   func() int64 // a clock that is never set, nanoseconds
	logger *slog.Logger
	quiet  *quiet          // of all workers of the server
	stop   <-chan struct{} // closed when the server is

	counters  counters
	batch     *netio.Batch
	responder Responder
	replies   [sendGroup][]byte // built, not yet sealed; those that the batch has queued
	pace      pace

	// Replies whose departure the kernel has yet to tell, and since when it owes
	// any, by mono.
	followed  int
	owedSince int64
}

// run answers until the socket is closed. It keeps a thread of the operating
// system to itself: it blocks in the kernel, where the scheduler could not help it,
// and stays on the core that its socket's packets arrive on.
func (w *worker) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	backoff := backoffMin
	for {
		n, err := w.socket.Receive(w.batch)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			w.counters.receiveErrors.Add(1)
			w.complain("receive requests", err)
			if !w.pause(backoff) {
				return
			}
			backoff = min(2*backoff, backoffMax)
		default:
			backoff = backoffMin
			now := w.mono()
			w.collect(now) // those that a slow driver told of only after the last batch
			w.answer(n, now)
			w.collect(now)
		}
	}
}

// answer answers the n requests of a batch, all by the same claims.
func (w *worker) answer(n int, mono int64) {
	w.responder.Use(w.claims())
	for i := range n {
		m := w.batch.Message(i)
		if !m.Stamped {
			w.counters.unstamped.Add(1)
		}
		verdict := w.respond(i, m, mono)
		w.counters.verdicts[verdict].Add(1)
		if w.batch.Queued() == sendGroup {
			w.send(mono)
		}
	}
	w.send(mono)
	w.counters.kernelDrops.Store(w.batch.Drops())
}

// respond builds the reply to the i-th message over the message itself.
func (w *worker) respond(i int, m *netio.Message, mono int64) Verdict {
	if m.Truncated {
		return DropTruncated
	}
	n, verdict := w.responder.Respond(m.Data, m.Data, Arrival{From: m.From, At: m.At, Mono: mono, Random: rand.Uint64()})
	if n == 0 {
		return verdict
	}
	w.replies[w.batch.Queued()] = m.Data[:n]
	w.batch.Queue(i, n, verdict.Followed())
	return verdict
}

// send seals what is queued and sends it.
func (w *worker) send(mono int64) {
	queued := w.batch.Queued()
	if queued == 0 {
		return
	}
	departure := w.now()
	for i, reply := range w.replies[:queued] {
		w.responder.Seal(reply, departure+w.pace.wait(i), rand.Uint64())
	}
	failed, err := w.socket.Flush(w.batch)
	w.pace.learn(w.now()-departure, queued)
	if departing := w.batch.Departing(); departing > 0 {
		if w.followed == 0 {
			w.owedSince = mono
		}
		w.followed += departing
	}
	if failed > 0 {
		w.counters.sendErrors.Add(uint64(failed))
		if !errors.Is(err, net.ErrClosed) {
			w.complain("send replies", err)
		}
	}
}

// collect takes what the kernel tells of replies that were followed, down to the last:
// what stays behind would take the place of another. It costs nothing while nobody is
// in interleaved mode. What the kernel owes for too long is given up.
func (w *worker) collect(mono int64) {
	if w.followed == 0 {
		return
	}
	for {
		n := w.socket.Departures(w.batch)
		if n == 0 {
			break
		}
		for i := range n {
			d := w.batch.Departure(i)
			w.responder.Departed(d.Data, d.At, rand.Uint64())
		}
		w.counters.departures.Add(uint64(n))
		w.followed = max(w.followed-n, 0)
	}
	if w.followed > 0 && mono-w.owedSince > int64(followedMax) {
		w.counters.unfollowed.Add(uint64(w.followed))
		w.followed = 0
	}
}

// complain logs an error, unless this server did so a short time ago: the
// counters tell how many there were.
func (w *worker) complain(what string, err error) {
	if !w.quiet.broken(w.mono()) {
		return
	}
	w.logger.Warn(what, "address", w.socket.LocalAddr().String(), "error", err, "quiet_for", logEvery)
}

// quiet is how long nothing more is logged, by a clock that is never set, in
// nanoseconds. It may be used concurrently.
type quiet struct {
	until atomic.Int64
}

// broken reports whether something may be logged now, and if so begins another
// logEvery of silence.
func (q *quiet) broken(mono int64) bool {
	until := q.until.Load()
	return mono >= until && q.until.CompareAndSwap(until, mono+int64(logEvery))
}

// pause waits, and returns false at once when the server is closed.
func (w *worker) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-w.stop:
		return false
	case <-timer.C:
		return true
	}
}
