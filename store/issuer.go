package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

// An Issuer issues timestamps that stay unique across a crash without writing to disk
// for each. It keeps a ceiling on disk that nothing issued reaches, and pushes it ahead
// of physical time in the background: ten small syncs a second, none of them in the
// path of a call. After a crash the next epoch starts at the ceiling; after an orderly
// stop it starts at the last timestamp, which the stop has written.
//
// A call goes to the hlc.Clock directly. What must be true when it returns is that its
// timestamp is below a ceiling on disk and belongs to the running epoch. The clock sees
// to the first, because its ceiling is raised only after the sync. For the second, the
// call reads the word serving before and after: when both say the same epoch, the
// timestamp was issued inside it. Whoever ends an epoch clears that word first and
// reads the clock's last timestamp then, so that no call returns a timestamp above what
// Finish has written.
//
// Everything else is the slow path: no epoch is being served, or the ceiling is in the
// way. It finds out why, and waits for the next change when waiting can help.

const (
	// WindowDefault is how far the ceiling is kept ahead of physical time.
	WindowDefault = 250 * time.Millisecond
	// WindowMin and WindowMax bound IssuerOptions.Window.
	WindowMin = 10 * time.Millisecond
	WindowMax = 10 * time.Second
	// CeilingWaitMax is how long a call waits for the ceiling to be renewed.
	CeilingWaitMax = time.Second
)

var (
	// ErrNotStarted reports a call before Start.
	ErrNotStarted = errors.New("store: nothing is issued before the first synchronisation of the clock; see status and waitsync")
	// ErrExhausted reports that the ceiling could not be renewed within CeilingWaitMax.
	// Nothing was issued. It comes together with hlc.ErrCeiling.
	ErrExhausted = errors.New("store: the ceiling was not renewed in time; see whether the disk is slow or full")
)

// IssuerOptions of an Issuer. Physical and Bound are required.
type IssuerOptions struct {
	// Physical returns physical time as Unix nanoseconds, already judged: an issuer
	// believes it. It is called from any goroutine, and may go backwards.
	Physical func() int64
	// Bound returns UTC as Unix nanoseconds and the error bound of that, or an error
	// that says why there is none. It is called from any goroutine.
	Bound func() (utc int64, bound time.Duration, err error)
	// MaxLead is that of hlc.Options; 0 means hlc.MaxLeadDefault.
	MaxLead time.Duration
	// Window is how far the ceiling is kept ahead; 0 means WindowDefault. It is renewed
	// after two fifths of that, and is the lead that a crash can cause.
	Window time.Duration
	// Logger gets changes of state; nil drops them.
	Logger *slog.Logger
}

// phase is what an issuer is doing. It moves forward, except between serving and
// rebasing.
type phase int

const (
	waiting phase = iota // for Start
	serving
	rebasing
	dead // see Issuer.cause
	closed
)

// Issuer issues timestamps of one CeilingStore. Its methods may be called concurrently.
type Issuer struct {
	clock    *hlc.Clock
	ceilings CeilingStore
	physical func() int64
	bound    func() (int64, time.Duration, error)
	window   time.Duration
	log      *slog.Logger

	serving atomic.Uint64 // the epoch that timestamps may be issued in; 0 while there is none
	waits   atomic.Uint64

	kick chan struct{} // room for one: kicks coalesce
	over chan struct{} // closed when issuing has ended for good
	stop chan struct{} // closed to end the saver
	done chan struct{} // closed when the saver has ended

	record sync.Mutex // orders the writers of the record; held across their sync

	mu      sync.Mutex // guards what follows; taken after record, never held across a call
	phase   phase
	cause   error // of dead
	current Ceiling
	want    hlc.Timestamp // a waiting call needs the ceiling above it; 0 for none
	changed chan struct{} // closed and replaced when waiting calls should try again
	saveErr error         // of the last save; nil after one that succeeded
	figures figures
}

// figures are the counters of Status that are not the clock's.
type figures struct {
	leadAtStart         time.Duration
	saves, saveFailures uint64
}

