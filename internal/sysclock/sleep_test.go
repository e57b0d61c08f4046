package sysclock

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestSleepMeter(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name               string
		known              time.Duration
		before, gap1, gap2 time.Duration // of the first reading, and between the three
		asleep             time.Duration // in truth
		want               time.Duration
		tight              bool
	}{
		{"never slept", 0, time.Hour, 100, 100, 0, 0, true},
		{"never slept, disturbed", 0, time.Hour, 40 * ms, 50 * ms, 0, 0, true},
		{"slept before", 0, time.Hour, 100, 100, time.Hour, time.Hour, true},
		{"slept before, disturbed", 0, time.Hour, 2 * ms, 100, time.Hour, 0, false},
		{"slept before, disturbed after", 0, time.Hour, 100, 2 * ms, time.Hour, 0, false},
		{"slept again", time.Hour, time.Hour, 100, 100, 2 * time.Hour, 2 * time.Hour, true},
		{"as before", time.Hour, time.Hour, 100, 100, time.Hour, time.Hour, true},
		{"as before, disturbed", time.Hour, time.Hour, 40 * ms, 50 * ms, time.Hour, time.Hour, true},
		{"as before to the grain", time.Hour - sleepGrain, time.Hour, 0, 0, time.Hour, time.Hour - sleepGrain, true},
		{"beyond the grain", time.Hour - sleepGrain - 1, time.Hour, 0, 0, time.Hour, time.Hour, true},
		// A namespace of time may set either clock to anything.
		{"behind", 0, time.Hour, 100, 100, -time.Hour, -time.Hour, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := sleepMeter{asleep: test.known}
			boot := test.before + test.gap1 + test.asleep
			if got := m.look(test.before, boot, test.before+test.gap1+test.gap2); got != test.tight {
				t.Errorf("look = %v, want %v", got, test.tight)
			}
			if m.asleep != test.want {
				t.Errorf("asleep %v, want %v", m.asleep, test.want)
			}
		})
	}
}

// However the readings are disturbed, what the meter says changes when the machine has
// slept, then only, and is right to the grain.
func TestSleepMeterNeverFlaps(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	disturbance := func() time.Duration { // from 1 ns to 1 s
		return time.Duration(1) << random.IntN(31)
	}
	for range 100 {
		var m sleepMeter
		truth := 3*time.Second + time.Duration(random.Int64N(int64(time.Hour)))
		mono := time.Hour
		read := func() {
			for range sleepTries {
				before := mono
				boot := before + disturbance()
				mono = boot + disturbance()
				if m.look(before, boot+truth, mono) {
					return
				}
			}
		}
		for range 3 {
			read()
			settled := m.asleep
			if off := (settled - truth).Abs(); off > sleepGrain {
				t.Fatalf("seed %d: asleep %v, in truth %v", seed, settled, truth)
			}
			for range 1000 {
				if read(); m.asleep != settled {
					t.Fatalf("seed %d: asleep went from %v to %v, in truth %v all the time", seed, settled, m.asleep, truth)
				}
			}
			// Longer than two readings are ever apart here, as at first: what is shorter can hide in between.
			truth += 3*time.Second + time.Duration(random.Int64N(int64(time.Hour)))
		}
	}
}
