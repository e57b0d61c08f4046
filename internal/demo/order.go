package demo

import (
	"cmp"
	"slices"
)

// Order is what messages are sorted by.
type Order int

// The orders.
const (
	ByServer   Order = iota // the clocks of the servers
	ByHybrid                // hybrid timestamps
	BySequence              // the log
)

// Orders lists them.
func Orders() []Order { return []Order{ByServer, ByHybrid, BySequence} }

// View is a conversation in some order.
type View struct {
	Lines []Line
	// Inversions are replies that stand above what they answer, and Broken are pairs of any messages of
	// which the lower one was known to the author of the upper one: those and more.
	Inversions, Broken int
	// Late are the lines that came when one below them had been read already, so that no
	// reader who shows what has come sees the final order.
	Late int
}

// Line is a message in a View.
type Line struct {
	*Message
	Inverted, Late bool
}

// Sort returns the messages in an order. Servers that show the same time are taken by their
// names.
func Sort(messages []Message, by Order) View {
	v := View{Lines: make([]Line, len(messages))}
	for i := range messages {
		v.Lines[i].Message = &messages[i]
	}
	slices.SortStableFunc(v.Lines, func(a, b Line) int {
		switch by {
		case ByServer:
			return cmp.Or(cmp.Compare(a.ServerUnixNs, b.ServerUnixNs), cmp.Compare(a.Server, b.Server))
		case ByHybrid:
			return cmp.Or(cmp.Compare(a.Hybrid, b.Hybrid), cmp.Compare(a.Server, b.Server))
		default:
			return cmp.Compare(a.Sequence, b.Sequence)
		}
	})
	for i := range v.Lines {
		upper := &v.Lines[i]
		for j := i + 1; j < len(v.Lines); j++ {
			lower := &v.Lines[j]
			upper.Inverted = upper.Inverted || upper.Answers == lower.Sequence
			upper.Late = upper.Late || lower.Sequence < upper.Sequence
			if upper.knew(lower.Message) {
				v.Broken++
			}
		}
		if upper.Inverted {
			v.Inversions++
		}
		if upper.Late {
			v.Late++
		}
	}
	return v
}

// knew reports whether m was written when other was known at its server: it had come from
// the log, or had been written there.
func (m *Message) knew(other *Message) bool {
	return other.Sequence <= m.Read || other.Server == m.Server && other.Written < m.Written
}
