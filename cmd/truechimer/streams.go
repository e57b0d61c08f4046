package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/rpc"
)

// streamsLimit is how many streams are listed without --limit.
const streamsLimit = 1000

func newStreams(c *client) *cobra.Command {
	list := newStreamsList(c)
	cmd := &cobra.Command{
		Use:   "streams [PREFIX]",
		Short: "List, create, trim and delete streams",
		Long:  list.Long,
		Args:  atMost("PREFIX"),
		RunE:  list.RunE,
	}
	cmd.Flags().AddFlagSet(list.Flags())
	cmd.AddCommand(list, newStreamsShow(c), newStreamsCreate(c), newStreamsRetain(c), newStreamsTrim(c), newStreamsDelete(c))
	return cmd
}

// atMost is exactArgs where the one may be left out.
func atMost(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usage(fmt.Errorf("%s takes at most one %s, not %d arguments; see %[1]s --help", cmd.CommandPath(), name, len(args)))
		}
		return nil
	}
}

func newStreamsList(c *client) *cobra.Command {
	var limit uint64
	cmd := &cobra.Command{
		Use:   "list [PREFIX]",
		Short: "List the streams, or those whose names begin so",
		Long: `Lists the streams in the order of their names, or those whose names begin with PREFIX:
the sequences of the first event that is left and of the last, the bytes of the
payloads that are left, when the last one was appended, and what is kept. With --json
each stream is a line.`,
		Args: atMost("PREFIX"),
		RunE: func(cmd *cobra.Command, args []string) error {
			prefix := ""
			if len(args) > 0 {
				prefix = args[0]
			}
			if limit == 0 {
				return usage(errors.New("--limit is 0; want 1 or more"))
			}
			return c.listStreams(cmd.Context(), prefix, limit)
		},
	}
	cmd.Flags().Uint64Var(&limit, "limit", streamsLimit, "how many at the most")
	return cmd
}

// listStreams prints the streams, a page after the other: with --json as they come, else as a table.
func (c *client) listStreams(ctx context.Context, prefix string, limit uint64) error {
	var list []*rpc.Stream
	r := &rpc.ListRequest{Prefix: prefix}
	for printed := uint64(0); printed < limit; {
		size := int64(min(limit-printed, streamsLimit))
		r.Limit = &size
		page, err := call(ctx, c, c.stream().List, r)
		if err != nil {
			return err
		}
		printed += uint64(len(page.Streams))
		for _, s := range page.Streams {
			if !c.json {
				list = append(list, s)
			} else if err := c.printJSON(s); err != nil {
				return err
			}
		}
		if r.Cursor = page.Cursor; r.Cursor == "" {
			break
		}
	}
	if c.json {
		return nil
	}
	return writeStreamTable(c.out, list, prefix, r.Cursor != "", c.width())
}

func newStreamsShow(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "show STREAM",
		Short: "Show one stream",
		Long:  `Shows what there is to know of a stream: its events, its age, and what is kept of it.`,
		Args:  exactArgs("STREAM"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := call(cmd.Context(), c, c.stream().Describe, &rpc.DescribeRequest{Stream: args[0]})
			if err != nil {
				return err
			}
			return c.printStream(r.Stream)
		},
	}
}

// printStream prints one stream.
func (c *client) printStream(s *rpc.Stream) error {
	if c.json {
		return c.printJSON(s)
	}
	return writeStream(c.out, s, c.width())
}

// retaining are the flags of what to keep.
type retaining struct {
	age   ageFlag
	count uint64
	bytes bytesFlag
}

func (r *retaining) flags(cmd *cobra.Command) {
	cmd.Flags().Var(&r.age, "age", "keep events for so long, such as 12h or 30d")
	cmd.Flags().Uint64Var(&r.count, "count", 0, "keep so many events")
	cmd.Flags().Var(&r.bytes, "bytes", "keep so many bytes of payloads, such as 10GiB")
}

func (r *retaining) message() *rpc.Retention {
	return &rpc.Retention{AgeNs: time.Duration(r.age).Nanoseconds(), Count: r.count, Bytes: uint64(r.bytes)}
}

// none reports whether all is kept.
func (r *retaining) none() bool { return r.age == 0 && r.count == 0 && r.bytes == 0 }

func newStreamsCreate(c *client) *cobra.Command {
	var r retaining
	cmd := &cobra.Command{
		Use:   "create STREAM",
		Short: "Create a stream, and say what to keep of it",
		Long: `Creates a stream. An append does so too, and then all of it is kept; this is for a stream
that has a retention from the start. What is beyond any of the limits is removed, the
oldest events first. One that was deleted goes on with the sequences that it had.`,
		Example: "  truechimer streams create journal --age 30d --bytes 10GiB",
		Args:    exactArgs("STREAM"),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := call(cmd.Context(), c, c.stream().Create, &rpc.CreateRequest{Stream: args[0], Retention: r.message()})
			if err != nil {
				return err
			}
			return c.printStream(a.Stream)
		},
	}
	r.flags(cmd)
	return cmd
}

