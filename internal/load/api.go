package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/hlc/client"
)

// Limits of APIOptions.
const (
	CallersMax    = 10_000
	EntriesMax    = 10_000
	payloadLenMax = 1 << 20
	appendLenMax  = 8 << 20 // of the payloads of a batch
)

// apiShards is how many histograms the callers share: one for each would be half a gigabyte.
const apiShards = 16

// APIOptions of RunAPI. See APIDefaults.
type APIOptions struct {
	Callers  int           // that call at the same time, each one call after the other
	Batch    int           // timestamps, or events, of one call
	Stream   string        // to append to; empty: timestamps are asked for
	Payload  int           // bytes of each event
	Duration time.Duration // of the measurement
	Warmup   time.Duration // before it
}

// APIDefaults are options that show what many callers get.
func APIDefaults() APIOptions {
	return APIOptions{Callers: 256, Batch: 1, Payload: 100, Duration: 5 * time.Second, Warmup: 500 * time.Millisecond}
}

// Check returns what is wrong with the options, beginning with the name of the flag.
func (o *APIOptions) Check() error {
	within := func(name string, n, most int) error {
		if n < 1 || n > most {
			return fmt.Errorf("%s is %d; want 1 to %d", name, n, most)
		}
		return nil
	}
	batchMax := hlc.CountMax
	if o.Stream != "" {
		batchMax = EntriesMax
	}
	if err := within("callers", o.Callers, CallersMax); err != nil {
		return err
	}
	if err := within("batch", o.Batch, batchMax); err != nil {
		return err
	}
	if err := within("payload", o.Payload, payloadLenMax); err != nil {
		return err
	}
	if o.Stream != "" && o.Batch*o.Payload > appendLenMax {
		return fmt.Errorf("payload times batch is %d bytes; one append holds %d", o.Batch*o.Payload, appendLenMax)
	}
	if o.Duration < 10*time.Millisecond || o.Duration > 24*time.Hour {
		return fmt.Errorf("seconds is %v; want 0.01 to 86400", o.Duration.Seconds())
	}
	if o.Warmup < 0 || o.Warmup > time.Hour {
		return fmt.Errorf("warmup is %v; want 0 to 1h", o.Warmup)
	}
	return nil
}

// APIResult is what RunAPI measured.
type APIResult struct {
	Measured    time.Duration
	Calls       uint64 // that were answered
	Items       uint64 // timestamps or events of those
	Failed      uint64 // calls
	Failure     error  // of the first of them; nil: none failed
	Took        Spread // of the calls that were answered
	CPU         time.Duration
	Interrupted bool
}

// PerSecond returns a count as a rate.
func (r *APIResult) PerSecond(n uint64) float64 {
	if r.Measured <= 0 {
		return 0
	}
	return float64(n) / r.Measured.Seconds()
}

// APIProgress is how a run is doing.
type APIProgress struct {
	Elapsed, Lasts time.Duration // the warm-up included
	Items          float64       // in a second, of late
}

// RunAPI loads an appliance through its client and returns what it measured; progress, where
// it is not nil, is called now and then, from the goroutine of RunAPI. When ctx ends it returns
// what it has, without an error. It fails where the options are wrong, and with the error of the first call.
func RunAPI(ctx context.Context, c *client.Client, o APIOptions, progress func(APIProgress)) (APIResult, error) {
	if err := o.Check(); err != nil {
		return APIResult{}, err
	}
	g := apiLoad{c: c, o: o}
	if err := g.call(ctx); err != nil {
		return APIResult{Interrupted: ctx.Err() != nil}, err
	}
	calling, stop := context.WithCancel(ctx)
	defer stop()
	var callers sync.WaitGroup
	start := time.Now()
	g.from, g.to = start.Add(o.Warmup), start.Add(o.Warmup+o.Duration)
	for n := range o.Callers {
		callers.Go(func() { g.loop(calling, &g.shards[n%apiShards]) })
	}
	done := make(chan struct{})
	go func() { callers.Wait(); close(done) }()
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	begun := time.NewTimer(o.Warmup)
	defer begun.Stop()
	var cpu time.Duration
	for items := uint64(0); ; {
		select {
		case <-begun.C:
			cpu = cpuTime()
			continue
		case <-ticker.C:
			now := g.items.Load()
			if progress != nil {
				progress(APIProgress{min(time.Since(start), o.Warmup+o.Duration), o.Warmup + o.Duration, float64(now-items) / progressEvery.Seconds()})
			}
			items = now
			continue
		case <-done:
		}
		break
	}
	return g.result(ctx, cpuTime()-cpu), nil
}

// apiLoad is a run.
type apiLoad struct {
	c        *client.Client
	o        APIOptions
	from, to time.Time // what counts
	items    atomic.Uint64
	shards   [apiShards]apiShard
}

// apiShard is what some of the callers have seen.
type apiShard struct {
	mu      sync.Mutex
	took    histogram
	failed  uint64
	failure error
}

// loop calls until the time is over.
func (g *apiLoad) loop(ctx context.Context, s *apiShard) {
	for ctx.Err() == nil {
		start := time.Now()
		if !start.Before(g.to) {
			return
		}
		err := g.call(ctx)
		end := time.Now()
		if err == nil {
			g.items.Add(uint64(g.o.Batch))
		}
		if end.Before(g.from) || end.After(g.to) || err != nil && ctx.Err() != nil {
			continue
		}
		s.mu.Lock()
		if err != nil {
			s.failed++
			if s.failure == nil {
				s.failure = err
			}
		} else {
			s.took.add(int64(end.Sub(start)))
		}
		s.mu.Unlock()
	}
}

// call makes one call.
func (g *apiLoad) call(ctx context.Context) error {
	if g.o.Stream == "" {
		_, err := g.c.NowN(ctx, g.o.Batch)
		return err
	}
	b := client.Batch{Entries: make([]client.Entry, g.o.Batch)}
	payload := make([]byte, g.o.Payload)
	for i := range b.Entries {
		b.Entries[i] = client.Entry{Stream: g.o.Stream, Payload: payload}
	}
	_, err := g.c.Append(ctx, b)
	return err
}

// result sums the shards up.
func (g *apiLoad) result(ctx context.Context, cpu time.Duration) APIResult {
	var all histogram
	r := APIResult{Measured: g.o.Duration, CPU: cpu, Interrupted: ctx.Err() != nil}
	if r.Interrupted {
		r.Measured = max(0, min(time.Since(g.from), g.o.Duration))
	}
	for i := range g.shards {
		s := &g.shards[i]
		all.merge(&s.took)
		r.Failed += s.failed
		if r.Failure == nil {
			r.Failure = s.failure
		}
	}
	r.Took = all.spread()
	r.Calls, r.Items = all.n, all.n*uint64(g.o.Batch)
	return r
}
