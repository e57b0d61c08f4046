package sim

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

// watched is a node without servers whose snapshots a test makes.
type watched struct {
	run  *run
	node *node
}

// newWatched returns one with a clock that is right.
func newWatched(limits Limits) *watched {
	s := &Scenario{Limits: limits, Setup: func(*rand.Rand) Site { return alone(Oscillator{}, 0) }, Trace: true}
	site := s.Setup(nil)
	r := open(s, &site, 1)
	return &watched{r, r.nodes[0]}
}

// claim lets a second pass and has a snapshot looked at that serves a time off by wrong, with
// a bound.
func (w *watched) claim(wrong, bound time.Duration) *clock.Snapshot {
	w.run.now += sec
	mono, unix := w.node.machine.Glance()
	s := &clock.Snapshot{Time: clock.Map{From: int64(mono), To: unix + int64(wrong)}, Kernel: clock.Map{To: int64(wrong)}}
	s.Judgement = clock.Judgement{State: clock.Synchronised, RootDispersion: bound, GrowthPPM: 1}
	w.node.recorder.observe(w.node, s, true)
	return s
}

func (w *watched) result() Result { return w.node.recorder.finish(w.node) }

func TestRecorderFindsViolations(t *testing.T) {
	w := newWatched(Limits{Error: ms, Blind: []Window{{10 * time.Second, 20 * time.Second}}})
	for i := range 40 {
		wrong, bound := 100*us, ms
		switch i + 1 {
		case 5:
			wrong = -ms // as large as the bound
		case 12:
			wrong = time.Second // nobody can know
		case 20, 30:
			wrong = -ms - 1
		}
		w.claim(wrong, bound)
	}
	r := w.result()
	if r.Violations != 2 || r.Violation.At != 20*time.Second || r.Violation.Error != -ms-1 || r.Violation.Bound != ms {
		t.Errorf("%d violations, the first %+v", r.Violations, r.Violation)
	}
	if r.Synced != time.Second || r.Settled != 31*time.Second {
		t.Errorf("synchronised at %v, settled at %v", r.Synced, r.Settled)
	}
	w = newWatched(Limits{Error: ms, Blind: []Window{{5 * time.Second, 6 * time.Second}}})
	for i := range 8 {
		w.claim(map[int]time.Duration{4: time.Second, 7: ms + 1}[i], time.Minute)
		if r := w.result(); i == 6 && r.Settled != time.Second || i == 7 && r.Settled != Never {
			t.Errorf("settled at %v after %d s", r.Settled, i+1)
		}
	}
	if r.Seconds != 30 || r.Worst != ms+1 || len(r.Trace) != 40 {
		t.Errorf("%d seconds, worst %v", r.Seconds, r.Worst)
	}
}

// TestRecorderLooksTwice lets a bound shrink below the error between two regular looks.
func TestRecorderLooksTwice(t *testing.T) {
	w := newWatched(Limits{})
	s := w.claim(0, ms)
	w.run.now += sec
	w.node.machine.oscillator.Frequency = 0.01
	w.node.machine.look()
	w.run.now += sec
	w.node.recorder.observe(w.node, s, false)
	r := w.result()
	if r.Violations != 1 || r.Seconds != 1 {
		t.Errorf("%d violations in %d seconds", r.Violations, r.Seconds)
	}
	// A stamp of the kernel is served as well.
	w = newWatched(Limits{})
	s = w.claim(0, 500*us)
	w.node.machine.jump(int64(-900 * us))
	w.node.recorder.observe(w.node, s, false)
	if r := w.result(); r.Violations != 1 || r.Violation.Error != -900*us {
		t.Errorf("%d violations by a stamp that is wrong: %+v", r.Violations, r.Violation)
	}
	// A clock that was set since is noticed by the daemon.
	w = newWatched(Limits{})
	s = w.claim(0, ms)
	w.node.machine.jump(sec)
	w.node.recorder.observe(w.node, s, false)
	if r := w.result(); r.Violations != 0 {
		t.Error("a step that is noticed is a violation")
	}
}

func TestRecorderFigures(t *testing.T) {
	w := newWatched(Limits{From: 11 * time.Second})
	for i := range 110 {
		switch {
		case i < 10:
			w.claim(time.Second, 2*time.Second)
		case i < 50:
			w.claim(300*us, 10*ms)
		default:
			w.claim(-400*us, 20*ms)
		}
	}
	r := w.result()
	near := func(got, want, within time.Duration) bool { return (got - want).Abs() <= within }
	if r.Seconds != 100 || !near(r.RMSError, 363318, 1000) || r.Worst != 400*us || !near(r.MedianBound, 20*ms, 400*us) || r.WorstBound != 20*ms {
		t.Errorf("%+v", r)
	}
}

func TestRecorderFindsJumpsBack(t *testing.T) {
	w := newWatched(Limits{})
	w.node.recorder.updates = func() uint64 { return 3 }
	w.claim(0, ms)
	w.claim(-5*ms, ms)
	if r := w.result(); r.Back != 0 {
		t.Errorf("a jump back by %v in the first updates", r.Back)
	}
	w.node.recorder.updates = func() uint64 { return 4 }
	for _, wrong := range []time.Duration{0, -2 * ms, 5 * ms, 4 * ms} {
		w.claim(wrong, ms)
	}
	if r := w.result(); r.Back != 2*ms {
		t.Errorf("back by %v", r.Back)
	}
}

