package client_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

// liar answers everything with the same timestamp.
type liar struct {
	rpcconnect.UnimplementedClockServiceHandler
	rpcconnect.UnimplementedStreamServiceHandler
	ts uint64
}

// newLiar serves until the test ends and returns its address.
func newLiar(t *testing.T, ts hlc.Timestamp) string {
	l := &liar{ts: uint64(ts)}
	mux := http.NewServeMux()
	mux.Handle(rpcconnect.NewClockServiceHandler(l))
	mux.Handle(rpcconnect.NewStreamServiceHandler(l))
	web := httptest.NewUnstartedServer(mux)
	web.Config.Protocols = new(http.Protocols)
	web.Config.Protocols.SetUnencryptedHTTP2(true)
	web.Start()
	t.Cleanup(web.Close)
	return web.Listener.Addr().String()
}

func (l *liar) Session(_ context.Context, s *connect.BidiStream[rpc.SessionRequest, rpc.SessionResponse]) error {
	for {
		r, err := s.Receive()
		if err != nil {
			return nil
		}
		a := &rpc.SessionResponse{First: l.ts, Earliest: l.ts - 1024, Latest: l.ts}
		for range r.Observe {
			a.Observed = append(a.Observed, &rpc.Observed{Timestamp: l.ts})
		}
		if err := s.Send(a); err != nil {
			return err
		}
	}
}

func (l *liar) Commit(context.Context, *connect.Request[rpc.CommitRequest]) (*connect.Response[rpc.CommitResponse], error) {
	return connect.NewResponse(&rpc.CommitResponse{Timestamp: l.ts}), nil
}

func (l *liar) Append(_ context.Context, r *connect.Request[rpc.AppendRequest]) (*connect.Response[rpc.AppendResponse], error) {
	if len(r.Msg.Entries) == 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("nothing"))
	}
	return connect.NewResponse(&rpc.AppendResponse{Timestamp: l.ts, Sequences: []uint64{1}}), nil
}
