package leap

// leapseconds of the time zone database is text for its compiler:
//
//	Leap	2016	Dec	31	23:59:60	+	S
//	#expires 1782604800 (2026-06-28 00:00:00 UTC)
//
// A deleted second is 23:59:59 and '-'. The expiry is a comment for the sake of old compilers, or
// a line "Expires" with a date like those above. There is no hash.

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

type rulesReader struct {
	entries          []entry
	updated, expires int64
}

func parseRules(data []byte) (*Table, error) {
	r := rulesReader{entries: []entry{{at: utcBegins, offset: offsetThen}}}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		if err := r.line(strings.Fields(line)); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrFormat, number, err)
		}
	}
	return newTable(r.entries, r.updated, r.expires)
}

func (r *rulesReader) line(fields []string) error {
	switch {
	case len(fields) == 0:
		return nil
	case len(fields) > 1 && fields[0] == "#updated":
		return unixSecond(&r.updated, fields[1])
	case len(fields) > 1 && fields[0] == "#expires":
		return unixSecond(&r.expires, fields[1])
	case strings.HasPrefix(fields[0], "#"):
		return nil
	}
	if i := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, "#") }); i > 0 {
		fields = fields[:i]
	}
	switch {
	case fields[0] == "Expires" && len(fields) == 5:
		at, err := time.Parse("2006 Jan 2 15:04:05", strings.Join(fields[1:], " "))
		if err != nil {
			return fmt.Errorf("expiry %q", strings.Join(fields[1:], " "))
		}
		r.expires = at.Unix()
		return nil
	case fields[0] != "Leap" || len(fields) != 7:
		return fmt.Errorf("%q is no leap second", strings.Join(fields, " "))
	}
	date, err := time.Parse("2006 Jan 2", strings.Join(fields[1:4], " "))
	if err != nil {
		return fmt.Errorf("date %q", strings.Join(fields[1:4], " "))
	}
	offset := r.entries[len(r.entries)-1].offset
	switch strings.Join(fields[4:], " ") {
	case "23:59:60 + S":
		offset++
	case "23:59:59 - S":
		offset--
	default:
		return fmt.Errorf("%q is no leap second at the end of a day in UTC", strings.Join(fields[4:], " "))
	}
	r.entries = append(r.entries, entry{at: date.Unix() + 86400, offset: offset})
	return nil
}

func unixSecond(to *int64, text string) error {
	s, err := strconv.ParseInt(text, 10, 64)
	if err != nil || s <= 0 || s > secondsMax {
		return fmt.Errorf("date %q", text)
	}
	*to = s
	return nil
}
