package alert

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
)

var seedFlag = flag.Uint64("seed", 0, "repeats a run of what is random; 0: some by chance")

func seeds() []uint64 {
	if *seedFlag != 0 {
		return []uint64{*seedFlag}
	}
	return []uint64{rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64()}
}

func entries(all ...*rpc.JournalEntry) Restored {
	l := &log{}
	for _, e := range all {
		l.add(e)
	}
	return Restore(l.all())
}

func raisedEntry(id string) *rpc.JournalEntry {
	a := Alarm{Condition: warn(id), ID: id, Since: 5}
	return &rpc.JournalEntry{What: &rpc.JournalEntry_Alarm{Alarm: a.entry(false)}}
}

func overEntry(id string) *rpc.JournalEntry {
	a := Alarm{Condition: warn(id), ID: id, Since: 5}
	return &rpc.JournalEntry{What: &rpc.JournalEntry_Alarm{Alarm: a.entry(true)}}
}

func deliveryEntry(channel, message string, taken bool) *rpc.JournalEntry {
	d := &rpc.Delivered{Channel: channel, Message: message, Taken: taken, Attempts: 1}
	return &rpc.JournalEntry{What: &rpc.JournalEntry_Delivery{Delivery: d}}
}

func TestRestore(t *testing.T) {
	other := &rpc.JournalEntry{What: &rpc.JournalEntry_Started{Started: &rpc.Started{}}}
	for name, c := range map[string]struct {
		r     Restored
		stand string
		owed  string
	}{
		"nothing":                            {Restored{}, "[]", "[]"},
		"nothing of ours":                    {entries(other), "[]", "[]"},
		"a new channel":                      {entries(raisedEntry("1"), overEntry("1"), raisedEntry("2")), "[2]", "[2-firing]"},
		"in the order that they were raised": {entries(raisedEntry("2"), raisedEntry("1")), "[1 2]", "[2-firing 1-firing]"},
		"all taken":                          {entries(raisedEntry("1"), deliveryEntry("c", "1-firing", true)), "[1]", "[]"},
		"by another one":                     {entries(raisedEntry("1"), deliveryEntry("d", "1-firing", true)), "[1]", "[1-firing]"},
		"failed":                             {entries(raisedEntry("1"), deliveryEntry("c", "1-firing", false)), "[1]", "[1-firing]"},
		"failed, and over":                   {entries(raisedEntry("1"), deliveryEntry("c", "1-firing", false), overEntry("1")), "[]", "[1-firing 1-resolved]"},
		"half taken":                         {entries(raisedEntry("1"), overEntry("1"), deliveryEntry("c", "1-firing", true)), "[]", "[1-resolved]"},
		"the end was taken":                  {entries(raisedEntry("1"), raisedEntry("2"), overEntry("2"), deliveryEntry("c", "1-firing", true), deliveryEntry("c", "2-firing", true), deliveryEntry("c", "2-resolved", true)), "[1]", "[]"},
		"failed after taken":                 {entries(raisedEntry("1"), deliveryEntry("c", "1-firing", true), raisedEntry("2"), deliveryEntry("c", "2-firing", false), overEntry("2"), overEntry("1")), "[]", "[2-firing 2-resolved 1-resolved]"},
		"taken after failed":                 {entries(raisedEntry("1"), deliveryEntry("c", "1-firing", false), deliveryEntry("c", "1-firing", true), overEntry("1")), "[]", "[1-resolved]"},
		"a test came first":                  {entries(raisedEntry("0"), overEntry("0"), deliveryEntry("c", "t", true), raisedEntry("1"), overEntry("1")), "[]", "[1-firing 1-resolved]"},
		"raised before what was read":        {entries(deliveryEntry("c", "t", true), overEntry("1")), "[]", "[1-resolved]"},
		"over, all taken":                    {entries(raisedEntry("1"), deliveryEntry("c", "1-firing", true), overEntry("1"), deliveryEntry("c", "1-resolved", true)), "[]", "[]"},
		"older than what was taken":          {entries(raisedEntry("0"), overEntry("0"), raisedEntry("1"), deliveryEntry("c", "1-firing", true)), "[1]", "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := New(Options{Channels: []Channel{webhook("c")}}, c.r)
			if err != nil {
				t.Fatal(err)
			}
			stand := []string{}
			for _, a := range m.Standing() {
				stand = append(stand, a.ID)
				if a.Since != 5 || a.Critical || a.Sentence != a.Name+" is bad" {
					t.Errorf("stands %+v", a)
				}
			}
			if got := fmt.Sprint(stand); got != c.stand {
				t.Errorf("stand %v, want %v", got, c.stand)
			}
			for id := range m.senders[0].box.told {
				if !slices.Contains(stand, id) {
					t.Errorf("%s is over and known to stand", id)
				}
			}
			if got := fmt.Sprint(ids(m.senders[0].box)); got != c.owed {
				t.Errorf("owed %v, want %v", got, c.owed)
			}
		})
	}
}

