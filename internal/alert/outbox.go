package alert

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
)

// What one channel still has to be told, and when the next attempt is due. There are three
// lanes, each with its own back-off: alarms, which wait in a queue and are told in their order; a
// test; a sign of life, which is never kept: it is made when it is due and nothing waits. So a
// channel that refuses tests alone is still told of alarms. What succeeds in one lane shows that the
// channel works, and lets the others try at once.

// kind is what a message is, and the name of its type in a webhook.
type kind string

const (
	firing    kind = "firing"
	resolved  kind = "resolved"
	test      kind = "test"
	heartbeat kind = "heartbeat"
)

// message is one thing that a channel is told.
type message struct {
	id       string
	kind     kind
	alarm    *rpc.Alarmed // nil: it is about none
	standing []Alarm      // what the channel knows to stand; heartbeats only
	attempts uint32
}

// newMessage is the message about what became of an alarm.
func newMessage(a *rpc.Alarmed) *message {
	k := firing
	if a.Resolved {
		k = resolved
	}
	return &message{id: a.Id + "-" + string(k), kind: k, alarm: a}
}

// lane is how the attempts of one kind go.
type lane struct {
	failures int           // since the last success
	since    time.Duration // when the first of them began
	next     time.Duration // when to try again
	fault    string        // of the last
}

func (l *lane) failing(now time.Duration) bool { return l.failures > 0 && now-l.since >= failingAfter }

// failed puts the next attempt off: by 1 s to 2 s at first, twice as long each time, up to 5
// minutes. chance is between 0 and 1.
func (l *lane) failed(fault string, began, now time.Duration, chance float64) {
	l.fault = fault
	if l.failures == 0 {
		l.since = began
	}
	l.failures++
	most := min(math.Ldexp(float64(backOffMin), l.failures), float64(backOffMax))
	l.next = now + time.Duration(most*(1+chance)/2)
}

// outbox is what one channel still has to be told.
type outbox struct {
	channel, node string
	criticalOnly  bool
	interval      time.Duration // between signs of life; 0: none

	queue   []*message
	test    *message        // nil: none is to be made
	forced  bool            // the test does not wait for its turn
	told    map[string]bool // alarms that it knows, or will know, to stand
	sending *message        // under way
	began   time.Duration   // when

	alarms, tests, beats lane
	testDue              time.Duration

	fault           string // of the last attempt; empty: it was taken
	taken, failures uint64
	lastTaken       int64         // Unix nanoseconds
	failureTold     time.Duration // when a failure was journalled last
	quiet           bool          // one was, since the last message that was taken
	dropped         uint64
	droppedAt       time.Duration
}

func newOutbox(node string, c *Channel, now time.Duration) *outbox {
	b := &outbox{channel: c.Name, node: node, told: map[string]bool{}, testDue: now + testFirst}
	b.configure(c, now)
	return b
}

// configure takes what a reload may change.
func (b *outbox) configure(c *Channel, now time.Duration) {
	b.criticalOnly = c.CriticalOnly
	b.interval = c.Heartbeat
	if c.Type == Alertmanager {
		b.interval = refire
	}
	if b.interval == 0 {
		b.beats = lane{}
	}
	for _, l := range b.lanes() {
		l.next = now // it may be another address
	}
}

// wants reports whether the channel is to be told of an alarm; not of its own failure, of
// which it could only be told when that is over.
func (b *outbox) wants(a *rpc.Alarmed) bool {
	if a.Name == ChannelFailed && a.Labels["channel"] == b.channel {
		return false
	}
	return !b.criticalOnly || a.Severity == Critical
}

// put queues the message about an alarm, where the channel is to be told, and returns what it had
// to drop for it.
func (b *outbox) put(m *message, now time.Duration) []*message {
	id := m.alarm.Id
	switch m.kind {
	case firing:
		if b.told[id] || !b.wants(m.alarm) {
			return nil
		}
		b.told[id] = true
		// The channel may work again by now, and this must not wait for 5 minutes.
		b.alarms.next = now
	case resolved:
		if !b.told[id] {
			return nil
		}
		delete(b.told, id)
	}
	var gone []*message
	if len(b.queue) >= queueMax {
		gone = b.drop(now)
	}
	b.queue = append(b.queue, &message{id: m.id, kind: m.kind, alarm: m.alarm})
	return gone
}

// drop makes room: by the oldest alarm of which all waits, that it was raised and that it is
// over; else by the oldest message. What is under way stays.
func (b *outbox) drop(now time.Duration) []*message {
	raised := map[string]int{}
	first, last := -1, -1
	for i, m := range b.queue {
		if m == b.sending {
			continue
		}
		if m.kind == firing {
			raised[m.alarm.Id] = i
		}
		at, pair := raised[m.alarm.Id]
		if pair && m.kind == resolved && (first < 0 || at < first) {
			first, last = at, i
		}
	}
	if first < 0 {
		first = 0
		if b.queue[0] == b.sending {
			first = 1
		}
		last = first
	}
	gone := []*message{b.queue[first]}
	if last != first {
		gone = append(gone, b.queue[last])
	}
	b.queue = slices.DeleteFunc(b.queue, func(m *message) bool { return slices.Contains(gone, m) })
	b.dropped += uint64(len(gone))
	b.droppedAt = now
	return gone
}

