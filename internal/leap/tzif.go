package leap

// A compiled time zone (TZif) of version 2 or later has its data twice: with times of 32 bits,
// which nobody reads any more, and of 64. Leap seconds are pairs of a time and the sum of
// all leap seconds from then on. That time counts leap seconds too: it is Unix time plus the sum
// before. In a table of version 4 a last pair that repeats the sum says when the table expires, and
// a first one that is not one second tells that earlier leap seconds were left out.
//
// facebook/time has a reader, leapsectz. It is what the tests compare this one with, and does
// not serve here: it takes a path and no bytes, believes that a short read is the end, has no limit, refuses
// version 4, which is the one with an expiry, and puts a deleted second one second too late.
//
// Source: RFC 9636, section 3.

import (
	"encoding/binary"
	"fmt"
)

const (
	tzifMagic     = "TZif"
	tzifHeaderLen = 44
	tzifLeapLen   = 8 + 4
)

// tzifCounts are the numbers in a header, in their order.
type tzifCounts struct {
	utLocal, standardWall, leaps, times, types, chars uint64
}

// dataLen returns the length in bytes of what precedes the leap seconds, and of everything.
func (c *tzifCounts) dataLen(timeLen uint64) (beforeLeaps, all uint64) {
	beforeLeaps = c.times*(timeLen+1) + c.types*6 + c.chars
	return beforeLeaps, beforeLeaps + c.leaps*(timeLen+4) + c.standardWall + c.utLocal
}

// tzifHeader reads one of the two headers.
func tzifHeader(data []byte) (version byte, c tzifCounts, err error) {
	if len(data) < tzifHeaderLen || string(data[:len(tzifMagic)]) != tzifMagic {
		return 0, c, fmt.Errorf("%w: a header of a time zone is missing", ErrFormat)
	}
	for i, n := range [...]*uint64{&c.utLocal, &c.standardWall, &c.leaps, &c.times, &c.types, &c.chars} {
		*n = uint64(binary.BigEndian.Uint32(data[20+4*i:]))
	}
	return data[4], c, nil
}

func parseTZif(data []byte) (*Table, error) {
	version, counts, err := tzifHeader(data)
	if err != nil {
		return nil, err
	}
	if version < '2' {
		return nil, fmt.Errorf("%w: a time zone of version 1, whose times have 32 bits: compile it anew", ErrFormat)
	}
	_, all := counts.dataLen(4)
	if tzifHeaderLen+all > uint64(len(data)) {
		return nil, fmt.Errorf("%w: the time zone is cut short", ErrFormat)
	}
	data = data[tzifHeaderLen+all:]
	if _, counts, err = tzifHeader(data); err != nil {
		return nil, err
	}
	beforeLeaps, all := counts.dataLen(8)
	if tzifHeaderLen+all > uint64(len(data)) {
		return nil, fmt.Errorf("%w: the time zone is cut short", ErrFormat)
	}
	if counts.leaps == 0 {
		return nil, ErrNone
	}
	leaps := data[tzifHeaderLen+beforeLeaps:][:counts.leaps*tzifLeapLen]
	return tzifLeaps(version, leaps)
}

func tzifLeaps(version byte, data []byte) (*Table, error) {
	entries := []entry{{at: utcBegins, offset: offsetThen}}
	sum, expires := int64(0), int64(0)
	for i := 0; i < len(data); i += tzifLeapLen {
		at := int64(binary.BigEndian.Uint64(data[i:]))
		after := int64(int32(binary.BigEndian.Uint32(data[i+8:])))
		if at < 0 || at > secondsMax || after < -offsetMax || after > offsetMax {
			return nil, fmt.Errorf("%w: leap second %d is out of range", ErrFormat, i/tzifLeapLen+1)
		}
		first, last := i == 0, i+tzifLeapLen == len(data)
		change := after - sum
		switch {
		case version >= '4' && last && change == 0:
			expires = at - after
		case version >= '4' && first && change != 1 && change != -1:
			// What the sum was before is not told: it was one less, or, after a deleted second, one more.
			begins := at - (after - 1)
			if !monthStarts(begins * second) {
				begins = at - after
			}
			entries = []entry{{at: begins, offset: offsetThen + int(after)}}
		default:
			entries = append(entries, entry{at: at - min(sum, after), offset: offsetThen + int(after)})
		}
		sum = after
	}
	return newTable(entries, 0, expires)
}
