package report

import (
	"math"
	"math/bits"

	"github.com/truechimer/truechimer/internal/compliance"
)

// mark is what a minute or an hour gives to the charts.
type mark struct {
	at     int64 // Unix seconds
	clocks [clocks]struct {
		claimed              bool
		bound                int64 // the greatest
		offsetMin, offsetMax int64
	}
}

func markOf(at int64, t *tally) mark {
	m := mark{at: at}
	for i := range m.clocks {
		c := &t.clocks[i]
		p := &m.clocks[i]
		p.claimed, p.bound = c.bound.Count > 0, c.bound.Max
		p.offsetMin, p.offsetMax = c.offset.Min, c.offset.Max
	}
	return m
}

// charts gathers what is drawn over time.
type charts struct {
	from, to int64
	step     int64 // seconds of a point
	unit     int64 // seconds of a cell
	marks    []mark
	cells    [clocks][]Verdicts
}

// cellsMax is how many cells the strip has at the most: above, its unit is longer.
const cellsMax = 400

func newCharts(from, to int64) charts {
	c := charts{from: from, to: to}
	c.step = fit(from, to, pointsMax, minute, 2*minute, 5*minute, 10*minute, 15*minute, 30*minute,
		hour, 2*hour, 3*hour, 6*hour, 12*hour, day, 2*day, 7*day)
	c.unit = fit(from, to, cellsMax, hour, day, 7*day, 14*day)
	c.marks = make([]mark, steps(from, to, c.step))
	for i := range c.marks {
		c.marks[i].at = floor(from, c.step) + int64(i)*c.step
	}
	for i := range c.cells {
		c.cells[i] = make([]Verdicts, steps(from, to, c.unit))
	}
	return c
}

// steps returns how many steps, which start at their multiples, a time touches.
func steps(from, to, step int64) int64 {
	return (floor(to-1, step)-floor(from, step))/step + 1
}

// fit returns the first length of which limit are enough, or the last.
func fit(from, to, limit int64, lengths ...int64) int64 {
	for _, l := range lengths {
		if steps(from, to, l) <= limit {
			return l
		}
	}
	return lengths[len(lengths)-1]
}

// addMark adds to the points that a mark of a length touches.
func (c *charts) addMark(m mark, length int64) {
	first := floor(c.from, c.step)
	for at := floor(m.at, c.step); at < m.at+length; at += c.step {
		i := (at - first) / c.step
		if i < 0 || i >= int64(len(c.marks)) {
			continue
		}
		for k := range m.clocks {
			p, o := &c.marks[i].clocks[k], &m.clocks[k]
			switch {
			case !o.claimed:
			case !p.claimed:
				*p = *o
			default:
				p.bound = max(p.bound, o.bound)
				p.offsetMin, p.offsetMax = min(p.offsetMin, o.offsetMin), max(p.offsetMax, o.offsetMax)
			}
		}
	}
}

// addHour adds what the hour that starts at h came to, of which length seconds are in the time.
func (c *charts) addHour(h, length int64, t *tally) {
	i := (floor(h, c.unit) - floor(c.from, c.unit)) / c.unit
	for k := range c.cells {
		v := t.clocks[k].verdicts
		v.Gap = max(0, length-t.observed)
		c.cells[k][i].add(v)
	}
}

// points returns the points of a clock; there is none where nothing could be claimed.
func (c *charts) points(clock int) []Point {
	list := []Point{}
	for _, m := range c.marks {
		if p := m.clocks[clock]; p.claimed {
			list = append(list, Point{At: m.at, Bound: Nanoseconds(p.bound), OffsetMin: Nanoseconds(p.offsetMin), OffsetMax: Nanoseconds(p.offsetMax)})
		}
	}
	return list
}

// strip returns the cells of a clock.
func (c *charts) strip(clock int) []Cell {
	list := make([]Cell, len(c.cells[clock]))
	for i, v := range c.cells[clock] {
		list[i] = Cell{At: floor(c.from, c.unit) + int64(i)*c.unit, Verdicts: v}
	}
	return list
}

// barsPerOctave is how fine the histogram of the report is.
const barsPerOctave = 4

// histogram returns the distribution in quarters of an octave, from the first that is not empty
// to the last.
func histogram(d *compliance.Distribution) []Bar {
	list := []Bar{}
	m := d.Proto()
	bucket := uint32(0)
	for i := 0; i+1 < len(m.GetBuckets()); i += 2 {
		bucket += m.Buckets[i]
		upTo := barEdge(bucketEdge(bucket))
		for n := len(list); n > 0 && list[n-1].UpTo < upTo; n = len(list) {
			next := barEdge(list[n-1].UpTo + 1)
			list = append(list, Bar{UpTo: next})
		}
		if len(list) == 0 {
			list = append(list, Bar{UpTo: upTo})
		}
		list[len(list)-1].Seconds += uint64(m.Buckets[i+1])
	}
	return list
}

// bucketEdge returns the greatest value in a bucket of a distribution: a 64th of an octave wide,
// and below 64 a nanosecond.
func bucketEdge(bucket uint32) Nanoseconds {
	if bucket < 64 {
		return Nanoseconds(bucket)
	}
	edge := (uint64(bucket%64)+65)<<(bucket/64-1) - 1
	return Nanoseconds(min(edge, math.MaxInt64))
}

// barEdge returns the greatest value of the bar that v is in: up to 64 there is one bar, and
// above they are a quarter of an octave wide.
func barEdge(v Nanoseconds) Nanoseconds {
	if v < 64 {
		return 63
	}
	octave := bits.Len64(uint64(v)) - 1
	width := uint64(1) << octave / barsPerOctave
	edge := uint64(v)/width*width + width - 1
	return Nanoseconds(min(edge, math.MaxInt64))
}
