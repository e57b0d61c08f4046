package sysclock

// Follow serves the system clock, and has to find out what may be said of it. There are
// three witnesses, and they are believed in this order:
//
//  1. chronyd, which steers it and states an error bound: believed as it stands, unless it
//     follows this very host (then two clocks would lean on each other), or its last update
//     is from before the clock was last set by another hand: the one that it had then, or
//     one that is older by its own time, which a step may have made look newer. An update
//     that is long past is a sign of holdover to those who saw it made; to a process that
//     has just started it looks like a clock that was set forward, and proves nothing.
//  2. The kernel, where somebody told it that the clock is synchronised to within maxerror.
//     A maxerror of zero, however long it has grown since, proves nothing: that is what is
//     written by those who did not measure. Setting the clock clears the assertion, so one
//     that is seen later is fresh. A suspend does not clear it, nor does the death of the
//     daemon that made it: after these it counts again, or counts for more than chronyd's
//     last word, when maxerror has been rewritten, that is, has become smaller. A clock that
//     is being slewed fast is on its way to somewhere, and is not believed to be there.
//  3. Nobody: then it is unsynchronised, or the local clock where the operator wants that.
//
// A leap second that was announced is no step: see follow_leap.go.
//
// What cannot be told: a clock that was set wrong by less than a minute or so in the moment
// before this process started, until chronyd's next update.

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/leap"
	"github.com/truechimer/truechimer/internal/ntp"
)

// FollowSettings are what an operator may change while it runs.
type FollowSettings struct {
	LocalStratum  uint8         // of an unsynchronised clock that is served all the same; 0: it is not
	FollowStratum uint8         // of a clock that the kernel asserts
	ErrorLimit    time.Duration // a larger error bound is no claim any more
	Tracker       Tracker       // nil: chronyd is not asked
	Leaps         *leap.Table   // the list of leap seconds; nil: there is none
}

// Follow is the Driver for a system clock that somebody else steers, or nobody. Not for
// concurrent use.
type Follow struct {
	system    System
	precision int8
	local     func() []netip.Addr
	settings  FollowSettings

	last     Reading
	lastSet  int64         // Unix time of the last step or wake-up, in the time after it; 0: none seen
	heard    heard         // chronyd's last answer
	stale    int64         // what heard was at the last step or wake-up: an update that does not know of it
	measured time.Duration // monotonic clock at the last step that was found by looking; 0: none
	asserted assertion
	distrust bool // the kernel counts only once it is told anew
	leaping  leaping
	steps    uint64
	synced   bool // it has been synchronised before
}

// assertion follows what the kernel is told of its clock.
type assertion struct {
	denied   bool          // it was seen unsynchronised last
	maxError time.Duration // as it was seen last; 0: not synchronised
	at       int64         // when it was told, or first seen, Unix nanoseconds
}

// see notes what the kernel says now, and reports whether somebody has told it anew since.
func (a *assertion) see(k Kernel, r Reading) (anew bool) {
	if !k.Synchronised {
		*a = assertion{denied: true}
		return false
	}
	anew = a.denied || k.MaxError < a.maxError
	if anew || a.at == 0 {
		a.at = r.Unix
	}
	a.denied, a.maxError = false, k.MaxError
	return anew
}

// heard is an answer of chronyd, and what was made of it.
type heard struct {
	mono      time.Duration
	tracking  Tracking
	judgement clock.Judgement // the zero one when the answer was refused
}

// NewFollow returns a driver over system. precision is log2 of seconds; local returns the
// addresses of this host.
func NewFollow(system System, precision int8, local func() []netip.Addr, settings FollowSettings) *Follow {
	return &Follow{system: system, precision: precision, local: local, settings: settings}
}

// Set changes the settings from the next Poll on.
func (f *Follow) Set(s FollowSettings) { f.settings = s }

// SetLeaps changes the list of leap seconds alone.
func (f *Follow) SetLeaps(t *leap.Table) { f.settings.Leaps = t }

