package netio

import (
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Client is a connected UDP socket with a port of its own that the kernel chose: only
// the server it is connected to can answer, and a stranger has to guess the port. Not for
// concurrent use, but for SetDeadline and Close, which end the other calls. Source: RFC 9109.
type Client struct {
	conn *net.UDPConn
	oob  [128]byte
	sent []byte // what Send sent last
}

// Dial connects to a server. It fails on addresses that cannot be reached from here.
func Dial(server netip.AddrPort) (*Client, error) {
	if !server.IsValid() || server.Port() == 0 {
		return nil, fmt.Errorf("connect to %v: no such server", server) // the kernel would take it for this host
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err == nil {
		if err = stampClient(conn); err != nil {
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
	c.sent = append(c.sent[:0], b...)
	at = time.Now().UnixNano()
	err = sendStamped(c.conn, b)
	return at, err
}

// Departed returns when what the last Send sent left, Unix nanoseconds: stamped by the
// kernel when it handed it to the network driver. It never waits. The stamp is there at once
// on most machines, and certainly when an answer is; where the kernel or the driver
// does not stamp there is none. It is told once.
func (c *Client) Departed() (at int64, ok bool) { return departed(c.conn, c.sent) }

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
	if stamp, ok := readClientStamp(c.oob[:], oobn); ok {
		return n, stamp, true, nil
	}
	return n, at, false, nil
}

// SetDeadline bounds the calls that follow.
func (c *Client) SetDeadline(t time.Time) error { return c.conn.SetDeadline(t) }

// Close closes the socket.
func (c *Client) Close() error { return c.conn.Close() }
