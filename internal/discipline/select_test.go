package discipline

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

const ms = time.Millisecond

// era is where the leap-free scale is in these tests: digits are lost first where it is large.
const era = int64(1_900_000_000_000_000_000)

// says is a source as a test has it: what it says after twenty quiet polls.
type says struct {
	SourceOptions
	offset  time.Duration
	delay   time.Duration // 0: 10 ms
	samples int           // 0: 20; below 0: none
	sample  Sample        // its claims
	gone    bool
}

const testPoll = 16 * time.Second

// hear makes a Discipline that has heard the sources, and returns the instant of the last
// sample.
func hear(o Options, list ...says) (*Discipline, []SourceID, time.Duration) {
	if o.DistanceMax == 0 {
		o.DistanceMax = 50 * ms
	}
	d := New(o)
	ids := make([]SourceID, len(list))
	now := 20 * testPoll
	for i, s := range list {
		if s.Name == "" {
			s.Name = string(rune('a' + i))
		}
		ids[i] = d.Open(s.SourceOptions)
		hearAgain(d, ids[i], s, now)
	}
	return d, ids, now
}

// hearAgain adds the samples of a source that end at now.
func hearAgain(d *Discipline, id SourceID, s says, now time.Duration) {
	if s.samples == 0 {
		s.samples = 20
	}
	if s.delay == 0 {
		s.delay = 10 * ms
	}
	for k := range s.samples {
		sample := s.sample
		sample.Local = now - time.Duration(s.samples-1-k)*testPoll
		sample.Remote = era + int64(sample.Local) + int64(s.offset)
		sample.Delay, sample.Dispersion = s.delay+time.Duration(k%3)*time.Microsecond, time.Microsecond
		if sample.Stratum == 0 {
			sample.Stratum = 1
		}
		d.Add(id, sample)
	}
	d.Reach(id, 0xff)
	if s.gone {
		d.Reach(id, 0)
	}
}

func named(name string) says { return says{SourceOptions: SourceOptions{Name: name}} }

func (s says) at(offset, delay time.Duration) says { s.offset, s.delay = offset, delay; return s }

func (s says) opt(f func(*SourceOptions)) says { f(&s.SourceOptions); return s }

func trust(o *SourceOptions)    { o.Trust = true }
func prefers(o *SourceOptions)  { o.Prefer = true }
func require(o *SourceOptions)  { o.Require = true }
func noselect(o *SourceOptions) { o.NoSelect = true }
func smears(o *SourceOptions)   { o.Smears = true }

