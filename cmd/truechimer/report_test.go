package main

import (
	"strings"
	"testing"
	"time"
)

// TestParsePeriod: days, weeks, months and years, and what is none.
func TestParsePeriod(t *testing.T) {
	for s, want := range map[string]string{
		"2026-11-27": "2026-11-27 2026-11-28",
		"2026-12-31": "2026-12-31 2027-01-01",
		"2028-02-29": "2028-02-29 2028-03-01",
		"2026-11":    "2026-11-01 2026-12-01",
		"2026-12":    "2026-12-01 2027-01-01",
		"2028-02":    "2028-02-01 2028-03-01",
		"2026":       "2026-01-01 2027-01-01",
		"2026-W48":   "2026-11-23 2026-11-30",
		"2026-W01":   "2025-12-29 2026-01-05", // begins in the year before
		"2026-W53":   "2026-12-28 2027-01-04", // ends in the year after
		"2027-W01":   "2027-01-04 2027-01-11",
		"2020-W53":   "2020-12-28 2021-01-04",
		"2024-W01":   "2024-01-01 2024-01-08", // the year begins with a Monday
		"2023-W01":   "2023-01-02 2023-01-09", // and with a Sunday
		"2023-W52":   "2023-12-25 2024-01-01",
	} {
		first, last, err := parsePeriod(s)
		if got := first.Format(time.DateOnly) + " " + last.Format(time.DateOnly); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", s, got, err, want)
		}
		if first.Location() != time.UTC || last.Sub(last.Truncate(24*time.Hour)) != 0 {
			t.Errorf("%s: %v to %v are not days of UTC", s, first, last)
		}
	}
	for _, s := range []string{
		"", "26", "2026-1", "2026-13", "2026-00", "2026-02-29", "2026-11-31", "2026-1-1", "2026-11-27T00:00:00Z", " 2026", "2026 ", "2026-11-27-",
		"2026-W", "2026-W1", "2026-W00", "2026-W54", "2027-W53", "2023-W53", "2026-w48", "2026W48", "2026-W48x", "2026-W-1", "yesterday", "7d",
	} {
		if _, _, err := parsePeriod(s); err == nil || !strings.Contains(err.Error(), "want a day (2026-11-27), a week (2026-W48), a month (2026-11) or a year (2026)") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// TestReportTime: the time of a report, to the nanosecond: a minute that begins a moment too
// early is another minute.
func TestReportTime(t *testing.T) {
	now := time.Date(2026, 11, 29, 10, 20, 30, 40, time.FixedZone("east", 2*3600))
	flag := func(text string) *instantFlag {
		f := new(instantFlag)
		if text != "" {
			if err := f.Set(text); err != nil {
				t.Fatal(err)
			}
		}
		return f
	}
	day := func(text string) int64 {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return at.UnixNano()
	}
	for _, c := range []struct{ period, from, to, start, end string }{
		{"", "", "", "2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z"},
		{"2026-11", "", "", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"},
		{"", "2026-11-01T00:00:00Z", "2026-11-02T00:01:00Z", "2026-11-01T00:00:00Z", "2026-11-02T00:01:00Z"},
		{"", "2026-11-01T02:00:00.000000001+02:00", "", "2026-11-01T00:00:00.000000001Z", "2026-11-29T08:20:30.00000004Z"},
		{"", "2026-11-01T00:00:00Z", "1970-01-01T00:00:00Z", "2026-11-01T00:00:00Z", "1970-01-01T00:00:00Z"}, // and not now
		{"1970", "", "", "1970-01-01T00:00:00Z", "1971-01-01T00:00:00Z"},
		{"2260", "", "", "2260-01-01T00:00:00Z", "2261-01-01T00:00:00Z"},
	} {
		start, end, err := reportTime(c.period, flag(c.from), flag(c.to), now)
		if err != nil || start != day(c.start) || end != day(c.end) {
			t.Errorf("%+v: %v to %v, %v", c, time.Unix(0, start).UTC(), time.Unix(0, end).UTC(), err)
		}
	}
	for _, c := range []struct{ period, from, to, says string }{
		{"2026", "1d", "", "say --for, or --from and --to, and not both"},
		{"2026", "", "1d", "say --for, or --from and --to, and not both"},
		{"", "", "1d", "say with --from where it begins"},
		{"1969", "", "", "say one from 1970 to 2260"},
		{"9999", "", "", "say one from 1970 to 2260"},
		{"1970-W01", "", "", "say one from 1970 to 2260"}, // begins in 1969
		{"x", "", "", "--for is \"x\"; want a day"},
	} {
		if _, _, err := reportTime(c.period, flag(c.from), flag(c.to), now); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
