package main

import "time"

// receiver is who is told of the contender's alarms, inside the guest: a webhook that keeps
// what it is sent, and refuses some of it.
type receiver struct {
	Address  string // HOST:PORT
	HeadFile string // gets the first head of the journal that a message bears, and nothing later
	Refusals []refusal
}

// refusal is that everything is refused from the first message of a kind on, for a time.
type refusal struct {
	After time.Duration // since the run's start: earlier messages do not count
	Type  string        // of the message
	Alarm string        // its name; empty: any
	For   time.Duration
}

// message is what a webhook is sent, as far as it matters here.
type message struct {
	ID    string `json:"id"`
	Type  string `json:"type"`
	Alarm struct {
		ID          string            `json:"id"`
		Name        string            `json:"name"`
		Labels      map[string]string `json:"labels"`
		SinceUnixNs int64             `json:"since_unix_ns"`
	} `json:"alarm"`
	Head string `json:"head"`
}

// The types of messages.
const (
	typeFiring    = "firing"
	typeResolved  = "resolved"
	typeHeartbeat = "heartbeat"
)

// refuser decides which messages are refused. Each refusal begins once.
type refuser struct {
	left  []refusal
	until time.Duration
}

// refuses reports whether a message that came so long after the run's start is refused.
func (r *refuser) refuses(m *message, at time.Duration) bool {
	for i, f := range r.left {
		if at >= f.After && m.Type == f.Type && (f.Alarm == "" || m.Alarm.Name == f.Alarm) {
			r.left = append(r.left[:i:i], r.left[i+1:]...)
			r.until = max(r.until, at+f.For)
			break
		}
	}
	return at < r.until
}
