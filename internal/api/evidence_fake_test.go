package api

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// fakeEvidence answers every call with the same, or with an error, and keeps what it was asked.
type fakeEvidence struct {
	err    error
	ask    func(call string) // nil: nobody listens
	verify func(ctx context.Context, heads []store.JournalHead, tell func(*rpc.VerifyJournalResponse) error) (*rpc.VerifyJournalResponse, error)
	report func(ctx context.Context)

	compliance *rpc.ComplianceResponse
	hosts      *rpc.HostsResponse
	head       *rpc.JournalHeadResponse

	mu    sync.Mutex
	asked string        // in words
	sent  proto.Message // the request, where it is handed on as a whole
}

func newFakeEvidence() *fakeEvidence {
	return &fakeEvidence{
		compliance: new(rpc.ComplianceResponse), hosts: new(rpc.HostsResponse), head: new(rpc.JournalHeadResponse),
		report: func(context.Context) {},
		verify: func(_ context.Context, heads []store.JournalHead, _ func(*rpc.VerifyJournalResponse) error) (*rpc.VerifyJournalResponse, error) {
			return &rpc.VerifyJournalResponse{Done: true}, nil
		},
	}
}

func (f *fakeEvidence) note(sent proto.Message, format string, args ...any) error {
	words := fmt.Sprintf(format, args...)
	f.mu.Lock()
	f.asked, f.sent = words, sent
	f.mu.Unlock()
	if f.ask != nil {
		f.ask(words)
	}
	return f.err
}

func (f *fakeEvidence) was() (string, proto.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked, f.sent
}

// fakeBreach has no two figures that are the same.
func fakeBreach(id uint64) *rpc.Breach {
	return &rpc.Breach{
		Id: id, Profile: "finra-50ms", Clock: rpc.JudgedClock_JUDGED_CLOCK_SYSTEM, StartUnixNs: noon + 1, EndUnixNs: noon + 2,
		Worst: rpc.Verdict_VERDICT_BREACH, PeakNs: 60e6, PeakOffsetNs: -55e6, ToleranceNs: 50e6, Cause: "the sources were lost",
		Sources: []string{"ntp1: selected"}, Told: []string{"on-call"}, AcknowledgedBy: "ann", AcknowledgedUnixNs: noon + 3, Note: "works", In_24H: 4, SelfReport: true,
	}
}

func (f *fakeEvidence) Compliance(_ context.Context, days int) (*rpc.ComplianceResponse, error) {
	return f.compliance, f.note(nil, "compliance %d", days)
}

func (f *fakeEvidence) Breaches(_ context.Context, r *rpc.BreachesRequest) (*rpc.BreachesResponse, error) {
	return &rpc.BreachesResponse{Breaches: []*rpc.Breach{fakeBreach(7), {Id: 6}}, More: true}, f.note(r, "breaches")
}

func (f *fakeEvidence) Acknowledge(_ context.Context, who string, id uint64, note string) (*rpc.Breach, error) {
	return fakeBreach(id), f.note(nil, "acknowledge %d by %q: %q", id, who, note)
}

func (f *fakeEvidence) Hosts(_ context.Context, r *rpc.HostsRequest) (*rpc.HostsResponse, error) {
	return f.hosts, f.note(r, "hosts")
}

func (f *fakeEvidence) History(_ context.Context, r *rpc.HistoryRequest) (*rpc.HistoryResponse, error) {
	return &rpc.HistoryResponse{
		At: []int64{10, 20}, Step: 10, Series: []*rpc.Series{{Name: "clock.bound_seconds", Mean: []float64{0.5, math.NaN()}, Min: []float64{0.25, 0}, Max: []float64{1, 2}}, {}},
	}, f.note(r, "history")
}

func (f *fakeEvidence) Report(ctx context.Context, r *rpc.ReportRequest) (*rpc.ReportResponse, error) {
	err := f.note(r, "report")
	f.report(ctx)
	return &rpc.ReportResponse{Content: []byte("<html>"), ContentType: "text/html; charset=utf-8", FileName: "a.html"}, err
}

func (f *fakeEvidence) Journal(_ context.Context, r *rpc.JournalRequest) (*rpc.JournalResponse, error) {
	return &rpc.JournalResponse{
		Records: []*rpc.JournalRecord{
			{
				Sequence: 5, UnixNs: noon + 6, Kind: "stopped", Hash: []byte{1, 2, 3},
				Entry: &rpc.JournalEntry{What: &rpc.JournalEntry_Stopped{Stopped: &rpc.Stopped{Cause: "a signal"}}},
			},
			{Entry: &rpc.JournalEntry{What: &rpc.JournalEntry_Stopped{Stopped: &rpc.Stopped{}}}},
		},
		NextSequence: 7,
	}, f.note(r, "journal")
}

func (f *fakeEvidence) JournalHead(context.Context) (*rpc.JournalHeadResponse, error) {
	return f.head, f.note(nil, "head")
}

func (f *fakeEvidence) VerifyJournal(ctx context.Context, heads []store.JournalHead, tell func(*rpc.VerifyJournalResponse) error) (*rpc.VerifyJournalResponse, error) {
	var words strings.Builder
	for _, h := range heads {
		fmt.Fprintf(&words, " %d", h.EvidenceSequence)
	}
	if err := f.note(nil, "verify%s", words.String()); err != nil {
		return nil, err
	}
	return f.verify(ctx, heads, tell)
}

func (f *fakeEvidence) TestAlerts(_ context.Context, who string) (*rpc.TestAlertsResponse, error) {
	return &rpc.TestAlertsResponse{Results: []*rpc.Delivered{{Message: "m", Channel: "on-call", Taken: true, Attempts: 1}, {Channel: "hook", Fault: "it answered 500"}}}, f.note(nil, "test by %q", who)
}
