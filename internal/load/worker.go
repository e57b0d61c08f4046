package load

import (
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/truechimer/truechimer/internal/netio"
	"github.com/truechimer/truechimer/internal/ntp"
)

const (
	// spin is how long a worker reads its sockets in vain before it sleeps, in nanoseconds. To
	// sleep and to be woken takes about as long.
	spin = 100_000
	// sleepMax is the longest that a worker sleeps.
	sleepMax = time.Millisecond
	// readsMax is how many sockets the open loop reads between two sends, and readsBehind how many where
	// more requests are due.
	readsMax, readsBehind = 8, 2

	transmitOffset = 40
)

// worker is one thread of the generator.
type worker struct {
	flows   netio.Flows
	ledger  *ledger
	version uint8
	window  int
	batch   int
	warmup  int64
	lasts   int64 // nanoseconds
	base    time.Time
	stop    *atomic.Bool

	// These change within a step.
	pace     pacer // of an open loop; its rate is 0 in a closed one
	rota     rota
	turn     int // the socket that the next request of the open loop leaves from
	counting bool
	from, to uint64 // the requests that are counted
	tally    tally
	moved    int64 // when something was last read or sent

	// For those who watch.
	sent, answered atomic.Uint64
}

// newWorker returns a worker over sockets, of which it becomes the owner.
func newWorker(o *Options, flows netio.Flows, c cookies, stop *atomic.Bool) *worker {
	w := &worker{
		flows:   flows,
		ledger:  newLedger(c, flows.Len(), o.remembered(), int64(o.Timeout)),
		version: o.Version,
		window:  o.Window,
		batch:   o.Batch,
		warmup:  int64(o.Warmup),
		lasts:   int64(o.Duration),
		base:    time.Now(),
		stop:    stop,
		rota:    newRota(flows.Len()),
	}
	for i := range netio.FlowBatchMax {
		ntp.Header{Version: o.Version, Mode: ntp.ModeClient}.Encode((*[ntp.HeaderLen]byte)(flows.Out(i)))
	}
	return w
}

// now returns the time since the worker began, nanoseconds.
func (w *worker) now() int64 { return int64(time.Since(w.base)) }

// hello sends one request and reports whether anything at all comes back in time.
func (w *worker) hello(patience time.Duration) (heard bool, err error) {
	w.tally.reset()
	w.counting, w.from, w.to = true, w.ledger.next, math.MaxUint64
	w.send(0, 1)
	defer w.ledger.expire(math.MaxInt64) // it takes no place in a window
	for began := w.now(); w.now()-began < int64(patience) && w.tally.step.Refused == 0 && !w.stop.Load(); {
		if w.receive(0) > 0 {
			return true, nil
		}
		w.flows.Watch(0)
		w.flows.Wait(sleepMax)
	}
	if w.tally.step.Refused > 0 {
		return false, syscall.ECONNREFUSED
	}
	return false, nil
}

// run makes one step at a rate, 0 being a closed loop, and counts it in tally.
func (w *worker) run(rate float64) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	w.tally.reset()
	w.tally.step.Wanted = rate
	w.counting, w.from, w.to = false, math.MaxUint64, math.MaxUint64
	w.sent.Store(0)
	w.answered.Store(0)
	began := w.now()
	w.pace = pacer{rate: rate, from: began}
	w.moved = began
	var end int64
	var cpu time.Duration
	var dropped uint64
	last, waited := began, int64(0) // when the last turn was, and how much of the time was for nothing
	for idle := false; !w.stop.Load(); {
		now := w.now()
		if idle {
			waited += now - last
		}
		last = now
		if !w.counting && now-began >= w.warmup {
			cpu, dropped = cpuTime(), w.flows.Dropped()
			now = w.now()
			w.counting, w.from, waited, last = true, w.ledger.next, 0, now
			end = now + w.lasts
		}
		if w.counting && now >= end {
			break
		}
		idle = !w.step(now)
		w.rest(now, idle)
	}
	if w.counting {
		ran := time.Duration(w.now() - (end - w.lasts))
		w.to = w.ledger.next
		w.tally.step.Measured, w.tally.ran, w.tally.waited = ran, ran, time.Duration(waited)
		w.tally.step.CPU = cpuTime() - cpu
	}
	w.drain()
	if w.counting {
		w.tally.step.Dropped = w.flows.Dropped() - dropped
	}
}

