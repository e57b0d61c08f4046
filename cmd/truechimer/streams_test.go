package main

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/rpc"
)

const dayNs = int64(day)

// TestStreamsTable: what fits 80 columns stands in one line, and a name that does not has
// one for itself.
func TestStreamsTable(t *testing.T) {
	list := []*rpc.Stream{
		{Name: "chat", First: 1, Last: 16, LastTimestamp: noon, Bytes: 1234},
		{Name: "empty", First: 1},
		{Name: "journal/host-17", First: 100_001, Last: 2_000_000, LastTimestamp: noon - 86400e9, Bytes: 10 << 30, Retention: &rpc.Retention{AgeNs: 30 * dayNs, Count: 2_000_000, Bytes: 10 << 30}},
		{Name: "trimmed", First: 8, Last: 7, LastTimestamp: noon, Retention: &rpc.Retention{AgeNs: dayNs / 2}},
	}
	long := append(list[:1:1], &rpc.Stream{Name: strings.Repeat("long-", 12), First: 1, Last: 9, LastTimestamp: noon, Bytes: 9})
	for name, c := range map[string]struct {
		list   []*rpc.Stream
		prefix string
		more   bool
		width  int
		want   string
	}{
		"none":         {nil, "", false, 80, "there is no stream yet: truechimer append creates the one that it names\n"},
		"none of them": {nil, "ch", false, 80, "there is no stream whose name begins with ch\n"},
		"some": {list, "", true, 0, `
STREAM           FIRST   LAST     BYTES    LAST EVENT, UTC      KEEPS
chat             1       16       1.21KiB  2026-11-22 12:00:00  all
empty            1       0        0B       -                    all
journal/host-17  100001  2000000  10GiB    2026-11-21 12:00:00  30d, 2000000 events, 10GiB
trimmed          8       7        0B       2026-11-22 12:00:00  12h
and more; --limit is 4
`[1:]},
		"on a terminal": {long, "", false, 80, `
STREAM  FIRST  LAST  BYTES    LAST EVENT, UTC      KEEPS
chat    1      16    1.21KiB  2026-11-22 12:00:00  all
long-long-long-long-long-long-long-long-long-long-long-long-
        1      9     9B       2026-11-22 12:00:00  all
`[1:]},
	} {
		var b strings.Builder
		if err := writeStreamTable(&b, c.list, c.prefix, c.more, c.width); err != nil || b.String() != c.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, b.String(), c.want)
		}
	}
}

// TestStreamsList: pages are followed until the limit.
func TestStreamsList(t *testing.T) {
	list := func(r *rpc.ListRequest) (*rpc.ListResponse, error) {
		from := 0
		if r.Cursor != "" {
			_, _ = fmt.Sscan(r.Cursor, &from)
		}
		a := &rpc.ListResponse{}
		for i := from; i < 2500 && len(a.Streams) < int(r.GetLimit()); i++ {
			a.Streams = append(a.Streams, &rpc.Stream{Name: fmt.Sprintf("%s-%d", r.Prefix, i), First: 1})
		}
		if to := from + len(a.Streams); to < 2500 {
			a.Cursor = fmt.Sprint(to)
		}
		return a, nil
	}
	for args, want := range map[string]string{
		"streams":                        "1000 more, limits [1000]",
		"streams ab":                     "1000 more, limits [1000]",
		"streams list ab --limit 1500":   "1500 more, limits [1000 500]",
		"streams --limit 3000":           "2500, limits [1000 1000 1000]",
		"streams list --limit 7":         "7 more, limits [7]",
		"streams list --json --limit 12": "12, limits [12]",
	} {
		f := &fakeStreams{list: list}
		code, out, log := f.ask(t, "", strings.Fields(args)...)
		var limits []int64
		for _, m := range f.asked {
			r := m.(*rpc.ListRequest)
			limits = append(limits, r.GetLimit())
			if strings.Contains(args, "ab") != (r.Prefix == "ab") {
				t.Errorf("%s: prefix %q", args, r.Prefix)
			}
		}
		n := strings.Count(out, "-")
		if strings.Contains(args, "json") {
			n = strings.Count(out, "\n")
		} else {
			n /= 2 // in the name, and as the last event
		}
		got := fmt.Sprintf("%d, limits %v", n, limits)
		if strings.Contains(out, "\nand more; --limit is ") {
			n = strings.Count(out, "\n") - 2
			got = fmt.Sprintf("%d more, limits %v", n, limits)
		}
		if code != 0 || log != "" || got != want {
			t.Errorf("%s: exit code %d, %s; %s, want %s", args, code, log, got, want)
		}
	}
}

