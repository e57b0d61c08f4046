package client_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/hlc/client"
)

// TestNow: what many callers get is unique, rises for each of them, and is above what was
// seen before its call.
func TestNow(t *testing.T) {
	a := newAppliance(t)
	c := clientOf(t, a)
	type span struct{ first, last hlc.Timestamp }
	var mu sync.Mutex
	var all []span
	var callers sync.WaitGroup
	for n := range 64 {
		callers.Go(func() {
			last := c.Seen()
			for i := range 200 {
				count := 1 + (n+i)%7*(i%3)
				first, err := c.NowN(t.Context(), count)
				if err != nil || first <= last {
					t.Errorf("after %d: %d, %v", last, first, err)
					return
				}
				last = first + hlc.Timestamp(count) - 1
				mu.Lock()
				all = append(all, span{first, last})
				mu.Unlock()
				if c.Seen() < last {
					t.Error("what was issued was not seen")
				}
			}
		})
	}
	callers.Wait()
	slices.SortFunc(all, func(a, b span) int { return int(int64(a.first) - int64(b.first)) })
	for i := 1; i < len(all); i++ {
		if all[i].first <= all[i-1].last {
			t.Fatalf("%v and %v overlap", all[i-1], all[i])
		}
	}
	for _, n := range []int{0, -1, hlc.CountMax + 1} {
		if _, err := c.NowN(t.Context(), n); !errors.Is(err, hlc.ErrCount) {
			t.Errorf("%d: %v", n, err)
		}
	}
	// The largest, several at once: they do not fit in one batch.
	for range 4 {
		callers.Go(func() { _, err := c.NowN(t.Context(), hlc.CountMax); must(t, 0, err) })
	}
	callers.Wait()
}

// TestObserve: what was observed is behind, and one that is an hour ahead moves nobody's
// clock and spoils nobody's call.
func TestObserve(t *testing.T) {
	a := newAppliance(t)
	c := clientOf(t, a)
	now, err := c.Now(t.Context())
	must(t, now, err)
	ahead := now + hlc.Timestamp(300*time.Millisecond)
	ts, err := c.Observe(t.Context(), ahead)
	if must(t, ts, err) <= ahead {
		t.Errorf("observed %d, got %d", ahead, ts)
	}
	hour := now + hlc.Timestamp(time.Hour)
	var callers sync.WaitGroup
	for n := range 40 {
		callers.Go(func() {
			for range 50 {
				if n%4 == 0 {
					_, err := c.Observe(t.Context(), hour)
					var lead *hlc.LeadError
					if !errors.As(err, &lead) || !lead.Remote || lead.MaxLead != time.Second || lead.Lead < 50*time.Minute {
						t.Errorf("an hour ahead: %v", err)
					}
					continue
				}
				if ts, err := c.Observe(t.Context(), 1); err != nil || ts >= hour {
					t.Errorf("beside it: %d, %v", ts, err)
				}
			}
		})
	}
	callers.Wait()
	if c.Seen() >= hour {
		t.Error("a refused timestamp was seen")
	}
}

// TestPast: calls are answered above the past of their context and move it on; a past that
// is refused fails its own request alone.
func TestPast(t *testing.T) {
	a := newAppliance(t)
	c := clientOf(t, a)
	first, err := c.Now(t.Context())
	must(t, first, err)
	for name, call := range map[string]func(context.Context) (hlc.Timestamp, error){
		"now":     c.Now,
		"several": func(ctx context.Context) (hlc.Timestamp, error) { return c.NowN(ctx, 5) },
		"observe": func(ctx context.Context) (hlc.Timestamp, error) { return c.Observe(ctx, 1) },
		"commit":  c.Commit,
		"append": func(ctx context.Context) (hlc.Timestamp, error) {
			r, err := c.Append(ctx, client.Batch{Entries: []client.Entry{{Stream: "s"}}})
			return r.Timestamp, err
		},
	} {
		past := c.Seen() + hlc.Timestamp(20*time.Millisecond)
		ctx := client.WithPast(t.Context(), past)
		ts, err := call(ctx)
		if must(t, ts, err) <= past || client.Past(ctx) < ts {
			t.Errorf("%s: after %d came %d, and the past is %d", name, past, ts, client.Past(ctx))
		}
		bad := client.WithPast(t.Context(), first+hlc.Timestamp(time.Hour))
		if _, err := call(bad); !errors.Is(err, hlc.ErrLead) {
			t.Errorf("%s an hour ahead: %v", name, err)
		}
	}
	past := c.Seen() + hlc.Timestamp(20*time.Millisecond)
	if i, err := c.Interval(client.WithPast(t.Context(), past)); err != nil || i.Latest <= past {
		t.Errorf("interval after %d: %v, %v", past, i, err)
	}
}

