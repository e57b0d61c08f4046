package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"context"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

const (
	second = int64(1e9)
	night  = 1_795_000_000 * second // 2026-11-18T11:06:40Z
)

func someBreaches() *rpc.BreachesResponse {
	return &rpc.BreachesResponse{
		Breaches: []*rpc.Breach{
			{
				Id: 12, Profile: "finra-50ms", Clock: rpc.JudgedClock_JUDGED_CLOCK_SYSTEM, StartUnixNs: night, Worst: rpc.Verdict_VERDICT_UNKNOWN,
				PeakNs: -1, ToleranceNs: 50e6, Cause: "nobody vouches for the clock", In_24H: 1,
			},
			{
				Id: 11, Profile: "finra-50ms", Clock: rpc.JudgedClock_JUDGED_CLOCK_SERVED, StartUnixNs: night - 7200*second, EndUnixNs: night - 3600*second,
				Worst: rpc.Verdict_VERDICT_BREACH, PeakNs: 120e6, PeakOffsetNs: -15e5, ToleranceNs: 50e6, Cause: "the error bound grew beyond the tolerance", Told: []string{"on-call", "hook"},
				In_24H: 10, SelfReport: true, AcknowledgedBy: "ann", AcknowledgedUnixNs: night + second, Note: "works;\nsee \x1b[2J4711",
			},
			{
				Id: 10, Profile: "p", Clock: rpc.JudgedClock_JUDGED_CLOCK_SERVED, StartUnixNs: night - 90_000*second, EndUnixNs: night - 1, Worst: rpc.Verdict_VERDICT_BREACH,
				PeakNs: 0, In_24H: 2, AcknowledgedUnixNs: night, Note: "n",
			},
		},
		More: true,
	}
}

