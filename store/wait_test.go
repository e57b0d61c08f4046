package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

// TestWait: Wait returns as soon as earliest has passed, without spinning, and refuses
// what is too far.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound = 3 * time.Millisecond
		var asked atomic.Int64
		i, err := NewIssuer(&memory{}, IssuerOptions{Physical: wall(0), Bound: func() (int64, time.Duration, error) {
			asked.Add(1)
			return time.Now().UnixNano(), bound, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer i.Close()
		if err := i.Start(); err != nil {
			t.Fatal(err)
		}
		for _, ahead := range []time.Duration{-time.Second, -bound, 0, 1, time.Microsecond, time.Millisecond, WaitMax - 2*bound} {
			began := time.Now()
			ts := hlc.FromUnix(began.Add(ahead).UnixNano())
			asked.Store(0)
			interval, err := i.Wait(context.Background(), ts)
			if err != nil || interval.Earliest <= ts {
				t.Errorf("%v ahead: %v, %v", ahead, interval, err)
			}
			if waited := time.Since(began); waited > max(0, ahead+bound)+2*sleepMin || asked.Load() > 3 {
				t.Errorf("%v ahead: waited %v, looked %d times", ahead, waited, asked.Load())
			}
		}
		for _, ts := range []hlc.Timestamp{hlc.FromUnix(time.Now().Add(WaitMax).UnixNano()), hlc.Max} {
			if _, err := i.Wait(context.Background(), ts); !errors.Is(err, ErrTooFar) {
				t.Errorf("wait for %v: %v", ts, err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := i.Wait(ctx, hlc.FromUnix(time.Now().Add(5*time.Second).UnixNano())); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("wait with a deadline: %v", err)
		}
	})
}

// TestWaitEnds: a wait ends when UTC does not advance, when Bound fails and when the
// issuer is closed.
func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		still := newHand(epoch0)
		errUnsynchronised := errors.New("unsynchronised")
		var unsynchronised atomic.Bool
		i, err := NewIssuer(&memory{}, IssuerOptions{Physical: still.now, Bound: func() (int64, time.Duration, error) {
			if unsynchronised.Load() {
				return 0, 0, errUnsynchronised
			}
			return still.bound()
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := i.Start(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := i.Wait(context.Background(), epoch0+1e9); !errors.Is(err, ErrTooFar) || time.Since(began) > 3*WaitMax {
			t.Errorf("clock that stands still: %v after %v", err, time.Since(began))
		}
		unsynchronised.Store(true)
		_, waitErr := i.Wait(context.Background(), epoch0)
		_, intervalErr := i.Interval(context.Background())
		_, commitErr := i.Commit(context.Background())
		for _, err := range []error{waitErr, intervalErr, commitErr} {
			if !errors.Is(err, errUnsynchronised) {
				t.Errorf("unsynchronised: %v", err)
			}
		}
		now(t, i) // plain timestamps go on
		unsynchronised.Store(false)
		done := make(chan error)
		go func() { _, err := i.Wait(context.Background(), epoch0+1e9); done <- err }()
		synctest.Wait()
		if err := i.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("closed while waiting: %v", err)
		}
	})
}

// TestCommitRebased: a commit that waits while the epoch is replaced is not returned.
func TestCommitRebased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := bubbleIssuer(t, &memory{}, 0, 50*time.Millisecond)
		defer i.Close()
		done := make(chan error)
		go func() { _, err := i.Commit(context.Background()); done <- err }()
		synctest.Wait()
		if _, err := i.Rebase(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, ErrEpoch) {
			t.Errorf("commit across a rebase: %v", err)
		}
	})
}

