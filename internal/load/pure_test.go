package load

import (
	"flag"
	"math"
	"math/bits"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/truechimer/truechimer/internal/ntp"
)

var seedFlag = flag.Uint64("seed", uint64(os.Getpid()), "seed of what is random")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// random returns a source of chance that the seed reproduces.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	t.Logf("-seed %d", *seedFlag)
	return rand.New(rand.NewPCG(*seedFlag, 0))
}

func TestCookies(t *testing.T) {
	r := random(t)
	c, other := newCookies(), newCookies()
	if c == other {
		t.Fatal("two keys are the same")
	}
	flips, pairs, same := 0, 0, 0
	for range 20_000 {
		number := r.Uint64() >> r.IntN(64)
		cookie := c.seal(number)
		if back := c.open(cookie); back != number {
			t.Fatalf("%x became %x became %x", number, cookie, back)
		}
		if c.seal(c.open(number)) != number {
			t.Fatalf("%x is not what its number gives", number)
		}
		if other.seal(number) == cookie {
			same++
		}
		flips += bits.OnesCount64(cookie ^ c.seal(number^1<<r.IntN(64)))
		pairs++
	}
	if same > 0 {
		t.Errorf("another key gives the same cookie, %d times", same)
	}
	// A bit of the number changes half the bits of the cookie.
	if mean := float64(flips) / float64(pairs); mean < 31.5 || mean > 32.5 {
		t.Errorf("a changed bit changes %.2f bits on the average, want 32", mean)
	}
	// Neighbours do not show: the differences of the cookies of 1, 2, 3, ... are all different.
	seen := map[uint64]bool{}
	for i := range uint64(10_000) {
		seen[c.seal(i+1)-c.seal(i)] = true
	}
	if len(seen) < 10_000 {
		t.Errorf("the cookies of neighbours differ by only %d values", len(seen))
	}
}

func TestHistogramEqualsItsTwin(t *testing.T) {
	r := random(t)
	for range 300 {
		var h, half histogram
		var all []int64
		for range 1 + r.IntN(400) {
			v := int64(r.Uint64() >> r.IntN(64))
			if r.IntN(3) == 0 {
				v = ^v
			}
			all = append(all, v)
			if r.IntN(2) == 0 {
				h.add(v)
			} else {
				half.add(v)
			}
		}
		h.merge(&half)
		slices.Sort(all)
		for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
			want := all[max(int(math.Ceil(q*float64(len(all)))), 1)-1]
			got := h.quantile(q)
			if off := math.Abs(float64(got) - float64(want)); off > math.Abs(float64(want))/(2*steps)+1 {
				t.Fatalf("quantile %v of %d is %d, want %d", q, len(all), got, want)
			}
		}
		if s := h.spread(); s.Count != uint64(len(all)) || s.Min != time.Duration(all[0]) || s.Max != time.Duration(all[len(all)-1]) {
			t.Fatalf("%+v of %d from %d to %d", s, len(all), all[0], all[len(all)-1])
		}
	}
}

func TestHistogramEdges(t *testing.T) {
	var empty histogram
	if s := empty.spread(); s != (Spread{}) {
		t.Errorf("of nothing: %+v", s)
	}
	var h histogram
	for _, v := range []int64{math.MinInt64, math.MaxInt64, 0, -1} {
		h.add(v)
	}
	h.merge(&empty)
	empty.merge(&h)
	for _, s := range []Spread{h.spread(), empty.spread()} {
		if s.Min != math.MinInt64 || s.Max != math.MaxInt64 || s.P50 != -1 || s.P90 != math.MaxInt64 {
			t.Errorf("of the extremes: %+v", s)
		}
	}
	// Each bucket begins where the one before it ends.
	next := uint64(0)
	for i := range bucketsMax - 1 {
		from, width := bucketFrom(i)
		if from != next || bucketOf(from) != i || bucketOf(from+width-1) != i || from >= steps && width > from/steps {
			t.Fatalf("bucket %d is %d wide from %d; the one before it ends at %d", i, width, from, next)
		}
		next = from + width
	}
	if mean := (&histogram{n: 2, sum: 6}).spread().Mean; mean != 3 {
		t.Errorf("the mean of 6 in two is %d", mean)
	}
}

func TestPacer(t *testing.T) {
	for _, rate := range []float64{1, 7.5, 1000, 123_456, 10_000_000} {
		p := pacer{rate: rate, from: 1000}
		sent, now := 0, int64(1000)
		for now < 1000+2_000_000_000 {
			n, late := p.due(now, 64)
			if n > 64 || late < 0 || n == 0 && late != 0 {
				t.Fatalf("rate %v: %d due, %d late", rate, n, late)
			}
			sent += n
			if n == 0 && p.next() <= now-1 {
				t.Fatalf("rate %v: nothing is due at %d, and the next was at %d", rate, now, p.next())
			}
			now = max(now+500, min(p.next(), now+1_000_000))
		}
		if want := 2 * rate; math.Abs(float64(sent)-want) > 64+1 {
			t.Errorf("rate %v: %d in two seconds", rate, sent)
		}
	}
}