// TestStatus has a case for each status and each reason.
func TestStatus(t *testing.T) {
	a, b, c := named("a"), named("b").at(time.Microsecond, 11*ms), named("c").at(-time.Microsecond, 12*ms)
	fourth, fifth := named("d").at(2*time.Microsecond, 14*ms), named("e").at(3*time.Microsecond, 16*ms)
	silent := func(s says) says { s.samples = -1; return s }
	gone := func(s says) says { s.gone = true; return s }
	smearing := func(s says) says { s.sample.Smeared = true; return s }
	far := func(s says) says { s.sample.RootDispersion = 60 * ms; return s }
	for _, test := range []struct {
		name     string
		minimum  int
		sources  []says
		statuses []Status
		reason   string // "" where an estimate is found, and the reason begins with "following"
	}{
		{"nobody", 0, nil, nil, "there is no source"},
		{"one", 0, []says{a}, []Status{Selected}, ""},
		{"three", 0, []says{c, a, b}, []Status{Combined, Selected, Combined}, ""},
		{"not heard", 0, []says{silent(a)}, []Status{Waiting}, "the sources have not been heard often enough yet"},
		{"not heard often", 0, []says{{samples: 3}}, []Status{Waiting}, "the sources have not been heard often enough yet"},
		{"heard often", 0, []says{{samples: 4}}, []Status{Selected}, ""},
		{"never reached", 0, []says{gone(silent(a))}, []Status{Unreachable}, "no source can be reached"},
		{"not reached any more", 0, []says{gone(a)}, []Status{Unreachable}, "no source can be reached"},
		{"one not reached, one not heard", 0, []says{gone(a), silent(b)}, []Status{Unreachable, Waiting}, "the sources have not been heard often enough yet"},
		{"one not reached", 0, []says{gone(a), b}, []Status{Unreachable, Selected}, ""},
		{"distant", 0, []says{far(a)}, []Status{Distant}, "no source that can be reached is near enough"},
		{"distant and not heard", 0, []says{far(a), silent(b)}, []Status{Distant, Waiting}, "no source that can be reached is near enough"},
		{"distant among others", 0, []says{far(a), b}, []Status{Distant, Selected}, ""},
		{"noselect alone", 0, []says{a.opt(noselect)}, []Status{NotSelected}, "no source can be selected"},
		{"noselect", 0, []says{a.opt(noselect), b}, []Status{NotSelected, Selected}, ""},
		{"noselect has no vote", 0, []says{a.at(20*ms, 2*ms).opt(noselect), b.at(20*ms, 2*ms).opt(noselect), c}, []Status{NotSelected, NotSelected, Selected}, ""},
		{"a smear by its operator", 0, []says{a.opt(smears), b}, []Status{Smearing, Selected}, ""},
		{"a smear by its word", 0, []says{a, smearing(b)}, []Status{Selected, Smearing}, ""},
		{"all smear", 0, []says{a.opt(smears), smearing(b)}, []Status{Selected, Combined}, ""},
		{"falseticker", 0, []says{a, b, c.at(20*ms, ms)}, []Status{Selected, Combined, Falseticker}, ""},
		{"two that disagree", 0, []says{a, b.at(20*ms, ms)}, []Status{NoMajority, NoMajority}, "no majority of 2 sources agrees on a time"},
		{"two against two", 0, []says{a, b, c.at(20*ms, ms), fourth.at(20*ms, ms)}, []Status{NoMajority, NoMajority, NoMajority, NoMajority}, "no majority of 4"},
		{"trust against two", 0, []says{a.opt(trust), b.at(20*ms, ms), c.at(20*ms, ms)}, []Status{Selected, Distrusted, Distrusted}, ""},
		{"trust against two behind it", 0, []says{a.opt(trust), b.at(-20*ms, ms), c.at(-20*ms, ms)}, []Status{Selected, Distrusted, Distrusted}, ""},
		{"trust, and one behind it", 0, []says{a.opt(trust), b, c.at(-20*ms, ms)}, []Status{Selected, Combined, Distrusted}, ""},
		{"two trusted against three", 0, []says{a.opt(trust), b.opt(trust), c.at(20*ms, ms), fourth.at(20*ms, ms), fifth.at(20*ms, ms)}, []Status{Selected, Combined, Distrusted, Distrusted, Distrusted}, ""},
		{"trusted that disagree", 0, []says{a.opt(trust), b.at(20*ms, ms).opt(trust), c}, []Status{NoMajority, NoMajority, NoMajority}, "the sources that the configuration trusts do not agree with each other"},
		{"a trusted liar among three", 0, []says{a.opt(trust), b.opt(trust), c.at(20*ms, ms).opt(trust)}, []Status{Selected, Combined, Distrusted}, ""},
		{"trust in agreement", 0, []says{a.opt(trust), b, c.at(20*ms, ms)}, []Status{Selected, Combined, Distrusted}, ""},
		// Each of the three touches what the trusted one says; together they outvote it.
		{"trusted is not outvoted", 0, []says{a.opt(trust), b.at(9*ms, 9*ms), c.at(10*ms, 11*ms), fourth.at(10*ms, 12*ms)}, []Status{Selected, Distrusted, Distrusted, Distrusted}, ""},
		// These two do not even agree with each other.
		{"trusted among those at odds", 0, []says{a.opt(trust), b.at(9*ms, 9*ms), c.at(-9*ms, 9*ms)}, []Status{Selected, Distrusted, Distrusted}, ""},
		{"prefer", 0, []says{a, b.opt(prefers), c.opt(prefers)}, []Status{NotPreferred, Selected, Combined}, ""},
		{"a preferred liar", 0, []says{a, b, c.at(20*ms, ms).opt(prefers)}, []Status{Selected, Combined, Falseticker}, ""},
		{"required", 0, []says{a, b.opt(require)}, []Status{Selected, Combined}, ""},
		{"required is a liar", 0, []says{a, b, c.at(20*ms, ms).opt(require)}, []Status{Missing, Missing, Falseticker}, "none of the sources that the configuration requires"},
		{"required cannot be reached", 0, []says{a, gone(b.opt(require))}, []Status{Missing, Unreachable}, "none of the sources that the configuration requires"},
		{"one of two required", 0, []says{a.opt(require), gone(b.opt(require))}, []Status{Selected, Unreachable}, ""},
		{"too few", 3, []says{a, b}, []Status{TooFew, TooFew}, "only 2 of the sources agree, and clock.min_sources wants 3"},
		{"too few agree", 3, []says{a, b, c.at(20*ms, ms)}, []Status{TooFew, TooFew, Falseticker}, "only 2 of the sources agree"},
		{"enough", 3, []says{a, b, c}, []Status{Selected, Combined, Combined}, ""},
		{"preferred count with the others", 3, []says{a.opt(prefers), b, c}, []Status{Selected, NotPreferred, NotPreferred}, ""},
		{"outlier", 0, []says{a, b, c, fourth.at(3*ms, 14*ms)}, []Status{Selected, Combined, Combined, Outlier}, ""},
		{"no outlier among three", 0, []says{a, b, c.at(3*ms, 14*ms)}, []Status{Selected, Combined, Combined}, ""},
		{"no outlier within the noise", 0, []says{a, b.at(200, 11*ms), c.at(-200, 12*ms), fourth.at(400, 14*ms)}, []Status{Selected, Combined, Combined, Combined}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, ids, now := hear(Options{MinSources: test.minimum}, test.sources...)
			s := d.Select(now)
			var got []Status
			for i, v := range s.Verdicts {
				got = append(got, v.Status)
				if v.ID != ids[i] {
					t.Errorf("verdict %d is of source %d", i, v.ID)
				}
			}
			if !slices.Equal(got, test.statuses) {
				t.Errorf("statuses %v, want %v (%s)", got, test.statuses, s.Reason)
			}
			want := test.reason
			if want == "" {
				want = "following "
			}
			if !strings.HasPrefix(s.Reason, want) || s.Valid != (test.reason == "") {
				t.Errorf("valid %v, reason %q, want %q", s.Valid, s.Reason, want)
			}
			consistent(t, &s)
		})
	}
}

