package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// cell is one cell of a table; the first of a row is set to the left.
type cell = string

// writeTable writes rows with their columns aligned.
func writeTable(out io.Writer, rows [][]cell) {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if i == 0 {
				line.WriteString(c + pad)
			} else {
				line.WriteString("  " + pad + c)
			}
		}
		fmt.Fprintln(out, strings.TrimRight(line.String(), " "))
	}
}

// writeReport prints the results for people.
func writeReport(out io.Writer, r *results) {
	m, s := r.Machine, r.Settings
	fmt.Fprintf(out, "NTP servers on one CPU each, over loopback: medians of %d rounds, bursts of %g s\n", s.Rounds, s.Seconds)
	fmt.Fprintf(out, "%s, %d CPUs, Linux %s, %s, %s\n\n", m.Model, m.CPUs, m.Kernel, m.Go, m.When.Format("2006-01-02 15:04 MST"))
	writeTable(out, r.overview())
	fmt.Fprintln(out, "\nmedian, and least … most of the rounds")
	writeTable(out, r.details())
	fmt.Fprintln(out, "\nwhat we hold ourselves to: ours, and least … most of the rounds")
	writeTable(out, r.judgement())
	fmt.Fprintln(out)
	var rows [][]cell
	for _, c := range r.Contenders {
		rows = append(rows, []cell{strings.TrimSpace(c.Name+" "+c.Version) + ": " + c.What})
	}
	writeTable(out, rows)
	writeDisturbance(out, r)
	for _, note := range r.Notes {
		fmt.Fprintln(out, "note:", note)
	}
}

// writeDisturbance says how much of the bursts the machine gave to others.
func writeDisturbance(out io.Writer, r *results) {
	var servers, load []float64
	for _, s := range r.Samples {
		if s.Burst != nil {
			servers = append(servers, share(s.Burst.ServerWait, s.Burst.Seconds))
			load = append(load, share(s.Burst.LoadWait, s.Burst.Seconds))
		}
	}
	w, l := spreadOf(servers), spreadOf(load)
	fmt.Fprintf(out, "disturbance, as the share of a burst spent ready and without a CPU, median and most:\n")
	fmt.Fprintf(out, "  servers %.1f %%, %.1f %%; generator %.1f %%, %.1f %%; load average at the start %s\n", w.Median, w.Most, l.Median, l.Most, r.Machine.Load)
}

// overview has a row for each contender: the table of the design.
func (r *results) overview() [][]cell {
	wanted := []struct{ measurement, figure, head string }{
		{highest, highestFigure, "max k/s"},
		{saturation, rateFigure, "sat. k/s"},
		{saturation, cpuFigure, "CPU-µs/answer"},
		{saturation, offsetFigure, "offset p50, µs"},
		{saturation, receiveFigure, "T2−T1, µs"},
		{saturation, turnFigure, "T3−T2, µs"},
		{roundTrip, tripFigure, "trip, µs"},
	}
	rows := [][]cell{{"NTP server"}}
	for _, w := range wanted {
		rows[0] = append(rows[0], w.head)
	}
	for _, c := range r.Contenders {
		row := []cell{c.Name}
		for _, w := range wanted {
			row = append(row, r.median(c.Name, w.measurement, w.figure))
		}
		rows = append(rows, row)
	}
	return rows
}

// median is one figure as text, marked where the generator and not the server set it.
func (r *results) median(contender, measurement, name string) cell {
	for _, f := range figures() {
		if f.measurement != measurement || f.name != name {
			continue
		}
		s := r.spread(contender, f)
		if s.N == 0 {
			return "-"
		}
		text := number(s.Median, f.decimals)
		if measurement == highest && r.loadLimited(contender) {
			text = "≥ " + text
		}
		return text
	}
	return ""
}

// loadLimited reports whether the generator set the highest rate in any round.
func (r *results) loadLimited(contender string) bool {
	return slices.ContainsFunc(r.Samples, func(s sample) bool {
		return s.Contender == contender && s.Sweep != nil && s.Sweep.LoadLimited
	})
}

// details has every figure, and below it the spread.
func (r *results) details() [][]cell {
	var shown []*contender
	head := []cell{""}
	for _, c := range r.Contenders {
		if c.Only == "" {
			shown = append(shown, c)
			head = append(head, c.Name)
		}
	}
	rows := [][]cell{head}
	last := ""
	for _, f := range figures() {
		if f.measurement != last {
			rows = append(rows, []cell{f.measurement})
			last = f.measurement
		}
		medians, spreads := []cell{"  " + f.name}, []cell{""}
		found := false
		for _, c := range shown {
			s := r.spread(c.Name, f)
			if s.N == 0 {
				medians, spreads = append(medians, "-"), append(spreads, "")
				continue
			}
			found = true
			medians = append(medians, r.median(c.Name, f.measurement, f.name))
			spreads = append(spreads, number(s.Least, f.decimals)+" … "+number(s.Most, f.decimals))
		}
		if found {
			rows = append(rows, medians, spreads)
		} else {
			rows = append(rows, medians)
		}
	}
	return rows
}

// judgement has a row for each target.
func (r *results) judgement() [][]cell {
	var rows [][]cell
	for _, o := range r.Targets {
		row := []cell{o.Target, fmt.Sprintf("%s %.2f", o.Sign, o.Limit)}
		if o.Measured.N > 0 {
			row = append(row, number(o.Measured.Median, 3), number(o.Measured.Least, 3)+" … "+number(o.Measured.Most, 3))
		} else {
			row = append(row, "-", "")
		}
		rows = append(rows, append(row, o.Verdict))
	}
	return rows
}

// number is a figure as text. A zero has no sign.
func number(v float64, decimals int) string {
	text := fmt.Sprintf("%.*f", decimals, v)
	if strings.Trim(text, "-0.") == "" {
		text = strings.TrimPrefix(text, "-")
	}
	return text
}

// writeJSON writes everything, where it was asked for.
func writeJSON(o *options, what any) error {
	if o.JSON == "" {
		return nil
	}
	text, err := json.MarshalIndent(what, "", "\t")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if o.JSON == "-" {
		_, err = o.out.Write(text)
		return err
	}
	return os.WriteFile(o.JSON, text, 0o644)
}
