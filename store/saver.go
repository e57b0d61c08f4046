package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

// reserveShare is the part of the window that a save leaves above the last timestamp
// while that is ahead of physical time. It is small, so that a store that crashes over
// and over does not run further ahead each time: what a crash costs is worked off while
// less than that is lost to the next.
const reserveShare = 8

// save is the saver: the one goroutine that keeps the ceiling ahead. It renews at its
// interval, and at once when asked to; after a failure it waits out the interval, so
// that a disk that fails fast is not written to in a loop.
func (i *Issuer) save() {
	defer close(i.done)
	ticker := time.NewTicker(i.window * 2 / 5)
	defer ticker.Stop()
	for kick := i.kick; ; {
		select {
		case <-i.stop:
			return
		case <-ticker.C:
		case <-kick:
		}
		kick = i.kick
		i.record.Lock()
		ok := i.renew()
		i.record.Unlock()
		if !ok {
			kick = nil
		}
	}
}

// ask wakes the saver, without waiting for it.
func (i *Issuer) ask() {
	select {
	case i.kick <- struct{}{}:
	default:
	}
}

// need asks for a ceiling that the call fits under.
func (i *Issuer) need(c call) {
	want := max(i.clock.Last(), c.r) + hlc.Timestamp(max(c.n, 1))
	i.mu.Lock()
	i.want = max(i.want, want)
	i.mu.Unlock()
	i.ask()
}

// target returns where the ceiling should be: a window ahead of physical time, and a
// share of it ahead of the last timestamp and of what a waiting call wants, as far as
// the max lead lets that be issued at all. So it is never more than a window and a max
// lead ahead of physical time, whatever came from outside.
func (i *Issuer) target(want hlc.Timestamp) hlc.Timestamp {
	physical := hlc.FromUnix(i.physical())
	target := physical + hlc.Timestamp(i.window)
	highest := physical + hlc.Timestamp(i.clock.MaxLead())
	if last := max(i.clock.Last(), want); last <= highest {
		target = max(target, last+hlc.Timestamp(i.window/reserveShare))
	}
	return target
}

// renew raises the ceiling if it has to rise, on disk first, and reports whether that
// succeeded. i.record is held.
func (i *Issuer) renew() bool {
	i.mu.Lock()
	epoch, ceiling, want, phase := i.current.Epoch, i.current.Ceiling, i.want, i.phase
	i.mu.Unlock()
	if phase != serving {
		return true
	}
	target := i.target(want)
	if target <= ceiling {
		return true
	}
	err := i.ceilings.Save(epoch, target)
	if errors.Is(err, ErrOrder) {
		// An earlier save whose answer was an error has reached the store after all.
		if c, loadErr := i.ceilings.Load(); loadErr == nil && c.Epoch == epoch && c.Ceiling >= target {
			target, err = c.Ceiling, nil
		}
	}
	if err != nil {
		i.failed(err)
		return false
	}
	i.clock.Raise(target)
	i.saved(target)
	return true
}

// saved notes a save that succeeded, and wakes who waits for it.
func (i *Issuer) saved(ceiling hlc.Timestamp) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.current.Ceiling = ceiling
	i.want = 0
	i.figures.saves++
	if i.saveErr != nil {
		i.log.Info("ceiling saved again", "epoch", i.current.Epoch)
	}
	i.saveErr = nil
	i.wake()
}

// failed notes an error of the CeilingStore. A fence or a newer epoch ends issuing for
// good; after anything else the saver tries again.
func (i *Issuer) failed(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.figures.saveFailures++
	if i.saveErr == nil {
		i.log.Warn("ceiling not saved", "epoch", i.current.Epoch, "err", err)
	}
	i.saveErr = err
	if errors.Is(err, ErrFenced) || errors.Is(err, ErrEpoch) || errors.Is(err, ErrClosed) {
		i.end(dead, fmt.Errorf("issuing has ended: %w", err))
	}
}

// end closes the fast path for good. i.mu is held. The first end stays, but that a dead
// issuer can be closed.
func (i *Issuer) end(p phase, cause error) {
	i.serving.Store(0)
	if i.phase < dead {
		close(i.over)
	}
	i.phase, i.cause = p, cause
	i.wake()
}

