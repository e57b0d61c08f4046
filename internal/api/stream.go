package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// Streams are the event streams; *store.Streams are, but for the type that Watch returns.
type Streams interface {
	Append(ctx context.Context, b store.Batch) (store.Receipt, error)
	Read(ctx context.Context, stream string, q store.Query) (store.Page, error)
	Watch(ctx context.Context, s store.Selection, from store.Start) (Watcher, error)
	Cut(ctx context.Context, ts hlc.Timestamp, s store.Selection, after string) (store.Cut, error)
	Create(ctx context.Context, stream string, r store.Retention) (store.Stream, error)
	Describe(stream string) (store.Stream, error)
	List(prefix, after string, limit int) ([]store.Stream, error)
	Delete(ctx context.Context, stream string) (store.Stream, error)
	SetRetention(ctx context.Context, stream string, r store.Retention) (store.Stream, error)
	Trim(ctx context.Context, stream string, first uint64) (store.Stream, error)
}

// streamService translates between the RPC messages and the Streams.
type streamService struct {
	streams  Streams
	stopping context.Context // ends when the server begins to stop
}

func (s *streamService) Append(ctx context.Context, r *connect.Request[rpc.AppendRequest]) (*connect.Response[rpc.AppendResponse], error) {
	batch := store.Batch{
		Entries:   make([]store.Entry, len(r.Msg.Entries)),
		Observe:   hlc.Timestamp(r.Msg.Observe),
		Key:       r.Msg.IdempotencyKey,
		Principal: principal(ctx),
	}
	c, size := callerOf(ctx), 0
	for i, e := range r.Msg.Entries {
		if err := c.covers(e.Stream); err != nil {
			return nil, err
		}
		batch.Entries[i] = store.Entry{Stream: e.Stream, Payload: e.Payload, Expected: e.Expected}
		size += len(e.Payload)
	}
	if fault := c.append(int64(size)); fault != nil {
		return nil, fault
	}
	if fault := c.issue(int64(len(batch.Entries))); fault != nil {
		return nil, fault
	}
	receipt, err := s.streams.Append(ctx, batch)
	if err != nil {
		return nil, streamError(err)
	}
	return connect.NewResponse(&rpc.AppendResponse{
		Timestamp: uint64(receipt.Timestamp),
		Sequences: receipt.Sequences,
		Repeated:  receipt.Repeated,
	}), nil
}

func (s *streamService) Read(ctx context.Context, r *connect.Request[rpc.ReadRequest]) (*connect.Response[rpc.ReadResponse], error) {
	if err := callerOf(ctx).covers(r.Msg.Stream); err != nil {
		return nil, err
	}
	limit, err := limitOf(r.Msg.Limit, store.PageEventsMax, "events")
	if err != nil {
		return nil, err
	}
	page, err := s.streams.Read(ctx, r.Msg.Stream, store.Query{
		From:    r.Msg.From,
		To:      r.Msg.To,
		Since:   hlc.Timestamp(r.Msg.Since),
		Until:   hlc.Timestamp(r.Msg.Until),
		Reverse: r.Msg.Reverse,
		Limit:   limit,
		Cursor:  r.Msg.Cursor,
	})
	if err != nil {
		return nil, streamError(err)
	}
	if !shareOf(ctx).grow(eventsLen(page.Events)) {
		return nil, errAnswers
	}
	return connect.NewResponse(&rpc.ReadResponse{
		Events: eventMessages(page.Events),
		Cursor: page.Cursor,
		Stream: streamMessage(&page.Stream),
	}), nil
}

// limitOf returns how many of what a request asks for at the most, or 0 where it does not
// say.
func limitOf(asked *int64, most int64, what string) (int, error) {
	if asked == nil {
		return 0, nil
	}
	if *asked < 1 || *asked > most {
		return 0, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("limit is %d; ask for 1 to %d %s, or leave it out for %[2]d", *asked, most, what))
	}
	return int(*asked), nil
}

// selectionOf returns what names and prefix of a request select.
func selectionOf(names []string, prefix string) (store.Selection, error) {
	if len(names) > 0 && prefix != "" {
		return store.Selection{}, connect.NewError(connect.CodeInvalidArgument, errors.New("names and a prefix are given; give one of them, or none for all streams"))
	}
	return store.Selection{Names: names, Prefix: prefix}, nil
}

func (s *streamService) Cut(ctx context.Context, r *connect.Request[rpc.CutRequest]) (*connect.Response[rpc.CutResponse], error) {
	if err := callerOf(ctx).selects(r.Msg.Names, r.Msg.Prefix); err != nil {
		return nil, err
	}
	selection, err := selectionOf(r.Msg.Names, r.Msg.Prefix)
	if err != nil {
		return nil, err
	}
	at, after := hlc.Timestamp(r.Msg.Timestamp), ""
	if r.Msg.Cursor != "" {
		if at, after, err = parseCutCursor(r.Msg.Cursor); err != nil {
			return nil, streamError(err)
		}
	}
	cut, err := s.streams.Cut(ctx, at, selection, after)
	if err != nil {
		return nil, streamError(err)
	}
	m := &rpc.CutResponse{Timestamp: uint64(cut.Timestamp)}
	for _, c := range cut.Streams {
		m.Streams = append(m.Streams, &rpc.StreamCut{Name: c.Name, First: c.First, Last: c.Last, LastTimestamp: uint64(c.LastTimestamp)})
	}
	if cut.After != "" {
		m.Cursor = cutCursor(cut.Timestamp, cut.After)
	}
	return connect.NewResponse(m), nil
}

