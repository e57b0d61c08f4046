package hlc

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestConcurrent: many callers on one clock whose physical time jitters and goes back.
// Each value is unique, each caller's values rise, and every value is greater than any
// that had been returned to anybody before the call.
func TestConcurrent(t *testing.T) {
	const callers, calls = 16, 3000
	w := new(wall)
	w.Store(noon)
	var reads atomic.Int64
	c, err := New(Options{Ceiling: Max, Physical: func() int64 {
		if n := reads.Add(1); n%1000 == 0 {
			w.advance(-100 * time.Microsecond)
		} else if n%3 == 0 {
			w.advance(700)
		}
		return w.Load()
	}})
	if err != nil {
		t.Fatal(err)
	}
	type span struct{ first, last Timestamp }
	var (
		wg       sync.WaitGroup
		returned atomic.Uint64 // greatest value returned to anybody
		shared   atomic.Uint64 // a value to observe
		spans    [callers][]span
	)
	for i := range callers {
		wg.Go(func() {
			for k := range calls {
				before := Timestamp(returned.Load())
				n := 1
				var first Timestamp
				var err error
				switch (i + k) % 3 {
				case 0:
					first, err = c.Now()
				case 1:
					n = 1 + k%50
					first, err = c.NowN(n)
				case 2:
					remote := Timestamp(shared.Load())
					if first, err = c.Observe(remote); first <= remote {
						t.Errorf("Observe(%v) = %v", remote, first)
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
				if first <= before {
					t.Errorf("%v was returned although %v had been", first, before)
				}
				last := first + Timestamp(n) - 1
				shared.Store(uint64(last) + uint64(k%7)*100)
				for {
					old := returned.Load()
					if uint64(last) <= old || returned.CompareAndSwap(old, uint64(last)) {
						break
					}
				}
				spans[i] = append(spans[i], span{first, last})
			}
		})
	}
	wg.Wait()
	for i, s := range spans {
		for k := 1; k < len(s); k++ {
			if s[k].first <= s[k-1].last {
				t.Fatalf("caller %d saw %v after %v", i, s[k].first, s[k-1].last)
			}
		}
	}
	all := slices.Concat(spans[:]...)
	slices.SortFunc(all, func(a, b span) int { return int(int64(a.first) - int64(b.first)) })
	for i := 1; i < len(all); i++ {
		if all[i].first <= all[i-1].last {
			t.Fatalf("%v to %v and %v to %v overlap", all[i-1].first, all[i-1].last, all[i].first, all[i].last)
		}
	}
	if len(all) != callers*calls {
		t.Errorf("%d ranges, want %d", len(all), callers*calls)
	}
}

// TestConcurrentDense: while physical time stands, issue goes on by +1 whoever asks, so the
// last timestamp alone tells whether any was given out twice.
func TestConcurrentDense(t *testing.T) {
	const callers, calls = 8, 250_000
	crowd(t)
	c, _ := newClock(t, Options{MaxLead: time.Hour})
	mustNow(t, c)
	remote := FromUnix(noon)
	together(callers, func(int) {
		for k := range calls {
			var err error
			if k%2 == 0 {
				_, err = c.Now()
			} else {
				_, err = c.Observe(remote)
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	if n := c.Last() - remote; n != callers*calls {
		t.Errorf("%d timestamps were issued in %d calls", n, callers*calls)
	}
}

// crowd gives the test more threads than there are cores, so that the kernel interrupts
// them in the middle of everything: with one goroutine to a core few races are ever lost.
func crowd(t *testing.T) {
	before := runtime.GOMAXPROCS(4 * runtime.NumCPU())
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

// together runs f in n goroutines that wait for each other before they begin, and returns
// when all have.
func together(n int, f func(i int)) {
	var ready, done sync.WaitGroup
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			f(i)
		})
	}
	done.Wait()
}

// TestRaiseConcurrent: whoever raised the ceiling finds it there or higher from then on,
// whatever others raise it to.
func TestRaiseConcurrent(t *testing.T) {
	crowd(t)
	c, _ := newClock(t, Options{Ceiling: 1})
	together(4, func(i int) {
		raised := Timestamp(0)
		for range 1_000_000 {
			now := c.Ceiling()
			if now < raised {
				t.Errorf("the ceiling fell to %d after Raise(%d)", now, raised)
				return
			}
			raised = now + 1 + 1000*Timestamp(i) // some far, some near: both are in each other's way
			c.Raise(raised)
		}
	})
}

// TestCeilingConcurrent: callers at the ceiling while it is lifted: nothing is issued at or
// above what it was when the call returned.
func TestCeilingConcurrent(t *testing.T) {
	c, _ := newClock(t, Options{Ceiling: 1, MaxLead: time.Hour})
	top := FromUnix(noon)
	end := top + 200*1024
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				ts, err := c.NowN(2)
				ceiling := c.Ceiling()
				switch {
				case err == nil && ts+1 >= ceiling:
					t.Errorf("%v was returned under the ceiling %v", ts+1, ceiling)
					return
				case err != nil && !errors.Is(err, ErrCeiling):
					t.Error(err)
					return
				case err != nil && ceiling >= end:
					return
				}
			}
		})
	}
	var raisers sync.WaitGroup
	for i := range Timestamp(2) {
		raisers.Go(func() {
			for at := top + i; at < end; at += 100 {
				c.Raise(at)
				if c.Ceiling() < at {
					t.Errorf("the ceiling fell to %v after Raise(%v)", c.Ceiling(), at)
				}
			}
			c.Raise(end)
		})
	}
	raisers.Wait()
	wg.Wait()
	if got := c.Ceiling(); got != end {
		t.Errorf("Ceiling = %v, want %v", got, end)
	}
}

