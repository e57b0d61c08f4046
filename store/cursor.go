package store

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"github.com/truechimer/truechimer/hlc"
)

// A cursor is base64 of, big-endian: kind (1 byte), store id (16), three numbers (8 each),
// CRC-32C of all of these (4). The store id makes cursors of another store, and of this one
// before it was restored, useless here.
const (
	cursorPage  = 1 // number of the stream, next sequence, last one; see pageCursor
	cursorBack  = 2 // the same, going back
	cursorWatch = 3 // timeline, position, 0; see watchCursor
	cursorLen   = 1 + 16 + 3*8 + 4
)

// pageCursor is where a Read goes on.
type pageCursor struct {
	number   uint64 // of the stream
	from, to uint64 // sequences that are left
	reverse  bool
	// loose: the front may have been removed meanwhile, since nobody asked for a certain event.
	loose bool
}

// watchCursor is where a Watch goes on.
type watchCursor struct {
	timeline uint64        // rebases of the clock before
	at       hlc.Timestamp // everything up to here was delivered
}

func (i id) cursor(kind byte, a, b, c uint64) string {
	raw := append(make([]byte, 0, cursorLen), kind)
	raw = append(raw, i[:]...)
	for _, n := range []uint64{a, b, c} {
		raw = binary.BigEndian.AppendUint64(raw, n)
	}
	raw = binary.BigEndian.AppendUint32(raw, checksum(raw))
	return base64.RawURLEncoding.EncodeToString(raw)
}

// parseCursor reads what cursor writes. It fails with ErrCursor.
func (i id) parseCursor(text string) (kind byte, a, b, c uint64, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) != cursorLen || binary.BigEndian.Uint32(raw[cursorLen-4:]) != checksum(raw[:cursorLen-4]) {
		return 0, 0, 0, 0, fmt.Errorf("%w: %.80q is none", ErrCursor, text)
	}
	if id(raw[1:17]) != i {
		return 0, 0, 0, 0, fmt.Errorf("%w: it is of another store, or of this one before it was restored", ErrCursor)
	}
	field := func(n int) uint64 { return binary.BigEndian.Uint64(raw[17+8*n:]) }
	return raw[0], field(0), field(1), field(2), nil
}

func (t *Streams) pageCursor(p pageCursor) string {
	kind := byte(cursorPage)
	if p.reverse {
		kind = cursorBack
	}
	return t.store.id.cursor(kind, p.number, p.from, p.to)
}

func (t *Streams) parsePageCursor(text string) (pageCursor, error) {
	kind, number, from, to, err := t.store.id.parseCursor(text)
	if err != nil {
		return pageCursor{}, err
	}
	if kind != cursorPage && kind != cursorBack {
		return pageCursor{}, fmt.Errorf("%w: it is not from a read", ErrCursor)
	}
	return pageCursor{number: number, from: from, to: to, reverse: kind == cursorBack}, nil
}

func (t *Streams) watchCursor(w watchCursor) string {
	return t.store.id.cursor(cursorWatch, w.timeline, uint64(w.at), 0)
}

func (t *Streams) parseWatchCursor(text string) (watchCursor, error) {
	kind, timeline, at, _, err := t.store.id.parseCursor(text)
	if err != nil {
		return watchCursor{}, err
	}
	if kind != cursorWatch {
		return watchCursor{}, fmt.Errorf("%w: it is not from a watch", ErrCursor)
	}
	return watchCursor{timeline: timeline, at: hlc.Timestamp(at)}, nil
}
