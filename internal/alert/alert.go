// Package alert tells people: it turns conditions that stand into alarms, and alarms into
// messages to channels.
//
// It promises that an alarm is sent at once, that each message is sent again until the channel
// has taken it, in the order of the alarms and with an id that stays the same, over restarts
// too, and that nobody who reports a condition ever waits for a channel. A channel that takes a
// message and whose answer is lost gets the message again, with the same id: receivers go by it.
//
// Hazard: what the journal does not keep is not known after a restart, and an alarm that stood
// is then raised anew.
package alert

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
)

// Limits and times.
const (
	HeartbeatDefault = time.Minute
	HeartbeatMin     = 10 * time.Second

	alarmsMax    = 1000             // that stand at a time
	queueMax     = 1000             // messages that wait for one channel
	hold         = 30 * time.Second // a condition must be away so long before its alarm is over
	failingAfter = 30 * time.Second // of failures, until that is an alarm itself
	droppedFor   = time.Hour        // how long the alarm about dropped messages stands
	attemptMax   = 10 * time.Second // for one attempt, all of it
	backOffMin   = time.Second
	backOffMax   = 5 * time.Minute
	refire       = time.Minute     // how often an Alertmanager is told of what stands
	testFirst    = 5 * time.Minute // after the start
	testEvery    = 24 * time.Hour
	tellFailures = time.Hour // at the most one failure is journalled in this time
)

// Severities, as they are journalled and sent.
const (
	Warning  = "warning"
	Critical = "critical"
)

// Kinds of channels.
const (
	Webhook      = "webhook"
	Alertmanager = "alertmanager"
)

// Alarms that the manager raises itself; label channel.
const (
	ChannelFailed   = "alert_channel_failed"
	MessagesDropped = "alert_messages_dropped"
	TooMany         = "alert_too_many" // no label
)

// Condition is something that an alarm is raised for as long as it stands. Name, labels and
// severity together say which it is: a condition that becomes critical is a new alarm.
type Condition struct {
	Name     string            // one word of a closed list
	Labels   map[string]string // what it is about besides; not changed once handed over
	Critical bool              // else a warning
	Sentence string            // what is wrong and what to do; may change while it stands
}

// severity returns the severity's name.
func (c *Condition) severity() string {
	if c.Critical {
		return Critical
	}
	return Warning
}

// Alarm is a condition that stands.
type Alarm struct {
	Condition
	ID    string // unique, over restarts too
	Since int64  // Unix nanoseconds
}

// entry is the alarm as it is journalled and sent.
func (a *Alarm) entry(resolved bool) *rpc.Alarmed {
	return &rpc.Alarmed{
		Id: a.ID, Name: a.Name, Labels: a.Labels, Severity: a.severity(), Sentence: a.Sentence,
		Resolved: resolved, SinceUnixNs: a.Since,
	}
}

// Channel is where alarms are told.
type Channel struct {
	Name         string        // unique
	Type         string        // Webhook or Alertmanager
	URL          string        // http or https; of an Alertmanager without /api/v2/alerts
	TokenFile    string        // sent as a bearer token, read at each attempt; empty: none
	CAFile       string        // PEM, who may vouch for the server; empty: the system's
	CriticalOnly bool          // not told of warnings
	Heartbeat    time.Duration // between signs of life; 0: none. Of an Alertmanager always a minute, if not 0
}

// Check returns what is wrong with the channel, without looking at its files.
func (c *Channel) Check() error {
	var problems []error
	if c.Name == "" {
		problems = append(problems, errors.New("a channel needs a name"))
	}
	if c.Type != Webhook && c.Type != Alertmanager {
		problems = append(problems, fmt.Errorf("type %q: it is %s or %s", c.Type, Webhook, Alertmanager))
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		// Not the text itself: it may hold a password.
		problems = append(problems, errors.New("the url is not one: write it as https://host/path"))
	}
	if c.Heartbeat != 0 && c.Heartbeat < HeartbeatMin {
		problems = append(problems, fmt.Errorf("heartbeat %v: it is 0 for none, or %v and more", c.Heartbeat, HeartbeatMin))
	}
	return errors.Join(problems...)
}

// Options are what a manager needs.
type Options struct {
	Node     string // name of this node, in every message
	Link     string // where alarms can be looked at, for an Alertmanager; empty: not said
	Channels []Channel
	// Journal takes what is to be kept: Alarmed and Delivered entries, in their order. It must
	// not wait for anything, nor call the manager. nil: nothing is kept.
	Journal func(*rpc.JournalEntry)
	// Head returns the last signed head of the journal, which goes along with every message;
	// empty: there is none. nil: there never is one.
	Head   func() string
	Logger *slog.Logger // nil: nothing is logged
	// Transport carries the requests, for tests; nil: the network, with the proxies of the
	// environment.
	Transport http.RoundTripper

	patience time.Duration // with one attempt, for tests; 0: attemptMax
}

// identify makes an id of parts.
func identify(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:12])
}

func unixText(unix int64) string { return strconv.FormatInt(unix, 10) }