func (s *streamService) List(ctx context.Context, r *connect.Request[rpc.ListRequest]) (*connect.Response[rpc.ListResponse], error) {
	if err := callerOf(ctx).selects(nil, r.Msg.Prefix); err != nil {
		return nil, err
	}
	limit, err := limitOf(r.Msg.Limit, store.ListMax, "streams")
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = store.ListMax
	}
	after := ""
	if r.Msg.Cursor != "" {
		if after, err = parseListCursor(r.Msg.Cursor); err != nil {
			return nil, streamError(err)
		}
	}
	list, err := s.streams.List(r.Msg.Prefix, after, limit)
	if err != nil {
		return nil, streamError(err)
	}
	m := new(rpc.ListResponse)
	for i := range list {
		m.Streams = append(m.Streams, streamMessage(&list[i]))
	}
	if len(list) == limit { // there may be more
		m.Cursor = listCursor(list[limit-1].Name)
	}
	return connect.NewResponse(m), nil
}

func (s *streamService) Create(ctx context.Context, r *connect.Request[rpc.CreateRequest]) (*connect.Response[rpc.CreateResponse], error) {
	if err := callerOf(ctx).covers(r.Msg.Stream); err != nil {
		return nil, err
	}
	stream, err := s.streams.Create(ctx, r.Msg.Stream, retentionOf(r.Msg.Retention))
	if err != nil {
		return nil, streamError(err)
	}
	return connect.NewResponse(&rpc.CreateResponse{Stream: streamMessage(&stream)}), nil
}

func (s *streamService) Describe(ctx context.Context, r *connect.Request[rpc.DescribeRequest]) (*connect.Response[rpc.DescribeResponse], error) {
	if err := callerOf(ctx).covers(r.Msg.Stream); err != nil {
		return nil, err
	}
	stream, err := s.streams.Describe(r.Msg.Stream)
	if err != nil {
		return nil, streamError(err)
	}
	return connect.NewResponse(&rpc.DescribeResponse{Stream: streamMessage(&stream)}), nil
}

func (s *streamService) Delete(ctx context.Context, r *connect.Request[rpc.DeleteRequest]) (*connect.Response[rpc.DeleteResponse], error) {
	if err := callerOf(ctx).covers(r.Msg.Stream); err != nil {
		return nil, err
	}
	stream, err := s.streams.Delete(ctx, r.Msg.Stream)
	if err != nil {
		return nil, streamError(err)
	}
	return connect.NewResponse(&rpc.DeleteResponse{Stream: streamMessage(&stream)}), nil
}

func (s *streamService) SetRetention(ctx context.Context, r *connect.Request[rpc.SetRetentionRequest]) (*connect.Response[rpc.SetRetentionResponse], error) {
	if err := callerOf(ctx).covers(r.Msg.Stream); err != nil {
		return nil, err
	}
	if r.Msg.Retention == nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("there is no retention; give one, and {} to keep all events"))
	}
	stream, err := s.streams.SetRetention(ctx, r.Msg.Stream, retentionOf(r.Msg.Retention))
	if err != nil {
		return nil, streamError(err)
	}
	return connect.NewResponse(&rpc.SetRetentionResponse{Stream: streamMessage(&stream)}), nil
}

func (s *streamService) Trim(ctx context.Context, r *connect.Request[rpc.TrimRequest]) (*connect.Response[rpc.TrimResponse], error) {
	if err := callerOf(ctx).covers(r.Msg.Stream); err != nil {
		return nil, err
	}
	if r.Msg.First == 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("first is 0; it is the sequence of the first event to keep, and sequences begin with 1"))
	}
	stream, err := s.streams.Trim(ctx, r.Msg.Stream, r.Msg.First)
	if err != nil {
		return nil, streamError(err)
	}
	return connect.NewResponse(&rpc.TrimResponse{Stream: streamMessage(&stream)}), nil
}

// retentionOf returns the retention of a message; none keeps all.
func retentionOf(r *rpc.Retention) store.Retention {
	return store.Retention{Age: time.Duration(r.GetAgeNs()), Count: r.GetCount(), Bytes: r.GetBytes()}
}

func streamMessage(s *store.Stream) *rpc.Stream {
	return &rpc.Stream{
		Name:          s.Name,
		Created:       uint64(s.Created),
		Deleted:       uint64(s.Deleted),
		First:         s.First,
		Last:          s.Last,
		LastTimestamp: uint64(s.LastTimestamp),
		Bytes:         s.Bytes,
		Retention:     &rpc.Retention{AgeNs: s.Retention.Age.Nanoseconds(), Count: s.Retention.Count, Bytes: s.Retention.Bytes},
	}
}

// eventMessages says events in messages, which share their payloads.
func eventMessages(events []store.Event) []*rpc.Event {
	messages := make([]rpc.Event, len(events)) // one piece of memory for all
	list := make([]*rpc.Event, len(events))
	for i := range events {
		e, m := &events[i], &messages[i]
		m.Stream, m.Sequence, m.Timestamp, m.Payload = e.Stream, e.Sequence, uint64(e.Timestamp), e.Payload
		m.Epoch, m.Node = e.Epoch, uint32(e.Node)
		list[i] = m
	}
	return list
}

// eventLenLeast is what an event takes besides its payload, in bytes.
const eventLenLeast = 128

// eventsLen is about what events take in memory, in bytes.
func eventsLen(events []store.Event) int64 {
	n := int64(len(events)) * eventLenLeast
	for i := range events {
		n += int64(len(events[i].Payload))
	}
	return n
}
