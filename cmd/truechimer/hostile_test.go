package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	api "github.com/truechimer/truechimer/hlc/client"
)

// hostiles are connections of somebody who means no good, from addresses of their own.
type hostiles struct {
	t    *testing.T
	to   string
	stop context.Context
	mu   sync.Mutex
	open []net.Conn
	all  sync.WaitGroup
}

// dial connects from 127.0.0.n; nil where the server takes no more.
func (h *hostiles) dial(n int) net.Conn {
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+n%200))}
	conn, err := (&net.Dialer{LocalAddr: from, Timeout: time.Second}).DialContext(h.stop, "tcp", h.to)
	if err != nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = append(h.open, conn)
	return conn
}

// end closes all of them.
func (h *hostiles) end() {
	h.mu.Lock()
	for _, c := range h.open {
		c.Close()
	}
	h.mu.Unlock()
	h.all.Wait()
}

// idle opens connections and says nothing.
func (h *hostiles) idle(n int) {
	for i := range n {
		h.dial(i)
	}
}

// loris sends a header, a byte at a time, and begins anew when it is thrown out.
func (h *hostiles) loris(n int) {
	for i := range n {
		h.all.Go(func() {
			for h.stop.Err() == nil {
				conn := h.dial(i)
				if conn == nil {
					time.Sleep(50 * time.Millisecond)
					continue
				}
				for _, b := range []byte("POST /truechimer.v1.ClockService/Now HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + strings.Repeat("x", 1000)) {
					if _, err := conn.Write([]byte{b}); err != nil || h.stop.Err() != nil {
						break
					}
					time.Sleep(50 * time.Millisecond)
				}
				conn.Close()
			}
		})
	}
}

// oversize sends messages that are larger than any may be.
func (h *hostiles) oversize(n int) {
	body := bytes.Repeat([]byte("x"), 1<<20)
	for i := range n {
		h.all.Go(func() {
			for h.stop.Err() == nil {
				if conn := h.dial(i); conn != nil {
					fmt.Fprintf(conn, "POST /truechimer.v1.StreamService/Append HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{\"entries\":\"", 100<<20)
					for range 100 {
						if _, err := conn.Write(body); err != nil || h.stop.Err() != nil {
							break
						}
						time.Sleep(20 * time.Millisecond) // what is sent costs the processors of this machine too
					}
					conn.Close()
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
}

// deaf watches all there is, and reads nothing of it.
func (h *hostiles) deaf(n int) {
	for i := range n {
		if conn := h.dial(i); conn != nil {
			message := `{"oldest":true}`
			fmt.Fprintf(conn, "POST /truechimer.v1.StreamService/Watch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/connect+json\r\nContent-Length: %d\r\n\r\n\x00\x00\x00\x00%c%s", 5+len(message), byte(len(message)), message)
		}
	}
}

// memoryMax is what the server may hold, in MiB: some forty KiB for each of nine thousand connections, the
// limits of requests and answers in progress, and as much again, which the garbage collector leaves.
const memoryMax = 1200

// p99s has four callers take timestamps through the client, and one make plain calls, and
// returns the 99th percentile of both.
func p99s(t *testing.T, c *api.Client, web *http.Client, url string, d time.Duration) (batched, plain time.Duration) {
	t.Helper()
	var mu sync.Mutex
	var took, tookPlain []time.Duration
	var callers sync.WaitGroup
	end := time.Now().Add(d)
	measure := func(into *[]time.Duration, call func() error) {
		callers.Go(func() {
			for time.Now().Before(end) {
				start := time.Now()
				if err := call(); err != nil {
					t.Errorf("a good client: %v", err)
					return
				}
				mu.Lock()
				*into = append(*into, time.Since(start))
				mu.Unlock()
				time.Sleep(time.Millisecond)
			}
		})
	}
	for range 4 {
		measure(&took, func() error { _, err := c.Now(t.Context()); return err })
	}
	measure(&tookPlain, func() error {
		r, err := web.Post(url, "application/json", strings.NewReader("{}"))
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if _, err := io.Copy(io.Discard, r.Body); err != nil || r.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d, %v", r.StatusCode, err)
		}
		return nil
	})
	callers.Wait()
	at := func(all []time.Duration) time.Duration {
		if len(all) == 0 {
			t.Fatal("no answer at all")
		}
		slices.Sort(all)
		return all[len(all)*99/100]
	}
	return at(took), at(tookPlain)
}

// resident is what the server holds in memory, in MiB, and how many files.
func (s *server) resident(t *testing.T) (memory, files int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/", s.cmd.Process.Pid)
	text, err := os.ReadFile(dir + "status")
	if err != nil {
		t.Skip("needs /proc")
	}
	kib, err := strconv.Atoi(regexp.MustCompile(`VmRSS:\s+(\d+)`).FindStringSubmatch(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir(dir + "fd")
	if err != nil {
		t.Fatal(err)
	}
	return kib >> 10, len(list)
}

// TestHostile: ten thousand idle connections, slow headers, endless bodies and watchers that do
// not read, all at once. Who behaves is served as before, without an error; memory stays
// bounded; and when they are gone, nothing of them is left. In a short run, as with the race detector,
// which multiplies time and memory, only what is said about errors counts.
func TestHostile(t *testing.T) {
	idle, rounds := 10_000, 3
	if testing.Short() {
		idle, rounds = 2000, 1
	}
	dir := t.TempDir()
	s := serveTest(t, dir, "--config", writeConfig(t, dir, ""))
	c, err := api.New(api.Options{Addresses: []string{s.api}, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	entries := make([]api.Entry, 8)
	for i := range entries {
		entries[i] = api.Entry{Stream: "large", Payload: make([]byte, 1<<20)}
	}
	for range 4 { // something that a watcher can refuse to read
		if _, err := c.Append(t.Context(), api.Batch{Entries: entries}); err != nil {
			t.Fatal(err)
		}
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	web, url := &http.Client{Transport: transport, Timeout: patience}, "http://"+s.api+"/truechimer.v1.ClockService/Now"
	_, filesBefore := s.resident(t)
	var ratios []float64
	for round := range rounds {
		calm, calmPlain := p99s(t, c, web, url, 2*time.Second)
		stop, cancel := context.WithCancel(t.Context())
		h := &hostiles{t: t, to: s.api, stop: stop}
		h.deaf(50)
		h.loris(100)
		h.oversize(3)
		h.idle(idle)
		storm, stormPlain := p99s(t, c, web, url, 2*time.Second)
		memory, files := s.resident(t)
		cancel()
		h.end()
		ratio := max(float64(storm)/float64(calm), float64(stormPlain)/float64(calmPlain))
		ratios = append(ratios, ratio)
		t.Logf("round %d: p99 %v calm, %v in the storm; plain %v, %v; the server holds %d MiB and %d files", round, calm, storm, calmPlain, stormPlain, memory, files)
		if memory > memoryMax && !testing.Short() {
			t.Errorf("the server holds %d MiB", memory)
		}
	}
	// The storm is made on the processors of the server, and the machine is shared: the ratio to be
	// had is 3, which the log tells; a ratio of 10 in the round that was disturbed least is no noise.
	if least := slices.Min(ratios); least > 10 && !testing.Short() {
		t.Errorf("others wait %.1f times as long in a storm", least)
	}
	end := time.Now().Add(patience)
	files := 0
	for time.Now().Before(end) {
		if _, files = s.resident(t); files <= filesBefore+20 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%d files are open, %d before", files, filesBefore)
}
