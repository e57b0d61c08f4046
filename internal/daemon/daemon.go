// Package daemon builds the parts of the appliance, starts them in one order and stops
// them in the reverse, and adapts the types of one part to those of another.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/sysclock"
	"github.com/truechimer/truechimer/internal/upstream"
	"github.com/truechimer/truechimer/internal/web"
	"github.com/truechimer/truechimer/ntpserver"
	"github.com/truechimer/truechimer/store"
)

const (
	// stopMax is how long an orderly stop may take before the process ends without it.
	stopMax = 4500 * time.Millisecond
	// leaveMax is how long the clock may then take to be left to itself.
	leaveMax = 200 * time.Millisecond
	// stalledAfter is how old a snapshot may get before the clock loop counts as stalled.
	stalledAfter = 10 * time.Second
	// clientsMax is how many addresses are remembered of those that ask for the time.
	clientsMax = 1 << 16
)

// ErrStop reports that the parts did not stop in time. What was acknowledged is on disk
// all the same; the next start does without a clean end of the epoch.
var ErrStop = fmt.Errorf("not stopped in order within %v", stopMax)

// Options of a Daemon.
type Options struct {
	Config config.Config
	// Tour says that there is no configuration file: see config.Tour.
	Tour    bool
	Version string
	Logger  *slog.Logger
	// System is the machine's clock; nil means this machine's. Tests replace it.
	System sysclock.System
	// Actuator takes over the clock that mode steer corrects; nil means the kernel's. Tests
	// replace it.
	Actuator func(sysclock.System) (sysclock.Actuator, error)
}

// Daemon is a running appliance. Its methods may be called concurrently, Open and Run
// apart.
type Daemon struct {
	log     *slog.Logger
	version string
	tour    bool
	started time.Time
	node    config.Node

	reloading sync.Mutex
	config    config.Config // guarded by reloading once Run has begun

	keeper  *timekeeper
	claims  claimsOf
	ntp     *ntpserver.Server
	api     *api.Server
	poller  *upstream.Poller
	store   *store.Store
	issuer  *store.Issuer
	streams *store.Streams

	evidence *evidence
}

// Open binds the addresses, looks at the clock and opens the store; nothing is served
// before Run. It fails with an error that says what to do, and leaves nothing behind.
// Errors of the store wrap store.ErrRefused where the directory was refused.
func Open(o Options) (*Daemon, error) {
	if o.System == nil {
		o.System = sysclock.NewHost()
	}
	if o.Actuator == nil {
		o.Actuator = openKernel
	}
	d := &Daemon{log: o.Logger, version: o.Version, tour: o.Tour, started: time.Now(), node: o.Config.Node, config: o.Config}
	if err := d.open(o); err != nil {
		return nil, errors.Join(err, d.release(), d.leave())
	}
	return d, nil
}

// open builds the parts. What it has opened when it fails is for release.
func (d *Daemon) open(o Options) (err error) {
	// Addresses come before the store: a second process is told so before it would
	// touch the data of the first.
	serving := serverOptions(&o.Config.NTP)
	serving.Claims = func() *ntpserver.Claims { return d.claims.of(d.keeper.current()) }
	serving.Logger = o.Logger
	d.ntp, err = ntpserver.Listen(serving)
	if err != nil {
		return fmt.Errorf("%w; %s", err, bindingKeys(&o.Config.NTP))
	}
	d.api, err = api.Listen(apiOptions(&o.Config, o.Logger))
	if err != nil {
		return err
	}
	d.store, err = store.Open(o.Config.Node.DataDir, store.Options{Node: o.Config.Node.Number, Logger: o.Logger})
	if err != nil {
		return err
	}
	// The clock comes after what only one process can have: a second one must not touch it.
	d.keeper, err = newTimekeeper(o.System, &o.Config, o.Actuator, o.Logger)
	if err != nil {
		return err
	}
	d.issuer, err = store.NewIssuer(d.store, store.IssuerOptions{
		Physical: d.keeper.physical.Now,
		Bound:    d.keeper.bound,
		MaxLead:  o.Config.HLC.MaxLead,
		Window:   o.Config.HLC.Window,
		Logger:   o.Logger,
	})
	if err != nil {
		return err
	}
	d.streams, err = store.NewStreams(d.store, d.issuer, store.StreamsOptions{Reserve: o.Config.Store.Reserve, Logger: o.Logger})
	if err != nil {
		return err
	}
	d.keeper.issuer, d.keeper.fault, d.keeper.space = d.issuer, d.store.Err, d.space
	d.poller, err = newPoller(d.keeper.keeping, &o.Config, d.measured, o.Logger)
	if err != nil {
		return err
	}
	d.keeper.poller = d.poller
	d.keeper.tick(context.Background(), false)
	return d.openEvidence(&o.Config) // once there is a time
}

// release closes what Open has opened, in the reverse order.
func (d *Daemon) release() error {
	var errs []error
	if d.streams != nil {
		errs = append(errs, d.streams.Close())
	}
	if d.issuer != nil {
		errs = append(errs, d.issuer.Close())
	}
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	if d.api != nil {
		errs = append(errs, d.api.Close())
	}
	if d.ntp != nil {
		errs = append(errs, d.ntp.Close())
	}
	return errors.Join(errs...)
}

