package fleet

import (
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/upstream"
)

// answer is an exchange with a host whose clock is ahead of the system clock, which takes way
// in all.
func answer(now time.Time, ahead, way time.Duration) upstream.Measurement {
	at := func(d time.Duration) ntp.Timestamp { return ntp.FromUnix(now.Add(d).UnixNano()) }
	return upstream.Measurement{
		Header: ntp.Header{Stratum: 3, RefID: 42, Precision: -30, RootDelay: ntp.ShortOf(time.Second), RootDispersion: ntp.ShortOf(time.Second)},
		Sample: ntp.Sample{Origin: at(-way), Receive: at(-way/2 + ahead), Transmit: at(-way/2 + ahead), Destination: at(0)}, Precision: -30,
	}
}

func TestJudge(t *testing.T) {
	const ms = time.Millisecond
	const century = 100 * 365 * 24 * time.Hour
	now := time.Unix(1_764_547_200, 0)
	fine := reading{unix: now.UnixNano(), bound: ms, claimed: true}
	faulty := func(err error) upstream.Measurement {
		m := answer(now, 0, 0)
		m.Fault = err
		return m
	}
	tests := map[string]struct {
		m       upstream.Measurement
		r       reading
		verdict rpc.Verdict
		bound   time.Duration // 0: none; else as much, and at most 1 µs more
		offset  time.Duration
		reason  string
	}{
		"right":                   {answer(now, 0, 2*ms), fine, rpc.Verdict_VERDICT_OK, 2 * ms, 0, "within 2.0"},
		"ahead":                   {answer(now, 10*ms, 2*ms), fine, rpc.Verdict_VERDICT_OK, 12 * ms, -10 * ms, "within 12.0"},
		"behind":                  {answer(now, -30*ms, 2*ms), fine, rpc.Verdict_VERDICT_WARN, 32 * ms, 30 * ms, "above the warning level of 25ms"},
		"beyond":                  {answer(now, 80*ms, 2*ms), fine, rpc.Verdict_VERDICT_BREACH, 82 * ms, -80 * ms, "it is 80ms ahead"},
		"beyond behind":           {answer(now, -80*ms, 2*ms), fine, rpc.Verdict_VERDICT_BREACH, 82 * ms, 80 * ms, "it is 80ms behind"},
		"not proven":              {answer(now, 10*ms, 90*ms), fine, rpc.Verdict_VERDICT_BREACH, 56 * ms, -10 * ms, "it cannot be proven to be within 50ms: it is 10ms ahead"},
		"not proven, far":         {answer(now, 55*ms, 20*ms), fine, rpc.Verdict_VERDICT_BREACH, 66 * ms, -55 * ms, "it cannot be proven to be within 50ms: it is 55ms ahead"},
		"our bound counts":        {answer(now, 0, 2*ms), reading{bound: 60 * ms, claimed: true}, rpc.Verdict_VERDICT_BREACH, 61 * ms, 0, "cannot be proven"},
		"our reading counts":      {answer(now, 0, 2*ms), reading{bound: ms, unsure: 30 * ms, claimed: true}, rpc.Verdict_VERDICT_WARN, 32 * ms, 0, "warning"},
		"served is ahead":         {answer(now, 10*ms, 2*ms), reading{bound: ms, ahead: 10 * ms, claimed: true}, rpc.Verdict_VERDICT_OK, 2 * ms, 0, "within"},
		"served is far":           {answer(now, 0, 2*ms), reading{bound: ms, ahead: 70 * ms, claimed: true}, rpc.Verdict_VERDICT_BREACH, 72 * ms, 70 * ms, "behind"},
		"we do not know":          {answer(now, 10*ms, 2*ms), reading{}, rpc.Verdict_VERDICT_UNKNOWN, 0, -10 * ms, "this node cannot claim"},
		"not synchronised":        {faulty(ntp.ErrUnsynchronised), fine, rpc.Verdict_VERDICT_UNKNOWN, 0, 0, "says itself that it is not synchronised"},
		"starting":                {faulty(ntp.KissError{Code: ntp.KissINIT}), fine, rpc.Verdict_VERDICT_UNKNOWN, 0, 0, "says itself that it is not synchronised"},
		"unwilling":               {faulty(ntp.KissError{Code: ntp.RefIDFromASCII("RATE")}), fine, rpc.Verdict_VERDICT_UNKNOWN, 0, 0, "does not want to be asked: kiss code RATE"},
		"no time":                 {faulty(ntp.ErrInvalid), fine, rpc.Verdict_VERDICT_UNKNOWN, 0, 0, "bear no time"},
		"its claims do not count": {faulty(ntp.ErrDistance), fine, rpc.Verdict_VERDICT_OK, ms, 0, "within"},
		"nor its reference":       {faulty(ntp.ErrReference), fine, rpc.Verdict_VERDICT_OK, ms, 0, "within"},
		"far away":                {answer(now, century/2, 2*ms), fine, rpc.Verdict_VERDICT_BREACH, century/2 + 2*ms, -century / 2, "ahead"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			j := judge(measure(tt.m, tt.r), limit())
			if j.verdict != tt.verdict || !strings.Contains(j.reason, tt.reason) {
				t.Errorf("%v, %q, want %v, %q", j.verdict, j.reason, tt.verdict, tt.reason)
			}
			if (j.offset - tt.offset).Abs() > 2 {
				t.Errorf("offset %v, want %v", j.offset, tt.offset)
			}
			if tt.bound == 0 && j.bound != -1 || tt.bound > 0 && (j.bound < tt.bound-2 || j.bound > tt.bound+2*time.Microsecond) {
				t.Errorf("bound %v, want %v", j.bound, tt.bound)
			}
		})
	}
}

// The limits themselves are within.
func TestJudgeEdges(t *testing.T) {
	p := limit()
	for bound, want := range map[time.Duration]rpc.Verdict{
		0: rpc.Verdict_VERDICT_OK, p.Warn: rpc.Verdict_VERDICT_OK, p.Warn + 1: rpc.Verdict_VERDICT_WARN,
		p.Tolerance: rpc.Verdict_VERDICT_WARN, p.Tolerance + 1: rpc.Verdict_VERDICT_BREACH, -1: rpc.Verdict_VERDICT_UNKNOWN,
	} {
		if j := judge(measured{bound: bound, way: bound, fault: map[bool]string{true: "x"}[bound < 0]}, p); j.verdict != want {
			t.Errorf("%v: %v, want %v", bound, j.verdict, want)
		}
	}
	p.Warn = 0
	if j := judge(measured{bound: p.Tolerance}, p); j.verdict != rpc.Verdict_VERDICT_OK {
		t.Errorf("without a warning level: %v", j.verdict)
	}
}
