package leap

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"time"
)

// SizeMax is the size in bytes above which nothing is a list of leap seconds. The largest
// seen has ten thousand.
const SizeMax = 1 << 18

var (
	// ErrFormat reports data that is no list of leap seconds, or one that contradicts itself.
	ErrFormat = errors.New("leap: not a list of leap seconds")
	// ErrNone reports a time zone file without leap seconds: most have none.
	ErrNone = errors.New("leap: no leap seconds in it")
)

// HashError reports a list whose content is not what its hash was computed of.
type HashError struct {
	Stated, Computed string // as in the file; Stated is empty where it has no hash
}

// Error says so.
func (e *HashError) Error() string {
	if e.Stated == "" {
		return "leap: the list has no hash (#h), so that nobody can tell whether it is whole: fetch it again"
	}
	return fmt.Sprintf("leap: the list's hash says %s, but its content gives %s: it was changed or damaged, fetch it again", e.Stated, e.Computed)
}

// entry is one line of a list: the offset from an instant on.
type entry struct {
	at     int64 // Unix seconds
	offset int   // TAI−UTC, seconds
}

const (
	// utcBegins is 1972-01-01, when TAI−UTC became a whole number of seconds, and
	// offsetThen that number.
	utcBegins  = 2 * 365 * 86400
	offsetThen = 10
	// secondsMax is the last second that Unix nanoseconds can hold, less a month so that
	// nothing derived from it overflows.
	secondsMax = math.MaxInt64/int64(time.Second) - 31*86400
	// offsetMax bounds TAI−UTC: at the rate of the last fifty years, for five thousand more.
	offsetMax = 3000
)

// Parse reads a list of leap seconds: leap-seconds.list of IERS or NIST, whose hash it
// checks; leapseconds of the time zone database; or a compiled time zone with leap seconds, as
// right/UTC is. What it is shows from the content. An error wraps ErrFormat or ErrNone, or is a
// *HashError.
func Parse(data []byte) (*Table, error) {
	switch {
	case len(data) > SizeMax:
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrFormat, SizeMax)
	case bytes.HasPrefix(data, []byte(tzifMagic)):
		return parseTZif(data)
	case bytes.HasPrefix(data, []byte("Leap")) || bytes.Contains(data, []byte("\nLeap")):
		return parseRules(data)
	default:
		return parseList(data)
	}
}

// newTable makes a table of entries, the first of which is the offset that the list begins
// with. updated and expires are Unix seconds, 0 where they are not stated.
func newTable(entries []entry, updated, expires int64) (*Table, error) {
	for _, at := range [...]int64{updated, expires} {
		if at != 0 && (at < utcBegins || at > secondsMax) {
			return nil, fmt.Errorf("%w: a date is out of range", ErrFormat)
		}
	}
	t := &Table{known: true, updated: updated * second, expires: expires * second}
	for i, e := range entries {
		at := time.Unix(e.at, 0).UTC()
		switch {
		case e.at < utcBegins || e.at > secondsMax:
			return nil, fmt.Errorf("%w: entry %d is out of range", ErrFormat, i+1)
		case e.offset < -offsetMax || e.offset > offsetMax:
			return nil, fmt.Errorf("%w: the offset of %d s at %v is out of range", ErrFormat, e.offset, at)
		case !monthStarts(e.at * second):
			return nil, fmt.Errorf("%w: a leap second at %v, where no month begins", ErrFormat, at)
		}
		if i == 0 {
			t.since, t.base = e.at*second, e.offset
			continue
		}
		before := entries[i-1]
		if change := e.offset - before.offset; change != 1 && change != -1 {
			return nil, fmt.Errorf("%w: the offset goes from %d to %d at %v", ErrFormat, before.offset, e.offset, at)
		}
		if e.at <= before.at {
			return nil, fmt.Errorf("%w: %v comes after a later entry", ErrFormat, at)
		}
		t.events = append(t.events, Event{At: e.at * second, Offset: e.offset})
	}
	return t, nil
}
