package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// recordMark begins every line of the guest's console that is ours.
const recordMark = "@rig "

// record is one line of what the guest tells. Seconds counts from the contender's
// start, by the truth's oscillator.
type record struct {
	Kind    recordKind
	Seconds float64

	// The instant, where it matters: by CLOCK_MONOTONIC_RAW, and as the clock had it.
	RawNs, UnixNs int64 `json:",omitempty"`

	// Of an observation: the truth minus the clock, and what the kernel says of it.
	OffsetNs               int64   `json:",omitempty"`
	MaxErrorUs, EstErrorUs int64   `json:",omitempty"`
	Status                 int32   `json:",omitempty"`
	FreqPPM                float64 `json:",omitempty"`
	Tick                   int64   `json:",omitempty"`

	StepNs int64  `json:",omitempty"` // positive: forward
	Code   int    `json:",omitempty"` // of HTTP, with which a message was answered
	Name   string `json:",omitempty"` // of the question
	Text   string `json:",omitempty"`
}

type recordKind string

const (
	observed recordKind = "observed"
	step     recordKind = "step"     // the clock was set, by whomever
	happened recordKind = "event"    // of the plan
	said     recordKind = "said"     // by the contender
	received recordKind = "received" // a message of the contender's
	answered recordKind = "answered" // a part of the answer to a question, see pack
	ended    recordKind = "ended"    // all went as planned; the last record of a run
	failed   recordKind = "failed"
)

// afterEnd marks the one observation that was made when the contender had ended.
const afterEnd = "after the contender's end"

// line is the record as the console shows it, its newline included, for one write.
func (r record) line() []byte {
	text, err := json.Marshal(r)
	if err != nil { // of plain fields: a NaN
		text = fmt.Appendf(nil, `{"Kind":%q,"Text":%q}`, failed, err.Error())
	}
	return append(append([]byte(recordMark), text...), '\n')
}

// readRecords finds the records in a console's output, and passes over the rest.
// It fails where a record is damaged, and where the run did not end as planned.
func readRecords(console io.Reader) ([]record, error) {
	var records []record
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		_, text, found := bytes.Cut(lines.Bytes(), []byte(recordMark))
		if !found {
			continue
		}
		var r record
		err := json.Unmarshal(bytes.TrimSpace(text), &r)
		if err != nil {
			return nil, fmt.Errorf("read record %q: %w", text, err)
		}
		if r.Kind == failed {
			return nil, fmt.Errorf("the guest failed after %.0f s: %s", r.Seconds, strings.TrimSpace(r.Text))
		}
		records = append(records, r)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(records) == 0 || records[len(records)-1].Kind != ended {
		return nil, fmt.Errorf("the guest stopped before its end, after %d records", len(records))
	}
	return records, nil
}
