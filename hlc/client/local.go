package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

// Appliance gives intervals; *Client is one.
type Appliance interface {
	Interval(ctx context.Context) (hlc.Interval, error)
}

// LocalOptions of a Local; the zero LocalOptions is for a machine in a datacenter.
type LocalOptions struct {
	// Every is the time between two questions to the appliance; 0 means 500 ms.
	Every time.Duration
	// DriftPPM is how fast this machine's monotonic clock and the appliance's interval may drift
	// apart, in millionths: the error of the crystal, what either clock is slewed by, and the growth of
	// the appliance's error bound; 0 means 200. 1 to 100,000.
	DriftPPM int
	// AgeMax is how long the last good answer holds, at least twice Every; 0 means 10 s, or four times
	// Every where that is more.
	AgeMax time.Duration
	// MaxLead is how far an observed timestamp may be ahead; 0 means hlc.MaxLeadDefault.
	MaxLead time.Duration
}

// complete fills in what was left out, and returns what makes no sense.
func (o *LocalOptions) complete() error {
	if o.Every == 0 {
		o.Every = 500 * time.Millisecond
	}
	if o.DriftPPM == 0 {
		o.DriftPPM = 200
	}
	if o.AgeMax == 0 {
		o.AgeMax = min(max(10*time.Second, 4*o.Every), ageMax)
	}
	switch {
	case o.Every < time.Millisecond || o.Every > time.Hour:
		return fmt.Errorf("client: LocalOptions.Every is %v; want 1ms to 1h", o.Every)
	case o.DriftPPM < 1 || o.DriftPPM > driftMax:
		return fmt.Errorf("client: LocalOptions.DriftPPM is %d; want 1 to %d", o.DriftPPM, driftMax)
	case o.AgeMax < 2*o.Every || o.AgeMax > ageMax: // it may be long until the next answer: see pause
		return fmt.Errorf("client: LocalOptions.AgeMax is %v; want twice Every (%v) to %v", o.AgeMax, o.Every, ageMax)
	}
	return nil
}

// ErrStale reports that too long ago, or never, the appliance gave an interval that this process
// could go on from. It comes with the reason.
var ErrStale = errors.New("client: the local clock is not sure of the time")

// Local is a hybrid clock in the application's own process, which stays inside the appliance's
// interval: it issues timestamps and intervals in tens of nanoseconds, without asking anybody.
//
// Its timestamps are unique and rise within the process, as those of hlc.Clock, and are
// forgotten with it (the volatile promise); those of two processes can be equal, and need
// the number of a node beside them to be told apart. Its intervals hold UTC as long as the
// appliance's do and the two clocks drift apart by no more than LocalOptions.DriftPPM; they hold the
// appliance's own interval too, unless that grew by a jump since it was last asked.
//
// Hazard: it believes this machine's monotonic clock. A suspend is noticed within a millisecond
// of running time; a virtual machine that is stopped and goes on without its kernel knowing is
// not, and until the next answer the intervals are late by as long. So is a clock that is slewed
// by more than DriftPPM, as after a wrong start: see LocalStatus.Contradictions.
//
// All its methods may be called concurrently.
type Local struct {
	appliance Appliance
	o         LocalOptions
	mono      func() time.Duration
	physical  *hlc.Physical
	clock     *hlc.Clock

	now     atomic.Pointer[bracket] // nil: ErrStale
	checked atomic.Int64            // when awake was last asked, on mono
	wall    atomic.Int64            // the wall clock minus mono, Unix nanoseconds

	ask     chan struct{} // asks for an answer soon; room for one
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex // guards what follows
	status LocalStatus
}

// LocalStatus is how a Local is doing.
type LocalStatus struct {
	Age            time.Duration // of the answer that it goes by
	Width          time.Duration // of the interval that it would give now
	RoundTrip      time.Duration // of that answer
	Answers        uint64
	Failures       uint64
	Contradictions uint64 // answers that showed that the interval was wrong by then
	Sleeps         uint64 // times that the machine slept, or the wall clock was set
	Err            error  // of the last question; nil: it was answered
}

const (
	// wallMax is how far the wall clock may move against the monotonic one, from one question to
	// the next, before this machine is taken to have slept.
	wallMax = time.Millisecond
	// checkEvery is how often that is looked at, at most.
	checkEvery = time.Millisecond
	// tripMax is how long an answer may take where Every is less.
	tripMax = time.Second
	// driftMax and ageMax bound the options.
	driftMax = 100_000
	ageMax   = 2 * time.Hour
	// keepQuestions is for how many questions a good answer may stand against slower ones.
	keepQuestions = 16
)

