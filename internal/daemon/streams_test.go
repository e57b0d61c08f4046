package daemon

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
	"github.com/truechimer/truechimer/store"
)

// streams is a client of the node's streams.
func (n *node) streams() rpcconnect.StreamServiceClient {
	return rpcconnect.NewStreamServiceClient(n.http, n.url())
}

// append appends one event.
func (n *node) append(stream, payload string) (*rpc.AppendResponse, error) {
	r, err := n.streams().Append(context.Background(), connect.NewRequest(&rpc.AppendRequest{
		Entries: []*rpc.AppendEntry{{Stream: stream, Payload: []byte(payload)}}, IdempotencyKey: stream + payload,
	}))
	if err != nil {
		return nil, err
	}
	return r.Msg, nil
}

// mustAppend appends one event, and returns its receipt.
func (n *node) mustAppend(stream, payload string) *rpc.AppendResponse {
	n.t.Helper()
	r, err := n.append(stream, payload)
	if err != nil {
		n.t.Fatal(err)
	}
	return r
}

// payloads says what a stream holds.
func (n *node) payloads(stream string) string {
	n.t.Helper()
	r, err := n.streams().Read(context.Background(), connect.NewRequest(&rpc.ReadRequest{Stream: stream}))
	if err != nil {
		n.t.Fatal(err)
	}
	var all []string
	for _, e := range r.Msg.Events {
		all = append(all, string(e.Payload))
	}
	return strings.Join(all, " ")
}

