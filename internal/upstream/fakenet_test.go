package upstream

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/ntp"
)

// fakeNet is a network without sockets, for a synctest bubble: servers, a resolver, the
// clocks of this host, and a sink that writes down what it is told.
type fakeNet struct {
	t     *testing.T
	start time.Time

	mu      sync.Mutex
	servers map[netip.AddrPort]*fakeServer
	names   map[string][]netip.AddrPort // nil: the lookup fails
	lookups []time.Duration
	own     []netip.Addr
	wall    time.Duration // the wall clock less the bubble's
	open    int           // sockets
	opened  int

	sources []discipline.SourceOptions // opened, by id
	closed  map[discipline.SourceID]bool
	samples map[discipline.SourceID][]discipline.Sample
	told    []Measurement // of PollerOptions.Measured
	reach   map[discipline.SourceID][]uint8
	want    time.Duration // the interval that the discipline wants
}

// fakeServer answers requests.
type fakeServer struct {
	// answer is called with each request; its datagrams arrive after d.
	answer  func(request ntp.Header, now int64) (datagrams [][]byte, d time.Duration)
	dial    error
	send    error
	receive error
	asked   []time.Duration
	last    ntp.Header
}

const fakeTrip = 4 * time.Millisecond

func newFakeNet(t *testing.T) *fakeNet {
	return &fakeNet{
		t: t, start: time.Now(), servers: map[netip.AddrPort]*fakeServer{}, names: map[string][]netip.AddrPort{},
		closed: map[discipline.SourceID]bool{}, samples: map[discipline.SourceID][]discipline.Sample{}, reach: map[discipline.SourceID][]uint8{},
		want: 64 * time.Second,
	}
}

// serve adds servers that are right, half of fakeTrip away.
func (n *fakeNet) serve(all ...netip.AddrPort) *fakeServer {
	n.mu.Lock()
	defer n.mu.Unlock()
	var s *fakeServer
	for _, a := range all {
		s = &fakeServer{answer: rightAnswer}
		n.servers[a] = s
	}
	return s
}

func rightAnswer(request ntp.Header, now int64) ([][]byte, time.Duration) {
	return [][]byte{right(request, ntp.FromUnix(now+int64(fakeTrip/2))).Append(nil)}, fakeTrip
}

func changedAnswer(change func(*ntp.Header)) func(ntp.Header, int64) ([][]byte, time.Duration) {
	return func(request ntp.Header, now int64) ([][]byte, time.Duration) {
		h := right(request, ntp.FromUnix(now+int64(fakeTrip/2)))
		change(&h)
		return [][]byte{h.Append(nil)}, fakeTrip
	}
}

func silence(ntp.Header, int64) ([][]byte, time.Duration) { return nil, 0 }

// set changes something of the network while it is in use.
func (n *fakeNet) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

func (n *fakeNet) local() time.Duration { return time.Since(n.start) }

func (n *fakeNet) timeline() (time.Duration, int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.local(), time.Now().UnixNano() + int64(n.wall)
}

func (n *fakeNet) resolve(ctx context.Context, host string) ([]netip.AddrPort, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lookups = append(n.lookups, n.local())
	found, ok := n.names[host]
	if !ok {
		return nil, errors.New("no such name")
	}
	return found, nil
}

func (n *fakeNet) addresses() []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.own
}

// fakeConn is a socket of a fakeNet.
type fakeConn struct {
	net      *fakeNet
	server   *fakeServer
	arrivals chan []byte
	closed   chan struct{}
	gone     chan struct{}
	once     sync.Once
	sent     int64
}

func (n *fakeNet) dial(a netip.AddrPort) (Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.servers[a]
	if s == nil {
		s = &fakeServer{answer: silence}
		n.servers[a] = s
	}
	if s.dial != nil {
		return nil, s.dial
	}
	n.open++
	n.opened++
	return &fakeConn{net: n, server: s, arrivals: make(chan []byte, 100), closed: make(chan struct{}), gone: make(chan struct{})}, nil
}

