package alert

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
)

const second = time.Second

func hook() *Channel { return &Channel{Name: "c", Type: Webhook, URL: "http://x"} }

func beating() *Channel {
	c := hook()
	c.Heartbeat = time.Minute
	return c
}

func raise(id string) *message { return newMessage(&rpc.Alarmed{Id: id, Severity: Warning}) }

func over(id string) *message {
	return newMessage(&rpc.Alarmed{Id: id, Severity: Warning, Resolved: true})
}

// send makes one attempt, if one is due, and returns the id of what was sent.
func send(b *outbox, now time.Duration, fault string) string {
	m, _ := b.next(1, now)
	if m == nil {
		return ""
	}
	b.done(fault, 1, now, 0.5)
	if m.alarm == nil {
		return string(m.kind)
	}
	return m.id
}

func wait(t *testing.T, b *outbox, now, want time.Duration) {
	t.Helper()
	m, at := b.next(1, now)
	if m != nil || at != want {
		t.Errorf("at %v: message %v, next at %v, want %v", now, m, at, want)
	}
}

func TestOutboxInOrder(t *testing.T) {
	b := newOutbox("n", hook(), 0)
	wait(t, b, 0, testFirst)
	for _, m := range []*message{raise("1"), raise("2"), over("1")} {
		b.put(m, 0)
	}
	for _, step := range []struct {
		now   time.Duration
		fault string
		want  string
	}{
		{0, "down", "1-firing"}, {1 * second, "", ""}, {1500 * time.Millisecond, "", "1-firing"},
		{1500 * time.Millisecond, "", "2-firing"}, {2 * second, "", "1-resolved"}, {3 * second, "", ""},
	} {
		if got := send(b, step.now, step.fault); got != step.want {
			t.Errorf("at %v: sent %q, want %q", step.now, got, step.want)
		}
	}
}

func TestBackOff(t *testing.T) {
	for _, chance := range []float64{0, 0.999} {
		var l lane
		now := time.Duration(0)
		for i := range 20 {
			l.failed("down", now, now, chance)
			most := min(backOffMin<<min(i+1, 20), backOffMax)
			got := l.next - now
			if got < most/2 || got > most || got < backOffMin {
				t.Errorf("after %d failures: %v, want %v to %v", i+1, got, most/2, most)
			}
			now = l.next
		}
		if l.since != 0 {
			t.Errorf("since %v", l.since)
		}
	}
}

// A new alarm is a reason to try at once, however far the next attempt was put off.
func TestOutboxNewAlarmDoesNotWait(t *testing.T) {
	b := newOutbox("n", hook(), 0)
	b.put(raise("1"), 0)
	now := time.Duration(0)
	for range 6 {
		send(b, now, "down")
		now = b.alarms.next
	}
	now = b.alarms.next - time.Millisecond
	if got := send(b, now, ""); got != "" {
		t.Errorf("sent %q before it was due", got)
	}
	b.put(raise("2"), now)
	if got := send(b, now, ""); got != "1-firing" {
		t.Errorf("sent %q", got)
	}
}

func TestOutboxTellsOnce(t *testing.T) {
	b := newOutbox("n", hook(), 0)
	b.put(raise("1"), 0)
	b.put(raise("1"), 0)
	b.put(over("2"), 0) // it never knew
	b.put(over("1"), 0)
	b.put(over("1"), 0)
	if got := ids(b); !slices.Equal(got, []string{"1-firing", "1-resolved"}) {
		t.Errorf("queued %v", got)
	}
}

func ids(b *outbox) []string {
	var all []string
	for _, m := range b.queue {
		all = append(all, m.id)
	}
	return all
}

func TestOutboxWants(t *testing.T) {
	c := hook()
	c.CriticalOnly = true
	b := newOutbox("n", c, 0)
	b.put(raise("1"), 0)
	b.put(newMessage(&rpc.Alarmed{Id: "2", Severity: Critical}), 0)
	b.put(newMessage(&rpc.Alarmed{Id: "3", Severity: Critical, Name: ChannelFailed, Labels: map[string]string{"channel": "c"}}), 0)
	b.put(newMessage(&rpc.Alarmed{Id: "4", Severity: Critical, Name: ChannelFailed, Labels: map[string]string{"channel": "d"}}), 0)
	b.put(newMessage(&rpc.Alarmed{Id: "5", Severity: Critical, Name: MessagesDropped, Labels: map[string]string{"channel": "c"}}), 0)
	if got := ids(b); !slices.Equal(got, []string{"2-firing", "4-firing", "5-firing"}) {
		t.Errorf("queued %v", got)
	}
	// What it knows to stand it is told the end of, whatever it wants now.
	b.configure(hook(), 0)
	b.put(raise("1"), 0)
	b.configure(c, 0)
	b.put(over("1"), 0)
	if got := ids(b); got[len(got)-1] != "1-resolved" {
		t.Errorf("queued %v", got)
	}
}

