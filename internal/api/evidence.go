package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// Evidence is what proves how far the clocks were from UTC. Its messages are those of the
// service, whose requests have been checked. All its methods may be called concurrently.
type Evidence interface {
	Compliance(ctx context.Context, days int) (*rpc.ComplianceResponse, error)
	Breaches(ctx context.Context, r *rpc.BreachesRequest) (*rpc.BreachesResponse, error)
	// Acknowledge fails with ErrNoBreach.
	Acknowledge(ctx context.Context, who string, id uint64, note string) (*rpc.Breach, error)
	Hosts(ctx context.Context, r *rpc.HostsRequest) (*rpc.HostsResponse, error)
	History(ctx context.Context, r *rpc.HistoryRequest) (*rpc.HistoryResponse, error)
	// Report fails with ErrNoProfile and ErrPeriod.
	Report(ctx context.Context, r *rpc.ReportRequest) (*rpc.ReportResponse, error)
	// Journal fails with ErrKind.
	Journal(ctx context.Context, r *rpc.JournalRequest) (*rpc.JournalResponse, error)
	JournalHead(ctx context.Context) (*rpc.JournalHeadResponse, error)
	// VerifyJournal tells how far it is, by tell, until that fails; the last message it returns.
	VerifyJournal(ctx context.Context, heads []store.JournalHead, tell func(*rpc.VerifyJournalResponse) error) (*rpc.VerifyJournalResponse, error)
	TestAlerts(ctx context.Context, who string) (*rpc.TestAlertsResponse, error)
}

var (
	// ErrNoBreach reports that there is no breach with a number.
	ErrNoBreach = errors.New("there is no such breach; truechimer breach list shows them")
	// ErrNoProfile reports that there is no profile with a name.
	ErrNoProfile = errors.New("there is no such profile")
	// ErrPeriod reports a time that nothing can be reported of.
	ErrPeriod = errors.New("nothing can be reported of that time")
	// ErrKind reports a kind of record that there is not.
	ErrKind = errors.New("there is no such kind of record")
)

const (
	daysMax          = 400
	daysDefault      = 30
	breachesMax      = 10_000
	breachesDefault  = 100
	recordsMax       = 1000
	recordsDefault   = 100
	noteLenMax       = 4096 // bytes
	headsMax         = 100
	seriesNamesMax   = 1024
	verificationsMax = 1
	reportsMax       = 2
	// lookupsMax is how many calls read the journal or the history at a time: the answer of each can take
	// tens of megabytes.
	lookupsMax = 4
)

// The answers to a call too many.
var (
	errVerifying = connect.NewError(connect.CodeResourceExhausted, errors.New("the journal is being verified already; ask again once that is done"))
	errReporting = connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("%d reports are being made, and no more at a time; ask again in a moment", reportsMax))
	errLookups   = connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("%d calls read the journal or the history, and no more at a time; ask again in a moment", lookupsMax))
)

var errVerificationStopped = connect.NewError(connect.CodeUnavailable, errors.New("this node is stopping, and the verification was given up; ask again once it is back, or verify its data directory with truechimer journal verify --data"))

// evidenceService answers from an Evidence.
type evidenceService struct {
	evidence Evidence
	stopping context.Context
}

func (s *evidenceService) Compliance(ctx context.Context, r *connect.Request[rpc.ComplianceRequest]) (*connect.Response[rpc.ComplianceResponse], error) {
	if r.Msg.Days > daysMax {
		return nil, badRequest("days is %d; want 0 (for %d) to %d", r.Msg.Days, daysDefault, daysMax)
	}
	days := int(r.Msg.Days)
	if days == 0 {
		days = daysDefault
	}
	return respond(s.evidence.Compliance(ctx, days))
}

func (s *evidenceService) Breaches(ctx context.Context, r *connect.Request[rpc.BreachesRequest]) (*connect.Response[rpc.BreachesResponse], error) {
	if r.Msg.Limit > breachesMax {
		return nil, badRequest("limit is %d; want 0 (for %d) to %d", r.Msg.Limit, breachesDefault, breachesMax)
	}
	if r.Msg.ToUnixNs != 0 && r.Msg.ToUnixNs < r.Msg.FromUnixNs {
		return nil, badRequest("the time ends before it begins")
	}
	if r.Msg.Limit == 0 {
		r.Msg.Limit = breachesDefault
	}
	return respond(s.evidence.Breaches(ctx, r.Msg))
}

func (s *evidenceService) Acknowledge(ctx context.Context, r *connect.Request[rpc.AcknowledgeRequest]) (*connect.Response[rpc.AcknowledgeResponse], error) {
	if n := len(r.Msg.Note); n > noteLenMax {
		return nil, badRequest("the note is %d bytes long; %d at the most", n, noteLenMax)
	}
	if strings.TrimSpace(r.Msg.Note) == "" {
		return nil, badRequest("the note is missing; say what was found, and what was done about it")
	}
	b, err := s.evidence.Acknowledge(ctx, principal(ctx), r.Msg.Id, r.Msg.Note)
	if err != nil {
		return nil, evidenceError(err)
	}
	return connect.NewResponse(&rpc.AcknowledgeResponse{Breach: b}), nil
}

