package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
)

func poll(n int32) *int32 { return &n }

// TestClientsTable: the widest that IPv4 can get fits 80 columns, and the longest address
// leaves the columns straight; where these end, it has a line of its own.
func TestClientsTable(t *testing.T) {
	const now = int64(1_795_000_000_000_000_000)
	const day = 24 * int64(time.Hour)
	widest := []*rpc.NtpClient{
		{Address: "255.255.255.255", Version: 4, Mode: 3, Interleaved: true, LastUnixNs: now - 999*day, Requests: math.MaxUint64, Drops: 999_999, PollLog2: poll(17)},
		{Address: "10.0.0.1", Version: 1, LastUnixNs: now + 5e9, Requests: 1},
		{Address: "10.0.0.2", Version: 3, Mode: 3, LastUnixNs: now - 59_999_999_999, Requests: 1_000_000, Drops: 12_345_678, PollLog2: poll(-10)},
	}
	longest := append([]*rpc.NtpClient{
		{Address: "fd12:3456:789a:bcde:fd12:3456:789a:bcde", Version: 4, Mode: 3, LastUnixNs: now - 3*int64(time.Hour), Requests: 7, Drops: 2, PollLog2: poll(6)},
	}, widest...)
	for name, c := range map[string]struct {
		answer *rpc.ClientsResponse
		width  int
		want   string
	}{
		"nobody": {&rpc.ClientsResponse{UtcUnixNs: now}, 80, "no client has asked yet\n"},
		"IPv4": {&rpc.ClientsResponse{Clients: widest, Remembered: 3, UtcUnixNs: now}, 80, `
ADDRESS          VER  MODE  INTERLEAVED  SEEN  REQUESTS  DROPS   POLL
255.255.255.255  4    3     yes          999d  18.4E     999999  17 (131072s)
10.0.0.1         1    0     no           0s    1         0       -
10.0.0.2         3    3     no           59s   1.0M      12.3M   -10 (0.977ms)
`[1:]},
		"IPv6, and more": {&rpc.ClientsResponse{Clients: longest, Remembered: 104, UtcUnixNs: now}, 0, `
ADDRESS                                  VER  MODE  INTERLEAVED  SEEN  REQUESTS  DROPS   POLL
fd12:3456:789a:bcde:fd12:3456:789a:bcde  4    3     no           3h    7         2       6 (64s)
255.255.255.255                          4    3     yes          999d  18.4E     999999  17 (131072s)
10.0.0.1                                 1    0     no           0s    1         0       -
10.0.0.2                                 3    3     no           59s   1.0M      12.3M   -10 (0.977ms)
and 100 more; --limit shows up to 1000
`[1:]},
		"IPv6, on a terminal": {&rpc.ClientsResponse{Clients: longest, Remembered: 104, UtcUnixNs: now}, 80, `
ADDRESS          VER  MODE  INTERLEAVED  SEEN  REQUESTS  DROPS   POLL
fd12:3456:789a:bcde:fd12:3456:789a:bcde
                 4    3     no           3h    7         2       6 (64s)
255.255.255.255  4    3     yes          999d  18.4E     999999  17 (131072s)
10.0.0.1         1    0     no           0s    1         0       -
10.0.0.2         3    3     no           59s   1.0M      12.3M   -10 (0.977ms)
and 100 more; --limit shows up to 1000
`[1:]},
		"IPv6 that just does not fit": {&rpc.ClientsResponse{Clients: longest[:1], Remembered: 1, UtcUnixNs: now}, 94, `
ADDRESS  VER  MODE  INTERLEAVED  SEEN  REQUESTS  DROPS  POLL
fd12:3456:789a:bcde:fd12:3456:789a:bcde
         4    3     no           3h    7         2      6 (64s)
`[1:]},
		"IPv6 that just fits": {&rpc.ClientsResponse{Clients: longest[:1], Remembered: 1, UtcUnixNs: now}, 95, `
ADDRESS                                  VER  MODE  INTERLEAVED  SEEN  REQUESTS  DROPS  POLL
fd12:3456:789a:bcde:fd12:3456:789a:bcde  4    3     no           3h    7         2      6 (64s)
`[1:]},
		"no room at all": {&rpc.ClientsResponse{Clients: widest[:1], Remembered: 1, UtcUnixNs: now}, 10, `
ADDRESS  VER  MODE  INTERLEAVED  SEEN  REQUESTS  DROPS   POLL
255.255.255.255
         4    3     yes          999d  18.4E     999999  17 (131072s)
`[1:]},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			if err := writeClients(&b, c.answer, c.width); err != nil || b.String() != c.want {
				t.Errorf("%v\n%s\nwant\n%s", err, b.String(), c.want)
			}
			for line := range strings.Lines(b.String()) {
				if c.width >= 80 && len(line) > c.width+1 {
					t.Errorf("%d columns: %s", len(line), line)
				}
			}
		})
	}
}

func TestClientsWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", time.Second - 1: "0s", time.Minute - 1: "59s", time.Minute: "1m", time.Hour - 1: "59m",
		time.Hour: "1h", 24*time.Hour - 1: "23h", 24 * time.Hour: "1d", math.MaxInt64: "106751d",
	} {
		if got := ageWords(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	for n, want := range map[uint64]string{
		0: "0", 999_999: "999999", 1_000_000: "1.0M", 1_099_999: "1.0M", 999_999_999: "999.9M", 1_000_000_000: "1.0G",
		1_500_000_000_000: "1.5T", 1_000_000_000_000_000: "1.0P", math.MaxUint64: "18.4E",
	} {
		if got := countWords(n); got != want || len(got) > 6 {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int32]string{
		0: "0 (1s)", 6: "6 (64s)", 17: "17 (131072s)", -1: "-1 (500ms)", -7: "-7 (7.81ms)",
		math.MaxInt32: "2147483647 (4611686018427387904s)", math.MinInt32 + 1: "-2147483647 (2.17e-16ms)",
	} {
		if got := pollWords(&n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	if got := pollWords(nil); got != "-" {
		t.Errorf("unknown: %s", got)
	}
}

// TestClientsAsks: what the flags say is what the server is asked.
func TestClientsAsks(t *testing.T) {
	for args, want := range map[string]string{
		"clients":                               "100 CLIENTS_ORDER_LAST",
		"clients --limit 7 --order requests":    "7 CLIENTS_ORDER_REQUESTS",
		"clients --limit 1000 --order drops":    "1000 CLIENTS_ORDER_DROPS",
		"clients --order address --json":        "100 CLIENTS_ORDER_ADDRESS",
		"clients --order last --limit 1 --json": "1 CLIENTS_ORDER_LAST",
	} {
		n := fakeNode{clients: func(int) (*rpc.ClientsResponse, error) { return &rpc.ClientsResponse{}, nil }}
		if code, out, log := n.ask(t, strings.Fields(args)...); code != 0 || log != "" || n.wanted != want {
			t.Errorf("%s: exit code %d, %s%s; asked for %s, want %s", args, code, out, log, n.wanted, want)
		}
	}
}
