package client_test

// The client and the appliance against the barest handlers that the same RPC library can
// have, in turns within one run: what is left between them is what ours cost. Servers are
// processes of their own, so that their processor time can be told from the client's.

import (
	"bufio"
	"bytes"
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

// TestBenchServer is the child: it says where it serves, and ends with its input.
func TestBenchServer(t *testing.T) {
	var address string
	switch os.Getenv(serverEnv) {
	case "":
		t.Skip("it is a part of BenchmarkSideBySide")
	case "appliance":
		address = newAppliance(t).address()
	case "echo":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		web := http.Server{Protocols: new(http.Protocols)}
		web.Protocols.SetHTTP1(true)
		web.Protocols.SetUnencryptedHTTP2(true)
		mux := http.NewServeMux()
		mux.Handle(rpcconnect.NewClockServiceHandler(echo{}, connect.WithCompressMinBytes(1024)))
		web.Handler = mux
		go web.Serve(l)
		defer web.Close()
		address = l.Addr().String()
	}
	fmt.Println("serving", address)
	_, _ = io.Copy(io.Discard, os.Stdin)
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
	servers := []*server{startServer(b, "appliance"), startServer(b, "echo")}
	clients := make([]*client.Client, len(servers))
	for i, s := range servers {
		clients[i] = newClient(b, client.Options{Addresses: []string{s.address}})
	}
	unaries := make([]rpcconnect.ClockServiceClient, len(servers))
	for i, s := range servers {
		t := &http.Transport{}
		defer t.CloseIdleConnections()
		unaries[i] = rpcconnect.NewClockServiceClient(&http.Client{Transport: t}, "http://"+s.address, connect.WithProtoJSON())
	}
	batched := func(i int) func(int) error {
		return func(n int) error { _, err := clients[i].NowN(context.Background(), n); return err }
	}
	unary := func(i int) func(int) error {
		return func(int) error {
			_, err := unaries[i].Now(context.Background(), connect.NewRequest(&rpc.NowRequest{}))
			return err
		}
	}
	for _, k := range []struct {
		name       string
		callers, n int
		call       func(int) func(int) error
	}{
		{"256 callers", 256, 1, batched},
		{"256 callers of 10000", 256, 10_000, batched},
		{"one caller", 1, 1, batched},
		{"unary JSON", 1, 1, unary},
	} {
		var runs [2][]run
		for i := range servers {
			servers[i].measure(b, k.callers, k.n, 200*time.Millisecond, k.call(i)) // warm
		}
		for round := range b.N {
			for i := range servers {
				i = (i + round) % 2
				runs[i] = append(runs[i], servers[i].measure(b, k.callers, k.n, time.Second, k.call(i)))
			}
		}
		ratio := func(of func(run) float64) float64 {
			var all []float64
			for i := range runs[0] {
				all = append(all, of(runs[0][i])/of(runs[1][i]))
			}
			slices.Sort(all)
			return all[len(all)/2]
		}
		for i, s := range servers {
			slices.SortFunc(runs[i], func(a, b run) int { return int(a.rate - b.rate) })
			m := runs[i][len(runs[i])/2]
			fmt.Printf("%-22s %-10s %12.0f/s  %7.3f µs of the server each  p50 %v\n", k.name, s.name, m.rate, m.cpu, m.p50)
		}
		fmt.Printf("%-22s ratio      rate %.2f, server %.2f, p50 %.2f\n", k.name, ratio(func(r run) float64 { return r.rate }), ratio(func(r run) float64 { return r.cpu }), ratio(func(r run) float64 { return float64(r.p50) }))
	}
}
