package hlc

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPhysicalNeverBack: physical time does not go back under any series of targets, held,
// confirmed and accepted, late and early; only an anchor takes it back.
func TestPhysicalNeverBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mono := time.Duration(rapid.Int64Range(0, int64(1000*24*time.Hour)).Draw(t, "uptime"))
		p := NewPhysical(func() time.Duration { return mono })
		base := noon - int64(mono)
		var asleep time.Duration
		distance := rapid.OneOf(
			rapid.Int64Range(-1000, 1000),
			rapid.Int64Range(-int64(JumpMax)-5, int64(JumpMax)+5),
			rapid.Int64Range(-int64(3*time.Hour), int64(3*time.Hour)),
			rapid.Int64Range(-int64(20*365*24*time.Hour), int64(20*365*24*time.Hour)),
		)
		target := func(t *rapid.T) Target {
			at := mono - time.Duration(rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(-int64(time.Millisecond), int64(10*time.Second))).Draw(t, "age"))
			return Target{
				Mono:      at,
				Unix:      base + int64(at+asleep) + distance.Draw(t, "distance"),
				Rate:      float64(rapid.IntRange(-1000, 1000).Draw(t, "rate")) / 1e6,
				Asleep:    asleep,
				Confirmed: rapid.Bool().Draw(t, "confirmed"),
			}
		}
		if got := p.Now(); got != 0 {
			t.Fatalf("Now = %d before the first target", got)
		}
		p.Steer(target(t))
		var drift time.Duration // from the line that was confirmed last
		last := p.Now()
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				now := p.Now()
				if now < last {
					t.Fatalf("physical time went back by %v", time.Duration(last-now))
				}
				last = now
			},
			"nanosecond": func(*rapid.T) { mono++ },
			"time": func(t *rapid.T) {
				mono += time.Duration(rapid.OneOf(rapid.Int64Range(0, 100), rapid.Int64Range(0, int64(time.Minute)), rapid.Int64Range(0, int64(30*24*time.Hour))).Draw(t, "passes"))
			},
			"sleep": func(t *rapid.T) {
				asleep += time.Duration(rapid.Int64Range(0, int64(24*time.Hour)).Draw(t, "for"))
			},
			"steer": func(t *rapid.T) {
				before := *p.walked.Load()
				want := target(t)
				s := p.Steer(want)
				if s.Held && *p.walked.Load() != before {
					t.Fatalf("a held target changed physical time")
				}
				leads := drift + s.Jump // unconfirmed ones add up
				if want.Confirmed {
					leads = 0
				}
				if s.Held != (leads.Abs() > JumpMax) {
					t.Fatalf("%+v gave %+v at %v from what was confirmed", want, s, leads)
				}
				if !s.Held {
					drift = leads
				}
				if s.Behind < 0 {
					t.Fatalf("%+v gave %+v: physical time is below the line", want, s)
				}
				if !s.Held && p.Now()-want.at(mono) != int64(s.Behind) {
					t.Fatalf("%+v gave %+v, but physical time is %v beyond the target", want, s, time.Duration(p.Now()-want.at(mono)))
				}
			},
			"accept": func(t *rapid.T) {
				held, ok := p.Accept()
				if ok {
					drift = 0
				}
				if ok && p.Now() < held.at(mono) {
					t.Fatalf("accepted %+v, but physical time is below it", held)
				}
			},
			"anchor": func(t *rapid.T) {
				a := target(t)
				p.Anchor(a)
				drift = 0
				if got, want := p.Now(), a.at(mono); got != want {
					t.Fatalf("anchored at %d, physical time is %d", want, got)
				}
				last = p.Now()
				if _, ok := p.Accept(); ok {
					t.Fatal("something is held after an anchor")
				}
			},
		})
	})
}

// TestLineNanoseconds: at every single nanosecond a line stands or goes on, with every sign
// of rate, on the way back and where the way ends.
func TestLineNanoseconds(t *testing.T) {
	for _, rate := range []float64{0, 1e-3, -1e-3, 37e-6, -37e-6, 0.3, -0.3} {
		for _, back := range []time.Duration{0, 1, 19, 20, 21, 1000, 30 * 24 * time.Hour, 40 * 365 * 24 * time.Hour} {
			const mono = 100 * 24 * time.Hour
			now := mono
			p := NewPhysical(func() time.Duration { return now })
			p.Steer(Target{Mono: mono, Unix: noon + int64(back)})
			p.Steer(Target{Mono: mono, Unix: noon, Rate: rate, Confirmed: true})
			last := p.Now()
			if last != noon+int64(back) {
				t.Fatalf("rate %v, %v back: physical time jumped to %v", rate, back, time.Duration(last-noon))
			}
			// At the start, where the way back ends if that is within a century, and beyond
			// the nanoseconds that a float64 counts one by one.
			for _, from := range []time.Duration{0, 20*min(back, 5*365*24*time.Hour) - 10_000, 1 << 53} {
				from = max(from, now-mono)
				for d := from; d < from+25_000; d++ {
					now = mono + d
					if got := p.Now(); got < last {
						t.Fatalf("rate %v, %v back: after %d ns physical time went back by %d ns", rate, back, d, last-got)
					} else {
						last = got
					}
				}
			}
		}
	}
}

