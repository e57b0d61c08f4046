package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

// fakeStreams answers as a test tells it to, and notes what it is asked.
type fakeStreams struct {
	rpcconnect.UnimplementedStreamServiceHandler
	append    func(*rpc.AppendRequest) (*rpc.AppendResponse, error)
	read      func(*rpc.ReadRequest) (*rpc.ReadResponse, error)
	watch     func(context.Context, *rpc.WatchRequest, func(*rpc.WatchResponse)) error
	cut       func(*rpc.CutRequest) (*rpc.CutResponse, error)
	list      func(*rpc.ListRequest) (*rpc.ListResponse, error)
	described *rpc.Stream // what Describe and the calls that change a stream answer
	closed    uint64      // what Status says
	backup    func(*rpc.BackupRequest, func(*rpc.BackupResponse)) error

	mu    sync.Mutex
	asked []proto.Message
}

func (f *fakeStreams) note(m proto.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, proto.Clone(m))
}

// answered calls what a test has set, and notes the request.
func answered[Q, A any](f *fakeStreams, r *connect.Request[Q], do func(*Q) (*A, error)) (*connect.Response[A], error) {
	f.note(any(r.Msg).(proto.Message))
	m, err := do(r.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(m), nil
}

func (f *fakeStreams) Append(_ context.Context, r *connect.Request[rpc.AppendRequest]) (*connect.Response[rpc.AppendResponse], error) {
	return answered(f, r, f.append)
}

func (f *fakeStreams) Read(_ context.Context, r *connect.Request[rpc.ReadRequest]) (*connect.Response[rpc.ReadResponse], error) {
	return answered(f, r, f.read)
}

func (f *fakeStreams) Cut(_ context.Context, r *connect.Request[rpc.CutRequest]) (*connect.Response[rpc.CutResponse], error) {
	return answered(f, r, f.cut)
}

func (f *fakeStreams) List(_ context.Context, r *connect.Request[rpc.ListRequest]) (*connect.Response[rpc.ListResponse], error) {
	return answered(f, r, f.list)
}

func (f *fakeStreams) Describe(_ context.Context, r *connect.Request[rpc.DescribeRequest]) (*connect.Response[rpc.DescribeResponse], error) {
	return answered(f, r, func(*rpc.DescribeRequest) (*rpc.DescribeResponse, error) {
		return &rpc.DescribeResponse{Stream: f.described}, nil
	})
}

func (f *fakeStreams) Create(_ context.Context, r *connect.Request[rpc.CreateRequest]) (*connect.Response[rpc.CreateResponse], error) {
	return answered(f, r, func(*rpc.CreateRequest) (*rpc.CreateResponse, error) {
		return &rpc.CreateResponse{Stream: f.described}, nil
	})
}

func (f *fakeStreams) SetRetention(_ context.Context, r *connect.Request[rpc.SetRetentionRequest]) (*connect.Response[rpc.SetRetentionResponse], error) {
	return answered(f, r, func(*rpc.SetRetentionRequest) (*rpc.SetRetentionResponse, error) {
		return &rpc.SetRetentionResponse{Stream: f.described}, nil
	})
}

func (f *fakeStreams) Trim(_ context.Context, r *connect.Request[rpc.TrimRequest]) (*connect.Response[rpc.TrimResponse], error) {
	return answered(f, r, func(*rpc.TrimRequest) (*rpc.TrimResponse, error) { return &rpc.TrimResponse{Stream: f.described}, nil })
}

func (f *fakeStreams) Delete(_ context.Context, r *connect.Request[rpc.DeleteRequest]) (*connect.Response[rpc.DeleteResponse], error) {
	return answered(f, r, func(*rpc.DeleteRequest) (*rpc.DeleteResponse, error) {
		return &rpc.DeleteResponse{Stream: f.described}, nil
	})
}

func (f *fakeStreams) Watch(ctx context.Context, r *connect.Request[rpc.WatchRequest], stream *connect.ServerStream[rpc.WatchResponse]) error {
	f.note(r.Msg)
	return f.watch(ctx, r.Msg, func(m *rpc.WatchResponse) { _ = stream.Send(m) }) // who has left hears nothing
}

// node is the NodeService of the same server.
func (f *fakeStreams) node() *fakeStreamsNode { return &fakeStreamsNode{f: f} }

type fakeStreamsNode struct {
	rpcconnect.UnimplementedNodeServiceHandler
	f *fakeStreams
}

func (n *fakeStreamsNode) Status(context.Context, *connect.Request[rpc.StatusRequest]) (*connect.Response[rpc.StatusResponse], error) {
	return connect.NewResponse(&rpc.StatusResponse{Streams: &rpc.Streams{Closed: n.f.closed}}), nil
}

func (n *fakeStreamsNode) Backup(_ context.Context, r *connect.Request[rpc.BackupRequest], stream *connect.ServerStream[rpc.BackupResponse]) error {
	n.f.note(r.Msg)
	return n.f.backup(r.Msg, func(m *rpc.BackupResponse) { _ = stream.Send(m) })
}

// serve serves it until the test ends.
func (f *fakeStreams) serve(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(rpcconnect.NewStreamServiceHandler(f))
	mux.Handle(rpcconnect.NewNodeServiceHandler(f.node()))
	web := httptest.NewServer(mux)
	t.Cleanup(func() { web.CloseClientConnections(); web.Close() })
	return web
}

// ask runs a command against it, with an input.
func (f *fakeStreams) ask(t *testing.T, input string, args ...string) (code int, out, log string) {
	t.Helper()
	var o, l strings.Builder
	code = run(t.Context(), append([]string{"--api", f.serve(t).URL}, args...), streams{strings.NewReader(input), &o, &l})
	return code, o.String(), l.String()
}

// events are n events of a stream, the payload of each being its sequence in words of its own.
func events(stream string, from, to uint64) (list []*rpc.Event) {
	for sequence := from; sequence <= to; sequence++ {
		list = append(list, &rpc.Event{Stream: stream, Sequence: sequence, Timestamp: noon + sequence, Payload: []byte{byte('a' + sequence%26)}})
	}
	return list
}

// noon is a timestamp: 2026-11-22T12:00:00Z, to the tick.
const noon = uint64(1_795_348_800_000_000_000)
