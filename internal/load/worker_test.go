package load

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/netio"
	"github.com/truechimer/truechimer/internal/ntp"
)

// echo are flows without a network: what is sent is answered at once, as answer says.
type echo struct {
	answer func(request, reply []byte) (n int) // how often; nil is once, rightly
	out    [netio.FlowBatchMax][ntp.HeaderLen]byte
	in     [netio.FlowBatchMax]netio.Message
	queues [][][ntp.HeaderLen]byte
	heads  []int
	full   bool // nothing more is taken
	reply  [ntp.HeaderLen]byte
	sends  []int // by socket
}

func newEcho(n int) *echo {
	e := &echo{queues: make([][][ntp.HeaderLen]byte, n), heads: make([]int, n), sends: make([]int, n)}
	for i := range e.queues {
		e.queues[i] = make([][ntp.HeaderLen]byte, 0, 4*netio.FlowBatchMax)
	}
	return e
}

func (e *echo) Len() int                { return len(e.queues) }
func (e *echo) Out(i int) []byte        { return e.out[i][:] }
func (e *echo) In(i int) *netio.Message { return &e.in[i] }
func (e *echo) Watch(int)               {}
func (e *echo) Wait(time.Duration)      {}
func (e *echo) Dropped() uint64         { return 0 }
func (e *echo) Close() error            { return nil }

func (e *echo) Send(flow, n int) (int, error) {
	if e.full {
		return 0, nil
	}
	e.sends[flow]++
	for i := range n {
		e.reply = e.out[i]
		b := e.reply[:]
		copy(b[24:32], b[40:48])
		b[0] = b[0]&0x38 | 4
		b[1], b[32], b[40] = 2, 1, 1
		times := 1
		if e.answer != nil {
			times = e.answer(e.out[i][:], b)
		}
		for range times {
			e.queues[flow] = append(e.queues[flow], e.reply)
		}
	}
	return n, nil
}

func (e *echo) Receive(flow int) (n int, err error) {
	q := e.queues[flow]
	for n < len(e.in) && e.heads[flow] < len(q) {
		e.in[n] = netio.Message{Data: q[e.heads[flow]][:], At: time.Now().UnixNano(), Stamped: true}
		e.heads[flow]++
		n++
	}
	if e.heads[flow] == len(q) {
		e.heads[flow], e.queues[flow] = 0, q[:0]
	}
	return n, nil
}

func echoOptions(loop Loop) Options {
	o := Defaults()
	o.Loop, o.Sockets, o.Window, o.Warmup, o.Duration, o.Timeout = loop, 3, 5, 2*time.Millisecond, 20*time.Millisecond, 10*time.Millisecond
	return o
}

// Every request is accounted for, whatever the server does.
func TestWorkerAccounts(t *testing.T) {
	for name, c := range map[string]struct {
		times func(i int) int // how often the i-th request is answered
		lossy bool
	}{
		"once":   {func(int) int { return 1 }, false},
		"twice":  {func(int) int { return 2 }, false},
		"never":  {func(int) int { return 0 }, true},
		"half":   {func(i int) int { return i % 2 }, true},
		"0 to 3": {func(i int) int { return i % 4 }, true},
	} {
		for _, rate := range []float64{0, 50_000} {
			e, i := newEcho(3), 0
			e.answer = func([]byte, []byte) int { i++; return c.times(i) }
			o := echoOptions(Closed)
			o.Warmup, o.Duration = 0, 60*time.Millisecond // the first turn counts, if the machine lets us have no more
			if !c.lossy {
				o.Timeout = timeoutMax // so that nothing is late, however busy the machine is
			}
			w := newWorker(&o, e, newCookies(), new(atomic.Bool))
			for range 2 { // nothing of the first step is left in the second
				w.run(rate)
				s := w.tally.result()
				if s.Measured < 20*time.Millisecond || s.Sent == 0 || s.Bad() != 0 || s.Counts[Late] > 0 && !c.lossy || s.Unsent != 0 {
					t.Errorf("%s at %v: %+v", name, rate, s)
				}
				if s.Answered()+s.Counts[Late]+s.Lost() != s.Sent || s.RoundTrip.Count != s.Answered() || s.Offset.Count != s.Answered() || s.Stamped != s.Answered() {
					t.Errorf("%s at %v: %d answered and %d lost of %d; %d measured", name, rate, s.Answered(), s.Lost(), s.Sent, s.RoundTrip.Count)
				}
				if (s.Lost() > 0) != c.lossy || (s.LossPercent() > 0) != c.lossy || s.Heard() != (name != "never") {
					t.Errorf("%s at %v: %d lost of %d", name, rate, s.Lost(), s.Sent)
				}
				if dup := s.Counts[Duplicate] > 0; dup != (name == "twice" || name == "0 to 3") {
					t.Errorf("%s at %v: %d duplicates", name, rate, s.Counts[Duplicate])
				}
				for flow, n := range w.ledger.outstanding {
					if n != 0 {
						t.Errorf("%s at %v: %d are outstanding at socket %d after it", name, rate, n, flow)
					}
				}
			}
		}
	}
}

