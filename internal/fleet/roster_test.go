package fleet

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
)

// The turns of a group are spread evenly over its interval, and come once in it.
func TestSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		run(t, n, n.options(Group{Name: "g", Hosts: []string{"10.0.0.1-10.0.0.10"}, Interval: time.Minute, Profile: limit()}), func(*Prober) { wait(10*time.Minute - time.Second) })
		if len(n.all) != 100 {
			t.Fatalf("%d probes", len(n.all))
		}
		for i := range n.all[1:] {
			if gap := n.all[i+1] - n.all[i]; gap != 6*time.Second {
				t.Errorf("probe %d comes %v after the one before", i+1, gap)
			}
		}
		for a, at := range n.asked {
			if len(at) != 10 {
				t.Errorf("%s was asked %d times", a, len(at))
			}
		}
	})
}

// However many hosts there are, and whether they answer or not, the limits hold; and nobody is left out.
func TestRate(t *testing.T) {
	for _, silent := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork()
			g := Group{Name: "g", Hosts: []string{"10.0.0.0-10.0.15.255"}, Interval: IntervalMin, Profile: limit()}
			if silent {
				for a := netip.MustParseAddr("10.0.0.0"); len(n.silent) < HostsMax; a = a.Next() {
					n.silent[a.String()] = true
				}
			}
			run(t, n, n.options(g), func(*Prober) { wait(4 * time.Minute) })
			for i := range n.all[1:] {
				if gap := n.all[i+1] - n.all[i]; gap < spacing {
					t.Fatalf("probe %d comes %v after the one before", i+1, gap)
				}
			}
			if n.most > flightsMax || len(n.asked) != HostsMax {
				t.Errorf("%d at a time, %d hosts were asked", n.most, len(n.asked))
			}
			least, most := len(n.all), 0
			for _, at := range n.asked {
				least, most = min(least, len(at)), max(most, len(at))
				for i := range at[1:] {
					if at[i+1]-at[i] < IntervalMin*7/8 {
						t.Fatalf("a host was asked again after %v", at[i+1]-at[i])
					}
				}
			}
			if most-least > 1 {
				t.Errorf("hosts were asked %d to %d times", least, most)
			}
			t.Logf("silent %v: %d probes in 4 min, %d at a time", silent, len(n.all), n.most)
		})
	}
}

// A host that does not answer is asked less and less often, but hourly at the least, and as
// often as ever once it answers.
func TestBackOff(t *testing.T) {
	tests := map[time.Duration][]time.Duration{
		time.Minute:      {1, 1, 2, 4, 8, 16, 16, 16},
		10 * time.Minute: {10, 10, 20, 40, 60, 60, 60},
		2 * time.Hour:    {120, 120, 120, 120},
	}
	for interval, want := range tests {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork()
			n.silent["10.0.0.1"] = true
			run(t, n, n.options(Group{Name: "g", Hosts: []string{"10.0.0.1"}, Interval: interval, Profile: limit()}), func(p *Prober) {
				var total time.Duration
				for _, w := range want {
					total += w * time.Minute
				}
				wait(total + 5*time.Second)
				n.mu.Lock()
				n.silent["10.0.0.1"] = false
				got := gaps(n.asked["10.0.0.1"])
				n.mu.Unlock()
				if !slices.Equal(got, want) {
					t.Errorf("%v: asked after %d minutes, want %d", interval, got, want)
				}
				wait(max(want[len(want)-1]*time.Minute, interval) + 3*interval)
			})
			again := gaps(n.asked["10.0.0.1"])
			if last := again[len(again)-1]; last != interval/time.Minute {
				t.Errorf("%v: after an answer it was asked after %d minutes", interval, last)
			}
		})
	}
}

func gaps(at []time.Duration) []time.Duration {
	var list []time.Duration
	for i := range at[1:] {
		list = append(list, (at[i+1]-at[i]).Round(time.Minute)/time.Minute)
	}
	return list
}

