package web

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/rpc"
)

// noon is a day in 2026, Unix nanoseconds, and a whole number of seconds.
const noon = 1_795_000_000_000_000_000

// Fake is a Source that says what a test has put there.
type Fake struct {
	mu          sync.Mutex
	StatusM     *rpc.StatusResponse
	SourcesM    *rpc.SourcesResponse
	ClientsM    *rpc.ClientsResponse
	ComplianceM *rpc.ComplianceResponse
	HistoryM    map[rpc.HistorySpan]*rpc.HistoryResponse
	HostsM      *rpc.HostsResponse
	JournalM    *rpc.JournalHeadResponse
	Err         error // of every call; nil: there is none
	asked       map[string]int
}

// Change changes what it says. Messages that it has said must not be changed, but be replaced.
func (f *Fake) Change(do func(*Fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f)
}

// tell counts a question and answers it.
func tell[T any](f *Fake, name string, m func() T) (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked == nil {
		f.asked = make(map[string]int)
	}
	f.asked[name]++
	if f.Err != nil {
		var none T
		return none, f.Err
	}
	return m(), nil
}

func (f *Fake) Status(context.Context) (*rpc.StatusResponse, error) {
	return tell(f, "status", func() *rpc.StatusResponse { return f.StatusM })
}

func (f *Fake) Sources(context.Context) (*rpc.SourcesResponse, error) {
	return tell(f, "sources", func() *rpc.SourcesResponse { return f.SourcesM })
}

func (f *Fake) Clients(context.Context, *rpc.ClientsRequest) (*rpc.ClientsResponse, error) {
	return tell(f, "clients", func() *rpc.ClientsResponse { return f.ClientsM })
}

func (f *Fake) Compliance(context.Context, *rpc.ComplianceRequest) (*rpc.ComplianceResponse, error) {
	return tell(f, "compliance", func() *rpc.ComplianceResponse { return f.ComplianceM })
}

func (f *Fake) History(_ context.Context, q *rpc.HistoryRequest) (*rpc.HistoryResponse, error) {
	return tell(f, "history", func() *rpc.HistoryResponse { return f.HistoryM[q.Span] })
}

func (f *Fake) Hosts(context.Context, *rpc.HostsRequest) (*rpc.HostsResponse, error) {
	return tell(f, "hosts", func() *rpc.HostsResponse { return f.HostsM })
}

func (f *Fake) JournalHead(context.Context, *rpc.JournalHeadRequest) (*rpc.JournalHeadResponse, error) {
	return tell(f, "journal", func() *rpc.JournalHeadResponse { return f.JournalM })
}

// NewFake returns a node as one may find it: synchronised again after an outage with holdover, with
// twelve sources, one of which lies and one of which is gone.
func NewFake() *Fake {
	f := &Fake{HistoryM: make(map[rpc.HistorySpan]*rpc.HistoryResponse)}
	f.StatusM = fakeStatus()
	f.SourcesM = fakeSources()
	f.ClientsM = fakeClients()
	f.ComplianceM = fakeCompliance()
	f.HostsM = fakeHosts()
	f.JournalM = &rpc.JournalHeadResponse{
		Head: "tc1 evidence=48211 raw=10482113 hash=7be1c3a9f04d5b62 at=2026-11-18T20:26:00Z sig=MEQCIGl0LX3vJ5mXQ0pYk7", PublicKey: "aa",
		EvidenceRecords: 48_211, RawRecords: 10_482_113, Bytes: 812_000_000, PlannedBytes: 3_400_000_000,
		EvidenceSinceUnixNs: noon - 190*86_400e9, RawSinceUnixNs: noon - 30*86_400e9, EvidenceKeptSeconds: 7 * 31_557_600, RawKeptSeconds: 30 * 86_400,
	}
	for span, step := range map[rpc.HistorySpan]uint32{rpc.HistorySpan_HISTORY_SPAN_HOUR: 10, rpc.HistorySpan_HISTORY_SPAN_DAY: 120, rpc.HistorySpan_HISTORY_SPAN_MONTH: 3600} {
		n := map[uint32]int{10: 360, 120: 720, 3600: 720}[step]
		f.HistoryM[span] = fakeHistory(f.SourcesM.Sources, n, step)
	}
	return f
}

