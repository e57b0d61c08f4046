//go:build race

package ntpserver

// raceEnabled tells that the race detector watches, which makes everything slower
// and allocations larger.
const raceEnabled = true
