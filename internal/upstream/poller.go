package upstream

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/netio"
	"github.com/truechimer/truechimer/internal/ntp"
)

const (
	// SourcesMax is how many sources a Poller takes.
	SourcesMax = 64

	// wakeMax is how long the loop sleeps at the most: its timer does not count the time
	// that the machine is asleep, and the local timeline does.
	wakeMax = 10 * time.Second

	lookupWait = 10 * time.Second // for an answer of the resolver

	// nistSpacing is AC-N1 of our standards, 4 s, with room for a network that holds up one
	// request more than the next.
	nistSpacing = 4500 * time.Millisecond
)

// Source is what is configured of one source. Two that are equal are the same.
type Source struct {
	Name string // for people
	Host string // host or host:port, as ParseHost reads it
	Site string
	NIST bool // NIST's rules hold: 4 s between two requests at the least
	Pool int  // how many of the name's addresses are asked; 0: one

	Burst            bool // a few requests in a row at the start
	Interleaved      bool // ask for interleaved mode
	MinPoll, MaxPoll int8 // log2 seconds

	ProviderError                    time.Duration
	Prefer, Trust, Require, NoSelect bool
}

// spacing returns what must lie between two requests.
func (s *Source) spacing() time.Duration {
	if s.NIST {
		return nistSpacing
	}
	return 0
}

// Sink takes what is measured. One goroutine calls it, that of Run; what it does may take
// no longer than the next request can wait.
type Sink interface {
	Open(discipline.SourceOptions) discipline.SourceID
	Close(discipline.SourceID)
	// Add returns the poll interval that would serve best.
	Add(discipline.SourceID, discipline.Sample) (poll time.Duration)
	// Reach is called after each poll, before Add.
	Reach(discipline.SourceID, uint8)
}

// Conn is a connected socket with a port of its own; netio.Client is one. Close, which
// ends Receive, may be called from any goroutine, and more than once.
type Conn interface {
	Send(b []byte) (at int64, err error)
	Receive(b []byte) (n int, at int64, stamped bool, err error)
	Departed() (at int64, ok bool)
	io.Closer
}

// PollerOptions are what a Poller needs of the world.
type PollerOptions struct {
	Sources []Source
	Sink    Sink
	// Timeline reads the local timeline and the wall clock at one instant. Concurrent.
	Timeline  func() (local time.Duration, unix int64)
	Scale     Scale // called by one goroutine
	Pivot     int64 // Unix nanoseconds: the later of build and last good time
	Precision ntp.Precision
	// Addresses returns this host's: a server that follows one of them is refused.
	Addresses func() []netip.Addr
	// Measured is told of every measurement that is handed to the Sink, before it is. Like the
	// Sink it is called by the goroutine of Run. Nil: nobody is.
	Measured func(Source, Measurement)
	Logger   *slog.Logger

	// The network; tests replace it. Nil: the real one.
	Resolve func(ctx context.Context, host string) ([]netip.AddrPort, error)
	Dial    func(server netip.AddrPort) (Conn, error)
}

// Poller asks all sources for the time, each in its own rhythm, and hands what it
// measures to the discipline. All its decisions are those of Association, Pool and Spacing:
// one goroutine, that of Run, owns them all, and one more for each request that is under way and
// each lookup carries bytes.
type Poller struct {
	opts     PollerOptions
	statuses atomic.Pointer[[]SourceStatus]
	wake     chan struct{}

	mu    sync.Mutex
	asked wishes

	// Of the goroutine of Run.
	sources  []*source
	owners   map[netip.AddrPort]*source // of every member's address
	spacing  *Spacing
	arrivals chan arrival
	lookups  chan lookup
	running  sync.WaitGroup
}

// wishes are what others want of the loop.
type wishes struct {
	sources []Source // nil: as they are
	burst   bool
	bad     map[discipline.SourceID]bool
}

// lookup is what a resolver answered.
type lookup struct {
	source *source
	addrs  []netip.AddrPort
	err    error
}

