package netio

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// plain is a socket of the standard library: one datagram at a time, the
// arrival read after the receive.
type plain struct {
	conn *net.UDPConn
}

// openPlain binds a plain socket to addr.
func openPlain(addr netip.AddrPort) (Socket, error) {
	network := "udp4" // never both families on one socket
	if addr.Addr().Is6() {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	return plain{conn}, nil
}

// LocalAddr implements Socket.
func (p plain) LocalAddr() netip.AddrPort {
	local := p.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
}

// Receive implements Socket.
func (p plain) Receive(b *Batch) (int, error) {
	b.queued = 0
	n, _, flags, from, err := p.conn.ReadMsgUDPAddrPort(b.buffers[0][:], nil)
	if err != nil {
		return 0, err
	}
	m := &b.messages[0]
	*m = Message{
		Data:      b.buffers[0][:n],
		From:      netip.AddrPortFrom(from.Addr().Unmap(), from.Port()),
		At:        time.Now().UnixNano(),
		Truncated: flags&msgTrunc != 0,
	}
	return 1, nil
}

// Flush implements Socket.
func (p plain) Flush(b *Batch) (failed int, last error) {
	for _, q := range b.queue[:b.queued] {
		_, err := p.conn.WriteToUDPAddrPort(b.buffers[q.message][:q.lenBytes], b.messages[q.message].From)
		if err != nil {
			failed, last = failed+1, err
		}
	}
	b.queued = 0
	return failed, last
}

// Departures implements Socket: nothing is ever known.
func (p plain) Departures(*Batch) int { return 0 }

// Close implements Socket. The standard library wakes the reader.
func (p plain) Close() error {
	if err := p.conn.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
