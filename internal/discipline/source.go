package discipline

import (
	"math"
	"time"
)

const (
	// keptMax is how many samples of a source are kept, for its least delay and as witnesses.
	keptMax = 64
	// samplesMin is how many samples a source needs before it can be selected.
	samplesMin = 4
	// surprise is how many standard deviations from what was expected a sample is set aside,
	// and surprisesMax how many in a row make the filter start again.
	surprise     = 6
	surprisesMax = 3
	// quartiles are how many standard deviations of a normal distribution lie between them.
	quartiles = 1.349
	// confident is how many standard deviations bound what the filter does not know.
	confident = 3
	// rateDoubt is what a filter that starts again forgets of its rate at the least.
	rateDoubt = 10e-6
	// The poll interval that serves the filter is the one at which its memory holds between
	// memoryMin and memoryMax samples: more cost the server and gain nothing, with fewer
	// each sample moves the clock.
	memoryMin, memoryMax = 12, 36
	// leaningMax is how many samples in a row must want another interval.
	leaningMax = 4
)

// source is one source and what is known of it.
type source struct {
	id      SourceID
	options SourceOptions
	reach   uint8
	seen    bool          // it was there at a selection before
	since   time.Duration // at the first of these

	filter    filter
	noise     noise
	samples   int     // since the filter started
	rate      float64 // that it started with, and the deviation of that
	deviation float64
	surprises []Sample
	wild      int // restarts without a quiet stretch in between
	kept      []Sample
	least     float64 // delay of the kept samples, seconds
	median    float64 // excess over it
	witness   Sample  // the kept sample that proves most
	// contradicted is how far the latest sample says that the estimate is wrong at the
	// least; 0 while it agrees.
	contradicted time.Duration
	strayPPM     float64       // how fast it may have come to that; 0 while no surprise is pending
	gap          time.Duration // between the last two samples
	last         Sample
	poll         time.Duration // the interval of polls: between two samples with no lost one in between
	leaning      int           // samples in a row that want a longer interval; negative: a shorter one
	lost         bool          // a poll was lost since the latest sample
}

// add takes a sample, and returns the poll interval that would serve the filter best. rate
// is what is known of the local timeline from others, with its deviation.
func (s *source) add(sample Sample, rate, deviation float64) time.Duration {
	if s.samples > 0 && sample.Local <= s.last.Local {
		return s.poll // older than what is known
	}
	if s.samples > 0 {
		s.gap = sample.Local - s.last.Local
		if s.poll == 0 || !s.lost {
			s.poll = s.gap
		}
	}
	s.lost = false
	s.last = sample
	s.keep(sample)
	excess := sample.Delay.Seconds() - s.least
	variance := s.noise.of(sample.Delay.Seconds(), excess, s.median)
	if s.samples == 0 {
		s.begin(&sample, variance, rate, deviation)
		return s.poll
	}
	before := s.filter.at(sample.Local)
	innovation := s.filter.offsetOf(&sample) - before.x
	if math.Abs(innovation) > surprise*math.Sqrt(before.vx+variance) {
		return s.surprised(sample)
	}
	s.surprises = s.surprises[:0]
	s.noise.learn(innovation, before.vx, variance, excess)
	s.accept(&sample, variance)
	if s.noise.samples <= noiseSamples {
		s.again()
	}
	if s.samples > surprisesMax+samplesMin {
		s.wild = 0
	}
	return s.wanted(s.noise.of(s.least+s.median, s.median, s.median))
}

// begin starts the filter at a sample, and forgets those before.
func (s *source) begin(sample *Sample, variance, rate, deviation float64) {
	s.kept = append(s.kept[:0], *sample)
	s.filter.start(sample, variance, rate, deviation)
	s.samples, s.rate, s.deviation = 1, rate, deviation
	s.judge()
}

// accept takes a sample into the filter.
func (s *source) accept(sample *Sample, variance float64) {
	s.filter.update(sample, variance)
	s.samples++
	s.judge()
}

