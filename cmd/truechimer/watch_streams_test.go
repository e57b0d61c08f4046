package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
)

// feed answers a watch: what is behind where it begins, in answers of at most a few events, whose
// cursors are timestamps. It breaks off where it is told to.
type feed struct {
	last    uint64 // sequence
	size    uint64 // of an answer
	breaks  []int  // after so many answers, one connection after the other
	refuses error  // where there is no break left; nil: it waits
}

func (f *feed) watch(ctx context.Context, r *rpc.WatchRequest, send func(*rpc.WatchResponse)) error {
	at := uint64(1)
	switch s := r.Start.(type) {
	case *rpc.WatchRequest_Sequence:
		at = s.Sequence
	case *rpc.WatchRequest_Time:
		at = s.Time - noon
	case *rpc.WatchRequest_Cursor:
		_, _ = fmt.Sscan(s.Cursor, &at)
	}
	limit := -1
	if len(f.breaks) > 0 {
		limit, f.breaks = f.breaks[0], f.breaks[1:]
	}
	for sent := 0; at <= f.last && sent != limit; sent++ {
		to := min(at+f.size-1, f.last)
		send(&rpc.WatchResponse{Events: events("chat", at, to), Cursor: fmt.Sprint(to + 1), Closed: noon + to})
		at = to + 1
	}
	switch {
	case limit >= 0:
		return connect.NewError(connect.CodeUnavailable, errors.New("this node is stopping"))
	case f.refuses != nil:
		return f.refuses
	}
	send(&rpc.WatchResponse{Cursor: fmt.Sprint(at), Closed: noon + f.last + 500})
	<-ctx.Done()
	return ctx.Err()
}

// sequences are those that were printed, of one stream.
func sequences(out string) string {
	var list []string
	for line := range strings.Lines(out) {
		list = append(list, strings.Fields(line)[0])
	}
	return strings.Join(list, " ")
}

// TestWatchGoesOn: a server that goes away again and again is waited for, and nothing is left out
// or printed twice.
func TestWatchGoesOn(t *testing.T) {
	for name, breaks := range map[string][]int{"never": nil, "in the middle": {1}, "before the first answer": {0}, "again and again": {1, 0, 0, 2, 1}} {
		f := &fakeStreams{watch: (&feed{last: 12, size: 2, breaks: breaks}).watch, closed: noon + 4}
		code, out, log := f.ask(t, "", "watch", "chat", "--count", "8")
		if code != 0 || sequences(out) != "5 6 7 8 9 10 11 12" {
			t.Errorf("%s: exit code %d, %s", name, code, sequences(out))
		}
		if gone := strings.Count(log, "trying again until it answers"); len(breaks) > 0 && gone == 0 || gone != strings.Count(log, "is back; nothing was missed") || gone > len(breaks) {
			t.Errorf("%s: %s", name, log)
		}
	}
}

// TestWatchBegins: what is asked for is where it begins, and it goes on by the cursor.
func TestWatchBegins(t *testing.T) {
	for args, want := range map[string]string{
		"watch chat":                              `names:"chat" time:1795348800000000005`,
		"watch":                                   `time:1795348800000000005`,
		"watch a b --since 1795348800000000002":   `names:"a" names:"b" time:1795348800000000002`,
		"watch --prefix ch --oldest":              `prefix:"ch" oldest:true`,
		"watch chat --from 2":                     `names:"chat" sequence:2`,
		"watch chat --cursor 3":                   `names:"chat" cursor:"3"`,
		"watch chat --since 2026-11-22T12:00:00Z": `names:"chat" time:1795348800000000000`,
	} {
		f := &fakeStreams{watch: (&feed{last: 12, size: 2, breaks: []int{1}}).watch, closed: noon + 4}
		code, _, _ := f.ask(t, "", append(strings.Fields(args), "--count", "3")...)
		got := strings.ReplaceAll(fmt.Sprint(f.asked[0]), "  ", " ")
		if code != 0 || len(f.asked) != 2 || got != want {
			t.Errorf("%s: exit code %d, asked %s, want %s", args, code, got, want)
		}
		if again := f.asked[1].(*rpc.WatchRequest); again.GetCursor() == "" || !strings.HasPrefix(want, strings.Split(strings.ReplaceAll(fmt.Sprint(f.asked[1]), "  ", " "), " ")[0]) && len(again.Names) > 0 {
			t.Errorf("%s: goes on with %v", args, again)
		}
	}
}

