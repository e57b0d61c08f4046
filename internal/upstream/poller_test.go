package upstream

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/ntp"
)

// bubble runs a test in virtual time.
func bubble(t *testing.T, f func(t *testing.T, n *fakeNet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newFakeNet(t)) })
}

// One server, from its address to its samples and its status.
func TestPoller(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		at := netip.MustParseAddrPort("[2001:db8::7]:1123")
		server := n.serve(at)
		source := plain("seven", "[2001:db8::7]:1123")
		source.ProviderError, source.Prefer, source.Trust, source.Require, source.NoSelect = time.Millisecond, true, true, true, true
		p := n.poll(source)
		n.pass(300 * time.Second)
		want := discipline.SourceOptions{Name: "seven", RefID: ntp.RefIDOf(at.Addr()).Bytes(), ProviderError: time.Millisecond, Prefer: true, Trust: true, Require: true, NoSelect: true}
		if len(n.sources) != 1 || n.sources[0] != want {
			t.Errorf("opened %+v", n.sources)
		}
		// Eight two seconds apart, then one each minute.
		if len(server.asked) != 12 || n.opened != 12 || n.open != 0 || len(n.lookups) != 0 {
			t.Errorf("asked at %v, %d sockets, %d open, lookups %v", server.asked, n.opened, n.open, n.lookups)
		}
		samples := n.samples[0]
		if len(samples) != len(server.asked) {
			t.Fatalf("%d samples of %d requests", len(samples), len(server.asked))
		}
		for i, s := range samples {
			if got, want := s.Local, server.asked[i]+fakeTrip/2; (got - want).Abs() > 1 {
				t.Errorf("sample %d is of %v, want %v", i, got, want)
			}
			if off := s.Remote - benchTAI - n.start.UnixNano() - int64(s.Local); off < -1 || off > 1 || (s.Delay-fakeTrip).Abs() > 1 {
				t.Errorf("sample %d: offset %v, delay %v", i, time.Duration(off), s.Delay)
			}
		}
		st := one(t, p)
		if st.Source != source || st.Server != at || st.ID != 0 || st.Fault != "" || st.Reach != 0xff || st.Poll != 6 || st.Stopped || st.Interleaved {
			t.Errorf("status %+v", st)
		}
		if !st.Heard || st.LastHeard != server.asked[11]+fakeTrip || !near(st.NextPoll-server.asked[11], 64*time.Second) || st.Counts[Measured] != 12 {
			t.Errorf("heard %v at %v, next at %v, counts %v", st.Heard, st.LastHeard, st.NextPoll, st.Counts)
		}
		if m := st.Measurement; !st.Measured || m.Server != at || m.Offset().Abs() > 1 || !m.Stamped || !m.Departed || m.Header != st.Header || st.Header.Stratum != 2 {
			t.Errorf("measurement %+v", m)
		}
		if len(n.told) != len(samples) || n.told[len(n.told)-1] != st.Measurement {
			t.Errorf("told of %d measurements of %d, the last %+v", len(n.told), len(samples), n.told[len(n.told)-1])
		}
		for i, r := range n.reach[0] {
			if want := uint8(1<<(i+1) - 1); r != want {
				t.Errorf("reach %08b after %d polls", r, i+1)
			}
		}
		// The discipline wants less.
		n.set(func() { n.want = time.Hour })
		n.pass(20 * time.Hour)
		if st := one(t, p); st.Poll != 10 {
			t.Errorf("poll %d", st.Poll)
		}
	})
}

// T1 and T4 are each moved onto the local timeline beside their own reading of the clocks.
func TestPollerWallSteps(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		at := addrs(1)[0]
		n.serve(at).answer = func(request ntp.Header, now int64) ([][]byte, time.Duration) {
			time.AfterFunc(fakeTrip/4, func() { n.set(func() { n.wall += time.Hour }) })
			return rightAnswer(request, now)
		}
		n.poll(plain("stepping", "192.0.2.1"))
		n.pass(100 * time.Second)
		if len(n.samples[0]) != 9 {
			t.Fatalf("%d samples", len(n.samples[0]))
		}
		for _, s := range n.samples[0] {
			if off := s.Remote - benchTAI - n.start.UnixNano() - int64(s.Local); off < -1 || off > 1 || (s.Delay-fakeTrip).Abs() > 1 {
				t.Errorf("offset %v, delay %v", time.Duration(off), s.Delay)
			}
		}
	})
}

