package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// The measurements.
const (
	saturation = "saturation" // closed loop, 16 sockets
	open1k     = "1 k/s"      // open loop
	open20k    = "20 k/s"
	open100k   = "100 k/s"
	roundTrip  = "one socket" // closed loop, one request in flight
	highest    = "sweep"      // the highest rate
)

// burstPause keeps the generator's share of the time below what the kernel gives to
// what runs at real-time priority.
const burstPause = 200 * time.Millisecond

// load is a measurement by one burst.
type load struct {
	name string
	args []string
}

// loads are the measurements of a round, but for the sweep.
func loads() []load {
	return []load{
		{saturation, []string{"--sockets", "16"}},
		{open1k, []string{"--sockets", "16", "--rate", "1000"}},
		{open20k, []string{"--sockets", "16", "--rate", "20000"}},
		{open100k, []string{"--sockets", "16", "--rate", "100000"}},
		{roundTrip, []string{"--sockets", "1", "--window", "1"}},
	}
}

// sample is one measurement of one contender in one round.
type sample struct {
	Round       int    `json:"round"`
	Contender   string `json:"contender"`
	Measurement string `json:"measurement"`
	Burst       *burst `json:"burst,omitempty"` // the best rate's in a sweep
	Sweep       *sweep `json:"sweep,omitempty"`
}

// results are everything that was measured, and on what.
type results struct {
	Machine    machine      `json:"machine"`
	Settings   settings     `json:"settings"`
	Contenders []*contender `json:"contenders"`
	Absent     []absent     `json:"absent,omitempty"`
	Notes      []string     `json:"notes,omitempty"`
	Samples    []sample     `json:"samples"`
	Figures    []summary    `json:"figures"`
	Targets    []outcome    `json:"targets"`
}

// machine is what the figures are of.
type machine struct {
	When   time.Time `json:"when"`
	CPUs   int       `json:"cpus"`
	Model  string    `json:"model"`
	Kernel string    `json:"kernel"`
	Go     string    `json:"go"`
	Load   string    `json:"load"` // /proc/loadavg at the start
}

// settings are how they were taken.
type settings struct {
	Rounds       int     `json:"rounds"`
	SweepRounds  int     `json:"sweepRounds"`
	Seconds      float64 `json:"seconds"`
	Warmup       float64 `json:"warmup"`
	SweepSeconds float64 `json:"sweepSeconds"`
	Nice         int     `json:"nice"`
	ServerFIFO   int     `json:"serverFIFO"`
	LoadFIFO     int     `json:"loadFIFO"`
	Plain        bool    `json:"plain"`
}

// bench is one comparison.
type bench struct {
	o    *options
	load *generator
	all  []*contender
	r    *results
}

// prepare builds what there is, and finds out what this machine permits.
func prepare(ctx context.Context, o *options) (*bench, error) {
	if runtime.NumCPU() < 2 {
		return nil, errors.New("one CPU is not enough: the server and the generator need one each")
	}
	all, left, err := contenders(ctx, o)
	if err != nil {
		return nil, err
	}
	b := &bench{o: o, load: newGenerator(o), all: all, r: &results{Machine: thisMachine(), Contenders: all, Absent: left}}
	for _, a := range left {
		b.note("%s is left out: %s", a.Name, a.Why)
	}
	b.askPermission(ctx)
	b.r.Settings = settings{
		Rounds: o.Rounds, SweepRounds: o.SweepRounds, Seconds: o.Burst.Seconds(), Warmup: o.Warmup.Seconds(), SweepSeconds: o.SweepBurst.Seconds(),
		Nice: o.Nice, ServerFIFO: o.ServerFIFO, LoadFIFO: b.load.fifo, Plain: o.Plain,
	}
	return b, nil
}

