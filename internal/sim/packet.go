package sim

import (
	"time"

	"github.com/truechimer/truechimer/internal/leap"
	"github.com/truechimer/truechimer/internal/ntp"
	"github.com/truechimer/truechimer/internal/upstream"
)

// packet is a datagram under way.
type packet struct {
	node, peer int32
	bytes      [ntp.HeaderLen]byte
}

func (r *run) newPacket(p packet) int32 {
	if len(r.free) == 0 {
		r.packet = append(r.packet, p)
		return int32(len(r.packet) - 1)
	}
	i := r.free[len(r.free)-1]
	r.free = r.free[:len(r.free)-1]
	r.packet[i] = p
	return i
}

// send puts a request on its way.
func (n *node) send(i int, request ntp.Header) {
	s := &n.peers[i].server
	since := n.run.since()
	jitter := s.Link.Jitter.draw(s.random)
	if !s.Link.passes(since, s.random) {
		return
	}
	out, _ := s.Link.delays(since)
	p := packet{node: int32(n.index), peer: int32(i)}
	request.Encode(&p.bytes)
	n.run.queue.push(event{at: n.run.now + int64(out+jitter), kind: arrives, a: n.run.newPacket(p)})
}

// arriveAtServer hands a request to its server and puts the reply on its way.
func (r *run) arriveAtServer(index int32) {
	p := &r.packet[index]
	s := &r.nodes[p.node].peers[p.peer].server
	since := r.since()
	took, err := s.answer(&p.bytes)
	jitter := s.Link.Jitter.draw(s.random)
	if err != nil || !s.Link.passes(since, s.random) {
		r.free = append(r.free, index)
		return
	}
	_, back := s.Link.delays(since)
	at := r.now + int64(took+back+jitter)
	if s.Link.Duplicate != 0 && s.random.Float64() < s.Link.Duplicate {
		again := r.newPacket(*p)
		late := back + s.Link.Jitter.draw(s.random)
		r.queue.push(event{at: at + int64(late), kind: returns, a: r.packet[again].node, b: again})
	}
	r.queue.push(event{at: at, kind: returns, a: r.packet[index].node, b: index})
}

// smearDay is how near to a leap second a reference identifier can mean a smear, for the
// daemon.
const smearDay = 24 * time.Hour

// receive hands a reply to its association, and what it says to the discipline.
func (n *node) receive(index int32) {
	p := &n.run.packet[index]
	i := int(p.peer)
	n.run.free = append(n.run.free, index)
	peer := n.peers[i]
	a := peer.association
	if a == nil {
		return
	}
	local, unix := n.machine.look()
	o := a.Reply(p.bytes[:], upstream.Stamp{Local: time.Duration(local), Unix: unix, Kernel: true})
	if o.Verdict.Final() {
		n.finished(i, o.Verdict.Good())
	}
	if o.Verdict == upstream.Measured {
		n.recorder.samples++
		if o.Interleaved {
			n.recorder.interleaved++
		}
		o.Sample.Smeared = o.Sample.Stratum > 1 && leap.SmearRefID(o.Sample.RefID) && n.scale.Near(o.Sample.Remote, int64(smearDay))
		a.SetPoll(n.discipline.Add(peer.id, o.Sample))
	}
	n.schedule(i)
}

// finished draws the conclusions from a poll that is over.
func (n *node) finished(i int, good bool) {
	p := n.peers[i]
	n.discipline.Reach(p.id, p.association.Reach())
	if p.pool != nil {
		p.pool.finished(i, good)
	}
}