func TestOutboxHeartbeats(t *testing.T) {
	b := newOutbox("n", beating(), 0)
	b.testDue = never
	if got := send(b, 0, ""); got != "heartbeat" {
		t.Errorf("sent %q", got)
	}
	wait(t, b, 59*second, 60*second)
	b.put(raise("1"), 60*second)
	if got := send(b, 60*second, "down"); got != "1-firing" {
		t.Errorf("sent %q", got)
	}
	wait(t, b, 60*second, 61500*time.Millisecond) // nothing jumps over what waits
	if got := send(b, 62*second, "") + send(b, 62*second, "down"); got != "1-firingheartbeat" {
		t.Errorf("sent %q", got)
	}
	b.put(raise("2"), 62*second) // nor does a failed heartbeat block
	if got := send(b, 62*second, ""); got != "2-firing" {
		t.Errorf("sent %q", got)
	}
	// What was taken shows that it works.
	if got := send(b, 62*second, ""); got != "heartbeat" {
		t.Errorf("sent %q", got)
	}
	// However long it fails, it is tried again each minute.
	now := 122 * second
	for range 20 {
		if got := send(b, now, "down"); got != "heartbeat" {
			t.Errorf("sent %q", got)
		}
		if b.beats.next > now+time.Minute {
			t.Errorf("next after %v", b.beats.next-now)
		}
		now = b.beats.next
	}
	none := hook()
	b.configure(none, now)
	wait(t, b, now, never)
	if got := b.conditions(now + time.Hour); got != nil {
		t.Errorf("a heartbeat that is not wanted any more fails: %v", got)
	}
}

func TestOutboxAlertmanagerIsToldEachMinute(t *testing.T) {
	c := beating()
	c.Type, c.Heartbeat = Alertmanager, 0
	if b := newOutbox("n", c, 0); b.interval != time.Minute {
		t.Errorf("told each %v", b.interval)
	}
}

// A channel that refuses tests is told of alarms all the same.
func TestOutboxTestDoesNotBlock(t *testing.T) {
	b := newOutbox("n", hook(), 0)
	wait(t, b, testFirst-1, testFirst)
	if got := send(b, testFirst, "no tests"); got != "test" {
		t.Errorf("sent %q", got)
	}
	first := b.test.id
	b.put(raise("1"), testFirst)
	if got := send(b, testFirst, ""); got != "1-firing" {
		t.Errorf("sent %q", got)
	}
	if got := send(b, testFirst, "no tests"); got != "test" { // tried again, because the alarm was taken
		t.Errorf("sent %q", got)
	}
	if b.test.id != first || b.test.attempts != 2 {
		t.Errorf("the test is another one: %+v", b.test)
	}
	b.put(over("1"), testFirst)
	send(b, testFirst, "")
	if got := b.conditions(testFirst + failingAfter); len(got) != 1 || got[0].Name != ChannelFailed || !strings.Contains(got[0].Sentence, "(no tests; 0 waiting)") {
		t.Errorf("a failed test is no alarm: %v", got)
	}
	now := b.tests.next
	if got := send(b, now, ""); got != "test" || b.test != nil {
		t.Errorf("sent %q, left %v", got, b.test)
	}
	if got := b.conditions(now + failingAfter); got != nil {
		t.Errorf("still an alarm: %v", got)
	}
	wait(t, b, now, testFirst+testEvery)
}

func TestOutboxForcedTestGoesFirst(t *testing.T) {
	b := newOutbox("n", hook(), 0)
	b.put(raise("1"), 0)
	send(b, 0, "down")
	b.force(7, 0)
	if got := send(b, 0, "down"); got != "test" {
		t.Errorf("sent %q", got)
	}
	wait(t, b, 0, 1500*time.Millisecond)
	b.force(8, second)
	if got := send(b, second, ""); got != "test" {
		t.Errorf("sent %q", got)
	}
	if got := send(b, second, ""); got != "1-firing" {
		t.Errorf("the channel works, and %q was sent", got)
	}
}

