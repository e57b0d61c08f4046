package api

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/ntpserver"
)

const (
	clientsLimit    = 100 // where a request names none
	clientsLimitMax = 1000
)

// Clients copies all that are remembered, some megabytes: one call does so at a time.
func (s *nodeService) Clients(ctx context.Context, r *connect.Request[rpc.ClientsRequest]) (*connect.Response[rpc.ClientsResponse], error) {
	limit := int64(clientsLimit)
	if r.Msg.Limit != nil {
		limit = *r.Msg.Limit
	}
	if limit < 1 || limit > clientsLimitMax {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("limit is %d; ask for 1 to %d clients, or leave it out for %d", limit, clientsLimitMax, clientsLimit))
	}
	compare, known := clientOrders[r.Msg.Order]
	if !known {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("order is %d, which this server does not know; leave it out for those heard last", r.Msg.Order))
	}
	select {
	case s.listing <- struct{}{}:
		defer func() { <-s.listing }()
	case <-ctx.Done():
		return nil, callError(ctx.Err())
	}
	clients := s.node.Clients()
	if compare != nil {
		slices.SortStableFunc(clients, compare)
	}
	state := s.node.State()
	m := &rpc.ClientsResponse{Remembered: int64(len(clients)), UtcUnixNs: state.Clock.UTC(state.Mono)}
	for _, c := range clients[:min(int(limit), len(clients))] {
		m.Clients = append(m.Clients, clientMessage(&c))
	}
	return connect.NewResponse(m), nil
}

// clientOrders compare clients, of which the one heard last is first; nil leaves them so.
var clientOrders = map[rpc.ClientsOrder]func(a, b ntpserver.Client) int{
	rpc.ClientsOrder_CLIENTS_ORDER_UNSPECIFIED: nil,
	rpc.ClientsOrder_CLIENTS_ORDER_LAST:        nil,
	rpc.ClientsOrder_CLIENTS_ORDER_REQUESTS:    func(a, b ntpserver.Client) int { return cmp.Compare(b.Requests, a.Requests) },
	rpc.ClientsOrder_CLIENTS_ORDER_DROPS:       func(a, b ntpserver.Client) int { return cmp.Compare(b.Drops, a.Drops) },
	rpc.ClientsOrder_CLIENTS_ORDER_ADDRESS:     func(a, b ntpserver.Client) int { return a.Addr.Compare(b.Addr) },
}

func clientMessage(c *ntpserver.Client) *rpc.NtpClient {
	m := &rpc.NtpClient{
		Address:     c.Addr.String(),
		Version:     uint32(c.Version),
		Mode:        uint32(c.Mode),
		Interleaved: c.Interleaved,
		LastUnixNs:  c.Last.UnixNano(),
		Requests:    c.Requests,
		Drops:       c.Drops,
		IntervalNs:  c.Interval.Nanoseconds(),
	}
	if c.Interval > 0 {
		poll := pollLog2(c.Interval)
		m.PollLog2 = &poll
	}
	return m
}

// pollLog2 is the poll interval, log2 of seconds, that is nearest to d in proportion.
func pollLog2(d time.Duration) int32 { return int32(math.Round(math.Log2(d.Seconds()))) }
