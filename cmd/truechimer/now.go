package main

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
)

func newNow(c *client) *cobra.Command {
	var count int64
	var commit, interval bool
	cmd := &cobra.Command{
		Use:   "now",
		Short: "Take a timestamp",
		Long: `Takes one or more timestamps, greater than all before, and prints each as text and as
an integer. Text sorts like the integers.

--commit takes one in real-time order: it is printed when it is in the past for
certain. --interval prints two timestamps between which UTC lies. Both need a
synchronised clock.`,
		Example: "  truechimer now\n  truechimer now -n 3 --json",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			chosen := cmd.Flags().Changed("count")
			if commit && interval || chosen && (commit || interval) {
				return usage(errors.New("-n, --commit and --interval exclude each other"))
			}
			switch {
			case commit:
				r, err := c.clock().Commit(cmd.Context(), connect.NewRequest(&rpc.CommitRequest{}))
				if err != nil {
					return c.failure(err)
				}
				return c.printTimestamps(r.Msg, hlc.Timestamp(r.Msg.Timestamp), 1)
			case interval:
				r, err := c.clock().Interval(cmd.Context(), connect.NewRequest(&rpc.IntervalRequest{}))
				if err != nil {
					return c.failure(err)
				}
				return c.printInterval(r.Msg, hlc.Interval{Earliest: hlc.Timestamp(r.Msg.Earliest), Latest: hlc.Timestamp(r.Msg.Latest)})
			}
			r, err := c.clock().Now(cmd.Context(), connect.NewRequest(&rpc.NowRequest{Count: &count}))
			if err != nil {
				return c.failure(err)
			}
			return c.printTimestamps(r.Msg, hlc.Timestamp(r.Msg.Timestamp), r.Msg.Count)
		},
	}
	cmd.Flags().Int64VarP(&count, "count", "n", 1, fmt.Sprintf("how many, 1 to %d", hlc.CountMax))
	cmd.Flags().BoolVar(&commit, "commit", false, "wait until the timestamp is in the past everywhere")
	cmd.Flags().BoolVar(&interval, "interval", false, "print an interval that contains UTC")
	return cmd
}

func newObserve(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "observe TIMESTAMP",
		Short: "Take a timestamp greater than one from elsewhere",
		Long: `Takes a timestamp that is greater than the given one, as text or integer: what came
with a message is observed, and the reaction is stamped with the result.`,
		Example: "  truechimer observe 2026-11-22T06:42:10.123456512Z+0017",
		Args:    exactArgs("TIMESTAMP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			remote, err := hlc.Parse(args[0])
			if err != nil {
				return usage(err)
			}
			r, err := c.clock().Observe(cmd.Context(), connect.NewRequest(&rpc.ObserveRequest{Timestamp: uint64(remote)}))
			if err != nil {
				return c.failure(err)
			}
			return c.printTimestamps(r.Msg, hlc.Timestamp(r.Msg.Timestamp), 1)
		},
	}
}

func newWait(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "wait TIMESTAMP",
		Short: "Wait until a timestamp is in the past for certain",
		Long: `Waits until the given timestamp, as text or integer, is in the past on every clock whose
error bound holds, and prints the interval that proves it.`,
		Example: "  truechimer wait 1795330930123456529",
		Args:    exactArgs("TIMESTAMP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ts, err := hlc.Parse(args[0])
			if err != nil {
				return usage(err)
			}
			r, err := c.clock().Wait(cmd.Context(), connect.NewRequest(&rpc.WaitRequest{Timestamp: uint64(ts)}))
			if err != nil {
				return c.failure(err)
			}
			return c.printInterval(r.Msg, hlc.Interval{Earliest: hlc.Timestamp(r.Msg.Earliest), Latest: hlc.Timestamp(r.Msg.Latest)})
		},
	}
}
