package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
)

//go:embed page.html.tmpl
var page string

// HTML writes the report as one page that can be printed: no script, nothing from elsewhere,
// plots as SVG within it.
func (r *Report) HTML(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"at": clockTime, "until": until, "length": length, "signed": signed, "mean": lengthOf,
		"percent": percent, "lasting": lasting, "labels": labels, "join": func(s []string) string { return strings.Join(s, ", ") },
		"count": plural, "summary": summary, "incident": incident, "witnesses": witnesses,
		"bound":     func(c Clock) template.HTML { return plotBound(r, c) },
		"strip":     func(c Clock) template.HTML { return plotStrip(r, c) },
		"histogram": func(c Clock) template.HTML { return plotHistogram(r, c) },
	}).Parse(page)
	if err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	return t.Execute(w, r)
}

// until writes the end of what may go on.
func until(t *time.Time) string {
	if t == nil {
		return "goes on"
	}
	return clockTime(*t)
}

// incident writes the largest error bound of a breach.
func incident(peak Nanoseconds) string {
	if peak < 0 {
		return "none could be claimed"
	}
	return length(peak)
}

// summary says in a sentence what a clock came to.
func summary(r *Report, c Clock) string {
	v := c.Verdicts
	head := fmt.Sprintf("The %s clock was proven to be within %s of UTC in %d of %d seconds: %s.",
		c.Name, length(r.Profile.Tolerance), v.Compliant(), v.Total(), percent(c.Compliant))
	var rest []string
	for _, part := range []struct {
		seconds int64
		what    string
	}{{v.Breach, "beyond it"}, {v.Unknown, "without proof"}, {v.NotJudged, "not judged"}, {v.Gap, "not observed"}} {
		if part.seconds > 0 {
			rest = append(rest, lasting(part.seconds)+" "+part.what)
		}
	}
	if len(rest) == 0 {
		return head
	}
	return head + " The rest is not compliant: " + strings.Join(rest, ", ") + "."
}
