package alert

import (
	"encoding/json"
	"maps"
	"strings"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
)

// alertmanagerPath is where alerts are posted, below the URL of an Alertmanager.
const alertmanagerPath = "api/v2/alerts"

// postableAlert is one alert as an Alertmanager takes it; they are posted as a list. What is
// firing has no end: the Alertmanager holds it to be over when it has not heard of it for its
// resolve_timeout (5 minutes), and it is told every minute.
// Source: api/v2/openapi.yaml of the Alertmanager, postableAlert.
type postableAlert struct {
	StartsAt     *time.Time        `json:"startsAt,omitempty"`
	EndsAt       *time.Time        `json:"endsAt,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Labels       map[string]string `json:"labels"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// alertmanagerBody encodes a message for an Alertmanager. A heartbeat is all that stands, and with
// watchdog an alert that always fires.
//
// An Alertmanager refuses an alert that starts after its own clock, and ours may be wrong:
// that may be what the alarm is about. So every second attempt leaves the start out.
func alertmanagerBody(e envelope, m *message, watchdog bool) ([]byte, error) {
	dated := m.attempts%2 == 1
	alerts := []postableAlert{}
	switch m.kind {
	case heartbeat:
		for i := range m.standing {
			alerts = append(alerts, e.alert(m.standing[i].entry(false), dated))
		}
		if watchdog {
			alerts = append(alerts, e.constant("TruechimerWatchdog", "Always fires: the node is there and can tell of alarms. Be told when it is gone."))
		}
	case test:
		alerts = append(alerts, e.constant("TruechimerTest", "A test of the alert channel: nothing is wrong."))
	default:
		alerts = append(alerts, e.alert(m.alarm, dated))
	}
	return json.Marshal(alerts)
}

// alert is an alarm as an Alertmanager takes it.
func (e envelope) alert(a *rpc.Alarmed, dated bool) postableAlert {
	labels := make(map[string]string, len(a.Labels)+3)
	for name, value := range a.Labels {
		labels[labelName(name)] = value
	}
	maps.Copy(labels, map[string]string{"alertname": alertName(a.Name), "node": e.node, "severity": a.Severity})
	p := postableAlert{
		Labels:       labels,
		Annotations:  map[string]string{"summary": strings.ReplaceAll(a.Name, "_", " "), "description": a.Sentence, "alarm": a.Id, "head": e.head},
		GeneratorURL: e.link,
	}
	end := e.sent
	if dated {
		p.StartsAt = utc(a.SinceUnixNs)
		end = max(end, a.SinceUnixNs) // the clock may have been set back since
	}
	if a.Resolved {
		p.EndsAt = utc(end)
	}
	return p
}

// constant is an alert that is about no alarm.
func (e envelope) constant(name, description string) postableAlert {
	return postableAlert{
		Labels:       map[string]string{"alertname": name, "node": e.node, "severity": "none"},
		Annotations:  map[string]string{"summary": name, "description": description, "head": e.head},
		GeneratorURL: e.link,
	}
}

// alertName is the name of an alarm as others in an Alertmanager are written: TruechimerClockJump.
func alertName(name string) string {
	var b strings.Builder
	b.WriteString("Truechimer")
	for word := range strings.SplitSeq(name, "_") {
		if word != "" {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

// labelName makes a name that an Alertmanager takes of any: [a-zA-Z_][a-zA-Z0-9_]*.
func labelName(name string) string {
	clean := strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
	if clean == "" || clean[0] >= '0' && clean[0] <= '9' {
		return "_" + clean
	}
	return clean
}