func newStreamsRetain(c *client) *cobra.Command {
	var r retaining
	var all, yes bool
	cmd := &cobra.Command{
		Use:   "retain STREAM",
		Short: "Say what to keep of a stream from now on",
		Long: `Replaces what is kept of a stream: limits that are not named hold no longer, and with
--all none does. What is beyond a limit is removed for good soon after, the oldest
events first. Without --yes it says what would hold, and changes nothing; a change that
lifts limits alone needs none.`,
		Example: "  truechimer streams retain journal --age 7d --count 1000000\n  truechimer streams retain journal --all",
		Args:    exactArgs("STREAM"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all != r.none() {
				return usage(errors.New("say what to keep, with --age, --count or --bytes, or keep everything with --all"))
			}
			if !all && !yes {
				was, err := call(cmd.Context(), c, c.stream().Describe, &rpc.DescribeRequest{Stream: args[0]})
				if err != nil {
					return err
				}
				if tighter(was.Stream.Retention, r.message()) {
					return usage(fmt.Errorf("this would keep %s of %s and remove what is beyond it for good, where now %s is kept; say --yes if that is what you want",
						retentionWords(r.message()), args[0], retentionWords(was.Stream.Retention)))
				}
			}
			a, err := call(cmd.Context(), c, c.stream().SetRetention, &rpc.SetRetentionRequest{Stream: args[0], Retention: r.message()})
			if err != nil {
				return err
			}
			return c.printStream(a.Stream)
		},
	}
	r.flags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "keep everything")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

// tighter reports whether a retention may remove what another one keeps.
func tighter(was, now *rpc.Retention) bool {
	below := func(was, now uint64) bool { return now > 0 && (was == 0 || now < was) }
	return below(uint64(was.GetAgeNs()), uint64(now.GetAgeNs())) || below(was.GetCount(), now.GetCount()) || below(was.GetBytes(), now.GetBytes())
}

func newStreamsTrim(c *client) *cobra.Command {
	var first uint64
	var yes bool
	cmd := &cobra.Command{
		Use:   "trim STREAM",
		Short: "Remove the oldest events of a stream",
		Long: `Removes for good the events whose sequence is below --first; the last sequence and one
removes all. Without --yes it says what it would remove, and removes nothing.`,
		Example: "  truechimer streams trim journal --first 1000000",
		Args:    exactArgs("STREAM"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if first == 0 {
				return usage(errors.New("--first is missing: it is the sequence of the first event to keep"))
			}
			if !yes {
				a, err := call(cmd.Context(), c, c.stream().Describe, &rpc.DescribeRequest{Stream: args[0]})
				if err != nil {
					return err
				}
				s := a.Stream
				switch {
				case first > s.Last+1:
					return usage(fmt.Errorf("--first is %d, and the next event of %s has the sequence %d", first, s.Name, s.Last+1))
				case first <= s.First:
					return fmt.Errorf("%s begins at sequence %d: there is nothing to remove", s.Name, s.First)
				}
				return usage(fmt.Errorf("this would remove %d events of %s for good, sequences %d to %d; say --yes if that is what you want", first-s.First, s.Name, s.First, first-1))
			}
			a, err := call(cmd.Context(), c, c.stream().Trim, &rpc.TrimRequest{Stream: args[0], First: first})
			if err != nil {
				return err
			}
			return c.printStream(a.Stream)
		},
	}
	cmd.Flags().Uint64Var(&first, "first", 0, "sequence of the first event to keep")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

func newStreamsDelete(c *client) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete STREAM",
		Short: "Delete a stream with all its events",
		Long: `Deletes a stream and its events for good. Its name and its last sequence are remembered:
a stream that is created again under the name goes on with the next one. Without --yes
it says what it would delete, and deletes nothing.`,
		Args: exactArgs("STREAM"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				a, err := call(cmd.Context(), c, c.stream().Describe, &rpc.DescribeRequest{Stream: args[0]})
				if err != nil {
					return err
				}
				s := a.Stream
				return usage(fmt.Errorf("this would delete %s for good, with %s; say --yes if that is what you want", s.Name, eventsWords(s)))
			}
			a, err := call(cmd.Context(), c, c.stream().Delete, &rpc.DeleteRequest{Stream: args[0]})
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(a.Stream)
			}
			_, err = fmt.Fprintf(c.out, "deleted %s, with %s\n", a.Stream.Name, eventsWords(a.Stream))
			return err
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}