// askPermission finds out whether the priorities that are wanted can be had.
func (b *bench) askPermission(ctx context.Context) {
	if b.load.fifo > 0 {
		out, err := exec.CommandContext(ctx, "chrt", "-f", fmt.Sprint(b.load.fifo), "true").CombinedOutput()
		if err != nil {
			b.load.fifo = 0
			b.note("the generator runs without SCHED_FIFO: %s", strings.TrimSpace(string(out)))
		}
	}
	// nice starts the program even where it may not change its niceness.
	out, err := exec.CommandContext(ctx, "nice", "-n", fmt.Sprint(b.o.Nice), "true").CombinedOutput()
	if err != nil || len(out) > 0 {
		b.note("the servers run without niceness %d: %s", b.o.Nice, strings.TrimSpace(string(out)))
	}
}

// note keeps what a reader of the figures must know, once.
func (b *bench) note(format string, args ...any) {
	text := strings.ReplaceAll(strings.TrimSpace(fmt.Sprintf(format, args...)), "\n", "; ")
	if !slices.Contains(b.r.Notes, text) {
		b.o.say("%s", text)
		b.r.Notes = append(b.r.Notes, text)
	}
}

// compare measures round after round.
func (b *bench) compare(ctx context.Context) (*results, error) {
	begun := time.Now()
	for round := range b.o.Rounds {
		for _, c := range inTurn(b.all, round) {
			err := b.turn(ctx, round, c)
			switch {
			case ctx.Err() != nil:
				return nil, errors.New("interrupted")
			case err != nil && c.required():
				return nil, fmt.Errorf("round %d, %s: %w", round+1, c.Name, err)
			case err != nil:
				b.leaveOut(c, round, err)
			}
		}
		b.o.say("round %d of %d done after %v", round+1, b.o.Rounds, time.Since(begun).Round(time.Second))
	}
	b.r.summarise()
	return b.r, nil
}

// leaveOut goes on without a contender that does not run.
func (b *bench) leaveOut(c *contender, round int, err error) {
	b.all = slices.DeleteFunc(slices.Clone(b.all), func(other *contender) bool { return other == c })
	b.r.Absent = append(b.r.Absent, absent{c.Name, err.Error()})
	b.note("%s is left out from round %d on: %v", c.Name, round+1, err)
}

// turn starts a contender, measures it, and kills it: no other server runs
// meanwhile, not even an idle one.
func (b *bench) turn(ctx context.Context, round int, c *contender) (err error) {
	s, err := start(ctx, b.o, c)
	if err != nil {
		return err
	}
	defer func() {
		s.stop()
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w\n%s", err, s.log.String())
		}
	}()
	if err := b.load.await(ctx, s); err != nil {
		return err
	}
	for _, l := range loads() {
		if c.Only != "" && c.Only != l.name {
			continue
		}
		if err := wait(ctx, burstPause); err != nil {
			return err
		}
		burst, err := b.load.run(ctx, s, b.o.Burst, l.args...)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		if fault := burst.fault(); fault != "" {
			b.note("%s, %s: %s", c.Name, l.name, fault)
		}
		b.r.Samples = append(b.r.Samples, sample{Round: round, Contender: c.Name, Measurement: l.name, Burst: burst})
		b.o.say("  %d %-15s %-10s %8.1f k/s  T2−T1 %6.2f  offset %8.2f  CPU %6.3f µs  loss %.2f %%",
			round+1, c.Name, l.name, burst.Rate/1e3, burst.RequestDelay.P50, burst.Offset.P50, burst.CPUPerAnswer, burst.LossPct)
	}
	if c.Only == "" && round < b.o.SweepRounds {
		if err := b.sweep(ctx, round, c, s); err != nil {
			return err
		}
	}
	if c.Name != ours {
		return nil
	}
	refused, err := s.refused(ctx)
	for _, verdict := range slices.Sorted(maps.Keys(refused)) {
		b.note("%s refused requests in round %d: %d times %q", ours, round+1, refused[verdict], verdict)
	}
	return err
}

// thisMachine describes the machine as far as /proc tells.
func thisMachine() machine {
	m := machine{When: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU(), Go: runtime.Version()}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(text))
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.TrimSpace(string(text))
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.Model = strings.TrimSpace(value)
				break
			}
		}
	}
	return m
}
