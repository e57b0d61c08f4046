package api

import (
	"context"
	"errors"
	"fmt"
	"io"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
)

// observeMax is how many timestamps a batch may observe.
const observeMax = 1024

// Session answers batch after batch. A peer that does not read the answers has one of them in
// memory, and is asked nothing more.
func (s *clockService) Session(ctx context.Context, stream *connect.BidiStream[rpc.SessionRequest, rpc.SessionResponse]) error {
	c := callerOf(ctx)
	ctx, _, done := beginSession(ctx, s.stopping)
	defer done()
	for {
		r, err := stream.Receive()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case ctx.Err() != nil && byUs(ctx) != nil:
			return byUs(ctx)
		case err != nil:
			return err
		}
		a, err := s.batch(ctx, c, r)
		if err != nil {
			return err
		}
		if err := stream.Send(a); err != nil {
			return err
		}
	}
}

// batch does what a request asks for. It fails where the request is not one.
func (s *clockService) batch(ctx context.Context, c *caller, r *rpc.SessionRequest) (*rpc.SessionResponse, error) {
	if r.Count < 0 || r.Count > hlc.CountMax {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("count is %d; ask for 0 to %d", r.Count, hlc.CountMax))
	}
	if len(r.Observe) > observeMax {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("%d timestamps to observe; name %d at the most in one request", len(r.Observe), observeMax))
	}
	n := r.Count + int64(len(r.Observe))
	if r.Interval {
		n++
	}
	if fault := c.issue(n); fault != nil {
		return refusedBatch(r, faultOf(fault)), nil
	}
	a := new(rpc.SessionResponse)
	seen := hlc.Timestamp(r.Seen)
	if r.Count > 0 {
		first, err := s.issuer.NowAfter(ctx, seen, int(r.Count))
		if err != nil {
			a.Fault = faultOf(err)
		}
		a.First = uint64(first)
	}
	for _, o := range r.Observe {
		ts, err := s.issuer.Observe(ctx, max(hlc.Timestamp(o), seen))
		observed := &rpc.Observed{Timestamp: uint64(ts)}
		if err != nil {
			observed.Fault = faultOf(err)
		}
		a.Observed = append(a.Observed, observed)
	}
	if r.Interval {
		if err := s.interval(ctx, seen, a); err != nil {
			a.IntervalFault = faultOf(err)
		}
	}
	return a, nil
}

// refusedBatch answers a batch none of whose calls is made.
func refusedBatch(r *rpc.SessionRequest, fault *rpc.Fault) *rpc.SessionResponse {
	a := new(rpc.SessionResponse)
	if r.Count > 0 {
		a.Fault = fault
	}
	for range r.Observe {
		a.Observed = append(a.Observed, &rpc.Observed{Fault: fault})
	}
	if r.Interval {
		a.IntervalFault = fault
	}
	return a
}

// interval adds an interval to an answer.
func (s *clockService) interval(ctx context.Context, seen hlc.Timestamp, a *rpc.SessionResponse) error {
	if seen > 0 {
		// Its latest end is above a timestamp issued now, and that has to be above what was seen.
		if _, err := s.issuer.NowAfter(ctx, seen, 1); err != nil {
			return err
		}
	}
	i, err := s.issuer.Interval(ctx)
	if err != nil {
		return err
	}
	a.Earliest, a.Latest, a.Timescale = uint64(i.Earliest), uint64(i.Latest), s.timescale
	return nil
}

// faultOf says why a call of a batch failed.
func faultOf(err error) *rpc.Fault {
	var call *connect.Error
	if !errors.As(err, &call) {
		errors.As(callError(err), &call)
	}
	f := &rpc.Fault{Code: int32(call.Code()), Message: call.Message()}
	var lead *hlc.LeadError
	if errors.As(err, &lead) {
		f.Lead = leadMessage(lead)
	}
	return f
}
