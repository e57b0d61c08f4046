package ntpserver

import (
	"log/slog"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/internal/netio"
	"github.com/truechimer/truechimer/internal/ntp"
)

// batchStep lets a worker answer one batch, as run does, at an instant of its
// monotonic clock, and returns the replies.
func batchStep(t testing.TB, w *worker, m *netio.Memory, mono time.Duration, messages ...netio.Message) []ntp.Header {
	t.Helper()
	before := len(m.Sent())
	m.Deliver(messages...)
	n, err := w.socket.Receive(w.batch)
	if err != nil || n != len(messages) {
		t.Fatalf("%d messages, %v", n, err)
	}
	w.collect(int64(mono))
	w.answer(n, int64(mono))
	w.collect(int64(mono))
	var replies []ntp.Header
	for _, d := range m.Sent()[before:] {
		h, err := ntp.Decode(d.Data)
		if err != nil {
			t.Fatal(err)
		}
		replies = append(replies, h)
	}
	return replies
}

// arriving returns a message from the i-th client.
func arriving(req []byte, i int) netio.Message {
	from := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
	return netio.Message{Data: req, From: netip.AddrPortFrom(from, 41000), At: noon + int64(i)*second, Stamped: true}
}

// TestWorkerPredictsDepartures: the replies of a group say that they leave one after
// the other, by what the groups before have taken.
func TestWorkerPredictsDepartures(t *testing.T) {
	m := netio.NewMemory(addrs("192.0.2.1:123")[0])
	fine := honest()
	fine.Precision = -32
	w := still(t, m, Options{Claims: func() *Claims { return fine }})
	const began, each = noon + 100*second, 1000 * sendGroup
	clock := began
	w.now = func() int64 { clock += each; return clock } // every send takes as long
	var batch []netio.Message
	for i := range sendGroup + 3 {
		batch = append(batch, arriving(plain(4, ntp.ModeClient), i))
	}
	w.pace.gap = 640
	want := w.pace
	departure := int64(began)
	for round := range 20 {
		for i, h := range batchStep(t, w, m, 0, batch...) {
			switch i {
			case 0:
				departure += each
			case sendGroup:
				want.learn(each, sendGroup)
				departure += 2 * each
			}
			at := departure + want.wait(i%sendGroup)
			if got := h.Transmit.Unix(noon) - at; got < -1 || got > 1 { // the lowest bit
				t.Fatalf("round %d, reply %d: departs %d ns from %d", round, i, got, at)
			}
		}
		want.learn(each, 3)
		departure += each
		if w.pace != want {
			t.Fatalf("round %d: pace %+v, want %+v", round, w.pace, want)
		}
	}
	if want.gap <= 640 || want.gap > each/3 {
		t.Errorf("the pace is %d after all", want.gap)
	}
}

// TestWorkerFollows: what the kernel tells of a reply is what the client hears in the
// next one; whoever does not ask for it costs no call.
func TestWorkerFollows(t *testing.T) {
	m := &counting{Memory: netio.NewMemory(addrs("192.0.2.1:123")[0])}
	w := still(t, m, Options{})
	w.now = func() int64 { return noon + 100*second }
	left := int64(0) // after the arrival
	m.Depart(func(d netio.Datagram) (int64, bool) {
		return ntp.Timestamp(receiveOf(d.Data)).Unix(noon) + left, left > 0
	})
	batch := make([]netio.Message, netio.BatchMax)
	for i := range batch {
		batch[i] = arriving(plain(4, ntp.ModeClient), i)
	}
	for range 3 {
		batchStep(t, w, m.Memory, 0, batch...)
	}
	if m.asked != 0 || w.counters.departures.Load() != 0 {
		t.Errorf("departures of basic replies: asked %d times", m.asked)
	}

	// Three rounds in interleaved mode: missed, then twice what was told.
	receive := make([]ntp.Timestamp, len(batch))
	for round := range 3 {
		for i := range batch {
			batch[i].Data = interleavedRequest(uint64(receive[i]) | 1)
		}
		wanted := left
		left = int64(50_000 + 1000*round)
		for i, h := range batchStep(t, w, m.Memory, 0, batch...) {
			if round == 0 {
				if h.Origin != 0x1122334455667788 {
					t.Fatalf("client %d: %+v", i, h)
				}
			} else if d := h.Transmit.Sub(receive[i]) - time.Duration(wanted); h.Origin != 0x99 || d.Abs() > 100 {
				t.Fatalf("round %d, client %d: left %v after it arrived: %+v", round, i, h.Transmit.Sub(receive[i]), h)
			}
			receive[i] = h.Receive
		}
		if w.followed != 0 || m.asked != 2*(round+1) && m.asked != round+1 {
			t.Errorf("round %d: %d are followed after %d calls", round, w.followed, m.asked)
		}
	}
	c := &w.counters
	if c.departures.Load() != 3*netio.BatchMax || c.unfollowed.Load() != 0 ||
		c.verdicts[AnsweredMissed].Load() != netio.BatchMax || c.verdicts[AnsweredInterleaved].Load() != 2*netio.BatchMax {
		t.Errorf("%d departures, %d unfollowed", c.departures.Load(), c.unfollowed.Load())
	}
}

