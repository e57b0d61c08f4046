package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/demo"
)

func newDemo(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "demo", Short: "Show what orders events, without a server", Args: subcommandOnly, RunE: helpOnly}
	o := demo.Options{}
	chat := &cobra.Command{
		Use:   "chat",
		Short: "Sort a conversation by three clocks, side by side",
		Long: `Invents a conversation at two servers, A and B, whose clocks differ by a few
milliseconds, and shows it three times: sorted by the servers' clocks, by hybrid
timestamps, and by the sequence in a stream. Time, people and network are simulated, so
nothing waits and a seed is always the same conversation. The hybrid clocks and the
stream are real: the stream is kept in a temporary directory, read back from the disk,
and removed.`,
		Example: "  truechimer demo chat\n  truechimer demo chat --seed 7 --skew-a 10ms --messages 40",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Check(); err != nil {
				return usage(err)
			}
			messages, err := demo.Chat(cmd.Context(), o)
			switch {
			case err != nil && cmd.Context().Err() != nil:
				return errors.New("interrupted")
			case err != nil:
				return fmt.Errorf("demo: %w", err)
			}
			if c.json {
				return c.printValue(chatForPrograms(&o, messages))
			}
			return writeChat(c.out, &o, messages, c.coloured(), c.width())
		},
	}
	chat.Flags().Uint64Var(&o.Seed, "seed", 1, "which conversation")
	chat.Flags().DurationVar(&o.Skews[0], "skew-a", 3*time.Millisecond, "what the clock of A shows, minus the truth")
	chat.Flags().DurationVar(&o.Skews[1], "skew-b", -2*time.Millisecond, "what the clock of B shows, minus the truth")
	chat.Flags().IntVar(&o.Messages, "messages", 16, fmt.Sprintf("how many, 2 to %d", demo.MessagesMax))
	chat.Flags().DurationVar(&o.Reply, "reply", 4*time.Millisecond, "how long people take to answer, on average")
	cmd.AddCommand(chat)
	return cmd
}
