package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/truechimer/truechimer/hlc"
)

// historyInput is a call on one stream.
type historyInput struct {
	stream   int
	read     bool // of the last event; else an append of one
	expected int64
}

// historyOutput is its answer: the last sequence behind it, and the timestamp of that.
type historyOutput struct {
	last     uint64
	conflict bool
	stamp    hlc.Timestamp // 0: there is no event
}

const unconditional = -1

// logModel is a stream as porcupine checks it: its last sequence, and the timestamp of that.
var logModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		var parts [][]porcupine.Operation
		for _, op := range history {
			n := op.Input.(historyInput).stream
			for len(parts) <= n {
				parts = append(parts, nil)
			}
			parts[n] = append(parts[n], op)
		}
		return parts
	},
	Init: func() any { return historyOutput{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(historyOutput), input.(historyInput), output.(historyOutput)
		switch {
		case in.read:
			return out.last == s.last && out.stamp == s.stamp, s
		case out.conflict:
			return in.expected != int64(s.last) && out.last == s.last, s
		}
		fits := in.expected == unconditional || in.expected == int64(s.last)
		return fits && out.last == s.last+1 && out.stamp > s.stamp, historyOutput{last: out.last, stamp: out.stamp}
	},
}

// TestHistory records 100,000 concurrent calls, appends with and without a condition and
// reads of the last event, and has porcupine check that each stream behaved like one log
// that does one call at a time. And over all streams: what was appended after the answer
// to another append has the greater timestamp.
func TestHistory(t *testing.T) {
	leakFree(t)
	const streams, callers = 24, 4 // callers of each stream
	calls := 1100
	if testing.Short() {
		calls = 150
	}
	h := newHand(epoch0)
	st := openStreams(t, vfs.NewMem(), h, StreamsOptions{})
	defer closeStreams(t, st)
	start := time.Now()
	histories := make([][]porcupine.Operation, streams*callers)
	var all sync.WaitGroup
	for c := range histories {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(*seedFlag, uint64(c)))
			for range calls {
				in := historyInput{stream: c % streams, expected: unconditional}
				name := fmt.Sprintf("s/%d", in.stream)
				switch rng.IntN(4) {
				case 0, 1:
					in.read = true
				case 2:
					if s, err := st.Describe(name); err == nil {
						in.expected = int64(s.Last)
					} else {
						in.expected = 0
					}
				}
				begin := time.Since(start)
				out, err := callStream(st, name, in, rng.IntN(2) == 0)
				if err != nil {
					t.Error(err)
					return
				}
				histories[c] = append(histories[c], porcupine.Operation{
					ClientId: c, Input: in, Output: out, Call: int64(begin), Return: int64(time.Since(start)),
				})
				h.move(time.Duration(rng.IntN(2000)))
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	history := slices.Concat(histories...)
	appends := inversions(t, history)
	if got := porcupine.CheckOperationsTimeout(logModel, history, 20*time.Second); got != porcupine.Ok {
		t.Errorf("porcupine says %v", got)
	}
	t.Logf("%d calls, %d appends, %d conflicts", len(history), appends, st.Status().Conflicts)
}

// callStream does one call.
func callStream(st *Streams, name string, in historyInput, describe bool) (historyOutput, error) {
	if !in.read {
		b := single(name, "x")
		if in.expected != unconditional {
			expected := uint64(in.expected)
			b.Entries[0].Expected = &expected
		}
		r, err := st.Append(context.Background(), b)
		var conflict *ConflictError
		if errors.As(err, &conflict) {
			return historyOutput{last: conflict.Last, conflict: true}, nil
		}
		if err != nil {
			return historyOutput{}, err
		}
		return historyOutput{last: r.Sequences[0], stamp: r.Timestamp}, nil
	}
	if describe {
		s, err := st.Describe(name)
		if errors.Is(err, ErrNoStream) {
			return historyOutput{}, nil
		}
		return historyOutput{last: s.Last, stamp: s.LastTimestamp}, err
	}
	p, err := st.Read(context.Background(), name, Query{Reverse: true, Limit: 1})
	if errors.Is(err, ErrNoStream) {
		return historyOutput{}, nil
	}
	if err != nil {
		return historyOutput{}, err
	}
	if len(p.Events) != 1 || p.Events[0].Sequence != p.Stream.Last || p.Events[0].Timestamp != p.Stream.LastTimestamp {
		return historyOutput{}, fmt.Errorf("read %+v of %+v", p.Events, p.Stream)
	}
	return historyOutput{last: p.Events[0].Sequence, stamp: p.Events[0].Timestamp}, nil
}

// inversions fails the test when an append that was answered before another one was called
// has a timestamp that is not below the other's. It returns how many there are.
func inversions(t *testing.T, history []porcupine.Operation) int {
	t.Helper()
	var appends []porcupine.Operation
	stamps := map[hlc.Timestamp]bool{}
	for _, op := range history {
		if out := op.Output.(historyOutput); !op.Input.(historyInput).read && !out.conflict {
			if appends = append(appends, op); stamps[out.stamp] {
				t.Errorf("two appends at %d", out.stamp)
			}
			stamps[out.stamp] = true
		}
	}
	answered := slices.Clone(appends)
	slices.SortFunc(appends, func(x, y porcupine.Operation) int { return int(x.Call - y.Call) })
	slices.SortFunc(answered, func(x, y porcupine.Operation) int { return int(x.Return - y.Return) })
	var greatest hlc.Timestamp
	next := 0
	for _, op := range appends {
		for ; answered[next].Return < op.Call; next++ {
			greatest = max(greatest, answered[next].Output.(historyOutput).stamp)
		}
		if stamp := op.Output.(historyOutput).stamp; stamp <= greatest {
			t.Errorf("called after the answer that says %d, appended at %d", greatest, stamp)
		}
	}
	return len(appends)
}
