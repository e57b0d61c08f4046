package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
	"github.com/truechimer/truechimer/internal/sysclock"
	"github.com/truechimer/truechimer/ntpserver"
)

// receiver is a webhook that remembers what it was told.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	told []string // type, and the alarm's name and profile
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		var m struct {
			Type  string
			Alarm struct {
				Name   string
				Labels map[string]string
			}
		}
		if err := json.NewDecoder(request.Body).Decode(&m); err != nil {
			t.Errorf("the message cannot be read: %v", err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.told = append(r.told, strings.TrimSpace(m.Type+" "+m.Alarm.Name+" "+m.Alarm.Labels["profile"]))
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) heard(what string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.told, what)
}

// evidenceOf is the client of a node's evidence.
func (n *node) evidence() rpcconnect.EvidenceServiceClient {
	return rpcconnect.NewEvidenceServiceClient(n.http, n.url())
}

// looks has the clock looked at so many times, a second of its own time between.
func (n *node) looks(times int) {
	for range times {
		n.system.pass(time.Second)
		n.d.keeper.tick(context.Background(), false)
	}
}

// verdict returns what can be proven of the system clock by the first profile.
func (n *node) verdict() rpc.Verdict {
	n.t.Helper()
	m, err := n.evidence().Compliance(context.Background(), connect.NewRequest(&rpc.ComplianceRequest{}))
	if err != nil {
		n.t.Fatal(err)
	}
	return m.Msg.Verdicts[0].Verdict
}

// kinds returns how many records of each kind the journal holds.
func (n *node) kinds() map[string]int {
	n.t.Helper()
	count := map[string]int{}
	for _, track := range []rpc.JournalTrack{rpc.JournalTrack_JOURNAL_TRACK_EVIDENCE, rpc.JournalTrack_JOURNAL_TRACK_RAW} {
		for from := uint64(1); from != 0; {
			m, err := n.evidence().Journal(context.Background(), connect.NewRequest(&rpc.JournalRequest{Track: track, FromSequence: from, Limit: 7}))
			if err != nil {
				n.t.Fatal(err)
			}
			for i, r := range m.Msg.Records {
				if r.Sequence != from+uint64(i) {
					n.t.Fatalf("record %d stands where %d should", r.Sequence, from+uint64(i))
				}
				count[r.Kind]++
			}
			from = m.Msg.NextSequence
		}
	}
	return count
}

// following is a configuration with a profile and a channel.
func following(t *testing.T, r *receiver) config.Config {
	c := testConfig(dataDir(t), false)
	c.Profiles = []config.Profile{config.DefaultProfile("finra-50ms")}
	channel := config.DefaultAlert("hook")
	channel.Type, channel.URL = config.AlertWebhook, r.URL+"/secret"
	c.Alerts = []config.Alert{channel}
	return c
}

