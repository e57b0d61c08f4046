package hlc

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// noon is a physical time in the middle of a tick, Unix nanoseconds.
const noon = 1_795_329_730_123_456_512 + 500

// wall is physical time that a test sets.
type wall struct{ atomic.Int64 }

func (w *wall) advance(d time.Duration) { w.Add(int64(d)) }

// newClock returns a clock on a wall that stands at noon. A ceiling or max lead that
// options do not name is the highest or the default.
func newClock(t testing.TB, o Options) (*Clock, *wall) {
	t.Helper()
	w := new(wall)
	w.Store(noon)
	o.Physical = w.Load
	if o.Ceiling == 0 {
		o.Ceiling = Max
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c, w
}

// fataler is what a test and a case of a property have in common.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

func mustNow(t fataler, c *Clock) Timestamp {
	t.Helper()
	return must(t, c.Now)
}

func must(t fataler, f func() (Timestamp, error)) Timestamp {
	t.Helper()
	ts, err := f()
	if err != nil {
		t.Fatal(err)
	}
	return ts
}

// state is all that a clock remembers.
type state struct {
	last, ceiling Timestamp
	behind        uint64
}

func stateOf(c *Clock) state { return state{c.Last(), c.Ceiling(), c.Behind()} }

// refused checks that f fails with want and changes nothing.
func refused(t testing.TB, c *Clock, want error, f func() (Timestamp, error)) error {
	t.Helper()
	before := stateOf(c)
	ts, err := f()
	if ts != 0 {
		t.Errorf("got %v with %v", ts, err)
	}
	for _, e := range []error{ErrLead, ErrCeiling, ErrCount} {
		if errors.Is(err, e) != (e == want) {
			t.Errorf("got %v, want %v alone", err, want)
		}
	}
	if after := stateOf(c); after != before {
		t.Errorf("refused with %v, but the clock went from %v to %v", err, before, after)
	}
	return err
}

// TestH1: every timestamp issued is greater than every one issued before by this clock,
// ranges disjoint.
func TestH1(t *testing.T) {
	c, w := newClock(t, Options{MaxLead: time.Minute})
	r := rand.New(rand.NewPCG(1, 1))
	var end Timestamp // last of everything issued
	for range 20_000 {
		switch r.IntN(8) {
		case 0:
			w.advance(time.Duration(r.Int64N(int64(time.Millisecond))))
		case 1:
			w.advance(-time.Duration(r.Int64N(int64(time.Millisecond))))
		}
		n := 1
		var first Timestamp
		switch r.IntN(3) {
		case 0:
			first = mustNow(t, c)
		case 1:
			n = 1 + r.IntN(3000)
			first = must(t, func() (Timestamp, error) { return c.NowN(n) })
		case 2:
			remote := FromUnix(w.Load()) + Timestamp(r.Int64N(1e6))
			first = must(t, func() (Timestamp, error) { return c.Observe(remote) })
		}
		if first <= end {
			t.Fatalf("%v issued after %v", first, end)
		}
		end = first + Timestamp(n) - 1
		if c.Last() != end {
			t.Fatalf("%d from %v on end at %v, Last is %v", n, first, end, c.Last())
		}
	}
}

// TestH2: after Observe(r), everything issued is greater than r.
func TestH2(t *testing.T) {
	for _, d := range []time.Duration{-math.MaxInt64, -time.Hour, -Tick, -1, 0, 1, Tick - 1, Tick, time.Millisecond, time.Second - 2*Tick} {
		c, w := newClock(t, Options{MaxLead: 2 * time.Second})
		mustNow(t, c)
		remote := Timestamp(max(0, w.Load()+int64(d)))
		if got := must(t, func() (Timestamp, error) { return c.Observe(remote) }); got <= remote {
			t.Errorf("Observe(%v) = %v", remote, got)
		}
		w.advance(-time.Millisecond)
		if got := mustNow(t, c); got <= remote {
			t.Errorf("Now after Observe(%v) = %v", remote, got)
		}
		if got := must(t, func() (Timestamp, error) { return c.NowN(5) }); got <= remote {
			t.Errorf("NowN after Observe(%v) = %v", remote, got)
		}
	}
}

// TestH3: the physical part is not below the tick of the clock read inside the call.
func TestH3(t *testing.T) {
	for _, unix := range []int64{0, 1, 1023, 1024, 1025, noon, noon + 523, noon + 524, math.MaxInt64 - 1024, math.MaxInt64} {
		for name, op := range map[string]func(c *Clock) (Timestamp, error){
			"Now":           (*Clock).Now,
			"NowN":          func(c *Clock) (Timestamp, error) { return c.NowN(1) },
			"Observe old":   func(c *Clock) (Timestamp, error) { return c.Observe(0) },
			"Observe ahead": func(c *Clock) (Timestamp, error) { return c.Observe(FromUnix(unix) + 100*1024) },
		} {
			c, w := newClock(t, Options{})
			w.Store(unix)
			got := must(t, func() (Timestamp, error) { return op(c) })
			if tick := Timestamp(unix) / 1024; got/1024 < tick {
				t.Errorf("%s at %d is in tick %d, before %d", name, unix, got/1024, tick)
			}
			if name == "Now" && unix >= 1024 && got != FromUnix(unix) {
				t.Errorf("the first Now at %d = %d, want the tick itself", unix, uint64(got))
			}
		}
	}
}

// TestH4: the lead is at most the max lead, else a typed error.
func TestH4(t *testing.T) {
	const maxLead = 100 * Tick
	highest := FromUnix(noon) + Timestamp(maxLead)

	t.Run("Now", func(t *testing.T) {
		c, w := newClock(t, Options{MaxLead: maxLead, Last: highest - 1})
		if got := mustNow(t, c); got != highest {
			t.Errorf("Now = %v, want %v, max lead ahead", got, highest)
		}
		if got := c.Lead(); got != maxLead {
			t.Errorf("Lead = %v, want %v", got, maxLead)
		}
		err := refused(t, c, ErrLead, c.Now)
		var lead *LeadError
		if !errors.As(err, &lead) || *lead != (LeadError{Lead: maxLead + 1, MaxLead: maxLead}) {
			t.Errorf("error is %#v", lead)
		}
		if !strings.Contains(err.Error(), "wait") {
			t.Errorf("error %q does not say what to do", err)
		}
		w.advance(Tick)
		if got := mustNow(t, c); got != highest+1 {
			t.Errorf("a tick later Now = %v, want %v", got, highest+1)
		}
	})
	t.Run("NowN", func(t *testing.T) {
		c, _ := newClock(t, Options{MaxLead: maxLead, Last: highest - 10})
		refused(t, c, ErrLead, func() (Timestamp, error) { return c.NowN(11) })
		if got := must(t, func() (Timestamp, error) { return c.NowN(10) }); got != highest-9 {
			t.Errorf("NowN(10) = %v, want the last ten within max lead", got)
		}
		refused(t, c, ErrLead, func() (Timestamp, error) { return c.NowN(1) })
	})
	t.Run("Observe", func(t *testing.T) {
		c, w := newClock(t, Options{MaxLead: maxLead})
		for _, remote := range []Timestamp{highest, highest + 1, Max} {
			err := refused(t, c, ErrLead, func() (Timestamp, error) { return c.Observe(remote) })
			var lead *LeadError
			if !errors.As(err, &lead) || !lead.Remote || lead.MaxLead != maxLead || lead.Lead <= maxLead {
				t.Errorf("Observe(%v): error is %#v", remote, lead)
			}
			if !strings.Contains(err.Error(), "check the clock of its sender") {
				t.Errorf("error %q does not say what to do", err)
			}
		}
		if got := must(t, func() (Timestamp, error) { return c.Observe(highest - 1) }); got != highest {
			t.Errorf("Observe(max lead − 1) = %v, want %v", got, highest)
		}
		// From here on the clock's own last stands in the way, not the sender.
		err := refused(t, c, ErrLead, func() (Timestamp, error) { return c.Observe(highest - 1) })
		var lead *LeadError
		if !errors.As(err, &lead) || lead.Remote {
			t.Errorf("error is %#v", lead)
		}
		w.advance(-Tick)
		err = refused(t, c, ErrLead, func() (Timestamp, error) { return c.Observe(highest) })
		if !errors.As(err, &lead) || !lead.Remote {
			t.Errorf("a remote one beyond max lead, last beyond it too: error is %#v", lead)
		}
	})
	t.Run("last far ahead", func(t *testing.T) {
		c, _ := newClock(t, Options{Last: FromUnix(noon) + Timestamp(time.Hour)})
		refused(t, c, ErrLead, c.Now)
		if got := c.Lead(); got != time.Hour {
			t.Errorf("Lead = %v, want 1h", got)
		}
	})
	t.Run("SetMaxLead", func(t *testing.T) {
		c, _ := newClock(t, Options{Last: highest - 1})
		if got := c.MaxLead(); got != MaxLeadDefault {
			t.Errorf("MaxLead = %v, want the default", got)
		}
		if err := c.SetMaxLead(maxLead - 1); err != nil {
			t.Fatal(err)
		}
		refused(t, c, ErrLead, c.Now)
		for _, d := range []time.Duration{math.MinInt64, -1, 0, Tick - 1, time.Hour + 1, math.MaxInt64} {
			if err := c.SetMaxLead(d); err == nil || c.MaxLead() != maxLead-1 {
				t.Errorf("SetMaxLead(%v): %v, max lead is now %v", d, err, c.MaxLead())
			}
		}
		for _, d := range []time.Duration{Tick, time.Hour, maxLead} {
			if err := c.SetMaxLead(d); err != nil || c.MaxLead() != d {
				t.Errorf("SetMaxLead(%v): %v, max lead is now %v", d, err, c.MaxLead())
			}
		}
		mustNow(t, c)
	})
}

// TestH5: what is issued is below the ceiling at the moment of return.
func TestH5(t *testing.T) {
	p := FromUnix(noon)
	t.Run("none", func(t *testing.T) {
		c, err := New(Options{Physical: func() int64 { return noon }})
		if err != nil {
			t.Fatal(err)
		}
		refused(t, c, ErrCeiling, c.Now)
		refused(t, c, ErrCeiling, func() (Timestamp, error) { return c.NowN(1) })
		refused(t, c, ErrCeiling, func() (Timestamp, error) { return c.Observe(0) })
		c.Raise(p + 1)
		if got := mustNow(t, c); got != p {
			t.Errorf("Now = %v, want %v", got, p)
		}
		refused(t, c, ErrCeiling, c.Now)
	})
	t.Run("at physical time", func(t *testing.T) {
		c, _ := newClock(t, Options{Ceiling: p})
		refused(t, c, ErrCeiling, c.Now)
	})
	t.Run("range", func(t *testing.T) {
		c, _ := newClock(t, Options{Ceiling: p + 10})
		refused(t, c, ErrCeiling, func() (Timestamp, error) { return c.NowN(11) })
		if got := must(t, func() (Timestamp, error) { return c.NowN(10) }); got != p {
			t.Errorf("NowN(10) = %v, want %v", got, p)
		}
		refused(t, c, ErrCeiling, c.Now)
	})
	t.Run("observe", func(t *testing.T) {
		c, _ := newClock(t, Options{Ceiling: p + 10})
		for _, remote := range []Timestamp{p + 9, p + 10, p + 11} {
			refused(t, c, ErrCeiling, func() (Timestamp, error) { return c.Observe(remote) })
		}
		if got := must(t, func() (Timestamp, error) { return c.Observe(p + 8) }); got != p+9 {
			t.Errorf("Observe = %v, want %v", got, p+9)
		}
	})
	t.Run("physical time passes it", func(t *testing.T) {
		c, w := newClock(t, Options{Ceiling: p + 1024})
		mustNow(t, c)
		w.advance(time.Hour)
		refused(t, c, ErrCeiling, c.Now)
	})
	t.Run("raise only lifts", func(t *testing.T) {
		c, _ := newClock(t, Options{Ceiling: p + 10})
		for _, lower := range []Timestamp{0, p, p + 9, p + 10} {
			if c.Raise(lower); c.Ceiling() != p+10 {
				t.Errorf("Raise(%v) brought the ceiling to %v", lower, c.Ceiling())
			}
		}
		if c.Raise(p + 11); c.Ceiling() != p+11 {
			t.Errorf("Raise(%v) left the ceiling at %v", p+11, c.Ceiling())
		}
	})
	t.Run("the maximum itself", func(t *testing.T) {
		c, w := newClock(t, Options{Ceiling: Max})
		w.Store(math.MaxInt64)
		mustNow(t, c)
	})
}

// TestH8: a refused remote timestamp changes nothing.
func TestH8(t *testing.T) {
	far, _ := newClock(t, Options{Ceiling: FromUnix(noon) + Timestamp(time.Minute)})
	mustNow(t, far)
	year := Timestamp(365 * 24 * time.Hour)
	for _, remote := range []Timestamp{FromUnix(noon) + year, FromUnix(noon) + Timestamp(time.Second) + 1, 1 << 63, Max - 1, Max} {
		before := far.Last()
		refused(t, far, ErrLead, func() (Timestamp, error) { return far.Observe(remote) })
		if got := mustNow(t, far); got != before+1 {
			t.Errorf("Now after the refused %v = %v, want %v", remote, got, before+1)
		}
	}
	// Within max lead and beyond the ceiling: the same.
	c, w := newClock(t, Options{Ceiling: FromUnix(noon) + 2048})
	first := mustNow(t, c)
	refused(t, c, ErrCeiling, func() (Timestamp, error) { return c.Observe(FromUnix(noon) + 4096) })
	if got := mustNow(t, c); got != first+1 {
		t.Errorf("Now = %v, want %v", got, first+1)
	}
	// Nor is it remembered for the time when it would be in order.
	w.advance(Tick)
	if got := mustNow(t, c); got != FromUnix(w.Load()) {
		t.Errorf("Now = %v, want physical time", got)
	}
}

// TestH9: overflow carries, never wraps.
func TestH9(t *testing.T) {
	t.Run("logical part", func(t *testing.T) {
		c, _ := newClock(t, Options{})
		p := FromUnix(noon)
		for i := range Timestamp(5000) {
			if got := mustNow(t, c); got != p+i {
				t.Fatalf("timestamp %d is %v, want %v", i, got, p+i)
			}
		}
		if got := c.Last(); got.Logical() != 4999%1024 || got.Time() != (p+4*1024).Time() {
			t.Errorf("Last = %v, want 4 ticks and 903 later than %v", got, p)
		}
	})
	t.Run("range", func(t *testing.T) {
		c, _ := newClock(t, Options{})
		p := FromUnix(noon)
		for i := range Timestamp(3) {
			if got := must(t, func() (Timestamp, error) { return c.NowN(CountMax) }); got != p+i*CountMax {
				t.Errorf("range %d begins at %v, want %v", i, got, p+i*CountMax)
			}
		}
	})
	t.Run("remote with a full logical part", func(t *testing.T) {
		c, _ := newClock(t, Options{})
		remote := FromUnix(noon) + 10*1024 + LogicalMax
		if got := must(t, func() (Timestamp, error) { return c.Observe(remote) }); got != FromUnix(noon)+11*1024 {
			t.Errorf("Observe(%v) = %v", remote, got)
		}
	})
	// At the end of the word there is nowhere to carry to.
	for _, last := range []Timestamp{1<<63 - 1, 1 << 63, Max - CountMax, Max - 1, Max} {
		c, w := newClock(t, Options{Last: last})
		for name, op := range map[string]func() (Timestamp, error){
			"Now":        c.Now,
			"NowN":       func() (Timestamp, error) { return c.NowN(CountMax) },
			"Observe":    func() (Timestamp, error) { return c.Observe(FromUnix(noon)) },
			"ObserveMax": func() (Timestamp, error) { return c.Observe(Max) },
		} {
			err := refused(t, c, ErrLead, op)
			if lead := (*LeadError)(nil); errors.As(err, &lead) && lead.Lead < 200*365*24*time.Hour {
				t.Errorf("last %v: %s reports a lead of %v", last, name, lead.Lead)
			}
		}
		w.Store(math.MinInt64) // and no physical time changes that
		refused(t, c, ErrLead, c.Now)
		c.Reset(0, Max)
		w.Store(noon)
		if got := mustNow(t, c); got != FromUnix(noon) {
			t.Errorf("Now after Reset = %v", got)
		}
	}
	t.Run("end of signed time", func(t *testing.T) {
		c, w := newClock(t, Options{MaxLead: MaxLeadMax})
		w.Store(math.MaxInt64)
		last := mustNow(t, c)
		for range 100 {
			got := must(t, func() (Timestamp, error) { return c.NowN(CountMax) })
			if got != last+1 {
				t.Fatalf("NowN = %v after %v", got, last)
			}
			last = got + CountMax - 1
		}
		if last < 1<<63 {
			t.Errorf("last is %v, not beyond the signed half", last)
		}
	})
}

// TestH10: clock back: issue continues by +1, counted.
func TestH10(t *testing.T) {
	c, w := newClock(t, Options{})
	first := mustNow(t, c)
	for i := range Timestamp(1023) {
		if got := mustNow(t, c); got != first+1+i {
			t.Fatalf("Now = %v, want %v", got, first+1+i)
		}
	}
	if got := c.Behind(); got != 0 {
		t.Errorf("Behind = %d while physical time stood in the tick", got)
	}
	w.advance(-500 * time.Millisecond)
	for i := range Timestamp(10) {
		if got := mustNow(t, c); got != first+1024+i {
			t.Errorf("after the step back Now = %v, want %v", got, first+1024+i)
		}
	}
	if got := c.Behind(); got != 10 {
		t.Errorf("Behind = %d after 10 timestamps ahead of physical time", got)
	}
	if _, err := c.Observe(Max); err == nil || c.Behind() != 10 {
		t.Errorf("a refused one: %v, Behind = %d", err, c.Behind())
	}
	if got := c.Lead(); got < 500*time.Millisecond || got > 501*time.Millisecond {
		t.Errorf("Lead = %v, want what the step back was", got)
	}
	w.advance(502 * time.Millisecond)
	if got := mustNow(t, c); got != FromUnix(w.Load()) {
		t.Errorf("Now = %v, want physical time again", got)
	}
	if got := c.Behind(); got != 10 {
		t.Errorf("Behind = %d, want 10", got)
	}
	if got := c.Lead(); got != 0 {
		t.Errorf("Lead = %v, want 0", got)
	}
	w.advance(time.Hour)
	if got := c.Lead(); got != 0 {
		t.Errorf("Lead = %v when physical time is an hour further, want 0", got)
	}
	// Further back than the max lead: refused, until it is back.
	w.advance(-time.Hour)
	mustNow(t, c)
	w.advance(-time.Second - 2*Tick)
	refused(t, c, ErrLead, c.Now)
	w.advance(3 * Tick)
	mustNow(t, c)
}

// TestH11: an unexplained forward jump is held, not adopted.
func TestH11(t *testing.T) {
	mono := time.Hour
	p := NewPhysical(func() time.Duration { return mono })
	p.Steer(Target{Mono: mono, Unix: noon})
	c, err := New(Options{Physical: p.Now, Ceiling: Max})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		mono += time.Second
		elapsed := int64(mono - time.Hour)
		got := p.Steer(Target{Mono: mono, Unix: noon + elapsed + int64(time.Hour)})
		if want := (Steering{Held: true, Jump: time.Hour}); got != want {
			t.Fatalf("Steer = %+v, want %+v", got, want)
		}
		if got, want := mustNow(t, c), FromUnix(noon+elapsed); got != want {
			t.Fatalf("Now = %v, want %v", got, want)
		}
	}
}

