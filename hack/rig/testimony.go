package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// testimony is all that was said of a run: by the observer, who knows the truth, by the receiver of
// alerts, and by our program. It is read without a line of our program's own code: an error in
// that would cancel out.
type testimony struct {
	observations []record
	messages     []delivery
	looks        []look // of the raw journal, in their order
	blocks       int    // in which they stood
	states       []stateChange
	minutes      []minuteSummary
	alarms       []alarmRecord
	report       reportFigures
	verified     verification
}

// delivery is a message as it arrived.
type delivery struct {
	message
	raw  int64 // CLOCK_MONOTONIC_RAW
	code int   // with which it was answered
}

func (d *delivery) taken() bool { return d.code/100 == 2 }

// look is one look at the clock.
type look struct {
	at            int64 // Unix seconds
	bound, offset int64 // ns; bound −1: none could be claimed
}

// stateChange is a state that the clock was in from an instant on.
type stateChange struct {
	unix  int64 // ns
	state string
}

// counts are seconds by verdict.
type counts struct{ OK, Warn, Breach, Unknown int64 }

func (c counts) total() int64 { return c.OK + c.Warn + c.Breach + c.Unknown }

type minuteSummary struct {
	start    int64 // Unix seconds
	observed int64
	verdicts counts // of the profile and the system clock
}

// alarmRecord is an alarm of the journal.
type alarmRecord struct {
	unix     int64 // when it was raised, or over, ns
	id, name string
	labels   map[string]string
	resolved bool
}

// reportFigures is what is compared of a report.
type reportFigures struct {
	From, To time.Time
	Seconds  int64
	Clocks   []struct {
		Clock   string
		Seconds struct {
			counts
			NotJudged int64 `json:"not_judged"`
			Gap       int64
		}
		Share     float64 `json:"compliant_share"`
		Unclaimed int64
		Bound     spread
		Offset    spread
	}
	Overall struct{ Observed, Gap int64 }
	Gaps    struct {
		Total int
		Items []gapFigures
	}
	Breaches struct {
		Total int
		Items []breachFigures
	}
}

type gapFigures struct {
	From, To time.Time
	Seconds  int64
}

type breachFigures struct {
	Clock      string
	From       time.Time
	To         *time.Time
	Worst      string
	Peak       int64 `json:"peak_ns"`
	PeakOffset int64 `json:"peak_offset_ns"`
}

// spread is what many values come to, nanoseconds.
type spread struct {
	Samples int64
	Min     int64   `json:"min_ns"`
	Max     int64   `json:"max_ns"`
	Mean    float64 `json:"mean_ns"`
	SD      float64 `json:"sd_ns"`
	P50     int64   `json:"p50_ns"`
	P99     int64   `json:"p99_ns"`
	P999    int64   `json:"p99_9_ns"`
}

// verification is what came of verifying the journal.
type verification struct {
	Checked, Total, Signatures digits
	Done                       bool
	Problems, Notes            []string
}

// digits is a whole number, which the API writes as a number or, where it may be large, as a string.
type digits int64

// UnmarshalJSON implements json.Unmarshaler.
func (d *digits) UnmarshalJSON(text []byte) error {
	n, err := strconv.ParseInt(strings.Trim(string(text), `"`), 10, 64)
	*d = digits(n)
	return err
}

// readTestimony reads what the guest told, and the answers.
func readTestimony(records []record, said map[string][]byte) (*testimony, error) {
	t := &testimony{}
	for _, r := range records {
		switch {
		case r.Kind == observed && r.Text != afterEnd:
			t.observations = append(t.observations, r)
		case r.Kind == received:
			d := delivery{raw: r.RawNs, code: r.Code}
			err := json.Unmarshal([]byte(r.Text), &d.message)
			if err != nil {
				return nil, fmt.Errorf("read message %q: %w", r.Text, err)
			}
			t.messages = append(t.messages, d)
		}
	}
	for _, part := range []struct {
		name string
		read func([]byte) error
	}{
		{askSeconds, t.readJournal},
		{askEvents, t.readJournal},
		{askReport, func(text []byte) error { return json.Unmarshal(text, &t.report) }},
		{askVerify, func(text []byte) error { return json.Unmarshal(text, &t.verified) }},
	} {
		err := part.read(said[part.name])
		if err != nil {
			return nil, fmt.Errorf("read the answer to %q: %w", part.name, err)
		}
	}
	if len(t.observations) == 0 || len(t.looks) == 0 || len(t.states) == 0 || len(t.report.Clocks) != 1 {
		return nil, fmt.Errorf("the run says too little: %d observations, %d seconds in the journal, %d states, %d clocks in the report; want one clock, and some of the others",
			len(t.observations), len(t.looks), len(t.states), len(t.report.Clocks))
	}
	return t, nil
}

// journalLine is a line of journal show --json, as far as it matters here.
type journalLine struct {
	UnixNs digits
	Kind   string
	Entry  struct {
		Seconds *struct {
			Start                         digits
			At                            []int64
			SystemBoundNs, SystemOffsetNs []digits
		}
		Clock  *struct{ State string }
		Minute *struct {
			Start    digits
			Observed int64
			Verdicts []struct {
				Profile, Clock string
				counts
			}
		}
		Alarm *struct {
			ID, Name string
			Labels   map[string]string
			Resolved bool
		}
	}
}

func (t *testimony) readJournal(text []byte) error {
	for line := range bytes.Lines(text) {
		var m journalLine
		err := json.Unmarshal(line, &m)
		if err != nil {
			return err
		}
		switch e := &m.Entry; {
		case e.Seconds != nil:
			s := e.Seconds
			if len(s.SystemBoundNs) != len(s.At) || len(s.SystemOffsetNs) != len(s.At) {
				return fmt.Errorf("seconds at %d: the lists are of different lengths", s.Start)
			}
			t.blocks++
			for i, at := range s.At {
				t.looks = append(t.looks, look{int64(s.Start) + at, int64(s.SystemBoundNs[i]), int64(s.SystemOffsetNs[i])})
			}
		case e.Clock != nil:
			t.states = append(t.states, stateChange{int64(m.UnixNs), e.Clock.State})
		case e.Minute != nil:
			s := minuteSummary{start: int64(e.Minute.Start), observed: e.Minute.Observed}
			for _, v := range e.Minute.Verdicts {
				if v.Profile == evidenceProfile && v.Clock == "JUDGED_CLOCK_SYSTEM" {
					s.verdicts = v.counts
				}
			}
			t.minutes = append(t.minutes, s)
		case e.Alarm != nil:
			t.alarms = append(t.alarms, alarmRecord{int64(m.UnixNs), e.Alarm.ID, e.Alarm.Name, e.Alarm.Labels, e.Alarm.Resolved})
		default:
			return fmt.Errorf("a record of kind %q, which was not asked for", m.Kind)
		}
	}
	return nil
}
