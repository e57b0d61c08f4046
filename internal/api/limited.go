package api

import (
	"net"
	"sync"
)

// limited is a listener that accepts a connection only where a slot is free, and holds the
// slot while the connection lasts; the others wait in the kernel's queue. Listeners that
// share their slots share the limit. One that waits for a connection holds a slot already.
type limited struct {
	net.Listener
	slots   chan struct{}
	closing chan struct{}
	once    sync.Once
}

func newLimited(l net.Listener, slots chan struct{}) *limited {
	return &limited{Listener: l, slots: slots, closing: make(chan struct{})}
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
