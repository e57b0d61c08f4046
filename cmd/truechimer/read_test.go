package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
)

// shelf answers reads of a stream with the sequences first to last, in pages of at most two.
type shelf struct{ first, last uint64 }

func (s *shelf) read(r *rpc.ReadRequest) (*rpc.ReadResponse, error) {
	from, to := max(r.From, s.first), s.last
	if r.To > 0 {
		to = min(to, r.To)
	}
	if r.Until > 0 {
		to = min(to, max(r.Until, noon)-noon)
	}
	if r.Since > noon {
		from = max(from, r.Since-noon)
	}
	var all []*rpc.Event
	if from <= to {
		all = events("chat", from, to)
	}
	if r.Reverse {
		for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
			all[i], all[j] = all[j], all[i]
		}
	}
	skip := 0
	if r.Cursor != "" {
		_, _ = fmt.Sscan(r.Cursor, &skip)
	}
	page := all[skip:]
	a := &rpc.ReadResponse{Stream: &rpc.Stream{Name: "chat", First: s.first, Last: s.last}}
	if n := int(min(2, r.GetLimit())); len(page) > n {
		page, a.Cursor = page[:n], fmt.Sprint(skip+n)
	}
	a.Events = page
	return a, nil
}

func TestRead(t *testing.T) {
	for args, want := range map[string]string{
		"read chat":                                      "10 11 12 13 14 15 16 17",
		"read chat --limit 3":                            "10 11 12",
		"read chat --limit 4":                            "10 11 12 13",
		"read chat --limit 100":                          "10 11 12 13 14 15 16 17",
		"read chat --from 15":                            "15 16 17",
		"read chat --from 12 --to 13":                    "12 13",
		"read chat --to 10":                              "10",
		"read chat --reverse --limit 3":                  "17 16 15",
		"read chat --last 3":                             "15 16 17",
		"read chat --last 8":                             "10 11 12 13 14 15 16 17",
		"read chat --last 1000":                          "10 11 12 13 14 15 16 17",
		"read chat --last 2 --to 13":                     "12 13",
		"read chat --last 5 --from 15":                   "15 16 17",
		"read chat --last 18446744073709551615":          "10 11 12 13 14 15 16 17",
		"read chat --last 2 --until 1795348800000000012": "11 12",
		"read chat --last 2 --since 1795348800000000012 --until 1795348800000000012":    "12",
		"read chat --since 2026-11-22T12:00:00.000000000Z+0016":                         "16 17",
		"read chat --until 2026-11-22T11:59:59Z":                                        "",
		"read chat --last 2 --until 2026-11-22T11:59:59Z":                               "",
		"read chat --since 2026-11-22T12:00:00Z --until 2026-11-22T12:00:00Z --limit 1": "10",
	} {
		f := &fakeStreams{read: (&shelf{10, 17}).read}
		code, out, log := f.ask(t, "", strings.Fields(args)...)
		var got []string
		for line := range strings.Lines(out) {
			got = append(got, strings.Fields(line)[0])
		}
		if code != 0 || log != "" || strings.Join(got, " ") != want {
			t.Errorf("%s: exit code %d, %v%s; want %s", args, code, got, log, want)
		}
	}
}