// TestWorkerLateDeparture: one that is told after the batch is collected before the next
// is answered.
func TestWorkerLateDeparture(t *testing.T) {
	m := &counting{Memory: netio.NewMemory(addrs("192.0.2.1:123")[0])}
	c := honest()
	s := over(t, m, Options{Claims: func() *Claims { return c }})
	m.Depart(func(netio.Datagram) (int64, bool) { return noon + 5000, true })
	late := func(yes bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.late = yes
	}
	late(true)
	m.Deliver(netio.Message{Data: interleavedRequest(1), From: client(), At: noon, Stamped: true})
	until(t, "the first reply", func() bool { return len(m.Sent()) == 1 })
	until(t, "a call for departures", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.asked == 1
	})
	late(false)
	m.Deliver(netio.Message{Data: interleavedRequest(receiveOf(m.Sent()[0].Data)), From: client(), At: noon + second, Stamped: true})
	until(t, "the second reply", func() bool { return len(m.Sent()) == 2 })
	h, _ := ntp.Decode(m.Sent()[1].Data)
	if d := h.Transmit.Unix(noon) - (noon + 5000); h.Origin != 0x99 || d < -100 || d > 100 {
		t.Errorf("%+v, %d ns off", h, d)
	}
	// The third batch is answered after the second's departures were collected.
	m.Deliver(netio.Message{Data: plain(4, ntp.ModeClient), From: client(), At: noon, Stamped: true})
	until(t, "the third reply", func() bool { return len(m.Sent()) == 3 })
	if got := s.Counts(); got.Departures != 2 || got.Unfollowed != 0 || got.Verdicts[AnsweredInterleaved] != 1 {
		t.Errorf("%+v", got)
	}
}

// TestWorkerGivesUp: what the kernel has not told within a second is counted, and
// costs no call any more.
func TestWorkerGivesUp(t *testing.T) {
	m := &counting{Memory: netio.NewMemory(addrs("192.0.2.1:123")[0])}
	w := still(t, m, Options{})
	for i, v := range []struct {
		at                   time.Duration
		req                  []byte
		followed, unfollowed int
		asked                bool
	}{
		{10 * time.Second, interleavedRequest(1), 1, 0, true},
		{10*time.Second + 1, interleavedRequest(3), 2, 0, true},
		{11 * time.Second, interleavedRequest(15), 3, 0, true},
		{11*time.Second + 1, plain(4, ntp.ModeClient), 0, 3, true}, // though the last was asked for a moment ago
		{11*time.Second + 3, plain(4, ntp.ModeClient), 0, 3, false},
		{12 * time.Second, interleavedRequest(5), 1, 3, true},
		{14 * time.Second, interleavedRequest(7), 1, 4, true},
	} {
		m.asked = 0
		batchStep(t, w, m.Memory, v.at, arriving(v.req, i))
		if got := w.counters.unfollowed.Load(); w.followed != v.followed || got != uint64(v.unfollowed) || (m.asked > 0) != v.asked {
			t.Errorf("step %d: %d followed, %d given up, %d calls", i, w.followed, got, m.asked)
		}
	}
	if w.counters.departures.Load() != 0 {
		t.Error("a departure that was not told")
	}
	// Those that are told at last count, and never below zero.
	m.Depart(func(netio.Datagram) (int64, bool) { return noon, true })
	m.late = true
	batchStep(t, w, m.Memory, 20*time.Second, arriving(interleavedRequest(9), 21), arriving(interleavedRequest(11), 22))
	batchStep(t, w, m.Memory, 30*time.Second, arriving(plain(4, ntp.ModeClient), 1))
	m.late = false
	batchStep(t, w, m.Memory, 30*time.Second, arriving(interleavedRequest(13), 23))
	var sum Counts
	w.counters.addTo(&sum)
	if w.followed != 0 || sum.Departures != 3 || sum.Unfollowed != 7 {
		t.Errorf("%d followed, %+v", w.followed, sum)
	}
}

// TestWorkerAwaitsWhatWasSent only: a reply that the kernel refused has no departure.
func TestWorkerAwaitsWhatWasSent(t *testing.T) {
	m := &counting{Memory: netio.NewMemory(addrs("192.0.2.1:123")[0])}
	w := still(t, m, Options{})
	m.Refuse(syscall.EPERM)
	batchStep(t, w, m.Memory, time.Second, arriving(interleavedRequest(1), 1))
	if w.followed != 0 || m.asked != 0 {
		t.Errorf("%d followed, %d calls", w.followed, m.asked)
	}
}

