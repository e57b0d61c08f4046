package compliance

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// holidays returns the days of a year that are no trading days, but for weekends, as 01-15.
func holidays(p Profile, year int) string {
	var list []string
	for d := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC); d.Year() == year; d = d.AddDate(0, 0, 1) {
		if w := d.Weekday(); w != time.Saturday && w != time.Sunday && !p.Trades(d) {
			list = append(list, d.Format("01-02"))
		}
	}
	return strings.Join(list, " ")
}

// The lists that the exchange and the Eurosystem published.
func TestHolidays(t *testing.T) {
	for _, c := range []struct {
		calendar string
		year     int
		want     string
	}{
		{"nyse", 2021, "01-01 01-18 02-15 04-02 05-31 07-05 09-06 11-25 12-24"}, // Juneteenth not yet; New Year 2022 is a Saturday
		{"nyse", 2022, "01-17 02-21 04-15 05-30 06-20 07-04 09-05 11-24 12-26"},
		{"nyse", 2023, "01-02 01-16 02-20 04-07 05-29 06-19 07-04 09-04 11-23 12-25"},
		{"nyse", 2024, "01-01 01-15 02-19 03-29 05-27 06-19 07-04 09-02 11-28 12-25"},
		{"nyse", 2025, "01-01 01-20 02-17 04-18 05-26 06-19 07-04 09-01 11-27 12-25"},
		{"nyse", 2026, "01-01 01-19 02-16 04-03 05-25 06-19 07-03 09-07 11-26 12-25"},
		{"nyse", 2027, "01-01 01-18 02-15 03-26 05-31 06-18 07-05 09-06 11-25 12-24"},
		{"nyse", 2028, "01-17 02-21 04-14 05-29 06-19 07-04 09-04 11-23 12-25"},
		{"target", 2024, "01-01 03-29 04-01 05-01 12-25 12-26"},
		{"target", 2025, "01-01 04-18 04-21 05-01 12-25 12-26"},
		{"target", 2026, "01-01 04-03 04-06 05-01 12-25"},
		{"target", 2027, "01-01 03-26 03-29"},
		{"weekdays", 2026, ""},
		{"daily", 2026, ""},
	} {
		if got := holidays(Profile{Calendar: c.calendar}, c.year); got != c.want {
			t.Errorf("%s %d: %s\nwant %s", c.calendar, c.year, got, c.want)
		}
	}
}

func TestTrades(t *testing.T) {
	saturday := time.Date(2026, 11, 28, 13, 0, 0, 0, time.UTC)
	for calendar, want := range map[string]bool{"nyse": false, "target": false, "weekdays": false, "daily": true} {
		p := Profile{Calendar: calendar}
		if p.Trades(saturday) != want || p.Trades(saturday.AddDate(0, 0, 1)) != want {
			t.Errorf("%s: a weekend is a time of trade: %v", calendar, !want)
		}
		friday := saturday.AddDate(0, 0, -1)
		if !p.Trades(friday) {
			t.Errorf("%s: nobody trades on %v", calendar, friday)
		}
		if p.Holidays = []string{"2026-11-27"}; p.Trades(friday) {
			t.Errorf("%s: a further holiday is none", calendar)
		}
	}
}

// Sundays as the churches publish them.
func TestEaster(t *testing.T) {
	for year, want := range map[int]string{
		1818: "03-22", 1943: "04-25", 1954: "04-18", 1981: "04-19", 2000: "04-23", 2008: "03-23", 2011: "04-24",
		2019: "04-21", 2024: "03-31", 2025: "04-20", 2026: "04-05", 2027: "03-28", 2038: "04-25", 2049: "04-18",
	} {
		if got := easter(year).Format("01-02"); got != want {
			t.Errorf("Easter %d is on %s, want %s", year, got, want)
		}
	}
}

// Nine in New York is another time in UTC when clocks there have changed.
func TestDue(t *testing.T) {
	p, _ := Builtin("finra-50ms")
	zone, err := time.LoadLocation(p.Zone)
	if err != nil {
		t.Fatal(err)
	}
	for day, want := range map[string]string{
		"2026-03-06": "14:00", "2026-03-08": "13:00", "2026-03-09": "13:00",
		"2026-10-30": "13:00", "2026-11-01": "14:00", "2026-11-02": "14:00",
	} {
		d, _ := time.Parse(time.DateOnly, day)
		if got := p.due(d, zone).UTC().Format("2006-01-02 15:04"); got != day+" "+want {
			t.Errorf("due on %s at %s, want %s", day, got, want)
		}
	}
}

