package daemon

import (
	"strings"
	"time"

	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/internal/clock"
)

// tellKeeping says in a state how the time is kept.
func (k *timekeeper) tellKeeping(state *api.State) {
	s, mono := state.Clock, state.Mono
	state.ErrorLimit = time.Duration(k.limit.Load())
	if since := k.holdover.Load(); since != 0 {
		state.Holdover = time.Unix(0, since)
	}
	state.SkewPPM = -1
	j := k.judged.Load()
	if j.selection.Valid {
		state.SkewPPM = j.selection.Estimate.Skew * 1e6
	}
	state.SlewPPM, state.Behind, state.Rival = j.slewPPM, j.behind, j.rival
	state.Left = max(0, j.left-(mono-j.mono))
	files := k.files.Load()
	state.Drift = files.drift
	leaps := files.leaps
	state.Sources = tellSources(k.poller.Status(), j, k.keeping.scale, s, mono)
	utc, table := s.UTC(mono), k.keeping.scale.Table()
	l := &state.Leap
	l.TAIOffset, l.Known = table.Offset(utc)
	if at, kind, ok := table.Next(utc); ok {
		l.Next, l.NextKind = at, kind
	}
	l.Expires, _ = table.Expires()
	l.Origin, l.Warning = leaps.From, strings.Join(leaps.Warnings, "; ")
	if l.Origin == "" && l.NextKind != clock.LeapNone {
		l.Origin = "the sources"
	}
}