func fakeStatus() *rpc.StatusResponse {
	tai := int32(37)
	return &rpc.StatusResponse{
		Node: &rpc.Node{Name: "alpha", Number: 7, Version: "v0.7.0", StoreId: "00112233445566778899aabbccddeeff", StartedUnixNs: noon - 9*86_400e9},
		Clock: &rpc.Clock{
			State: rpc.ClockState_CLOCK_STATE_SYNCHRONISED, Reason: "ten of twelve sources agree within 1.4 ms of each other", Mode: "steer", Source: "sources", Stratum: 2,
			Refid: "192.0.2.11", RootDelayNs: 2_417_003, RootDispersionNs: 311_207, GrowthPpm: 0.4, ResidualOffsetNs: -18_402, ErrorBoundNs: 1_538_119,
			FrequencyPpm: -12.3471, SkewPpm: 0.0182, UtcUnixNs: noon, Intervals: true, ErrorLimitNs: 50_000_000, HoldoverLeftNs: 33*3600e9 + 12*60e9,
			TaiOffset: &tai, LeapExpiresUnixNs: noon + 200*86_400e9, LeapOrigin: "the time zone data", Timescale: "UTC",
		},
		Hlc: &rpc.Hlc{
			Epoch: 12, Issuing: true, Last: uint64(hlc.FromUnix(noon)) + 17, Ceiling: uint64(hlc.FromUnix(noon + 212_000_000)), LeadNs: 1_204, MaxLeadNs: 500_000_000,
		},
		Ntp:     &rpc.Ntp{Listen: []string{"0.0.0.0:123"}, Verdicts: map[string]uint64{"answered": 48_117_204}},
		Ready:   true,
		Alarms:  []*rpc.Alarm{{Name: "source_deviation", Sentence: "bank-east is 38.2 ms away from the median of the others; it is outvoted. Ask who runs it, or remove it.", SinceUnixNs: noon - 47*60e9}},
		Sources: &rpc.SourceSummary{Known: 12, Reachable: 11, Agree: 10, Following: "nist-a", FollowingAddress: "192.0.2.11:123", FollowingStratum: 1},
		Streams: &rpc.Streams{Streams: 14, Watchers: 6, Events: 1_234_567, Bytes: 481_223_904, Appends: 300_000, FreeBytes: 412e9, ReserveBytes: 1 << 30},
	}
}

func fakeSources() *rpc.SourcesResponse {
	r := rand.New(rand.NewPCG(1, 2))
	m := &rpc.SourcesResponse{UtcUnixNs: noon}
	names := []string{"nist-a", "nist-b", "nist-c", "ptb-1", "bank-west", "bank-east", "dc1-gps", "dc2-gps", "pool", "pool", "pool", "far-away"}
	for i, name := range names {
		heard := int64(3e9 + r.Int64N(60e9))
		s := &rpc.Source{
			Name: name, Address: fmt.Sprintf("192.0.2.%d:123", 11+i), Status: "combined", Reason: "it agrees with the majority", Weight: 0.1,
			Reach: 0o377, PollLog2: 6, HeardAgoNs: &heard, Stratum: 1 + uint32(i%3), Refid: []string{"GPS", "NIST", "PPS"}[i%3],
			OffsetNs: int64(r.NormFloat64() * 180e3), DelayNs: int64(1e6 + r.Float64()*9e6), JitterNs: int64(8e3 + r.Float64()*60e3), Samples: 24, Nist: i < 3,
		}
		s.RootDistanceNs = s.DelayNs/2 + int64(4e5+r.Float64()*8e5)
		switch name {
		case "nist-a":
			s.Status, s.Reason = "selected", "it agrees with the majority and says the most"
		case "bank-east":
			s.Status, s.Reason, s.OffsetNs, s.Reach = "falseticker", "its interval does not meet those of the majority", 38_200_000, 0o357
		case "dc1-gps", "dc2-gps":
			s.Site, s.RootDistanceNs, s.DelayNs, s.OffsetNs = "hall "+name[2:3], 90_000, 120_000, s.OffsetNs/20
		case "far-away":
			s.Status, s.Reason, s.Reach, s.Samples, s.Stratum, s.Refid, s.HeardAgoNs = "unreachable", "no answer to the last eight polls", 0, 0, 0, "", nil
		}
		m.Sources = append(m.Sources, s)
	}
	return m
}

func fakeClients() *rpc.ClientsResponse {
	r := rand.New(rand.NewPCG(3, 4))
	m := &rpc.ClientsResponse{Remembered: 18_204, UtcUnixNs: noon}
	for i := range 6 {
		requests := uint64(4_000_000 / (i + 1))
		m.Clients = append(m.Clients, &rpc.NtpClient{
			Address: fmt.Sprintf("198.51.100.%d", 7+13*i), Version: 4, Mode: 3, Requests: requests, Drops: uint64(r.IntN(2)) * requests / 50,
			LastUnixNs: noon - int64(r.IntN(30e9)), IntervalNs: int64(1+i) * 900e6,
		})
	}
	return m
}

