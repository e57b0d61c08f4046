package report

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"
)

// CSV writes the report for spreadsheets, as RFC 4180: one section after the other, each with a
// row that bears its name, a row of headers and its rows, and an empty row between them. Spans of
// time are nanoseconds, instants RFC 3339. A text that a spreadsheet would take for a formula
// begins with an apostrophe.
func (r *Report) CSV(w io.Writer) error {
	out := table{csv: csv.NewWriter(w)}
	out.csv.UseCRLF = true
	r.csvScope(&out)
	r.csvFigures(&out)
	r.csvSources(&out)
	r.csvIncidents(&out)
	r.csvEvents(&out)
	r.csvCharts(&out)
	r.csvSign(&out)
	out.csv.Flush()
	return out.csv.Error()
}

// table writes sections. Errors stay with the writer.
type table struct {
	csv   *csv.Writer
	begun bool
}

// section begins a section.
func (t *table) section(name string, headers ...string) {
	if t.begun {
		t.csv.Write([]string{""})
	}
	t.begun = true
	t.csv.Write([]string{name})
	t.csv.Write(headers)
}

// row writes a row.
func (t *table) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = cell(c)
	}
	t.csv.Write(row)
}

// left says what was left out of a list.
func (t *table) left(n int) {
	if n > 0 {
		t.row(strconv.Itoa(n) + " more were left out")
	}
}

// cell writes what stands in a cell. Only text can do harm: numbers stay as they are.
func cell(c any) string {
	switch c := c.(type) {
	case string:
		return harmless(c)
	case time.Time:
		return c.Format(time.RFC3339Nano)
	case *time.Time:
		if c == nil {
			return ""
		}
		return c.Format(time.RFC3339Nano)
	case bool:
		return strconv.FormatBool(c)
	case Nanoseconds:
		return strconv.FormatInt(int64(c), 10)
	case int64:
		return strconv.FormatInt(c, 10)
	case uint64:
		return strconv.FormatUint(c, 10)
	case int:
		return strconv.Itoa(c)
	case uint32:
		return strconv.FormatUint(uint64(c), 10)
	case float64:
		return strconv.FormatFloat(c, 'f', -1, 64)
	}
	return ""
}

// harmless returns text that a spreadsheet does not take for a formula, also where it trims
// spaces first.
func harmless(s string) string {
	first := strings.TrimLeft(s, " \u00a0\ufeff")
	if first != "" && strings.ContainsAny(first[:1], "=+-@\t\r\n|%") || strings.HasPrefix(first, "＝") ||
		strings.HasPrefix(first, "＋") || strings.HasPrefix(first, "－") || strings.HasPrefix(first, "＠") {
		return "'" + s
	}
	return s
}

func (r *Report) csvScope(t *table) {
	t.section("scope", "item", "value")
	for _, row := range [][2]any{
		{"node", r.Node}, {"store", r.StoreID}, {"version", r.Version}, {"made", r.Made},
		{"from", r.From}, {"to", r.To}, {"seconds", r.Seconds}, {"served clock is the system clock", r.Same},
		{"journal head", r.Journal.Head}, {"journal key", r.Journal.PublicKey},
		{"first evidence sequence", r.Journal.First}, {"last evidence sequence", r.Journal.Last},
		{"review due", r.ReviewDue}, {"review due because", r.ReviewWhy},
	} {
		t.row(row[0], row[1])
	}
	p := r.Profile
	t.section("profile", "item", "value")
	for _, row := range [][2]any{
		{"name", p.Name}, {"title", p.Title}, {"tolerance ns", p.Tolerance}, {"warn ns", p.Warn},
		{"sources at least", p.MinSources}, {"NIST sources at least", p.MinNIST}, {"sites at least", p.MinSites},
		{"check before the market opens", p.PreOpen}, {"calendar", p.Calendar}, {"holidays", strings.Join(p.Holidays, " ")},
		{"retention seconds", p.RetentionSeconds}, {"self-report factor", p.SelfReportFactor}, {"self-report count in 24 h", p.SelfReportCount},
	} {
		t.row(row[0], row[1])
	}
	t.section("method", "sentence")
	for _, m := range r.Method {
		t.row(m)
	}
	t.section("chain to UTC(NIST)", "sentence")
	for _, c := range r.Chain {
		t.row(c)
	}
}

func (r *Report) csvFigures(t *table) {
	t.section("seconds", "clock", "ok", "warn", "breach", "unknown", "not judged", "gap", "compliant share", "no error bound")
	for _, c := range r.Clocks {
		v := c.Verdicts
		t.row(c.Name, v.OK, v.Warn, v.Breach, v.Unknown, v.NotJudged, v.Gap, c.Compliant, c.Unclaimed)
	}
	t.section("figures", "clock", "of", "samples", "min ns", "max ns", "mean ns", "sd ns", "p50 ns", "p99 ns", "p99.9 ns")
	for _, c := range r.Clocks {
		for _, f := range []struct {
			of string
			Figures
		}{{"error bound", c.Bound}, {"offset", c.Offset}} {
			t.row(c.Name, f.of, f.Samples, f.Min, f.Max, f.Mean, f.SD, f.P50, f.P99, f.P999)
		}
	}
	o := r.Overall
	t.section("overall", "item", "value")
	tai := any("")
	if o.TAIOffset != nil {
		tai = int64(*o.TAIOffset)
	}
	for _, row := range [][2]any{
		{"seconds observed", o.Observed}, {"seconds not observed", o.Gap}, {"sources agreeing at least", o.AgreeingMin},
		{"NIST sources agreeing at least", o.AgreeingNISTMin}, {"seconds smeared", o.Smeared}, {"TAI minus UTC", tai},
		{"breaches", r.Breaches.Total}, {"self-report candidates", o.SelfReports}, {"breaches not acknowledged", o.Unacknowledged},
		{"checks passed", o.PreOpenPassed}, {"checks failed", o.PreOpenFailed},
	} {
		t.row(row[0], row[1])
	}
}

