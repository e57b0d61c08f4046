package api

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// connections bounds how many connections all listeners have together. Where there are as many
// as may be, a new one takes the place of one without a call in progress. There are two kinds
// of those: fresh ones, which have not brought a whole request yet, and idle ones, which have
// had an answer. The one that has been so the longest goes, of the kind that there is more of:
// so a flood of connections throws out its own and locks nobody out, neither newcomers nor
// clients whose next request may be on its way on a connection that they keep. Those with calls
// in progress stay, and where all have some, the new one waits.
type connections struct {
	max int

	mu          sync.Mutex
	open        int
	fresh, idle *list.List    // of *limitedConn, the one for the longest first
	room        chan struct{} // holds one where there may be room
}

func newConnections(most int) *connections {
	return &connections{max: most, fresh: list.New(), idle: list.New(), room: make(chan struct{}, 1)}
}

// oldest returns the connection that goes for a new one; nil: all have calls. mu is held.
func (s *connections) oldest() *limitedConn {
	kind := s.fresh
	if s.idle.Len() > s.fresh.Len() {
		kind = s.idle
	}
	if kind.Len() == 0 {
		return nil
	}
	return kind.Front().Value.(*limitedConn)
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
		victim := s.oldest()
		if victim == nil {
			s.mu.Unlock()
			return false
		}
		s.forget(victim)
		defer victim.Conn.Close() // what closed it already has nothing to say
	}
	s.open++
	c.counted = true
	c.rest(s.fresh)
	more := s.open < s.max || s.fresh.Len()+s.idle.Len() > 1
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
	c.work()
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
	case state == http.StateActive:
		c.work()
	case state == http.StateIdle:
		c.work()
		c.rest(s.idle)
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
	kind    *list.List // fresh or idle; nil: it has calls in progress
	place   *list.Element
}

// rest puts c behind the others of a kind, and work takes it out.
func (c *limitedConn) rest(kind *list.List) { c.kind, c.place = kind, kind.PushBack(c) }

func (c *limitedConn) work() {
	if c.kind != nil {
		c.kind.Remove(c.place)
		c.kind, c.place = nil, nil
	}
}

func (c *limitedConn) Close() error {
	defer c.all.leave(c)
	return c.Conn.Close()
}