func fakeCompliance() *rpc.ComplianceResponse {
	days := func(spoil func(i int, d *rpc.DayVerdicts)) []*rpc.DayVerdicts {
		var all []*rpc.DayVerdicts
		today := int64(noon / 1e9 / 86_400 * 86_400)
		for i := range 30 {
			d := &rpc.DayVerdicts{Start: today - int64(29-i)*86_400, Ok: 86_400}
			if i == 29 {
				d.Ok = uint32(noon/1e9 - today)
			}
			spoil(i, d)
			all = append(all, d)
		}
		return all
	}
	return &rpc.ComplianceResponse{
		UtcUnixNs: noon,
		Verdicts: []*rpc.ProfileVerdict{
			{
				Profile: "finra-50ms", Clock: rpc.JudgedClock_JUDGED_CLOCK_SYSTEM, Verdict: rpc.Verdict_VERDICT_OK, Reason: "the error bound is within the warn level", SinceUnixNs: noon - 21*86_400e9,
				BoundNs: 1_538_119, OffsetNs: -18_402, ToleranceNs: 50_000_000, WarnNs: 25_000_000,
				PreOpen: &rpc.PreOpenState{Day: "2026-11-18", DueUnixNs: noon - 5*3600e9, Passed: true, Sentence: "within 1.4 ms, ten sources agreed"},
				Days: days(func(i int, d *rpc.DayVerdicts) {
					switch i {
					case 2:
						d.Ok, d.Gap = 86_400-5400, 5400
					case 8:
						d.Ok, d.Warn, d.Breach = 86_400-1500, 1260, 240
					}
				}),
			},
			{
				Profile: "mifid-1ms", Clock: rpc.JudgedClock_JUDGED_CLOCK_SYSTEM, Verdict: rpc.Verdict_VERDICT_BREACH, Reason: "the error bound is 1.54 ms, and the limit 1 ms", SinceUnixNs: noon - 38*60e9,
				BoundNs: 1_538_119, OffsetNs: -18_402, ToleranceNs: 1_000_000, WarnNs: 500_000, Breaches_24H: 3,
				Days: days(func(i int, d *rpc.DayVerdicts) {
					switch {
					case i < 4:
						d.Ok, d.Gap = 0, 86_400
					case i == 17:
						d.Ok, d.Unknown = 80_000, 6_400
					case i%5 == 0 || i == 29:
						d.Breach = 600
						d.Ok -= 600
					case i%3 == 0:
						d.Ok -= 9000
						d.Warn = 9000
					}
				}),
			},
		},
		Breaches: []*rpc.Breach{
			{Id: 41, Profile: "mifid-1ms", Clock: rpc.JudgedClock_JUDGED_CLOCK_SYSTEM, StartUnixNs: noon - 38*60e9, Worst: rpc.Verdict_VERDICT_BREACH, PeakNs: 4_812_000, ToleranceNs: 1e6, Cause: "holdover: no source was heard for 9 min"},
			{Id: 40, Profile: "mifid-1ms", Clock: rpc.JudgedClock_JUDGED_CLOCK_SYSTEM, StartUnixNs: noon - 9*3600e9, EndUnixNs: noon - 9*3600e9 + 312e9, Worst: rpc.Verdict_VERDICT_UNKNOWN, PeakNs: -1, ToleranceNs: 1e6, Cause: "no error bound could be claimed: the clock jumped", SelfReport: true},
		},
		Channels: []*rpc.AlertChannel{
			{Name: "ops", Type: "alertmanager", Taken: 412, LastTakenUnixNs: noon - 25e9},
			{Name: "desk", Type: "webhook", Queued: 2, Taken: 57, Failures: 3, LastTakenUnixNs: noon - 3600e9, Fault: "connection refused"},
		},
	}
}

