package upstream

import (
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
)

// near tells whether an interval is what it should be, give or take what chance may do.
func near(got, want time.Duration) bool { return (got - want).Abs() <= want/spreadShare }

// The interval follows the discipline: down at once, up one step at a time, within bounds.
func TestSetPoll(t *testing.T) {
	b := newBench(t, func(o *AssociationOptions) { o.MinPoll, o.MaxPoll = 4, 7 })
	for k, c := range []struct {
		want time.Duration
		poll int8
	}{
		{0, 4}, {16 * time.Second, 4}, {31 * time.Second, 4}, {32 * time.Second, 5}, {time.Hour, 6}, {time.Hour, 7},
		{time.Hour, 7}, {20 * time.Second, 4}, {Never, 5}, {-1, 4},
	} {
		b.want(b.exchange(nil), Measured)
		b.a.SetPoll(c.want)
		if b.a.Poll() != c.poll {
			t.Errorf("step %d: poll %d after %v, want %d", k, b.a.Poll(), c.want, c.poll)
		}
		if d := b.a.Due() - b.now; !near(d, time.Second<<c.poll) {
			t.Errorf("step %d: due in %v", k, d)
		}
	}
}

// Numbers beyond their range, and networks of one's own.
func TestPollRange(t *testing.T) {
	for _, c := range []struct{ min, max, wantMin, wantMax int8 }{
		{-128, -128, -6, -6}, {127, 127, 17, 17}, {10, 4, 10, 10}, {-2, 0, -2, 0}, {6, 10, 6, 10},
	} {
		a := NewAssociation(AssociationOptions{MinPoll: c.min, MaxPoll: c.max}, 0, 0)
		a.SetPoll(0)
		if a.Poll() != c.wantMin {
			t.Errorf("%d to %d: least poll %d, want %d", c.min, c.max, a.Poll(), c.wantMin)
		}
		for range 30 {
			a.SetPoll(Never)
		}
		if a.Poll() != c.wantMax {
			t.Errorf("%d to %d: largest poll %d, want %d", c.min, c.max, a.Poll(), c.wantMax)
		}
		a.begun = 0
		if d := a.Due(); d != pollSpan(c.wantMax) {
			t.Errorf("due in %v, want %v", d, pollSpan(c.wantMax))
		}
	}
}

// Intervals vary, on both sides of their length, so that a fleet does not stay in step; and
// first requests do not come all at once.
func TestSpread(t *testing.T) {
	b := newBench(t, nil)
	var below, above int
	for range 200 {
		b.want(b.exchange(nil), Measured)
		switch d := b.a.Due() - b.now; {
		case !near(d, 64*time.Second):
			t.Fatalf("seed %d: due in %v", *seedFlag, d)
		case d < 64*time.Second-time.Second:
			below++
		case d > 64*time.Second+time.Second:
			above++
		}
	}
	if below < 30 || above < 30 { // a quarter each
		t.Errorf("seed %d: of 200 intervals %d well below and %d well above", *seedFlag, below, above)
	}
	for random, want := range map[uint64]time.Duration{0: 0, 1 << 63: startSpread / 2, 1<<64 - 1: startSpread - 1} {
		if d := NewAssociation(b.a.opts, time.Hour, random).Due() - time.Hour; d != want {
			t.Errorf("first request in %v, want %v", d, want)
		}
		spaced := b.a.opts
		spaced.SpacingMin = time.Minute
		if d := NewAssociation(spaced, time.Hour, random).Due() - time.Hour; d != want+time.Minute {
			t.Errorf("spaced: first request in %v, want %v", d, want+time.Minute)
		}
	}
}

