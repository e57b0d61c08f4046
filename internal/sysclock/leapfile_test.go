package sysclock

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/facebook/time/leaphash"

	"github.com/truechimer/truechimer/internal/leap"
)

// leapDir is a directory with lists of leap seconds.
type leapDir struct {
	t    *testing.T
	path string
	now  int64
}

const (
	listName  = "leap-seconds.list"
	rulesName = "leapseconds"
)

func newLeapDir(t *testing.T) *leapDir {
	return &leapDir{t: t, path: t.TempDir(), now: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()}
}

func (d *leapDir) file(names ...string) *LeapFile {
	f := &LeapFile{}
	for _, name := range names {
		f.paths = append(f.paths, filepath.Join(d.path, name))
	}
	return f
}

// write writes a file as of now.
func (d *leapDir) write(name, text string) {
	d.t.Helper()
	path := filepath.Join(d.path, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Unix(0, d.now), time.Unix(0, d.now)); err != nil {
		d.t.Fatal(err)
	}
}

// leapList is a list of one offset.
func leapList(offset int, expires time.Time) string {
	const unixToNTP = (70*365 + 17) * 86400
	text := fmt.Sprintf("#$ 3960835200\n#@ %d\n3692217600 %d\n", expires.Unix()+unixToNTP, offset)
	return text + "#h " + leaphash.Compute(text) + "\n"
}

func leapRules(expires time.Time) string {
	return fmt.Sprintf("Leap 2016 Dec 31 23:59:60 + S\n#expires %d x\n", expires.Unix())
}

func (d *leapDir) years(n int) time.Time { return time.Unix(0, d.now).AddDate(n, 0, 0) }

// want checks what is loaded now: the offset, the file, and a part of each warning.
func (d *leapDir) want(f *LeapFile, offset int, from string, warnings ...string) {
	d.t.Helper()
	got := f.Load(d.now)
	if from != "" {
		from = filepath.Join(d.path, from)
	}
	if seconds, _ := got.Table.Offset(d.now); seconds != offset || got.From != from || len(got.Warnings) != len(warnings) {
		d.t.Fatalf("%d s from %q with %q, want %d from %q with %q", seconds, got.From, got.Warnings, offset, from, warnings)
	}
	for i, part := range warnings {
		if !strings.Contains(got.Warnings[i], part) {
			d.t.Errorf("warned of %q, want %q", got.Warnings[i], part)
		}
	}
}

func TestLeapFileChoice(t *testing.T) {
	d := newLeapDir(t)
	damaged := strings.Replace(leapList(38, d.years(1)), " 38", " 39", 1)
	for _, c := range []struct {
		name        string
		list, rules string
		offset      int
		from        string
		warnings    []string
	}{
		{"none", "", "", 0, "", []string{"no list of leap seconds"}},
		{"the list", leapList(38, d.years(1)), leapRules(d.years(1)), 38, listName, nil},
		{"the other", "", leapRules(d.years(1)), 11, rulesName, nil},
		{"damaged", damaged, leapRules(d.years(1)), 11, rulesName, []string{"hash"}},
		{"damaged, and no other", damaged, "", 0, "", []string{"hash", "no list of leap seconds"}},
		{"both damaged", damaged, "Leap\n", 0, "", []string{"hash", "line 1", "no list of leap seconds"}},
		{"expired", leapList(38, d.years(0)), "", 38, listName, []string{"expired on 2027-01-01"}},
		{"expired, and the other is not", leapList(38, d.years(-1)), leapRules(d.years(1)), 11, rulesName, nil},
		{"both expired", leapList(38, d.years(-1)), leapRules(d.years(-2)), 38, listName, []string{"expired on 2026-01-01"}},
	} {
		d := newLeapDir(t)
		if c.list != "" {
			d.write(listName, c.list)
		}
		if c.rules != "" {
			d.write(rulesName, c.rules)
		}
		t.Run(c.name, func(t *testing.T) {
			d.t = t
			d.want(d.file(listName, rulesName), c.offset, c.from, c.warnings...)
		})
	}
}

func TestLeapFileSetting(t *testing.T) {
	d := newLeapDir(t)
	if got := NewLeapFile("off").Load(d.now); got.Table == nil || got.From != "" || got.Warnings != nil {
		t.Errorf("off: %+v", got)
	}
	if f := NewLeapFile("/x/y"); len(f.paths) != 1 || f.paths[0] != "/x/y" {
		t.Errorf("a path: %q", f.paths)
	}
	if f := NewLeapFile("auto"); len(f.paths) != 3 || f.paths[0] != "/usr/share/zoneinfo/leap-seconds.list" {
		t.Errorf("auto: %q", f.paths)
	}
	d.want(d.file("gone"), 0, "", "no such file", "no list")
	if err := os.Mkdir(filepath.Join(d.path, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	d.want(d.file("dir"), 0, "", "not a regular file", "no list")
	d.write("big", leapList(38, d.years(1))+strings.Repeat("#\n", leap.SizeMax))
	d.want(d.file("big"), 0, "", "larger than", "no list")
}

func TestLeapFileChanges(t *testing.T) {
	d := newLeapDir(t)
	f := d.file(listName, rulesName)
	d.want(f, 0, "", "no list")
	pass := func(by time.Duration) { d.now += int64(by) }

	pass(leapFileAge - 1)
	d.write(listName, leapList(37, d.years(1)))
	d.want(f, 0, "", "no list") // not looked at yet
	pass(1)
	d.want(f, 37, listName)
	before := f.Load(d.now).Table
	pass(leapFileAge)
	if f.Load(d.now).Table != before {
		t.Error("a file that has not changed was read again")
	}
	pass(time.Minute)
	d.write(listName, leapList(38, d.years(1)))
	d.want(f, 37, listName)
	pass(leapFileAge)
	d.want(f, 38, listName)

	d.write(listName, "half of it")
	pass(leapFileAge)
	d.want(f, 38, listName, "not used", "stands")
	if err := os.Remove(filepath.Join(d.path, listName)); err != nil {
		t.Fatal(err)
	}
	pass(leapFileAge)
	d.want(f, 38, listName, "stands")
	pass(2 * 365 * 24 * time.Hour)
	d.want(f, 38, listName, "stands", "expired")
	d.write(listName, leapList(39, d.years(1)))
	pass(-time.Hour) // the clock was set back
	d.want(f, 39, listName)
}

// Expiry comes without anybody reading the file.
func TestLeapFileExpires(t *testing.T) {
	d := newLeapDir(t)
	d.write(listName, leapList(37, time.Unix(0, d.now).Add(time.Minute)))
	f := d.file(listName)
	d.want(f, 37, listName)
	d.now += int64(time.Minute) - 1
	d.want(f, 37, listName)
	d.now++
	d.want(f, 37, listName, "expired")
	d.want(f, 37, listName, "expired") // and is said once each time
}
