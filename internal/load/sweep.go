package load

// sweepStepsMax bounds the steps, triesMax the times that a step is tried: what shares the machine
// may have taken it from us meanwhile.
const (
	sweepStepsMax = 64
	triesMax      = 3
)

// search finds the highest rate that is held: it goes up by a factor until a rate is not
// held, then halves the gap until that is small.
type search struct {
	rate       float64 // to be tried now
	most       float64
	factor     float64
	resolution float64 // as a fraction
	held       float64 // the highest rate that was held; 0 where none was
	failed     float64 // the lowest that was not; 0 where none was
	tries      int     // of this rate
	steps      int
	done       bool
}

// took tells how the rate was: held or not. It sets the next rate, or that it is done.
func (s *search) took(held bool) {
	s.tries++
	if !held && s.tries < triesMax {
		return
	}
	s.tries = 0
	s.steps++
	if held {
		s.held = s.rate
	} else {
		s.failed = s.rate
	}
	switch {
	case s.steps == sweepStepsMax,
		s.failed == 0 && s.rate >= s.most,                   // all were held
		s.failed > 0 && s.held == 0,                         // not even the first was
		s.failed > 0 && s.failed <= s.held*(1+s.resolution): // near enough
		s.done = true
	case s.failed == 0:
		s.rate = min(s.rate*s.factor, s.most)
	default:
		s.rate = (s.held + s.failed) / 2
	}
}
