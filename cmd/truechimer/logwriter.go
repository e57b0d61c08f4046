package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	logLinesMax = 1024
	// flushMax is how long the end of the process may wait for somebody to read its words.
	flushMax = 200 * time.Millisecond
)

// logWriter takes each line at once and writes it from a goroutine of its own, so that
// nobody who logs waits for who reads the log: a pipe that nobody empties blocks its
// writers for ever. What does not fit is dropped and counted. Its methods may be called
// concurrently.
type logWriter struct {
	lines   chan []byte
	dropped atomic.Uint64
	close   func()
	closing chan struct{}
	ended   chan struct{}
}

// newLogWriter writes to out. When out takes lines again after some were dropped, told is
// called, between two lines, with their number.
func newLogWriter(out io.Writer, told func(dropped uint64)) *logWriter {
	w := &logWriter{lines: make(chan []byte, logLinesMax), closing: make(chan struct{}), ended: make(chan struct{})}
	w.close = sync.OnceFunc(func() { close(w.closing) })
	go func() {
		defer close(w.ended)
		for {
			select {
			case line := <-w.lines:
				_, _ = out.Write(line) // nobody is left to tell
			case <-w.closing:
				w.drain(out)
				return
			}
			if n := w.dropped.Swap(0); n > 0 {
				told(n)
			}
		}
	}()
	return w
}

// drain writes what is left.
func (w *logWriter) drain(out io.Writer) {
	for {
		select {
		case line := <-w.lines:
			_, _ = out.Write(line)
		default:
			return
		}
	}
}

// Write implements io.Writer. It never waits and never fails; a line is one call.
func (w *logWriter) Write(line []byte) (int, error) {
	select {
	case w.lines <- bytes.Clone(line):
	default:
		w.dropped.Add(1)
	}
	return len(line), nil
}

// Close writes what is left, and gives up when that takes longer than flushMax. Lines that
// come later are dropped. The goroutine is left behind where it cannot be ended.
func (w *logWriter) Close() {
	w.close()
	select {
	case <-w.ended:
	case <-time.After(flushMax):
	}
}

// say prints for people, and goes on without them when nobody reads for flushMax.
func say(out io.Writer, text string) {
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		_, _ = fmt.Fprint(out, text) // nobody is left to tell
	}()
	select {
	case <-printed:
	case <-time.After(flushMax):
	}
}
