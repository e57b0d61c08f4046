package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
)

// writeStreamTable prints a table, broken at width letters as that of clients is. More says that
// there are others, behind these.
func writeStreamTable(out io.Writer, list []*rpc.Stream, prefix string, more bool, width int) error {
	if len(list) == 0 {
		sentence := "there is no stream yet: truechimer append creates the one that it names"
		if prefix != "" {
			sentence = fmt.Sprintf("there is no stream whose name begins with %s", prefix)
		}
		_, err := fmt.Fprintln(out, sentence)
		return err
	}
	names := []string{"STREAM"}
	var right strings.Builder
	w := tabwriter.NewWriter(&right, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FIRST\tLAST\tBYTES\tLAST EVENT, UTC\tKEEPS")
	for _, s := range list {
		names = append(names, s.Name)
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\n", s.First, s.Last, bytesWords(s.Bytes), minuteWords(s.LastTimestamp), retentionWords(s.Retention))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	text := beside(names, strings.Split(strings.TrimSuffix(right.String(), "\n"), "\n"), width)
	if more {
		text += fmt.Sprintf("and more; --limit is %d\n", len(list))
	}
	_, err := io.WriteString(out, text)
	return err
}

// minuteWords is when a timestamp is, to the second.
func minuteWords(ts uint64) string {
	if ts == 0 {
		return "-"
	}
	return hlc.Timestamp(ts).Time().Format(time.DateTime)
}

// retentionWords says what is kept.
func retentionWords(r *rpc.Retention) string {
	var limits []string
	if r.GetAgeNs() > 0 {
		limits = append(limits, longWords(ns(r.AgeNs)))
	}
	if r.GetCount() > 0 {
		limits = append(limits, fmt.Sprintf("%d events", r.Count))
	}
	if r.GetBytes() > 0 {
		limits = append(limits, bytesWords(r.Bytes))
	}
	if len(limits) == 0 {
		return "all"
	}
	return strings.Join(limits, ", ")
}

// eventsWords says which events of a stream are left.
func eventsWords(s *rpc.Stream) string {
	n := s.Last + 1 - s.First
	switch {
	case s.Last == 0:
		return "no event yet"
	case n == 0:
		return fmt.Sprintf("no event left of %d", s.Last)
	case n == 1:
		return fmt.Sprintf("1 event, sequence %d, of %s", s.Last, bytesWords(s.Bytes))
	default:
		return fmt.Sprintf("%d events, sequences %d to %d, of %s", n, s.First, s.Last, bytesWords(s.Bytes))
	}
}

// writeStream prints what there is to know of one stream.
func writeStream(out io.Writer, s *rpc.Stream, width int) error {
	r := rows{width: width}
	r.add("stream", "%s", s.Name)
	r.add("created", "%s", timestampWords(s.Created))
	r.add("events", "%s", eventsWords(s))
	if s.LastTimestamp != 0 {
		r.add("last event", "%s", timestampWords(s.LastTimestamp))
	}
	r.add("keeps", "%s", retentionWords(s.Retention))
	return r.write(out)
}