// New returns a Poller, which does nothing before Run. It fails where there are too many
// sources, or one whose host says nothing.
func New(opts PollerOptions) (*Poller, error) {
	if err := checkSources(opts.Sources); err != nil {
		return nil, err
	}
	if opts.Addresses == nil {
		opts.Addresses = func() []netip.Addr { return nil }
	}
	if opts.Measured == nil {
		opts.Measured = func(Source, Measurement) {}
	}
	if opts.Resolve == nil {
		opts.Resolve = Resolve
	}
	p := &Poller{
		opts:     opts,
		wake:     make(chan struct{}, 1),
		asked:    wishes{sources: append([]Source{}, opts.Sources...)},
		owners:   map[netip.AddrPort]*source{},
		spacing:  NewSpacing(),
		arrivals: make(chan arrival),
		lookups:  make(chan lookup),
	}
	if opts.Logger == nil {
		p.opts.Logger = slog.New(slog.DiscardHandler)
	}
	p.statuses.Store(new([]SourceStatus))
	return p, nil
}

// checkSources demands what New does.
func checkSources(sources []Source) error {
	if len(sources) > SourcesMax {
		return fmt.Errorf("poll %d sources: want %d at the most; take out some", len(sources), SourcesMax)
	}
	for _, s := range sources {
		if _, _, err := ParseHost(s.Host); err != nil {
			return fmt.Errorf("poll source %q: %w", s.Name, err)
		}
	}
	return nil
}

// Run polls until ctx ends, and returns when all that it has started has ended and its
// sources are closed. It is called once.
func (p *Poller) Run(ctx context.Context) {
	if p.opts.Dial == nil {
		if keep, err := netio.KeepStamping(); err != nil {
			p.opts.Logger.Warn("kernel timestamps may come late", "cause", err)
		} else {
			defer keep.Close()
		}
		p.opts.Dial = func(server netip.AddrPort) (Conn, error) { return netio.Dial(server) }
	}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		p.running.Wait()
		for _, s := range p.sources {
			p.closeSource(s)
		}
		p.sources = nil
		p.publish()
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := p.turn(ctx)
		p.publish()
		now, _ := p.opts.Timeline()
		timer.Reset(min(max(next-now, 0), wakeMax))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-p.wake:
		case a := <-p.arrivals:
			p.arrived(a)
		case l := <-p.lookups:
			p.looked(l)
		}
	}
}

// turn does what is due and returns when the next thing is.
func (p *Poller) turn(ctx context.Context) (next time.Duration) {
	now, _ := p.opts.Timeline()
	p.grant(now)
	next = now + wakeMax
	for _, s := range p.sources {
		if s.pool.LookupDue() <= now {
			p.look(ctx, s)
		}
		p.plan(s, now)
		next = min(next, s.pool.LookupDue())
		for _, m := range s.members {
			if p.poll(ctx, m, now) {
				next = now // its pool may want another
			}
			next = min(next, m.association.Due())
		}
	}
	return next
}

// poll asks one server, or gives up its reply, if that is due. It reports whether it gave up.
func (p *Poller) poll(ctx context.Context, m *member, now time.Duration) (lost bool) {
	a := m.association
	if a.Due() > now {
		return false
	}
	waiting, addr, spacing := a.Waiting(), m.addr.Addr(), m.source.spacing()
	if earliest := p.spacing.Earliest(addr, spacing); !waiting && earliest > now {
		a.Postpone(earliest)
		return false
	}
	request, ok := a.Request(now, chance())
	if ok {
		p.spacing.Asked(addr, now, spacing)
		p.ask(ctx, m, request)
		return false
	}
	p.finish(m, Outcome{Verdict: Lost}, nil, now)
	return true
}