// TestReadShows: what an event looks like, in all forms.
func TestReadShows(t *testing.T) {
	f := &fakeStreams{read: func(*rpc.ReadRequest) (*rpc.ReadResponse, error) {
		return &rpc.ReadResponse{Events: []*rpc.Event{
			{Stream: "chat", Sequence: 9, Timestamp: noon, Payload: []byte("grüß dich"), Epoch: 2, Node: 7},
			{Stream: "chat", Sequence: 10, Timestamp: noon + 1, Payload: []byte("a\nb\x1b[1m\xff")},
			{Stream: "chat", Sequence: 11, Timestamp: noon + 1023},
		}}, nil
	}}
	if code, out, _ := f.ask(t, "", "read", "chat"); code != 0 || out != `9  2026-11-22T12:00:00.000000000Z+0000  grüß dich
10  2026-11-22T12:00:00.000000000Z+0001  "a\nb\x1b[1m\xff"
11  2026-11-22T12:00:00.000000000Z+1023`+"  \n" {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if code, out, _ := f.ask(t, "", "read", "chat", "--raw"); code != 0 || out != "grüß dich\na\nb\x1b[1m\xff\n\n" {
		t.Errorf("exit code %d, %q", code, out)
	}
	code, out, _ := f.ask(t, "", "read", "chat", "--json")
	lines := strings.Split(strings.ReplaceAll(out, " ", ""), "\n")
	if code != 0 || len(lines) != 4 || lines[1] != `{"stream":"chat","sequence":"10","timestamp":"1795348800000000001","payload":"YQpiG1sxbf8=","epoch":"0","node":0}` {
		t.Errorf("exit code %d, %q", code, lines)
	}
}

func TestReadRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"read":                                   "truechimer read takes STREAM, not 0 arguments; see truechimer read --help",
		"read chat --last 0":                     "--last is 0; want 1 or more",
		"read chat --limit 0":                    "--limit is 0; want 1 or more, or leave it out for all",
		"read chat --last 1 --limit 1":           "--last and --limit exclude each other: --last 10 are the last ten, --limit 10 the first ten",
		"read chat --last 1 --reverse":           "--last and --reverse exclude each other; for the last ten, the last one first, say --reverse --limit 10",
		"read chat --from 3 --to 2":              "--from 3 is behind --to 2",
		"read chat --since 5 --until 4":          "--since 5 is behind --until 4",
		"read chat --since yesterday":            `invalid argument "yesterday" for "--since" flag: "yesterday" is no instant: want ` + instantForms + "; see truechimer read --help",
		"read chat --until 1969-12-31T00:00:00Z": `invalid argument "1969-12-31T00:00:00Z" for "--until" flag: "1969-12-31T00:00:00Z" is out of range: timestamps are of 1970 to 2261; see truechimer read --help`,
		"read chat --raw --json":                 "--raw and --json exclude each other",
	} {
		f := &fakeStreams{}
		if code, out, log := f.ask(t, "", strings.Fields(args)...); code != exitUsage || out != "" || log != "truechimer: "+want+"\n" {
			t.Errorf("%s: exit code %d, %s, %q, want %q", args, code, out, log, want)
		}
	}
	f := &fakeStreams{read: func(*rpc.ReadRequest) (*rpc.ReadResponse, error) {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no such stream"))
	}}
	if code, _, log := f.ask(t, "", "read", "chat"); code != exitFailed || log != "truechimer: no such stream\n" {
		t.Errorf("exit code %d, %q", code, log)
	}
}

func TestInstant(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 5000, time.UTC)
	for text, want := range map[string]string{
		"17":                                  "17 17",
		"2026-11-22T12:00:00.000000512Z+0005": "bad",
		"2026-11-22T12:00:00.000000000Z+0005": "1795348800000000005 1795348800000000005",
		"2026-11-22T12:00:00Z":                "1795348800000000000 1795348800000001023",
		"2026-11-22T13:00:00.000001+01:00":    "1795348800000000000 1795348800000001023",
		"2026-11-22T12:00:00.0000011Z":        "1795348800000001024 1795348800000002047",
		"0s":                                  "1795348800000004096 1795348800000005119",
		"1h":                                  "1795345200000004096 1795345200000005119",
		"1d12h":                               "1795219200000004096 1795219200000005119",
		"":                                    "bad", "-1h": "bad", "d": "bad", "1x": "bad", "200000d": "bad", "1d-1h": "bad", "-1": "bad", "2262-01-01T00:00:00Z": "bad",
		"1970-01-01T00:00:00Z": "0 1023", "2026-11-22": "bad", "60y": "bad",
	} {
		first, last, err := parseInstant(text, now)
		got := fmt.Sprintf("%d %d", first, last)
		if err != nil {
			got = "bad"
		}
		if got != want {
			t.Errorf("%q: %s (%v), want %s", text, got, err, want)
		}
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]string{
		"90s": "1m30s", "12h": "12h", "30d": "30d", "1d12h": "1d12h", "0s": "0s", "1h30m": "1h30m", "1d1m": "1d1m", "2m": "2m", "1.5s": "1.5s", "106751d": "106751d",
		"106752d": "bad", "1": "bad", "": "bad", "1w": "bad", "d": "bad", "106751d24h": "bad", "99999999999999999999d": "bad", "-1d": "bad", "1d2d": "bad",
	} {
		d, err := parseAge(text)
		got := longWords(d)
		if err != nil {
			got = "bad"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"0": "0 ", "1": "1 1B", "1023": "1023 1023B", "1KiB": "1024 1KiB", "1500": "1500 1.46KiB", "10GiB": "10737418240 10GiB", "64MiB": "67108864 64MiB", "15EiB": "17293822569102704640 15EiB",
		"1048575": "1048575 1023KiB", "7B": "7 7B", "18446744073709551615": "18446744073709551615 16.0EiB",
		"16EiB": "bad", "10GB": "bad", "1.5GiB": "bad", "GiB": "bad", "-1": "bad", "": "bad", "1 KiB": "bad",
	} {
		var f bytesFlag
		err := f.Set(text)
		got := fmt.Sprintf("%d %s", uint64(f), f.String())
		if err != nil {
			got = "bad"
		}
		if got != want {
			t.Errorf("%s: %s (%v), want %s", text, got, err, want)
		}
	}
	for word, want := range map[string]string{"/var/b-1": "/var/b-1", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'"} {
		if got := shellWord(word); got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
}
