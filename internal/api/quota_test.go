package api

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

// TestBucket: what is taken is on average what comes in, and a second's worth at once; one
// request may overdraw it, and the debt is paid before the next.
func TestBucket(t *testing.T) {
	for _, c := range []struct{ n, perSecond int64 }{{1, 10}, {7, 100}, {65536, 1000}, {1, 1}, {65536, 200_000_000}, {1, 1_000_000_000}, {8 << 20, 1000}} {
		var b bucket
		var taken int64
		now := int64(0)
		const steps = 10_000
		for range steps {
			wait := b.take(now, c.n, c.perSecond)
			if wait == 0 {
				taken += c.n
				continue
			}
			if b.take(now+int64(wait)-1, c.n, c.perSecond) == 0 {
				t.Errorf("%+v: taken before the wait was over", c)
			}
			now += int64(wait)
			if b.take(now, c.n, c.perSecond) != 0 {
				t.Fatalf("%+v: refused after the wait", c)
			}
			taken += c.n
		}
		allowed := float64(now)/1e9*float64(c.perSecond) + float64(c.perSecond+c.n)
		if float64(taken) > allowed*1.000001 || float64(taken) < allowed*0.9-float64(2*c.n) && now > 0 {
			t.Errorf("%+v: %d taken in %v, allowed %v", c, taken, time.Duration(now), allowed)
		}
	}
	var b bucket
	taken, hour := 0, int64(time.Hour)
	for b.take(hour, 1, 10) == 0 {
		taken++
	}
	if taken != 10 {
		t.Errorf("after an hour %d are there at once, want a second's worth", taken)
	}
	if n := testing.AllocsPerRun(100, func() { b.take(0, 1, 1000) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// quotaOf serves to one principal with a quota, whose token is "one", and to another.
func quotaOf(t *testing.T, services Services, q Quota) string {
	_, host := guarded(t, services, Options{Access: Access{Principals: []Principal{
		{Name: "one", Token: tokenOf("one"), Rights: RightsAll, Quota: q},
		{Name: "two", Token: tokenOf("two"), Rights: RightsAll, Quota: q},
	}}})
	return "http://" + host
}

// TestQuotaTimestamps: whoever has taken its timestamps is refused until more have come in,
// by each call that issues some; others are not.
func TestQuotaTimestamps(t *testing.T) {
	for name, take := range map[string]func(clocks rpcconnect.ClockServiceClient, streams rpcconnect.StreamServiceClient) error{
		"now": func(clocks rpcconnect.ClockServiceClient, _ rpcconnect.StreamServiceClient) error {
			_, err := clocks.Now(t.Context(), connect.NewRequest(&rpc.NowRequest{}))
			return err
		},
		"observe": func(clocks rpcconnect.ClockServiceClient, _ rpcconnect.StreamServiceClient) error {
			_, err := clocks.Observe(t.Context(), connect.NewRequest(&rpc.ObserveRequest{}))
			return err
		},
		"commit": func(clocks rpcconnect.ClockServiceClient, _ rpcconnect.StreamServiceClient) error {
			_, err := clocks.Commit(t.Context(), connect.NewRequest(&rpc.CommitRequest{}))
			return err
		},
		"append": func(_ rpcconnect.ClockServiceClient, streams rpcconnect.StreamServiceClient) error {
			_, err := streams.Append(t.Context(), connect.NewRequest(&rpc.AppendRequest{Entries: []*rpc.AppendEntry{{Stream: "a"}}}))
			return err
		},
	} {
		base := quotaOf(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streamsThatEnd(nil)}, Quota{Timestamps: 10})
		clients := func(token string) (rpcconnect.ClockServiceClient, rpcconnect.StreamServiceClient) {
			c := withToken(newClient(t), token)
			return rpcconnect.NewClockServiceClient(c, base), rpcconnect.NewStreamServiceClient(c, base)
		}
		clocks, streams := clients("one")
		count := int64(1000)
		if _, err := clocks.Now(t.Context(), connect.NewRequest(&rpc.NowRequest{Count: &count})); err != nil {
			t.Fatalf("%s: the first: %v", name, err)
		}
		if err := take(clocks, streams); connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "your quota is 10 timestamps a second; ask again in ") {
			t.Errorf("%s: %v", name, err)
		}
		clocks, streams = clients("two")
		if err := take(clocks, streams); err != nil {
			t.Errorf("%s by another: %v", name, err)
		}
	}
}

// TestQuotaSession: in a session the batches beyond the quota are refused, all parts of them,
// and it goes on.
func TestQuotaSession(t *testing.T) {
	base := quotaOf(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode()}, Quota{Timestamps: 10})
	s := rpcconnect.NewClockServiceClient(withToken(newClient(t, h2c), "one"), base).Session(t.Context())
	defer end(t, s)
	if a := exchange(t, s, &rpc.SessionRequest{Count: 1000}); a.Fault != nil {
		t.Errorf("the first: %v", a)
	}
	a := exchange(t, s, &rpc.SessionRequest{Count: 1, Observe: []uint64{1, 2}, Interval: true})
	if a.Fault == nil || a.First != 0 || len(a.Observed) != 2 || a.Observed[1].Fault == nil || a.IntervalFault == nil || a.Fault.Code != int32(connect.CodeResourceExhausted) {
		t.Errorf("the second: %v", a)
	}
	if a := exchange(t, s, &rpc.SessionRequest{}); a.Fault != nil {
		t.Errorf("nothing asked: %v", a)
	}
}