// TestWatchShows: what is printed, in all forms.
func TestWatchShows(t *testing.T) {
	for args, want := range map[string]string{
		"watch chat --oldest --count 2":        "1  2026-11-22T12:00:00.000000000Z+0001  b\n2  2026-11-22T12:00:00.000000000Z+0002  c\n",
		"watch --oldest --count 1":             "chat  1  2026-11-22T12:00:00.000000000Z+0001  b\n",
		"watch chat --oldest --raw --count 2":  "b\nc\n",
		"watch chat --oldest --json --count 1": `{"stream":"chat","sequence":"1","timestamp":"1795348800000000001","payload":"Yg==","epoch":"0","node":0}` + "\n",
		"watch chat --oldest --heartbeats --count 3": `1  2026-11-22T12:00:00.000000000Z+0001  b
2  2026-11-22T12:00:00.000000000Z+0002  c
closed  2026-11-22T12:00:00.000000000Z+0002
3  2026-11-22T12:00:00.000000000Z+0003  d
`,
		"watch chat --from 2 --heartbeats --json --count 3": `{"stream":"chat","sequence":"2","timestamp":"1795348800000000002","payload":"Yw==","epoch":"0","node":0}
{"stream":"chat","sequence":"3","timestamp":"1795348800000000003","payload":"ZA==","epoch":"0","node":0}
{"closed":"1795348800000000003"}
{"stream":"chat","sequence":"4","timestamp":"1795348800000000004","payload":"ZQ==","epoch":"0","node":0}
`,
	} {
		f := &fakeStreams{watch: (&feed{last: 12, size: 2}).watch}
		code, out, log := f.ask(t, "", strings.Fields(args)...)
		if strings.Contains(args, "json") {
			out = strings.ReplaceAll(out, " ", "")
		}
		if code != 0 || out != want || log != "" {
			t.Errorf("%s: exit code %d, %s\n%s\nwant\n%s", args, code, log, out, want)
		}
	}
}

