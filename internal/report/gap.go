package report

import "time"

// gapper joins minutes, and hours, in which seconds were not looked at to gaps.
type gapper struct {
	list    List[Gap]
	seconds int64 // of all gaps

	open                   bool
	from, to               int64 // of the units that are joined
	firstLength, firstLost int64 // of the first of them
	lastLength, lastLost   int64
	lost                   int64 // seconds that were not looked at
}

// add tells how many seconds of a unit of a length were not looked at. Units come in order.
func (g *gapper) add(start, length, lost int64) {
	if lost <= 0 {
		g.flush()
		return
	}
	if !g.open || g.to != start {
		g.flush()
		*g = gapper{list: g.list, seconds: g.seconds, open: true, from: start, firstLength: length, firstLost: lost}
	}
	g.to, g.lastLength, g.lastLost = start+length, length, lost
	g.lost += lost
}

// flush ends the gap that is open. Of the first unit of several the last seconds are missing,
// and of the last unit the first. Which of a single unit are is not on record: the gap is
// somewhere within it.
func (g *gapper) flush() {
	if !g.open {
		return
	}
	g.open = false
	from, to := g.from, g.to
	if g.to-g.from > g.firstLength {
		from += g.firstLength - g.firstLost
		to -= g.lastLength - g.lastLost
	}
	g.seconds += g.lost
	g.list.add(Gap{From: time.Unix(from, 0).UTC(), To: time.Unix(to, 0).UTC(), Seconds: g.lost}, gapsMax)
}
