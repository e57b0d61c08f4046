package sysclock

import (
	"errors"
	"math"
	"time"
)

// kernelModel is a kernel's clock as Linux keeps it, and the seconds of its life one by
// one: what happens at the turn of a second is done there, in the kernel's order.
type kernelModel struct {
	local   time.Duration // time passed
	wall    int64         // Unix nanoseconds
	part    float64       // of a nanosecond
	asleep  time.Duration
	mayNot  bool // without CAP_SYS_TIME
	noPulse bool // built without support for a pulse per second
	calls   int
	failing func(*timex) error // nil: none fails

	freq, tick         int64
	status             int32
	state              int
	leapAt             int64 // Unix seconds
	maxerror, esterror int64
	tai                int64
	phase              float64 // ns that the loop has still to remove
	adjtime            int64   // µs
	gain               float64 // ns that this second is longer, besides the rate
}

// modelStart is ten seconds before the end of 2026-11-22.
const modelStart = 1_795_391_990

// newKernelModel is a kernel that somebody else has steered, and left in the middle of it.
func newKernelModel() *kernelModel {
	return &kernelModel{
		wall: modelStart * int64(time.Second), freq: -12.5 * freqPerPPM, tick: 10_010,
		status: staPLL | staFLL | staPPSFreq | staIns | staNano, leapAt: math.MaxInt64,
		maxerror: 1234, esterror: 567, tai: 37, phase: 4e6, adjtime: 100_000,
	}
}

var (
	errModelPermission = errors.New("operation not permitted")
	errModelInvalid    = errors.New("invalid argument")
)

// adjust is adjtimex(2).
func (m *kernelModel) adjust(t *timex) (int, error) {
	m.calls++
	if m.failing != nil {
		if err := m.failing(t); err != nil {
			return 0, err
		}
	}
	single := t.modes&0x8000 != 0
	switch {
	case single && t.modes&1 == 0:
		return 0, errModelInvalid
	case m.mayNot && t.modes != 0 && t.modes != adjOffsetSSRead:
		return 0, errModelPermission
	case !single && t.modes&adjTick != 0 && (t.tick < 9000 || t.tick > 11000):
		return 0, errModelInvalid
	case !single && t.modes&adjSetOffset != 0 && (t.nsec < 0 || t.modes&adjNano == 0 && t.nsec >= 1e6 || t.nsec >= 1e9):
		return 0, errModelInvalid
	}
	if !single && t.modes&adjSetOffset != 0 {
		if err := m.inject(t); err != nil {
			return 0, err
		}
	}
	if single {
		before := m.adjtime
		if t.modes&0x2000 == 0 {
			m.adjtime = t.offset
		}
		t.offset = before
	} else {
		m.apply(t)
		t.offset = int64(m.phase)
		if m.status&staNano == 0 {
			t.offset /= 1000
		}
	}
	t.freq, t.tick, t.tolerance, t.status = m.freq, m.tick, 500<<16, m.status
	t.maxerror, t.esterror, t.tai = m.maxerror, m.esterror, m.tai
	if m.status&staUnsync != 0 || !m.noPulse && m.status&(staPPSFreq|staPPSTime) != 0 {
		return timeError, nil
	}
	return m.state, nil
}

// inject sets the clock, but not to before the machine started.
func (m *kernelModel) inject(t *timex) error {
	nsec := t.nsec
	if t.modes&adjNano == 0 {
		nsec *= 1000
	}
	by := t.sec*int64(time.Second) + nsec
	if m.wall+by < int64(m.local) {
		return errModelInvalid
	}
	m.set(by)
	return nil
}

// set moves the clock, as settimeofday does, too.
func (m *kernelModel) set(by int64) {
	m.wall += by
	m.adjtime, m.phase, m.gain = 0, 0, 0
	m.status |= staUnsync
	m.maxerror, m.esterror = 16_000_000, 16_000_000
	m.leapAt = math.MaxInt64
}

