package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/ntpserver"
	"github.com/truechimer/truechimer/store"
)

// claimsOf turns snapshots into the claims of the NTP server, once for each: claims are
// made from the very snapshot that is published, and can say nothing else.
type claimsOf struct {
	latest atomic.Pointer[claimed]
}

type claimed struct {
	snapshot *clock.Snapshot
	claims   ntpserver.Claims
}

// of returns the claims of a snapshot. It may be called concurrently.
func (c *claimsOf) of(s *clock.Snapshot) *ntpserver.Claims {
	latest := c.latest.Load()
	if latest == nil || latest.snapshot != s {
		latest = &claimed{s, claims(s)}
		c.latest.Store(latest)
	}
	return &latest.claims
}

// claims says a snapshot in the server's words. The residual offset and the provider's
// error are part of what our clients must reckon with, and NTP has no other field for
// them than the root dispersion.
func claims(s *clock.Snapshot) ntpserver.Claims {
	return ntpserver.Claims{
		Leap:           uint8(s.Leap),
		Stratum:        s.Stratum,
		RefID:          s.RefID,
		Precision:      s.Precision,
		RootDelay:      s.RootDelay.Abs(),
		RootDispersion: s.RootDispersion(s.Mono()) + s.ResidualOffset.Abs() + s.ProviderError.Abs(),
		GrowthPPM:      s.GrowthPPM,
		At:             s.Time.To,
		Reference:      s.Reference,
		KernelAt:       s.Kernel.From,
		UTCAt:          s.Kernel.To,
		RatePPM:        s.Kernel.Rate * 1e6,
	}
}

// State implements api.Node.
func (d *Daemon) State() api.State {
	s := d.keeper.current()
	mono := d.keeper.system.Mono()
	_, _, noClaim := d.keeper.claim(s, mono)
	state := api.State{
		Name:          d.node.Name,
		Number:        d.node.Number,
		Version:       d.version,
		StoreID:       d.store.ID(),
		Started:       d.started,
		Clock:         s,
		Mono:          mono,
		NoClaim:       noClaim,
		Issuer:        d.issuer.Status(),
		HeldJump:      time.Duration(d.keeper.held.Load()),
		PhysicalAhead: d.keeper.ahead(s, mono),
		Fenced:        d.store.Err(),
		Streams:       d.streams.Status(),
		NTPListen:     addrs(d.ntp.Addrs()),
		Alarms:        *d.keeper.alarms.Load(),
	}
	tellCounts(&state, d.ntp.Counts())
	d.keeper.tellKeeping(&state)
	state.Unhealthy = d.unhealthy(&state)
	state.NotReady = d.notReady(&state)
	return state
}

// tellCounts says in a state what the NTP server has counted.
func tellCounts(state *api.State, counts ntpserver.Counts) {
	state.NTPUnstamped, state.NTPSendErrors, state.NTPReceiveErrors = counts.Unstamped, counts.SendErrors, counts.ReceiveErrors
	state.NTPKernelDrops, state.NTPStamps, state.NTPStampsMissed = counts.KernelDrops, counts.Departures, counts.Unfollowed
	state.NTPVerdicts = make(map[string]uint64)
	for _, v := range ntpserver.Verdicts() {
		state.NTPVerdicts[v.String()] = counts.Verdicts[v]
	}
}

// unhealthy lists what a restart might mend.
func (d *Daemon) unhealthy(state *api.State) (reasons []string) {
	if age := state.Mono - state.Clock.Mono(); age > stalledAfter {
		reasons = append(reasons, fmt.Sprintf("the clock was last looked at %v ago: the clock loop is stalled", age.Round(time.Second)))
	}
	switch ended := state.Issuer.Err; {
	case state.Fenced != nil:
		reasons = append(reasons, state.Fenced.Error())
	case ended != nil && !errors.Is(ended, store.ErrClosed):
		reasons = append(reasons, "no timestamp is issued any more until the next start: "+ended.Error())
	}
	return reasons
}

// notReady lists why this node should not be relied on.
func (d *Daemon) notReady(state *api.State) []string {
	reasons := append([]string(nil), state.Unhealthy...)
	if state.NoClaim != "" {
		reasons = append(reasons, "the clock is not synchronised: "+state.NoClaim)
	}
	switch {
	case !state.Issuer.Started:
		reasons = append(reasons, "no timestamp is issued before the clock is synchronised for the first time")
	case late(state.Issuer, d.keeper.physical.Now()):
		reasons = append(reasons, "the ceiling on disk has not been renewed in time: the disk is slow or hangs")
	case state.Issuer.Lead > state.Issuer.MaxLead:
		reasons = append(reasons, fmt.Sprintf("the hybrid clock leads by %v, more than its max lead of %v", state.Issuer.Lead.Round(time.Millisecond), state.Issuer.MaxLead))
	}
	if full := nearlyFull(&state.Streams); full != "" {
		reasons = append(reasons, full)
	}
	return reasons
}

// nearlyFull says that appends are refused because the disk is nearly full; empty: they are
// not.
func nearlyFull(s *store.StreamsStatus) string {
	if !s.NearlyFull {
		return ""
	}
	return fmt.Sprintf("the disk is nearly full: %d MiB are free, and store.reserve keeps %d MiB, so nothing is appended to streams; free some space, or delete or trim streams", s.FreeBytes>>20, s.ReserveBytes>>20)
}

// space says what the disk lacks; empty: nothing.
func (d *Daemon) space() string {
	status := d.streams.Status()
	return nearlyFull(&status)
}

// streams are the event streams as the API asks them.
type streams struct{ *store.Streams }

// Watch implements api.Streams.
func (s streams) Watch(ctx context.Context, selection store.Selection, from store.Start) (api.Watcher, error) {
	w, err := s.Streams.Watch(ctx, selection, from)
	if err != nil {
		return nil, err // and not a watcher that is there and nil
	}
	return w, nil
}

// Clients implements api.Node.
func (d *Daemon) Clients() []ntpserver.Client { return d.ntp.Clients(clientsMax) }

// MakeStep implements api.Node.
func (d *Daemon) MakeStep(who string, offset time.Duration) (time.Duration, error) {
	taken, err := d.keeper.makeStep(offset)
	if err == nil {
		d.evidence.operated(who, "makestep", fmt.Sprintf("stepped by %v", taken))
	}
	return taken, err
}

// AcceptClock implements api.Node.
func (d *Daemon) AcceptClock(who string, jump time.Duration) (time.Duration, error) {
	taken, err := d.keeper.accept(jump)
	if err == nil {
		d.evidence.operated(who, "accept_clock", fmt.Sprintf("accepted a jump of %v", taken))
	}
	return taken, err
}

// Rebase implements api.Node.
func (d *Daemon) Rebase(_ context.Context, who string, epoch uint64) (api.Rebased, error) {
	r, err := d.keeper.rebase(epoch)
	if err == nil {
		d.evidence.operated(who, "rebase", fmt.Sprintf("back by %v into epoch %d; the last timestamp before was %v", r.Back, r.Epoch, r.Last))
	}
	return r, err
}

// Backup implements api.Node.
func (d *Daemon) Backup(ctx context.Context, dir string, progress func(store.Progress)) (store.BackupResult, error) {
	return d.store.Backup(ctx, dir, progress)
}