func TestPacerLate(t *testing.T) {
	const ms = 1_000_000
	p := pacer{rate: 1000}
	if n, late := p.due(-1, 8); n != 0 || late != 0 {
		t.Errorf("before it began: %d, %d late", n, late)
	}
	for _, c := range []struct {
		now  int64
		n    int
		late int64
	}{
		{0, 1, 0},             // the first at once
		{0, 0, 0},             // and no second
		{ms - 1, 0, 0},        //
		{ms + 100, 1, 100},    //
		{5 * ms, 4, 3 * ms},   // 2, 3, 4 and 5, the first of which was due at 2 ms
		{25 * ms, 8, 19 * ms}, // no more than a batch
		{25 * ms, 8, 11 * ms}, // and what is left catches up
		{25 * ms, 4, 3 * ms},
		{25 * ms, 0, 0},
		{500 * ms, 8, 474 * ms}, // too late: it begins anew
		{500 * ms, 0, 0},
		{507 * ms, 0, 0},
		{508 * ms, 1, 0},
	} {
		if n, late := p.due(c.now, 8); n != c.n || late != c.late {
			t.Errorf("at %d: %d due, %d late; want %d, %d", c.now, n, late, c.n, c.late)
		}
	}
}

func TestSearch(t *testing.T) {
	for name, c := range map[string]struct {
		capacity        float64
		first, most     float64
		flaky           bool // every first try fails
		wantNone, allOK bool
	}{
		"in the middle": {capacity: 123_456, first: 1000, most: 1e6},
		"flaky":         {capacity: 123_456, first: 1000, most: 1e6, flaky: true},
		"at the first":  {capacity: 1000, first: 1000, most: 1e6},
		"none":          {capacity: 999, first: 1000, most: 1e6, wantNone: true},
		"all":           {capacity: 1e7, first: 1000, most: 1e6, allOK: true},
		"one":           {capacity: 1e7, first: 1000, most: 1000, allOK: true},
		"at the most":   {capacity: 1e6, first: 999, most: 1e6, allOK: true},
	} {
		s := search{rate: c.first, most: c.most, factor: 1.5, resolution: 0.04}
		tried := map[float64]int{}
		for i := 0; !s.done; i++ {
			if i > sweepStepsMax*triesMax {
				t.Fatalf("%s: does not end", name)
			}
			if s.rate > c.most || s.rate < c.first {
				t.Fatalf("%s: tries %v", name, s.rate)
			}
			tried[s.rate]++
			s.took(s.rate <= c.capacity && (!c.flaky || tried[s.rate] > 1))
		}
		switch {
		case c.wantNone:
			if s.held != 0 || s.failed != c.first || tried[c.first] != triesMax {
				t.Errorf("%s: %+v, tried %v", name, s, tried)
			}
		case c.allOK:
			if s.held != c.most || s.failed != 0 {
				t.Errorf("%s: %+v", name, s)
			}
		case float64(len(tried)) > math.Log(c.capacity/c.first)/math.Log(1.5)+7: // up, and then 50 % halved to 4 %
			t.Errorf("%s: %d rates tried", name, len(tried))
		case s.held > c.capacity || s.failed <= c.capacity || s.failed/s.held > 1.04 || tried[s.failed] != triesMax:
			t.Errorf("%s: held %v, failed %v of %v, tried %d times", name, s.held, s.failed, c.capacity, tried[s.failed])
		}
	}
	endless := search{rate: 1, most: math.MaxFloat64, factor: 1.01, resolution: 0.001}
	for n := 0; !endless.done; n++ {
		if n > sweepStepsMax {
			t.Fatal("goes on after the last step")
		}
		endless.took(true)
	}
}

func TestRota(t *testing.T) {
	r := random(t)
	rota := newRota(5)
	var twin []int
	for range 10_000 {
		if flow := r.IntN(5); r.IntN(2) == 0 {
			rota.push(flow)
			if !slices.Contains(twin, flow) {
				twin = append(twin, flow)
			}
		} else if len(twin) > 0 {
			if got := rota.pop(); got != twin[0] {
				t.Fatalf("first is %d, want %d", got, twin[0])
			}
			twin = twin[1:]
		}
		if rota.n != len(twin) {
			t.Fatalf("%d wait, want %d", rota.n, len(twin))
		}
	}
}

