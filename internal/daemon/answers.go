package daemon

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/report"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// Compliance implements api.Evidence.
func (e *evidence) Compliance(_ context.Context, days int) (*rpc.ComplianceResponse, error) {
	m := e.engine.Status(e.unix(), days)
	m.Channels = e.alerts.Channels()
	return m, nil
}

// Breaches implements api.Evidence.
func (e *evidence) Breaches(ctx context.Context, r *rpc.BreachesRequest) (*rpc.BreachesResponse, error) {
	all, err := compliance.Breaches(ctx, e.recorder)
	if err != nil {
		return nil, err
	}
	m := &rpc.BreachesResponse{}
	for _, b := range slices.Backward(all) {
		switch {
		case r.Profile != "" && b.Profile != r.Profile:
		case r.Open && b.AcknowledgedUnixNs != 0:
		case b.EndUnixNs != 0 && b.EndUnixNs <= r.FromUnixNs:
		case r.ToUnixNs != 0 && b.StartUnixNs >= r.ToUnixNs:
		case len(m.Breaches) == int(r.Limit):
			m.More = true
			return m, nil
		default:
			m.Breaches = append(m.Breaches, b)
		}
	}
	return m, nil
}

// Acknowledge implements api.Evidence.
func (e *evidence) Acknowledge(ctx context.Context, who string, id uint64, note string) (*rpc.Breach, error) {
	now := e.unix()
	entry, b, err := e.engine.Acknowledge(id, who, note, now)
	if errors.Is(err, compliance.ErrNoBreach) { // it may be from before all that is remembered
		all, readErr := compliance.Breaches(ctx, e.recorder)
		if readErr != nil {
			return nil, readErr
		}
		if i := slices.IndexFunc(all, func(b *rpc.Breach) bool { return b.Id == id }); i >= 0 {
			b, entry, err = compliance.Acknowledged(all[i], who, note, now)
		}
	}
	switch {
	case errors.Is(err, compliance.ErrNoBreach):
		return nil, fmt.Errorf("breach %d: %w", id, api.ErrNoBreach)
	case err != nil:
		return nil, err
	}
	e.recorder.Add(now, entry)
	e.operated(who, "acknowledge", fmt.Sprintf("breach %d", id))
	// Who is told that it is on record may rely on it.
	if err := e.recorder.Write(); err != nil {
		return nil, fmt.Errorf("put the note on record: %w; it is written once the journal can be: see truechimer breach list", err)
	}
	return b, nil
}

// Hosts implements api.Evidence.
func (e *evidence) Hosts(_ context.Context, r *rpc.HostsRequest) (*rpc.HostsResponse, error) {
	return &rpc.HostsResponse{Hosts: e.hosts.Hosts(r.Group, r.Faulty)}, nil
}

// History implements api.Evidence.
func (e *evidence) History(_ context.Context, r *rpc.HistoryRequest) (*rpc.HistoryResponse, error) {
	return e.history.Read(r.Span, e.unix()/int64(time.Second), r.Series)
}

// reportPeriodMax is the longest time of a report.
const reportPeriodMax = 10 * 366 * 24 * time.Hour

// Report implements api.Evidence.
func (e *evidence) Report(ctx context.Context, r *rpc.ReportRequest) (*rpc.ReportResponse, error) {
	profile, ok := e.config.Load().ProfileNamed(r.Profile)
	if !ok {
		return nil, fmt.Errorf("%w as %.60q: name one of the configuration, or a built-in one", api.ErrNoProfile, r.Profile)
	}
	now := e.unix()
	from, to := r.FromUnixNs, min(r.ToUnixNs, now)
	switch {
	case from < 0 || from >= r.ToUnixNs:
		return nil, fmt.Errorf("%w: it ends before it begins", api.ErrPeriod)
	case from >= now:
		return nil, fmt.Errorf("%w: it has not begun yet", api.ErrPeriod)
	case to-from > int64(reportPeriodMax):
		return nil, fmt.Errorf("%w: it is longer than ten years", api.ErrPeriod)
	}
	status := e.journal.Status()
	made, err := report.Build(ctx, e.recorder, report.Options{
		Profile: profile, From: time.Unix(0, from), To: time.Unix(0, to), Now: time.Unix(0, now),
		Node: e.config.Load().Node.Name, StoreID: e.store.ID(), Version: e.version,
		Head: e.recorder.Head(), PublicKey: hex.EncodeToString(status.Key),
	})
	switch {
	case errors.Is(err, report.ErrPeriod):
		return nil, fmt.Errorf("%w: %w", api.ErrPeriod, err)
	case err != nil:
		return nil, err
	}
	var b bytes.Buffer
	m := &rpc.ReportResponse{}
	extension := ""
	switch r.Format {
	case rpc.ReportFormat_REPORT_FORMAT_CSV:
		extension, m.ContentType, err = "csv", "text/csv; charset=utf-8", made.CSV(&b)
	case rpc.ReportFormat_REPORT_FORMAT_JSON:
		extension, m.ContentType, err = "json", "application/json", made.JSON(&b)
	default:
		extension, m.ContentType, err = "html", "text/html; charset=utf-8", made.HTML(&b)
	}
	if err != nil {
		return nil, fmt.Errorf("write the report: %w", err)
	}
	m.Content = b.Bytes()
	m.FileName = fmt.Sprintf("%s-%s-%s.%s", profile.Name, made.From.UTC().Format(time.DateOnly), made.To.UTC().Format(time.DateOnly), extension)
	return m, nil
}

