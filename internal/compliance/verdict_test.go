package compliance

import (
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
)

const (
	ok      = rpc.Verdict_VERDICT_OK
	warn    = rpc.Verdict_VERDICT_WARN
	breach  = rpc.Verdict_VERDICT_BREACH
	unknown = rpc.Verdict_VERDICT_UNKNOWN

	systemClock = rpc.JudgedClock_JUDGED_CLOCK_SYSTEM
	servedClock = rpc.JudgedClock_JUDGED_CLOCK_SERVED

	ms = time.Millisecond
)

// agreeing returns sources that agree: how many, how many of them of NIST, at how many sites.
func agreeing(n, nist, sites int) []SourceReading {
	var list []SourceReading
	for i := range n {
		s := SourceReading{Name: string(rune('a' + i)), Number: uint32(i + 1), Agrees: true, NIST: i < nist, Reachable: true, Measured: true, Status: "agrees"}
		if sites > 0 {
			s.Site = string(rune('A' + i%sites))
		}
		list = append(list, s)
	}
	return list
}

func TestJudge(t *testing.T) {
	p := NewProfile("p", 50*ms)
	p.MinSources, p.MinNIST, p.MinSites = 3, 1, 2
	all := agreeing(3, 1, 2)
	for _, c := range []struct {
		name    string
		reading Reading
		sources []SourceReading
		marked  bool
		want    rpc.Verdict
		because string
	}{
		{"within", Reading{Claims: true, Bound: 25 * ms}, all, false, ok, "within 25ms"},
		{"no bound at all", Reading{Claims: true}, all, false, ok, "within"},
		{"warn", Reading{Claims: true, Bound: 25*ms + 1}, all, false, warn, "warn level, 25ms"},
		{"at the tolerance", Reading{Claims: true, Bound: 50 * ms}, all, false, warn, "warn level"},
		{"beyond", Reading{Claims: true, Bound: 50*ms + 1}, all, false, breach, "beyond the tolerance, 50ms"},
		{"beyond with a small offset", Reading{Claims: true, Bound: 51 * ms, Offset: 1}, all, false, breach, "51ms"},
		{"within with a large offset", Reading{Claims: true, Bound: 20 * ms, Offset: 60 * ms}, all, false, ok, ""}, // the bound speaks
		{"holdover within", Reading{Claims: true, Bound: 25 * ms, Holdover: true}, all, false, ok, "within"},
		{"holdover beyond", Reading{Claims: true, Bound: 50*ms + 1, Holdover: true}, all, false, unknown, "cannot be proven any more"},
		{"holdover at the tolerance", Reading{Claims: true, Bound: 50 * ms, Holdover: true}, all, false, warn, "warn level"},
		{"no claim", Reading{Reason: "no source answers", Bound: 1}, all, false, unknown, "claimed: no source answers"},
		{"a bound below zero", Reading{Claims: true, Bound: -1}, all, false, unknown, "claimed"},
		{"smeared off", Reading{Claims: true, Bound: 1, Smeared: true}, all, false, unknown, "smeared"},
		{"marked", Reading{Claims: true, Bound: 1 * ms}, all, true, warn, "leap second"},
		{"marked and beyond", Reading{Claims: true, Bound: 60 * ms}, all, true, breach, "60ms"},
		{"two sources", Reading{Claims: true, Bound: 1}, agreeing(2, 1, 2), false, warn, "2 sources agree, and 3 must"},
		{"no NIST", Reading{Claims: true, Bound: 1}, agreeing(3, 0, 2), false, warn, "0 sources of NIST agree, and 1 must"},
		{"one site", Reading{Claims: true, Bound: 1}, agreeing(3, 1, 1), false, warn, "1 sites, and must at 2"},
		{"nowhere in particular", Reading{Claims: true, Bound: 1}, agreeing(3, 1, 0), false, warn, "0 sites"},
		{"two sources, and beyond", Reading{Claims: true, Bound: 60 * ms}, agreeing(2, 1, 2), false, breach, ""},
		{"no sources are configured", Reading{Claims: true, Bound: 1}, nil, false, ok, ""},
		{"sources that do not agree", Reading{Claims: true, Bound: 1}, []SourceReading{{NIST: true}, {}, {}}, false, warn, "0 sources"},
	} {
		q := quorumOf(c.sources)
		v, w := p.judge(&c.reading, &q, c.marked)
		if s := p.sentence(w, &c.reading, &q); v != c.want || !strings.Contains(s, c.because) {
			t.Errorf("%s: %v, because %s", c.name, v, s)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 9999: "9.999µs", 12345: "12.35µs", 61234567: "61.23ms", -61234567: "-61.23ms", 3 * time.Hour: "3h0m0s",
	} {
		if got := span(d).String(); got != want {
			t.Errorf("span(%d) is %s, want %s", d, got, want)
		}
	}
	for _, d := range []time.Duration{1<<63 - 1, -1 << 63} {
		span(d) // does not hang
	}
}
