// Package grpctime carries causality over gRPC: it is to google.golang.org/grpc what
// client.Handler and client.Transport are to net/http.
//
// A client sends the past of a call's context (see client.WithPast) in the metadata truechimer-time, in
// decimal form. A server gives each call a past of its own, which begins with that, and sends it
// back: in the trailer, as it is at the end, and for streams also in the header, as it is
// before the first message. A client moves the past of its context on to both. What is no
// timestamp counts as none.
//
//	grpc.NewServer(grpc.ChainUnaryInterceptor(grpctime.UnaryServer), grpc.ChainStreamInterceptor(grpctime.StreamServer))
//	grpc.NewClient(target, grpc.WithChainUnaryInterceptor(grpctime.UnaryClient), grpc.WithChainStreamInterceptor(grpctime.StreamClient))
//
// Put them before interceptors that ask for timestamps, so that these have the past too.
//
// A past that is too far ahead moves nobody: calls of a client.Client with the context of such
// a call fail with hlc.ErrLead, and the method decides what to answer.
//
// Hazard: within the max lead whoever sends the metadata moves the hybrid clock, and so, for a second
// or so, all timestamps. Where calls of strangers come in, remove it from them. And the messages of a
// stream carry none: what a peer learns after the first one does not come before the end, and what a
// client learns after it began a stream does not come at all. Put timestamps in the messages,
// and tell client.Saw of them.
package grpctime

import (
	"context"
	"slices"
	"strconv"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/hlc/client"
)

// Key is the key of the metadata that carries a past.
const Key = "truechimer-time"

// UnaryServer is a grpc.UnaryServerInterceptor.
func UnaryServer(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx = incoming(ctx)
	answer, err := handler(ctx, request)
	if md := of(ctx); md != nil {
		// It fails only where there is no call that could have a trailer.
		_ = grpc.SetTrailer(ctx, md)
	}
	return answer, err
}

// StreamServer is a grpc.StreamServerInterceptor.
func StreamServer(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx := incoming(stream.Context())
	err := handler(server, &serverStream{ServerStream: stream, ctx: ctx})
	if md := of(ctx); md != nil {
		stream.SetTrailer(md)
	}
	return err
}

// UnaryClient is a grpc.UnaryClientInterceptor.
func UnaryClient(ctx context.Context, method string, request, answer any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	var header, trailer metadata.MD
	options = append(slices.Clip(options), grpc.Header(&header), grpc.Trailer(&trailer))
	err := invoke(outgoing(ctx), method, request, answer, conn, options...)
	client.Saw(ctx, max(latest(header), latest(trailer)))
	return err
}

// StreamClient is a grpc.StreamClientInterceptor.
func StreamClient(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, streamer grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := streamer(outgoing(ctx), desc, conn, method, options...)
	if err != nil {
		return nil, err
	}
	return &clientStream{ClientStream: stream, ctx: ctx, many: desc.ServerStreams}, nil
}

// incoming gives the context of a call its past.
func incoming(ctx context.Context) context.Context {
	md, _ := metadata.FromIncomingContext(ctx)
	return client.WithPast(ctx, latest(md))
}

// outgoing adds the past of ctx to what is sent.
func outgoing(ctx context.Context) context.Context {
	if past := client.Past(ctx); past > 0 {
		return metadata.AppendToOutgoingContext(ctx, Key, decimal(past))
	}
	return ctx
}

// of returns the past of ctx as metadata; nil: there is none.
func of(ctx context.Context) metadata.MD {
	if past := client.Past(ctx); past > 0 {
		return metadata.Pairs(Key, decimal(past))
	}
	return nil
}

func decimal(ts hlc.Timestamp) string { return strconv.FormatUint(uint64(ts), 10) }

// latest returns the greatest timestamp in md; 0: there is none.
func latest(md metadata.MD) hlc.Timestamp {
	var found hlc.Timestamp
	for _, text := range md.Get(Key) {
		if ts, err := hlc.Parse(text); err == nil {
			found = max(found, ts)
		}
	}
	return found
}

// serverStream puts the past of ctx into the header before that is sent.
type serverStream struct {
	grpc.ServerStream
	ctx  context.Context
	once sync.Once
}

func (s *serverStream) Context() context.Context { return s.ctx }

func (s *serverStream) SendMsg(m any) error {
	s.stamp()
	return s.ServerStream.SendMsg(m)
}

func (s *serverStream) SendHeader(md metadata.MD) error {
	s.stamp()
	return s.ServerStream.SendHeader(md)
}

func (s *serverStream) stamp() {
	s.once.Do(func() {
		if md := of(s.ctx); md != nil {
			// It fails where the header was sent past the stream; then there is the trailer.
			_ = s.SetHeader(md)
		}
	})
}

// clientStream looks at the header and the trailer as they come. As with any
// grpc.ClientStream, one goroutine may receive while another sends.
type clientStream struct {
	grpc.ClientStream
	ctx  context.Context
	many bool // the server may send more than one message
	once sync.Once
}

func (s *clientStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	s.once.Do(func() {
		if header, err := s.ClientStream.Header(); err == nil { // does not wait any more
			client.Saw(s.ctx, latest(header))
		}
	})
	if err != nil || !s.many { // the stream has ended
		client.Saw(s.ctx, latest(s.Trailer()))
	}
	return err
}

func (s *clientStream) Header() (metadata.MD, error) {
	header, err := s.ClientStream.Header()
	client.Saw(s.ctx, latest(header))
	return header, err
}
