package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
)

// log is a stream that grows: it answers an append as a server would.
type log struct {
	last   uint64
	events [][]byte
	sizes  []int // of the batches
}

func (l *log) append(r *rpc.AppendRequest) (*rpc.AppendResponse, error) {
	a := &rpc.AppendResponse{Timestamp: noon + l.last + 1}
	for _, e := range r.Entries {
		if e.Expected != nil && *e.Expected != l.last {
			return nil, connect.NewError(connect.CodeAborted, fmt.Errorf("the last sequence is %d", l.last))
		}
		l.last++
		l.events = append(l.events, e.Payload)
		a.Sequences = append(a.Sequences, l.last)
	}
	l.sizes = append(l.sizes, len(r.Entries))
	return a, nil
}

func TestAppend(t *testing.T) {
	for name, c := range map[string]struct {
		args, input string
		before      uint64 // events
		code        int
		out, log    string
		want        string // the requests
	}{
		"one":         {args: "append chat hello", out: "1  2026-11-22T12:00:00.000000000Z+0001\n", want: "chat:hello"},
		"two":         {args: "append chat yes no", out: "1  2026-11-22T12:00:00.000000000Z+0001\n2  2026-11-22T12:00:00.000000000Z+0002\n", want: "chat:yes chat:no"},
		"input":       {args: "append chat", input: "a\nb\n", out: "1  2026-11-22T12:00:00.000000000Z+0001\n", want: "chat:a\nb\n"},
		"empty input": {args: "append chat", out: "1  2026-11-22T12:00:00.000000000Z+0001\n", want: "chat:"},
		"json": {args: "append chat a b --json", before: 6, out: `{"stream":"chat","sequence":"7","timestamp":"1795348800000000007","repeated":false}
{"stream":"chat","sequence":"8","timestamp":"1795348800000000008","repeated":false}
`, want: "chat:a chat:b"},
		"all it takes": {args: "append chat a --key k --observe 7 --expect 0", out: "1  2026-11-22T12:00:00.000000000Z+0001\n", want: "key=k observe=7 chat:a?0"},
		"conditional":  {args: "append chat a b --expect 1", code: exitFailed, log: "truechimer: the last sequence is 0\n", want: "chat:a?1 chat:b"},
		"lines":        {args: "append chat --lines", input: "a\n\nb\n", out: "1-3  2026-11-22T12:00:00.000000000Z+0003\n", want: "chat:a chat: chat:b"},
		"one line":     {args: "append chat --lines", input: "a\n", out: "1  2026-11-22T12:00:00.000000000Z+0001\n", want: "chat:a"},
		"no line":      {args: "append chat --lines"},
		"lines, json": {args: "append chat --lines --json", input: "a\nb\n", out: `{"stream":"chat","sequence":"1","timestamp":"1795348800000000001","repeated":false}
{"stream":"chat","sequence":"2","timestamp":"1795348800000000002","repeated":false}
`, want: "chat:a chat:b"},
		"a key of 128 bytes":  {args: "append chat a --key " + strings.Repeat("k", 128), out: "1  2026-11-22T12:00:00.000000000Z+0001\n", want: "key=" + strings.Repeat("k", 128) + " chat:a"},
		"lines with a key":    {args: "append chat --lines --key k", input: "a\nb\n", out: "1-2  2026-11-22T12:00:00.000000000Z+0002\n", want: "key=k-1 chat:a chat:b"},
		"nothing":             {args: "append", code: exitUsage, log: "truechimer: truechimer append takes STREAM; see truechimer append --help\n"},
		"lines and arguments": {args: "append chat a --lines", code: exitUsage, log: "truechimer: --lines takes its payloads from standard input, and no arguments besides the stream\n"},
		"no timestamp":        {args: "append chat a --observe 2026-11-22", code: exitUsage, log: `truechimer: invalid argument "2026-11-22" for "--observe" flag: hlc: not a timestamp: "2026-11-22" (want a decimal integer or the form 2006-01-02T15:04:05.000000512Z+0000); see truechimer append --help` + "\n"},
		"too long a key":      {args: "append chat a --key " + strings.Repeat("k", 129), code: exitUsage, log: "truechimer: --key is 129 bytes long; want at most 128, or 107 with --lines\n"},
		"a key for lines":     {args: "append chat --lines --key " + strings.Repeat("k", 108), input: "a\n", code: exitUsage, log: "truechimer: --key is 108 bytes long; want at most 128, or 107 with --lines\n"},
		"a key of no text":    {args: "append chat a --key k\xff", code: exitUsage, log: "truechimer: --key is not text in UTF-8\n"},
		"too large an input":  {args: "append chat", input: strings.Repeat("x", payloadLenMax+1), code: exitUsage, log: "truechimer: standard input holds more than 1 MiB, the most that an event can have; split it, or say --lines where it is one event for each line\n"},
		"lines, moved on":     {args: "append chat --lines --expect 3", input: "a\nb\n", code: exitFailed, log: "truechimer: the last sequence is 0; no line was appended before\n", want: "chat:a?3 chat:b"},
		"too long a line":     {args: "append chat --lines", input: "a\n" + strings.Repeat("x", payloadLenMax+1) + "\nb\n", code: exitUsage, out: "1  2026-11-22T12:00:00.000000000Z+0001\n", log: "truechimer: line 2 is longer than 1 MiB, the most that an event can have; the first line was appended, with sequence 1\n", want: "chat:a"},
	} {
		t.Run(name, func(t *testing.T) {
			l := &log{last: c.before}
			f := &fakeStreams{append: l.append}
			if code, out, log := f.ask(t, c.input, strings.Fields(c.args)...); code != c.code || out != c.out || log != c.log {
				t.Errorf("exit code %d, %q, %q\nwant %d, %q, %q", code, out, log, c.code, c.out, c.log)
			}
			var asked []string
			for _, m := range f.asked {
				asked = append(asked, appendWords(m.(*rpc.AppendRequest)))
			}
			if got := strings.Join(asked, " | "); got != c.want {
				t.Errorf("asked %q, want %q", got, c.want)
			}
		})
	}
}

