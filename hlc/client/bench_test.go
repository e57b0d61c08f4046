package client_test

// The client and the appliance against the barest handlers that the same RPC library can
// have, in turns within one run: what is left between them is what ours cost. For calls of one
// timestamp grpc-go is a yardstick too. Servers are processes of their own, so that their
// processor time can be told from the client's.

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/truechimer/truechimer/hlc/client"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

// serverEnv names the server that a child of the benchmark is.
const serverEnv = "TRUECHIMER_BENCH_SERVER"

// echo answers with no more than a message.
type echo struct {
	rpcconnect.UnimplementedClockServiceHandler
}

func (echo) Session(_ context.Context, s *connect.BidiStream[rpc.SessionRequest, rpc.SessionResponse]) error {
	for {
		r, err := s.Receive()
		if err != nil {
			return nil
		}
		if err := s.Send(&rpc.SessionResponse{First: r.Seen + 1}); err != nil {
			return err
		}
	}
}

func (echo) Now(_ context.Context, r *connect.Request[rpc.NowRequest]) (*connect.Response[rpc.NowResponse], error) {
	return connect.NewResponse(&rpc.NowResponse{Timestamp: 1, Count: r.Msg.GetCount()}), nil
}

// nowMethod is the name of what grpcEcho answers.
const nowMethod = "/truechimer.v1.ClockService/Now"

// grpcEcho is what echo.Now is, of grpc-go.
func grpcEcho() *grpc.Server {
	now := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		r := new(rpc.NowRequest)
		if err := decode(r); err != nil {
			return nil, err
		}
		return &rpc.NowResponse{Timestamp: 1, Count: r.GetCount()}, nil
	}
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "truechimer.v1.ClockService",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Now", Handler: now}},
	}, nil)
	return s
}

// TestBenchServer is the child: it says where it serves, and ends with its input.
func TestBenchServer(t *testing.T) {
	var address string
	switch os.Getenv(serverEnv) {
	case "":
		t.Skip("it is a part of BenchmarkSideBySide")
	case "appliance":
		address = newAppliance(t).address()
	case "echo":
		l := listen(t)
		web := http.Server{Protocols: new(http.Protocols)}
		web.Protocols.SetHTTP1(true)
		web.Protocols.SetUnencryptedHTTP2(true)
		mux := http.NewServeMux()
		mux.Handle(rpcconnect.NewClockServiceHandler(echo{}, connect.WithCompressMinBytes(1024)))
		web.Handler = mux
		go web.Serve(l)
		defer web.Close()
		address = l.Addr().String()
	case "grpc":
		l := listen(t)
		s := grpcEcho()
		go s.Serve(l)
		defer s.Stop()
		address = l.Addr().String()
	}
	fmt.Println("serving", address)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// server is a child that serves.
type server struct {
	name, address string
	cmd           *exec.Cmd
}

func startServer(b *testing.B, name string) *server {
	b.Helper()
	s := &server{name: name, cmd: exec.Command(os.Args[0], "-test.run=^TestBenchServer$")}
	s.cmd.Env = append(os.Environ(), serverEnv+"="+name)
	in, err := s.cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = s.cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if at, ok := strings.CutPrefix(lines.Text(), "serving "); ok {
			s.address = at
			go io.Copy(io.Discard, out)
			return s
		}
	}
	b.Fatalf("%s does not serve", name)
	return nil
}

// cpu is the processor time that the server has used, in seconds.
func (s *server) cpu(b *testing.B) float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		b.Skip("needs /proc")
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100 // clock ticks of USER_HZ
}

// run is one contender in one round.
type run struct {
	rate float64       // timestamps a second
	cpu  float64       // of the server, microseconds for each
	p50  time.Duration // of a call
}