// Four requests two seconds apart at the start and when the server is heard again; lost ones
// count, and follow at once because their wait was longer.
func TestBurst(t *testing.T) {
	b := newBench(t, func(o *AssociationOptions) { o.Burst = 4 })
	intervals := func(n int) (all []time.Duration) {
		t.Helper()
		for range n {
			b.want(b.exchange(nil), Measured)
			all = append(all, 0)
			if k := len(b.asked) - 1; k > 0 {
				all[len(all)-1] = b.asked[k] - b.asked[k-1]
			}
		}
		return all
	}
	check := func(when string, got []time.Duration, seconds ...time.Duration) {
		t.Helper()
		for i, d := range got {
			if want := seconds[i] * time.Second; !near(d, want) {
				t.Errorf("%s: intervals %v, want %v s", when, got, seconds)
				return
			}
		}
	}
	check("start", intervals(6)[1:], 2, 2, 2, 64, 64)
	for range 7 {
		b.lose()
	}
	check("one more was heard in time", intervals(2), 64, 64) // reach was not 0
	for range 8 {
		b.lose()
	}
	if b.a.Reach() != 0 {
		t.Errorf("reach %08b", b.a.Reach())
	}
	check("heard again", intervals(6), 64, 2, 2, 2, 64, 64)

	// Nobody answers at the start: the burst ends, and begins again when somebody does.
	b = newBench(t, func(o *AssociationOptions) { o.Burst = 4 })
	for range 6 {
		b.lose()
	}
	for i, want := range []time.Duration{3, 3, 3, 64, 64} {
		if d := b.asked[i+1] - b.asked[i]; !near(d, want*time.Second) {
			t.Errorf("request %d: %v after the last, want %v s", i+1, d, int64(want))
		}
	}
	check("heard at last", intervals(5), 64, 2, 2, 2, 64)

	// An operator asks for one.
	b.a.Burst()
	check("asked for", intervals(5), 2, 2, 2, 2, 64)
	b.now += 30 * time.Second
	b.a.Burst()
	if b.a.Due() > b.now {
		t.Errorf("asked for: due in %v", b.a.Due()-b.now)
	}

	if a := NewAssociation(AssociationOptions{Burst: 100}, 0, 0); a.burst != BurstMax {
		t.Errorf("a burst of %d", a.burst)
	}
	none := newBench(t, nil)
	none.want(none.exchange(nil), Measured)
	if d := none.a.Due() - none.now; !near(d, 64*time.Second) {
		t.Errorf("without bursts: the second request after %v", d)
	}
}

// AC-N1: never closer than the spacing, bursts, retries and the first request included.
func TestSpacingMin(t *testing.T) {
	const spacing = 4 * time.Second
	b := newBench(t, func(o *AssociationOptions) { o.Burst, o.SpacingMin, o.MinPoll, o.MaxPoll = 8, spacing, 0, 10 })
	if due := b.a.Due(); due < spacing {
		t.Errorf("the first request after %v: it may have asked just before it was started again", due)
	}
	for range 300 {
		switch b.rng.IntN(6) {
		case 0:
			b.lose()
		case 1:
			b.ask()
			b.a.Sent(b.stamp(b.now))
			b.a.Fail(Unsent)
		case 2:
			b.a.Burst()
			b.a.SetPoll(0)
		case 3:
			b.exchange(func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.KissRATE })
			b.a.floor = 0
		default:
			b.exchange(nil)
		}
	}
	for i := range len(b.asked) - 1 {
		if d := b.asked[i+1] - b.asked[i]; d < spacing {
			t.Fatalf("seed %d: requests %v apart", *seedFlag, d)
		}
	}
}

// Erratum 3007: RATE raises the interval, every time, beyond max_poll too, ends a burst and
// allows no other; the discipline does not lower it; a day later one step is taken back.
func TestKissRATE(t *testing.T) {
	rate := func(h *ntp.Header) { h.Leap, h.Stratum, h.RefID = 3, 0, ntp.KissRATE }
	b := newBench(t, func(o *AssociationOptions) { o.Burst, o.MinPoll, o.MaxPoll = 4, 6, 8 })
	for _, want := range []int8{7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 17} {
		was := b.now
		b.want(b.exchange(rate), Kissed)
		if b.a.Poll() != want || !near(b.a.Due()-b.now, time.Second<<want) {
			t.Fatalf("%v after %v: poll %d, due in %v; want %d", b.now, was, b.a.Poll(), b.a.Due()-b.now, want)
		}
		b.a.SetPoll(0)
		b.a.Burst()
		if b.a.Poll() != want || b.a.Due()-b.now < 64*time.Second {
			t.Fatalf("poll %d, due in %v against the server's wish", b.a.Poll(), b.a.Due()-b.now)
		}
	}
	b = newBench(t, func(o *AssociationOptions) { o.Burst, o.MinPoll, o.MaxPoll = 4, 6, 8 })
	b.want(b.exchange(rate), Kissed)
	b.want(b.exchange(rate), Kissed)
	at := b.now
	for b.a.Poll() == 8 {
		b.want(b.exchange(nil), Measured) // reach was 0: no burst
		if d := b.a.Due() - b.now; !near(d, time.Second<<b.a.Poll()) {
			t.Fatalf("due in %v, with poll %d", d, b.a.Poll())
		}
	}
	if kept := b.now - at; kept < floorHold-time.Minute || kept > floorHold+10*time.Minute || b.a.Poll() != 7 {
		t.Errorf("poll %d after %v", b.a.Poll(), kept)
	}
	for b.a.Poll() == 7 {
		b.want(b.exchange(nil), Measured)
	}
	if kept := b.now - at; kept < 2*floorHold-time.Minute || kept > 2*floorHold+20*time.Minute || b.a.Poll() != 6 {
		t.Errorf("poll %d after %v", b.a.Poll(), kept)
	}
}

