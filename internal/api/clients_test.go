package api

import (
	"context"
	"math"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/ntpserver"
)

// TestClientsOrder: each order, over all that are remembered, cut only then; those that are
// equal stay in the order of when they were heard.
func TestClientsOrder(t *testing.T) {
	node := newFakeNode()
	for i, c := range []ntpserver.Client{ // the latest first
		{Addr: netip.MustParseAddr("10.0.0.9"), Requests: 5, Drops: 0},
		{Addr: netip.MustParseAddr("2001:db8::1"), Requests: 9, Drops: 2},
		{Addr: netip.MustParseAddr("10.0.0.10"), Requests: 5, Drops: 2},
		{Addr: netip.MustParseAddr("192.0.2.1"), Requests: 100, Drops: 1},
		{Addr: netip.MustParseAddr("2001:db8::"), Requests: 1, Drops: 90},
	} {
		c.Last = time.Unix(0, noon-int64(i))
		node.clients = append(node.clients, c)
	}
	s := newNodeService(t.Context(), node, timescaleUTC)
	for order, want := range map[rpc.ClientsOrder]string{
		rpc.ClientsOrder_CLIENTS_ORDER_UNSPECIFIED: "10.0.0.9 2001:db8::1 10.0.0.10 192.0.2.1 2001:db8::",
		rpc.ClientsOrder_CLIENTS_ORDER_LAST:        "10.0.0.9 2001:db8::1 10.0.0.10 192.0.2.1 2001:db8::",
		rpc.ClientsOrder_CLIENTS_ORDER_REQUESTS:    "192.0.2.1 2001:db8::1 10.0.0.9 10.0.0.10 2001:db8::",
		rpc.ClientsOrder_CLIENTS_ORDER_DROPS:       "2001:db8:: 2001:db8::1 10.0.0.10 192.0.2.1 10.0.0.9",
		rpc.ClientsOrder_CLIENTS_ORDER_ADDRESS:     "10.0.0.9 10.0.0.10 192.0.2.1 2001:db8:: 2001:db8::1",
	} {
		for limit := range int64(len(node.clients) + 2) {
			request := &rpc.ClientsRequest{Limit: &limit, Order: order}
			if limit == 0 {
				request.Limit = nil
			}
			r, err := s.Clients(t.Context(), connect.NewRequest(request))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range r.Msg.Clients {
				got = append(got, c.Address)
			}
			words := strings.Fields(want)
			if limit > 0 {
				words = words[:min(int(limit), len(words))]
			}
			if g, w := strings.Join(got, " "), strings.Join(words, " "); g != w || r.Msg.Remembered != 5 {
				t.Errorf("%v, limit %d: got %s, %d remembered, want %s", order, limit, g, r.Msg.Remembered, w)
			}
		}
	}
}

// TestClientsLimits: a hundred where nothing is said, a thousand at the most.
func TestClientsLimits(t *testing.T) {
	node := newFakeNode()
	for i := range 1500 {
		node.clients = append(node.clients, ntpserver.Client{Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Requests: uint64(i)})
	}
	s := newNodeService(t.Context(), node, timescaleUTC)
	most := int64(1000)
	for want, limit := range map[int]*int64{100: nil, 1000: &most} {
		r, err := s.Clients(t.Context(), connect.NewRequest(&rpc.ClientsRequest{Limit: limit, Order: rpc.ClientsOrder_CLIENTS_ORDER_REQUESTS}))
		if err != nil || len(r.Msg.Clients) != want || r.Msg.Remembered != 1500 || r.Msg.Clients[0].Requests != 1499 {
			t.Errorf("%d of %d, %v, want %d", len(r.Msg.Clients), r.Msg.Remembered, err, want)
		}
	}
}

// TestClientsOneAtATime: calls that wait for their turn copy nothing, and give up when
// their caller does.
func TestClientsOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode()
		began, release := make(chan struct{}, 10), make(chan struct{})
		node.listed = func() { began <- struct{}{}; <-release }
		s := newNodeService(t.Context(), node, timescaleUTC)
		ended := make(chan error, 10)
		list := func(ctx context.Context) {
			_, err := s.Clients(ctx, connect.NewRequest(&rpc.ClientsRequest{}))
			ended <- err
		}
		impatient, leave := context.WithCancel(t.Context())
		go list(t.Context())
		synctest.Wait()
		go list(impatient)
		go list(t.Context())
		synctest.Wait()
		if len(began) != 1 || len(ended) != 0 {
			t.Errorf("%d have begun and %d ended, want 1 and 0", len(began), len(ended))
		}
		leave()
		if err := <-ended; connect.CodeOf(err) != connect.CodeCanceled {
			t.Errorf("who left was told %v", err)
		}
		close(release)
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if len(began) != 2 {
			t.Errorf("%d have begun, want 2", len(began))
		}
	})
}

// TestPollLog2: the nearest power of two, in proportion.
func TestPollLog2(t *testing.T) {
	for d, want := range map[time.Duration]int32{
		time.Second: 0, 64 * time.Second: 6, 63 * time.Second: 6, 1024 * time.Second: 10, 16 * time.Second: 4,
		1414 * time.Millisecond: 0, 1415 * time.Millisecond: 1, 707 * time.Millisecond: -1, 708 * time.Millisecond: 0,
		500 * time.Millisecond: -1, time.Millisecond: -10, 1: -30, 36 * time.Hour: 17, math.MaxInt64: 33,
	} {
		if got := pollLog2(d); got != want {
			t.Errorf("%v is %d, want %d", d, got, want)
		}
	}
}