// JournalHead implements api.Evidence.
func (e *evidence) JournalHead(context.Context) (*rpc.JournalHeadResponse, error) {
	s := e.journal.Status()
	c := e.config.Load()
	raw, kept := keptOf(c)
	m := &rpc.JournalHeadResponse{
		Head: e.recorder.Head(), PublicKey: hex.EncodeToString(s.Key),
		EvidenceRecords: s.Evidence.Last + 1 - s.Evidence.First, RawRecords: s.Raw.Last + 1 - s.Raw.First,
		Bytes: s.Bytes, EvidenceSinceUnixNs: s.Evidence.OldestUnix, RawSinceUnixNs: s.Raw.OldestUnix,
		EvidenceKeptSeconds: uint64(kept / time.Second), RawKeptSeconds: uint64(raw / time.Second), Dropped: e.recorder.Dropped(),
	}
	m.PlannedBytes = planned(c, e.hosts.Hosts("", false))
	return m, nil
}

// VerifyJournal implements api.Evidence.
func (e *evidence) VerifyJournal(ctx context.Context, heads []store.JournalHead, tell func(*rpc.VerifyJournalResponse) error) (*rpc.VerifyJournalResponse, error) {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	r, err := e.journal.Verify(ctx, store.VerifyJournalOptions{Heads: heads, Progress: func(p store.JournalProgress) {
		if ctx.Err() != nil {
			return
		}
		if err := tell(&rpc.VerifyJournalResponse{Checked: p.Checked, Total: p.Total}); err != nil {
			giveUp(err)
		}
	}})
	if err != nil {
		return nil, err
	}
	return verified(&r), nil
}

// verified is a verification's result as the API tells it.
func verified(r *store.JournalReport) *rpc.VerifyJournalResponse {
	records := r.Evidence.Records + r.Raw.Records
	m := &rpc.VerifyJournalResponse{Checked: records, Total: records, Done: true, Problems: r.Problems, Signatures: r.Signatures, Notes: r.Trimmed}
	if r.MoreProblems > 0 {
		m.Problems = append(m.Problems, fmt.Sprintf("and %d more", r.MoreProblems))
	}
	for _, key := range r.Keys {
		m.Notes = append(m.Notes, "signed with the key "+hex.EncodeToString(key))
	}
	return m
}

// TestAlerts implements api.Evidence.
func (e *evidence) TestAlerts(ctx context.Context, who string) (*rpc.TestAlertsResponse, error) {
	m := &rpc.TestAlertsResponse{Results: e.alerts.Test(ctx)}
	var words []string
	for _, r := range m.Results {
		word := "took it"
		if !r.Taken {
			word = "did not take it"
		}
		words = append(words, r.Channel+" "+word)
	}
	e.operated(who, "test_alerts", strings.Join(words, ", "))
	return m, nil
}

// planned is what the journal takes on disk, in bytes, once it is as old as it is kept.
func planned(c *config.Config, hosts []*rpc.Host) uint64 {
	sources, poll := 0, time.Duration(0)
	for _, s := range c.Sources {
		n := max(1, s.Pool)
		sources += n
		poll += time.Duration(n) * (time.Second << s.MinPoll) // at its most talkative
	}
	if sources > 0 {
		poll /= time.Duration(sources)
	}
	probe := time.Duration(0)
	for _, m := range c.Monitors {
		if probe == 0 || m.Interval < probe {
			probe = m.Interval
		}
	}
	raw, kept := keptOf(c)
	rawBytes, evidenceBytes := compliance.Plan(sources, poll, len(c.Profiles), len(hosts), probe, raw, kept)
	return rawBytes + evidenceBytes
}