// Stamps are of when they were taken; one that cannot be, because the clock was set since, is
// not used.
func TestPollerStamps(t *testing.T) {
	for _, c := range []struct {
		received, departed time.Duration // what the stamps are off by
		want               [2]Stamp
	}{
		{-time.Minute, -time.Minute, [2]Stamp{{Local: 0}, {Local: fakeTrip}}},
		{time.Minute, time.Minute, [2]Stamp{{Local: 0}, {Local: fakeTrip}}},
		{-3 * time.Millisecond, time.Millisecond, [2]Stamp{{Local: time.Millisecond, Kernel: true}, {Local: fakeTrip - 3*time.Millisecond, Kernel: true}}},
	} {
		bubble(t, func(t *testing.T, n *fakeNet) {
			p := &Poller{opts: PollerOptions{Timeline: n.timeline, Dial: n.dial}}
			n.serve(addrs(1)[0])
			var got []arrival
			conn, _ := n.dial(addrs(1)[0])
			p.opts.Dial = func(netip.AddrPort) (Conn, error) {
				return &oddConn{Conn: conn, received: c.received, departed: c.departed}, nil
			}
			p.inquire(t.Context(), addrs(1)[0], ntp.Header{Version: 4, Mode: 3, Transmit: 5}.Append(nil), func(a arrival) bool {
				got = append(got, a)
				return false
			})
			for i := range c.want {
				c.want[i].Unix = n.start.UnixNano() + int64(c.want[i].Local)
			}
			if len(got) != 1 || got[0].sent != c.want[0] || got[0].at != c.want[1] {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// oddConn has stamps that are not those of the moment.
type oddConn struct {
	Conn
	received, departed time.Duration
}

func (c *oddConn) Departed() (int64, bool) {
	at, ok := c.Conn.Departed()
	return at + int64(c.departed), ok
}

func (c *oddConn) Receive(b []byte) (int, int64, bool, error) {
	n, at, ok, err := c.Conn.Receive(b)
	return n, at + int64(c.received), ok, err
}

// What goes wrong is told in a sentence, counted, and gone when it is right again.
func TestPollerFaults(t *testing.T) {
	own := netip.MustParseAddr("10.0.0.1")
	cases := map[string]struct {
		breaks func(s *fakeServer)
		want   Verdict
		says   string
	}{
		"silent":   {func(s *fakeServer) { s.answer = silence }, Lost, "no reply from 192.0.2.1:123 in 3s"},
		"no route": {func(s *fakeServer) { s.dial = syscall.ENETUNREACH }, Unsent, "network is unreachable"},
		"no room":  {func(s *fakeServer) { s.send = syscall.ENOBUFS }, Unsent, "no buffer space"},
		"closed port": {func(s *fakeServer) {
			s.receive = fmt.Errorf("read: %w", os.NewSyscallError("recvmsg", syscall.ECONNREFUSED))
		}, Refused, "nothing serves NTP"},
		"no host": {func(s *fakeServer) { s.receive = syscall.EHOSTUNREACH }, Refused, "no route to host"},
		"RATE": {func(s *fakeServer) {
			s.answer = changedAnswer(func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.KissRATE })
		}, Kissed, "less often (RATE)"},
		"DENY": {func(s *fakeServer) {
			s.answer = changedAnswer(func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.KissDENY })
		}, Kissed, "forbids us to ask (DENY)"},
		"XYZ": {func(s *fakeServer) {
			s.answer = changedAnswer(func(h *ntp.Header) { h.Stratum, h.RefID = 0, 0x58595a00 })
		}, Kissed, "kiss code XYZ"},
		"unsynchronised": {func(s *fakeServer) { s.answer = changedAnswer(func(h *ntp.Header) { h.Leap = 3 }) }, Unsynchronised, "not synchronised"},
		"distant":        {func(s *fakeServer) { s.answer = changedAnswer(func(h *ntp.Header) { h.RootDelay = 1 << 31 }) }, Distant, "16 s or more"},
		"loop":           {func(s *fakeServer) { s.answer = changedAnswer(func(h *ntp.Header) { h.RefID = ntp.RefIDOf(own) }) }, Looped, "follows this host (its reference identifier is 10.0.0.1)"},
		"invalid":        {func(s *fakeServer) { s.answer = changedAnswer(func(h *ntp.Header) { h.Receive = 0 }) }, Invalid, "lacks a timestamp"},
		"set since":      {func(s *fakeServer) { s.answer = changedAnswer(func(h *ntp.Header) { h.Reference += 1 << 32 }) }, Reset, "was set after"},
		"implausible":    {func(s *fakeServer) { s.answer = changedAnswer(func(h *ntp.Header) { h.Transmit += 1 << 32 }) }, Implausible, "less than no time"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *fakeNet) {
				n.own = []netip.Addr{own}
				server := n.serve(addrs(1)[0])
				c.breaks(server)
				p := n.poll(plain("broken", "192.0.2.1"))
				n.pass(5 * time.Second)
				st := one(t, p)
				if !strings.Contains(st.Fault, c.says) || !strings.Contains(st.Fault, "192.0.2.1") || st.Counts[c.want] == 0 || st.Reach != 0 || st.Heard {
					t.Errorf("fault %q, counts %v, reach %08b", st.Fault, st.Counts, st.Reach)
				}
				if len(n.samples[0]) != 0 {
					t.Errorf("%d samples", len(n.samples[0]))
				}
				if c.want == Kissed {
					return
				}
				n.set(func() { *server = fakeServer{answer: rightAnswer, asked: server.asked} })
				n.pass(2 * time.Minute)
				if st := one(t, p); st.Fault != "" || st.Reach == 0 || !st.Heard {
					t.Errorf("repaired, and still %q, reach %08b", st.Fault, st.Reach)
				}
			})
		})
	}
}

