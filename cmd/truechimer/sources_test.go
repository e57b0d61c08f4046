package main

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/truechimer/truechimer/internal/rpc"
)

func ago(d time.Duration) *int64 { n := d.Nanoseconds(); return &n }

// fiveSources are of every mark; two have the widest figures that there can be.
func fiveSources() []*rpc.Source {
	return []*rpc.Source{
		{
			Name: "ntp1", Address: "192.0.2.1:123", Status: "selected", Reason: "r", Reach: 0o377, PollLog2: 6, HeardAgoNs: ago(12 * time.Second),
			Stratum: 1, Samples: 4, OffsetNs: 123456, JitterNs: 12345, DelayNs: 10123456, RootDistanceNs: 6189000, LastFault: "long ago",
		},
		{
			Name: "192.0.2.2:1123", Address: "192.0.2.2:1123", Status: "combined", Reason: "r", Reach: 0o17, PollLog2: 10, HeardAgoNs: ago(16 * time.Minute),
			Stratum: 2, Samples: 64, OffsetNs: -999_499_000, JitterNs: 999_499_000, DelayNs: 999_499_000, RootDistanceNs: 999_499_000,
		},
		{
			Name: "ntp3.example.net", Address: "[2001:db8::3]:123", Status: "falseticker", Reason: "the majority of the sources disagrees with it", Reach: 0o377, PollLog2: 17,
			HeardAgoNs: ago(0), Stratum: 15, Samples: 1, OffsetNs: 301e9, JitterNs: 1, DelayNs: 999, RootDistanceNs: 99949,
		},
		{Name: "ntp4", Status: "unreachable", Reason: "it has not answered its last eight polls", PollLog2: -2, Stratum: 3, LastFault: "its name could not be looked up: no such host"},
		{Name: "ntp5", Address: "192.0.2.5:123", Status: "not_preferred", Reason: "it agrees, and so does a source that the configuration prefers", Reach: 1, PollLog2: 3, HeardAgoNs: ago(time.Hour), Stratum: 2},
	}
}

// TestSourcesTable: what is measured fits 80 columns beside a short name with its address,
// and long names have a line of their own.
func TestSourcesTable(t *testing.T) {
	for name, c := range map[string]struct {
		sources []*rpc.Source
		width   int
		want    string
	}{
		"none": {nil, 80, "no source is configured: each is a [[source]] with its address in the configuration file\n"},
		"80": {fiveSources(), 80, `
  SOURCE            ST  REACH  POLL   LAST  OFFSET  JITTER  DELAY   DISTANCE
* ntp1 (192.0.2.1)  1   377    64s    12s   +123µs  12.3µs  10.1ms  6.19ms
+ 192.0.2.2:1123    2   017    1024s  16m   -999ms  999ms   999ms   999ms
x ntp3.example.net (2001:db8::3)
                    15  377    36h    0s    +301s   1ns     999ns   99.9µs
? ntp4              3   000    250ms  -     -       -       -       -
- ntp5 (192.0.2.5)  2   001    8s     1h    -       -       -       -
* followed  + combined  - not selected  x falseticker  ? unreachable

x  ntp3.example.net: falseticker: the majority of the sources disagrees with it
?  ntp4: unreachable: it has not answered its last eight polls; last fault: its
   name could not be looked up: no such host
-  ntp5: not preferred: it agrees, and so does a source that the configuration
   prefers
`[1:]},
		"100": {fiveSources(), 100, `
  SOURCE                          ST  REACH  POLL   LAST  OFFSET  JITTER  DELAY   DISTANCE
* ntp1 (192.0.2.1)                1   377    64s    12s   +123µs  12.3µs  10.1ms  6.19ms
+ 192.0.2.2:1123                  2   017    1024s  16m   -999ms  999ms   999ms   999ms
x ntp3.example.net (2001:db8::3)  15  377    36h    0s    +301s   1ns     999ns   99.9µs
? ntp4                            3   000    250ms  -     -       -       -       -
- ntp5 (192.0.2.5)                2   001    8s     1h    -       -       -       -
* followed  + combined  - not selected  x falseticker  ? unreachable

x  ntp3.example.net: falseticker: the majority of the sources disagrees with it
?  ntp4: unreachable: it has not answered its last eight polls; last fault: its name could not be
   looked up: no such host
-  ntp5: not preferred: it agrees, and so does a source that the configuration prefers
`[1:]},
		"all well, and no terminal": {fiveSources()[:2], 0, `
  SOURCE            ST  REACH  POLL   LAST  OFFSET  JITTER  DELAY   DISTANCE
* ntp1 (192.0.2.1)  1   377    64s    12s   +123µs  12.3µs  10.1ms  6.19ms
+ 192.0.2.2:1123    2   017    1024s  16m   -999ms  999ms   999ms   999ms
* followed  + combined  - not selected  x falseticker  ? unreachable
`[1:]},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			if err := writeSources(&b, &rpc.SourcesResponse{Sources: c.sources}, c.width); err != nil || b.String() != c.want {
				t.Errorf("%v\n%s\nwant\n%s", err, b.String(), c.want)
			}
			for line := range strings.Lines(b.String()) {
				if n := utf8.RuneCountInString(line) - 1; len(c.sources) > 0 && c.width > 0 && n > c.width {
					t.Errorf("%d columns: %s", n, line)
				}
			}
		})
	}
}