// measure has so many callers ask for n at a time.
func (s *server) measure(b *testing.B, callers, n int, d time.Duration, call func(int) error) run {
	var mu sync.Mutex
	var took []time.Duration
	before := s.cpu(b)
	start := time.Now()
	var all sync.WaitGroup
	total := 0
	for range callers {
		all.Go(func() {
			var mine []time.Duration
			calls := 0
			for end := start.Add(d); ; calls++ {
				t := time.Now()
				if t.After(end) {
					break
				}
				if err := call(n); err != nil {
					b.Errorf("%s: %v", s.name, err)
					return
				}
				if calls%16 == 0 {
					mine = append(mine, time.Since(t))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
			total += calls * n
		})
	}
	all.Wait()
	seconds := time.Since(start).Seconds()
	slices.Sort(took)
	return run{float64(total) / seconds, (s.cpu(b) - before) * 1e6 / float64(total), took[len(took)/2]}
}

// BenchmarkSideBySide compares; b.N is the number of rounds of a second each.
func BenchmarkSideBySide(b *testing.B) {
	servers := []*server{startServer(b, "appliance"), startServer(b, "echo"), startServer(b, "grpc")}
	ours := servers[:2] // they have the whole service
	clients := make([]*client.Client, len(ours))
	unaries := make([]rpcconnect.ClockServiceClient, len(ours))
	binaries := make([]rpcconnect.ClockServiceClient, len(ours))
	for i, s := range ours {
		clients[i] = newClient(b, client.Options{Addresses: []string{s.address}})
		one := &http.Transport{}
		b.Cleanup(one.CloseIdleConnections)
		unaries[i] = rpcconnect.NewClockServiceClient(&http.Client{Transport: one}, "http://"+s.address, connect.WithProtoJSON())
		two := &http.Transport{Protocols: new(http.Protocols)}
		two.Protocols.SetUnencryptedHTTP2(true)
		b.Cleanup(two.CloseIdleConnections)
		binaries[i] = rpcconnect.NewClockServiceClient(&http.Client{Transport: two}, "http://"+s.address)
	}
	yardstick, err := grpc.NewClient(servers[2].address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { yardstick.Close() })
	batched := func(i int) func(int) error {
		return func(n int) error { _, err := clients[i].NowN(context.Background(), n); return err }
	}
	unary := func(i int) func(int) error {
		return func(int) error {
			_, err := unaries[i].Now(context.Background(), connect.NewRequest(&rpc.NowRequest{}))
			return err
		}
	}
	binary := func(i int) func(int) error {
		return func(int) error {
			if i == 2 {
				return yardstick.Invoke(context.Background(), nowMethod, &rpc.NowRequest{}, new(rpc.NowResponse))
			}
			_, err := binaries[i].Now(context.Background(), connect.NewRequest(&rpc.NowRequest{}))
			return err
		}
	}
	for _, k := range []contest{
		{"256 callers", ours, 256, 1, batched},
		{"256 callers of 10000", ours, 256, 10_000, batched},
		{"one caller", ours, 1, 1, batched},
		{"unary JSON", ours, 1, 1, unary},
		{"unary binary", servers, 1, 1, binary},
	} {
		k.run(b)
	}
}

// contest is what several servers are asked in turns.
type contest struct {
	name       string
	servers    []*server // the first is compared with each of the others
	callers, n int
	call       func(server int) func(n int) error
}

// run prints the median round of each server, and the median ratios.
func (k contest) run(b *testing.B) {
	runs := make([][]run, len(k.servers))
	for i, s := range k.servers {
		s.measure(b, k.callers, k.n, 200*time.Millisecond, k.call(i)) // warm
	}
	for round := range b.N {
		for i := range k.servers {
			i = (i + round) % len(k.servers)
			runs[i] = append(runs[i], k.servers[i].measure(b, k.callers, k.n, time.Second, k.call(i)))
		}
	}
	for i, s := range k.servers {
		ordered := slices.SortedFunc(slices.Values(runs[i]), func(a, b run) int { return cmp.Compare(a.rate, b.rate) })
		m := ordered[len(ordered)/2]
		fmt.Printf("%-22s %-10s %12.0f/s  %7.3f µs of the server each  p50 %v\n", k.name, s.name, m.rate, m.cpu, m.p50)
	}
	for i, s := range k.servers[1:] {
		ratio := func(of func(run) float64) float64 {
			var all []float64
			for round, first := range runs[0] {
				all = append(all, of(first)/of(runs[i+1][round]))
			}
			slices.Sort(all)
			return all[len(all)/2]
		}
		fmt.Printf("%-22s to %-10s rate %.2f, server %.2f, p50 %.2f\n", k.name, s.name, ratio(func(r run) float64 { return r.rate }), ratio(func(r run) float64 { return r.cpu }), ratio(func(r run) float64 { return float64(r.p50) }))
	}
}
