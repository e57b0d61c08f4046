package alert

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A fake Alertmanager decodes strictly what it is sent, and tells when it is sent what.
func TestAlertmanager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Channel{Name: "am", Type: Alertmanager, URL: "http://am/prefix/", Heartbeat: time.Minute}
		r := newRig(t, Restored{}, nil, c)
		defer r.stop()
		start := time.Now()
		r.stand(150, critical("clock_jump", "source", "s", "9 x", "y", "node", "no"))
		names := map[string][]time.Duration{}
		for _, a := range r.to.all() {
			if a.path != "am/prefix/api/v2/alerts" {
				t.Errorf("posted to %s", a.path)
			}
			for _, alert := range a.alerts {
				names[alert.Labels["alertname"]] = append(names[alert.Labels["alertname"]], a.at.Sub(start))
				if alert.EndsAt != nil || alert.Labels["node"] != "n" || alert.GeneratorURL != "https://n/" {
					t.Errorf("got %+v", alert)
				}
			}
		}
		if got := fmt.Sprint(names); got != "map[TruechimerClockJump:[0s 0s 1m0s 2m0s] TruechimerWatchdog:[0s 1m0s 2m0s]]" &&
			got != "map[TruechimerClockJump:[0s 1m0s 2m0s] TruechimerWatchdog:[0s 1m0s 2m0s]]" {
			t.Errorf("got %v", got)
		}
		jump := func(a arrival) bool { return a.alerts[0].Labels["alertname"] == "TruechimerClockJump" }
		got := r.to.all()[slices.IndexFunc(r.to.all(), jump)].alerts[0]
		if fmt.Sprint(got.Labels) != "map[_9_x:y alertname:TruechimerClockJump node:n severity:critical source:s]" ||
			!got.StartsAt.Equal(start) || got.Annotations["summary"] != "clock jump" || got.Annotations["description"] != "clock_jump is bad" {
			t.Errorf("got %+v", got)
		}
		r.to.types()
		r.stand(32)
		synctest.Wait()
		told := slices.DeleteFunc(r.to.all(), func(a arrival) bool { return !jump(a) })
		last := told[len(told)-1].alerts[0]
		if last.EndsAt == nil || time.Since(*last.EndsAt) > 2*time.Second || !last.StartsAt.Equal(start) {
			t.Errorf("at the end: %+v", last)
		}
		r.to.types()
		r.stand(100)
		for _, a := range r.to.all() {
			if len(a.alerts) != 1 || a.alerts[0].Labels["alertname"] != "TruechimerWatchdog" {
				t.Errorf("after the end: %+v", a.alerts)
			}
		}
		time.Sleep(testFirst)
		if !slices.ContainsFunc(r.to.all(), func(a arrival) bool { return a.alerts[0].Labels["alertname"] == "TruechimerTest" }) {
			t.Error("no test")
		}
	})
}

// One that refuses what starts after its own clock gets it without the start.
func TestAlertmanagerWithAnotherClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Restored{}, func(a *arrival) int {
			for _, alert := range a.alerts {
				if alert.StartsAt != nil {
					return http.StatusBadRequest
				}
			}
			return 200
		}, Channel{Name: "am", Type: Alertmanager, URL: "http://am"})
		defer r.stop()
		r.stand(100, warn("x"))
		r.stand(100)
		synctest.Wait()
		for _, a := range r.to.all() {
			if slices.ContainsFunc(a.alerts, func(p postableAlert) bool { return p.Labels["alertname"] == "TruechimerWatchdog" }) {
				t.Error("a watchdog that nobody asked for")
			}
		}
		if d := r.kept.deliveries(); len(d) != 4 || !d[1].Taken || d[1].Attempts != 2 || !d[3].Taken {
			t.Errorf("kept %v", d)
		}
		if len(r.Standing()) != 0 {
			t.Errorf("stand %v", r.Standing())
		}
	})
}

// What a channel is not told of it is not told of each minute either.
func TestAlertmanagerCriticalOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Restored{}, nil, Channel{Name: "am", Type: Alertmanager, URL: "http://am", CriticalOnly: true})
		defer r.stop()
		r.stand(100, warn("x"), critical("y"))
		for _, a := range r.to.all() {
			if slices.ContainsFunc(a.alerts, func(p postableAlert) bool { return p.Labels["severity"] != Critical }) {
				t.Errorf("told %v", a.alerts)
			}
		}
	})
}

func TestAlertmanagerEnd(t *testing.T) {
	a := Alarm{Condition: warn("x"), Since: 100}
	for _, c := range []struct {
		sent  int64
		dated bool
		want  int64
	}{{150, true, 150}, {50, true, 100}, {50, false, 50}} {
		p := envelope{sent: c.sent}.alert(a.entry(true), c.dated)
		if got := p.EndsAt.UnixNano(); got != c.want || (p.StartsAt != nil) != c.dated {
			t.Errorf("%+v: %+v", c, p)
		}
		if p := (envelope{}).alert(a.entry(false), true); p.EndsAt != nil {
			t.Errorf("it stands, and ends at %v", p.EndsAt)
		}
	}
}
