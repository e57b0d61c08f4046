// Package fleet observes other NTP hosts: which of them are outside their limit, which cannot be
// reached, and which were never seen. It asks them gently, judges their clocks against the
// served one, and journals what it finds.
package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/upstream"
)

const (
	// exchangeTimeout is how long an answer is waited for.
	exchangeTimeout = 3 * time.Second
	lookupTimeout   = 10 * time.Second
)

// Options says what is observed, and how. The functions may be called from several goroutines
// at a time.
type Options struct {
	Groups []Group
	// Clock returns served UTC, Unix nanoseconds, and its error bound; ok is false where none can
	// be claimed, and unix is then the best there is, 0 for nothing.
	Clock func() (unix int64, bound time.Duration, ok bool)
	// Journal takes what is journalled; it must not wait. Entries of a host come in order.
	Journal func(*rpc.JournalEntry)
	// Asked tells when a host asked this node last over NTP, Unix nanoseconds; nil: nobody knows.
	Asked func(netip.Addr) (unix int64, ok bool)
	// Own reports whether an address is this node's, which is not asked; nil: it is where an
	// interface of this machine has it and the port is NTP's.
	Own func(netip.AddrPort) bool
	// Exchange asks a host; nil: upstream.Exchange.
	Exchange func(ctx context.Context, host netip.AddrPort) (upstream.Measurement, error)
	// Lookup looks a name up; nil: upstream.Resolve.
	Lookup func(ctx context.Context, host string) ([]netip.AddrPort, error)
}

// Prober observes hosts. Its methods may be called concurrently.
type Prober struct {
	opts  Options
	began time.Time
	wake  chan struct{}

	asking   sync.Mutex // taken before mu: of those who ask for all hosts one waits for it, whatever their number
	mu       sync.Mutex
	roster   roster
	excluded map[string]*exclusion
}

// New returns a Prober that observes nothing before Run. It fails with all that is wrong with
// the groups.
func New(o Options) (*Prober, error) {
	if o.Exchange == nil {
		o.Exchange = upstream.Exchange
	}
	if o.Lookup == nil {
		o.Lookup = upstream.Resolve
	}
	if o.Asked == nil {
		o.Asked = func(netip.Addr) (int64, bool) { return 0, false }
	}
	p := &Prober{opts: o, began: time.Now(), wake: make(chan struct{}, 1)}
	return p, p.Set(o.Groups)
}

// own returns what reports whether an address is this node's.
func (p *Prober) own() func(netip.AddrPort) bool {
	if p.opts.Own != nil {
		return p.opts.Own
	}
	var mine []netip.Addr
	list, _ := net.InterfaceAddrs() // without it, none but what is known to be here
	for _, a := range list {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			mine = append(mine, prefix.Addr().Unmap())
		}
	}
	return func(a netip.AddrPort) bool {
		return a.Port() == upstream.Port && (a.Addr().IsLoopback() || slices.Contains(mine, a.Addr().WithZone("")))
	}
}

// Set puts other groups in place of those that there are. Hosts that stay in their group keep
// what is known of them. It fails with all that is wrong with the groups, and changes nothing
// then.
func (p *Prober) Set(groups []Group) error {
	groups = slices.Clone(groups) // hosts keep pointers into it
	all, excluded, err := expand(groups)
	if err != nil {
		return fmt.Errorf("observe hosts: %w", err)
	}
	own := p.own()
	all = slices.DeleteFunc(all, func(w wanted) bool { return w.addr.IsValid() && own(w.addr) })
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.roster.replace(newHosts(all, p.now())) {
		p.journal(h.endHour(0))
	}
	p.excluded = excluded
	for _, h := range p.roster.hosts {
		p.bar(h, own)
	}
	p.poke()
	return nil
}

// Run observes until ctx is over, and waits for what is under way. It is called once.
func (p *Prober) Run(ctx context.Context) {
	var flights sync.WaitGroup
	timer := time.NewTimer(0)
	for ctx.Err() == nil {
		p.mu.Lock()
		now := p.now()
		h, lookup, at := p.roster.next(now)
		if h != nil {
			p.roster.begin(h, now)
			addr := h.addr
			flights.Go(func() {
				if lookup {
					p.lookup(ctx, h)
				} else {
					p.probe(ctx, h, addr)
				}
				p.poke()
			})
		}
		p.mu.Unlock()
		if h != nil {
			continue
		}
		timer.Reset(at - now)
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-timer.C:
		}
	}
	timer.Stop()
	flights.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.roster.hosts {
		p.journal(h.endHour(0))
	}
}

// now returns the instant as the roster counts it.
func (p *Prober) now() time.Duration { return time.Since(p.began) }

// poke makes Run look again.
func (p *Prober) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *Prober) journal(e *rpc.JournalEntry) {
	if e != nil {
		p.opts.Journal(e)
	}
}