// TestWatchPosition: a watch goes on where the one before ended, also in the middle of an answer,
// and only one of the same streams.
func TestWatchPosition(t *testing.T) {
	name := filepath.Join(t.TempDir(), "position")
	f := &fakeStreams{watch: (&feed{last: 30, size: 3}).watch, closed: noon}
	for _, c := range []struct{ args, want, kept string }{
		{"chat --oldest --count 3", "1 2 3", `{"names":["chat"],"prefix":"","cursor":"4"}`},
		{"chat --oldest --count 2", "4 5", `{"names":["chat"],"prefix":"","cursor":"4","after":"1795348800000000005"}`},
		{"chat --count 3", "6 7 8", `{"names":["chat"],"prefix":"","cursor":"7","after":"1795348800000000008"}`},
		{"chat --count 1", "9", `{"names":["chat"],"prefix":"","cursor":"10"}`},
		{"chat --from 1 --count 6", "10 11 12 13 14 15", `{"names":["chat"],"prefix":"","cursor":"16"}`},
	} {
		code, out, log := f.ask(t, "", append([]string{"watch", "--cursor-file", name}, strings.Fields(c.args)...)...)
		if code != 0 || sequences(out) != c.want {
			t.Errorf("%s: exit code %d, %s%s; want %s", c.args, code, out, log, c.want)
		}
		if kept, err := os.ReadFile(name); err != nil || string(kept) != c.kept+"\n" {
			t.Errorf("%s: %v, %s; want %s", c.args, err, kept, c.kept)
		}
	}
	first := filepath.Join(t.TempDir(), "first") // an answer that has no cursor before it
	for _, want := range []string{"1 2", "3 4"} {
		if code, out, log := f.ask(t, "", "watch", "chat", "--oldest", "--count", "2", "--cursor-file", first); code != 0 || sequences(out) != want {
			t.Errorf("exit code %d, %s%s; want %s", code, out, log, want)
		}
	}
	for args, want := range map[string]string{
		"other":         " is of a watch of chat, not of other; name another file\n",
		"--prefix chat": " is of a watch of chat, not of chat*; name another file\n",
		"":              " is of a watch of chat, not of all streams; name another file\n",
	} {
		code, _, log := f.ask(t, "", append([]string{"watch", "--cursor-file", name}, strings.Fields(args)...)...)
		if code != exitUsage || log != "truechimer: "+name+want {
			t.Errorf("%s: exit code %d, %q, want %q", args, code, log, want)
		}
	}
	for _, text := range []string{"", "{}", "hello", `{"names":["chat"],"prefix":""}`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, log := f.ask(t, "", "watch", "chat", "--cursor-file", name)
		if code != exitUsage || log != "truechimer: "+name+" holds no position of a watch; name another file, or remove it\n" {
			t.Errorf("%q: exit code %d, %q", text, code, log)
		}
	}
	nowhere := filepath.Join(name, "below")
	if code, _, log := f.ask(t, "", "watch", "chat", "--cursor-file", nowhere); code != exitFailed || !strings.HasPrefix(log, "truechimer: read the position: ") {
		t.Errorf("exit code %d, %q", code, log)
	}
	missing := filepath.Join(t.TempDir(), "missing", "position")
	if code, _, log := f.ask(t, "", "watch", "chat", "--oldest", "--cursor-file", missing); code != exitFailed || !strings.HasPrefix(log, "truechimer: keep the position: ") {
		t.Errorf("exit code %d, %q", code, log)
	}
	if left, _ := filepath.Glob(name + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestWatchEnds: an interrupt is no failure; what the server judges is one, also later.
func TestWatchEnds(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	var at atomic.Bool
	f := &fakeStreams{watch: func(ctx context.Context, r *rpc.WatchRequest, send func(*rpc.WatchResponse)) error {
		send(&rpc.WatchResponse{Events: events("chat", 1, 1), Cursor: "2"})
		at.Store(true)
		interrupt()
		<-ctx.Done()
		return ctx.Err()
	}}
	var out, log strings.Builder
	if code := run(ctx, []string{"--api", f.serve(t).URL, "watch", "chat"}, streams{strings.NewReader(""), &out, &log}); code != 0 || log.String() != "" || !at.Load() {
		t.Errorf("exit code %d, %s%s", code, out.String(), log.String())
	}
	for _, c := range []struct {
		refuses error
		breaks  []int
		code    int
		want    string
	}{
		{connect.NewError(connect.CodeOutOfRange, errors.New("events were removed")), nil, exitFailed, "truechimer: events were removed\n"},
		{connect.NewError(connect.CodeInvalidArgument, errors.New("the cursor is of no use")), nil, exitUsage, "truechimer: the cursor is of no use\n"},
		{connect.NewError(connect.CodeOutOfRange, errors.New("events were removed")), []int{1}, exitFailed, "truechimer: events were removed\n"},
		{connect.NewError(connect.CodeAborted, errors.New("the hybrid clock was rebased")), []int{1}, exitFailed, "truechimer: the hybrid clock was rebased\n"},
	} {
		f := &fakeStreams{watch: (&feed{last: 4, size: 1, breaks: c.breaks, refuses: c.refuses}).watch}
		if code, out, log := f.ask(t, "", "watch", "chat", "--oldest"); code != c.code || !strings.HasSuffix(log, c.want) || sequences(out) != "1 2 3 4" {
			t.Errorf("%v: exit code %d, %s%s", c.refuses, code, out, log)
		}
	}
}

func TestWatchRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"--from 1 --oldest a":        "--from and --oldest exclude each other",
		"--since 1h --cursor x a":    "--since and --cursor exclude each other",
		"--cursor x --cursor-file f": "--cursor and --cursor-file exclude each other",
		"--cursor= a":                "--cursor is empty",
		"--prefix a b":               "--prefix and names exclude each other",
		"--from 1":                   "--from is a sequence, 1 or more, of one stream that is named; of several each has its own: use --since",
		"--from 1 a b":               "--from is a sequence, 1 or more, of one stream that is named; of several each has its own: use --since",
		"--from 0 a":                 "--from is a sequence, 1 or more, of one stream that is named; of several each has its own: use --since",
		"--count 0 a":                "--count is 0; want 1 or more",
		"--raw --json":               "--raw excludes --json and --heartbeats",
		"--raw --heartbeats":         "--raw excludes --json and --heartbeats",
	} {
		f := &fakeStreams{}
		if code, out, log := f.ask(t, "", append([]string{"watch"}, strings.Fields(args)...)...); code != exitUsage || out != "" || log != "truechimer: "+want+"\n" {
			t.Errorf("%s: exit code %d, %s, %q, want %q", args, code, out, log, want)
		}
	}
}

// TestWorthRetrying: what the server has judged is not tried again.
func TestWorthRetrying(t *testing.T) {
	if worthRetrying(localError{errors.New("the disk is full")}) {
		t.Error("a failure of our own is tried again")
	}
	for _, err := range []error{errSilence, errors.New("refused"), connect.NewError(connect.CodeOutOfRange, errors.New("said by nobody"))} {
		if !worthRetrying(err) {
			t.Errorf("%v is not tried again", err)
		}
	}
}

// TestWatchSilence: a connection on which nothing comes any more is given up.
func TestWatchSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancelCause(t.Context())
		defer stop(nil)
		start := time.Now()
		quiet := newSilence(stop)
		for range 5 {
			time.Sleep(silenceMax - time.Second)
			quiet.Reset(silenceMax)
		}
		<-ctx.Done()
		if got := time.Since(start); got != 5*(silenceMax-time.Second)+silenceMax || !errors.Is(context.Cause(ctx), errSilence) {
			t.Errorf("after %v: %v", got, context.Cause(ctx))
		}
	})
}
