package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
	"github.com/truechimer/truechimer/store"
)

// delivery is one of n events, the first of which has the sequence first.
func delivery(first uint64, n int) store.Delivery {
	d := store.Delivery{Cursor: fmt.Sprint("behind ", first+uint64(n)-1), Closed: noon + 100}
	for i := range uint64(n) {
		d.Events = append(d.Events, store.Event{Stream: "chat", Sequence: first + i, Timestamp: noon + 1, Payload: []byte("hello"), Epoch: 2, Node: 3})
	}
	return d
}

// TestWatchProtocols: a watch by each protocol begins when the headers are there, gets each
// delivery at once and as it is, and the error that ends it with its figures.
func TestWatchProtocols(t *testing.T) {
	streams, began := watched()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streams})
	for _, c := range []struct {
		name      string
		options   []connect.ClientOption
		protocols []func(*http.Protocols)
	}{
		{name: "Connect over HTTP/1.1"},
		{name: "Connect in JSON over HTTP/1.1", options: []connect.ClientOption{connect.WithProtoJSON()}},
		{name: "Connect over h2c", protocols: []func(*http.Protocols){h2c}},
		{name: "gRPC over h2c", options: []connect.ClientOption{connect.WithGRPC()}, protocols: []func(*http.Protocols){h2c}},
		{name: "gRPC-Web", options: []connect.ClientOption{connect.WithGRPCWeb()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := rpcconnect.NewStreamServiceClient(newClient(t, c.protocols...), base, c.options...)
			got, err := client.Watch(t.Context(), connect.NewRequest(&rpc.WatchRequest{Names: []string{"chat"}, Start: &rpc.WatchRequest_Sequence{Sequence: 7}}))
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			w := <-began
			if asked := streams.was(); asked != `watch [chat] prefix "" from sequence 7, oldest false, time 0, cursor ""` {
				t.Errorf("asked %s", asked)
			}
			for _, d := range []store.Delivery{delivery(7, 2), {Cursor: "heartbeat", Closed: noon + 200}, delivery(9, 1000)} {
				w.next <- d
				if !got.Receive() {
					t.Fatal(got.Err())
				}
				m := got.Msg()
				if len(m.Events) != len(d.Events) || m.Cursor != d.Cursor || m.Closed != uint64(d.Closed) {
					t.Errorf("got %d events, %q, %d", len(m.Events), m.Cursor, m.Closed)
				}
				for i, e := range m.Events {
					want := d.Events[i]
					if e.Stream != want.Stream || e.Sequence != want.Sequence || e.Timestamp != uint64(want.Timestamp) || !bytes.Equal(e.Payload, want.Payload) || e.Epoch != want.Epoch || e.Node != uint32(want.Node) {
						t.Errorf("event %d is %v, want %v", i, e, want)
					}
				}
			}
			w.err = &store.TrimmedError{Stream: "chat", First: 70}
			close(w.next)
			if got.Receive() || connect.CodeOf(got.Err()) != connect.CodeOutOfRange {
				t.Errorf("ended with %v", got.Err())
			}
			if d, ok := detail(t, got.Err()).(*rpc.StreamTrimmed); !ok || d.First != 70 {
				t.Errorf("the detail is %v", d)
			}
			<-w.closed
		})
	}
}

// envelope puts a message of Connect's into its envelope.
func envelope(message string) string {
	return string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))) + message
}

