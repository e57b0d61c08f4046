package web

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/ntpserver"
)

const (
	// pointsMax is how many points a chart has at the most: a screen shows no more, and every
	// load carries them.
	pointsMax = 100
	// barsMax is the same for lines that have error bars.
	barsMax = 20
	// rowsMax is how many rows the table of a chart has at the most.
	rowsMax = 6
	// gridMax bounds what a history can make us hold, in steps.
	gridMax = 10_000
)

// unit is what a chart's values are in.
type unit string

const (
	inSeconds   unit = "s"
	inPPM       unit = "ppm"
	inPerSecond unit = "/s"
	inNumber    unit = ""
)

// text is a value in words.
func (u unit) text(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case u == inSeconds:
		return secondsText(v)
	case u == inPPM:
		return ppm(v) + "\u00a0ppm"
	default:
		return apart(digits(v, false)) + string(u)
	}
}

// between are two values in words, with one unit where they have the same.
func (u unit) between(a, b float64) string {
	first, second := u.text(a), u.text(b)
	if i := strings.LastIndex(first, "\u00a0"); i >= 0 && strings.HasSuffix(second, first[i:]) {
		first = first[:i]
	}
	return strings.TrimSuffix(first, "/s") + " to " + second
}

// figure is one chart, with what it shows in words and as a table.
type figure struct {
	ID, Title string
	About     string // how to read it
	Text      []sentence
	Head      []string
	Rows      [][]string

	unit  unit
	grid  grid
	lines []line
}

// sentence says what a line of a chart comes to.
type sentence struct{ Label, Words string }

// line is one line of a chart, on the chart's grid. NaN: not known.
type line struct {
	label          string
	mean, min, max []float64
	bar            []float64 // half the length of its error bars; nil: it has none
	greatest       bool      // its greatest values are drawn, not its means
}

// drawn are the values that are drawn.
func (l *line) drawn() []float64 {
	if l.greatest {
		return l.max
	}
	return l.mean
}

// grid is the instants of a chart: every step from start on, gaps among them.
type grid struct {
	start int64 // Unix seconds
	step  int64 // seconds
	n     int
}

// gridOf returns the grid of a history.
func gridOf(h *rpc.HistoryResponse) grid {
	at := h.GetAt()
	if len(at) == 0 || h.GetStep() == 0 {
		return grid{}
	}
	g := grid{start: at[0], step: int64(h.Step)}
	g.n = int(min(max((at[len(at)-1]-g.start)/g.step+1, 1), gridMax))
	return g
}

// coarser returns a grid with at most so many instants, and how many steps each has.
func (g grid) coarser(most int) (grid, int) {
	k := max(1, (g.n+most-1)/most)
	return grid{start: g.start, step: g.step * int64(k), n: (g.n + k - 1) / k}, k
}

// lineOf puts a series on a grid of at most so many instants.
func lineOf(label string, h *rpc.HistoryResponse, s *rpc.Series, most int) line {
	fine := gridOf(h)
	if fine.n == 0 {
		return line{label: label}
	}
	g, k := fine.coarser(most)
	l := line{label: label, mean: unknown(g.n), min: unknown(g.n), max: unknown(g.n)}
	sums, counts := make([]float64, g.n), make([]float64, g.n)
	for i, at := range h.At {
		j := int((at - fine.start) / fine.step)
		if i >= len(s.Mean) || j < 0 || j >= fine.n || math.IsNaN(s.Mean[i]) || math.IsInf(s.Mean[i], 0) {
			continue
		}
		j /= k
		sums[j] += s.Mean[i]
		counts[j]++
		l.mean[j] = sums[j] / counts[j]
		low, high := s.Mean[i], s.Mean[i]
		if i < len(s.Min) && i < len(s.Max) && !math.IsInf(s.Min[i], 0) && !math.IsInf(s.Max[i], 0) {
			low, high = s.Min[i], s.Max[i]
		}
		l.min[j] = lesser(l.min[j], low)
		l.max[j] = greater(l.max[j], high)
	}
	return l
}

func unknown(n int) []float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = math.NaN()
	}
	return values
}

// lesser and greater take a value that is not known for none.
func lesser(a, b float64) float64 {
	if a < b || math.IsNaN(b) {
		return a
	}
	return b
}

func greater(a, b float64) float64 {
	if a > b || math.IsNaN(b) {
		return a
	}
	return b
}

