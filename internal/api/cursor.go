package api

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/store"
)

// The cursors of lists and cuts are base64 of: kind (1 byte), for a cut its timestamp (8,
// big-endian), and the name of the stream to go on behind. Those of reads and watches come
// from the store. No first byte of a name is a kind.
const (
	cursorList = 1
	cursorCut  = 2
)

func listCursor(after string) string {
	return base64.RawURLEncoding.EncodeToString(append([]byte{cursorList}, after...))
}

// parseListCursor reads what listCursor writes. It fails with store.ErrCursor.
func parseListCursor(text string) (after string, err error) {
	rest, err := parseCursor(text, cursorList, "list")
	return string(rest), err
}

func cutCursor(at hlc.Timestamp, after string) string {
	b := binary.BigEndian.AppendUint64([]byte{cursorCut}, uint64(at))
	return base64.RawURLEncoding.EncodeToString(append(b, after...))
}

// parseCutCursor reads what cutCursor writes. It fails with store.ErrCursor.
func parseCutCursor(text string) (at hlc.Timestamp, after string, err error) {
	rest, err := parseCursor(text, cursorCut, "cut")
	if err != nil {
		return 0, "", err
	}
	return hlc.Timestamp(binary.BigEndian.Uint64(rest)), string(rest[8:]), nil
}

// parseCursor returns what follows the kind of a cursor that the named call gave.
func parseCursor(text string, kind byte, call string) (rest []byte, err error) {
	const longest = 1 + 8 + store.NameLenMax
	head := 1
	if kind == cursorCut {
		head += 8
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) <= head || len(raw) > longest || raw[0] != kind || store.CheckName(string(raw[head:])) != nil {
		return nil, fmt.Errorf("%w: %.80q is not from a %s", store.ErrCursor, text, call)
	}
	return raw[1:], nil
}
