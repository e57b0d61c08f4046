package daemon

import (
	"slices"
	"sync"
	"time"

	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/leap"
)

// jury is the discipline behind a lock: the poller hands it samples while the clock loop has
// it judge.
type jury struct {
	scale *leap.Scale

	mu         sync.Mutex
	discipline *discipline.Discipline
}

// smearDay is how close to a leap second a reference identifier that may mean a smear does:
// at any other time it is the hash of some IPv6 address.
const smearDay = 24 * time.Hour

// Open implements upstream.Sink.
func (j *jury) Open(o discipline.SourceOptions) discipline.SourceID {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.discipline.Open(o)
}

// Close implements upstream.Sink.
func (j *jury) Close(id discipline.SourceID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.discipline.Close(id)
}

// Add implements upstream.Sink.
func (j *jury) Add(id discipline.SourceID, s discipline.Sample) (poll time.Duration) {
	s.Smeared = s.Stratum > 1 && leap.SmearRefID(s.RefID) && j.scale.Near(s.Remote, int64(smearDay))
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.discipline.Add(id, s)
}

// Reach implements upstream.Sink.
func (j *jury) Reach(id discipline.SourceID, reach uint8) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.discipline.Reach(id, reach)
}

// set changes the rules of selection.
func (j *jury) set(o discipline.Options) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.discipline.Set(o)
}

// judge has the sources judged at a local instant, for those who do not steer by it.
func (j *jury) judge(local time.Duration) *discipline.Selection {
	j.mu.Lock()
	defer j.mu.Unlock()
	return keep(j.discipline.Select(local))
}

// with calls f while nothing else uses the discipline.
func (j *jury) with(f func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f()
}

// keep copies a selection so that it outlives the next.
func keep(s discipline.Selection) *discipline.Selection {
	s.Verdicts = slices.Clone(s.Verdicts)
	return &s
}