// consistent checks what holds of every selection.
func consistent(t *testing.T, s *Selection) {
	t.Helper()
	sum, selected := 0.0, 0
	for _, v := range s.Verdicts {
		used := v.Status == Selected || v.Status == Combined
		if used != (v.Weight > 0) || used && !s.Valid {
			t.Errorf("source %d has status %d and weight %v", v.ID, v.Status, v.Weight)
		}
		if v.Status == Selected {
			selected++
			if v.ID != s.Peer {
				t.Errorf("source %d is selected, and %d the peer", v.ID, s.Peer)
			}
		}
		sum += v.Weight
		for _, x := range []float64{v.Offset, v.Deviation, v.Jitter, v.Frequency, v.Skew} {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				t.Errorf("source %d: %+v", v.ID, v)
			}
		}
		if v.Distance < 0 {
			t.Errorf("source %d has a distance of %v", v.ID, v.Distance)
		}
	}
	if !s.Valid {
		if s.Peer != 0 || s.Estimate != (Estimate{}) || s.Reason == "" {
			t.Errorf("no estimate, and yet %+v", s)
		}
		return
	}
	if selected != 1 || math.Abs(sum-1) > 1e-9 {
		t.Errorf("%d are selected, weights sum to %v", selected, sum)
	}
	if e := s.Estimate; e.RootDelay < 0 || e.RootDispersion < 0 || e.GrowthPPM < 1 || e.Skew <= 0 {
		t.Errorf("estimate %+v", e)
	}
}

// TestSettles: the first estimate waits for those that answer, as long as a burst may take, and
// no later one does.
func TestSettles(t *testing.T) {
	begin := func(other says) (*Discipline, SourceID, time.Duration) {
		d, ids, now := hear(Options{}, named("a"), other)
		s := d.Select(now)
		if want := "the sources are still being heard for the first time"; s.Valid || s.Reason != want {
			t.Errorf("valid %v, reason %q, want %q", s.Valid, s.Reason, want)
		}
		for _, v := range s.Verdicts {
			if v.Status != Waiting {
				t.Errorf("status %d, want Waiting", v.Status)
			}
		}
		consistent(t, &s)
		return d, ids[1], now
	}
	for _, samples := range []int{-1, 1, 3} {
		d, _, now := begin(says{samples: samples})
		for later := time.Duration(0); later <= time.Minute; later += time.Second {
			if s := d.Select(now + later); s.Valid != (later >= settleTime) {
				t.Errorf("%d samples: after %v it is %v", samples, later, s.Valid)
				break
			}
		}
	}
	d, other, now := begin(says{samples: 3})
	d.Reach(other, 0)
	if !d.Select(now + time.Second).Valid {
		t.Error("one that does not answer is waited for")
	}
	d, other, now = begin(says{samples: 3})
	d.Close(other)
	if !d.Select(now + time.Second).Valid {
		t.Error("one that is closed is waited for")
	}
	d.Open(SourceOptions{})
	if !d.Select(now + 2*time.Second).Valid {
		t.Error("one that comes after the first estimate is waited for")
	}
	d, _, now = hear(Options{}, named("a"), says{samples: -1, SourceOptions: SourceOptions{NoSelect: true}})
	if !d.Select(now).Valid {
		t.Error("one that is never selected is waited for")
	}
}

