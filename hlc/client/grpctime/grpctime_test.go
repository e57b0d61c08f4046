package grpctime_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/hlc/client"
	"github.com/truechimer/truechimer/hlc/client/grpctime"
	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tb is what an example has of a test, too.
type tb interface {
	TempDir() string
	Cleanup(func())
	Fatal(...any)
}

// newClient returns a client of an appliance of its own, whose clock is late by so much.
func newClient(t tb, late time.Duration) *client.Client {
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	physical := func() int64 { return time.Now().UnixNano() - int64(late) }
	st, err := store.Open(t.TempDir(), store.Options{})
	check(err)
	issuer, err := store.NewIssuer(st, store.IssuerOptions{
		Physical: physical,
		Bound:    func() (int64, time.Duration, error) { return physical(), 100 * time.Microsecond, nil },
	})
	check(err)
	check(issuer.Start())
	server, err := api.Listen(api.Options{
		Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Access: api.Access{Anonymous: api.RightsAll}, Logger: slog.New(slog.DiscardHandler),
	})
	check(err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(ctx, api.Services{Issuer: issuer, Streams: struct{ api.Streams }{}, Node: struct{ api.Node }{}})
	}()
	t.Cleanup(func() {
		cancel()
		check(errors.Join(<-served, issuer.Close(), st.Close()))
	})
	c, err := client.New(client.Options{Addresses: []string{server.Addrs()[0].String()}})
	check(err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

type (
	text   = wrapperspb.StringValue
	method = func(ctx context.Context, request *text) (*text, error)
	stream = func(stream grpc.ServerStream) error
)

// serve serves Unary, and Stream for streams of any kind, and returns a connection to it. Both
// ends carry the past where carry says so.
func serve(t tb, carryServer, carryClient bool, unary method, streams stream) *grpc.ClientConn {
	var so []grpc.ServerOption
	do := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if carryServer {
		so = []grpc.ServerOption{grpc.ChainUnaryInterceptor(grpctime.UnaryServer), grpc.ChainStreamInterceptor(grpctime.StreamServer)}
	}
	if carryClient {
		do = append(do, grpc.WithChainUnaryInterceptor(grpctime.UnaryClient), grpc.WithChainStreamInterceptor(grpctime.StreamClient))
	}
	s := grpc.NewServer(so...)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Service",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: func(server any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			request := new(text)
			if err := decode(request); err != nil {
				return nil, err
			}
			handler := func(ctx context.Context, request any) (any, error) { return unary(ctx, request.(*text)) }
			if interceptor == nil {
				return handler(ctx, request)
			}
			return interceptor(ctx, request, &grpc.UnaryServerInfo{Server: server, FullMethod: "/test.Service/Unary"}, handler)
		}}},
		Streams: []grpc.StreamDesc{{StreamName: "Stream", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error { return streams(s) }}},
	}, nil)
	l := bufconn.Listen(1 << 16)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///server", append(do, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		s.Stop()
		<-served
	})
	return conn
}

// both are the kinds of streams that a client may open, beside Unary.
func both() *grpc.StreamDesc { return &grpc.StreamDesc{ServerStreams: true, ClientStreams: true} }

func invoke(ctx context.Context, conn *grpc.ClientConn, request string, options ...grpc.CallOption) (string, error) {
	answer := new(text)
	err := conn.Invoke(ctx, "/test.Service/Unary", &text{Value: request}, answer, options...)
	return answer.GetValue(), err
}

func decimal(ts hlc.Timestamp) string { return strconv.FormatUint(uint64(ts), 10) }

// TestReplies: at two servers with an appliance each, whose clocks are 400 ms apart, a reply
// never sorts before its request, by calls and by streams.
func TestReplies(t *testing.T) {
	ahead, behind := newClient(t, 0), newClient(t, 400*time.Millisecond)
	methods := func(c *client.Client) (method, stream) {
		now := func(ctx context.Context, _ *text) (*text, error) {
			ts, err := c.Now(ctx)
			return &text{Value: decimal(ts)}, err
		}
		return now, func(s grpc.ServerStream) error {
			request := new(text)
			for {
				if err := s.RecvMsg(request); err != nil {
					return nil
				}
				answer, err := now(s.Context(), request)
				if err != nil {
					return err
				}
				if err := s.SendMsg(answer); err != nil {
					return err
				}
			}
		}
	}
	unary, streams := methods(behind)
	far := serve(t, true, true, unary, streams)
	// The near server asks the far one in between.
	here, hereStreams := methods(ahead)
	near := serve(t, true, true, func(ctx context.Context, request *text) (*text, error) {
		before, err := here(ctx, request)
		if err != nil {
			return nil, err
		}
		between, err := invoke(ctx, far, "")
		if err != nil {
			return nil, err
		}
		after, err := here(ctx, request)
		if err != nil {
			return nil, err
		}
		if before.Value >= between || between >= after.Value {
			t.Errorf("%s, %s, %s", before.Value, between, after.Value)
		}
		return after, nil
	}, hereStreams)
	ctx := client.WithPast(t.Context(), 0)
	last := ""
	rises := func(reply string, err error) {
		t.Helper()
		if err != nil || reply <= last || decimal(client.Past(ctx)) != reply {
			t.Fatalf("%s after %s, the past is %d, %v", reply, last, client.Past(ctx), err)
		}
		last = reply
	}
	for range 20 {
		for _, conn := range []*grpc.ClientConn{near, far} {
			rises(invoke(ctx, conn, ""))
			s, err := conn.NewStream(ctx, both(), "/test.Service/Stream")
			if err != nil {
				t.Fatal(err)
			}
			answer := new(text)
			err = errors.Join(s.SendMsg(&text{}), s.RecvMsg(answer)) // the header has it already
			rises(answer.Value, err)
			if err := errors.Join(s.SendMsg(&text{}), s.RecvMsg(answer), s.CloseSend()); err != nil {
				t.Fatal(err)
			}
			err = s.RecvMsg(new(text))
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			rises(answer.Value, nil) // the trailer has it
		}
	}
}