// TestInterval: intervals contain the time, a wait ends behind it, and commits of two clients
// are in real-time order.
func TestInterval(t *testing.T) {
	a := newAppliance(t)
	c, other := clientOf(t, a), clientOf(t, a)
	before := hlc.FromUnix(time.Now().UnixNano())
	i, err := c.Interval(t.Context())
	after := hlc.CeilUnix(time.Now().UnixNano())
	if err != nil || i.Earliest > after || i.Latest < before || i.Width() < 2*a.bound {
		t.Errorf("between %d and %d: %v, %v", before, after, i, err)
	}
	ahead := i.Latest + hlc.Timestamp(50*time.Millisecond)
	i, err = c.WaitUntil(t.Context(), ahead)
	if err != nil || i.Earliest <= ahead || time.Now().UnixNano() < int64(ahead) {
		t.Errorf("waited for %d: %v, %v", ahead, i, err)
	}
	var last hlc.Timestamp
	for range 20 {
		for _, c := range []*client.Client{c, other} {
			ts, err := c.Commit(t.Context())
			if must(t, ts, err) <= last || int64(ts) >= time.Now().UnixNano() {
				t.Errorf("committed %d after %d", ts, last)
			}
			last = ts
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.WaitUntil(ctx, last+hlc.Timestamp(time.Hour)); !errors.Is(err, client.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a wait of an hour: %v", err)
	}
}

// TestUnreachable: where nobody answers, a call ends in time, and says why; so it does where what
// answers does not answer.
func TestUnreachable(t *testing.T) {
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { deaf.Close() })
	// Port 1 is nobody's; one that was free a moment ago may be somebody's soon.
	for name, at := range map[string]string{"nobody": "127.0.0.1:1", "deaf": deaf.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, client.Options{Addresses: []string{at}, Timeout: 300 * time.Millisecond})
			for what, call := range map[string]func(context.Context) (hlc.Timestamp, error){"now": c.Now, "commit": c.Commit} {
				start := time.Now()
				_, err := call(t.Context())
				if !errors.Is(err, client.ErrUnreachable) || !strings.Contains(err.Error(), at) {
					t.Errorf("%s: %v", what, err)
				}
				if took := time.Since(start); took < 250*time.Millisecond || took > 5*time.Second {
					t.Errorf("%s took %v", what, took)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
				if _, err := call(ctx); !errors.Is(err, client.ErrUnreachable) {
					t.Errorf("%s with a deadline: %v", what, err)
				}
				cancel()
				// One that has more time than a batch takes it.
				start = time.Now()
				ctx, cancel = context.WithTimeout(t.Context(), 700*time.Millisecond)
				if _, err := call(ctx); !errors.Is(err, client.ErrUnreachable) || time.Since(start) < 600*time.Millisecond {
					t.Errorf("%s with a long deadline: %v after %v", what, err, time.Since(start))
				}
				cancel()
			}
			if _, err := c.Append(t.Context(), client.Batch{Entries: []client.Entry{{Stream: "s"}}}); name == "nobody" != errors.Is(err, client.ErrUnreachable) || name == "deaf" != errors.Is(err, client.ErrUncertain) {
				t.Errorf("append: %v", err)
			}
		})
	}
}

// TestSeveral: the first address that answers is used, and the next one when it is gone; and
// time does not go back between them.
func TestSeveral(t *testing.T) {
	ahead, behind := newAppliance(t), newAppliance(t)
	real := behind.physical
	behind.stop()
	behind.physical = func() int64 { return real() - int64(500*time.Millisecond) }
	behind.start(t)
	c := newClient(t, client.Options{Addresses: []string{ahead.address(), behind.address()}})
	first, err := c.Now(t.Context())
	must(t, first, err)
	ahead.stop()
	second, err := c.Now(t.Context())
	if must(t, second, err) <= first {
		t.Errorf("%d after %d", second, first)
	}
	if real := hlc.FromUnix(behind.physical()); second.Sub(real) < 100*time.Millisecond {
		t.Error("it was not the one that is behind that answered")
	}
	r, err := c.Append(t.Context(), client.Batch{Entries: []client.Entry{{Stream: "s"}}})
	if err != nil || r.Timestamp <= second {
		t.Errorf("append: %v, %v", r, err)
	}
}

