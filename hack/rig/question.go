package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"
)

// question is a command that is run in the guest before the contender ends, and whose output is
// its answer.
type question struct {
	Name string
	// Argv may contain {from} and {to}: the minute before that in which the run began, and one
	// that was over a minute ago, by the contender's clock.
	Argv []string
}

// argv is the command for a run that began at a time, of a clock that shows now, Unix nanoseconds.
func (q question) argv(began, now int64) []string {
	minute := func(unix int64) string { return time.Unix(unix/1e9/60*60, 0).UTC().Format(time.RFC3339) }
	fill := strings.NewReplacer("{from}", minute(began-60e9), "{to}", minute(now-60e9))
	var argv []string
	for _, word := range q.Argv {
		argv = append(argv, fill.Replace(word))
	}
	return argv
}

// partLen is how much of an answer one record bears: a console takes long lines badly.
const partLen = 2000

// pack makes records of an answer, compressed: the journal of hours is megabytes.
func pack(name string, answer []byte) ([]record, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(answer)
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return nil, err
	}
	text := base64.StdEncoding.EncodeToString(b.Bytes())
	var records []record
	for len(text) > 0 {
		n := min(len(text), partLen)
		records = append(records, record{Kind: answered, Name: name, Text: text[:n]})
		text = text[n:]
	}
	return records, nil
}

// answers finds the answers in the records of a run, by the names of their questions.
func answers(records []record) (map[string][]byte, error) {
	parts := map[string]*strings.Builder{}
	for _, r := range records {
		if r.Kind != answered {
			continue
		}
		if parts[r.Name] == nil {
			parts[r.Name] = &strings.Builder{}
		}
		parts[r.Name].WriteString(r.Text)
	}
	whole := map[string][]byte{}
	for name, text := range parts {
		z, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(text.String())))
		if err != nil {
			return nil, fmt.Errorf("unpack the answer to %q: %w", name, err)
		}
		whole[name], err = io.ReadAll(z)
		if err != nil {
			return nil, fmt.Errorf("unpack the answer to %q: %w", name, err)
		}
	}
	return whole, nil
}
