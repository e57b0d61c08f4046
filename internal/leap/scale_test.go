package leap

import (
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

// TestScale: the scale goes on evenly, whatever becomes of the list.
func TestScale(t *testing.T) {
	midnight := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	evening := midnight - int64(time.Hour)
	s := new(Scale)
	start := s.TAI(evening)
	if start != evening || s.UTC(start) != evening {
		t.Fatalf("without a table: %d", start-evening)
	}
	known := new(Table).With(midnight-int64(365*24*time.Hour)*5, clock.LeapInsert)
	s.Set(known) // found later: what is past makes no difference
	if got := s.TAI(evening); got != start {
		t.Errorf("a list that was found moves the scale by %v", time.Duration(got-start))
	}
	if s.Near(start, int64(time.Minute)) {
		t.Error("a leap second is near before one is announced")
	}
	s.Announce(evening, clock.LeapInsert)
	if at, kind, ok := s.Next(evening); !ok || at != midnight || kind != clock.LeapInsert {
		t.Errorf("announced, and next is %d %v %v", at, kind, ok)
	}
	s.Announce(evening, clock.LeapNone)
	if _, _, ok := s.Next(evening); ok {
		t.Error("an announcement that was taken back stands")
	}
	s.Announce(evening, clock.LeapInsert)
	after := s.TAI(midnight + int64(time.Minute))
	if got := time.Duration(after - start); got != time.Hour+time.Minute+time.Second {
		t.Errorf("an hour, a minute and a leap second are %v", got)
	}
	if got := s.UTC(start + int64(time.Hour) + int64(500*time.Millisecond)); got != midnight-int64(500*time.Millisecond) {
		t.Errorf("in the inserted second the clock shows %v", time.Unix(0, got).UTC())
	}
	if edge := start + int64(time.Hour); !s.Near(edge, 1) || s.Near(edge-int64(3*time.Second), int64(2*time.Second)) {
		t.Error("near")
	}
	s.Announce(midnight+int64(time.Minute), clock.LeapNone) // it has been made
	s.Set(known)                                            // a list that does not know of it yet
	if got := s.TAI(midnight + int64(time.Minute)); got != after {
		t.Errorf("a list that was read again moves the scale by %v", time.Duration(got-after))
	}
	early := new(Scale) // a hardware clock that was never set
	early.TAI(0)
	before := early.TAI(evening)
	early.Set(known)
	if got := early.TAI(evening); got != before {
		t.Errorf("a list that was found moves a scale that began in 1970 by %v", time.Duration(got-before))
	}
	var snapshot clock.Snapshot
	s.Mark(&snapshot, start+int64(time.Hour)-int64(time.Second))
	if snapshot.LeapBy != -time.Second {
		t.Errorf("marked with %v", snapshot.LeapBy)
	}
}