// TestBackwards: an appliance that forgot what it issued is found out, by every call. (Its
// directory is another one, which a real appliance would not survive either.)
func TestBackwards(t *testing.T) {
	a := newAppliance(t)
	c := clientOf(t, a)
	first, err := c.Now(t.Context())
	must(t, first, err)
	liar := newLiar(t, first-1)
	c2 := newClient(t, client.Options{Addresses: []string{a.address(), liar}})
	first, err = c2.Now(t.Context())
	must(t, first, err)
	a.stop()
	for name, call := range map[string]func(context.Context) (hlc.Timestamp, error){
		"now": c2.Now, "commit": c2.Commit,
		"observe": func(ctx context.Context) (hlc.Timestamp, error) { return c2.Observe(ctx, 1) },
		"append": func(ctx context.Context) (hlc.Timestamp, error) {
			r, err := c2.Append(ctx, client.Batch{Entries: []client.Entry{{Stream: "s"}}})
			return r.Timestamp, err
		},
		"interval": func(ctx context.Context) (hlc.Timestamp, error) { i, err := c2.Interval(ctx); return i.Latest, err },
	} {
		ts, err := call(t.Context())
		var back *client.BackwardsError
		if !errors.As(err, &back) || !errors.Is(err, client.ErrBackwards) || back.Got > first || back.Seen < first || ts != 0 {
			t.Errorf("%s: %d, %v", name, ts, err)
		}
	}
	if c2.Seen() != first {
		t.Error("what was refused was seen")
	}
}

// TestClose: a client that was closed says so, also to those who wait.
func TestClose(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	c := newClient(t, client.Options{Addresses: []string{nobody.Addr().String()}, Timeout: time.Minute})
	waits := make(chan error, 2)
	go func() { _, err := c.Now(t.Context()); waits <- err }()
	go func() { _, err := c.Commit(t.Context()); waits <- err }()
	time.Sleep(20 * time.Millisecond) // they may wait by then; it holds if not
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		select {
		case err := <-waits:
			if !errors.Is(err, client.ErrClosed) {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Fatal("a call waits for a client that was closed")
		}
	}
	if _, err := c.Now(t.Context()); !errors.Is(err, client.ErrClosed) {
		t.Error(err)
	}
}

// TestOptions: what makes no sense is refused with a sentence.
func TestOptions(t *testing.T) {
	for says, o := range map[string]client.Options{
		"Addresses is empty":     {},
		"want HOST:PORT":         {Addresses: []string{"ftp://a"}},
		"address \"\"":           {Addresses: []string{""}},
		"https://HOST:PORT":      {Addresses: []string{"http://a/b"}},
		"Timeout is -1":          {Addresses: []string{"a:1"}, Timeout: -1},
		"in the clear":           {Addresses: []string{"192.0.2.1:8123"}, Token: "t"},
		"use https:// or set To": {Addresses: []string{"localhost:1", "a.example:1"}, Token: "t"},
	} {
		if _, err := client.New(o); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), ",", ""), strings.ReplaceAll(says, ",", "")) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, o := range []client.Options{
		{Addresses: []string{"127.0.0.1:1", "[::1]:1", "localhost:2"}, Token: "t"},
		{Addresses: []string{"https://a.example:1"}, Token: "t"},
		{Addresses: []string{"192.0.2.1:8123"}, Token: "t", TokenInClear: true},
	} {
		newClient(t, o)
	}
}

// TestRefused: an error of the appliance that no wait mends comes at once, with its code.
func TestRefused(t *testing.T) {
	a := newAppliance(t)
	c := clientOf(t, a)
	start := time.Now()
	_, err := c.Append(t.Context(), client.Batch{})
	if connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Error(err)
	}
	if time.Since(start) > time.Second {
		t.Error("it was tried again")
	}
}

// TestNotYet: an appliance whose clock is not synchronised yet is waited for, as long as a call
// has time; another address is better.
func TestNotYet(t *testing.T) {
	a := newAppliance(t)
	a.stop()
	a.waits = true
	a.start(t)
	impatient := newClient(t, client.Options{Addresses: []string{a.address()}, Timeout: 100 * time.Millisecond})
	for name, call := range map[string]func(context.Context) (hlc.Timestamp, error){
		"now": impatient.Now, "commit": impatient.Commit,
		"append": func(ctx context.Context) (hlc.Timestamp, error) {
			r, err := impatient.Append(ctx, client.Batch{Entries: []client.Entry{{Stream: "s"}}})
			return r.Timestamp, err
		},
	} {
		start := time.Now()
		_, err := call(t.Context())
		if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "waitsync") || time.Since(start) < 50*time.Millisecond {
			t.Errorf("%s: %v after %v", name, err, time.Since(start))
		}
	}
	patient := clientOf(t, a)
	time.AfterFunc(150*time.Millisecond, func() {
		if err := a.issuer.Start(); err != nil {
			t.Error(err)
		}
	})
	ts, err := patient.Now(t.Context())
	must(t, ts, err)

	b := newAppliance(t)
	b.stop()
	b.waits = true
	b.start(t)
	both := newClient(t, client.Options{Addresses: []string{b.address(), a.address()}})
	start := time.Now()
	ts, err = both.Now(t.Context())
	if must(t, ts, err); time.Since(start) > 2*time.Second {
		t.Errorf("after %v", time.Since(start))
	}
}
