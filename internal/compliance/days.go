package compliance

import "github.com/truechimer/truechimer/internal/rpc"

// DaysMax is how many days back it is remembered what they came to.
const DaysMax = 400

// days is what each day (UTC) came to.
type days map[dayKey]*counts

type dayKey struct {
	judged
	start int64 // Unix seconds
}

// count adds seconds of a clock under a profile.
func (d days) count(start int64, k judged, c counts) {
	key := dayKey{k, floorDiv(start, day) * day}
	have := d[key]
	if have == nil {
		have = &counts{}
		d[key] = have
	}
	have.add(&c)
}

// add adds a minute. Where there are more days than can be asked for, the one is forgotten that is
// furthest from it: a clock that was ahead for a while costs a day, and not all of them.
func (d days) add(m *tally) {
	for k, c := range m.verdicts {
		size := len(d)
		d.count(m.start, k, *c)
		if len(d) > size {
			d.forget(k, m.start)
		}
	}
}

// forget leaves at the most DaysMax days, and one, of a clock under a profile.
func (d days) forget(k judged, at int64) {
	n, furthest := 0, dayKey{k, at}
	for key := range d {
		if key.judged != k {
			continue
		}
		n++
		if magnitude(key.start-at) > magnitude(furthest.start-at) {
			furthest = key
		}
	}
	if n > DaysMax+1 {
		delete(d, furthest)
	}
}

// strip returns the last most days up to a time, the oldest first, from the first on of which anything
// is known; now is the minute in progress, or nil.
func (d days) strip(k judged, unix int64, most int, now *tally) []*rpc.DayVerdicts {
	at := floorDiv(unix, second)
	today := floorDiv(at, day) * day
	var list []*rpc.DayVerdicts
	for start := today - int64(most-1)*day; start <= today; start += day {
		var c counts
		if have := d[dayKey{k, start}]; have != nil {
			c = *have
		}
		if now != nil && floorDiv(now.start, day)*day == start && now.verdicts[k] != nil {
			c.add(now.verdicts[k])
		}
		if len(list) == 0 && c.total() == 0 && start < today {
			continue
		}
		passed := uint64(min(day, at-start+1)) // the second that at is in has been looked at
		list = append(list, &rpc.DayVerdicts{
			Start: start, Ok: c[0], Warn: c[1], Breach: c[2], Unknown: c[3],
			Gap: uint32(passed - min(passed, c.total())),
		})
	}
	return list
}
