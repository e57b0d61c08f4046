// Package compliance proves how far clocks are from UTC: it judges them each second against
// profiles, by their error bounds and never by an offset alone, notes when they cannot be
// proven to be within a limit, and says what is written into the journal.
//
// A clock is compliant in a second when its error bound is at the most the tolerance. Where
// none can be claimed, or nobody looked, it is not.
package compliance