// watch begins a watch of all streams.
func (n *node) watch(from *rpc.WatchRequest) *connect.ServerStreamForClient[rpc.WatchResponse] {
	n.t.Helper()
	s, err := n.streams().Watch(context.Background(), connect.NewRequest(from))
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// next returns the payloads of so many events, and the cursor behind them.
func next(t *testing.T, s *connect.ServerStreamForClient[rpc.WatchResponse], events int) (payloads, cursor string) {
	t.Helper()
	var all []string
	for len(all) < events {
		if !s.Receive() {
			t.Fatalf("after %v: %v", all, s.Err())
		}
		cursor = s.Msg().Cursor
		for _, e := range s.Msg().Events {
			all = append(all, string(e.Payload))
		}
	}
	return strings.Join(all, " "), cursor
}

// TestStreamsOverRestart: what was appended is read, watched and told apart from what was
// not, before and after a restart, and a watch goes on where it was.
func TestStreamsOverRestart(t *testing.T) {
	system, dir := newFakeSystem(today(), synced), dataDir(t)
	n := start(t, system, testConfig(dir, false), false)
	before := n.now()
	s := n.watch(&rpc.WatchRequest{})
	one := n.mustAppend("chat", "one")
	if two := n.mustAppend("news", "two"); one.Sequences[0] != 1 || two.Sequences[0] != 1 || one.Timestamp <= uint64(before) || two.Timestamp <= one.Timestamp {
		t.Errorf("%v, %v", one, two)
	}
	got, cursor := next(t, s, 2)
	if got != "one two" {
		t.Errorf("watched %q", got)
	}
	if status := n.status().Streams; status.Watchers != 1 || status.Events != 2 || status.Delivered != 2 || status.Streams != 2 || status.Closed < one.Timestamp {
		t.Errorf("%v", status)
	}
	n.stop() // within its time, although the watch goes on
	if s.Receive() || connect.CodeOf(s.Err()) != connect.CodeUnavailable || !strings.Contains(s.Err().Error(), "this node is stopping") {
		t.Errorf("the watch ended with %v", s.Err())
	}
	s.Close()

	n = start(t, system, testConfig(dir, false), false)
	if again := n.mustAppend("chat", "one"); !again.Repeated || again.Timestamp != one.Timestamp || again.Sequences[0] != 1 {
		t.Errorf("once more: %v", again)
	}
	if three := n.mustAppend("chat", "three"); three.Sequences[0] != 2 || three.Repeated {
		t.Errorf("%v", three)
	}
	s = n.watch(&rpc.WatchRequest{Start: &rpc.WatchRequest_Cursor{Cursor: cursor}})
	if got, _ := next(t, s, 1); got != "three" {
		t.Errorf("the watch went on with %q", got)
	}
	s.Close()
	if got := n.payloads("chat"); got != "one three" {
		t.Errorf("read %q", got)
	}
	cut, err := n.streams().Cut(context.Background(), connect.NewRequest(&rpc.CutRequest{Timestamp: one.Timestamp}))
	if err != nil || len(cut.Msg.Streams) != 1 || cut.Msg.Streams[0].Last != 1 {
		t.Errorf("%v, %v", cut, err)
	}
	m := n.metrics()
	if m["truechimer_streams_events_total"] != 1 || m["truechimer_streams_repeated_total"] != 1 || m["truechimer_streams_created_total"] != 2 {
		t.Errorf("metrics %v", m)
	}
}

// TestStreamErrorsEndToEnd: what the store refuses arrives with its code.
func TestStreamErrorsEndToEnd(t *testing.T) {
	n := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
	n.mustAppend("chat", "one")
	c, ctx := n.streams(), context.Background()
	expected := uint64(0)
	_, err := c.Append(ctx, connect.NewRequest(&rpc.AppendRequest{Entries: []*rpc.AppendEntry{{Stream: "chat", Expected: &expected}}}))
	wantCode(t, "conflict", err, connect.CodeAborted, "is 1, and 0 was expected")
	_, err = c.Append(ctx, connect.NewRequest(&rpc.AppendRequest{Entries: []*rpc.AppendEntry{{Stream: "chat", Payload: []byte("other")}}, IdempotencyKey: "chatone"}))
	wantCode(t, "key used again", err, connect.CodeAlreadyExists, "use a fresh key")
	_, err = c.Append(ctx, connect.NewRequest(&rpc.AppendRequest{}))
	wantCode(t, "nothing to append", err, connect.CodeInvalidArgument)
	_, err = c.Append(ctx, connect.NewRequest(&rpc.AppendRequest{Entries: []*rpc.AppendEntry{{Stream: "chat", Payload: make([]byte, store.PayloadLenMax+1)}}}))
	wantCode(t, "large", err, connect.CodeInvalidArgument, "too large")
	_, err = c.Append(ctx, connect.NewRequest(&rpc.AppendRequest{Entries: []*rpc.AppendEntry{{Stream: "chat"}}, Observe: uint64(n.now()) + 1<<40}))
	wantCode(t, "observe far ahead", err, connect.CodeFailedPrecondition, "check the clock of its sender")
	_, err = c.Append(ctx, connect.NewRequest(&rpc.AppendRequest{Entries: []*rpc.AppendEntry{{Stream: "a b"}}}))
	wantCode(t, "name", err, connect.CodeInvalidArgument, "letters, digits")
	_, err = c.Read(ctx, connect.NewRequest(&rpc.ReadRequest{Stream: "other"}))
	wantCode(t, "no stream", err, connect.CodeNotFound)
	_, err = c.Read(ctx, connect.NewRequest(&rpc.ReadRequest{Stream: "chat", Cursor: "x"}))
	wantCode(t, "no cursor", err, connect.CodeInvalidArgument, "begin again")
	_, err = c.Create(ctx, connect.NewRequest(&rpc.CreateRequest{Stream: "chat"}))
	wantCode(t, "exists", err, connect.CodeAlreadyExists)
	_, err = c.Cut(ctx, connect.NewRequest(&rpc.CutRequest{Timestamp: uint64(n.now()) + 1<<40}))
	wantCode(t, "cut far ahead", err, connect.CodeFailedPrecondition, "too far ahead")
	_, err = c.Trim(ctx, connect.NewRequest(&rpc.TrimRequest{Stream: "chat", First: 3}))
	wantCode(t, "trim beyond the end", err, connect.CodeInvalidArgument)
	if _, err = c.Trim(ctx, connect.NewRequest(&rpc.TrimRequest{Stream: "chat", First: 2})); err != nil {
		t.Error(err)
	}
	_, err = c.Read(ctx, connect.NewRequest(&rpc.ReadRequest{Stream: "chat", From: 1}))
	wantCode(t, "trimmed", err, connect.CodeOutOfRange, "begins at sequence 2")
	s := n.watch(&rpc.WatchRequest{Names: []string{"chat"}, Start: &rpc.WatchRequest_Sequence{Sequence: 1}})
	s.Receive()
	wantCode(t, "watch of what was trimmed", s.Err(), connect.CodeOutOfRange, "begins at sequence 2")
	s.Close()
	deleted, err := c.Delete(ctx, connect.NewRequest(&rpc.DeleteRequest{Stream: "chat"}))
	if err != nil || deleted.Msg.Stream.Last != 1 {
		t.Errorf("%v, %v", deleted, err)
	}
	_, err = c.Describe(ctx, connect.NewRequest(&rpc.DescribeRequest{Stream: "chat"}))
	wantCode(t, "deleted", err, connect.CodeNotFound, "was deleted")
	if again := n.mustAppend("chat", "two"); again.Sequences[0] != 2 {
		t.Errorf("created again: %v", again)
	}
}

// TestStreamsUnsynchronised: nothing is stamped, so nothing appended, before the clock may
// be served.
func TestStreamsUnsynchronised(t *testing.T) {
	n := start(t, newFakeSystem(today(), unsynced), testConfig(dataDir(t), false), false)
	_, err := n.append("chat", "one")
	wantCode(t, "append", err, connect.CodeUnavailable, "waitsync")
	n.system.change(func(s *fakeSystem) { s.kernel = synced })
	n.tick()
	if r := n.mustAppend("chat", "one"); r.Sequences[0] != 1 || r.Repeated {
		t.Errorf("%v", r)
	}
}

// TestDiskFull: at the reserve appends are refused, and everybody is told; timestamps, reads,
// watches and NTP go on. With more space, here a smaller reserve, appends go on.
func TestDiskFull(t *testing.T) {
	system, dir := newFakeSystem(today(), synced), dataDir(t)
	n := start(t, system, testConfig(dir, false), false)
	n.mustAppend("chat", "one")
	n.wantHealth("/readyz", 200)
	n.stop()

	c := testConfig(dir, false)
	c.Store.Reserve = 1 << 62
	n = start(t, system, c, false)
	s := n.watch(&rpc.WatchRequest{Start: &rpc.WatchRequest_Oldest{Oldest: true}})
	defer s.Close()
	if got, _ := next(t, s, 1); got != "one" {
		t.Errorf("watched %q", got)
	}
	const advice = "free some space"
	_, err := n.append("chat", "two")
	wantCode(t, "append", err, connect.CodeResourceExhausted, "nearly full", advice)
	_, err = n.streams().Create(context.Background(), connect.NewRequest(&rpc.CreateRequest{Stream: "news"}))
	wantCode(t, "create", err, connect.CodeResourceExhausted, advice)
	n.tick()
	n.wantHealth("/readyz", 503, "the disk is nearly full", "store.reserve", advice)
	n.wantHealth("/healthz", 200)
	// Half of this reserve is not free either.
	eventually(t, "the journal to be stalled", func() bool {
		n.looks(1)
		return slices.Contains(n.alarms(), "journal_stalled")
	})
	n.wantAlarms("disk_full", "journal_stalled")
	if got := n.alarm("disk_full"); !strings.Contains(got, advice) {
		t.Errorf("the alarm says %q", got)
	}
	if status := n.status(); status.Ready || !status.Streams.NearlyFull || status.Streams.Full != 2 || status.Streams.ReserveBytes != 1<<62 {
		t.Errorf("%v", status)
	}
	m := n.metrics()
	if m["truechimer_store_nearly_full"] != 1 || m["truechimer_streams_full_total"] != 2 || m["truechimer_store_free_bytes"] == 0 || m["truechimer_ready"] != 0 {
		t.Errorf("metrics %v", m)
	}
	n.now()
	if got := n.payloads("chat"); got != "one" {
		t.Errorf("read %q", got)
	}
	if m := n.ask(); m.Fault != nil {
		t.Errorf("NTP: %v", m.Fault)
	}
	n.stop()

	n = start(t, system, testConfig(dir, false), false)
	if r := n.mustAppend("chat", "two"); r.Sequences[0] != 2 || r.Repeated {
		t.Errorf("with space: %v", r)
	}
	n.tick()
	n.wantAlarms()
}

// TestBackupEndToEnd: a backup of the running node is refused where it cannot go, tells how
// far it is, and becomes a store that has what was acknowledged.
func TestBackupEndToEnd(t *testing.T) {
	n := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
	n.mustAppend("chat", "one")
	last := n.mustAppend("chat", "two")
	backup := func(path string) (last *rpc.BackupResponse, err error) {
		s, err := n.admin.Backup(context.Background(), connect.NewRequest(&rpc.BackupRequest{Path: path}))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for s.Receive() {
			last = s.Msg()
		}
		return last, s.Err()
	}
	_, err := backup("backup")
	wantCode(t, "relative", err, connect.CodeInvalidArgument, "absolute path")
	_, err = backup(filepath.Join(n.dir, "backup"))
	wantCode(t, "inside", err, connect.CodeFailedPrecondition, "data directory")
	_, err = backup(filepath.Join(t.TempDir(), "missing", "backup"))
	wantCode(t, "nowhere", err, connect.CodeFailedPrecondition)
	to := filepath.Join(t.TempDir(), "backup")
	m, err := backup(to)
	if err != nil {
		t.Fatal(err)
	}
	r := m.Result
	if r == nil || r.StoreId != n.status().Node.StoreId || r.Streams != 1 || r.Events != 2 || r.EventBytes != 6 || r.Ceiling <= last.Timestamp || r.Files == 0 || r.Bytes == 0 || r.TookNs <= 0 {
		t.Fatalf("%v", m)
	}
	if info, err := os.Stat(r.Path); err != nil || !info.IsDir() {
		t.Errorf("%q: %v", r.Path, err)
	}
	_, err = backup(to)
	wantCode(t, "twice", err, connect.CodeFailedPrecondition, "it holds a backup")
	n.mustAppend("chat", "three")
}