// TestReasonFollows: the sentence changes with what it tells.
func TestReasonFollows(t *testing.T) {
	d, ids, now := hear(Options{}, named("a"), named("b").at(0, 12*ms), named("c").at(20*ms, ms))
	for _, want := range []string{
		"following a, in agreement with 2 of 3 sources",
		"following a, in agreement with 2 of 3 sources",
	} {
		if got := d.Select(now).Reason; got != want {
			t.Errorf("reason %q, want %q", got, want)
		}
	}
	d.Close(ids[2])
	if got, want := d.Select(now).Reason, "following a, in agreement with 2 of 2 sources"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
	d.Close(ids[0])
	if got, want := d.Select(now).Reason, "following b, the only source"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
	d.Close(ids[0]) // twice
	if got := d.Add(ids[0], Sample{}); got != 0 {
		t.Errorf("a closed source is wanted in %v", got)
	}
	d.Reach(ids[0], 1)
	if id := d.Open(SourceOptions{}); slices.Contains(ids, id) || id == 0 {
		t.Errorf("ID %d is used again", id)
	}
}

// TestEstimateFields: stratum, refid and leap are those of the peer and of the majority.
func TestEstimateFields(t *testing.T) {
	leaps := func(s says, leap clock.Leap) says { s.sample.Leap = leap; return s }
	a := named("a").opt(func(o *SourceOptions) { o.RefID, o.ProviderError = [4]byte{1, 2, 3, 4}, 3*ms })
	a.sample.Stratum, a.sample.RootDelay, a.sample.RootDispersion = 3, 4*ms, ms
	b := named("b").at(0, 20*ms)
	d, ids, now := hear(Options{}, leaps(a, clock.LeapInsert), leaps(b, clock.LeapInsert), leaps(b, clock.LeapDelete))
	s := d.Select(now)
	e := s.Estimate
	if s.Peer != ids[0] || e.Stratum != 4 || e.RefID != [4]byte{1, 2, 3, 4} || e.Leap != clock.LeapInsert {
		t.Errorf("peer %d, estimate %+v", s.Peer, e)
	}
	if e.Local != now || e.Updated != now || e.Updates != 1 {
		t.Errorf("local %v, updated %v, updates %d", e.Local, e.Updated, e.Updates)
	}
	if want := s.Verdicts[0].Weight * 0.003; math.Abs(e.ProviderError.Seconds()-want) > 2e-9 {
		t.Errorf("provider error %v, want %v", e.ProviderError, want)
	}
	if off := e.Remote - era - int64(now); off < -1000 || off > 1000 {
		t.Errorf("offset %d ns", off)
	}
	for _, test := range []struct {
		leaps []clock.Leap
		want  clock.Leap
	}{
		{[]clock.Leap{1}, 1},
		{[]clock.Leap{2}, 2},
		{[]clock.Leap{1, 0}, 0},
		{[]clock.Leap{1, 2, 0}, 0},
		{[]clock.Leap{2, 2, 1}, 2},
		{[]clock.Leap{3, 3, 3}, 0},
		{[]clock.Leap{255, 0}, 0},
	} {
		var list []says
		for _, leap := range test.leaps {
			list = append(list, leaps(named(""), leap))
		}
		d, _, now := hear(Options{}, list...)
		if got := d.Select(now).Estimate.Leap; got != test.want {
			t.Errorf("leaps %v: %v, want %v", test.leaps, got, test.want)
		}
	}
}