const (
	// StepMin is the smallest jump that is told from a disturbed reading.
	StepMin = time.Millisecond
	// reportDelay is how much later than by looking a step may be heard of.
	reportDelay = time.Second
	// referenceSlack is how much older than a step chronyd's update may look when that
	// update made the step.
	referenceSlack = 5 * time.Second
	// referenceGrain is how far chronyd may shift the time of one update, as it does where
	// it compensates for temperature. Two updates are further apart.
	referenceGrain = time.Millisecond
	// answerHeld is how long chronyd's last answer stands when it does not answer in time:
	// a busy machine is no reason to unsynchronise.
	answerHeld = 5 * time.Second
	// silenceIntervals is how many update intervals chronyd may be without an update before
	// its sources count as gone, and silenceMin the shortest such time.
	silenceIntervals = 4
	silenceMin       = 5 * time.Minute
	// kernelGrowthPPM is how fast the kernel lets maxerror grow, and how fast a clock may
	// run away from whoever has stopped steering it: the most that a frequency correction
	// can be without a slew. Source: MAXFREQ in Linux, include/linux/timex.h.
	kernelGrowthPPM = 500
)

// Poll looks at the clocks, asks the witnesses, and judges. What the witnesses say counts
// only if the clock is still the one that was looked at when they have spoken.
func (f *Follow) Poll(ctx context.Context, set bool) *clock.Snapshot {
	reading := f.system.Read()
	f.notice(reading, set)
	judgement := f.judge(ctx, reading)
	if after := f.system.Read(); f.notice(after, false) {
		reading = after
		judgement = f.unsynchronised("the system clock was set while it was being looked at")
	}
	if judgement.State != clock.Unsynchronised {
		f.synced = true
	}
	table := f.table(reading)
	tai := f.tai(table, reading)
	utc := table.UTC(tai)
	if judgement.State != clock.Unsynchronised {
		judgement.Leap = table.Indicator(utc, judgement.Leap)
		judgement.Reference = min(judgement.Reference, utc) // what is past may show a later time than an inserted second
	}
	s := &clock.Snapshot{
		Time:      clock.Map{From: int64(reading.Mono), To: utc},
		Mode:      clock.Follow,
		Precision: f.precision,
		Asleep:    reading.Asleep,
		Steps:     f.steps,
		Judgement: judgement,
		System:    judgement,
	}
	table.Mark(s, tai)
	return s
}

// notice finds steps and suspends. A slew moves the monotonic clock and the wall clock
// alike, and of the two only the wall clock goes on in a suspend, so that whatever else
// comes between them was a jump. Where the system says that the clock was set, it was, by
// however little. notice reports whether there was a step or a suspend.
func (f *Follow) notice(r Reading, set bool) bool {
	last := f.last
	first := last == Reading{}
	slept := r.Asleep - last.Asleep
	jump := time.Duration(r.Unix-last.Unix) - (r.Mono - last.Mono) - slept
	f.last = r
	if slept > 0 {
		f.distrust = true
	}
	if first {
		f.await(r, false)
		return false
	}
	leapt, missed := false, false
	if slept == 0 {
		leapt, missed = f.leap(last, r, jump)
	}
	if leapt {
		jump = 0
		f.measured = r.Mono // the system will report it too
	}
	if missed {
		f.distrust = true
	}
	measured := jump.Abs() >= StepMin
	f.await(r, measured || slept > 0)
	if measured {
		f.measured = r.Mono
	}
	// A report of a step that was measured just before is no second one.
	stepped := measured || set && slept == 0 && (f.measured == 0 || r.Mono-f.measured > reportDelay)
	if stepped {
		f.steps++
	}
	if !stepped && slept <= 0 && !missed {
		return false
	}
	f.leaping.missed, f.leaping.shift = missed, 0
	f.lastSet = r.Unix
	f.stale = f.heard.tracking.Reference
	f.heard.judgement = clock.Judgement{}
	return true
}

