package alert

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a manager with a fake network, in a bubble.
type rig struct {
	*Manager
	t    *testing.T
	to   *receiver
	kept *log
	stop func() // waits for the end
}

func newRig(t *testing.T, r Restored, answer func(*arrival) int, channels ...Channel) *rig {
	t.Helper()
	to, kept := &receiver{t: t, answer: answer}, &log{}
	return startRig(t, r, to, kept, channels)
}

func startRig(t *testing.T, r Restored, to *receiver, kept *log, channels []Channel) *rig {
	t.Helper()
	m, err := New(Options{Node: "n", Link: "https://n/", Channels: channels, Journal: kept.add,
		Head: func() string { return "head 1" }, Transport: to}, r)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { m.Run(ctx); close(ended) }()
	return &rig{m, t, to, kept, func() { cancel(); <-ended }}
}

// stand lets conditions stand for some seconds.
func (r *rig) stand(seconds int, standing ...Condition) {
	for range seconds {
		before := time.Now()
		r.Update(before.UnixNano(), standing)
		if waited := time.Since(before); waited != 0 {
			r.t.Errorf("Update took %v", waited)
		}
		time.Sleep(time.Second)
	}
}

func (r *rig) expect(want string) {
	r.t.Helper()
	synctest.Wait()
	if got := r.to.types(); got != want {
		r.t.Errorf("sent %q, want %q", got, want)
	}
}

func webhook(name string) Channel {
	return Channel{Name: name, Type: Webhook, URL: "http://" + name + "/in"}
}

func TestManagerTellsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Restored{}, nil, webhook("a"))
		defer r.stop()
		start := time.Now()
		r.Update(start.UnixNano(), []Condition{critical("clock_jump", "source", "s")})
		synctest.Wait()
		if len(r.to.all()) != 1 {
			t.Fatalf("sent %d", len(r.to.all()))
		}
		got := r.to.all()[0]
		alarm := r.Standing()[0]
		want := webhookMessage{ID: alarm.ID + "-firing", Type: firing, Node: "n", SentUnixNs: start.UnixNano(), Head: "head 1"}
		if want.Alarm = got.Alarm; got.webhookMessage != want || got.path != "a/in" || got.at != start {
			t.Errorf("got %+v", got)
		}
		if a := got.Alarm; a.ID != alarm.ID || a.Name != "clock_jump" || a.Labels["source"] != "s" || a.Severity != "critical" ||
			a.Sentence != "clock_jump is bad" || a.SinceUnixNs != start.UnixNano() {
			t.Errorf("got %+v", a)
		}
		r.expect("firing")
		r.stand(10, critical("clock_jump", "source", "s"))
		r.stand(30)
		r.expect("")
		r.stand(1)
		r.expect("resolved")
		if len(r.Standing()) != 0 || len(r.kept.alarms()) != 2 || len(r.kept.deliveries()) != 2 {
			t.Errorf("stand %v, kept %v and %v", r.Standing(), r.kept.alarms(), r.kept.deliveries())
		}
	})
}

// A message goes out with an id that stays the same, until it is taken.
func TestManagerTriesAgain(t *testing.T) {
	for name, status := range map[string]int{"refused": 500, "reset": 0, "hangs": -1, "redirect": 307, "no content type of ours": 415} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				failures := 5
				r := newRig(t, Restored{}, func(*arrival) int {
					if failures--; failures >= 0 {
						return status
					}
					return 204
				}, webhook("a"))
				defer r.stop()
				r.stand(120, warn("x"))
				synctest.Wait()
				if len(r.to.all()) != 6 {
					t.Fatalf("%d attempts", len(r.to.all()))
				}
				for _, a := range r.to.all() {
					if a.ID != r.to.all()[0].ID || a.path != "a/in" {
						t.Errorf("%s went to %s", a.ID, a.path)
					}
				}
				d := r.kept.deliveries()
				if len(d) != 2 || d[0].Taken || d[0].Attempts != 1 || d[0].Fault == "" || !d[1].Taken || d[1].Attempts != 6 || d[1].Fault != "" {
					t.Errorf("kept %v", d)
				}
				c := r.Channels()[0]
				if c.Failures != 5 || c.Taken != 1 || c.Queued != 0 || c.Fault != "" || c.LastTakenUnixNs == 0 {
					t.Errorf("channel %v", c)
				}
			})
		})
	}
}

