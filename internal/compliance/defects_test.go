package compliance

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// boundedChain takes no more at a time than a store does.
type boundedChain struct{ fakeChain }

func (c *boundedChain) Append(entries ...store.JournalEntry) error {
	total := 0
	for _, e := range entries {
		if len(e.Payload) > store.JournalPayloadLenMax {
			return store.ErrTooLarge
		}
		if total += len(e.Payload); total > store.JournalAppendLenMax {
			return store.ErrTooLarge
		}
	}
	return c.fakeChain.Append(entries...)
}

func newBoundedRecorder(c *boundedChain, clock *clockAt) *Recorder {
	r := newFakeRecorder(&c.fakeChain, clock, nil)
	r.opts.Chain = c
	return r
}

// What waited for a full disk is written once there is room, however long it is.
func TestRecorderBatchIsBoundedInBytes(t *testing.T) {
	c, clock := &boundedChain{}, &clockAt{unix: 100 * aDay}
	r := newBoundedRecorder(c, clock)
	const count = 4096
	for range count { // 12 MiB
		r.Add(1, stopped(strings.Repeat("x", 3<<10)))
	}
	if err := r.Write(); err != nil {
		t.Fatal(err)
	}
	if len(c.entries) != count || r.Dropped() != 0 {
		t.Errorf("%d of %d entries written, %d given up", len(c.entries), count, r.Dropped())
	}
}

// An entry that no journal takes does not keep those behind it from being written.
func TestRecorderEntryThatIsTooLong(t *testing.T) {
	c, clock := &boundedChain{}, &clockAt{unix: 100 * aDay}
	r := newBoundedRecorder(c, clock)
	r.Add(1, stopped(strings.Repeat("x", store.JournalPayloadLenMax)), stopped("after"))
	if err := r.Write(); err != nil {
		t.Fatal(err)
	}
	if len(c.entries) != 1 || r.Dropped() != 1 {
		t.Errorf("%d entries written, %d given up", len(c.entries), r.Dropped())
	}
}

// Probes of a large fleet that wait for a full disk do not take the room of the evidence.
func TestRecorderKeepsRoomForEvidence(t *testing.T) {
	c, clock := &fakeChain{}, &clockAt{unix: 100 * aDay}
	r := newFakeRecorder(c, clock, nil)
	for range queueMax + 10 {
		r.Add(1, measuredBy(3))
	}
	lost := r.Dropped()
	r.Add(2, stopped("evidence"))
	if r.Dropped() != lost || lost == 0 {
		t.Errorf("%d entries given up, and with the evidence %d", lost, r.Dropped())
	}
}

// An hour of a loss is an hour, also when the clock is set back a year in between.
func TestRecorderLossEndsThoughTheClockWasSetBack(t *testing.T) {
	c, clock := &fakeChain{}, &clockAt{unix: 1000 * aDay}
	r := newFakeRecorder(c, clock, nil)
	r.lose(1000 * aDay)
	if len(r.Conditions(1000*aDay)) != 1 {
		t.Fatal("no alarm")
	}
	if len(r.Conditions(600*aDay)) != 1 {
		t.Error("the alarm ends because the clock is set back")
	}
	if standing := r.Conditions(600*aDay + int64(lossStands)); len(standing) != 0 {
		t.Errorf("an hour later: %v", standing)
	}
}