// TestQuotaAppend: bytes appended count, and those of a request that is larger than the quota
// get through once.
func TestQuotaAppend(t *testing.T) {
	streams := streamsThatEnd(nil)
	base := quotaOf(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streams}, Quota{AppendBytes: 1000})
	appendTo := func(token string, n int) error {
		_, err := rpcconnect.NewStreamServiceClient(withToken(newClient(t), token), base).Append(t.Context(),
			connect.NewRequest(&rpc.AppendRequest{Entries: []*rpc.AppendEntry{{Stream: "a", Payload: make([]byte, n)}}}))
		return err
	}
	if err := appendTo("one", 1<<20); err != nil {
		t.Error(err)
	}
	streams.ask("")
	if err := appendTo("one", 1); connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "your quota is 1000 bytes appended a second") || streams.was() != "" {
		t.Errorf("%v, asked %q", err, streams.was())
	}
	if err := appendTo("one", 0); err != nil {
		t.Error(err)
	}
	if err := appendTo("two", 1000); err != nil {
		t.Error(err)
	}
}

// TestQuotaCalls: calls, sessions and watches in progress are counted apart, for each principal
// and for each address of anonymous callers, and go down again.
func TestQuotaCalls(t *testing.T) {
	g := openGate()
	if err := g.set(Access{Anonymous: RightsAll, Principals: []Principal{{Name: "one", Token: tokenOf("one"), Rights: RightsAll, Quota: Quota{Calls: 32}}}}); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h := g.guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }), connect.NewErrorWriter())
		refusedNow := func(procedure, from, token string, n int) (refused int) {
			before := g.journal.counts[connect.CodeResourceExhausted].Load()
			for range n {
				r := httptest.NewRequest(http.MethodPost, procedure, nil)
				r.RemoteAddr = from
				if token != "" {
					r.Header.Set("Authorization", "Bearer "+token)
				}
				go h.ServeHTTP(httptest.NewRecorder(), r)
			}
			synctest.Wait()
			return int(g.journal.counts[connect.CodeResourceExhausted].Load() - before)
		}
		const now, session, watch = rpcconnect.ClockServiceNowProcedure, rpcconnect.ClockServiceSessionProcedure, rpcconnect.StreamServiceWatchProcedure
		for i, c := range []struct {
			procedure, from, token string
			n, refused             int
		}{
			{now, "192.0.2.1:1", "one", 33, 1},
			{now, "192.0.2.2:1", "one", 1, 1}, // wherever from
			{session, "192.0.2.1:1", "one", 3, 1},
			{watch, "192.0.2.1:1", "one", 9, 1},
			{now, "192.0.2.1:1", "", 1025, 1},
			{now, "192.0.2.1:2", "", 1, 1}, // the same address
			{now, "[::ffff:192.0.2.1]:2", "", 1, 1},
			{now, "192.0.2.2:1", "", 1, 0},
			{session, "192.0.2.1:1", "", 65, 1},
			{watch, "192.0.2.1:1", "", 257, 1},
			{now, "[2001:db8::1]:1", "", 1024, 0},
			{now, "[2001:db8::ffff:2]:1", "", 1, 1}, // the same /64
			{now, "[2001:db8:0:1::1]:1", "", 1, 0},
			{now, "127.0.0.1:1", "", 3000, 0}, // all who are here
		} {
			if got := refusedNow(c.procedure, c.from, c.token, c.n); got != c.refused {
				t.Errorf("%d: %d of %d refused, want %d", i, got, c.n, c.refused)
			}
		}
		close(release)
		synctest.Wait()
		if got := refusedNow(now, "192.0.2.1:1", "one", 32) + refusedNow(now, "192.0.2.1:1", "", 1024); got != 0 {
			t.Errorf("afterwards: %d refused", got)
		}
	})
}

// TestQuotaOutlivesReload: what is in progress counts on after the access has changed.
func TestQuotaOutlivesReload(t *testing.T) {
	g := openGate()
	one := Access{Principals: []Principal{{Name: "one", Token: tokenOf("one"), Rights: RightsAll, Quota: Quota{Calls: 1}}}}
	if err := g.set(one); err != nil {
		t.Fatal(err)
	}
	enter := func() *connect.Error {
		r := httptest.NewRequest(http.MethodPost, rpcconnect.ClockServiceNowProcedure, nil)
		r.Header.Set("Authorization", "Bearer one")
		c, fault := g.identify(r, g.rules[r.URL.Path])
		if fault != nil {
			t.Fatal(fault)
		}
		return c.enter(aCall)
	}
	if fault := enter(); fault != nil {
		t.Fatal(fault)
	}
	if err := g.set(one); err != nil {
		t.Fatal(err)
	}
	if fault := enter(); fault == nil {
		t.Error("a reload forgot what is in progress")
	}
}

// TestAddressesAreBounded: memory does not grow with the number of addresses, and none is
// forgotten while it has a call in progress.
func TestAddressesAreBounded(t *testing.T) {
	a := newAddresses(100)
	busy := netip.MustParseAddr("192.0.2.1")
	u, ok := a.enter(busy, aCall, 1)
	if !ok {
		t.Fatal("refused")
	}
	for i := range 100_000 {
		v, ok := a.enter(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), aCall, 1)
		if !ok {
			t.Fatalf("address %d refused", i)
		}
		v.leave(aCall)
	}
	if len(a.of) > 100 || a.of[busy] != u {
		t.Errorf("%d addresses, that of the call in progress among them: %v", len(a.of), a.of[busy] == u)
	}
	for i := range 99 {
		if _, ok := a.enter(netip.AddrFrom4([4]byte{11, 0, 0, byte(i)}), aCall, 1); !ok {
			t.Fatalf("address %d refused", i)
		}
	}
	if u, ok := a.enter(netip.MustParseAddr("192.0.2.9"), aCall, 1); ok || u != nil {
		t.Error("one more than there is room for")
	}
}