// answeredSeries are those of the requests that were answered.
func answeredSeries() []string {
	var all []string
	for _, v := range []ntpserver.Verdict{ntpserver.Answered, ntpserver.AnsweredInterleaved, ntpserver.AnsweredMissed, ntpserver.AnsweredLeak} {
		all = append(all, compliance.VerdictSeries(v.String()))
	}
	return all
}

// sumOf adds series up, step by step; nil where there is none of them.
func sumOf(h *rpc.HistoryResponse, names []string) *rpc.Series {
	var sum *rpc.Series
	for _, s := range h.GetSeries() {
		if !slices.Contains(names, s.Name) {
			continue
		}
		if sum == nil {
			sum = &rpc.Series{Mean: unknown(len(h.At))}
		}
		for i := range min(len(sum.Mean), len(s.Mean)) {
			switch {
			case math.IsNaN(s.Mean[i]):
			case math.IsNaN(sum.Mean[i]):
				sum.Mean[i] = s.Mean[i]
			default:
				sum.Mean[i] += s.Mean[i]
			}
		}
	}
	return sum
}

// figuresOf are the charts of a history, all of them, also those of which nothing is known.
func figuresOf(h *rpc.HistoryResponse, s span) []figure {
	find := func(name string) *rpc.Series {
		for _, s := range h.GetSeries() {
			if s.Name == name {
				return s
			}
		}
		return nil
	}
	figures := []figure{
		{ID: "bound", Title: "Error bound and offset", unit: inSeconds, About: "The clock is inside the band; the line is what is known and not yet corrected."},
		{ID: "sources", Title: "Offset of each source", unit: inSeconds, About: "Bars are how far each can be wrong, by its own claims and by the way to it."},
		{ID: "frequency", Title: "Frequency correction, ppm", unit: inPPM},
		{ID: "ntp", Title: "NTP requests per second", unit: inPerSecond},
		{ID: "clients", Title: "NTP clients", unit: inNumber},
		{ID: "issued", Title: "Hybrid timestamps per second", unit: inPerSecond},
		{ID: "lead", Title: "Lead and ceiling of the hybrid clock", unit: inSeconds, About: "The ceiling is how far above the last timestamp may be issued without a write."},
		{ID: "events", Title: "Events appended per second", unit: inPerSecond},
	}
	for i := range figures {
		f := &figures[i]
		most := pointsMax
		add := func(label string, s *rpc.Series) *line {
			if s == nil {
				return &line{}
			}
			f.lines = append(f.lines, lineOf(label, h, s, most))
			return &f.lines[len(f.lines)-1]
		}
		switch f.ID {
		case "bound":
			add("Error bound", find(compliance.SeriesBound)).greatest = true
			add("Offset", find(compliance.SeriesOffset))
		case "sources":
			most = barsMax
			f.lines = sourceLines(h, find)
		case "frequency":
			add("Frequency", find(compliance.SeriesFrequency))
		case "ntp":
			f.lines = verdictLines(h)
		case "clients":
			add("Clients", find(compliance.SeriesClients))
		case "issued":
			add("Timestamps", find(compliance.SeriesIssued))
		case "lead":
			add("Lead", find(compliance.SeriesLead)).greatest = true
			add("Ceiling above it", find(compliance.SeriesCeiling))
		case "events":
			add("Events", find(compliance.SeriesEvents))
		}
		f.grid, _ = gridOf(h).coarser(most)
		f.tell(s)
	}
	return figures
}

func sourceLines(h *rpc.HistoryResponse, find func(string) *rpc.Series) (lines []line) {
	names := make(map[string]int)
	for _, s := range h.GetSeries() {
		if name, _, ok := compliance.SourceOfOffset(s.Name); ok {
			names[name]++
		}
	}
	for _, s := range h.GetSeries() {
		name, address, ok := compliance.SourceOfOffset(s.Name)
		if !ok {
			continue
		}
		_, bound := compliance.SourceSeries(name, address)
		if names[name] > 1 {
			name += " " + address
		}
		l := lineOf(name, h, s, barsMax)
		if b := find(bound); b != nil {
			l.bar = lineOf("", h, b, barsMax).mean
		}
		lines = append(lines, l)
	}
	return lines
}