// NewLocal asks the appliance until it gives an interval, and returns a clock that goes on from
// it. It fails when ctx ends before that, and on options out of range. The caller closes it,
// before the Client.
func NewLocal(ctx context.Context, a Appliance, o LocalOptions) (*Local, error) {
	if a == nil {
		return nil, errors.New("client: a local clock needs an Appliance")
	}
	if err := o.complete(); err != nil {
		return nil, err
	}
	l := &Local{appliance: a, o: o, mono: hlc.Monotonic(), ask: make(chan struct{}, 1)}
	l.physical = hlc.NewPhysical(l.mono)
	clock, err := hlc.New(hlc.Options{Physical: l.physical.Now, MaxLead: o.MaxLead, Ceiling: hlc.Max})
	if err != nil {
		return nil, err
	}
	l.clock = clock
	for !l.poll(ctx) {
		if sleep(ctx, l.pause()) != nil {
			return nil, fmt.Errorf("%w: %w", ErrStale, l.Status().Err)
		}
	}
	polling, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.running.Go(func() { l.run(polling) })
	return l, nil
}

// Close ends the questions to the appliance; the clock is stale from AgeMax later on.
func (l *Local) Close() error {
	l.stop()
	l.running.Wait()
	return nil
}

// Now returns a fresh timestamp and the interval at that moment, which holds it. It fails with
// ErrStale, and with a *hlc.LeadError when the clock was driven too far ahead.
func (l *Local) Now() (hlc.Timestamp, hlc.Interval, error) {
	b, mono, err := l.look()
	if err != nil {
		return 0, hlc.Interval{}, err
	}
	ts, err := l.clock.NowAt(l.physical.At(mono))
	if err != nil {
		return 0, hlc.Interval{}, err
	}
	return ts, b.interval(mono, ts), nil
}

// Observe returns a fresh timestamp greater than remote, which came from elsewhere. One that is too
// far ahead is refused with a *hlc.LeadError and changes nothing. It fails with ErrStale.
func (l *Local) Observe(remote hlc.Timestamp) (hlc.Timestamp, error) {
	if _, _, err := l.look(); err != nil {
		return 0, err
	}
	return l.clock.Observe(remote)
}

// Wait returns once ts is in the past for certain, with the interval that shows it. It fails with
// ErrStale, and when ctx ends.
func (l *Local) Wait(ctx context.Context, ts hlc.Timestamp) (hlc.Interval, error) {
	const least = 20 * time.Microsecond // a shorter sleep ends no earlier
	for {
		b, mono, err := l.look()
		if err != nil {
			return hlc.Interval{}, err
		}
		i := b.interval(mono, ts)
		if i.Earliest > ts {
			return i, nil
		}
		left := ts.Sub(i.Earliest)
		if err := sleep(ctx, max(left+left/1000, least)); err != nil {
			return hlc.Interval{}, err
		}
	}
}

// Commit returns a fresh timestamp once it is in the past for certain on every clock whose
// interval holds: such timestamps are in real-time order across processes that do not talk to
// each other. It takes about the width of the interval, and fails like Wait and Observe.
func (l *Local) Commit(ctx context.Context) (hlc.Timestamp, error) {
	_, i, err := l.Now()
	if err != nil {
		return 0, err
	}
	// What Observe issues is unique in this process; the latest end itself would not be.
	ts, err := l.clock.Observe(max(i.Latest, Past(ctx)))
	if err != nil {
		return 0, err
	}
	if _, err := l.Wait(ctx, ts); err != nil {
		return 0, err
	}
	Saw(ctx, ts)
	return ts, nil
}

// Status returns how the clock is doing.
func (l *Local) Status() LocalStatus {
	l.mu.Lock()
	s := l.status
	l.mu.Unlock()
	if b, mono := l.now.Load(), l.mono(); b != nil {
		earliest, latest := b.on(mono)
		s.Age, s.Width, s.RoundTrip = mono-b.at, time.Duration(latest-earliest), b.trip
	}
	return s
}

// interval is what the bracket proves at mono, in whole ticks, and holds ts.
func (b *bracket) interval(mono time.Duration, ts hlc.Timestamp) hlc.Interval {
	earliest, latest := b.on(mono)
	i := hlc.Interval{Earliest: hlc.FromUnix(earliest), Latest: hlc.CeilUnix(latest)}
	if ts > i.Latest {
		i.Latest = hlc.CeilUnix(int64(ts))
	}
	return i
}

