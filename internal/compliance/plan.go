package compliance

import "time"

// What entries take, bytes: as they are encoded, with a fifth or so to spare, and what the store
// adds to each. A test compares them with entries that an engine has written.
const (
	rawRecordBytes      = 18 + 8      // key and hash
	evidenceRecordBytes = 18 + 8 + 20 // and its place in the index by kind and time

	measuredBytes      = 90
	secondsBytes       = 1600 // with a served clock apart from the system clock, and a slew
	probedBytes        = 110
	minuteBytes        = 520
	minuteProfileBytes = 2 * 30 // for each clock
	hourBytes          = 2400
	hourProfileBytes   = 2 * 32
	hourSourceBytes    = 480
	hostHourBytes      = 360
	// Changes of the clock, alarms, breaches, checks and heads, a day.
	eventsBytesPerDay = 100 * 400
)

// Plan returns how much the journal takes on disk once it is as old as it is kept, bytes: with so
// many sources that are asked at an interval, so many profiles, and hosts that are probed at another
// interval. It is what the entries are long; the store may press them into less.
func Plan(sources int, poll time.Duration, profiles, hosts int, probe, rawKept, evidenceKept time.Duration) (rawBytes, evidenceBytes uint64) {
	perDay := func(every time.Duration) float64 {
		if every <= 0 {
			return 0
		}
		return float64(24*time.Hour) / float64(every)
	}
	days := func(d time.Duration) float64 { return float64(max(d, 0)) / float64(24*time.Hour) }
	n, m, h := float64(max(sources, 0)), float64(max(profiles, 0)), float64(max(hosts, 0))

	raw := n*perDay(poll)*(measuredBytes+rawRecordBytes) +
		perDay(time.Minute)*(secondsBytes+rawRecordBytes) +
		h*perDay(probe)*(probedBytes+rawRecordBytes)
	evidence := perDay(time.Minute)*(minuteBytes+m*minuteProfileBytes+evidenceRecordBytes) +
		perDay(time.Hour)*(hourBytes+m*hourProfileBytes+n*hourSourceBytes+evidenceRecordBytes) +
		perDay(time.Hour)*h*(hostHourBytes+evidenceRecordBytes) +
		eventsBytesPerDay
	return uint64(raw * days(rawKept)), uint64(evidence * days(evidenceKept))
}
