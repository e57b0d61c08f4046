package ntpserver

// AC-S13: the announcement of leap seconds.

import (
	"fmt"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
)

// instant parses an instant of UTC and returns it in Unix nanoseconds.
func instant(t *testing.T, text string) int64 {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04:05", text)
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixNano()
}

// AC-S13. Section 7.3 and figure 9: a leap second is announced in the last day of the month
// that the claims were made in, to the nanosecond, and at no other time, also when the claims are
// not renewed.
func TestACS13LeapAnnounced(t *testing.T) {
	const day = 86400 * second
	for _, v := range []struct{ made, end string }{
		{"2026-06-01 00:00:00", "2026-07-01 00:00:00"},
		{"2026-06-15 12:00:00", "2026-07-01 00:00:00"},
		{"2026-06-30 00:00:00", "2026-07-01 00:00:00"},
		{"2026-06-30 23:59:59", "2026-07-01 00:00:00"},
		{"2026-07-01 00:00:00", "2026-08-01 00:00:00"},
		{"2026-12-31 23:59:59", "2027-01-01 00:00:00"},
		{"2026-12-01 00:00:00", "2027-01-01 00:00:00"},
		{"2027-01-01 00:00:00", "2027-02-01 00:00:00"},
		{"2027-02-28 12:00:00", "2027-03-01 00:00:00"}, // of 28 days
		{"2028-02-03 12:00:00", "2028-03-01 00:00:00"}, // of 29
		{"2028-02-29 12:00:00", "2028-03-01 00:00:00"},
		{"2100-02-01 12:00:00", "2100-03-01 00:00:00"}, // of 28, in era 1
		{"2036-02-07 06:28:16", "2036-03-01 00:00:00"}, // the first second of era 1
		{"1972-06-01 00:00:00", "1972-07-01 00:00:00"},
		{"1969-12-31 23:00:00", "1970-01-01 00:00:00"}, // instants below zero
	} {
		end := instant(t, v.end)
		previous := time.Unix(0, end).UTC().AddDate(0, -1, 0).UnixNano()
		following := time.Unix(0, end).UTC().AddDate(0, 1, 0).UnixNano()
		for _, leap := range []ntp.Leap{ntp.LeapInsert, ntp.LeapDelete} {
			c := honest()
			c.Leap, c.At, c.Reference = uint8(leap), instant(t, v.made), 0
			for _, w := range []struct {
				at   int64
				want ntp.Leap
			}{
				{previous - 1, 0}, {previous, 0}, {previous - day/2, 0}, // the month before
				{end - 2*day, 0}, {end - day - 1, 0},
				{end - day, leap}, {end - day + 1, leap}, {end - day/2, leap}, {end - second, leap}, {end - 1, leap},
				{end, 0}, {end + 1, 0}, {end + second, 0}, {end + day, 0},
				{following - day, 0}, {following - 1, 0}, {following, 0},
			} {
				h := ask(t, c, plain(4, ntp.ModeClient), w.at, w.at)
				if h.Leap != w.want || h.Stratum != 2 || h.Version != 4 || h.Mode != ntp.ModeServer || h.Poll != 6 {
					t.Errorf("leap %d claimed at %s, %v from the month's end: %+v", leap, v.made, time.Duration(w.at-end), h)
				}
			}
		}
	}
}

// AC-S13. Leap 0 is never an announcement, and 3 never goes away.
func TestACS13LeapNoneAndUnsynchronised(t *testing.T) {
	end := instant(t, "2026-07-01 00:00:00")
	for _, at := range []int64{end - 86400*second - 1, end - 86400*second, end - 1, end, end + 40*86400*second} {
		for leap, want := range map[uint8]ntp.Leap{0: 0, 3: 3, 4: 3, 255: 3} {
			c := honest()
			c.Leap = leap
			if h := ask(t, c, plain(4, ntp.ModeClient), at, at); h.Leap != want {
				t.Errorf("leap %d, %v from the month's end: got %d", leap, time.Duration(at-end), h.Leap)
			}
		}
		for _, leap := range []uint8{1, 2} { // an announcement of a clock that proves nothing
			c := honest()
			c.Leap, c.Stratum = leap, 16
			if h := ask(t, c, plain(4, ntp.ModeClient), at, at); h.Leap != 3 || h.Stratum != 0 {
				t.Errorf("leap %d at stratum 16: got %d at stratum %d", leap, h.Leap, h.Stratum)
			}
		}
	}
}

