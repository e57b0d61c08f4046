package grpctime_test

import (
	"context"
	"fmt"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/hlc/client"
	"github.com/truechimer/truechimer/hlc/client/grpctime"
)

// exampleTB is what an example has for a test.
type exampleTB struct{ ends []func() }

func (e *exampleTB) TempDir() string {
	dir, err := os.MkdirTemp("", "truechimer-example")
	if err != nil {
		panic(err)
	}
	e.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (e *exampleTB) Cleanup(f func())  { e.ends = append(e.ends, f) }
func (e *exampleTB) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (e *exampleTB) end() {
	for i := range e.ends {
		e.ends[len(e.ends)-1-i]()
	}
}

// A program puts the interceptors into its server and into its connections; the rest goes by
// the contexts.
func Example() {
	_ = grpc.NewServer(
		grpc.ChainUnaryInterceptor(grpctime.UnaryServer),
		grpc.ChainStreamInterceptor(grpctime.StreamServer),
	)
	conn, err := grpc.NewClient("shipping.internal:443",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithChainUnaryInterceptor(grpctime.UnaryClient),
		grpc.WithChainStreamInterceptor(grpctime.StreamClient),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	fmt.Println(conn.Target())
	// Output: shipping.internal:443
}

// What the second service does for a call sorts after what the first one did before it called,
// whatever their clocks say.
func ExampleUnaryServer() {
	t := new(exampleTB)
	defer t.end()
	c := newClient(t, 0) // of an appliance
	ship := func(ctx context.Context, _ *text) (*text, error) {
		shipped, err := c.Now(ctx) // after all that led to this call
		return &text{Value: shipped.String()}, err
	}
	conn := serve(t, true, true, ship, nil) // a server and a connection with the interceptors

	ctx := client.WithPast(context.Background(), 0) // in a server, that of the call
	ordered, err := c.Now(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	answer := new(text)
	if err := conn.Invoke(ctx, "/test.Service/Unary", new(text), answer); err != nil {
		fmt.Println(err)
		return
	}
	shipped, err := hlc.Parse(answer.Value)
	fmt.Println(shipped > ordered, client.Past(ctx) == shipped, err)
	// Output: true true <nil>
}
