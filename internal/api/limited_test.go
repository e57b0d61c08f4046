package api

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// open reports whether the other end of a pipe is still there, without waiting long.
func open(t *testing.T, conn net.Conn) bool {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		return false // of a pipe whose other end is closed
	}
	defer conn.SetReadDeadline(time.Time{})
	_, err := conn.Read(make([]byte, 1))
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// TestConnectionLimit: where there are as many connections as may be, of all listeners, a new
// one takes the place of the one that has been without a call the longest, of the kind that
// there is more of; one with a call in progress stays, whatever comes.
func TestConnectionLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 4
		a, b := newPipes(), newPipes()
		all := newConnections(limit)
		issuer := newBlockedIssuer(false)
		s := &Server{listeners: []net.Listener{newLimited(a, all), newLimited(b, all)}, all: all, gate: openGate(), log: quiet}
		stop := run(t, s, Services{Issuer: issuer, Node: newFakeNode()})
		dial := func(p *pipes) net.Conn {
			conn, err := p.dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		ask := func(conn net.Conn, request string) {
			go func() { _, _ = io.WriteString(conn, request) }()
			synctest.Wait()
		}
		busy := dial(a)
		ask(busy, "POST /truechimer.v1.ClockService/Wait HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
		idle := dial(b) // has had an answer
		ask(idle, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(idle), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()  // until the server, too, knows that it idles: the order is what is tested
		loris := dial(a) // never gets to the end of its headers
		ask(loris, "GET /livez HTTP/1.1\r\nHost: local")
		fresh := dial(b) // says nothing
		synctest.Wait()
		for name, conn := range map[string]net.Conn{"busy": busy, "idle": idle, "loris": loris, "fresh": fresh} {
			if !open(t, conn) {
				t.Errorf("%s is closed while there is room", name)
			}
		}
		var crowd []net.Conn
		for i, gone := range []struct {
			name string
			conn net.Conn
		}{{"loris", loris}, {"fresh", fresh}} {
			crowd = append(crowd, dial([]*pipes{a, b}[i%2]))
			synctest.Wait()
			if open(t, gone.conn) {
				t.Errorf("%s is open, and its turn has come", gone.name)
			}
			if !open(t, crowd[i]) {
				t.Errorf("newcomer %d has been closed", i)
			}
		}
		for range 1000 {
			crowd = append(crowd, dial(a))
		}
		synctest.Wait()
		if !open(t, busy) || !open(t, idle) {
			t.Error("a flood closed a connection with a call in progress, or one that had had an answer")
		}
		for i, conn := range crowd {
			if want := i >= len(crowd)-limit+2; open(t, conn) != want {
				t.Errorf("connection %d of %d: open is %v", i, len(crowd), !want)
			}
		}
		// Where there are more of those that have had an answer, they make room.
		last := crowd[len(crowd)-2:]
		for _, conn := range last {
			ask(conn, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		newcomer := dial(b)
		synctest.Wait()
		if open(t, idle) || !open(t, newcomer) || !open(t, last[0]) || !open(t, last[1]) {
			t.Error("the one that idles the longest is open, or another is not")
		}
		if all.open != limit || all.idle.Len() != 2 || all.fresh.Len() != 1 {
			t.Errorf("%d connections are counted, %d of them idle, %d fresh", all.open, all.idle.Len(), all.fresh.Len())
		}
		stop()
		if all.open != 0 || all.idle.Len()+all.fresh.Len() != 0 {
			t.Errorf("at the end %d connections are counted, %d of them idle", all.open, all.idle.Len()+all.fresh.Len())
		}
	})
}

// TestConnectionsAllBusy: where every connection has a call in progress a new one waits, and is
// served once one is idle.
func TestConnectionsAllBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		issuer := newBlockedIssuer(false)
		stop := run(t, on(p, 2), Services{Issuer: issuer, Node: newFakeNode()})
		for range 2 {
			conn, err := p.dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			go func() {
				_, _ = io.WriteString(conn, "POST /truechimer.v1.ClockService/Wait HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
		synctest.Wait()
		answered := make(chan string, 1)
		go func() {
			client := p.client(t)
			r, err := client.Get("http://localhost/livez")
			if err != nil {
				answered <- err.Error()
				return
			}
			text, _ := io.ReadAll(r.Body)
			r.Body.Close()
			answered <- string(text)
			client.CloseIdleConnections()
		}()
		synctest.Wait()
		select {
		case text := <-answered:
			t.Errorf("answered with all connections busy: %s", text)
		default:
		}
		start := time.Now()
		close(issuer.forget)
		if text := <-answered; !strings.HasPrefix(text, "ok") {
			t.Errorf("once there was room: %s", text)
		}
		if after := time.Since(start); after > time.Second { // it was not the idle timeout that made room
			t.Errorf("served %v after there was room", after)
		}
		stop()
	})
}