// Names are looked up hourly, and often where that fails; what they mean is followed, unless it
// is excluded, or this node.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.names["a.example"] = []string{"10.0.0.1", "10.0.0.2"}
		g := Group{Name: "g", Hosts: []string{"a.example"}, Exclude: []string{"10.0.7.0/24"}, Interval: time.Minute, Profile: limit()}
		is := func(names ...string) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.names["a.example"] = names
		}
		run(t, n, n.options(g), func(p *Prober) {
			expect := func(what, address, verdict string) {
				t.Helper()
				h := p.Hosts("", false)
				got := "left out"
				if len(h) > 0 {
					got = h[0].Address + " " + h[0].Verdict.String()
				}
				if want := strings.TrimSpace(address + " " + verdict); got != want {
					t.Errorf("%s: %s, want %s", what, got, want)
				}
			}
			wait(30 * time.Minute)
			expect("first", "10.0.0.1:123", "VERDICT_OK")
			if len(n.lookups) != 1 {
				t.Errorf("%d lookups", len(n.lookups))
			}
			is("10.0.0.2", "10.0.0.1")
			wait(time.Hour)
			expect("still there", "10.0.0.1:123", "VERDICT_OK")
			is("10.0.0.3")
			wait(time.Hour)
			expect("moved", "10.0.0.3:123", "VERDICT_OK")
			is()
			wait(time.Hour)
			expect("not to be looked up", "10.0.0.3:123", "VERDICT_OK")
			is("10.9.9.9")
			wait(time.Hour)
			expect("this node", "left out", "")
			is("10.0.7.1")
			wait(time.Hour)
			expect("excluded", "left out", "")
			if n.times("10.9.9.9")+n.times("10.0.7.1") > 0 {
				t.Error("what must not be asked was asked")
			}
			g.Exclude = nil
			if err := p.Set([]Group{g}); err != nil {
				t.Fatal(err)
			}
			wait(time.Hour)
			expect("no more excluded", "10.0.7.1:123", "VERDICT_OK")
		})
		if got := gaps(n.lookups)[:3]; !slices.Equal(got, []time.Duration{60, 60, 60}) {
			t.Errorf("looked up after %d minutes", got)
		}
		raw, hours := map[string]uint32{}, map[string]uint32{}
		for _, e := range n.entries() {
			if p := e.GetProbe(); p != nil {
				raw[p.Host]++
			} else if h := e.GetHost(); h != nil {
				hours[h.Host] += h.Probes
			}
		}
		if !maps.Equal(raw, hours) || len(raw) != 3 {
			t.Errorf("hours come to %v, probes to %v", hours, raw)
		}
		for _, e := range n.entries() {
			if h := e.GetHost(); h != nil && h.Probes > 61 {
				t.Errorf("an hour of %d probes: %v", h.Probes, h)
			}
		}
	})
}

func TestNoName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		run(t, n, n.options(Group{Name: "g", Hosts: []string{"a.example"}, Profile: limit()}), func(p *Prober) {
			wait(5 * time.Hour)
			h := p.Hosts("", false)
			if h[0].Address != "" || h[0].Reason != "its name cannot be looked up: no such host" || h[0].Verdict != rpc.Verdict_VERDICT_UNKNOWN {
				t.Errorf("%v", h)
			}
			if c := p.Conditions(); len(c) != 1 || c[0].Name != HostUnreachable || !strings.Contains(c[0].Sentence, "no such host") {
				t.Errorf("%v", c)
			}
		})
		if got, want := gaps(n.lookups), []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60}; !slices.Equal(got[:9], want) {
			t.Errorf("looked up after %d minutes, want %d", got, want)
		}
	})
}

// A name that means another address by now is asked there at its usual rate, and nothing of what
// was known of the other is said of it.
func TestMoved(t *testing.T) {
	r := roster{hosts: newHosts([]wanted{{group: &Group{Name: "g", Interval: time.Minute}, name: "a"}}, 0)}
	h := r.hosts[0]
	at := func(a string) []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort(a)} }
	r.begin(h, 0)
	r.looked(h, 0, at("10.0.0.1:123"), "")
	for range 5 {
		r.begin(h, h.due)
		r.end(h, false)
	}
	h.last.reason = "known"
	r.begin(h, time.Hour)
	r.looked(h, time.Hour, at("10.0.0.1:123"), "")
	if h.silent != 5 || h.last.reason != "known" {
		t.Errorf("it has not moved: %+v", h)
	}
	r.begin(h, 2*time.Hour)
	r.looked(h, 2*time.Hour, at("10.0.0.2:123"), "")
	if h.wait() != time.Minute || h.last != notAsked() || r.flights != 0 {
		t.Errorf("it has moved: %+v", h)
	}
}

// The served clock is compared with the system clock as it was when it was read.
func TestRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Prober{opts: Options{Clock: func() (int64, time.Duration, bool) {
			time.Sleep(time.Second)
			unix := time.Now().UnixNano() + 5e9
			time.Sleep(time.Second)
			return unix, 7, true
		}}}
		if r := p.read(); r.ahead != 5*time.Second || r.unsure < time.Second || r.unsure > time.Second+1 || r.bound != 7 || !r.claimed {
			t.Errorf("%+v", r)
		}
		p.opts.Clock = func() (int64, time.Duration, bool) { return 0, 0, false }
		if r := p.read(); r.unix != time.Now().UnixNano() || r.ahead != 0 || r.claimed {
			t.Errorf("%+v", r)
		}
	})
}
