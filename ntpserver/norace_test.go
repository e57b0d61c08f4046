//go:build !race

package ntpserver

// raceEnabled tells that the race detector watches.
const raceEnabled = false