func TestShare(t *testing.T) {
	for total := 1; total <= 50; total++ {
		for n := 1; n <= total; n++ {
			sum := 0
			for i := range n {
				part := share(total, n, i)
				if part < total/n || part > total/n+1 {
					t.Fatalf("part %d of %d is %d of %d", i, n, part, total)
				}
				sum += part
			}
			if sum != total {
				t.Fatalf("%d parts of %d are %d", n, total, sum)
			}
		}
	}
}

// The four timestamps of an answer, and what follows from them: server minus local.
func TestTally(t *testing.T) {
	const t4 = 1_800_000_000_000_000_000
	var a, b tally
	for i, server := range []int64{0, 500, -500} { // ahead of us by that
		t1 := int64(t4 - 1000)
		h := ntp.Header{Receive: ntp.FromUnix(t1 + 300 + server), Transmit: ntp.FromUnix(t1 + 700 + server)}
		var sum tally
		sum.answered(&answer{took: 1000, header: h, unsynchronised: i == 1}, t4, 50, i != 2)
		s := sum.result()
		for what, c := range map[string]struct {
			got  Spread
			want time.Duration
		}{"T4-T1": {s.RoundTrip, 1000}, "T2-T1": {s.Request, 300 + time.Duration(server)}, "T3-T2": {s.Processing, 400}, "offset": {s.Offset, time.Duration(server)}} {
			if (c.got.P50-c.want).Abs() > 1 || c.got.Count != 1 {
				t.Errorf("%s is %+v, want %v", what, c.got, c.want)
			}
		}
		b.merge(&sum)
	}
	b.ran, b.waited = 100, 25
	a.merge(&b)
	s := a.result()
	if s.Unsynchronised != 1 || s.Stamped != 2 || s.Unread != 50 || s.Busy != 0.75 || s.Offset.Count != 3 || s.Offset.Min > -499 || s.Offset.Max < 499 {
		t.Errorf("merged: %+v", s)
	}
}

// The generator was the limit where it could not do what was due.
func TestGeneratorLimited(t *testing.T) {
	measured := Step{Measured: time.Second, Sent: 1000}
	for name, c := range map[string]struct {
		change func(s *Step)
		want   bool
	}{
		"nothing measured":     {func(s *Step) { *s = Step{Wanted: 1000} }, false},
		"open, all sent":       {func(s *Step) { s.Wanted, s.Busy = 1000, 1 }, false},
		"open, nearly":         {func(s *Step) { s.Wanted = 1020 }, false},
		"open, not all sent":   {func(s *Step) { s.Wanted = 1040 }, true},
		"open, one in all":     {func(s *Step) { s.Wanted, s.Sent = 1, 0 }, false},
		"lost here":            {func(s *Step) { s.Wanted, s.Dropped = 1000, 1 }, true},
		"closed, idle":         {func(s *Step) { s.Busy = 0.5 }, false},
		"closed, busy":         {func(s *Step) { s.Busy = 0.95 }, true},
		"closed, read late":    {func(s *Step) { s.Stamped, s.Unread, s.RoundTrip.Mean = 1, 11, 10 }, true},
		"closed, read at once": {func(s *Step) { s.Stamped, s.Unread, s.RoundTrip.Mean, s.Busy = 1, 9, 10, 1 }, false},
	} {
		s := measured
		c.change(&s)
		if s.GeneratorLimited() != c.want {
			t.Errorf("%s: %v", name, !c.want)
		}
	}
}

// One try that the server failed is enough to know that it was not the generator.
func TestGeneratorFailed(t *testing.T) {
	try := func(rate float64, sent uint64, held bool) Step {
		return Step{Wanted: rate, Measured: time.Second, Sent: sent, Held: held}
	}
	for name, c := range map[string]struct {
		steps []Step
		want  bool
	}{
		"none":         {nil, false},
		"generator":    {[]Step{try(100, 100, true), try(200, 100, false), try(200, 100, false)}, true},
		"server":       {[]Step{try(200, 200, false)}, false},
		"once each":    {[]Step{try(200, 200, false), try(200, 100, false)}, false},
		"another rate": {[]Step{try(400, 400, false), try(200, 100, false)}, true},
	} {
		r := Result{Steps: c.steps, Failed: 200}
		if r.GeneratorFailed() != c.want {
			t.Errorf("%s: %v", name, !c.want)
		}
	}
}

func TestKissed(t *testing.T) {
	var a, b tally
	for i := range ntp.RefID(20) {
		a.kissed('A'+i, 1)
		b.kissed('A'+i, 2)
		b.kissed('A', 1)
	}
	a.merge(&b)
	kisses := a.result().Kisses
	var sum uint64
	for _, k := range kisses {
		sum += k.Count
	}
	if len(kisses) != kissesMax+1 || kisses[kissesMax].Code != 0 || sum != 80 || kisses[0].Count != 23 || kisses[1].Count != 3 {
		t.Errorf("%v", kisses)
	}
}
