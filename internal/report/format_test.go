package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// write3 writes a report in all formats, checks their form and returns them.
func write3(t *testing.T, r *Report) (page, table string) {
	t.Helper()
	var h, c, j bytes.Buffer
	for _, err := range []error{r.HTML(&h), r.CSV(&c), r.JSON(&j)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	checkHTML(t, h.String())
	if null := regexp.MustCompile(`"(items|sources|told|holidays|points|strip|histogram|alert_channels)": null`).FindString(j.String()); null != "" {
		t.Error(null)
	}
	var back Report
	d := json.NewDecoder(&j)
	d.DisallowUnknownFields()
	if err := d.Decode(&back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, &back, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	return h.String(), c.String()
}

// checkHTML demands a page that is well-formed as XML but for its empty elements, whose drawings
// have numbers only, a title and a description, and which asks nobody for anything.
func checkHTML(t *testing.T, page string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict = false
	d.AutoClose = []string{"meta", "br"}
	d.Entity = xml.HTMLEntity
	var open []string
	ids := map[string]bool{}
	drawings := 0
	for {
		tok, err := d.RawToken()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := tok.(type) {
		case xml.StartElement:
			name := e.Name.Local
			if name == "script" || name == "link" || name == "img" || name == "iframe" {
				t.Errorf("the page has a %s", name)
			}
			for _, a := range e.Attr {
				if a.Name.Local == "id" && ids[a.Value] {
					t.Errorf("two elements with id %q", a.Value)
				} else if a.Name.Local == "id" {
					ids[a.Value] = true
				}
				if a.Name.Local == "href" || a.Name.Local == "src" || strings.HasPrefix(a.Name.Local, "on") {
					t.Errorf("the page has %s=%q", a.Name.Local, a.Value)
				}
			}
			if name == "svg" {
				drawings++
			}
			if name != "meta" && name != "br" {
				open = append(open, name)
			}
		case xml.EndElement:
			if len(open) == 0 || open[len(open)-1] != e.Name.Local {
				t.Fatalf("%s ends within %v", e.Name.Local, open)
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 || drawings == 0 || drawings%3 != 0 {
		t.Errorf("open at the end: %v; %d drawings", open, drawings)
	}
	for _, m := range regexp.MustCompile(`aria-labelledby="([^ ]+) ([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if !ids[m[1]] || !ids[m[2]] {
			t.Errorf("no title or description %v", m)
		}
	}
	if bad := regexp.MustCompile(`NaN|Inf|="-[0-9.]+"|%!|ZgotmplZ`).FindString(page); bad != "" {
		t.Errorf("the page has %q", bad)
	}
}

func TestFormats(t *testing.T) {
	m, from, to := eventful()
	r := build(t, m, from, to)
	r.Sources.Total += 3

	r.Changes.Items[0].Step = -math.MaxInt64 // a number that JSON cannot hold
	page, table := write3(t, r)
	if keep := os.Getenv("REPORT_PAGE"); keep != "" {
		if err := os.WriteFile(keep, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"it is &lt;b&gt;back&lt;/b&gt;", "3 more were left out", "not acknowledged", "Sign-off", "none could be claimed"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	checkCSV(t, table)
}

func checkCSV(t *testing.T, table string) {
	t.Helper()
	if strings.Count(table, "\n") != strings.Count(table, "\r\n") {
		t.Error("a row does not end as RFC 4180 says")
	}
	sections := map[string][][]string{}
	for part := range strings.SplitSeq(table, "\r\n\r\n") {
		c := csv.NewReader(strings.NewReader(part))
		c.FieldsPerRecord = -1
		rows, err := c.ReadAll()
		if err != nil || len(rows) < 2 || len(rows[0]) != 1 {
			t.Fatalf("section %q: %v", part, err)
		}
		sections[rows[0][0]] = rows[1:]
		for _, row := range rows[2:] {
			if len(row) != len(rows[1]) && !strings.HasSuffix(row[0], "more were left out") {
				t.Errorf("section %s: row %q under %q", rows[0][0], row, rows[1])
			}
			for _, cell := range row {
				if _, err := strconv.ParseFloat(cell, 64); err != nil && cell != "" && strings.ContainsAny(cell[:1], "=+-@") {
					t.Errorf("section %s: cell %q is a formula", rows[0][0], cell)
				}
			}
		}
	}
	if got := sections["breaches"][1][13]; got != "'+the uplink, \"cut\"\nduring works" {
		t.Errorf("note %q", got)
	}
	if got := sections["sources"][1][1]; got != "'=nist-a" {
		t.Errorf("source %q", got)
	}
	if got := sections["configuration changes"][1][3]; got != "'-1" {
		t.Errorf("old value %q", got)
	}
	if len(sections) < 20 {
		t.Errorf("%d sections", len(sections))
	}
}

func TestHarmless(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "text": "text", "=1": "'=1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\t=1": "'\t=1", "\r=1": "'\r=1",
		"  =1": "'  =1", "＝1": "'＝1", "|calc": "'|calc", "a=b": "a=b", "\u00a0=1": "'\u00a0=1", "−5 ms": "−5 ms",
	} {
		if got := harmless(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

func TestText(t *testing.T) {
	for n, want := range map[Nanoseconds]string{
		0: "0 ns", 999: "999 ns", 1000: "1.000 µs", 1_234_567: "1.235 ms", 50_000_001: "50.001 ms", -1_000_001: "−1.001 ms",
		999_999_999: "1000.000 ms", 2e9: "2.000 s", math.MinInt64: "−9223372036.855 s",
	} {
		if got := length(n); got != want {
			t.Errorf("%d: %q, want %q", int64(n), got, want)
		}
	}
	for share, want := range map[float64]string{1: "100.00000 %", 0.9999999999: "99.99999 %", 0: "0.00000 %"} {
		if got := percent(share); got != want {
			t.Errorf("%v: %q, want %q", share, got, want)
		}
	}
	for s, want := range map[int64]string{0: "0 s", 61: "1 min 1 s", 90000: "1 d 1 h", 3600: "1 h"} {
		if got := lasting(s); got != want {
			t.Errorf("%d: %q, want %q", s, got, want)
		}
	}
	if signed(5) != "+5 ns" || signed(-5) != "−5 ns" || lengthOf(math.NaN()) != "–" || lengthOf(-1.5) != "−2 ns" {
		t.Error("signs")
	}
	names := naming([]string{"b", "a", "a", "c", "d", "e", "f", "g", "h", "i", "j"})
	if names != "a, b, c, d, e, f, g, h and 2 more" {
		t.Error(names)
	}
}

func TestNanosecondsJSON(t *testing.T) {
	for n, want := range map[Nanoseconds]string{
		0: "0", 1 << 53: "9007199254740992", 1<<53 + 1: `"9007199254740993"`, -1 << 53: "-9007199254740992", -1<<53 - 1: `"-9007199254740993"`,
	} {
		b, err := json.Marshal(n)
		var back Nanoseconds
		if err2 := json.Unmarshal(b, &back); err != nil || err2 != nil || string(b) != want || back != n {
			t.Errorf("%d: %s, %v, %v, back %d", int64(n), b, err, err2, back)
		}
	}
	var n Nanoseconds
	for _, bad := range []string{`"x"`, `1.5`, `{}`, `""`} {
		if json.Unmarshal([]byte(bad), &n) == nil {
			t.Errorf("%s is %d", bad, n)
		}
	}
}

// A line is broken where there is no point, and nowhere else; text cannot end it.
func TestDrawing(t *testing.T) {
	c := Clock{Step: 60, Points: []Point{{At: 0, Bound: 10}, {At: 60, Bound: 20}, {At: 180, Bound: 10}}}
	d := draw("n", "a<b", "c&d", 10)
	d.steps(c, 0, 240, newLogScale(1, 100, 100), "#000", 1, func(p Point) Nanoseconds { return p.Bound })
	d.text(1, 1, "end", "<x>")
	s := string(d.done())
	if strings.Count(s, "M") != 2 || strings.Count(s, "V") != 1 || strings.Count(s, "H") != 3 {
		t.Error(s)
	}
	if strings.Contains(s, "<x>") || !strings.Contains(s, "a&lt;b") || !strings.Contains(s, "c&amp;d") {
		t.Error(s)
	}
	scale := newLogScale(1, 100, 100)
	if scale.at(1) != plotTop+100 || scale.at(10) != plotTop+50 || scale.at(100) != plotTop || scale.at(1000) != plotTop || scale.at(0) != plotTop+100 {
		t.Errorf("%+v", scale)
	}
}

func TestTicks(t *testing.T) {
	for d := int64(minute); d < 3660*day; d = d*5/4/minute*minute + minute {
		list := ticks(begin, begin+d)
		if len(list) > ticksMax || len(list) == 0 && d > 2*minute {
			t.Errorf("%s: %d ticks", lasting(d), len(list))
		}
		for _, tick := range list {
			if tick.at < begin || tick.at >= begin+d {
				t.Errorf("%s: tick %+v", lasting(d), tick)
			}
		}
	}
}
