package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// field connects a key to its place in a C: a Config, or a Source of one.
type field[C any] struct {
	want string // what the file may say, in words
	// set reads a value of the file into c and reports what is wrong with it. It
	// leaves c alone when anything is.
	set func(c *C, v value) []fault
	// text is the value of c in the syntax of the file, plain the same without
	// quotes and brackets. A text that is empty says that the key is left out, which is
	// another thing than any value.
	text, plain func(c *C) string
	copy        func(to, from *C)
	example     string // of what may be left out
}

// line is the line of the file that says the value of c. Where that is left out it is a comment:
// that it is, or the example if one is wanted.
func (f field[C]) line(name string, c *C, example bool) string {
	switch text := f.text(c); {
	case text != "":
		return name + " = " + text + "\n"
	case example:
		return "# " + name + " = " + f.example + "\n"
	default:
		return "# " + name + " is left out\n"
	}
}

// fault is one thing wrong with a value. Line is 0 where it is the key's.
type fault struct {
	line int
	text string
}

// value is a value of the file, as far as any key can use it.
type value struct {
	kind  kind
	text  string // the content of a string; how any other scalar is written
	items []value
	line  int
}

// kind names the type of a value, in the words of a message.
type kind string

const (
	aString  kind = "a string"
	aNumber  kind = "an integer"
	aFloat   kind = "a number with a fraction"
	aBool    kind = "a truth value"
	aTime    kind = "a date or time"
	aList    kind = "a list"
	aSection kind = "a table"
)

// String describes v for a message that says what was expected instead.
func (v value) String() string {
	switch v.kind {
	case aString:
		return "the string " + quoted(v.text)
	case aList, aSection:
		return string(v.kind)
	default:
		return fmt.Sprintf("%s (%s)", v.kind, clipped(v.text))
	}
}

// text is a key whose value is a string that check finds no fault with.
func text[C any](at func(*C) *string, want string, check func(string) string) field[C] {
	return field[C]{
		want: want,
		set: func(c *C, v value) []fault {
			if v.kind != aString {
				return []fault{{text: fmt.Sprintf("want a string: %s, not %s", want, v)}}
			}
			if wrong := check(v.text); wrong != "" {
				return []fault{{text: wrong}}
			}
			*at(c) = v.text
			return nil
		},
		text:  func(c *C) string { return quotedTOML(*at(c)) },
		plain: func(c *C) string { return *at(c) },
		copy:  func(to, from *C) { *at(to) = *at(from) },
	}
}

// number is a key whose value is an integer from low to high, which T can hold.
func number[C any, T int | uint8 | uint16](at func(*C) *T, low, high int64) field[C] {
	return integer(at, fmt.Sprintf("%d to %d", low, high), func(n int64) bool { return n >= low && n <= high })
}

// numberOrNone is a key whose value is an integer from low to high, or 0, which means none.
func numberOrNone[C any, T int | uint8 | uint16](at func(*C) *T, none string, low, high int64) field[C] {
	return integer(at, fmt.Sprintf("0 for %s, or %d to %d", none, low, high), func(n int64) bool { return n == 0 || n >= low && n <= high })
}

// integer is a key whose value is an integer that is within its range, which T can hold.
func integer[C any, T int | uint8 | uint16](at func(*C) *T, want string, within func(int64) bool) field[C] {
	written := func(c *C) string { return strconv.FormatInt(int64(*at(c)), 10) }
	return field[C]{
		want: want,
		set: func(c *C, v value) []fault {
			if v.kind != aNumber {
				return []fault{{text: fmt.Sprintf("want an integer, %s, not %s", want, v)}}
			}
			// Base 0 reads what TOML has: 0x, 0o, 0b and underscores.
			n, err := strconv.ParseInt(v.text, 0, 64)
			if err != nil || !within(n) {
				return []fault{{text: fmt.Sprintf("want %s, not %s", want, clipped(v.text))}}
			}
			*at(c) = T(n)
			return nil
		},
		text:  written,
		plain: written,
		copy:  func(to, from *C) { *at(to) = *at(from) },
	}
}

// boolean is a key whose value is true or false.
func boolean[C any](at func(*C) *bool) field[C] {
	const want = "true or false"
	written := func(c *C) string { return strconv.FormatBool(*at(c)) }
	return field[C]{
		want: want,
		set: func(c *C, v value) []fault {
			if v.kind != aBool {
				return []fault{{text: fmt.Sprintf("want %s, without quotes, not %s", want, v)}}
			}
			*at(c) = v.text == "true"
			return nil
		},
		text:  written,
		plain: written,
		copy:  func(to, from *C) { *at(to) = *at(from) },
	}
}

