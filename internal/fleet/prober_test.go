package fleet

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/ntp"
	"github.com/truechimer/truechimer/internal/rpc"
)

// A verdict stands for two probes that are not answered, and not for three.
func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.silent["10.0.0.2"] = true
		g := Group{Name: "g", Hosts: []string{"10.0.0.1", "10.0.0.2/32"}, Interval: time.Minute, Profile: limit()}
		o := n.options(g)
		o.Asked = func(a netip.Addr) (int64, bool) { return 77, a.String() == "10.0.0.2" }
		run(t, n, o, func(p *Prober) {
			state := func() string {
				var s []string
				for _, h := range p.Hosts("", false) {
					s = append(s, strings.TrimPrefix(h.Verdict.String(), "VERDICT_")+": "+h.Reason)
				}
				for _, c := range p.Conditions() {
					s = append(s, c.Name+" "+c.Labels["host"])
				}
				return strings.Join(s, "; ")
			}
			steps := []struct {
				after time.Duration
				want  string
			}{
				{time.Second, "OK: within 1.500018ms; UNKNOWN: it was not asked yet"},
				{40 * time.Second, "OK: within 1.500018ms; UNKNOWN: never seen: it has not answered yet"},
				{2 * time.Minute, "OK: within 1.500018ms; UNKNOWN: never seen: it has not answered yet"}, // asked at 1:00 and 2:00, in vain
				{time.Minute, "UNKNOWN: it did not answer the last 3 probes; UNKNOWN: never seen: it has not answered yet; host_unreachable 10.0.0.1"},
			}
			for i, s := range steps {
				if i == 1 {
					n.mu.Lock()
					n.silent["10.0.0.1"] = true
					n.mu.Unlock()
				}
				wait(s.after)
				if got := state(); !like(got, s.want) {
					t.Errorf("step %d: %s, want %s", i, got, s.want)
				}
			}
			h := p.Hosts("g", true)
			if len(h) != 2 || h[0].BoundNs != -1 || h[0].Probes != 4 || h[0].Lost != 3 || h[0].LastAnswerUnixNs == 0 || h[1].LastAskedUnixNs != 77 || h[1].ToleranceNs != 50e6 || h[1].LastAnswerUnixNs != 0 {
				t.Errorf("%v", h)
			}
			if len(p.Hosts("h", false)) != 0 {
				t.Error("there is a host in a group that there is not")
			}
			n.mu.Lock()
			n.silent = map[string]bool{}
			n.mu.Unlock()
			wait(time.Hour)
			if h := p.Hosts("", true); len(h) != 0 {
				t.Errorf("after all answer: %v", h)
			}
			// What answered once is missed, even where it is of a range.
			n.mu.Lock()
			n.silent = map[string]bool{"10.0.0.1": true, "10.0.0.2": true}
			n.faults["10.0.0.1"] = ntp.KissError{Code: ntp.RefIDFromASCII("DENY")}
			n.mu.Unlock()
			wait(time.Hour)
			if c := p.Conditions(); len(c) != 2 || c[1].Name != HostUnreachable || !strings.Contains(c[1].Sentence, "did not answer the last") {
				t.Errorf("%v", c)
			}
			// The last word counts: first it does not want to be asked, then it is silent.
			for _, want := range []string{"DENY", "did not answer the last"} {
				n.mu.Lock()
				n.silent["10.0.0.1"] = want != "DENY"
				n.mu.Unlock()
				wait(2 * time.Hour)
				if h := p.Hosts("", true); !strings.Contains(h[0].Reason, want) {
					t.Errorf("%v, want %s", h[0], want)
				}
			}
		})
	})
}

// like compares but for the digits of spans of time.
func like(got, want string) bool {
	digits := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return '0'
			}
			return r
		}, strings.ReplaceAll(s, "1.500018ms", "1.5ms"))
	}
	cut := func(s string) string {
		parts := strings.Split(s, "within ")
		for i := range parts[1:] {
			_, rest, _ := strings.Cut(parts[i+1], "ms")
			parts[i+1] = rest
		}
		return strings.Join(parts, "within ")
	}
	return digits(cut(got)) == digits(cut(want))
}

