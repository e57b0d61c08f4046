package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/leap"
	"github.com/truechimer/truechimer/internal/sysclock"
)

// keeping is how the time is kept: by following whoever steers the system clock, or by
// steering a clock ourselves. Exactly one of follow and steered is there. It is guarded by
// the timekeeper's lock.
type keeping struct {
	system  sysclock.System
	jury    *jury
	scale   *leap.Scale
	follow  *sysclock.Follow
	steered *sysclock.Disciplined
	// The rest is set once, or guarded by the timekeeper's lock.
	driftPath string
	drift     api.Drift // what the drift file held at the start, or was last written
	leapFile  *sysclock.LeapFile
	leaps     sysclock.Leaps
	outvoted  outvoted
	asleep    time.Duration // as follow judged last
}

// opener opens the clock that mode steer corrects; tests put another in its place.
type opener func(sysclock.System) (sysclock.Actuator, error)

// openKernel takes over this machine's clock.
func openKernel(system sysclock.System) (sysclock.Actuator, error) {
	k, err := sysclock.OpenKernel(system)
	if err != nil {
		return nil, fmt.Errorf("clock.mode is steer: %w", err)
	}
	return k, nil
}

// newKeeping prepares the mode that c names. A drift file that cannot be used is said in the
// log, and no reason not to start.
func newKeeping(system sysclock.System, c *config.Config, open opener, log *slog.Logger) (*keeping, error) {
	k := &keeping{
		system:    system,
		scale:     new(leap.Scale),
		driftPath: filepath.Join(c.Node.DataDir, sysclock.DriftName),
		leapFile:  sysclock.NewLeapFile(c.Clock.LeapFile),
		outvoted:  make(outvoted),
	}
	_, unix := system.Local()
	k.leaps = k.leapFile.Load(unix)
	k.scale.Set(k.leaps.Table)
	precision := sysclock.Precision()
	drift, err := sysclock.ReadDrift(k.driftPath)
	switch {
	case err == nil:
		k.drift = api.Drift{FrequencyPPM: drift.FrequencyPPM, SkewPPM: drift.SkewPPM, Saved: drift.Written}
	case !errors.Is(err, fs.ErrNotExist):
		log.Warn("drift file not used", "err", err)
	}
	d := discipline.New(discipline.Options{
		MinSources:  c.Clock.MinSources,
		DistanceMax: c.Clock.ErrorLimit,
		Frequency:   drift.FrequencyPPM * 1e-6,
		Skew:        drift.SkewPPM * 1e-6,
	})
	k.jury = &jury{scale: k.scale, discipline: d}
	if c.Clock.Mode == config.ModeFollow {
		k.follow = sysclock.NewFollow(system, precision, localAddrs, followSettings(c, k.leaps.Table))
		return k, nil
	}
	mode, base := clock.Virtual, drift.FrequencyPPM
	var actuator sysclock.Actuator = sysclock.NewVirtual(system)
	if c.Clock.Mode == config.ModeSteer {
		mode = clock.Steer
		if actuator, err = open(system); err != nil {
			return nil, err
		}
		if kernel, ok := actuator.(*sysclock.KernelClock); ok && k.drift == (api.Drift{}) {
			base = kernel.Found()
		}
	}
	k.steered = sysclock.NewDisciplined(system, actuator, d, k.scale, mode, precision, base, disciplinedSettings(c))
	return k, nil
}

// followSettings are what the driver that follows needs of the configuration.
func followSettings(c *config.Config, leaps *leap.Table) sysclock.FollowSettings {
	s := sysclock.FollowSettings{
		LocalStratum:  c.Clock.LocalStratum,
		FollowStratum: c.Clock.FollowStratum,
		ErrorLimit:    c.Clock.ErrorLimit,
		Leaps:         leaps,
	}
	switch c.Clock.Chronyd {
	case config.ChronydOff:
	case config.ChronydAuto:
		s.Tracker = &sysclock.Chronyd{}
	default:
		s.Tracker = &sysclock.Chronyd{Address: c.Clock.Chronyd}
	}
	return s
}

