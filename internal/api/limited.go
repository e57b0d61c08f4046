package api

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// connections bounds how many connections all listeners have together. Where there are as many
// as may be, a new one takes the place of the one that has gone the longest without a call:
// that is idle, or has not brought a whole request since it came. So whoever holds many
// connections locks nobody out. Those with calls in progress stay, and where all have some, the
// new one waits.
type connections struct {
	max int

	mu   sync.Mutex
	open int
	idle *list.List    // of *limitedConn without a call, the one for the longest first
	room chan struct{} // holds one where there may be room
}

func newConnections(most int) *connections {
	return &connections{max: most, idle: list.New(), room: make(chan struct{}, 1)}
}

// enter makes room for c and counts it. It returns false when closing is closed first.
func (s *connections) enter(c *limitedConn, closing <-chan struct{}) bool {
	for {
		if s.admit(c) {
			return true
		}
		select {
		case <-s.room:
		case <-closing:
			return false
		}
	}
}

// admit counts c, if there is room or room can be made.
func (s *connections) admit(c *limitedConn) bool {
	s.mu.Lock()
	if s.open >= s.max {
		oldest := s.idle.Front()
		if oldest == nil {
			s.mu.Unlock()
			return false
		}
		victim := oldest.Value.(*limitedConn)
		s.forget(victim)
		defer victim.Conn.Close() // what closed it already has nothing to say
	}
	s.open++
	c.counted = true
	c.place = s.idle.PushBack(c)
	more := s.open < s.max || s.idle.Len() > 1
	s.mu.Unlock()
	if more {
		s.wake() // another listener may be waiting too
	}
	return true
}

// forget gives back the place of c; mu is held.
func (s *connections) forget(c *limitedConn) {
	if !c.counted {
		return
	}
	c.counted = false
	s.open--
	if c.place != nil {
		s.idle.Remove(c.place)
		c.place = nil
	}
}

// wake tells one who waits that there may be room.
func (s *connections) wake() {
	select {
	case s.room <- struct{}{}:
	default:
	}
}

// leave is called when c is closed.
func (s *connections) leave(c *limitedConn) {
	s.mu.Lock()
	s.forget(c)
	s.mu.Unlock()
	s.wake()
}

// state is called by the server when a connection begins or ends to have calls.
func (s *connections) state(conn net.Conn, state http.ConnState) {
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = over.NetConn()
	}
	c, ok := conn.(*limitedConn)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !c.counted:
	case state == http.StateActive && c.place != nil:
		s.idle.Remove(c.place)
		c.place = nil
	case state == http.StateIdle && c.place == nil:
		c.place = s.idle.PushBack(c)
		s.wake()
	}
}

// limited is a listener whose connections are bounded. Listeners that share their connections
// share the limit.
type limited struct {
	net.Listener
	all     *connections
	closing chan struct{}
	once    sync.Once
}

func newLimited(l net.Listener, all *connections) *limited {
	return &limited{Listener: l, all: all, closing: make(chan struct{})}
}

// Accept returns a connection that has a place. While there is none, one waits here and the
// others in the kernel's queue.
func (l *limited) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &limitedConn{Conn: conn, all: l.all}
	if !l.all.enter(c, l.closing) {
		conn.Close()
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closing) })
	return l.Listener.Close()
}

// limitedConn is a connection with a place among all. The mutex of all guards its fields.
type limitedConn struct {
	net.Conn
	all     *connections
	counted bool
	place   *list.Element // among the idle; nil: it has calls in progress
}

func (c *limitedConn) Close() error {
	defer c.all.leave(c)
	return c.Conn.Close()
}