// again has the filter take all samples once more, as long as the noise is being guessed and
// when it is learnt. With each sample more is known of those before: a single quick reply of a
// slow network would else be taken for a hundred times better than it is, and never forgotten.
func (s *source) again() {
	s.samples = 0
	for i := range s.kept {
		sample := &s.kept[i]
		excess := sample.Delay.Seconds() - s.least
		variance := s.noise.of(sample.Delay.Seconds(), excess, s.median)
		if s.samples == 0 {
			s.filter.start(sample, variance, s.rate, s.deviation)
			s.samples = 1
			continue
		}
		b := s.filter.at(sample.Local)
		if math.Abs(s.filter.offsetOf(sample)-b.x) <= surprise*math.Sqrt(b.vx+variance) {
			s.filter.update(sample, variance)
			s.samples++
		}
	}
	s.judge()
}

// wanted returns the poll interval that would serve the filter best, for samples of the
// variance that is usual here: by the samples that come by chance it would go up and down.
func (s *source) wanted(variance float64) time.Duration {
	switch memory := 1 / s.filter.gain(variance); {
	case memory > memoryMax && s.samples >= memoryMax:
		s.leaning = max(s.leaning, 0) + 1
	case memory < memoryMin && s.samples >= samplesMin:
		s.leaning = min(s.leaning, 0) - 1
	default:
		s.leaning = 0
	}
	switch s.leaning {
	case leaningMax:
		s.leaning = 0
		return 2 * s.poll
	case -leaningMax:
		s.leaning = 0
		return s.poll / 2
	default:
		return s.poll
	}
}

// surprised sets a sample aside, and lets the filter start again when there are too many.
// The sample after a surprise is wanted soon.
func (s *source) surprised(sample Sample) time.Duration {
	s.surprises = append(s.surprises, sample)
	if len(s.surprises) < surprisesMax {
		s.judge()
		return s.poll / 2
	}
	held := s.surprises
	was := s.filter.at(sample.Local)
	deviation := max(rateDoubt, 10*math.Sqrt(was.vf))
	if s.wild++; s.wild > 1 {
		deviation = rateWild
	}
	// The samples from before are of another clock, or of another way to it.
	s.kept, s.surprises, s.samples = s.kept[:0], nil, 0
	s.noise = noise{}
	for _, again := range held {
		s.last = Sample{}
		s.replay(again, was.f, deviation)
	}
	return s.poll / 2
}

// replay takes a sample into a filter that has just started. It starts once more where no
// clock can have shown both this sample and the one before.
func (s *source) replay(sample Sample, rate, deviation float64) {
	s.last = sample
	s.keep(sample)
	excess := sample.Delay.Seconds() - s.least
	variance := s.noise.of(sample.Delay.Seconds(), excess, s.median)
	if s.samples > 0 {
		b := s.filter.at(sample.Local)
		ran := rateWild * (sample.Local - s.filter.local).Seconds()
		if math.Abs(s.filter.offsetOf(&sample)-b.x) <= surprise*math.Sqrt(b.vx+variance+ran*ran) {
			s.accept(&sample, variance)
			return
		}
	}
	s.begin(&sample, variance, rate, deviation)
}

// keep remembers a sample, and what the delays of those kept are.
func (s *source) keep(sample Sample) {
	if len(s.kept) == keptMax {
		copy(s.kept, s.kept[1:])
		s.kept = s.kept[:keptMax-1]
	}
	s.kept = append(s.kept, sample)
	var delays [keptMax]float64
	least := math.Inf(1)
	for i := range s.kept {
		delays[i] = s.kept[i].Delay.Seconds()
		least = math.Min(least, delays[i])
	}
	s.least = least
	s.median = median(delays[:len(s.kept)]) - least // sorts
	s.noise.spread = (delays[len(s.kept)*3/4] - delays[len(s.kept)/4]) / (2 * quartiles)
}

// judge chooses the witness: of the samples kept, the one that proves most.
func (s *source) judge() {
	now := s.last.Local
	b := s.filter.at(now)
	best := time.Duration(math.MaxInt64)
	for i := range s.kept {
		if bound := s.proves(&s.kept[i], &b, now); bound <= best {
			best, s.witness = bound, s.kept[i]
		}
	}
	s.contradicted, s.strayPPM = 0, 0
	off := s.off(&s.last, &b, now)
	switch wrong := saturated(off, within(&s.last)); {
	case len(s.surprises) > 0:
		// Either what the source says is wrong, or what the filter believes of the rate: the
		// other samples, which were carried here at that rate, prove nothing any more.
		s.contradicted = wrong
		s.strayPPM = wrong.Seconds() / s.gap.Seconds() * 1e6
	case off > within(&s.last):
		s.contradicted = wrong
	}
}

