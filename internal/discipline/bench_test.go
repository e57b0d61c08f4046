package discipline

import (
	"fmt"
	"testing"
	"time"
)

func eight(tb testing.TB) (*Discipline, []SourceID, time.Duration) {
	tb.Helper()
	var list []says
	for k := range 8 {
		list = append(list, named(fmt.Sprint(k)).at(time.Duration(k)*time.Microsecond, 10*ms+time.Duration(k)*ms))
	}
	d, ids, now := hear(Options{DistanceMax: time.Second}, list...)
	if s := d.Select(now); !s.Valid {
		tb.Fatal(s.Reason)
	}
	return d, ids, now
}

// TestSelectAllocations: a simulation selects as often as it has seconds.
func TestSelectAllocations(t *testing.T) {
	d, ids, now := eight(t)
	if got := testing.AllocsPerRun(100, func() { now += time.Second; d.Select(now) }); got > 1 {
		t.Errorf("Select allocates %v times", got)
	}
	if got := testing.AllocsPerRun(100, func() {
		now += time.Second
		d.Add(ids[0], Sample{Local: now, Remote: era + int64(now), Delay: 10 * ms, Stratum: 1})
	}); got > 0 {
		t.Errorf("Add allocates %v times", got)
	}
}

func BenchmarkSelect(b *testing.B) {
	d, _, now := eight(b)
	b.ReportAllocs()
	for b.Loop() {
		if !d.Select(now).Valid {
			b.Fatal("no estimate")
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	d, ids, now := eight(b)
	b.ReportAllocs()
	for b.Loop() {
		now += testPoll
		d.Add(ids[0], Sample{Local: now, Remote: era + int64(now), Delay: 10 * ms, Stratum: 1})
	}
}
