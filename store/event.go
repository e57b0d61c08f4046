package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

// Event is one record of a stream.
type Event struct {
	Stream   string
	Sequence uint64 // 1, 2, 3, ... in its stream, without a gap
	// Timestamp is greater than that of every event appended before, to any stream.
	Timestamp hlc.Timestamp
	Payload   []byte
	Epoch     uint64 // the issuing term that appended it
	Node      uint16 // the node that appended it
}

// position is where a stream stands behind one of its events. The zero position is
// before the first.
type position struct {
	sequence  uint64
	timestamp hlc.Timestamp
	total     uint64 // bytes of all payloads up to here, since the stream began
}

// The tables of the streams. A key is a table byte and what is said here, big-endian.
const (
	tableName   = 0x10 // name → stream number
	tableStream = 0x11 // stream number → streamRecord
	tableEvent  = 0x12 // stream number, sequence → event
	tableRetry  = 0x14 // period, scope of an idempotency key → receipt of what was appended
)

const (
	eventKeyLen = 1 + 8 + 8
	// The event on disk, big-endian: timestamp, epoch, total (8 bytes each), node (2), the
	// payload, CRC-32C of the key and all of these (4). The total makes the bytes between two
	// events a subtraction, and retention by size a binary search.
	eventHeaderLen = 3*8 + 2
	eventOverhead  = eventHeaderLen + 4
)

// appendEventKey appends the key of an event of the numbered stream.
func appendEventKey(b []byte, number, sequence uint64) []byte {
	b = append(b, tableEvent)
	b = binary.BigEndian.AppendUint64(b, number)
	return binary.BigEndian.AppendUint64(b, sequence)
}

// eventKey returns the key of an event of the numbered stream.
func eventKey(number, sequence uint64) []byte {
	return appendEventKey(make([]byte, 0, eventKeyLen), number, sequence)
}

// putEvent fills key, of eventKeyLen bytes, and value, of eventOverhead bytes more than
// the payload.
func putEvent(key, value []byte, number uint64, at position, epoch uint64, node uint16, payload []byte) {
	appendEventKey(key[:0], number, at.sequence)
	binary.BigEndian.PutUint64(value, uint64(at.timestamp))
	binary.BigEndian.PutUint64(value[8:], epoch)
	binary.BigEndian.PutUint64(value[16:], at.total)
	binary.BigEndian.PutUint16(value[24:], node)
	end := eventHeaderLen + copy(value[eventHeaderLen:], payload)
	binary.BigEndian.PutUint32(value[end:], checksum(key, value[:end]))
}

// storedEvent is an event as it was read. The payload is part of the value that it was
// read from.
type storedEvent struct {
	position
	number  uint64 // of its stream
	epoch   uint64
	node    uint16
	payload []byte
}

// parseEvent reads what putEvent writes. Its errors wrap ErrDamaged.
func parseEvent(key, value []byte) (storedEvent, error) {
	if len(key) != eventKeyLen || key[0] != tableEvent || len(value) < eventOverhead {
		return storedEvent{}, fmt.Errorf("%w: event with a key of %d and a value of %d bytes", ErrDamaged, len(key), len(value))
	}
	e := storedEvent{number: binary.BigEndian.Uint64(key[1:])}
	e.sequence = binary.BigEndian.Uint64(key[9:])
	end := len(value) - 4
	if binary.BigEndian.Uint32(value[end:]) != checksum(key, value[:end]) {
		return storedEvent{}, fmt.Errorf("%w: event %d of stream number %d: the checksum does not match", ErrDamaged, e.sequence, e.number)
	}
	e.timestamp = hlc.Timestamp(binary.BigEndian.Uint64(value))
	e.epoch = binary.BigEndian.Uint64(value[8:])
	e.total = binary.BigEndian.Uint64(value[16:])
	e.node = binary.BigEndian.Uint16(value[24:])
	e.payload = value[eventHeaderLen:end]
	return e, nil
}

// NameLenMax is the longest name of a stream, in bytes.
const NameLenMax = 255

// CheckName fails with ErrName on what cannot be the name of a stream. A name is 1 to
// NameLenMax letters and digits of ASCII and any of . _ - : / @ + in between, and begins
// with a letter or a digit. Names are compared byte by byte.
func CheckName(name string) error {
	if name == "" || len(name) > NameLenMax {
		return fmt.Errorf("%w: %d bytes long (want 1 to %d)", ErrName, len(name), NameLenMax)
	}
	if !alphanumeric(name[0]) {
		return fmt.Errorf("%w: %q must begin with a letter or a digit", ErrName, name)
	}
	if i := badIn(name); i >= 0 {
		return fmt.Errorf("%w: %q holds %q (want letters, digits and . _ - : / @ + only)", ErrName, name, name[i])
	}
	return nil
}

