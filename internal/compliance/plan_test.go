package compliance

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/rpc"
)

// What is planned for an entry is at the least what one takes as an engine writes it, and not much
// more.
func TestPlanSizes(t *testing.T) {
	const sources = 16
	finra, _ := Builtin("finra-50ms")
	pci, _ := Builtin("pci-10.6")
	r := rand.New(rand.NewPCG(1, 1))
	noise := func(scale time.Duration) time.Duration { return time.Duration(r.NormFloat64() * float64(scale)) }
	b := newBench(t, finra, pci)
	b.s.Same = false
	b.s.Sources = agreeing(sources, 3, 0)
	b.s.FrequencyPPM = -12.345678
	b.s.RawSequence = 1 << 28
	b.s.TAIKnown, b.s.TAIOffset = true, 37
	var measured *rpc.JournalEntry
	for i := range 2 * 3600 {
		b.s.SlewPPM = r.NormFloat64()
		b.s.System = Reading{Claims: true, Bound: 12*ms + max(noise(300*time.Microsecond), -ms), Offset: noise(200 * time.Microsecond), State: "synchronised", Source: "time-a-g.nist.gov"}
		b.s.Served = b.s.System
		b.s.Served.Offset += noise(time.Microsecond)
		if i%16 == 0 {
			for n := range sources {
				m := &rpc.Measured{
					Source: uint32(n + 1), Origin: r.Uint64(), Receive: r.Uint64(), Transmit: r.Uint64(), Destination: r.Uint64(),
					OffsetNs: int64(noise(ms)), DelayNs: uint64(30*ms + noise(100*time.Microsecond)), BoundNs: uint64(20 * ms),
					RootDelayNs: uint64(2 * ms), RootDispersionNs: uint64(3 * ms), Stratum: 1, Refid: r.Uint32(), Authentication: "nts", Stamped: true,
				}
				b.e.Measured(b.now, m)
				measured = &rpc.JournalEntry{What: &rpc.JournalEntry_Measured{Measured: m}}
			}
		}
		b.run(1)
	}
	size := func(k Kind) int {
		all := b.j.all(k)
		return proto.Size(all[len(all)/2])
	}
	probe := &rpc.JournalEntry{What: &rpc.JournalEntry_Probe{Probe: &rpc.Probed{
		Group: "trading floor", Host: "[2001:db8:1234::1234]:123", Stamps: []uint64{1 << 60, 1 << 61, 1 << 62, 1 << 63},
		OffsetNs: int64(-ms), BoundNs: uint64(10 * ms), Stratum: 3, Refid: 1 << 30, Verdict: warn,
	}}}
	var offset, bound Distribution
	for range 60 {
		offset.Add(int64(noise(ms)), 1)
		bound.Add(int64(10*ms+noise(ms)), 1)
	}
	host := &rpc.JournalEntry{What: &rpc.JournalEntry_Host{Host: &rpc.HostHour{
		Start: at.Unix(), Group: "trading floor", Host: "[2001:db8:1234::1234]:123", Offset: offset.Proto(), Bound: bound.Proto(), Probes: 60, Lost: 2,
		Verdicts: &rpc.VerdictCount{Profile: "finra-50ms", Ok: 50, Warn: 8, Unknown: 2},
	}}}
	for _, c := range []struct {
		name    string
		planned int
		takes   int
	}{
		{"measured", measuredBytes, proto.Size(measured)},
		{"seconds", secondsBytes, size(KindSeconds)},
		{"minute", minuteBytes + 2*minuteProfileBytes, size(KindMinute)},
		{"hour", hourBytes + 2*hourProfileBytes + sources*hourSourceBytes, size(KindHour)},
		{"probe", probedBytes, proto.Size(probe)},
		{"host", hostHourBytes, proto.Size(host)},
	} {
		t.Logf("%s: %d bytes, of %d planned", c.name, c.takes, c.planned)
		if c.takes > c.planned || c.planned > c.takes*3/2 {
			t.Errorf("%s takes %d bytes, and %d are planned", c.name, c.takes, c.planned)
		}
	}
}

