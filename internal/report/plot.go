package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
	"time"
)

// The size of a plot, in units of its own; the page scales it.
const (
	plotWidth = 720.0
	plotLeft  = 64.0
	plotRight = 8.0
	plotInner = plotWidth - plotLeft - plotRight
	plotTop   = 10.0
)

// The colours differ in lightness too, for printers that have one ink.
const (
	inkBound  = "#12406b"
	inkOffset = "#6f8191"
	inkOK     = "#b9d3c0"
	inkWarn   = "#e0a83a"
	inkBreach = "#a01818"
	inkNone   = "#5b5b5b"
	inkFrame  = "#999999"
)

// drawing is an SVG in the making. Numbers have one digit after the point.
type drawing struct {
	b      strings.Builder
	height float64
}

// draw begins a drawing with its text alternative. The name is unique on the page.
func draw(name, title, desc string, height float64) *drawing {
	d := &drawing{height: height}
	fmt.Fprintf(&d.b, `<svg viewBox="0 0 %.0f %.0f" role="img" aria-labelledby="%s-title %s-desc" xmlns="http://www.w3.org/2000/svg">`, plotWidth, height, name, name)
	fmt.Fprintf(&d.b, `<title id="%s-title">%s</title><desc id="%s-desc">%s</desc>`, name, html.EscapeString(title), name, html.EscapeString(desc))
	return d
}

func (d *drawing) done() template.HTML {
	d.b.WriteString(`</svg>`)
	return template.HTML(d.b.String())
}

func (d *drawing) rect(x, y, w, h float64, fill string) {
	fmt.Fprintf(&d.b, `<rect x="%.1f" y="%.1f" width="%.2f" height="%.1f" fill="%s"/>`, x, y, w, h, fill)
}