// TestCount: how many at once.
func TestCount(t *testing.T) {
	for _, n := range []int{math.MinInt, -1_000_000_000, -65_536, -1, 0, 65_537, 1_000_000_000, math.MaxInt} {
		c, _ := newClock(t, Options{})
		mustNow(t, c)
		refused(t, c, ErrCount, func() (Timestamp, error) { return c.NowN(n) })
	}
	for _, n := range []int{1, 2, 1023, 1024, 1025, 65_535, 65_536} {
		c, _ := newClock(t, Options{})
		first := must(t, func() (Timestamp, error) { return c.NowN(n) })
		if next := mustNow(t, c); next != first+Timestamp(n) {
			t.Errorf("NowN(%d) = %v, then Now = %v", n, first, next)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	physical := func() int64 { return noon }
	for name, o := range map[string]Options{
		"no physical time":   {},
		"negative max lead":  {Physical: physical, MaxLead: -1},
		"max lead too small": {Physical: physical, MaxLead: Tick - 1},
		"max lead too large": {Physical: physical, MaxLead: time.Hour + 1},
	} {
		if c, err := New(o); err == nil || c != nil {
			t.Errorf("%s: New = %v, %v", name, c, err)
		}
	}
	c, err := New(Options{Physical: physical, MaxLead: Tick, Last: 7, Ceiling: 9})
	if err != nil {
		t.Fatal(err)
	}
	if c.Last() != 7 || c.Ceiling() != 9 || c.MaxLead() != Tick || c.Physical() != noon || c.Behind() != 0 {
		t.Errorf("New does not keep its options: %v, %v", stateOf(c), c.MaxLead())
	}
}

// TestBefore1970: a hardware clock that lost its battery still gives no wrapped timestamp.
func TestBefore1970(t *testing.T) {
	c, w := newClock(t, Options{})
	for i, unix := range []int64{math.MinInt64, -int64(time.Hour), -1} {
		w.Store(unix)
		if got, want := mustNow(t, c), Timestamp(i+1); got != want {
			t.Errorf("Now at %d = %d, want %d", unix, uint64(got), want)
		}
	}
	refused(t, c, ErrLead, func() (Timestamp, error) { return c.Observe(noon) })
}

// TestAllocations: the hot path leaves nothing for the garbage collector.
func TestAllocations(t *testing.T) {
	c, w := newClock(t, Options{})
	buf := make([]byte, 0, 64)
	remote := FromUnix(noon)
	p := NewPhysical(Monotonic())
	p.Steer(Target{Unix: noon})
	for name, f := range map[string]func(){
		"Now":          func() { w.advance(Tick); _, _ = c.Now() },
		"NowN":         func() { w.advance(Tick); _, _ = c.NowN(100) },
		"Observe":      func() { w.advance(Tick); remote, _ = c.Observe(remote) },
		"ErrCeiling":   func() { c.Reset(0, 1); _, _ = c.Now(); c.Reset(0, Max) },
		"AppendText":   func() { buf, _ = Max.AppendText(buf[:0]) },
		"AppendBinary": func() { buf, _ = Max.AppendBinary(buf[:0]) },
		"UUID":         func() { _, _, _ = FromUUID(remote.UUID(1)) },
		"NewInterval":  func() { _ = NewInterval(noon, time.Millisecond, remote) },
		"Physical":     func() { _ = p.Now() },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// TestNowAt: a reading of the caller's counts like the clock's own, and bounds hold for it.
func TestNowAt(t *testing.T) {
	c, err := New(Options{Physical: func() int64 { return 1e18 }, Ceiling: Max})
	if err != nil {
		t.Fatal(err)
	}
	var last Timestamp
	for _, physical := range []int64{1e18 + 5e6, 1e18 + 5e6, 1e18} {
		ts, err := c.NowAt(physical)
		if err != nil || ts <= last || ts < FromUnix(physical) {
			t.Errorf("at %d after %d: %d, %v", physical, last, ts, err)
		}
		last = ts
	}
	if _, err := c.NowAt(1e18 - 2e9); !errors.Is(err, ErrLead) {
		t.Error(err)
	}
}
