package web

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/rpc"
)

// answer is a message, or why there is none.
type answer[T any] struct {
	M     T
	Fault string
}

func answered[T any](m T, err error) answer[T] {
	if err != nil {
		return answer[T]{Fault: err.Error()}
	}
	return answer[T]{M: m}
}

// view is what a page shows. A fragment has what it shows and no more.
type view struct {
	User string // who has logged in; empty: nobody
	Span span

	Status  answer[*rpc.StatusResponse]
	Now     int64 // the time served, Unix nanoseconds
	Level   string
	Tiles   []tile
	Judged  answer[*rpc.ComplianceResponse]
	Sources answer[*rpc.SourcesResponse]
	Scale   scale // of the sources' intervals
	Hosts   answer[*rpc.HostsResponse]
	Listed  []*rpc.Host // those that are shown, the worst first
	Left    int         // how many are not
	Clients answer[*rpc.ClientsResponse]
	Journal answer[*rpc.JournalHeadResponse]
	Past    answer[[]figure]
}

// Spans are those that the page offers.
func (v *view) Spans() []span { return spans() }

// Breaches are those that a page lists.
func (v *view) Breaches() []*rpc.Breach { return v.Judged.M.GetBreaches() }

const (
	daysShown    = 30
	hostsShown   = 100
	clientsShown = 6
)

// ask asks for what a page, or a fragment of it, shows.
func (d *dashboard) ask(ctx context.Context, name string, s span) *view {
	v := &view{Span: s}
	page := name == "page"
	if page || name == "live" || name == "detail" {
		v.Status = answered(d.source.Status(ctx))
		v.Now = v.Status.M.GetClock().GetUtcUnixNs()
		v.Journal = answered(d.source.JournalHead(ctx, &rpc.JournalHeadRequest{}))
	}
	if page || name == "live" {
		recent, err := d.recall(ctx, spanNamed(""))
		v.Tiles = tiles(v.Status.M, recent, err, &v.Journal)
		v.Level = level(v.Status.M)
	}
	if page || name == "live" || name == "proof" {
		days := uint32(daysShown)
		if name == "live" {
			days = 1
		}
		v.Judged = answered(d.source.Compliance(ctx, &rpc.ComplianceRequest{Days: days}))
	}
	if page || name == "detail" {
		if !page {
			v.Judged = answered(d.source.Compliance(ctx, &rpc.ComplianceRequest{Days: 1})) // of its channels
		}
		v.Sources = answered(d.source.Sources(ctx))
		v.Scale = scaleOf(v.Sources.M.GetSources())
		hosts, err := d.source.Hosts(ctx, &rpc.HostsRequest{})
		v.Hosts = answered(hosts, err)
		v.Listed, v.Left = worstFirst(hosts.GetHosts())
		limit := int64(clientsShown)
		v.Clients = answered(d.source.Clients(ctx, &rpc.ClientsRequest{Limit: &limit, Order: rpc.ClientsOrder_CLIENTS_ORDER_REQUESTS}))
	}
	if page || name == "charts" {
		h, err := d.recall(ctx, s)
		v.Past = answered(figuresOf(h, s), err)
	}
	return v
}

// level is how urgent it is to look at the node.
func level(s *rpc.StatusResponse) string {
	if s == nil {
		return levelUnknown
	}
	l := stateLevel(s.GetClock().GetState())
	if l == levelGood && !s.Ready {
		return levelWarn
	}
	return l
}

// worstFirst orders hosts by their verdicts, and returns those that a page lists, and how many others
// there are.
func worstFirst(hosts []*rpc.Host) (listed []*rpc.Host, left int) {
	order := func(v rpc.Verdict) int {
		return slices.Index([]rpc.Verdict{rpc.Verdict_VERDICT_BREACH, rpc.Verdict_VERDICT_UNKNOWN, rpc.Verdict_VERDICT_WARN, rpc.Verdict_VERDICT_OK}, v)
	}
	listed = slices.Clone(hosts)
	slices.SortStableFunc(listed, func(a, b *rpc.Host) int { return order(a.Verdict) - order(b.Verdict) })
	left = max(0, len(listed)-hostsShown)
	return listed[:len(listed)-left], left
}

// tile is one figure that is looked at first.
type tile struct {
	ID, Label string
	Exact     string // for programs, in base units
	Number    string // the same for people
	Unit      string
	Note      string
	Level     string // empty: nothing to say
}

// exactly gives a tile a value in nanoseconds. Its exact value is that of the API.
func (t tile) exactly(ns int64) tile {
	t.Number, t.Unit = scaled(float64(ns) / 1e9)
	t.Exact = strconv.FormatInt(ns, 10)
	return t
}

// tiles are the figures of a node. What is not known is a dash.
func tiles(s *rpc.StatusResponse, recent *rpc.HistoryResponse, pastErr error, journal *answer[*rpc.JournalHeadResponse]) []tile {
	if s == nil {
		return nil
	}
	return slices.Concat(clockTiles(s), ntpTiles(recent, pastErr), hlcTiles(s), []tile{journalTile(journal)})
}

