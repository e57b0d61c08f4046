package alert

import (
	"iter"
	"slices"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
)

// Restored is what an earlier run left behind: the alarms that stood, and what each channel was
// not told yet. The zero value is nothing.
type Restored struct {
	messages []*message       // of all alarms, in their order
	index    map[string]int   // of messages, by id
	past     map[string]*past // by channel
}

// past is how far a channel got.
type past struct {
	taken map[string]bool // messages
	from  int             // index of the first message that it may still have to be told
	sure  bool            // it took the one before
}

// Restore reads the Alarmed and Delivered entries of the journal, in their order; others are
// passed over. They should go back as far as the oldest alarm that may still stand, or message
// that may still wait: some weeks.
//
// A channel takes messages in their order, so all after the last that it took are owed. Of one
// that took none yet, all from the first that failed on, or that came after the first word of
// it. A channel that the journal does not know is new and is told what stands.
func Restore(entries iter.Seq2[int64, *rpc.JournalEntry]) Restored {
	r := Restored{index: map[string]int{}, past: map[string]*past{}}
	for _, e := range entries {
		if a := e.GetAlarm(); a != nil {
			m := newMessage(a)
			r.index[m.id] = len(r.messages)
			r.messages = append(r.messages, m)
		}
		if d := e.GetDelivery(); d != nil {
			r.delivered(d)
		}
	}
	return r
}

func (r *Restored) delivered(d *rpc.Delivered) {
	i, known := r.index[d.Message]
	p := r.past[d.Channel]
	if p == nil {
		p = &past{taken: map[string]bool{}, from: len(r.messages)}
		r.past[d.Channel] = p
	}
	switch {
	case !known:
	case d.Taken:
		p.taken[d.Message] = true
		if !p.sure || p.from <= i {
			p.from, p.sure = i+1, true
		}
	case !p.sure:
		p.from = min(p.from, i)
	}
}

// fill puts into the outbox of a channel what it is owed, and returns what it had to drop.
func (r *Restored) fill(b *outbox, now time.Duration) []*message {
	var gone []*message
	p := r.past[b.channel]
	if p == nil {
		stands := map[string]bool{}
		for _, a := range r.standing() {
			stands[a.ID] = true
		}
		for _, m := range r.messages {
			if stands[m.alarm.Id] {
				gone = append(gone, b.put(m, now)...)
			}
		}
		return gone
	}
	for i, m := range r.messages {
		id := m.alarm.Id
		switch {
		case m.kind == resolved && !r.raised(id):
			b.told[id] = b.wants(m.alarm) // it was raised before what was read
		case i < p.from && m.kind == resolved:
			delete(b.told, id)
		case p.taken[m.id]:
			b.told[id] = true
		}
		if i >= p.from {
			gone = append(gone, b.put(m, now)...)
		}
	}
	return gone
}

// raised reports whether it was read that the alarm was raised.
func (r *Restored) raised(id string) bool {
	_, ok := r.index[id+"-"+string(firing)]
	return ok
}

// standing returns the alarms that stood.
func (r *Restored) standing() []Alarm {
	var all []Alarm
	for _, m := range r.messages {
		if !m.alarm.Resolved {
			all = append(all, alarmOf(m.alarm))
			continue
		}
		all = slices.DeleteFunc(all, func(a Alarm) bool { return a.ID == m.alarm.Id })
	}
	return all
}

// alarmOf is the alarm that an entry tells of.
func alarmOf(e *rpc.Alarmed) Alarm {
	c := Condition{Name: e.Name, Labels: e.Labels, Critical: e.Severity == Critical, Sentence: e.Sentence}
	return Alarm{Condition: c, ID: e.Id, Since: e.SinceUnixNs}
}
