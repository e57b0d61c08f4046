package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/alert"
	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/leap"
	"github.com/truechimer/truechimer/internal/ntp"
	"github.com/truechimer/truechimer/internal/sysclock"
	"github.com/truechimer/truechimer/internal/upstream"
	"github.com/truechimer/truechimer/store"
)

// pollInterval is how often the clock is looked at when nothing happens.
const pollInterval = time.Second

// pollPhase is how long after the turn of a second of the wall clock that is. The kernel adds
// 500 µs to its maxerror when its second turns, at its next timer tick; whoever reads it has to
// live with that until it is told the truth again.
const pollPhase = 20 * time.Millisecond

// untilPoll is how long it is until the next look, when the wall clock shows unix nanoseconds.
func untilPoll(unix int64) time.Duration {
	second := int64(time.Second)
	return pollInterval - time.Duration((unix%second+second)%second) + pollPhase
}

// glances is how often a clock that looks as if it had been set is looked at: the
// scheduler may come between two readings, but hardly three times in a row.
const glances = 3

// sameJump is how far a jump may be from the one that an operator saw and meant.
const sameJump = time.Second

// timekeeper is the one writer of the snapshot, and the one who steers the physical time
// of the hybrid clock by it.
type timekeeper struct {
	log      *slog.Logger
	system   sysclock.System
	latest   atomic.Pointer[published]
	physical *hlc.Physical
	issuer   *store.Issuer
	fault    func() error  // why the store is fenced, or nil
	space    func() string // what the disk lacks, or empty
	alarms   atomic.Pointer[[]api.Alarm]
	limit    atomic.Int64   // largest error bound that is still a claim, nanoseconds
	starting sync.WaitGroup // the issuer's Start, which waits for the disk

	judged   atomic.Pointer[judged]
	files    atomic.Pointer[files] // for those who must not wait for the loop
	holdover atomic.Int64          // since when the clock is in holdover, Unix nanoseconds; 0: it is not

	rebasing sync.Mutex // one rebase at a time; taken before mu

	held atomic.Int64 // the jump that is held, nanoseconds; 0 for none

	mu      sync.Mutex // serialises ticks, settings and an operator's decisions
	keeping *keeping
	poller  *upstream.Poller // nil: nobody is asked
	steered bool             // the hybrid clock has its first target
	// observe is told of every look at the clock, and returns what is wrong besides.
	observe    func(before, s *clock.Snapshot, j *judged) []alert.Condition
	conditions []alert.Condition // of the last look
	// alert is told of all that is wrong, at Unix nanoseconds.
	alert    func(now int64, standing []alert.Condition)
	steering hlc.Steering
	// lateSince is the monotonic clock when the ceiling was first seen late; 0: it is not.
	lateSince time.Duration
}

// published is a snapshot, and the same one for when it has been overtaken.
type published struct {
	snapshot  *clock.Snapshot
	overtaken *clock.Snapshot // claims nothing
}

// files are what the files that belong to the clock held last.
type files struct {
	drift api.Drift
	leaps sysclock.Leaps
}

// newTimekeeper returns a timekeeper in the mode that c names, over a system of which open
// opens the clock that can be steered.
func newTimekeeper(system sysclock.System, c *config.Config, open opener, log *slog.Logger) (*timekeeper, error) {
	keeping, err := newKeeping(system, c, open, log)
	if err != nil {
		return nil, err
	}
	k := &timekeeper{
		log:      log,
		system:   system,
		physical: hlc.NewPhysical(system.Mono),
		fault:    func() error { return nil },
		space:    func() string { return "" },
		observe:  func(_, _ *clock.Snapshot, _ *judged) []alert.Condition { return nil },
		alert:    func(int64, []alert.Condition) {},
		keeping:  keeping,
	}
	k.limit.Store(int64(c.Clock.ErrorLimit))
	k.alarms.Store(new([]api.Alarm))
	k.files.Store(&files{keeping.drift, keeping.leaps})
	for _, w := range keeping.leaps.Warnings {
		log.Warn("leap seconds", "warning", w)
	}
	return k, nil
}