func clockTiles(s *rpc.StatusResponse) []tile {
	c, from := s.GetClock(), s.GetSources()
	claims := c.GetErrorBoundNs() >= 0 && c.GetErrorBoundNs() != never
	bound := tile{ID: "bound", Label: "Error bound", Note: "no limit is set"}
	if limit := c.GetErrorLimitNs(); limit > 0 {
		bound.Note = "limit " + nanos(limit)
	}
	bound = bound.exactly(c.GetErrorBoundNs())
	offset := tile{ID: "offset", Label: "Offset", Note: "left to correct"}.exactly(c.GetResidualOffsetNs())
	left := tile{ID: "left", Label: "Holdover left", Number: lasting(c.GetHoldoverLeftNs()), Exact: strconv.FormatInt(c.GetHoldoverLeftNs(), 10), Note: "if nothing more is heard"}
	if !claims {
		bound.Number, bound.Unit, bound.Level = "none", "", levelBad
		offset.Note = "nothing can be claimed"
	}
	if c.GetState() == rpc.ClockState_CLOCK_STATE_HOLDOVER {
		left.Level = levelWarn
		left.Note = "since " + utc(c.GetHoldoverSinceUnixNs())
	}
	frequency := tile{ID: "frequency", Label: "Frequency", Number: ppm(c.GetFrequencyPpm()), Unit: "ppm", Exact: strconv.FormatFloat(c.GetFrequencyPpm(), 'g', -1, 64), Note: "skew not measured"}
	if c.GetSkewPpm() >= 0 {
		frequency.Note = "± " + ppm(c.GetSkewPpm()) + " ppm"
	}
	stratum := tile{ID: "stratum", Label: "Stratum", Number: fmt.Sprint(c.GetStratum()), Exact: fmt.Sprint(c.GetStratum()), Note: "refid " + c.GetRefid()}
	sources := tile{ID: "sources", Label: "Sources agreeing", Number: fmt.Sprint(from.GetAgree()), Unit: fmt.Sprintf("of %d", from.GetKnown()), Exact: fmt.Sprint(from.GetAgree()), Note: "no one is followed"}
	if from.GetFollowing() != "" {
		sources.Note = "following " + from.GetFollowing()
	}
	if 2*from.GetAgree() <= from.GetKnown() && from.GetKnown() > 0 {
		sources.Level = levelWarn
	}
	return []tile{bound, offset, left, frequency, stratum, sources}
}

// ntpTiles are made of the last step of the history: Status counts, and knows no rates.
func ntpTiles(recent *rpc.HistoryResponse, err error) []tile {
	rate := tile{ID: "rate", Label: "NTP answers", Number: "–", Unit: "/s", Note: "no history yet"}
	clients := tile{ID: "clients", Label: "NTP clients", Number: "–", Note: "no history yet"}
	if err != nil {
		rate.Note, clients.Note = "no history: "+err.Error(), "no history"
	}
	if answers, ok := latest(recent, answeredSeries()...); ok {
		rate.Number, rate.Exact, rate.Note = apart(digits(answers, false)), strconv.FormatFloat(answers, 'g', -1, 64), fmt.Sprintf("mean of %d s", recent.GetStep())
	}
	if n, ok := latest(recent, compliance.SeriesClients); ok {
		clients.Number, clients.Exact, clients.Note = count(int64(n)), strconv.FormatFloat(n, 'g', -1, 64), "are remembered"
	}
	return []tile{rate, clients}
}

func hlcTiles(s *rpc.StatusResponse) []tile {
	h, e := s.GetHlc(), s.GetStreams()
	lead := tile{ID: "lead", Label: "HLC lead", Note: "of " + nanos(h.GetMaxLeadNs()) + " at the most"}.exactly(h.GetLeadNs())
	margin := tile{ID: "ceiling", Label: "Ceiling margin", Note: "nothing was issued"}
	margin = margin.exactly(int64(hlc.Timestamp(h.GetCeiling()).Sub(hlc.Timestamp(h.GetLast()))))
	if h.GetLast() == 0 {
		margin.Number, margin.Unit = "–", ""
	} else {
		margin.Note = fmt.Sprintf("durable, epoch %d", h.GetEpoch())
	}
	if !h.GetIssuing() {
		lead.Level, lead.Note = levelBad, "nothing is issued"
	}
	events := tile{ID: "events", Label: "Events appended", Number: count(e.GetEvents()), Exact: fmt.Sprint(e.GetEvents()), Note: count(e.GetStreams()) + " streams"}
	return []tile{lead, margin, events}
}

func journalTile(journal *answer[*rpc.JournalHeadResponse]) tile {
	j := tile{ID: "journal", Label: "Journal", Number: "–", Note: journal.Fault}
	if m := journal.M; m != nil {
		j.Number, j.Unit, j.Exact, j.Note = count(m.EvidenceRecords), "records", fmt.Sprint(m.EvidenceRecords), "head signed"
		if m.Head == "" {
			j.Note = "no head signed yet"
		}
		if m.Dropped > 0 {
			j.Level, j.Note = levelBad, count(m.Dropped)+" could not be written"
		}
	}
	return j
}

// latest is the sum of the last values of the series; false where none is known.
func latest(h *rpc.HistoryResponse, series ...string) (sum float64, ok bool) {
	for _, s := range h.GetSeries() {
		if n := len(s.Mean); n > 0 && slices.Contains(series, s.Name) && s.Mean[n-1] == s.Mean[n-1] {
			sum += s.Mean[n-1]
			ok = true
		}
	}
	return sum, ok
}
