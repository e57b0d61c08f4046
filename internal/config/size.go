package config

import (
	"fmt"
	"strconv"
	"strings"
)

// sizeUnits are the units of a size, the largest first.
var sizeUnits = []struct {
	name  string
	bytes uint64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// size is a key whose value is a number of bytes from low to high.
func size[C any](at func(*C) *uint64, low, high uint64) field[C] {
	want := fmt.Sprintf("%s to %s", sizeText(low), sizeText(high))
	return field[C]{
		want: want,
		set: func(c *C, v value) []fault {
			if v.kind != aString && v.kind != aNumber {
				return []fault{{text: fmt.Sprintf(`want a size, such as "256MiB", "2GiB" or a number of bytes, not %s`, v)}}
			}
			n, ok := parseSize(v)
			if !ok {
				return []fault{{text: fmt.Sprintf(`want a size, such as "256MiB", "2GiB" or a number of bytes (units are KiB, MiB and GiB), not %s`, v)}}
			}
			if n < low || n > high {
				return []fault{{text: fmt.Sprintf("want %s, not %s", want, clipped(v.text))}}
			}
			*at(c) = n
			return nil
		},
		text:  func(c *C) string { return quotedTOML(sizeText(*at(c))) },
		plain: func(c *C) string { return sizeText(*at(c)) },
		copy:  func(to, from *C) { *at(to) = *at(from) },
	}
}

// parseSize reads a whole number of bytes, or of a unit of them in a string.
func parseSize(v value) (n uint64, ok bool) {
	if v.kind == aNumber {
		n, err := strconv.ParseUint(v.text, 0, 64) // as number does
		return n, err == nil
	}
	text, unit := v.text, uint64(1)
	for _, u := range sizeUnits {
		if number, found := strings.CutSuffix(text, u.name); found {
			text, unit = strings.TrimSuffix(number, " "), u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > 1<<63/unit {
		return 0, false
	}
	return n * unit, true
}

// sizeText is n in the largest unit that it is a whole number of.
func sizeText(n uint64) string {
	for _, u := range sizeUnits {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatUint(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatUint(n, 10)
}