// TestWatchJSON pins a watch as curl sees it, byte by byte but for blanks.
func TestWatchJSON(t *testing.T) {
	streams, began := watched()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streams})
	go func() {
		w := <-began
		w.next <- delivery(1, 1)
		w.next <- store.Delivery{Cursor: "c", Closed: noon}
		w.err = store.ErrClosed
		close(w.next)
	}()
	a := send(t, newClient(t), http.MethodPost, base+"/truechimer.v1.StreamService/Watch", envelope(`{"prefix":"ch","oldest":true}`), map[string]string{"Content-Type": "application/connect+json"})
	if asked := streams.was(); asked != `watch [] prefix "ch" from sequence 0, oldest true, time 0, cursor ""` {
		t.Errorf("asked %s", asked)
	}
	body := []byte(a.body)
	for _, want := range []string{
		"\x00" + `{"events":[{"stream":"chat","sequence":"1","timestamp":"1795000000000000001","payload":"aGVsbG8=","epoch":"2","node":3}],"cursor":"behind 1","closed":"1795000000000000100"}`,
		"\x00" + `{"events":[],"cursor":"c","closed":"1795000000000000000"}`,
		"\x02" + `{"error":{"code":"unavailable","message":"this node is stopping (store: closed); ask again once it is back"}}`,
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
	if len(body) > 0 || a.status != http.StatusOK {
		t.Errorf("status %d, and then %q", a.status, body)
	}
}

// TestWatchInput: a start that is there and says nothing would begin elsewhere than was
// meant.
func TestWatchInput(t *testing.T) {
	streams := newFakeStreams()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streams})
	for _, c := range []struct{ request, code, says string }{
		{`{"sequence":0}`, "invalid_argument", "sequences begin with 1"},
		{`{"time":"0"}`, "invalid_argument", "say oldest"},
		{`{"cursor":""}`, "invalid_argument", "cursor is empty"},
		{`{"cursor":"a","sequence":1}`, "invalid_argument", "oneof"},
		{`{"names":["a"],"prefix":"b"}`, "invalid_argument", "names and a prefix"},
		{`{"stream":"a"}`, "invalid_argument", `"names"`},
		{`{"names":["` + strings.Repeat("a", namesLenMax) + `"]}`, "resource_exhausted", "larger"},
	} {
		a := send(t, newClient(t), http.MethodPost, base+"/truechimer.v1.StreamService/Watch", envelope(c.request), map[string]string{"Content-Type": "application/connect+json"})
		var end struct{ Error refused }
		if len(a.body) < 5 || json.Unmarshal([]byte(a.body[5:]), &end) != nil || end.Error.Code != c.code || !strings.Contains(end.Error.Message, c.says) {
			t.Errorf("%.80s: %q", c.request, a.body)
		}
		if asked := streams.was(); asked != "" {
			t.Errorf("%.80s: asked %s", c.request, asked)
		}
	}
	streams.err = store.ErrWatchers
	_, err := firstOf(t, base, "chat")
	if connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("too many watchers: %v", err)
	}
	// As many names as there can be, of the greatest length.
	streams.err = store.ErrNoStream
	names := make([]string, store.NamesMax)
	for i := range names {
		names[i] = fmt.Sprintf("%0*d", store.NameLenMax, i)
	}
	if _, err = firstOf(t, base, names...); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a thousand names: %v", err)
	}
}

// firstOf returns the first message of a watch in JSON.
func firstOf(t *testing.T, base string, names ...string) (*rpc.WatchResponse, error) {
	s, err := rpcconnect.NewStreamServiceClient(newClient(t), base, connect.WithProtoJSON()).Watch(t.Context(), connect.NewRequest(&rpc.WatchRequest{Names: names}))
	if err != nil {
		return nil, err
	}
	defer s.Close()
	s.Receive()
	return s.Msg(), s.Err()
}

// overPipes runs a test of watches in a bubble, over HTTP/1.1 and over HTTP/2 in the clear.
func overPipes(t *testing.T, test func(t *testing.T, p *pipes, began <-chan *fakeWatcher, client *http.Client, stop func())) {
	for name, protocols := range map[string][]func(*http.Protocols){"HTTP/1.1": nil, "h2c": {h2c}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPipes()
				streams, began := watched()
				stop := run(t, on(p, 10), Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streams})
				client := p.client(t, protocols...)
				test(t, p, began, client, stop)
				client.CloseIdleConnections()
			})
		})
	}
}

