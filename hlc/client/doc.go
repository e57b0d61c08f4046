// Package client is the client of a Truechimer appliance: hybrid timestamps, intervals and
// event streams for programs in Go.
//
// It promises that time never goes back for its user: everything that a [Client] returns is
// greater than what it has seen before, across reconnects and several addresses, or the call
// fails with [ErrBackwards] (H13). An append is durable when it returns, and never happens twice,
// however often it was tried. A watch that lost its connection goes on where it was.
//
// Causality flows through a Client by itself: whatever it has seen it carries along. From one
// process to another it flows with a context, see [WithPast]: over HTTP by [Handler] and [Transport], over
// gRPC by package grpctime.
//
// Hazard: what two processes know of each other by another way, such as a table or a queue
// without a timestamp in it, is not ordered. Put the timestamp there, and tell [Saw] of it.
// After an operator's hlc rebase, which takes the appliance back on purpose, a Client that
// has seen the time before fails with an error that is hlc.ErrLead, or goes on above it: make a
// new one.
//
// All calls of a process for timestamps and intervals share one stream: a lone caller waits for one
// round trip, and many share its cost. So make one Client, and share it.
package client