func TestManagerFaults(t *testing.T) {
	for status, want := range map[int]string{
		500: "it answered 500 Internal Server Error",
		799: "it answered 799",
		302: "it answered 302, a redirect, which is not followed: set the channel's url to where it leads",
		0:   "connection reset by peer",
		-1:  "no answer within 10s",
	} {
		synctest.Test(t, func(t *testing.T) {
			c := webhook("a")
			c.URL = "http://user:secret1@a/in?key=secret2"
			r := newRig(t, Restored{}, func(*arrival) int { return status }, c)
			defer r.stop()
			r.stand(11, warn("x"))
			if got := r.Channels()[0]; got.Fault != want || got.Queued != 1 {
				t.Errorf("got %v, want %q", got, want)
			}
			for _, e := range r.kept.all() {
				if strings.Contains(e.String(), "secret") {
					t.Errorf("a secret in %v", e)
				}
			}
		})
	}
}

// A channel that fails is an alarm, within a minute, which the others are told.
func TestManagerTellsOfFailedChannels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		beats := webhook("a")
		beats.Heartbeat = time.Minute
		r := newRig(t, Restored{}, func(a *arrival) int {
			if down && a.path == "a/in" {
				return -1
			}
			return 200
		}, beats, webhook("b"))
		defer r.stop()
		r.stand(60)
		got := r.Standing()
		if len(got) != 1 || got[0].Name != ChannelFailed || got[0].Labels["channel"] != "a" {
			t.Errorf("stand %v", got)
		}
		if got := r.to.taken("b"); len(got) != 1 {
			t.Errorf("b was told %v", got)
		}
		down = false
		r.stand(200)
		if got := r.to.taken("b"); len(got) != 2 || len(r.Standing()) != 0 {
			t.Errorf("b was told %v, stand %v", got, r.Standing())
		}
		if got := r.to.taken("a"); got != nil {
			t.Errorf("a was told %v", got)
		}
	})
}

func TestManagerTestsEachDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Restored{}, nil, webhook("a"))
		defer r.stop()
		time.Sleep(testFirst - time.Second)
		r.expect("")
		time.Sleep(time.Second)
		r.expect("test")
		time.Sleep(testEvery - time.Second)
		r.expect("")
		time.Sleep(time.Second)
		r.expect("test")
		if d := r.kept.deliveries(); len(d) != 2 || !d[0].Taken || d[0].Alarm != "" {
			t.Errorf("kept %v", d)
		}
	})
}

func TestManagerTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Restored{}, func(a *arrival) int {
			return map[string]int{"a/in": 200, "b/in": 500, "c/in": -1}[a.path]
		}, webhook("a"), webhook("b"), webhook("c"))
		r.stand(25, warn("x")) // c hangs, b waits
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		got := r.Test(ctx)
		for i, want := range []string{"", "it answered 500 Internal Server Error", "no answer within 10s"} {
			if got[i].Fault != want || got[i].Taken != (want == "") || got[i].Channel != string(rune('a'+i)) || got[i].Message == "" || got[i].Alarm != "" {
				t.Errorf("channel %d: %v", i, got[i])
			}
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		again := r.Test(short)
		if again[2].Fault != "nothing came of it in time" || again[2].Message != got[2].Message || again[0].Message == got[0].Message {
			t.Errorf("got %v", again)
		}
		go func() { time.Sleep(time.Second); r.stop() }()
		if got := r.Test(t.Context())[2]; got.Fault != "alerts are not being sent" || got.Taken {
			t.Errorf("at the end: %v", got)
		}
		if got := r.Test(t.Context()); got[0].Fault != "alerts are not being sent" {
			t.Errorf("after the end: %v", got)
		}
	})
}

// An attempt that the end cuts off is no failure.
func TestManagerEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Restored{}, func(*arrival) int { return -1 }, webhook("a"))
		r.stand(3, warn("x"))
		before := time.Now()
		r.stop()
		if took := time.Since(before); took != 0 {
			t.Errorf("took %v", took)
		}
		if c := r.Channels()[0]; c.Failures != 0 || c.Queued != 1 || r.kept.deliveries() != nil {
			t.Errorf("channel %v, kept %v", c, r.kept.deliveries())
		}
		r.Update(time.Now().UnixNano(), []Condition{warn("y")}) // does no harm
		if err := r.Set([]Channel{webhook("a"), webhook("b")}); err != nil {
			t.Error(err)
		}
	})
}

func TestManagerSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		r := newRig(t, Restored{}, func(a *arrival) int {
			if down && a.path == "a/in" {
				return 500
			}
			return 200
		}, webhook("a"))
		defer r.stop()
		r.stand(30, warn("x"))
		if err := r.Set([]Channel{webhook("b"), {Name: "a"}}); err == nil || len(r.Channels()) != 1 {
			t.Errorf("a bad channel: %v, %v", err, r.Channels())
		}
		if err := r.Set([]Channel{webhook("b"), webhook("b")}); err == nil {
			t.Error("two of one name")
		}
		strict := webhook("c")
		strict.CriticalOnly = true
		moved := webhook("a")
		moved.URL = "http://moved/in"
		if err := r.Set([]Channel{webhook("b"), strict, moved}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want := r.kept.alarms()
		for host, want := range map[string][]string{"b": want, "c": nil, "a": nil, "moved": want} {
			if got := r.to.taken(host); !slices.Equal(got, want) {
				t.Errorf("%s was told %v, want %v", host, got, want)
			}
		}
		strict.CriticalOnly = false
		if err := r.Set([]Channel{strict}); err != nil {
			t.Fatal(err)
		}
		r.stand(40)
		want = r.kept.alarms()
		if got := r.to.taken("c"); len(want) != 2 || !slices.Equal(got, want) {
			t.Errorf("c was told %v, want %v", got, want)
		}
		if got := r.to.taken("b"); len(got) != 1 {
			t.Errorf("b, which was removed, was told %v", got)
		}
	})
}

func TestManagerToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	synctest.Test(t, func(t *testing.T) {
		c := webhook("a")
		c.TokenFile = file
		r := newRig(t, Restored{}, nil, c)
		defer r.stop()
		token := func() string {
			r.stand(1, warn(fmt.Sprint(time.Now())))
			synctest.Wait()
			return r.to.last().header.Get("Authorization")
		}
		if got := token(); got != "Bearer one" {
			t.Errorf("got %q", got)
		}
		write("two")
		if got := token(); got != "Bearer two" {
			t.Errorf("got %q", got)
		}
		write(strings.Repeat("x", tokenMaxLen))
		if got := token(); len(got) != tokenMaxLen+len("Bearer ") {
			t.Errorf("the longest token has %d bytes", len(got))
		}
		for name, text := range map[string]string{"empty": " \n", "too long": strings.Repeat("x", tokenMaxLen+1), "two lines": "secret\nsecret"} {
			write(text)
			before := r.Channels()[0].Failures
			r.stand(1, warn(fmt.Sprint(time.Now())))
			synctest.Wait()
			if c := r.Channels()[0]; c.Failures == before || c.Fault == "" || strings.Contains(c.Fault, "secret") {
				t.Errorf("%s: %v", name, c)
			}
		}
	})
}

