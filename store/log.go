package store

// Pebble's log is a sequence of records, each one chunk or several, in blocks of 32 KiB;
// a chunk never crosses the end of a block. When Pebble finds a chunk that does not
// check, it has to tell damage from the torn end that a power cut leaves. From
// FormatWALSyncChunks on it looks for a later chunk that promises that the log was synced
// beyond the bad one. But it looks from the next block on only, and the promises lag: the
// offset in them leaves out what was written together with the end of a block. Damage in
// the last 32 KiB, which hold some 25 seconds of ceilings, it takes for the end of the
// log, and every acknowledged write behind it is gone without a word.
//
// So the log is checked here first, by a promise of our own. A goroutine that writes to
// the database waits for the sync of one write before it begins the next, and a sync
// covers all of the log before it. So with writersMax goroutines that write, everything
// but the last writersMax records has been synced. Behind a chunk that does not check,
// every byte is tried as the start of a record: if writersMax of them stand there, the bad
// one was synced once, and is damaged.
//
// What no check can find is damage to the last writersMax records themselves.
//
// Source: pebble v2.1.7, record/record.go and record/log_writer.go.

import (
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	logBlockLen  = 32 << 10
	logHeaderLen = 11 // checksum 4, length 2, encoding 1, log number 4
	logSyncLen   = 19 // and the synced offset, 8, in the newer encodings

	// The encodings of a chunk: without and with the synced offset, and in each kind, in
	// this order: all of a record, its first chunk, one from its middle, its last.
	logPlain, logSync, logEnd = 5, 9, 13
	logKinds                  = 4
	logFirst                  = 1

	// writersMax is how many goroutines may have a write on its way to disk: the holder
	// of Store.mu, which the committer of the streams takes too. With two writers, damage to
	// the last two records would look like a torn end.
	writersMax = 1
)

// checkLogs returns an error when a log in the database directory dir is damaged. It
// writes nothing. A log is read whole into memory: it is not longer than a few memtables.
func checkLogs(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		digits, ok := strings.CutSuffix(name, ".log")
		if !ok {
			continue
		}
		number, err := strconv.ParseUint(digits, 10, 32)
		if err != nil {
			return fmt.Errorf("log %q: no number", name)
		}
		b, err := readAll(fs, fs.PathJoin(dir, name))
		if err != nil {
			return fmt.Errorf("log %q: %w", name, err)
		}
		if err := checkLog(b, uint32(number)); err != nil {
			return fmt.Errorf("log %q: %w", name, err)
		}
	}
	return nil
}

func readAll(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return b, err
}

// checkLog walks over the chunks of one log up to its end, clean or torn, and returns an
// error when what looks like a torn end was synced.
func checkLog(b []byte, number uint32) error {
	at := 0
	for at < len(b) {
		block := b[at:min(len(b), (at/logBlockLen+1)*logBlockLen)]
		if len(block) < logSyncLen && zero(block) {
			at += len(block) // the rest of a block that no chunk fitted into
			continue
		}
		if _, ok := parseChunk(block, number+1); ok {
			return nil // the trailer of a log that was closed in order
		}
		c, ok := parseChunk(block, number)
		if !ok {
			return checkTail(b, at, number)
		}
		at += c.len
	}
	return nil
}

// checkTail counts the records behind a chunk at at that does not check.
func checkTail(b []byte, at int, number uint32) error {
	records := 0
	for p := at + 1; p+logHeaderLen <= len(b); {
		block := b[p:min(len(b), (p/logBlockLen+1)*logBlockLen)]
		c, ok := parseChunk(block, number)
		if !ok {
			p++
			continue
		}
		p += c.len
		if c.starts {
			records++
		}
		if records >= writersMax {
			return fmt.Errorf("damaged at byte %d, which was synced", at)
		}
	}
	return nil
}

// chunk is what parseChunk returns: its length with the header, and whether a record
// starts with it.
type chunk struct {
	len    int
	starts bool
}

// parseChunk reads the chunk at the start of block, which ends with its block. It
// reports whether there is one, of the log with that number, whose checksum matches. A
// log file is used again for a later log, so the rest of it can hold chunks of others.
func parseChunk(block []byte, number uint32) (chunk, bool) {
	if len(block) < logHeaderLen || binary.LittleEndian.Uint32(block[7:]) != number {
		return chunk{}, false
	}
	encoding := block[6]
	if encoding < logPlain || encoding >= logEnd {
		return chunk{}, false
	}
	c := chunk{len: logHeaderLen, starts: (encoding-logPlain)%logKinds <= logFirst}
	if encoding >= logSync {
		c.len = logSyncLen
	}
	c.len += int(binary.LittleEndian.Uint16(block[4:]))
	if c.len > len(block) {
		return chunk{}, false
	}
	return c, binary.LittleEndian.Uint32(block) == logChecksum(block[6:c.len])
}

// logChecksum is CRC-32C, rotated and moved as LevelDB has done since the beginning.
func logChecksum(b []byte) uint32 {
	c := checksum(b)
	return (c>>15 | c<<17) + 0xa282ead8
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