// TestWatchLong: the limits for slow clients leave alone a watch, for hours, silent or not,
// and the connection is good for other calls afterwards.
func TestWatchLong(t *testing.T) {
	overPipes(t, func(t *testing.T, _ *pipes, began <-chan *fakeWatcher, client *http.Client, stop func()) {
		s, err := rpcconnect.NewStreamServiceClient(client, "http://localhost").Watch(t.Context(), connect.NewRequest(&rpc.WatchRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		w := <-began
		for i, pause := range []time.Duration{0, unresponsiveAfter + time.Second, callMax + time.Second, idleTimeout + time.Second, 5 * time.Hour, time.Second} {
			time.Sleep(pause)
			w.next <- delivery(uint64(i+1), 1)
			if !s.Receive() || s.Msg().Events[0].Sequence != uint64(i+1) {
				t.Fatalf("after %v: %v", pause, s.Err())
			}
		}
		w.err = store.ErrTimeline
		close(w.next)
		if s.Receive() || connect.CodeOf(s.Err()) != connect.CodeAborted {
			t.Errorf("ended with %v", s.Err())
		}
		s.Close()
		time.Sleep(unresponsiveAfter + time.Second)
		if a := call(t, client, "http://localhost", "ClockService/Now", "{}"); a.status != http.StatusOK {
			t.Errorf("afterwards: %+v", a)
		}
		stop()
	})
}

// large is a delivery of more than the windows and buffers of HTTP/2 hold.
func large() store.Delivery {
	d := delivery(1, 1)
	d.Events[0].Payload = make([]byte, 5<<20)
	return d
}

// TestWatchSlow: a client that reads slowly is not dropped, as long as it reads each delivery
// in time. A pipe holds nothing, not even the end of a chunk, so it has half of that here.
func TestWatchSlow(t *testing.T) {
	overPipes(t, func(t *testing.T, _ *pipes, began <-chan *fakeWatcher, client *http.Client, stop func()) {
		s, err := rpcconnect.NewStreamServiceClient(client, "http://localhost").Watch(t.Context(), connect.NewRequest(&rpc.WatchRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		w := <-began
		go func() {
			defer close(w.next)
			for range 6 {
				w.next <- large()
			}
		}()
		for range 6 {
			time.Sleep(unresponsiveAfter/2 - time.Second)
			if !s.Receive() {
				t.Fatal(s.Err())
			}
		}
		s.Receive()
		s.Close()
		stop()
	})
}

// TestWatchUnread: a client that does not read is dropped in time. Until then it holds one
// delivery, and others are served.
func TestWatchUnread(t *testing.T) {
	overPipes(t, func(t *testing.T, p *pipes, began <-chan *fakeWatcher, client *http.Client, stop func()) {
		s, err := rpcconnect.NewStreamServiceClient(client, "http://localhost").Watch(t.Context(), connect.NewRequest(&rpc.WatchRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		stuck := <-began
		start := time.Now()
		stuck.next <- large()
		select {
		case stuck.next <- large():
			t.Error("a second delivery was taken")
		case <-time.After(unresponsiveAfter - time.Second):
		}
		other := p.client(t)
		defer other.CloseIdleConnections()
		lively, err := rpcconnect.NewStreamServiceClient(other, "http://localhost").Watch(t.Context(), connect.NewRequest(&rpc.WatchRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		w := <-began
		w.next <- delivery(5, 1)
		if !lively.Receive() || lively.Msg().Events[0].Sequence != 5 {
			t.Errorf("another watch: %v", lively.Err())
		}
		if since := time.Since(start); since > unresponsiveAfter-time.Second {
			t.Errorf("another watch waited %v", since)
		}
		<-stuck.closed // the bubble would deadlock here if that were never
		if after := time.Since(start); after < unresponsiveAfter || after > unresponsiveAfter+time.Second {
			t.Errorf("dropped after %v", after)
		}
		for s.Receive() {
		}
		if s.Err() == nil {
			t.Error("a watch that was dropped ended well")
		}
		s.Close()
		close(w.next)
		lively.Receive()
		lively.Close()
		stop()
	})
}

// TestWatchEndUnread: nor does the end of a watch wait for ever to be read.
func TestWatchEndUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		streams, began := watched()
		run(t, on(p, 10), Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streams})
		conn, err := p.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		body := envelope("{}")
		fmt.Fprintf(conn, "POST /truechimer.v1.StreamService/Watch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/connect+json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		w := <-began
		head := make([]byte, 4096)
		if _, err := conn.Read(head); err != nil { // the headers, which say that it has begun
			t.Fatal(err)
		}
		w.err = store.ErrClosed
		close(w.next)
		start := time.Now()
		<-w.closed
		time.Sleep(unresponsiveAfter + time.Second)
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Error(err)
		}
		if after := time.Since(start); after > unresponsiveAfter+2*time.Second {
			t.Errorf("dropped after %v", after)
		}
	})
}

// TestWatchStop: watches end at once when the server stops, with a sentence, be they silent
// or busy; and one that does not read does not hold up the stop.
func TestWatchStop(t *testing.T) {
	overPipes(t, func(t *testing.T, p *pipes, began <-chan *fakeWatcher, client *http.Client, stop func()) {
		s, err := rpcconnect.NewStreamServiceClient(client, "http://localhost").Watch(t.Context(), connect.NewRequest(&rpc.WatchRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		<-began
		ended := make(chan error, 1)
		go func() {
			for s.Receive() {
			}
			ended <- s.Err()
		}()
		other := p.client(t)
		defer other.CloseIdleConnections()
		unread, err := rpcconnect.NewStreamServiceClient(other, "http://localhost").Watch(t.Context(), connect.NewRequest(&rpc.WatchRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		(<-began).next <- large()
		synctest.Wait()
		start := time.Now()
		told := make(chan struct{})
		go func() {
			err := <-ended
			if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "this node is stopping; go on from the last cursor") {
				t.Errorf("ended with %v", err)
			}
			if after := time.Since(start); after > 0 {
				t.Errorf("told after %v", after)
			}
			close(told)
		}()
		stop()
		if took := time.Since(start); took >= stopTimeout { // the server looks every half second
			t.Errorf("stopping took %v", took)
		}
		<-told
		s.Close()
		for unread.Receive() {
		}
		unread.Close()
	})
}

// TestWatchLeave: a watch whose client went away ends, and so does one whose client named a
// deadline.
func TestWatchLeave(t *testing.T) {
	overPipes(t, func(t *testing.T, _ *pipes, began <-chan *fakeWatcher, client *http.Client, stop func()) {
		watch := rpcconnect.NewStreamServiceClient(client, "http://localhost").Watch
		ctx, leave := context.WithCancel(t.Context())
		if _, err := watch(ctx, connect.NewRequest(&rpc.WatchRequest{})); err != nil {
			t.Fatal(err)
		}
		w := <-began
		leave()
		<-w.closed
		ctx, cancel := context.WithTimeout(t.Context(), 2*callMax)
		defer cancel()
		s, err := watch(ctx, connect.NewRequest(&rpc.WatchRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		w = <-began
		if s.Receive() || connect.CodeOf(s.Err()) != connect.CodeDeadlineExceeded {
			t.Errorf("ended with %v", s.Err())
		}
		<-w.closed
		if took := time.Since(start); took != 2*callMax {
			t.Errorf("after %v", took)
		}
		s.Close()
		stop()
	})
}

// serveHandler serves what a test has put together itself, until it ends.
func serveHandler(t *testing.T, h http.Handler) (base string) {
	web := httptest.NewUnstartedServer(h)
	web.Config.Protocols = new(http.Protocols)
	web.Config.Protocols.SetHTTP1(true)
	web.Config.Protocols.SetUnencryptedHTTP2(true)
	web.Start()
	t.Cleanup(web.Close)
	return web.URL
}

// TestWatchSlots: watches have slots of their own, and so have backups; a call needs none of
// them, nor they one of its. What finds no slot free is refused in the protocol that it came
// in.
func TestWatchSlots(t *testing.T) {
	streams, began := watched()
	issuer, node := newBlockedIssuer(false), newFakeNode()
	stopBackup := make(chan struct{})
	backing := make(chan struct{}, 1)
	node.backup = func(_ context.Context, _ string, progress func(store.Progress)) (store.BackupResult, error) {
		progress(store.Progress{Phase: "copying"})
		backing <- struct{}{}
		<-stopBackup
		return store.BackupResult{}, nil
	}
	limits := newLimits(1, connect.NewErrorWriter())
	if got := cap(limits.watches.slots); got != store.WatchersMax {
		t.Errorf("%d watches", got)
	}
	limits.watches.slots = make(chan struct{}, 1)
	mux := http.NewServeMux()
	mount := func(path string, service http.Handler) {
		mux.Handle(path, openGate().guard(limits.apply(service), limits.refusals))
	}
	mount(rpcconnect.NewClockServiceHandler(&clockService{issuer, timescaleUTC, t.Context()}))
	mount(rpcconnect.NewNodeServiceHandler(newNodeService(t.Context(), node, timescaleUTC)))
	mount(rpcconnect.NewStreamServiceHandler(&streamService{streams, t.Context()}))
	base := serveHandler(t, mux)
	client := newClient(t, h2c)
	waited := make(chan error, 1)
	go func() {
		_, err := rpcconnect.NewClockServiceClient(client, base).Wait(t.Context(), connect.NewRequest(&rpc.WaitRequest{}))
		waited <- err
	}()
	<-issuer.began // the one call
	first, err := rpcconnect.NewStreamServiceClient(client, base).Watch(t.Context(), connect.NewRequest(&rpc.WatchRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	w := <-began // the one watch
	backup, err := rpcconnect.NewNodeServiceClient(client, base).Backup(t.Context(), connect.NewRequest(&rpc.BackupRequest{Path: "/backup"}))
	if err != nil {
		t.Fatal(err)
	}
	<-backing
	for name, options := range map[string][]connect.ClientOption{
		"Connect": nil, "JSON": {connect.WithProtoJSON()}, "gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()},
	} {
		c := rpcconnect.NewStreamServiceClient(client, base, options...)
		_, err := c.Describe(t.Context(), connect.NewRequest(&rpc.DescribeRequest{}))
		if connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "calls are in progress") {
			t.Errorf("%s: describe: %v", name, err)
		}
		s, err := c.Watch(t.Context(), connect.NewRequest(&rpc.WatchRequest{}))
		if err == nil {
			s.Receive()
			err = s.Err()
			s.Close()
		}
		if connect.CodeOf(err) != connect.CodeResourceExhausted || !connect.IsWireError(err) || !strings.Contains(err.Error(), "watches are in progress") {
			t.Errorf("%s: watch: %v", name, err)
		}
		b, err := rpcconnect.NewNodeServiceClient(client, base, options...).Backup(t.Context(), connect.NewRequest(&rpc.BackupRequest{Path: "/backup"}))
		if err == nil {
			b.Receive()
			err = b.Err()
			b.Close()
		}
		if connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "a backup is being made already") {
			t.Errorf("%s: backup: %v", name, err)
		}
	}
	close(stopBackup)
	backup.Receive()
	backup.Close()
	w.err = store.ErrClosed
	close(w.next)
	first.Receive()
	first.Close()
	close(issuer.forget)
	if err := <-waited; err != nil {
		t.Error(err)
	}
}

// TestWatchBegun: where the watcher knows its cursor, the first message says it at once.
func TestWatchBegun(t *testing.T) {
	streams := newFakeStreams()
	streams.watch = func(context.Context, store.Selection, store.Start) (Watcher, error) {
		w := newFakeWatcher()
		w.cursor = "here"
		return w, nil
	}
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streams})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	s, err := rpcconnect.NewStreamServiceClient(newClient(t, h2c), base).Watch(ctx, connect.NewRequest(&rpc.WatchRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !s.Receive() || s.Msg().Cursor != "here" || len(s.Msg().Events) != 0 || s.Msg().Closed != 0 {
		t.Errorf("first came %v, %v", s.Msg(), s.Err())
	}
}