// NewIssuer begins a new epoch, synced, and returns an issuer that issues nothing until
// Start: until then nobody knows whether physical time is right, and one timestamp of
// the year 2035 would push the ceiling there for good. It fails on options out of range
// and on errors of the CeilingStore. The caller closes the issuer before the store.
func NewIssuer(cs CeilingStore, o IssuerOptions) (*Issuer, error) {
	if cs == nil || o.Physical == nil || o.Bound == nil {
		return nil, errors.New("store: an issuer needs a ceiling store, Physical and Bound")
	}
	if o.Window == 0 {
		o.Window = WindowDefault
	}
	if o.Window < WindowMin || o.Window > WindowMax {
		return nil, fmt.Errorf("store: window %v is out of range (want %v to %v)", o.Window, WindowMin, WindowMax)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	old, err := cs.Load()
	if err != nil {
		return nil, fmt.Errorf("load ceiling: %w", err)
	}
	clock, err := hlc.New(hlc.Options{Physical: o.Physical, MaxLead: o.MaxLead, Last: old.Resume()})
	if err != nil {
		return nil, err
	}
	c, err := cs.Begin()
	if err != nil {
		return nil, fmt.Errorf("begin epoch: %w", err)
	}
	if c.Epoch != old.Epoch+1 || c.Ceiling < old.Ceiling {
		return nil, fmt.Errorf("begin epoch: %w: %+v does not follow %+v", ErrEpoch, c, old)
	}
	i := &Issuer{
		clock: clock, ceilings: cs, physical: o.Physical, bound: o.Bound, window: o.Window, log: o.Logger,
		kick: make(chan struct{}, 1), over: make(chan struct{}), stop: make(chan struct{}), done: make(chan struct{}),
		current: c, changed: make(chan struct{}),
	}
	go i.save()
	return i, nil
}

// Start begins to issue. It is for the first synchronisation of the clock; from here on
// Physical is believed. It returns once the ceiling has been raised, or the attempt has
// failed: the saver goes on trying. Later calls do nothing. It fails with ErrClosed or
// ErrFenced alone.
func (i *Issuer) Start() error {
	i.record.Lock()
	defer i.record.Unlock()
	i.mu.Lock()
	if i.phase != waiting {
		defer i.mu.Unlock()
		return i.refusal()
	}
	i.phase = serving
	epoch, ceiling := i.current.Epoch, i.current.Ceiling
	i.figures.leadAtStart = i.clock.Lead()
	i.mu.Unlock()

	i.log.Info("issuing started", "epoch", epoch, "lead", i.clock.Lead())
	i.clock.Raise(ceiling) // it is on disk, in the record of this epoch
	i.renew()
	i.serve()
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.refusal()
}

// serve opens the fast path unless issuing has ended meanwhile, and wakes who waits.
func (i *Issuer) serve() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.phase == serving {
		i.serving.Store(i.current.Epoch)
	}
	i.wake()
}

// wake lets waiting calls try again. i.mu is held.
func (i *Issuer) wake() {
	close(i.changed)
	i.changed = make(chan struct{})
}

// refusal returns why nothing can be issued, or nil when waiting may help. i.mu is held.
func (i *Issuer) refusal() error {
	switch i.phase {
	case waiting:
		return ErrNotStarted
	case dead:
		return i.cause
	case closed:
		return ErrClosed
	}
	return nil
}

// Now returns a fresh timestamp, greater than all before it. It does not wait, but for a
// ceiling that is in the way: up to CeilingWaitMax or the end of ctx, then ErrExhausted.
// It fails with a *hlc.LeadError when the clock is too far ahead of physical time, and
// with ErrNotStarted, ErrClosed or ErrFenced. Nothing is issued on any error.
func (i *Issuer) Now(ctx context.Context) (hlc.Timestamp, error) {
	if e := i.serving.Load(); e != 0 {
		if ts, err := i.clock.Now(); err == nil && i.serving.Load() == e {
			return ts, nil
		}
	}
	return i.slow(ctx, call{n: 1})
}

// NowN reserves n timestamps, 1 to hlc.CountMax, and returns the first. It fails like
// Now, and with hlc.ErrCount.
func (i *Issuer) NowN(ctx context.Context, n int) (hlc.Timestamp, error) {
	if e := i.serving.Load(); e != 0 {
		if ts, err := i.clock.NowN(n); err == nil && i.serving.Load() == e {
			i.reserve(ts)
			return ts, nil
		}
	}
	return i.slow(ctx, call{n: n})
}

