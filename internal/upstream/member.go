package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/leap"
	"github.com/truechimer/truechimer/internal/netio"
	"github.com/truechimer/truechimer/internal/ntp"
)

const (
	// A server that was heard is silent for good after as many polls without a good reply as
	// reach remembers; one that never was, after half a burst.
	silentMax  = 8
	unheardMax = 4

	// datagramsMax bounds what is read in answer to one request.
	datagramsMax = 16

	// stampAgeMax is how long before it is read a stamp was taken at the most. What
	// is older, or in the future, says that the wall clock was set in between.
	stampAgeMax = time.Second
)

// source is a Source that is polled. It belongs to the goroutine of Run.
type source struct {
	Source
	pool        *Pool
	members     []*member
	lookupFault string  // why the last lookup failed
	crowded     *source // who has its address already, where it has no member
}

// member is a server of a source.
type member struct {
	source      *source
	addr        netip.AddrPort
	id          discipline.SourceID
	association *Association
	inquiry     *inquiry // nil: none is under way
	bad         int      // polls without a good reply, in a row
	heard       bool     // a good reply has ever come

	// For the status.
	heardAt time.Duration
	header  ntp.Header // of the last reply that was no stranger's
	last    Measurement
	sampled bool // last is valid
	fault   string
}

// inquiry is a request that is under way: a goroutine with a socket of its own.
type inquiry struct {
	member *member
	cancel context.CancelFunc
}

// arrival is what an inquiry's goroutine tells the loop: a datagram, or the end.
type arrival struct {
	inquiry  *inquiry
	sent     Stamp
	datagram []byte
	at       Stamp
	failed   Verdict // Unsent or Refused, where err is not nil
	err      error
}

func newSource(s Source, now time.Duration) *source {
	var literal netip.AddrPort
	if name, port, err := ParseHost(s.Host); err == nil {
		if addr, err := netip.ParseAddr(name); err == nil {
			literal = netip.AddrPortFrom(addr.Unmap(), port)
		}
	}
	return &source{Source: s, pool: NewPool(s.Pool, literal, now)}
}

// openMember begins to poll a server.
func (p *Poller) openMember(s *source, addr netip.AddrPort, now time.Duration) *member {
	burst := 0
	if s.Burst {
		burst = BurstDefault
	}
	p.owners[addr] = s
	host, _, _ := ParseHost(s.Host)
	_, smears := leap.Smears(host)
	id := p.opts.Sink.Open(discipline.SourceOptions{
		Smears: smears,
		Name:   s.Name, RefID: ntp.RefIDOf(addr.Addr()).Bytes(), ProviderError: s.ProviderError,
		Prefer: s.Prefer, Trust: s.Trust, Require: s.Require, NoSelect: s.NoSelect,
	})
	return &member{source: s, addr: addr, id: id, association: NewAssociation(AssociationOptions{
		MinPoll: s.MinPoll, MaxPoll: s.MaxPoll, Burst: burst, Interleaved: s.Interleaved, SpacingMin: s.spacing(),
		Precision: p.opts.Precision, Pivot: p.opts.Pivot, Scale: p.opts.Scale,
		Loop: func(id ntp.RefID) bool { return ownRefID(id, addr.Addr(), p.opts.Addresses()) },
	}, now, chance()[0])}
}

// closeMember stops polling a server.
func (p *Poller) closeMember(m *member) {
	m.end()
	delete(p.owners, m.addr)
	p.opts.Sink.Close(m.id)
}

// closeSource stops polling a source.
func (p *Poller) closeSource(s *source) {
	for _, m := range s.members {
		p.closeMember(m)
	}
	s.members = nil
}

// end ends what is under way.
func (m *member) end() {
	if m.inquiry != nil {
		m.inquiry.cancel()
		m.inquiry = nil
	}
}