func TestBuiltins(t *testing.T) {
	var names []string
	for _, p := range Builtins() {
		names = append(names, p.Name)
		if list := p.Problems(); list != nil {
			t.Errorf("%s: %q", p.Name, list)
		}
		if p.Warn != p.Tolerance/2 || p.Title == p.Name {
			t.Errorf("%+v", p)
		}
		if got, ok := Builtin(p.Name); !ok || got.Title != p.Title {
			t.Errorf("Builtin(%q) is %+v, %v", p.Name, got, ok)
		}
	}
	want := []string{"cat-participant-100us", "finra-50ms", "manual-1s", "mifid-100us", "mifid-1ms", "pci-10.6"}
	if !slices.Equal(names, want) {
		t.Errorf("there are %q, want %q", names, want)
	}
	if _, ok := Builtin("finra"); ok {
		t.Error("there is a profile that there is not")
	}
	finra, _ := Builtin("finra-50ms")
	if finra.Tolerance != 50*time.Millisecond || finra.PreOpen != 9*time.Hour || finra.Zone != "America/New_York" || finra.Calendar != "nyse" ||
		finra.MinSources != 3 || finra.MinNIST != 1 || finra.Retention != 6*Year || finra.SelfReportFactor != 2 || finra.SelfReportCount != 10 {
		t.Errorf("%+v", finra)
	}
}

func TestProblems(t *testing.T) {
	if list := NewProfile("own_1.a-B", time.Millisecond).Problems(); list != nil {
		t.Errorf("a new profile: %q", list)
	}
	edge := NewProfile(strings.Repeat("x", 64), time.Hour)
	edge.Warn, edge.MinSources, edge.PreOpen, edge.Retention, edge.SelfReportFactor, edge.SelfReportCount =
		edge.Tolerance, 64, 24*time.Hour-1, 100*Year, 1, 1000
	if list := edge.Problems(); list != nil {
		t.Errorf("a profile at the limits: %q", list)
	}
	for _, c := range []struct {
		name  string
		spoil func(*Profile)
		want  string
	}{
		{"no name", func(p *Profile) { p.Name = "" }, "name"},
		{"long name", func(p *Profile) { p.Name = strings.Repeat("x", 65) }, "name"},
		{"name", func(p *Profile) { p.Name = "a b" }, "name"},
		{"no tolerance", func(p *Profile) { p.Tolerance = 0 }, "tolerance"},
		{"tolerance", func(p *Profile) { p.Tolerance = time.Hour + 1 }, "tolerance"},
		{"no warn", func(p *Profile) { p.Warn = 0 }, "warn"},
		{"warn", func(p *Profile) { p.Warn = p.Tolerance + 1 }, "warn"},
		{"sources", func(p *Profile) { p.MinSources = 65 }, "sources"},
		{"nist", func(p *Profile) { p.MinNIST = -1 }, "NIST"},
		{"sites", func(p *Profile) { p.MinSites = 65 }, "sites"},
		{"time", func(p *Profile) { p.PreOpen = 24 * time.Hour }, "time of day"},
		{"zone", func(p *Profile) { p.Zone = "Mars/Olympus" }, "zone"},
		{"local", func(p *Profile) { p.Zone = "Local" }, "zone"},
		{"calendar", func(p *Profile) { p.Calendar = "lunar" }, "calendar"},
		{"holiday", func(p *Profile) { p.Holidays = []string{"2026-02-30"} }, "holiday"},
		{"holidays", func(p *Profile) { p.Holidays = slices.Repeat([]string{"2026-02-03"}, 1001) }, "holidays"},
		{"retention", func(p *Profile) { p.Retention = 100*Year + 1 }, "kept"},
		{"no retention", func(p *Profile) { p.Retention = -1 }, "kept"},
		{"factor", func(p *Profile) { p.SelfReportFactor = 0.5 }, "times"},
		{"count", func(p *Profile) { p.SelfReportCount = 1001 }, "a day"},
	} {
		p := NewProfile("own", time.Millisecond)
		c.spoil(&p)
		if list := p.Problems(); len(list) != 1 || !strings.Contains(list[0], c.want) {
			t.Errorf("%s: %q", c.name, list)
		}
	}
	bad := Profile{PreOpen: 25 * time.Hour, Zone: "x"}
	if list := bad.Problems(); len(list) != 5 {
		t.Errorf("not all at once: %q", list)
	}
}
