package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// appended puts an entry on record at once.
func (n *node) appended(unix int64, entries ...*rpc.JournalEntry) {
	n.t.Helper()
	var list []store.JournalEntry
	for _, e := range entries {
		payload, err := proto.Marshal(e)
		if err != nil {
			n.t.Fatal(err)
		}
		list = append(list, store.JournalEntry{Track: store.Evidence, Kind: uint8(compliance.KindOf(e)), Unix: unix, Payload: payload})
	}
	if err := n.d.evidence.journal.Append(list...); err != nil {
		n.t.Fatal(err)
	}
}

// The latest page ends with the latest record, and has no hole, however long the records are.
func TestLatestPageOfLongRecords(t *testing.T) {
	n := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
	var long []*rpc.JournalEntry
	for range 900 {
		long = append(long, &rpc.JournalEntry{What: &rpc.JournalEntry_Operation{Operation: &rpc.Operated{Who: "x", Result: strings.Repeat("n", 7000)}}})
	}
	n.appended(n.system.wall().UnixNano(), long...)
	last := n.d.evidence.journal.Tip(store.Evidence).Sequence
	m, err := n.evidence().Journal(context.Background(), connect.NewRequest(&rpc.JournalRequest{Kinds: []string{"operation"}, Limit: 1000}))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Msg.Records) < 100 {
		t.Fatalf("%d records", len(m.Msg.Records))
	}
	if got := m.Msg.Records[len(m.Msg.Records)-1].Sequence; got != last {
		t.Errorf("the latest page ends with record %d; the last is %d", got, last)
	}
	for i, r := range m.Msg.Records[1:] {
		if r.Sequence != m.Msg.Records[i].Sequence+1 {
			t.Fatalf("record %d behind record %d", r.Sequence, m.Msg.Records[i].Sequence)
		}
	}
}

// An alarm that is over does not stand after a restart because the clock was set back meanwhile, and
// one that stands does, whatever the hardware clock shows at the start.
func TestAlarmsAreRestoredInTheirOrder(t *testing.T) {
	system := newFakeSystem(today(), synced)
	c := testConfig(dataDir(t), false)
	n := start(t, system, c, false)
	now := system.wall().UnixNano()
	alarm := func(id string, over bool) *rpc.JournalEntry {
		return &rpc.JournalEntry{What: &rpc.JournalEntry_Alarm{Alarm: &rpc.Alarmed{Id: id, Name: id, Severity: "critical", Resolved: over, SinceUnixNs: now}}}
	}
	n.appended(now+int64(10*24*time.Hour), alarm("ahead", false)) // before the clock was set right
	n.appended(now, alarm("ahead", true), alarm("stands", false))
	for _, jump := range []time.Duration{0, -20 * 365 * 24 * time.Hour, 40 * 365 * 24 * time.Hour} {
		n.stop()
		system.step(jump, synced)
		n = start(t, system, c, false)
		var names []string
		for _, a := range n.d.evidence.alerts.Standing() {
			names = append(names, a.Name)
		}
		if slices.Contains(names, "ahead") || !slices.Contains(names, "stands") {
			t.Errorf("after a start with a clock that is off by %v, alarms %v stand", jump, names)
		}
	}
}

// A crash is on record as one, though the clock was years ahead at an earlier start.
func TestCrashIsOnRecordThoughTheClockWasAhead(t *testing.T) {
	system := newFakeSystem(today(), synced)
	c := testConfig(dataDir(t), false)
	n := start(t, system, c, false)
	started := &rpc.JournalEntry{What: &rpc.JournalEntry_Started{Started: &rpc.Started{Clean: true}}}
	now := system.wall().UnixNano()
	n.appended(now+int64(20*365*24*time.Hour), started)
	n.appended(now, &rpc.JournalEntry{What: &rpc.JournalEntry_Stopped{Stopped: &rpc.Stopped{}}})
	n.appended(now+1, started) // and killed
	if err := n.d.evidence.started(&c); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the start to be on record", func() bool {
		m, err := n.evidence().Journal(context.Background(), connect.NewRequest(&rpc.JournalRequest{Kinds: []string{"started"}}))
		if err != nil {
			t.Fatal(err)
		}
		last := m.Msg.Records[len(m.Msg.Records)-1]
		if last.Entry.GetStarted().GetVersion() == "" {
			return false
		}
		if last.Entry.GetStarted().GetClean() {
			t.Fatal("a start after a crash is on record as clean")
		}
		return true
	})
}

// A configuration at its limits is on record with its hash, and nothing is lost for it.
func TestConfigurationAtItsLimitsIsOnRecord(t *testing.T) {
	c := testConfig(dataDir(t), false)
	for i := range 64 {
		m := config.Monitor{Name: fmt.Sprint("group", i), Hosts: []string{fmt.Sprintf("10.0.%d.1", i)}, Interval: time.Minute, Profile: "finra-50ms"}
		for k := range 600 {
			m.Exclude = append(m.Exclude, fmt.Sprintf("very-long-name-of-a-host-%d.example.net", k))
		}
		c.Monitors = append(c.Monitors, m)
	}
	if n := len(c.Journalled()); n < store.JournalPayloadLenMax {
		t.Fatalf("the configuration has %d bytes", n)
	}
	n := start(t, newFakeSystem(today(), synced), c, false)
	eventually(t, "the configuration to be on record", func() bool { return n.kinds()["configured"] == 1 })
	if lost := n.d.evidence.recorder.Dropped(); lost != 0 {
		t.Errorf("%d entries were given up", lost)
	}
}

// What was written long ago is found, however much was written since.
func TestLatestOfWhatIsRare(t *testing.T) {
	n := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
	e := n.d.evidence
	now := n.system.wall().UnixNano()
	long := now - int64(365*24*time.Hour)
	n.appended(long, &rpc.JournalEntry{What: &rpc.JournalEntry_Operation{Operation: &rpc.Operated{Who: "x"}}})
	minute := &rpc.JournalEntry{What: &rpc.JournalEntry_Minute{Minute: &rpc.Summary{}}}
	minutes := make([]*rpc.JournalEntry, 10_000)
	for i := range minutes {
		minutes[i] = minute
	}
	for i := range scannedMax/len(minutes) + 1 {
		n.appended(long+int64(i+1)*1e12, minutes...)
	}
	for name, r := range map[string]*rpc.JournalRequest{
		"kind": {Kinds: []string{"operation"}, Limit: 5},
		"time": {ToUnixNs: long + 1, Limit: 1},
	} {
		m, err := e.Journal(context.Background(), r)
		if err != nil || len(m.Records) != 1 || m.Records[0].Kind != "operation" {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
}
