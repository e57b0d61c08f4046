package leap

import (
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

// The last leap second so far, and the midnight at which it was over.
var newYear2017 = date(2017, 1, 1)

func date(year int, month time.Month, d int) int64 {
	return time.Date(year, month, d, 0, 0, 0, 0, time.UTC).UnixNano()
}

// table is one with the given leap seconds, after base.
func table(t *testing.T, base int, events ...Event) *Table {
	t.Helper()
	entries := []entry{{at: utcBegins, offset: base}}
	for _, e := range events {
		entries = append(entries, entry{at: e.At / second, offset: e.Offset})
	}
	made, err := newTable(entries, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// both has a second inserted and one deleted.
func both(t *testing.T) *Table {
	return table(t, 36, Event{newYear2017, 37}, Event{date(2030, 7, 1), 36})
}

func TestAroundInsertion(t *testing.T) {
	made := both(t)
	const s, ms = second, second / 1000
	at := newYear2017
	for _, c := range []struct {
		name string
		tai  int64 // relative to 23:59:59 of the last day, which is at−s+36 s
		utc  int64 // relative to midnight
	}{
		{"an hour before", -3600 * s, -3601 * s},
		{"23:59:58.999", -ms, -s - ms},
		{"23:59:59", 0, -s},
		{"its end", s - 1, -1},
		{"23:59:60 shows 23:59:59 again", s, -s},
		{"23:59:60.5", s + 500*ms, -500 * ms},
		{"the end of 23:59:60", 2*s - 1, -1},
		{"midnight", 2 * s, 0},
		{"an hour after", 3602 * s, 3600 * s},
	} {
		tai := at - s + 36*s + c.tai
		if utc := made.UTC(tai); utc != at+c.utc {
			t.Errorf("%s: UTC is %v from midnight, want %v", c.name, time.Duration(utc-at), time.Duration(c.utc))
		}
	}
	for _, c := range []struct {
		name      string
		utc       int64
		offset    int
		ambiguous bool
	}{
		{"before 23:59:59", -s - 1, 36, false},
		{"23:59:59", -s, 36, true},
		{"23:59:59.999…", -1, 36, true},
		{"midnight", 0, 37, false},
	} {
		offset, known := made.Offset(at + c.utc)
		if offset != c.offset || !known || made.Ambiguous(at+c.utc) != c.ambiguous {
			t.Errorf("%s: offset %d (known: %v), ambiguous: %v, want %+v", c.name, offset, known, made.Ambiguous(at+c.utc), c)
		}
		if tai := made.TAI(at + c.utc); tai != at+c.utc+int64(c.offset)*s {
			t.Errorf("%s: TAI is UTC and %v", c.name, time.Duration(tai-at-c.utc))
		}
	}
}

func TestAroundDeletion(t *testing.T) {
	made := both(t)
	const s = second
	at := date(2030, 7, 1)
	midnight := at + 36*s // on the leap-free scale
	for tai, utc := range map[int64]int64{-s: at - 2*s, -1: at - s - 1, 0: at, 1: at + 1, s: at + s} {
		if got := made.UTC(midnight + tai); got != utc {
			t.Errorf("%v after the leap the clock shows %v after midnight, want %v", time.Duration(tai), time.Duration(got-at), time.Duration(utc-at))
		}
	}
	for utc, tai := range map[int64]int64{-s - 1: -1, 0: 0, s: s} {
		if got := made.TAI(at + utc); got != midnight+tai {
			t.Errorf("TAI is %v after the leap, want %v", time.Duration(got-midnight), time.Duration(tai))
		}
		if made.Ambiguous(at + utc) {
			t.Errorf("%v after midnight is ambiguous", time.Duration(utc))
		}
	}
	if made.TAI(at-s) != midnight || made.TAI(at-1) != midnight+s-1 { // 23:59:59, which there was not
		t.Error("a skipped instant does not go on from the one before")
	}
}

func TestZeroTable(t *testing.T) {
	var none Table
	for _, utc := range []int64{-day, 0, newYear2017 - 1, newYear2017, date(2200, 1, 1)} {
		offset, known := none.Offset(utc)
		if none.TAI(utc) != utc || none.UTC(utc) != utc || offset != 0 || known || none.Ambiguous(utc) {
			t.Errorf("a table that knows nothing knows something of %v", time.Unix(0, utc).UTC())
		}
		if _, _, ok := none.Next(utc); ok {
			t.Error("it knows of a leap second")
		}
		if s := none.Smooth(utc); s != (Smoothed{Unix: utc}) {
			t.Errorf("smooth time is %+v", s)
		}
		if none.Covers(utc) {
			t.Errorf("it covers %d", utc)
		}
	}
	if _, ok := none.Expires(); ok {
		t.Error("it expires")
	}
	if _, ok := none.Updated(); ok {
		t.Error("it was updated")
	}
}

func TestNext(t *testing.T) {
	made := both(t)
	for _, c := range []struct {
		utc, at int64
		kind    clock.Leap
	}{
		{0, newYear2017, clock.LeapInsert},
		{newYear2017 - 1, newYear2017, clock.LeapInsert},
		{newYear2017, date(2030, 7, 1), clock.LeapDelete},
		{date(2030, 7, 1) - 1, date(2030, 7, 1), clock.LeapDelete},
	} {
		at, kind, ok := made.Next(c.utc)
		if at != c.at || kind != c.kind || !ok {
			t.Errorf("after %d: %d, %d, %v, want %+v", c.utc, at, kind, ok, c)
		}
	}
	if _, _, ok := made.Next(date(2030, 7, 1)); ok {
		t.Error("there is one after the last")
	}
}

func TestOffsetBeforeTheList(t *testing.T) {
	made := both(t)
	if offset, known := made.Offset(utcBegins*second - 1); offset != 36 || known {
		t.Errorf("offset %d (known: %v), want 36 and unknown", offset, known)
	}
	if _, known := made.Offset(utcBegins * second); !known {
		t.Error("not known from its first entry on")
	}
}

func TestWith(t *testing.T) {
	old := both(t)
	at := date(2034, 1, 1)
	for kind, offset := range map[clock.Leap]int{clock.LeapInsert: 37, clock.LeapDelete: 35} {
		with := old.With(at, kind)
		got, known := with.Offset(at)
		before, _ := with.Offset(at - 1)
		if got != offset || before != 36 || !known {
			t.Errorf("leap %d: offset %d after %d, want %d after 36", kind, got, before, offset)
		}
		next, nextKind, ok := with.Next(at - 1)
		if next != at || nextKind != kind || !ok {
			t.Errorf("leap %d: the next is %d, %d, %v", kind, next, nextKind, ok)
		}
		if _, _, ok := old.Next(at - 1); ok {
			t.Error("the old table has changed")
		}
		// Two from one: neither may write into the other's.
		other := with.With(date(2034, 2, 1), clock.LeapInsert)
		third := with.With(date(2034, 3, 1), clock.LeapInsert)
		if n, _, _ := other.Next(at); n != date(2034, 2, 1) {
			t.Errorf("the next is at %d", n)
		}
		if n, _, _ := third.Next(at); n != date(2034, 3, 1) {
			t.Errorf("the next is at %d", n)
		}
	}
	var none Table
	with := none.With(at, clock.LeapInsert)
	if offset, known := with.Offset(at); offset != 1 || known {
		t.Errorf("offset %d (known: %v) of a table that only knows an announcement", offset, known)
	}
	for name, same := range map[string]*Table{
		"no leap":               old.With(at, clock.LeapNone),
		"not synchronised":      old.With(at, clock.LeapUnknown),
		"in the past":           old.With(date(2020, 1, 1), clock.LeapInsert),
		"known already":         old.With(date(2030, 7, 1), clock.LeapDelete),
		"known to be otherwise": old.With(date(2030, 7, 1), clock.LeapInsert),
		"a second late":         old.With(at+second, clock.LeapInsert),
		"a nanosecond early":    old.With(at-1, clock.LeapInsert),
		"in mid-month":          old.With(date(2034, 1, 2), clock.LeapInsert),
	} {
		if same != old {
			t.Errorf("%s: taken", name)
		}
	}
	expiring := *old
	expiring.expires = at + 1
	if expiring.With(at, clock.LeapInsert) != &expiring {
		t.Error("an announcement beats a list that is valid")
	}
	expiring.expires = at
	if expiring.With(at, clock.LeapInsert) == &expiring {
		t.Error("an expired list keeps an announcement out")
	}
}

func TestAnnounced(t *testing.T) {
	var none Table
	at := date(2034, 1, 1)
	for utc, taken := range map[int64]bool{
		at - day - 1: false, at - day: true, at - second: true, at - 1: true, at: false, at + second: false,
	} {
		with := none.Announced(utc, clock.LeapInsert)
		if next, _, ok := with.Next(utc); ok != taken || ok && next != at {
			t.Errorf("announced %v before: taken %v, for %d", time.Duration(at-utc), ok, next)
		}
	}
	if none.Announced(at-1, clock.LeapNone) != &none {
		t.Error("no leap was taken for one")
	}
	for _, c := range []struct{ utc, end int64 }{
		{date(2028, 2, 28), date(2028, 3, 1)}, {date(2028, 2, 29) + day - 1, date(2028, 3, 1)},
		{date(2028, 12, 31), date(2029, 1, 1)}, {date(2029, 1, 1), date(2029, 2, 1)}, {-1, 0},
	} {
		if got := MonthEnd(c.utc); got != c.end {
			t.Errorf("the month of %d ends at %d, want %d", c.utc, got, c.end)
		}
	}
}

func TestIndicator(t *testing.T) {
	known := both(t)
	covering := *known
	covering.expires = date(2035, 1, 1)
	at := date(2030, 7, 1)
	for _, c := range []struct {
		name       string
		table      *Table
		utc        int64
		said, want clock.Leap
	}{
		{"the list knows", known, at - day, clock.LeapNone, clock.LeapDelete},
		{"at the last moment", known, at - 1, clock.LeapNone, clock.LeapDelete},
		{"the list knows better", known, at - day, clock.LeapInsert, clock.LeapDelete},
		{"too early", known, at - day - 1, clock.LeapDelete, clock.LeapNone},
		{"over", known, at, clock.LeapNone, clock.LeapNone},
		{"the list knows nothing", known, at, clock.LeapInsert, clock.LeapInsert},
		{"the list knows that there is none", &covering, at, clock.LeapInsert, clock.LeapNone},
		{"not synchronised", known, at - 1, clock.LeapUnknown, clock.LeapUnknown},
		{"no list", new(Table), at - 1, clock.LeapInsert, clock.LeapInsert},
	} {
		if got := c.table.Indicator(c.utc, c.said); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// Ambiguous reports whether a clock shows utc twice: in an inserted second and in the one
// before it. A reading from then may be a second off on the leap-free scale.
func (t *Table) Ambiguous(utc int64) bool {
	i := t.passed(utc)
	return i < len(t.events) && t.step(i) < 0 && utc >= t.events[i].At-second
}