// Each probe is on record, raw, and the hours of a host come to the same.
func TestJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.ahead["10.0.0.2"], n.ahead["10.0.0.3"] = 30*time.Millisecond, -80*time.Millisecond
		n.silent["10.0.0.4"] = true
		n.faults["10.0.0.5"] = ntp.ErrUnsynchronised
		g := Group{Name: "g", Hosts: []string{"10.0.0.1-10.0.0.5"}, Interval: 50 * time.Second, Profile: limit()}
		run(t, n, n.options(g), func(p *Prober) {
			wait(90 * time.Minute)
			n.mu.Lock()
			n.silent["10.0.0.1"] = true
			n.mu.Unlock()
			wait(100 * time.Minute)
		})
		type sum struct {
			probes, lost, ok, warn, breach, unknown uint32
			offset                                  int64
			count                                   uint64
		}
		raw, hours := map[string]sum{}, map[string]sum{}
		starts := map[string][]int64{}
		for _, e := range n.entries() {
			switch compliance.KindOf(e) {
			case compliance.KindProbe:
				p := e.GetProbe()
				s := raw[p.Host]
				s.probes++
				switch p.Verdict {
				case rpc.Verdict_VERDICT_OK:
					s.ok++
				case rpc.Verdict_VERDICT_WARN:
					s.warn++
				case rpc.Verdict_VERDICT_BREACH:
					s.breach++
				default:
					s.unknown++
				}
				if len(p.Stamps) == 0 {
					s.lost++
					if p.Fault != "no answer" {
						t.Errorf("fault %q", p.Fault)
					}
				} else if p.Verdict != rpc.Verdict_VERDICT_UNKNOWN {
					s.offset += p.OffsetNs
					s.count++
				}
				if len(p.Stamps) > 0 && (len(p.Stamps) != 4 || p.Stratum != 3 || p.Refid != 42) {
					t.Errorf("%v", p)
				}
				raw[p.Host] = s
			case compliance.KindHost:
				h := e.GetHost()
				if h.Group != "g" || h.Verdicts.Profile != "finra-50ms" || h.Start%3600 != 0 || h.Bound.GetCount() != h.Offset.GetCount() {
					t.Errorf("%v", h)
				}
				starts[h.Host] = append(starts[h.Host], h.Start)
				s := hours[h.Host]
				s.probes += h.Probes
				s.lost += h.Lost
				s.ok += h.Verdicts.Ok
				s.warn += h.Verdicts.Warn
				s.breach += h.Verdicts.Breach
				s.unknown += h.Verdicts.Unknown
				s.offset += h.Offset.GetSumNs()
				s.count += h.Offset.GetCount()
				hours[h.Host] = s
			default:
				t.Errorf("%v", e)
			}
		}
		if !maps.Equal(raw, hours) || len(raw) != 5 {
			t.Errorf("hours come to %+v, probes to %+v", hours, raw)
		}
		if s := hours["10.0.0.3:123"]; s.breach == 0 || s.breach != s.probes || s.offset <= 0 {
			t.Errorf("a host that is behind: %+v", s)
		}
		for h, list := range starts {
			if len(list) != 4 || !slices.IsSorted(list) || list[0] == list[1] {
				t.Errorf("%s has hours %v", h, list)
			}
		}
	})
}

// Where this node cannot claim the time, nothing is said of hosts that answer.
func TestBlind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.blind = true
		n.ahead["10.0.0.1"] = time.Second
		run(t, n, n.options(Group{Name: "g", Hosts: []string{"10.0.0.1"}, Profile: limit()}), func(p *Prober) {
			wait(time.Minute)
			h := p.Hosts("", true)
			if len(h) != 1 || h[0].Verdict != rpc.Verdict_VERDICT_UNKNOWN || h[0].Reason != faultOurs || len(p.Conditions()) != 0 {
				t.Errorf("%v, %v", h, p.Conditions())
			}
		})
	})
}