// A breach from end to end: its verdict, its alarm, who was told, its end, what an operator notes,
// the report, the journal, and all of it after a restart.
func TestEvidence(t *testing.T) {
	r := newReceiver(t)
	c := following(t, r)
	system := newFakeSystem(today(), synced)
	n := start(t, system, c, false)
	tracker := &fakeTracker{tracking: goodTracking(system.wall())}
	n.d.keeper.followBy(sysclock.FollowSettings{ErrorLimit: time.Second, Tracker: tracker})
	n.looks(61)
	if v := n.verdict(); v != rpc.Verdict_VERDICT_OK {
		t.Fatalf("verdict %v", v)
	}

	tracker.change(func(t *sysclock.Tracking) { t.RootDispersion = 70 * time.Millisecond })
	n.looks(1)
	if v := n.verdict(); v != rpc.Verdict_VERDICT_BREACH {
		t.Fatalf("verdict %v of a bound of more than 70 ms", v)
	}
	alarmed := func(s *rpc.StatusResponse) bool {
		return slices.ContainsFunc(s.Alarms, func(a *rpc.Alarm) bool {
			return a.Name == "compliance_breach" && a.Critical && a.Labels["profile"] == "finra-50ms" && a.Labels["clock"] == "system"
		})
	}
	if !alarmed(n.status()) {
		t.Errorf("alarms %v", n.status().Alarms)
	}
	eventually(t, "the channel to be told", func() bool { return r.heard("firing compliance_breach finra-50ms") })
	list := func() []*rpc.Breach {
		t.Helper()
		m, err := n.evidence().Breaches(context.Background(), connect.NewRequest(&rpc.BreachesRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		return m.Msg.Breaches
	}
	eventually(t, "the breach to say who was told", func() bool {
		all := list()
		return len(all) == 1 && slices.Equal(all[0].Told, []string{"hook"}) && all[0].EndUnixNs == 0
	})

	tracker.change(func(t *sysclock.Tracking) { t.RootDispersion = time.Millisecond })
	n.looks(60)
	if v := n.verdict(); v != rpc.Verdict_VERDICT_OK || alarmed(n.status()) {
		t.Errorf("verdict %v, alarms %v", v, n.status().Alarms)
	}
	eventually(t, "the breach to be over", func() bool { return list()[0].EndUnixNs != 0 })
	if b := list()[0]; b.EndUnixNs <= b.StartUnixNs || b.PeakNs < int64(70*time.Millisecond) || b.Worst != rpc.Verdict_VERDICT_BREACH || b.Id != 1 {
		t.Errorf("breach %v", b)
	}
	ack := func(id uint64) error {
		_, err := n.evidence().Acknowledge(context.Background(), connect.NewRequest(&rpc.AcknowledgeRequest{Id: id, Note: "the uplink was cut"}))
		return err
	}
	if err := ack(1); err != nil {
		t.Error(err)
	}
	if note := list()[0].Note; note != "the uplink was cut" { // at once
		t.Errorf("the note on record is %q", note)
	}
	if err := ack(2); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a breach that there is not: %v", err)
	}

	minutes := n.kinds()["minute"]
	n.looks(61)
	eventually(t, "the minute of the breach to be on record", func() bool { return n.kinds()["minute"] > minutes })
	n.reportHas("finra-50ms", `"note":"the uplink was cut"`)
	n.wantKinds("started", "key", "configured", "clock", "breach", "alarm", "delivery", "minute", "seconds", "operation")
	n.verify()
	n.stop()

	n = start(t, system, c, false)
	if b := list(); len(b) != 1 || b[0].Note == "" {
		t.Errorf("after a restart: %v", b)
	}
	eventually(t, "the start to be on record", func() bool { return n.kinds()["started"] == 2 })
	m, err := n.evidence().Journal(context.Background(), connect.NewRequest(&rpc.JournalRequest{Kinds: []string{"started", "stopped", "configured"}}))
	if err != nil {
		t.Fatal(err)
	}
	last := m.Msg.Records[len(m.Msg.Records)-3:]
	if last[0].Kind != "stopped" || !last[1].Entry.GetStarted().GetClean() || last[2].Entry.GetConfigured().GetEffective() != "" {
		t.Errorf("the restart is on record as %v", last)
	}
	n.verify()
}

// reportHas makes a report of the last day, and wants a text in it.
func (n *node) reportHas(profile, want string) {
	n.t.Helper()
	now := n.system.wall().UnixNano()
	for format, kind := range map[rpc.ReportFormat]string{
		rpc.ReportFormat_REPORT_FORMAT_JSON: "application/json", rpc.ReportFormat_REPORT_FORMAT_CSV: "text/csv; charset=utf-8", rpc.ReportFormat_REPORT_FORMAT_HTML: "text/html; charset=utf-8",
	} {
		m, err := n.evidence().Report(context.Background(), connect.NewRequest(&rpc.ReportRequest{
			Profile: profile, FromUnixNs: now - int64(24*time.Hour), ToUnixNs: now + int64(time.Hour), Format: format,
		}))
		if err != nil {
			n.t.Fatal(err)
		}
		if m.Msg.ContentType != kind || len(m.Msg.Content) < 500 {
			n.t.Errorf("a report of %d bytes of %s", len(m.Msg.Content), m.Msg.ContentType)
		}
		if format == rpc.ReportFormat_REPORT_FORMAT_JSON && !strings.Contains(strings.ReplaceAll(string(m.Msg.Content), `": "`, `":"`), want) {
			n.t.Errorf("the report does not say %s: %s", want, m.Msg.Content)
		}
	}
}

// wantKinds wants a record of each kind.
func (n *node) wantKinds(kinds ...string) {
	n.t.Helper()
	got := n.kinds()
	for _, k := range kinds {
		if got[k] == 0 {
			n.t.Errorf("no record of kind %s among %v", k, got)
		}
	}
}

// verify proves the journal, with its own head.
func (n *node) verify() {
	n.t.Helper()
	head, err := n.evidence().JournalHead(context.Background(), connect.NewRequest(&rpc.JournalHeadRequest{}))
	if err != nil {
		n.t.Fatal(err)
	}
	request := &rpc.VerifyJournalRequest{}
	if head.Msg.Head != "" {
		request.Heads = []string{head.Msg.Head}
	}
	stream, err := n.evidence().VerifyJournal(context.Background(), connect.NewRequest(request))
	if err != nil {
		n.t.Fatal(err)
	}
	defer stream.Close()
	var last *rpc.VerifyJournalResponse
	for stream.Receive() {
		last = stream.Msg()
	}
	if stream.Err() != nil || last == nil || !last.Done || len(last.Problems) != 0 || last.Checked == 0 {
		n.t.Errorf("verified: %v, %v", last, stream.Err())
	}
}

// Sources' measurements are on record with their four timestamps, under the number that says who
// they are; the served clock, which is not the system clock, is judged by itself.
func TestEvidenceOfSources(t *testing.T) {
	server := startServer(t)
	c := testConfig(dataDir(t), false)
	c.Clock.Mode = config.ModeVirtual
	c.Sources = []config.Source{sourceAt(server, true)}
	c.Profiles = []config.Profile{config.DefaultProfile("pci-10.6")}
	n := start(t, newFakeSystem(today(), synced), c, false)
	n.await("synchronised", synchronised)
	n.looks(70)
	eventually(t, "a measurement to be on record", func() bool { return n.kinds()["measured"] > 0 })
	m, err := n.evidence().Journal(context.Background(), connect.NewRequest(&rpc.JournalRequest{Track: rpc.JournalTrack_JOURNAL_TRACK_RAW, Kinds: []string{"measured"}, FromUnixNs: 1}))
	if err != nil {
		t.Fatal(err)
	}
	named, err := n.evidence().Journal(context.Background(), connect.NewRequest(&rpc.JournalRequest{Kinds: []string{"source"}}))
	if err != nil || len(named.Msg.Records) != 1 {
		t.Fatalf("%v, %v", named, err)
	}
	source, first := named.Msg.Records[0].Entry.GetSource(), m.Msg.Records[0].Entry.GetMeasured()
	if source.Number == 0 || source.Number != first.Source || source.Address != server.String() {
		t.Errorf("source %v, measurement %v", source, first)
	}
	if first.Origin == 0 || first.Receive == 0 || first.Transmit < first.Receive || first.Destination <= first.Origin || first.Stratum == 0 || first.BoundNs == 0 {
		t.Errorf("measurement %v", first)
	}
	compliance, err := n.evidence().Compliance(context.Background(), connect.NewRequest(&rpc.ComplianceRequest{Days: 2}))
	if err != nil || len(compliance.Msg.Verdicts) != 2 {
		t.Fatalf("%v, %v", compliance, err)
	}
	for _, v := range compliance.Msg.Verdicts {
		if len(v.Days) != 1 || v.Days[0].Ok < 60 || v.Days[0].Unknown == 0 || v.ToleranceNs != uint64(time.Second) {
			t.Errorf("%v", v)
		}
	}
	eventually(t, "a point of the charts", func() bool {
		h, err := n.evidence().History(context.Background(), connect.NewRequest(&rpc.HistoryRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(h.Msg.Series, func(s *rpc.Series) bool { return s.Name == "clock.bound_seconds" && len(s.Mean) > 0 })
	})
	n.verify()
}

// What changed in the configuration is on record, without what is secret in it.
func TestEvidenceOfConfiguration(t *testing.T) {
	r := newReceiver(t)
	c := following(t, r)
	n := start(t, newFakeSystem(today(), synced), c, false)
	next := c
	next.Profiles = []config.Profile{config.DefaultProfile("finra-50ms"), config.DefaultProfile("mifid-1ms")}
	channel := config.DefaultAlert("other")
	channel.Type, channel.URL = config.AlertWebhook, r.URL+"/hush"
	next.Alerts = []config.Alert{channel}
	next.NTP.Workers = 3
	if _, err := n.d.Reload(next); err != nil {
		t.Fatal(err)
	}
	n.looks(1)
	var last *rpc.Configured
	eventually(t, "the change to be on record", func() bool {
		m, err := n.evidence().Journal(context.Background(), connect.NewRequest(&rpc.JournalRequest{Kinds: []string{"configured"}}))
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Msg.Records) > 0 {
			last = m.Msg.Records[len(m.Msg.Records)-1].Entry.GetConfigured()
		}
		return last.GetWho() == "reload"
	})
	var changes []string
	for _, change := range last.Changes {
		changes = append(changes, fmt.Sprint(change.Key, change.Waits))
	}
	for _, want := range []string{"profile[mifid-1ms]false", "alert[hook]false", "alert[other]false", "ntp.workerstrue"} {
		if !slices.Contains(changes, want) {
			t.Errorf("changes %v, want %s among them", changes, want)
		}
	}
	if text := last.String(); strings.Contains(text, "hush") || strings.Contains(text, "secret") {
		t.Errorf("what is secret is on record: %s", text)
	}
	m, err := n.evidence().Compliance(context.Background(), connect.NewRequest(&rpc.ComplianceRequest{}))
	if err != nil || len(m.Msg.Verdicts) != 2 || len(m.Msg.Channels) != 1 || m.Msg.Channels[0].Name != "other" {
		t.Errorf("%v, %v", m, err)
	}
	// One that cannot be taken changes nothing.
	bad := next
	bad.Monitors = []config.Monitor{{Name: "m", Hosts: []string{"10.0.0.0/8"}, Interval: time.Minute, Profile: "finra-50ms"}}
	if _, err := n.d.Reload(bad); err == nil {
		t.Error("a group of sixteen million hosts was taken")
	}
}

// When an address asked last is as of the last read, in whatever clothes it comes.
func TestAskers(t *testing.T) {
	at := time.Unix(1_790_000_000, 5)
	list := []ntpserver.Client{{Addr: netip.MustParseAddr("192.0.2.1"), Last: at}}
	a := newAskers(func() []ntpserver.Client { return list })
	if _, ok := a.when(netip.MustParseAddr("192.0.2.1")); ok {
		t.Error("known before the list was read")
	}
	a.read()
	list = nil
	if unix, ok := a.when(netip.MustParseAddr("::ffff:192.0.2.1")); !ok || unix != at.UnixNano() {
		t.Errorf("asked at %d, %v", unix, ok)
	}
	a.read()
	if _, ok := a.when(netip.MustParseAddr("192.0.2.1")); ok {
		t.Error("known after it was forgotten")
	}
}
