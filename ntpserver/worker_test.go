package ntpserver

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/netio"
	"github.com/truechimer/truechimer/internal/ntp"
)

// remember is a log handler's output.
type remember struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *remember) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

// over runs a server over a socket without a network.
func over(t *testing.T, socket netio.Socket, o Options) *Server {
	clients, err := NewClients(o.ClientsMax, o.BasicOnly)
	if err != nil {
		t.Fatal(err)
	}
	if err := clients.SetPolicy(o.Policy); err != nil {
		t.Fatal(err)
	}
	s := newServer(o, clients, []netio.Socket{socket})
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background()) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s", what)
		}
	}
}

// still returns the worker of a server over a socket that does not run: a test
// makes its steps.
func still(t testing.TB, socket netio.Socket, o Options) *worker {
	t.Helper()
	clients := newClients(t, o.ClientsMax, o.Policy)
	if o.Claims == nil {
		c := honest()
		o.Claims = func() *Claims { return c }
	}
	return newServer(o, clients, []netio.Socket{socket}).workers[0]
}

// counting is a socket that remembers how many replies each Flush sent, and how often
// it was asked for departures, of which it tells nothing while late.
type counting struct {
	*netio.Memory
	mu     sync.Mutex
	groups []int
	asked  int
	late   bool
}

func (c *counting) Departures(batch *netio.Batch) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.late {
		return 0
	}
	return c.Memory.Departures(batch)
}

func (c *counting) Flush(batch *netio.Batch) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.groups = append(c.groups, batch.Queued())
	return c.Memory.Flush(batch)
}

// TestWorkerAnswersInGroups: a batch with gaps is answered whole, each to its
// sender, and no more than a group by one system call.
func TestWorkerAnswersInGroups(t *testing.T) {
	m := &counting{Memory: netio.NewMemory(addrs("192.0.2.1:123")[0])}
	c := serving()
	s := over(t, m, Options{Claims: func() *Claims { return c }})
	var batch []netio.Message
	answers := 0
	for i := range netio.BatchMax {
		msg := netio.Message{Data: plain(4, ntp.ModeClient), From: netip.AddrPortFrom(client().Addr(), uint16(1000+i)), At: c.At, Stamped: i != 3}
		msg.Data[47] = byte(i)
		switch {
		case i%5 == 2:
			msg.Data = msg.Data[:40]
		case i%7 == 5:
			msg.Truncated = true
		default:
			answers++
		}
		batch = append(batch, msg)
	}
	m.Deliver(batch...)
	until(t, "the replies", func() bool { return len(m.Sent()) == answers })
	for _, d := range m.Sent() {
		h, err := ntp.Decode(d.Data)
		if err != nil || int(h.Origin&0xff) != int(d.To.Port())-1000 || len(d.Data) != 48 {
			t.Errorf("to %s: %+v, %v", d.To, h, err)
		}
		if got := h.Receive.Sub(ntp.FromUnix(c.At)); got.Abs() > h.Precision.Duration() {
			t.Errorf("T2 is %v from the arrival's stamp", got)
		}
	}
	m.mu.Lock()
	for i, n := range m.groups {
		if want := min(sendGroup, answers-sendGroup*i); n != want {
			t.Errorf("group %d: %d replies, want %d", i, n, want)
		}
	}
	m.mu.Unlock()
	counts := s.Counts()
	if counts.Unstamped != 1 || counts.Verdicts[Answered] != uint64(answers) || counts.Verdicts[DropShort]+counts.Verdicts[DropTruncated] != uint64(netio.BatchMax-answers) {
		t.Errorf("counts %+v", counts)
	}
}

// TestWorkerCountsSendErrors: a worker outlives a network that refuses it, and
// says so once.
func TestWorkerCountsSendErrors(t *testing.T) {
	m := netio.NewMemory(addrs("192.0.2.1:123")[0])
	var log remember
	s := over(t, m, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	m.Refuse(syscall.EPERM)
	request := netio.Message{Data: plain(4, ntp.ModeClient), From: client(), At: noon, Stamped: true}
	for range 100 {
		m.Deliver(request, request)
	}
	until(t, "the errors", func() bool { return s.Counts().SendErrors == 200 })
	m.Refuse(nil)
	m.Deliver(request)
	until(t, "an answer", func() bool { return len(m.Sent()) == 1 })
	log.mu.Lock()
	defer log.mu.Unlock()
	if got := strings.Count(log.text.String(), "\n"); got != 1 || !strings.Contains(log.text.String(), "operation not permitted") {
		t.Errorf("%d lines: %s", got, &log.text)
	}
}

// broken is a socket whose receives fail at first.
type broken struct {
	*netio.Memory
	left int
}

func (b *broken) Receive(batch *netio.Batch) (int, error) {
	if b.left > 0 {
		b.left--
		return 0, syscall.ENOBUFS
	}
	return b.Memory.Receive(batch)
}

func TestWorkerOutlivesReceiveErrors(t *testing.T) {
	b := &broken{Memory: netio.NewMemory(addrs("192.0.2.1:123")[0]), left: 3}
	s := over(t, b, Options{})
	b.Deliver(netio.Message{Data: plain(4, ntp.ModeClient), From: client(), At: noon})
	until(t, "an answer", func() bool { return len(b.Sent()) == 1 })
	if got := s.Counts().ReceiveErrors; got != 3 {
		t.Errorf("%d receive errors", got)
	}
}

// TestCloseDoesNotWaitForTheBackoff closes a server whose socket only fails.
func TestCloseDoesNotWaitForTheBackoff(t *testing.T) {
	b := &broken{Memory: netio.NewMemory(addrs("192.0.2.1:123")[0]), left: 1 << 30}
	s := newServer(Options{}, new(Clients), []netio.Socket{b})
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background()) }()
	// The tenth pause is half a second, and the nine before it as much together.
	begun := time.Now()
	until(t, "a long pause", func() bool { return s.Counts().ReceiveErrors >= 10 })
	start := time.Now()
	if start.Sub(begun) < 400*time.Millisecond {
		t.Errorf("ten errors in %v", start.Sub(begun))
	}
	_ = s.Close()
	if err := <-done; err != nil || time.Since(start) > 250*time.Millisecond {
		t.Errorf("Serve returned %v after %v", err, time.Since(start))
	}
}

// TestQuietIsTheServers: many workers log no more than one.
func TestQuietIsTheServers(t *testing.T) {
	var sockets []netio.Socket
	for range 3 {
		sockets = append(sockets, netio.NewMemory(addrs("192.0.2.1:123")[0]))
	}
	var log remember
	s := newServer(Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, new(Clients), sockets)
	for _, w := range s.workers {
		w.complain("send replies", syscall.EPERM)
	}
	if n := strings.Count(log.text.String(), "\n"); n != 1 {
		t.Errorf("%d lines", n)
	}
	_ = s.Close()
}
