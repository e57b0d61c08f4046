package main

import (
	"time"

	"github.com/truechimer/truechimer/internal/load"
)

// benchJSON is a run for programs: what was asked, the step that the figures are of (the highest
// rate held, of a sweep), and all steps of a sweep.
type benchJSON struct {
	Server        string         `json:"server"`
	Loop          string         `json:"loop"`
	Sockets       int            `json:"sockets"`
	Window        int            `json:"window,omitempty"`
	Batch         int            `json:"batch"`
	Threads       int            `json:"threads"`
	NTPVersion    int            `json:"ntpVersion"`
	WarmupSeconds float64        `json:"warmupSeconds"`
	TimeoutNs     int64          `json:"timeoutNs"`
	Interrupted   bool           `json:"interrupted"`
	Result        *benchStepJSON `json:"result"` // null where no rate of a sweep was held
	Sweep         *sweepJSON     `json:"sweep,omitempty"`
}

// sweepJSON is what a sweep found.
type sweepJSON struct {
	HighestPerSecond      float64         `json:"highestPerSecond"` // 0: not even the first was held
	FailedPerSecond       float64         `json:"failedPerSecond"`  // 0: all were held
	MostAnsweredPerSecond float64         `json:"mostAnsweredPerSecond"`
	MaxLossPercent        float64         `json:"maxLossPercent"`
	GeneratorLimited      bool            `json:"generatorLimited"` // whenever failedPerSecond was tried
	Steps                 []benchStepJSON `json:"steps"`
}

// benchStepJSON is one step. Lengths of time are nanoseconds unless the name says seconds.
type benchStepJSON struct {
	WantedPerSecond   float64           `json:"wantedPerSecond"` // 0: closed loop
	MeasuredSeconds   float64           `json:"measuredSeconds"`
	Sent              uint64            `json:"sent"`
	SentPerSecond     float64           `json:"sentPerSecond"`
	Answered          uint64            `json:"answered"`
	AnsweredPerSecond float64           `json:"answeredPerSecond"`
	LossPercent       float64           `json:"lossPercent"`
	Lost              uint64            `json:"lost"`
	Late              uint64            `json:"late"`
	Duplicate         uint64            `json:"duplicate"`
	Bad               uint64            `json:"bad"`
	BadReasons        map[string]uint64 `json:"badReasons"`
	Kiss              uint64            `json:"kiss"`
	KissCodes         map[string]uint64 `json:"kissCodes"`
	Unsynchronised    uint64            `json:"unsynchronised"`
	KernelStamped     uint64            `json:"kernelStamped"`
	Unsent            uint64            `json:"unsent"`
	Refused           uint64            `json:"refused"`
	DroppedHere       uint64            `json:"droppedHere"`
	RoundTripNs       spreadJSON        `json:"roundTripNs"`
	ProcessingNs      spreadJSON        `json:"processingNs"` // T3-T2
	RequestNs         spreadJSON        `json:"requestNs"`    // T2-T1
	OffsetNs          spreadJSON        `json:"offsetNs"`
	LagNs             *spreadJSON       `json:"lagNs,omitempty"` // of an open loop
	GeneratorLimited  bool              `json:"generatorLimited"`
	UnreadNs          time.Duration     `json:"unreadNs"` // mean time from T4 until the answer was read
	BusyPercent       float64           `json:"busyPercent"`
	CPUSeconds        float64           `json:"cpuSeconds"`
	Held              *bool             `json:"held,omitempty"` // of a sweep
}

type spreadJSON struct {
	Count uint64        `json:"count"`
	Min   time.Duration `json:"min"`
	P1    time.Duration `json:"p1"`
	P50   time.Duration `json:"p50"`
	P90   time.Duration `json:"p90"`
	P99   time.Duration `json:"p99"`
	P999  time.Duration `json:"p999"`
	Max   time.Duration `json:"max"`
	Mean  time.Duration `json:"mean"`
}

var loopNames = map[load.Loop]string{load.Closed: "closed", load.Open: "open", load.Sweep: "sweep"}

func benchForPrograms(o *load.Options, r *load.Result) benchJSON {
	b := benchJSON{
		Server: r.Server.String(), Loop: loopNames[o.Loop], Sockets: o.Sockets, Batch: o.Batch, Threads: o.Threads,
		NTPVersion: int(o.Version), WarmupSeconds: o.Warmup.Seconds(), TimeoutNs: o.Timeout.Nanoseconds(), Interrupted: r.Interrupted,
	}
	if o.Loop == load.Closed {
		b.Window = o.Window
	}
	if s := r.Main(); s != nil {
		step := stepForPrograms(o, s)
		b.Result = &step
	}
	if o.Loop == load.Sweep {
		b.Sweep = &sweepJSON{
			HighestPerSecond: r.Highest, FailedPerSecond: r.Failed, MostAnsweredPerSecond: r.Most(),
			MaxLossPercent: o.MaxLossPercent, GeneratorLimited: r.GeneratorFailed(), Steps: []benchStepJSON{},
		}
		for i := range r.Steps {
			b.Sweep.Steps = append(b.Sweep.Steps, stepForPrograms(o, &r.Steps[i]))
		}
	}
	return b
}

func stepForPrograms(o *load.Options, s *load.Step) benchStepJSON {
	b := benchStepJSON{
		WantedPerSecond: s.Wanted, MeasuredSeconds: s.Measured.Seconds(),
		Sent: s.Sent, SentPerSecond: s.PerSecond(s.Sent), Answered: s.Answered(), AnsweredPerSecond: s.PerSecond(s.Answered()),
		LossPercent: s.LossPercent(), Lost: s.Lost(), Late: s.Counts[load.Late], Duplicate: s.Counts[load.Duplicate],
		Bad: s.Bad(), BadReasons: map[string]uint64{}, Kiss: s.Counts[load.Kiss], KissCodes: map[string]uint64{},
		Unsynchronised: s.Unsynchronised, KernelStamped: s.Stamped, Unsent: s.Unsent, Refused: s.Refused, DroppedHere: s.Dropped,
		RoundTripNs: spreadJSON(s.RoundTrip), ProcessingNs: spreadJSON(s.Processing), RequestNs: spreadJSON(s.Request), OffsetNs: spreadJSON(s.Offset),
		GeneratorLimited: s.GeneratorLimited(), UnreadNs: s.Unread, BusyPercent: 100 * s.Busy, CPUSeconds: s.CPU.Seconds(),
	}
	for _, v := range load.Verdicts() {
		if v.Bad() {
			b.BadReasons[v.String()] = s.Counts[v]
		}
	}
	for _, k := range s.Kisses {
		b.KissCodes[kissName(k)] = k.Count
	}
	if s.Wanted > 0 {
		lag := spreadJSON(s.Lag)
		b.LagNs = &lag
	}
	if o.Loop == load.Sweep {
		b.Held = &s.Held
	}
	return b
}

// kissName returns a kiss code as a person should read it.
func kissName(k load.Kisses) string {
	if k.Code == 0 {
		return "other"
	}
	return k.Code.Text(0)
}