// TestWriteBreaches pins the table of breaches, broken and not.
func TestWriteBreaches(t *testing.T) {
	for width, want := range map[int]string{
		0: `breach 12  finra-50ms of the system clock: UNKNOWN
when       since 2026-11-18T11:06:40Z, and goes on
peak       no error bound could be claimed; the tolerance is 50ms
cause      nobody vouches for the clock
in 24 h    1
noted      nobody has acknowledged it: truechimer breach ack 12 --note TEXT

breach 11  finra-50ms of the served clock: BREACH
when       2026-11-18T09:06:40Z to 2026-11-18T10:06:40Z, 1h
peak       error bound 120ms, offset -1.5ms; the tolerance is 50ms
cause      the error bound grew beyond the tolerance
told       on-call, hook
in 24 h    10: by the profile's rule it may have to be reported
noted      ann, 2026-11-18T11:06:41Z: works; see  [2J4711

breach 10  p of the served clock: BREACH
when       2026-11-17T10:06:40Z to 2026-11-18T11:06:39Z, 1d59m59.999999999s
peak       error bound 0s, offset 0s; the tolerance is 0s
cause      ` + `
in 24 h    2
noted      somebody without a name, 2026-11-18T11:06:40Z: n

and more; --limit, --from and --to show others
`,
		60: `breach 12  finra-50ms of the system clock: UNKNOWN
when       since 2026-11-18T11:06:40Z, and goes on
peak       no error bound could be claimed; the tolerance is
           50ms
cause      nobody vouches for the clock
in 24 h    1
noted      nobody has acknowledged it: truechimer breach ack
           12 --note TEXT
`,
	} {
		var b strings.Builder
		if err := writeBreaches(&b, someBreaches(), width); err != nil {
			t.Fatal(err)
		}
		got := b.String()
		if width > 0 {
			got, _, _ = strings.Cut(got, "\nbreach 11")
		}
		if got != want {
			t.Errorf("width %d:\n%swant\n%s", width, got, want)
		}
	}
	var b strings.Builder
	if err := writeBreaches(&b, new(rpc.BreachesResponse), 0); err != nil || b.String() != "no breach is on record\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// TestWriteHosts pins the table of hosts.
func TestWriteHosts(t *testing.T) {
	m := &rpc.HostsResponse{Hosts: []*rpc.Host{
		{
			Group: "trading", Name: "matching1", Address: "192.0.2.1:123", Verdict: rpc.Verdict_VERDICT_OK, OffsetNs: -1500, BoundNs: 20e6,
			LastAnswerUnixNs: night - 5*second, Probes: 100, Lost: 2, LastAskedUnixNs: night - 7200*second,
		},
		{Group: "trading", Name: "10.0.0.1", Address: "10.0.0.1:123", Verdict: rpc.Verdict_VERDICT_BREACH, Reason: "it is 60 ms off\n\x1b", OffsetNs: 60e6, BoundNs: 61e6, LastAnswerUnixNs: night, Probes: 1},
		{Group: "rest", Name: "2001:db8::1", Address: "[2001:db8::1]:123", Verdict: rpc.Verdict_VERDICT_UNKNOWN, Reason: "it does not answer", BoundNs: -1, Probes: 3, Lost: 3},
		{Group: "rest", Name: "gone", Verdict: rpc.Verdict_VERDICT_UNKNOWN, Reason: "its name is unknown", BoundNs: -1},
		{Group: "rest", Name: "near", Address: "10.0.0.9:123", Verdict: rpc.Verdict_VERDICT_WARN, Reason: "too near", BoundNs: 30e6, LastAnswerUnixNs: night + second},
	}}
	const want = `GROUP    HOST                       VERDICT  OFFSET  ERROR BOUND  ANSWERED  ASKED US  LOST
trading  matching1 (192.0.2.1:123)  OK       -1.5µs  20ms         5s        2h        2 of 100
trading  10.0.0.1                   BREACH   60ms    61ms         0s        never     0 of 1
rest     2001:db8::1                UNKNOWN  -       -            never     never     3 of 3
rest     gone                       UNKNOWN  -       -            never     never     0 of 0
rest     near (10.0.0.9:123)        WARN     0s      30ms         0s        never     0 of 0

10.0.0.1: it is 60 ms off  ` + `
2001:db8::1: it does not answer
gone: its name is unknown
near: too near
`
	var b strings.Builder
	if err := writeHosts(&b, m, night); err != nil || b.String() != want {
		t.Errorf("%v\n%swant\n%s", err, b.String(), want)
	}
	b.Reset()
	m.Hosts = m.Hosts[:1]
	if err := writeHosts(&b, m, night); err != nil || strings.Count(b.String(), "\n") != 2 {
		t.Errorf("%v\n%s", err, b.String())
	}
	b.Reset()
	if err := writeHosts(&b, new(rpc.HostsResponse), night); err != nil || b.String() != "no host is observed that fits; add a [[monitor]] to the configuration\n" {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// fakeEvidence is a server's evidence, as a test wants it. What is nil is no answer.
type fakeEvidence struct {
	rpcconnect.UnimplementedEvidenceServiceHandler
	rpcconnect.UnimplementedNodeServiceHandler
	hosts   func(*rpc.HostsRequest) *rpc.HostsResponse
	results []*rpc.Delivered
	journal func(*rpc.JournalRequest) *rpc.JournalResponse
	verify  []*rpc.VerifyJournalResponse
	heads   []string // of the verification
	head    *rpc.JournalHeadResponse
	report  *rpc.ReportResponse
}

func (f *fakeEvidence) Status(context.Context, *connect.Request[rpc.StatusRequest]) (*connect.Response[rpc.StatusResponse], error) {
	return connect.NewResponse(&rpc.StatusResponse{Clock: &rpc.Clock{UtcUnixNs: night}}), nil
}

func (f *fakeEvidence) Hosts(_ context.Context, r *connect.Request[rpc.HostsRequest]) (*connect.Response[rpc.HostsResponse], error) {
	return connect.NewResponse(f.hosts(r.Msg)), nil
}

func (f *fakeEvidence) TestAlerts(context.Context, *connect.Request[rpc.TestAlertsRequest]) (*connect.Response[rpc.TestAlertsResponse], error) {
	return connect.NewResponse(&rpc.TestAlertsResponse{Results: f.results}), nil
}

func (f *fakeEvidence) Journal(_ context.Context, r *connect.Request[rpc.JournalRequest]) (*connect.Response[rpc.JournalResponse], error) {
	return connect.NewResponse(f.journal(r.Msg)), nil
}

func (f *fakeEvidence) JournalHead(context.Context, *connect.Request[rpc.JournalHeadRequest]) (*connect.Response[rpc.JournalHeadResponse], error) {
	return connect.NewResponse(f.head), nil
}

func (f *fakeEvidence) Report(context.Context, *connect.Request[rpc.ReportRequest]) (*connect.Response[rpc.ReportResponse], error) {
	return connect.NewResponse(f.report), nil
}

func (f *fakeEvidence) VerifyJournal(_ context.Context, r *connect.Request[rpc.VerifyJournalRequest], s *connect.ServerStream[rpc.VerifyJournalResponse]) error {
	f.heads = r.Msg.Heads
	for _, m := range f.verify {
		if err := s.Send(m); err != nil {
			return err
		}
	}
	return nil
}

// asks runs a command line against the fake.
func (f *fakeEvidence) asks(t *testing.T, args ...string) (code int, out, log string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(rpcconnect.NewEvidenceServiceHandler(f))
	mux.Handle(rpcconnect.NewNodeServiceHandler(f))
	web := httptest.NewServer(mux)
	defer web.Close()
	var o, l strings.Builder
	code = run(t.Context(), append([]string{"--api", web.Listener.Addr().String()}, args...), streams{strings.NewReader(""), &o, &l})
	return code, o.String(), l.String()
}

// TestHostsFaulty: that no host is beyond its limit is another thing than that none is observed.
func TestHostsFaulty(t *testing.T) {
	for n, want := range []string{"no host is observed that fits; add a [[monitor]] to the configuration\n", "no host is beyond its limit: 1 host is observed\n", "no host is beyond its limit: 2 hosts are observed\n"} {
		f := &fakeEvidence{hosts: func(r *rpc.HostsRequest) *rpc.HostsResponse {
			if r.Faulty || r.Group != "g" {
				return new(rpc.HostsResponse)
			}
			return &rpc.HostsResponse{Hosts: make([]*rpc.Host, n)}
		}}
		if code, out, log := f.asks(t, "hosts", "--faulty", "--group", "g"); code != 0 || out != want || log != "" {
			t.Errorf("%d hosts: exit code %d, %q, %q", n, code, out, log)
		}
	}
}

// TestAlertTest: it fails where a channel did, and where there is none.
func TestAlertTest(t *testing.T) {
	taken, failed := &rpc.Delivered{Channel: "on-call", Taken: true}, &rpc.Delivered{Channel: "hook", Fault: "it answered 500\n\x1b"}
	for _, c := range []struct {
		results  []*rpc.Delivered
		code     int
		out, log string
	}{
		{[]*rpc.Delivered{taken}, 0, "on-call  took it\n", ""},
		{[]*rpc.Delivered{taken, failed}, 1, "on-call  took it\nhook     did not take it: it answered 500  \n", "truechimer: 1 of 2 channels did not take the test\n"},
		{[]*rpc.Delivered{failed}, 1, "hook  did not take it: it answered 500  \n", "truechimer: 1 of 1 channel did not take the test\n"},
		{nil, 1, "", "truechimer: there is no channel: nobody is told of anything; add an [[alert]] to the configuration\n"},
	} {
		f := &fakeEvidence{results: c.results}
		if code, out, log := f.asks(t, "alert", "test"); code != c.code || out != c.out || log != c.log {
			t.Errorf("%v: exit code %d, %q, %q", c.results, code, out, log)
		}
		if code, out, log := f.asks(t, "alert", "test", "--json"); code != c.code || !strings.HasPrefix(out, `{"results":[`) || log != c.log {
			t.Errorf("%v in JSON: exit code %d, %q, %q", c.results, code, out, log)
		}
	}
}

// TestReportOutput: a report is what the server made, and in JSON the whole answer.
func TestReportOutput(t *testing.T) {
	f := &fakeEvidence{report: &rpc.ReportResponse{Content: []byte("<html>\n"), ContentType: "text/html", FileName: "a.html"}}
	if code, out, log := f.asks(t, "report", "--profile", "p"); code != 0 || out != "<html>\n" || log != "" {
		t.Errorf("exit code %d, %q, %q", code, out, log)
	}
	if code, out, _ := f.asks(t, "report", "--profile", "p", "--json"); code != 0 || !strings.Contains(strings.ReplaceAll(out, " ", ""), `"content":"PGh0bWw+Cg=="`) {
		t.Errorf("exit code %d, %q", code, out)
	}
	if code, _, log := f.asks(t, "report", "--profile", "p", "--output", "none/such/file"); code != 1 || !strings.HasPrefix(log, "truechimer: write the report: open none/such/file: ") {
		t.Errorf("exit code %d, %q", code, log)
	}
}

// TestEvidenceUsage: what is wrong with a command line is told before anybody is asked.
func TestEvidenceUsage(t *testing.T) {
	for _, c := range []struct{ line, says string }{
		{"check x", "truechimer check takes no arguments"},
		{"check --timeout x", "--timeout"},
		{"report --profile p --format pdf", `--format is "pdf"; want html, csv or json`},
		{"report --profile p --format unspecified", `--format is "unspecified"; want html`},
		{"report --profile p --format=", `--format is ""; want html`},
		{"report", "say with --profile of which profile"},
		{"report --profile p --for x", `--for is "x"; want a day`},
		{"report --profile p --for 2026 --from 1d", "and not both"},
		{"report --profile p --to 1d", "say with --from where it begins"},
		{"report --profile p --from yesterday", `"yesterday" is no instant`},
		{"breach list --from x", `"x" is no instant`},
		{"breach list --limit -1", "--limit"},
		{"breach list x", "truechimer breach list takes no arguments"},
		{"breach ack", "truechimer breach ack takes ID, not 0 arguments"},
		{"breach ack x --note n", `"x" is no number of a breach; truechimer breach list shows them`},
		{"breach ack -- -1", `"-1" is no number of a breach`},
		{"breach ack 1", "say with --note what was found"},
		{"breach x", `unknown command "x"`},
		{"alert x", `unknown command "x"`},
		{"journal x", `unknown command "x"`},
		{"journal verify --key 00", "--key needs --data"},
		{"journal verify --data . --head x", "is not a head of a journal"},
		{"journal verify --data . --key x", `"x" is no public key: want 64 hexadecimal digits`},
		{"journal show --limit 0", "--limit is 0; want 1 to 1000, or --all"},
		{"journal show --limit 1001", "--limit is 1001; want 1 to 1000"},
		{"journal show --from x", `"x" is no instant`},
		{"journal head x", "takes no arguments"},
		{"hosts x", "takes no arguments"},
	} {
		var out, log strings.Builder
		code := run(t.Context(), append([]string{"--api", "127.0.0.1:1"}, strings.Fields(c.line)...), streams{strings.NewReader(""), &out, &log})
		want := exitUsage
		if strings.HasPrefix(c.line, "check ") {
			want = pluginUnknown // 2 would be taken for a clock that is wrong
		}
		if code != want || out.String() != "" || !strings.HasPrefix(log.String(), "truechimer: ") || !strings.Contains(log.String(), c.says) {
			t.Errorf("%s: exit code %d, %q, %q", c.line, code, out.String(), log.String())
		}
	}
}
