package netio

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// arrivalsMax is how many datagrams wait at one plain flow; more are dropped, as a
// kernel drops them.
const arrivalsMax = 1024

// plainFlows are sockets of the standard library, each with a goroutine that reads it:
// the arrival is read after the receive.
type plainFlows struct {
	flows   []plainFlow
	arrived chan struct{} // holds one token where something has come since the last Wait
	readers sync.WaitGroup
	dropped atomic.Uint64
	out     [FlowBatchMax][]byte
	in      [FlowBatchMax]Message
}

// plainFlow is one socket and what has arrived at it.
type plainFlow struct {
	conn  *net.UDPConn
	queue chan arrival
}

// arrival is a datagram, or what the network said instead.
type arrival struct {
	message Message
	err     error
}

// dialPlainFlows opens n plain sockets to a server.
func dialPlainFlows(server netip.AddrPort, n, lenBytes int) (*plainFlows, error) {
	f := &plainFlows{arrived: make(chan struct{}, 1)}
	for i := range f.out {
		f.out[i] = make([]byte, lenBytes)
	}
	for range n {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
		if err != nil {
			_ = f.Close()
			return nil, err
		}
		flow := plainFlow{conn, make(chan arrival, arrivalsMax)}
		f.flows = append(f.flows, flow)
		f.readers.Go(func() { f.read(flow) })
	}
	return f, nil
}

// read queues what arrives at a socket until it is closed.
func (f *plainFlows) read(flow plainFlow) {
	for {
		b := make([]byte, FlowDatagramMax+1)
		n, err := flow.conn.Read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		m := Message{Data: b[:min(n, FlowDatagramMax)], At: time.Now().UnixNano(), Truncated: n > FlowDatagramMax}
		select {
		case flow.queue <- arrival{m, err}:
		default:
			f.dropped.Add(1)
		}
		select {
		case f.arrived <- struct{}{}:
		default:
		}
	}
}

// Len implements Flows.
func (f *plainFlows) Len() int { return len(f.flows) }

// Out implements Flows.
func (f *plainFlows) Out(i int) []byte { return f.out[i] }

// Send implements Flows.
func (f *plainFlows) Send(flow, n int) (sent int, err error) {
	for _, b := range f.out[:n] {
		if _, err := f.flows[flow].conn.Write(b); err != nil {
			return sent, err
		}
		sent++
	}
	return sent, nil
}

// Receive implements Flows.
func (f *plainFlows) Receive(flow int) (n int, err error) {
	for n < FlowBatchMax {
		select {
		case a := <-f.flows[flow].queue:
			if a.err != nil {
				return n, a.err
			}
			f.in[n] = a.message
			n++
		default:
			return n, nil
		}
	}
	return n, nil
}

// In implements Flows.
func (f *plainFlows) In(i int) *Message { return &f.in[i] }

// Watch implements Flows. All are watched, always.
func (f *plainFlows) Watch(int) {}

// Wait implements Flows.
func (f *plainFlows) Wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-f.arrived:
	case <-timer.C:
	}
}

// Dropped implements Flows. What the kernel has dropped it does not say.
func (f *plainFlows) Dropped() uint64 { return f.dropped.Load() }

// Close implements Flows.
func (f *plainFlows) Close() error {
	var errs []error
	for _, flow := range f.flows {
		errs = append(errs, flow.conn.Close())
	}
	f.readers.Wait()
	return errors.Join(errs...)
}