func (m *kernelModel) apply(t *timex) {
	const readOnly = 0xff00
	if t.modes&adjStatus != 0 {
		if m.status&staPLL != 0 && t.status&staPLL == 0 {
			m.state, m.status, m.leapAt = timeOK, staUnsync, math.MaxInt64
		}
		m.status = m.status&readOnly | t.status&^readOnly
	}
	if t.modes&adjNano != 0 {
		m.status |= staNano
	}
	if t.modes&adjFrequency != 0 {
		m.freq = min(max(t.freq, -500<<16), 500<<16)
	}
	if t.modes&adjMaxError != 0 {
		m.maxerror = min(max(t.maxerror, 0), 16_000_000)
	}
	if t.modes&adjEstError != 0 {
		m.esterror = min(max(t.esterror, 0), 16_000_000)
	}
	if t.modes&adjTAI != 0 && t.constant >= 0 && t.constant <= 100_000 {
		m.tai = t.constant
	}
	if t.modes&adjOffset != 0 && m.status&staPLL != 0 {
		offset := float64(t.offset)
		if m.status&staNano == 0 {
			offset *= 1000
		}
		m.phase = min(max(offset, -5e8), 5e8)
		if m.status&staFreqHold == 0 {
			m.freq += int64(m.phase / 1e6 * freqPerPPM) // it learns, somehow
		}
	}
	if t.modes&adjTick != 0 {
		m.tick = t.tick
	}
}

// overflow is the turn of a second.
func (m *kernelModel) overflow() {
	secs := m.wall / int64(time.Second)
	leap := int64(0)
	switch m.state {
	case timeOK:
		if m.status&staIns != 0 {
			m.state, m.leapAt = timeIns, secs+86400-secs%86400
		} else if m.status&staDel != 0 {
			m.state, m.leapAt = timeDel, secs+86400-(secs+1)%86400
		}
	case timeIns:
		if m.status&staIns == 0 {
			m.state, m.leapAt = timeOK, math.MaxInt64
		} else if secs == m.leapAt {
			leap, m.state = -1, timeOop
		}
	case timeDel:
		if m.status&staDel == 0 {
			m.state, m.leapAt = timeOK, math.MaxInt64
		} else if secs == m.leapAt {
			leap, m.state, m.leapAt = 1, timeWait, math.MaxInt64
		}
	case timeOop:
		m.state, m.leapAt = timeWait, math.MaxInt64
	case timeWait:
		if m.status&staLeap == 0 {
			m.state = timeOK
		}
	}
	m.wall += leap * int64(time.Second)
	m.tai -= leap
	if m.maxerror += 500; m.maxerror > 16_000_000 {
		m.maxerror = 16_000_000
		m.status |= staUnsync
	}
	chunk := m.phase / 16
	m.phase -= chunk
	slew := min(max(m.adjtime, -500), 500)
	m.adjtime -= slew
	m.gain = chunk + float64(slew)*1000
}

// pass lets time go by, second by second of the clock.
func (m *kernelModel) pass(d time.Duration) {
	for d > 0 {
		rate := 1 + float64(m.freq)/65536e6 + float64(m.tick-10_000)/1e4 + m.gain*1e-9
		toTurn := int64(time.Second) - m.wall%int64(time.Second)
		need := time.Duration(math.Ceil((float64(toTurn) - m.part) / rate))
		step := min(d, max(need, 1))
		whole, part := math.Modf(m.part + float64(step)*(rate-1))
		if part < 0 {
			whole, part = whole-1, part+1
		}
		before := m.wall / int64(time.Second)
		m.wall += int64(step) + int64(whole)
		m.part = part
		m.local += step
		d -= step
		if m.wall/int64(time.Second) > before {
			m.overflow()
		}
	}
}

// sleep suspends the machine.
func (m *kernelModel) sleep(d time.Duration) {
	m.local += d
	m.wall += int64(d)
	m.asleep += d
}

// modelSystem is the System around a model.
type modelSystem struct {
	*fakeSystem
	m *kernelModel
}

func (s modelSystem) Local() (time.Duration, int64) { return s.m.local, s.m.wall }

func (s modelSystem) Read() Reading {
	return Reading{Mono: s.m.local - s.m.asleep, Unix: s.m.wall, Local: s.m.local, Asleep: s.m.asleep}
}

func (m *kernelModel) system() System { return modelSystem{newFakeSystem(), m} }