// TestH12: a resigned issuer clears its memory before it serves again: what a call read
// before the Reset does not outlive it.
func TestH12(t *testing.T) {
	t.Run("down", func(t *testing.T) {
		c, _ := newClock(t, Options{Last: FromUnix(noon) + Timestamp(time.Hour)})
		refused(t, c, ErrLead, c.Now)
		c.Reset(FromUnix(noon)+7, FromUnix(noon)+10)
		if got := mustNow(t, c); got != FromUnix(noon)+8 {
			t.Errorf("Now = %v, want the successor of last", got)
		}
		mustNow(t, c)
		refused(t, c, ErrCeiling, c.Now)
	})
	// The clock ran an hour ahead; while a call holds that hour in its hand, the owner
	// anchors physical time and begins a new epoch.
	t.Run("physical time read before", func(t *testing.T) {
		p := FromUnix(noon)
		for _, c := range []struct {
			name        string
			op          func(c *Clock) (Timestamp, error)
			first, last Timestamp
		}{
			{"Now", (*Clock).Now, p + 1, p + 1},
			{"NowN", func(c *Clock) (Timestamp, error) { return c.NowN(10) }, p + 1, p + 10},
			{"Observe", func(c *Clock) (Timestamp, error) { return c.Observe(p + 5) }, p + 6, p + 6},
		} {
			var clock *Clock
			calls := 0
			physical := func() int64 {
				if calls++; calls == 1 {
					clock.Reset(p, Max)
					return noon + int64(time.Hour)
				}
				return noon
			}
			clock, err := New(Options{Physical: physical, Ceiling: Max})
			if err != nil {
				t.Fatal(err)
			}
			first := must(t, func() (Timestamp, error) { return c.op(clock) })
			if first != c.first || clock.Last() != c.last {
				t.Errorf("%s = %v up to %v, want %v up to %v", c.name, first, clock.Last(), c.first, c.last)
			}
		}
	})
	// Epoch e issues in [base + e·width, +width): a value that one epoch takes from the
	// next is issued twice.
	t.Run("concurrent, up", func(t *testing.T) {
		const epochs, width = 200_000, Timestamp(64)
		base := FromUnix(noon)
		c, _ := newClock(t, Options{Last: base - 1, Ceiling: base + width, MaxLead: time.Hour})
		var epoch atomic.Int64
		var all [4][]Timestamp
		wait := hammer(t, len(all), func(i int) error {
			before := epoch.Load()
			ts, err := c.NowN(3)
			after := epoch.Load()
			if err != nil {
				return err
			}
			all[i] = append(all[i], ts)
			of, end := int64((ts-base)/width), int64((ts+2-base)/width)
			if of != end || of < before || of > after+1 { // the epoch is counted a moment after the Reset
				return fmt.Errorf("%v to %v of epochs %d and %d were returned between %d and %d", ts, ts+2, of, end, before, after)
			}
			return nil
		})
		for e := Timestamp(1); e < epochs && !t.Failed(); e++ {
			c.Reset(base+e*width-1, base+(e+1)*width)
			epoch.Store(int64(e))
		}
		wait()
		issued := slices.Concat(all[:]...)
		slices.Sort(issued)
		for i := 1; i < len(issued); i++ {
			if issued[i] < issued[i-1]+3 {
				t.Fatalf("ranges of 3 were issued from %v and from %v", issued[i-1], issued[i])
			}
		}
	})
	// A wide epoch alternates with one below it that has room for nothing.
	t.Run("concurrent, down", func(t *testing.T) {
		high := FromUnix(noon) + 1024
		low := high - 1024
		c, w := newClock(t, Options{Last: high, Ceiling: high + 1<<20})
		w.advance(-Tick) // below both
		wait := hammer(t, 4, func(int) error {
			ts, err := c.Now()
			if err == nil && ts <= high {
				return fmt.Errorf("%v was issued by an epoch that has room for nothing", ts)
			}
			return err
		})
		for i := 0; i < 200_000 && !t.Failed(); i++ {
			c.Reset(low, low+1)
			c.Reset(high, high+1<<20)
		}
		wait()
	})
	// A clock that runs an hour ahead is brought back, again and again: nothing of the
	// hour is left in the epoch after.
	t.Run("concurrent, rebase", func(t *testing.T) {
		const hour = Timestamp(time.Hour)
		p := FromUnix(noon)
		var w wall
		w.Store(noon)
		c, err := New(Options{Ceiling: Max, Physical: func() int64 {
			unix := w.Load()
			for i := range 20 { // time to become outdated in
				unix += int64(i) - 9
			}
			return unix
		}})
		if err != nil {
			t.Fatal(err)
		}
		wait := hammer(t, 4, func(int) error { // the error is that last is an hour ahead
			if _, err := c.Now(); err != nil && !errors.Is(err, ErrLead) {
				return err
			}
			return nil
		})
		// An epoch begins at a value that none before it has issued: a call that was held
		// up since an epoch stood there could not tell the two apart.
		const room = 8192
		for k := Timestamp(0); k < 50_000 && !t.Failed(); k++ {
			w.Store(noon + int64(hour))
			c.Reset(p+hour+room*k, Max)
			w.Store(noon)
			c.Reset(p+room*k, Max)
			for range 3 {
				if last := c.Last(); last > p+hour/2 {
					t.Errorf("the new epoch stands at %v", last)
				}
			}
		}
		wait()
	})
}

// hammer calls op from n goroutines until the returned function is called, which waits for
// them. ErrCeiling is no error here.
func hammer(t *testing.T, n int, op func(caller int) error) (wait func()) {
	crowd(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := op(i); err != nil && !errors.Is(err, ErrCeiling) {
					t.Error(err)
					return
				}
			}
		})
	}
	return func() {
		close(stop)
		wg.Wait()
	}
}
