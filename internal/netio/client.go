package netio

import (
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Client is a connected UDP socket with a port of its own that the kernel chose: only
// the server it is connected to can answer, and a stranger has to guess the port. Not for
// concurrent use. Source: RFC 9109.
type Client struct {
	conn *net.UDPConn
	oob  [128]byte
}

// Dial connects to a server. It fails on addresses that cannot be reached from here.
func Dial(server netip.AddrPort) (*Client, error) {
	if !server.IsValid() || server.Port() == 0 {
		return nil, fmt.Errorf("connect to %v: no such server", server) // the kernel would take it for this host
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err == nil {
		if err = enableStamps(conn); err != nil {
			conn.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("connect to %v: %w", server, err)
	}
	return &Client{conn: conn}, nil
}

// Send sends b and returns the clock as it was read just before, Unix nanoseconds.
func (c *Client) Send(b []byte) (at int64, err error) {
	at = time.Now().UnixNano()
	_, err = c.conn.Write(b)
	return at, err
}

// Receive waits for a datagram, copies it to b, cut to its length, and returns when it
// arrived, Unix nanoseconds: stamped by the kernel where that can be had, else as read
// after the wait. The first moments after Dial can be without stamps: the kernel turns
// them on in the background where no other socket of the machine has asked for them.
func (c *Client) Receive(b []byte) (n int, at int64, stamped bool, err error) {
	n, oobn, _, _, err := c.conn.ReadMsgUDPAddrPort(b, c.oob[:])
	at = time.Now().UnixNano()
	if err != nil {
		return 0, 0, false, err
	}
	if stamp, ok := readStamp(c.oob[:], oobn); ok {
		return n, stamp, true, nil
	}
	return n, at, false, nil
}

// SetDeadline bounds the calls that follow.
func (c *Client) SetDeadline(t time.Time) error { return c.conn.SetDeadline(t) }

// Close closes the socket.
func (c *Client) Close() error { return c.conn.Close() }
