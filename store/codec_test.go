package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/truechimer/truechimer/hlc"
)

func FuzzMarker(f *testing.F) {
	f.Add(marker{id: id{1, 2, 3}, state: stateReady}.encode())
	f.Add(marker{state: stateNew}.encode())
	f.Add([]byte(futureMarker()))
	f.Add([]byte("crc32c 00000000\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMarker(b)
		if err == nil && !bytes.Equal(m.encode(), b) {
			t.Errorf("%q decodes to %+v, which is spelt otherwise", b, m)
		}
		// Whatever its body says, an intact checksum must not make it panic either.
		sum := append(bytes.Clone(b), "crc32c "...)
		_, _ = decodeMarker(append(sum, []byte("00000000\n")...))
		_, _ = decodeMarker(markerOf(b))
	})
}

// markerOf puts a checksum that matches behind a body.
func markerOf(body []byte) []byte {
	const digits = "0123456789abcdef"
	sum := binary.BigEndian.AppendUint32(nil, checksum(body))
	b := append(bytes.Clone(body), "crc32c "...)
	for _, c := range sum {
		b = append(b, digits[c>>4], digits[c&15])
	}
	return append(b, '\n')
}

func FuzzCeiling(f *testing.F) {
	f.Add(encodeCeiling(id{1}, Ceiling{}))
	f.Add(encodeCeiling(id{2}, Ceiling{Epoch: 3, Ceiling: epoch0, Clean: 2, Last: epoch0 - 5, Rebases: 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, ceilingOf(b)} {
			store, c, err := decodeCeiling(b)
			if err != nil {
				continue
			}
			if !bytes.Equal(encodeCeiling(store, c), b) {
				t.Errorf("%x decodes to %+v, which is encoded otherwise", b, c)
			}
			if c.Resume() > c.Ceiling {
				t.Errorf("%+v resumes above its ceiling", c)
			}
		}
	})
}

// ceilingOf puts a checksum that matches behind a body.
func ceilingOf(body []byte) []byte {
	return binary.BigEndian.AppendUint32(bytes.Clone(body), checksum(ceilingKey(), body))
}

func FuzzFormat(f *testing.F) {
	f.Add(formatRecord{format, id{9}, 7}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeFormat(b)
		if err == nil && !bytes.Equal(r.encode(), b) {
			t.Errorf("%x decodes to %+v, which is encoded otherwise", b, r)
		}
	})
}

// TestRecordDamage flips every bit of both records and of the marker.
func TestRecordDamage(t *testing.T) {
	ceiling := encodeCeiling(id{2}, Ceiling{Epoch: 3, Ceiling: epoch0, Clean: 2, Last: epoch0 - 5, Rebases: 1})
	cases := map[string]struct {
		b      []byte
		decode func([]byte) error
	}{
		"ceiling": {ceiling, func(b []byte) error { _, _, err := decodeCeiling(b); return err }},
		"format":  {formatRecord{format, id{9}, 7}.encode(), func(b []byte) error { _, err := decodeFormat(b); return err }},
		"marker":  {marker{state: stateReady}.encode(), func(b []byte) error { _, err := decodeMarker(b); return err }},
	}
	for name, c := range cases {
		for bit := range 8 * len(c.b) {
			bad := bytes.Clone(c.b)
			bad[bit/8] ^= 1 << (bit % 8)
			err := c.decode(bad)
			if err == nil {
				t.Errorf("%s: bit %d flipped, and decoded", name, bit)
			}
			if errors.Is(err, errMarkerNewer) {
				t.Errorf("%s: bit %d flipped, and taken for a newer format", name, bit)
			}
		}
		for n := range c.b {
			if c.decode(c.b[:n]) == nil {
				t.Errorf("%s: cut at %d, and decoded", name, n)
			}
		}
	}
}

// TestRules goes through the rules of the record, what each accepts and refuses.
func TestRules(t *testing.T) {
	running := Ceiling{Epoch: 5, Ceiling: 100, Clean: 4, Last: 80, Rebases: 1}
	finished := Ceiling{Epoch: 5, Ceiling: 100, Clean: 5, Last: 90, Rebases: 1}
	type rule func(Ceiling) (Ceiling, error)
	save := func(e uint64, c hlc.Timestamp) rule { return func(r Ceiling) (Ceiling, error) { return r.save(e, c) } }
	finish := func(e uint64, l hlc.Timestamp) rule {
		return func(r Ceiling) (Ceiling, error) { return r.finish(e, l) }
	}
	rebase := func(e uint64, c hlc.Timestamp) rule {
		return func(r Ceiling) (Ceiling, error) { return r.rebase(e, c) }
	}
	begin := func(r Ceiling) (Ceiling, error) { return r.begin(), nil }
	cases := []struct {
		name string
		from Ceiling
		do   rule
		want Ceiling
		err  error
	}{
		{"begin after a crash", running, begin, Ceiling{6, 100, 4, 80, 1}, nil},
		{"begin after a stop", finished, begin, Ceiling{6, 100, 5, 90, 1}, nil},
		{"save", running, save(5, 101), Ceiling{5, 101, 4, 80, 1}, nil},
		{"save the same", running, save(5, 100), running, ErrOrder},
		{"save less", running, save(5, 99), running, ErrOrder},
		{"save of an old epoch", running, save(4, 101), running, ErrEpoch},
		{"save of an epoch to come", running, save(6, 101), running, ErrEpoch},
		{"save after the stop", finished, save(5, 101), finished, ErrEpoch},
		{"save before any epoch", Ceiling{}, save(0, 1), Ceiling{}, ErrEpoch},
		{"finish", running, finish(5, 90), finished, nil},
		{"finish at the ceiling", running, finish(5, 100), Ceiling{5, 100, 5, 100, 1}, nil},
		{"finish above the ceiling", running, finish(5, 101), running, ErrOrder},
		{"finish twice", finished, finish(5, 95), finished, ErrEpoch},
		{"finish of an old epoch", running, finish(4, 90), running, ErrEpoch},
		{"rebase", running, rebase(5, 50), Ceiling{6, 50, 4, 80, 2}, nil},
		{"rebase of an old epoch", running, rebase(4, 50), running, ErrEpoch},
	}
	for _, c := range cases {
		got, err := c.do(c.from)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v; want %+v, %v", c.name, got, err, c.want, c.err)
		}
	}
	resumes := []struct {
		c    Ceiling
		want hlc.Timestamp
	}{{Ceiling{}, 0}, {running, 100}, {finished, 90}, {finished.begin(), 100}}
	for _, r := range resumes {
		if got := r.c.Resume(); got != r.want {
			t.Errorf("%+v resumes at %d, want %d", r.c, got, r.want)
		}
	}
}
