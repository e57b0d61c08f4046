package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/truechimer/truechimer/hlc"
)

// Ceiling is the one record that issuing depends on.
type Ceiling struct {
	// Epoch is the number of the issuing term. It rises with every Begin and Rebase; 0
	// means that there was none yet.
	Epoch uint64
	// Ceiling is the bound that no timestamp returned in Epoch reaches.
	Ceiling hlc.Timestamp
	// Clean is the last epoch that was closed in order, 0 for none, and Last the greatest
	// timestamp of that epoch. They are history unless Clean is Epoch.
	Clean uint64
	Last  hlc.Timestamp
	// Rebases counts the epochs that were begun below what went before.
	Rebases uint64
}

// Resume returns the timestamp that the next epoch starts from: everything issued up to
// this record is at or below it. That is Last after an orderly stop of this very epoch,
// and the ceiling after a crash: a Clean of an older epoch says nothing of this one.
func (c Ceiling) Resume() hlc.Timestamp {
	if c.Epoch != 0 && c.Clean == c.Epoch {
		return c.Last
	}
	return c.Ceiling
}

// CeilingStore keeps the ceiling record. It is the seam between issuing and where the
// record lives: *Store has it on the local disk. What returned without an error is
// durable. All methods may be called concurrently.
type CeilingStore interface {
	// Load returns the record as it is stored.
	Load() (Ceiling, error)
	// Begin starts a new epoch, one above the last, at the ceiling of the last.
	Begin() (Ceiling, error)
	// Save raises the ceiling of the epoch. It fails with ErrEpoch when epoch is not the
	// current one or was finished, and with ErrOrder when the ceiling would not rise.
	Save(epoch uint64, ceiling hlc.Timestamp) error
	// Finish closes the epoch in order; last is the greatest timestamp issued by it or
	// before it. It fails with ErrEpoch like Save, and with ErrOrder when last is above
	// the ceiling.
	Finish(epoch uint64, last hlc.Timestamp) error
	// Rebase replaces the epoch by a new one whose ceiling may be lower, and counts that.
	// It fails with ErrEpoch like Save. Timestamps issued from there on may repeat older
	// ones: it is for an operator whose clock ran ahead.
	Rebase(epoch uint64, ceiling hlc.Timestamp) (Ceiling, error)
}

// begin, save, finish and rebase are the rules of CeilingStore, on the record alone.
// Each returns the next record or says why there is none.

func (c Ceiling) begin() Ceiling {
	c.Epoch++
	return c
}

func (c Ceiling) save(epoch uint64, ceiling hlc.Timestamp) (Ceiling, error) {
	if err := c.current(epoch); err != nil {
		return c, err
	}
	if ceiling <= c.Ceiling {
		return c, fmt.Errorf("%w: ceiling %d is not above %d", ErrOrder, ceiling, c.Ceiling)
	}
	c.Ceiling = ceiling
	return c, nil
}

func (c Ceiling) finish(epoch uint64, last hlc.Timestamp) (Ceiling, error) {
	if err := c.current(epoch); err != nil {
		return c, err
	}
	if last > c.Ceiling {
		return c, fmt.Errorf("%w: last timestamp %d is above the ceiling %d", ErrOrder, last, c.Ceiling)
	}
	c.Clean, c.Last = epoch, last
	return c, nil
}

func (c Ceiling) rebase(epoch uint64, ceiling hlc.Timestamp) (Ceiling, error) {
	if err := c.current(epoch); err != nil {
		return c, err
	}
	c.Epoch++
	c.Ceiling = ceiling
	c.Rebases++
	return c, nil
}

// current fails unless epoch is the running one. An epoch that was finished no longer
// runs: a ceiling saved after its Last would be above timestamps that Resume forgets.
func (c Ceiling) current(epoch uint64) error {
	if epoch == 0 || epoch != c.Epoch || c.Clean == c.Epoch {
		return fmt.Errorf("%w: epoch %d, current %d, last closed %d", ErrEpoch, epoch, c.Epoch, c.Clean)
	}
	return nil
}

// valid checks what holds for every record that the rules above can produce.
func (c Ceiling) valid() error {
	switch {
	case c.Clean > c.Epoch:
		return errors.New("an epoch to come is closed")
	case c.Rebases > 0 && c.Rebases >= c.Epoch:
		return errors.New("more rebases than epochs")
	case c.Clean == c.Epoch && c.Last > c.Ceiling:
		return errors.New("the last timestamp is above the ceiling")
	case c.Clean == 0 && c.Last != 0:
		return errors.New("a last timestamp of no epoch")
	}
	return nil
}

// The ceiling record on disk, big-endian: store id (16 bytes), epoch, ceiling, clean,
// last, rebases (8 each), CRC-32C of the key and all of these (4).
const ceilingLen = 16 + 5*8 + 4

// The format record on disk, big-endian: format (4 bytes), store id (16), node (2),
// CRC-32C of the key and all of these (4).
const formatLen = 4 + 16 + 2 + 4

// formatKey and ceilingKey are whole keys: a table byte and nothing else.
func formatKey() []byte  { return []byte{0x00} }
func ceilingKey() []byte { return []byte{0x01} }

// encodeCeiling returns the value of the ceiling record.
func encodeCeiling(store id, c Ceiling) []byte {
	b := append(make([]byte, 0, ceilingLen), store[:]...)
	for _, n := range []uint64{c.Epoch, uint64(c.Ceiling), c.Clean, uint64(c.Last), c.Rebases} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return binary.BigEndian.AppendUint32(b, checksum(ceilingKey(), b))
}

// decodeCeiling reads what encodeCeiling writes and checks what always holds.
func decodeCeiling(b []byte) (store id, c Ceiling, err error) {
	if len(b) != ceilingLen {
		return id{}, Ceiling{}, fmt.Errorf("ceiling record of %d bytes (want %d)", len(b), ceilingLen)
	}
	body := b[:ceilingLen-4]
	if binary.BigEndian.Uint32(b[ceilingLen-4:]) != checksum(ceilingKey(), body) {
		return id{}, Ceiling{}, errors.New("ceiling record: the checksum does not match")
	}
	copy(store[:], body)
	field := func(n int) uint64 { return binary.BigEndian.Uint64(body[16+8*n:]) }
	c = Ceiling{
		Epoch:   field(0),
		Ceiling: hlc.Timestamp(field(1)),
		Clean:   field(2),
		Last:    hlc.Timestamp(field(3)),
		Rebases: field(4),
	}
	if err := c.valid(); err != nil {
		return id{}, Ceiling{}, fmt.Errorf("ceiling record: %w", err)
	}
	return store, c, nil
}

// formatRecord is the marker's twin inside the database.
type formatRecord struct {
	format uint32
	id     id
	node   uint16
}

func (r formatRecord) encode() []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, formatLen), r.format)
	b = append(b, r.id[:]...)
	b = binary.BigEndian.AppendUint16(b, r.node)
	return binary.BigEndian.AppendUint32(b, checksum(formatKey(), b))
}

// decodeFormat reads what encode writes.
func decodeFormat(b []byte) (formatRecord, error) {
	if len(b) != formatLen {
		return formatRecord{}, fmt.Errorf("format record of %d bytes (want %d)", len(b), formatLen)
	}
	body := b[:formatLen-4]
	if binary.BigEndian.Uint32(b[formatLen-4:]) != checksum(formatKey(), body) {
		return formatRecord{}, errors.New("format record: the checksum does not match")
	}
	r := formatRecord{format: binary.BigEndian.Uint32(body), node: binary.BigEndian.Uint16(body[20:])}
	copy(r.id[:], body[4:])
	return r, nil
}
