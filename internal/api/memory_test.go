package api

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
	"github.com/truechimer/truechimer/store"
)

// TestShare: what a call holds is what is left out at the others, but for the first bytes,
// and comes back; a share that cannot grow stays as it is.
func TestShare(t *testing.T) {
	m := newMemory(1000)
	a, b := share{of: m}, share{of: m}
	for i, step := range []struct {
		s    *share
		n    int64
		ok   bool
		left int64
	}{
		{&a, callLenFree, true, 1000},
		{&a, 1, true, 999},
		{&a, 599, true, 400},
		{&b, callLenFree - 1, true, 400},
		{&b, 402, false, 400},
		{&b, 401, true, 0},
		{&a, 1, false, 0},
		{&a, 0, true, 0},
	} {
		if ok, left := step.s.grow(step.n), m.left.Load(); ok != step.ok || left != step.left {
			t.Errorf("step %d: %v, and %d are left, want %v and %d", i, ok, left, step.ok, step.left)
		}
	}
	a.release()
	if left := m.left.Load(); left != 600 || !a.grow(callLenFree+600) {
		t.Errorf("%d are left", left)
	}
	a.release()
	a.release()
	b.release()
	if left := m.left.Load(); left != 1000 {
		t.Errorf("%d are left in the end", left)
	}
}

// TestShareTwin: whatever calls do, what is left and what they hold beyond the free bytes are
// always all of it.
func TestShareTwin(t *testing.T) {
	const size = 10 * callLenFree
	m := newMemory(size)
	shares := make([]share, 20)
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		s := &shares[random.IntN(len(shares))]
		s.of = m
		before := s.size
		if random.IntN(4) == 0 {
			s.release()
		} else if n := random.Int64N(callLenFree); s.grow(n) != (s.size == before+n) {
			t.Fatal("it grew and said no, or the other way round")
		}
		counted := int64(0)
		for i := range shares {
			counted += max(0, shares[i].size-callLenFree)
		}
		if left := m.left.Load(); left+counted != size || left < 0 {
			t.Fatalf("%d are left, and %d are held, of %d", left, counted, size)
		}
	}
}

// TestWeighedBody: a byte that is compressed weighs as much as it can stand for, and no
// request more than the largest.
func TestWeighedBody(t *testing.T) {
	for _, c := range []struct {
		name, header, encoding string
		n, want                int
	}{
		{"plain", "", "", 1000, 1000},
		{"identity", "Content-Encoding", "identity", 1000, 1000},
		{"unary", "Content-Encoding", "gzip", 1000, 1_032_000},
		{"Connect's streams", "Connect-Content-Encoding", "gzip", 1000, 1_032_000},
		{"gRPC", "Grpc-Encoding", "gzip", 1000, 1_032_000},
		{"as large as can be", "Grpc-Encoding", "gzip", 16 << 10, appendLenMax},
		{"larger than can be", "", "", appendLenMax + 1000, appendLenMax + 1000},
	} {
		m := newMemory(1 << 40)
		var held int
		h := weighRequests(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if n, err := io.Copy(io.Discard, r.Body); int(n) != c.n || err != nil {
				t.Errorf("%s: read %d, %v", c.name, n, err)
			}
			held = 1<<40 - int(m.left.Load()) + callLenFree
			if c.want < callLenFree {
				held = int(r.Body.(*weighedBody).share.size)
			}
		}), m)
		r, err := http.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", c.n)))
		if err != nil {
			t.Fatal(err)
		}
		if c.header != "" {
			r.Header.Set(c.header, c.encoding)
		}
		h.ServeHTTP(nil, r)
		if held != c.want || m.left.Load() != 1<<40 {
			t.Errorf("%s: held %d, want %d; %d left", c.name, held, c.want, m.left.Load())
		}
	}
}

// TestLargeAppend: the largest batch comes through in every protocol, and what is larger is
// refused.
func TestLargeAppend(t *testing.T) {
	streams := newFakeStreams()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streams})
	var got, payload int
	streams.append = func(b store.Batch) (store.Receipt, error) {
		got, payload = len(b.Entries), 0
		for _, e := range b.Entries {
			payload += len(e.Payload)
		}
		return store.Receipt{}, nil
	}
	expected := ^uint64(0)
	largest := new(rpc.AppendRequest)
	for i := range store.BatchEventsMax {
		length := store.BatchLenMax / store.BatchEventsMax
		if i == 0 {
			length += store.BatchLenMax % store.BatchEventsMax
		}
		largest.Entries = append(largest.Entries, &rpc.AppendEntry{Stream: fmt.Sprintf("%0*d", store.NameLenMax, i), Payload: make([]byte, length), Expected: &expected})
	}
	for name, options := range map[string][]connect.ClientOption{
		"Connect": nil, "JSON": {connect.WithProtoJSON()}, "gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()}, "compressed": {connect.WithSendGzip()},
	} {
		got = 0
		_, err := rpcconnect.NewStreamServiceClient(newClient(t, h2c), base, options...).Append(t.Context(), connect.NewRequest(largest))
		if err != nil || got != store.BatchEventsMax || payload != store.BatchLenMax {
			t.Errorf("%s: %d entries, %d bytes, %v", name, got, payload, err)
		}
	}
	beyond := &rpc.AppendRequest{Entries: []*rpc.AppendEntry{{Stream: "chat", Payload: make([]byte, appendLenMax)}}}
	for name, options := range map[string][]connect.ClientOption{"Connect": nil, "gRPC": {connect.WithGRPC()}, "compressed": {connect.WithSendGzip()}} {
		got = 0
		_, err := rpcconnect.NewStreamServiceClient(newClient(t, h2c), base, options...).Append(t.Context(), connect.NewRequest(beyond))
		if connect.CodeOf(err) != connect.CodeResourceExhausted || got != 0 {
			t.Errorf("%s: %d entries, %v", name, got, err)
		}
	}
}