// localAddrs returns the addresses of this host; none when they cannot be had.
func localAddrs() []netip.Addr {
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var addrs []netip.Addr
	for _, i := range interfaces {
		if n, ok := i.(*net.IPNet); ok {
			if a, ok := netip.AddrFromSlice(n.IP); ok {
				addrs = append(addrs, a.Unmap())
			}
		}
	}
	return addrs
}

// publish makes s what everything reads, and returns what that was before, or nil.
func (k *timekeeper) publish(s *clock.Snapshot) (before *clock.Snapshot) {
	overtaken := *s
	overtaken.Judgement = clock.Judgement{
		State:          clock.Unsynchronised,
		Reason:         "the system clock was set, or has not been looked at, since it was judged",
		Source:         "none",
		Leap:           clock.LeapUnknown,
		Stratum:        clock.StratumUnsynchronised,
		RefID:          clock.RefIDStep(),
		RootDispersion: ntp.MaxDispersion,
		GrowthPPM:      clock.GrowthDefaultPPM,
	}
	if old := k.latest.Swap(&published{s, &overtaken}); old != nil {
		before = old.snapshot
	}
	return before
}

// current returns the latest snapshot as far as it may be used now: one that claims
// nothing once the system clock has left the line that the snapshot describes, as it does
// when it is set and when the machine has slept, or when nobody has looked at it for too
// long. The clock loop finds out too, but until then an answer must not be wrong. It may
// be called concurrently, and costs a reading of the clock.
func (k *timekeeper) current() *clock.Snapshot {
	p := k.latest.Load()
	if !p.snapshot.Claims() {
		return p.snapshot
	}
	for range glances {
		mono, unix := k.system.Glance()
		if mono-p.snapshot.Mono() > stalledAfter {
			break
		}
		off := time.Duration(p.snapshot.FromKernel(unix) - p.snapshot.UTC(mono))
		if off.Abs() < sysclock.StepMin {
			return p.snapshot
		}
	}
	return p.overtaken
}

// run polls the clock every second, and at once after a step, until ctx ends and a start
// of the issuer, which closing it cuts short, has returned.
func (k *timekeeper) run(ctx context.Context) {
	defer k.starting.Wait()
	steps := make(chan struct{}, 1)
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		err := k.system.WatchSteps(ctx, func() {
			select {
			case steps <- struct{}{}:
			default: // one is enough
			}
		})
		if err != nil && !errors.Is(err, sysclock.ErrUnsupported) {
			k.log.Warn("steps of the clock are noticed late", "err", err)
		}
	})
	var files sync.WaitGroup
	defer files.Wait()
	files.Go(func() { k.housekeep(ctx) })
	for {
		_, unix := k.system.Glance()
		next := time.NewTimer(untilPoll(unix))
		set := false
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		case <-steps:
			set = true
		}
		k.tick(ctx, set)
	}
}

// tick makes a snapshot, publishes it and steers by it. set tells that the system has
// reported a jump of its clock.
func (k *timekeeper) tick(ctx context.Context, set bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.keeping.poll(ctx, set)
	if ctx.Err() != nil {
		return // the witnesses were not heard out
	}
	j := k.keeping.judge()
	k.judged.Store(j)
	before := k.publish(s)
	k.tell(before, s)
	k.noteSources(before, s, j)
	k.steer(s)
	k.conditions = k.observe(before, s, j)
	k.raiseAlarms(s)
}

// set changes the settings and judges the clock anew.
func (k *timekeeper) set(c *config.Config) {
	k.mu.Lock()
	k.keeping.set(c)
	k.limit.Store(int64(c.Clock.ErrorLimit))
	k.mu.Unlock()
	k.tick(context.Background(), false)
}

// tell logs what has changed.
func (k *timekeeper) tell(old, s *clock.Snapshot) {
	if old == nil || old.State != s.State || old.Source != s.Source || old.Stratum != s.Stratum {
		k.log.Info("clock state", "state", s.State.String(), "source", s.Source, "stratum", s.Stratum, "reason", s.Reason)
	}
	if old != nil && old.Steps != s.Steps {
		jump := time.Duration(s.Time.To - old.UTC(s.Mono()))
		k.log.Warn("clock stepped", "jump", jump, "state", s.State.String())
	}
}

