package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

// childAppends appends from eight callers and watches. Arguments: directory, offset of the
// physical clock, which is also the name of its life.
const childAppends = "append"

// appendChild prints what it is told, until it is killed.
func appendChild(dir string, offset time.Duration) error {
	h := newHand(time.Now().Add(offset).UnixNano())
	st, err := streamsOn(nil, dir, h, IssuerOptions{MaxLead: time.Hour}, StreamsOptions{Reserve: 1})
	if err != nil {
		return err
	}
	w, err := st.Watch(context.Background(), Selection{}, Start{})
	if err != nil {
		return err
	}
	say := func(what string, e Event) error {
		// One write of a line: a pipe takes it whole or not at all.
		_, err := os.Stdout.WriteString(fmt.Sprintf("%s %s %d %d %s\n", what, e.Stream, e.Sequence, uint64(e.Timestamp), e.Payload))
		return err
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			d, err := w.Next(context.Background())
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			for _, e := range d.Events {
				if say("saw", e) != nil {
					return
				}
			}
		}
	})
	for g := range 8 {
		all.Go(func() {
			for n := 0; ; n++ {
				h.move(time.Microsecond)
				b := keyed(offset, g, n)
				r, err := st.Append(context.Background(), b)
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				if say("got", Event{Stream: b.Entries[0].Stream, Sequence: r.Sequences[0], Timestamp: r.Timestamp, Payload: b.Entries[0].Payload}) != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return nil
}

// keyed is what a caller of a child appends as its nth event.
func keyed(life time.Duration, caller, n int) Batch {
	key := fmt.Sprintf("%v/%d/%d", life, caller, n)
	b := single(fmt.Sprintf("s/%d", caller%3), key)
	b.Key = key
	return b
}

// TestStreamsKill kills a process that appends from eight callers and watches, over and
// over, on a real disk. Whatever it was told and has seen is there afterwards, gapless, at
// its sequence and timestamp, and what each caller was about to append next is there once
// after it was repeated.
func TestStreamsKill(t *testing.T) {
	leakFree(t)
	rounds := 50
	if testing.Short() {
		rounds = 10
	}
	rng := rand.New(rand.NewPCG(*seedFlag, 6))
	dir := t.TempDir() + "/data"
	var promised []Event
	for round := range rounds {
		life := -time.Duration(round+1) * time.Second
		told, next := killedAppending(t, dir, life, time.Duration(rng.IntN(30))*time.Millisecond)
		promised = append(promised, told...)
		st, err := streamsOn(nil, dir, newHand(time.Now().Add(life).UnixNano()), IssuerOptions{MaxLead: time.Hour}, StreamsOptions{Reserve: 1})
		if err != nil {
			t.Fatalf("seed %d round %d: %v", *seedFlag, round, err)
		}
		was := allOf(t, st)
		for _, e := range promised {
			if got, ok := was.event(e.Stream, e.Sequence); !ok || got.Timestamp != e.Timestamp || string(got.Payload) != string(e.Payload) {
				t.Fatalf("seed %d round %d: event %d of %q at %d was promised, and is %+v", *seedFlag, round, e.Sequence, e.Stream, e.Timestamp, got)
			}
		}
		for caller, n := range next {
			b := keyed(life, caller, n)
			r, err := st.Append(context.Background(), b)
			if err != nil || r.Timestamp <= was.last && !r.Repeated {
				t.Fatalf("seed %d round %d: %+v after %d, %v", *seedFlag, round, r, was.last, err)
			}
		}
		once(t, allOf(t, st).all)
		closeStreams(t, st)
	}
	t.Logf("%d promises", len(promised))
}

// once fails the test when two events say the same.
func once(t *testing.T, events []Event) {
	t.Helper()
	said := map[string]bool{}
	for _, e := range events {
		if said[string(e.Payload)] {
			t.Fatalf("two events say %q", e.Payload)
		}
		said[string(e.Payload)] = true
	}
}

// killedAppending returns what a child was told and has seen until it was killed, some
// time after its first line, and which event each of its callers would append next.
func killedAppending(t *testing.T, dir string, life, after time.Duration) (told []Event, next [8]int) {
	t.Helper()
	cmd := rerun(childAppends, dir, life.String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var what, payload string
		var e Event
		var ts uint64
		if _, err := fmt.Sscan(lines.Text(), &what, &e.Stream, &e.Sequence, &ts, &payload); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		e.Timestamp, e.Payload = hlc.Timestamp(ts), []byte(payload)
		if what == "got" {
			var caller, n int
			if _, err := fmt.Sscanf(payload, life.String()+"/%d/%d", &caller, &n); err != nil {
				t.Fatalf("%q: %v", lines.Text(), err)
			}
			next[caller] = n + 1
		}
		if told = append(told, e); len(told) == 1 {
			time.AfterFunc(after, func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
		}
	}
	_ = cmd.Wait() // killed
	if len(told) == 0 || errs.Len() > 0 {
		t.Fatalf("child was told %d times and said %q", len(told), errs.String())
	}
	return told, next
}
