package compliance

import (
	"slices"
	"time"

	// Where the system has no time zones, or old ones only, the check before the market opens
	// must still know when that is.
	_ "time/tzdata"
)

// calendarKnown reports whether there is a calendar with a name.
func calendarKnown(name string) bool {
	return slices.Contains([]string{"nyse", "target", "weekdays", "daily"}, name)
}

// Trades reports whether a day is a trading day of the profile. Only the date of day matters.
func (p *Profile) Trades(day time.Time) bool {
	day = dateOf(day)
	if slices.Contains(p.Holidays, day.Format(time.DateOnly)) {
		return false
	}
	if p.Calendar == "daily" {
		return true
	}
	if weekday := day.Weekday(); weekday == time.Saturday || weekday == time.Sunday {
		return false
	}
	switch p.Calendar {
	case "nyse":
		return !nyseHoliday(day)
	case "target":
		return !targetHoliday(day)
	default:
		return true
	}
}

// due returns when the check before the market opens must have been passed on a day. The time
// of day is what a clock on the wall shows, whatever daylight saving did in that night.
func (p *Profile) due(day time.Time, zone *time.Location) time.Time {
	return time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, int(p.PreOpen), zone)
}

// dateOf returns the start of the day, in UTC, that has the date of t.
func dateOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
}

// nyseHoliday reports whether the New York Stock Exchange is closed on a day that is not at a
// weekend. Days on which it closes for once (mourning, storms) are for Profile.Holidays; those on
// which it closes early are trading days. Source: NYSE Rule 7.2.
func nyseHoliday(day time.Time) bool {
	year, month, dom := day.Date()
	nth := (dom-1)/7 + 1
	last := dom+7 > daysIn(year, month)
	switch {
	case day.Equal(easter(year).AddDate(0, 0, -2)): // Good Friday
		return true
	case day.Weekday() == time.Monday && month == time.January && nth == 3, // Martin Luther King
		day.Weekday() == time.Monday && month == time.February && nth == 3,   // Washington
		day.Weekday() == time.Monday && month == time.May && last,            // Memorial
		day.Weekday() == time.Monday && month == time.September && nth == 1,  // Labor
		day.Weekday() == time.Thursday && month == time.November && nth == 4: // Thanksgiving
		return true
	}
	// Fixed days are moved away from weekends, but New Year's Day not into the old year.
	switch day.Weekday() {
	case time.Friday:
		saturday := day.AddDate(0, 0, 1)
		return nyseFixed(day) || nyseFixed(saturday) && saturday.Month() != time.January
	case time.Monday:
		return nyseFixed(day) || nyseFixed(day.AddDate(0, 0, -1))
	default:
		return nyseFixed(day)
	}
}

// nyseFixed reports whether a day is a holiday by its date.
func nyseFixed(day time.Time) bool {
	year, month, dom := day.Date()
	return month == time.January && dom == 1 ||
		month == time.June && dom == 19 && year >= 2022 ||
		month == time.July && dom == 4 ||
		month == time.December && dom == 25
}

// targetHoliday reports whether the Eurosystem's TARGET is closed on a day that is not at a
// weekend. Holidays at weekends are not moved. Source: the calendar in force since 2002.
func targetHoliday(day time.Time) bool {
	year, month, dom := day.Date()
	sunday := easter(year)
	return day.Equal(sunday.AddDate(0, 0, -2)) || day.Equal(sunday.AddDate(0, 0, 1)) ||
		month == time.January && dom == 1 ||
		month == time.May && dom == 1 ||
		month == time.December && (dom == 25 || dom == 26)
}

func daysIn(year int, month time.Month) int {
	return time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// easter returns Easter Sunday of a year of the Gregorian calendar. Source: New
// Scientist, 30 March 1961, page 828.
func easter(year int) time.Time {
	a, b, c := year%19, year/100, year%100
	d, e := b/4, b%4
	g := (8*b + 13) / 25
	h := (19*a + b - d - g + 15) % 30
	i, k := c/4, c%4
	l := (32 + 2*e + 2*i - h - k) % 7
	m := (a + 11*h + 19*l) / 433
	n := h + l - 7*m
	month := (n + 90) / 25
	day := (n + 33*month + 19) % 32
	return time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
}