// lookup looks a host's name up.
func (p *Prober) lookup(ctx context.Context, h *host) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := p.opts.Lookup(ctx, h.name)
	own := p.own()
	fault := ""
	switch {
	case err != nil:
		fault = err.Error()
	case len(addrs) == 0:
		fault = "it has no address"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(addrs) > 0 && h.addr.IsValid() && !slices.Contains(addrs, h.addr) && !h.gone {
		p.journal(h.endHour(h.hour.start)) // what comes is of another address
	}
	p.roster.looked(h, p.now(), addrs, fault)
	if !h.gone {
		p.bar(h, own)
	}
}

// bar notes whether what a host's name means must not be asked.
func (p *Prober) bar(h *host, own func(netip.AddrPort) bool) {
	h.barred = h.addr.IsValid() && (own(h.addr) || p.excluded[h.group.Name].has(h.name, h.addr))
}

// probe asks a host once.
func (p *Prober) probe(ctx context.Context, h *host, addr netip.AddrPort) {
	asking, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	m, err := p.opts.Exchange(asking, addr)
	r := p.read()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && ctx.Err() != nil || h.gone {
		p.roster.drop(h)
		return
	}
	probed := &rpc.Probed{Group: h.group.Name, Host: addr.String(), Verdict: rpc.Verdict_VERDICT_UNKNOWN}
	var j judgement
	h.probes++
	if err != nil {
		h.lost++
		j = judgement{measured: measured{bound: -1, fault: fault(err)}, verdict: rpc.Verdict_VERDICT_UNKNOWN}
		h.last.refused = false
	} else {
		j = judge(measure(m, r), h.group.Profile)
		h.last = j
		h.answered = r.unix
		s := m.Sample
		probed.Stamps = []uint64{uint64(s.Origin), uint64(s.Receive), uint64(s.Transmit), uint64(s.Destination)}
		probed.OffsetNs, probed.BoundNs = int64(j.offset), uint64(max(j.bound, 0))
		probed.Stratum, probed.Refid, probed.Verdict = uint32(j.stratum), uint32(j.refid), j.verdict
	}
	probed.Fault = j.fault
	start := r.unix / int64(time.Second) / 3600 * 3600
	if h.hour.start != start {
		p.journal(h.endHour(start))
	}
	h.count(j, err == nil)
	p.journal(&rpc.JournalEntry{What: &rpc.JournalEntry_Probe{Probe: probed}})
	p.roster.end(h, err == nil && !j.refused)
}

// fault says in few words why there is no answer.
func fault(err error) string {
	if errors.Is(err, upstream.ErrNoReply) || errors.Is(err, context.DeadlineExceeded) {
		return "no answer"
	}
	return err.Error()
}

// read reads the clocks. The system clock is read on both sides of the served one, so that what
// lies between is known.
func (p *Prober) read() reading {
	before := time.Now().UnixNano()
	unix, bound, ok := p.opts.Clock()
	after := time.Now().UnixNano()
	if unix == 0 {
		return reading{unix: after}
	}
	half := (after - before) / 2
	return reading{
		unix: unix, ahead: time.Duration(unix - before - half), unsure: time.Duration(max(half, -half) + 1),
		bound: bound, claimed: ok,
	}
}

// Hosts returns the hosts in the order of groups and addresses: of one group, or of all for "";
// and where faulty, only those that are not within the warning level. Those that are this node
// itself are left out.
func (p *Prober) Hosts(group string, faulty bool) []*rpc.Host {
	p.asking.Lock()
	defer p.asking.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	list := []*rpc.Host{}
	for _, h := range p.ordered() {
		if group != "" && h.group.Name != group {
			continue
		}
		if v, _ := h.verdict(); !faulty || v != rpc.Verdict_VERDICT_OK {
			list = append(list, p.describe(h))
		}
	}
	return list
}

// ordered returns the hosts that are observed in the order of groups and addresses.
func (p *Prober) ordered() []*host {
	order := map[string]int{}
	var list []*host
	for _, h := range p.roster.hosts {
		if _, known := order[h.group.Name]; !known {
			order[h.group.Name] = len(order)
		}
		if !h.barred {
			list = append(list, h)
		}
	}
	slices.SortStableFunc(list, func(a, b *host) int {
		return cmp.Or(cmp.Compare(order[a.group.Name], order[b.group.Name]), a.addr.Compare(b.addr), cmp.Compare(a.name, b.name))
	})
	return list
}

func (p *Prober) describe(h *host) *rpc.Host {
	v, reason := h.verdict()
	d := &rpc.Host{
		Group: h.group.Name, Name: h.name, Verdict: v, Reason: reason, BoundNs: -1,
		LastAnswerUnixNs: h.answered, Probes: h.probes, Lost: h.lost,
		ToleranceNs: uint64(h.group.Profile.Tolerance),
	}
	if h.addr.IsValid() {
		d.Address = h.addr.String()
		if unix, ok := p.opts.Asked(h.addr.Addr()); ok {
			d.LastAskedUnixNs = unix
		}
	}
	if h.silent < silentMax && h.answered != 0 {
		d.OffsetNs, d.BoundNs, d.Stratum = int64(h.last.offset), int64(h.last.bound), uint32(h.last.stratum)
	}
	return d
}
