package store

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

var errTransient = errors.New("quorum lost")

// wall is physical time that follows the clock of the bubble.
func wall(offset time.Duration) func() int64 {
	return func() int64 { return time.Now().Add(offset).UnixNano() }
}

// bubbleIssuer returns an issuer over the bubble's clock, started.
func bubbleIssuer(t *testing.T, cs CeilingStore, offset, bound time.Duration) *Issuer {
	t.Helper()
	physical := wall(offset)
	i, err := NewIssuer(cs, IssuerOptions{
		Physical: physical,
		Bound:    func() (int64, time.Duration, error) { return physical(), bound, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Start(); err != nil {
		t.Fatal(err)
	}
	return i
}

// TestNotStarted: before Start nothing is issued and the ceiling stays where it was,
// whatever the hardware clock says; a clean stop without a start loses nothing.
func TestNotStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{stored: Ceiling{Epoch: 4, Ceiling: epoch0, Clean: 4, Last: epoch0 - 1000}}
		year2035 := newHand(epoch0 + 9*365*24*int64(time.Hour))
		i, err := NewIssuer(m, IssuerOptions{Physical: year2035.now, Bound: year2035.bound})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		ctx := context.Background()
		_, nowErr := i.Now(ctx)
		_, manyErr := i.NowN(ctx, 2)
		_, observeErr := i.Observe(ctx, epoch0)
		_, intervalErr := i.Interval(ctx)
		_, waitErr := i.Wait(ctx, epoch0)
		_, commitErr := i.Commit(ctx)
		_, rebaseErr := i.Rebase()
		for _, err := range []error{nowErr, manyErr, observeErr, intervalErr, waitErr, commitErr, rebaseErr} {
			if !errors.Is(err, ErrNotStarted) {
				t.Errorf("before Start: %v", err)
			}
		}
		if want := (Ceiling{Epoch: 5, Ceiling: epoch0, Clean: 4, Last: epoch0 - 1000}); m.get() != want || m.count() != 0 {
			t.Errorf("before Start the record became %+v, want %+v", m.get(), want)
		}
		if err := i.Close(); err != nil {
			t.Fatal(err)
		}
		if want := (Ceiling{Epoch: 5, Ceiling: epoch0, Clean: 5, Last: epoch0 - 1000}); m.get() != want {
			t.Errorf("after Close %+v, want %+v", m.get(), want)
		}
	})
}

// TestStarts: after a clean stop the clock starts at the last timestamp, after a crash at
// the ceiling, and the lead that it causes is reported.
func TestStarts(t *testing.T) {
	leakFree(t)
	lead := hlc.Timestamp(200 * time.Millisecond / 1024 * 1024)
	cases := []struct {
		name  string
		from  Ceiling
		first hlc.Timestamp
		lead  time.Duration
	}{
		{"new", Ceiling{}, epoch0, 0},
		{"clean", Ceiling{Epoch: 1, Ceiling: epoch0 + lead, Clean: 1, Last: epoch0 + 5}, epoch0 + 6, 5},
		{"crash", Ceiling{Epoch: 1, Ceiling: epoch0 + lead}, epoch0 + lead + 1, time.Duration(lead)},
		{"crash after a clean stop", Ceiling{Epoch: 2, Ceiling: epoch0 + lead, Clean: 1, Last: epoch0 + 5}, epoch0 + lead + 1, time.Duration(lead)},
		{"crash long ago", Ceiling{Epoch: 1, Ceiling: epoch0 - lead}, epoch0, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := &memory{stored: c.from}
			i := issuerOn(t, m, newHand(epoch0))
			if ts := now(t, i); ts != c.first {
				t.Errorf("first timestamp %d, want %d", ts, c.first)
			}
			if s := i.Status(); s.LeadAtStart != c.lead || !s.Started || s.Epoch != c.from.Epoch+1 || s.Err != nil {
				t.Errorf("status %+v, want a lead of %v", s, c.lead)
			}
			if err := errors.Join(i.Start(), i.Close(), i.Close()); err != nil {
				t.Error(err)
			}
			if m.get().Resume() != c.first {
				t.Errorf("closed at %d, want %d", m.get().Resume(), c.first)
			}
			if _, err := i.Now(context.Background()); !errors.Is(err, ErrClosed) || !errors.Is(i.Start(), ErrClosed) || !errors.Is(i.Status().Err, ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}

// TestRenewal: the ceiling stays ahead of physical time with ten saves a second, whether
// anything is issued or not, and no call waits.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		i := bubbleIssuer(t, m, 0, time.Millisecond)
		defer i.Close()
		for range 1000 {
			time.Sleep(10 * time.Millisecond)
			now(t, i)
		}
		if m.count() < 95 || m.count() > 105 {
			t.Errorf("%d saves in 10 s", m.count())
		}
		if s := i.Status(); s.Waits != 0 || s.Lead > 0 || s.Saves != uint64(m.count()) {
			t.Errorf("%+v", s)
		}
	})
}

