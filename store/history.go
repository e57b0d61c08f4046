package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// tableHistory is the table of the history: resolution, time → row.
const tableHistory = 0x30

const (
	// HistoryRowLenMax is the longest row, in bytes.
	HistoryRowLenMax = 64 << 10

	rowKeyLen   = 1 + 1 + 8
	rowsPerPage = 4096
	// rowsByOne is how many rows are removed one by one; more of them, as a range.
	rowsByOne = 16
)

// History is what charts are drawn from: rows of figures, at several resolutions, each kept for
// as long as its caller says. It is no evidence: it has checksums, and no chain. What Put has
// returned from is durable. All methods may be called concurrently. It is not closed; once its
// store is, calls return ErrClosed.
type History struct {
	store *Store

	mu     sync.Mutex      // held across what is written
	oldest map[uint8]int64 // no row of the resolution is older
}

// NewHistory returns the history of s.
func NewHistory(s *Store) *History { return &History{store: s, oldest: map[uint8]int64{}} }

func rowKey(resolution uint8, unixSeconds int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{tableHistory, resolution}, uint64(unixSeconds))
}

// parseRow reads a row: the bytes, and CRC-32C of the key and of them (4). The row is part of
// value. Its errors wrap ErrDamaged.
func parseRow(key, value []byte) (unixSeconds int64, row []byte, err error) {
	if len(key) != rowKeyLen || len(value) < 4 {
		return 0, nil, fmt.Errorf("%w: row of the history with a key of %d and a value of %d bytes", ErrDamaged, len(key), len(value))
	}
	unixSeconds, row = int64(binary.BigEndian.Uint64(key[2:])), value[:len(value)-4]
	if binary.BigEndian.Uint32(value[len(row):]) != checksum(key, row) {
		return 0, nil, fmt.Errorf("%w: row of the history, resolution %d, at %d s: the checksum does not match", ErrDamaged, key[1], unixSeconds)
	}
	return unixSeconds, row, nil
}

// Put makes the row of a time durable, in place of one that there may be, and removes all rows
// of the resolution that are older than keepFrom. Times are Unix seconds. It fails with
// ErrTooLarge, with ErrRange where the row itself would be removed or a time is before 1970, and with
// ErrFenced and ErrClosed; then nothing has changed.
func (h *History) Put(resolution uint8, unixSeconds int64, row []byte, keepFrom int64) error {
	switch {
	case unixSeconds < 0 || keepFrom < 0 || unixSeconds < keepFrom:
		return fmt.Errorf("%w: a row of the history at %d s, of which those from %d s on are kept", ErrRange, unixSeconds, keepFrom)
	case len(row) > HistoryRowLenMax:
		return fmt.Errorf("%w: a row of the history of %d bytes (at most %d)", ErrTooLarge, len(row), HistoryRowLenMax)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	old, err := h.before(resolution, keepFrom)
	if err != nil {
		return err
	}
	b := h.store.db.NewBatch()
	if len(old) > rowsByOne {
		err = b.DeleteRange(old[0], rowKey(resolution, keepFrom), nil)
	} else {
		for _, key := range old {
			err = errors.Join(err, b.Delete(key, nil))
		}
	}
	key, value := rowKey(resolution, unixSeconds), append(make([]byte, 0, len(row)+4), row...)
	value = binary.BigEndian.AppendUint32(value, checksum(key, row))
	if err = errors.Join(err, b.Set(key, value, nil)); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := h.store.apply(b); err != nil {
		if errors.Is(err, ErrFenced) {
			return err // the database may have the batch for good
		}
		return errors.Join(err, b.Close())
	}
	h.oldest[resolution] = min(unixSeconds, max(h.oldest[resolution], keepFrom))
	return b.Close()
}

// before returns the keys of the rows that are older than keepFrom: rowsByOne and one more at the
// most. What was removed before is not looked for again.
func (h *History) before(resolution uint8, keepFrom int64) ([][]byte, error) {
	oldest := h.oldest[resolution]
	if oldest >= keepFrom {
		return nil, nil
	}
	return fetch(h.store, func(db *pebble.DB) (old [][]byte, err error) {
		iter, err := db.NewIter(&pebble.IterOptions{LowerBound: rowKey(resolution, oldest), UpperBound: rowKey(resolution, keepFrom)})
		if err != nil {
			return nil, err
		}
		for ok := iter.First(); ok && len(old) <= rowsByOne; ok = iter.Next() {
			old = append(old, bytes.Clone(iter.Key()))
		}
		return old, iter.Close()
	})
}

// historyRow is a row as it was read.
type historyRow struct {
	unixSeconds int64
	row         []byte
}

// Rows visits the rows of a resolution from one time on and before another, Unix seconds, in
// the order of their times. A row is the visitor's to keep, and an error of visit ends it and is
// returned. It fails with ErrRange, ErrDamaged, ErrFenced and ErrClosed.
func (h *History) Rows(resolution uint8, from, to int64, visit func(unixSeconds int64, row []byte) error) error {
	if from > to {
		return fmt.Errorf("%w: from %d to %d s: it ends before it begins", ErrRange, from, to)
	}
	for from = max(from, 0); from < to; {
		p, err := h.page(resolution, from, to)
		if err != nil || len(p) == 0 {
			return err
		}
		for i := range p {
			if err := visit(p[i].unixSeconds, p[i].row); err != nil {
				return err
			}
			from = p[i].unixSeconds + 1
		}
	}
	return nil
}

// page reads the first rows from one time on and before another: as many as are read at a time.
func (h *History) page(resolution uint8, from, to int64) ([]historyRow, error) {
	return fetch(h.store, func(db *pebble.DB) (p []historyRow, err error) {
		iter, err := db.NewIter(&pebble.IterOptions{LowerBound: rowKey(resolution, from), UpperBound: rowKey(resolution, to)})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, iter.Close()) }()
		length := 0
		for ok := iter.First(); ok && len(p) < rowsPerPage && length < recordsLenBytes; ok = iter.Next() {
			unixSeconds, row, err := parseRow(iter.Key(), iter.Value())
			if err != nil {
				return nil, err
			}
			p = append(p, historyRow{unixSeconds, bytes.Clone(row)})
			length += len(row)
		}
		return p, nil
	})
}