// TestRequestsMemory: large requests beyond what all may hold are refused in the protocol
// that they came in, small ones are not, and there is room again afterwards.
func TestRequestsMemory(t *testing.T) {
	streams := newFakeStreams()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streams})
	release, began := make(chan struct{}), make(chan struct{}, 100)
	streams.append = func(b store.Batch) (store.Receipt, error) {
		if len(b.Entries) > 1 {
			began <- struct{}{}
			<-release
		}
		return store.Receipt{}, nil
	}
	request := func(n int) *connect.Request[rpc.AppendRequest] {
		m := &rpc.AppendRequest{}
		for range n {
			m.Entries = append(m.Entries, &rpc.AppendEntry{Stream: "chat", Payload: make([]byte, store.PayloadLenMax)})
		}
		return connect.NewRequest(m)
	}
	const held = requestsLenMax/(8<<20) - 1 // and 8 MiB are left
	ended := make(chan error, held)
	for range held {
		go func() {
			_, err := rpcconnect.NewStreamServiceClient(newClient(t), base).Append(t.Context(), request(8))
			ended <- err
		}()
		<-began
	}
	for name, options := range map[string][]connect.ClientOption{
		"Connect": nil, "JSON": {connect.WithProtoJSON()}, "gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()}, "compressed": {connect.WithSendGzip()},
	} {
		c := rpcconnect.NewStreamServiceClient(newClient(t, h2c), base, options...)
		if _, err := c.Append(t.Context(), request(9)); connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "ask again in a moment") {
			t.Errorf("%s: a large one: %v", name, err)
		}
		if _, err := c.Append(t.Context(), connect.NewRequest(&rpc.AppendRequest{Entries: []*rpc.AppendEntry{{Stream: "chat", Payload: []byte("x")}}})); err != nil {
			t.Errorf("%s: a small one: %v", name, err)
		}
	}
	close(release)
	for range held {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if _, err := rpcconnect.NewStreamServiceClient(newClient(t), base).Append(t.Context(), request(9)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestAnswersMemory: a large page is refused while others hold all the room, and a watch
// ends; small ones go on, and there is room again once an answer was read.
func TestAnswersMemory(t *testing.T) {
	streams, began := watched()
	limits := newLimits(100, connect.NewErrorWriter())
	path, service := rpcconnect.NewStreamServiceHandler(&streamService{streams, t.Context()})
	mux := http.NewServeMux()
	mux.Handle(path, openGate().guard(limits.apply(service), limits.refusals))
	base := serveHandler(t, mux)
	streams.page.Events[0].Payload = make([]byte, 1<<20)
	big := delivery(1, 1)
	big.Events[0].Payload = make([]byte, 1<<20)
	client := rpcconnect.NewStreamServiceClient(newClient(t), base)
	read := func() error {
		_, err := client.Read(t.Context(), connect.NewRequest(&rpc.ReadRequest{}))
		return err
	}
	watch := func(d store.Delivery) error {
		s, err := client.Watch(t.Context(), connect.NewRequest(&rpc.WatchRequest{}))
		if err != nil {
			return err
		}
		defer s.Close()
		w := <-began
		w.next <- d
		s.Receive()
		return s.Err()
	}
	for range 3 { // nothing is lost on the way
		if err := read(); err != nil {
			t.Error(err)
		}
		if err := watch(big); err != nil {
			t.Error(err)
		}
	}
	for deadline := time.Now().Add(patience); limits.answers.left.Load() != answersLenMax; runtime.Gosched() {
		if time.Now().After(deadline) { // the handler returns after its answer was read
			t.Fatalf("%d of %d are left", limits.answers.left.Load(), answersLenMax)
		}
	}
	other := share{of: limits.answers}
	if !other.grow(answersLenMax + callLenFree - 100_000) {
		t.Fatalf("%d are left", limits.answers.left.Load())
	}
	for what, err := range map[string]error{"read": read(), "watch": watch(big)} {
		if connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "go on from the last cursor") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := watch(delivery(1, 1)); err != nil {
		t.Error(err)
	}
	other.release()
	for what, err := range map[string]error{"read": read(), "watch": watch(big)} {
		if err != nil {
			t.Errorf("%s, afterwards: %v", what, err)
		}
	}
}

// TestAnswersReleased: a watch that has delivered more than all may hold together goes on:
// what was read is not held any more.
func TestAnswersReleased(t *testing.T) {
	streams, began := watched()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streams})
	client := newClient(t)
	client.Timeout = 0 // it is a lot for a busy machine
	s, err := rpcconnect.NewStreamServiceClient(client, base).Watch(t.Context(), connect.NewRequest(&rpc.WatchRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := <-began
	d := delivery(1, 1)
	d.Events[0].Payload = make([]byte, 5<<20)
	for range answersLenMax/(5<<20) + 2 {
		w.next <- d
		if !s.Receive() {
			t.Fatal(s.Err())
		}
	}
}