// Other groups take the place of those that there are while all goes on; what is known stays.
func TestSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.ahead["10.0.0.1"] = 30 * time.Millisecond
		n.silent["10.0.0.2"] = true
		g := Group{Name: "g", Hosts: []string{"10.0.0.1", "10.0.0.2"}, Interval: 10 * time.Second, Profile: limit()}
		run(t, n, n.options(g), func(p *Prober) {
			wait(46 * time.Second) // a probe of the second is under way
			other := g
			other.Hosts = []string{"10.0.0.1", "10.0.0.3"}
			other.Profile.Tolerance, other.Profile.Warn = 20*time.Millisecond, 10*time.Millisecond
			if h := p.Hosts("", false); h[0].Verdict != rpc.Verdict_VERDICT_WARN {
				t.Errorf("%v", h)
			}
			before := len(n.entries())
			if err := p.Set([]Group{other}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if e := n.entries()[len(n.entries())-1].GetHost(); len(n.entries()) != before+1 || e.GetHost() != "10.0.0.2:123" || e.Probes != 3 {
				t.Errorf("journalled: %v", e)
			}
			h := p.Hosts("", false)
			if len(h) != 2 || h[0].Probes != 5 || h[0].Verdict != rpc.Verdict_VERDICT_BREACH || h[1].Name != "10.0.0.3" {
				t.Errorf("%v", h)
			}
			asked := n.times("10.0.0.2")
			wait(time.Minute)
			if h := p.Hosts("", false); h[0].Verdict != rpc.Verdict_VERDICT_BREACH || h[0].ToleranceNs != 20e6 {
				t.Errorf("%v", h)
			}
			if n.times("10.0.0.2") != asked || n.times("10.0.0.3") < 5 {
				t.Errorf("the one was asked %d times more, the other %d times", n.times("10.0.0.2")-asked, n.times("10.0.0.3"))
			}
			for _, e := range n.entries()[before+1:] {
				if e.GetProbe().GetHost() == "10.0.0.2:123" {
					t.Error("a probe of a host that is gone was journalled")
				}
			}
			other.Hosts = []string{"10.0.0.0/16"}
			if err := p.Set([]Group{other}); err == nil || len(p.Hosts("", false)) != 2 {
				t.Errorf("%v, %d hosts", err, len(p.Hosts("", false)))
			}
			synctest.Wait()
			asked = n.times("10.0.0.1")
			other.Hosts, other.Interval = []string{"10.0.0.1"}, time.Hour
			if err := p.Set([]Group{other}); err != nil {
				t.Fatal(err)
			}
			wait(59 * time.Minute)
			if more := n.times("10.0.0.1") - asked; more != 1 {
				t.Errorf("asked %d times in an hour", more)
			}
			other.Interval = 10 * time.Second
			given := []Group{other}
			asked = n.times("10.0.0.1")
			if err := p.Set(given); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			given[0].Name, given[0].Profile.Tolerance = "x", 1
			wait(time.Minute)
			if more := n.times("10.0.0.1") - asked; more < 6 || len(p.Hosts("g", false)) != 1 {
				t.Errorf("asked %d times in a minute", more)
			}
			if err := p.Set(nil); err != nil || len(p.Hosts("", false)) != 0 {
				t.Error(err)
			}
		})
	})
}