func (r *Report) csvSources(t *table) {
	t.section("sources", "number", "name", "address", "site", "nist", "provider error ns", "stratum", "refid", "measurements", "agreed seconds", "agreed share",
		"offset min ns", "offset max ns", "offset mean ns", "offset sd ns", "delay min ns", "delay mean ns")
	for _, s := range r.Sources.Items {
		t.row(s.Number, s.Name, s.Address, s.Site, s.NIST, s.ProviderError, s.Stratum, s.RefID, s.Measured, s.Agreed, s.AgreedShare,
			s.OffsetMin, s.OffsetMax, s.OffsetMean, s.OffsetSD, s.DelayMin, s.DelayMean)
	}
	t.left(r.Sources.Left())
}

func (r *Report) csvIncidents(t *table) {
	t.section("gaps", "from", "to", "seconds", "cause")
	for _, g := range r.Gaps.Items {
		t.row(g.From, g.To, g.Seconds, g.Cause)
	}
	t.left(r.Gaps.Left())
	t.section("breaches", "id", "clock", "from", "to", "worst", "peak ns", "peak offset ns", "tolerance ns", "cause", "sources", "told",
		"acknowledged by", "acknowledged", "note", "in 24 h", "self-report")
	for _, b := range r.Breaches.Items {
		t.row(b.ID, b.Clock, b.From, b.To, b.Worst, b.Peak, b.PeakOffset, b.Tolerance, b.Cause, strings.Join(b.Sources, "; "),
			strings.Join(b.Told, "; "), b.AcknowledgedBy, b.Acknowledged, b.Note, b.In24h, b.SelfReport)
	}
	t.left(r.Breaches.Left())
	t.section("checks before the market opens", "day", "at", "passed", "sentence", "error bound ns", "agreeing", "agreeing nist")
	for _, d := range r.PreOpens.Items {
		t.row(d.Day, d.At, d.Passed, d.Sentence, d.Bound, d.Agreeing, d.AgreeingNIST)
	}
	t.left(r.PreOpens.Left())
	t.section("alarms", "name", "labels", "severity", "from", "to", "sentence")
	for _, a := range r.Alarms.Items {
		t.row(a.Name, labels(a.Labels), a.Severity, a.From, a.To, a.Sentence)
	}
	t.left(r.Alarms.Left())
}

func (r *Report) csvEvents(t *table) {
	t.section("clock changes", "at", "from", "state", "reason", "source", "stratum", "step ns")
	for _, c := range r.Changes.Items {
		t.row(c.At, c.From, c.State, c.Reason, c.Source, c.Stratum, c.Step)
	}
	t.left(r.Changes.Left())
	t.section("configuration changes", "at", "who", "key", "old", "new", "waits for a start", "hash")
	for _, c := range r.Configs.Items {
		t.row(c.At, c.Who, c.Key, c.Old, c.New, c.Waits, c.Hash)
	}
	t.left(r.Configs.Left())
	t.section("starts", "at", "version", "node", "mode", "stopped in order before", "config hash")
	for _, s := range r.Versions.Items {
		t.row(s.At, s.Version, s.Node, s.Mode, s.Clean, s.Hash)
	}
	t.left(r.Versions.Left())
	t.section("stops", "at", "cause")
	for _, s := range r.Stops.Items {
		t.row(s.At, s.Cause)
	}
	t.left(r.Stops.Left())
	t.section("alert channels", "channel", "tests", "tests failed", "last test", "messages", "messages failed", "last fault")
	for _, c := range r.Channels {
		t.row(c.Name, c.Tests, c.TestsFailed, c.LastTest, c.Told, c.ToldFailed, c.Fault)
	}
	t.section("operators' decisions", "at", "who", "what", "result")
	for _, a := range r.Operated.Items {
		t.row(a.At, a.Who, a.What, a.Result)
	}
	t.left(r.Operated.Left())
	t.section("new signing keys", "at", "key", "reason")
	for _, k := range r.Journal.Keys.Items {
		t.row(k.At, k.PublicKey, k.Reason)
	}
	t.left(r.Journal.Keys.Left())
}

func (r *Report) csvCharts(t *table) {
	t.section("error bound and offset over time", "clock", "from", "seconds", "error bound max ns", "offset min ns", "offset max ns")
	for _, c := range r.Clocks {
		for _, p := range c.Points {
			t.row(c.Name, time.Unix(p.At, 0).UTC(), c.Step, p.Bound, p.OffsetMin, p.OffsetMax)
		}
	}
	t.section("verdicts over time", "clock", "from", "unit seconds", "ok", "warn", "breach", "unknown", "not judged", "gap")
	for _, c := range r.Clocks {
		for _, p := range c.Strip {
			v := p.Verdicts
			t.row(c.Name, time.Unix(p.At, 0).UTC(), c.Unit, v.OK, v.Warn, v.Breach, v.Unknown, v.NotJudged, v.Gap)
		}
	}
	t.section("histogram of the error bound", "clock", "up to ns", "seconds")
	for _, c := range r.Clocks {
		for _, b := range c.Histogram {
			t.row(c.Name, b.UpTo, b.Seconds)
		}
	}
}

func (r *Report) csvSign(t *table) {
	t.section("sign-off", "role", "name", "date", "signature")
	t.row("prepared by", "", "", "")
	t.row("reviewed by", "", "", "")
}
