package upstream

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// addrs returns the addresses 192.0.2.x:123.
func addrs(last ...int) (all []netip.AddrPort) {
	for _, x := range last {
		all = append(all, netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:123", x)))
	}
	return all
}

func nobody(netip.AddrPort) bool { return false }

func wantPlan(t *testing.T, p *Pool, now time.Duration, open, closed []netip.AddrPort) {
	t.Helper()
	o, c := p.Plan(now, nobody)
	if !slices.Equal(o, open) || !slices.Equal(c, closed) {
		t.Errorf("at %v: opens %v and closes %v, want %v and %v", now, o, c, open, closed)
	}
}

// A name is looked up at once, its first address taken, and looked up hourly from then on.
func TestPoolPlain(t *testing.T) {
	const begin = time.Minute
	p := NewPool(0, netip.AddrPort{}, begin)
	if p.LookupDue() != begin {
		t.Errorf("first lookup at %v", p.LookupDue())
	}
	p.Looking()
	if p.LookupDue() != Never {
		t.Error("two lookups at once")
	}
	wantPlan(t, p, begin, nil, nil)
	p.Looked(addrs(1, 2), begin)
	wantPlan(t, p, begin, addrs(1), nil)
	if d := p.LookupDue() - begin; d != lookupEvery {
		t.Errorf("next lookup in %v", d)
	}
	// What answers stays, whatever the name means by now.
	p.Looked(addrs(3), time.Hour)
	p.Good(addrs(1)[0])
	wantPlan(t, p, time.Hour, nil, nil)
	if d := p.LookupDue() - time.Hour; d != lookupEvery {
		t.Errorf("next lookup in %v", d)
	}
	// What is silent is replaced by what the name means.
	p.Silent(addrs(1)[0])
	wantPlan(t, p, time.Hour, addrs(3), addrs(1))
	if got := p.Members(); !slices.Equal(got, addrs(3)) {
		t.Errorf("members %v", got)
	}
}

// Failing lookups are made less and less often; what was known is kept.
func TestPoolLookupsBackOff(t *testing.T) {
	p := NewPool(1, netip.AddrPort{}, 0)
	var now time.Duration
	for _, want := range []time.Duration{2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024} {
		p.Looking()
		p.Looked(nil, now)
		wantPlan(t, p, now, nil, nil)
		if d := p.LookupDue() - now; d != want*time.Second {
			t.Fatalf("at %v: next lookup in %v, want %v s", now, d, int64(want))
		}
		now = p.LookupDue()
	}
	p.Looked(addrs(1), now)
	wantPlan(t, p, now, addrs(1), nil)
	p.Looked(nil, now+lookupEvery) // fails: 1 stays
	p.Good(addrs(1)[0])
	wantPlan(t, p, now+lookupEvery, nil, nil)
	if got := p.Members(); !slices.Equal(got, addrs(1)) {
		t.Errorf("members %v", got)
	}

	// Silent, and the name has nothing else: it goes on, and the lookups begin anew.
	now += lookupEvery + time.Minute
	p.Silent(addrs(1)[0])
	wantPlan(t, p, now, nil, nil)
	if p.LookupDue() > now {
		t.Errorf("no lookup when the only server is silent: in %v", p.LookupDue()-now)
	}
	for _, want := range []time.Duration{2, 4, 8} {
		p.Looking()
		p.Looked(addrs(1), now)
		wantPlan(t, p, now, nil, nil)
		if d := p.LookupDue() - now; d != want*time.Second {
			t.Fatalf("next lookup in %v, want %v s", d, int64(want))
		}
		now = p.LookupDue()
	}
	p.Good(addrs(1)[0])
	wantPlan(t, p, now, nil, nil)
	if d := p.LookupDue() - now; d < lookupEvery/2 {
		t.Errorf("all is well, and the next lookup in %v", d)
	}
}

// A pool of three of five: bad ones are replaced and not taken again for their time; who
// is left over when nothing better is known goes on.
func TestPoolReplaces(t *testing.T) {
	p := NewPool(3, netip.AddrPort{}, 0)
	p.Looked(addrs(1, 2, 3, 4, 5), 0)
	wantPlan(t, p, 0, addrs(1, 2, 3), nil)
	p.Silent(addrs(2)[0])
	p.Bad(addrs(3)[0])
	p.Silent(addrs(3)[0]) // does not shorten it
	wantPlan(t, p, 0, addrs(4, 5), addrs(2, 3))
	p.Silent(addrs(1)[0])
	wantPlan(t, p, 0, nil, nil)
	if p.LookupDue() > lookupMin {
		t.Errorf("nothing to replace 1 with, and the next lookup at %v", p.LookupDue())
	}
	p.Good(addrs(1)[0])
	wantPlan(t, p, silentHold-1, nil, nil)
	p.Silent(addrs(1)[0])
	wantPlan(t, p, silentHold-1, nil, nil)
	wantPlan(t, p, silentHold, addrs(2), addrs(1))
	p.Silent(addrs(2)[0])
	p.Silent(addrs(4)[0])
	p.Silent(addrs(5)[0])
	wantPlan(t, p, 2*silentHold-1, nil, nil)
	wantPlan(t, p, 2*silentHold, addrs(1), addrs(2))
	wantPlan(t, p, badHold-1, addrs(2), addrs(4)) // in turn
	wantPlan(t, p, badHold, addrs(3), addrs(5))
	p.Bad(addrs(99)[0]) // nobody's

	// What was forgiven does not count later.
	p = NewPool(1, netip.AddrPort{}, 0)
	p.Looked(addrs(1), 0)
	wantPlan(t, p, 0, addrs(1), nil)
	p.Bad(addrs(1)[0])
	p.Good(addrs(1)[0])
	p.Silent(addrs(1)[0])
	p.Looked(addrs(2), 0)
	wantPlan(t, p, 0, addrs(2), addrs(1))
	p.Silent(addrs(2)[0])
	p.Looked(addrs(1, 2), 0)
	wantPlan(t, p, silentHold, addrs(1), addrs(2))
}

// Nothing that is a member of another source is taken.
func TestPoolTaken(t *testing.T) {
	p := NewPool(2, netip.AddrPort{}, 0)
	p.Looked(addrs(1, 2, 3), 0)
	taken := func(a netip.AddrPort) bool { return a == addrs(1)[0] || a == addrs(3)[0] }
	if open, _ := p.Plan(0, taken); !slices.Equal(open, addrs(2)) {
		t.Errorf("opens %v", open)
	}
	if p.LookupDue() > lookupMax {
		t.Errorf("one is missing, and the next lookup at %v", p.LookupDue())
	}
	wantPlan(t, p, 0, addrs(1), nil)
}

// Whatever a resolver says, no more is taken than there is room for, and nothing absurd.
func TestPoolBounds(t *testing.T) {
	p := NewPool(1000, netip.AddrPort{}, 0)
	var many []netip.AddrPort
	for i := range 300 {
		many = append(many, addrs(i%256)...)
	}
	odd := []netip.AddrPort{{}, netip.MustParseAddrPort("0.0.0.0:123"), netip.MustParseAddrPort("[::]:123"), netip.MustParseAddrPort("224.0.1.1:123"),
		netip.MustParseAddrPort("[ff05::101]:123"), netip.MustParseAddrPort("192.0.2.1:0"), netip.MustParseAddrPort("[::ffff:192.0.2.0]:123")}
	p.Looked(append(odd, many...), 0)
	if len(p.addrs) != addressesMax || !slices.Equal(p.addrs[:2], addrs(0, 1)) {
		t.Errorf("%d addresses: %v", len(p.addrs), p.addrs)
	}
	open, _ := p.Plan(0, nobody)
	if len(open) != PoolMax || len(p.Members()) != PoolMax {
		t.Errorf("%d members", len(open))
	}
}

// An address that is written down is never looked up, and never replaced.
func TestPoolLiteral(t *testing.T) {
	p := NewPool(4, addrs(7)[0], 0)
	wantPlan(t, p, 0, addrs(7), nil)
	for _, now := range []time.Duration{0, time.Hour, 100 * time.Hour} {
		p.Bad(addrs(7)[0])
		wantPlan(t, p, now, nil, nil)
		if p.LookupDue() != Never {
			t.Errorf("lookup at %v", p.LookupDue())
		}
	}
}

// Whatever happens: members differ, there are no more than wanted, open and closed are
// what changed, and lookups are never closer than two seconds.
func TestPoolAlways(t *testing.T) {
	rng := rand.New(rand.NewPCG(*seedFlag, 1))
	for range 200 {
		want := 1 + rng.IntN(5)
		p := NewPool(want, netip.AddrPort{}, 0)
		var now, looked time.Duration = 0, -lookupMin
		members := map[netip.AddrPort]bool{}
		for range 300 {
			now += time.Duration(rng.IntN(int(5 * time.Minute)))
			one := addrs(rng.IntN(8))[0]
			switch rng.IntN(6) {
			case 0:
				p.Silent(one)
			case 1:
				p.Good(one)
			case 2:
				p.Bad(one)
			}
			if p.LookupDue() <= now {
				if now-looked < lookupMin {
					t.Fatalf("seed %d: lookups at %v and %v", *seedFlag, looked, now)
				}
				looked = now
				p.Looking()
				var said []netip.AddrPort
				for range rng.IntN(4) {
					said = append(said, addrs(rng.IntN(8))...)
				}
				p.Looked(said, now)
			}
			open, closed := p.Plan(now, func(a netip.AddrPort) bool { return a == addrs(0)[0] })
			for _, a := range closed {
				if !members[a] {
					t.Fatalf("seed %d: closes %v, which is no member", *seedFlag, a)
				}
				delete(members, a)
			}
			for _, a := range open {
				if members[a] || a == addrs(0)[0] {
					t.Fatalf("seed %d: opens %v", *seedFlag, a)
				}
				members[a] = true
			}
			if len(members) > want || len(p.Members()) != len(members) {
				t.Fatalf("seed %d: members %v, and %v by what was told", *seedFlag, p.Members(), members)
			}
		}
	}
}

// AC-N1: the spacing counts for the address, whoever asks, and by the stricter of two.
func TestSpacing(t *testing.T) {
	s := NewSpacing()
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	if s.Earliest(one, 4*time.Second) > -time.Hour {
		t.Error("nobody was asked")
	}
	s.Asked(one, time.Minute, 4*time.Second)
	for _, c := range []struct {
		addr    netip.Addr
		spacing time.Duration
		want    time.Duration
	}{
		{one, 0, time.Minute + 4*time.Second},
		{netip.MustParseAddr("::ffff:192.0.2.1"), 0, time.Minute + 4*time.Second},
		{one, 5 * time.Second, time.Minute + 5*time.Second},
		{one, time.Hour, time.Minute + spacingKept},
		{two, 4 * time.Second, -Never},
	} {
		if got := s.Earliest(c.addr, c.spacing); got != c.want {
			t.Errorf("%v with %v: %v, want %v", c.addr, c.spacing, got, c.want)
		}
	}
	s.Asked(one, time.Minute+4*time.Second, 0)
	if got := s.Earliest(one, 0); got != time.Minute+8*time.Second {
		t.Errorf("%v: the stricter spacing was forgotten", got)
	}
	for i := range 1000 {
		s.Asked(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), time.Hour+time.Duration(i)*time.Second, 0)
	}
	if len(s.asked) > 62 {
		t.Errorf("%d addresses are remembered", len(s.asked))
	}
	s.Asked(two, 2*time.Hour, 0)
	if s.Earliest(two, 0) != 2*time.Hour || s.Earliest(two, 4*time.Second) != 2*time.Hour+4*time.Second {
		t.Error("the spacing of one who has none")
	}
}

// Members returns the members' addresses.
func (p *Pool) Members() []netip.AddrPort {
	var all []netip.AddrPort
	for _, m := range p.members {
		all = append(all, m.addr)
	}
	return all
}