// TestBack: a second too much takes twenty to lose, and then the line is the target's.
func TestBack(t *testing.T) {
	for _, back := range []time.Duration{1, 19, 20, time.Microsecond, time.Second, time.Hour, 24 * time.Hour, 10 * 365 * 24 * time.Hour} {
		var now time.Duration
		p := NewPhysical(func() time.Duration { return now })
		p.Steer(Target{Unix: noon})
		s := p.Steer(Target{Unix: noon - int64(back), Confirmed: true})
		if want := (Steering{Jump: -back, Behind: back}); s != want {
			t.Errorf("%v back: Steer = %+v, want %+v", back, s, want)
		}
		for _, c := range []struct{ after, want time.Duration }{
			{0, back},
			{10 * back, back - back/2},
			{20*back - 20, 1},
			{20 * back, 0},
			{20*back + time.Hour, 0},
		} {
			if c.after < now {
				continue
			}
			now = c.after
			if got := time.Duration(p.Now() - (noon - int64(back) + int64(now))); got != c.want {
				t.Errorf("%v back: after %v still %v to lose, want %v", back, now, got, c.want)
			}
		}
	}
	// Beyond what can be walked in the range of a duration it still falls back.
	var now time.Duration
	p := NewPhysical(func() time.Duration { return now })
	p.Steer(Target{Unix: noon + int64(100*365*24*time.Hour)})
	p.Steer(Target{Unix: noon, Confirmed: true})
	start := p.Now()
	now = 20 * time.Hour
	if got, want := time.Duration(p.Now()-start), 19*time.Hour; got != want {
		t.Errorf("a century back: %v pass in 20h, want %v", got, want)
	}
}

// TestFirstTarget: one whose Unix time is 0 is a target like any other.
func TestFirstTarget(t *testing.T) {
	mono := time.Hour
	p := NewPhysical(func() time.Duration { return mono })
	p.Steer(Target{Mono: mono})
	if s := p.Steer(Target{Mono: mono, Unix: noon}); !s.Held {
		t.Errorf("after a first target of 0, Steer = %+v, want it held", s)
	}
	mono = math.MaxInt64 / 2
	if got := NewPhysical(func() time.Duration { return mono }).Now(); got != 0 {
		t.Errorf("Now = %d before the first target", got)
	}
}

// world is a machine under load: true time, its wall clock, and a hybrid clock on steered
// physical time that hears of the wall clock ten times a second.
type world struct {
	mono  time.Duration
	step  time.Duration // of the wall clock against true time
	drift float64       // of the wall clock
	p     *Physical
	c     *Clock
}

func (w *world) truth() int64 { return noon + int64(w.mono) }

func (w *world) target(confirmed bool) Target {
	return Target{Mono: w.mono, Unix: w.truth() + int64(w.step), Rate: w.drift, Confirmed: confirmed}
}

func newWorld(t *testing.T) *world {
	w := new(world)
	w.p = NewPhysical(func() time.Duration { return w.mono })
	c, err := New(Options{Physical: w.p.Now, Ceiling: Max})
	if err != nil {
		t.Fatal(err)
	}
	w.c = c
	w.p.Steer(w.target(true))
	return w
}

// run lets d pass with a timestamp every millisecond, and returns the greatest lead and
// whether a target was held.
func (w *world) run(t *testing.T, d time.Duration, confirmed bool) (lead time.Duration, held bool) {
	t.Helper()
	last := w.c.Last()
	for range d / time.Millisecond {
		w.mono += time.Millisecond
		if w.mono%(100*time.Millisecond) == 0 {
			held = w.p.Steer(w.target(confirmed)).Held || held
		}
		ts, err := w.c.NowN(100)
		if err != nil {
			t.Fatalf("after %v: %v", w.mono, err)
		}
		if ts <= last {
			t.Fatalf("after %v: %v follows %v", w.mono, ts, last)
		}
		last = ts + 99
		if lead = max(lead, w.c.Lead()); lead > w.c.MaxLead() {
			t.Fatalf("after %v: lead %v", w.mono, lead)
		}
	}
	return lead, held
}