// A server that is gone for long goes on being asked, and is asked in a burst when it is back.
func TestPollerUnreachable(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		server := n.serve(addrs(1)[0])
		p := n.poll(plain("coming and going", "192.0.2.1"))
		n.pass(time.Minute)
		n.set(func() { server.answer = silence })
		n.pass(time.Hour)
		if st := one(t, p); st.Reach != 0 || st.Fault == "" || !st.Heard {
			t.Errorf("reach %08b, fault %q", st.Reach, st.Fault)
		}
		before := len(server.asked)
		if before < 55 || before > 65 {
			t.Errorf("asked %d times", before)
		}
		n.set(func() { server.answer = rightAnswer })
		n.pass(80 * time.Second)
		if more := len(server.asked) - before; more < 8 || more > 10 {
			t.Errorf("asked %d times when it was back", more)
		}
		if last := n.reach[0]; last[len(last)-1] != 0xff {
			t.Errorf("reach %08b", last)
		}
	})
}

// Datagrams without end: the true one is found among the first, and nothing grows.
func TestPollerGarbage(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		flood := 10
		n.serve(addrs(1)[0]).answer = func(request ntp.Header, now int64) ([][]byte, time.Duration) {
			good, d := rightAnswer(request, now)
			var all [][]byte
			for i := range flood {
				all = append(all, []byte(strings.Repeat("x", 30+i*3)))
			}
			return append(all, good...), d
		}
		p := n.poll(plain("noisy", "192.0.2.1"))
		n.pass(5 * time.Second)
		st := one(t, p)
		if st.Counts[Measured] != 3 || st.Counts[Short]+st.Counts[Foreign] != 30 {
			t.Errorf("counts %v", st.Counts)
		}
		n.set(func() { flood = 90 })
		n.pass(time.Minute)
		if st = one(t, p); st.Counts[Measured] != 3 || st.Counts[Lost] == 0 || st.Counts[Foreign] > 100 {
			t.Errorf("counts %v", st.Counts)
		}
	})
}

