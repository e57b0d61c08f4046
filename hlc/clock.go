package hlc

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// CountMax is the most timestamps that one NowN reserves.
	CountMax = 65_536
	// MaxLeadDefault is the max lead where Options names none.
	MaxLeadDefault = time.Second
	// MaxLeadMax is the largest max lead that New accepts.
	MaxLeadMax = time.Hour
)

var (
	// ErrCeiling reports that the timestamp would stand at or above the ceiling.
	// Nothing was issued; raise the ceiling and ask again.
	ErrCeiling = errors.New("hlc: ceiling reached")
	// ErrLead reports that a timestamp would be further ahead of physical time than
	// the max lead. It comes as a *LeadError.
	ErrLead = errors.New("hlc: too far ahead of physical time")
	// ErrCount reports a count outside 1..CountMax.
	ErrCount = errors.New("hlc: count out of range")
)

// LeadError is ErrLead with the figures.
type LeadError struct {
	Lead    time.Duration // of the refused timestamp ahead of physical time
	MaxLead time.Duration
	Remote  bool // the timestamp came from Observe's caller, not from this clock
}

// Error says whose clock is ahead and by how much.
func (e *LeadError) Error() string {
	if e.Remote {
		return fmt.Sprintf("%v: the observed timestamp is %v ahead of this clock, more than the max lead of %v; check the clock of its sender", ErrLead, e.Lead, e.MaxLead)
	}
	return fmt.Sprintf("%v: the next timestamp would lead by %v, more than the max lead of %v; wait, or see hlc rebase", ErrLead, e.Lead, e.MaxLead)
}

// Is makes errors.Is(err, ErrLead) true.
func (e *LeadError) Is(target error) bool { return target == ErrLead }

// Options of a Clock. Physical is required.
type Options struct {
	// Physical returns physical time as Unix nanoseconds. It is called once in every
	// operation (again after a Reset), from any goroutine, and may go backwards.
	Physical func() int64
	// MaxLead is how far a timestamp may be ahead of physical time; 0 means
	// MaxLeadDefault. Between a tick and MaxLeadMax.
	MaxLead time.Duration
	// Last is a timestamp that everything issued must exceed; 0 for none.
	Last Timestamp
	// Ceiling is the bound that nothing issued reaches; 0 issues nothing until Raise.
	// A Clock with the volatile promise sets Max.
	Ceiling Timestamp
}

// Clock issues timestamps. It never waits, starts nothing and reads nothing but
// Options.Physical. All its methods may be called concurrently.
//
// All that Clock knows is one word, the last timestamp; issuing one is one
// compare-and-swap on it. The bounds are read before the swap, and only ever rise
// while timestamps are issued (Reset excepted, see there), so a bound that held when it
// was read holds when the timestamp is returned.
type Clock struct {
	physical func() int64

	_       [56]byte // keeps the word that every call writes apart from those it only reads
	last    atomic.Uint64
	behind  atomic.Uint64 // written with last, and seldom
	_       [48]byte
	ceiling atomic.Uint64
	maxLead atomic.Uint64
	resets  atomic.Uint64
}

// New returns a Clock. It fails on options that are out of range.
func New(o Options) (*Clock, error) {
	if o.Physical == nil {
		return nil, errors.New("hlc: Options.Physical is missing")
	}
	if o.MaxLead == 0 {
		o.MaxLead = MaxLeadDefault
	}
	c := &Clock{physical: o.Physical}
	if err := c.SetMaxLead(o.MaxLead); err != nil {
		return nil, err
	}
	c.last.Store(uint64(o.Last))
	c.ceiling.Store(uint64(o.Ceiling))
	return c, nil
}

// Now returns a fresh timestamp: the greater of physical time and the successor of the
// last one. It fails with ErrLead or ErrCeiling, and then nothing has changed.
func (c *Clock) Now() (Timestamp, error) {
	return c.issue(0, 1)
}

// NowAt is Now for who has read physical time just before, for a purpose of its own: a reading
// of the clock is half of what Now costs. What it promises is then as new as that reading. It
// is not for a clock that is Reset.
func (c *Clock) NowAt(physical int64) (Timestamp, error) {
	return c.issueAt(c.resets.Load(), physical, 0, 1)
}

// NowN reserves n timestamps and returns the first; the others are its n−1 successors.
// n is 1 to CountMax, else ErrCount. It fails like Now, for all of them or none.
func (c *Clock) NowN(n int) (Timestamp, error) {
	if n < 1 || n > CountMax {
		return 0, fmt.Errorf("%w: %d (want 1 to %d)", ErrCount, n, CountMax)
	}
	return c.issue(0, uint64(n))
}