// TestUpdates: an estimate counts once for each new sample, whoever brought it.
func TestUpdates(t *testing.T) {
	d, ids, now := hear(Options{}, named("a"), named("b").at(0, 12*ms))
	updates := func(want uint64) {
		t.Helper()
		if got := d.Select(now).Estimate.Updates; got != want {
			t.Errorf("%d updates, want %d", got, want)
		}
	}
	updates(1)
	updates(1)
	now += testPoll
	updates(1)
	add := func(id SourceID) {
		d.Add(id, Sample{Local: now, Remote: era + int64(now), Delay: 10 * ms, Dispersion: 1, Stratum: 1})
	}
	add(ids[0])
	updates(2)
	now++
	add(ids[1])
	updates(3)
	d.Close(ids[1])
	updates(3)
	// After a sleep the timeline may be behind what it was thought to be.
	d.Restart()
	if s := d.Select(now); s.Valid || s.Verdicts[0].Status != Waiting || s.Verdicts[0].Samples != 0 {
		t.Errorf("after a restart: %+v", s)
	}
	now -= 10 * testPoll
	hearAgain(d, ids[0], says{samples: 4}, now)
	updates(4)
}

// TestPeerStays: the peer changes only for one that is twice as good.
func TestPeerStays(t *testing.T) {
	for _, test := range []struct {
		delay time.Duration
		stays bool
	}{{9 * ms, true}, {6 * ms, true}, {4 * ms, false}} {
		d, ids, now := hear(Options{}, named("a"))
		if s := d.Select(now); s.Peer != ids[0] {
			t.Fatalf("peer %d", s.Peer)
		}
		ids = append(ids, d.Open(SourceOptions{Name: "b"}))
		hearAgain(d, ids[1], named("b").at(0, test.delay), now)
		s := d.Select(now)
		if stays := s.Peer == ids[0]; stays != test.stays {
			t.Errorf("beside one at %v, which would be at 10 ms: peer stays %v", test.delay, stays)
		}
		consistent(t, &s)
	}
	// Among equals it is the first.
	d, ids, now := hear(Options{}, named("a"), named("b"), named("c"))
	if s := d.Select(now); s.Peer != ids[0] {
		t.Errorf("peer %d", s.Peer)
	}
}

// TestCombinedBound: the bound of the estimate is never less than the weighted mean of the
// distances, nor than how far the ends of the intersection are.
func TestCombinedBound(t *testing.T) {
	for seed := range 200 {
		r := func(k int) time.Duration { return time.Duration((seed*7919+k*104729)%4000) * time.Microsecond }
		var list []says
		for k := range 1 + seed%6 {
			list = append(list, named(fmt.Sprint(k)).at(r(k)/4, 2*ms+r(k+9)))
		}
		d, _, now := hear(Options{}, list...)
		s := d.Select(now)
		consistent(t, &s)
		if !s.Valid {
			t.Fatalf("seed %d: %s", seed, s.Reason)
		}
		bound, mean := (half(s.Estimate.RootDelay) + s.Estimate.RootDispersion).Seconds(), 0.0
		var intervals []Interval
		for _, v := range s.Verdicts {
			mean += v.Weight * v.Distance.Seconds()
			intervals = append(intervals, Interval{v.Offset - v.Distance.Seconds(), v.Offset + v.Distance.Seconds()})
		}
		found, _ := Intersect(intervals)
		if least := max(mean, found.High, -found.Low); bound < least-2e-9 {
			t.Errorf("seed %d: bound %v, least %v", seed, bound, least)
		} else if bound > least+1e-6 && s.Verdicts[0].Weight < 1 {
			t.Errorf("seed %d: bound %v is more than %v", seed, bound, least)
		}
	}
}

// TestCombineTrend: the trend is weighed as the rate is, and the bound reckons with the one
// that is least known.
func TestCombineTrend(t *testing.T) {
	d, _, now := hear(Options{}, named("a"), named("b"))
	for i, s := range d.sources {
		for k := range s.filter.models {
			m := &s.filter.models[k]
			*m = model{oscillator: m.oscillator, x: m.x, p00: 1e-12, p11: 1e-18}
			m.d = []float64{4e-10, 1e-10}[i]
		}
	}
	s := d.Select(now)
	if e := s.Estimate; math.Abs(e.Trend-2.5e-10) > 1e-14 || math.Abs(e.Bend-d.sources[0].fewness()*4e-10) > 1e-14 {
		t.Errorf("trend %v, bend %v", e.Trend, e.Bend)
	}
}
