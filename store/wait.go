package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

const (
	// WaitMax is how far ahead of the earliest end of the interval a timestamp may be for
	// Wait and Commit to wait for it.
	WaitMax = 10 * time.Second
	// sleepMin keeps a wait from spinning when a tick or less is left.
	sleepMin = 50 * time.Microsecond
)

// ErrTooFar reports a timestamp that is further ahead than WaitMax.
var ErrTooFar = errors.New("store: timestamp too far ahead to wait for")

// Interval returns an interval that contains UTC, and whose latest end is not below a
// fresh timestamp. While every error bound holds on one timescale: of two intervals
// anywhere, one of which was returned before the other was asked for, the later one's
// latest is greater than the earlier one's earliest. It fails with the error of Bound,
// and like Now.
func (i *Issuer) Interval(ctx context.Context) (hlc.Interval, error) {
	ts, err := i.Now(ctx)
	if err != nil {
		return hlc.Interval{}, err
	}
	return i.interval(ts)
}

// interval returns the interval of this moment, widened to contain ts.
func (i *Issuer) interval(ts hlc.Timestamp) (hlc.Interval, error) {
	utc, bound, err := i.bound()
	if err != nil {
		return hlc.Interval{}, fmt.Errorf("interval: %w", err)
	}
	if bound < 0 {
		return hlc.Interval{}, fmt.Errorf("interval: error bound %v is negative", bound)
	}
	return hlc.NewInterval(utc, bound, ts), nil
}

// Wait returns when ts has passed everywhere: when earliest is greater than ts. It
// returns the interval that proved it. It sleeps for what is left by that interval and
// looks again. It fails with ErrTooFar when ts is more than WaitMax ahead of earliest,
// or is not reached after sleeping for twice that because UTC does not advance; with the
// error of Bound, of ctx, and with ErrNotStarted, ErrClosed or ErrFenced.
func (i *Issuer) Wait(ctx context.Context, ts hlc.Timestamp) (hlc.Interval, error) {
	var slept time.Duration
	for {
		if err := i.ended(); err != nil {
			return hlc.Interval{}, err
		}
		interval, err := i.interval(ts)
		if err != nil {
			return hlc.Interval{}, err
		}
		if interval.Earliest > ts {
			return interval, nil
		}
		ahead := ts.Sub(interval.Earliest)
		if ahead > WaitMax || slept > 2*WaitMax {
			return hlc.Interval{}, fmt.Errorf("%w: %v is %v ahead (at most %v)", ErrTooFar, ts, ahead, WaitMax)
		}
		left := max(ahead+hlc.Tick, sleepMin) // one tick more: earliest has to pass ts
		if err := sleep(ctx, left, i.over); err != nil {
			return hlc.Interval{}, err
		}
		slept += left
	}
}

// sleep waits for d, which is positive, or until over is closed, and returns nil; or until
// ctx ends.
func sleep(ctx context.Context, d time.Duration, over <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-over:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait: %w", ctx.Err())
	}
}

// ended returns why nothing is issued, nil while something is.
func (i *Issuer) ended() error {
	if i.serving.Load() != 0 {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.refusal()
}

// Commit returns a timestamp in real-time order: it is greater than every timestamp that
// Commit returned anywhere before this call, even on appliances that never talk to each
// other, as long as every error bound holds. It takes the latest end of an interval,
// observes it, and returns the timestamp issued for that, which no other call gets, once
// that has passed everywhere: that takes twice the error bound, and the lead. It fails
// like Interval, Observe and Wait, and with ErrEpoch when a Rebase came in between.
func (i *Issuer) Commit(ctx context.Context) (hlc.Timestamp, error) {
	epoch := i.serving.Load()
	interval, err := i.Interval(ctx)
	if err != nil {
		return 0, err
	}
	ts, err := i.Observe(ctx, interval.Latest)
	if err != nil {
		return 0, fmt.Errorf("commit: latest end of the interval: %w", err)
	}
	if _, err := i.Wait(ctx, ts); err != nil {
		return 0, err
	}
	if now := i.serving.Load(); now != epoch {
		if err := i.ended(); err != nil {
			return 0, err
		}
		return 0, fmt.Errorf("commit: %w: it was replaced while the call waited; try again", ErrEpoch)
	}
	return ts, nil
}
