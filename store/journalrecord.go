package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"github.com/cockroachdb/pebble/v2"
)

// The tables of the journal. A key is a table byte and what is said here, big-endian.
const (
	tableJournal = 0x20 // track, sequence → record; 0, kind of mark, track → mark
	tableIndex   = 0x21 // kind, time, sequence of a record of the evidence → nothing
	tableRoot    = 0x22 // number → root
)

const (
	recordKeyLen = 1 + 1 + 8
	// A record on disk, big-endian: kind (1 byte), time (8), payload, and the first bytes of the
	// chain's hash, so that it is known where damage begins.
	recordHeaderLen = 1 + 8
	recordHashLen   = 8
	recordOverhead  = recordHeaderLen + recordHashLen

	indexKeyLen = 1 + 1 + 8 + 8
)

// appendRecordKey appends the key of a record.
func appendRecordKey(b []byte, t Track, sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, tableJournal, byte(t)), sequence)
}

func recordKey(t Track, sequence uint64) []byte {
	return appendRecordKey(make([]byte, 0, recordKeyLen), t, sequence)
}

// appendIndexKey appends the key of a record of the evidence in the index.
func appendIndexKey(b []byte, kind uint8, unix int64, sequence uint64) []byte {
	b = binary.BigEndian.AppendUint64(append(b, tableIndex, kind), uint64(unix))
	return binary.BigEndian.AppendUint64(b, sequence)
}

func indexKey(kind uint8, unix int64, sequence uint64) []byte {
	return appendIndexKey(make([]byte, 0, indexKeyLen), kind, unix, sequence)
}

// parseIndexKey reads what appendIndexKey writes.
func parseIndexKey(key []byte) (kind uint8, unix int64, sequence uint64, ok bool) {
	if len(key) != indexKeyLen {
		return 0, 0, 0, false
	}
	return key[1], int64(binary.BigEndian.Uint64(key[2:])), binary.BigEndian.Uint64(key[10:]), true
}

// chain makes the hashes of one chain, without allocating.
type chain struct {
	digest hash.Hash
	sum    [sha256.Size]byte // up to here
}

func newChain(sum [sha256.Size]byte) chain { return chain{sha256.New(), sum} }

// add goes on to the hash behind a key and its value.
func (c *chain) add(key, value []byte) {
	c.digest.Reset()
	c.digest.Write(c.sum[:])
	c.digest.Write(key)
	c.digest.Write(value)
	c.digest.Sum(c.sum[:0])
}

// appendRecord appends the value of a record with that key, and goes on behind it.
func (c *chain) appendRecord(b, key []byte, e *JournalEntry) []byte {
	b = binary.BigEndian.AppendUint64(append(b, e.Kind), uint64(e.Unix))
	b = append(b, e.Payload...)
	c.add(key, b)
	return append(b, c.sum[:recordHashLen]...)
}

// short returns the part of a hash that a record holds.
func short(sum [sha256.Size]byte) [recordHashLen]byte { return [recordHashLen]byte(sum[:]) }

// genesis is the hash before the first record of a chain.
func genesis(origin id, t Track) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "truechimer journal 1 %v %d", origin, uint8(t)))
}

// parseRecord reads what appendRecord writes. The payload is part of value. Its errors wrap
// ErrDamaged.
func parseRecord(key, value []byte) (JournalRecord, error) {
	if len(key) != recordKeyLen || len(value) < recordOverhead {
		return JournalRecord{}, fmt.Errorf("%w: journal record with a key of %d and a value of %d bytes", ErrDamaged, len(key), len(value))
	}
	end := len(value) - recordHashLen
	return JournalRecord{
		Track: Track(key[1]), Sequence: binary.BigEndian.Uint64(key[2:]),
		Kind: value[0], Unix: int64(binary.BigEndian.Uint64(value[1:])),
		Payload: value[recordHeaderLen:end], Hash: [recordHashLen]byte(value[end:]),
	}, nil
}