func (d *drawing) line(x1, y1, x2, y2 float64, stroke, more string) {
	fmt.Fprintf(&d.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"%s/>`, x1, y1, x2, y2, stroke, more)
}

func (d *drawing) text(x, y float64, anchor, s string) {
	fmt.Fprintf(&d.b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, x, y, anchor, html.EscapeString(s))
}

// frame draws the box around a plot of a height.
func (d *drawing) frame(height float64) {
	fmt.Fprintf(&d.b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="none" stroke="%s"/>`, plotLeft, plotTop, plotInner, height, inkFrame)
}

// timeAxis draws the instants below a plot of a height.
func (d *drawing) timeAxis(from, to int64, height float64) {
	for _, t := range ticks(from, to) {
		x := across(t.at, from, to)
		d.line(x, plotTop+height, x, plotTop+height+4, inkFrame, "")
		anchor := "middle"
		if x > plotWidth-36 {
			anchor = "end"
		}
		d.text(x, plotTop+height+15, anchor, t.label)
	}
}

// across returns where an instant stands in a plot.
func across(at, from, to int64) float64 {
	share := float64(at-from) / float64(to-from)
	return plotLeft + plotInner*min(max(share, 0), 1)
}

// tick is a mark on the axis of time.
type tick struct {
	at    int64
	label string
}

const ticksMax = 9

// ticks returns round instants of a time, ticksMax at the most.
func ticks(from, to int64) []tick {
	for _, step := range []int64{minute, 5 * minute, 15 * minute, 30 * minute, hour, 2 * hour, 3 * hour, 6 * hour, 12 * hour, day, 2 * day, 7 * day} {
		first := floor(from+step-1, step)
		if (to-first)/step >= ticksMax {
			continue
		}
		layout := "2 Jan"
		if step < day {
			layout = "15:04"
		}
		var list []tick
		for at := first; at < to; at += step {
			t := time.Unix(at, 0).UTC()
			label := t.Format(layout)
			if label == "00:00" {
				label = t.Format("2 Jan")
			}
			list = append(list, tick{at, label})
		}
		return list
	}
	for _, months := range []int{1, 2, 3, 6, 12, 24} {
		list := monthTicks(from, to, months)
		if len(list) <= ticksMax {
			return list
		}
	}
	return nil
}

// monthTicks returns the beginnings of every so many months.
func monthTicks(from, to int64, months int) []tick {
	t := time.Unix(from, 0).UTC()
	at := time.Date(t.Year(), time.January, 1, 0, 0, 0, 0, time.UTC)
	var list []tick
	for ; at.Unix() < to; at = at.AddDate(0, months, 0) {
		if at.Unix() >= from {
			list = append(list, tick{at.Unix(), at.Format("Jan 2006")})
		}
	}
	return list
}

// logScale maps spans of time, nanoseconds, to heights: whole decades.
type logScale struct {
	low, high   float64 // of the decades
	top, bottom float64
}

// decadesMax is how many decades a plot shows: what is less is at its lower edge.
const decadesMax = 7

func newLogScale(least, greatest Nanoseconds, height float64) logScale {
	high := math.Ceil(math.Log10(math.Max(float64(greatest), 10)))
	low := math.Floor(math.Log10(math.Max(float64(least), 1)))
	low = min(max(low, high-decadesMax), high-1)
	return logScale{low: low, high: high, top: plotTop, bottom: plotTop + height}
}

func (s logScale) at(v Nanoseconds) float64 {
	l := s.low
	if v > 0 {
		l = math.Log10(float64(v))
	}
	share := (l - s.low) / (s.high - s.low)
	return s.bottom - (s.bottom-s.top)*min(max(share, 0), 1)
}

// greatestOffset returns the greatest offset of a step by its absolute value.
func (p Point) greatestOffset() Nanoseconds {
	return max(p.OffsetMax, -p.OffsetMax, p.OffsetMin, -p.OffsetMin)
}

// plotBound draws the error bound and the offset in it over the time.
func plotBound(r *Report, c Clock) template.HTML {
	const height = 190.0
	p := r.Profile
	from, to := r.From.Unix(), r.To.Unix()
	least, greatest := p.Warn, p.Tolerance
	var steps int
	for _, q := range c.Points {
		least, greatest = min(least, q.Bound, max(q.greatestOffset(), 1)), max(greatest, q.Bound)
		if q.Bound > p.Tolerance {
			steps++
		}
	}
	desc := fmt.Sprintf("Over time, on a logarithmic scale: the greatest error bound and the greatest offset of each %s, with the tolerance of %s and the warning level of %s. "+
		"%d of %d steps have an error bound beyond the tolerance. The error bound is %s at the most, and the offset %s.",
		lasting(c.Step), length(p.Tolerance), length(p.Warn), steps, len(c.Points), length(c.Bound.Max), length(max(c.Offset.Max, -c.Offset.Min)))
	d := draw("bound-"+c.Name, "Error bound and offset of the "+c.Name+" clock", desc, plotTop+height+24)
	scale := newLogScale(least, greatest, height)
	d.blank(c, from, to, height)
	for decade := scale.low; decade <= scale.high; decade++ {
		v := Nanoseconds(math.Pow(10, decade))
		y := scale.at(v)
		d.line(plotLeft, y, plotLeft+plotInner, y, "#dddddd", "")
		d.text(plotLeft-5, y+3, "end", decadeName(v))
	}
	d.steps(c, from, to, scale, inkOffset, 1, Point.greatestOffset)
	d.steps(c, from, to, scale, inkBound, 1.6, func(p Point) Nanoseconds { return p.Bound })
	y := scale.at(p.Warn)
	d.line(plotLeft, y, plotLeft+plotInner, y, inkWarn, ` stroke-width="1.2" stroke-dasharray="2 3"`)
	y = scale.at(p.Tolerance)
	d.line(plotLeft, y, plotLeft+plotInner, y, inkBreach, ` stroke-width="1.2" stroke-dasharray="7 3"`)
	d.frame(height)
	d.timeAxis(from, to, height)
	return d.done()
}

// decadeName names a power of ten.
func decadeName(v Nanoseconds) string {
	switch {
	case v >= 1e9:
		return fmt.Sprintf("%d s", v/1e9)
	case v >= 1e6:
		return fmt.Sprintf("%d ms", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%d µs", v/1e3)
	}
	return fmt.Sprintf("%d ns", v)
}

// blank shades where nothing could be claimed.
func (d *drawing) blank(c Clock, from, to int64, height float64) {
	end := from
	shade := func(until int64) {
		if until > end {
			x := across(end, from, to)
			d.rect(x, plotTop, across(until, from, to)-x, height, "#eeeeee")
		}
	}
	for _, p := range c.Points {
		shade(p.At)
		end = p.At + c.Step
	}
	shade(to)
}

// steps draws a line that is level over each step, and broken where there is no point.
func (d *drawing) steps(c Clock, from, to int64, scale logScale, ink string, width float64, value func(Point) Nanoseconds) {
	if len(c.Points) == 0 {
		return
	}
	d.b.WriteString(`<path d="`)
	end := int64(math.MinInt64)
	for _, p := range c.Points {
		y := scale.at(value(p))
		if p.At == end {
			fmt.Fprintf(&d.b, "V%.1f", y)
		} else {
			fmt.Fprintf(&d.b, "M%.1f %.1f", across(p.At, from, to), y)
		}
		end = p.At + c.Step
		fmt.Fprintf(&d.b, "H%.1f", across(end, from, to))
	}
	fmt.Fprintf(&d.b, `" fill="none" stroke="%s" stroke-width="%.1f" stroke-linejoin="round"/>`, ink, width)
}

// plotStrip draws the verdicts of each unit.
func plotStrip(r *Report, c Clock) template.HTML {
	const height = 46.0
	from, to := r.From.Unix(), r.To.Unix()
	bad := 0
	for _, cell := range c.Strip {
		if cell.Verdicts.Compliant() < cell.Verdicts.Total() {
			bad++
		}
	}
	desc := fmt.Sprintf("The share of each verdict in each %s. In %d of %d not all seconds were compliant.", lasting(c.Unit), bad, len(c.Strip))
	d := draw("strip-"+c.Name, "Verdicts on the "+c.Name+" clock", desc, plotTop+height+24)
	for _, cell := range c.Strip {
		x := across(cell.At, from, to)
		w := across(cell.At+c.Unit, from, to) - x
		d.stack(x, w, height, cell.Verdicts)
	}
	d.text(plotLeft-5, plotTop+8, "end", "100 %")
	d.text(plotLeft-5, plotTop+height, "end", "0")
	d.frame(height)
	d.timeAxis(from, to, height)
	return d.done()
}

// visible is the least height of what is not OK: a second in a day must be seen.
const visible = 2.0

// stack draws the verdicts of one unit above each other, OK at the bottom. Gaps stay white.
func (d *drawing) stack(x, w, height float64, v Verdicts) {
	total := float64(v.Total())
	if total == 0 {
		return
	}
	parts := []struct {
		seconds int64
		ink     string
	}{{v.Gap, "#ffffff"}, {v.NotJudged, "#dddddd"}, {v.Unknown, inkNone}, {v.Breach, inkBreach}, {v.Warn, inkWarn}}
	y := plotTop
	for _, p := range parts {
		if p.seconds == 0 {
			continue
		}
		h := max(height*float64(p.seconds)/total, visible)
		h = min(h, plotTop+height-y)
		d.rect(x, y, w, h, p.ink)
		y += h
	}
	if v.OK > 0 {
		d.rect(x, y, w, max(plotTop+height-y, 0), inkOK)
	}
}

// plotHistogram draws how often the error bound was how large.
func plotHistogram(r *Report, c Clock) template.HTML {
	const height = 90.0
	bars := c.Histogram
	desc := fmt.Sprintf("How many seconds had an error bound how large, in quarters of an octave. Half of them were within %s, 99 %% within %s, 99.9 %% within %s.",
		length(c.Bound.P50), length(c.Bound.P99), length(c.Bound.P999))
	d := draw("histogram-"+c.Name, "Histogram of the error bound of the "+c.Name+" clock", desc, plotTop+height+24)
	var most uint64
	for _, b := range bars {
		most = max(most, b.Seconds)
	}
	w := plotInner / float64(max(len(bars), 1))
	w = min(w, 24)
	every := max(len(bars)/8, int(math.Ceil(72/w)))
	for i, b := range bars {
		x := plotLeft + w*float64(i)
		ink := inkBound
		if b.UpTo > r.Profile.Tolerance {
			ink = inkBreach
		}
		if b.Seconds > 0 {
			h := max(height*float64(b.Seconds)/float64(most), 1)
			d.rect(x+0.5, plotTop+height-h, max(w-1, 0.5), h, ink)
		}
		if i%every == 0 {
			d.line(x+w, plotTop+height, x+w, plotTop+height+4, inkFrame, "")
			d.text(max(x+w, plotLeft+24), plotTop+height+15, "middle", length(b.UpTo))
		}
	}
	d.text(plotLeft-5, plotTop+8, "end", fmt.Sprintf("%d s", most))
	d.text(plotLeft-5, plotTop+height, "end", "0")
	d.frame(height)
	return d.done()
}