func TestOutboxFailingIsAnAlarm(t *testing.T) {
	b := newOutbox("n", hook(), 0)
	b.put(raise("1"), 0)
	b.next(1, 0)
	b.done("down", 1, 10*second, 0)
	if got := b.conditions(failingAfter - 1); got != nil {
		t.Errorf("too early: %v", got)
	}
	got := b.conditions(failingAfter) // since the attempt began
	want := "the alert channel c does not take what it is sent (down; 1 waiting): look at the receiver, then run truechimer alert test"
	if len(got) != 1 || got[0].Sentence != want || got[0].Labels["channel"] != "c" {
		t.Errorf("got %v", got)
	}
	send(b, 40*second, "")
	if got := b.conditions(80 * second); got != nil {
		t.Errorf("still: %v", got)
	}
}

func TestOutboxIsBounded(t *testing.T) {
	full := func() *outbox {
		b := newOutbox("n", hook(), 0)
		for i := range queueMax {
			b.put(raise(fmt.Sprint(i)), 0)
		}
		return b
	}
	dropped := func(gone []*message) string {
		var all []string
		for _, m := range gone {
			all = append(all, m.id)
		}
		return fmt.Sprint(all)
	}
	t.Run("the oldest", func(t *testing.T) {
		if got := dropped(full().put(raise("x"), 0)); got != "[0-firing]" {
			t.Errorf("dropped %v", got)
		}
	})
	t.Run("not what is under way", func(t *testing.T) {
		b := full()
		b.next(1, 0)
		if got := dropped(b.put(raise("x"), 0)); got != "[1-firing]" {
			t.Errorf("dropped %v", got)
		}
		b.done("", 1, 0, 0)
		if got := ids(b); got[0] != "2-firing" {
			t.Errorf("then comes %v", got[0])
		}
	})
	t.Run("a pair first", func(t *testing.T) {
		b := full()
		if got := dropped(b.put(over("7"), 0)); got != "[0-firing]" {
			t.Errorf("dropped %v", got)
		}
		b.put(over("5"), 0) // drops the pair of 7
		if got := ids(b); slices.Contains(got, "7-firing") || slices.Contains(got, "7-resolved") || len(got) != queueMax-1 {
			t.Errorf("%d wait, or the pair is still there", len(got))
		}
		b.put(over("3"), 0)
		if got := dropped(b.put(raise("x"), 0)); got != "[3-firing 3-resolved]" { // older than 5
			t.Errorf("dropped %v", got)
		}
	})
	t.Run("not a pair that is under way", func(t *testing.T) {
		b := full()
		b.next(1, 0)
		b.put(over("0"), 0)
		if got := dropped(b.put(raise("x"), 0)); got != "[2-firing]" {
			t.Errorf("dropped %v", got)
		}
	})
	t.Run("told of", func(t *testing.T) {
		b := full()
		b.put(raise("x"), 9*second)
		got := b.conditions(9*second + droppedFor - 1)
		if len(got) != 1 || got[0].Name != MessagesDropped {
			t.Errorf("got %v", got)
		}
		if got := b.conditions(9*second + droppedFor); got != nil {
			t.Errorf("after an hour: %v", got)
		}
	})
}

// What is journalled of failures is the first of an outage, and then one an hour.
func TestOutboxJournalsSparingly(t *testing.T) {
	b := newOutbox("n", beating(), 0)
	b.testDue = never
	count, attempts := 0, 0
	try := func(now time.Duration, fault string) {
		m, _ := b.next(1, now)
		if m == nil {
			return
		}
		attempts++
		if fault == "by turns" {
			fault = strings.Repeat("down", attempts%2)
		}
		if _, journal := b.done(fault, 1, now, 0.5); journal {
			count++
		}
	}
	expect := func(what string, want int) {
		t.Helper()
		if count != want {
			t.Errorf("%s: %d entries, want %d", what, count, want)
		}
		count = 0
	}
	now := time.Duration(0)
	for ; now < 3*time.Hour; now += second {
		try(now, "by turns")
	}
	if attempts < 100 {
		t.Fatalf("%d attempts", attempts)
	}
	expect("3 hours of heartbeats that fail by turns", 3)
	b.put(raise("1"), now)
	try(now, "")
	expect("an alarm that is taken", 1)
	b.put(raise("2"), now)
	for end := now + 2*time.Hour; now < end; now += second {
		try(now, "down")
	}
	expect("2 hours of failures", 2)
	try(b.alarms.next, "")
	expect("until it is taken", 1)
}
