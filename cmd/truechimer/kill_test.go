package main

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

// issued is the timestamps first to last, which one call returned.
type issued struct{ first, last hlc.Timestamp }

// TestKill kills the appliance over and over while eight clients take timestamps, at a
// moment that nobody chose. What is issued in one life is greater than all that was
// issued in those before, and nothing is issued twice (H1, H7).
//
// Physical time goes on meanwhile, and would hide a clock that starts wherever it likes.
// Therefore the clients observe timestamps from the future: in the first lives up to the
// max lead of one second, in the others by ever more, up to many seconds.
func TestKill(t *testing.T) {
	lives := 50
	if testing.Short() {
		lives = 10
	}
	rng := rand.New(rand.NewPCG(*seedFlag, 0))
	dir := t.TempDir()
	config := writeConfig(t, dir, "")
	var all []issued
	var greatest hlc.Timestamp
	var epoch uint64
	var calls [3]int // of each kind
	for life := range lives {
		if life == lives/2 {
			config = writeConfig(t, dir, "hlc.max_lead = \"1h\"\n")
		}
		if life%5 == 0 { // and one that does not get far
			s, err := spawn(dir, "--config", config)
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Duration(rng.IntN(200))*time.Millisecond, s.kill)
			<-s.ended
		}
		s := serveTest(t, dir, "--config", config)
		got := hammer(t, s, rng.Uint64(), time.Duration(rng.IntN(400))*time.Millisecond, &epoch, &calls)
		before := greatest
		for _, i := range got {
			if i.first <= before {
				t.Fatalf("seed %d, life %d: %v issued after %v", *seedFlag, life, i.first, before)
			}
			greatest = max(greatest, i.last)
		}
		all = append(all, got...)
		if t.Failed() {
			t.Fatalf("seed %d, life %d, log:\n%s", *seedFlag, life, s.log.String())
		}
	}
	slices.SortFunc(all, func(a, b issued) int { return cmp.Compare(a.first, b.first) })
	for i := range all[1:] {
		if all[i+1].first <= all[i].last {
			t.Fatalf("seed %d: %v to %v and %v to %v overlap", *seedFlag, all[i].first, all[i].last, all[i+1].first, all[i+1].last)
		}
	}
	wantWholeJournal(t, serveTest(t, dir, "--config", config), lives)
	t.Logf("seed %d: answered in %d lives %d Now, %d ranges, %d Observe; %v ahead in the end",
		*seedFlag, lives, calls[0], calls[1], calls[2], time.Until(greatest.Time()).Round(time.Millisecond))
	if slices.Min(calls[:]) < lives {
		t.Errorf("too little load: %d", calls)
	}
}

// hammer lets eight clients call until the server is killed, some time after the first
// answer, and returns what they got.
func hammer(t *testing.T, s *server, seed uint64, after time.Duration, epoch *uint64, calls *[3]int) []issued {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	defer transport.CloseIdleConnections()
	web := &http.Client{Transport: transport}
	clock := rpcconnect.NewClockServiceClient(web, "http://"+s.api)

	status, err := rpcconnect.NewNodeServiceClient(web, "http://"+s.api).Status(context.Background(), connect.NewRequest(&rpc.StatusRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	if now := status.Msg.Hlc.Epoch; now <= *epoch {
		t.Fatalf("epoch %d after epoch %d", now, *epoch)
	}
	*epoch = status.Msg.Hlc.Epoch

	first := make(chan struct{})
	begin := sync.OnceFunc(func() { close(first) })
	var results [8][]issued
	var clients sync.WaitGroup
	for i := range results {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			results[i] = callUntilKilled(t, clock, i, rng, begin)
		})
	}
	select {
	case <-first:
	case <-time.After(patience):
		t.Errorf("no answer in %v", patience)
	}
	time.AfterFunc(after, s.kill)
	clients.Wait()
	<-s.ended
	for i := range results {
		calls[i%len(calls)] += len(results[i])
	}
	return slices.Concat(results[:]...)
}

// callUntilKilled takes timestamps, each client in its own way, until there is no answer.
func callUntilKilled(t *testing.T, clock rpcconnect.ClockServiceClient, i int, rng *rand.Rand, begin func()) (got []issued) {
	ctx := context.Background()
	var last hlc.Timestamp
	for {
		var r issued
		var err error
		above := last
		switch i % 3 {
		case 0:
			r, err = now(ctx, clock, 1)
		case 1:
			r, err = now(ctx, clock, 1+rng.Int64N(hlc.CountMax))
		case 2:
			if last > 0 {
				above = last + hlc.Timestamp(rng.Int64N(int64(100*time.Millisecond)))
			}
			var response *connect.Response[rpc.ObserveResponse]
			if response, err = clock.Observe(ctx, connect.NewRequest(&rpc.ObserveRequest{Timestamp: uint64(above)})); err == nil {
				ts := hlc.Timestamp(response.Msg.Timestamp)
				r = issued{ts, ts}
			}
		}
		var call *connect.Error
		switch {
		case err == nil && r.first <= above:
			t.Errorf("client %d got %v, not above %v", i, r.first, above)
			return got
		case err == nil:
			last = r.last
			got = append(got, r)
			begin()
		case !connect.IsWireError(err):
			return got // the server is gone
		case errors.As(err, &call) && (call.Code() == connect.CodeFailedPrecondition || call.Code() == connect.CodeUnavailable):
			// Too far ahead, or it has not looked at its clock yet.
			<-time.After(time.Millisecond)
		default:
			t.Errorf("client %d: %v", i, err)
			return got
		}
	}
}

func now(ctx context.Context, clock rpcconnect.ClockServiceClient, count int64) (issued, error) {
	r, err := clock.Now(ctx, connect.NewRequest(&rpc.NowRequest{Count: &count}))
	if err != nil {
		return issued{}, err
	}
	first := hlc.Timestamp(r.Msg.Timestamp)
	return issued{first, first + hlc.Timestamp(r.Msg.Count-1)}, nil
}

// wantWholeJournal wants a journal in which nothing is wrong, and in which starts stand, most of them
// after a stop that was none.
func wantWholeJournal(t *testing.T, s *server, starts int) {
	t.Helper()
	evidence := rpcconnect.NewEvidenceServiceClient(http.DefaultClient, "http://"+s.api)
	stream, err := evidence.VerifyJournal(t.Context(), connect.NewRequest(&rpc.VerifyJournalRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var last *rpc.VerifyJournalResponse
	for stream.Receive() {
		last = stream.Msg()
	}
	if stream.Err() != nil || !last.GetDone() || len(last.Problems) > 0 {
		t.Errorf("the journal after all that: %v, %v", last, stream.Err())
	}
	m, err := evidence.Journal(t.Context(), connect.NewRequest(&rpc.JournalRequest{Kinds: []string{"started"}, Limit: 1000}))
	if err != nil {
		t.Fatal(err)
	}
	unclean := 0
	for _, r := range m.Msg.Records {
		if !r.Entry.GetStarted().Clean {
			unclean++
		}
	}
	// A life that ends within a few milliseconds is not on record.
	if n := len(m.Msg.Records); n < starts/2 || unclean < n-1 {
		t.Errorf("%d starts are on record, %d of them after a crash; there were %d", n, unclean, starts)
	}
}