// chance returns random numbers that nobody can guess.
func chance() (r Random) {
	var b [len(r) * 8]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program instead
	for i := range r {
		r[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return r
}

// plan gives a source the members that its pool wants.
func (p *Poller) plan(s *source, now time.Duration) {
	open, closed := s.pool.Plan(now, func(a netip.AddrPort) bool { return p.owners[a] != nil })
	for _, addr := range closed {
		i := slices.IndexFunc(s.members, func(m *member) bool { return m.addr == addr })
		p.opts.Logger.Info("server replaced", "source", s.Name, "server", addr, "cause", s.members[i].fault)
		p.closeMember(s.members[i])
		s.members = slices.Delete(s.members, i, i+1)
	}
	for _, addr := range open {
		s.members = append(s.members, p.openMember(s, addr, now))
		p.opts.Logger.Info("server chosen", "source", s.Name, "server", addr)
	}
	s.crowded = nil
	if len(s.members) == 0 && len(s.pool.addrs) > 0 {
		s.crowded = p.owners[s.pool.addrs[0]]
	}
}

// look asks the resolver.
func (p *Poller) look(ctx context.Context, s *source) {
	s.pool.Looking()
	p.running.Go(func() {
		lookCtx, cancel := context.WithTimeout(ctx, lookupWait)
		defer cancel()
		l := lookup{source: s}
		l.addrs, l.err = p.opts.Resolve(lookCtx, s.Host)
		select {
		case p.lookups <- l:
		case <-ctx.Done():
		}
	})
}

// looked takes the resolver's answer.
func (p *Poller) looked(l lookup) {
	now, _ := p.opts.Timeline()
	s := l.source
	if l.err == nil && len(l.addrs) == 0 {
		l.err = fmt.Errorf("look up %q: the name has no address", s.Host)
	}
	s.pool.Looked(l.addrs, now)
	was := s.lookupFault
	if s.lookupFault = ""; l.err != nil {
		s.lookupFault = l.err.Error()
	}
	if was == "" && s.lookupFault != "" {
		p.opts.Logger.Warn("lookup failed", "source", s.Name, "cause", l.err)
	}
}

// Reload replaces the list of sources. What is equal goes on as it is, but for servers
// that have forbidden us to ask, which are asked again: the operator will have asked theirs.
// It fails, and changes nothing, where New would. Never waits; concurrent.
func (p *Poller) Reload(sources []Source) error {
	if err := checkSources(sources); err != nil {
		return err
	}
	p.wish(func(w *wishes) { w.sources = append([]Source{}, sources...) })
	return nil
}

// Burst has a few requests follow each other at once, where a source allows it: after a
// suspend, or because an operator wants to know. Never waits; concurrent.
func (p *Poller) Burst() { p.wish(func(w *wishes) { w.burst = true }) }

// Bad tells that a server has been a falseticker for long. It is replaced if there
// is another to take its place. Never waits; concurrent.
func (p *Poller) Bad(id discipline.SourceID) {
	p.wish(func(w *wishes) {
		if w.bad == nil {
			w.bad = map[discipline.SourceID]bool{}
		}
		w.bad[id] = true
	})
}

// wish leaves a wish for the loop.
func (p *Poller) wish(change func(*wishes)) {
	p.mu.Lock()
	change(&p.asked)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default: // it will look soon enough
	}
}

// grant does what was wished for.
func (p *Poller) grant(now time.Duration) {
	p.mu.Lock()
	w := p.asked
	p.asked = wishes{}
	p.mu.Unlock()
	if w.sources != nil {
		p.reload(w.sources, now)
	}
	for _, s := range p.sources {
		for _, m := range s.members {
			if w.bad[m.id] {
				s.pool.Bad(m.addr)
			}
			if w.burst {
				m.association.Burst()
			}
		}
	}
}

// reload makes the sources those of the list, in its order.
func (p *Poller) reload(list []Source, now time.Duration) {
	old := p.sources
	p.sources = nil
	var fresh []int
	for _, want := range list {
		i := slices.IndexFunc(old, func(s *source) bool { return s.Source == want })
		if i < 0 {
			fresh = append(fresh, len(p.sources))
			p.sources = append(p.sources, nil)
			continue
		}
		p.sources = append(p.sources, old[i])
		old = slices.Delete(slices.Clone(old), i, i+1)
	}
	for _, s := range old {
		p.closeSource(s)
	}
	for k, want := range list {
		switch s := p.sources[k]; {
		case slices.Contains(fresh, k):
			p.sources[k] = newSource(want, now)
		default:
			for i, m := range s.members {
				if m.association.Stopped() {
					p.closeMember(m)
					s.members[i] = p.openMember(s, m.addr, now)
					s.pool.Good(m.addr)
				}
			}
		}
	}
}