// TestStreamsDecisions: nothing is removed without --yes, and then what was said.
func TestStreamsDecisions(t *testing.T) {
	chat := &rpc.Stream{Name: "chat", Created: noon, First: 3, Last: 9, LastTimestamp: noon + 1, Bytes: 2048, Retention: &rpc.Retention{Count: 100}}
	shown := `stream      chat
created     2026-11-22T12:00:00.000000000Z+0000
events      7 events, sequences 3 to 9, of 2KiB
last event  2026-11-22T12:00:00.000000000Z+0001
keeps       100 events
`
	describe, trim9 := &rpc.DescribeRequest{Stream: "chat"}, &rpc.TrimRequest{Stream: "chat", First: 9}
	for _, c := range []struct {
		args     string
		code     int
		out, log string
		asked    []proto.Message
	}{
		{args: "show chat", out: shown, asked: []proto.Message{describe}},
		{args: "create chat", out: shown, asked: []proto.Message{&rpc.CreateRequest{Stream: "chat", Retention: &rpc.Retention{}}}},
		{args: "create chat --age 1d12h --count 5 --bytes 10GiB", out: shown, asked: []proto.Message{&rpc.CreateRequest{Stream: "chat", Retention: &rpc.Retention{AgeNs: dayNs * 3 / 2, Count: 5, Bytes: 10 << 30}}}},
		{args: "create chat --age 1w", code: exitUsage, log: `invalid argument "1w" for "--age" flag: "1w" is no length of time: want one such as 90s, 12h or 30d; see truechimer streams create --help`},
		{args: "create chat --bytes 1GB", code: exitUsage, log: `invalid argument "1GB" for "--bytes" flag: "1GB" is no number of bytes: want one such as 1000000, 64MiB or 10GiB; see truechimer streams create --help`},
		{args: "retain chat", code: exitUsage, log: "say what to keep, with --age, --count or --bytes, or keep everything with --all"},
		{args: "retain chat --all --age 1d", code: exitUsage, log: "say what to keep, with --age, --count or --bytes, or keep everything with --all"},
		{args: "retain chat --all", out: shown, asked: []proto.Message{&rpc.SetRetentionRequest{Stream: "chat", Retention: &rpc.Retention{}}}},
		{args: "retain chat --count 200", out: shown, asked: []proto.Message{describe, &rpc.SetRetentionRequest{Stream: "chat", Retention: &rpc.Retention{Count: 200}}}},
		{args: "retain chat --count 99", code: exitUsage, log: "this would keep 99 events of chat and remove what is beyond it for good, where now 100 events is kept; say --yes if that is what you want", asked: []proto.Message{describe}},
		{args: "retain chat --count 200 --age 7d", code: exitUsage, log: "this would keep 7d, 200 events of chat and remove what is beyond it for good, where now 100 events is kept; say --yes if that is what you want", asked: []proto.Message{describe}},
		{args: "retain chat --bytes 1KiB --yes", out: shown, asked: []proto.Message{&rpc.SetRetentionRequest{Stream: "chat", Retention: &rpc.Retention{Bytes: 1024}}}},
		{args: "trim chat", code: exitUsage, log: "--first is missing: it is the sequence of the first event to keep"},
		{args: "trim chat --first 9", code: exitUsage, log: "this would remove 6 events of chat for good, sequences 3 to 8; say --yes if that is what you want", asked: []proto.Message{describe}},
		{args: "trim chat --first 11", code: exitUsage, log: "--first is 11, and the next event of chat has the sequence 10", asked: []proto.Message{describe}},
		{args: "trim chat --first 10", code: exitUsage, log: "this would remove 7 events of chat for good, sequences 3 to 9; say --yes if that is what you want", asked: []proto.Message{describe}},
		{args: "trim chat --first 3", code: exitFailed, log: "chat begins at sequence 3: there is nothing to remove", asked: []proto.Message{describe}},
		{args: "trim chat --first 9 --yes", out: shown, asked: []proto.Message{trim9}},
		{args: "delete chat", code: exitUsage, log: "this would delete chat for good, with 7 events, sequences 3 to 9, of 2KiB; say --yes if that is what you want", asked: []proto.Message{describe}},
		{args: "delete chat --yes", out: "deleted chat, with 7 events, sequences 3 to 9, of 2KiB\n", asked: []proto.Message{&rpc.DeleteRequest{Stream: "chat"}}},
		{args: "a b", code: exitUsage, log: "truechimer streams takes at most one PREFIX, not 2 arguments; see truechimer streams --help"},
		{args: "list a b", code: exitUsage, log: "truechimer streams list takes at most one PREFIX, not 2 arguments; see truechimer streams list --help"},
		{args: "list --limit 0", code: exitUsage, log: "--limit is 0; want 1 or more"},
	} {
		f := &fakeStreams{described: chat}
		code, out, log := f.ask(t, "", append([]string{"streams"}, strings.Fields(c.args)...)...)
		want := c.log
		if want != "" {
			want = "truechimer: " + want + "\n"
		}
		if code != c.code || out != c.out || log != want {
			t.Errorf("%s: exit code %d, %s%s; want %d, %s%s", c.args, code, out, log, c.code, c.out, want)
		}
		if fmt.Sprint(f.asked) != fmt.Sprint(c.asked) {
			t.Errorf("%s: asked %v, want %v", c.args, f.asked, c.asked)
		}
	}
	for _, args := range []string{"show chat", "create chat", "retain chat --all", "trim chat --first 9 --yes", "delete chat --yes"} {
		f := &fakeStreams{described: chat}
		code, out, _ := f.ask(t, "", append([]string{"streams", "--json"}, strings.Fields(args)...)...)
		if code != 0 || !strings.HasPrefix(strings.ReplaceAll(out, " ", ""), `{"name":"chat","created":"1795348800000000000",`) || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: exit code %d, %s", args, code, out)
		}
	}
}

