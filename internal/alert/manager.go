package alert

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
)

// Manager raises alarms and tells the channels. Its methods may be called by many goroutines.
type Manager struct {
	options Options
	started time.Time // where the steady clock begins

	mu      sync.Mutex // never held while anything is waited for
	book    *book
	senders []*sender       // in the order of the configuration
	unix    int64           // the last time that was heard
	at      time.Duration   // when
	run     context.Context // nil: Run does not run
	running sync.WaitGroup
}

// New returns a manager that goes on where an earlier one left off. It fails when a channel is
// not usable, and says which. Nothing is sent before Run.
func New(o Options, r Restored) (*Manager, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Journal == nil {
		o.Journal = func(*rpc.JournalEntry) {}
	}
	if o.patience == 0 {
		o.patience = attemptMax
	}
	if o.Head == nil {
		o.Head = func() string { return "" }
	}
	now := time.Now()
	m := &Manager{options: o, started: now, unix: now.UnixNano()}
	var twice []Alarm
	m.book, twice = newBook(o.Node, r.standing())
	err := m.set(o.Channels, &r)
	if err != nil {
		return nil, err
	}
	for _, a := range twice {
		m.tell(change{a, true}, 0)
	}
	return m, nil
}

// now is the steady clock, which no step disturbs.
func (m *Manager) now() time.Duration { return time.Since(m.started) }

// unixAt is Unix time at an instant of the steady clock, as far as it was heard.
func (m *Manager) unixAt(now time.Duration) int64 { return m.unix + int64(now-m.at) }

// Run tells the channels until ctx is over, and returns when all of its goroutines have ended.
// What is not told by then is in the journal, and Restore brings it back. It is called once.
func (m *Manager) Run(ctx context.Context) {
	m.mu.Lock()
	m.run = ctx
	for _, s := range m.senders {
		m.start(s)
	}
	m.mu.Unlock()
	<-ctx.Done()
	m.mu.Lock()
	m.run = nil
	m.mu.Unlock()
	m.running.Wait()
}

// start lets a sender work, if the manager does. The caller holds the lock.
func (m *Manager) start(s *sender) {
	if m.run == nil {
		return
	}
	ctx, stop := context.WithCancel(m.run)
	s.stop = stop
	m.running.Go(func() { m.send(ctx, s) })
}

// Update takes the conditions that stand now, Unix nanoseconds. It is called about once a
// second and never waits. What is new is told at once; what is away for 30 s is over.
func (m *Manager) Update(unix int64, standing []Condition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.unix, m.at = unix, now
	var all []Condition // our own first: they must find room
	for _, s := range m.senders {
		all = append(all, s.box.conditions(now)...)
	}
	if n := m.book.leftOut; n > 0 {
		all = append(all, Condition{Name: TooMany, Critical: true, Sentence: fmt.Sprintf(
			"%d more alarms stand than the %d that are told: see truechimer status", n, alarmsMax)})
	}
	for _, c := range m.book.update(unix, now, append(all, standing...)) {
		m.tell(c, now)
	}
}

// tell journals a change and queues it for the channels. The caller holds the lock.
func (m *Manager) tell(c change, now time.Duration) {
	entry := c.alarm.entry(c.resolved)
	m.options.Journal(&rpc.JournalEntry{What: &rpc.JournalEntry_Alarm{Alarm: entry}})
	for _, s := range m.senders {
		m.put(s, newMessage(entry), now)
	}
}

// put queues a message for a channel. The caller holds the lock.
func (m *Manager) put(s *sender, msg *message, now time.Duration) {
	m.dropped(s, s.box.put(msg, now))
	s.rouse()
}

// dropped journals what will not be told.
func (m *Manager) dropped(s *sender, gone []*message) {
	for _, d := range gone {
		m.journal(delivered(s.box.channel, d, fmt.Sprintf("dropped: %d messages wait", queueMax)))
	}
}

func (m *Manager) journal(d *rpc.Delivered) {
	m.options.Journal(&rpc.JournalEntry{What: &rpc.JournalEntry_Delivery{Delivery: d}})
}

// Set replaces the channels; those of the same name keep what they still have to be told. When
// one is not usable nothing changes. A channel that is new is told what stands.
func (m *Manager) Set(channels []Channel) error { return m.set(channels, &Restored{}) }

func (m *Manager) set(channels []Channel, r *Restored) error {
	lines, err := connect(channels, &m.options)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	before := slices.Clone(m.senders)
	m.senders = nil
	for _, l := range lines {
		i := slices.IndexFunc(before, func(s *sender) bool { return s.box.channel == l.channel.Name })
		if i >= 0 {
			s := before[i]
			before = slices.Delete(before, i, i+1)
			s.line = l
			s.box.configure(&l.channel, now)
			m.senders = append(m.senders, s)
			continue
		}
		s := &sender{line: l, box: newOutbox(m.options.Node, &l.channel, now), wake: make(chan struct{}, 1), stop: func() {}}
		m.senders = append(m.senders, s)
		m.dropped(s, r.fill(s.box, now))
		m.start(s)
	}
	for _, s := range before {
		s.stop()
		m.options.Logger.Info("alert channel removed", "channel", s.box.channel, "untold", len(s.box.queue))
	}
	for _, a := range m.book.standing() {
		for _, s := range m.senders {
			m.put(s, newMessage(a.entry(false)), now)
		}
	}
	return nil
}

// Test sends a test to each channel, ahead of what waits, and returns what became of the first
// attempt, in the order of the channels; of those that ctx did not wait for, that. A test that
// fails goes on being sent until it is taken. The same happens once a day by itself.
func (m *Manager) Test(ctx context.Context) []*rpc.Delivered {
	var results []*rpc.Delivered
	var waits []chan *rpc.Delivered
	m.mu.Lock()
	now := m.now()
	for _, s := range m.senders {
		wait := make(chan *rpc.Delivered, 1)
		results = append(results, &rpc.Delivered{Channel: s.box.channel})
		waits = append(waits, wait)
		if m.run == nil || m.run.Err() != nil { // its senders may have ended
			close(wait)
			continue
		}
		s.box.force(m.unixAt(now), now)
		results[len(results)-1].Message = s.box.test.id
		s.waiting = append(s.waiting, wait)
		s.rouse()
	}
	m.mu.Unlock()
	for i, wait := range waits {
		select {
		case <-ctx.Done():
			results[i].Fault = "nothing came of it in time"
		case d := <-wait:
			if d == nil {
				results[i].Fault = "alerts are not being sent"
				continue
			}
			results[i] = d
		}
	}
	return results
}

// Channels returns what the channels are doing, in the order of the configuration.
func (m *Manager) Channels() []*rpc.AlertChannel {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*rpc.AlertChannel
	for _, s := range m.senders {
		all = append(all, s.box.state(s.line.channel.Type))
	}
	return all
}

// Standing returns the alarms that stand, the oldest first: those of the manager itself too,
// and those that were away for less than 30 s.
func (m *Manager) Standing() []Alarm {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.book.standing()
}

// chance is what makes channels not try all at the same time.
func chance() float64 { return rand.Float64() }
