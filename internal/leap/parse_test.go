package leap

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/facebook/time/leaphash"
	"github.com/facebook/time/leapsectz"
)

// history is every leap second so far: the midnights after them.
func history() []int64 {
	var at []int64
	for _, ym := range []string{
		"1972-07", "1973-01", "1974-01", "1975-01", "1976-01", "1977-01", "1978-01", "1979-01", "1980-01", "1981-07",
		"1982-07", "1983-07", "1985-07", "1988-01", "1990-01", "1991-01", "1992-07", "1993-07", "1994-07", "1996-01",
		"1997-07", "1999-01", "2006-01", "2009-01", "2012-07", "2015-07", "2017-01",
	} {
		d, err := time.Parse("2006-01", ym)
		if err != nil {
			panic(err) // invariant: the list above is right
		}
		at = append(at, d.Unix())
	}
	return at
}

const (
	listUpdated = 3960835200 // NTP seconds: 2025-07-07
	listExpires = 3991593600 // 2026-06-28
	// The hash that IERS computed of these data. Source: STANDARDS 2.5.
	iersHash = "49db2447 571e5e1b 2f002a53 9c8da8e4 39b8e49e"
)

// list is a list with the given lines of data, and the hash as another's code computes it.
func list(updated, expires int64, lines ...string) string {
	text := fmt.Sprintf("#\tA comment\n#$\t %d\n#@\t%d\n#\n%s", updated, expires, strings.Join(lines, ""))
	return text + "#h\t" + leaphash.Compute(text) + "\n"
}

// wholeList is that of 2025 with comments of ours.
func wholeList() string {
	lines := []string{fmt.Sprintf("%d\t10\t# 1 Jan 1972\n", utcBegins+unixToNTP)}
	for i, at := range history() {
		lines = append(lines, fmt.Sprintf("%d      %d      # %s\n", at+unixToNTP, 11+i, time.Unix(at, 0).UTC().Format(time.DateOnly)))
	}
	return list(listUpdated, listExpires, lines...)
}

// wholeRules is the same as the time zone compiler reads it.
func wholeRules() string {
	var text strings.Builder
	text.WriteString("# Leap\tYEAR\tMON\tDAY\t23:59:60\t+\tS\n")
	for _, at := range history() {
		text.WriteString(time.Unix(at-1, 0).UTC().Format("Leap\t2006\tJan\t2\t") + "23:59:60\t+\tS # well\n")
	}
	fmt.Fprintf(&text, "\n#Expires 2026\tJun\t28\t00:00:00\n#updated %d (x)\n#expires %d (x)\n", listUpdated-unixToNTP, listExpires-unixToNTP)
	return text.String()
}

