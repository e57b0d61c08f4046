package sysclock

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/truechimer/truechimer/internal/leap"
)

// leapFileAge is how long a list is believed to be the one on disk.
const leapFileAge = time.Hour

// Leaps is the list of leap seconds that was chosen.
type Leaps struct {
	Table    *leap.Table // never nil; the zero Table where there is none
	From     string      // path of the file; empty where there is none
	Warnings []string    // one sentence each, for an operator
}

// LeapFile reads the list of leap seconds, and reads it again when it changes. Not for
// concurrent use; the tables that it returns are.
type LeapFile struct {
	paths []string

	looked bool
	at     int64  // when the files were looked at last, Unix nanoseconds
	seen   string // what tells whether they have changed since
	leaps  Leaps  // without the warning of expiry
}

// NewLeapFile returns a reader of the list that setting names: a path; "auto" for the first
// good one of those that systems have; or "off" for none.
func NewLeapFile(setting string) *LeapFile {
	switch setting {
	case "off":
		return &LeapFile{}
	case "auto":
		return &LeapFile{paths: []string{
			"/usr/share/zoneinfo/leap-seconds.list",
			"/usr/share/zoneinfo/leapseconds",
			"/usr/share/zoneinfo/right/UTC",
		}}
	default:
		return &LeapFile{paths: []string{setting}}
	}
}

// Load returns the list. It looks at the files when an hour has passed since it did, and
// reads them when one has changed; now is Unix nanoseconds. Of several good ones it takes the
// first, or one that expires later. When none is good any more, the last good one stands. An
// expired list is as good as another for what is past; it only warns.
func (f *LeapFile) Load(now int64) Leaps {
	if age := time.Duration(now - f.at); !f.looked || age.Abs() >= leapFileAge {
		f.looked, f.at = true, now
		if seen := f.look(); seen != f.seen || f.leaps.Table == nil {
			f.seen = seen
			f.read()
		}
	}
	leaps := f.leaps
	leaps.Warnings = append([]string(nil), leaps.Warnings...)
	if at, ok := leaps.Table.Expires(); ok && now >= at {
		leaps.Warnings = append(leaps.Warnings, fmt.Sprintf("the list of leap seconds %s expired on %s: it knows of no leap second since; update the package tzdata, or set clock.leap_file",
			leaps.From, time.Unix(0, at).UTC().Format(time.DateOnly)))
	}
	return leaps
}

// look returns a text that is another when a file has changed.
func (f *LeapFile) look() string {
	var seen strings.Builder
	for _, path := range f.paths {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintln(&seen, path, info.ModTime().UnixNano(), info.Size())
		}
	}
	return seen.String()
}

// read reads all files and chooses one.
func (f *LeapFile) read() {
	var best Leaps
	var warnings []string
	for _, path := range f.paths {
		table, err := readLeaps(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && len(f.paths) > 1, errors.Is(err, leap.ErrNone) && len(f.paths) > 1:
			continue // it is one of several places where it might have been
		case err != nil:
			warnings = append(warnings, fmt.Sprintf("the list of leap seconds %s is not used: %v", path, err))
			continue
		}
		expires, _ := table.Expires()
		if best.Table != nil {
			if until, _ := best.Table.Expires(); expires <= until {
				continue
			}
		}
		best = Leaps{Table: table, From: path}
	}
	switch {
	case best.Table != nil:
		f.leaps = best
	case f.leaps.Table == nil:
		f.leaps.Table = new(leap.Table)
		if len(f.paths) > 0 {
			warnings = append(warnings, "there is no list of leap seconds: they are made when the sources announce them; install the package tzdata, or set clock.leap_file (\"off\" ends this warning)")
		}
	case f.leaps.From != "":
		warnings = append(warnings, fmt.Sprintf("what was read from %s before stands", f.leaps.From))
	}
	f.leaps.Warnings = warnings
}

// readLeaps reads one file, which has to be a regular one: reading anything else may never
// end.
func readLeaps(path string) (*leap.Table, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: it is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, leap.SizeMax+1))
	if err != nil {
		return nil, err
	}
	return leap.Parse(data)
}
