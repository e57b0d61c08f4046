package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"
)

const (
	// patience is how long a test waits for what must happen.
	patience = 20 * time.Second
	// stopMax is how long an orderly stop may take.
	stopMax = 5 * time.Second
)

// server is a running truechimer serve, a process of its own.
type server struct {
	cmd      *exec.Cmd
	out, log output
	ended    chan struct{} // closed when the process is gone

	ntp, api string // the first address of each
}

// addresses finds in the summary of serve where it serves.
var addresses = regexp.MustCompile(`(?s)NTP    udp (\S+)\n.*API    https?://(\S+) .*\n\n`)

// startServer runs serve with the arguments in a directory, and returns when it serves.
// The caller kills it.
func startServer(dir string, args ...string) (*server, error) {
	s, err := spawn(dir, args...)
	if err != nil {
		return nil, err
	}
	found, err := s.out.await(addresses, s.ended)
	if err != nil {
		s.kill()
		return nil, fmt.Errorf("serve %v: %w\n%s%s", args, err, s.out.String(), s.log.String())
	}
	s.ntp, s.api = found[1], found[2]
	return s, nil
}

// spawn runs serve and waits for nothing.
func spawn(dir string, args ...string) (*server, error) {
	return spawnOnto(dir, nil, nil, args...)
}

// spawnOnto is spawn with other places for the output and the log, where they are not nil.
func spawnOnto(dir string, out, log io.Writer, args ...string) (*server, error) {
	s := &server{cmd: exec.Command("truechimer", append([]string{"serve"}, args...)...), ended: make(chan struct{})}
	if out == nil {
		out = &s.out
	}
	if log == nil {
		log = &s.log
	}
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr, s.cmd.SysProcAttr = dir, out, log, dieWithUs()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	proof := proveNoClock(s.cmd)
	go func() {
		defer close(s.ended)
		_ = s.cmd.Wait() // the exit code tells
	}()
	if proof != nil {
		s.kill()
		return nil, proof
	}
	return s, nil
}

// kill ends the process as a power cut would end it, and waits until it is gone.
func (s *server) kill() {
	_ = s.cmd.Process.Kill() // it may be gone already
	<-s.ended
}

// code waits for the end and returns the exit code.
func (s *server) code(limit time.Duration) (int, error) {
	select {
	case <-s.ended:
		return s.cmd.ProcessState.ExitCode(), nil
	case <-time.After(limit):
		return 0, fmt.Errorf("still running after %v", limit)
	}
}

// serveTest runs a server for a test.
func serveTest(t *testing.T, dir string, args ...string) *server {
	t.Helper()
	s, err := startServer(dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	return s
}

// writeConfig writes a file that serves on free ports of loopback, and returns its name.
func writeConfig(t *testing.T, dir, more string) string {
	t.Helper()
	name := filepath.Join(dir, "truechimer.toml")
	text := "ntp.listen = [\"127.0.0.1:0\"]\napi.listen = [\"127.0.0.1:0\"]\nclock.chronyd = \"off\"\nclock.local_stratum = 10\n" + more
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// output collects what a process prints, and wakes who waits for it.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.text.Write(p)
}

// String returns what has come so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// look returns what has come so far, and what is closed when there is more.
func (o *output) look() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.text.String(), o.changed
}

// await returns the groups of a pattern once it has come.
func (o *output) await(pattern *regexp.Regexp, ended <-chan struct{}) ([]string, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		text, changed := o.look()
		if found := pattern.FindStringSubmatch(text); found != nil {
			return found, nil
		}
		select {
		case <-changed:
		case <-ended:
			if text, _ := o.look(); !pattern.MatchString(text) {
				return nil, errors.New("it has ended")
			}
		case <-timer.C:
			return nil, fmt.Errorf("no %v in %v", pattern, patience)
		}
	}
}
