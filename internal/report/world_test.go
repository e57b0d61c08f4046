package report

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/rpc"
)

// memory is a journal in memory.
type memory struct {
	byKind map[compliance.Kind][]compliance.Record
	last   uint64
	reads  int // entries that were visited
}

func (m *memory) add(unix int64, e *rpc.JournalEntry) {
	if m.byKind == nil {
		m.byKind = map[compliance.Kind][]compliance.Record{}
	}
	m.last++
	k := compliance.KindOf(e)
	m.byKind[k] = append(m.byKind[k], compliance.Record{Sequence: m.last, Unix: unix, Entry: e})
}

func (m *memory) Find(ctx context.Context, since, until int64, kinds []compliance.Kind, visit func(compliance.Record) error) error {
	var found []compliance.Record
	for _, k := range kinds {
		list := m.byKind[k]
		before := func(x int64) int { return sort.Search(len(list), func(i int) bool { return list[i].Unix >= x }) }
		found = append(found, list[before(since):max(before(until), before(since))]...)
	}
	slices.SortStableFunc(found, func(a, b compliance.Record) int {
		return cmp.Or(cmp.Compare(a.Unix, b.Unix), cmp.Compare(a.Sequence, b.Sequence))
	})
	for _, r := range found {
		m.reads++
		if err := visit(r); err != nil {
			return err
		}
	}
	return nil
}

// second is what one second was like.
type second struct {
	seen          bool
	bound, offset int64 // bound -1: none could be claimed
	agreeing      uint32
}

const (
	testProfile   = "finra-50ms"
	testTolerance = int64(50 * time.Millisecond)
	testWarn      = int64(25 * time.Millisecond)
)

func profile() compliance.Profile {
	return compliance.Profile{
		Name: testProfile, Title: "FINRA rule 4590", Tolerance: time.Duration(testTolerance), Warn: time.Duration(testWarn),
		MinSources: 3, MinNIST: 1, MinSites: 2, PreOpen: 9 * time.Hour, Zone: "America/New_York", Calendar: "nyse",
		Retention: 7 * 365 * 24 * time.Hour, SelfReportFactor: 2, SelfReportCount: 10,
	}
}

// summing makes a summary of a stretch of time.
type summing struct {
	bound, offset compliance.Distribution
	s             rpc.Summary
	count         rpc.VerdictCount
}

func (a *summing) add(s second) {
	if !s.seen {
		return
	}
	if a.s.Observed == 0 || s.agreeing < a.s.AgreeingMin {
		a.s.AgreeingMin = s.agreeing
	}
	a.s.Observed++
	switch {
	case s.bound < 0:
		a.count.Unknown++
	case s.bound <= testWarn:
		a.count.Ok++
	case s.bound <= testTolerance:
		a.count.Warn++
	default:
		a.count.Breach++
	}
	if s.bound >= 0 {
		a.bound.Add(s.bound, 1)
		a.offset.Add(s.offset, 1)
	}
}

func (a *summing) summary(start int64) *rpc.Summary {
	s := &rpc.Summary{
		Start: start, Observed: a.s.Observed, AgreeingMin: a.s.AgreeingMin, AgreeingNistMin: a.s.AgreeingMin - 2,
		System: &rpc.ClockSummary{Bound: a.bound.Proto(), Offset: a.offset.Proto(), Unclaimed: a.count.Unknown},
	}
	for _, c := range []rpc.JudgedClock{rpc.JudgedClock_JUDGED_CLOCK_SYSTEM, rpc.JudgedClock_JUDGED_CLOCK_SERVED} {
		s.Verdicts = append(s.Verdicts,
			&rpc.VerdictCount{Profile: "another", Clock: c, Breach: a.s.Observed},
			&rpc.VerdictCount{Profile: testProfile, Clock: c, Ok: a.count.Ok, Warn: a.count.Warn, Breach: a.count.Breach, Unknown: a.count.Unknown},
			&rpc.VerdictCount{Profile: "more", Clock: c, Breach: a.s.Observed})
	}
	return s
}

// run is how long the node ran, seconds since the world began.
type run struct {
	from, to int
	crash    bool
}

// write writes the summaries of a run, as the engine does: each minute and hour when it is over,
// and what there is of them at an orderly stop. It forgets the seconds that a crash takes along.
func write(m *memory, start int64, world []second, r run) {
	var ofMinute, ofHour summing
	flush := func(a *summing, at int64, unit int64, entry func(*rpc.Summary) *rpc.JournalEntry) {
		if a.s.Observed > 0 {
			m.add(at*1e9+2e8, entry(a.summary(floor(at-1, unit))))
		}
		*a = summing{}
	}
	minutes := func(s *rpc.Summary) *rpc.JournalEntry {
		return &rpc.JournalEntry{What: &rpc.JournalEntry_Minute{Minute: s}}
	}
	hours := func(s *rpc.Summary) *rpc.JournalEntry {
		return &rpc.JournalEntry{What: &rpc.JournalEntry_Hour{Hour: s}}
	}
	for i := r.from; i < r.to; i++ {
		ofMinute.add(world[i])
		ofHour.add(world[i])
		end := start + int64(i) + 1
		if end%minute == 0 || i == r.to-1 && !r.crash {
			flush(&ofMinute, end, minute, minutes)
		}
		if end%hour == 0 || i == r.to-1 && !r.crash {
			flush(&ofHour, end, hour, hours)
		}
	}
	if r.crash {
		for i := r.to - 1; i >= r.from && (start+int64(i)+1)%minute != 0; i-- {
			world[i].seen = false
		}
	}
}

// invent makes up a world of seconds: runs with stops, crashes and moments in which nobody
// looked, and writes it into a journal.
func invent(r *rand.Rand, start int64, length int) (*memory, []second) {
	m := &memory{}
	world := make([]second, length)
	for at := r.IntN(4000); at < length; {
		n := run{from: at, to: min(length, at+1+r.IntN(9000)), crash: r.IntN(2) == 0}
		bad := r.IntN(3)
		for i := n.from; i < n.to; i++ {
			s := second{seen: r.IntN(2000) > 0, bound: 1e6 + r.Int64N(1e6), offset: r.Int64N(2e5) - 1e5, agreeing: 3 + uint32(r.IntN(3))}
			switch {
			case bad == 1 && (i-n.from)%3000 < 100:
				s.bound = -1
			case bad == 2 && (i-n.from)%2500 < 400:
				s.bound = 20e6 + r.Int64N(60e6)
			}
			world[i] = s
		}
		write(m, start, world, n)
		at = n.to
		if r.IntN(4) > 0 {
			at += r.IntN(5000)
		}
	}
	return m, world
}