func (f *Follow) judge(ctx context.Context, r Reading) clock.Judgement {
	kernel, kernelErr := f.system.Kernel()
	f.leaping.said = kernel.Leap
	anew := kernelErr == nil && f.asserted.see(kernel, r)
	if anew {
		f.distrust = false
	}
	reason, trouble := "nobody vouches for the system clock", ""
	if f.settings.Tracker != nil {
		tracking, err := f.settings.Tracker.Tracking(ctx)
		switch {
		case err == nil:
			j, refusal := f.judgeTracking(tracking, r)
			f.heard = heard{r.Mono, tracking, j}
			if refusal == "" {
				return f.limit(j)
			}
			// chronyd steers this clock: what the kernel says is chronyd's word too.
			return f.unsynchronised(refusal)
		case !errors.Is(err, ErrNoChronyd):
			if j := f.heard.judgement; j.State != clock.Unsynchronised && r.Mono-f.heard.mono <= answerHeld {
				return f.limit(aged(j, r.Mono-f.heard.mono))
			}
			reason = "chronyd cannot be asked (" + err.Error() + ")"
			trouble = "; " + reason
		}
	}
	if anew {
		f.heard.judgement = clock.Judgement{} // somebody has spoken since chronyd has
	}
	if kernelErr != nil {
		return f.unsynchronised(reason + "; " + kernelErr.Error())
	}
	j, refusal := f.judgeKernel(kernel)
	if refusal != "" {
		return f.unsynchronised(reason + "; " + refusal)
	}
	j.Reason += trouble
	return f.limit(f.notBelow(j, r))
}

// notBelow returns what the kernel says, widened so that it claims no more than chronyd's
// last word does by now: a correction that chronyd left half done is in that word alone,
// and nobody steers since.
func (f *Follow) notBelow(j clock.Judgement, r Reading) clock.Judgement {
	last := f.heard.judgement
	if last.State == clock.Unsynchronised {
		return j
	}
	age := r.Mono - f.heard.mono
	last.GrowthPPM = max(last.GrowthPPM, kernelGrowthPPM)
	before, now := clock.Snapshot{Judgement: last}, clock.Snapshot{Judgement: j}
	j.RootDispersion += max(0, before.ErrorBound(age)-now.ErrorBound(0))
	j.State = clock.Holdover
	j.Reason += fmt.Sprintf("; that was chronyd, which was last heard %v ago", age.Round(time.Second))
	return j
}

// aged returns what a judgement has become after some time.
func aged(j clock.Judgement, age time.Duration) clock.Judgement {
	s := clock.Snapshot{Judgement: j}
	j.RootDispersion = s.RootDispersion(age)
	return j
}

// judgeTracking returns what follows from chronyd's report, or why it cannot be believed.
func (f *Follow) judgeTracking(t Tracking, r Reading) (j clock.Judgement, refusal string) {
	// chronyd dates its update by the time that the clock will show when it is corrected.
	age := time.Duration(r.Unix-t.Reference) + t.Correction
	switch {
	case t.Leap == clock.LeapUnknown || t.Stratum == 0 || t.Stratum >= clock.StratumUnsynchronised:
		return j, "chronyd is not synchronised"
	case t.RefID == clock.RefIDLocal():
		return j, "chronyd follows nothing but its own local clock"
	case f.isLocal(t.Addr):
		return j, fmt.Sprintf("chronyd follows %v, an address of this host: a clock that follows its own server proves nothing; give chronyd another source", t.Addr)
	case t.Stratum > 1 && f.isLocalRefID(t.RefID): // at stratum 1 it is the ASCII name of a reference clock
		return j, fmt.Sprintf("chronyd's reference identifier %v is that of an address of this host: a clock that follows its own server proves nothing; give chronyd another source", ntp.RefIDFromASCII(string(t.RefID[:])))
	case f.lastSet != 0 && f.isStale(t, r, age), age < -referenceSlack:
		return j, f.doubt("the system clock was set by another hand") + ", and chronyd has made no update since"
	case !f.synced && age > silence(t):
		return j, fmt.Sprintf("chronyd's last update seems to be %v old, which a clock that was set forward before this process started looks like too", age.Round(time.Second))
	}
	j = clock.Judgement{
		State:          clock.Synchronised,
		Reason:         fmt.Sprintf("chronyd follows %s", trackingSource(t)),
		Source:         "chronyd",
		Leap:           t.Leap,
		Stratum:        t.Stratum,
		RefID:          t.RefID,
		Reference:      min(t.Reference, r.Unix), // which a pending correction can put it after
		RootDelay:      t.RootDelay,
		RootDispersion: t.RootDispersion,
		GrowthPPM:      clock.GrowthPPM(t.SkewPPM) + f.driftPPM(t, r),
		ResidualOffset: t.Correction,
		FrequencyPPM:   t.FrequencyPPM,
	}
	if age > silence(t) {
		j.State = clock.Holdover
		j.Reason = fmt.Sprintf("chronyd has not heard from its sources for %v", age.Round(time.Second))
	}
	return j, ""
}

