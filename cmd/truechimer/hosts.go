package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/rpc"
)

func newHosts(c *client) *cobra.Command {
	var r rpc.HostsRequest
	var watch bool
	cmd := &cobra.Command{
		Use:   "hosts",
		Short: "Show the NTP hosts that the server observes, and which are beyond their limit",
		Long: `Shows the hosts of every [[monitor]]: what can be proven of the clock of each, how far it
is from the served clock (positive: the host is behind), the largest error that it can
have against UTC, how long ago it answered, and when it asked this server last.`,
		Example: "  truechimer hosts --faulty\n  truechimer hosts --group trading",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			show := func(ctx context.Context) error { return c.printHosts(ctx, &r) }
			if watch {
				return c.watch(cmd.Context(), show)
			}
			return show(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&r.Group, "group", "", "only this group")
	cmd.Flags().BoolVar(&r.Faulty, "faulty", false, "only those that are not proven to be within their limit")
	cmd.Flags().BoolVar(&watch, "watch", false, "again every second, until interrupted")
	return cmd
}

func (c *client) printHosts(ctx context.Context, r *rpc.HostsRequest) error {
	m, err := call(ctx, c, c.evidence().Hosts, r)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(m)
	}
	if r.Faulty && len(m.Hosts) == 0 {
		all, err := call(ctx, c, c.evidence().Hosts, &rpc.HostsRequest{Group: r.Group})
		if err != nil {
			return err
		}
		if n := len(all.Hosts); n > 0 {
			_, err := fmt.Fprintf(c.out, "no host is beyond its limit: %s observed\n", isAre(n, "host"))
			return err
		}
	}
	status, err := call(ctx, c, c.node().Status, &rpc.StatusRequest{})
	if err != nil {
		return err
	}
	return writeHosts(c.out, m, status.Clock.UtcUnixNs)
}

// writeHosts prints a table, and below it why hosts are not OK.
func writeHosts(out io.Writer, m *rpc.HostsResponse, now int64) error {
	if len(m.Hosts) == 0 {
		_, err := fmt.Fprintln(out, "no host is observed that fits; add a [[monitor]] to the configuration")
		return err
	}
	ago := func(unix int64) string {
		if unix == 0 {
			return "never"
		}
		return ageWords(ns(now - unix))
	}
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "GROUP\tHOST\tVERDICT\tOFFSET\tERROR BOUND\tANSWERED\tASKED US\tLOST")
	var why []string
	for _, h := range m.Hosts {
		name := h.Name
		if h.Address != "" && !strings.HasPrefix(strings.TrimPrefix(h.Address, "["), strings.TrimPrefix(h.Name, "[")) {
			name += " (" + h.Address + ")"
		}
		offset, bound := "-", "-"
		if h.BoundNs >= 0 {
			offset, bound = ns(h.OffsetNs).String(), ns(h.BoundNs).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d of %d\n", h.Group, name, verdictWord(h.Verdict), offset, bound, ago(h.LastAnswerUnixNs), ago(h.LastAskedUnixNs), h.Lost, h.Probes)
		if h.Verdict != rpc.Verdict_VERDICT_OK {
			why = append(why, fmt.Sprintf("%s: %s\n", h.Name, onLine(h.Reason)))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(why) > 0 {
		text.WriteString("\n" + strings.Join(why, ""))
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// isAre says how many there are, and the verb.
func isAre(n int, what string) string {
	if n == 1 {
		return "1 " + what + " is"
	}
	return plural(uint64(n), what) + " are"
}
