package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/rpc"
)

func newSources(c *client) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "sources",
		Short: "Show the servers that the server asks for the time, and why it follows which",
		Long: `Shows each server that is asked for the time: the stratum that it claims, its last eight
polls as an octal number (377: all were answered), the poll interval, how long ago it was
heard, its offset (source minus the clock that is served: positive when that is behind),
the standard deviation of one sample, the round trip, and its root distance, the largest
error that it can have. Below stands why those are not followed that are not.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return c.watch(cmd.Context(), c.printSources)
			}
			return c.printSources(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "again every second, until interrupted")
	return cmd
}

func (c *client) printSources(ctx context.Context) error {
	r, err := c.node().Sources(ctx, connect.NewRequest(&rpc.SourcesRequest{}))
	if err != nil {
		return c.failure(err)
	}
	if c.json {
		return c.printJSON(r.Msg)
	}
	return writeSources(c.out, r.Msg, c.width())
}

// sourceMarks show what a status comes to; any other is markRest.
var sourceMarks = map[string]string{"selected": "*", "combined": "+", "falseticker": "x", "distrusted": "x", "unreachable": "?"}

const (
	markRest    = "-"
	marksLegend = "* followed  + combined  - not selected  x falseticker  ? unreachable"
)

func markOf(s *rpc.Source) string {
	if mark, ok := sourceMarks[s.Status]; ok {
		return mark
	}
	return markRest
}

// writeSources prints a table, broken at width letters as that of clients is, and then why
// those sources that have no share in the estimate have none.
func writeSources(out io.Writer, r *rpc.SourcesResponse, width int) error {
	if len(r.Sources) == 0 {
		_, err := fmt.Fprintln(out, "no source is configured: each is a [[source]] with its address in the configuration file")
		return err
	}
	left := []string{"  SOURCE"}
	var right strings.Builder
	w := tabwriter.NewWriter(&right, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ST\tREACH\tPOLL\tLAST\tOFFSET\tJITTER\tDELAY\tDISTANCE")
	reasons := rows{width: width}
	for _, s := range r.Sources {
		mark := markOf(s)
		left = append(left, mark+" "+called(s.Name, s.Address))
		heard, stratum := "-", "-"
		if s.HeardAgoNs != nil {
			heard = ageWords(ns(*s.HeardAgoNs))
		}
		if s.Stratum > 0 {
			stratum = fmt.Sprint(s.Stratum)
		}
		offset, jitter, delay, distance := "-", "-", "-", "-"
		if s.Samples > 0 {
			offset, jitter = signedSpan(ns(s.OffsetNs)), spanWords(ns(s.JitterNs))
			delay, distance = spanWords(ns(s.DelayNs)), spanWords(ns(s.RootDistanceNs))
		}
		fmt.Fprintf(w, "%s\t%03o\t%s\t%s\t%s\t%s\t%s\t%s\n", stratum, s.Reach, intervalWords(s.PollLog2), heard, offset, jitter, delay, distance)
		if mark == "*" || mark == "+" {
			continue
		}
		reasons.add(mark, "%s: %s: %s%s", s.Name, strings.ReplaceAll(s.Status, "_", " "), s.Reason, faultWords(s))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%s%s\n", beside(left, strings.Split(strings.TrimSuffix(right.String(), "\n"), "\n"), width), marksLegend)
	if err != nil || len(reasons.list) == 0 {
		return err
	}
	fmt.Fprintln(out)
	return reasons.write(out)
}

// faultWords says what was wrong last with a source that is not heard.
func faultWords(s *rpc.Source) string {
	if s.LastFault == "" || s.Samples > 0 && s.Reach != 0 {
		return ""
	}
	return "; last fault: " + s.LastFault
}

// called says the name of a server with its address, and once where they are the same.
func called(name, address string) string {
	address = withoutPort(address)
	if address == "" || withoutPort(name) == address {
		return name
	}
	return name + " (" + address + ")"
}

// withoutPort is an address without the port of NTP.
func withoutPort(address string) string {
	if a, err := netip.ParseAddrPort(address); err == nil && a.Port() == 123 {
		return a.Addr().String()
	}
	return address
}

// intervalWords says a poll interval in at most five letters, up to the longest of NTP.
func intervalWords(log2 int32) string {
	switch {
	case log2 < 0:
		return spanWords(time.Second >> min(-log2, 62))
	case log2 < 14:
		return fmt.Sprintf("%ds", 1<<log2)
	default:
		return fmt.Sprintf("%dh", int64(1)<<min(log2, 62)/3600)
	}
}

// spanWords says a length of time with three digits, in six letters: 1.23ms, 45.6µs, 789s.
// Beyond hours it says no parts of them.
func spanWords(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	switch {
	case d < 0: // the least number has no positive twin
		return sign + "292y"
	case d >= 10_000*time.Second:
		return fmt.Sprintf("%s%dh", sign, d/time.Hour)
	case d >= 1000*time.Second:
		return fmt.Sprintf("%s%ds", sign, d/time.Second)
	}
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "µs"}} {
		// What would round up to a thousand belongs to the greater unit.
		if n := float64(d) / float64(u.unit); n >= 0.9995 {
			return fmt.Sprintf("%s%s%s", sign, threeDigits(n), u.name)
		}
	}
	return fmt.Sprintf("%s%dns", sign, d)
}

// threeDigits is a number from 1 to 999.5 with three digits.
func threeDigits(n float64) string {
	switch {
	case n < 9.995:
		return fmt.Sprintf("%.2f", n)
	case n < 99.95:
		return fmt.Sprintf("%.1f", n)
	default:
		return fmt.Sprintf("%.0f", n)
	}
}

// signedSpan is spanWords with a sign always but for zero.
func signedSpan(d time.Duration) string {
	if d > 0 {
		return "+" + spanWords(d)
	}
	return spanWords(d)
}