// A name: looked up, kept while it answers, looked up again when it does not.
func TestPollerName(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		p := n.poll(plain("moving", "time.example"))
		n.pass(time.Second)
		if st := one(t, p); st.Server.IsValid() || !strings.Contains(st.Fault, "no such name") || !strings.Contains(st.Fault, "check the name") {
			t.Errorf("status %+v", st)
		}
		n.set(func() { n.names["time.example"] = addrs(1) })
		first := n.serve(addrs(1)[0])
		n.serve(addrs(2)[0])
		n.pass(3 * time.Hour)
		if st := one(t, p); st.Server != addrs(1)[0] || st.Reach != 0xff {
			t.Errorf("asks %v, reach %08b", st.Server, st.Reach)
		}
		if len(n.lookups) < 4 || len(n.lookups) > 6 {
			t.Errorf("lookups at %v", n.lookups)
		}
		// The name moves, and the server goes on: so do we.
		n.set(func() { n.names["time.example"] = addrs(2) })
		n.pass(3 * time.Hour)
		if st := one(t, p); st.Server != addrs(1)[0] {
			t.Errorf("asks %v", st.Server)
		}
		n.set(func() { first.answer = silence })
		n.pass(15 * time.Minute)
		if st := one(t, p); st.Server != addrs(2)[0] || st.Reach == 0 || !slices.Equal(n.live(), []discipline.SourceID{1}) {
			t.Errorf("asks %v, reach %08b, open %v", st.Server, st.Reach, n.live())
		}
		// Names without an address fail too.
		n.set(func() { n.names["time.example"] = nil; n.servers[addrs(2)[0]].answer = silence })
		before := len(n.lookups)
		n.pass(24 * time.Hour)
		if more := len(n.lookups) - before; more > 100 || more < 80 {
			t.Errorf("%d lookups in a day", more)
		}
		if st := one(t, p); st.Server != addrs(2)[0] {
			t.Errorf("asks %v", st.Server)
		}
	})
}

// A server that has answered again, or that answers every other time, keeps its place.
func TestPollerKeeps(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		n.names["time.example"] = addrs(1)
		server := n.serve(addrs(1)[0])
		n.serve(addrs(2)[0])
		p := n.poll(plain("one", "time.example"))
		n.pass(time.Minute)
		n.set(func() { server.answer = silence })
		n.pass(time.Hour)
		n.set(func() { server.answer = rightAnswer })
		n.pass(5 * time.Minute)
		n.set(func() {
			n.names["time.example"] = addrs(2, 1)
			heard := false
			server.answer = func(request ntp.Header, now int64) ([][]byte, time.Duration) {
				if heard = !heard; heard {
					return rightAnswer(request, now)
				}
				return nil, 0
			}
		})
		n.pass(5 * time.Hour)
		if st := one(t, p); st.Server != addrs(1)[0] || st.Reach != 0xaa && st.Reach != 0x55 {
			t.Errorf("asks %v, reach %08b", st.Server, st.Reach)
		}
	})
}

// An address that never answers, of a family that has no way out perhaps, makes room for the
// next after a burst.
func TestPollerNextAddress(t *testing.T) {
	for name, breaks := range map[string]func(*fakeServer){
		"silent":   func(s *fakeServer) { s.answer = silence },
		"no route": func(s *fakeServer) { s.dial = syscall.ENETUNREACH },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *fakeNet) {
				n.names["time.example"] = addrs(1, 2)
				breaks(n.serve(addrs(1)[0]))
				n.serve(addrs(2)[0])
				p := n.poll(plain("two ways", "time.example"))
				n.pass(16 * time.Second)
				if st := one(t, p); st.Server != addrs(2)[0] || st.Reach == 0 {
					t.Errorf("asks %v, reach %08b", st.Server, st.Reach)
				}
			})
		})
	}
}

// A resolver that fails for a day is not flooded.
func TestPollerResolverDown(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		n.poll(plain("one", "one.example"), plain("two", "two.example"))
		n.pass(15 * time.Second)
		for i, want := range []time.Duration{0, 0, 2, 2, 6, 6, 14, 14} {
			if len(n.lookups) != 8 || n.lookups[i] != want*time.Second {
				t.Errorf("lookups at %v", n.lookups)
				break
			}
		}
		n.pass(24 * time.Hour)
		if len(n.lookups) > 2*100 || len(n.lookups) < 2*80 {
			t.Errorf("%d lookups", len(n.lookups))
		}
	})
}

