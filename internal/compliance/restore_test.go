package compliance

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
)

func TestFaultyJournal(t *testing.T) {
	fault := errors.New("broken")
	for _, after := range []int{0, 1, 2, 3} {
		j := &failing{ledger{t: t}, after, fault}
		if _, err := Restore(context.Background(), j, at.UnixNano()); !errors.Is(err, fault) {
			t.Errorf("after %d: %v", after, err)
		}
	}
	if _, err := Breaches(context.Background(), &failing{ledger{t: t}, 0, fault}); !errors.Is(err, fault) {
		t.Errorf("breaches: %v", err)
	}
}

// failing is a journal that fails after some reads.
type failing struct {
	ledger
	after int
	fault error
}

func (f *failing) Find(ctx context.Context, since, until int64, kinds []Kind, visit func(Record) error) error {
	if f.after--; f.after < 0 {
		return f.fault
	}
	return f.ledger.Find(ctx, since, until, kinds, visit)
}

// Where the clock is wrong at the start, the last hours are found all the same.
func TestRestoreAtWrongTime(t *testing.T) {
	b := newBench(t, finra())
	b.run(7300)
	minutes := len(b.j.all(KindMinute))
	for _, now := range []int64{0, -5, b.now, b.now + 30*365*int64(24*time.Hour)} {
		r, err := Restore(context.Background(), b.j, now)
		if err != nil {
			t.Fatal(err)
		}
		total := uint64(0)
		for k, c := range r.days {
			if k.clock == systemClock {
				total += c.total()
			}
		}
		if len(r.minutes) != 1 || total != uint64(minutes*60-20) {
			t.Errorf("at %d: %d minutes that no hour contains, %d seconds, of %d minutes", now, len(r.minutes), total, minutes)
		}
	}
}

// A breach goes on after a start, or ends with its profile.
func TestRestoreBreach(t *testing.T) {
	other := finra()
	other.Name = "other"
	b := newBench(t, finra(), other)
	b.bound(60 * ms).run(1)
	b.bound(ms).run(10) // 1 and 2 are over
	b.bound(70 * ms).run(3)
	b.now += 600 * second
	b.restart(finra())
	end := b.now
	b.bound(90 * ms).run(1)
	got := b.breaches()
	wantEqual(t, "breaches", len(got), 4)
	wantEqual(t, "end of the one whose profile is gone", got[3].EndUnixNs, end)
	wantEqual(t, "end of the other", got[2].EndUnixNs, 0)
	end = b.now
	b.bound(ms).run(10)
	got = b.breaches()
	wantEqual(t, "end", got[2].EndUnixNs, end)
	wantEqual(t, "peak", got[2].PeakNs, int64(90*ms))
	b.bound(60 * ms).run(1)
	wantEqual(t, "next number", b.breaches()[4].Id, 5)
	wantEqual(t, "in 24 h", b.breaches()[4].In_24H, 3)
}

// What stands last in the journal holds, whatever the clock showed when it was written.
func TestRestoreOrder(t *testing.T) {
	j := &ledger{t: t}
	early, late := at.UnixNano(), at.Add(time.Hour).UnixNano()
	put := func(unix int64, e *rpc.JournalEntry) { j.write(unix, []*rpc.JournalEntry{e}) }
	for i, unix := range []int64{late, early} {
		site := []string{"first", "second"}[i]
		put(unix, &rpc.JournalEntry{What: &rpc.JournalEntry_Source{Source: &rpc.SourceNamed{Number: 1, Name: "a", Site: site}}})
		put(unix, &rpc.JournalEntry{What: &rpc.JournalEntry_PreOpen{PreOpen: &rpc.PreOpen{Profile: "p", Day: site}}})
		put(unix, breachEntry(&rpc.Breach{Id: 1, Profile: "p", Clock: systemClock, Note: site}))
	}
	r, err := Restore(context.Background(), j, late)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "site", r.sources[0].Site, "second")
	wantEqual(t, "check", r.preOpens["p"].Day, "second")
	wantEqual(t, "breach", r.breaches[0].Note, "second")
}

// Only the latest breach can go on; the end of an older one was lost.
func TestRestoreLostEnd(t *testing.T) {
	r := Restored{breaches: []*rpc.Breach{
		{Id: 1, Profile: "finra", Clock: systemClock, StartUnixNs: 1},
		{Id: 2, Profile: "finra", Clock: systemClock, StartUnixNs: 2, EndUnixNs: 3},
	}}
	if e := NewEngine(Options{Profiles: []Profile{finra()}, Restored: r}); e.trackers[0].open != nil {
		t.Errorf("it goes on: %v", e.trackers[0].open)
	}
}