// never is far away.
const never = time.Duration(math.MaxInt64)

// next returns the message that is to be sent now; nil and when to ask again where there is
// none. The caller tells done what became of it.
func (b *outbox) next(unix int64, now time.Duration) (m *message, at time.Duration) {
	if b.test == nil && now >= b.testDue {
		b.newTest(unix, now)
	}
	m, at = b.choose(unix, now)
	if m != nil {
		m.attempts++
		b.sending, b.began = m, now
	}
	return m, at
}

func (b *outbox) choose(unix int64, now time.Duration) (m *message, at time.Duration) {
	at = never
	if b.test == nil {
		at = b.testDue
	} else {
		if b.forced || now >= b.tests.next {
			return b.test, now
		}
		at = b.tests.next
	}
	if len(b.queue) > 0 {
		if now >= b.alarms.next {
			return b.queue[0], now
		}
		return nil, min(at, b.alarms.next)
	}
	if b.interval == 0 {
		return nil, at
	}
	if now >= b.beats.next {
		id := identify(b.node, b.channel, string(heartbeat), unixText(unix))
		return &message{id: id, kind: heartbeat, attempts: uint32(b.beats.failures)}, now
	}
	return nil, min(at, b.beats.next)
}

// newTest makes the test that is to be sent.
func (b *outbox) newTest(unix int64, now time.Duration) {
	b.test = &message{id: identify(b.node, b.channel, string(test), unixText(unix)), kind: test}
	b.testDue = now + testEvery
}

// force lets a test be sent before all else.
func (b *outbox) force(unix int64, now time.Duration) {
	if b.test == nil {
		b.newTest(unix, now)
	}
	b.forced = true
}

// done takes what became of the attempt that is under way; an empty fault: it was taken. It
// returns what it came to, and whether that is to be journalled.
func (b *outbox) done(fault string, unix int64, now time.Duration, chance float64) (d *rpc.Delivered, journal bool) {
	m, l := b.sending, b.laneOf(b.sending)
	b.sending = nil
	b.fault = fault
	d = delivered(b.channel, m, fault)
	if m.kind == test {
		b.forced = false
	}
	if fault != "" {
		b.failures++
		l.failed(fault, b.began, now, chance)
		if m.kind == heartbeat {
			l.next = min(l.next, now+b.interval)
		}
		journal = !b.quiet || now-b.failureTold >= tellFailures
		if journal {
			b.quiet, b.failureTold = true, now
		}
		return d, journal
	}
	b.taken++
	b.lastTaken = unix
	*l = lane{}
	for _, other := range b.lanes() {
		if other.failures > 0 {
			other.next = now
		}
	}
	switch m.kind {
	case heartbeat:
		l.next = now + b.interval
		return d, false
	case test:
		b.test = nil
	default:
		b.queue = slices.DeleteFunc(b.queue, func(q *message) bool { return q == m })
	}
	b.quiet = false
	return d, true
}

func (b *outbox) lanes() []*lane { return []*lane{&b.alarms, &b.tests, &b.beats} }

func (b *outbox) laneOf(m *message) *lane {
	switch m.kind {
	case test:
		return &b.tests
	case heartbeat:
		return &b.beats
	default:
		return &b.alarms
	}
}

// conditions are the alarms that the channel is the cause of.
func (b *outbox) conditions(now time.Duration) []Condition {
	var all []Condition
	labels := map[string]string{"channel": b.channel}
	lanes := b.lanes()
	if i := slices.IndexFunc(lanes, func(l *lane) bool { return l.failing(now) }); i >= 0 {
		all = append(all, Condition{Name: ChannelFailed, Labels: labels, Sentence: fmt.Sprintf(
			"the alert channel %s does not take what it is sent (%s; %d waiting): look at the receiver, then run truechimer alert test",
			b.channel, lanes[i].fault, len(b.queue))})
	}
	if b.dropped > 0 && now-b.droppedAt < droppedFor {
		all = append(all, Condition{Name: MessagesDropped, Labels: labels, Sentence: fmt.Sprintf(
			"%d messages to the alert channel %s were dropped, because %d waited already: the journal has them (truechimer journal)",
			b.dropped, b.channel, queueMax)})
	}
	return all
}

// state is what the channel is doing.
func (b *outbox) state(kind string) *rpc.AlertChannel {
	waiting := len(b.queue)
	if b.test != nil {
		waiting++
	}
	return &rpc.AlertChannel{
		Name: b.channel, Type: kind, Queued: uint32(waiting), Taken: b.taken,
		Failures: b.failures, LastTakenUnixNs: b.lastTaken, Fault: b.fault,
	}
}

// delivered is what became of an attempt.
func delivered(channel string, m *message, fault string) *rpc.Delivered {
	return &rpc.Delivered{
		Message: m.id, Channel: channel, Alarm: m.alarm.GetId(), Taken: fault == "", Attempts: m.attempts, Fault: fault,
	}
}
