// Package demo shows on an invented conversation what orders events and what does not.
//
// Two servers have clocks that differ. People at them write and answer each other, over a
// simulated network and in simulated time. Each message gets three things to sort by: the
// time of its server's clock, a hybrid timestamp of its server's hlc.Clock, and the
// sequence of one log. Only the clocks' readings, the network and the people are simulated;
// the hybrid clocks are those of the appliance, and the log is one of its streams, on disk.
//
// Hazard: hybrid clocks that differ by more than the max lead refuse each other's
// timestamps, so such clocks are no options here.
package demo

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

const (
	// MessagesMax is the longest conversation.
	MessagesMax = 1000
	// ReplyMax is the longest that people may take to answer on average.
	ReplyMax = time.Minute
	// SkewMax is how much the clocks may be wrong, and differ: hybrid clocks refuse what is
	// further ahead.
	SkewMax = hlc.MaxLeadDefault
)

// Options of a conversation.
type Options struct {
	Seed     uint64
	Skews    [2]time.Duration // of the clocks of servers A and B: what they show minus the truth
	Messages int              // 2 to MessagesMax
	Reply    time.Duration    // that people take to answer, on average; up to ReplyMax
}

// Check fails on options out of range, with a sentence for each.
func (o *Options) Check() error {
	var errs []error
	if o.Messages < 2 || o.Messages > MessagesMax {
		errs = append(errs, fmt.Errorf("a conversation of %d messages (want 2 to %d)", o.Messages, MessagesMax))
	}
	if o.Reply < 0 || o.Reply > ReplyMax {
		errs = append(errs, fmt.Errorf("answers after %v on average (want 0s to %v)", o.Reply, ReplyMax))
	}
	for i, skew := range o.Skews {
		if skew.Abs() > SkewMax {
			errs = append(errs, fmt.Errorf("a skew of %v at server %s (want -%v to %[3]v)", skew, ServerNames()[i], SkewMax))
		}
	}
	if differ := (o.Skews[0] - o.Skews[1]).Abs(); errs == nil && differ > SkewMax {
		errs = append(errs, fmt.Errorf("clocks that differ by %v: beyond the max lead of %v hybrid clocks refuse each other's timestamps", differ, SkewMax))
	}
	return errors.Join(errs...)
}

// ServerNames are the names of the two servers, and the first letters of who is there.
func ServerNames() [2]string { return [2]string{"A", "B"} }

// Message is one line of the conversation.
type Message struct {
	Sequence uint64 // in the log
	Answers  uint64 // the sequence of what it answers; 0: nothing
	// Read is the last sequence that had reached the server, and so the author, when the message was written.
	Read   uint64
	Server int // 0 is A, 1 is B
	Author string
	Text   string
	// Written and Logged are when, in truth, since the conversation began.
	Written, Logged time.Duration
	ServerUnixNs    int64         // the server's clock when it was written
	Hybrid          hlc.Timestamp // of the server's hybrid clock
}

// line is the message as it is in the log.
func (m *Message) line() string { return m.Author + ": " + m.Text }

// Append appends a text to a log and returns its sequence.
type Append func(text string) (sequence uint64, err error)

// The network: how long a message takes from a server to the log, or back, is uniform
// between these.
const (
	wayMin = 200 * time.Microsecond
	wayMax = 800 * time.Microsecond
	// thinkMin is the least that people take to answer.
	thinkMin = 300 * time.Microsecond
	// threadsAtOnce is how many topics are talked about at a time.
	threadsAtOnce = 2
)

// Begin is when every conversation begins, in truth.
func Begin() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// Converse runs a conversation and returns its messages, by their sequence. Equal options
// give equal conversations. It fails on options out of range, and where the log does.
func Converse(o Options, log Append) ([]Message, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	c := &chat{o: o, random: rand.New(rand.NewPCG(o.Seed, 0)), log: log}
	c.topics = c.random.Perm(len(topics()))
	for i := range c.servers {
		s := &c.servers[i]
		clock, err := hlc.New(hlc.Options{
			Physical: func() int64 { return c.serverTime(i) },
			Ceiling:  hlc.Max,
		})
		if err != nil {
			return nil, err
		}
		s.clock = clock
	}
	for range threadsAtOnce {
		c.open()
	}
	for c.events.Len() > 0 {
		next := heap.Pop(&c.events).(event)
		c.now = next.at
		if err := next.do(); err != nil {
			return nil, err
		}
	}
	return c.messages, nil
}

// chat is a conversation that goes on.
type chat struct {
	o        Options
	random   *rand.Rand
	log      Append
	now      time.Duration // in truth
	events   events
	servers  [2]server
	topics   []int // an order to take them in
	opened   int   // threads
	planned  int   // messages
	messages []Message
}

