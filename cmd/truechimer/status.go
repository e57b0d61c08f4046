package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
)

func newStatus(c *client) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the server believes of its clock, and why",
		Long: `Shows the state of the clock with its cause and error bound, the hybrid clock, what the
NTP server answered, whether the node is ready, and its alarms.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return c.watch(cmd.Context(), c.printStatus)
			}
			return c.printStatus(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "again every second, until interrupted")
	return cmd
}

func (c *client) printStatus(ctx context.Context) error {
	r, err := c.node().Status(ctx, connect.NewRequest(&rpc.StatusRequest{}))
	if err != nil {
		return c.failure(err)
	}
	if c.json {
		return c.printJSON(r.Msg)
	}
	return writeStatus(c.out, r.Msg, c.terminal() && os.Getenv("NO_COLOR") == "", c.width())
}

// stateWords and stateColours say a state to a person.
var (
	stateWords = map[rpc.ClockState]string{
		rpc.ClockState_CLOCK_STATE_SYNCHRONISED:   "synchronised",
		rpc.ClockState_CLOCK_STATE_HOLDOVER:       "holdover",
		rpc.ClockState_CLOCK_STATE_UNSYNCHRONISED: "unsynchronised",
	}
	stateColours = map[rpc.ClockState]string{
		rpc.ClockState_CLOCK_STATE_SYNCHRONISED:   "\x1b[32m",
		rpc.ClockState_CLOCK_STATE_HOLDOVER:       "\x1b[33m",
		rpc.ClockState_CLOCK_STATE_UNSYNCHRONISED: "\x1b[31m",
	}
	leapWords = []string{"none", "second to be inserted", "second to be deleted", "unknown"}
)

// writeStatus prints a status, broken into lines of width letters; 0 breaks none.
func writeStatus(out io.Writer, s *rpc.StatusResponse, colour bool, width int) error {
	state := stateWords[s.Clock.State]
	if colour {
		state = stateColours[s.Clock.State] + state + "\x1b[0m"
	}
	all := rows{width: width}
	row := all.add
	row("node", "%s, number %d, version %s, up %v", s.Node.Name, s.Node.Number, s.Node.Version, time.Since(time.Unix(0, s.Node.StartedUnixNs)).Round(time.Second))
	row("clock", "%s: %s", state, s.Clock.Reason)
	voucher := "vouched for by " + s.Clock.Source
	if s.Clock.Source == "local" || s.Clock.Source == "none" {
		voucher = "nobody vouches for it"
	}
	row("", "UTC %s (mode %s, %s)", time.Unix(0, s.Clock.UtcUnixNs).UTC().Format(time.RFC3339Nano), s.Clock.Mode, voucher)
	if s.Clock.Intervals {
		row("", "within %v of UTC: residual offset %v, root delay %v, root dispersion %v growing by %g ppm",
			ns(s.Clock.ErrorBoundNs), ns(s.Clock.ResidualOffsetNs), ns(s.Clock.RootDelayNs), ns(s.Clock.RootDispersionNs), s.Clock.GrowthPpm)
	} else {
		row("", "no error bound can be claimed; intervals are refused")
	}
	row("", "stratum %d, refid %s, leap %s, precision 2^%d s, frequency %+.3f ppm, %d steps seen",
		s.Clock.Stratum, s.Clock.Refid, leapWords[min(int(s.Clock.Leap), len(leapWords)-1)], s.Clock.PrecisionLog2, s.Clock.FrequencyPpm, s.Clock.Steps)
	writeHLC(row, s.Hlc, s.NotReady)
	row("ntp", "%s", strings.Join(s.Ntp.Listen, ", "))
	for _, words := range verdictWords(s.Ntp.Verdicts) {
		row("", "%s", words)
	}
	if s.Ntp.KernelDrops > 0 {
		row("", "%d dropped by the kernel: not read in time", s.Ntp.KernelDrops)
	}
	if s.Ready {
		row("ready", "yes")
	}
	for i, reason := range s.NotReady {
		row([]string{"ready", ""}[min(i, 1)], "no: %s", reason)
	}
	for i, a := range s.Alarms {
		row([]string{"alarms", ""}[min(i, 1)], "%s since %s: %s", a.Name, time.Unix(0, a.SinceUnixNs).UTC().Format(time.RFC3339), a.Sentence)
	}
	return all.write(out)
}

func writeHLC(row func(name, format string, args ...any), h *rpc.Hlc, notReady []string) {
	switch {
	case h.Fenced != "":
		row("hlc", "stopped: %s", h.Fenced)
	case h.Issuing:
		row("hlc", "issuing in epoch %d, %v ahead of the clock (max lead %v)", h.Epoch, ns(h.LeadNs), ns(h.MaxLeadNs))
	default:
		why := "nothing is issued; see below"
		if i := slices.IndexFunc(notReady, func(reason string) bool { return strings.HasPrefix(reason, "no timestamp is issued ") }); i >= 0 {
			why = notReady[i]
		}
		row("hlc", "%s, epoch %d", why, h.Epoch)
	}
	if h.Last == 0 {
		row("", "nothing issued yet")
	} else {
		row("", "last %s", hlc.Timestamp(h.Last))
	}
	if h.Ceiling != 0 {
		row("", "ceiling %s", hlc.Timestamp(h.Ceiling))
	}
	if h.StartLeadNs > 0 {
		row("", "started %v ahead, above all that was issued before", ns(h.StartLeadNs))
	}
}

func ns(n int64) time.Duration { return time.Duration(n) }

// verdictGroups say to a person what the verdicts come to. Those of no group were not
// understood.
var verdictGroups = []struct {
	word     string
	verdicts []string
}{
	{"answered", []string{"answered", "interleaved", "interleaved_missed", "leaked"}},
	{"refused", []string{"rate", "kissed", "denied"}},
}

// verdictWords says in a line for each group what became of the requests, and in brackets
// what is special about which of them.
func verdictWords(verdicts map[string]uint64) (lines []string) {
	rest := maps.Clone(verdicts)
	for _, g := range verdictGroups {
		group := map[string]uint64{}
		for _, name := range g.verdicts {
			group[name] = rest[name]
			delete(rest, name)
		}
		lines = appendGroup(lines, g.word, group)
	}
	lines = appendGroup(lines, "ignored", rest)
	if lines == nil {
		return []string{"nothing asked yet"}
	}
	return lines
}

// appendGroup appends a line unless nothing was counted. What is called as the group itself
// is only part of the sum.
func appendGroup(lines []string, word string, group map[string]uint64) []string {
	var sum uint64
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(group)) {
		sum += group[name]
		if group[name] > 0 && name != word {
			parts = append(parts, fmt.Sprintf("%d %s", group[name], strings.ReplaceAll(name, "_", " ")))
		}
	}
	switch {
	case sum == 0:
		return lines
	case parts == nil:
		return append(lines, fmt.Sprintf("%d %s", sum, word))
	}
	return append(lines, fmt.Sprintf("%d %s (%s)", sum, word, strings.Join(parts, ", ")))
}
