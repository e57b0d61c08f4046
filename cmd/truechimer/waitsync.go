package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/rpc"
)

const waitsyncInterval = 250 * time.Millisecond

func newWaitsync(c *client) *cobra.Command {
	var timeout, maxError time.Duration
	cmd := &cobra.Command{
		Use:   "waitsync",
		Short: "Wait until the clock is synchronised",
		Long: `Waits until the server's clock is synchronised (and its error bound is at most
--max-error, where that is given), and then exits with 0. It exits with 1 when that
has not come about in time, and with 3 when no server could be reached.`,
		Example: "  truechimer waitsync --timeout 2m --max-error 10ms && start-trading",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout < 0 || maxError < 0 {
				return usage(errors.New("--timeout and --max-error cannot be negative"))
			}
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			return c.waitsync(ctx, maxError)
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long to wait; 0 waits for ever")
	cmd.Flags().DurationVar(&maxError, "max-error", 0, "largest error bound to be content with; 0 takes any")
	return cmd
}

func (c *client) waitsync(ctx context.Context, maxError time.Duration) error {
	ticker := time.NewTicker(waitsyncInterval)
	defer ticker.Stop()
	why := errors.New("no answer")
	shown := ""
	for {
		r, err := c.node().Status(ctx, connect.NewRequest(&rpc.StatusRequest{}))
		switch {
		case err != nil && ctx.Err() != nil:
			return timedOut(why)
		case err != nil:
			why = c.failure(err)
		case !r.Msg.Clock.Intervals:
			why = errors.New(r.Msg.Clock.Reason)
		case maxError > 0 && r.Msg.Clock.ErrorBoundNs > int64(maxError):
			why = fmt.Errorf("the error bound is %v", ns(r.Msg.Clock.ErrorBoundNs))
		default:
			if c.json {
				return c.printJSON(r.Msg.Clock)
			}
			_, err := fmt.Fprintf(c.out, "%s, within %v of UTC\n", stateWords[r.Msg.Clock.State], ns(r.Msg.Clock.ErrorBoundNs))
			return err
		}
		if cause := withoutFigures(why.Error()); cause != shown { // each cause once, not four times a second
			shown = cause
			fmt.Fprintf(c.err, "waiting: %v\n", why)
		}
		select {
		case <-ctx.Done():
			return timedOut(why)
		case <-ticker.C:
		}
	}
}

// withoutFigures returns the words of a text that have no digit.
func withoutFigures(text string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(text), func(word string) bool { return strings.ContainsAny(word, "0123456789") }), " ")
}

// timedOut says what was in the way when the time was up, and keeps its exit code.
func timedOut(why error) error {
	err := fmt.Errorf("not synchronised in time: %w", why)
	var exit exitError
	if errors.As(why, &exit) {
		return exitError{exit.code, err}
	}
	return err
}