// duration is a key whose value is a string such as "250ms", from low to high.
func duration[C any](at func(*C) *time.Duration, low, high time.Duration) field[C] {
	want := fmt.Sprintf("%s to %s", durationText(low), durationText(high))
	return span(at, want, func(d time.Duration) bool { return d >= low && d <= high })
}

// durationOrNone is a key whose value is a duration from low to high, or 0s, which
// means none.
func durationOrNone[C any](at func(*C) *time.Duration, none string, low, high time.Duration) field[C] {
	want := fmt.Sprintf("0s for %s, or %s to %s", none, durationText(low), durationText(high))
	return span(at, want, func(d time.Duration) bool { return d == 0 || d >= low && d <= high })
}

// span is a key whose value is a duration that is within its range.
func span[C any](at func(*C) *time.Duration, want string, within func(time.Duration) bool) field[C] {
	return field[C]{
		want: want,
		set: func(c *C, v value) []fault {
			if v.kind != aString {
				return []fault{{text: fmt.Sprintf(`want a duration in quotes, such as "250ms" or "1.5s", not %s`, v)}}
			}
			d, err := time.ParseDuration(v.text)
			if err != nil {
				return []fault{{text: fmt.Sprintf(`want a duration such as "250ms" or "1.5s", not %s`, quoted(v.text))}}
			}
			if !within(d) {
				return []fault{{text: fmt.Sprintf("want %s, not %s", want, quoted(v.text))}}
			}
			*at(c) = d
			return nil
		},
		text:  func(c *C) string { return quotedTOML(durationText(*at(c))) },
		plain: func(c *C) string { return durationText(*at(c)) },
		copy:  func(to, from *C) { *at(to) = *at(from) },
	}
}

// listenMax limits a list of addresses: each costs a socket for each worker.
const listenMax = 16

// addresses is a key whose value is a list of addresses with ports, each of which
// check finds no fault with.
func addresses[C any](at func(*C) *[]netip.AddrPort, check func(netip.AddrPort) string) field[C] {
	want := fmt.Sprintf("a list of 1 to %d addresses with ports", listenMax)
	return field[C]{
		want: want,
		set: func(c *C, v value) []fault {
			if v.kind != aList {
				return []fault{{text: fmt.Sprintf(`want %s, such as ["192.0.2.1:123", "[2001:db8::1]:123"], not %s`, want, v)}}
			}
			if n := len(v.items); n == 0 || n > listenMax {
				return []fault{{text: fmt.Sprintf("want %s, not a list of %d", want, n)}}
			}
			list, faults := readAddresses(v.items, check)
			if faults == nil {
				*at(c) = list
			}
			return faults
		},
		text:  func(c *C) string { return listText(*at(c)) },
		plain: func(c *C) string { return listPlain(*at(c)) },
		copy:  func(to, from *C) { *at(to) = slices.Clone(*at(from)) },
	}
}

// listText is a list in the syntax of the file.
func listText[T fmt.Stringer](list []T) string {
	items := make([]string, len(list))
	for i, item := range list {
		items[i] = quotedTOML(item.String())
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// listPlain is a list without quotes and brackets.
func listPlain[T fmt.Stringer](list []T) string {
	items := make([]string, len(list))
	for i, item := range list {
		items[i] = item.String()
	}
	return strings.Join(items, ", ")
}

func readAddresses(items []value, check func(netip.AddrPort) string) ([]netip.AddrPort, []fault) {
	var list []netip.AddrPort
	var faults []fault
	for _, item := range items {
		a, wrong := readAddress(item)
		if wrong == "" {
			wrong = check(a)
		}
		if wrong == "" && slices.Contains(list, a) {
			wrong = quoted(item.text) + " is in the list twice"
		}
		if wrong != "" {
			faults = append(faults, fault{line: item.line, text: wrong})
			continue
		}
		list = append(list, a)
	}
	return list, faults
}

// readAddress reads an IP address with a port. An IPv4 address in IPv6 clothes is
// the IPv4 address, so that it cannot be listed twice.
func readAddress(v value) (a netip.AddrPort, wrong string) {
	if v.kind != aString {
		return a, fmt.Sprintf(`want addresses in quotes, such as "192.0.2.1:123", not %s`, v)
	}
	a, err := netip.ParseAddrPort(v.text)
	switch {
	case err == nil:
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), ""
	case strings.HasPrefix(v.text, ":"):
		port := clipped(v.text[1:])
		return a, fmt.Sprintf(`%s names no address: write "0.0.0.0:%s" for every IPv4 address of the machine, "[::]:%s" for every IPv6 one`,
			quoted(v.text), port, port)
	default:
		return a, fmt.Sprintf(`%s is not an IP address with a port: write it as "192.0.2.1:123" or "[2001:db8::1]:123"`, quoted(v.text))
	}
}

func servable(a netip.AddrPort) string {
	if a.Addr().IsMulticast() || a.Addr() == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return quoted(a.String()) + " is an address of many machines: answers must come from one of this machine's own"
	}
	return ""
}

