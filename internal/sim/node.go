package sim

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/leap"
	"github.com/truechimer/truechimer/internal/sysclock"
	"github.com/truechimer/truechimer/internal/upstream"
)

// Site is where a scenario happens. The zero value of everything in it is the default.
type Site struct {
	Start time.Time
	Leap  *LeapSecond // nil: none
	Nodes []Node
}

// Node is one appliance.
type Node struct {
	Oscillator Oscillator
	ClockError time.Duration // what its wall clock shows at the start less UTC
	Virtual    bool          // a clock of its own instead of the kernel's
	Servers    []Server
	Pools      []Pool // the servers of these are asked when the pool says so

	MinSources  int           // 0: 1
	ErrorLimit  time.Duration // 0: 1 s
	NoLeapTable bool          // it knows of leap seconds only what its servers say
	KnownRate   float64       // from a drift file
	KnownSkew   float64       // 0: there was none
	Steps       []ClockStep   // by another hand
	Sleeps      []Sleep
	Pauses      []Pause
	Rivals      []Rival
}

// ClockStep is a step of the system clock by another hand.
type ClockStep struct {
	At, By time.Duration // since the start; positive: forward
}

// Rival is another program that sets the frequency of the kernel's clock.
type Rival struct {
	At  time.Duration
	PPM float64
}

// Sleep is a suspend of the machine. It wakes up knowing how long it slept, but for Unknown.
type Sleep struct {
	At, For, Unknown time.Duration
}

// Pause stops a virtual machine, which does not notice.
type Pause struct {
	At, For time.Duration
}

// node is a Node that lives.
type node struct {
	*Node
	run     *run
	index   int
	random  *rand.Rand
	machine *machine
	tap     tap

	scale      *leap.Scale
	discipline *discipline.Discipline
	driver     *sysclock.Disciplined
	peers      []*peer
	pools      []*pool
	recorder   recorder

	wake     int64 // true time at which a stopped machine goes on
	sleeping bool
	updated  uint64          // estimates with something new that were seen so far
	snapshot *clock.Snapshot // nil before the first Poll
}

// peer is one configured server of a node.
type peer struct {
	server      server
	association *upstream.Association // nil while it is not configured
	id          discipline.SourceID
	plan        uint32 // number of the plan for its next act; older ones are void

	pool  *pool         // that it is a member of; nil: none
	bad   int           // polls without a good reply, in a row
	wrong time.Duration // since when it has been a falseticker; Never: it is none
}

func newNode(r *run, index int, options *Node) *node {
	n := &node{Node: options, run: r, index: index, random: stream(r.seed, index, streamNode)}
	n.recorder.begin(r.scenario)
	n.recorder.updates = n.updates
	o := newOscillator(options.Oscillator, stream(r.seed, index, streamOscillator), r.start)
	n.machine = newMachine(r, o, options.ClockError)
	n.machine.stepped = func() { r.queue.push(event{at: r.now + int64(noticeTime), kind: polls, a: int32(index), b: 1}) }
	n.scale = newScale(r, options)
	n.discipline = discipline.New(discipline.Options{Frequency: options.KnownRate, Skew: options.KnownSkew})
	n.driver = newDriver(n)
	for i := range options.Servers {
		n.peers = append(n.peers, &peer{
			server: server{Server: &options.Servers[i], run: r, random: stream(r.seed, index, streamServer+i)},
			wrong:  Never,
		})
	}
	for i := range options.Pools {
		now := time.Duration(n.machine.local())
		n.pools = append(n.pools, &pool{&options.Pools[i], n, upstream.NewPool(options.Pools[i].Want, netip.AddrPort{}, now)})
	}
	for i := range options.Servers {
		pooled := slices.ContainsFunc(n.pools, func(p *pool) bool { return slices.Contains(p.Servers, i) })
		if !pooled {
			n.begin(i)
		}
	}
	n.arrange()
	r.queue.push(event{at: r.start, kind: polls, a: int32(index)})
	return n
}

// arrange puts what will happen to the machine on the queue.
func (n *node) arrange() {
	r := n.run
	for _, s := range n.Steps {
		r.happen(r.at(s.At), func() {
			n.machine.look()
			n.machine.jump(int64(s.By))
			n.machine.kernel.foreign += s.By
		})
	}
	for _, s := range n.Sleeps {
		r.happen(r.at(s.At), func() {
			n.sleeping, n.wake = true, r.at(s.At+s.For)
			n.machine.sleep(true, r.now, 0)
		})
		r.happen(r.at(s.At+s.For), func() {
			n.machine.sleep(false, r.at(s.At), s.Unknown)
			n.sleeping = false
		})
	}
	for _, p := range n.Pauses {
		r.happen(r.at(p.At), func() {
			n.wake = r.at(p.At + p.For)
			n.machine.pause(true)
		})
		r.happen(r.at(p.At+p.For), func() { n.machine.pause(false) })
	}
	for _, other := range n.Rivals {
		r.happen(r.at(other.At), func() { n.machine.kernel.usurp(other.PPM) })
	}
}

