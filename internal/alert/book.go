package alert

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// book holds the alarms that stand. It is fed with what stands and says what changed.
type book struct {
	node    string
	open    map[string]*page // by identity
	leftOut int              // conditions that found no room last
}

// page is one alarm in the book.
type page struct {
	Alarm
	away bool          // the condition does not stand now
	gone time.Duration // since when
}

// change is an alarm that was raised, or is over.
type change struct {
	alarm    Alarm
	resolved bool
}

// newBook takes up the alarms that stood, and returns those that are there twice, which are over.
func newBook(node string, standing []Alarm) (b *book, twice []Alarm) {
	b = &book{node: node, open: map[string]*page{}}
	for _, a := range standing {
		if b.open[a.identity()] != nil {
			twice = append(twice, a)
			continue
		}
		b.open[a.identity()] = &page{Alarm: a}
	}
	return b, twice
}

// identity is what tells a condition from others.
func (c *Condition) identity() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %s", c.Name, c.severity())
	for _, name := range slices.Sorted(maps.Keys(c.Labels)) {
		fmt.Fprintf(&b, " %q=%q", name, c.Labels[name])
	}
	return b.String()
}

// update takes what stands at an instant, which is told on two clocks: the hold must not be
// cut short by a step of the one that alarms are dated by. It returns what is raised, in the
// order given, and then what is over, the oldest first.
func (b *book) update(unix int64, now time.Duration, standing []Condition) []change {
	var changes []change
	b.leftOut = 0
	here := make(map[string]bool, len(standing))
	for i := range standing {
		c := &standing[i]
		key := c.identity()
		here[key] = true
		p, open := b.open[key]
		switch {
		case open:
			p.Sentence, p.away = c.Sentence, false
		case len(b.open) >= alarmsMax && c.Name != TooMany:
			b.leftOut++
		default:
			a := Alarm{Condition: *c, ID: identify(b.node, key, unixText(unix)), Since: unix}
			b.open[key] = &page{Alarm: a}
			changes = append(changes, change{alarm: a})
		}
	}
	var over []Alarm
	for key, p := range b.open {
		switch {
		case here[key]:
		case !p.away:
			p.away, p.gone = true, now
		case now-p.gone >= hold:
			over = append(over, p.Alarm)
			delete(b.open, key)
		}
	}
	slices.SortFunc(over, byAge)
	for _, a := range over {
		changes = append(changes, change{alarm: a, resolved: true})
	}
	return changes
}

// standing returns the alarms that stand, or are away for less than the hold, the oldest first.
func (b *book) standing() []Alarm {
	all := make([]Alarm, 0, len(b.open))
	for _, p := range b.open {
		all = append(all, p.Alarm)
	}
	slices.SortFunc(all, byAge)
	return all
}

func byAge(a, b Alarm) int { return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.ID, b.ID)) }