// disciplinedSettings are what a driver that steers needs of the configuration.
func disciplinedSettings(c *config.Config) sysclock.DisciplinedSettings {
	return sysclock.DisciplinedSettings{
		LocalStratum:  c.Clock.LocalStratum,
		ErrorLimit:    c.Clock.ErrorLimit,
		MinSources:    c.Clock.MinSources,
		StepThreshold: c.Clock.StepThreshold,
		StepUpdates:   c.Clock.StepUpdates,
		SlewMaxPPM:    float64(c.Clock.SlewMaxPPM),
	}
}

// set takes over what can change while it runs.
func (k *keeping) set(c *config.Config) {
	if k.follow != nil {
		k.follow.Set(followSettings(c, k.leaps.Table))
		k.jury.set(discipline.Options{MinSources: c.Clock.MinSources, DistanceMax: c.Clock.ErrorLimit})
		return
	}
	k.jury.with(func() { k.steered.Set(disciplinedSettings(c)) })
}

// poll has the driver make a snapshot.
func (k *keeping) poll(ctx context.Context, set bool) (s *clock.Snapshot) {
	if k.follow != nil {
		return k.follow.Poll(ctx, set)
	}
	k.jury.with(func() { s = k.steered.Poll(ctx, set) })
	return s
}

// setLeaps makes a list of leap seconds the one in use. One that the sources announced stays
// where the new list does not know better.
func (k *keeping) setLeaps(leaps sysclock.Leaps) {
	if leaps.Table != k.leaps.Table {
		k.scale.Set(leaps.Table)
	}
	k.leaps = leaps
	if k.follow != nil {
		k.follow.SetLeaps(leaps.Table)
	}
}

// judged is what a Poll brought besides the snapshot.
type judged struct {
	selection *discipline.Selection
	at, mono  time.Duration // one instant on the local timeline and the monotonic clock
	slewPPM   float64
	behind    time.Duration // left to correct, whatever can be claimed; 0 where there is no estimate
	left      time.Duration // until the bound reaches the limit; 0: unknown
	rival     string
}

// judge asks the sources what they say besides the driver, which has just polled.
func (k *keeping) judge() *judged {
	r := k.system.Read()
	j := &judged{at: r.Local, mono: r.Mono}
	if k.steered == nil {
		if r.Asleep > k.asleep { // the driver that steers does the same
			k.jury.with(k.jury.discipline.Restart)
		}
		k.asleep = r.Asleep
		j.selection = k.jury.judge(r.Local)
		return j
	}
	k.jury.with(func() {
		j.selection = keep(*k.steered.Selection())
		j.slewPPM, j.rival = k.steered.SlewPPM(), k.steered.Rival()
		if behind, ok := k.steered.Behind(); ok {
			j.behind, j.left = behind, k.steered.Left(r.Local)
		}
	})
	return j
}

// local returns the instant of a reading of the monotonic clock on the local timeline, and
// monotonic the reverse. Both are good for the seconds around it.
func (j *judged) local(mono time.Duration) time.Duration   { return j.at + mono - j.mono }
func (j *judged) monotonic(at time.Duration) time.Duration { return j.mono + at - j.at }

// witness compares the clock that somebody else steers with what our own sources say of it:
// the offset of the sources to the clock, and the largest error of that. ok is false where
// they say nothing.
func (j *judged) witness(scale *leap.Scale, s *clock.Snapshot, mono time.Duration) (offset, bound time.Duration, ok bool) {
	if !j.selection.Valid {
		return 0, 0, false
	}
	e := j.selection.Estimate.At(j.local(mono))
	w := clock.Snapshot{Judgement: clock.Judgement{State: clock.Synchronised, RootDelay: e.RootDelay, RootDispersion: e.RootDispersion, ProviderError: e.ProviderError}}
	return time.Duration(e.Remote - scale.TAI(s.UTC(mono))), w.ErrorBound(0), true
}

// taught returns what the sources have taught of the oscillator, as the drift file keeps it.
func (k *keeping) taught() (d sysclock.Drift, ok bool) {
	if k.steered == nil {
		return d, false
	}
	k.jury.with(func() { d.FrequencyPPM, d.SkewPPM, ok = k.steered.Drift() })
	return d, ok
}

// close leaves the clock in a sane state. It may be called while the loop still polls, which
// the clock refuses from then on.
func (k *keeping) close() (err error) {
	if k.steered != nil {
		k.jury.with(func() { err = k.steered.Close() })
	}
	return err
}
