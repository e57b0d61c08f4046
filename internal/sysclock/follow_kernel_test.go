package sysclock

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/truechimer/truechimer/internal/clock"
)

func TestFollowAfterChronyd(t *testing.T) {
	b := newBench()
	b.chronyd.tracking.Correction = 300 * time.Millisecond
	before := b.poll()
	believed(t, before, "chronyd")
	b.chronyd.err = ErrNoChronyd
	b.system.pass(10 * time.Second)
	b.system.kernel.MaxError += 5 * time.Millisecond
	s := b.poll()
	if want := before.ErrorBound(before.Mono()) + 5*time.Millisecond; s.State != clock.Holdover || s.ErrorBound(s.Mono()) != want {
		t.Errorf("%v within %v, want holdover within %v", s.State, s.ErrorBound(s.Mono()), want)
	}
	b.system.kernel.MaxError = 20 * time.Second // more than chronyd's word
	b.settings.ErrorLimit = time.Minute
	b.follow.Set(b.settings)
	if s := b.poll(); s.ErrorBound(s.Mono()) != 20*time.Second {
		t.Errorf("within %v, want the kernel's own bound", s.ErrorBound(s.Mono()))
	}
	b.system.kernel.MaxError = time.Millisecond // somebody else steers now
	s = b.poll()
	believed(t, s, "kernel")
	if s.ErrorBound(s.Mono()) != time.Millisecond {
		t.Errorf("within %v, want the kernel's own bound", s.ErrorBound(s.Mono()))
	}
	b.system.kernel.FrequencyPPM = 83_333 // a slew that was left running
	refused(t, b.poll(), clock.RefIDStep(), "slewed by 83333 ppm")
	b.system.kernel.FrequencyPPM, b.system.kernel.Residual = -500, -30*time.Millisecond
	if s := b.poll(); s.ErrorBound(s.Mono()) != 31*time.Millisecond {
		t.Errorf("within %v, want what is left to correct and maxerror", s.ErrorBound(s.Mono()))
	}
}

func TestFollowKernelBefore(t *testing.T) {
	b := newBench(withoutChronyd)
	b.system.reading.Asleep = time.Hour
	refused(t, b.poll(), clock.RefIDInit(), "slept")
	b.system.kernel.MaxError -= time.Microsecond
	b.system.pass(time.Second)
	told := b.system.reading.Unix
	s := b.poll()
	believed(t, s, "kernel")
	b.system.pass(time.Minute)
	b.system.kernel.MaxError += 30 * time.Millisecond
	if s = b.poll(); s.Reference != told {
		t.Errorf("told at %d, want %d", s.Reference, told)
	}
	b.system.kernel.Synchronised = false
	b.poll()
	b.system.kernel.Synchronised = true
	if s = b.poll(); s.Reference != b.system.reading.Unix {
		t.Errorf("told anew at %d, want %d", s.Reference, b.system.reading.Unix)
	}
}

func TestFollowKernel(t *testing.T) {
	b := newBench(withoutChronyd)
	want := clock.Judgement{
		State:          clock.Synchronised,
		Reason:         "the kernel was told that the clock is synchronised to within 3.21ms",
		Source:         "kernel",
		Stratum:        10,
		RefID:          [4]byte{127, 127, 1, 0},
		Reference:      b.system.reading.Unix,
		RootDispersion: 3210 * time.Microsecond,
		GrowthPPM:      500,
		FrequencyPPM:   12.5,
	}
	s := b.poll()
	if diff := cmp.Diff(want, s.Judgement); diff != "" {
		t.Errorf("judgement differs (-want +got):\n%s", diff)
	}
	if bound := s.ErrorBound(s.Mono()); bound != 3210*time.Microsecond {
		t.Errorf("error bound %v, want maxerror", bound)
	}
	for _, leap := range []clock.Leap{clock.LeapInsert, clock.LeapDelete} {
		b.system.kernel.Leap = leap
		if s := b.poll(); s.Leap != leap {
			t.Errorf("leap %d, want %d", s.Leap, leap)
		}
	}
}

func TestFollowRefusesKernel(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*fakeSystem)
		reason string
	}{
		{"not synchronised", func(s *fakeSystem) { s.kernel.Synchronised = false }, "nobody vouches for the system clock; the kernel says that it is not synchronised"},
		{"an error of zero", func(s *fakeSystem) { s.kernel.MaxError = 0 }, "error of zero"},
		{"a negative error", func(s *fakeSystem) { s.kernel.MaxError = -1 }, "error of zero"},
		{"not told", func(s *fakeSystem) { s.kernelErr = ErrUnsupported }, ErrUnsupported.Error()},
		{"an error over the limit", func(s *fakeSystem) { s.kernel.MaxError = time.Second + 1 }, "exceeds the limit of 1s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(withoutChronyd)
			test.change(b.system)
			refused(t, b.poll(), clock.RefIDInit(), test.reason)
		})
	}
}

func TestFollowWithoutChronyd(t *testing.T) {
	for _, test := range []struct {
		name   string
		err    error
		reason string // what the judgement has to say of chronyd
	}{
		{"none", fmt.Errorf("%w at /run/x", ErrNoChronyd), ""},
		{"one that cannot be asked", errors.New("permission denied"), "chronyd cannot be asked (permission denied)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench()
			b.chronyd.err = test.err
			s := b.poll()
			believed(t, s, "kernel")
			if got := strings.Contains(s.Reason, "chronyd"); got != (test.reason != "") || !strings.Contains(s.Reason, test.reason) {
				t.Errorf("the reason is %q, want it to say %q", s.Reason, test.reason)
			}
			b.system.kernel.Synchronised = false
			refused(t, b.poll(), clock.RefIDStep(), test.reason)
		})
	}
}
