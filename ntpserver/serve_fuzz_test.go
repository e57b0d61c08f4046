package ntpserver

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/netio"
	"github.com/truechimer/truechimer/internal/ntp"
)

// Bytes in, bytes out: a worker over a socket in memory, with everything on. The input
// is a script of datagrams, each of which begins with four bytes: who sends it, from
// which port and when; flags; and its length.

// The flags of a scripted datagram.
const (
	scriptFlush     = 1 << iota // it ends its batch
	scriptFollow                // its origin becomes the receive timestamp last heard at its address
	scriptTruncated             // the kernel cut it
	scriptUnstamped             // the kernel did not stamp it
	scriptBack                  // it arrives before the ones before it: the clock was set
	scriptLost                  // the kernel does not tell of its departure
	scriptPolicy                // the policy changes before its batch
	scriptLater                 // it comes a second later
)

const scriptHeaderLen = 4

// script appends a datagram to a script.
func script(b []byte, from, flags byte, data []byte) []byte {
	b = append(b, from, flags, byte(len(data)>>8), byte(len(data)))
	return append(b, data...)
}

// scriptSenders are the addresses of a script.
var scriptSenders = [...]netip.Addr{
	netip.MustParseAddr("192.0.2.1"),
	netip.MustParseAddr("192.0.2.2"),
	netip.MustParseAddr("::ffff:192.0.2.1"),
	netip.MustParseAddr("203.0.113.1"), // denied
	netip.MustParseAddr("203.0.113.7"), // not denied
	netip.MustParseAddr("2001:db8::1"),
	netip.MustParseAddr("2001:db8::2"),
	netip.MustParseAddr("2001:db8:bad::1"), // denied
	netip.MustParseAddr("10.1.2.3"),
	netip.MustParseAddr("fe80::1%eth0"),
	{},
}

// scriptPolicies are those that a script can switch between. All deny the same.
func scriptPolicies() [2]Policy {
	p := Policy{
		Allow: prefixes("0.0.0.0/0", "::/0", "203.0.113.7/32"),
		Deny:  prefixes("203.0.113.0/24", "2001:db8:bad::/48"),
		Rate:  Rate{Interval: 3 * time.Second, Burst: 4, Kiss: 2},
	}
	q := p
	q.Rate = Rate{Interval: time.Hour, Burst: 1, Kiss: 1, Private: true}
	return [2]Policy{p, q}
}

// scriptRun runs scripts.
type scriptRun struct {
	t      *testing.T
	memory *netio.Memory
	worker *worker
	sent   int // replies seen
	clock  int64
	mono   int64
	policy int

	port123 bool                  // the batch has a datagram from it
	heard   map[netip.Addr]uint64 // receive timestamps
	want    struct{ messages, replies, kisses, interleaved uint64 }
}

// denied reports whether every policy denies an address.
func (s *scriptRun) denied(addr netip.Addr) bool {
	return addr == scriptSenders[3] || addr == scriptSenders[7]
}

// next takes a datagram from a script.
func (s *scriptRun) next(input []byte, i int) (m netio.Message, flags byte, rest []byte) {
	sender, flags := input[0], input[1]
	n := min(int(binary.BigEndian.Uint16(input[2:])), len(input)-scriptHeaderLen)
	data := bytes.Clone(input[scriptHeaderLen : scriptHeaderLen+n])
	addr := scriptSenders[int(sender&0xf)%len(scriptSenders)]
	port := uint16(1024 + i) // tells the datagrams of a batch apart
	switch sender >> 4 {
	case 1:
		port = 0
	case 2:
		if !s.port123 {
			port, s.port123 = ntp.Port, true
		}
	}
	s.clock += 1000
	s.mono += 1000
	switch {
	case flags&scriptLater != 0:
		s.clock += second
		s.mono += second
	case flags&scriptBack != 0:
		s.clock -= 7 * second
	}
	if flags&scriptFollow != 0 && len(data) >= ntp.HeaderLen {
		binary.BigEndian.PutUint64(data[originOffset:], s.heard[addr.Unmap()])
	}
	return netio.Message{
		Data: data, From: netip.AddrPortFrom(addr, port), At: s.clock,
		Stamped: flags&scriptUnstamped == 0, Truncated: flags&scriptTruncated != 0,
	}, flags, input[scriptHeaderLen+n:]
}