// appendWords says a request in short.
func appendWords(r *rpc.AppendRequest) string {
	var words []string
	if r.IdempotencyKey != "" {
		words = append(words, "key="+r.IdempotencyKey)
	}
	if r.Observe != 0 {
		words = append(words, fmt.Sprintf("observe=%d", r.Observe))
	}
	for _, e := range r.Entries {
		word := e.Stream + ":" + string(e.Payload)
		if e.Expected != nil {
			word += fmt.Sprintf("?%d", *e.Expected)
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// TestAppendRepeated: an answer that is an old one is told as such.
func TestAppendRepeated(t *testing.T) {
	f := &fakeStreams{append: func(r *rpc.AppendRequest) (*rpc.AppendResponse, error) {
		return &rpc.AppendResponse{Timestamp: noon, Sequences: make([]uint64, len(r.Entries)), Repeated: true}, nil
	}}
	for args, want := range map[string]string{
		"append chat a --key k":         "0  2026-11-22T12:00:00.000000000Z+0000  appended earlier, with the same key\n",
		"append chat --lines --key k":   "0  2026-11-22T12:00:00.000000000Z+0000  appended earlier, with the same key\n",
		"append chat a --json --key=k1": `{"stream":"chat","sequence":"0","timestamp":"1795348800000000000","repeated":true}` + "\n",
	} {
		if code, out, log := f.ask(t, "a\n", strings.Fields(args)...); code != 0 || out != want || log != "" {
			t.Errorf("%s: exit code %d, %q, %q; want %q", args, code, out, log, want)
		}
	}
}

// TestAppendManyLines: all lines arrive, in order, in batches within the limits; the whole
// input is conditional; and with a key the batches do not depend on how the input comes.
func TestAppendManyLines(t *testing.T) {
	const n = 2500
	input, want := strings.Builder{}, []string{}
	for i := range n {
		want = append(want, fmt.Sprint("line ", i))
		fmt.Fprintln(&input, want[i])
	}
	for _, args := range []string{"append chat --lines --expect 0", "append chat --lines --key k"} {
		l := &log{}
		f := &fakeStreams{append: l.append}
		var out, log strings.Builder
		in := iotest.OneByteReader(strings.NewReader(input.String()))
		if code := run(t.Context(), append([]string{"--api", f.serve(t).URL}, strings.Fields(args)...), streams{in, &out, &log}); code != 0 || log.String() != "" {
			t.Fatalf("%s: exit code %d, %s", args, code, log.String())
		}
		for i := range want {
			if i >= len(l.events) || string(l.events[i]) != want[i] {
				t.Fatalf("%s: %d events, and not line %d as the next", args, len(l.events), i)
			}
		}
		at := uint64(0)
		for i, m := range f.asked {
			r := m.(*rpc.AppendRequest)
			if strings.Contains(args, "expect") {
				if r.Entries[0].GetExpected() != at || r.Entries[0].Expected == nil {
					t.Fatalf("batch %d expects %v, want %d", i, r.Entries[0].Expected, at)
				}
			} else if want := []string{"k-1", "k-1001", "k-2001"}; len(f.asked) != len(want) || r.IdempotencyKey != want[i] {
				t.Fatalf("batch %d of %d has the key %s", i, len(f.asked), r.IdempotencyKey)
			}
			at += uint64(len(r.Entries))
		}
	}
}

// TestAppendFails: what is known of the outcome is told, and the exit code is right.
func TestAppendFails(t *testing.T) {
	l := &log{}
	for name, c := range map[string]struct {
		err  error
		args string
		code int
		want string
	}{
		"refused":              {connect.NewError(connect.CodeResourceExhausted, errors.New("the disk is nearly full")), "append chat a", exitFailed, "the disk is nearly full"},
		"a bad name":           {connect.NewError(connect.CodeInvalidArgument, errors.New("not a name")), "append chat a", exitUsage, "not a name"},
		"uncertain":            {connect.NewError(connect.CodeUnknown, errors.New("it may have succeeded")), "append chat a", exitFailed, "it may have succeeded"},
		"lines":                {connect.NewError(connect.CodeUnavailable, errors.New("stopping")), "append chat --lines", exitFailed, "stopping; no line was appended before"},
		"lines, after a batch": {nil, "append chat --lines --key k", exitFailed, "stopping; the first 1000 lines were appended, up to sequence 1000"},
	} {
		*l = log{}
		f := &fakeStreams{append: func(r *rpc.AppendRequest) (*rpc.AppendResponse, error) {
			if c.err == nil && l.last == 0 {
				return l.append(r)
			}
			if c.err == nil {
				return nil, connect.NewError(connect.CodeUnavailable, errors.New("stopping"))
			}
			return nil, c.err
		}}
		if code, _, log := f.ask(t, strings.Repeat("a\n", 1500), strings.Fields(c.args)...); code != c.code || log != "truechimer: "+c.want+"\n" {
			t.Errorf("%s: exit code %d, %q; want %d, %q", name, code, log, c.code, c.want)
		}
	}
}

// TestAppendLosesTheServer: a connection that breaks off says nothing of the outcome; one
// that never was does.
func TestAppendLosesTheServer(t *testing.T) {
	for args, want := range map[string]string{
		"append chat a":         "; it may have been appended all the same: read the end of the stream before you repeat it, or use --key next time\n",
		"append chat a --key k": "; it may have been appended all the same: repeat it with the same --key\n",
	} {
		f := &fakeStreams{}
		web := f.serve(t)
		f.append = func(*rpc.AppendRequest) (*rpc.AppendResponse, error) {
			web.CloseClientConnections()
			return nil, errors.New("nobody hears this")
		}
		var out, log strings.Builder
		code := run(t.Context(), append([]string{"--api", web.URL}, strings.Fields(args)...), streams{strings.NewReader(""), &out, &log})
		if code != exitUnreachable || !strings.Contains(log.String(), "went away") || !strings.HasSuffix(log.String(), want) {
			t.Errorf("%s: exit code %d, %q; want %q", args, code, log.String(), want)
		}
	}
	var out, log strings.Builder
	code := run(t.Context(), []string{"--api", "127.0.0.1:1", "append", "chat", "a"}, streams{strings.NewReader(""), &out, &log})
	if code != exitUnreachable || strings.Contains(log.String(), "appended") {
		t.Errorf("exit code %d, %q", code, log.String())
	}
}

// chunks is an input that comes in pieces, and then fails.
type chunks struct {
	pieces []string
	err    error
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.pieces) == 0 {
		return 0, c.err
	}
	n := copy(p, c.pieces[0])
	if c.pieces[0] = c.pieces[0][n:]; c.pieces[0] == "" {
		c.pieces = c.pieces[1:]
	}
	return n, nil
}

// TestLines: lines that are there go together, those that are not are not waited for
// unless batches have to be full.
func TestLines(t *testing.T) {
	broken := errors.New("broken")
	many := strings.Repeat("x\n", linesMax)
	long := strings.Repeat("y", payloadLenMax)
	for name, c := range map[string]struct {
		pieces []string
		err    error
		full   bool
		want   string // lines of each batch
		ends   error
	}{
		"nothing":            {err: io.EOF, want: "0", ends: io.EOF},
		"a trickle":          {pieces: []string{"a\nb\n", "c\n", "d\ne", "\n"}, err: io.EOF, want: "2 1 1 1 0", ends: io.EOF},
		"a trickle, full":    {pieces: []string{"a\nb\n", "c\n", "d\ne", "\n"}, err: io.EOF, full: true, want: "5", ends: io.EOF},
		"no end of line":     {pieces: []string{"a\nb"}, err: io.EOF, want: "1 1", ends: io.EOF},
		"more than go":       {pieces: []string{many + "z\n"}, err: io.EOF, want: "1000 1 0", ends: io.EOF},
		"more than go, full": {pieces: []string{many + many + "z\n"}, err: io.EOF, full: true, want: "1000 1000 1", ends: io.EOF},
		"broken":             {pieces: []string{"a\nb"}, err: broken, want: "1 0", ends: broken},
		"broken, full":       {pieces: []string{"a\nb"}, err: broken, full: true, want: "1", ends: broken},
		"the longest":        {pieces: []string{long + "\n" + long}, err: io.EOF, want: "1 1", ends: io.EOF},
		"bytes are a limit":  {pieces: []string{strings.Repeat(long+"\n", 6)}, err: io.EOF, full: true, want: "4 2", ends: io.EOF},
	} {
		l := newLines(&chunks{slices.Clone(c.pieces), c.err}, c.full)
		var got []string
		var text bytes.Buffer
		var b lineBatch
		for b.err == nil {
			b = l.next()
			got = append(got, fmt.Sprint(len(b.lines)))
			for _, line := range b.lines {
				fmt.Fprintf(&text, "%s\n", line)
			}
		}
		if strings.Join(got, " ") != c.want || !errors.Is(b.err, c.ends) {
			t.Errorf("%s: batches of %v lines, then %v; want %s", name, got, b.err, c.want)
		}
		if want := strings.Join(c.pieces, ""); c.ends == io.EOF && strings.TrimSuffix(text.String(), "\n") != strings.TrimSuffix(want, "\n") {
			t.Errorf("%s: got other lines", name)
		}
	}
}

// TestLinesTwin: however the input is cut, the lines are those of strings.Split.
func TestLinesTwin(t *testing.T) {
	t.Logf("-seed=%d", *seedFlag)
	random := rand.New(rand.NewPCG(*seedFlag, 0))
	for range 500 {
		var input strings.Builder
		var pieces []string
		for range random.IntN(20) {
			piece := strings.Repeat("x", random.IntN(4)) + strings.Repeat("\n", random.IntN(3))
			if piece == "" {
				continue
			}
			input.WriteString(piece)
			pieces = append(pieces, piece)
		}
		want := strings.Split(input.String(), "\n")
		want = want[:len(want)-1+min(len(want[len(want)-1]), 1)] // what is behind the last end counts where there is something
		l := newLines(&chunks{pieces, io.EOF}, random.IntN(2) == 0)
		got := []string{}
		for {
			b := l.next()
			for _, line := range b.lines {
				got = append(got, string(line))
			}
			if b.err != nil {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q: got %q, want %q", input.String(), got, want)
		}
	}
}
