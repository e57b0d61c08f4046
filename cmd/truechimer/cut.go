package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/rpc"
)

// cutTimeout is longer than the server waits for an instant to pass.
const cutTimeout = 30*time.Second + callTimeout

func newCut(c *client) *cobra.Command {
	var prefix string
	cmd := &cobra.Command{
		Use:   "cut INSTANT [STREAM...]",
		Short: "Show where streams were at one instant",
		Long: `Shows for streams, those that are named, those that begin with --prefix, or all, which
events they had at an instant, exactly and for ever: it waits until no event can come
any more that would belong to it, up to 30 seconds. An instant is "now", which does
not wait, or one of: ` + instantWords,
		Example: "  truechimer cut now\n  truechimer cut 2026-11-22T06:42:10Z orders payments",
		Args:    atLeast("INSTANT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if prefix != "" && len(args) > 1 {
				return usage(errors.New("--prefix and names exclude each other"))
			}
			r := &rpc.CutRequest{Names: args[1:], Prefix: prefix}
			if args[0] != "now" {
				var at instantFlag
				if err := at.Set(args[0]); err != nil {
					return usage(err)
				}
				r.Timestamp = uint64(at.last)
			}
			return c.cut(cmd, r)
		},
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "all streams whose names begin so")
	return cmd
}

// cut prints the state at an instant: with --json an answer of the API on each line.
func (c *client) cut(cmd *cobra.Command, r *rpc.CutRequest) error {
	var whole *rpc.CutResponse
	for {
		page, err := callWithin(cmd.Context(), c, cutTimeout, c.stream().Cut, r)
		switch {
		case err != nil:
			return err
		case c.json:
			if err := c.printJSON(page); err != nil {
				return err
			}
		case whole == nil:
			whole = page
		default:
			whole.Streams = append(whole.Streams, page.Streams...)
		}
		if r.Cursor = page.Cursor; r.Cursor == "" {
			break
		}
	}
	if c.json {
		return nil
	}
	return writeCut(c.out, whole, c.width())
}

// writeCut prints a table, broken at width letters as that of clients is.
func writeCut(out io.Writer, r *rpc.CutResponse, width int) error {
	if _, err := fmt.Fprintf(out, "at %s\n", timestampWords(r.Timestamp)); err != nil {
		return err
	}
	if len(r.Streams) == 0 {
		_, err := fmt.Fprintln(out, "there was no such stream")
		return err
	}
	names := []string{"STREAM"}
	var right strings.Builder
	w := tabwriter.NewWriter(&right, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FIRST\tLAST\tTIMESTAMP OF THE LAST")
	for _, s := range r.Streams {
		names = append(names, s.Name)
		last := "-"
		if s.LastTimestamp != 0 {
			last = timestampWords(s.LastTimestamp)
		}
		fmt.Fprintf(w, "%d\t%d\t%s\n", s.First, s.Last, last)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(out, beside(names, strings.Split(strings.TrimSuffix(right.String(), "\n"), "\n"), width))
	return err
}
