package daemon

import (
	"context"
	"slices"
	"time"

	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/internal/sysclock"
)

// housekeepingInterval is how often the drift file is written and the list of leap seconds
// looked at. Neither may hold up the clock loop, for both wait for the disk.
const housekeepingInterval = time.Hour

// housekeep keeps files and memory in step until ctx ends, and then writes the drift file
// once more.
func (k *timekeeper) housekeep(ctx context.Context) {
	ticker := time.NewTicker(housekeepingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			k.saveDrift()
			return
		case <-ticker.C:
		}
		k.saveDrift()
		k.loadLeaps()
	}
}

// saveDrift writes what the sources have taught of the oscillator, as long as something can be
// claimed of the clock: the next start takes the time in the file for good when it decides
// which era a server speaks of.
func (k *timekeeper) saveDrift() {
	drift, ok := k.keeping.taught()
	if !ok {
		return
	}
	s := k.latest.Load().snapshot
	if !s.Claims() {
		return
	}
	drift.Written = time.Unix(0, s.UTC(k.system.Mono())).UTC().Truncate(time.Second)
	if err := sysclock.WriteDrift(k.keeping.driftPath, drift); err != nil {
		k.log.Warn("drift file not written", "err", err)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keeping.drift = api.Drift{FrequencyPPM: drift.FrequencyPPM, SkewPPM: drift.SkewPPM, Saved: drift.Written}
	k.files.Store(&files{k.keeping.drift, k.keeping.leaps})
}

// loadLeaps looks whether there is a new list of leap seconds.
func (k *timekeeper) loadLeaps() {
	s := k.latest.Load().snapshot
	leaps := k.keeping.leapFile.Load(s.UTC(k.system.Mono()))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.takeLeaps(leaps)
}

// takeLeaps makes a list of leap seconds the one in use, and says what is wrong with it once.
func (k *timekeeper) takeLeaps(leaps sysclock.Leaps) {
	was := k.keeping.leaps
	k.keeping.setLeaps(leaps)
	k.files.Store(&files{k.keeping.drift, leaps})
	if was.From != leaps.From && leaps.From != "" {
		k.log.Info("leap seconds", "from", leaps.From)
	}
	for _, w := range leaps.Warnings {
		if !slices.Contains(was.Warnings, w) {
			k.log.Warn("leap seconds", "warning", w)
		}
	}
}