// wholeZone is the same, compiled by another's code.
func wholeZone(t testing.TB) []byte {
	var leaps []leapsectz.LeapSecond
	for i, at := range history() {
		leaps = append(leaps, leapsectz.LeapSecond{Tleap: uint64(at) + uint64(i), Nleap: int32(i + 1)})
	}
	var file bytes.Buffer
	if err := leapsectz.Write(&file, '2', leaps, "UTC"); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// zone is a compiled time zone with the given pairs of (time, sum).
func zone(version byte, pairs ...int64) []byte {
	header := func(leaps int) []byte {
		h := append([]byte(tzifMagic), version)
		h = append(h, make([]byte, 15)...)
		for _, n := range []int{1, 2, leaps, 3, 2, 4} {
			h = binary.BigEndian.AppendUint32(h, uint32(n))
		}
		return h
	}
	data := append(header(1), make([]byte, 3*5+2*6+4+8+1+2)...)
	data = append(append(data, header(len(pairs)/2)...), make([]byte, 3*9+2*6+4)...)
	for i := 0; i < len(pairs); i += 2 {
		data = binary.BigEndian.AppendUint64(data, uint64(pairs[i]))
		data = binary.BigEndian.AppendUint32(data, uint32(pairs[i+1]))
	}
	return append(data, "\x00\x00\x00\nUTC0\n"...)
}

func TestStandards(t *testing.T) {
	for name, data := range map[string][]byte{"list": []byte(wholeList()), "rules": []byte(wholeRules()), "zone": wholeZone(t)} {
		t.Run(name, func(t *testing.T) {
			table, err := Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			if offset, known := table.Offset(date(2026, 11, 22)); offset != 37 || !known {
				t.Errorf("TAI−UTC is %d s, want 37", offset)
			}
			for i, at := range history() {
				before, _ := table.Offset(at*second - 1)
				after, _ := table.Offset(at * second)
				if before != 10+i || after != 11+i {
					t.Errorf("at %d TAI−UTC goes from %d to %d", at, before, after)
				}
			}
			if _, _, ok := table.Next(newYear2017); ok {
				t.Error("there is a leap second after 2017")
			}
			expires, ok := table.Expires()
			updated, changed := table.Updated()
			if stated := name != "zone"; ok != stated || changed != stated || stated && (expires != date(2026, 6, 28) || updated != date(2025, 7, 7)) {
				t.Errorf("updated %d (%v), expires %d (%v)", updated, changed, expires, ok)
			}
		})
	}
	if !strings.Contains(wholeList(), iersHash) {
		t.Errorf("the list has not the hash that IERS published: %s", wholeList())
	}
}

// The hash of ntpsec's test list, which has the expiry before the change: the order of the
// file counts. Source: STANDARDS 2.5.
func TestHashOfShortList(t *testing.T) {
	text := fmt.Sprintf("#@ 3610569600\n#$ 3610566000\n%d 10\n", utcBegins+unixToNTP)
	for i, at := range history()[:9] {
		text += fmt.Sprintf("%d %d\n", at+unixToNTP, 11+i)
	}
	table, err := Parse([]byte(text + "#h 4b304e10 95642b3f c10b91f9 90791725 25f280d0\n"))
	if err != nil {
		t.Fatal(err)
	}
	if expires, _ := table.Expires(); expires != (3610569600-unixToNTP)*second {
		t.Errorf("expires %d", expires)
	}
}

func TestHash(t *testing.T) {
	good := wholeList()
	if _, err := Parse([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"another hash":        strings.Replace(good, iersHash, "4b304e10 95642b3f c10b91f9 90791725 25f280d0", 1),
		"a digit of the hash": strings.Replace(good, "#h\t49", "#h\t48", 1),
		"its last digit":      strings.Replace(good, "39b8e49e", "39b8e49f", 1),
		"groups swapped":      strings.Replace(good, "49db2447 571e5e1b", "571e5e1b 49db2447", 1),
		"a group less":        strings.Replace(good, " 39b8e49e", "", 1),
		"a group more":        strings.Replace(good, "39b8e49e", "39b8e49e 00000000", 1),
		"no hex":              strings.Replace(good, "39b8e49e", "39b8e49g", 1),
		"a sign":              strings.Replace(good, "39b8e49e", "+39b8e49e", 1),
		"too long a group":    strings.Replace(good, "39b8e49e", "139b8e49e", 1),
		"the expiry":          strings.Replace(good, "#@\t3991593600", "#@\t4991593600", 1),
		"the change":          strings.Replace(good, "3960835200", "3960835201", 1),
		"a line less":         good[:strings.Index(good, "3692217600")] + good[strings.Index(good, "#h"):],
		"another date":        strings.Replace(good, "3692217600", "3699993600", 1),
	} {
		var wrong *HashError
		if _, err := Parse([]byte(bad)); !errors.As(err, &wrong) || wrong.Stated == "" || !strings.Contains(err.Error(), "hash says "+wrong.Stated) {
			t.Errorf("%s: %v, want a hash error", name, err)
		}
	}
	for name, same := range map[string]string{
		"upper case":     strings.Replace(good, iersHash, strings.ToUpper(iersHash), 1),
		"other comments": strings.ReplaceAll(strings.ReplaceAll(good, "# 2", "   # on 2"), "A comment", "Another"),
		"other space":    strings.ReplaceAll(good, "      ", "\t "),
		"other newlines": strings.ReplaceAll(good, "\n", "\r\n"),
	} {
		if same == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := Parse([]byte(same)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	none := good[:strings.Index(good, "#h")]
	var wrong *HashError
	if _, err := Parse([]byte(none)); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "no hash") {
		t.Errorf("without a hash: %v", err)
	}
}

// Leading zeros of a group have been lost in some lists.
func TestHashWithoutLeadingZeros(t *testing.T) {
	for expires := int64(listExpires); ; expires++ {
		text := fmt.Sprintf("#$ %d\n#@ %d\n2272060800 10\n", int64(listUpdated), expires)
		sum := sha1.Sum(fmt.Appendf(nil, "%d%d227206080010", int64(listUpdated), expires))
		if sum[0] >= 0x10 && sum[4] >= 0x10 && sum[8] >= 0x10 && sum[12] >= 0x10 {
			continue
		}
		text += "#h"
		for i := 0; i < len(sum); i += 4 {
			text += fmt.Sprintf(" %x", binary.BigEndian.Uint32(sum[i:]))
		}
		if _, err := Parse([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		return
	}
}

// withoutDate is a list without one of its dates, and with the hash of the rest.
func withoutDate(mark string) string {
	var kept strings.Builder
	for line := range strings.Lines(list(listUpdated, listExpires, "2272060800 10\n")) {
		if !strings.HasPrefix(line, mark) && !strings.HasPrefix(line, "#h") {
			kept.WriteString(line)
		}
	}
	return kept.String() + "#h " + leaphash.Compute(kept.String()) + "\n"
}

func TestListRefused(t *testing.T) {
	const first, second = "2272060800 10\n", "2287785600 11\n"
	for name, text := range map[string]string{
		"empty":                "",
		"words":                "hello\n",
		"comments":             "# nothing\n",
		"no data":              list(listUpdated, listExpires),
		"one field":            list(listUpdated, listExpires, "2272060800\n"),
		"three fields":         list(listUpdated, listExpires, "2272060800 10 1972\n"),
		"a negative time":      list(listUpdated, listExpires, "-2272060800 10\n"),
		"before Unix":          list(listUpdated, listExpires, "1 10\n"),
		"before UTC":           list(listUpdated, listExpires, "2240524800 10\n"),
		"beyond nanoseconds":   list(listUpdated, listExpires, "11644473600 10\n"),
		"beyond integers":      list(listUpdated, listExpires, "99999999999999999999 10\n"),
		"no offset":            list(listUpdated, listExpires, "2272060800 x\n"),
		"a huge offset":        list(listUpdated, listExpires, "2272060800 3001\n"),
		"two seconds at once":  list(listUpdated, listExpires, first, "2287785600 12\n"),
		"the same offset":      list(listUpdated, listExpires, first, "2287785600 10\n"),
		"backwards":            list(listUpdated, listExpires, second, "2272060800 12\n"),
		"the same time":        list(listUpdated, listExpires, first, "2272060800 11\n"),
		"in mid-month":         list(listUpdated, listExpires, first, "2287872000 11\n"),
		"at noon":              list(listUpdated, listExpires, first, "2287828800 11\n"),
		"no expiry":            withoutDate("#@"),
		"no change":            withoutDate("#$"),
		"two expiries":         list(listUpdated, listExpires, "#@ 3991593600\n", first),
		"two hashes":           list(listUpdated, listExpires, first) + "#h 1 2 3 4 5\n",
		"an empty hash":        list(listUpdated, listExpires, first) + "#h\n",
		"no date":              list(listUpdated, listExpires, first) + "#$ x\n",
		"expires beyond range": list(listUpdated, 13_000_000_000, first),
		"expires before UTC":   list(listUpdated, unixToNTP+1, first),
	} {
		table, err := Parse([]byte(text))
		var wrong *HashError
		if !errors.Is(err, ErrFormat) && !errors.As(err, &wrong) || table != nil {
			t.Errorf("%s: %v", name, err)
		}
		if errors.As(err, &wrong) {
			t.Errorf("%s: it is its hash that is refused", name)
		}
	}
	short := list(listUpdated, listExpires, "3692217600 37\n")
	if table, err := Parse([]byte(short)); err != nil {
		t.Errorf("a list that begins later: %v", err)
	} else if offset, known := table.Offset(newYear2017 - 1); offset != 37 || known {
		t.Errorf("a list that begins later knows %d s before", offset)
	}
	if _, err := Parse(append([]byte(short), strings.Repeat("#\n", SizeMax/2)...)); !errors.Is(err, ErrFormat) {
		t.Errorf("a list above the limit: %v", err)
	}
}

// Lists go on counting when the era of NTP ends, in 2036.
func TestListBeyondEra(t *testing.T) {
	at := date(2037, 1, 1)
	text := list(listUpdated, at/second+unixToNTP+1, "3692217600 37\n", fmt.Sprintf("%d 36\n", at/second+unixToNTP))
	table, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if offset, _ := table.Offset(at); offset != 36 || !table.Covers(at) || table.Covers(at+second) {
		t.Errorf("TAI−UTC is %d s in 2037", offset)
	}
}

func TestRules(t *testing.T) {
	table, err := Parse([]byte("Leap 1972 Jun 30 23:59:60 + S\nLeap 1973 Dec 31 23:59:59 - S\nExpires 1974 Jun 28 00:00:00\n"))
	if err != nil {
		t.Fatal(err)
	}
	if table.UTC(table.TAI(date(1974, 1, 1))-1) != date(1974, 1, 1)-second-1 {
		t.Error("a deleted second is not skipped")
	}
	if at, ok := table.Expires(); !ok || at != date(1974, 6, 28) {
		t.Errorf("expires %d", at)
	}
	for _, bad := range []string{
		"Leap 1972 Jun 30 23:59:60 + R\n", "Leap 1972 Jun 30 23:59:60 - S\n", "Leap 1972 Jun 30 23:59:59 + S\n",
		"Leap 1972 Jun 29 23:59:60 + S\n", "Leap 1972 Jun 31 23:59:60 + S\n", "Leap 1972 Jun 30 23:59:60 +\n",
		"Leap x Jun 30 23:59:60 + S\n", "Leapt\n", "Leap 1972 Jun 30 23:59:60 + S\nLeap 1972 Jun 30 23:59:60 + S\n",
		"Leap 1972 Jun 30 23:59:60 + S\nRule x\n", "Leap 1972 Jun 30 23:59:60 + S\n#expires x\n",
		"Leap 1972 Jun 30 23:59:60 + S\nExpires 1974 Jun 31 00:00:00\n", "Leap 1972 Jun 30 23:59:60 + S\n#updated -1\n",
		"Leap 1971 Jun 30 23:59:60 + S\n", "Leap 2300 Jun 30 23:59:60 + S\n",
	} {
		if _, err := Parse([]byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestZone(t *testing.T) {
	const a, b, c = 78796800, 94694400, 126230400 // 1972-07-01, 1973-01-01, 1974-01-01
	for _, x := range []struct {
		name    string
		version byte
		pairs   []int64
		offsets map[int64]int // after each of these
		expires int64
	}{
		{"version 2", '2', []int64{a, 1, b + 1, 2}, map[int64]int{a - 1: 10, a: 11, b - 1: 11, b: 12}, 0},
		{"version 3", '3', []int64{a, 1, b + 1, 2}, map[int64]int{a: 11, b: 12}, 0},
		{"a deleted second", '2', []int64{a, 1, b, 0, c, 1}, map[int64]int{a: 11, b - 2: 11, b: 10, c - 1: 10, c: 11}, 0},
		{"a deleted second first", '2', []int64{a - 1, -1}, map[int64]int{a - 2: 10, a: 9}, 0},
		{"version 4 expires", '4', []int64{a, 1, b + 1, 2, c + 2, 2}, map[int64]int{a: 11, b: 12, c: 12}, c},
		{"version 4 begins late", '4', []int64{b + 1, 2, c + 2, 3}, map[int64]int{b: 12, c - 1: 12, c: 13}, 0},
		{"version 4 begins late with a deleted one", '4', []int64{b + 6, 6}, map[int64]int{b: 16}, 0},
		{"version 4 expires and no more", '4', []int64{c, 0}, map[int64]int{c: 10}, c},
	} {
		table, err := Parse(zone(x.version, x.pairs...))
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		for at, want := range x.offsets {
			if got, known := table.Offset(at * second); got != want || !known {
				t.Errorf("%s: TAI−UTC is %d s at %d (known: %v), want %d", x.name, got, at, known, want)
			}
		}
		if got, ok := table.Expires(); got != x.expires*second || ok != (x.expires != 0) {
			t.Errorf("%s: expires %d, want %d", x.name, got/second, x.expires)
		}
	}
	good := zone('2', a, 1, b+1, 2)
	for n := range len(good) - 6 {
		if _, err := Parse(good[:n]); !errors.Is(err, ErrFormat) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(good), err)
		}
	}
	for name, data := range map[string][]byte{
		"version 1":          zone(0, a, 1),
		"no sum":             zone('2', a, 0),
		"two at once":        zone('2', a, 2),
		"late start in 3":    zone('3', b+1, 2),
		"expiry in 3":        zone('3', a, 1, c+1, 1),
		"expiry not last":    zone('4', a, 1, b+1, 1, c+1, 2),
		"negative":           zone('2', -a, 1),
		"beyond nanoseconds": zone('2', 1<<40, 1),
		"a huge sum":         zone('4', a, 1<<31-1),
		"not at midnight":    zone('2', a+1, 1),
	} {
		if _, err := Parse(data); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Parse(zone('2')); !errors.Is(err, ErrNone) {
		t.Errorf("a zone without leap seconds: %v", err)
	}
}

// Our reader agrees with another's.
func TestZoneEqualsLeapsectz(t *testing.T) {
	path := filepath.Join(t.TempDir(), "zone")
	if err := os.WriteFile(path, wholeZone(t), 0o600); err != nil {
		t.Fatal(err)
	}
	theirs, err := leapsectz.Parse(path)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := Parse(wholeZone(t))
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range theirs {
		if e := ours.events[i]; e.At != l.Time().UnixNano() || e.Offset != int(l.Nleap)+10 {
			t.Errorf("leap second %d: %+v, want %v", i, e, l)
		}
	}
	if len(ours.events) != len(theirs) {
		t.Errorf("%d leap seconds, want %d", len(ours.events), len(theirs))
	}
}

// What is parsed without an error obeys the rules of a table, whatever it was.
func FuzzParse(f *testing.F) {
	f.Add([]byte(wholeList()))
	f.Add([]byte(wholeRules()))
	f.Add(wholeZone(f))
	f.Add(zone('4', 78796800, 1, 94694400, 0, 126230400, 0))
	f.Add([]byte(list(listUpdated, listExpires, "3692217600 37\n", "4102444800 36\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := Parse(data)
		var wrong *HashError
		switch {
		case err != nil && table != nil:
			t.Fatal("a table and an error")
		case err != nil && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrNone) && !errors.As(err, &wrong):
			t.Fatalf("an error of no kind: %v", err)
		case err != nil:
			return
		}
		for i, e := range table.events {
			if !monthStarts(e.At) || table.step(i).Abs() != time.Second || i > 0 && e.At <= table.events[i-1].At {
				t.Fatalf("event %d is %+v", i, e)
			}
			for _, tai := range []int64{table.edge(i) - 1, table.edge(i), table.edge(i) + second, table.edge(i) + int64(AbsorbTime)} {
				if utc := table.UTC(tai); !table.Ambiguous(utc) && table.TAI(utc) != tai {
					t.Fatalf("TAI of UTC of %d is %d", tai, table.TAI(utc))
				}
				if s := table.Smooth(tai); s.Unix-int64(s.Unabsorbed) != table.UTC(tai) || s.Unabsorbed.Abs() > time.Second {
					t.Fatalf("smooth time at %d is %+v", tai, s)
				}
			}
		}
	})
}