// leave leaves the clock that was steered to itself. It comes last: who reads the clock while
// it stops reads a good one.
func (d *Daemon) leave() error {
	if d.keeper == nil {
		return nil
	}
	return d.keeper.keeping.close()
}

// leaveAnyway is leave for when other parts hang: a slew that nobody ends would run for ever.
// Where the clock itself hangs there is nothing to be done.
func (d *Daemon) leaveAnyway() error {
	left := make(chan error, 1)
	go func() { left <- d.leave() }()
	select {
	case err := <-left:
		return err
	case <-time.After(leaveMax):
		return errors.New("leave the clock to itself: it hangs; see whether it is being slewed (adjtimex)")
	}
}

// Run serves until ctx ends or a part fails, and stops in order: first the API, so that
// no call is left half done, then the NTP server, the poller, the evidence, the streams, the
// issuer, the store and the clock loop. It returns ErrStop when that takes longer than it may.
func (d *Daemon) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	clockCtx, stopClock := context.WithCancel(context.Background())
	defer stopClock()
	var clockLoop sync.WaitGroup
	clockLoop.Go(func() { d.keeper.run(clockCtx) })

	parts := []struct {
		name  string
		serve func(context.Context) error
	}{
		{"evidence", d.evidence.run},
		{"poller", func(ctx context.Context) error { d.poller.Run(ctx); return nil }},
		{"NTP server", d.ntp.Serve},
		{"API", func(ctx context.Context) error {
			return d.api.Serve(ctx, d.services())
		}},
	}
	stops := make([]func(), len(parts))
	for i, part := range parts {
		partCtx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() {
			if err := part.serve(partCtx); err != nil {
				cancel(fmt.Errorf("%s: %w", part.name, err))
			}
		})
		stops[i] = func() { stop(); running.Wait() }
	}
	d.log.Info("serving", "ntp", addrs(d.ntp.Addrs()), "api", addrs(d.api.Addrs()))
	<-ctx.Done()
	timeout := time.After(stopMax) // before anything that may hang
	d.log.Info("stopping")
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		d.evidence.stopsBecause(cause.Error())
	}

	stopped := make(chan error, 1)
	go func() {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
		err := d.release()
		stopClock()
		clockLoop.Wait()
		stopped <- errors.Join(err, d.leave())
	}()
	var err error
	select {
	case err = <-stopped:
	case <-timeout:
		err = ErrStop
		if left := d.leaveAnyway(); left != nil {
			err = errors.Join(err, left)
		}
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	return err
}

// services are what the API answers from, and the dashboard shows.
func (d *Daemon) services() api.Services {
	s := api.Services{Issuer: d.issuer, Node: d, Streams: streams{d.streams}, Evidence: d.evidence}
	s.Web = web.New(api.NewAnswers(s), web.Options{Logger: d.log})
	return s
}

// Reload takes over what can change without a restart, has the access log opened again, and returns what differs: a
// Change that is not Live waits for the next start. It fails, and changes nothing, when
// the result would not be valid.
func (d *Daemon) Reload(next config.Config) ([]config.Change, error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	changes := config.Diff(d.config, next)
	adopted, err := d.config.Adopt(next)
	if err != nil {
		return nil, err
	}
	// Adopt has checked both: neither is expected to fail.
	if err := d.ntp.SetPolicy(policy(&adopted.NTP)); err != nil {
		return nil, err
	}
	if err := d.issuer.SetMaxLead(adopted.HLC.MaxLead); err != nil {
		return nil, errors.Join(err, d.ntp.SetPolicy(policy(&d.config.NTP)))
	}
	if err := d.poller.Reload(upstreamSources(adopted.Sources)); err != nil {
		return nil, err
	}
	if err := d.api.SetAccess(access(&adopted)); err != nil {
		return nil, err
	}
	if err := d.evidence.reload(&adopted, changes); err != nil {
		return nil, err
	}
	d.api.ReopenLog()
	d.keeper.set(&adopted)
	d.config = adopted
	return changes, nil
}

// serverOptions are what the NTP server needs of the configuration.
func serverOptions(c *config.NTP) ntpserver.Options {
	return ntpserver.Options{
		Addrs:      c.Listen,
		Workers:    c.Workers,
		Policy:     policy(c),
		BasicOnly:  !c.Interleaved,
		ClientsMax: clientsMax,
		DSCP:       c.DSCP,
		Interface:  c.Interface,
	}
}

// policy is who may ask the NTP server, and how often.
func policy(c *config.NTP) ntpserver.Policy {
	return ntpserver.Policy{
		Allow: c.Allow,
		Deny:  c.Deny,
		Rate:  ntpserver.Rate{Interval: c.RateInterval, Burst: c.RateBurst, Kiss: c.RateKiss, Private: c.RatePrivate},
	}
}

// bindingKeys names the keys that say where the NTP server listens.
func bindingKeys(c *config.NTP) string {
	if c.Interface == "" {
		return "ntp.listen names the addresses"
	}
	return "ntp.listen names the addresses and ntp.interface the interface"
}

func addrs(list []netip.AddrPort) []string {
	var text []string
	for _, a := range list {
		text = append(text, a.String())
	}
	return text
}

// Refused reports whether Open failed because the data directory was refused.
func Refused(err error) bool { return errors.Is(err, store.ErrRefused) }
