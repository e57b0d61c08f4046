package ntp

import (
	"encoding/binary"
	"testing"
)

// fields returns extension fields of the given lengths, one after the other.
func fields(lens ...int) []byte {
	var b []byte
	for _, n := range lens {
		field := make([]byte, n)
		binary.BigEndian.PutUint16(field, 0x0104)
		binary.BigEndian.PutUint16(field[2:], uint16(n))
		b = append(b, field...)
	}
	return b
}

// key returns n bytes that begin with a key identifier that is not zero.
func key(n int) []byte {
	b := make([]byte, n)
	b[3] = 7
	return b
}

func TestSplit(t *testing.T) {
	lying := fields(28)
	lying[3] = 32
	odd := fields(32)
	odd[3] = 30
	cases := []struct {
		name    string
		rest    []byte
		version uint8
		want    Trailer
		fields  int
	}{
		{"48: plain", nil, 4, TrailerNone, 0},
		{"50", make([]byte, 2), 4, TrailerMalformed, 0},
		{"52: crypto-NAK", make([]byte, 4), 4, TrailerCryptoNAK, 0},
		{"52: a key and no digest", key(4), 4, TrailerMalformed, 0},
		{"60", make([]byte, 12), 4, TrailerMalformed, 0},
		{"64", make([]byte, 16), 4, TrailerMalformed, 0},
		{"64: a field too short to end a packet", fields(16), 4, TrailerMalformed, 0},
		{"68: MD5, CMAC", key(20), 4, TrailerMAC, 0},
		{"68: a MAC whose key looks like a field", fields(20), 4, TrailerMAC, 0},
		{"72: SHA-1", key(24), 4, TrailerMAC, 0},
		{"76: one field", fields(28), 4, TrailerFields, 28},
		{"76: zeros are no field", make([]byte, 28), 4, TrailerMalformed, 0},
		{"two fields", fields(16, 28), 4, TrailerFields, 44},
		{"two fields, the last too short", fields(28, 16), 4, TrailerMalformed, 0},
		{"a field and a MAC", append(fields(16), key(20)...), 4, TrailerFieldsMAC, 16},
		{"a field and a long MAC", append(fields(28), key(24)...), 4, TrailerFieldsMAC, 28},
		{"a field and a crypto-NAK", append(fields(28), 0, 0, 0, 0), 4, TrailerCryptoNAK, 28},
		{"a field and a crypto-NAK that has a key", append(fields(28), key(4)...), 4, TrailerMalformed, 0},
		{"a field longer than the packet", lying, 4, TrailerMalformed, 0},
		{"a length that is no multiple of four", odd, 4, TrailerMalformed, 0},
		{"two such lengths that make one", fields(30, 30), 4, TrailerMalformed, 0},
		{"a field shorter than a field", append([]byte{0, 1, 0, 12}, make([]byte, 40)...), 4, TrailerMalformed, 0},
		{"a field of nothing", append([]byte{0, 1, 0, 0}, make([]byte, 40)...), 4, TrailerMalformed, 0},

		{"version 3, plain", nil, 3, TrailerNone, 0},
		{"version 3, old MAC", key(12), 3, TrailerMAC, 0},
		{"version 3, MD5", key(20), 3, TrailerMAC, 0},
		{"version 3, what would be a field", fields(28), 3, TrailerMAC, 0},
		{"version 3, SHA-512", key(68), 3, TrailerMAC, 0},
		{"version 3, longer than any MAC", key(72), 3, TrailerMalformed, 0},
		{"version 3, odd", key(21), 3, TrailerMalformed, 0},
		{"version 3, neither", key(16), 3, TrailerMalformed, 0},
		{"version 3, crypto-NAK", make([]byte, 4), 3, TrailerCryptoNAK, 0},
		{"version 1, MD5", key(20), 1, TrailerMAC, 0},
	}
	for _, c := range cases {
		got, n := Split(c.rest, c.version)
		if got != c.want || n != c.fields {
			t.Errorf("%s: got %d with %d bytes of fields, want %d with %d", c.name, got, n, c.want, c.fields)
		}
	}
}

// FuzzSplit: whatever follows, the fields found are whole and what is left
// has the length that the structure says.
func FuzzSplit(f *testing.F) {
	f.Add(fields(16, 28), uint8(4))
	f.Add(append(fields(16), key(20)...), uint8(4))
	f.Add([]byte{0, 1, 0xff, 0xfc, 27: 0}, uint8(4))
	f.Add(make([]byte, 4), uint8(3))
	f.Fuzz(func(t *testing.T, rest []byte, version uint8) {
		got, n := Split(rest, version)
		if n < 0 || n > len(rest) || n > 0 && version < 4 {
			t.Fatalf("%d bytes of fields out of %d", n, len(rest))
		}
		left := len(rest) - n
		for at := 0; at < n; {
			size := int(binary.BigEndian.Uint16(rest[at+2:]))
			if size < 16 || size%4 != 0 || at+size > n {
				t.Fatalf("field at %d of %d has %d bytes", at, n, size)
			}
			if at += size; at == len(rest) && size < 28 {
				t.Fatalf("the last field has %d bytes", size)
			}
		}
		mac := left == 20 || left == 24 || version < 4 && left >= 12 && left <= 68
		ok := map[Trailer]bool{
			TrailerNone: len(rest) == 0, TrailerFields: n > 0 && left == 0, TrailerMAC: n == 0 && mac,
			TrailerFieldsMAC: n > 0 && mac, TrailerCryptoNAK: left == 4, TrailerMalformed: n == 0 && len(rest) > 0,
		}
		if !ok[got] {
			t.Fatalf("%d with %d bytes of fields and %d left", got, n, left)
		}
	})
}