// checkPrefix fails with ErrName on what no name begins with.
func checkPrefix(prefix string) error {
	if len(prefix) > NameLenMax || badIn(prefix) >= 0 || prefix != "" && !alphanumeric(prefix[0]) {
		return fmt.Errorf("%w: no name can begin with %.80q", ErrName, prefix)
	}
	return nil
}

// badIn returns where s holds what no name holds, or -1.
func badIn(s string) int {
	for i := range len(s) {
		switch c := s[i]; {
		case alphanumeric(c):
		case c == '.' || c == '_' || c == '-' || c == ':' || c == '/' || c == '@' || c == '+':
		default:
			return i
		}
	}
	return -1
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// nameKey returns the key of a name. Keys sort as names do.
func nameKey(name string) []byte { return append([]byte{tableName}, name...) }

// nameLen is the length of the value of a name: the stream's number and a checksum.
const nameLen = 8 + 4

func encodeNumber(name string, number uint64) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, nameLen), number)
	return binary.BigEndian.AppendUint32(b, checksum(nameKey(name), b))
}

// decodeNumber reads what encodeNumber writes. Its errors wrap ErrDamaged.
func decodeNumber(name string, b []byte) (number uint64, err error) {
	if len(b) != nameLen || binary.BigEndian.Uint32(b[8:]) != checksum(nameKey(name), b[:8]) {
		return 0, fmt.Errorf("%w: the record of the name %q does not check", ErrDamaged, name)
	}
	return binary.BigEndian.Uint64(b), nil
}

// streamRecord is what is kept of a stream besides its events. It is written when
// something of it changes, never by an append to a stream that exists.
type streamRecord struct {
	name    string
	created hlc.Timestamp // for the last time
	deleted hlc.Timestamp // 0: it was not, since then
	// base is where the stream stood behind the last event that was removed. What is removed
	// is removed from the front, so the first event that is left is the next one.
	base      position
	retention Retention
	epoch     uint64 // of the change
	node      uint16
}

// streamLen is the length of a stream record without its name: created, deleted, base
// (sequence, timestamp, total), retention (age, count, bytes), epoch (8 bytes each), node
// (2); then the name, and CRC-32C of the key and all of these (4).
const streamLen = 9*8 + 2 + 4

// streamKey returns the key of the record of the numbered stream.
func streamKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{tableStream}, number)
}

func (r *streamRecord) encode(number uint64) []byte {
	b := make([]byte, 0, streamLen+len(r.name))
	for _, n := range []uint64{
		uint64(r.created), uint64(r.deleted), r.base.sequence, uint64(r.base.timestamp), r.base.total,
		uint64(r.retention.Age), r.retention.Count, r.retention.Bytes, r.epoch,
	} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = binary.BigEndian.AppendUint16(b, r.node)
	b = append(b, r.name...)
	return binary.BigEndian.AppendUint32(b, checksum(streamKey(number), b))
}

// decodeStream reads what encode writes. Its errors wrap ErrDamaged.
func decodeStream(number uint64, b []byte) (streamRecord, error) {
	fault := func(err error) (streamRecord, error) {
		return streamRecord{}, fmt.Errorf("%w: record of stream number %d: %w", ErrDamaged, number, err)
	}
	if len(b) <= streamLen {
		return fault(fmt.Errorf("%d bytes long", len(b)))
	}
	end := len(b) - 4
	if binary.BigEndian.Uint32(b[end:]) != checksum(streamKey(number), b[:end]) {
		return fault(errors.New("the checksum does not match"))
	}
	field := func(n int) uint64 { return binary.BigEndian.Uint64(b[8*n:]) }
	r := streamRecord{
		created:   hlc.Timestamp(field(0)),
		deleted:   hlc.Timestamp(field(1)),
		base:      position{field(2), hlc.Timestamp(field(3)), field(4)},
		retention: Retention{Age: time.Duration(min(field(5), math.MaxInt64)), Count: field(6), Bytes: field(7)},
		epoch:     field(8),
		node:      binary.BigEndian.Uint16(b[72:]),
		name:      string(b[74:end]),
	}
	if err := errors.Join(CheckName(r.name), r.retention.check()); err != nil {
		return fault(err)
	}
	return r, nil
}
