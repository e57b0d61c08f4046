package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

// evidence has no limit of time: see call.
func (c *client) evidence() rpcconnect.EvidenceServiceClient {
	return rpcconnect.NewEvidenceServiceClient(c.web(0), c.url())
}

func newBreach(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "breach",
		Short: "Times in which a clock could not be proven to be within its limit",
		Args:  subcommandOnly,
		RunE:  helpOnly,
	}
	cmd.AddCommand(newBreachList(c), newBreachAck(c))
	return cmd
}

func newBreachList(c *client) *cobra.Command {
	var r rpc.BreachesRequest
	var from, to instantFlag
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List them, the latest first",
		Long: `Lists the times in which a clock could not be proven to be within the tolerance of a
profile: when, for how long, the worst verdict, the largest error bound, and who has
looked into it. A verdict is BREACH where the error bound is beyond the tolerance, and
UNKNOWN where nothing can be proven.`,
		Example: "  truechimer breach list --open\n  truechimer breach list --profile finra-50ms --from 30d",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.FromUnixNs, r.ToUnixNs = from.unix(), to.unix()
			m, err := call(cmd.Context(), c, c.evidence().Breaches, &r)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(m)
			}
			return writeBreaches(c.out, m, c.width())
		},
	}
	cmd.Flags().StringVar(&r.Profile, "profile", "", "only of this profile")
	cmd.Flags().BoolVar(&r.Open, "open", false, "only those that nobody has acknowledged")
	cmd.Flags().Uint32Var(&r.Limit, "limit", 100, "how many at the most, 1 to 10000")
	cmd.Flags().Var(&from, "from", "only those that had not ended then: a time, or how long ago")
	cmd.Flags().Var(&to, "to", "only those that began before")
	return cmd
}

// unix is the instant in Unix nanoseconds; 0 where none was given.
func (f *instantFlag) unix() int64 {
	if f.text == "" {
		return 0
	}
	return f.exact
}

// writeBreaches prints what is known of each breach.
func writeBreaches(out io.Writer, m *rpc.BreachesResponse, width int) error {
	if len(m.Breaches) == 0 {
		_, err := fmt.Fprintln(out, "no breach is on record")
		return err
	}
	for i, b := range m.Breaches {
		if i > 0 {
			fmt.Fprintln(out)
		}
		all := rows{width: width}
		all.add(fmt.Sprintf("breach %d", b.Id), "%s of the %s clock: %s", b.Profile, clockWord(b.Clock), verdictWord(b.Worst))
		start := time.Unix(0, b.StartUnixNs).UTC()
		switch {
		case b.EndUnixNs == 0:
			all.add("when", "since %s, and goes on", start.Format(time.RFC3339))
		default:
			all.add("when", "%s to %s, %s", start.Format(time.RFC3339), time.Unix(0, b.EndUnixNs).UTC().Format(time.RFC3339), longWords(ns(b.EndUnixNs-b.StartUnixNs)))
		}
		if b.PeakNs < 0 {
			all.add("peak", "no error bound could be claimed; the tolerance is %v", ns(int64(b.ToleranceNs)))
		} else {
			all.add("peak", "error bound %v, offset %v; the tolerance is %v", ns(b.PeakNs), ns(b.PeakOffsetNs), ns(int64(b.ToleranceNs)))
		}
		all.add("cause", "%s", onLine(b.Cause))
		if len(b.Told) > 0 {
			all.add("told", "%s", strings.Join(b.Told, ", "))
		}
		report := ""
		if b.SelfReport {
			report = ": by the profile's rule it may have to be reported"
		}
		all.add("in 24 h", "%d%s", b.In_24H, report)
		if b.AcknowledgedUnixNs == 0 {
			all.add("noted", "nobody has acknowledged it: truechimer breach ack %d --note TEXT", b.Id)
		} else {
			all.add("noted", "%s, %s: %s", orNobody(b.AcknowledgedBy), time.Unix(0, b.AcknowledgedUnixNs).UTC().Format(time.RFC3339), onLine(b.Note))
		}
		if err := all.write(out); err != nil {
			return err
		}
	}
	if m.More {
		fmt.Fprintln(out, "\nand more; --limit, --from and --to show others")
	}
	return nil
}

func orNobody(who string) string {
	if who == "" {
		return "somebody without a name"
	}
	return who
}

func clockWord(clock rpc.JudgedClock) string {
	return strings.ToLower(strings.TrimPrefix(clock.String(), "JUDGED_CLOCK_"))
}

func verdictWord(v rpc.Verdict) string { return strings.TrimPrefix(v.String(), "VERDICT_") }

func newBreachAck(c *client) *cobra.Command {
	var r rpc.AcknowledgeRequest
	cmd := &cobra.Command{
		Use:   "ack ID",
		Short: "Put on record who has looked into one, and what was found",
		Long: `Puts on record that you have looked into a breach, and what you found: it stands in the
journal, and in every report of that time. It can be said again; the last word is shown,
and the journal has them all.`,
		Example: `  truechimer breach ack 12 --note "the uplink was cut during works; see ticket 4711"`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := exactArgs("ID")(cmd, args); err != nil {
				return err
			}
			var err error
			if r.Id, err = strconv.ParseUint(args[0], 10, 64); err != nil {
				return usage(fmt.Errorf("%.40q is no number of a breach; truechimer breach list shows them", args[0]))
			}
			if r.Note == "" {
				return usage(errors.New("say with --note what was found"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := call(cmd.Context(), c, c.evidence().Acknowledge, &r)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(m)
			}
			_, err = fmt.Fprintf(c.out, "breach %d is acknowledged\n", m.Breach.Id)
			return err
		},
	}
	cmd.Flags().StringVar(&r.Note, "note", "", "what was found, and what was done about it; up to 4096 bytes")
	return cmd
}

func newAlert(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "alert", Short: "The channels that are told of alarms", Args: subcommandOnly, RunE: helpOnly}
	cmd.AddCommand(&cobra.Command{
		Use:   "test",
		Short: "Send a test to each channel, and wait for what becomes of it",
		Long: `Sends a test to each [[alert]] channel, and prints what each made of it. It exits with 1
when one did not take it. The server does the same by itself once a day.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.testAlerts(cmd.Context()) },
	})
	return cmd
}

// testMax is how long the channels may take for a test: some attempts of ten seconds.
const testMax = time.Minute

func (c *client) testAlerts(ctx context.Context) error {
	m, err := callWithin(ctx, c, testMax, c.evidence().TestAlerts, &rpc.TestAlertsRequest{})
	if err != nil {
		return err
	}
	if c.json {
		if err := c.printJSON(m); err != nil {
			return err
		}
	}
	if len(m.Results) == 0 {
		return errors.New("there is no channel: nobody is told of anything; add an [[alert]] to the configuration")
	}
	failed := 0
	all := rows{width: c.width()}
	for _, r := range m.Results {
		if r.Taken {
			all.add(r.Channel, "took it")
			continue
		}
		failed++
		all.add(r.Channel, "did not take it: %s", onLine(r.Fault))
	}
	if !c.json {
		if err := all.write(c.out); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s did not take the test", failed, plural(uint64(len(m.Results)), "channel"))
	}
	return nil
}
