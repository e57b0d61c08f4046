package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/rpc"
)

const clientsLimit = 100

// clientOrders are what --order takes, and what it says to the server.
var clientOrders = map[string]rpc.ClientsOrder{
	"last":     rpc.ClientsOrder_CLIENTS_ORDER_LAST,
	"requests": rpc.ClientsOrder_CLIENTS_ORDER_REQUESTS,
	"drops":    rpc.ClientsOrder_CLIENTS_ORDER_DROPS,
	"address":  rpc.ClientsOrder_CLIENTS_ORDER_ADDRESS,
}

// clientOrderNames are the same, in the order of the help.
var clientOrderNames = []string{"last", "requests", "drops", "address"}

func newClients(c *client) *cobra.Command {
	var watch bool
	var limit int64
	var order string
	cmd := &cobra.Command{
		Use:   "clients",
		Short: "Show who asks the server for the time over NTP",
		Long: `Shows the addresses that asked for the time, of those that the server remembers: the
version and mode of the last request, whether its answer was interleaved, how long ago
that was, how many requests there were and how many of them were refused, and the
estimated poll interval, as log2 of seconds and in seconds.`,
		Example: "  truechimer clients --order drops --limit 10",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			by, known := clientOrders[order]
			if !known {
				return usage(fmt.Errorf("--order is %q; want one of %s", order, strings.Join(clientOrderNames, ", ")))
			}
			show := func(ctx context.Context) error {
				return c.printClients(ctx, &rpc.ClientsRequest{Limit: &limit, Order: by})
			}
			if watch {
				return c.watch(cmd.Context(), show)
			}
			return show(cmd.Context())
		},
	}
	cmd.Flags().Int64Var(&limit, "limit", clientsLimit, "how many at the most, 1 to 1000")
	cmd.Flags().StringVar(&order, "order", clientOrderNames[0], "what comes first: "+strings.Join(clientOrderNames, ", "))
	cmd.Flags().BoolVar(&watch, "watch", false, "again every second, until interrupted")
	// It fails only for a flag that there is not.
	_ = cmd.RegisterFlagCompletionFunc("order", cobra.FixedCompletions(slices.Clone(clientOrderNames), cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveKeepOrder))
	return cmd
}

func (c *client) printClients(ctx context.Context, request *rpc.ClientsRequest) error {
	r, err := c.node().Clients(ctx, connect.NewRequest(request))
	if err != nil {
		return c.failure(err)
	}
	if c.json {
		return c.printJSON(r.Msg)
	}
	return writeClients(c.out, r.Msg, c.width())
}

// writeClients prints a table. An address with which it would be wider than width letters has
// a line of its own, above the rest of its row; with 0 none has.
func writeClients(out io.Writer, r *rpc.ClientsResponse, width int) error {
	if len(r.Clients) == 0 {
		_, err := fmt.Fprintln(out, "no client has asked yet")
		return err
	}
	addresses := []string{"ADDRESS"}
	var right strings.Builder // of the addresses
	w := tabwriter.NewWriter(&right, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VER\tMODE\tINTERLEAVED\tSEEN\tREQUESTS\tDROPS\tPOLL")
	for _, one := range r.Clients {
		interleaved := "no"
		if one.Interleaved {
			interleaved = "yes"
		}
		addresses = append(addresses, one.Address)
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\t%s\t%s\n", one.Version, one.Mode, interleaved,
			ageWords(ns(r.UtcUnixNs-one.LastUnixNs)), countWords(one.Requests), countWords(one.Drops), pollWords(one.PollLog2))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	text := beside(addresses, strings.Split(strings.TrimSuffix(right.String(), "\n"), "\n"), width)
	if more := r.Remembered - int64(len(r.Clients)); more > 0 {
		text += fmt.Sprintf("and %d more; --limit shows up to 1000\n", more)
	}
	_, err := io.WriteString(out, text)
	return err
}

// beside puts each line of the left beside that of the right, or above it where
// the widest of the right would go beyond width then; 0 is no limit.
func beside(left, right []string, width int) string {
	const gap = "  "
	widest := 0
	for _, line := range right {
		widest = max(widest, utf8.RuneCountInString(line))
	}
	fits := func(s string) bool { return width == 0 || utf8.RuneCountInString(s)+len(gap)+widest <= width }
	column := 0
	for i, s := range left {
		if i == 0 || fits(s) {
			column = max(column, utf8.RuneCountInString(s))
		}
	}
	var b strings.Builder
	for i, s := range left {
		if utf8.RuneCountInString(s) > column {
			fmt.Fprintln(&b, s)
			s = ""
		}
		fmt.Fprintf(&b, "%-*s%s%s\n", column, s, gap, right[i])
	}
	return b.String()
}

// ageWords says how long ago something was, in four letters or little more: in the largest
// unit that it fills.
func ageWords(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(d, 0)/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < day:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/day)
	}
}

// countWords says a count in at most six letters: exact below a million.
func countWords(n uint64) string {
	if n < 1e6 {
		return fmt.Sprint(n)
	}
	units := "MGTPE"
	n /= 1e3 // thousandths of the unit
	for ; n >= 1e6; n /= 1e3 {
		units = units[1:]
	}
	return fmt.Sprintf("%d.%d%c", n/1e3, n%1e3/100, units[0])
}

// pollWords says a poll interval as log2 of seconds, and as a time.
func pollWords(log2 *int32) string {
	switch {
	case log2 == nil:
		return "-"
	case *log2 >= 0:
		return fmt.Sprintf("%d (%ds)", *log2, int64(1)<<min(*log2, 62))
	default:
		return fmt.Sprintf("%d (%.3gms)", *log2, 1000/float64(int64(1)<<min(-*log2, 62)))
	}
}