// readRecord returns one record, with a payload of its own. Its errors wrap ErrDamaged where there
// is none.
func readRecord(r pebble.Reader, t Track, sequence uint64) (JournalRecord, error) {
	key := recordKey(t, sequence)
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return JournalRecord{}, fmt.Errorf("%w: record %d of the journal, %v, is missing", ErrDamaged, sequence, t)
	}
	if err != nil {
		return JournalRecord{}, err
	}
	rec, err := parseRecord(key, v)
	rec.Payload = bytes.Clone(rec.Payload)
	return rec, errors.Join(err, closer.Close())
}

// The kinds of marks.
const (
	markTip  = 1 // where a chain ends
	markBase = 2 // where it begins: behind what was trimmed
)

// A mark on disk, big-endian: sequence (8 bytes), hash (32), time (8), store that the journal began
// in (16), CRC-32C of the key and all of these (4).
const markLen = 8 + sha256.Size + 8 + 16 + 4

func markKey(kind byte, t Track) []byte { return []byte{tableJournal, 0, kind, byte(t)} }

// putMark writes a mark.
func putMark(b *pebble.Batch, kind byte, t Track, origin id, at JournalTip) error {
	key := markKey(kind, t)
	v := binary.BigEndian.AppendUint64(make([]byte, 0, markLen), at.Sequence)
	v = append(v, at.Hash[:]...)
	v = binary.BigEndian.AppendUint64(v, uint64(at.Unix))
	v = append(v, origin[:]...)
	return b.Set(key, binary.BigEndian.AppendUint32(v, checksum(key, v)), nil)
}

// parseMark reads what putMark writes. Its errors wrap ErrDamaged.
func parseMark(kind byte, t Track, v []byte) (origin id, at JournalTip, err error) {
	name := map[byte]string{markTip: "end", markBase: "beginning"}[kind]
	if len(v) != markLen || binary.BigEndian.Uint32(v[markLen-4:]) != checksum(markKey(kind, t), v[:markLen-4]) {
		return id{}, JournalTip{}, fmt.Errorf("%w: the mark of the %s of the journal, %v, does not check", ErrDamaged, name, t)
	}
	at.Sequence = binary.BigEndian.Uint64(v)
	at.Hash = [sha256.Size]byte(v[8:])
	at.Unix = int64(binary.BigEndian.Uint64(v[8+sha256.Size:]))
	return id(v[16+sha256.Size:]), at, nil
}

// journalMarks are all marks of a journal.
type journalMarks struct {
	exists      bool // there is a journal
	origin      id
	tips, bases [tracksEnd]JournalTip
}

// readMarks reads all marks. No mark at all is no journal yet; its errors wrap ErrDamaged where
// only some are there, or contradict each other.
func readMarks(r pebble.Reader) (journalMarks, error) {
	var m journalMarks
	missing := 0
	for t := range tracksEnd {
		for _, mark := range []struct {
			kind byte
			at   *JournalTip
		}{{markTip, &m.tips[t]}, {markBase, &m.bases[t]}} {
			v, closer, err := r.Get(markKey(mark.kind, t))
			if errors.Is(err, pebble.ErrNotFound) {
				missing++
				continue
			}
			if err != nil {
				return journalMarks{}, err
			}
			var origin id
			origin, *mark.at, err = parseMark(mark.kind, t, v)
			if err = errors.Join(err, closer.Close()); err != nil {
				return journalMarks{}, err
			}
			if m.exists && origin != m.origin {
				return journalMarks{}, fmt.Errorf("%w: the marks of the journal are of two stores, %v and %v", ErrDamaged, m.origin, origin)
			}
			m.exists, m.origin = true, origin
		}
	}
	if m.exists && missing > 0 {
		return journalMarks{}, fmt.Errorf("%w: %d marks of the journal are missing", ErrDamaged, missing)
	}
	for t := range tracksEnd {
		if m.bases[t].Sequence > m.tips[t].Sequence {
			return journalMarks{}, fmt.Errorf("%w: the journal, %v, begins behind record %d and ends at %d", ErrDamaged, t, m.bases[t].Sequence, m.tips[t].Sequence)
		}
	}
	return m, nil
}