// wakes handles an event of a machine that does not run: it has to wait, or is lost. It
// reports whether the event may happen now.
func (n *node) wakes(e event) bool {
	if e.kind == returns && n.sleeping { // its network card sleeps, too
		n.run.free = append(n.run.free, e.b)
		return false
	}
	e.at = n.wake + 1
	n.run.queue.push(e)
	return false
}

// trueTime turns an instant on the leap-free scale of the node, which begins as UTC, into
// true time.
func (n *node) trueTime(free int64) int64 { return free + n.run.truth.offset }

// updates is how many estimates with something new there were. While no majority agrees the
// driver does not tell.
func (n *node) updates() uint64 {
	n.updated = max(n.updated, n.driver.Selection().Estimate.Updates)
	return n.updated
}

// The times that a machine takes.
const (
	noticeTime = 200 * time.Microsecond // to hear that the clock was set
	pollSpread = 500 * time.Microsecond // by which a timer of a second is late at the most
)

// poll lets the driver look at the clocks, as the daemon does once a second and, set, when
// the clock was set.
func (n *node) poll(ctx context.Context, set int32) {
	if n.snapshot != nil {
		n.recorder.observe(n, n.snapshot, false)
	}
	before := n.snapshot
	n.snapshot = n.driver.Poll(ctx, set != 0)
	n.updates()
	if before != nil && n.snapshot.Asleep > before.Asleep {
		n.burst()
	}
	if len(n.pools) > 0 && set == 0 {
		n.tend()
	}
	n.recorder.observe(n, n.snapshot, set == 0)
	if set == 0 {
		late := int64(float64(pollSpread) * n.random.Float64())
		n.run.queue.push(event{at: n.run.now + int64(time.Second) + late, kind: polls, a: int32(n.index)})
	}
}

// burst has all servers asked at once, as the daemon does when the machine has slept.
func (n *node) burst() {
	for i, p := range n.peers {
		if p.association != nil {
			p.association.Burst()
			n.schedule(i)
		}
	}
}

// tend looks after the pools.
func (n *node) tend() {
	for _, p := range n.peers {
		status := discipline.Waiting
		for _, v := range n.driver.Selection().Verdicts {
			if p.association != nil && v.ID == p.id {
				status = v.Status
			}
		}
		switch {
		case status != discipline.Falseticker:
			p.wrong = Never
		case p.wrong == Never:
			p.wrong = n.run.since()
		}
	}
	for _, pool := range n.pools {
		for _, i := range pool.Servers {
			if wrong := n.peers[i].wrong; wrong != Never {
				pool.outvoted(i, wrong)
			}
		}
		pool.turn()
	}
}

// begin starts to ask a server.
func (n *node) begin(i int) {
	p := n.peers[i]
	o := upstream.AssociationOptions{
		MinPoll:     p.server.MinPoll,
		MaxPoll:     p.server.MaxPoll,
		Burst:       upstream.BurstDefault,
		Interleaved: true,
		Precision:   precision,
		Pivot:       time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).UnixNano(),
		Scale:       n.scale,
	}
	if o.MinPoll == 0 {
		o.MinPoll = 6
	}
	if o.MaxPoll == 0 {
		o.MaxPoll = 10
	}
	p.id = n.discipline.Open(p.server.Options)
	p.association = upstream.NewAssociation(o, time.Duration(n.machine.local()), n.random.Uint64())
	n.schedule(i)
}

// end stops asking it.
func (n *node) end(i int) {
	p := n.peers[i]
	n.discipline.Close(p.id)
	p.association, p.pool = nil, nil
	p.bad, p.wrong = 0, Never
	p.plan++
}

// schedule plans the next act of an association.
func (n *node) schedule(i int) {
	p := n.peers[i]
	due := p.association.Due()
	p.plan++
	if due == upstream.Never {
		return
	}
	at := n.machine.oscillator.when(int64(due)-n.machine.slept, n.run.now)
	n.run.queue.push(event{at: at, kind: isDue, a: int32(n.index), b: int32(i), c: p.plan})
}

// act lets an association send a request or give one up.
func (n *node) act(i int, plan uint32) {
	p := n.peers[i]
	if plan != p.plan {
		return
	}
	local, unix := n.machine.look()
	now := time.Duration(local)
	if due := p.association.Due(); now < due { // the rate of the oscillator has changed since
		n.run.queue.push(event{at: n.run.now + int64(due-now) + 1, kind: isDue, a: int32(n.index), b: int32(i), c: p.plan})
		return
	}
	request, ok := p.association.Request(now, upstream.Random{n.random.Uint64(), n.random.Uint64(), n.random.Uint64()})
	if ok {
		p.association.Sent(upstream.Stamp{Local: now, Unix: unix, Kernel: true})
		n.recorder.requests++
		n.send(i, request)
	} else {
		n.finished(i, false)
	}
	n.schedule(i)
}