// The window is never passed, and is full after each turn.
func TestWorkerWindow(t *testing.T) {
	e, o := newEcho(3), echoOptions(Closed)
	o.Window, o.Batch = 5, 2
	w := newWorker(&o, e, newCookies(), new(atomic.Bool))
	answered := 0
	e.answer = func([]byte, []byte) int { answered++; return answered % 2 }
	for turn := range 100 {
		w.closed()
		for flow, n := range w.ledger.outstanding {
			if n > 5 || turn > 30 && n < 5 {
				t.Fatalf("%d in flight at socket %d after turn %d", n, flow, turn)
			}
		}
	}
	// What is lost makes room, once its time is up.
	before := w.ledger.next
	w.closed()
	if w.ledger.next != before {
		t.Errorf("%d more were sent with the window full", w.ledger.next-before)
	}
	w.step(w.now() + int64(o.Timeout) + int64(time.Hour))
	if w.ledger.next == before {
		t.Error("nothing was sent after all had expired")
	}
}

// What the kernel does not take is no request.
func TestWorkerUnsent(t *testing.T) {
	e, o := newEcho(1), echoOptions(Open)
	e.full = true
	o.Sockets = 1
	w := newWorker(&o, e, newCookies(), new(atomic.Bool))
	w.run(10_000)
	if s := w.tally.result(); s.Sent != 0 || s.Unsent == 0 || s.Lost() != 0 || s.LossPercent() != 0 || !s.GeneratorLimited() {
		t.Errorf("%+v", s)
	}
}

// Requests of the version asked for, in mode 3, no two with the same cookie.
func TestWorkerRequests(t *testing.T) {
	for version := uint8(1); version <= 4; version++ {
		e, o := newEcho(2), echoOptions(Open)
		o.Version = version
		seen := map[[8]byte]bool{}
		e.answer = func(request, _ []byte) int {
			if request[0] != version<<3|3 {
				t.Errorf("asked with %x", request[0])
			}
			for i, b := range request[1:40] {
				if b != 0 {
					t.Errorf("byte %d is %x", i+1, b)
				}
			}
			if cookie := [8]byte(request[40:]); seen[cookie] {
				t.Errorf("%x again", cookie)
			} else {
				seen[cookie] = true
			}
			return 1
		}
		w := newWorker(&o, e, newCookies(), new(atomic.Bool))
		w.run(100_000)
		if e.sends[0]-e.sends[1] > 1 || e.sends[1] > e.sends[0] { // in turns
			t.Errorf("%v sends", e.sends)
		}
		if s := w.tally.result(); s.Answered() == 0 || s.Bad() != 0 {
			t.Errorf("version %d: %+v", version, s)
		}
	}
}

func TestWorkerDoesNotAllocate(t *testing.T) {
	for _, loop := range []Loop{Closed, Open} {
		o := echoOptions(loop)
		w := newWorker(&o, newEcho(3), newCookies(), new(atomic.Bool))
		w.tally.reset()
		w.counting, w.from, w.to = true, w.ledger.next, 1<<52
		if loop == Open {
			w.pace = pacer{rate: 5_000_000}
		}
		n := testing.AllocsPerRun(1000, func() {
			now := w.now()
			w.rest(now, !w.step(now))
		})
		if n != 0 || w.tally.step.Answered() == 0 {
			t.Errorf("loop %d: %v allocations in a turn, %d answers", loop, n, w.tally.step.Answered())
		}
	}
}

func BenchmarkWorkerTurn(b *testing.B) {
	o := echoOptions(Closed)
	o.Window = 32
	w := newWorker(&o, newEcho(3), newCookies(), new(atomic.Bool))
	w.tally.reset()
	w.counting, w.from, w.to = true, w.ledger.next, 1<<52
	b.ReportAllocs()
	for b.Loop() {
		w.closed()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(w.tally.step.Answered()), "ns/answer")
}
