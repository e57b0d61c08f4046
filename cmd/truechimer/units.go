package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/truechimer/truechimer/hlc"
)

const (
	// instantForms is how an instant may be written, for errors, and instantWords for help.
	instantForms = "a timestamp as text or integer, a time such as 2026-11-22T06:42:10Z, or how long ago, such as 10m or 2d"
	instantWords = `timestamps
as text or integer, times such as 2026-11-22T06:42:10Z, or how long ago, such as 10m or 2d.`
)

// parseInstant reads an instant as one of instantForms, and returns the first and the last
// timestamp that belong to it: the same, or those of the tick that holds a time.
func parseInstant(s string, now time.Time) (first, last hlc.Timestamp, err error) {
	if ts, err := hlc.Parse(s); err == nil {
		return ts, ts, nil
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		ago, err := parseAge(s)
		if err != nil {
			return 0, 0, fmt.Errorf("%.60q is no instant: want %s", s, instantForms)
		}
		at = now.Add(-ago)
	}
	if at.Year() < 1970 || at.Year() > 2261 {
		return 0, 0, fmt.Errorf("%.60q is out of range: timestamps are of 1970 to 2261", s)
	}
	first = hlc.FromUnix(at.UnixNano())
	return first, first + hlc.LogicalMax, nil
}

// instantFlag is an instant on the command line; which of its timestamps counts depends on what it is for.
type instantFlag struct {
	first, last hlc.Timestamp
	exact       int64 // Unix nanoseconds
	text        string
}

// String, Set and Type implement pflag.Value.
func (f *instantFlag) String() string { return f.text }
func (f *instantFlag) Type() string   { return "time" }
func (f *instantFlag) Set(s string) (err error) {
	f.text = s
	f.first, f.last, err = parseInstant(s, time.Now())
	f.exact = f.first.Time().UnixNano()
	if at, notTime := time.Parse(time.RFC3339Nano, s); notTime == nil {
		f.exact = at.UnixNano() // a tick may begin before it
	}
	if err == nil && f.last == 0 {
		return errors.New("no event has the timestamp 0")
	}
	return err
}

// timestampFlag is a timestamp on the command line, and nothing like it.
type timestampFlag hlc.Timestamp

// String, Set and Type implement pflag.Value.
func (f *timestampFlag) String() string {
	if *f == 0 {
		return ""
	}
	return hlc.Timestamp(*f).String()
}
func (f *timestampFlag) Type() string { return "timestamp" }
func (f *timestampFlag) Set(s string) error {
	ts, err := hlc.Parse(s)
	*f = timestampFlag(ts)
	return err
}

const day = 24 * time.Hour

// parseAge reads a length of time that is not negative, such as 90s, 2h30m, 30d or 1d12h.
func parseAge(s string) (time.Duration, error) {
	bad := fmt.Errorf("%.60q is no length of time: want one such as 90s, 12h or 30d", s)
	var days uint64
	rest := s
	if before, after, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(before, 10, 64)
		if err != nil {
			return 0, bad
		}
		if n > uint64(math.MaxInt64/day) {
			return 0, fmt.Errorf("%.60q is longer than 292 years", s)
		}
		days, rest = n, after
	}
	var d time.Duration
	if rest != "" || s == "" {
		var err error
		if d, err = time.ParseDuration(rest); err != nil || d < 0 {
			return 0, bad
		}
	}
	if d > math.MaxInt64-time.Duration(days)*day {
		return 0, fmt.Errorf("%.60q is longer than 292 years", s)
	}
	return time.Duration(days)*day + d, nil
}

// ageFlag is a length of time on the command line, in days too.
type ageFlag time.Duration

// String, Set and Type implement pflag.Value.
func (f *ageFlag) String() string {
	if *f == 0 {
		return ""
	}
	return longWords(time.Duration(*f))
}
func (f *ageFlag) Type() string { return "duration" }
func (f *ageFlag) Set(s string) error {
	d, err := parseAge(s)
	*f = ageFlag(d)
	return err
}

// longWords says a length of time exactly, whole days as days.
func longWords(d time.Duration) string {
	text := ""
	if days := d / day; days > 0 {
		text = fmt.Sprintf("%dd", days)
	}
	rest := d % day
	if rest == 0 && text != "" {
		return text
	}
	words := rest.String()
	if strings.HasSuffix(words, "m0s") {
		words = strings.TrimSuffix(words, "0s")
	}
	if strings.HasSuffix(words, "h0m") {
		words = strings.TrimSuffix(words, "0m")
	}
	return text + words
}

// byteUnits are what sizes are counted in, the largest first.
func byteUnits() []struct {
	name string
	size uint64
} {
	return []struct {
		name string
		size uint64
	}{{"EiB", 1 << 60}, {"PiB", 1 << 50}, {"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}
}

// bytesFlag is a number of bytes on the command line, such as 10GiB.
type bytesFlag uint64

// String, Set and Type implement pflag.Value.
func (f *bytesFlag) String() string {
	if *f == 0 {
		return ""
	}
	return bytesWords(uint64(*f))
}
func (f *bytesFlag) Type() string { return "bytes" }
func (f *bytesFlag) Set(s string) error {
	number, unit := s, uint64(1)
	for _, u := range byteUnits() {
		if before, found := strings.CutSuffix(s, u.name); found {
			number, unit = before, u.size
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n > math.MaxUint64/unit {
		return fmt.Errorf("%.60q is no number of bytes: want one such as 1000000, 64MiB or 10GiB", s)
	}
	*f = bytesFlag(n * unit)
	return nil
}

// bytesWords says a number of bytes with three digits, in at most seven letters.
func bytesWords(n uint64) string {
	for _, u := range byteUnits() {
		if u.size == 1 || n < u.size {
			continue
		}
		if n%u.size == 0 {
			return fmt.Sprintf("%d%s", n/u.size, u.name)
		}
		if f := float64(n) / float64(u.size); f < 999.5 {
			return threeDigits(f) + u.name
		}
		return fmt.Sprintf("%d%s", n/u.size, u.name)
	}
	return fmt.Sprintf("%dB", n)
}

// timestampWords is a timestamp as text.
func timestampWords(ts uint64) string { return hlc.Timestamp(ts).String() }

// payloadWords is a payload as it is where it is printable text, and quoted else, so that
// it stays on its line and says nothing to the terminal.
func payloadWords(payload []byte) string {
	text := string(payload)
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

// onLine is a text on one line, and one that says nothing to the terminal.
func onLine(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// shellWord is a word for the shell to read.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-+:@%,=", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
