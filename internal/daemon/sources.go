package daemon

import (
	"log/slog"
	"time"

	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/leap"
	"github.com/truechimer/truechimer/internal/ntp"
	"github.com/truechimer/truechimer/internal/sysclock"
	"github.com/truechimer/truechimer/internal/upstream"
)

// falsetickerPatience is how long a source may be outvoted before another is looked for to
// take its place.
const falsetickerPatience = 30 * time.Minute

// newPoller returns what asks the sources that c names, and hands what they say to the jury;
// measured is told of each measurement before.
func newPoller(k *keeping, c *config.Config, measured func(upstream.Source, upstream.Measurement), log *slog.Logger) (*upstream.Poller, error) {
	return upstream.New(upstream.PollerOptions{
		Sources:   upstreamSources(c.Sources),
		Sink:      k.jury,
		Timeline:  k.system.Local,
		Scale:     k.scale,
		Pivot:     pivotOf(k.drift.Saved),
		Precision: ntp.Precision(sysclock.Precision()),
		Addresses: localAddrs,
		Measured:  measured,
		Logger:    log,
	})
}

// upstreamSources says the sources of the configuration in the poller's words.
func upstreamSources(list []config.Source) []upstream.Source {
	sources := make([]upstream.Source, len(list))
	for i, s := range list {
		sources[i] = upstream.Source{
			Name: s.Name, Host: s.Address, Site: s.Site, NIST: s.NIST, Pool: s.Pool,
			Burst: s.IBurst, Interleaved: s.Interleaved, MinPoll: int8(s.MinPoll), MaxPoll: int8(s.MaxPoll),
			ProviderError: s.ProviderError, Prefer: s.Prefer, Trust: s.Trust, Require: s.Require, NoSelect: s.NoSelect,
		}
	}
	return sources
}

// tellSources says what is known of each server, asked and judged, at the moment mono of the
// snapshot s.
func tellSources(statuses []upstream.SourceStatus, j *judged, scale *leap.Scale, s *clock.Snapshot, mono time.Duration) []api.Source {
	verdicts := make(map[discipline.SourceID]*discipline.Verdict)
	for i := range j.selection.Verdicts {
		v := &j.selection.Verdicts[i]
		verdicts[v.ID] = v
	}
	now := j.local(mono)
	served := scale.TAI(s.UTC(j.monotonic(j.selection.Local))) // when the verdicts were made
	list := make([]api.Source, len(statuses))
	for i := range statuses {
		list[i] = tellSource(&statuses[i], now)
		if v, ok := verdicts[statuses[i].ID]; ok && statuses[i].Server.IsValid() {
			tellVerdict(&list[i], v, served)
		}
	}
	return list
}

// tellSource says what the poller knows of a server at the local instant now.
func tellSource(st *upstream.SourceStatus, now time.Duration) api.Source {
	c := &st.Source
	a := api.Source{
		Name: c.Name, Site: c.Site, Status: discipline.Waiting,
		Reach: st.Reach, PollLog2: st.Poll, NextPoll: max(0, st.NextPoll-now), Interleaved: st.Interleaved,
		Heard: st.Heard, HeardAgo: max(0, now-st.LastHeard),
		ProviderError: c.ProviderError, NIST: c.NIST, Prefer: c.Prefer, Trust: c.Trust, Require: c.Require, NoSelect: c.NoSelect,
		Outcomes: make(map[string]uint64), LastFault: st.Fault,
	}
	if st.Server.IsValid() {
		a.Address = st.Server.String()
	}
	if st.NextPoll == upstream.Never {
		a.NextPoll = 0
	}
	if h := &st.Header; *h != (ntp.Header{}) {
		a.Stratum, a.RefID, a.Leap = uint8(h.Stratum), h.RefID.Bytes(), clock.Leap(h.Leap)
	}
	for _, v := range upstream.Verdicts() {
		if n := st.Counts[v]; n > 0 {
			a.Outcomes[v.String()] = n
		}
	}
	return a
}

// tellVerdict adds what the discipline made of a server's samples; served is the time served
// when it did, on the leap-free scale.
func tellVerdict(a *api.Source, v *discipline.Verdict, served int64) {
	a.Status, a.Weight = v.Status, v.Weight
	if v.Samples == 0 {
		return
	}
	a.Samples = v.Samples
	a.Offset, a.Delay = time.Duration(v.Remote-served), v.Delay
	a.Jitter = time.Duration(v.Jitter * 1e9)
	a.RootDistance = v.Distance
	a.FrequencyPPM, a.SkewPPM = v.Frequency*1e6, v.Skew*1e6
}

// outvoted remembers since when each source has been a falseticker, on the local timeline.
type outvoted map[discipline.SourceID]time.Duration

// note looks at a selection and returns the sources that have been outvoted for too long.
func (o outvoted) note(j *judged) (bad []discipline.SourceID) {
	seen := make(map[discipline.SourceID]bool)
	for i := range j.selection.Verdicts {
		v := &j.selection.Verdicts[i]
		if v.Status != discipline.Falseticker {
			continue
		}
		seen[v.ID] = true
		since, known := o[v.ID]
		switch {
		case !known:
			o[v.ID] = j.at
		case j.at-since >= falsetickerPatience:
			bad = append(bad, v.ID)
			o[v.ID] = j.at
		}
	}
	for id := range o {
		if !seen[id] {
			delete(o, id)
		}
	}
	return bad
}

// pivotOf returns an instant within 68 years of now, whatever the hardware clock says: the
// last time that was good, by the drift file, and not before the program was written.
func pivotOf(saved time.Time) int64 {
	written := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	if saved.After(written) {
		return saved.UnixNano()
	}
	return written.UnixNano()
}