func (c *fakeConn) Send(b []byte) (int64, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.sent != 0 {
		c.net.t.Error("a second request from one socket")
	}
	at := time.Now().UnixNano()
	request, err := ntp.Decode(b)
	if err != nil || len(b) != ntp.HeaderLen {
		c.net.t.Errorf("asked with %x", b)
	}
	c.server.asked = append(c.server.asked, c.net.local())
	c.server.last = request
	c.sent = at + int64(c.net.wall)
	if c.server.send != nil {
		return c.sent, c.server.send
	}
	datagrams, d := c.server.answer(request, at)
	time.AfterFunc(d, func() {
		for _, b := range datagrams {
			select {
			case c.arrivals <- b:
			default:
			}
		}
	})
	return c.sent, nil
}

func (c *fakeConn) Receive(b []byte) (int, int64, bool, error) {
	c.net.mu.Lock()
	err := c.server.receive
	c.net.mu.Unlock()
	if err != nil {
		return 0, 0, false, err
	}
	select {
	case <-c.closed:
		return 0, 0, false, net.ErrClosed
	case d := <-c.arrivals:
		_, at := c.net.timeline()
		return copy(b, d), at, true, nil
	}
}

func (c *fakeConn) Departed() (int64, bool) { return c.sent, true }

func (c *fakeConn) Close() error {
	first := false
	c.once.Do(func() { first = true })
	if !first {
		<-c.gone // a lock would stop the bubble's clock
		return nil
	}
	close(c.closed)
	time.Sleep(time.Millisecond) // who does not wait for it is found out
	c.net.set(func() { c.net.open-- })
	close(c.gone)
	return nil
}

// Open implements Sink.
func (n *fakeNet) Open(o discipline.SourceOptions) discipline.SourceID {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sources = append(n.sources, o)
	return discipline.SourceID(len(n.sources) - 1)
}

// Close implements Sink.
func (n *fakeNet) Close(id discipline.SourceID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if int(id) >= len(n.sources) || n.closed[id] {
		n.t.Errorf("closes source %d, which is not open", id)
	}
	n.closed[id] = true
}

// Add implements Sink.
func (n *fakeNet) Add(id discipline.SourceID, s discipline.Sample) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed[id] || len(n.reach[id]) == 0 || n.reach[id][len(n.reach[id])-1]&1 == 0 {
		n.t.Errorf("a sample of source %d, closed %v, reach %b", id, n.closed[id], n.reach[id])
	}
	n.samples[id] = append(n.samples[id], s)
	return n.want
}

// Reach implements Sink.
func (n *fakeNet) Reach(id discipline.SourceID, reach uint8) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reach[id] = append(n.reach[id], reach)
}

// live returns the ids that are open.
func (n *fakeNet) live() (ids []discipline.SourceID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id := range n.sources {
		if !n.closed[discipline.SourceID(id)] {
			ids = append(ids, discipline.SourceID(id))
		}
	}
	return ids
}

// plain is a source like most.
func plain(name, host string) Source {
	return Source{Name: name, Host: host, MinPoll: 6, MaxPoll: 10, Burst: true}
}

// poll runs a Poller over the network for the rest of the test.
func (n *fakeNet) poll(sources ...Source) *Poller {
	n.t.Helper()
	p, err := New(PollerOptions{
		Sources: sources, Sink: n, Timeline: n.timeline, Scale: plainScale{}, Pivot: n.start.UnixNano(), Precision: -25,
		Measured:  func(_ Source, m Measurement) { n.told = append(n.told, m) },
		Addresses: n.addresses, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Resolve: n.resolve, Dial: n.dial,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	n.t.Cleanup(func() {
		n.set(func() {})
		cancel()
		<-done
		n.set(func() {
			if n.open != 0 {
				n.t.Errorf("%d sockets are left open", n.open)
			}
		})
		synctest.Wait() // late deliveries
		if ids := n.live(); len(ids) != 0 {
			n.t.Errorf("sources %v are left open", ids)
		}
		if left := p.Status(); len(left) != 0 {
			n.t.Errorf("status after the end: %+v", left)
		}
	})
	synctest.Wait()
	return p
}

// pass lets time pass and all that is due happen.
func (n *fakeNet) pass(d time.Duration) {
	n.set(func() {}) // what the test has read is read before what happens next
	time.Sleep(d)
	synctest.Wait()
}

// one returns the status of the only server.
func one(t *testing.T, p *Poller) SourceStatus {
	t.Helper()
	all := p.Status()
	if len(all) != 1 {
		t.Fatalf("%d servers: %+v", len(all), all)
	}
	return all[0]
}
