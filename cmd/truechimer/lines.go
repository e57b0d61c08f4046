package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	// linesMax and linesLenMax bound what is appended at a time, in lines and bytes.
	linesMax    = 1000
	linesLenMax = 4 << 20
)

// lineBatch are lines to append together, and then what ended the input: io.EOF, or an error.
type lineBatch struct {
	lines [][]byte
	err   error
}

// lines cuts an input into batches: of the lines that are there when it looks, so that those
// that trickle in do not wait for others; or, where the same input has to give the same
// batches, full ones.
type lines struct {
	in   *bufio.Reader
	full bool
	read uint64
}

func newLines(in io.Reader, full bool) *lines {
	// The buffer holds the longest line with its end, so that a longer one is known by it.
	return &lines{in: bufio.NewReaderSize(in, payloadLenMax+1), full: full}
}

// next waits for a line and returns it with those that are to go with it.
func (l *lines) next() (b lineBatch) {
	size := 0
	for len(b.lines) < linesMax && size < linesLenMax {
		if len(b.lines) > 0 && !l.full && !l.ready() {
			return b
		}
		line, err := l.in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			b.err = usage(fmt.Errorf("line %d is longer than 1 MiB, the most that an event can have", l.read+1))
			return b
		case err != nil && !errors.Is(err, io.EOF):
			b.err = fmt.Errorf("read standard input: %w", err)
			return b
		case err != nil && len(line) == 0:
			b.err = io.EOF
			return b
		}
		line = bytes.Clone(bytes.TrimSuffix(line, []byte{'\n'}))
		l.read++
		size += len(line)
		b.lines = append(b.lines, line)
		if b.err = err; err != nil {
			return b // the last line had no end
		}
	}
	return b
}

// ready reports whether a whole line has been read already.
func (l *lines) ready() bool {
	there, _ := l.in.Peek(l.in.Buffered()) // what is buffered can be peeked at
	return bytes.IndexByte(there, '\n') >= 0
}
