package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/truechimer/truechimer/internal/rpc"
)

// TestWriteStreams: what a status says of the streams.
func TestWriteStreams(t *testing.T) {
	for _, c := range []struct {
		name string
		s    *rpc.Streams
		want string
	}{
		{"an older server", nil, ""},
		{"none", &rpc.Streams{ReserveBytes: 256 << 20}, "streams: none yet"},
		{"one", &rpc.Streams{Streams: 1, Events: 1, Closed: 1_795_000_000_000_000_000, FreeBytes: 1000<<20 - 1, ReserveBytes: 256 << 20}, `
			streams: 1 stream, 1 event appended since the start, 0 watching, 0 waiting for the disk
			: closed up to 2026-11-18T11:06:40.000000000Z+0000
			: 999 MiB of the disk free, 256 MiB kept in reserve`},
		{"in trouble", &rpc.Streams{Streams: 5, Events: 6, Watchers: 7, Queued: 8, Busy: 9, Full: 1, FreeBytes: 200 << 20, ReserveBytes: 256 << 20, NearlyFull: true}, `
			streams: 5 streams, 6 events appended since the start, 7 watching, 8 waiting for the disk
			: 10 calls refused: 9 for a full queue, 1 for a full disk
			: 200 MiB of the disk free, 256 MiB kept in reserve; nothing is appended`},
	} {
		var got []string
		writeStreams(func(name, format string, args ...any) { got = append(got, name+": "+fmt.Sprintf(format, args...)) }, c.s)
		var want []string
		for line := range strings.Lines(strings.TrimSpace(c.want)) {
			want = append(want, strings.TrimSpace(line))
		}
		if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, g, w)
		}
	}
}