// verdictLines are the NTP requests by what became of them, as far as a person cares.
func verdictLines(h *rpc.HistoryResponse) (lines []line) {
	answered := answeredSeries()
	taken := slices.Clone(answered)
	series := func(verdicts ...ntpserver.Verdict) (names []string) {
		for _, v := range verdicts {
			names = append(names, compliance.VerdictSeries(v.String()))
		}
		taken = append(taken, names...)
		return names
	}
	groups := []struct {
		label string
		names []string
	}{
		{"Answered", answered},
		{"Above their rate", series(ntpserver.KissRate, ntpserver.DropRate)},
		{"Denied", series(ntpserver.DropDenied)},
		{"Not understood", nil},
	}
	for _, v := range ntpserver.Verdicts() {
		if name := compliance.VerdictSeries(v.String()); !slices.Contains(taken, name) {
			groups[3].names = append(groups[3].names, name)
		}
	}
	for _, g := range groups {
		if sum := sumOf(h, g.names); sum != nil {
			lines = append(lines, lineOf(g.label, h, sum, pointsMax))
		}
	}
	return lines
}

// extent is what the values of a line come to.
type extent struct{ least, mean, greatest, last float64 }

// extentOf returns what a line comes to; false where nothing is known.
func extentOf(l *line) (e extent, ok bool) {
	e = extent{math.NaN(), math.NaN(), math.NaN(), math.NaN()}
	sum, n := 0.0, 0
	for i, v := range l.mean {
		if math.IsNaN(v) {
			continue
		}
		sum += v
		n++
		e.least, e.greatest, e.last = lesser(e.least, l.min[i]), greater(e.greatest, l.max[i]), l.drawn()[i]
	}
	e.mean = sum / float64(n)
	return e, n > 0
}

// tell says what a chart shows in words and as a table.
func (f *figure) tell(s span) {
	if f.ID == "sources" {
		f.Head = []string{"Source", "least", "mean", "greatest", "last", "error bars"}
	} else {
		f.Head = []string{"UTC"}
	}
	for i := range f.lines {
		l := &f.lines[i]
		e, ok := extentOf(l)
		if !ok {
			continue
		}
		least, mean, greatest, last := f.unit.text(e.least), f.unit.text(e.mean), f.unit.text(e.greatest), f.unit.text(e.last)
		if f.ID == "sources" {
			bar := "–"
			if l.bar != nil {
				bar = "± " + f.unit.text(l.bar[len(l.bar)-1])
			}
			f.Rows = append(f.Rows, []string{l.label, least, mean, greatest, last, bar})
			continue
		}
		f.Head = append(f.Head, l.label)
		f.Text = append(f.Text, sentence{l.label, fmt.Sprintf("least %s, mean %s, greatest %s, last %s.", least, mean, greatest, last)})
	}
	switch {
	case f.ID == "sources" && f.Rows != nil:
		f.Text = []sentence{{"", fmt.Sprintf("%d sources were heard; the table has each.", len(f.Rows))}}
	case f.Text == nil:
		f.Text = []sentence{{"", "No history yet."}}
	case f.ID != "sources":
		f.Rows = f.byTime(s)
	}
	if gaps := f.gaps(); gaps > 0 && f.ID == "bound" && f.Rows != nil {
		f.Text = append(f.Text, sentence{"", "Nothing is known of " + lasting(gaps*int64(time.Second)) + "."})
	}
}

// gaps is how many seconds nothing is known of, to a step.
func (f *figure) gaps() (seconds int64) {
	for i := range f.grid.n {
		if !slices.ContainsFunc(f.lines, func(l line) bool { return !math.IsNaN(l.mean[i]) }) {
			seconds += f.grid.step
		}
	}
	return seconds
}

// byTime is the table of a chart: the mean of each line, and for the error bound the least and the
// greatest too, since a mean proves nothing.
func (f *figure) byTime(s span) (rows [][]string) {
	layout := "15:04"
	if s.value != rpc.HistorySpan_HISTORY_SPAN_HOUR {
		layout = "01-02 15:04"
	}
	g, k := f.grid.coarser(rowsMax)
	for row := range g.n {
		cells := []string{time.Unix(g.start+int64(row)*g.step, 0).UTC().Format(layout)}
		for i := range f.lines {
			l := &f.lines[i]
			part := line{mean: l.mean[row*k : min(row*k+k, len(l.mean))], min: l.min[row*k:], max: l.max[row*k:]}
			e, ok := extentOf(&part)
			switch {
			case !ok:
				cells = append(cells, "–")
			case f.ID != "bound" || e.least == e.greatest:
				cells = append(cells, f.unit.text(e.mean))
			default:
				cells = append(cells, f.unit.text(e.mean)+" ("+f.unit.between(e.least, e.greatest)+")")
			}
		}
		rows = append(rows, cells)
	}
	return rows
}
