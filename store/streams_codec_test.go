package store

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

// sealed returns b with the checksum of key and b behind it.
func sealed(key, b []byte) []byte {
	return binary.BigEndian.AppendUint32(bytes.Clone(b), checksum(key, b))
}

// eventOf is an event on disk.
func eventOf(number uint64, at position, epoch uint64, node uint16, payload []byte) (key, value []byte) {
	key, value = make([]byte, eventKeyLen), make([]byte, eventOverhead+len(payload))
	putEvent(key, value, number, at, epoch, node, payload)
	return key, value
}

// FuzzEvent decodes events whose checksum is right and whose checksum is not: no panic, and
// what decodes encodes to the same bytes.
func FuzzEvent(f *testing.F) {
	key, value := eventOf(1, position{1, epoch0, 3}, 1, 7, []byte("abc"))
	f.Add(key, value)
	key, value = eventOf(1<<63, position{^uint64(0), hlc.Max, ^uint64(0)}, ^uint64(0), 65535, nil)
	f.Add(key, value)
	f.Add([]byte{tableEvent}, []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		check := func(value []byte) {
			e, err := parseEvent(key, value)
			if err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
				return
			}
			k, v := eventOf(e.number, e.position, e.epoch, e.node, e.payload)
			if !bytes.Equal(k, key) || !bytes.Equal(v, value) {
				t.Fatalf("%x = %x became %x = %x", key, value, k, v)
			}
		}
		check(value)
		check(sealed(key, value))
	})
}

// FuzzStreamRecord does the same with stream records.
func FuzzStreamRecord(f *testing.F) {
	r := streamRecord{name: "a/b", created: epoch0, deleted: epoch0 + 1, base: position{5, epoch0 - 1, 77}, retention: Retention{time.Hour, 3, 1 << 40}, epoch: 9, node: 7}
	f.Add(uint64(1), r.encode(1))
	f.Add(uint64(0), []byte{})
	f.Add(uint64(3), make([]byte, streamLen+1))
	f.Fuzz(func(t *testing.T, number uint64, b []byte) {
		for _, b := range [][]byte{b, sealed(streamKey(number), b)} {
			r, err := decodeStream(number, b)
			if err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
				continue
			}
			if again := r.encode(number); !bytes.Equal(again, b) {
				t.Fatalf("%x became %x", b, again)
			}
			if err := CheckName(r.name); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzRetry does the same with retry records, and has them give a receipt.
func FuzzRetry(f *testing.F) {
	b := Batch{Entries: []Entry{{Stream: "a"}, {Stream: "a"}, {Stream: "b"}}, Key: "k"}
	scope, digest := b.retry()
	key := retryKey(4, scope)
	f.Add(key, (&retryRecord{digest: digest, first: epoch0, runs: []uint64{1, 9}}).encode(key))
	f.Add(key, []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		for _, value := range [][]byte{value, sealed(key, value)} {
			r, err := parseRetry(key, value)
			if err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
				continue
			}
			if again := r.encode(key); !bytes.Equal(again, value) {
				t.Fatalf("%x became %x", value, again)
			}
			if got, err := r.receipt(&b); err == nil && len(got.Sequences) != 3 || err != nil && !errors.Is(err, ErrDamaged) {
				t.Fatalf("%+v, %v", got, err)
			}
		}
	})
}

// FuzzCursor decodes cursors: no panic, and what decodes encodes to the same text.
func FuzzCursor(f *testing.F) {
	var i id
	f.Add(i.cursor(cursorPage, 1, 2, 3))
	f.Add(i.cursor(cursorWatch, 0, epoch0, 0))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		raw := []byte(text)
		for _, text := range []string{text, base64.RawURLEncoding.EncodeToString(sealed(nil, raw))} {
			kind, a, b, c, err := i.parseCursor(text)
			if err != nil {
				if !errors.Is(err, ErrCursor) {
					t.Fatal(err)
				}
				continue
			}
			if again := i.cursor(kind, a, b, c); again != text && strings.NewReplacer("\r", "", "\n", "").Replace(text) != again {
				t.Fatalf("%q became %q", text, again)
			}
		}
	})
}

// TestStreamCodecs flips every bit of every record of the streams: none is taken for good.
func TestStreamCodecs(t *testing.T) {
	key, value := eventOf(3, position{5, epoch0, 12}, 2, 7, []byte("payload"))
	r := streamRecord{name: "a/b", created: epoch0, base: position{5, epoch0 - 1, 77}, epoch: 9, node: 7}
	retryAt := retryKey(4, retryScope{1})
	for name, c := range map[string]struct {
		value []byte
		parse func([]byte) error
	}{
		"event":  {value, func(b []byte) error { _, err := parseEvent(key, b); return err }},
		"key":    {key, func(b []byte) error { _, err := parseEvent(b, value); return err }},
		"stream": {r.encode(3), func(b []byte) error { _, err := decodeStream(3, b); return err }},
		"name":   {encodeNumber("a/b", 3), func(b []byte) error { _, err := decodeNumber("a/b", b); return err }},
		"retry": {(&retryRecord{first: epoch0, runs: []uint64{4}}).encode(retryAt),
			func(b []byte) error { _, err := parseRetry(retryAt, b); return err }},
	} {
		if err := c.parse(c.value); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for bit := range 8 * len(c.value) {
			c.value[bit/8] ^= 1 << (bit % 8)
			if err := c.parse(c.value); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: bit %d: %v", name, bit, err)
			}
			c.value[bit/8] ^= 1 << (bit % 8)
		}
		for n := range c.value {
			if err := c.parse(c.value[:n]); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: %d bytes: %v", name, n, err)
			}
		}
	}
	// A record stands under its own key only.
	if _, err := decodeStream(4, r.encode(3)); !errors.Is(err, ErrDamaged) {
		t.Errorf("a record of another stream: %v", err)
	}
	if _, err := decodeNumber("a/c", encodeNumber("a/b", 3)); !errors.Is(err, ErrDamaged) {
		t.Errorf("a number of another name: %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "Z", "0", "a.b_c-d:e/f@g+h", "a//b", "a.", strings.Repeat("x", NameLenMax)} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
		if err := checkPrefix(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{".a", "/a", "-", "a b", "a\n", "a\x00", "ä", "a%", "a\\b", "a*", strings.Repeat("x", NameLenMax+1)} {
		if err := CheckName(name); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
		if err := checkPrefix(name); !errors.Is(err, ErrName) {
			t.Errorf("prefix %q: %v", name, err)
		}
	}
	if err := CheckName(""); !errors.Is(err, ErrName) {
		t.Error(err)
	}
	if err := checkPrefix(""); err != nil {
		t.Error(err)
	}
}
