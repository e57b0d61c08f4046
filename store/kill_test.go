package store

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

const (
	childIssues = "issue" // arguments: directory, offset of the physical clock
	childOpens  = "open"  // arguments: directory, node number
	childFills  = "fill"  // arguments: directory; see fillLarge
	childLoads  = "load"  // arguments: directory, duration; see loadLarge
)

// child is what a re-run of the test binary does, see TestMain.
func child(mode, dir, arg string) error {
	n, err := time.ParseDuration(arg)
	if err != nil {
		return err
	}
	switch mode {
	case childFills:
		return fillLarge(dir)
	case childLoads:
		return loadLarge(dir, n)
	}
	if mode == childAppends {
		return appendChild(dir, n)
	}
	s, err := Open(dir, Options{Node: 7})
	if err != nil {
		return err
	}
	if mode == childOpens {
		return s.Close()
	}
	physical := func() int64 { return time.Now().Add(n).UnixNano() }
	i, err := NewIssuer(s, IssuerOptions{
		Physical: physical, MaxLead: time.Hour,
		Bound: func() (int64, time.Duration, error) { return physical(), time.Millisecond, nil },
	})
	if err != nil {
		return err
	}
	if err := i.Start(); err != nil {
		return err
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				ts, err := i.Now(context.Background())
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				// One write of a line: a pipe takes it whole or not at all.
				if _, err := os.Stdout.WriteString(strconv.FormatUint(uint64(ts), 10) + "\n"); err != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return nil
}

// rerun returns this test binary as a child.
func rerun(mode, dir, arg string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], dir, arg)
	cmd.Env = append(os.Environ(), childEnv+"="+mode)
	return cmd
}

// TestKill kills a process that issues timestamps to eight callers, over and over, on
// a real disk. Each life begins with a physical clock a second behind that of the one
// before, so that nothing but the store keeps time from going back (H1, H7).
func TestKill(t *testing.T) {
	leakFree(t)
	rng := rand.New(rand.NewPCG(*seedFlag, 0))
	dir := t.TempDir() + "/data"
	seen := map[hlc.Timestamp]bool{}
	var greatest hlc.Timestamp
	for round := range 10 {
		issued := killed(t, dir, -time.Duration(round)*time.Second, time.Duration(rng.IntN(60))*time.Millisecond)
		before := greatest
		for _, ts := range issued {
			if seen[ts] {
				t.Fatalf("seed %d round %d: %d issued twice", *seedFlag, round, ts)
			}
			if ts <= before {
				t.Fatalf("seed %d round %d: %d issued after %d", *seedFlag, round, ts, before)
			}
			seen[ts] = true
			greatest = max(greatest, ts)
		}
	}
	t.Logf("%d timestamps", len(seen))
}

// killed returns what a child printed until it was killed, some time after its first
// line.
func killed(t *testing.T, dir string, offset, after time.Duration) []hlc.Timestamp {
	t.Helper()
	cmd := rerun(childIssues, dir, offset.String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var issued []hlc.Timestamp
	var timer *time.Timer
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if issued = append(issued, hlc.Timestamp(n)); timer == nil {
			timer = time.AfterFunc(after, func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
		}
	}
	_ = cmd.Wait() // killed
	if len(issued) == 0 || errs.Len() > 0 {
		t.Fatalf("child issued %d timestamps and said %q", len(issued), errs.String())
	}
	return issued
}