func TestNewRefuses(t *testing.T) {
	noPEM := filepath.Join(t.TempDir(), "ca")
	if err := os.WriteFile(noPEM, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := webhook("a")
	for want, change := range map[string]func(*Channel){
		"a channel needs a name":                 func(c *Channel) { c.Name = "" },
		`type "mail": it is webhook or`:          func(c *Channel) { c.Type = "mail" },
		"the url is not one":                     func(c *Channel) { c.URL = "ftp://host" },
		"the url is not one: ":                   func(c *Channel) { c.URL = "http:///path" },
		"the url is not one: write it as":        func(c *Channel) { c.URL = "http://secret:secret%zz@h/" },
		"heartbeat 9.999s: it is 0 for none, or": func(c *Channel) { c.Heartbeat = 9999 * time.Millisecond },
		"heartbeat -1s: it is 0":                 func(c *Channel) { c.Heartbeat = -time.Second },
		"holds no certificate in PEM":            func(c *Channel) { c.CAFile = noPEM },
		"read ca file: ":                         func(c *Channel) { c.CAFile = noPEM + "x" },
	} {
		c := good
		change(&c)
		_, err := New(Options{Channels: []Channel{c}}, Restored{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := New(Options{Channels: []Channel{good}}, Restored{}); err != nil {
		t.Error(err)
	}
}

// Messages are dated by the clock that Update is told of, however it steps.
func TestManagerDates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := webhook("a")
		c.Heartbeat = time.Minute
		r := newRig(t, Restored{}, nil, c)
		defer r.stop()
		time.Sleep(30 * time.Second)
		r.Update(5e18, nil)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := r.to.last(); got.SentUnixNs != 5e18+30e9 {
			t.Errorf("sent %d", got.SentUnixNs)
		}
	})
}

func TestManagerTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Restored{}, nil, webhook("a"))
		defer r.stop()
		var many []Condition
		for i := range alarmsMax + 2 {
			many = append(many, warn("x", "i", fmt.Sprint(i)))
		}
		r.stand(2, many...)
		if got := r.Standing(); len(got) != alarmsMax+1 || !slices.ContainsFunc(got, func(a Alarm) bool { return a.Name == TooMany }) {
			t.Errorf("%d stand", len(got))
		}
		r.stand(40)
		if got := r.Standing(); len(got) != 0 {
			t.Errorf("%d stand", len(got))
		}
		if got, want := r.to.taken("a"), r.kept.alarms(); !slices.Equal(got, want) || len(want) != 2*(alarmsMax+1) {
			t.Errorf("took %d of %d", len(got), len(want))
		}
	})
}

// What finds no room is dropped, journalled, and an alarm: no message is lost without a word.
func TestManagerDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		r := newRig(t, Restored{}, func(a *arrival) int {
			if down && a.path == "a/in" {
				return 500
			}
			return 200
		}, webhook("a"), webhook("b"))
		defer r.stop()
		for range 3 {
			var many []Condition
			for i := range 300 {
				many = append(many, warn("x", "i", fmt.Sprint(i)))
			}
			r.stand(1, many...)
			r.stand(31)
		}
		if got := r.Standing(); !slices.ContainsFunc(got, func(a Alarm) bool { return a.Name == MessagesDropped && a.Labels["channel"] == "a" }) {
			t.Errorf("stand %v", got)
		}
		down = false
		r.stand(400)
		gone := map[string]bool{}
		for _, d := range r.kept.deliveries() {
			if strings.HasPrefix(d.Fault, "dropped") {
				if d.Channel != "a" || d.Taken || gone[d.Message] {
					t.Errorf("dropped %v", d)
				}
				gone[d.Message] = true
			}
		}
		took, want := r.to.taken("a"), r.kept.alarms()
		want = slices.DeleteFunc(want, func(id string) bool { return gone[id] })
		var own []string // it is not told of its own failure
		for _, e := range r.kept.all() {
			if a := e.GetAlarm(); a.GetName() == ChannelFailed {
				own = append(own, newMessage(a).id)
			}
		}
		want = slices.DeleteFunc(want, func(id string) bool { return slices.Contains(own, id) })
		if !slices.Equal(took, want) || len(gone) < 800 || len(took) < queueMax-2 {
			t.Errorf("dropped %d, took %d, of which %d should have been", len(gone), len(took), len(want))
		}
		if got := r.to.taken("b"); len(got) != len(r.kept.alarms()) {
			t.Errorf("b took %d of %d", len(got), len(r.kept.alarms()))
		}
	})
}

func TestWebhookBody(t *testing.T) {
	a := Alarm{Condition: warn("x"), ID: "1", Since: 5}
	for want, m := range map[string]*message{
		`{"id":"1-resolved","type":"resolved","node":"n","alarm":{"id":"1","name":"x","labels":{},"severity":"warning","sentence":"x is bad","since_unix_ns":5},"sent_unix_ns":7,"head":"h"}`: newMessage(a.entry(true)),
		`{"id":"2","type":"heartbeat","node":"n","sent_unix_ns":7,"head":"h"}`: {id: "2", kind: heartbeat},
	} {
		got, err := webhookBody(envelope{node: "n", link: "l", head: "h", sent: 7}, m)
		if err != nil || string(got) != want {
			t.Errorf("got  %s, %v\nwant %s", got, err, want)
		}
	}
}