// A pool: as many members as wanted, no address twice, those that forbid or are silent
// or are called bad replaced.
func TestPollerPool(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		n.names["pool.example"] = addrs(1, 2, 3, 4, 5, 6)
		n.names["single.example"] = addrs(2)
		n.serve(addrs(1, 2, 3, 4, 5, 6)...)
		n.servers[addrs(3)[0]].answer = changedAnswer(func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.KissDENY })
		n.servers[addrs(4)[0]].answer = silence
		pool := plain("pool", "pool.example")
		pool.Pool = 3
		p := n.poll(pool, plain("single", "single.example"), plain("again", "192.0.2.2"))
		n.pass(10 * time.Minute)
		var servers []netip.AddrPort
		for _, st := range p.Status() {
			if st.Server.IsValid() {
				servers = append(servers, st.Server)
			}
			if st.Source.Name == "single" && (st.Server.IsValid() || !strings.Contains(st.Fault, "is that of source again already")) {
				t.Errorf("the second source of one server: %+v", st)
			}
		}
		slices.SortFunc(servers, netip.AddrPort.Compare)
		if want := addrs(1, 2, 5, 6); !slices.Equal(servers, want) {
			t.Errorf("asks %v, want %v", servers, want)
		}
		if denied := n.servers[addrs(3)[0]].asked; len(denied) != 1 {
			t.Errorf("asked %d times after it was forbidden", len(denied)-1)
		}
		var bad discipline.SourceID
		for _, st := range p.Status() {
			if st.Server == addrs(5)[0] {
				bad = st.ID
			}
		}
		n.set(func() { n.servers[addrs(4)[0]].answer = rightAnswer })
		n.pass(10 * time.Minute)
		p.Bad(bad)
		n.pass(time.Minute)
		if !n.closed[bad] || n.closed[bad+1] && n.closed[0] {
			t.Errorf("closed %v, want %d", n.closed, bad)
		}
		if again := n.servers[addrs(4)[0]].asked; len(again) <= 4 {
			t.Errorf("the one that was silent is not tried again: %v", again)
		}
		// What is bad stays away for longer than what is silent.
		before := len(n.servers[addrs(5)[0]].asked)
		n.set(func() { n.servers[addrs(4)[0]].answer = silence })
		n.pass(time.Hour)
		if more := len(n.servers[addrs(5)[0]].asked) - before; more != 0 {
			t.Errorf("the bad one is asked %d times", more)
		}
	})
}

// AC-N1: 4 s between any two requests to NIST's servers, whatever happens: bursts, retries,
// reloads, several names and sources of one address.
func TestPollerNISTSpacing(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		n.names["time.nist.example"] = addrs(1)
		server := n.serve(addrs(1)[0])
		list := func(i int) []Source {
			a, b := plain(fmt.Sprint("a", i), "time.nist.example"), plain(fmt.Sprint("b", i), "192.0.2.1")
			a.NIST, b.NIST = true, i%2 == 0
			a.MinPoll, b.MinPoll = -2, -2
			return []Source{a, b}
		}
		n.want = 0
		p := n.poll(list(0)...)
		for i := range 40 {
			n.pass(time.Duration(i) * 700 * time.Millisecond)
			p.Burst()
			if i%2 == 0 {
				if err := p.Reload(list(i)); err != nil {
					t.Fatal(err)
				}
			}
			if i == 20 {
				n.set(func() { server.answer = silence })
			}
		}
		if len(server.asked) < 40 {
			t.Errorf("asked %d times", len(server.asked))
		}
		if server.asked[0] < 4*time.Second {
			t.Errorf("asked at %v: before a restart, it may have been asked too", server.asked[0])
		}
		for i := range len(server.asked) - 1 {
			if d := server.asked[i+1] - server.asked[i]; d < 4*time.Second {
				t.Fatalf("asked at %v and %v", server.asked[i], server.asked[i+1])
			}
		}
	})
}

// Reload keeps what is equal, in the new order, closes and opens the rest, and asks those
// again that have forbidden it.
func TestPollerReload(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		n.serve(addrs(1, 2, 3, 4)...)
		n.servers[addrs(2)[0]].answer = changedAnswer(func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.KissDENY })
		one, two, three := plain("one", "192.0.2.1"), plain("two", "192.0.2.2"), plain("three", "192.0.2.3")
		p := n.poll(one, two, three)
		n.pass(10 * time.Minute)
		if asked := len(n.servers[addrs(2)[0]].asked); asked != 1 {
			t.Errorf("asked %d times", asked)
		}
		changed := three
		changed.MaxPoll = 9
		if err := p.Reload([]Source{plain("four", "192.0.2.4"), changed, two, one}); err != nil {
			t.Fatal(err)
		}
		n.pass(time.Second)
		var got []string
		for _, st := range p.Status() {
			got = append(got, fmt.Sprintf("%s %d %d", st.Source.Name, st.ID, st.Reach))
		}
		// one, with id 0, has kept its reach; two was opened again.
		if want := []string{"four 4 1", "three 5 1", "two 3 0", "one 0 255"}; !slices.Equal(got, want) {
			t.Errorf("status %q, want %q", got, want)
		}
		if asked := len(n.servers[addrs(2)[0]].asked); asked != 2 {
			t.Errorf("asked %d times", asked)
		}
		if err := p.Reload(slices.Repeat([]Source{one}, SourcesMax+1)); err == nil {
			t.Error("too many sources")
		}
		if err := p.Reload([]Source{plain("bad", "192.0.2.1:0")}); err == nil || !strings.Contains(err.Error(), `"bad"`) {
			t.Errorf("a bad port: %v", err)
		}
		if err := p.Reload(nil); err != nil {
			t.Error(err)
		}
		n.pass(time.Second)
		if all := p.Status(); len(all) != 0 || len(n.live()) != 0 {
			t.Errorf("no sources, and %v", all)
		}
	})
}