// step sends what is due, reads what has come, and reports whether there was any.
func (w *worker) step(now int64) (moved bool) {
	w.ledger.expire(now)
	if w.pace.rate == 0 {
		moved = w.closed()
	} else {
		moved = w.open(now)
	}
	if moved {
		w.moved = now
		w.sent.Store(w.tally.step.Sent)
		w.answered.Store(w.tally.step.Counts[Answered])
	}
	return moved
}

// closed reads every socket and fills its window.
func (w *worker) closed() (moved bool) {
	for flow := range w.flows.Len() {
		moved = w.receive(flow) > 0 || moved
		if room := w.window - int(w.ledger.outstanding[flow]); room > 0 {
			moved = w.send(flow, min(room, w.batch)) > 0 || moved
		}
	}
	return moved
}

// open sends what is due from the next socket and reads some of those that wait.
func (w *worker) open(now int64) (moved bool) {
	n, late := w.pace.due(now, w.batch)
	if n > 0 {
		if w.counting {
			w.tally.lag.add(late)
		}
		moved = w.send(w.turn, n) > 0
		w.rota.push(w.turn)
		if w.turn++; w.turn == w.flows.Len() {
			w.turn = 0
		}
	}
	reads := readsMax
	if n == w.batch {
		reads = readsBehind
	}
	for range min(reads, w.rota.n) {
		flow := w.rota.pop()
		moved = w.receive(flow) > 0 || moved
		if w.ledger.outstanding[flow] > 0 {
			w.rota.push(flow)
		}
	}
	return moved
}

// rest sleeps where nothing has come for a while and nothing is due for a while.
func (w *worker) rest(now int64, idle bool) {
	if !idle || now-w.moved < spin {
		return
	}
	d := sleepMax
	if w.pace.rate > 0 {
		d = min(d, time.Duration(w.pace.next()-now-spin))
	}
	if d > 0 {
		w.sleep(d)
	}
}

// sleep waits for an answer.
func (w *worker) sleep(d time.Duration) {
	for flow, n := range w.ledger.outstanding {
		if n > 0 {
			w.flows.Watch(flow)
		}
	}
	w.flows.Wait(d)
}

// drain waits for the answers that are still on their way, and gives up on the rest.
func (w *worker) drain() {
	for began := w.now(); w.now()-began <= w.ledger.timeout && w.ledger.waits(); {
		got := 0
		for flow, n := range w.ledger.outstanding {
			if n > 0 {
				got += w.receive(flow)
			}
		}
		if got == 0 {
			w.sleep(sleepMax)
		}
	}
	for flow := range w.flows.Len() {
		for w.receive(flow) == netio.FlowBatchMax {
		}
	}
	w.ledger.expire(math.MaxInt64)
}

// send sends n requests from a socket and returns how many have left.
func (w *worker) send(flow, n int) int {
	for i := range n {
		binary.BigEndian.PutUint64(w.flows.Out(i)[transmitOffset:], w.ledger.cookie(flow, i))
	}
	now := w.now() // T1
	done, err := w.flows.Send(flow, n)
	w.ledger.sent(flow, done, now)
	if w.counting {
		w.tally.step.Sent += uint64(done)
		w.tally.step.Unsent += uint64(n - done)
	}
	w.fault(err)
	return done
}

// receive judges and counts what has arrived at a socket, and returns how much.
func (w *worker) receive(flow int) int {
	n, err := w.flows.Receive(flow)
	w.fault(err)
	if n == 0 {
		return 0
	}
	t := time.Now()
	now, wall := int64(t.Sub(w.base)), t.UnixNano()
	for i := range n {
		m := w.flows.In(i)
		age := wall - m.At
		a := judge(w.ledger, w.version, flow, m.Data, now, age)
		w.count(&a, m, age)
	}
	return n
}

// count counts what is about a request that counts, or about none.
func (w *worker) count(a *answer, m *netio.Message, age int64) {
	if !w.counting || a.sequence != 0 && (a.sequence < w.from || a.sequence >= w.to) {
		return
	}
	w.tally.step.Counts[a.verdict]++
	switch a.verdict {
	case Answered:
		w.tally.answered(a, m.At, age, m.Stamped)
	case Kiss:
		w.tally.kissed(a.header.RefID, 1)
	}
}

// fault counts what the network says about a request, where it says it.
func (w *worker) fault(err error) {
	if err != nil && w.counting && errors.Is(err, syscall.ECONNREFUSED) {
		w.tally.step.Refused++
	}
}