// server is one of the two. What goes to the log and what comes from it keeps its order, as
// on one connection.
type server struct {
	clock             *hlc.Clock
	read              uint64        // the last sequence that came
	seen              hlc.Timestamp // the greatest that came
	sentTill, gotTill time.Duration // when the last message gets there
}

// thread is a topic that two people talk about in turn.
type thread struct {
	lines   []string
	said    int
	servers [2]int // of whose turn is first and second
	authors [2]string
}

func (c *chat) serverTime(server int) int64 {
	return Begin().UnixNano() + int64(c.now+c.o.Skews[server])
}

// open begins the next thread. Most are between people of different servers.
func (c *chat) open() {
	t := &thread{lines: topics()[c.topics[c.opened%len(c.topics)]]}
	t.servers[0] = c.random.IntN(2)
	t.servers[1] = 1 - t.servers[0]
	if c.random.IntN(5) == 0 {
		t.servers[1] = t.servers[0]
	}
	first, second := c.random.IntN(2), c.random.IntN(2)
	if t.servers[1] == t.servers[0] {
		second = 1 - first // nobody talks to himself
	}
	t.authors = [2]string{people(t.servers[0])[first], people(t.servers[1])[second]}
	c.opened++
	c.plan(t, 0)
}

// plan has the next line of a thread written after a while, unless all has been said. It
// answers the one with the sequence.
func (c *chat) plan(t *thread, answers uint64) {
	if c.planned == c.o.Messages {
		return
	}
	c.planned++
	think := thinkMin + time.Duration(c.random.ExpFloat64()*float64(c.o.Reply))
	c.at(c.now+think, func() error { return c.write(t, answers) })
}

// write has a line written: the server stamps it and sends it to the log.
func (c *chat) write(t *thread, answers uint64) error {
	turn := t.said % 2
	s := &c.servers[t.servers[turn]]
	stamp, err := s.clock.Observe(s.seen)
	if err != nil {
		return fmt.Errorf("stamp a message: %w", err)
	}
	m := Message{
		Answers: answers, Read: s.read, Server: t.servers[turn], Author: t.authors[turn], Text: t.lines[t.said],
		Written: c.now, ServerUnixNs: c.serverTime(t.servers[turn]), Hybrid: stamp,
	}
	t.said++
	s.sentTill = max(s.sentTill, c.now+c.way())
	c.at(s.sentTill, func() error { return c.append(t, m) })
	return nil
}

// append has a message arrive at the log, which numbers it and sends it to both servers.
func (c *chat) append(t *thread, m Message) (err error) {
	m.Sequence, err = c.log(m.line())
	if err != nil {
		return err
	}
	m.Logged = c.now
	c.messages = append(c.messages, m)
	answerer := t.servers[t.said%2] // by the time that it gets there it may be somebody else's turn
	for i := range c.servers {
		s := &c.servers[i]
		s.gotTill = max(s.gotTill, c.now+c.way())
		c.at(s.gotTill, func() error {
			s.read, s.seen = m.Sequence, max(s.seen, m.Hybrid)
			if i == answerer {
				c.goOn(t, m.Sequence)
			}
			return nil
		})
	}
	return nil
}

// goOn is what comes of a message that whose turn it is has read: an answer, or something
// new where all has been said.
func (c *chat) goOn(t *thread, sequence uint64) {
	if t.said == len(t.lines) {
		c.open()
		return
	}
	c.plan(t, sequence)
}

// way is how long a message takes between a server and the log.
func (c *chat) way() time.Duration {
	return wayMin + time.Duration(c.random.Int64N(int64(wayMax-wayMin)))
}

// at has something happen at a time.
func (c *chat) at(at time.Duration, do func() error) {
	c.events.made++
	heap.Push(&c.events, event{at: at, number: c.events.made, do: do})
}

// event is something that happens at a time; of two at the same time the one first that
// was planned first.
type event struct {
	at     time.Duration
	number int
	do     func() error
}

// events are a heap of what is still to happen.
type events struct {
	list []event
	made int
}

func (e *events) Len() int { return len(e.list) }
func (e *events) Less(i, j int) bool {
	a, b := e.list[i], e.list[j]
	return a.at < b.at || a.at == b.at && a.number < b.number
}
func (e *events) Swap(i, j int) { e.list[i], e.list[j] = e.list[j], e.list[i] }
func (e *events) Push(x any)    { e.list = append(e.list, x.(event)) }
func (e *events) Pop() any {
	last := e.list[len(e.list)-1]
	e.list = slices.Delete(e.list, len(e.list)-1, len(e.list))
	return last
}
