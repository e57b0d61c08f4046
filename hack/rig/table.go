package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// tableCommand writes the tables of results that run kept.
func tableCommand(files []string, out io.Writer) error {
	if len(files) == 0 {
		return errUsage
	}
	var all []result
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var some []result
		err = json.Unmarshal(text, &some)
		if err != nil {
			return fmt.Errorf("read results %s: %w", name, err)
		}
		all = append(all, some...)
	}
	return writeTable(out, all)
}

// column is one figure of the table, which every contender has.
type column struct {
	title  string
	figure func(result) float64
	digits int
	sum    bool // over the repeats; else the median
	ratio  bool // of ours to the other's, too
}

func accuracyColumns() []column {
	return []column{
		{title: "rms true error, µs", figure: func(r result) float64 { return r.RMSUs }, digits: 1, ratio: true},
		{title: "worst, µs", figure: func(r result) float64 { return r.WorstUs }, ratio: true},
		{title: "maxerror, median, ms", figure: func(r result) float64 { return r.MaxErrorMedianUs / 1e3 }, digits: 2, ratio: true},
		{title: "violated", figure: func(r result) float64 { return float64(r.Violations) }, sum: true},
	}
}

func courseColumns() []column {
	return []column{
		{title: "below 1 ms after, s", figure: func(r result) float64 { return r.WithinSeconds }},
		{title: "steps", figure: func(r result) float64 { return float64(r.Steps) }, sum: true},
		{title: "of them backward", figure: func(r result) float64 { return float64(r.StepsBack) }, sum: true},
		{title: "not synchronised, %", figure: func(r result) float64 { return 100 * r.Unsynchronised }, digits: 1},
		{title: "maxerror, worst, ms", figure: func(r result) float64 { return r.MaxErrorWorstUs / 1e3 }, digits: 2},
		{title: "maxerror not told for, s", figure: func(r result) float64 { return r.MaxErrorRewritten }},
		{title: "rate left behind off by, ppm", figure: func(r result) float64 { return r.EndRateErrorPPM }, digits: 3},
	}
}

// writeTable writes both tables as Markdown, aligned for a terminal too.
func writeTable(out io.Writer, results []result) error {
	for _, columns := range [][]column{accuracyColumns(), courseColumns()} {
		err := writeColumns(out, results, columns)
		if err != nil {
			return err
		}
	}
	return nil
}

func writeColumns(out io.Writer, results []result, columns []column) error {
	contenders := namesIn(results, func(r result) string { return r.Contender })
	slices.Sort(contenders) // chronyd, then ours
	t := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	header := []string{"scenario", "runs × hours"}
	for _, c := range columns {
		for _, name := range contenders {
			header = append(header, c.title+": "+name)
		}
		if c.ratio && len(contenders) == 2 {
			header = append(header, "ratio")
		}
	}
	writeRow(t, header)
	writeRow(t, slices.Repeat([]string{"---"}, len(header)))
	for _, s := range namesIn(results, func(r result) string { return r.Scenario }) {
		cells := make([][]result, len(contenders))
		for i, name := range contenders {
			for _, r := range results {
				if r.Scenario == s && r.Contender == name {
					cells[i] = append(cells[i], r)
				}
			}
		}
		writeRow(t, row(s, cells, columns))
	}
	fmt.Fprintln(t)
	return t.Flush()
}

// row is one scenario's: cells holds the results of each contender.
func row(name string, cells [][]result, columns []column) []string {
	runs, hours := 0, 0.0
	for _, c := range cells {
		runs = max(runs, len(c))
		if len(c) > 0 {
			hours = c[0].Hours
		}
	}
	fields := []string{name, fmt.Sprintf("%d × %.3g", runs, hours)}
	for _, c := range columns {
		for _, results := range cells {
			fields = append(fields, c.cell(results))
		}
		if c.ratio && len(cells) == 2 {
			fields = append(fields, c.quotient(cells[0], cells[1]))
		}
	}
	return fields
}

func (c column) cell(results []result) string {
	if len(results) == 0 {
		return ""
	}
	var values []float64
	total := 0.0
	for _, r := range results {
		values = append(values, c.figure(r))
		total += c.figure(r)
	}
	if c.sum {
		return fmt.Sprintf("%.*f", c.digits, total)
	}
	if slices.Min(values) < 0 { // in one of them never
		return "never"
	}
	return fmt.Sprintf("%.*f", c.digits, median(values))
}

// quotient is the median of the repeats' ratios, ours to the other's: what
// disturbed a repeat disturbed both.
func (c column) quotient(theirs, ours []result) string {
	var ratios []float64
	for _, t := range theirs {
		for _, o := range ours {
			if t.Repeat == o.Repeat && c.figure(t) != 0 {
				ratios = append(ratios, c.figure(o)/c.figure(t))
			}
		}
	}
	m := median(ratios)
	if math.IsNaN(m) {
		return ""
	}
	return fmt.Sprintf("%.2f", m)
}

func writeRow(w io.Writer, fields []string) {
	fmt.Fprintln(w, "|\t"+strings.Join(fields, "\t|\t")+"\t|") // into memory: Flush reports
}

// namesIn are the names that results have, in their order of appearance.
func namesIn(results []result, name func(result) string) []string {
	first := map[string]int{}
	for i, r := range results {
		if _, seen := first[name(r)]; !seen {
			first[name(r)] = i
		}
	}
	var names []string
	for n := range first {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(first[a], first[b]) })
	return names
}
