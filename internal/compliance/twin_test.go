package compliance

import (
	"context"
	"flag"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
)

var (
	twinSeed  = flag.Uint64("seed", 0, "first seed of the dumb twin")
	twinSeeds = flag.Uint64("seeds", 60, "how many")
)

// looked is one look, as the twin remembers it.
type looked struct {
	s     Second
	fresh bool // nobody looked just before it: a gap, or a start
	lost  bool // its minute was not written: a crash
}

// twin is what an engine lived through, and the slow, obvious way to count it.
type twin struct {
	t        *testing.T
	r        *rand.Rand
	j        *ledger
	e        *Engine
	profiles []Profile
	looks    []looked
	now      int64
	restart  bool
	crashes  bool
	crashed  bool
	same     bool
	regime   int
	measured map[int64]map[uint32][]int64 // by hour
}

// The engine counts every second once and finds the same breaches as the twin, whatever becomes of the clock and
// the node.
func TestEngineTwin(t *testing.T) {
	for seed := *twinSeed; seed < *twinSeed+*twinSeeds; seed++ {
		w := newTwin(t, seed)
		for range 3000 {
			w.turnOfEvents()
			w.look()
		}
		w.j.write(w.now, w.e.Stop())
		w.compare()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func newTwin(t *testing.T, seed uint64) *twin {
	strict, wide := NewProfile("strict", ms), NewProfile("wide", 50*ms)
	strict.MinSources = 2
	strict.SelfReportCount = 3
	wide.SelfReportFactor = 1.1
	w := &twin{
		t: t, r: rand.New(rand.NewPCG(seed, 7)), j: &ledger{t: t}, profiles: []Profile{strict, wide},
		crashes:  seed%2 == 1,
		now:      time.Date(2026, 3, 1, 23, 50, 0, 0, time.UTC).UnixNano(),
		measured: map[int64]map[uint32][]int64{},
	}
	w.start()
	return w
}

// start starts an engine from what is in the journal.
func (w *twin) start() {
	restored, err := Restore(context.Background(), w.j, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	w.e = NewEngine(Options{Profiles: w.profiles, Restored: restored})
	w.restart = true
	w.same = w.r.IntN(2) == 0
}

// turnOfEvents makes a second pass, or more.
func (w *twin) turnOfEvents() {
	w.now += second + w.r.Int64N(1e6) - 5e5
	if w.r.IntN(15) == 0 {
		w.regime = w.r.IntN(7)
	}
	switch w.r.IntN(400) {
	case 0:
		w.j.write(w.now, w.e.Stop())
		w.now += w.r.Int64N(3000 * second)
		w.start()
	case 1:
		if !w.crashes {
			return
		}
		w.lose()
		w.now += w.r.Int64N(9000 * second)
		w.start()
	case 2, 3:
		w.now += w.r.Int64N(20 * second) // a gap, or hardly one
	case 4:
		w.now += w.r.Int64N(9000 * second)
	case 5, 6:
		w.now -= w.r.Int64N(100 * second)
	case 7:
		w.now -= w.r.Int64N(9000 * second)
	case 8:
		w.same = !w.same
	}
}

// lose marks the looks whose minute is in progress: a crash takes them.
func (w *twin) lose() {
	w.crashed = true
	for i := len(w.looks) - 1; i >= 0 && minuteOf(w.looks[i].s.Unix) == minuteOf(w.looks[len(w.looks)-1].s.Unix); i-- {
		w.looks[i].lost = true
		if w.looks[i].fresh && w.started(i) {
			break
		}
	}
}

// started reports whether the engine was started just before a look: the twin marks that by a
// raw sequence of its own.
func (w *twin) started(i int) bool { return w.looks[i].s.RawSequence == 1 }

func minuteOf(unix int64) int64 { return int64(math.Floor(float64(unix/1e9)/60)) * 60 }
func hourOf(unix int64) int64   { return int64(math.Floor(float64(unix/1e9)/3600)) * 3600 }

func (w *twin) reading() Reading {
	r := Reading{Claims: true, State: "synchronised", Offset: time.Duration(w.r.IntN(400000) - 200000)}
	r.Bound = time.Duration([]int64{2e5, 6e5, 3e6, 6e7, 3e6, 6e7, 0}[w.regime]) + time.Duration(w.r.IntN(1e5))
	r.Holdover = w.regime == 4 || w.regime == 5
	r.Claims = w.regime != 6
	if w.r.IntN(60) == 0 {
		r.Claims = !r.Claims
	}
	return r
}

// look lets the engine look once.
func (w *twin) look() {
	s := Second{Unix: w.now, System: w.reading(), Same: w.same, RawSequence: 2, Smeared: w.r.IntN(200) == 0}
	if !w.same {
		s.Served = w.reading()
	}
	fresh := w.restart
	if w.restart {
		s.RawSequence = 1
	} else {
		last := w.looks[len(w.looks)-1].s.Unix
		if jump := w.now - last - second; max(jump, -jump) > second/2 && w.r.IntN(2) == 0 {
			s.Step = time.Duration(jump)
		}
		fresh = w.now-int64(s.Step)-last > 5e9
	}
	s.Sources = agreeing(1+w.r.IntN(3)+w.r.IntN(2), 1, 0)
	if w.r.IntN(8) == 0 {
		n := uint32(1 + w.r.IntN(2))
		o := w.r.Int64N(1e6) - 5e5
		w.e.Measured(w.now-1, &rpc.Measured{Source: n, OffsetNs: o, DelayNs: 7})
		at := hourOf(w.now - 1)
		if w.measured[at] == nil {
			w.measured[at] = map[uint32][]int64{}
		}
		w.measured[at][n] = append(w.measured[at][n], o)
	}
	w.j.write(w.now, w.e.Step(s).Entries)
	w.looks = append(w.looks, looked{s: s, fresh: fresh})
	w.restart = false
}

// judge is the rule, once more.
func (w *twin) judge(p Profile, r Reading, s Second) rpc.Verdict {
	agree := len(s.Sources)
	if !r.Claims || r.Bound > p.Tolerance && r.Holdover {
		return unknown
	}
	if r.Bound > p.Tolerance {
		return breach
	}
	if r.Bound > p.Tolerance/2 || agree < p.MinSources || s.Smeared {
		return warn
	}
	return ok
}

func (w *twin) compare() {
	minutes, hours := map[int64]*tally{}, map[int64]*tally{}
	sum := func(into map[int64]*tally, m *rpc.Summary) {
		if into[m.Start] == nil {
			into[m.Start] = newTally(m.Start)
		}
		into[m.Start].merge(tallyOf(m))
	}
	for _, e := range w.j.all(KindMinute) {
		sum(minutes, e.GetMinute())
	}
	for _, e := range w.j.all(KindHour) {
		sum(hours, e.GetHour())
	}
	w.compareTallies("minute", minutes, minuteOf)
	w.compareTallies("hour", hours, hourOf)
	w.compareSeconds()
	w.compareDays()
	if !w.crashed {
		w.compareSources(hours)
	}
	for _, p := range w.profiles {
		w.compareBreaches(p, systemClock)
		w.compareBreaches(p, servedClock)
	}
}

// compareTallies counts the seconds of each minute or hour.
func (w *twin) compareTallies(what string, got map[int64]*tally, startOf func(int64) int64) {
	want := map[int64]*tally{}
	for _, l := range w.looks {
		if l.lost {
			continue
		}
		t := want[startOf(l.s.Unix)]
		if t == nil {
			t = newTally(startOf(l.s.Unix))
			t.agreeingMin = math.MaxUint32
			want[t.start] = t
		}
		served := l.s.Served
		if l.s.Same {
			served = l.s.System
		}
		t.observed++
		t.agreeingMin = min(t.agreeingMin, uint32(len(l.s.Sources)))
		if l.s.Smeared {
			t.smeared++
		}
		for _, c := range []struct {
			to *clockTally
			r  Reading
		}{{&t.system, l.s.System}, {&t.served, served}} {
			if !c.r.Claims {
				c.to.unclaimed++
				continue
			}
			c.to.bound.Add(int64(c.r.Bound), 1)
			c.to.offset.Add(int64(c.r.Offset), 1)
		}
		for _, p := range w.profiles {
			t.verdict(judged{p.Name, systemClock}, w.judge(p, l.s.System, l.s))
			t.verdict(judged{p.Name, servedClock}, w.judge(p, served, l.s))
		}
	}
	for start, t := range want {
		g := got[start]
		if g == nil {
			w.t.Errorf("%s %d: is not there", what, start)
			continue
		}
		if g.observed != t.observed || g.agreeingMin != t.agreeingMin || g.smeared != t.smeared {
			w.t.Errorf("%s %d: %d observed, %d agreed, %d smeared; want %d, %d, %d", what, start, g.observed, g.agreeingMin, g.smeared, t.observed, t.agreeingMin, t.smeared)
		}
		if !sameDistribution(g.system, t.system) || !sameDistribution(g.served, t.served) {
			w.t.Errorf("%s %d: distributions are\n%+v\n%+v\nwant\n%+v\n%+v", what, start, g.system, g.served, t.system, t.served)
		}
		if !maps.EqualFunc(g.verdicts, t.verdicts, func(a, b *counts) bool { return *a == *b }) {
			w.t.Errorf("%s %d: verdicts %v, want %v", what, start, g.verdicts, t.verdicts)
		}
	}
	for start, g := range got {
		if want[start] == nil && g.observed > 0 {
			w.t.Errorf("%s %d: is there, but nobody looked", what, start)
		}
	}
}

func sameDistribution(a, b clockTally) bool {
	same := func(a, b Distribution) bool {
		return a.Count == b.Count && a.Min == b.Min && a.Max == b.Max && a.Sum == b.Sum &&
			math.Abs(a.Squares-b.Squares) <= 1e-9*b.Squares && maps.Equal(a.buckets, b.buckets)
	}
	return a.unclaimed == b.unclaimed && same(a.bound, b.bound) && same(a.offset, b.offset)
}

// compareSeconds holds the raw seconds against the looks, in their order.
func (w *twin) compareSeconds() {
	var kept []looked
	for _, l := range w.looks {
		if !l.lost {
			kept = append(kept, l)
		}
	}
	i := 0
	for _, e := range w.j.all(KindSeconds) {
		m := e.GetSeconds()
		for n, at := range m.At {
			if i == len(kept) {
				w.t.Fatal("there are more raw seconds than looks")
			}
			s := kept[i].s
			bound, offset := s.System.raw()
			if m.Start+int64(at) != s.Unix/1e9 || m.SystemBoundNs[n] != bound || m.SystemOffsetNs[n] != offset {
				w.t.Fatalf("raw second %d is not look %+v", i, s)
			}
			served := s.Served
			if s.Same {
				served = s.System
			}
			bound, offset = served.raw()
			if m.ServedBoundNs == nil && !s.Same || m.ServedBoundNs != nil && (m.ServedBoundNs[n] != bound || m.ServedOffsetNs[n] != offset) {
				w.t.Fatalf("raw second %d of the served clock is not look %+v", i, s)
			}
			i++
		}
	}
	if i != len(kept) {
		w.t.Errorf("%d raw seconds, want %d", i, len(kept))
	}
}

// compareDays holds the strip against the looks, that of the engine and that of one started from the journal.
func (w *twin) compareDays() {
	want := map[int64]*counts{}
	for _, l := range w.looks {
		if at := l.s.Unix / 1e9 / 86400 * 86400; !l.lost {
			if want[at] == nil {
				want[at] = &counts{}
			}
			want[at][w.judge(w.profiles[0], l.s.System, l.s)-1]++
		}
	}
	restored, err := Restore(context.Background(), w.j, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	far := slices.Max(slices.Collect(maps.Keys(want)))*1e9 + 86400e9 - 1
	for _, e := range []*Engine{w.e, NewEngine(Options{Profiles: w.profiles, Restored: restored})} {
		days := 0
		for _, d := range e.Status(far, 30).Verdicts[0].Days {
			c := counts{d.Ok, d.Warn, d.Breach, d.Unknown}
			if wanted := want[d.Start]; wanted != nil {
				days++
				if c != *wanted || uint64(d.Gap) != 86400-min(86400, wanted.total()) {
					w.t.Errorf("day %d: %v, gap %d, want %v", d.Start, c, d.Gap, *wanted)
				}
			} else if c.total() != 0 {
				w.t.Errorf("day %d: %v, but nobody looked", d.Start, c)
			}
		}
		if days != len(want) {
			w.t.Errorf("%d days, want %d", days, len(want))
		}
	}
}

// compareSources holds what the hours say of the sources against the measurements and the looks.
func (w *twin) compareSources(hours map[int64]*tally) {
	agreed := map[int64]map[uint32]uint32{}
	for _, l := range w.looks {
		at := hourOf(l.s.Unix)
		if agreed[at] == nil {
			agreed[at] = map[uint32]uint32{}
		}
		for _, s := range l.s.Sources {
			agreed[at][s.Number]++
		}
	}
	measured := 0
	for at, h := range hours {
		for n, s := range h.sources {
			var want Distribution
			for _, o := range w.measured[at][n] {
				want.Add(o, 1)
			}
			measured += int(s.measured)
			if s.agreed != agreed[at][n] || int(s.measured) != len(w.measured[at][n]) || s.offset.Count != want.Count || s.offset.Sum != want.Sum ||
				!maps.Equal(s.offset.buckets, want.buckets) || s.delay.Sum != 7*int64(want.Count) {
				w.t.Errorf("hour %d, source %d: %+v, want %d agreed, offsets %+v", at, n, s, agreed[at][n], want)
			}
		}
	}
	for _, byNumber := range w.measured {
		for _, list := range byNumber {
			measured -= len(list)
		}
	}
	if measured != 0 {
		w.t.Errorf("measurements: %d too many", measured)
	}
}

// compareBreaches finds the breaches by trying each second as the end.
func (w *twin) compareBreaches(p Profile, clock rpc.JudgedClock) {
	verdict := func(i int) rpc.Verdict {
		l := w.looks[i]
		if clock == systemClock {
			return w.judge(p, l.s.System, l.s)
		}
		if l.s.Same {
			return 0
		}
		return w.judge(p, l.s.Served, l.s)
	}
	bad := func(i int) bool { return verdict(i) > warn }
	var want []*rpc.Breach
	for i := 0; i < len(w.looks); i++ {
		if !bad(i) {
			continue
		}
		start := w.looks[i].s.Unix
		b := &rpc.Breach{StartUnixNs: start, PeakNs: -1, In_24H: 1}
		for _, earlier := range want {
			if earlier.StartUnixNs > start-86400e9 {
				b.In_24H++
			}
		}
		end := i
		for ; end < len(w.looks) && b.EndUnixNs == 0; end++ {
			row := verdict(end) == 0
			if n := end + 10; !row && n <= len(w.looks) {
				row = true
				for k := end; k < n; k++ {
					row = row && !bad(k) && verdict(k) != 0 && (k == end || !w.looks[k].fresh)
				}
			}
			if row {
				b.EndUnixNs = max(w.looks[end].s.Unix, start+1e9)
			}
			if l := w.looks[end].s; bad(end) {
				b.Worst = max(b.Worst, verdict(end))
				r := l.System
				if clock == servedClock {
					r = l.Served
				}
				if r.Claims {
					b.PeakNs = max(b.PeakNs, int64(r.Bound))
				}
			}
		}
		b.SelfReport = p.SelfReportFactor > 0 && float64(b.PeakNs) >= p.SelfReportFactor*float64(p.Tolerance) ||
			p.SelfReportCount > 0 && int(b.In_24H) >= p.SelfReportCount
		want = append(want, b)
		i = end - 1
	}
	all, err := Breaches(context.Background(), w.j)
	if err != nil {
		w.t.Fatal(err)
	}
	got := slices.DeleteFunc(all, func(b *rpc.Breach) bool { return b.Profile != p.Name || b.Clock != clock })
	if len(got) != len(want) {
		w.t.Fatalf("%s, %v: %d breaches, want %d", p.Name, clock, len(got), len(want))
	}
	for i, b := range want {
		g := got[i]
		if g.StartUnixNs != b.StartUnixNs || g.EndUnixNs != b.EndUnixNs || g.In_24H != b.In_24H {
			w.t.Errorf("%s, %v: breach %v\nwant %v", p.Name, clock, g, b)
		}
		if !w.crashed && (g.PeakNs != b.PeakNs || g.Worst != b.Worst || g.SelfReport != b.SelfReport) { // a crash takes what was not yet on record
			w.t.Errorf("%s, %v: breach %v\nwant %v", p.Name, clock, g, b)
		}
	}
}