// answer has the worker answer a batch and checks every reply.
func (s *scriptRun) answer(batch []netio.Message) {
	s.port123 = false
	s.memory.Deliver(batch...)
	n, err := s.worker.socket.Receive(s.worker.batch)
	if err != nil || n != len(batch) {
		s.t.Fatalf("%d messages, %v", n, err)
	}
	s.worker.collect(s.mono)
	s.worker.answer(n, s.mono)
	s.worker.collect(s.mono)
	s.want.messages += uint64(n)
	sent := s.memory.Sent()
	replies := sent[s.sent:]
	s.sent = len(sent)
	// Replies leave in the order of their requests, and so each belongs to the
	// next request from its address and port.
	for _, m := range batch {
		if len(replies) == 0 || replies[0].To != m.From {
			continue
		}
		s.check(m, replies[0].Data)
		replies = replies[1:]
	}
	if len(replies) > 0 {
		s.t.Fatalf("a reply to %v, who did not ask: %x", replies[0].To, replies[0].Data)
	}
}

// check checks one reply.
func (s *scriptRun) check(m netio.Message, reply []byte) {
	h, err := ntp.Decode(reply)
	if err != nil || len(reply) > len(m.Data) || m.Truncated || s.denied(m.From.Addr()) || m.From.Port() == 0 {
		s.t.Fatalf("%d bytes to %+v, %v", len(reply), m, err)
	}
	req, err := ntp.Decode(m.Data)
	if err != nil || h.Mode != ntp.ModeServer || h.Version != req.Version || h.Version < 1 || h.Version > 4 {
		s.t.Fatalf("%+v to %+v", h, req)
	}
	if req.Mode != ntp.ModeClient && (req.Mode != 0 || req.Version != 1 || m.From.Port() == 123) {
		s.t.Fatalf("answered mode %d, version %d", req.Mode, req.Version)
	}
	s.want.replies++
	kiss := h.RefID == ntp.KissRATE && h.Stratum == 0
	switch {
	case kiss:
		s.want.kisses++
		if h.Origin != req.Transmit || h.Poll < req.Poll || h.Poll < 2 || h.Transmit.Before(h.Receive) {
			s.t.Fatalf("kiss %+v to %+v", h, req)
		}
	case h.Poll != req.Poll || h.Stratum != 2:
		s.t.Fatalf("%+v to %+v", h, req)
	case h.Origin == req.Transmit:
		if h.Transmit.Before(h.Receive) {
			s.t.Fatalf("T3 before T2: %+v", h)
		}
	case h.Origin == req.Receive:
		s.want.interleaved++
		if req.Version < 4 || req.Origin&1 == 0 || h.Transmit.Before(req.Origin) {
			s.t.Fatalf("interleaved %+v to %+v", h, req)
		}
	default:
		s.t.Fatalf("origin of %+v to %+v", h, req)
	}
	if h.Receive&1 != 1 || h.Transmit&1 != 0 || h.Transmit == 0 {
		s.t.Fatalf("receive %x, transmit %x", uint64(h.Receive), uint64(h.Transmit))
	}
	if d := h.Receive.Sub(ntp.FromUnix(m.At)); d.Abs() > 100 {
		s.t.Fatalf("received %v from the stamp", d)
	}
	s.heard[m.From.Addr().Unmap()] = uint64(h.Receive)
}

// counters checks that every request is in one counter, and the right one.
func (s *scriptRun) counters() {
	var c Counts
	s.worker.counters.addTo(&c)
	var sum, answered uint64
	for v, n := range c.Verdicts {
		sum += n
		if !Verdict(v).silent() {
			answered += n
		}
	}
	if sum != s.want.messages || answered != s.want.replies || answered != uint64(s.sent) ||
		c.Verdicts[KissRate] != s.want.kisses || c.Verdicts[AnsweredInterleaved] != s.want.interleaved {
		s.t.Fatalf("%+v, want %+v", c, s.want)
	}
}

