package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
)

var (
	// ErrBackwards reports an answer that is not greater than what was seen before. It comes as a
	// *BackwardsError.
	ErrBackwards = errors.New("client: time went back")
	// ErrConflict reports a stream that is not where an append expected it; nothing was appended.
	// It comes as a *ConflictError.
	ErrConflict = errors.New("client: the stream is not where it was expected")
	// ErrTrimmed reports events that have been removed. It comes as a *TrimmedError.
	ErrTrimmed = errors.New("client: events have been removed")
	// ErrUncertain reports an append of which nobody knows whether it took place. It comes as an
	// *UncertainError, and the same batch with its key finds out.
	ErrUncertain = errors.New("client: the outcome is not known")
	// ErrUnreachable reports that no appliance gave an answer in time.
	ErrUnreachable = errors.New("client: no answer")
	// ErrClosed reports a client that was closed.
	ErrClosed = errors.New("client: closed")
)

// BackwardsError is ErrBackwards with the figures: the appliance has forgotten what it issued,
// or is another one. Nothing of the answer was used.
type BackwardsError struct {
	Seen hlc.Timestamp // what the call carried along
	Got  hlc.Timestamp // in answer to it
}

func (e *BackwardsError) Error() string {
	return fmt.Sprintf("%v: %v (%d) was answered after %v (%d) had been seen; the appliance broke its promise: see its log, and truechimer status", ErrBackwards, e.Got, e.Got, e.Seen, e.Seen)
}

// Is makes errors.Is(err, ErrBackwards) true.
func (e *BackwardsError) Is(target error) bool { return target == ErrBackwards }

// ConflictError is ErrConflict with the figures.
type ConflictError struct {
	Stream   string
	Expected uint64 // what the entry said
	Last     uint64 // the sequence of the stream's last event; 0: there is none yet
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%v: %q was expected at sequence %d and is at %d; read what came in between, and decide anew", ErrConflict, e.Stream, e.Expected, e.Last)
}

// Is makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// TrimmedError is ErrTrimmed with the figures.
type TrimmedError struct {
	Stream string
	First  uint64 // the sequence of the first event that is left, or that comes next
}

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("%v: %q begins with sequence %d now; begin there, and count what is lost as lost", ErrTrimmed, e.Stream, e.First)
}

// Is makes errors.Is(err, ErrTrimmed) true.
func (e *TrimmedError) Is(target error) bool { return target == ErrTrimmed }

// UncertainError is ErrUncertain with what finds out: the same batch with this key.
type UncertainError struct {
	Key   string
	Cause error
}

func (e *UncertainError) Error() string {
	return fmt.Sprintf("%v: %v; repeat the append with the key %q, or read the stream", ErrUncertain, e.Cause, e.Key)
}

// Is makes errors.Is(err, ErrUncertain) true.
func (e *UncertainError) Is(target error) bool { return target == ErrUncertain }

// Unwrap returns the cause.
func (e *UncertainError) Unwrap() error { return e.Cause }

// typed turns an error of the appliance whose figures a program needs into its type. The
// others stay what they are: connect.CodeOf tells their code, and their text says what to do.
func typed(err error) error {
	var call *connect.Error
	if !errors.As(err, &call) {
		return err
	}
	if call.Code() == connect.CodeDeadlineExceeded {
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, call) // the appliance was a little faster than ctx
	}
	for _, d := range call.Details() {
		message, err := d.Value()
		if err != nil {
			continue // of a newer appliance
		}
		switch m := message.(type) {
		case *rpc.AppendConflict:
			return &ConflictError{Stream: m.Stream, Expected: m.Expected, Last: m.Last}
		case *rpc.StreamTrimmed:
			return &TrimmedError{Stream: m.Stream, First: m.First}
		case *rpc.LeadExceeded:
			return leadError(m)
		}
	}
	return err
}

func leadError(m *rpc.LeadExceeded) error {
	return &hlc.LeadError{Lead: time.Duration(m.LeadNs), MaxLead: time.Duration(m.MaxLeadNs), Remote: m.Remote}
}

// fault turns what a call of a batch came to into an error; nil where it did not fail.
func fault(f *rpc.Fault) error {
	switch {
	case f == nil:
		return nil
	case f.Lead != nil:
		return leadError(f.Lead)
	}
	return connect.NewWireError(connect.Code(f.Code), errors.New(f.Message))
}

// mayPass reports whether the same call may succeed a little later, at this appliance or at
// another address.
func mayPass(err error) bool {
	var call *connect.Error
	if !errors.As(err, &call) {
		return false // one of ours, with figures
	}
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		return false
	}
	switch call.Code() {
	case connect.CodeUnavailable, connect.CodeResourceExhausted:
		return true
	case connect.CodeUnknown, connect.CodeInternal, connect.CodeDeadlineExceeded, connect.CodeCanceled:
		// Of the transport these are a connection that broke; the appliance itself says them of a
		// call that is not worth repeating.
		return !connect.IsWireError(err)
	}
	return false
}

// outcomeLost reports whether it is not known what became of an append: the appliance says so,
// or nothing was heard of it after it may have gone out.
func outcomeLost(err error) bool {
	var call *connect.Error
	if errors.As(err, &call) && connect.IsWireError(err) {
		// A gateway that lost the answer says UNAVAILABLE too, and has not this header.
		return call.Code() == connect.CodeUnknown || call.Code() == connect.CodeUnavailable && call.Meta().Get(markHeader) == ""
	}
	var dial *net.OpError
	var untrusted *tls.CertificateVerificationError
	return !(errors.As(err, &dial) && dial.Op == "dial") && !errors.As(err, &untrusted)
}

// markHeader is in every answer of an appliance.
const markHeader = "Truechimer-Api"