// look returns what is known, and the reading of the clock that it was found good enough at.
func (l *Local) look() (*bracket, time.Duration, error) {
	for {
		b, mono := l.now.Load(), l.mono()
		if b == nil {
			return nil, 0, l.stale()
		}
		if int64(mono)-l.checked.Load() > int64(checkEvery) {
			l.awake(b, l.read())
		}
		if l.now.Load() != b {
			// It was taken away or replaced in between. So the machine may have slept between the two
			// readings above, and whoever noticed has looked at the wall clock for us as well.
			continue
		}
		if mono-b.at > l.o.AgeMax {
			return nil, 0, l.stale()
		}
		return b, mono, nil
	}
}

// awake takes b away when the machine has slept since it was made: the wall clock goes on meanwhile
// and the monotonic one does not. A wall clock that was set looks the same, and costs no more
// than a question.
func (l *Local) awake(b *bracket, r reading) {
	if !r.moved(l.wall.Load()) {
		l.checked.Store(int64(r.mono))
		return
	}
	if l.now.CompareAndSwap(b, nil) {
		l.count(func(s *LocalStatus) { s.Sleeps++ })
		l.soon()
	}
}

// reading is one of both clocks.
type reading struct {
	mono  time.Duration
	wall  int64         // the wall clock minus mono, Unix nanoseconds
	slack time.Duration // how much of that may be due to an interruption in between
}

func (l *Local) read() reading {
	before, wall, after := l.mono(), time.Now().UnixNano(), l.mono()
	return reading{before, wall - int64(before), after - before}
}

// moved reports whether the wall clock has moved against the monotonic one since wall was read.
func (r reading) moved(wall int64) bool {
	return time.Duration(r.wall-wall).Abs() > wallMax+r.slack
}

// stale is ErrStale with its reason.
func (l *Local) stale() error {
	s := l.Status()
	switch {
	case s.Err != nil && l.now.Load() != nil:
		return fmt.Errorf("%w: the appliance's last answer is older than %v: %w", ErrStale, l.o.AgeMax, s.Err)
	case s.Err != nil:
		return fmt.Errorf("%w: %w", ErrStale, s.Err)
	}
	return fmt.Errorf("%w: the machine slept, its clock was set, or this Local was closed; the next answer of the appliance ends that", ErrStale)
}

// soon asks for an answer at once.
func (l *Local) soon() {
	select {
	case l.ask <- struct{}{}:
	default:
	}
}

func (l *Local) count(do func(*LocalStatus)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do(&l.status)
}

// run asks the appliance until ctx ends.
func (l *Local) run(ctx context.Context) {
	for {
		t := time.NewTimer(l.pause())
		select {
		case <-t.C:
		case <-l.ask:
			t.Stop()
		case <-ctx.Done():
			t.Stop()
			return
		}
		l.poll(ctx)
	}
}

// pause is Every, give or take an eighth: many processes must not ask at the same moment.
func (l *Local) pause() time.Duration {
	return l.o.Every - l.o.Every/8 + rand.N(l.o.Every/4+1)
}

// poll asks once, and reports whether there was an answer.
func (l *Local) poll(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, max(l.o.Every, tripMax)) // what takes longer proves little
	defer cancel()
	known := l.now.Load()
	r := l.read()
	if known != nil {
		l.awake(known, r)
		known = l.now.Load()
	}
	if known == nil || r.slack < wallMax/10 {
		// From here on by the same reading, so that no sleep is lost in between; anew each time, because
		// some systems slew the wall clock alone.
		l.wall.Store(r.wall)
	}
	from := l.mono()
	i, err := l.appliance.Interval(ctx)
	a := answer{from, l.mono(), i}
	if err == nil {
		err = a.check()
	}
	r = l.read()
	if r.moved(l.wall.Load()) {
		err = errors.New("the machine slept, or its clock was set, while the appliance was asked")
		l.now.Store(nil)
		l.soon()
	}
	if err != nil {
		l.count(func(s *LocalStatus) { s.Failures++; s.Err = err })
		return false
	}
	l.checked.Store(int64(r.mono))
	l.learn(known, a)
	return true
}

// learn takes an answer in.
func (l *Local) learn(known *bracket, a answer) {
	b, contradicted := newBracket(a, int64(l.o.DriftPPM)), false
	if known != nil {
		b, contradicted = known.next(a, min(keepQuestions*l.o.Every, l.o.AgeMax/2))
	}
	mono := l.mono()
	earliest, latest := b.on(mono)
	l.physical.Steer(hlc.Target{Mono: mono, Unix: earliest + (latest-earliest)/2, Confirmed: true})
	l.now.Store(b)
	l.count(func(s *LocalStatus) {
		s.Answers++
		s.Err = nil
		if contradicted {
			s.Contradictions++
		}
	})
}
