package main

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// stuck is a writer that nobody reads until it is freed. It has written from one goroutine.
type stuck struct {
	free chan struct{}
	text strings.Builder
}

func newStuck() *stuck { return &stuck{free: make(chan struct{})} }

// Write implements io.Writer.
func (s *stuck) Write(p []byte) (int, error) {
	<-s.free
	return s.text.Write(p)
}

// TestLogWriter: nobody who logs waits, what fits is written in order, and what does not is
// counted and told of once there is a reader.
func TestLogWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const dropped = 10
		out := newStuck()
		var told atomic.Uint64
		w := newLogWriter(out, func(n uint64) {
			told.Add(n)
			fmt.Fprintf(out, "dropped %d\n", n)
		})
		var want strings.Builder
		log := func(n int) {
			line := fmt.Appendf(nil, "line %d\n", n)
			if _, err := w.Write(line); err != nil {
				t.Fatal(err)
			}
			line[0] = 'X' // who logs uses its buffer again
		}
		begun := time.Now()
		log(0)
		synctest.Wait() // it is being written
		for n := range logLinesMax + dropped {
			log(n + 1)
		}
		if waited := time.Since(begun); waited > 0 || told.Load() > 0 {
			t.Errorf("waited %v; told of %d", waited, told.Load())
		}
		close(out.free)
		synctest.Wait()
		if n := told.Load(); n != dropped {
			t.Errorf("told of %d lines dropped, want %d", n, dropped)
		}
		log(2000)
		w.Close()
		fmt.Fprintf(&want, "line 0\ndropped %d\n", dropped)
		for n := range logLinesMax {
			fmt.Fprintf(&want, "line %d\n", n+1)
		}
		want.WriteString("line 2000\n")
		if got := out.text.String(); got != want.String() {
			t.Errorf("got %d bytes, want %d; from the end: %q", len(got), want.Len(), got[max(0, len(got)-100):])
		}
		if waited := time.Since(begun); waited > 0 {
			t.Errorf("waited %v", waited)
		}
		w.Close()
		log(2001) // nobody takes it
	})
}

// TestEndUnread: neither the log nor the last words wait for a reader for long.
func TestEndUnread(t *testing.T) {
	for name, end := range map[string]func(*stuck){
		"log": func(out *stuck) {
			w := newLogWriter(out, func(uint64) {})
			fmt.Fprintln(w, "line")
			w.Close()
		},
		"words": func(out *stuck) { say(out, "words") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out := newStuck()
				begun := time.Now()
				end(out)
				if waited := time.Since(begun); waited != flushMax {
					t.Errorf("waited %v", waited)
				}
				close(out.free)
			})
		})
	}
}
