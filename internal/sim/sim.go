// Package sim runs nodes against a known truth: simulated oscillators, networks and
// servers around the code that keeps time, all on virtual time and from one seed.
//
// What decides is the real thing: the association of package upstream builds requests and
// judges replies byte by byte, package discipline filters and selects, and a
// sysclock.Disciplined steers a clock that behaves like the kernel's. What is simulated is
// what they cannot see: true time, the oscillator, the network, the servers' own errors.
//
// It promises that a scenario and a seed always give the same result, and that what is
// drawn for one component does not depend on what another one does: an oscillator takes
// the same walk whatever is tried with the filter.
//
// True time counts nanoseconds on a leap-free scale: TAI, written as Unix time.
package sim

import (
	"context"
	"math/rand/v2"
	"time"
)

// A run is a world that lives: events happen in the order of true time.
type run struct {
	start    int64 // true time of the start
	now      int64 // true time
	truth    truth
	scenario *Scenario
	site     *Site
	seed     uint64
	queue    queue
	nodes    []*node
	acts     []func() // what happenings do, by the index in their event
	packet   []packet // in flight, or free
	free     []int32  // indices of free packets
}

// The streams of random numbers, so that each component draws its own.
const (
	streamSetup = iota
	streamOscillator
	streamNode
	streamServer // and the link to it; one for each server from here on
)

// stream returns the random numbers of one component of one node.
func stream(seed uint64, node, component int) *rand.Rand {
	return rand.New(rand.NewPCG(scatter(seed), scatter(uint64(node)<<32|uint64(component))))
}

// scatter spreads small numbers over all 64 bits: the first numbers of generators whose
// seeds are neighbours look alike. Source: Steele, Lea, Flood, Fast Splittable Pseudorandom
// Number Generators, 2014, its finaliser.
func scatter(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// open builds the world of a site.
func open(scenario *Scenario, site *Site, seed uint64) *run {
	r := &run{scenario: scenario, site: site, seed: seed, truth: newTruth(site)}
	r.start = r.truth.tai(site.Start.UnixNano())
	r.now = r.start
	for i := range site.Nodes {
		r.nodes = append(r.nodes, newNode(r, i, &site.Nodes[i]))
	}
	return r
}

// at turns a time since the start into true time.
func (r *run) at(since time.Duration) int64 { return r.start + int64(since) }

// since is true time since the start.
func (r *run) since() time.Duration { return time.Duration(r.now - r.start) }

// happen has do called at a true time.
func (r *run) happen(at int64, do func()) {
	r.acts = append(r.acts, do)
	r.queue.push(event{at: at, kind: happens, a: int32(len(r.acts) - 1)})
}

// go on until a true time; the events of that instant still happen.
func (r *run) runUntil(ctx context.Context, end int64) {
	for len(r.queue.heap) > 0 && r.queue.heap[0].at <= end {
		e := r.queue.pop()
		r.now = e.at
		switch e.kind {
		case happens:
			r.acts[e.a]()
		case arrives:
			r.arriveAtServer(e.a)
		default:
			n := r.nodes[e.a]
			if n.machine.stopped && !n.wakes(e) {
				continue
			}
			switch e.kind {
			case polls:
				n.poll(ctx, e.b)
			case isDue:
				n.act(int(e.b), e.c)
			case returns:
				n.receive(e.b)
			}
		}
	}
	r.now = end
}

// kind is what an event is.
type kind uint8

const (
	happens kind = iota // a: index of what to do
	arrives             // a: index of a packet that reaches its server
	polls               // a: node; b: 1 when the system reported a jump of its clock
	isDue               // a: node, b: association, c: generation of its plan
	returns             // a: node, b: index of the packet
)

// event is one thing that happens at one true time.
type event struct {
	at    int64
	order uint32 // of events at one instant: first pushed, first served
	kind  kind
	a, b  int32
	c     uint32
}

func (e *event) before(f *event) bool {
	return e.at < f.at || e.at == f.at && int32(e.order-f.order) < 0
}

// queue is a binary heap of events. It is its own because container/heap boxes each
// element, and an event comes every few microseconds.
type queue struct {
	heap  []event
	order uint32
}

func (q *queue) push(e event) {
	q.order++
	e.order = q.order
	q.heap = append(q.heap, e)
	h := q.heap
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !e.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
}

func (q *queue) pop() event {
	h := q.heap
	top, last := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	q.heap = h
	i := 0
	for {
		down := 2*i + 1
		if down >= len(h) {
			break
		}
		if down+1 < len(h) && h[down+1].before(&h[down]) {
			down++
		}
		if !h[down].before(&last) {
			break
		}
		h[i] = h[down]
		i = down
	}
	if len(h) > 0 {
		h[i] = last
	}
	return top
}