// noteSources draws the conclusions from what the sources said: since when the clock is in
// holdover, who is to be replaced, and whether to ask at once, because the machine woke up.
func (k *timekeeper) noteSources(before, s *clock.Snapshot, j *judged) {
	switch {
	case s.State != clock.Holdover:
		k.holdover.Store(0)
	case k.holdover.Load() == 0:
		k.holdover.Store(s.Time.To)
	}
	if k.poller == nil {
		return
	}
	for _, id := range k.keeping.outvoted.note(j) {
		k.poller.Bad(id)
	}
	if before != nil && s.Asleep > before.Asleep {
		k.poller.Burst()
	}
}

// target is where a snapshot wants the hybrid clock's physical time to be, which absorbs
// leap seconds slowly. Sources stand behind a clock that is synchronised, and only then.
func target(s *clock.Snapshot) hlc.Target {
	smooth := leap.SmoothOf(s, s.Mono())
	return hlc.Target{
		Mono:      s.Mono(),
		Unix:      smooth.Unix,
		Rate:      smooth.Rate,
		Asleep:    s.Asleep,
		Confirmed: s.State == clock.Synchronised,
	}
}

// steer moves physical time towards the snapshot. Nothing is issued, and nothing steered,
// before the clock may be served for the first time.
func (k *timekeeper) steer(s *clock.Snapshot) {
	if !k.steered && !s.Serves() {
		return
	}
	was := k.steering
	k.note(k.physical.Steer(target(s)))
	if k.steering.Held && !was.Held {
		k.log.Error("clock jump held", "jump", k.steering.Jump)
	}
	if was.Held && !k.steering.Held {
		k.log.Info("clock jump resolved", "behind", k.steering.Behind)
	}
	if !k.steered {
		k.steered = true
		k.starting.Go(func() {
			if err := k.issuer.Start(); err != nil && !errors.Is(err, store.ErrClosed) {
				k.log.Error("timestamps not issued", "err", err)
			}
		})
	}
}

// note keeps what became of a target.
func (k *timekeeper) note(s hlc.Steering) {
	k.steering = s
	jump := time.Duration(0)
	if s.Held {
		jump = s.Jump
	}
	k.held.Store(int64(jump))
}

// claim returns the served time and its error bound at the monotonic reading mono, or why
// none can be claimed.
func (k *timekeeper) claim(s *clock.Snapshot, mono time.Duration) (utc int64, bound time.Duration, why string) {
	if !s.Claims() {
		return 0, 0, s.Reason
	}
	bound = s.ErrorBound(mono)
	if limit := time.Duration(k.limit.Load()); bound > limit {
		return 0, 0, fmt.Sprintf("the error bound has grown to %v, beyond the limit of %v", bound, limit)
	}
	return s.UTC(mono), bound, ""
}

// bound is what intervals are made of: they are on the scale of timestamps, which absorbs
// leap seconds slowly, and what it has not absorbed yet is part of their bound.
func (k *timekeeper) bound() (smooth int64, bound time.Duration, err error) {
	s, mono := k.current(), k.system.Mono()
	_, bound, why := k.claim(s, mono)
	if why != "" {
		return 0, 0, fmt.Errorf("%w, because the clock is not synchronised: %s; plain timestamps are not affected, and truechimer waitsync waits for it", api.ErrNoInterval, why)
	}
	at := leap.SmoothOf(s, mono)
	return at.Unix, bound + at.Unabsorbed.Abs(), nil
}

// ahead returns how far the hybrid clock's physical time is from where it should be.
func (k *timekeeper) ahead(s *clock.Snapshot, mono time.Duration) time.Duration {
	p := k.physical.Now()
	if p == 0 {
		return 0 // not steered yet
	}
	return time.Duration(p - leap.SmoothOf(s, mono).Unix)
}

