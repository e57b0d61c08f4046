package netio

import (
	"net"
	"net/netip"
	"sync"
)

// Memory is a Socket without a network: what a test delivers, Receive returns,
// and what is flushed the test can read. All its methods may be called
// concurrently.
type Memory struct {
	local    netip.AddrPort
	arrivals chan []Message
	closed   chan struct{}

	mu      sync.Mutex
	once    sync.Once
	sent    []Datagram
	refusal error
	drops   uint32
	depart  func(Datagram) (at int64, ok bool)
	left    []Departure // not yet fetched
}

// Datagram is a datagram that left a Memory.
type Datagram struct {
	To   netip.AddrPort
	Data []byte
}

// memoryBatches is how many batches can wait in a Memory.
const memoryBatches = 64

// NewMemory returns a socket that claims to be bound to local.
func NewMemory(local netip.AddrPort) *Memory {
	return &Memory{local: local, arrivals: make(chan []Message, memoryBatches), closed: make(chan struct{})}
}

// Deliver makes the messages, of which BatchMax are used at the most and whose
// Data are copied when they are received, one batch. It waits where
// too many wait.
func (m *Memory) Deliver(messages ...Message) { m.arrivals <- messages }

// Refuse makes every Flush from now on fail by err; nil lets them pass again.
func (m *Memory) Refuse(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refusal = err
}

// Depart has every reply that is queued with stamp and flushed from now on reported
// by Departures as having left at at(reply); not at all where that is not ok, nor
// where at is nil.
func (m *Memory) Depart(at func(Datagram) (at int64, ok bool)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.depart = at
}

// Drop has the next Receive tell that n more datagrams were dropped.
func (m *Memory) Drop(n uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drops += n
}

// Sent returns what was flushed so far.
func (m *Memory) Sent() []Datagram {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Datagram(nil), m.sent...)
}

// LocalAddr implements Socket.
func (m *Memory) LocalAddr() netip.AddrPort { return m.local }

// Receive implements Socket.
func (m *Memory) Receive(b *Batch) (int, error) {
	b.queued = 0
	select {
	case <-m.closed:
		return 0, net.ErrClosed
	case messages := <-m.arrivals:
		n := min(len(messages), BatchMax)
		for i := range n {
			b.messages[i] = messages[i]
			b.messages[i].Data = b.buffers[i][:copy(b.buffers[i][:], messages[i].Data)]
			b.messages[i].Truncated = messages[i].Truncated || len(messages[i].Data) > DatagramMax
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		b.tellDrops(m.drops)
		return n, nil
	}
}

// Flush implements Socket.
func (m *Memory) Flush(b *Batch) (failed int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	queue := b.queue[:b.queued]
	b.queued, b.departing = 0, 0
	if m.refusal != nil {
		return len(queue), m.refusal
	}
	for _, q := range queue {
		data := append([]byte(nil), b.buffers[q.message][:q.lenBytes]...)
		d := Datagram{To: b.messages[q.message].From, Data: data}
		m.sent = append(m.sent, d)
		if q.stamp {
			b.departing++
		}
		if q.stamp && m.depart != nil {
			if at, ok := m.depart(d); ok {
				m.left = append(m.left, Departure{Data: data, At: at})
			}
		}
	}
	return 0, nil
}

// Departures implements Socket.
func (m *Memory) Departures(b *Batch) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := copy(b.departures[:], m.left)
	m.left = m.left[n:]
	return n
}

// Close implements Socket.
func (m *Memory) Close() error {
	m.once.Do(func() { close(m.closed) })
	return nil
}