// TestWallStepped: the wall clock is set forward by an hour and back under load. Nothing
// fails, nothing is inverted, the lead stays below a microsecond, and where no source
// stands behind the hour the timestamps never left true time.
func TestWallStepped(t *testing.T) {
	for _, confirmed := range []bool{false, true} {
		for _, step := range []time.Duration{time.Hour, -time.Hour, 600 * time.Millisecond, -600 * time.Millisecond} {
			w := newWorld(t)
			phases := []struct {
				step time.Duration
				held bool
			}{{0, false}, {step, !confirmed}, {0, false}, {step, !confirmed}, {0, false}}
			var greatest Timestamp
			for i, phase := range phases {
				w.step = phase.step
				lead, held := w.run(t, 5*time.Second, confirmed)
				if held != phase.held {
					t.Errorf("step %v, confirmed %v, phase %d: held %v", step, confirmed, i, held)
				}
				if lead > time.Microsecond {
					t.Errorf("step %v, confirmed %v, phase %d: lead %v", step, confirmed, i, lead)
				}
				if off := w.c.Last().Sub(FromUnix(w.truth())).Abs(); !confirmed && off > Tick {
					t.Errorf("step %v, phase %d: %v away from true time", step, i, off)
				}
				greatest = max(greatest, w.c.Last())
			}
			if confirmed && step > 0 && greatest.Sub(FromUnix(w.truth())) > step {
				t.Errorf("step %v: timestamps %v ahead of true time", step, greatest.Sub(FromUnix(w.truth())))
			}
		}
	}
}

// TestWallJitters: the wall clock wanders about true time, both ways between any two
// targets: never held, always close.
func TestWallJitters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var mono time.Duration
		p := NewPhysical(func() time.Duration { return mono })
		p.Steer(Target{Unix: noon})
		const jitter = 5 * time.Millisecond
		var last int64
		for range 50 {
			mono += time.Second
			target := Target{Mono: mono, Unix: noon + int64(mono) + rapid.Int64Range(-int64(jitter), int64(jitter)).Draw(t, "jitter")}
			s := p.Steer(target)
			now := p.Now()
			if s.Held || s.Jump.Abs() > 2*jitter || s.Behind > 2*jitter {
				t.Fatalf("Steer = %+v", s)
			}
			if d := time.Duration(now - noon - int64(mono)).Abs(); d > jitter {
				t.Fatalf("%v away from true time", d)
			}
			if now < last {
				t.Fatalf("physical time went back by %v", time.Duration(last-now))
			}
			last = now
		}
	})
}

// TestSteerUnderLoad: callers of the hybrid clock while its wall clock is stepped forward
// by an hour and back, a hundred times. No call fails, each caller's timestamps rise.
func TestSteerUnderLoad(t *testing.T) {
	var mono atomic.Int64
	p := NewPhysical(func() time.Duration { return time.Duration(mono.Add(50)) })
	p.Steer(Target{Mono: time.Duration(mono.Load()), Unix: noon})
	c, err := New(Options{Physical: p.Now, Ceiling: Max})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var last Timestamp
			for {
				select {
				case <-stop:
					return
				default:
				}
				ts, err := c.Now()
				var lead *LeadError
				if err != nil || ts <= last {
					t.Errorf("Now = %v, %v after %v (a lead error: %v)", ts, err, last, errors.As(err, &lead))
					return
				}
				last = ts
				if lead := c.Lead(); lead > c.MaxLead() {
					t.Errorf("lead %v", lead)
					return
				}
			}
		})
	}
	held := 0
	for i := range 2000 {
		step := time.Duration(i/10%2) * time.Hour // ten targets there, ten back
		at := time.Duration(mono.Load())
		if p.Steer(Target{Mono: at, Unix: noon + int64(at+step)}).Held {
			held++
		}
		if i == 1500 {
			p.Accept()
			p.Steer(Target{Mono: at, Unix: noon + int64(at), Confirmed: true})
		}
	}
	close(stop)
	wg.Wait()
	if held != 1000 {
		t.Errorf("%d targets held, want every one of the thousand that were an hour off", held)
	}
}

// TestMonotonic: it starts near zero and does not go back. How fast it goes is no business
// of a test.
func TestMonotonic(t *testing.T) {
	mono := Monotonic()
	last := mono()
	if last < 0 {
		t.Errorf("Monotonic starts at %v", last)
	}
	for range 1000 {
		now := mono()
		if now < last {
			t.Fatalf("Monotonic went from %v to %v", last, now)
		}
		last = now
	}
}

// TestAt: physical time at a reading is what Now says at that reading.
func TestAt(t *testing.T) {
	now := time.Second
	p := NewPhysical(func() time.Duration { return now })
	if p.At(now) != 0 {
		t.Error("before the first target")
	}
	p.Steer(Target{Mono: now, Unix: 1e18, Rate: 1e-4})
	for range 3 {
		now += time.Second
		if p.At(now) != p.Now() || p.At(now-time.Second) >= p.Now() {
			t.Errorf("%d at %v, and now is %d", p.At(now), now, p.Now())
		}
	}
}