// AC-S13. It is the served clock that reaches the month's last day, not the kernel's.
func TestACS13LeapByServedClock(t *testing.T) {
	const hour = 3600 * second
	begin, end := instant(t, "2026-06-30 00:00:00"), instant(t, "2026-07-01 00:00:00")
	for _, ahead := range []int64{-5 * 86400 * second, -hour, -1, 1, hour, 5 * 86400 * second} {
		c := honest()
		c.Leap, c.At, c.Reference = 1, begin-hour, 0
		c.KernelAt, c.UTCAt = noon+ahead, noon
		for _, v := range []struct {
			utc  int64
			want ntp.Leap
		}{{begin - 1, 0}, {begin, 1}, {end - 1, 1}, {end, 0}} {
			kernel := v.utc + ahead
			if h := ask(t, c, plain(4, ntp.ModeClient), kernel, kernel); h.Leap != v.want {
				t.Errorf("kernel %v ahead, served %v from the month's end: got %d", time.Duration(ahead), time.Duration(v.utc-end), h.Leap)
			}
		}
	}
}

// AC-S13. One set of claims leaves nothing to the next.
func TestACS13LeapFollowsClaims(t *testing.T) {
	end := instant(t, "2026-07-01 00:00:00")
	var r Responder
	for i, want := range []ntp.Leap{0, 1, 0, 2, 1, 3, 1, 0, 3, 2, 2} {
		c := honest()
		c.Leap = uint8(want)
		r.Use(c)
		dst := make([]byte, ntp.HeaderLen)
		r.Respond(dst, plain(4, ntp.ModeClient), Arrival{From: client(), At: end - 1})
		if h, _ := ntp.Decode(dst); h.Leap != want {
			t.Errorf("claims %d: got %d, want %d", i, h.Leap, want)
		}
	}
}

// AC-S13. In interleaved mode, and through the leak above a rate, the same is announced; a
// kiss is not synchronised and says so instead.
func TestACS13LeapInEveryAnswer(t *testing.T) {
	end := instant(t, "2026-07-01 00:00:00")
	for _, v := range []struct {
		at   int64
		want ntp.Leap
	}{{end - 86400*second - 1, 0}, {end - 86400*second, 2}, {end - 1, 2}, {end, 0}} {
		t.Run(fmt.Sprint(time.Duration(v.at-end)), func(t *testing.T) {
			d := newDesk(t, Policy{Rate: Rate{Interval: time.Hour, Burst: 2, Kiss: 1}})
			d.use(func(c *Claims) { c.Leap = 2 })
			d.clock = v.at - second
			heard := d.ask(client(), next(ntp.Header{Receive: 1}), AnsweredMissed)
			if h := d.ask(client(), next(heard), AnsweredInterleaved); h.Leap != v.want {
				t.Errorf("interleaved: got %d", h.Leap)
			}
			d.clock = v.at
			for _, answer := range []struct {
				random uint64
				want   Verdict
				leap   ntp.Leap
			}{{0, AnsweredLeak, v.want}, {1 << 32, KissRate, 3}} {
				raw, verdict := d.hand(client(), first().Append(nil), answer.random)
				if h := d.heard(raw); verdict != answer.want || h.Leap != answer.leap {
					t.Errorf("%v: leap %d", verdict, h.Leap)
				}
			}
		})
	}
}
