package main

import (
	"context"
	"errors"
	"fmt"
	"math"
)

const (
	lossMaxPct      = 1.0
	sweepFirst      = 100e3 // requests per second
	sweepLeast      = 1e3
	sweepFactor     = 1.3
	sweepResolution = 1.02
	sweepTries      = 3 // of a rate that fails: a neighbour may have taken the CPU
)

// sweep is one search for the highest rate that loses less than lossMaxPct.
type sweep struct {
	Rate     float64 `json:"rate"`     // the highest that held
	FirstBad float64 `json:"firstBad"` // the lowest that did not
	// LoadLimited tells that the generator failed there, and not the server.
	LoadLimited bool   `json:"loadLimited"`
	Steps       []step `json:"steps"`
}

// step is one try of one rate.
type step struct {
	Rate float64 `json:"rate"`
	Sent float64 `json:"sent"`
	Loss float64 `json:"lossPct"`
	Held bool    `json:"held"`
}

// search brackets the highest rate that holds, then halves the bracket.
type search struct {
	lo, hi float64 // the highest that held and the lowest that did not; 0 before there is one
	rate   float64 // to try next
}

// tell takes what became of the rate, and reports whether the search is over.
func (s *search) tell(held bool) (done bool) {
	if held {
		s.lo = s.rate
	} else {
		s.hi = s.rate
	}
	switch {
	case s.hi == 0:
		s.rate *= sweepFactor
	case s.lo == 0:
		s.rate /= sweepFactor
		return s.rate < sweepLeast
	default:
		s.rate = math.Sqrt(s.lo * s.hi)
		return s.hi/s.lo < sweepResolution
	}
	return false
}

// sweep finds the highest rate that a server holds, beginning near its saturation.
func (b *bench) sweep(ctx context.Context, round int, c *contender, s *server) error {
	first := sweepFirst
	if at := b.r.find(round, c.Name, saturation); at != nil && at.Burst.Rate > sweepLeast {
		first = at.Burst.Rate
	}
	found := &sweep{}
	var best *burst
	for at := (search{rate: first}); ; {
		rate := at.rate
		held, limited, last, err := b.try(ctx, s, rate, found)
		if err != nil {
			return fmt.Errorf("sweep at %.0f/s: %w", rate, err)
		}
		if held {
			best = last
		} else {
			found.LoadLimited = limited
		}
		if at.tell(held) {
			found.Rate, found.FirstBad = at.lo, at.hi
			break
		}
	}
	b.r.Samples = append(b.r.Samples, sample{Round: round, Contender: c.Name, Measurement: highest, Burst: best, Sweep: found})
	b.o.say("  %d %-15s %-10s %8.1f k/s in %d tries", round+1, c.Name, highest, found.Rate/1e3, len(found.Steps))
	return nil
}

// try tries a rate until it holds, or sweepTries times.
func (b *bench) try(ctx context.Context, s *server, rate float64, found *sweep) (held, limited bool, last *burst, err error) {
	for range sweepTries {
		if err := wait(ctx, burstPause); err != nil {
			return false, false, nil, err
		}
		last, err = b.load.run(ctx, s, b.o.SweepBurst, "--sockets", "16", "--rate", fmt.Sprintf("%.0f", rate))
		if err != nil && !errors.Is(err, errSilence) {
			return false, false, nil, err
		}
		var sent bool
		held, sent = last.held()
		limited = !sent
		found.Steps = append(found.Steps, step{Rate: rate, Sent: last.SentRate, Loss: last.LossPct, Held: held})
		if held {
			break
		}
	}
	return held, limited, last, nil
}