// RATE at a poll that the discipline has raised counts from there.
func TestKissRATEFromPoll(t *testing.T) {
	b := newBench(t, nil)
	for range 3 {
		b.want(b.exchange(nil), Measured)
		b.a.SetPoll(Never)
	}
	b.want(b.exchange(func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.KissRATE }), Kissed)
	if b.a.Poll() != 10 {
		t.Errorf("poll %d after RATE at 9", b.a.Poll())
	}
	b.a.SetPoll(0)
	if b.a.Poll() != 10 {
		t.Errorf("poll %d: the discipline has lowered what the server has raised", b.a.Poll())
	}
}

// RFC 5905, section 7.4: after DENY and RSTR nothing is sent any more.
func TestKissStops(t *testing.T) {
	for _, code := range []ntp.RefID{ntp.KissDENY, ntp.KissRSTR} {
		b := newBench(t, func(o *AssociationOptions) { o.Burst = 4 })
		o := b.want(b.exchange(func(h *ntp.Header) { h.Stratum, h.RefID = 0, code }), Kissed)
		if o.Header.RefID != code {
			t.Errorf("kissed with %v", o.Header.RefID)
		}
		b.a.Burst()
		b.a.SetPoll(0)
		if !b.a.Stopped() || b.a.Due() != Never || b.a.Next() != Never {
			t.Errorf("stopped %v, due %v", b.a.Stopped(), b.a.Due())
		}
		if _, ok := b.a.Request(b.now+1000*time.Hour, b.random()); ok {
			t.Error("asks all the same")
		}
	}
}

// Other codes are counted, and nothing follows from them.
func TestKissOthers(t *testing.T) {
	for _, code := range []string{"XFOO", "ACST", "AUTH", "CRYP", "DROP", "NKEY", "RMOT", "NTSN", "\x00\x01\xff\x7f"} {
		b := newBench(t, nil)
		b.want(b.exchange(func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.RefIDFromASCII(code) }), Kissed)
		if b.a.Stopped() || b.a.Poll() != 6 || !near(b.a.Due()-b.now, 64*time.Second) {
			t.Errorf("%q: stopped %v, poll %d, due in %v", code, b.a.Stopped(), b.a.Poll(), b.a.Due()-b.now)
		}
	}
}

// What could not be sent, and what is not due, changes no more than it must.
func TestFail(t *testing.T) {
	b := newBench(t, nil)
	if _, ok := b.a.Request(b.a.Due()-1, b.random()); ok || b.a.Waiting() {
		t.Error("asks before it is due")
	}
	b.a.Fail(Unsent)
	b.a.Sent(b.stamp(0))
	if b.a.Counts() != (Counts{}) || b.a.sent != (Stamp{}) {
		t.Error("counted what nobody asked")
	}
	for _, v := range []Verdict{Unsent, Refused} {
		b.ask()
		b.a.Fail(v)
		if b.a.Counts()[v] != 1 || b.a.Waiting() || !near(b.a.Due()-b.now, 64*time.Second) {
			t.Errorf("%v: counts %v, due in %v", v, b.a.Counts(), b.a.Due()-b.now)
		}
	}
	if b.a.Reach() != 0 {
		t.Errorf("reach %08b", b.a.Reach())
	}
}

// Postpone moves the next request, and no wait.
func TestPostpone(t *testing.T) {
	b := newBench(t, nil)
	b.a.Postpone(time.Hour)
	if b.a.Due() != time.Hour {
		t.Errorf("due at %v", b.a.Due())
	}
	b.a.Postpone(time.Minute)
	if b.a.Due() != time.Hour {
		t.Errorf("due at %v: what was put off came nearer", b.a.Due())
	}
	b.ask()
	b.a.Postpone(b.now + time.Hour)
	if b.a.Due() != b.now+replyWait {
		t.Errorf("gives up at %v", b.a.Due())
	}
}

// Reach is the last eight polls.
func TestReach(t *testing.T) {
	b := newBench(t, nil)
	want := uint8(0)
	for range 50 {
		if b.rng.IntN(2) == 0 {
			b.lose()
			want <<= 1
		} else {
			b.want(b.exchange(nil), Measured)
			want = want<<1 | 1
		}
		if b.a.Reach() != want {
			t.Fatalf("seed %d: reach %08b, want %08b", *seedFlag, b.a.Reach(), want)
		}
	}
}