// Observe returns a fresh timestamp that is greater than remote: call it with the
// timestamp that came with a message, and stamp the reaction with the result. A remote
// timestamp further ahead than the max lead is refused with a *LeadError, and one at the
// ceiling with ErrCeiling; either changes nothing (H8).
func (c *Clock) Observe(remote Timestamp) (Timestamp, error) {
	return c.issue(remote, 1)
}

// issue reserves n timestamps above remote and above everything issued, and returns
// the first.
func (c *Clock) issue(remote Timestamp, n uint64) (Timestamp, error) {
	resets := c.resets.Load() // before the reading
	return c.issueAt(resets, c.physical(), remote, n)
}

// issueAt is issue with what was read: the count of the resets, then physical time.
func (c *Clock) issueAt(resets uint64, unix int64, remote Timestamp, n uint64) (Timestamp, error) {
	physical := uint64(FromUnix(unix))
	highest := physical + c.maxLead.Load() // cannot wrap: physical < 2^63, the lead is at most MaxLeadMax
	if uint64(remote) > highest {
		return 0, &LeadError{Lead: remote.Sub(Timestamp(physical)), MaxLead: c.MaxLead(), Remote: true}
	}
	for {
		last, ceiling := c.last.Load(), c.ceiling.Load()
		if c.resets.Load() != resets {
			// A new epoch began: the two may not belong together, and the physical time
			// read before it may be what it was begun to get rid of.
			return c.issue(remote, n)
		}
		base := max(last, uint64(remote))
		first := max(physical, base+1)
		final := first + n - 1
		if base >= highest || final > highest { // the former also where base+1 has wrapped
			return 0, &LeadError{Lead: Timestamp(max(base, final)).Sub(Timestamp(physical)), MaxLead: c.MaxLead(), Remote: uint64(remote) > last}
		}
		if final >= ceiling {
			return 0, ErrCeiling
		}
		if c.last.CompareAndSwap(last, final) {
			if first-physical >= uint64(Tick) {
				c.behind.Add(1)
			}
			return Timestamp(first), nil
		}
	}
}

// Last returns the greatest timestamp issued, or Options.Last before the first.
func (c *Clock) Last() Timestamp { return Timestamp(c.last.Load()) }

// Ceiling returns the bound that nothing issued reaches.
func (c *Clock) Ceiling() Timestamp { return Timestamp(c.ceiling.Load()) }

// Physical returns physical time as Unix nanoseconds, as the operations read it.
func (c *Clock) Physical() int64 { return c.physical() }

// Lead returns how far the last timestamp is ahead of physical time; 0 when it is not.
func (c *Clock) Lead() time.Duration {
	return max(0, c.Last().Sub(FromUnix(c.physical())))
}

// Behind counts the operations that found physical time at least a tick behind the
// timestamp they issued: it went back, or a lead was being worked off (H10).
func (c *Clock) Behind() uint64 { return c.behind.Load() }

// Raise lifts the ceiling; a lower one is ignored. The caller has made it durable
// first.
func (c *Clock) Raise(ceiling Timestamp) {
	for {
		old := c.ceiling.Load()
		if uint64(ceiling) <= old || c.ceiling.CompareAndSwap(old, uint64(ceiling)) {
			return
		}
	}
}

// Reset starts a new epoch: the clock forgets what it knew (H12), and everything issued
// from here on is greater than last and below ceiling. It is the one way down, for the
// owner of the epochs alone, who does not Raise meanwhile: a call in progress returns a
// timestamp of the old epoch, starts over in the new one with physical time read anew, or
// fails with ErrCeiling.
func (c *Clock) Reset(last, ceiling Timestamp) {
	// In this order a call that sees one count before and after its loads has the last and
	// the ceiling of one epoch, or a ceiling of 0.
	c.ceiling.Store(0)
	c.last.Store(uint64(last))
	c.resets.Add(1)
	c.ceiling.Store(uint64(ceiling))
}

// MaxLead returns how far a timestamp may be ahead of physical time.
func (c *Clock) MaxLead() time.Duration { return time.Duration(c.maxLead.Load()) }

// SetMaxLead changes the max lead for the calls that follow. It fails when d is not
// between a tick and MaxLeadMax.
func (c *Clock) SetMaxLead(d time.Duration) error {
	if d < Tick || d > MaxLeadMax {
		return fmt.Errorf("hlc: max lead %v is out of range (want %v to %v)", d, Tick, MaxLeadMax)
	}
	c.maxLead.Store(uint64(d))
	return nil
}
