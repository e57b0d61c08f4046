package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ends tells a server to stop, and fails unless it ends in time with the exit code.
func ends(t *testing.T, s *server, want int) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if code, err := s.code(stopMax); err != nil || code != want {
		t.Errorf("exit code %d, %v, after %v; want %d\n%s%s", code, err, time.Since(begun), want, s.out.String(), s.log.String())
	}
}

// fullPipe returns the end of a pipe that takes nothing any more: who writes to it waits.
func fullPipe(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	for size := 1 << 16; size > 0; size >>= 1 { // to the last byte
		for err = nil; err == nil; {
			if err = w.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			_, err = w.Write(make([]byte, size))
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	raw, err := w.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(raw.Control(func(fd uintptr) { err = syscall.SetNonblock(int(fd), false) }), err); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestUnreadOutput: a server whose log, or whose log and words, nobody reads serves, reloads
// and stops like any other.
func TestUnreadOutput(t *testing.T) {
	for name, both := range map[string]bool{"log": false, "log and words": true} {
		t.Run(name, func(t *testing.T) {
			free, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			api := free.Addr().String()
			free.Close()
			dir := t.TempDir()
			file := writeConfig(t, dir, "")
			replaceIn(t, file, `api.listen = ["127.0.0.1:0"]`, fmt.Sprintf("api.listen = [%q]", api))
			pipe := fullPipe(t)
			var out io.Writer
			if both {
				out = pipe
			}
			s, err := spawnOnto(dir, out, pipe, "--config", file)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.kill)
			awaitStatus(t, s, "http://"+api+"/healthz")
			for range 10 {
				if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
			}
			awaitStatus(t, s, "http://"+api+"/healthz")
			ends(t, s, 0)
		})
	}
}

// TestUnreadRefusal: a server that has to end with a sentence that nobody reads ends.
func TestUnreadRefusal(t *testing.T) {
	s, err := spawnOnto(t.TempDir(), nil, fullPipe(t), "--config", "none.toml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	if code, err := s.code(stopMax); err != nil || code != exitUsage {
		t.Errorf("exit code %d, %v", code, err)
	}
}

// replaceIn changes a configuration file.
func replaceIn(t *testing.T, file, old, new string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// awaitStatus waits until the URL answers 200.
func awaitStatus(t *testing.T, s *server, url string) {
	t.Helper()
	web := http.Client{Timeout: patience}
	defer web.CloseIdleConnections()
	for begun := time.Now(); ; {
		r, err := web.Get(url)
		if err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-s.ended:
			t.Fatal("it has ended")
		case <-time.After(10 * time.Millisecond):
		}
		if time.Since(begun) > patience {
			t.Fatalf("no answer from %s in %v: %v", url, patience, err)
		}
	}
}

// makeFIFO puts a fifo in the place of a file.
func makeFIFO(t *testing.T, name string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(name), syscall.Mkfifo(name, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// awaitReader returns when somebody reads the fifo, who then waits until the test ends.
func awaitReader(t *testing.T, name string) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		f, err := os.OpenFile(name, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			t.Cleanup(func() { f.Close() })
			return
		}
		if !errors.Is(err, syscall.ENXIO) || time.Since(begun) > patience {
			t.Fatal(err)
		}
	}
}

// TestStopWhileHanging: a server that waits for a file that never answers ends when it is
// told to, whatever it needs the file for.
func TestStopWhileHanging(t *testing.T) {
	t.Run("configuration", func(t *testing.T) {
		dir := t.TempDir()
		fifo := filepath.Join(dir, "fifo.toml")
		makeFIFO(t, fifo)
		hangs(t, dir, fifo, fifo)
	})
	t.Run("store", func(t *testing.T) {
		dir := t.TempDir()
		file := writeConfig(t, dir, "")
		ends(t, serveTest(t, dir, "--config", file), 0)
		names, err := filepath.Glob(filepath.Join(dir, "data", "pebble", "MANIFEST-*"))
		if err != nil || len(names) == 0 {
			t.Fatal(names, err)
		}
		manifest := names[len(names)-1]
		makeFIFO(t, manifest)
		hangs(t, dir, file, manifest)
	})
	t.Run("reload", func(t *testing.T) {
		dir := t.TempDir()
		file := writeConfig(t, dir, "")
		s := serveTest(t, dir, "--config", file)
		makeFIFO(t, file)
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		awaitReader(t, file)
		ends(t, s, 0)
	})
}

// hangs starts a server that cannot get beyond the fifo, and tells it to stop.
func hangs(t *testing.T, dir, file, fifo string) {
	t.Helper()
	s, err := spawn(dir, "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	awaitReader(t, fifo)
	ends(t, s, exitFailed)
	if log := s.log.String(); !strings.Contains(log, "truechimer: told to stop while still waiting: the configuration file or the data directory does not answer") {
		t.Errorf("it says:\n%s", log)
	}
}

// TestSecondSignal: who does not want to wait for the orderly stop says so again.
func TestSecondSignal(t *testing.T) {
	s := waitingServer(t)
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := s.log.await(regexp.MustCompile("msg=stopping"), s.ended); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	for ended := false; !ended; {
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
		select {
		case <-s.ended:
			ended = true
		case <-time.After(time.Millisecond): // the first may not be through yet
		}
	}
	status := s.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if took := time.Since(begun); !status.Signaled() || status.Signal() != syscall.SIGTERM || took > time.Second {
		t.Errorf("ended after %v with %v", took, s.cmd.ProcessState)
	}
}

// TestStopUnderLoad: a call that waits for longer than the stop may take is cut off.
func TestStopUnderLoad(t *testing.T) {
	s := waitingServer(t)
	ends(t, s, 0)
	if out := s.out.String(); !strings.HasSuffix(out, "stopped in order\n") {
		t.Errorf("it says:\n%s", out)
	}
}

// waitingServer returns a server in which a call waits for seconds.
func waitingServer(t *testing.T) *server {
	t.Helper()
	addr, stop, err := fakeChronyd()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	dir := t.TempDir()
	name := writeConfig(t, dir, "")
	replaceIn(t, name, `"off"`, strconv.Quote(addr))
	s := serveTest(t, dir, "--config", filepath.Base(name))
	// The body is sent in two parts, so that the call has reached the server.
	conn, err := net.Dial("tcp", s.api)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	body := fmt.Sprintf(`{"timestamp":"%d"}`, time.Now().Add(9*time.Second).UnixNano())
	fmt.Fprintf(conn, "POST /truechimer.v1.ClockService/Wait HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := conn.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	return s
}