// TestExhausted: when the ceiling cannot be saved, calls go on below it, then wait for a
// second and fail with what is wrong; when it can again, they go on.
func TestExhausted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		i := bubbleIssuer(t, m, 0, time.Millisecond)
		defer i.Close()
		m.setFail(errTransient, false)
		now(t, i)
		time.Sleep(time.Second)
		began := time.Now()
		_, err := i.Now(context.Background())
		if !errors.Is(err, ErrExhausted) || !errors.Is(err, hlc.ErrCeiling) || !errors.Is(err, errTransient) {
			t.Errorf("exhausted: %v", err)
		}
		if waited := time.Since(began); waited != CeilingWaitMax {
			t.Errorf("waited %v", waited)
		}
		if n := m.count(); n > 25 {
			t.Errorf("%d saves tried in 2 s", n)
		}
		for range 100 {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
			if _, err := i.Now(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("with a deadline: %v", err)
			}
			cancel()
		}
		if n := m.count(); n > 40 {
			t.Errorf("%d saves tried in 3 s: a failing store is written to in a loop", n)
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { now(t, i) })
		}
		synctest.Wait()
		m.setFail(nil, false)
		all.Wait()
		if s := i.Status(); s.SaveFailures == 0 || s.Waits < 10 || s.Err != nil {
			t.Errorf("%+v", s)
		}
	})
}

