package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

// memory is a CeilingStore without a disk. What is in stored has survived the crash.
type memory struct {
	mu     sync.Mutex
	stored Ceiling
	fail   error // when set, Save, Rebase and Finish fail with it
	reach  bool  // a failing write reaches the store all the same
	saves  int
	order  []error       // broken invariants (H6)
	slow   time.Duration // Rebase answers that much after it has stored
}

func (m *memory) Load() (Ceiling, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stored, nil
}

func (m *memory) Begin() (Ceiling, error) {
	return m.write(false, func(c Ceiling) (Ceiling, error) { return c.begin(), nil })
}

func (m *memory) Save(epoch uint64, ceiling hlc.Timestamp) error {
	_, err := m.write(false, func(c Ceiling) (Ceiling, error) { return c.save(epoch, ceiling) })
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saves++
	return err
}

func (m *memory) Finish(epoch uint64, last hlc.Timestamp) error {
	_, err := m.write(false, func(c Ceiling) (Ceiling, error) { return c.finish(epoch, last) })
	return err
}

func (m *memory) Rebase(epoch uint64, ceiling hlc.Timestamp) (Ceiling, error) {
	defer time.Sleep(m.slow)
	return m.write(true, func(c Ceiling) (Ceiling, error) { return c.rebase(epoch, ceiling) })
}

func (m *memory) write(rebase bool, rule func(Ceiling) (Ceiling, error)) (Ceiling, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next, err := rule(m.stored)
	if err != nil {
		return Ceiling{}, err
	}
	if m.fail != nil && !m.reach {
		return Ceiling{}, m.fail
	}
	if next.Epoch < m.stored.Epoch || next.Ceiling < m.stored.Ceiling && !rebase {
		m.order = append(m.order, errors.New("ceiling or epoch fell"))
	}
	m.stored = next
	if m.fail != nil {
		return Ceiling{}, m.fail
	}
	return next, nil
}

// get, count, failing and broken read what the saver may be writing.

func (m *memory) get() Ceiling {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stored
}

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.saves
}

func (m *memory) failing() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fail
}

func (m *memory) broken() []error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.order
}

func (m *memory) setFail(err error, reach bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail, m.reach = err, reach
}

// hand is a physical clock that a test moves.
type hand struct{ unix atomic.Int64 }

func newHand(unix int64) *hand {
	h := &hand{}
	h.unix.Store(unix)
	return h
}

func (h *hand) now() int64           { return h.unix.Load() }
func (h *hand) move(d time.Duration) { h.unix.Add(int64(d)) }
func (h *hand) bound() (int64, time.Duration, error) {
	return h.now(), time.Millisecond, nil
}

// epoch0 is some moment: 2026-11-22 06:42:10 UTC, on a tick.
const epoch0 = 1_795_329_730_000_000_000 / 1024 * 1024

// issuerOn returns a started issuer.
func issuerOn(t testing.TB, cs CeilingStore, h *hand) *Issuer {
	t.Helper()
	i, err := NewIssuer(cs, IssuerOptions{Physical: h.now, Bound: h.bound, MaxLead: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Start(); err != nil {
		t.Fatal(err)
	}
	return i
}

// abandon ends an issuer as a crash would: nothing is written.
func abandon(i *Issuer) {
	i.mu.Lock()
	i.end(closed, nil)
	i.mu.Unlock()
	close(i.stop)
	<-i.done
}

// now issues one timestamp or ends the test.
func now(t testing.TB, i *Issuer) hlc.Timestamp {
	t.Helper()
	ts, err := i.Now(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return ts
}

func newRNG() *rand.Rand { return rand.New(rand.NewPCG(*seedFlag, 99)) }