func TestEventsWords(t *testing.T) {
	for want, s := range map[string]*rpc.Stream{
		"no event yet":                      {First: 1},
		"no event left of 7":                {First: 8, Last: 7},
		"1 event, sequence 7, of 5B":        {First: 7, Last: 7, Bytes: 5},
		"7 events, sequences 1 to 7, of 0B": {First: 1, Last: 7},
		"18446744073709551615 events, sequences 1 to 18446744073709551615, of 16.0EiB": {First: 1, Last: math.MaxUint64, Bytes: math.MaxUint64},
	} {
		if got := eventsWords(s); got != want {
			t.Errorf("%v: %s, want %s", s, got, want)
		}
	}
}

// TestCut: what is asked for, over pages, and the table.
func TestCut(t *testing.T) {
	cut := func(r *rpc.CutRequest) (*rpc.CutResponse, error) {
		if r.Cursor != "" {
			return &rpc.CutResponse{Timestamp: noon, Streams: []*rpc.StreamCut{{Name: "orders", First: 8, Last: 7}}}, nil
		}
		return &rpc.CutResponse{Timestamp: noon, Streams: []*rpc.StreamCut{{Name: "chat", First: 1, Last: 16, LastTimestamp: noon - 1024}}, Cursor: "more"}, nil
	}
	f := &fakeStreams{cut: cut}
	if code, out, log := f.ask(t, "", "cut", "2026-11-22T12:00:00Z", "chat", "orders"); code != 0 || log != "" || out != `
at 2026-11-22T12:00:00.000000000Z+0000
STREAM  FIRST  LAST  TIMESTAMP OF THE LAST
chat    1      16    2026-11-22T11:59:59.999998976Z+0000
orders  8      7     -
`[1:] {
		t.Errorf("exit code %d, %s\n%s", code, log, out)
	}
	want := []proto.Message{
		&rpc.CutRequest{Timestamp: noon + 1023, Names: []string{"chat", "orders"}},
		&rpc.CutRequest{Timestamp: noon + 1023, Names: []string{"chat", "orders"}, Cursor: "more"},
	}
	if fmt.Sprint(f.asked) != fmt.Sprint(want) {
		t.Errorf("asked %v, want %v", f.asked, want)
	}
	f = &fakeStreams{cut: cut}
	if code, out, _ := f.ask(t, "", "cut", "now", "--prefix", "ch", "--json"); code != 0 || strings.Count(out, "\n") != 2 || fmt.Sprint(f.asked[0]) != fmt.Sprint(&rpc.CutRequest{Prefix: "ch"}) {
		t.Errorf("exit code %d, %s; asked %v", code, out, f.asked)
	}
	f = &fakeStreams{cut: func(*rpc.CutRequest) (*rpc.CutResponse, error) { return &rpc.CutResponse{Timestamp: noon}, nil }}
	if code, out, _ := f.ask(t, "", "cut", "now", "x"); code != 0 || out != "at 2026-11-22T12:00:00.000000000Z+0000\nthere was no such stream\n" {
		t.Errorf("exit code %d, %s", code, out)
	}
	for args, want := range map[string]string{
		"cut":                  "truechimer cut takes INSTANT; see truechimer cut --help",
		"cut tomorrow":         `"tomorrow" is no instant: want ` + instantForms,
		"cut now a --prefix b": "--prefix and names exclude each other",
		"cut 0":                "no event has the timestamp 0",
	} {
		if code, _, log := f.ask(t, "", strings.Fields(args)...); code != exitUsage || log != "truechimer: "+want+"\n" {
			t.Errorf("%s: exit code %d, %q, want %q", args, code, log, want)
		}
	}
}
