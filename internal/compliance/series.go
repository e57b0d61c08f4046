package compliance

import "strings"

// The names of the series of the history, which the recorder writes and charts are drawn of.
// Each ends in the unit of its values.
const (
	SeriesBound     = "clock.bound_seconds"       // error bound of the served clock
	SeriesOffset    = "clock.offset_seconds"      // known and not yet corrected; positive when it is behind
	SeriesFrequency = "clock.frequency_ppm"       // the correction in force
	SeriesClients   = "ntp.clients"               // NTP clients that are remembered
	SeriesIssued    = "hlc.issued_per_second"     // hybrid timestamps
	SeriesLead      = "hlc.lead_seconds"          // of the last hybrid timestamp ahead of physical time
	SeriesCeiling   = "hlc.ceiling_seconds"       // how far the ceiling is above the last hybrid timestamp
	SeriesEvents    = "streams.events_per_second" // appended
	sourcePrefix    = "source."                   // NAME@ADDRESS.QUANTITY follows
	sourceOffset    = ".offset_seconds"           // source minus served clock
	sourceBound     = ".bound_seconds"            // the largest error that the source can have
	verdictPrefix   = "ntp."                      // the verdict follows
	verdictSuffix   = "_per_second"
)

// SourceSeries returns the names of the series of a source: its offset and its error bound. A pool's
// members share their name, so that the address, IP address and port, is a part of it; empty
// while it is not known.
func SourceSeries(name, address string) (offset, bound string) {
	stem := sourcePrefix + name + "@" + address
	return stem + sourceOffset, stem + sourceBound
}

// SourceOfOffset returns whose offset a series is; it is false for every other series.
func SourceOfOffset(series string) (name, address string, ok bool) {
	stem, ok := strings.CutSuffix(series, sourceOffset)
	if !ok {
		return "", "", false
	}
	if stem, ok = strings.CutPrefix(stem, sourcePrefix); !ok {
		return "", "", false
	}
	i := strings.LastIndexByte(stem, '@') // an address has none
	if i < 0 {
		return "", "", false
	}
	return stem[:i], stem[i+1:], true
}

// VerdictSeries returns the name of the series of an NTP verdict: datagrams per second.
func VerdictSeries(verdict string) string { return verdictPrefix + verdict + verdictSuffix }