// skew returns how uncertain the rate is after it has wandered for an age. No oscillator is
// off by more than is assumed of one that nobody knows, unless it has shown that it is.
func (s *source) skew(b *state, age time.Duration) float64 {
	t := math.Max(0, age.Seconds())
	skew := s.fewness() * math.Sqrt(b.doubt+b.wander*b.wander*t+b.bend*b.bend*t*t)
	if s.wild == 0 {
		skew = math.Min(skew, rateUnknown)
	}
	return skew
}

// fewness is by how much more than with many samples a deviation that was measured with few
// must be taken: Student's quantile of 99.9 % over its limit. The first samples can agree
// with each other by chance.
func (s *source) fewness() float64 {
	quantiles := [...]float64{636.6, 636.6, 636.6, 636.6, 31.6, 12.9, 8.61, 6.87, 5.96, 5.41, 5.04, 4.78, 4.59, 4.44, 4.32, 4.22}
	if s.samples < len(quantiles) {
		return quantiles[s.samples] / 3.29
	}
	return 1 + 3/float64(s.samples)
}

// within is how far the truth can have been from the source's word at the sample.
func within(sample *Sample) time.Duration {
	return saturated(half(sample.Delay), sample.Dispersion, half(sample.RootDelay), sample.RootDispersion)
}

// half returns half of a duration's size, rounded up.
func half(d time.Duration) time.Duration { return d.Abs()/2 + d.Abs()%2 }

// saturated returns the sum of the sizes of durations, or the largest duration there is: a
// bound that wrapped around would prove anything.
func saturated(parts ...time.Duration) time.Duration {
	var sum time.Duration
	for _, part := range parts {
		if part = part.Abs(); sum > math.MaxInt64-part {
			return math.MaxInt64
		}
		sum += part
	}
	return sum
}

// off returns how far the estimate is at now from what the sample says, carried there at the
// estimated rate.
func (s *source) off(sample *Sample, b *state, now time.Duration) time.Duration {
	carried := s.filter.offsetOf(sample) + b.f*(now-sample.Local).Seconds()
	return nanoseconds(math.Abs(b.x - carried))
}

// proves returns how far the truth can be from the estimate at now, by one sample alone: as
// far as the estimate is from what the sample says, as far as that is from the truth, and
// what the clock may have drifted since beyond what is known of its rate.
func (s *source) proves(sample *Sample, b *state, now time.Duration) time.Duration {
	age := now - sample.Local
	drifted := nanoseconds(growth(s.skew(b, age)) * 1e-6 * age.Seconds())
	return saturated(s.off(sample, b, now), within(sample), drifted)
}

// belief is what a source says at one instant, with what it can be wrong by.
type belief struct {
	state
	remote         int64 // leap-free scale
	distance       time.Duration
	rootDelay      time.Duration
	rootDispersion time.Duration // all of distance that is not half the root delay
	growthPPM      float64
	spread         float64 // wander as a bound has it
	turn           float64 // bend as a bound has it
}

// believe returns what the source says at now. It needs a sample at the least.
func (s *source) believe(now time.Duration) belief {
	b := belief{state: s.filter.at(now)}
	b.remote = int64(now) + s.filter.base + int64(nanoseconds(b.x))
	b.growthPPM = math.Max(growth(s.skew(&b.state, now-s.last.Local)), s.strayPPM)
	b.spread, b.turn = s.fewness()*b.wander, s.fewness()*b.bend
	b.distance = s.proves(&s.witness, &b.state, now)
	if contradicted := s.contradicted; contradicted > 0 {
		b.distance = max(b.distance, saturated(contradicted, nanoseconds(b.growthPPM*1e-6*(now-s.last.Local).Seconds())))
	}
	b.rootDelay = saturated(s.witness.RootDelay, s.witness.Delay)
	b.rootDispersion = max(0, b.distance-half(b.rootDelay))
	return b
}

// reset forgets offsets and keeps the rate: after the machine slept, time has gone by that
// the local timeline does not know well.
func (s *source) reset() {
	s.kept, s.surprises, s.samples, s.contradicted = s.kept[:0], nil, 0, 0
}
