package main

import (
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/rpc"
)

// counts are the seconds of each verdict, and the extremes of the bound.
type counts struct {
	ok, warn, breach, unknown int64
	least, most               time.Duration
	offsets                   int64 // sum, nanoseconds
}

// truth counts apart from the engine what is to be on record of both clocks under the first profile:
// as seconds come by, by a rule of its own, and without what a crash has taken along.
type truth struct {
	profile compliance.Profile

	durable, waiting, minute [2]counts // written; summed, not written; of the minute in progress
	stopped                  bool      // in order
	lost                     int64     // seconds
}

const (
	system = iota
	served
)

func (t *truth) look(s *compliance.Second, entries []*rpc.JournalEntry) {
	for _, e := range entries {
		if e.GetMinute() != nil {
			t.sum()
		}
	}
	agreeing, nist := 0, 0
	for i := range s.Sources {
		if s.Sources[i].Agrees {
			agreeing++
			if s.Sources[i].NIST {
				nist++
			}
		}
	}
	for i, r := range []*compliance.Reading{system: &s.System, served: &s.Served} {
		c := &t.minute[i]
		switch beyond := r.Bound > t.profile.Tolerance; {
		case !r.Claims, beyond && r.Holdover:
			c.unknown++
		case beyond:
			c.breach++
		case r.Bound > t.profile.Warn, agreeing < t.profile.MinSources, nist < t.profile.MinNIST:
			c.warn++
		default:
			c.ok++
		}
		if r.Claims {
			c.offsets += int64(r.Offset)
			c.most = max(c.most, r.Bound)
			if c.least == 0 || r.Bound < c.least {
				c.least = r.Bound
			}
		}
	}
}

// sum says that the minute in progress is over.
func (t *truth) sum() { add(&t.waiting, &t.minute) }

// written says that what waited is on disk.
func (t *truth) written() { add(&t.durable, &t.waiting) }

func (t *truth) stop() {
	t.sum()
	t.stopped = true
}

// crash says that what is not on disk is lost.
func (t *truth) crash() {
	t.lost += t.minute[system].total() + t.waiting[system].total()
	t.waiting, t.minute = [2]counts{}, [2]counts{}
}

// ended reports, once, whether the node was stopped in order.
func (t *truth) ended() bool {
	was := t.stopped
	t.stopped = false
	return was
}

func (c *counts) total() int64 { return c.ok + c.warn + c.breach + c.unknown }

// add moves what is in from into into.
func add(into, from *[2]counts) {
	for i := range from {
		a, b := &into[i], &from[i]
		a.ok, a.warn, a.breach, a.unknown = a.ok+b.ok, a.warn+b.warn, a.breach+b.breach, a.unknown+b.unknown
		a.offsets += b.offsets
		a.most = max(a.most, b.most)
		if b.least != 0 && (a.least == 0 || b.least < a.least) {
			a.least = b.least
		}
		*b = counts{}
	}
}