// TestFaultWords: the last fault is told of a source that is not heard now, or never was.
func TestFaultWords(t *testing.T) {
	for _, c := range []struct {
		samples, reach uint32
		fault, want    string
	}{
		{4, 1, "lost", ""}, {4, 0, "lost", "; last fault: lost"}, {0, 0, "lost", "; last fault: lost"}, {0, 1, "lost", "; last fault: lost"}, {0, 0, "", ""},
	} {
		if got := faultWords(&rpc.Source{Samples: c.samples, Reach: c.reach, LastFault: c.fault}); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// TestBesideCountsLetters: a letter of two bytes takes one column.
func TestBesideCountsLetters(t *testing.T) {
	if got, want := beside([]string{"a", "bcd"}, []string{"µµµ", "1"}, 8), "a    µµµ\nbcd  1\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestMarks(t *testing.T) {
	for status, want := range map[string]string{
		"selected": "*", "combined": "+", "falseticker": "x", "distrusted": "x", "unreachable": "?", "waiting": "-", "distant": "-", "noselect": "-", "what a later server says": "-",
	} {
		if got := markOf(&rpc.Source{Status: status}); got != want {
			t.Errorf("%s: %s, want %s", status, got, want)
		}
	}
}

func TestSpanWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0ns", 1: "1ns", 999: "999ns", 1000: "1.00µs", 1234: "1.23µs", 9994: "9.99µs", 9995: "10.0µs", 9996: "10.0µs", 12345: "12.3µs", 99949: "99.9µs", 99951: "100µs",
		999_499: "999µs", 999_500: "1.00ms", 123456789: "123ms", 999_500_000: "1.00s", 1500 * time.Millisecond: "1.50s", 59 * time.Second: "59.0s",
		999 * time.Second: "999s", 1000 * time.Second: "1000s", 9999 * time.Second: "9999s", 10_000 * time.Second: "2h", math.MaxInt64: "2562047h",
		-1: "-1ns", -1234: "-1.23µs", -3 * time.Hour: "-3h", math.MinInt64: "-292y",
	} {
		if got := spanWords(d); got != want {
			t.Errorf("%d: %s, want %s", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0ns", 5: "+5ns", -5: "-5ns"} {
		if got := signedSpan(d); got != want {
			t.Errorf("%d: %s, want %s", d, got, want)
		}
	}
	for log2, want := range map[int32]string{
		-7: "7.81ms", -1: "500ms", 0: "1s", 6: "64s", 10: "1024s", 13: "8192s", 14: "4h", 17: "36h", math.MaxInt32: "1281023894007607h", math.MinInt32 + 1: "0ns",
	} {
		if got := intervalWords(log2); got != want {
			t.Errorf("2^%d s: %s, want %s", log2, got, want)
		}
	}
}

func TestCalled(t *testing.T) {
	for _, c := range []struct{ name, address, want string }{
		{"ntp1", "", "ntp1"}, {"ntp1", "192.0.2.1:123", "ntp1 (192.0.2.1)"}, {"ntp1", "192.0.2.1:1123", "ntp1 (192.0.2.1:1123)"}, {"192.0.2.1", "192.0.2.1:123", "192.0.2.1"},
		{"192.0.2.1:123", "192.0.2.1:123", "192.0.2.1:123"}, {"192.0.2.1", "192.0.2.1:1123", "192.0.2.1 (192.0.2.1:1123)"}, {"n", "[2001:db8::1]:123", "n (2001:db8::1)"},
	} {
		if got := called(c.name, c.address); got != c.want {
			t.Errorf("%s at %s: %s, want %s", c.name, c.address, got, c.want)
		}
	}
}

// TestSourcesAsks: the table, JSON, and what goes on being shown.
func TestSourcesAsks(t *testing.T) {
	n := fakeNode{sources: func(int) *rpc.SourcesResponse { return &rpc.SourcesResponse{Sources: fiveSources()[:1]} }}
	if code, out, log := n.ask(t, "sources"); code != 0 || log != "" || !strings.Contains(out, "\n* ntp1 (192.0.2.1)  1   377 ") {
		t.Errorf("exit code %d, %s%s", code, out, log)
	}
	if code, out, log := n.ask(t, "sources", "--json"); code != 0 || log != "" || !strings.Contains(strings.ReplaceAll(out, " ", ""), `"status":"selected","reason":"r"`) {
		t.Errorf("exit code %d, %s%s", code, out, log)
	}
	if code, _, log := n.ask(t, "sources", "all"); code != exitUsage || !strings.Contains(log, "takes no arguments") {
		t.Errorf("exit code %d, %s", code, log)
	}
}
