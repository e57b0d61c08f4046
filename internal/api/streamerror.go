package api

import (
	"errors"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// streamCodes are the codes of the errors of streams, the first that fits. A lost outcome
// comes first: it wraps what the call was given up for.
var streamCodes = []struct {
	err  error
	code connect.Code
}{
	{store.ErrUncertain, connect.CodeUnknown}, // and nothing else is: gRPC knows no better word for it
	{store.ErrName, connect.CodeInvalidArgument},
	{store.ErrTooLarge, connect.CodeInvalidArgument},
	{store.ErrRange, connect.CodeInvalidArgument},
	{store.ErrCursor, connect.CodeInvalidArgument},
	{store.ErrNoStream, connect.CodeNotFound},
	{store.ErrExists, connect.CodeAlreadyExists},
	// What the key names is there already and is something else. That repeating the call
	// is of no use sets it apart from a conflict, and what it takes from a bad request: it
	// was well formed.
	{store.ErrKeyReused, connect.CodeAlreadyExists},
	// Both tell the caller to begin again a step further back: to read and decide, or to
	// take a new position. That is what gRPC has this code for.
	{store.ErrConflict, connect.CodeAborted},
	{store.ErrTimeline, connect.CodeAborted},
	{store.ErrTrimmed, connect.CodeOutOfRange},
	{store.ErrBusy, connect.CodeResourceExhausted},
	{store.ErrFull, connect.CodeResourceExhausted},
	{store.ErrWatchers, connect.CodeResourceExhausted},
	{store.ErrDamaged, connect.CodeDataLoss},
}

// streamError gives an error of the streams below its code, and the figures that a program
// needs. Their sentences say what to do.
func streamError(err error) error {
	for _, c := range streamCodes {
		if errors.Is(err, c.err) {
			return withDetail(connect.NewError(c.code, err), err)
		}
	}
	return callError(err)
}

// withDetail adds to an error the figures of its cause.
func withDetail(e *connect.Error, cause error) *connect.Error {
	var detail proto.Message
	var conflict *store.ConflictError
	var trimmed *store.TrimmedError
	var lead *hlc.LeadError
	switch {
	case errors.As(cause, &lead):
		detail = leadMessage(lead)
	case errors.As(cause, &conflict):
		detail = &rpc.AppendConflict{Stream: conflict.Stream, Expected: conflict.Expected, Last: conflict.Last}
	case errors.As(cause, &trimmed):
		detail = &rpc.StreamTrimmed{Stream: trimmed.Stream, First: trimmed.First}
	default:
		return e
	}
	if d, err := connect.NewErrorDetail(detail); err == nil { // invariant: these messages can be encoded
		e.AddDetail(d)
	}
	return e
}