const (
	nameLenMax = 63
	pathLenMax = 4096 // PATH_MAX
	// sun_path holds 108 bytes, the last of them zero.
	socketLenMax = 107
)

const nameRange = "1 to 63 of the letters a-z and A-Z, digits, dots, dashes and underscores"

func nameFault(s string) string {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
	other := func(r rune) bool { return !strings.ContainsRune(allowed, r) }
	if s == "" || len(s) > nameLenMax || strings.ContainsFunc(s, other) {
		return fmt.Sprintf("want %s, not %s", nameRange, quoted(s))
	}
	return ""
}

// noPathFault is pathFault for a path that may be empty, which is none.
func noPathFault(s string) string {
	if s == "" {
		return ""
	}
	return pathFault(s)
}

func pathFault(s string) string {
	switch {
	case s == "":
		return `want a path, not an empty string; "." is the working directory`
	case len(s) > pathLenMax:
		return fmt.Sprintf("want a path of at most %d bytes, not of %d", pathLenMax, len(s))
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Sprintf("want a path without control characters, not %s", quoted(s))
	}
	return ""
}

// interfaceLenMax is what the kernel takes of a name: IFNAMSIZ is 16, the last of
// them zero.
const interfaceLenMax = 15

const interfaceRange = `the name of a network interface, such as "eth0", or "" for any`

func interfaceFault(s string) string {
	other := func(r rune) bool { return r == '/' || r == ':' || unicode.IsSpace(r) || unicode.IsControl(r) }
	if len(s) > interfaceLenMax || s == "." || s == ".." || strings.ContainsFunc(s, other) {
		return fmt.Sprintf("want %s, at most %d bytes without blanks, slashes and colons, not %s", interfaceRange, interfaceLenMax, quoted(s))
	}
	return ""
}

const chronydRange = `"auto", "off", the absolute path of its command socket, or a loopback address with its command port`

func chronydFault(s string) string {
	switch {
	case s == ChronydAuto || s == ChronydOff:
		return ""
	case filepath.IsAbs(s) && len(s) > socketLenMax:
		return fmt.Sprintf("want a socket's path of at most %d bytes, not of %d", socketLenMax, len(s))
	case filepath.IsAbs(s):
		return pathFault(s)
	}
	a, err := netip.ParseAddrPort(s)
	switch {
	case err != nil:
		return fmt.Sprintf("want %s, such as \"127.0.0.1:323\", not %s", chronydRange, quoted(s))
	case !a.Addr().IsLoopback() && !a.Addr().Unmap().IsLoopback():
		return quoted(s) + " is not a loopback address: only a chronyd on this machine can say what this clock does"
	case a.Port() == 0:
		return quoted(s) + " names no port: chronyd's command port is 323 unless its own configuration says otherwise"
	}
	return ""
}

const modeRange = `"follow", "steer" or "virtual"`

func modeFault(s string) string {
	if s != ModeFollow && s != ModeSteer && s != ModeVirtual {
		return fmt.Sprintf("want %s, not %s", modeRange, quoted(s))
	}
	return ""
}

const leapRange = `"auto", "off", or the absolute path of a file`

func leapFault(s string) string {
	switch {
	case s == LeapAuto || s == LeapOff:
		return ""
	case filepath.IsAbs(s):
		return pathFault(s)
	}
	return fmt.Sprintf("want %s, not %s", leapRange, quoted(s))
}

// durationText is d as one would write it: 1h, not 1h0m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// quotedTOML is s as a basic string of TOML, any s that is valid UTF-8.
func quotedTOML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsControl(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