// Rebase begins a new epoch at physical time, below what was issued before if the clock
// ran ahead, and returns its record. It deliberately breaks the order of timestamps
// across epochs (H1): those of the new one may repeat those of the old. It is for an
// operator alone, who has set right a clock that ran ahead. Calls in progress wait; none
// returns a timestamp of the new epoch before its record is synced, and none of the old
// epoch after. It fails with ErrNotStarted, ErrClosed or ErrFenced, or with the error of
// the CeilingStore, and then the old epoch goes on.
func (i *Issuer) Rebase() (Ceiling, error) {
	i.record.Lock()
	defer i.record.Unlock()
	i.mu.Lock()
	if err := i.refusal(); err != nil {
		i.mu.Unlock()
		return Ceiling{}, err
	}
	i.phase = rebasing
	i.serving.Store(0)
	old := i.current
	i.mu.Unlock()

	physical := hlc.FromUnix(i.physical())
	_, err := i.ceilings.Rebase(old.Epoch, physical+hlc.Timestamp(i.window))
	if err != nil {
		i.failed(err)
	}
	// Whatever was answered, what counts is the record as it is stored: the clock forgets
	// everything else before it serves again (H12).
	stored, loadErr := i.ceilings.Load()
	i.mu.Lock()
	switch {
	case i.phase != rebasing: // ended meanwhile
		err = i.refusal()
	case loadErr != nil || stored.Epoch < old.Epoch || stored.Epoch > old.Epoch+1:
		err = fmt.Errorf("issuing has ended: rebase: %w", errors.Join(err, loadErr, ErrEpoch))
		i.end(dead, err)
	case stored.Epoch == old.Epoch:
		i.phase = serving
	default:
		err = nil
		i.clock.Reset(physical, stored.Ceiling)
		i.current, i.phase, i.want = stored, serving, 0
		i.log.Warn("epoch rebased: timestamps may repeat older ones", "epoch", stored.Epoch, "ceiling", stored.Ceiling, "before", old.Ceiling)
	}
	i.mu.Unlock()
	i.serve()
	return stored, err
}

// Close ends issuing in order: it waits for the save in progress, and writes the last
// timestamp, so that the next epoch starts there. From its first moment on every call
// returns ErrClosed. It returns the error of that write, or why issuing had ended
// before, such as ErrFenced. A second Close does nothing.
func (i *Issuer) Close() error {
	i.mu.Lock()
	if i.phase == closed {
		i.mu.Unlock()
		<-i.done
		return nil
	}
	before := i.cause
	i.end(closed, nil)
	i.mu.Unlock()
	close(i.stop)
	<-i.done

	i.record.Lock()
	defer i.record.Unlock()
	if before != nil {
		return before
	}
	i.mu.Lock()
	epoch := i.current.Epoch
	i.mu.Unlock()
	// The fast path was closed before this reading, so no call returns a later timestamp.
	if err := i.ceilings.Finish(epoch, i.clock.Last()); err != nil {
		return fmt.Errorf("finish epoch %d: %w", epoch, err)
	}
	return nil
}

// Status is what an issuer is doing.
type Status struct {
	Epoch       uint64
	Ceiling     hlc.Timestamp // on disk
	Last        hlc.Timestamp // greatest issued, or where the epoch starts from
	Lead        time.Duration // of Last ahead of physical time
	LeadAtStart time.Duration // the lead that the epoch began with: a crash, or a clock set back
	MaxLead     time.Duration
	Started     bool
	Err         error // why issuing has ended; nil while it has not

	Rebases      uint64 // in the life of the store
	Saves        uint64 // of the ceiling, since NewIssuer; likewise the rest
	SaveFailures uint64
	Waits        uint64 // calls that waited for the ceiling
	Behind       uint64 // see hlc.Clock
}

// Status returns what the issuer is doing. It does not wait for the disk.
func (i *Issuer) Status() Status {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := Status{
		Epoch: i.current.Epoch, Ceiling: i.current.Ceiling, Rebases: i.current.Rebases,
		Last: i.clock.Last(), Lead: i.clock.Lead(), LeadAtStart: i.figures.leadAtStart, MaxLead: i.clock.MaxLead(),
		Started: i.phase != waiting,
		Saves:   i.figures.saves, SaveFailures: i.figures.saveFailures,
		Waits: i.waits.Load(), Behind: i.clock.Behind(),
	}
	if i.phase >= dead {
		s.Err = i.refusal()
	}
	return s
}
