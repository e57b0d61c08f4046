package api

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
	"github.com/truechimer/truechimer/store"
)

const breachJSON = `{
	"id":"7","profile":"finra-50ms","clock":"JUDGED_CLOCK_SYSTEM","startUnixNs":"1795000000000000001","endUnixNs":"1795000000000000002",
	"worst":"VERDICT_BREACH","peakNs":"60000000","peakOffsetNs":"-55000000","toleranceNs":"50000000","cause":"the sources were lost",
	"sources":["ntp1: selected"],"told":["on-call"],"acknowledgedBy":"ann","acknowledgedUnixNs":"1795000000000000003","note":"works","in24h":4,"selfReport":true
}`

// TestEvidenceJSON pins what the calls about the evidence answer with, zero fields among it.
func TestEvidenceJSON(t *testing.T) {
	evidence := newFakeEvidence()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Evidence: evidence})
	client := newClient(t)
	for _, c := range []struct {
		name, method, request, want string
		change                      func()
	}{
		{name: "nothing is judged", method: "Compliance", request: `{}`, want: `{"utcUnixNs":"0","verdicts":[],"breaches":[],"channels":[]}`},
		{
			name: "compliance", method: "Compliance", request: `{}`,
			change: func() {
				evidence.compliance = &rpc.ComplianceResponse{
					UtcUnixNs: noon,
					Verdicts: []*rpc.ProfileVerdict{{
						Profile: "finra-50ms", Clock: rpc.JudgedClock_JUDGED_CLOCK_SERVED, Verdict: rpc.Verdict_VERDICT_WARN, Reason: "too few", SinceUnixNs: noon + 1,
						BoundNs: -1, OffsetNs: -2, ToleranceNs: 3, WarnNs: 4, Breaches_24H: 5,
						PreOpen: &rpc.PreOpenState{Day: "2026-11-30", DueUnixNs: noon + 6, Passed: true, Sentence: "passed"},
						Days:    []*rpc.DayVerdicts{{Start: 7, Ok: 8, Warn: 9, Breach: 10, Unknown: 11, Gap: 12}},
					}, {}},
					Breaches: []*rpc.Breach{fakeBreach(7)},
					Channels: []*rpc.AlertChannel{{Name: "on-call", Type: "webhook", Queued: 13, Taken: 14, Failures: 15, LastTakenUnixNs: noon + 16, Fault: "it answered 500"}},
				}
			},
			want: `{
				"utcUnixNs":"1795000000000000000",
				"verdicts":[
					{
						"profile":"finra-50ms","clock":"JUDGED_CLOCK_SERVED","verdict":"VERDICT_WARN","reason":"too few","sinceUnixNs":"1795000000000000001",
						"boundNs":"-1","offsetNs":"-2","toleranceNs":"3","warnNs":"4","breaches24h":5,
						"preOpen":{"day":"2026-11-30","dueUnixNs":"1795000000000000006","passed":true,"sentence":"passed"},
						"days":[{"start":"7","ok":8,"warn":9,"breach":10,"unknown":11,"gap":12}]
					},
					{
						"profile":"","clock":"JUDGED_CLOCK_UNSPECIFIED","verdict":"VERDICT_UNSPECIFIED","reason":"","sinceUnixNs":"0",
						"boundNs":"0","offsetNs":"0","toleranceNs":"0","warnNs":"0","breaches24h":0,"preOpen":null,"days":[]
					}
				],
				"breaches":[` + breachJSON + `],
				"channels":[{"name":"on-call","type":"webhook","queued":13,"taken":"14","failures":"15","lastTakenUnixNs":"1795000000000000016","fault":"it answered 500"}]
			}`,
		},
		{
			name: "breaches", method: "Breaches", request: `{"limit":2}`,
			want: `{"breaches":[` + breachJSON + `,{
				"id":"6","profile":"","clock":"JUDGED_CLOCK_UNSPECIFIED","startUnixNs":"0","endUnixNs":"0","worst":"VERDICT_UNSPECIFIED","peakNs":"0","peakOffsetNs":"0",
				"toleranceNs":"0","cause":"","sources":[],"told":[],"acknowledgedBy":"","acknowledgedUnixNs":"0","note":"","in24h":0,"selfReport":false
			}],"more":true}`,
		},
		{name: "acknowledge", method: "Acknowledge", request: `{"id":"7","note":"works"}`, want: `{"breach":` + breachJSON + `}`},
		{name: "no hosts", method: "Hosts", request: `{}`, want: `{"hosts":[]}`},
		{
			name: "hosts", method: "Hosts", request: `{"group":"trading","faulty":true}`,
			change: func() {
				evidence.hosts = &rpc.HostsResponse{Hosts: []*rpc.Host{{
					Group: "trading", Name: "a", Address: "192.0.2.1:123", Verdict: rpc.Verdict_VERDICT_UNKNOWN, Reason: "no answer", OffsetNs: -1, BoundNs: 2,
					Stratum: 3, LastAnswerUnixNs: 4, Probes: 5, Lost: 6, LastAskedUnixNs: 7, ToleranceNs: 8,
				}, {}}}
			},
			want: `{"hosts":[
				{"group":"trading","name":"a","address":"192.0.2.1:123","verdict":"VERDICT_UNKNOWN","reason":"no answer","offsetNs":"-1","boundNs":"2","stratum":3,
					"lastAnswerUnixNs":"4","probes":"5","lost":"6","lastAskedUnixNs":"7","toleranceNs":"8"},
				{"group":"","name":"","address":"","verdict":"VERDICT_UNSPECIFIED","reason":"","offsetNs":"0","boundNs":"0","stratum":0,
					"lastAnswerUnixNs":"0","probes":"0","lost":"0","lastAskedUnixNs":"0","toleranceNs":"0"}
			]}`,
		},
		{
			name: "history", method: "History", request: `{"span":"HISTORY_SPAN_DAY","series":["clock.bound_seconds"]}`,
			want: `{"at":["10","20"],"step":10,"series":[
				{"name":"clock.bound_seconds","mean":[0.5,"NaN"],"min":[0.25,0],"max":[1,2]},{"name":"","mean":[],"min":[],"max":[]}
			]}`,
		},
		{
			name: "report", method: "Report", request: `{"profile":"finra-50ms"}`,
			want: `{"content":"PGh0bWw+","contentType":"text/html; charset=utf-8","fileName":"a.html"}`,
		},
		{
			name: "journal", method: "Journal", request: `{}`,
			want: `{"records":[
				{"sequence":"5","unixNs":"1795000000000000006","kind":"stopped","entry":{"stopped":{"cause":"a signal"}},"hash":"AQID"},
				{"sequence":"0","unixNs":"0","kind":"","entry":{"stopped":{"cause":""}},"hash":""}
			],"nextSequence":"7"}`,
		},
		{
			name: "no head", method: "JournalHead", request: `{}`,
			want: `{"head":"","publicKey":"","evidenceRecords":"0","rawRecords":"0","bytes":"0","plannedBytes":"0","evidenceSinceUnixNs":"0","rawSinceUnixNs":"0",
				"evidenceKeptSeconds":"0","rawKeptSeconds":"0","dropped":"0"}`,
		},
		{
			name: "head", method: "JournalHead", request: `{}`,
			change: func() {
				evidence.head = &rpc.JournalHeadResponse{
					Head: "tcj1.x", PublicKey: "00ff", EvidenceRecords: 1, RawRecords: 2, Bytes: 3, PlannedBytes: 4, EvidenceSinceUnixNs: 5, RawSinceUnixNs: 6,
					EvidenceKeptSeconds: 7, RawKeptSeconds: 8, Dropped: 9,
				}
			},
			want: `{"head":"tcj1.x","publicKey":"00ff","evidenceRecords":"1","rawRecords":"2","bytes":"3","plannedBytes":"4","evidenceSinceUnixNs":"5","rawSinceUnixNs":"6",
				"evidenceKeptSeconds":"7","rawKeptSeconds":"8","dropped":"9"}`,
		},
		{
			name: "test", method: "TestAlerts", request: `{}`,
			want: `{"results":[
				{"message":"m","channel":"on-call","alarm":"","taken":true,"attempts":1,"fault":""},
				{"message":"","channel":"hook","alarm":"","taken":false,"attempts":0,"fault":"it answered 500"}
			]}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.change != nil {
				c.change()
			}
			a := call(t, client, base, "EvidenceService/"+c.method, c.request)
			if got := a.header.Get("Content-Type"); a.status != http.StatusOK || got != "application/json" {
				t.Errorf("status %d, type %q", a.status, got)
			}
			if got, want := compact(t, a.body), compact(t, c.want); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// TestEvidenceRequests: what is asked for is handed on, with what holds where nothing is said, and
// what cannot be is refused, before anybody is asked.
func TestEvidenceRequests(t *testing.T) {
	evidence := newFakeEvidence()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Evidence: evidence})
	client := newClient(t)
	long := func(n int) string { return strings.Repeat("x", n) }
	series := func(n int) string { return `{"series":[` + strings.Repeat(`"a",`, n-1) + `"a"]}` }
	const day = "86400000000000"
	for name, c := range map[string]struct {
		method, request string
		asked           string        // empty: it is refused
		sent            proto.Message // nil: it is not handed on as a whole
		says            string        // of a refusal
	}{
		"no days":          {"Compliance", `{}`, "compliance 30", nil, ""},
		"a day":            {"Compliance", `{"days":1}`, "compliance 1", nil, ""},
		"most days":        {"Compliance", `{"days":400}`, "compliance 400", nil, ""},
		"too many days":    {"Compliance", `{"days":401}`, "", nil, "days is 401; want 0 (for 30) to 400"},
		"breaches":         {"Breaches", `{}`, "breaches", &rpc.BreachesRequest{Limit: 100}, ""},
		"all of it":        {"Breaches", `{"profile":"p","fromUnixNs":"5","toUnixNs":"5","limit":10000,"open":true}`, "breaches", &rpc.BreachesRequest{Profile: "p", FromUnixNs: 5, ToUnixNs: 5, Limit: 10000, Open: true}, ""},
		"too many":         {"Breaches", `{"limit":10001}`, "", nil, "limit is 10001; want 0 (for 100) to 10000"},
		"to before from":   {"Breaches", `{"fromUnixNs":"5","toUnixNs":"4"}`, "", nil, "ends before it begins"},
		"from, open":       {"Breaches", `{"fromUnixNs":"5"}`, "breaches", &rpc.BreachesRequest{FromUnixNs: 5, Limit: 100}, ""},
		"acknowledge":      {"Acknowledge", `{"id":"3","note":"a \"word\""}`, `acknowledge 3 by "": "a \"word\""`, nil, ""},
		"long note":        {"Acknowledge", `{"id":"3","note":"` + long(4096) + `"}`, `acknowledge 3 by "": "` + long(4096) + `"`, nil, ""},
		"too long a note":  {"Acknowledge", `{"id":"3","note":"` + long(4097) + `"}`, "", nil, "the note is 4097 bytes long; 4096 at the most"},
		"no note":          {"Acknowledge", `{"id":"3"}`, "", nil, "the note is missing; say what was found"},
		"a blank note":     {"Acknowledge", `{"id":"3","note":" \n\t"}`, "", nil, "the note is missing"},
		"hosts":            {"Hosts", `{"group":"g","faulty":true}`, "hosts", &rpc.HostsRequest{Group: "g", Faulty: true}, ""},
		"history":          {"History", `{}`, "history", &rpc.HistoryRequest{}, ""},
		"month":            {"History", `{"span":"HISTORY_SPAN_MONTH"}`, "history", &rpc.HistoryRequest{Span: rpc.HistorySpan_HISTORY_SPAN_MONTH}, ""},
		"no such span":     {"History", `{"span":4}`, "", nil, "there is no span 4"},
		"negative span":    {"History", `{"span":-1}`, "", nil, "there is no span -1"},
		"many series":      {"History", series(1024), "history", &rpc.HistoryRequest{Series: strings.Split(strings.Repeat("a", 1024), "")}, ""},
		"too many series":  {"History", series(1025), "", nil, "1025 series are wanted; 1024 at the most"},
		"report":           {"Report", `{"profile":"p","fromUnixNs":"1","toUnixNs":"2","format":3}`, "report", &rpc.ReportRequest{Profile: "p", FromUnixNs: 1, ToUnixNs: 2, Format: 3}, ""},
		"no such format":   {"Report", `{"format":4}`, "", nil, "there is no format 4"},
		"journal":          {"Journal", `{}`, "journal", &rpc.JournalRequest{Limit: 100}, ""},
		"from a sequence":  {"Journal", `{"track":2,"fromSequence":"9","toUnixNs":"` + day + `","kinds":["minute"],"limit":1000}`, "journal", &rpc.JournalRequest{Track: 2, FromSequence: 9, ToUnixNs: 86400e9, Kinds: []string{"minute"}, Limit: 1000}, ""},
		"from a time":      {"Journal", `{"fromUnixNs":"1","toUnixNs":"2"}`, "journal", &rpc.JournalRequest{FromUnixNs: 1, ToUnixNs: 2, Limit: 100}, ""},
		"no such track":    {"Journal", `{"track":3}`, "", nil, "there is no track 3"},
		"too many records": {"Journal", `{"limit":1001}`, "", nil, "limit is 1001; want 0 (for 100) to 1000"},
		"from both":        {"Journal", `{"fromSequence":"1","fromUnixNs":"1"}`, "", nil, "from a sequence on or from a time on, not from both"},
		"from before 1970": {"Journal", `{"fromUnixNs":"-1"}`, "", nil, "begins before 1970"},
		"to before 1970":   {"Journal", `{"toUnixNs":"-1"}`, "", nil, "begins before 1970"},
		"nothing between":  {"Journal", `{"fromUnixNs":"2","toUnixNs":"2"}`, "", nil, "ends before it begins"},
		"head":             {"JournalHead", `{}`, "head", nil, ""},
		"test":             {"TestAlerts", `{}`, `test by ""`, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_ = evidence.note(nil, "")
			a := call(t, client, base, "EvidenceService/"+c.method, c.request)
			asked, sent := evidence.was()
			if asked != c.asked || c.sent != nil && !proto.Equal(sent, c.sent) {
				t.Errorf("asked %q, %v; want %q, %v", asked, sent, c.asked, c.sent)
			}
			if c.asked != "" {
				if a.status != http.StatusOK {
					t.Errorf("%+v", a)
				}
				return
			}
			if r := a.refusal(t); r.Code != "invalid_argument" || !strings.Contains(r.Message, c.says) {
				t.Errorf("%+v, want %s", r, c.says)
			}
		})
	}
}

// evidenceCalls makes each call about the evidence.
func evidenceCalls(client *http.Client, base string) map[string]func(context.Context) error {
	c := rpcconnect.NewEvidenceServiceClient(client, base)
	return map[string]func(context.Context) error{
		"Compliance":  func(ctx context.Context) error { return ask(ctx, c.Compliance, new(rpc.ComplianceRequest)) },
		"Breaches":    func(ctx context.Context) error { return ask(ctx, c.Breaches, new(rpc.BreachesRequest)) },
		"Acknowledge": func(ctx context.Context) error { return ask(ctx, c.Acknowledge, &rpc.AcknowledgeRequest{Note: "n"}) },
		"Hosts":       func(ctx context.Context) error { return ask(ctx, c.Hosts, new(rpc.HostsRequest)) },
		"History":     func(ctx context.Context) error { return ask(ctx, c.History, new(rpc.HistoryRequest)) },
		"Report":      func(ctx context.Context) error { return ask(ctx, c.Report, new(rpc.ReportRequest)) },
		"Journal":     func(ctx context.Context) error { return ask(ctx, c.Journal, new(rpc.JournalRequest)) },
		"JournalHead": func(ctx context.Context) error { return ask(ctx, c.JournalHead, new(rpc.JournalHeadRequest)) },
		"TestAlerts":  func(ctx context.Context) error { return ask(ctx, c.TestAlerts, new(rpc.TestAlertsRequest)) },
		"VerifyJournal": func(ctx context.Context) error {
			_, err := verifyBy(ctx, client, base)
			return err
		},
	}
}

func ask[Q, A any](ctx context.Context, call func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), r *Q) error {
	_, err := call(ctx, connect.NewRequest(r))
	return err
}

// verifyBy has the journal verified, and returns all that it is told.
func verifyBy(ctx context.Context, client *http.Client, base string, heads ...string) (told []*rpc.VerifyJournalResponse, err error) {
	s, err := rpcconnect.NewEvidenceServiceClient(client, base).VerifyJournal(ctx, connect.NewRequest(&rpc.VerifyJournalRequest{Heads: heads}))
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for s.Receive() {
		told = append(told, proto.CloneOf(s.Msg()))
	}
	return told, s.Err()
}

// TestEvidenceErrors: every call gives an error its code, and keeps its sentence.
func TestEvidenceErrors(t *testing.T) {
	evidence := newFakeEvidence()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Evidence: evidence})
	calls := evidenceCalls(newClient(t), base)
	for _, c := range []struct {
		err  error
		code connect.Code
	}{
		{ErrNoBreach, connect.CodeNotFound}, {ErrNoProfile, connect.CodeNotFound},
		{ErrPeriod, connect.CodeInvalidArgument}, {ErrKind, connect.CodeInvalidArgument}, {store.ErrRange, connect.CodeInvalidArgument},
		{store.ErrFenced, connect.CodeUnavailable}, {store.ErrClosed, connect.CodeUnavailable}, {store.ErrDamaged, connect.CodeDataLoss},
		{store.ErrTrimmed, connect.CodeOutOfRange}, {store.ErrBusy, connect.CodeResourceExhausted}, {errUnlisted, connect.CodeInternal},
		{context.DeadlineExceeded, connect.CodeDeadlineExceeded},
	} {
		evidence.err = fmt.Errorf("this: %w; hint", c.err)
		for name, call := range calls {
			if err := call(t.Context()); connect.CodeOf(err) != c.code || !strings.Contains(err.Error(), "hint") {
				t.Errorf("%s, %v: got %v", name, c.err, err)
			}
		}
	}
	if len(calls) != rpc.File_truechimer_v1_evidence_proto.Services().Get(0).Methods().Len() {
		t.Error("there are calls that were not made")
	}
}

// TestWhoActs: what is put on record of who acts is the principal's name.
func TestWhoActs(t *testing.T) {
	evidence := newFakeEvidence()
	_, host := guarded(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Evidence: evidence}, Options{Access: crowd(RightAdmin)})
	for token, want := range map[string]string{"": `""`, "admin": `"admin"`, "all": `"all"`} {
		for call, message := range map[string]string{"Acknowledge": `{"id":"1","note":"n"}`, "TestAlerts": `{}`} {
			knock(t, newClient(t), "http://"+host, "/truechimer.v1.EvidenceService/"+call, "application/json", token, message)
			if asked, _ := evidence.was(); !strings.Contains(asked, "by "+want) {
				t.Errorf("%s by %q: %s", call, token, asked)
			}
		}
	}
}

// TestVerifyJournalJSON pins a verification as curl sees it.
func TestVerifyJournalJSON(t *testing.T) {
	evidence := newFakeEvidence()
	evidence.verify = func(_ context.Context, _ []store.JournalHead, tell func(*rpc.VerifyJournalResponse) error) (*rpc.VerifyJournalResponse, error) {
		err := errors.Join(tell(&rpc.VerifyJournalResponse{Total: 9}), tell(&rpc.VerifyJournalResponse{Checked: 5, Total: 9}))
		return &rpc.VerifyJournalResponse{Checked: 9, Total: 9, Done: true, Problems: []string{"record 3 was changed"}, Signatures: 2, Notes: []string{"a note"}}, err
	}
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Evidence: evidence})
	a := send(t, newClient(t), http.MethodPost, base+"/truechimer.v1.EvidenceService/VerifyJournal", envelope(`{"heads":["`+someHead(3)+`","`+someHead(4)+`"]}`), map[string]string{"Content-Type": "application/connect+json"})
	body := []byte(a.body)
	for _, want := range []string{
		"\x00" + `{"checked":"0","total":"9","done":false,"problems":[],"signatures":"0","notes":[]}`,
		"\x00" + `{"checked":"5","total":"9","done":false,"problems":[],"signatures":"0","notes":[]}`,
		"\x00" + `{"checked":"9","total":"9","done":true,"problems":["record 3 was changed"],"signatures":"2","notes":["a note"]}`,
		"\x02" + `{}`,
	} {
		if len(body) < 5 {
			t.Fatalf("nothing is left for %q", want)
		}
		n := 5 + binary.BigEndian.Uint32(body[1:])
		if got := string(body[:1]) + compact(t, string(body[5:n])); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		body = body[n:]
	}
	if len(body) > 0 {
		t.Errorf("and then %q", body)
	}
	if asked, _ := evidence.was(); asked != "verify 3 4" {
		t.Errorf("asked: %s", asked)
	}
}

// someHead is a head as it is handed out.
func someHead(sequence uint64) string {
	return store.JournalHead{Journal: strings.Repeat("0f", 16), Unix: noon, EvidenceSequence: sequence}.String()
}

// TestVerifyJournalHeads: heads that are none, and more than are taken, are refused.
func TestVerifyJournalHeads(t *testing.T) {
	evidence := newFakeEvidence()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Evidence: evidence})
	client := newClient(t)
	heads := func(n int) (list []string) {
		for i := range n {
			list = append(list, someHead(uint64(i)))
		}
		return list
	}
	if told, err := verifyBy(t.Context(), client, base, heads(100)...); err != nil || len(told) != 1 || !told[0].Done {
		t.Errorf("%v, %v", told, err)
	}
	_ = evidence.note(nil, "")
	for says, list := range map[string][]string{
		"101 heads are given; 100 at the most": heads(101),
		"is not a head of a journal":           {someHead(1), "tcj1"},
	} {
		if _, err := verifyBy(t.Context(), client, base, list...); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v", says, err)
		}
	}
	if asked, _ := evidence.was(); asked != "" {
		t.Errorf("asked: %s", asked)
	}
}

// TestVerifyJournalEnds: a verification takes as long as it takes, and ends with its caller, with
// the server, with the caller's rights, and where nobody reads how far it is.
func TestVerifyJournalEnds(t *testing.T) {
	long := []string{strings.Repeat("a problem ", 100_000)}
	for _, c := range []struct {
		name string
		end  func(leave, stop func(), s *Server)
		code connect.Code // that the caller gets; 0: it did not wait for an answer
		says string
	}{
		{"the caller leaves", func(leave, _ func(), _ *Server) { leave() }, 0, ""},
		{"the server stops", func(_, stop func(), _ *Server) { stop() }, connect.CodeUnavailable, "the verification was given up"},
		{"the right is taken away", func(_, _ func(), s *Server) { _ = s.SetAccess(Access{}) }, connect.CodeUnauthenticated, "no credential"},
		{"nobody reads", func(_, _ func(), _ *Server) {}, 0, ""},
	} {
		for name, protocols := range map[string][]func(*http.Protocols){"HTTP/1.1": nil, "h2c": {h2c}} {
			t.Run(c.name+" over "+name, func(t *testing.T) {
				if testing.Short() && c.name == "nobody reads" && name == "h2c" {
					t.Skip("megabytes in frames, which take minutes with the race detector")
				}
				synctest.Test(t, func(t *testing.T) {
					p := newPipes()
					evidence := newFakeEvidence()
					ended, walking := make(chan error, 1), make(chan struct{})
					evidence.verify = func(ctx context.Context, _ []store.JournalHead, tell func(*rpc.VerifyJournalResponse) error) (*rpc.VerifyJournalResponse, error) {
						err := tell(&rpc.VerifyJournalResponse{Checked: 1})
						time.Sleep(10 * callMax) // nothing to tell for a while
						close(walking)
						for c.name == "nobody reads" && err == nil {
							err = tell(&rpc.VerifyJournalResponse{Problems: long})
						}
						if err == nil {
							<-ctx.Done()
							err = ctx.Err()
						}
						ended <- err
						return nil, err
					}
					s := on(p, 10)
					stop := run(t, s, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Evidence: evidence})
					ctx, leave := context.WithCancel(t.Context())
					client := p.client(t, protocols...)
					answer, err := rpcconnect.NewEvidenceServiceClient(client, "http://localhost").VerifyJournal(ctx, connect.NewRequest(new(rpc.VerifyJournalRequest)))
					if err != nil || !answer.Receive() || answer.Msg().Checked != 1 {
						t.Fatal(err)
					}
					<-walking
					start := time.Now()
					told := make(chan error, 1)
					if c.code != 0 {
						go func() {
							for answer.Receive() {
							}
							told <- answer.Err()
						}()
					}
					synctest.Wait()
					c.end(leave, stop, s)
					<-ended
					if took := time.Since(start); took > unresponsiveAfter+time.Second {
						t.Errorf("ended after %v", took)
					}
					if c.code != 0 {
						if err := <-told; connect.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
							t.Errorf("ended with %v", err)
						}
					}
					leave()
					answer.Close()
					client.CloseIdleConnections()
					stop()
				})
			})
		}
	}
}

// TestOneVerification: while the journal is being verified nobody else has it verified, calls go
// on, and afterwards it can be verified again.
func TestOneVerification(t *testing.T) {
	evidence := newFakeEvidence()
	began, release := make(chan struct{}, 10), make(chan struct{})
	evidence.verify = func(context.Context, []store.JournalHead, func(*rpc.VerifyJournalResponse) error) (*rpc.VerifyJournalResponse, error) {
		began <- struct{}{}
		<-release
		return &rpc.VerifyJournalResponse{Done: true}, nil
	}
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Evidence: evidence})
	client := newClient(t)
	first := make(chan error, 1)
	go func() {
		_, err := verifyBy(context.Background(), client, base)
		first <- err
	}()
	<-began
	if _, err := verifyBy(t.Context(), client, base); connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "is being verified already; ask again") {
		t.Errorf("a second one: %v", err)
	}
	if a := call(t, client, base, "EvidenceService/JournalHead", "{}"); a.status != http.StatusOK {
		t.Errorf("another call: %+v", a)
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if _, err := verifyBy(t.Context(), client, base); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestTwoReports: two reports are made at a time, and no third.
func TestTwoReports(t *testing.T) {
	evidence := newFakeEvidence()
	began, release := make(chan struct{}, 10), make(chan struct{})
	evidence.report = func(context.Context) {
		began <- struct{}{}
		<-release
	}
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Evidence: evidence})
	client := newClient(t)
	report := evidenceCalls(client, base)["Report"]
	made := make(chan error, 2)
	for range 2 {
		go func() { made <- report(context.Background()) }()
		<-began
	}
	if err := report(t.Context()); connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "2 reports are being made, and no more at a time; ask again in a moment") {
		t.Errorf("a third one: %v", err)
	}
	if a := call(t, client, base, "EvidenceService/Breaches", "{}"); a.status != http.StatusOK {
		t.Errorf("another call: %+v", a)
	}
	close(release)
	for range 2 {
		if err := <-made; err != nil {
			t.Error(err)
		}
	}
	if err := report(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestIssued: timestamps count that callers were given, by every call, and none that they were not.
func TestIssued(t *testing.T) {
	s, host := guarded(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streamsThatEnd(nil)}, Options{Access: everybody})
	client := newClient(t, h2c)
	session := rpcconnect.NewClockServiceClient(client, "http://"+host).Session(t.Context())
	defer end(t, session)
	base := "http://" + host
	for _, c := range []struct {
		name string
		do   func()
		n    uint64
	}{
		{"now", func() { call(t, client, base, "ClockService/Now", `{}`) }, 1},
		{"now for many", func() { call(t, client, base, "ClockService/Now", `{"count":1000}`) }, 1000},
		{"now for too many", func() { call(t, client, base, "ClockService/Now", `{"count":1000000000}`) }, 0},
		{"now for none", func() { call(t, client, base, "ClockService/Now", `{"count":0}`) }, 0},
		{"observe", func() { call(t, client, base, "ClockService/Observe", `{"timestamp":"1"}`) }, 1},
		{"commit", func() { call(t, client, base, "ClockService/Commit", `{}`) }, 1},
		{"interval", func() { call(t, client, base, "ClockService/Interval", `{}`) }, 0},
		{"wait", func() { call(t, client, base, "ClockService/Wait", `{"timestamp":"1"}`) }, 0},
		{"append", func() { call(t, client, base, "StreamService/Append", `{"entries":[{"stream":"a"}]}`) }, 0},
		{"session", func() { exchange(t, session, &rpc.SessionRequest{Count: 10, Observe: []uint64{1, 2}}) }, 12},
	} {
		before := s.Issued()
		c.do()
		if got := s.Issued() - before; got != c.n {
			t.Errorf("%s: %d, want %d", c.name, got, c.n)
		}
	}
	s, host = guarded(t, Services{Issuer: fakeIssuer{err: store.ErrFenced}, Node: newFakeNode()}, Options{Access: everybody})
	for _, name := range []string{"Now", "Observe", "Commit"} {
		if a := call(t, newClient(t), "http://"+host, "ClockService/"+name, `{}`); a.status == http.StatusOK {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if got := s.Issued(); got != 0 {
		t.Errorf("%d counted of those that were refused", got)
	}
}