func fakeHosts() *rpc.HostsResponse {
	m := &rpc.HostsResponse{}
	for i := range 6 {
		h := &rpc.Host{
			Group: "trading", Name: fmt.Sprintf("trade-%02d", i+1), Address: fmt.Sprintf("203.0.113.%d:123", 10+i), Verdict: rpc.Verdict_VERDICT_OK, Reason: "within the limit",
			OffsetNs: int64(i-3) * 210_000, BoundNs: 3_100_000 + int64(i)*200_000, Stratum: 3, LastAnswerUnixNs: noon - int64(i+1)*7e9, Probes: 5_000, Lost: uint64(i), ToleranceNs: 50_000_000,
		}
		switch i {
		case 3:
			h.Verdict, h.Reason, h.OffsetNs, h.BoundNs = rpc.Verdict_VERDICT_BREACH, "its clock may be 61 ms from UTC", -58_000_000, 61_000_000
		case 4:
			h.Verdict, h.Reason, h.BoundNs, h.LastAnswerUnixNs, h.Lost = rpc.Verdict_VERDICT_UNKNOWN, "it never answered", -1, 0, 5_000
		}
		m.Hosts = append(m.Hosts, h)
	}
	return m
}

// fakeHistory is a past of n steps: an outage in its middle third, in which the bound grows, a
// restart that nobody looked at, and a bound that wanders.
func fakeHistory(sources []*rpc.Source, n int, step uint32) *rpc.HistoryResponse {
	r := rand.New(rand.NewPCG(5, uint64(step)))
	h := &rpc.HistoryResponse{Step: step}
	var kept []int
	for i := range n {
		if i >= n*4/5 && i < n*4/5+n/30 {
			continue
		}
		kept = append(kept, i)
		h.At = append(h.At, noon/1e9-int64(n-i)*int64(step))
	}
	add := func(name string, spread float64, value func(i int) float64) {
		s := &rpc.Series{Name: name}
		for _, i := range kept {
			v := value(i)
			s.Mean = append(s.Mean, v)
			if spread > 0 {
				s.Min = append(s.Min, v-spread*r.Float64())
				s.Max = append(s.Max, v+spread*r.Float64())
			}
		}
		h.Series = append(h.Series, s)
	}
	out := func(i int) bool { return i > n/3 && i < n/2 }
	wander := 0.0
	walk := func(by float64) float64 { wander = wander*0.97 + r.NormFloat64()*by; return wander }
	add(compliance.SeriesBound, 8e-5, func(i int) float64 {
		v := 1.5e-3 + walk(6e-5)
		if out(i) {
			v += float64(i-n/3) / float64(n) * 18e-3
		}
		return v
	})
	wander = 0
	add(compliance.SeriesOffset, 2e-5, func(int) float64 { return walk(6e-5) })
	wander = 0
	add(compliance.SeriesFrequency, 0, func(i int) float64 { return -12.3 + walk(0.004) + 0.02*math.Sin(float64(i)/40) })
	for i, s := range sources {
		offset, bound := compliance.SourceSeries(s.Name, s.Address)
		wander = 0
		value := func(k int) float64 {
			if s.Samples == 0 || out(k) {
				return math.NaN()
			}
			return float64(s.OffsetNs)/1e9 + walk(4e-5)
		}
		add(offset, 0, value)
		add(bound, 0, func(k int) float64 {
			if s.Samples == 0 || out(k) {
				return math.NaN()
			}
			return float64(s.RootDistanceNs)/1e9 + 1e-5*float64((k+i)%7)
		})
	}
	for i, verdict := range []string{"answered", "interleaved", "rate", "denied", "short", "malformed"} {
		rate := []float64{9_800, 1_200, 300, 20, 2, 0.5}[i]
		add(compliance.VerdictSeries(verdict), 0, func(i int) float64 { return rate * (1 + 0.15*math.Sin(float64(i)/30) + 0.03*r.NormFloat64()) })
	}
	add(compliance.SeriesClients, 0, func(i int) float64 { return 18_000 + float64(i) })
	add(compliance.SeriesIssued, 0, func(i int) float64 { return math.Max(0, 42_000+9_000*math.Sin(float64(i)/22)+1_500*r.NormFloat64()) })
	add(compliance.SeriesLead, 0, func(int) float64 { return math.Abs(r.NormFloat64()) * 2e-6 })
	add(compliance.SeriesCeiling, 0, func(i int) float64 { return 0.15 + 0.1*float64(i%9)/9 })
	add(compliance.SeriesEvents, 0, func(i int) float64 { return math.Max(0, 320+90*math.Sin(float64(i)/15)+20*r.NormFloat64()) })
	return h
}

// NewTypical is NewFake with what most nodes have: one profile, nothing wrong, and nobody else observed.
func NewTypical() *Fake {
	f := NewFake()
	f.StatusM.Alarms = nil
	f.ComplianceM.Verdicts, f.ComplianceM.Breaches = f.ComplianceM.Verdicts[:1], nil
	f.HostsM = &rpc.HostsResponse{}
	return f
}
