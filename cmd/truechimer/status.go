package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
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
	writeClock(row, s.Clock)
	writeSummary(row, s.Sources, s.Clock.Mode)
	writeLeap(row, s.Clock)
	writeHLC(row, s.Hlc, s.NotReady)
	if t := s.Clock.Timescale; t != "" && t != "UTC" {
		row("", "timescale %s", t)
	}
	writeStreams(row, s.Streams)
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

// add adds a row, as rows.add does.
type add func(name, format string, args ...any)

// writeClock says what is believed of the clock, after its state.
func writeClock(row add, c *rpc.Clock) {
	voucher := "vouched for by " + c.Source
	if c.Source == "local" || c.Source == "none" {
		voucher = "nobody vouches for it"
	}
	row("", "UTC %s (mode %s, %s)", time.Unix(0, c.UtcUnixNs).UTC().Format(time.RFC3339Nano), c.Mode, voucher)
	if c.Intervals {
		row("", "%s", boundWords(c))
	} else {
		row("", "no error bound can be claimed; intervals are refused")
	}
	if c.State == rpc.ClockState_CLOCK_STATE_HOLDOVER {
		row("", "%s", holdoverWords(c))
	}
	row("", "stratum %d, refid %s, leap %s, precision 2^%d s, %s%s seen",
		c.Stratum, c.Refid, leapWords[min(int(c.Leap), len(leapWords)-1)], c.PrecisionLog2, rateWords(c), counted(c.Steps, "step"))
	if c.DriftSavedUnixNs != 0 {
		row("", "drift file: %+.3f ± %.3f ppm, written %s", c.DriftPpm, c.DriftSkewPpm, time.Unix(0, c.DriftSavedUnixNs).UTC().Format(time.RFC3339))
	}
	if c.Rival != "" {
		row("", "%s", c.Rival)
	}
	if c.Mode == "virtual" {
		writeSystem(row, c)
	}
}

// rateWords says how fast the clock runs, and how fast it is slewed on top of that. What it
// runs at while nothing can be claimed is not told, and neither is said then.
func rateWords(c *rpc.Clock) string {
	slewing := ""
	if c.SlewPpm != 0 {
		slewing = fmt.Sprintf("slewing by %+.3g ppm, ", c.SlewPpm)
	}
	if c.State == rpc.ClockState_CLOCK_STATE_UNSYNCHRONISED && c.Mode != "follow" {
		return slewing
	}
	frequency := fmt.Sprintf("frequency %+.3f ppm", c.FrequencyPpm-c.SlewPpm)
	if c.SkewPpm > 0 {
		frequency += fmt.Sprintf(" ± %.3f", c.SkewPpm)
	}
	return frequency + ", " + slewing
}

// writeSystem says what is known of the system clock where another is served.
func writeSystem(row add, c *rpc.Clock) {
	if c.SystemErrorBoundNs != math.MaxInt64 {
		row("", "the system clock is left alone: %s, %v to correct, within %v of UTC", stateWords[c.SystemState], signed(ns(c.SystemOffsetNs)), ns(c.SystemErrorBoundNs))
		return
	}
	why := ""
	if c.SystemReason != c.Reason { // else it has been said
		why = ": " + c.SystemReason
	}
	row("", "the system clock is left alone, and no error bound can be claimed of it%s", why)
}

// counted is a number of things that make their plural with an s.
func counted(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// boundWords says the error bound, and the parts that it is the sum of.
func boundWords(c *rpc.Clock) string {
	parts := fmt.Sprintf("%v residual offset + %v half the root delay + %v root dispersion",
		ns(c.ResidualOffsetNs).Abs(), (ns(c.RootDelayNs).Abs()+1)/2, ns(c.RootDispersionNs))
	if c.ProviderErrorNs != 0 {
		parts += fmt.Sprintf(" + %v provider error", ns(c.ProviderErrorNs).Abs())
	}
	return fmt.Sprintf("within %v of UTC = %s, growing by %.4g ppm", ns(c.ErrorBoundNs), parts, c.GrowthPpm)
}

// holdoverWords says since when there is nothing to go by, and for how long that can be borne.
func holdoverWords(c *rpc.Clock) string {
	since := ""
	if c.HoldoverSinceUnixNs != 0 {
		since = fmt.Sprintf("on its own for %v; ", ns(c.UtcUnixNs-c.HoldoverSinceUnixNs).Round(time.Second))
	}
	switch c.HoldoverLeftNs {
	case 0:
		return since + "the error bound is above its limit"
	case math.MaxInt64:
		return since + "the error bound does not reach its limit"
	default:
		return fmt.Sprintf("%sthe error bound reaches its limit of %v in %v", since, ns(c.ErrorLimitNs), ns(c.HoldoverLeftNs).Truncate(time.Second))
	}
}

// writeSummary says what the sources come to, where there are any.
func writeSummary(row add, s *rpc.SourceSummary, mode string) {
	if s.GetKnown() == 0 {
		return
	}
	agree := fmt.Sprintf("%d of %d agree", s.Agree, s.Known)
	if away := s.Known - s.Reachable; away > 0 {
		agree += fmt.Sprintf(" (%d unreachable)", away)
	}
	switch {
	case s.Following == "":
		row("sources", "%s, none is followed; see truechimer sources", agree)
	case mode == "follow":
		row("sources", "%s; they are witnesses, the best is %s, stratum %d", agree, called(s.Following, s.FollowingAddress), s.FollowingStratum)
	default:
		row("sources", "%s, following %s, stratum %d", agree, called(s.Following, s.FollowingAddress), s.FollowingStratum)
	}
}

// writeLeap says what is known of leap seconds, where anything is.
func writeLeap(row add, c *rpc.Clock) {
	name := "leap"
	if c.TaiOffset != nil {
		next := "none announced"
		if c.NextLeapUnixNs != 0 {
			next = leapWords[min(int(c.NextLeap), len(leapWords)-1)] + " at " + time.Unix(0, c.NextLeapUnixNs).UTC().Format(time.RFC3339)
		}
		text := fmt.Sprintf("TAI − UTC %d s, next: %s", *c.TaiOffset, next)
		if c.LeapExpiresUnixNs != 0 {
			text += ", known until " + time.Unix(0, c.LeapExpiresUnixNs).UTC().Format(time.DateOnly)
		}
		if c.LeapOrigin != "" {
			text += " (" + c.LeapOrigin + ")"
		}
		row(name, "%s", text)
		name = ""
	}
	if c.LeapWarning != "" {
		row(name, "%s", c.LeapWarning)
	}
}

func writeHLC(row add, h *rpc.Hlc, notReady []string) {
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

// writeStreams says what the event streams are doing; nil where the server has none.
func writeStreams(row add, s *rpc.Streams) {
	switch {
	case s == nil:
		return
	case s.Streams == 0:
		row("streams", "none yet")
	default:
		row("streams", "%s, %s appended since the start, %d watching, %d waiting for the disk", counted(s.Streams, "stream"), counted(s.Events, "event"), s.Watchers, s.Queued)
	}
	if s.Closed != 0 {
		row("", "closed up to %s", hlc.Timestamp(s.Closed))
	}
	if refused := s.Busy + s.Full; refused > 0 {
		row("", "%s refused: %d for a full queue, %d for a full disk", counted(refused, "call"), s.Busy, s.Full)
	}
	if s.FreeBytes != 0 {
		appends := ""
		if s.NearlyFull {
			appends = "; nothing is appended"
		}
		row("", "%d MiB of the disk free, %d MiB kept in reserve%s", s.FreeBytes>>20, s.ReserveBytes>>20, appends)
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