func (s *evidenceService) Hosts(ctx context.Context, r *connect.Request[rpc.HostsRequest]) (*connect.Response[rpc.HostsResponse], error) {
	return respond(s.evidence.Hosts(ctx, r.Msg))
}

func (s *evidenceService) History(ctx context.Context, r *connect.Request[rpc.HistoryRequest]) (*connect.Response[rpc.HistoryResponse], error) {
	if _, known := rpc.HistorySpan_name[int32(r.Msg.Span)]; !known {
		return nil, badRequest("there is no span %d", r.Msg.Span)
	}
	if len(r.Msg.Series) > seriesNamesMax {
		return nil, badRequest("%d series are wanted; %d at the most, or none for all", len(r.Msg.Series), seriesNamesMax)
	}
	return respond(s.evidence.History(ctx, r.Msg))
}

func (s *evidenceService) Report(ctx context.Context, r *connect.Request[rpc.ReportRequest]) (*connect.Response[rpc.ReportResponse], error) {
	if _, known := rpc.ReportFormat_name[int32(r.Msg.Format)]; !known {
		return nil, badRequest("there is no format %d", r.Msg.Format)
	}
	return respond(s.evidence.Report(ctx, r.Msg))
}

func (s *evidenceService) Journal(ctx context.Context, r *connect.Request[rpc.JournalRequest]) (*connect.Response[rpc.JournalResponse], error) {
	m := r.Msg
	if _, known := rpc.JournalTrack_name[int32(m.Track)]; !known {
		return nil, badRequest("there is no track %d", m.Track)
	}
	if m.Limit > recordsMax {
		return nil, badRequest("limit is %d; want 0 (for %d) to %d", m.Limit, recordsDefault, recordsMax)
	}
	if m.FromSequence != 0 && m.FromUnixNs != 0 {
		return nil, badRequest("records are asked for from a sequence on or from a time on, not from both")
	}
	if m.FromUnixNs < 0 || m.ToUnixNs < 0 || m.ToUnixNs != 0 && m.ToUnixNs <= m.FromUnixNs {
		return nil, badRequest("the time ends before it begins, or begins before 1970")
	}
	if m.Limit == 0 {
		m.Limit = recordsDefault
	}
	return respond(s.evidence.Journal(ctx, m))
}

func (s *evidenceService) JournalHead(ctx context.Context, _ *connect.Request[rpc.JournalHeadRequest]) (*connect.Response[rpc.JournalHeadResponse], error) {
	return respond(s.evidence.JournalHead(ctx))
}

// VerifyJournal tells the progress as it comes. Where the peer does not read, or leaves, and
// when the server stops, it ends.
func (s *evidenceService) VerifyJournal(ctx context.Context, r *connect.Request[rpc.VerifyJournalRequest], stream *connect.ServerStream[rpc.VerifyJournalResponse]) error {
	if n := len(r.Msg.Heads); n > headsMax {
		return badRequest("%d heads are given; %d at the most", n, headsMax)
	}
	var heads []store.JournalHead
	for _, line := range r.Msg.Heads {
		h, err := store.ParseJournalHead(line)
		if err != nil {
			return badRequest("%v", err)
		}
		heads = append(heads, h)
	}
	ctx, peer, done := begin(ctx, s.stopping)
	defer done()
	last, err := s.evidence.VerifyJournal(ctx, heads, func(m *rpc.VerifyJournalResponse) error {
		return peer.send(func() error { return stream.Send(m) })
	})
	if err != nil {
		switch why := byUs(ctx); {
		case why == errStopping:
			return errVerificationStopped
		case why != nil:
			return why
		}
		return evidenceError(err)
	}
	return peer.send(func() error { return stream.Send(last) })
}

func (s *evidenceService) TestAlerts(ctx context.Context, _ *connect.Request[rpc.TestAlertsRequest]) (*connect.Response[rpc.TestAlertsResponse], error) {
	return respond(s.evidence.TestAlerts(ctx, principal(ctx)))
}

// respond makes an answer of what an Evidence returned.
func respond[T any](m *T, err error) (*connect.Response[T], error) {
	if err != nil {
		return nil, evidenceError(err)
	}
	return connect.NewResponse(m), nil
}

func badRequest(format string, args ...any) *connect.Error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

// evidenceError gives an error of an Evidence its code.
func evidenceError(err error) error {
	switch {
	case errors.Is(err, ErrNoBreach), errors.Is(err, ErrNoProfile):
		return connect.NewError(connect.CodeNotFound, err)
	case errors.Is(err, ErrPeriod), errors.Is(err, ErrKind):
		return connect.NewError(connect.CodeInvalidArgument, err)
	}
	return streamError(err)
}
