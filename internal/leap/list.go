package leap

// leap-seconds.list is text. A line of data is an NTP second, TAI−UTC from then on, and a comment
// after '#'. Lines that begin with '#' are comments, but for three: "#$" is followed by the
// NTP second of the last change, "#@" by that at which the list expires, and "#h" by a SHA-1 in five groups
// of eight hexadecimal digits. It is of the digits of the first two and of all data, in the order of
// the file, without white space and comments. Some lists have lost the leading zeros of
// groups: groups are compared as numbers.

import (
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// unixToNTP is the number of seconds from 1900-01-01 to 1970-01-01. Lists count on past the
// end of an era.
const unixToNTP = (70*365 + 17) * 86400

type listReader struct {
	entries          []entry
	updated, expires int64 // Unix seconds; 0: not seen
	stated           []string
	hashed           strings.Builder
}

func parseList(data []byte) (*Table, error) {
	var r listReader
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		if err := r.line(line); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrFormat, number, err)
		}
	}
	switch {
	case len(r.entries) == 0 && r.updated == 0 && r.expires == 0 && r.stated == nil:
		return nil, fmt.Errorf("%w: it has neither leap seconds nor dates", ErrFormat)
	case r.stated == nil:
		return nil, &HashError{}
	}
	if err := r.verify(); err != nil {
		return nil, err
	}
	if len(r.entries) == 0 || r.updated == 0 || r.expires == 0 {
		return nil, fmt.Errorf("%w: leap seconds, date of the last change (#$) or expiry (#@) are missing", ErrFormat)
	}
	return newTable(r.entries, r.updated, r.expires)
}

func (r *listReader) line(line string) error {
	switch {
	case strings.HasPrefix(line, "#$"):
		return r.date(&r.updated, line[2:])
	case strings.HasPrefix(line, "#@"):
		return r.date(&r.expires, line[2:])
	case strings.HasPrefix(line, "#h"):
		if r.stated != nil {
			return fmt.Errorf("a second hash")
		}
		r.stated = strings.Fields(line[2:])
		if r.stated == nil {
			return fmt.Errorf("an empty hash")
		}
		return nil
	}
	data, _, _ := strings.Cut(line, "#")
	fields := strings.Fields(data)
	if len(fields) == 0 {
		return nil
	}
	if len(fields) != 2 {
		return fmt.Errorf("%d fields, not 2", len(fields))
	}
	at, err := ntpSecond(fields[0])
	if err != nil {
		return err
	}
	offset, err := strconv.ParseInt(fields[1], 10, 16)
	if err != nil {
		return fmt.Errorf("offset %q", fields[1])
	}
	r.entries = append(r.entries, entry{at: at, offset: int(offset)})
	r.hashed.WriteString(fields[0] + fields[1])
	return nil
}

func (r *listReader) date(to *int64, text string) error {
	text = strings.TrimSpace(text)
	at, err := ntpSecond(text)
	if err != nil {
		return err
	}
	if *to != 0 {
		return fmt.Errorf("a second date of the same kind")
	}
	*to = at
	r.hashed.WriteString(text)
	return nil
}

// ntpSecond reads an NTP second and returns Unix seconds.
func ntpSecond(text string) (int64, error) {
	s, err := strconv.ParseUint(text, 10, 63)
	if err != nil || s > uint64(secondsMax) { // and what is too small is refused with the rest of the table
		return 0, fmt.Errorf("date %q", text)
	}
	return int64(s) - unixToNTP, nil
}

func (r *listReader) verify() error {
	sum := sha1.Sum([]byte(r.hashed.String()))
	var computed []string
	same := len(r.stated) == sha1.Size/4
	for i := 0; i < sha1.Size; i += 4 {
		group := binary.BigEndian.Uint32(sum[i:])
		computed = append(computed, fmt.Sprintf("%08x", group))
		if same {
			stated, err := strconv.ParseUint(r.stated[i/4], 16, 32)
			same = err == nil && uint32(stated) == group
		}
	}
	if !same {
		return &HashError{Stated: strings.Join(r.stated, " "), Computed: strings.Join(computed, " ")}
	}
	return nil
}
