package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/truechimer/truechimer/hlc"
	api "github.com/truechimer/truechimer/hlc/client"
)

// TestClientRecovers kills the appliance a hundred times, at moments that nobody chose, under a
// client that takes timestamps, appends and watches. It recovers by itself: no call fails, time
// never goes back for anybody, each event is there once, and the watch delivers all of them in
// order. Nothing is left behind of all those connections.
func TestClientRecovers(t *testing.T) {
	kills := 100
	if testing.Short() {
		kills = 10
	}
	rng := rand.New(rand.NewPCG(*seedFlag, 7))
	dir := t.TempDir()
	s := serveTest(t, dir, "--config", writeConfig(t, dir, ""))
	first, err := os.ReadFile(filepath.Join(dir, "truechimer.toml"))
	if err != nil {
		t.Fatal(err)
	}
	fixed := filepath.Join(dir, "fixed.toml") // the same port for all lives
	text := strings.Replace(string(first), `api.listen = ["127.0.0.1:0"]`, fmt.Sprintf("api.listen = [%q]", s.api), 1)
	if err := os.WriteFile(fixed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	c, err := api.New(api.Options{Addresses: []string{s.api}, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	stopped, stop := context.WithCancel(context.Background())
	defer stop()
	var users sync.WaitGroup
	var issued, appended, seen atomic.Int64
	for range 8 {
		users.Go(func() {
			var last hlc.Timestamp
			for stopped.Err() == nil {
				ts, err := c.Now(context.Background())
				if err != nil || ts <= last {
					t.Errorf("%d after %d, %v", ts, last, err)
					return
				}
				last = ts
				issued.Add(1)
			}
		})
	}
	const writers = 4
	for w := range writers {
		users.Go(func() {
			for n := uint64(1); stopped.Err() == nil; n++ {
				b := api.Batch{Entries: []api.Entry{{Stream: fmt.Sprintf("w/%d", w), Payload: fmt.Append(nil, n)}}}
				r, err := c.Append(context.Background(), b)
				if err != nil || r.Sequences[0] != n {
					t.Errorf("writer %d, %d: %+v, %v", w, n, r, err)
					return
				}
				appended.Add(1)
			}
		})
	}
	watching, leave := context.WithCancel(context.Background())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		next := map[string]uint64{}
		var last hlc.Timestamp
		for d, err := range c.Watch(watching, api.Selection{Prefix: "w/"}, api.Start{Oldest: true}) {
			if err != nil {
				if watching.Err() == nil {
					t.Errorf("watch: %v", err)
				}
				return
			}
			for _, e := range d.Events {
				next[e.Stream]++
				if e.Sequence != next[e.Stream] || string(e.Payload) != fmt.Sprint(e.Sequence) || e.Timestamp <= last {
					t.Errorf("delivered %+v after %d, want sequence %d", e, last, next[e.Stream])
					return
				}
				last = e.Timestamp
				seen.Add(1)
			}
		}
	}()
	for range kills {
		time.Sleep(time.Duration(rng.IntN(150)) * time.Millisecond)
		s.kill()
		s = serveTest(t, dir, "--config", fixed)
		if t.Failed() {
			t.Fatalf("log:\n%s", s.log.String())
		}
	}
	stop()
	users.Wait()
	for end := time.Now().Add(patience); seen.Load() < appended.Load() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	leave()
	<-watched
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if seen.Load() != appended.Load() {
		t.Errorf("%d appended, %d watched", appended.Load(), seen.Load())
	}
	for end := time.Now().Add(patience); runtime.NumGoroutine() > before && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if now := runtime.NumGoroutine(); now > before {
		stacks := make([]byte, 1<<20)
		t.Errorf("%d goroutines, %d before:\n%s", now, before, stacks[:runtime.Stack(stacks, true)])
	}
	t.Logf("%d kills: %d timestamps, %d events", kills, issued.Load(), appended.Load())
	if issued.Load() < int64(kills) || appended.Load() < int64(kills) {
		t.Error("too little load")
	}
}