// accept takes the jump that is held, if it is the one that was meant.
func (k *timekeeper) accept(meant time.Duration) (jump time.Duration, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.latest.Load().snapshot
	jump = k.steering.Jump
	switch {
	case !k.steering.Held:
		return 0, api.ErrNothingHeld
	case (jump - meant).Abs() > sameJump:
		return 0, fmt.Errorf("%w: %v is held, not %v", api.ErrOtherJump, jump.Round(time.Millisecond), meant.Round(time.Millisecond))
	}
	if _, ok := k.physical.Accept(); !ok {
		return 0, api.ErrNothingHeld
	}
	k.note(hlc.Steering{Behind: max(0, k.ahead(s, k.system.Mono()))})
	k.log.Warn("clock jump accepted by an operator", "jump", jump)
	k.raiseAlarms(s)
	return jump, nil
}

// stepSlack is how far an offset may be from the one that an operator saw and meant.
const stepSlack = 100 * time.Millisecond

// makeStep corrects the clock at once, if what is left to correct is what was meant.
func (k *timekeeper) makeStep(meant time.Duration) (taken time.Duration, err error) {
	if taken, err = k.wantStep(meant); err != nil {
		return 0, err
	}
	k.log.Warn("clock stepped by an operator", "offset", taken)
	k.tick(context.Background(), false)
	return taken, nil
}

// wantStep has the next look at the clock step it.
func (k *timekeeper) wantStep(meant time.Duration) (taken time.Duration, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keeping.steered == nil {
		return 0, api.ErrNotSteering
	}
	k.keeping.jury.with(func() {
		behind, ok := k.keeping.steered.Behind()
		switch {
		case !ok:
			err = api.ErrNoEstimate
		case (behind - meant).Abs() > stepSlack:
			err = fmt.Errorf("%w: %v is left to correct, not %v", api.ErrOtherOffset, behind.Round(time.Microsecond), meant.Round(time.Microsecond))
		default:
			taken = behind
			k.keeping.steered.StepNow()
		}
	})
	return taken, err
}

// rebase moves physical time to the served time, and begins a new epoch there. It waits
// for the disk, and the clock loop does not wait with it.
func (k *timekeeper) rebase(epoch uint64) (api.Rebased, error) {
	if !k.rebasing.TryLock() { // and nobody queues up behind a slow disk
		return api.Rebased{}, fmt.Errorf("%w: it is being rebased right now; look at truechimer status in a moment", store.ErrEpoch)
	}
	defer k.rebasing.Unlock()
	last, back, err := k.anchor(epoch)
	if err != nil {
		return api.Rebased{}, err
	}
	record, err := k.issuer.Rebase()
	k.mu.Lock()
	k.raiseAlarms(k.latest.Load().snapshot)
	k.mu.Unlock()
	if err != nil {
		return api.Rebased{}, err
	}
	k.log.Warn("hybrid clock rebased by an operator: timestamps of the new epoch may be smaller", "epoch", record.Epoch, "back", back, "last", last.String())
	return api.Rebased{Epoch: record.Epoch, Last: last, Back: back}, nil
}

// anchor moves physical time to the served time if a rebase of the epoch may do so. Until
// the new epoch is on disk, every call is then refused for its lead rather than answered
// from the clock that is being given up.
func (k *timekeeper) anchor(epoch uint64) (last hlc.Timestamp, back time.Duration, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.current()
	before := k.issuer.Status()
	switch {
	case !s.Serves():
		return 0, 0, fmt.Errorf("a rebase needs a clock to go back to, and there is none (%s): %w", s.Reason, store.ErrNotStarted)
	case epoch != before.Epoch:
		return 0, 0, fmt.Errorf("%w: the current epoch is %d, not %d; look at truechimer status again", store.ErrEpoch, before.Epoch, epoch)
	}
	// What counts is the timestamp that would be issued next, whether or not any was
	// while physical time ran ahead.
	next := max(before.Last, hlc.FromUnix(k.physical.Now()))
	back = next.Sub(hlc.FromUnix(leap.SmoothOf(s, k.system.Mono()).Unix))
	if back <= before.MaxLead {
		return 0, 0, api.ErrNotAhead
	}
	k.physical.Anchor(target(s))
	k.note(hlc.Steering{})
	return k.issuer.Status().Last, back, nil
}
