package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/upstream"
)

// network is hosts that answer, or not.
type network struct {
	mu      sync.Mutex
	began   time.Time
	asked   map[string][]time.Duration // when, by address
	all     []time.Duration
	ahead   map[string]time.Duration // of hosts that are not right
	silent  map[string]bool
	faults  map[string]error
	names   map[string][]string
	lookups []time.Duration
	takes   time.Duration
	flying  int
	most    int // under way at a time
	journal []*rpc.JournalEntry
	blind   bool // the served clock cannot be claimed
}

func newNetwork() *network {
	return &network{
		began: time.Now(), asked: map[string][]time.Duration{}, ahead: map[string]time.Duration{},
		silent: map[string]bool{}, faults: map[string]error{}, names: map[string][]string{}, takes: time.Millisecond,
	}
}

func (n *network) exchange(ctx context.Context, host netip.AddrPort) (upstream.Measurement, error) {
	key := host.Addr().String()
	n.mu.Lock()
	at := time.Since(n.began)
	n.asked[key] = append(n.asked[key], at)
	n.all = append(n.all, at)
	n.flying++
	n.most = max(n.most, n.flying)
	silent, ahead, fault := n.silent[key], n.ahead[key], n.faults[key]
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		n.flying--
		n.mu.Unlock()
	}()
	if silent {
		<-ctx.Done()
		return upstream.Measurement{}, fmt.Errorf("%w from %v", upstream.ErrNoReply, host)
	}
	select {
	case <-time.After(n.takes):
	case <-ctx.Done():
		return upstream.Measurement{}, upstream.ErrNoReply
	}
	m := answer(time.Now(), ahead, n.takes)
	m.Fault = fault
	return m, nil
}

func (n *network) lookup(_ context.Context, name string) ([]netip.AddrPort, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lookups = append(n.lookups, time.Since(n.began))
	var list []netip.AddrPort
	for _, a := range n.names[name] {
		list = append(list, netip.AddrPortFrom(netip.MustParseAddr(a), 123))
	}
	if list == nil {
		return nil, errors.New("no such host")
	}
	return list, nil
}

// times returns how often a host was asked.
func (n *network) times(host string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.asked[host])
}

// entries returns what was journalled.
func (n *network) entries() []*rpc.JournalEntry {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.journal)
}

func (n *network) options(groups ...Group) Options {
	return Options{
		Groups: groups, Exchange: n.exchange, Lookup: n.lookup,
		Clock: func() (int64, time.Duration, bool) {
			n.mu.Lock()
			defer n.mu.Unlock()
			return time.Now().UnixNano(), time.Millisecond, !n.blind
		},
		Journal: func(e *rpc.JournalEntry) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.journal = append(n.journal, e)
		},
		Own: func(a netip.AddrPort) bool { return a.Addr().String() == "10.9.9.9" },
	}
}

// run observes for some time and then what follows is done, in a bubble. Run has ended after it.
func run(t *testing.T, n *network, o Options, steps func(p *Prober)) *Prober {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	steps(p)
	cancel()
	running.Wait()
	if p.roster.flights != 0 {
		t.Errorf("%d flights are taken for open after the end", p.roster.flights)
	}
	if n.flying != 0 {
		t.Errorf("%d exchanges go on after the end", n.flying)
	}
	return p
}

func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
