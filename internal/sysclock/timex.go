package sysclock

// What adjtimex(2) takes and gives, as numbers, so that what is done with them can be
// tested on any system against a model of the kernel.
// Source: Linux, include/uapi/linux/timex.h and kernel/time/ntp.c.

import (
	"fmt"
	"math"
	"time"
)

// timex is the part of struct timex that is used here.
type timex struct {
	modes     uint32
	status    int32
	offset    int64 // µs, or ns with staNano
	freq      int64 // 2⁻¹⁶ ppm
	tolerance int64 // the largest freq that the kernel keeps
	tick      int64 // µs in each hundredth of a second
	maxerror  int64 // µs
	esterror  int64 // µs
	constant  int64
	sec, nsec int64 // of a step; nsec is 0 to 999,999,999, and sec is negative for a step back
	tai       int64
}

// adjuster is the one system call behind a KernelClock: it applies t.modes, fills in t with
// the state after it, and returns the state of the leap second.
type adjuster func(t *timex) (state int, err error)

// The modes.
const (
	adjOffset           = 0x0001
	adjFrequency        = 0x0002
	adjMaxError         = 0x0004
	adjEstError         = 0x0008
	adjStatus           = 0x0010
	adjTAI              = 0x0080
	adjSetOffset        = 0x0100
	adjNano             = 0x2000
	adjTick             = 0x4000
	adjOffsetSingleshot = 0x8001 // adjtime(3); excludes all others
	adjOffsetSSRead     = 0xa001 // its remainder
)

// The status bits.
const (
	staPLL      = 0x0001
	staPPSFreq  = 0x0002
	staPPSTime  = 0x0004
	staFLL      = 0x0008
	staIns      = 0x0010
	staDel      = 0x0020
	staUnsync   = 0x0040
	staFreqHold = 0x0080
	staNano     = 0x2000
	// staLoops are the ways in which the kernel steers the clock by itself.
	staLoops = staPLL | staFLL | staPPSFreq | staPPSTime
	staLeap  = staIns | staDel
)

// The states of the leap second.
const (
	timeOK = iota
	timeIns
	timeDel
	timeOop  // the inserted second itself
	timeWait // over, and not yet withdrawn
	timeError
)

const (
	freqPerPPM = 1 << 16
	freqMaxPPM = 500 // beyond it the kernel cuts off without a word
	// tickNominal is the length of the kernel's tick in microseconds, at 100 a second; one
	// more or less is a hundred millionths.
	tickNominal = 10_000
	tickMin     = 9_000
	tickMax     = 11_000
	ppmPerTick  = 100
	// rateMaxPPM is what tick alone reaches; the kernel refuses what is beyond a tenth.
	rateMaxPPM = (tickMax - tickNominal) * ppmPerTick
	// phaseLimit is the largest error that the kernel keeps, in µs. One that has grown to it
	// makes the clock unsynchronised.
	phaseLimit = 16_000_000
)

// ratePPM is the rate of a clock with the given frequency and tick: the kernel adds them.
func ratePPM(freq, tick int64) float64 {
	return float64(freq)/freqPerPPM + float64(tick-tickNominal)*ppmPerTick
}

// splitRate finds the frequency and the tick for a rate. The tick, whose grain is coarse,
// stays what it is by birth as long as the frequency alone can do it.
func splitRate(ppm float64) (freq, tick int64, err error) {
	if !(math.Abs(ppm) <= rateMaxPPM) { // no number is refused, too
		return 0, 0, fmt.Errorf("%v ppm is beyond the %d ppm that the kernel can do", ppm, rateMaxPPM)
	}
	tick = tickNominal
	if math.Abs(ppm) > freqMaxPPM {
		tick += int64(math.Round(ppm / ppmPerTick))
	}
	rest := ppm - float64(tick-tickNominal)*ppmPerTick
	return int64(math.Round(rest * freqPerPPM)), tick, nil
}

// micros rounds a bound up to what the kernel counts in, and never beyond its limit.
func micros(d time.Duration) int64 {
	us := int64(d / time.Microsecond)
	if d%time.Microsecond > 0 {
		us++
	}
	return min(us, phaseLimit)
}

// stepParts splits a step into seconds and the nanoseconds to be added to them, which the
// kernel wants not to be negative.
func stepParts(by time.Duration) (sec, nsec int64) {
	sec, nsec = int64(by/time.Second), int64(by%time.Second)
	if nsec < 0 {
		sec, nsec = sec-1, nsec+int64(time.Second)
	}
	return sec, nsec
}