// TestWorkerCollectsAll that is there, however many batches it is of.
func TestWorkerCollectsAll(t *testing.T) {
	m := &counting{Memory: netio.NewMemory(addrs("192.0.2.1:123")[0]), late: true}
	w := still(t, m, Options{})
	m.Depart(func(netio.Datagram) (int64, bool) { return noon, true })
	const batches = 5
	batch := make([]netio.Message, netio.BatchMax)
	for k := range batches {
		for i := range batch {
			batch[i] = arriving(interleavedRequest(1), k*len(batch)+i)
		}
		batchStep(t, w, m.Memory, 0, batch...)
	}
	m.late = false
	w.collect(0)
	if got := w.counters.departures.Load(); got != batches*netio.BatchMax || w.followed != 0 {
		t.Errorf("%d departures, %d are still followed", got, w.followed)
	}
}

// TestDeparturesAreShared: the next request may come to another worker.
func TestDeparturesAreShared(t *testing.T) {
	one, two := netio.NewMemory(addrs("192.0.2.1:123")[0]), netio.NewMemory(addrs("192.0.2.1:123")[0])
	c := honest()
	s := newServer(Options{Claims: func() *Claims { return c }}, newClients(t, 0, Policy{}), []netio.Socket{one, two})
	one.Depart(func(netio.Datagram) (int64, bool) { return noon + 70_000, true })
	replies := batchStep(t, s.workers[0], one, 0, netio.Message{Data: interleavedRequest(1), From: client(), At: noon})
	req := interleavedRequest(uint64(replies[0].Receive))
	from := netip.AddrPortFrom(client().Addr(), 999)
	replies = batchStep(t, s.workers[1], two, 0, netio.Message{Data: req, From: from, At: noon + second})
	if h := replies[0]; h.Origin != 0x99 || h.Transmit.Sub(ntp.FromUnix(noon+70_000)).Abs() > 100 {
		t.Errorf("%+v", h)
	}
	if got := s.Clients(5); len(got) != 1 || !got[0].Interleaved || got[0].Requests != 2 {
		t.Errorf("%+v", got)
	}
	batchStep(t, s.workers[1], two, 0, arriving(plain(4, ntp.ModeClient), 99))
	if all, one := s.Clients(5), s.Clients(1); len(all) != 2 || len(one) != 1 || one[0] != all[0] {
		t.Errorf("%+v, and of these %+v", all, one)
	}
	if got := s.Counts(); got.Unstamped != 2 || got.Verdicts[Answered] != 1 || got.Departures != 1 {
		t.Errorf("%+v", got)
	}
}

// TestWorkerTellsKernelDrops as the socket counts them, not once per batch.
func TestWorkerTellsKernelDrops(t *testing.T) {
	m := netio.NewMemory(addrs("192.0.2.1:123")[0])
	s := over(t, m, Options{})
	for i, v := range []struct {
		dropped uint32
		want    uint64
	}{{0, 0}, {5, 5}, {0, 5}, {2, 7}} {
		m.Drop(v.dropped)
		m.Deliver(arriving(plain(4, ntp.ModeClient), 1))
		until(t, "a reply", func() bool { return len(m.Sent()) == i+1 })
		until(t, "the drops", func() bool { return s.Counts().KernelDrops == v.want })
	}
}

// flood is a socket at which something is always wrong: every receive takes ten
// milliseconds and fails, or brings garbage, or requests whose replies cannot be sent.
type flood struct {
	*netio.Memory
	turn int
}

func (f *flood) Receive(batch *netio.Batch) (int, error) {
	time.Sleep(10 * time.Millisecond)
	messages := make([]netio.Message, netio.BatchMax)
	switch f.turn++; f.turn % 4 {
	case 0:
		return 0, syscall.ENOBUFS
	case 1:
		for i := range messages {
			messages[i] = arriving(make([]byte, 8*i), i)
		}
	case 2:
		for i := range messages {
			messages[i] = arriving(plain(4, ntp.ModeClient), i)
		}
	case 3:
		for i := range messages {
			messages[i] = arriving(interleavedRequest(uint64(f.turn)|1), i)
		}
	}
	f.Deliver(messages...)
	return f.Memory.Receive(batch)
}

// TestFloodIsNotLogged: a line in ten seconds from each worker, of errors at whatever
// rate.
func TestFloodIsNotLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log remember
		f := &flood{Memory: netio.NewMemory(addrs("192.0.2.1:123")[0])}
		f.Refuse(syscall.EPERM)
		s := over(t, f, Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Policy: Policy{Rate: Rate{Interval: time.Hour, Burst: 1e6}}})
		const span = 65 * time.Second
		time.Sleep(span)
		synctest.Wait()
		counts := s.Counts()
		if counts.SendErrors < 50_000 || counts.ReceiveErrors < 1000 || counts.Verdicts[DropShort] < 5000 {
			t.Errorf("that was no flood: %+v", counts)
		}
		_ = s.Close()
		log.mu.Lock()
		defer log.mu.Unlock()
		if got := strings.Count(log.text.String(), "\n"); got < 2 || got > 1+int(span/logEvery) {
			t.Errorf("%d lines in %v: %s", got, span, &log.text)
		}
	})
}