// TestLostAnswer: a save that reached the store although it answered with an error must
// not stop the next one.
func TestLostAnswer(t *testing.T) {
	leakFree(t)
	h := newHand(epoch0)
	m := &memory{}
	i := issuerOn(t, m, h)
	defer i.Close()
	m.setFail(errTransient, true)
	h.move(time.Minute)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := i.Now(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	m.setFail(nil, false)
	h.move(-10 * time.Millisecond) // the target is now below what was stored
	now(t, i)
}

// TestObserveBeyond: a remote timestamp within the max lead waits for a ceiling that
// covers it; one beyond is refused and changes nothing, neither clock nor ceiling (H8).
func TestObserveBeyond(t *testing.T) {
	leakFree(t)
	h := newHand(epoch0)
	m := &memory{}
	i, err := NewIssuer(m, IssuerOptions{Physical: h.now, Bound: h.bound})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if err := i.Start(); err != nil {
		t.Fatal(err)
	}
	r := hlc.Timestamp(epoch0 + 900*time.Millisecond)
	ts, err := i.Observe(context.Background(), r)
	if err != nil || ts <= r || ts >= m.get().Ceiling {
		t.Fatalf("observed %d: %d, %v below %d", r, ts, err, m.get().Ceiling)
	}
	last, stored := i.Status().Last, m.get()
	for _, r := range []hlc.Timestamp{epoch0 + hlc.Timestamp(1001*time.Millisecond), epoch0 + hlc.Timestamp(365*24*time.Hour), hlc.Max} {
		if ts, err := i.Observe(context.Background(), r); !errors.Is(err, hlc.ErrLead) {
			t.Errorf("observed %d: %d, %v", r, ts, err)
		}
	}
	for _, n := range []int{-1, 0, hlc.CountMax + 1, 1e9} {
		if ts, err := i.NowN(context.Background(), n); !errors.Is(err, hlc.ErrCount) {
			t.Errorf("count %d: %d, %v", n, ts, err)
		}
	}
	if i.Status().Last != last || m.get() != stored {
		t.Errorf("a refusal changed last %d to %d, %+v to %+v", last, i.Status().Last, stored, m.get())
	}
	// The bound on the ceiling: however far ahead, a window and a max lead.
	if limit := epoch0 + hlc.Timestamp(hlc.MaxLeadDefault+WindowDefault); m.get().Ceiling > limit {
		t.Errorf("ceiling %d above %d", m.get().Ceiling, limit)
	}
}

// TestCrashLoop: a store that crashes over and over within its window does not run
// further and further ahead.
func TestCrashLoop(t *testing.T) {
	leakFree(t)
	m := &memory{}
	h := newHand(epoch0)
	for range 100 {
		i := issuerOn(t, m, h)
		now(t, i)
		abandon(i)
		h.move(50 * time.Millisecond)
	}
	i := issuerOn(t, m, h)
	defer i.Close()
	if lead := i.Status().LeadAtStart; lead > 2*WindowDefault {
		t.Errorf("lead %v after a hundred crashes", lead)
	}
}

// TestStopUnderLoad: no call returns a timestamp above what Close has written, and those
// of the next epoch are above all (H7).
func TestStopUnderLoad(t *testing.T) {
	leakFree(t)
	m := &memory{}
	h := newHand(epoch0) // stands still, so that only the record keeps time up
	var greatest hlc.Timestamp
	for round := range 50 {
		i := issuerOn(t, m, h)
		var all sync.WaitGroup
		highest := make([]hlc.Timestamp, 8)
		for k := range highest {
			all.Go(func() {
				for {
					ts, err := i.Now(context.Background())
					if err != nil {
						return
					}
					if ts <= greatest {
						t.Errorf("round %d: %d issued after %d", round, ts, greatest)
						return
					}
					highest[k] = ts
				}
			})
		}
		time.Sleep(time.Millisecond)
		if err := i.Close(); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		for _, ts := range highest {
			if ts > m.get().Last {
				t.Errorf("round %d: %d returned, %d written", round, ts, m.get().Last)
			}
			greatest = max(greatest, ts)
		}
	}
}

// TestRebase: a new epoch starts at physical time, counted and durable before anything is
// issued in it; an error leaves the old one running; a lost answer is looked up (H12).
func TestRebase(t *testing.T) {
	leakFree(t)
	h := newHand(epoch0 + int64(time.Minute))
	m := &memory{}
	i := issuerOn(t, m, h)
	defer i.Close()
	before := now(t, i)
	h.move(-time.Minute)
	m.setFail(errTransient, false)
	if _, err := i.Rebase(); !errors.Is(err, errTransient) {
		t.Errorf("rebase on a failing store: %v", err)
	}
	m.setFail(nil, false)
	if ts := now(t, i); ts <= before || i.Status().Epoch != 1 {
		t.Errorf("a rebase that failed went back to %d, epoch %d", ts, i.Status().Epoch)
	}
	m.setFail(errTransient, true)
	c, err := i.Rebase()
	m.setFail(nil, false)
	if err != nil || c != m.get() || c.Epoch != 2 || c.Rebases != 1 || c.Ceiling >= before {
		t.Errorf("rebase whose answer was lost: %+v, %v; stored %+v", c, err, m.get())
	}
	if ts := now(t, i); ts >= before || ts >= m.get().Ceiling || ts < hlc.FromUnix(h.now()) {
		t.Errorf("first timestamp of the new epoch %d", ts)
	}
	if s := i.Status(); s.Rebases != 1 || s.Epoch != 2 || s.Lead > time.Microsecond {
		t.Errorf("%+v", s)
	}
}

// TestRebaseUnderLoad: with calls in progress, every timestamp that is returned is below
// the ceiling that is stored at that moment, in every epoch (H5, H12).
func TestRebaseUnderLoad(t *testing.T) {
	leakFree(t)
	h := newHand(epoch0)
	m := &memory{slow: 100 * time.Microsecond}
	i := issuerOn(t, m, h)
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				before, _ := m.Load()
				ts, err := i.Now(context.Background())
				after, _ := m.Load()
				if err != nil {
					t.Error(err)
					return
				}
				if before.Epoch == after.Epoch && ts >= after.Ceiling {
					t.Errorf("%d issued in epoch %d, ceiling %d", ts, after.Epoch, after.Ceiling)
					return
				}
			}
		})
	}
	for range 200 {
		h.move(-time.Second)
		if _, err := i.Rebase(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	all.Wait()
	if err := i.Close(); err != nil {
		t.Error(err)
	}
}

// TestDeposed: when another issuer has begun an epoch, the first one ends.
func TestDeposed(t *testing.T) {
	leakFree(t)
	m := &memory{}
	h := newHand(epoch0)
	first := issuerOn(t, m, h)
	second := issuerOn(t, m, h)
	h.move(time.Minute)
	if _, err := first.Now(context.Background()); !errors.Is(err, ErrEpoch) {
		t.Errorf("deposed issuer: %v", err)
	}
	now(t, second)
	if err := first.Close(); !errors.Is(err, ErrEpoch) {
		t.Errorf("close of a deposed issuer: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

// TestOptions: what NewIssuer refuses.
func TestOptions(t *testing.T) {
	leakFree(t)
	h := newHand(epoch0)
	for name, o := range map[string]IssuerOptions{
		"no physical": {Bound: h.bound},
		"no bound":    {Physical: h.now},
		"window":      {Physical: h.now, Bound: h.bound, Window: WindowMin - 1},
		"long window": {Physical: h.now, Bound: h.bound, Window: WindowMax + 1},
		"lead":        {Physical: h.now, Bound: h.bound, MaxLead: hlc.MaxLeadMax + 1},
	} {
		m := &memory{}
		if _, err := NewIssuer(m, o); err == nil || m.get() != (Ceiling{}) {
			t.Errorf("%s: %v, %+v", name, err, m.get())
		}
	}
}

// TestNowAllocs: the hot path allocates nothing.
func TestNowAllocs(t *testing.T) {
	m := &memory{}
	i := issuerOn(t, m, newHand(epoch0))
	defer i.Close()
	ctx := context.Background()
	for name, do := range map[string]func() error{
		"Now":     func() error { _, err := i.Now(ctx); return err },
		"NowN":    func() error { _, err := i.NowN(ctx, 10); return err },
		"Observe": func() error { _, err := i.Observe(ctx, epoch0); return err },
	} {
		if n := testing.AllocsPerRun(100, func() {
			if err := do(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
