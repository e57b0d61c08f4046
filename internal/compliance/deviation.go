package compliance

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/truechimer/truechimer/internal/alert"
)

// The deviation alarm. Intersection believes what a majority can agree on, and a source whose interval is
// wide agrees with much: a step of 10 ms at one of four servers hides inside root distances of 25 ms
// (STANDARDS, SEL-6; it happened at Gaithersburg in December 2025). So each source is also
// compared with the median of the others, whatever the selection makes of it.
//
// Of an even number of others every value between the two in the middle is a median: the one nearest to the
// source counts. Else, of three sources, a wrong one would drag the median of both others half its way
// along, and accuse them.
//
// With two sources the median of the others is the other one: both deviate, and which of them is
// wrong cannot be told. With one there is nothing to compare.
//
// Source: STANDARDS AC-M1.

// DeviationDefault is from which deviation on a source is reported.
const DeviationDefault = 5 * time.Millisecond

// deviations returns how far each source's offset is from the median of the others', in the order of the sources;
// ok is false for those that cannot be compared. room is overwritten.
func deviations(sources []SourceReading, room []deviation) []deviation {
	list := room[:0]
	for i := range sources {
		list = append(list, deviation{ok: sources[i].present(), offset: sources[i].Offset})
	}
	sorted := make([]time.Duration, 0, len(list))
	for _, d := range list {
		if d.ok {
			sorted = append(sorted, d.offset)
		}
	}
	slices.Sort(sorted)
	for i := range list {
		d := &list[i]
		if d.ok = d.ok && len(sorted) > 1; d.ok {
			at, _ := slices.BinarySearch(sorted, d.offset)
			d.from = medianWithout(sorted, at)
		}
	}
	return list
}

// deviation is one source against the others.
type deviation struct {
	offset time.Duration
	from   time.Duration // the median of the others
	ok     bool
}

// medianWithout returns the median of a sorted list, two long at the least, without the item at i: the
// one that is nearest to that.
func medianWithout(sorted []time.Duration, i int) time.Duration {
	item := func(j int) time.Duration {
		if j >= i {
			j++
		}
		return sorted[j]
	}
	n := len(sorted) - 1
	if n%2 == 1 {
		return item(n / 2)
	}
	low, high := item(n/2-1), item(n/2)
	return min(max(sorted[i], low), high)
}

// sourceKey is what a source is known by.
type sourceKey struct{ name, address string }

// deviators keeps the alarms of sources that deviate, or did a moment ago.
type deviators struct {
	alarms map[sourceKey]*alarm
	seen   map[sourceKey]bool
	room   []deviation
}

// look takes in the sources of a second, and adds the conditions that stand.
func (v *deviators) look(list []alert.Condition, sources []SourceReading, most time.Duration) []alert.Condition {
	v.room = deviations(sources, v.room)
	clear(v.seen)
	for i, d := range v.room {
		s := &sources[i]
		far := d.ok && (d.offset-d.from > most || d.from-d.offset > most)
		key := sourceKey{s.Name, s.Address}
		a := v.alarms[key]
		if a == nil {
			if !far {
				continue
			}
			a = &alarm{}
			v.alarms[key] = a
		}
		v.seen[key] = true
		if a.begins(far, doubtLooks) {
			a.condition = deviates(s, d, most, len(sources))
		}
		list = a.add(list)
		if !a.on && a.run == 0 {
			delete(v.alarms, key)
		}
	}
	for key := range v.alarms { // of sources that are no more
		if !v.seen[key] {
			delete(v.alarms, key)
		}
	}
	return list
}

func deviates(s *SourceReading, d deviation, most time.Duration, sources int) alert.Condition {
	what := "the median of the others"
	if sources == 2 {
		what = "the other source; which of them is wrong cannot be told"
	}
	return alert.Condition{
		Name:     ConditionDeviation,
		Labels:   map[string]string{"source": s.Name, "address": s.Address},
		Sentence: fmt.Sprintf("source %s (%s) is %v away from %s, and more than %v is too much: compare it with others, and remove it if it is wrong", s.Name, cmp.Or(s.Address, "no address"), span(d.offset-d.from), what, most),
	}
}
