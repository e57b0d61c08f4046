package sysclock

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/truechimer/truechimer/internal/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeSystem is a machine whose clocks a test moves.
type fakeSystem struct {
	reading   Reading
	kernel    Kernel
	kernelErr error
	stepped   chan func() // hands over what WatchSteps was given
}

func newFakeSystem() *fakeSystem {
	return &fakeSystem{
		reading: Reading{Mono: 1000 * time.Second, Local: 1000 * time.Second, Unix: 1_795_000_000_000_000_000},
		kernel:  Kernel{Synchronised: true, MaxError: 3210 * time.Microsecond, FrequencyPPM: 12.5},
		stepped: make(chan func(), 1),
	}
}

func (s *fakeSystem) Mono() time.Duration { return s.reading.Mono }
func (s *fakeSystem) Read() Reading       { return s.reading }

func (s *fakeSystem) Glance() (time.Duration, int64) { return s.reading.Mono, s.reading.Unix }

func (s *fakeSystem) Local() (time.Duration, int64) { return s.reading.Local, s.reading.Unix }

func (s *fakeSystem) Kernel() (Kernel, error) { return s.kernel, s.kernelErr }

func (s *fakeSystem) WatchSteps(ctx context.Context, stepped func()) error {
	s.stepped <- stepped
	<-ctx.Done()
	return nil
}

// pass lets time go by; the wall clock and the monotonic clock are slewed alike, and here
// not at all.
func (s *fakeSystem) pass(d time.Duration) {
	s.reading.Mono += d
	s.reading.Local += d
	s.reading.Unix += int64(d)
}

func (s *fakeSystem) step(d time.Duration) { s.reading.Unix += int64(d) }

func (s *fakeSystem) suspend(d time.Duration) {
	s.reading.Unix += int64(d)
	s.reading.Asleep += d
	s.reading.Local += d
}

type fakeTracker struct {
	tracking Tracking
	err      error
	during   func() // what happens while it answers; nil for nothing
}

func (f *fakeTracker) Tracking(context.Context) (Tracking, error) {
	if f.during != nil {
		f.during()
	}
	return f.tracking, f.err
}

// bench is a Follow between fakes: chronyd follows 192.0.2.1 and is ten seconds past its
// last update, and the kernel says that it is synchronised, too.
type bench struct {
	system   *fakeSystem
	chronyd  *fakeTracker
	follow   *Follow
	settings FollowSettings
}

const benchPrecision = -24

func newBench(change ...func(*FollowSettings)) *bench {
	b := &bench{system: newFakeSystem(), chronyd: &fakeTracker{}}
	b.chronyd.tracking = Tracking{
		RefID:          [4]byte{192, 0, 2, 1},
		Addr:           netip.MustParseAddr("192.0.2.1"),
		Stratum:        2,
		Leap:           clock.LeapNone,
		Reference:      b.system.reading.Unix - int64(10*time.Second),
		Correction:     100 * time.Microsecond,
		FrequencyPPM:   -12.5,
		SkewPPM:        7,
		RootDelay:      2 * time.Millisecond,
		RootDispersion: 500 * time.Microsecond,
		UpdateInterval: 64 * time.Second,
	}
	b.settings = FollowSettings{FollowStratum: 10, ErrorLimit: time.Second, Tracker: b.chronyd}
	for _, c := range change {
		c(&b.settings)
	}
	own := []netip.Addr{
		netip.MustParseAddr("127.0.0.1"),
		netip.MustParseAddr("198.51.100.7"),
		netip.MustParseAddr("::ffff:203.0.113.9"),
		netip.MustParseAddr("2001:db8::7"),
		netip.MustParseAddr("fe80::7%eth0"),
	}
	b.follow = NewFollow(b.system, benchPrecision, func() []netip.Addr { return own }, b.settings)
	return b
}

func withoutChronyd(s *FollowSettings) { s.Tracker = nil }

func (b *bench) poll() *clock.Snapshot { return b.follow.Poll(context.Background(), false) }

// update lets chronyd correct the clock now.
func (b *bench) update() {
	b.chronyd.tracking.Reference = b.system.reading.Unix - int64(time.Millisecond)
}