// TestHourAhead: a call from a peer whose clock is wrong by an hour is refused its timestamp
// and answered all the same, and nobody else is moved.
func TestHourAhead(t *testing.T) {
	c := newClient(t, 0)
	first, err := c.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hour := first + hlc.Timestamp(time.Hour)
	now := func(ctx context.Context, _ *text) (*text, error) {
		_, err := c.Now(ctx)
		if errors.Is(err, hlc.ErrLead) {
			return &text{Value: "refused"}, nil
		}
		return &text{Value: "issued"}, err
	}
	conn := serve(t, true, true, now, func(s grpc.ServerStream) error {
		answer, err := now(s.Context(), nil)
		return errors.Join(err, s.SendMsg(answer))
	})
	for range 3 {
		for past, want := range map[hlc.Timestamp]string{hour: "refused", 0: "issued"} {
			ctx := client.WithPast(t.Context(), past)
			if got, err := invoke(ctx, conn, ""); err != nil || got != want || past == 0 && client.Past(ctx) >= hour {
				t.Errorf("after %d: %q, %v", past, got, err)
			}
			s, err := conn.NewStream(ctx, both(), "/test.Service/Stream")
			if err != nil {
				t.Fatal(err)
			}
			answer := new(text)
			if err := s.RecvMsg(answer); err != nil || answer.Value != want || past == 0 && client.Past(ctx) >= hour {
				t.Errorf("after %d, a stream: %q, %v", past, answer.Value, err)
			}
			_ = s.RecvMsg(answer)
		}
	}
	if c.Seen() >= hour {
		t.Error("a refused timestamp was seen")
	}
}

