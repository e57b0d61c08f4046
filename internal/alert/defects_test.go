package alert

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

// What a receiver answers goes into the journal, which takes UTF-8 alone, and not much of it.
func TestFaultIsText(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nbad\xff\xfe header\x1b[2J"+string(make([]byte, 9000))+"\r\n\r\n")
			c.Close()
		}
	}()
	line, err := newLine(Channel{Name: "a", Type: Webhook, URL: "http://" + l.Addr().String()}, &Options{patience: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer line.client.CloseIdleConnections()
	fault := line.attempt(context.Background(), envelope{}, &message{id: "x", kind: test})
	if fault == "" || !utf8.ValidString(fault) || len(fault) > 1000 {
		t.Errorf("%d bytes, text: %v: %.100q", len(fault), utf8.ValidString(fault), fault)
	}
}

// A token file that nobody writes to does not hold a channel for ever, nor the node that stops.
func TestTokenFileThatHangs(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "token")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Skip(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := readToken(fifo)
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("a fifo is a token")
		}
	case <-time.After(5 * time.Second):
		t.Error("it waits for a fifo")
	}
}
