package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Alert is a channel that is told of alarms.
type Alert struct {
	Name         string
	Type         string // AlertWebhook or AlertAlertmanager
	URL          string
	TokenFile    string // path; empty: no token
	CAFile       string // path; empty: the system's authorities
	CriticalOnly bool
	Heartbeat    time.Duration // 0: none
}

// The types of a channel.
const (
	AlertWebhook      = "webhook"
	AlertAlertmanager = "alertmanager"
)

const (
	alertSection               = "alert"
	alertsMax                  = 16
	urlLenMax                  = 2048
	alertmanagerPath           = "/api/v2/alerts"
	heartbeatMin, heartbeatMax = 10 * time.Second, 24 * time.Hour

	alertSectionWords = "A channel that is told of alarms: one such section for each, 16 at the most. What it does not take is tried again until it does. " +
		"`truechimer alert test` sends a test. Channels are numbered from 1 in messages. (live)"
)

// DefaultAlert returns a channel of which nothing but the name is said.
func DefaultAlert(name string) Alert { return Alert{Name: name, Heartbeat: time.Minute} }

func alertWords() listWords[Alert] {
	return listWords[Alert]{
		intro: alertSectionWords,
		samples: []string{
			"name = \"on-call\"\ntype = \"alertmanager\"\nurl = \"http://alertmanager.example.net:9093\"\n",
		},
		example: func() Alert {
			a := DefaultAlert("hook")
			a.Type, a.URL = AlertWebhook, "https://hooks.example.net/truechimer"
			return a
		},
		fresh: func() Alert { return DefaultAlert("") },
		id:    func(a *Alert) string { return a.Name },
		short: func(a *Alert) string { return a.Type },
	}
}

// alertKeys returns the keys of an [[alert]], in the order of the template.
func alertKeys() []itemKey[Alert] {
	return []itemKey[Alert]{
		{
			name:  "name",
			doc:   "What it is called in logs, metrics and the journal. Required.",
			field: text(func(a *Alert) *string { return &a.Name }, nameRange, nameFault),
		}, {
			name:  "type",
			doc:   "\"webhook\": each alarm is posted once as JSON, when it is raised and when it is over. \"alertmanager\": Prometheus' Alertmanager, which knows whom to call. Required.",
			field: text(func(a *Alert) *string { return &a.Type }, alertTypeRange, alertTypeFault),
		}, {
			name:  "url",
			doc:   "Where it listens; for an Alertmanager without /api/v2/alerts. Redirects are not followed. Required.",
			field: text(func(a *Alert) *string { return &a.URL }, alertURLRange, alertURLFault),
		}, {
			name:  "token_file",
			doc:   "A file with the token that is sent along (Authorization: Bearer). It is read each time.",
			field: text(func(a *Alert) *string { return &a.TokenFile }, pathRange, noPathFault),
		}, {
			name:  "ca_file",
			doc:   "The certificates of those who sign the channel's, in PEM. Left empty: those that the system trusts.",
			field: text(func(a *Alert) *string { return &a.CAFile }, pathRange, noPathFault),
		}, {
			name:  "critical_only",
			doc:   "Leave out what is a warning only.",
			field: boolean(func(a *Alert) *bool { return &a.CriticalOnly }),
		}, {
			name:  "heartbeat",
			doc:   "How often it is told that this node is alive, with the journal's signed head, so that silence is an alarm too.",
			field: durationOrNone(func(a *Alert) *time.Duration { return &a.Heartbeat }, "never", heartbeatMin, heartbeatMax),
		},
	}
}

const alertTypeRange = `"webhook" or "alertmanager"`

func alertTypeFault(s string) string {
	if s != AlertWebhook && s != AlertAlertmanager {
		return fmt.Sprintf("want %s, not %s", alertTypeRange, quoted(s))
	}
	return ""
}

const alertURLRange = "an http or https URL of up to 2048 bytes, without a user name or password"

// alertURLFault does not repeat what it finds fault with: it may hold a password.
func alertURLFault(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || len(s) > urlLenMax || u.Hostname() == "" || !slices.Contains([]string{"http", "https"}, u.Scheme) || u.Fragment != "":
		return "want " + alertURLRange
	case u.User != nil:
		return "want " + alertURLRange + ": put a token into token_file"
	}
	return ""
}

// alertChecks reports what is wrong between the keys of channels, and between channels.
func alertChecks(c *Config) []crossFault {
	var faults []crossFault
	names := map[string]int{}
	for i := range c.Alerts {
		a := &c.Alerts[i]
		for _, k := range []struct{ name, value string }{{"name", a.Name}, {"type", a.Type}, {"url", a.URL}} {
			if k.value == "" {
				faults = append(faults, crossFault{
					keys: []string{itemAt(alertSection, i, k.name), itemAt(alertSection, i, "")},
					text: fmt.Sprintf("the %s is missing: a channel needs name, type and url", k.name),
				})
			}
		}
		u, err := url.Parse(a.URL)
		if err != nil {
			u = new(url.URL) // only where the key is at fault
		}
		if a.TokenFile != "" && u.Scheme == "http" && !loopbackHost(u.Hostname()) {
			faults = append(faults, crossFault{
				keys: []string{itemAt(alertSection, i, "token_file")},
				text: "the token would go unencrypted over the network: use an https URL, or take token_file out",
			})
		}
		if a.Type == AlertAlertmanager && strings.HasSuffix(strings.TrimRight(u.Path, "/"), alertmanagerPath) {
			faults = append(faults, crossFault{
				keys: []string{itemAt(alertSection, i, "url")},
				text: "an Alertmanager's URL goes without " + alertmanagerPath + ", which is added: take it out",
			})
		}
		if first, twice := names[a.Name]; twice && a.Name != "" {
			faults = append(faults, crossFault{
				keys: []string{itemAt(alertSection, i, "name")},
				text: fmt.Sprintf("%s has the same name: give each channel its own", itemAt(alertSection, first, "")),
			})
			continue
		}
		names[a.Name] = i
	}
	return faults
}
