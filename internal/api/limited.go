package api

import (
	"net"
	"sync"
)

// limited is a listener that holds at most so many connections at a time; the others wait
// in the kernel's queue.
type limited struct {
	net.Listener
	slots   chan struct{}
	closing chan struct{}
	once    sync.Once
}

func newLimited(l net.Listener, limit int) *limited {
	return &limited{Listener: l, slots: make(chan struct{}, limit), closing: make(chan struct{})}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closing:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: conn, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closing) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