// TestServer: what a server makes of the metadata of a call, and what it sends back.
func TestServer(t *testing.T) {
	fails := status.Error(codes.NotFound, "no such order")
	conn := serve(t, true, false,
		func(ctx context.Context, request *text) (*text, error) {
			past := client.Past(ctx)
			client.Saw(ctx, 9)
			if request.Value == "fail" {
				return nil, fails
			}
			return &text{Value: decimal(past)}, nil
		},
		func(s grpc.ServerStream) error {
			request := new(text)
			if err := s.RecvMsg(request); err != nil {
				return err
			}
			if request.Value == "fail" {
				return fails
			}
			answer := &text{Value: decimal(client.Past(s.Context()))}
			client.Saw(s.Context(), 8)
			if request.Value == "header" {
				if err := s.SendHeader(metadata.Pairs("other", "x")); err != nil {
					return err
				}
			}
			client.Saw(s.Context(), 9)
			return errors.Join(s.SendMsg(answer), s.SendMsg(answer))
		})
	for name, c := range map[string]struct {
		sent                 []string
		request              string
		past                 string // the server's
		code                 codes.Code
		header, trailer, one string // of a stream; and the trailer of a call
	}{
		"none":    {past: "0", header: "9", trailer: "9", one: "9"},
		"one":     {sent: []string{"7"}, past: "7", header: "9", trailer: "9", one: "9"},
		"several": {sent: []string{"5", "7", "6"}, past: "7", header: "9", trailer: "9", one: "9"},
		"garbage": {sent: []string{"-1", "7", ""}, past: "7", header: "9", trailer: "9", one: "9"},
		"later":   {sent: []string{"12"}, past: "12", header: "12", trailer: "12", one: "12"},
		"header":  {request: "header", past: "0", header: "8", trailer: "9", one: "9"},
		"fails":   {request: "fail", sent: []string{"7"}, code: codes.NotFound, trailer: "7", one: "9"},
	} {
		ctx := t.Context()
		for _, sent := range c.sent {
			ctx = metadata.AppendToOutgoingContext(ctx, grpctime.Key, sent)
		}
		first := func(md metadata.MD) string {
			if all := md.Get(grpctime.Key); len(all) > 0 {
				return all[len(all)-1]
			}
			return ""
		}
		var trailer metadata.MD
		past, err := invoke(ctx, conn, c.request, grpc.Trailer(&trailer))
		if past != c.past || status.Code(err) != c.code || first(trailer) != c.one {
			t.Errorf("%s: the server's past is %s, the trailer %v, %v", name, past, trailer, err)
		}
		s, err := conn.NewStream(ctx, both(), "/test.Service/Stream")
		if err != nil {
			t.Fatal(err)
		}
		answer := new(text)
		err = errors.Join(s.SendMsg(&text{Value: c.request}), s.CloseSend(), s.RecvMsg(answer))
		header, _ := s.Header()
		for err == nil {
			err = s.RecvMsg(answer)
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		if answer.Value != c.past || status.Code(errors.Unwrap(err)) != c.code && status.Code(err) != c.code || first(header) != c.header || first(s.Trailer()) != c.trailer {
			t.Errorf("%s, a stream: the server's past is %s, the header %v, the trailer %v, %v", name, answer.Value, header, s.Trailer(), err)
		}
	}
}

// TestClient: what a client sends, and what it learns from whatever comes back.
func TestClient(t *testing.T) {
	sent := func(ctx context.Context) *text {
		md, _ := metadata.FromIncomingContext(ctx)
		answer := ""
		for _, v := range md.Get(grpctime.Key) {
			answer += v + "|"
		}
		return &text{Value: answer}
	}
	says := func(ts string) metadata.MD { return metadata.Pairs(grpctime.Key, ts) }
	conn := serve(t, false, true,
		func(ctx context.Context, request *text) (*text, error) {
			switch request.Value {
			case "header":
				return sent(ctx), grpc.SetHeader(ctx, says("9"))
			case "trailer":
				return sent(ctx), grpc.SetTrailer(ctx, says("9"))
			case "garbage":
				return sent(ctx), grpc.SetTrailer(ctx, says("tomorrow"))
			}
			return nil, errors.Join(status.Error(codes.Aborted, "x"), grpc.SetTrailer(ctx, says("9")))
		},
		func(s grpc.ServerStream) error {
			request := new(text)
			if err := s.RecvMsg(request); err != nil {
				return err
			}
			switch request.Value {
			case "header":
				return errors.Join(s.SetHeader(says("9")), s.SendMsg(sent(s.Context())))
			case "trailer":
				s.SetTrailer(says("9"))
				return s.SendMsg(sent(s.Context()))
			case "garbage":
				return errors.Join(s.SetHeader(says("tomorrow")), s.SendMsg(sent(s.Context())))
			}
			s.SetTrailer(says("9"))
			return status.Error(codes.Aborted, "x")
		})
	for _, c := range []struct {
		request    string
		past, want hlc.Timestamp
		sent       string
		fails      bool
	}{
		{"header", 7, 9, "7|", false},
		{"header", 0, 9, "", false},
		{"header", 12, 12, "12|", false},
		{"trailer", 7, 9, "7|", false},
		{"garbage", 7, 7, "7|", false},
		{"error", 7, 9, "", true},
	} {
		ctx := client.WithPast(t.Context(), c.past)
		var header, trailer metadata.MD // the caller's own are filled too
		got, err := invoke(ctx, conn, c.request, grpc.Header(&header), grpc.Trailer(&trailer))
		if got != c.sent || err != nil != c.fails || client.Past(ctx) != c.want || len(header.Get(grpctime.Key))+len(trailer.Get(grpctime.Key)) != 1 {
			t.Errorf("%s after %d: sent %q, the past is %d, %v %v, %v", c.request, c.past, got, client.Past(ctx), header, trailer, err)
		}
		if got, err := invoke(t.Context(), conn, c.request); got != "" || err != nil != c.fails {
			t.Errorf("%s without a past: sent %q, %v", c.request, got, err)
		}
		for _, desc := range []*grpc.StreamDesc{both(), {ServerStreams: true}, {ClientStreams: true}} {
			ctx := client.WithPast(t.Context(), c.past)
			s, err := conn.NewStream(ctx, desc, "/test.Service/Stream")
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(s.SendMsg(&text{Value: c.request}), s.CloseSend()); err != nil {
				t.Fatal(err)
			}
			answer := new(text)
			err = s.RecvMsg(answer)
			if c.request == "header" && client.Past(ctx) != c.want {
				t.Errorf("%s after %d: with the first message the past is %d", c.request, c.past, client.Past(ctx))
			}
			if err == nil && desc.ServerStreams {
				err = s.RecvMsg(answer)
			}
			if c.fails != (err != nil && !errors.Is(err, io.EOF)) || answer.Value != c.sent || client.Past(ctx) != c.want {
				t.Errorf("%s after %d, %+v: sent %q, the past is %d, %v", c.request, c.past, desc, answer.Value, client.Past(ctx), err)
			}
		}
	}
	// The header alone, before any message.
	ctx := client.WithPast(t.Context(), 7)
	s, err := conn.NewStream(ctx, both(), "/test.Service/Stream")
	if err != nil {
		t.Fatal(err)
	}
	err = s.SendMsg(&text{Value: "header"})
	if _, e := s.Header(); errors.Join(err, e) != nil || client.Past(ctx) != 9 {
		t.Errorf("the header: the past is %d, %v", client.Past(ctx), errors.Join(err, e))
	}
	for err == nil {
		err = s.RecvMsg(new(text))
	}
}
