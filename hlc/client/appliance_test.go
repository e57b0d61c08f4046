package client_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/hlc/client"
	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// appliance is a store and an API over a clock of the test's.
type appliance struct {
	dir      string
	at       netip.AddrPort
	physical func() int64
	bound    time.Duration
	waits    bool // for the first synchronisation of its clock
	stop     func()
	issuer   *store.Issuer
}

// newAppliance starts an appliance over the host's clock, which ends with the test.
func newAppliance(t testing.TB) *appliance {
	t.Helper()
	a := &appliance{
		dir: t.TempDir(), at: netip.MustParseAddrPort("127.0.0.1:0"), bound: 100 * time.Microsecond,
		physical: func() int64 { return time.Now().UnixNano() },
	}
	a.start(t)
	t.Cleanup(func() { a.stop() })
	return a
}

// address is where it is, also after it was started again.
func (a *appliance) address() string { return a.at.String() }

type watched struct{ *store.Streams }

func (w watched) Watch(ctx context.Context, s store.Selection, from store.Start) (api.Watcher, error) {
	watcher, err := w.Streams.Watch(ctx, s, from)
	if err != nil {
		return nil, err
	}
	return watcher, nil
}

// start opens the store and serves.
func (a *appliance) start(t testing.TB) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	st, err := store.Open(a.dir, store.Options{})
	check(err)
	issuer, err := store.NewIssuer(st, store.IssuerOptions{
		Physical: a.physical,
		Bound:    func() (int64, time.Duration, error) { return a.physical(), a.bound, nil },
	})
	check(err)
	if !a.waits {
		check(issuer.Start())
	}
	a.issuer = issuer
	streams, err := store.NewStreams(st, issuer, store.StreamsOptions{Heartbeat: 100 * time.Millisecond})
	check(err)
	server, err := api.Listen(api.Options{Addrs: []netip.AddrPort{a.at}, Access: api.Access{Anonymous: api.RightsAll}, Logger: slog.New(slog.DiscardHandler)})
	check(err)
	a.at = server.Addrs()[0]
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(ctx, api.Services{Issuer: issuer, Streams: watched{streams}, Node: struct{ api.Node }{}})
	}()
	a.stop = sync.OnceFunc(func() {
		cancel()
		for _, err := range []error{<-served, streams.Close(), issuer.Close(), st.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
}

// newClient returns a client that ends with the test.
func newClient(t testing.TB, o client.Options) *client.Client {
	t.Helper()
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// clientOf returns a client of an appliance.
func clientOf(t testing.TB, a *appliance) *client.Client {
	t.Helper()
	return newClient(t, client.Options{Addresses: []string{a.address()}})
}

// must returns a timestamp that there has to be.
func must(t testing.TB, ts hlc.Timestamp, err error) hlc.Timestamp {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return ts
}

// rebase brings the appliance's clock back to its physical time.
func (a *appliance) rebase() error {
	_, err := a.issuer.Rebase()
	return err
}

// exampleTB is what an example has for a test.
type exampleTB struct {
	testing.TB
	dir  string
	ends []func()
}

func (e *exampleTB) Helper() {}

func (e *exampleTB) TempDir() string {
	dir, err := os.MkdirTemp("", "truechimer-example")
	if err != nil {
		panic(err)
	}
	e.dir = dir
	return dir
}

func (e *exampleTB) Cleanup(f func()) { e.ends = append(e.ends, f) }

func (e *exampleTB) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (e *exampleTB) Error(args ...any) { panic(fmt.Sprint(args...)) }

func (e *exampleTB) end() {
	for _, f := range e.ends {
		f()
	}
	os.RemoveAll(e.dir)
}