// What is taken out while its request is under way is not heard any more.
func TestPollerReloadMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		server := n.serve(addrs(1)[0])
		p := n.poll(plain("one", "192.0.2.1"))
		for len(server.asked) == 0 {
			n.pass(time.Millisecond)
		}
		if err := p.Reload(nil); err != nil {
			t.Fatal(err)
		}
		n.pass(time.Second)
		if len(n.samples[0]) != 0 || len(n.reach[0]) != 0 || n.open != 0 {
			t.Errorf("%d samples, reach %b, %d sockets", len(n.samples[0]), n.reach[0], n.open)
		}
	})
}

// An operator's burst.
func TestPollerBurst(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		server := n.serve(addrs(1)[0])
		p := n.poll(plain("one", "192.0.2.1"))
		n.pass(100 * time.Second)
		before := len(server.asked)
		p.Burst()
		n.pass(16 * time.Second)
		if more := len(server.asked) - before; more != 8 {
			t.Errorf("asked %d times", more)
		}
	})
}

// The end comes at once, in the middle of anything.
func TestPollerEnds(t *testing.T) {
	for _, after := range []time.Duration{0, time.Second, 501 * time.Millisecond, time.Minute} {
		bubble(t, func(t *testing.T, n *fakeNet) {
			n.serve(addrs(1)[0])
			n.names["two.example"] = addrs(2)
			n.poll(plain("one", "192.0.2.1"), plain("two", "two.example"), plain("none", "none.example"))
			n.pass(after)
		})
	}
}

func TestNewFails(t *testing.T) {
	if _, err := New(PollerOptions{Sources: make([]Source, SourcesMax+1), Logger: slog.Default()}); err == nil || !strings.Contains(err.Error(), "64 at the most") {
		t.Errorf("too many sources: %v", err)
	}
	if _, err := New(PollerOptions{Sources: []Source{plain("x", "host:99999")}}); err == nil || !strings.Contains(err.Error(), "99999") {
		t.Errorf("a bad port: %v", err)
	}
}

// AC-S12. A loopback address is this host only to a server on this host.
func TestOwnRefID(t *testing.T) {
	ip := netip.MustParseAddr
	own := []netip.Addr{ip("10.0.0.1"), ip("2001:db8::1"), ip("::ffff:10.0.0.2"), ip("fe80::1%lo"), ip("127.0.0.1"), ip("::1")}
	away := ip("192.0.2.1")
	for _, c := range []struct {
		id     netip.Addr
		server netip.Addr
		want   bool
	}{
		{ip("10.0.0.1"), away, true},
		{ip("10.0.0.2"), away, true},
		{ip("2001:db8::1"), away, true},
		{ip("fe80::1"), away, true},
		{ip("10.0.0.3"), away, false},
		{ip("127.0.0.1"), away, false},
		{ip("::1"), away, false},
		{ip("127.0.0.1"), ip("127.0.0.5"), true},
		{ip("::1"), ip("::1"), true},
		{ip("127.0.0.1"), ip("10.0.0.1"), true},
		{ip("::1"), ip("2001:db8::1"), true},
		{ip("127.0.0.1"), ip("fe80::1%eth0"), true},
		{ip("192.0.2.1"), ip("127.0.0.1"), false},
	} {
		if got := ownRefID(ntp.RefIDOf(c.id), c.server, own); got != c.want {
			t.Errorf("refid of %v at %v: %v", c.id, c.server, got)
		}
	}
	if ownRefID(0, away, nil) || ownRefID(ntp.RefIDOf(away), away, nil) {
		t.Error("without addresses of its own")
	}
}