func TestRecorderCountsSteps(t *testing.T) {
	w := newWatched(Limits{})
	for updates := range uint64(6) {
		w.node.recorder.updates = func() uint64 { return updates }
		w.run.now += sec
		w.node.tap.Step(-time.Second)
	}
	r := w.result()
	if len(r.Steps) != 6 || r.LateSteps != 2 || r.Steps[5] != (Step{6 * time.Second, -time.Second, 5}) {
		t.Errorf("%d steps, %d of them late: %+v", len(r.Steps), r.LateSteps, r.Steps)
	}
}

func TestBuckets(t *testing.T) {
	for d := time.Duration(1); d < time.Hour; d += 1 + d/50 {
		if got := bucketValue(bucket(d)); (got - d).Abs() > 1+d/100 {
			t.Errorf("%v becomes %v", d, got)
		}
	}
	if i := bucket(Never); i >= 64<<boundBits {
		t.Errorf("the largest is in bucket %d", i)
	}
}

// TestJudge breaks each limit in turn.
func TestJudge(t *testing.T) {
	s := Scenario{
		Limits: Limits{
			Synced: 10 * time.Second, Error: ms, Settled: time.Minute, RMSError: 100 * us, MedianBound: 10 * ms, RateRMS: ppm,
			Steps: 2, LateSteps: 0, States: []clock.State{clock.Unsynchronised, clock.Synchronised},
		},
		Check: func(r *Result) error {
			if r.Samples == 0 {
				return errors.New("no samples")
			}
			return nil
		},
	}
	good := func() *Result {
		return &Result{
			Synced: 10 * time.Second, Settled: time.Minute, Seconds: 5, RMSError: 100 * us, MedianBound: 10 * ms, RateRMS: ppm,
			Steps: make([]Step, 2), Changes: []Change{{State: clock.Unsynchronised}, {State: clock.Synchronised}}, Samples: 1,
			Back: backMax,
		}
	}
	if err := s.Judge(good()); err != nil {
		t.Fatalf("what keeps all limits breaks one: %v", err)
	}
	for want, breaks := range map[string]func(*Result){
		"E was violated": func(r *Result) { r.Violations = 1 },
		"synchronised: ": func(r *Result) { r.Synced++ },
		"for good":       func(r *Result) { r.Settled = Never },
		"was claimed":    func(r *Result) { r.Seconds = 0 },
		"rms: 100.001µs": func(r *Result) { r.RMSError++ },
		"median of E":    func(r *Result) { r.MedianBound++ },
		"rate":           func(r *Result) { r.RateRMS *= 1.01 },
		"3 steps":        func(r *Result) { r.Steps = make([]Step, 3) },
		"third update":   func(r *Result) { r.LateSteps = 1 },
		"jump back":      func(r *Result) { r.Back++ },
		"states":         func(r *Result) { r.Changes = r.Changes[:1] },
		"no samples":     func(r *Result) { r.Samples = 0 },
	} {
		r := good()
		breaks(r)
		if err := s.Judge(r); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", want, err)
		}
	}
	s.Limits = Limits{Steps: 9, LateSteps: 1}
	loose := good()
	loose.Synced, loose.Settled, loose.RMSError, loose.Back, loose.Changes = Never, Never, time.Hour, time.Hour, nil
	if err := s.Judge(loose); err != nil {
		t.Errorf("without limits: %v", err)
	}
}

// TestOutageChecks feeds the two checks of an outage with bounds that do not do what they
// state.
func TestOutageChecks(t *testing.T) {
	const from, to, limit = time.Hour, 3 * time.Hour, 50 * ms
	// grow makes an outage in which the bound of 10 ms grows by rate, and is said to by stated.
	grow := func(rate, stated float64, gone time.Duration) *Result {
		r := &Result{}
		for at := from - time.Minute; at < to+time.Minute; at += time.Second {
			o := Observation{At: at, Bound: 10*ms + time.Duration(rate*ppm*float64(max(0, at-from)))}
			o.GrowthPPM, o.State = stated, clock.Holdover
			if at >= gone && at < to {
				o.Bound, o.State, o.Leap, o.Stratum = Never, clock.Unsynchronised, clock.LeapUnknown, clock.StratumUnsynchronised
			}
			r.Trace = append(r.Trace, o)
		}
		return r
	}
	for _, test := range []struct {
		name       string
		r          *Result
		hold, over bool
	}{
		{"right", grow(10, 10, from+4000*time.Second), true, true},
		{"too slow", grow(5, 10, Never), false, false},
		{"no growth", grow(0.5, 0.5, Never), false, false},
		{"not noticed", grow(10, 10, from+4100*time.Second), true, false},
		{"too soon", grow(10, 10, from+3000*time.Second), true, false},
		{"at once", grow(10, 10, from), false, false},
	} {
		hold, over := holdsOver(from, to)(test.r), crosses(test.r, limit, from, to)
		if (hold == nil) != test.hold || (over == nil) != test.over {
			t.Errorf("%s: %v, %v", test.name, hold, over)
		}
	}
	silent := grow(10, 10, from+4000*time.Second)
	for i := range silent.Trace {
		silent.Trace[i].Leap = clock.LeapNone
	}
	if crosses(silent, limit, from, to) == nil {
		t.Error("the leap indicator does not matter")
	}
}
