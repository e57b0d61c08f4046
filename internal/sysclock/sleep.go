package sysclock

import "time"

// sleepMeter finds how long the machine has been suspended: the distance between a clock
// that counts suspend and one that does not. They cannot be read at the same instant, and
// what comes between the readings must never look like sleep. So each reading of the one
// stands between two of the other, which bound the distance on both sides; a distance that
// is possible is kept, and another is adopted only from readings that are close together.
// The kept distance is then wrong by less than sleepGrain, and never changes while the
// true one does not.
type sleepMeter struct {
	asleep time.Duration
}

const (
	// sleepGrain is the shortest suspend that is told from a disturbed reading.
	sleepGrain = time.Millisecond
	// sleepTries is how many readings are given up as too far apart.
	sleepTries = 100
)

// look takes a reading of the clock that counts suspend, and of the other one before and
// after it. It returns false when these are too far apart to tell.
func (m *sleepMeter) look(before, boot, after time.Duration) bool {
	least, most := boot-after, boot-before
	if least-sleepGrain <= m.asleep && m.asleep <= most+sleepGrain {
		return true
	}
	if most-least > sleepGrain {
		return false
	}
	m.asleep = least + (most-least)/2
	return true
}