// TestCommitUnique: two commits that asked for their interval at the same moment, and got
// the same one, return different timestamps.
func TestCommitUnique(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var both sync.WaitGroup
		both.Add(2)
		var asked atomic.Int64
		i, err := NewIssuer(&memory{}, IssuerOptions{Physical: wall(0), Bound: func() (int64, time.Duration, error) {
			if asked.Add(1) <= 2 {
				both.Done()
				both.Wait()
			}
			return time.Now().UnixNano(), time.Millisecond, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer i.Close()
		if err := i.Start(); err != nil {
			t.Fatal(err)
		}
		var committed [2]hlc.Timestamp
		var all sync.WaitGroup
		for k := range committed {
			all.Go(func() {
				ts, err := i.Commit(context.Background())
				if err != nil {
					t.Error(err)
				}
				committed[k] = ts
			})
		}
		all.Wait()
		if committed[0] == committed[1] {
			t.Errorf("%d committed twice", committed[0])
		}
	})
}

// opposite are two appliances that never talk to each other, whose physical clocks stand
// at opposite ends of their error bound.
func opposite(t *testing.T) [2]*Issuer {
	const e = 4 * time.Millisecond
	return [2]*Issuer{bubbleIssuer(t, &memory{}, e, e), bubbleIssuer(t, &memory{}, -e, e)}
}

// TestCommitOrder: 10,000 commits, one after the other, on one appliance or the other,
// are in real-time order. Plain timestamps are not, which shows that the test can fail.
func TestCommitOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(*seedFlag, 3))
	synctest.Test(t, func(t *testing.T) {
		pair := opposite(t)
		defer pair[0].Close()
		defer pair[1].Close()
		var last hlc.Timestamp
		for try := range 10_000 {
			ts, err := pair[rng.IntN(2)].Commit(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if ts <= last {
				t.Fatalf("seed %d, try %d: committed %d after %d", *seedFlag, try, ts, last)
			}
			last = ts
		}
	})
	synctest.Test(t, func(t *testing.T) {
		pair := opposite(t)
		defer pair[0].Close()
		defer pair[1].Close()
		inversions := 0
		var last hlc.Timestamp
		for try := range 1000 {
			ts := now(t, pair[try%2])
			if ts <= last {
				inversions++
			}
			last = ts
			time.Sleep(10 * time.Microsecond)
		}
		if inversions < 400 {
			t.Errorf("plain timestamps: %d inversions; the clocks do not differ", inversions)
		}
	})
}

// event is one call: its place in real time when it began and ended, and its answer.
type event struct {
	began, ended int64
	ts           hlc.Timestamp
}

// TestCommitConcurrent: with 16 callers on both appliances, a commit that began after
// another had returned is greater; no two of one appliance are equal.
func TestCommitConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := opposite(t)
		defer pair[0].Close()
		defer pair[1].Close()
		var place atomic.Int64
		var mu sync.Mutex
		var events []event
		seen := [2]map[hlc.Timestamp]bool{{}, {}}
		var all sync.WaitGroup
		for caller := range 16 {
			rng := rand.New(rand.NewPCG(*seedFlag, uint64(caller)))
			all.Go(func() {
				for range 10_000 / 16 {
					time.Sleep(time.Duration(rng.IntN(5)) * 200 * time.Microsecond) // often at the same moment
					at := rng.IntN(2)
					began := place.Add(1)
					ts, err := pair[at].Commit(context.Background())
					if err != nil {
						t.Error(err)
						return
					}
					e := event{began, place.Add(1), ts}
					mu.Lock()
					if seen[at][ts] {
						t.Errorf("%d committed twice", ts)
					}
					seen[at][ts] = true
					events = append(events, e)
					mu.Unlock()
				}
			})
		}
		all.Wait()
		inverted(t, events)
	})
}

// inverted reports every event that is not greater than all that ended before it began.
func inverted(t *testing.T, events []event) {
	t.Helper()
	byStart := slices.SortedFunc(slices.Values(events), func(a, b event) int { return int(a.began - b.began) })
	byEnd := slices.SortedFunc(slices.Values(events), func(a, b event) int { return int(a.ended - b.ended) })
	var greatest hlc.Timestamp
	n := 0
	for _, e := range byStart {
		for ; n < len(byEnd) && byEnd[n].ended < e.began; n++ {
			greatest = max(greatest, byEnd[n].ts)
		}
		if e.ts <= greatest {
			t.Errorf("seed %d: committed %d, after %d had been returned", *seedFlag, e.ts, greatest)
		}
	}
}