func TestPlan(t *testing.T) {
	const day = 24 * time.Hour
	raw, evidence := Plan(16, 16*time.Second, 2, 0, 0, 30*day, 7*Year)
	t.Logf("16 sources at 16 s: %d MB raw, %d MB of evidence", raw/1e6, evidence/1e6)
	more, _ := Plan(17, 16*time.Second, 2, 0, 0, 30*day, 7*Year)
	if each := uint64(5400 * 30 * (measuredBytes + rawRecordBytes)); absDiff(more-raw, each) > 1 {
		t.Errorf("a source takes %d bytes of raw records, want %d", more-raw, each)
	}
	more, moreEvidence := Plan(16, 16*time.Second, 2, 10, time.Minute, 30*day, 7*Year)
	if each := uint64(10 * 1440 * 30 * (probedBytes + rawRecordBytes)); absDiff(more-raw, each) > 1 || moreEvidence <= evidence {
		t.Errorf("10 hosts take %d bytes of raw records, want %d", more-raw, each)
	}
	if _, longer := Plan(16, 16*time.Second, 2, 0, 0, 30*day, 14*Year); absDiff(longer, 2*evidence) > 1 {
		t.Errorf("twice as long: %d, want twice %d", longer, evidence)
	}
	if raw, evidence := Plan(-1, 0, -1, -1, -1, -1, -1); raw != 0 || evidence != 0 {
		t.Errorf("nothing is kept, and takes %d, %d", raw, evidence)
	}
}

func absDiff(a, b uint64) uint64 { return uint64(math.Abs(float64(a) - float64(b))) }

// BenchmarkStep is a second of 16 profiles and 64 sources, both clocks.
func BenchmarkStep(b *testing.B) {
	var profiles []Profile
	for i := range 16 {
		p, _ := Builtin("finra-50ms")
		p.Name = string(rune('a' + i))
		profiles = append(profiles, p)
	}
	e := NewEngine(Options{Profiles: profiles})
	r := rand.New(rand.NewPCG(1, 1))
	s := Second{Unix: at.UnixNano(), Sources: agreeing(64, 8, 4)}
	for i := range s.Sources {
		s.Sources[i].Name = time.Duration(i).String()
	}
	b.ReportAllocs()
	for b.Loop() {
		s.System = Reading{Claims: true, Bound: 10*ms + time.Duration(r.IntN(1e6)), Offset: time.Duration(r.IntN(1e5)), State: "synchronised"}
		s.Served = s.System
		e.Step(s)
		s.Unix += second
	}
}

// BenchmarkRestore starts from a year of hours of 16 sources.
func BenchmarkRestore(b *testing.B) {
	p, _ := Builtin("finra-50ms")
	e := NewEngine(Options{Profiles: []Profile{p}})
	j := &ledger{t: b}
	r := rand.New(rand.NewPCG(1, 1))
	now := at.UnixNano()
	for range 365 * 24 {
		for range 20 { // enough of an hour for its size
			for n := range uint32(16) {
				e.Measured(now, &rpc.Measured{Source: n + 1, OffsetNs: r.Int64N(2e6) - 1e6, DelayNs: uint64(r.Int64N(1e7))})
			}
		}
		for range 3 {
			s := Second{Unix: now, Same: true, System: Reading{Claims: true, Bound: 10*ms + time.Duration(r.IntN(1e6))}}
			j.write(now, e.Step(s).Entries)
			now += second
		}
		now += 3597 * second
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Restore(b.Context(), j, now); err != nil {
			b.Fatal(err)
		}
	}
}

// A second costs a few allocations, whatever the number of profiles and sources.
func TestStepAllocations(t *testing.T) {
	var profiles []Profile
	for i := range 16 {
		p := NewProfile(string(rune('a'+i)), 50*ms)
		p.MinSources = 3
		profiles = append(profiles, p)
	}
	b := newBench(t, profiles...)
	b.now -= 20 * second
	b.s.Sources = agreeing(64, 8, 4)
	b.run(5)
	n := testing.AllocsPerRun(40, func() {
		b.s.Unix += second
		b.e.Step(b.s)
	})
	if n > 10 {
		t.Errorf("%v allocations a second", n)
	}
}