// This node itself is left out of ranges.
func TestOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		run(t, n, n.options(Group{Name: "g", Hosts: []string{"10.9.9.8-10.9.9.9"}, Profile: limit()}), func(p *Prober) {
			wait(5 * time.Minute)
			if h := p.Hosts("", false); len(h) != 1 || h[0].Name != "10.9.9.8" {
				t.Errorf("%v", h)
			}
		})
		if n.times("10.9.9.9") > 0 {
			t.Error("it asked itself")
		}
	})
	p := &Prober{}
	for addr, want := range map[string]bool{"127.0.0.1:123": true, "127.0.0.1:1123": false, "[::1]:123": true, "192.0.2.77:123": false} {
		if got := p.own()(netip.MustParseAddrPort(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

// What is observed first comes by Set as well, and is asked at once.
func TestSetFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		run(t, n, n.options(), func(p *Prober) {
			wait(time.Hour)
			if err := p.Set([]Group{{Name: "g", Hosts: []string{"10.0.0.1"}, Profile: limit()}}); err != nil {
				t.Fatal(err)
			}
			wait(time.Second)
			if n.times("10.0.0.1") != 1 {
				t.Error("it was not asked")
			}
		})
	})
}

// Many conditions become one.
func TestConditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		var hosts []string
		for i := range 200 {
			a := fmt.Sprintf("10.0.0.%d", i+1)
			hosts = append(hosts, a)
			n.ahead[a] = time.Second
		}
		n.silent["10.0.0.180"], n.faults["10.0.0.1"], n.ahead["10.0.0.2"] = true, ntp.ErrUnsynchronised, 0
		n.faults["10.0.0.3"] = ntp.KissError{Code: ntp.RefIDFromASCII("DENY")}
		run(t, n, n.options(Group{Name: "g", Hosts: hosts, Interval: time.Minute, Profile: limit()}), func(p *Prober) {
			wait(10 * time.Minute)
			c := p.Conditions()
			if len(c) != conditionsMax+1 {
				t.Fatalf("%d conditions", len(c))
			}
			if c[0].Name != HostBeyondLimit || c[0].Critical || !strings.Contains(c[0].Sentence, "not synchronised") {
				t.Errorf("%+v", c[0])
			}
			if c[1].Name != HostUnreachable || c[1].Labels["host"] != "10.0.0.3" || !strings.Contains(c[1].Sentence, "DENY") || c[1].Critical {
				t.Errorf("%+v", c[1])
			}
			if c[2].Name != HostBeyondLimit || !c[2].Critical || c[2].Labels["host"] != "10.0.0.4" || c[2].Labels["group"] != "g" || !strings.Contains(c[2].Sentence, "1s ahead") {
				t.Errorf("%+v", c[2])
			}
			last := c[conditionsMax]
			if last.Name != HostBeyondLimit || len(last.Labels) != 0 || !last.Critical || !strings.HasPrefix(last.Sentence, "98 more hosts are not within their limits, and 1 more do not answer") {
				t.Errorf("%+v", last)
			}
			if got := n.times("10.0.0.3"); got > 6 {
				t.Errorf("a host that does not want to be asked was asked %d times", got)
			}
		})
	})
}

// The end comes at once, whatever is under way, and what the hours came to is on record.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.silent["10.0.0.2"] = true
		var before time.Time
		run(t, n, n.options(Group{Name: "g", Hosts: []string{"10.0.0.1", "10.0.0.2"}, Interval: 8 * time.Second, Profile: limit()}), func(p *Prober) {
			wait(5 * time.Second) // the second is being asked
			before = time.Now()
		})
		if took := time.Since(before); took != 0 {
			t.Errorf("the end took %v", took)
		}
		var hosts []string
		for _, e := range n.entries() {
			if h := e.GetHost(); h != nil {
				hosts = append(hosts, h.Host)
			}
		}
		if !slices.Equal(hosts, []string{"10.0.0.1:123"}) {
			t.Errorf("hours of %v", hosts)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	_, err := New(Options{Groups: []Group{{Name: "g", Hosts: []string{"10.0.0.0/8", "time.nist.gov"}, Profile: limit()}}})
	if err == nil || !strings.Contains(err.Error(), "observe hosts:") || !strings.Contains(err.Error(), "10.0.0.0/8") || !strings.Contains(err.Error(), "nist") {
		t.Error(err)
	}
}
