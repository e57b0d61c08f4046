package alert

import (
	"encoding/json"
	"time"
)

// webhookMessage is what a webhook is sent: one JSON object by POST, its id in the header
// Idempotency-Key too. Any 2xx answer means that it was taken; all else, a redirect too, that
// it is sent again. A receiver that sees an id twice has had the message: answer 200.
type webhookMessage struct {
	// ID is the message's, and stays the same however often it is sent.
	ID string `json:"id"`
	// Type is firing, resolved, test or heartbeat.
	Type kind `json:"type"`
	// Node is the name of the node that sends it.
	Node string `json:"node"`
	// Alarm is what it is about; not there in a test or heartbeat.
	Alarm *webhookAlarm `json:"alarm,omitempty"`
	// SentUnixNs is when this attempt was made, by the node's clock.
	SentUnixNs int64 `json:"sent_unix_ns"`
	// Head is the last signed head of the journal, a line; empty: there is none yet. Keep it:
	// truechimer journal verify --head proves by it that nothing before it was changed since.
	Head string `json:"head"`
}

// webhookAlarm is the alarm in it.
type webhookAlarm struct {
	// ID is the same when it is raised and when it is over.
	ID string `json:"id"`
	// Name is one word of a closed list.
	Name string `json:"name"`
	// Labels say what it is about besides.
	Labels map[string]string `json:"labels"`
	// Severity is warning or critical.
	Severity string `json:"severity"`
	// Sentence is what is wrong and what to do.
	Sentence string `json:"sentence"`
	// SinceUnixNs is when it was raised, by the node's clock.
	SinceUnixNs int64 `json:"since_unix_ns"`
}

// envelope is what goes along with every message.
type envelope struct {
	node, link, head string
	sent             int64 // Unix nanoseconds
}

// webhookBody encodes a message for a webhook.
func webhookBody(e envelope, m *message) ([]byte, error) {
	w := webhookMessage{ID: m.id, Type: m.kind, Node: e.node, SentUnixNs: e.sent, Head: e.head}
	if a := m.alarm; a != nil {
		w.Alarm = &webhookAlarm{a.Id, a.Name, a.Labels, a.Severity, a.Sentence, a.SinceUnixNs}
		if w.Alarm.Labels == nil {
			w.Alarm.Labels = map[string]string{}
		}
	}
	return json.Marshal(w)
}

func utc(unix int64) *time.Time {
	t := time.Unix(0, unix).UTC()
	return &t
}