// silence is how long chronyd may be without an update.
func silence(t Tracking) time.Duration { return max(silenceIntervals*t.UpdateInterval, silenceMin) }

// driftPPM returns how fast what is left to correct has grown since chronyd was last asked.
// Without an update in between it should shrink; it grows where chronyd only watches the
// clock (-x), and the clock then runs away at a rate that is in none of chronyd's bounds.
func (f *Follow) driftPPM(t Tracking, r Reading) float64 {
	before := &f.heard
	if before.mono == 0 || r.Mono <= before.mono || t.Reference != before.tracking.Reference {
		return 0
	}
	grown := t.Correction.Abs() - before.tracking.Correction.Abs()
	return max(0, 1e6*float64(grown)/float64(r.Mono-before.mono))
}

// isStale reports whether chronyd's last update is from before the last step or wake-up.
func (f *Follow) isStale(t Tracking, r Reading, age time.Duration) bool {
	older := time.Duration(t.Reference - f.stale)
	return older.Abs() < referenceGrain || (older-f.leaping.shift).Abs() < referenceGrain || age > time.Duration(r.Unix-f.lastSet)+referenceSlack
}

func trackingSource(t Tracking) string {
	if t.Addr.IsValid() {
		return t.Addr.String()
	}
	name := make([]byte, 0, len(t.RefID))
	for _, b := range t.RefID {
		if b > ' ' && b < 0x7f {
			name = append(name, b)
		}
	}
	return "the reference clock " + string(name)
}

func (f *Follow) isLocal(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	a = a.Unmap().WithZone("")
	if a.IsLoopback() || a.IsUnspecified() {
		return true
	}
	for _, own := range f.local() {
		if own.Unmap().WithZone("") == a {
			return true
		}
	}
	return false
}

// isLocalRefID reports whether a reference identifier stands for an address of this host, be
// it an IPv4 address or the hash of an IPv6 one.
// Source: RFC 5905, section 7.3, and the loop test of section 11.2.1.
func (f *Follow) isLocalRefID(id [4]byte) bool {
	if netip.AddrFrom4(id).IsLoopback() || ntp.RefIDOf(netip.IPv6Loopback()).Bytes() == id {
		return true
	}
	return slices.ContainsFunc(f.local(), func(own netip.Addr) bool { return ntp.RefIDOf(own).Bytes() == id })
}

// judgeKernel returns what follows from the kernel's state, or why that proves nothing.
func (f *Follow) judgeKernel(k Kernel) (j clock.Judgement, refusal string) {
	switch {
	case !k.Synchronised:
		return j, "the kernel says that it is not synchronised"
	case k.MaxError <= 0:
		return j, "the kernel says synchronised with an error of zero, which nobody has measured"
	case f.distrust:
		return j, f.doubt("the machine slept") + ", and nobody has corrected the clock since"
	case math.Abs(k.FrequencyPPM) > kernelGrowthPPM:
		return j, fmt.Sprintf("the kernel's clock is being slewed by %.0f ppm", k.FrequencyPPM)
	}
	return clock.Judgement{
		State:          clock.Synchronised,
		Reason:         fmt.Sprintf("the kernel was told that the clock is synchronised to within %v", k.MaxError),
		Source:         "kernel",
		Leap:           k.Leap,
		Stratum:        f.settings.FollowStratum,
		RefID:          clock.RefIDKernel(),
		Reference:      f.asserted.at,
		RootDispersion: k.MaxError,
		GrowthPPM:      kernelGrowthPPM,
		ResidualOffset: k.Residual,
		FrequencyPPM:   k.FrequencyPPM,
	}, ""
}

// limit takes back a claim that is too weak to be one.
func (f *Follow) limit(j clock.Judgement) clock.Judgement {
	s := clock.Snapshot{Judgement: j}
	if bound := s.ErrorBound(0); bound > f.settings.ErrorLimit {
		return f.unsynchronised(fmt.Sprintf("%s, but the error bound of %v exceeds the limit of %v (clock.error_limit)", j.Reason, bound, f.settings.ErrorLimit))
	}
	return j
}

func (f *Follow) unsynchronised(reason string) clock.Judgement {
	return unclaimedJudgement(reason, f.synced, f.settings.LocalStratum, f.last.Unix, f.precision)
}
