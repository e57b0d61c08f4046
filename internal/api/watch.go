package api

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// Watcher waits for events; *store.Watcher is one.
type Watcher interface {
	Cursor() string
	Next(ctx context.Context) (store.Delivery, error)
	Close()
}

// Watch sends what the watcher has next, one delivery after the other: a peer that reads
// slowly has one of them in memory, and no more.
func (s *streamService) Watch(ctx context.Context, r *connect.Request[rpc.WatchRequest], stream *connect.ServerStream[rpc.WatchResponse]) error {
	if err := callerOf(ctx).selects(r.Msg.Names, r.Msg.Prefix); err != nil {
		return err
	}
	selection, err := selectionOf(r.Msg.Names, r.Msg.Prefix)
	if err != nil {
		return err
	}
	start, err := startOf(r.Msg)
	if err != nil {
		return err
	}
	ctx, peer, done := begin(ctx, s.stopping)
	defer done()
	watcher, err := s.streams.Watch(ctx, selection, start)
	if err != nil {
		return ended(ctx, err)
	}
	defer watcher.Close()
	answer := shareOf(ctx)
	// The headers tell the peer that it misses nothing from now on, and the first message where to
	// go on if no other comes.
	var begun *rpc.WatchResponse
	if cursor := watcher.Cursor(); cursor != "" {
		begun = &rpc.WatchResponse{Cursor: cursor}
	}
	if err := peer.send(func() error { return stream.Send(begun) }); err != nil {
		return err
	}
	for {
		d, err := watcher.Next(ctx)
		if err != nil {
			return ended(ctx, err)
		}
		if !answer.grow(eventsLen(d.Events)) {
			return errAnswers
		}
		m := &rpc.WatchResponse{Events: eventMessages(d.Events), Cursor: d.Cursor, Closed: uint64(d.Closed)}
		if err := peer.send(func() error { return stream.Send(m) }); err != nil {
			return err
		}
		answer.release()
	}
}

// ended is the error of an answer without an end, which the server may have ended.
func ended(ctx context.Context, err error) error {
	if why := byUs(ctx); why != nil {
		return why
	}
	return streamError(err)
}

// startOf returns where a watch begins. What stands there and says nothing is refused: the
// watch would begin elsewhere than was meant.
func startOf(m *rpc.WatchRequest) (store.Start, error) {
	fault := func(sentence string) (store.Start, error) {
		return store.Start{}, connect.NewError(connect.CodeInvalidArgument, errors.New(sentence))
	}
	switch start := m.Start.(type) {
	case *rpc.WatchRequest_Sequence:
		if start.Sequence == 0 {
			return fault("sequence is 0, and sequences begin with 1; leave it out for what is appended next")
		}
		return store.Start{Sequence: start.Sequence}, nil
	case *rpc.WatchRequest_Oldest:
		return store.Start{Oldest: start.Oldest}, nil
	case *rpc.WatchRequest_Time:
		if start.Time == 0 {
			return fault("time is 0; say oldest to begin with the oldest events, or leave it out for what is appended next")
		}
		return store.Start{Time: hlc.Timestamp(start.Time)}, nil
	case *rpc.WatchRequest_Cursor:
		if start.Cursor == "" {
			return fault("cursor is empty; leave it out to begin with what is appended next")
		}
		return store.Start{Cursor: start.Cursor}, nil
	}
	return store.Start{}, nil
}
