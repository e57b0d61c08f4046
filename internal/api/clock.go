package api

import (
	"context"
	"errors"
	"fmt"
	"math"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// timescaleUTC is the name of what intervals are measured on, unless it is said otherwise.
const timescaleUTC = "UTC"

// clockService translates between the RPC messages and the Issuer.
type clockService struct {
	issuer    Issuer
	timescale string
	stopping  context.Context // ends when the server begins to stop
}

func (s *clockService) Now(ctx context.Context, r *connect.Request[rpc.NowRequest]) (*connect.Response[rpc.NowResponse], error) {
	count := int64(1)
	if r.Msg.Count != nil {
		count = *r.Msg.Count
	}
	if fault := callerOf(ctx).issue(min(count, hlc.CountMax)); fault != nil {
		return nil, fault
	}
	first, err := s.issuer.NowN(ctx, int(max(math.MinInt32, min(math.MaxInt32, count))))
	if errors.Is(err, hlc.ErrCount) {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("count is %d; ask for 1 to %d, or leave it out for one", count, hlc.CountMax))
	}
	if err != nil {
		return nil, callError(err)
	}
	return connect.NewResponse(&rpc.NowResponse{Timestamp: uint64(first), Count: count}), nil
}

func (s *clockService) Observe(ctx context.Context, r *connect.Request[rpc.ObserveRequest]) (*connect.Response[rpc.ObserveResponse], error) {
	if fault := callerOf(ctx).issue(1); fault != nil {
		return nil, fault
	}
	ts, err := s.issuer.Observe(ctx, hlc.Timestamp(r.Msg.Timestamp))
	if err != nil {
		return nil, callError(err)
	}
	return connect.NewResponse(&rpc.ObserveResponse{Timestamp: uint64(ts)}), nil
}

func (s *clockService) Interval(ctx context.Context, _ *connect.Request[rpc.IntervalRequest]) (*connect.Response[rpc.IntervalResponse], error) {
	i, err := s.issuer.Interval(ctx)
	if err != nil {
		return nil, callError(err)
	}
	return connect.NewResponse(&rpc.IntervalResponse{Earliest: uint64(i.Earliest), Latest: uint64(i.Latest), Timescale: s.timescale}), nil
}

func (s *clockService) Wait(ctx context.Context, r *connect.Request[rpc.WaitRequest]) (*connect.Response[rpc.WaitResponse], error) {
	i, err := s.issuer.Wait(ctx, hlc.Timestamp(r.Msg.Timestamp))
	if err != nil {
		return nil, callError(err)
	}
	return connect.NewResponse(&rpc.WaitResponse{Earliest: uint64(i.Earliest), Latest: uint64(i.Latest)}), nil
}

func (s *clockService) Commit(ctx context.Context, _ *connect.Request[rpc.CommitRequest]) (*connect.Response[rpc.CommitResponse], error) {
	if fault := callerOf(ctx).issue(1); fault != nil {
		return nil, fault
	}
	ts, err := s.issuer.Commit(ctx)
	if err != nil {
		return nil, callError(err)
	}
	return connect.NewResponse(&rpc.CommitResponse{Timestamp: uint64(ts)}), nil
}

// callError gives an error of the parts below its code. Their sentences say what to do.
func callError(err error) error {
	code := connect.CodeInternal
	switch {
	case errors.Is(err, context.Canceled):
		code = connect.CodeCanceled
	case errors.Is(err, context.DeadlineExceeded):
		code = connect.CodeDeadlineExceeded
	case errors.Is(err, hlc.ErrCount):
		code = connect.CodeInvalidArgument
	case errors.Is(err, hlc.ErrLead), errors.Is(err, ErrNoInterval),
		errors.Is(err, store.ErrEpoch), errors.Is(err, ErrNothingHeld), errors.Is(err, ErrOtherJump), errors.Is(err, ErrNotAhead),
		errors.Is(err, ErrNotSteering), errors.Is(err, ErrNoEstimate), errors.Is(err, ErrOtherOffset):
		code = connect.CodeFailedPrecondition
	case errors.Is(err, store.ErrTooFar):
		code = connect.CodeFailedPrecondition
		err = fmt.Errorf("%w; wait for an earlier timestamp, or ask again later", err)
	case errors.Is(err, hlc.ErrCeiling), errors.Is(err, store.ErrFenced), errors.Is(err, store.ErrNotStarted):
		code = connect.CodeUnavailable
	case errors.Is(err, store.ErrClosed):
		code = connect.CodeUnavailable
		err = fmt.Errorf("this node is stopping (%w); ask again once it is back", err)
	}
	return withDetail(connect.NewError(code, err), err)
}

func leadMessage(e *hlc.LeadError) *rpc.LeadExceeded {
	return &rpc.LeadExceeded{LeadNs: e.Lead.Nanoseconds(), MaxLeadNs: e.MaxLead.Nanoseconds(), Remote: e.Remote}
}
