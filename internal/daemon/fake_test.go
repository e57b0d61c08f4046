package daemon

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/sysclock"
	"github.com/truechimer/truechimer/store"
)

// fakeSystem is a machine whose clocks a test sets. Time passes as it does outside, and
// as the test lets it.
type fakeSystem struct {
	anchor time.Time

	mu       sync.Mutex
	passed   time.Duration // by the test's word
	unix     int64         // the wall clock when the monotonic clock was 0
	asleep   time.Duration
	kernel   sysclock.Kernel
	watchers map[*func()]struct{}
	watchErr error
	stalled  chan struct{} // closed when Read may go on
}

// synced is what a kernel says whose clock somebody steers.
var synced = sysclock.Kernel{Synchronised: true, MaxError: 3210 * time.Microsecond, FrequencyPPM: 12.5}

// unsynced is what it says after the clock was set by hand.
var unsynced = sysclock.Kernel{FrequencyPPM: 12.5}

// newFakeSystem returns a machine whose wall clock shows t.
func newFakeSystem(t time.Time, kernel sysclock.Kernel) *fakeSystem {
	const uptime = 1000 * time.Second
	return &fakeSystem{anchor: time.Now(), passed: uptime, unix: t.Add(-uptime).UnixNano(), kernel: kernel, watchers: map[*func()]struct{}{}}
}

func (s *fakeSystem) mono() time.Duration { return time.Since(s.anchor) + s.passed }

func (s *fakeSystem) Mono() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mono()
}

func (s *fakeSystem) Read() sysclock.Reading {
	s.mu.Lock()
	stalled := s.stalled
	s.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	mono := s.mono()
	return sysclock.Reading{Mono: mono, Unix: s.unix + int64(mono), Local: mono + s.asleep, Asleep: s.asleep}
}

// Local is a timeline that nobody steers: here the monotonic clock and the time asleep.
func (s *fakeSystem) Local() (time.Duration, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mono := s.mono()
	return mono + s.asleep, s.unix + int64(mono)
}

func (s *fakeSystem) Glance() (time.Duration, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mono := s.mono()
	return mono, s.unix + int64(mono)
}

func (s *fakeSystem) Kernel() (sysclock.Kernel, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kernel, nil
}

func (s *fakeSystem) WatchSteps(ctx context.Context, stepped func()) error {
	s.mu.Lock()
	if s.watchErr != nil {
		defer s.mu.Unlock()
		return s.watchErr
	}
	s.watchers[&stepped] = struct{}{}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watchers, &stepped)
	return nil
}

// notify tells the watchers of a step.
func (s *fakeSystem) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		(*w)()
	}
}

// change changes several things at once.
func (s *fakeSystem) change(do func(*fakeSystem)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do(s)
}

// wall is what the wall clock shows.
func (s *fakeSystem) wall() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Unix(0, s.unix+int64(s.mono()))
}

// step sets the wall clock, and what the kernel says from then on.
func (s *fakeSystem) step(d time.Duration, kernel sysclock.Kernel) {
	s.change(func(s *fakeSystem) { s.unix += int64(d); s.kernel = kernel })
}

// suspend lets the machine sleep.
func (s *fakeSystem) suspend(d time.Duration) {
	s.change(func(s *fakeSystem) { s.unix += int64(d); s.asleep += d })
}

// pass lets time go by.
func (s *fakeSystem) pass(d time.Duration) { s.change(func(s *fakeSystem) { s.passed += d }) }

// stall holds whoever reads the clocks until the release.
func (s *fakeSystem) stall() (release func()) {
	c := make(chan struct{})
	s.change(func(s *fakeSystem) { s.stalled = c })
	return sync.OnceFunc(func() {
		s.change(func(s *fakeSystem) { s.stalled = nil })
		close(c)
	})
}

// fakeTracker is a chronyd that says what a test wants.
type fakeTracker struct {
	mu       sync.Mutex
	tracking sysclock.Tracking
}

func (f *fakeTracker) Tracking(context.Context) (sysclock.Tracking, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tracking, nil
}

func (f *fakeTracker) change(do func(*sysclock.Tracking)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(&f.tracking)
}

// goodTracking is of a chronyd in order, ten seconds after its last update. No two of its
// figures are the same.
func goodTracking(wall time.Time) sysclock.Tracking {
	return sysclock.Tracking{
		RefID:          [4]byte{203, 0, 113, 77},
		Addr:           netip.MustParseAddr("203.0.113.77"),
		Stratum:        2,
		Leap:           clock.LeapInsert,
		Reference:      wall.Add(-10 * time.Second).UnixNano(),
		Correction:     -700 * time.Microsecond,
		FrequencyPPM:   -12.5,
		SkewPPM:        7,
		RootDelay:      2 * time.Millisecond,
		RootDispersion: 500 * time.Microsecond,
		UpdateInterval: 64 * time.Second,
	}
}

// memoryCeilings is a CeilingStore that forgets, and waits or fails on demand.
type memoryCeilings struct {
	mu    sync.Mutex
	c     store.Ceiling
	block chan struct{} // writes wait until it is closed
	began chan struct{} // gets one for each write that waits
}

func (m *memoryCeilings) hold() (release func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	block := make(chan struct{})
	m.block, m.began = block, make(chan struct{}, 100)
	return func() {
		m.mu.Lock()
		m.block = nil
		m.mu.Unlock()
		close(block)
	}
}

func (m *memoryCeilings) update(epoch uint64, do func(*store.Ceiling)) (store.Ceiling, error) {
	m.mu.Lock()
	block, began := m.block, m.began
	m.mu.Unlock()
	if block != nil {
		began <- struct{}{}
		<-block
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if epoch != m.c.Epoch {
		return store.Ceiling{}, store.ErrEpoch
	}
	do(&m.c)
	return m.c, nil
}

func (m *memoryCeilings) Load() (store.Ceiling, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.c, nil
}

func (m *memoryCeilings) Begin() (store.Ceiling, error) {
	return m.update(m.c.Epoch, func(c *store.Ceiling) { c.Epoch++ })
}

func (m *memoryCeilings) Save(epoch uint64, ceiling hlc.Timestamp) error {
	_, err := m.update(epoch, func(c *store.Ceiling) { c.Ceiling = ceiling })
	return err
}

func (m *memoryCeilings) Finish(epoch uint64, last hlc.Timestamp) error {
	_, err := m.update(epoch, func(c *store.Ceiling) { c.Clean, c.Last = epoch, last })
	return err
}

func (m *memoryCeilings) Rebase(epoch uint64, ceiling hlc.Timestamp) (store.Ceiling, error) {
	return m.update(epoch, func(c *store.Ceiling) { c.Epoch++; c.Ceiling = ceiling; c.Rebases++ })
}

var errOdd = errors.New("something odd")

// followBy has the driver follow other witnesses, and look at once.
func (k *timekeeper) followBy(s sysclock.FollowSettings) {
	k.mu.Lock()
	k.keeping.follow.Set(s)
	k.limit.Store(int64(s.ErrorLimit))
	k.mu.Unlock()
	k.tick(context.Background(), false)
}