// Observe returns a fresh timestamp greater than r, a timestamp that came from
// elsewhere. An r too far ahead of physical time is refused with a *hlc.LeadError and
// changes nothing. It fails like Now otherwise.
func (i *Issuer) Observe(ctx context.Context, r hlc.Timestamp) (hlc.Timestamp, error) {
	if e := i.serving.Load(); e != 0 {
		if ts, err := i.clock.Observe(r); err == nil && i.serving.Load() == e {
			i.reserve(ts)
			return ts, nil
		}
	}
	return i.slow(ctx, call{observe: true, r: r})
}

// NowAfter reserves n timestamps, 1 to hlc.CountMax, that are all greater than r, a timestamp
// that came from elsewhere, and returns the first. It fails like Observe and NowN; what it then
// has observed stays observed.
func (i *Issuer) NowAfter(ctx context.Context, r hlc.Timestamp, n int) (hlc.Timestamp, error) {
	first, _, err := i.reserveAfter(ctx, r, n)
	return first, err
}

// reserveAfter reserves n timestamps that are all greater than r and returns the first, and
// the epoch that they belong to. It waits and fails like Observe and NowN.
func (i *Issuer) reserveAfter(ctx context.Context, r hlc.Timestamp, n int) (first hlc.Timestamp, epoch uint64, err error) {
	for {
		epoch = i.serving.Load()
		observe := r > i.clock.Last()
		if observe {
			first, err = i.Observe(ctx, r)
		}
		if err == nil && (n > 1 || !observe) {
			first, err = i.NowN(ctx, n)
		}
		if err != nil {
			return 0, 0, err
		}
		if epoch != 0 && i.serving.Load() == epoch {
			return first, epoch, nil
		}
	}
}

// reserve asks for a save when ts, which may have jumped ahead, has come close to the
// ceiling: within half of what a save leaves at least.
func (i *Issuer) reserve(ts hlc.Timestamp) {
	if i.clock.Ceiling().Sub(ts) < i.window/reserveShare/2 {
		i.ask()
	}
}

// call is one operation of the clock, for the slow path.
type call struct {
	n       int
	observe bool
	r       hlc.Timestamp
}

// errMoved reports that an epoch began or ended during a call.
var errMoved = errors.New("store: the epoch changed during the call")

// try does the call once, inside one epoch. It returns hlc.ErrCeiling or errMoved when
// another try may succeed after the next change.
func (i *Issuer) try(c call) (ts hlc.Timestamp, err error) {
	e := i.serving.Load()
	if e == 0 {
		i.mu.Lock()
		defer i.mu.Unlock()
		if err := i.refusal(); err != nil {
			return 0, err
		}
		return 0, errMoved
	}
	if c.observe {
		ts, err = i.clock.Observe(c.r)
	} else {
		ts, err = i.clock.NowN(c.n)
	}
	if err == nil && i.serving.Load() != e {
		return 0, errMoved
	}
	return ts, err
}

// slow does the call, and waits for changes between its tries.
func (i *Issuer) slow(ctx context.Context, c call) (hlc.Timestamp, error) {
	var timer *time.Timer // made when there is something to wait for
	for {
		i.mu.Lock()
		changed := i.changed // taken before the try, so that no change is missed
		i.mu.Unlock()
		ts, err := i.try(c)
		exhausted := errors.Is(err, hlc.ErrCeiling)
		if !exhausted && !errors.Is(err, errMoved) {
			return ts, err
		}
		if timer == nil {
			timer = time.NewTimer(CeilingWaitMax)
			defer timer.Stop()
			i.waits.Add(1)
		}
		if exhausted {
			i.need(c)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, fmt.Errorf("wait for the ceiling: %w", ctx.Err())
		case <-timer.C:
			return 0, i.exhausted()
		}
	}
}

// exhausted returns ErrExhausted with what is known of its cause.
func (i *Issuer) exhausted() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.saveErr != nil {
		return fmt.Errorf("%w: %w: %w", ErrExhausted, hlc.ErrCeiling, i.saveErr)
	}
	return fmt.Errorf("%w: %w", ErrExhausted, hlc.ErrCeiling)
}

// SetMaxLead changes the max lead for the calls that follow; it fails when d is out of
// the range of hlc.Clock.
func (i *Issuer) SetMaxLead(d time.Duration) error { return i.clock.SetMaxLead(d) }