// What is known twice is over once.
func TestRestoreTwice(t *testing.T) {
	a := raisedEntry("1")
	b := raisedEntry("1")
	b.GetAlarm().Id = "2"
	kept := &log{}
	m, err := New(Options{Journal: kept.add}, entries(a, b))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Standing(); len(got) != 1 || got[0].ID != "1" || !slices.Equal(kept.alarms(), []string{"2-resolved"}) {
		t.Errorf("stand %v, kept %v", got, kept.alarms())
	}
}

func TestRestoreIsBounded(t *testing.T) {
	all := []*rpc.JournalEntry{deliveryEntry("c", "t", true)}
	for i := range queueMax + 7 {
		all = append(all, raisedEntry(fmt.Sprint(i)))
	}
	kept := &log{}
	m, err := New(Options{Channels: []Channel{webhook("c")}, Journal: kept.add}, entries(all...))
	if err != nil {
		t.Fatal(err)
	}
	d := kept.deliveries()
	if n := m.Channels()[0].Queued; n != queueMax || len(d) != 7 || d[0].Message != "0-firing" || d[0].Taken || d[0].Fault != "dropped: 1000 messages wait" {
		t.Errorf("%d wait, kept %v", n, d)
	}
}

// Alarms come and go, receivers fail in all ways, and the node is restarted, with the last
// words of deliveries lost: each channel takes what the journal says, in its order.
func TestRestartsLoseNothing(t *testing.T) {
	for _, seed := range seeds() {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { restarts(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func restarts(t *testing.T, random *rand.Rand) {
	bad := map[string]bool{}
	to, kept := &receiver{t: t}, &log{}
	to.answer = func(a *arrival) int {
		to.mu.Lock()
		defer to.mu.Unlock()
		if bad[a.path] {
			return []int{500, 0, -1}[len(to.got)%3]
		}
		return 200
	}
	strict := webhook("b")
	strict.CriticalOnly, strict.Heartbeat = true, time.Minute
	channels := []Channel{webhook("a"), strict}
	var standing []Condition
	r := startRig(t, Restored{}, to, kept, channels)
	for range 60 {
		standing = standing[:0]
		for i := range 6 {
			if random.IntN(2) == 0 {
				standing = append(standing, Condition{Name: fmt.Sprint("x", i), Critical: i%2 == 0})
			}
		}
		to.mu.Lock()
		bad["a/in"], bad["b/in"] = random.IntN(2) == 0, random.IntN(2) == 0
		to.mu.Unlock()
		r.stand(random.IntN(100), standing...)
		if random.IntN(4) == 0 {
			r.stop()
			last := len(kept.entries) - 1
			if last >= 0 && kept.entries[last].GetDelivery() != nil {
				kept.entries = kept.entries[:last]
			}
			time.Sleep(time.Duration(random.IntN(100)) * time.Second)
			r = startRig(t, Restore(kept.all()), to, kept, channels)
		}
	}
	to.mu.Lock()
	clear(bad)
	to.mu.Unlock()
	r.stand(700)
	r.stop()
	if len(r.Standing()) != 0 {
		t.Errorf("stand %v", r.Standing())
	}
	all := kept.alarms()
	for channel, want := range map[string]func(*rpc.Alarmed) bool{
		"a": func(*rpc.Alarmed) bool { return true },
		"b": func(a *rpc.Alarmed) bool { return a.Severity == Critical },
	} {
		var owed []string
		for _, e := range kept.all() {
			a := e.GetAlarm()
			if a != nil && want(a) && (a.Name != ChannelFailed || a.Labels["channel"] != channel) {
				owed = append(owed, newMessage(a).id)
			}
		}
		got := to.taken(channel)
		if slices.Equal(got, owed) && len(owed) > 20 {
			continue
		}
		i := 0
		for i < min(len(got), len(owed)) && got[i] == owed[i] {
			i++
		}
		t.Errorf("%s took %d, is owed %d of %d; the first that differs is number %d", channel, len(got), len(owed), len(all), i)
	}
}
