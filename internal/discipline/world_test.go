package discipline

import (
	"flag"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run the worlds with this seed alone")
	seedsFlag = flag.Uint64("seeds", 3, "run the worlds with so many seeds")
)

// eachSeed calls f with the seeds that are to be run.
func eachSeed(f func(seed uint64)) {
	if *seedFlag != 0 {
		f(*seedFlag)
		return
	}
	for seed := range *seedsFlag {
		f(seed + 1)
	}
}

// world is one source over one network, as simple as it can be: the local timeline runs
// evenly, and the truth wanders against it. Times at are seconds since the start.
type world struct {
	seed  uint64
	hours int
	every int // seconds from one look at the estimate to the next; 0: 1

	poll    time.Duration // 0: what the filter wants, within the next two
	pollMin time.Duration // 0: 16 s
	pollMax time.Duration // 0: 64 s

	rate  float64                  // of the truth, less 1
	swing float64                  // of the rate over a day, peak
	walk  float64                  // of the rate, per square root of a second
	drift func(at float64) float64 // added to the rate

	way    float64 // seconds, each
	jitter func(*rand.Rand) float64
	loss   float64
	change func(at float64) (out, back float64) // added to either way
	jump   func(at float64) float64             // of the source's clock
	stop   float64                              // after it there are no samples any more; 0: never
	back   float64                              // but from this on there are again; 0: never
}

// figures is what became of an estimate in a world.
type figures struct {
	rms, worst float64 // error after the first half an hour, seconds
	bound      float64 // median, after the same
	boundWorst float64 // largest, after the same
	violations int     // looks at which the error was beyond the bound
	first      string  // the first of those
	excess     float64 // most that the error was beyond, as a share of the bound
	synced     float64 // at this time the error was above a millisecond for the last time
	rateError  float64 // at the end
	polls      int
	changes    int // of the poll interval
	last       time.Duration
	held       Estimate // the last valid one, and what has become of it
	end        Estimate
	truth      float64 // offset at the end
}

func uniform(half float64) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return (2*r.Float64() - 1) * half }
}

func exponential(mean float64) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return r.ExpFloat64() * mean }
}

func normal(deviation float64) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return r.NormFloat64() * deviation }
}

func (w *world) rateAt(at float64) float64 {
	rate := w.rate + w.swing*math.Sin(2*math.Pi*at/86400)
	if w.drift != nil {
		rate += w.drift(at)
	}
	return rate
}

// exchange returns a sample at a local instant, or false where it was lost.
func (w *world) exchange(r *rand.Rand, at, truth float64) (Sample, bool) {
	if r.Float64() < w.loss || w.stop > 0 && at >= w.stop && (w.back == 0 || at < w.back) {
		return Sample{}, false
	}
	out, back := w.way+w.jitter(r), w.way+w.jitter(r)
	if w.change != nil {
		o, b := w.change(at)
		out, back = out+o, back+b
	}
	out, back = math.Max(out, 1e-6), math.Max(back, 1e-6)
	offset := truth + (out-back)/2
	if w.jump != nil {
		offset += w.jump(at)
	}
	local := time.Duration(at * 1e9)
	return Sample{
		Local:      local,
		Remote:     int64(local) + int64(offset*1e9),
		Delay:      time.Duration((out + back) * 1e9),
		Dispersion: time.Microsecond,
		Stratum:    1,
	}, true
}

// poller polls as upstream.Association does: a burst, then what the filter wants.
type poller struct {
	w     *world
	d     *Discipline
	id    SourceID
	reach uint8
	next  int
	poll  time.Duration
}

func (p *poller) due(r *rand.Rand, second int, truth float64, f *figures) {
	if second < p.next {
		return
	}
	f.polls++
	sample, ok := p.w.exchange(r, float64(second), truth)
	p.reach <<= 1
	if ok {
		p.reach |= 1
	}
	p.d.Reach(p.id, p.reach)
	if ok {
		want := p.d.Add(p.id, sample)
		if p.w.poll == 0 && f.polls > 4 {
			log2 := time.Duration(math.Exp2(math.Round(math.Log2(want.Seconds())))) * time.Second
			before := p.poll
			p.poll = min(max(min(log2, 2*p.poll), p.w.pollMin), p.w.pollMax)
			if p.poll != before {
				f.changes++
			}
		}
	}
	if p.next = second + int(p.poll.Seconds()); f.polls <= 3 {
		p.next = second + 2
	}
}

// run lets a Discipline with one source live in the world.
func (w *world) run(t *testing.T, d *Discipline) figures {
	t.Helper()
	if w.pollMin == 0 {
		w.pollMin = 16 * time.Second
	}
	if w.pollMax == 0 {
		w.pollMax = 64 * time.Second
	}
	w.every = max(w.every, 1)
	r := rand.New(rand.NewPCG(w.seed, 1))
	p := poller{w: w, d: d, id: d.Open(SourceOptions{Name: "s"}), poll: w.pollMin}
	if w.poll != 0 {
		p.poll = w.poll
	}
	var f figures
	var walked, truth, sum float64
	var bounds []float64
	for second := range w.hours * 3600 {
		at := float64(second)
		p.due(r, second, truth, &f)
		f.last = p.poll
		walked += w.walk * r.NormFloat64()
		rate := w.rateAt(at) + walked
		if second%w.every == 0 {
			local := time.Duration(second) * time.Second
			s := d.Select(local)
			if s.Valid {
				f.held = s.Estimate
			}
			if f.held.Updates > 0 {
				f.end = f.held.At(local)
				bound := f.look(at, truth, f.end)
				f.rateError = f.held.Frequency - rate
				f.truth = truth
				if second > 1800 {
					e := seconds(f.end.Remote-int64(local)) - truth
					sum += e * e
					bounds = append(bounds, bound)
				}
			}
		}
		truth += rate
	}
	if len(bounds) > 0 {
		f.rms, f.bound = math.Sqrt(sum/float64(len(bounds))), median(slices.Clone(bounds))
	}
	return f
}

// look compares an estimate with the truth, and returns the bound.
func (f *figures) look(at, truth float64, e Estimate) (bound float64) {
	off := seconds(e.Remote-int64(e.Local)) - truth
	bound = (half(e.RootDelay) + e.RootDispersion).Seconds()
	if math.Abs(off) > bound {
		if f.violations++; f.violations == 1 {
			f.first = time.Duration(at * 1e9).String()
		}
		f.excess = math.Max(f.excess, math.Abs(off)/bound-1)
	}
	if math.Abs(off) > 1e-3 {
		f.synced = at
	}
	if at > 1800 {
		f.boundWorst = math.Max(f.boundWorst, bound)
		f.worst = math.Max(f.worst, math.Abs(off))
	}
	return bound
}
