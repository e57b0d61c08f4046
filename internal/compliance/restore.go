package compliance

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
)

// Restored is what an Engine must know of the time before it. The zero value: there was none.
type Restored struct {
	breaches   []*rpc.Breach // those that go on and the latest of each clock and profile, by number
	lastBreach uint64
	sources    []*rpc.SourceNamed
	minutes    []*rpc.Summary // that no hour contains
	days       days
	preOpens   map[string]*rpc.PreOpen // the last of each profile
}

// minutesBack is how long before the last hour was written minutes can have been written that it does
// not contain: the clock may have been set back since.
const minutesBack = 48 * time.Hour

// Restore reads what an Engine must know from the journal, at a time, Unix nanoseconds. It fails
// where the journal cannot be read.
func Restore(ctx context.Context, j Journal, now int64) (Restored, error) {
	r := Restored{days: days{}, preOpens: map[string]*rpc.PreOpen{}}
	all, err := Breaches(ctx, j)
	if err != nil {
		return Restored{}, err
	}
	r.keepBreaches(all)
	if err := r.readRest(ctx, j); err != nil {
		return Restored{}, err
	}
	if err := r.readSummaries(ctx, j, now); err != nil {
		return Restored{}, err
	}
	return r, nil
}

// Breaches returns all breaches on record, as their last entries say, by their numbers. It fails where
// the journal cannot be read.
func Breaches(ctx context.Context, j Journal) ([]*rpc.Breach, error) {
	type said struct {
		sequence uint64
		breach   *rpc.Breach
	}
	latest := map[uint64]said{}
	err := j.Find(ctx, 0, math.MaxInt64, []Kind{KindBreach}, func(r Record) error {
		b := r.Entry.GetBreach()
		if had, ok := latest[b.GetId()]; !ok || had.sequence < r.Sequence {
			latest[b.GetId()] = said{r.Sequence, b}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the breaches of the journal: %w", err)
	}
	list := make([]*rpc.Breach, 0, len(latest))
	for _, id := range slices.Sorted(maps.Keys(latest)) {
		list = append(list, latest[id].breach)
	}
	return list, nil
}

// keepBreaches keeps those breaches, given by their numbers, that an Engine remembers.
func (r *Restored) keepBreaches(all []*rpc.Breach) {
	kept := map[judged]int{}
	for _, b := range slices.Backward(all) {
		r.lastBreach = max(r.lastBreach, b.Id)
		k := judged{b.Profile, b.Clock}
		if kept[k]++; kept[k] <= breachesMax {
			r.breaches = append(r.breaches, b)
		}
	}
	slices.Reverse(r.breaches)
}

// readRest reads the numbers of sources and the checks before the market opens.
func (r *Restored) readRest(ctx context.Context, j Journal) error {
	sources := map[uint32]Record{}
	preOpens := map[string]Record{}
	err := j.Find(ctx, 0, math.MaxInt64, []Kind{KindSource, KindPreOpen}, func(rec Record) error {
		if s := rec.Entry.GetSource(); s != nil && sources[s.Number].Sequence <= rec.Sequence {
			sources[s.Number] = rec
		}
		if p := rec.Entry.GetPreOpen(); p != nil && preOpens[p.Profile].Sequence <= rec.Sequence {
			preOpens[p.Profile] = rec
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the sources of the journal: %w", err)
	}
	for _, n := range slices.Sorted(maps.Keys(sources)) {
		r.sources = append(r.sources, sources[n].Entry.GetSource())
	}
	for name, rec := range preOpens {
		r.preOpens[name] = rec.Entry.GetPreOpen()
	}
	return nil
}

// readSummaries reads what the days came to, and the minutes that no hour contains.
func (r *Restored) readSummaries(ctx context.Context, j Journal, now int64) error {
	var last Record // the hour that was written last
	hours := func(since int64) error {
		return j.Find(ctx, since, math.MaxInt64, []Kind{KindHour}, func(rec Record) error {
			h := rec.Entry.GetHour()
			verdictsOf(h, func(k judged, c counts) { r.days.count(h.GetStart(), k, c) })
			if rec.Sequence > last.Sequence {
				last = rec
			}
			return nil
		})
	}
	since := max(0, now-DaysMax*day*second)
	err := hours(since)
	if err == nil && last.Sequence == 0 && since > 0 {
		err = hours(0) // the clock may be wrong: there may be hours, but none of late
	}
	if err != nil {
		return fmt.Errorf("read the hours of the journal: %w", err)
	}
	type written struct {
		sequence uint64
		minute   *rpc.Summary
	}
	var list []written
	since = max(0, last.Unix-int64(minutesBack))
	err = j.Find(ctx, since, math.MaxInt64, []Kind{KindMinute}, func(rec Record) error {
		if m := rec.Entry.GetMinute(); rec.Sequence > last.Sequence {
			list = append(list, written{rec.Sequence, m})
			verdictsOf(m, func(k judged, c counts) { r.days.count(m.GetStart(), k, c) })
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the minutes of the journal: %w", err)
	}
	slices.SortFunc(list, func(a, b written) int { return cmp.Compare(a.sequence, b.sequence) })
	for _, w := range list {
		r.minutes = append(r.minutes, w.minute)
	}
	return nil
}
