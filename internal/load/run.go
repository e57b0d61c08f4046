package load

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/truechimer/truechimer/internal/netio"
	"github.com/truechimer/truechimer/internal/ntp"
)

const (
	// hellosMax is how often a server is asked for a sign of life, each time for at
	// least helloMin and at most helloMax.
	hellosMax          = 3
	helloMin, helloMax = 200 * time.Millisecond, time.Second

	progressEvery = 200 * time.Millisecond
)

// ErrNoAnswer reports a server from which nothing came back.
var ErrNoAnswer = errors.New("nothing came back")

// Progress is how a run is doing.
type Progress struct {
	Step     int           // from 1 on
	Wanted   float64       // requests in a second; 0 in a closed loop
	Elapsed  time.Duration // of this step, its warm-up included
	Lasts    time.Duration // this step
	Sent     float64       // in a second, of late
	Answered float64       // in a second, of late
}

// Run sends load to a server and returns what it measured; progress, where it is not nil,
// is called now and then, from the goroutine of Run. When ctx ends, Run ends within the
// timeout of a request, and returns what it has, without an error. It fails with
// ErrNoAnswer where nothing comes back, ErrPublic and ErrNoHost where an address
// is not permitted, and where the options are wrong; nothing was sent in the last three cases.
func Run(ctx context.Context, o Options, progress func(Progress)) (Result, error) {
	if err := o.Check(); err != nil {
		return Result{}, err
	}
	if len(o.Servers) == 0 {
		return Result{}, errors.New("load: no server given")
	}
	for _, server := range o.Servers {
		if err := Permit(server.Addr(), o.Public); err != nil {
			return Result{}, err
		}
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	g := &generator{options: o, progress: progress, result: Result{Loop: o.Loop}}
	defer context.AfterFunc(ctx, func() { g.stop.Store(true) })()
	err := g.reach()
	if err != nil {
		return Result{Interrupted: g.stop.Load()}, err
	}
	defer g.close()
	if o.Loop == Sweep {
		g.sweep()
	} else {
		g.measure(o.rate())
	}
	g.result.Interrupted = g.stop.Load()
	return g.result, nil
}

// rate returns the rate of a loop that is no sweep.
func (o *Options) rate() float64 {
	if o.Loop == Closed {
		return 0
	}
	return o.Rate
}

// generator is the workers of a run, and what they have measured.
type generator struct {
	options  Options
	progress func(Progress)
	workers  []*worker
	stop     atomic.Bool
	result   Result
}

// reach connects to the first of the servers that gives a sign of life.
func (g *generator) reach() error {
	patience := min(max(g.options.Timeout, helloMin), helloMax)
	var errs []error
	for _, server := range g.options.Servers {
		err := g.connect(server)
		for range hellosMax {
			if err != nil || g.stop.Load() {
				break
			}
			var heard bool
			if heard, err = g.workers[0].hello(patience); heard {
				g.result.Server = server
				return nil
			}
		}
		g.close()
		errs = append(errs, fmt.Errorf("%v: %w", server, silence(err)))
	}
	return errors.Join(errs...)
}

// silence returns why a server gave no sign of life. No error at all is ErrNoAnswer, and so is
// one by which the network says that there is no way to it, or nobody.
func silence(err error) error {
	if err == nil {
		return ErrNoAnswer
	}
	for _, unreachable := range []error{
		syscall.ECONNREFUSED, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN,
		syscall.EADDRNOTAVAIL, // we have no address that could send to it
	} {
		if errors.Is(err, unreachable) {
			return fmt.Errorf("%w: %w", ErrNoAnswer, unreachable)
		}
	}
	return err
}

// connect makes the workers, and shares the sockets out among them.
func (g *generator) connect(server netip.AddrPort) error {
	o := &g.options
	for i := range o.Threads {
		flows, err := netio.DialFlows(server, share(o.Sockets, o.Threads, i), ntp.HeaderLen)
		if err != nil {
			g.close()
			return err
		}
		g.workers = append(g.workers, newWorker(o, flows, newCookies(), &g.stop))
	}
	return nil
}

// share returns the i-th of n parts of total, which differ by at most 1.
func share(total, n, i int) int { return (total*(i+1))/n - (total*i)/n }

// newCookies returns cookies of a key that nobody knows.
func newCookies() cookies {
	var c cookies
	var b [8]byte
	for i := range c.keys {
		rand.Read(b[:]) // never fails: it ends the program instead
		c.keys[i] = binary.BigEndian.Uint64(b[:])
	}
	return c
}

// close closes the sockets. They have sent what they had to; an error changes nothing.
func (g *generator) close() {
	for _, w := range g.workers {
		_ = w.flows.Close()
	}
	g.workers = nil
}

// sweep makes steps until the highest rate that is held is known.
func (g *generator) sweep() {
	o := &g.options
	s := search{rate: o.MinRate, most: o.MaxRate, factor: o.Factor, resolution: o.ResolutionPercent / 100}
	for !s.done && !g.stop.Load() {
		step := g.measure(s.rate)
		if g.stop.Load() || step == nil {
			break // cut short, it proves nothing
		}
		step.Held = step.LossPercent() < o.MaxLossPercent && !step.GeneratorLimited()
		s.took(step.Held)
	}
	g.result.Highest, g.result.Failed = s.held, s.failed
}

// measure makes one step at a rate, 0 being a closed loop, adds it to the result and returns it;
// nil where it was stopped before there was anything to count.
func (g *generator) measure(rate float64) *Step {
	var group sync.WaitGroup
	for _, w := range g.workers {
		group.Go(func() { w.run(rate / float64(len(g.workers))) })
	}
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	g.watch(done, rate)
	sum := new(tally)
	for _, w := range g.workers {
		sum.merge(&w.tally)
	}
	step := sum.result()
	if step.Measured == 0 {
		return nil
	}
	step.Wanted = rate // the sum of the parts may be off by a rounding
	g.result.Steps = append(g.result.Steps, step)
	return &g.result.Steps[len(g.result.Steps)-1]
}

// watch tells how a step is doing until it is done.
func (g *generator) watch(done <-chan struct{}, rate float64) {
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	began := time.Now()
	last, sent, answered := began, uint64(0), uint64(0)
	for {
		select {
		case <-done:
			return
		case now := <-ticker.C:
			p := Progress{Step: len(g.result.Steps) + 1, Wanted: rate, Elapsed: now.Sub(began), Lasts: g.options.Warmup + g.options.Duration}
			var s, a uint64
			for _, w := range g.workers {
				s += w.sent.Load()
				a += w.answered.Load()
			}
			if since := now.Sub(last).Seconds(); since > 0 && s >= sent && a >= answered {
				p.Sent, p.Answered = float64(s-sent)/since, float64(a-answered)/since
			}
			last, sent, answered = now, s, a
			g.progress(p)
		}
	}
}