// ownRefID reports whether a server with this reference identifier follows this host, which
// has the addresses own. A loopback address is ours only where the server is on this
// host: elsewhere it is that of the server's.
// Source: STANDARDS, AC-S12.
func ownRefID(id ntp.RefID, server netip.Addr, own []netip.Addr) bool {
	if slices.ContainsFunc(own, func(a netip.Addr) bool { return !a.IsLoopback() && ntp.RefIDOf(a) == id }) {
		return true
	}
	loopback := id == ntp.RefIDOf(netip.IPv6Loopback()) || id == ntp.RefIDOf(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	here := server.IsLoopback() || slices.ContainsFunc(own, func(a netip.Addr) bool { return a.Unmap().WithZone("") == server.WithZone("") })
	return loopback && here
}

// ask sends a request from a fresh socket, in a goroutine that tells what comes back.
func (p *Poller) ask(ctx context.Context, m *member, request ntp.Header) {
	ctx, cancel := context.WithCancel(ctx)
	i := &inquiry{member: m, cancel: cancel}
	m.inquiry = i
	tell := func(a arrival) bool {
		a.inquiry = i
		select {
		case p.arrivals <- a:
			return true
		case <-ctx.Done():
			return false
		}
	}
	p.running.Go(func() {
		defer cancel()
		p.inquire(ctx, m.addr, request.Append(nil), tell)
	})
}

// inquire sends a request and tells what comes back, until ctx ends or nobody listens.
func (p *Poller) inquire(ctx context.Context, server netip.AddrPort, request []byte, tell func(arrival) bool) {
	conn, err := p.opts.Dial(server)
	if err != nil {
		tell(arrival{failed: Unsent, err: err})
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	local, unix := p.opts.Timeline()
	read, err := conn.Send(request)
	if age := read - unix; age < 0 || age > int64(stampAgeMax) {
		read = unix // the wall clock was set in between
	}
	sent := stampAt(local, unix, read, false)
	if err != nil {
		tell(arrival{sent: sent, failed: Unsent, err: err})
		return
	}
	var b [netio.DatagramMax]byte
	for range datagramsMax {
		n, at, stamped, err := conn.Receive(b[:])
		if err != nil {
			tell(arrival{sent: sent, failed: Refused, err: err})
			return
		}
		nowLocal, nowUnix := p.opts.Timeline()
		if age := nowUnix - at; age < 0 || age > int64(stampAgeMax) {
			at, stamped = nowUnix, false
		}
		if left, ok := conn.Departed(); ok && left >= read && left-read <= int64(stampAgeMax) {
			sent = stampAt(local, unix, left, true)
		}
		if !tell(arrival{sent: sent, datagram: slices.Clone(b[:n]), at: stampAt(nowLocal, nowUnix, at, stamped)}) {
			return
		}
	}
}

// stampAt returns the stamp of what the wall clock stamped with stamp, by both clocks
// as read beside it.
func stampAt(local time.Duration, unix, stamp int64, kernel bool) Stamp {
	return Stamp{Local: local - time.Duration(unix-stamp), Unix: stamp, Kernel: kernel}
}

// arrived takes what an inquiry tells.
func (p *Poller) arrived(a arrival) {
	m := a.inquiry.member
	if m.inquiry != a.inquiry {
		return // it was given up
	}
	now, _ := p.opts.Timeline()
	m.association.Sent(a.sent)
	if a.err != nil {
		m.association.Fail(a.failed)
		p.finish(m, Outcome{Verdict: a.failed}, a.err, now)
		return
	}
	if o := m.association.Reply(a.datagram, a.at); o.Verdict.Final() {
		p.finish(m, o, nil, now)
	}
}

// finish draws the conclusions from a poll that is over.
func (p *Poller) finish(m *member, o Outcome, cause error, now time.Duration) {
	m.end()
	a := m.association
	if o.Verdict < Lost {
		m.header = o.Header
	}
	p.opts.Sink.Reach(m.id, a.Reach())
	if o.Verdict.Good() {
		p.good(m, o, now)
		return
	}
	m.bad++
	was := m.fault
	if m.fault = faultText(m.addr, o, cause); o.Verdict == Kissed && m.fault != was && !a.Stopped() {
		p.opts.Logger.Warn("kiss code", "source", m.source.Name, "server", m.addr, "cause", m.fault)
	}
	silent := silentMax
	if !m.heard {
		silent = unheardMax
	}
	if a.Stopped() {
		p.opts.Logger.Warn("server stopped", "source", m.source.Name, "server", m.addr, "cause", m.fault)
		m.source.pool.Bad(m.addr)
		return
	}
	if m.bad == silent {
		p.opts.Logger.Warn("server unreachable", "source", m.source.Name, "server", m.addr, "cause", m.fault)
	}
	if m.bad >= silent {
		m.source.pool.Silent(m.addr)
	}
}

// good draws the conclusions from a good reply.
func (p *Poller) good(m *member, o Outcome, now time.Duration) {
	if !m.heard || m.bad >= silentMax {
		p.opts.Logger.Info("server reachable", "source", m.source.Name, "server", m.addr)
	}
	m.heard, m.bad, m.fault, m.heardAt = true, 0, "", now
	m.source.pool.Good(m.addr)
	if o.Verdict != Measured {
		return
	}
	m.last, m.sampled = o.Measurement, true
	m.last.Server = m.addr
	p.opts.Measured(m.source.Source, m.last)
	m.association.SetPoll(p.opts.Sink.Add(m.id, o.Sample))
}

// faultText says why a poll brought nothing, and what to do where something can be done.
func faultText(server netip.AddrPort, o Outcome, cause error) string {
	switch o.Verdict {
	case Lost:
		return fmt.Sprintf("no reply from %v in %v: check the way to it, and that UDP passes", server, replyWait)
	case Unsent:
		return fmt.Sprintf("send to %v: %v", server, cause)
	case Refused:
		if errors.Is(cause, syscall.ECONNREFUSED) {
			return fmt.Sprintf("nothing serves NTP at %v: check the address and the port", server)
		}
		return fmt.Sprintf("receive from %v: %v", server, cause)
	case Kissed:
		code := o.Header.RefID.Text(0)
		switch o.Header.RefID {
		case ntp.KissDENY, ntp.KissRSTR:
			return fmt.Sprintf("%v forbids us to ask (%s), and is not asked any more: take another server, or ask its operator and reload", server, code)
		case ntp.KissRATE:
			return fmt.Sprintf("%v wants to be asked less often (RATE), and is: raise min_poll", server)
		}
		return fmt.Sprintf("%v sent the kiss code %s", server, code)
	case Unsynchronised:
		return fmt.Sprintf("%v says that it is not synchronised", server)
	case Distant:
		return fmt.Sprintf("%v says that it is 16 s or more away from its reference clock", server)
	case Looped:
		return fmt.Sprintf("%v follows this host (its reference identifier is %s): a clock that follows its own client proves nothing; take another server", server, o.Header.RefID.Text(o.Header.Stratum))
	case Invalid:
		return fmt.Sprintf("the reply of %v lacks a timestamp", server)
	case Reset:
		return fmt.Sprintf("%v says that its clock was set after it sent the reply", server)
	case Implausible:
		return fmt.Sprintf("the reply of %v left before the request came, or took less than no time", server)
	}
	return fmt.Sprintf("the reply of %v was %v", server, o.Verdict)
}
