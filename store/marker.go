package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	markerName = "TRUECHIMER"
	markerTemp = "TRUECHIMER.tmp"
	// markerLenMax is far more than a marker of any version needs.
	markerLenMax = 4096

	// format is the version of everything that this package writes.
	format = 1

	markerTitle = "truechimer store"
	stateNew    = "creating" // nothing was ever issued from here
	stateReady  = "ready"

	stateBackup    = "backup"
	stateBackingUp = "backup unfinished"
	stateRestoring = "restore unfinished"
)

// errMarkerNewer reports an intact marker of a format that this version does not know.
var errMarkerNewer = errors.New("newer format")

// id names a store for life. It is random.
type id [16]byte

// String returns 32 hexadecimal digits.
func (i id) String() string { return hex.EncodeToString(i[:]) }

// marker is the format record that stands outside the database, so that it can be read
// before the database is touched. Its text is
//
//	truechimer store
//	format 1
//	id 00112233445566778899aabbccddeeff
//	state ready
//	crc32c 0a1b2c3d
//
// Every later format keeps the first two lines and the checksum of all before it in the
// last, so that an old version can tell a newer marker from a damaged one.
type marker struct {
	id    id
	state string
}

// encode returns the text of m.
func (m marker) encode() []byte {
	body := fmt.Sprintf("%s\nformat %d\nid %s\nstate %s\n", markerTitle, format, m.id, m.state)
	return fmt.Appendf(nil, "%scrc32c %08x\n", body, checksum([]byte(body)))
}

// decodeMarker reads what encode writes, to the byte. It fails with errMarkerNewer on an
// intact marker of a newer format.
func decodeMarker(b []byte) (marker, error) {
	text := string(b)
	at := strings.LastIndex(text, "crc32c ")
	if at < 0 || text[at:] != fmt.Sprintf("crc32c %08x\n", checksum(b[:at])) {
		return marker{}, errors.New("the checksum does not match")
	}
	lines := strings.Split(text[:at], "\n")
	if len(lines) < 3 || lines[0] != markerTitle {
		return marker{}, errors.New("the title is missing")
	}
	version, ok := strings.CutPrefix(lines[1], "format ")
	n, err := strconv.ParseUint(version, 10, 32)
	if !ok || err != nil {
		return marker{}, errors.New("the format is missing")
	}
	if n > format {
		return marker{}, fmt.Errorf("%w: %d (this version knows %d)", errMarkerNewer, n, format)
	}
	var m marker
	if len(lines) != 5 {
		return marker{}, errors.New("it has lines too many or too few")
	}
	raw, err := hex.DecodeString(strings.TrimPrefix(lines[2], "id "))
	if err != nil || len(raw) != len(m.id) {
		return marker{}, errors.New("the store id is missing")
	}
	copy(m.id[:], raw)
	m.state = strings.TrimPrefix(lines[3], "state ")
	switch m.state {
	case stateNew, stateReady, stateBackup, stateBackingUp, stateRestoring:
	default:
		return marker{}, fmt.Errorf("unknown state %.20q", m.state)
	}
	if string(m.encode()) != text { // one spelling only
		return marker{}, errors.New("it is not spelt as it would be written")
	}
	return m, nil
}

// readMarker returns the bytes of dir's marker, or an error that wraps fs.ErrNotExist.
func readMarker(fs vfs.FS, dir string) ([]byte, error) {
	f, err := fs.Open(fs.PathJoin(dir, markerName))
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, markerLenMax))
	return b, errors.Join(err, f.Close())
}

// writeMarker puts m into dir, whole or not at all, and syncs it.
func writeMarker(fs vfs.FS, dir string, m marker) error {
	temp := fs.PathJoin(dir, markerTemp)
	f, err := fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("create marker: %w", err)
	}
	_, err = f.Write(m.encode())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write marker: %w", err)
	}
	if err := fs.Rename(temp, fs.PathJoin(dir, markerName)); err != nil {
		return fmt.Errorf("rename marker: %w", err)
	}
	return syncDir(fs, dir)
}

// syncDir makes the names in dir durable.
func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// checksum is CRC-32C, which finds every burst of damage up to 32 bits.
func checksum(parts ...[]byte) uint32 {
	var sum uint32
	for _, p := range parts {
		sum = addChecksum(sum, p)
	}
	return sum
}

// addChecksum returns the checksum of what sum is of, and p behind it.
func addChecksum(sum uint32, p []byte) uint32 {
	return crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), p) // made once, by the standard library
}
