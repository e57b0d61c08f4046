package main

import (
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
)

func newClock(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "clock", Short: "Decide about the clock", Args: subcommandOnly, RunE: helpOnly}
	var yes bool
	accept := &cobra.Command{
		Use:   "accept",
		Short: "Take the clock jump that is being held as the truth",
		Long: `Takes over a jump of the system clock that no source confirms, and that the hybrid
clock has therefore not followed. A jump forward drives all timestamps from here on;
a jump backward is followed slowly. Without --yes it says what it would take, and
takes nothing; with it, it takes the jump that the server holds at that moment, and
not another one that comes in between.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := c.node().Status(cmd.Context(), connect.NewRequest(&rpc.StatusRequest{}))
			if err != nil {
				return c.failure(err)
			}
			jump := status.Msg.Hlc.HeldJumpNs
			switch {
			case jump == 0:
				return errors.New("no clock jump is being held: there is nothing to accept")
			case !yes:
				return usage(fmt.Errorf("this would take a jump of %v as the truth, and %s as the time; say --yes if that is what you want",
					ns(jump), time.Unix(0, status.Msg.Clock.UtcUnixNs).UTC().Format(time.RFC3339)))
			}
			r, err := c.node().AcceptClock(cmd.Context(), connect.NewRequest(&rpc.AcceptClockRequest{JumpNs: jump}))
			if err != nil {
				return c.failure(err)
			}
			if c.json {
				return c.printJSON(r.Msg)
			}
			_, err = fmt.Fprintf(c.out, "accepted a jump of %v\n", ns(r.Msg.JumpNs))
			return err
		},
	}
	accept.Flags().BoolVar(&yes, "yes", false, "do it")
	cmd.AddCommand(accept, newMakestep(c))
	return cmd
}

func newMakestep(c *client) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "makestep",
		Short: "Step the clock now to what its sources say",
		Long: `Corrects at once, by a step, what would else be slewed. Time then jumps for every
program that reads this clock; backwards, some of it comes twice. Without --yes it says
by how much it would step, and does nothing; with it, it steps by the offset that is left
at that moment, and not by another one that comes in between.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := c.node().Status(cmd.Context(), connect.NewRequest(&rpc.StatusRequest{}))
			if err != nil {
				return c.failure(err)
			}
			clock := status.Msg.Clock
			offset := clock.ResidualOffsetNs
			switch {
			case yes: // the server judges
			case clock.Mode == "follow":
				return errors.New("this node steers no clock: clock.mode is follow; step it with what steers it, or set clock.mode to steer")
			case offset == 0:
				return errors.New("no offset is left to correct: there is nothing to step")
			default:
				return usage(fmt.Errorf("this would step the clock by %v, from %s to %s; say --yes if that is what you want", signed(ns(offset)),
					time.Unix(0, clock.UtcUnixNs).UTC().Format(time.RFC3339Nano), time.Unix(0, clock.UtcUnixNs+offset).UTC().Format(time.RFC3339Nano)))
			}
			r, err := c.node().MakeStep(cmd.Context(), connect.NewRequest(&rpc.MakeStepRequest{OffsetNs: offset}))
			if err != nil {
				return c.failure(err)
			}
			if c.json {
				return c.printJSON(r.Msg)
			}
			_, err = fmt.Fprintf(c.out, "stepped the clock by %v\n", signed(ns(r.Msg.OffsetNs)))
			return err
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

func newHLC(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "hlc", Short: "Decide about the hybrid clock", Args: subcommandOnly, RunE: helpOnly}
	var yes bool
	rebase := &cobra.Command{
		Use:   "rebase",
		Short: "Bring back a hybrid clock that ran ahead, in a new epoch",
		Long: `Begins a new epoch at the time of the clock. Timestamps of the new epoch may be
smaller than those of the old one, or repeat them: whatever was ordered by them
before is no longer ordered against what comes now. It is for a clock that ran
ahead by so much that waiting is worse, and refused otherwise.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := c.node().Status(cmd.Context(), connect.NewRequest(&rpc.StatusRequest{}))
			if err != nil {
				return c.failure(err)
			}
			// What counts is the timestamp that would be issued next.
			back := max(hlc.Timestamp(status.Msg.Hlc.Last).Sub(hlc.FromUnix(status.Msg.Clock.UtcUnixNs)), ns(status.Msg.Hlc.PhysicalAheadNs))
			switch {
			case yes: // the server judges
			case back <= ns(status.Msg.Hlc.MaxLeadNs):
				return errors.New("the hybrid clock is not ahead of its time by more than the max lead: there is nothing to bring back")
			default:
				return usage(fmt.Errorf("this would end epoch %d and move timestamps by %v: they may repeat; say --yes if that is what you want", status.Msg.Hlc.Epoch, -back))
			}
			r, err := c.node().Rebase(cmd.Context(), connect.NewRequest(&rpc.RebaseRequest{Epoch: status.Msg.Hlc.Epoch}))
			if err != nil {
				return c.failure(err)
			}
			if c.json {
				return c.printJSON(r.Msg)
			}
			_, err = fmt.Fprintf(c.out, "epoch %d begins %v back; the last timestamp before it was %s\n", r.Msg.Epoch, ns(r.Msg.BackNs), hlc.Timestamp(r.Msg.Last))
			return err
		},
	}
	rebase.Flags().BoolVar(&yes, "yes", false, "do it")
	cmd.AddCommand(rebase)
	return cmd
}

// helpOnly is for a command that only has subcommands.
func helpOnly(cmd *cobra.Command, _ []string) error {
	_ = cmd.Help()
	return usage(errors.New("name one of the commands above"))
}