// FuzzServe: whatever comes in whatever order, no panic; each request has at most one
// reply, no longer than itself, to its sender, of a server, in the mode that it
// asked for; or silence; and the counters agree.
func FuzzServe(f *testing.F) {
	for _, seed := range scriptSeeds() {
		f.Add(seed, uint8(len(seed)))
	}
	batch := netio.NewBatch()
	claims := honest()
	policies := scriptPolicies()
	f.Fuzz(func(t *testing.T, input []byte, entries uint8) {
		m := netio.NewMemory(netip.MustParseAddrPort("192.0.2.100:123"))
		clients, err := NewClients(int(1+entries%32), false)
		if err != nil {
			t.Fatal(err)
		}
		s := &scriptRun{t: t, memory: m, clock: noon, heard: map[netip.Addr]uint64{}}
		s.worker = newServer(Options{Claims: func() *Claims { return claims }, Logger: slog.New(slog.DiscardHandler)}, clients, []netio.Socket{m}).workers[0]
		s.worker.batch = batch
		s.worker.now = func() int64 { s.clock += 100; return s.clock }
		lost := map[uint16]bool{}
		m.Depart(func(d netio.Datagram) (int64, bool) { return s.clock + 50, !lost[d.To.Port()] })
		if err := clients.SetPolicy(policies[0]); err != nil {
			t.Fatal(err)
		}
		var waiting []netio.Message
		for i := 0; len(input) >= scriptHeaderLen && i < 200; i++ {
			msg, flags, rest := s.next(input, i)
			input = rest
			waiting = append(waiting, msg)
			lost[msg.From.Port()] = flags&scriptLost != 0
			if flags&scriptPolicy != 0 {
				s.policy ^= 1
				if err := clients.SetPolicy(policies[s.policy]); err != nil {
					t.Fatal(err)
				}
			}
			if flags&scriptFlush != 0 || len(waiting) == netio.BatchMax || len(input) < scriptHeaderLen {
				s.answer(waiting)
				waiting = nil
			}
		}
		if len(waiting) > 0 {
			s.answer(waiting)
		}
		s.counters()
		for _, c := range clients.List(20) {
			if c.Requests == 0 || c.Drops > c.Requests || c.Version < 1 || c.Version > 4 || c.Interval < 0 {
				t.Fatalf("%+v", c)
			}
		}
	})
}

// scriptSeeds are scripts with each kind of datagram.
func scriptSeeds() [][]byte {
	basic := plain(4, ntp.ModeClient)
	follow := interleavedRequest(1)
	tail := func(data ...byte) []byte { return append(bytes.Clone(basic), data...) }
	kinds := [][]byte{
		basic, plain(1, ntp.ModeClient), plain(1, 0), plain(2, 0), plain(3, ntp.ModeClient), plain(0, ntp.ModeClient),
		plain(5, ntp.ModeClient), plain(4, ntp.ModeServer), plain(4, ntp.ModeControl), plain(4, ntp.ModePrivate), {}, basic[:47], tail(0),
		tail(append([]byte{1, 4, 0, 28}, make([]byte, 24)...)...), // a field
		tail(make([]byte, 4)...),                                  // a crypto-NAK
		tail(make([]byte, 16)...),                                 // malformed
		tail(make([]byte, 20)...),                                 // a MAC
		make([]byte, 3000),                                        // too long
		bytes.Repeat([]byte{23}, 60),                              // private
		follow,
	}
	var each, flooded, followed, mixed []byte
	for i, kind := range kinds {
		each = script(each, byte(i)%11|byte(i%3)<<4, scriptFlush, kind)
		mixed = script(mixed, byte(i%11), byte(i*37), kind)
	}
	for i := range 70 {
		flooded = script(flooded, byte(i%2*5), 0, basic)
	}
	for i := range 12 {
		flags := byte(scriptFlush | scriptFollow | scriptLater)
		if i == 6 {
			flags |= scriptLost
		}
		followed = script(followed, 8, flags, follow)
	}
	repeated := script(script(script(nil, 0, scriptFlush|scriptFollow, follow), 0, scriptFollow, follow), 0, scriptFollow|scriptFlush, follow)
	back := script(script(nil, 5, scriptFlush, basic), 6, scriptBack|scriptFlush|scriptUnstamped, basic)
	switched := script(script(script(nil, 10, 0, basic), 10, scriptPolicy|scriptFlush, basic), 9, scriptPolicy, basic)
	return [][]byte{nil, each, mixed, flooded, followed, repeated, back, switched, script(nil, 0x18, 0, basic), script(nil, 0x20, scriptTruncated, plain(1, 0))}
}