// A hardware clock that is years ahead at the start does not make the node forget its days.
func TestDaysOutliveAClockThatWasAhead(t *testing.T) {
	e := NewEngine(Options{Profiles: []Profile{NewProfile("p", ms)}})
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	look := func(unix int64) {
		for i := range int64(61) {
			e.Step(Second{Unix: unix + i*second, Same: true, System: Reading{Claims: true, Bound: time.Microsecond}})
		}
	}
	look(at)
	look(time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	look(at + aDay)
	days := e.Status(at+aDay+70*second, 30).Verdicts[0].Days
	if len(days) != 2 || days[0].Ok < 60 {
		t.Errorf("the strip of the last days: %v", days)
	}
}

// The clock loop waits for the engine: a status must be quick however many breaches nobody acknowledged.
func TestStatusIsQuickWithManyBreaches(t *testing.T) {
	var profiles []Profile
	for i := range 16 {
		profiles = append(profiles, NewProfile(fmt.Sprint("profile", i), ms))
	}
	var r Restored
	id := uint64(0)
	lines := make([]string, 64)
	for i := range lines {
		lines[i] = fmt.Sprintf("source-%d.example.net (192.0.2.%d:123): it agrees with the others", i, i)
	}
	for range 200 {
		for _, p := range profiles {
			for _, clock := range []rpc.JudgedClock{rpc.JudgedClock_JUDGED_CLOCK_SYSTEM, rpc.JudgedClock_JUDGED_CLOCK_SERVED} {
				id++
				r.breaches = append(r.breaches, &rpc.Breach{Id: id, Profile: p.Name, Clock: clock, StartUnixNs: int64(id), EndUnixNs: int64(id) + 1, Sources: lines})
			}
		}
	}
	e := NewEngine(Options{Profiles: profiles, Restored: r})
	var got int
	began := time.Now()
	allocs := testing.AllocsPerRun(3, func() { got = len(e.Status(1, 1).Breaches) })
	t.Logf("a status took %v and %v allocations", time.Since(began)/4, allocs)
	if got != statusBreachesMax {
		t.Errorf("%d breaches", got)
	}
	if allocs > 20*statusBreachesMax {
		t.Errorf("%v allocations for %d breaches: far more of them were copied", allocs, got)
	}
}

// A disk that is full does not keep what is too old, nor what an operator wants to keep for less long.
func TestRecorderThinsAFullDisk(t *testing.T) {
	c, clock := &boundedChain{}, &clockAt{unix: 100 * aDay, sure: true}
	r := newBoundedRecorder(c, clock)
	r.Keep(30*24*time.Hour, 0)
	if err := r.Write(); err != nil {
		t.Fatal(err)
	}
	full := fullChain{c}
	r.opts.Chain = full
	r.Add(1, stopped("waits"))
	clock.unix += aDay
	if err := r.Write(); !errors.Is(err, store.ErrFull) {
		t.Fatal(err)
	}
	r.Keep(7*24*time.Hour, 0)
	for range 2 {
		if err := r.Write(); !errors.Is(err, store.ErrFull) {
			t.Fatal(err)
		}
	}
	want := []string{fmt.Sprint("raw ", 70*aDay), fmt.Sprint("raw ", 71*aDay), fmt.Sprint("raw ", 94*aDay)}
	if !slices.Equal(c.trims, want) {
		t.Errorf("trims %v, want %v", c.trims, want)
	}
}

// fullChain has no room, and removes what is old.
type fullChain struct{ *boundedChain }

func (fullChain) Append(...store.JournalEntry) error { return store.ErrFull }

// However many ask for the status, a look at the clock waits for a few of them and not for all.
func TestLookDoesNotWaitForManyCallers(t *testing.T) {
	var profiles []Profile
	for i := range 16 {
		profiles = append(profiles, NewProfile(fmt.Sprint("profile", i), ms))
	}
	e := NewEngine(Options{Profiles: profiles})
	at := 1000 * aDay
	for d := range int64(100) {
		e.Step(Second{Unix: at + d*aDay, System: Reading{Claims: true, Bound: time.Microsecond}})
	}
	at += 100 * aDay
	const callers = 200
	var told, asking atomic.Int64
	stop := make(chan struct{})
	var work sync.WaitGroup
	for range callers {
		work.Go(func() {
			asking.Add(1)
			for {
				select {
				case <-stop:
					return
				default:
					e.Status(at, DaysMax)
					told.Add(1)
				}
			}
		})
	}
	for asking.Load() < callers || told.Load() < 2*callers {
		runtime.Gosched()
	}
	const looks = 5
	before := told.Load()
	for i := range int64(looks) {
		e.Step(Second{Unix: at + i*second, System: Reading{Claims: true, Bound: time.Microsecond}})
	}
	waited := told.Load() - before
	close(stop)
	work.Wait()
	if waited > looks*callers/4 {
		t.Errorf("%d looks waited for %d answers to %d callers", looks, waited, callers)
	}
}

// Breaches of a clock that was years ahead do not count until that date comes.
func TestWithin24h(t *testing.T) {
	const now = 1_790_000_000 * int64(time.Second)
	tracker := &tracker{}
	for _, hours := range []int64{-25, -24, -23, 0, 23, 24, 9000} {
		tracker.recent = append(tracker.recent, &rpc.Breach{StartUnixNs: now + hours*int64(time.Hour)})
	}
	if n := tracker.within24h(now); n != 3 {
		t.Errorf("%d breaches within a day, want 3", n)
	}
}
