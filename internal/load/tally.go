package load

import (
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
)

// tally is what one thread counts in one step.
type tally struct {
	step       Step // its counts; the spreads come last
	roundTrip  histogram
	processing histogram
	offset     histogram
	request    histogram
	lag        histogram
	unread     float64       // nanoseconds that answers lay here before they were read, all together
	waited     time.Duration // of the time measured, all threads together
	ran        time.Duration // the time measured, all threads together
}

// reset empties it.
func (t *tally) reset() { *t = tally{step: Step{Kisses: t.step.Kisses[:0]}} }

// answered counts an answer that arrived at wall, Unix nanoseconds, and was read age later.
func (t *tally) answered(a *answer, wall, age int64, stamped bool) {
	sample := ntp.Sample{
		Origin:      ntp.FromUnix(wall - a.took),
		Receive:     a.header.Receive,
		Transmit:    a.header.Transmit,
		Destination: ntp.FromUnix(wall),
	}
	t.roundTrip.add(a.took)
	t.processing.add(int64(sample.Transmit.Sub(sample.Receive)))
	t.request.add(int64(sample.Receive.Sub(sample.Origin)))
	t.offset.add(int64(sample.Offset()))
	if stamped {
		t.step.Stamped++
		t.unread += float64(max(age, 0))
	}
	if a.unsynchronised {
		t.step.Unsynchronised++
	}
}

// kissed counts a kiss code.
func (t *tally) kissed(code ntp.RefID, n uint64) {
	for i := range t.step.Kisses {
		if k := &t.step.Kisses[i]; k.Code == code || i == kissesMax {
			k.Count += n
			return
		}
	}
	if len(t.step.Kisses) == kissesMax {
		code = 0
	}
	t.step.Kisses = append(t.step.Kisses, Kisses{code, n})
}

// merge adds what another thread has counted in the same step.
func (t *tally) merge(other *tally) {
	s, o := &t.step, &other.step
	s.Wanted += o.Wanted
	s.Measured = max(s.Measured, o.Measured)
	s.Sent += o.Sent
	s.Unsent += o.Unsent
	s.Refused += o.Refused
	s.Dropped += o.Dropped
	for v := range s.Counts {
		s.Counts[v] += o.Counts[v]
	}
	s.Unsynchronised += o.Unsynchronised
	s.Stamped += o.Stamped
	for _, k := range o.Kisses {
		t.kissed(k.Code, k.Count)
	}
	s.CPU = max(s.CPU, o.CPU) // each has that of the whole process
	t.roundTrip.merge(&other.roundTrip)
	t.processing.merge(&other.processing)
	t.offset.merge(&other.offset)
	t.request.merge(&other.request)
	t.lag.merge(&other.lag)
	t.unread += other.unread
	t.waited += other.waited
	t.ran += other.ran
}

// result returns the step with all that follows from the counts.
func (t *tally) result() Step {
	s := t.step
	s.Kisses = append([]Kisses(nil), s.Kisses...)
	s.RoundTrip, s.Processing = t.roundTrip.spread(), t.processing.spread()
	s.Offset, s.Request, s.Lag = t.offset.spread(), t.request.spread(), t.lag.spread()
	if t.ran > 0 {
		s.Busy = 1 - float64(t.waited)/float64(t.ran)
	}
	if s.Stamped > 0 {
		s.Unread = time.Duration(t.unread / float64(s.Stamped))
	}
	return s
}
