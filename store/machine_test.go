package store

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/truechimer/truechimer/hlc"
)

// machine drives one issuer after the other over one record, and remembers what every
// caller was told. Its methods are the steps that rapid chooses from.
type machine struct {
	m      *memory
	h      *hand
	i      *Issuer
	lead   time.Duration
	issued hlc.Timestamp // greatest returned since the last rebase
	before Ceiling       // the record after the step before
	rebase bool          // this step may lower the ceiling
}

// bubbleTB hides the *testing.T from rapid, which would ask it for a deadline; a bubble
// does not allow that.
type bubbleTB struct{ rapid.TB }

// TestMachine checks H1, H2 and H4 to H8 after every step of random lives: issuing,
// ranges, observing, a physical clock that goes forth and back, saves that fail or whose
// answers are lost, time that passes, crashes, clean stops, rebases.
func TestMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubbleTB{t}, func(t *rapid.T) {
			lead := rapid.SampledFrom([]time.Duration{300 * time.Millisecond, time.Second, time.Hour}).Draw(t, "max lead")
			s := &machine{m: &memory{}, h: newHand(epoch0), lead: lead}
			s.open(t)
			defer func() { abandon(s.i) }()
			t.Repeat(map[string]func(*rapid.T){
				"":        s.check,
				"now":     func(t *rapid.T) { s.take(t, 1) },
				"nowN":    func(t *rapid.T) { s.take(t, rapid.IntRange(1, hlc.CountMax).Draw(t, "n")) },
				"observe": s.observe,
				"forward": func(t *rapid.T) { s.h.move(duration(t, 3*time.Second)) },
				"back":    func(t *rapid.T) { s.h.move(-duration(t, 3*time.Second)) },
				"pass":    func(t *rapid.T) { time.Sleep(duration(t, 400*time.Millisecond)) },
				"fail":    func(t *rapid.T) { s.m.setFail(errTransient, rapid.Bool().Draw(t, "reaches")) },
				"heal":    func(*rapid.T) { s.m.setFail(nil, false) },
				"crash":   s.crash,
				"stop":    s.stop,
				"rebase":  s.doRebase,
			})
		})
	})
}

func duration(t *rapid.T, limit time.Duration) time.Duration {
	return time.Duration(rapid.Int64Range(1, int64(limit)).Draw(t, "d"))
}

func (s *machine) open(t *rapid.T) {
	old := s.m.get()
	i, err := NewIssuer(s.m, IssuerOptions{Physical: s.h.now, Bound: s.h.bound, MaxLead: s.lead})
	if err != nil {
		t.Fatal(err)
	}
	if s.m.get().Epoch <= old.Epoch || s.m.get().Ceiling < old.Ceiling {
		t.Fatalf("H6: epoch %+v after %+v", s.m.get(), old)
	}
	if err := i.Start(); err != nil {
		t.Fatal(err)
	}
	s.i = i
}

// told checks what a caller was told: n timestamps from first.
func (s *machine) told(t *rapid.T, first hlc.Timestamp, n int) {
	final := first + hlc.Timestamp(n-1)
	if first <= s.issued {
		t.Fatalf("H1, H7: %d after %d", first, s.issued)
	}
	if lead := final.Sub(hlc.FromUnix(s.h.now())); lead > s.lead {
		t.Fatalf("H4: lead %v", lead)
	}
	if first < hlc.FromUnix(s.h.now()) {
		t.Fatalf("H3: %d below physical time %d", first, s.h.now())
	}
	if final >= s.m.get().Ceiling {
		t.Fatalf("H5: %d at or above the ceiling %d", final, s.m.get().Ceiling)
	}
	s.issued = final
}

// may fails the step unless err is an error that this issuer may return now.
func (s *machine) may(t *rapid.T, err error) {
	if errors.Is(err, ErrExhausted) && s.m.failing() != nil || errors.Is(err, hlc.ErrLead) {
		return
	}
	t.Fatalf("refused: %v", err)
}

func (s *machine) take(t *rapid.T, n int) {
	first, err := s.i.NowN(context.Background(), n)
	if err != nil {
		s.may(t, err)
		return
	}
	s.told(t, first, n)
}

func (s *machine) observe(t *rapid.T) {
	ahead := rapid.Int64Range(-int64(2*time.Second), int64(s.lead+s.lead/2)).Draw(t, "ahead")
	r := hlc.Timestamp(s.h.now() + ahead)
	last := s.i.clock.Last()
	ts, err := s.i.Observe(context.Background(), r)
	if err != nil {
		s.may(t, err)
		if s.i.clock.Last() != last {
			t.Fatalf("H8: a refused %d moved the clock from %d to %d", r, last, s.i.clock.Last())
		}
		return
	}
	if ts <= r {
		t.Fatalf("H2: %d after observing %d", ts, r)
	}
	s.told(t, ts, 1)
}

func (s *machine) crash(t *rapid.T) {
	abandon(s.i)
	s.m.setFail(nil, false)
	s.open(t)
}

func (s *machine) stop(t *rapid.T) {
	last := s.i.clock.Last()
	err := s.i.Close()
	if err == nil && (s.m.get().Clean != s.m.get().Epoch || s.m.get().Last != last) {
		t.Fatalf("stopped at %d: %+v", last, s.m.get())
	}
	if err != nil && s.m.failing() == nil {
		t.Fatal(err)
	}
	s.m.setFail(nil, false)
	s.open(t)
}

func (s *machine) doRebase(t *rapid.T) {
	epoch := s.m.get().Epoch
	c, err := s.i.Rebase()
	if err != nil && s.m.failing() == nil {
		t.Fatal(err)
	}
	if err == nil {
		if c.Epoch != epoch+1 || c != s.m.get() || s.i.clock.Last() >= c.Ceiling {
			t.Fatalf("H12: rebased to %+v, stored %+v, last %d", c, s.m.get(), s.i.clock.Last())
		}
		s.issued, s.rebase = 0, true
	}
}

// check holds after every step.
func (s *machine) check(t *rapid.T) {
	now := s.m.get()
	if len(s.m.broken()) > 0 || now.Epoch < s.before.Epoch || now.Ceiling < s.before.Ceiling && !s.rebase {
		t.Fatalf("H6: %+v after %+v, %v", now, s.before, s.m.broken())
	}
	if err := now.valid(); err != nil {
		t.Fatalf("%+v: %v", now, err)
	}
	if s.issued > 0 && s.issued >= now.Ceiling {
		t.Fatalf("H5: issued %d, ceiling %d", s.issued, now.Ceiling)
	}
	if limit := hlc.Timestamp(s.h.now()) + hlc.Timestamp(s.lead+WindowDefault) + hlc.Timestamp(WindowDefault); now.Ceiling > max(limit, s.before.Ceiling) && !s.rebase {
		t.Fatalf("ceiling %d far ahead of physical time %d", now.Ceiling, s.h.now())
	}
	s.before, s.rebase = now, false
}
