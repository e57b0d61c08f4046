package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestHistoryRows puts rows at several resolutions, in and out of order, with clocks that go
// back and retentions that change, and compares what is there with a map.
func TestHistoryRows(t *testing.T) {
	leakFree(t)
	disk := vfs.NewMem()
	s, err := Open("/var/data", Options{Node: 7, fs: disk})
	if err != nil {
		t.Fatal(err)
	}
	h := NewHistory(s)
	rng := rand.New(rand.NewPCG(*seedFlag, 22))
	twin := map[uint8]map[int64]string{1: {}, 2: {}, 255: {}}
	unix := int64(1000)
	compare := func() {
		t.Helper()
		for resolution, rows := range twin {
			from, to := rng.Int64N(unix), rng.Int64N(2*unix)
			from, to = min(from, to), max(from, to)
			n, last := 0, from-1
			err := h.Rows(resolution, from, to, func(at int64, row []byte) error {
				if n++; at <= last || rows[at] != string(row) {
					return fmt.Errorf("%d: %q after %d, want %q", at, row, last, rows[at])
				}
				last = at
				return nil
			})
			for at := range rows {
				if from <= at && at < to {
					n--
				}
			}
			if err != nil || n != 0 {
				t.Fatalf("seed %d: resolution %d from %d to %d: %d rows too many, %v", *seedFlag, resolution, from, to, n, err)
			}
		}
	}
	for n := range 3000 {
		if unix += rng.Int64N(3); rng.IntN(100) == 0 {
			unix += rng.Int64N(300) - 100
		}
		resolution := []uint8{1, 2, 255}[rng.IntN(3)]
		keep := max(0, unix-[]int64{50, 200, 5000}[rng.IntN(3)])
		if n%500 == 499 {
			keep = unix - 2 // many at once
		}
		row := fmt.Sprint(rng.Uint64())
		if err := h.Put(resolution, unix, []byte(row), keep); err != nil {
			t.Fatal(err)
		}
		twin[resolution][unix] = row
		for at := range twin[resolution] {
			if at < keep {
				delete(twin[resolution], at)
			}
		}
		if n%20 == 0 {
			compare()
		}
		if n%700 == 0 {
			h = NewHistory(s) // which has to learn what is there
		}
	}
	for at := range int64(2*rowsPerPage + 1) {
		b := s.db.NewBatch()
		key := rowKey(9, at)
		row := fmt.Appendf(nil, "%d", at)
		value := append(row, encodeUint32(checksum(key, row))...)
		if err := errors.Join(b.Set(key, value, nil), s.db.Apply(b, pebble.NoSync)); err != nil {
			t.Fatal(err)
		}
	}
	next := int64(0)
	if err := h.Rows(9, 0, 1<<62, func(at int64, row []byte) error {
		if at != next || string(row) != fmt.Sprint(at) {
			return fmt.Errorf("%d: %q", at, row)
		}
		next++
		return nil
	}); err != nil || next != 2*rowsPerPage+1 {
		t.Errorf("%d rows, %v", next, err)
	}
	total := uint64(next)
	for _, rows := range twin {
		total += uint64(len(rows))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := verifyDir(t.Context(), disk, "/var/data", nil); err != nil || r.Err() != nil || r.Rows != total {
		t.Errorf("%d rows of %d, %v, %v", r.Rows, total, r.Err(), err)
	}
}

func encodeUint32(n uint32) []byte {
	return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

// TestHistoryLimits asks for what is never done, and reads rows that are damaged.
func TestHistoryLimits(t *testing.T) {
	leakFree(t)
	disk := vfs.NewMem()
	s, err := Open("/var/data", Options{Node: 7, fs: disk})
	if err != nil {
		t.Fatal(err)
	}
	h := NewHistory(s)
	visit := func(int64, []byte) error { return nil }
	for name, c := range map[string]struct{ err, want error }{
		"before 1970":           {h.Put(1, -1, nil, 0), ErrRange},
		"kept from before":      {h.Put(1, 1, nil, -1), ErrRange},
		"removed at once":       {h.Put(1, 5, nil, 6), ErrRange},
		"too long":              {h.Put(1, 5, make([]byte, HistoryRowLenMax+1), 0), ErrTooLarge},
		"ends before it begins": {h.Rows(1, 2, 1, visit), ErrRange},
		"nothing":               {h.Rows(1, -7, 100, visit), nil},
		"the longest":           {h.Put(1, 5, make([]byte, HistoryRowLenMax), 5), nil},
		"empty":                 {h.Put(1, 6, nil, 5), nil},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v", name, c.err)
		}
	}
	stop := errors.New("stop")
	if err := h.Rows(1, 0, 100, func(int64, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.Put(1, 7, nil, 0); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := h.Put(1, 7, nil, 7); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := h.Rows(1, 0, 9, visit); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	edit(t, disk, "/var/data", func(db *pebble.DB) error {
		b, err := get(db, rowKey(1, 5))
		b[7] ^= 1
		return errors.Join(err, db.Set(rowKey(1, 5), b, nil), db.Set([]byte{tableHistory, 2}, []byte("xxxxx"), nil), db.Set(rowKey(3, 1), []byte("x"), nil))
	})
	r, err := verifyDir(t.Context(), disk, "/var/data", nil)
	if text := strings.Join(r.Problems, "\n"); err != nil || len(r.Problems) != 3 || !strings.Contains(text, "resolution 1, at 5 s: the checksum") || !strings.Contains(text, "a key of 2 and a value of 5 bytes") {
		t.Errorf("%q, %v", r.Problems, err)
	}
	if s, err = Open("/var/data", Options{Node: 7, fs: disk}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := NewHistory(s).Rows(1, 0, 9, visit); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}
